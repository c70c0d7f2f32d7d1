//! The schema's own scalars. They take any text: what is wrong with it is said by the operation, which knows the field.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use bytes::Bytes;
use serde::Serialize;

use crate::{text::Checks, time};

/// RFC 3339, UTC, whole seconds: 2025-01-01T00:00:00Z
#[derive(Clone, Debug)]
pub struct DateTime(String);

impl DateTime {
    /// From Unix milliseconds.
    pub fn new(millis: i64) -> Self {
        Self(time::format(millis))
    }

    /// Unix milliseconds; 0, and a refusal, where the text is no time.
    pub fn check(&self, checks: &mut Checks, field: &str) -> i64 {
        time::parse(&self.0).unwrap_or_else(|| {
            checks.refuse(field, "must be a time such as 2025-01-01T00:00:00Z");
            0
        })
    }
}

/// A time in UTC, to the second, by RFC 3339: `2025-01-01T00:00:00Z`.
#[Scalar(specified_by_url = "https://www.rfc-editor.org/rfc/rfc3339")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// An absolute http or https URL of at most 2048 characters.
#[derive(Clone, Debug, Serialize)]
pub struct Url(pub String);

/// An absolute http or https URL of at most 2,048 characters.
#[Scalar(name = "URL")]
impl ScalarType for Url {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// A file, by the GraphQL multipart request: its bytes. No document and no JSON can spell one, as a variable holds it in
/// a form that is none of theirs.
#[derive(Clone, Debug)]
pub struct Upload(pub Bytes);

/// A file, sent by the GraphQL multipart request; its variable is null in the JSON.
#[Scalar(specified_by_url = "https://github.com/jaydenseric/graphql-multipart-request-spec")]
impl ScalarType for Upload {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::Binary(bytes) => Ok(Self(bytes)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::Binary(_))
    }

    fn to_value(&self) -> Value {
        Value::Null
    }
}
