//! What `scripts/build` made of `web/`. Release builds carry it; debug builds read it from the folder as it is at that
//! moment. There may be none.

use std::io::Read;

use axum::http::HeaderMap;
use flate2::read::GzDecoder;
use rust_embed::RustEmbed;

use super::{
    encoding::{self, Encoding},
    file::File,
};

/// What `web/compress.ts` compresses is carried compressed only: as it is, it would be three quarters of it all.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[exclude = "*.css"]
#[exclude = "*.html"]
#[exclude = "*.js"]
#[exclude = "*.svg"]
#[exclude = "*.ttf"]
#[allow_missing = true]
struct Built;

/// The file in the encoding that the client likes best of those that it was built in.
pub fn find(path: &str, headers: &HeaderMap) -> Option<File> {
    let media_type = media_type(path)?;
    encoding::preferred(headers).into_iter().find_map(|encoding| {
        let found = Built::get(&format!("{path}{}", encoding.suffix()));
        let found = found.map(|found| File::new(media_type, encoding, found.data, found.metadata.sha256_hash()));
        match encoding {
            Encoding::Identity => found.or_else(|| unpacked(path, media_type)),
            _ => found,
        }
    })
}

/// For the few clients that take no encoding.
fn unpacked(path: &str, media_type: &'static str) -> Option<File> {
    let packed = Built::get(&format!("{path}{}", Encoding::Gzip.suffix()))?;
    let mut bytes = Vec::new();
    GzDecoder::new(&*packed.data)
        .read_to_end(&mut bytes)
        .expect("what was built is whole");
    let hash = packed.metadata.sha256_hash();
    Some(File::new(media_type, Encoding::Identity, bytes.into(), hash))
}

/// By the name. Files of other kinds are not served.
fn media_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "ttf" => "font/ttf",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_built_can_be_served() {
        for path in Built::iter() {
            let original = path.trim_end_matches(".br").trim_end_matches(".gz");
            assert!(media_type(original).is_some(), "{path} is of no kind that is known");
        }
    }

    #[test]
    fn nothing_outside_the_folder_is_found() {
        for path in [
            "../index.html",
            "assets/../../index.html",
            "/etc/motd.html",
            "../src/theme.css",
        ] {
            assert!(find(path, &HeaderMap::new()).is_none(), "{path}");
        }
    }

    #[test]
    fn compressed_files_have_no_address_of_their_own() {
        assert_eq!(media_type("assets/a.js.br"), None);
        assert_eq!(media_type("assets/a.js.gz"), None);
        assert_eq!(media_type("assets/a"), None);
    }
}
