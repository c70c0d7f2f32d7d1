//! The OpenAPI 3.1 document of `/v1`, derived from the operations and the schema.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::parser::types::{BaseType, OperationType, Selection, SelectionSet, Type};
use async_graphql_value::Value as Literal;
use serde_json::{Map, Value, json};

use super::{Fragment, Operation, Rest, Source, Variable, examples};
use crate::{
    error::{Kind as ErrorKind, TABLE},
    gate::rules::{Role, Rule, Scope},
    graphql::{
        coerce::root_type,
        shape::{Kind, Member, Object, Plan, Slot},
        types::{InputDef, TypeDef, TypeDefKind, Types, base_name},
    },
};

/// What is true of all routes, in Markdown.
const ABOUT: &str = "\
The REST routes of the BambiSleep.Chat API. Each is one operation of the GraphQL schema.

**Errors** have one form, `{\"error\": true, \"code\", \"message\", \"details\"}`, and `code` is the one to go by.

**Budget:** every member and every address without a login has one for a minute; a call takes one of it. The `RateLimit-*` \
headers tell what is left, and `429` says in `Retry-After` when to come back.

**Lists** come in pages of `first` entries; the `Link` header has the address of the next one.

**Repeating:** a change that is sent again with the same `Idempotency-Key` within a day happens once, and is answered as \
the first time.";

/// Describes all routes. `public_url` is the public origin without a slash at its end; `without_keys` names the
/// mutation fields that take no `Idempotency-Key`.
pub fn document(rest: &Rest, types: &Types, public_url: &str, without_keys: &[&str]) -> Value {
    let mut document = Document {
        types,
        fragments: Vec::new(),
        schemas: BTreeMap::new(),
    };
    // A fragment in a fragment is found by its name too, so the small ones come first.
    let mut fragments: Vec<&Fragment> = rest.fragments().collect();
    fragments.sort_by_key(|fragment| members(&fragment.shape.root().kind));
    for fragment in fragments {
        let schema = document.kind(&fragment.shape.root().kind);
        document.fragments.push((fragment.name.to_string(), schema));
    }
    let mut paths: Map<String, Value> = Map::new();
    let mut tags: Vec<Value> = Vec::new();
    for operation in rest.operations() {
        if operation.kind == OperationType::Subscription {
            continue;
        }
        let mut described = document.operation(operation, !without_keys.contains(&operation.field.as_str()));
        if let Some(stream) = rest.stream_of(operation) {
            described["responses"]["200"]["content"]["text/event-stream"] = document.events(stream);
        }
        let tag = json!({ "name": tag(operation) });
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        let method = operation.method.as_str().to_ascii_lowercase();
        paths.entry(operation.template()).or_insert_with(|| json!({}))[method] = described;
    }
    document.schemas.insert("Error".to_owned(), error_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "BambiSleep.Chat API",
            "version": "1",
            "description": ABOUT,
            "contact": {
                "name": "BambiSleep.Chat API support",
                "email": "api@bambisleep.chat",
                "url": "https://discord.gg/E7U5BxVttv",
            },
        },
        "servers": [{ "url": format!("{public_url}/v1") }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": document.schemas,
            "parameters": { "IdempotencyKey": idempotency_key() },
            "headers": headers(),
            "securitySchemes": {
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "bambisleep_session",
                    "description": "Set by registration and login; 30 days from the last use.",
                },
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`bsc_…`), which must have the scopes that the operation names, or a session token.",
                },
            },
        },
    })
}

struct Document<'a> {
    types: &'a Types,
    /// The schema of each fragment; an object of the same schema refers to it.
    fragments: Vec<(String, Value)>,
    schemas: BTreeMap<String, Value>,
}

/// What a caller needs.
#[derive(Debug, Default)]
struct Needs {
    anonymous: bool,
    role: Option<Role>,
    scopes: BTreeSet<Scope>,
}

impl Document<'_> {
    fn operation(&mut self, operation: &Operation, takes_key: bool) -> Value {
        let needs = self.needs(operation);
        let takes_key = takes_key && operation.kind == OperationType::Mutation && !needs.anonymous;
        let mut described = json!({
            "operationId": operation.name.as_str(),
            "summary": sentence(&operation.name),
            "tags": [tag(operation)],
        });
        let description = self.description(operation, &needs);
        if !description.is_empty() {
            described["description"] = Value::from(description);
        }
        let mut parameters: Vec<Value> = operation
            .variables
            .iter()
            .filter_map(|variable| self.parameter(operation, variable))
            .collect();
        if takes_key {
            parameters.push(json!({ "$ref": "#/components/parameters/IdempotencyKey" }));
        }
        if !parameters.is_empty() {
            described["parameters"] = Value::Array(parameters);
        }
        if let Some(body) = self.request_body(operation) {
            described["requestBody"] = body;
        }
        let mut responses = Map::new();
        responses.insert("200".to_owned(), self.success(operation));
        responses.extend(failures(operation, &needs, takes_key));
        described["responses"] = Value::Object(responses);
        described["security"] = if needs.anonymous {
            json!([])
        } else {
            let scopes: Vec<_> = needs.scopes.iter().map(|scope| scope.wire()).collect();
            json!([{ "session": [] }, { "bearer": scopes }])
        };
        described
    }

    fn description(&self, operation: &Operation, needs: &Needs) -> String {
        let field = root_type(self.types, operation.kind)
            .and_then(|root| self.types.field(root, &operation.field))
            .and_then(|field| field.description.clone());
        let mut parts: Vec<String> = operation.description.clone().or(field).into_iter().collect();
        if needs.anonymous {
            parts.push("Anyone may.".to_owned());
        } else if let Some(role) = needs.role {
            parts.push(format!("Needs the role `{}`.", role.wire()));
        }
        if !needs.scopes.is_empty() {
            let scopes: Vec<_> = needs.scopes.iter().map(|scope| format!("`{}`", scope.wire())).collect();
            parts.push(format!("An API key needs {}.", scopes.join(", ")));
        }
        parts.join("\n\n")
    }

    /// The rules of everything that the operation reaches: they are checked together before it runs.
    fn needs(&self, operation: &Operation) -> Needs {
        let mut needs = Needs::default();
        let root = root_type(self.types, operation.kind).and_then(|root| self.rule(root, &operation.field));
        needs.anonymous = root.is_some_and(|rule| rule.anonymous);
        if !needs.anonymous {
            self.collect_needs(&operation.shape.root().kind, &mut needs);
        }
        // A write scope includes its area's read scope.
        let all = needs.scopes.clone();
        needs
            .scopes
            .retain(|scope| !all.iter().any(|other| other != scope && other.includes(*scope)));
        needs
    }

    fn collect_needs(&self, kind: &Kind, needs: &mut Needs) {
        let members = match kind {
            Kind::Scalar(_) | Kind::Enum { .. } | Kind::Open(_) => return,
            Kind::List(of) => return self.collect_needs(&of.kind, needs),
            Kind::Replaced(member) => std::slice::from_ref(&**member),
            Kind::Object(object) => object.members.as_slice(),
        };
        for member in members {
            self.member_needs(member, needs);
        }
    }

    fn member_needs(&self, member: &Member, needs: &mut Needs) {
        if let Some(rule) = self.rule(&member.parent, &member.field) {
            needs.scopes.extend(rule.scope);
            if rule.role > Role::Member {
                needs.role = needs.role.max(Some(rule.role));
            }
        }
        match &member.slot {
            Slot::Value(plan) => self.collect_needs(&plan.kind, needs),
            Slot::Inline { object, .. } => {
                for member in &object.members {
                    self.member_needs(member, needs);
                }
            }
            Slot::Pages => {}
        }
    }

    /// The rule of a field, else of its type.
    fn rule(&self, parent: &str, field: &str) -> Option<Rule> {
        let field = self.types.field(parent, field)?;
        field.rule.or_else(|| self.types.get(base_name(&field.ty))?.rule)
    }

    fn parameter(&mut self, operation: &Operation, variable: &Variable) -> Option<Value> {
        let place = match variable.source {
            Source::Path(_) => "path",
            Source::Query => "query",
            Source::Member | Source::Body | Source::File => return None,
        };
        let mut parameter = json!({
            "name": variable.name().as_str(),
            "in": place,
            "required": variable.is_required(),
            "schema": self.variable_schema(variable),
        });
        if let Some(description) = self.variable_description(operation, variable) {
            parameter["description"] = Value::from(description);
        }
        if place == "path" {
            parameter["example"] = examples::parameter(variable.name());
        }
        Some(parameter)
    }

    /// A parameter is there or not; it cannot be null.
    fn variable_schema(&mut self, variable: &Variable) -> Value {
        let definition = &variable.definition.node;
        let mut schema = match &definition.var_type.node.base {
            BaseType::Named(name) => self.named(name),
            BaseType::List(of) => json!({ "type": "array", "items": self.input(of) }),
        };
        if matches!(variable.name().as_str(), "first" | "last") {
            schema["minimum"] = json!(1);
            schema["maximum"] = json!(100);
        }
        if let Some(default) = &definition.default_value {
            let default = self.wire_default(base_name(&definition.var_type.node), default.node.clone());
            schema = with_sibling(schema, "default", default);
        }
        schema
    }

    /// What the schema says of the argument that the variable goes into.
    fn variable_description(&self, operation: &Operation, variable: &Variable) -> Option<String> {
        let root = root_type(self.types, operation.kind)?;
        let (_, document) = operation.document.operations.iter().next()?;
        let argument = self.argument(root, &document.node.selection_set.node, variable.name())?;
        let text = argument.description.clone();
        text.or_else(|| {
            let text = match argument.name.as_str() {
                "first" => "How many at most, 1 to 100.",
                "last" => "How many at most, counted from the end, 1 to 100.",
                "after" => "Continues after this cursor; `Link` headers carry it.",
                "before" => "Ends before this cursor; `Link` headers carry it.",
                _ => return None,
            };
            Some(text.to_owned())
        })
    }

    fn argument(&self, parent: &str, selection: &SelectionSet, variable: &str) -> Option<&InputDef> {
        selection.items.iter().find_map(|item| match &item.node {
            Selection::Field(field) => {
                let definition = self.types.field(parent, &field.node.name.node)?;
                let used = field
                    .node
                    .arguments
                    .iter()
                    .find(|(_, value)| matches!(&value.node, Literal::Variable(name) if name == variable));
                match used {
                    Some((name, _)) => definition.arguments.iter().find(|argument| argument.name == name.node),
                    None => self.argument(base_name(&definition.ty), &field.node.selection_set.node, variable),
                }
            }
            Selection::InlineFragment(fragment) => {
                let condition = fragment.node.type_condition.as_ref();
                let on = condition.map_or(parent, |condition| condition.node.on.node.as_str());
                self.argument(on, &fragment.node.selection_set.node, variable)
            }
            Selection::FragmentSpread(_) => None,
        })
    }

    fn request_body(&mut self, operation: &Operation) -> Option<Value> {
        if let Some(file) = operation.file() {
            let mut schema = self.named(base_name(&file.definition.node.var_type.node));
            if let Some(description) = self.variable_description(operation, file) {
                schema = with_sibling(schema, "description", Value::from(description));
            }
            let name = file.name().as_str();
            let schema = json!({ "type": "object", "properties": { name: schema }, "required": [name] });
            return Some(json!({ "required": true, "content": { "multipart/form-data": { "schema": schema } } }));
        }
        let (schema, required, example) = match operation
            .variables
            .iter()
            .find(|variable| variable.source == Source::Body)
        {
            Some(body) => {
                let ty = base_name(&body.definition.node.var_type.node).clone();
                (self.named(&ty), body.is_required(), self.input_example(&ty))
            }
            None => {
                let members: Vec<&Variable> = operation
                    .variables
                    .iter()
                    .filter(|variable| variable.source == Source::Member)
                    .collect();
                if members.is_empty() {
                    return None;
                }
                let mut properties = Map::new();
                for member in &members {
                    let definition = &member.definition.node;
                    let mut schema = self.input(&definition.var_type.node);
                    if let Some(description) = self.variable_description(operation, member) {
                        schema = with_sibling(schema, "description", Value::from(description));
                    }
                    if let Some(default) = &definition.default_value {
                        let default = self.wire_default(base_name(&definition.var_type.node), default.node.clone());
                        schema = with_sibling(schema, "default", default);
                    }
                    properties.insert(member.name().to_string(), schema);
                }
                let required: Vec<_> = members
                    .iter()
                    .filter(|member| member.is_required())
                    .map(|member| member.name().as_str())
                    .collect();
                let mut schema = json!({ "type": "object", "properties": properties });
                if !required.is_empty() {
                    schema["required"] = json!(required);
                }
                (schema, !required.is_empty(), None)
            }
        };
        let mut content = json!({ "schema": schema });
        if let Some(example) = example {
            content["example"] = example;
        }
        Some(json!({ "required": required, "content": { "application/json": content } }))
    }

    fn success(&mut self, operation: &Operation) -> Value {
        let plan = operation.shape.root();
        let mut schema = self.kind(&plan.kind);
        let mut example = examples::of(self.types, &plan.kind);
        if !operation.add.is_empty() {
            // Constants come first here too.
            let mut properties: Map<String, Value> = operation
                .add
                .iter()
                .map(|(name, value)| (name.clone(), json!({ "const": value })))
                .collect();
            let mut required: Vec<Value> = operation.add.keys().map(|name| json!(name)).collect();
            let schema = self.resolved(&mut schema);
            if let Some(Value::Object(members)) = schema.get("properties") {
                properties.extend(members.clone());
            }
            if let Some(Value::Array(members)) = schema.get("required") {
                required.extend(members.clone());
            }
            schema["properties"] = Value::Object(properties);
            schema["required"] = Value::Array(required);
            let mut body = operation.add.clone();
            if let Value::Object(members) = example {
                body.extend(members);
            }
            example = Value::Object(body);
        }
        let mut headers = rate_limit_headers();
        if operation.shape.has_pages() {
            headers.insert("Link".to_owned(), json!({ "$ref": "#/components/headers/Link" }));
        }
        json!({
            "description": "Done.",
            "headers": headers,
            "content": { "application/json": { "schema": schema, "example": example } },
        })
    }

    /// The answer as it comes, for clients that take `text/event-stream`.
    fn events(&mut self, stream: &Operation) -> Value {
        let kind = &stream.shape.root().kind;
        let mut parts: Vec<String> = stream.description.clone().into_iter().collect();
        parts.push(
            "Each event `next` has JSON of this schema; an event `error` has an error; the last event is `complete`."
                .to_owned(),
        );
        json!({
            "schema": {
                "type": "string",
                "description": parts.join("\n\n"),
                "contentMediaType": "application/json",
                "contentSchema": self.kind(kind),
            },
        })
    }

    /// The schema itself where it is a reference to a fragment's.
    fn resolved<'s>(&self, schema: &'s mut Value) -> &'s mut Value {
        let name = schema["$ref"]
            .as_str()
            .and_then(|reference| reference.rsplit('/').next());
        if let Some(target) = name.and_then(|name| self.schemas.get(name)) {
            *schema = target.clone();
        }
        schema
    }

    fn plan(&mut self, plan: &Plan) -> Value {
        let schema = self.kind(&plan.kind);
        if is_nullable(plan) { nullable(schema) } else { schema }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Scalar(name) => self.named(name),
            Kind::Enum { type_name, .. } => self.named(type_name),
            Kind::List(of) => json!({ "type": "array", "items": self.plan(of) }),
            Kind::Replaced(member) => match &member.slot {
                Slot::Value(plan) => self.kind(&plan.kind),
                Slot::Inline { .. } | Slot::Pages => json!({}),
            },
            Kind::Object(object) => self.object(object),
            Kind::Open(_) => json!({}),
        }
    }

    fn object(&mut self, object: &Object) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        self.members(object, true, &mut properties, &mut required);
        let mut schema = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            schema["required"] = Value::Array(required);
        }
        let known = self.fragments.iter().find(|(_, fragment)| *fragment == schema);
        match known.map(|(name, _)| name.clone()) {
            Some(name) => {
                let mut schema = schema;
                // An inlined object has the type of the object below it; the fragment's name says which.
                if let Some(text) = self
                    .types
                    .get(&name)
                    .and_then(|definition| definition.description.clone())
                {
                    schema["description"] = Value::from(text);
                }
                let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
                self.schemas.insert(name, schema);
                reference
            }
            None => schema,
        }
    }

    fn members(
        &mut self,
        object: &Object,
        is_certain: bool,
        properties: &mut Map<String, Value>,
        required: &mut Vec<Value>,
    ) {
        for member in &object.members {
            let is_certain = is_certain && member.is_certain(object);
            match &member.slot {
                Slot::Value(plan) => {
                    let mut schema = self.plan(plan);
                    let field = self.types.field(&member.parent, &member.field);
                    if let Some(description) = field.and_then(|field| field.description.clone()) {
                        schema = with_sibling(schema, "description", Value::from(description));
                    }
                    properties.insert(member.key.to_string(), schema);
                    if is_certain {
                        required.push(Value::from(member.key.as_str()));
                    }
                }
                Slot::Inline { object, .. } => self.members(object, is_certain, properties, required),
                Slot::Pages => {}
            }
        }
    }

    /// The schema of an input value.
    fn input(&mut self, ty: &Type) -> Value {
        let schema = match &ty.base {
            BaseType::Named(name) => self.named(name),
            BaseType::List(of) => json!({ "type": "array", "items": self.input(of) }),
        };
        if ty.nullable { nullable(schema) } else { schema }
    }

    /// A scalar in place, an enum or an input object as a reference.
    fn named(&mut self, name: &str) -> Value {
        let types = self.types;
        match types.get(name) {
            Some(definition) => match &definition.kind {
                TypeDefKind::Enum { .. } | TypeDefKind::Input { .. } => {
                    if !self.schemas.contains_key(name) {
                        // There before it is complete: an input object may contain itself.
                        self.schemas.insert(name.to_owned(), json!({}));
                        let schema = self.component(definition);
                        self.schemas.insert(name.to_owned(), schema);
                    }
                    json!({ "$ref": format!("#/components/schemas/{name}") })
                }
                _ => scalar(name, definition.description.as_deref()),
            },
            None => json!({}),
        }
    }

    fn component(&mut self, definition: &TypeDef) -> Value {
        let mut schema = match &definition.kind {
            TypeDefKind::Enum { values } => {
                let names: Vec<&str> = values.iter().map(|value| value.wire.as_str()).collect();
                let described: Vec<String> = values
                    .iter()
                    .filter_map(|value| Some(format!("- `{}`: {}", value.wire, value.description.as_ref()?)))
                    .collect();
                let texts: Vec<String> = definition.description.clone().into_iter().collect();
                let text = [texts, described].concat().join("\n");
                let mut schema = json!({ "type": "string", "enum": names });
                if !text.is_empty() {
                    schema["description"] = Value::from(text);
                }
                return schema;
            }
            TypeDefKind::Input { fields } => {
                let mut properties = Map::new();
                let mut required = Vec::new();
                for field in fields {
                    let mut schema = self.input(&field.ty);
                    if let Some(description) = &field.description {
                        schema = with_sibling(schema, "description", Value::from(description.as_str()));
                    }
                    if let Some(default) = &field.default {
                        let default = self.wire_default(base_name(&field.ty), default.clone());
                        schema = with_sibling(schema, "default", default);
                    } else if !field.ty.nullable {
                        required.push(field.name.as_str());
                    }
                    properties.insert(field.name.to_string(), schema);
                }
                let mut schema = json!({ "type": "object", "properties": properties });
                if !required.is_empty() {
                    schema["required"] = json!(required);
                }
                schema
            }
            _ => json!({}),
        };
        if let Some(description) = &definition.description {
            schema["description"] = Value::from(description.as_str());
        }
        schema
    }

    /// A default as REST spells it.
    fn wire_default(&self, type_name: &str, default: async_graphql::Value) -> Value {
        let literal = default.into_json().unwrap_or_default();
        match (self.types.get(type_name).map(|definition| &definition.kind), &literal) {
            (Some(TypeDefKind::Enum { values }), Value::String(name)) => values
                .iter()
                .find(|value| value.name == *name)
                .map_or(literal.clone(), |value| Value::from(value.wire.as_str())),
            _ => literal,
        }
    }

    /// An example of an input object: the published one, else its required members.
    fn input_example(&self, type_name: &str) -> Option<Value> {
        if let Some(example) = examples::input(type_name) {
            return Some(example);
        }
        let TypeDefKind::Input { fields } = &self.types.get(type_name)?.kind else {
            return None;
        };
        let members: Map<String, Value> = fields
            .iter()
            .filter(|field| !field.ty.nullable && field.default.is_none())
            .map(|field| {
                let example = examples::value(self.types, type_name, &field.name, base_name(&field.ty));
                let is_list = matches!(field.ty.base, BaseType::List(_));
                (field.name.to_string(), if is_list { json!([example]) } else { example })
            })
            .collect();
        Some(Value::Object(members))
    }
}

/// How many members an object has, those under it included.
fn members(kind: &Kind) -> usize {
    let of = |member: &Member| match &member.slot {
        Slot::Value(plan) => 1 + members(&plan.kind),
        Slot::Inline { object, .. } => object.members.len(),
        Slot::Pages => 0,
    };
    match kind {
        Kind::Object(object) => object.members.iter().map(of).sum(),
        Kind::List(plan) => members(&plan.kind),
        Kind::Replaced(_) | Kind::Scalar(_) | Kind::Enum { .. } | Kind::Open(_) => 0,
    }
}

/// Null in place of the object or of what took its place.
fn is_nullable(plan: &Plan) -> bool {
    let inner = match &plan.kind {
        Kind::Replaced(member) => matches!(&member.slot, Slot::Value(inner) if is_nullable(inner)),
        _ => false,
    };
    plan.nullable || inner
}

fn nullable(mut schema: Value) -> Value {
    match schema.get("type") {
        Some(Value::String(name)) => {
            schema["type"] = json!([name, "null"]);
            schema
        }
        Some(_) => schema,
        None if schema == json!({}) => schema,
        None => json!({ "anyOf": [schema, { "type": "null" }] }),
    }
}

/// JSON Schema of 2020-12, which OpenAPI 3.1 uses, allows members beside `$ref`.
fn with_sibling(mut schema: Value, name: &str, value: Value) -> Value {
    schema[name] = value;
    schema
}

fn scalar(name: &str, description: Option<&str>) -> Value {
    let mut schema = match name {
        "Int" => json!({ "type": "integer", "format": "int32" }),
        "Float" => json!({ "type": "number" }),
        "Boolean" => json!({ "type": "boolean" }),
        "DateTime" => json!({ "type": "string", "format": "date-time" }),
        "URL" => json!({ "type": "string", "format": "uri", "maxLength": 2048 }),
        "String" | "ID" => json!({ "type": "string" }),
        "Upload" => json!({ "type": "string", "format": "binary" }),
        _ => json!({}),
    };
    if let Some(description) = description {
        schema["description"] = Value::from(description);
    }
    schema
}

fn tag(operation: &Operation) -> &str {
    match operation.path.first() {
        Some(super::Segment::Literal(literal)) => literal,
        _ => "api",
    }
}

/// `ListTriggers` as `List triggers`.
fn sentence(name: &str) -> String {
    let mut sentence = String::with_capacity(name.len() + 4);
    for (index, c) in name.char_indices() {
        if index > 0 && c.is_ascii_uppercase() {
            sentence.push(' ');
            sentence.push(c.to_ascii_lowercase());
        } else {
            sentence.push(c);
        }
    }
    sentence
}

/// The errors that an operation can answer with, by their status.
fn failures(operation: &Operation, needs: &Needs, takes_key: bool) -> Vec<(String, Value)> {
    let mut by_status: BTreeMap<u16, Vec<(&str, &str)>> = BTreeMap::new();
    for (kind, code, status, when) in TABLE {
        if can_fail(operation, needs, takes_key, *kind) {
            by_status.entry(*status).or_default().push((code, when));
        }
    }
    by_status
        .into_iter()
        .map(|(status, codes)| {
            let description: Vec<String> = codes.iter().map(|(code, when)| format!("`{code}`: {when}")).collect();
            let names: Vec<&str> = codes.iter().map(|(code, _)| *code).collect();
            let mut headers = rate_limit_headers();
            if matches!(status, 429 | 503) {
                headers.insert(
                    "Retry-After".to_owned(),
                    json!({ "$ref": "#/components/headers/Retry-After" }),
                );
            }
            let response = json!({
                "description": description.join("\n"),
                "headers": headers,
                "content": { "application/json": { "schema": {
                    "allOf": [
                        { "$ref": "#/components/schemas/Error" },
                        { "properties": { "code": { "enum": names } } },
                    ],
                } } },
            });
            (status.to_string(), response)
        })
        .collect()
}

fn can_fail(operation: &Operation, needs: &Needs, takes_key: bool, kind: ErrorKind) -> bool {
    let is_mutation = operation.kind == OperationType::Mutation;
    let has_body = operation
        .variables
        .iter()
        .any(|variable| matches!(variable.source, Source::Body | Source::Member | Source::File));
    let has = |scopes: &[Scope]| scopes.iter().any(|scope| needs.scopes.contains(scope));
    match kind {
        ErrorKind::GraphqlParseFailed
        | ErrorKind::GraphqlValidationFailed
        | ErrorKind::QueryTooComplex
        | ErrorKind::MethodNotAllowed => false,
        ErrorKind::BadRequest | ErrorKind::ValidationFailed => !operation.variables.is_empty(),
        ErrorKind::Unauthenticated | ErrorKind::Forbidden => !needs.anonymous,
        ErrorKind::ProfilePrivate => has(&[Scope::ProfileRead, Scope::ProfileWrite]),
        ErrorKind::Muted => has(&[Scope::ChatWrite]),
        ErrorKind::NotFound => operation
            .variables
            .iter()
            .any(|variable| matches!(variable.source, Source::Path(_)) || variable.name() == "after"),
        ErrorKind::CrossSite | ErrorKind::Conflict => is_mutation,
        ErrorKind::IdempotencyConflict => takes_key,
        ErrorKind::PayloadTooLarge | ErrorKind::UnsupportedMediaType => has_body,
        ErrorKind::UpstreamFailed => is_mutation && has(&[Scope::AiGenerate]),
        ErrorKind::InvalidCredentials
        | ErrorKind::Banned
        | ErrorKind::RateLimited
        | ErrorKind::Internal
        | ErrorKind::Unavailable => true,
    }
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "description": "What every failure looks like.",
        "properties": {
            "error": { "const": true },
            "code": { "type": "string", "description": "Tells errors apart." },
            "message": { "type": "string", "description": "For people." },
            "details": { "type": "object", "description": "More, depending on the code." },
        },
        "required": ["error", "code", "message", "details"],
        "examples": [{
            "error": true,
            "code": "ERROR_CODE",
            "message": "Human-readable error message",
            "details": {},
        }],
    })
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": false,
        "description": "The same key with the same request within 24 hours gives the first success again and changes nothing twice.",
        "schema": { "type": "string" },
    })
}

fn rate_limit_headers() -> Map<String, Value> {
    ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]
        .into_iter()
        .map(|name| {
            (
                name.to_owned(),
                json!({ "$ref": format!("#/components/headers/{name}") }),
            )
        })
        .collect()
}

fn headers() -> Value {
    let seconds =
        |description: &str| json!({ "description": description, "schema": { "type": "integer", "minimum": 0 } });
    json!({
        "RateLimit-Limit": seconds("The budget of a minute: 60 for members, 10 for others, unless configured otherwise. Absent where the limit is off."),
        "RateLimit-Remaining": seconds("What is left of it."),
        "RateLimit-Reset": seconds("Seconds until it is whole again."),
        "Retry-After": seconds("Seconds to wait."),
        "Link": {
            "description": "The neighbouring pages (RFC 8288), rel=\"next\" and, where the operation takes `before`, rel=\"prev\"; absent where there is none.",
            "schema": { "type": "string" },
        },
    })
}

#[cfg(test)]
mod tests;
