//! What a webhook gets is what its owner may see when it is sent; and no webhook reaches what the internet does not.

use std::{io::ErrorKind, net::TcpListener};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    clients::say,
    harness::{Caller, Place, Server, eventually},
    receiver::{Receiver, Reply},
    webhook_deliveries::{make_due, newest, number},
    webhooks::{deliveries, hook, is, path, server},
};

/// Waits until so many deliveries have failed once and wait for their next attempt.
async fn all_failed_once(caller: &Caller<'_>, hook: &Value, count: usize) {
    eventually("all have failed once", async || {
        let all = deliveries(caller, hook).await;
        all.len() == count && all.iter().all(|row| row["attempts"] == 1)
    })
    .await;
}

/// What is sent of a delivery, or was: its event's data over GraphQL, or the code of why it is not shown.
async fn data(caller: &Caller<'_>, delivery: &Value) -> (String, Value) {
    let document = "query ($id: ID!) { node(id: $id) { ... on Delivery { event { data } } } }";
    let mut answer = caller.graphql(document, json!({ "id": delivery["id"] })).await;
    let code = answer.code().to_owned();
    (code, answer.body["data"]["node"]["event"]["data"].take())
}

#[tokio::test]
async fn what_the_owner_may_no_longer_see_is_not_sent() {
    let server = server().await;
    let (alice, bob, carol) = (
        server.member("alice").await,
        server.member("bob").await,
        server.member("carol").await,
    );
    let dave = server.member("dave").await;
    let admin = server.member_with_role("admin", "admin").await;
    for room in ["one", "two"] {
        is(&bob.post("/v1/chat/rooms", json!({ "name": room })).await, 200, "");
    }
    let receiver = Receiver::start().await;
    let hook = hook(
        &alice,
        &receiver.url("/"),
        &["message.new", "profile.update", "trigger.shared"],
    )
    .await;
    // Each of a subject of its own.
    receiver.refuse("type");
    bob.put("/v1/profile/bob", json!({ "displayName": "Secretive" })).await;
    let withdrawn = bob.trigger("withdrawn", true).await;
    let deleted = bob.trigger("deleted", true).await;
    let message = say(&bob, "lobby", "taken back").await;
    say(&carol, "one", "from one who is blocked").await;
    carol.trigger("of one who is blocked", true).await;
    let banned = say(&dave, "two", "from one who is banned").await;
    all_failed_once(&alice, &hook, 7).await;

    is(&bob.put("/v1/profile/bob", json!({ "isPublic": false })).await, 200, "");
    is(
        &bob.put(&format!("/v1/triggers/{withdrawn}"), json!({ "isPublic": false }))
            .await,
        200,
        "",
    );
    is(&bob.delete(&format!("/v1/triggers/{deleted}")).await, 200, "");
    is(&bob.delete(&format!("/v1/chat/messages/{message}")).await, 200, "");
    alice
        .data(
            "mutation { blockMember(username: \"carol\") { user { id } } }",
            json!({}),
        )
        .await;
    // Whom the owner is blocked by is none of the owner's business.
    dave.data(
        "mutation { blockMember(username: \"alice\") { user { id } } }",
        json!({}),
    )
    .await;
    let ban = "mutation { banMember(username: \"dave\", input: { reason: \"r\" }) { user { id } } }";
    admin.data(ban, json!({})).await;
    receiver.accept();
    make_due(&server).await;

    let mut rows = Vec::new();
    eventually("all are done", async || {
        rows = deliveries(&alice, &hook).await;
        rows.len() == 7 && rows.iter().all(|row| row["status"] != "pending")
    })
    .await;
    // The log shows the owner two of them now, and those two were sent as it shows them.
    let log = alice
        .get("/v1/events?kinds=message.new&kinds=profile.update&kinds=trigger.shared&first=100")
        .await
        .body;
    let log = log["events"].as_array().unwrap();
    let mut sent: Vec<Value> = receiver.all()[7..]
        .iter()
        .map(|sent| sent.json()["data"].take())
        .collect();
    sent.sort_by_key(|data| data["content"].as_str().unwrap().len());
    assert_eq!(sent.len(), 2, "{sent:#?}");
    assert_eq!((&sent[0]["id"], &sent[0]["content"]), (&json!(message), &json!("")));
    assert_eq!(
        (&sent[1]["id"], &sent[1]["content"]),
        (&json!(banned), &json!("from one who is banned"))
    );
    let mut shown: Vec<&Value> = log.iter().map(|event| &event["data"]).collect();
    shown.sort_by_key(|data| data["content"].as_str().unwrap().len());
    assert_eq!(sent.iter().collect::<Vec<_>>(), shown);
    for row in &rows {
        let (code, data) = data(&alice, row).await;
        match row["status"] == "failed" {
            true => {
                assert_eq!(row["error"], "the event is no longer yours to see");
                assert!(!code.is_empty() && data.is_null(), "{code} {data}");
            }
            false => assert!(sent.contains(&data), "{data}"),
        }
    }
    assert_eq!(rows.iter().filter(|row| row["status"] == "failed").count(), 5);
}

#[tokio::test]
async fn what_is_deleted_is_forgotten_in_what_was_sent_too() {
    let server = server().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let receiver = Receiver::start().await;
    let hook = hook(&alice, &receiver.url("/"), &["message.new"]).await;
    let messages = [
        say(&bob, "lobby", "forgotten with the message").await,
        say(&bob, "lobby", "forgotten with the account").await,
    ];
    let mut rows = Vec::new();
    eventually("both have arrived", async || {
        rows = deliveries(&alice, &hook).await;
        rows.len() == 2 && rows.iter().all(|row| row["status"] == "delivered")
    })
    .await;
    let kept = "SELECT count(*) FROM deliveries WHERE body LIKE '%forgotten with%'";
    assert_eq!(number(&server, kept).await, 2);
    is(
        &bob.delete(&format!("/v1/chat/messages/{}", messages[0])).await,
        200,
        "",
    );
    assert_eq!(number(&server, kept).await, 1);
    let password = json!({ "password": crate::harness::PASSWORD });
    is(&bob.post("/v1/me/delete", password).await, 200, "");
    assert_eq!(number(&server, kept).await, 0);
    for row in &rows {
        let (code, data) = data(&alice, row).await;
        assert_eq!((code.as_str(), &data["content"]), ("", &json!("")), "{data}");
    }
}

#[tokio::test]
async fn what_waits_shows_nothing_that_its_owner_may_not_see() {
    let server = server().await;
    let (alice, carol) = (server.member("alice").await, server.member("carol").await);
    let receiver = Receiver::start().await;
    let hook = hook(&alice, &receiver.url("/"), &["message.new"]).await;
    receiver.refuse("first");
    say(&carol, "lobby", "first").await;
    all_failed_once(&alice, &hook, 1).await;
    // It waits for the first, unsent.
    say(&carol, "lobby", "second").await;
    let waiting = newest(&alice, &hook, "the second waits", |row| row["attempts"] == 0).await;
    assert_eq!(data(&alice, &waiting).await.1["content"], "second");
    alice
        .data(
            "mutation { blockMember(username: \"carol\") { user { id } } }",
            json!({}),
        )
        .await;
    let (code, shown) = data(&alice, &waiting).await;
    assert_eq!((code.as_str(), shown), ("NOT_FOUND", Value::Null));
}

#[tokio::test]
async fn nothing_is_sent_for_one_who_is_banned() {
    let server = server().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let admin = server.member_with_role("admin", "admin").await;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let kept = hook(&alice, &receiver.url("/"), &["message.new", "trigger.shared"]).await;
    hook(&bob, &other.url("/"), &["message.new", "trigger.shared"]).await;
    receiver.refuse("type");
    say(&bob, "lobby", "before").await;
    all_failed_once(&alice, &kept, 1).await;
    let ban = "mutation { banMember(username: \"alice\", input: { reason: \"r\" }) { user { id } } }";
    admin.data(ban, json!({})).await;
    receiver.accept();
    make_due(&server).await;
    bob.trigger("meanwhile", true).await;
    other.sent(2).await;
    let reinstate = "mutation { reinstateMember(username: \"alice\", input: { reason: \"r\" }) { user { id } } }";
    let mut all = Vec::new();
    eventually("both are dropped", async || {
        number(&server, "SELECT count(*) FROM deliveries WHERE status = 'pending'").await == 0
    })
    .await;
    admin.data(reinstate, json!({})).await;
    eventually("alice is back", async || {
        let answer = alice.get(&format!("{}/deliveries", path(&kept))).await;
        all = answer.body["deliveries"].as_array().cloned().unwrap_or_default();
        answer.status == 200
    })
    .await;
    let seen: Vec<_> = all
        .iter()
        .map(|row| (row["kind"].as_str(), row["error"].as_str()))
        .collect();
    assert_eq!(
        seen,
        [(Some("message.new"), Some("the event is no longer yours to see"))]
    );
    assert_eq!(receiver.all().len(), 1);
    say(&bob, "lobby", "after").await;
    assert_eq!(receiver.one_more(1).await.json()["data"]["content"], "after");
}

#[tokio::test]
async fn no_test_event_is_sent_for_one_who_is_banned() {
    let server = server().await;
    let alice = server.member("alice").await;
    let admin = server.member_with_role("admin", "admin").await;
    let receiver = Receiver::start().await;
    let kept = hook(&alice, &receiver.url("/"), &["message.new"]).await;
    let ping = async || {
        let answer = alice.post(&format!("{}/ping", path(&kept)), json!({})).await;
        is(&answer, 200, "");
    };
    // As many as go to one host at once, and one that waits for them.
    let let_go = watch::Sender::new(false);
    for _ in 0..4 {
        receiver.next(Reply::held(&let_go));
        ping().await;
    }
    receiver.sent(4).await;
    ping().await;
    let ban = "mutation { banMember(username: \"alice\", input: { reason: \"r\" }) { user { id } } }";
    admin.data(ban, json!({})).await;
    let_go.send_replace(true);
    eventually("all are done", async || {
        number(&server, "SELECT count(*) FROM deliveries WHERE status = 'pending'").await == 0
    })
    .await;
    assert_eq!(receiver.all().len(), 4);
}

const URL_TEMPLATES: &[&str] = &[
    "http://127.0.0.1:PORT/",
    "http://example.org/",
    "https://127.0.0.1:PORT/",
    "https://127.1:PORT/",
    "https://2130706433:PORT/",
    "https://0x7f000001:PORT/",
    "https://0x7f.0.0.1:PORT/",
    "https://0177.0.0.1:PORT/",
    "https://017700000001:PORT/",
    "https://%31%32%37.0.0.1:PORT/",
    "https://１２７.0.0.1:PORT/",
    "https://127.0.0.1.:PORT/",
    "https://localhost:PORT/",
    "https://LOCALHOST:PORT/",
    "https://localhost.:PORT/",
    "https://a.localhost:PORT/",
    "https://[::1]:PORT/",
    "https://[0:0:0:0:0:0:0:1]:PORT/",
    "https://[::ffff:127.0.0.1]:PORT/",
    "https://[::ffff:7f00:1]:PORT/",
    "https://[::127.0.0.1]:PORT/",
    "https://[64:ff9b::127.0.0.1]:PORT/",
    "https://[2002:7f00:1::]:PORT/",
    "https://[::]:PORT/",
    "https://[fe80::1]/",
    "https://[fc00::1]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://0.0.0.0:PORT/",
    "https://0:PORT/",
    "https://0.1.2.3/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/",
    "https://192.0.2.1/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://user@example.org/",
    "https://user:password@example.org/",
    "https://example.org@127.0.0.1:PORT/",
    "https:/\\127.0.0.1:PORT/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/",
];

#[tokio::test]
async fn no_webhook_reaches_a_private_address() {
    let place = Place::new().await;
    let server = Server::options().place(&place).start().await;
    let token = server.member("alice").await.token().to_owned();
    let alice = server.bearer(&token);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let good = json!({ "url": "https://example.org/", "events": ["message.new"] });
    let made = alice.post("/v1/webhooks", good).await.body;
    let over_graphql =
        "mutation ($url: URL!) { createWebhook(input: { url: $url, events: [MESSAGE_NEW] }) { secret } }";
    for template in URL_TEMPLATES {
        let url = template.replace("PORT", &port);
        let answer = alice
            .post("/v1/webhooks", json!({ "url": url, "events": ["message.new"] }))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (400, "VALIDATION_FAILED"),
            "{url}: {:#}",
            answer.body
        );
        assert!(
            answer.body["details"]["fields"]["url"].is_string(),
            "{url}: {:#}",
            answer.body
        );
        let answer = alice.put(&path(&made), json!({ "url": url })).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (400, "VALIDATION_FAILED"),
            "{url}: {:#}",
            answer.body
        );
        let answer = alice.graphql(over_graphql, json!({ "url": url })).await;
        assert_eq!(answer.code(), "VALIDATION_FAILED", "{url}: {:#}", answer.body);
        assert!(
            answer.body["errors"][0]["extensions"]["details"]["fields"]["url"].is_string(),
            "{url}"
        );
    }
    drop(server.terminate().await);

    // Made where the rules were others, and stopped where they are these.
    let server = Server::options()
        .place(&place)
        .set("BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE", "true")
        .start()
        .await;
    let alice = server.bearer(&token);
    let made = hook(&alice, &format!("http://127.0.0.1:{port}/"), &["message.new"]).await;
    drop(server.terminate().await);
    let server = Server::options()
        .place(&place)
        .set("BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE", "false")
        .start()
        .await;
    let alice = server.bearer(&token);
    alice.post(&format!("{}/ping", path(&made)), json!({})).await;
    let failed = newest(&alice, &made, "it is not sent", |row| row["status"] == "failed").await;
    assert_eq!(failed["error"], "the URL must be an https URL");
    assert!(failed["responseStatus"].is_null());
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "somebody has connected"
    );
}
