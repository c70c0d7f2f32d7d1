//! Registering, logging in and out, passwords, logins, the cookie, and leaving.

use std::time::{Duration, Instant};

use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, PASSWORD, Server, send};

const REGISTER: &str = "mutation ($input: RegisterInput!) { register(input: $input) { user { username } token } }";
const LOGIN: &str = "mutation ($input: LoginInput!) { login(input: $input) { user { username } token } }";
const LOGINS: &str = "{ viewer { logins { id isCurrent userAgent address createdAt lastSeenAt } } }";

/// Logs a member in once more.
async fn log_in<'a>(server: &'a Server, username: &str, password: &str) -> Caller<'a> {
    let input = json!({ "input": { "username": username, "password": password } });
    let data = server.nobody().data(LOGIN, input).await;
    server.bearer(data["login"]["token"].as_str().unwrap())
}

async fn is_known(caller: &Caller<'_>) -> bool {
    match caller.get("/v1/me").await {
        answer if answer.status == 200 => true,
        answer => {
            assert_eq!((answer.status.as_u16(), answer.code()), (401, "INVALID_CREDENTIALS"));
            false
        }
    }
}

async fn with_cookie(server: &Server, method: Method, path: &str, cookie: &str) -> Answer {
    let request = server.request(method, path);
    send(request.header(header::COOKIE, format!("theme=dark; bambisleep_session={cookie}"))).await
}

/// The session cookie of an answer: its value, and its attributes in lower case.
fn session_cookie(answer: &Answer) -> Option<(String, Vec<String>)> {
    let lines: Vec<_> = answer.headers.get_all(header::SET_COOKIE).iter().collect();
    assert!(lines.len() <= 1, "{lines:?}");
    let mut parts = lines.first()?.to_str().unwrap().split("; ");
    let value = parts.next()?.strip_prefix("bambisleep_session=")?.to_owned();
    let mut attributes: Vec<_> = parts.map(str::to_ascii_lowercase).collect();
    attributes.sort();
    Some((value, attributes))
}

fn refused_fields(answer: &Answer) -> Vec<&str> {
    let details = match answer.body.get("details") {
        Some(details) => details,
        None => &answer.body["errors"][0]["extensions"]["details"],
    };
    let mut fields: Vec<_> = details["fields"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    fields.sort_unstable();
    fields
}

#[tokio::test]
async fn a_member_registers_and_logs_in_over_both_dialects() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let registration = json!({ "username": "Alice", "password": PASSWORD, "ofAge": true });
    let answer = nobody.post("/v1/auth/register", registration.clone()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["success"], true);
    assert_eq!(answer.body["user"]["username"], "Alice");

    for taken in ["Alice", "aLICE"] {
        let again = json!({ "username": taken, "password": PASSWORD, "ofAge": true });
        let refused = nobody.post("/v1/auth/register", again.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (409, "CONFLICT"));
        assert!(session_cookie(&refused).is_none());
        assert_eq!(
            nobody.graphql(REGISTER, json!({ "input": again })).await.code(),
            "CONFLICT"
        );
    }

    let login = nobody
        .post("/v1/auth/login", json!({ "username": "ALICE", "password": PASSWORD }))
        .await;
    assert_eq!(login.status, 200);
    assert_eq!(login.body["success"], true);
    assert_eq!(login.body["message"], "Authentication successful");
    assert_eq!(login.body["user"], answer.body["user"]);
}

#[tokio::test]
async fn registration_refuses_every_field_by_its_name() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let good = json!({ "username": "alice", "password": PASSWORD, "email": "a@example.org", "ofAge": true });
    let long = |count: usize| "x".repeat(count);
    let refused: Vec<(Value, &[&str])> = vec![
        (json!({ "username": "" }), &["username"]),
        (json!({ "username": "ab" }), &["username"]),
        (json!({ "username": long(33) }), &["username"]),
        (json!({ "username": "al ice" }), &["username"]),
        (json!({ "username": "al.ice" }), &["username"]),
        (json!({ "username": "älice" }), &["username"]),
        (json!({ "username": " alice" }), &["username"]),
        (json!({ "username": "ali\u{0}ce" }), &["username"]),
        (json!({ "username": "alice\n" }), &["username"]),
        (json!({ "username": "\u{ff41}lice" }), &["username"]),
        (json!({ "username": "deleted" }), &["username"]),
        (json!({ "username": "DeLeTeD" }), &["username"]),
        (json!({ "password": "1234567" }), &["password"]),
        (json!({ "password": long(257) }), &["password"]),
        (json!({ "password": "é".repeat(7) }), &["password"]),
        (json!({ "email": "" }), &["email"]),
        (json!({ "email": "nobody" }), &["email"]),
        (json!({ "email": "@example.org" }), &["email"]),
        (json!({ "email": "a@" }), &["email"]),
        (json!({ "email": "a@b@c" }), &["email"]),
        (json!({ "email": "a b@example.org" }), &["email"]),
        (json!({ "email": "a\u{0}@example.org" }), &["email"]),
        (json!({ "email": format!("a@{}", long(300)) }), &["email"]),
        (json!({ "ofAge": false }), &["ofAge"]),
        (
            json!({ "username": "x", "password": "y", "email": "z", "ofAge": false }),
            &["email", "ofAge", "password", "username"],
        ),
    ];
    for (change, fields) in refused {
        let mut input = good.clone();
        for (name, value) in change.as_object().unwrap() {
            input[name] = value.clone();
        }
        let rest = nobody.post("/v1/auth/register", input.clone()).await;
        assert_eq!(
            (rest.status.as_u16(), rest.code()),
            (400, "VALIDATION_FAILED"),
            "{change}"
        );
        assert_eq!(refused_fields(&rest), fields, "{change}");
        assert!(session_cookie(&rest).is_none());
        let graphql = nobody.graphql(REGISTER, json!({ "input": input })).await;
        assert_eq!(
            (graphql.status.as_u16(), graphql.code()),
            (200, "VALIDATION_FAILED"),
            "{change}"
        );
        assert_eq!(refused_fields(&graphql), fields, "{change}");
        assert_eq!(graphql.body["data"]["register"], Value::Null);
    }

    for (change, pointer) in [
        (json!({ "username": null }), "/username"),
        (json!({ "username": 7 }), "/username"),
        (json!({ "password": ["a"] }), "/password"),
        (json!({ "ofAge": "true" }), "/ofAge"),
        (json!({ "ofAge": 1 }), "/ofAge"),
    ] {
        let mut input = good.clone();
        for (name, value) in change.as_object().unwrap() {
            input[name] = value.clone();
        }
        let rest = nobody.post("/v1/auth/register", input).await;
        assert_eq!((rest.status.as_u16(), rest.code()), (400, "BAD_REQUEST"), "{change}");
        assert_eq!(rest.body["details"]["path"], pointer, "{change}");
    }
    for missing in ["username", "password", "ofAge"] {
        let mut input = good.clone();
        input.as_object_mut().unwrap().remove(missing);
        let rest = nobody.post("/v1/auth/register", input).await;
        assert_eq!((rest.status.as_u16(), rest.code()), (400, "BAD_REQUEST"), "{missing}");
    }

    // The limits themselves are inside, and what was refused above has left nothing.
    for (username, password) in [
        ("a-1", "12345678".to_owned()),
        (&long(32), "é".repeat(256)),
        ("alice", long(8)),
    ] {
        let input = json!({ "username": username, "password": password, "email": null, "ofAge": true });
        let answer = nobody.post("/v1/auth/register", input).await;
        assert_eq!(answer.status, 200, "{:#}", answer.body);
    }
}

#[tokio::test]
async fn one_of_many_who_register_a_name_at_once_gets_it() {
    let server = Server::start().await;
    let names = ["racer", "Racer", "RACER", "rAcEr", "racer", "raceR", "RAcer", "racER"];
    let ask = names.map(|name| {
        let input = json!({ "username": name, "password": PASSWORD, "ofAge": true });
        let nobody = server.nobody();
        async move { nobody.post("/v1/auth/register", input).await }
    });
    let answers = futures_util::future::join_all(ask).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|answer| answer.code() == "CONFLICT"), "{lost:?}");
    // The winner's name and login are the ones that count.
    let (cookie, _) = session_cookie(won[0]).unwrap();
    let me = server.bearer(&cookie).get("/v1/me").await;
    assert_eq!(me.body["username"], won[0].body["user"]["username"]);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_are_told_alike() {
    let server = Server::start().await;
    server.member("alice").await;
    let nobody = server.nobody();
    let try_as = async |username: &str| {
        let start = Instant::now();
        let input = json!({ "username": username, "password": "wrong horse battery" });
        let answer = nobody.post("/v1/auth/login", input).await;
        assert!(session_cookie(&answer).is_none());
        (answer, start.elapsed())
    };
    let (mut wrong, mut unknown) = (Duration::MAX, Duration::MAX);
    for name in ["nobody-1", "nobody-2", "nobody-3"] {
        let (known_answer, known_took) = try_as("alice").await;
        let (answer, took) = try_as(name).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (401, "INVALID_CREDENTIALS"));
        assert_eq!(answer.body, known_answer.body);
        assert_eq!(answer.status, known_answer.status);
        wrong = wrong.min(known_took);
        unknown = unknown.min(took);
    }
    // Both hash: a look into the database alone would take a small part of that.
    assert!(unknown > wrong / 3, "unknown: {unknown:?}, wrong password: {wrong:?}");

    // Names that cannot exist are unknown too, whatever they are made of.
    for name in ["", "a\u{0}b", "deleted", "O'Brien; --", &"x".repeat(10_000)] {
        let (answer, _) = try_as(name).await;
        assert_eq!(answer.code(), "INVALID_CREDENTIALS", "{name:?}: {:#}", answer.body);
    }
    let alice = server.member("caller").await;
    for path in [
        "/v1/profile/a%00b",
        "/v1/triggers?search=%00",
        "/v1/triggers?creator=%00",
        "/v1/profiles?search=%00",
    ] {
        let answer = alice.get(path).await;
        assert!(matches!(answer.status.as_u16(), 200 | 404), "{path}: {:#}", answer.body);
    }
    let rest = nobody.post("/v1/auth/login", json!({ "username": "alice" })).await;
    assert_eq!((rest.status.as_u16(), rest.code()), (400, "BAD_REQUEST"));
    let graphql = nobody
        .graphql(
            LOGIN,
            json!({ "input": { "username": "alice", "password": "wrong horse battery" } }),
        )
        .await;
    assert_eq!((graphql.status.as_u16(), graphql.code()), (200, "INVALID_CREDENTIALS"));
    assert_eq!(graphql.body["errors"][0]["extensions"]["status"], 401);
}

#[tokio::test]
async fn the_right_password_is_right_however_often_it_comes_at_once() {
    let server = Server::start().await;
    server.member("alice").await;
    let input = json!({ "username": "alice", "password": PASSWORD });
    let ask = (0..12).map(|_| {
        let (nobody, input) = (server.nobody(), input.clone());
        async move { nobody.post("/v1/auth/login", input).await }
    });
    let answers = futures_util::future::join_all(ask).await;
    let mut tokens = Vec::new();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{:#}", answer.body);
        tokens.push(session_cookie(answer).unwrap().0);
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), answers.len());
}

#[tokio::test]
async fn a_password_is_the_same_in_either_form_of_unicode() {
    let server = Server::start().await;
    let composed = "caf\u{e9} corr\u{e8}ct";
    let decomposed = "cafe\u{301} corre\u{300}ct";
    let input = json!({ "username": "alice", "password": decomposed, "ofAge": true });
    assert_eq!(server.nobody().post("/v1/auth/register", input).await.status, 200);
    for password in [composed, decomposed] {
        let input = json!({ "username": "alice", "password": password });
        let answer = server.nobody().post("/v1/auth/login", input).await;
        assert_eq!(answer.status, 200, "{password:?}: {:#}", answer.body);
    }
}

#[tokio::test]
async fn each_login_has_a_token_of_its_own_that_logout_ends() {
    let server = Server::start().await;
    let first = server.member("alice").await;
    let second = log_in(&server, "alice", PASSWORD).await;
    let third = log_in(&server, "alice", PASSWORD).await;
    assert_ne!(first.token(), second.token());
    assert_ne!(second.token(), third.token());

    let answer = second.post("/v1/auth/logout", json!({})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["success"], true);
    assert!(!is_known(&second).await);
    assert!(is_known(&first).await && is_known(&third).await);
    assert_eq!(
        second.post("/v1/auth/logout", json!({})).await.code(),
        "INVALID_CREDENTIALS"
    );
    third.data("mutation { logout { success } }", json!({})).await;
    assert!(!is_known(&third).await);
    assert!(is_known(&first).await);
    let anonymous = server.nobody().post("/v1/auth/logout", json!({})).await;
    assert_eq!((anonymous.status.as_u16(), anonymous.code()), (401, "UNAUTHENTICATED"));
}

#[tokio::test]
async fn a_member_sees_and_ends_their_own_logins_only() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    let login = server
        .request(Method::POST, "/v1/auth/login")
        .header(header::USER_AGENT, "Lynx/2.9")
        .json(&json!({ "username": "alice", "password": PASSWORD }));
    let other = server.bearer(&session_cookie(&send(login).await).unwrap().0);

    let data = alice.data(LOGINS, json!({})).await;
    let logins = data["viewer"]["logins"].as_array().unwrap();
    assert_eq!(logins.len(), 2);
    // Newest first.
    assert_eq!(logins[0]["userAgent"], "Lynx/2.9");
    assert_eq!(logins[0]["address"], "127.0.0.1");
    assert_eq!(
        (&logins[0]["isCurrent"], &logins[1]["isCurrent"]),
        (&json!(false), &json!(true))
    );
    let seen_by_other = other.data(LOGINS, json!({})).await;
    assert_eq!(seen_by_other["viewer"]["logins"][0]["isCurrent"], true);
    let rest = alice.get("/v1/auth/logins").await;
    assert_eq!(rest.status, 200);
    assert!(!rest.body.to_string().contains(alice.token()) && !rest.body.to_string().contains(other.token()));

    let id = logins[0]["id"].as_str().unwrap();
    assert!(id.starts_with("login_"), "{id}");
    let revoke = "mutation ($id: ID!) { revokeLogin(id: $id) { login { id isCurrent } } }";
    assert_eq!(bob.graphql(revoke, json!({ "id": id })).await.code(), "NOT_FOUND");
    assert_eq!(bob.delete(&format!("/v1/auth/logins/{id}")).await.status, 404);
    let node = "query ($id: ID!) { node(id: $id) { id ... on Login { userAgent } } }";
    assert_eq!(bob.graphql(node, json!({ "id": id })).await.code(), "NOT_FOUND");
    assert_eq!(
        alice.data(node, json!({ "id": id })).await["node"]["userAgent"],
        "Lynx/2.9"
    );
    for nothing in [
        "login_",
        "nonsense",
        "key_01h455vb4pex5vsknk084sn02q",
        "login_01h455vb4pex5vsknk084sn02q",
    ] {
        assert_eq!(
            alice.graphql(revoke, json!({ "id": nothing })).await.code(),
            "NOT_FOUND",
            "{nothing}"
        );
    }
    assert!(is_known(&other).await);

    let revoked = alice.data(revoke, json!({ "id": id })).await;
    assert_eq!(revoked["revokeLogin"]["login"]["id"], id);
    assert!(!is_known(&other).await);
    assert_eq!(alice.graphql(revoke, json!({ "id": id })).await.code(), "NOT_FOUND");
    // One's own, too.
    let own = logins[1]["id"].as_str().unwrap();
    assert_eq!(alice.delete(&format!("/v1/auth/logins/{own}")).await.status, 200);
    assert!(!is_known(&alice).await);
}

#[tokio::test]
async fn a_new_password_ends_the_other_logins_and_no_keys() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let other = log_in(&server, "alice", PASSWORD).await;
    let key = server.bearer(&alice.key(&["triggers:read"]).await);
    assert!(is_known(&other).await);
    let change = "mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { user { username } } }";
    let input = |current: &str, new: &str| json!({ "input": { "currentPassword": current, "newPassword": new } });

    let wrong = alice
        .graphql(change, input("wrong horse battery", "a new password"))
        .await;
    assert_eq!(wrong.code(), "INVALID_CREDENTIALS");
    assert_eq!(wrong.body["data"]["changePassword"], Value::Null);
    let weak = alice.graphql(change, input(PASSWORD, "short")).await;
    assert_eq!(weak.code(), "VALIDATION_FAILED");
    assert_eq!(refused_fields(&weak), ["newPassword"]);
    assert!(is_known(&other).await);

    assert_eq!(
        alice.data(change, input(PASSWORD, "a new password")).await["changePassword"]["user"]["username"],
        "alice"
    );
    assert!(!is_known(&other).await);
    assert!(is_known(&alice).await && is_known(&key).await);
    let old = json!({ "username": "alice", "password": PASSWORD });
    assert_eq!(
        server.nobody().post("/v1/auth/login", old).await.code(),
        "INVALID_CREDENTIALS"
    );
    log_in(&server, "alice", "a new password").await;

    let rest = json!({ "currentPassword": "a new password", "newPassword": PASSWORD });
    assert_eq!(alice.post("/v1/auth/password", rest).await.status, 200);
    log_in(&server, "alice", PASSWORD).await;
}

#[tokio::test]
async fn a_login_with_the_old_password_does_not_outlive_its_change() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    for round in 0..4 {
        let (old, new) = (format!("{PASSWORD}{round}"), format!("{PASSWORD}{}", round + 1));
        let current = if round == 0 { PASSWORD } else { &old };
        let logins = (0..3).map(|_| {
            let input = json!({ "username": "alice", "password": current });
            let nobody = server.nobody();
            async move { nobody.post("/v1/auth/login", input).await }
        });
        let change = json!({ "currentPassword": current, "newPassword": new });
        let (answers, changed) = tokio::join!(
            futures_util::future::join_all(logins),
            alice.post("/v1/auth/password", change)
        );
        assert_eq!(changed.status, 200, "{:#}", changed.body);
        for answer in answers {
            if let Some((token, _)) = session_cookie(&answer) {
                assert!(!is_known(&server.bearer(&token)).await, "round {round}");
            } else {
                assert_eq!(answer.code(), "INVALID_CREDENTIALS");
            }
        }
    }
}

#[tokio::test]
async fn who_leaves_takes_everything_along() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    let key = server.bearer(&alice.key(&["triggers:write"]).await);
    let other = log_in(&server, "alice", PASSWORD).await;
    let trigger = alice.trigger("Sleep now", true).await;
    let activate = "mutation ($id: ID!) { activateTrigger(id: $id) { profile { triggers { name } } } }";
    bob.data(activate, json!({ "id": trigger })).await;

    let delete = "mutation ($input: DeleteAccountInput!) { deleteAccount(input: $input) { success } }";
    let wrong = alice
        .graphql(delete, json!({ "input": { "password": "wrong horse battery" } }))
        .await;
    assert_eq!(wrong.code(), "INVALID_CREDENTIALS");
    let by_key = key.graphql(delete, json!({ "input": { "password": PASSWORD } })).await;
    assert_eq!(by_key.code(), "FORBIDDEN");
    assert!(is_known(&alice).await);

    let gone = alice.post("/v1/me/delete", json!({ "password": PASSWORD })).await;
    assert_eq!(gone.status, 200, "{:#}", gone.body);
    assert_eq!(session_cookie(&gone).unwrap().0, "");
    for caller in [&alice, &other, &key] {
        assert!(!is_known(caller).await);
    }
    assert_eq!(bob.get("/v1/profile/alice").await.code(), "NOT_FOUND");
    assert_eq!(bob.get(&format!("/v1/triggers/{trigger}")).await.code(), "NOT_FOUND");
    let data = bob
        .data(
            "{ viewer { profile { triggers { name } } consents { nodes { kind revision trigger { id } } } } }",
            json!({}),
        )
        .await;
    assert_eq!(data["viewer"]["profile"]["triggers"], json!([]));
    let receipts = data["viewer"]["consents"]["nodes"].as_array().unwrap();
    let kinds: Vec<_> = receipts
        .iter()
        .map(|receipt| receipt["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["WITHDRAWN", "ACTIVATED"]);
    assert!(receipts.iter().all(|receipt| receipt["trigger"].is_null()));
    let login = json!({ "username": "alice", "password": PASSWORD });
    assert_eq!(
        server.nobody().post("/v1/auth/login", login).await.code(),
        "INVALID_CREDENTIALS"
    );

    // Whoever takes the name is somebody else.
    let again = server.member("Alice").await;
    let me = again
        .data(
            "{ viewer { user { username } apiKeys { id } logins { id } triggersPaused } }",
            json!({}),
        )
        .await;
    assert_eq!(me["viewer"]["user"]["username"], "Alice");
    assert_eq!(me["viewer"]["apiKeys"], json!([]));
    assert_eq!(me["viewer"]["logins"].as_array().unwrap().len(), 1);
    assert!(!is_known(&alice).await && !is_known(&key).await);
}

#[tokio::test]
async fn an_email_address_is_for_its_owner_alone() {
    let server = Server::start().await;
    let input = json!({ "username": "alice", "password": PASSWORD, "email": "alice@example.org", "ofAge": true });
    let data = server.nobody().data(REGISTER, json!({ "input": input })).await;
    let alice = server.bearer(data["register"]["token"].as_str().unwrap());
    let bob = server.member_with_role("boss", "admin").await;
    assert_eq!(alice.get("/v1/me").await.body["email"], "alice@example.org");
    assert_eq!(bob.get("/v1/me").await.body["email"], Value::Null);
    let seen = bob.get("/v1/profile/alice").await;
    assert_eq!(seen.status, 200);
    assert!(!seen.body.to_string().contains("example.org"));
    let asked = bob
        .graphql("{ profile(username: \"alice\") { email } }", json!({}))
        .await;
    assert_eq!(asked.code(), "GRAPHQL_VALIDATION_FAILED");
}

#[tokio::test]
async fn the_cookie_is_the_session_token_over_both_dialects() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let expected = ["httponly", "max-age=2592000", "path=/", "samesite=lax"];
    let input = json!({ "username": "alice", "password": PASSWORD, "ofAge": true });
    let registered = nobody.graphql(REGISTER, json!({ "input": input })).await;
    let (cookie, attributes) = session_cookie(&registered).unwrap();
    assert_eq!(attributes, expected);
    assert_eq!(registered.body["data"]["register"]["token"], cookie.as_str());

    let login = json!({ "username": "alice", "password": PASSWORD });
    let graphql = nobody.graphql(LOGIN, json!({ "input": login })).await;
    assert_eq!(session_cookie(&graphql).unwrap().1, expected);
    let rest = nobody.post("/v1/auth/login", login.clone()).await;
    let (rest_cookie, attributes) = session_cookie(&rest).unwrap();
    assert_eq!(attributes, expected);
    assert!(!rest.body.to_string().contains(&rest_cookie));

    // As a cookie and as a Bearer it is the same login, which the one ends for the other.
    let me = with_cookie(&server, Method::GET, "/v1/me", &cookie).await;
    assert_eq!(me.body["username"], "alice");
    assert!(session_cookie(&me).is_none());
    assert!(is_known(&server.bearer(&cookie)).await);
    let out = with_cookie(&server, Method::POST, "/v1/auth/logout", &cookie).await;
    assert_eq!(out.status, 200);
    let (value, attributes) = session_cookie(&out).unwrap();
    assert_eq!(value, "");
    assert_eq!(attributes, ["httponly", "max-age=0", "path=/", "samesite=lax"]);
    assert!(!is_known(&server.bearer(&cookie)).await);
    let out = server
        .request(Method::POST, "/graphql")
        .header(header::COOKIE, format!("bambisleep_session={rest_cookie}"))
        .json(&json!({ "query": "mutation { logout { success } }" }));
    assert_eq!(session_cookie(&send(out).await).unwrap().0, "");
    assert!(!is_known(&server.bearer(&rest_cookie)).await);

    // A stale cookie, or one that is none, counts as no cookie: it does not keep anyone from logging in.
    let key = server.member("bob").await.key(&["profile:read"]).await;
    for stale in [cookie.as_str(), "", "garbage", "AAAAAAAAAAAAAAAAAAAAAA", &key] {
        let answer = with_cookie(&server, Method::GET, "/v1/me", stale).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (401, "UNAUTHENTICATED"),
            "{stale:?}"
        );
        let again = server
            .request(Method::POST, "/v1/auth/login")
            .header(header::COOKIE, format!("bambisleep_session={stale}"))
            .json(&login);
        assert_eq!(send(again).await.status, 200);
    }
}

#[tokio::test]
async fn the_cookie_is_secure_behind_https() {
    let server = Server::options()
        .set("BAMBISLEEP_PUBLIC_URL", "https://chat.example")
        .start()
        .await;
    let input = json!({ "username": "alice", "password": PASSWORD, "ofAge": true });
    let answer = server.nobody().post("/v1/auth/register", input).await;
    let (_, attributes) = session_cookie(&answer).unwrap();
    assert_eq!(
        attributes,
        ["httponly", "max-age=2592000", "path=/", "samesite=lax", "secure"]
    );
}

#[tokio::test]
async fn wrong_credentials_are_never_nobody() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    let ticket = alice.post("/v1/auth/ticket", json!({})).await.body["ticket"]
        .as_str()
        .unwrap()
        .to_owned();
    let wrong = [
        "Bearer nonsense".to_owned(),
        "Bearer ".to_owned(),
        "Bearer".to_owned(),
        "Bearer bsc_nonsense".to_owned(),
        "Bearer AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        format!("Bearer {ticket}"),
        format!("Basic {}", alice.token()),
        format!("Token {}", alice.token()),
        alice.token().to_owned(),
    ];
    let login = json!({ "username": "alice", "password": PASSWORD });
    for authorization in wrong {
        let with = |method, path: &str| {
            let request = server
                .request(method, path)
                .header(header::AUTHORIZATION, &authorization);
            // A good cookie beside it changes nothing: the Bearer wins.
            request.header(header::COOKIE, format!("bambisleep_session={}", bob.token()))
        };
        let rest = [
            with(Method::GET, "/v1/me"),
            with(Method::GET, "/v1/nowhere"),
            with(Method::POST, "/v1/auth/login").json(&login),
        ];
        for request in rest {
            let answer = send(request).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (401, "INVALID_CREDENTIALS"),
                "{authorization}"
            );
            assert_eq!(answer.body["error"], true);
            assert!(session_cookie(&answer).is_none());
        }
        for query in ["{ __typename }", "{ viewer { user { id } } }", "{ nonsense"] {
            let answer = send(with(Method::POST, "/graphql").json(&json!({ "query": query }))).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (401, "INVALID_CREDENTIALS"),
                "{authorization}"
            );
        }
    }

    let both = server
        .request(Method::GET, "/v1/me")
        .header(header::AUTHORIZATION, format!("bearer {}", alice.token()))
        .header(header::COOKIE, format!("bambisleep_session={}", bob.token()));
    assert_eq!(send(both).await.body["username"], "alice");
}

#[tokio::test]
async fn nobody_reaches_what_is_for_nobody_alone() {
    let server = Server::start().await;
    let nobody = server.nobody();
    for (method, path) in [
        (Method::GET, "/v1/me"),
        (Method::GET, "/v1/profile/alice"),
        (Method::GET, "/v1/triggers"),
        (Method::POST, "/v1/triggers"),
        (Method::GET, "/v1/keys"),
        (Method::POST, "/v1/auth/ticket"),
        (Method::GET, "/v1/events"),
    ] {
        let answer = send(nobody.request(method.clone(), path)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (401, "UNAUTHENTICATED"),
            "{method} {path}"
        );
    }
    assert_eq!(nobody.get("/v1/nowhere").await.code(), "NOT_FOUND");
    let answer = nobody.graphql("{ viewer { user { id } } }", json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (200, "UNAUTHENTICATED"));
    // What is not for nobody keeps all of an operation from running.
    let mixed = "mutation ($input: RegisterInput!) { register(input: $input) { token } logout { success } }";
    let input = json!({ "input": { "username": "alice", "password": PASSWORD, "ofAge": true } });
    assert_eq!(nobody.graphql(mixed, input).await.code(), "UNAUTHENTICATED");
    server.member("alice").await;
    for path in ["/v1/openapi.json", "/healthz", "/readyz"] {
        assert_eq!(nobody.get(path).await.status, 200, "{path}");
    }
    let introspection = nobody.data("{ __schema { queryType { name } } }", json!({})).await;
    assert_eq!(introspection["__schema"]["queryType"]["name"], "Query");
}

#[tokio::test]
async fn the_log_holds_no_secrets() {
    let server = Server::options().set("RUST_LOG", "trace").start().await;
    let new = "another staple battery";
    let wrong = "a wrong password entirely";
    let alice = server.member("alice").await;
    let nobody = server.nobody();
    let mut secrets = vec![
        PASSWORD.to_owned(),
        new.to_owned(),
        wrong.to_owned(),
        alice.token().to_owned(),
    ];
    let login = nobody
        .post("/v1/auth/login", json!({ "username": "alice", "password": PASSWORD }))
        .await;
    secrets.push(session_cookie(&login).unwrap().0);
    with_cookie(&server, Method::GET, "/v1/me", secrets.last().unwrap()).await;
    for input in [
        json!({ "username": "alice", "password": wrong }),
        json!({ "username": 7, "password": [wrong] }),
    ] {
        nobody.post("/v1/auth/login", input.clone()).await;
        nobody.graphql(LOGIN, json!({ "input": input })).await;
    }
    let inline =
        format!("mutation {{ login(input: {{ username: \"alice\", password: \"{wrong}\" }}) {{ nonsense }} }}");
    nobody.graphql(&inline, json!({})).await;
    let short = json!({ "username": "x", "password": wrong, "ofAge": false });
    nobody.post("/v1/auth/register", short).await;
    alice
        .post(
            "/v1/auth/password",
            json!({ "currentPassword": wrong, "newPassword": new }),
        )
        .await;
    let changed = alice
        .post(
            "/v1/auth/password",
            json!({ "currentPassword": PASSWORD, "newPassword": new }),
        )
        .await;
    assert_eq!(changed.status, 200);
    let key = alice.key(&["triggers:read"]).await;
    assert_eq!(server.bearer(&key).get("/v1/triggers").await.status, 200);
    server.bearer("bsc_a-key-that-is-none").get("/v1/triggers").await;
    let ticket = alice.post("/v1/auth/ticket", json!({})).await;
    secrets.extend([
        key,
        "bsc_a-key-that-is-none".into(),
        ticket.body["ticket"].as_str().unwrap().into(),
    ]);
    let deleted = alice.post("/v1/me/delete", json!({ "password": new })).await;
    assert_eq!(deleted.status, 200);

    let (_, log) = server.terminate().await;
    assert!(log.len() > 1_000 && log.contains("TRACE"), "the log is there");
    for secret in secrets {
        if let Some(line) = log.lines().find(|line| line.contains(&secret)) {
            panic!("{secret} is in the log: {line}");
        }
    }
}
