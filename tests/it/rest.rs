//! REST `/v1`: the published shapes to the letter, and what goes wrong.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Caller, PASSWORD, Server, eventually, send},
    openapi::Samples,
};

/// Members and the types of their values, as published.
fn assert_shape(value: &Value, shape: &[(&str, &str)]) {
    let members = value.as_object().unwrap_or_else(|| panic!("{value} is no object"));
    for (name, expected) in shape {
        let member = members
            .get(*name)
            .unwrap_or_else(|| panic!("{name} is missing: {value}"));
        let found = match member {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_i64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(items) if items.iter().all(Value::is_string) => "strings",
            Value::Array(_) => "objects",
            Value::Object(_) => "object",
        };
        assert!(
            expected.split('|').any(|expected| expected == found),
            "{name} is {found}: {value}"
        );
    }
    let order: Vec<&String> = members
        .keys()
        .filter(|key| shape.iter().any(|(name, _)| name == key))
        .collect();
    let published: Vec<&str> = shape.iter().map(|(name, _)| *name).collect();
    assert_eq!(order, published, "in the published order");
}

fn assert_time(value: &Value) {
    let text = value.as_str().unwrap();
    assert_eq!(
        (text.len(), text.as_bytes()[10], text.ends_with('Z')),
        (20, b'T', true),
        "{text}"
    );
}

const PROFILE: &[(&str, &str)] = &[
    ("id", "string"),
    ("username", "string"),
    ("displayName", "string"),
    ("avatarUrl", "string|null"),
    ("isPublic", "boolean"),
    ("xp", "integer"),
    ("level", "integer"),
    ("createdAt", "string"),
    ("triggers", "strings"),
];
const TRIGGER: &[(&str, &str)] = &[
    ("id", "string"),
    ("name", "string"),
    ("description", "string"),
    ("isPublic", "boolean"),
    ("creator", "string"),
];

#[tokio::test]
async fn the_published_routes_answer_as_published() {
    let server = Server::start().await;
    let rest = Samples::default();
    let nobody = server.nobody();
    let bare = server.member("alice").await;
    bare.data("mutation { logout { success } }", Value::Null).await;
    let answer = rest
        .post(
            &nobody,
            "/v1/auth/login",
            json!({ "username": "alice", "password": PASSWORD }),
        )
        .await;
    assert_eq!(answer.status, 200);
    assert_shape(
        &answer.body,
        &[("success", "boolean"), ("message", "string"), ("user", "object")],
    );
    assert_eq!(answer.body["success"], true);
    assert_eq!(answer.body["message"], "Authentication successful");
    assert_shape(&answer.body["user"], &[("id", "string"), ("username", "string")]);
    // The cookie is what all requests go by, as published.
    let cookie = answer
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let with_cookie = |method, path: &str| server.request(method, path).header("cookie", &cookie);
    let token = cookie.strip_prefix("bambisleep_session=").unwrap();
    let alice = server.bearer(token);

    let answer = rest.send(with_cookie(Method::GET, "/v1/profile/alice")).await;
    assert_eq!(answer.status, 200);
    assert_shape(&answer.body, PROFILE);
    assert_time(&answer.body["createdAt"]);
    let body = json!({
        "displayName": "New Display Name",
        "avatarUrl": "https://bambisleep.chat/avatars/new-image.png",
        "isPublic": true,
    });
    let answer = rest
        .send(with_cookie(Method::PUT, "/v1/profile/alice").json(&body))
        .await;
    assert_eq!(answer.status, 200);
    assert_shape(&answer.body, PROFILE);
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&answer.body[name], value);
    }

    let body = json!({
        "name": "Custom Trigger",
        "description": "Custom Trigger Description",
        "isPublic": false,
        "content": "Trigger activation text",
    });
    let created = rest.post(&alice, "/v1/triggers", body.clone()).await;
    assert_eq!(created.status, 200, "creation too");
    assert_shape(&created.body, TRIGGER);
    assert_eq!(created.body["creator"], "alice");
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&created.body[name], value);
    }
    let answer = rest.get(&alice, "/v1/triggers").await;
    assert_eq!(answer.status, 200);
    assert_shape(&answer.body, &[("triggers", "objects")]);
    assert_shape(&answer.body["triggers"][0], TRIGGER);
    assert!(answer.body.get("pageInfo").is_none());

    let id = created.body["id"].as_str().unwrap();
    let answer = rest
        .post(
            &alice,
            &format!("/v1/triggers/{id}/activation"),
            json!({ "revision": 1 }),
        )
        .await;
    assert_eq!(answer.body["triggers"], json!(["Custom Trigger"]));
    assert_eq!(
        rest.get(&alice, "/v1/me/profile").await.body["triggers"],
        json!(["Custom Trigger"])
    );

    // Errors too.
    for answer in [
        rest.get(&nobody, "/v1/triggers").await,
        rest.get(&alice, "/v1/profile/nobody").await,
        rest.post(&alice, "/v1/triggers", body).await,
    ] {
        assert_shape(
            &answer.body,
            &[
                ("error", "boolean"),
                ("code", "string"),
                ("message", "string"),
                ("details", "object"),
            ],
        );
        assert_eq!(answer.body["error"], true);
        assert_eq!(answer.body.as_object().unwrap().len(), 4);
    }
    rest.check(&server).await;
}

#[tokio::test]
async fn a_route_that_is_not_there_is_told_from_one_that_is_closed() {
    let server = Server::start().await;
    let (nobody, alice) = (server.nobody(), server.member("alice").await);
    for path in [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/triggers/",
        "/v1//triggers",
        "/v1/Triggers",
        "/v1/profile",
        "/v1/profile/",
        "/v1/profile/a/b",
        "/v1/profile/%ff",
        "/v1/profile/%zz",
        "/v1/profile/%",
        "/v1/openapi.json/",
        "/v2/triggers",
        "/nothing",
    ] {
        for caller in [&nobody, &alice] {
            let answer = caller.get(path).await;
            assert_eq!((answer.status.as_u16(), answer.code()), (404, "NOT_FOUND"), "{path}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
            assert!(answer.header("x-request-id").is_some(), "{path}");
        }
    }
    for path in [
        "/v1/triggers",
        "/v1/profile/alice",
        "/v1/profile/nobody",
        "/v1/me",
        "/v1/triggers/nothing",
    ] {
        let answer = nobody.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (401, "UNAUTHENTICATED"),
            "{path}"
        );
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for (method, path, allow) in [
        (Method::PATCH, "/v1/triggers", "GET, POST, HEAD"),
        (Method::DELETE, "/v1/profile/alice", "GET, PUT, HEAD"),
        (Method::GET, "/v1/auth/login", "POST"),
        (Method::OPTIONS, "/v1/me", "GET, HEAD"),
    ] {
        for caller in [&nobody, &alice] {
            let answer = send(caller.request(method.clone(), path)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (405, "METHOD_NOT_ALLOWED"),
                "{path}"
            );
            assert_eq!(answer.header("allow"), Some(allow), "{path}");
        }
    }
    let head = alice.request(Method::HEAD, "/v1/triggers").send().await.unwrap();
    assert_eq!(head.status(), 200);
    let length = head.headers()["content-length"].to_str().unwrap().to_owned();
    assert!(head.bytes().await.unwrap().is_empty());
    assert_eq!(length, "{\"triggers\":[]}".len().to_string());

    // An escape is the character that it stands for, a slash within a segment too.
    for path in [
        "/v1/profile/%61lice",
        "/v1/profile/ALICE",
        "/v1/profile/alice?unknown=1&unknown=2",
    ] {
        assert_eq!(alice.get(path).await.body["username"], "alice", "{path}");
    }
    assert_eq!(alice.get("/v1/profile/a%2Fb").await.code(), "NOT_FOUND");

    // A wrong Bearer is no stranger, also where anyone may come.
    for path in ["/v1/triggers", "/v1/nothing"] {
        let answer = server.bearer("bsc_wrong").get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (401, "INVALID_CREDENTIALS"),
            "{path}"
        );
    }
    let login = json!({ "username": "alice", "password": PASSWORD });
    assert_eq!(
        server
            .bearer("wrong")
            .post("/v1/auth/login", login.clone())
            .await
            .code(),
        "INVALID_CREDENTIALS"
    );
    let elsewhere = nobody
        .request(Method::POST, "/v1/auth/login")
        .header("origin", "http://elsewhere.example");
    let answer = send(elsewhere.json(&login)).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (403, "CROSS_SITE"));
    let wrong = json!({ "username": "alice", "password": "wrong password" });
    let answer = nobody.post("/v1/auth/login", wrong).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (401, "INVALID_CREDENTIALS"));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_and_pointed_at() {
    let server = Server::start().await;
    let rest = Samples::default();
    let alice = server.member("alice").await;
    let json_body = |body: &'static str| {
        let request = alice
            .request(Method::POST, "/v1/triggers")
            .header("content-type", "application/json");
        request.body(body)
    };
    let post = |content_type: &str| {
        let request = alice
            .request(Method::POST, "/v1/triggers")
            .header("content-type", content_type);
        request.body("{\"name\":\"n\",\"content\":\"c\"}")
    };
    let cases = [
        ("no JSON", json_body("{"), 400, "BAD_REQUEST", Some("")),
        ("no body", json_body(""), 400, "BAD_REQUEST", Some("")),
        ("a list", json_body("[]"), 400, "BAD_REQUEST", Some("")),
        ("null", json_body("null"), 400, "BAD_REQUEST", Some("")),
        (
            "no UTF-8",
            json_body("").body(vec![b'"', 0xff, b'"']),
            400,
            "BAD_REQUEST",
            Some(""),
        ),
        ("nothing in it", json_body("{}"), 400, "BAD_REQUEST", Some("/name")),
        (
            "a number",
            json_body("{\"name\":1,\"content\":\"c\"}"),
            400,
            "BAD_REQUEST",
            Some("/name"),
        ),
        (
            "null for text",
            json_body("{\"name\":null,\"content\":\"c\"}"),
            400,
            "BAD_REQUEST",
            Some("/name"),
        ),
        (
            "text for a boolean",
            json_body("{\"name\":\"n\",\"content\":\"c\",\"isPublic\":\"true\"}"),
            400,
            "BAD_REQUEST",
            Some("/isPublic"),
        ),
        (
            "an empty name",
            json_body("{\"name\":\" \",\"content\":\"c\"}"),
            400,
            "VALIDATION_FAILED",
            None,
        ),
        ("text", post("text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE", None),
        (
            "a form",
            post("application/x-www-form-urlencoded"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            None,
        ),
        (
            "too much",
            json_body("").body("x".repeat(2 * 1024 * 1024)),
            413,
            "PAYLOAD_TOO_LARGE",
            None,
        ),
    ];
    for (name, request, status, code, path) in cases {
        let answer = rest.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{name}");
        assert_eq!(answer.body["details"]["path"].as_str(), path, "{name}");
    }
    let answer = rest
        .post(
            &alice,
            "/v1/triggers",
            json!({ "name": "", "content": "x".repeat(2_001) }),
        )
        .await;
    let fields: Vec<_> = answer.body["details"]["fields"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(fields, ["name", "content"]);
    let answer = rest
        .post(
            &alice,
            "/v1/keys",
            json!({ "name": "k", "scopes": ["profile:read", "all"] }),
        )
        .await;
    assert_eq!(
        (answer.code(), &answer.body["details"]["path"]),
        ("BAD_REQUEST", &json!("/scopes/1"))
    );

    for (query, code, place) in [
        ("first=0", "VALIDATION_FAILED", "first"),
        ("first=101", "VALIDATION_FAILED", "first"),
        ("first=-1", "VALIDATION_FAILED", "first"),
        ("after=nothing", "VALIDATION_FAILED", "after"),
        ("after=", "VALIDATION_FAILED", "after"),
        ("first=x", "BAD_REQUEST", "/first"),
        ("first=", "BAD_REQUEST", "/first"),
        ("first=1.0", "BAD_REQUEST", "/first"),
        ("first=99999999999999999999", "BAD_REQUEST", "/first"),
        ("first=1&first=2", "BAD_REQUEST", "/first"),
        ("search=%ff", "BAD_REQUEST", ""),
    ] {
        let answer = rest.get(&alice, &format!("/v1/triggers?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, code), "{query}");
        let details = &answer.body["details"];
        let found = match code {
            "BAD_REQUEST" => details["path"] == place,
            _ => details["fields"].get(place).is_some(),
        };
        assert!(found, "{query}: {details}");
    }
    assert_eq!(rest.get(&alice, "/v1/profiles?orderBy=AGE").await.code(), "BAD_REQUEST");
    assert_eq!(rest.get(&alice, "/v1/events?kinds=nothing").await.code(), "BAD_REQUEST");
    assert_eq!(
        rest.get(&alice, "/v1/events?after=evt_01m836ntwveawrd0stvve2hp7j")
            .await
            .code(),
        "NOT_FOUND"
    );
    for path in [
        "/v1/triggers/nothing",
        "/v1/triggers/trigger_0",
        "/v1/triggers/user_00000000000000000000000000",
    ] {
        assert_eq!(rest.get(&alice, path).await.code(), "NOT_FOUND", "{path}");
    }

    // A database may refuse this character; a client hears that it is none, or that there is nothing of that name.
    for path in [
        "/v1/profile/%00",
        "/v1/triggers/%00",
        "/v1/triggers?search=%00",
        "/v1/triggers?creator=%00",
        "/v1/triggers?after=%00",
        "/v1/profiles?search=a%00b",
        "/v1/events?after=%00",
    ] {
        let status = rest.get(&alice, path).await.status;
        assert!(status.as_u16() < 500, "{path}: {status}");
    }
    let zero = "a\u{0}b";
    for (path, body) in [
        ("/v1/auth/login", json!({ "username": zero, "password": zero })),
        (
            "/v1/auth/register",
            json!({ "username": zero, "password": PASSWORD, "ofAge": true }),
        ),
        (
            "/v1/auth/register",
            json!({ "username": "zero", "password": PASSWORD, "email": zero, "ofAge": true }),
        ),
        (
            "/v1/triggers",
            json!({ "name": zero, "content": zero, "description": zero }),
        ),
        ("/v1/keys", json!({ "name": zero, "scopes": ["profile:read"] })),
    ] {
        let caller = if path.contains("auth") {
            server.nobody()
        } else {
            alice.clone()
        };
        let status = rest.post(&caller, path, body).await.status;
        assert!((400..500).contains(&status.as_u16()), "{path}: {status}");
    }
    assert_eq!(
        rest.put(&alice, "/v1/profile/alice", json!({ "displayName": zero }))
            .await
            .code(),
        "VALIDATION_FAILED"
    );
    rest.check(&server).await;
}

#[tokio::test]
async fn what_was_got_can_be_put_back_and_what_is_unknown_is_ignored() {
    let server = Server::start().await;
    let rest = Samples::default();
    let alice = server.member("alice").await;
    let before = rest.get(&alice, "/v1/profile/alice").await.body;
    let mut sent = before.clone();
    sent["xp"] = json!(1_000_000);
    sent["nonsense"] = json!({ "a": [1] });
    assert_eq!(rest.put(&alice, "/v1/profile/alice", sent).await.body, before);

    let body = json!({ "name": "t", "content": "c", "id": "trigger_x", "creator": "bob", "nonsense": null });
    let created = rest.post(&alice, "/v1/triggers", body).await.body;
    let address = format!("/v1/triggers/{}", created["id"].as_str().unwrap());
    let got = rest.get(&alice, &address).await.body;
    assert_eq!((&got["revision"], &got["creator"]), (&json!(1), &json!("alice")));
    for (name, value) in created.as_object().unwrap() {
        assert_eq!(&got[name], value);
    }
    assert_eq!(
        rest.put(&alice, &address, got.clone()).await.body,
        got,
        "no edit, no revision"
    );
    let edited = rest.put(&alice, &address, json!({ "content": "d" })).await.body;
    assert_eq!((&edited["revision"], &edited["name"]), (&json!(2), &json!("t")));
    assert_eq!(rest.put(&alice, &address, json!({})).await.body, edited);

    let activation = format!("{address}/activation");
    assert_eq!(
        rest.post(&alice, &activation, json!({ "revision": 1 })).await.code(),
        "CONFLICT"
    );
    // Without a body, it is the current revision.
    let answer = rest.send(alice.request(Method::POST, &activation)).await;
    assert_eq!(answer.body["triggers"], json!(["t"]));
    assert_eq!(
        rest.get(&alice, "/v1/me/triggers/pause").await.body,
        json!({ "paused": false })
    );
    let answer = rest.send(alice.request(Method::POST, "/v1/me/triggers/pause")).await;
    assert_eq!(answer.body["triggers"], json!(["t"]));
    assert_eq!(
        rest.get(&alice, "/v1/me/triggers/pause").await.body,
        json!({ "paused": true })
    );
    assert_eq!(rest.delete(&alice, "/v1/me/triggers/pause").await.status, 200);
    assert_eq!(rest.delete(&alice, &activation).await.body["triggers"], json!([]));
    assert_eq!(
        rest.delete(&alice, &activation).await.status,
        200,
        "one that is not on it is no error"
    );
    let consents = rest.get(&alice, "/v1/consents").await.body;
    let kinds: Vec<_> = consents["consents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|consent| &consent["kind"])
        .collect();
    assert_eq!(kinds, ["deactivated", "resumed", "paused", "activated"]);
    let gone = rest.delete(&alice, &address).await;
    assert_eq!((gone.status.as_u16(), &gone.body["id"]), (200, &created["id"]));
    assert_eq!(rest.get(&alice, &address).await.code(), "NOT_FOUND");
    assert_eq!(rest.delete(&alice, &address).await.code(), "NOT_FOUND");
    rest.check(&server).await;
}

/// The address of the next page, below the server's.
fn next(server: &Server, answer: &Answer) -> Option<String> {
    let links = answer.headers.get_all("link").iter().map(|link| link.to_str().unwrap());
    let next = links.filter_map(|link| link.strip_suffix(">; rel=\"next\"")?.strip_prefix('<'));
    let mut next = next.map(|link| {
        link.strip_prefix(&server.url(""))
            .expect("a link starts with the public origin")
    });
    let found = next.next().map(str::to_owned);
    assert_eq!(next.next(), None, "one next page");
    found
}

/// All entries of a list by its links, and how many pages it has.
async fn follow(caller: &Caller<'_>, start: &str, list: &str, key: &str) -> (Vec<String>, usize) {
    let (mut entries, mut pages, mut address) = (Vec::new(), 0, Some(start.to_owned()));
    while let Some(path) = address {
        let answer = caller.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(pages < 100, "{start} does not end");
        let page = answer.body[list].as_array().unwrap().iter();
        entries.extend(page.map(|entry| entry[key].as_str().unwrap().to_owned()));
        pages += 1;
        address = next(caller.server, &answer);
    }
    (entries, pages)
}

#[tokio::test]
async fn links_lead_through_every_list_to_its_end() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let bob = server.member("bob-co").await;
    for n in 0..7 {
        let id = alice.trigger(&format!("a & {n}"), true).await;
        assert_eq!(
            alice
                .post(&format!("/v1/triggers/{id}/activation"), json!({}))
                .await
                .status,
            200
        );
    }
    for n in 0..4 {
        bob.trigger(&format!("b {n}"), n % 2 == 0).await;
    }
    // A reader of the log may be a moment behind what happened.
    eventually("all events are in the log", async || {
        bob.get("/v1/events?first=100").await.body["events"]
            .as_array()
            .unwrap()
            .len()
            == 9
    })
    .await;
    for (caller, path, list, key, count, pages) in [
        (&alice, "/v1/triggers?first=2", "triggers", "name", 9, 5),
        (&bob, "/v1/triggers?first=11", "triggers", "name", 11, 1),
        (&bob, "/v1/triggers?first=10", "triggers", "name", 11, 2),
        (&bob, "/v1/triggers?search=a+%26&first=3", "triggers", "name", 7, 3),
        (&alice, "/v1/triggers?creator=BOB-co&first=1", "triggers", "name", 2, 2),
        (&alice, "/v1/profiles?first=1", "profiles", "username", 2, 2),
        (&alice, "/v1/profiles?first=1&orderBy=XP", "profiles", "username", 2, 2),
        (&alice, "/v1/consents?first=3", "consents", "id", 7, 3),
        (&bob, "/v1/consents", "consents", "id", 0, 1),
        (
            &bob,
            "/v1/events?kinds=trigger.shared&kinds=profile.update&first=4",
            "events",
            "id",
            9,
            3,
        ),
        (&bob, "/v1/events?kinds=PROFILE_UPDATE", "events", "id", 0, 1),
    ] {
        let (entries, found) = follow(caller, path, list, key).await;
        let once: BTreeSet<_> = entries.iter().collect();
        assert_eq!(
            (entries.len(), once.len(), found),
            (count, count, pages),
            "{path}: {entries:?}"
        );
    }
    // The data of an event is spelled as REST spells the thing; its id is what to go on after.
    let events = alice.get("/v1/events?first=1").await.body;
    let event = &events["events"][0];
    assert_eq!(event["kind"], "trigger.shared");
    let trigger = alice
        .get(&format!("/v1/triggers/{}", event["data"]["id"].as_str().unwrap()))
        .await
        .body;
    for (name, value) in event["data"].as_object().unwrap() {
        assert_eq!(&trigger[name], value);
    }
    let after = alice
        .get(&format!("/v1/events?first=100&after={}", event["id"].as_str().unwrap()))
        .await;
    assert_eq!(after.body["events"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn rest_and_graphql_share_one_budget_and_say_what_is_left() {
    let server = Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_AUTHENTICATED", "6")
        .set("BAMBISLEEP_RATE_LIMIT_ANONYMOUS", "3")
        .start()
        .await;
    let rest = Samples::default();
    let alice = server.member("alice").await;
    let left = |answer: &Answer| answer.header("ratelimit-remaining").map(str::to_owned);
    let answer = rest.get(&alice, "/v1/me").await;
    assert_eq!(
        (answer.header("ratelimit-limit"), left(&answer).as_deref()),
        (Some("6"), Some("5"))
    );
    let seconds: u64 = answer.header("ratelimit-reset").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    alice.data("{ viewer { email } }", Value::Null).await;
    // What reaches no field costs 1 too.
    assert_eq!(left(&alice.get("/v1/nothing").await).as_deref(), Some("3"));
    assert_eq!(
        left(&send(alice.request(Method::PATCH, "/v1/me")).await).as_deref(),
        Some("2")
    );
    assert_eq!(
        left(&rest.post(&alice, "/v1/triggers", json!({})).await).as_deref(),
        Some("1")
    );
    // Free, also of headers about what it does not cost.
    assert_eq!(alice.get("/v1/openapi.json").await.status, 200);
    assert_eq!(left(&rest.get(&alice, "/v1/me").await).as_deref(), Some("0"));
    for path in ["/v1/me", "/v1/nothing"] {
        let answer = alice.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (429, "RATE_LIMITED"), "{path}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait));
        assert_eq!(answer.body["details"]["retryAfter"], wait);
    }
    assert_eq!(rest.get(&alice, "/v1/me").await.code(), "RATE_LIMITED");
    // Registering took one of the address's; a wrong Bearer pays there as well.
    assert_eq!(
        left(&rest.get(&server.bearer("wrong"), "/v1/me").await).as_deref(),
        Some("1")
    );
    assert_eq!(left(&rest.get(&server.nobody(), "/v1/me").await).as_deref(), Some("0"));
    assert_eq!(rest.get(&server.nobody(), "/v1/me").await.code(), "RATE_LIMITED");
    assert_eq!(server.nobody().get("/v1/openapi.json").await.status, 200);
    rest.check(&server).await;
}
