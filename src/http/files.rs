//! `/audio/…` and `/avatars/…`: the files of the server, for everyone who knows their names.

use std::{ops::Range, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use chrono::{DateTime, Utc};
use http_range_header::{RangeUnsatisfiableError, parse_range_header};

use super::refuse;
use crate::{
    boot::App,
    error::{Error, Kind as ErrorKind, Result},
    files::{Files, Info, Kind},
};

const POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

pub async fn audio(State(app): State<Arc<App>>, request: Request) -> Response {
    serve(&app.files, Kind::Audio, request).await
}

pub async fn avatars(State(app): State<Arc<App>>, request: Request) -> Response {
    serve(&app.files, Kind::Avatar, request).await
}

async fn serve(files: &Files, kind: Kind, request: Request) -> Response {
    let (request, _) = request.into_parts();
    match answer(files, kind, &request).await {
        Ok(response) => response,
        Err(error) => {
            if error.kind() == ErrorKind::Unavailable {
                tracing::warn!(?error, "a file was not served");
            }
            refuse(&error)
        }
    }
}

async fn answer(files: &Files, kind: Kind, request: &Parts) -> Result<Response> {
    let method = &request.method;
    if !matches!(*method, Method::GET | Method::HEAD) {
        let error = Error::new(ErrorKind::MethodNotAllowed, "this address takes GET");
        return Err(error.with("allow", "GET, HEAD"));
    }
    let not_found = || Error::not_found("file");
    // As it was sent: no name has anything that need be escaped.
    let name = request.uri.path().rsplit('/').next().unwrap_or_default();
    let media_type = kind.media_type(name).ok_or_else(not_found)?;
    let etag = format!("\"{name}\"");
    let headers = &request.headers;
    let is_known = is_listed(headers, &etag);
    let asks_range = *method == Method::GET && headers.contains_key(header::RANGE);
    if !is_known && !asks_range && *method == Method::GET {
        let opened = files.get(kind, name, None).await?.ok_or_else(not_found)?;
        let response = whole(opened.info, media_type, &etag);
        return Ok(response.map(|()| Body::from_stream(opened.bytes)));
    }
    let info = files.info(kind, name).await?.ok_or_else(not_found)?;
    if is_known {
        let mut response = whole(info, media_type, &etag).map(|()| Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().remove(header::CONTENT_TYPE);
        return Ok(response);
    }
    let wanted = match asks_range && if_range(headers, &etag, info.modified) {
        true => wanted(headers, info.size),
        false => Wanted::Whole,
    };
    match wanted {
        Wanted::Whole if *method == Method::HEAD => Ok(whole(info, media_type, &etag).map(|()| Body::empty())),
        Wanted::Whole => {
            let opened = files.get(kind, name, None).await?.ok_or_else(not_found)?;
            Ok(whole(opened.info, media_type, &etag).map(|()| Body::from_stream(opened.bytes)))
        }
        Wanted::Part(range) => {
            let opened = files
                .get(kind, name, Some(range.clone()))
                .await?
                .ok_or_else(not_found)?;
            let mut response = whole(info, media_type, &etag).map(|()| Body::from_stream(opened.bytes));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
            let place = format!("bytes {}-{}/{}", range.start, range.end - 1, info.size);
            headers.insert(header::CONTENT_RANGE, text(&place));
            Ok(response)
        }
        Wanted::Nothing => {
            let mut response = whole(info, media_type, &etag).map(|()| Body::empty());
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, 0.into());
            headers.insert(header::CONTENT_RANGE, text(&format!("bytes */{}", info.size)));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            for name in [header::CONTENT_TYPE, header::ETAG, header::LAST_MODIFIED] {
                headers.remove(name);
            }
            Ok(response)
        }
    }
}

/// The headers of a file, with its size.
fn whole(info: Info, media_type: &'static str, etag: &str) -> Response<()> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_DISPOSITION, "inline"),
        // Whatever it holds, it is what we say that it is, and runs nothing.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (POLICY, "cross-origin"),
        // A name is never used twice.
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::ACCEPT_RANGES, "bytes"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_LENGTH, info.size.into());
    headers.insert(header::ETAG, text(etag));
    headers.insert(header::LAST_MODIFIED, text(&http_date(info.modified)));
    response
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::try_from(value).expect("names, dates and numbers are ASCII")
}

/// As RFC 9110, 5.6.7 spells it.
fn http_date(time: DateTime<Utc>) -> String {
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Whether the client has the file already: `If-None-Match` (RFC 9110, 13.1.2).
pub(super) fn is_listed(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).into_iter();
    let listed = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    listed
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Whether what the client has a part of is still the same: `If-Range` (RFC 9110, 13.1.5).
fn if_range(headers: &HeaderMap, etag: &str, modified: DateTime<Utc>) -> bool {
    match headers.get(header::IF_RANGE).map(HeaderValue::as_bytes) {
        Some(known) => known == etag.as_bytes() || known == http_date(modified).as_bytes(),
        None => true,
    }
}

/// What a client wants of a file.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(Range<u64>),
    /// Nothing that it has.
    Nothing,
}

/// What `Range` (RFC 9110, 14.2) asks for of so many bytes. A server may disregard it: several ranges, and what is none,
/// are the whole.
fn wanted(headers: &HeaderMap, size: u64) -> Wanted {
    let Some(Ok(range)) = headers.get(header::RANGE).map(HeaderValue::to_str) else {
        return Wanted::Whole;
    };
    let Ok(parsed) = parse_range_header(range) else {
        return Wanted::Whole;
    };
    if parsed.len() != 1 {
        return Wanted::Whole;
    }
    match parsed.validate(size).as_deref() {
        Ok([part]) => Wanted::Part(*part.start()..part.end() + 1),
        Ok(_) => Wanted::Whole,
        Err(RangeUnsatisfiableError::Invalid(_)) => Wanted::Whole,
        Err(_) => Wanted::Nothing,
    }
}
