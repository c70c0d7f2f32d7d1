//! API keys and socket tickets: what they may do, when they end, and that nothing keeps them.

use reqwest::Method;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};

use crate::harness::{Caller, PASSWORD, Server, clustered, eventually, send};

const CREATE: &str = "mutation ($input: CreateApiKeyInput!) {
    createApiKey(input: $input) { apiKey { id name prefix scopes createdAt lastUsedAt expiresAt } key }
}";

async fn create(caller: &Caller<'_>, input: Value) -> (Value, String) {
    let mut data = caller.data(CREATE, json!({ "input": input })).await;
    let payload = data["createApiKey"].take();
    let key = payload["key"].as_str().unwrap().to_owned();
    (payload["apiKey"].clone(), key)
}

/// An RFC 3339 time so many seconds from now.
fn in_seconds(seconds: i64) -> String {
    let time = chrono::Utc::now() + chrono::Duration::seconds(seconds);
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[tokio::test]
async fn a_key_is_shown_once_and_recognisable_later() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let scopes = ["CHAT_READ", "TRIGGERS_WRITE", "CHAT_READ", "CHAT_READ"];
    let (row, key) = create(&alice, json!({ "name": "Cafe\u{301} bot", "scopes": scopes })).await;
    assert!(key.starts_with("bsc_") && key.len() > 40, "{key}");
    assert_eq!(row["name"], "Caf\u{e9} bot");
    let prefix = row["prefix"].as_str().unwrap();
    assert!(key.starts_with(prefix) && prefix.starts_with("bsc_") && prefix.len() > 6 && prefix.len() <= 16);
    let mut counted: Vec<_> = row["scopes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap())
        .collect();
    counted.sort_unstable();
    assert_eq!(counted, ["CHAT_READ", "TRIGGERS_WRITE"]);
    assert_eq!((&row["lastUsedAt"], &row["expiresAt"]), (&Value::Null, &Value::Null));
    assert!(row["id"].as_str().unwrap().starts_with("key_"));

    let listed = alice.get("/v1/keys").await;
    assert_eq!(listed.status, 200);
    let text = listed.body.to_string();
    assert!(text.contains(prefix) && !text.contains(&key), "{text}");
    assert!(text.contains("chat:read") && text.contains("triggers:write"), "{text}");

    // A key that is used says so.
    let bot = server.bearer(&key);
    assert_eq!(bot.get("/v1/triggers").await.status, 200);
    eventually("the use of the key is noted", async || {
        let data = alice.data("{ viewer { apiKeys { lastUsedAt } } }", json!({})).await;
        !data["viewer"]["apiKeys"][0]["lastUsedAt"].is_null()
    })
    .await;

    // Over REST, in its spelling.
    let rest = alice
        .post(
            "/v1/keys",
            json!({ "name": "rest", "scopes": ["profile:read", "profile:read"] }),
        )
        .await;
    assert_eq!(rest.status, 200, "{:#}", rest.body);
    assert_eq!(rest.body["scopes"], json!(["profile:read"]));
    let by_rest = server.bearer(rest.body["key"].as_str().unwrap());
    assert_eq!(by_rest.get("/v1/profile/alice").await.status, 200);
    assert_eq!(by_rest.get("/v1/triggers").await.code(), "FORBIDDEN");
}

#[tokio::test]
async fn a_key_is_refused_by_the_name_of_what_is_wrong() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let long = "x".repeat(65);
    for (input, field) in [
        (json!({ "name": "", "scopes": ["CHAT_READ"] }), "name"),
        (json!({ "name": " \t", "scopes": ["CHAT_READ"] }), "name"),
        (json!({ "name": long, "scopes": ["CHAT_READ"] }), "name"),
        (json!({ "name": "a\u{7}", "scopes": ["CHAT_READ"] }), "name"),
        (json!({ "name": "a", "scopes": [] }), "scopes"),
        (
            json!({ "name": "a", "scopes": ["CHAT_READ"], "expiresAt": in_seconds(-5) }),
            "expiresAt",
        ),
        (
            json!({ "name": "a", "scopes": ["CHAT_READ"], "expiresAt": "tomorrow" }),
            "expiresAt",
        ),
    ] {
        let answer = alice.graphql(CREATE, json!({ "input": input })).await;
        assert_eq!(answer.code(), "VALIDATION_FAILED", "{input}");
        let fields = &answer.body["errors"][0]["extensions"]["details"]["fields"];
        assert!(
            fields[field].is_string() && fields.as_object().unwrap().len() == 1,
            "{input}: {fields}"
        );
    }
    let unknown = alice
        .post("/v1/keys", json!({ "name": "a", "scopes": ["everything"] }))
        .await;
    assert_eq!(unknown.status, 400, "{:#}", unknown.body);
    assert_eq!(
        alice.data("{ viewer { apiKeys { id } } }", json!({})).await["viewer"]["apiKeys"],
        json!([])
    );
}

#[tokio::test]
async fn a_key_may_what_its_scopes_say_and_no_more() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let reader = server.bearer(&alice.key(&["triggers:read"]).await);
    let writer = server.bearer(&alice.key(&["triggers:write"]).await);
    let profile = server.bearer(&alice.key(&["profile:write"]).await);
    let moderator = server.bearer(&alice.key(&["moderate"]).await);

    let id = writer.trigger("Sleep", true).await;
    for caller in [&reader, &writer] {
        assert_eq!(caller.get(&format!("/v1/triggers/{id}")).await.status, 200);
    }
    let input = json!({ "name": "Wake", "content": "wake up" });
    let refused = reader.post("/v1/triggers", input).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "FORBIDDEN"));
    assert_eq!(refused.body["details"]["scope"], "triggers:write");
    assert_eq!(profile.get("/v1/triggers").await.code(), "FORBIDDEN");
    assert_eq!(profile.get("/v1/profile/alice").await.status, 200);
    assert_eq!(
        profile
            .put("/v1/profile/alice", json!({ "displayName": "Al" }))
            .await
            .status,
        200
    );
    // The scope to moderate gives nobody the role.
    assert_eq!(moderator.get("/v1/profile/alice").await.code(), "FORBIDDEN");

    // The whole selection is looked at before anything runs.
    let mixed = "mutation { a: pauseTriggers { profile { id } } b: updateProfile(username: \"alice\", input: { displayName: \"Z\" }) { profile { id } } }";
    assert_eq!(writer.graphql(mixed, json!({})).await.code(), "FORBIDDEN");
    assert_eq!(profile.graphql(mixed, json!({})).await.code(), "FORBIDDEN");
    let data = alice
        .data("{ viewer { triggersPaused profile { displayName } } }", json!({}))
        .await;
    assert_eq!(
        data["viewer"],
        json!({ "triggersPaused": false, "profile": { "displayName": "Al" } })
    );
    for deep in [
        "{ viewer { user { profile { xp } } } }",
        "{ viewer { ...V } } fragment V on Viewer { user { ...U } } fragment U on User { p: profile { id } }",
        "{ triggers { nodes { creator { profile { id } } } } }",
    ] {
        assert_eq!(reader.graphql(deep, json!({})).await.code(), "FORBIDDEN", "{deep}");
    }
    let node = "query ($id: ID!) { node(id: $id) { id ... on Trigger { name } } }";
    assert_eq!(profile.graphql(node, json!({ "id": id })).await.code(), "FORBIDDEN");
    assert_eq!(reader.data(node, json!({ "id": id })).await["node"]["name"], "Sleep");
    // Without saying what kind it expects, it is the object's own rule that refuses.
    let bare = "query ($id: ID!) { node(id: $id) { id } }";
    let refused = profile.graphql(bare, json!({ "id": id })).await;
    assert_eq!(refused.code(), "FORBIDDEN", "{:#}", refused.body);
}

#[tokio::test]
async fn a_key_cannot_do_what_takes_a_login() {
    let server = Server::start().await;
    let alice = server.member_with_role("alice", "admin").await;
    let every = [
        "profile:write",
        "triggers:write",
        "ai:generate",
        "sessions:write",
        "chat:write",
        "webhooks:write",
        "events:read",
        "moderate",
    ];
    let bot = server.bearer(&alice.key(&every).await);
    let keys = alice
        .data("{ viewer { apiKeys { id } logins { id } } }", json!({}))
        .await;
    let (key, login) = (&keys["viewer"]["apiKeys"][0]["id"], &keys["viewer"]["logins"][0]["id"]);
    let refused = [
        ("mutation { logout { success } }".to_owned(), "logout"),
        (
            format!("mutation {{ revokeLogin(id: {login}) {{ login {{ id }} }} }}"),
            "revokeLogin",
        ),
        (
            format!("mutation {{ revokeApiKey(id: {key}) {{ apiKey {{ id }} }} }}"),
            "revokeApiKey",
        ),
        (
            "mutation { createApiKey(input: { name: \"b\", scopes: [CHAT_READ] }) { key } }".into(),
            "createApiKey",
        ),
        (
            format!(
                "mutation {{ changePassword(input: {{ currentPassword: \"{PASSWORD}\", newPassword: \"{PASSWORD}\" }}) {{ user {{ id }} }} }}"
            ),
            "changePassword",
        ),
        (
            format!("mutation {{ deleteAccount(input: {{ password: \"{PASSWORD}\" }}) {{ success }} }}"),
            "deleteAccount",
        ),
        ("{ viewer { logins { id } } }".into(), "logins"),
        (
            format!("{{ node(id: {login}) {{ ... on Login {{ userAgent }} }} }}"),
            "node of a login",
        ),
    ];
    for (document, what) in refused {
        let answer = bot.graphql(&document, json!({})).await;
        assert_eq!(answer.code(), "FORBIDDEN", "{what}: {:#}", answer.body);
    }
    for (method, path) in [
        (Method::POST, "/v1/auth/logout"),
        (Method::GET, "/v1/auth/logins"),
        (Method::POST, "/v1/me/delete"),
        (Method::POST, "/v1/keys"),
        (Method::POST, "/v1/auth/password"),
    ] {
        let answer = send(bot.request(method, path).json(&json!({}))).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (403, "FORBIDDEN"), "{path}");
    }
    // What any key may.
    assert_eq!(bot.get("/v1/me").await.body["username"], "alice");
    assert_eq!(bot.post("/v1/auth/ticket", json!({})).await.status, 200);
    assert_eq!(alice.get("/v1/me").await.status, 200);
}

#[tokio::test]
async fn a_key_ends_when_it_is_revoked_or_its_time_is_over() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    let (row, key) = create(&alice, json!({ "name": "a", "scopes": ["TRIGGERS_READ"] })).await;
    let bot = server.bearer(&key);
    assert_eq!(bot.get("/v1/triggers").await.status, 200);
    let id = row["id"].as_str().unwrap();
    assert_eq!(bob.delete(&format!("/v1/keys/{id}")).await.code(), "NOT_FOUND");
    let node = "query ($id: ID!) { node(id: $id) { id } }";
    assert_eq!(bob.graphql(node, json!({ "id": id })).await.code(), "NOT_FOUND");
    assert_eq!(alice.data(node, json!({ "id": id })).await["node"]["id"], id);
    assert_eq!(bot.get("/v1/triggers").await.status, 200);
    assert_eq!(alice.delete(&format!("/v1/keys/{id}")).await.status, 200);
    let answer = bot.get("/v1/triggers").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (401, "INVALID_CREDENTIALS"));
    assert_eq!(alice.delete(&format!("/v1/keys/{id}")).await.code(), "NOT_FOUND");

    let (row, key) = create(
        &alice,
        json!({ "name": "b", "scopes": ["TRIGGERS_READ"], "expiresAt": in_seconds(3) }),
    )
    .await;
    assert!(row["expiresAt"].as_str().unwrap().ends_with('Z'));
    let bot = server.bearer(&key);
    assert_eq!(bot.get("/v1/triggers").await.status, 200);
    eventually("the key ends", async || {
        bot.get("/v1/triggers").await.code() == "INVALID_CREDENTIALS"
    })
    .await;
}

#[tokio::test]
async fn a_member_has_fifty_keys_at_most_even_when_many_are_made_at_once() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let ask = (0..60).map(|n| {
        let alice = &alice;
        async move {
            alice
                .post("/v1/keys", json!({ "name": n.to_string(), "scopes": ["chat:read"] }))
                .await
        }
    });
    let answers = futures_util::future::join_all(ask).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 || answer.code() == "CONFLICT")
    );
    assert_eq!(made, 50);
    let listed = alice.get("/v1/keys").await;
    assert_eq!(listed.body["keys"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn a_ticket_is_new_each_time_and_no_credential_for_requests() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let first = alice.post("/v1/auth/ticket", json!({})).await;
    assert_eq!(first.status, 200);
    let second = alice
        .data("mutation { createSocketTicket { ticket expiresAt } }", json!({}))
        .await;
    let ticket = first.body["ticket"].as_str().unwrap();
    assert_ne!(second["createSocketTicket"]["ticket"], ticket);
    let expires = chrono::DateTime::parse_from_rfc3339(first.body["expiresAt"].as_str().unwrap()).unwrap();
    let seconds = (expires.to_utc() - chrono::Utc::now()).num_seconds();
    assert!((30..=60).contains(&seconds), "{seconds}");
    assert_eq!(server.bearer(ticket).get("/v1/me").await.code(), "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn the_database_holds_no_key_token_or_password() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let key = alice.key(&["chat:write"]).await;
    assert_eq!(server.bearer(&key).get("/v1/me").await.status, 200);
    let ticket = alice.post("/v1/auth/ticket", json!({})).await.body["ticket"]
        .as_str()
        .unwrap()
        .to_owned();
    let token = alice.token().to_owned();
    // Nor what the token encodes: whoever reads it there could write the token down.
    let raw = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &token).unwrap();
    let mut reversed = raw.clone();
    reversed.reverse();
    let secrets: Vec<Vec<u8>> = [PASSWORD, &key, &key[4..], &token, &ticket]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .chain([raw.clone(), reversed.clone()])
        .collect();

    let mut kept: Vec<u8> = Vec::new();
    if clustered() {
        let database = server.place.database().await;
        let ask = |text: String| Statement::from_string(DbBackend::Postgres, text);
        let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
        for table in database.query_all_raw(ask(tables.into())).await.unwrap() {
            let table: String = table.try_get_by_index(0).unwrap();
            let rows = ask(format!(
                "SELECT coalesce(string_agg(row_to_json(t)::text, ' '), '') FROM \"{table}\" t"
            ));
            let row = database.query_one_raw(rows).await.unwrap().unwrap();
            kept.extend(row.try_get_by_index::<String>(0).unwrap().into_bytes());
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let text = String::from_utf8(kept.clone()).unwrap();
        assert!(!text.contains(&hex(&raw)) && !text.contains(&hex(&reversed)));
        database.close().await.unwrap();
    } else {
        for file in std::fs::read_dir(server.place.folder().join("data")).unwrap() {
            let path = file.unwrap().path();
            // Below it are pictures and sound.
            if path.is_file() {
                kept.extend(std::fs::read(path).unwrap());
            }
        }
    }
    let holds = |bytes: &[u8]| kept.windows(bytes.len()).any(|window| window == bytes);
    assert!(
        holds(b"alice") && holds(b"$argon2id$"),
        "what is searched is the database"
    );
    for secret in secrets {
        assert!(!holds(&secret), "{}", String::from_utf8_lossy(&secret));
    }
}
