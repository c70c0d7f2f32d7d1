//! The event log as members read it: what happened to which object, as far as the caller may see it.

use std::sync::{Arc, OnceLock};

use async_graphql::{Name, Variables};
use entity::event;
use sea_orm::Value;
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    event::EventKind,
    gate::{
        Permit, any_uuid,
        log::{self, Position},
        uuids,
    },
    graphql::{
        self as surface,
        document::Operation,
        execute::{Engine, RunContext},
    },
    id::IdKind,
    rest::Rest,
};

pub mod graphql;

/// What the caller may see of the log, after an event if one is given, oldest first.
///
/// # Errors
///
/// `NOT_FOUND` for an `after` that is not in the log; with `details.oldest`, the oldest event that the caller may see,
/// where the log does not go back as far.
pub async fn list(
    permit: &Permit,
    kinds: Option<&[EventKind]>,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<event::Model>> {
    let after = match after {
        Some(id) => match log::position(permit, id).await? {
            Some(place) => place,
            None => return Err(unknown(permit, id).await?),
        },
        None => Position::START,
    };
    let (mut condition, mut values) = visible(permit)?;
    if let Some(kinds) = kinds {
        let places = vec!["?"; kinds.len()].join(", ");
        condition = format!("({condition}) AND kind IN ({places})");
        values.extend(kinds.iter().map(|kind| Value::from(kind.wire())));
    }
    log::read(permit, after, &condition, values, limit).await
}

async fn unknown(permit: &Permit, id: Uuid) -> Result<Error> {
    let refusal = Error::not_found("event");
    let (condition, values) = visible(permit)?;
    let oldest = log::read(permit, Position::START, &condition, values, 1).await?;
    // Ids are of their time, to the millisecond.
    Ok(match oldest.first() {
        Some(oldest) if id < oldest.id => refusal.with("oldest", IdKind::Event.encode(oldest.id)),
        _ => refusal,
    })
}

/// Removes events from before a time (Unix milliseconds), but none that a webhook is still to be told of.
///
/// # Errors
///
/// A database that does not answer.
pub async fn trim(permit: &Permit, before: i64) -> Result<()> {
    while log::trim(permit, before).await? > 0 {}
    Ok(())
}

/// Refuses an event that the caller may not see, except for what [`Render`] refuses anyway.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn refuse_unseen(permit: &Permit, kind: EventKind, id: Uuid) -> Result<()> {
    let is_of_message = matches!(
        kind,
        EventKind::MessageNew | EventKind::MessageEdit | EventKind::MessageDelete
    );
    // `visible` says no more of them than who is blocked.
    if is_of_message && permit.member()?.blocked().is_empty() {
        return Ok(());
    }
    by_id(permit, id).await.map(|_| ())
}

/// One event that the caller may see.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn by_id(permit: &Permit, id: Uuid) -> Result<event::Model> {
    let (condition, mut values) = visible(permit)?;
    values.push(id.into());
    let found = log::read(permit, Position::START, &format!("({condition}) AND id = ?"), values, 1).await?;
    found.into_iter().next().ok_or_else(|| Error::not_found("event"))
}

/// All rooms' messages, their own profile and visible others', public triggers; and their own triggers that were public
/// once. Nothing of members whom they have blocked.
fn visible(permit: &Permit) -> Result<(String, Vec<Value>)> {
    let caller = permit.member()?;
    let profiles = if permit.caller().moderates() {
        "1 = 1"
    } else {
        "(m.is_public OR m.id = ?)"
    };
    let mut condition = format!(
        "((kind = 'profile.update' AND EXISTS (SELECT 1 FROM members m WHERE m.id = object_id AND {profiles}))
         OR (kind = 'trigger.shared' AND EXISTS
             (SELECT 1 FROM triggers t WHERE t.id = object_id AND (t.is_public OR t.creator_id = ?)))
         OR kind IN ('message.new', 'message.edit', 'message.delete'))"
    );
    let mut values: Vec<Value> = Vec::new();
    if !permit.caller().moderates() {
        values.push(caller.member.into());
    }
    values.push(caller.member.into());
    let blocked: Vec<Uuid> = caller.blocked().iter().copied().collect();
    if !blocked.is_empty() {
        // What a moderator did to a blocked member's message is about that member too.
        let backend = permit.gate().backend();
        condition = format!(
            "{condition} AND NOT COALESCE({}, FALSE) AND NOT EXISTS
                 (SELECT 1 FROM messages m WHERE m.id = object_id AND {})",
            any_uuid(backend, "actor_id"),
            any_uuid(backend, "m.author_id")
        );
        values.extend([uuids(backend, &blocked), uuids(backend, &blocked)]);
    }
    Ok((condition, values))
}

/// The fragments of `rest/v1.graphql` that event data is spelled by.
const PROFILE: &str = "Profile";
const TRIGGER: &str = "Trigger";
const MESSAGE: &str = "Message";

/// Runs the documents that event data is made by: REST's fragments, so that an event's data is spelled as REST spells
/// that thing.
#[derive(Clone, Default)]
pub struct Render(Arc<OnceLock<Documents>>);

struct Documents {
    engine: Engine,
    rest: Arc<Rest>,
    profile: Arc<Operation>,
    trigger: Arc<Operation>,
    message: Arc<Operation>,
}

/// For whom an event's data is rendered: what may be read is what the event's reader may see, whatever scope a key has
/// beside that for events.
pub struct Reader(Permit);

impl Reader {
    pub fn permit(&self) -> &Permit {
        &self.0
    }
}

impl Render {
    /// Called once, when the schema that this renders with is there.
    ///
    /// # Errors
    ///
    /// A fragment that is missing from REST, or is not about a node, as a sentence.
    pub fn set(&self, engine: Engine, rest: Arc<Rest>, documents: &surface::document::Documents) -> Result<(), String> {
        let prepare = |fragment: &str| {
            let node = rest
                .node_document(fragment)
                .ok_or_else(|| format!("REST has no fragment {fragment} of a node"))?;
            let prepared = documents.prepare_parsed(node.document.clone());
            let document = prepared.map_err(|failures| format!("fragment {fragment}: {failures:?}"))?;
            let operation = document.operation(None).map_err(|error| error.to_string())?;
            Ok::<_, String>(operation.clone())
        };
        let set = self.0.set(Documents {
            engine,
            profile: prepare(PROFILE)?,
            trigger: prepare(TRIGGER)?,
            message: prepare(MESSAGE)?,
            rest: rest.clone(),
        });
        set.map_err(|_| "events are rendered already".to_owned())
    }

    /// What an event is about, as it is now and as the permit's caller may see it.
    ///
    /// # Errors
    ///
    /// What keeps the caller from seeing it.
    pub async fn data(&self, permit: &Permit, kind: EventKind, object: Uuid) -> Result<serde_json::Value> {
        let mut json = Vec::new();
        self.write(permit, kind, object, &mut json).await?;
        serde_json::from_slice(&json).map_err(Error::internal)
    }

    /// As [`data`](Self::data), as JSON at the end of `out`.
    ///
    /// # Errors
    ///
    /// What keeps the caller from seeing it.
    pub async fn write(&self, permit: &Permit, kind: EventKind, object: Uuid, out: &mut Vec<u8>) -> Result<()> {
        let documents = self
            .0
            .get()
            .ok_or_else(|| Error::internal("events are read before the start is done"))?;
        let (fragment, operation, id) = match kind {
            EventKind::ProfileUpdate => (PROFILE, &documents.profile, IdKind::Profile),
            EventKind::TriggerShared => (TRIGGER, &documents.trigger, IdKind::Trigger),
            EventKind::MessageNew | EventKind::MessageEdit | EventKind::MessageDelete => {
                (MESSAGE, &documents.message, IdKind::Message)
            }
            kind => return Err(Error::internal(format!("no data is known for {}", kind.wire()))),
        };
        let mut variables = Variables::default();
        variables.insert(Name::new("id"), id.encode(object).into());
        let bound = operation.bind(variables)?;
        let mut context = RunContext::default();
        context.data.insert(Reader(permit.clone()));
        // Boxed: this runs inside of a field that the same engine is running.
        let outcome = Box::pin(documents.engine.run(&bound, context)).await;
        if let Some(failure) = outcome.errors.into_iter().next() {
            return Err(failure.error);
        }
        let node = documents
            .rest
            .node_document(fragment)
            .ok_or_else(|| Error::internal("a fragment that was there is gone"))?;
        node.shape.write(&outcome.data, out);
        Ok(())
    }
}
