//! What is published of the schema is true, complete and described.

use std::{collections::BTreeSet, fmt::Write, path::Path};

use async_graphql::parser::{
    parse_schema,
    types::{FieldDefinition, InputValueDefinition, ServiceDocument, TypeDefinition, TypeKind, TypeSystemDefinition},
};

use crate::harness::Place;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn parse(sdl: &str) -> ServiceDocument {
    parse_schema(sdl).unwrap_or_else(|error| panic!("the schema does not parse: {error}"))
}

fn types(document: &ServiceDocument) -> impl Iterator<Item = &TypeDefinition> {
    document.definitions.iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) => Some(&definition.node),
        _ => None,
    })
}

fn published() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("schema.graphql")).unwrap()
}

#[tokio::test]
async fn schema_graphql_is_what_the_program_prints() {
    let place = Place::new().await;
    let output = place.run(&["schema"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        String::from_utf8(output.stdout).unwrap() == published(),
        "schema.graphql is stale: cargo run -- schema >schema.graphql"
    );
}

/// Fields that are promised and not there yet, though the types that they lead to are.
const WAITING: &[&str] = &[];

/// Every line that a client may rely on: a type with what it is, a field, argument, input member or value with its type.
fn lines(document: &ServiceDocument) -> BTreeSet<String> {
    fn inputs(lines: &mut BTreeSet<String>, of: &str, inputs: &[async_graphql::Positioned<InputValueDefinition>]) {
        for input in inputs {
            let default = input
                .node
                .default_value
                .as_ref()
                .map(|value| format!(" = {}", value.node));
            let line = format!(
                "{of}({}: {}{})",
                input.node.name.node,
                input.node.ty.node,
                default.unwrap_or_default()
            );
            lines.insert(line);
        }
    }
    fn fields(lines: &mut BTreeSet<String>, of: &str, fields: &[async_graphql::Positioned<FieldDefinition>]) {
        for field in fields {
            let name = format!("{of}.{}", field.node.name.node);
            inputs(lines, &name, &field.node.arguments);
            lines.insert(format!("{name}: {}", field.node.ty.node));
        }
    }
    let mut lines = BTreeSet::new();
    for definition in types(document) {
        let name = definition.name.node.as_str();
        match &definition.kind {
            TypeKind::Scalar => {
                lines.insert(format!("scalar {name}"));
            }
            TypeKind::Object(object) => {
                lines.insert(format!("type {name}"));
                for interface in &object.implements {
                    lines.insert(format!("type {name} implements {}", interface.node));
                }
                fields(&mut lines, name, &object.fields);
            }
            TypeKind::Interface(interface) => {
                lines.insert(format!("interface {name}"));
                fields(&mut lines, name, &interface.fields);
            }
            TypeKind::Union(union) => {
                lines.insert(format!("union {name}"));
                for member in &union.members {
                    lines.insert(format!("union {name} | {}", member.node));
                }
            }
            TypeKind::Enum(values) => {
                lines.insert(format!("enum {name}"));
                for value in &values.values {
                    let wire = value
                        .node
                        .directives
                        .iter()
                        .find(|directive| directive.node.name.node == "wire");
                    let wire = wire.and_then(|wire| wire.node.get_argument("name"));
                    let wire = wire.map(|name| format!(" @wire({})", name.node)).unwrap_or_default();
                    lines.insert(format!("enum {name} {}{wire}", value.node.value.node));
                }
            }
            TypeKind::InputObject(input) => {
                lines.insert(format!("input {name}"));
                inputs(&mut lines, name, &input.fields);
            }
        }
    }
    lines
}

/// The name that a line begins with: what has to exist for the line to matter.
fn subject(line: &str) -> &str {
    let line = ["type ", "enum ", "union ", "input ", "interface ", "scalar "]
        .iter()
        .find_map(|keyword| line.strip_prefix(keyword))
        .unwrap_or(line);
    line.split(['.', '(', ' ', ':']).next().unwrap_or_default()
}

#[test]
fn the_schema_keeps_what_its_contract_promises() {
    let contract = Path::new(ROOT).join("../shared/contract/schema.graphql");
    let Ok(contract) = std::fs::read_to_string(&contract) else {
        eprintln!("skipped: {} is not here", contract.display());
        return;
    };
    let (contract, ours) = (parse(&contract), parse(&published()));
    let ours = lines(&ours);
    let exists: BTreeSet<&str> = ours.iter().map(|line| subject(line)).collect();
    let contract = lines(&contract);
    let promised: BTreeSet<&str> = contract.iter().map(|line| subject(line)).collect();
    let waits_for = |name: &str| promised.contains(name) && !exists.contains(name);
    let named = |ty: &str| ty.trim_matches(['[', ']', '!']).to_owned();
    // What leads to a type that is not there yet may wait, with its arguments; of types that are there, nothing else.
    let waits = |line: &str| {
        let field = line.split(['(', ':']).next().unwrap_or_default();
        let mut leads_to = contract
            .iter()
            .filter_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        let last = named(line.rsplit(' ').next().unwrap_or_default());
        waits_for(subject(line))
            || waits_for(&last)
            || leads_to.any(|ty| waits_for(&named(ty)))
            || WAITING.contains(&field)
    };
    let is_there = |field: &&&str| ours.iter().any(|line| line.starts_with(&format!("{field}:")));
    let there: Vec<_> = WAITING.iter().filter(is_there).collect();
    assert!(there.is_empty(), "no longer waited for: {there:?}");
    let is_missing = |line: &&str| !ours.contains(*line) && !waits(line);
    let missing: Vec<&str> = contract.iter().map(String::as_str).filter(is_missing).collect();
    assert!(
        missing.is_empty(),
        "promised, and missing or different:\n{}",
        missing.join("\n")
    );
}

#[test]
fn everything_in_the_schema_is_described() {
    let document = parse(&published());
    let mut bare = Vec::new();
    let mut look = |name: String, description: Option<&str>| {
        if description.is_none_or(|text| text.trim().is_empty()) {
            bare.push(name);
        }
    };
    fn text(description: &Option<async_graphql::Positioned<String>>) -> Option<&str> {
        description.as_ref().map(|text| text.node.as_str())
    }
    for definition in types(&document) {
        let name = &definition.name.node;
        // The argument of a directive, which no operation may use.
        if name == "RestMethod" {
            continue;
        }
        look(name.to_string(), text(&definition.description));
        let fields = match &definition.kind {
            TypeKind::Object(object) => object.fields.as_slice(),
            TypeKind::Interface(interface) => interface.fields.as_slice(),
            _ => &[],
        };
        for field in fields {
            look(
                format!("{name}.{}", field.node.name.node),
                text(&field.node.description),
            );
            for argument in &field.node.arguments {
                let argument = &argument.node;
                look(
                    format!("{name}.{}({})", field.node.name.node, argument.name.node),
                    text(&argument.description),
                );
            }
        }
        match &definition.kind {
            TypeKind::Enum(values) => {
                for value in &values.values {
                    look(
                        format!("{name}.{}", value.node.value.node),
                        text(&value.node.description),
                    );
                }
            }
            TypeKind::InputObject(input) => {
                for field in &input.fields {
                    look(
                        format!("{name}.{}", field.node.name.node),
                        text(&field.node.description),
                    );
                }
            }
            _ => {}
        }
    }
    assert!(bare.is_empty(), "without a description: {}", bare.join(", "));
}

/// The lines of src that hold one of `words`, tests' own left out, as `file: line`.
fn source_lines(words: &[&str]) -> Vec<String> {
    fn walk(folder: &Path, words: &[&str], found: &mut Vec<String>) {
        let mut entries: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, words, found);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path
                    .file_stem()
                    .is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                let file = path.strip_prefix(ROOT).unwrap().display().to_string();
                let lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//"));
                let lines = lines.filter(|line| words.iter().any(|word| line.contains(word)));
                found.extend(lines.map(|line| format!("{file}: {line}")));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(ROOT).join("src"), words, &mut found);
    found
}

#[test]
fn who_works_without_a_caller_is_a_reviewed_list() {
    let mut list = String::new();
    // A file system is no work.
    for line in source_lines(&["System::"])
        .into_iter()
        .filter(|line| !line.contains("FileSystem::"))
    {
        writeln!(list, "{line}").unwrap();
    }
    insta::assert_snapshot!(list);
}

#[test]
fn what_is_printed_is_what_the_commands_print() {
    let mut list = String::new();
    for line in source_lines(&["println!", "print!", "dbg!"]) {
        writeln!(list, "{line}").unwrap();
    }
    insta::assert_snapshot!(list);
}
