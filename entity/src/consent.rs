//! A receipt: what a member consented to or took back, and when.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "consents")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub n: i64,
    #[sea_orm(unique)]
    pub id: Uuid,
    pub member_id: Uuid,
    /// `activated`, `deactivated`, `withdrawn`, `paused` or `resumed`.
    pub kind: String,
    /// None for a pause. The trigger may be gone.
    pub trigger_id: Option<Uuid>,
    pub revision: Option<i32>,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
