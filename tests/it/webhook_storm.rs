//! Webhooks lose nothing, double nothing without a crash, and keep the order of each subject, though servers are killed
//! while they deliver.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use bambisleep_chat::id::IdKind;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TransactionTrait};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{
    clients::pause,
    harness::{Caller, PATIENCE, Place, Server, address_to_keep, client, clustered, eventually},
};

/// One request to a webhook.
#[derive(Clone, Debug)]
struct Arrival {
    webhook: String,
    id: String,
    body: String,
    is_taken: bool,
}

/// Takes what it is sent, some time later, and refuses some of it once.
struct Receiver {
    address: SocketAddr,
    state: Arc<Inbox>,
    server: JoinHandle<()>,
}

struct Inbox {
    arrivals: watch::Sender<Vec<Arrival>>,
    /// One of so many events is refused by each webhook the first time; 0: none.
    refuses: usize,
}

impl Receiver {
    async fn start(refuses: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Inbox {
            arrivals: watch::Sender::default(),
            refuses,
        });
        let router = Router::new()
            .route("/{webhook}", post(receive))
            .with_state(state.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state, server }
    }

    /// Makes a webhook of the caller's that is named so here.
    async fn listen(&self, caller: &Caller<'_>, webhook: &str) {
        let document = "mutation ($input: CreateWebhookInput!) { createWebhook(input: $input) { secret } }";
        let events = ["MESSAGE_NEW", "PROFILE_UPDATE"];
        let url = format!("http://{}/{webhook}", self.address);
        caller
            .data(document, json!({ "input": { "url": url, "events": events } }))
            .await;
    }

    fn arrivals(&self) -> Vec<Arrival> {
        self.state.arrivals.borrow().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(
    State(state): State<Arc<Inbox>>,
    Path(webhook): Path<String>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    let sum: usize = id.bytes().map(usize::from).sum();
    let mut is_taken = true;
    state.arrivals.send_modify(|all| {
        let is_first = !all.iter().any(|arrival| arrival.webhook == webhook && arrival.id == id);
        is_taken = !(is_first && sum.is_multiple_of(state.refuses));
        all.push(Arrival {
            webhook,
            id,
            body,
            is_taken,
        });
    });
    // A receiver has something to do, so that a server is killed while it waits for the answer.
    sleep(Duration::from_millis(sum as u64 % 12)).await;
    match is_taken {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

const ROOMS: [&str; 4] = ["lobby", "attic", "cellar", "garden"];
const WEBHOOKS: [&str; 2] = ["one", "two"];

/// What sends events until each is acknowledged: four messages, then a profile.
struct Sender {
    name: String,
    urls: Vec<String>,
    token: String,
    http: reqwest::Client,
}

impl Sender {
    fn new(name: &str, urls: &[String], token: &str) -> Self {
        Self {
            name: name.to_owned(),
            urls: urls.to_vec(),
            token: token.to_owned(),
            http: client(),
        }
    }

    async fn send(&mut self, nth: usize) {
        let nonce = format!("{} {nth}", self.name);
        let (document, variables) = match nth % 5 {
            4 => (
                "mutation ($name: String!, $input: UpdateProfileInput!) {
                     updateProfile(username: $name, input: $input) { profile { id } }
                 }",
                json!({ "name": self.name, "input": { "displayName": nonce } }),
            ),
            room => (
                "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }",
                json!({ "input": { "room": ROOMS[room], "content": nonce, "nonce": nonce } }),
            ),
        };
        let body = json!({ "query": document, "variables": variables });
        let start = Instant::now();
        while !self.post(&nonce, &body).await {
            assert!(start.elapsed() < PATIENCE, "{nonce} is not acknowledged");
            self.urls.rotate_left(1);
            pause().await;
        }
    }

    async fn post(&self, nonce: &str, body: &Value) -> bool {
        let request = self
            .http
            .post(format!("{}/graphql", self.urls[0]))
            .bearer_auth(&self.token);
        let request = match body["variables"]["input"]["nonce"].is_null() {
            true => request.header("Idempotency-Key", nonce),
            false => request,
        };
        let Ok(answer) = request.json(body).send().await else {
            return false;
        };
        let Ok(answer) = answer.json::<Value>().await else {
            return false;
        };
        let code = &answer["errors"][0]["extensions"]["code"];
        assert!(code.is_null() || code == "UNAVAILABLE", "{nonce}: {answer}");
        code.is_null()
    }
}

/// Senders at once who send so many each.
struct Storm {
    senders: JoinSet<()>,
    sent: Arc<AtomicUsize>,
}

impl Storm {
    fn start(senders: Vec<Sender>, events: std::ops::Range<usize>) -> Self {
        let mut all = JoinSet::new();
        let sent = Arc::new(AtomicUsize::new(0));
        for mut sender in senders {
            let (events, sent) = (events.clone(), sent.clone());
            all.spawn(async move {
                for nth in events {
                    sender.send(nth).await;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { senders: all, sent }
    }

    async fn reached(&self, count: usize) {
        eventually("events are sent", async || self.sent.load(Ordering::Relaxed) >= count).await;
    }

    async fn end(self) {
        self.senders.join_all().await;
    }
}

/// Who is going to send: a member for each of the names.
async fn senders(server: &Server, urls: &[String], names: &[&str]) -> Vec<Sender> {
    let mut senders = Vec::new();
    for (nth, name) in names.iter().enumerate() {
        let member = server.member(name).await;
        let (first, rest) = urls.split_at(nth % urls.len());
        let urls = [rest, first].concat();
        senders.push(Sender::new(name, &urls, member.token()));
    }
    senders
}

/// Makes the rooms, and a member with two webhooks.
async fn prepare(server: &Server, receiver: &Receiver) {
    let owner = server.member("owner").await;
    for room in &ROOMS[1..] {
        let document = "mutation ($input: CreateRoomInput!) { createRoom(input: $input) { room { id } } }";
        owner.data(document, json!({ "input": { "name": room } })).await;
    }
    for webhook in WEBHOOKS {
        receiver.listen(&owner, webhook).await;
    }
}

/// Lets the leases of the dead end at once, and what failed be due, so that nothing waits for as long as it would.
async fn hurry(database: &DatabaseConnection) {
    let text =
        "UPDATE deliveries SET lease_until = CASE WHEN lease_until IS NULL THEN NULL ELSE 0 END, next_attempt_at = 0
                WHERE status = 'pending'";
    database.execute_unprepared(text).await.unwrap();
}

async fn rows(database: &DatabaseConnection, text: &str) -> Vec<sea_orm::QueryResult> {
    let statement = Statement::from_string(database.get_database_backend(), text);
    database.query_all_raw(statement).await.unwrap()
}

/// How many deliveries are to be sent still. The dispatcher has to have come to the end of the log.
async fn pending(database: &DatabaseConnection) -> usize {
    let events = rows(database, EVENTS).await.len();
    let found = rows(database, "SELECT 1 FROM deliveries WHERE status <> 'pending'").await;
    events * WEBHOOKS.len() - found.len()
}

const EVENTS: &str = "SELECT id, subject_id, seq FROM events WHERE kind IN ('message.new', 'profile.update')";

/// Waits until all has been recorded; then, that each event has arrived at each webhook, those of a subject in their order,
/// and always the same under one id. How many requests came twice.
async fn assert_all_arrived(receiver: &Receiver, database: &DatabaseConnection, expected: usize) -> usize {
    let start = Instant::now();
    while pending(database).await > 0 {
        let left = pending(database).await;
        assert!(start.elapsed() < 4 * PATIENCE, "{left} deliveries are still pending");
        // What was refused once would be sent again 5 s later.
        let text = "UPDATE deliveries SET next_attempt_at = 0 WHERE status = 'pending' AND attempts > 0";
        database.execute_unprepared(text).await.unwrap();
        pause().await;
    }
    let events = rows(database, EVENTS).await.into_iter().map(|row| {
        let id: Uuid = row.try_get("", "id").unwrap();
        let subject: Uuid = row.try_get("", "subject_id").unwrap();
        let seq: i64 = row.try_get("", "seq").unwrap();
        (IdKind::Event.encode(id), (subject, seq))
    });
    let events: HashMap<String, (Uuid, i64)> = events.collect();
    assert_eq!(events.len(), expected, "each event was written once");
    let arrivals = receiver.arrivals();
    let mut bodies: HashMap<&str, HashSet<String>> = HashMap::new();
    for webhook in WEBHOOKS {
        let mut told = HashSet::new();
        let mut newest: BTreeMap<Uuid, i64> = BTreeMap::new();
        for arrival in arrivals.iter().filter(|arrival| arrival.webhook == webhook) {
            let (subject, seq) = events[&arrival.id];
            if told.insert(&arrival.id) {
                let before = newest.insert(subject, seq).unwrap_or_default();
                assert!(before < seq, "{webhook} was told of {before} of {subject} before {seq}");
            }
        }
        assert_eq!(told.len(), expected, "{webhook} was told of each event");
        let taken = arrivals.iter().filter(|one| one.webhook == webhook && one.is_taken);
        let taken: HashSet<_> = taken.map(|one| &one.id).collect();
        assert_eq!(taken.len(), expected, "{webhook} has taken each event");
    }
    for arrival in &arrivals {
        let body: Value = serde_json::from_str(&arrival.body).unwrap();
        let about = json!([body["type"], body["timestamp"], body["data"]["id"]]);
        bodies.entry(&arrival.id).or_default().insert(about.to_string());
    }
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "one id, one event");
    arrivals.iter().filter(|arrival| arrival.is_taken).count() - WEBHOOKS.len() * expected
}

#[tokio::test]
async fn each_event_arrives_in_order_though_the_server_is_killed_again_and_again() {
    const EACH: usize = 100;
    const KILLS: usize = 8;
    let mut place = Place::new().await;
    place.set("BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE", "true");
    let address = address_to_keep();
    let node = || Server::options().place(&place).at(address);
    let mut server = node().start().await;
    let receiver = Receiver::start(23).await;
    prepare(&server, &receiver).await;
    let urls = [server.url("")];
    let senders = senders(&server, &urls, &["alice", "bob"]).await;
    let database = place.database().await;
    let storm = Storm::start(senders, 0..EACH);
    let mut random: u64 = 0x5eed;
    for kill in 1..=KILLS {
        storm.reached(2 * EACH * kill / (KILLS + 2)).await;
        // Numerical Recipes' generator: at other steps each time, the same in each run.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let more = receiver.arrivals().len() + (random >> 33) as usize % 12;
        let mut arrivals = receiver.state.arrivals.subscribe();
        let _ = timeout(Duration::from_secs(2), arrivals.wait_for(|all| all.len() >= more)).await;
        server.kill().await;
        hurry(&database).await;
        server = node().start().await;
    }
    storm.end().await;
    let twice = assert_all_arrived(&receiver, &database, 2 * EACH).await;
    eprintln!(
        "{KILLS} kills: {} requests, {twice} of them sent again",
        receiver.arrivals().len()
    );
    server.kill().await;
}

#[tokio::test]
async fn nodes_share_the_work_and_send_nothing_twice_until_one_is_killed() {
    const EACH: usize = 50;
    let mut place = Place::new().await;
    place.set("BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE", "true");
    let node = || Server::options().place(&place);
    let mut nodes = vec![node().start().await];
    if clustered() {
        nodes.extend([node().start().await, node().start().await]);
    }
    let receiver = Receiver::start(0).await;
    prepare(&nodes[0], &receiver).await;
    let urls: Vec<String> = nodes.iter().map(|node| node.url("")).collect();
    let names = ["alice", "bob", "carol"];
    let members = senders(&nodes[0], &urls, &names).await;
    let again = members
        .iter()
        .map(|sender| Sender::new(&sender.name, &sender.urls, &sender.token));
    let again: Vec<Sender> = again.collect();
    let database = place.database().await;
    Storm::start(members, 0..EACH).end().await;
    let twice = assert_all_arrived(&receiver, &database, 3 * EACH).await;
    assert_eq!(twice, 0, "nobody has crashed");
    assert_eq!(receiver.arrivals().len(), 2 * 3 * EACH);
    if !clustered() {
        return; // About several nodes, which take Postgres.
    }

    let storm = Storm::start(again, EACH..2 * EACH);
    storm.reached(3 * EACH / 2).await;
    nodes.remove(1).kill().await;
    hurry_the_dead(&database).await;
    storm.end().await;
    let twice = assert_all_arrived(&receiver, &database, 6 * EACH).await;
    eprintln!("one of three nodes killed: {twice} requests sent again");
}

/// Lets the leases end of what a node took that is dead now, which nobody has recorded within two attempts' time: those that
/// live record theirs within moments.
async fn hurry_the_dead(database: &DatabaseConnection) {
    let held = async || -> BTreeSet<Uuid> {
        let rows = rows(
            database,
            "SELECT lease FROM deliveries WHERE status = 'pending' AND lease IS NOT NULL",
        )
        .await;
        rows.iter().map(|row| row.try_get("", "lease").unwrap()).collect()
    };
    let before = held().await;
    let start = Instant::now();
    let mut left = before;
    while !left.is_empty() && start.elapsed() < Duration::from_secs(3) {
        left = left.intersection(&held().await).copied().collect();
        pause().await;
    }
    for lease in left {
        let text = format!("UPDATE deliveries SET lease_until = 0 WHERE lease = '{lease}'");
        database.execute_unprepared(&text).await.unwrap();
    }
}

#[tokio::test]
async fn the_whole_log_has_a_subjects_events_in_their_order_whoever_began_to_write_first() {
    if !clustered() {
        return; // SQLite has one writer.
    }
    let place = Place::new().await;
    let node = || Server::options().place(&place);
    let (one, two) = (node().start().await, node().start().await);
    let alice = one.member("alice").await;
    let database = place.database().await;
    // Whoever has claimed a key waits there, with a transaction that has begun to write.
    database
        .execute_unprepared(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
             CREATE TRIGGER waits AFTER INSERT ON idempotency_keys FOR EACH STATEMENT EXECUTE FUNCTION wait()",
        )
        .await
        .unwrap();
    let lock = database.begin().await.unwrap();
    lock.execute_unprepared("SELECT pg_advisory_xact_lock(42)")
        .await
        .unwrap();
    let document = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
    let input = |content: &str, nonce: Option<&str>| json!({ "input": { "content": content, "nonce": nonce } });
    let there = two.bearer(alice.token());
    let first = async {
        eventually("one waits", async || {
            let waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
            !rows(&database, waiting).await.is_empty()
        })
        .await;
        there.data(document, input("written first", None)).await;
        lock.commit().await.unwrap();
    };
    tokio::join!(alice.data(document, input("begun first", Some("a nonce"))), first);
    let log = alice.get("/v1/events?kinds=message.new").await;
    let contents = log.body["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["data"]["content"]);
    assert_eq!(contents.collect::<Vec<_>>(), ["written first", "begun first"]);
}
