//! Text from clients: what it may be made of, how long it may be, and how it is kept.
//!
//! Source of the rules: the protocol, "Who is calling". Text is kept in NFC and counted in Unicode scalar values.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::{
    error::{Error, Kind, Result},
    words::Words,
};

pub const NAME: RangeInclusive<usize> = 1..=64;
pub const DESCRIPTION: RangeInclusive<usize> = 0..=500;
pub const TRIGGER_CONTENT: RangeInclusive<usize> = 1..=2_000;
pub const USERNAME: RangeInclusive<usize> = 3..=32;
pub const PASSWORD: RangeInclusive<usize> = 8..=256;
/// What a companion is asked.
pub const PROMPT: RangeInclusive<usize> = 1..=8_000;
/// A chat message, trimmed.
pub const CHAT_CONTENT: RangeInclusive<usize> = 1..=4_000;
pub const REASON: RangeInclusive<usize> = 1..=500;
/// The longest URL, in characters. Source: the schema's `URL`.
pub const LONGEST_URL: usize = 2_048;
/// What a webhook's owner may choose as its secret.
pub const WEBHOOK_SECRET: RangeInclusive<usize> = 16..=128;
pub const EMAIL: RangeInclusive<usize> = 3..=254;

/// Usernames that nobody can have: what a deleted account's messages go by.
const RESERVED: &[&str] = &["deleted"];

/// Checks the fields of an input, and refuses them together.
#[derive(Debug, Default)]
pub struct Checks {
    refused: Map<String, Value>,
}

impl Checks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Text in NFC, of a length, without control characters but tab and newline.
    pub fn text(&mut self, field: &str, text: &str, length: RangeInclusive<usize>) -> String {
        let text = nfc(text);
        let characters = text.chars().count();
        if !length.contains(&characters) {
            self.refuse(
                field,
                format!("must have {} to {} characters", length.start(), length.end()),
            );
        } else if text.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
            self.refuse(field, "must not have control characters");
        }
        text
    }

    /// As [`text`](Self::text), and not blank.
    pub fn name(&mut self, field: &str, text: &str, length: RangeInclusive<usize>) -> String {
        let text = self.text(field, text, length);
        if text.chars().all(char::is_whitespace) {
            self.refuse(field, "must not be blank");
        }
        text
    }

    /// A username, as it is kept.
    pub fn username(&mut self, field: &str, text: &str) {
        let characters = text.chars().count();
        if !USERNAME.contains(&characters) {
            self.refuse(
                field,
                format!("must have {} to {} characters", USERNAME.start(), USERNAME.end()),
            );
        } else if !text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        {
            self.refuse(field, "may have letters A to Z, digits, _ and - only");
        } else if RESERVED.contains(&text.to_ascii_lowercase().as_str()) {
            self.refuse(field, "is reserved");
        }
    }

    /// Text without words that the operator does not want to see.
    pub fn words(&mut self, field: &str, text: &str, words: &Words) {
        if words.are_in(text) {
            self.refuse(field, "has a word that is not allowed here");
        }
    }

    pub fn password(&mut self, field: &str, text: &str) {
        if !PASSWORD.contains(&text.chars().count()) {
            self.refuse(
                field,
                format!("must have {} to {} characters", PASSWORD.start(), PASSWORD.end()),
            );
        }
    }

    /// An address that mail could go to: one `@` with something on both sides, no spaces.
    pub fn email(&mut self, field: &str, text: &str) -> String {
        let text = self.text(field, text, EMAIL);
        let parts: Vec<&str> = text.split('@').collect();
        let well_formed = matches!(parts.as_slice(), [local, domain] if !local.is_empty() && !domain.is_empty());
        if !well_formed || text.chars().any(char::is_whitespace) {
            self.refuse(field, "must be an e-mail address");
        }
        text
    }

    /// An absolute http or https URL.
    pub fn url(&mut self, field: &str, text: &str) {
        if text.chars().count() > LONGEST_URL {
            self.refuse(field, format!("must have {LONGEST_URL} characters at most"));
        }
        // The parser would leave them out, the database might not take them.
        if text.chars().any(char::is_control) {
            self.refuse(field, "must not have control characters");
        }
        match url::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
            _ => self.refuse(field, "must be an absolute http or https URL"),
        }
    }

    /// Refuses a field; the first reason given for a field is the one that is told.
    pub fn refuse(&mut self, field: &str, why: impl Into<String>) {
        self.refused.entry(field).or_insert_with(|| Value::String(why.into()));
    }

    /// # Errors
    ///
    /// `VALIDATION_FAILED` with every refused field in `details.fields`.
    pub fn done(self) -> Result<()> {
        let Some((field, why)) = self.refused.iter().next() else {
            return Ok(());
        };
        let message = format!("{field} {}", why.as_str().unwrap_or_default());
        Err(Error::new(Kind::ValidationFailed, message).with("fields", self.refused))
    }
}

/// The text in Unicode's composed normal form.
pub fn nfc(text: &str) -> String {
    if is_nfc(text) {
        text.to_owned()
    } else {
        text.nfc().collect()
    }
}

/// Whether a member could go by this name: letters A to Z, digits, `_` and `-` only.
pub fn could_be_username(text: &str) -> bool {
    USERNAME.contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// How names are compared and searched: regardless of case.
pub fn fold(text: &str) -> String {
    nfc(&text.to_lowercase())
}

/// The longest search that can find anything, in characters: what is searched is no longer, a description and what
/// stands beside it.
const LONGEST_SEARCH: usize = 1_000;

/// What `LIKE` needs to find `text` anywhere, with `\` as the escape character; none for what no kept text holds, which
/// the databases would refuse to look for: a control character, or more than is ever kept.
pub fn like(text: &str) -> Option<String> {
    let folded = fold(text);
    let kept = |c: char| !c.is_control() || c == '\t' || c == '\n';
    if folded.chars().count() > LONGEST_SEARCH || !folded.chars().all(kept) {
        return None;
    }
    let mut pattern = String::from("%");
    for c in folded.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(check: impl FnOnce(&mut Checks)) -> Option<String> {
        let mut checks = Checks::new();
        check(&mut checks);
        checks.done().err().map(|error| error.message().to_owned())
    }

    #[test]
    fn usernames() {
        for good in ["abc", "A-b_9", &"x".repeat(32)] {
            assert_eq!(refused(|checks| checks.username("username", good)), None, "{good}");
        }
        for bad in ["", "ab", &"x".repeat(33), "a b", "ab.", "naïve", "Deleted"] {
            assert!(refused(|checks| checks.username("username", bad)).is_some(), "{bad}");
        }
    }

    #[test]
    fn text_is_counted_composed() {
        let mut checks = Checks::new();
        assert_eq!(checks.text("name", "e\u{301}", 1..=1), "\u{e9}");
        checks.done().unwrap();
        assert!(refused(|checks| drop(checks.text("name", "a\u{0}b", 1..=9))).is_some());
        assert!(refused(|checks| drop(checks.text("name", "a\u{85}b", 1..=9))).is_some());
        assert_eq!(refused(|checks| drop(checks.text("name", "a\tb\n", 1..=9))), None);
        assert!(refused(|checks| drop(checks.name("name", " \n\u{3000}", 1..=9))).is_some());
    }

    #[test]
    fn urls() {
        for good in ["https://example.org/a.png", "http://[::1]:8080/?x=1#y"] {
            assert_eq!(refused(|checks| checks.url("url", good)), None, "{good}");
        }
        let long = format!("https://example.org/{}", "x".repeat(LONGEST_URL));
        for bad in [
            "",
            "example.org/a.png",
            "//example.org",
            "ftp://example.org",
            "javascript:alert(1)",
            "http://",
            "https://example.org/\0",
            &long,
        ] {
            assert!(refused(|checks| checks.url("url", bad)).is_some(), "{bad}");
        }
    }

    #[test]
    fn all_refused_fields_are_told() {
        let mut checks = Checks::new();
        checks.username("username", "x");
        checks.password("password", "short");
        let error = checks.done().unwrap_err();
        assert_eq!(error.details()["fields"].as_object().unwrap().len(), 2);
    }

    #[test]
    fn patterns_are_literal() {
        assert_eq!(like("50%_\\É").as_deref(), Some("%50\\%\\_\\\\é%"));
        assert_eq!(like("a\u{0}b"), None);
        assert_eq!(like(&"x".repeat(LONGEST_SEARCH + 1)), None);
    }
}
