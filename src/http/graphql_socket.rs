//! `/graphql` as a WebSocket: graphql-transport-ws, one task for each connection.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_graphql::{
    Positioned,
    parser::types::{OperationType, Selection},
};
use axum::{
    extract::{
        FromRequestParts, Request,
        ws::{WebSocket, WebSocketUpgrade},
    },
    http::{Method, header},
    response::Response,
};
use futures_util::future::pending;
use serde_json::{Map, Value};
use tokio::{
    sync::Notify,
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Arrived, change_cookie,
    ends::{self, Ends},
    graphql::{Plan, plan_one, refuse_whole, run},
    wire::{self, Gone, Incoming, Wire},
};
use crate::{
    accounts::Origin,
    boot::App,
    close::Close,
    error::{Error, Kind, Result},
    gate::{Admission, Identified, Shown, Standing, callers::Caller, rules},
    graphql::{
        context::Request as Context,
        document::Bound,
        failure::{Failure, reported},
        http::{Answer, Format, GraphqlRequest},
        live::{Dialect, Live, Sources, Taken},
        transport_ws::{Message, Messages, PROTOCOL, next_prefix},
    },
    presence::{Member, Stay},
};

/// How long a client may take to say who it is. Source: the protocol, "Chat socket", as for the other socket.
const INIT_WITHIN: Duration = Duration::from_secs(10);
/// How many operations may run on a socket.
const MOST_OPERATIONS: usize = 64;
/// How many bytes are written at once before the client is listened to again.
const BATCH: usize = 64 * 1024;
/// How long to wait for a database that does not answer before it is asked again.
pub const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Whether a request wants to become a WebSocket.
pub fn is_upgrade(request: &Request) -> bool {
    let upgrades = request.headers().get_all(header::UPGRADE).into_iter();
    *request.method() == Method::GET
        && upgrades
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

/// Opens a socket for whoever the handshake says is calling; they may still say otherwise.
pub async fn handle(app: Arc<App>, request: Request) -> Response {
    let (mut arrived, _) = Arrived::new(&app, request);
    let identified = match arrived.identify_at_socket(&app).await {
        Ok(identified) => Some(identified),
        // Browsers do not show the status of a handshake: who is banned is told by the code that the socket closes with.
        Err(error) if error.kind() == Kind::Banned => None,
        Err(error) => return refuse(&app, &arrived, error).await,
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut arrived.parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let error = Error::bad_request("", rejection.body_text());
            return refuse(&app, &arrived, error).await;
        }
    };
    let mut upgrade = wire::bounded(upgrade).protocols([PROTOCOL]);
    let spoken = upgrade.selected_protocol().is_some();
    if !spoken {
        // A client that is answered without a protocol of its own would not look at why it is closed.
        let offered = upgrade
            .requested_protocols()
            .find(|offered| !offered.is_empty())
            .cloned();
        if let Some(offered) = offered {
            upgrade.set_selected_protocol(offered);
        }
    }
    let (caller, renew) = match identified {
        Some(Identified { caller, renew }) => (Some(caller), renew),
        None => (None, None),
    };
    let visitor = Visitor {
        caller,
        origin: arrived.origin(),
        request_id: arrived.request_id,
    };
    let mut response = upgrade.on_upgrade({
        let app = app.clone();
        async move |socket| {
            let _running = app.running.token();
            let wire = Wire::new(socket);
            match spoken {
                true => serve(app.clone(), wire, visitor).await,
                false => wire.close(Close::SUBPROTOCOL).await,
            }
        }
    });
    change_cookie(&mut response, &app, None, renew);
    response
}

async fn refuse(app: &App, arrived: &Arrived, error: Error) -> Response {
    let payer = Caller::Anonymous(arrived.address);
    refuse_whole(app, Format::Json, &payer, error, &arrived.request_id).await
}

/// Who comes with the handshake.
struct Visitor {
    /// None is banned.
    caller: Option<Caller>,
    origin: Origin,
    /// Finds the log lines of the socket's operations.
    request_id: String,
}

/// Why a connection ends.
enum End {
    Close(Close),
    /// There is nobody to tell.
    Gone,
}

impl From<ends::End> for End {
    fn from(end: ends::End) -> Self {
        End::Close(match end {
            ends::End::Draining => Close::SHUTTING_DOWN,
            ends::End::Caller(error) => refusal(&error),
        })
    }
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        End::Gone
    }
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        End::Close(close)
    }
}

type Ended<T = ()> = std::result::Result<T, End>;

async fn serve(app: Arc<App>, mut wire: Wire<WebSocket>, visitor: Visitor) {
    let end = match Box::pin(greet(&app, &mut wire, &visitor)).await {
        Ok(standing) => {
            let mut connection = Connection {
                ends: Ends::new(standing, &app.draining),
                app,
                origin: visitor.origin,
                request_id: visitor.request_id,
                operations: Vec::new(),
                tasks: JoinSet::new(),
                wake: Arc::default(),
                look: Look::Rest,
                replies: Messages::default(),
            };
            match connection.run(&mut wire).await {
                Ok(never) => match never {},
                Err(end) => end,
            }
        }
        Err(end) => end,
    };
    match end {
        End::Close(close) => Box::pin(wire.close(close)).await,
        End::Gone => Box::pin(wire.finish()).await,
    }
}

/// Waits until the client has said who it is, and acknowledges that.
async fn greet(app: &App, wire: &mut Wire<WebSocket>, visitor: &Visitor) -> Ended<Standing> {
    let until = Instant::now() + INIT_WITHIN;
    let greeting = async {
        loop {
            match read(
                timeout_at(until, wire.receive())
                    .await
                    .map_err(|_| Close::INIT_TIMEOUT)?,
            )? {
                Message::Init(payload) => return Ok(payload),
                Message::Ping(payload) => {
                    let mut pong = Messages::default();
                    pong.pong(payload.as_ref());
                    timeout_at(until, wire.write(pong))
                        .await
                        .map_err(|_| Close::INIT_TIMEOUT)??;
                }
                Message::Pong | Message::Complete { .. } => {}
                Message::Subscribe { .. } => return Err(End::Close(Close::UNAUTHORIZED)),
            }
        }
    };
    let payload = unless(&app.draining, greeting).await??;
    let standing = unless(&app.draining, stand(app, visitor, &payload)).await??;
    let mut acknowledgement = Messages::default();
    acknowledgement.acknowledge();
    unless(&app.draining, wire.write(acknowledgement)).await??;
    Ok(standing)
}

/// What comes of `work`, unless the server ends first.
async fn unless<T>(draining: &CancellationToken, work: impl Future<Output = T>) -> std::result::Result<T, Close> {
    let shut_down = Close::SHUTTING_DOWN;
    draining.run_until_cancelled(work).await.ok_or(shut_down)
}

/// Who is calling: by the token, else by the handshake.
async fn stand(app: &App, visitor: &Visitor, payload: &Map<String, Value>) -> std::result::Result<Standing, Close> {
    let caller = match payload.get("token") {
        None | Some(Value::Null) => visitor.caller.clone(),
        Some(token) => {
            let address = visitor.origin.address;
            match identify(app, address, token.as_str()).await {
                Ok(caller) => Some(caller),
                Err(error) => {
                    if error.kind() == Kind::InvalidCredentials {
                        app.gate.charge(&Caller::Anonymous(address), 1, None).await;
                    }
                    return Err(refusal(&error));
                }
            }
        }
    };
    match caller {
        Some(Caller::Member(known)) => app.gate.follow(&known).await.map_err(|error| refusal(&error)),
        Some(Caller::Anonymous(_)) | None => Err(Close::FORBIDDEN),
    }
}

async fn identify(app: &App, address: IpAddr, token: Option<&str>) -> Result<Caller> {
    let authorization = token.map(|token| format!("Bearer {token}")).unwrap_or_default();
    let shown = Shown {
        authorization: Some(&authorization),
        cookie: None,
        address,
    };
    Ok(app.gate.identify_at_socket(shown).await?.caller)
}

/// What a caller who is refused is closed with.
fn refusal(error: &Error) -> Close {
    match error.kind() {
        Kind::Unavailable | Kind::Internal => {
            tracing::warn!(?error, "a socket's caller cannot be looked up");
            Close::UNAVAILABLE
        }
        _ => Close::FORBIDDEN,
    }
}

fn read(incoming: Incoming) -> Ended<Message> {
    match incoming {
        Incoming::Text(text) => Ok(Message::read(&text)?),
        Incoming::Binary(_) => Err(Close::bad_message("messages are text").into()),
        Incoming::TooLarge | Incoming::Broken => {
            Err(Close::bad_message("the message is too large, or none at all").into())
        }
        Incoming::Gone => Err(End::Gone),
    }
}

/// A client that has been acknowledged.
struct Connection {
    app: Arc<App>,
    ends: Ends,
    origin: Origin,
    request_id: String,
    operations: Vec<Operation>,
    /// Queries and mutations that run, subscriptions that open.
    tasks: JoinSet<Done>,
    /// Rung by all subscriptions.
    wake: Arc<Notify>,
    look: Look,
    /// What is to be written before anything else.
    replies: Messages,
}

/// When to look what subscriptions have.
#[derive(Clone, Copy)]
pub enum Look {
    /// When one of them rings.
    Rest,
    /// At once: there may be more.
    Now,
    At(Instant),
}

impl Look {
    /// Waits until it is time. Cancel safe.
    pub async fn wait(self, wake: &Notify) {
        match self {
            Look::Rest => wake.notified().await,
            Look::Now => {}
            Look::At(time) => sleep_until(time).await,
        }
    }
}

struct Operation {
    /// None where the client no longer listens to a mutation, which runs on.
    id: Option<Box<str>>,
    state: State,
}

enum State {
    Running {
        task: AbortHandle,
        /// Whether it runs on when the client no longer listens.
        runs_on: bool,
    },
    Open(Box<Subscription>),
}

struct Subscription {
    /// What its messages begin with.
    prefix: Box<[u8]>,
    live: Live,
    _stay: Option<Stay>,
}

/// What came of a task.
enum Done {
    Answer(Answer),
    Open(Box<Live>, Option<Stay>),
}

/// What a connection waits for.
enum Event {
    Change,
    Incoming(Incoming),
    Done(std::result::Result<(Id, Done), JoinError>),
    Look,
}

impl Connection {
    /// Runs until it ends. One thing that came in is dealt with, then one batch of what goes out is written, in turns.
    async fn run(&mut self, wire: &mut Wire<WebSocket>) -> Ended<std::convert::Infallible> {
        loop {
            match self.next(wire).await? {
                Event::Change => {}
                Event::Incoming(incoming) => self.receive(read(incoming)?)?,
                Event::Done(done) => self.finish(done),
                Event::Look => self.look = Look::Now,
            }
            if self.ends.take_changed() {
                self.renew();
            }
            if !self.replies.is_empty() {
                let replies = std::mem::take(&mut self.replies);
                self.ends.unless(wire.write(replies)).await??;
            }
            if matches!(self.look, Look::Now) {
                // Boxed: who is idle does not pay for it.
                Box::pin(self.deliver(wire)).await?;
            }
        }
    }

    async fn next(&mut self, wire: &mut Wire<WebSocket>) -> Ended<Event> {
        let finished = async {
            match self.tasks.join_next_with_id().await {
                Some(done) => done,
                None => pending().await,
            }
        };
        // In no order, so that none of them waits for ever.
        tokio::select! {
            change = self.ends.change() => Ok(change.map(|()| Event::Change)?),
            incoming = wire.receive() => Ok(Event::Incoming(incoming)),
            done = finished => Ok(Event::Done(done)),
            () = self.look.wait(&self.wake) => Ok(Event::Look),
        }
    }

    fn receive(&mut self, message: Message) -> Ended {
        match message {
            Message::Init(_) => return Err(Close::TOO_MANY_INITS.into()),
            Message::Ping(payload) => self.replies.pong(payload.as_ref()),
            Message::Pong => {}
            Message::Complete { id } => self.stop(&id),
            Message::Subscribe { id, request } => self.subscribe(id, &request)?,
        }
        Ok(())
    }

    fn position(&self, id: &str) -> Option<usize> {
        let mut operations = self.operations.iter();
        operations.position(|operation| operation.id.as_deref() == Some(id))
    }

    fn subscribe(&mut self, id: String, request: &GraphqlRequest) -> Ended {
        if self.position(&id).is_some() {
            return Err(Close::duplicate(&id).into());
        }
        if self.operations.len() >= MOST_OPERATIONS {
            let message = format!("at most {MOST_OPERATIONS} operations run on a socket");
            self.replies.error(&id, &[Error::new(Kind::Conflict, message).into()]);
            return Ok(());
        }
        let caller = self.ends.standing().caller();
        let plan = plan_one(&self.app, request, &caller, &self.request_id);
        let runs_on = match &plan {
            Plan::Run(bound) => runs_on(bound),
            Plan::Refused(_) => false,
        };
        let task = Task {
            app: self.app.clone(),
            origin: self.origin.clone(),
            request_id: self.request_id.clone(),
            wake: self.wake.clone(),
        };
        let task = self.tasks.spawn(task.run(plan, caller));
        self.operations.push(Operation {
            id: Some(id.into()),
            state: State::Running { task, runs_on },
        });
        Ok(())
    }

    /// The client no longer wants to hear of an operation, if there is one.
    fn stop(&mut self, id: &str) {
        let Some(index) = self.position(id) else {
            return;
        };
        match &self.operations[index].state {
            State::Running { runs_on: true, .. } => self.operations[index].id = None,
            State::Running { task, .. } => {
                task.abort();
                self.operations.swap_remove(index);
            }
            State::Open(_) => {
                self.operations.swap_remove(index);
            }
        }
    }

    fn finish(&mut self, done: std::result::Result<(Id, Done), JoinError>) {
        let task = match &done {
            Ok((task, _)) => *task,
            Err(failed) => failed.id(),
        };
        let is_it = |operation: &Operation| match &operation.state {
            State::Running { task: running, .. } => running.id() == task,
            State::Open(_) => false,
        };
        let Some(index) = self.operations.iter().position(is_it) else {
            return;
        };
        let Some(id) = self.operations[index].id.clone() else {
            self.operations.swap_remove(index);
            return;
        };
        let done = done.map_or_else(
            |_| {
                let error = Error::internal("an operation panicked");
                Done::Answer(Answer::refused(reported(error, &[], &self.request_id)))
            },
            |(_, done)| done,
        );
        match done {
            Done::Open(live, stay) => {
                self.operations[index].state = State::Open(Box::new(Subscription {
                    prefix: next_prefix(&id),
                    live: *live,
                    _stay: stay,
                }));
                // It may have rung before it was here, and the caller may have changed.
                self.look = Look::Now;
                self.renew();
            }
            Done::Answer(answer) => {
                self.operations.swap_remove(index);
                match answer {
                    Answer::Refused(failures) => self.replies.error(&id, &failures),
                    Answer::Ran(_) => {
                        self.replies.next(&next_prefix(&id), |out| answer.write(out));
                        self.replies.complete(&id);
                    }
                }
            }
        }
    }

    /// Goes on for the caller as they are now.
    fn renew(&mut self) {
        let (standing, replies, request_id) = (self.ends.standing(), &mut self.replies, &self.request_id);
        self.operations.retain_mut(|operation| {
            let State::Open(subscription) = &mut operation.state else {
                return true;
            };
            let Err(error) = subscription.live.renew(standing) else {
                return true;
            };
            if let Some(id) = &operation.id {
                replies.error(id, &[reported(error, &[], request_id).into()]);
            }
            false
        });
    }

    /// Writes a batch of what each subscription has, with one flush where it is not much.
    async fn deliver(&mut self, wire: &mut Wire<WebSocket>) -> Ended {
        self.look = Look::Rest;
        let mut messages = Messages::default();
        let mut over = Vec::new();
        for (index, operation) in self.operations.iter_mut().enumerate() {
            let (State::Open(subscription), Some(id)) = (&mut operation.state, &operation.id) else {
                continue;
            };
            match self.ends.unless(subscription.live.take()).await? {
                Ok(Taken { deliveries, end }) => {
                    if !deliveries.is_empty() {
                        // A subscription that waits for the database is asked when this one is empty.
                        self.look = Look::Now;
                    }
                    for delivery in deliveries {
                        messages.next(&subscription.prefix, |out| out.extend_from_slice(&delivery.frame));
                    }
                    if let Some(end) = end {
                        match end {
                            Ok(()) => messages.complete(id),
                            Err(error) => messages.error(id, &[reported(error, &[], &self.request_id).into()]),
                        }
                        over.push(index);
                    }
                }
                Err(error) => {
                    tracing::warn!(?error, "a subscription cannot be read on");
                    if matches!(self.look, Look::Rest) {
                        self.look = Look::At(Instant::now() + ASK_AGAIN);
                    }
                }
            }
            if messages.size() > BATCH {
                let messages = std::mem::take(&mut messages);
                self.ends.unless(wire.write(messages)).await??;
            }
        }
        for index in over.into_iter().rev() {
            self.operations.swap_remove(index);
        }
        if !messages.is_empty() {
            self.ends.unless(wire.write(messages)).await??;
        }
        Ok(())
    }
}

/// Whether an operation goes on for a client that no longer listens: it may be in the middle of a change.
fn runs_on(bound: &Bound) -> bool {
    let ends_with_caller = |item: &Positioned<Selection>| match &item.node {
        Selection::Field(field) => rules::ENDS_WITH_CALLER.contains(&field.node.name.node.as_str()),
        _ => false,
    };
    bound.operation().kind() == OperationType::Mutation && !bound.selection().items.iter().all(ends_with_caller)
}

/// What an operation takes to run beside the connection.
struct Task {
    app: Arc<App>,
    origin: Origin,
    request_id: String,
    wake: Arc<Notify>,
}

impl Task {
    async fn run(self, plan: Plan, caller: Caller) -> Done {
        let charged = self.app.gate.charge(&caller, plan.cost(), None).await;
        let admission = match charged.admission {
            Ok(admission) => admission,
            Err(error) => return Done::Answer(Answer::refused(error)),
        };
        match plan {
            Plan::Refused(failures) => Done::Answer(Answer::Refused(failures)),
            Plan::Run(bound) if bound.is_subscription() => {
                match open(&self.app, bound, admission, Dialect::graphql(), None, &self.wake).await {
                    Ok((live, stay)) => Done::Open(Box::new(live), stay),
                    Err(error) => {
                        let failure = Failure::from(reported(error, &[], &self.request_id));
                        Done::Answer(Answer::Refused(vec![failure]))
                    }
                }
            }
            Plan::Run(bound) => {
                let context = Arc::new(Context::new(self.origin));
                Done::Answer(run(&self.app, bound, admission, context, &self.request_id).await)
            }
        }
    }
}

/// Opens an admitted subscription: its caller is in the room for as long as they hold the stay.
///
/// # Errors
///
/// As [`Live::open`].
pub async fn open(
    app: &App,
    bound: Bound,
    admission: Admission,
    dialect: Dialect,
    resume: Option<&str>,
    wake: &Arc<Notify>,
) -> Result<(Live, Option<Stay>)> {
    let member = admission.caller().member().map(|known| Member {
        id: known.member,
        username: known.username.as_str().into(),
    });
    let sources = Sources {
        engine: &app.engine,
        types: &app.types,
        chat: &app.chat,
        ai: &app.ai,
    };
    let live = Live::open(sources, bound, admission, dialect, resume, wake).await?;
    let stay = member
        .zip(live.room())
        .map(|(member, room)| app.chat.presence().enter(room, member));
    Ok((live, stay))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        let served = serve_size();
        assert!(served <= 2_560, "{served} bytes");
    }

    fn serve_size() -> usize {
        fn size_of_output<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        size_of_output(serve)
    }
}
