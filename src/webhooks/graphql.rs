use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use entity::{delivery, event, webhook};
use uuid::Uuid;

use super::{Change, DeliveryStatus, Health, New, Webhooks};
use crate::{
    error::{Error, Result},
    event::EventKind,
    events::graphql::Event,
    gate::Permit,
    graphql::{
        context::{loaders, permit, permit_once},
        page::{self, Entry, connection, no_cursor},
        scalars::{DateTime, Url},
    },
    id::IdKind,
    webhooks,
};

fn hooks<'a>(ctx: &Context<'a>) -> &'a Webhooks {
    ctx.data_unchecked::<Webhooks>()
}

/// Where the caller wants to be told of events, as Standard Webhooks has it.
#[derive(Clone)]
pub struct Webhook {
    row: webhook::Model,
    permit: Permit,
}

impl Webhook {
    /// Of a row of the caller's own.
    pub fn new(row: webhook::Model, permit: &Permit) -> Self {
        Self {
            row,
            permit: permit.clone(),
        }
    }
}

/// Where the caller wants to be told of events, as Standard Webhooks has it.
#[Object]
impl Webhook {
    /// The webhook's id, `webhook_…`.
    pub async fn id(&self) -> ID {
        IdKind::Webhook.encode(self.row.id).into()
    }

    /// Where events are sent to.
    async fn url(&self) -> Url {
        Url(self.row.url.clone())
    }

    /// What it is told of.
    async fn events(&self) -> Vec<EventKind> {
        super::events_of(&self.row)
    }

    /// Whether it is told of events now.
    async fn is_active(&self) -> bool {
        self.row.is_active
    }

    /// Why it is not; null where it is.
    async fn deactivated_reason(&self) -> Option<&str> {
        self.row.deactivated_reason.as_deref()
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        DateTime::new(self.row.created_at)
    }

    /// How it is doing.
    async fn health(&self, ctx: &Context<'_>) -> Result<WebhookHealth> {
        let health = webhooks::health(&self.permit, loaders(ctx), &self.row).await?;
        Ok(WebhookHealth::new(&health, &self.row))
    }

    /// What was sent and is to be sent, newest first, of the last 30 days.
    async fn deliveries(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most, 1 to 100.", default = 50)] first: i32,
        #[graphql(desc = "The cursor of the entry to start after.")] after: Option<String>,
    ) -> Result<DeliveryConnection> {
        let first = page::first(first)?;
        let start = match &after {
            Some(cursor) => Some(page::reveal(cursor)?.parse().map_err(|_| no_cursor("after"))?),
            None => None,
        };
        let rows = webhooks::deliveries(&self.permit, loaders(ctx), &self.row, start, first as u64 + 1).await?;
        let rows = rows.into_iter().map(|row| Delivery::new(row, &self.permit)).collect();
        Ok(DeliveryConnection::forwards(rows, first, after.is_some()))
    }
}

impl Entry for Webhook {
    fn cursor(&self) -> String {
        page::opaque(&self.row.id.simple().to_string())
    }
}

connection!(WebhookConnection, WebhookEdge, Webhook, "webhooks");

/// How a webhook is doing.
#[derive(SimpleObject)]
pub struct WebhookHealth {
    /// The part that arrived of the deliveries that ended, from 0 to 1, the last 1,000 telling most; null where none has.
    success_rate: Option<f64>,
    /// How many deliveries are to be sent, or sent again.
    pending: i32,
    /// Why the newest delivery that failed did so; null where none has.
    last_error: Option<String>,
    /// When the next attempt is due, of what need not wait for an earlier event; null where there is nothing to send.
    next_attempt_at: Option<DateTime>,
    /// Since when it has done nothing but fail; null where the last attempt arrived.
    failing_since: Option<DateTime>,
}

impl WebhookHealth {
    fn new(health: &Health, row: &webhook::Model) -> Self {
        let finished = row.delivered + row.failed;
        Self {
            success_rate: (finished > 0).then(|| f64::from(row.delivered) / f64::from(finished)),
            pending: i32::try_from(health.pending).unwrap_or(i32::MAX),
            last_error: health.last_error.clone(),
            next_attempt_at: health.next_attempt_at.map(DateTime::new),
            failing_since: row.failing_since.map(DateTime::new),
        }
    }
}

/// An event on its way to a webhook.
#[derive(Clone)]
pub struct Delivery {
    row: delivery::Model,
    permit: Permit,
}

impl Delivery {
    /// Of a row of the caller's own.
    pub fn new(row: delivery::Model, permit: &Permit) -> Self {
        Self {
            row,
            permit: permit.clone(),
        }
    }
}

/// An event on its way to a webhook.
#[Object]
impl Delivery {
    /// The delivery's id, `delivery_…`.
    pub async fn id(&self) -> ID {
        IdKind::Delivery.encode(self.row.id).into()
    }

    /// What is sent: the event, whose id is the `webhook-id` of every attempt.
    async fn event(&self) -> Event {
        let row = event::Model {
            n: 0,
            id: self.row.event_id,
            subject_id: self.row.subject_id,
            seq: self.row.seq,
            kind: self.row.kind.clone(),
            actor_id: None,
            object_id: self.row.object_id,
            created_at: self.row.happened_at,
        };
        // As it was sent last; what was not sent yet is as it is now.
        let sent = self.row.body.as_deref();
        let sent = sent.and_then(|body| serde_json::from_str::<serde_json::Value>(body).ok());
        let data = match sent {
            Some(mut body) => Some(body["data"].take()),
            None if self.row.kind == EventKind::WebhookPing.wire() => Some(serde_json::json!({})),
            None => None,
        };
        Event::of_delivery(row, data, &self.permit)
    }

    /// The event's id, which is the `webhook-id` of every attempt.
    async fn event_id(&self) -> ID {
        IdKind::Event.encode(self.row.event_id).into()
    }

    /// What the event says happened.
    async fn kind(&self) -> Result<EventKind> {
        self.row.kind.parse().map_err(Error::internal)
    }

    /// What became of it.
    async fn status(&self) -> Result<DeliveryStatus> {
        self.row.status.parse().map_err(Error::internal)
    }

    /// How often it was sent.
    async fn attempts(&self) -> i32 {
        self.row.attempts
    }

    /// The HTTP status of the last answer; null where there was none.
    async fn response_status(&self) -> Option<i32> {
        self.row.response_status
    }

    /// How the last answer began, up to 16 KiB.
    async fn response_body(&self) -> Option<&str> {
        self.row.response_body.as_deref()
    }

    /// Why the last attempt failed.
    async fn error(&self) -> Option<&str> {
        self.row.error.as_deref()
    }

    /// When it is sent next; null where it is not.
    async fn next_attempt_at(&self) -> Option<DateTime> {
        self.row.next_attempt_at.map(DateTime::new)
    }

    /// When the event came to be sent.
    async fn created_at(&self) -> DateTime {
        DateTime::new(self.row.created_at)
    }
}

impl Entry for Delivery {
    fn cursor(&self) -> String {
        page::opaque(&self.row.n.to_string())
    }
}

connection!(DeliveryConnection, DeliveryEdge, Delivery, "deliveries");

/// A new webhook.
#[derive(InputObject)]
pub struct CreateWebhookInput {
    /// Where events are sent to: https, and no address of a private network.
    url: Url,
    /// What it is told of, at least one; not `WEBHOOK_PING`.
    events: Vec<EventKind>,
    /// What signatures are made with, 16 to 128 characters: `whsec_` and base64, or any other text. Absent: one is made
    /// and shown once.
    secret: Option<String>,
}

/// What is absent or null stays.
#[derive(InputObject)]
pub struct UpdateWebhookInput {
    /// Where events are sent to from now on.
    url: Option<Url>,
    /// What it is told of from now on.
    events: Option<Vec<EventKind>>,
    /// Whether it is told. One that was deactivated begins anew.
    is_active: Option<bool>,
    /// What signatures are made with from now on; for 24 hours deliveries carry the old one's too.
    secret: Option<String>,
}

/// The new webhook.
#[derive(SimpleObject)]
pub struct CreateWebhookPayload {
    /// The new webhook.
    webhook: Webhook,
    /// Its secret, shown this once; null where the caller chose it.
    secret: Option<String>,
}

/// The webhook as it is now.
#[derive(SimpleObject)]
pub struct UpdateWebhookPayload {
    /// The webhook as it is now.
    webhook: Webhook,
}

/// The webhook that was deleted.
#[derive(SimpleObject)]
pub struct DeleteWebhookPayload {
    /// The webhook as it was.
    webhook: Webhook,
}

/// The test event.
#[derive(SimpleObject)]
pub struct PingWebhookPayload {
    /// The delivery of the test event, which is on its way.
    delivery: Delivery,
}

/// The delivery that is sent again.
#[derive(SimpleObject)]
pub struct RedeliverPayload {
    /// The delivery, which is on its way.
    delivery: Delivery,
}

/// The caller's webhook.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn webhook(permit: &Permit, id: &ID) -> Result<Webhook> {
    Ok(Webhook::new(webhooks::webhook(permit, webhook_id(id)?).await?, permit))
}

/// The caller's webhooks, newest first.
pub async fn webhooks(permit: &Permit, first: i32, after: Option<String>) -> Result<WebhookConnection> {
    let first = page::first(first)?;
    let start = match &after {
        Some(cursor) => Some(Uuid::try_parse(&page::reveal(cursor)?).map_err(|_| no_cursor("after"))?),
        None => None,
    };
    let rows = webhooks::webhooks(permit, start, first as u64 + 1).await?;
    let rows = rows.into_iter().map(|row| Webhook::new(row, permit)).collect();
    Ok(WebhookConnection::forwards(rows, first, after.is_some()))
}

fn webhook_id(id: &ID) -> Result<Uuid> {
    IdKind::Webhook.decode(id).ok_or_else(|| Error::not_found("webhook"))
}

#[derive(Default)]
pub struct WebhookMutation;

#[Object]
impl WebhookMutation {
    /// Makes a webhook, which is told of events from now on. A member may have 10.
    async fn create_webhook(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The webhook.")] input: CreateWebhookInput,
    ) -> Result<Option<CreateWebhookPayload>> {
        let permit = permit(ctx)?;
        let new = New {
            url: input.url.0,
            events: input.events,
            secret: input.secret,
        };
        let (row, secret) = hooks(ctx).create(&permit, new).await?;
        Ok(Some(CreateWebhookPayload {
            webhook: Webhook::new(row, &permit),
            secret,
        }))
    }

    /// Changes a webhook of the caller's.
    async fn update_webhook(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The webhook's id.")] id: ID,
        #[graphql(desc = "What changes.")] input: UpdateWebhookInput,
    ) -> Result<Option<UpdateWebhookPayload>> {
        let change = Change {
            url: input.url.map(|url| url.0),
            events: input.events,
            is_active: input.is_active,
            secret: input.secret,
        };
        let permit = permit_once(ctx, &(id.as_str(), &change))?;
        let row = hooks(ctx).update(&permit, webhook_id(&id)?, change).await?;
        Ok(Some(UpdateWebhookPayload {
            webhook: Webhook::new(row, &permit),
        }))
    }

    /// Deletes a webhook of the caller's with its deliveries.
    async fn delete_webhook(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The webhook's id.")] id: ID,
    ) -> Result<Option<DeleteWebhookPayload>> {
        let permit = permit_once(ctx, &id.as_str())?;
        let row = webhooks::delete(&permit, webhook_id(&id)?).await?;
        Ok(Some(DeleteWebhookPayload {
            webhook: Webhook::new(row, &permit),
        }))
    }

    /// Sends a webhook of the caller's a test event now, once.
    async fn ping_webhook(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The webhook's id.")] id: ID,
    ) -> Result<Option<PingWebhookPayload>> {
        let permit = permit_once(ctx, &id.as_str())?;
        let row = webhooks::ping(&permit, webhook_id(&id)?).await?;
        Ok(Some(PingWebhookPayload {
            delivery: Delivery::new(row, &permit),
        }))
    }

    /// Sends an event again that arrived or was given up, under the same `webhook-id`.
    async fn redeliver(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The delivery's id.")] delivery_id: ID,
    ) -> Result<Option<RedeliverPayload>> {
        let permit = permit_once(ctx, &delivery_id.as_str())?;
        let id = IdKind::Delivery.decode(&delivery_id);
        let row = webhooks::redeliver(&permit, id.ok_or_else(|| Error::not_found("delivery"))?).await?;
        Ok(Some(RedeliverPayload {
            delivery: Delivery::new(row, &permit),
        }))
    }
}
