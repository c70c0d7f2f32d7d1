use entity::{api_key, credential, login, member};
use sea_orm::{EntityTrait, IntoActiveModel, Set};
use uuid::Uuid;

use super::MOST_KEYS;
use crate::{
    error::{Error, Kind, Result},
    gate::{Permit, Tx, rules::Role, sql},
    profiles,
};

pub async fn by_username(permit: &Permit, username: &str) -> Result<Option<member::Model>> {
    let folded = username.to_ascii_lowercase();
    let statement = sql(
        permit.gate().backend(),
        "SELECT * FROM members WHERE username_key = ?",
        [folded.into()],
    );
    Ok(member::Entity::find()
        .from_raw_sql(statement)
        .one(permit.read())
        .await?)
}

/// The member with the hash of their password.
pub async fn with_password(permit: &Permit, username: &str) -> Result<Option<(member::Model, String)>> {
    let Some(member) = by_username(permit, username).await? else {
        return Ok(None);
    };
    let credential = credential(permit, member.id).await?;
    Ok(credential.map(|credential| (member, credential.password_hash)))
}

pub async fn email(permit: &Permit, member: Uuid) -> Result<Option<String>> {
    Ok(credential(permit, member)
        .await?
        .and_then(|credential| credential.email))
}

async fn credential(permit: &Permit, member: Uuid) -> Result<Option<credential::Model>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT * FROM credentials WHERE member_id = ?",
        [member.into()],
    );
    Ok(credential::Entity::find()
        .from_raw_sql(statement)
        .one(permit.read())
        .await?)
}

pub fn username_taken() -> Error {
    Error::new(Kind::Conflict, "this username is taken")
}

pub async fn insert(
    tx: &Tx<'_>,
    id: Uuid,
    username: &str,
    email: Option<&str>,
    password_hash: &str,
    role: Role,
) -> Result<member::Model> {
    let row = member::Model {
        id,
        username: username.to_owned(),
        username_key: username.to_ascii_lowercase(),
        display_name: username.to_owned(),
        avatar_url: None,
        is_public: true,
        xp: 0,
        role: role.wire().to_owned(),
        triggers_paused: false,
        search_key: profiles::search_key(username, username),
        created_at: tx.now(),
        banned_at: None,
        banned_until: None,
        ban_reason: None,
        muted_at: None,
        muted_until: None,
        mute_reason: None,
    };
    let inserted = member::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(tx)
        .await;
    inserted.map_err(Error::from).map_err(|error| {
        if error.unique_violation() {
            username_taken()
        } else {
            error
        }
    })?;
    let credential = credential::ActiveModel {
        member_id: Set(id),
        password_hash: Set(password_hash.to_owned()),
        email: Set(email.map(str::to_owned)),
    };
    credential::Entity::insert(credential)
        .exec_without_returning(tx)
        .await?;
    Ok(row)
}

pub async fn set_password(tx: &Tx<'_>, member: Uuid, hash: &str) -> Result<()> {
    tx.execute(
        "UPDATE credentials SET password_hash = ? WHERE member_id = ?",
        [hash.into(), member.into()],
    )
    .await?;
    Ok(())
}

pub async fn set_role(tx: &Tx<'_>, member: Uuid, role: Role) -> Result<()> {
    tx.execute(
        "UPDATE members SET role = ? WHERE id = ?",
        [role.wire().into(), member.into()],
    )
    .await?;
    Ok(())
}

pub async fn set_ban(tx: &Tx<'_>, member: Uuid, ban: Option<&(String, Option<i64>)>) -> Result<()> {
    tx.execute(
        "UPDATE members SET banned_at = ?, banned_until = ?, ban_reason = ? WHERE id = ?",
        [
            ban.map(|_| tx.now()).into(),
            ban.and_then(|(_, until)| *until).into(),
            ban.map(|(reason, _)| reason.clone()).into(),
            member.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Everything of a member's goes with the row.
pub async fn erase(tx: &Tx<'_>, member: Uuid) -> Result<()> {
    tx.execute("DELETE FROM members WHERE id = ?", [member.into()]).await?;
    Ok(())
}

pub async fn logins(permit: &Permit, member: Uuid) -> Result<Vec<login::Model>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT * FROM logins WHERE member_id = ? AND expires_at > ? ORDER BY id DESC LIMIT 1000",
        [member.into(), crate::time::now().into()],
    );
    Ok(login::Entity::find().from_raw_sql(statement).all(permit.read()).await?)
}

pub async fn login(permit: &Permit, id: Uuid, member: Uuid) -> Result<Option<login::Model>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT * FROM logins WHERE id = ? AND member_id = ?",
        [id.into(), member.into()],
    );
    Ok(login::Entity::find().from_raw_sql(statement).one(permit.read()).await?)
}

pub async fn end_login(tx: &Tx<'_>, id: Uuid, member: Uuid) -> Result<Option<login::Model>> {
    let statement = sql(
        tx.backend(),
        "DELETE FROM logins WHERE id = ? AND member_id = ? RETURNING *",
        [id.into(), member.into()],
    );
    Ok(login::Entity::find().from_raw_sql(statement).one(tx).await?)
}

pub async fn end_logins(tx: &Tx<'_>, member: Uuid, keep: Option<Uuid>) -> Result<()> {
    let keep = keep.unwrap_or_default();
    tx.execute(
        "DELETE FROM logins WHERE member_id = ? AND id <> ?",
        [member.into(), keep.into()],
    )
    .await?;
    Ok(())
}

pub async fn keys(permit: &Permit, member: Uuid) -> Result<Vec<api_key::Model>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT * FROM api_keys WHERE member_id = ? ORDER BY id DESC",
        [member.into()],
    );
    Ok(api_key::Entity::find()
        .from_raw_sql(statement)
        .all(permit.read())
        .await?)
}

pub async fn key(permit: &Permit, id: Uuid, member: Uuid) -> Result<Option<api_key::Model>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT * FROM api_keys WHERE id = ? AND member_id = ?",
        [id.into(), member.into()],
    );
    Ok(api_key::Entity::find()
        .from_raw_sql(statement)
        .one(permit.read())
        .await?)
}

pub async fn insert_key(tx: &Tx<'_>, row: &api_key::Model) -> Result<()> {
    tx.hold_member(row.member_id).await?;
    let written = tx
        .execute(
            "INSERT INTO api_keys (id, member_id, name, prefix, key_hash, scopes, created_at, expires_at)
             SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM api_keys WHERE member_id = ?) < ?",
            [
                row.id.into(),
                row.member_id.into(),
                row.name.as_str().into(),
                row.prefix.as_str().into(),
                row.key_hash.clone().into(),
                row.scopes.as_str().into(),
                row.created_at.into(),
                row.expires_at.into(),
                row.member_id.into(),
                (MOST_KEYS as i64).into(),
            ],
        )
        .await?;
    if written == 0 {
        let message = format!("a member may have {MOST_KEYS} API keys at most");
        return Err(Error::new(Kind::Conflict, message));
    }
    Ok(())
}

pub async fn end_key(tx: &Tx<'_>, id: Uuid, member: Uuid) -> Result<Option<api_key::Model>> {
    let statement = sql(
        tx.backend(),
        "DELETE FROM api_keys WHERE id = ? AND member_id = ? RETURNING *",
        [id.into(), member.into()],
    );
    Ok(api_key::Entity::find().from_raw_sql(statement).one(tx).await?)
}
