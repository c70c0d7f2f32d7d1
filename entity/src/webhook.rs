//! Where a member wants to be told of events.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "webhooks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub member_id: Uuid,
    pub url: String,
    /// The URL's host and port, by which deliveries at once are limited.
    pub host: String,
    /// Kinds of events as they are spelled outside, with a space between.
    pub events: String,
    /// Sealed.
    #[serde(skip)]
    pub secret: Vec<u8>,
    /// The one before, sealed: signatures are made with it too until `old_secret_until`.
    #[serde(skip)]
    pub old_secret: Option<Vec<u8>>,
    pub old_secret_until: Option<i64>,
    pub is_active: bool,
    pub deactivated_reason: Option<String>,
    /// When the first of the failures was that no success has come after.
    pub failing_since: Option<i64>,
    /// The place in the log after which it is told of events.
    #[serde(skip)]
    pub since_tx: i64,
    #[serde(skip)]
    pub since_n: i64,
    /// How many of its deliveries arrived and how many failed, those of long ago counting less.
    #[serde(default)]
    pub delivered: i32,
    #[serde(default)]
    pub failed: i32,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
