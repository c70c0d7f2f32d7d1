//! XP: what earns it, how much of it in a day, and that nobody can help themselves to it.

use serde_json::{Value, json};

use crate::harness::{Caller, Server};

async fn xp(caller: &Caller<'_>) -> i64 {
    let profile = caller.get("/v1/me/profile").await.body;
    assert_eq!(
        profile["level"],
        bambisleep_chat::profiles::xp::level(profile["xp"].as_i64().unwrap() as i32)
    );
    profile["xp"].as_i64().unwrap()
}

async fn activate(caller: &Caller<'_>, id: &str) -> Value {
    caller
        .post(&format!("/v1/triggers/{id}/activation"), json!({}))
        .await
        .body
}

#[tokio::test]
async fn writing_and_activating_triggers_earns_xp_up_to_a_days_cap() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    assert_eq!(xp(&alice).await, 0);
    let mut ids = Vec::new();
    for (n, expected) in [10, 20, 30, 40, 50, 50, 50].into_iter().enumerate() {
        ids.push(alice.trigger(&format!("t{n}"), true).await);
        assert_eq!(xp(&alice).await, expected);
    }
    for (id, expected) in ids.iter().zip([5, 10, 15, 20, 25, 25, 25]) {
        // The answer shows what was earned.
        assert_eq!(activate(&bob, id).await["xp"], expected);
        assert_eq!(xp(&bob).await, expected);
    }
    assert_eq!(xp(&alice).await, 50, "being activated earns nothing");
    // What fails, and everything else, earns nothing.
    bob.post("/v1/triggers", json!({ "name": "", "content": "c" })).await;
    bob.put("/v1/profile/bob", json!({ "displayName": "B" })).await;
    bob.post("/v1/me/triggers/pause", json!({})).await;
    alice
        .put(&format!("/v1/triggers/{}", ids[0]), json!({ "content": "new" }))
        .await;
    assert_eq!((xp(&alice).await, xp(&bob).await), (50, 25));
}

#[tokio::test]
async fn the_same_trigger_earns_once_however_often_it_is_activated() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let id = alice.trigger("calm", true).await;
    for round in 0..4 {
        activate(&bob, &id).await;
        assert_eq!(xp(&bob).await, 5, "round {round}");
        if round < 2 {
            bob.delete(&format!("/v1/triggers/{id}/activation")).await;
        } else {
            // A new revision is a new consent, not a new trigger.
            alice
                .put(
                    &format!("/v1/triggers/{id}"),
                    json!({ "content": format!("text {round}") }),
                )
                .await;
        }
    }
    // Writing and deleting in turns ends at the cap.
    for n in 0..8 {
        let id = bob.trigger(&format!("t{n}"), false).await;
        bob.delete(&format!("/v1/triggers/{id}")).await;
    }
    assert_eq!(xp(&bob).await, 55);
}

#[tokio::test]
async fn everything_at_once_earns_no_more() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let names: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
    let ids = futures_util::future::join_all(names.iter().map(|name| alice.trigger(name, true))).await;
    assert_eq!(xp(&alice).await, 50);
    // Each twice, at once: ten times what the cap is for.
    let twice = ids.iter().chain(&ids);
    futures_util::future::join_all(twice.map(|id| activate(&bob, id))).await;
    assert_eq!(xp(&bob).await, 25);
    let one = alice.trigger("one more", true).await;
    let carol = server.member("carol").await;
    futures_util::future::join_all((0..10).map(|_| activate(&carol, &one))).await;
    assert_eq!(xp(&carol).await, 5);
}

#[tokio::test]
async fn nobody_sets_their_own_xp() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let answer = alice
        .put(
            "/v1/profile/alice",
            json!({ "xp": 5_000, "level": 10, "displayName": "Al" }),
        )
        .await;
    assert_eq!((&answer.body["xp"], &answer.body["level"]), (&json!(0), &json!(1)));
    let registration = json!({ "username": "bob", "password": crate::harness::PASSWORD, "ofAge": true, "xp": 5_000 });
    server.nobody().post("/v1/auth/register", registration).await;
    assert_eq!((alice.get("/v1/profile/bob").await).body["xp"], 0);
    let update = "mutation ($input: UpdateProfileInput!) { updateProfile(username: \"alice\", input: $input) { profile { xp } } }";
    for member in ["xp", "level"] {
        let answer = alice.graphql(update, json!({ "input": { member: 5_000 } })).await;
        assert_eq!(answer.code(), "BAD_REQUEST");
    }
    assert_eq!(xp(&alice).await, 0);
}
