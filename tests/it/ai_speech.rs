//! Answers read aloud: made once, served to whoever knows the name, and gone with their session.

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    companions::{GENERATE, Listener, WAYS, generate, model, place, sessions, spoken, start},
    harness::{Caller, PASSWORD, Server},
    upstream::{Reply, Upstream},
};

fn settings(upstream: &Upstream, more: &str) -> String {
    let speech = format!(
        "[ai.speech]\nprovider = \"openai\"\nbase_url = \"{}\"\nmodel = \"kokoro\"\nvoice = \"af_bella\"\n{more}",
        upstream.url()
    );
    model(upstream, &speech)
}

fn aloud(prompt: &str) -> Value {
    json!({ "prompt": prompt, "newSession": true, "settings": { "includeAudio": true } })
}

/// The path of the audio of a new session with this prompt, and the session's.
async fn say(caller: &Caller<'_>, prompt: &str) -> (String, String) {
    let answer = generate(caller, aloud(prompt)).await;
    let session = format!("/v1/sessions/{}", answer["sessionId"].as_str().unwrap());
    (path(caller.server, &answer["audioUrl"]), session)
}

fn path(server: &Server, url: &Value) -> String {
    let url = url.as_str().unwrap_or_else(|| panic!("{url}"));
    let path = url.strip_prefix(&server.url("")).unwrap_or_else(|| panic!("{url}"));
    assert!(path.starts_with("/audio/") && path.ends_with(".mp3"), "{path}");
    path.to_owned()
}

async fn status(server: &Server, path: &str) -> StatusCode {
    server.nobody().get(path).await.status
}

/// The MP3 at a path, checked.
async fn audio(server: &Server, path: &str) -> Vec<u8> {
    let response = server.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), 200);
    for (name, value) in [
        ("content-type", "audio/mpeg"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    let mp3 = response.bytes().await.unwrap().to_vec();
    let begins = mp3.starts_with(b"ID3") || (mp3[0] == 0xff && mp3[1] & 0xe0 == 0xe0);
    assert!(begins, "{:?}", &mp3[..4]);
    mp3
}

#[tokio::test]
async fn an_answer_is_read_aloud_by_a_server() {
    let upstream = Upstream::start().await;
    let server = start(&settings(&upstream, "")).await;
    let alice = server.member("alice").await;
    let models = alice.get("/v1/ai/models").await.body;
    assert_eq!(models["models"][0]["supportsAudio"], true);
    let (path, session) = say(&alice, "hello").await;
    let last = upstream.requests().pop().unwrap();
    assert_eq!(last.path, "/v1/audio/speech");
    let body = &last.body;
    assert_eq!(
        (&body["input"], &body["model"], &body["voice"]),
        (&json!("You said: hello"), &json!("kokoro"), &json!("af_bella"))
    );
    let mp3 = audio(&server, &path).await;
    let part = server
        .request(Method::GET, &path)
        .header("range", "bytes=2-5")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            part.status().as_u16(),
            part.headers()["content-range"].to_str().unwrap()
        ),
        (206, &*format!("bytes 2-5/{}", mp3.len()))
    );
    assert_eq!(part.bytes().await.unwrap(), mp3[2..6]);
    let head = server.request(Method::HEAD, &path).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], mp3.len().to_string().as_str());
    // 128 bits in no order, and no others are there.
    let name = path.trim_start_matches("/audio/").trim_end_matches(".mp3");
    assert!(name.len() >= 22, "{name}");
    let (other, _) = say(&alice, "something else").await;
    let other_name = other.trim_start_matches("/audio/");
    let same = name.chars().zip(other_name.chars()).filter(|(a, b)| a == b).count();
    assert!(same < name.len() / 2, "{name} and {other_name}");
    for unknown in [
        "/audio/",
        "/audio/x.mp3",
        "/audio/../bambisleep.toml",
        &path.replace(".mp3", ".wav"),
    ] {
        assert_eq!(status(&server, unknown).await, 404, "{unknown}");
    }
    // Not asked for.
    let quiet = generate(&alice, json!({ "prompt": "hello", "newSession": true })).await;
    assert_eq!(quiet["audioUrl"], Value::Null);
    assert_eq!(spoken(&upstream), 2);
    // GraphQL and the streams say it as well.
    let data = alice.data(GENERATE, json!({ "input": aloud("hello") })).await;
    assert_eq!(data["generate"]["audioUrl"], server.url(&path));
    for way in WAYS {
        let mut listener = Listener::open(way, &alice, &aloud("hello")).await;
        assert_eq!(listener.rest().await.1["audioUrl"], server.url(&path), "{way:?}");
    }
    assert_eq!(spoken(&upstream), 2);
    assert!(session.starts_with("/v1/sessions/session_"));
}

#[tokio::test]
async fn audio_is_at_the_public_address() {
    let upstream = Upstream::start().await;
    let mut place = place(&settings(&upstream, "")).await;
    place.set("BAMBISLEEP_PUBLIC_URL", "https://chat.example");
    let server = Server::options().place(&place).start().await;
    let alice = server.member("alice").await;
    let answer = generate(&alice, aloud("hello")).await;
    let url = answer["audioUrl"].as_str().unwrap();
    let path = url
        .strip_prefix("https://chat.example")
        .unwrap_or_else(|| panic!("{url}"));
    audio(&server, path).await;
}

#[tokio::test]
async fn the_same_text_is_made_once() {
    let upstream = Upstream::start().await;
    let server = start(&format!("[ai]\ncalls_at_once = 32\n{}", settings(&upstream, ""))).await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let (first, _) = say(&alice, "hello").await;
    assert_eq!(say(&bob, "hello").await.0, first);
    assert_eq!(spoken(&upstream), 1);
    // At once, of both of them.
    let asked = [&alice, &bob].into_iter().cycle().take(12);
    let paths = join_all(asked.map(|caller| say(caller, "all at once"))).await;
    assert!(paths.iter().all(|(path, _)| *path == paths[0].0), "{paths:?}");
    assert_eq!(spoken(&upstream), 2);
    assert_ne!(paths[0].0, first);
}

#[tokio::test]
async fn audio_goes_with_the_last_session_that_has_it_and_with_the_account() {
    let upstream = Upstream::start().await;
    let server = start(&settings(&upstream, "")).await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let (path, hers) = say(&alice, "hello").await;
    let (_, his) = say(&bob, "hello").await;
    let (own, his_own) = say(&bob, "mine").await;
    assert_eq!(alice.delete(&hers).await.status, 200);
    assert_eq!(status(&server, &path).await, 200, "another session has it");
    assert_eq!(bob.delete(&his).await.status, 200);
    assert_eq!(status(&server, &path).await, 404);
    assert_eq!(status(&server, &own).await, 200);
    // It is made anew, under a new name.
    let (again, _) = say(&alice, "hello").await;
    assert_ne!(again, path);
    let (shared, _) = say(&bob, "hello").await;
    assert_eq!((shared, spoken(&upstream)), (again.clone(), 3));

    let gone = bob.post("/v1/me/delete", json!({ "password": PASSWORD })).await;
    assert_eq!(gone.status, 200, "{:#}", gone.body);
    assert_eq!(status(&server, &own).await, 404, "{his_own} is gone");
    assert_eq!(status(&server, &again).await, 200, "a session of alice's has it");
}

#[tokio::test]
async fn a_voice_that_fails_leaves_the_text() {
    let upstream = Upstream::start().await;
    let server = start(&settings(&upstream, "timeout_seconds = 1")).await;
    let alice = server.member("alice").await;
    let fail: [fn() -> Reply; 5] = [
        || Reply::status(500, "hoarse"),
        || Reply::status(429, "slow down"),
        || Reply::raw("audio/wav", ["no audio"]),
        || Reply::raw("audio/wav", ["RIFF"]).cut(),
        Reply::hang,
    ];
    for (nth, reply) in fail.into_iter().enumerate() {
        upstream.next_speech(reply());
        let answer = generate(&alice, aloud("hello")).await;
        assert_eq!(
            (&answer["response"], &answer["audioUrl"]),
            (&json!("You said: hello"), &Value::Null),
            "{nth}"
        );
        assert_eq!(sessions(&alice).await.len(), nth + 1, "it is kept");
    }
    upstream.lost(1).await;
    // The next time it may work.
    let (path, _) = say(&alice, "hello").await;
    audio(&server, &path).await;
}

#[tokio::test]
async fn whoever_goes_away_while_it_is_read_ends_the_reading() {
    let upstream = Upstream::start().await;
    let server = start(&settings(&upstream, "")).await;
    let alice = server.member("alice").await;
    upstream.next_speech(Reply::hang());
    let request = alice.request(Method::POST, "/v1/ai/generate").json(&aloud("hello"));
    let pending = tokio::spawn(request.send());
    upstream.asked(2).await;
    pending.abort();
    upstream.lost(1).await;
    crate::companions::assert_nothing_kept(&server).await;
    // Whoever wants the same next is not kept waiting.
    say(&alice, "hello").await;
}

#[tokio::test]
async fn an_answer_is_read_aloud_by_a_program() {
    let upstream = Upstream::start().await;
    let speech = "[ai.speech]\nprovider = \"command\"\ncommand = [\"espeak-ng\", \"--stdin\", \"--stdout\"]";
    let server = start(&model(&upstream, speech)).await;
    let alice = server.member("alice").await;
    let (short, _) = say(&alice, "Hello.").await;
    let long = "This one takes quite a bit longer to say than the other one did. ".repeat(4);
    let (long, session) = say(&alice, &long).await;
    let (short, longer) = (audio(&server, &short).await, audio(&server, &long).await);
    assert!(longer.len() > 3 * short.len(), "{} and {}", longer.len(), short.len());
    assert_eq!(spoken(&upstream), 0);
    assert_eq!(alice.delete(&session).await.status, 200);
    assert_eq!(status(&server, &long).await, 404);
}

#[tokio::test]
async fn a_program_that_is_not_there_or_fails_leaves_the_text() {
    for command in [
        "[\"no-such-program-anywhere\"]",
        "[\"false\"]",
        "[\"cat\"]",
        "[\"sleep\", \"600\"]",
    ] {
        let speech = format!("[ai.speech]\nprovider = \"command\"\ncommand = {command}\ntimeout_seconds = 1");
        let server = start(&speech).await;
        let alice = server.member("alice").await;
        let answer = generate(&alice, aloud("hello")).await;
        assert!(
            answer["response"].as_str().unwrap().ends_with("You said: hello"),
            "{command}"
        );
        assert_eq!(answer["audioUrl"], Value::Null, "{command}");
        assert_eq!(sessions(&alice).await[0]["messageCount"], 2);
    }
}
