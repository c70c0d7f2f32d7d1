//! The log: events are written in the transaction of what caused them and read by everyone at their own pace.
//!
//! A subject's events are numbered under its row's lock, so their numbers follow the order of commits. Across subjects
//! the order is that of the row id on SQLite (one writer) and of (transaction id, row id) on Postgres, where nothing is
//! read that a transaction still running could come before. It is the order of each subject's numbers too.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, Statement, Value};
use uuid::Uuid;

use super::{
    Permit,
    db::{any_uuid, sql, uuids},
    rows::Rows,
    writer::{Operation, Tx},
};
use crate::error::{Error, Result};

/// The subject of what nodes must know of callers: logins and keys that ended, roles, bans.
pub const CALLERS: Uuid = Uuid::nil();
/// The kind of its events: what a member may do as a caller changed. Of the inside, never shown.
pub(super) const CALLER_CHANGED: &str = "caller.changed";

/// What was written into the log: whom to wake for it.
#[derive(Clone, Debug)]
pub(super) struct Happened {
    pub subject: Uuid,
    pub kind: &'static str,
    pub object: Uuid,
}

pub(super) async fn append(
    db: &impl ConnectionTrait,
    now: i64,
    kind: &'static str,
    subject: Uuid,
    actor: Option<Uuid>,
    object: Uuid,
) -> Result<(Uuid, Happened)> {
    let backend = db.get_database_backend();
    let id = Uuid::now_v7();
    let numbered = sql(
        backend,
        "INSERT INTO subjects (id, last_seq) VALUES (?, 1)
         ON CONFLICT (id) DO UPDATE SET last_seq = subjects.last_seq + 1 RETURNING last_seq",
        [subject.into()],
    );
    let seq: i64 = db
        .query_one_raw(numbered)
        .await?
        .ok_or_else(|| Error::internal("a subject that was numbered has no number"))?
        .try_get_by_index(0)?;
    let (column, place, place_values) = placed(backend, subject, seq);
    let text = format!(
        "INSERT INTO events (id, subject_id, seq, kind, actor_id, object_id, created_at{column})
         VALUES (?, ?, ?, ?, ?, ?, ?{place})"
    );
    let mut values: Vec<Value> = vec![
        id.into(),
        subject.into(),
        seq.into(),
        kind.into(),
        actor.into(),
        object.into(),
        now.into(),
    ];
    values.extend(place_values);
    db.execute_raw(sql(backend, &text, values)).await?;
    Ok((id, Happened { subject, kind, object }))
}

/// Writes events of one subject that happen together, in their order; the number of the first of them.
pub(super) async fn append_all(
    db: &impl ConnectionTrait,
    now: i64,
    kind: &'static str,
    subject: Uuid,
    events: &[New],
) -> Result<(i64, Happened)> {
    let backend = db.get_database_backend();
    let count = events.len() as i64;
    let numbered = sql(
        backend,
        "INSERT INTO subjects (id, last_seq) VALUES (?, ?)
         ON CONFLICT (id) DO UPDATE SET last_seq = subjects.last_seq + ? RETURNING last_seq",
        [subject.into(), count.into(), count.into()],
    );
    let last: i64 = db
        .query_one_raw(numbered)
        .await?
        .ok_or_else(|| Error::internal("a subject that was numbered has no number"))?
        .try_get_by_index(0)?;
    let first = last - count + 1;
    let mut rows = Rows::new(backend);
    for (seq, event) in (first..).zip(events) {
        rows.push([event.id.into(), seq.into(), event.actor.into(), event.object.into()]);
    }
    let (column, place, place_values) = placed(backend, subject, first);
    let text = format!(
        "INSERT INTO events (id, subject_id, seq, kind, actor_id, object_id, created_at{column})
         SELECT {}, ?, {}, ?, {}, {}, ?{place} FROM {}",
        rows.uuid(0),
        rows.int(1),
        rows.uuid(2),
        rows.uuid(3),
        rows.from()
    );
    let mut values: Vec<Value> = vec![subject.into(), kind.into(), now.into()];
    values.extend(place_values);
    values.push(rows.into_value());
    db.execute_raw(sql(backend, &text, values)).await?;
    let object = events.last().map_or(subject, |event| event.object);
    Ok((first, Happened { subject, kind, object }))
}

/// The place that a subject's events from `seq` on are written with on Postgres: a further column, its value, and the
/// parameters of that.
///
/// It is the transaction, but not before the subject's event before it: a transaction may have begun to write before the
/// one that it then waited for at the subject. A later place does no harm to those who read in order. Nothing of a
/// transaction that has not ended is read, and this one ends after its own.
fn placed(backend: DbBackend, subject: Uuid, seq: i64) -> (&'static str, &'static str, Vec<Value>) {
    match backend {
        DbBackend::Sqlite => ("", "", Vec::new()),
        _ => (
            ", tx",
            ", GREATEST(pg_current_xact_id(), (SELECT b.tx FROM events b WHERE b.subject_id = ? AND b.seq = ?))",
            vec![subject.into(), (seq - 1).into()],
        ),
    }
}

/// An event to be written.
#[derive(Clone, Debug)]
pub struct New {
    pub id: Uuid,
    pub actor: Uuid,
    pub object: Uuid,
}

/// The events of one subject after a place in it, at most `limit`, in order.
pub async fn after(permit: &Permit, subject: Uuid, seq: i64, limit: u64) -> Result<Vec<entity::event::Model>> {
    subject_events(permit.read(), subject, seq, limit).await
}

pub(super) async fn subject_events(
    db: &impl ConnectionTrait,
    subject: Uuid,
    seq: i64,
    limit: u64,
) -> Result<Vec<entity::event::Model>> {
    let statement = sql(
        db.get_database_backend(),
        "SELECT n, id, subject_id, seq, kind, actor_id, object_id, created_at FROM events
         WHERE subject_id = ? AND seq > ? ORDER BY seq LIMIT ?",
        [subject.into(), seq.into(), limit.into()],
    );
    Ok(entity::event::Entity::find().from_raw_sql(statement).all(db).await?)
}

/// The number of a subject's newest event, 0 where there is none.
pub(super) async fn last_seq(db: &impl ConnectionTrait, subject: Uuid) -> Result<i64> {
    let statement = sql(
        db.get_database_backend(),
        "SELECT last_seq FROM subjects WHERE id = ?",
        [subject.into()],
    );
    match db.query_one_raw(statement).await? {
        Some(row) => Ok(row.try_get_by_index(0)?),
        None => Ok(0),
    }
}

/// The number of a subject's newest event, 0 where there is none.
pub async fn subject_seq(permit: &Permit, subject: Uuid) -> Result<i64> {
    last_seq(permit.read(), subject).await
}

/// The same of several; those without events are left out.
pub async fn subject_seqs(permit: &Permit, subjects: &[Uuid]) -> Result<HashMap<Uuid, i64>> {
    let db = permit.read();
    let backend = db.get_database_backend();
    let text = format!("SELECT id, last_seq FROM subjects WHERE {}", any_uuid(backend, "id"));
    let rows = db
        .query_all_raw(sql(backend, &text, [uuids(backend, subjects)]))
        .await?;
    let seqs = rows
        .iter()
        .map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)));
    Ok(seqs.collect::<Result<_, DbErr>>()?)
}

/// The number of an event among its subject's, if it is in the log.
pub async fn seq_of(permit: &Permit, subject: Uuid, event: Uuid) -> Result<Option<i64>> {
    let db = permit.read();
    let statement = sql(
        db.get_database_backend(),
        "SELECT seq FROM events WHERE id = ? AND subject_id = ?",
        [event.into(), subject.into()],
    );
    match db.query_one_raw(statement).await? {
        Some(row) => Ok(Some(row.try_get_by_index(0)?)),
        None => Ok(None),
    }
}

/// The oldest event of a subject that is kept: its number and its id.
pub async fn oldest(permit: &Permit, subject: Uuid) -> Result<Option<(i64, Uuid)>> {
    let db = permit.read();
    let statement = sql(
        db.get_database_backend(),
        "SELECT seq, id FROM events WHERE subject_id = ? ORDER BY seq LIMIT 1",
        [subject.into()],
    );
    match db.query_one_raw(statement).await? {
        Some(row) => Ok(Some((row.try_get_by_index(0)?, row.try_get_by_index(1)?))),
        None => Ok(None),
    }
}

/// How many events are removed by one transaction.
const REMOVED_AT_ONCE: u64 = 5_000;

/// Removes events from before a time (Unix milliseconds), a part of them; how many. Those that a webhook is still to be
/// told of stay, with all that came after, and so do those that have not been made into deliveries yet.
pub async fn trim(permit: &Permit, before: i64) -> Result<u64> {
    permit.write(Trim { before }).await
}

struct Trim {
    before: i64,
}

impl Operation for Trim {
    type Output = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64> {
        let dispatched = match tx.backend() {
            DbBackend::Sqlite => "e.n <= (SELECT n FROM dispatcher WHERE id = 1)",
            _ => "(e.tx::text::bigint, e.n) <= (SELECT tx, n FROM dispatcher WHERE id = 1)",
        };
        // Where no webhook is told of events, nothing is dispatched.
        let dispatched = format!("({dispatched} OR NOT EXISTS (SELECT 1 FROM webhooks WHERE is_active))");
        let text = format!(
            "DELETE FROM events WHERE n IN (SELECT e.n FROM events e WHERE e.created_at < ? AND {dispatched}
                 AND e.created_at < COALESCE((SELECT MIN(happened_at) FROM deliveries WHERE status = 'pending'), ?)
             ORDER BY e.n LIMIT {REMOVED_AT_ONCE})"
        );
        tx.execute(&text, [self.before.into(), i64::MAX.into()]).await
    }
}

/// A place in the whole log, across subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromQueryResult)]
pub struct Position {
    /// The writing transaction on Postgres, or a later one that its subject was written by before; 0 on SQLite.
    pub tx: i64,
    pub n: i64,
}

impl Position {
    /// Before everything.
    pub const START: Position = Position { tx: 0, n: 0 };
}

/// Where an event stands, if it is in the log.
pub async fn position(permit: &Permit, event: Uuid) -> Result<Option<Position>> {
    let db = permit.read();
    let backend = db.get_database_backend();
    let text = match backend {
        DbBackend::Sqlite => "SELECT 0 AS tx, n FROM events WHERE id = ?",
        _ => "SELECT tx::text::bigint AS tx, n FROM events WHERE id = ?",
    };
    Ok(Position::find_by_statement(sql(backend, text, [event.into()]))
        .one(db)
        .await?)
}

/// Events of the whole log after a place, in an order in which none appears later before one that was read.
///
/// `condition` is SQL over the table `events` with `?` for `values`.
pub async fn read(
    permit: &Permit,
    after: Position,
    condition: &str,
    values: Vec<Value>,
    limit: u64,
) -> Result<Vec<entity::event::Model>> {
    let statement = after_position(
        permit.read().get_database_backend(),
        "",
        after,
        condition,
        values,
        limit,
    );
    Ok(entity::event::Entity::find()
        .from_raw_sql(statement)
        .all(permit.read())
        .await?)
}

/// An event and where it stands in the whole log.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Placed {
    pub tx: i64,
    pub n: i64,
    pub id: Uuid,
    pub subject_id: Uuid,
    pub seq: i64,
    pub kind: String,
    pub object_id: Uuid,
    pub created_at: i64,
}

impl Placed {
    pub fn place(&self) -> Position {
        Position { tx: self.tx, n: self.n }
    }
}

/// A place in the whole log before all that begins to be written once this transaction has ended, and after all that was
/// written when it began.
pub async fn here(tx: &Tx<'_>) -> Result<Position> {
    let text = match tx.backend() {
        DbBackend::Sqlite => "SELECT 0 AS tx, COALESCE(MAX(n), 0) AS n FROM events",
        _ => "SELECT pg_current_xact_id()::text::bigint AS tx, 9223372036854775807 AS n",
    };
    let place = Position::find_by_statement(sql(tx.backend(), text, [])).one(tx).await?;
    place.ok_or_else(|| Error::internal("the log has no place"))
}

/// As [`read`], in the middle of a transaction and with places to go on from.
pub async fn read_placed(tx: &Tx<'_>, after: Position, limit: u64) -> Result<Vec<Placed>> {
    let place = match tx.backend() {
        DbBackend::Sqlite => "0 AS tx, ",
        _ => "tx::text::bigint AS tx, ",
    };
    let statement = after_position(tx.backend(), place, after, "1 = 1", Vec::new(), limit);
    Ok(Placed::find_by_statement(statement).all(tx).await?)
}

fn after_position(
    backend: DbBackend,
    more_columns: &str,
    after: Position,
    condition: &str,
    values: Vec<Value>,
    limit: u64,
) -> Statement {
    let (place, order, mut parameters): (_, _, Vec<Value>) = match backend {
        DbBackend::Sqlite => ("n > ?", "n", vec![after.n.into()]),
        _ => (
            "(events.tx, n) > (?::text::xid8, ?) AND events.tx < pg_snapshot_xmin(pg_current_snapshot())",
            "events.tx, n",
            vec![after.tx.to_string().into(), after.n.into()],
        ),
    };
    parameters.extend(values);
    parameters.push(limit.into());
    let text = format!(
        "SELECT {more_columns}n, id, subject_id, seq, kind, actor_id, object_id, created_at FROM events
         WHERE {place} AND ({condition}) ORDER BY {order} LIMIT ?"
    );
    sql(backend, &text, parameters)
}
