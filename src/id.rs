//! Ids as clients see them: TypeIDs (typeid.dev, specification 0.3), a type prefix and a UUIDv7 in base 32.

use uuid::Uuid;

/// What an id names. The prefix is part of the id, so `node(id:)` knows the type before it asks the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdKind {
    User,
    Profile,
    Trigger,
    Key,
    Login,
    Event,
    Consent,
    Room,
    Message,
    Report,
    AuditEntry,
    Session,
    Webhook,
    Delivery,
}

impl IdKind {
    pub const ALL: &'static [IdKind] = &[
        IdKind::User,
        IdKind::Profile,
        IdKind::Trigger,
        IdKind::Key,
        IdKind::Login,
        IdKind::Event,
        IdKind::Consent,
        IdKind::Room,
        IdKind::Message,
        IdKind::Report,
        IdKind::AuditEntry,
        IdKind::Session,
        IdKind::Webhook,
        IdKind::Delivery,
    ];

    pub fn prefix(self) -> &'static str {
        match self {
            IdKind::User => "user",
            IdKind::Profile => "profile",
            IdKind::Trigger => "trigger",
            IdKind::Key => "key",
            IdKind::Login => "login",
            IdKind::Event => "evt",
            IdKind::Consent => "consent",
            IdKind::Room => "room",
            IdKind::Message => "msg",
            IdKind::Report => "report",
            IdKind::AuditEntry => "audit",
            IdKind::Session => "session",
            IdKind::Webhook => "webhook",
            IdKind::Delivery => "delivery",
        }
    }

    /// The id as clients see it.
    pub fn encode(self, uuid: Uuid) -> String {
        let prefix = self.prefix();
        let mut text = String::with_capacity(prefix.len() + 27);
        text.push_str(prefix);
        text.push('_');
        let bits = uuid.as_u128();
        for place in (0..26).rev() {
            text.push(char::from(ALPHABET[(bits >> (place * 5) & 31) as usize]));
        }
        text
    }

    /// The UUID in an id of this kind; none for anything else.
    pub fn decode(self, text: &str) -> Option<Uuid> {
        match parse(text) {
            Some((kind, uuid)) if kind == self => Some(uuid),
            _ => None,
        }
    }
}

/// Crockford's base 32 in lower case, as the TypeID specification has it.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What an id names and its UUID; none where the text is no id of ours. Only the one canonical spelling is taken.
pub fn parse(text: &str) -> Option<(IdKind, Uuid)> {
    let (prefix, suffix) = text.rsplit_once('_')?;
    let kind = *IdKind::ALL.iter().find(|kind| kind.prefix() == prefix)?;
    // 26 digits are 130 bits: the first may not be over 7.
    if suffix.len() != 26 || suffix.as_bytes()[0] > b'7' {
        return None;
    }
    let mut bits = 0u128;
    for byte in suffix.bytes() {
        let digit = ALPHABET.iter().position(|&digit| digit == byte)?;
        bits = bits << 5 | digit as u128;
    }
    Some((kind, Uuid::from_u128(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_examples() {
        let example = Uuid::parse_str("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
        assert_eq!(IdKind::User.encode(example), "user_01h455vb4pex5vsknk084sn02q");
        assert_eq!(IdKind::User.encode(Uuid::nil()), "user_00000000000000000000000000");
        assert_eq!(IdKind::User.encode(Uuid::max()), "user_7zzzzzzzzzzzzzzzzzzzzzzzzz");
    }

    #[test]
    fn ids_come_back() {
        for kind in IdKind::ALL {
            let uuid = Uuid::now_v7();
            assert_eq!(kind.decode(&kind.encode(uuid)), Some(uuid));
        }
    }

    #[test]
    fn what_is_no_id_is_none() {
        for text in [
            "",
            "user",
            "user_",
            "01h455vb4pex5vsknk084sn02q",
            "_01h455vb4pex5vsknk084sn02q",
            "user_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "user_01H455VB4PEX5VSKNK084SN02Q",
            "user_01h455vb4pex5vsknk084sn02",
            "user_01h455vb4pex5vsknk084sn02qq",
            "user_01h455vb4pex5vsknk084sn02l",
            "nobody_01h455vb4pex5vsknk084sn02q",
            "user_01h455vb4pex5vsknk084sn0é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(IdKind::Trigger.decode("user_01h455vb4pex5vsknk084sn02q"), None);
    }
}
