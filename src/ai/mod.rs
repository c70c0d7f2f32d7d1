//! Companions: what members ask them, and what language models answer.

pub mod provider;
