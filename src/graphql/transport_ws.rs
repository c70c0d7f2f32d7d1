//! graphql-transport-ws: its messages, read and written. Pure; the socket is another's.
//!
//! Source: github.com/enisdenjo/graphql-ws, PROTOCOL.md.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{
    failure::Failure,
    http::{GraphqlRequest, write_failures},
};
use crate::close::Close;

/// The name of the subprotocol.
pub const PROTOCOL: &str = "graphql-transport-ws";
/// The longest id of an operation, in bytes: it comes with every message of the operation.
const LONGEST_ID: usize = 256;

/// What a client says.
#[derive(Debug, PartialEq)]
pub enum Message {
    Init(Map<String, Value>),
    /// To be answered with the same payload.
    Ping(Option<Map<String, Value>>),
    Pong,
    Subscribe {
        id: String,
        request: GraphqlRequest,
    },
    Complete {
        id: String,
    },
}

impl Message {
    /// # Errors
    ///
    /// What is no message of the protocol.
    pub fn read(text: &str) -> Result<Self, Close> {
        let Ok(value) = serde_json::from_str(text) else {
            return Err(Close::bad_message("the message is not JSON"));
        };
        let Value::Object(mut members) = value else {
            return Err(Close::bad_message("the message is not an object"));
        };
        let kind = members.remove("type");
        match kind.as_ref().and_then(Value::as_str) {
            Some("connection_init") => Ok(Self::Init(payload(&mut members)?.unwrap_or_default())),
            Some("ping") => Ok(Self::Ping(payload(&mut members)?)),
            Some("pong") => payload(&mut members).map(|_| Self::Pong),
            Some("subscribe") => {
                let id = id(&mut members)?;
                let payload = payload(&mut members)?.ok_or_else(|| Close::bad_message("payload is missing"))?;
                let request = GraphqlRequest::from_members(payload, "/payload")
                    .map_err(|error| Close::bad_message(error.message().to_owned()))?;
                Ok(Self::Subscribe { id, request })
            }
            Some("complete") => id(&mut members).map(|id| Self::Complete { id }),
            Some(_) => Err(Close::bad_message("no message of this type is for the server")),
            None => Err(Close::bad_message("the message has no type")),
        }
    }
}

fn id(members: &mut Map<String, Value>) -> Result<String, Close> {
    match members.remove("id") {
        Some(Value::String(id)) if id.is_empty() => Err(Close::bad_message("id is empty")),
        Some(Value::String(id)) if id.len() > LONGEST_ID => {
            Err(Close::bad_message(format!("id is longer than {LONGEST_ID} bytes")))
        }
        Some(Value::String(id)) => Ok(id),
        Some(_) => Err(Close::bad_message("id must be a string")),
        None => Err(Close::bad_message("id is missing")),
    }
}

fn payload(members: &mut Map<String, Value>) -> Result<Option<Map<String, Value>>, Close> {
    match members.remove("payload") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(payload)) => Ok(Some(payload)),
        Some(_) => Err(Close::bad_message("payload must be an object")),
    }
}

/// What a `next` of this operation begins with; its payload and `}` follow.
pub fn next_prefix(id: &str) -> Box<[u8]> {
    let mut prefix = Vec::with_capacity(id.len() + 32);
    begin(&mut prefix, id);
    prefix.extend_from_slice(b"\"next\",\"payload\":");
    prefix.into()
}

/// The messages for one write: one buffer, and where each of them ends.
#[derive(Default)]
pub struct Messages {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    pub fn acknowledge(&mut self) {
        self.add(|out| out.extend_from_slice(b"{\"type\":\"connection_ack\"}"));
    }

    pub fn pong(&mut self, payload: Option<&Map<String, Value>>) {
        self.add(|out| {
            out.extend_from_slice(b"{\"type\":\"pong\"");
            if let Some(payload) = payload {
                out.extend_from_slice(b",\"payload\":");
                serde_json::to_writer(&mut *out, payload).expect("an object is JSON, and a vector takes it");
            }
            out.push(b'}');
        });
    }

    /// A response, whose JSON `write` appends.
    pub fn next(&mut self, prefix: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.add(|out| {
            out.extend_from_slice(prefix);
            write(out);
            out.push(b'}');
        });
    }

    /// Why an operation ends, or did not begin.
    pub fn error(&mut self, id: &str, failures: &[Failure]) {
        self.add(|out| {
            begin(out, id);
            out.extend_from_slice(b"\"error\",\"payload\":");
            write_failures(failures, out);
            out.push(b'}');
        });
    }

    pub fn complete(&mut self, id: &str) {
        self.add(|out| {
            begin(out, id);
            out.extend_from_slice(b"\"complete\"}");
        });
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all of them.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.text);
        self.ends.push(self.text.len());
    }
}

impl IntoIterator for Messages {
    type Item = Bytes;
    type IntoIter = Slices;

    /// Slices of the one buffer.
    fn into_iter(self) -> Slices {
        Slices {
            text: self.text.into(),
            start: 0,
            ends: self.ends.into_iter(),
        }
    }
}

pub struct Slices {
    text: Bytes,
    start: usize,
    ends: std::vec::IntoIter<usize>,
}

impl Iterator for Slices {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let end = self.ends.next()?;
        let start = std::mem::replace(&mut self.start, end);
        Some(self.text.slice(start..end))
    }
}

fn begin(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"{\"id\":");
    serde_json::to_writer(&mut *out, id).expect("a string is JSON, and a vector takes it");
    out.extend_from_slice(b",\"type\":");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::error::Error;

    fn read(message: &Value) -> Result<Message, Close> {
        Message::read(&message.to_string())
    }

    #[test]
    fn messages_are_read() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        for message in [
            json!({ "type": "connection_init" }),
            json!({ "type": "connection_init", "payload": null }),
            json!({ "type": "connection_init", "payload": {}, "other": 1 }),
        ] {
            assert_eq!(read(&message), Ok(Message::Init(Map::new())), "{message}");
        }
        let token = json!({ "type": "connection_init", "payload": { "token": "t" } });
        assert_eq!(read(&token), Ok(Message::Init(object(json!({ "token": "t" })))));
        assert_eq!(read(&json!({ "type": "ping" })), Ok(Message::Ping(None)));
        let ping = json!({ "type": "ping", "payload": { "n": [1] } });
        assert_eq!(read(&ping), Ok(Message::Ping(Some(object(json!({ "n": [1] }))))));
        assert_eq!(read(&json!({ "type": "pong", "payload": {} })), Ok(Message::Pong));
        let subscribe = json!({
            "id": "1", "type": "subscribe",
            "payload": { "query": "{a}", "operationName": null, "variables": { "x": 1 }, "extensions": {} },
        });
        let Ok(Message::Subscribe { id, request }) = read(&subscribe) else {
            panic!("{subscribe}");
        };
        assert_eq!((id.as_str(), request.query.as_str()), ("1", "{a}"));
        assert_eq!(request.variables, json!({ "x": 1 }).as_object().cloned());
        assert_eq!(
            read(&json!({ "id": "é", "type": "complete" })),
            Ok(Message::Complete { id: "é".into() })
        );
    }

    #[test]
    fn what_is_no_message_says_why() {
        let subscribe = |id: Value, payload: Value| json!({ "type": "subscribe", "id": id, "payload": payload });
        for (message, why) in [
            (json!([]), "the message is not an object"),
            (json!({}), "the message has no type"),
            (json!({ "type": 1 }), "the message has no type"),
            (json!({ "type": "start" }), "no message of this type is for the server"),
            (json!({ "type": "next" }), "no message of this type is for the server"),
            (json!({ "type": "ping", "payload": 1 }), "payload must be an object"),
            (json!({ "type": "pong", "payload": "" }), "payload must be an object"),
            (
                json!({ "type": "connection_init", "payload": [] }),
                "payload must be an object",
            ),
            (json!({ "type": "complete" }), "id is missing"),
            (json!({ "type": "complete", "id": "" }), "id is empty"),
            (json!({ "type": "complete", "id": 1 }), "id must be a string"),
            (
                json!({ "type": "complete", "id": "x".repeat(257) }),
                "id is longer than 256 bytes",
            ),
            (subscribe(json!("1"), Value::Null), "payload is missing"),
            (subscribe(json!("1"), json!({})), "query is missing"),
            (subscribe(json!("1"), json!({ "query": 1 })), "query must be a string"),
            (
                subscribe(json!("1"), json!({ "query": "{a}", "variables": [] })),
                "variables must be an object",
            ),
        ] {
            let close = read(&message).unwrap_err();
            assert_eq!((close.code, close.reason.as_ref()), (4400, why), "{message}");
        }
        for text in ["", "{", "\0", "{\"type\":\"ping\"} x"] {
            assert_eq!(
                Message::read(text).unwrap_err().reason,
                "the message is not JSON",
                "{text}"
            );
        }
    }

    #[test]
    fn messages_are_written_into_one_buffer() {
        let mut messages = Messages::default();
        messages.acknowledge();
        messages.pong(None);
        messages.pong(json!({ "n": 1 }).as_object());
        let prefix = next_prefix("a\"b");
        for payload in ["{\"data\":1}", "{}"] {
            messages.next(&prefix, |out| out.extend_from_slice(payload.as_bytes()));
        }
        messages.error("1", &[Error::not_found("room").into()]);
        messages.complete("é");
        let size = messages.size();
        let slices: Vec<Bytes> = messages.into_iter().collect();
        assert_eq!(slices.iter().map(Bytes::len).sum::<usize>(), size);
        let written: Vec<Value> = slices
            .iter()
            .map(|slice| serde_json::from_slice(slice).unwrap())
            .collect();
        let details = json!({ "code": "NOT_FOUND", "status": 404, "details": {} });
        assert_eq!(
            written,
            [
                json!({ "type": "connection_ack" }),
                json!({ "type": "pong" }),
                json!({ "type": "pong", "payload": { "n": 1 } }),
                json!({ "id": "a\"b", "type": "next", "payload": { "data": 1 } }),
                json!({ "id": "a\"b", "type": "next", "payload": {} }),
                json!({
                    "id": "1", "type": "error",
                    "payload": [{ "message": "no such room", "extensions": details }],
                }),
                json!({ "id": "é", "type": "complete" }),
            ]
        );
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(text in ".*") {
            if let Err(close) = Message::read(&text) {
                prop_assert_eq!(close.code, 4400);
            }
        }

        #[test]
        fn any_id_comes_back(id in ".{1,60}") {
            let subscribe = json!({ "type": "complete", "id": id });
            prop_assert_eq!(read(&subscribe), Ok(Message::Complete { id: id.clone() }));
            let mut messages = Messages::default();
            messages.complete(&id);
            let written: Value = serde_json::from_slice(&messages.into_iter().next().unwrap()).unwrap();
            prop_assert_eq!(&written["id"], &json!(id));
        }
    }
}
