//! Documents that would keep the server busy are refused before anything expands them.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Caller, Server, node, send};

/// What a hostile request may be told: none of it ran.
const REFUSALS: [&str; 3] = ["QUERY_TOO_COMPLEX", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"];

/// A document in which each fragment spreads the next one twice.
fn fragment_bomb(levels: usize) -> String {
    let mut text = "{ viewer { user { ...f0 } } }".to_owned();
    for level in 0..levels {
        let next = level + 1;
        text += &format!("fragment f{level} on User {{ ...f{next} ...f{next} }}");
    }
    text + &format!("fragment f{levels} on User {{ id }}")
}

/// `open` over and over, `inside`, and the brackets closed again.
fn nested(open: &str, times: usize, inside: &str, close: &str) -> String {
    format!("{}{inside}{}", open.repeat(times), close.repeat(times))
}

async fn refused(caller: &Caller<'_>, name: &str, body: &Value) -> String {
    let start = Instant::now();
    let answer = send(caller.request(Method::POST, "/graphql").json(body)).await;
    println!("{name}: {} in {:?}", answer.code(), start.elapsed());
    assert!(answer.body.get("data").is_none(), "{name} ran: {:#}", answer.body);
    assert_eq!(answer.status, 200, "{name}");
    answer.code().to_owned()
}

#[tokio::test]
async fn documents_over_a_limit_are_too_complex() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let fields = |count: usize| (0..count).map(|n| format!("a{n}: id ")).collect::<String>();
    let roots = |count: usize| {
        (0..count)
            .map(|n| format!("a{n}: viewer {{ email }} "))
            .collect::<String>()
    };
    let padded = |bytes: usize| {
        let document = "{ __typename }#";
        format!("{document}{}", "x".repeat(bytes - document.len()))
    };
    let spreads = |count: usize| {
        (0..count)
            .map(|n| format!("a{n}: viewer {{ user {{ ...F }} }} "))
            .collect::<String>()
    };
    let over = [
        ("22 levels of fragments", fragment_bomb(22)),
        ("100 levels of fragments", fragment_bomb(100)),
        ("a fragment in itself", "{ viewer { user { ...F } } } fragment F on User { id ...F }".into()),
        (
            "fragments in a circle",
            "{ viewer { user { ...A } } } fragment A on User { ...B } fragment B on User { profile { ...C } }
             fragment C on Profile { triggers { creator { ...A } } }"
                .into(),
        ),
        ("a circle nobody spreads", "{ __typename } fragment A on User { ...B } fragment B on User { ...A }".into()),
        ("13 fields deep", format!("{{ viewer {{ user {{ {} }} }} }}", {
            nested("profile { triggers { creator { ", 4, "id", "} } } ")
        })),
        ("deep braces", nested("{ a ", 5_000, "", "}")),
        ("deep inline fragments", format!("{{ viewer {{ user {{ {} }} }} }}", nested("... { ", 40, "id", "} "))),
        ("1,001 fields", format!("{{ viewer {{ user {{ {} }} }} }}", fields(999))),
        (
            "1,001 fields by fragments",
            format!("{{ {} }} fragment F on User {{ {} }}", spreads(10), fields(99)),
        ),
        ("21 root fields", format!("{{ {} }}", roots(21))),
        ("21 root fields in fragments", format!("{{ ...R ... {{ {} }} }} fragment R on Query {{ z: viewer {{ email }} }}", roots(20))),
        (
            "a complexity over 2,000",
            "{ profiles(first: 100) { nodes { triggers { id name content revision } } } }".into(),
        ),
        ("16 KiB and a byte", padded(16 * 1024 + 1)),
        ("deep lists", format!("{{ trigger(id: {}) {{ id }} }}", nested("[", 8_000, "", "]"))),
        ("open lists", format!("{{ trigger(id: {}", "[".repeat(16_000))),
        ("deep objects", format!("{{ trigger(id: {}) {{ id }} }}", nested("{a:", 4_000, "1", "}"))),
        ("deep lists as a default", format!("query ($x: ID = {}) {{ trigger(id: $x) {{ id }} }}", nested("[", 8_000, "", "]"))),
        ("deep types", format!("query ($x: {}) {{ __typename }}", nested("[", 8_000, "ID", "]"))),
        ("types with types without end", "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }".into()),
        (
            "possible types and interfaces",
            format!("{{ __type(name: \"Node\") {{ {} }} }}", nested("possibleTypes { interfaces { ", 5, "name", "} } ")),
        ),
        (
            "introspection by fragments",
            "{ __type(name: \"Node\") { ...P } } fragment P on __Type { possibleTypes { ...I } }
             fragment I on __Type { interfaces { ...Q } } fragment Q on __Type { possibleTypes { name } }"
                .into(),
        ),
        (
            "introspection by aliases",
            format!("{{ {} }}", (0..60).map(|n| {
                format!("a{n}: __schema {{ types {{ fields {{ args {{ type {{ name }} }} type {{ name kind }} }} }} }} ")
            }).collect::<String>()),
        ),
    ];
    for (name, document) in over {
        let code = refused(&alice, name, &json!({ "query": document })).await;
        assert_eq!(code, "QUERY_TOO_COMPLEX", "{name}");
    }

    // At the limit, it runs.
    let at = [
        format!("{{ viewer {{ user {{ {} }} }} }}", fields(998)),
        format!("{{ {} }}", roots(20)),
        padded(16 * 1024),
        "{ profiles(first: 100) { nodes { id username displayName avatarUrl isPublic xp level createdAt } } }".into(),
        format!(
            "{{ __type(name: \"Query\") {{ fields {{ type {{ {} }} }} }} }}",
            nested("ofType { ", 9, "name", "} ")
        ),
    ];
    for document in at {
        alice.data(&document, Value::Null).await;
    }

    // What the caller sends along may be big too, and is refused in words.
    let deep = nested("[", 120, "", "]");
    for variables in [
        deep.clone(),
        nested("{\"a\":", 120, "1", "}"),
        nested("[", 100_000, "", "]"),
    ] {
        let body = format!(
            "{{\"query\":\"query ($x: ID!) {{ trigger(id: $x) {{ id }} }}\",\"variables\":{{\"x\":{variables}}}}}"
        );
        let request = alice
            .request(Method::POST, "/graphql")
            .header("content-type", "application/json");
        assert_eq!(
            send(request.body(body)).await.code(),
            "BAD_REQUEST",
            "{}",
            variables.len()
        );
    }
    let rest = alice
        .request(Method::POST, "/v1/triggers")
        .header("content-type", "application/json");
    assert_eq!(
        send(rest.body(nested("[", 100_000, "", "]"))).await.code(),
        "BAD_REQUEST"
    );
}

#[tokio::test]
async fn floods_of_directives_aliases_and_names_are_answered_in_words() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let user = |inside: String| format!("{{ viewer {{ user {{ {inside} }} }} }}");
    let repeated = |text: &str, count: usize| text.repeat(count);
    let floods = [
        (
            "directives on a field",
            user(format!("id {}", repeated("@include(if: true) ", 800))),
        ),
        (
            "directives nobody knows",
            user(format!("id {}", repeated("@a ", 5_000))),
        ),
        (
            "directives on the operation",
            format!("query {} {{ __typename }}", repeated("@a ", 5_000)),
        ),
        (
            "aliases of one name for two fields",
            user((0..450).map(|n| format!("a{n}: id a{n}: username ")).collect()),
        ),
        (
            "fields that do not exist",
            user((0..900).map(|n| format!("x{n} ")).collect()),
        ),
        (
            "arguments that do not exist",
            format!(
                "{{ trigger({}) {{ id }} }}",
                (0..1_500).map(|n| format!("a{n}: 1 ")).collect::<String>()
            ),
        ),
        (
            "fragments that do not exist",
            user((0..900).map(|n| format!("...x{n} ")).collect()),
        ),
        (
            "fragments nobody spreads",
            format!(
                "{{ __typename }} {}",
                (0..500)
                    .map(|n| format!("fragment f{n} on User {{ id }} "))
                    .collect::<String>()
            ),
        ),
        (
            "variables that nobody uses",
            format!(
                "query ({}) {{ __typename }}",
                (0..1_500).map(|n| format!("$v{n}: ID ")).collect::<String>()
            ),
        ),
        ("operations without names", repeated("{ __typename } ", 1_000)),
    ];
    for (name, document) in floods {
        let code = refused(&alice, name, &json!({ "query": document })).await;
        assert!(REFUSALS.contains(&code.as_str()), "{name}: {code}");
    }
    // The same field over and over is one field.
    let data = alice.data(&user(repeated("id ", 900)), Value::Null).await;
    assert_eq!(data["viewer"]["user"].as_object().unwrap().len(), 1);
    assert_eq!(server.nobody().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn the_introspection_of_every_tool_passes_for_everyone() {
    let server = Server::start().await;
    let said = node("introspection.mjs", &[&server.url("/graphql")], "").await;
    println!("{said}");
}
