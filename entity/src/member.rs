//! A member and their profile. What only the member may see or use to log in is in `credentials`.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "members")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub username: String,
    /// The username in lower case: unique, and what look-ups go by.
    pub username_key: String,
    pub display_name: String,
    pub avatar_url: Option<String>,
    pub is_public: bool,
    pub xp: i32,
    /// `member`, `moderator` or `admin`.
    pub role: String,
    /// All of the member's triggers are out of use.
    pub triggers_paused: bool,
    /// What a search looks in: the username and the display name, in lower case.
    pub search_key: String,
    pub created_at: i64,
    pub banned_at: Option<i64>,
    /// When the ban ends; none with `banned_at` set: for good.
    pub banned_until: Option<i64>,
    pub ban_reason: Option<String>,
    pub muted_at: Option<i64>,
    /// When the mute ends; none with `muted_at` set: for good.
    pub muted_until: Option<i64>,
    pub mute_reason: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
