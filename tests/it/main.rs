//! The server over the wire, as its clients meet it.

mod accounts;
mod browser;
mod cli;
mod harness;
mod keys;
mod nodes;
mod rate_limit;
