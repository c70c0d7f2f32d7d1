//! The server over the wire, as its clients meet it.

mod accounts;
mod browser;
mod events;
mod graphql_http;
mod harness;
mod idempotency;
mod keys;
mod limits;
mod profiles;
mod rate_limit;
mod statements;
mod triggers;
mod xp;
