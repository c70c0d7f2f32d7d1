//! The surfaces over HTTP: addresses, who sent the request, and the headers that every answer has.

use std::{
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tower_http::cors::CorsLayer;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    boot::App,
    error::{Error, Kind, Result},
    gate::{self, Shown},
    graphql::{context::CookieChange, failure::reported},
    meter::Budget,
};

mod chat_socket;
mod ends;
mod files;
mod graphql;
mod graphql_socket;
mod graphql_stream;
pub mod metrics;
mod multipart;
mod pages;
mod rest;
mod site;
mod wire;

pub use site::Sites;

/// The name of the session cookie. Source: the protocol, "Who is calling".
pub const COOKIE: &str = "bambisleep_session";
/// The largest body, in bytes. Source: the error table of the protocol, `PAYLOAD_TOO_LARGE`.
const LARGEST_BODY: usize = 1024 * 1024;
/// How long a body may take to arrive.
const SLOWEST_BODY: Duration = Duration::from_secs(30);
/// How much of a larger body is read for the answer to be seen, in bytes, and for how long.
const MOST_DISCARDED: usize = 16 * 1024 * 1024;
const LONGEST_DISCARD: Duration = Duration::from_secs(5);

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// All addresses of the server.
pub fn router(app: Arc<App>) -> Router {
    let router = Router::new()
        .route("/graphql", any(graphql::handle))
        .route("/ws/chat", get(chat_socket::handle))
        .route("/v1/openapi.json", get(rest::openapi))
        .route("/v1", any(rest::handle))
        .route("/v1/", any(rest::handle))
        .route("/v1/{*path}", any(rest::handle))
        .route("/audio/{name}", any(files::audio))
        .route("/avatars/{name}", any(files::avatars))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness));
    pages::add(router)
        .fallback(|| async { refuse(&Error::new(Kind::NotFound, "no such address")) })
        .method_not_allowed_fallback(|| async { refuse(&Error::new(Kind::MethodNotAllowed, "this address takes GET")) })
        .layer(tower::util::option_layer(cors(&app)))
        .layer(middleware::from_fn_with_state(app.clone(), with_request_id))
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}

/// What the request is called in the log and in `X-Request-Id`.
#[derive(Clone)]
pub struct RequestId(pub String);

/// Names the request, counts it, and lets the server wait for it when it ends.
async fn with_request_id(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let _running = app.running.token();
    let id = Uuid::new_v4().simple().to_string();
    let span =
        tracing::info_span!("request", request_id = %id, method = %request.method(), path = request.uri().path());
    let value = HeaderValue::try_from(&id).expect("hexadecimal digits make a header");
    request.extensions_mut().insert(RequestId(id));
    let surface = match request.uri().path() {
        "/graphql" => "graphql",
        path if path.starts_with("/v1/") => "rest",
        _ => "other",
    };
    let start = Instant::now();
    let mut response = if app.draining.is_cancelled() && !matches!(request.uri().path(), "/healthz" | "/readyz") {
        let error = Error::new(Kind::Unavailable, "the server is shutting down").with("retryAfter", 1);
        let mut response = refuse(&error);
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    } else {
        match AssertUnwindSafe(next.run(request).instrument(span))
            .catch_unwind()
            .await
        {
            Ok(response) => response,
            Err(_) => {
                // What panicked is in the log already, by the hook of the runtime.
                let error = Error::internal("panic");
                refuse(&reported(error, &[], value.to_str().unwrap_or_default()))
            }
        }
    };
    ::metrics::counter!(metrics::REQUESTS, "surface" => surface, "status" => response.status().as_str().to_owned())
        .increment(1);
    ::metrics::histogram!(metrics::DURATION, "surface" => surface).record(start.elapsed());
    response.headers_mut().insert(X_REQUEST_ID, value);
    response
}

/// Lets browsers call from the origins of the settings, with the cookie.
fn cors(app: &App) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = app
        .sites
        .allowed()
        .filter_map(|origin| HeaderValue::try_from(origin).ok())
        .collect();
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT,
            IDEMPOTENCY_KEY,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([LIMIT, REMAINING, RESET, header::LINK, header::RETRY_AFTER, X_REQUEST_ID])
        .max_age(Duration::from_secs(3_600));
    Some(layer)
}

async fn health() -> Response {
    json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
}

async fn readiness(State(app): State<Arc<App>>) -> Response {
    let database = app.gate.is_ready().await;
    let draining = app.draining.is_cancelled();
    let redis = match app.has_redis {
        false => "off",
        true if app.gate.meter().is_healthy() && app.gate.doorbell().is_up() => "ok",
        true => "down",
    };
    let ready = database && !draining;
    let state = |ok| if ok { "ok" } else { "down" };
    let body = serde_json::json!({
        "status": if draining { "draining" } else { state(ready) },
        "database": state(database),
        "redis": redis,
    });
    json(
        if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        &body,
    )
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body.to_string()).into_response()
}

/// An error as REST and everything that is not GraphQL renders it.
fn refuse(error: &Error) -> Response {
    let status = StatusCode::from_u16(error.status()).expect("the table of errors has HTTP statuses");
    let mut response = json(status, &error.rest_body());
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if let Some(allow) = error.details().get("allow").and_then(serde_json::Value::as_str)
        && let Ok(allow) = HeaderValue::try_from(allow)
    {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110, 15.5.2: what would help must be said.
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Tells a caller what is left of the budget.
fn tell_budget(response: &mut Response, budget: Option<&Budget>) {
    let Some(budget) = budget else {
        return;
    };
    let headers = response.headers_mut();
    headers.insert(LIMIT, budget.limit.into());
    headers.insert(REMAINING, budget.remaining.into());
    headers.insert(RESET, gate::seconds(budget.reset).into());
}

/// Changes the session cookie: what a resolver asked for, else a renewal.
fn change_cookie(response: &mut Response, app: &App, change: Option<CookieChange>, renew: Option<String>) {
    use tower_sessions::cookie::{Cookie, SameSite, time};

    let (value, age) = match (change, &renew) {
        (Some(CookieChange::Set(token)), _) => (
            token.expose().to_owned(),
            time::Duration::milliseconds(gate::callers::LOGIN_LASTS),
        ),
        (Some(CookieChange::Clear), _) => (String::new(), time::Duration::ZERO),
        (None, Some(token)) => (token.clone(), time::Duration::milliseconds(gate::callers::LOGIN_LASTS)),
        (None, None) => return,
    };
    let cookie = Cookie::build((COOKIE, value))
        .http_only(true)
        .same_site(SameSite::Lax)
        .path("/")
        .max_age(age)
        .secure(app.sites.is_https());
    if let Ok(value) = HeaderValue::try_from(cookie.build().to_string()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// A request taken apart, but for its body.
struct Arrived {
    parts: axum::http::request::Parts,
    address: std::net::IpAddr,
    request_id: String,
}

impl Arrived {
    fn new(app: &App, request: Request) -> (Self, Body) {
        let (parts, body) = request.into_parts();
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0.ip());
        let peer = peer.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
        let request_id = parts
            .extensions
            .get::<RequestId>()
            .map(|id| id.0.clone())
            .unwrap_or_default();
        let address = site::caller_address(peer, &parts.headers, &app.trusted_proxies);
        (
            Self {
                parts,
                address,
                request_id,
            },
            body,
        )
    }

    /// What the request shows of who is calling.
    ///
    /// # Errors
    ///
    /// `CROSS_SITE`; `INVALID_CREDENTIALS` for an `Authorization` that is no text.
    fn shown(&self, app: &App) -> Result<Shown<'_>> {
        let headers = &self.parts.headers;
        let authorization = match headers.get(header::AUTHORIZATION) {
            Some(value) => Some(
                value
                    .to_str()
                    .map_err(|_| Error::new(Kind::InvalidCredentials, "the credentials are wrong or have expired"))?,
            ),
            None => None,
        };
        let changes = !matches!(self.parts.method, Method::GET | Method::HEAD);
        let opens_socket = headers.contains_key(header::SEC_WEBSOCKET_KEY);
        if (changes || opens_socket) && authorization.is_none() {
            app.sites.refuse_cross_site(headers)?;
        }
        Ok(Shown {
            authorization,
            cookie: site::cookie(headers, COOKIE),
            address: self.address,
        })
    }

    /// Who is calling; if that cannot be, the address that pays for the refusal.
    async fn identify(&self, app: &App) -> Result<gate::Identified> {
        app.gate.identify(self.shown(app)?).await
    }

    /// As [`identify`](Self::identify), where a socket opens: a ticket counts too.
    async fn identify_at_socket(&self, app: &App) -> Result<gate::Identified> {
        app.gate.identify_at_socket(self.shown(app)?).await
    }

    fn origin(&self) -> crate::accounts::Origin {
        let agent = self
            .parts
            .headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok());
        crate::accounts::Origin {
            address: self.address,
            user_agent: agent.map(str::to_owned),
        }
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// # Errors
    ///
    /// `PAYLOAD_TOO_LARGE`, or `BAD_REQUEST` where it breaks off or takes too long.
    async fn read_body(&self, body: Body) -> Result<Bytes> {
        let too_large = || Error::new(Kind::PayloadTooLarge, format!("the body is over {LARGEST_BODY} bytes"));
        let declared = self
            .header(&header::CONTENT_LENGTH)
            .and_then(|length| length.parse::<usize>().ok());
        let mut body = body;
        if declared.is_some_and(|length| length > LARGEST_BODY) {
            discard(body).await;
            return Err(too_large());
        }
        let collected = http_body_util::Limited::new(&mut body, LARGEST_BODY).collect();
        match tokio::time::timeout(SLOWEST_BODY, collected).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                discard(body).await;
                Err(too_large())
            }
            Ok(Err(_)) => Err(Error::bad_request("", "the body breaks off")),
            Err(_) => Err(Error::bad_request("", "the body takes too long to arrive")),
        }
    }
}

/// Reads the rest of a body that is not wanted: most clients look for the answer only when they have sent everything,
/// and one whose connection is closed before that never sees it. Ends where that would take too much.
async fn discard(mut body: Body) {
    let rest = async {
        let mut read = 0;
        while read < MOST_DISCARDED
            && let Some(Ok(frame)) = body.frame().await
        {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // Too slow: then the answer is lost to this client.
    let _ = tokio::time::timeout(LONGEST_DISCARD, rest).await;
}
