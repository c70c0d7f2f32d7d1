use std::{collections::HashMap, sync::Arc};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, QueryResult, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    MOST_ROOMS, Room, Said, Send, Standing, View,
    feed::{Change, Entry, What},
};
use crate::{
    error::{Error, Kind, Result},
    event::EventKind,
    gate::{Permit, Rows, Tx, any_uuid, sql, uuids},
    graphql::page::no_cursor,
    profiles::{DELETED, Seen},
};

/// A message with its author.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub id: Uuid,
    pub room_id: Uuid,
    pub number: i32,
    pub seq: i64,
    pub author_id: Uuid,
    pub content: String,
    pub created_at: i64,
    pub edited_at: Option<i64>,
    pub deleted_at: Option<i64>,
    pub author: Seen,
}

impl Row {
    pub fn into_view(self, room: Arc<Room>) -> View {
        View {
            id: self.id,
            room,
            number: self.number,
            seq: self.seq,
            author: self.author,
            content: self.content,
            created_at: self.created_at,
            edited_at: self.edited_at,
            deleted_at: self.deleted_at,
        }
    }
}

/// What is read of a message, in the order of [`read_row`].
const COLUMNS: &str = "m.id, m.room_id, m.number, m.seq, m.author_id, m.content, m.created_at, m.edited_at, \
                       m.deleted_at, a.username, a.role, a.created_at";
/// How many columns that is.
const COLUMN_COUNT: usize = 12;

fn read_row(row: &QueryResult) -> Result<Row, DbErr> {
    let author_id = row.try_get_by_index(4)?;
    Ok(Row {
        id: row.try_get_by_index(0)?,
        room_id: row.try_get_by_index(1)?,
        number: row.try_get_by_index(2)?,
        seq: row.try_get_by_index(3)?,
        author_id,
        content: row.try_get_by_index(5)?,
        created_at: row.try_get_by_index(6)?,
        edited_at: row.try_get_by_index(7)?,
        deleted_at: row.try_get_by_index(8)?,
        author: Seen {
            id: author_id,
            username: row.try_get_by_index(9)?,
            role: row.try_get_by_index(10)?,
            created_at: row.try_get_by_index(11)?,
        },
    })
}

fn read_room(row: &QueryResult) -> Result<Room, DbErr> {
    Ok(Room {
        id: row.try_get_by_index(0)?,
        name: row.try_get_by_index(1)?,
    })
}

pub async fn room(permit: &Permit, name: &str) -> Result<Option<Room>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT id, name FROM rooms WHERE name = ?",
        [name.into()],
    );
    let found = permit.read().query_one_raw(statement).await?;
    Ok(found.as_ref().map(read_room).transpose()?)
}

pub async fn room_by_id(permit: &Permit, id: Uuid) -> Result<Option<Room>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT id, name FROM rooms WHERE id = ?",
        [id.into()],
    );
    let found = permit.read().query_one_raw(statement).await?;
    Ok(found.as_ref().map(read_room).transpose()?)
}

pub async fn rooms(permit: &Permit, after: Option<&str>, limit: u64) -> Result<Vec<Room>> {
    let text = format!("SELECT id, name FROM rooms WHERE name > ? ORDER BY name LIMIT {limit}");
    let statement = sql(permit.gate().backend(), &text, [after.unwrap_or_default().into()]);
    let rows = permit.read().query_all_raw(statement).await?;
    Ok(rows.iter().map(read_room).collect::<Result<_, _>>()?)
}

/// Which way a page is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Forwards,
    Backwards,
}

/// A part of a room's history.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Only what comes after this message.
    pub after: Option<Uuid>,
    /// Only what comes before this message.
    pub before: Option<Uuid>,
    /// From which end it is limited.
    pub reading: Reading,
    pub limit: u64,
}

pub async fn history(permit: &Permit, room: &Arc<Room>, page: Page) -> Result<Vec<View>> {
    let backend = permit.gate().backend();
    let mut conditions = vec!["m.room_id = ?".to_owned()];
    let mut values: Vec<Value> = vec![room.id.into()];
    for (field, cursor, condition) in [
        ("after", page.after, "m.number > ?"),
        ("before", page.before, "m.number < ?"),
    ] {
        if let Some(message) = cursor {
            let number = number_of(permit, room.id, message).await?;
            conditions.push(condition.to_owned());
            values.push(number.ok_or_else(|| no_cursor(field))?.into());
        }
    }
    let blocked = permit.member()?.blocked();
    if !blocked.is_empty() {
        let blocked: Vec<Uuid> = blocked.iter().copied().collect();
        conditions.push(format!("NOT ({})", any_uuid(backend, "m.author_id")));
        values.push(uuids(backend, &blocked));
    }
    let order = match page.reading {
        Reading::Forwards => "m.number",
        Reading::Backwards => "m.number DESC",
    };
    let text = format!(
        "SELECT {COLUMNS} FROM messages m JOIN members a ON a.id = m.author_id WHERE {} ORDER BY {order} LIMIT {}",
        conditions.join(" AND "),
        page.limit
    );
    let rows = permit.read().query_all_raw(sql(backend, &text, values)).await?;
    let views = rows.iter().map(|row| Ok(read_row(row)?.into_view(room.clone())));
    Ok(views.collect::<Result<_, DbErr>>()?)
}

async fn number_of(permit: &Permit, room: Uuid, message: Uuid) -> Result<Option<i32>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT number FROM messages WHERE id = ? AND room_id = ?",
        [message.into(), room.into()],
    );
    match permit.read().query_one_raw(statement).await? {
        Some(row) => Ok(Some(row.try_get_by_index(0)?)),
        None => Ok(None),
    }
}

/// The number of a message's event among the room's.
pub async fn seq_of(permit: &Permit, room: Uuid, message: Uuid) -> Result<Option<i64>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT seq FROM messages WHERE id = ? AND room_id = ?",
        [message.into(), room.into()],
    );
    match permit.read().query_one_raw(statement).await? {
        Some(row) => Ok(Some(row.try_get_by_index(0)?)),
        None => Ok(None),
    }
}

async fn find(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<Row>> {
    let text = format!("SELECT {COLUMNS} FROM messages m JOIN members a ON a.id = m.author_id WHERE m.id = ?");
    let statement = sql(db.get_database_backend(), &text, [id.into()]);
    let found = db.query_one_raw(statement).await?;
    Ok(found.as_ref().map(read_row).transpose()?)
}

pub async fn by_ids(permit: &Permit, ids: &[Uuid]) -> Result<Vec<View>> {
    let backend = permit.gate().backend();
    let text = format!(
        "SELECT {COLUMNS}, r.name FROM messages m JOIN members a ON a.id = m.author_id
         JOIN rooms r ON r.id = m.room_id WHERE {}",
        any_uuid(backend, "m.id")
    );
    let rows = permit
        .read()
        .query_all_raw(sql(backend, &text, [uuids(backend, ids)]))
        .await?;
    let views = rows.iter().map(|row| {
        let message = read_row(row)?;
        let room = Room {
            id: message.room_id,
            name: row.try_get_by_index(COLUMN_COUNT)?,
        };
        Ok(message.into_view(Arc::new(room)))
    });
    Ok(views.collect::<Result<_, DbErr>>()?)
}

/// A message that is not deleted, held until the end of the transaction.
pub async fn said(tx: &Tx<'_>, id: Uuid) -> Result<Option<Said>> {
    let text = match tx.backend() {
        DbBackend::Postgres => "SELECT author_id, content FROM messages WHERE id = ? AND deleted_at IS NULL FOR SHARE",
        _ => "SELECT author_id, content FROM messages WHERE id = ? AND deleted_at IS NULL",
    };
    let Some(row) = tx.query_one_raw(sql(tx.backend(), text, [id.into()])).await? else {
        return Ok(None);
    };
    Ok(Some(Said {
        author: row.try_get_by_index(0)?,
        content: row.try_get_by_index(1)?,
    }))
}

/// A message in the middle of a change.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn row(tx: &Tx<'_>, id: Uuid) -> Result<Row> {
    find(tx, id).await?.ok_or_else(|| Error::not_found("message"))
}

/// A room's events after a number, in order, each with its message as it is now.
pub async fn entries(permit: &Permit, room: &Arc<Room>, seq: i64, limit: u64) -> Result<Vec<Entry>> {
    let text = format!(
        "SELECT {COLUMNS}, e.seq, e.id, e.kind FROM events e JOIN messages m ON m.id = e.object_id
         JOIN members a ON a.id = m.author_id WHERE e.subject_id = ? AND e.seq > ? ORDER BY e.seq LIMIT {limit}"
    );
    let statement = sql(permit.gate().backend(), &text, [room.id.into(), seq.into()]);
    let rows = permit.read().query_all_raw(statement).await?;
    rows.iter().map(|row| entry(row, room)).collect()
}

fn entry(row: &QueryResult, room: &Arc<Room>) -> Result<Entry> {
    let kind: String = row.try_get_by_index(COLUMN_COUNT + 2)?;
    let change = match kind.parse().map_err(Error::internal)? {
        EventKind::MessageNew => Change::Added,
        EventKind::MessageEdit => Change::Edited,
        EventKind::MessageDelete => Change::Deleted,
        _ => return Err(Error::internal(format!("{kind} in a room's log"))),
    };
    Ok(Entry {
        seq: row.try_get_by_index(COLUMN_COUNT)?,
        what: What::Message {
            event: row.try_get_by_index(COLUMN_COUNT + 1)?,
            change,
            message: Arc::new(read_row(row)?.into_view(room.clone())),
        },
    })
}

#[derive(FromQueryResult)]
struct StandingRow {
    id: Uuid,
    username: String,
    role: String,
    created_at: i64,
    muted_at: Option<i64>,
    muted_until: Option<i64>,
    mute_reason: Option<String>,
}

/// How members stand; who is gone is left out.
pub async fn standing(tx: &Tx<'_>, members: &[Uuid]) -> Result<HashMap<Uuid, Standing>> {
    let backend = tx.backend();
    let text = format!(
        "SELECT id, username, role, created_at, muted_at, muted_until, mute_reason FROM members WHERE {}",
        any_uuid(backend, "id")
    );
    let statement = sql(backend, &text, [uuids(backend, members)]);
    let rows = StandingRow::find_by_statement(statement).all(tx).await?;
    let standing = rows.into_iter().map(|row| {
        let standing = Standing {
            seen: Seen {
                id: row.id,
                username: row.username,
                role: row.role,
                created_at: row.created_at,
            },
            muted_at: row.muted_at,
            muted_until: row.muted_until,
            mute_reason: row.mute_reason,
        };
        (row.id, standing)
    });
    Ok(standing.collect())
}

/// # Errors
///
/// `MUTED`.
pub async fn refuse_muted(tx: &Tx<'_>, member: Uuid) -> Result<()> {
    match standing(tx, &[member]).await?.get(&member) {
        Some(standing) => standing.may_send(tx.now()),
        None => Err(Error::new(Kind::Unauthenticated, "the account is gone")),
    }
}

pub async fn insert_room(tx: &Tx<'_>, room: &Room, creator: Uuid) -> Result<()> {
    tx.hold_member(creator).await?;
    let written = tx
        .execute(
            "INSERT INTO rooms (id, name, creator_id, last_number, created_at)
             SELECT ?, ?, ?, 0, ? WHERE (SELECT count(*) FROM rooms WHERE creator_id = ?) < ?
             ON CONFLICT (name) DO NOTHING",
            [
                room.id.into(),
                room.name.as_str().into(),
                creator.into(),
                tx.now().into(),
                creator.into(),
                MOST_ROOMS.into(),
            ],
        )
        .await?;
    if written == 1 {
        return Ok(());
    }
    let taken = sql(
        tx.backend(),
        "SELECT 1 FROM rooms WHERE name = ?",
        [room.name.as_str().into()],
    );
    Err(match tx.query_one_raw(taken).await? {
        Some(_) => Error::new(Kind::Conflict, "there is a room of this name"),
        None => Error::new(
            Kind::Conflict,
            format!("a member may create {MOST_ROOMS} rooms at most"),
        ),
    })
}

/// Writes messages, whose events begin at `first_seq`; the number of the first.
pub async fn insert(tx: &Tx<'_>, room: Uuid, first_seq: i64, sent: &[&Send]) -> Result<i32> {
    let backend = tx.backend();
    let numbered = sql(
        backend,
        "UPDATE rooms SET last_number = last_number + ? WHERE id = ? RETURNING last_number",
        [(sent.len() as i32).into(), room.into()],
    );
    let last: i32 = tx
        .query_one_raw(numbered)
        .await?
        .ok_or_else(|| Error::not_found("room"))?
        .try_get_by_index(0)?;
    let first = last - sent.len() as i32 + 1;
    let mut rows = Rows::new(backend);
    for (index, part) in sent.iter().enumerate() {
        rows.push([
            part.id.into(),
            i64::from(first + index as i32).into(),
            (first_seq + index as i64).into(),
            part.author.into(),
            part.content.as_str().into(),
        ]);
    }
    let text = format!(
        "INSERT INTO messages (id, room_id, number, seq, author_id, content, created_at)
         SELECT {}, ?, {}, {}, {}, {}, ? FROM {}",
        rows.uuid(0),
        rows.int(1),
        rows.int(2),
        rows.uuid(3),
        rows.text(4),
        rows.from()
    );
    tx.execute(&text, [room.into(), tx.now().into(), rows.into_value()])
        .await?;
    Ok(first)
}

/// Changes what a message says, unless it is deleted; how many were.
pub async fn set_content(tx: &Tx<'_>, id: Uuid, content: &str) -> Result<u64> {
    tx.execute(
        "UPDATE messages SET content = ?, edited_at = ? WHERE id = ? AND deleted_at IS NULL",
        [content.into(), tx.now().into(), id.into()],
    )
    .await
}

pub async fn delete(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    tx.execute(
        "UPDATE messages SET content = '', deleted_at = ? WHERE id = ? AND deleted_at IS NULL",
        [tx.now().into(), id.into()],
    )
    .await?;
    Ok(())
}

/// The rooms that a member has said something in, by id.
pub async fn rooms_of(tx: &Tx<'_>, member: Uuid) -> Result<Vec<Uuid>> {
    let statement = sql(
        tx.backend(),
        "SELECT DISTINCT room_id FROM messages WHERE author_id = ? AND deleted_at IS NULL ORDER BY room_id",
        [member.into()],
    );
    let rows = tx.query_all_raw(statement).await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get_by_index(0))
        .collect::<Result<_, _>>()?)
}

/// A member's messages in a room that say something, in order.
pub async fn undeleted_of(tx: &Tx<'_>, room: Uuid, member: Uuid) -> Result<Vec<Uuid>> {
    let statement = sql(
        tx.backend(),
        "SELECT id FROM messages WHERE author_id = ? AND room_id = ? AND deleted_at IS NULL ORDER BY number",
        [member.into(), room.into()],
    );
    let rows = tx.query_all_raw(statement).await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get_by_index(0))
        .collect::<Result<_, _>>()?)
}

pub async fn erase(tx: &Tx<'_>, member: Uuid) -> Result<()> {
    tx.execute(
        "UPDATE messages SET content = '', author_id = ?, deleted_at = COALESCE(deleted_at, ?) WHERE author_id = ?",
        [DELETED.into(), tx.now().into(), member.into()],
    )
    .await?;
    Ok(())
}
