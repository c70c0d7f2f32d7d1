//! `/ws/chat`: one task for each connection.

use std::{collections::VecDeque, convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::{
        FromRequestParts, Request, State,
        ws::{WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use bytes::Bytes;
use futures_util::future::pending;
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Arrived, change_cookie,
    ends::{self, Ends},
    graphql_socket::Look,
    refuse,
    wire::{self, Gone, Incoming, Wire},
};
use crate::{
    boot::App,
    chat::{Answer, LOBBY, Room, feed::Follower, graphql as chat},
    chat_socket::{self as frames, Auth, Frame, Message, Unreadable},
    close::Close,
    error::{Error, Kind, Result},
    gate::{
        Identified, Permit, Shown, Standing,
        callers::{Caller, Known},
        rules,
    },
    graphql::failure::reported,
    presence::{ChangeKind, Member, Stay},
};

/// How long a client may take to say who it is. Source: the protocol, "Chat socket".
const AUTH_WITHIN: Duration = Duration::from_secs(10);
/// The longest frame, in bytes. Source: the protocol, "Chat socket".
const LONGEST_FRAME: usize = 64 * 1024;
/// How many frames a second are taken from a socket. Source: the protocol, "Chat socket".
const FRAMES_A_SECOND: u32 = 20;
/// How many rooms a socket may be in.
const MOST_ROOMS: usize = 50;
/// How many messages of a socket may be on their way to the disk before its further frames wait.
const MOST_SENDING: usize = 64;
/// How long to wait for a database that does not answer before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Opens a socket, for whoever the handshake says is calling; else they have to say.
pub async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let (mut arrived, _) = Arrived::new(&app, request);
    let identified = match arrived.identify_at_socket(&app).await {
        Ok(identified) => Ok(identified),
        // Browsers do not show the status of a handshake: who is banned is told on the socket.
        Err(error) if error.kind() == Kind::Banned => Err(error),
        Err(error) => return refuse_handshake(&app, &arrived, error).await,
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut arrived.parts, &()).await {
        Ok(upgrade) => wire::bounded(upgrade),
        Err(rejection) => {
            let error = Error::bad_request("", rejection.body_text());
            return refuse_handshake(&app, &arrived, error).await;
        }
    };
    let query = arrived.parts.uri.query().unwrap_or_default();
    let after = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "after")
        .map(|(_, id)| id.into_owned());
    let (caller, renew) = match identified {
        Ok(Identified { caller, renew }) => (Ok(caller), renew),
        Err(banned) => (Err(banned), None),
    };
    let visitor = Visitor {
        caller,
        after,
        address: arrived.address,
        request_id: arrived.request_id,
    };
    let mut response = upgrade.on_upgrade({
        let app = app.clone();
        async move |socket| {
            let _running = app.running.token();
            serve(app.clone(), Wire::new(socket), visitor).await;
        }
    });
    change_cookie(&mut response, &app, None, renew);
    response
}

/// A handshake that is refused costs 1 at its address.
async fn refuse_handshake(app: &App, arrived: &Arrived, error: Error) -> Response {
    let payer = Caller::Anonymous(arrived.address);
    match app.gate.charge(&payer, 1, None).await.admission {
        Ok(_) => refuse(&reported(error, &[], &arrived.request_id)),
        Err(limited) => refuse(&limited),
    }
}

/// Who comes with the handshake.
struct Visitor {
    caller: Result<Caller>,
    /// Resumes the lobby.
    after: Option<String>,
    address: IpAddr,
    /// Finds the log lines of the socket.
    request_id: String,
}

/// Why a connection ends.
enum End {
    Close(Close),
    /// The same, with a last word.
    Tell(Error, Close),
    /// There is nobody to tell.
    Gone,
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        End::Gone
    }
}

impl From<ends::End> for End {
    fn from(end: ends::End) -> Self {
        match end {
            ends::End::Draining => End::Close(Close::SHUTTING_DOWN),
            ends::End::Caller(error) => match error.kind() {
                Kind::Banned => End::Tell(error, Close::FORBIDDEN),
                _ => End::Close(Close::UNAUTHORIZED),
            },
        }
    }
}

type Ended<T = ()> = std::result::Result<T, End>;

/// Refuses who is not let in.
fn turned_away(error: Error) -> End {
    let close = match error.kind() {
        Kind::Banned | Kind::Forbidden => Close::FORBIDDEN,
        Kind::Unavailable | Kind::Internal => Close::UNAVAILABLE,
        _ => Close::UNAUTHORIZED,
    };
    End::Tell(error, close)
}

async fn serve(app: Arc<App>, mut wire: Wire<WebSocket>, visitor: Visitor) {
    let end = match Box::pin(enter(app, &mut wire, visitor)).await {
        Ok(mut connection) => match connection.run(&mut wire).await {
            Ok(never) => match never {},
            Err(end) => end,
        },
        Err(end) => end,
    };
    match end {
        End::Close(close) => Box::pin(wire.close(close)).await,
        End::Tell(error, close) => {
            Box::pin(async {
                // Who is gone, or does not read, is not told.
                let _ = timeout(ASK_AGAIN, wire.write([frames::error(&error, None)])).await;
                wire.close(close).await;
            })
            .await;
        }
        End::Gone => Box::pin(wire.finish()).await,
    }
}

/// Waits until it is known who is calling, and takes them into the lobby.
async fn enter(app: Arc<App>, wire: &mut Wire<WebSocket>, visitor: Visitor) -> Ended<Box<Connection>> {
    let mut rate = Rate::new(&app);
    let (caller, after) = match visitor.caller {
        Ok(Caller::Member(known)) => (known, visitor.after),
        Ok(Caller::Anonymous(_)) => {
            let auth = match app.draining.run_until_cancelled(ask(wire, &mut rate)).await {
                Some(auth) => auth?,
                None => return Err(End::Close(Close::SHUTTING_DOWN)),
            };
            let known = identify(&app, visitor.address, &auth.token)
                .await
                .map_err(turned_away)?;
            (known, auth.after.or(visitor.after))
        }
        Err(banned) => return Err(turned_away(banned)),
    };
    let standing = app.gate.follow(&caller).await.map_err(turned_away)?;
    may_read(&standing).map_err(turned_away)?;
    let mut connection = Connection {
        ends: Ends::new(standing, &app.draining),
        app,
        address: visitor.address,
        request_id: visitor.request_id,
        rate,
        rooms: Vec::new(),
        sending: VecDeque::new(),
        wake: Arc::default(),
        look: Look::Now,
        replies: Vec::new(),
    };
    connection
        .replies
        .push(frames::authenticated(connection.ends.standing().known()));
    if let Err(error) = connection.join(LOBBY, after.as_deref()).await {
        connection.refuse(error, None);
        // What it was to resume after is not there: it is in, live.
        if after.is_some()
            && let Err(error) = connection.join(LOBBY, None).await
        {
            connection.refuse(error, None);
        }
    }
    Ok(Box::new(connection))
}

/// Waits for the client to say who it is.
async fn ask(wire: &mut Wire<WebSocket>, rate: &mut Rate) -> Ended<Auth> {
    let until = Instant::now() + AUTH_WITHIN;
    let asked = async {
        loop {
            let reply = match take(wire.receive().await)? {
                _ if !rate.allows() => frames::error(&too_many_frames(), None),
                Ok(Frame::Auth(auth)) => return Ok(auth),
                Ok(frame) => {
                    let nonce = match &frame {
                        Frame::Message(message) => message.nonce.as_deref(),
                        _ => None,
                    };
                    frames::error(&Error::new(Kind::Unauthenticated, "send an auth frame first"), nonce)
                }
                Err(Unreadable { error, nonce }) => frames::error(&error, nonce.as_deref()),
            };
            wire.write([reply]).await?;
        }
    };
    let too_late = || End::Close(Close::INIT_TIMEOUT);
    timeout_at(until, asked).await.map_err(|_| too_late())?
}

/// A frame as it came, or why it is not understood.
fn take(incoming: Incoming) -> Ended<std::result::Result<Frame, Unreadable>> {
    match incoming {
        Incoming::Text(text) if text.len() > LONGEST_FRAME => Err(End::Close(Close::TOO_LARGE)),
        Incoming::Text(text) => Ok(frames::read(&text)),
        Incoming::Binary => Ok(Err(Unreadable {
            error: Error::bad_request("", "frames are text"),
            nonce: None,
        })),
        Incoming::Broken => Err(End::Close(Close::TOO_LARGE)),
        Incoming::Gone => Err(End::Gone),
    }
}

/// Whom a token names. A wrong one costs 1 at its address.
async fn identify(app: &App, address: IpAddr, token: &str) -> Result<Arc<Known>> {
    let authorization = format!("Bearer {token}");
    let shown = Shown {
        authorization: Some(&authorization),
        cookie: None,
        address,
    };
    match app.gate.identify_at_socket(shown).await {
        Ok(Identified {
            caller: Caller::Member(known),
            ..
        }) => Ok(known),
        Ok(_) => Err(Error::new(Kind::InvalidCredentials, "the token is nobody's")),
        Err(error) => {
            if error.kind() == Kind::InvalidCredentials {
                app.gate.charge(&Caller::Anonymous(address), 1, None).await;
            }
            Err(error)
        }
    }
}

/// A socket is told what `roomChanged` tells, and is for whom that is.
fn may_read(standing: &Standing) -> Result<()> {
    let rule = rules::field("Subscription", "roomChanged");
    let rule = rule.ok_or_else(|| Error::internal("roomChanged has no rule"))?;
    standing.caller().may(rule)
}

fn too_many_frames() -> Error {
    Error::rate_limited(1)
}

/// How often frames come, by the second.
struct Rate {
    is_limited: bool,
    since: Instant,
    count: u32,
}

impl Rate {
    fn new(app: &App) -> Self {
        Self {
            is_limited: app.gate.limits().member > 0,
            since: Instant::now(),
            count: 0,
        }
    }

    /// Counts a frame, and whether it is within what a second allows.
    fn allows(&mut self) -> bool {
        let now = Instant::now();
        if now - self.since >= Duration::from_secs(1) {
            self.since = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        !self.is_limited || self.count <= FRAMES_A_SECOND
    }
}

/// A member's open socket.
struct Connection {
    app: Arc<App>,
    ends: Ends,
    address: IpAddr,
    request_id: String,
    rate: Rate,
    rooms: Vec<Joined>,
    /// Messages that are on their way to the disk, in the order in which they came.
    sending: VecDeque<Sending>,
    /// Rung by all rooms.
    wake: Arc<Notify>,
    look: Look,
    /// What is to be written before anything else.
    replies: Vec<Bytes>,
}

/// A room that the socket is in.
struct Joined {
    follower: Follower,
    _stay: Stay,
}

struct Sending {
    answer: Answer,
    nonce: Option<String>,
}

/// What a connection waits for.
enum Event {
    Change,
    Incoming(Incoming),
    Sent,
    Look,
}

impl Connection {
    /// Runs until it ends. One thing that came in is dealt with, then one batch of what goes out is written, in turns.
    async fn run(&mut self, wire: &mut Wire<WebSocket>) -> Ended<Infallible> {
        loop {
            if !self.replies.is_empty() {
                let replies = std::mem::take(&mut self.replies);
                // Boxed, as is what follows: who is idle does not pay for it.
                Box::pin(self.ends.unless(wire.write(replies))).await??;
            }
            if matches!(self.look, Look::Now) {
                Box::pin(self.deliver(wire)).await?;
            }
            match self.next(wire).await? {
                Event::Change => {}
                Event::Incoming(incoming) => Box::pin(self.receive(incoming)).await?,
                Event::Sent => {}
                Event::Look => self.look = Look::Now,
            }
            if self.ends.take_changed() {
                may_read(self.ends.standing()).map_err(turned_away)?;
            }
        }
    }

    async fn next(&mut self, wire: &mut Wire<WebSocket>) -> Ended<Event> {
        let has_room = self.sending.len() < MOST_SENDING;
        // In no order, so that none of them waits for ever.
        let sent = tokio::select! {
            change = self.ends.change() => return Ok(change.map(|()| Event::Change)?),
            incoming = wire.receive(), if has_room => return Ok(Event::Incoming(incoming)),
            () = self.look.wait(&self.wake) => return Ok(Event::Look),
            sent = sent(&mut self.sending) => sent,
        };
        let nonce = self.sending.pop_front().and_then(|sending| sending.nonce);
        match (sent, nonce) {
            (Ok(message), Some(nonce)) => self.replies.push(frames::acknowledged(&nonce, &message)),
            (Ok(_), None) => {}
            (Err(error), nonce) => self.refuse(error, nonce.as_deref()),
        }
        Ok(Event::Sent)
    }

    fn refuse(&mut self, error: Error, nonce: Option<&str>) {
        let error = reported(error, &[], &self.request_id);
        self.replies.push(frames::error(&error, nonce));
    }

    async fn receive(&mut self, incoming: Incoming) -> Ended {
        let frame = take(incoming)?;
        if !self.rate.allows() {
            let nonce = match &frame {
                Ok(Frame::Message(message)) => message.nonce.clone(),
                Ok(_) => None,
                Err(unreadable) => unreadable.nonce.clone(),
            };
            self.refuse(too_many_frames(), nonce.as_deref());
            return Ok(());
        }
        let refused = match frame {
            Err(unreadable) => Err((unreadable.error, unreadable.nonce)),
            Ok(Frame::Message(message)) => {
                let nonce = message.nonce.clone();
                self.send(message).await.map_err(|error| (error, nonce))
            }
            Ok(Frame::Auth(auth)) => {
                self.authenticate(auth).await?;
                Ok(())
            }
            Ok(Frame::Join { room, after }) => {
                let joined = self.join(&room, after.as_deref()).await;
                joined.map_err(|error| (error, None))
            }
            Ok(Frame::Leave { room }) => {
                self.rooms.retain(|joined| joined.follower.room().name != room);
                Ok(())
            }
            Ok(Frame::Typing { room }) => self.typing(&room).map_err(|error| (error, None)),
            Ok(Frame::Ping) => {
                self.replies.push(frames::pong());
                Ok(())
            }
        };
        if let Err((error, nonce)) = refused {
            self.refuse(error, nonce.as_deref());
        }
        Ok(())
    }

    /// The same member is answered again.
    async fn authenticate(&mut self, auth: Auth) -> Ended {
        let known = identify(&self.app, self.address, &auth.token)
            .await
            .map_err(turned_away)?;
        let here = self.ends.standing().known();
        if known.member != here.member {
            let error = Error::new(Kind::InvalidCredentials, "this socket is another member's");
            return Err(turned_away(error));
        }
        self.replies.push(frames::authenticated(here));
        if let Some(after) = auth.after
            && let Err(error) = self.join(LOBBY, Some(&after)).await
        {
            self.refuse(error, None);
        }
        Ok(())
    }

    /// Hands a message over to be written. Its answer comes when it is on disk.
    async fn send(&mut self, message: Message) -> Result<()> {
        let caller = self.ends.standing().caller();
        let nonce = message.nonce.as_deref().map(chat::read_nonce).transpose()?;
        let admission = self.app.gate.charge(&caller, 1, None).await.admission?;
        let room = message.room.as_deref().unwrap_or(LOBBY);
        let permit = chat::send_permit(&admission, nonce.as_deref(), room, &message.content)?;
        let room = self.app.chat.room(&permit, room).await?;
        let answer = self.app.chat.hand_over(&permit, &room, &message.content)?;
        self.sending.push_back(Sending { answer, nonce });
        Ok(())
    }

    /// Takes the caller into a room, or has them start over in one that they are in, after what they have seen.
    async fn join(&mut self, name: &str, after: Option<&str>) -> Result<()> {
        let (app, known) = (self.app.clone(), self.ends.standing().known().clone());
        let permit = Permit::of_standing(self.ends.standing());
        let room = app.chat.room(&permit, name).await?;
        let position = self
            .rooms
            .iter()
            .position(|joined| joined.follower.room().id == room.id);
        if position.is_some() && after.is_none() {
            return Ok(());
        }
        if position.is_none() && self.rooms.len() >= MOST_ROOMS {
            let message = format!("a socket may be in {MOST_ROOMS} rooms at most");
            return Err(Error::new(Kind::Conflict, message));
        }
        let seq = match after {
            Some(id) => Some(app.chat.place(&permit, &room, id).await?),
            None => None,
        };
        let (audience, render) = app.chat_frames.audience();
        let feeds = app.chat.feeds();
        let follower = feeds.follow(&room, seq, audience, render, &self.wake).await?;
        self.look = Look::Now;
        match position {
            Some(index) => self.rooms[index].follower = follower,
            None => {
                let stay = self.stay(&room, &known);
                self.rooms.push(Joined { follower, _stay: stay });
            }
        }
        Ok(())
    }

    /// Lets everyone know, or at least the caller, who may be there by another connection already.
    fn stay(&mut self, room: &Arc<Room>, known: &Known) -> Stay {
        let member = member(known);
        let stay = self.app.chat.presence().enter(room.id, member.clone());
        if !stay.was_told() {
            self.replies
                .push(frames::presence(&room.name, ChangeKind::Joined, &member));
        }
        stay
    }

    fn typing(&mut self, name: &str) -> Result<()> {
        let room = self.rooms.iter().map(|joined| joined.follower.room());
        let room = room
            .into_iter()
            .find(|room| room.name == name)
            .ok_or_else(|| Error::not_found("room that you are in"))?;
        let member = member(self.ends.standing().known());
        self.app.chat.presence().typing(room.id, &member);
        Ok(())
    }

    /// Writes a batch of what each room has, with one flush.
    async fn deliver(&mut self, wire: &mut Wire<WebSocket>) -> Ended {
        self.look = Look::Rest;
        let mut told = Vec::new();
        for joined in &mut self.rooms {
            match self.ends.unless(joined.follower.take()).await? {
                Ok(deliveries) if deliveries.is_empty() => {}
                Ok(deliveries) => {
                    // A room that waits for the database is asked when this one is empty.
                    self.look = Look::Now;
                    let caller = self.ends.standing().caller();
                    let visible = deliveries.into_iter().filter(|delivery| !caller.hides(delivery.by));
                    told.extend(visible.map(|delivery| delivery.frame));
                }
                Err(error) => {
                    tracing::warn!(?error, "a room cannot be read on");
                    if matches!(self.look, Look::Rest) {
                        self.look = Look::At(Instant::now() + ASK_AGAIN);
                    }
                }
            }
        }
        if !told.is_empty() {
            self.ends.unless(wire.write(told)).await??;
        }
        Ok(())
    }
}

fn member(known: &Known) -> Member {
    Member {
        id: known.member,
        username: known.username.as_str().into(),
    }
}

/// Waits until the first message is on disk, or refused. Cancel safe.
async fn sent(sending: &mut VecDeque<Sending>) -> Result<crate::chat::View> {
    match sending.front_mut() {
        Some(first) => first.answer.wait().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        fn size_of_output<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let served = size_of_output(serve);
        assert!(served <= 2_048, "{served} bytes");
    }
}
