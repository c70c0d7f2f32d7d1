//! One entry of a GraphQL response's `errors`, and what becomes of the library's.

use async_graphql::{PathSegment, Pos, ServerError};
use serde_json::{Value, json};

use crate::error::{Error, Kind};

/// An error with where in the document and where in the response it happened.
#[derive(Clone, Debug)]
pub struct Failure {
    pub error: Error,
    pub locations: Vec<Pos>,
    /// From the root of `data`; empty where nothing ran.
    pub path: Vec<PathSegment>,
}

impl Failure {
    /// A failure of the document or the request, before anything ran.
    pub fn at(error: Error, locations: Vec<Pos>) -> Self {
        Self {
            error,
            locations,
            path: Vec::new(),
        }
    }

    /// What a resolver failed with. Errors of ours come through as they are. An argument that its type's own parser
    /// refuses is `VALIDATION_FAILED`. Anything else nobody meant for the client: it is a defect, `INTERNAL`.
    ///
    /// Defects are logged, and the client gets `request_id` to find them by.
    pub fn of_resolver(error: ServerError, request_id: &str) -> Self {
        let ours = match error.source::<Error>() {
            Some(error) => error.clone(),
            None if is_refused_argument(&error) => Error::new(Kind::ValidationFailed, error.message.clone()),
            None => Error::internal(error.message.clone()),
        };
        Self {
            error: reported(ours, &error.path, request_id),
            locations: error.locations,
            path: error.path,
        }
    }

    /// As the specification spells it: `message`, `locations`, `path`, `extensions`.
    pub fn to_json(&self) -> Value {
        let mut entry = json!({ "message": self.error.message() });
        if !self.locations.is_empty() {
            entry["locations"] = json!(self.locations);
        }
        if !self.path.is_empty() {
            entry["path"] = json!(self.path);
        }
        entry["extensions"] = self.error.extensions();
        entry
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::at(error, Vec::new())
    }
}

/// Logs a defect and tells the client what to find it by; other errors come back as they are.
pub fn reported(error: Error, path: &[PathSegment], request_id: &str) -> Error {
    if error.kind() != Kind::Internal {
        return error;
    }
    tracing::error!(request_id, ?path, ?error, "a resolver failed");
    error.with("requestId", request_id)
}

/// The library's `InputValueError` does not survive as a type, only as these sentences.
fn is_refused_argument(error: &ServerError) -> bool {
    error.source.is_none()
        && ["Failed to parse \"", "Expected input type \""]
            .iter()
            .any(|start| error.message.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_errors_come_through_with_place_and_details() {
        let mut error = async_graphql::Error::from(Error::invalid("name", "is blank"))
            .into_server_error(Pos { line: 2, column: 5 });
        error.path = vec![PathSegment::Field("rename".into()), PathSegment::Index(1)];
        assert_eq!(
            Failure::of_resolver(error, "r1").to_json(),
            json!({
                "message": "name is blank",
                "locations": [{ "line": 2, "column": 5 }],
                "path": ["rename", 1],
                "extensions": {
                    "code": "VALIDATION_FAILED", "status": 400, "details": { "fields": { "name": "is blank" } },
                },
            })
        );
    }

    #[test]
    fn what_nobody_meant_for_the_client_is_internal() {
        let foreign = async_graphql::Error::new_with_source(std::io::Error::other("/etc/secret"));
        let missing = async_graphql::Error::new("Data `Pool` does not exist.");
        for error in [foreign, missing] {
            let failure = Failure::of_resolver(error.into_server_error(Pos::default()), "r1");
            assert_eq!(failure.error.kind(), Kind::Internal);
            assert_eq!(failure.error.details()["requestId"], "r1");
            assert_eq!(failure.error.message(), "internal server error");
        }
    }

    #[test]
    fn an_argument_that_its_type_refuses_is_not_valid() {
        let refused = ServerError::new("Failed to parse \"Username\": is too short", None);
        assert_eq!(Failure::of_resolver(refused, "r1").error.kind(), Kind::ValidationFailed);
    }
}
