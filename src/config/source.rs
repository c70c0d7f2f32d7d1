//! Where settings come from: the file, the environment, a flag; each value remembers, for the message if it is bad.

use std::{collections::BTreeMap, ffi::OsString, fmt, fs, io, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{SETTINGS, Setting, SettingsError};

/// What our environment variables start with, but for `DATABASE_URL` and `REDIS_URL`.
const PREFIX: &str = "BAMBISLEEP_";

#[derive(Clone, Debug)]
enum Source {
    Default,
    File { name: String, line: usize },
    Variable(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { name, line } => write!(f, "{name} line {line}"),
            Source::Variable(name) => write!(f, "environment variable {name}"),
            Source::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// Values as they were written. No `Debug`: they may be secret.
#[derive(Clone)]
enum Written {
    Text(String),
    List(Vec<String>),
}

/// A value, not yet checked, that knows where it was given.
pub(super) struct Given {
    key: String,
    source: Source,
    written: Written,
}

impl Given {
    pub(super) fn default_of(setting: &Setting) -> Option<Self> {
        Some(Self {
            key: setting.name.to_owned(),
            source: Source::Default,
            written: Written::Text(setting.default?.to_owned()),
        })
    }

    pub(super) fn flag(setting: &Setting, text: &str) -> Self {
        Self {
            key: setting.name.to_owned(),
            source: Source::Flag(setting.flag),
            written: Written::Text(text.to_owned()),
        }
    }

    /// Reads the one value with `parse`, whose error completes the sentence that the key begins.
    pub(super) fn parse<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, SettingsError> {
        match &self.written {
            Written::Text(text) => parse(text).map_err(|why| self.error(&why)),
            Written::List(_) => Err(self.error("takes one value, not an array")),
        }
    }

    /// The values of an array; fails on a single text.
    pub(super) fn array(&self) -> Result<Vec<String>, SettingsError> {
        match &self.written {
            Written::List(items) => Ok(items.clone()),
            Written::Text(_) => Err(self.error("must be an array of strings")),
        }
    }

    /// The values of an array or of a comma list.
    pub(super) fn items(&self) -> Items<'_> {
        Items(Some(self))
    }

    pub(super) fn error(&self, why: &str) -> SettingsError {
        bad(&self.key, &self.source, why)
    }
}

/// The values of a list; none when the list was not given.
#[derive(Default)]
pub(super) struct Items<'a>(Option<&'a Given>);

impl Items<'_> {
    pub(super) fn parse<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, SettingsError> {
        let Some(given) = self.0 else { return Ok(Vec::new()) };
        let items: Vec<&str> = match &given.written {
            Written::List(items) => items.iter().map(String::as_str).collect(),
            Written::Text(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect(),
        };
        items
            .into_iter()
            .map(|item| parse(item).map_err(|why| given.error(&format!("item {}: {why}", shown(item)))))
            .collect()
    }
}

/// The environment of the process, without the variables that are empty: those count as unset.
pub(super) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    pub(super) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = variables
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(named.collect())
    }

    pub(super) fn given(&self, setting: &Setting) -> Result<Option<Given>, SettingsError> {
        let source = Source::Variable(setting.env);
        match self.0.get(setting.env).map(|value| value.to_str()) {
            None => Ok(None),
            Some(None) => Err(bad(setting.name, &source, "is not UTF-8")),
            Some(Some(text)) => Ok(Some(Given {
                key: setting.name.to_owned(),
                source,
                written: Written::Text(text.to_owned()),
            })),
        }
    }

    /// The value of any variable, if it is set and UTF-8.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str()
    }

    /// Fails on the first variable that starts like ours and is none, nor one of `others`.
    pub(super) fn refuse_unknown(&self, others: &[String]) -> Result<(), SettingsError> {
        let unknown = self.0.keys().find(|name| {
            name.starts_with(PREFIX)
                && !others.contains(name)
                && !SETTINGS.iter().any(|setting| setting.env == name.as_str())
        });
        let Some(name) = unknown else { return Ok(()) };
        let key = name[PREFIX.len()..].to_lowercase();
        let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        let nearest = nearest(&key, &names).and_then(|name| SETTINGS.iter().find(|setting| setting.name == name));
        Err(SettingsError::new(format!(
            "{name} (environment variable): unknown setting{}",
            did_you_mean(nearest.map(|setting| setting.env))
        )))
    }
}

/// A settings file, read.
pub(super) struct File {
    name: String,
    text: String,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        Self::try_read(path).map_err(|error| cannot_read(path, &error))
    }

    pub(super) fn read_if_exists(path: &Path) -> Result<Option<Self>, SettingsError> {
        match Self::try_read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some).map_err(|error| cannot_read(path, &error)),
        }
    }

    fn try_read(path: &Path) -> io::Result<Self> {
        Ok(Self::new(path.display().to_string(), fs::read_to_string(path)?))
    }

    pub(super) fn new(name: String, text: String) -> Self {
        Self { name, text }
    }

    pub(super) fn parse(&self) -> Result<Document<'_>, SettingsError> {
        match DeTable::parse(&self.text) {
            Ok(root) => Ok(Document { file: self, root }),
            // The message alone: toml's own rendering quotes the line, which may hold a password.
            Err(error) => Err(SettingsError::new(format!(
                "{} line {}: not TOML: {}",
                self.name,
                self.line(&error.span().unwrap_or_default()),
                error.message()
            ))),
        }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn source(&self, span: &Range<usize>) -> Source {
        Source::File {
            name: self.name.clone(),
            line: self.line(span),
        }
    }
}

/// A settings file, parsed.
pub(super) struct Document<'a> {
    file: &'a File,
    root: Spanned<DeTable<'a>>,
}

impl Document<'_> {
    pub(super) fn root(&self) -> Table<'_> {
        Table {
            file: self.file,
            path: String::new(),
            span: self.root.span(),
            entries: self.root.get_ref(),
        }
    }
}

/// A table of the file, with its path such as `ai.speech`.
pub(super) struct Table<'a> {
    file: &'a File,
    path: String,
    span: Range<usize>,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// Fails on the first key that is not one of `known`.
    pub(super) fn refuse_unknown(&self, known: &[&str]) -> Result<(), SettingsError> {
        let unknown = self
            .entries
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        let Some(key) = unknown else { return Ok(()) };
        let why = format!("unknown key{}", did_you_mean(nearest(key.get_ref(), known)));
        Err(bad(&self.path_of(key.get_ref()), &self.file.source(&key.span()), &why))
    }

    /// The value of `key`, which must be a text, a whole number, a boolean or an array of such.
    pub(super) fn given(&self, key: &str) -> Result<Option<Given>, SettingsError> {
        self.written(key, scalar)
    }

    /// As [`given`](Self::given), and the value may be a number with a fraction.
    pub(super) fn decimal(&self, key: &str) -> Result<Option<Given>, SettingsError> {
        self.written(key, |value| match value {
            DeValue::Float(float) => Some(float.as_str().to_owned()),
            value => scalar(value),
        })
    }

    fn written(&self, key: &str, read: fn(&DeValue<'_>) -> Option<String>) -> Result<Option<Given>, SettingsError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(None);
        };
        let path = self.path_of(key);
        let source = self.file.source(&value.span());
        let written = match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .map(|item| read(item.get_ref()))
                .collect::<Option<_>>()
                .map(Written::List),
            value => read(value).map(Written::Text),
        };
        match written {
            Some(written) => Ok(Some(Given {
                key: path,
                source,
                written,
            })),
            None => {
                let why = format!("a value of type {} does not fit here", value.get_ref().type_str());
                Err(bad(&path, &source, &why))
            }
        }
    }

    /// That `key`, which is not there, should be.
    pub(super) fn missing(&self, key: &str, why: &str) -> SettingsError {
        bad(&self.path_of(key), &self.file.source(&self.span), why)
    }

    pub(super) fn table(&self, key: &str) -> Result<Option<Table<'a>>, SettingsError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(None);
        };
        let path = self.path_of(key);
        match value.get_ref() {
            DeValue::Table(entries) => Ok(Some(Table {
                file: self.file,
                path,
                span: value.span(),
                entries,
            })),
            _ => Err(bad(&path, &self.file.source(&value.span()), "must be a table")),
        }
    }

    /// The keys in the order of the file.
    pub(super) fn keys(&self) -> Vec<&'a str> {
        let mut keys: Vec<_> = self.entries.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter().map(|key| key.get_ref().as_ref()).collect()
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(integer) => {
            let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            Some(number.to_string())
        }
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> SettingsError {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidData => "not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    SettingsError::new(format!("cannot read the settings file {}: {why}", path.display()))
}

fn bad(key: &str, source: &Source, why: &str) -> SettingsError {
    SettingsError::new(format!("{key} ({source}): {why}"))
}

/// `item` in quotes, unless it might hold a password.
fn shown(item: &str) -> String {
    if item.contains('@') {
        "(not shown)".to_owned()
    } else {
        format!("{item:?}")
    }
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn did_you_mean(candidate: Option<&str>) -> String {
    candidate.map_or_else(String::new, |name| format!(", did you mean {name}?"))
}
