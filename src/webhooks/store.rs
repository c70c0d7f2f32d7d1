use std::collections::HashMap;

use entity::{delivery, webhook};
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryResult};
use uuid::Uuid;

use super::{MOST, schedule::HOLDS_BACK};
use crate::{
    error::{Error, Kind, Result},
    event::EventKind,
    gate::{Permit, Tx, any_uuid, sql, uuids},
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

/// What waits for a webhook, and what went wrong last.
#[derive(Clone, Debug, Default, FromQueryResult)]
pub struct Health {
    pub pending: i64,
    pub next_attempt_at: Option<i64>,
    pub last_error: Option<String>,
}

/// How webhooks are doing. Each number is by an index of its own, however many deliveries there are.
pub async fn health(permit: &Permit, webhooks: &[Uuid]) -> Result<HashMap<Uuid, Health>> {
    let backend = permit.gate().backend();
    // Those that are held wait for others, except where they are taken together with these. What is taken is little, and
    // found by when that ends; by its webhook all that waits would be looked through.
    let text = format!(
        "SELECT w.id AS webhook_id,
             (SELECT COUNT(*) FROM deliveries WHERE webhook_id = w.id AND status = 'pending') AS pending,
             (SELECT MIN(at) FROM (
                 SELECT MIN(next_attempt_at) AS at FROM deliveries
                     WHERE webhook_id = w.id AND status = 'pending' AND NOT is_held
                 UNION ALL SELECT MIN(next_attempt_at) FROM deliveries
                     WHERE lease_until > 0 AND status = 'pending' AND lease IS NOT NULL
                         AND COALESCE(webhook_id, NULL) = w.id) next) AS next_attempt_at,
             (SELECT error FROM deliveries WHERE webhook_id = w.id AND error IS NOT NULL ORDER BY n DESC LIMIT 1)
                 AS last_error
         FROM webhooks w WHERE {}",
        any_uuid(backend, "w.id")
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

/// Makes a delivery due once more, as if it had never been tried; what comes after it in its subject waits for it.
pub async fn pend_again(tx: &Tx<'_>, row: &delivery::Model) -> Result<delivery::Model> {
    let text = format!(
        "UPDATE deliveries SET status = 'pending', attempts = 0, next_attempt_at = ?, lease = NULL, lease_until = NULL,
             error = NULL, done_at = NULL, is_held = {} WHERE id = ?",
        is_held("deliveries.webhook_id", "deliveries.subject_id", "deliveries.seq")
    );
    tx.execute(&text, [tx.now().into(), row.id.into()]).await?;
    tx.execute(
        "UPDATE deliveries SET is_held = TRUE
         WHERE webhook_id = ? AND subject_id = ? AND status = 'pending' AND seq > ? AND NOT is_held",
        [row.webhook_id.into(), row.subject_id.into(), row.seq.into()],
    )
    .await?;
    one(tx, row.id).await
}

/// Whether an earlier delivery of the same webhook and subject has to be tried first: SQL, of three expressions.
pub fn is_held(webhook: &str, subject: &str, seq: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM deliveries e WHERE e.webhook_id = {webhook} AND e.subject_id = {subject} AND e.seq < {seq}
             AND e.status = 'pending' AND e.attempts < {HOLDS_BACK})"
    )
}

/// Takes back what is claimed behind a delivery that is on its way: the webhook has changed.
pub async fn call_back(tx: &Tx<'_>, webhook: Uuid) -> Result<()> {
    let text = format!(
        "UPDATE deliveries SET lease = NULL, lease_until = NULL
         WHERE webhook_id = ? AND status = 'pending' AND lease IS NOT NULL AND is_held AND {}",
        is_held("deliveries.webhook_id", "deliveries.subject_id", "deliveries.seq")
    );
    tx.execute(&text, [webhook.into()]).await?;
    Ok(())
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

/// How long a delivery is kept once it is done, with its body and answer, in milliseconds.
const KEPT_FOR: i64 = 30 * time::DAY;

/// Removes deliveries that were done long ago.
pub async fn expire(tx: &Tx<'_>, now: i64) -> Result<()> {
    tx.execute("DELETE FROM deliveries WHERE done_at < ?", [(now - KEPT_FOR).into()])
        .await?;
    Ok(())
}
