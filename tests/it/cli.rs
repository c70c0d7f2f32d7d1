//! The program as an operator meets it: settings, commands, starting and ending.

use std::{
    process::Output,
    time::{Duration, Instant},
};

use reqwest::{Method, header};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Caller, PASSWORD, Place, Server, clustered, eventually, send};

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A command that must do as told; what it printed.
fn done(place: &Place, arguments: &[&str], stdin: &str) -> String {
    let output = place.run(arguments, stdin);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// What a running server is to notice within a second, with some more for a machine that is busy.
async fn soon(what: &str, holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    eventually(what, holds).await;
    let took = start.elapsed();
    assert!(took < Duration::from_millis(2_500), "{what} took {took:?}");
}

async fn log_in(caller: &Caller<'_>, username: &str, password: &str) -> crate::harness::Answer {
    caller
        .post("/v1/auth/login", json!({ "username": username, "password": password }))
        .await
}

#[tokio::test]
async fn a_wrong_setting_ends_the_program_with_2_and_a_line_that_names_it() {
    let place = Place::new().await;
    for (name, value) in [
        ("BAMBISLEEP_BIND", "nowhere"),
        ("BAMBISLEEP_PUBLIC_URL", "chat.example"),
        ("BAMBISLEEP_PUBLIC_URL", "ftp://chat.example"),
        ("BAMBISLEEP_ALLOWED_ORIGINS", "https://a.example,b.example"),
        ("BAMBISLEEP_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("BAMBISLEEP_RATE_LIMIT_AUTHENTICATED", "-1"),
        ("BAMBISLEEP_RATE_LIMIT_ANONYMOUS", "ten"),
        ("BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE", "perhaps"),
        ("BAMBISLEEP_METRICS_BIND", "9090"),
        ("BAMBISLEEP_WORD_FILTER", "nowhere.txt"),
        ("DATABASE_URL", "mysql://u:hunter2@db/x"),
        ("REDIS_URL", "http://u:hunter2@redis"),
        ("BAMBISLEEP_NONSENSE", "1"),
        ("RUST_LOG", "bambisleep_chat=shout"),
    ] {
        let mut place = place.clone();
        place.set(name, value);
        // A command that ends in any case: the settings are the same for all.
        let output = place.run(&["migrate"], "");
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {told}");
        assert_eq!(told.trim_end().lines().count(), 1, "{told}");
        assert!(told.contains(name), "{name}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
        assert_eq!(stdout(&output), "");
    }

    let file = place.folder().join("settings.toml");
    let path = file.to_str().unwrap();
    for (text, key) in [
        ("bnid = \"127.0.0.1:0\"", "bnid"),
        ("rate_limit_anonymous = \"ten\"", "rate_limit_anonymous"),
        (
            "[ai.models.MODEL_1]\nprovider = \"oracle\"",
            "ai.models.MODEL_1.provider",
        ),
        ("[ai.speach]\nprovider = \"openai\"", "speach"),
        ("bind = ", "settings.toml"),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = place.run(&["migrate", "--config", path], "");
        assert_eq!(output.status.code(), Some(2), "{text}: {}", stderr(&output));
        assert!(stderr(&output).contains(key), "{text}: {}", stderr(&output));
    }
    std::fs::remove_file(&file).unwrap();
    for arguments in [
        &["migrate", "--config", path] as &[&str],
        &["migrate", "--bnid", "127.0.0.1:0"],
        &["migrate", "--rate-limit-anonymous", "ten"],
        &["dance"],
    ] {
        let output = place.run(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn documents_are_printed_without_a_database() {
    let place = Place::new().await;
    let schema = done(&place, &["schema"], "");
    assert!(schema.contains("type Mutation") && schema.contains("directive @allow"));
    assert_eq!(schema, include_str!("../../schema.graphql"));
    let openapi: Value = serde_json::from_str(&done(&place, &["openapi"], "")).unwrap();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3."));
    assert!(!place.folder().join("data").exists());
    assert!(done(&place, &["--version"], "").starts_with("bambisleep-chat "));

    let server = Server::start().await;
    let served = server.nobody().get("/v1/openapi.json").await;
    assert_eq!(served.body["paths"], openapi["paths"]);
}

#[tokio::test]
async fn members_and_keys_are_made_on_the_command_line() {
    let server = Server::start().await;
    let place = &server.place;
    assert_eq!(
        done(
            place,
            &["user", "create", "Ada", "--role", "admin"],
            "correct horse battery\nmore\n"
        ),
        ""
    );
    let answer = log_in(&server.nobody(), "ada", PASSWORD).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    for (arguments, stdin, code) in [
        (["user", "create", "ADA", "--role", "member"], PASSWORD, "taken"),
        (["user", "create", "bob", "--role", "member"], "short", "password"),
        (["user", "create", "bob", "--role", "member"], "", "password"),
        (["user", "create", "b b", "--role", "member"], PASSWORD, "username"),
        (["user", "create", "deleted", "--role", "member"], PASSWORD, "reserved"),
    ] {
        let output = place.run(&arguments, stdin);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(code), "{arguments:?}: {}", stderr(&output));
    }
    let unknown = place.run(&["user", "create", "bob", "--role", "queen"], PASSWORD);
    assert_eq!(unknown.status.code(), Some(2));

    let key = done(
        place,
        &[
            "key",
            "create",
            "bot",
            "--for",
            "ADA",
            "--scope",
            "profile:read,TRIGGERS_WRITE",
        ],
        "",
    );
    let bot = server.bearer(key.trim_end());
    assert!(key.starts_with("bsc_") && key.lines().count() == 1);
    assert_eq!(bot.get("/v1/profile/ada").await.status, 200);
    bot.trigger("Sleep", true).await;
    assert_eq!(
        bot.put("/v1/profile/ada", json!({ "displayName": "A" })).await.code(),
        "FORBIDDEN"
    );
    let past = [
        "key",
        "create",
        "b",
        "--for",
        "ada",
        "--scope",
        "moderate",
        "--expires",
        "2020-01-01T00:00:00Z",
    ];
    assert_eq!(place.run(&past, "").status.code(), Some(1));
    for name in ["nobody", "a b", ""] {
        let output = place.run(&["key", "create", "bot", "--for", name, "--scope", "moderate"], "");
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert_eq!(
            place.run(&["user", "role", name, "admin"], "").status.code(),
            Some(1),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_running_server_notices_what_the_operator_does_within_a_second() {
    let server = Server::start().await;
    let place = &server.place;
    let alice = server.member("alice").await;
    let key = server.bearer(&alice.key(&["profile:read"]).await);
    let bob = server.member("bob").await;
    assert_eq!(
        bob.put("/v1/profile/bob", json!({ "isPublic": false })).await.status,
        200
    );
    assert_eq!(alice.get("/v1/profile/bob").await.code(), "PROFILE_PRIVATE");

    done(place, &["user", "role", "ALICE", "moderator"], "");
    soon("the role counts", async || {
        alice.get("/v1/profile/bob").await.status == 200
    })
    .await;
    assert_eq!(alice.get("/v1/me").await.body["role"], "MODERATOR");
    assert_eq!(key.get("/v1/profile/bob").await.code(), "PROFILE_PRIVATE");
    done(place, &["user", "role", "alice", "member"], "");
    soon("the role is gone", async || {
        alice.get("/v1/profile/bob").await.code() == "PROFILE_PRIVATE"
    })
    .await;

    // Banned for good: everywhere, whichever way.
    done(place, &["user", "ban", "alice", "--reason", "spam"], "");
    soon("the ban counts", async || alice.get("/v1/me").await.code() == "BANNED").await;
    let answer = alice.get("/v1/me").await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.body["details"], json!({ "reason": "spam" }));
    let login = log_in(&server.nobody(), "alice", PASSWORD).await;
    assert_eq!((login.status.as_u16(), login.code()), (403, "BANNED"));
    assert!(login.header("set-cookie").is_none());
    assert_eq!(
        log_in(&server.nobody(), "alice", "wrong password").await.code(),
        "INVALID_CREDENTIALS"
    );
    assert_eq!(key.get("/v1/profile/alice").await.code(), "BANNED");
    let graphql = alice.graphql("{ __typename }", json!({})).await;
    assert_eq!((graphql.status.as_u16(), graphql.code()), (200, "BANNED"));
    let cookie = server
        .request(Method::GET, "/v1/me")
        .header(header::COOKIE, format!("bambisleep_session={}", alice.token()));
    assert_eq!(send(cookie).await.code(), "BANNED");
    assert_eq!(bob.get("/v1/profile/alice").await.status, 200);

    done(place, &["user", "unban", "alice"], "");
    soon("the ban is over", async || alice.get("/v1/me").await.status == 200).await;
    let until = (chrono::Utc::now() + chrono::Duration::seconds(3)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    done(
        place,
        &["user", "ban", "alice", "--reason", "spam", "--until", &until],
        "",
    );
    soon("the ban counts", async || alice.get("/v1/me").await.code() == "BANNED").await;
    assert_eq!(alice.get("/v1/me").await.body["details"]["until"], until.as_str());
    eventually("the ban ends by itself", async || {
        alice.get("/v1/me").await.status == 200
    })
    .await;
    assert!(chrono::Utc::now() >= chrono::DateTime::parse_from_rfc3339(&until).unwrap());
    let past = [
        "user",
        "ban",
        "alice",
        "--reason",
        "spam",
        "--until",
        "2020-01-01T00:00:00Z",
    ];
    assert_eq!(place.run(&past, "").status.code(), Some(1));
    assert_eq!(
        place.run(&["user", "ban", "alice", "--reason", " "], "").status.code(),
        Some(1)
    );

    // A new password ends every login and no key.
    done(place, &["user", "password", "alice"], "a new password\n");
    soon("the login ends", async || {
        alice.get("/v1/me").await.code() == "INVALID_CREDENTIALS"
    })
    .await;
    assert_eq!(key.get("/v1/profile/alice").await.status, 200);
    assert_eq!(
        log_in(&server.nobody(), "alice", PASSWORD).await.code(),
        "INVALID_CREDENTIALS"
    );
    assert_eq!(log_in(&server.nobody(), "alice", "a new password").await.status, 200);
    assert_eq!(
        place.run(&["user", "password", "alice"], "short").status.code(),
        Some(1)
    );
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let place = Place::new().await;
    done(&place, &["migrate"], "");
    done(&place, &["migrate"], "");
    let database = place.database().await;
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29991231_000001_later', 0)";
    database.execute_unprepared(newer).await.unwrap();
    database.close().await.unwrap();
    for arguments in [
        &["migrate"] as &[&str],
        &["user", "create", "ada", "--role", "member"],
        &["serve"],
    ] {
        let output = place.run(arguments, PASSWORD);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let told = stderr(&output);
        assert!(
            told.contains("newer version") && told.contains("m29991231_000001_later"),
            "{told}"
        );
        assert_eq!(stdout(&output), "");
    }
}

#[tokio::test]
async fn servers_that_start_together_migrate_once() {
    if !clustered() {
        return; // About several nodes, which take Postgres.
    }
    let place = Place::new().await;
    let nodes = futures_util::future::join_all((0..3).map(|_| Server::options().place(&place).start())).await;
    let database = place.database().await;
    let count = Statement::from_string(
        database.get_database_backend(),
        "SELECT count(*) - count(DISTINCT version), count(*) FROM seaql_migrations",
    );
    let row = database.query_one_raw(count).await.unwrap().unwrap();
    assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 0);
    assert!(row.try_get_by_index::<i64>(1).unwrap() >= 1);
    database.close().await.unwrap();
    let alice = nodes[0].member("alice").await;
    for node in &nodes {
        assert_eq!(node.bearer(alice.token()).get("/v1/me").await.status, 200);
    }
}

#[tokio::test]
async fn a_request_that_is_running_is_finished_before_the_server_ends() {
    let server = Server::start().await;
    server.member("alice").await;
    assert_eq!(server.nobody().get("/readyz").await.body["database"], "ok");
    let body = json!({ "username": "alice", "password": PASSWORD }).to_string();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /v1/auth/login HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\nConnection: close\r\n\r\n",
        server.address,
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // The server says this once it reads the body: the request is running.
    let mut asked = [0; 25];
    slow.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");

    server.signal("TERM");
    eventually("the server says that it ends", async || {
        let answer = server.nobody().get("/readyz").await;
        assert_eq!(answer.body["database"], "ok");
        answer.status == 503 && answer.body["status"] == "draining"
    })
    .await;
    let refused = log_in(&server.nobody(), "alice", PASSWORD).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (503, "UNAVAILABLE"));
    assert!(refused.header("retry-after").is_some());
    slow.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("Authentication successful"),
        "{answer}"
    );

    let folder = server.place.folder().to_owned();
    let (status, log) = server.terminate().await;
    assert!(status.success(), "{log}");
    if !clustered() {
        // All is in the one file.
        let left = std::fs::metadata(folder.join("data/bambisleep.sqlite-wal")).map_or(0, |file| file.len());
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash() {
    let place = Place::new().await;
    let server = Server::options().place(&place).start().await;
    let alice = server.member("alice").await;
    let token = alice.token().to_owned();
    let names: Vec<String> = (0..20).map(|n| format!("trigger {n:02}")).collect();
    let made = futures_util::future::join_all(names.iter().map(|name| alice.trigger(name, false))).await;
    let key = alice.key(&["triggers:read"]).await;
    server.kill().await;

    let server = Server::options().place(&place).start().await;
    let data = server
        .bearer(&token)
        .data("{ triggers(first: 100) { nodes { id } } }", json!({}))
        .await;
    let nodes = data["triggers"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), made.len());
    assert!(made.iter().all(|id| nodes.iter().any(|node| node["id"] == id.as_str())));
    assert_eq!(server.bearer(&key).get("/v1/triggers").await.status, 200);
}
