//! Example values for the OpenAPI document: those of the published document, by type and field.

use serde_json::{Map, Value, json};

use crate::graphql::{
    shape::{Kind, Member, Object, Slot},
    types::{TypeDefKind, Types},
};

/// An example of what a shape writes.
pub fn of(types: &Types, kind: &Kind) -> Value {
    match kind {
        Kind::Object(object) => {
            let mut members = Map::new();
            fill(types, object, &mut members);
            Value::Object(members)
        }
        Kind::List(of) => json!([self::of(types, &of.kind)]),
        Kind::Replaced(member) => self::member(types, member),
        Kind::Scalar(name) | Kind::Enum { type_name: name, .. } => scalar(types, "", name),
        Kind::Open(_) => Value::Null,
    }
}

fn fill(types: &Types, object: &Object, members: &mut Map<String, Value>) {
    for member in &object.members {
        match &member.slot {
            Slot::Value(_) => {
                members.insert(member.key.to_string(), self::member(types, member));
            }
            Slot::Inline { object, .. } => fill(types, object, members),
            Slot::Pages => {}
        }
    }
}

fn member(types: &Types, member: &Member) -> Value {
    let Slot::Value(plan) = &member.slot else {
        return Value::Null;
    };
    let base = |kind: &Kind| match kind {
        Kind::Scalar(name) | Kind::Enum { type_name: name, .. } => Some(name.clone()),
        _ => None,
    };
    match &plan.kind {
        Kind::Object(_) | Kind::Open(_) => of(types, &plan.kind),
        Kind::List(item) => match (base(&item.kind), &item.kind) {
            // What took the place of objects has an example as a whole: `triggers` is a list of names.
            (_, Kind::Replaced(_)) | (Some(_), _) => {
                published(&member.parent, &member.field).unwrap_or_else(|| of(types, &plan.kind))
            }
            _ => published(&member.parent, &member.field).unwrap_or_else(|| of(types, &plan.kind)),
        },
        Kind::Replaced(_) => published(&member.parent, &member.field).unwrap_or_else(|| of(types, &plan.kind)),
        Kind::Scalar(name) | Kind::Enum { type_name: name, .. } => value(types, &member.parent, &member.field, name),
    }
}

/// An example of a field or member of an input object, which is of type `base`.
pub fn value(types: &Types, parent: &str, field: &str, base: &str) -> Value {
    published(parent, field).unwrap_or_else(|| match (base, field) {
        ("ID", "id") => Value::from(format!("{}_id", parent.to_ascii_lowercase())),
        _ => scalar(types, field, base),
    })
}

/// An example of a path parameter.
pub fn parameter(name: &str) -> Value {
    match name.strip_suffix("Id") {
        Some(of) => Value::from(format!("{of}_id")),
        None => Value::from(name),
    }
}

fn scalar(types: &Types, field: &str, base: &str) -> Value {
    match (base, types.get(base).map(|definition| &definition.kind)) {
        (_, Some(TypeDefKind::Enum { values })) => values
            .first()
            .map_or(Value::Null, |value| Value::from(value.wire.as_str())),
        ("Int", _) => json!(1),
        ("Float", _) => json!(1.0),
        ("Boolean", _) => json!(true),
        ("DateTime", _) => json!("2025-01-01T00:00:00Z"),
        ("URL", _) => json!("https://bambisleep.chat/"),
        ("JSON", _) => json!({}),
        _ if field.is_empty() => json!("text"),
        _ => Value::from(field),
    }
}

/// What the published document shows.
fn published(parent: &str, field: &str) -> Option<Value> {
    Some(match (parent, field) {
        ("User", "username") => json!("your_username"),
        ("Profile", "displayName") => json!("Display Name"),
        ("Profile", "avatarUrl") => json!("https://bambisleep.chat/avatars/image.png"),
        ("Profile", "xp") => json!(1250),
        ("Profile", "level") => json!(5),
        ("Profile" | "GeneratePayload", "triggers") => json!(["trigger1", "trigger2"]),
        ("GeneratePayload", "response") => json!("AI generated response text"),
        ("GeneratePayload", "audioUrl") => json!("https://bambisleep.chat/audio/response-123.mp3"),
        ("Trigger", "name") => json!("Trigger Name"),
        ("Trigger", "description") => json!("Trigger Description"),
        ("Trigger", "content") => json!("Trigger activation text"),
        ("Trigger", "creator") => json!("username"),
        ("Session", "messageCount") => json!(10),
        ("Session", "messages") => json!([
            { "role": "user", "content": "User message", "timestamp": "2025-01-01T00:00:00Z" },
            { "role": "assistant", "content": "Assistant response", "timestamp": "2025-01-01T00:00:01Z" },
        ]),
        ("Message", "content") => json!("Hi there!"),
        ("Message", "author") => json!("other_user"),
        ("Webhook", "url") => json!("https://your-server.com/webhook"),
        ("Webhook", "events") => json!(["message.new", "profile.update", "trigger.shared"]),
        ("RegisterInput", "username") => json!("your_username"),
        ("RegisterInput", "password") => json!("your_password"),
        _ => return None,
    })
}

/// The published request bodies.
pub fn input(type_name: &str) -> Option<Value> {
    Some(match type_name {
        "LoginInput" => json!({ "username": "your_username", "password": "your_password" }),
        "UpdateProfileInput" => json!({
            "displayName": "New Display Name",
            "avatarUrl": "https://bambisleep.chat/avatars/new-image.png",
            "isPublic": true,
        }),
        "GenerateInput" => json!({
            "prompt": "Hello Bambi",
            "settings": { "model": "MODEL_1", "includeAudio": true, "includeTriggers": true },
        }),
        "CreateTriggerInput" => json!({
            "name": "Custom Trigger",
            "description": "Custom Trigger Description",
            "isPublic": false,
            "content": "Trigger activation text",
        }),
        "CreateWebhookInput" => json!({
            "url": "https://your-server.com/webhook",
            "events": ["message.new", "profile.update", "trigger.shared"],
            "secret": "your_webhook_secret",
        }),
        _ => return None,
    })
}
