//! What the server is measured against: axum and sqlx, the same statements, the same JSON, and nothing else. It knows
//! no callers, no budget and no rules.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, State, ws::Utf8Bytes},
    http::StatusCode,
    routing::{get, post},
};
use bambisleep_chat::{id::IdKind, profiles::xp, time};
use sea_orm::sqlx::{
    self, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use uuid::Uuid;

mod chat;
pub mod poster;

/// As many as the server has for reading.
const READERS: u32 = 4;
/// As the server's: how many triggers a member may have written.
const MOST_WRITTEN: i64 = 1_000;

struct Pools {
    read: SqlitePool,
    write: SqlitePool,
    /// What is said to everybody, ready to be sent.
    said: broadcast::Sender<Utf8Bytes>,
}

/// Serves a database until the process ends.
pub async fn serve(database: &Path) -> Result<(), Box<dyn Error>> {
    let pools = Pools {
        read: open(database, READERS).await?,
        write: open(database, 1).await?,
        said: broadcast::channel(chat::WAITING).0,
    };
    let router = Router::new()
        .route("/profile/{username}", get(profile))
        .route("/triggers", get(triggers))
        .route("/triggers", post(create_trigger))
        .route("/messages", post(chat::send))
        .route("/send", get(chat::send_socket))
        .route("/fanout", get(chat::fanout))
        .with_state(Arc::new(pools));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn open(database: &Path, connections: u32) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(Duration::from_secs(10))
        .row_buffer_size(1_024)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", "-2048");
    SqlitePoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        .connect_with(options)
        .await
}

type Answer<T> = Result<Json<T>, (StatusCode, String)>;

fn failed(error: sqlx::Error) -> (StatusCode, String) {
    match error {
        sqlx::Error::RowNotFound => (StatusCode::NOT_FOUND, "not found".to_owned()),
        error => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    id: String,
    username: String,
    display_name: String,
    avatar_url: Option<String>,
    is_public: bool,
    xp: i32,
    level: i32,
    created_at: String,
    triggers: Vec<String>,
}

async fn profile(State(pools): State<Arc<Pools>>, UrlPath(username): UrlPath<String>) -> Answer<Profile> {
    let (id, username, display_name, avatar_url, is_public, xp, created_at) =
        sqlx::query_as::<_, (Uuid, String, String, Option<String>, bool, i32, i64)>(
            "SELECT id, username, display_name, avatar_url, is_public, xp, created_at
             FROM members WHERE username_key = ?",
        )
        .bind(username.to_ascii_lowercase())
        .fetch_one(&pools.read)
        .await
        .map_err(failed)?;
    let triggers = sqlx::query_scalar(
        "SELECT t.name FROM activations a JOIN triggers t ON t.id = a.trigger_id
         WHERE a.member_id = ? ORDER BY a.activated_at, a.trigger_id",
    )
    .bind(id)
    .fetch_all(&pools.read)
    .await
    .map_err(failed)?;
    Ok(Json(Profile {
        id: IdKind::Profile.encode(id),
        username,
        display_name,
        avatar_url,
        is_public,
        xp,
        level: xp::level(xp),
        created_at: time::format(created_at),
        triggers,
    }))
}

#[derive(Serialize)]
struct Triggers {
    triggers: Vec<Trigger>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trigger {
    id: String,
    name: String,
    description: String,
    is_public: bool,
    creator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

async fn triggers(State(pools): State<Arc<Pools>>) -> Answer<Triggers> {
    let rows = sqlx::query_as::<_, (Uuid, String, String, bool, String)>(
        "SELECT t.id, t.name, t.description, t.is_public, m.username FROM triggers t
         JOIN members m ON m.id = t.creator_id WHERE t.is_public ORDER BY t.id DESC LIMIT 50",
    )
    .fetch_all(&pools.read)
    .await
    .map_err(failed)?;
    let triggers = rows
        .into_iter()
        .map(|(id, name, description, is_public, creator)| Trigger {
            id: IdKind::Trigger.encode(id),
            name,
            description,
            is_public,
            creator,
            content: None,
        })
        .collect();
    Ok(Json(Triggers { triggers }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewTrigger {
    /// The member who writes it, whom the server knows by the token.
    creator: Uuid,
    name: String,
    description: String,
    is_public: bool,
    content: String,
}

async fn create_trigger(State(pools): State<Arc<Pools>>, Json(new): Json<NewTrigger>) -> Answer<Trigger> {
    let id = Uuid::now_v7();
    write_trigger(&pools.write, id, &new).await.map_err(failed)?;
    Ok(Json(Trigger {
        id: IdKind::Trigger.encode(id),
        name: new.name,
        description: new.description,
        is_public: new.is_public,
        creator: new.creator.to_string(),
        content: Some(new.content),
    }))
}

/// The server's statements, in a transaction of their own.
async fn write_trigger(pool: &SqlitePool, id: Uuid, new: &NewTrigger) -> Result<(), sqlx::Error> {
    let now = time::now();
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "INSERT INTO triggers (id, creator_id, name, name_key, description, content, is_public, revision, search_key,
             created_at)
         SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM triggers WHERE creator_id = ?) < ?",
    )
    .bind(id)
    .bind(new.creator)
    .bind(&new.name)
    .bind(new.name.to_lowercase())
    .bind(&new.description)
    .bind(&new.content)
    .bind(new.is_public)
    .bind(1)
    .bind(format!("{}\n{}", new.name, new.description).to_lowercase())
    .bind(now)
    .bind(new.creator)
    .bind(MOST_WRITTEN)
    .execute(&mut *transaction)
    .await?;
    let reason = xp::TRIGGER_CREATED;
    let counted = sqlx::query(
        "INSERT INTO xp_days (member_id, reason, day, amount) VALUES (?, ?, ?, ?)
         ON CONFLICT (member_id, reason, day) DO UPDATE SET amount = xp_days.amount + excluded.amount
         WHERE xp_days.amount + excluded.amount <= ?",
    )
    .bind(new.creator)
    .bind(reason.name)
    .bind((now / time::DAY) as i32)
    .bind(reason.amount)
    .bind(reason.daily_cap)
    .execute(&mut *transaction)
    .await?;
    if counted.rows_affected() > 0 {
        sqlx::query("UPDATE members SET xp = xp + ? WHERE id = ?")
            .bind(reason.amount)
            .bind(new.creator)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}
