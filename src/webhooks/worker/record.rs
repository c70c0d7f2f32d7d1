//! What came of attempts, and what that means for their webhooks. Those that end together are written together.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use entity::delivery;
use uuid::Uuid;

use super::queue::{self, Ended};
use crate::{
    error::Result,
    event::EventKind,
    gate::{Durability, Part, Tx},
    webhooks::{
        DeliveryStatus,
        outgoing::Answered,
        schedule::{self, HOLDS_BACK, Next},
    },
};

/// What an answer means for a delivery.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: DeliveryStatus,
    pub next_attempt_at: Option<i64>,
    pub error: Option<String>,
}

impl Outcome {
    pub fn of(delivery: &delivery::Model, answered: &Answered, now: i64, jitter: f64) -> Self {
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

    pub fn word(&self) -> &'static str {
        match self.status {
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Pending | DeliveryStatus::Failed => "failed",
        }
    }
}

/// What came of an attempt.
#[derive(Clone)]
pub struct Record {
    pub webhook: Uuid,
    pub subject: Uuid,
    pub what: What,
    /// What was taken together with it and comes next.
    pub next: Option<Uuid>,
}

#[derive(Clone)]
pub enum What {
    Sent(Sent),
    /// Its owner may not see the event any more.
    Unseen {
        delivery: Uuid,
        lease: Uuid,
        at: i64,
    },
}

/// What was sent, and how that went.
#[derive(Clone, Debug)]
pub struct Sent {
    pub delivery: Uuid,
    pub lease: Uuid,
    pub status: DeliveryStatus,
    /// How many attempts there have been with this one.
    pub attempts: i32,
    pub next_attempt_at: Option<i64>,
    /// None where none could be made: what was sent before stays.
    pub body: Option<String>,
    pub response_status: Option<i32>,
    pub response_body: Option<String>,
    pub error: Option<String>,
    /// Whether the receiver had a chance.
    pub is_sent: bool,
    /// When it ended, in Unix milliseconds.
    pub at: i64,
}

impl Record {
    fn lease(&self) -> Uuid {
        match &self.what {
            What::Sent(sent) => sent.lease,
            What::Unseen { lease, .. } => *lease,
        }
    }
}

impl Part for Record {
    /// Whether what comes next may be sent: it is still taken, and nothing holds it back.
    type Output = bool;

    async fn run(tx: &mut Tx<'_>, _: Uuid, parts: &[&Self]) -> Result<Vec<Result<bool>>> {
        let webhooks: BTreeSet<Uuid> = parts.iter().map(|record| record.webhook).collect();
        queue::hold_all(tx, &webhooks.into_iter().collect::<Vec<_>>()).await?;
        let sent: Vec<&Sent> = parts.iter().filter_map(|record| record.sent()).collect();
        let ended = ended(parts);
        let recorded = queue::record(tx, &sent, &ended).await?;
        let deactivated = judge(tx, parts, &recorded, &ended).await?;
        let mut next_is_ours = HashSet::new();
        let mut to_free = HashSet::new();
        for record in parts {
            match &record.what {
                What::Unseen { delivery, lease, at } => {
                    queue::drop_unseen(tx, *delivery, *lease, *at).await?;
                    to_free.insert((record.webhook, record.subject));
                }
                What::Sent(sent) => match recorded.get(&sent.delivery) {
                    Some(_) if sent.holds_back() => {}
                    Some(first) if *first == Some(sent.lease) => next_is_ours.extend(record.next),
                    Some(_) => {
                        to_free.insert((record.webhook, record.subject));
                    }
                    None => {}
                },
            }
        }
        let freed = queue::free(tx, &to_free).await?;
        let goes_on = |record: &&Self| {
            record.next.is_some_and(|next| {
                !deactivated.contains(&record.webhook)
                    && (next_is_ours.contains(&next) || freed.contains(&(next, record.lease())))
            })
        };
        Ok(parts.iter().map(goes_on).map(Ok).collect())
    }

    /// What is lost of it is sent again.
    fn durability(&self) -> Durability {
        Durability::Process
    }
}

impl Sent {
    /// Whether what comes after it in its subject has to wait for another attempt.
    fn holds_back(&self) -> bool {
        self.status == DeliveryStatus::Pending && self.attempts < HOLDS_BACK
    }
}

impl Record {
    fn sent(&self) -> Option<&Sent> {
        match &self.what {
            What::Sent(sent) => Some(sent),
            What::Unseen { .. } => None,
        }
    }
}

/// Of how many deliveries the attempts were the last, by webhook.
fn ended(parts: &[&Record]) -> BTreeMap<Uuid, Ended> {
    let mut ended: BTreeMap<Uuid, Ended> = BTreeMap::new();
    for record in parts {
        match record.sent().map(|sent| sent.status) {
            Some(DeliveryStatus::Delivered) => ended.entry(record.webhook).or_default().delivered += 1,
            Some(DeliveryStatus::Failed) => ended.entry(record.webhook).or_default().failed += 1,
            Some(DeliveryStatus::Pending) | None => {}
        }
    }
    ended
}

/// What failures that were recorded mean for their webhooks, unless these took something else; which of them are deactivated.
async fn judge(
    tx: &Tx<'_>,
    parts: &[&Record],
    recorded: &HashMap<Uuid, Option<Uuid>>,
    ended: &BTreeMap<Uuid, Ended>,
) -> Result<BTreeSet<Uuid>> {
    let mut failed: BTreeMap<Uuid, Vec<&Sent>> = BTreeMap::new();
    for record in parts {
        match record.sent() {
            Some(sent) if !recorded.contains_key(&sent.delivery) => {
                tracing::info!("a delivery was taken over before its attempt was recorded");
            }
            Some(sent) if sent.status != DeliveryStatus::Delivered => {
                failed.entry(record.webhook).or_default().push(sent);
            }
            _ => {}
        }
    }
    let mut deactivated = BTreeSet::new();
    for (webhook, all) in failed {
        if all.iter().any(|sent| sent.response_status == Some(410)) {
            queue::deactivate(tx, webhook, "the receiver answered 410: it is gone").await?;
            deactivated.insert(webhook);
            continue;
        }
        if ended.get(&webhook).is_some_and(|ended| ended.delivered > 0) {
            continue;
        }
        let Some(last) = all.iter().filter(|sent| sent.is_sent).map(|sent| sent.at).max() else {
            continue;
        };
        let since = queue::failing_since(tx, webhook, last).await?;
        if since.is_some_and(|since| schedule::is_given_up(last, since)) {
            queue::deactivate(tx, webhook, "nothing but failures for five days").await?;
            deactivated.insert(webhook);
        }
    }
    Ok(deactivated)
}
