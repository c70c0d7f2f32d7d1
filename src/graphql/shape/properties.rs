//! For any selection and any data of its type, REST writes what unwrapping the GraphQL data by hand gives.

use async_graphql::parser::parse_query;
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;

const SDL: &str = r#"
        enum Kind { NEW_ONE @wire(name: "new.one") OLD @wire(name: "old") PLAIN }
        type Query {
            text: String
            number: Int!
            kind: Kind!
            kinds: [Kind!]
            one: Query
            must: Query!
            list: [Query!]!
            maybe: [Query]
        }
    "#;

const LEAVES: [&str; 4] = ["number", "text", "kind", "kinds"];
const OBJECTS: [&str; 4] = ["one", "must", "list", "maybe"];

/// Decisions that shrink to the first possibility.
struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % bound
    }
}

/// A field of a selection; its key is unique in the operation.
#[derive(Debug)]
struct Node {
    key: String,
    field: &'static str,
    unwrap: bool,
    under: Vec<Node>,
}

impl Node {
    fn is_list(&self) -> bool {
        matches!(self.field, "list" | "maybe" | "kinds")
    }

    /// Whether it is an object in the answer, rather than something to put in an object's place.
    fn is_object(&self) -> bool {
        !self.under.is_empty() && !self.is_list() && !is_replaced(&self.under)
    }

    fn query(&self) -> String {
        let unwrap = if self.unwrap { " @unwrap" } else { "" };
        let under = match self.under.as_slice() {
            [] => String::new(),
            under => query(under),
        };
        format!("{}: {}{unwrap} {under}", self.key, self.field)
    }
}

fn is_replaced(nodes: &[Node]) -> bool {
    matches!(nodes, [only] if only.unwrap && !only.is_object())
}

fn query(nodes: &[Node]) -> String {
    let nodes: Vec<String> = nodes.iter().map(Node::query).collect();
    format!("{{ {} }}", nodes.join(" "))
}

fn selection(choices: &mut Choices, depth: usize, keys: &mut usize) -> Vec<Node> {
    let count = 1 + choices.below(3);
    (0..count)
        .map(|_| {
            let is_leaf = depth == 0 || choices.below(2) == 0;
            let field = if is_leaf {
                LEAVES[choices.below(4)]
            } else {
                OBJECTS[choices.below(4)]
            };
            *keys += 1;
            let key = format!("k{keys}");
            let under = if is_leaf {
                Vec::new()
            } else {
                selection(choices, depth - 1, keys)
            };
            let mut node = Node {
                key,
                field,
                unwrap: false,
                under,
            };
            let may = if count == 1 {
                !node.is_list() || node.under.len() < 2
            } else {
                node.is_object()
            };
            node.unwrap = may && choices.below(2) == 1;
            node
        })
        .collect()
}

/// What GraphQL returns for a selection.
fn data(choices: &mut Choices, nodes: &[Node]) -> Json {
    let members = nodes.iter().map(|node| (node.key.clone(), member(choices, node)));
    Json::Object(members.collect())
}

fn member(choices: &mut Choices, node: &Node) -> Json {
    if matches!(node.field, "text" | "kinds" | "one" | "maybe") && choices.below(5) == 4 {
        return Json::Null;
    }
    let kind = |choices: &mut Choices| json!(["NEW_ONE", "OLD", "PLAIN"][choices.below(3)]);
    match node.field {
        "number" => json!(choices.below(100)),
        "text" => json!(["", "\"quoted\"", "ä"][choices.below(3)]),
        "kind" => kind(choices),
        "kinds" => (0..choices.below(3)).map(|_| kind(choices)).collect(),
        "list" => (0..choices.below(3)).map(|_| data(choices, &node.under)).collect(),
        "maybe" => (0..choices.below(3))
            .map(|_| {
                if choices.below(4) == 3 {
                    Json::Null
                } else {
                    data(choices, &node.under)
                }
            })
            .collect(),
        _ => data(choices, &node.under),
    }
}

/// The same by hand; `None` where there is nothing to unwrap.
fn unwrapped(nodes: &[Node], data: &Json) -> Option<Json> {
    if is_replaced(nodes) {
        return rendered(&nodes[0], &data[&nodes[0].key]);
    }
    let mut members = Map::new();
    for node in nodes {
        let value = &data[&node.key];
        if !node.unwrap {
            members.insert(node.key.clone(), rendered(node, value)?);
        } else if let Json::Object(inner) = unwrapped(&node.under, value.as_object().map(|_| value)?)? {
            members.extend(inner);
        }
    }
    Some(Json::Object(members))
}

fn rendered(node: &Node, value: &Json) -> Option<Json> {
    Some(match value {
        Json::Array(items) => Json::Array(items.iter().map(|item| rendered(node, item)).collect::<Option<_>>()?),
        Json::Object(_) => unwrapped(&node.under, value)?,
        Json::String(name) if node.field.starts_with("kind") => {
            json!(name.replace("NEW_ONE", "new.one").replace("OLD", "old"))
        }
        other => other.clone(),
    })
}

/// As the library returns it: members in another order.
fn completed(data: &Json) -> Value {
    match data {
        Json::Object(members) => Value::Object(
            members
                .iter()
                .rev()
                .map(|(key, value)| (Name::new(key), completed(value)))
                .collect(),
        ),
        Json::Array(items) => Value::List(items.iter().map(completed).collect()),
        other => Value::from_json(other.clone()).unwrap(),
    }
}

proptest! {
    #[test]
    fn rest_is_unwrapped_graphql(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let types = Types::parse(SDL).unwrap();
        let mut choices = Choices(bytes.into_iter());
        let nodes = selection(&mut choices, 4, &mut 0);
        let data = data(&mut choices, &nodes);
        let source = query(&nodes);
        let document = parse_query(&source).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        let selection = &operation.node.selection_set.node;

        let shape = Shape::rest(&types, "Query", selection);
        prop_assert!(shape.is_ok(), "{source}: {shape:?}");
        let mut body = Vec::new();
        let written = shape.unwrap().body(&[], &completed(&data), &mut body);
        let body = written.ok().map(|()| String::from_utf8(body).unwrap());
        prop_assert_eq!(body, unwrapped(&nodes, &data).map(|json| json.to_string()), "{}", source);

        let mut graphql = Vec::new();
        Shape::new(&types, "Query", selection).unwrap().write(&completed(&data), &mut graphql);
        prop_assert_eq!(String::from_utf8(graphql).unwrap(), data.to_string(), "{}", source);
    }
}
