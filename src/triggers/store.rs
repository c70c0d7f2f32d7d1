use entity::{consent, trigger};
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryResult, Set, Value,
};
use uuid::Uuid;

use super::{ConsentKind, MOST_ACTIVE, MOST_WRITTEN, New, View};
use crate::{
    error::{Error, Kind, Result},
    gate::{Permit, Sql, Tx, any_uuid, sql, uuids},
    text::{could_be_username, fold, like},
};

/// A part of the list.
#[derive(Clone, Debug)]
pub struct Page {
    pub search: Option<String>,
    /// A folded username.
    pub creator: Option<String>,
    /// The trigger to start after.
    pub after: Option<Uuid>,
    pub limit: u64,
}

/// What is read of a trigger to show it, in the order of [`view`]. SQLite's driver copies each column of each row by
/// itself, so what nobody is shown is not read.
const VIEW: &str =
    "t.id, t.creator_id, c.username, t.name, t.description, t.content, t.is_public, t.revision, t.created_at";
/// How many columns that is.
const VIEW_COLUMNS: usize = 9;

fn view(row: &QueryResult) -> Result<View, DbErr> {
    Ok(View {
        id: row.try_get_by_index(0)?,
        creator_id: row.try_get_by_index(1)?,
        creator: row.try_get_by_index(2)?,
        name: row.try_get_by_index(3)?,
        description: row.try_get_by_index(4)?,
        content: row.try_get_by_index(5)?,
        is_public: row.try_get_by_index(6)?,
        revision: row.try_get_by_index(7)?,
        created_at: row.try_get_by_index(8)?,
    })
}

pub async fn by_ids(permit: &Permit, ids: &[Uuid]) -> Result<Vec<View>> {
    let backend = permit.gate().backend();
    let text = format!(
        "SELECT {VIEW} FROM triggers t JOIN members c ON c.id = t.creator_id WHERE {}",
        any_uuid(backend, "t.id")
    );
    let rows = permit
        .read()
        .query_all_raw(sql(backend, &text, [uuids(backend, ids)]))
        .await?;
    Ok(rows.iter().map(view).collect::<Result<_, _>>()?)
}

pub async fn active(permit: &Permit, members: &[Uuid]) -> Result<Vec<(Uuid, View)>> {
    let backend = permit.gate().backend();
    let text = format!(
        "SELECT {VIEW}, a.member_id FROM activations a JOIN triggers t ON t.id = a.trigger_id
         JOIN members c ON c.id = t.creator_id WHERE {} ORDER BY a.activated_at, a.trigger_id",
        any_uuid(backend, "a.member_id")
    );
    let rows = permit
        .read()
        .query_all_raw(sql(backend, &text, [uuids(backend, members)]))
        .await?;
    let rows = rows
        .iter()
        .map(|row| Ok((row.try_get_by_index(VIEW_COLUMNS)?, view(row)?)));
    Ok(rows.collect::<Result<_, DbErr>>()?)
}

/// That an activation `a` of the trigger `t` by the member `m` is consent to use it now.
const USABLE: &str =
    "NOT m.triggers_paused AND a.revision = t.revision AND (t.is_public OR t.creator_id = a.member_id)";

pub async fn usable(permit: &Permit, member: Uuid) -> Result<Vec<View>> {
    // A description that was edited since is nothing that the member has consented to.
    let read = "CASE WHEN a.description_edits = t.description_edits OR t.creator_id = a.member_id
                THEN t.description ELSE '' END";
    let view_as_read = VIEW.replace("t.description", read);
    let text = format!(
        "SELECT {view_as_read} FROM activations a JOIN triggers t ON t.id = a.trigger_id JOIN members c ON c.id = t.creator_id
         JOIN members m ON m.id = a.member_id WHERE a.member_id = ? AND {USABLE} ORDER BY a.activated_at, a.trigger_id"
    );
    let statement = sql(permit.gate().backend(), &text, [member.into()]);
    let rows = permit.read().query_all_raw(statement).await?;
    Ok(rows.iter().map(view).collect::<Result<_, _>>()?)
}

/// The triggers that may be used on a member, with their revisions, held until the end of the transaction.
pub async fn usable_revisions(tx: &Tx<'_>, member: Uuid) -> Result<Vec<(Uuid, i32)>> {
    let hold = match tx.backend() {
        DbBackend::Postgres => " FOR SHARE OF a",
        _ => "",
    };
    let text = format!(
        "SELECT a.trigger_id, a.revision FROM activations a JOIN triggers t ON t.id = a.trigger_id
         JOIN members m ON m.id = a.member_id WHERE a.member_id = ? AND {USABLE}{hold}"
    );
    let rows = tx.query_all_raw(sql(tx.backend(), &text, [member.into()])).await?;
    let rows = rows
        .iter()
        .map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)));
    Ok(rows.collect::<Result<_, DbErr>>()?)
}

pub async fn list(permit: &Permit, page: Page) -> Result<Vec<View>> {
    let backend = permit.gate().backend();
    let known = permit.member()?;
    let mut conditions = vec!["(t.is_public OR t.creator_id = ?)".to_owned()];
    let mut values: Vec<Value> = vec![known.member.into()];
    if !known.blocked().is_empty() {
        let blocked: Vec<Uuid> = known.blocked().iter().copied().collect();
        conditions.push(format!("NOT ({})", any_uuid(backend, "t.creator_id")));
        values.push(uuids(backend, &blocked));
    }
    if let Some(search) = &page.search {
        let Some(pattern) = like(search) else {
            return Ok(Vec::new());
        };
        conditions.push("t.search_key LIKE ? ESCAPE '\\'".to_owned());
        values.push(pattern.into());
    }
    if let Some(creator) = &page.creator {
        if !could_be_username(creator) {
            return Ok(Vec::new());
        }
        conditions.push("t.creator_id = (SELECT id FROM members WHERE username_key = ?)".to_owned());
        values.push(creator.as_str().into());
    }
    if let Some(after) = page.after {
        conditions.push("t.id < ?".to_owned());
        values.push(after.into());
    }
    // No parameter: SQLite prepares a statement anew for each value of one in LIMIT. There are a hundred at most.
    let text = format!(
        "SELECT {VIEW} FROM triggers t JOIN members c ON c.id = t.creator_id WHERE {} ORDER BY t.id DESC LIMIT {}",
        conditions.join(" AND "),
        page.limit
    );
    let rows = permit.read().query_all_raw(sql(backend, &text, values)).await?;
    Ok(rows.iter().map(view).collect::<Result<_, _>>()?)
}

/// Writes a trigger, then what goes with it.
pub async fn insert(tx: &Tx<'_>, id: Uuid, creator: Uuid, new: &New, then: Vec<Sql>) -> Result<trigger::Model> {
    tx.hold_member(creator).await?;
    let row = trigger::Model {
        id,
        creator_id: creator,
        name_key: fold(&new.name),
        search_key: search_key(&new.name, &new.description),
        name: new.name.clone(),
        description: new.description.clone(),
        content: new.content.clone(),
        is_public: new.is_public,
        revision: 1,
        description_edits: 0,
        created_at: tx.now(),
    };
    let insert = Sql::new(
        "INSERT INTO triggers (id, creator_id, name, name_key, description, content, is_public, revision, search_key,
                 created_at)
             SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM triggers WHERE creator_id = ?) < ?
             RETURNING id",
        [
            row.id.into(),
            row.creator_id.into(),
            row.name.as_str().into(),
            row.name_key.as_str().into(),
            row.description.as_str().into(),
            row.content.as_str().into(),
            row.is_public.into(),
            row.revision.into(),
            row.search_key.as_str().into(),
            row.created_at.into(),
            creator.into(),
            (MOST_WRITTEN as i64).into(),
        ],
    );
    let written = tx.query_then(insert, then).await.map_err(taken)?;
    if written.is_empty() {
        let message = format!("a member may have written {MOST_WRITTEN} triggers at most");
        return Err(Error::new(Kind::Conflict, message));
    }
    Ok(row)
}

pub async fn update(tx: &Tx<'_>, row: trigger::Model) -> Result<trigger::Model> {
    let row = trigger::Model {
        name_key: fold(&row.name),
        search_key: search_key(&row.name, &row.description),
        ..row
    };
    let changes = trigger::ActiveModel::from(row).reset_all();
    changes.update(tx).await.map_err(|error| taken(error.into()))
}

fn search_key(name: &str, description: &str) -> String {
    fold(&format!("{name}\n{description}"))
}

fn taken(error: Error) -> Error {
    match error.unique_violation() {
        true => Error::new(Kind::Conflict, "you have a trigger of this name already"),
        false => error,
    }
}

/// The trigger, held until the end of the transaction.
pub async fn lock(tx: &Tx<'_>, id: Uuid) -> Result<Option<trigger::Model>> {
    let text = match tx.backend() {
        DbBackend::Postgres => "SELECT * FROM triggers WHERE id = ? FOR UPDATE",
        _ => "SELECT * FROM triggers WHERE id = ?",
    };
    Ok(trigger::Entity::find()
        .from_raw_sql(sql(tx.backend(), text, [id.into()]))
        .one(tx)
        .await?)
}

/// The caller's trigger, held until the end of the transaction.
///
/// # Errors
///
/// `NOT_FOUND`, and `FORBIDDEN` for another's public one.
pub async fn own(tx: &Tx<'_>, id: Uuid, caller: Uuid) -> Result<trigger::Model> {
    match lock(tx, id).await? {
        Some(row) if row.creator_id == caller => Ok(row),
        Some(row) if row.is_public && !tx.hides(caller, row.creator_id).await? => {
            Err(Error::new(Kind::Forbidden, "this trigger is another member's"))
        }
        _ => Err(Error::not_found("trigger")),
    }
}

pub async fn delete(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    tx.execute("DELETE FROM triggers WHERE id = ?", [id.into()]).await?;
    Ok(())
}

/// Whether the consent of a member who is held is new: to a trigger that was not active, or not in this revision, or had
/// another description.
pub async fn activate(tx: &Tx<'_>, member: Uuid, trigger: &trigger::Model) -> Result<bool> {
    let active = "SELECT count(*) FROM activations WHERE member_id = ? AND trigger_id <> ?";
    let count = sql(tx.backend(), active, [member.into(), trigger.id.into()]);
    let count: i64 = one(tx, count).await?.try_get_by_index(0)?;
    if count >= MOST_ACTIVE as i64 {
        let message = format!("a member may have {MOST_ACTIVE} triggers active at most");
        return Err(Error::new(Kind::Conflict, message));
    }
    let changed = tx
        .execute(
            "INSERT INTO activations (member_id, trigger_id, revision, description_edits, activated_at)
             VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (member_id, trigger_id) DO UPDATE SET revision = excluded.revision,
                 description_edits = excluded.description_edits
             WHERE activations.revision <> excluded.revision
                 OR activations.description_edits <> excluded.description_edits",
            [
                member.into(),
                trigger.id.into(),
                trigger.revision.into(),
                trigger.description_edits.into(),
                tx.now().into(),
            ],
        )
        .await?;
    Ok(changed > 0)
}

/// Whether the member has activated the trigger at any time before: there is a receipt.
pub async fn was_activated(tx: &Tx<'_>, member: Uuid, trigger: Uuid) -> Result<bool> {
    let receipts = sql(
        tx.backend(),
        "SELECT count(*) FROM consents WHERE member_id = ? AND trigger_id = ? AND kind = ?",
        [member.into(), trigger.into(), ConsentKind::Activated.wire().into()],
    );
    let count: i64 = one(tx, receipts).await?.try_get_by_index(0)?;
    Ok(count > 0)
}

/// Whether it was active.
pub async fn deactivate(tx: &Tx<'_>, member: Uuid, trigger: Uuid) -> Result<bool> {
    let gone = tx
        .execute(
            "DELETE FROM activations WHERE member_id = ? AND trigger_id = ?",
            [member.into(), trigger.into()],
        )
        .await?;
    Ok(gone > 0)
}

/// Whether that is a change.
pub async fn set_paused(tx: &Tx<'_>, member: Uuid, paused: bool) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE members SET triggers_paused = ? WHERE id = ? AND triggers_paused <> ?",
            [paused.into(), member.into(), paused.into()],
        )
        .await?;
    Ok(changed > 0)
}

/// Deactivates a trigger for everybody but `except`, and leaves each a receipt.
pub async fn withdraw(tx: &Tx<'_>, trigger: &trigger::Model, except: Option<Uuid>) -> Result<()> {
    let text = "SELECT member_id, trigger_id, revision FROM activations WHERE trigger_id = ? AND member_id <> ?";
    let except = except.unwrap_or_default();
    withdraw_selected(tx, text, vec![trigger.id.into(), except.into()]).await?;
    tx.execute(
        "DELETE FROM activations WHERE trigger_id = ? AND member_id <> ?",
        [trigger.id.into(), except.into()],
    )
    .await?;
    Ok(())
}

pub async fn withdraw_all_of(tx: &Tx<'_>, creator: Uuid) -> Result<()> {
    let text = "SELECT a.member_id, a.trigger_id, a.revision FROM activations a
                JOIN triggers t ON t.id = a.trigger_id WHERE t.creator_id = ? AND a.member_id <> ?";
    withdraw_selected(tx, text, vec![creator.into(), creator.into()]).await
}

/// How many receipts are written by one statement.
const RECEIPTS_AT_ONCE: usize = 500;

#[derive(FromQueryResult)]
struct Activation {
    member_id: Uuid,
    trigger_id: Uuid,
    revision: i32,
}

async fn withdraw_selected(tx: &Tx<'_>, select: &str, values: Vec<Value>) -> Result<()> {
    let rows = Activation::find_by_statement(sql(tx.backend(), select, values))
        .all(tx)
        .await?;
    receipts(tx, ConsentKind::Withdrawn, &rows).await
}

async fn receipts(tx: &Tx<'_>, kind: ConsentKind, rows: &[Activation]) -> Result<()> {
    for rows in rows.chunks(RECEIPTS_AT_ONCE) {
        let receipts = rows.iter().map(|row| consent::ActiveModel {
            id: Set(Uuid::now_v7()),
            member_id: Set(row.member_id),
            kind: Set(kind.wire().to_owned()),
            trigger_id: Set(Some(row.trigger_id)),
            revision: Set(Some(row.revision)),
            created_at: Set(tx.now()),
            ..Default::default()
        });
        consent::Entity::insert_many(receipts)
            .exec_without_returning(tx)
            .await?;
    }
    Ok(())
}

pub async fn deactivate_all_by(tx: &Tx<'_>, member: Uuid, creator: Uuid) -> Result<()> {
    let gone = sql(
        tx.backend(),
        "DELETE FROM activations WHERE member_id = ? AND trigger_id IN (SELECT id FROM triggers WHERE creator_id = ?)
         RETURNING member_id, trigger_id, revision",
        [member.into(), creator.into()],
    );
    let gone = Activation::find_by_statement(gone).all(tx).await?;
    receipts(tx, ConsentKind::Deactivated, &gone).await
}

/// A creator who edits an own trigger that is active has read the new text.
pub async fn consent_to_own(tx: &Tx<'_>, trigger: &trigger::Model) -> Result<()> {
    tx.execute(
        "UPDATE activations SET revision = ? WHERE trigger_id = ? AND member_id = ?",
        [trigger.revision.into(), trigger.id.into(), trigger.creator_id.into()],
    )
    .await?;
    Ok(())
}

pub async fn receipt(
    tx: &Tx<'_>,
    id: Uuid,
    member: Uuid,
    kind: ConsentKind,
    trigger: Option<&trigger::Model>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO consents (id, member_id, kind, trigger_id, revision, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        [
            id.into(),
            member.into(),
            kind.wire().into(),
            trigger.map(|trigger| trigger.id).into(),
            trigger.map(|trigger| trigger.revision).into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

pub async fn consents(permit: &Permit, member: Uuid, after: Option<i64>, limit: u64) -> Result<Vec<consent::Model>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT * FROM consents WHERE member_id = ? AND n < ? ORDER BY n DESC LIMIT ?",
        [member.into(), after.unwrap_or(i64::MAX).into(), limit.into()],
    );
    Ok(consent::Entity::find()
        .from_raw_sql(statement)
        .all(permit.read())
        .await?)
}

pub async fn consent(permit: &Permit, member: Uuid, id: Uuid) -> Result<Option<consent::Model>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT * FROM consents WHERE id = ? AND member_id = ?",
        [id.into(), member.into()],
    );
    Ok(consent::Entity::find()
        .from_raw_sql(statement)
        .one(permit.read())
        .await?)
}

async fn one(tx: &Tx<'_>, statement: sea_orm::Statement) -> Result<QueryResult> {
    let row = tx.query_one_raw(statement).await?;
    row.ok_or_else(|| Error::internal("a statement that gives one row gave none"))
}
