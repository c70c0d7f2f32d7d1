//! Idempotency keys: the first success again, and nothing twice.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Server, send};

const CREATE: &str = "mutation ($input: CreateTriggerInput!) { createTrigger(input: $input) { trigger { id name } } }";

async fn rest(caller: &Caller<'_>, key: &str, method: Method, path: &str, body: Value) -> Answer {
    send(caller.request(method, path).header("Idempotency-Key", key).json(&body)).await
}

async fn graphql(caller: &Caller<'_>, key: &str, document: &str, variables: Value) -> Answer {
    let body = json!({ "query": document, "variables": variables });
    send(
        caller
            .request(Method::POST, "/graphql")
            .header("Idempotency-Key", key)
            .json(&body),
    )
    .await
}

fn is(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (status, code),
        "{:#}",
        answer.body
    );
}

async fn count(caller: &Caller<'_>, path: &str, member: &str) -> usize {
    caller.get(path).await.body[member].as_array().unwrap().len()
}

#[tokio::test]
async fn every_mutation_that_takes_a_key_happens_once_and_answers_the_same_again() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let body = json!({ "name": "calm", "content": "breathe", "isPublic": true });
    let made = rest(&alice, "create", Method::POST, "/v1/triggers", body.clone()).await;
    assert_eq!(made.status, 200, "{:#}", made.body);
    let again = rest(&alice, "create", Method::POST, "/v1/triggers", body).await;
    assert_eq!((again.status, &again.body), (made.status, &made.body));
    let path = format!("/v1/triggers/{}", made.body["id"].as_str().unwrap());
    let activation = format!("{path}/activation");

    let edit = json!({ "content": "slowly" });
    let first = rest(&alice, "update", Method::PUT, &path, edit.clone()).await;
    alice.put(&path, json!({ "content": "deeply" })).await;
    let again = rest(&alice, "update", Method::PUT, &path, edit).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(
        (alice.get(&path).await).body["content"],
        "deeply",
        "the edit did not happen again"
    );

    let profile = json!({ "displayName": "Al" });
    let first = rest(&alice, "profile", Method::PUT, "/v1/profile/alice", profile.clone()).await;
    alice.put("/v1/profile/alice", json!({ "displayName": "Ally" })).await;
    let again = rest(&alice, "profile", Method::PUT, "/v1/profile/alice", profile).await;
    assert_eq!(again.body["displayName"], first.body["displayName"]);
    assert_eq!((alice.get("/v1/profile/alice").await).body["displayName"], "Ally");

    let none = json!({});
    rest(&bob, "on", Method::POST, &activation, none.clone()).await;
    rest(&bob, "off", Method::DELETE, &activation, none.clone()).await;
    assert_eq!(
        rest(&bob, "on", Method::POST, &activation, none.clone()).await.status,
        200
    );
    assert_eq!(
        (bob.get("/v1/me/profile").await).body["triggers"],
        json!([]),
        "it is not active again"
    );
    bob.post(&activation, none.clone()).await;
    assert_eq!(
        rest(&bob, "off", Method::DELETE, &activation, none.clone())
            .await
            .status,
        200
    );
    assert_eq!((bob.get("/v1/me/profile").await).body["triggers"], json!(["calm"]));

    rest(&bob, "pause", Method::POST, "/v1/me/triggers/pause", none.clone()).await;
    rest(&bob, "resume", Method::DELETE, "/v1/me/triggers/pause", none.clone()).await;
    rest(&bob, "pause", Method::POST, "/v1/me/triggers/pause", none.clone()).await;
    assert_eq!((bob.get("/v1/me/triggers/pause").await).body["paused"], false);
    bob.post("/v1/me/triggers/pause", none.clone()).await;
    rest(&bob, "resume", Method::DELETE, "/v1/me/triggers/pause", none.clone()).await;
    assert_eq!((bob.get("/v1/me/triggers/pause").await).body["paused"], true);

    bob.key(&["profile:read"]).await;
    let keys = bob.get("/v1/keys").await.body["keys"].take();
    let key = format!("/v1/keys/{}", keys[0]["id"].as_str().unwrap());
    let first = rest(&bob, "revoke", Method::DELETE, &key, none.clone()).await;
    let again = rest(&bob, "revoke", Method::DELETE, &key, none.clone()).await;
    assert_eq!(
        (first.status.as_u16(), &again.body),
        (200, &first.body),
        "{:#}",
        first.body
    );
    is(&bob.delete(&key).await, 404, "NOT_FOUND");

    let login = json!({ "username": "bob", "password": crate::harness::PASSWORD });
    server.nobody().post("/v1/auth/login", login).await;
    let logins = bob.get("/v1/auth/logins").await.body["logins"].take();
    let other = logins
        .as_array()
        .unwrap()
        .iter()
        .find(|login| login["isCurrent"] == false)
        .unwrap();
    let login = format!("/v1/auth/logins/{}", other["id"].as_str().unwrap());
    let first = rest(&bob, "log out", Method::DELETE, &login, none.clone()).await;
    let again = rest(&bob, "log out", Method::DELETE, &login, none.clone()).await;
    assert_eq!(
        (first.status.as_u16(), &again.body),
        (200, &first.body),
        "{:#}",
        first.body
    );

    // What is gone by now is shown as it was.
    let first = rest(&alice, "delete", Method::DELETE, &path, none.clone()).await;
    let again = rest(&alice, "delete", Method::DELETE, &path, none.clone()).await;
    assert_eq!(
        (first.status.as_u16(), &again.body),
        (200, &first.body),
        "{:#}",
        first.body
    );
    is(&alice.delete(&path).await, 404, "NOT_FOUND");
}

#[tokio::test]
async fn the_first_success_is_rendered_by_the_new_selection_and_over_the_other_dialect() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let input = json!({ "name": "calm", "content": "breathe" });
    let first = graphql(&alice, "k", CREATE, json!({ "input": input })).await;
    let id = first.body["data"]["createTrigger"]["trigger"]["id"].clone();
    assert!(id.is_string(), "{:#}", first.body);

    // The order of members, defaults that are given, and literals instead of variables do not matter.
    let other = "mutation { again: createTrigger(input: { description: \"\", content: \"breathe\", isPublic: false,
                 name: \"calm\" }) { trigger { content id revision creator { username } } } }";
    let again = graphql(&alice, "k", other, json!({})).await;
    let expected = json!({ "content": "breathe", "id": id, "revision": 1, "creator": { "username": "alice" } });
    assert_eq!(again.body["data"]["again"]["trigger"], expected);
    // REST is the same field with the same arguments; what it ignores is no argument.
    let body = json!({ "isPublic": false, "content": "breathe", "name": "calm", "unknown": 1 });
    let again = rest(&alice, "k", Method::POST, "/v1/triggers", body).await;
    assert_eq!((again.status.as_u16(), &again.body["id"]), (200, &id));
    assert_eq!(count(&alice, "/v1/triggers", "triggers").await, 1);
    // Space around the key is not the key's.
    let again = rest(
        &alice,
        " k ",
        Method::POST,
        "/v1/triggers",
        json!({ "name": "calm", "content": "breathe" }),
    )
    .await;
    assert_eq!(again.body["id"], id);

    let profile = json!({ "displayName": "Al" });
    rest(&alice, "p", Method::PUT, "/v1/profile/alice", profile.clone()).await;
    assert_eq!(
        rest(&alice, "p", Method::PUT, "/v1/profile/ALICE", profile)
            .await
            .status,
        200
    );
    let with_null = json!({ "displayName": "Al", "isPublic": null });
    assert_eq!(
        rest(&alice, "p", Method::PUT, "/v1/profile/alice", with_null)
            .await
            .status,
        200
    );
    // Null takes the avatar away; that is another request than one that says nothing of it.
    let without_avatar = json!({ "displayName": "Al", "avatarUrl": null });
    let other = rest(&alice, "p", Method::PUT, "/v1/profile/alice", without_avatar).await;
    is(&other, 409, "IDEMPOTENCY_CONFLICT");
}

#[tokio::test]
async fn a_key_is_one_members_for_one_request() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let body = json!({ "name": "calm", "content": "breathe" });
    let first = rest(&alice, "k", Method::POST, "/v1/triggers", body.clone()).await;
    let id = first.body["id"].as_str().unwrap();
    for (method, path, body) in [
        (
            Method::POST,
            "/v1/triggers".to_owned(),
            json!({ "name": "calm", "content": "other" }),
        ),
        (
            Method::POST,
            "/v1/triggers".to_owned(),
            json!({ "name": "Calm", "content": "breathe" }),
        ),
        (Method::POST, format!("/v1/triggers/{id}/activation"), json!({})),
        (Method::DELETE, format!("/v1/triggers/{id}"), json!({})),
        (Method::POST, "/v1/me/triggers/pause".to_owned(), json!({})),
    ] {
        let answer = rest(&alice, "k", method, &path, body).await;
        is(&answer, 409, "IDEMPOTENCY_CONFLICT");
    }
    let answer = graphql(&alice, "k", "mutation { pauseTriggers { profile { xp } } }", json!({})).await;
    is(&answer, 200, "IDEMPOTENCY_CONFLICT");
    assert_eq!(answer.body["errors"][0]["extensions"]["status"], 409);
    assert_eq!((alice.get("/v1/me/triggers/pause").await).body["paused"], false);
    assert_eq!((alice.get("/v1/me/profile").await).body["triggers"], json!([]));

    // Of the same member's, whatever they call with; another's key of that name is another key.
    let key = alice.key(&["triggers:write"]).await;
    let again = rest(&server.bearer(&key), "k", Method::POST, "/v1/triggers", body.clone()).await;
    assert_eq!(again.body["id"], id);
    let others = rest(&bob, "k", Method::POST, "/v1/triggers", body.clone()).await;
    assert_eq!((others.status.as_u16(), &others.body["creator"]), (200, &json!("bob")));
    assert_ne!(others.body["id"], id);
    // Keys differ by case and by each character.
    is(
        &rest(&alice, "K", Method::POST, "/v1/triggers", body).await,
        409,
        "CONFLICT",
    );
    // Permission comes first: what a key may not do, it may not replay.
    let reads = alice.key(&["triggers:read"]).await;
    let body = json!({ "name": "calm", "content": "breathe" });
    is(
        &rest(&server.bearer(&reads), "k", Method::POST, "/v1/triggers", body).await,
        403,
        "FORBIDDEN",
    );
}

#[tokio::test]
async fn failures_are_not_kept() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let calm = alice.trigger("calm", false).await;
    let body = json!({ "name": "Calm", "content": "breathe" });
    for _ in 0..2 {
        is(
            &rest(&alice, "k", Method::POST, "/v1/triggers", body.clone()).await,
            409,
            "CONFLICT",
        );
    }
    alice.delete(&format!("/v1/triggers/{calm}")).await;
    let made = rest(&alice, "k", Method::POST, "/v1/triggers", body.clone()).await;
    assert_eq!(made.status, 200, "{:#}", made.body);
    assert_eq!(
        rest(&alice, "k", Method::POST, "/v1/triggers", body).await.body,
        made.body
    );

    // Neither is a refused value, after which the key may go with a right one.
    let wrong = json!({ "displayName": "" });
    is(
        &rest(&alice, "p", Method::PUT, "/v1/profile/alice", wrong).await,
        400,
        "VALIDATION_FAILED",
    );
    let right = rest(
        &alice,
        "p",
        Method::PUT,
        "/v1/profile/alice",
        json!({ "displayName": "Al" }),
    )
    .await;
    assert_eq!(right.body["displayName"], "Al");
}

#[tokio::test]
async fn of_many_tries_at_once_one_happens() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let body = json!({ "name": "calm", "content": "breathe" });
    let tries = (0..20).map(|_| rest(&alice, "k", Method::POST, "/v1/triggers", body.clone()));
    let answers = futures_util::future::join_all(tries).await;
    let mut made = answers.iter().filter(|answer| answer.status == 200);
    let first = made.next().expect("one succeeds");
    assert!(made.all(|answer| answer.body == first.body));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        is(answer, 409, "IDEMPOTENCY_CONFLICT");
    }
    assert_eq!(count(&alice, "/v1/triggers", "triggers").await, 1);
    assert_eq!((alice.get("/v1/me/profile").await).body["xp"], 10);

    // Different requests under one key: one of them happens.
    let tries = (0..10).map(|n| {
        let body = json!({ "name": format!("t{n}"), "content": "c" });
        rest(&alice, "other", Method::POST, "/v1/triggers", body)
    });
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    let refused = answers.iter().filter(|answer| answer.code() == "IDEMPOTENCY_CONFLICT");
    assert_eq!(refused.count(), 9);
    assert_eq!(count(&alice, "/v1/triggers", "triggers").await, 2);
}

#[tokio::test]
async fn a_key_costs_one_and_goes_with_one_root_field() {
    let server = Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_AUTHENTICATED", "60")
        .start()
        .await;
    let alice = server.member("alice").await;
    let mut left = Vec::new();
    for _ in 0..3 {
        let answer = rest(&alice, "k", Method::POST, "/v1/me/triggers/pause", json!({})).await;
        left.push(answer.header("ratelimit-remaining").unwrap().parse::<u32>().unwrap());
    }
    let answer = graphql(
        &alice,
        "k",
        "mutation { pauseTriggers { profile { xp triggers { name } } } }",
        json!({}),
    )
    .await;
    left.push(answer.header("ratelimit-remaining").unwrap().parse().unwrap());
    assert_eq!(left, [59, 58, 57, 56]);

    let two = "mutation { a: resumeTriggers { profile { xp } } b: resumeTriggers { profile { xp } } }";
    let answer = graphql(&alice, "two", two, json!({})).await;
    assert_eq!(
        (answer.code(), answer.body["data"].is_null()),
        ("BAD_REQUEST", true),
        "{:#}",
        answer.body
    );
    let mixed = "mutation { resumeTriggers { profile { xp } } createSocketTicket { ticket } }";
    assert_eq!((graphql(&alice, "two", mixed, json!({})).await).code(), "BAD_REQUEST");
    let one = json!({ "query": "mutation { resumeTriggers { profile { xp } } }" });
    let batch = alice.request(Method::POST, "/graphql").header("Idempotency-Key", "two");
    assert_eq!((send(batch.json(&json!([one, one]))).await).code(), "BAD_REQUEST");
    assert_eq!(
        (alice.get("/v1/me/triggers/pause").await).body["paused"],
        true,
        "nothing ran"
    );
    // After @skip one is left.
    let skipped = "mutation ($no: Boolean!) { a: resumeTriggers { profile { xp } } b: pauseTriggers @include(if: $no) { profile { xp } } __typename }";
    let answer = graphql(&alice, "two", skipped, json!({ "no": false })).await;
    assert!(answer.body.get("errors").is_none(), "{:#}", answer.body);
    assert_eq!((alice.get("/v1/me/triggers/pause").await).body["paused"], false);
    // A query changes nothing, with or without.
    let answer = graphql(&alice, "two", "{ a: viewer { email } b: viewer { email } }", json!({})).await;
    assert!(answer.body.get("errors").is_none(), "{:#}", answer.body);
    let answer = send(alice.request(Method::GET, "/v1/me").header("Idempotency-Key", "")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_and_where_none_is_taken_ignored() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let pause = "mutation { pauseTriggers { profile { xp } } }";
    for key in ["", "  ", &"k".repeat(256)] {
        is(
            &rest(&alice, key, Method::POST, "/v1/me/triggers/pause", json!({})).await,
            400,
            "BAD_REQUEST",
        );
        assert_eq!((graphql(&alice, key, pause, json!({})).await).code(), "BAD_REQUEST");
    }
    assert_eq!((alice.get("/v1/me/triggers/pause").await).body["paused"], false);
    let longest = "k".repeat(255);
    assert_eq!(
        rest(&alice, &longest, Method::POST, "/v1/me/triggers/pause", json!({}))
            .await
            .status,
        200
    );
    let text = "schl\u{fc}ssel-\u{1f511}";
    let request = alice.request(Method::DELETE, "/v1/me/triggers/pause");
    let answer = send(request.header("Idempotency-Key", text.as_bytes())).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);

    // A secret or a login is handed out anew each time.
    let mut seen = Vec::new();
    for _ in 0..2 {
        let input = json!({ "name": "test", "scopes": ["profile:read"] });
        let made = rest(&alice, "k", Method::POST, "/v1/keys", input).await;
        seen.push(made.body["key"].as_str().unwrap().to_owned());
        let ticket = rest(&alice, "k", Method::POST, "/v1/auth/ticket", json!({})).await;
        seen.push(ticket.body["ticket"].as_str().unwrap().to_owned());
        let login = json!({ "username": "alice", "password": crate::harness::PASSWORD });
        let answer = rest(&server.nobody(), "k", Method::POST, "/v1/auth/login", login).await;
        seen.push(answer.header("set-cookie").unwrap().to_owned());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
    let registration = |name: &str| json!({ "username": name, "password": crate::harness::PASSWORD, "ofAge": true });
    for name in ["bob", "carol"] {
        let answer = rest(
            &server.nobody(),
            "k",
            Method::POST,
            "/v1/auth/register",
            registration(name),
        )
        .await;
        assert_eq!(answer.body["user"]["username"], name);
    }
    let again = rest(
        &server.nobody(),
        "k",
        Method::POST,
        "/v1/auth/register",
        registration("bob"),
    )
    .await;
    is(&again, 409, "CONFLICT");
    // Anonymous callers have no keys: a long one is no matter either.
    let answer = rest(
        &server.nobody(),
        &"k".repeat(999),
        Method::POST,
        "/v1/triggers",
        json!({}),
    )
    .await;
    is(&answer, 401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_server_that_is_killed_has_done_it_or_not() {
    let mut server = Server::start().await;
    let token = server.member("alice").await.token().to_owned();
    for round in 0..4 {
        let key = format!("round {round}");
        let body = json!({ "name": key, "content": "c", "isPublic": true });
        let request = server
            .bearer(&token)
            .request(Method::POST, "/v1/triggers")
            .header("Idempotency-Key", &key)
            .json(&body);
        let pending = tokio::spawn(request.send());
        // Sooner or later than the request gets through, by the round.
        for _ in 0..round * 40 {
            tokio::task::yield_now().await;
        }
        let place = server.place.clone();
        server.kill().await;
        let _ = pending.await;
        server = Server::options().place(&place).start().await;

        let alice = server.bearer(&token);
        let made = rest(&alice, &key, Method::POST, "/v1/triggers", body.clone()).await;
        assert_eq!(made.status, 200, "{:#}", made.body);
        let again = rest(&alice, &key, Method::POST, "/v1/triggers", body).await;
        assert_eq!(again.body, made.body);
        assert_eq!(count(&alice, "/v1/triggers", "triggers").await, round + 1);
    }
}
