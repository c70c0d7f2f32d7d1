//! The language models and the voice, which the file alone names.

use std::time::Duration;

use secrecy::SecretString;

use super::{
    SettingsError,
    source::{Environment, Given, Table},
    value::{self, BaseUrl},
};

/// How long an answer of a model may take unless `timeout_seconds` says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long reaching a model's server may take unless `connect_timeout_seconds` says otherwise.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a model may take to begin unless `first_token_timeout_seconds` says otherwise.
const DEFAULT_FIRST_TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// What a model is told first unless `system_prompt` says otherwise.
const DEFAULT_SYSTEM_PROMPT: &str = "You are a friendly companion in a community chat.";
/// Fits the smallest context that servers at home give their models today, with room for the answer.
const DEFAULT_CONTEXT_TOKENS: u32 = 8_192;

/// The models that members can choose from, and the voice.
#[derive(Clone, Debug)]
pub struct Ai {
    /// In the order of the file, never empty: the first is the default.
    pub models: Vec<Model>,
    /// How many calls a server of models takes at once, at least 1. Default 8.
    pub calls_at_once: u32,
    /// How many calls may wait for a place at a server of models; more are refused. Default 16.
    pub calls_waiting: u32,
    /// How long a call waits for a place. Default 10 s.
    pub wait: Duration,
    /// None: answers have no audio.
    pub speech: Option<Speech>,
    /// The environment variables that hold keys.
    pub(super) key_variables: Vec<String>,
}

/// A model under the name that clients give.
#[derive(Clone, Debug)]
pub struct Model {
    /// What a client's `model` says.
    pub name: String,
    /// What the model is told first, up to 32,000 characters. Default: to be a friendly companion; none if it is empty.
    pub system_prompt: Option<String>,
    /// How many tokens are sent at most, the system prompt included; at least 512. Default 8,192.
    pub context_tokens: u32,
    pub provider: Provider,
}

/// What answers for a model.
#[derive(Clone, Debug)]
pub enum Provider {
    /// Fixed answers that say that no model is configured.
    Scripted,
    /// A server of the OpenAI API.
    OpenAi {
        base_url: BaseUrl,
        /// What that server calls the model.
        model: String,
        /// Sent as a Bearer token, if there is one.
        api_key: Option<SecretString>,
        /// For one answer as a whole. Default 60 s.
        timeout: Duration,
        /// For reaching the server. Default 5 s.
        connect_timeout: Duration,
        /// From the request to where the model begins. Default 30 s.
        first_token_timeout: Duration,
        /// 0 to 2. Default none: the server's own.
        temperature: Option<f64>,
        /// How long an answer may be; at least 1. Default none: the server's own.
        max_answer_tokens: Option<u32>,
    },
}

/// What reads answers aloud, and within which limits.
#[derive(Clone, Debug)]
pub struct Speech {
    pub provider: SpeechProvider,
    /// For one text as a whole, from when it is its turn; the same again is how long it may wait for that. Default 60 s.
    pub timeout: Duration,
    /// How many texts are read at once; the others wait. 1 to 64, default 2.
    pub calls_at_once: u32,
    /// How long audio is kept after it was made; none: as long as the session that it belongs to. Default 30 days.
    pub keep: Option<Duration>,
}

/// What makes audio of a text.
#[derive(Clone, Debug)]
pub enum SpeechProvider {
    /// `POST {base_url}/audio/speech`.
    OpenAi {
        base_url: BaseUrl,
        model: String,
        voice: String,
        /// How fast the voice speaks, as the JSON number to send, 0.25 to 4; none: the server decides.
        speed: Option<f64>,
        /// Sent as a Bearer token, if there is one.
        api_key: Option<SecretString>,
        /// What goes in one request, in Unicode characters: longer texts are read in pieces. 100 to 1,000,000,
        /// default 4,096, which is OpenAI's limit.
        max_characters: usize,
    },
    /// A program that takes text on stdin and gives WAV on stdout; started without a shell.
    Command {
        /// An absolute path, or a name to find in `PATH`.
        program: String,
        arguments: Vec<String>,
    },
}

impl Default for Ai {
    fn default() -> Self {
        Self {
            models: vec![Model {
                name: "MODEL_1".to_owned(),
                system_prompt: Some(DEFAULT_SYSTEM_PROMPT.to_owned()),
                context_tokens: DEFAULT_CONTEXT_TOKENS,
                provider: Provider::Scripted,
            }],
            calls_at_once: 64,
            calls_waiting: 64,
            wait: Duration::from_secs(10),
            speech: None,
            key_variables: Vec::new(),
        }
    }
}

/// Reads `[ai]`. Members that a provider does not need are checked and not used, so that one line switches providers.
pub(super) fn read_ai(
    table: &Table<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Ai, SettingsError> {
    table.refuse_unknown(&["models", "speech", "calls_at_once", "calls_waiting", "wait_seconds"])?;
    let mut keys = Keys {
        environment,
        warnings,
        variables: Vec::new(),
    };
    let mut ai = Ai::default();
    if let Some(calls) = read(table, "calls_at_once", value::whole(1..=10_000))? {
        ai.calls_at_once = calls;
    }
    if let Some(calls) = read(table, "calls_waiting", value::whole(0..=10_000))? {
        ai.calls_waiting = calls;
    }
    if let Some(wait) = read(table, "wait_seconds", value::timeout_seconds)? {
        ai.wait = wait;
    }
    if let Some(models) = table.table("models")? {
        let listed = models.keys().into_iter().map(|name| {
            let table = models.table(name)?.expect("the name is one of the table's keys");
            read_model(name, &table, &mut keys)
        });
        let listed: Vec<Model> = listed.collect::<Result<_, _>>()?;
        if !listed.is_empty() {
            ai.models = listed;
        }
    }
    if let Some(speech) = table.table("speech")? {
        ai.speech = Some(read_speech(&speech, &mut keys)?);
    }
    ai.key_variables = keys.variables;
    Ok(ai)
}

fn read_model(alias: &str, table: &Table<'_>, keys: &mut Keys<'_>) -> Result<Model, SettingsError> {
    table.refuse_unknown(&[
        "provider",
        "base_url",
        "model",
        "api_key_env",
        "timeout_seconds",
        "connect_timeout_seconds",
        "first_token_timeout_seconds",
        "system_prompt",
        "temperature",
        "context_tokens",
        "max_answer_tokens",
    ])?;
    let base_url = read(table, "base_url", value::base_url)?;
    let model = read(table, "model", value::text_of)?;
    let api_key = keys.read(table)?;
    let seconds = |key, default| Ok(read(table, key, value::timeout_seconds)?.unwrap_or(default));
    let timeout = seconds("timeout_seconds", DEFAULT_TIMEOUT)?;
    let connect_timeout = seconds("connect_timeout_seconds", DEFAULT_CONNECT_TIMEOUT)?;
    let first_token_timeout = seconds("first_token_timeout_seconds", DEFAULT_FIRST_TOKEN_TIMEOUT)?;
    let system_prompt = read(table, "system_prompt", value::system_prompt)?;
    let context_tokens = read(table, "context_tokens", value::whole(512..=10_000_000))?;
    let max_answer_tokens = read(table, "max_answer_tokens", value::whole(1..=1_000_000))?;
    let temperature = table.decimal("temperature")?;
    let temperature = temperature.map(|given| given.parse(value::temperature)).transpose()?;
    let provider = match provider(table, &["openai", "scripted"])? {
        "scripted" => Provider::Scripted,
        name => Provider::OpenAi {
            base_url: needed(table, "base_url", base_url, name)?,
            model: needed(table, "model", model, name)?,
            api_key,
            timeout,
            connect_timeout,
            first_token_timeout,
            temperature,
            max_answer_tokens,
        },
    };
    let system_prompt = system_prompt.unwrap_or_else(|| DEFAULT_SYSTEM_PROMPT.to_owned());
    Ok(Model {
        name: alias.to_owned(),
        system_prompt: Some(system_prompt).filter(|text| !text.trim().is_empty()),
        context_tokens: context_tokens.unwrap_or(DEFAULT_CONTEXT_TOKENS),
        provider,
    })
}

fn read_speech(table: &Table<'_>, keys: &mut Keys<'_>) -> Result<Speech, SettingsError> {
    table.refuse_unknown(&[
        "provider",
        "base_url",
        "model",
        "voice",
        "speed",
        "command",
        "api_key_env",
        "timeout_seconds",
        "calls_at_once",
        "max_characters",
        "keep_days",
    ])?;
    let base_url = read(table, "base_url", value::base_url)?;
    let model = read(table, "model", value::text_of)?;
    let voice = read(table, "voice", value::text_of)?;
    let speed = table
        .decimal("speed")?
        .map(|given| given.parse(value::speed))
        .transpose()?;
    let api_key = keys.read(table)?;
    let command = table.given("command")?.map(|given| command(&given)).transpose()?;
    let max_characters = read(table, "max_characters", value::whole(100..=1_000_000))?.unwrap_or(4_096);
    let provider = match provider(table, &["openai", "command"])? {
        name @ "command" => {
            let (program, arguments) = needed(table, "command", command, name)?;
            SpeechProvider::Command { program, arguments }
        }
        name => SpeechProvider::OpenAi {
            base_url: needed(table, "base_url", base_url, name)?,
            model: needed(table, "model", model, name)?,
            voice: needed(table, "voice", voice, name)?,
            speed,
            api_key,
            max_characters: max_characters as usize,
        },
    };
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let keep_days = read(table, "keep_days", value::whole(0..=36_500))?.unwrap_or(30);
    Ok(Speech {
        provider,
        timeout: read(table, "timeout_seconds", value::timeout_seconds)?.unwrap_or(DEFAULT_TIMEOUT),
        calls_at_once: read(table, "calls_at_once", value::whole(1..=64))?.unwrap_or(2),
        keep: (keep_days > 0).then(|| DAY * keep_days),
    })
}

/// The program and its arguments. It runs in another folder than the server, so that a relative path would mislead.
fn command(given: &Given) -> Result<(String, Vec<String>), SettingsError> {
    let mut words = given.array()?.into_iter();
    match words.next() {
        Some(program) if program.contains('/') && !program.starts_with('/') => {
            Err(given.error("must begin with a name to find in PATH or an absolute path"))
        }
        Some(program) if !program.trim().is_empty() => Ok((program, words.collect())),
        _ => Err(given.error("must begin with the program to start")),
    }
}

fn provider<'a>(table: &Table<'_>, known: &[&'a str]) -> Result<&'a str, SettingsError> {
    let choices = known.join(" or ");
    let missing = || table.missing("provider", &format!("is missing: it must be {choices}"));
    table.given("provider")?.ok_or_else(missing)?.parse(|text| {
        let name = known.iter().copied().find(|name| *name == text);
        name.ok_or_else(|| format!("must be {choices}, not {text:?}"))
    })
}

fn read<T>(
    table: &Table<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, SettingsError> {
    table.given(key)?.map(|given| given.parse(parse)).transpose()
}

fn needed<T>(table: &Table<'_>, key: &str, value: Option<T>, provider: &str) -> Result<T, SettingsError> {
    value.ok_or_else(|| table.missing(key, &format!("is missing: provider {provider} needs it")))
}

/// Looks up the keys that `api_key_env` points to.
struct Keys<'a> {
    environment: &'a Environment,
    warnings: &'a mut Vec<String>,
    variables: Vec<String>,
}

impl Keys<'_> {
    /// A variable that is not set is a warning: many servers at home ask for no key, and `migrate` needs none.
    fn read(&mut self, table: &Table<'_>) -> Result<Option<SecretString>, SettingsError> {
        let Some(given) = table.given("api_key_env")? else {
            return Ok(None);
        };
        let variable = given.parse(value::variable_name)?;
        let key = match self.environment.get(&variable) {
            None => {
                let path = table.path_of("api_key_env");
                self.warnings
                    .push(format!("{path}: {variable} is not set, requests go without a key"));
                None
            }
            Some(key) if key.bytes().all(|byte| byte.is_ascii_graphic()) => Some(key.into()),
            Some(_) => return Err(given.error(&format!("{variable} holds spaces or other characters that no key has"))),
        };
        self.variables.push(variable);
        Ok(key)
    }
}
