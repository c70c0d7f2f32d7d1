use std::collections::HashSet;

use entity::member;
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbBackend, EntityTrait, Set, Unchanged, Value};
use uuid::Uuid;

use super::{Change, DELETED, Seen, search_key, xp::Reason};
use crate::{
    error::{Error, Result},
    gate::{Permit, Sql, Tx, any_text, any_uuid, sql, texts, uuids},
    text::{could_be_username, like},
};

/// How profiles are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Username,
    Xp,
}

/// A part of the list.
#[derive(Clone, Debug)]
pub struct Page {
    pub search: Option<String>,
    pub order: Order,
    /// The XP and the folded username of the profile to start after.
    pub after: Option<(i32, String)>,
    pub limit: u64,
}

pub async fn by_ids(permit: &Permit, ids: &[Uuid]) -> Result<Vec<member::Model>> {
    let backend = permit.gate().backend();
    let text = format!("SELECT * FROM members WHERE {}", any_uuid(backend, "id"));
    let statement = sql(backend, &text, [uuids(backend, ids)]);
    Ok(member::Entity::find()
        .from_raw_sql(statement)
        .all(permit.read())
        .await?)
}

pub async fn by_usernames(permit: &Permit, usernames: &[String]) -> Result<Vec<member::Model>> {
    let backend = permit.gate().backend();
    // What cannot be a username cannot be in the list either.
    let usernames: Vec<String> = usernames
        .iter()
        .filter(|name| could_be_username(name))
        .cloned()
        .collect();
    let text = format!("SELECT * FROM members WHERE {}", any_text(backend, "username_key"));
    let statement = sql(backend, &text, [texts(backend, &usernames)]);
    Ok(member::Entity::find()
        .from_raw_sql(statement)
        .all(permit.read())
        .await?)
}

pub async fn list(permit: &Permit, page: Page) -> Result<Vec<member::Model>> {
    let backend = permit.gate().backend();
    let known = permit.member()?;
    let mut conditions = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    if !permit.caller().moderates() {
        conditions.push("(is_public OR id = ?)".to_owned());
        values.push(known.member.into());
    } else {
        conditions.push("id <> ?".to_owned());
        values.push(DELETED.into());
    }
    if !known.blocked().is_empty() {
        let blocked: Vec<Uuid> = known.blocked().iter().copied().collect();
        conditions.push(format!("NOT ({})", any_uuid(backend, "id")));
        values.push(uuids(backend, &blocked));
    }
    if let Some(search) = &page.search {
        let Some(pattern) = like(search) else {
            return Ok(Vec::new());
        };
        conditions.push("search_key LIKE ? ESCAPE '\\'".to_owned());
        values.push(pattern.into());
    }
    match (page.order, page.after) {
        (_, None) => {}
        (Order::Username, Some((_, username))) => {
            conditions.push("username_key > ?".to_owned());
            values.push(username.into());
        }
        (Order::Xp, Some((xp, username))) => {
            conditions.push("(xp < ? OR (xp = ? AND username_key > ?))".to_owned());
            values.extend([xp.into(), xp.into(), username.into()]);
        }
    }
    let order = match page.order {
        Order::Username => "username_key",
        Order::Xp => "xp DESC, username_key",
    };
    values.push(page.limit.into());
    let text = format!(
        "SELECT * FROM members WHERE {} ORDER BY {order} LIMIT ?",
        conditions.join(" AND ")
    );
    let statement = sql(backend, &text, values);
    Ok(member::Entity::find()
        .from_raw_sql(statement)
        .all(permit.read())
        .await?)
}

/// Makes a change of the profile that is `current`; there is something to change.
pub async fn update(tx: &Tx<'_>, current: &member::Model, change: &Change) -> Result<member::Model> {
    let mut row = member::ActiveModel {
        id: Unchanged(current.id),
        ..Default::default()
    };
    if let Some(display_name) = &change.display_name {
        row.search_key = Set(search_key(&current.username, display_name));
        row.display_name = Set(display_name.clone());
    }
    if let Some(avatar_url) = &change.avatar_url {
        row.avatar_url = Set(avatar_url.clone());
    }
    if let Some(is_public) = change.is_public {
        row.is_public = Set(is_public);
    }
    Ok(row.update(tx).await?)
}

/// The row of a member who is in the middle of changing it.
pub async fn by_id(db: &impl ConnectionTrait, id: Uuid) -> Result<member::Model> {
    let statement = sql(
        db.get_database_backend(),
        "SELECT * FROM members WHERE id = ?",
        [id.into()],
    );
    let found = member::Entity::find().from_raw_sql(statement).one(db).await?;
    found.ok_or_else(|| Error::not_found("member"))
}

/// By the username in lower case.
pub async fn seen(tx: &Tx<'_>, username: &str) -> Result<Option<Seen>> {
    if !could_be_username(username) {
        return Ok(None);
    }
    let statement = sql(
        tx.backend(),
        "SELECT id, username, role, created_at FROM members WHERE username_key = ? AND id <> ?",
        [username.into(), DELETED.into()],
    );
    let Some(row) = tx.query_one_raw(statement).await? else {
        return Ok(None);
    };
    Ok(Some(Seen {
        id: row.try_get_by_index(0)?,
        username: row.try_get_by_index(1)?,
        role: row.try_get_by_index(2)?,
        created_at: row.try_get_by_index(3)?,
    }))
}

/// Counts what was earned against the day's cap and gives it, if it is within.
pub fn award(tx: &Tx<'_>, member: Uuid, day: i32, reason: Reason) -> Vec<Sql> {
    let counted: [Value; 5] = [
        member.into(),
        reason.name.into(),
        day.into(),
        reason.amount.into(),
        reason.daily_cap.into(),
    ];
    let given: [Value; 2] = [reason.amount.into(), member.into()];
    match tx.backend() {
        DbBackend::Sqlite => vec![
            Sql::new(
                "INSERT INTO xp_days (member_id, reason, day, amount) VALUES (?, ?, ?, ?)
                 ON CONFLICT (member_id, reason, day) DO UPDATE SET amount = xp_days.amount + excluded.amount
                 WHERE xp_days.amount + excluded.amount <= ?",
                counted,
            ),
            // `changes()` is what the statement before changed.
            Sql::new("UPDATE members SET xp = xp + ? WHERE id = ? AND changes() > 0", given),
        ],
        _ => vec![Sql::new(
            "WITH counted AS (
                 INSERT INTO xp_days (member_id, reason, day, amount) VALUES (?, ?, ?, ?)
                 ON CONFLICT (member_id, reason, day) DO UPDATE SET amount = xp_days.amount + excluded.amount
                 WHERE xp_days.amount + excluded.amount <= ? RETURNING amount)
             UPDATE members SET xp = xp + ? WHERE id = ? AND EXISTS (SELECT FROM counted)",
            counted.into_iter().chain(given),
        )],
    }
}

/// Removes the row of a member's avatar; the name of its file.
pub async fn take_avatar(tx: &Tx<'_>, member: Uuid) -> Result<Option<String>> {
    let statement = sql(
        tx.backend(),
        "DELETE FROM avatars WHERE member_id = ? RETURNING name",
        [member.into()],
    );
    let row = tx.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
}

/// Writes the row of an avatar of a member who has none.
pub async fn put_avatar(tx: &Tx<'_>, member: Uuid, name: &str) -> Result<()> {
    let text = "INSERT INTO avatars (name, member_id, created_at) VALUES (?, ?, ?)";
    tx.execute(text, [name.into(), member.into(), tx.now().into()]).await?;
    Ok(())
}

/// The profile as it is then.
pub async fn set_avatar_url(tx: &Tx<'_>, member: Uuid, url: &str) -> Result<member::Model> {
    let statement = sql(
        tx.backend(),
        "UPDATE members SET avatar_url = ? WHERE id = ? RETURNING *",
        [url.into(), member.into()],
    );
    let found = member::Entity::find().from_raw_sql(statement).one(tx).await?;
    found.ok_or_else(|| Error::not_found("member"))
}

/// Those of the names that have a row.
pub async fn known_avatars(permit: &Permit, names: &[String]) -> Result<HashSet<String>> {
    let backend = permit.gate().backend();
    let text = format!("SELECT name FROM avatars WHERE {}", any_text(backend, "name"));
    let rows = permit
        .read()
        .query_all_raw(sql(backend, &text, [texts(backend, names)]))
        .await?;
    let names = rows.iter().map(|row| row.try_get_by_index(0));
    Ok(names.collect::<Result<_, _>>()?)
}
