//! Rooms and messages: numbered without gaps, sent once, read both ways, changed by whom they belong to.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Server, clustered, send};

pub const SEND: &str = "mutation ($input: SendMessageInput!) {
    sendMessage(input: $input) { message { id number content timestamp author { username } room { name } } }
}";
const HISTORY: &str = "query ($room: String! = \"lobby\", $first: Int, $after: String, $last: Int, $before: String) {
    room(name: $room) { messages(first: $first, after: $after, last: $last, before: $before) {
        nodes { id number content deletedAt editedAt author { username } }
        edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }
}";

fn is(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (status, code),
        "{:#}",
        answer.body
    );
}

async fn say(caller: &Caller<'_>, content: &str) -> Value {
    let input = json!({ "input": { "content": content } });
    caller.data(SEND, input).await["sendMessage"]["message"].take()
}

async fn page(caller: &Caller<'_>, variables: Value) -> Value {
    caller.data(HISTORY, variables).await["room"]["messages"].take()
}

fn numbers(page: &Value) -> Vec<i64> {
    let nodes = page["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["number"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn messages_are_numbered_without_gaps_whoever_sends_from_wherever() {
    let first = Server::start().await;
    let nodes = match clustered() {
        true => vec![Server::options().place(&first.place).start().await],
        false => Vec::new(),
    };
    let mut senders = Vec::new();
    for name in ["alice", "bob", "carol"] {
        senders.push(first.member(name).await);
    }
    let mut tokens: Vec<Caller<'_>> = senders.clone();
    for node in &nodes {
        tokens.extend(senders.iter().map(|sender| node.bearer(sender.token())));
    }
    let sent = join_all(tokens.iter().enumerate().map(async |(who, sender)| {
        let mut numbers = Vec::new();
        for count in 0..20 {
            let message = say(sender, &format!("{who} {count}")).await;
            numbers.push(message["number"].as_i64().unwrap());
        }
        assert!(numbers.is_sorted(), "a sender's messages keep their order: {numbers:?}");
        numbers
    }))
    .await;
    let numbers: BTreeSet<i64> = sent.iter().flatten().copied().collect();
    let count = tokens.len() as i64 * 20;
    assert_eq!(numbers, (1..=count).collect());
}

#[tokio::test]
async fn a_nonce_sends_once_whichever_way_it_comes() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let input = json!({ "input": { "content": "hi", "nonce": "n" } });
    let answers = join_all((0..8).map(|_| alice.data(SEND, input.clone()))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let over_rest = send(
        alice
            .request(reqwest::Method::POST, "/v1/chat/messages")
            .header("Idempotency-Key", "n")
            .json(&json!({ "content": "hi" })),
    )
    .await;
    assert_eq!(over_rest.body["id"], answers[0]["sendMessage"]["message"]["id"]);
    assert_eq!(numbers(&page(&alice, json!({})).await), [1]);

    let other = json!({ "input": { "content": "other", "nonce": "n" } });
    let reused = alice.graphql(SEND, other).await;
    assert_eq!(reused.code(), "IDEMPOTENCY_CONFLICT");
    let both = send(
        alice
            .request(reqwest::Method::POST, "/v1/chat/messages")
            .header("Idempotency-Key", "m")
            .json(&json!({ "content": "hi", "nonce": "n" })),
    )
    .await;
    is(&both, 400, "BAD_REQUEST");
    let empty = alice
        .graphql(SEND, json!({ "input": { "content": "hi", "nonce": " " } }))
        .await;
    assert_eq!(empty.code(), "VALIDATION_FAILED");
    assert!(empty.body["errors"][0]["extensions"]["details"]["fields"]["nonce"].is_string());
    // A failure is not kept, and another member has keys of their own.
    let blank = json!({ "input": { "content": " ", "nonce": "later" } });
    assert_eq!(alice.graphql(SEND, blank).await.code(), "VALIDATION_FAILED");
    let good = json!({ "input": { "content": "now", "nonce": "later" } });
    assert_eq!(alice.data(SEND, good).await["sendMessage"]["message"]["number"], 2);
    let bob = server.member("bob").await;
    assert_eq!(bob.data(SEND, input).await["sendMessage"]["message"]["number"], 3);
}

#[tokio::test]
async fn history_is_read_both_ways() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut ids = Vec::new();
    for count in 1..=60 {
        ids.push(say(&alice, &count.to_string()).await["id"].as_str().unwrap().to_owned());
    }
    let last = page(&alice, json!({})).await;
    assert_eq!(numbers(&last), (11..=60).collect::<Vec<_>>());
    assert_eq!(
        last["pageInfo"],
        json!({ "hasNextPage": false, "hasPreviousPage": true, "startCursor": ids[10], "endCursor": ids[59] })
    );
    let before = page(&alice, json!({ "last": 20, "before": ids[10] })).await;
    assert_eq!(numbers(&before), (1..=10).collect::<Vec<_>>());
    assert_eq!(before["pageInfo"]["hasPreviousPage"], false);
    assert_eq!(before["pageInfo"]["hasNextPage"], true);
    let first = page(&alice, json!({ "first": 3 })).await;
    assert_eq!(numbers(&first), [1, 2, 3]);
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    let between = page(&alice, json!({ "first": 100, "after": ids[2], "before": ids[6] })).await;
    assert_eq!(numbers(&between), [4, 5, 6]);
    assert_eq!(between["edges"][0]["cursor"], ids[3].as_str());

    for refused in [
        json!({ "first": 1, "last": 1 }),
        json!({ "first": 0 }),
        json!({ "last": 101 }),
        json!({ "after": "msg_nonsense" }),
        json!({ "before": "msg_00000000000000000000000000" }),
    ] {
        let answer = alice.graphql(HISTORY, refused.clone()).await;
        assert_eq!(answer.code(), "VALIDATION_FAILED", "{refused}");
    }
    assert_eq!(
        alice.graphql(HISTORY, json!({ "room": "nowhere" })).await.code(),
        "NOT_FOUND"
    );

    // REST the same, with links.
    let rest = alice.get("/v1/chat/messages?last=2").await;
    assert_eq!(rest.body["messages"][1]["number"], 60);
    assert_eq!(rest.body["messages"][1]["username"], "alice");
    let link = rest.header("link").unwrap();
    assert!(link.contains("rel=\"prev\""), "{link}");
}

#[tokio::test]
async fn messages_are_changed_by_whom_they_belong_to() {
    const EDIT: &str = "mutation ($id: ID!, $input: EditMessageInput!) {
        editMessage(id: $id, input: $input) { message { content number editedAt } } }";
    const DELETE: &str = "mutation ($id: ID!) { deleteMessage(id: $id) { message { content number deletedAt } } }";
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let moderator = server.member_with_role("mod", "moderator").await;
    let message = say(&alice, "  hello\n").await;
    assert_eq!(message["content"], "hello");
    let id = &message["id"];
    let edit = |content: &str| json!({ "id": id, "input": { "content": content } });

    let edited = alice.data(EDIT, edit("hello!")).await["editMessage"]["message"].take();
    assert_eq!((&edited["content"], &edited["number"]), (&json!("hello!"), &json!(1)));
    assert!(edited["editedAt"].is_string());
    assert_eq!(bob.graphql(EDIT, edit("mine")).await.code(), "FORBIDDEN");
    assert_eq!(moderator.graphql(EDIT, edit("mine")).await.code(), "FORBIDDEN");
    assert_eq!(bob.graphql(DELETE, json!({ "id": id })).await.code(), "FORBIDDEN");
    let gone = moderator.data(DELETE, json!({ "id": id })).await["deleteMessage"]["message"].take();
    assert_eq!((&gone["content"], &gone["number"]), (&json!(""), &json!(1)));
    assert_eq!(alice.graphql(EDIT, edit("back")).await.code(), "NOT_FOUND");
    // Again is no error, and no event.
    assert_eq!(
        alice.data(DELETE, json!({ "id": id })).await["deleteMessage"]["message"],
        gone
    );
    let events = alice.data("{ events { nodes { kind data } } }", Value::Null).await;
    let events: Vec<(&str, &Value)> = events["events"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["kind"].as_str().unwrap(), &event["data"]["content"]))
        .collect();
    if !clustered() {
        let empty = json!("");
        assert_eq!(
            events,
            [
                ("MESSAGE_NEW", &empty),
                ("MESSAGE_EDIT", &empty),
                ("MESSAGE_DELETE", &empty)
            ],
            "events show the message as it is"
        );
    }
    for nothing in ["msg_00000000000000000000000000", "msg_x", "user_x"] {
        assert_eq!(
            alice.graphql(DELETE, json!({ "id": nothing })).await.code(),
            "NOT_FOUND"
        );
    }
}

#[tokio::test]
async fn rooms_are_made_by_members_and_found_by_name() {
    const CREATE: &str = "mutation ($input: CreateRoomInput!) { createRoom(input: $input) { room { id name } } }";
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let create = |name: String| alice.graphql(CREATE, json!({ "input": { "name": name } }));
    for refused in ["", "a", "Upper", "a b", "a_b", &"x".repeat(33)] {
        assert_eq!(
            create(refused.to_owned()).await.code(),
            "VALIDATION_FAILED",
            "{refused}"
        );
    }
    assert_eq!(create("lobby".to_owned()).await.code(), "CONFLICT");
    for number in 1..=20 {
        assert_eq!(create(format!("room-{number}")).await.code(), "");
    }
    assert_eq!(create("one-more".to_owned()).await.code(), "CONFLICT");
    let list = alice
        .data(
            "{ rooms(first: 5) { nodes { name } pageInfo { hasNextPage endCursor } } }",
            Value::Null,
        )
        .await;
    assert_eq!(list["rooms"]["nodes"][0]["name"], "lobby");
    assert_eq!(list["rooms"]["pageInfo"]["hasNextPage"], true);
    let rest = alice.get("/v1/chat/rooms?first=100").await;
    assert_eq!(rest.body["rooms"].as_array().unwrap().len(), 21);
    let sent = alice
        .post("/v1/chat/messages", json!({ "content": "hi", "room": "room-7" }))
        .await;
    assert_eq!(
        (&sent.body["room"], &sent.body["number"], &sent.body["username"]),
        (&json!("room-7"), &json!(1), &json!("alice"))
    );
    let nowhere = alice
        .post("/v1/chat/messages", json!({ "content": "hi", "room": "nowhere" }))
        .await;
    is(&nowhere, 404, "NOT_FOUND");
    assert_eq!(numbers(&page(&alice, json!({ "room": "room-7" })).await), [1]);
    assert!(numbers(&page(&alice, json!({})).await).is_empty());
}

#[tokio::test]
async fn content_is_what_the_protocol_says() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let longest = "é".repeat(4_000);
    assert_eq!(say(&alice, &longest).await["content"], longest.as_str());
    assert_eq!(
        say(&alice, "a\tb\nc \"quoted\" \\ 🦀").await["content"],
        "a\tb\nc \"quoted\" \\ 🦀"
    );
    // Composed, whichever way it was written.
    assert_eq!(say(&alice, "e\u{301}").await["content"], "é");
    for refused in ["", " \n\t ", "a\u{0}b", "a\u{1b}b", &"x".repeat(4_001)] {
        let answer = alice.graphql(SEND, json!({ "input": { "content": refused } })).await;
        assert_eq!(answer.code(), "VALIDATION_FAILED", "{refused:?}");
    }
}

#[tokio::test]
async fn what_a_deleted_account_said_is_taken_back_and_keeps_its_numbers() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    say(&alice, "one").await;
    say(&bob, "two").await;
    say(&alice, "three").await;
    let delete = "mutation ($input: DeleteAccountInput!) { deleteAccount(input: $input) { success } }";
    alice
        .data(delete, json!({ "input": { "password": crate::harness::PASSWORD } }))
        .await;
    let history = page(&bob, json!({})).await;
    let said: Vec<_> = history["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            (
                node["number"].as_i64().unwrap(),
                node["author"]["username"].as_str().unwrap(),
                node["content"].as_str().unwrap(),
                node["deletedAt"].is_string(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (1, "deleted", "", true),
            (2, "bob", "two", false),
            (3, "deleted", "", true)
        ]
    );
    let author = bob
        .data(
            "{ room(name: \"lobby\") { messages { nodes { author { id username role profile { id } } } } } }",
            Value::Null,
        )
        .await;
    let author = &author["room"]["messages"]["nodes"][0]["author"];
    assert_eq!((&author["role"], &author["profile"]), (&json!("MEMBER"), &Value::Null));
    assert_eq!(say(&bob, "four").await["number"], 4);
}
