pub mod coerce;
pub mod document;
pub mod execute;
pub mod failure;
pub mod http;
pub mod shape;
#[cfg(test)]
mod test_schema;
pub mod types;
