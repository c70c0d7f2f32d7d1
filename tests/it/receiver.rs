//! A small receiver of webhooks: it answers as it is told, and tells what it was sent.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::harness::PATIENCE;

/// The receiver. It ends when dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What it was sent.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Delivered {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a delivery is JSON")
    }

    /// A header, which has to be there.
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// For the scripts that verify deliveries.
    pub fn to_verify(&self, secret: &str, verifies: bool) -> Value {
        let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers: HashMap<_, _> = names.iter().map(|name| (*name, self.header(name))).collect();
        json!({ "secret": secret, "headers": headers, "body": self.body, "verifies": verifies })
    }
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1. Without replies of the test's own it answers 204.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            server,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it answers to the next request that has no reply yet.
    pub fn next(&self, reply: Reply) {
        self.shared.replies.lock().unwrap().push_back(reply);
    }

    /// From now on answers 500 to whatever has this text in its body.
    pub fn refuse(&self, text: &str) {
        *self.shared.refused.lock().unwrap() = Some(text.to_owned());
    }

    /// Refuses no more.
    pub fn accept(&self) {
        *self.shared.refused.lock().unwrap() = None;
    }

    /// All that it was sent until now.
    pub fn all(&self) -> Vec<Delivered> {
        self.shared.requests.borrow().clone()
    }

    /// Waits until it was sent so many in all.
    pub async fn sent(&self, times: usize) -> Vec<Delivered> {
        let mut requests = self.shared.requests.subscribe();
        let sent = timeout(PATIENCE, requests.wait_for(|requests| requests.len() >= times)).await;
        sent.expect("the deliveries come").unwrap().clone()
    }

    /// Waits for the one delivery that comes beside so many before it.
    pub async fn one_more(&self, before: usize) -> Delivered {
        let mut sent = self.sent(before + 1).await;
        assert_eq!(sent.len(), before + 1, "{sent:#?}");
        sent.remove(before)
    }
}

impl Drop for Receiver {
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
    Bytes(Bytes),
    /// Parts as the test gives them; the connection is cut where it gives up.
    Steps(mpsc::UnboundedReceiver<Bytes>),
    /// Nothing at all, until the test lets it go.
    Held(watch::Receiver<bool>),
    Over,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: Vec::new(),
            content: Content::Bytes(Bytes::new()),
        }
    }

    /// 200 with this body.
    pub fn body(body: impl Into<Bytes>) -> Self {
        let mut reply = Self::status(200);
        reply.content = Content::Bytes(body.into());
        reply
    }

    /// Sends headers, then what the test gives, when it gives it. Dropping the sender cuts the connection.
    pub fn steps() -> (Self, mpsc::UnboundedSender<Bytes>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut reply = Self::status(200);
        reply.content = Content::Steps(receiver);
        (reply, sender)
    }

    /// Takes the request, and answers 200 when the test says so.
    pub fn held(until: &watch::Sender<bool>) -> Self {
        let mut reply = Self::status(200);
        reply.content = Content::Held(until.subscribe());
        reply
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

#[derive(Default)]
struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    refused: Mutex<Option<String>>,
    requests: watch::Sender<Vec<Delivered>>,
}

impl Shared {
    fn reply(&self, body: &str) -> Reply {
        let refused = self.refused.lock().unwrap().clone();
        if refused.is_some_and(|text| body.contains(&text)) {
            return Reply::status(500);
        }
        let next = self.replies.lock().unwrap().pop_front();
        next.unwrap_or_else(|| Reply::status(204))
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    method: axum::http::Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let reply = shared.reply(&body);
    let request = Delivered {
        method: method.to_string(),
        path: uri.path().to_owned(),
        headers,
        body,
    };
    shared.requests.send_modify(|requests| requests.push(request));
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let body = match reply.content {
        Content::Bytes(bytes) => Body::from(bytes),
        Content::Held(mut until) => {
            // Fails where the test is over.
            let _ = until.wait_for(|is_let_go| *is_let_go).await;
            Body::empty()
        }
        content => Body::from_stream(stream::unfold(content, |mut content| async move {
            let Content::Steps(steps) = &mut content else {
                return None;
            };
            match steps.recv().await {
                Some(bytes) => Some((Ok(bytes), content)),
                None => Some((Err(io::Error::other("cut")), Content::Over)),
            }
        })),
    };
    response.body(body).unwrap()
}

#[tokio::test]
async fn the_receiver_does_as_it_is_told() {
    let http = crate::harness::client();
    let receiver = Receiver::start().await;
    let post = |body: &'static str| {
        http.post(receiver.url("/hook"))
            .header("webhook-id", "evt_1")
            .body(body)
            .send()
    };
    assert_eq!(post("a").await.unwrap().status(), 204);
    receiver.next(Reply::status(429).header("retry-after", "7"));
    receiver.refuse("b");
    assert_eq!(post("b").await.unwrap().status(), 500);
    assert_eq!(post("a").await.unwrap().headers()["retry-after"], "7");
    receiver.accept();
    receiver.next(Reply::body("whole"));
    assert_eq!(post("b").await.unwrap().text().await.unwrap(), "whole");

    let (reply, steps) = Reply::steps();
    receiver.next(reply);
    let mut response = post("c").await.unwrap();
    steps.send("one".into()).unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "one");
    drop(steps);
    assert!(response.chunk().await.is_err());

    let let_go = watch::Sender::new(false);
    receiver.next(Reply::held(&let_go));
    let held = tokio::spawn(post("d"));
    let last = receiver.one_more(5).await;
    assert_eq!(
        (last.path.as_str(), last.header("webhook-id"), last.body.as_str()),
        ("/hook", "evt_1", "d")
    );
    let_go.send_replace(true);
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}
