//! What ends a connection whatever it is doing: its caller is no longer who they were, or the server ends.

use futures_util::future::{Either, select};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    gate::Standing,
};

/// Why a connection ends.
#[derive(Debug)]
pub enum End {
    /// The server is shutting down.
    Draining,
    /// The caller was logged out, revoked or banned.
    Caller(Error),
}

/// What may end a connection.
pub struct Ends {
    standing: Standing,
    draining: CancellationToken,
    changed: bool,
}

impl Ends {
    pub fn new(standing: Standing, draining: &CancellationToken) -> Self {
        Self {
            standing,
            draining: draining.clone(),
            changed: false,
        }
    }

    /// The caller as they are now.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether something about the caller has changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Waits until something about the caller has changed. Cancel safe.
    ///
    /// # Errors
    ///
    /// Why the connection ends.
    pub async fn change(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.draining.cancelled() => return Err(End::Draining),
            changed = self.standing.changed() => changed.map_err(End::Caller)?,
        }
        self.changed = true;
        Ok(())
    }

    /// What comes of `work`, where the connection does not end first.
    ///
    /// # Errors
    ///
    /// Why the connection ends.
    pub async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = std::pin::pin!(work);
        loop {
            match select(work.as_mut(), std::pin::pin!(self.change())).await {
                Either::Left((done, _)) => return Ok(done),
                Either::Right((change, _)) => change?,
            }
        }
    }
}
