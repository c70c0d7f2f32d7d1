//! The requests of both sides. Every connection is a member of its own; half of them show the session token as a
//! Bearer, half as the cookie.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::seed::{MEMBERS, member, token, username};

/// How many triggers a member writes before the connection goes on as another: far below what a member may have.
const WRITTEN_EACH: u64 = 50;

/// A member out of all, at random, the same ones in each run.
fn random_member(connection: usize, nth: u64) -> usize {
    // The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
    let mut bits = (nth << 8 | connection as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ bits >> 31) % MEMBERS as u64) as usize
}

pub fn profile_rest(out: &mut Vec<u8>, connection: usize, nth: u64) {
    let path = format!("/v1/profile/{}", username(random_member(connection, nth)));
    write(out, "GET", &path, Some(connection), None);
}

pub fn profile_bare(out: &mut Vec<u8>, connection: usize, nth: u64) {
    let path = format!("/profile/{}", username(random_member(connection, nth)));
    write(out, "GET", &path, None, None);
}

pub fn profile_graphql(out: &mut Vec<u8>, connection: usize, nth: u64) {
    let body = format!(
        r#"{{"query":"query Profile($username: String!) {{ profile(username: $username) {{ id username displayName avatarUrl isPublic xp level createdAt triggers {{ name }} }} }}","variables":{{"username":"{}"}}}}"#,
        username(random_member(connection, nth))
    );
    write(out, "POST", "/graphql", Some(connection), Some(&body));
}

pub fn triggers_rest(out: &mut Vec<u8>, connection: usize, _: u64) {
    write(out, "GET", "/v1/triggers", Some(connection), None);
}

pub fn triggers_bare(out: &mut Vec<u8>, _: usize, _: u64) {
    write(out, "GET", "/triggers", None, None);
}

pub fn create_rest(out: &mut Vec<u8>, connection: usize, nth: u64) {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);

    let writer = writer(connection, nth);
    let body = format!(
        r#"{{"name":"{}","description":"{DESCRIPTION}","isPublic":false,"content":"{CONTENT}"}}"#,
        name(&WRITTEN)
    );
    write(out, "POST", "/v1/triggers", Some(writer), Some(&body));
}

pub fn create_bare(out: &mut Vec<u8>, connection: usize, nth: u64) {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);

    let creator = member(writer(connection, nth));
    let body = format!(
        r#"{{"creator":"{creator}","name":"{}","description":"{DESCRIPTION}","isPublic":false,"content":"{CONTENT}"}}"#,
        name(&WRITTEN)
    );
    write(out, "POST", "/triggers", None, Some(&body));
}

pub fn send_rest(out: &mut Vec<u8>, connection: usize, _: u64) {
    let body = format!(r#"{{"content":"{MESSAGE}"}}"#);
    write(out, "POST", "/v1/chat/messages", Some(connection), Some(&body));
}

pub fn send_bare(out: &mut Vec<u8>, connection: usize, _: u64) {
    let body = format!(r#"{{"author":"{}","content":"{MESSAGE}"}}"#, member(connection));
    write(out, "POST", "/messages", None, Some(&body));
}

pub fn last_page(out: &mut Vec<u8>, connection: usize, _: u64) {
    let body = r#"{"query":"{ room(name: \"lobby\") { messages { nodes { id number content timestamp author { username } } } } }"}"#;
    write(out, "POST", "/graphql", Some(connection), Some(body));
}

/// A webhook of a member's for messages.
pub fn create_webhook(out: &mut Vec<u8>, owner: usize, url: &str) {
    let body = format!(r#"{{"url":"{url}","events":["message.new"]}}"#);
    write(out, "POST", "/v1/webhooks", Some(owner), Some(&body));
}

/// What is said in chat.
pub const MESSAGE: &str = "Breathe in, count to four, and let go of all that the day has left behind.";

const DESCRIPTION: &str = "Slows the breath down and lets the shoulders drop.";
const CONTENT: &str = "Breathe in, count to four, and let go of all that the day has left behind.";

/// No name twice, in whichever run; the first is the same on both sides.
fn name(written: &AtomicU64) -> String {
    format!("Soft Light {}", written.fetch_add(1, Ordering::Relaxed))
}

/// Who writes: the connections are different members at any time.
fn writer(connection: usize, nth: u64) -> usize {
    connection + crate::load::CONNECTIONS * (nth / WRITTEN_EACH) as usize
}

fn write(out: &mut Vec<u8>, method: &str, path: &str, caller: Option<usize>, body: Option<&str>) {
    const INFALLIBLE: &str = "a vector takes what is written";

    write!(out, "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n").expect(INFALLIBLE);
    match caller {
        Some(caller) if caller % 2 == 0 => {
            write!(out, "authorization: Bearer {}\r\n", token(caller)).expect(INFALLIBLE);
        }
        Some(caller) => write!(out, "cookie: bambisleep_session={}\r\n", token(caller)).expect(INFALLIBLE),
        None => {}
    }
    match body {
        Some(body) => write!(
            out,
            "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
        None => write!(out, "\r\n"),
    }
    .expect(INFALLIBLE);
}
