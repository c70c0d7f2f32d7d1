use std::{collections::BTreeMap, net::Ipv4Addr, sync::Mutex};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER},
    routing::post,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sea_orm::{EntityTrait, Value};
use tokio::{net::TcpListener, sync::watch};

use super::*;
use crate::{
    accounts::{Operator, password::Password},
    boot,
    chat::{Chat, Room},
    config::Settings,
    event::EventKind,
    events::Render,
    gate::{self, rules::Role},
    graphql::{
        document::{Documents, LIMITS},
        schema,
        types::Types,
    },
    loaders::Loaders,
    presence::Presence,
    rest::{self, Rest},
    time::{DAY, HOUR, MINUTE, SECOND},
    webhooks::{self, Change, New, Webhooks, schedule},
};

/// What a receiver was sent: the name in its path, `webhook-id`, and the message's content if it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    name: String,
    id: String,
    content: String,
}

/// What it answers to a request, by what it was sent and how many it was sent before.
type Answers = dyn Fn(&Seen, usize) -> Answer + Send + Sync;

#[derive(Clone)]
enum Answer {
    Status(u16),
    /// 429, with a `Retry-After` of so many seconds.
    Later(u64),
    /// This, once so many requests are there at once.
    Crowd(usize, u16),
}

struct Receiver {
    port: u16,
    state: Arc<Inbox>,
}

struct Inbox {
    seen: watch::Sender<Vec<Seen>>,
    /// How many are there now, and how many there were at most.
    present: watch::Sender<(usize, usize)>,
    answers: Mutex<Arc<Answers>>,
}

impl Receiver {
    async fn start(answers: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Inbox {
            seen: watch::Sender::new(Vec::new()),
            present: watch::Sender::default(),
            answers: Mutex::new(Arc::new(answers)),
        });
        let router = Router::new().route("/{name}", post(receive)).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, state }
    }

    fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    fn answer(&self, answers: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static) {
        *self.state.answers.lock().unwrap() = Arc::new(answers);
    }

    fn contents(&self) -> Vec<String> {
        self.state
            .seen
            .borrow()
            .iter()
            .map(|seen| seen.content.clone())
            .collect()
    }

    async fn was_sent(&self, times: usize) -> Vec<Seen> {
        let mut seen = self.state.seen.subscribe();
        seen.wait_for(|seen| seen.len() >= times).await.unwrap().clone()
    }
}

async fn receive(
    State(state): State<Arc<Inbox>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, HeaderMap) {
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let seen = Seen {
        name,
        id: headers["webhook-id"].to_str().unwrap().to_owned(),
        content: body["data"]["content"].as_str().unwrap_or_default().to_owned(),
    };
    let answers = state.answers.lock().unwrap().clone();
    let mut there = state.present.subscribe();
    state.present.send_modify(|(now, most)| {
        *now += 1;
        *most = (*most).max(*now);
    });
    let before = state.seen.borrow().len();
    state.seen.send_modify(|all| all.push(seen.clone()));
    let (status, wait) = match answers(&seen, before) {
        Answer::Status(status) => (status, None),
        Answer::Later(seconds) => (429, Some(seconds)),
        Answer::Crowd(count, status) => {
            there.wait_for(|(_, most)| *most >= count).await.unwrap();
            (status, None)
        }
    };
    state.present.send_modify(|(now, _)| *now -= 1);
    let headers: HeaderMap = wait
        .map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds)))
        .into_iter()
        .collect();
    (StatusCode::from_u16(status).unwrap(), headers)
}

/// A gate, one member, and what delivers.
struct Stage {
    gate: Gate,
    chat: Arc<Chat>,
    worker: Worker,
    outgoing: Outgoing,
    seal: Seal,
    render: Render,
    webhooks: Webhooks,
    member: Uuid,
    _folder: Folder,
}

struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// SQL that a test writes with.
struct Write(&'static str, Vec<Value>);

impl Operation for Write {
    type Output = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64> {
        tx.execute(self.0, self.1.clone()).await
    }
}

impl Stage {
    async fn new() -> Self {
        let gate = gate::tests::gate().await;
        let chat = Arc::new(Chat::new(&gate, Arc::new(Presence::memory())));
        let loaders = Loaders::new(&gate);
        let engine = schema::engine(|builder| builder.data(chat.clone()).data(loaders));
        let types = Arc::new(Types::parse(&boot::schema_sdl(&engine).unwrap()).unwrap());
        let documents = Documents::new(engine.clone(), types.clone(), LIMITS);
        let render = Render::default();
        let rest = Arc::new(Rest::load(rest::V1, &types).unwrap());
        render.set(engine, rest, &documents).unwrap();
        let folder = Folder(std::env::temp_dir().join(format!("worker_{}", Uuid::new_v4().simple())));
        std::fs::create_dir_all(&folder.0).unwrap();
        let settings = Settings {
            data_dir: folder.0.clone(),
            ..Settings::default()
        };
        let (outgoing, seal) = (Outgoing::new(true).unwrap(), Seal::open(&settings).unwrap());
        let member = Self::member(&gate, "alice").await;
        Self {
            worker: Worker::new(&gate, outgoing.clone(), seal.clone(), render.clone()),
            webhooks: Webhooks::new(outgoing.clone(), seal.clone()),
            outgoing,
            seal,
            render,
            chat,
            gate,
            member,
            _folder: folder,
        }
    }

    async fn member(gate: &Gate, name: &str) -> Uuid {
        let password = Password::new("correct horse".into());
        let created = Operator::new(gate).create(name.into(), password, Role::Member).await;
        created.unwrap().id
    }

    /// As on another node.
    fn other_worker(&self) -> Worker {
        Worker::new(
            &self.gate,
            self.outgoing.clone(),
            self.seal.clone(),
            self.render.clone(),
        )
    }

    async fn permit(&self) -> Permit {
        self.gate.reading_for(self.member).await.unwrap().unwrap()
    }

    async fn webhook(&self, url: String) -> webhook::Model {
        let new = New {
            url,
            events: vec![EventKind::MessageNew],
            secret: None,
        };
        self.webhooks.create(&self.permit().await, new).await.unwrap().0
    }

    async fn room(&self, name: &str) -> Arc<Room> {
        match name {
            "lobby" => self.chat.room(&self.permit().await, name).await.unwrap(),
            name => self.chat.create_room(&self.permit().await, name).await.unwrap(),
        }
    }

    async fn say(&self, room: &Arc<Room>, content: &str) {
        self.chat.send(&self.permit().await, room, content).await.unwrap();
    }

    async fn write(&self, text: &'static str, values: Vec<Value>) -> u64 {
        self.gate
            .system(System::Deliver)
            .write(Write(text, values))
            .await
            .unwrap()
    }

    /// Everything, as it happened.
    async fn deliveries(&self) -> Vec<delivery::Model> {
        let permit = self.gate.system(System::Deliver);
        let mut rows = delivery::Entity::find().all(permit.read()).await.unwrap();
        rows.sort_by_key(|row| row.n);
        rows
    }

    async fn one(&self) -> delivery::Model {
        let mut rows = self.deliveries().await;
        assert_eq!(rows.len(), 1, "{rows:#?}");
        rows.remove(0)
    }

    async fn state_of(&self, webhook: Uuid) -> webhook::Model {
        webhooks::webhook(&self.permit().await, webhook).await.unwrap()
    }
}

#[tokio::test]
async fn five_days_of_failures_follow_the_schedule_and_deactivate() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Status(500)).await;
    let webhook = stage.webhook(receiver.url("a")).await;
    let lobby = stage.room("lobby").await;
    stage.say(&lobby, "one").await;
    let began = time::now();
    let mut now = began;
    let after = [
        5 * SECOND,
        5 * MINUTE,
        30 * MINUTE,
        2 * HOUR,
        5 * HOUR,
        10 * HOUR,
        14 * HOUR,
        20 * HOUR,
        24 * HOUR,
    ];
    for (attempts, wait) in (1..).zip(after) {
        if attempts > 1 {
            assert_eq!(stage.worker.run_once(now - 1).await.unwrap(), 0, "attempt {attempts}");
        }
        assert_eq!(stage.worker.run_once(now).await.unwrap(), 1, "attempt {attempts}");
        let row = stage.one().await;
        assert_eq!((row.attempts, row.status.as_str()), (attempts, "pending"));
        assert_eq!(row.error.as_deref(), Some("the receiver answered 500"));
        let next = row.next_attempt_at.unwrap();
        assert!(
            (now + wait..=now + wait + wait / 10).contains(&next),
            "{wait}: {}",
            next - now
        );
        now = next;
    }
    assert_eq!(stage.worker.run_once(now).await.unwrap(), 1);
    let row = stage.one().await;
    assert_eq!((row.attempts, row.status.as_str()), (10, "failed"));
    assert_eq!((row.next_attempt_at, row.done_at), (None, Some(now)));
    let state = stage.state_of(webhook.id).await;
    assert_eq!((state.is_active, state.failing_since), (true, Some(began)));
    assert!(stage.worker.run_once(began + 5 * DAY).await.unwrap() == 0, "it is over");

    stage.say(&lobby, "two").await;
    stage.say(&lobby, "three").await;
    assert_eq!(stage.worker.run_once(began + 5 * DAY - 1).await.unwrap(), 1);
    assert!(stage.state_of(webhook.id).await.is_active);
    assert_eq!(stage.worker.run_once(began + 5 * DAY + 5_500).await.unwrap(), 1);
    let state = stage.state_of(webhook.id).await;
    assert!(!state.is_active);
    assert_eq!(
        state.deactivated_reason.as_deref(),
        Some("nothing but failures for five days")
    );
    let rows = stage.deliveries().await;
    assert!(rows.iter().all(|row| row.status == "failed"), "{rows:#?}");
    assert_eq!(stage.worker.run_once(began + 9 * DAY).await.unwrap(), 0);
    assert_eq!(receiver.contents().len(), 12);
    assert!(
        receiver.was_sent(10).await[..10]
            .windows(2)
            .all(|two| two[0].id == two[1].id)
    );
}

#[tokio::test]
async fn one_success_ends_the_failing() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, before| Answer::Status(if before == 1 { 204 } else { 500 })).await;
    let webhook = stage.webhook(receiver.url("a")).await;
    stage.say(&stage.room("lobby").await, "one").await;
    let now = time::now();
    stage.worker.run_once(now).await.unwrap();
    assert_eq!(stage.state_of(webhook.id).await.failing_since, Some(now));
    stage.worker.run_once(now + 6 * DAY).await.unwrap();
    let state = stage.state_of(webhook.id).await;
    assert_eq!((state.is_active, state.failing_since), (true, None));
    let row = stage.one().await;
    assert_eq!((row.status.as_str(), row.attempts, row.error), ("delivered", 2, None));
}

#[tokio::test]
async fn the_last_thousand_deliveries_tell_how_a_webhook_is_doing() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Status(204)).await;
    let webhook = stage.webhook(receiver.url("a")).await.id;
    let permit = stage.permit().await;
    let counted = async |answer: u16| {
        receiver.answer(move |_, _| Answer::Status(answer));
        webhooks::ping(&permit, webhook).await.unwrap();
        assert_eq!(stage.worker.run_once(time::now()).await.unwrap(), 1);
        let webhook = stage.state_of(webhook).await;
        (webhook.delivered, webhook.failed)
    };
    assert_eq!(counted(204).await, (1, 0));
    assert_eq!(counted(500).await, (1, 1));
    stage
        .write("UPDATE webhooks SET delivered = 801, failed = 198", vec![])
        .await;
    assert_eq!(counted(500).await, (801, 199));
    assert_eq!(counted(204).await, (401, 99), "half of what was long ago is forgotten");
}

#[tokio::test]
async fn what_is_gone_or_switched_off_is_told_no_more() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|seen, _| Answer::Status(if seen.name == "gone" { 410 } else { 204 })).await;
    let gone = stage.webhook(receiver.url("gone")).await;
    let off = stage.webhook(receiver.url("off")).await;
    let lobby = stage.room("lobby").await;
    stage.say(&lobby, "one").await;
    stage.say(&lobby, "two").await;
    let change = Change {
        url: None,
        events: None,
        is_active: Some(false),
        secret: None,
    };
    let permit = stage.permit().await;
    stage.webhooks.update(&permit, off.id, change).await.unwrap();
    stage.worker.run_once(time::now()).await.unwrap();
    let state = stage.state_of(gone.id).await;
    assert_eq!(
        state.deactivated_reason.as_deref(),
        Some("the receiver answered 410: it is gone")
    );
    assert_eq!(receiver.contents(), ["one"]);
    // One that came to be while it was switched off, as two nodes could.
    let text = "UPDATE deliveries SET status = 'pending', next_attempt_at = 0";
    assert_eq!(stage.write(text, Vec::new()).await, 2);
    assert_eq!(stage.worker.run_once(time::now()).await.unwrap(), 0);
    webhooks::ping(&permit, off.id).await.unwrap();
    assert_eq!(
        stage.worker.run_once(time::now()).await.unwrap(),
        1,
        "a test event is sent"
    );
}

#[tokio::test]
async fn a_failure_holds_back_its_subject_through_the_third_attempt() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|seen, _| Answer::Status(if seen.content == "one" { 500 } else { 204 })).await;
    stage.webhook(receiver.url("a")).await;
    let (lobby, attic) = (stage.room("lobby").await, stage.room("attic").await);
    stage.say(&lobby, "one").await;
    stage.say(&lobby, "two").await;
    stage.say(&attic, "elsewhere").await;
    stage.say(&lobby, "three").await;
    let mut now = time::now();
    stage.worker.run_once(now).await.unwrap();
    let mut seen = receiver.contents();
    seen.sort();
    assert_eq!(seen, ["elsewhere", "one"]);
    now += 5_500;
    stage.worker.run_once(now).await.unwrap();
    assert_eq!(receiver.contents()[2..], ["one"]);
    now += 330 * SECOND;
    stage.worker.run_once(now).await.unwrap();
    assert_eq!(receiver.contents()[3..], ["one", "two", "three"]);
    receiver.answer(|_, _| Answer::Status(200));
    now += 33 * MINUTE;
    stage.worker.run_once(now).await.unwrap();
    assert_eq!(receiver.contents()[6..], ["one"]);
    assert!(stage.deliveries().await.iter().all(|row| row.status == "delivered"));
}

#[tokio::test]
async fn a_lease_that_ran_out_is_taken_over_and_its_holder_records_nothing() {
    let stage = Stage::new().await;
    // The first waits until there are two.
    let receiver = Receiver::start(|_, before| match before {
        0 => Answer::Crowd(2, 500),
        _ => Answer::Status(200),
    })
    .await;
    let webhook = stage.webhook(receiver.url("a")).await;
    stage.say(&stage.room("lobby").await, "one").await;
    let (now, other) = (time::now(), stage.other_worker());
    let slow = tokio::spawn({
        let worker = stage.worker.clone();
        async move { worker.run_once(now).await }
    });
    receiver.was_sent(1).await;
    assert_eq!(other.run_once(now + LEASE - 1).await.unwrap(), 0);
    assert_eq!(other.run_once(now + LEASE).await.unwrap(), 1);
    assert_eq!(slow.await.unwrap().unwrap(), 1);
    let row = stage.one().await;
    assert_eq!(
        (row.status.as_str(), row.attempts, row.response_status),
        ("delivered", 1, Some(200))
    );
    assert_eq!(stage.state_of(webhook.id).await.failing_since, None);
    let seen = receiver.was_sent(2).await;
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].id, seen[1].id);
}

#[tokio::test]
async fn what_took_too_long_to_make_is_not_sent_but_given_back() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let webhook = stage.webhook(receiver.url("a")).await;
    let permit = stage.permit().await;
    webhooks::ping(&permit, webhook.id).await.unwrap();
    let (lease, now) = (Uuid::new_v4(), time::now());
    let due = claim::due(&permit, now, 1).await.unwrap();
    let claim = Claim {
        now,
        due,
        leases: vec![lease],
    };
    let mut chains = permit.write(claim).await.unwrap();
    let long_ago = Instant::now() - SENT_WITHIN - Duration::from_millis(1);
    let taken = Taken::new(&stage.worker.0, Arc::new(webhook), lease, now, long_ago);
    stage.worker.deliver(chains.remove(0), &taken).await.unwrap();
    let row = stage.one().await;
    assert_eq!((row.lease, row.attempts, row.status.as_str()), (None, 0, "pending"));
    assert!(receiver.contents().is_empty());
    assert_eq!(stage.worker.run_once(time::now()).await.unwrap(), 1);
}

#[tokio::test]
async fn four_go_to_one_host_at_once() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Crowd(AT_ONCE_TO_ONE_HOST, 204)).await;
    // Two webhooks, one host.
    for name in ["a", "b"] {
        let webhook = stage.webhook(receiver.url(name)).await;
        for _ in 0..6 {
            webhooks::ping(&stage.permit().await, webhook.id).await.unwrap();
        }
    }
    assert_eq!(stage.worker.run_once(time::now()).await.unwrap(), 12);
    assert_eq!(*receiver.state.present.borrow(), (0, AT_ONCE_TO_ONE_HOST));
    assert!(stage.deliveries().await.iter().all(|row| row.status == "delivered"));
}

#[tokio::test]
async fn sixty_four_are_on_their_way_at_once() {
    let mut stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Crowd(AT_ONCE, 204)).await;
    let bob = Stage::member(&stage.gate, "bob").await;
    let mut last = 0;
    for member in [stage.member, bob] {
        stage.member = member;
        for _ in 0..webhooks::MOST {
            last += 1;
            let url = format!("http://127.0.0.{last}:{}/a", receiver.port);
            let webhook = stage.webhook(url).await;
            for _ in 0..AT_ONCE_TO_ONE_HOST {
                webhooks::ping(&stage.permit().await, webhook.id).await.unwrap();
            }
        }
    }
    assert_eq!(stage.worker.run_once(time::now()).await.unwrap(), 80);
    assert_eq!(*receiver.state.present.borrow(), (0, AT_ONCE));
}

#[tokio::test]
async fn a_host_gets_no_more_at_once_from_many_nodes_than_from_one() {
    let stage = Stage::new().await;
    let webhook = stage.webhook("http://example.test/a".to_owned()).await;
    let permit = stage.permit().await;
    for _ in 0..2 * AT_ONCE_TO_ONE_HOST {
        webhooks::ping(&permit, webhook.id).await.unwrap();
    }
    let now = time::now();
    let claim = |due: &[queue::Due], now| Claim {
        leases: due.iter().map(|_| Uuid::new_v4()).collect(),
        now,
        due: due.to_vec(),
    };
    let due = claim::due(&permit, now, AT_ONCE).await.unwrap();
    assert_eq!(due.len(), AT_ONCE_TO_ONE_HOST);
    assert_eq!(permit.write(claim(&due[..3], now)).await.unwrap().len(), 3);
    // Another node that has looked before that.
    let others = queue::due(&permit, now).await.unwrap();
    assert_eq!(others.len(), AT_ONCE_TO_ONE_HOST);
    assert_eq!(permit.write(claim(&others, now)).await.unwrap().len(), 1);
    assert!(claim::due(&permit, now, AT_ONCE).await.unwrap().is_empty());
    // What a node that died was sending counts until its lease is over.
    let later = now + LEASE;
    assert_eq!(claim::due(&permit, later - 1, AT_ONCE).await.unwrap().len(), 0);
    assert_eq!(claim::due(&permit, later, AT_ONCE).await.unwrap().len(), 4);
}

#[tokio::test]
async fn what_waits_behind_one_is_sent_after_it_and_not_when_the_webhook_has_changed() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, before| match before {
        0 => Answer::Crowd(2, 204),
        _ => Answer::Status(204),
    })
    .await;
    let webhook = stage.webhook(receiver.url("old")).await;
    let lobby = stage.room("lobby").await;
    for content in ["one", "two", "three"] {
        stage.say(&lobby, content).await;
    }
    let running = tokio::spawn({
        let worker = stage.worker.clone();
        async move { worker.run_once(time::now()).await }
    });
    receiver.was_sent(1).await;
    let change = Change {
        url: Some(receiver.url("new")),
        events: None,
        is_active: None,
        secret: None,
    };
    let permit = stage.permit().await;
    stage.webhooks.update(&permit, webhook.id, change).await.unwrap();
    // Lets the first one be answered.
    webhooks::ping(&permit, webhook.id).await.unwrap();
    let others = stage.other_worker().run_once(time::now()).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap() + others, 4);
    let seen = receiver.was_sent(4).await;
    let told: Vec<_> = seen
        .iter()
        .map(|seen| (seen.name.as_str(), seen.content.as_str()))
        .collect();
    assert_eq!(told, [("old", "one"), ("new", ""), ("new", "two"), ("new", "three")]);
}

#[tokio::test]
async fn a_node_that_ends_leaves_what_it_has_not_begun_to_others() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, before| match before {
        0 => Answer::Crowd(2, 204),
        _ => Answer::Status(204),
    })
    .await;
    let webhook = stage.webhook(receiver.url("a")).await;
    let lobby = stage.room("lobby").await;
    for content in ["one", "two", "three"] {
        stage.say(&lobby, content).await;
    }
    let draining = CancellationToken::new();
    let running = tokio::spawn(stage.worker.clone().run(draining.clone()));
    receiver.was_sent(1).await;
    draining.cancel();
    while !stage.worker.0.is_ending.load(Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
    // Lets the first one be answered.
    let other = stage.other_worker();
    webhooks::ping(&stage.permit().await, webhook.id).await.unwrap();
    other.run_once(time::now()).await.unwrap();
    running.await.unwrap();
    assert_eq!(stage.worker.0.attempts.load(Ordering::Acquire), 1);
    other.run_once(time::now()).await.unwrap();
    assert_eq!(receiver.contents(), ["one", "", "two", "three"]);
}

#[tokio::test]
async fn what_a_node_that_died_had_still_to_send_is_sent_in_order_when_its_lease_runs_out() {
    let stage = Stage::new().await;
    // The second waits for longer than its node lives.
    let receiver = Receiver::start(|_, before| match before {
        1 => Answer::Crowd(usize::MAX, 204),
        _ => Answer::Status(204),
    })
    .await;
    let webhook = stage.webhook(receiver.url("a")).await.id;
    let (lobby, attic) = (stage.room("lobby").await, stage.room("attic").await);
    for content in ["one", "two", "three", "four"] {
        stage.say(&lobby, content).await;
    }
    let (now, node) = (time::now(), stage.other_worker());
    let node = tokio::spawn(async move { node.run_once(now).await });
    receiver.was_sent(2).await;
    node.abort();
    let health = store::health(&stage.permit().await, &[webhook]).await.unwrap();
    assert_eq!(
        (health[&webhook].pending, health[&webhook].next_attempt_at),
        (3, Some(now))
    );

    let other = stage.other_worker();
    stage.say(&attic, "elsewhere").await;
    assert_eq!(other.run_once(now + LEASE - 1).await.unwrap(), 1);
    assert_eq!(other.run_once(now + LEASE).await.unwrap(), 3);
    assert_eq!(receiver.contents(), ["one", "two", "elsewhere", "two", "three", "four"]);
    assert_eq!(
        queue::work(&stage.worker.0.permit, i64::MAX).await.unwrap().to_recover,
        0
    );
}

/// What a node does that dies after it has recorded the first of what it took.
async fn take_and_die(worker: &Worker, now: i64) {
    let permit = &worker.0.permit;
    let due = claim::due(permit, now, AT_ONCE).await.unwrap();
    let leases = due.iter().map(|_| Uuid::new_v4()).collect();
    for chain in permit.write(Claim { now, due, leases }).await.unwrap() {
        let webhook = queue::webhooks(permit, &[chain[0].webhook_id]).await.unwrap().remove(0);
        let lease = chain[0].lease.unwrap();
        let taken = Taken::new(&worker.0, Arc::new(webhook), lease, now, Instant::now());
        let answered = Answered {
            status: Some(204),
            ..Answered::default()
        };
        let record = Record {
            webhook: chain[0].webhook_id,
            subject: chain[0].subject_id,
            what: What::Sent(worker.sent(&chain[0], None, answered, &taken)),
            next: chain.get(1).map(|next| next.id),
        };
        worker.record(record, &taken).await.unwrap();
    }
}

#[tokio::test]
async fn what_waits_is_held_while_something_earlier_holds_it_back_and_no_longer_whatever_happens() {
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let stage = Stage::new().await;
        let receiver = Receiver::start(move |_, before| {
            Answer::Status(if StdRng::seed_from_u64(before as u64).random_bool(0.4) {
                500
            } else {
                204
            })
        })
        .await;
        let webhooks = [
            stage.webhook(receiver.url("a")).await.id,
            stage.webhook(receiver.url("b")).await.id,
        ];
        let rooms = [stage.room("lobby").await, stage.room("attic").await];
        let permit = stage.permit().await;
        let mut now = time::now();
        for step in 0..40 {
            match random.random_range(0..7) {
                0 | 1 => stage.say(&rooms[random.random_range(0..2)], "something").await,
                2 => {
                    stage.worker.run_once(now).await.unwrap();
                }
                3 => now += [SECOND, LEASE, 6 * MINUTE, HOUR][random.random_range(0..4)],
                4 => take_and_die(&stage.worker, now).await,
                5 => {
                    let rows = stage.deliveries().await;
                    if !rows.is_empty() {
                        // What is pending is refused.
                        let row = &rows[random.random_range(0..rows.len())];
                        let _ = webhooks::redeliver(&permit, row.id).await;
                    }
                }
                _ => {
                    let change = Change {
                        url: None,
                        events: Some(vec![EventKind::MessageNew]),
                        is_active: None,
                        secret: None,
                    };
                    let webhook = webhooks[random.random_range(0..2)];
                    stage.webhooks.update(&permit, webhook, change).await.unwrap();
                }
            }
            let rows = stage.deliveries().await;
            for row in rows.iter().filter(|row| row.status == "pending" && row.lease.is_none()) {
                let holds_back = |other: &&delivery::Model| {
                    (other.webhook_id, other.subject_id) == (row.webhook_id, row.subject_id)
                        && other.seq < row.seq
                        && other.status == "pending"
                        && other.attempts < schedule::HOLDS_BACK
                };
                let holder = rows.iter().find(holds_back);
                assert_eq!(
                    row.is_held,
                    holder.is_some(),
                    "seed {seed}, step {step}: {row:#?} {holder:#?}"
                );
            }
        }
        receiver.answer(|_, _| Answer::Status(204));
        stage.worker.run_once(now + DAY).await.unwrap();
        let rows = stage.deliveries().await;
        assert!(
            rows.iter().all(|row| row.status == "delivered"),
            "seed {seed}: {rows:#?}"
        );
    }
}

#[tokio::test]
async fn what_was_tried_three_times_waits_for_what_is_sent_again_and_then_goes_on() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|seen, _| Answer::Status(if seen.content == "two" { 500 } else { 204 })).await;
    stage.webhook(receiver.url("a")).await;
    let lobby = stage.room("lobby").await;
    stage.say(&lobby, "one").await;
    stage.say(&lobby, "two").await;
    let mut now = time::now();
    for _ in 0..3 {
        stage.worker.run_once(now).await.unwrap();
        now += HOUR;
    }
    let rows = stage.deliveries().await;
    assert_eq!((rows[1].attempts, rows[1].is_held), (3, false));
    webhooks::redeliver(&stage.permit().await, rows[0].id).await.unwrap();
    assert!(stage.deliveries().await[1].is_held);
    receiver.answer(|_, _| Answer::Status(204));
    assert_eq!(stage.worker.run_once(now).await.unwrap(), 2);
    assert_eq!(receiver.contents(), ["one", "two", "two", "two", "one", "two"]);
}

#[tokio::test]
async fn what_is_sent_again_goes_before_what_waits_in_its_subject() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, before| Answer::Status(if before == 1 { 500 } else { 204 })).await;
    stage.webhook(receiver.url("a")).await;
    let lobby = stage.room("lobby").await;
    for content in ["one", "two", "three"] {
        stage.say(&lobby, content).await;
    }
    let now = time::now();
    stage.worker.run_once(now).await.unwrap();
    assert_eq!(receiver.contents(), ["one", "two"]);
    let held = async || {
        let rows = stage.deliveries().await;
        rows.iter().map(|row| row.is_held).collect::<Vec<_>>()
    };
    assert_eq!(held().await, [false, false, true]);
    let first = stage.deliveries().await.remove(0);
    webhooks::redeliver(&stage.permit().await, first.id).await.unwrap();
    assert_eq!(held().await, [false, true, true]);
    stage.worker.run_once(now + HOUR).await.unwrap();
    assert_eq!(receiver.contents()[2..], ["one", "two", "three"]);
    assert!(stage.deliveries().await.iter().all(|row| row.status == "delivered"));
}

#[tokio::test]
async fn what_its_owner_may_not_see_is_dropped() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Status(500)).await;
    stage.webhook(receiver.url("a")).await;
    let (lobby, attic) = (stage.room("lobby").await, stage.room("attic").await);
    stage.say(&lobby, "one").await;
    let now = time::now();
    stage.worker.run_once(now).await.unwrap();
    let tried = stage.one().await;
    // As if it was sent again at its owner's wish.
    stage.write("UPDATE deliveries SET attempts = 0", Vec::new()).await;
    stage.say(&attic, "two").await;
    let operator = Operator::new(&stage.gate);
    operator.ban("alice", "spam", None).await.unwrap();
    stage.worker.run_once(now + DAY).await.unwrap();
    assert_eq!(receiver.contents(), ["one"]);
    let row = stage.one().await;
    assert_eq!((row.id, row.status.as_str(), row.body), (tried.id, "failed", None));
    assert_eq!(row.error.as_deref(), Some("the event is no longer yours to see"));
}

#[tokio::test]
async fn what_cannot_be_made_is_no_fault_of_the_receivers_and_holds_nothing_back_for_good() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Status(204)).await;
    let webhook = stage.webhook(receiver.url("a")).await;
    stage.say(&stage.room("lobby").await, "one").await;
    // Sealed with another key.
    stage.write("UPDATE webhooks SET secret = x'00'", Vec::new()).await;
    let now = time::now();
    assert_eq!(stage.worker.run_once(now).await.unwrap(), 1);
    let row = stage.one().await;
    assert_eq!((row.attempts, row.status.as_str()), (1, "pending"));
    assert_eq!(row.error.as_deref(), Some("the server could not make it"));
    assert!(row.next_attempt_at.unwrap() >= now + 5 * SECOND);
    assert_eq!(stage.state_of(webhook.id).await.failing_since, None);
    stage
        .write("UPDATE webhooks SET secret = ?", vec![webhook.secret.into()])
        .await;
    stage.worker.run_once(now + 6 * SECOND).await.unwrap();
    assert_eq!(receiver.contents(), ["one"]);
}

#[tokio::test]
async fn a_receiver_may_ask_for_time() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Later(3_600)).await;
    stage.webhook(receiver.url("a")).await;
    stage.say(&stage.room("lobby").await, "one").await;
    let now = time::now();
    stage.worker.run_once(now).await.unwrap();
    let row = stage.one().await;
    assert_eq!(
        (row.next_attempt_at, row.response_status),
        (Some(now + HOUR), Some(429))
    );
    assert_eq!(stage.worker.run_once(now + HOUR - 1).await.unwrap(), 0);
    assert_eq!(stage.worker.run_once(now + HOUR).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_done_is_kept_for_thirty_days() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|seen, _| Answer::Status(if seen.content == "bad" { 500 } else { 204 })).await;
    stage.webhook(receiver.url("a")).await;
    stage.say(&stage.room("lobby").await, "good").await;
    stage.say(&stage.room("attic").await, "bad").await;
    let now = time::now();
    stage.worker.run_once(now).await.unwrap();
    let permit = stage.gate.system(System::Sweep);
    expire(&permit, now + 30 * DAY).await.unwrap();
    assert_eq!(stage.deliveries().await.len(), 2);
    expire(&permit, now + 30 * DAY + 1).await.unwrap();
    assert_eq!(stage.one().await.status, "pending");
}

#[tokio::test]
async fn more_events_than_a_page_go_to_each_webhook_once() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Status(204)).await;
    for name in ["a", "b"] {
        stage.webhook(receiver.url(name)).await;
    }
    let rooms = [
        stage.room("lobby").await,
        stage.room("attic").await,
        stage.room("cellar").await,
    ];
    let all = 2 * dispatch::ROWS + 44;
    for message in 0..all {
        stage.say(&rooms[message % rooms.len()], &format!("{message:03}")).await;
    }
    // As two nodes that have come across it together.
    let (now, other) = (time::now(), stage.other_worker());
    let (one, two) = tokio::join!(stage.worker.run_once(now), other.run_once(now));
    let rest = stage.worker.run_once(now).await.unwrap();
    assert_eq!(one.unwrap() + two.unwrap() + rest, 2 * all);
    let mut told: BTreeMap<(String, usize), Vec<usize>> = BTreeMap::new();
    for seen in receiver.was_sent(2 * all).await {
        let message: usize = seen.content.parse().unwrap();
        told.entry((seen.name, message % rooms.len()))
            .or_default()
            .push(message);
    }
    assert_eq!(told.len(), 6);
    for ((_, room), messages) in told {
        assert!(messages.into_iter().eq((room..all).step_by(rooms.len())));
    }
}

#[tokio::test]
async fn a_node_that_starts_far_behind_works_off_all_of_it() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Status(204)).await;
    stage.webhook(receiver.url("a")).await;
    let lobby = stage.room("lobby").await;
    let all: Vec<String> = (0..3 * dispatch::ROWS).map(|message| message.to_string()).collect();
    for content in &all {
        stage.say(&lobby, content).await;
    }
    let draining = CancellationToken::new();
    let running = tokio::spawn(stage.worker.clone().run(draining.clone()));
    receiver.was_sent(all.len()).await;
    draining.cancel();
    running.await.unwrap();
    assert_eq!(receiver.contents(), all);
}

#[tokio::test]
async fn a_webhook_is_told_of_all_that_comes_after_it_and_of_nothing_before_whatever_the_clocks_say() {
    let stage = Stage::new().await;
    let receiver = Receiver::start(|_, _| Answer::Status(204)).await;
    let lobby = stage.room("lobby").await;
    stage.say(&lobby, "before").await;
    stage.webhook(receiver.url("a")).await;
    // Written by a node whose clock is ahead.
    stage
        .write("UPDATE webhooks SET created_at = created_at + 60000", Vec::new())
        .await;
    stage.say(&lobby, "after").await;
    stage.worker.run_once(time::now()).await.unwrap();
    assert_eq!(receiver.contents(), ["after"]);
}
