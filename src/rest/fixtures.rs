//! The target schema and the whole REST contract, for tests.

use std::sync::LazyLock;

use super::{LoadError, Rest};
use crate::graphql::types::Types;

/// The contract's own operations.
pub const V1: &str = include_str!("fixtures/v1.graphql");

/// The schema that the server grows into.
pub fn types() -> &'static Types {
    static TYPES: LazyLock<Types> = LazyLock::new(|| Types::parse(include_str!("fixtures/schema.graphql")).unwrap());
    &TYPES
}

/// Operations over the target schema.
pub fn load(source: &str) -> Result<Rest, LoadError> {
    Rest::load(source, types())
}
