//! A prompt and its answer: one row, so that neither is ever without the other.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "session_turns")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: Uuid,
    /// Its place in the session, from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    pub prompt: String,
    pub answer: String,
    /// The triggers that the answer may have something of, in JSON: `[["trigger's UUID", revision], …]`. The model was
    /// offered them for it, or sent an earlier turn that carries them.
    pub carried: String,
    /// The file of the answer, read aloud.
    pub audio: Option<String>,
    pub prompted_at: i64,
    pub answered_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
