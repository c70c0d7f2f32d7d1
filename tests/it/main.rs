//! The server over the wire, as its clients meet it.

mod accounts;
mod events;
mod harness;
mod idempotency;
mod profiles;
mod statements;
mod triggers;
mod xp;
