//! Subscriptions, queries and mutations over a WebSocket (graphql-transport-ws).

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt, future::join_all};
use reqwest::StatusCode;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use crate::{
    chat::SEND,
    harness::{Caller, Place, Server, clustered, eventually},
};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
const ADDED: &str = "subscription ($after: ID) { messageAdded(after: $after) { id number content } }";

/// A client's end of a socket.
pub struct Socket {
    pub stream: WebSocketStream<TcpStream>,
    local: SocketAddr,
}

/// A handshake with headers; the status where it is refused.
async fn shake(server: &Server, headers: &[(&'static str, &str)]) -> Result<Socket, StatusCode> {
    let mut request = format!("ws://{}/graphql", server.address)
        .into_client_request()
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(server.address).await.unwrap();
    let local = stream.local_addr().unwrap();
    match client_async(request, stream).await {
        Ok((stream, _)) => Ok(Socket { stream, local }),
        Err(Error::Http(response)) => Err(StatusCode::from_u16(response.status().as_u16()).unwrap()),
        Err(error) => panic!("{error}"),
    }
}

const PROTOCOL: (&str, &str) = ("Sec-WebSocket-Protocol", "graphql-transport-ws");

impl Socket {
    /// Nobody yet.
    async fn open(server: &Server) -> Self {
        shake(server, &[PROTOCOL]).await.unwrap()
    }

    /// Acknowledged, as whoever the token is for.
    pub async fn of(caller: &Caller<'_>) -> Self {
        let mut socket = Self::open(caller.server).await;
        socket.init(json!({ "token": caller.token() })).await;
        assert_eq!(socket.next().await, json!({ "type": "connection_ack" }));
        socket
    }

    async fn init(&mut self, payload: Value) {
        self.send(json!({ "type": "connection_init", "payload": payload }))
            .await;
    }

    pub async fn send(&mut self, message: Value) {
        self.stream.send(Message::text(message.to_string())).await.unwrap();
    }

    pub async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({ "query": query, "variables": variables });
        self.send(json!({ "type": "subscribe", "id": id, "payload": payload }))
            .await;
    }

    /// What the server says next.
    pub async fn next(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.stream.next())
                .await
                .expect("the server says something");
            match message.expect("the socket is open").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// What comes next for an operation.
    pub async fn next_of(&mut self, id: &str, kind: &str) -> Value {
        let mut message = self.next().await;
        assert_eq!(
            (&message["id"], &message["type"]),
            (&json!(id), &json!(kind)),
            "{message}"
        );
        message["payload"].take()
    }

    /// Waits until everything that was sent so far has been dealt with.
    pub async fn settle(&mut self) {
        self.send(json!({ "type": "ping" })).await;
        assert_eq!(self.next().await, json!({ "type": "pong" }));
    }

    /// The answer to a query, which also shows that nothing else came.
    async fn ask(&mut self, id: &str, query: &str) -> Value {
        self.subscribe(id, query, Value::Null).await;
        let payload = self.next_of(id, "next").await;
        self.next_of(id, "complete").await;
        payload
    }

    /// Why the server closes.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            let message = timeout(PATIENCE, self.stream.next()).await.expect("the server closes");
            if let Message::Close(frame) = message.expect("a close frame comes first").unwrap() {
                let frame = frame.expect("it says why");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }

    async fn assert_closed(&mut self, code: u16, reason: &str) {
        assert_eq!(self.closed().await, (code, reason.to_owned()));
    }
}

async fn say(caller: &Caller<'_>, content: &str) -> Value {
    let input = json!({ "input": { "content": content } });
    caller.data(SEND, input).await["sendMessage"]["message"].take()
}

#[tokio::test]
async fn queries_mutations_and_subscriptions_run() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut socket = Socket::open(&server).await;
    socket.send(json!({ "type": "ping", "payload": { "early": 1 } })).await;
    assert_eq!(
        socket.next().await,
        json!({ "type": "pong", "payload": { "early": 1 } })
    );
    socket.send(json!({ "type": "pong" })).await;
    socket.send(json!({ "type": "complete", "id": "unknown" })).await;
    socket.init(json!({ "token": alice.token() })).await;
    assert_eq!(socket.next().await, json!({ "type": "connection_ack" }));

    let viewer = "{ viewer { user { username } } }";
    let named = json!({ "data": { "viewer": { "user": { "username": "alice" } } } });
    assert_eq!(socket.ask("1", viewer).await, named);
    assert_eq!(socket.ask("1", viewer).await, named, "an id that is through is free");

    let first = say(&alice, "first").await["id"].take();
    socket.subscribe("s", ADDED, json!({ "after": first })).await;
    for number in 2..5 {
        let sent = say(&alice, "hello").await;
        let shown = &socket.next_of("s", "next").await["data"]["messageAdded"];
        assert_eq!(
            shown,
            &json!({ "id": sent["id"], "number": number, "content": "hello" })
        );
    }

    // A mutation's answer and its event come over the same socket, in whichever order.
    socket
        .subscribe("m", SEND, json!({ "input": { "content": "over the socket" } }))
        .await;
    let mut messages = [socket.next().await, socket.next().await, socket.next().await];
    messages.sort_by_key(|message| message["id"] == "s");
    let [answer, complete, event] = messages;
    let message = &answer["payload"]["data"]["sendMessage"]["message"];
    assert_eq!((&message["number"], &answer["type"]), (&json!(5), &json!("next")));
    assert_eq!(complete, json!({ "id": "m", "type": "complete" }));
    assert_eq!(event["payload"]["data"]["messageAdded"]["id"], message["id"]);

    socket.send(json!({ "type": "complete", "id": "s" })).await;
    socket.settle().await;
    say(&alice, "unheard").await;
    assert_eq!(socket.ask("s", viewer).await, named);

    // What is refused before it runs is an error, what fails while it runs is a response.
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { messageAdded(room: \"nowhere\") { id } }", "NOT_FOUND"),
        ("subscription { messageAdded(after: \"nothing\") { id } }", "NOT_FOUND"),
        (
            "subscription { messageAdded(after: \"evt_01h455vb4pex5vsknk084sn02q\") { id } }",
            "NOT_FOUND",
        ),
    ] {
        socket.subscribe("e", query, Value::Null).await;
        let payload = socket.next_of("e", "error").await;
        assert_eq!(payload[0]["extensions"]["code"], code, "{payload}");
        assert!(payload[0]["extensions"]["status"].is_number());
    }
    let failed = socket.ask("f", "{ room(name: \"nowhere\") { id } }").await;
    assert_eq!(failed["errors"][0]["extensions"]["code"], "NOT_FOUND", "{failed}");
    socket.stream.close(None).await.unwrap();
    assert!(matches!(
        timeout(PATIENCE, socket.stream.next()).await.unwrap(),
        Some(Ok(Message::Close(_))) | None
    ));
}

#[tokio::test]
async fn what_is_no_message_closes_with_4400() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    for (text, reason) in [
        ("", "the message is not JSON"),
        ("{", "the message is not JSON"),
        ("[]", "the message is not an object"),
        ("{\"type\":\"start\"}", "no message of this type is for the server"),
        (
            "{\"type\":\"subscribe\",\"payload\":{\"query\":\"{a}\"}}",
            "id is missing",
        ),
        (
            "{\"type\":\"subscribe\",\"id\":\"1\",\"payload\":{}}",
            "query is missing",
        ),
        ("{\"type\":\"ping\",\"payload\":7}", "payload must be an object"),
    ] {
        // Whether it has been acknowledged or not.
        for mut socket in [Socket::of(&alice).await, Socket::open(&server).await] {
            socket.stream.send(Message::text(text)).await.unwrap();
            socket.assert_closed(4400, reason).await;
        }
    }
    let mut socket = Socket::of(&alice).await;
    socket
        .stream
        .send(Message::binary(b"{\"type\":\"ping\"}".to_vec()))
        .await
        .unwrap();
    socket.assert_closed(4400, "messages are text").await;

    let reason = "the message is too large, or none at all";
    let mut socket = Socket::of(&alice).await;
    let large = json!({ "type": "ping", "payload": { "x": "x".repeat(300 * 1024) } });
    socket.send(large).await;
    socket.assert_closed(4400, reason).await;

    // A message in parts is one message: it is read, and it is too large as one.
    let part = |text: String, code, last| Message::Frame(Frame::message(text, OpCode::Data(code), last));
    let mut socket = Socket::of(&alice).await;
    for (text, code, last) in [
        ("{\"type\":", Data::Text, false),
        ("\"pi", Data::Continue, false),
        ("ng\"}", Data::Continue, true),
    ] {
        socket.stream.send(part(text.into(), code, last)).await.unwrap();
    }
    assert_eq!(socket.next().await, json!({ "type": "pong" }));
    let large = "x".repeat(100 * 1024);
    socket
        .stream
        .send(part(large.clone(), Data::Text, false))
        .await
        .unwrap();
    for _ in 0..2 {
        socket
            .stream
            .send(part(large.clone(), Data::Continue, false))
            .await
            .unwrap();
    }
    socket.assert_closed(4400, reason).await;

    let mut socket = Socket::of(&alice).await;
    let nonsense = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    socket.stream.send(Message::Frame(nonsense)).await.unwrap();
    socket.assert_closed(4400, reason).await;
}

#[tokio::test]
async fn a_socket_says_who_it_is_once_and_in_time() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut silent = Socket::open(&server).await;

    let mut early = Socket::open(&server).await;
    early.subscribe("1", "{ __typename }", Value::Null).await;
    early.assert_closed(4401, "Unauthorized").await;

    for payload in [
        Value::Null,
        json!({}),
        json!({ "token": null }),
        json!({ "token": "wrong" }),
        json!({ "token": "" }),
        json!({ "token": 7 }),
        json!({ "token": "bst_wrong" }),
    ] {
        let mut socket = Socket::open(&server).await;
        socket.init(payload).await;
        socket.assert_closed(4403, "Forbidden").await;
    }

    let mut twice = Socket::of(&alice).await;
    twice.init(json!({ "token": alice.token() })).await;
    twice.assert_closed(4429, "Too many initialisation requests").await;

    let mut same = Socket::of(&alice).await;
    for _ in 0..2 {
        same.subscribe("a", ADDED, Value::Null).await;
    }
    same.assert_closed(4409, "Subscriber for a already exists").await;

    for protocols in [&[][..], &[("Sec-WebSocket-Protocol", "graphql-ws, soap")]] {
        let mut socket = shake(&server, protocols).await.unwrap();
        socket.assert_closed(4406, "Subprotocol not acceptable").await;
    }
    let several = [("Sec-WebSocket-Protocol", "graphql-ws, graphql-transport-ws")];
    assert!(shake(&server, &several).await.is_ok());

    // It was opened first, and does nothing but answer.
    silent.assert_closed(4408, "Connection initialisation timeout").await;
}

#[tokio::test]
async fn the_handshake_may_say_who_is_calling() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    let bearer = format!("Bearer {}", alice.token());
    let cookie = format!("bambisleep_session={}", alice.token());
    let own = format!("http://{}", server.address);
    let viewer = "{ viewer { user { username } } }";
    let named = |name: &str| json!({ "data": { "viewer": { "user": { "username": name } } } });
    for headers in [
        vec![("Authorization", bearer.as_str())],
        vec![("Authorization", bearer.as_str()), ("Origin", "https://evil.example")],
        vec![("Cookie", cookie.as_str())],
        vec![("Cookie", cookie.as_str()), ("Origin", own.as_str())],
    ] {
        let headers = [vec![PROTOCOL], headers].concat();
        let mut socket = shake(&server, &headers).await.unwrap();
        socket.init(Value::Null).await;
        assert_eq!(socket.next().await, json!({ "type": "connection_ack" }));
        assert_eq!(socket.ask("1", viewer).await, named("alice"));
        // A token beats the handshake.
        let mut socket = shake(&server, &headers).await.unwrap();
        socket.init(json!({ "token": bob.token() })).await;
        assert_eq!(socket.next().await, json!({ "type": "connection_ack" }));
        assert_eq!(socket.ask("1", viewer).await, named("bob"));
    }
    for (header, status) in [
        (("Authorization", "Bearer wrong"), 401),
        (("Authorization", "Basic YTpi"), 401),
        (("Origin", "https://evil.example"), 403),
        (("Sec-Fetch-Site", "cross-site"), 403),
    ] {
        let refused = shake(&server, &[PROTOCOL, ("Cookie", cookie.as_str()), header]).await;
        assert_eq!(refused.err().map(|status| status.as_u16()), Some(status), "{header:?}");
    }
    // A stale cookie is nobody.
    let mut socket = shake(&server, &[PROTOCOL, ("Cookie", "bambisleep_session=stale")])
        .await
        .unwrap();
    socket.init(Value::Null).await;
    socket.assert_closed(4403, "Forbidden").await;

    let ticket = "mutation { createSocketTicket { ticket } }";
    let ticket = alice.data(ticket, Value::Null).await["createSocketTicket"]["ticket"].take();
    let mut socket = Socket::open(&server).await;
    socket.init(json!({ "token": ticket })).await;
    assert_eq!(socket.next().await, json!({ "type": "connection_ack" }));
    assert_eq!(socket.ask("1", viewer).await, named("alice"));
    let mut again = Socket::open(&server).await;
    again.init(json!({ "token": ticket })).await;
    again.assert_closed(4403, "Forbidden").await;
    assert_eq!(socket.ask("1", viewer).await, named("alice"), "the first one stays");

    let key = alice.key(&["triggers:read"]).await;
    let mut socket = Socket::of(&server.bearer(&key)).await;
    socket.subscribe("s", ADDED, Value::Null).await;
    let payload = socket.next_of("s", "error").await;
    assert_eq!(payload[0]["extensions"]["code"], "FORBIDDEN", "{payload}");
}

#[tokio::test]
async fn every_message_comes_once_and_in_order_wherever_one_resumes() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let nodes = match clustered() {
        true => vec![Server::options().place(&server.place).start().await],
        false => Vec::new(),
    };
    let changed = "subscription ($after: ID) { roomChanged(after: $after) {
        ... on MessageAdded { id message { number } } ... on MemberJoined { user { username } }
    } }";
    let first = say(&alice, "1").await["id"].take();
    const LAST: i64 = 300;
    let sending = async {
        for number in 2..=LAST {
            assert_eq!(say(&alice, &number.to_string()).await["number"], number);
        }
    };
    let reading = nodes.iter().chain([&server]).flat_map(|node| {
        let (caller, first) = (node.bearer(alice.token()), &first);
        (0..3).map(move |reader: usize| {
            let (caller, mut after) = (caller.clone(), first.clone());
            async move {
                let mut next = 2;
                // Every connection is broken off after some messages.
                while next <= LAST {
                    let mut socket = Socket::of(&caller).await;
                    socket.subscribe("s", changed, json!({ "after": after })).await;
                    let mut left = 40 + reader * 30;
                    while left > 0 && next <= LAST {
                        let payload = socket.next_of("s", "next").await;
                        let event = &payload["data"]["roomChanged"];
                        if event["id"].is_string() {
                            assert_eq!(event["message"]["number"], next, "{payload}");
                            (next, after, left) = (next + 1, event["id"].clone(), left - 1);
                        }
                    }
                }
            }
        })
    });
    tokio::join!(sending, join_all(reading));
    // The id of a message does as well as that of an event.
    let mut socket = Socket::of(&alice).await;
    socket.subscribe("s", ADDED, json!({ "after": first })).await;
    for number in 2..=LAST {
        let payload = socket.next_of("s", "next").await;
        assert_eq!(payload["data"]["messageAdded"]["number"], number);
    }
    socket.settle().await;
}

#[tokio::test]
async fn everyone_sees_what_is_theirs_to_see() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    let carol = server.member("carol").await;
    let private = json!({ "isPublic": false, "displayName": "Al" });
    assert_eq!(alice.put("/v1/profile/alice", private).await.status, 200);
    // Carol has blocked Bob.
    let block = "INSERT INTO blocks (blocker_id, blocked_id, created_at)
        SELECT a.id, b.id, 0 FROM members a, members b WHERE a.username = 'carol' AND b.username = 'bob'";
    server.place.database().await.execute_unprepared(block).await.unwrap();
    let carol = server.bearer(&carol.key(&["chat:read", "profile:read"]).await);

    let first = say(&alice, "first").await["id"].take();
    let document = "subscription ($after: ID) {
        messageAdded(after: $after) { number author { username profile { displayName } } }
    }";
    let shared = "subscription ($after: ID) { messageAdded(after: $after) { number author { username } } }";
    let mut sockets = Vec::new();
    for caller in [&alice, &bob, &carol] {
        let mut socket = Socket::of(caller).await;
        socket.subscribe("own", document, json!({ "after": first })).await;
        socket.subscribe("all", shared, json!({ "after": first })).await;
        sockets.push(socket);
    }
    let senders = [&bob, &alice, &bob, &alice];
    for sender in senders {
        say(sender, "hi").await;
    }
    for ((socket, owner), hidden) in sockets.iter_mut().zip([true, false, false]).zip([false, false, true]) {
        let expected: Vec<(i64, &str)> = [(2, "bob"), (3, "alice"), (4, "bob"), (5, "alice")]
            .into_iter()
            .filter(|(_, author)| !(hidden && *author == "bob"))
            .collect();
        let (mut own, mut all) = (Vec::new(), Vec::new());
        while own.len() < expected.len() || all.len() < expected.len() {
            let mut message = socket.next().await;
            assert_eq!(message["type"], "next", "{message}");
            let payload = message["payload"].take();
            match message["id"].as_str() {
                Some("own") => own.push(payload),
                _ => all.push(payload),
            }
        }
        for ((own, all), (number, author)) in own.iter().zip(&all).zip(expected) {
            let seen = &all["data"]["messageAdded"];
            assert_eq!(seen, &json!({ "number": number, "author": { "username": author } }));
            let seen = &own["data"]["messageAdded"];
            assert_eq!(
                (&seen["number"], &seen["author"]["username"]),
                (&json!(number), &json!(author))
            );
            let profile = &seen["author"]["profile"];
            match author == "alice" && !owner {
                true => assert!(profile.is_null(), "{own}"),
                false => assert!(profile.is_object(), "{own}"),
            }
            if author == "alice" && owner {
                assert_eq!(profile["displayName"], "Al");
            }
        }
        socket.settle().await;
    }
}

#[tokio::test]
async fn who_is_logged_out_revoked_or_banned_is_closed() {
    let server = Server::start().await;
    let other = match clustered() {
        true => Some(Server::options().place(&server.place).start().await),
        false => None,
    };
    let nodes: Vec<&Server> = other.iter().chain([&server]).collect();
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    let key = alice.key(&["chat:read"]).await;
    let open = async |token: &str| {
        let mut sockets = Vec::new();
        for node in &nodes {
            let mut socket = Socket::of(&node.bearer(token)).await;
            socket.subscribe("s", ADDED, Value::Null).await;
            socket.settle().await;
            sockets.push(socket);
        }
        sockets
    };
    let all_closed = async |mut sockets: Vec<Socket>| {
        let start = std::time::Instant::now();
        join_all(sockets.iter_mut().map(|socket| socket.assert_closed(4403, "Forbidden"))).await;
        // A second, and some more for a machine that is busy.
        let took = start.elapsed();
        assert!(took < Duration::from_millis(2_500), "{took:?}");
    };

    let sockets = open(&key).await;
    let keys = alice.get("/v1/keys").await;
    let id = keys.body["keys"][0]["id"].as_str().unwrap();
    assert_eq!(alice.delete(&format!("/v1/keys/{id}")).await.status, 200);
    all_closed(sockets).await;

    let sockets = open(bob.token()).await;
    let ban = ["user", "ban", "bob", "--reason", "spam"];
    assert!(server.place.run(&ban, "").status.success());
    all_closed(sockets).await;
    let mut socket = Socket::open(&server).await;
    socket.init(json!({ "token": bob.token() })).await;
    socket.assert_closed(4403, "Forbidden").await;
    let bearer = format!("Bearer {}", bob.token());
    let mut socket = shake(&server, &[PROTOCOL, ("Authorization", &bearer)]).await.unwrap();
    socket.init(Value::Null).await;
    socket.assert_closed(4403, "Forbidden").await;

    let sockets = open(alice.token()).await;
    assert_eq!(alice.post("/v1/auth/logout", json!({})).await.status, 200);
    all_closed(sockets).await;
}

/// Whether the server still holds its end of a connection, by the kernel's list of them.
fn is_held(server: &Server, client: SocketAddr) -> bool {
    const ESTABLISHED: &str = "01";
    let hex = |address: SocketAddr| format!(":{:04X}", address.port());
    std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next(), words.next(), words.next());
        local.is_some_and(|local| local.ends_with(&hex(server.address)))
            && remote.is_some_and(|remote| remote.ends_with(&hex(client)))
            && state == Some(ESTABLISHED)
    })
}

#[tokio::test]
async fn a_client_that_does_not_read_ends_all_the_same_and_keeps_nobody_waiting() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let first = say(&alice, "first").await["id"].take();
    let mut stuck = Socket::of(&alice).await;
    stuck.subscribe("s", ADDED, json!({ "after": first })).await;
    // The same many times over: more than the network keeps for a client that does not read.
    let again = (0..50).map(|alias| format!("a{alias}: content"));
    let large = format!(
        "subscription ($after: ID) {{ messageAdded(after: $after) {{ number {} }} }}",
        again.collect::<Vec<_>>().join(" ")
    );
    for id in 0..20 {
        stuck
            .subscribe(&id.to_string(), &large, json!({ "after": first }))
            .await;
    }
    let mut reader = Socket::of(&bob).await;
    reader.subscribe("s", ADDED, json!({ "after": first })).await;
    for number in 2..40 {
        say(&bob, &"x".repeat(4_000)).await;
        let payload = reader.next_of("s", "next").await;
        assert_eq!(payload["data"]["messageAdded"]["number"], number);
    }
    assert!(is_held(&server, stuck.local));
    assert_eq!(alice.post("/v1/auth/logout", json!({})).await.status, 200);
    eventually("the stuck socket is dropped", async || !is_held(&server, stuck.local)).await;
    assert!(is_held(&server, reader.local));
    reader.settle().await;
}

#[tokio::test]
async fn root_fields_are_charged_and_messages_are_free() {
    let server = Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_AUTHENTICATED", "9")
        .set("BAMBISLEEP_RATE_LIMIT_ANONYMOUS", "3")
        .start()
        .await;
    let alice = server.member("alice").await;
    let first = say(&alice, "1").await["id"].take();
    let mut socket = Socket::of(&alice).await;
    let remaining = "{ viewer { rateLimit { remaining } } }";
    let left = |payload: Value| payload["data"]["viewer"]["rateLimit"]["remaining"].as_i64().unwrap();
    assert_eq!(left(socket.ask("1", remaining).await), 7);
    socket.subscribe("s", ADDED, json!({ "after": first })).await;
    say(&alice, "2").await;
    socket.next_of("s", "next").await;
    assert_eq!(left(socket.ask("1", remaining).await), 4);
    socket.subscribe("e", "{ nothing }", Value::Null).await;
    socket.next_of("e", "error").await;
    let both = format!("{{ a: {0} b: {0} }}", "viewer { user { id } }");
    assert!(socket.ask("2", &both).await["data"]["b"].is_object());
    for query in [both.as_str(), ADDED] {
        if query == ADDED {
            socket.ask("3", "{ viewer { user { id } } }").await;
        }
        socket.subscribe("4", query, Value::Null).await;
        let payload = socket.next_of("4", "error").await;
        assert_eq!(payload[0]["extensions"]["code"], "RATE_LIMITED");
        assert!(payload[0]["extensions"]["details"]["retryAfter"].is_number());
    }

    // Registration took one of the address's three; a wrong token takes one each time.
    for _ in 0..2 {
        let mut socket = Socket::open(&server).await;
        socket.init(json!({ "token": "wrong" })).await;
        socket.assert_closed(4403, "Forbidden").await;
    }
    let refused = shake(&server, &[PROTOCOL, ("Authorization", "Bearer wrong")]).await;
    assert_eq!(refused.err().map(|status| status.as_u16()), Some(429));
}

#[tokio::test]
async fn at_most_64_operations_run_on_a_socket() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let first = say(&alice, "1").await["id"].take();
    say(&alice, "2").await;
    let mut socket = Socket::of(&alice).await;
    for id in 0..64 {
        socket
            .subscribe(&id.to_string(), ADDED, json!({ "after": first }))
            .await;
        socket.next_of(&id.to_string(), "next").await;
    }
    socket.subscribe("more", ADDED, Value::Null).await;
    let payload = socket.next_of("more", "error").await;
    assert_eq!(payload[0]["extensions"]["code"], "CONFLICT", "{payload}");
    socket.send(json!({ "type": "complete", "id": "7" })).await;
    socket.subscribe("more", ADDED, json!({ "after": first })).await;
    socket.next_of("more", "next").await;
    say(&alice, "3").await;
    let mut told: Vec<String> = Vec::new();
    for _ in 0..64 {
        let message = socket.next().await;
        assert_eq!(message["payload"]["data"]["messageAdded"]["number"], 3, "{message}");
        told.push(message["id"].as_str().unwrap().to_owned());
    }
    told.sort();
    told.dedup();
    assert_eq!((told.len(), told.contains(&"7".to_owned())), (64, false));
}

#[tokio::test]
async fn who_subscribes_to_a_room_is_in_it() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let members = async || {
        let data = alice
            .data("{ room(name: \"lobby\") { members { username } } }", Value::Null)
            .await;
        data["room"]["members"].clone()
    };
    let first = say(&alice, "1").await["id"].take();
    say(&alice, "2").await;
    let mut watching = Socket::of(&alice).await;
    let changes = "subscription { roomChanged {
        __typename ... on MemberJoined { user { username } } ... on MemberLeft { user { username } }
    } }";
    watching.subscribe("s", changes, Value::Null).await;
    let change = |kind: &str, name: &str| json!({ "__typename": kind, "user": { "username": name } });
    let mut next = async || watching.next_of("s", "next").await["data"]["roomChanged"].take();
    assert_eq!(next().await, change("MemberJoined", "alice"));
    let mut socket = Socket::of(&bob).await;
    for id in ["a", "b"] {
        socket.subscribe(id, ADDED, json!({ "after": first })).await;
        // It is open.
        socket.next_of(id, "next").await;
    }
    assert_eq!(next().await, change("MemberJoined", "bob"));
    assert_eq!(members().await, json!([{ "username": "alice" }, { "username": "bob" }]));
    // Once, and for as long as one subscription is open.
    socket.send(json!({ "type": "complete", "id": "a" })).await;
    socket.settle().await;
    assert_eq!(members().await.as_array().unwrap().len(), 2);
    socket.send(json!({ "type": "complete", "id": "b" })).await;
    assert_eq!(next().await, change("MemberLeft", "bob"));
    socket.subscribe("c", ADDED, Value::Null).await;
    assert_eq!(next().await, change("MemberJoined", "bob"));
    drop(socket);
    assert_eq!(next().await, change("MemberLeft", "bob"));
    assert_eq!(members().await, json!([{ "username": "alice" }]));
}

#[tokio::test]
async fn shutdown_closes_with_1001() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut subscribed = Socket::of(&alice).await;
    subscribed.subscribe("s", ADDED, Value::Null).await;
    subscribed.settle().await;
    let mut silent = Socket::open(&server).await;
    let (ended, ..) = tokio::join!(
        server.terminate(),
        subscribed.assert_closed(1001, "Shutting down"),
        silent.assert_closed(1001, "Shutting down"),
    );
    let (status, log) = ended;
    assert!(status.success(), "{log}");
    assert!(!log.contains("still running"), "{log}");
}

/// A socket that nobody answers for is a matter of a minute: `who_does_not_answer_is_gone` in `src/http/wire.rs`.
#[tokio::test]
async fn a_place_with_two_nodes_tells_both() {
    if !clustered() {
        return; // About several nodes, which take Postgres.
    }
    let place = Place::new().await;
    let (one, two) = (
        Server::options().place(&place).start().await,
        Server::options().place(&place).start().await,
    );
    let alice = one.member("alice").await;
    let first = say(&alice, "1").await["id"].take();
    let mut socket = Socket::of(&two.bearer(alice.token())).await;
    socket.subscribe("s", ADDED, json!({ "after": first })).await;
    for number in 2..20 {
        say(&alice, "next").await;
        let payload = socket.next_of("s", "next").await;
        assert_eq!(payload["data"]["messageAdded"]["number"], number);
    }
}
