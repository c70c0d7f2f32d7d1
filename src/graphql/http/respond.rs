//! HTTP answers out of what operations gave.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::Format;
use crate::{
    error::Error,
    graphql::{document::Bound, event_stream, execute::Outcome, failure::Failure},
};

/// What became of one request.
#[derive(Debug)]
pub enum Answer {
    /// Nothing ran: the answer has no `data`. At least one failure.
    Refused(Vec<Failure>),
    /// It ran, for better or worse.
    Ran(Box<(Bound, Outcome)>),
}

impl Answer {
    pub fn refused(error: Error) -> Self {
        Self::Refused(vec![error.into()])
    }

    pub fn ran(bound: Bound, outcome: Outcome) -> Self {
        Self::Ran(Box::new((bound, outcome)))
    }

    /// Writes the response of the specification, `errors` before `data`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Refused(failures) => {
                out.extend_from_slice(b"{\"errors\":");
                write_failures(failures, out);
            }
            Self::Ran(ran) => {
                let (bound, outcome) = ran.as_ref();
                out.push(b'{');
                if !outcome.errors.is_empty() {
                    out.extend_from_slice(b"\"errors\":");
                    write_failures(&outcome.errors, out);
                    out.push(b',');
                }
                out.extend_from_slice(b"\"data\":");
                bound.write(&outcome.data, out);
            }
        }
        out.push(b'}');
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(failures) => failures
                .first()
                .map_or(StatusCode::BAD_REQUEST, |failure| status(&failure.error)),
            Self::Ran(_) => StatusCode::OK,
        }
    }

    fn headers(&self) -> Option<&HeaderMap> {
        match self {
            Self::Refused(_) => None,
            Self::Ran(ran) => Some(&ran.1.headers),
        }
    }
}

/// Writes a list of errors as the specification spells it.
pub fn write_failures(failures: &[Failure], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, failure) in failures.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &failure.to_json()).expect("a failure is JSON, and a vector takes it");
    }
    out.push(b']');
}

/// The answer to a well-formed request: 200, or what did not run has the status of its first error where the client
/// takes `application/graphql-response+json`. A batch is 200 and a list, as each of its answers speaks for itself. An event
/// stream is of one answer, whole.
pub fn respond(format: Format, batch: bool, answers: &[Answer]) -> Response<Bytes> {
    let mut body = Vec::new();
    let mut status = StatusCode::OK;
    if batch {
        body.push(b'[');
        for (index, answer) in answers.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            answer.write(&mut body);
        }
        body.push(b']');
    } else if let Some(answer) = answers.first() {
        match format {
            Format::EventStream => {
                event_stream::next(&mut body, None, |out| answer.write(out));
                event_stream::complete(&mut body);
            }
            Format::Json | Format::GraphqlResponse => answer.write(&mut body),
        }
        if format == Format::GraphqlResponse {
            status = answer.status();
        }
    }
    let mut response = answer_with(status, format, body);
    for (name, value) in answers.iter().filter_map(Answer::headers).flatten() {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// The answer to a request that is refused as a whole, whatever the format: with the status of `error`. For what is not
/// well-formed, and for 401, 403, 405, 413, 415 and 429 before anything ran.
pub fn refuse(format: Format, error: &Error) -> Response<Bytes> {
    let mut body = Vec::new();
    Answer::refused(error.clone()).write(&mut body);
    let format = match format {
        Format::EventStream => Format::Json,
        format => format,
    };
    let mut response = answer_with(status(error), format, body);
    let mut insert = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    };
    if let Some(allow) = error.details().get("allow").and_then(serde_json::Value::as_str) {
        insert(ALLOW, allow.to_owned());
    }
    if let Some(seconds) = error.retry_after() {
        insert(RETRY_AFTER, seconds.to_string());
    }
    if error.status() == StatusCode::UNAUTHORIZED {
        // RFC 9110, 15.5.2: what would help must be said.
        insert(WWW_AUTHENTICATE, "Bearer".to_owned());
    }
    response
}

/// The head of an event stream, for a body that goes on.
pub fn stream() -> Response<()> {
    answer_with(StatusCode::OK, Format::EventStream, Vec::new()).map(|_| ())
}

fn answer_with(status: StatusCode, format: Format, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, format.content_type());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if format == Format::EventStream {
        // A proxy that collects answers would keep events back.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    response
}

fn status(error: &Error) -> StatusCode {
    StatusCode::from_u16(error.status()).expect("the table of errors has HTTP statuses")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::Kind;

    fn body(response: &Response<Bytes>) -> Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn a_refused_operation_has_no_data_and_its_status_where_the_format_has_statuses() {
        let answers = [Answer::refused(Error::new(Kind::Unauthenticated, "log in first"))];
        let json_answer = respond(Format::Json, false, &answers);
        assert_eq!(json_answer.status(), 200);
        assert_eq!(json_answer.headers()[CONTENT_TYPE], "application/json; charset=utf-8");
        let answer = respond(Format::GraphqlResponse, false, &answers);
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(
            body(&answer),
            json!({"errors": [{
                "message": "log in first",
                "extensions": {"code": "UNAUTHENTICATED", "status": 401, "details": {}},
            }]})
        );
        assert_eq!(body(&answer), body(&json_answer));
    }

    #[test]
    fn a_batch_is_a_list_and_200() {
        let refused = || Answer::refused(Error::new(Kind::Forbidden, "no"));
        let answer = respond(Format::GraphqlResponse, true, &[refused(), refused()]);
        assert_eq!(
            (answer.status().as_u16(), body(&answer).as_array().unwrap().len()),
            (200, 2)
        );
        assert_eq!(
            body(&respond(Format::Json, true, &[refused()]))
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn a_refusal_as_a_whole_keeps_its_status_and_headers() {
        let limited = refuse(Format::Json, &Error::rate_limited(7));
        assert_eq!(
            (limited.status().as_u16(), &limited.headers()[RETRY_AFTER]),
            (429, &HeaderValue::from(7))
        );
        let method = Error::new(Kind::MethodNotAllowed, "no").with("allow", "POST");
        let refused = refuse(Format::GraphqlResponse, &method);
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()[ALLOW]),
            (405, &HeaderValue::from_static("POST"))
        );
    }
}
