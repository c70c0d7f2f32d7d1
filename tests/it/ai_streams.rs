//! Answers that are heard while they are made, and callers who go away or end meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    companions::{
        GENERATE, GENERATION, Heard, Listener, WAYS, Way, ask, assert_nothing_kept, begin, count, graphql_stream, is,
        model, rest_stream, sessions, start, xp,
    },
    graphql_ws::Socket,
    harness::{Caller, PASSWORD, PATIENCE, Server, eventually},
    upstream::{Reply, Steps, Upstream},
};

/// The next answer of the upstream, of which the beginning is there.
fn begun(upstream: &Upstream) -> Steps {
    let (reply, steps) = Reply::steps();
    upstream.next(reply);
    steps.text("Once");
    steps
}

/// An answer that has begun, and is heard.
async fn listen(way: Way, caller: &Caller<'_>, upstream: &Upstream) -> (Listener, Steps) {
    let steps = begun(upstream);
    let mut listener = Listener::open(way, caller, &json!({ "prompt": "Tell me." })).await;
    assert_eq!(listener.next().await.text(), "Once", "{way:?}");
    (listener, steps)
}

#[tokio::test]
async fn text_is_heard_while_the_model_still_speaks() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    for (nth, way) in WAYS.into_iter().enumerate() {
        let (mut listener, steps) = listen(way, &alice, &upstream).await;
        for piece in [" upon", " a\ntime", " \u{1f300}"] {
            steps.text(piece);
            assert_eq!(listener.next().await.text(), piece, "{way:?}");
        }
        assert_eq!(xp(&alice).await, 2 * nth as i64, "nothing is kept before the end");
        steps.end();
        let payload = listener.next().await.payload();
        let id = &sessions(&alice).await[0]["id"];
        let expected =
            json!({ "response": "Once upon a\ntime \u{1f300}", "audioUrl": null, "triggers": [], "sessionId": id });
        assert_eq!(payload, expected, "{way:?}");
        assert!(matches!(listener.next().await, Heard::Complete));
        if way != Way::GraphqlWs {
            assert!(matches!(listener.next().await, Heard::Gone));
        }
    }
    assert_eq!(sessions(&alice).await[0]["messageCount"], 6);
    assert_eq!(upstream.left(), 0);
}

#[tokio::test]
async fn fifty_at_once_each_hear_their_own() {
    let upstream = Upstream::start().await;
    let server = start(&format!("[ai]\ncalls_at_once = 64\n{}", model(&upstream, ""))).await;
    let alice = server.member("alice").await;
    let streams = (0..50).map(|n| {
        let (alice, way) = (&alice, WAYS[n % 3]);
        async move {
            let input = json!({ "prompt": format!("this is number {n} of them"), "newSession": true });
            let mut listener = Listener::open(way, alice, &input).await;
            let (texts, payload) = listener.rest().await;
            assert_eq!(texts.concat(), format!("You said: this is number {n} of them"));
            assert_eq!(payload["response"], texts.concat());
            payload["sessionId"].as_str().unwrap().to_owned()
        }
    });
    let mut ids = join_all(streams).await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(
        (ids.len(), sessions(&alice).await.len(), upstream.requests().len()),
        (50, 50, 50)
    );
}

#[tokio::test]
async fn what_is_refused_before_the_first_word_has_a_status_over_rest() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    for (input, status, code) in [
        (json!({ "prompt": "" }), 400, "VALIDATION_FAILED"),
        (
            json!({ "prompt": "p", "settings": { "model": "x" } }),
            400,
            "VALIDATION_FAILED",
        ),
        (
            json!({ "prompt": "p", "sessionId": "session_01h455vb4pex5vsknk084sn02q" }),
            404,
            "NOT_FOUND",
        ),
        (json!({ "prompt": "p" }), 502, "UPSTREAM_FAILED"),
    ] {
        for way in WAYS {
            if status == 502 {
                upstream.next(Reply::status(500, "broken"));
            }
            let mut listener = Listener::open(way, &alice, &input).await;
            assert_eq!(matches!(listener, Listener::Refused(_)), way == Way::Rest, "{way:?}");
            let heard = listener.next().await;
            let Heard::Error(error) = heard else {
                panic!("{heard:?}")
            };
            assert_eq!(
                (&error["code"], &error["status"]),
                (&json!(code), &json!(status)),
                "{way:?}"
            );
            assert!(error["message"].as_str().unwrap().len() > 10);
        }
    }
    assert_eq!(upstream.requests().len(), 3);
    is(
        &crate::harness::send(rest_stream(&server.nobody(), &json!({ "prompt": "p" }))).await,
        401,
        "UNAUTHENTICATED",
    );
    is(
        &crate::harness::send(rest_stream(&alice, &json!({ "prompt": 1 }))).await,
        400,
        "BAD_REQUEST",
    );
    assert_nothing_kept(&server).await;
}

#[tokio::test]
async fn what_breaks_in_the_middle_is_told_in_the_stream() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    for way in WAYS {
        let (mut listener, steps) = listen(way, &alice, &upstream).await;
        drop(steps);
        let heard = listener.next().await;
        let Heard::Error(error) = heard else {
            panic!("{heard:?}")
        };
        assert_eq!(error["code"], "UPSTREAM_FAILED", "{way:?}");
        assert!(error["message"].as_str().unwrap().contains("cut off"), "{error}");
        if way == Way::Rest {
            assert_eq!(error["error"], true, "as REST's errors are");
        }
    }
    assert_nothing_kept(&server).await;
    assert_eq!(xp(&alice).await, 0);
}

/// Asks without listening, and does not wait for the answer.
fn request(caller: &Caller<'_>, graphql: bool) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    let input = json!({ "prompt": "Tell me." });
    let request = match graphql {
        true => {
            let body = json!({ "query": GENERATE, "variables": { "input": input } });
            caller.request(Method::POST, "/graphql").json(&body)
        }
        false => caller.request(Method::POST, "/v1/ai/generate").json(&input),
    };
    tokio::spawn(request.send())
}

#[tokio::test]
async fn whoever_goes_away_ends_the_models_call_and_nothing_is_kept() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    let mut left = 0;
    for way in WAYS {
        let (listener, _steps) = listen(way, &alice, &upstream).await;
        drop(listener);
        left += 1;
        timeout(PATIENCE, upstream.lost(left))
            .await
            .unwrap_or_else(|_| panic!("{way:?}"));
    }
    // A socket that stays, and one that says goodbye.
    for (operation, closes) in [
        (GENERATION, false),
        (GENERATION, true),
        (GENERATE, false),
        (GENERATE, true),
    ] {
        let _steps = begun(&upstream);
        let mut socket = Socket::of(&alice).await;
        socket
            .subscribe("s", operation, json!({ "input": { "prompt": "Tell me." } }))
            .await;
        upstream.asked(left + 1).await;
        if operation == GENERATION {
            assert_eq!(socket.next_of("s", "next").await["data"]["generation"]["text"], "Once");
        }
        match closes {
            true => socket.stream.close(None).await.unwrap(),
            false => socket.send(json!({ "type": "complete", "id": "s" })).await,
        }
        left += 1;
        upstream.lost(left).await;
        if !closes {
            socket.settle().await;
        }
    }
    // Before the model has said anything, and in the middle.
    for graphql in [false, true] {
        for hangs in [true, false] {
            let _steps = match hangs {
                true => {
                    upstream.next(Reply::hang());
                    None
                }
                false => Some(begun(&upstream)),
            };
            let pending = request(&alice, graphql);
            upstream.asked(left + 1).await;
            pending.abort();
            left += 1;
            upstream.lost(left).await;
        }
    }
    for stream in [rest_stream, graphql_stream] {
        upstream.next(Reply::hang());
        let pending = tokio::spawn(stream(&alice, &json!({ "prompt": "Tell me." })).send());
        upstream.asked(left + 1).await;
        pending.abort();
        // graphql-sse has answered with headers already.
        drop(pending.await);
        left += 1;
        upstream.lost(left).await;
    }
    assert_nothing_kept(&server).await;
    assert_eq!(xp(&alice).await, 0);
    // The places are free again: there are eight, and more than those went away.
    assert_eq!(ask(&alice, "still there?").await["response"], "You said: still there?");
}

#[tokio::test]
async fn whoever_waits_in_the_queue_and_goes_away_is_never_asked_for() {
    let upstream = Upstream::start().await;
    let settings = format!(
        "[ai]\ncalls_at_once = 1\ncalls_waiting = 1\nwait_seconds = 30\n{}",
        model(&upstream, "")
    );
    let server = start(&settings).await;
    let alice = server.member("alice").await;
    let (running, steps) = listen(Way::Rest, &alice, &upstream).await;
    let keys = async || count(&server.place, "idempotency_keys").await;
    let waiting = alice
        .request(Method::POST, "/v1/ai/generate")
        .header("Idempotency-Key", "k");
    let waiting = tokio::spawn(waiting.json(&json!({ "prompt": "me too" })).send());
    eventually("it waits", async || {
        keys().await == 1
            && alice
                .post("/v1/ai/generate", json!({ "prompt": "and me" }))
                .await
                .status
                == 503
    })
    .await;
    waiting.abort();
    eventually("it gives its key back", async || keys().await == 0).await;
    // There is a place in the queue again, and the model when the first is through.
    let other = request(&alice, true);
    drop(running);
    upstream.lost(1).await;
    drop(steps);
    let body: Value = other.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(body["data"]["generate"]["response"], "You said: Tell me.", "{body}");
    assert_eq!((upstream.requests().len(), xp(&alice).await), (2, 2));
}

/// Ends in the way of the listener's transport. What ends the connection also ends the answer, which may be told first.
async fn assert_ended(listener: Listener, close: u16, code: Option<&str>) {
    match listener {
        Listener::GraphqlWs(mut socket) => assert_eq!(socket.closed().await.0, close),
        mut other => loop {
            match other.next().await {
                Heard::Text(_) => {}
                Heard::Error(error) if error["code"].as_str() == code => {}
                Heard::Complete if code.is_some() => {}
                Heard::Gone => break,
                heard => panic!("{heard:?}"),
            }
        },
    }
}

#[tokio::test]
async fn an_answer_ends_with_its_callers_login_key_or_standing() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let mut left = 0;
    for (name, end) in [
        ("alice", "logout"),
        ("bob", "revoke"),
        ("carol", "ban"),
        ("dave", "delete"),
    ] {
        let member = server.member(name).await;
        let key = member.key(&["ai:generate"]).await;
        let caller = match end {
            "revoke" => server.bearer(&key),
            _ => member.clone(),
        };
        let mut listening = Vec::new();
        for way in WAYS {
            listening.push(listen(way, &caller, &upstream).await);
        }
        let mut plain = Vec::new();
        for graphql in [false, true] {
            let (reply, steps) = Reply::steps();
            upstream.next(reply);
            plain.push((request(&caller, graphql), steps));
        }
        left += 5;
        upstream.asked(left).await;
        match end {
            "logout" => assert_eq!(member.post("/v1/auth/logout", json!({})).await.status, 200),
            "revoke" => {
                let id = member.get("/v1/keys").await.body["keys"][0]["id"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                assert_eq!(member.delete(&format!("/v1/keys/{id}")).await.status, 200);
            }
            "delete" => {
                let deleted = member.post("/v1/me/delete", json!({ "password": PASSWORD })).await;
                assert_eq!(deleted.status, 200, "{:#}", deleted.body);
            }
            _ => {
                let banned = server.place.run(&["user", "ban", name, "--reason", "spam"], "");
                assert!(banned.status.success());
            }
        }
        upstream.lost(left).await;
        let code = if end == "ban" { "BANNED" } else { "INVALID_CREDENTIALS" };
        for (listener, _steps) in listening {
            assert_ended(listener, 4403, Some(code)).await;
        }
        for (pending, _steps) in plain {
            let body: Value = pending.await.unwrap().unwrap().json().await.unwrap();
            let code = body["code"]
                .as_str()
                .or(body["errors"][0]["extensions"]["code"].as_str());
            assert_eq!(
                code,
                Some(if end == "ban" { "BANNED" } else { "INVALID_CREDENTIALS" }),
                "{end}: {body}"
            );
        }
    }
    assert_nothing_kept(&server).await;
}

#[tokio::test]
async fn an_answer_ends_with_the_server() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    let (mut listening, mut held) = (Vec::new(), Vec::new());
    for way in WAYS {
        let (listener, steps) = listen(way, &alice, &upstream).await;
        listening.push(listener);
        held.push(steps);
    }
    let place = server.place.clone();
    let ended = async {
        for listener in listening {
            assert_ended(listener, 1001, None).await;
        }
    };
    let ((status, log), ()) = tokio::join!(server.terminate(), ended);
    assert!(status.success(), "{log}");
    upstream.lost(held.len()).await;
    assert_eq!(count(&place, "sessions").await, 0);
}

#[tokio::test]
async fn a_session_that_is_deleted_meanwhile_takes_no_answer() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    for way in WAYS {
        let session = begin(&alice, "first").await;
        let (mut listener, steps) = listen(way, &alice, &upstream).await;
        assert_eq!(alice.delete(&format!("/v1/sessions/{session}")).await.status, 200);
        steps.end();
        assert_eq!(listener.failure().await, "NOT_FOUND", "{way:?}");
    }
    assert_nothing_kept(&server).await;
    assert_eq!(xp(&alice).await, 2 * 3);
}

/// What the process has in memory, in KiB.
fn resident(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_running_stream_takes_less_than_100_kib() {
    const STREAMS: usize = 400;
    let upstream = Upstream::start().await;
    let server = start(&format!(
        "[ai]\ncalls_at_once = 1000\n{}",
        model(&upstream, "timeout_seconds = 600")
    ))
    .await;
    let alice = server.member("alice").await;
    let open = async |count: usize| join_all((0..count).map(|_| listen(Way::Rest, &alice, &upstream))).await;
    // Tables, pools and threads are there after the first ones, and what logging in took is used again.
    let first = open(200).await;
    let before = resident(&server);
    let running = open(STREAMS).await;
    let grown = resident(&server).saturating_sub(before);
    assert_eq!((first.len(), running.len(), upstream.left()), (200, STREAMS, 0));
    println!("a running stream takes {:.1} KiB", grown as f64 / STREAMS as f64);
    assert!(grown < 100 * STREAMS, "{grown} KiB for {STREAMS} streams");
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_is_there() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    let (listener, steps) = listen(Way::Rest, &alice, &upstream).await;
    let Listener::Rest(mut events) = listener else {
        panic!("it was refused")
    };
    let piece = timeout(Duration::from_secs(30), events.piece()).await.unwrap();
    assert_eq!(piece, Some(crate::graphql_sse::Piece::Comment));
    steps.end();
    assert_eq!(Listener::Rest(events).rest().await.1["response"], "Once");
}
