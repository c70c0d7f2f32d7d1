//! Signatures by which a receiver knows who sent a delivery. Source: Standard Webhooks 1.0 (standardwebhooks.com).

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::text::WEBHOOK_SECRET;

/// What the text of a secret starts with whose rest is base64.
const PREFIX: &str = "whsec_";
/// How many random bytes a secret that the server makes has. Source: the specification asks for 24 to 64.
const GENERATED_BYTES: usize = 32;

/// What a webhook's deliveries are signed with. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Secret {
    text: String,
    key: Vec<u8>,
}

impl Secret {
    /// A secret as its owner writes it, of 16 to 128 characters: `whsec_` and padded base64, whose bytes are the key; of
    /// any other text, the key is its UTF-8 bytes just as they came, which is why it is not brought into NFC.
    ///
    /// # Errors
    ///
    /// Why it is refused, as the end of a sentence that begins with the field. Does not quote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !WEBHOOK_SECRET.contains(&text.chars().count()) {
            let (least, most) = (WEBHOOK_SECRET.start(), WEBHOOK_SECRET.end());
            return Err(format!("must have {least} to {most} characters"));
        }
        if text.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
            return Err("must not have control characters".to_owned());
        }
        let key = match text.strip_prefix(PREFIX) {
            Some(rest) => BASE64_STANDARD
                .decode(rest)
                .map_err(|_| format!("must have padded base64 after {PREFIX}"))?,
            None => text.as_bytes().to_vec(),
        };
        Ok(Self {
            text: text.to_owned(),
            key,
        })
    }

    /// A random secret, and its text to be shown once.
    pub fn generate() -> (Self, String) {
        let key: [u8; GENERATED_BYTES] = rand::random();
        let text = format!("{PREFIX}{}", BASE64_STANDARD.encode(key));
        let secret = Self {
            text: text.clone(),
            key: key.to_vec(),
        };
        (secret, text)
    }

    /// As it was written: what [`parse`](Self::parse) takes. Not for logs.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The header `webhook-signature`: `v1,BASE64` for each secret, in their order, separated by spaces. `id` is the header
/// `webhook-id`, without a full stop; `timestamp` is the header `webhook-timestamp`, in Unix seconds.
pub fn signature(secrets: &[&Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let one = |secret: &&Secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret.key).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    };
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

    use super::*;

    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;

    /// Whether a receiver with the library of Standard Webhooks takes it.
    fn is_taken(receiver: &Webhook, id: &str, timestamp: i64, body: &[u8], signature: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_WEBHOOK_ID, id.parse().unwrap());
        headers.insert(HEADER_WEBHOOK_TIMESTAMP, timestamp.to_string().parse().unwrap());
        headers.insert(HEADER_WEBHOOK_SIGNATURE, signature.parse().unwrap());
        receiver.verify(body, &headers).is_ok()
    }

    /// Source: the tests of standardwebhooks 1.0.1.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = Secret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        assert_eq!(
            signature(&[&secret], "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, BODY),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn receivers_with_either_secret_verify_what_both_signed() {
        let now = crate::time::now() / crate::time::SECOND;
        let (generated, text) = Secret::generate();
        let plain = Secret::parse("ein längeres Geheimnis").unwrap();
        let signed = signature(&[&generated, &plain], "evt_1", now, BODY);
        assert_eq!(signed.split(' ').count(), 2);
        let receivers = [
            Webhook::new(&text).unwrap(),
            Webhook::from_bytes("ein längeres Geheimnis".into()).unwrap(),
        ];
        for receiver in &receivers {
            assert!(is_taken(receiver, "evt_1", now, BODY, &signed));
            assert!(!is_taken(receiver, "evt_2", now, BODY, &signed));
            assert!(!is_taken(receiver, "evt_1", now + 1, BODY, &signed));
            assert!(!is_taken(receiver, "evt_1", now, b"{}", &signed));
        }
        let other = Webhook::new(&Secret::generate().1).unwrap();
        assert!(!is_taken(&other, "evt_1", now, BODY, &signed));
    }

    #[test]
    fn a_generated_secret_is_new_and_can_be_read_back() {
        let (secret, text) = Secret::generate();
        assert_eq!(secret.text(), text);
        let read = Secret::parse(&text).unwrap();
        assert_eq!(read.key, secret.key);
        assert_ne!(Secret::generate().1, text);
    }

    #[test]
    fn a_secret_has_its_rules() {
        for taken in [
            "your_webhook_secret",
            &"ä".repeat(16),
            &"x".repeat(128),
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert_eq!(Secret::parse(taken).unwrap().text(), taken);
        }
        for (refused, why) in [
            ("fifteen letters", "must have 16 to 128 characters"),
            (&"x".repeat(129), "must have 16 to 128 characters"),
            ("sixteen letters\0", "must not have control characters"),
            ("whsec_not base64 at all", "must have padded base64 after whsec_"),
            ("whsec_MfKQ9r8GKYqrT", "must have padded base64 after whsec_"),
        ] {
            assert_eq!(Secret::parse(refused).unwrap_err(), why, "{refused:?}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::parse("your_webhook_secret").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
