//! Answers and sessions: what is asked, what a model is sent, and what is kept.

use serde_json::{Value, json};

use crate::{
    companions::{
        GENERATE, Sent, ask, assert_nothing_kept, begin, count, execute, generate, is, model, sessions, start, xp,
    },
    harness::{Caller, Server},
    upstream::{Reply, Upstream},
};

const SESSION: &str = "query ($id: ID!) { viewer { session(id: $id) {
    id createdAt messageCount messages { role content timestamp }
} } }";
const NODE: &str = "query ($id: ID!) { node(id: $id) { __typename id ... on Session { messageCount } } }";
const DELETE: &str = "mutation ($id: ID!) { deleteSession(id: $id) { session { id messageCount createdAt } } }";

fn members(body: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn assert_time(value: &Value) {
    let text = value.as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(text).is_ok(), "{text}");
    assert_eq!((text.len(), text.ends_with('Z')), (20, true), "{text}");
}

#[tokio::test]
async fn the_published_calls_work_on_a_server_with_nothing_configured() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let body = json!({ "prompt": "Hello Bambi",
                       "settings": { "model": "MODEL_1", "includeAudio": true, "includeTriggers": true, "mood": 1 },
                       "unknown": [1] });
    let answer = generate(&alice, body).await;
    assert_eq!(members(&answer), ["audioUrl", "response", "sessionId", "triggers"]);
    let response = answer["response"].as_str().unwrap();
    assert!(response.contains("No language model is connected") && response.ends_with("You said: Hello Bambi"));
    assert_eq!((&answer["audioUrl"], &answer["triggers"]), (&Value::Null, &json!([])));
    let id = answer["sessionId"].as_str().unwrap();
    assert!(id.starts_with("session_"), "{id}");

    let listed = alice.get("/v1/sessions").await.body;
    assert_eq!(members(&listed), ["sessions"]);
    assert_eq!(members(&listed["sessions"][0]), ["createdAt", "id", "messageCount"]);
    assert_eq!(
        (&listed["sessions"][0]["id"], &listed["sessions"][0]["messageCount"]),
        (&json!(id), &json!(2))
    );
    assert_time(&listed["sessions"][0]["createdAt"]);

    let shown = alice.get(&format!("/v1/sessions/{id}")).await.body;
    assert_eq!(members(&shown), ["createdAt", "id", "messages"]);
    assert_eq!(
        (&shown["id"], &shown["createdAt"]),
        (&json!(id), &listed["sessions"][0]["createdAt"])
    );
    let [user, assistant] = shown["messages"].as_array().unwrap().as_slice() else {
        panic!("{shown:#}");
    };
    for (message, role, content) in [(user, "user", "Hello Bambi"), (assistant, "assistant", response)] {
        assert_eq!(members(message), ["content", "role", "timestamp"]);
        assert_eq!((&message["role"], &message["content"]), (&json!(role), &json!(content)));
        assert_time(&message["timestamp"]);
    }
    let models = alice.get("/v1/ai/models").await.body;
    assert_eq!(
        models,
        json!({ "models": [{ "name": "MODEL_1", "provider": "scripted", "supportsAudio": false }] })
    );
    let gone = alice.delete(&format!("/v1/sessions/{id}")).await.body;
    assert_eq!(gone, json!({ "id": id, "createdAt": shown["createdAt"] }));
    is(&alice.get(&format!("/v1/sessions/{id}")).await, 404, "NOT_FOUND");
    assert_nothing_kept(&server).await;
}

#[tokio::test]
async fn graphql_shows_what_rest_shows() {
    let upstream = Upstream::start().await;
    let more = "[ai.models.small]\nprovider = \"scripted\"";
    let server = start(&model(&upstream, more)).await;
    let alice = server.member("alice").await;
    let models = alice
        .data("{ models { name provider supportsAudio } }", json!({}))
        .await;
    let expected = json!([{ "name": "MODEL_1", "provider": "openai", "supportsAudio": false },
                          { "name": "small", "provider": "scripted", "supportsAudio": false }]);
    assert_eq!(models["models"], expected);

    let data = alice.data(GENERATE, json!({ "input": { "prompt": "a b" } })).await;
    let id = data["generate"]["sessionId"].clone();
    assert_eq!(
        data["generate"],
        json!({ "response": "You said: a b", "audioUrl": null, "triggers": [], "sessionId": id })
    );
    let small = json!({ "input": { "prompt": "c", "settings": { "model": "small" } } });
    let small = alice.data(GENERATE, small).await["generate"].take();
    assert!(small["response"].as_str().unwrap().ends_with("You said: c"), "{small}");
    assert_eq!((&small["sessionId"], upstream.requests().len()), (&id, 1));

    let rest = alice.get(&format!("/v1/sessions/{}", id.as_str().unwrap())).await.body;
    let session = alice.data(SESSION, json!({ "id": id })).await["viewer"]["session"].take();
    assert_eq!(
        (&session["messageCount"], &session["createdAt"]),
        (&json!(4), &rest["createdAt"])
    );
    let spelled: Vec<Value> = (rest["messages"].as_array().unwrap().iter())
        .map(|message| {
            let mut message = message.clone();
            message["role"] = message["role"].as_str().unwrap().to_uppercase().into();
            message
        })
        .collect();
    assert_eq!(session["messages"], json!(spelled));
    let listed = "{ viewer { sessions { nodes { id messageCount messages { content } } } } }";
    let listed = alice.data(listed, json!({})).await["viewer"]["sessions"]["nodes"].take();
    assert_eq!(
        (&listed[0]["id"], listed[0]["messages"].as_array().unwrap().len()),
        (&id, 4)
    );
    assert_eq!(listed[0]["messages"][1], json!({ "content": "You said: a b" }));
    let node = alice.data(NODE, json!({ "id": id })).await["node"].take();
    assert_eq!(node, json!({ "__typename": "Session", "id": id, "messageCount": 4 }));
    let gone = alice.data(DELETE, json!({ "id": id })).await["deleteSession"]["session"].take();
    assert_eq!(
        gone,
        json!({ "id": id, "messageCount": 4, "createdAt": rest["createdAt"] })
    );
    assert_eq!(alice.graphql(DELETE, json!({ "id": id })).await.code(), "NOT_FOUND");
    assert_eq!(alice.graphql(SESSION, json!({ "id": id })).await.code(), "NOT_FOUND");
    assert_nothing_kept(&server).await;
}

#[tokio::test]
async fn what_is_asked_has_bounds() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    let id = begin(&alice, "first").await;
    for (field, body) in [
        ("prompt", json!({ "prompt": "" })),
        ("prompt", json!({ "prompt": " \n\t\u{3000}" })),
        ("prompt", json!({ "prompt": "p".repeat(8_001) })),
        ("prompt", json!({ "prompt": "\u{1f300}".repeat(8_001) })),
        ("prompt", json!({ "prompt": "a\u{0}b" })),
        ("model", json!({ "prompt": "p", "settings": { "model": "MODEL_2" } })),
        ("model", json!({ "prompt": "p", "settings": { "model": "" } })),
        ("model", json!({ "prompt": "p", "settings": { "model": "model_1" } })),
        (
            "newSession",
            json!({ "prompt": "p", "sessionId": id, "newSession": true }),
        ),
    ] {
        let answer = alice.post("/v1/ai/generate", body.clone()).await;
        is(&answer, 400, "VALIDATION_FAILED");
        assert_eq!(members(&answer.body["details"]["fields"]), [field], "{:#}", answer.body);
        let answer = alice.graphql(GENERATE, json!({ "input": body })).await;
        assert_eq!(answer.code(), "VALIDATION_FAILED");
    }
    for (body, path) in [
        (json!({}), "/prompt"),
        (json!({ "prompt": 1 }), "/prompt"),
        (json!({ "prompt": "p", "settings": 1 }), "/settings"),
        (
            json!({ "prompt": "p", "settings": { "includeTriggers": "yes" } }),
            "/settings/includeTriggers",
        ),
    ] {
        let answer = alice.post("/v1/ai/generate", body).await;
        is(&answer, 400, "BAD_REQUEST");
        assert_eq!(answer.body["details"]["path"], path);
    }
    for id in [
        "",
        "x",
        "session_",
        "session_01h455vb4pex5vsknk084sn02q",
        "user_01h455vb4pex5vsknk084sn02q",
    ] {
        let answer = alice
            .post("/v1/ai/generate", json!({ "prompt": "p", "sessionId": id }))
            .await;
        is(&answer, 404, "NOT_FOUND");
    }
    is(
        &server.nobody().post("/v1/ai/generate", json!({ "prompt": "p" })).await,
        401,
        "UNAUTHENTICATED",
    );
    assert_eq!(upstream.requests().len(), 1, "nothing of it was asked");
    assert_eq!(
        (sessions(&alice).await[0]["messageCount"].as_i64(), xp(&alice).await),
        (Some(2), 2)
    );

    // Composed and counted in characters; null is absent.
    let long = "\u{1f300}".repeat(8_000);
    for prompt in ["p".to_owned(), "p".repeat(8_000), long, "e\u{301}".repeat(8_000)] {
        let body = json!({ "prompt": prompt, "sessionId": null, "newSession": null,
                           "settings": { "model": null, "includeAudio": null, "includeTriggers": null } });
        generate(&alice, body).await;
    }
    let last = upstream.requests().pop().unwrap();
    assert_eq!(last.messages().last().unwrap().1, "\u{e9}".repeat(8_000));
}

#[tokio::test]
async fn anothers_session_is_not_found() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let admin = server.member_with_role("root", "admin").await;
    let id = begin(&alice, "mine alone").await;
    let path = format!("/v1/sessions/{id}");
    let unknown = "/v1/sessions/session_01h455vb4pex5vsknk084sn02q";
    for other in [&bob, &admin] {
        is(&other.get(&path).await, 404, "NOT_FOUND");
        assert_eq!(
            other.get(&path).await.body,
            other.get(unknown).await.body,
            "as if it did not exist"
        );
        is(&other.delete(&path).await, 404, "NOT_FOUND");
        let continued = json!({ "prompt": "go on", "sessionId": id });
        is(
            &other.post("/v1/ai/generate", continued.clone()).await,
            404,
            "NOT_FOUND",
        );
        for document in [SESSION, DELETE] {
            assert_eq!(other.graphql(document, json!({ "id": id })).await.code(), "NOT_FOUND");
        }
        let node = other.graphql(NODE, json!({ "id": id })).await;
        assert!(node.body["data"]["node"].is_null(), "{:#}", node.body);
        assert_eq!(
            other.graphql(GENERATE, json!({ "input": continued })).await.code(),
            "NOT_FOUND"
        );
        assert_eq!(sessions(other).await, Vec::<Value>::new());
        // What was active last is each member's own.
        let answer = ask(other, "hello").await;
        assert_ne!(answer["sessionId"], json!(id));
    }
    assert_eq!(upstream.requests().len(), 3, "nobody was answered in it");
    assert!(!upstream.requests()[2].text().contains("mine alone"));
    assert_eq!((alice.get(&path).await).body["messages"].as_array().unwrap().len(), 2);
}

/// Moves a session's last answer into the past.
async fn wait(server: &Server, minutes: i64) {
    let sql = format!("UPDATE sessions SET active_at = active_at - {}", minutes * 60_000);
    assert!(execute(&server.place, &sql).await > 0);
}

#[tokio::test]
async fn a_session_goes_on_within_half_an_hour_unless_the_call_says_otherwise() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    let first = ask(&alice, "one").await["sessionId"].take();
    assert_eq!(ask(&alice, "two").await["sessionId"], first);
    wait(&server, 29).await;
    assert_eq!(ask(&alice, "three").await["sessionId"], first);
    assert_eq!(
        upstream.requests()[2].messages().len(),
        6,
        "a system prompt, two turns, the prompt"
    );
    wait(&server, 30).await;
    let second = ask(&alice, "four").await["sessionId"].take();
    assert_ne!(second, first);
    assert_eq!(upstream.requests()[3].messages().len(), 2);
    let third = generate(&alice, json!({ "prompt": "five", "newSession": true })).await["sessionId"].take();
    assert_ne!(third, second);
    assert_eq!(ask(&alice, "six").await["sessionId"], third);

    // However old it is, and from then on it is the one that was active last.
    let named = generate(
        &alice,
        json!({ "prompt": "seven", "sessionId": first, "newSession": false }),
    )
    .await;
    assert_eq!(named["sessionId"], first);
    assert_eq!(ask(&alice, "eight").await["sessionId"], first);
    let sent = upstream.requests().pop().unwrap();
    let prompts: Vec<_> = sent
        .messages()
        .into_iter()
        .filter(|(role, _)| *role == "user")
        .map(|(_, text)| text)
        .collect();
    assert_eq!(prompts, ["one", "two", "three", "seven", "eight"].map(str::to_owned));
    let listed: Vec<_> = sessions(&alice)
        .await
        .iter()
        .map(|session| (session["id"].clone(), session["messageCount"].as_i64().unwrap()))
        .collect();
    assert_eq!(listed, [(third, 4), (second, 2), (first.clone(), 10)], "newest first");

    // One that is deleted does not go on.
    alice.delete(&format!("/v1/sessions/{}", first.as_str().unwrap())).await;
    assert_ne!(ask(&alice, "nine").await["sessionId"], first);
}

#[tokio::test]
async fn a_full_session_takes_no_more() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let id = ask(&alice, "one").await["sessionId"].take();
    execute(&server.place, "UPDATE sessions SET turns = 499").await;
    assert_eq!(ask(&alice, "the last").await["sessionId"], id);
    assert_eq!(sessions(&alice).await[0]["messageCount"], 1_000);
    let named = json!({ "prompt": "more", "sessionId": id });
    is(&alice.post("/v1/ai/generate", named.clone()).await, 409, "CONFLICT");
    assert_eq!(
        alice.graphql(GENERATE, json!({ "input": named })).await.code(),
        "CONFLICT"
    );
    let next = ask(&alice, "more").await["sessionId"].take();
    assert_ne!(next, id);
    assert_eq!(sessions(&alice).await.len(), 2);
    assert_eq!(count(&server.place, "session_turns").await, 3);
}

#[tokio::test]
async fn two_answers_at_once_are_both_kept_in_one_session() {
    let upstream = Upstream::start().await;
    let server = start(&model(&upstream, "")).await;
    let alice = server.member("alice").await;
    let id = begin(&alice, "zero").await;
    let prompts: Vec<String> = (1..=6).map(|n| format!("p{n}")).collect();
    let asked = prompts.iter().map(|prompt| ask(&alice, prompt));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer["sessionId"], json!(id));
    }
    let messages = alice.get(&format!("/v1/sessions/{id}")).await.body["messages"].take();
    let messages = messages.as_array().unwrap();
    assert_eq!(
        (messages.len(), sessions(&alice).await[0]["messageCount"].as_i64()),
        (14, Some(14))
    );
    for pair in messages.chunks(2) {
        assert_eq!(
            pair[1]["content"],
            format!("You said: {}", pair[0]["content"].as_str().unwrap())
        );
    }
}

#[tokio::test]
async fn sessions_are_listed_newest_first_in_pages() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(begin(&alice, &format!("prompt {n}")).await);
        begin(&bob, "other").await;
    }
    ids.reverse();
    let list = "query ($after: String) { viewer { sessions(first: 2, after: $after) {
        nodes { id } edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage endCursor }
    } } }";
    let (mut after, mut seen) = (Value::Null, Vec::new());
    loop {
        let page = alice.data(list, json!({ "after": after })).await["viewer"]["sessions"].take();
        seen.extend(
            page["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|node| node["id"].as_str().unwrap().to_owned()),
        );
        assert_eq!(page["edges"][0]["node"], page["nodes"][0]);
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(seen, ids);
    let (mut path, mut seen) = (Some("/v1/sessions?first=2".to_owned()), Vec::new());
    while let Some(at) = path {
        let page = alice.get(&at).await;
        seen.extend(
            page.body["sessions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["id"].as_str().unwrap().to_owned()),
        );
        let link = page.header("link").filter(|link| link.contains("rel=\"next\""));
        path = link.map(|link| {
            let url = link.split(['<', '>']).nth(1).unwrap();
            url[url.find("/v1").unwrap()..].to_owned()
        });
    }
    assert_eq!(seen, ids);
    for query in ["first=0", "first=101", "after=x"] {
        is(
            &alice.get(&format!("/v1/sessions?{query}")).await,
            400,
            "VALIDATION_FAILED",
        );
    }
}

#[tokio::test]
async fn answers_earn_two_xp_each_up_to_forty_a_day() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    for n in 1..=22 {
        ask(&alice, "hello").await;
        assert_eq!(xp(&alice).await, (2 * n).min(40));
    }
}

#[tokio::test]
async fn keys_need_the_scopes() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let id = begin(&alice, "hello").await;
    let path = format!("/v1/sessions/{id}");
    let key = async |scope: &str| alice.key(&[scope]).await;
    let (generates, reads, writes) = (
        key("ai:generate").await,
        key("sessions:read").await,
        key("sessions:write").await,
    );
    let [generates, reads, writes] = [&generates, &reads, &writes].map(|key| server.bearer(key));
    let may = async |caller: &Caller<'_>| {
        let input = json!({ "prompt": "p", "sessionId": id });
        [
            caller.post("/v1/ai/generate", input).await.status.as_u16(),
            caller.get("/v1/ai/models").await.status.as_u16(),
            caller.get("/v1/sessions").await.status.as_u16(),
            caller.get(&path).await.status.as_u16(),
        ]
    };
    assert_eq!(may(&generates).await, [200, 200, 403, 403]);
    assert_eq!(may(&reads).await, [403, 403, 200, 200]);
    assert_eq!(may(&writes).await, [403, 403, 200, 200]);
    let stream = json!({ "input": { "prompt": "p" } });
    let refused = crate::harness::send(crate::companions::rest_stream(&reads, &stream["input"])).await;
    is(&refused, 403, "FORBIDDEN");
    assert_eq!(reads.graphql(GENERATE, stream).await.code(), "FORBIDDEN");
    is(&reads.delete(&path).await, 403, "FORBIDDEN");
    is(&generates.delete(&path).await, 403, "FORBIDDEN");
    assert_eq!(writes.delete(&path).await.status, 200);
}

#[tokio::test]
async fn a_model_is_sent_its_prompt_what_was_said_and_its_settings() {
    let upstream = Upstream::start().await;
    upstream.demand_key("sk-secret");
    let more =
        "api_key_env = \"TEST_LLM_KEY\"\nsystem_prompt = \"Be kind.\"\ntemperature = 0.5\nmax_answer_tokens = 77";
    let mut place = crate::companions::place(&model(&upstream, more)).await;
    place.set("TEST_LLM_KEY", "sk-secret");
    let server = Server::options().place(&place).start().await;
    let alice = server.member("alice").await;
    upstream.next(Reply::plain("An answer."));
    assert_eq!(ask(&alice, "one").await["response"], "An answer.");
    ask(&alice, "two").await;
    ask(&alice, "three").await;
    let requests = upstream.requests();
    for request in &requests {
        assert_eq!(request.headers["authorization"], "Bearer sk-secret");
        let body = &request.body;
        assert_eq!(
            (
                &body["model"],
                &body["stream"],
                &body["temperature"],
                &body["max_tokens"]
            ),
            (&json!("llama"), &json!(true), &json!(0.5), &json!(77))
        );
    }
    let expected = [
        ("system", "Be kind."),
        ("user", "one"),
        ("assistant", "An answer."),
        ("user", "two"),
        ("assistant", "You said: two"),
        ("user", "three"),
    ];
    assert_eq!(requests[2].messages(), expected);
}

#[tokio::test]
async fn the_oldest_turns_are_left_out_first_and_the_system_prompt_never() {
    let upstream = Upstream::start().await;
    let system = "Be kind. ".repeat(20);
    let more = format!("system_prompt = \"{}\"\ncontext_tokens = 512", system.trim());
    let server = start(&model(&upstream, &more)).await;
    let alice = server.member("alice").await;
    for n in 0..6 {
        // 131 tokens with its answer; the system prompt takes 64, the last prompt 125.
        upstream.next(Reply::stream(&["short"]));
        ask(&alice, &format!("{n} {}", "x".repeat(360))).await;
    }
    let last = upstream.requests().pop().unwrap();
    let messages = last.messages();
    assert_eq!(messages[0], ("system", system.trim()));
    let kept: Vec<&str> = messages
        .iter()
        .filter(|message| message.0 == "user")
        .map(|message| &message.1[..1])
        .collect();
    assert_eq!(kept, ["3", "4", "5"], "as many as fit, the last ones, whole");
    assert_eq!(messages[2], ("assistant", "short"));

    // Too much by itself: it is sent alone.
    ask(&alice, &"y".repeat(8_000)).await;
    let last = upstream.requests().pop().unwrap();
    assert_eq!(
        last.messages().iter().map(|message| message.0).collect::<Vec<_>>(),
        ["system", "user"]
    );
    // What was left out is still there to be read.
    assert_eq!(sessions(&alice).await[0]["messageCount"], 14);
}
