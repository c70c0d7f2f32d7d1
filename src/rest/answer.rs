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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::fixtures, *};
    use crate::error::Kind;

    fn failure(kind: Kind) -> Failure {
        Error::new(kind, "failed").into()
    }

    const NOWHERE: Asked<'static> = Asked {
        public_url: "https://chat.example",
        path: &[],
        query: None,
    };

    fn answer(name: &str, data: serde_json::Value, errors: &[Failure], asked: Asked<'_>) -> Result<Answer, String> {
        let rest = fixtures::load(fixtures::V1).unwrap();
        let data = Value::from_json(data).unwrap();
        let answer = rest.operation(name).unwrap().answer(&data, errors, &asked);
        answer.map_err(|error| format!("{} {}", error.code(), error.message()))
    }

    fn body(answer: Result<Answer, String>) -> String {
        String::from_utf8(answer.unwrap().body).unwrap()
    }

    #[test]
    fn constants_come_before_the_data() {
        let data = json!({"login": {"user": {"username": "alice", "id": "user_1"}}});
        assert_eq!(
            body(answer("Login", data, &[], NOWHERE)),
            r#"{"success":true,"message":"Authentication successful","user":{"id":"user_1","username":"alice"}}"#
        );
    }

    #[test]
    fn any_error_of_a_query_is_the_answer() {
        let data = json!({"viewer": {"session": {"id": "s", "createdAt": "t", "messages": []}}});
        assert!(answer("GetSession", data.clone(), &[], NOWHERE).is_ok());
        let errors = [failure(Kind::Forbidden), failure(Kind::Conflict)];
        assert_eq!(
            answer("GetSession", data, &errors, NOWHERE),
            Err("FORBIDDEN failed".to_owned())
        );
    }

    #[test]
    fn nothing_to_unwrap_is_not_found() {
        let data = json!({"viewer": {"session": null}});
        assert_eq!(
            answer("GetSession", data, &[], NOWHERE),
            Err("NOT_FOUND no such session".to_owned())
        );
        let data = json!({"profile": null});
        let errors = [failure(Kind::ProfilePrivate)];
        assert_eq!(
            answer("GetProfile", data, &errors, NOWHERE),
            Err("PROFILE_PRIVATE failed".to_owned())
        );
        assert_eq!(
            answer("GetProfile", json!(null), &[], NOWHERE).unwrap_err(),
            "INTERNAL internal server error"
        );
    }

    #[test]
    fn a_mutation_that_is_done_stays_a_success() {
        let data = json!({"generate": {"response": "r", "triggers": [{"name": "t"}], "sessionId": "s"}});
        let errors = [failure(Kind::UpstreamFailed)];
        assert_eq!(
            body(answer("Generate", data, &errors, NOWHERE)),
            r#"{"response":"r","audioUrl":null,"triggers":["t"],"sessionId":"s"}"#
        );
        for data in [
            json!({"generate": null}),
            json!({}),
            json!({"generate": {"audioUrl": null}}),
            json!(null),
        ] {
            assert_eq!(
                answer("Generate", data, &errors, NOWHERE),
                Err("UPSTREAM_FAILED failed".to_owned())
            );
        }
    }

    fn links(name: &str, page: serde_json::Value, query: Option<&str>) -> Vec<String> {
        let data = match name {
            "ListTriggers" => json!({"triggers": {"triggers": [], "pageInfo": page}}),
            _ => json!({"room": {"messages": {"messages": [], "pageInfo": page}}}),
        };
        answer(name, data, &[], Asked { query, ..NOWHERE }).unwrap().links
    }

    #[test]
    fn pages_link_to_their_neighbours() {
        let page = json!({"hasNextPage": true, "hasPreviousPage": true, "startCursor": "a&b", "endCursor": "z"});
        assert_eq!(
            links("ListTriggers", page.clone(), None),
            [r#"<https://chat.example/v1/triggers?first=50&after=z>; rel="next""#]
        );
        assert_eq!(
            links("ListTriggers", page.clone(), Some("q=x+y%3E&after=m&first=3&q=2")),
            [r#"<https://chat.example/v1/triggers?q=x+y%3E&q=2&first=3&after=z>; rel="next""#]
        );
        assert_eq!(
            links("ListMessages", page.clone(), Some("room=lobby&last=5&before=q")),
            [
                r#"<https://chat.example/v1/chat/messages?room=lobby&first=5&after=z>; rel="next""#,
                r#"<https://chat.example/v1/chat/messages?room=lobby&last=5&before=a%26b>; rel="prev""#,
            ]
        );
        assert_eq!(
            links("ListMessages", page, None)[0],
            r#"<https://chat.example/v1/chat/messages?first=50&after=z>; rel="next""#
        );
        let page = json!({"hasNextPage": false, "hasPreviousPage": false, "startCursor": "a", "endCursor": "z"});
        assert_eq!(links("ListMessages", page, None), Vec::<String>::new());
        let page = json!({"hasNextPage": true, "hasPreviousPage": true, "startCursor": null, "endCursor": null});
        assert_eq!(links("ListMessages", page, None), Vec::<String>::new());
    }

    #[test]
    fn links_keep_the_parameters_of_the_path() {
        let rest = fixtures::load(
            r#"query Q($room: String!, $first: Int, $after: String) @rest(method: GET, path: "/rooms/{room}/log") {
                 room(name: $room) @unwrap {
                   messages(first: $first, after: $after) @unwrap { pageInfo @pages { hasNextPage endCursor } nodes { id } }
                 }
               }"#,
        )
        .unwrap();
        let data = json!({"room": {"messages": {"nodes": [], "pageInfo": {"hasNextPage": true, "endCursor": "z"}}}});
        let asked = Asked {
            path: &["a b/ä".to_owned()],
            ..NOWHERE
        };
        let answer = rest.operations()[0].answer(&Value::from_json(data).unwrap(), &[], &asked);
        assert_eq!(
            answer.unwrap().links,
            [r#"<https://chat.example/v1/rooms/a%20b%2F%C3%A4/log?first=50&after=z>; rel="next""#]
        );
    }

    #[test]
    fn types_are_named_in_words() {
        assert_eq!(words("AuditEntry"), "audit entry");
    }
}
