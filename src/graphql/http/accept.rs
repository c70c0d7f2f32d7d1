//! Which answer a client takes, by its `Accept` header (RFC 9110, section 12.5.1).

use http::{HeaderMap, HeaderValue, Method, header::ACCEPT};

/// How an answer is labelled, and by which rules it gets its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: 200 for every well-formed request.
    Json,
    /// `application/graphql-response+json`: what did not run has the status of its error.
    GraphqlResponse,
    /// `text/event-stream`: answers as they come, by graphql-sse. What refuses the request as a whole is JSON.
    EventStream,
}

impl Format {
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Json => "application/json; charset=utf-8",
            Format::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Format::EventStream => "text/event-stream",
        })
    }
}

/// The format that the client likes best: of equally liked ones that which it names, of two named ones the newer, else
/// `application/json`. That is also for clients that say nothing, or nothing that is spoken here: the draft leaves 406 or
/// this to the server.
pub fn negotiate(headers: &HeaderMap) -> Format {
    if wants_event_stream(headers) {
        return Format::EventStream;
    }
    let ranges = ranges(headers);
    let json = preference(&ranges, "application", "json");
    let response = preference(&ranges, "application", "graphql-response+json");
    let likes_response = response.quality > 0
        && (response.quality, response.precision) >= (json.quality, json.precision)
        && response.precision == Precision::Named;
    if likes_response || (json.quality == 0 && response.quality > 0) {
        Format::GraphqlResponse
    } else {
        Format::Json
    }
}

/// Whether a browser asks for a page: a GET without a query that names `text/html` and likes nothing of GraphQL better.
pub fn wants_explorer(method: &Method, headers: &HeaderMap, query: Option<&str>) -> bool {
    let asks = query
        .unwrap_or_default()
        .split('&')
        .any(|pair| pair.split('=').next() == Some("query"));
    matches!(*method, Method::GET | Method::HEAD) && !asks && prefers(headers, "text", "html")
}

/// Whether the client wants its answers as they come, by graphql-sse.
fn wants_event_stream(headers: &HeaderMap) -> bool {
    prefers(headers, "text", "event-stream")
}

fn prefers(headers: &HeaderMap, main: &str, sub: &str) -> bool {
    let ranges = ranges(headers);
    let wanted = preference(&ranges, main, sub);
    wanted.precision == Precision::Named
        && wanted.quality > 0
        && ["json", "graphql-response+json"]
            .iter()
            .all(|json| wanted.quality >= preference(&ranges, "application", json).quality)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    /// `*/*`, or no header at all.
    Anything,
    /// `application/*`.
    Main,
    Named,
}

/// `quality` is in thousandths.
#[derive(Clone, Copy, Debug)]
struct Preference {
    quality: u16,
    precision: Precision,
}

struct Range {
    main: String,
    sub: String,
    quality: u16,
}

/// What the most precise range says of a type.
fn preference(ranges: &[Range], main: &str, sub: &str) -> Preference {
    let unnamed = Preference {
        quality: if ranges.is_empty() { 1_000 } else { 0 },
        precision: Precision::Anything,
    };
    ranges
        .iter()
        .filter_map(|range| {
            let precision = match (range.main.as_str(), range.sub.as_str()) {
                ("*", "*") => Precision::Anything,
                (m, "*") if m == main => Precision::Main,
                (m, s) if m == main && s == sub => Precision::Named,
                _ => return None,
            };
            Some(Preference {
                quality: range.quality,
                precision,
            })
        })
        .max_by_key(|preference| (preference.precision, preference.quality))
        .unwrap_or(unnamed)
}

fn ranges(headers: &HeaderMap) -> Vec<Range> {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(range)
        .collect()
}

fn range(text: &str) -> Option<Range> {
    let mut parts = text.split(';').map(str::trim);
    let (main, sub) = parts.next()?.split_once('/')?;
    let quality = parts
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .map_or(Some(1_000), |(_, quality)| thousandths(quality.trim()))?;
    Some(Range {
        main: main.trim().to_ascii_lowercase(),
        sub: sub.trim().to_ascii_lowercase(),
        quality,
    })
}

/// Of a quality value: 0 to 1 with up to three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let quality: f32 = text.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and 1,000"
    )]
    Some((quality * 1_000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn the_client_gets_what_it_likes_best() {
        let response = "application/graphql-response+json";
        for (value, format) in [
            ("application/json".to_owned(), Format::Json),
            (response.to_owned(), Format::GraphqlResponse),
            (response.to_uppercase(), Format::GraphqlResponse),
            (format!("{response}; charset=utf-8"), Format::GraphqlResponse),
            (format!("{response}, application/json;q=0.9"), Format::GraphqlResponse),
            (format!("application/json, {response}"), Format::GraphqlResponse),
            (format!("{response};q=0.5, application/json"), Format::Json),
            (format!("{response};q=0.5, */*"), Format::Json),
            (format!("{response};q=0, */*"), Format::Json),
            (format!("{response}, */*"), Format::GraphqlResponse),
            (
                format!("application/json;q=0, {response};q=0.1"),
                Format::GraphqlResponse,
            ),
            (
                "application/json;q=0, application/*".to_owned(),
                Format::GraphqlResponse,
            ),
            ("*/*".to_owned(), Format::Json),
            ("application/*".to_owned(), Format::Json),
            ("text/html, */*;q=0.1".to_owned(), Format::Json),
            ("image/png".to_owned(), Format::Json),
            ("application/json;q=high, nonsense".to_owned(), Format::Json),
        ] {
            assert_eq!(negotiate(&accept(&value)), format, "{value}");
        }
        assert_eq!(negotiate(&HeaderMap::new()), Format::Json);
    }

    #[test]
    fn several_headers_are_one_list() {
        let mut headers = accept("application/json;q=0.1");
        headers.append(ACCEPT, HeaderValue::from_static("application/graphql-response+json"));
        assert_eq!(negotiate(&headers), Format::GraphqlResponse);
    }

    #[test]
    fn browsers_get_the_explorer() {
        let browser = accept("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8");
        assert!(wants_explorer(&Method::GET, &browser, None));
        assert!(wants_explorer(&Method::GET, &browser, Some("theme=dark")));
        assert!(!wants_explorer(&Method::GET, &browser, Some("query=%7Ba%7D")));
        assert!(!wants_explorer(&Method::POST, &browser, None));
        for other in ["*/*", "application/json", "text/html;q=0.5, application/json"] {
            assert!(!wants_explorer(&Method::GET, &accept(other), None), "{other}");
        }
        assert!(!wants_explorer(&Method::GET, &HeaderMap::new(), None));
    }

    #[test]
    fn streams_are_asked_for_by_name() {
        assert!(wants_event_stream(&accept("text/event-stream")));
        assert!(wants_event_stream(&accept("application/json, text/event-stream")));
        assert!(!wants_event_stream(&accept("*/*")));
        assert!(!wants_event_stream(&accept("text/event-stream;q=0")));
    }
}
