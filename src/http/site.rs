//! Where a request comes from: its network address, its cookie, and the site that a browser sent it for.

use std::net::IpAddr;

use http::{HeaderMap, header};
use ipnet::IpNet;

use crate::{
    config::WebOrigin,
    error::{Error, Kind, Result},
};

/// The sites that a browser may send requests for.
#[derive(Clone, Debug)]
pub struct Sites {
    public: WebOrigin,
    allowed: Vec<WebOrigin>,
}

impl Sites {
    pub fn new(public: WebOrigin, allowed: Vec<WebOrigin>) -> Self {
        Self { public, allowed }
    }

    /// The public origin: what URLs that the server makes start with.
    pub fn public(&self) -> &str {
        self.public.as_str()
    }

    /// The other origins that may call.
    pub fn allowed(&self) -> impl Iterator<Item = &str> {
        self.allowed.iter().map(WebOrigin::as_str)
    }

    pub fn is_https(&self) -> bool {
        self.public.is_https()
    }

    /// # Errors
    ///
    /// `CROSS_SITE` for an `Origin` that is not the request's own host, the public origin or an allowed one; without
    /// `Origin`, for a browser that says that the request is from another site.
    pub fn refuse_cross_site(&self, headers: &HeaderMap) -> Result<()> {
        let is_ours = match headers.get(header::ORIGIN) {
            Some(origin) => origin.to_str().is_ok_and(|origin| self.is_ours(origin, headers)),
            None => headers.get("sec-fetch-site").is_none_or(|site| site != "cross-site"),
        };
        if is_ours {
            Ok(())
        } else {
            Err(Error::new(Kind::CrossSite, "the request was sent from another site"))
        }
    }

    fn is_ours(&self, origin: &str, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let own = origin.split_once("://").map(|(_, authority)| authority);
        origin == self.public.as_str()
            || self.allowed().any(|allowed| allowed == origin)
            || (own.is_some() && host.zip(own).is_some_and(|(host, own)| host.eq_ignore_ascii_case(own)))
    }
}

/// The caller's address: the peer's, unless that is a proxy of ours; then the last hop of `X-Forwarded-For` that is not
/// one.
pub fn caller_address(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let is_proxy = |address: &IpAddr| proxies.iter().any(|network| network.contains(&address.to_canonical()));
    let mut caller = peer.to_canonical();
    if !is_proxy(&caller) {
        return caller;
    }
    let lines = headers.get_all("x-forwarded-for").into_iter();
    let hops: Vec<&str> = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .collect();
    for hop in hops.iter().rev() {
        let Some(address) = read_hop(hop.trim()) else {
            break;
        };
        caller = address;
        if !is_proxy(&caller) {
            break;
        }
    }
    caller
}

/// An address with or without a port.
fn read_hop(hop: &str) -> Option<IpAddr> {
    let address = hop
        .parse()
        .ok()
        .or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(address.to_canonical())
}

/// The value of a cookie. Of several of one name the first counts, as it has the longest path.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then_some(value)
        })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_our_own_sites_may_send() {
        let sites = Sites::new(
            "https://chat.example".parse().unwrap(),
            vec!["https://app.example:8443".parse().unwrap()],
        );
        let ask = |pairs: &[_]| sites.refuse_cross_site(&headers(pairs)).is_ok();
        assert!(ask(&[]));
        assert!(ask(&[("origin", "https://chat.example")]));
        assert!(ask(&[("origin", "https://app.example:8443")]));
        assert!(ask(&[("origin", "http://10.1.2.3:8080"), ("host", "10.1.2.3:8080")]));
        assert!(ask(&[("sec-fetch-site", "same-origin")]));
        assert!(ask(&[("sec-fetch-site", "same-site")]));
        assert!(!ask(&[("origin", "https://evil.example"), ("host", "chat.example")]));
        assert!(!ask(&[("origin", "null"), ("host", "chat.example")]));
        assert!(!ask(&[("origin", "https://app.example"), ("host", "chat.example")]));
        assert!(!ask(&[("sec-fetch-site", "cross-site")]));
        assert!(!ask(&[
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "same-origin")
        ]));
    }

    #[test]
    fn proxies_are_believed_only_as_far_as_they_are_ours() {
        let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let ask = |peer: &str, forwarded: &[(&'static str, &'static str)]| {
            caller_address(peer.parse().unwrap(), &headers(forwarded), &proxies).to_string()
        };
        assert_eq!(ask("192.0.2.1", &[("x-forwarded-for", "203.0.113.9")]), "192.0.2.1");
        assert_eq!(ask("10.0.0.1", &[("x-forwarded-for", "203.0.113.9")]), "203.0.113.9");
        assert_eq!(
            ask("::ffff:10.0.0.1", &[("x-forwarded-for", "203.0.113.9")]),
            "203.0.113.9"
        );
        assert_eq!(
            ask(
                "10.0.0.1",
                &[("x-forwarded-for", "198.51.100.7, 203.0.113.9, 10.0.0.2")]
            ),
            "203.0.113.9"
        );
        assert_eq!(
            ask(
                "10.0.0.1",
                &[("x-forwarded-for", "198.51.100.7"), ("x-forwarded-for", "203.0.113.9")]
            ),
            "203.0.113.9"
        );
        assert_eq!(ask("10.0.0.1", &[("x-forwarded-for", "unknown, 10.0.0.2")]), "10.0.0.2");
        assert_eq!(
            ask("10.0.0.1", &[("x-forwarded-for", "[2001:db8::1]:443")]),
            "2001:db8::1"
        );
        assert_eq!(ask("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn cookies() {
        let headers = headers(&[("cookie", "a=1; bambisleep_session=x=y; b=2")]);
        assert_eq!(cookie(&headers, "bambisleep_session"), Some("x=y"));
        assert_eq!(cookie(&headers, "session"), None);
    }
}
