//! The session store: logins as rows, found by the SHA-256 of the session's id, which is nowhere else.

use async_trait::async_trait;
use sea_orm::{EntityTrait, Set};
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

/// Sessions as the database keeps them.
#[derive(Clone, Debug)]
pub struct Store(pub(super) Gate);

impl Store {
    /// The store of the gate that admitted the login.
    pub fn new(permit: &Permit) -> Self {
        Self(permit.gate().clone())
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
            token_hash: session_hash(record.id),
            login,
            data,
            expires_at: millis(record.expiry_date),
        };
        self.0.writer().write(save).await.map_err(backend)
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let statement = sql(
            self.0.backend(),
            "SELECT * FROM logins WHERE token_hash = ? AND expires_at > ?",
            [session_hash(*id).to_vec().into(), crate::time::now().into()],
        );
        let found = entity::login::Entity::find()
            .from_raw_sql(statement)
            .one(self.0.reader())
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
        self.0
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
        self.0.writer().write(DeleteExpired).await.map_err(backend)
    }
}

fn backend(error: crate::error::Error) -> session_store::Error {
    Backend(format!("{error:?}"))
}

fn millis(time: OffsetDateTime) -> i64 {
    (time.unix_timestamp_nanos() / 1_000_000).try_into().unwrap_or(i64::MAX)
}

struct Save {
    token_hash: [u8; 32],
    login: Login,
    data: String,
    expires_at: i64,
}

impl Operation for Save {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        let now = tx.now();
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
        Ok(())
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
