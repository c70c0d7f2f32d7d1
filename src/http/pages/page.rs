//! The four pages: the file of each, and the plain page in its place.

use axum::{http::HeaderMap, response::Response};

use super::{
    built,
    file::{Caching, File},
    policy,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Landing,
    /// GraphQL.
    Explorer,
    /// REST.
    Reference,
    /// The chat.
    Room,
}

impl Page {
    pub fn answer(self, headers: &HeaderMap) -> Response {
        let file = built::find(self.name(), headers).unwrap_or_else(|| self.plain());
        let mut response = file.answer(Caching::Revalidated, headers);
        response.headers_mut().extend(policy::page(self));
        response
    }

    /// Of the file in `web/`.
    fn name(self) -> &'static str {
        match self {
            Page::Landing => "index.html",
            Page::Explorer => "graphql.html",
            Page::Reference => "docs.html",
            Page::Room => "chat.html",
        }
    }

    /// What is there without the pages of `web/`.
    fn plain(self) -> File {
        let text: &[u8] = match self {
            Page::Landing => include_bytes!("plain/index.html"),
            Page::Explorer => include_bytes!("plain/explorer.html"),
            Page::Reference => include_bytes!("plain/docs.html"),
            Page::Room => include_bytes!("plain/chat.html"),
        };
        File::plain("text/html; charset=utf-8", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [Page; 4] = [Page::Landing, Page::Explorer, Page::Reference, Page::Room];

    fn plain(page: Page) -> String {
        let text = page.plain().into_bytes().into_owned();
        String::from_utf8(text).unwrap()
    }

    /// The values of an attribute, wherever it is.
    fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
        page.split(&format!(" {attribute}=\""))
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect()
    }

    #[test]
    fn plain_pages_name_nothing_but_addresses_of_ours() {
        for page in PAGES.map(plain) {
            let sources = [values(&page, "src"), values(&page, "href")].concat();
            assert!(!sources.is_empty());
            for source in sources {
                let known = [
                    "/favicon.svg",
                    "/page.css",
                    "/explorer.js",
                    "/",
                    "/graphql",
                    "/docs",
                    "/chat",
                    "/v1/openapi.json",
                    "/healthz",
                    "/readyz",
                ];
                assert!(
                    known.contains(&source) || source.starts_with('#'),
                    "{source} is not an address of ours"
                );
            }
        }
    }

    #[test]
    fn plain_pages_say_how_to_build_the_others() {
        for page in PAGES.map(plain) {
            assert!(page.contains("<code>scripts/build</code>"));
        }
    }

    #[test]
    fn plain_pages_have_nothing_inline_that_the_policy_refuses() {
        for page in PAGES.map(plain) {
            assert!(values(&page, "style").is_empty());
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
        let explorer = plain(Page::Explorer);
        let script = include_str!("plain/explorer.js");
        let ids: Vec<&str> = script
            .split("byId(\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(ids.len() > 5);
        for id in ids {
            assert!(explorer.contains(&format!("id=\"{id}\"")), "the explorer has no #{id}");
        }
    }
}
