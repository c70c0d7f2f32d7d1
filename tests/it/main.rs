//! The server over the wire, as its clients meet it.

mod accounts;
mod browser;
mod chat;
mod cli;
mod events;
mod graphql_http;
mod harness;
mod idempotency;
mod keys;
mod limits;
mod matrix;
mod nodes;
mod openapi;
mod profiles;
mod rate_limit;
mod rest;
mod schema;
mod statements;
mod triggers;
mod xp;
