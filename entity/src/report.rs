//! What a member told the moderators of a message.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "reports")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub n: i64,
    #[sea_orm(unique)]
    pub id: Uuid,
    pub message_id: Uuid,
    pub reporter_id: Uuid,
    /// What the message said when it was reported.
    pub content: String,
    pub reason: String,
    pub created_at: i64,
    pub closed_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
