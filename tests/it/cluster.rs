//! Nobody loses a message: not when a node is killed among those who send and read, nor when Redis is, nor when the only
//! node is and comes back.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::watch, task::JoinSet, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::{
    clients::{Follower, Heard, Reader, pause, say, socket_url},
    harness::{Caller, PATIENCE, Place, RedisServer, Server, address_to_keep, client, clustered, send},
};

/// How many each of the senders sends.
const EACH: usize = 400;
const WAYS: [Way; 5] = [Way::GraphQl, Way::Rest, Way::Socket, Way::GraphQl, Way::Rest];
const ALL: usize = EACH * WAYS.len();
const READERS: [Reader; 4] = [
    Reader::GraphqlWs("messageAdded"),
    Reader::GraphqlSse("messageAdded"),
    Reader::Python,
    Reader::Rust,
];

/// How a sender sends.
#[derive(Clone, Copy)]
enum Way {
    /// `sendMessage` with a `nonce`.
    GraphQl,
    /// `POST /v1/chat/messages` with an `Idempotency-Key`.
    Rest,
    /// A frame with a `nonce` on `/ws/chat`.
    Socket,
}

/// Sends until it is acknowledged: to the next server whenever one does not answer.
struct Sender {
    way: Way,
    urls: Vec<String>,
    token: String,
    http: Client,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
}

impl Sender {
    /// The number that the message has got.
    async fn send(&mut self, content: &str) -> u64 {
        let start = Instant::now();
        loop {
            let sent = match self.way {
                Way::GraphQl => self.send_graphql(content).await,
                Way::Rest => self.send_rest(content).await,
                Way::Socket => self.send_frame(content).await,
            };
            if let Some(number) = sent {
                return number;
            }
            assert!(start.elapsed() < PATIENCE, "{content} is not acknowledged");
            self.socket = None;
            self.urls.rotate_left(1);
            pause().await;
        }
    }

    async fn send_graphql(&self, content: &str) -> Option<u64> {
        let document = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { number } } }";
        let input = json!({ "content": content, "nonce": content });
        let body = json!({ "query": document, "variables": { "input": input } });
        let answer = self.post("/graphql", "unused", &body).await?;
        if answer["errors"][0]["extensions"]["code"] == "UNAVAILABLE" {
            return None;
        }
        let number = answer["data"]["sendMessage"]["message"]["number"].as_u64();
        Some(number.unwrap_or_else(|| panic!("{content}: {answer}")))
    }

    async fn send_rest(&self, content: &str) -> Option<u64> {
        let body = json!({ "content": content });
        let answer = self.post("/v1/chat/messages", content, &body).await?;
        if answer["code"] == "UNAVAILABLE" {
            return None;
        }
        let number = answer["number"].as_u64();
        Some(number.unwrap_or_else(|| panic!("{content}: {answer}")))
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Option<Value> {
        let mut request = self.http.request(Method::POST, format!("{}{path}", self.urls[0]));
        if path.starts_with("/v1") {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.bearer_auth(&self.token).json(body).send().await.ok()?;
        answer.json().await.ok()
    }

    async fn send_frame(&mut self, content: &str) -> Option<u64> {
        if self.socket.is_none() {
            let (mut socket, _) = connect_async(socket_url(&self.urls[0])).await.ok()?;
            let auth = json!({ "type": "auth", "token": self.token });
            socket.send(Message::text(auth.to_string())).await.ok()?;
            self.socket = Some(socket);
        }
        let socket = self.socket.as_mut()?;
        let frame = json!({ "type": "message", "content": content, "nonce": content });
        socket.send(Message::text(frame.to_string())).await.ok()?;
        loop {
            let Message::Text(text) = socket.next().await?.ok()? else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).unwrap();
            match frame["type"].as_str() {
                Some("ack") if frame["nonce"] == content => return frame["number"].as_u64(),
                Some("error") if frame["code"] == "UNAVAILABLE" => return None,
                Some("error") => panic!("{content}: {frame}"),
                _ => {}
            }
        }
    }
}

/// What five senders send at once, and what they have been told.
struct Storm {
    senders: JoinSet<Vec<(u64, String)>>,
    acknowledged: watch::Receiver<usize>,
}

impl Storm {
    /// `tokens` are one for each sender. Each begins at a server of its own.
    fn start(urls: &[String], tokens: &[String]) -> Self {
        let (count, acknowledged) = watch::channel(0);
        let mut senders = JoinSet::new();
        for (nth, (way, token)) in WAYS.into_iter().zip(tokens).enumerate() {
            let mut urls = urls.to_vec();
            let servers = urls.len();
            urls.rotate_left(nth % servers);
            let mut sender = Sender {
                way,
                urls,
                token: token.clone(),
                http: client(),
                socket: None,
            };
            let count = count.clone();
            senders.spawn(async move {
                let mut told = Vec::new();
                for message in 0..EACH {
                    let content = format!("{message} of sender {nth}");
                    told.push((sender.send(&content).await, content));
                    count.send_modify(|count| *count += 1);
                }
                told
            });
        }
        Self { senders, acknowledged }
    }

    /// Waits until so many messages are acknowledged. More are still to come.
    async fn reached(&mut self, count: usize) {
        let reached = timeout(PATIENCE, self.acknowledged.wait_for(|so_far| *so_far >= count)).await;
        let so_far = *reached.expect("messages are acknowledged").expect("senders are at it");
        assert!(so_far < ALL, "all is over before anything has happened");
    }

    /// What each number said, once all is acknowledged.
    async fn end(self) -> BTreeMap<u64, String> {
        let told: Vec<_> = self.senders.join_all().await.into_iter().flatten().collect();
        let by_number: BTreeMap<_, _> = told.into_iter().collect();
        assert_eq!(by_number.len(), ALL, "two messages have one number");
        by_number
    }
}

/// Members who are going to send; their tokens.
async fn sending_members(servers: &[&Server]) -> Vec<String> {
    let mut tokens = Vec::new();
    for nth in 0..WAYS.len() {
        let server = servers[nth % servers.len()];
        tokens.push(server.member(&format!("sender-{nth}")).await.token().to_owned());
    }
    tokens
}

/// That a room has what was acknowledged, numbered after the first message, and nothing else; by its history.
async fn assert_kept(caller: &Caller<'_>, first: &str, told: &BTreeMap<u64, String>) {
    let mut kept = BTreeMap::new();
    let mut after = first.to_owned();
    loop {
        let path = format!("/v1/chat/messages?first=100&after={after}");
        let page = send(caller.request(Method::GET, &path)).await.body;
        let Some(last) = page["messages"].as_array().unwrap().last() else {
            break;
        };
        after = last["id"].as_str().unwrap().to_owned();
        for message in page["messages"].as_array().unwrap() {
            let content = message["content"].as_str().unwrap().to_owned();
            kept.insert(message["number"].as_u64().unwrap(), content);
        }
    }
    assert!(kept == *told, "what is kept is not what was acknowledged");
    assert!(kept.keys().copied().eq(2..=ALL as u64 + 1), "numbers have gaps");
}

/// That a reader, who has seen the first message, has heard of every other, each once and in order, up to the last one.
async fn assert_heard(follower: &mut Follower, told: &BTreeMap<u64, String>) {
    for (number, content) in told {
        let expected = Heard {
            change: "message",
            number: *number,
            content: content.clone(),
        };
        assert_eq!(follower.next().await, expected, "{:?}", follower.reader);
    }
    let last = follower.next().await;
    assert_eq!(last.content, "the last one", "{:?}", follower.reader);
}

#[tokio::test]
async fn every_reader_has_everything_once_though_a_node_and_redis_are_killed() {
    if !clustered() {
        return; // About several nodes, which take Postgres.
    }
    let place = Place::new().await;
    let mut redis = RedisServer::start().await;
    let node = || Server::options().place(&place).set("REDIS_URL", &redis.url());
    let [one, two, three] = [node().start().await, node().start().await, node().start().await];
    let urls = [&one, &two, &three].map(|node| node.url(""));
    let reading = one.member("reader").await;
    let first = say(&reading, "lobby", "the first one").await;
    let tokens = sending_members(&[&one, &two, &three]).await;

    let mut followers = Vec::new();
    for nth in 0..urls.len() {
        for reader in READERS {
            let mut urls = urls.clone();
            urls.rotate_left(nth);
            followers.push(Follower::start(reader, &urls, reading.token(), "lobby", &first));
        }
    }
    for follower in &mut followers {
        follower.connected().await;
    }
    let started = Instant::now();
    let mut storm = Storm::start(&urls, &tokens);
    storm.reached(ALL * 3 / 10).await;
    two.kill().await;
    storm.reached(ALL * 5 / 10).await;
    redis.kill();
    storm.reached(ALL * 7 / 10).await;
    redis.restart().await;
    let told = storm.end().await;
    let sent = started.elapsed();
    assert_kept(&reading, &first, &told).await;
    say(&reading, "lobby", "the last one").await;
    for (nth, follower) in followers.iter_mut().enumerate() {
        assert_heard(follower, &told).await;
        let moved = nth / READERS.len() == 1; // Those of the node that was killed.
        assert_eq!(follower.connections > 1, moved, "{nth}: {:?}", follower.reader);
    }
    report("three nodes, one killed, and Redis", sent, started, followers.len());
}

#[tokio::test]
async fn every_reader_has_everything_once_though_the_only_node_is_killed() {
    if clustered() {
        return; // About what SQLite keeps.
    }
    let place = Place::new().await;
    let address = address_to_keep();
    let node = || Server::options().place(&place).at(address);
    let mut server = node().start().await;
    let urls = [server.url("")];
    let reader = server.member("reader").await.token().to_owned();
    let first = say(&server.bearer(&reader), "lobby", "the first one").await;
    let tokens = sending_members(&[&server]).await;

    let mut followers = READERS.map(|kind| Follower::start(kind, &urls, &reader, "lobby", &first));
    for follower in &mut followers {
        follower.connected().await;
    }
    let started = Instant::now();
    let mut storm = Storm::start(&urls, &tokens);
    for tenths in [2, 5, 8] {
        storm.reached(ALL * tenths / 10).await;
        server.kill().await;
        server = node().start().await;
    }
    let told = storm.end().await;
    let sent = started.elapsed();
    let reading = server.bearer(&reader);
    assert_kept(&reading, &first, &told).await;
    say(&reading, "lobby", "the last one").await;
    for follower in &mut followers {
        assert_heard(follower, &told).await;
        assert!(follower.connections > 3, "{:?} was not disconnected", follower.reader);
    }
    report("one node, killed three times", sent, started, followers.len());
}

/// For those who run it with `--nocapture`.
fn report(what: &str, sent: Duration, started: Instant, readers: usize) {
    let heard = started.elapsed();
    eprintln!("{what}: {ALL} messages acknowledged within {sent:.1?}, heard by {readers} readers within {heard:.1?}");
}
