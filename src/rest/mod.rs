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

/// One route, or what streams at another's.
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
    /// The part of that name of a multipart body.
    File,
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

    /// The variable that is a file, if there is one: then the body is multipart.
    pub fn file(&self) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.source == Source::File)
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

#[cfg(test)]
mod tests {
    use async_graphql::{EmptySubscription, Enum, InputObject, Object, Request, Schema, SimpleObject};

    use super::{
        answer::{Answer, Asked},
        route::Route,
        *,
    };
    use crate::graphql::failure::Failure;
    use crate::{
        error::{Error, Kind, Result},
        graphql::types::Types,
    };

    #[derive(Clone, Copy, PartialEq, Eq, Enum)]
    enum Color {
        Red,
        Green,
    }

    #[derive(Clone, SimpleObject)]
    struct Pet {
        name: String,
        color: Color,
        toys: Vec<Toy>,
    }

    #[derive(Clone, SimpleObject)]
    struct Toy {
        name: String,
    }

    #[derive(SimpleObject)]
    struct Renamed {
        pet: Pet,
    }

    #[derive(InputObject)]
    struct RenameInput {
        name: String,
        #[graphql(default_with = "Color::Green")]
        color: Color,
    }

    struct Query;
    #[Object]
    impl Query {
        async fn pet(&self, name: String) -> async_graphql::Result<Option<Pet>> {
            match name.as_str() {
                "secret" => Err(Error::new(Kind::Forbidden, "not yours").into()),
                "nobody" => Ok(None),
                _ => Ok(Some(pet(name, Color::Red))),
            }
        }
    }

    struct Mutation;
    #[Object]
    impl Mutation {
        async fn rename(&self, _from: String, input: RenameInput) -> Renamed {
            Renamed {
                pet: pet(input.name, input.color),
            }
        }
    }

    fn pet(name: String, color: Color) -> Pet {
        let toys = ["ball", "bone"].map(|name| Toy { name: name.to_owned() }).to_vec();
        Pet { name, color, toys }
    }

    const SOURCE: &str = r#"
        query GetPet($name: String!) @rest(method: GET, path: "/pets/{name}") { pet(name: $name) @unwrap { ...Pet } }
        mutation Rename($name: String!, $input: RenameInput! @body)
        @rest(method: PUT, path: "/pets/{name}", add: { done: true }) {
          rename(from: $name, input: $input) @unwrap { pet @unwrap { ...Pet } }
        }
        fragment Pet on Pet { name color toys { name @unwrap } }
    "#;

    /// A request on its way through routing, variables, the library and the answer.
    async fn ask(method: Method, path: &str, body: Option<&str>) -> Result<String> {
        let schema = Schema::new(Query, Mutation, EmptySubscription);
        let types = Types::parse(&schema.sdl()).unwrap();
        let rest = Rest::load(SOURCE, &types).unwrap();
        let Route::Found(operation, values) = rest.route(&method, path) else {
            panic!("no route");
        };
        let body = body.map(|body| bytes::Bytes::copy_from_slice(body.as_bytes()));
        let variables = operation.variables(&types, &values, None, body.as_ref(), Some("application/json"))?;
        let mut request = Request::new("").variables(variables);
        request.set_parsed_query(operation.document.clone());
        let response = schema.execute(request).await;
        let asked = Asked {
            public_url: "https://chat.example",
            path: &values,
            query: None,
        };
        let failures: Vec<Failure> = response
            .errors
            .into_iter()
            .map(|error| Failure::of_resolver(error, "r1"))
            .collect();
        let Answer { body, .. } = operation.answer(&response.data, &failures, &asked)?;
        Ok(String::from_utf8(body).unwrap())
    }

    #[tokio::test]
    async fn a_request_goes_through() {
        assert_eq!(
            ask(Method::GET, "/pets/rex%20i", None).await.unwrap(),
            r#"{"name":"rex i","color":"RED","toys":["ball","bone"]}"#
        );
        assert_eq!(
            ask(Method::PUT, "/pets/rex", Some(r#"{"name": "max", "toys": []}"#))
                .await
                .unwrap(),
            r#"{"done":true,"name":"max","color":"GREEN","toys":["ball","bone"]}"#
        );
    }

    #[tokio::test]
    async fn a_failure_keeps_its_type() {
        let kind = |answer: Result<String>| answer.unwrap_err().kind();
        assert_eq!(kind(ask(Method::GET, "/pets/secret", None).await), Kind::Forbidden);
        assert_eq!(kind(ask(Method::GET, "/pets/nobody", None).await), Kind::NotFound);
        assert_eq!(kind(ask(Method::PUT, "/pets/rex", Some("{}")).await), Kind::BadRequest);
    }
}
