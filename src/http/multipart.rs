//! Bodies of several parts (RFC 7578), as they come in: nothing is kept of them but the parts that somebody asks for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream},
    http::header,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use multer::{Constraints, Field, Multipart, SizeLimit};
use tokio::time::{Instant, timeout_at};

use super::{Arrived, LARGEST_BODY, SLOWEST_BODY, discard};
use crate::{
    error::{Error, Kind, Result},
    gate::callers::Caller,
    graphql::http::{Decoded, Uploads},
    profiles::avatar,
};

/// The largest body with a file, in bytes: the file, and what a body without one may have.
const LARGEST: usize = avatar::LARGEST + LARGEST_BODY;
/// The largest map of a GraphQL multipart request, in bytes.
const LARGEST_MAP: usize = 16 * 1024;
/// How long a body with a file may take to arrive.
const SLOWEST: Duration = Duration::from_secs(120);

/// Whether a body has parts.
pub fn is_multipart(arrived: &Arrived) -> bool {
    let content_type = arrived.header(&header::CONTENT_TYPE).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// The file in the part of that name. Other parts are not looked at.
///
/// # Errors
///
/// `UNSUPPORTED_MEDIA_TYPE`, `PAYLOAD_TOO_LARGE`, or `BAD_REQUEST` where there is no such part, or the body breaks off or
/// takes too long.
pub async fn read_file(arrived: &Arrived, body: Body, part: &str) -> Result<Bytes> {
    let mut stream = body.into_data_stream();
    let file = match Form::new(arrived, &mut stream, LARGEST) {
        Ok(form) => form.file(part).await,
        Err(error) => Err(error),
    };
    discard(Body::new(stream)).await;
    file
}

/// A GraphQL multipart request. Its files are read only where `may` says that something may become of what is asked for;
/// otherwise that comes back with empty ones. Nobody in particular may send as much as without files.
///
/// # Errors
///
/// `PAYLOAD_TOO_LARGE`, `BAD_REQUEST`, and what [`Uploads::read`] refuses.
pub async fn read_operations(
    arrived: &Arrived,
    body: Body,
    caller: &Caller,
    batch: usize,
    may: impl Fn(&Decoded) -> bool + Send + Sync,
) -> Result<Decoded> {
    let largest = match caller.member() {
        Some(_) => LARGEST,
        None => LARGEST_BODY,
    };
    let mut stream = body.into_data_stream();
    let decoded = match Form::new(arrived, &mut stream, largest) {
        Ok(form) => form.operations(batch, may).await,
        Err(error) => Err(error),
    };
    discard(Body::new(stream)).await;
    decoded
}

/// A body that is being read.
struct Form<'a> {
    parts: Multipart<'a>,
    until: Instant,
}

impl<'a> Form<'a> {
    fn new(arrived: &Arrived, stream: &'a mut BodyDataStream, largest: usize) -> Result<Self> {
        let declared = arrived
            .header(&header::CONTENT_LENGTH)
            .and_then(|length| length.parse::<usize>().ok());
        if declared.is_some_and(|length| length > LARGEST) {
            return Err(too_large(LARGEST));
        }
        if !is_multipart(arrived) {
            let message = "the body must be multipart/form-data, and its content-type must say so";
            return Err(Error::new(Kind::UnsupportedMediaType, message));
        }
        let content_type = arrived.header(&header::CONTENT_TYPE).unwrap_or_default();
        let boundary = multer::parse_boundary(content_type)
            .map_err(|_| Error::bad_request("", "the content-type names no boundary"))?;
        let limits = SizeLimit::new()
            .whole_stream(largest as u64)
            .per_field(avatar::LARGEST as u64)
            .for_field("operations", LARGEST_BODY as u64)
            .for_field("map", LARGEST_MAP as u64);
        let stream = OneByOne { stream, rests: false };
        Ok(Self {
            parts: Multipart::with_constraints(stream, boundary, Constraints::new().size_limit(limits)),
            until: Instant::now() + if largest > LARGEST_BODY { SLOWEST } else { SLOWEST_BODY },
        })
    }

    async fn file(mut self, part: &str) -> Result<Bytes> {
        let mut file = None;
        while let Some(field) = self.next().await? {
            if field.name() == Some(part) {
                file = Some(self.bytes(field).await?);
            }
        }
        file.ok_or_else(|| Error::bad_request(format!("/{part}"), format!("the part {part} is missing")))
    }

    async fn operations(mut self, batch: usize, may: impl Fn(&Decoded) -> bool) -> Result<Decoded> {
        let operations = self.named("operations").await?;
        let map = self.named("map").await?;
        let mut uploads = Uploads::read(&operations, &map, batch)?;
        if !may(uploads.decoded()) {
            return Ok(uploads.decoded().clone());
        }
        while let Some(field) = self.next().await? {
            let name = field.name().unwrap_or_default().to_owned();
            uploads.check(&name)?;
            let file = self.bytes(field).await?;
            uploads.put(&name, &file)?;
        }
        uploads.done()
    }

    /// The part that comes next, which must be that one.
    async fn named(&mut self, name: &str) -> Result<Bytes> {
        match self.next().await? {
            Some(field) if field.name() == Some(name) => self.bytes(field).await,
            _ => {
                let message = format!("the part {name} is missing: operations, map and files come in this order");
                Err(Error::bad_request(format!("/{name}"), message))
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Field<'a>>> {
        in_time(self.until, self.parts.next_field()).await
    }

    async fn bytes(&self, field: Field<'a>) -> Result<Bytes> {
        in_time(self.until, field.bytes()).await
    }
}

async fn in_time<T>(until: Instant, read: impl Future<Output = multer::Result<T>>) -> Result<T> {
    match timeout_at(until, read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(multer::Error::StreamSizeExceeded { limit } | multer::Error::FieldSizeExceeded { limit, .. })) => {
            Err(too_large(limit as usize))
        }
        Ok(Err(_)) => Err(Error::bad_request(
            "",
            "the body is no multipart/form-data, or breaks off",
        )),
        Err(_) => Err(Error::bad_request("", "the body takes too long to arrive")),
    }
}

fn too_large(limit: usize) -> Error {
    Error::new(
        Kind::PayloadTooLarge,
        format!("the body, or a part of it, is over {limit} bytes"),
    )
}

/// A body a piece at a time. The parser takes in all that has come before it looks at any of it, and what comes may be
/// nobody's to send.
struct OneByOne<'a> {
    stream: &'a mut BodyDataStream,
    rests: bool,
}

impl Stream for OneByOne<'_> {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rests) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = ready!(self.stream.poll_next_unpin(cx));
        self.rests = true;
        Poll::Ready(piece)
    }
}
