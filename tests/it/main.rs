//! The server over the wire, as its clients meet it.

mod accounts;
mod graphql_http;
mod harness;
mod limits;
mod matrix;
mod openapi;
mod rest;
mod schema;
