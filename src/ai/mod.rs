//! AI companions.

pub mod speech;
