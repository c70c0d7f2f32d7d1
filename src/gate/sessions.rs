//! The session store: logins as rows, found by the SHA-256 of the session's id, which is nowhere else.

use std::fmt;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, Set};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tower_sessions::{
    ExpiredDeletion, SessionStore,
    session::{Id, Record},
    session_store::{self, Error::Backend},
};
use uuid::Uuid;

use super::{
    Gate, Permit,
    callers::session_hash,
    db::sql,
    writer::{Operation, Tx},
};
use crate::error::Result;

/// The member of a session's data under which the login stands.
pub const LOGIN: &str = "login";

/// Who logged in, and from where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Login {
    pub id: Uuid,
    pub member: Uuid,
    pub user_agent: Option<String>,
    pub address: Option<String>,
}

/// What a session is not saved for: the password that it was to start with is no longer the member's, or the member is
/// gone.
pub const OUTDATED: &str = "the password has changed";

/// Sessions as the database keeps them.
#[derive(Clone)]
pub struct Store {
    gate: Gate,
    /// The hash of the password that was checked for what is saved here.
    password_hash: Option<String>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// The store of the gate that admitted the login, for a session that starts with a password: whoever changes that
    /// password at the same time leaves no login that it opened.
    pub fn new(permit: &Permit, password_hash: String) -> Self {
        Self {
            gate: permit.gate().clone(),
            password_hash: Some(password_hash),
        }
    }

    /// A store that saves nothing.
    pub(super) fn of(gate: Gate) -> Self {
        Self {
            gate,
            password_hash: None,
        }
    }
}

#[async_trait]
impl SessionStore for Store {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        self.save(record).await
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        let login = record
            .data
            .get(LOGIN)
            .and_then(|value| serde_json::from_value(value.clone()).ok())
            .ok_or_else(|| session_store::Error::Encode("a session without a login".into()))?;
        let data = serde_json::to_string(&record.data).map_err(|why| session_store::Error::Encode(why.to_string()))?;
        let save = Save {
            password_hash: self.password_hash.clone().unwrap_or_default(),
            token_hash: session_hash(record.id),
            login,
            data,
            expires_at: millis(record.expiry_date),
        };
        match self.gate.writer().write(save).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Backend(OUTDATED.into())),
            Err(error) => Err(backend(error)),
        }
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let statement = sql(
            self.gate.backend(),
            "SELECT * FROM logins WHERE token_hash = ? AND expires_at > ?",
            [session_hash(*id).to_vec().into(), crate::time::now().into()],
        );
        let found = entity::login::Entity::find()
            .from_raw_sql(statement)
            .one(self.gate.reader())
            .await;
        let Some(row) = found.map_err(|why| Backend(why.to_string()))? else {
            return Ok(None);
        };
        let data = serde_json::from_str(&row.data).map_err(|why| session_store::Error::Decode(why.to_string()))?;
        let expiry_date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(row.expires_at) * 1_000_000)
            .map_err(|why| session_store::Error::Decode(why.to_string()))?;
        Ok(Some(Record {
            id: *id,
            data,
            expiry_date,
        }))
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.gate
            .writer()
            .write(Delete {
                token_hash: session_hash(*id),
            })
            .await
            .map_err(backend)
    }
}

#[async_trait]
impl ExpiredDeletion for Store {
    async fn delete_expired(&self) -> session_store::Result<()> {
        self.gate.writer().write(DeleteExpired).await.map_err(backend)
    }
}

fn backend(error: crate::error::Error) -> session_store::Error {
    Backend(format!("{error:?}"))
}

fn millis(time: OffsetDateTime) -> i64 {
    (time.unix_timestamp_nanos() / 1_000_000).try_into().unwrap_or(i64::MAX)
}

struct Save {
    password_hash: String,
    token_hash: [u8; 32],
    login: Login,
    data: String,
    expires_at: i64,
}

impl Operation for Save {
    /// Whether it was saved.
    type Output = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool> {
        let now = tx.now();
        let text = match tx.backend() {
            DbBackend::Sqlite => "SELECT 1 FROM credentials WHERE member_id = ? AND password_hash = ?",
            // Waits for a change of the password that is on its way.
            _ => "SELECT 1 FROM credentials WHERE member_id = ? AND password_hash = ? FOR SHARE",
        };
        let current = sql(
            tx.backend(),
            text,
            [self.login.member.into(), self.password_hash.as_str().into()],
        );
        if tx.query_one_raw(current).await?.is_none() {
            return Ok(false);
        }
        let row = entity::login::ActiveModel {
            id: Set(self.login.id),
            token_hash: Set(self.token_hash.to_vec()),
            member_id: Set(self.login.member),
            data: Set(self.data.clone()),
            user_agent: Set(self.login.user_agent.clone()),
            address: Set(self.login.address.clone()),
            created_at: Set(now),
            last_seen_at: Set(now),
            expires_at: Set(self.expires_at),
        };
        entity::login::Entity::insert(row).exec_without_returning(tx).await?;
        Ok(true)
    }
}

struct Delete {
    token_hash: [u8; 32],
}

impl Operation for Delete {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.execute(
            "DELETE FROM logins WHERE token_hash = ?",
            [self.token_hash.to_vec().into()],
        )
        .await?;
        Ok(())
    }
}

struct DeleteExpired;

impl Operation for DeleteExpired {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.execute("DELETE FROM logins WHERE expires_at <= ?", [tx.now().into()])
            .await?;
        Ok(())
    }
}
