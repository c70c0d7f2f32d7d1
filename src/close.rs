//! Why a socket is closed: the codes of `/graphql`'s sockets and of the chat socket, in one place.
//!
//! Source: the protocol, "Chat socket"; github.com/enisdenjo/graphql-ws, PROTOCOL.md; RFC 6455, 7.4.

use std::borrow::Cow;

/// The longest reason in bytes: what a close frame holds beside its code. Source: RFC 6455, 5.5.
const LONGEST_REASON: usize = 123;

/// A close code with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    /// For people; at most 123 bytes.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// What came is nothing that a WebSocket has.
    pub const PROTOCOL_ERROR: Close = Close::of(1002, "Not a WebSocket frame");
    /// The server ends; clients resume elsewhere.
    pub const SHUTTING_DOWN: Close = Close::of(1001, "Shutting down");
    /// Something that is needed does not answer; clients try again.
    pub const UNAVAILABLE: Close = Close::of(1013, "Try again later");
    pub const UNAUTHORIZED: Close = Close::of(4401, "Unauthorized");
    pub const FORBIDDEN: Close = Close::of(4403, "Forbidden");
    /// The client does not speak the protocol.
    pub const SUBPROTOCOL: Close = Close::of(4406, "Subprotocol not acceptable");
    pub const INIT_TIMEOUT: Close = Close::of(4408, "Connection initialisation timeout");
    pub const TOO_LARGE: Close = Close::of(4413, "Frame too large");
    pub const TOO_MANY_INITS: Close = Close::of(4429, "Too many initialisation requests");

    const fn of(code: u16, reason: &'static str) -> Self {
        Self {
            code,
            reason: Cow::Borrowed(reason),
        }
    }

    /// What came is no message of the protocol.
    pub fn bad_message(why: impl Into<Cow<'static, str>>) -> Self {
        Self::with(4400, why)
    }

    /// An operation of this id is open already.
    pub fn duplicate(id: &str) -> Self {
        Self::with(4409, format!("Subscriber for {id} already exists"))
    }

    fn with(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        let mut reason = reason.into();
        if reason.len() > LONGEST_REASON {
            let end = reason.floor_char_boundary(LONGEST_REASON);
            reason.to_mut().truncate(end);
        }
        Self { code, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_fits_into_its_frame() {
        assert_eq!(Close::duplicate("a").reason, "Subscriber for a already exists");
        let long = Close::duplicate(&"é".repeat(100));
        assert!((LONGEST_REASON - 1..=LONGEST_REASON).contains(&long.reason.len()));
        assert!(long.reason.ends_with('é'));
    }
}
