//! An event on its way to a webhook.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
#[sea_orm(table_name = "deliveries")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub n: i64,
    pub id: Uuid,
    pub webhook_id: Uuid,
    pub event_id: Uuid,
    pub kind: String,
    pub subject_id: Uuid,
    /// The event's number among its subject's.
    pub seq: i64,
    pub object_id: Uuid,
    pub happened_at: i64,
    /// `pending`, `delivered` or `failed`.
    pub status: String,
    pub attempts: i32,
    /// None where there is none to come.
    pub next_attempt_at: Option<i64>,
    /// Whoever works on it holds this, until `lease_until`.
    pub lease: Option<Uuid>,
    pub lease_until: Option<i64>,
    /// While an earlier one of its webhook and subject has to be tried first.
    pub is_held: bool,
    /// What was sent last.
    pub body: Option<String>,
    pub response_status: Option<i32>,
    /// How the answer began.
    pub response_body: Option<String>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    pub created_at: i64,
    pub done_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
