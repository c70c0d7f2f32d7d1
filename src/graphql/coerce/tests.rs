use async_graphql::parser::parse_query;
use serde_json::json;

use super::*;

const SDL: &str = r#"
        enum Kind { NEW_ONE @wire(name: "new.one") OLD @wire(name: "old") }
        scalar URL
        scalar JSON
        input Settings { model: String = "first" size: Int }
        input Input { name: String! kinds: [Kind!] settings: Settings = {} id: ID url: URL ratio: Float }
        type Query {
            one(n: Int!, name: String = "x", page: Int! = 50, list: [Int!], input: Input, kinds: [Kind!]): Query
        }
        type Mutation { two(n: Int!): Query }
    "#;

fn types() -> Types {
    Types::parse(SDL).unwrap()
}

fn coerced(head: &str, given: Json, spelling: Spelling) -> Result<Json, (String, String)> {
    let document = parse_query(format!("query Q({head}) {{ one }}")).unwrap();
    let definitions = document
        .operations
        .iter()
        .next()
        .unwrap()
        .1
        .node
        .variable_definitions
        .clone();
    variables(&types(), &definitions, given.as_object().unwrap(), spelling)
        .map(|variables| variables.into_value().into_json().unwrap())
        .map_err(|error| {
            assert_eq!(error.code(), "BAD_REQUEST");
            let path = error.details()["path"].as_str().unwrap().to_owned();
            (path, error.message().to_owned())
        })
}

fn graphql(head: &str, given: Json) -> Result<Json, (String, String)> {
    coerced(head, given, Spelling::GraphQl)
}

fn path(result: Result<Json, (String, String)>) -> String {
    result.unwrap_err().0
}

#[test]
fn scalars_are_read_by_their_types() {
    assert_eq!(graphql("$x: Int", json!({"x": 7})), Ok(json!({"x": 7})));
    assert_eq!(graphql("$x: Int", json!({"x": 7.0})), Ok(json!({"x": 7})));
    assert_eq!(graphql("$x: ID", json!({"x": 7})), Ok(json!({"x": "7"})));
    assert_eq!(graphql("$x: Float", json!({"x": 7.5})), Ok(json!({"x": 7.5})));
    assert_eq!(
        graphql("$x: JSON", json!({"x": {"a": [1]}})),
        Ok(json!({"x": {"a": [1]}}))
    );
    for (ty, wrong) in [
        ("Int", json!("7")),
        ("Int", json!(7.5)),
        ("Int", json!(2_147_483_648_i64)),
        ("Int", json!(1e300)),
        ("String", json!(7)),
        ("URL", json!({})),
        ("Boolean", json!("true")),
        ("ID", json!(1.5)),
        ("Float", json!("1")),
        ("Kind", json!(1)),
        ("Input", json!("x")),
    ] {
        assert_eq!(path(graphql(&format!("$x: {ty}"), json!({"x": wrong}))), "/x", "{ty}");
    }
}

#[test]
fn absent_and_null_differ() {
    assert_eq!(graphql("$x: Int", json!({})), Ok(json!({})));
    assert_eq!(graphql("$x: Int", json!({"x": null})), Ok(json!({"x": null})));
    assert_eq!(graphql("$x: Int = 5", json!({"x": null})), Ok(json!({"x": null})));
    assert_eq!(graphql("$x: Int! = 5", json!({})), Ok(json!({"x": 5})));
    assert_eq!(
        graphql("$x: Int!", json!({})),
        Err(("/x".into(), "/x is required".into()))
    );
    assert_eq!(
        graphql("$x: Int! = 5", json!({"x": null})),
        Err(("/x".into(), "/x must not be null".into()))
    );
}

#[test]
fn a_single_value_is_a_list_of_one() {
    assert_eq!(graphql("$x: [Int!]", json!({"x": 5})), Ok(json!({"x": [5]})));
    assert_eq!(graphql("$x: [[Int!]]", json!({"x": 5})), Ok(json!({"x": [[5]]})));
    assert_eq!(graphql("$x: [Int!]", json!({"x": null})), Ok(json!({"x": null})));
    assert_eq!(path(graphql("$x: [Int!]", json!({"x": [1, null]}))), "/x/1");
}

#[test]
fn input_objects_get_their_defaults_and_name_what_is_wrong() {
    assert_eq!(
        graphql("$input: Input!", json!({"input": {"name": "n"}})),
        Ok(json!({"input": {"name": "n", "settings": {"model": "first"}}}))
    );
    assert_eq!(path(graphql("$input: Input!", json!({"input": {}}))), "/input/name");
    let wrong = json!({"input": {"name": "n", "settings": {"model": 1}}});
    assert_eq!(path(graphql("$input: Input!", wrong)), "/input/settings/model");
    let wrong = json!({"input": {"name": "n", "kinds": ["OLD", "YOUNG"]}});
    assert_eq!(path(graphql("$input: Input!", wrong)), "/input/kinds/1");
}

#[test]
fn pointers_are_escaped() {
    let unknown = json!({"input": {"name": "n", "a/b~c": 1}});
    assert_eq!(path(graphql("$input: Input", unknown)), "/input/a~1b~0c");
}

#[test]
fn the_wire_has_its_own_spelling_and_ignores_what_it_does_not_know() {
    let given = json!({"input": {"name": "n", "more": 1, "kinds": ["new.one", "OLD"], "settings": null}});
    assert_eq!(
        coerced("$input: Input", given.clone(), Spelling::Wire),
        Ok(json!({"input": {"name": "n", "kinds": ["NEW_ONE", "OLD"], "settings": null}}))
    );
    assert_eq!(path(graphql("$input: Input", given)), "/input/more");
    assert_eq!(path(graphql("$x: Kind", json!({"x": "new.one"}))), "/x");
    let (_, message) = coerced("$x: Kind", json!({"x": "?"}), Spelling::Wire).unwrap_err();
    assert_eq!(message, "/x is not one of new.one, old");
}

fn misplaced(document: &str) -> Vec<String> {
    match check_positions(&types(), &parse_query(document).unwrap()) {
        Ok(()) => vec![],
        Err(errors) => errors.into_iter().map(|(message, _)| message).collect(),
    }
}

#[test]
fn usages_that_fit_are_allowed() {
    for document in [
        "query ($n: Int!) { one(n: $n) { one(n: 1, list: [$n]) { __typename } } }",
        "query ($n: Int = 5) { one(n: $n) { __typename } }",
        "query ($p: Int) { one(n: 1, page: $p) { __typename } }",
        "query ($l: [Int!]) { one(n: 1, list: $l) { __typename } }",
        "query ($l: [Int!]!) { one(n: 1, list: $l) { __typename } }",
        "query ($k: Kind!) { one(n: 1, input: {name: \"x\", kinds: [$k]}) { __typename } }",
        "query ($b: Boolean!) { one(n: 1) @skip(if: $b) { __typename } }",
        "query ($b: Boolean, $t: String!) { __type(name: $t) { fields(includeDeprecated: $b) { name } } }",
        "mutation ($n: Int!) { two(n: $n) { __typename } }",
    ] {
        assert_eq!(misplaced(document), Vec::<String>::new(), "{document}");
    }
}

#[test]
fn usages_that_do_not_fit_are_found_wherever_they_are() {
    for document in [
        "query ($n: Int) { one(n: $n) { __typename } }",
        "query ($n: Int = null) { one(n: $n) { __typename } }",
        "query ($n: String!) { one(n: $n) { __typename } }",
        "query ($l: [Int]) { one(n: 1, list: $l) { __typename } }",
        "query ($l: Int) { one(n: 1, list: $l) { __typename } }",
        "query ($l: Int) { one(n: 1, list: [$l]) { __typename } }",
        "query ($k: Kind) { one(n: 1, input: {name: \"x\", kinds: [$k]}) { __typename } }",
        "query ($s: String) { one(n: 1, input: {name: $s}) { __typename } }",
        "query ($b: Boolean) { one(n: 1) @skip(if: $b) { __typename } }",
        "query ($b: Boolean) { one(n: 1) { ... @include(if: $b) { __typename } } }",
        "query ($t: String) { __type(name: $t) { name } }",
        "mutation ($n: Int) { two(n: $n) { __typename } }",
        "query ($n: Int) { ...F } fragment F on Query { one(n: 1) { ...G } } fragment G on Query { one(n: $n) { __typename } }",
    ] {
        assert_eq!(misplaced(document).len(), 1, "{document}");
    }
    assert_eq!(
        misplaced("query ($n: Int) { one(n: $n) { __typename } }"),
        ["variable \"$n\" of type \"Int\" is used where \"Int!\" is expected"]
    );
}

#[test]
fn fragments_that_double_are_walked_once() {
    let mut document = String::from("query ($n: Int) { ...F0 } fragment F30 on Query { one(n: $n) { __typename } }");
    for level in 0..30 {
        let next = level + 1;
        document += &format!(" fragment F{level} on Query {{ ...F{next} ...F{next} }}");
    }
    assert_eq!(misplaced(&document).len(), 1);
}
