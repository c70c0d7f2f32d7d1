//! Pages for people. They ask nothing of any other server.

use std::sync::Arc;

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

use crate::boot::App;

/// What a page may load: its own files, and nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub fn add(router: Router<Arc<App>>) -> Router<Arc<App>> {
    router
        .route(
            "/",
            get(|| async { page("text/html; charset=utf-8", include_str!("pages/index.html")) }),
        )
        .route(
            "/page.css",
            get(|| async { page("text/css; charset=utf-8", include_str!("pages/page.css")) }),
        )
        .route(
            "/explorer.js",
            get(|| async { page("text/javascript; charset=utf-8", include_str!("pages/explorer.js")) }),
        )
}

/// Where developers try GraphQL in a browser.
pub fn explorer() -> Response {
    page("text/html; charset=utf-8", include_str!("pages/explorer.html"))
}

fn page(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "Accept"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    const PAGES: [&str; 2] = [include_str!("pages/index.html"), include_str!("pages/explorer.html")];

    /// The values of an attribute, wherever it is.
    fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
        page.split(&format!(" {attribute}=\""))
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect()
    }

    #[test]
    fn pages_load_only_what_the_policy_lets_them() {
        for page in PAGES {
            let sources = [values(page, "src"), values(page, "href")].concat();
            assert!(!sources.is_empty());
            for source in sources {
                let known = [
                    "/page.css",
                    "/explorer.js",
                    "/",
                    "/graphql",
                    "/v1/openapi.json",
                    "/healthz",
                    "/readyz",
                ];
                assert!(
                    known.contains(&source) || source.starts_with('#') || source.starts_with("data:"),
                    "{source} is not an address of ours"
                );
            }
        }
    }

    #[test]
    fn pages_have_nothing_inline_that_the_policy_refuses() {
        for page in PAGES {
            assert!(values(page, "style").is_empty());
            assert!(!page.contains("<style") && !page.contains("<script>"));
            let handlers = page.split(" on").skip(1).filter(|rest| {
                let name = rest.find('=').map_or("", |end| &rest[..end]);
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase())
            });
            assert_eq!(handlers.count(), 0);
        }
    }

    #[test]
    fn the_script_finds_what_it_asks_the_page_for() {
        let script = include_str!("pages/explorer.js");
        let ids: Vec<&str> = script
            .split("byId(\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(ids.len() > 5);
        for id in ids {
            assert!(PAGES[1].contains(&format!("id=\"{id}\"")), "the explorer has no #{id}");
        }
    }
}
