//! The server over the wire, as its clients meet it.

mod accounts;
mod browser;
mod harness;
mod keys;
mod rate_limit;
