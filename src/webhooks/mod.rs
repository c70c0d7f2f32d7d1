//! Webhooks: events, sent signed to the servers of members, at least once and in order for each subject.

use std::collections::HashMap;

use entity::{delivery, webhook};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    error::{Error, Kind, Result},
    event::EventKind,
    gate::{Operation, Permit, Tx, callers::Caller, log, rules::names},
    loaders::Loaders,
    text::Checks,
};

pub mod graphql;
pub mod outgoing;
pub mod schedule;
pub mod seal;
pub mod sign;
mod store;
pub mod worker;

pub use store::{Health, Part};

use outgoing::{Outgoing, host_of};
use seal::Seal;
use sign::Secret;

/// How many webhooks a member may have. Source: the protocol, Webhooks.
pub const MOST: i64 = 10;
/// How long deliveries carry the old secret's signature too, in milliseconds. Source: the protocol, Webhooks.
const OLD_SECRET_FOR: i64 = crate::time::DAY;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, async_graphql::Enum)]
pub enum DeliveryStatus {
    /// It is to be sent, or sent again.
    Pending,
    /// The webhook took it.
    Delivered,
    /// It was given up.
    Failed,
}

names!(DeliveryStatus {
    Pending = "PENDING", "pending";
    Delivered = "DELIVERED", "delivered";
    Failed = "FAILED", "failed";
});

/// What members do with webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    outgoing: Outgoing,
    seal: Seal,
}

/// A new webhook.
#[derive(Clone)]
pub struct New {
    pub url: String,
    pub events: Vec<EventKind>,
    /// None: one is made.
    pub secret: Option<String>,
}

/// What changes of a webhook; what is absent stays.
#[derive(Clone, Serialize)]
pub struct Change {
    pub url: Option<String>,
    #[serde(serialize_with = "wire")]
    pub events: Option<Vec<EventKind>>,
    pub is_active: Option<bool>,
    pub secret: Option<String>,
}

fn wire<S: serde::Serializer>(events: &Option<Vec<EventKind>>, serializer: S) -> Result<S::Ok, S::Error> {
    events.as_deref().map(spelled).serialize(serializer)
}

fn spelled(events: &[EventKind]) -> String {
    let names: Vec<&str> = events.iter().map(|event| event.wire()).collect();
    names.join(" ")
}

/// The kinds that a webhook is told of.
pub fn events_of(row: &webhook::Model) -> Vec<EventKind> {
    row.events.split(' ').filter_map(|name| name.parse().ok()).collect()
}

impl Webhooks {
    pub fn new(outgoing: Outgoing, seal: Seal) -> Self {
        Self { outgoing, seal }
    }

    /// Makes a webhook of the caller's; the secret, where it was made here.
    ///
    /// # Errors
    ///
    /// `VALIDATION_FAILED`; `CONFLICT` for one more than a member may have.
    pub async fn create(&self, permit: &Permit, new: New) -> Result<(webhook::Model, Option<String>)> {
        let mut checks = Checks::new();
        let url = self.check_url(&mut checks, &new.url);
        let events = check_events(&mut checks, &new.events);
        if let Some(secret) = &new.secret {
            check_secret(&mut checks, secret);
        }
        checks.done()?;
        let id = Uuid::now_v7();
        let (secret, made) = match new.secret {
            Some(secret) => (secret, None),
            None => {
                let (_, text) = Secret::generate();
                (text.clone(), Some(text))
            }
        };
        let row = permit
            .write(Create {
                id,
                member: permit.member()?.member,
                host: url.as_ref().map(host_of).unwrap_or_default(),
                url: url.map(String::from).unwrap_or_default(),
                events: spelled(&events),
                secret: self.seal.seal(id.as_bytes(), &secret),
            })
            .await?;
        Ok((row, made))
    }

    /// Changes a webhook of the caller's. A new secret takes the place of the one before, which signs for another 24 h too.
    /// One that is made active again begins anew.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`, `VALIDATION_FAILED`.
    pub async fn update(&self, permit: &Permit, id: Uuid, change: Change) -> Result<webhook::Model> {
        let mut checks = Checks::new();
        let url = change.url.as_ref().and_then(|url| self.check_url(&mut checks, url));
        let events = change.events.as_ref().map(|events| check_events(&mut checks, events));
        if let Some(secret) = &change.secret {
            check_secret(&mut checks, secret);
        }
        checks.done()?;
        permit
            .write_once(Update {
                id,
                member: permit.member()?.member,
                url: url.map(|url| (host_of(&url), String::from(url))),
                events: events.map(|events| spelled(&events)),
                is_active: change.is_active,
                secret: change.secret.map(|secret| self.seal.seal(id.as_bytes(), &secret)),
            })
            .await
    }

    fn check_url(&self, checks: &mut Checks, text: &str) -> Option<url::Url> {
        checks.url("url", text);
        self.outgoing.check(text).map_err(|why| checks.refuse("url", why)).ok()
    }
}

fn check_events(checks: &mut Checks, events: &[EventKind]) -> Vec<EventKind> {
    let mut once: Vec<EventKind> = Vec::new();
    for event in events {
        if *event == EventKind::WebhookPing {
            checks.refuse(
                "events",
                "must not have webhook.ping, which is sent by pingWebhook alone",
            );
        }
        if !once.contains(event) {
            once.push(*event);
        }
    }
    if once.is_empty() {
        checks.refuse("events", "must not be empty");
    }
    once
}

fn check_secret(checks: &mut Checks, secret: &str) {
    if let Err(why) = Secret::parse(secret) {
        checks.refuse("secret", why);
    }
}

/// A webhook of the caller's.
///
/// # Errors
///
/// `NOT_FOUND`, another's included.
pub async fn webhook(permit: &Permit, id: Uuid) -> Result<webhook::Model> {
    let found = store::webhook(permit, permit.member()?.member, id).await?;
    found.ok_or_else(|| Error::not_found("webhook"))
}

/// The caller's webhooks, newest first.
pub async fn webhooks(permit: &Permit, after: Option<Uuid>, limit: u64) -> Result<Vec<webhook::Model>> {
    store::webhooks(permit, permit.member()?.member, after, limit).await
}

/// A delivery to a webhook of the caller's.
///
/// # Errors
///
/// `NOT_FOUND`, another's included.
pub async fn delivery(permit: &Permit, id: Uuid) -> Result<delivery::Model> {
    let found = store::delivery(permit, permit.member()?.member, id).await?;
    found.ok_or_else(|| Error::not_found("delivery"))
}

/// Deliveries to a webhook of the caller's, newest first, from before a place if one is given.
///
/// # Errors
///
/// `NOT_FOUND` for another's.
pub async fn deliveries(
    permit: &Permit,
    loaders: &Loaders,
    webhook: &webhook::Model,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<delivery::Model>> {
    let part = Part {
        webhook: webhook.id,
        before,
        limit,
    };
    match loaders.deliveries(part).await? {
        Some(rows) => permit.see(rows, |caller, _| is_own(caller, webhook)),
        None => Ok(Vec::new()),
    }
}

/// How a webhook of the caller's is doing.
///
/// # Errors
///
/// `NOT_FOUND` for another's.
pub async fn health(permit: &Permit, loaders: &Loaders, webhook: &webhook::Model) -> Result<Health> {
    match loaders.webhook_health(webhook.id).await? {
        Some(health) => permit.see(health, |caller, _| is_own(caller, webhook)),
        None => Ok(Health::default()),
    }
}

fn is_own(caller: &Caller, webhook: &webhook::Model) -> Result<()> {
    match caller.is(webhook.member_id) {
        true => Ok(()),
        false => Err(Error::not_found("webhook")),
    }
}

/// Unchecked rows for the loaders.
pub(crate) async fn load_deliveries(permit: &Permit, parts: &[Part]) -> Result<HashMap<Part, Vec<delivery::Model>>> {
    store::deliveries(permit, parts).await
}

/// Unchecked rows for the loaders.
pub(crate) async fn load_health(permit: &Permit, webhooks: &[Uuid]) -> Result<HashMap<Uuid, Health>> {
    store::health(permit, webhooks).await
}

/// Takes what was sent of an object out of all deliveries, whose owners may read it: it was deleted.
pub async fn forget(tx: &Tx<'_>, object: Uuid) -> Result<()> {
    store::forget(tx, object).await
}

/// Takes what was sent of a member, their messages and triggers out of all deliveries: their account is being deleted.
pub async fn forget_all_of(tx: &Tx<'_>, member: Uuid) -> Result<()> {
    store::forget_all_of(tx, member).await
}

/// Deletes a webhook of the caller's with its deliveries.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn delete(permit: &Permit, id: Uuid) -> Result<webhook::Model> {
    let member = permit.member()?.member;
    permit.write_once(Delete { id, member }).await
}

/// Sends a webhook of the caller's a test event, once and out of any order, also where it is not active.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn ping(permit: &Permit, id: Uuid) -> Result<delivery::Model> {
    let ping = Ping {
        webhook: id,
        member: permit.member()?.member,
        id: Uuid::now_v7(),
        event: Uuid::now_v7(),
    };
    let row = permit.write_once(ping).await?;
    permit.gate().doorbell().ring(row.subject_id);
    Ok(row)
}

/// Sends an event again that was delivered or given up, under its `webhook-id`.
///
/// # Errors
///
/// `NOT_FOUND`; `CONFLICT` where it is still to be sent, or the webhook is not active.
pub async fn redeliver(permit: &Permit, id: Uuid) -> Result<delivery::Model> {
    let member = permit.member()?.member;
    let row = permit.write_once(Redeliver { id, member }).await?;
    permit.gate().doorbell().ring(row.subject_id);
    Ok(row)
}

struct Create {
    id: Uuid,
    member: Uuid,
    host: String,
    url: String,
    events: String,
    secret: Vec<u8>,
}

impl Operation for Create {
    type Output = webhook::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<webhook::Model> {
        tx.hold_member(self.member).await?;
        let since = log::here(tx).await?;
        let row = webhook::Model {
            id: self.id,
            member_id: self.member,
            url: self.url.clone(),
            host: self.host.clone(),
            events: self.events.clone(),
            secret: self.secret.clone(),
            old_secret: None,
            old_secret_until: None,
            is_active: true,
            deactivated_reason: None,
            failing_since: None,
            delivered: 0,
            failed: 0,
            since_tx: since.tx,
            since_n: since.n,
            created_at: tx.now(),
        };
        store::insert(tx, row).await
    }
}

struct Update {
    id: Uuid,
    member: Uuid,
    /// With its host.
    url: Option<(String, String)>,
    events: Option<String>,
    is_active: Option<bool>,
    secret: Option<Vec<u8>>,
}

impl Operation for Update {
    type Output = webhook::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<webhook::Model> {
        let mut row = store::own(tx, self.id, self.member).await?;
        store::call_back(tx, row.id).await?;
        if let Some((host, url)) = &self.url {
            if row.url != *url {
                // Its failures were another address's.
                row.failing_since = None;
            }
            (row.host, row.url) = (host.clone(), url.clone());
        }
        if let Some(events) = &self.events {
            row.events.clone_from(events);
        }
        if let Some(secret) = &self.secret {
            row.old_secret = Some(std::mem::replace(&mut row.secret, secret.clone()));
            row.old_secret_until = Some(tx.now() + OLD_SECRET_FOR);
        }
        match self.is_active {
            Some(true) if !row.is_active => {
                // Of what happened meanwhile it is not told.
                let since = log::here(tx).await?;
                (row.since_tx, row.since_n) = (since.tx, since.n);
                row.is_active = true;
                row.deactivated_reason = None;
                row.failing_since = None;
            }
            Some(false) if row.is_active => {
                row.is_active = false;
                row.deactivated_reason = Some("its owner has switched it off".to_owned());
                store::give_up(tx, row.id, "the webhook was switched off").await?;
            }
            _ => {}
        }
        store::update(tx, row).await
    }
}

struct Delete {
    id: Uuid,
    member: Uuid,
}

impl Operation for Delete {
    type Output = webhook::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<webhook::Model> {
        let row = store::own(tx, self.id, self.member).await?;
        store::delete(tx, row.id).await?;
        Ok(row)
    }
}

struct Ping {
    webhook: Uuid,
    member: Uuid,
    id: Uuid,
    event: Uuid,
}

impl Operation for Ping {
    type Output = delivery::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<delivery::Model> {
        let webhook = store::own(tx, self.webhook, self.member).await?;
        store::insert_ping(tx, self.id, webhook.id, self.event).await
    }
}

struct Redeliver {
    id: Uuid,
    member: Uuid,
}

impl Operation for Redeliver {
    type Output = delivery::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<delivery::Model> {
        let (row, is_active) = store::own_delivery(tx, self.id, self.member).await?;
        let refuse = |why: &'static str| Err(Error::new(Kind::Conflict, why));
        if row.status == DeliveryStatus::Pending.wire() {
            return refuse("the delivery is still to be sent");
        }
        if !is_active {
            return refuse("the webhook is not active");
        }
        store::pend_again(tx, &row).await
    }
}
