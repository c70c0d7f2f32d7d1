//! Pages for people: those of `web/` that were built, and a plain one in place of each that was not. They ask nothing of
//! any other server.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
    routing::get,
};

use self::file::{Caching, File};
use super::refuse;
use crate::{boot::App, error::Error};

mod built;
mod encoding;
mod file;
mod page;
mod policy;

use page::Page;

pub fn add(router: Router<Arc<App>>) -> Router<Arc<App>> {
    router
        .route(
            "/",
            get(|headers: HeaderMap| async move { Page::Landing.answer(&headers) }),
        )
        .route(
            "/docs",
            get(|headers: HeaderMap| async move { Page::Reference.answer(&headers) }),
        )
        .route(
            "/chat",
            get(|headers: HeaderMap| async move { Page::Room.answer(&headers) }),
        )
        .route("/assets/{name}", get(asset))
        .route("/favicon.svg", get(icon))
        // Where browsers look when what they show names no icon, such as JSON.
        .route("/favicon.ico", get(icon))
        // Of the plain pages.
        .route("/page.css", get(style))
        .route("/explorer.js", get(script))
}

/// Where developers try GraphQL in a browser.
pub fn explorer(headers: &HeaderMap) -> Response {
    let mut response = Page::Explorer.answer(headers);
    // Others get GraphQL at the same address.
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// A file that the built pages load. Its name has a hash of what is in it.
async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    // A slash that was escaped is none of a name's.
    let found = match name.contains('/') {
        false => built::find(&format!("assets/{name}"), &headers),
        true => None,
    };
    match found {
        Some(file) => part(file, Caching::Forever, &headers),
        None => refuse(&Error::not_found("file")),
    }
}

async fn icon(headers: HeaderMap) -> Response {
    let icon = include_bytes!("../../web/public/favicon.svg");
    part(File::plain("image/svg+xml", icon), Caching::Revalidated, &headers)
}

async fn style(headers: HeaderMap) -> Response {
    let style = include_bytes!("pages/plain/page.css");
    part(
        File::plain("text/css; charset=utf-8", style),
        Caching::Revalidated,
        &headers,
    )
}

async fn script(headers: HeaderMap) -> Response {
    let script = include_bytes!("pages/plain/explorer.js");
    let file = File::plain("text/javascript; charset=utf-8", script);
    part(file, Caching::Revalidated, &headers)
}

/// What pages load.
fn part(file: File, caching: Caching, headers: &HeaderMap) -> Response {
    let mut response = file.answer(caching, headers);
    response.headers_mut().extend(policy::part());
    response
}
