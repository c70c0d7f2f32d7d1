//! Events of the log become deliveries.

use super::queue;
use crate::{
    error::Result,
    event::EventKind,
    gate::{Durability, Operation, Tx, log},
};

/// How many deliveries are made in one transaction at most, if an event does not make more: writers of messages wait for it.
pub const ROWS: usize = 128;

/// Makes deliveries of the next events of the log; whether there may be more.
pub struct Dispatch {
    pub now: i64,
}

impl Operation for Dispatch {
    type Output = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool> {
        let Some(place) = queue::dispatched(tx).await? else {
            return Ok(false);
        };
        let listening = queue::listening(tx).await?;
        // Nobody is told of what was before the first of them.
        let Some(since) = listening.iter().map(|webhook| webhook.since).min() else {
            return Ok(false);
        };
        let page = (ROWS / listening.len()).max(1);
        let events = log::read_placed(tx, place.max(since), page as u64).await?;
        let Some(last) = events.last() else {
            return Ok(false);
        };
        let mut to_tell = Vec::new();
        for event in &events {
            // What is of the inside has a kind that is none.
            let Ok(kind) = event.kind.parse::<EventKind>() else {
                continue;
            };
            let place = event.place();
            let listen = |webhook: &&queue::Listening| webhook.events.contains(&kind) && webhook.since < place;
            to_tell.extend(listening.iter().filter(listen).map(|webhook| queue::ToTell {
                webhook: webhook.id,
                event,
            }));
        }
        let told = to_tell.iter().map(|told| told.webhook).collect();
        let active = queue::hold_active(tx, told).await?;
        to_tell.retain(|told| active.contains(&told.webhook));
        queue::insert_all(tx, &to_tell, self.now).await?;
        queue::set_dispatched(tx, last.place()).await?;
        Ok(events.len() == page)
    }

    /// Rows and place are lost together, and made again from the log.
    fn durability(&self) -> Durability {
        Durability::Process
    }
}
