use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject, Union};

use super::{
    Chat, LOBBY, Page, Reading, Room as Row, View,
    feed::{self, Change, What},
};
use crate::{
    error::{Error, Result},
    gate::{Permit, idempotency, rules},
    graphql::{
        context::{admission, loaders, permit, permit_once},
        live::{Shows, showing},
        page::{self, Entry, PageInfo, connection, no_cursor},
        resolve::One,
        scalars::DateTime,
    },
    id::IdKind,
    presence::ChangeKind,
    profiles::graphql::User,
};

/// How many messages a room shows where nobody says how many. Source: the schema, `Room.messages`.
const SHOWN: i32 = 50;

pub(crate) fn chat<'a>(ctx: &Context<'a>) -> &'a Chat {
    ctx.data_unchecked::<Arc<Chat>>()
}

/// A place to talk, which every member may enter.
#[derive(Clone)]
pub struct Room {
    row: Arc<Row>,
    permit: Permit,
}

impl Room {
    pub fn new(row: Arc<Row>, permit: &Permit) -> Self {
        Self {
            row,
            permit: permit.clone(),
        }
    }
}

/// A place to talk, which every member may enter.
#[Object]
impl Room {
    /// The room's id, `room_…`.
    pub async fn id(&self) -> ID {
        IdKind::Room.encode(self.row.id).into()
    }

    /// Its name: 2 to 32 of a to z, digits and -. It does not change.
    async fn name(&self) -> &str {
        &self.row.name
    }

    /// What was said, oldest first. With neither `first` nor `last`, the last 50. Cursors are message ids.
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "The id of the message to start after.")] after: Option<String>,
        #[graphql(desc = "How many at most from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "The id of the message to end before.")] before: Option<String>,
    ) -> Result<MessageConnection> {
        let (count, reading) = match (first, last) {
            (Some(_), Some(_)) => return Err(Error::invalid("last", "must not be given together with first")),
            (Some(first), None) => (page::first(first)?, Reading::Forwards),
            (None, last) => (page::last(last.unwrap_or(SHOWN))?, Reading::Backwards),
        };
        let cursor = |field: &str, cursor: &Option<String>| match cursor {
            Some(id) => IdKind::Message.decode(id).map(Some).ok_or_else(|| no_cursor(field)),
            None => Ok(None),
        };
        let page = Page {
            after: cursor("after", &after)?,
            before: cursor("before", &before)?,
            reading,
            limit: count as u64 + 1,
        };
        let mut views = chat(ctx).history(&self.permit, &self.row, page).await?;
        let more = views.len() > count;
        views.truncate(count);
        if reading == Reading::Backwards {
            views.reverse();
        }
        let nodes: Vec<Message> = views
            .into_iter()
            .map(|view| Message::new(Arc::new(view), &self.permit))
            .collect();
        let page_info = PageInfo {
            has_next_page: match reading {
                Reading::Forwards => more,
                Reading::Backwards => before.is_some(),
            },
            has_previous_page: match reading {
                Reading::Forwards => after.is_some(),
                Reading::Backwards => more,
            },
            start_cursor: nodes.first().map(Entry::cursor),
            end_cursor: nodes.last().map(Entry::cursor),
        };
        Ok(MessageConnection { nodes, page_info })
    }

    /// Who is connected now, by username.
    async fn members(&self, ctx: &Context<'_>) -> Result<Vec<User>> {
        let caller = self.permit.caller();
        let members = chat(ctx).presence().members(self.row.id);
        let visible = members.iter().filter(|member| !caller.hides(member.id));
        Ok(visible
            .map(|member| User::named(member.id, &member.username, &self.permit))
            .collect())
    }
}

impl Entry for Room {
    fn cursor(&self) -> String {
        page::opaque(&self.row.name)
    }
}

connection!(RoomConnection, RoomEdge, Room, "rooms");

/// Something that a member said in a room.
#[derive(Clone)]
pub struct Message {
    view: Arc<View>,
    permit: Permit,
}

impl Message {
    /// Of a message that the caller may see.
    pub fn new(view: Arc<View>, permit: &Permit) -> Self {
        Self {
            view,
            permit: permit.clone(),
        }
    }
}

/// Something that a member said in a room.
#[Object]
impl Message {
    /// The message's id, `msg_…`.
    pub async fn id(&self) -> ID {
        IdKind::Message.encode(self.view.id).into()
    }

    /// Its place in the room, from 1, without gaps.
    async fn number(&self) -> i32 {
        self.view.number
    }

    /// Where it was said.
    async fn room(&self) -> One<Room> {
        One(Room::new(self.view.room.clone(), &self.permit))
    }

    /// Who said it; `deleted` where the account is gone.
    async fn author(&self) -> One<User> {
        One(User::seen(self.view.author.clone(), &self.permit))
    }

    /// What was said. Empty once deleted.
    async fn content(&self) -> &str {
        &self.view.content
    }

    /// When it was sent.
    async fn timestamp(&self) -> DateTime {
        DateTime::new(self.view.created_at)
    }

    /// When it was last edited.
    async fn edited_at(&self) -> Option<DateTime> {
        self.view.edited_at.map(DateTime::new)
    }

    /// When it was deleted.
    async fn deleted_at(&self) -> Option<DateTime> {
        self.view.deleted_at.map(DateTime::new)
    }
}

impl Entry for Message {
    fn cursor(&self) -> String {
        IdKind::Message.encode(self.view.id)
    }
}

connection!(MessageConnection, MessageEdge, Message, "messages");

/// What happens in a room.
#[derive(Union)]
pub enum RoomEvent {
    Added(MessageAdded),
    Edited(MessageEdited),
    Deleted(MessageDeleted),
    Joined(MemberJoined),
    Left(MemberLeft),
    Typing(MemberTyping),
}

/// A message was sent.
#[derive(SimpleObject)]
pub struct MessageAdded {
    /// The event's id, `evt_…`: what to resume after.
    id: ID,
    /// The message as it is now.
    message: Message,
}

/// A message was edited.
#[derive(SimpleObject)]
pub struct MessageEdited {
    /// The event's id, `evt_…`: what to resume after.
    id: ID,
    /// The message as it is now.
    message: Message,
}

/// A message was deleted.
#[derive(SimpleObject)]
pub struct MessageDeleted {
    /// The event's id, `evt_…`: what to resume after.
    id: ID,
    /// The message as it is now, without content.
    message: Message,
}

/// A member came into the room. Live only.
#[derive(SimpleObject)]
pub struct MemberJoined {
    /// Who came.
    user: User,
}

/// A member left the room with their last connection. Live only.
#[derive(SimpleObject)]
pub struct MemberLeft {
    /// Who left.
    user: User,
}

/// A member is typing. Live only.
#[derive(SimpleObject)]
pub struct MemberTyping {
    /// Who is typing.
    user: User,
}

impl RoomEvent {
    fn new(entry: &feed::Entry, permit: &Permit) -> Self {
        match &entry.what {
            What::Message { event, change, message } => {
                let id = IdKind::Event.encode(*event).into();
                let message = Message::new(message.clone(), permit);
                match change {
                    Change::Added => RoomEvent::Added(MessageAdded { id, message }),
                    Change::Edited => RoomEvent::Edited(MessageEdited { id, message }),
                    Change::Deleted => RoomEvent::Deleted(MessageDeleted { id, message }),
                }
            }
            What::Member { change, member, .. } => {
                let user = User::named(member.id, &member.username, permit);
                match change {
                    ChangeKind::Joined => RoomEvent::Joined(MemberJoined { user }),
                    ChangeKind::Left => RoomEvent::Left(MemberLeft { user }),
                    ChangeKind::Typing => RoomEvent::Typing(MemberTyping { user }),
                }
            }
        }
    }
}

#[derive(Default)]
pub struct ChatQuery;

#[Object]
impl ChatQuery {
    /// A room by its name.
    async fn room(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The room's name, such as `lobby`.")] name: String,
    ) -> Result<Option<One<Room>>> {
        let permit = permit(ctx)?;
        let row = chat(ctx).room(&permit, &name).await?;
        Ok(Some(One(Room::new(row, &permit))))
    }

    /// All rooms, by name.
    async fn rooms(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most, 1 to 100.", default = 50)] first: i32,
        #[graphql(desc = "The cursor of the entry to start after.")] after: Option<String>,
    ) -> Result<Option<RoomConnection>> {
        let permit = permit(ctx)?;
        let first = page::first(first)?;
        let start = after.as_deref().map(page::reveal).transpose()?;
        let rows = chat(ctx).rooms(&permit, start.as_deref(), first as u64 + 1).await?;
        let rows = rows.into_iter().map(|row| Room::new(row, &permit)).collect();
        Ok(Some(RoomConnection::forwards(rows, first, after.is_some())))
    }
}

/// A room to be made.
#[derive(InputObject)]
pub struct CreateRoomInput {
    /// 2 to 32 of a to z, digits and -.
    name: String,
}

/// A message to be sent.
#[derive(InputObject)]
pub struct SendMessageInput {
    /// 1 to 4,000 characters; white space around them is taken off.
    content: String,
    /// Where to say it.
    #[graphql(default_with = "LOBBY.to_owned()")]
    room: String,
    /// An idempotency key: the same again within 24 hours gives the first message and sends none.
    nonce: Option<String>,
}

/// What a message is to say.
#[derive(InputObject)]
pub struct EditMessageInput {
    /// 1 to 4,000 characters; white space around them is taken off.
    content: String,
}

/// The new room.
#[derive(SimpleObject)]
pub struct CreateRoomPayload {
    /// The new room.
    room: Room,
}

/// The message that was sent.
#[derive(SimpleObject)]
pub struct SendMessagePayload {
    /// The message, on disk and numbered.
    message: Message,
}

/// The message as it is now.
#[derive(SimpleObject)]
pub struct EditMessagePayload {
    /// The message as it is now.
    message: Message,
}

/// The message as it is now.
#[derive(SimpleObject)]
pub struct DeleteMessagePayload {
    /// The message, without content.
    message: Message,
}

#[derive(Default)]
pub struct ChatMutation;

#[Object]
impl ChatMutation {
    /// Makes a room. A member may create up to 20; they stay.
    async fn create_room(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The room.")] input: CreateRoomInput,
    ) -> Result<Option<CreateRoomPayload>> {
        let permit = permit_once(ctx, &input.name)?;
        let row = chat(ctx).create_room(&permit, &input.name).await?;
        Ok(Some(CreateRoomPayload {
            room: Room::new(row, &permit),
        }))
    }

    /// Sends a message: it is on disk and numbered when this answers.
    async fn send_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message.")] input: SendMessageInput,
    ) -> Result<Option<SendMessagePayload>> {
        let nonce = input.nonce.as_deref().map(read_nonce).transpose()?;
        let permit = send_permit(admission(ctx)?, nonce.as_deref(), &input.room, &input.content)?;
        let chat = chat(ctx);
        let room = chat.room(&permit, &input.room).await?;
        let view = chat.send(&permit, &room, &input.content).await?;
        Ok(Some(SendMessagePayload {
            message: Message::new(Arc::new(view), &permit),
        }))
    }

    /// Changes what a message of the caller's says.
    async fn edit_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message's id.")] id: ID,
        #[graphql(desc = "What it is to say.")] input: EditMessageInput,
    ) -> Result<Option<EditMessagePayload>> {
        let permit = permit_once(ctx, &(id.as_str(), &input.content))?;
        let message = IdKind::Message.decode(&id).ok_or_else(|| Error::not_found("message"))?;
        let view = chat(ctx).edit(&permit, loaders(ctx), message, &input.content).await?;
        Ok(Some(EditMessagePayload {
            message: Message::new(Arc::new(view), &permit),
        }))
    }

    /// Takes back what a message says: one's own, or as a moderator any. It keeps its number.
    async fn delete_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message's id.")] id: ID,
    ) -> Result<Option<DeleteMessagePayload>> {
        let permit = permit_once(ctx, &id.as_str())?;
        let message = IdKind::Message.decode(&id).ok_or_else(|| Error::not_found("message"))?;
        let view = chat(ctx).delete(&permit, loaders(ctx), message).await?;
        Ok(Some(DeleteMessagePayload {
            message: Message::new(Arc::new(view), &permit),
        }))
    }
}

/// Reads the `nonce` of a message, whichever way it comes.
///
/// # Errors
///
/// `VALIDATION_FAILED`.
pub fn read_nonce(nonce: &str) -> Result<String> {
    idempotency::read_key(nonce).map_err(|_| {
        let why = format!("must have 1 to {} characters", idempotency::LONGEST);
        Error::invalid("nonce", why)
    })
}

/// The permit to send a message, whichever way it comes: a nonce is good for one message.
///
/// # Errors
///
/// What the rule of `sendMessage` refuses.
pub fn send_permit(
    admission: &crate::gate::Admission,
    nonce: Option<&str>,
    room: &str,
    content: &str,
) -> Result<Permit> {
    const FIELD: &str = "sendMessage";
    let rule = rules::field("Mutation", FIELD).ok_or_else(|| Error::internal("sendMessage has no rule"))?;
    admission.permit_nonce(rule, nonce, FIELD, &(room, content))
}

#[derive(Default)]
pub struct ChatSubscription;

#[Object]
impl ChatSubscription {
    /// New messages of a room. With `after` (a message's or event's id), first every later one, in order, then live: none
    /// lost, none twice.
    async fn message_added(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The room's name.", default_with = "LOBBY.to_owned()", name = "room")] _room: String,
        #[graphql(desc = "The id of a message or event of the room, to go on after.", name = "after")] _after: Option<
            ID,
        >,
    ) -> Result<Message> {
        let (entry, permit) = entry(ctx)?;
        match &entry.what {
            What::Message { message, .. } => Ok(Message::new(message.clone(), permit)),
            What::Member { .. } => Err(Error::internal("a member is no message")),
        }
    }

    /// The same with edits and deletions, and with joins, leaves and typing, which are live only.
    async fn room_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The room's name.", default_with = "LOBBY.to_owned()", name = "room")] _room: String,
        #[graphql(desc = "The id of a message or event of the room, to go on after.", name = "after")] _after: Option<
            ID,
        >,
    ) -> Result<RoomEvent> {
        let (entry, permit) = entry(ctx)?;
        Ok(RoomEvent::new(entry, permit))
    }
}

fn entry<'a>(ctx: &Context<'a>) -> Result<(&'a Arc<feed::Entry>, &'a Permit)> {
    let showing = showing(ctx)?;
    match &showing.what {
        Shows::Entry(entry) => Ok((entry, &showing.permit)),
        Shows::Step(_) => Err(Error::internal("an answer is nothing that happens in a room")),
    }
}
