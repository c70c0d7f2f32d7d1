pub mod coerce;
pub mod types;
