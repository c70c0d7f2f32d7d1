//! The HTTP client of webhooks: it connects to checked addresses only.

use std::{
    error::Error as StdError,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::Rules;
use crate::outbound;

/// How long a connection with its look-up and TLS may take, so that a server that is gone is not waited for to the end.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next delivery. Less than the 5 s after which Node's servers close one, since a
/// delivery that meets the close is lost and sent again later.
const KEPT_FOR: Duration = Duration::from_secs(4);

/// Looks a name up: all the addresses that it has.
pub(super) type LookUp = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The look-up of the system, with its `hosts` file.
pub(super) fn system() -> LookUp {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Follows no redirects and no proxy. Of a URL whose host is an address, the caller must have checked it: no name is
/// looked up for that.
///
/// A name is looked up when a connection is made, and the connection goes to one of the addresses that were checked then:
/// nothing looks it up again. A connection that is kept for a few seconds goes on to that address, whatever the name has
/// come to mean. HTTP/1.1 alone, where an answer that is not read to its end closes the connection: in HTTP/2, deliveries
/// would share one, and go on into one that is dead.
pub(super) fn client(rules: Rules, look_up: LookUp) -> reqwest::Result<Client> {
    outbound::client()
        .no_proxy()
        .https_only(rules.is_strict)
        .http1_only()
        .connect_timeout(CONNECT_WITHIN)
        .pool_idle_timeout(KEPT_FOR)
        .dns_resolver(Checked { rules, look_up })
        .build()
}

/// Answers with the addresses of a name if none is forbidden.
struct Checked {
    rules: Rules,
    look_up: LookUp,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let is_forbidden = self.rules.is_forbidden;
        let found = (self.look_up)(name.as_str().to_owned());
        Box::pin(async move {
            let found = found.await.map_err(|_| Refused::Unknown)?;
            if found.is_empty() {
                return Err(Refused::Unknown.into());
            }
            // One is enough: whoever owns the name means no good, and the rest are of no use to anybody else.
            if found.iter().any(|address| is_forbidden(*address)) {
                return Err(Refused::Forbidden.into());
            }
            // The port is that of the URL.
            let checked = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(checked) as Addrs)
        })
    }
}

/// Why a name is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Unknown,
    Forbidden,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the name does not resolve",
            Self::Forbidden => "the name resolves to a private address",
        })
    }
}

impl StdError for Refused {}

/// Why there was no answer, for people: never an address that the owner of the webhook did not give.
pub(super) fn why(error: &reqwest::Error) -> String {
    if let Some(refused) = cause::<Refused>(error) {
        return refused.to_string();
    }
    match cause::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(_)) => "the TLS certificate is not valid",
        Some(_) => "the TLS connection could not be made",
        None if error.is_builder() => "the request could not be made",
        None if error.is_connect() => "could not connect",
        None => "the connection broke off without an answer",
    }
    .to_owned()
}

/// The first error of type `T` among `error` and its sources. An [`io::Error`] hides the one that it is made of.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match inner {
        Some(inner) => cause(inner),
        None => cause(error.source()?),
    }
}
