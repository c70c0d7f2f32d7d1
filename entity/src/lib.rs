//! The rows of the database, one table a file. Times are Unix milliseconds (UTC); ids are UUIDv7, which name rows and
//! never order what readers rely on.

pub mod activation;
pub mod api_key;
pub mod audio_file;
pub mod audit_entry;
pub mod avatar;
pub mod block;
pub mod consent;
pub mod credential;
pub mod delivery;
pub mod event;
pub mod idempotency_key;
pub mod login;
pub mod member;
pub mod message;
pub mod report;
pub mod room;
pub mod session;
pub mod session_turn;
pub mod subject;
pub mod trigger;
pub mod webhook;
pub mod xp_day;
