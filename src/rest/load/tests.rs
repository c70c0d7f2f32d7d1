use super::{super::fixtures, *};

fn errors(source: &str) -> Vec<String> {
    match fixtures::load(source) {
        Ok(_) => vec![],
        Err(LoadError(errors)) => errors,
    }
}

#[test]
fn the_contract_loads_whole() {
    let rest = fixtures::load(fixtures::V1).unwrap();
    let routes: Vec<String> = rest
        .operations()
        .iter()
        .map(|operation| format!("{} {} {}", operation.name, operation.method, operation.template()))
        .collect();
    assert_eq!(
        routes,
        [
            "Login POST /auth/login",
            "GetProfile GET /profile/{username}",
            "UpdateProfile PUT /profile/{username}",
            "Generate POST /ai/generate",
            "ListTriggers GET /triggers",
            "CreateTrigger POST /triggers",
            "ListSessions GET /sessions",
            "GetSession GET /sessions/{sessionId}",
            "CreateWebhook POST /webhooks",
            "Register POST /auth/register",
            "Logout POST /auth/logout",
            "Ticket POST /auth/ticket",
            "ListMessages GET /chat/messages",
        ]
    );
    assert_eq!(rest.operations()[3].index, 3);
}

#[test]
fn the_routes_that_are_served_load() {
    let rest = fixtures::load(super::super::V1).unwrap();
    assert!(rest.operations().len() >= 25);
    let login = rest.operation("Login").unwrap();
    assert_eq!(
        login.description.as_deref(),
        Some("Logs in and sets the session cookie.")
    );
    assert_eq!(rest.operation("GetProfile").unwrap().description, None);
}

#[test]
fn what_runs_has_neither_fragments_nor_our_directives() {
    let rest = fixtures::load(fixtures::V1).unwrap();
    for operation in rest.operations() {
        assert!(operation.document.fragments.is_empty());
        let text = format!("{:?}", operation.document);
        for directive in ["\"rest\"", "\"body\"", "\"unwrap\"", "\"pages\"", "FragmentSpread"] {
            assert!(!text.contains(directive), "{}: {directive}", operation.name);
        }
    }
}

#[test]
fn variables_know_where_they_come_from() {
    let rest = fixtures::load(fixtures::V1).unwrap();
    let sources = |name: &str| -> Vec<Source> {
        let operation = rest.operation(name).unwrap();
        operation.variables.iter().map(|variable| variable.source).collect()
    };
    assert_eq!(sources("UpdateProfile"), [Source::Path(0), Source::Body]);
    assert_eq!(sources("ListTriggers"), [Source::Query, Source::Query]);
    let rest = fixtures::load(super::super::V1).unwrap();
    let activate = rest.operation("ActivateTrigger").unwrap();
    let sources: Vec<_> = activate.variables.iter().map(|variable| variable.source).collect();
    assert_eq!(sources, [Source::Path(0), Source::Member]);
}

#[test]
fn fragments_shape_objects_alone() {
    let rest = fixtures::load(fixtures::V1).unwrap();
    assert_eq!(rest.fragment("Profile").unwrap().type_condition, "Profile");
    assert!(rest.fragment("Nothing").is_none());
    assert!(rest.node_document("Pages").is_none());
    let node = rest.node_document("Trigger").unwrap();
    coerce::check_positions(fixtures::types(), &node.document).unwrap();
    let data = serde_json::json!({ "node": {
        "name": "n", "id": "t", "description": "", "isPublic": true, "creator": { "username": "u" } } });
    let mut out = Vec::new();
    let data = async_graphql::Value::from_json(data).unwrap();
    node.shape.body(&[], &data, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"id":"t","name":"n","description":"","isPublic":true,"creator":"u"}"#
    );
}

#[test]
fn each_bad_operation_says_why() {
    let get = |operation: &str| format!("query Q{operation}");
    let rest = "@rest(method: GET, path: \"/q\")";
    let post = "@rest(method: POST, path: \"/q\")";
    for (source, why) in [
        (get("{ viewer { email } }"), "it must have @rest and no other directive"),
        (
            get(&format!(" {rest} @cached {{ viewer {{ email }} }}")),
            "it must have @rest and no other directive",
        ),
        (get(" @rest(path: \"/q\") { viewer { email } }"), "@rest has no method"),
        (get(" @rest(method: GET) { viewer { email } }"), "@rest has no path"),
        (
            get(" @rest(method: GET, path: 1) { viewer { email } }"),
            "`path` of @rest is not known or of the wrong type",
        ),
        (
            get(" @rest(method: HEAD, path: \"/q\") { viewer { email } }"),
            "there is no method HEAD",
        ),
        (
            get(" @rest(method: GET, path: \"q\") { viewer { email } }"),
            "path \"q\" does not start with a slash",
        ),
        (
            get(" @rest(method: GET, path: \"/q/\") { viewer { email } }"),
            "path \"/q/\" has a segment that is empty or has other characters than a-z 0-9 - _ . ~",
        ),
        (
            get("($a: ID!) @rest(method: GET, path: \"/{a}/{a}\") { node(id: $a) { id } }"),
            "path \"/{a}/{a}\" has a parameter twice",
        ),
        (
            get(&format!(" {post} {{ viewer {{ email }} }}")),
            "a query is GET, not POST",
        ),
        (
            format!("mutation Q {rest} {{ logout {{ success }} }}"),
            "a mutation is not GET",
        ),
        (
            format!("subscription Q {post} {{ messageAdded {{ id }} }}"),
            "no operation answers at its route where the client takes JSON",
        ),
        (
            "subscription Q @rest(method: PUT, path: \"/q\") { messageAdded { id } }".to_owned(),
            "a subscription is GET or POST, not PUT",
        ),
        (
            get(&format!(" {rest} {{ a: viewer {{ email }} b: viewer {{ email }} }}")),
            "it must have one root field",
        ),
        (
            get(&format!(" {rest} {{ ... {{ viewer {{ email }} }} }}")),
            "it must have one root field",
        ),
        (get(&format!(" {rest} {{ nothing }}")), "Query has no field nothing"),
        (
            get(&format!(" {rest} {{ viewer {{ nothing }} }}")),
            "Viewer has no field nothing",
        ),
        (get(&format!(" {rest} {{ viewer }}")), "a selection of Viewer is empty"),
        (
            get(&format!(" {rest} {{ viewer {{ email {{ id }} }} }}")),
            "String has no field id",
        ),
        (
            get(&format!(" {rest} {{ viewer(a: 1) {{ email }} }}")),
            "Query.viewer has no argument a",
        ),
        (
            get(&format!(" {rest} {{ node {{ id }} }}")),
            "Query.node needs the argument id",
        ),
        (
            get(&format!(" {rest} {{ triggers(first: \"x\") {{ nodes {{ id }} }} }}")),
            "argument first of Query.triggers must be a whole number, not a string",
        ),
        (
            get(&format!(" {rest} {{ node(id: $a) {{ id }} }}")),
            "$a is not defined",
        ),
        (
            get(&format!("($a: ID!) {rest} {{ viewer {{ email }} }}")),
            "$a is not used",
        ),
        (
            get(&format!("($a: ID!, $a: ID!) {rest} {{ node(id: $a) {{ id }} }}")),
            "$a is defined twice",
        ),
        (
            get(&format!("($a: Nothing!) {rest} {{ node(id: $a) {{ id }} }}")),
            "$a: there is no type Nothing",
        ),
        (
            get(&format!("($a: Viewer!) {rest} {{ node(id: $a) {{ id }} }}")),
            "$a: Viewer is no input type",
        ),
        (
            get(&format!("($a: Int!) {rest} {{ node(id: $a) {{ id }} }}")),
            "variable \"$a\" of type \"Int!\" is used where \"ID!\" is expected",
        ),
        (
            get(&format!(
                "($a: Int! = \"x\") {rest} {{ triggers(first: $a) {{ nodes {{ id }} }} }}"
            )),
            "the default of $a must be a whole number, not a string",
        ),
        (
            get(&format!(
                "($a: Int) {rest} {{ triggers(first: $a) {{ nodes {{ id }} }} }}"
            )),
            "argument first of Query.triggers has a default, so $a needs one too",
        ),
        (
            get(&format!("($a: ID! @other) {rest} {{ node(id: $a) {{ id }} }}")),
            "$a: @other is not known here",
        ),
        (
            get(&format!("($a: ID! @body) {rest} {{ node(id: $a) {{ id }} }}")),
            "@body on $a: GET has no body",
        ),
        (
            get("($a: ID! @body) @rest(method: GET, path: \"/{a}\") { node(id: $a) { id } }"),
            "$a is @body and in the path",
        ),
        (
            get("($a: ID = \"x\") @rest(method: GET, path: \"/{a}\") { node(id: $a) { id } }"),
            "$a is in the path and nullable",
        ),
        (
            get("($a: [EventKind!]!) @rest(method: GET, path: \"/{a}\") { events(kinds: $a) { nodes { id } } }"),
            "$a is in the path and no scalar or enum",
        ),
        (
            String::from(
                "mutation Q($a: LoginInput!) @rest(method: DELETE, path: \"/q\") { login(input: $a) { token } }",
            ),
            "$a is in the query string and no scalar, enum or list of them",
        ),
        (
            format!("mutation Q($a: ID! @body) {post} {{ deleteTrigger(id: $a) {{ trigger {{ id }} }} }}"),
            "@body on $a: ID! is no input object",
        ),
        (
            get("($a: ID!) @rest(method: GET, path: \"/{b}\") { node(id: $a) { id } }"),
            "the path has {b} and there is no $b",
        ),
        (
            format!(
                "mutation Q($a: ID!, $b: UpdateTriggerInput! @body) {post} {{ updateTrigger(id: $a, input: $b) {{ trigger {{ id }} }} }}"
            ),
            "a variable beside @body must be in the path",
        ),
        (
            format!(
                "mutation Q($a: LoginInput! @body, $b: LoginInput! @body) {post} {{ login(input: $a) {{ token }} }}"
            ),
            "$b is not used",
        ),
        (
            get(&format!(" {rest} {{ viewer @cached {{ email }} }}")),
            "@cached is not known here",
        ),
        (
            get(&format!(" {rest} {{ viewer {{ ... @unwrap {{ email }} }} }}")),
            "@unwrap is not known here",
        ),
        (
            get(&format!(" {rest} {{ viewer @unwrap(deep: true) {{ email }} }}")),
            "@unwrap is not known here",
        ),
        (
            get(&format!(" {rest} {{ ...Nothing }}")),
            "there is no fragment Nothing",
        ),
        (
            get(&format!(" {rest} {{ viewer {{ ... on Nothing {{ email }} }} }}")),
            "there is no type Nothing",
        ),
        (
            get(&format!(
                " {rest} {{ viewer @unwrap {{ user @unwrap {{ id }} profile @unwrap {{ id }} }} }}"
            )),
            "two members are named id",
        ),
        (
            String::from(
                "mutation Q @rest(method: POST, path: \"/q\", add: { success: true }) { logout @unwrap { success } }",
            ),
            "two members are named success",
        ),
        (
            get(" @rest(method: GET, path: \"/q\", add: { a: 1 }) { viewer @unwrap { email @unwrap } }"),
            "`add` needs a body that is an object",
        ),
        (
            get(&format!(
                " {rest} {{ viewer @unwrap {{ sessions @unwrap {{ pageInfo @pages {{ hasNextPage endCursor }} nodes {{ id }} }} }} }}"
            )),
            "@pages needs $first and $after in the query string",
        ),
        (
            get(&format!(
                "($first: Int! = 50, $after: String) {rest} {{ triggers(first: $first, after: $after) {{ nodes {{ id }} pageInfo @pages {{ hasNextPage }} }} }}"
            )),
            "@pages does not select what its links need",
        ),
        (
            get(&format!(
                "($first: Int, $after: String, $before: String) {rest} {{ room(name: \"lobby\") {{ messages(first: $first, after: $after, before: $before) {{ pageInfo @pages {{ hasNextPage endCursor }} }} }} }}"
            )),
            "$before needs $last in the query string",
        ),
    ] {
        assert_eq!(errors(&source), [format!("operation Q: {why}")], "{source}");
    }
}

#[test]
fn a_subscription_streams_at_the_route_of_another_operation() {
    let generate = "mutation G($input: GenerateInput! @body) @rest(method: POST, path: \"/g\") \
                    { generate(input: $input) @unwrap { response } }";
    let stream = |name: &str| {
        format!(
            "subscription {name}($input: GenerateInput! @body) @rest(method: POST, path: \"/g\") \
             {{ generation(input: $input) @unwrap {{ ... on GenerationDelta {{ text }} \
             ... on GeneratePayload {{ response triggers {{ name @unwrap }} }} }} }}"
        )
    };
    let rest = fixtures::load(&format!("{} {generate}", stream("S"))).unwrap();
    let (s, g) = (rest.operation("S").unwrap(), rest.operation("G").unwrap());
    assert_eq!(rest.stream_of(g).unwrap().name, "S");
    assert!(rest.stream_of(s).is_none());
    let event = |event: serde_json::Value| {
        let data = async_graphql::Value::from_json(serde_json::json!({ "generation": event })).unwrap();
        let mut out = Vec::new();
        s.shape.body(&[], &data, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(event(serde_json::json!({ "text": "a" })), r#"{"text":"a"}"#);
    assert_eq!(
        event(serde_json::json!({ "triggers": [{ "name": "t" }], "response": "a" })),
        r#"{"response":"a","triggers":["t"]}"#
    );
    assert_eq!(
        errors(&format!("{generate} {} {}", stream("S"), stream("T"))),
        ["operation T: S streams at its route"]
    );
}

#[test]
fn the_file_itself_is_checked() {
    assert!(errors("query {").concat().starts_with("it does not parse: "));
    assert_eq!(errors("{ viewer { email } }"), ["an operation has no name"]);
    let a = "query A($id: ID!) @rest(method: GET, path: \"/a/{id}\") { node(id: $id) { id } }";
    let b = "query B($id: ID!) @rest(method: GET, path: \"/a/{id}\") { node(id: $id) { id } }";
    assert_eq!(errors(&format!("{a} {b}")), ["operation B: A has its route"]);
    let b = "mutation B($other: ID!) @rest(method: DELETE, path: \"/a/{other}\") \
             { deleteTrigger(id: $other) { trigger { id } } }";
    assert_eq!(
        errors(&format!("{a} {b}")),
        ["operation B: A names the parameters of its path otherwise"]
    );
    assert_eq!(
        errors(&format!(
            "{a} fragment F on User {{ ...F }} fragment G on User {{ wrong }} fragment H on Wrong {{ id }}"
        )),
        [
            "fragment F: fragment F spreads itself",
            "fragment G: User has no field wrong",
            "fragment H: Wrong has no field id",
        ]
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let source = "query A @rest(method: GET, path: \"/a\") { wrong } query B { viewer { email } }";
    assert_eq!(
        fixtures::load(source).unwrap_err().to_string(),
        "operation A: Query has no field wrong\noperation B: it must have @rest and no other directive"
    );
}

#[test]
fn a_file_is_the_whole_body() {
    let upload = |variable: &str| {
        errors(&format!(
            "mutation M({variable}) @rest(method: PUT, path: \"/m\") {{ uploadAvatar(file: $file) {{ profile {{ id }} }} }}"
        ))
    };
    assert_eq!(upload("$file: Upload! @body"), [""; 0]);
    for (variable, why) in [
        ("$file: Upload!", "$file is a file and not @body"),
        ("$file: Upload @body", "@body on $file: Upload is not one file"),
        ("$file: [Upload!]! @body", "@body on $file: [Upload!]! is not one file"),
    ] {
        assert_eq!(upload(variable), [format!("operation M: {why}")]);
    }
    let rest = fixtures::load(super::super::V1).unwrap();
    let file = rest.operation("UploadAvatar").unwrap().file().unwrap();
    assert_eq!((file.name().as_str(), file.source), ("file", Source::File));
    assert!(rest.operation("UpdateProfile").unwrap().file().is_none());
}
