//! The server behind BambiSleep.Chat: one GraphQL schema in three dialects. ARCHITECTURE.md is the map.

pub mod accounts;
pub mod boot;
pub mod chat;
pub mod chat_socket;
pub mod cli;
pub mod close;
pub mod config;
pub mod doorbell;
pub mod error;
pub mod event;
pub mod events;
pub mod gate;
pub mod graphql;
pub mod http;
pub mod id;
pub mod loaders;
pub mod logging;
pub mod meter;
pub mod moderation;
pub mod presence;
pub mod profiles;
pub mod rest;
pub mod text;
pub mod time;
pub mod triggers;
pub mod words;
