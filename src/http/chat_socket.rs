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
use futures_util::{FutureExt, future::pending};
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
    chat::{Answer, LOBBY, Room, View, feed::Follower, graphql as chat},
    chat_socket::{self as frames, Auth, Frame, Message, Read},
    close::Close,
    error::{Error, Kind, Result},
    gate::{
        Identified, Permit, Shown, Standing,
        callers::{Caller, Known},
        rules,
    },
    graphql::failure::reported,
    presence::{ChangeKind, Member, Stay},
    time,
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
        request_id: arrived.request_id.into(),
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
    request_id: Arc<str>,
}

/// Why a connection ends.
enum End {
    Close(Close),
    /// The same, with a last word, which carries the nonce of the frame that it is about.
    Tell(Error, Option<String>, Close),
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
                Kind::Banned => End::Tell(error, None, Close::FORBIDDEN),
                _ => End::Close(Close::UNAUTHORIZED),
            },
        }
    }
}

type Ended<T = ()> = std::result::Result<T, End>;

/// Refuses who is not let in.
fn turned_away(error: Error, nonce: Option<String>) -> End {
    let close = match error.kind() {
        Kind::Banned | Kind::Forbidden => Close::FORBIDDEN,
        Kind::Unavailable | Kind::Internal => Close::UNAVAILABLE,
        _ => Close::UNAUTHORIZED,
    };
    End::Tell(error, nonce, close)
}

async fn serve(app: Arc<App>, mut wire: Wire<WebSocket>, visitor: Visitor) {
    let request_id = visitor.request_id.clone();
    let end = match Box::pin(enter(app, &mut wire, visitor)).await {
        Ok(mut connection) => match connection.run(&mut wire).await {
            Ok(never) => match never {},
            Err(end) => end,
        },
        Err(end) => end,
    };
    match end {
        End::Close(close) => Box::pin(wire.close(close)).await,
        End::Tell(error, nonce, close) => {
            Box::pin(async {
                let frame = frames::error(&reported(error, &[], &request_id), nonce.as_deref());
                // Who is gone, or does not read, is not told.
                let _ = timeout(ASK_AGAIN, wire.write([frame])).await;
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
    let (caller, after, nonce) = match visitor.caller {
        Ok(Caller::Member(known)) => (known, visitor.after, None),
        Ok(Caller::Anonymous(_)) => {
            let (auth, nonce) = match app.draining.run_until_cancelled(ask(wire, &mut rate)).await {
                Some(auth) => auth?,
                None => return Err(End::Close(Close::SHUTTING_DOWN)),
            };
            match identify(&app, visitor.address, &auth.token).await {
                Ok(known) => (known, auth.after.or(visitor.after), nonce),
                Err(error) => return Err(turned_away(error, nonce)),
            }
        }
        Err(banned) => return Err(turned_away(banned, None)),
    };
    let standing = match app.gate.follow(&caller).await {
        Ok(standing) => standing,
        Err(error) => return Err(turned_away(error, nonce)),
    };
    if let Err(error) = may_read(&standing) {
        return Err(turned_away(error, nonce));
    }
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
    let entered = match connection.join(LOBBY, after.as_deref()).await {
        // What it was to resume after is not there: it is in, live.
        Err(error) if after.is_some() && error.kind() == Kind::NotFound => {
            connection.refuse(error, nonce.as_deref());
            connection.join(LOBBY, None).await
        }
        entered => entered,
    };
    match entered {
        Ok(()) => Ok(Box::new(connection)),
        // Nobody is left with a socket that looks open and tells nothing.
        Err(error) => Err(turned_away(error, nonce)),
    }
}

/// Waits for the client to say who it is.
async fn ask(wire: &mut Wire<WebSocket>, rate: &mut Rate) -> Ended<(Auth, Option<String>)> {
    let until = Instant::now() + AUTH_WITHIN;
    let asked = async {
        loop {
            let Read { frame, nonce } = take(wire.receive().await)?;
            let error = match frame {
                _ if !rate.allows() => too_many_frames(),
                Ok(Frame::Auth(auth)) => return Ok((auth, nonce)),
                Ok(_) => Error::new(Kind::Unauthenticated, "send an auth frame first"),
                Err(error) => error,
            };
            wire.write([frames::error(&error, nonce.as_deref())]).await?;
        }
    };
    let too_late = || End::Close(Close::INIT_TIMEOUT);
    timeout_at(until, asked).await.map_err(|_| too_late())?
}

fn take(incoming: Incoming) -> Ended<Read> {
    match incoming {
        Incoming::Text(text) if text.len() <= LONGEST_FRAME => Ok(frames::read(&text)),
        Incoming::Binary(length) if length <= LONGEST_FRAME => Ok(Read {
            frame: Err(Error::bad_request("", "frames are text")),
            nonce: None,
        }),
        Incoming::Text(_) | Incoming::Binary(_) | Incoming::TooLarge => Err(End::Close(Close::TOO_LARGE)),
        Incoming::Broken => Err(End::Close(Close::PROTOCOL_ERROR)),
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
    may(standing, "Subscription", "roomChanged")
}

fn may(standing: &Standing, root: &str, field: &str) -> Result<()> {
    let rule = rules::field(root, field).ok_or_else(|| Error::internal(format!("{field} has no rule")))?;
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
    request_id: Arc<str>,
    rate: Rate,
    rooms: Vec<Joined>,
    /// Messages that are not answered yet, in the order in which they came, which is that of their answers too.
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
    /// What comes of it on its way to the disk, or why it is not on that way.
    answer: Result<Answer>,
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
                may_read(self.ends.standing()).map_err(|error| turned_away(error, None))?;
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
            sent = sent_first(&mut self.sending) => sent,
        };
        self.answer(sent);
        // Whatever was written together is answered together.
        while let Some(sent) = sent_first(&mut self.sending).now_or_never() {
            self.answer(sent);
        }
        Ok(Event::Sent)
    }

    /// Answers the first message that is not.
    fn answer(&mut self, sent: Result<View>) {
        let nonce = self.sending.pop_front().and_then(|sending| sending.nonce);
        match (sent, nonce) {
            (Ok(message), Some(nonce)) => self.replies.push(frames::acknowledged(&nonce, &message)),
            (Ok(_), None) => {}
            (Err(error), nonce) => self.refuse(error, nonce.as_deref()),
        }
    }

    fn refuse(&mut self, error: Error, nonce: Option<&str>) {
        let error = reported(error, &[], &self.request_id);
        self.replies.push(frames::error(&error, nonce));
    }

    async fn receive(&mut self, incoming: Incoming) -> Ended {
        let Read { frame, nonce } = take(incoming)?;
        let is_allowed = self.rate.allows();
        let done = match frame {
            Ok(Frame::Message(message)) => {
                let answer = match is_allowed {
                    true => self.send(message, nonce.as_deref()).await,
                    false => Err(too_many_frames()),
                };
                self.sending.push_back(Sending { answer, nonce });
                return Ok(());
            }
            _ if !is_allowed => Err(too_many_frames()),
            Err(error) => Err(error),
            Ok(Frame::Auth(auth)) => self.authenticate(auth, nonce.as_deref()).await?,
            Ok(Frame::Join { room, after }) => self.join(&room, after.as_deref()).await,
            Ok(Frame::Leave { room }) => {
                self.rooms.retain(|joined| joined.follower.room().name != room);
                Ok(())
            }
            Ok(Frame::Typing { room }) => self.typing(&room),
            Ok(Frame::Ping) => {
                self.replies.push(frames::pong());
                Ok(())
            }
        };
        if let Err(error) = done {
            self.refuse(error, nonce.as_deref());
        }
        Ok(())
    }

    /// The same member is answered again.
    async fn authenticate(&mut self, auth: Auth, nonce: Option<&str>) -> Ended<Result<()>> {
        let here = self.ends.standing().known();
        let known = identify(&self.app, self.address, &auth.token).await;
        let known = known.and_then(|known| match known.member == here.member {
            true => Ok(known),
            false => Err(Error::new(Kind::InvalidCredentials, "this socket is another member's")),
        });
        if let Err(error) = known {
            return Err(turned_away(error, nonce.map(str::to_owned)));
        }
        self.replies.push(frames::authenticated(here));
        Ok(match auth.after {
            Some(after) => self.join(LOBBY, Some(&after)).await,
            None => Ok(()),
        })
    }

    /// Hands a message over to be written. Its answer comes when it is on disk.
    async fn send(&mut self, message: Message, nonce: Option<&str>) -> Result<Answer> {
        let caller = self.ends.standing().caller();
        let nonce = nonce.map(chat::read_nonce).transpose()?;
        let admission = self.app.gate.charge(&caller, 1, None).await.admission?;
        let room = message.room.as_deref().unwrap_or(LOBBY);
        let permit = chat::send_permit(&admission, nonce.as_deref(), room, &message.content)?;
        let room = self.app.chat.room(&permit, room).await?;
        self.app.chat.hand_over(&permit, &room, &message.content)
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

    /// Tells the room that the caller types, if they may send. Who is muted types unseen, and is not told at each key.
    fn typing(&mut self, name: &str) -> Result<()> {
        let standing = self.ends.standing();
        may(standing, "Mutation", "sendMessage")?;
        let mut rooms = self.rooms.iter().map(|joined| joined.follower.room());
        let room = rooms
            .find(|room| room.name == name)
            .ok_or_else(|| Error::not_found("room that you are in"))?;
        let known = standing.known();
        if !known.is_muted(time::now()) {
            self.app.chat.presence().typing(room.id, &member(known));
        }
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
async fn sent_first(sending: &mut VecDeque<Sending>) -> Result<View> {
    match sending.front_mut().map(|first| &mut first.answer) {
        Some(Ok(answer)) => answer.wait().await,
        Some(Err(error)) => Err(error.clone()),
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
