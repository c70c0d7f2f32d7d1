//! Operations out of an HTTP request.

use async_graphql::parser::types::OperationType;
use bytes::Bytes;
use http::{HeaderMap, Method, header::CONTENT_TYPE};
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::error::{Error, Kind};

/// One operation as a client sends it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphqlRequest {
    pub query: String,
    pub operation_name: Option<String>,
    pub variables: Option<Map<String, Value>>,
    pub extensions: Option<Map<String, Value>>,
    /// The files of a multipart request: each with the pointer, within the variables, of the null that it stands for.
    pub files: Vec<(String, Bytes)>,
}

impl GraphqlRequest {
    /// An operation as JSON, which is at `pointer`. Members beside the four of the draft are not looked at.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST` with `details.path`: a member is missing or of the wrong type.
    pub fn from_members(mut members: Map<String, Value>, pointer: &str) -> Result<Self, Error> {
        Ok(Self {
            query: text(members.remove("query"), pointer, "query")?.ok_or_else(|| no_query(pointer))?,
            operation_name: text(members.remove("operationName"), pointer, "operationName")?,
            variables: object(members.remove("variables"), pointer, "variables")?,
            extensions: object(members.remove("extensions"), pointer, "extensions")?,
            files: Vec::new(),
        })
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// At least one; more only in a batch.
    pub requests: Vec<GraphqlRequest>,
    /// Whether the client sent a list and gets one, of one request too.
    pub batch: bool,
}

/// Takes a request apart. `query` is the address's query string, `batch` how many operations a list may hold.
///
/// # Errors
///
/// - `BAD_REQUEST` with `details.path`: no JSON, or a member missing or of the wrong type, or an empty list
/// - `QUERY_TOO_COMPLEX`: a list longer than `batch`
/// - `UNSUPPORTED_MEDIA_TYPE`: a body that does not say that it is JSON in UTF-8
/// - `METHOD_NOT_ALLOWED`: neither GET nor POST
pub fn decode(
    method: &Method,
    headers: &HeaderMap,
    query: Option<&str>,
    body: &[u8],
    batch: usize,
) -> Result<Decoded, Error> {
    match *method {
        Method::GET | Method::HEAD => Ok(Decoded {
            requests: vec![from_query(query.unwrap_or_default())?],
            batch: false,
        }),
        Method::POST => {
            check_content_type(headers)?;
            from_body(body, batch)
        }
        _ => Err(not_allowed("GET, POST")),
    }
}

/// Checks that a GET changes nothing.
///
/// # Errors
///
/// `METHOD_NOT_ALLOWED`, with `details.allow` for the header `Allow`.
pub fn check_method(method: &Method, kind: OperationType) -> Result<(), Error> {
    if kind == OperationType::Mutation && *method != Method::POST {
        return Err(not_allowed("POST"));
    }
    Ok(())
}

fn not_allowed(methods: &'static str) -> Error {
    Error::new(Kind::MethodNotAllowed, format!("send this by {methods}")).with("allow", methods)
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Error> {
    let mut parts = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .split(';')
        .map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .all(|(_, charset)| {
            let charset = charset.trim().trim_matches('"');
            charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
        });
    if is_json && is_utf8 {
        Ok(())
    } else {
        Err(Error::new(
            Kind::UnsupportedMediaType,
            "the body must be application/json in utf-8, and its content-type must say so",
        ))
    }
}

/// As the body of a POST, of which the type is known.
pub(super) fn from_body(body: &[u8], batch: usize) -> Result<Decoded, Error> {
    let body: Value = serde_json::from_slice(body).map_err(|error| {
        // The place is enough; the parser's own words may quote the body.
        let message = format!(
            "the body is not JSON, at line {} column {}",
            error.line(),
            error.column()
        );
        Error::bad_request("", message)
    })?;
    match body {
        Value::Object(members) => Ok(Decoded {
            requests: vec![GraphqlRequest::from_members(members, "")?],
            batch: false,
        }),
        Value::Array(items) if items.is_empty() => Err(Error::bad_request("", "a batch has at least one operation")),
        Value::Array(items) if items.len() > batch => Err(Error::new(
            Kind::QueryTooComplex,
            format!("a batch has at most {batch} operations"),
        )),
        Value::Array(items) => {
            let requests = items.into_iter().enumerate().map(|(index, item)| {
                let pointer = format!("/{index}");
                match item {
                    Value::Object(members) => GraphqlRequest::from_members(members, &pointer),
                    _ => Err(Error::bad_request(pointer, "an operation is an object")),
                }
            });
            Ok(Decoded {
                requests: requests.collect::<Result<_, _>>()?,
                batch: true,
            })
        }
        _ => Err(Error::bad_request("", "the body is an object or a list of objects")),
    }
}

fn from_query(query: &str) -> Result<GraphqlRequest, Error> {
    let mut request = GraphqlRequest::default();
    let mut document = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "query" => document = Some(value.into_owned()),
            // A form sends empty what is not filled in.
            "operationName" => request.operation_name = Some(value.into_owned()).filter(|name| !name.is_empty()),
            "variables" => request.variables = json(&value, "variables")?,
            "extensions" => request.extensions = json(&value, "extensions")?,
            _ => {}
        }
    }
    request.query = document.ok_or_else(|| no_query(""))?;
    Ok(request)
}

fn json(value: &str, name: &str) -> Result<Option<Map<String, Value>>, Error> {
    if value.is_empty() {
        return Ok(None);
    }
    let value = serde_json::from_str(value)
        .map_err(|_| Error::bad_request(format!("/{name}"), format!("{name} is not JSON")))?;
    object(Some(value), "", name)
}

fn text(value: Option<Value>, pointer: &str, name: &str) -> Result<Option<String>, Error> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(pointer, name, "a string")),
    }
}

fn object(value: Option<Value>, pointer: &str, name: &str) -> Result<Option<Map<String, Value>>, Error> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(members)) => Ok(Some(members)),
        Some(_) => Err(wrong_type(pointer, name, "an object")),
    }
}

fn wrong_type(pointer: &str, name: &str, expected: &str) -> Error {
    Error::bad_request(format!("{pointer}/{name}"), format!("{name} must be {expected}"))
}

fn no_query(pointer: &str) -> Error {
    Error::bad_request(format!("{pointer}/query"), "query is missing")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn post(body: &str) -> Result<Decoded, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        decode(&Method::POST, &headers, None, body.as_bytes(), 10)
    }

    fn get(query: &str) -> Result<Decoded, Error> {
        decode(&Method::GET, &HeaderMap::new(), Some(query), b"", 10)
    }

    #[test]
    fn all_members_are_read_and_null_is_absent() {
        let body = json!({
            "query": "{a}", "operationName": "N", "variables": {"x": [1]}, "extensions": {"e": null}, "other": 1,
        });
        let decoded = post(&body.to_string()).unwrap();
        assert!(!decoded.batch);
        assert_eq!(
            decoded.requests,
            [GraphqlRequest {
                query: "{a}".into(),
                operation_name: Some("N".into()),
                variables: json!({"x": [1]}).as_object().cloned(),
                extensions: json!({"e": null}).as_object().cloned(),
                files: Vec::new(),
            }]
        );
        let nulls = json!({"query": "{a}", "operationName": null, "variables": null, "extensions": null});
        assert_eq!(post(&nulls.to_string()).unwrap().requests[0].variables, None);
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (body, path) in [
            ("", ""),
            ("{ \"not a JSON", ""),
            ("1", ""),
            ("[]", ""),
            ("{}", "/query"),
            (r#"{"query": null}"#, "/query"),
            (r#"{"query": {"obj": "ect"}}"#, "/query"),
            (r#"{"query": "{a}", "operationName": 0}"#, "/operationName"),
            (r#"{"query": "{a}", "variables": ["array"]}"#, "/variables"),
            (r#"{"query": "{a}", "extensions": "string"}"#, "/extensions"),
            (r#"[{"query": "{a}"}, 1]"#, "/1"),
            (r#"[{"query": "{a}"}, {"variables": {}}]"#, "/1/query"),
        ] {
            let error = post(body).unwrap_err();
            assert_eq!(
                (error.kind(), &error.details()["path"]),
                (Kind::BadRequest, &json!(path)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_batch_is_bounded() {
        let batch = |length: usize| json!(vec![json!({"query": "{a}"}); length]).to_string();
        assert!(post(&batch(1)).unwrap().batch);
        assert_eq!(post(&batch(10)).unwrap().requests.len(), 10);
        assert_eq!(post(&batch(11)).unwrap_err().kind(), Kind::QueryTooComplex);
    }

    #[test]
    fn the_body_says_that_it_is_json() {
        for (content_type, taken) in [
            ("application/json", true),
            ("Application/JSON; Charset=\"UTF-8\"", true),
            ("application/json;charset=utf-8;odd", true),
            ("application/json; charset=latin1", false),
            ("application/jsonp", false),
            ("text/plain", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            let decoded = decode(&Method::POST, &headers, None, br#"{"query":"{a}"}"#, 10);
            assert_eq!(decoded.is_ok(), taken, "{content_type}");
        }
        let none = decode(&Method::POST, &HeaderMap::new(), None, br#"{"query":"{a}"}"#, 10);
        assert_eq!(none.unwrap_err().kind(), Kind::UnsupportedMediaType);
    }

    #[test]
    fn get_reads_the_address() {
        let request = &get("query=%7Ba+b%7D&operationName=&variables=%7B%22x%22%3A1%7D&other=1")
            .unwrap()
            .requests[0];
        assert_eq!(request.query, "{a b}");
        assert_eq!(request.operation_name, None);
        assert_eq!(request.variables, json!({"x": 1}).as_object().cloned());
        for (query, path) in [
            ("", "/query"),
            ("variables=1", "/variables"),
            ("query=a&variables=%7B", "/variables"),
            ("query=a&extensions=[]", "/extensions"),
        ] {
            assert_eq!(get(query).unwrap_err().details()["path"], path, "{query}");
        }
    }

    #[test]
    fn methods_are_get_and_post_and_only_post_changes() {
        let error = decode(&Method::PUT, &HeaderMap::new(), None, b"", 10).unwrap_err();
        assert_eq!(
            (error.kind(), &error.details()["allow"]),
            (Kind::MethodNotAllowed, &json!("GET, POST"))
        );
        let error = check_method(&Method::GET, OperationType::Mutation).unwrap_err();
        assert_eq!(error.details()["allow"], "POST");
        assert!(check_method(&Method::POST, OperationType::Mutation).is_ok());
        assert!(check_method(&Method::GET, OperationType::Query).is_ok());
    }

    /// What the library's own extractor for axum makes of the same request.
    async fn extracted(method: Method, query: &str, body: &str) -> Vec<async_graphql::Request> {
        use async_graphql::BatchRequest;
        use async_graphql_axum::{GraphQLBatchRequest, rejection::GraphQLRejection};
        use axum::extract::FromRequest;

        let request = axum::http::Request::builder()
            .method(method)
            .uri(format!("/graphql?{query}"))
            .header(CONTENT_TYPE, "application/json")
            .body(axum::body::Body::from(body.to_owned()))
            .unwrap();
        let extracted = GraphQLBatchRequest::<GraphQLRejection>::from_request(request, &()).await;
        match extracted.unwrap_or_else(|_| panic!("{body}")).into_inner() {
            BatchRequest::Single(request) => vec![request],
            BatchRequest::Batch(requests) => requests,
        }
    }

    #[tokio::test]
    async fn well_formed_requests_are_read_as_the_library_reads_them() {
        let bodies = [
            r#"{"query": "{ a }"}"#,
            r#"{"query": "query Q($x: Int) { a(x: $x) }", "operationName": "Q", "variables": {"x": 1}}"#,
            r#"{"operationName": null, "variables": null, "extensions": {"k": [1]}, "query": "{ \u0061 }"}"#,
            r#"[{"query": "{ a }"}, {"query": "{ b }", "variables": {"y": {"z": [null, "é"]}}}]"#,
        ];
        let mut pairs = Vec::new();
        for body in bodies {
            pairs.push((post(body).unwrap(), extracted(Method::POST, "", body).await));
        }
        let query = "query=%7B+a+%7D&variables=%7B%22x%22%3A1%7D";
        pairs.push((get(query).unwrap(), extracted(Method::GET, query, "").await));
        for (decoded, extracted) in pairs {
            assert_eq!(decoded.requests.len(), extracted.len());
            for (ours, theirs) in decoded.requests.iter().zip(extracted) {
                assert_eq!(ours.query, theirs.query);
                assert_eq!(ours.operation_name, theirs.operation_name);
                let variables = json!(ours.variables.clone().unwrap_or_default());
                assert_eq!(variables, serde_json::to_value(theirs.variables).unwrap());
            }
        }
    }
}
