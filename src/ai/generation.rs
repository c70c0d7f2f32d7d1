//! One answer: asked for, streamed, read aloud and kept, whole or not at all.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    Ai, CONTINUED_FOR, MOST_TURNS,
    context::{Carried, Material, Turn, compose, may_be_used},
    mention::Words,
    provider, store,
};
use crate::{
    error::{Error, Kind, Result},
    gate::{Lease, Leased, Operation, Permit, Tx, callers::Caller},
    profiles::xp,
    text::{Checks, PROMPT},
    time, triggers,
};

/// How often a running answer looks whether the triggers that it may have something of may still be used. A pause or a
/// deactivation by the member is heard of at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Input {
    pub prompt: String,
    /// An alias of the settings; none is the first one.
    pub model: Option<String>,
    pub include_audio: bool,
    pub include_triggers: bool,
    pub session: Option<Uuid>,
    pub new_session: bool,
}

/// An answer that was kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Generated {
    pub session: Uuid,
    pub response: String,
    /// The file of the answer read aloud.
    pub audio: Option<String>,
    /// Those of the offered triggers that the answer names.
    pub triggers: Vec<triggers::View>,
}

/// What is to be answered and can be: there is a model, a session, and a place among the calls.
pub enum Prepared {
    /// The same request was answered before.
    Again(Generated),
    Fresh(Box<Fresh>),
}

pub struct Fresh {
    ai: Ai,
    permit: Permit,
    lease: Lease,
    input: Input,
    model: provider::Model,
    session: Option<Uuid>,
    place: provider::Turn,
}

impl Ai {
    /// Checks what is asked for, and waits for a place among the calls that the provider takes at once.
    ///
    /// # Errors
    ///
    /// `VALIDATION_FAILED`; `NOT_FOUND` for the session, `CONFLICT` where it is full; `IDEMPOTENCY_CONFLICT`;
    /// `UNAVAILABLE` where too many wait or the provider fails.
    pub async fn prepare(&self, permit: &Permit, input: Input) -> Result<Prepared> {
        let mut checks = Checks::new();
        let input = Input {
            prompt: checks.name("prompt", &input.prompt, PROMPT),
            ..input
        };
        if input.session.is_some() && input.new_session {
            checks.refuse("newSession", "must not be true where a session is named");
        }
        checks.done()?;
        let model = self.model(input.model.as_deref())?.clone();
        let lease = match permit.lease().await? {
            Leased::Again(generated) => return Ok(Prepared::Again(generated)),
            Leased::Go(lease) => lease,
        };
        let session = session(permit, &input).await?;
        let place = model.begin().await?;
        Ok(Prepared::Fresh(Box::new(Fresh {
            ai: self.clone(),
            permit: permit.clone(),
            lease,
            input,
            model,
            session,
            place,
        })))
    }
}

/// The session that an answer continues; none where it begins one.
async fn session(permit: &Permit, input: &Input) -> Result<Option<Uuid>> {
    let member = permit.member()?.member;
    if let Some(id) = input.session {
        let named = store::session(permit, member, id).await?;
        let named = named.ok_or_else(|| Error::not_found("session"))?;
        return match named.turns < MOST_TURNS {
            true => Ok(Some(id)),
            false => Err(store::full()),
        };
    }
    if input.new_session {
        return Ok(None);
    }
    let latest = store::latest(permit, member).await?;
    let goes_on = |session: &entity::session::Model| {
        session.turns < MOST_TURNS && session.active_at > time::now() - CONTINUED_FOR
    };
    Ok(latest.filter(goes_on).map(|session| session.id))
}

impl Prepared {
    /// Gets the answer and keeps it; `on_text` hears each piece of it as it comes. Dropped before it is done, nothing is
    /// kept and the provider's call ends.
    ///
    /// # Errors
    ///
    /// `UPSTREAM_FAILED`, `UNAVAILABLE`; `CONFLICT` where a trigger that the answer may have something of was taken out
    /// of use meanwhile; what ends the caller; as [`Ai::prepare`] for a session that has changed. Nothing is kept then.
    pub async fn run(self, on_text: &mut (dyn FnMut(&str) + Send)) -> Result<Generated> {
        match self {
            Prepared::Again(generated) => Ok(generated),
            Prepared::Fresh(fresh) => fresh.run(on_text).await,
        }
    }
}

impl Fresh {
    async fn run(self, on_text: &mut (dyn FnMut(&str) + Send)) -> Result<Generated> {
        let Fresh {
            ai,
            permit,
            lease,
            input,
            model,
            session,
            place,
        } = self;
        let prompted_at = time::now();
        let Caller::Member(known) = permit.caller() else {
            return Err(Error::internal("an answer for nobody"));
        };
        let mut standing = permit.gate().follow(known).await?;
        // Read as late as this: what was taken out of use while the call waited for its place is not used.
        let usable = triggers::usable(&permit).await?;
        let history = match session {
            Some(session) => history(&permit, session, &usable, model.context_tokens()).await?,
            None => Vec::new(),
        };
        let context = compose(&Material {
            system_prompt: model.system_prompt(),
            usable: &usable,
            include_triggers: input.include_triggers,
            history: &history,
            prompt: &input.prompt,
            budget: model.context_tokens(),
        });
        drop((history, usable));
        let work = async {
            let response = place.ask(&context.messages, on_text).await?;
            let audio = match input.include_audio {
                true => ai.audio().say(&permit, &response).await,
                false => None,
            };
            Ok::<_, Error>((response, audio))
        };
        let mut work = std::pin::pin!(work);
        let (response, audio) = loop {
            tokio::select! {
                done = &mut work => break done?,
                changed = standing.changed() => changed?,
                // Nobody rings for what the creators of triggers change.
                () = sleep(LOOK_EVERY), if !context.carried.is_empty() => {}
            }
            if !context.carried.is_empty() && !may_be_used(&triggers::usable(&permit).await?, &context.carried) {
                return Err(taken_back());
            }
        };
        let words = Words::of(&response);
        let named = context.offered.into_iter().filter(|trigger| words.name(&trigger.name));
        let keep = Keep {
            member: known.member,
            session,
            new_session: Uuid::now_v7(),
            prompt: input.prompt,
            carried: context.carried,
            prompted_at,
            generated: Generated {
                session: session.unwrap_or_default(),
                triggers: named.collect(),
                response,
                audio,
            },
        };
        permit.write_leased(&lease, keep).await
    }
}

fn taken_back() -> Error {
    let message = "your triggers were paused or have changed while the answer was made, which was not kept: ask again";
    Error::new(Kind::Conflict, message)
}

/// How many turns are read at once.
const PAGE: u64 = 8;

/// The last turns of a session that may be sent, as many as could be within the budget, first said first.
async fn history(permit: &Permit, session: Uuid, usable: &[triggers::View], budget: usize) -> Result<Vec<Turn>> {
    let mut turns = Vec::new();
    let (mut before, mut left) = (i32::MAX, budget);
    loop {
        let page = store::turns_before(permit, session, before, PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        for (number, turn) in page {
            before = number;
            if !may_be_used(usable, &turn.carried) {
                continue;
            }
            let tokens = provider::tokens(&turn.prompt) + provider::tokens(&turn.answer);
            if tokens > left {
                turns.reverse();
                return Ok(turns);
            }
            left -= tokens;
            turns.push(turn);
        }
        if is_last {
            turns.reverse();
            return Ok(turns);
        }
    }
}

/// Keeps prompt and answer together.
struct Keep {
    member: Uuid,
    /// None begins one.
    session: Option<Uuid>,
    new_session: Uuid,
    prompt: String,
    carried: Vec<Carried>,
    prompted_at: i64,
    generated: Generated,
}

impl Operation for Keep {
    type Output = Generated;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Generated> {
        tx.hold_member(self.member).await?;
        if !triggers::still_usable(tx, self.member, &self.carried).await? {
            return Err(taken_back());
        }
        let (session, number) = match self.session {
            Some(id) => (id, store::extend(tx, id, self.member).await?),
            None => (self.new_session, store::begin(tx, self.new_session, self.member).await?),
        };
        let turn = store::NewTurn {
            session,
            number,
            prompt: &self.prompt,
            answer: &self.generated.response,
            carried: &self.carried,
            audio: self.generated.audio.as_deref(),
            prompted_at: self.prompted_at,
        };
        let audio = store::insert(tx, &turn).await?;
        tx.execute_all(xp::award(tx, self.member, xp::ANSWER_GENERATED)).await?;
        Ok(Generated {
            session,
            audio,
            ..self.generated.clone()
        })
    }
}
