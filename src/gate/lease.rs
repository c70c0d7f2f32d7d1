//! Idempotency keys of operations that outlast a transaction, such as generating an answer.
//!
//! The key is taken before, in a transaction of its own, for as long as a lease lasts; what works on it renews the lease,
//! and the transaction that keeps the result ends it. Work that fails or is dropped gives the key back, and where a node
//! dies the lease runs out. Source: DESIGN, "Idempotency".

use std::{
    marker::PhantomData,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::{
    Gate, Permit,
    idempotency::{self, Claim, KEPT_FOR},
    writer::{Operation, Tx},
};
use crate::{
    error::{Error, Result},
    time,
};

/// How long a key is kept for work that is not heard of.
const LASTS: i64 = 90 * time::SECOND;
/// How often the lease of work that goes on is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(30);

/// What came of asking for a key.
#[derive(Debug)]
pub enum Leased<T> {
    /// The request was answered before: the first success again.
    Again(T),
    /// The work is the caller's to do.
    Go(Lease),
}

/// A request's idempotency key while it is worked on; of nothing where the request has none.
#[derive(Debug)]
pub struct Lease(Option<Held>);

struct Held {
    gate: Gate,
    claim: Claim,
    /// Fences: whose lease ran out keeps nothing.
    id: Uuid,
    renewing: AbortHandle,
    /// There is nothing to give back.
    settled: AtomicBool,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Held").field(&self.id).finish()
    }
}

impl Permit {
    /// Takes the request's idempotency key for work that is to follow. Dropped before it is
    /// [settled](Self::write_leased), the lease gives the key back.
    ///
    /// # Errors
    ///
    /// `IDEMPOTENCY_CONFLICT` for a key of another request, or while the first one still runs.
    pub async fn lease<T>(&self) -> Result<Leased<T>>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let Some(claim) = self.claim().cloned() else {
            return Ok(Leased::Go(Lease(None)));
        };
        let (id, gate) = (Uuid::new_v4(), self.gate().clone());
        let take = Take {
            claim: claim.clone(),
            id,
            output: PhantomData::<fn() -> T>,
        };
        // Before it is written, which goes on if the caller leaves: then it is given back too.
        let held = Held {
            renewing: tokio::spawn(renew(gate.clone(), id)).abort_handle(),
            gate,
            claim,
            id,
            settled: AtomicBool::new(false),
        };
        match self.write(take).await? {
            Some(kept) => {
                held.settled.store(true, Ordering::Relaxed);
                Ok(Leased::Again(kept))
            }
            None => Ok(Leased::Go(Lease(Some(held)))),
        }
    }

    /// Runs the operation that ends leased work; what it gives is kept for the key, in its own transaction.
    ///
    /// # Errors
    ///
    /// Also `IDEMPOTENCY_CONFLICT` where the lease ran out and somebody else took the key: then nothing was written.
    pub async fn write_leased<O>(&self, lease: &Lease, operation: O) -> Result<O::Output>
    where
        O: Operation,
        O::Output: Serialize + Sync,
    {
        let Some(held) = &lease.0 else {
            return self.write(operation).await;
        };
        let settle = Settle {
            claim: held.claim.clone(),
            id: held.id,
            operation,
        };
        let output = self.write(settle).await?;
        held.settled.store(true, Ordering::Relaxed);
        Ok(output)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
        if self.settled.load(Ordering::Relaxed) {
            return;
        }
        // Without a runtime the process is ending: then the lease runs out.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (gate, id) = (self.gate.clone(), self.id);
            runtime.spawn(async move {
                if let Err(error) = gate.writer().write(Release(id)).await {
                    tracing::warn!(?error, "an idempotency key was not given back");
                }
            });
        }
    }
}

async fn renew(gate: Gate, id: Uuid) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        if let Err(error) = gate.writer().write(Renew(id)).await {
            tracing::warn!(?error, "the lease of an idempotency key was not renewed");
        }
    }
}

struct Take<T> {
    claim: Claim,
    id: Uuid,
    output: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Send + 'static> Operation for Take<T> {
    type Output = Option<T>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<T>> {
        let now = tx.now();
        let values = self.claim.columns().into_iter().chain([
            (now + LASTS).into(),
            self.id.into(),
            now.into(),
            (now - KEPT_FOR).into(),
            now.into(),
        ]);
        let taken = tx
            .execute(
                "INSERT INTO idempotency_keys (member_id, key, field, arguments_hash, lease_until, lease, created_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (member_id, key) DO UPDATE SET field = excluded.field,
                     arguments_hash = excluded.arguments_hash, result = NULL, lease_until = excluded.lease_until,
                     lease = excluded.lease, created_at = excluded.created_at
                 WHERE idempotency_keys.created_at <= ?
                     OR (idempotency_keys.result IS NULL AND idempotency_keys.lease_until <= ?)",
                values,
            )
            .await?;
        if taken > 0 {
            return Ok(None);
        }
        self.claim.replay_kept(tx).await.map(Some)
    }
}

struct Settle<O> {
    claim: Claim,
    id: Uuid,
    operation: O,
}

impl<O> Operation for Settle<O>
where
    O: Operation,
    O::Output: Serialize + Sync,
{
    type Output = O::Output;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<O::Output> {
        let output = self.operation.run(tx).await?;
        let result = serde_json::to_string(&output).map_err(Error::internal)?;
        let (member, key) = self.claim.name();
        let kept = tx
            .execute(
                "UPDATE idempotency_keys SET result = ?, lease_until = ?
                 WHERE member_id = ? AND key = ? AND lease = ? AND result IS NULL",
                [
                    result.into(),
                    tx.now().into(),
                    member.into(),
                    key.into(),
                    self.id.into(),
                ],
            )
            .await?;
        match kept {
            0 => Err(idempotency::conflict(
                "the request took so long that its idempotency key was taken again",
            )),
            _ => Ok(output),
        }
    }
}

struct Renew(Uuid);

impl Operation for Renew {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        let until = tx.now() + LASTS;
        tx.execute(
            "UPDATE idempotency_keys SET lease_until = ? WHERE lease = ? AND result IS NULL",
            [until.into(), self.0.into()],
        )
        .await?;
        Ok(())
    }
}

struct Release(Uuid);

impl Operation for Release {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.execute(
            "DELETE FROM idempotency_keys WHERE lease = ? AND result IS NULL",
            [self.0.into()],
        )
        .await?;
        Ok(())
    }
}
