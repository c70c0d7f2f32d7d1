//! The JSON chat socket's frames: what clients send, and what they are sent.
//!
//! Source: the protocol, "Chat socket". What is told of a message is a fragment of `rest/v1.graphql`, so that the socket
//! spells it as REST does.

use std::{collections::HashMap, sync::Arc};

use async_graphql::{
    Name, Pos, Positioned, Value,
    parser::types::{
        DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
    },
};
use bytes::Bytes;
use futures_util::FutureExt;
use serde::Serialize;

use crate::{
    chat::{
        View,
        feed::{Audience, Change, Entry, Render, Rendered, What},
    },
    error::Error,
    gate::{Gate, System, callers::Known},
    graphql::{
        document::{Bound, Documents},
        execute::{Engine, RunContext},
        live::{Showing, Shows},
    },
    id::IdKind,
    presence::{ChangeKind, Member},
    rest::Rest,
    time,
};

mod read;

pub use read::{Auth, Frame, Message, Read, read};

/// The fragment of `rest/v1.graphql` that a message is told by.
const MESSAGE: &str = "Message";
/// The root field that shows one.
const FIELD: &str = "messageAdded";

/// What every socket is told of rooms: rendered once for all.
pub struct Frames {
    audience: Audience,
    render: Render,
}

impl Frames {
    /// # Errors
    ///
    /// A fragment that is missing from REST, or does not fit, as a sentence.
    pub fn new(engine: &Engine, gate: &Gate, rest: &Arc<Rest>, documents: &Documents) -> Result<Self, String> {
        let fragment = rest
            .fragment(MESSAGE)
            .ok_or_else(|| format!("REST has no fragment {MESSAGE}"))?;
        let document = documents
            .prepare_parsed(document(fragment.selection.clone()))
            .map_err(|failures| format!("fragment {MESSAGE}: {failures:?}"))?;
        let operation = document.operation(None).map_err(|error| error.to_string())?;
        let writer = Arc::new(Writer {
            bound: operation.bind(Default::default()).map_err(|error| error.to_string())?,
            engine: engine.clone(),
            gate: gate.clone(),
            rest: rest.clone(),
        });
        let render: Render = Arc::new(move |entry| {
            let writer = writer.clone();
            async move { writer.render(entry).await }.boxed()
        });
        Ok(Self {
            audience: Audience::Shared {
                rendering: "/ws/chat".to_owned(),
                render: render.clone(),
            },
            render,
        })
    }

    /// All sockets, who are told the same, and how each renders it that has fallen behind.
    pub fn audience(&self) -> (Audience, Render) {
        (self.audience.clone(), self.render.clone())
    }
}

/// Writes the frames of what happens in rooms.
struct Writer {
    engine: Engine,
    gate: Gate,
    rest: Arc<Rest>,
    bound: Bound,
}

impl Writer {
    async fn render(&self, entry: Arc<Entry>) -> Rendered {
        let (event, change) = match &entry.what {
            What::Message { event, change, .. } => (*event, *change),
            What::Member { room, change, member } => return Rendered::Frame(presence(&room.name, *change, member)),
        };
        let mut context = RunContext::default();
        context.data.insert(Showing {
            what: Shows::Entry(entry),
            permit: self.gate.system(System::Tail),
        });
        let outcome = self.engine.show(&self.bound, context).await;
        let kind = match change {
            Change::Added => "message",
            Change::Edited => "edit",
            Change::Deleted => "delete",
        };
        let constants = [
            format!("\"type\":\"{kind}\""),
            format!("\"event\":\"{}\"", IdKind::Event.encode(event)),
        ];
        let message = match &outcome.data {
            Value::Object(members) => members.get(FIELD),
            _ => None,
        };
        let mut frame = Vec::with_capacity(256);
        let written = self
            .rest
            .fragment(MESSAGE)
            .zip(message)
            .is_some_and(|(fragment, message)| fragment.shape.body(&constants, message, &mut frame).is_ok());
        if !written {
            tracing::error!(errors = ?outcome.errors, "a message cannot be told");
            return Rendered::Nothing;
        }
        Rendered::Frame(frame.into())
    }
}

/// `subscription { messageAdded { …selection } }`
fn document(selection: SelectionSet) -> ExecutableDocument {
    let at = |node| Positioned::new(node, Pos::default());
    let field = Field {
        alias: None,
        name: Positioned::new(Name::new(FIELD), Pos::default()),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: at(selection),
    };
    let operation = OperationDefinition {
        ty: OperationType::Subscription,
        variable_definitions: Vec::new(),
        directives: Vec::new(),
        selection_set: at(SelectionSet {
            items: vec![Positioned::new(
                Selection::Field(Positioned::new(field, Pos::default())),
                Pos::default(),
            )],
        }),
    };
    ExecutableDocument {
        operations: DocumentOperations::Single(Positioned::new(operation, Pos::default())),
        fragments: HashMap::new(),
    }
}

fn json(frame: &impl Serialize) -> Bytes {
    serde_json::to_vec(frame)
        .expect("a frame is JSON, and a vector takes it")
        .into()
}

/// `joined`, `left` or `typing`.
pub fn presence(room: &str, change: ChangeKind, member: &Member) -> Bytes {
    #[derive(Serialize)]
    struct Presence<'a> {
        r#type: &'static str,
        room: &'a str,
        username: &'a str,
    }
    json(&Presence {
        r#type: match change {
            ChangeKind::Joined => "joined",
            ChangeKind::Left => "left",
            ChangeKind::Typing => "typing",
        },
        room,
        username: &member.username,
    })
}

/// Says who the caller is taken for; they are in the lobby.
pub fn authenticated(known: &Known) -> Bytes {
    #[derive(Serialize)]
    struct User<'a> {
        id: String,
        username: &'a str,
    }
    #[derive(Serialize)]
    struct Authenticated<'a> {
        r#type: &'static str,
        success: bool,
        user: User<'a>,
    }
    json(&Authenticated {
        r#type: "auth",
        success: true,
        user: User {
            id: IdKind::User.encode(known.member),
            username: &known.username,
        },
    })
}

/// Says that the message with this nonce is on disk, the second time as the first.
pub fn acknowledged(nonce: &str, message: &View) -> Bytes {
    #[derive(Serialize)]
    struct Acknowledged<'a> {
        r#type: &'static str,
        nonce: &'a str,
        id: String,
        number: i32,
        timestamp: String,
    }
    json(&Acknowledged {
        r#type: "ack",
        nonce,
        id: IdKind::Message.encode(message.id),
        number: message.number,
        timestamp: time::format(message.created_at),
    })
}

pub fn pong() -> Bytes {
    Bytes::from_static(b"{\"type\":\"pong\"}")
}

/// An error, with the nonce of the frame that it is about.
pub fn error(error: &Error, nonce: Option<&str>) -> Bytes {
    let mut frame = serde_json::Map::new();
    frame.insert("type".to_owned(), "error".into());
    if let serde_json::Value::Object(body) = error.rest_body() {
        frame.extend(body);
    }
    if let Some(nonce) = nonce {
        frame.insert("nonce".to_owned(), nonce.into());
    }
    json(&frame)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(frame: &Bytes) -> serde_json::Value {
        serde_json::from_slice(frame).unwrap()
    }

    #[test]
    fn an_error_is_told_as_rest_tells_it() {
        let frame = error(&Error::invalid("content", "is blank"), Some("n1"));
        assert_eq!(
            parsed(&frame),
            json!({
                "type": "error", "error": true, "code": "VALIDATION_FAILED", "message": "content is blank",
                "details": { "fields": { "content": "is blank" } }, "nonce": "n1",
            })
        );
    }

    #[test]
    fn who_comes_and_goes_is_told_by_name() {
        let member = Member {
            id: uuid::Uuid::now_v7(),
            username: "alice".into(),
        };
        assert_eq!(
            parsed(&presence("lobby", ChangeKind::Joined, &member)),
            json!({ "type": "joined", "room": "lobby", "username": "alice" })
        );
    }
}
