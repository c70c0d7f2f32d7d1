//! Secrets of webhooks: shown once, and nowhere in clear after that.

use reqwest::Method;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;

use crate::{
    harness::{Server, clustered, send},
    receiver::Receiver,
    webhooks::{hook, is, path},
};

/// How many rows of a table have a text somewhere, on Postgres: bytes are looked through as bytes.
async fn rows_with(server: &Server, secret: &str) -> i64 {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut rows = 0;
    for table in ["webhooks", "deliveries", "idempotency_keys", "events"] {
        let text = format!("SELECT count(*) FROM {table} t WHERE t::text LIKE '%{secret}%' OR t::text LIKE '%{hex}%'");
        let database = server.place.database().await;
        let count = Statement::from_string(sea_orm::DbBackend::Postgres, text);
        let row = database.query_one_raw(count).await.unwrap().unwrap();
        rows += row.try_get_by_index::<i64>(0).unwrap();
    }
    rows
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_under_seal() {
    let server = Server::options()
        .set("BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE", "true")
        .set("RUST_LOG", "debug")
        .start()
        .await;
    let alice = server.member("alice").await;
    let receiver = Receiver::start().await;
    let url = receiver.url("/no-secret-path");
    let made = hook(&alice, &url, &["message.new"]).await;
    let (mut secrets, path) = (vec![made["secret"].as_str().unwrap().to_owned()], path(&made));
    let change = json!({ "secret": "the_second_webhook_secret" });
    let changed = send(
        alice
            .request(Method::PUT, &path)
            .header("Idempotency-Key", "k")
            .json(&change),
    )
    .await;
    is(&changed, 200, "");
    let chosen = json!({ "url": url, "events": ["message.new"], "secret": "the_third_webhook_secret" });
    let other = alice.post("/v1/webhooks", chosen).await;
    secrets.extend(["the_second_webhook_secret", "the_third_webhook_secret"].map(str::to_owned));
    let bad = json!({ "url": "no", "events": [], "secret": "whsec_fourth webhook secret" });
    let refused = alice.post("/v1/webhooks", bad).await;
    secrets.push("whsec_fourth webhook secret".to_owned());
    alice.post(&format!("{path}/ping"), json!({})).await;
    receiver.one_more(0).await;

    let shown = [
        changed.body,
        other.body,
        refused.body,
        alice.get(&path).await.body,
        alice.get("/v1/webhooks").await.body,
    ];
    for secret in &secrets {
        for answer in &shown {
            assert!(!answer.to_string().contains(secret), "{answer:#}");
        }
    }
    if clustered() {
        assert!(rows_with(&server, "no-secret-path").await > 0, "what is there is found");
        for secret in &secrets {
            assert_eq!(rows_with(&server, secret).await, 0, "{secret}");
        }
    }
    let place = server.place.clone();
    let (_, log) = server.terminate().await;
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "{secret} is in the log");
    }
    if !clustered() {
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(place.folder().join("data")).unwrap() {
            let file = file.unwrap().path();
            if file
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("bambisleep.sqlite")
            {
                bytes.extend(std::fs::read(file).unwrap());
            }
        }
        assert!(has(&bytes, "no-secret-path"), "what is there is found");
        for secret in &secrets {
            assert!(!has(&bytes, secret), "{secret}");
        }
    }
}
