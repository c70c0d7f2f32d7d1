//! Reads answers aloud: text in, MP3 out, made by a speech server or by a program on this machine.

mod command;
mod mp3;
mod openai;
mod pieces;
#[cfg(test)]
mod tests;
mod wav;

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
    time::timeout,
};

use self::{command::Program, openai::Server, wav::Wav};
use crate::{
    boot::Failed,
    config::{self, SpeechProvider},
    error::{Error, Kind, Result},
};

/// How many texts may wait for their turn; who comes after them is turned away.
pub const WAITING: usize = 32;

/// Seconds after which who was turned away may try again.
const BUSY_FOR: u64 = 5;

/// What is kept of audio made by an earlier version of the encoding here is not used again: raise it with the format.
const FORMAT: &str = "mp3 mono 64 kbit/s 1";

/// The voice of the settings. Cheap to clone.
#[derive(Clone)]
pub struct Speech(Arc<Inner>);

struct Inner {
    provider: Provider,
    timeout: Duration,
    /// One permit for each text that is being read.
    calls: Semaphore,
    /// One permit for each text that is being read or waits.
    places: Semaphore,
    /// Has read everything that goes into a key but the text.
    voice: Sha256,
}

enum Provider {
    OpenAi(Server),
    Command(Program),
}

impl Speech {
    /// The voice of `settings`; none where no speech is configured.
    ///
    /// # Errors
    ///
    /// The HTTP client cannot be made.
    pub fn new(settings: Option<&config::Speech>) -> Result<Option<Self>, Failed> {
        let Some(settings) = settings else { return Ok(None) };
        let provider = match &settings.provider {
            SpeechProvider::OpenAi {
                base_url,
                model,
                voice,
                speed,
                api_key,
                max_characters,
            } => Provider::OpenAi(Server::new(
                base_url,
                openai::Voice {
                    model: model.clone(),
                    voice: voice.clone(),
                    speed: *speed,
                },
                api_key.as_ref(),
                *max_characters,
            )?),
            SpeechProvider::Command { program, arguments } => {
                Provider::Command(Program::new(program.clone(), arguments.clone()))
            }
        };
        let calls = settings.calls_at_once as usize;
        Ok(Some(Self(Arc::new(Inner {
            provider,
            timeout: settings.timeout,
            calls: Semaphore::new(calls),
            places: Semaphore::new(calls + WAITING),
            voice: voice(&settings.provider),
        }))))
    }

    /// SHA-256 of what makes the audio what it is: provider, address or command, model, voice, speed, format and text.
    /// The same key means the same words in the same voice.
    pub fn key(&self, text: &str) -> [u8; 32] {
        let mut hash = self.0.voice.clone();
        hash_field(&mut hash, text);
        hash.finalize().into()
    }

    /// `text` read aloud, as MP3. Dropping the future ends the call, or kills the program.
    ///
    /// # Errors
    ///
    /// `UPSTREAM_FAILED` where the server or the program fails, takes longer than the settings allow, or gives
    /// something that is not audio; `UNAVAILABLE` where too many texts wait, the wait takes longer than that, or the
    /// server is busy.
    pub async fn speak(&self, text: &str) -> Result<Bytes> {
        if text.trim().is_empty() {
            return Err(failed("there is nothing to read aloud"));
        }
        let _turn = self.turn().await?;
        let spoken = async {
            match &self.0.provider {
                Provider::OpenAi(server) => server.speak(text).await,
                Provider::Command(program) => program.speak(text).await,
            }
        };
        timeout(self.0.timeout, spoken).await.unwrap_or_else(|_| {
            let seconds = self.0.timeout.as_secs();
            Err(failed(format!("reading aloud took longer than {seconds} s")))
        })
    }

    /// Waits for the caller's turn, which lasts until what this gives is dropped.
    async fn turn(&self) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>)> {
        let busy = || busy("too many texts wait to be read aloud, try again later");
        let place = self.0.places.try_acquire().map_err(|_| busy())?;
        let call = timeout(self.0.timeout, self.0.calls.acquire())
            .await
            .map_err(|_| busy())?
            .expect("nobody closes the semaphore");
        Ok((place, call))
    }
}

/// A hash that has read who speaks. What does not change the audio is left out: keys, times and limits.
fn voice(provider: &SpeechProvider) -> Sha256 {
    let mut hash = Sha256::new();
    hash_field(&mut hash, FORMAT);
    match provider {
        SpeechProvider::OpenAi {
            base_url,
            model,
            voice,
            speed,
            api_key: _,
            max_characters: _,
        } => {
            let speed = speed.map_or_else(String::new, |speed| speed.to_string());
            for field in ["openai", &base_url.to_string(), model, voice, &speed] {
                hash_field(&mut hash, field);
            }
        }
        SpeechProvider::Command { program, arguments } => {
            hash_field(&mut hash, "command");
            hash.update((arguments.len() as u64).to_le_bytes());
            for field in [program].into_iter().chain(arguments) {
                hash_field(&mut hash, field);
            }
        }
    }
    hash
}

/// Length first, so that no two lists of fields read the same.
fn hash_field(hash: &mut Sha256, field: &str) {
    hash.update((field.len() as u64).to_le_bytes());
    hash.update(field);
}

/// The WAV file `wav` as MP3. `source` is who made it, for the message.
async fn encode(wav: Bytes, source: &'static str) -> Result<Bytes> {
    spawn_blocking(move || {
        let audio = Wav::parse(&wav).map_err(|why| failed(format!("{source} gave {why}")))?;
        let mp3 = mp3::encode(&audio).map_err(Error::internal)?;
        Ok(mp3.into())
    })
    .await
    .unwrap_or_else(|panic| Err(Error::internal(panic)))
}

fn busy(message: &'static str) -> Error {
    Error::new(Kind::Unavailable, message).with("retryAfter", BUSY_FOR)
}

fn failed(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Kind::UpstreamFailed, message)
}
