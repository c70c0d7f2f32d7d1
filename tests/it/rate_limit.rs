//! The budget of each caller, and the limit on failed logins.

use futures_util::future::join_all;
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Options, PASSWORD, Place, RedisServer, Server, eventually, send};

fn limited(member: u32, anonymous: u32) -> Options {
    Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_AUTHENTICATED", &member.to_string())
        .set("BAMBISLEEP_RATE_LIMIT_ANONYMOUS", &anonymous.to_string())
        .set("BAMBISLEEP_TRUSTED_PROXIES", "127.0.0.1")
}

fn remaining(answer: &Answer) -> u32 {
    let header = |name| answer.header(name).unwrap().parse::<u32>().unwrap();
    assert!((1..=60).contains(&header("ratelimit-reset")));
    assert!(header("ratelimit-remaining") <= header("ratelimit-limit"));
    header("ratelimit-remaining")
}

/// What a caller has left, which costs nothing to ask.
async fn left(caller: &Caller<'_>) -> u32 {
    remaining(&caller.graphql("{ __typename }", json!({})).await)
}

fn assert_limited(answer: &Answer) {
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (429, "RATE_LIMITED"),
        "{:#}",
        answer.body
    );
    let details = match answer.body.get("details") {
        Some(details) => details,
        None => &answer.body["errors"][0]["extensions"]["details"],
    };
    let seconds = details["retryAfter"].as_u64().unwrap();
    assert_eq!(answer.header("retry-after").unwrap(), seconds.to_string());
    assert!((1..=900).contains(&seconds));
    assert!(answer.body.get("data").is_none());
}

/// Someone else's address.
async fn from_address(server: &Server, address: &str, path: &str, body: Value) -> Answer {
    let request = server.request(Method::POST, path).header("x-forwarded-for", address);
    send(request.json(&body)).await
}

fn login(username: &str, password: &str) -> Value {
    json!({ "username": username, "password": password })
}

#[tokio::test]
async fn the_limits_are_sixty_and_ten_unless_set() {
    let server = Server::options().with_default_limits().start().await;
    let answer = server.nobody().get("/v1/me").await;
    assert_eq!(answer.header("ratelimit-limit"), Some("10"));
    assert_eq!(remaining(&answer), 9);
    let alice = server.member("alice").await;
    let answer = alice.get("/v1/me").await;
    assert_eq!(answer.header("ratelimit-limit"), Some("60"));
    assert_eq!(remaining(&answer), 59);
    assert_eq!(left(&server.nobody()).await, 8);
}

#[tokio::test]
async fn a_member_has_one_budget_whichever_way_they_come() {
    let server = limited(60, 0).start().await;
    let alice = server.member("alice").await;
    let key = server.bearer(&alice.key(&["triggers:read"]).await);
    let data = server
        .nobody()
        .data(
            "mutation ($input: LoginInput!) { login(input: $input) { token } }",
            json!({ "input": login("alice", PASSWORD) }),
        )
        .await;
    let second = server.bearer(data["login"]["token"].as_str().unwrap());
    let start = left(&alice).await;
    assert_eq!(start, 59);
    assert_eq!(remaining(&key.get("/v1/triggers").await), start - 1);
    assert_eq!(remaining(&second.get("/v1/me").await), start - 2);
    let by_cookie = server
        .request(Method::GET, "/v1/me")
        .header(header::COOKIE, format!("bambisleep_session={}", alice.token()));
    assert_eq!(remaining(&send(by_cookie).await), start - 3);
    let answer = alice
        .graphql("{ viewer { rateLimit { limit remaining resetAt } } }", json!({}))
        .await;
    let told = &answer.body["data"]["viewer"]["rateLimit"];
    assert_eq!(told["limit"], 60);
    assert_eq!(told["remaining"], remaining(&answer));
    assert_eq!(remaining(&answer), start - 4);
    let reset = chrono::DateTime::parse_from_rfc3339(told["resetAt"].as_str().unwrap()).unwrap();
    let seconds = (reset.to_utc() - chrono::Utc::now()).num_seconds();
    assert!((-1..=61).contains(&seconds), "{seconds}");
    // Another's is another one.
    assert_eq!(left(&server.member("bob").await).await, 60);
}

#[tokio::test]
async fn each_root_field_costs_one() {
    let server = limited(1_000, 0).start().await;
    let alice = server.member("alice").await;
    let id = alice.trigger("Sleep", true).await;
    let node = format!("node(id: \"{id}\") {{ id }}");
    let with = |directive: &str| format!("node(id: \"{id}\") {directive} {{ id }}");
    let variables = json!({ "yes": true, "no": false });
    let on = "query ($yes: Boolean!, $no: Boolean!)";
    let cases = [
        ("{ __typename }".to_owned(), 0),
        (
            "{ __schema { types { name } } __type(name: \"User\") { name } a: __typename }".to_owned(),
            0,
        ),
        (format!("{{ {node} }}"), 1),
        (format!("{{ a: {node} b: {node} c: {node} d: {node} e: {node} }}"), 5),
        // The same response name is one field, and asked once.
        (format!("{{ {node} {node} ... {{ {node} }} }}"), 1),
        (
            format!(
                "{{ ...F a: {node} }} fragment F on Query {{ b: {node} ...G }} fragment G on Query {{ c: {node} a: {node} }}"
            ),
            3,
        ),
        (
            format!(
                "{on} {{ a: {} b: {} c: {} d: {} }}",
                with("@skip(if: $yes)"),
                with("@include(if: $no)"),
                with("@include(if: $yes)"),
                with("@skip(if: $no)")
            ),
            2,
        ),
        (
            format!(
                "{on} {{ ... @skip(if: $yes) {{ a: {node} }} ...F @include(if: $no) b: __typename }} fragment F on Query {{ c: {node} }}"
            ),
            0,
        ),
        // Refused before any field ran, and what was never a document.
        ("{ viewer { nonsense } }".to_owned(), 1),
        ("{ a: viewer { user { id } } b: viewer { nonsense } }".to_owned(), 1),
        ("{ viewer".to_owned(), 1),
        (String::new(), 1),
        // A field that ran and failed has cost what it costs.
        (
            "{ a: profile(username: \"nobody\") { id } b: profile(username: \"nobody\") { id } }".to_owned(),
            2,
        ),
        (
            "mutation { a: pauseTriggers { profile { id } } b: resumeTriggers { profile { id } } }".to_owned(),
            2,
        ),
    ];
    for (document, cost) in cases {
        let variables = if document.starts_with(on) {
            variables.clone()
        } else {
            json!({})
        };
        let before = left(&alice).await;
        let answer = alice.graphql(&document, variables).await;
        assert_eq!(before - remaining(&answer), cost, "{document}: {:#}", answer.body);
        assert_eq!(before - left(&alice).await, cost, "{document}");
    }

    let batch = json!([
        { "query": "{ a: viewer { user { id } } b: viewer { user { id } } }" },
        { "query": "{ __typename }" },
        { "query": "{ nonsense }" },
        { "query": "{ triggers { nodes { id } } }" },
    ]);
    let before = left(&alice).await;
    let answer = alice.post("/graphql", batch).await;
    assert_eq!(before - remaining(&answer), 4, "{:#}", answer.body);

    for (method, path, status) in [
        (Method::GET, "/v1/me", 200),
        (Method::GET, "/v1/profile/nobody", 404),
        (Method::GET, "/v1/nowhere", 404),
        (Method::PATCH, "/v1/me", 405),
        (Method::POST, "/v1/triggers", 400),
        (Method::DELETE, "/graphql", 405),
    ] {
        let before = left(&alice).await;
        let answer = send(alice.request(method, path)).await;
        assert_eq!(answer.status, status, "{path}: {:#}", answer.body);
        assert_eq!(before - remaining(&answer), 1, "{path}");
    }
    let before = left(&alice).await;
    let unparsable = alice
        .request(Method::POST, "/v1/triggers")
        .header(header::CONTENT_TYPE, "application/json");
    assert_eq!(send(unparsable.body("{")).await.status, 400);
    assert_eq!(before - left(&alice).await, 1);

    for path in ["/healthz", "/readyz", "/v1/openapi.json", "/"] {
        let answer = send(alice.request(Method::GET, path)).await;
        assert!(answer.header("ratelimit-limit").is_none(), "{path}");
    }
    assert_eq!(before - left(&alice).await, 1);
}

#[tokio::test]
async fn what_the_rest_of_the_budget_does_not_cover_is_refused_whole_and_free() {
    let server = limited(5, 0).start().await;
    let alice = server.member("alice").await;
    let pause = "mutation { a: pauseTriggers { profile { id } } b: pauseTriggers { profile { id } } c: pauseTriggers { profile { id } } }";
    let three = "{ a: viewer { triggersPaused } b: viewer { triggersPaused } c: viewer { triggersPaused } }";
    assert_eq!(remaining(&alice.graphql(three, json!({})).await), 2);
    let refused = alice.graphql(pause, json!({})).await;
    assert_limited(&refused);
    assert_eq!(remaining(&refused), 2);
    let batch = json!([{ "query": "{ viewer { user { id } } }" }, { "query": "{ a: models { name } viewer { user { id } } }" }, { "query": three }]);
    assert_limited(&alice.post("/graphql", batch).await);
    let one = alice.graphql("{ viewer { triggersPaused } }", json!({})).await;
    assert_eq!(one.body["data"]["viewer"]["triggersPaused"], false);
    assert_eq!(remaining(&alice.get("/v1/me").await), 0);
    assert_limited(&alice.get("/v1/me").await);
    assert_limited(&alice.get("/v1/nowhere").await);
    assert_limited(&alice.graphql("{ nonsense", json!({})).await);
    let as_response = alice
        .request(Method::POST, "/graphql")
        .header(header::ACCEPT, "application/graphql-response+json")
        .json(&json!({ "query": "{ viewer { triggersPaused } }" }));
    assert_limited(&send(as_response).await);
    // What is free still is.
    assert_eq!(left(&alice).await, 0);
    assert_eq!(alice.get("/v1/openapi.json").await.status, 200);
    // More than a whole budget is never covered.
    let bob = server.member("bob").await;
    let six = "{ a: __typename v1: viewer { user { id } } v2: viewer { user { id } } v3: viewer { user { id } } v4: viewer { user { id } } v5: viewer { user { id } } v6: viewer { user { id } } }";
    assert_limited(&bob.graphql(six, json!({})).await);
    assert_eq!(left(&bob).await, 5);
}

#[tokio::test]
async fn who_is_not_known_is_charged_at_their_address() {
    let server = limited(60, 10).start().await;
    let alice = server.member("alice").await;
    assert_eq!(left(&server.nobody()).await, 9);
    let wrong = server.bearer("wrong");
    for (answer, rest) in [
        (wrong.get("/v1/me").await, 8),
        (wrong.graphql("{ __typename }", json!({})).await, 7),
        (server.nobody().get("/v1/me").await, 6),
        (
            server
                .nobody()
                .graphql("{ viewer { user { id } } triggers { nodes { id } } }", json!({}))
                .await,
            5,
        ),
        (server.nobody().post("/v1/auth/login", json!({})).await, 4),
    ] {
        assert_eq!(remaining(&answer), rest, "{:#}", answer.body);
    }
    let cross_site = server
        .request(Method::POST, "/v1/auth/login")
        .header(header::ORIGIN, "https://evil.example");
    assert_eq!(remaining(&send(cross_site.json(&login("alice", PASSWORD))).await), 3);
    assert_eq!(left(&alice).await, 60);
    for _ in 0..3 {
        wrong.get("/v1/me").await;
    }
    assert_limited(&wrong.get("/v1/me").await);
    assert_limited(&server.nobody().post("/v1/auth/login", login("alice", PASSWORD)).await);
    // A member does not pay for the address, nor another address for this one.
    assert_eq!(alice.get("/v1/me").await.status, 200);
    assert_eq!(
        from_address(&server, "203.0.113.5", "/v1/auth/login", login("alice", PASSWORD))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_limit_of_nothing_is_no_limit() {
    let server = limited(0, 0).start().await;
    let alice = server.member("alice").await;
    for caller in [&alice, &server.nobody(), &server.bearer("wrong")] {
        for answer in [
            caller.get("/v1/me").await,
            caller.graphql("{ viewer { user { id } } }", json!({})).await,
        ] {
            assert!(
                answer
                    .headers
                    .keys()
                    .all(|name| !name.as_str().starts_with("ratelimit"))
            );
        }
    }
    let data = alice.data("{ viewer { rateLimit { limit } } }", json!({})).await;
    assert_eq!(data["viewer"]["rateLimit"], Value::Null);
}

#[tokio::test]
async fn sixty_of_two_hundred_at_once_pass() {
    let server = limited(60, 0).start().await;
    let alice = server.member("alice").await;
    let ask = (0..200).map(|n| {
        let alice = alice.clone();
        async move {
            match n % 2 {
                0 => alice.get("/v1/me").await,
                _ => alice.graphql("{ viewer { user { id } } }", json!({})).await,
            }
        }
    });
    let answers = join_all(ask).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(passed, 60);
    answers
        .iter()
        .filter(|answer| answer.status != 200)
        .for_each(assert_limited);
    assert_eq!(left(&alice).await, 0);
}

#[tokio::test]
async fn the_sixth_login_after_five_failures_is_refused_even_if_right() {
    let server = limited(0, 0).start().await;
    server.member("alice").await;
    server.member("bob").await;
    let post = async |address: &str, username: &str, password: &str| {
        from_address(&server, address, "/v1/auth/login", login(username, password)).await
    };
    let (here, there) = ("203.0.113.5", "203.0.113.6");
    for username in ["alice", "ALICE", "Alice", "aLiCe"] {
        assert_eq!(
            post(here, username, "wrong password").await.code(),
            "INVALID_CREDENTIALS"
        );
    }
    // A success takes nothing back of the failures, and is none itself.
    assert_eq!(post(here, "alice", PASSWORD).await.status, 200);
    assert_eq!(
        post(here, "alice", "wrong password").await.code(),
        "INVALID_CREDENTIALS"
    );
    for password in [PASSWORD, "wrong password"] {
        let refused = post(here, "alicE", password).await;
        assert_limited(&refused);
        assert!(refused.header("set-cookie").is_none());
    }
    let graphql = json!({
        "query": "mutation ($input: LoginInput!) { login(input: $input) { token } }",
        "variables": { "input": login("alice", PASSWORD) },
    });
    let answer = from_address(&server, here, "/graphql", graphql).await;
    assert_eq!(answer.code(), "RATE_LIMITED");
    assert!(answer.body["errors"][0]["extensions"]["details"]["retryAfter"].is_u64());

    assert_eq!(post(here, "bob", PASSWORD).await.status, 200);
    assert_eq!(post(there, "alice", PASSWORD).await.status, 200);
    // An unknown name is limited like a known one, or it would be told apart.
    for _ in 0..5 {
        assert_eq!(post(here, "nobody", PASSWORD).await.code(), "INVALID_CREDENTIALS");
    }
    assert_limited(&post(here, "nobody", PASSWORD).await);
    // One's own password is guessed no faster by changing it or by leaving.
    let token = post(there, "bob", PASSWORD)
        .await
        .header("set-cookie")
        .unwrap()
        .to_owned();
    let bob = server.bearer(token.split(['=', ';']).nth(1).unwrap());
    for _ in 0..5 {
        let change = json!({ "currentPassword": "wrong password", "newPassword": "a new password" });
        assert_eq!(
            bob.post("/v1/auth/password", change).await.code(),
            "INVALID_CREDENTIALS"
        );
    }
    assert_limited(&bob.post("/v1/me/delete", json!({ "password": PASSWORD })).await);
    assert_eq!(bob.get("/v1/me").await.status, 200);
}

#[tokio::test]
async fn parallel_guesses_do_not_outrun_the_limit() {
    let server = limited(0, 0).start().await;
    server.member("alice").await;
    let guesses = (0..20).map(|n| {
        let nobody = server.nobody();
        async move {
            nobody
                .post("/v1/auth/login", login("alice", &format!("guess number {n}")))
                .await
        }
    });
    let answers = join_all(guesses).await;
    let tried = answers
        .iter()
        .filter(|answer| answer.code() == "INVALID_CREDENTIALS")
        .count();
    assert_eq!(tried, 5);
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer.code(), "INVALID_CREDENTIALS" | "RATE_LIMITED"))
    );
    assert_limited(&server.nobody().post("/v1/auth/login", login("alice", PASSWORD)).await);
}

#[tokio::test]
async fn nodes_share_budgets_and_failed_logins_over_redis() {
    let mut redis = RedisServer::start().await;
    let place = Place::new().await;
    let node = || limited(60, 0).place(&place).set("REDIS_URL", &redis.url());
    let (one, two) = (node().start().await, node().start().await);
    let alice = one.member("alice").await;
    let bob = one.member("bob").await;
    let alice_on_two = two.bearer(alice.token());
    let ask = (0..100).map(|n| {
        let caller = if n % 2 == 0 {
            alice.clone()
        } else {
            alice_on_two.clone()
        };
        async move { caller.get("/v1/me").await }
    });
    let answers = join_all(ask).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 60);
    // Now both nodes have seen that nothing is left, whichever of them was told of the last ones.
    for caller in [&alice, &alice_on_two] {
        assert_limited(&caller.get("/v1/me").await);
    }
    for server in [&one, &two, &one, &two, &one] {
        let answer = server
            .nobody()
            .post("/v1/auth/login", login("bob", "wrong password"))
            .await;
        assert_eq!(answer.code(), "INVALID_CREDENTIALS");
    }
    for server in [&one, &two] {
        assert_limited(&server.nobody().post("/v1/auth/login", login("bob", PASSWORD)).await);
    }

    // With Redis gone each node goes on alone from what it knew; with it back, together from the start.
    let state = async |server: &Server| server.nobody().get("/readyz").await;
    assert_eq!(state(&one).await.body["redis"], "ok");
    redis.kill();
    for caller in [&alice, &alice_on_two] {
        let answer = caller.get("/v1/me").await;
        assert!(matches!(answer.status.as_u16(), 200 | 429), "{}", answer.status);
    }
    assert_limited(&alice.get("/v1/me").await);
    assert_eq!(bob.get("/v1/me").await.status, 200);
    assert_eq!(bob.post("/v1/auth/ticket", json!({})).await.status, 200);
    assert_limited(&one.nobody().post("/v1/auth/login", login("bob", PASSWORD)).await);
    assert_eq!(
        one.nobody()
            .post("/v1/auth/login", login("alice", PASSWORD))
            .await
            .status,
        200
    );
    eventually("Redis is seen to be down", async || {
        state(&one).await.body["redis"] == "down"
    })
    .await;
    assert_eq!(state(&one).await.status, 200);
    redis.restart().await;
    eventually("Redis is seen to be up", async || {
        let answer = bob.get("/v1/me").await;
        assert!(answer.status == 200 || answer.status == 429, "{}", answer.status);
        state(&one).await.body["redis"] == "ok" && state(&two).await.body["redis"] == "ok"
    })
    .await;
    assert_eq!(remaining(&alice.get("/v1/me").await), 59);
    assert_eq!(remaining(&alice_on_two.get("/v1/me").await), 58);
}
