//! Operations of one kind on one subject that come together run together: one transaction, a few statements for all of
//! them, and one turn at the subject's lock. Each succeeds or is refused by itself, and happens once for its idempotency
//! key.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Gate, Permit, Tx,
    idempotency::Claim,
    writer::{Durability, Operation},
};
use crate::error::{Error, Kind, Result};

/// How many run together at most.
const BATCH: usize = 256;
/// How many may wait for one subject before further ones are refused.
const QUEUE: usize = 4_096;

/// One of many operations.
pub trait Part: Clone + Send + Sync + 'static {
    type Output: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Runs `parts` in their order; one outcome for each. What one is refused for does not keep the others. As with any
    /// [`Operation`], it may run more than once before it takes effect once.
    fn run(
        tx: &mut Tx<'_>,
        subject: Uuid,
        parts: &[&Self],
    ) -> impl Future<Output = Result<Vec<Result<Self::Output>>>> + Send;

    /// As [`Operation::durability`].
    fn durability(&self) -> Durability {
        Durability::Disk
    }
}

/// What waits to be written together. Cheap to clone.
pub struct Together<P: Part>(Arc<Mutex<HashMap<Uuid, VecDeque<Waiting<P>>>>>);

/// What will come of a part that was handed over.
pub struct Answer<T>(oneshot::Receiver<Result<T>>);

impl<T> Answer<T> {
    /// Waits until it is written, or refused; once. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Together::write`].
    pub async fn wait(&mut self) -> Result<T> {
        (&mut self.0).await.map_err(|_| overloaded())?
    }
}

fn overloaded() -> Error {
    Error::new(Kind::Unavailable, "too much is being written, try again").with("retryAfter", 1)
}

struct Waiting<P: Part> {
    part: P,
    claim: Option<Claim>,
    reply: oneshot::Sender<Result<P::Output>>,
}

impl<P: Part> Default for Together<P> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<P: Part> Clone for Together<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Part> Together<P> {
    /// Writes a part, with whatever else waits for this subject; it is as durable as it asks for when this answers. Once, if
    /// the permit is for an idempotency key.
    ///
    /// # Errors
    ///
    /// The part's own, `IDEMPOTENCY_CONFLICT`, and `UNAVAILABLE` when too much is waiting.
    pub async fn write(&self, permit: &Permit, subject: Uuid, part: P) -> Result<P::Output> {
        self.hand_over(permit, subject, part)?.wait().await
    }

    /// As [`write`](Self::write), without waiting: what is handed over is written in that order.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` when too much is waiting.
    pub fn hand_over(&self, permit: &Permit, subject: Uuid, part: P) -> Result<Answer<P::Output>> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            part,
            claim: permit.claim().cloned(),
            reply,
        };
        {
            let mut queues = self.queues();
            match queues.get_mut(&subject) {
                Some(queue) if queue.len() >= QUEUE => return Err(overloaded()),
                Some(queue) => queue.push_back(waiting),
                None => {
                    queues.insert(subject, VecDeque::from([waiting]));
                    tokio::spawn(run(self.clone(), permit.gate().clone(), subject));
                }
            }
        }
        Ok(Answer(answer))
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Uuid, VecDeque<Waiting<P>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is next for a subject; where there is nothing its queue goes.
    fn next(&self, subject: Uuid) -> Vec<Waiting<P>> {
        let mut queues = self.queues();
        let Some(queue) = queues.get_mut(&subject) else {
            return Vec::new();
        };
        let next: Vec<_> = queue.drain(..queue.len().min(BATCH)).collect();
        if next.is_empty() {
            queues.remove(&subject);
        }
        next
    }
}

async fn run<P: Part>(together: Together<P>, gate: Gate, subject: Uuid) {
    loop {
        // Whatever can run now may add to the batch before it is closed.
        tokio::task::yield_now().await;
        let batch = together.next(subject);
        if batch.is_empty() {
            return;
        }
        let (parts, replies): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|waiting| ((waiting.part, waiting.claim), waiting.reply))
            .unzip();
        // Who went away does not need the answer.
        match gate.writer().write(Batch { subject, parts }).await {
            Ok(outcomes) => replies.into_iter().zip(outcomes).for_each(|(reply, outcome)| {
                let _ = reply.send(outcome);
            }),
            Err(error) => replies.into_iter().for_each(|reply| {
                let _ = reply.send(Err(error.clone()));
            }),
        }
    }
}

struct Batch<P: Part> {
    subject: Uuid,
    parts: Vec<(P, Option<Claim>)>,
}

impl<P: Part> Operation for Batch<P> {
    type Output = Vec<Result<P::Output>>;

    fn durability(&self) -> Durability {
        let all = self.parts.iter().map(|(part, _)| part.durability());
        all.max().unwrap_or(Durability::Disk)
    }

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Output> {
        let claims: Vec<&Claim> = self.parts.iter().filter_map(|(_, claim)| claim.as_ref()).collect();
        let kept = super::idempotency::claim_all(tx, &claims).await?;
        // A key that comes twice in one batch is the first one's, as it would be if it came later.
        let mut first = HashMap::new();
        let mut outcomes: Vec<Option<Result<P::Output>>> = Vec::with_capacity(self.parts.len());
        let mut again = Vec::new();
        for (index, (_, claim)) in self.parts.iter().enumerate() {
            outcomes.push(None);
            let Some(claim) = claim else { continue };
            if let Some(kept) = kept.get(&(claim.name().0, claim.name().1.to_owned())) {
                outcomes[index] = Some(claim.replay(kept));
            } else {
                let earlier = *first.entry(claim.name()).or_insert(index);
                if earlier != index {
                    again.push((index, earlier));
                }
            }
        }
        let is_again = |index: &usize| again.iter().any(|(later, _)| later == index);
        let fresh: Vec<usize> = (0..self.parts.len())
            .filter(|index| outcomes[*index].is_none() && !is_again(index))
            .collect();
        if !fresh.is_empty() {
            let parts: Vec<&P> = fresh.iter().map(|index| &self.parts[*index].0).collect();
            for (index, outcome) in fresh.iter().zip(P::run(tx, self.subject, &parts).await?) {
                outcomes[*index] = Some(outcome);
            }
            let settled = fresh.iter().filter_map(|index| {
                let claim = self.parts[*index].1.as_ref()?;
                Some((claim, outcomes[*index].as_ref()?.as_ref().ok()))
            });
            super::idempotency::settle_all(tx, settled).await?;
        }
        for (index, earlier) in again {
            let (claim, other) = (&self.parts[index].1, &self.parts[earlier].1);
            outcomes[index] = match (claim, other) {
                (Some(claim), Some(other)) if !claim.is_same(other) => Some(Err(Claim::reused())),
                _ => outcomes[earlier].clone(),
            };
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.ok_or_else(|| Error::internal("a part without an outcome")))
            .collect()
    }
}
