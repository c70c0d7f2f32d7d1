//! A request becomes the variables of its operation.

use async_graphql::{Variables, parser::types::BaseType};
use async_graphql_value::ConstValue;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Number, Value as Json};
use url::form_urlencoded;

use super::{Operation, Source, Variable};
use crate::{
    error::{Error, Kind, Result},
    graphql::{
        coerce::{self, Place, Spelling},
        types::{Types, base_name},
    },
};

impl Operation {
    /// The variables that a request gives: `path` are the values of the path's parameters, `query` is the query string
    /// as sent. What the operation does not take is ignored, the whole body where it takes none of it. Where it takes a
    /// file ([`Operation::file`]), `body` is that file.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST`, whose `details.path` points into the body (`/settings/model`) or names the parameter
    /// (`/first`), and `UNSUPPORTED_MEDIA_TYPE` for a body that does not say that it is JSON.
    pub fn variables(
        &self,
        types: &Types,
        path: &[String],
        query: Option<&str>,
        body: Option<&Bytes>,
        content_type: Option<&str>,
    ) -> Result<Variables> {
        let takes = |wanted: Source| self.variables.iter().any(|variable| variable.source == wanted);
        let query: Vec<(String, String)> = match query {
            Some(query) if takes(Source::Query) => {
                // The parser would put other characters in the place of what is no UTF-8.
                if percent_decode_str(query).decode_utf8().is_err() {
                    return Err(Error::bad_request("", "the query string is not UTF-8"));
                }
                form_urlencoded::parse(query.as_bytes()).into_owned().collect()
            }
            _ => Vec::new(),
        };
        let file = body;
        let body = if takes(Source::Body) || takes(Source::Member) {
            json_object(body.map(Bytes::as_ref).unwrap_or_default(), content_type)?
        } else {
            None
        };
        let mut variables = Variables::default();
        for variable in &self.variables {
            let name = variable.name();
            let member = Place::Member(&Place::Root, name);
            let (given, place) = match variable.source {
                Source::Path(nth) => {
                    let text = path.get(nth).map(String::as_str);
                    (text.map(|text| parameter(variable, text, &member)).transpose()?, member)
                }
                Source::Query => (query_parameter(variable, &query, &member)?, member),
                Source::Member => {
                    let members = body.as_ref().and_then(Json::as_object);
                    (members.and_then(|members| members.get(name.as_str())).cloned(), member)
                }
                Source::Body => (body.clone(), Place::Root),
                Source::File => {
                    let file = file.ok_or_else(|| member.refuse("is required"))?;
                    variables.insert(name.clone(), ConstValue::Binary(file.clone()));
                    continue;
                }
            };
            if given.is_none() && variable.source == Source::Body && variable.is_required() {
                return Err(Error::bad_request("", "a JSON body is required"));
            }
            let value = coerce::variable(types, &variable.definition.node, given.as_ref(), &place, Spelling::Wire)?;
            if let Some(value) = value {
                variables.insert(name.clone(), value);
            }
        }
        Ok(variables)
    }
}

impl Variable {
    /// Whether a request must give it.
    pub fn is_required(&self) -> bool {
        !self.definition.node.var_type.node.nullable && self.definition.node.default_value.is_none()
    }
}

/// The body, which is an object; `None` where there is none.
fn json_object(body: &[u8], content_type: Option<&str>) -> Result<Option<Json>> {
    if body.is_empty() {
        return Ok(None);
    }
    if !content_type.is_some_and(is_json) {
        return Err(Error::new(
            Kind::UnsupportedMediaType,
            "the body must say that it is application/json",
        ));
    }
    match serde_json::from_slice(body) {
        Ok(object @ Json::Object(_)) => Ok(Some(object)),
        Ok(_) => Err(Error::bad_request("", "the body must be an object")),
        Err(error) => Err(Error::bad_request(
            "",
            format!(
                "the body is not JSON (line {}, column {})",
                error.line(),
                error.column()
            ),
        )),
    }
}

/// `application/json` or a type that ends in `+json`, whatever its parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || (essence.contains('/') && essence.ends_with("+json"))
}

fn query_parameter(variable: &Variable, query: &[(String, String)], place: &Place<'_>) -> Result<Option<Json>> {
    let mut values = query
        .iter()
        .filter(|(name, _)| *name == variable.name().as_str())
        .map(|(_, text)| text.as_str())
        .peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    if let BaseType::List(_) = variable.definition.node.var_type.node.base {
        return values
            .map(|text| parameter(variable, text, place))
            .collect::<Result<_>>()
            .map(|values| Some(Json::Array(values)));
    }
    match (values.next(), values.next()) {
        (Some(text), None) => parameter(variable, text, place).map(Some),
        _ => Err(place.refuse("must not be given twice")),
    }
}

/// A value of a path or query string, which is text, as JSON of the variable's type.
fn parameter(variable: &Variable, text: &str, place: &Place<'_>) -> Result<Json> {
    match base_name(&variable.definition.node.var_type.node).as_str() {
        // Rust's own parser takes a plus sign; a number in a query string has none.
        "Int" if !text.starts_with('+') => text
            .parse::<i64>()
            .map(Json::from)
            .map_err(|_| place.refuse("must be a whole number")),
        "Int" => Err(place.refuse("must be a whole number")),
        "Float" => text
            .parse::<f64>()
            .ok()
            .and_then(Number::from_f64)
            .map(Json::Number)
            .ok_or_else(|| place.refuse("must be a number")),
        "Boolean" => match text {
            "true" => Ok(Json::Bool(true)),
            "false" => Ok(Json::Bool(false)),
            _ => Err(place.refuse("must be true or false")),
        },
        _ => Ok(Json::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::fixtures, *};

    const SOURCE: &str = r#"
        mutation Put($username: String!, $input: UpdateProfileInput! @body) @rest(method: PUT, path: "/put/{username}") {
          updateProfile(username: $username, input: $input) @unwrap { profile @unwrap { id } }
        }
        mutation Generate($input: GenerateInput! @body) @rest(method: POST, path: "/generate") {
          generate(input: $input) @unwrap { response }
        }
        mutation Activate($id: ID!, $revision: Int) @rest(method: POST, path: "/activate/{id}") {
          activateTrigger(id: $id, revision: $revision) @unwrap { profile @unwrap { id } }
        }
        mutation Logout @rest(method: POST, path: "/logout") { logout @unwrap { success } }
        mutation Hook($input: CreateWebhookInput! @body) @rest(method: POST, path: "/hook") {
          createWebhook(input: $input) @unwrap { secret }
        }
        query Events($kinds: [EventKind!], $first: Int! = 50, $after: String) @rest(method: GET, path: "/events") {
          events(kinds: $kinds, first: $first, after: $after) @unwrap { nodes { id } }
        }
        query Reports($open: Boolean! = true) @rest(method: GET, path: "/reports") {
          reports(open: $open) @unwrap { nodes { id } }
        }
        query Profiles($orderBy: ProfileOrder! = USERNAME) @rest(method: GET, path: "/profiles") {
          profiles(orderBy: $orderBy) @unwrap { nodes { id } }
        }
        mutation Delete($id: ID!) @rest(method: DELETE, path: "/delete") {
          deleteTrigger(id: $id) @unwrap { trigger @unwrap { id } }
        }
    "#;

    struct Sent<'a> {
        path: &'a [&'a str],
        query: Option<&'a str>,
        body: Option<&'a str>,
        content_type: Option<&'a str>,
    }

    const NOTHING: Sent<'static> = Sent {
        path: &[],
        query: None,
        body: None,
        content_type: Some("application/json"),
    };

    /// The variables as JSON, or the code, path and message of the error.
    fn variables(name: &str, sent: Sent<'_>) -> Result<Json, (&'static str, Option<String>, String)> {
        let rest = fixtures::load(SOURCE).unwrap();
        let path: Vec<String> = sent.path.iter().map(ToString::to_string).collect();
        rest.operation(name)
            .unwrap()
            .variables(
                fixtures::types(),
                &path,
                sent.query,
                sent.body.map(|body| Bytes::copy_from_slice(body.as_bytes())).as_ref(),
                sent.content_type,
            )
            .map(|variables| variables.into_value().into_json().unwrap())
            .map_err(|error| {
                let path = error
                    .details()
                    .get("path")
                    .map(|path| path.as_str().unwrap().to_owned());
                (error.code(), path, error.message().to_owned())
            })
    }

    fn query(name: &str, query: &str) -> Result<Json, (&'static str, Option<String>, String)> {
        variables(
            name,
            Sent {
                query: Some(query),
                ..NOTHING
            },
        )
    }

    fn body(name: &str, body: &str) -> Result<Json, (&'static str, Option<String>, String)> {
        variables(
            name,
            Sent {
                body: Some(body),
                ..NOTHING
            },
        )
    }

    fn bad_request<T>(path: &str, message: &str) -> Result<T, (&'static str, Option<String>, String)> {
        Err(("BAD_REQUEST", Some(path.to_owned()), message.to_owned()))
    }

    #[test]
    fn a_body_is_the_whole_variable_and_what_it_does_not_know_is_ignored() {
        assert_eq!(
            variables(
                "Put",
                Sent {
                    path: &["alice"],
                    body: Some(r#"{"displayName": "A", "id": 7, "avatarUrl": null}"#),
                    ..NOTHING
                }
            ),
            Ok(json!({"username": "alice", "input": {"displayName": "A", "avatarUrl": null}}))
        );
        assert_eq!(
            body(
                "Hook",
                r#"{"url": "https://a.example", "events": ["message.new", "PROFILE_UPDATE"]}"#
            ),
            Ok(json!({"input": {"url": "https://a.example", "events": ["MESSAGE_NEW", "PROFILE_UPDATE"]}}))
        );
    }

    #[test]
    fn an_error_points_into_the_body() {
        assert_eq!(
            body("Generate", r#"{"prompt": "p", "settings": {"model": 1}}"#),
            bad_request("/settings/model", "/settings/model must be a string, not a number")
        );
        assert_eq!(body("Generate", "{}"), bad_request("/prompt", "/prompt is required"));
        assert_eq!(body("Generate", "[]"), bad_request("", "the body must be an object"));
        assert_eq!(body("Generate", "null"), bad_request("", "the body must be an object"));
        assert_eq!(
            body("Generate", "{"),
            bad_request("", "the body is not JSON (line 1, column 1)")
        );
        assert_eq!(
            variables("Generate", NOTHING),
            bad_request("", "a JSON body is required")
        );
        assert_eq!(body("Generate", ""), bad_request("", "a JSON body is required"));
    }

    #[test]
    fn a_body_says_that_it_is_json() {
        let sent = |content_type| Sent {
            body: Some(r#"{"prompt": "p"}"#),
            content_type,
            ..NOTHING
        };
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/merge-patch+json",
        ] {
            assert!(variables("Generate", sent(Some(json))).is_ok(), "{json}");
        }
        for other in [
            None,
            Some("text/plain"),
            Some("application/jsonp"),
            Some("x+json"),
            Some(""),
        ] {
            assert_eq!(
                variables("Generate", sent(other)).unwrap_err().0,
                "UNSUPPORTED_MEDIA_TYPE"
            );
        }
    }

    #[test]
    fn members_of_a_body_may_be_optional_and_so_is_the_body() {
        let sent = |body, content_type| Sent {
            path: &["t"],
            body,
            content_type,
            ..NOTHING
        };
        assert_eq!(variables("Activate", sent(None, None)), Ok(json!({"id": "t"})));
        assert_eq!(
            variables("Activate", sent(Some(""), Some("text/plain"))),
            Ok(json!({"id": "t"}))
        );
        let json = Some("application/json");
        assert_eq!(
            variables("Activate", sent(Some(r#"{"revision": 3, "id": "other"}"#), json)),
            Ok(json!({"id": "t", "revision": 3}))
        );
        assert_eq!(
            variables("Activate", sent(Some(r#"{"revision": "3"}"#), json)),
            bad_request("/revision", "/revision must be a whole number, not a string")
        );
        // An operation that takes none of the body does not look at it.
        assert_eq!(variables("Logout", sent(Some("{"), None)), Ok(json!({})));
    }

    #[test]
    fn the_query_string_is_read_by_type() {
        assert_eq!(
            query(
                "Events",
                "kinds=message.new&first=7&kinds=TRIGGER_SHARED&after=a%20b+c&unknown=1"
            ),
            Ok(json!({"kinds": ["MESSAGE_NEW", "TRIGGER_SHARED"], "first": 7, "after": "a b c"}))
        );
        assert_eq!(query("Events", ""), Ok(json!({"first": 50})));
        assert_eq!(query("Reports", "open=false"), Ok(json!({"open": false})));
        assert_eq!(query("Profiles", "orderBy=XP"), Ok(json!({"orderBy": "XP"})));
        assert_eq!(query("Delete", "id=7"), Ok(json!({"id": "7"})));
    }

    #[test]
    fn an_error_names_the_parameter() {
        for wrong in ["first=x", "first=", "first=1.0", "first=%2B1"] {
            assert_eq!(
                query("Events", wrong),
                bad_request("/first", "/first must be a whole number"),
                "{wrong}"
            );
        }
        assert_eq!(
            query("Events", "first=3000000000"),
            bad_request("/first", "/first must fit into 32 bits")
        );
        assert_eq!(
            query("Events", "first=1&first=2"),
            bad_request("/first", "/first must not be given twice")
        );
        assert_eq!(
            query("Reports", "open=1"),
            bad_request("/open", "/open must be true or false")
        );
        assert_eq!(
            query("Profiles", "orderBy=AGE"),
            bad_request("/orderBy", "/orderBy is not one of USERNAME, XP")
        );
        assert_eq!(
            query("Events", "kinds=message.new&kinds=x").unwrap_err().1.unwrap(),
            "/kinds/1"
        );
        assert_eq!(query("Delete", "").unwrap_err().1.unwrap(), "/id");
        assert_eq!(
            query("Events", "after=%ff"),
            bad_request("", "the query string is not UTF-8")
        );
    }
}
