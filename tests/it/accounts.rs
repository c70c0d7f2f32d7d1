//! Registering, logging in and out, passwords, logins.

use serde_json::json;

use crate::harness::{PASSWORD, Server};

#[tokio::test]
async fn a_member_registers_and_logs_in_over_both_dialects() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let registration = json!({ "username": "Alice", "password": PASSWORD, "ofAge": true });
    let answer = nobody.post("/v1/auth/register", registration.clone()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["user"]["username"], "Alice");

    let again = nobody.post(
        "/v1/auth/register",
        json!({ "username": "aLICE", "password": PASSWORD, "ofAge": true }),
    );
    assert_eq!((again.await).code(), "CONFLICT");

    let login = nobody
        .post("/v1/auth/login", json!({ "username": "ALICE", "password": PASSWORD }))
        .await;
    assert_eq!(login.status, 200);
    assert_eq!(login.body["success"], true);
    assert_eq!(login.body["message"], "Authentication successful");
    assert_eq!(login.body["user"], answer.body["user"]);
}
