//! Webhooks: what happened, told to the servers of those who asked for it.

pub mod outgoing;
pub mod seal;
pub mod sign;
