//! A file of a page, in one encoding, and the answer that it makes: whole, or that the client has it already.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use sha2::{Digest, Sha256};

use super::encoding::Encoding;
use crate::http::files::is_listed;

pub struct File {
    media_type: &'static str,
    encoding: Encoding,
    bytes: Cow<'static, [u8]>,
    etag: String,
}

/// For how long a client may use what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// A year: the name has a hash of what is in the file.
    Forever,
    /// As long as the server says that it is still the same.
    Revalidated,
}

impl File {
    /// `hash` is that of the bytes, or of another encoding of them.
    pub fn new(media_type: &'static str, encoding: Encoding, bytes: Cow<'static, [u8]>, hash: [u8; 32]) -> Self {
        let digits: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            media_type,
            encoding,
            bytes,
            etag: format!("\"{digits}{}\"", encoding.suffix()),
        }
    }

    /// In no encoding.
    pub fn plain(media_type: &'static str, bytes: &'static [u8]) -> Self {
        let hash = Sha256::digest(bytes).into();
        Self::new(media_type, Encoding::Identity, bytes.into(), hash)
    }

    #[cfg(test)]
    pub fn into_bytes(self) -> Cow<'static, [u8]> {
        self.bytes
    }

    pub fn answer(self, caching: Caching, request: &HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        let control = match caching {
            Caching::Forever => "public, max-age=31536000, immutable",
            Caching::Revalidated => "no-cache",
        };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        let etag = HeaderValue::try_from(&self.etag).expect("hexadecimal digits make a header");
        headers.insert(header::ETAG, etag);
        if is_listed(request, &self.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        if self.encoding != Encoding::Identity {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(self.encoding.name()));
        }
        *response.body_mut() = self.bytes.into();
        response
    }
}
