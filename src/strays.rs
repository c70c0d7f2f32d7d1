//! What is no longer needed: old audio, deliveries and events, and files without a row, which a crash between writing one
//! and its row left behind, or between removing the row and the file.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    ai,
    error::Result,
    events,
    files::{Files, Kind},
    gate::{Gate, Permit, System},
    profiles, webhooks,
};

/// How often they are looked for.
const EVERY: Duration = Duration::from_secs(3_600);
/// How old a file is before it is one: younger ones may be about to get their row.
const AGE: Duration = Duration::from_secs(3_600);

/// For how long things are kept; none is for as long as what needs them, or for good.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    pub audio: Option<Duration>,
    pub events: Option<Duration>,
}

/// Removes it, at once and then each hour, for as long as it is run.
pub async fn sweep(gate: Gate, files: Files, kept: Kept) {
    let permit = gate.system(System::Sweep);
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        run_once(&permit, &files, kept, Utc::now()).await;
    }
}

/// Removes what is too old at `now`, and strays of every kind that are an hour old. What fails is logged, and tried again
/// the next time.
pub async fn run_once(permit: &Permit, files: &Files, kept: Kept, now: DateTime<Utc>) {
    let before = now - AGE;
    if let Err(error) = ai::expire_audio(permit, files, kept.audio.map(|kept| now - kept), before).await {
        tracing::warn!(?error, "old audio was not removed");
    }
    if let Some(kept) = kept.events
        && let Err(error) = events::trim(permit, (now - kept).timestamp_millis()).await
    {
        tracing::warn!(?error, "old events were not removed");
    }
    if let Err(error) = webhooks::worker::expire(permit, now.timestamp_millis()).await {
        tracing::warn!(?error, "old deliveries were not removed");
    }
    let audio = files.sweep(Kind::Audio, before, async |names| ai::known_audio(permit, names).await);
    tell(Kind::Audio, audio.await);
    let avatars = files.sweep(Kind::Avatar, before, async |names| {
        profiles::avatar::known(permit, names).await
    });
    tell(Kind::Avatar, avatars.await);
}

fn tell(kind: Kind, swept: Result<usize>) {
    match swept {
        Ok(0) => {}
        Ok(removed) => tracing::info!(?kind, removed, "files without a row were removed"),
        Err(error) => tracing::warn!(?error, ?kind, "files without a row were not removed"),
    }
}
