//! Triggers: short named cues that members write, share and opt into. Nothing is used on a member who has not activated
//! it, in the revision that they read.

use entity::{consent, member, trigger};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::{Error, Kind, Result},
    event::EventKind,
    gate::{Operation, Permit, Tx, callers::Caller, rules::names},
    loaders::Loaders,
    profiles::{self, xp},
    text::{Checks, DESCRIPTION, NAME, TRIGGER_CONTENT},
};

pub mod graphql;
mod store;

pub use store::Page;

/// How many triggers a member may have written.
pub const MOST_WRITTEN: u64 = 1_000;
/// How many triggers a member may have activated at once.
pub const MOST_ACTIVE: u64 = 200;

/// What a receipt of consent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, async_graphql::Enum)]
pub enum ConsentKind {
    /// The member activated the trigger.
    Activated,
    /// The member deactivated the trigger.
    Deactivated,
    /// The trigger was deactivated by an edit, or by its creator taking it back.
    Withdrawn,
    /// The member took all triggers out of use.
    Paused,
    /// The member put the triggers back into use.
    Resumed,
}

names!(ConsentKind {
    Activated = "ACTIVATED", "activated";
    Deactivated = "DEACTIVATED", "deactivated";
    Withdrawn = "WITHDRAWN", "withdrawn";
    Paused = "PAUSED", "paused";
    Resumed = "RESUMED", "resumed";
});

/// A trigger as members see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub id: Uuid,
    pub creator_id: Uuid,
    /// The creator's username.
    pub creator: String,
    pub name: String,
    pub description: String,
    pub content: String,
    pub is_public: bool,
    pub revision: i32,
    pub created_at: i64,
}

impl View {
    /// Of a row whose creator is at hand.
    pub fn new(row: trigger::Model, creator: &str) -> Self {
        Self {
            id: row.id,
            creator_id: row.creator_id,
            creator: creator.to_owned(),
            name: row.name,
            description: row.description,
            content: row.content,
            is_public: row.is_public,
            revision: row.revision,
            created_at: row.created_at,
        }
    }
}

/// A public trigger is for everyone but those who have blocked its creator, a private one for its creator.
pub fn may_see(caller: &Caller, trigger: &View) -> Result<()> {
    if caller.is(trigger.creator_id) || (trigger.is_public && !caller.hides(trigger.creator_id)) {
        Ok(())
    } else {
        Err(Error::not_found("trigger"))
    }
}

/// # Errors
///
/// `NOT_FOUND`, another's private one included.
pub async fn by_id(permit: &Permit, loaders: &Loaders, id: Uuid) -> Result<View> {
    let found = loaders.trigger(id).await?;
    permit.see(found.ok_or_else(|| Error::not_found("trigger"))?, may_see)
}

/// Public triggers and the caller's own, newest first.
pub async fn list(permit: &Permit, page: Page) -> Result<Vec<View>> {
    store::list(permit, page).await
}

/// What `profile`'s owner has activated, first activated first: to others only the public ones.
pub async fn active(permit: &Permit, loaders: &Loaders, profile: Uuid) -> Result<Vec<View>> {
    let rows = loaders.active_triggers(profile).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| permit.see(row, may_see).ok())
        .collect())
}

/// What may be used on the caller at this moment, first activated first: what they have activated, in the revision that
/// they have read, and nothing while they pause.
pub async fn usable(permit: &Permit) -> Result<Vec<View>> {
    store::usable(permit, permit.member()?.member).await
}

/// Whether all of these triggers, each in its revision, may be used on a member. If so, it stays so until the end of the
/// transaction.
pub async fn still_usable(tx: &Tx<'_>, member: Uuid, offered: &[(Uuid, i32)]) -> Result<bool> {
    if offered.is_empty() {
        return Ok(true);
    }
    // What takes consent away holds the member or the row of the activation.
    tx.hold_member(member).await?;
    let usable = store::usable_revisions(tx, member).await?;
    Ok(offered.iter().all(|offer| usable.contains(offer)))
}

/// The caller's receipts of consent, newest first.
pub async fn consents(permit: &Permit, after: Option<i64>, limit: u64) -> Result<Vec<consent::Model>> {
    store::consents(permit, permit.member()?.member, after, limit).await
}

/// A receipt of the caller's.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn consent(permit: &Permit, id: Uuid) -> Result<consent::Model> {
    let found = store::consent(permit, permit.member()?.member, id).await?;
    found.ok_or_else(|| Error::not_found("consent"))
}

/// A new trigger, or what changes of one.
#[derive(Clone, Debug, Serialize)]
pub struct New {
    pub name: String,
    pub description: String,
    pub is_public: bool,
    pub content: String,
}

/// Writes a trigger.
///
/// # Errors
///
/// `VALIDATION_FAILED`; `CONFLICT` for a name that the caller's triggers have, or one trigger too many.
pub async fn create(permit: &Permit, new: New) -> Result<trigger::Model> {
    let mut checks = Checks::new();
    let new = New {
        name: checks.name("name", &new.name, NAME),
        description: checks.text("description", &new.description, DESCRIPTION),
        content: checks.text("content", &new.content, TRIGGER_CONTENT),
        ..new
    };
    for (field, text) in [
        ("name", &new.name),
        ("description", &new.description),
        ("content", &new.content),
    ] {
        checks.words(field, text, permit.gate().words());
    }
    checks.done()?;
    permit
        .write_once(Create {
            id: Uuid::now_v7(),
            creator: permit.member()?.member,
            new,
        })
        .await
}

struct Create {
    id: Uuid,
    creator: Uuid,
    new: New,
}

impl Operation for Create {
    type Output = trigger::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<trigger::Model> {
        if self.new.is_public {
            tx.emit(EventKind::TriggerShared, self.id, Some(self.creator), self.id)
                .await?;
        }
        let award = xp::award(tx, self.creator, xp::TRIGGER_CREATED);
        store::insert(tx, self.id, self.creator, &self.new, award).await
    }
}

/// What changes of a trigger; what is absent stays.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Change {
    pub name: Option<String>,
    pub description: Option<String>,
    pub is_public: Option<bool>,
    pub content: Option<String>,
}

/// Changes a trigger of the caller's. An edit of name or content makes a new revision and takes the trigger out of use
/// for everybody else; making it private does too.
///
/// # Errors
///
/// `NOT_FOUND`, `FORBIDDEN` for another's public one, `VALIDATION_FAILED`, `CONFLICT` for a name that is taken.
pub async fn update(permit: &Permit, id: Uuid, change: Change) -> Result<trigger::Model> {
    let mut checks = Checks::new();
    let change = Change {
        name: change.name.map(|name| checks.name("name", &name, NAME)),
        description: change
            .description
            .map(|text| checks.text("description", &text, DESCRIPTION)),
        content: change
            .content
            .map(|text| checks.text("content", &text, TRIGGER_CONTENT)),
        is_public: change.is_public,
    };
    for (field, text) in [
        ("name", &change.name),
        ("description", &change.description),
        ("content", &change.content),
    ] {
        checks.words(field, text.as_deref().unwrap_or_default(), permit.gate().words());
    }
    checks.done()?;
    permit
        .write_once(Update {
            id,
            caller: permit.member()?.member,
            change,
        })
        .await
}

struct Update {
    id: Uuid,
    caller: Uuid,
    change: Change,
}

/// What an edit means for those who have consented to the trigger as it was.
#[derive(Debug, PartialEq, Eq)]
struct Effect {
    revision: i32,
    shared: bool,
    withdrawn: bool,
}

fn effect(before: &trigger::Model, after: &trigger::Model) -> Effect {
    let edited = before.name != after.name || before.content != after.content;
    Effect {
        revision: before.revision + i32::from(edited),
        shared: after.is_public && !before.is_public,
        withdrawn: edited || (before.is_public && !after.is_public),
    }
}

impl Operation for Update {
    type Output = trigger::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<trigger::Model> {
        let before = store::own(tx, self.id, self.caller).await?;
        let change = self.change.clone();
        let mut after = trigger::Model {
            name: change.name.unwrap_or_else(|| before.name.clone()),
            description: change.description.unwrap_or_else(|| before.description.clone()),
            content: change.content.unwrap_or_else(|| before.content.clone()),
            is_public: change.is_public.unwrap_or(before.is_public),
            ..before.clone()
        };
        let effect = effect(&before, &after);
        if effect.shared {
            tx.emit(EventKind::TriggerShared, self.id, Some(self.caller), self.id)
                .await?;
        }
        after.revision = effect.revision;
        after.description_edits += i32::from(before.description != after.description);
        let after = store::update(tx, after).await?;
        if effect.withdrawn {
            store::withdraw(tx, &before, Some(self.caller)).await?;
            store::consent_to_own(tx, &after).await?;
        }
        Ok(after)
    }
}

/// Deletes a trigger of the caller's, and takes it out of use for everybody.
///
/// # Errors
///
/// `NOT_FOUND`, `FORBIDDEN` for another's public one.
pub async fn delete(permit: &Permit, id: Uuid) -> Result<trigger::Model> {
    permit
        .write_once(Delete {
            id,
            caller: permit.member()?.member,
        })
        .await
}

struct Delete {
    id: Uuid,
    caller: Uuid,
}

impl Operation for Delete {
    type Output = trigger::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<trigger::Model> {
        let row = store::own(tx, self.id, self.caller).await?;
        store::withdraw(tx, &row, None).await?;
        store::delete(tx, row.id).await?;
        Ok(row)
    }
}

/// Takes all triggers of a member out of everybody's use: their account is being deleted.
pub async fn withdraw_all_of(tx: &Tx<'_>, creator: Uuid) -> Result<()> {
    store::withdraw_all_of(tx, creator).await
}

/// Takes all that another has written off a member's list, with receipts: the member is blocking them, and is held by the
/// transaction.
pub async fn deactivate_all_by(tx: &Tx<'_>, member: Uuid, creator: Uuid) -> Result<()> {
    store::deactivate_all_by(tx, member, creator).await
}

/// Puts a trigger on the caller's own profile: consent, to the revision that was read.
///
/// # Errors
///
/// `NOT_FOUND`, `CONFLICT` for a revision that is outdated, or one trigger too many.
pub async fn activate(permit: &Permit, id: Uuid, revision: Option<i32>) -> Result<member::Model> {
    permit
        .write_once(Activate {
            id,
            member: permit.member()?.member,
            revision,
            receipt: Uuid::now_v7(),
        })
        .await
}

struct Activate {
    id: Uuid,
    member: Uuid,
    revision: Option<i32>,
    receipt: Uuid,
}

impl Operation for Activate {
    type Output = member::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<member::Model> {
        // Held until the commit, so that no edit comes between the revision that was read and the consent to it.
        let trigger = store::lock(tx, self.id)
            .await?
            .ok_or_else(|| Error::not_found("trigger"))?;
        if !trigger.is_public && trigger.creator_id != self.member {
            return Err(Error::not_found("trigger"));
        }
        // Under the lock that blocking a member takes too: no activation comes after it.
        tx.hold_member(self.member).await?;
        if tx.hides(self.member, trigger.creator_id).await? {
            return Err(Error::not_found("trigger"));
        }
        if self.revision.is_some_and(|revision| revision != trigger.revision) {
            let message = "the trigger has changed since: read it again";
            return Err(Error::new(Kind::Conflict, message).with("revision", trigger.revision));
        }
        if store::activate(tx, self.member, &trigger).await? {
            let is_first = !store::was_activated(tx, self.member, trigger.id).await?;
            store::receipt(tx, self.receipt, self.member, ConsentKind::Activated, Some(&trigger)).await?;
            if is_first {
                tx.execute_all(xp::award(tx, self.member, xp::TRIGGER_ACTIVATED))
                    .await?;
            }
        }
        profiles::row(tx, self.member).await
    }
}

/// Takes a trigger off the caller's profile. One that is not on it is no error: consent can always be taken back.
///
/// # Errors
///
/// `NOT_FOUND` for a trigger that the caller cannot see and has not activated.
pub async fn deactivate(permit: &Permit, id: Uuid) -> Result<member::Model> {
    permit
        .write_once(Deactivate {
            id,
            member: permit.member()?.member,
            receipt: Uuid::now_v7(),
        })
        .await
}

struct Deactivate {
    id: Uuid,
    member: Uuid,
    receipt: Uuid,
}

impl Operation for Deactivate {
    type Output = member::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<member::Model> {
        // Whatever uses triggers on the member at this moment looks again.
        tx.revoke(self.member).await?;
        let trigger = store::lock(tx, self.id)
            .await?
            .ok_or_else(|| Error::not_found("trigger"))?;
        if store::deactivate(tx, self.member, self.id).await? {
            store::receipt(tx, self.receipt, self.member, ConsentKind::Deactivated, Some(&trigger)).await?;
        } else if trigger.creator_id != self.member
            && (!trigger.is_public || tx.hides(self.member, trigger.creator_id).await?)
        {
            return Err(Error::not_found("trigger"));
        }
        profiles::row(tx, self.member).await
    }
}

/// Takes all of the caller's triggers out of use, or puts them back, without a change to the list.
pub async fn pause(permit: &Permit, pause: Pause) -> Result<member::Model> {
    permit
        .write_once(SetPaused {
            member: permit.member()?.member,
            pause,
            receipt: Uuid::now_v7(),
        })
        .await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    Begin,
    End,
}

struct SetPaused {
    member: Uuid,
    pause: Pause,
    receipt: Uuid,
}

impl Operation for SetPaused {
    type Output = member::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<member::Model> {
        let kind = match self.pause {
            Pause::Begin => ConsentKind::Paused,
            Pause::End => ConsentKind::Resumed,
        };
        if self.pause == Pause::Begin {
            // Whatever uses triggers on the member at this moment looks again.
            tx.revoke(self.member).await?;
        }
        if store::set_paused(tx, self.member, self.pause == Pause::Begin).await? {
            store::receipt(tx, self.receipt, self.member, kind, None).await?;
        }
        profiles::row(tx, self.member).await
    }
}

/// Unchecked rows for the loaders.
pub(crate) async fn load(permit: &Permit, ids: &[Uuid]) -> Result<Vec<View>> {
    store::by_ids(permit, ids).await
}

/// Unchecked rows for the loaders: each member with what they have activated, first activated first.
pub(crate) async fn load_active(permit: &Permit, members: &[Uuid]) -> Result<Vec<(Uuid, View)>> {
    store::active(permit, members).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger() -> trigger::Model {
        trigger::Model {
            id: Uuid::now_v7(),
            creator_id: Uuid::now_v7(),
            name: "calm".into(),
            name_key: "calm".into(),
            description: String::new(),
            content: "breathe".into(),
            is_public: true,
            revision: 3,
            description_edits: 0,
            search_key: "calm".into(),
            created_at: 0,
        }
    }

    #[test]
    fn what_an_edit_means() {
        let before = trigger();
        let same = Effect {
            revision: 3,
            shared: false,
            withdrawn: false,
        };
        assert_eq!(effect(&before, &before), same);
        assert_eq!(
            effect(
                &before,
                &trigger::Model {
                    description: "x".into(),
                    ..before.clone()
                }
            ),
            same
        );
        let edited = Effect {
            revision: 4,
            shared: false,
            withdrawn: true,
        };
        assert_eq!(
            effect(
                &before,
                &trigger::Model {
                    name: "x".into(),
                    ..before.clone()
                }
            ),
            edited
        );
        assert_eq!(
            effect(
                &before,
                &trigger::Model {
                    content: "x".into(),
                    ..before.clone()
                }
            ),
            edited
        );
        let private = trigger::Model {
            is_public: false,
            ..before.clone()
        };
        assert_eq!(
            effect(&before, &private),
            Effect {
                revision: 3,
                shared: false,
                withdrawn: true
            }
        );
        assert_eq!(
            effect(&private, &before),
            Effect {
                revision: 3,
                shared: true,
                withdrawn: false
            }
        );
    }
}
