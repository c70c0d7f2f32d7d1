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
use sea_orm::sqlx::{self, SqlitePool};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Answer, Pools, failed};

/// How many messages may wait for a socket: more than a burst.
pub const WAITING: usize = 1_024;
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
    content: String,
    timestamp: String,
}

/// Writes a message and answers with it.
pub async fn send(State(pools): State<Arc<Pools>>, Json(new): Json<NewMessage>) -> Answer<Sent> {
    let (id, number, now) = write(&pools.write, new.author, &new.content, None)
        .await
        .map_err(failed)?;
    Ok(Json(Sent {
        id: IdKind::Message.encode(id),
        number,
        content: new.content,
        timestamp: time::format(now),
    }))
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
        let written = write(&pools.write, author, &frame.content, Some(&frame.nonce)).await;
        let (id, number, now) = written.ok()?;
        let ack = Ack {
            nonce: &frame.nonce,
            id: IdKind::Message.encode(id),
            number,
            timestamp: time::format(now),
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
async fn write(
    pool: &SqlitePool,
    author: Uuid,
    content: &str,
    nonce: Option<&str>,
) -> Result<(Uuid, i32, i64), sqlx::Error> {
    const ROOM: &str = "lobby";

    let (id, event, now) = (Uuid::now_v7(), Uuid::now_v7(), time::now());
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    if let Some(nonce) = nonce {
        sqlx::query(
            "INSERT INTO idempotency_keys (member_id, key, field, arguments_hash, result, lease_until, created_at)
             VALUES (?, ?, 'sendMessage', ?, ?, 0, ?)",
        )
        .bind(author)
        .bind(nonce)
        .bind(&[0u8; 32][..])
        .bind(id.to_string())
        .bind(now)
        .execute(&mut *transaction)
        .await?;
    }
    let (room, number) = sqlx::query_as::<_, (Uuid, i32)>(
        "UPDATE rooms SET last_number = last_number + 1 WHERE name = ? RETURNING id, last_number",
    )
    .bind(ROOM)
    .fetch_one(&mut *transaction)
    .await?;
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO subjects (id, last_seq) VALUES (?, 1)
         ON CONFLICT (id) DO UPDATE SET last_seq = subjects.last_seq + 1 RETURNING last_seq",
    )
    .bind(room)
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO events (id, subject_id, seq, kind, actor_id, object_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(event)
    .bind(room)
    .bind(seq)
    .bind("message.new")
    .bind(author)
    .bind(id)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO messages (id, room_id, number, seq, author_id, content, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id)
    .bind(room)
    .bind(number)
    .bind(seq)
    .bind(author)
    .bind(content)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok((id, number, now))
}
