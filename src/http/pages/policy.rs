//! What browsers let a page do: load and ask its own server, and nothing else.

use axum::http::{HeaderName, HeaderValue, header};

use super::page::Page;

type Headers = Vec<(HeaderName, HeaderValue)>;

/// Of a page. `'self'` as the source of connections has WebSockets of the same origin in it (CSP 3, 6.7.2.8).
pub fn page(page: Page) -> Headers {
    let tools = match page {
        Page::Landing => "style-src 'self'; img-src 'self'",
        // The editor sets styles as it measures and colours, draws marks as images in its styles, and has workers.
        Page::Explorer => "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; worker-src 'self'",
        // So does the reference, without workers.
        Page::Reference => "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'",
        // Avatars, and answers read aloud.
        Page::Room => "style-src 'self'; img-src 'self'; media-src 'self'",
    };
    let policy = format!(
        "default-src 'none'; script-src 'self'; connect-src 'self'; {tools}; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).expect("policies are ASCII");
    let mut headers = vec![
        (header::CONTENT_SECURITY_POLICY, policy),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        ),
    ];
    headers.extend(common());
    headers
}

/// Of what pages load. A worker is held by the policy that comes with its script, and not by that of its page.
pub fn part() -> Headers {
    let policy = "default-src 'none'; script-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut headers = vec![(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy))];
    headers.extend(common());
    headers
}

fn common() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ]
}
