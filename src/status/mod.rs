//! How busy the server is, in numbers that everyone may see.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::{error::Result, gate::Permit, presence::Presence, time};

pub mod graphql;
mod store;

/// How long what was counted is told again. Source: the schema, `Query.serverStatus`.
const FRESH: Duration = Duration::from_secs(5);

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub rooms: i64,
    pub members: i64,
    pub messages_last_minute: i64,
    pub online: usize,
}

/// Counts for one node.
pub struct Counts {
    presence: Arc<Presence>,
    /// Held while it is counted: whoever comes meanwhile waits for that.
    last: Mutex<Option<(Instant, Status)>>,
}

impl Counts {
    pub fn new(presence: Arc<Presence>) -> Self {
        Self {
            presence,
            last: Mutex::default(),
        }
    }

    /// Of the last five seconds. It tells the same to everyone, whoever is calling.
    ///
    /// # Errors
    ///
    /// Where the database cannot be asked.
    pub async fn status(&self, permit: &Permit) -> Result<Status> {
        let mut last = self.last.lock().await;
        if let Some((at, status)) = *last
            && at.elapsed() < FRESH
        {
            return Ok(status);
        }
        let (rooms, members, messages_last_minute) = store::count(permit, time::now()).await?;
        let status = Status {
            rooms,
            members,
            messages_last_minute,
            online: self.presence.count(),
        };
        *last = Some((Instant::now(), status));
        Ok(status)
    }
}
