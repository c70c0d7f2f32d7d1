//! A log that is kept for some days: what is older goes, and whoever comes back from before is told so.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::harness::{Caller, Place, Server, eventually};

async fn execute(place: &Place, sql: &str) -> u64 {
    let database = place.database().await;
    let changed = database.execute_unprepared(sql).await.unwrap().rows_affected();
    database.close().await.unwrap();
    changed
}

async fn say(caller: &Caller<'_>, content: &str) -> String {
    let sent = caller.post("/v1/chat/messages", json!({ "content": content })).await;
    sent.body["id"].as_str().unwrap().to_owned()
}

async fn events(caller: &Caller<'_>) -> Vec<Value> {
    let answer = caller.get("/v1/events?first=100").await;
    assert_eq!(answer.status, 200);
    answer.body["events"].as_array().unwrap().clone()
}

/// How a reader of the lobby is answered who goes on after something.
async fn follow(caller: &Caller<'_>, after: &str) -> Value {
    let document = "subscription ($after: ID) { messageAdded(after: $after) { content } }";
    let request = caller.request(reqwest::Method::POST, "/graphql");
    let request = request.header("accept", "text/event-stream");
    let body = json!({ "query": document, "variables": { "after": after } });
    let mut response = request.json(&body).send().await.unwrap();
    loop {
        let chunk = response.chunk().await.unwrap().expect("a stream says something");
        let text = std::str::from_utf8(&chunk).unwrap();
        if let Some(data) = text.lines().find_map(|line| line.strip_prefix("data: ")) {
            return serde_json::from_str(data).unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_older_than_the_log_is_kept_goes_and_late_readers_are_told() {
    let place = Place::new().await;
    let server = Server::options().place(&place).start().await;
    let alice = server.member("alice").await;
    let token = alice.token().to_owned();
    let messages = [say(&alice, "one").await, say(&alice, "two").await];
    let mut before = Vec::new();
    eventually("the messages are in the log", async || {
        before = events(&alice).await;
        before.len() == 2
    })
    .await;
    server.terminate().await;
    // Two days ago.
    execute(&place, "UPDATE events SET created_at = created_at - 172800000").await;

    let server = Server::options()
        .place(&place)
        .set("BAMBISLEEP_LOG_DAYS", "1")
        .start()
        .await;
    let alice = server.bearer(&token);
    let last = say(&alice, "three").await;
    let mut kept = Vec::new();
    eventually("what is old is gone", async || {
        kept = events(&alice).await;
        kept.len() == 1
    })
    .await;
    assert_eq!(kept[0]["data"]["content"], "three");
    let oldest = &kept[0]["id"];

    let first = before[0]["id"].as_str().unwrap();
    let answer = alice.get(&format!("/v1/events?after={first}")).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "NOT_FOUND"));
    assert_eq!(answer.body["details"]["oldest"], *oldest);
    // What never was is older than nothing.
    let never = "evt_7zzzzzzzzze008000000000000";
    let answer = alice.get(&format!("/v1/events?after={never}")).await;
    assert_eq!(
        (answer.code(), answer.body["details"].get("oldest")),
        ("NOT_FOUND", None)
    );

    for after in [first, messages[0].as_str()] {
        let answer = follow(&alice, after).await;
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "NOT_FOUND", "{answer}");
        assert_eq!(extensions["details"]["oldest"], *oldest, "{answer}");
    }
    // Nothing is missing after the last of what is gone.
    assert_eq!(
        follow(&alice, &messages[1]).await["data"]["messageAdded"]["content"],
        "three"
    );
    // Messages are no events: all of them are there.
    let history = alice.get("/v1/chat/messages").await.body;
    assert_eq!(history["messages"].as_array().unwrap().len(), 3);
    assert_eq!(history["messages"][2]["id"], last.as_str());
}

#[tokio::test]
async fn what_a_webhook_is_still_to_be_told_of_is_kept_with_all_that_came_after() {
    let place = Place::new().await;
    let server = Server::options()
        .place(&place)
        .set("BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE", "true")
        .start()
        .await;
    let alice = server.member("alice").await;
    let token = alice.token().to_owned();
    say(&alice, "before the webhook").await;
    // Nobody listens there.
    let nowhere = crate::harness::address_to_keep();
    let webhook = json!({ "url": format!("http://{nowhere}/"), "events": ["message.new"] });
    assert_eq!(alice.post("/v1/webhooks", webhook).await.status, 200);
    say(&alice, "to tell").await;
    say(&alice, "after it").await;
    let database = place.database().await;
    eventually("the first attempt has failed", async || {
        let query = sea_orm::Statement::from_string(
            database.get_database_backend(),
            "SELECT 1 FROM deliveries WHERE attempts > 0 AND status = 'pending'",
        );
        database.query_one_raw(query).await.unwrap().is_some()
    })
    .await;
    database.close().await.unwrap();
    server.terminate().await;
    execute(&place, "UPDATE events SET created_at = created_at - 172800000").await;
    execute(&place, "UPDATE deliveries SET happened_at = happened_at - 172800000").await;

    let server = Server::options()
        .place(&place)
        .set("BAMBISLEEP_LOG_DAYS", "1")
        .set("BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE", "true")
        .start()
        .await;
    let alice = server.bearer(&token);
    let mut kept = Vec::new();
    eventually("what came before is gone", async || {
        kept = events(&alice).await;
        kept.len() == 2
    })
    .await;
    let contents: Vec<_> = kept.iter().map(|event| &event["data"]["content"]).collect();
    assert_eq!(contents, ["to tell", "after it"]);
}
