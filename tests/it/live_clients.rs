//! The clients that applications use see every change of a room once and in order, over restarts of the server; and the
//! examples of docs/live-chat.md do what that page says.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    clients::{Follower, Program, Reader, file, python, say},
    harness::{Caller, PASSWORD, Place, Server, address_to_keep, eventually, send},
};

const READERS: [Reader; 6] = [
    Reader::GraphqlWs("messageAdded"),
    Reader::GraphqlWs("roomChanged"),
    Reader::GraphqlSse("messageAdded"),
    Reader::GraphqlSse("roomChanged"),
    Reader::Python,
    Reader::Rust,
];

/// Three messages, of which one is edited and one deleted; what is to be heard of it.
async fn talk(caller: &Caller<'_>, room: &str, first: u64) -> Vec<(&'static str, u64)> {
    let edited = say(caller, room, "one").await;
    let deleted = say(caller, room, "two").await;
    say(caller, room, "three").await;
    let path = |id: &str| format!("/v1/chat/messages/{id}");
    let answer = caller.put(&path(&edited), json!({ "content": "one, rather" })).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = caller.delete(&path(&deleted)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let changes = ["message", "message", "message", "edit", "delete"];
    let numbers = [first, first + 1, first + 2, first, first + 1];
    changes.into_iter().zip(numbers).collect()
}

async fn assert_heard(follower: &mut Follower, told: &[(&'static str, u64)]) {
    for (change, number) in told {
        if *change == "message" || follower.reader.hears_changes() {
            let heard = follower.next().await;
            assert_eq!(
                (heard.change, heard.number),
                (*change, *number),
                "{:?}",
                follower.reader
            );
        }
    }
}

/// How a server ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Asked,
    Killed,
}

async fn every_client_hears_all_once(room: &str) {
    let place = Place::new().await;
    let address = address_to_keep();
    let node = || Server::options().place(&place).at(address);
    let mut server = node().start().await;
    let urls = [server.url("")];
    let token = server.member("ada").await.token().to_owned();
    if room != "lobby" {
        let answer = server
            .bearer(&token)
            .post("/v1/chat/rooms", json!({ "name": room }))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let seen = say(&server.bearer(&token), room, "the first one").await;
    // What is said before they come, they hear when they come.
    let mut told = talk(&server.bearer(&token), room, 2).await;
    let mut followers = READERS.map(|reader| Follower::start(reader, &urls, &token, room, &seen));
    for (first, end) in [(5, End::Asked), (8, End::Killed)] {
        for follower in &mut followers {
            assert_heard(follower, &told).await;
        }
        match end {
            End::Asked => drop(server.terminate().await),
            End::Killed => server.kill().await,
        }
        server = node().start().await;
        told = talk(&server.bearer(&token), room, first).await;
    }
    say(&server.bearer(&token), room, "the last one").await;
    told.push(("message", 11));
    for follower in &mut followers {
        assert_heard(follower, &told).await;
        assert_eq!(follower.connections, 3, "{:?}", follower.reader);
        if let Reader::GraphqlWs(_) | Reader::Python | Reader::Rust = follower.reader {
            // Told to go elsewhere, then cut off.
            assert_eq!(follower.closed.first(), Some(&1001), "{:?}", follower.reader);
        }
    }
}

#[tokio::test]
async fn every_client_hears_all_of_the_lobby_once_over_restarts() {
    every_client_hears_all_once("lobby").await;
}

#[tokio::test]
async fn every_client_hears_all_of_a_room_once_over_restarts() {
    every_client_hears_all_once("den").await;
}

#[tokio::test]
async fn clients_with_a_wrong_token_give_up() {
    let server = Server::start().await;
    let url = server.url("");
    let mut npm = Command::new("node");
    npm.arg(file("tests/npm/live.mjs"));
    npm.args(["graphql-ws", &url, "wrong", "messageAdded", "lobby"]);
    let mut program = Program::start(&mut npm);
    assert_eq!(program.line().await, r#"{"closed":4403}"#);
    assert_eq!(program.line().await, r#"{"errors":[{"message":"Forbidden"}]}"#);

    let mut chat = python();
    chat.arg(file("tests/python/chat.py")).args([&url, "wrong", "lobby"]);
    let mut program = Program::start(&mut chat);
    program.line().await; // That it is connected.
    let error: Value = serde_json::from_str(&program.line().await).unwrap();
    assert_eq!(error["code"], "INVALID_CREDENTIALS", "{error}");
    assert_eq!(program.line().await, r#"{"closed": 4401}"#);
}

#[tokio::test]
async fn frames_from_python_are_answered() {
    let server = Server::start().await;
    let ada = server.member("ada").await;
    let mut chat = python();
    chat.arg(file("tests/python/chat.py"));
    chat.args([&server.url(""), ada.token(), "lobby"]);
    let mut program = Program::start(&mut chat);
    program
        .say(&json!({ "type": "message", "content": "hello", "nonce": "n" }).to_string())
        .await;
    // The message and the acknowledgement come in either order.
    let mut kinds = std::collections::BTreeSet::new();
    while !(kinds.contains("message") && kinds.contains("ack")) {
        let frame: Value = serde_json::from_str(&program.line().await).unwrap();
        if let Some(kind) = frame["type"].as_str() {
            assert_ne!(kind, "error", "{frame}");
            kinds.insert(kind.to_owned());
        }
    }
}

/// An example of docs/live-chat.md, as a member would run it, in a folder of its own.
struct Example {
    name: &'static str,
    place: Place,
    url: String,
}

impl Example {
    fn start(&self) -> Program {
        let script = self.place.folder().join(self.name);
        std::fs::copy(file("docs/examples").join(self.name), &script).unwrap();
        let mut command = match self.name.ends_with(".py") {
            true => python(),
            false => {
                let packages = self.place.folder().join("node_modules");
                if !packages.exists() {
                    std::os::unix::fs::symlink(file("tests/npm/node_modules"), packages).unwrap();
                }
                Command::new("node")
            }
        };
        command
            .arg(script)
            .args([&self.url, "ada"])
            .env("CHAT_PASSWORD", PASSWORD)
            .current_dir(self.place.folder());
        Program::start(&mut command)
    }

    /// Waits until its state file has something.
    async fn keeps(&self, what: &str) {
        let path = self.place.folder().join("chat-state.json");
        eventually("the example writes its state", async || {
            std::fs::read_to_string(&path).is_ok_and(|state| state.contains(what))
        })
        .await;
    }
}

/// From a room without a message, over all that may go wrong: each line of it once, in order.
async fn assert_example(name: &'static str) {
    let place = Place::new().await;
    let address = address_to_keep();
    let node = || Server::options().place(&place).at(address);
    let mut server = node().start().await;
    server.member("ada").await;
    let bob = server.member("bob").await.token().to_owned();
    let url = server.url("");
    let example = Example {
        name,
        place: place.clone(),
        url,
    };

    // The room is empty, so that there is nothing to go on after, when the server goes.
    let mut chat = example.start();
    example.keeps("after").await;
    server.kill().await;
    server = node().start().await;
    for number in 1..=3 {
        say(&server.bearer(&bob), "lobby", &format!("hello {number}")).await;
    }
    for number in 1..=3 {
        assert_eq!(chat.line().await, format!("{number} bob: hello {number}"));
    }
    chat.say("hello bob").await;
    assert_eq!(chat.line().await, "4 ada: hello bob");

    // What is said while the server is gone is sent when it is back.
    server.kill().await;
    chat.say("are you there?").await;
    chat.say("you are not").await;
    server = node().start().await;
    assert_eq!(chat.line().await, "5 ada: are you there?");
    assert_eq!(chat.line().await, "6 ada: you are not");

    // So is what was said before the example itself was gone, and what others say meanwhile is shown.
    server.kill().await;
    chat.say("one more").await;
    example.keeps("one more").await;
    chat.kill().await;
    server = node().start().await;
    say(&server.bearer(&bob), "lobby", "where are you?").await;
    let mut chat = example.start();
    assert_eq!(chat.line().await, "7 bob: where are you?");
    assert_eq!(chat.line().await, "8 ada: one more");

    // What can be sent at no time is given up, and the next line is sent.
    chat.say(&"x".repeat(4_001)).await;
    chat.say("that was too long").await;
    assert_eq!(chat.line().await, "9 ada: that was too long");
    chat.say("good night").await;
    let rest = chat.finish().await;
    assert!(rest.is_empty() || rest == ["10 ada: good night"], "{rest:?}");
    let path = "/v1/chat/messages?last=100";
    let kept = send(server.bearer(&bob).request(Method::GET, path)).await.body;
    assert_eq!(kept["messages"].as_array().unwrap().len(), 10, "{kept}");
}

#[tokio::test]
async fn the_javascript_example_loses_and_repeats_nothing() {
    assert_example("chat.mjs").await;
}

#[tokio::test]
async fn the_python_example_loses_and_repeats_nothing() {
    assert_example("chat.py").await;
}
