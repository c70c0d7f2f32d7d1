//! Single values: from text to what it means. Errors complete the sentence that the key begins, and never quote what
//! may hold a password.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ipnet::IpNet;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::words::Words;

/// Which database, with a URL as sea-orm takes it.
#[derive(Clone, Debug)]
pub enum Database {
    /// `sqlite:PATH?mode=…`; unless the settings chose a mode it is `rwc`, which creates the file. Never in memory.
    Sqlite(String),
    /// `postgres://…`; may hold a password.
    Postgres(SecretString),
}

impl Database {
    /// The SQLite file `name` in `folder`.
    pub fn in_folder(folder: &Path, name: &str) -> Self {
        /// What would end the path in a URL, and the sign that starts an escape.
        const NOT_IN_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');
        let path = folder.join(name);
        let path = utf8_percent_encode(&path.to_string_lossy(), NOT_IN_PATH).to_string();
        Self::Sqlite(format!("sqlite:{path}?mode=rwc"))
    }

    /// The URL to connect with. May hold a password: not for logs.
    pub fn url(&self) -> &str {
        match self {
            Self::Sqlite(url) => url,
            Self::Postgres(url) => url.expose_secret(),
        }
    }
}

/// Where audio and avatars are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesUrl {
    /// An absolute path.
    Folder(PathBuf),
    /// A bucket, and what the names in it start with, without slashes around it; may be empty.
    S3 { bucket: String, prefix: String },
}

/// An origin as browsers spell it: `scheme://host[:port]`, lower case, without the scheme's own port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebOrigin(String);

impl WebOrigin {
    /// The origin of a server that listens on `address` without TLS.
    pub fn of(address: SocketAddr) -> Self {
        let text = format!("http://{address}");
        // Without the `:80` that browsers leave out.
        Self(text.strip_suffix(":80").map_or(text.clone(), str::to_owned))
    }

    /// To compare with an `Origin` header, or to put a path after.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether cookies for it are `Secure`.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl FromStr for WebOrigin {
    type Err = String;

    /// Any scheme, since apps have origins of their own, such as `capacitor://localhost`. The error completes a
    /// sentence that begins with what the text is, and does not quote it.
    fn from_str(text: &str) -> Result<Self, String> {
        origin(text)
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the URLs of an upstream start with: http or https, no query, no credentials, no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The URL of `path`, which has no slash in front: `chat/completions`.
    pub fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.0)
    }
}

impl FromStr for BaseUrl {
    type Err = String;

    /// The error completes a sentence that begins with what the text is, and does not quote it.
    fn from_str(text: &str) -> Result<Self, String> {
        base_url(text)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key for secrets at rest. Its `Debug` does not show it.
#[derive(Clone)]
pub struct SecretKey([u8; SecretKey::BYTES]);

impl SecretKey {
    /// How long it is. Source: XChaCha20-Poly1305.
    pub const BYTES: usize = 32;

    /// The key itself: not for logs.
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl FromStr for SecretKey {
    type Err = String;

    /// Padded base64, and blanks around it. The error completes a sentence that begins with what the text is, and does
    /// not quote it.
    fn from_str(text: &str) -> Result<Self, String> {
        BASE64_STANDARD
            .decode(text.trim())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| format!("must be {} bytes in base64", Self::BYTES))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned())
}

pub(super) fn folder(text: &str) -> Result<PathBuf, String> {
    text_of(text).map(PathBuf::from)
}

/// The words in the file at a path.
pub(super) fn words(text: &str) -> Result<Words, String> {
    let path = text_of(text)?;
    let list = std::fs::read_to_string(&path).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "no such file".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::InvalidData => "not UTF-8".to_owned(),
            _ => error.to_string(),
        };
        format!("cannot read {path}: {why}")
    })?;
    Words::read(&list).map_err(|why| format!("{path} {why}"))
}

/// A text that is not blank.
pub(super) fn text_of(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn number(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("must be a whole number from 0 to {}", u32::MAX))
}

/// A whole number of a range.
pub(super) fn whole(range: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> {
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "must be a whole number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

/// How freely a model chooses its words. Source of the range: the OpenAI API.
pub(super) fn temperature(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=2.0).contains(&number) => Ok(number),
        _ => Err("must be a number from 0 to 2".to_owned()),
    }
}

/// What a model is told first; may be empty.
pub(super) fn system_prompt(text: &str) -> Result<String, String> {
    const LONGEST: usize = 32_000;
    let text = text.replace("\r\n", "\n");
    if text.chars().count() > LONGEST {
        return Err(format!("must have {LONGEST} characters at most"));
    }
    if text.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
        return Err("must not have control characters".to_owned());
    }
    Ok(text)
}

/// How fast a voice speaks. Source of the range: the OpenAI API.
pub(super) fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.25..=4.0).contains(&number) => Ok(number),
        _ => Err("must be a number from 0.25 to 4".to_owned()),
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

pub(super) fn database(text: &str) -> Result<Database, String> {
    if let Some(rest) = text.strip_prefix("sqlite:") {
        return sqlite(rest);
    }
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err("must start with postgres://, postgresql:// or sqlite:".to_owned());
    }
    match Url::parse(text) {
        Ok(_) => Ok(Database::Postgres(text.into())),
        Err(error) => Err(format!("is not a valid URL: {error}")),
    }
}

pub(super) fn files_url(text: &str) -> Result<FilesUrl, String> {
    const SHAPE: &str = "must be s3://BUCKET, s3://BUCKET/PREFIX or file:///FOLDER";
    let url = Url::parse(text).map_err(|_| SHAPE.to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold credentials: they come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold a query or a fragment".to_owned());
    }
    match (url.scheme(), url.host_str().unwrap_or_default()) {
        ("s3", bucket) if !bucket.is_empty() => {
            let prefix = percent_decode_str(url.path().trim_matches('/')).decode_utf8();
            let prefix = prefix.map_err(|_| "is not UTF-8".to_owned())?.into_owned();
            let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('#');
            if !prefix.is_empty() && !prefix.split('/').all(is_plain) {
                return Err(SHAPE.to_owned());
            }
            let bucket = bucket.to_owned();
            Ok(FilesUrl::S3 { bucket, prefix })
        }
        ("file", "") if text.starts_with("file:///") && url.path() != "/" => {
            url.to_file_path().map(FilesUrl::Folder).map_err(|()| SHAPE.to_owned())
        }
        _ => Err(SHAPE.to_owned()),
    }
}

/// `rest` is what follows `sqlite:`.
fn sqlite(rest: &str) -> Result<Database, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mode = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "mode")
        .map(|(_, value)| value.into_owned());
    if path.contains(":memory:") || mode.as_deref() == Some("memory") {
        return Err("must name a file: a database in memory is lost with the process".to_owned());
    }
    if path.trim_start_matches("//").is_empty() {
        return Err("must name a file, such as sqlite:data/chat.sqlite".to_owned());
    }
    match mode.as_deref() {
        None if query.is_empty() => Ok(Database::Sqlite(format!("sqlite:{path}?mode=rwc"))),
        None => Ok(Database::Sqlite(format!("sqlite:{path}?{query}&mode=rwc"))),
        Some("rw" | "rwc") => Ok(Database::Sqlite(format!("sqlite:{rest}"))),
        Some(_) => Err("has a mode other than rw and rwc".to_owned()),
    }
}

pub(super) fn redis_url(text: &str) -> Result<SecretString, String> {
    if !text.starts_with("redis://") && !text.starts_with("rediss://") {
        return Err("must start with redis:// or rediss://".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is not a valid URL: {error}"))?;
    if !url.has_host() || url.host_str() == Some("") {
        return Err("names no host".to_owned());
    }
    let database = url.path().trim_start_matches('/');
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err("has a path that is not the number of a database, such as /0".to_owned());
    }
    Ok(text.into())
}

pub(super) fn redis_prefix(text: &str) -> Result<String, String> {
    if (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 ASCII characters without spaces".to_owned())
    }
}

pub(super) fn public_url(text: &str) -> Result<WebOrigin, String> {
    let origin = origin(text)?;
    if origin.as_str().starts_with("http://") || origin.is_https() {
        Ok(origin)
    } else {
        Err("must start with http:// or https://".to_owned())
    }
}

pub(super) fn origin(text: &str) -> Result<WebOrigin, String> {
    const SHAPE: &str = "must be scheme://host or scheme://host:port, such as https://chat.example.org";
    let url = Url::parse(text).map_err(|_| SHAPE.to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or a password".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("must end after the host and port: no path, query or fragment".to_owned());
    }
    // `https:example.org` parses too, and a browser never sends it.
    match url.host_str() {
        Some(host) if !host.is_empty() && text.contains("://") => {
            if host.contains('*') {
                return Err("must name one host: there are no wildcards".to_owned());
            }
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            Ok(WebOrigin(format!("{}://{}{port}", url.scheme(), host.to_lowercase())))
        }
        _ => Err(SHAPE.to_owned()),
    }
}

/// A CIDR, or an address that stands for itself alone.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>().map(|network| network.trunc()),
    };
    network.map_err(|_| "must be an IP address or a CIDR, such as 10.0.0.0/8".to_owned())
}

pub(super) fn base_url(text: &str) -> Result<BaseUrl, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a valid URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !text.contains("://") {
        return Err("must start with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or a password: name the key's variable in api_key_env".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold a query or a fragment".to_owned());
    }
    Ok(BaseUrl(url.as_str().trim_end_matches('/').to_owned()))
}

/// The name of an environment variable.
pub(super) fn variable_name(text: &str) -> Result<String, String> {
    let first = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        Ok(text.to_owned())
    } else {
        // Not quoted: people put the key itself here.
        Err("must be the name of an environment variable, not the key itself".to_owned())
    }
}

/// A time to wait, from a second to an hour.
pub(super) fn timeout_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a whole number of seconds from 1 to 3600".to_owned()),
    }
}
