//! Chat without any of its promises: every socket gets the same bytes, one write each; and every message is a transaction
//! of its own.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
};
use bambisleep_chat::{id::IdKind, time};
use sea_orm::sqlx;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Answer, Pools, failed};

/// How many messages may wait for a socket: more than a burst.
pub const WAITING: usize = 1_024;
/// The room that is there from the start.
const LOBBY: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001);
/// The default of 128 KiB is zeroed at each poll.
const READ_BUFFER: usize = 4 * 1024;

/// Sends each text that comes to all sockets as it is.
pub async fn fanout(State(pools): State<Arc<Pools>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER)
        .on_upgrade(async move |mut socket| {
            let mut said = pools.said.subscribe();
            loop {
                tokio::select! {
                    came = socket.recv() => match came {
                        Some(Ok(Message::Text(text))) => drop(pools.said.send(text)),
                        Some(Ok(_)) => {}
                        _ => return,
                    },
                    said = said.recv() => {
                        // One that lags has lost something: its socket ends, and with it the measurement.
                        let Ok(text) = said else { return };
                        if socket.send(Message::Text(text)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        })
}

#[derive(Deserialize)]
pub struct NewMessage {
    /// Who the server knows by the token.
    author: Uuid,
    content: String,
}

#[derive(Serialize)]
pub struct Sent {
    id: String,
    number: i32,
    room: &'static str,
    username: String,
    content: String,
    timestamp: String,
}

/// Writes a message and answers with it.
pub async fn send(State(pools): State<Arc<Pools>>, Json(new): Json<NewMessage>) -> Answer<Sent> {
    let sent = write(&pools, new.author, new.content, None).await;
    sent.map(Json).map_err(failed)
}

/// The first text says who is there; each one after it is a message with a nonce, and acknowledged.
pub async fn send_socket(State(pools): State<Arc<Pools>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER)
        .on_upgrade(async move |mut socket| while acknowledge_all(&pools, &mut socket).await.is_some() {})
}

#[derive(Deserialize)]
struct Frame {
    nonce: String,
    content: String,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "ack")]
struct Ack<'a> {
    nonce: &'a str,
    id: String,
    number: i32,
    timestamp: String,
}

/// None when the socket has ended, or something is not as it should be.
async fn acknowledge_all(pools: &Pools, socket: &mut WebSocket) -> Option<()> {
    let author: Uuid = next_text(socket).await?.parse().ok()?;
    loop {
        let frame: Frame = serde_json::from_str(&next_text(socket).await?).ok()?;
        let sent = write(pools, author, frame.content, Some(&frame.nonce)).await.ok()?;
        let ack = Ack {
            nonce: &frame.nonce,
            id: sent.id,
            number: sent.number,
            timestamp: sent.timestamp,
        };
        let text = serde_json::to_string(&ack).ok()?;
        socket.send(Message::Text(text.into())).await.ok()?;
    }
}

async fn next_text(socket: &mut WebSocket) -> Option<String> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Text(text) => return Some(text.as_str().to_owned()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

/// The server's statements, in a transaction of their own.
async fn write(pools: &Pools, author: Uuid, content: String, nonce: Option<&str>) -> Result<Sent, sqlx::Error> {
    let (id, event, now) = (Uuid::now_v7(), Uuid::now_v7(), time::now());
    let mut transaction = pools.write.begin_with("BEGIN IMMEDIATE").await?;
    if let Some(nonce) = nonce {
        sqlx::query(
            "INSERT INTO idempotency_keys (member_id, key, field, arguments_hash, lease_until, created_at)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (member_id, key) DO UPDATE SET field = excluded.field,
                 arguments_hash = excluded.arguments_hash, result = NULL,
                 lease_until = excluded.lease_until, created_at = excluded.created_at
             WHERE idempotency_keys.created_at <= ?",
        )
        .bind(author)
        .bind(nonce)
        .bind("sendMessage")
        .bind(&[0; 32][..])
        .bind(now)
        .bind(now)
        .bind(now - time::DAY)
        .execute(&mut *transaction)
        .await?;
    }
    let (username, muted) = sqlx::query_as::<_, (String, Option<i64>)>(
        "SELECT username, muted_at, id, role, created_at, muted_until, mute_reason FROM members WHERE id = ?",
    )
    .bind(author)
    .fetch_one(&mut *transaction)
    .await?;
    if muted.is_some() {
        return Err(sqlx::Error::RowNotFound);
    }
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO subjects (id, last_seq) VALUES (?, ?)
         ON CONFLICT (id) DO UPDATE SET last_seq = subjects.last_seq + ? RETURNING last_seq",
    )
    .bind(LOBBY)
    .bind(1)
    .bind(1)
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO events (id, subject_id, seq, kind, actor_id, object_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(event)
    .bind(LOBBY)
    .bind(seq)
    .bind("message.new")
    .bind(author)
    .bind(id)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    let number: i32 =
        sqlx::query_scalar("UPDATE rooms SET last_number = last_number + ? WHERE id = ? RETURNING last_number")
            .bind(1)
            .bind(LOBBY)
            .fetch_one(&mut *transaction)
            .await?;
    sqlx::query(
        "INSERT INTO messages (id, room_id, number, seq, author_id, content, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id)
    .bind(LOBBY)
    .bind(number)
    .bind(seq)
    .bind(author)
    .bind(&content)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    let sent = Sent {
        id: IdKind::Message.encode(id),
        number,
        room: "lobby",
        username,
        content,
        timestamp: time::format(now),
    };
    if let Some(nonce) = nonce {
        let result = serde_json::to_string(&sent).map_err(|error| sqlx::Error::Encode(error.into()))?;
        sqlx::query("UPDATE idempotency_keys SET result = ? WHERE member_id = ? AND key = ?")
            .bind(result)
            .bind(author)
            .bind(nonce)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(sent)
}
