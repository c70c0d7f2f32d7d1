//! Which encoding of a file a client gets: `Accept-Encoding` (RFC 9110, 12.5.3).

use axum::http::{HeaderMap, header};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Brotli,
    Gzip,
    /// As it is.
    Identity,
}

impl Encoding {
    /// The smallest first.
    const ALL: [Encoding; 3] = [Encoding::Brotli, Encoding::Gzip, Encoding::Identity];

    /// As HTTP names it.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Brotli => "br",
            Encoding::Gzip => "gzip",
            Encoding::Identity => "identity",
        }
    }

    /// What the name of a file in this encoding ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Encoding::Brotli => ".br",
            Encoding::Gzip => ".gz",
            Encoding::Identity => "",
        }
    }
}

/// The encodings that the client takes, the best first: what it likes more, and of what it likes the same the smaller
/// one. The file as it is comes last at least, for a client that takes nothing that there is.
pub fn preferred(headers: &HeaderMap) -> Vec<Encoding> {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let codings: Vec<(&str, u16)> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(coding)
        .collect();
    let quality = |name: &str| {
        let named = |wanted: &str| codings.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        named(name).or_else(|| named("*")).map(|(_, quality)| *quality)
    };
    let mut found: Vec<(Encoding, u16)> = Encoding::ALL
        .into_iter()
        .filter_map(|encoding| match quality(encoding.name()) {
            Some(quality) if quality > 0 => Some((encoding, quality)),
            _ if encoding == Encoding::Identity => Some((encoding, 0)),
            _ => None,
        })
        .collect();
    // Keeps the order of those that are liked the same.
    found.sort_by_key(|(_, quality)| std::cmp::Reverse(*quality));
    found.into_iter().map(|(encoding, _)| encoding).collect()
}

/// A coding with its quality in thousandths. What is none is left out.
fn coding(text: &str) -> Option<(&str, u16)> {
    let (name, parameter) = match text.split_once(';') {
        Some((name, parameter)) => (name.trim(), Some(parameter.trim())),
        None => (text.trim(), None),
    };
    let quality = match parameter {
        Some(parameter) => {
            let (q, value) = parameter.split_once('=')?;
            let value: f32 = value.trim().parse().ok()?;
            let is_quality = q.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&value);
            is_quality.then_some((value * 1_000.0).round() as u16)?
        }
        None => 1_000,
    };
    (!name.is_empty()).then_some((name, quality))
}

#[cfg(test)]
mod tests {
    use super::{Encoding::*, *};

    fn of(values: &[&str]) -> Vec<Encoding> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT_ENCODING, value.parse().unwrap());
        }
        preferred(&headers)
    }

    #[test]
    fn what_is_liked_more_comes_first_and_then_what_is_smaller() {
        assert_eq!(of(&["gzip, deflate, br, zstd"]), [Brotli, Gzip, Identity]);
        assert_eq!(of(&["gzip, deflate"]), [Gzip, Identity]);
        assert_eq!(of(&["GZIP", "BR"]), [Brotli, Gzip, Identity]);
        assert_eq!(of(&["br;q=0.5, gzip;q=0.8"]), [Gzip, Brotli, Identity]);
        assert_eq!(of(&["gzip;q=0.5, identity"]), [Identity, Gzip]);
        assert_eq!(of(&["br ; Q = 0.001"]), [Brotli, Identity]);
    }

    #[test]
    fn what_is_refused_is_not_sent() {
        assert_eq!(of(&["br;q=0, gzip"]), [Gzip, Identity]);
        assert_eq!(of(&["br;q=0.000, gzip;q=0"]), [Identity]);
        assert_eq!(of(&["*;q=0"]), [Identity]);
        assert_eq!(of(&["gzip, *;q=0"]), [Gzip, Identity]);
    }

    #[test]
    fn a_star_is_whatever_is_not_named() {
        assert_eq!(of(&["*"]), [Brotli, Gzip, Identity]);
        assert_eq!(of(&["*, br;q=0"]), [Gzip, Identity]);
        assert_eq!(of(&["gzip;q=1, *;q=0.5"]), [Gzip, Brotli, Identity]);
    }

    #[test]
    fn who_says_nothing_gets_it_as_it_is() {
        assert_eq!(of(&[]), [Identity]);
        assert_eq!(of(&[""]), [Identity]);
        assert_eq!(of(&["br;q=2, gzip;level=1, ;q=1, deflate"]), [Identity]);
    }
}
