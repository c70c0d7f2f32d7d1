//! Rooms and their messages: each is on disk before anyone sees it, numbered 1, 2, 3, … in its room, and told to every
//! reader exactly once and in order.

use std::sync::Arc;

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    error::{Error, Kind, Result},
    event::EventKind,
    gate::{
        Operation, Part, Permit, System, Together, Tx,
        audit::{Act, Action},
        callers::{self, Caller},
        log,
    },
    id::{self, IdKind},
    loaders::Loaders,
    presence::Presence,
    profiles::{DELETED, Seen},
    text::{CHAT_CONTENT, Checks},
    webhooks,
    words::Words,
};

pub mod feed;
pub mod graphql;
mod store;

use feed::Feeds;
pub use store::{Page, Reading};

/// The room that everyone is in. Source: the schema, `Subscription`.
pub const LOBBY: &str = "lobby";
/// How many rooms a member may create. Source: the protocol, "Who is calling".
pub const MOST_ROOMS: i64 = 20;
/// How many rooms a node remembers.
const KNOWN_ROOMS: usize = 10_000;

/// A room as members see it. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    pub id: Uuid,
    pub name: String,
}

/// A message as members see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub id: Uuid,
    pub room: Arc<Room>,
    /// Its place in the room, from 1, without gaps.
    pub number: i32,
    /// The number of its `message.new` among the room's events.
    pub seq: i64,
    pub author: Seen,
    /// Empty once deleted.
    pub content: String,
    pub created_at: i64,
    pub edited_at: Option<i64>,
    pub deleted_at: Option<i64>,
}

/// What will come of a message that was handed over.
pub type Answer = crate::gate::Answer<View>;

/// What chat keeps on a node.
pub struct Chat {
    by_name: Cache<String, Arc<Room>>,
    by_id: Cache<Uuid, Arc<Room>>,
    sends: Together<Send>,
    feeds: Feeds,
    presence: Arc<Presence>,
    load: Permit,
}

impl Chat {
    pub fn new(gate: &crate::gate::Gate, presence: Arc<Presence>) -> Self {
        Self {
            by_name: Cache::new(KNOWN_ROOMS),
            by_id: Cache::new(KNOWN_ROOMS),
            sends: Together::default(),
            feeds: Feeds::new(gate.system(System::Tail)),
            presence,
            load: gate.system(System::Load),
        }
    }

    pub fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    pub fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }

    /// The room of this name.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn room(&self, _: &Permit, name: &str) -> Result<Arc<Room>> {
        let not_found = || Error::not_found("room");
        if !is_room_name(name) {
            return Err(not_found());
        }
        if let Some(room) = self.by_name.get(name) {
            return Ok(room);
        }
        let room = store::room(&self.load, name).await?.ok_or_else(not_found)?;
        Ok(self.remember(room))
    }

    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn room_by_id(&self, _: &Permit, id: Uuid) -> Result<Arc<Room>> {
        if let Some(room) = self.by_id.get(&id) {
            return Ok(room);
        }
        let room = store::room_by_id(&self.load, id).await?;
        Ok(self.remember(room.ok_or_else(|| Error::not_found("room"))?))
    }

    /// Rooms do not change and do not go.
    fn remember(&self, room: Room) -> Arc<Room> {
        let room = Arc::new(room);
        self.by_name.insert(room.name.clone(), room.clone());
        self.by_id.insert(room.id, room.clone());
        room
    }

    /// All rooms by name, from after one.
    pub async fn rooms(&self, permit: &Permit, after: Option<&str>, limit: u64) -> Result<Vec<Arc<Room>>> {
        let rooms = store::rooms(permit, after, limit).await?;
        Ok(rooms.into_iter().map(Arc::new).collect())
    }

    /// A part of a room's history, oldest first; without what the caller's blocks hide.
    ///
    /// # Errors
    ///
    /// `VALIDATION_FAILED` for a cursor that is no message of the room.
    pub async fn history(&self, permit: &Permit, room: &Arc<Room>, page: Page) -> Result<Vec<View>> {
        store::history(permit, room, page).await
    }

    /// One message.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`, one by a member whom the caller has blocked included.
    pub async fn message(&self, permit: &Permit, loaders: &Loaders, id: Uuid) -> Result<Arc<View>> {
        let found = loaders.message(id).await?;
        permit.see(found.ok_or_else(|| Error::not_found("message"))?, |caller, view| {
            may_see(caller, view)
        })
    }

    /// One message, whatever the caller's blocks hide: for those who keep order.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn any_message(&self, permit: &Permit, loaders: &Loaders, id: Uuid) -> Result<Arc<View>> {
        let found = loaders.message(id).await?;
        permit.see(found.ok_or_else(|| Error::not_found("message"))?, |_, _| Ok(()))
    }

    /// The number of the event or message after which a reader of the room wants to go on.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for what is unknown or of another room; with `details.oldest`, the oldest event that could be gone on
    /// after, where what follows is no longer in the log.
    pub async fn place(&self, permit: &Permit, room: &Room, after: &str) -> Result<i64> {
        let seq = match id::parse(after) {
            Some((IdKind::Message, id)) => store::seq_of(permit, room.id, id).await?,
            Some((IdKind::Event, id)) => log::seq_of(permit, room.id, id).await?,
            _ => None,
        };
        let unknown = || Error::not_found("message or event of this room");
        let seq = match seq {
            Some(seq) => seq,
            None => return Err(self.if_older(permit, room, after, unknown()).await?),
        };
        match log::oldest(permit, room.id).await? {
            Some((oldest, id)) if seq + 1 < oldest => Err(older(unknown(), id)),
            None if seq < log::subject_seq(permit, room.id).await? => Err(unknown().with("oldest", Value::Null)),
            _ => Ok(seq),
        }
    }

    /// The refusal of an unknown event, which says what the oldest is where the log does not go back as far.
    async fn if_older(&self, permit: &Permit, room: &Room, after: &str, refusal: Error) -> Result<Error> {
        let Some((IdKind::Event, event)) = id::parse(after) else {
            return Ok(refusal);
        };
        match log::oldest(permit, room.id).await? {
            Some((seq, oldest)) if seq > 1 && event < oldest => Ok(older(refusal, oldest)),
            _ => Ok(refusal),
        }
    }

    /// Makes a room.
    ///
    /// # Errors
    ///
    /// `VALIDATION_FAILED`; `CONFLICT` for a name that is taken, or one room too many; `MUTED`.
    pub async fn create_room(&self, permit: &Permit, name: &str) -> Result<Arc<Room>> {
        let mut checks = Checks::new();
        if !is_room_name(name) {
            checks.refuse("name", "must be 2 to 32 of a to z, digits and -");
        }
        checks.words("name", name, permit.gate().words());
        checks.done()?;
        let room = permit
            .write_once(CreateRoom {
                room: Room {
                    id: Uuid::now_v7(),
                    name: name.to_owned(),
                },
                creator: permit.member()?.member,
            })
            .await?;
        Ok(self.remember(room))
    }

    /// Sends a message: it is on disk and numbered when this answers.
    ///
    /// # Errors
    ///
    /// `VALIDATION_FAILED`, `MUTED`.
    pub async fn send(&self, permit: &Permit, room: &Arc<Room>, content: &str) -> Result<View> {
        self.hand_over(permit, room, content)?.wait().await
    }

    /// As [`send`](Self::send), without waiting: messages that are handed over keep their order.
    ///
    /// # Errors
    ///
    /// `VALIDATION_FAILED`, and `UNAVAILABLE` when too much is waiting.
    pub fn hand_over(&self, permit: &Permit, room: &Arc<Room>, content: &str) -> Result<Answer> {
        let known = permit.member()?;
        let part = Send {
            id: Uuid::now_v7(),
            event: Uuid::now_v7(),
            room: room.clone(),
            author: known.member,
            content: checked_content(content, permit.gate().words())?,
        };
        self.sends.hand_over(permit, room.id, part)
    }

    /// Changes what a message of the caller's says. What changes nothing is no event.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`, a deleted one included; `FORBIDDEN` for another's; `VALIDATION_FAILED`, `MUTED`.
    pub async fn edit(&self, permit: &Permit, loaders: &Loaders, id: Uuid, content: &str) -> Result<View> {
        let before = self.message(permit, loaders, id).await?;
        let row = permit
            .write_once(Edit {
                id,
                room: before.room.id,
                caller: permit.member()?.member,
                content: checked_content(content, permit.gate().words())?,
            })
            .await?;
        Ok(row.into_view(before.room.clone()))
    }

    /// Takes back what a message says: one's own, or as a moderator any. One that is deleted stays so.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`; `FORBIDDEN` for another's.
    pub async fn delete(&self, permit: &Permit, loaders: &Loaders, id: Uuid) -> Result<View> {
        let authority = match permit.caller().moderates() {
            true => Authority::Moderator,
            false => Authority::Author,
        };
        let before = match authority {
            Authority::Moderator => self.any_message(permit, loaders, id).await?,
            Authority::Author => self.message(permit, loaders, id).await?,
        };
        let row = permit
            .write_once(Delete {
                id,
                room: before.room.id,
                caller: permit.member()?.member,
                authority,
            })
            .await?;
        Ok(row.into_view(before.room.clone()))
    }
}

/// Nobody sees what members say whom they have blocked.
pub fn may_see(caller: &Caller, message: &View) -> Result<()> {
    match caller.hides(message.author.id) {
        true => Err(Error::not_found("message")),
        false => Ok(()),
    }
}

fn is_room_name(name: &str) -> bool {
    (2..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn checked_content(content: &str, words: &Words) -> Result<String> {
    let mut checks = Checks::new();
    let content = checks.text("content", content.trim(), CHAT_CONTENT);
    checks.words("content", &content, words);
    checks.done()?;
    Ok(content)
}

struct CreateRoom {
    room: Room,
    creator: Uuid,
}

impl Operation for CreateRoom {
    type Output = Room;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Room> {
        store::refuse_muted(tx, self.creator).await?;
        store::insert_room(tx, &self.room, self.creator).await?;
        Ok(self.room.clone())
    }
}

/// A message to be sent.
#[derive(Clone)]
struct Send {
    id: Uuid,
    event: Uuid,
    room: Arc<Room>,
    author: Uuid,
    content: String,
}

impl Part for Send {
    type Output = View;

    async fn run(tx: &mut Tx<'_>, room: Uuid, parts: &[&Self]) -> Result<Vec<Result<View>>> {
        let authors: Vec<Uuid> = parts.iter().map(|part| part.author).collect();
        let standing = store::standing(tx, &authors).await?;
        let may = |part: &Send| match standing.get(&part.author) {
            Some(author) => author.may_send(tx.now()),
            None => Err(Error::new(Kind::Unauthenticated, "the account is gone")),
        };
        let outcomes: Vec<Result<()>> = parts.iter().map(|part| may(part)).collect();
        let sent: Vec<&Send> = parts
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| outcome.is_ok())
            .map(|(part, _)| *part)
            .collect();
        if sent.is_empty() {
            let refused = outcomes.into_iter().filter_map(Result::err);
            return Ok(refused.map(Err).collect());
        }
        let events: Vec<_> = sent
            .iter()
            .map(|part| log::New {
                id: part.event,
                actor: part.author,
                object: part.id,
            })
            .collect();
        let first_seq = tx.emit_all(EventKind::MessageNew, room, &events).await?;
        let first_number = store::insert(tx, room, first_seq, &sent).await?;
        let now = tx.now();
        let mut written = sent.iter().enumerate().map(|(index, part)| View {
            id: part.id,
            room: part.room.clone(),
            number: first_number + index as i32,
            seq: first_seq + index as i64,
            author: standing[&part.author].seen.clone(),
            content: part.content.clone(),
            created_at: now,
            edited_at: None,
            deleted_at: None,
        });
        let views = outcomes.into_iter().map(|outcome| {
            outcome.and_then(|()| {
                written
                    .next()
                    .ok_or_else(|| Error::internal("a message that was sent is not there"))
            })
        });
        Ok(views.collect())
    }
}

struct Edit {
    id: Uuid,
    room: Uuid,
    caller: Uuid,
    content: String,
}

impl Operation for Edit {
    type Output = store::Row;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<store::Row> {
        let before = store::row(tx, self.id).await?;
        if before.deleted_at.is_some() {
            return Err(Error::not_found("message"));
        }
        if before.author_id != self.caller {
            return Err(Error::new(Kind::Forbidden, "this message is another member's"));
        }
        store::refuse_muted(tx, self.caller).await?;
        if before.content == self.content {
            return Ok(before);
        }
        tx.emit(EventKind::MessageEdit, self.room, Some(self.caller), self.id)
            .await?;
        // Under the room's lock: a deletion that came between has its way.
        match store::set_content(tx, self.id, &self.content).await? {
            0 => Err(Error::not_found("message")),
            _ => store::row(tx, self.id).await,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authority {
    Author,
    Moderator,
}

struct Delete {
    id: Uuid,
    room: Uuid,
    caller: Uuid,
    authority: Authority,
}

impl Operation for Delete {
    type Output = store::Row;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<store::Row> {
        let before = store::row(tx, self.id).await?;
        let is_own = before.author_id == self.caller;
        if !is_own && self.authority == Authority::Author {
            return Err(Error::new(Kind::Forbidden, "this message is another member's"));
        }
        if before.deleted_at.is_some() {
            return Ok(before);
        }
        tx.emit(EventKind::MessageDelete, self.room, Some(self.caller), self.id)
            .await?;
        store::delete(tx, self.id).await?;
        webhooks::forget(tx, self.id).await?;
        if !is_own {
            tx.audit(Act {
                actor: self.caller,
                action: Action::DeleteMessage,
                subject: Some(before.author_id),
                reason: None,
                until: None,
            })
            .await?;
        }
        store::row(tx, self.id).await
    }
}

/// Who wrote a message, and what it says.
pub struct Said {
    pub author: Uuid,
    pub content: String,
}

/// What a message says, until the end of the transaction.
///
/// # Errors
///
/// `NOT_FOUND`, a deleted one included.
pub async fn said(tx: &Tx<'_>, id: Uuid) -> Result<Said> {
    let said = store::said(tx, id).await?;
    said.ok_or_else(|| Error::not_found("message"))
}

/// Unchecked rows for the loaders.
pub(crate) async fn load(permit: &Permit, ids: &[Uuid]) -> Result<Vec<View>> {
    store::by_ids(permit, ids).await
}

/// Takes back all that a member has said, and leaves it to the member `deleted`: their account is being deleted.
pub async fn erase(tx: &mut Tx<'_>, member: Uuid) -> Result<()> {
    for room in store::rooms_of(tx, member).await? {
        let messages = store::undeleted_of(tx, room, member).await?;
        let events: Vec<_> = messages
            .into_iter()
            .map(|object| log::New {
                id: Uuid::now_v7(),
                actor: DELETED,
                object,
            })
            .collect();
        if !events.is_empty() {
            tx.emit_all(EventKind::MessageDelete, room, &events).await?;
        }
    }
    store::erase(tx, member).await
}

/// How a member stands when they send.
struct Standing {
    seen: Seen,
    muted_at: Option<i64>,
    muted_until: Option<i64>,
    mute_reason: Option<String>,
}

impl Standing {
    fn may_send(&self, now: i64) -> Result<()> {
        callers::refuse_muted(self.muted_at, self.muted_until, self.mute_reason.as_deref(), now)
    }
}

fn older(refusal: Error, oldest: Uuid) -> Error {
    refusal.with("oldest", IdKind::Event.encode(oldest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_names() {
        for good in ["ab", "lobby", "a-1", &"x".repeat(32)] {
            assert!(is_room_name(good), "{good}");
        }
        for bad in ["", "a", "Lobby", "a b", "a_b", "naïve", &"x".repeat(33)] {
            assert!(!is_room_name(bad), "{bad}");
        }
    }

    #[test]
    fn content_is_trimmed_and_bounded() {
        let none = Words::default();
        assert_eq!(checked_content("  hi\n", &none).unwrap(), "hi");
        for bad in ["", " \n", "a\0", &"x".repeat(4_001)] {
            assert_eq!(checked_content(bad, &none).unwrap_err().kind(), Kind::ValidationFailed);
        }
    }
}
