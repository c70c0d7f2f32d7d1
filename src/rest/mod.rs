//! REST is data: each operation of `rest/v1.graphql` is one route, and nothing else defines REST.
//!
//! A request goes [`Rest::route`] → [`Operation::variables`] → the operation's document runs like any other →
//! [`Operation::answer`]. [`openapi::document`] describes it all.

pub mod answer;
mod examples;
#[cfg(test)]
mod fixtures;
pub mod load;
pub mod openapi;
pub mod request;
pub mod route;

pub use load::{LoadError, Rest};

use async_graphql::{
    Name, Positioned,
    parser::types::{ExecutableDocument, OperationType, SelectionSet, VariableDefinition},
};
use http::Method;
use serde_json::{Map, Value as Json};

use crate::graphql::shape::Shape;

/// `rest/v1.graphql`, from which all routes come.
pub const V1: &str = include_str!("../../rest/v1.graphql");

/// One route.
#[derive(Debug)]
pub struct Operation {
    /// Its place in [`Rest::operations`], for what others keep beside it.
    pub index: usize,
    pub name: Name,
    pub method: Method,
    /// The path below `/v1`.
    pub path: Vec<Segment>,
    pub kind: OperationType,
    /// The root field: its name in the schema and its key in the data.
    pub field: Name,
    pub key: Name,
    pub variables: Vec<Variable>,
    /// What runs: this operation alone, fragments inlined, without the directives of REST.
    pub document: ExecutableDocument,
    pub shape: Shape,
    /// The constant members of the body.
    pub add: Map<String, Json>,
    /// The same as JSON members, `"success":true`.
    constants: Vec<String>,
    /// The comment above the operation.
    pub description: Option<String>,
}

/// A part of a path between slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Literal(String),
    /// `{name}`: the variable of that name.
    Parameter(Name),
}

/// What a request gives an operation.
#[derive(Debug)]
pub struct Variable {
    pub definition: Positioned<VariableDefinition>,
    pub source: Source,
}

/// Where in the request a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The nth parameter of the path.
    Path(usize),
    /// The parameter of that name in the query string; for a list, all of that name.
    Query,
    /// The member of that name of the JSON body.
    Member,
    /// The whole JSON body.
    Body,
}

/// A fragment of the file, which shapes one kind of object wherever REST, the chat socket and webhooks show it.
#[derive(Debug)]
pub struct Fragment {
    pub name: Name,
    pub type_condition: Name,
    /// Fragments inlined, without the directives of REST.
    pub selection: SelectionSet,
    /// Writes an object of the type.
    pub shape: Shape,
    /// How to fetch one by its id, where the type has one.
    pub node: Option<NodeDocument>,
}

/// `query ($id: ID!) { node(id: $id) { ...fragment } }`.
#[derive(Debug)]
pub struct NodeDocument {
    pub document: ExecutableDocument,
    /// Writes the object itself, unwrapped.
    pub shape: Shape,
}

impl Operation {
    /// The path below `/v1` as `/profile/{username}`.
    pub fn template(&self) -> String {
        self.path.iter().fold(String::new(), |path, segment| match segment {
            Segment::Literal(literal) => path + "/" + literal,
            Segment::Parameter(name) => path + "/{" + name + "}",
        })
    }

    /// The variable of that name.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name() == name)
    }
}

impl Variable {
    pub fn name(&self) -> &Name {
        &self.definition.node.name.node
    }
}
