//! Idempotency keys: the first success again, and nothing twice.
//!
//! What an operation answered is kept in its own transaction, for 24 hours, so that a crash leaves either both or
//! neither. A failure rolls its key back with everything else.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{ConnectionTrait, FromQueryResult, Value};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    db::sql,
    rows::Rows,
    writer::{Operation, Tx},
};
use crate::{
    error::{Error, Kind, Result},
    time,
};

/// How long a key is kept. Source: the protocol, Errors.
pub(super) const KEPT_FOR: i64 = time::DAY;
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

    /// The values of the columns member_id, key, field and arguments_hash.
    pub(super) fn columns(&self) -> [Value; 4] {
        [
            self.member.into(),
            self.key.as_str().into(),
            self.field.into(),
            self.arguments_hash.to_vec().into(),
        ]
    }

    /// What the key is unique by.
    pub(super) fn name(&self) -> (Uuid, &str) {
        (self.member, &self.key)
    }

    /// Whether it is for the same request as another claim of the same key.
    pub(super) fn is_same(&self, other: &Claim) -> bool {
        self.field == other.field && self.arguments_hash == other.arguments_hash
    }

    pub(super) fn reused() -> Error {
        conflict("the idempotency key was used for another request")
    }

    /// The first success again, of a key that is taken.
    ///
    /// # Errors
    ///
    /// As [`replay`](Self::replay).
    pub(super) async fn replay_kept<T: DeserializeOwned>(&self, tx: &Tx<'_>) -> Result<T> {
        let statement = sql(
            tx.get_database_backend(),
            "SELECT member_id, key, field, arguments_hash, result FROM idempotency_keys WHERE member_id = ? AND key = ?",
            [self.member.into(), self.key.as_str().into()],
        );
        let kept = Kept::find_by_statement(statement)
            .one(tx)
            .await?
            .ok_or_else(|| Error::internal("an idempotency key that is taken is not there"))?;
        self.replay(&kept)
    }

    /// The first success again.
    ///
    /// # Errors
    ///
    /// `IDEMPOTENCY_CONFLICT` where the key was for another request, or the first one is still running.
    pub(super) fn replay<T: DeserializeOwned>(&self, kept: &Kept) -> Result<T> {
        if kept.field != self.field || kept.arguments_hash != self.arguments_hash {
            return Err(Claim::reused());
        }
        let Some(result) = &kept.result else {
            return Err(conflict("the first request with this idempotency key is still running"));
        };
        serde_json::from_str(result).map_err(Error::internal)
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

/// What is kept of the first request with a key.
#[derive(FromQueryResult)]
pub(super) struct Kept {
    member_id: Uuid,
    key: String,
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
                 WHERE idempotency_keys.created_at <= ?
                     OR (idempotency_keys.result IS NULL AND idempotency_keys.lease_until <= ?)",
                claim
                    .columns()
                    .into_iter()
                    .chain([now.into(), now.into(), (now - KEPT_FOR).into(), now.into()]),
            )
            .await?;
        if claimed == 0 {
            return claim.replay_kept(tx).await;
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

/// Takes the keys of many requests; what is kept of those that were taken before.
pub(super) async fn claim_all(tx: &Tx<'_>, claims: &[&Claim]) -> Result<HashMap<(Uuid, String), Kept>> {
    if claims.is_empty() {
        return Ok(HashMap::new());
    }
    let (now, backend) = (tx.now(), tx.backend());
    // Each once, as Postgres wants it, and in one order, so that no two batches wait for each other.
    let claims: BTreeMap<_, _> = claims.iter().map(|claim| (claim.name(), claim)).collect();
    let mut rows = Rows::new(backend);
    for claim in claims.values() {
        rows.push([
            claim.member.into(),
            claim.key.as_str().into(),
            claim.field.into(),
            claim.arguments_hash.as_slice().into(),
        ]);
    }
    let text = format!(
        "INSERT INTO idempotency_keys (member_id, key, field, arguments_hash, lease_until, created_at)
         SELECT {}, {}, {}, {}, ?, ? FROM {} WHERE 1 = 1
         ON CONFLICT (member_id, key) DO UPDATE SET field = excluded.field,
             arguments_hash = excluded.arguments_hash, result = NULL,
             lease_until = excluded.lease_until, created_at = excluded.created_at
         WHERE idempotency_keys.created_at <= ?
             OR (idempotency_keys.result IS NULL AND idempotency_keys.lease_until <= ?)",
        rows.uuid(0),
        rows.text(1),
        rows.text(2),
        rows.bytes(3),
        rows.from()
    );
    let values = [
        now.into(),
        now.into(),
        rows.into_value(),
        (now - KEPT_FOR).into(),
        now.into(),
    ];
    if tx.execute(&text, values).await? == claims.len() as u64 {
        return Ok(HashMap::new());
    }
    // What has a result, or is leased to one that still runs, was there before: what was just taken has neither.
    let mut rows = Rows::new(backend);
    for (member, key) in claims.keys() {
        rows.push([(*member).into(), (*key).into()]);
    }
    let text = format!(
        "SELECT k.member_id, k.key, k.field, k.arguments_hash, k.result FROM {} JOIN idempotency_keys k
         ON k.member_id = {} AND k.key = {} WHERE k.result IS NOT NULL OR k.lease_until > ?",
        rows.from(),
        rows.uuid(0),
        rows.text(1)
    );
    let statement = sql(backend, &text, [rows.into_value(), now.into()]);
    let kept = Kept::find_by_statement(statement).all(tx).await?;
    Ok(kept
        .into_iter()
        .map(|kept| ((kept.member_id, kept.key.clone()), kept))
        .collect())
}

/// Keeps what requests with keys have answered; where they failed, their keys go.
pub(super) async fn settle_all<'a, T: Serialize + 'a>(
    tx: &Tx<'_>,
    settled: impl Iterator<Item = (&'a Claim, Option<&'a T>)>,
) -> Result<()> {
    let backend = tx.backend();
    let (mut kept, mut dropped) = (Rows::new(backend), Rows::new(backend));
    for (claim, result) in settled {
        let (member, key) = claim.name();
        match result {
            Some(result) => {
                let result = serde_json::to_string(result).map_err(Error::internal)?;
                kept.push([member.into(), key.into(), result.as_str().into()]);
            }
            None => dropped.push([member.into(), key.into()]),
        }
    }
    if !kept.is_empty() {
        let text = format!(
            "UPDATE idempotency_keys SET result = {} FROM {}
             WHERE idempotency_keys.member_id = {} AND idempotency_keys.key = {}",
            kept.text(2),
            kept.from(),
            kept.uuid(0),
            kept.text(1)
        );
        tx.execute(&text, [kept.into_value()]).await?;
    }
    if !dropped.is_empty() {
        let text = format!(
            "DELETE FROM idempotency_keys WHERE (member_id, key) IN (SELECT {}, {} FROM {})",
            dropped.uuid(0),
            dropped.text(1),
            dropped.from()
        );
        tx.execute(&text, [dropped.into_value()]).await?;
    }
    Ok(())
}

pub(super) fn conflict(message: &'static str) -> Error {
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
