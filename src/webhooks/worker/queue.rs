//! The SQL of deliveries on their way: the dispatcher's place, what is due, what is taken, and what came of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use entity::{delivery, webhook};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryResult};
use uuid::Uuid;

use super::{AT_ONCE_TO_ONE_HOST, record::Sent};
use crate::{
    error::{Error, Result},
    event::EventKind,
    gate::{
        Permit, Rows, Sql, Tx, any_uuid,
        log::{Placed, Position},
        sql, uuids,
    },
    webhooks::{DeliveryStatus, schedule::HOLDS_BACK, store},
};

/// How many deliveries of one webhook and subject are taken together at most.
const CHAIN: i64 = 32;
/// How many deliveries that are finished tell how a webhook is doing.
const TELLING: i64 = 1_000;
/// What nodes wait for one another by where they take deliveries, on Postgres. Any number that nothing else uses.
const CLAIMING: i64 = 0x7765_6268_6f6f_6b73;

/// What there may be to do for webhooks.
#[derive(Clone, Copy, Debug, FromQueryResult)]
pub struct Work {
    /// Whether a webhook is told of events, and there are some that it may have to be told of: 0 or 1.
    pub to_dispatch: i32,
    /// Since when a delivery is due that nobody has taken; Unix milliseconds.
    pub due_since: Option<i64>,
    /// Whether there are some that were taken for a time which is over: 0 or 1.
    pub to_recover: i32,
}

/// Looks, without writing, whether there is anything to do.
pub async fn work(permit: &Permit, now: i64) -> Result<Work> {
    let backend = permit.gate().backend();
    let newer = match backend {
        DbBackend::Postgres => "(events.tx, events.n) > (dispatcher.tx::text::xid8, dispatcher.n)",
        _ => "events.n > dispatcher.n",
    };
    let text = format!(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM webhooks WHERE is_active)
                 AND EXISTS (SELECT 1 FROM dispatcher JOIN events ON {newer}) THEN 1 ELSE 0 END AS to_dispatch,
             (SELECT MIN(next_attempt_at) FROM deliveries WHERE {DUE}) AS due_since,
             CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE {OVERDUE}) THEN 1 ELSE 0 END AS to_recover"
    );
    let statement = sql(backend, &text, [now.into(), now.into(), now.into()]);
    let work = Work::find_by_statement(statement).one(permit.read()).await?;
    work.ok_or_else(|| Error::internal("a statement that gives one row gave none"))
}

/// That a delivery is due and nobody has taken it. Its parameters: now, now.
const DUE: &str = "status = 'pending' AND NOT is_held AND next_attempt_at <= ?
    AND (lease_until IS NULL OR lease_until <= ?)";
/// That a delivery was taken for a time which is over. Its parameter: now.
const OVERDUE: &str = "status = 'pending' AND lease IS NOT NULL AND lease_until <= ?";

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
    pub event: &'a Placed,
}

/// Writes deliveries of webhooks that are held, each subject's in order.
pub async fn insert_all(tx: &Tx<'_>, all: &[ToTell<'_>], now: i64) -> Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut subjects = HashSet::new();
    let mut rows = Rows::new(tx.backend());
    for ToTell { webhook, event } in all {
        rows.push([
            Uuid::now_v7().into(),
            (*webhook).into(),
            event.id.into(),
            event.kind.as_str().into(),
            event.subject_id.into(),
            event.seq.into(),
            event.object_id.into(),
            event.created_at.into(),
            // Those behind the first of a subject wait for it.
            (!subjects.insert((*webhook, event.subject_id))).into(),
        ]);
    }
    let (webhook, subject, seq) = (rows.uuid(1), rows.uuid(4), rows.int(5));
    let text = format!(
        "INSERT INTO deliveries (id, webhook_id, event_id, kind, subject_id, seq, object_id, happened_at, status,
             attempts, next_attempt_at, created_at, is_held)
         SELECT {}, {webhook}, {}, {}, {subject}, {seq}, {}, {}, 'pending', 0, ?, ?, {} OR {} FROM {} WHERE 1 = 1
         ON CONFLICT (webhook_id, event_id) DO NOTHING",
        rows.uuid(0),
        rows.uuid(2),
        rows.text(3),
        rows.uuid(6),
        rows.int(7),
        rows.bool(8),
        store::is_held(&webhook, &subject, &seq),
        rows.from()
    );
    tx.execute(&text, [now.into(), now.into(), rows.into_value()]).await?;
    Ok(())
}

/// A delivery that is due and that nobody has taken.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Due {
    pub id: Uuid,
    pub webhook_id: Uuid,
    pub host: String,
    pub next_attempt_at: i64,
}

/// What is due: of each webhook as many as may go to one host at once, in any order. Test events are sent to webhooks that
/// are not active too.
pub async fn due(permit: &Permit, now: i64) -> Result<Vec<Due>> {
    let backend = permit.gate().backend();
    let some = format!(
        "SELECT * FROM deliveries WHERE webhook_id = w.id AND {DUE} AND (w.is_active OR kind = ?)
             ORDER BY next_attempt_at LIMIT {AT_ONCE_TO_ONE_HOST}"
    );
    // Each webhook's by an index, however many others have.
    let from = match backend {
        DbBackend::Postgres => format!("webhooks w CROSS JOIN LATERAL ({some}) d"),
        _ => {
            let some = some.replacen('*', "n", 1);
            format!("webhooks w CROSS JOIN deliveries d ON d.n IN ({some})")
        }
    };
    let text = format!("SELECT d.id, d.webhook_id, w.host, d.next_attempt_at FROM {from}");
    let values = [now.into(), now.into(), EventKind::WebhookPing.wire().into()];
    let due = Due::find_by_statement(sql(backend, &text, values));
    Ok(due.all(permit.read()).await?)
}

/// To which hosts deliveries are on their way, from any node, and how many to each: one for each lease.
pub async fn on_their_way(db: &impl ConnectionTrait, now: i64) -> Result<HashMap<String, usize>> {
    let text = "SELECT w.host, COUNT(*)
         FROM (SELECT DISTINCT lease_until, lease, webhook_id FROM deliveries
             WHERE status = 'pending' AND lease IS NOT NULL AND lease_until > ?) taken
         JOIN webhooks w ON w.id = taken.webhook_id GROUP BY w.host";
    let rows = db
        .query_all_raw(sql(db.get_database_backend(), text, [now.into()]))
        .await?;
    let host = |row: &QueryResult| {
        let count: i64 = row.try_get_by_index(1)?;
        Ok((row.try_get_by_index(0)?, usize::try_from(count).unwrap_or_default()))
    };
    Ok(rows.iter().map(host).collect::<Result<_, DbErr>>()?)
}

/// Waits until no other node takes deliveries, to the end of the transaction. SQLite has one writer anyway.
pub async fn take_turns(tx: &Tx<'_>) -> Result<()> {
    if tx.backend() == DbBackend::Postgres {
        tx.execute("SELECT pg_advisory_xact_lock(?)", [CLAIMING.into()]).await?;
    }
    Ok(())
}

/// Takes deliveries of webhooks that are held, if they are still due, each for the lease beside it, which runs out at
/// `until`; and with each what waits behind it in its subject.
pub async fn claim(tx: &Tx<'_>, heads: &[(Uuid, Uuid)], until: i64, now: i64) -> Result<Vec<delivery::Model>> {
    let backend = tx.backend();
    let all = match backend {
        DbBackend::Postgres => "d.*",
        _ => "*",
    };
    let mut rows = Rows::new(backend);
    for (head, lease) in heads {
        rows.push([(*head).into(), (*lease).into()]);
    }
    // One that was tried three times holds nothing back, and so has nothing behind it.
    let text = format!(
        "UPDATE deliveries AS d SET lease = h.taken, lease_until = ?
         FROM (SELECT n, webhook_id, subject_id, seq, {} AS taken,
                 CASE WHEN attempts < {HOLDS_BACK} THEN seq + {CHAIN} ELSE seq + 1 END AS upto
             FROM {} JOIN deliveries ON deliveries.id = {} WHERE {DUE}) h
         WHERE d.webhook_id = h.webhook_id AND d.subject_id = h.subject_id AND d.seq >= h.seq AND d.seq < h.upto
             AND d.status = 'pending' AND d.next_attempt_at <= ? AND (d.lease_until IS NULL OR d.lease_until <= ?)
             AND (d.is_held OR d.n = h.n)
         RETURNING {all}",
        rows.uuid(1),
        rows.from(),
        rows.uuid(0)
    );
    let values = [
        until.into(),
        rows.into_value(),
        now.into(),
        now.into(),
        now.into(),
        now.into(),
    ];
    let claimed = delivery::Entity::find().from_raw_sql(sql(backend, &text, values));
    Ok(claimed.all(tx).await?)
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

/// Takes from whoever has them what they took for a time that is over; the webhooks and subjects of these.
pub async fn recover(tx: &Tx<'_>, now: i64) -> Result<HashSet<(Uuid, Uuid)>> {
    if tx.backend() == DbBackend::Postgres {
        let text = format!("SELECT DISTINCT webhook_id FROM deliveries WHERE {OVERDUE}");
        let rows = tx.query_all_raw(sql(tx.backend(), &text, [now.into()])).await?;
        let webhooks: Vec<Uuid> = rows
            .iter()
            .map(|row| row.try_get_by_index(0))
            .collect::<Result<_, DbErr>>()?;
        hold_all(tx, &webhooks).await?;
    }
    let text = format!(
        "UPDATE deliveries SET lease = NULL, lease_until = NULL WHERE {OVERDUE} RETURNING webhook_id, subject_id"
    );
    let rows = tx.query_all_raw(sql(tx.backend(), &text, [now.into()])).await?;
    let subject = |row: &QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
    Ok(rows.iter().map(subject).collect::<Result<_, DbErr>>()?)
}

/// The webhooks of these ids.
pub async fn webhooks(permit: &Permit, ids: &[Uuid]) -> Result<Vec<webhook::Model>> {
    let backend = permit.gate().backend();
    let text = format!("SELECT * FROM webhooks WHERE {}", any_uuid(backend, "id"));
    let statement = sql(backend, &text, [uuids(backend, ids)]);
    Ok(webhook::Entity::find()
        .from_raw_sql(statement)
        .all(permit.read())
        .await?)
}

/// Holds webhooks until the end of the transaction. Everyone does before they change deliveries, so that no two wait for
/// each other. SQLite has one writer anyway.
pub async fn hold_all(tx: &Tx<'_>, ids: &[Uuid]) -> Result<()> {
    if tx.backend() == DbBackend::Postgres {
        let text = format!(
            "SELECT 1 FROM webhooks WHERE {} ORDER BY id FOR NO KEY UPDATE",
            any_uuid(tx.backend(), "id")
        );
        tx.execute(&text, [uuids(tx.backend(), ids)]).await?;
    }
    Ok(())
}

/// What attempts add to what is known of a webhook: how many of its deliveries they ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    pub delivered: i64,
    pub failed: i64,
}

/// Records attempts, and what they ended of webhooks. Of each attempt that was recorded: by which lease the one is taken that
/// comes first in its subject now. Those whose lease was lost are not recorded: whoever has it now records theirs.
pub async fn record(tx: &Tx<'_>, all: &[&Sent], ended: &BTreeMap<Uuid, Ended>) -> Result<HashMap<Uuid, Option<Uuid>>> {
    if all.is_empty() {
        return Ok(HashMap::new());
    }
    let mut rows = Rows::new(tx.backend());
    for sent in all {
        let done_at = (sent.status != DeliveryStatus::Pending).then_some(sent.at);
        rows.push([
            sent.delivery.into(),
            sent.lease.into(),
            sent.status.wire().into(),
            sent.next_attempt_at.into(),
            sent.body.as_deref().into(),
            sent.response_status.map(i64::from).into(),
            sent.response_body.as_deref().into(),
            sent.error.as_deref().into(),
            done_at.into(),
        ]);
    }
    let text = format!(
        "UPDATE deliveries SET status = r.status, attempts = attempts + 1, next_attempt_at = r.next_attempt_at,
             lease = NULL, lease_until = NULL, is_held = FALSE, body = COALESCE(r.body, deliveries.body),
             response_status = r.response_status, response_body = r.response_body, error = r.error, done_at = r.done_at
         FROM (SELECT {} AS delivery, {} AS holder, {} AS status, {} AS next_attempt_at, {} AS body, {} AS response_status,
             {} AS response_body, {} AS error, {} AS done_at FROM {}) r
         WHERE deliveries.id = r.delivery AND deliveries.lease = r.holder AND deliveries.status = 'pending'
         RETURNING id, (SELECT e.lease FROM deliveries e WHERE e.webhook_id = deliveries.webhook_id
             AND e.subject_id = deliveries.subject_id AND e.status = 'pending' AND e.attempts < {HOLDS_BACK}
             AND e.id <> deliveries.id ORDER BY e.seq LIMIT 1)",
        rows.uuid(0),
        rows.uuid(1),
        rows.text(2),
        rows.int(3),
        rows.text(4),
        rows.int(5),
        rows.text(6),
        rows.text(7),
        rows.int(8),
        rows.from()
    );
    let first = Sql::new(text, [rows.into_value()]);
    let found = tx.query_then(first, vec![count(tx.backend(), ended)]).await?;
    let first = |row: &QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
    Ok(found.iter().map(first).collect::<Result<_, DbErr>>()?)
}

/// Adds to what is counted of webhooks. Of those that are far back half is forgotten, so that the last ones tell most.
fn count(backend: DbBackend, ended: &BTreeMap<Uuid, Ended>) -> Sql {
    let mut rows = Rows::new(backend);
    for (webhook, ended) in ended {
        rows.push([(*webhook).into(), ended.delivered.into(), ended.failed.into()]);
    }
    let kept = |count: &str| format!("CASE WHEN delivered + failed < {TELLING} THEN {count} ELSE {count} / 2 END");
    let text = format!(
        "UPDATE webhooks SET delivered = {} + r.more_delivered, failed = {} + r.more_failed,
             failing_since = CASE WHEN r.more_delivered > 0 THEN NULL ELSE failing_since END
         FROM (SELECT {} AS webhook, {} AS more_delivered, {} AS more_failed FROM {}) r WHERE id = r.webhook",
        kept("delivered"),
        kept("failed"),
        rows.uuid(0),
        rows.int(1),
        rows.int(2),
        rows.from()
    );
    Sql::new(text, [rows.into_value()])
}

/// Drops deliveries whose owner may not see the event any more, by id and lease: as if they had never been, or given up
/// where they were tried.
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

/// Frees what nothing holds back any more in these subjects of webhooks: all up to the first that was tried less than three
/// times, or all if there is none. Which of them are taken already, and by which lease.
pub async fn free(tx: &Tx<'_>, subjects: &HashSet<(Uuid, Uuid)>) -> Result<HashSet<(Uuid, Uuid)>> {
    if subjects.is_empty() {
        return Ok(HashSet::new());
    }
    let mut rows = Rows::new(tx.backend());
    for (webhook, subject) in subjects {
        rows.push([(*webhook).into(), (*subject).into()]);
    }
    let (webhook, subject) = (rows.uuid(0), rows.uuid(1));
    let text = format!(
        "UPDATE deliveries AS d SET is_held = FALSE
         FROM (SELECT {webhook} AS webhook_id, {subject} AS subject_id,
             COALESCE((SELECT e.seq FROM deliveries e WHERE e.webhook_id = {webhook} AND e.subject_id = {subject}
                 AND e.status = 'pending' AND e.attempts < {HOLDS_BACK} ORDER BY e.seq LIMIT 1), {}) AS upto FROM {}) r
         WHERE d.webhook_id = r.webhook_id AND d.subject_id = r.subject_id AND d.status = 'pending' AND d.seq <= r.upto
             AND d.is_held
         RETURNING id, lease",
        i64::MAX,
        rows.from()
    );
    let freed = tx.query_all_raw(sql(tx.backend(), &text, [rows.into_value()])).await?;
    let mut taken = HashSet::new();
    for row in freed {
        if let Some(lease) = row.try_get_by_index(1)? {
            taken.insert((row.try_get_by_index(0)?, lease));
        }
    }
    Ok(taken)
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
    store::give_up(tx, webhook, "the webhook was deactivated").await
}
