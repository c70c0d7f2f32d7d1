//! Which operation answers a method and a path.

use std::collections::HashMap;

use http::Method;
use percent_encoding::percent_decode_str;

use super::{Operation, Rest, Segment};

/// The answer of [`Rest::route`].
#[derive(Debug)]
pub enum Route<'a> {
    /// The operation, and the values of its path's parameters in their order.
    Found(&'a Operation, Vec<String>),
    /// The path is known; these are its methods, for `Allow`.
    MethodNotAllowed(Vec<Method>),
    NotFound,
}

impl Rest {
    /// The operation for a path below `/v1`, percent-encoded and without the query string: `/profile/alice`.
    ///
    /// HEAD is answered as GET. A literal segment wins over a parameter. A trailing slash is another path, and an
    /// escape that is malformed or no UTF-8 is no path.
    pub fn route(&self, method: &Method, path: &str) -> Route<'_> {
        let Some(segments) = path
            .strip_prefix('/')
            .and_then(|path| path.split('/').map(decode).collect::<Option<Vec<String>>>())
        else {
            return Route::NotFound;
        };
        let mut values = Vec::new();
        let Some(place) = self.router.find(0, &segments, &mut values) else {
            return Route::NotFound;
        };
        let asked = if method == Method::HEAD { &Method::GET } else { method };
        match place.methods.iter().find(|(method, _)| method == asked) {
            Some((_, index)) => Route::Found(&self.operations()[*index], values),
            None => {
                let mut allowed: Vec<Method> = place.methods.iter().map(|(method, _)| method.clone()).collect();
                if allowed.contains(&Method::GET) {
                    allowed.push(Method::HEAD);
                }
                Route::MethodNotAllowed(allowed)
            }
        }
    }
}

/// The segment that was encoded; empty ones are none.
fn decode(segment: &str) -> Option<String> {
    let escapes_are_whole = segment.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes();
        let mut is_digit = || digits.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        is_digit() && is_digit()
    });
    if segment.is_empty() || !escapes_are_whole {
        return None;
    }
    percent_decode_str(segment)
        .decode_utf8()
        .ok()
        .map(|text| text.into_owned())
}

/// The paths of all operations as a tree of their segments.
#[derive(Debug)]
pub(super) struct Router {
    places: Vec<Place>,
}

#[derive(Debug, Default)]
struct Place {
    literals: HashMap<String, usize>,
    parameter: Option<usize>,
    /// The methods of the path that ends here, each with the index of its operation.
    methods: Vec<(Method, usize)>,
    /// The path that ends here.
    path: Vec<Segment>,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            places: vec![Place::default()],
        }
    }
}

/// Why an operation cannot have its route.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The operation of this index has it.
    Route(usize),
    /// The operation of this index names the parameters of the same path otherwise.
    Names(usize),
}

impl Router {
    pub(super) fn add(&mut self, operation: &Operation) -> Result<(), Taken> {
        let mut at = 0;
        for segment in &operation.path {
            let known = match segment {
                Segment::Literal(literal) => self.places[at].literals.get(literal).copied(),
                Segment::Parameter(_) => self.places[at].parameter,
            };
            at = match known {
                Some(next) => next,
                None => {
                    let next = self.places.len();
                    self.places.push(Place::default());
                    match segment {
                        Segment::Literal(literal) => {
                            self.places[at].literals.insert(literal.clone(), next);
                        }
                        Segment::Parameter(_) => self.places[at].parameter = Some(next),
                    }
                    next
                }
            };
        }
        let place = &mut self.places[at];
        if let Some((_, other)) = place.methods.iter().find(|(method, _)| *method == operation.method) {
            return Err(Taken::Route(*other));
        }
        match place.methods.first() {
            Some((_, other)) if place.path != operation.path => return Err(Taken::Names(*other)),
            Some(_) => {}
            None => place.path.clone_from(&operation.path),
        }
        place.methods.push((operation.method.clone(), operation.index));
        Ok(())
    }

    fn find(&self, at: usize, segments: &[String], values: &mut Vec<String>) -> Option<&Place> {
        let place = &self.places[at];
        let Some((segment, rest)) = segments.split_first() else {
            return (!place.methods.is_empty()).then_some(place);
        };
        if let Some(literal) = place.literals.get(segment)
            && let Some(found) = self.find(*literal, rest, values)
        {
            return Some(found);
        }
        values.push(segment.clone());
        let found = place.parameter.and_then(|parameter| self.find(parameter, rest, values));
        if found.is_none() {
            values.pop();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    fn route(method: Method, path: &str) -> String {
        let rest = fixtures::load(
            r#"
            query Get($id: ID!) @rest(method: GET, path: "/a/{id}") { node(id: $id) { id } }
            mutation Delete($id: ID!) @rest(method: DELETE, path: "/a/{id}") { deleteTrigger(id: $id) { trigger { id } } }
            query Literal @rest(method: GET, path: "/a/new") { viewer { email } }
            query Deep($id: ID!) @rest(method: GET, path: "/a/{id}/deep") { node(id: $id) { id } }
            mutation Deeper @rest(method: POST, path: "/a/new/deeper") { logout { success } }
            "#,
        )
        .unwrap();
        match rest.route(&method, path) {
            Route::Found(operation, values) => format!("{} {values:?}", operation.name),
            Route::MethodNotAllowed(methods) => format!("{methods:?}"),
            Route::NotFound => "not found".to_owned(),
        }
    }

    #[test]
    fn parameters_take_what_no_literal_takes() {
        assert_eq!(route(Method::GET, "/a/x"), r#"Get ["x"]"#);
        assert_eq!(route(Method::DELETE, "/a/x"), r#"Delete ["x"]"#);
        assert_eq!(route(Method::GET, "/a/new"), "Literal []");
        assert_eq!(route(Method::GET, "/a/new/deep"), r#"Deep ["new"]"#);
        assert_eq!(route(Method::POST, "/a/new/deeper"), "Deeper []");
        assert_eq!(route(Method::HEAD, "/a/x"), r#"Get ["x"]"#);
    }

    #[test]
    fn segments_are_decoded_after_they_are_told_apart() {
        assert_eq!(route(Method::GET, "/a/x%2Fy%20%C3%A4+"), r#"Get ["x/y ä+"]"#);
        assert_eq!(route(Method::GET, "/%61/n%65w"), "Literal []");
        for path in ["/a/%", "/a/%4", "/a/%zz", "/a/%ff", "/a/%C3"] {
            assert_eq!(route(Method::GET, path), "not found", "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in ["", "/", "/a", "/a/", "/a/x/", "//a/x", "/a//x", "/b", "/a/x/y", "a/x"] {
            assert_eq!(route(Method::GET, path), "not found", "{path}");
        }
    }

    #[test]
    fn other_methods_are_told() {
        assert_eq!(route(Method::PUT, "/a/x"), "[GET, DELETE, HEAD]");
        assert_eq!(route(Method::HEAD, "/a/new/deeper"), "[POST]");
        assert_eq!(route(Method::DELETE, "/a/new"), "[GET, HEAD]");
    }
}
