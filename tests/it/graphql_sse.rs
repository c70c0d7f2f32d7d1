//! GraphQL as server-sent events (graphql-sse, distinct connections).

use std::{process::Stdio, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};

use crate::{
    chat::SEND,
    harness::{Caller, Server, clustered, send},
};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
const CHANGED: &str =
    "subscription ($room: String! = \"lobby\", $after: ID) { roomChanged(room: $room, after: $after) {
    ... on MessageAdded { id message { number content } } ... on MessageEdited { id message { number content } }
} }";

/// Something of a stream.
#[derive(Debug, PartialEq)]
pub enum Piece {
    Comment,
    Next {
        id: Option<String>,
        data: Value,
    },
    /// Of REST's streams.
    Error(Value),
    Complete,
}

/// A stream, read.
pub struct Events {
    text: String,
    body: std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
}

impl Events {
    pub fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-accel-buffering"), "no");
        Self {
            text: String::new(),
            body: Box::pin(response.bytes_stream()),
        }
    }

    /// What comes next; none where the stream has ended in order.
    pub async fn piece(&mut self) -> Option<Piece> {
        loop {
            if let Some((piece, rest)) = self.text.split_once("\n\n") {
                let (piece, rest) = (piece.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(read(&piece));
            }
            match timeout(PATIENCE, self.body.next()).await.expect("the stream goes on") {
                Some(bytes) => self.text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap()),
                None => {
                    assert_eq!(self.text, "", "nothing is cut off");
                    return None;
                }
            }
        }
    }

    /// What comes next but for comments.
    pub async fn event(&mut self) -> Option<Piece> {
        loop {
            match self.piece().await {
                Some(Piece::Comment) => {}
                piece => return piece,
            }
        }
    }

    async fn next(&mut self) -> (Option<String>, Value) {
        match self.event().await {
            Some(Piece::Next { id, data }) => (id, data),
            other => panic!("{other:?}"),
        }
    }

    /// What comes next tells of a message: of members who come and go nothing is selected.
    async fn message(&mut self) -> (String, Value) {
        let (id, data) = self.next().await;
        (id.expect("a message can be resumed after"), data)
    }

    async fn assert_complete(&mut self) {
        assert_eq!(self.event().await, Some(Piece::Complete));
        assert_eq!(self.piece().await, None);
    }
}

fn read(piece: &str) -> Piece {
    if piece.starts_with(':') {
        return Piece::Comment;
    }
    let field = |name: &str| {
        let mut lines = piece.lines().filter_map(|line| line.split_once(": "));
        lines.find(|line| line.0 == name).map(|line| line.1.to_owned())
    };
    let data = field("data").unwrap();
    match field("event").as_deref() {
        Some("next") => Piece::Next {
            id: field("id"),
            data: serde_json::from_str(&data).unwrap(),
        },
        Some("error") => Piece::Error(serde_json::from_str(&data).unwrap()),
        Some("complete") => {
            assert_eq!((data.as_str(), field("id")), ("", None));
            Piece::Complete
        }
        other => panic!("{other:?}"),
    }
}

fn post(caller: &Caller<'_>, query: &str, variables: Value) -> RequestBuilder {
    let body = json!({ "query": query, "variables": variables });
    caller
        .request(Method::POST, "/graphql")
        .header("accept", "text/event-stream")
        .json(&body)
}

fn get(caller: &Caller<'_>, query: &str, variables: &Value) -> RequestBuilder {
    let pairs = [("query", query), ("variables", &variables.to_string())];
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    caller
        .request(Method::GET, &format!("/graphql?{query}"))
        .header("accept", "text/event-stream")
}

async fn open(request: RequestBuilder) -> Events {
    Events::of(request.send().await.unwrap())
}

async fn say(caller: &Caller<'_>, content: &str) -> Value {
    let input = json!({ "input": { "content": content } });
    caller.data(SEND, input).await["sendMessage"]["message"].take()
}

fn number(data: &Value) -> &Value {
    &data["data"]["roomChanged"]["message"]["number"]
}

#[tokio::test]
async fn queries_and_mutations_are_answered_once() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let viewer = "{ viewer { user { username } } }";
    for request in [post(&alice, viewer, Value::Null), get(&alice, viewer, &json!({}))] {
        let mut events = open(request).await;
        let named = json!({ "data": { "viewer": { "user": { "username": "alice" } } } });
        assert_eq!(events.next().await, (None, named));
        events.assert_complete().await;
    }
    let mut events = open(post(&alice, SEND, json!({ "input": { "content": "a\nb" } }))).await;
    let (_, data) = events.next().await;
    assert_eq!(data["data"]["sendMessage"]["message"]["number"], 1, "{data}");
    events.assert_complete().await;
    // The key of a request counts here too.
    for _ in 0..2 {
        let request = post(&alice, SEND, json!({ "input": { "content": "once" } })).header("idempotency-key", "k");
        let (_, data) = open(request).await.next().await;
        assert_eq!(data["data"]["sendMessage"]["message"]["number"], 2, "{data}");
    }
    // Registration sets the cookie.
    let register =
        "mutation { register(input: { username: \"bob\", password: \"a long password\", ofAge: true }) { token } }";
    let response = post(&server.nobody(), register, Value::Null).send().await.unwrap();
    assert!(response.headers().contains_key("set-cookie"));
    Events::of(response).next().await;
}

#[tokio::test]
async fn refusals_of_operations_are_streamed_and_those_of_requests_keep_their_status() {
    let server = Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_AUTHENTICATED", "12")
        .start()
        .await;
    let alice = server.member("alice").await;
    for (caller, query, variables, code) in [
        (&alice, "{", json!({}), "GRAPHQL_PARSE_FAILED"),
        (&alice, "{ nothing }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
        (&alice, CHANGED, json!({ "room": "nowhere" }), "NOT_FOUND"),
        (&alice, CHANGED, json!({ "after": "nothing" }), "NOT_FOUND"),
        (&server.nobody(), CHANGED, json!({}), "UNAUTHENTICATED"),
    ] {
        for request in [post(caller, query, variables.clone()), get(caller, query, &variables)] {
            let mut events = open(request).await;
            let (id, data) = events.next().await;
            assert_eq!(data["errors"][0]["extensions"]["code"], code, "{data}");
            assert_eq!((id, data.get("data")), (None, None));
            events.assert_complete().await;
        }
    }
    // An event that nobody knows, in the header.
    let request = post(&alice, CHANGED, Value::Null).header("last-event-id", "evt_nothing");
    let (_, data) = open(request).await.next().await;
    assert_eq!(data["errors"][0]["extensions"]["code"], "NOT_FOUND", "{data}");

    let stream = |request: RequestBuilder| request.header("accept", "text/event-stream");
    let plain = |caller: &Caller<'_>| stream(caller.request(Method::POST, "/graphql"));
    let one = json!({ "query": "{ __typename }" });
    let mutation = "mutation { logout { success } }";
    for (request, status, code) in [
        (plain(&server.bearer("wrong")).json(&one), 401, "INVALID_CREDENTIALS"),
        (
            plain(&server.nobody())
                .header("origin", "https://evil.example")
                .json(&one),
            403,
            "CROSS_SITE",
        ),
        (plain(&server.nobody()).body("{}"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (plain(&server.nobody()).json(&json!({})), 400, "BAD_REQUEST"),
        (plain(&server.nobody()).json(&json!([one])), 400, "BAD_REQUEST"),
        (
            plain(&server.nobody()).json(&json!({ "query": "x".repeat(1_100_000) })),
            413,
            "PAYLOAD_TOO_LARGE",
        ),
        (get(&server.nobody(), mutation, &json!({})), 405, "METHOD_NOT_ALLOWED"),
        (
            stream(server.nobody().request(Method::PUT, "/graphql")),
            405,
            "METHOD_NOT_ALLOWED",
        ),
    ] {
        let answer = send(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (status, code),
            "{:?}",
            answer.body
        );
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    }

    // Nine were charged: opening one is one, and what it delivers is free.
    let first = say(&alice, "1").await["id"].take();
    say(&alice, "2").await;
    let response = post(&alice, CHANGED, json!({ "after": first })).send().await.unwrap();
    assert_eq!(response.headers()["ratelimit-limit"], "12");
    assert_eq!(response.headers()["ratelimit-remaining"], "0");
    Events::of(response).next().await;
    let limited = send(post(&alice, CHANGED, Value::Null)).await;
    assert_eq!((limited.status.as_u16(), limited.code()), (429, "RATE_LIMITED"));
    assert!(limited.header("retry-after").is_some());
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_event_that_was_seen() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let first = say(&alice, "1").await["id"].take();
    let mut ids = Vec::new();
    let mut events = open(get(&alice, CHANGED, &json!({ "after": first }))).await;
    for expected in 2..=5 {
        say(&alice, "hi").await;
        let (id, data) = events.message().await;
        assert_eq!(number(&data), expected);
        assert_eq!(data["data"]["roomChanged"]["id"], id);
        ids.push(id);
    }
    drop(events);
    for expected in 6..=9 {
        say(&alice, &expected.to_string()).await;
    }
    // The header beats the argument.
    let request = post(&alice, CHANGED, json!({ "after": first })).header("last-event-id", &ids[2]);
    let mut events = open(request).await;
    for expected in 5..=9 {
        assert_eq!(number(&events.message().await.1), expected);
    }
    // An empty one is none, as a browser sends that has seen none.
    let request = post(&alice, CHANGED, json!({ "after": first })).header("last-event-id", "");
    assert_eq!(number(&open(request).await.message().await.1), 2);
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_is_there() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let added = "subscription { messageAdded { id } }";
    let mut events = open(post(&alice, added, Value::Null)).await;
    for _ in 0..2 {
        assert_eq!(events.piece().await, Some(Piece::Comment));
    }
}

#[tokio::test]
async fn curl_shows_events_at_once() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let first = say(&alice, "1").await["id"].take();
    let body = json!({ "query": CHANGED, "variables": { "after": first } }).to_string();
    let mut curl = tokio::process::Command::new("curl")
        .args([
            "-sN",
            "-H",
            "Accept: text/event-stream",
            "-H",
            "Content-Type: application/json",
        ])
        .args(["-H", &format!("Authorization: Bearer {}", alice.token()), "-d", &body])
        .arg(server.url("/graphql"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
    for expected in 2..5 {
        say(&alice, "hi").await;
        let shown = format!("\"number\":{expected}");
        timeout(PATIENCE, async {
            while !lines.next_line().await.unwrap().unwrap().contains(&shown) {}
        })
        .await
        .expect("it is shown while the stream is open");
    }
}

/// Without `complete`: the client may come again, and is then told why not.
async fn assert_ended(events: &mut Events) {
    while let Some(piece) = events.piece().await {
        assert_ne!(piece, Piece::Complete);
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_caller_and_with_the_server() {
    let server = Server::start().await;
    let other = match clustered() {
        true => Some(Server::options().place(&server.place).start().await),
        false => None,
    };
    let node = other.as_ref().unwrap_or(&server);
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    let first = say(&alice, "1").await["id"].take();
    let mut streams = Vec::new();
    for server in [&server, node] {
        let events = open(post(&server.bearer(alice.token()), CHANGED, json!({ "after": first }))).await;
        streams.push(events);
    }
    let mut remaining = open(post(&bob, CHANGED, json!({ "after": first }))).await;
    say(&bob, "2").await;
    for events in &mut streams {
        assert_eq!(number(&events.message().await.1), 2);
    }
    assert_eq!(alice.post("/v1/auth/logout", json!({})).await.status, 200);
    for events in &mut streams {
        assert_ended(events).await;
    }
    let refused = send(post(&alice, CHANGED, Value::Null)).await;
    assert_eq!(refused.status, 401);

    assert_eq!(number(&remaining.message().await.1), 2);
    let ((), (status, log)) = tokio::join!(assert_ended(&mut remaining), server.terminate());
    assert!(status.success() && !log.contains("still running"), "{log}");
}
