//! Delivers: events of the log become deliveries, those that are due are taken for a while, sent, and recorded.
//!
//! Nothing is in memory alone. Whatever a node that dies has taken is taken over when its lease runs out, and a delivery
//! whose answer was not recorded is sent again, under the same `webhook-id`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use entity::{delivery, webhook};
use serde_json::json;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    DeliveryStatus,
    outgoing::{Answered, Outgoing},
    schedule::{self, Next},
    seal::Seal,
    sign::{Secret, signature},
    store::{self, Attempt},
};
use crate::{
    error::{Kind, Result},
    event::EventKind,
    events::Render,
    gate::{Gate, Operation, Permit, System, Tx, counted_as, log},
    id::IdKind,
    time,
};

/// How many events become deliveries in one transaction.
const PAGE: u64 = 256;
/// How many deliveries are on their way at once, to all hosts and to one. Source: the issue of webhooks.
const AT_ONCE: usize = 64;
const AT_ONCE_TO_ONE_HOST: usize = 4;
/// For how long a delivery is taken. An attempt takes half of it at most. Source: the protocol, Webhooks.
const LEASE: i64 = 30 * time::SECOND;
/// How long after it was taken a delivery is sent at the latest: the attempt itself takes 15 s, and then it is recorded.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// How long after it failed to record an attempt that is tried again.
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long to wait after somebody rang.
const TOGETHER: Duration = Duration::from_millis(20);
/// How often it is looked for work although nobody rang, and with the doorbell away.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_WITHOUT_BELL: Duration = Duration::from_millis(250);

/// How many attempts there were, by `outcome`: `delivered`, `failed`, `unseen` (the owner may not see the event any more).
pub const ATTEMPTS: &str = "bambisleep_webhook_attempts_total";
/// How long events wait from when they happened to their first attempt, in seconds.
pub const QUEUE_AGE: &str = "bambisleep_webhook_queue_age_seconds";

/// Delivers for a node. Cheap to clone.
#[derive(Clone)]
pub struct Worker(Arc<Inner>);

struct Inner {
    gate: Gate,
    permit: Permit,
    outgoing: Outgoing,
    seal: Seal,
    render: Render,
    /// How many are on their way, in all and to each host.
    sending: AtomicUsize,
    hosts: Mutex<HashMap<String, usize>>,
    /// Rung when one has arrived or not.
    done: Notify,
    tasks: TaskTracker,
}

impl Worker {
    pub fn new(gate: &Gate, outgoing: Outgoing, seal: Seal, render: Render) -> Self {
        Self(Arc::new(Inner {
            permit: gate.system(System::Deliver),
            gate: gate.clone(),
            outgoing,
            seal,
            render,
            sending: AtomicUsize::new(0),
            hosts: Mutex::default(),
            done: Notify::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Delivers until the server ends; then waits for what is on its way.
    pub async fn run(self, draining: CancellationToken) {
        let mut bell = self.0.gate.doorbell().listen();
        while !draining.is_cancelled() {
            match self.start_due(time::now).await {
                Ok(found) if found.is_more() => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(?error, "webhooks are not delivered"),
            }
            let every = match self.0.gate.doorbell().is_up() {
                true => LOOK_EVERY,
                false => LOOK_WITHOUT_BELL,
            };
            tokio::select! {
                () = draining.cancelled() => {}
                () = self.0.done.notified() => {}
                rung = timeout(every, bell.recv()) => if rung.is_ok() {
                    // What happens together is dispatched together.
                    sleep(TOGETHER).await;
                },
            }
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Does all there is to do at a time (Unix milliseconds) and waits for it; how many attempts that were.
    ///
    /// # Errors
    ///
    /// A database that does not answer.
    pub async fn run_once(&self, now: i64) -> Result<usize> {
        let mut attempts = 0;
        loop {
            let found = self.start_due(|| now).await?;
            while self.0.sending.load(Ordering::Acquire) > 0 {
                self.0.done.notified().await;
            }
            attempts += found.started;
            if !found.is_more() {
                return Ok(attempts);
            }
        }
    }

    /// Makes deliveries of some events, and starts what is due and has a place. The clock is asked when a lease begins:
    /// what comes before may take long.
    async fn start_due(&self, clock: impl Fn() -> i64) -> Result<Found> {
        // Most of the time there is nothing, and looking costs no turn at the writer.
        let work = store::work(&self.0.permit, clock()).await?;
        let mut found = Found { events: 0, started: 0 };
        if work.listening > 0 {
            found.events = self.0.permit.write(Dispatch { now: clock() }).await?;
        }
        if work.due == 0 && found.events == 0 {
            return Ok(found);
        }
        let free = AT_ONCE.saturating_sub(self.0.sending.load(Ordering::Acquire));
        if free == 0 {
            return Ok(found);
        }
        let (now, taken_at) = (clock(), Instant::now());
        let lease = Uuid::new_v4();
        let claim = Claim {
            lease,
            now,
            busy: self.busy_hosts(),
            limit: free,
        };
        let claimed = self.0.permit.write(claim).await?;
        if claimed.is_empty() {
            return Ok(found);
        }
        let ids: Vec<Uuid> = claimed.iter().map(|delivery| delivery.webhook_id).collect();
        let webhooks = store::by_ids(&self.0.permit, &ids).await?;
        let webhooks: HashMap<Uuid, Arc<webhook::Model>> =
            webhooks.into_iter().map(|row| (row.id, Arc::new(row))).collect();
        let mut given_back = Vec::new();
        for delivery in claimed {
            // One that was deleted meanwhile has taken its deliveries along.
            let Some(webhook) = webhooks.get(&delivery.webhook_id) else {
                continue;
            };
            let Some(place) = self.place(&webhook.host) else {
                given_back.push(delivery.id);
                continue;
            };
            found.started += 1;
            let (worker, webhook) = (self.clone(), webhook.clone());
            self.0.tasks.spawn(counted_as("webhooks", async move {
                if let Err(error) = worker.attempt(&delivery, &webhook, now, taken_at).await {
                    // It is sent again when its lease runs out.
                    tracing::warn!(?error, "an attempt to deliver was not recorded");
                }
                drop(place);
            }));
        }
        if !given_back.is_empty() {
            let ids = given_back;
            self.0.permit.write(Release { lease, ids }).await?;
        }
        Ok(found)
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy_hosts(&self) -> Vec<String> {
        let hosts = self.hosts();
        let busy = hosts.iter().filter(|(_, sending)| **sending >= AT_ONCE_TO_ONE_HOST);
        busy.map(|(host, _)| host.clone()).collect()
    }

    fn place(&self, host: &str) -> Option<Place> {
        let mut hosts = self.hosts();
        let sending = hosts.entry(host.to_owned()).or_default();
        if *sending >= AT_ONCE_TO_ONE_HOST {
            return None;
        }
        *sending += 1;
        self.0.sending.fetch_add(1, Ordering::AcqRel);
        Some(Place {
            worker: self.clone(),
            host: host.to_owned(),
        })
    }

    /// One attempt, with no transaction open while it is sent, of what was taken at `taken_at`, which is `now`.
    async fn attempt(
        &self,
        delivery: &delivery::Model,
        webhook: &webhook::Model,
        now: i64,
        taken_at: Instant,
    ) -> Result<()> {
        let (id, lease) = (delivery.id, delivery.lease.unwrap_or_default());
        let made = match self.body(delivery, webhook).await {
            Ok(Some(body)) => self
                .headers(delivery, webhook, &body, now)
                .map(|headers| (body, headers)),
            Ok(None) => {
                metrics::counter!(ATTEMPTS, "outcome" => "unseen").increment(1);
                return self.0.permit.write(DropUnseen { id, lease, now }).await;
            }
            Err(error) if error.kind() == Kind::Unavailable => return Err(error),
            Err(error) => Err(error),
        };
        // Another node takes what was held for too long: it is not sent by both.
        if taken_at.elapsed() > SENT_WITHIN {
            tracing::warn!("a delivery took too long to be made, and is taken again");
            return self.0.permit.write(Release { lease, ids: vec![id] }).await;
        }
        if delivery.attempts == 0 {
            let waited = (now - delivery.happened_at).max(0) as f64 / 1_000.0;
            metrics::histogram!(QUEUE_AGE).record(waited);
        }
        let (is_sent, body, answered) = match made {
            Ok((body, headers)) => {
                let answered = self.send(webhook, &headers, &body).await;
                (true, Some(body), answered)
            }
            Err(error) => {
                tracing::error!(?error, "a delivery cannot be made");
                (false, None, Answered::default())
            }
        };
        // The schedule counts from the end of the attempt, to the second.
        let now = now + i64::try_from(taken_at.elapsed().as_secs()).unwrap_or_default() * time::SECOND;
        let mut outcome = Outcome::of(delivery, &answered, now, rand::random());
        if !is_sent {
            outcome.error = Some("the server could not make it".to_owned());
        }
        metrics::counter!(ATTEMPTS, "outcome" => outcome.status_word()).increment(1);
        let record = Record {
            attempt: Attempt {
                delivery: id,
                webhook: delivery.webhook_id,
                lease,
                status: outcome.status,
                next_attempt_at: outcome.next_attempt_at,
                body,
                response_status: answered.status.map(i32::from),
                response_body: answered.status.map(|_| answered.body),
                error: outcome.error,
            },
            is_sent,
            is_gone: answered.status == Some(410),
            now,
        };
        self.record(record, taken_at).await
    }

    /// Records an attempt. What is not recorded is sent twice: it is tried for as long as the lease is.
    async fn record(&self, record: Record, taken_at: Instant) -> Result<()> {
        let lease = Duration::from_millis(LEASE.unsigned_abs());
        loop {
            match self.0.permit.write(record.clone()).await {
                Err(error) if taken_at.elapsed() < lease => {
                    tracing::warn!(?error, "an attempt to deliver is not recorded yet");
                    sleep(RECORD_AGAIN_AFTER).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// What is sent: the event's object as it is now and as the webhook's owner may see it. None where they may not.
    async fn body(&self, delivery: &delivery::Model, webhook: &webhook::Model) -> Result<Option<String>> {
        let kind: EventKind = delivery.kind.parse().map_err(crate::error::Error::internal)?;
        // Nothing is sent for one who is banned, no test event either.
        let Some(permit) = self.0.gate.reading_for(webhook.member_id).await? else {
            return Ok(None);
        };
        let data = match kind {
            EventKind::WebhookPing => json!({}),
            kind => {
                let seen = async {
                    crate::events::by_id(&permit, delivery.event_id).await?;
                    self.0.render.data(&permit, kind, delivery.object_id).await
                };
                match seen.await {
                    Ok(data) => data,
                    Err(error) if matches!(error.kind(), Kind::NotFound | Kind::ProfilePrivate | Kind::Forbidden) => {
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let body = json!({
            "type": kind.wire(),
            "timestamp": time::format(delivery.happened_at),
            "data": data,
        });
        Ok(Some(body.to_string()))
    }

    fn headers(
        &self,
        delivery: &delivery::Model,
        webhook: &webhook::Model,
        body: &str,
        now: i64,
    ) -> Result<[(&'static str, String); 4]> {
        let context = webhook.id.as_bytes();
        let open = |sealed: &[u8]| {
            let text = self.0.seal.open_sealed(context, sealed)?;
            Secret::parse(&text).map_err(crate::error::Error::internal)
        };
        let mut secrets = vec![open(&webhook.secret)?];
        if let Some(old) = &webhook.old_secret
            && webhook.old_secret_until.is_some_and(|until| until > now)
        {
            // One that cannot be opened, after the key was lost, does not keep the new one from being used.
            secrets.extend(open(old).ok());
        }
        let secrets: Vec<&Secret> = secrets.iter().collect();
        let id = IdKind::Event.encode(delivery.event_id);
        let timestamp = now / time::SECOND;
        Ok([
            ("content-type", "application/json".to_owned()),
            (
                "webhook-signature",
                signature(&secrets, &id, timestamp, body.as_bytes()),
            ),
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.to_string()),
        ])
    }

    async fn send(&self, webhook: &webhook::Model, headers: &[(&'static str, String)], body: &str) -> Answered {
        // Rules may have become stricter since it was made.
        match self.0.outgoing.check(&webhook.url) {
            Ok(url) => self.0.outgoing.post(&url, headers, Bytes::from(body.to_owned())).await,
            Err(why) => Answered {
                error: Some(format!("the URL {why}")),
                ..Answered::default()
            },
        }
    }
}

/// What there was to do.
struct Found {
    /// How many events have become deliveries.
    events: usize,
    /// How many attempts have begun.
    started: usize,
}

impl Found {
    /// Whether there may be more.
    fn is_more(&self) -> bool {
        self.started > 0 || self.events == PAGE as usize
    }
}

/// A place among those that are on their way.
struct Place {
    worker: Worker,
    host: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut hosts = self.worker.hosts();
            if let Some(sending) = hosts.get_mut(&self.host) {
                *sending -= 1;
                if *sending == 0 {
                    hosts.remove(&self.host);
                }
            }
        }
        self.worker.0.sending.fetch_sub(1, Ordering::AcqRel);
        self.worker.0.done.notify_one();
    }
}

/// What an answer means for a delivery.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: DeliveryStatus,
    next_attempt_at: Option<i64>,
    error: Option<String>,
}

impl Outcome {
    fn of(delivery: &delivery::Model, answered: &Answered, now: i64, jitter: f64) -> Self {
        // Whatever becomes of the rest of its answer.
        if answered.status.is_some_and(|status| (200..300).contains(&status)) {
            return Self {
                status: DeliveryStatus::Delivered,
                next_attempt_at: None,
                error: None,
            };
        }
        let error = answered.error.clone().unwrap_or_else(|| match answered.status {
            Some(status) => format!("the receiver answered {status}"),
            None => "there was no answer".to_owned(),
        });
        // A test event tells at once.
        let is_ping = delivery.kind == EventKind::WebhookPing.wire();
        let next = match is_ping || answered.status == Some(410) {
            true => Next::Never,
            false => schedule::next(now, delivery.attempts + 1, jitter, answered.retry_after),
        };
        let (status, next_attempt_at) = match next {
            Next::At(time) => (DeliveryStatus::Pending, Some(time)),
            Next::Never => (DeliveryStatus::Failed, None),
        };
        Self {
            status,
            next_attempt_at,
            error: Some(error),
        }
    }

    fn status_word(&self) -> &'static str {
        match self.status {
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Pending | DeliveryStatus::Failed => "failed",
        }
    }
}

/// Makes deliveries of the next events of the log; how many events that were.
struct Dispatch {
    now: i64,
}

impl Operation for Dispatch {
    type Output = usize;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<usize> {
        let Some(place) = store::dispatched(tx).await? else {
            return Ok(0);
        };
        let listening = store::listening(tx).await?;
        // Nobody is told of what was before the first of them.
        let Some(since) = listening.iter().map(|webhook| webhook.since).min() else {
            return Ok(0);
        };
        let events = log::read_placed(tx, place.max(since), PAGE).await?;
        let Some(last) = events.last() else {
            return Ok(0);
        };
        let mut to_tell = Vec::new();
        for event in &events {
            // What is of the inside has a kind that is none.
            let Ok(kind) = event.kind.parse::<EventKind>() else {
                continue;
            };
            let place = event.place();
            let listen = |webhook: &&store::Listening| webhook.events.contains(&kind) && webhook.since < place;
            to_tell.extend(listening.iter().filter(listen).map(|webhook| store::ToTell {
                webhook: webhook.id,
                event,
            }));
        }
        let told = to_tell.iter().map(|told| told.webhook).collect();
        let active = store::hold_active(tx, told).await?;
        to_tell.retain(|told| active.contains(&told.webhook));
        store::insert_all(tx, &to_tell, self.now).await?;
        store::set_dispatched(tx, last.place()).await?;
        Ok(events.len())
    }
}

struct Claim {
    lease: Uuid,
    now: i64,
    busy: Vec<String>,
    limit: usize,
}

impl Operation for Claim {
    type Output = Vec<delivery::Model>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<delivery::Model>> {
        store::claim(tx, self.lease, self.now + LEASE, self.now, &self.busy, self.limit).await
    }
}

struct Release {
    lease: Uuid,
    ids: Vec<Uuid>,
}

impl Operation for Release {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        store::release(tx, self.lease, &self.ids).await
    }
}

struct DropUnseen {
    id: Uuid,
    lease: Uuid,
    now: i64,
}

impl Operation for DropUnseen {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        store::drop_unseen(tx, self.id, self.lease, self.now).await
    }
}

/// Records an attempt, and what it means for the webhook.
#[derive(Clone)]
struct Record {
    attempt: Attempt,
    /// Whether the receiver had a chance.
    is_sent: bool,
    is_gone: bool,
    now: i64,
}

impl Operation for Record {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        let webhook = self.attempt.webhook;
        store::hold(tx, webhook).await?;
        if !store::record(tx, &self.attempt, self.now).await? {
            tracing::info!("a delivery was taken over before its attempt was recorded");
            return Ok(());
        }
        if self.attempt.status == DeliveryStatus::Delivered {
            return store::succeeded(tx, webhook).await;
        }
        if self.is_gone {
            return store::deactivate(tx, webhook, "the receiver answered 410: it is gone").await;
        }
        if !self.is_sent {
            return Ok(());
        }
        let since = store::failing_since(tx, webhook, self.now).await?;
        if since.is_some_and(|since| schedule::is_given_up(self.now, since)) {
            let why = "nothing but failures for five days";
            return store::deactivate(tx, webhook, why).await;
        }
        Ok(())
    }
}

/// Removes deliveries that were done more than 30 days before `now`.
///
/// # Errors
///
/// A database that does not answer.
pub async fn expire(permit: &Permit, now: i64) -> Result<()> {
    permit.write(Expire { now }).await
}

struct Expire {
    now: i64,
}

impl Operation for Expire {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        store::expire(tx, self.now).await
    }
}

#[cfg(test)]
mod tests;
