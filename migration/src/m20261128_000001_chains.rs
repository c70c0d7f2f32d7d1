//! Deliveries that are taken together are found by their lease, and how many arrived is counted as they do: one that is done
//! changes as few indexes as may be.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub struct Migration;

const CHANGES: &[&str] = &[
    "DROP INDEX deliveries_on_their_way",
    "CREATE INDEX taken_deliveries ON deliveries (lease_until, lease, webhook_id, status)
         WHERE status = 'pending' AND lease IS NOT NULL",
    "ALTER TABLE webhooks ADD COLUMN delivered $int NOT NULL DEFAULT 0",
    "ALTER TABLE webhooks ADD COLUMN failed $int NOT NULL DEFAULT 0",
    "UPDATE webhooks SET
         delivered = (SELECT COUNT(*) FROM (SELECT status FROM deliveries
             WHERE webhook_id = webhooks.id AND done_at IS NOT NULL ORDER BY done_at DESC LIMIT 1000) last
             WHERE status = 'delivered'),
         failed = (SELECT COUNT(*) FROM (SELECT status FROM deliveries
             WHERE webhook_id = webhooks.id AND done_at IS NOT NULL ORDER BY done_at DESC LIMIT 1000) last
             WHERE status = 'failed')",
    "DROP INDEX done_deliveries",
    "CREATE INDEX done_deliveries ON deliveries (done_at) WHERE done_at IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, CHANGES).await
    }
}
