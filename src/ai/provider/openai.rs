//! Calls of a server of the OpenAI API: OpenAI itself, Ollama, LM Studio, vLLM, llama.cpp and their like.

use std::{error::Error as StdError, pin::Pin, time::Duration};

use bytes::Bytes;
use chrono::Utc;
use futures_util::{Stream, StreamExt, stream};
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sse_stream::SseByteStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Message,
    answer::{Answer, Brought, Fault},
    failure::{Failure, Source},
};
use crate::{boot::Failed, config::BaseUrl, outbound};

/// How many bytes an answer may be on the wire: the longest text, in small pieces with all that servers put around them.
const LONGEST_BODY: usize = 8 * 1024 * 1024;
/// How many bytes of what a server says go into the log.
const SAID: usize = 500;
/// How long a server that has finished its answer, or refused one, may take to end its body. One that does is asked
/// over the same connection again.
const FAREWELL: Duration = Duration::from_millis(250);

/// A model on such a server.
pub(super) struct OpenAi {
    pub client: Client,
    pub base_url: BaseUrl,
    /// What the server calls the model.
    pub model: String,
    pub key: Option<SecretString>,
    pub timeout: Duration,
    pub first_token_timeout: Duration,
    pub temperature: Option<f64>,
    pub max_answer_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

impl OpenAi {
    /// A client that gives up on a connection after `connect_timeout`.
    ///
    /// # Errors
    ///
    /// TLS that cannot be set up on this machine.
    pub fn client(connect_timeout: Duration) -> Result<Client, Failed> {
        Ok(outbound::client().connect_timeout(connect_timeout).build()?)
    }

    /// Asks, and hands over the text as it comes. The time to the first token counts from here, connecting included.
    pub async fn ask(&self, messages: &[Message], on_text: &mut (dyn FnMut(&str) + Send)) -> Result<String, Failure> {
        let now = Instant::now();
        let whole = now + self.timeout;
        let first = whole.min(now + self.first_token_timeout);
        let response = timeout_at(first, self.send(messages)).await;
        let response = response.map_err(|_| Failure::Late)??;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let mut body = body(response);
        let head = timeout_at(first, head(&mut body)).await;
        let head = head.map_err(|_| Failure::Late)?.map_err(|error| self.lost(error))?;
        if head.trim_ascii_start().starts_with(b"{") {
            let body = timeout_at(whole, collect(head, body)).await;
            let body = body.map_err(|_| Failure::Late)?.map_err(|error| self.lost(error))?;
            return self.whole(&body, on_text);
        }
        self.streamed(head, body, [first, whole], on_text).await
    }

    /// Sends the request; once more where there was no connection to send it over.
    async fn send(&self, messages: &[Message]) -> Result<Response, Failure> {
        let body = serde_json::to_vec(&Body {
            model: &self.model,
            messages,
            stream: true,
            temperature: self.temperature,
            max_tokens: self.max_answer_tokens,
        });
        let body = Bytes::from(body.expect("the body has string keys alone"));
        let send = || {
            let mut request = self.client.post(self.base_url.join("chat/completions"));
            if let Some(key) = &self.key {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
                    .expect("the settings take keys of graphic ASCII only");
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            request
                .header(ACCEPT, "text/event-stream, application/json")
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone())
                .send()
        };
        let mut sent = send().await;
        if sent.as_ref().is_err_and(reqwest::Error::is_connect) {
            sent = send().await;
        }
        sent.map_err(|error| match error.is_connect() {
            true => Failure::Unreachable(self.lost_because(error)),
            false => Failure::Broken(self.lost_because(error)),
        })
    }

    /// Reads a body that is no stream, although one was asked for.
    fn whole(&self, body: &[u8], on_text: &mut (dyn FnMut(&str) + Send)) -> Result<String, Failure> {
        let mut answer = Answer::default();
        let text = str::from_utf8(body).map_err(|_| Failure::Garbled(self.said(body)))?;
        match answer.take(text).map_err(|fault| self.faulty(fault, body))? {
            Brought::Text(text) => on_text(text),
            Brought::Thought | Brought::Nothing => {}
        }
        match answer.is_understood() {
            true => answer.into_text().ok_or(Failure::Empty),
            false => Err(Failure::Garbled(self.said(body))),
        }
    }

    /// Reads a stream of events that has begun with `head`.
    async fn streamed(
        &self,
        head: Bytes,
        body: WireStream,
        [mut deadline, whole]: [Instant; 2],
        on_text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<String, Failure> {
        let began_with = head[..head.len().min(self.enough_to_say())].to_vec();
        // Some servers leave out the blank line after the last event.
        let blank = stream::iter([Ok(Bytes::from_static(b"\n\n"))]);
        let body = stream::iter([Ok(head)]).chain(body).chain(blank);
        let mut events = SseByteStream::new(body);
        let mut answer = Answer::default();
        while !answer.is_finished() {
            let event = timeout_at(deadline, events.next()).await.map_err(|_| Failure::Late)?;
            let data = match event {
                Some(Ok(event)) => event.data.unwrap_or_default(),
                Some(Err(sse_stream::Error::Body(error))) => {
                    return Err(match error.downcast::<WireError>() {
                        Ok(error) => self.lost(*error),
                        Err(error) => Failure::CutOff(error),
                    });
                }
                Some(Err(error)) => return Err(Failure::Garbled(error.into())),
                None if answer.is_understood() => {
                    return Err(Failure::CutOff("the stream ended before the answer".into()));
                }
                None => return Err(Failure::Garbled(self.said(&began_with))),
            };
            match answer
                .take(&data)
                .map_err(|fault| self.faulty(fault, data.as_bytes()))?
            {
                Brought::Text(text) => {
                    deadline = whole;
                    on_text(text);
                }
                Brought::Thought => deadline = whole,
                Brought::Nothing => {}
            }
        }
        let answer = answer.into_text().ok_or(Failure::Empty)?;
        // There is an answer, whatever happens to what follows it.
        let _ = timeout(FAREWELL, async { while let Some(Ok(_)) = events.next().await {} }).await;
        Ok(answer)
    }

    /// Why there is a status instead of an answer.
    async fn refused(&self, response: Response) -> Failure {
        let status = response.status();
        let retry_after = outbound::retry_after(response.headers(), Utc::now());
        let mut said = Vec::new();
        let mut body = body(response);
        let _ = timeout(FAREWELL, async {
            while let Some(Ok(bytes)) = body.next().await
                && said.len() < self.enough_to_say()
            {
                said.extend_from_slice(&bytes);
            }
        })
        .await;
        let said = match status {
            // It is about the key, and may quote it in part.
            StatusCode::UNAUTHORIZED => format!("{status}, is the key right?").into(),
            _ => format!("{status}: {}", self.said(&said)).into(),
        };
        match status.as_u16() {
            429 | 503 => Failure::Busy {
                status: status.as_u16(),
                retry_after,
                said,
            },
            300..=499 => Failure::Refused(said),
            _ => Failure::Broken(said),
        }
    }

    fn faulty(&self, fault: Fault, data: &[u8]) -> Failure {
        match fault {
            Fault::Garbled => Failure::Garbled(self.said(data)),
            Fault::Error => Failure::Said(self.said(data)),
            Fault::TooLong => Failure::TooLong,
        }
    }

    fn lost(&self, error: WireError) -> Failure {
        match error {
            WireError::TooLong => Failure::TooLong,
            WireError::Ended => Failure::CutOff("the body is empty".into()),
            WireError::Broken(error) => Failure::CutOff(self.lost_because(error)),
        }
    }

    /// The error with its causes, without the URL.
    fn lost_because(&self, error: reqwest::Error) -> Source {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.said(text.as_bytes())
    }

    /// What a server said, for the log: its beginning, without the key.
    fn said(&self, bytes: &[u8]) -> Source {
        let bytes = &bytes[..bytes.len().min(self.enough_to_say())];
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if let Some(key) = &self.key {
            // Of the same length, so that no half of a key comes within what is kept.
            text = text.replace(key.expose_secret(), &"*".repeat(key.expose_secret().len()));
        }
        text.truncate(text.floor_char_boundary(SAID));
        text.replace(char::is_control, " ").into()
    }

    /// How many bytes have to be read so that every key that begins in what is kept ends in them.
    fn enough_to_say(&self) -> usize {
        SAID + self.key.as_ref().map_or(0, |key| key.expose_secret().len())
    }
}

/// What goes wrong with a body on the way.
#[derive(Debug, thiserror::Error)]
enum WireError {
    #[error("longer than {LONGEST_BODY} bytes")]
    TooLong,
    #[error("nothing came")]
    Ended,
    #[error(transparent)]
    Broken(reqwest::Error),
}

type WireStream = Pin<Box<dyn Stream<Item = Result<Bytes, WireError>> + Send>>;

/// The body as it comes, up to [`LONGEST_BODY`].
fn body(response: Response) -> WireStream {
    let mut left = LONGEST_BODY;
    Box::pin(response.bytes_stream().map(move |bytes| {
        let bytes = bytes.map_err(WireError::Broken)?;
        left = left.checked_sub(bytes.len()).ok_or(WireError::TooLong)?;
        Ok(bytes)
    }))
}

/// The first bytes that are not all blank: they say whether the body is a stream of events.
async fn head(body: &mut WireStream) -> Result<Bytes, WireError> {
    loop {
        let bytes = body.next().await.ok_or(WireError::Ended)??;
        if !bytes.trim_ascii().is_empty() {
            return Ok(bytes);
        }
    }
}

async fn collect(head: Bytes, mut body: WireStream) -> Result<Vec<u8>, WireError> {
    let mut all = Vec::from(head);
    while let Some(bytes) = body.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_is_short_and_never_holds_the_key() {
        let key = "sk-hunter2-hunter2";
        let model = OpenAi {
            client: OpenAi::client(Duration::from_secs(1)).unwrap(),
            base_url: "http://a".parse().unwrap(),
            model: "m".to_owned(),
            key: Some(key.into()),
            timeout: Duration::from_secs(1),
            first_token_timeout: Duration::from_secs(1),
            temperature: None,
            max_answer_tokens: None,
        };
        let text = model.said(format!("wrong key {key}\nsorry").as_bytes()).to_string();
        assert_eq!(text, format!("wrong key {} sorry", "*".repeat(key.len())));
        // Wherever the text is cut off.
        for before in SAID - 2 * key.len()..=SAID {
            let said = model
                .said(format!("{}{key}{key}", "ä".repeat(before / 2)).as_bytes())
                .to_string();
            assert!(!said.contains("sk-") && said.len() <= SAID, "{before}: {said}");
        }
        assert!(model.said(&[0xff; 9_000]).to_string().len() <= SAID);
    }
}
