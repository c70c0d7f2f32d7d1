//! What arrives at webhooks: signed, spelled as REST spells it, and in order over receivers that fail.

use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use crate::{
    clients::{Program, file, python, say},
    harness::{Caller, Server, eventually, node},
    metrics::Metrics,
    receiver::{Delivered, Receiver, Reply},
    webhooks::{deliveries, hook, is, path, server},
};

/// Changes rows behind the server's back, as time would.
pub async fn change(server: &Server, sql: &str) {
    server.place.database().await.execute_unprepared(sql).await.unwrap();
}

/// As if the time of every next attempt had come.
pub async fn make_due(server: &Server) {
    change(
        server,
        "UPDATE deliveries SET next_attempt_at = 1 WHERE status = 'pending'",
    )
    .await;
}

/// The one number that a query finds.
pub async fn number(server: &Server, sql: &str) -> i64 {
    let database = server.place.database().await;
    let statement = Statement::from_string(database.get_database_backend(), sql);
    let row = database.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// How long after its event the one pending delivery is tried again, in milliseconds.
async fn waits(server: &Server) -> i64 {
    number(
        server,
        "SELECT next_attempt_at - happened_at FROM deliveries WHERE status = 'pending'",
    )
    .await
}

/// Waits until a webhook's newest delivery is as it should be.
pub async fn newest(caller: &Caller<'_>, hook: &Value, what: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    eventually(what, async || {
        found = deliveries(caller, hook).await.first().cloned().unwrap_or_default();
        is_so(&found)
    })
    .await;
    found
}

async fn health(caller: &Caller<'_>, hook: &Value) -> Value {
    caller.get(&path(hook)).await.body["health"].take()
}

async fn verify(deliveries: &[Value]) {
    let all = Value::from(deliveries).to_string();
    node("webhooks.mjs", &[], &all).await;
    let mut program = Program::start(python().arg(file("tests/python/webhooks.py")));
    program.say(&all).await;
    program.finish().await;
}

const KINDS: [&str; 5] = [
    "message.new",
    "message.edit",
    "message.delete",
    "profile.update",
    "trigger.shared",
];

#[tokio::test]
async fn what_arrives_is_signed_and_spelled_as_rest_spells_it() {
    let server = server().await;
    let bob = server.member("bob").await;
    bob.trigger("before the webhook", true).await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let generated = hook(&alice, &receiver.url("/generated"), &KINDS).await;
    let plain = "ein gewöhnliches Geheimnis";
    let body = json!({ "url": receiver.url("/plain"), "events": KINDS, "secret": plain });
    let answer = alice.post("/v1/webhooks", body).await;
    is(&answer, 200, "");

    let mut arrived: Vec<Delivered> = Vec::new();
    let mut message = String::new();
    for (n, kind) in KINDS.iter().enumerate() {
        let path = format!("/v1/chat/messages/{message}");
        match *kind {
            "message.new" => message = say(&bob, "lobby", "hëllo").await,
            "message.edit" => is(&bob.put(&path, json!({ "content": "hëllo again" })).await, 200, ""),
            "message.delete" => is(&bob.delete(&path).await, 200, ""),
            "profile.update" => is(
                &bob.put("/v1/profile/bob", json!({ "displayName": "Böb" })).await,
                200,
                "",
            ),
            _ => drop(bob.trigger("shared", true).await),
        }
        // As it is now is how it is sent: the next change waits for this one.
        let sent = receiver.sent(2 * (n + 1)).await;
        let events = alice.get(&format!("/v1/events?kinds={kind}&first=100")).await.body;
        let event = events["events"].as_array().unwrap().last().unwrap();
        for delivered in &sent[2 * n..] {
            let expected = json!({ "type": kind, "timestamp": event["timestamp"], "data": event["data"] });
            assert_eq!(delivered.json(), expected);
            assert_eq!(delivered.header("webhook-id"), event["id"]);
            assert_eq!(delivered.header("content-type"), "application/json");
            assert!(
                delivered.header("user-agent").starts_with("bambisleep-chat"),
                "{delivered:?}"
            );
        }
        let told = alice.get("/v1/chat/messages").await.body["messages"][0].take();
        let data = sent[2 * n].json()["data"].take();
        match *kind {
            "message.new" | "message.edit" | "message.delete" => {
                for name in ["id", "number", "content", "timestamp", "author"] {
                    assert_eq!(data[name], told[name], "{kind}");
                }
                assert_eq!(data["room"], "lobby");
            }
            "profile.update" => assert_eq!(data, alice.get("/v1/profile/bob").await.body),
            _ => assert_eq!(data["name"], "shared"),
        }
        arrived.extend_from_slice(&sent[2 * n..]);
    }
    assert_eq!(arrived[4].json()["data"]["content"], "", "what is deleted says nothing");
    assert_eq!(
        deliveries(&alice, &generated).await.len(),
        KINDS.len(),
        "and nothing from before"
    );
    let secret = generated["secret"].as_str().unwrap();
    let mut to_verify = Vec::new();
    for delivered in &arrived {
        let is_plain = delivered.path == "/plain";
        to_verify.push(delivered.to_verify(plain, is_plain));
        to_verify.push(delivered.to_verify(secret, !is_plain));
    }

    // For a day both sign, the new one first.
    is(&alice.put(&path(&generated), json!({ "secret": plain })).await, 200, "");
    alice.post(&format!("{}/ping", path(&generated)), json!({})).await;
    let both = receiver.one_more(10).await;
    assert_eq!(both.header("webhook-signature").split(' ').count(), 2);
    to_verify.extend([both.to_verify(plain, true), both.to_verify(secret, true)]);
    let until = "SELECT old_secret_until - created_at FROM webhooks WHERE old_secret_until IS NOT NULL";
    assert!(number(&server, until).await >= 24 * 60 * 60 * 1_000);
    change(&server, "UPDATE webhooks SET old_secret_until = 1").await;
    alice.post(&format!("{}/ping", path(&generated)), json!({})).await;
    let one = receiver.one_more(11).await;
    assert_eq!(one.header("webhook-signature").split(' ').count(), 1);
    to_verify.extend([one.to_verify(plain, true), one.to_verify(secret, false)]);
    verify(&to_verify).await;
}

#[tokio::test]
async fn what_fails_is_sent_again_under_the_same_id() {
    let server = server().await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let hook = hook(&alice, &receiver.url("/"), &["message.new"]).await;
    receiver.next(Reply::status(500));
    say(&alice, "lobby", "hello").await;
    let first = receiver.one_more(0).await;
    let failed = newest(&alice, &hook, "the failure is recorded", |row| row["attempts"] == 1).await;
    assert_eq!(
        (&failed["status"], &failed["responseStatus"], &failed["error"]),
        (&json!("pending"), &json!(500), &json!("the receiver answered 500"))
    );
    // The second is due in five seconds, the third in five minutes.
    let wait = waits(&server).await;
    assert!((5_000..5 * 60_000).contains(&wait), "{wait}");
    let seen = health(&alice, &hook).await;
    assert_eq!((&seen["successRate"], &seen["pending"]), (&Value::Null, &json!(1)));
    assert_eq!(seen["lastError"], "the receiver answered 500");
    assert_eq!(seen["nextAttemptAt"], failed["nextAttemptAt"]);
    assert!(seen["failingSince"].is_string());
    is(
        &alice.post(&format!("{}/redelivery", path(&failed)), json!({})).await,
        409,
        "CONFLICT",
    );

    make_due(&server).await;
    let second = receiver.one_more(1).await;
    assert_eq!(
        (second.header("webhook-id"), &second.body),
        (first.header("webhook-id"), &first.body)
    );
    let done = newest(&alice, &hook, "it has arrived", |row| row["status"] == "delivered").await;
    assert_eq!(
        (
            &done["attempts"],
            &done["responseStatus"],
            &done["error"],
            &done["nextAttemptAt"]
        ),
        (&json!(2), &json!(204), &Value::Null, &Value::Null)
    );
    let seen = health(&alice, &hook).await;
    assert_eq!(
        (&seen["successRate"], &seen["pending"], &seen["failingSince"]),
        (&json!(1.0), &json!(0), &Value::Null)
    );

    let again = alice.post(&format!("{}/redelivery", path(&done)), json!({})).await;
    is(&again, 200, "");
    let third = receiver.one_more(2).await;
    assert_eq!(third.header("webhook-id"), first.header("webhook-id"));

    // Who asks for time gets it.
    newest(&alice, &hook, "it has arrived again", |row| {
        row["status"] == "delivered"
    })
    .await;
    receiver.next(Reply::status(429).header("retry-after", "7200"));
    say(&alice, "lobby", "slowly").await;
    newest(&alice, &hook, "the failure is recorded", |row| {
        row["responseStatus"] == 429
    })
    .await;
    let wait = waits(&server).await;
    assert!(wait >= 7_200_000, "{wait}");
}

#[tokio::test]
async fn whatever_is_answered_is_recorded_and_nothing_is_followed() {
    let server = server().await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let hook = hook(&alice, &receiver.url("/hook"), &["message.new"]).await;
    let ping = async || is(&alice.post(&format!("{}/ping", path(&hook)), json!({})).await, 200, "");

    receiver.next(Reply::status(301).header("location", &receiver.url("/elsewhere")));
    ping().await;
    let moved = newest(&alice, &hook, "301", |row| row["status"] == "failed").await;
    assert_eq!(
        (&moved["responseStatus"], &moved["error"]),
        (&json!(301), &json!("the receiver answered 301"))
    );

    receiver.next(Reply::body("x".repeat(1 << 20)));
    ping().await;
    let big = newest(&alice, &hook, "a big answer", |row| row["status"] == "delivered").await;
    assert_eq!(big["responseBody"], "x".repeat(16 << 10));

    let (reply, steps) = Reply::steps();
    receiver.next(reply);
    ping().await;
    receiver.sent(3).await;
    steps.send("half of".into()).unwrap();
    drop(steps);
    // Its status has come: the receiver has it.
    let cut = newest(&alice, &hook, "an answer that breaks off", |row| {
        row["status"] == "delivered" && row["id"] != big["id"]
    })
    .await;
    assert_eq!((&cut["responseStatus"], &cut["error"]), (&json!(200), &Value::Null));
    let paths: Vec<_> = receiver.all().into_iter().map(|sent| sent.path).collect();
    assert_eq!(paths, ["/hook"; 3]);

    // One that takes the connection and closes it without a word.
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", closing.local_addr().unwrap());
    tokio::spawn(async move { while closing.accept().await.is_ok() {} });
    alice.put(&path(&hook), json!({ "url": url })).await;
    ping().await;
    let closed = newest(&alice, &hook, "nothing", |row| {
        row["status"] == "failed" && row["id"] != cut["id"]
    })
    .await;
    assert!(
        closed["responseStatus"].is_null() && closed["error"].is_string(),
        "{closed}"
    );
}

#[tokio::test]
async fn one_that_is_gone_is_told_nothing_until_it_is_made_active() {
    let server = server().await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let hook = hook(&alice, &receiver.url("/"), &["message.new", "trigger.shared"]).await;
    // One that waits for its next attempt is given up with it.
    receiver.refuse("trigger.shared");
    alice.trigger("waits", true).await;
    newest(&alice, &hook, "a failure", |row| row["attempts"] == 1).await;
    receiver.next(Reply::status(410));
    say(&alice, "lobby", "one").await;
    let mut gone = Value::Null;
    eventually("the webhook is off", async || {
        gone = alice.get(&path(&hook)).await.body;
        gone["isActive"] == false
    })
    .await;
    assert_eq!(gone["deactivatedReason"], "the receiver answered 410: it is gone");
    let all = deliveries(&alice, &hook).await;
    assert_eq!(
        (&all[0]["status"], &all[0]["responseStatus"]),
        (&json!("failed"), &json!(410))
    );
    assert_eq!(
        (&all[1]["status"], &all[1]["error"]),
        (&json!("failed"), &json!("the webhook was deactivated"))
    );
    is(
        &alice.post(&format!("{}/redelivery", path(&all[0])), json!({})).await,
        409,
        "CONFLICT",
    );

    receiver.accept();
    say(&alice, "lobby", "two").await;
    // What another webhook was told of has been looked at for this one too.
    let other = Receiver::start().await;
    crate::webhooks::hook(&alice, &other.url("/"), &["trigger.shared"]).await;
    alice.trigger("told", true).await;
    other.one_more(0).await;
    assert_eq!(receiver.all().len(), 2);

    let on = alice.put(&path(&hook), json!({ "isActive": true })).await.body;
    assert_eq!(
        (&on["isActive"], &on["deactivatedReason"]),
        (&json!(true), &Value::Null)
    );
    assert!(health(&alice, &hook).await["failingSince"].is_null());
    say(&alice, "lobby", "three").await;
    assert_eq!(receiver.one_more(2).await.json()["data"]["content"], "three");
}

#[tokio::test]
async fn one_that_is_switched_off_gives_up_what_waits() {
    let server = server().await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let hook = hook(&alice, &receiver.url("/"), &["message.new"]).await;
    receiver.next(Reply::status(500));
    say(&alice, "lobby", "one").await;
    newest(&alice, &hook, "a failure", |row| row["attempts"] == 1).await;
    for is_active in [false, true] {
        let body = json!({ "isActive": is_active });
        is(&alice.put(&path(&hook), body).await, 200, "");
    }
    make_due(&server).await;
    say(&alice, "lobby", "two").await;
    assert_eq!(receiver.one_more(1).await.json()["data"]["content"], "two");
    let given_up = &deliveries(&alice, &hook).await[1];
    assert_eq!(
        (&given_up["status"], &given_up["error"]),
        (&json!("failed"), &json!("the webhook was switched off"))
    );
}

#[tokio::test]
async fn one_that_fails_holds_back_its_subject_through_three_attempts() {
    let server = server().await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let hook = hook(&alice, &receiver.url("/"), &["message.new", "trigger.shared"]).await;
    let told = || -> Vec<String> {
        let told = |sent: Delivered| {
            let data = &sent.json()["data"];
            data["content"].as_str().or(data["name"].as_str()).unwrap().to_owned()
        };
        receiver.all().into_iter().map(told).collect()
    };
    let first = async |attempts: u64| {
        eventually("the failure is recorded", async || {
            let all = deliveries(&alice, &hook).await;
            all.last().is_some_and(|row| row["attempts"] == attempts)
        })
        .await;
    };
    receiver.refuse("first");
    say(&alice, "lobby", "first").await;
    first(1).await;
    for content in ["second", "third"] {
        say(&alice, "lobby", content).await;
    }
    alice.trigger("elsewhere", true).await;
    receiver.sent(2).await;
    assert_eq!(told(), ["first", "elsewhere"]);
    make_due(&server).await;
    first(2).await;
    assert_eq!(told(), ["first", "elsewhere", "first"]);
    make_due(&server).await;
    receiver.sent(6).await;
    assert_eq!(told(), ["first", "elsewhere", "first", "first", "second", "third"]);
    first(3).await;
    receiver.accept();
    make_due(&server).await;
    receiver.sent(7).await;
    assert_eq!(told()[6], "first");
}

#[tokio::test]
async fn a_slow_receiver_delays_nobody_else() {
    let server = server().await;
    let alice = server.member("alice").await;
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    let slow_hook = hook(&alice, &slow.url("/"), &["profile.update"]).await;
    hook(&alice, &quick.url("/"), &["message.new"]).await;
    let let_go = watch::Sender::new(false);
    for _ in 0..6 {
        slow.next(Reply::held(&let_go));
        alice.post(&format!("{}/ping", path(&slow_hook)), json!({})).await;
    }
    slow.sent(4).await;
    for n in 0..5 {
        say(&alice, "lobby", &n.to_string()).await;
        assert_eq!(quick.one_more(n).await.json()["data"]["content"], n.to_string());
    }
    assert_eq!(slow.all().len(), 4, "no more at once to one host");
    let_go.send_replace(true);
    slow.sent(6).await;

    // One that hangs after the head of its answer.
    let (reply, steps): (_, mpsc::UnboundedSender<_>) = Reply::steps();
    slow.next(reply);
    alice.post(&format!("{}/ping", path(&slow_hook)), json!({})).await;
    slow.sent(7).await;
    steps.send("a beginning".into()).unwrap();
    say(&alice, "lobby", "meanwhile").await;
    quick.one_more(5).await;
    let pending = deliveries(&alice, &slow_hook).await;
    assert_eq!(
        pending[0]["status"], "pending",
        "nothing is recorded before the answer ends"
    );
}

#[tokio::test]
async fn operators_see_attempts_and_how_long_what_is_due_has_waited() {
    const DELIVERED: &str = "bambisleep_webhook_attempts_total{outcome=\"delivered\"}";
    const FAILED: &str = "bambisleep_webhook_attempts_total{outcome=\"failed\"}";
    const AGE: &str = "bambisleep_webhook_queue_age_seconds";
    let metrics = Metrics::new();
    let server = Server::options()
        .set("BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE", "true")
        .set("BAMBISLEEP_METRICS_BIND", &metrics.bind)
        .start()
        .await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let hook = hook(&alice, &receiver.url("/"), &["message.new"]).await;
    let ping = async || {
        alice.post(&format!("{}/ping", path(&hook)), json!({})).await;
    };
    receiver.next(Reply::status(500));
    ping().await;
    receiver.sent(1).await;
    ping().await;
    receiver.sent(2).await;
    eventually("both are counted", async || {
        metrics.value(FAILED).await == Some(1.0) && metrics.value(DELIVERED).await == Some(1.0)
    })
    .await;
    assert_eq!(metrics.value(AGE).await, Some(0.0), "nothing waits");

    // Four are on their way to the one host, and the fifth has no place.
    let let_go = watch::Sender::new(false);
    for _ in 0..5 {
        receiver.next(Reply::held(&let_go));
        ping().await;
    }
    receiver.sent(6).await;
    eventually("what waits grows old", async || metrics.value(AGE).await > Some(0.0)).await;
    let_go.send_replace(true);
    receiver.sent(7).await;
    eventually("nothing waits", async || metrics.value(AGE).await == Some(0.0)).await;
}
