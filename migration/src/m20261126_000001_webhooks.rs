//! Webhooks and their deliveries.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The types are those of [`dialect`]. The dispatcher has read the log up to its place.
const TABLES: &[&str] = &[
    "CREATE TABLE webhooks (
        id $uuid PRIMARY KEY,
        member_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        url TEXT NOT NULL,
        host TEXT NOT NULL,
        events TEXT NOT NULL,
        secret $bytes NOT NULL,
        old_secret $bytes,
        old_secret_until $bigint,
        is_active $bool NOT NULL,
        deactivated_reason TEXT,
        failing_since $bigint,
        since_tx $bigint NOT NULL,
        since_n $bigint NOT NULL,
        created_at $bigint NOT NULL
    )$strict",
    "CREATE INDEX webhooks_by_member ON webhooks (member_id, id)",
    "CREATE TABLE deliveries (
        n $serial,
        id $uuid NOT NULL UNIQUE,
        webhook_id $uuid NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
        event_id $uuid NOT NULL,
        kind TEXT NOT NULL,
        subject_id $uuid NOT NULL,
        seq $bigint NOT NULL,
        object_id $uuid NOT NULL,
        happened_at $bigint NOT NULL,
        status TEXT NOT NULL,
        attempts $int NOT NULL,
        next_attempt_at $bigint,
        lease $uuid,
        lease_until $bigint,
        body TEXT,
        response_status $int,
        response_body TEXT,
        error TEXT,
        created_at $bigint NOT NULL,
        done_at $bigint,
        UNIQUE (webhook_id, event_id)
    )$strict",
    "CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, n)",
    "CREATE INDEX deliveries_by_object ON deliveries (object_id)",
    "CREATE INDEX due_deliveries ON deliveries (next_attempt_at) WHERE status = 'pending'",
    "CREATE INDEX pending_deliveries_in_order ON deliveries (webhook_id, subject_id, seq) WHERE status = 'pending'",
    "CREATE INDEX done_deliveries_by_age ON deliveries (done_at) WHERE done_at IS NOT NULL",
    "CREATE TABLE dispatcher (
        id $int PRIMARY KEY,
        tx $bigint NOT NULL,
        n $bigint NOT NULL
    )$strict",
    "INSERT INTO dispatcher (id, tx, n) VALUES (1, 0, 0)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await
    }
}
