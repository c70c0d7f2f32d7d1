//! Idempotency keys of answers: asked once, however often the request comes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    companions::{
        GENERATE, Heard, Listener, assert_nothing_kept, count, execute, graphql_stream, is, model, place, rest_stream,
        sessions, start, xp,
    },
    harness::{Answer, Caller, Server, clustered, eventually, send},
    upstream::{Reply, Upstream},
};

async fn keyed(caller: &Caller<'_>, key: &str, input: &Value) -> Answer {
    let request = caller
        .request(Method::POST, "/v1/ai/generate")
        .header("Idempotency-Key", key);
    send(request.json(input)).await
}

fn hello() -> Value {
    json!({ "prompt": "hello" })
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_and_asks_once() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    let first = keyed(&alice, "k", &hello()).await;
    assert_eq!(first.status, 200, "{:#}", first.body);
    let again = keyed(&alice, "k", &hello()).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    // Over every other way, and with what says nothing more.
    let defaults = json!({ "prompt": "hello", "newSession": false, "settings": { "includeAudio": false } });
    assert_eq!(keyed(&alice, "k", &defaults).await.body, first.body);
    let body = json!({ "query": GENERATE, "variables": { "input": hello() } });
    let graphql = alice
        .request(Method::POST, "/graphql")
        .header("Idempotency-Key", "k")
        .json(&body);
    assert_eq!(send(graphql).await.body["data"]["generate"], first.body);
    for request in [rest_stream(&alice, &hello()), graphql_stream(&alice, &hello())] {
        let response = request.header("Idempotency-Key", "k").send().await.unwrap();
        let mut listener = match response.url().path() {
            "/graphql" => Listener::GraphqlSse(crate::graphql_sse::Events::of(response)),
            _ => Listener::of_rest(response).await,
        };
        let (texts, payload) = listener.rest().await;
        assert_eq!((texts, &payload), (Vec::new(), &first.body));
    }
    assert_eq!((upstream.requests().len(), xp(&alice).await), (1, 2));
    assert_eq!(sessions(&alice).await[0]["messageCount"], 2);

    for other in [
        json!({ "prompt": "Hello" }),
        json!({ "prompt": "hello", "newSession": true }),
        json!({ "prompt": "hello", "settings": { "includeTriggers": true } }),
        json!({ "prompt": "hello", "settings": { "includeAudio": true } }),
        json!({ "prompt": "hello", "sessionId": first.body["sessionId"] }),
    ] {
        is(&keyed(&alice, "k", &other).await, 409, "IDEMPOTENCY_CONFLICT");
        let streamed = rest_stream(&alice, &other).header("Idempotency-Key", "k");
        is(&send(streamed).await, 409, "IDEMPOTENCY_CONFLICT");
    }
    assert_eq!(upstream.requests().len(), 1);
    // Another member's key is another key.
    let bob = server.member("bob").await;
    assert_ne!(
        keyed(&bob, "k", &hello()).await.body["sessionId"],
        first.body["sessionId"]
    );
    // A stream's key is the plain call's too.
    let streamed = rest_stream(&alice, &hello())
        .header("Idempotency-Key", "s")
        .send()
        .await
        .unwrap();
    let (_, payload) = Listener::of_rest(streamed).await.rest().await;
    assert_eq!(keyed(&alice, "s", &hello()).await.body, payload);
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn while_the_first_runs_the_second_is_a_conflict() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    let (reply, steps) = Reply::steps();
    upstream.next(reply);
    let input = hello();
    let first = keyed(&alice, "k", &input);
    let meanwhile = async {
        upstream.asked(1).await;
        is(&keyed(&alice, "k", &hello()).await, 409, "IDEMPOTENCY_CONFLICT");
        let streamed = rest_stream(&alice, &hello()).header("Idempotency-Key", "k");
        is(&send(streamed).await, 409, "IDEMPOTENCY_CONFLICT");
        steps.text("done");
        steps.end();
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    assert_eq!(first.body["response"], "done");
    assert_eq!(keyed(&alice, "k", &hello()).await.body, first.body);
    assert_eq!(upstream.requests().len(), 1);
}

/// The key is taken by nobody in the end, and then the request is answered.
async fn assert_free(caller: &Caller<'_>, key: &str) {
    let mut response = Value::Null;
    eventually("the key is free", async || {
        let answer = keyed(caller, key, &hello()).await;
        response = answer.body["response"].clone();
        answer.code() != "IDEMPOTENCY_CONFLICT"
    })
    .await;
    assert_eq!(response, "You said: hello");
}

#[tokio::test]
async fn what_fails_or_is_left_gives_its_key_back() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    upstream.next(Reply::status(500, "broken"));
    is(&keyed(&alice, "failed", &hello()).await, 502, "UPSTREAM_FAILED");
    assert_free(&alice, "failed").await;

    upstream.next(Reply::hang());
    let request = alice
        .request(Method::POST, "/v1/ai/generate")
        .header("Idempotency-Key", "left");
    let pending = tokio::spawn(request.json(&hello()).send());
    upstream.asked(3).await;
    pending.abort();
    upstream.lost(1).await;
    assert_free(&alice, "left").await;

    let (reply, steps) = Reply::steps();
    upstream.next(reply);
    steps.text("Once");
    let response = rest_stream(&alice, &hello())
        .header("Idempotency-Key", "stream")
        .send()
        .await
        .unwrap();
    let mut listener = Listener::of_rest(response).await;
    assert!(matches!(listener.next().await, Heard::Text(_)));
    drop(listener);
    upstream.lost(2).await;
    assert_free(&alice, "stream").await;
    assert_eq!(sessions(&alice).await[0]["messageCount"], 6);

    // Refused values never take it.
    let wrong = json!({ "prompt": "" });
    is(&keyed(&alice, "wrong", &wrong).await, 400, "VALIDATION_FAILED");
    assert_eq!(keyed(&alice, "wrong", &hello()).await.status, 200);
}

#[tokio::test]
async fn a_server_that_is_killed_leaves_no_half_session_and_its_key_until_the_lease_is_over() {
    let upstream = Upstream::start().await;
    let place = place(&model(&upstream, "")).await;
    let server = Server::options().place(&place).start().await;
    let token = server.member("alice").await.token().to_owned();
    let (reply, steps) = Reply::steps();
    upstream.next(reply);
    steps.text("Once");
    let request = rest_stream(&server.bearer(&token), &hello()).header("Idempotency-Key", "k");
    let mut listener = Listener::of_rest(request.send().await.unwrap()).await;
    assert_eq!(listener.next().await.text(), "Once");
    server.kill().await;
    upstream.lost(1).await;

    let server = Server::options().place(&place).start().await;
    let alice = server.bearer(&token);
    assert_nothing_kept(&server).await;
    assert_eq!((sessions(&alice).await, xp(&alice).await), (Vec::new(), 0));
    is(&keyed(&alice, "k", &hello()).await, 409, "IDEMPOTENCY_CONFLICT");
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(execute(&place, "UPDATE idempotency_keys SET lease_until = 1").await, 1);
    let answer = keyed(&alice, "k", &hello()).await;
    assert_eq!(answer.body["response"], "You said: hello", "{:#}", answer.body);
    assert_eq!(keyed(&alice, "k", &hello()).await.body, answer.body);
    assert_eq!(
        (upstream.requests().len(), count(&place, "session_turns").await),
        (2, 1)
    );
}

#[tokio::test]
async fn whose_lease_ran_out_keeps_nothing() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    let (reply, steps) = Reply::steps();
    upstream.next(reply);
    let input = hello();
    let first = keyed(&alice, "k", &input);
    let meanwhile = async {
        upstream.asked(1).await;
        execute(&server.place, "UPDATE idempotency_keys SET lease_until = 1").await;
        let second = keyed(&alice, "k", &hello()).await;
        steps.text("too late");
        steps.end();
        second
    };
    let (first, second) = tokio::join!(first, meanwhile);
    assert_eq!(second.body["response"], "You said: hello");
    is(&first, 409, "IDEMPOTENCY_CONFLICT");
    assert_eq!((count(&server.place, "session_turns").await, xp(&alice).await), (1, 2));
    assert_eq!(keyed(&alice, "k", &hello()).await.body, second.body);
}

#[tokio::test]
async fn two_nodes_ask_once() {
    if !clustered() {
        return;
    }
    let upstream = Upstream::start().await;
    let place = place(&model(&upstream, "")).await;
    let one = Server::options().place(&place).start().await;
    let two = Server::options().place(&place).start().await;
    let alice = one.member("alice").await;
    let there = two.bearer(alice.token());
    for round in 0..5 {
        let (reply, steps) = Reply::steps();
        upstream.next(reply);
        let (key, input) = (format!("k{round}"), hello());
        let asked = [
            Box::pin(keyed(&alice, &key, &input)),
            Box::pin(keyed(&there, &key, &input)),
        ];
        let (refused, _, mut running) = futures_util::future::select_all(asked).await;
        is(&refused, 409, "IDEMPOTENCY_CONFLICT");
        steps.text("once");
        steps.end();
        let answer = running.remove(0).await;
        assert_eq!(answer.body["response"], "once", "{:#}", answer.body);
        for caller in [&alice, &there] {
            assert_eq!(keyed(caller, &key, &input).await.body, answer.body);
        }
        assert_eq!(upstream.requests().len(), round + 1);
    }
    assert_eq!(sessions(&there).await[0]["messageCount"], 10);
}
