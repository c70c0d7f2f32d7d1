//! How webhooks are reached: to which URLs they may go, and one POST to one of them.
//!
//! Whoever has a webhook chooses where the server connects to. So that this does not turn the server against the network
//! that it stands in, URLs are https, and no address is connected to that the internet does not reach: literals are
//! refused when they are given and again before each delivery, names when they are looked up for a connection.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use chrono::Utc;
use reqwest::{Client, Response};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use self::client::LookUp;
use crate::{boot::Failed, outbound, text::LONGEST_URL};

mod address;
mod client;
#[cfg(test)]
mod tests;

/// How long a delivery may take, from the look-up of the name to the end of what is read of the answer. Source: the
/// protocol.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How many bytes of an answer are read and kept.
const LONGEST_ANSWER: usize = 16 * 1_024;

/// How webhooks are reached. Cheap to clone.
#[derive(Clone)]
pub struct Outgoing {
    client: Client,
    rules: Rules,
    timeout: Duration,
}

/// What webhooks may go to.
#[derive(Clone, Copy)]
struct Rules {
    /// Whether URLs are https and name no loopback.
    is_strict: bool,
    is_forbidden: fn(IpAddr) -> bool,
}

/// What came of a POST.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// None where no answer came. There is one as soon as the head of the answer is there, whatever becomes of the rest.
    pub status: Option<u16>,
    /// How long the receiver asks to be left alone, in whole seconds: any length that it likes. None for a date that is
    /// past.
    pub retry_after: Option<Duration>,
    /// The first 16 KiB of the answer as text: what is not UTF-8, and NUL, is replaced by U+FFFD.
    pub body: String,
    /// Why there was no answer, or not the end of one, for people: lower case, no full stop, no address. None where the
    /// answer, or its first 16 KiB, came whole, whatever the status.
    pub error: Option<String>,
}

impl Outgoing {
    /// `allow_insecure`: http and private addresses too, for development.
    ///
    /// # Errors
    ///
    /// No TLS, such as where the system has no root certificates.
    pub fn new(allow_insecure: bool) -> Result<Self, Failed> {
        let rules = Rules {
            is_strict: !allow_insecure,
            is_forbidden: if allow_insecure {
                |_| false
            } else {
                address::is_forbidden
            },
        };
        Self::with(rules, client::system(), TIMEOUT)
    }

    fn with(rules: Rules, look_up: LookUp, timeout: Duration) -> Result<Self, Failed> {
        let client = client::client(rules, look_up).map_err(|why| format!("webhooks cannot be sent: {why}"))?;
        Ok(Self { client, rules, timeout })
    }

    /// The URL if webhooks may go to it, as far as that can be told without looking its name up.
    ///
    /// # Errors
    ///
    /// Why not, as the end of a sentence that begins with the field: `must be an https URL`.
    pub fn check(&self, url: &str) -> Result<Url, String> {
        if url.chars().count() > LONGEST_URL {
            return Err(format!("must have {LONGEST_URL} characters at most"));
        }
        // A URL parser would drop them.
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("must not have blanks or control characters".to_owned());
        }
        let url = Url::parse(url).map_err(|_| self.scheme_rule().to_owned())?;
        self.refuse(&url)?;
        Ok(url)
    }

    fn refuse(&self, url: &Url) -> Result<(), String> {
        let strict = self.rules.is_strict;
        let is_scheme = url.scheme() == "https" || (!strict && url.scheme() == "http");
        let host = url.host().filter(|_| is_scheme).ok_or(self.scheme_rule())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold credentials".to_owned());
        }
        if url.fragment().is_some() {
            return Err("must not have a fragment".to_owned());
        }
        if url.port() == Some(0) {
            return Err("must not have port 0".to_owned());
        }
        let is_private = match host {
            Host::Ipv4(address) => (self.rules.is_forbidden)(address.into()),
            Host::Ipv6(address) => (self.rules.is_forbidden)(address.into()),
            Host::Domain(name) if strict && name.ends_with('.') => {
                return Err("must not have a host that ends with a full stop".to_owned());
            }
            Host::Domain(name) => strict && (name == "localhost" || name.ends_with(".localhost")),
        };
        if is_private {
            return Err("must not name a private address".to_owned());
        }
        Ok(())
    }

    fn scheme_rule(&self) -> &'static str {
        if self.rules.is_strict {
            "must be an https URL"
        } else {
            "must be an http or https URL"
        }
    }

    /// One POST, which takes 15 s at most, to a URL that is checked once more: it may be older than the rules. Follows no
    /// redirects, uses no proxy, and connects to none but the addresses that were checked.
    ///
    /// `headers` hold visible ASCII.
    pub async fn post(&self, url: &Url, headers: &[(&'static str, String)], body: Bytes) -> Answered {
        if let Err(why) = self.refuse(url) {
            return Answered::without(format!("the URL {why}"));
        }
        let deadline = Instant::now() + self.timeout;
        let mut request = self.client.post(url.clone()).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => self.read(response, deadline).await,
            Ok(Err(error)) => Answered::without(client::why(&error)),
            Err(_) => Answered::without(self.too_long()),
        }
    }

    /// Dropping the rest of a longer answer closes its connection.
    async fn read(&self, mut response: Response, deadline: Instant) -> Answered {
        let mut answered = Answered {
            status: Some(response.status().as_u16()),
            retry_after: outbound::retry_after(response.headers(), Utc::now()).map(Duration::from_secs),
            ..Answered::default()
        };
        let mut bytes = Vec::new();
        while bytes.len() < LONGEST_ANSWER {
            match timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk[..chunk.len().min(LONGEST_ANSWER - bytes.len())]),
                Ok(Ok(None)) => break,
                Ok(Err(_)) => {
                    answered.error = Some("the connection broke off within the answer".to_owned());
                    break;
                }
                Err(_) => {
                    answered.error = Some(self.too_long());
                    break;
                }
            }
        }
        answered.body = text(&bytes);
        answered
    }

    fn too_long(&self) -> String {
        format!("took longer than {} s", self.timeout.as_secs())
    }
}

impl Answered {
    fn without(error: String) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }
}

/// `host:port`, in lower case: what the limit for one host counts by. `url` is http or https.
pub fn host_of(url: &Url) -> String {
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_ascii_lowercase();
    format!("{host}:{}", url.port_or_known_default().unwrap_or_default())
}

/// What a database takes as text, no longer than the bytes may be.
fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
    // What stands for a byte is longer than it.
    text.truncate(text.floor_char_boundary(LONGEST_ANSWER));
    text
}
