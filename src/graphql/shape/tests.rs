use async_graphql::parser::{parse_query, types::OperationType};
use serde_json::json;

use super::*;
use crate::graphql::coerce::root_type;

const SDL: &str = r#"
        directive @wire(name: String!) on ENUM_VALUE
        enum Kind { NEW_ONE @wire(name: "new.one") OLD }
        interface Node { id: ID! }
        type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
        type User implements Node { id: ID! name: String! nick: String kind: Kind! kinds: [Kind!] friend: User self: User! }
        type Item implements Node { id: ID! owner: User! tags: [String!]! price: Int! }
        type Users { nodes: [User!]! maybe: [User] pageInfo: PageInfo! }
        union Thing = User | Item
        type Query { user: User must: User! users: Users node: Node thing: Thing things: [Thing!]! data: String }
        type Mutation { change: User }
    "#;

fn shape(query: &str, build: fn(&Types, &str, &SelectionSet) -> Result<Shape, String>) -> Result<Shape, String> {
    let types = Types::parse(SDL).unwrap();
    let document = parse_query(query).unwrap();
    let (_, operation) = document.operations.iter().next().unwrap();
    let root = root_type(&types, operation.node.ty).unwrap();
    assert_ne!(operation.node.ty, OperationType::Subscription);
    build(&types, root, &operation.node.selection_set.node)
}

fn data(json: serde_json::Value) -> Value {
    Value::from_json(json).unwrap()
}

fn graphql(query: &str, json: serde_json::Value) -> String {
    let mut out = b"kept ".to_vec();
    shape(query, Shape::new).unwrap().write(&data(json), &mut out);
    String::from_utf8(out).unwrap().split_off(5)
}

fn rest(query: &str, json: serde_json::Value) -> Result<String, Absent> {
    let mut out = Vec::new();
    let written = shape(query, Shape::rest).unwrap().body(&[], &data(json), &mut out);
    assert!(written.is_ok() || out.is_empty());
    written.map(|()| String::from_utf8(out).unwrap())
}

fn refused(query: &str) -> String {
    shape(query, Shape::rest).unwrap_err()
}

#[test]
fn members_are_in_the_order_of_the_selection() {
    assert_eq!(
        graphql(
            "{ user { b: name id kind } data }",
            json!({"data": "\"x", "user": {"kind": "NEW_ONE", "id": "1", "b": "n"}})
        ),
        r#"{"user":{"b":"n","id":"1","kind":"NEW_ONE"},"data":"\"x"}"#
    );
}

#[test]
fn selections_of_one_key_are_merged() {
    assert_eq!(
        graphql(
            "{ user { id friend { id } } ... { user { name friend { name } } } }",
            json!({"user": {"name": "n", "friend": {"name": "f", "id": "2"}, "id": "1"}})
        ),
        r#"{"user":{"id":"1","friend":{"id":"2","name":"f"},"name":"n"}}"#
    );
}

#[test]
fn a_failed_field_is_null_up_to_where_it_may_be() {
    let query = "{ user { nick name self { friend { name } self { name } } } data }";
    assert_eq!(graphql(query, json!({"data": "d"})), r#"{"user":null,"data":"d"}"#);
    assert_eq!(
        graphql(
            query,
            json!({"user": {"name": "n", "self": {"friend": {}, "self": {"name": "x"}}}})
        ),
        r#"{"user":{"nick":null,"name":"n","self":{"friend":null,"self":{"name":"x"}}},"data":null}"#
    );
    assert_eq!(
        graphql(
            query,
            json!({"user": {"name": "n", "self": {"friend": null, "self": {}}}, "data": "d"})
        ),
        r#"{"user":null,"data":"d"}"#
    );
    assert_eq!(
        graphql("{ data must { name } }", json!({"data": "d", "must": {}})),
        "null"
    );
    assert_eq!(graphql("{ data }", json!(null)), "null");
}

#[test]
fn lists_take_a_null_item_or_become_null() {
    let query = "{ users { maybe { name } } }";
    assert_eq!(
        graphql(query, json!({"users": {"maybe": [{"name": "a"}, {}, null]}})),
        r#"{"users":{"maybe":[{"name":"a"},null,null]}}"#
    );
    let query = "{ users { nodes { name } } }";
    assert_eq!(
        graphql(query, json!({"users": {"nodes": [{"name": "a"}, {}]}})),
        r#"{"users":null}"#
    );
    assert_eq!(
        graphql(query, json!({"users": {"nodes": []}})),
        r#"{"users":{"nodes":[]}}"#
    );
}

#[test]
fn conditional_fields_are_left_out_when_absent() {
    let query = "query ($b: Boolean!) { user { id name @include(if: $b) ... @skip(if: $b) { nick } } }";
    assert_eq!(graphql(query, json!({"user": {"id": "1"}})), r#"{"user":{"id":"1"}}"#);
    assert_eq!(
        graphql(query, json!({"user": {"nick": null, "id": "1"}})),
        r#"{"user":{"id":"1","nick":null}}"#
    );
    let query = "query ($b: Boolean!) { user { friend { id } friend @include(if: $b) { name } } }";
    assert_eq!(
        graphql(query, json!({"user": {"friend": {"id": "1"}}})),
        r#"{"user":{"friend":{"id":"1"}}}"#
    );
    assert_eq!(graphql(query, json!({"user": {}})), r#"{"user":{"friend":null}}"#);
}

#[test]
fn type_conditions_choose_the_members() {
    let query = "{ thing { ... on Item { price owner { name } } ... on User { nick name } } }";
    assert_eq!(
        graphql(query, json!({"thing": {"owner": {"name": "n"}, "price": 1}})),
        r#"{"thing":{"price":1,"owner":{"name":"n"}}}"#
    );
    assert_eq!(
        graphql(query, json!({"thing": {"name": "n"}})),
        r#"{"thing":{"nick":null,"name":"n"}}"#
    );
    // The price tells that it is an item, whose owner failed.
    assert_eq!(graphql(query, json!({"thing": {"price": 1}})), r#"{"thing":null}"#);
    assert_eq!(graphql(query, json!({"thing": {}})), r#"{"thing":{}}"#);
    let query = "{ node { __typename id ... on Node { same: id } ... on Item { price } } }";
    assert_eq!(
        graphql(query, json!({"node": {"id": "1", "same": "1", "__typename": "User"}})),
        r#"{"node":{"__typename":"User","id":"1","same":"1"}}"#
    );
    assert_eq!(
        graphql(query, json!({"node": {"id": "1", "same": "1", "__typename": "Item"}})),
        r#"{"node":null}"#
    );
}

#[test]
fn introspection_passes_in_order() {
    let query = "{ __typename __schema { types { name kind ofType { name } } } __type(name: \"User\") { name } }";
    assert_eq!(
        graphql(
            query,
            json!({"__type": null, "__typename": "Query",
                "__schema": {"types": [{"ofType": null, "kind": "OBJECT", "name": "User"}]}})
        ),
        r#"{"__typename":"Query","__schema":{"types":[{"name":"User","kind":"OBJECT","ofType":null}]},"__type":null}"#
    );
}

#[test]
fn an_unwrapped_object_gives_its_members() {
    assert_eq!(
        rest(
            "{ user @unwrap { id friend @unwrap { name } kinds } }",
            json!({"user": {"kinds": ["NEW_ONE", "OLD"], "id": "1", "friend": {"name": "f"}}})
        ),
        Ok(r#"{"id":"1","name":"f","kinds":["new.one","OLD"]}"#.into())
    );
}

#[test]
fn an_unwrapped_scalar_or_list_takes_the_place_of_its_object() {
    assert_eq!(
        rest(
            "{ users { nodes { name @unwrap } maybe { friend { nick @unwrap } } } }",
            json!({"users": {
                "nodes": [{"name": "a"}, {"name": "b"}],
                "maybe": [{"friend": {"nick": "x"}}, {"friend": null}, {"friend": {"nick": null}}]}})
        ),
        Ok(r#"{"users":{"nodes":["a","b"],"maybe":[{"friend":"x"},{"friend":null},{"friend":null}]}}"#.into())
    );
    assert_eq!(
        rest(
            "{ user @unwrap { kinds @unwrap } }",
            json!({"user": {"kinds": ["NEW_ONE"]}})
        ),
        Ok(r#"["new.one"]"#.into())
    );
    assert_eq!(
        rest(
            "{ users @unwrap { nodes { name @unwrap } } }",
            json!({"users": {"nodes": [{"name": "a"}, {}]}})
        ),
        Err(Absent::Unwrapped(Name::new("Users")))
    );
}

#[test]
fn null_under_an_unwrap_is_absent() {
    let query = "{ user @unwrap { id friend @unwrap { name } } }";
    assert_eq!(
        rest(query, json!({"user": null})),
        Err(Absent::Unwrapped(Name::new("User")))
    );
    assert_eq!(
        rest(query, json!({"user": {"id": "1", "friend": null}})),
        Err(Absent::Unwrapped(Name::new("User")))
    );
    assert_eq!(rest("{ must @unwrap { id } }", json!({"must": {}})), Err(Absent::Root));
    let mut out = Vec::new();
    shape(query, Shape::rest)
        .unwrap()
        .write(&data(json!({"user": null})), &mut out);
    assert_eq!(out, b"null");
}

#[test]
fn constants_come_first() {
    let shape = shape("{ user @unwrap { id } }", Shape::rest).unwrap();
    let mut out = Vec::new();
    let constants = [r#""success":true"#.to_owned(), r#""message":"m""#.to_owned()];
    shape
        .body(&constants, &data(json!({"user": {"id": "1"}})), &mut out)
        .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"success":true,"message":"m","id":"1"}"#
    );
}

#[test]
fn pages_leave_the_body() {
    let query = "{ users @unwrap { users: nodes { id } pageInfo @pages { hasNextPage end: endCursor } } }";
    let json = json!({"users": {"users": [], "pageInfo": {"hasNextPage": true, "end": "c"}}});
    assert_eq!(rest(query, json.clone()), Ok(r#"{"users":[]}"#.into()));
    let shape = shape(query, Shape::rest).unwrap();
    assert_eq!(
        shape.pages(&data(json)),
        Some(PageInfo {
            has_next_page: true,
            end_cursor: Some("c".into()),
            ..PageInfo::default()
        })
    );
    assert_eq!(shape.pages(&data(json!({"users": null}))), None);
    assert_eq!(shape.page_links(), (true, false));
}

#[test]
fn the_graphql_rendering_does_not_know_the_directives() {
    assert_eq!(
        graphql("{ user @unwrap { kind } }", json!({"user": {"kind": "NEW_ONE"}})),
        r#"{"user":{"kind":"NEW_ONE"}}"#
    );
}

#[test]
fn one_object_of_an_event() {
    let types = Types::parse(SDL).unwrap();
    let document = parse_query("{ id friend { name @unwrap } }").unwrap();
    let (_, operation) = document.operations.iter().next().unwrap();
    let shape = Shape::of_node(&types, "User", &operation.node.selection_set.node).unwrap();
    let mut out = Vec::new();
    let json = json!({"node": {"friend": {"name": "f"}, "id": "1"}});
    assert_eq!(shape.body(&[], &data(json), &mut out), Ok(()));
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"id":"1","friend":"f"}"#);
    for other in [json!({"node": {}}), json!({"node": null}), json!({})] {
        let absent = Err(Absent::Unwrapped(Name::new("User")));
        assert_eq!(shape.body(&[], &data(other), &mut Vec::new()), absent);
    }
}

#[test]
fn what_cannot_be_unwrapped_is_refused() {
    for (query, why) in [
        (
            "{ user @unwrap { id } must @unwrap { id } }",
            "two members are named id",
        ),
        ("{ user { id friend @unwrap { id } } }", "two members are named id"),
        (
            "{ thing @unwrap { ... on User { id } } }",
            "@unwrap on Query.thing: Thing is a union",
        ),
        (
            "{ users { nodes @unwrap { id name } } }",
            "@unwrap on Users.nodes: a list of objects with more than one field under it",
        ),
        (
            "{ user { name @unwrap id } }",
            "@unwrap on User.name takes the place of its object, so it must be the only field there",
        ),
        ("{ user @pages { id } }", "@pages on Query.user: it is no PageInfo"),
        ("{ user { wrong } }", "User has no field wrong"),
        ("{ data { wrong } }", "String has no fields to select"),
        ("{ user }", "a selection of User is empty"),
        ("{ ...F }", "fragment F is not inlined"),
    ] {
        assert_eq!(refused(query), why, "{query}");
    }
}
