use serde_json::json;

use super::*;
use crate::{
    gate::rules::{Role, Rule, Scope},
    graphql::test_schema::{bind, documents, operation, refused, try_bind},
};

fn kind(text: &str) -> Kind {
    refused(text).error.kind()
}

#[test]
fn a_document_is_prepared_once() {
    let documents = documents();
    let first = documents.prepare("{ hello }").unwrap();
    assert!(Arc::ptr_eq(&first, &documents.prepare("{ hello }").unwrap()));
    assert!(!Arc::ptr_eq(&first, &documents.prepare("{ hello  }").unwrap()));
    documents.prepare("{ nothing }").unwrap_err();
    assert_eq!(documents.kept.len(), 2);
}

#[test]
fn what_is_kept_is_bounded_by_its_fields() {
    let documents = documents();
    for document in 0..40 {
        let fields: String = (0..10)
            .map(|field| format!("f{field}: hello(name: \"{document}\") "))
            .collect();
        documents
            .prepare(&format!("{{ {fields} viewer {{ {} }} }}", "email ".repeat(900)))
            .unwrap();
    }
    assert!(documents.kept.weight() <= KEPT);
    assert!(documents.kept.len() < 25);
}

#[test]
fn what_does_not_parse_says_where() {
    let failure = refused("{ hello(name: \"hunter2\" }");
    assert_eq!(failure.error.kind(), Kind::GraphqlParseFailed);
    assert_eq!(failure.locations[0].line, 1);
    assert!(!failure.error.message().contains("hunter2"));
    for text in ["", "{", "{ a(x: \"b }", "# nothing", "query A { hello } { hello }"] {
        assert_eq!(kind(text), Kind::GraphqlParseFailed, "{text}");
    }
}

#[test]
fn what_would_exhaust_the_parser_is_too_complex() {
    for text in [
        "{a".repeat(8_000),
        format!("{{ hello(name: {}", "[".repeat(16_000)),
        format!("query($a: {}", "[".repeat(16_000)),
        format!("{{ hello(name: {}", "{a:".repeat(5_000)),
    ] {
        assert_eq!(kind(&text), Kind::QueryTooComplex);
    }
    let long = format!("{{ hello }} #{}", " ".repeat(16 * 1024));
    assert_eq!(kind(&long), Kind::QueryTooComplex);
    // As many directives as fit are read, and refused by validation.
    assert_eq!(
        kind(&format!("{{ hello {} }}", "@a ".repeat(5_000))),
        Kind::GraphqlValidationFailed
    );
}

#[test]
fn what_does_not_fit_the_schema_says_where() {
    let failures = documents().prepare("{ nothing\n  nowhere }").unwrap_err();
    assert_eq!(failures.len(), 2);
    assert_eq!(failures[1].locations, [Pos { line: 2, column: 3 }]);
    for text in [
        "{ viewer }",
        "{ hello(name: 1) }",
        "{ hello(nome: \"a\") }",
        "query($n: Int!) { hello(name: $n) }",
        "{ hello(name: $n) }",
        "{ ...f }",
        "query($x: Unknown = 1) { hello }",
        "{ hello @unknown }",
        "subscription { ticks other }",
        "subscription { a: ticks b: ticks }",
        "subscription { __typename }",
    ] {
        assert_eq!(kind(text), Kind::GraphqlValidationFailed, "{text}");
    }
}

#[test]
fn a_long_list_of_errors_is_cut() {
    let fields: String = (0..200).map(|field| format!("x{field} ")).collect();
    assert_eq!(
        documents().prepare(&format!("{{ {fields} }}")).unwrap_err().len(),
        ERRORS
    );
}

#[test]
fn fields_of_one_key_agree_across_fragments() {
    let failure = refused("{ a: hello ... on Query { a: where } }");
    assert_eq!(failure.error.kind(), Kind::GraphqlValidationFailed);
    assert_eq!(failure.locations.len(), 2);
    assert_eq!(
        kind(r#"{ viewer { profile { id } } ...f } fragment f on Query { viewer { profile { id: username } } }"#),
        Kind::GraphqlValidationFailed
    );
    assert_eq!(
        kind(r#"{ hello(name: "a") ...f } fragment f on Query { hello(name: "b") }"#),
        Kind::GraphqlValidationFailed
    );
    operation(r#"{ hello(name: "a", loud: true) ...f } fragment f on Query { hello(loud: true, name: "a") }"#);
}

#[test]
fn the_operation_is_named_where_there_are_several() {
    let several = documents().prepare("query A { hello } query B { where }").unwrap();
    assert_eq!(several.operation(Some("B")).unwrap().name(), Some("B"));
    for name in [None, Some("C"), Some("")] {
        let error = several.operation(name).unwrap_err();
        assert_eq!(error.kind(), Kind::GraphqlValidationFailed, "{name:?}");
    }
    let one = documents().prepare("query A { hello }").unwrap();
    assert!(one.operation(None).is_ok() && one.operation(Some("A")).is_ok());
    assert!(one.operation(Some("B")).is_err());
    assert!(documents().prepare("{ hello }").unwrap().operation(Some("A")).is_err());
}

#[test]
fn without_conditions_nothing_is_copied_for_a_request() {
    let operation = operation("query($n: String!) { hello(name: $n) }");
    let bound = operation
        .coerce(json!({"n": "a"}).as_object().unwrap(), coerce::Spelling::GraphQl)
        .unwrap();
    assert!(std::ptr::eq(bound.selection(), operation.selection()));
}

#[test]
fn root_fields_are_counted_after_skip_and_include() {
    let text = "query($yes: Boolean! = true) {
        a: hello @skip(if: $yes) b: hello @include(if: $yes) ...f @include(if: $yes) __typename
        __schema { queryType { name } }
    } fragment f on Query { b: hello @skip(if: false) c: hello d: hello @include(if: false) }";
    assert_eq!(bind(text, json!({})).admission().root_fields, 2);
    assert_eq!(bind(text, json!({"yes": false})).admission().root_fields, 1);
    assert_eq!(bind("{ __typename }", json!({})).admission().root_fields, 0);
}

#[test]
fn root_fields_are_bounded() {
    let roots = |count: usize| (0..count).map(|root| format!("a{root}: hello ")).collect::<String>();
    operation(&format!("{{ {} }}", roots(20)));
    assert_eq!(kind(&format!("{{ {} }}", roots(21))), Kind::QueryTooComplex);
    let text = format!("query($yes: Boolean!) {{ {} z: hello @include(if: $yes) }}", roots(20));
    assert!(try_bind(&text, json!({"yes": false})).is_ok());
    assert_eq!(
        try_bind(&text, json!({"yes": true})).unwrap_err().kind(),
        Kind::QueryTooComplex
    );
}

fn required(text: &str, variables: serde_json::Value) -> Vec<(String, Rule)> {
    let bound = bind(text, variables);
    let requirements = bound.admission().requirements.iter();
    requirements
        .map(|requirement| (requirement.field.clone(), requirement.rule))
        .collect()
}

const MODERATE: Rule = Rule {
    anonymous: false,
    role: Role::Moderator,
    scope: Some(Scope::Moderate),
    login: false,
};

#[test]
fn a_field_requires_its_rule_or_its_types() {
    let read = Rule::scope(Scope::ProfileRead);
    for (text, expected) in [
        ("{ hello }", vec![]),
        ("{ __schema { queryType { name } } }", vec![]),
        ("{ viewer { email } }", vec![("Query.viewer", Rule::MEMBER)]),
        // No rule on the field: its type's.
        ("{ profile(username: \"a\") { id } }", vec![("Query.profile", read)]),
        // Once, however often.
        (
            "{ viewer { profile { friends { secret friends { id secret } } } } }",
            vec![
                ("Query.viewer", Rule::MEMBER),
                ("Viewer.profile", read),
                ("Profile.secret", MODERATE),
            ],
        ),
        (
            "{ profiles { pageInfo { hasNextPage } } }",
            vec![("Query.profiles", read)],
        ),
        // Behind an interface or union.
        ("{ node(id: 1) { id } }", vec![("Query.node", Rule::MEMBER)]),
        (
            "{ node(id: 1) { id ... on Session { id } } }",
            vec![
                ("Query.node", Rule::MEMBER),
                ("Session", Rule::scope(Scope::SessionsRead)),
            ],
        ),
        (
            "{ search { ... on Node { ...p } } } fragment p on Profile { secret }",
            vec![
                ("Query.search", Rule::MEMBER),
                ("Profile", read),
                ("Profile.secret", MODERATE),
            ],
        ),
    ] {
        let found = required(text, json!({}));
        let found: Vec<_> = found.iter().map(|(field, rule)| (field.as_str(), *rule)).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn who_registers_is_a_member_below_but_has_no_scope_or_role() {
    assert_eq!(required("mutation { register { viewer { email } } }", json!({})), []);
    assert_eq!(
        required("mutation { register { user { secret } } }", json!({})).len(),
        2,
        "scopes and roles are still asked for"
    );
    // It is so below that field only.
    let text = "mutation { register { viewer { email } } change(input: {}) }";
    assert_eq!(
        required(text, json!({})),
        [("Mutation.change".to_owned(), Rule::MEMBER)]
    );
}

#[test]
fn what_is_skipped_requires_nothing() {
    let text = "query($yes: Boolean!) { hello viewer @include(if: $yes) { email } }";
    assert_eq!(required(text, json!({"yes": false})), []);
    assert_eq!(required(text, json!({"yes": true})).len(), 1);
}

#[test]
fn a_page_counts_by_its_size() {
    let page = |first: &str| format!("query Q {{ profiles{first} {{ nodes {{ id username friends {{ id }} }} }} }}");
    // 1 + 1 + size × (2 + 1 + 5 × 1)
    operation(&page("(first: 100)"));
    let wide = |first: &str, fields: usize| {
        let fields: String = (0..fields).map(|field| format!("f{field}: id ")).collect();
        format!("query Q($n: Int) {{ profiles{first} {{ nodes {{ {fields} }} }} s: hello(loud: $b) }}")
            .replace("$n: Int", "$n: Int, $b: Boolean")
            .replace(
                "($n: Int, $b: Boolean)",
                if first.contains('$') {
                    "($n: Int, $b: Boolean)"
                } else {
                    "($b: Boolean)"
                },
            )
    };
    let complexity = |text: &str| {
        documents()
            .prepare(text)
            .map(|_| ())
            .map_err(|mut failures| failures.remove(0).error.kind())
    };
    assert_eq!(complexity(&wide("(first: 100)", 19)), Ok(()));
    assert_eq!(complexity(&wide("(first: 100)", 20)), Err(Kind::QueryTooComplex));
    // The schema's default is 50; beyond 100 is refused later, and counts as 100 here.
    assert_eq!(complexity(&wide("", 39)), Ok(()));
    assert_eq!(complexity(&wide("", 40)), Err(Kind::QueryTooComplex));
    assert_eq!(complexity(&wide("(first: 100000)", 19)), Ok(()));
    let by_variable = wide("(first: $n)", 39);
    for (variables, taken) in [
        (json!({}), true),
        (json!({"n": 50}), true),
        (json!({"n": 51}), true),
        (json!({"n": 52}), false),
        (json!({"n": -1}), true),
    ] {
        let bound = try_bind(&by_variable, variables.clone());
        assert_eq!(bound.is_ok(), taken, "{variables}");
    }
    // Edges count as nodes do, and what nests multiplies.
    assert_eq!(
        complexity("{ profiles(first: 100) { edges { cursor node { friends { friends { friends { id } } } } } } }"),
        Err(Kind::QueryTooComplex)
    );
}
