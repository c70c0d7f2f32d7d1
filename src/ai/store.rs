use entity::session;
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, QueryResult, Value};
use uuid::Uuid;

use super::{
    MOST_TURNS,
    context::{Carried, Turn},
};
use crate::{
    error::{Error, Kind, Result},
    gate::{Permit, Tx, any_text, any_uuid, sql, texts, uuids},
};

/// A turn as its member reads it.
#[derive(Clone, Debug)]
pub struct Said {
    pub prompt: String,
    pub answer: String,
    pub prompted_at: i64,
    pub answered_at: i64,
}

pub async fn session(permit: &Permit, member: Uuid, id: Uuid) -> Result<Option<session::Model>> {
    let text = "SELECT * FROM sessions WHERE id = ? AND member_id = ?";
    one(permit, text, [id.into(), member.into()]).await
}

/// The session that a member was active in last.
pub async fn latest(permit: &Permit, member: Uuid) -> Result<Option<session::Model>> {
    let text = "SELECT * FROM sessions WHERE member_id = ? ORDER BY active_at DESC LIMIT 1";
    one(permit, text, [member.into()]).await
}

async fn one(permit: &Permit, text: &str, values: impl IntoIterator<Item = Value>) -> Result<Option<session::Model>> {
    let statement = sql(permit.gate().backend(), text, values);
    let found = session::Entity::find().from_raw_sql(statement);
    Ok(found.all(permit.read()).await?.pop())
}

/// Newest first.
pub async fn list(permit: &Permit, member: Uuid, after: Option<Uuid>, limit: u64) -> Result<Vec<session::Model>> {
    // No parameter: SQLite prepares a statement anew for each value of one in LIMIT. There are a hundred at most.
    let text = format!("SELECT * FROM sessions WHERE member_id = ? AND (? OR id < ?) ORDER BY id DESC LIMIT {limit}");
    let statement = sql(
        permit.gate().backend(),
        &text,
        [member.into(), after.is_none().into(), after.unwrap_or_default().into()],
    );
    Ok(session::Entity::find()
        .from_raw_sql(statement)
        .all(permit.read())
        .await?)
}

/// What was said in each session, first said first.
pub async fn said(permit: &Permit, sessions: &[Uuid]) -> Result<Vec<(Uuid, Said)>> {
    let backend = permit.gate().backend();
    let text = format!(
        "SELECT session_id, prompt, answer, prompted_at, answered_at FROM session_turns WHERE {}
         ORDER BY session_id, number",
        any_uuid(backend, "session_id")
    );
    let rows = permit
        .read()
        .query_all_raw(sql(backend, &text, [uuids(backend, sessions)]))
        .await?;
    let said = |row: &QueryResult| {
        let said = Said {
            prompt: row.try_get_by_index(1)?,
            answer: row.try_get_by_index(2)?,
            prompted_at: row.try_get_by_index(3)?,
            answered_at: row.try_get_by_index(4)?,
        };
        Ok((row.try_get_by_index(0)?, said))
    };
    Ok(rows.iter().map(said).collect::<Result<_, DbErr>>()?)
}

/// Turns of a session before one, the last first, with their numbers.
pub async fn turns_before(permit: &Permit, session: Uuid, number: i32, limit: u64) -> Result<Vec<(i32, Turn)>> {
    let text = format!(
        "SELECT number, prompt, answer, carried FROM session_turns WHERE session_id = ? AND number < ?
         ORDER BY number DESC LIMIT {limit}"
    );
    let statement = sql(permit.gate().backend(), &text, [session.into(), number.into()]);
    let rows = permit.read().query_all_raw(statement).await?;
    rows.iter()
        .map(|row| {
            let carried: String = row.try_get_by_index(3)?;
            let turn = Turn {
                prompt: row.try_get_by_index(1)?,
                answer: row.try_get_by_index(2)?,
                carried: serde_json::from_str(&carried).map_err(Error::internal)?,
            };
            Ok((row.try_get_by_index(0)?, turn))
        })
        .collect()
}

/// Begins a session with its first turn to come.
pub async fn begin(tx: &Tx<'_>, id: Uuid, member: Uuid) -> Result<i32> {
    tx.execute(
        "INSERT INTO sessions (id, member_id, turns, created_at, active_at) VALUES (?, ?, 1, ?, ?)",
        [id.into(), member.into(), tx.now().into(), tx.now().into()],
    )
    .await?;
    Ok(1)
}

/// The number of the turn to come in a member's session.
///
/// # Errors
///
/// `NOT_FOUND` where the session is gone, `CONFLICT` where it is full.
pub async fn extend(tx: &Tx<'_>, id: Uuid, member: Uuid) -> Result<i32> {
    let statement = sql(
        tx.backend(),
        "UPDATE sessions SET turns = turns + 1, active_at = ? WHERE id = ? AND member_id = ? AND turns < ?
         RETURNING turns",
        [tx.now().into(), id.into(), member.into(), MOST_TURNS.into()],
    );
    if let Some(row) = tx.query_one_raw(statement).await? {
        return Ok(row.try_get_by_index(0)?);
    }
    let text = "SELECT 1 FROM sessions WHERE id = ? AND member_id = ?";
    let statement = sql(tx.backend(), text, [id.into(), member.into()]);
    match tx.query_one_raw(statement).await? {
        Some(_) => Err(full()),
        None => Err(Error::not_found("session")),
    }
}

pub fn full() -> Error {
    let message = format!("the session has {} messages, the most that fit", 2 * MOST_TURNS);
    Error::new(Kind::Conflict, message)
}

/// A turn to keep.
pub struct NewTurn<'a> {
    pub session: Uuid,
    pub number: i32,
    pub prompt: &'a str,
    pub answer: &'a str,
    pub carried: &'a [Carried],
    pub audio: Option<&'a str>,
    pub prompted_at: i64,
}

/// Keeps a turn; its audio, if that is still there.
pub async fn insert(tx: &Tx<'_>, turn: &NewTurn<'_>) -> Result<Option<String>> {
    let carried = serde_json::to_string(turn.carried).map_err(Error::internal)?;
    let statement = sql(
        tx.backend(),
        "INSERT INTO session_turns (session_id, number, prompt, answer, carried, audio, prompted_at, answered_at)
         VALUES (?, ?, ?, ?, ?, (SELECT name FROM audio_files WHERE name = ?), ?, ?) RETURNING audio",
        [
            turn.session.into(),
            turn.number.into(),
            turn.prompt.into(),
            turn.answer.into(),
            carried.into(),
            turn.audio.map(str::to_owned).into(),
            turn.prompted_at.into(),
            tx.now().into(),
        ],
    );
    let row = tx.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| Error::internal("an insert gave no row"))?;
    Ok(row.try_get_by_index(0)?)
}

/// Deletes a member's session with its turns; the audio files that nothing else needs.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn delete(tx: &Tx<'_>, id: Uuid, member: Uuid) -> Result<(session::Model, Vec<String>)> {
    tx.hold_member(member).await?;
    let text = "SELECT * FROM sessions WHERE id = ? AND member_id = ?";
    let found = session::Entity::find()
        .from_raw_sql(sql(tx.backend(), text, [id.into(), member.into()]))
        .one(tx)
        .await?
        .ok_or_else(|| Error::not_found("session"))?;
    let audio = spoken(
        tx,
        "SELECT audio FROM session_turns WHERE session_id = ? AND audio IS NOT NULL",
        id,
    )
    .await?;
    tx.execute("DELETE FROM sessions WHERE id = ?", [id.into()]).await?;
    Ok((found, drop_unused(tx, audio).await?))
}

/// Deletes all sessions of a member; the audio files that nothing else needs.
pub async fn delete_all_of(tx: &Tx<'_>, member: Uuid) -> Result<Vec<String>> {
    let audio = spoken(
        tx,
        "SELECT t.audio FROM session_turns t JOIN sessions s ON s.id = t.session_id
         WHERE s.member_id = ? AND t.audio IS NOT NULL",
        member,
    )
    .await?;
    tx.execute("DELETE FROM sessions WHERE member_id = ?", [member.into()])
        .await?;
    drop_unused(tx, audio).await
}

async fn spoken(tx: &Tx<'_>, text: &str, id: Uuid) -> Result<Vec<String>> {
    names(&tx.query_all_raw(sql(tx.backend(), text, [id.into()])).await?)
}

fn names(rows: &[QueryResult]) -> Result<Vec<String>> {
    let names = rows.iter().map(|row| row.try_get_by_index(0));
    Ok(names.collect::<Result<_, DbErr>>()?)
}

async fn drop_unused(tx: &Tx<'_>, audio: Vec<String>) -> Result<Vec<String>> {
    if audio.is_empty() {
        return Ok(audio);
    }
    let text = format!(
        "DELETE FROM audio_files WHERE {} AND NOT EXISTS (SELECT 1 FROM session_turns WHERE audio = audio_files.name)
         RETURNING name",
        any_text(tx.backend(), "name")
    );
    names(
        &tx.query_all_raw(sql(tx.backend(), &text, [texts(tx.backend(), &audio)]))
            .await?,
    )
}

/// The file of a text that was read aloud before, which stays for as long as a new one.
pub async fn touch_audio(tx: &Tx<'_>, spoken: &[u8; 32]) -> Result<Option<String>> {
    let statement = sql(
        tx.backend(),
        "UPDATE audio_files SET created_at = ? WHERE spoken = ? RETURNING name",
        [tx.now().into(), spoken.as_slice().into()],
    );
    let row = tx.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
}

/// Keeps the file of a text that was read aloud; the one that stands for it, which may be another that came first.
pub async fn insert_audio(tx: &Tx<'_>, name: &str, spoken: &[u8; 32]) -> Result<String> {
    let statement = sql(
        tx.backend(),
        "INSERT INTO audio_files (name, spoken, created_at) VALUES (?, ?, ?)
         ON CONFLICT (spoken) DO UPDATE SET created_at = excluded.created_at RETURNING name",
        [name.into(), spoken.as_slice().into(), tx.now().into()],
    );
    let row = tx.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| Error::internal("an insert gave no row"))?;
    Ok(row.try_get_by_index(0)?)
}

/// Forgets audio from before `kept_since`, and what no turn has needed since `unused_since`, in Unix milliseconds; the
/// files.
pub async fn expire_audio(tx: &Tx<'_>, kept_since: Option<i64>, unused_since: i64) -> Result<Vec<String>> {
    let statement = sql(
        tx.backend(),
        "DELETE FROM audio_files WHERE created_at < ? OR (created_at < ?
             AND NOT EXISTS (SELECT 1 FROM session_turns WHERE audio = audio_files.name)) RETURNING name",
        [kept_since.unwrap_or(i64::MIN).into(), unused_since.into()],
    );
    names(&tx.query_all_raw(statement).await?)
}

/// Those of the names that are of audio that is kept.
pub async fn known_audio(permit: &Permit, of: &[String]) -> Result<Vec<String>> {
    let backend = permit.gate().backend();
    let text = format!("SELECT name FROM audio_files WHERE {}", any_text(backend, "name"));
    names(
        &permit
            .read()
            .query_all_raw(sql(backend, &text, [texts(backend, of)]))
            .await?,
    )
}
