//! Settings: defaults, then the file, then the environment, then flags; every value is checked at start.
//!
//! [`SETTINGS`] lists them all once: the flags of the command line, the names of the variables, the defaults and the
//! table in the README come from it. Models and speech are in the file only.

mod ai;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use secrecy::SecretString;

use self::{
    ai::read_ai,
    source::{Environment, File, Given},
};
pub use self::{
    ai::{Ai, Model, Provider, Speech, SpeechProvider},
    value::{BaseUrl, Database, FilesUrl, SecretKey, WebOrigin},
};
use crate::words::Words;

/// The file that is read when `--config` names none and it exists in the working directory.
pub const DEFAULT_FILE: &str = "bambisleep.toml";

/// The SQLite file in the data folder that is the database unless `database_url` says otherwise.
pub const SQLITE_FILE: &str = "bambisleep.sqlite";

/// What one setting is called and means.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the file, such as `data_dir`.
    pub name: &'static str,
    /// Its long flag without the dashes, such as `data-dir`.
    pub flag: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// What stands for the value in `--help`, such as `DIR`.
    pub value_name: &'static str,
    /// The value when nothing is given, as one would write it; none where the description says what happens then.
    pub default: Option<&'static str>,
    /// One sentence without a full stop.
    pub description: &'static str,
}

/// Every setting that has a flag and an environment variable, in the order in which people read about them.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "bind",
        flag: "bind",
        env: "BAMBISLEEP_BIND",
        value_name: "ADDRESS:PORT",
        default: Some("127.0.0.1:8080"),
        description: "Where the server listens; port 0 picks a free one",
    },
    Setting {
        name: "data_dir",
        flag: "data-dir",
        env: "BAMBISLEEP_DATA_DIR",
        value_name: "DIR",
        default: Some("./data"),
        description: "The folder of the SQLite file, audio, avatars and the generated secret key",
    },
    Setting {
        name: "files_url",
        flag: "files-url",
        env: "BAMBISLEEP_FILES_URL",
        value_name: "URL",
        default: None,
        description: "Where audio and avatars are: file:///FOLDER, or s3://BUCKET/PREFIX with AWS_* variables, for nodes on several machines; without it, files in the data folder",
    },
    Setting {
        name: "database_url",
        flag: "database-url",
        env: "DATABASE_URL",
        value_name: "URL",
        default: None,
        description: "The database: sqlite:PATH, or postgres://… for more than one node; without it, bambisleep.sqlite in the data folder",
    },
    Setting {
        name: "redis_url",
        flag: "redis-url",
        env: "REDIS_URL",
        value_name: "URL",
        default: None,
        description: "The Redis that nodes share rate limits, presence, tickets and the doorbell through; without it, they stay in the process",
    },
    Setting {
        name: "redis_prefix",
        flag: "redis-prefix",
        env: "BAMBISLEEP_REDIS_PREFIX",
        value_name: "PREFIX",
        default: Some("bambisleep:"),
        description: "What every Redis key and channel starts with",
    },
    Setting {
        name: "public_url",
        flag: "public-url",
        env: "BAMBISLEEP_PUBLIC_URL",
        value_name: "ORIGIN",
        default: None,
        description: "The origin that the URLs made by the server start with; without it, http:// and the address it listens on",
    },
    Setting {
        name: "allowed_origins",
        flag: "allowed-origins",
        env: "BAMBISLEEP_ALLOWED_ORIGINS",
        value_name: "ORIGIN,…",
        default: None,
        description: "Other origins that browsers may call from, with the cookie; without it, none",
    },
    Setting {
        name: "trusted_proxies",
        flag: "trusted-proxies",
        env: "BAMBISLEEP_TRUSTED_PROXIES",
        value_name: "CIDR,…",
        default: None,
        description: "The proxies whose X-Forwarded-For is believed, as addresses or CIDRs; without it, none",
    },
    Setting {
        name: "rate_limit_authenticated",
        flag: "rate-limit-authenticated",
        env: "BAMBISLEEP_RATE_LIMIT_AUTHENTICATED",
        value_name: "N",
        default: Some("60"),
        description: "Root fields that a member may use in a minute; 0 switches the limit off",
    },
    Setting {
        name: "rate_limit_anonymous",
        flag: "rate-limit-anonymous",
        env: "BAMBISLEEP_RATE_LIMIT_ANONYMOUS",
        value_name: "N",
        default: Some("10"),
        description: "Root fields that an address may use in a minute without a login; 0 switches the limit off",
    },
    Setting {
        name: "secret_key",
        flag: "secret-key",
        env: "BAMBISLEEP_SECRET_KEY",
        value_name: "BASE64",
        default: None,
        description: "The key that webhook secrets are stored under, 32 bytes in base64, the same on every node; without it, secret.key in the data folder, made at the first start",
    },
    Setting {
        name: "webhooks_allow_insecure",
        flag: "webhooks-allow-insecure",
        env: "BAMBISLEEP_WEBHOOKS_ALLOW_INSECURE",
        value_name: "BOOL",
        default: Some("false"),
        description: "Whether webhooks may go to http URLs and private addresses; for development",
    },
    Setting {
        name: "metrics_bind",
        flag: "metrics-bind",
        env: "BAMBISLEEP_METRICS_BIND",
        value_name: "ADDRESS:PORT",
        default: None,
        description: "Where Prometheus finds /metrics, on a listener of its own; without it, nowhere",
    },
    Setting {
        name: "word_filter",
        flag: "word-filter",
        env: "BAMBISLEEP_WORD_FILTER",
        value_name: "FILE",
        default: None,
        description: "A list of words that names, messages and triggers may not have, one word or phrase a line; without it, none",
    },
];

/// The table of the settings in Markdown, as the README has it.
pub fn settings_table() -> String {
    let mut table = String::from("| key | variable | flag | default | what |\n| --- | --- | --- | --- | --- |\n");
    for setting in SETTINGS {
        let default = setting.default.map_or_else(String::new, |text| format!("`{text}`"));
        writeln!(
            table,
            "| `{}` | `{}` | `--{}` | {default} | {} |",
            setting.name, setting.env, setting.flag, setting.description
        )
        .expect("writing to a string does not fail");
    }
    table
}

/// What the server is told from outside, checked. Its `Debug` shows no password and no key.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server listens; port 0 picks a free one. Default `127.0.0.1:8080`.
    pub bind: SocketAddr,
    /// The folder for everything that is on disk, relative to the working directory; it need not exist yet. Default `./data`.
    pub data_dir: PathBuf,
    /// Where audio and avatars are. Default none: `files` in the data folder.
    pub files: Option<FilesUrl>,
    /// Default: [`SQLITE_FILE`] in the data folder.
    pub database: Database,
    /// `redis://` or `rediss://`; may hold a password. Default none: everything stays in the process.
    pub redis_url: Option<SecretString>,
    /// What every Redis key and channel starts with. Default `bambisleep:`.
    pub redis_prefix: String,
    /// Default none: `http://` and the address that the server listens on.
    pub public_url: Option<WebOrigin>,
    /// Where browsers may call from besides the public origin. Default none.
    pub allowed_origins: Vec<WebOrigin>,
    /// Whose `X-Forwarded-For` is believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// Root fields a minute for each member; 0 is no limit. Default 60.
    pub rate_limit_authenticated: u32,
    /// Root fields a minute for each anonymous address; 0 is no limit. Default 10.
    pub rate_limit_anonymous: u32,
    /// What secrets are stored under. Default none: the file `secret.key` in the data folder.
    pub secret_key: Option<SecretKey>,
    /// Whether webhooks may go to http URLs and private addresses. Default false.
    pub webhooks_allow_insecure: bool,
    /// The listener of `/metrics`. Default none.
    pub metrics_bind: Option<SocketAddr>,
    /// What names, messages and triggers may not have. Default none.
    pub words: Arc<Words>,
    /// Default: one scripted model, `MODEL_1`, and no speech.
    pub ai: Ai,
    /// What is valid and yet hardly meant, for the log at start: lower case, no secrets.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads the file (`config`, which must exist, or [`DEFAULT_FILE`] if that exists), this process's environment and `flags`.
    ///
    /// # Errors
    /// The first unknown key or bad value, in one line that names the key, where it came from and what is wrong.
    pub fn load(config: Option<&Path>, flags: &Flags) -> Result<Self, SettingsError> {
        let file = match config {
            Some(path) => Some(File::read(path)?),
            None => File::read_if_exists(Path::new(DEFAULT_FILE))?,
        };
        Self::from_sources(file.as_ref(), env::vars_os(), flags)
    }

    /// Settings of the given sources alone: what [`load`](Self::load) does, without a look at the process.
    fn from_sources(
        file: Option<&File>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &Flags,
    ) -> Result<Self, SettingsError> {
        let environment = Environment::new(variables);
        let document = file.map(File::parse).transpose()?;
        let mut values: BTreeMap<&str, Given> = SETTINGS
            .iter()
            .filter_map(|setting| Some((setting.name, Given::default_of(setting)?)))
            .collect();
        let mut warnings = Vec::new();
        let mut ai = Ai::default();
        if let Some(document) = &document {
            let root = document.root();
            let mut keys: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
            keys.push("ai");
            root.refuse_unknown(&keys)?;
            for setting in SETTINGS {
                if let Some(given) = root.given(setting.name)? {
                    values.insert(setting.name, given);
                }
            }
            if let Some(table) = root.table("ai")? {
                ai = read_ai(&table, &environment, &mut warnings)?;
            }
        }
        environment.refuse_unknown(&ai.key_variables)?;
        for setting in SETTINGS {
            if let Some(given) = environment.given(setting)? {
                values.insert(setting.name, given);
            }
            if let Some(text) = flags.0.get(setting.name) {
                values.insert(setting.name, Given::flag(setting, text));
            }
        }
        Self::check(&values, ai, warnings)
    }

    fn check(values: &BTreeMap<&str, Given>, ai: Ai, mut warnings: Vec<String>) -> Result<Self, SettingsError> {
        let optional = |name: &str| values.get(name);
        let required = |name: &str| {
            values
                .get(name)
                .expect("what is asked for here has a default; the tests load the defaults")
        };
        let list = |name: &str| optional(name).map(Given::items).unwrap_or_default();

        let data_dir = required("data_dir").parse(value::folder)?;
        let bind = required("bind").parse(value::socket_address)?;
        let public_url = optional("public_url")
            .map(|given| given.parse(value::public_url))
            .transpose()?;
        if bind.ip().is_unspecified() && public_url.is_none() {
            warnings.push(format!(
                "public_url is not set: the URLs that the server makes start with http://{bind}, which other machines cannot open"
            ));
        }
        Ok(Self {
            bind,
            files: optional("files_url")
                .map(|given| given.parse(value::files_url))
                .transpose()?,
            database: match optional("database_url") {
                Some(given) => given.parse(value::database)?,
                None => Database::in_folder(&data_dir, SQLITE_FILE),
            },
            data_dir,
            redis_url: optional("redis_url")
                .map(|given| given.parse(value::redis_url))
                .transpose()?,
            redis_prefix: required("redis_prefix").parse(value::redis_prefix)?,
            public_url,
            allowed_origins: list("allowed_origins").parse(value::origin)?,
            trusted_proxies: list("trusted_proxies").parse(value::network)?,
            rate_limit_authenticated: required("rate_limit_authenticated").parse(value::number)?,
            rate_limit_anonymous: required("rate_limit_anonymous").parse(value::number)?,
            secret_key: optional("secret_key")
                .map(|given| given.parse(str::parse))
                .transpose()?,
            webhooks_allow_insecure: required("webhooks_allow_insecure").parse(value::boolean)?,
            metrics_bind: optional("metrics_bind")
                .map(|given| given.parse(value::socket_address))
                .transpose()?,
            words: optional("word_filter")
                .map(|given| given.parse(value::words))
                .transpose()?
                .unwrap_or_default()
                .into(),
            ai,
            warnings,
        })
    }
}

impl Default for Settings {
    /// What the server does when nobody tells it anything.
    fn default() -> Self {
        Self::from_sources(None, [], &Flags::default()).expect("the defaults are valid; a test loads them")
    }
}

/// The settings that the command line gave, by name. Its `Debug` shows the names alone: values may be secret.
#[derive(Clone, Default)]
pub struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// Notes what the flag of `setting` said.
    pub fn set(&mut self, setting: &'static Setting, text: String) {
        self.0.insert(setting.name, text);
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why the server does not start: one line that names the key, where it came from and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl SettingsError {
    fn new(message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self(message.replace(['\n', '\r'], " "))
    }
}
