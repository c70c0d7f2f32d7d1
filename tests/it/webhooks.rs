//! Webhooks as their owners keep them: made, listed, changed, tried and deleted, over REST and GraphQL, and nobody else's.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Caller, Server, eventually, send},
    openapi::Samples,
    receiver::Receiver,
};

/// A server that delivers to receivers on this machine.
pub async fn server() -> Server {
    Server::options()
        .set("BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE", "true")
        .start()
        .await
}

/// What a server answers to a new webhook; the id and, where the server made it, the secret are in it.
pub async fn hook(caller: &Caller<'_>, url: &str, events: &[&str]) -> Value {
    let answer = caller
        .post("/v1/webhooks", json!({ "url": url, "events": events }))
        .await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    answer.body
}

/// The path of a thing that an answer shows.
pub fn path(of: &Value) -> String {
    let id = of["id"].as_str().unwrap();
    match id.starts_with("delivery_") {
        true => format!("/v1/deliveries/{id}"),
        false => format!("/v1/webhooks/{id}"),
    }
}

/// A webhook's deliveries, newest first.
pub async fn deliveries(caller: &Caller<'_>, hook: &Value) -> Vec<Value> {
    let answer = caller.get(&format!("{}/deliveries?first=100", path(hook))).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    answer.body["deliveries"].as_array().unwrap().clone()
}

pub fn is(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (status, code),
        "{:#}",
        answer.body
    );
}

const URL: &str = "https://your-server.com/webhook";

fn published() -> Value {
    json!({
        "url": "https://your-server.com/webhook",
        "events": ["message.new", "profile.update", "trigger.shared"],
        "secret": "your_webhook_secret"
    })
}

fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_webhook_is_kept_over_rest() {
    let server = server().await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let samples = Samples::default();
    let made = samples.post(&alice, "/v1/webhooks", published()).await;
    is(&made, 200, "");
    let mut hook = made.body;
    let shown = [
        "id",
        "url",
        "events",
        "isActive",
        "deactivatedReason",
        "createdAt",
        "secret",
    ];
    assert_eq!(members(&hook), shown);
    assert!(hook["id"].as_str().unwrap().starts_with("webhook_"));
    for name in ["url", "events"] {
        assert_eq!(hook[name], published()[name]);
    }
    assert_eq!(
        (&hook["isActive"], &hook["deactivatedReason"]),
        (&json!(true), &json!(null))
    );
    assert!(hook["secret"].is_null(), "the caller knows it");
    hook.as_object_mut().unwrap().remove("secret");

    let without = json!({ "url": receiver.url("/in"), "events": ["message.new"] });
    let newer = samples.post(&alice, "/v1/webhooks", without).await.body;
    assert!(newer["secret"].as_str().unwrap().starts_with("whsec_"));
    let listed = samples.get(&alice, "/v1/webhooks").await.body;
    assert_eq!(listed["webhooks"][0]["id"], newer["id"]);
    assert_eq!(listed["webhooks"].as_array().unwrap()[1..], [hook.clone()]);
    let page = samples.get(&alice, "/v1/webhooks?first=1").await;
    let link = page.header("link").unwrap().split(['<', '>']).nth(1).unwrap();
    let next = samples.get(&alice, &link[link.find("/v1/").unwrap()..]).await;
    assert_eq!(next.body["webhooks"], json!([hook]));

    let mut got = samples.get(&alice, &path(&hook)).await.body;
    let health = got.as_object_mut().unwrap().remove("health").unwrap();
    assert_eq!(got, hook);
    let nothing = json!({
        "successRate": null, "pending": 0, "lastError": null, "nextAttemptAt": null, "failingSince": null
    });
    assert_eq!(health, nothing);

    let change = json!({ "url": receiver.url("/there"), "events": ["message.edit"], "isActive": false });
    let changed = samples.put(&alice, &path(&newer), change.clone()).await.body;
    for name in ["url", "events", "isActive"] {
        assert_eq!(changed[name], change[name]);
    }
    assert_eq!(changed["deactivatedReason"], "its owner has switched it off");
    let same = samples.put(&alice, &path(&newer), json!({ "events": null })).await.body;
    assert_eq!(same, changed, "what is absent or null stays");

    // A test event goes to one that is not active, too.
    let ping = samples
        .post(&alice, &format!("{}/ping", path(&newer)), json!({}))
        .await
        .body;
    let shown = [
        "id",
        "eventId",
        "kind",
        "status",
        "attempts",
        "responseStatus",
        "responseBody",
        "error",
        "nextAttemptAt",
        "createdAt",
    ];
    assert_eq!(members(&ping), shown);
    assert_eq!(
        (&ping["kind"], &ping["status"]),
        (&json!("webhook.ping"), &json!("pending"))
    );
    let sent = receiver.one_more(0).await;
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("POST", "/there"));
    assert_eq!(sent.header("webhook-id"), ping["eventId"]);
    assert_eq!(
        (&sent.json()["type"], &sent.json()["data"]),
        (&json!("webhook.ping"), &json!({}))
    );
    eventually("the answer is recorded", async || {
        let all = samples.get(&alice, &format!("{}/deliveries", path(&newer))).await.body;
        all["deliveries"][0]["status"] == "delivered"
    })
    .await;
    let all = deliveries(&alice, &newer).await;
    assert_eq!((&all[0]["id"], &all[0]["attempts"]), (&ping["id"], &json!(1)));
    let again = format!("{}/redelivery", path(&all[0]));
    is(&samples.post(&alice, &again, json!({})).await, 409, "CONFLICT");
    let on = samples
        .put(&alice, &path(&newer), json!({ "isActive": true }))
        .await
        .body;
    assert_eq!(
        (&on["isActive"], &on["deactivatedReason"]),
        (&json!(true), &json!(null))
    );
    let again = samples.post(&alice, &again, json!({})).await.body;
    assert_eq!((&again["id"], &again["attempts"]), (&ping["id"], &json!(0)));
    let again = receiver.one_more(1).await;
    assert_eq!(
        (again.header("webhook-id"), &again.body),
        (sent.header("webhook-id"), &sent.body)
    );

    let deleted = samples.delete(&alice, &path(&newer)).await;
    assert_eq!(deleted.body, on);
    is(&samples.get(&alice, &path(&newer)).await, 404, "NOT_FOUND");
    is(
        &samples
            .post(&alice, &format!("{}/redelivery", path(&ping)), json!({}))
            .await,
        404,
        "NOT_FOUND",
    );
    samples.check(&server).await;
}

const CREATE: &str = "mutation ($input: CreateWebhookInput!) { createWebhook(input: $input) {
    webhook { id url events isActive } secret } }";
const UPDATE: &str = "mutation ($id: ID!, $input: UpdateWebhookInput!) { updateWebhook(id: $id, input: $input) {
    webhook { id events isActive deactivatedReason } } }";
const DELETE: &str = "mutation ($id: ID!) { deleteWebhook(id: $id) { webhook { id } } }";
const PING: &str = "mutation ($id: ID!) { pingWebhook(id: $id) { delivery { id eventId status } } }";
const REDELIVER: &str = "mutation ($id: ID!) { redeliver(deliveryId: $id) { delivery { id status attempts } } }";
const ONE: &str = "query ($id: ID!) { viewer { webhook(id: $id) {
    id url health { successRate pending } deliveries(first: 1) { nodes { id kind status event { id kind data } }
    edges { cursor } pageInfo { hasNextPage endCursor } } } } }";
const NODE: &str = "query ($id: ID!) { node(id: $id) { id } }";

#[tokio::test]
async fn a_webhook_is_kept_over_graphql_and_is_nobody_elses() {
    let server = server().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let moderator = server.member_with_role("mod", "admin").await;
    let receiver = Receiver::start().await;
    let input = json!({ "url": receiver.url("/"), "events": ["MESSAGE_NEW", "MESSAGE_NEW"] });
    let made = alice.data(CREATE, json!({ "input": input })).await["createWebhook"].take();
    assert_eq!(made["webhook"]["events"], json!(["MESSAGE_NEW"]), "twice counts once");
    let hook = json!({ "id": made["webhook"]["id"] });
    let mut delivery = Value::Null;
    for n in 0..2 {
        let ping = alice.data(PING, hook.clone()).await["pingWebhook"]["delivery"].take();
        receiver.one_more(n).await;
        delivery = json!({ "id": ping["id"] });
    }
    let mut seen = Value::Null;
    eventually("both have arrived", async || {
        seen = alice.data(ONE, hook.clone()).await["viewer"]["webhook"].take();
        // The list and the health are read one after the other.
        let is_done = seen["deliveries"]["nodes"][0]["status"] == "DELIVERED";
        is_done && seen["health"] == json!({ "successRate": 1.0, "pending": 0 })
    })
    .await;
    let node = &seen["deliveries"]["nodes"][0];
    assert_eq!(node["id"], delivery["id"]);
    assert_eq!(
        (&node["event"]["kind"], &node["event"]["data"]),
        (&json!("WEBHOOK_PING"), &json!({}))
    );
    assert_eq!(seen["deliveries"]["pageInfo"]["hasNextPage"], true);
    let off = json!({ "id": hook["id"], "input": { "isActive": false } });

    let documents = [ONE, UPDATE, PING, DELETE, NODE, REDELIVER, NODE];
    for caller in [&bob, &moderator] {
        assert_eq!(caller.get("/v1/webhooks").await.body["webhooks"], json!([]));
        for (n, document) in documents.iter().enumerate() {
            let variables = match n {
                1 => &off,
                0..5 => &hook,
                _ => &delivery,
            };
            is(&caller.graphql(document, variables.clone()).await, 200, "NOT_FOUND");
        }
        let (hook, delivery) = (path(&hook), path(&delivery));
        for (method, path) in [
            (Method::GET, hook.clone()),
            (Method::PUT, hook.clone()),
            (Method::DELETE, hook.clone()),
            (Method::GET, format!("{hook}/deliveries")),
            (Method::POST, format!("{hook}/ping")),
            (Method::POST, format!("{delivery}/redelivery")),
        ] {
            let answer = send(caller.request(method.clone(), &path).json(&json!({}))).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (404, "NOT_FOUND"),
                "{method} {path}"
            );
        }
    }
    for id in [
        "nonsense",
        "webhook_",
        "webhook_01h455vb4pex5vsknk084sn02q",
        delivery["id"].as_str().unwrap(),
    ] {
        is(&alice.graphql(ONE, json!({ "id": id })).await, 200, "NOT_FOUND");
        is(&alice.get(&format!("/v1/webhooks/{id}")).await, 404, "NOT_FOUND");
    }
    assert_eq!(receiver.all().len(), 2, "others have sent nothing");

    let again = alice.data(REDELIVER, delivery.clone()).await["redeliver"]["delivery"].take();
    assert_eq!((&again["id"], &again["status"]), (&delivery["id"], &json!("PENDING")));
    receiver.one_more(2).await;
    let changed = alice.data(UPDATE, off).await["updateWebhook"]["webhook"].take();
    assert_eq!(changed["isActive"], false);
    alice.data(DELETE, hook.clone()).await;
    is(&alice.graphql(ONE, hook).await, 200, "NOT_FOUND");
    is(&alice.graphql(NODE, delivery).await, 200, "NOT_FOUND");
}

#[tokio::test]
async fn what_is_refused_says_why_and_ten_are_enough() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let long = format!("https://example.org/{}", "x".repeat(2_048));
    let (short, most, more) = ("x".repeat(15), "x".repeat(128), "x".repeat(129));
    for (change, field) in [
        (json!({ "events": [] }), "events"),
        (json!({ "events": ["webhook.ping"] }), "events"),
        (json!({ "secret": short }), "secret"),
        (json!({ "secret": more }), "secret"),
        (json!({ "secret": "whsec_this is no base64" }), "secret"),
        (json!({ "secret": "whsec_MfKQ9r8GKYqrT" }), "secret"),
        (json!({ "secret": "sixteen letters\u{7}" }), "secret"),
        (json!({ "url": "" }), "url"),
        (json!({ "url": "your-server.com/webhook" }), "url"),
        (json!({ "url": "ftp://your-server.com" }), "url"),
        (json!({ "url": "http://your-server.com" }), "url"),
        (json!({ "url": "https://" }), "url"),
        (json!({ "url": "https://your-server.com/#part" }), "url"),
        (json!({ "url": "https://your-server.com/a b" }), "url"),
        (json!({ "url": long }), "url"),
    ] {
        let mut body = published();
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let answer = alice.post("/v1/webhooks", body).await;
        is(&answer, 400, "VALIDATION_FAILED");
        assert_eq!(members(&answer.body["details"]["fields"]), [field], "{change}");
    }
    for (change, pointer) in [
        (json!({ "events": ["nonsense"] }), "/events/0"),
        (json!({ "events": null }), "/events"),
        (json!({ "url": null }), "/url"),
        (json!({ "url": 7 }), "/url"),
    ] {
        let mut body = published();
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let answer = alice.post("/v1/webhooks", body).await;
        is(&answer, 400, "BAD_REQUEST");
        assert_eq!(answer.body["details"]["path"], pointer, "{change}");
    }
    assert_eq!(alice.get("/v1/webhooks").await.body["webhooks"], json!([]));

    let good = [&"ä".repeat(16), most.as_str(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
    for secret in good {
        let body = json!({ "url": URL, "events": ["message.new"], "secret": secret });
        is(&alice.post("/v1/webhooks", body).await, 200, "");
    }
    let all = futures_util::future::join_all((0..9).map(|_| alice.post("/v1/webhooks", published()))).await;
    let taken = all.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(taken, 7);
    for refused in all.iter().filter(|answer| answer.status != 200) {
        is(refused, 409, "CONFLICT");
    }
    let made = all.iter().find(|answer| answer.status == 200).unwrap();
    alice.delete(&path(&made.body)).await;
    is(&alice.post("/v1/webhooks", published()).await, 200, "");
    let one = &alice.get("/v1/webhooks?first=1").await.body["webhooks"][0];
    for (change, field) in [
        (json!({ "url": "http://your-server.com" }), "url"),
        (json!({ "events": [] }), "events"),
        (json!({ "secret": short }), "secret"),
    ] {
        let answer = alice.put(&path(one), change).await;
        is(&answer, 400, "VALIDATION_FAILED");
        assert_eq!(members(&answer.body["details"]["fields"]), [field]);
    }
    assert_eq!(alice.get("/v1/webhooks?first=1").await.body["webhooks"][0], *one);
}

#[tokio::test]
async fn what_changes_webhooks_happens_once_for_a_key() {
    let server = server().await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let keyed = async |key: &str, method: Method, path: &str, body: Value| {
        send(alice.request(method, path).header("Idempotency-Key", key).json(&body)).await
    };
    let body = json!({ "url": receiver.url("/"), "events": ["message.new"] });
    let hook = keyed("make", Method::POST, "/v1/webhooks", body.clone()).await.body;
    let other = keyed("make", Method::POST, "/v1/webhooks", body).await.body;
    assert_ne!(hook["id"], other["id"], "what hands out a secret has no key");
    assert_ne!(hook["secret"], other["secret"]);
    let path = path(&hook);
    let secret = json!({ "secret": "another_webhook_secret" });
    for (key, method, path, body) in [
        ("ping", Method::POST, format!("{path}/ping"), json!({})),
        ("change", Method::PUT, path.clone(), secret),
        ("delete", Method::DELETE, path.clone(), json!({})),
    ] {
        let first = keyed(key, method.clone(), &path, body.clone()).await;
        is(&first, 200, "");
        if key == "ping" {
            receiver.one_more(0).await;
        }
        let again = keyed(key, method.clone(), &path, body).await;
        assert_eq!(again.status, 200, "{key}: {:#}", again.body);
        // A replay is rendered anew: a delivery may have arrived.
        assert_eq!(again.body["id"], first.body["id"]);
    }
    assert_eq!(receiver.all().len(), 1);
    is(
        &keyed("change", Method::PUT, &path, json!({ "isActive": true })).await,
        409,
        "IDEMPOTENCY_CONFLICT",
    );
}

#[tokio::test]
async fn deliveries_are_read_in_pages() {
    let server = server().await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let hook = hook(&alice, &receiver.url("/"), &["message.new"]).await;
    let mut pinged = Vec::new();
    for n in 0..5 {
        let ping = alice.post(&format!("{}/ping", path(&hook)), json!({})).await.body;
        receiver.one_more(n).await;
        pinged.insert(0, ping["id"].clone());
    }
    let (mut seen, mut next) = (Vec::new(), format!("{}/deliveries?first=2", path(&hook)));
    loop {
        let page = alice.get(&next).await;
        is(&page, 200, "");
        assert_eq!(members(&page.body), ["deliveries"]);
        seen.extend(
            page.body["deliveries"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["id"].clone()),
        );
        let Some(link) = page.header("link") else { break };
        let link = link.split(['<', '>']).nth(1).unwrap();
        next = link[link.find("/v1/").unwrap()..].to_owned();
    }
    assert_eq!(seen, pinged);
    for query in ["first=0", "first=101", "after=nonsense"] {
        let answer = alice.get(&format!("{}/deliveries?{query}", path(&hook))).await;
        is(&answer, 400, "VALIDATION_FAILED");
    }
}
