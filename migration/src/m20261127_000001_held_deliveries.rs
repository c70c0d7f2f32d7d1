//! Deliveries know whether an earlier one holds them back, so that those that are due are found without looking at all
//! that wait behind them; and how a webhook is doing is found without looking at all that was ever sent to it.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The types are those of [`dialect`].
const CHANGES: &[&str] = &[
    "ALTER TABLE deliveries ADD COLUMN is_held $bool NOT NULL DEFAULT FALSE",
    "UPDATE deliveries SET is_held = TRUE WHERE status = 'pending' AND EXISTS (SELECT 1 FROM deliveries e
         WHERE e.webhook_id = deliveries.webhook_id AND e.subject_id = deliveries.subject_id
             AND e.seq < deliveries.seq AND e.status = 'pending' AND e.attempts < 3)",
    "DROP INDEX due_deliveries",
    "CREATE INDEX due_deliveries ON deliveries (next_attempt_at) WHERE status = 'pending' AND NOT is_held",
    "CREATE INDEX due_deliveries_by_webhook ON deliveries (webhook_id, next_attempt_at)
         WHERE status = 'pending' AND NOT is_held",
    "CREATE INDEX deliveries_on_their_way ON deliveries (lease_until)
         WHERE status = 'pending' AND NOT is_held AND lease_until IS NOT NULL",
    "DROP INDEX done_deliveries_by_age",
    "CREATE INDEX done_deliveries ON deliveries (webhook_id, done_at, status) WHERE done_at IS NOT NULL",
    "CREATE INDEX deliveries_with_errors ON deliveries (webhook_id, n) WHERE error IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, CHANGES).await
    }
}
