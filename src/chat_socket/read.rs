//! What clients send.

use serde_json::{Map, Value};

use crate::error::Error;

/// A frame from a client. What it does not know of a frame it ignores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Auth(Auth),
    Message(Message),
    Join { room: String, after: Option<String> },
    Leave { room: String },
    Typing { room: String },
    Ping,
}

/// Who is calling.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// A session token, an API key or a ticket.
    pub token: String,
    /// Resumes the lobby after this message or event.
    pub after: Option<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub content: String,
    /// None is the lobby.
    pub room: Option<String>,
}

/// What came from a client.
#[derive(Debug)]
pub struct Read {
    /// `BAD_REQUEST` with the JSON Pointer of what is wrong, where it is not understood.
    pub frame: Result<Frame, Error>,
    /// What the client tells the answer by, on whatever frame. Not checked.
    pub nonce: Option<String>,
}

/// Reads a frame.
pub fn read(text: &str) -> Read {
    let unreadable = |why| Read {
        frame: Err(Error::bad_request("", why)),
        nonce: None,
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => Read {
            nonce: members.get("nonce").and_then(Value::as_str).map(str::to_owned),
            frame: Members(members).frame(),
        },
        Ok(_) => unreadable("a frame is a JSON object"),
        Err(_) => unreadable("the frame is not JSON"),
    }
}

struct Members(Map<String, Value>);

impl Members {
    fn frame(mut self) -> Result<Frame, Error> {
        Ok(match self.required("type")?.as_str() {
            "auth" => Frame::Auth(Auth {
                token: self.required("token")?,
                after: self.optional("after")?,
            }),
            "message" => {
                // A nonce of another type would be taken for none, and the message sent twice.
                self.optional("nonce")?;
                Frame::Message(Message {
                    content: self.required("content")?,
                    room: self.optional("room")?,
                })
            }
            "join" => Frame::Join {
                room: self.required("room")?,
                after: self.optional("after")?,
            },
            "leave" => Frame::Leave {
                room: self.required("room")?,
            },
            "typing" => Frame::Typing {
                room: self.required("room")?,
            },
            "ping" => Frame::Ping,
            _ => {
                let known = "must be auth, message, join, leave, typing or ping";
                return Err(Error::bad_request("/type", known));
            }
        })
    }

    fn required(&mut self, name: &str) -> Result<String, Error> {
        self.optional(name)?
            .ok_or_else(|| Error::bad_request(format!("/{name}"), format!("{name} is missing")))
    }

    /// Null is as absent.
    fn optional(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::bad_request(format!("/{name}"), format!("{name} must be text"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_read() {
        let message = read(r#"{"type":"message","content":"hi","nonce":"n","more":1}"#);
        assert_eq!(message.nonce.as_deref(), Some("n"));
        assert_eq!(
            message.frame.unwrap(),
            Frame::Message(Message {
                content: "hi".to_owned(),
                room: None,
            })
        );
        let join = read(r#"{"type":"join","room":"den","after":null,"nonce":"j"}"#);
        assert_eq!(join.nonce.as_deref(), Some("j"));
        assert_eq!(
            join.frame.unwrap(),
            Frame::Join {
                room: "den".to_owned(),
                after: None,
            }
        );
        let ping = read(r#"{"type":"ping","nonce":7}"#);
        assert_eq!((ping.frame.unwrap(), ping.nonce), (Frame::Ping, None));
    }

    #[test]
    fn what_is_not_understood_says_where() {
        for (text, path, nonce) in [
            ("", "", None),
            ("[]", "", None),
            ("{}", "/type", None),
            (r#"{"type":1}"#, "/type", None),
            (r#"{"type":"shout","nonce":"n"}"#, "/type", Some("n")),
            (r#"{"type":"message","nonce":"n"}"#, "/content", Some("n")),
            (
                r#"{"type":"message","content":["hi"],"nonce":"n"}"#,
                "/content",
                Some("n"),
            ),
            (r#"{"type":"message","content":"hi","nonce":7}"#, "/nonce", None),
            (r#"{"type":"join"}"#, "/room", None),
            (r#"{"type":"auth","token":null}"#, "/token", None),
        ] {
            let unreadable = read(text);
            let error = unreadable.frame.unwrap_err();
            assert_eq!(error.code(), "BAD_REQUEST", "{text}");
            assert_eq!(error.details()["path"], path, "{text}");
            assert_eq!(unreadable.nonce.as_deref(), nonce, "{text}");
        }
    }

    #[test]
    fn a_token_does_not_print() {
        let frame = read(r#"{"type":"auth","token":"secret"}"#).frame.unwrap();
        assert!(!format!("{frame:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".*") {
            let _ = read(&text);
        }

        #[test]
        fn nor_do_members_of_any_kind(kind in "auth|message|join|leave|typing|ping|x", value in "null|1|\"x\"|\\{\\}|\\[\\]") {
            for member in ["token", "content", "room", "nonce", "after"] {
                let _ = read(&format!("{{\"type\":\"{kind}\",\"{member}\":{value}}}"));
            }
        }
    }
}
