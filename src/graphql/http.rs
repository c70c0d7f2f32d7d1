//! GraphQL over HTTP (graphql.github.io/graphql-over-http, draft): requests taken apart, answers put together. Pure
//! functions; who is calling and what runs is decided between them.

mod accept;
mod decode;
mod respond;
mod uploads;

pub use self::{
    accept::{Format, negotiate, wants_explorer},
    decode::{Decoded, GraphqlRequest, check_method, decode},
    respond::{Answer, refuse, respond, stream, write_failures},
    uploads::{MOST_FILES, Uploads},
};
