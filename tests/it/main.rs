//! The server over the wire, as its clients meet it.

mod accounts;
mod browser;
mod chat;
mod cli;
mod clients;
mod cluster;
mod events;
mod graphql_http;
mod graphql_sse;
mod graphql_ws;
mod harness;
mod idempotency;
mod keys;
mod limits;
mod live_clients;
mod matrix;
mod moderation;
mod nodes;
mod openapi;
mod profiles;
mod rate_limit;
mod rest;
mod schema;
mod statements;
mod triggers;
mod xp;
