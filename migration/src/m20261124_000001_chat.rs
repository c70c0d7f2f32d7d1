//! Rooms and messages; blocks, reports, mutes and the audit log.

use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The types are those of [`dialect`]. The member `deleted` has what deleted accounts leave behind.
const TABLES: &[&str] = &[
    "INSERT INTO members (id, username, username_key, display_name, is_public, xp, role, triggers_paused, search_key,
        created_at)
     SELECT $id(00000000000070008000000000000000)$id, 'deleted', 'deleted', 'deleted', m.no, 0, 'member', m.no, '', 0
     FROM (SELECT 1 = 0 AS no) m",
    "ALTER TABLE members ADD COLUMN muted_at $bigint",
    "ALTER TABLE members ADD COLUMN muted_until $bigint",
    "ALTER TABLE members ADD COLUMN mute_reason TEXT",
    "CREATE TABLE rooms (
        id $uuid PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        creator_id $uuid REFERENCES members (id) ON DELETE SET NULL,
        last_number $int NOT NULL,
        created_at $bigint NOT NULL
    )$strict",
    "CREATE INDEX rooms_by_creator ON rooms (creator_id)",
    "INSERT INTO rooms (id, name, last_number, created_at)
     VALUES ($id(00000000000070008000000000000001)$id, 'lobby', 0, 0)",
    "CREATE TABLE messages (
        id $uuid PRIMARY KEY,
        room_id $uuid NOT NULL REFERENCES rooms (id),
        number $int NOT NULL,
        seq $bigint NOT NULL,
        author_id $uuid NOT NULL REFERENCES members (id),
        content TEXT NOT NULL,
        created_at $bigint NOT NULL,
        edited_at $bigint,
        deleted_at $bigint,
        UNIQUE (room_id, number)
    )$strict",
    "CREATE INDEX messages_by_author ON messages (author_id)",
    "CREATE TABLE blocks (
        blocker_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        blocked_id $uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
        created_at $bigint NOT NULL,
        PRIMARY KEY (blocker_id, blocked_id)
    )$strict",
    "CREATE INDEX blocks_by_blocked ON blocks (blocked_id)",
    "CREATE TABLE reports (
        n $serial,
        id $uuid NOT NULL UNIQUE,
        message_id $uuid NOT NULL REFERENCES messages (id),
        reporter_id $uuid NOT NULL REFERENCES members (id),
        content TEXT NOT NULL,
        reason TEXT NOT NULL,
        created_at $bigint NOT NULL,
        closed_at $bigint,
        UNIQUE (message_id, reporter_id)
    )$strict",
    "CREATE INDEX reports_by_reporter ON reports (reporter_id)",
    "CREATE INDEX open_reports ON reports (n) WHERE closed_at IS NULL",
    "CREATE TABLE audit_entries (
        n $serial,
        id $uuid NOT NULL UNIQUE,
        actor_id $uuid NOT NULL REFERENCES members (id),
        action TEXT NOT NULL,
        subject_id $uuid REFERENCES members (id),
        reason TEXT,
        until $bigint,
        created_at $bigint NOT NULL
    )$strict",
    "CREATE INDEX audit_entries_by_actor ON audit_entries (actor_id)",
    "CREATE INDEX audit_entries_by_subject ON audit_entries (subject_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, TABLES).await
    }
}
