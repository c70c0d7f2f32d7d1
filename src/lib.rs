//! The server behind BambiSleep.Chat: one GraphQL schema in three dialects. ARCHITECTURE.md is the map.

pub mod doorbell;
pub mod error;
pub mod gate;
pub mod graphql;
pub mod meter;
