//! Where answers come from: the models of the settings, each on a server of the OpenAI API or built in.
//!
//! A call has two steps. [`Model::begin`] waits for a place at the model's server, [`Turn::ask`] asks it. Models with
//! the same `base_url` are on one server: they share its places, the short queue before them and its circuit, which
//! opens after five failures in a row and lets one call try again after 15 s.

mod answer;
mod circuit;
mod failure;
mod openai;
mod scripted;
mod server;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::Arc, time::Instant};

use serde::Serialize;

use self::{
    circuit::Ended,
    failure::Failure,
    openai::OpenAi,
    server::{Place, Server},
};
use crate::{
    boot::Failed,
    config::{self, Ai},
    error::{Error, Result},
};

/// How many calls of models there were, by `model` and `outcome`: `answered`, `failed`, `unavailable` (refused here or
/// by the server, to be tried again), `left` (the caller went away).
pub const CALLS: &str = "bambisleep_ai_calls_total";
/// How long it took from asking a model to the first text of its answer, in seconds, by `model`.
pub const FIRST_TOKEN: &str = "bambisleep_ai_first_token_seconds";

/// All models of the settings, in their order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Providers(Arc<[Model]>);

/// A model that members can choose. Cheap to clone.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    name: String,
    system_prompt: Option<String>,
    context_tokens: usize,
    provider: Provider,
}

enum Provider {
    Scripted,
    OpenAi { model: OpenAi, server: Arc<Server> },
}

/// What a model is sent, or has said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

/// Whose words a message has, spelled as the OpenAI API does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The operator's instructions.
    System,
    /// The member's.
    User,
    /// The model's.
    Assistant,
}

/// About how many tokens a message with this text is, on the large side: a third of its bytes rounded up, and 4 for what
/// is around it. Tokens of English have four bytes and more, those of other languages about three.
pub fn tokens(text: &str) -> usize {
    text.len().div_ceil(3) + 4
}

impl Providers {
    /// Makes ready what the settings name; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// A system prompt that leaves less than half of a model's context to the conversation, or TLS that cannot be set up.
    pub fn new(ai: &Ai) -> Result<Providers, Failed> {
        let mut servers: HashMap<String, Arc<Server>> = HashMap::new();
        let models = ai.models.iter().map(|model| {
            let server = |url: &config::BaseUrl| {
                let server = servers.entry(url.to_string());
                Arc::clone(server.or_insert_with(|| Arc::new(Server::new(ai))))
            };
            Model::new(model, server)
        });
        Ok(Providers(models.collect::<Result<_, Failed>>()?))
    }

    /// Never empty; the first one is the default.
    pub fn models(&self) -> &[Model] {
        &self.0
    }

    /// The model of this name, or the first one.
    ///
    /// # Errors
    ///
    /// `VALIDATION_FAILED` for a name that no model has.
    pub fn find(&self, name: Option<&str>) -> Result<&Model> {
        let Some(name) = name else {
            return Ok(&self.0[0]);
        };
        let model = self.0.iter().find(|model| model.name() == name);
        model.ok_or_else(|| Error::invalid("model", "is not one of the models of this server"))
    }
}

impl Model {
    fn new(model: &config::Model, server: impl FnOnce(&config::BaseUrl) -> Arc<Server>) -> Result<Self, Failed> {
        let context_tokens = usize::try_from(model.context_tokens)?;
        let prompt = model.system_prompt.as_deref().map_or(0, tokens);
        if prompt > context_tokens / 2 {
            let name = &model.name;
            return Err(format!(
                "ai.models.{name}.system_prompt: takes about {prompt} tokens, more than half of the {context_tokens} of context_tokens"
            )
            .into());
        }
        let provider = match &model.provider {
            config::Provider::Scripted => Provider::Scripted,
            config::Provider::OpenAi {
                base_url,
                model,
                api_key,
                timeout,
                connect_timeout,
                first_token_timeout,
                temperature,
                max_answer_tokens,
            } => Provider::OpenAi {
                server: server(base_url),
                model: OpenAi {
                    client: OpenAi::client(*connect_timeout)?,
                    base_url: base_url.clone(),
                    model: model.clone(),
                    key: api_key.clone(),
                    timeout: *timeout,
                    first_token_timeout: *first_token_timeout,
                    temperature: *temperature,
                    max_answer_tokens: *max_answer_tokens,
                },
            },
        };
        Ok(Model(Arc::new(Inner {
            name: model.name.clone(),
            system_prompt: model.system_prompt.clone(),
            context_tokens,
            provider,
        })))
    }

    /// The alias that clients give.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// `openai` or `scripted`.
    pub fn provider(&self) -> &'static str {
        match self.0.provider {
            Provider::Scripted => "scripted",
            Provider::OpenAi { .. } => "openai",
        }
    }

    /// What is sent first, if anything.
    pub fn system_prompt(&self) -> Option<&str> {
        self.0.system_prompt.as_deref()
    }

    /// How many [`tokens`] may be sent, the system prompt included. At least 512, and twice what the prompt takes.
    pub fn context_tokens(&self) -> usize {
        self.0.context_tokens
    }

    /// Waits for a place among the calls that the model's server takes at once. The built-in model takes any number.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` with `details.retryAfter` where the short queue is full, the wait took too long, or the server has
    /// failed several times and is left alone for a while.
    pub async fn begin(&self) -> Result<Turn> {
        let place = match &self.0.provider {
            Provider::Scripted => None,
            Provider::OpenAi { server, .. } => Some(server.enter().await.inspect_err(|_| {
                count(self.name(), "unavailable");
            })?),
        };
        Ok(Turn {
            model: self.clone(),
            place,
        })
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({:?}, {})", self.name(), self.provider())
    }
}

/// A place at a model's server, held until it is used or dropped.
#[derive(Debug)]
pub struct Turn {
    model: Model,
    place: Option<Place>,
}

impl Turn {
    /// Asks the model. `on_text` gets each piece of the answer as it arrives, never empty and without control characters
    /// but tab and newline; together they are the answer that is returned, of at most 64 KiB. Dropping the future ends
    /// the call of the model's server.
    ///
    /// # Errors
    ///
    /// `UPSTREAM_FAILED`, or `UNAVAILABLE` with `details.retryAfter` where the server says that it is busy. Pieces may
    /// have come before. What the server said goes to the log, and nothing of it to the caller.
    pub async fn ask(mut self, messages: &[Message], on_text: &mut (dyn FnMut(&str) + Send)) -> Result<String> {
        let mut call = Call {
            model: self.model.clone(),
            outcome: "left",
        };
        let began = Instant::now();
        let mut has_begun = false;
        let place = &mut self.place;
        let mut on_text = |text: &str| {
            if !has_begun {
                has_begun = true;
                metrics::histogram!(FIRST_TOKEN, "model" => call.model.name().to_owned()).record(began.elapsed());
                if let Some(place) = place {
                    place.begun();
                }
            }
            on_text(text);
        };
        let answer = match &self.model.0.provider {
            Provider::Scripted => Ok(scripted::ask(messages, &mut on_text).await),
            Provider::OpenAi { model, .. } => model.ask(messages, &mut on_text).await,
        };
        if let Some(place) = self.place.take() {
            place.ended(answer.as_ref().map_or_else(Failure::ended, |_| Ended::Answered));
        }
        call.outcome = match &answer {
            Ok(_) => "answered",
            Err(Failure::Busy { .. }) => "unavailable",
            Err(_) => "failed",
        };
        answer.map_err(|failure| {
            let error = failure.into_error();
            tracing::warn!(model = call.model.name(), "{error:?}");
            error
        })
    }
}

/// Counts a call when it ends, however it ends.
struct Call {
    model: Model,
    outcome: &'static str,
}

impl Drop for Call {
    fn drop(&mut self) {
        count(self.model.name(), self.outcome);
    }
}

fn count(model: &str, outcome: &'static str) {
    metrics::counter!(CALLS, "model" => model.to_owned(), "outcome" => outcome).increment(1);
}
