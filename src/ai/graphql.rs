use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject, Union};
use entity::session;
use uuid::Uuid;

use super::{Ai, Said, Step, generation, provider};
use crate::{
    error::{Error, Result},
    files::{Files, Kind},
    gate::{Permit, rules::names},
    graphql::{
        context::{loaders, permit, permit_once, public_url, request},
        live::{Shows, showing},
        page::{self, Entry, connection, no_cursor},
        resolve::Many,
        scalars::{DateTime, Url},
    },
    id::IdKind,
    triggers::graphql::Trigger,
};

pub fn ai<'a>(ctx: &Context<'a>) -> &'a Ai {
    ctx.data_unchecked::<Ai>()
}

/// A conversation of the caller's with AI companions.
#[derive(Clone)]
pub struct Session {
    row: session::Model,
    permit: Permit,
}

impl Session {
    /// Of a row of the caller's own.
    pub fn new(row: session::Model, permit: &Permit) -> Self {
        Self {
            row,
            permit: permit.clone(),
        }
    }
}

/// A conversation of the caller's with AI companions.
#[Object]
impl Session {
    /// The session's id, `session_…`.
    pub async fn id(&self) -> ID {
        IdKind::Session.encode(self.row.id).into()
    }

    /// When it began.
    async fn created_at(&self) -> DateTime {
        DateTime::new(self.row.created_at)
    }

    /// How many messages it holds, 1,000 at most.
    async fn message_count(&self) -> i32 {
        2 * self.row.turns
    }

    /// What was said, first said first. A request shows at most 5,000 messages of all its sessions together.
    async fn messages(&self, ctx: &Context<'_>) -> Result<Many<'_, SessionMessage>> {
        request(ctx).show_messages(2 * self.row.turns.unsigned_abs() as usize)?;
        let said = super::said(&self.permit, loaders(ctx), &self.row).await?;
        Ok(Many::Owned(said.iter().flat_map(messages).collect()))
    }
}

impl Entry for Session {
    fn cursor(&self) -> String {
        page::opaque(&self.row.id.simple().to_string())
    }
}

connection!(SessionConnection, SessionEdge, Session, "sessions");

fn messages(said: &Said) -> [SessionMessage; 2] {
    [
        SessionMessage {
            role: SessionRole::User,
            content: said.prompt.clone(),
            timestamp: DateTime::new(said.prompted_at),
        },
        SessionMessage {
            role: SessionRole::Assistant,
            content: said.answer.clone(),
            timestamp: DateTime::new(said.answered_at),
        },
    ]
}

/// Something that was said in a session.
#[derive(Clone, SimpleObject)]
pub struct SessionMessage {
    /// Who said it.
    role: SessionRole,
    /// What was said.
    content: String,
    /// When it was said.
    timestamp: DateTime,
}

/// Who says something in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum SessionRole {
    /// The member.
    User,
    /// The AI companion.
    Assistant,
}

names!(SessionRole {
    User = "USER", "user";
    Assistant = "ASSISTANT", "assistant";
});

/// A model that `GenerateSettings.model` may name.
#[derive(SimpleObject)]
pub struct Model {
    /// What `GenerateSettings.model` says.
    name: String,
    /// What answers: `openai` for a server of that API, or `scripted` for the fixed answers of a server without one.
    provider: String,
    /// Whether answers can be read aloud.
    supports_audio: bool,
}

/// What a companion is asked.
#[derive(InputObject)]
pub struct GenerateInput {
    /// 1 to 8,000 characters.
    prompt: String,
    /// How it is to be answered.
    settings: Option<GenerateSettings>,
    /// The session to continue. Absent: the last one, if it was active within 30 minutes, else a new one.
    session_id: Option<ID>,
    /// Whether to begin a new session. Not with `sessionId`.
    #[graphql(default_with = "Some(false)")]
    new_session: Option<bool>,
}

/// How a companion is to answer.
#[derive(InputObject)]
pub struct GenerateSettings {
    /// One of `Query.models`; absent: the first of them.
    model: Option<String>,
    /// Whether the answer is to be read aloud too.
    #[graphql(default_with = "Some(false)")]
    include_audio: Option<bool>,
    /// Whether the triggers that the caller has activated may be used; never while they are paused.
    #[graphql(default_with = "Some(false)")]
    include_triggers: Option<bool>,
}

impl GenerateInput {
    /// # Errors
    ///
    /// `NOT_FOUND` for an id that is none of a session.
    pub fn read(self) -> Result<generation::Input> {
        let session = match &self.session_id {
            Some(id) => Some(IdKind::Session.decode(id).ok_or_else(|| Error::not_found("session"))?),
            None => None,
        };
        let (model, audio, triggers) = match self.settings {
            Some(settings) => (settings.model, settings.include_audio, settings.include_triggers),
            None => (None, None, None),
        };
        Ok(generation::Input {
            prompt: self.prompt,
            model,
            include_audio: audio.unwrap_or_default(),
            include_triggers: triggers.unwrap_or_default(),
            session,
            new_session: self.new_session.unwrap_or_default(),
        })
    }
}

/// An answer that was kept.
pub struct GeneratePayload {
    generated: generation::Generated,
    permit: Permit,
}

impl GeneratePayload {
    fn new(generated: generation::Generated, permit: &Permit) -> Self {
        Self {
            generated,
            permit: permit.clone(),
        }
    }
}

/// An answer that was kept.
#[Object]
impl GeneratePayload {
    /// The answer.
    async fn response(&self) -> &str {
        &self.generated.response
    }

    /// The answer read aloud, as MP3. Null where it was not asked for, no voice is configured, or reading it failed.
    async fn audio_url(&self, ctx: &Context<'_>) -> Option<Url> {
        let name = self.generated.audio.as_deref()?;
        Some(Url(public_url(ctx).of(&Files::path(Kind::Audio, name))))
    }

    /// Those of the caller's triggers that the answer names.
    async fn triggers(&self) -> Many<'_, Trigger> {
        let named = self.generated.triggers.iter();
        Many::Owned(named.map(|row| Trigger::new(row.clone(), &self.permit)).collect())
    }

    /// The session that holds prompt and answer.
    async fn session_id(&self) -> ID {
        IdKind::Session.encode(self.generated.session).into()
    }
}

/// What is told while an answer is made: its text as it comes, then the finished answer.
#[derive(Union)]
pub enum GenerationEvent {
    GenerationDelta(GenerationDelta),
    GeneratePayload(GeneratePayload),
}

/// More of an answer's text.
#[derive(SimpleObject)]
pub struct GenerationDelta {
    /// What follows the text that was told before.
    text: String,
}

/// The session that was deleted.
#[derive(SimpleObject)]
pub struct DeleteSessionPayload {
    /// The session as it was, without its messages.
    session: Session,
}

/// The caller's session.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn session(permit: &Permit, id: &ID) -> Result<Session> {
    let id = IdKind::Session.decode(id).ok_or_else(|| Error::not_found("session"))?;
    Ok(Session::new(super::session(permit, id).await?, permit))
}

/// The caller's sessions, newest first.
pub async fn sessions(permit: &Permit, first: i32, after: Option<String>) -> Result<SessionConnection> {
    let first = page::first(first)?;
    let start = match &after {
        Some(cursor) => Some(Uuid::try_parse(&page::reveal(cursor)?).map_err(|_| no_cursor("after"))?),
        None => None,
    };
    let rows = super::sessions(permit, start, first as u64 + 1).await?;
    let rows = rows.into_iter().map(|row| Session::new(row, permit)).collect();
    Ok(SessionConnection::forwards(rows, first, after.is_some()))
}

#[derive(Default)]
pub struct AiQuery;

#[Object]
impl AiQuery {
    /// The models that may answer; the first answers where none is named.
    async fn models(&self, ctx: &Context<'_>) -> Result<Option<Vec<Model>>> {
        permit(ctx)?;
        let ai = ai(ctx);
        let model = |model: &provider::Model| Model {
            name: model.name().to_owned(),
            provider: model.provider().to_owned(),
            supports_audio: ai.speaks(),
        };
        Ok(Some(ai.models().iter().map(model).collect()))
    }
}

#[derive(Default)]
pub struct AiMutation;

#[Object]
impl AiMutation {
    /// Asks an AI companion. Prompt and answer are kept together in a session once the answer is whole; a caller who goes
    /// away before ends it, and nothing is kept. `Subscription.generation` tells of the text as it comes.
    async fn generate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What is asked.")] input: GenerateInput,
    ) -> Result<Option<GeneratePayload>> {
        let input = input.read()?;
        let permit = permit_once(ctx, &input)?;
        let prepared = ai(ctx).prepare(&permit, input).await?;
        let generated = prepared.run(&mut |_| {}).await?;
        Ok(Some(GeneratePayload::new(generated, &permit)))
    }

    /// Deletes a session of the caller's, with all that was said in it and read aloud.
    async fn delete_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The session's id.")] id: ID,
    ) -> Result<Option<DeleteSessionPayload>> {
        let permit = permit_once(ctx, &id.as_str())?;
        let id = IdKind::Session.decode(&id).ok_or_else(|| Error::not_found("session"))?;
        let row = ai(ctx).delete_session(&permit, id).await?;
        Ok(Some(DeleteSessionPayload {
            session: Session::new(row, &permit),
        }))
    }
}

#[derive(Default)]
pub struct AiSubscription;

#[Object]
impl AiSubscription {
    /// Generates as `generate` does: the text as it comes, then the finished payload.
    async fn generation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What is asked.", name = "input")] _input: GenerateInput,
    ) -> Result<GenerationEvent> {
        let showing = showing(ctx)?;
        match &showing.what {
            Shows::Step(step) => Ok(match &**step {
                Step::Text(text) => GenerationEvent::GenerationDelta(GenerationDelta { text: text.clone() }),
                Step::Done(generated) => GenerationEvent::GeneratePayload(GeneratePayload::new(
                    Box::as_ref(generated).clone(),
                    &showing.permit,
                )),
            }),
            Shows::Entry(_) => Err(Error::internal("what happens in a room is no answer")),
        }
    }
}
