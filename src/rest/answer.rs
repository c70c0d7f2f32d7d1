//! What an operation returned becomes a REST answer.

use async_graphql::{Value, parser::types::OperationType};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

use super::{Operation, Segment};
use crate::{
    error::{Error, Result},
    graphql::{failure::Failure, shape::Absent},
};

/// How many a page has where neither the request nor the operation says it. Source: the connections of the schema.
const PAGE: &str = "50";

/// All that RFC 3986 does not leave alone in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A success, status 200.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// JSON.
    pub body: Vec<u8>,
    /// The values of `Link` headers (RFC 8288).
    pub links: Vec<String>,
}

/// What links to other pages are made of.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The public origin without a slash at its end.
    pub public_url: &'a str,
    /// The values of the path's parameters.
    pub path: &'a [String],
    /// The query string as it was sent.
    pub query: Option<&'a str>,
}

impl Operation {
    /// The answer to what the operation's document returned.
    ///
    /// # Errors
    ///
    /// The first error of `errors`, unless a mutation was done and only a nullable field of its answer failed;
    /// `NOT_FOUND` where there is nothing to unwrap.
    pub fn answer(&self, data: &Value, errors: &[Failure], asked: &Asked<'_>) -> Result<Answer> {
        let failed = errors.first().map(|failure| failure.error.clone());
        if let Some(error) = &failed
            && (self.kind == OperationType::Query || !self.is_done(data))
        {
            return Err(error.clone());
        }
        let mut body = Vec::with_capacity(256);
        match (self.shape.body(&self.constants, data, &mut body), failed) {
            (Ok(()), _) => Ok(Answer {
                body,
                links: self.links(data, asked),
            }),
            (Err(_), Some(error)) => Err(error),
            (Err(Absent::Unwrapped(type_name)), None) => Err(Error::not_found(&words(&type_name))),
            (Err(Absent::Root), None) => Err(Error::internal(format!(
                "{}: a field that is never null was, without an error",
                self.name
            ))),
        }
    }

    /// Whether the root field came back.
    fn is_done(&self, data: &Value) -> bool {
        match data {
            Value::Object(members) => members.get(&self.key).is_some_and(|value| *value != Value::Null),
            _ => false,
        }
    }

    fn links(&self, data: &Value, asked: &Asked<'_>) -> Vec<String> {
        let Some(pages) = self.shape.pages(data) else {
            return Vec::new();
        };
        let size = self.page_size(asked.query);
        let next = pages.end_cursor.filter(|_| pages.has_next_page);
        let previous = pages
            .start_cursor
            .filter(|_| pages.has_previous_page && self.variable("before").is_some());
        let link = |rel: &str, count: &str, from: &str, cursor: &str| {
            let url = self.url(asked, &[(count, &size), (from, cursor)]);
            format!("<{url}>; rel=\"{rel}\"")
        };
        let next = next.map(|cursor| link("next", "first", "after", &cursor));
        let previous = previous.map(|cursor| link("prev", "last", "before", &cursor));
        next.into_iter().chain(previous).collect()
    }

    /// How many a page has: as asked for, else the operation's default.
    fn page_size(&self, query: Option<&str>) -> String {
        let asked = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .find(|(name, _)| matches!(name.as_ref(), "first" | "last"))
            .map(|(_, value)| value.into_owned());
        let default = || {
            let default = self.variable("first")?.definition.node.default_value.as_ref()?;
            Some(default.node.to_string())
        };
        asked.or_else(default).unwrap_or_else(|| PAGE.to_owned())
    }

    /// The address of this request with another page.
    fn url(&self, asked: &Asked<'_>, page: &[(&str, &str)]) -> String {
        let mut url = format!("{}/v1", asked.public_url);
        let mut values = asked.path.iter();
        for segment in &self.path {
            url.push('/');
            match segment {
                Segment::Literal(literal) => url.push_str(literal),
                Segment::Parameter(_) => {
                    url.extend(utf8_percent_encode(values.next().map_or("", String::as_str), SEGMENT));
                }
            }
        }
        url.push('?');
        let start = url.len();
        let mut query = form_urlencoded::Serializer::for_suffix(url, start);
        for (name, value) in form_urlencoded::parse(asked.query.unwrap_or_default().as_bytes()) {
            if !matches!(name.as_ref(), "first" | "after" | "last" | "before") {
                query.append_pair(&name, &value);
            }
        }
        query.extend_pairs(page);
        query.finish()
    }
}

/// `AuditEntry` as `audit entry`.
fn words(type_name: &str) -> String {
    let mut words = String::with_capacity(type_name.len() + 2);
    for (index, c) in type_name.char_indices() {
        if index > 0 && c.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}
