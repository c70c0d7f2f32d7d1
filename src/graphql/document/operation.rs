//! One operation of a document, and the same with a request's variables.

use std::{collections::HashMap, convert::Infallible, fmt, sync::Arc};

use async_graphql::{
    Name, Positioned, Value, Variables,
    parser::types::{
        Field, FragmentDefinition, OperationDefinition, OperationType, Selection, SelectionSet, VariableDefinition,
    },
};
use async_graphql_value::Value as Argument;
use bytes::Bytes;
use serde_json::Map;

use super::{
    Limits,
    admission::{self, Admission, Dependence, is_meta},
    select::{self, Conflict},
};
use crate::{
    error::{Error, Kind},
    graphql::{
        coerce::{self, Spelling},
        failure::Failure,
        shape::Shape,
        types::Types,
    },
};

/// An operation that is valid, within the limits as far as no variable decides, and ready to run.
pub struct Operation {
    name: Option<Name>,
    /// Kind and variables, without the selection: what the library asks of an operation while it runs one.
    header: Positioned<OperationDefinition>,
    root: Name,
    /// The selection where no variable changes it.
    selected: Arc<Selected>,
    /// As written but for inlined fragments, where variables do.
    written: Option<Positioned<SelectionSet>>,
    dependence: Dependence,
    limits: Limits,
    types: Arc<Types>,
}

/// A selection to run, what it asks of the gate and how its answer is written.
pub struct Selected {
    pub(crate) set: Positioned<SelectionSet>,
    /// None where everything is skipped.
    shape: Option<Shape>,
    /// `__schema` or `__type` is at the root.
    pub(crate) introspects: bool,
    admission: Admission,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("kind", &self.kind())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Operation {
    pub(super) fn prepare(
        types: &Arc<Types>,
        limits: &Limits,
        name: Option<Name>,
        definition: Positioned<OperationDefinition>,
        fragments: &HashMap<Name, Positioned<FragmentDefinition>>,
    ) -> Result<Self, Failure> {
        let location = definition.pos;
        let refused = |message: String| Failure::at(Error::new(Kind::GraphqlValidationFailed, message), vec![location]);
        let kind = definition.node.ty;
        let root = match kind {
            OperationType::Query => Some(&types.query),
            OperationType::Mutation => types.mutation.as_ref(),
            OperationType::Subscription => types.subscription.as_ref(),
        }
        .cloned()
        .ok_or_else(|| refused(format!("the schema has no {kind}")))?;

        let written = select::inline(&definition.node.selection_set, fragments);
        let dependence = admission::dependence(types, &root, &written.node);
        let set = select::collect(types, &root, &written, None).map_err(|conflict| differs(&conflict))?;
        if kind == OperationType::Subscription && !is_one_field(&set.node) {
            return Err(refused("a subscription has one root field".to_owned()));
        }
        let selected = Selected::new(types, &root, set).map_err(refused)?;
        let operation = Self {
            header: definition.map(|definition| OperationDefinition {
                ty: kind,
                variable_definitions: definition.variable_definitions,
                directives: Vec::new(),
                selection_set: definition.selection_set.position_node(SelectionSet::default()),
            }),
            name,
            root,
            selected: Arc::new(selected),
            written: dependence.conditional.then_some(written),
            dependence,
            limits: *limits,
            types: types.clone(),
        };
        if !operation.dependence.conditional {
            // What holds for every request is checked once; a page size from a variable is not known yet.
            operation
                .check_root_fields(&operation.selected)
                .and_then(|()| match operation.dependence.paged {
                    true => Ok(()),
                    false => operation.check_complexity(&operation.selected, &Variables::default()),
                })
                .map_err(|error| Failure::at(error, vec![location]))?;
        }
        Ok(operation)
    }

    pub fn kind(&self) -> OperationType {
        self.header.node.ty
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The root type that it selects from.
    pub fn root(&self) -> &str {
        &self.root
    }

    pub fn variable_definitions(&self) -> &[Positioned<VariableDefinition>] {
        &self.header.node.variable_definitions
    }

    /// What it selects, fragments expanded and nothing skipped.
    pub fn selection(&self) -> &SelectionSet {
        &self.selected.set.node
    }

    pub(crate) fn header(&self) -> &Positioned<OperationDefinition> {
        &self.header
    }

    /// Coerces the variables of a request and binds them.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST` by [`coerce::variables`], or as [`bind`](Self::bind).
    pub fn coerce(
        self: &Arc<Self>,
        given: &Map<String, serde_json::Value>,
        spelling: Spelling,
    ) -> Result<Bound, Error> {
        self.coerce_with_files(given, &[], spelling)
    }

    /// As [`coerce`](Self::coerce), where files came along, each with the pointer of the variable or of what is in it.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST` by [`coerce::variables_with_files`], or as [`bind`](Self::bind).
    pub fn coerce_with_files(
        self: &Arc<Self>,
        given: &Map<String, serde_json::Value>,
        files: &[(String, Bytes)],
        spelling: Spelling,
    ) -> Result<Bound, Error> {
        let variables = coerce::variables_with_files(&self.types, self.variable_definitions(), given, files, spelling)?;
        self.bind(variables)
    }

    /// The operation with coerced variables. Copies nothing, unless they skip something or leave out an argument that
    /// has a default.
    ///
    /// # Errors
    ///
    /// `QUERY_TOO_COMPLEX` where the variables make it so.
    pub fn bind(self: &Arc<Self>, variables: Variables) -> Result<Bound, Error> {
        let mut selected = self.selected.clone();
        let drops = self
            .dependence
            .droppable
            .iter()
            .any(|name| !variables.contains_key(name));
        if self.dependence.conditional || drops {
            let written = self.written.as_ref().unwrap_or(&self.selected.set);
            // Both can fail only where they would have with nothing skipped, which was tried first.
            let set = select::collect(&self.types, &self.root, written, Some(&variables))
                .map_err(|conflict| differs(&conflict).error)?;
            selected = Arc::new(Selected::new(&self.types, &self.root, set).map_err(Error::internal)?);
        }
        if self.dependence.conditional {
            self.check_root_fields(&selected)?;
        }
        if self.dependence.conditional || self.dependence.paged {
            self.check_complexity(&selected, &variables)?;
        }
        Ok(Bound {
            operation: self.clone(),
            selected,
            variables,
        })
    }

    fn check_root_fields(&self, selected: &Selected) -> Result<(), Error> {
        if selected.admission.root_fields > self.limits.root_fields {
            let message = format!("the operation has more than {} root fields", self.limits.root_fields);
            return Err(Error::new(Kind::QueryTooComplex, message));
        }
        Ok(())
    }

    fn check_complexity(&self, selected: &Selected, variables: &Variables) -> Result<(), Error> {
        let complexity = admission::complexity(&self.types, &self.root, &selected.set.node, variables);
        if complexity > self.limits.complexity {
            let message = format!(
                "the operation's complexity is {complexity}, at most {} is allowed",
                self.limits.complexity
            );
            return Err(Error::new(Kind::QueryTooComplex, message));
        }
        Ok(())
    }
}

impl Selected {
    fn new(types: &Types, root: &str, set: Positioned<SelectionSet>) -> Result<Self, String> {
        let introspects = root_fields(&set.node).any(|name| matches!(name, "__schema" | "__type"));
        Ok(Self {
            shape: match set.node.items.is_empty() {
                true => None,
                false => Some(Shape::new(types, root, &set.node)?),
            },
            admission: admission::admission(types, root, &set.node),
            introspects,
            set,
        })
    }
}

/// An operation with its variables: what the gate is asked about and what the engine runs. Cheap to clone but for the
/// variables.
#[derive(Clone)]
pub struct Bound {
    operation: Arc<Operation>,
    pub(crate) selected: Arc<Selected>,
    variables: Variables,
}

impl Bound {
    pub fn operation(&self) -> &Arc<Operation> {
        &self.operation
    }

    pub fn is_subscription(&self) -> bool {
        self.operation.kind() == OperationType::Subscription
    }

    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// What is left to run: without what the variables skip.
    pub fn selection(&self) -> &SelectionSet {
        &self.selected.set.node
    }

    /// The first root field: the only one of a subscription.
    pub fn root_field(&self) -> Option<&Field> {
        self.selection()
            .items
            .iter()
            .find_map(|selection| match &selection.node {
                Selection::Field(field) => Some(&field.node),
                _ => None,
            })
    }

    /// An argument of the first root field as it is asked: by a variable, in the document, or the schema's default.
    pub fn root_argument(&self, name: &str) -> Option<Value> {
        let field = self.root_field()?;
        match field.get_argument(name) {
            Some(Positioned {
                node: Argument::Variable(variable),
                ..
            }) => self.variables.get(variable).cloned(),
            // A variable that is absent in an object leaves its member absent: null, to those who ask here.
            Some(value) => value
                .node
                .clone()
                .into_const_with(|variable| {
                    Ok::<_, Infallible>(self.variables.get(&variable).cloned().unwrap_or_default())
                })
                .ok(),
            None => {
                let definition = self.operation.types.field(&self.operation.root, &field.name.node)?;
                let argument = definition.arguments.iter().find(|argument| argument.name == name)?;
                argument.default.clone()
            }
        }
    }

    /// What it costs and requires, after @skip and @include.
    pub fn admission(&self) -> &Admission {
        &self.selected.admission
    }

    /// Writes `data` as JSON in the order of the selection, nulls as the schema has them.
    pub fn write(&self, data: &Value, out: &mut Vec<u8>) {
        match &self.selected.shape {
            Some(shape) => shape.write(data, out),
            None => out.extend_from_slice(b"{}"),
        }
    }
}

impl fmt::Debug for Bound {
    /// Variables may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

fn root_fields(set: &SelectionSet) -> impl Iterator<Item = &str> {
    set.items.iter().filter_map(|selection| match &selection.node {
        Selection::Field(field) => Some(field.node.name.node.as_str()),
        _ => None,
    })
}

fn is_one_field(set: &SelectionSet) -> bool {
    let mut names = root_fields(set);
    names.next().is_some_and(|name| !is_meta(name)) && names.next().is_none()
}

fn differs(conflict: &Conflict) -> Failure {
    let message = format!(
        "fields {:?} conflict because they differ in name or arguments: use different aliases",
        conflict.key.as_str()
    );
    Failure::at(
        Error::new(Kind::GraphqlValidationFailed, message),
        conflict.locations.clone(),
    )
}
