//! Asks a server of OpenAI's API: `POST {base_url}/audio/speech`.

use std::{iter::successors, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use reqwest::{Client, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::{busy, encode, failed, mp3, pieces, wav};
use crate::{
    boot::Failed,
    config::BaseUrl,
    error::{Error, Result},
    outbound,
};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may be, in bytes.
pub(super) const MAX_ANSWER: usize = 32 << 20;

/// How much of a refusal is kept for the log, in bytes.
const MAX_REFUSAL: usize = 2 << 10;

/// A speech server, and the voice that it is asked for.
pub(super) struct Server {
    client: Client,
    url: String,
    voice: Voice,
    /// `Bearer …`, marked as sensitive.
    authorization: Option<HeaderValue>,
    max_characters: usize,
}

/// Who speaks.
#[derive(Serialize)]
pub(super) struct Voice {
    pub(super) model: String,
    pub(super) voice: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) speed: Option<f64>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    voice: &'a Voice,
    input: &'a str,
    response_format: &'static str,
}

impl Server {
    pub(super) fn new(
        base_url: &BaseUrl,
        voice: Voice,
        api_key: Option<&SecretString>,
        max_characters: usize,
    ) -> Result<Self, Failed> {
        let authorization = api_key.map(|key| {
            let mut header = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))?;
            header.set_sensitive(true);
            Ok::<_, Failed>(header)
        });
        Ok(Self {
            client: outbound::client().connect_timeout(CONNECT_TIMEOUT).build()?,
            url: base_url.join("audio/speech"),
            voice,
            authorization: authorization.transpose()?,
            max_characters,
        })
    }

    /// `text` as MP3. What is too long for a request is read in pieces, one after the other.
    pub(super) async fn speak(&self, text: &str) -> Result<Bytes> {
        let mut spoken = Vec::new();
        for piece in pieces::split(text, self.max_characters) {
            spoken.push(self.piece(piece).await?);
        }
        Ok(mp3::join(spoken))
    }

    /// Many local servers answer WAV whatever they are asked for.
    async fn piece(&self, text: &str) -> Result<Bytes> {
        let audio = self.call(text).await?;
        if mp3::is_mp3(&audio) {
            Ok(audio)
        } else if wav::is_wav(&audio) {
            encode(audio, "the speech server").await
        } else {
            Err(failed("the speech server answered neither MP3 nor WAV"))
        }
    }

    async fn call(&self, text: &str) -> Result<Bytes> {
        let mut request = self.client.post(&self.url).json(&Body {
            voice: &self.voice,
            input: text,
            response_format: "mp3",
        });
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut response = request
            .send()
            .await
            .map_err(|error| failed("the speech server cannot be reached").with_source(chain(&error)))?;
        if !response.status().is_success() {
            let error = refused(response.status());
            return Err(error.with_source(self.said(response).await));
        }
        let mut audio = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if audio.len() + chunk.len() > MAX_ANSWER => {
                    return Err(failed(format!(
                        "the speech server answered more than {} MiB",
                        MAX_ANSWER >> 20
                    )));
                }
                Ok(Some(chunk)) => audio.extend_from_slice(&chunk),
                Ok(None) => return Ok(audio.freeze()),
                Err(error) => return Err(failed("the speech server's answer broke off").with_source(chain(&error))),
            }
        }
    }

    /// How a refusal begins, in the server's own words. Some repeat the key, which is blotted out.
    async fn said(&self, mut response: Response) -> String {
        let key = self.authorization.as_ref().and_then(|header| header.to_str().ok());
        let key = key
            .map(|header| header.trim_start_matches("Bearer "))
            .unwrap_or_default();
        // So much more that a key which begins in what is kept is read to its end.
        let enough = MAX_REFUSAL + key.len();
        let mut body = Vec::new();
        while body.len() < enough
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(enough);
        let mut body = String::from_utf8_lossy(&body).into_owned();
        if !key.is_empty() {
            // Of the same length, so that no half of a key comes within what is kept.
            body = body.replace(key, &"*".repeat(key.len()));
        }
        body.truncate(body.floor_char_boundary(MAX_REFUSAL));
        format!("{}: {body}", response.status())
    }
}

fn refused(status: StatusCode) -> Error {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => failed("the speech server did not accept the key"),
        StatusCode::NOT_FOUND => failed("the speech server knows no such address, model or voice"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => busy("the speech server is busy"),
        status => failed(format!("the speech server answered {}", status.as_u16())),
    }
}

/// An error of the client with what caused it: by itself it says little.
fn chain(error: &reqwest::Error) -> String {
    let causes = successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
