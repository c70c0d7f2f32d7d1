//! GraphQL over HTTP: statuses, batches, methods, and what errors look like.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Server, node, send};

const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";

fn post<'a>(caller: &Caller<'a>, body: &Value) -> RequestBuilder {
    caller.request(Method::POST, "/graphql").json(body)
}

/// The code and path of each error, all of which have what the protocol says.
fn errors(answer: &Answer) -> Vec<(&str, Value)> {
    let errors = answer.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let read = errors.iter().map(|error| {
        let extensions = &error["extensions"];
        assert!(
            extensions["status"].is_u64() && extensions["details"].is_object(),
            "{error}"
        );
        (extensions["code"].as_str().unwrap(), error["path"].clone())
    });
    read.collect()
}

#[tokio::test]
async fn every_audit_of_graphql_over_http_is_ok() {
    let server = Server::start().await;
    let said = node("audit.mjs", &[&server.url("/graphql")], "").await;
    assert!(said.contains("61 of 61 audits ok"), "{said}");
}

#[tokio::test]
async fn a_well_formed_request_is_200_as_json_and_keeps_its_status_as_graphql_response() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let nobody = server.nobody();
    let key = server.bearer(&alice.key(&["profile:read"]).await);
    let trigger = "{ trigger(id: \"trigger_x\") { id } }";
    for (caller, query, variables, status, code) in [
        (&alice, "{ __typename }", json!(null), 200, ""),
        (&alice, "{", json!(null), 400, "GRAPHQL_PARSE_FAILED"),
        (&alice, "", json!(null), 400, "GRAPHQL_PARSE_FAILED"),
        (&alice, "{ nonsense }", json!(null), 400, "GRAPHQL_VALIDATION_FAILED"),
        (
            &alice,
            "query A { __typename } query B { __typename }",
            json!(null),
            400,
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            &alice,
            "query ($n: Int!) { triggers(first: $n) { nodes { id } } }",
            json!({ "n": "1" }),
            400,
            "BAD_REQUEST",
        ),
        (
            &alice,
            "query ($n: Int!) { triggers(first: $n) { nodes { id } } }",
            json!({}),
            400,
            "BAD_REQUEST",
        ),
        (&nobody, "{ viewer { email } }", json!(null), 401, "UNAUTHENTICATED"),
        (&key, trigger, json!(null), 403, "FORBIDDEN"),
        // A field that fails is part of a success.
        (&alice, trigger, json!(null), 200, "NOT_FOUND"),
    ] {
        let body = json!({ "query": query, "variables": variables });
        let answer = send(post(caller, &body).header("accept", GRAPHQL_RESPONSE)).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{query}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/graphql-response+json; charset=utf-8")
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("x-request-id").is_some());
        // No data without execution, and data with it.
        assert_eq!(answer.body.get("data").is_some(), status == 200, "{query}");
        errors(&answer);
        let json = send(post(caller, &body).header("accept", "application/json")).await;
        assert_eq!((json.status.as_u16(), json.code()), (200, code), "{query}");
        assert_eq!(json.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(json.body, answer.body);
    }
}

#[tokio::test]
async fn a_request_refused_as_a_whole_keeps_its_status_whatever_was_asked_for() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let query = json!({ "query": "{ __typename }" });
    let of_body = |body: &'static str| {
        nobody
            .request(Method::POST, "/graphql")
            .header("content-type", "application/json")
            .body(body)
    };
    let elsewhere = "http://elsewhere.example";
    let cases = [
        (
            "a wrong Bearer",
            post(&server.bearer("wrong"), &query),
            401,
            "INVALID_CREDENTIALS",
        ),
        (
            "another scheme",
            post(&nobody, &query).header("authorization", "Basic YTpi"),
            401,
            "INVALID_CREDENTIALS",
        ),
        (
            "an empty Bearer",
            post(&nobody, &query).header("authorization", "Bearer "),
            401,
            "INVALID_CREDENTIALS",
        ),
        (
            "another site",
            post(&nobody, &query).header("origin", elsewhere),
            403,
            "CROSS_SITE",
        ),
        (
            "no site",
            post(&nobody, &query).header("origin", "null"),
            403,
            "CROSS_SITE",
        ),
        (
            "a cross-site fetch",
            post(&nobody, &query).header("sec-fetch-site", "cross-site"),
            403,
            "CROSS_SITE",
        ),
        (
            "5 MiB",
            of_body("").body(" ".repeat(5 * 1024 * 1024)),
            413,
            "PAYLOAD_TOO_LARGE",
        ),
        (
            "5 MiB in chunks",
            of_body("").body(reqwest::Body::wrap_stream(futures_util::stream::iter(
                (0..80).map(|_| Ok::<_, std::io::Error>(" ".repeat(64 * 1024))),
            ))),
            413,
            "PAYLOAD_TOO_LARGE",
        ),
        (
            "text",
            nobody.request(Method::POST, "/graphql").body("{ __typename }"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            "a document as such",
            nobody
                .request(Method::POST, "/graphql")
                .header("content-type", "application/graphql")
                .body("{ __typename }"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        ("no JSON", of_body("{"), 400, "BAD_REQUEST"),
        ("no body", of_body(""), 400, "BAD_REQUEST"),
        ("a number", of_body("1"), 400, "BAD_REQUEST"),
        ("no query", of_body("{}"), 400, "BAD_REQUEST"),
        ("a query that is none", of_body("{\"query\":1}"), 400, "BAD_REQUEST"),
        (
            "variables that are none",
            of_body("{\"query\":\"{__typename}\",\"variables\":[]}"),
            400,
            "BAD_REQUEST",
        ),
        ("an empty batch", of_body("[]"), 400, "BAD_REQUEST"),
        (
            "a batch of 11",
            post(&nobody, &json!(vec![query.clone(); 11])),
            400,
            "QUERY_TOO_COMPLEX",
        ),
        (
            "a mutation by GET",
            nobody.request(Method::GET, "/graphql?query=mutation%7Blogout%7Bsuccess%7D%7D"),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            "PUT",
            nobody.request(Method::PUT, "/graphql").json(&query),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            "DELETE",
            nobody.request(Method::DELETE, "/graphql"),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            "GET of nothing",
            nobody.request(Method::GET, "/graphql"),
            400,
            "BAD_REQUEST",
        ),
        (
            "GET of broken variables",
            nobody.request(Method::GET, "/graphql?query=%7B__typename%7D&variables=%7B"),
            400,
            "BAD_REQUEST",
        ),
    ];
    for (name, request, status, code) in cases {
        for accept in ["application/json", GRAPHQL_RESPONSE] {
            let Some(again) = request.try_clone() else { continue };
            let answer = send(again.header("accept", accept)).await;
            check(name, &answer, status, code);
        }
        if request.try_clone().is_none() {
            check(name, &send(request).await, status, code);
        }
    }

    fn check(name: &str, answer: &Answer, status: u16, code: &str) {
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{name}");
        assert!(answer.body.get("data").is_none(), "{name}");
        errors(answer);
        let allow = match name {
            "a mutation by GET" => Some("POST"),
            "PUT" | "DELETE" => Some("GET, POST"),
            _ => None,
        };
        assert_eq!(answer.header("allow"), allow, "{name}");
    }

    // The site's own pages may call, and a Bearer is not sent by a browser of itself.
    let own = post(&nobody, &query).header("origin", server.url(""));
    assert_eq!(send(own).await.status, 200);
    let alice = server.member("alice").await;
    assert_eq!(send(post(&alice, &query).header("origin", elsewhere)).await.status, 200);
    let read = nobody
        .request(Method::GET, "/graphql?query=%7B__typename%7D")
        .header("origin", elsewhere);
    assert_eq!(send(read).await.status, 200);
}

#[tokio::test]
async fn a_request_of_which_nothing_ran_for_the_rate_limit_is_429() {
    let server = Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_AUTHENTICATED", "4")
        .start()
        .await;
    let alice = server.member("alice").await;
    let five: String = (0..5).map(|n| format!("a{n}: viewer {{ email }} ")).collect();
    let whole = alice.graphql(&format!("{{ {five} }}"), Value::Null).await;
    assert_eq!((whole.status.as_u16(), whole.code()), (429, "RATE_LIMITED"));
    assert!(whole.body.get("data").is_none());
    let seconds: u64 = whole.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(whole.body["errors"][0]["extensions"]["details"]["retryAfter"], seconds);
    // It was not charged; the batch is, whole.
    let one = json!({ "query": "{ viewer { email } }" });
    let batch = send(post(&alice, &json!([one, one, one]))).await;
    assert_eq!(
        (batch.status.as_u16(), batch.header("ratelimit-remaining")),
        (200, Some("1"))
    );
    assert_eq!(batch.header("ratelimit-limit"), Some("4"));
    let batch = send(post(&alice, &json!([one, one]))).await;
    assert_eq!((batch.status.as_u16(), batch.code()), (429, "RATE_LIMITED"));
    // What is free goes on.
    let free = alice
        .graphql("{ __typename __schema { queryType { name } } }", Value::Null)
        .await;
    assert_eq!(
        (free.status.as_u16(), free.header("ratelimit-remaining")),
        (200, Some("1"))
    );
}

#[tokio::test]
async fn a_batch_answers_in_order_and_each_of_it_for_itself() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let trigger = "mutation ($n: String!) { createTrigger(input: { name: $n, content: \"c\" }) { trigger { name } } }";
    let batch = json!([
        { "query": trigger, "variables": { "n": "first" } },
        { "query": "{ nonsense }" },
        { "query": "{ triggers { nodes { name } } }" },
        { "query": trigger, "variables": { "n": "first" } },
        { "query": "query A { a: __typename } query B { b: __typename }", "operationName": "B" },
        { "query": "{" },
    ]);
    for accept in ["application/json", GRAPHQL_RESPONSE] {
        let one = send(post(&alice, &json!([{ "query": "{ __typename }" }])).header("accept", accept)).await;
        assert_eq!(
            (one.status.as_u16(), one.body),
            (200, json!([{ "data": { "__typename": "Query" } }]))
        );
    }
    let answer = send(post(&alice, &batch)).await;
    assert_eq!(answer.status, 200);
    let answers = answer.body.as_array().unwrap();
    assert_eq!(answers.len(), 6);
    let code = |nth: usize| {
        answers[nth]["errors"][0]["extensions"]["code"]
            .as_str()
            .unwrap_or_default()
    };
    assert_eq!(answers[0]["data"]["createTrigger"]["trigger"]["name"], "first");
    assert_eq!(code(1), "GRAPHQL_VALIDATION_FAILED");
    // One after the other: the second read what the first wrote.
    assert_eq!(answers[2]["data"]["triggers"]["nodes"], json!([{ "name": "first" }]));
    assert_eq!(
        (code(3), &answers[3]["data"]["createTrigger"]),
        ("CONFLICT", &json!(null))
    );
    assert_eq!(answers[4], json!({ "data": { "b": "Query" } }));
    assert_eq!(code(5), "GRAPHQL_PARSE_FAILED");
}

#[tokio::test]
async fn a_browser_gets_the_explorer_and_programs_get_answers() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = nobody
        .request(Method::GET, "/graphql")
        .header("accept", browser)
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    assert!(
        page.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let query = "/graphql?query=query($f:Int)%7Ba:__typename%20...@include(if:true)%7Bb:__typename%7D%7D&variables=%7B%7D&extensions=";
    let answer = nobody.get(query).await;
    // A variable that nobody uses is refused; without it, GET answers as POST does.
    assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED");
    let answer = nobody.get(&query.replace("query($f:Int)", "query")).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body),
        (200, &json!({ "data": { "a": "Query", "b": "Query" } }))
    );
    let head = nobody
        .request(Method::HEAD, "/graphql?query=%7B__typename%7D")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (head.status().as_u16(), head.headers()["content-type"].to_str().unwrap()),
        (200, "application/json; charset=utf-8")
    );
}

#[tokio::test]
async fn what_fails_is_null_with_a_path_and_the_rest_is_answered_in_the_order_asked_for() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    bob.data(
        "mutation { updateProfile(username: \"bob\", input: { isPublic: false }) { profile { id } } }",
        Value::Null,
    )
    .await;
    let document = "{ z: viewer { user { username id } } a: profile(username: \"bob\") { id }
         trigger(id: \"trigger_x\") { id } ...R b: viewer { email } node(id: \"nothing\") { id } }
         fragment R on Query { m: profile(username: \"alice\") { level xp username } }";
    let answer = alice.graphql(document, Value::Null).await;
    assert_eq!(answer.status, 200);
    let keys: Vec<_> = answer.body["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["z", "a", "trigger", "m", "b", "node"]);
    let keys: Vec<_> = answer.body["data"]["m"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["level", "xp", "username"]);
    let mut failed = errors(&answer);
    failed.sort_by_key(|(_, path)| path.to_string());
    assert_eq!(
        failed,
        [
            ("PROFILE_PRIVATE", json!(["a"])),
            ("NOT_FOUND", json!(["node"])),
            ("NOT_FOUND", json!(["trigger"])),
        ]
    );
    for key in ["a", "trigger", "node"] {
        assert_eq!(answer.body["data"][key], Value::Null);
    }
    let status = &answer.body["errors"][0]["extensions"]["status"];
    assert!([json!(403), json!(404)].contains(status));
    assert!(answer.body["errors"][0]["locations"][0]["line"].is_u64());
    // Errors come before data, for people who read answers.
    let text = post(&alice, &json!({ "query": document }))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(text.starts_with("{\"errors\":["), "{text}");

    // A member's private profile is null where a member is shown, without an error.
    let id = bob.data("{ viewer { user { id } } }", Value::Null).await["viewer"]["user"]["id"].clone();
    let answer = alice
        .data(
            "query ($id: ID!) { node(id: $id) { ... on User { username profile { id } } } }",
            json!({ "id": id }),
        )
        .await;
    assert_eq!(answer["node"], json!({ "username": "bob", "profile": null }));

    // Mutations run one after the other, and one that fails does not keep the next from running.
    let document = "mutation { a: createTrigger(input: { name: \"t\", content: \"c\" }) { trigger { name } }
         b: createTrigger(input: { name: \"T\", content: \"c\" }) { trigger { name } }
         c: createTrigger(input: { name: \"u\", content: \"\" }) { trigger { name } }
         d: createTrigger(input: { name: \"v\", content: \"c\" }) { trigger { name } } }";
    let answer = alice.graphql(document, Value::Null).await;
    assert_eq!(
        errors(&answer),
        [("CONFLICT", json!(["b"])), ("VALIDATION_FAILED", json!(["c"]))]
    );
    assert_eq!(
        answer.body["errors"][1]["extensions"]["details"]["fields"]["content"],
        "must have 1 to 2000 characters"
    );
    assert_eq!(answer.body["data"]["d"]["trigger"]["name"], "v");

    // GraphQL refuses what it does not know, in documents and in variables.
    let input = json!({ "name": "w", "content": "c", "unknown": 1 });
    let document = "mutation ($i: CreateTriggerInput!) { createTrigger(input: $i) { trigger { id } } }";
    assert_eq!(
        alice.graphql(document, json!({ "i": input })).await.code(),
        "BAD_REQUEST"
    );
    let document = "mutation { createTrigger(input: { name: \"w\", content: \"c\", unknown: 1 }) { trigger { id } } }";
    assert_eq!(
        alice.graphql(document, Value::Null).await.code(),
        "GRAPHQL_VALIDATION_FAILED"
    );
}

#[tokio::test]
async fn whoever_may_not_is_told_before_anything_changes() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let key = server.bearer(&alice.key(&["profile:write"]).await);
    let document =
        "mutation { updateProfile(username: \"alice\", input: { displayName: \"changed\" }) { profile { id } }
         createTrigger(input: { name: \"t\", content: \"c\" }) { trigger { id } } }";
    let answer = key.graphql(document, Value::Null).await;
    assert_eq!((answer.code(), answer.body.get("data")), ("FORBIDDEN", None));
    // Also where only the answer shows more than the caller may see.
    let document = "mutation { updateProfile(username: \"alice\", input: { displayName: \"changed\" }) {
         profile { triggers { content creator { username } } } } }";
    key.data(document, Value::Null).await;
    let profile = alice.get("/v1/profile/alice").await;
    assert_eq!(profile.body["displayName"], "changed");
    let narrow = server.bearer(&alice.key(&["triggers:write"]).await);
    let id = alice.trigger("t", true).await;
    let document = "mutation ($id: ID!) { activateTrigger(id: $id) { profile { id } } }";
    assert_eq!(narrow.graphql(document, json!({ "id": id })).await.code(), "FORBIDDEN");
    assert_eq!(alice.get("/v1/profile/alice").await.body["triggers"], json!([]));
}
