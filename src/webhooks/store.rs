use std::collections::{HashMap, HashSet};

use entity::{delivery, webhook};
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryResult};
use uuid::Uuid;

use super::{DeliveryStatus, MOST, schedule::HOLDS_BACK};
use crate::{
    error::{Error, Kind, Result},
    event::EventKind,
    gate::{Permit, Rows, Tx, any_text, any_uuid, log::Position, sql, texts, uuids},
    time,
};

pub async fn webhook(permit: &Permit, member: Uuid, id: Uuid) -> Result<Option<webhook::Model>> {
    let text = "SELECT * FROM webhooks WHERE id = ? AND member_id = ?";
    let statement = sql(permit.gate().backend(), text, [id.into(), member.into()]);
    let found = webhook::Entity::find().from_raw_sql(statement);
    Ok(found.all(permit.read()).await?.pop())
}

/// Newest first.
pub async fn webhooks(permit: &Permit, member: Uuid, after: Option<Uuid>, limit: u64) -> Result<Vec<webhook::Model>> {
    let text = format!("SELECT * FROM webhooks WHERE member_id = ? AND (? OR id < ?) ORDER BY id DESC LIMIT {limit}");
    let statement = sql(
        permit.gate().backend(),
        &text,
        [member.into(), after.is_none().into(), after.unwrap_or_default().into()],
    );
    Ok(webhook::Entity::find()
        .from_raw_sql(statement)
        .all(permit.read())
        .await?)
}

pub async fn delivery(permit: &Permit, member: Uuid, id: Uuid) -> Result<Option<delivery::Model>> {
    let text = "SELECT d.* FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE d.id = ? AND w.member_id = ?";
    let statement = sql(permit.gate().backend(), text, [id.into(), member.into()]);
    let found = delivery::Entity::find().from_raw_sql(statement);
    Ok(found.all(permit.read()).await?.pop())
}

/// Which of a webhook's deliveries are asked for: so many at most, newest first, from before a place if one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    pub webhook: Uuid,
    pub before: Option<i64>,
    pub limit: u64,
}

/// How many parts are read by one statement.
const PARTS_AT_ONCE: usize = 100;

/// The deliveries of several parts, newest first in each.
pub async fn deliveries(permit: &Permit, parts: &[Part]) -> Result<HashMap<Part, Vec<delivery::Model>>> {
    let backend = permit.gate().backend();
    let mut found: HashMap<Part, Vec<delivery::Model>> = HashMap::new();
    for some in parts.chunks(PARTS_AT_ONCE) {
        // Each by its index, however many deliveries its webhook has.
        let one = |(place, part): (usize, &Part)| {
            format!(
                "SELECT * FROM (SELECT {place} AS part, d.* FROM deliveries d WHERE d.webhook_id = ? AND d.n < ?
                     ORDER BY d.n DESC LIMIT {}) AS part_{place}",
                part.limit
            )
        };
        let text: Vec<String> = some.iter().enumerate().map(one).collect();
        let text = format!("{} ORDER BY part, n DESC", text.join(" UNION ALL "));
        let values = some
            .iter()
            .flat_map(|part| [part.webhook.into(), part.before.unwrap_or(i64::MAX).into()]);
        for row in permit.read().query_all_raw(sql(backend, &text, values)).await? {
            let place: i32 = row.try_get("", "part")?;
            let part = some[usize::try_from(place).map_err(Error::internal)?];
            let delivery = delivery::Model::from_query_result(&row, "")?;
            found.entry(part).or_default().push(delivery);
        }
    }
    Ok(found)
}

/// How a webhook is doing.
#[derive(Clone, Debug, Default, FromQueryResult)]
pub struct Health {
    pub delivered: i64,
    pub failed: i64,
    pub pending: i64,
    pub next_attempt_at: Option<i64>,
    pub last_error: Option<String>,
}

/// How webhooks that have deliveries are doing.
pub async fn health(permit: &Permit, webhooks: &[Uuid]) -> Result<HashMap<Uuid, Health>> {
    let backend = permit.gate().backend();
    let text = format!(
        "SELECT d.webhook_id,
             SUM(CASE WHEN d.status = 'delivered' THEN 1 ELSE 0 END) AS delivered,
             SUM(CASE WHEN d.status = 'failed' THEN 1 ELSE 0 END) AS failed,
             SUM(CASE WHEN d.status = 'pending' THEN 1 ELSE 0 END) AS pending,
             MIN(CASE WHEN d.status = 'pending' THEN d.next_attempt_at END) AS next_attempt_at,
             (SELECT e.error FROM deliveries e WHERE e.webhook_id = d.webhook_id AND e.error IS NOT NULL
                 ORDER BY e.n DESC LIMIT 1) AS last_error
         FROM deliveries d WHERE {} GROUP BY d.webhook_id",
        any_uuid(backend, "d.webhook_id")
    );
    let rows = permit
        .read()
        .query_all_raw(sql(backend, &text, [uuids(backend, webhooks)]))
        .await?;
    let health = |row: &QueryResult| Ok((row.try_get("", "webhook_id")?, Health::from_query_result(row, "")?));
    Ok(rows.iter().map(health).collect::<Result<_, DbErr>>()?)
}

/// Writes a webhook of a member who is held.
///
/// # Errors
///
/// `CONFLICT` for one too many.
pub async fn insert(tx: &Tx<'_>, row: webhook::Model) -> Result<webhook::Model> {
    let text = "SELECT count(*) FROM webhooks WHERE member_id = ?";
    let count = sql(tx.backend(), text, [row.member_id.into()]);
    let count: i64 = match tx.query_one_raw(count).await? {
        Some(count) => count.try_get_by_index(0)?,
        None => 0,
    };
    if count >= MOST {
        let message = format!("a member may have {MOST} webhooks at most");
        return Err(Error::new(Kind::Conflict, message));
    }
    webhook::ActiveModel::from(row.clone()).reset_all().insert(tx).await?;
    Ok(row)
}

pub async fn update(tx: &Tx<'_>, row: webhook::Model) -> Result<webhook::Model> {
    Ok(webhook::ActiveModel::from(row).reset_all().update(tx).await?)
}

pub async fn delete(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    tx.execute("DELETE FROM webhooks WHERE id = ?", [id.into()]).await?;
    Ok(())
}

fn held(tx: &Tx<'_>, of: &str) -> String {
    match tx.backend() {
        DbBackend::Postgres => format!(" FOR UPDATE OF {of}"),
        _ => String::new(),
    }
}

/// The member's webhook, held until the end of the transaction.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn own(tx: &Tx<'_>, id: Uuid, member: Uuid) -> Result<webhook::Model> {
    let text = format!(
        "SELECT * FROM webhooks WHERE id = ? AND member_id = ?{}",
        held(tx, "webhooks")
    );
    let statement = sql(tx.backend(), &text, [id.into(), member.into()]);
    let found = webhook::Entity::find().from_raw_sql(statement).one(tx).await?;
    found.ok_or_else(|| Error::not_found("webhook"))
}

/// Holds a webhook until the end of the transaction. Everyone does before they change its deliveries, so that no two wait
/// for each other. SQLite has one writer anyway.
pub async fn hold(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    if tx.backend() == DbBackend::Postgres {
        let text = "SELECT 1 FROM webhooks WHERE id = ? FOR NO KEY UPDATE";
        tx.execute(text, [id.into()]).await?;
    }
    Ok(())
}

/// A delivery to the member's webhook, held until the end of the transaction, and whether the webhook is active.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn own_delivery(tx: &Tx<'_>, id: Uuid, member: Uuid) -> Result<(delivery::Model, bool)> {
    let not_found = || Error::not_found("delivery");
    let text = format!(
        "SELECT * FROM webhooks WHERE id = (SELECT webhook_id FROM deliveries WHERE id = ?) AND member_id = ?{}",
        held(tx, "webhooks")
    );
    let statement = sql(tx.backend(), &text, [id.into(), member.into()]);
    let webhook = webhook::Entity::find().from_raw_sql(statement).one(tx).await?;
    let webhook = webhook.ok_or_else(not_found)?;
    let text = format!("SELECT * FROM deliveries WHERE id = ?{}", held(tx, "deliveries"));
    let found = delivery::Entity::find().from_raw_sql(sql(tx.backend(), &text, [id.into()]));
    Ok((found.one(tx).await?.ok_or_else(not_found)?, webhook.is_active))
}

async fn one(tx: &Tx<'_>, id: Uuid) -> Result<delivery::Model> {
    let statement = sql(tx.backend(), "SELECT * FROM deliveries WHERE id = ?", [id.into()]);
    let found = delivery::Entity::find().from_raw_sql(statement).one(tx).await?;
    found.ok_or_else(|| Error::not_found("delivery"))
}

/// A test event: of no subject but itself, so that it waits for nothing.
pub async fn insert_ping(tx: &Tx<'_>, id: Uuid, webhook: Uuid, event: Uuid) -> Result<delivery::Model> {
    tx.execute(
        "INSERT INTO deliveries (id, webhook_id, event_id, kind, subject_id, seq, object_id, happened_at, status, attempts,
             next_attempt_at, created_at)
         VALUES (?, ?, ?, ?, ?, 1, ?, ?, 'pending', 0, ?, ?)",
        [
            id.into(),
            webhook.into(),
            event.into(),
            EventKind::WebhookPing.wire().into(),
            event.into(),
            event.into(),
            tx.now().into(),
            tx.now().into(),
            tx.now().into(),
        ],
    )
    .await?;
    one(tx, id).await
}

/// Makes a delivery due once more, as if it had never been tried.
pub async fn pend_again(tx: &Tx<'_>, id: Uuid) -> Result<delivery::Model> {
    tx.execute(
        "UPDATE deliveries SET status = 'pending', attempts = 0, next_attempt_at = ?, lease = NULL, lease_until = NULL,
             error = NULL, done_at = NULL WHERE id = ?",
        [tx.now().into(), id.into()],
    )
    .await?;
    one(tx, id).await
}

/// Gives up what is still to be sent to a webhook.
pub async fn give_up(tx: &Tx<'_>, webhook: Uuid, why: &str) -> Result<()> {
    tx.execute(
        "UPDATE deliveries SET status = 'failed', next_attempt_at = NULL, lease = NULL, lease_until = NULL, error = ?,
             done_at = ? WHERE webhook_id = ? AND status = 'pending'",
        [why.into(), tx.now().into(), webhook.into()],
    )
    .await?;
    Ok(())
}

/// What there may be to do for webhooks.
#[derive(Clone, Copy, Debug, FromQueryResult)]
pub struct Work {
    /// Whether a webhook is told of events: 0 or 1.
    pub listening: i32,
    /// Whether a delivery is due, as far as its time goes: 0 or 1.
    pub due: i32,
}

/// Looks, without writing, whether there is anything to do.
pub async fn work(permit: &Permit, now: i64) -> Result<Work> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM webhooks WHERE is_active) THEN 1 ELSE 0 END AS listening,
             CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE status = 'pending' AND next_attempt_at <= ?)
                 THEN 1 ELSE 0 END AS due",
        [now.into()],
    );
    let work = Work::find_by_statement(statement).one(permit.read()).await?;
    work.ok_or_else(|| Error::internal("a statement that gives one row gave none"))
}

/// Takes what was sent of an object out of all deliveries: it was deleted.
pub async fn forget(tx: &Tx<'_>, object: Uuid) -> Result<()> {
    tx.execute(
        "UPDATE deliveries SET body = NULL WHERE object_id = ? AND body IS NOT NULL",
        [object.into()],
    )
    .await?;
    Ok(())
}

/// Takes what was sent of a member, their messages and triggers out of all deliveries: their account is being deleted.
pub async fn forget_all_of(tx: &Tx<'_>, member: Uuid) -> Result<()> {
    for objects in [
        "SELECT id FROM members WHERE id = ?",
        "SELECT id FROM messages WHERE author_id = ?",
        "SELECT id FROM triggers WHERE creator_id = ?",
    ] {
        let text = format!("UPDATE deliveries SET body = NULL WHERE object_id IN ({objects}) AND body IS NOT NULL");
        tx.execute(&text, [member.into()]).await?;
    }
    Ok(())
}

/// How far the log has been made into deliveries; none where another node is at it.
pub async fn dispatched(tx: &Tx<'_>) -> Result<Option<Position>> {
    let text = match tx.backend() {
        DbBackend::Postgres => "SELECT tx, n FROM dispatcher WHERE id = 1 FOR UPDATE SKIP LOCKED",
        _ => "SELECT tx, n FROM dispatcher WHERE id = 1",
    };
    let row = tx.query_one_raw(sql(tx.backend(), text, [])).await?;
    row.map(|row| {
        Ok(Position {
            tx: row.try_get_by_index(0)?,
            n: row.try_get_by_index(1)?,
        })
    })
    .transpose()
}

pub async fn set_dispatched(tx: &Tx<'_>, place: Position) -> Result<()> {
    tx.execute(
        "UPDATE dispatcher SET tx = ?, n = ? WHERE id = 1",
        [place.tx.into(), place.n.into()],
    )
    .await?;
    Ok(())
}

/// A webhook that is told of events.
pub struct Listening {
    pub id: Uuid,
    pub events: Vec<EventKind>,
    /// After this place in the log.
    pub since: Position,
}

/// All that are active.
pub async fn listening(tx: &Tx<'_>) -> Result<Vec<Listening>> {
    let text = "SELECT id, events, since_tx, since_n FROM webhooks WHERE is_active";
    let rows = tx.query_all_raw(sql(tx.backend(), text, [])).await?;
    let listening = |row: &QueryResult| {
        let events: String = row.try_get_by_index(1)?;
        Ok(Listening {
            id: row.try_get_by_index(0)?,
            events: events.split(' ').filter_map(|name| name.parse().ok()).collect(),
            since: Position {
                tx: row.try_get_by_index(2)?,
                n: row.try_get_by_index(3)?,
            },
        })
    };
    Ok(rows.iter().map(listening).collect::<Result<_, DbErr>>()?)
}

/// Of these webhooks those that are still active. They stay so until the end of the transaction.
pub async fn hold_active(tx: &Tx<'_>, ids: HashSet<Uuid>) -> Result<HashSet<Uuid>> {
    if ids.is_empty() || tx.backend() == DbBackend::Sqlite {
        return Ok(ids);
    }
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let text = format!(
        "SELECT id FROM webhooks WHERE is_active AND {} ORDER BY id FOR SHARE",
        any_uuid(tx.backend(), "id")
    );
    let rows = tx
        .query_all_raw(sql(tx.backend(), &text, [uuids(tx.backend(), &ids)]))
        .await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get_by_index(0))
        .collect::<Result<_, DbErr>>()?)
}

/// An event that a webhook is to be told of.
pub struct ToTell<'a> {
    pub webhook: Uuid,
    pub event: &'a crate::gate::log::Placed,
}

/// How many deliveries are written by one statement.
const AT_ONCE: usize = 1_000;

pub async fn insert_all(tx: &Tx<'_>, all: &[ToTell<'_>], now: i64) -> Result<()> {
    for some in all.chunks(AT_ONCE) {
        let mut rows = Rows::new(tx.backend());
        for ToTell { webhook, event } in some {
            rows.push([
                Uuid::now_v7().into(),
                (*webhook).into(),
                event.id.into(),
                event.kind.as_str().into(),
                event.subject_id.into(),
                event.seq.into(),
                event.object_id.into(),
                event.created_at.into(),
            ]);
        }
        let text = format!(
            "INSERT INTO deliveries (id, webhook_id, event_id, kind, subject_id, seq, object_id, happened_at, status,
                 attempts, next_attempt_at, created_at)
             SELECT {}, {}, {}, {}, {}, {}, {}, {}, 'pending', 0, ?, ? FROM {} WHERE 1 = 1
             ON CONFLICT (webhook_id, event_id) DO NOTHING",
            rows.uuid(0),
            rows.uuid(1),
            rows.uuid(2),
            rows.text(3),
            rows.uuid(4),
            rows.int(5),
            rows.uuid(6),
            rows.int(7),
            rows.from()
        );
        tx.execute(&text, [now.into(), now.into(), rows.into_value()]).await?;
    }
    Ok(())
}

/// Takes deliveries that are due for `lease`, until it runs out, but none to `busy` hosts.
///
/// Due is what is pending, of a webhook that is active, and has no earlier event of its webhook and subject before it that
/// is pending and was tried less than three times. Test events are sent to webhooks that are not active too.
pub async fn claim(
    tx: &Tx<'_>,
    lease: Uuid,
    until: i64,
    now: i64,
    busy: &[String],
    limit: usize,
) -> Result<Vec<delivery::Model>> {
    let backend = tx.backend();
    let skip = match backend {
        DbBackend::Postgres => " FOR UPDATE OF d SKIP LOCKED",
        _ => "",
    };
    // Once and for all: Postgres may run a subquery for each row, and what it has locked and changed does not count
    // towards its limit then.
    let text = format!(
        "WITH due AS MATERIALIZED (
             SELECT d.id FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
             WHERE d.status = 'pending' AND d.next_attempt_at <= ? AND (d.lease_until IS NULL OR d.lease_until <= ?)
                 AND (w.is_active OR d.kind = ?) AND NOT ({})
                 AND NOT EXISTS (SELECT 1 FROM deliveries e WHERE e.webhook_id = d.webhook_id
                     AND e.subject_id = d.subject_id AND e.seq < d.seq AND e.status = 'pending'
                     AND e.attempts < {HOLDS_BACK})
             ORDER BY d.next_attempt_at LIMIT {limit}{skip})
         UPDATE deliveries SET lease = ?, lease_until = ? WHERE id IN (SELECT id FROM due) RETURNING *",
        any_text(backend, "w.host")
    );
    let statement = sql(
        backend,
        &text,
        [
            now.into(),
            now.into(),
            EventKind::WebhookPing.wire().into(),
            texts(backend, busy),
            lease.into(),
            until.into(),
        ],
    );
    Ok(delivery::Entity::find().from_raw_sql(statement).all(tx).await?)
}

/// Gives claimed deliveries back.
pub async fn release(tx: &Tx<'_>, lease: Uuid, ids: &[Uuid]) -> Result<()> {
    let text = format!(
        "UPDATE deliveries SET lease = NULL, lease_until = NULL WHERE lease = ? AND {}",
        any_uuid(tx.backend(), "id")
    );
    tx.execute(&text, [lease.into(), uuids(tx.backend(), ids)]).await?;
    Ok(())
}

/// The webhooks of these ids.
pub async fn by_ids(permit: &Permit, ids: &[Uuid]) -> Result<Vec<webhook::Model>> {
    let backend = permit.gate().backend();
    let text = format!("SELECT * FROM webhooks WHERE {}", any_uuid(backend, "id"));
    let statement = sql(backend, &text, [uuids(backend, ids)]);
    Ok(webhook::Entity::find()
        .from_raw_sql(statement)
        .all(permit.read())
        .await?)
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub delivery: Uuid,
    pub webhook: Uuid,
    pub lease: Uuid,
    pub status: DeliveryStatus,
    pub next_attempt_at: Option<i64>,
    /// None where none could be made: what was sent before stays.
    pub body: Option<String>,
    pub response_status: Option<i32>,
    pub response_body: Option<String>,
    pub error: Option<String>,
}

/// Records an attempt. False where its lease was lost: whoever has it now records theirs.
pub async fn record(tx: &Tx<'_>, attempt: &Attempt, now: i64) -> Result<bool> {
    let done_at = (attempt.status != DeliveryStatus::Pending).then_some(now);
    let changed = tx
        .execute(
            "UPDATE deliveries SET status = ?, attempts = attempts + 1, next_attempt_at = ?, lease = NULL,
                 lease_until = NULL, body = COALESCE(?, body), response_status = ?, response_body = ?, error = ?, done_at = ?
             WHERE id = ? AND lease = ? AND status = 'pending'",
            [
                attempt.status.wire().into(),
                attempt.next_attempt_at.into(),
                attempt.body.clone().into(),
                attempt.response_status.into(),
                attempt.response_body.clone().into(),
                attempt.error.clone().into(),
                done_at.into(),
                attempt.delivery.into(),
                attempt.lease.into(),
            ],
        )
        .await?;
    Ok(changed > 0)
}

/// Drops a delivery whose owner may not see the event any more: as if it had never been, or given up where it was tried.
pub async fn drop_unseen(tx: &Tx<'_>, id: Uuid, lease: Uuid, now: i64) -> Result<()> {
    // One that is sent again at its owner's wish was tried before, and has a body of then.
    tx.execute(
        "DELETE FROM deliveries WHERE id = ? AND lease = ? AND attempts = 0 AND body IS NULL",
        [id.into(), lease.into()],
    )
    .await?;
    tx.execute(
        "UPDATE deliveries SET status = 'failed', next_attempt_at = NULL, lease = NULL, lease_until = NULL, body = NULL,
             error = 'the event is no longer yours to see', done_at = ? WHERE id = ? AND lease = ?",
        [now.into(), id.into(), lease.into()],
    )
    .await?;
    Ok(())
}

/// Notes that a webhook has answered.
pub async fn succeeded(tx: &Tx<'_>, webhook: Uuid) -> Result<()> {
    tx.execute(
        "UPDATE webhooks SET failing_since = NULL WHERE id = ? AND failing_since IS NOT NULL",
        [webhook.into()],
    )
    .await?;
    Ok(())
}

/// Notes that a webhook has failed; since when it has done nothing else.
pub async fn failing_since(tx: &Tx<'_>, webhook: Uuid, now: i64) -> Result<Option<i64>> {
    let statement = sql(
        tx.backend(),
        "UPDATE webhooks SET failing_since = COALESCE(failing_since, ?) WHERE id = ? RETURNING failing_since",
        [now.into(), webhook.into()],
    );
    let row = tx.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
}

/// Deactivates a webhook, with the reason, and gives up what was still to be sent.
pub async fn deactivate(tx: &Tx<'_>, webhook: Uuid, why: &str) -> Result<()> {
    tx.execute(
        "UPDATE webhooks SET is_active = ?, deactivated_reason = ? WHERE id = ? AND is_active",
        [false.into(), why.into(), webhook.into()],
    )
    .await?;
    give_up(tx, webhook, "the webhook was deactivated").await
}

/// How long a delivery is kept once it is done, with its body and answer, in milliseconds.
const KEPT_FOR: i64 = 30 * time::DAY;

/// Removes deliveries that were done long ago.
pub async fn expire(tx: &Tx<'_>, now: i64) -> Result<()> {
    tx.execute("DELETE FROM deliveries WHERE done_at < ?", [(now - KEPT_FOR).into()])
        .await?;
    Ok(())
}
