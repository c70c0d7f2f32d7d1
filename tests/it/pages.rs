//! Pages for people, as browsers ask for them. scripts/test builds them before.

use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
};

use reqwest::{Method, Response, header::HeaderMap};

use crate::harness::Server;

const PAGES: [&str; 4] = ["/", "/graphql", "/docs", "/chat"];

async fn ask(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = server.request(method, path).header("accept", "text/html,*/*;q=0.8");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    ask(server, Method::GET, path, headers).await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// What a page names of the server's own, and that it names nothing else.
async fn parts(server: &Server, page: &str) -> Vec<String> {
    let text = get(server, page, &[]).await.text().await.unwrap();
    let values = |attribute: &str| {
        let start = format!(" {attribute}=\"");
        let parts = text.split(&start).skip(1);
        let values = parts.filter_map(|rest| rest.split('"').next());
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let named = [values("src"), values("href")].concat();
    assert!(
        named.iter().any(|path| path.starts_with("/assets/")),
        "{page} is not built: scripts/build"
    );
    for path in &named {
        let is_ours = path.starts_with('#') || path.starts_with('/') && !path.starts_with("//");
        assert!(is_ours, "{page} names {path}");
    }
    for script in text.split("<script").skip(1) {
        let (tag, rest) = script.split_once('>').unwrap();
        assert!(
            tag.contains(" src=\"") && rest.starts_with("</script>"),
            "{page} has a script inline"
        );
    }
    named.into_iter().filter(|path| path.starts_with("/assets/")).collect()
}

fn gunzip(compressed: Vec<u8>) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = gzip.stdin.take().unwrap();
    let writing = thread::spawn(move || stdin.write_all(&compressed).unwrap());
    let output = gzip.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[tokio::test]
async fn files_come_in_the_encoding_that_the_client_likes_best() {
    let server = Server::start().await;
    for page in PAGES {
        let mut paths = parts(&server, page).await;
        paths.push(page.to_owned());
        for path in paths {
            let plain = get(&server, &path, &[]).await;
            assert_eq!(plain.status(), 200, "{path}");
            assert_eq!(header(plain.headers(), "content-encoding"), "");
            let plain = plain.bytes().await.unwrap();
            for (accepted, encoding) in [
                ("gzip, deflate, br, zstd", "br"),
                ("gzip, deflate", "gzip"),
                ("br;q=0, *", "gzip"),
                ("br;q=0.1, gzip;q=0.2", "gzip"),
                ("gzip;q=0", ""),
                ("identity, gzip;q=0.5", ""),
            ] {
                let answer = get(&server, &path, &[("accept-encoding", accepted)]).await;
                let headers = answer.headers().clone();
                assert!(headers.get_all("vary").iter().any(|value| value == "Accept-Encoding"));
                assert_eq!(header(&headers, "content-encoding"), encoding, "{path}: {accepted}");
                let bytes = answer.bytes().await.unwrap();
                assert_eq!(header(&headers, "content-length"), bytes.len().to_string());
                match header(&headers, "content-encoding") {
                    "" => assert_eq!(bytes, plain, "{path}: {accepted}"),
                    "gzip" => assert_eq!(gunzip(bytes.to_vec()), plain, "{path}: {accepted}"),
                    _ => assert!(bytes.len() < plain.len() || plain.len() < 1_000, "{path}: {accepted}"),
                }
            }
        }
    }
    let script = parts(&server, "/chat").await;
    let script = script.iter().find(|path| path.ends_with(".js")).unwrap();
    let answer = get(&server, script, &[("accept-encoding", "gzip, br")]).await;
    assert_eq!(header(answer.headers(), "content-encoding"), "br");
    assert_eq!(
        header(answer.headers(), "content-type"),
        "text/javascript; charset=utf-8"
    );
}

#[tokio::test]
async fn pages_are_asked_for_again_and_assets_are_kept() {
    let server = Server::start().await;
    for page in PAGES {
        let first = get(&server, page, &[("accept-encoding", "br")]).await;
        assert_eq!(header(first.headers(), "cache-control"), "no-cache");
        assert_eq!(header(first.headers(), "content-type"), "text/html; charset=utf-8");
        let etag = header(first.headers(), "etag");
        assert!(etag.starts_with('"') && etag.len() > 20, "{etag} is not strong");
        let other = get(&server, page, &[]).await;
        assert_ne!(
            header(other.headers(), "etag"),
            etag,
            "{page} in another encoding has another tag"
        );

        let listed = format!("\"other\", W/{etag}");
        for known in [etag, listed.as_str(), "*"] {
            let again = get(&server, page, &[("accept-encoding", "br"), ("if-none-match", known)]).await;
            assert_eq!(again.status(), 304, "{page}: {known}");
            assert_eq!(header(again.headers(), "etag"), etag);
            for name in ["cache-control", "vary", "content-security-policy"] {
                assert_eq!(header(again.headers(), name), header(first.headers(), name), "{name}");
            }
            assert_eq!(again.bytes().await.unwrap().len(), 0);
        }
        let changed = get(
            &server,
            page,
            &[("accept-encoding", "br"), ("if-none-match", "\"other\"")],
        )
        .await;
        assert_eq!(changed.status(), 200);

        let head = ask(&server, Method::HEAD, page, &[("accept-encoding", "br")]).await;
        assert_eq!(head.status(), 200);
        for name in ["etag", "content-encoding", "content-length", "content-type"] {
            assert_eq!(
                header(head.headers(), name),
                header(first.headers(), name),
                "{page}: {name}"
            );
        }
        assert_eq!(head.bytes().await.unwrap().len(), 0);

        for path in parts(&server, page).await {
            let answer = get(&server, &path, &[]).await;
            assert_eq!(
                header(answer.headers(), "cache-control"),
                "public, max-age=31536000, immutable",
                "{path}"
            );
        }
    }
    let both = get(&server, "/graphql", &[]).await;
    let vary: Vec<_> = both.headers().get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept-Encoding", "Accept"]);
}

#[tokio::test]
async fn what_is_not_there_is_no_page() {
    let server = Server::start().await;
    let script = parts(&server, "/chat").await.remove(0);
    for path in [
        "/assets",
        "/assets/",
        "/assets/none.js",
        "/assets/none",
        "/assets/%2e%2e%2findex.html",
        "/assets/..%2f..%2fCargo.toml",
        "/index.html",
        "/chat.html",
        "/chat/none",
        &format!("{script}.br"),
        &format!("{script}.gz"),
        &format!("{script}.map"),
    ] {
        let answer = get(&server, path, &[("accept-encoding", "br")]).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(header(answer.headers(), "cache-control"), "no-store");
        let body: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(body["code"], "NOT_FOUND", "{path}");
    }
    let answer = ask(&server, Method::POST, "/chat", &[]).await;
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn each_page_may_do_what_it_needs_and_nothing_else() {
    let server = Server::start().await;
    let tool = "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'";
    for (page, own) in [
        ("/", "style-src 'self'; img-src 'self'".to_owned()),
        ("/graphql", format!("{tool}; worker-src 'self'")),
        ("/docs", tool.to_owned()),
        ("/chat", "style-src 'self'; img-src 'self'; media-src 'self'".to_owned()),
    ] {
        let answer = get(&server, page, &[]).await;
        let policy = format!(
            "default-src 'none'; script-src 'self'; connect-src 'self'; {own}; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        );
        for (name, value) in [
            ("content-security-policy", policy.as_str()),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            (
                "permissions-policy",
                "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
            ),
        ] {
            assert_eq!(header(answer.headers(), name), value, "{page}");
        }
    }
    let script = parts(&server, "/chat").await.remove(0);
    for path in ["/page.css", "/explorer.js", "/favicon.svg", "/favicon.ico", &script] {
        let answer = get(&server, path, &[]).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(header(answer.headers(), "x-content-type-options"), "nosniff");
        assert!(header(answer.headers(), "content-security-policy").starts_with("default-src 'none'"));
    }
}
