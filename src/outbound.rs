//! What the server asks of other servers over HTTP: how its clients are made.

use std::sync::Once;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// A client that follows no redirects; timeouts are for the caller to set.
pub fn client() -> reqwest::ClientBuilder {
    choose_tls();
    reqwest::Client::builder()
        .user_agent(concat!("bambisleep-chat/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
}

/// Chooses the cryptography of TLS for the whole process, once: whatever makes HTTPS clients needs it.
pub fn choose_tls() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| {
        // Fails only where somebody has chosen before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The seconds of a `Retry-After`, which may be a date; none for one that is past. Source: RFC 9110, 10.2.3.
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    text.parse().ok().or_else(|| {
        let date = DateTime::parse_from_rfc2822(text).ok()?;
        u64::try_from((date.to_utc() - now).num_seconds()).ok()
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn the_time_to_wait_is_in_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc2822("Wed, 21 Oct 2026 07:28:00 GMT")
            .unwrap()
            .to_utc();
        for (written, seconds) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("Wed, 21 Oct 2026 07:28:30 GMT", Some(30)),
            ("Wed, 21 Oct 2026 07:27:30 GMT", None),
            ("-7", None),
            ("soon", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(written).unwrap())]);
            assert_eq!(retry_after(&headers, now), seconds, "{written}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
