//! The GraphQL side: documents, their limits and their running; the types that slices share; the whole schema.

pub mod coerce;
pub mod context;
pub mod document;
pub mod event_stream;
pub mod execute;
pub mod failure;
pub mod http;
pub mod live;
pub mod page;
pub mod resolve;
pub mod scalars;
pub mod schema;
pub mod sdl;
pub mod shape;
#[cfg(test)]
mod test_schema;
pub mod transport_ws;
pub mod types;
