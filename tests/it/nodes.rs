//! Several nodes on one Postgres: what one is told about callers the others know within a second, with Redis and without.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{PASSWORD, Place, RedisServer, Server, clustered, eventually};

/// What another node is to notice within a second, with some more for a machine that is busy.
async fn soon(what: &str, holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    eventually(what, holds).await;
    let took = start.elapsed();
    assert!(took < Duration::from_millis(2_500), "{what} took {took:?}");
}

/// Ends logins and keys, changes roles and bans on one node, and looks on the other.
async fn assert_told(one: &Server, two: &Server, suffix: &str) {
    let name = |name: &str| format!("{name}-{suffix}");
    let alice = one.member(&name("alice")).await;
    let there = two.bearer(alice.token());
    assert_eq!(there.get("/v1/me").await.status, 200);
    let key = alice.key(&["triggers:read"]).await;
    let bot = two.bearer(&key);
    assert_eq!(bot.get("/v1/triggers").await.status, 200);

    let keys = there.get("/v1/keys").await;
    let id = keys.body["keys"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(alice.delete(&format!("/v1/keys/{id}")).await.status, 200);
    soon("the revoked key is refused", async || {
        bot.get("/v1/triggers").await.code() == "INVALID_CREDENTIALS"
    })
    .await;
    assert_eq!(there.get("/v1/me").await.status, 200);
    assert_eq!(alice.post("/v1/auth/logout", json!({})).await.status, 200);
    soon("the login is over", async || {
        there.get("/v1/me").await.code() == "INVALID_CREDENTIALS"
    })
    .await;
    assert_eq!(alice.get("/v1/me").await.code(), "INVALID_CREDENTIALS");

    let bob = one.member(&name("bob")).await;
    let private = format!("/v1/profile/{}", name("bob"));
    assert_eq!(bob.put(&private, json!({ "isPublic": false })).await.status, 200);
    let carol = one.member(&name("carol")).await;
    let there = two.bearer(carol.token());
    assert_eq!(there.get(&private).await.code(), "PROFILE_PRIVATE");
    let run = |arguments: &[&str]| {
        let output = one.place.run(arguments, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["user", "role", &name("carol"), "moderator"]);
    soon("the role counts", async || there.get(&private).await.status == 200).await;
    run(&["user", "ban", &name("carol"), "--reason", "spam"]);
    soon("the ban counts", async || there.get("/v1/me").await.code() == "BANNED").await;
    soon("the ban counts here too", async || {
        carol.get("/v1/me").await.code() == "BANNED"
    })
    .await;
    run(&["user", "unban", &name("carol")]);
    soon("the ban is over", async || there.get("/v1/me").await.status == 200).await;

    // A new password ends the logins elsewhere, and goes on with this one.
    let elsewhere = two
        .nobody()
        .data(
            "mutation ($input: LoginInput!) { login(input: $input) { token } }",
            json!({ "input": { "username": name("bob"), "password": PASSWORD } }),
        )
        .await;
    let elsewhere = two.bearer(elsewhere["login"]["token"].as_str().unwrap());
    assert_eq!(elsewhere.get("/v1/me").await.status, 200);
    let change = json!({ "currentPassword": PASSWORD, "newPassword": "a new password" });
    assert_eq!(bob.post("/v1/auth/password", change).await.status, 200);
    soon("the other login is over", async || {
        elsewhere.get("/v1/me").await.code() == "INVALID_CREDENTIALS"
    })
    .await;
    assert_eq!(two.bearer(bob.token()).get("/v1/me").await.status, 200);
    let leave = json!({ "password": "a new password" });
    assert_eq!(bob.post("/v1/me/delete", leave).await.status, 200);
    let bob = two.bearer(bob.token());
    soon("who left is not known", async || {
        bob.get("/v1/me").await.code() == "INVALID_CREDENTIALS"
    })
    .await;
}

#[tokio::test]
async fn what_ends_on_one_node_ends_on_the_others_with_redis_and_without() {
    if !clustered() {
        return; // About several nodes, which take Postgres.
    }
    let place = Place::new().await;
    let mut redis = RedisServer::start().await;
    let node = || Server::options().place(&place).set("REDIS_URL", &redis.url());
    let (one, two) = (node().start().await, node().start().await);
    assert_told(&one, &two, "up").await;
    redis.kill();
    assert_told(&one, &two, "down").await;
    redis.restart().await;
    eventually("Redis is back", async || {
        let state = async |server: &Server| server.nobody().get("/readyz").await.body["redis"] == "ok";
        state(&one).await && state(&two).await
    })
    .await;
    assert_told(&one, &two, "again").await;
}
