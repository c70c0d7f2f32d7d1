//! One entry of the log: what happened to which object, never its content. On Postgres the table has one more column, `tx`, the writing transaction.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub n: i64,
    #[sea_orm(unique)]
    pub id: Uuid,
    pub subject_id: Uuid,
    /// Its place among the events of its subject, from 1, without gaps.
    pub seq: i64,
    pub kind: String,
    pub actor_id: Option<Uuid>,
    pub object_id: Uuid,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
