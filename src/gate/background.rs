//! What a node does by itself: it follows what changed about callers and removes what has expired.

use std::time::Duration;

use super::{Gate, idempotency, log, sessions};
use crate::error::Result;

/// How often a node looks into the log for what changed about callers, whether the doorbell rang or not.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often what has expired is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Reads what changed about callers, on this node and on others, and forgets them.
pub(super) async fn follow(gate: Gate, mut seq: i64) {
    let mut bell = gate.0.doorbell.listen();
    loop {
        match changed_callers(&gate, seq).await {
            Ok(last) => {
                seq = last;
                gate.0.callers.caught_up();
            }
            // Until the log can be read again, each request asks the database who is calling.
            Err(error) => tracing::warn!(?error, "the log cannot be read"),
        }
        let rung = async {
            while let Ok(subject) = bell.recv().await {
                if subject == log::CALLERS {
                    return;
                }
            }
            std::future::pending().await
        };
        let _ = tokio::time::timeout(LOOK_EVERY, rung).await;
    }
}

async fn changed_callers(gate: &Gate, seq: i64) -> Result<i64> {
    const AT_ONCE: u64 = 1_000;
    let last = log::last_seq(gate.reader(), log::CALLERS).await?;
    if last == seq {
        return Ok(seq);
    }
    // Further behind than a page, or a log that is shorter than it was: start from nothing.
    if last < seq || last - seq > AT_ONCE as i64 {
        gate.0.callers.forget_all();
        return Ok(last);
    }
    let mut seen = seq;
    for event in log::subject_events(gate.reader(), log::CALLERS, seq, AT_ONCE).await? {
        gate.0.callers.forget(event.object_id);
        seen = event.seq;
    }
    Ok(seen)
}

/// Removes what has expired.
pub(super) async fn sweep(gate: Gate) {
    use tower_sessions::ExpiredDeletion;

    let mut every = tokio::time::interval(SWEEP_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Err(error) = sessions::Store::of(gate.clone()).delete_expired().await {
            tracing::warn!(%error, "expired logins were not removed");
        }
        if let Err(error) = gate.writer().write(idempotency::Forget).await {
            tracing::warn!(?error, "expired idempotency keys were not removed");
        }
    }
}
