//! Sessions with AI companions, what was read aloud, and uploaded avatars; whose an idempotency key is that is being
//! worked on; which description of a trigger a member has read.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The types are those of [`dialect`].
const TABLES: &[&str] = &[
    "ALTER TABLE idempotency_keys ADD COLUMN lease $uuid",
    "CREATE INDEX idempotency_keys_by_lease ON idempotency_keys (lease) WHERE lease IS NOT NULL",
    "ALTER TABLE triggers ADD COLUMN description_edits $int NOT NULL DEFAULT 0",
    "ALTER TABLE activations ADD COLUMN description_edits $int NOT NULL DEFAULT 0",
    "CREATE TABLE sessions (
        id $uuid PRIMARY KEY,
        member_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        turns $int NOT NULL,
        created_at $bigint NOT NULL,
        active_at $bigint NOT NULL
    )$strict",
    "CREATE INDEX sessions_by_member ON sessions (member_id, id)",
    "CREATE INDEX sessions_by_activity ON sessions (member_id, active_at)",
    "CREATE TABLE audio_files (
        name TEXT PRIMARY KEY,
        spoken $bytes NOT NULL UNIQUE,
        created_at $bigint NOT NULL
    )$strict",
    "CREATE INDEX audio_files_by_age ON audio_files (created_at)",
    "CREATE TABLE session_turns (
        session_id $uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        number $int NOT NULL,
        prompt TEXT NOT NULL,
        answer TEXT NOT NULL,
        carried TEXT NOT NULL,
        audio TEXT REFERENCES audio_files (name) ON DELETE SET NULL,
        prompted_at $bigint NOT NULL,
        answered_at $bigint NOT NULL,
        PRIMARY KEY (session_id, number)
    )$strict",
    "CREATE INDEX session_turns_by_audio ON session_turns (audio) WHERE audio IS NOT NULL",
    "CREATE TABLE avatars (
        name TEXT PRIMARY KEY,
        member_id $uuid NOT NULL UNIQUE REFERENCES members (id) ON DELETE CASCADE,
        created_at $bigint NOT NULL
    )$strict",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await
    }
}
