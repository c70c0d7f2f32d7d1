//! Models that fail: what a member is told, and that nothing comes of it.

use serde_json::json;

use crate::{
    companions::{GENERATE, Listener, WAYS, Way, ask, assert_nothing_kept, is, model, place, sessions, start, xp},
    harness::{Answer, Server},
    upstream::{Reply, Upstream},
};

const KEY: &str = "sk-hunter2-hunter2";

/// A way to fail, with the status and code that a caller gets, and the `Retry-After`.
type Case = (&'static str, fn() -> Reply, u16, &'static str, Option<&'static str>);

/// Each quotes the key where it can.
const CASES: &[Case] = &[
    (
        "429",
        || Reply::status(429, KEY).header("retry-after", "7"),
        503,
        "UNAVAILABLE",
        Some("7"),
    ),
    ("503", || Reply::status(503, KEY), 503, "UNAVAILABLE", Some("5")),
    ("500", || Reply::status(500, KEY), 502, "UPSTREAM_FAILED", None),
    ("401", || Reply::status(401, KEY), 502, "UPSTREAM_FAILED", None),
    ("404", || Reply::status(404, KEY), 502, "UPSTREAM_FAILED", None),
    (
        "garbage",
        || Reply::raw("text/event-stream", [format!("data: {{]{KEY}\n\n")]),
        502,
        "UPSTREAM_FAILED",
        None,
    ),
    (
        "bytes",
        || Reply::raw("application/json", [vec![0xff, 0, 0xfe]]),
        502,
        "UPSTREAM_FAILED",
        None,
    ),
    (
        "nothing",
        || Reply::raw("text/event-stream", [""]),
        502,
        "UPSTREAM_FAILED",
        None,
    ),
    (
        "HTML",
        || Reply::raw("text/html", [format!("<html>{KEY}</html>")]),
        502,
        "UPSTREAM_FAILED",
        None,
    ),
    ("broken in the middle", half, 502, "UPSTREAM_FAILED", None),
    ("an empty answer", || Reply::stream(&[]), 502, "UPSTREAM_FAILED", None),
    ("10 MiB", ten_mebibytes, 502, "UPSTREAM_FAILED", None),
    (
        "10 MiB at once",
        || Reply::plain(&"x".repeat(10 << 20)),
        502,
        "UPSTREAM_FAILED",
        None,
    ),
];

fn half() -> Reply {
    let event = json!({ "choices": [{ "index": 0, "delta": { "content": "Half an " } }] });
    Reply::raw("text/event-stream", [format!("data: {event}\n\n")]).cut()
}

fn ten_mebibytes() -> Reply {
    let piece = "x".repeat(1 << 20);
    Reply::stream(&[piece.as_str(); 10])
}

async fn keyed(upstream: &Upstream, more: &str) -> Server {
    let mut place = place(&model(upstream, &format!("api_key_env = \"TEST_LLM_KEY\"\n{more}"))).await;
    place.set("TEST_LLM_KEY", KEY);
    place.set("RUST_LOG", "debug");
    Server::options().place(&place).start().await
}

fn assert_for_people(answer: &Answer) {
    let message = answer.body["message"].as_str().unwrap();
    assert!(message.contains("model") && message.len() > 20, "{message}");
    assert!(!answer.body.to_string().contains(KEY), "{:#}", answer.body);
}

#[tokio::test]
async fn what_fails_is_told_and_leaves_nothing() {
    let upstream = Upstream::start().await;
    let server = keyed(&upstream, "").await;
    let alice = server.member("alice").await;
    let mut kept = 0;
    for (name, reply, status, code, retry_after) in CASES {
        let before = sessions(&alice).await;
        upstream.next(reply());
        let answer = alice.post("/v1/ai/generate", json!({ "prompt": "hello" })).await;
        is(&answer, *status, code);
        assert_eq!(answer.header("retry-after"), *retry_after, "{name}");
        assert_for_people(&answer);
        upstream.next(reply());
        let answer = alice.graphql(GENERATE, json!({ "input": { "prompt": "hello" } })).await;
        assert_eq!(
            (answer.code(), &answer.body["errors"][0]["extensions"]["status"]),
            (*code, &json!(status))
        );
        // One that is answered in between keeps the circuit closed.
        ask(&alice, "go on").await;
        for way in WAYS {
            upstream.next(reply());
            let mut listener = Listener::open(way, &alice, &json!({ "prompt": "hello" })).await;
            assert_eq!(&listener.failure().await, code, "{name} by {way:?}");
        }
        ask(&alice, "go on").await;
        kept += 2;
        let after = sessions(&alice).await;
        if let Some(before) = before.first() {
            let added = after[0]["messageCount"].as_i64().unwrap() - before["messageCount"].as_i64().unwrap();
            assert_eq!((added, after.len()), (4, 1), "{name}");
        }
        assert_eq!(xp(&alice).await, (2 * kept).min(40), "{name}");
    }
    let (_, log) = server.terminate().await;
    assert!(log.contains("the model's server failed"), "{log}");
    assert!(!log.contains("hunter2"), "the key is in the log");
}

#[tokio::test]
async fn models_that_hang_are_given_up() {
    let upstream = Upstream::start().await;
    let server = start(&model(
        &upstream,
        "timeout_seconds = 2\nfirst_token_timeout_seconds = 1",
    ))
    .await;
    let alice = server.member("alice").await;
    upstream.next(Reply::hang());
    let answer = alice.post("/v1/ai/generate", json!({ "prompt": "hello" })).await;
    is(&answer, 502, "UPSTREAM_FAILED");
    assert_for_people(&answer);
    upstream.lost(1).await;
    // Headers, and then nothing.
    let (reply, _steps) = Reply::steps();
    upstream.next(reply);
    is(
        &alice.post("/v1/ai/generate", json!({ "prompt": "hello" })).await,
        502,
        "UPSTREAM_FAILED",
    );
    upstream.lost(2).await;
    // Some of it, and then nothing.
    let (reply, steps) = Reply::steps();
    steps.text("Half an ");
    upstream.next(reply);
    let mut listener = Listener::open(Way::Rest, &alice, &json!({ "prompt": "hello" })).await;
    assert_eq!(listener.next().await.text(), "Half an ");
    assert_eq!(listener.failure().await, "UPSTREAM_FAILED");
    upstream.lost(3).await;
    assert_nothing_kept(&server).await;
    assert_eq!(xp(&alice).await, 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_of() {
    let nobody = crate::harness::address_to_keep();
    let settings =
        format!("[ai.models.MODEL_1]\nprovider = \"openai\"\nbase_url = \"http://{nobody}/v1\"\nmodel = \"m\"\n");
    let server = start(&settings).await;
    let alice = server.member("alice").await;
    let answer = alice.post("/v1/ai/generate", json!({ "prompt": "hello" })).await;
    is(&answer, 502, "UPSTREAM_FAILED");
    assert!(!answer.body.to_string().contains("127.0.0.1"), "{:#}", answer.body);
    assert_nothing_kept(&server).await;
}

#[tokio::test]
async fn a_server_that_fails_again_and_again_is_left_alone() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    for _ in 0..5 {
        upstream.next(Reply::status(500, "broken"));
        is(
            &alice.post("/v1/ai/generate", json!({ "prompt": "hello" })).await,
            502,
            "UPSTREAM_FAILED",
        );
    }
    let answer = alice.post("/v1/ai/generate", json!({ "prompt": "hello" })).await;
    is(&answer, 503, "UNAVAILABLE");
    assert_for_people(&answer);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=15).contains(&seconds), "{seconds}");
    assert_eq!(answer.body["details"]["retryAfter"], seconds);
    for way in WAYS {
        let mut listener = Listener::open(way, &alice, &json!({ "prompt": "hello" })).await;
        assert_eq!(listener.failure().await, "UNAVAILABLE");
    }
    assert_eq!(upstream.requests().len(), 5, "it was not asked again");
    assert_nothing_kept(&server).await;
}

#[tokio::test]
async fn who_finds_the_queue_full_is_told_to_come_again() {
    let upstream = Upstream::start().await;
    let settings = format!(
        "[ai]\ncalls_at_once = 1\ncalls_waiting = 1\nwait_seconds = 30\n{}",
        model(&upstream, "")
    );
    let server = start(&settings).await;
    let alice = server.member("alice").await;
    let (reply, steps) = Reply::steps();
    upstream.next(reply);
    let input = json!({ "prompt": "hello", "newSession": true });
    let request = |caller: &crate::harness::Caller<'_>| {
        let request = caller.request(reqwest::Method::POST, "/v1/ai/generate").json(&input);
        tokio::spawn(crate::harness::send(request))
    };
    let running = request(&alice);
    upstream.asked(1).await;
    // Of two more one waits, whichever it is, and the other is refused at once.
    let (one, two) = (request(&alice), request(&alice));
    let (first, waiting) = match futures_util::future::select(one, two).await {
        futures_util::future::Either::Left((first, waiting)) => (first, waiting),
        futures_util::future::Either::Right((first, waiting)) => (first, waiting),
    };
    let refused = first.unwrap();
    is(&refused, 503, "UNAVAILABLE");
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(upstream.requests().len(), 1);
    steps.text("done");
    steps.end();
    assert_eq!(running.await.unwrap().body["response"], "done");
    assert_eq!(waiting.await.unwrap().body["response"], "You said: hello");
    assert_eq!(sessions(&alice).await.len(), 2);
}
