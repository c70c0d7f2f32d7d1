//! Members, who is calling, triggers with consent, the log, idempotency and XP.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

use crate::dialect;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The types are those of [`dialect`]; `$tx` is the column that orders the log across subjects on Postgres.
const TABLES: &[&str] = &[
    "CREATE TABLE members (
        id $uuid PRIMARY KEY,
        username TEXT NOT NULL,
        username_key TEXT NOT NULL UNIQUE,
        display_name TEXT NOT NULL,
        avatar_url TEXT,
        is_public $bool NOT NULL,
        xp $int NOT NULL,
        role TEXT NOT NULL,
        triggers_paused $bool NOT NULL,
        search_key TEXT NOT NULL,
        created_at $bigint NOT NULL,
        banned_at $bigint,
        banned_until $bigint,
        ban_reason TEXT
    )$strict",
    "CREATE INDEX members_by_xp ON members (xp DESC, username_key)",
    "CREATE TABLE credentials (
        member_id $uuid PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
        password_hash TEXT NOT NULL,
        email TEXT
    )$strict",
    "CREATE TABLE logins (
        id $uuid PRIMARY KEY,
        token_hash $bytes NOT NULL UNIQUE,
        member_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        data TEXT NOT NULL,
        user_agent TEXT,
        address TEXT,
        created_at $bigint NOT NULL,
        last_seen_at $bigint NOT NULL,
        expires_at $bigint NOT NULL
    )$strict",
    "CREATE INDEX logins_by_member ON logins (member_id)",
    "CREATE INDEX logins_by_expiry ON logins (expires_at)",
    "CREATE TABLE api_keys (
        id $uuid PRIMARY KEY,
        member_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        prefix TEXT NOT NULL,
        key_hash $bytes NOT NULL UNIQUE,
        scopes TEXT NOT NULL,
        created_at $bigint NOT NULL,
        last_used_at $bigint,
        expires_at $bigint
    )$strict",
    "CREATE INDEX api_keys_by_member ON api_keys (member_id)",
    "CREATE TABLE triggers (
        id $uuid PRIMARY KEY,
        creator_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        name_key TEXT NOT NULL,
        description TEXT NOT NULL,
        content TEXT NOT NULL,
        is_public $bool NOT NULL,
        revision $int NOT NULL,
        search_key TEXT NOT NULL,
        created_at $bigint NOT NULL,
        UNIQUE (creator_id, name_key)
    )$strict",
    "CREATE INDEX public_triggers ON triggers (id) WHERE is_public",
    "CREATE TABLE activations (
        member_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        trigger_id $uuid NOT NULL REFERENCES triggers (id) ON DELETE CASCADE,
        revision $int NOT NULL,
        activated_at $bigint NOT NULL,
        PRIMARY KEY (member_id, trigger_id)
    )$strict",
    "CREATE INDEX activations_by_trigger ON activations (trigger_id)",
    "CREATE TABLE consents (
        n $serial,
        id $uuid NOT NULL UNIQUE,
        member_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        trigger_id $uuid,
        revision $int,
        created_at $bigint NOT NULL
    )$strict",
    "CREATE INDEX consents_by_member ON consents (member_id, n)",
    "CREATE TABLE subjects (
        id $uuid PRIMARY KEY,
        last_seq $bigint NOT NULL
    )$strict",
    "CREATE TABLE events (
        n $serial,
        id $uuid NOT NULL UNIQUE,
        subject_id $uuid NOT NULL,
        seq $bigint NOT NULL,
        kind TEXT NOT NULL,
        actor_id $uuid,
        object_id $uuid NOT NULL,
        created_at $bigint NOT NULL$tx,
        UNIQUE (subject_id, seq)
    )$strict",
    "CREATE TABLE idempotency_keys (
        member_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        key TEXT NOT NULL,
        field TEXT NOT NULL,
        arguments_hash $bytes NOT NULL,
        result TEXT,
        lease_until $bigint NOT NULL,
        created_at $bigint NOT NULL,
        PRIMARY KEY (member_id, key)
    )$strict",
    "CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at)",
    "CREATE TABLE xp_days (
        member_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        reason TEXT NOT NULL,
        day $int NOT NULL,
        amount $int NOT NULL,
        PRIMARY KEY (member_id, reason, day)
    )$strict",
];

const POSTGRES_ONLY: &[&str] = &["CREATE INDEX events_in_order ON events (tx, n)"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            dialect::run(manager, POSTGRES_ONLY).await?;
        }
        Ok(())
    }
}
