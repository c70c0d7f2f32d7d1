//! The schema as SDL, with what the library does not know: who may use what (`@allow`) and how REST spells it (`@wire`).

use std::fmt::Write;

use async_graphql::{
    Positioned,
    parser::{
        parse_schema,
        types::{FieldDefinition, InputValueDefinition, TypeDefinition, TypeKind, TypeSystemDefinition},
    },
};

use crate::{
    ai::graphql::SessionRole,
    event::EventKind,
    gate::rules::{self, Role, Rule, Scope},
    triggers::ConsentKind,
    webhooks::DeliveryStatus,
};

/// What stands above the types: the directives of the schema and of `rest/v1.graphql`.
const DIRECTIVES: &str = r#""Makes an operation a REST route: its method and its path below /v1; `add` puts constant members into the body."
directive @rest(method: RestMethod!, path: String!, add: JSON) on QUERY | MUTATION | SUBSCRIPTION
"The whole JSON request body is this variable, or a file of a multipart one."
directive @body on VARIABLE_DEFINITION
"An object's members move up beside its siblings; a scalar or list takes the place of the object that holds it."
directive @unwrap on FIELD
"A PageInfo leaves the body and becomes `Link` headers."
directive @pages on FIELD
"How REST and the chat socket spell a value."
directive @wire(name: String!) on ENUM_VALUE
"""
Who may use this: anyone, or members with at least `role`; and the scope that an API key needs. With `login`, no API key
may. On an object type it is checked wherever such an object is reached (node, edge, payload).
"""
directive @allow(anonymous: Boolean = false, role: Role = MEMBER, scope: Scope, login: Boolean = false) on FIELD_DEFINITION | OBJECT

enum RestMethod {
  GET
  POST
  PUT
  PATCH
  DELETE
}
"#;

/// How REST spells an enum's value, where it does so in its own way.
fn wire(name: &str, value: &str) -> Option<&'static str> {
    match name {
        "Scope" => value.parse().ok().map(Scope::wire),
        "EventKind" => value.parse().ok().map(EventKind::wire),
        "ConsentKind" => value.parse().ok().map(ConsentKind::wire),
        "DeliveryStatus" => value.parse().ok().map(DeliveryStatus::wire),
        "SessionRole" => value.parse().ok().map(SessionRole::wire),
        _ => None,
    }
}

/// Makes the schema's own SDL out of what the library exports.
///
/// # Errors
///
/// A root field, field of `Viewer` or `Node` type without a rule, or a rule of something that is not in the schema.
pub fn annotate(exported: &str) -> Result<String, String> {
    let document = parse_schema(exported).map_err(|error| format!("the schema does not parse: {error}"))?;
    let mut out = String::from(DIRECTIVES);
    let mut ruled = Vec::new();
    for definition in &document.definitions {
        match definition {
            TypeSystemDefinition::Type(definition) => type_definition(&mut out, &definition.node, &mut ruled)?,
            TypeSystemDefinition::Schema(schema) => {
                let schema = &schema.node;
                out.push_str("\nschema {\n");
                for (name, root) in [
                    ("query", &schema.query),
                    ("mutation", &schema.mutation),
                    ("subscription", &schema.subscription),
                ] {
                    if let Some(root) = root {
                        line(&mut out, format_args!("  {name}: {}", root.node));
                    }
                }
                out.push_str("}\n");
            }
            TypeSystemDefinition::Directive(_) => {}
        }
    }
    let unknown = rules::FIELDS
        .iter()
        .map(|(object, field, _)| format!("{object}.{field}"))
        .chain(rules::OBJECTS.iter().map(|(object, _)| (*object).to_owned()))
        .find(|name| !ruled.contains(name));
    match unknown {
        Some(name) => Err(format!("{name} has a rule but is not in the schema")),
        None => Ok(out),
    }
}

fn type_definition(out: &mut String, definition: &TypeDefinition, ruled: &mut Vec<String>) -> Result<(), String> {
    let name = definition.name.node.as_str();
    out.push('\n');
    description(out, "", definition.description.as_ref());
    match &definition.kind {
        TypeKind::Scalar => line(out, format_args!("scalar {name}")),
        TypeKind::Object(object) => {
            let rule = rules::object(name);
            if rule.is_some() {
                ruled.push(name.to_owned());
            }
            let implements: Vec<_> = object.implements.iter().map(|name| name.node.as_str()).collect();
            if implements.contains(&"Node") && rule.is_none() {
                return Err(format!("{name} is a Node without a rule"));
            }
            let implements = match implements.is_empty() {
                true => String::new(),
                false => format!(" implements {}", implements.join(" & ")),
            };
            line(out, format_args!("type {name}{implements}{} {{", allow(rule)));
            for field in &object.fields {
                let rule = rules::field(name, &field.node.name.node);
                if rule.is_some() {
                    ruled.push(format!("{name}.{}", field.node.name.node));
                } else if matches!(name, "Query" | "Mutation" | "Subscription" | "Viewer") {
                    return Err(format!("{name}.{} has no rule", field.node.name.node));
                }
                field_definition(out, &field.node, &allow(rule));
            }
            out.push_str("}\n");
        }
        TypeKind::Interface(interface) => {
            line(out, format_args!("interface {name} {{"));
            for field in &interface.fields {
                field_definition(out, &field.node, "");
            }
            out.push_str("}\n");
        }
        TypeKind::Union(union) => {
            let members: Vec<_> = union.members.iter().map(|name| name.node.as_str()).collect();
            line(out, format_args!("union {name} = {}", members.join(" | ")));
        }
        TypeKind::Enum(values) => {
            line(out, format_args!("enum {name} {{"));
            for value in &values.values {
                description(out, "  ", value.node.description.as_ref());
                let value = value.node.value.node.as_str();
                match wire(name, value) {
                    Some(wire) => line(out, format_args!("  {value} @wire(name: {wire:?})")),
                    None => line(out, format_args!("  {value}")),
                }
            }
            out.push_str("}\n");
        }
        TypeKind::InputObject(object) => {
            line(out, format_args!("input {name} {{"));
            for field in &object.fields {
                description(out, "  ", field.node.description.as_ref());
                line(out, format_args!("  {}", input_value(&field.node)));
            }
            out.push_str("}\n");
        }
    }
    Ok(())
}

fn field_definition(out: &mut String, field: &FieldDefinition, allow: &str) {
    description(out, "  ", field.description.as_ref());
    if field.arguments.is_empty() {
        line(out, format_args!("  {}: {}{allow}", field.name.node, field.ty.node));
        return;
    }
    line(out, format_args!("  {}(", field.name.node));
    for argument in &field.arguments {
        description(out, "    ", argument.node.description.as_ref());
        line(out, format_args!("    {}", input_value(&argument.node)));
    }
    line(out, format_args!("  ): {}{allow}", field.ty.node));
}

fn input_value(input: &InputValueDefinition) -> String {
    match &input.default_value {
        Some(default) => format!("{}: {} = {}", input.name.node, input.ty.node, default.node),
        None => format!("{}: {}", input.name.node, input.ty.node),
    }
}

fn allow(rule: Option<&Rule>) -> String {
    let Some(rule) = rule else {
        return String::new();
    };
    let mut arguments = Vec::new();
    if rule.anonymous {
        arguments.push("anonymous: true".to_owned());
    }
    if rule.role != Role::Member {
        arguments.push(format!("role: {}", rule.role.graphql()));
    }
    if let Some(scope) = rule.scope {
        arguments.push(format!("scope: {}", scope.graphql()));
    }
    if rule.login {
        arguments.push("login: true".to_owned());
    }
    match arguments.is_empty() {
        true => " @allow".to_owned(),
        false => format!(" @allow({})", arguments.join(", ")),
    }
}

/// The longest line of a description, as everywhere in this repository.
const WIDTH: usize = 120;

fn description(out: &mut String, indent: &str, text: Option<&Positioned<String>>) {
    let Some(text) = text.map(|text| text.node.trim()) else {
        return;
    };
    let quoted = format!("{indent}\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    if !text.contains('\n') && quoted.chars().count() <= WIDTH {
        line(out, format_args!("{quoted}"));
        return;
    }
    line(out, format_args!("{indent}\"\"\""));
    for paragraph in text.replace("\"\"\"", "\\\"\"\"").lines() {
        let mut written = indent.to_owned();
        for word in paragraph.split_whitespace() {
            if written.chars().count() + 1 + word.chars().count() > WIDTH {
                line(out, format_args!("{written}"));
                written = indent.to_owned();
            }
            if written.len() > indent.len() {
                written.push(' ');
            }
            written.push_str(word);
        }
        line(out, format_args!("{}", written.trim_end()));
    }
    line(out, format_args!("{indent}\"\"\""));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes everything");
}
