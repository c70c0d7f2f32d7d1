pub mod coerce;
pub mod shape;
pub mod types;
