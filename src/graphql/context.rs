//! What a resolver has at hand: the request's admission, where it came from, and what its answer is to carry.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use async_graphql::{Context, parser::types::OperationType};
use serde::Serialize;

use crate::{
    accounts::{Origin, Token, password::Passwords},
    error::{Error, Kind, Result},
    files::Files,
    gate::{Admission, Permit, rules},
    loaders::Loaders,
};

/// One request.
pub struct Request {
    pub origin: Origin,
    pub cookie: Mutex<Option<CookieChange>>,
    /// How many messages of sessions it may still show.
    messages_left: AtomicUsize,
}

/// How many messages of sessions a request may show: so much is read into memory at once. Two full sessions are 2,000.
const MOST_MESSAGES: usize = 5_000;

/// What the answer does to the session cookie.
#[derive(Debug, Clone)]
pub enum CookieChange {
    Set(Token),
    Clear,
}

impl Request {
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            cookie: Mutex::new(None),
            messages_left: AtomicUsize::new(MOST_MESSAGES),
        }
    }

    /// Counts messages of a session that are about to be shown.
    ///
    /// # Errors
    ///
    /// `QUERY_TOO_COMPLEX` where they are too many.
    pub fn show_messages(&self, count: usize) -> Result<()> {
        let left = |left: usize| left.checked_sub(count);
        match self
            .messages_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(
                Kind::QueryTooComplex,
                format!("the sessions have more than {MOST_MESSAGES} messages together"),
            )),
        }
    }

    /// The last change counts.
    pub fn change_cookie(&self, change: CookieChange) {
        *self.cookie.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(change);
    }

    pub fn take_cookie(&self) -> Option<CookieChange> {
        self.cookie
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    }
}

/// What the URLs that the server makes start with. Known once the server listens. Cheap to clone.
#[derive(Clone, Default)]
pub struct PublicUrl(Arc<OnceLock<String>>);

impl PublicUrl {
    /// Sets the origin, without a slash at its end; the first time counts.
    pub fn set(&self, origin: &str) {
        let _ = self.0.set(origin.to_owned());
    }

    /// The URL of a path of this server.
    pub fn of(&self, path: &str) -> String {
        let origin = self.0.get().map(String::as_str).unwrap_or_default();
        format!("{origin}{path}")
    }

    /// The path that a URL of this server has.
    pub fn path_in<'a>(&self, url: &'a str) -> Option<&'a str> {
        let path = url.strip_prefix(self.0.get()?.as_str())?;
        path.starts_with('/').then_some(path)
    }
}

pub fn files<'a>(ctx: &Context<'a>) -> &'a Files {
    ctx.data_unchecked::<Files>()
}

pub fn public_url<'a>(ctx: &Context<'a>) -> &'a PublicUrl {
    ctx.data_unchecked::<PublicUrl>()
}

pub fn request<'a>(ctx: &Context<'a>) -> &'a Request {
    ctx.data_unchecked::<std::sync::Arc<Request>>()
}

pub fn loaders<'a>(ctx: &Context<'a>) -> &'a Loaders {
    ctx.data_unchecked::<Loaders>()
}

pub fn passwords<'a>(ctx: &Context<'a>) -> &'a Passwords {
    ctx.data_unchecked::<Passwords>()
}

pub fn admission<'a>(ctx: &Context<'a>) -> Result<&'a Admission> {
    ctx.data_opt::<Admission>()
        .ok_or_else(|| Error::internal("a request that was not admitted"))
}

/// The permit of the root field that is being resolved, by its rule.
pub fn permit(ctx: &Context<'_>) -> Result<Permit> {
    let (_, rule) = rule(ctx)?;
    admission(ctx)?.permit(rule)
}

/// The permit of a mutation that takes an idempotency key, for these arguments.
pub fn permit_once(ctx: &Context<'_>, arguments: &impl Serialize) -> Result<Permit> {
    let (field, rule) = rule(ctx)?;
    admission(ctx)?.permit_once(rule, field, arguments)
}

fn rule(ctx: &Context<'_>) -> Result<(&'static str, &'static rules::Rule)> {
    let root = match ctx.query_env.operation.node.ty {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    };
    let name = ctx.item.node.name.node.as_str();
    rules::FIELDS
        .iter()
        .find(|row| row.0 == root && row.1 == name)
        .map(|row| (row.1, &row.2))
        .ok_or_else(|| Error::internal(format!("{root}.{name} has no rule")))
}
