//! The database that both sides are measured on: 10,000 members, three triggers written and three activated by each.

use std::{error::Error, path::Path};

use bambisleep_chat::{gate::callers::session_hash, time};
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use sea_orm::sqlx::{
    QueryBuilder, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tower_sessions::session::Id;
use uuid::Uuid;

pub const MEMBERS: usize = 10_000;
const TRIGGERS: usize = 3 * MEMBERS;
/// How many rows go into one statement: SQLite takes 32,766 parameters.
const ROWS: usize = 1_000;
/// A prime, so that its multiples meet every member before they repeat.
const STRIDE: usize = 7_919;
/// With a limit, as `PRAGMA optimize` has one: without, samples of values are kept, and SQLite prepares every statement
/// anew for each value that it compares with them.
const SETTLE: &str = "PRAGMA analysis_limit = 1000; ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)";

/// The username of the `nth` member.
pub fn username(nth: usize) -> String {
    format!("Member_{:05}", nth % MEMBERS)
}

/// The session token of the `nth` member, as a client sends it.
pub fn token(nth: usize) -> String {
    session(nth).to_string()
}

fn session(nth: usize) -> Id {
    // Any number will do, here where nothing is secret: what looks it up is a hash.
    Id(((nth % MEMBERS + 1) as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) as i128)
}

/// The id of the `nth` member.
pub fn member(nth: usize) -> Uuid {
    row_id(1, nth % MEMBERS)
}

/// A UUIDv7 of a time in 2025, later for later rows.
fn row_id(table: u8, nth: usize) -> Uuid {
    let millis = 1_750_000_000_000 + nth as u64;
    let mut random = [table; 10];
    random[2..].copy_from_slice(&(nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// Fills a database that was migrated.
pub async fn fill(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .connect()
        .await?;
    let now = time::now();
    let mut transaction = connection.begin().await?;

    insert(
        &mut transaction,
        "INSERT INTO members (id, username, username_key, display_name, avatar_url, is_public, xp, role,
             triggers_paused, search_key, created_at) ",
        MEMBERS,
        |row, nth| {
            let name = username(nth);
            let display_name = format!("Member {nth}");
            row.push_bind(member(nth))
                .push_bind(name.clone())
                .push_bind(name.to_lowercase())
                .push_bind(display_name.clone())
                .push_bind((nth % 2 == 0).then(|| format!("https://cdn.example.com/avatars/{nth}.png")))
                .push_bind(true)
                .push_bind((nth % 5_000) as i32)
                .push_bind("member")
                .push_bind(false)
                .push_bind(format!("{name}\n{display_name}").to_lowercase())
                .push_bind(now - nth as i64 * time::MINUTE);
        },
    )
    .await?;
    insert(
        &mut transaction,
        "INSERT INTO logins (id, token_hash, member_id, data, created_at, last_seen_at, expires_at) ",
        MEMBERS,
        |row, nth| {
            row.push_bind(row_id(2, nth))
                .push_bind(session_hash(session(nth)).to_vec())
                .push_bind(member(nth))
                .push_bind("{}")
                .push_bind(now)
                .push_bind(now)
                .push_bind(now + 30 * time::DAY);
        },
    )
    .await?;
    insert(
        &mut transaction,
        "INSERT INTO triggers (id, creator_id, name, name_key, description, content, is_public, revision, search_key,
             created_at) ",
        TRIGGERS,
        |row, nth| {
            let name = format!("Deep Breath {nth}");
            let description = "Slows the breath down and lets the shoulders drop.";
            row.push_bind(row_id(3, nth))
                .push_bind(member(nth * STRIDE))
                .push_bind(name.clone())
                .push_bind(name.to_lowercase())
                .push_bind(description)
                .push_bind("Breathe in, count to four, and let go of all that the day has left behind.")
                .push_bind(true)
                .push_bind(1)
                .push_bind(format!("{name}\n{description}").to_lowercase())
                .push_bind(now);
        },
    )
    .await?;
    insert(
        &mut transaction,
        "INSERT INTO activations (member_id, trigger_id, revision, activated_at) ",
        TRIGGERS,
        |row, nth| {
            row.push_bind(member(nth / 3))
                .push_bind(row_id(3, nth * STRIDE % TRIGGERS))
                .push_bind(1)
                .push_bind(now + nth as i64);
        },
    )
    .await?;

    transaction.commit().await?;
    sea_orm::sqlx::raw_sql(SETTLE).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Writes `messages` into the empty lobby, in one transaction. Their authors and texts repeat every 50 from the newest
/// backwards, so that the last page is the same however many there are.
pub async fn talk(path: &Path, messages: usize) -> Result<(), Box<dyn Error>> {
    const LOBBY: &str = "(SELECT id FROM rooms WHERE name = 'lobby')";
    const AUTHORS: usize = 50;

    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("cache_size", "-262144")
        .connect()
        .await?;
    let start = time::now() - messages as i64;
    let mut transaction = connection.begin().await?;
    let statements = [
        "CREATE TEMP TABLE said AS
         WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < $messages)
         SELECT number, ($messages - number) % $authors AS place, $start + number AS at,
             unhex(printf('%012x7004a%03x', $start + number, number % 4096) || hex(randomblob(6))) AS id,
             unhex(printf('%012x7005a%03x', $start + number, number % 4096) || hex(randomblob(6))) AS event
         FROM numbers",
        "CREATE TEMP TABLE authors AS
         SELECT row_number() OVER (ORDER BY id) - 1 AS place, id FROM members WHERE username <> 'deleted'
         ORDER BY id LIMIT $authors",
        "INSERT INTO messages (id, room_id, number, seq, author_id, content, created_at)
         SELECT said.id, $lobby, number, number, authors.id, 'Breathe in and count to ' || place, at
         FROM said JOIN authors USING (place) ORDER BY number",
        "INSERT INTO events (id, subject_id, seq, kind, actor_id, object_id, created_at)
         SELECT event, $lobby, number, 'message.new', authors.id, said.id, at
         FROM said JOIN authors USING (place) ORDER BY number",
        "INSERT INTO subjects (id, last_seq) VALUES ($lobby, $messages)",
        "UPDATE rooms SET last_number = $messages WHERE name = 'lobby'",
    ];
    for statement in statements {
        let statement = statement
            .replace("$messages", &messages.to_string())
            .replace("$authors", &AUTHORS.to_string())
            .replace("$start", &start.to_string())
            .replace("$lobby", LOBBY);
        sea_orm::sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    sea_orm::sqlx::raw_sql(SETTLE).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

type Row<'a, 'b> = sea_orm::sqlx::query_builder::Separated<'a, Sqlite, &'b str>;

async fn insert(
    connection: &mut SqliteConnection,
    into: &str,
    rows: usize,
    bind: impl Fn(&mut Row<'_, '_>, usize),
) -> Result<(), Box<dyn Error>> {
    for start in (0..rows).step_by(ROWS) {
        let mut insert = QueryBuilder::<Sqlite>::new(into);
        insert.push_values(start..rows.min(start + ROWS), |mut row, nth| bind(&mut row, nth));
        insert.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}
