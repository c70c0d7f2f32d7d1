//! The JSON chat socket, frame by frame.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
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

use crate::harness::{Caller, Server, clustered, eventually};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

struct Socket {
    stream: WebSocketStream<TcpStream>,
}

async fn shake(address: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, StatusCode> {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    match client_async(request, stream).await {
        Ok((stream, _)) => Ok(Socket { stream }),
        Err(Error::Http(response)) => Err(StatusCode::from_u16(response.status().as_u16()).unwrap()),
        Err(error) => panic!("{error}"),
    }
}

impl Socket {
    async fn open(server: &Server) -> Self {
        shake(server.address, "/ws/chat", &[]).await.unwrap()
    }

    /// In the lobby, as whoever the token is for.
    async fn of(caller: &Caller<'_>) -> Self {
        let mut socket = Self::open(caller.server).await;
        socket.send(json!({ "type": "auth", "token": caller.token() })).await;
        assert_eq!(socket.next_of("auth").await["success"], true);
        socket.until("joined").await;
        socket
    }

    async fn send(&mut self, frame: Value) {
        self.text(&frame.to_string()).await;
    }

    async fn text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = timeout_at(deadline, self.stream.next()).await.expect("a frame comes");
            match message.expect("the socket is open").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next frame, which has to be of this type.
    async fn next_of(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame:#}");
        frame
    }

    /// The next frame of this type, whatever comes before.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// The acknowledgement or refusal of what was sent with this nonce.
    async fn until_answer(&mut self, nonce: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["nonce"] == nonce {
                return frame;
            }
        }
    }

    async fn refused(&mut self, code: &str) -> Value {
        let frame = self.next_of("error").await;
        assert_eq!(
            (&frame["error"], &frame["code"]),
            (&json!(true), &json!(code)),
            "{frame:#}"
        );
        frame
    }

    /// Shows that nothing else came.
    async fn settle(&mut self) {
        self.send(json!({ "type": "ping" })).await;
        self.next_of("pong").await;
    }

    async fn closed(&mut self) -> u16 {
        loop {
            let message = timeout(PATIENCE, self.stream.next()).await.expect("the server closes");
            if let Message::Close(frame) = message.expect("a close frame comes first").unwrap() {
                return frame.expect("it says why").code.into();
            }
        }
    }
}

async fn say(caller: &Caller<'_>, content: &str) -> Value {
    let sent = caller.post("/v1/chat/messages", json!({ "content": content })).await;
    assert_eq!(sent.status, 200, "{:#}", sent.body);
    sent.body
}

#[tokio::test]
async fn what_is_published_works() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let mut socket = Socket::open(&server).await;
    socket.send(json!({ "type": "auth", "token": alice.token() })).await;
    let auth = socket.next_of("auth").await;
    assert_eq!(
        (&auth["success"], &auth["user"]["username"]),
        (&json!(true), &json!("alice"))
    );
    assert!(auth["user"]["id"].as_str().unwrap().starts_with("user_"));
    assert_eq!(
        socket.next_of("joined").await,
        json!({ "type": "joined", "room": "lobby", "username": "alice" })
    );
    let mut other = Socket::of(&bob).await;
    assert_eq!(socket.next_of("joined").await["username"], "bob");

    socket
        .send(json!({ "type": "message", "content": " Hello everyone! " }))
        .await;
    for reader in [&mut socket, &mut other] {
        let message = reader.next_of("message").await;
        let mut members: Vec<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(
            members,
            [
                "content",
                "event",
                "id",
                "number",
                "room",
                "timestamp",
                "type",
                "username"
            ]
        );
        assert_eq!(
            (
                &message["content"],
                &message["username"],
                &message["number"],
                &message["room"]
            ),
            (&json!("Hello everyone!"), &json!("alice"), &json!(1), &json!("lobby"))
        );
        assert!(message["id"].as_str().unwrap().starts_with("msg_"));
        assert!(message["event"].as_str().unwrap().starts_with("evt_"));
    }
    socket.send(json!({ "type": "typing", "room": "lobby" })).await;
    assert_eq!(
        other.next_of("typing").await,
        json!({ "type": "typing", "room": "lobby", "username": "alice" })
    );
    drop(socket);
    assert_eq!(other.next_of("left").await["username"], "alice");
    let members = bob.get("/v1/chat/rooms/lobby/members").await;
    assert_eq!(members.body["members"], json!(["bob"]));
}

#[tokio::test]
async fn who_the_handshake_names_is_in_unasked() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let cookie = format!("bambisleep_session={}", alice.token());
    let mut socket = shake(server.address, "/ws/chat", &[("Cookie", &cookie)]).await.unwrap();
    assert_eq!(socket.next_of("auth").await["user"]["username"], "alice");
    let bearer = format!("Bearer {}", alice.token());
    let mut second = shake(server.address, "/ws/chat", &[("Authorization", &bearer)])
        .await
        .unwrap();
    second.next_of("auth").await;
    // There already by the other connection, and told all the same.
    second.next_of("joined").await;
    socket.next_of("joined").await;
    socket.settle().await;

    for (headers, status) in [
        (vec![("Authorization", "Bearer nonsense")], 401),
        (
            vec![("Cookie", cookie.as_str()), ("Origin", "https://elsewhere.example")],
            403,
        ),
        (vec![("Sec-Fetch-Site", "cross-site")], 403),
    ] {
        let refused = shake(server.address, "/ws/chat", &headers).await.err();
        assert_eq!(refused.map(|status| status.as_u16()), Some(status), "{headers:?}");
    }
    let plain = alice.get("/ws/chat").await;
    assert_eq!((plain.status.as_u16(), plain.code()), (400, "BAD_REQUEST"));
    // A ticket opens one connection.
    let ticket = alice.post("/v1/auth/ticket", json!({})).await.body["ticket"].take();
    let mut third = Socket::open(&server).await;
    third.send(json!({ "type": "auth", "token": ticket })).await;
    third.next_of("auth").await;
    let mut fourth = Socket::open(&server).await;
    fourth.send(json!({ "type": "auth", "token": ticket })).await;
    fourth.refused("INVALID_CREDENTIALS").await;
    assert_eq!(fourth.closed().await, 4401);
}

#[tokio::test]
async fn nothing_happens_before_auth_and_wrong_tokens_end_it() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let mut socket = Socket::open(&server).await;
    socket
        .send(json!({ "type": "message", "content": "hi", "nonce": "n" }))
        .await;
    assert_eq!(socket.refused("UNAUTHENTICATED").await["nonce"], "n");
    socket.text("nonsense").await;
    socket.refused("BAD_REQUEST").await;
    socket.send(json!({ "type": "auth" })).await;
    assert_eq!(socket.refused("BAD_REQUEST").await["details"]["path"], "/token");
    socket.send(json!({ "type": "auth", "token": alice.token() })).await;
    socket.next_of("auth").await;
    socket.next_of("joined").await;
    // The same member is answered again, another one ends it.
    socket.send(json!({ "type": "auth", "token": alice.token() })).await;
    socket.next_of("auth").await;
    socket.send(json!({ "type": "auth", "token": bob.token() })).await;
    socket.refused("INVALID_CREDENTIALS").await;
    assert_eq!(socket.closed().await, 4401);

    let mut wrong = Socket::open(&server).await;
    wrong.send(json!({ "type": "auth", "token": "nonsense" })).await;
    wrong.refused("INVALID_CREDENTIALS").await;
    assert_eq!(wrong.closed().await, 4401);

    let blind = alice.key(&["profile:read"]).await;
    let mut blind_socket = Socket::open(&server).await;
    blind_socket.send(json!({ "type": "auth", "token": blind })).await;
    blind_socket.refused("FORBIDDEN").await;
    assert_eq!(blind_socket.closed().await, 4403);
    let reading = alice.key(&["chat:read"]).await;
    let mut reader = Socket::of(&server.bearer(&reading)).await;
    reader
        .send(json!({ "type": "message", "content": "hi", "nonce": "k" }))
        .await;
    assert_eq!(reader.refused("FORBIDDEN").await["nonce"], "k");
}

#[tokio::test]
async fn nobody_waits_for_who_does_not_say_who_they_are() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server).await;
    assert_eq!(socket.closed().await, 4408);
}

#[tokio::test]
async fn frames_that_are_not_understood_leave_the_socket_open_and_large_ones_do_not() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut socket = Socket::of(&alice).await;
    for (text, path) in [
        ("", ""),
        ("[1]", ""),
        ("{\"type\":\"shout\"}", "/type"),
        ("{\"type\":\"message\"}", "/content"),
        ("{\"type\":\"join\"}", "/room"),
        ("{\"type\":\"message\",\"content\":1}", "/content"),
    ] {
        socket.text(text).await;
        assert_eq!(socket.refused("BAD_REQUEST").await["details"]["path"], path, "{text}");
    }
    socket.stream.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    socket.refused("BAD_REQUEST").await;
    for (frame, code) in [
        (
            json!({ "type": "message", "content": " ", "nonce": "n" }),
            "VALIDATION_FAILED",
        ),
        (
            json!({ "type": "message", "content": "hi", "nonce": "" }),
            "VALIDATION_FAILED",
        ),
        (
            json!({ "type": "message", "content": "hi", "room": "nowhere", "nonce": "n" }),
            "NOT_FOUND",
        ),
        (json!({ "type": "join", "room": "nowhere" }), "NOT_FOUND"),
        (
            json!({ "type": "join", "room": "lobby", "after": "msg_x" }),
            "NOT_FOUND",
        ),
        (json!({ "type": "typing", "room": "nowhere" }), "NOT_FOUND"),
    ] {
        socket.send(frame.clone()).await;
        let error = socket.refused(code).await;
        if frame.get("nonce").is_some() && frame["nonce"] != "" {
            assert_eq!(error["nonce"], frame["nonce"], "{frame}");
        }
    }
    // In three pieces.
    let text = json!({ "type": "message", "content": "in pieces" }).to_string();
    let (first, rest) = text.split_at(10);
    let (second, third) = rest.split_at(10);
    for (piece, code, is_last) in [
        (first, OpCode::Data(Data::Text), false),
        (second, OpCode::Data(Data::Continue), false),
        (third, OpCode::Data(Data::Continue), true),
    ] {
        let frame = Frame::message(piece.to_owned(), code, is_last);
        socket.stream.send(Message::Frame(frame)).await.unwrap();
    }
    assert_eq!(socket.next_of("message").await["content"], "in pieces");

    let largest = format!("{{\"type\":\"ping\",\"x\":\"{}\"}}", "x".repeat(64 * 1024 - 22));
    assert_eq!(largest.len(), 64 * 1024);
    socket.text(&largest).await;
    socket.next_of("pong").await;
    socket.text(&format!("{largest} ")).await;
    assert_eq!(socket.closed().await, 4413);
    let mut huge = Socket::of(&alice).await;
    huge.text(&"x".repeat(1024 * 1024)).await;
    assert_eq!(huge.closed().await, 4413);
}

#[tokio::test]
async fn a_nonce_is_acknowledged_the_second_time_as_the_first() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut socket = Socket::of(&alice).await;
    let frame = json!({ "type": "message", "content": "once", "nonce": "n1" });
    socket.send(frame.clone()).await;
    let (mut ack, mut message) = (Value::Null, Value::Null);
    while ack.is_null() || message.is_null() {
        let next = socket.next().await;
        match next["type"].as_str().unwrap() {
            "ack" => ack = next,
            "message" => message = next,
            _ => panic!("{next:#}"),
        }
    }
    assert_eq!(
        ack,
        json!({
            "type": "ack", "nonce": "n1", "id": message["id"], "number": 1, "timestamp": message["timestamp"],
        })
    );
    socket.send(frame).await;
    assert_eq!(socket.next_of("ack").await, ack);
    socket
        .send(json!({ "type": "message", "content": "else", "nonce": "n1" }))
        .await;
    assert_eq!(socket.refused("IDEMPOTENCY_CONFLICT").await["nonce"], "n1");
    socket.settle().await;
}

#[tokio::test]
async fn messages_of_a_socket_keep_their_order() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut socket = Socket::of(&alice).await;
    for number in 1..=200 {
        let frame = json!({ "type": "message", "content": number.to_string(), "nonce": format!("n{number}") });
        socket.stream.feed(Message::text(frame.to_string())).await.unwrap();
    }
    socket.stream.flush().await.unwrap();
    let (mut acks, mut messages) = (Vec::new(), Vec::new());
    while acks.len() + messages.len() < 400 {
        let frame = socket.next().await;
        match frame["type"].as_str().unwrap() {
            "ack" => acks.push((frame["nonce"].clone(), frame["number"].as_i64().unwrap())),
            "message" => messages.push((frame["content"].clone(), frame["number"].as_i64().unwrap())),
            _ => panic!("{frame:#}"),
        }
    }
    let in_order = |prefix: &str| {
        (1..=200)
            .map(|n| (json!(format!("{prefix}{n}")), n))
            .collect::<Vec<_>>()
    };
    assert_eq!(acks, in_order("n"));
    assert_eq!(messages, in_order(""));
}

#[tokio::test]
async fn a_socket_resumes_after_what_it_has_seen() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut sent = Vec::new();
    for number in 1..=5 {
        sent.push(say(&alice, &number.to_string()).await);
    }
    let after = sent[1]["id"].as_str().unwrap();
    let bearer = format!("Bearer {}", alice.token());
    // In the address.
    let mut socket = shake(
        server.address,
        &format!("/ws/chat?after={after}"),
        &[("Authorization", &bearer)],
    )
    .await
    .unwrap();
    socket.next_of("auth").await;
    let mut events = Vec::new();
    while events.len() < 3 {
        let frame = socket.next().await;
        if frame["type"] == "message" {
            assert_eq!(frame["number"], 3 + events.len() as i64);
            events.push(frame["event"].clone());
        }
    }
    // In the auth frame, by an event.
    let mut second = Socket::open(&server).await;
    second
        .send(json!({ "type": "auth", "token": alice.token(), "after": events[0] }))
        .await;
    second.next_of("auth").await;
    for number in [4, 5] {
        assert_eq!(second.until("message").await["number"], number);
    }
    // Again by a join, which starts over.
    second
        .send(json!({ "type": "join", "room": "lobby", "after": sent[3]["id"] }))
        .await;
    assert_eq!(second.until("message").await["number"], 5);
    // What is unknown is said, and the caller is in, live.
    let mut third = Socket::open(&server).await;
    third
        .send(json!({ "type": "auth", "token": alice.token(), "after": "msg_00000000000000000000000000" }))
        .await;
    third.next_of("auth").await;
    third.refused("NOT_FOUND").await;
    say(&alice, "live").await;
    assert_eq!(third.until("message").await["content"], "live");
}

#[tokio::test]
async fn rooms_are_joined_and_left() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    for room in ["den", "garden"] {
        assert_eq!(alice.post("/v1/chat/rooms", json!({ "name": room })).await.status, 200);
    }
    let mut socket = Socket::of(&alice).await;
    let mut other = Socket::of(&bob).await;
    socket.next_of("joined").await;
    socket.send(json!({ "type": "join", "room": "den" })).await;
    assert_eq!(socket.next_of("joined").await["room"], "den");
    other
        .send(json!({ "type": "message", "content": "to the den", "room": "den" }))
        .await;
    assert_eq!(socket.next_of("message").await["room"], "den");
    other.settle().await;
    // Joined twice is joined once.
    socket.send(json!({ "type": "join", "room": "den" })).await;
    socket.settle().await;
    socket.send(json!({ "type": "leave", "room": "den" })).await;
    socket.send(json!({ "type": "leave", "room": "lobby" })).await;
    assert_eq!(other.next_of("left").await["username"], "alice");
    for room in ["den", "lobby"] {
        bob.post("/v1/chat/messages", json!({ "content": "unheard", "room": room }))
            .await;
    }
    other.until("message").await;
    socket.settle().await;

    let edited = say(&bob, "typo").await;
    other.until("message").await;
    let path = format!("/v1/chat/messages/{}", edited["id"].as_str().unwrap());
    bob.put(&path, json!({ "content": "fixed" })).await;
    let edit = other.next_of("edit").await;
    assert_eq!((&edit["content"], &edit["id"]), (&json!("fixed"), &edited["id"]));
    bob.delete(&path).await;
    let deletion = other.next_of("delete").await;
    assert_eq!(
        (&deletion["content"], &deletion["number"]),
        (&json!(""), &edited["number"])
    );
    assert_ne!(edit["event"], deletion["event"]);
}

#[tokio::test]
async fn who_is_logged_out_or_revoked_is_out_on_every_node() {
    let server = Server::start().await;
    let node = match clustered() {
        true => Some(Server::options().place(&server.place).start().await),
        false => None,
    };
    let other = node.as_ref().unwrap_or(&server);
    let alice = server.member("alice").await;
    let key = alice.key(&["chat:read", "chat:write"]).await;
    let mut by_key = Socket::of(&other.bearer(&key)).await;
    let mut by_login = Socket::of(&other.bearer(alice.token())).await;
    let keys = alice.get("/v1/keys").await.body["keys"].take();
    let revoked = alice
        .delete(&format!("/v1/keys/{}", keys[0]["id"].as_str().unwrap()))
        .await;
    assert_eq!(revoked.status, 200);
    assert_eq!(by_key.closed().await, 4401);
    alice.post("/v1/auth/logout", json!({})).await;
    assert_eq!(by_login.closed().await, 4401);

    let bob = server.member("bob").await;
    let mut socket = Socket::of(&other.bearer(bob.token())).await;
    let banned = server.place.run(&["user", "ban", "bob", "--reason", "spam"], "");
    assert!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
    assert_eq!(socket.until("error").await["code"], "BANNED");
    assert_eq!(socket.closed().await, 4403);
    let bearer = format!("Bearer {}", bob.token());
    let mut back = shake(server.address, "/ws/chat", &[("Authorization", &bearer)])
        .await
        .unwrap();
    back.refused("BANNED").await;
    assert_eq!(back.closed().await, 4403);
}

#[tokio::test]
async fn a_server_that_ends_says_so() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut socket = Socket::of(&alice).await;
    let mut nobody = Socket::open(&server).await;
    server.signal("TERM");
    assert_eq!(socket.closed().await, 1001);
    assert_eq!(nobody.closed().await, 1001);
}

#[tokio::test]
async fn messages_are_charged_and_frames_that_come_too_fast_are_dropped() {
    let server = Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_AUTHENTICATED", "30")
        .start()
        .await;
    let alice = server.member("alice").await;
    let mut socket = Socket::of(&alice).await;
    for n in 0..60 {
        let frame = json!({ "type": "ping", "n": n });
        socket.stream.feed(Message::text(frame.to_string())).await.unwrap();
    }
    socket.stream.flush().await.unwrap();
    let mut kinds: HashMap<String, usize> = HashMap::new();
    for _ in 0..60 {
        let frame = socket.next().await;
        *kinds.entry(frame["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    // As many as fit into the seconds that it took; the auth frame was one.
    assert!(kinds["pong"] >= 19 && kinds["error"] >= 1, "{kinds:?}");
    let document = "{ viewer { rateLimit { remaining } } }";
    let before = alice.data(document, Value::Null).await["viewer"]["rateLimit"]["remaining"].as_i64();
    // The second has passed when pings are answered again.
    eventually("frames are taken again", async || {
        socket.send(json!({ "type": "ping" })).await;
        socket.next().await["type"] == "pong"
    })
    .await;
    socket.send(json!({ "type": "message", "content": "hi" })).await;
    socket.until("message").await;
    let after = alice.data(document, Value::Null).await["viewer"]["rateLimit"]["remaining"].as_i64();
    // The message, and the second look.
    assert_eq!(before.unwrap() - after.unwrap(), 2);
    let start = Instant::now();
    for sent in 1.. {
        assert!(start.elapsed() < PATIENCE, "the budget ends");
        let nonce = format!("n{sent}");
        socket
            .send(json!({ "type": "message", "content": "hi", "nonce": nonce }))
            .await;
        let error = socket.until_answer(&nonce).await;
        if error["details"]["retryAfter"].as_i64() > Some(1) {
            assert_eq!(error["code"], "RATE_LIMITED");
            break;
        }
    }
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_messages() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut socket = Socket::of(&alice).await;
    const MESSAGES: usize = 100;
    for n in 0..MESSAGES {
        let (content, room) = match n % 4 {
            1 => (" ", "lobby"),
            3 => ("hi", "nowhere"),
            _ => ("hi", "lobby"),
        };
        let frame = json!({ "type": "message", "content": content, "room": room, "nonce": format!("n{n}") });
        socket.stream.feed(Message::text(frame.to_string())).await.unwrap();
    }
    socket.stream.flush().await.unwrap();
    let mut answered = 0;
    while answered < MESSAGES {
        let frame = socket.next().await;
        if frame["type"] == "message" {
            continue;
        }
        assert_eq!(frame["nonce"], format!("n{answered}"), "{frame:#}");
        let (kind, code) = match answered % 4 {
            1 => ("error", json!("VALIDATION_FAILED")),
            3 => ("error", json!("NOT_FOUND")),
            _ => ("ack", Value::Null),
        };
        assert_eq!((&frame["type"], &frame["code"]), (&json!(kind), &code), "{frame:#}");
        answered += 1;
    }
}

#[tokio::test]
async fn an_error_carries_the_nonce_of_whatever_frame() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut socket = Socket::open(&server).await;
    socket.send(json!({ "type": "ping", "nonce": "p" })).await;
    assert_eq!(socket.refused("UNAUTHENTICATED").await["nonce"], "p");
    let unknown = "evt_00000000000000000000000000";
    let auth = json!({ "type": "auth", "token": alice.token(), "after": unknown, "nonce": "a" });
    socket.send(auth.clone()).await;
    socket.next_of("auth").await;
    assert_eq!(socket.refused("NOT_FOUND").await["nonce"], "a");
    socket.next_of("joined").await;
    for (frame, code) in [
        (auth, "NOT_FOUND"),
        (json!({ "type": "shout", "nonce": "s" }), "BAD_REQUEST"),
        (json!({ "type": "join", "room": "nowhere", "nonce": "j" }), "NOT_FOUND"),
        (
            json!({ "type": "typing", "room": "nowhere", "nonce": "t" }),
            "NOT_FOUND",
        ),
        (json!({ "type": "leave", "nonce": "l" }), "BAD_REQUEST"),
    ] {
        socket.send(frame.clone()).await;
        if frame["type"] == "auth" {
            socket.next_of("auth").await;
        }
        assert_eq!(socket.refused(code).await["nonce"], frame["nonce"], "{frame}");
    }
    let wrong = json!({ "type": "auth", "token": "nonsense", "nonce": "w" });
    socket.send(wrong).await;
    assert_eq!(socket.refused("INVALID_CREDENTIALS").await["nonce"], "w");
    assert_eq!(socket.closed().await, 4401);
}

#[tokio::test]
async fn what_is_no_websocket_frame_ends_it() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut large = Socket::of(&alice).await;
    large.stream.send(Message::binary(vec![0; 64 * 1024])).await.unwrap();
    large.refused("BAD_REQUEST").await;
    large
        .stream
        .send(Message::binary(vec![0; 64 * 1024 + 1]))
        .await
        .unwrap();
    assert_eq!(large.closed().await, 4413);
    let not_utf8 = Frame::message(vec![b'"', 0xff, b'"'], OpCode::Data(Data::Text), true);
    let continues_nothing = Frame::message("hi", OpCode::Data(Data::Continue), true);
    for frame in [not_utf8, continues_nothing] {
        let mut socket = Socket::of(&alice).await;
        socket.stream.send(Message::Frame(frame.clone())).await.unwrap();
        assert_eq!(socket.closed().await, 1002, "{frame}");
    }
    // What WebSocket's own frames need is there.
    let mut socket = Socket::of(&alice).await;
    socket
        .stream
        .send(Message::Ping("are you there?".into()))
        .await
        .unwrap();
    // Who comes and goes may be told before: the sockets above have just been closed.
    let answer = async {
        loop {
            match socket.stream.next().await.unwrap().unwrap() {
                Message::Text(_) => {}
                answer => return answer,
            }
        }
    };
    let answer = timeout(PATIENCE, answer).await.expect("an answer comes");
    assert_eq!(answer, Message::Pong("are you there?".into()));
}

#[tokio::test]
async fn a_wrong_token_costs_its_address() {
    let server = Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_ANONYMOUS", "20")
        .start()
        .await;
    let remaining = async || {
        let nobody = json!({ "username": "nobody", "password": "nothing at all" });
        let refused = server.nobody().post("/v1/auth/login", nobody).await;
        assert_eq!(refused.code(), "INVALID_CREDENTIALS");
        refused.header("RateLimit-Remaining").unwrap().parse::<i64>().unwrap()
    };
    let before = remaining().await;
    let mut socket = Socket::open(&server).await;
    socket.send(json!({ "type": "auth", "token": "nonsense" })).await;
    socket.refused("INVALID_CREDENTIALS").await;
    // The token and the second look; opening a socket is free.
    assert_eq!(before - remaining().await, 2);
    let refused = shake(server.address, "/ws/chat", &[("Authorization", "Bearer nonsense")]).await;
    assert_eq!(refused.err(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(before - remaining().await, 4);
}

#[tokio::test]
async fn a_socket_is_in_fifty_rooms_at_most() {
    let server = Server::start().await;
    let mut rooms = Vec::new();
    for creator in ["alice", "bob", "carol"] {
        let creator = server.member(creator).await;
        for n in 0..17 {
            let name = format!("{}-{n}", rooms.len());
            assert_eq!(
                creator.post("/v1/chat/rooms", json!({ "name": name })).await.status,
                200
            );
            rooms.push(name);
        }
    }
    let mut socket = Socket::of(&server.member("dave").await).await;
    let join = |room: &str| json!({ "type": "join", "room": room });
    // The lobby is one of them.
    for room in &rooms[..49] {
        socket.send(join(room)).await;
        assert_eq!(socket.next_of("joined").await["room"], *room);
    }
    socket.send(join(&rooms[49])).await;
    socket.refused("CONFLICT").await;
    socket.send(join(&rooms[0])).await;
    socket.settle().await;
    socket.send(json!({ "type": "leave", "room": "lobby" })).await;
    socket.send(join(&rooms[49])).await;
    assert_eq!(socket.next_of("joined").await["room"], rooms[49]);
}

#[tokio::test]
async fn a_room_is_one_on_all_nodes() {
    let server = Server::start().await;
    let node = match clustered() {
        true => Some(Server::options().place(&server.place).start().await),
        false => None,
    };
    let other = node.as_ref().unwrap_or(&server);
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let mut here = Socket::of(&alice).await;
    let mut there = Socket::of(&other.bearer(bob.token())).await;
    assert_eq!(here.until("joined").await["username"], "bob");
    for n in 1..=20 {
        let (from, to) = match n % 2 {
            0 => (&mut here, &mut there),
            _ => (&mut there, &mut here),
        };
        from.send(json!({ "type": "message", "content": n.to_string() })).await;
        let sent = from.until("message").await;
        assert_eq!(to.until("message").await, sent);
        assert_eq!((&sent["number"], &sent["content"]), (&json!(n), &json!(n.to_string())));
    }
    here.send(json!({ "type": "typing", "room": "lobby" })).await;
    assert_eq!(there.until("typing").await["username"], "alice");
    drop(here);
    assert_eq!(there.until("left").await["username"], "alice");
}

/// What a socket is told up to a message with this content.
async fn up_to(socket: &mut Socket, content: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let frame = socket.next().await;
        if frame["type"] == "message" && frame["content"] == content {
            return frames;
        }
        frames.push(frame);
    }
}

/// Waits until one who has just blocked another no longer hears them.
async fn deaf(socket: &mut Socket, blocked: &Caller<'_>, third: &Caller<'_>) {
    let mut tries = 0;
    eventually("the block is known", async || {
        tries += 1;
        say(blocked, "do you hear me?").await;
        let marker = format!("mark {tries}");
        say(third, &marker).await;
        let heard = up_to(socket, &marker).await;
        heard.iter().all(|frame| frame["content"] != "do you hear me?")
    })
    .await;
}

#[tokio::test]
async fn who_is_blocked_is_not_heard_of() {
    let server = Server::start().await;
    let (alice, bob, carol) = (
        server.member("alice").await,
        server.member("bob").await,
        server.member("carol").await,
    );
    let mut deaf_socket = Socket::of(&alice).await;
    let mut socket = Socket::of(&bob).await;
    let mut witness = Socket::of(&carol).await;
    assert_eq!(alice.put("/v1/blocked/bob", json!({})).await.status, 200);
    deaf(&mut deaf_socket, &bob, &carol).await;

    socket.send(json!({ "type": "typing", "room": "lobby" })).await;
    witness.until("typing").await;
    let said = say(&bob, "nothing to you").await;
    let path = format!("/v1/chat/messages/{}", said["id"].as_str().unwrap());
    bob.put(&path, json!({ "content": "nothing still" })).await;
    witness.until("edit").await;
    bob.delete(&path).await;
    witness.until("delete").await;
    drop(socket);
    assert_eq!(witness.until("left").await["username"], "bob");
    let _again = Socket::of(&bob).await;
    assert_eq!(witness.until("joined").await["username"], "bob");
    // What is live comes in the order in which it happened, and so does what is said.
    witness.send(json!({ "type": "typing", "room": "lobby" })).await;
    let told = deaf_socket.until("typing").await;
    assert_eq!(told["username"], "carol");
    say(&carol, "the end").await;
    for frame in up_to(&mut deaf_socket, "the end").await {
        assert_ne!(frame["username"], "bob", "{frame:#}");
    }
    // Nor is what was said before, by who comes back for it.
    let mut back = Socket::of(&alice).await;
    back.send(json!({ "type": "join", "room": "lobby", "after": said["id"] }))
        .await;
    for frame in up_to(&mut back, "the end").await {
        assert_ne!(frame["username"], "bob", "{frame:#}");
    }
}

#[tokio::test]
async fn who_may_not_send_types_unseen() {
    let server = Server::start().await;
    let moderator = server.member_with_role("grace", "moderator").await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let mut muted = Socket::of(&bob).await;
    let document = "mutation { muteMember(username: \"bob\", input: { reason: \"enough\" }) { user { id } } }";
    moderator.data(document, Value::Null).await;
    muted
        .send(json!({ "type": "message", "content": "hi", "nonce": "n" }))
        .await;
    let refused = muted.refused("MUTED").await;
    assert_eq!(
        (&refused["nonce"], &refused["details"]["reason"]),
        (&json!("n"), &json!("enough"))
    );
    // Once the socket knows of what came after the mute, it knows of the mute.
    assert_eq!(bob.put("/v1/blocked/alice", json!({})).await.status, 200);
    deaf(&mut muted, &alice, &moderator).await;

    let mut witness = Socket::of(&alice).await;
    muted.send(json!({ "type": "typing", "room": "lobby" })).await;
    muted.send(json!({ "type": "ping" })).await;
    muted.until("pong").await;
    let reading = alice.key(&["chat:read"]).await;
    let mut reader = Socket::of(&server.bearer(&reading)).await;
    reader.send(json!({ "type": "typing", "room": "lobby" })).await;
    reader.refused("FORBIDDEN").await;
    witness.send(json!({ "type": "typing", "room": "lobby" })).await;
    assert_eq!(witness.until("typing").await["username"], "alice");
}

/// What the kernel has of the server's end of a connection: bytes that wait to be sent and to be read.
fn waiting(server: &Server, client: SocketAddr) -> Option<(u64, u64)> {
    const ESTABLISHED: &str = "01";
    let hex = |address: SocketAddr| format!(":{:04X}", address.port());
    let list = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut ends = list
        .lines()
        .map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>());
    let end = ends.find(|words| {
        words.len() > 3
            && words[0].ends_with(&hex(server.address))
            && words[1].ends_with(&hex(client))
            && words[2] == ESTABLISHED
    })?;
    let (to_send, to_read) = end[3].split_once(':')?;
    let bytes = |digits| u64::from_str_radix(digits, 16).unwrap();
    Some((bytes(to_send), bytes(to_read)))
}

/// A socket whose server cannot write on, as its client asks for more and more and reads nothing.
async fn stuck(server: &Server, caller: &Caller<'_>, first: &Value) -> Socket {
    let mut socket = Socket::of(caller).await;
    let again = json!({ "type": "join", "room": "lobby", "after": first["id"] }).to_string();
    // Each is answered with a batch, of which the network takes some megabytes.
    for _ in 0..1_000 {
        socket.stream.feed(Message::text(again.as_str())).await.unwrap();
    }
    socket.stream.flush().await.unwrap();
    let local = socket.stream.get_ref().local_addr().unwrap();
    let mut before = None;
    eventually("the server waits for its client", async || {
        // Long enough for a server that can write to have written.
        for _ in 0..20 {
            caller.get("/v1/chat/messages").await;
        }
        let now = waiting(server, local);
        let is_stuck = now == before && now.is_some_and(|(to_send, to_read)| to_send > 0 && to_read > 0);
        before = now;
        is_stuck
    })
    .await;
    socket
}

#[tokio::test]
async fn a_client_that_does_not_read_ends_all_the_same() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let first = say(&alice, "first").await;
    for _ in 0..16 {
        say(&alice, &"x".repeat(4_000)).await;
    }
    let logged_out = stuck(&server, &alice, &first).await;
    let mut witness = Socket::of(&bob).await;
    assert_eq!(alice.post("/v1/auth/logout", json!({})).await.status, 200);
    assert_eq!(witness.until("left").await["username"], "alice");
    let local = logged_out.stream.get_ref().local_addr().unwrap();
    eventually("the stuck socket is dropped", async || {
        waiting(&server, local).is_none()
    })
    .await;

    let _still = stuck(&server, &bob, &first).await;
    let (status, _) = server.terminate().await;
    assert!(status.success(), "{status}");
    assert_eq!(witness.closed().await, 1001);
}

/// Raises how many files this process may have open.
fn open_files(count: u64) {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = limits.maximum.unwrap_or(u64::MAX);
    let wanted = rustix::process::Rlimit {
        current: Some(count.min(most)),
        maximum: limits.maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).unwrap();
}

#[tokio::test]
async fn ten_thousand_sockets_are_open_at_once() {
    const SOCKETS: usize = 10_000;
    open_files(30_000);
    let server = Server::start().await;
    let mut members = Vec::new();
    for n in 0..5 {
        members.push(server.member(&format!("member{n}")).await);
    }
    let opening = futures_util::stream::iter(0..SOCKETS).map(async |n| {
        let bearer = format!("Bearer {}", members[n % members.len()].token());
        let mut socket = shake(server.address, "/ws/chat", &[("Authorization", &bearer)])
            .await
            .unwrap();
        // It is in the lobby.
        socket.next_of("auth").await;
        socket
    });
    let mut sockets: Vec<Socket> = opening.buffer_unordered(64).collect().await;
    let sent = say(&members[0], "to everyone").await;
    for socket in &mut sockets {
        let message = socket.until("message").await;
        assert_eq!((&message["id"], &message["number"]), (&sent["id"], &json!(1)));
    }
}

/// The server's resident memory, in bytes.
fn resident(server: &Server) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.pid())).unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

#[tokio::test]
async fn who_does_not_read_costs_nobody_anything_and_gets_everything() {
    // More than the sockets' buffers and the window hold.
    const MESSAGES: usize = 3_000;
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let mut slow = Socket::of(&alice).await;
    let mut prompt = Socket::of(&bob).await;
    let before = resident(&server);
    let content = "x".repeat(3_900);
    let sending = async {
        for batch in 0..MESSAGES / 50 {
            let sent = futures_util::future::join_all((0..50).map(|_| say(&bob, &content))).await;
            assert_eq!(sent.len(), 50, "{batch}");
        }
    };
    let reading = async {
        for number in 1..=MESSAGES {
            assert_eq!(prompt.until("message").await["number"], number);
        }
    };
    tokio::join!(sending, reading);
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "the node grew by {grown} bytes");
    for number in 1..=MESSAGES {
        assert_eq!(slow.until("message").await["number"], number);
    }
}
