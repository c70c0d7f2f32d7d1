use serde_json::json;

use super::*;
use crate::graphql::test_schema::{self as schema, Log, bind, data, run, run_with, written};

#[tokio::test]
async fn members_come_in_the_order_of_the_selection() {
    assert_eq!(
        data("{ a: slow(turns: 3) hello b: slow(turns: 1) __typename }", json!({})).await,
        r#"{"a":3,"hello":"you","b":1,"__typename":"Query"}"#
    );
}

#[tokio::test]
async fn the_prepared_selection_is_run_where_it_is() {
    let bound = bind(
        "query Q($name: String!) { where hello(name: $name) }",
        json!({"name": "ann"}),
    );
    let stands = format!(
        "{:p}",
        match &bound.selection().items[0].node {
            async_graphql::parser::types::Selection::Field(field) => field,
            _ => unreachable!(),
        }
    );
    for _ in 0..2 {
        let outcome = run(&bound).await;
        assert_eq!(
            written(&bound, &outcome),
            format!(r#"{{"where":"{stands}","hello":"ann"}}"#)
        );
        assert_eq!(outcome.headers["x-where"], "here");
    }
}

#[tokio::test]
async fn a_failed_field_is_null_and_its_siblings_stay() {
    let bound = bind(r#"{ fail(how: "x") hello viewer { fails } }"#, json!({}));
    let outcome = run(&bound).await;
    assert_eq!(
        written(&bound, &outcome),
        r#"{"fail":null,"hello":"you","viewer":{"fails":null}}"#
    );
    let mut errors: Vec<_> = outcome.errors.iter().map(Failure::to_json).collect();
    errors.sort_by_key(|error| error["path"][0].to_string());
    assert_eq!(
        errors,
        [
            json!({
                "message": "how is unknown", "locations": [{"line": 1, "column": 3}], "path": ["fail"],
                "extensions": {
                    "code": "VALIDATION_FAILED", "status": 400, "details": {"fields": {"how": "is unknown"}},
                },
            }),
            json!({
                "message": "no such thing", "locations": [{"line": 1, "column": 33}], "path": ["viewer", "fails"],
                "extensions": {"code": "NOT_FOUND", "status": 404, "details": {}},
            }),
        ]
    );
}

#[tokio::test]
async fn where_all_fields_fail_the_object_stays() {
    let bound = bind(r#"{ fail(how: "x") }"#, json!({}));
    assert_eq!(written(&bound, &run(&bound).await), r#"{"fail":null}"#);
}

#[tokio::test]
async fn a_missing_non_null_field_takes_its_object_along() {
    assert_eq!(
        data(r#"{ strict(how: "") { fine nested { fails fine } } }"#, json!({})).await,
        r#"{"strict":{"fine":"fine","nested":null}}"#
    );
    assert_eq!(
        data(r#"{ strict(how: "") { fails fine } hello }"#, json!({})).await,
        r#"{"strict":null,"hello":"you"}"#
    );
}

#[tokio::test]
async fn a_panic_is_internal_and_says_nothing() {
    let bound = bind(r#"{ fail(how: "panic") hello }"#, json!({}));
    let outcome = run(&bound).await;
    assert_eq!(written(&bound, &outcome), "null");
    let error = &outcome.errors[0].error;
    assert_eq!(
        (error.kind(), error.message()),
        (Kind::Internal, "internal server error")
    );
    assert_eq!(error.details()["requestId"], "request_1");
}

#[tokio::test]
async fn a_defect_names_the_request_only() {
    let bound = bind(r#"{ fail(how: "internal") }"#, json!({}));
    let outcome = run(&bound).await;
    let entry = outcome.errors[0].to_json();
    assert_eq!(entry["extensions"]["details"], json!({"requestId": "request_1"}));
    assert!(!entry.to_string().contains("password"));
}

#[tokio::test]
async fn mutations_run_one_after_the_other_and_once_for_each_key() {
    let log = Log::default();
    let text = r#"mutation { a: count(label: "a") ...F b: count(label: "b") a: count(label: "a") }
        fragment F on Mutation { b: count(label: "b") c: count(label: "c") }"#;
    let bound = bind(text, json!({}));
    let outcome = run_with(&bound, &log).await;
    assert_eq!(written(&bound, &outcome), r#"{"a":1,"b":2,"c":3}"#);
    assert_eq!(*log.0.lock().unwrap(), ["a", "b", "c"]);
    assert_eq!(bound.admission().root_fields, 3);
}

#[tokio::test]
async fn what_is_skipped_does_not_run() {
    let text = "query($no: Boolean!) { hello @skip(if: $no) viewer { email ... @include(if: $no) { fails } } }";
    assert_eq!(
        data(text, json!({"no": true})).await,
        r#"{"viewer":{"email":"a@b.c","fails":null}}"#
    );
    assert_eq!(
        data(text, json!({"no": false})).await,
        r#"{"hello":"you","viewer":{"email":"a@b.c"}}"#
    );
    assert_eq!(
        data("query($no: Boolean!) { hello @skip(if: $no) }", json!({"no": true})).await,
        "{}"
    );
}

#[tokio::test]
async fn a_variable_without_a_value_is_an_argument_that_is_not_given() {
    let text = "query($name: String) { hello(name: $name) }";
    assert_eq!(data(text, json!({})).await, r#"{"hello":"you"}"#);
    assert_eq!(data(text, json!({"name": "ann"})).await, r#"{"hello":"ann"}"#);
    assert_eq!(
        data("query($l: Boolean) { hello(loud: $l) }", json!({})).await,
        r#"{"hello":"you"}"#
    );
    let text = "mutation($note: String) { change(input: { note: $note, name: null }) }";
    assert_eq!(data(text, json!({})).await, r#"{"change":"Undefined None"}"#);
    assert_eq!(data(text, json!({"note": null})).await, r#"{"change":"Null None"}"#);
}

#[tokio::test]
async fn fragments_apply_by_type() {
    assert_eq!(
        data(
            r#"{ search { __typename ...P ... on Node { id } } } fragment P on Profile { username friends { username } }"#,
            json!({})
        )
        .await,
        r#"{"search":[{"__typename":"Profile","username":"me","friends":[{"username":"ann"}],"id":"profile_1"},{"__typename":"Session","id":"session_1"}]}"#
    );
}

#[tokio::test]
async fn introspection_runs_beside_data() {
    assert_eq!(
        data(
            r#"query($n: String!) { hello __type(name: $n) { name ...F kind } } fragment F on __Type { fields { name } }"#,
            json!({"n": "PageInfo"})
        )
        .await,
        r#"{"hello":"you","__type":{"name":"PageInfo","fields":[{"name":"hasNextPage"}],"kind":"OBJECT"}}"#
    );
    assert_eq!(
        data(r#"{ __type(name: "Nothing") { name } }"#, json!({})).await,
        r#"{"__type":null}"#
    );
}

#[tokio::test]
async fn a_subscription_has_no_one_answer() {
    let outcome = run(&bind("subscription { ticks }", json!({}))).await;
    assert_eq!(outcome.errors[0].error.kind(), Kind::BadRequest);
}

#[test]
fn validation_runs_no_resolver() {
    let document = async_graphql::parser::parse_query(r#"{ fail(how: "panic") }"#).unwrap();
    schema::engine().validate(&document).unwrap();
    let several = async_graphql::parser::parse_query("query A { hello } query B { nothing }").unwrap();
    assert!(matches!(schema::engine().validate(&several), Err(Invalid::Document(errors)) if errors.len() == 1));
}
