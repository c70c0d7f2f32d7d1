//! What is sent: the event's object as it is now, signed.

use entity::{delivery, webhook};

use super::{Inner, Taken};
use crate::{
    error::{Error, Kind, Result},
    event::EventKind,
    id::IdKind,
    time,
    webhooks::{
        seal::Seal,
        sign::{Secret, signature},
    },
};

/// A body and its headers.
pub struct Message {
    pub body: String,
    pub headers: [(&'static str, String); 4],
}

impl Message {
    /// None where the webhook's owner may not see the event's object.
    ///
    /// # Errors
    ///
    /// A database that does not answer; a secret that cannot be opened.
    pub async fn of(inner: &Inner, delivery: &delivery::Model, taken: &Taken) -> Result<Option<Self>> {
        let Some(body) = body(inner, delivery, &taken.webhook).await? else {
            return Ok(None);
        };
        let headers = headers(delivery, taken, &body)?;
        Ok(Some(Self { body, headers }))
    }
}

async fn body(inner: &Inner, delivery: &delivery::Model, webhook: &webhook::Model) -> Result<Option<String>> {
    let kind: EventKind = delivery.kind.parse().map_err(Error::internal)?;
    // Nothing is sent for one who is banned, no test event either.
    let Some(permit) = inner.gate.reading_for(webhook.member_id).await? else {
        return Ok(None);
    };
    let mut body = format!(
        r#"{{"type":"{}","timestamp":"{}","data":"#,
        kind.wire(),
        time::format(delivery.happened_at)
    )
    .into_bytes();
    let seen = async {
        if kind == EventKind::WebhookPing {
            body.extend_from_slice(b"{}");
            return Ok(());
        }
        crate::events::refuse_unseen(&permit, kind, delivery.event_id).await?;
        inner.render.write(&permit, kind, delivery.object_id, &mut body).await
    };
    match seen.await {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::ProfilePrivate | Kind::Forbidden) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    body.push(b'}');
    String::from_utf8(body).map(Some).map_err(Error::internal)
}

fn headers(delivery: &delivery::Model, taken: &Taken, body: &str) -> Result<[(&'static str, String); 4]> {
    let secrets: Vec<&Secret> = taken.secrets.as_ref().map_err(Error::clone)?.iter().collect();
    let id = IdKind::Event.encode(delivery.event_id);
    let timestamp = taken.time() / time::SECOND;
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

/// What a webhook's messages are signed with at a time (Unix milliseconds): the secret, and the one before if it still signs.
///
/// # Errors
///
/// A secret that cannot be opened.
pub fn secrets(seal: &Seal, webhook: &webhook::Model, now: i64) -> Result<Vec<Secret>> {
    let context = webhook.id.as_bytes();
    let open = |sealed: &[u8]| {
        let text = seal.open_sealed(context, sealed)?;
        Secret::parse(&text).map_err(Error::internal)
    };
    let mut secrets = vec![open(&webhook.secret)?];
    if let Some(old) = &webhook.old_secret
        && webhook.old_secret_until.is_some_and(|until| until > now)
    {
        // One that cannot be opened, after the key was lost, does not keep the new one from being used.
        secrets.extend(open(old).ok());
    }
    Ok(secrets)
}
