//! What browsers send along: which sites may call, CORS, and the address behind proxies.

use reqwest::{Method, RequestBuilder, header};
use serde_json::json;

use crate::harness::{Answer, PASSWORD, Server, send};

const PUBLIC: &str = "https://chat.example";
const APP: &str = "https://app.example:8443";

async fn start() -> Server {
    Server::options()
        .set("BAMBISLEEP_PUBLIC_URL", PUBLIC)
        .set("BAMBISLEEP_ALLOWED_ORIGINS", APP)
        .start()
        .await
}

fn with(request: RequestBuilder, headers: &[(&str, &str)]) -> RequestBuilder {
    headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value))
}

#[tokio::test]
async fn what_changes_something_is_taken_from_our_own_sites_only() {
    let server = start().await;
    let alice = server.member("alice").await;
    let own = format!("http://{}", server.address);
    let ours: &[&[(&str, &str)]] = &[
        &[],
        &[("origin", &own)],
        &[("origin", PUBLIC)],
        &[("origin", APP)],
        &[("origin", APP), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
    ];
    let foreign: &[&[(&str, &str)]] = &[
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", "http://app.example:8443")],
        &[("origin", "https://app.example")],
        &[("origin", "https://chat.example.evil.example")],
        &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "cross-site")],
    ];
    let cookie = format!("bambisleep_session={}", alice.token());
    let login = json!({ "username": "alice", "password": PASSWORD });
    let graphql = json!({ "query": "{ viewer { user { username } } }" });
    let login_by_graphql = json!({
        "query": "mutation ($input: LoginInput!) { login(input: $input) { token } }",
        "variables": { "input": login },
    });
    // All that is not GET or HEAD, with a cookie and without, login included.
    let requests = || {
        [
            server.request(Method::POST, "/v1/auth/login").json(&login),
            server.request(Method::POST, "/graphql").json(&login_by_graphql),
            server
                .request(Method::POST, "/graphql")
                .header(header::COOKIE, &cookie)
                .json(&graphql),
            server
                .request(Method::PUT, "/v1/profile/alice")
                .header(header::COOKIE, &cookie)
                .json(&json!({ "displayName": "Al" })),
            server
                .request(Method::POST, "/v1/auth/ticket")
                .header(header::COOKIE, &cookie),
        ]
    };
    for headers in ours {
        for request in requests() {
            let answer = send(with(request, headers)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (200, ""),
                "{headers:?}: {:#}",
                answer.body
            );
        }
    }
    for headers in foreign {
        for request in requests() {
            let answer = send(with(request, headers)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (403, "CROSS_SITE"),
                "{headers:?}: {:#}",
                answer.body
            );
            assert!(answer.header("set-cookie").is_none());
        }
        // A Bearer is nothing that a browser sends by itself; and what only reads may come from anywhere.
        let bearer = alice
            .request(Method::PUT, "/v1/profile/alice")
            .json(&json!({ "displayName": "Al" }));
        assert_eq!(send(with(bearer, headers)).await.status, 200, "{headers:?}");
        let read = server.request(Method::GET, "/v1/me").header(header::COOKIE, &cookie);
        assert_eq!(send(with(read, headers)).await.status, 200, "{headers:?}");
        let query = server
            .request(Method::GET, "/graphql?query=%7Bviewer%7Buser%7Bid%7D%7D%7D")
            .header(header::COOKIE, &cookie);
        assert_eq!(send(with(query, headers)).await.status, 200, "{headers:?}");
    }
    // A GET changes nothing.
    let logout = server
        .request(Method::GET, "/graphql?query=mutation%7Blogout%7Bsuccess%7D%7D")
        .header(header::COOKIE, &cookie);
    assert_eq!(send(logout).await.status, 405);
    assert_eq!(alice.get("/v1/me").await.status, 200);
}

fn preflight(server: &Server, path: &str, origin: &str) -> RequestBuilder {
    server
        .request(Method::OPTIONS, path)
        .header(header::ORIGIN, origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "content-type,authorization,idempotency-key",
        )
}

fn allows(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[tokio::test]
async fn browsers_may_call_from_allowed_origins_with_the_cookie() {
    let server = start().await;
    for path in ["/graphql", "/v1/auth/login", "/v1/triggers"] {
        let answer = send(preflight(&server, path, APP)).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.status);
        assert_eq!(allows(&answer), Some(APP));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(
            ["POST", "PUT", "DELETE"].iter().all(|method| methods.contains(method)),
            "{methods}"
        );
        let headers = answer
            .header("access-control-allow-headers")
            .unwrap()
            .to_ascii_lowercase();
        for needed in ["content-type", "authorization", "idempotency-key"] {
            assert!(headers.contains(needed), "{headers}");
        }
        for other in ["https://evil.example", "null", "https://app.example"] {
            let answer = send(preflight(&server, path, other)).await;
            assert_eq!(allows(&answer), None, "{path} {other}");
        }
    }
    let login = json!({ "username": "alice", "password": PASSWORD, "ofAge": true });
    let request = server
        .request(Method::POST, "/v1/auth/register")
        .header(header::ORIGIN, APP)
        .json(&login);
    let answer = send(request).await;
    assert_eq!((answer.status.as_u16(), allows(&answer)), (200, Some(APP)));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    let exposed = answer
        .header("access-control-expose-headers")
        .unwrap()
        .to_ascii_lowercase();
    for name in ["ratelimit-remaining", "retry-after", "link"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    // A page reads errors, too.
    let wrong = server
        .request(Method::GET, "/v1/me")
        .header(header::ORIGIN, APP)
        .header(header::AUTHORIZATION, "Bearer wrong");
    let answer = send(wrong).await;
    assert_eq!((answer.status.as_u16(), allows(&answer)), (401, Some(APP)));
    let foreign = server
        .request(Method::GET, "/v1/openapi.json")
        .header(header::ORIGIN, "https://evil.example");
    assert_eq!(allows(&send(foreign).await), None);

    let closed = Server::start().await;
    let answer = send(preflight(&closed, "/graphql", APP)).await;
    assert!(
        !answer.status.is_success() && allows(&answer).is_none(),
        "{}",
        answer.status
    );
    let own = format!("http://{}", closed.address);
    let request = closed
        .request(Method::POST, "/v1/auth/register")
        .header(header::ORIGIN, own)
        .json(&login);
    assert_eq!(send(request).await.status, 200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_caller_has_a_budget_and_a_login_address_of_their_own() {
    let remaining = async |server: &Server, forwarded: &str| {
        let request = server
            .request(Method::GET, "/v1/me")
            .header("x-forwarded-for", forwarded);
        let answer = send(request).await;
        answer.header("ratelimit-remaining").unwrap().parse::<u32>().unwrap()
    };
    let server = Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_ANONYMOUS", "10")
        .set("BAMBISLEEP_TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8")
        .start()
        .await;
    assert_eq!(remaining(&server, "203.0.113.7").await, 9);
    assert_eq!(remaining(&server, "203.0.113.8").await, 9);
    // The last hop that is no proxy of ours counts, not what the caller wrote before it.
    assert_eq!(remaining(&server, "198.51.100.1, 203.0.113.7, 10.1.2.3").await, 8);
    assert_eq!(remaining(&server, "203.0.113.7:4711").await, 7);
    // An IPv6 network of 64 bits is one caller.
    assert_eq!(remaining(&server, "2001:db8:1:2::1").await, 9);
    assert_eq!(remaining(&server, "2001:db8:1:2:ffff::9").await, 8);
    assert_eq!(remaining(&server, "2001:db8:1:3::1").await, 9);
    let register = server
        .request(Method::POST, "/v1/auth/register")
        .header("x-forwarded-for", "203.0.113.9")
        .json(&json!({ "username": "alice", "password": PASSWORD, "ofAge": true }));
    let cookie = send(register).await.header("set-cookie").unwrap().to_owned();
    let token = cookie.split(['=', ';']).nth(1).unwrap();
    let logins = server.bearer(token).get("/v1/auth/logins").await;
    assert_eq!(logins.body["logins"][0]["address"], "203.0.113.9");

    // From anyone else the header is only a claim.
    let server = Server::options()
        .set("BAMBISLEEP_RATE_LIMIT_ANONYMOUS", "10")
        .start()
        .await;
    assert_eq!(remaining(&server, "203.0.113.7").await, 9);
    assert_eq!(remaining(&server, "203.0.113.8").await, 8);
}
