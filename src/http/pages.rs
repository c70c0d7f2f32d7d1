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
