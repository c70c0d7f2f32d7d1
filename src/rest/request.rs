//! A request becomes the variables of its operation.

use async_graphql::{Variables, parser::types::BaseType};
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
    /// as sent. What the operation does not take is ignored, the whole body where it takes none of it.
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
        body: Option<&[u8]>,
        content_type: Option<&str>,
    ) -> Result<Variables> {
        let takes = |wanted: Source| self.variables.iter().any(|variable| variable.source == wanted);
        let query: Vec<(String, String)> = match query {
            Some(query) if takes(Source::Query) => form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            _ => Vec::new(),
        };
        let body = if takes(Source::Body) || takes(Source::Member) {
            json_object(body.unwrap_or_default(), content_type)?
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
