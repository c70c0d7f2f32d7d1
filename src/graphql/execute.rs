//! Runs prepared operations on an async-graphql schema without copying them.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock},
};

use async_graphql::{
    Context, ContextSelectionSet, Data, EmptyMutation, EmptySubscription, IntrospectionMode, Name, Object, ObjectType,
    PathSegment, QueryEnv, Request, Response, Schema, SchemaBuilder, SchemaEnv, ServerError, ServerResult,
    SubscriptionType, Value,
    extensions::{Extension, ExtensionContext, ExtensionFactory, Extensions, NextExecute},
    indexmap::IndexMap,
    parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
    resolver_utils::{resolve_container, resolve_container_serial},
};
use futures_util::{FutureExt, future::BoxFuture};
use http::HeaderMap;

use super::{
    document::{Bound, Invalid},
    failure::{Failure, reported},
};
use crate::error::{Error, Kind};

/// What running an operation gave.
#[derive(Debug)]
pub struct Outcome {
    /// For [`Bound::write`]. Keys that failed are missing; null where nothing ran.
    pub data: Value,
    pub errors: Vec<Failure>,
    /// What resolvers added to the response's headers.
    pub headers: HeaderMap,
}

impl Outcome {
    fn failed(error: Error) -> Self {
        Self {
            data: Value::Null,
            errors: vec![error.into()],
            headers: HeaderMap::new(),
        }
    }
}

/// What comes with an operation beside its variables.
#[derive(Default)]
pub struct RunContext {
    /// What resolvers find with `Context::data`: the caller, the permit, loaders.
    pub data: Data,
    /// Finds the log line of an `INTERNAL` error.
    pub request_id: String,
}

/// A schema that runs prepared operations. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    schema: Arc<dyn Runnable>,
    env: SchemaEnv,
    /// None: each would cost every field of every operation.
    extensions: Extensions,
}

impl Engine {
    /// `query` and `mutation` are the roots that `builder` was made with; the library does not give them back. `live` has
    /// the fields of its subscription root, each of which shows one event.
    ///
    /// # Panics
    ///
    /// Where an extension of the builder waits for something before an operation runs.
    pub fn new<Q, M, S, L>(builder: SchemaBuilder<Q, M, S>, query: Q, mutation: M, live: L) -> Self
    where
        Q: ObjectType + 'static,
        M: ObjectType + 'static,
        S: SubscriptionType + 'static,
        L: ObjectType + 'static,
    {
        let schema = builder.extension(Validation).finish();
        let found = Arc::new(OnceLock::new());
        schema
            .execute(Request::new("{ __typename }").data(ValidateOnly(found.clone())))
            .now_or_never()
            .expect("nothing that validates waits");
        let env = found.get().cloned().expect("__typename is valid on every schema");
        Self {
            schema: Arc::new(Roots {
                schema,
                query,
                mutation,
                live,
            }),
            env,
            extensions: no_extensions(),
        }
    }

    /// The schema as SDL.
    pub fn sdl(&self) -> String {
        self.schema.sdl()
    }

    /// Asks the library whether the document is valid, and runs nothing.
    pub(crate) fn validate(&self, document: &ExecutableDocument) -> Result<(), Invalid> {
        let mut request = Request::new("").data(ValidateOnly(Arc::default()));
        // With several operations the library wants to know which to run, though validation is of all.
        request.operation_name = document
            .operations
            .iter()
            .find_map(|(name, _)| name)
            .map(Name::to_string);
        request.set_parsed_query(document.clone());
        let response = catch_unwind(AssertUnwindSafe(|| self.schema.execute(request).now_or_never()))
            .map_err(|panic| defect(panic_message(panic.as_ref())))?
            .ok_or_else(|| defect("an extension waits"))?;
        if response.errors.is_empty() {
            Ok(())
        } else {
            Err(Invalid::Document(response.errors))
        }
    }

    /// Runs a query or mutation. Never fails as a whole but where a resolver panics: that is `INTERNAL` without data.
    ///
    /// A subscription is refused: it has no one answer.
    pub async fn run(&self, bound: &Bound, context: RunContext) -> Outcome {
        if bound.is_subscription() {
            return Outcome::failed(Error::new(
                Kind::BadRequest,
                "a subscription needs a WebSocket or an event stream",
            ));
        }
        self.show(bound, context).await
    }

    /// As [`run`](Self::run), and a subscription is run for what its context says is to be shown.
    pub async fn show(&self, bound: &Bound, context: RunContext) -> Outcome {
        let request_id = context.request_id.clone();
        let running = async {
            if bound.selected.introspects {
                self.introspect(bound, context).await
            } else {
                self.resolve(bound, context).await
            }
        };
        match AssertUnwindSafe(running).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => {
                let what = panic_message(panic.as_ref());
                Outcome::failed(reported(Error::internal(format!("panic: {what}")), &[], &request_id))
            }
        }
    }

    async fn resolve(&self, bound: &Bound, context: RunContext) -> Outcome {
        let env = self.query_env(bound, context.data);
        let selection = env.create_context(&self.env, None, &bound.selected.set, None);
        let result = self.schema.resolve(bound.operation().kind(), &selection).await;
        let mut errors = std::mem::take(&mut *env.errors.lock().expect("no resolver holds the lock"));
        let data = result.unwrap_or_else(|error| {
            errors.push(error);
            Value::Null
        });
        let headers = std::mem::take(&mut *env.http_headers.lock().expect("no resolver holds the lock"));
        outcome(data, errors, headers, &context.request_id)
    }

    /// What the library asks of a request beside the selection.
    fn query_env(&self, bound: &Bound, data: Data) -> QueryEnv {
        QueryEnv::new(async_graphql::QueryEnvInner {
            extensions: self.extensions.clone(),
            variables: bound.variables().clone(),
            operation_name: bound.operation().name().map(str::to_owned),
            operation: bound.operation().header().clone(),
            fragments: HashMap::new(),
            // Files are in the variables themselves.
            uploads: Vec::new(),
            session_data: Arc::default(),
            query_data: Arc::new(data),
            http_headers: Mutex::default(),
            introspection_mode: IntrospectionMode::Enabled,
            errors: Mutex::default(),
        })
    }

    /// The library keeps `__schema` and `__type` to itself: what asks for them goes its way, as a copy.
    async fn introspect(&self, bound: &Bound, context: RunContext) -> Outcome {
        let header = bound.operation().header();
        let operation = header.position_node(OperationDefinition {
            selection_set: bound.selected.set.clone(),
            ..header.node.clone()
        });
        let mut request = Request::new("").variables(bound.variables().clone());
        request.set_parsed_query(ExecutableDocument {
            operations: DocumentOperations::Single(operation),
            fragments: HashMap::new(),
        });
        request.data = context.data;
        let response = self.schema.execute(request).await;
        outcome(
            response.data,
            response.errors,
            response.http_headers,
            &context.request_id,
        )
    }
}

fn outcome(mut data: Value, errors: Vec<ServerError>, headers: HeaderMap, request_id: &str) -> Outcome {
    restore(&mut data, &[]);
    for error in &errors {
        if let Some((_, containers)) = error.path.split_last() {
            restore(&mut data, containers);
        }
    }
    Outcome {
        data,
        errors: errors
            .into_iter()
            .map(|error| Failure::of_resolver(error, request_id))
            .collect(),
        headers,
    }
}

/// Puts back the objects along `path`. The library makes null of an object of which every field failed; that a field
/// failed in it proves that it was there.
fn restore(data: &mut Value, path: &[PathSegment]) {
    let rest = path.split_first();
    if *data == Value::Null && !matches!(rest, Some((PathSegment::Index(_), _))) {
        *data = Value::Object(IndexMap::new());
    }
    match (rest, data) {
        (Some((PathSegment::Field(key), rest)), Value::Object(members)) => {
            if let Some(member) = members.get_mut(key.as_str()) {
                restore(member, rest);
            }
        }
        (Some((PathSegment::Index(index), rest)), Value::List(items)) => {
            if let Some(item) = items.get_mut(*index) {
                restore(item, rest);
            }
        }
        _ => {}
    }
}

fn defect(why: &str) -> Invalid {
    tracing::error!(why, "validation failed to finish");
    Invalid::Defect(Error::internal(format!("validation: {why}")))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// A schema and its roots, whatever their types.
trait Runnable: Send + Sync {
    fn resolve<'a>(
        &'a self,
        kind: OperationType,
        selection: &'a ContextSelectionSet<'a>,
    ) -> BoxFuture<'a, ServerResult<Value>>;

    fn execute(&self, request: Request) -> BoxFuture<'_, Response>;

    fn sdl(&self) -> String;
}

struct Roots<Q, M, S, L> {
    schema: Schema<Q, M, S>,
    query: Q,
    mutation: M,
    live: L,
}

impl<Q, M, S, L> Runnable for Roots<Q, M, S, L>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
    L: ObjectType + 'static,
{
    fn resolve<'a>(
        &'a self,
        kind: OperationType,
        selection: &'a ContextSelectionSet<'a>,
    ) -> BoxFuture<'a, ServerResult<Value>> {
        match kind {
            OperationType::Mutation => resolve_container_serial(selection, &self.mutation).boxed(),
            OperationType::Query => resolve_container(selection, &self.query).boxed(),
            OperationType::Subscription => resolve_container(selection, &self.live).boxed(),
        }
    }

    fn execute(&self, request: Request) -> BoxFuture<'_, Response> {
        self.schema.execute(request).boxed()
    }

    fn sdl(&self) -> String {
        self.schema.sdl()
    }
}

/// Marks a request that ends after validation, and takes the schema's environment, which the library shows to extensions
/// only.
struct ValidateOnly(Arc<OnceLock<SchemaEnv>>);

struct Validation;

impl ExtensionFactory for Validation {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Validation)
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for Validation {
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        match ctx.data_opt::<ValidateOnly>() {
            Some(ValidateOnly(env)) => {
                env.get_or_init(|| ctx.schema_env.clone());
                Response::default()
            }
            None => next.run(ctx, operation_name).await,
        }
    }
}

/// An empty set of extensions, which the library shows to resolvers only. It is the same for every schema.
fn no_extensions() -> Extensions {
    struct Bootstrap;

    #[Object(name = "Bootstrap")]
    impl Bootstrap {
        async fn extensions(&self, ctx: &Context<'_>) -> bool {
            ctx.data_unchecked::<Arc<OnceLock<Extensions>>>()
                .set(ctx.query_env.extensions.clone())
                .is_ok()
        }
    }

    let found = Arc::new(OnceLock::new());
    Schema::new(Bootstrap, EmptyMutation, EmptySubscription)
        .execute(Request::new("{ extensions }").data(found.clone()))
        .now_or_never()
        .expect("the resolver does not wait");
    found.get().cloned().expect("the resolver ran")
}

#[cfg(test)]
#[path = "execute_tests.rs"]
mod tests;
