//! Delivers: events of the log become deliveries, those that are due are taken for a while, sent, and recorded.
//!
//! Nothing is in memory alone. Whatever a node that dies has taken is taken over when its lease runs out, and a delivery
//! whose answer was not recorded is sent again, under the same `webhook-id`.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use entity::{delivery, webhook};
use futures_util::FutureExt;
use tokio::{
    sync::{Notify, broadcast::error::TryRecvError},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;
use uuid::Uuid;

use self::{
    claim::{Chain, Claim, Recover, Release},
    dispatch::Dispatch,
    message::Message,
    record::{Outcome, Record, Sent, What},
};
use super::{
    outgoing::{Answered, Outgoing},
    seal::Seal,
    sign::Secret,
    store,
};
use crate::{
    error::{Kind, Result},
    events::Render,
    gate::{Gate, Operation, Permit, System, Together, Tx, counted_as},
    time,
};

mod claim;
mod dispatch;
mod message;
mod queue;
mod record;

/// How many deliveries are on their way at once: from this node, to all hosts; from all nodes, to one. Source: the issue of
/// webhooks.
const AT_ONCE: usize = 64;
const AT_ONCE_TO_ONE_HOST: usize = 4;
/// For how long a delivery is taken. An attempt takes half of it at most. Source: the protocol, Webhooks.
const LEASE: i64 = 30 * time::SECOND;
/// How long after it was taken a delivery is sent at the latest: the attempt itself takes 15 s, and then it is recorded.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// How long before it is sent a delivery is made at the earliest: what is deleted after that comes too late for it.
const MADE_AHEAD: Duration = Duration::from_millis(100);
/// How long after it failed to record an attempt that is tried again.
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How many times as long as it took to make deliveries of some events it rests, where there are more of them and the doorbell
/// rings.
const RESTS: u32 = 6;
/// How long to wait after somebody rang.
const TOGETHER: Duration = Duration::from_millis(20);
/// How often it is looked for work although nobody rang, and with the doorbell away.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_WITHOUT_BELL: Duration = Duration::from_millis(250);

/// How many attempts there were, by `outcome`: `delivered`, `failed`, `unseen` (the owner may not see the event any more).
pub const ATTEMPTS: &str = "bambisleep_webhook_attempts_total";
/// For how long the oldest delivery that is due and that nobody has taken has been due, in seconds; 0 without one.
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
    records: Together<Record>,
    /// How many are on their way.
    sending: AtomicUsize,
    /// How many attempts there were.
    attempts: AtomicUsize,
    /// Rung when one has arrived or not.
    done: Notify,
    /// Whether nothing new is begun: the server ends.
    is_ending: AtomicBool,
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
            records: Together::default(),
            sending: AtomicUsize::new(0),
            attempts: AtomicUsize::new(0),
            done: Notify::new(),
            is_ending: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        }))
    }

    /// Delivers until the server ends; then waits for what is on its way.
    pub async fn run(self, draining: CancellationToken) {
        let mut bell = self.0.gate.doorbell().listen();
        let mut pace = Pace::start();
        while !draining.is_cancelled() {
            while !matches!(bell.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {
                pace.heard();
            }
            let found = match AssertUnwindSafe(self.start_due(time::now, &mut pace))
                .catch_unwind()
                .await
            {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    tracing::warn!(?error, "webhooks are not delivered");
                    Found::default()
                }
                // The panic is in the log. What one round cannot do may not end all deliveries.
                Err(_) => {
                    tracing::error!("webhooks are not delivered");
                    Found::default()
                }
            };
            if found.has_started || (found.has_events && pace.is_due()) {
                continue;
            }
            let mut look_at = match (found.has_events, self.0.gate.doorbell().is_up()) {
                (true, _) => pace.next,
                (false, true) => Instant::now() + LOOK_EVERY,
                (false, false) => Instant::now() + LOOK_WITHOUT_BELL,
            };
            loop {
                tokio::select! {
                    () = draining.cancelled() => break,
                    () = self.0.done.notified() => break,
                    () = sleep_until(look_at) => break,
                    // What happens together is dispatched together.
                    _ = bell.recv() => {
                        pace.heard();
                        look_at = look_at.min(Instant::now() + TOGETHER);
                    }
                }
            }
        }
        self.0.is_ending.store(true, Ordering::Release);
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Does all there is to do at a time (Unix milliseconds) and waits for it; how many attempts that were.
    ///
    /// # Errors
    ///
    /// A database that does not answer.
    pub async fn run_once(&self, now: i64) -> Result<usize> {
        let before = self.0.attempts.load(Ordering::Acquire);
        loop {
            let found = self.start_due(|| now, &mut Pace::start()).await?;
            while self.0.sending.load(Ordering::Acquire) > 0 {
                self.0.done.notified().await;
            }
            if !found.has_started && !found.has_events {
                return Ok(self.0.attempts.load(Ordering::Acquire) - before);
            }
        }
    }

    /// Makes deliveries of some events, and starts what is due and has a place. The clock is asked when a lease begins:
    /// what comes before may take long.
    async fn start_due(&self, clock: impl Fn() -> i64, pace: &mut Pace) -> Result<Found> {
        let permit = &self.0.permit;
        // Most of the time there is nothing, and looking costs no turn at the writer.
        let work = queue::work(permit, clock()).await?;
        let age = work.due_since.map_or(0, |since| (clock() - since).max(0));
        metrics::gauge!(QUEUE_AGE).set(age as f64 / 1_000.0);
        let mut found = Found::default();
        if work.to_dispatch > 0 && pace.is_due() {
            let began = Instant::now();
            found.has_events = permit.write(Dispatch { now: clock() }).await?;
            pace.took(began.elapsed());
        } else if work.to_dispatch > 0 {
            found.has_events = true;
        }
        if work.to_recover > 0 {
            permit.write(Recover { now: clock() }).await?;
        }
        // What was made due just now is seen the next time, if there is one at once.
        if work.due_since.is_none() && work.to_recover == 0 && (found.has_events || work.to_dispatch == 0) {
            return Ok(found);
        }
        let free = AT_ONCE.saturating_sub(self.0.sending.load(Ordering::Acquire));
        let due = claim::due(permit, clock(), free).await?;
        if due.is_empty() {
            return Ok(found);
        }
        let ids: Vec<Uuid> = due.iter().map(|delivery| delivery.webhook_id).collect();
        let (now, taken_at) = (clock(), Instant::now());
        let leases = due.iter().map(|_| Uuid::new_v4()).collect();
        let chains = permit.write(Claim { now, due, leases }).await?;
        let webhooks = queue::webhooks(permit, &ids).await?;
        let webhooks: HashMap<Uuid, Arc<webhook::Model>> =
            webhooks.into_iter().map(|row| (row.id, Arc::new(row))).collect();
        for chain in chains {
            // One that was deleted meanwhile has taken its deliveries along.
            let head = chain
                .first()
                .and_then(|head| Some((webhooks.get(&head.webhook_id)?, head.lease?)));
            let Some((webhook, lease)) = head else {
                continue;
            };
            found.has_started = true;
            let taken = Taken::new(&self.0, webhook.clone(), lease, now, taken_at);
            let (worker, place) = (self.clone(), Place::of(self));
            self.0.tasks.spawn(counted_as("webhooks", async move {
                if let Err(error) = worker.deliver(chain, &taken).await {
                    // It is sent again when its lease runs out.
                    tracing::warn!(?error, "an attempt to deliver was not recorded");
                }
                drop(place);
            }));
        }
        Ok(found)
    }

    /// Sends one after another, each when the one before is out of its way, for as long as there is time.
    async fn deliver(&self, chain: Chain, taken: &Taken) -> Result<()> {
        let mut ahead = None;
        for (index, delivery) in chain.iter().enumerate() {
            let (rest, next) = (&chain[index..], chain.get(index + 1));
            let made = match ahead.take() {
                Some(made) => made,
                None => Message::of(&self.0, delivery, taken).await,
            };
            if let Err(error) = &made
                && error.kind() == Kind::Unavailable
            {
                return Err(error.clone());
            }
            // Another node takes what was held for too long, and what a node that ends has not begun: it is not sent by both.
            if taken.at.elapsed() > SENT_WITHIN || self.0.is_ending.load(Ordering::Acquire) {
                return self.give_back(rest, taken).await;
            }
            let what = match made {
                Ok(None) => {
                    metrics::counter!(ATTEMPTS, "outcome" => "unseen").increment(1);
                    self.0.attempts.fetch_add(1, Ordering::AcqRel);
                    What::Unseen {
                        delivery: delivery.id,
                        lease: taken.lease,
                        at: taken.time(),
                    }
                }
                Ok(Some(message)) => What::Sent(self.attempt(delivery, message, taken).await),
                Err(error) => {
                    tracing::error!(?error, "a delivery cannot be made");
                    let mut sent = self.sent(delivery, None, Answered::default(), taken);
                    sent.error = Some("the server could not make it".to_owned());
                    What::Sent(sent)
                }
            };
            let record = Record {
                webhook: delivery.webhook_id,
                subject: delivery.subject_id,
                what,
                next: next.map(|next| next.id),
            };
            // The next one is made while this one is recorded.
            let began = Instant::now();
            let make = async {
                match next {
                    Some(next) => Some(Message::of(&self.0, next, taken).await),
                    None => None,
                }
            };
            let (goes_on, made) = tokio::join!(self.record(record, taken), make);
            if !goes_on? {
                return self.give_back(&rest[1..], taken).await;
            }
            // What may be seen may have changed while that took long.
            ahead = made.filter(|_| began.elapsed() < MADE_AHEAD);
        }
        Ok(())
    }

    async fn give_back(&self, rest: &[delivery::Model], taken: &Taken) -> Result<()> {
        let Some(first) = rest.first() else {
            return Ok(());
        };
        let release = Release {
            lease: taken.lease,
            webhook: first.webhook_id,
            subject: first.subject_id,
            ids: rest.iter().map(|delivery| delivery.id).collect(),
        };
        self.0.permit.write(release).await
    }

    /// One attempt, with no transaction open while it is sent.
    async fn attempt(&self, delivery: &delivery::Model, message: Message, taken: &Taken) -> Sent {
        let answered = match &taken.url {
            Ok(url) => {
                let body = Bytes::from(message.body.clone());
                self.0.outgoing.post(url, &message.headers, body).await
            }
            Err(why) => Answered {
                error: Some(format!("the URL {why}")),
                ..Answered::default()
            },
        };
        self.sent(delivery, Some(message.body), answered, taken)
    }

    /// What came of an attempt. Without a body it was none of the receiver's.
    fn sent(&self, delivery: &delivery::Model, body: Option<String>, answered: Answered, taken: &Taken) -> Sent {
        let at = taken.time();
        let outcome = Outcome::of(delivery, &answered, at, rand::random());
        metrics::counter!(ATTEMPTS, "outcome" => outcome.word()).increment(1);
        self.0.attempts.fetch_add(1, Ordering::AcqRel);
        Sent {
            delivery: delivery.id,
            lease: taken.lease,
            status: outcome.status,
            attempts: delivery.attempts + 1,
            next_attempt_at: outcome.next_attempt_at,
            is_sent: body.is_some(),
            body,
            response_status: answered.status.map(i32::from),
            response_body: answered.status.map(|_| answered.body),
            error: outcome.error,
            at,
        }
    }

    /// Records an attempt; whether the next one may be sent. What is not recorded is sent twice: it is tried for as long as
    /// the lease is.
    async fn record(&self, record: Record, taken: &Taken) -> Result<bool> {
        let lease = Duration::from_millis(LEASE.unsigned_abs());
        loop {
            let written = self.0.records.write(&self.0.permit, Uuid::nil(), record.clone());
            match written.await {
                Err(error) if taken.at.elapsed() < lease => {
                    tracing::warn!(?error, "an attempt to deliver is not recorded yet");
                    sleep(RECORD_AGAIN_AFTER).await;
                }
                outcome => return outcome,
            }
        }
    }
}

/// What was taken together.
struct Taken {
    webhook: Arc<webhook::Model>,
    /// Where it goes, or why it may not: rules may have become stricter since the webhook was made.
    url: Result<Url, String>,
    secrets: Result<Vec<Secret>>,
    lease: Uuid,
    /// When, in Unix milliseconds, and by the clock that only goes forward.
    now: i64,
    at: Instant,
}

impl Taken {
    fn new(inner: &Inner, webhook: Arc<webhook::Model>, lease: Uuid, now: i64, at: Instant) -> Self {
        Self {
            url: inner.outgoing.check(&webhook.url),
            secrets: message::secrets(&inner.seal, &webhook, now),
            webhook,
            lease,
            now,
            at,
        }
    }

    /// What time it is, in Unix milliseconds, to the second as counted from when it was taken.
    fn time(&self) -> i64 {
        self.now + i64::try_from(self.at.elapsed().as_secs()).unwrap_or_default() * time::SECOND
    }
}

/// What there was to do.
#[derive(Default)]
struct Found {
    /// Whether there may be more events that are to become deliveries.
    has_events: bool,
    /// Whether attempts have begun.
    has_started: bool,
}

/// When events become deliveries again.
struct Pace {
    next: Instant,
    /// When the doorbell rang last: somebody else is at work.
    heard_at: Option<Instant>,
}

impl Pace {
    fn start() -> Self {
        Self {
            next: Instant::now(),
            heard_at: None,
        }
    }

    fn is_due(&self) -> bool {
        self.next <= Instant::now()
    }

    fn heard(&mut self) {
        self.heard_at = Some(Instant::now());
    }

    /// Leaves room for others, if there are any: who is far behind is so for longer, and those who chat do not notice.
    fn took(&mut self, time: Duration) {
        let is_shared = self.heard_at.is_some_and(|at| at.elapsed() < LOOK_EVERY);
        let rest = if is_shared { time * RESTS } else { Duration::ZERO };
        self.next = Instant::now() + rest;
    }
}

/// A place among those that are on their way.
struct Place(Worker);

impl Place {
    fn of(worker: &Worker) -> Self {
        worker.0.sending.fetch_add(1, Ordering::AcqRel);
        Self(worker.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.sending.fetch_sub(1, Ordering::AcqRel);
        self.0.0.done.notify_one();
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
