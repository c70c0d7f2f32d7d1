//! What becomes of a caller while their socket or stream is open: logged out, revoked, banned, another role, other blocks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    Gate,
    callers::{self, Caller, Known},
};
use crate::{
    error::{Error, Kind, Result},
    time,
};

/// How long to wait for a database that does not answer before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// The longest wait for a login or key to run out before its end is looked up again.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// The members who have something open on this node.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<HashMap<Uuid, watch::Sender<()>>>);

impl Live {
    /// Tells a member's sockets and streams that something may have changed.
    pub fn tell(&self, member: Uuid) {
        if let Some(sender) = self.open().get(&member) {
            sender.send_replace(());
        }
    }

    pub fn tell_all(&self) {
        self.open().values().for_each(|sender| {
            sender.send_replace(());
        });
    }

    fn listen(&self, member: Uuid) -> watch::Receiver<()> {
        self.open()
            .entry(member)
            .or_insert_with(|| watch::channel(()).0)
            .subscribe()
    }

    /// One listener is about to go.
    fn leave(&self, member: Uuid) {
        let mut open = self.open();
        if open.get(&member).is_some_and(|sender| sender.receiver_count() <= 1) {
            open.remove(&member);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller for as long as a connection of theirs is open.
pub struct Standing {
    gate: Gate,
    known: Arc<Known>,
    changes: watch::Receiver<()>,
    /// Something changed that has not been looked up yet.
    stale: bool,
}

impl Gate {
    /// Begins to follow a member who opens a connection. What changed since they were identified is seen.
    ///
    /// # Errors
    ///
    /// `INVALID_CREDENTIALS` where they have been logged out or revoked since, `BANNED`; a database that does not answer.
    pub async fn follow(&self, known: &Arc<Known>) -> Result<Standing> {
        let mut standing = Standing {
            changes: self.0.callers.live.listen(known.member),
            gate: self.clone(),
            known: known.clone(),
            stale: false,
        };
        standing.look().await?;
        Ok(standing)
    }
}

impl Standing {
    /// The caller as they are now.
    pub fn caller(&self) -> Caller {
        Caller::Member(self.known.clone())
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub fn known(&self) -> &Arc<Known> {
        &self.known
    }

    /// Waits until something about the caller has changed. Cancel safe.
    ///
    /// # Errors
    ///
    /// `INVALID_CREDENTIALS` where they have been logged out or revoked, or what they call by has run out; `BANNED`.
    pub async fn changed(&mut self) -> Result<()> {
        loop {
            if !self.stale {
                let left = self.known.expires_at().saturating_sub(time::now()).max(0);
                let left = Duration::from_millis(left.unsigned_abs()).min(LOOK_EVERY);
                // Either way it is time to look. The sender is in the registry for as long as this listens.
                let _ = timeout(left, self.changes.changed()).await;
                self.stale = true;
            }
            // Boxed: who is idle does not pay for it.
            match Box::pin(self.look()).await {
                Ok(()) => {
                    self.stale = false;
                    return Ok(());
                }
                Err(error) if error.kind() == Kind::Unavailable => sleep(ASK_AGAIN).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        let via = callers::via_id(&self.known.via);
        let known = callers::by_id(self.gate.reader(), &via).await?;
        let ended = || Error::new(Kind::InvalidCredentials, "the login or key has ended");
        self.known = Arc::new(known.ok_or_else(ended)?);
        Ok(())
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.gate.0.callers.live.leave(self.known.member);
    }
}

impl Known {
    /// When what the member calls by runs out, in Unix milliseconds.
    fn expires_at(&self) -> i64 {
        self.expires_at.load(Ordering::Relaxed)
    }
}
