//! One error for the whole server: made once, typed, rendered three ways (GraphQL, REST, chat socket).
//!
//! An [`Error`] says what the client may know: a [`Kind`], a message and details. What only the log may know is
//! its [`source`](std::error::Error::source).

use std::{borrow::Cow, fmt, sync::Arc};

use serde_json::{Map, Value, json};

/// What went wrong, as clients tell errors apart. [`TABLE`] gives each its code and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    BadRequest,
    ValidationFailed,
    GraphqlParseFailed,
    GraphqlValidationFailed,
    QueryTooComplex,
    Unauthenticated,
    InvalidCredentials,
    Forbidden,
    ProfilePrivate,
    CrossSite,
    Banned,
    Muted,
    NotFound,
    MethodNotAllowed,
    Conflict,
    IdempotencyConflict,
    PayloadTooLarge,
    UnsupportedMediaType,
    RateLimited,
    Internal,
    UpstreamFailed,
    Unavailable,
}

/// Every kind with its code and HTTP status, and when a client meets it. Source: the error table of the protocol.
pub const TABLE: &[(Kind, &str, u16, &str)] = &[
    (
        Kind::BadRequest,
        "BAD_REQUEST",
        400,
        "The request is not JSON, or a member is missing or of the wrong type; `details.path` is its JSON Pointer.",
    ),
    (
        Kind::ValidationFailed,
        "VALIDATION_FAILED",
        400,
        "A value of the right type is refused; `details.fields` maps each input field to why.",
    ),
    (
        Kind::GraphqlParseFailed,
        "GRAPHQL_PARSE_FAILED",
        400,
        "The GraphQL document does not parse.",
    ),
    (
        Kind::GraphqlValidationFailed,
        "GRAPHQL_VALIDATION_FAILED",
        400,
        "The GraphQL document does not fit the schema.",
    ),
    (
        Kind::QueryTooComplex,
        "QUERY_TOO_COMPLEX",
        400,
        "The GraphQL document is over a limit of size, depth, fields or complexity.",
    ),
    (Kind::Unauthenticated, "UNAUTHENTICATED", 401, "Nobody is logged in."),
    (
        Kind::InvalidCredentials,
        "INVALID_CREDENTIALS",
        401,
        "A wrong password, key, token or ticket.",
    ),
    (
        Kind::Forbidden,
        "FORBIDDEN",
        403,
        "The key lacks the scope, or the member the role.",
    ),
    (Kind::ProfilePrivate, "PROFILE_PRIVATE", 403, "The profile is private."),
    (
        Kind::CrossSite,
        "CROSS_SITE",
        403,
        "A browser sent the request from a site that is not allowed to.",
    ),
    (Kind::Banned, "BANNED", 403, "The member is banned."),
    (Kind::Muted, "MUTED", 403, "The member may read but not send."),
    (
        Kind::NotFound,
        "NOT_FOUND",
        404,
        "No such thing, or not the caller's to know of.",
    ),
    (
        Kind::MethodNotAllowed,
        "METHOD_NOT_ALLOWED",
        405,
        "The address does not take this method; `Allow` lists those it takes.",
    ),
    (
        Kind::Conflict,
        "CONFLICT",
        409,
        "The name is taken, the revision outdated, or the member has as many as allowed.",
    ),
    (
        Kind::IdempotencyConflict,
        "IDEMPOTENCY_CONFLICT",
        409,
        "The idempotency key was used for another request, or the first is still running.",
    ),
    (
        Kind::PayloadTooLarge,
        "PAYLOAD_TOO_LARGE",
        413,
        "The body is over the limit.",
    ),
    (
        Kind::UnsupportedMediaType,
        "UNSUPPORTED_MEDIA_TYPE",
        415,
        "The body does not say that it is JSON, or multipart where a file is taken.",
    ),
    (
        Kind::RateLimited,
        "RATE_LIMITED",
        429,
        "The rest of the budget does not cover the request; `details.retryAfter` and `Retry-After` say how many seconds to wait.",
    ),
    (
        Kind::Internal,
        "INTERNAL",
        500,
        "A defect of the server; `details.requestId` finds it in the log.",
    ),
    (
        Kind::UpstreamFailed,
        "UPSTREAM_FAILED",
        502,
        "The AI or speech provider failed.",
    ),
    (
        Kind::Unavailable,
        "UNAVAILABLE",
        503,
        "The server is overloaded or shutting down; `Retry-After` says when to try again.",
    ),
];

impl Kind {
    /// The code that clients see, such as `NOT_FOUND`.
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        self.row().2
    }

    fn row(self) -> &'static (Kind, &'static str, u16, &'static str) {
        TABLE
            .iter()
            .find(|row| row.0 == self)
            .expect("the table has a row for every kind; a test counts them")
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the client may know of a failure. Cheap to clone.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    message: Cow<'static, str>,
    details: Map<String, Value>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// `message` is for people: lower case, no full stop, no secrets.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            details: Map::new(),
            source: None,
        }))
    }

    /// A member of the request is missing or of the wrong type; `pointer` is its JSON Pointer (RFC 6901), empty for the whole.
    pub fn bad_request(pointer: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::BadRequest, message).with("path", pointer.into())
    }

    /// An input field of the right type has a value that is refused.
    pub fn invalid(field: &str, why: impl Into<String>) -> Self {
        let why: String = why.into();
        Self::new(Kind::ValidationFailed, format!("{field} {why}")).with("fields", json!({ field: why }))
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("no such {what}"))
    }

    /// A defect: the client learns nothing but that it happened, the log gets `source`.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut error = Self::new(Kind::Internal, "internal server error");
        error.inner().source = Some(Arc::from(source.into()));
        error
    }

    /// `retry_after` is in seconds, at least 1.
    pub fn rate_limited(retry_after: u64) -> Self {
        let retry_after = retry_after.max(1);
        Self::new(
            Kind::RateLimited,
            format!("rate limit exceeded, try again in {retry_after} s"),
        )
        .with("retryAfter", retry_after)
    }

    /// Whether the database refused a row because another one has its unique key.
    pub fn unique_violation(&self) -> bool {
        let source = self.0.source.as_deref();
        source
            .and_then(|source| source.downcast_ref::<sea_orm::DbErr>())
            .and_then(sea_orm::DbErr::sql_err)
            .is_some_and(|error| matches!(error, sea_orm::SqlErr::UniqueConstraintViolation(_)))
    }

    /// Adds a member to `details`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.inner().details.insert(name.to_owned(), value.into());
        self
    }

    /// Keeps what only the log may know.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.inner().source = Some(Arc::from(source.into()));
        self
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    pub fn status(&self) -> u16 {
        self.0.kind.status()
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn details(&self) -> &Map<String, Value> {
        &self.0.details
    }

    /// Seconds for `Retry-After`, where the error says so.
    pub fn retry_after(&self) -> Option<u64> {
        self.0.details.get("retryAfter").and_then(Value::as_u64)
    }

    /// The body of a REST answer: `{"error": true, "code", "message", "details"}`.
    pub fn rest_body(&self) -> Value {
        json!({
            "error": true,
            "code": self.code(),
            "message": self.message(),
            "details": self.details(),
        })
    }

    /// The `extensions` of a GraphQL error: `code`, `status` and `details`.
    pub fn extensions(&self) -> Value {
        json!({ "code": self.code(), "status": self.status(), "details": self.details() })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())?;
        match &self.0.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<sea_orm::DbErr> for Error {
    /// A database that cannot be reached is `UNAVAILABLE`; what it refuses is a defect.
    fn from(source: sea_orm::DbErr) -> Self {
        if !is_out_of_reach(&source) {
            return Self::internal(source);
        }
        Self::new(Kind::Unavailable, "the database does not answer")
            .with("retryAfter", 1)
            .with_source(source)
    }
}

fn is_out_of_reach(error: &sea_orm::DbErr) -> bool {
    use sea_orm::{DbErr, RuntimeErr, sqlx};

    let source = match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => return true,
        DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source)) => source,
        _ => return false,
    };
    match &**source {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        // Postgres' class 57P: it is shutting down or starting.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row() {
        let mut codes: Vec<_> = TABLE.iter().map(|row| row.1).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), TABLE.len());
        assert_eq!(TABLE.len(), Kind::Unavailable as usize + 1);
    }

    #[test]
    fn an_internal_error_tells_the_client_nothing() {
        let error = Error::internal("connection to 10.0.0.7 refused");
        assert!(!error.rest_body().to_string().contains("10.0.0.7"));
        assert!(format!("{error:?}").contains("10.0.0.7"));
    }
}
