//! Idempotency keys: the first success again, and nothing twice.
//!
//! What an operation answered is kept in its own transaction, for 24 hours, so that a crash leaves either both or
//! neither. A failure rolls its key back with everything else.

use sea_orm::{ConnectionTrait, FromQueryResult};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    db::sql,
    writer::{Operation, Tx},
};
use crate::{
    error::{Error, Kind, Result},
    time,
};

/// How long a key is kept. Source: the protocol, Errors.
const KEPT_FOR: i64 = time::DAY;
/// The longest key, in characters.
pub const LONGEST: usize = 255;

/// A member's key for one request.
#[derive(Clone, Debug)]
pub struct Claim {
    member: Uuid,
    key: String,
    field: &'static str,
    arguments_hash: [u8; 32],
}

impl Claim {
    /// `arguments` are the coerced ones: what means the same hashes the same.
    pub(super) fn new(member: Uuid, key: &str, field: &'static str, arguments: &impl Serialize) -> Result<Claim> {
        let arguments = serde_json::to_vec(arguments).map_err(Error::internal)?;
        Ok(Claim {
            member,
            key: key.to_owned(),
            field,
            arguments_hash: Sha256::digest(arguments).into(),
        })
    }
}

/// Reads an `Idempotency-Key`.
///
/// # Errors
///
/// `BAD_REQUEST` for an empty one, or one over 255 characters.
pub fn read_key(header: &str) -> Result<String> {
    let key = header.trim();
    if key.is_empty() || key.chars().count() > LONGEST {
        let message = format!("an idempotency key has 1 to {LONGEST} characters");
        return Err(Error::bad_request("", message));
    }
    Ok(key.to_owned())
}

/// An operation that happens once for its claim.
pub(super) struct Once<O> {
    pub claim: Claim,
    pub operation: O,
}

#[derive(FromQueryResult)]
struct Kept {
    field: String,
    arguments_hash: Vec<u8>,
    result: Option<String>,
}

impl<O> Operation for Once<O>
where
    O: Operation,
    O::Output: Serialize + DeserializeOwned + Sync,
{
    type Output = O::Output;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<O::Output> {
        let claim = &self.claim;
        let now = tx.now();
        // On Postgres this waits for another transaction that holds the same key.
        let claimed = tx
            .execute(
                "INSERT INTO idempotency_keys (member_id, key, field, arguments_hash, lease_until, created_at)
                 VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (member_id, key) DO UPDATE SET field = excluded.field,
                     arguments_hash = excluded.arguments_hash, result = NULL,
                     lease_until = excluded.lease_until, created_at = excluded.created_at
                 WHERE idempotency_keys.created_at <= ?",
                [
                    claim.member.into(),
                    claim.key.as_str().into(),
                    claim.field.into(),
                    claim.arguments_hash.to_vec().into(),
                    now.into(),
                    now.into(),
                    (now - KEPT_FOR).into(),
                ],
            )
            .await?;
        if claimed == 0 {
            return self.replay(tx).await;
        }
        let output = self.operation.run(tx).await?;
        let result = serde_json::to_string(&output).map_err(Error::internal)?;
        tx.execute(
            "UPDATE idempotency_keys SET result = ? WHERE member_id = ? AND key = ?",
            [result.into(), claim.member.into(), claim.key.as_str().into()],
        )
        .await?;
        Ok(output)
    }
}

impl<O> Once<O>
where
    O: Operation,
    O::Output: DeserializeOwned,
{
    async fn replay(&self, tx: &Tx<'_>) -> Result<O::Output> {
        let statement = sql(
            tx.get_database_backend(),
            "SELECT field, arguments_hash, result FROM idempotency_keys WHERE member_id = ? AND key = ?",
            [self.claim.member.into(), self.claim.key.as_str().into()],
        );
        let kept = Kept::find_by_statement(statement)
            .one(tx)
            .await?
            .ok_or_else(|| Error::internal("an idempotency key that is taken is not there"))?;
        if kept.field != self.claim.field || kept.arguments_hash != self.claim.arguments_hash {
            return Err(conflict("the idempotency key was used for another request"));
        }
        let Some(result) = kept.result else {
            return Err(conflict("the first request with this idempotency key is still running"));
        };
        serde_json::from_str(&result).map_err(Error::internal)
    }
}

fn conflict(message: &'static str) -> Error {
    Error::new(Kind::IdempotencyConflict, message)
}

/// Removes the keys that are no longer kept.
pub(super) struct Forget;

impl Operation for Forget {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.execute(
            "DELETE FROM idempotency_keys WHERE created_at <= ?",
            [(tx.now() - KEPT_FOR).into()],
        )
        .await?;
        Ok(())
    }
}
