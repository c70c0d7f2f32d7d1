//! Objects and lists resolved without a boxed future for every field.
//!
//! The library runs all fields of an object at once, each as a boxed future in a `FuturesUnordered`, which costs more than
//! most fields do. Here an object's fields are resolved one after the other and a list's entries together: loaders still
//! get the keys of all entries at once, and a page of scalars needs no future of its own.

use std::{borrow::Cow, task::Poll};

use async_graphql::{
    ContainerType, ContextSelectionSet, OutputType, Positioned, ServerResult, Value,
    indexmap::IndexMap,
    parser::types::{Field, Selection},
    registry::Registry,
    resolver_utils::resolve_container,
};
use futures_util::future::{BoxFuture, poll_fn};

/// An object of which the fields are resolved in order.
pub struct One<T>(pub T);

/// A list of such objects, resolved together.
pub enum Many<'a, T> {
    Borrowed(&'a [T]),
    Owned(Vec<T>),
}

impl<T: ContainerType> OutputType for One<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn introspection_type_name(&self) -> Cow<'static, str> {
        self.0.introspection_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, _field: &Positioned<Field>) -> ServerResult<Value> {
        in_order(ctx, &self.0).await
    }
}

impl<T: ContainerType> OutputType for Many<'_, T> {
    fn type_name() -> Cow<'static, str> {
        Vec::<T>::type_name()
    }

    fn qualified_type_name() -> String {
        Vec::<T>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Vec::<T>::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, _field: &Positioned<Field>) -> ServerResult<Value> {
        let entries = match self {
            Many::Borrowed(entries) => entries,
            Many::Owned(entries) => entries.as_slice(),
        };
        let places: Vec<_> = (0..entries.len()).map(|index| ctx.with_index(index)).collect();
        let entries = places.iter().zip(entries).map(|(ctx, entry)| in_order(ctx, entry));
        together(entries.collect()).await.map(Value::List)
    }
}

/// Boxed as a whole, as types of the schema contain each other.
fn in_order<'a, T: ContainerType>(
    ctx: &'a ContextSelectionSet<'a>,
    object: &'a T,
) -> BoxFuture<'a, ServerResult<Value>> {
    Box::pin(fields_in_order(ctx, object))
}

async fn fields_in_order<T: ContainerType>(ctx: &ContextSelectionSet<'_>, object: &T) -> ServerResult<Value> {
    let selections = &ctx.item.node.items;
    let mut members = IndexMap::with_capacity(selections.len());
    for selection in selections {
        // Prepared documents have fields only, unless the type is an interface or a union.
        let Selection::Field(field) = &selection.node else {
            return resolve_container(ctx, object).await;
        };
        let key = field.node.response_key().node.clone();
        if field.node.name.node == "__typename" {
            members.insert(key, Value::String(T::type_name().into_owned()));
            continue;
        }
        match object.resolve_field(&ctx.with_field(field)).await {
            Ok(value) => {
                members.insert(key, value.unwrap_or_default());
            }
            Err(error) => ctx.add_error(error),
        }
    }
    Ok(Value::Object(members))
}

/// The outcomes of all in their order, or the first failure.
async fn together(mut running: Vec<BoxFuture<'_, ServerResult<Value>>>) -> ServerResult<Vec<Value>> {
    let mut done: Vec<Option<Value>> = running.iter().map(|_| None).collect();
    poll_fn(|task| {
        let mut waits = false;
        for (entry, value) in running.iter_mut().zip(&mut done) {
            if value.is_none() {
                match entry.as_mut().poll(task) {
                    Poll::Ready(Ok(ready)) => *value = Some(ready),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => waits = true,
                }
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await?;
    Ok(done.into_iter().flatten().collect())
}
