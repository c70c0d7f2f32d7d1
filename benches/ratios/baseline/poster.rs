//! Deliveries without any of their promises: one request after another, signed by nobody, recorded nowhere. The client is
//! made as the server's is.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use reqwest::Client;
use tokio::task::JoinSet;

/// As long as the server's, in characters: an event's id and a signature.
const ID: &str = "evt_01m8ankv5fe89amf0fp0vqhpz9";
const SIGNATURE: &str = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const TIMESTAMP: &str = "1764115200";

/// Posts as many bodies of this length in bytes to each URL, in order, by so many loops at once that share the URLs.
pub async fn post(loops: usize, messages: u64, length: usize, urls: &[&str]) -> Result<(), Box<dyn Error>> {
    bambisleep_chat::outbound::choose_tls();
    let client = Client::builder()
        .user_agent(concat!("bambisleep-chat/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(4))
        .build()?;
    let mut webhooks = JoinSet::new();
    for urls in urls.chunks(urls.len().div_ceil(loops)) {
        let urls = urls.iter().map(|url| url.parse()).collect::<Result<_, _>>()?;
        webhooks.spawn(post_to(client.clone(), urls, messages, length));
    }
    while let Some(posted) = webhooks.join_next().await {
        posted??;
    }
    Ok(())
}

async fn post_to(client: Client, urls: Vec<reqwest::Url>, messages: u64, length: usize) -> reqwest::Result<()> {
    for number in 1..=messages {
        for url in &urls {
            let answer = client
                .post(url.clone())
                .header("content-type", "application/json")
                .header("webhook-signature", SIGNATURE)
                .header("webhook-id", ID)
                .header("webhook-timestamp", TIMESTAMP)
                .body(body(number, length))
                .send()
                .await?;
            answer.error_for_status()?.bytes().await?;
        }
    }
    Ok(())
}

/// What the server says of a message, padded.
fn body(number: u64, length: usize) -> Bytes {
    let start = format!(
        r#"{{"type":"message.new","timestamp":"2026-11-26T00:55:44Z","data":{{"id":"msg_01m8ankv5fe89amf0fp0vqhpz9","number":{number},"content":""#
    );
    let pad = length.saturating_sub(start.len() + 3);
    format!("{start}{}\"}}}}", " ".repeat(pad)).into()
}
