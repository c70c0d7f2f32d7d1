//! The event log as members read it: what happened to which object, as far as the caller may see it.

use entity::event;
use sea_orm::Value;
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    event::EventKind,
    gate::{
        Permit,
        log::{self, Position},
    },
};

pub mod graphql;

/// What the caller may see of the log, after an event if one is given, oldest first.
///
/// # Errors
///
/// `NOT_FOUND` for an `after` that is not in the log.
pub async fn list(
    permit: &Permit,
    kinds: Option<&[EventKind]>,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<event::Model>> {
    let after = match after {
        Some(id) => log::position(permit, id).await?.ok_or_else(|| Error::not_found("event"))?,
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

/// Their own profile and visible others', public triggers; and their own triggers that were public once.
fn visible(permit: &Permit) -> Result<(String, Vec<Value>)> {
    let caller = permit.member()?;
    let profiles = if permit.caller().moderates() { "1 = 1" } else { "(m.is_public OR m.id = ?)" };
    let condition = format!(
        "(kind = 'profile.update' AND EXISTS (SELECT 1 FROM members m WHERE m.id = object_id AND {profiles}))
         OR (kind = 'trigger.shared' AND EXISTS
             (SELECT 1 FROM triggers t WHERE t.id = object_id AND (t.is_public OR t.creator_id = ?)))"
    );
    let mut values: Vec<Value> = Vec::new();
    if !permit.caller().moderates() {
        values.push(caller.member.into());
    }
    values.push(caller.member.into());
    Ok((condition, values))
}
