//! A short named cue that a member wrote.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "triggers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub creator_id: Uuid,
    pub name: String,
    /// The name in lower case: unique for each creator.
    pub name_key: String,
    pub description: String,
    pub content: String,
    pub is_public: bool,
    /// Grows with each edit of name or content.
    pub revision: i32,
    /// Grows with each edit of the description.
    #[serde(default)]
    pub description_edits: i32,
    /// What a search looks in: name and description, in lower case.
    pub search_key: String,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
