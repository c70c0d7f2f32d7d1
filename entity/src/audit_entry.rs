//! What a moderator or admin did.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_entries")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub n: i64,
    #[sea_orm(unique)]
    pub id: Uuid,
    pub actor_id: Uuid,
    /// `mute`, `ban`, `reinstate`, `closeReport` or `deleteMessage`.
    pub action: String,
    pub subject_id: Option<Uuid>,
    pub reason: Option<String>,
    /// When a mute or ban ends; none: for good.
    pub until: Option<i64>,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
