//! AI companions: answers that stream, are read aloud, remember what was said, and use only what a member has consented to.

use std::sync::Arc;

use entity::session;
use uuid::Uuid;

use crate::{
    boot::Failed,
    config,
    error::{Error, Result},
    files::Files,
    gate::{Operation, Permit, Tx},
    loaders::Loaders,
    time,
};

mod answering;
mod audio;
pub mod context;
pub mod generation;
pub mod graphql;
pub mod mention;
pub mod provider;
pub mod speech;
mod store;

pub use answering::{Answering, Step};
pub use audio::{expire_audio, known_audio};
pub use store::Said;

use audio::Audio;
use provider::{Model, Providers};
use speech::Speech;

/// How many turns a session holds: 1,000 messages. Source: the protocol, AI.
pub const MOST_TURNS: i32 = 500;
/// For how long after its last answer a session is continued by a call that names none, in milliseconds. Source: the
/// protocol, AI.
pub const CONTINUED_FOR: i64 = 30 * time::MINUTE;

/// What answers, and what reads aloud. Cheap to clone.
#[derive(Clone)]
pub struct Ai(Arc<Inner>);

struct Inner {
    providers: Providers,
    audio: Audio,
}

impl Ai {
    /// # Errors
    ///
    /// What keeps a provider of the settings from being used.
    pub fn new(settings: &config::Ai, files: &Files) -> Result<Ai, Failed> {
        let speech = Speech::new(settings.speech.as_ref())?;
        Ok(Ai(Arc::new(Inner {
            providers: Providers::new(settings)?,
            audio: Audio::new(speech, files.clone()),
        })))
    }

    /// The models that a call may name; the first is the default.
    pub fn models(&self) -> &[Model] {
        self.0.providers.models()
    }

    /// Whether answers can be read aloud.
    pub fn speaks(&self) -> bool {
        self.0.audio.is_configured()
    }

    fn model(&self, name: Option<&str>) -> Result<&Model> {
        self.0.providers.find(name)
    }

    fn audio(&self) -> &Audio {
        &self.0.audio
    }

    /// Deletes a session of the caller's, with what was said in it and read aloud.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`, another's included.
    pub async fn delete_session(&self, permit: &Permit, id: Uuid) -> Result<session::Model> {
        let member = permit.member()?.member;
        let deleted = permit.write_once(Delete { id, member }).await?;
        self.audio().discard(&deleted.audio).await;
        Ok(deleted.session)
    }
}

/// A session of the caller's.
///
/// # Errors
///
/// `NOT_FOUND`, another's included.
pub async fn session(permit: &Permit, id: Uuid) -> Result<session::Model> {
    let found = store::session(permit, permit.member()?.member, id).await?;
    found.ok_or_else(|| Error::not_found("session"))
}

/// The caller's sessions, newest first.
pub async fn sessions(permit: &Permit, after: Option<Uuid>, limit: u64) -> Result<Vec<session::Model>> {
    store::list(permit, permit.member()?.member, after, limit).await
}

/// What was said in a session that the caller may see, first said first.
pub async fn said(permit: &Permit, loaders: &Loaders, session: &session::Model) -> Result<Arc<Vec<Said>>> {
    match loaders.said(session.id).await? {
        Some(said) => permit.see(said, |caller, _| match caller.is(session.member_id) {
            true => Ok(()),
            false => Err(Error::not_found("session")),
        }),
        None => Ok(Arc::default()),
    }
}

/// Unchecked rows for the loaders.
pub(crate) async fn load_said(permit: &Permit, sessions: &[Uuid]) -> Result<Vec<(Uuid, Said)>> {
    store::said(permit, sessions).await
}

/// Deletes all sessions of a member, whose account is being deleted; the files of what was read aloud, to be
/// [removed](crate::files::Files::remove) after the commit.
pub async fn delete_all_of(tx: &Tx<'_>, member: Uuid) -> Result<Vec<String>> {
    store::delete_all_of(tx, member).await
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Deleted {
    session: session::Model,
    /// Files that nothing needs any more.
    audio: Vec<String>,
}

struct Delete {
    id: Uuid,
    member: Uuid,
}

impl Operation for Delete {
    type Output = Deleted;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Deleted> {
        let (session, audio) = store::delete(tx, self.id, self.member).await?;
        Ok(Deleted { session, audio })
    }
}
