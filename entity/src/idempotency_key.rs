//! A member's idempotency key: what it was used for, and what came of it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub member_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// The mutation, such as `createTrigger`.
    pub field: String,
    /// SHA-256 of the coerced arguments.
    pub arguments_hash: Vec<u8>,
    /// Ids of the result, as JSON; none while the first request runs.
    pub result: Option<String>,
    /// Until when a key without a result is held for the request that runs.
    pub lease_until: i64,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
