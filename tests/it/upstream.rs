//! A small server of the OpenAI API, as models and voices have it: it answers as it is told, and tells what it was asked.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::Response,
    routing::post,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

/// How long anything may take that does not depend on the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server. It ends when dropped.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What it was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// `/v1/chat/completions` or `/v1/audio/speech`.
    pub path: String,
    pub headers: HeaderMap,
    /// Null where it was no JSON.
    pub body: Value,
}

impl Upstream {
    /// Listens on a free port of 127.0.0.1. Without replies of the test's own it streams back what the user said, and
    /// speaks a tenth of a second of silence as WAV.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/audio/speech", post(speech))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            server,
        }
    }

    /// The `base_url` for the settings.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// From now on answers 401, and quotes what it got, to all who do not bring this key.
    pub fn demand_key(&self, key: &str) {
        *self.shared.key.lock().unwrap() = Some(key.to_owned());
    }

    /// What it answers to the next request for a chat that has no reply yet.
    pub fn next(&self, reply: Reply) {
        self.shared.chat.lock().unwrap().push_back(reply);
    }

    /// What it answers to the next request for speech that has no reply yet.
    pub fn next_speech(&self, reply: Reply) {
        self.shared.speech.lock().unwrap().push_back(reply);
    }

    /// All that it was asked until now, refused or not.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// Waits until it was asked so many times in all.
    pub async fn asked(&self, times: usize) -> Vec<Request> {
        let mut requests = self.shared.requests.subscribe();
        let asked = timeout(PATIENCE, requests.wait_for(|requests| requests.len() >= times)).await;
        asked.expect("the requests come").unwrap().clone()
    }

    /// How many clients went away before their reply had ended.
    pub fn left(&self) -> usize {
        *self.shared.left.borrow()
    }

    /// Waits until so many clients in all went away before their reply had ended.
    pub async fn lost(&self, clients: usize) {
        let mut left = self.shared.left.subscribe();
        let lost = timeout(PATIENCE, left.wait_for(|left| *left >= clients)).await;
        lost.expect("the clients go away").unwrap();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer to one request.
pub struct Reply {
    status: StatusCode,
    headers: Vec<(String, String)>,
    content: Content,
}

enum Content {
    /// Parts of the body, each sent by itself.
    Parts(VecDeque<Part>),
    /// Parts as the test gives them.
    Steps(mpsc::UnboundedReceiver<Part>),
    /// Not even headers.
    Nothing,
}

enum Part {
    Bytes(Bytes),
    End,
    Cut,
}

impl Reply {
    /// An answer in these pieces, as a server streams it: a role, the pieces, a reason to stop, `[DONE]`.
    pub fn stream(pieces: &[&str]) -> Self {
        let mut parts = vec![event(&json!({ "role": "assistant", "content": null }), None)];
        parts.extend(pieces.iter().map(|piece| event(&json!({ "content": piece }), None)));
        parts.push(event(&json!({}), Some("stop")));
        parts.push("data: [DONE]\n\n".to_owned());
        Self::raw("text/event-stream", parts)
    }

    /// An answer in one piece, as a server gives it that does not stream.
    pub fn plain(text: &str) -> Self {
        let message = json!({ "role": "assistant", "content": text });
        let body = json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] });
        Self::raw("application/json", [body.to_string()])
    }

    /// These parts of a body, whatever they are.
    pub fn raw<P: Into<Bytes>>(content_type: &str, parts: impl IntoIterator<Item = P>) -> Self {
        let parts = parts.into_iter().map(|part| Part::Bytes(part.into()));
        Self {
            status: StatusCode::OK,
            headers: vec![(header::CONTENT_TYPE.to_string(), content_type.to_owned())],
            content: Content::Parts(parts.chain([Part::End]).collect()),
        }
    }

    /// A failure with the error object of the API.
    pub fn status(status: u16, message: &str) -> Self {
        let error = json!({ "error": { "message": message, "type": "server_error" } });
        let mut reply = Self::raw("application/json", [error.to_string()]);
        reply.status = StatusCode::from_u16(status).unwrap();
        reply
    }

    /// Takes the request, and answers nothing at all.
    pub fn hang() -> Self {
        let mut reply = Self::raw::<Bytes>("", []);
        reply.content = Content::Nothing;
        reply
    }

    /// Sends headers, then what the test gives, when it gives it.
    pub fn steps() -> (Self, Steps) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut reply = Self::raw::<Bytes>("text/event-stream", []);
        reply.content = Content::Steps(receiver);
        (reply, Steps(sender))
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Cuts the connection where the body would have ended.
    #[must_use]
    pub fn cut(mut self) -> Self {
        if let Content::Parts(parts) = &mut self.content {
            parts.pop_back();
            parts.push_back(Part::Cut);
        }
        self
    }
}

/// Gives an answer step by step. Dropping it without an end cuts the connection.
pub struct Steps(mpsc::UnboundedSender<Part>);

impl Steps {
    /// A piece of the answer.
    pub fn text(&self, piece: &str) {
        self.raw(event(&json!({ "content": piece }), None));
    }

    /// Bytes as they are.
    pub fn raw(&self, bytes: impl Into<Bytes>) {
        // Nobody may be there any more to take it.
        let _ = self.0.send(Part::Bytes(bytes.into()));
    }

    /// Ends the answer as it should be.
    pub fn end(self) {
        self.raw(event(&json!({}), Some("stop")));
        self.raw("data: [DONE]\n\n");
        let _ = self.0.send(Part::End);
    }
}

/// One event of a stream.
fn event(delta: &Value, finish_reason: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
    format!(
        "data: {}\n\n",
        json!({ "object": "chat.completion.chunk", "choices": [choice] })
    )
}

#[derive(Default)]
struct Shared {
    key: Mutex<Option<String>>,
    chat: Mutex<VecDeque<Reply>>,
    speech: Mutex<VecDeque<Reply>>,
    requests: watch::Sender<Vec<Request>>,
    left: watch::Sender<usize>,
}

async fn chat(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = shared.note(uri, &headers, &body);
    let next = || shared.chat.lock().unwrap().pop_front();
    let reply = shared.refusal(&headers).or_else(next).unwrap_or_else(|| {
        let mut messages = body["messages"].as_array().into_iter().flatten();
        let said = messages.rfind(|message| message["role"] == "user");
        let said = said.and_then(|message| message["content"].as_str()).unwrap_or_default();
        let words: Vec<_> = said.split_inclusive(' ').collect();
        Reply::stream(&[&["You said: "], words.as_slice()].concat())
    });
    answer(shared, reply).await
}

async fn speech(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    shared.note(uri, &headers, &body);
    let next = || shared.speech.lock().unwrap().pop_front();
    let reply = shared.refusal(&headers).or_else(next);
    let reply = reply.unwrap_or_else(|| Reply::raw("audio/wav", [silence()]));
    answer(shared, reply).await
}

impl Shared {
    fn note(&self, uri: Uri, headers: &HeaderMap, body: &[u8]) -> Value {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let request = Request {
            path: uri.path().to_owned(),
            headers: headers.clone(),
            body: body.clone(),
        };
        self.requests.send_modify(|requests| requests.push(request));
        body
    }

    fn refusal(&self, headers: &HeaderMap) -> Option<Reply> {
        let key = self.key.lock().unwrap().clone()?;
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.unwrap_or_default();
        (given != format!("Bearer {key}")).then(|| Reply::status(401, &format!("this key is wrong: {given}")))
    }
}

/// Counts a client as one that left, unless its reply has ended.
struct Leaving {
    shared: Arc<Shared>,
    has_ended: bool,
}

impl Leaving {
    fn stay(&mut self) {
        self.has_ended = true;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if !self.has_ended {
            self.shared.left.send_modify(|left| *left += 1);
        }
    }
}

async fn answer(shared: Arc<Shared>, reply: Reply) -> Response {
    let leaving = Leaving {
        shared,
        has_ended: false,
    };
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    if matches!(reply.content, Content::Nothing) {
        // Owned by this future, so that it is dropped with it.
        let _leaving = leaving;
        std::future::pending::<Infallible>().await;
        unreachable!("nothing comes after what never ends");
    }
    let body = stream::unfold((reply.content, leaving), |(mut content, mut leaving)| async move {
        let part = match &mut content {
            Content::Parts(parts) => parts.pop_front(),
            Content::Steps(steps) => Some(steps.recv().await.unwrap_or(Part::Cut)),
            Content::Nothing => None,
        };
        match part? {
            Part::Bytes(bytes) => Some((Ok(bytes), (content, leaving))),
            Part::End => {
                leaving.stay();
                None
            }
            Part::Cut => {
                leaving.stay();
                // What came before is written while this waits; a connection that breaks forgets what is not.
                tokio::task::yield_now().await;
                Some((Err(io::Error::other("cut")), (Content::Parts(VecDeque::new()), leaving)))
            }
        }
    });
    response.body(Body::from_stream(body)).unwrap()
}

/// A WAV of 0.1 s: 16 bits, mono, 8,000 Hz.
fn silence() -> Vec<u8> {
    const RATE: u32 = 8_000;
    let samples = RATE / 10;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + samples * 2).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(RATE.to_le_bytes());
    wav.extend((RATE * 2).to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend((samples * 2).to_le_bytes());
    wav.resize(wav.len() + samples as usize * 2, 0);
    wav
}

#[tokio::test]
async fn the_upstream_does_as_it_is_told() {
    // Fails where another test has chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let upstream = Upstream::start().await;
    let post = |path: &str| http.post(format!("{}/{path}", upstream.url()));
    let chat = || post("chat/completions").json(&json!({ "messages": [{ "role": "user", "content": "a b" }] }));

    let echo = chat().send().await.unwrap().text().await.unwrap();
    assert!(
        echo.contains(r#"{"content":"a "}"#) && echo.ends_with("data: [DONE]\n\n"),
        "{echo}"
    );
    let spoken = post("audio/speech").send().await.unwrap().bytes().await.unwrap();
    assert_eq!((&spoken[..4], spoken.len()), (&b"RIFF"[..], 44 + 1_600));

    upstream.next_speech(Reply::status(500, "hoarse"));
    assert_eq!(post("audio/speech").send().await.unwrap().status(), 500);
    upstream.next(Reply::status(429, "slow down").header("retry-after", "7"));
    assert_eq!(chat().send().await.unwrap().headers()["retry-after"], "7");
    upstream.next(Reply::plain("whole"));
    let plain: Value = chat().send().await.unwrap().json().await.unwrap();
    assert_eq!(plain["choices"][0]["message"]["content"], "whole");
    upstream.next(Reply::stream(&["half"]).cut());
    assert!(chat().send().await.unwrap().bytes().await.is_err());

    let (reply, steps) = Reply::steps();
    upstream.next(reply);
    let mut response = chat().send().await.unwrap();
    steps.text("one");
    let one = response.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&one).contains(r#"{"content":"one"}"#));
    steps.end();
    response.bytes().await.unwrap();
    assert_eq!(upstream.left(), 0);

    upstream.next(Reply::hang());
    let hanging = tokio::spawn(chat().send());
    assert_eq!(upstream.asked(8).await.len(), 8);
    hanging.abort();
    upstream.lost(1).await;

    upstream.demand_key("k");
    assert_eq!(chat().send().await.unwrap().status(), 401);
    assert_eq!(chat().bearer_auth("k").send().await.unwrap().status(), 200);
    let last = upstream.requests().pop().unwrap();
    assert_eq!(
        (last.path.as_str(), &last.body["messages"][0]["content"]),
        ("/v1/chat/completions", &json!("a b"))
    );
    assert_eq!(last.headers["authorization"], "Bearer k");
}
