//! Answers read aloud: made once for the same text and voice, kept as files, and removed with what needs them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use chrono::{DateTime, Utc};

use super::{speech::Speech, store};
use crate::{
    error::Result,
    files::{Files, Kind},
    gate::{Operation, Permit, Tx},
};

pub struct Audio {
    speech: Option<Speech>,
    files: Files,
    /// What is being made.
    making: Mutex<HashMap<[u8; 32], Weak<tokio::sync::Mutex<()>>>>,
}

impl Audio {
    pub fn new(speech: Option<Speech>, files: Files) -> Self {
        Self {
            speech,
            files,
            making: Mutex::default(),
        }
    }

    pub fn is_configured(&self) -> bool {
        self.speech.is_some()
    }

    /// The file of a text that is read aloud. None where no voice is configured, or reading failed: the text stands
    /// without it.
    pub async fn say(&self, permit: &Permit, text: &str) -> Option<String> {
        let speech = self.speech.as_ref()?;
        match self.make(permit, speech, text).await {
            Ok(name) => Some(name),
            Err(error) => {
                tracing::warn!(?error, "an answer was not read aloud");
                None
            }
        }
    }

    async fn make(&self, permit: &Permit, speech: &Speech, text: &str) -> Result<String> {
        let spoken = speech.key(text);
        let turn = self.turn(spoken);
        let _made_by_one = turn.lock().await;
        if let Some(name) = permit.write(Touch(spoken)).await? {
            return Ok(name);
        }
        let mp3 = speech.speak(text).await?;
        let name = self.files.put(Kind::Audio, "mp3", mp3).await?;
        let made = Made {
            name: name.clone(),
            spoken,
        };
        // Where this fails nobody knows whether the row is there: then the file is left to the sweep.
        let kept = permit.write(made).await?;
        if kept != name {
            // Another node was first.
            self.discard(&[name]).await;
        }
        Ok(kept)
    }

    /// Who makes the same takes turns.
    fn turn(&self, spoken: [u8; 32]) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self.making();
        if let Some(turn) = making.get(&spoken).and_then(Weak::upgrade) {
            return turn;
        }
        making.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        making.insert(spoken, Arc::downgrade(&turn));
        turn
    }

    fn making(&self) -> MutexGuard<'_, HashMap<[u8; 32], Weak<tokio::sync::Mutex<()>>>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes files that nothing names any more.
    pub async fn discard(&self, names: &[String]) {
        discard(&self.files, names).await;
    }
}

async fn discard(files: &Files, names: &[String]) {
    for name in names {
        files.discard(Kind::Audio, name).await;
    }
}

/// Removes audio from before `kept_since` (none: it is kept as long as its session), and what no turn has needed since
/// `unused_since`, which is to be long enough ago for an answer to be kept.
///
/// # Errors
///
/// A database that does not answer.
pub async fn expire_audio(
    permit: &Permit,
    files: &Files,
    kept_since: Option<DateTime<Utc>>,
    unused_since: DateTime<Utc>,
) -> Result<()> {
    let names = permit.write(Expire {
        kept_since: kept_since.map(|time| time.timestamp_millis()),
        unused_since: unused_since.timestamp_millis(),
    });
    discard(files, &names.await?).await;
    Ok(())
}

/// Those of the files that are of audio that is kept.
///
/// # Errors
///
/// A database that does not answer.
pub async fn known_audio(permit: &Permit, names: Vec<String>) -> Result<HashSet<String>> {
    Ok(store::known_audio(permit, &names).await?.into_iter().collect())
}

struct Touch([u8; 32]);

impl Operation for Touch {
    type Output = Option<String>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<String>> {
        store::touch_audio(tx, &self.0).await
    }
}

struct Made {
    name: String,
    spoken: [u8; 32],
}

impl Operation for Made {
    type Output = String;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<String> {
        store::insert_audio(tx, &self.name, &self.spoken).await
    }
}

struct Expire {
    kept_since: Option<i64>,
    unused_since: i64,
}

impl Operation for Expire {
    type Output = Vec<String>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<String>> {
        store::expire_audio(tx, self.kept_since, self.unused_since).await
    }
}
