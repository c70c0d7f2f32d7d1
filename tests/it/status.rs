//! `Query.serverStatus`: how busy the server is, for everyone.

use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::harness::{Caller, PASSWORD, Place, Server, eventually};

const STATUS: &str = "{ serverStatus { rooms members messagesLastMinute online } }";

async fn status(caller: &Caller<'_>) -> Value {
    caller.data(STATUS, json!({})).await["serverStatus"].clone()
}

#[tokio::test]
async fn everyone_sees_how_busy_the_server_is() {
    let place = Place::new().await;
    let server = Server::options().place(&place).start().await;
    let nobody = server.nobody();
    let empty = json!({ "rooms": 1, "members": 0, "messagesLastMinute": 0, "online": 0 });
    assert_eq!(status(&nobody).await, empty);

    let admin = server.member_with_role("admin", "admin").await;
    let (alice, _bob, _eve) = (
        server.member("alice").await,
        server.member("bob").await,
        server.member("eve").await,
    );
    let gone = server.member("gone").await;
    for document in [
        "mutation { createRoom(input: { name: \"tea\" }) { room { id } } }",
        "mutation { sendMessage(input: { content: \"hello\" }) { message { id } } }",
        "mutation { sendMessage(input: { content: \"tea?\", room: \"tea\" }) { message { id } } }",
    ] {
        alice.data(document, json!({})).await;
    }
    for document in [
        "mutation { banMember(username: \"bob\", input: { reason: \"r\" }) { user { id } } }",
        "mutation { banMember(username: \"eve\", input: { reason: \"r\", until: \"2999-01-01T00:00:00Z\" }) { user { id } } }",
    ] {
        admin.data(document, json!({})).await;
    }
    gone.data(
        "mutation ($password: String!) { deleteAccount(input: { password: $password }) { success } }",
        json!({ "password": PASSWORD }),
    )
    .await;
    let follow = |room: &str| {
        let document = format!("subscription {{ roomChanged(room: \"{room}\") {{ __typename }} }}");
        alice
            .request(Method::POST, "/graphql")
            .header("accept", "text/event-stream")
            .json(&json!({ "query": document }))
            .send()
    };
    // Two rooms, one member.
    let _streams = [follow("lobby").await.unwrap(), follow("tea").await.unwrap()];

    let told = json!({ "rooms": 2, "members": 2, "messagesLastMinute": 2, "online": 1 });
    eventually("what was counted is counted again", async || {
        status(&nobody).await == told
    })
    .await;
    assert_eq!(status(&alice).await, told, "it is the same for everyone");

    // A ban that is over does not count.
    let database = place.database().await;
    let past = "UPDATE members SET banned_until = 1 WHERE username = 'eve'";
    database.execute_unprepared(past).await.unwrap();
    database.close().await.unwrap();
    let told = json!({ "rooms": 2, "members": 3, "messagesLastMinute": 2, "online": 1 });
    eventually("the ban is over", async || status(&nobody).await == told).await;
}

#[tokio::test]
async fn an_address_pays_for_it_as_for_any_field() {
    let server = Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_ANONYMOUS", "2")
        .start()
        .await;
    let nobody = server.nobody();
    for _ in 0..2 {
        status(&nobody).await;
    }
    assert_eq!(nobody.graphql(STATUS, json!({})).await.code(), "RATE_LIMITED");
}
