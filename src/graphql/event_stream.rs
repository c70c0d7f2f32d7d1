//! graphql-sse, distinct connections: events, written. REST's streams have the same, with another event for errors.
//!
//! Source: github.com/enisdenjo/graphql-sse, PROTOCOL.md; html.spec.whatwg.org, "Server-sent events".

/// Says nothing, so that a connection is not taken for dead.
pub const COMMENT: &[u8] = b":\n\n";

/// A response, whose JSON `write` appends on one line. `id` is what to resume after.
pub fn next(out: &mut Vec<u8>, id: Option<&str>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"event: next\n");
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    write(out);
    out.extend_from_slice(b"\n\n");
}

/// What ends a stream of REST's before its time, as REST's errors are.
pub fn error(out: &mut Vec<u8>, body: &serde_json::Value) {
    out.extend_from_slice(b"event: error\ndata: ");
    serde_json::to_writer(&mut *out, body).expect("JSON goes to memory: it does not fail");
    out.extend_from_slice(b"\n\n");
}

/// The end of an operation. A browser drops an event without data, so it has some.
pub fn complete(out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: complete\ndata: \n\n");
}
