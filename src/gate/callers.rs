//! Who is calling: logins, API keys and tickets, known without asking the database once they have been seen.
//!
//! A cached caller is trusted only while this node keeps up with the log, in which every revocation is an event.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use quick_cache::sync::Cache;
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Value};
use sha2::{Digest, Sha256};
use tower_sessions::session::Id;
use uuid::Uuid;

use super::{
    Tx,
    db::sql,
    live::Live,
    rules::{Role, Rule, Scope},
};
use crate::{
    error::{Error, Kind, Result},
    id::IdKind,
    time,
};

/// How long a login lasts from its last use. Source: the protocol, "Who is calling".
pub const LOGIN_LASTS: i64 = 30 * time::DAY;
/// How often the last use of a login or key is written, and its cookie renewed, at most.
const NOTED_EVERY: i64 = time::HOUR;
/// How long ago a node may have read the log and still trust what it knows of callers.
const TRUSTED_FOR: i64 = time::SECOND;
/// How many callers a node knows at most; the least used are forgotten first.
const KNOWN: usize = 16_384;

/// Who is calling, as far as the gate has found out.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody in particular, from an address.
    Anonymous(IpAddr),
    Member(Arc<Known>),
}

/// A member who is calling, and by what.
#[derive(Debug)]
pub struct Known {
    pub member: Uuid,
    pub username: String,
    pub role: Role,
    pub via: Via,
    /// Whom the member has blocked.
    blocked: HashSet<Uuid>,
    /// The end of a mute, in Unix milliseconds; none for who is not muted.
    muted_until: Option<i64>,
    /// Unix milliseconds, moved on with each use of a login.
    pub(super) expires_at: AtomicI64,
    noted_at: AtomicI64,
}

/// What a member calls by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    Login(Uuid),
    Key { id: Uuid, scopes: Vec<Scope> },
}

impl Known {
    /// Whom the member has blocked.
    pub fn blocked(&self) -> &HashSet<Uuid> {
        &self.blocked
    }

    /// Whether the member may read and not send, at a time in Unix milliseconds. For what needs no transaction: who
    /// writes asks [`refuse_muted`] in theirs.
    pub fn is_muted(&self, now: i64) -> bool {
        self.muted_until.is_some_and(|until| until > now)
    }
}

impl Caller {
    pub fn member(&self) -> Option<&Known> {
        match self {
            Caller::Anonymous(_) => None,
            Caller::Member(known) => Some(known),
        }
    }

    pub fn is(&self, member: Uuid) -> bool {
        self.member().is_some_and(|known| known.member == member)
    }

    /// Whether the caller has blocked this member, and sees nothing of them.
    pub fn hides(&self, member: Uuid) -> bool {
        self.member().is_some_and(|known| known.blocked.contains(&member))
    }

    /// Whether the caller keeps order, and may use it here: a key needs the scope for it.
    pub fn moderates(&self) -> bool {
        self.may(&Rule::order(Role::Moderator)).is_ok()
    }

    /// Whether a rule lets the caller pass.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` for nobody, `FORBIDDEN` for a role or scope that is lacking.
    pub fn may(&self, rule: &Rule) -> Result<()> {
        if rule.anonymous {
            return Ok(());
        }
        let Some(known) = self.member() else {
            return Err(Error::new(Kind::Unauthenticated, "log in first"));
        };
        if known.role < rule.role {
            return Err(Error::new(
                Kind::Forbidden,
                format!("this needs the role {}", rule.role.wire()),
            ));
        }
        if let Via::Key { scopes, .. } = &known.via {
            if rule.login {
                return Err(Error::new(Kind::Forbidden, "this cannot be done with an API key"));
            }
            if let Some(needed) = rule.scope
                && !scopes.iter().any(|scope| scope.includes(needed))
            {
                let message = format!("the API key lacks the scope {}", needed.wire());
                return Err(Error::new(Kind::Forbidden, message).with("scope", needed.wire()));
            }
        }
        Ok(())
    }
}

/// The secret that a caller shows, by what it is stored and looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    Session([u8; 32]),
    Key([u8; 32]),
}

impl Proof {
    /// Reads a session token or API key; none for what can be neither.
    pub fn read(token: &str) -> Option<Proof> {
        if token.starts_with(super::KEY_PREFIX) {
            return Some(Proof::Key(Sha256::digest(token.as_bytes()).into()));
        }
        token.parse::<Id>().ok().map(|id| Proof::Session(session_hash(id)))
    }
}

/// What a session is stored under: nobody can log in with what the database holds.
pub fn session_hash(id: Id) -> [u8; 32] {
    Sha256::digest(id.0.to_le_bytes()).into()
}

#[derive(Debug)]
pub(super) struct Callers {
    known: Cache<By, Arc<Known>>,
    /// Counts revocations: what was read from the database while it moved is not kept.
    epoch: AtomicU64,
    /// The sockets and streams that are open, which hear of it too.
    pub live: Live,
    /// When this node last read the log, in Unix milliseconds.
    read_log_at: AtomicI64,
}

/// What a look-up found.
pub(super) enum Found {
    Known {
        caller: Arc<Known>,
        /// Whether this use is to be noted, and the cookie renewed.
        note: bool,
    },
    Nobody,
}

impl Callers {
    pub fn new() -> Self {
        Self {
            known: Cache::new(KNOWN),
            epoch: AtomicU64::new(0),
            live: Live::default(),
            read_log_at: AtomicI64::new(0),
        }
    }

    /// Called each time this node has caught up with the log.
    pub fn caught_up(&self) {
        self.read_log_at.store(time::now(), Ordering::Release);
    }

    /// Forgets a member, under whatever they called.
    pub fn forget(&self, member: Uuid) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.known.retain(|_, known| known.member != member);
        self.live.tell(member);
    }

    /// Forgets everyone.
    pub fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.known.clear();
        self.live.tell_all();
    }

    /// # Errors
    ///
    /// `BANNED`, or a database that does not answer.
    pub async fn find(&self, db: &impl ConnectionTrait, by: impl Into<By>) -> Result<Found> {
        let by = by.into();
        let now = time::now();
        let trusted = now - self.read_log_at.load(Ordering::Acquire) <= TRUSTED_FOR;
        let cached = if trusted { self.known.get(&by) } else { None };
        let caller = match cached {
            Some(caller) => caller,
            None => {
                let epoch = self.epoch.load(Ordering::Acquire);
                let Some(caller) = load(db, by, now).await? else {
                    return Ok(Found::Nobody);
                };
                let caller = Arc::new(caller);
                self.known.insert(by, caller.clone());
                if self.epoch.load(Ordering::Acquire) != epoch {
                    self.known.remove(&by);
                }
                caller
            }
        };
        if caller.expires_at.load(Ordering::Relaxed) <= now {
            self.known.remove(&by);
            return Ok(Found::Nobody);
        }
        Ok(Found::Known {
            note: caller.note(now),
            caller,
        })
    }
}

impl Known {
    pub(super) fn new(member: Uuid, username: String, role: Role, via: Via, expires_at: i64, noted_at: i64) -> Self {
        Self {
            member,
            username,
            role,
            via,
            blocked: HashSet::new(),
            muted_until: None,
            expires_at: AtomicI64::new(expires_at),
            noted_at: AtomicI64::new(noted_at),
        }
    }

    /// Whether this use is the one to note: one caller in an hour is told so.
    fn note(&self, now: i64) -> bool {
        let noted_at = self.noted_at.load(Ordering::Relaxed);
        if now - noted_at < NOTED_EVERY {
            return false;
        }
        let won = self
            .noted_at
            .compare_exchange(noted_at, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if won && matches!(self.via, Via::Login(_)) {
            self.expires_at.store(now + LOGIN_LASTS, Ordering::Relaxed);
        }
        won
    }
}

#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    member_id: Uuid,
    scopes: String,
    expires_at: Option<i64>,
    used_at: Option<i64>,
    username: String,
    role: String,
    banned_at: Option<i64>,
    banned_until: Option<i64>,
    ban_reason: Option<String>,
    muted_at: Option<i64>,
    muted_until: Option<i64>,
    blocked: Option<String>,
}

/// The caller whom a ticket was made for, if what they called by then still holds.
///
/// # Errors
///
/// `BANNED`, or a database that does not answer.
pub(super) async fn by_id(db: &impl ConnectionTrait, via: &str) -> Result<Option<Known>> {
    let login = IdKind::Login.decode(via).map(By::Login);
    let now = time::now();
    match login.or_else(|| IdKind::Key.decode(via).map(By::Key)) {
        Some(by) => Ok(load(db, by, now)
            .await?
            .filter(|known| known.expires_at.load(Ordering::Relaxed) > now)),
        None => Ok(None),
    }
}

/// What a caller is looked up by. [`Member`](By::Member): as who they are now, without a login or key, for what is done in
/// their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    Member(Uuid),
    SessionHash([u8; 32]),
    KeyHash([u8; 32]),
    Login(Uuid),
    Key(Uuid),
}

impl From<Proof> for By {
    fn from(proof: Proof) -> Self {
        match proof {
            Proof::Session(hash) => By::SessionHash(hash),
            Proof::Key(hash) => By::KeyHash(hash),
        }
    }
}

async fn load(db: &impl ConnectionTrait, by: By, now: i64) -> Result<Option<Known>> {
    const LOGINS: &str = "c.id, c.member_id, '' AS scopes, c.expires_at, c.last_seen_at AS used_at FROM logins c";
    const MEMBERS: &str = "c.id, c.id AS member_id, '' AS scopes, CAST(NULL AS BIGINT) AS expires_at, CAST(NULL AS BIGINT) AS used_at FROM members c";
    const KEYS: &str = "c.id, c.member_id, c.scopes, c.expires_at, c.last_used_at AS used_at FROM api_keys c";
    let is_login = matches!(by, By::SessionHash(_) | By::Login(_));
    let (from, column, value): (_, _, Value) = match by {
        By::SessionHash(hash) => (LOGINS, "c.token_hash", hash.to_vec().into()),
        By::Login(id) => (LOGINS, "c.id", id.into()),
        By::KeyHash(hash) => (KEYS, "c.key_hash", hash.to_vec().into()),
        By::Key(id) => (KEYS, "c.id", id.into()),
        By::Member(id) => (MEMBERS, "c.id", id.into()),
    };
    let backend = db.get_database_backend();
    let list = match backend {
        DbBackend::Sqlite => "group_concat(hex(blocked_id))",
        _ => "string_agg(blocked_id::text, ',')",
    };
    let text = format!(
        "SELECT c.*, m.username, m.role, m.banned_at, m.banned_until, m.ban_reason,
             m.muted_at, m.muted_until,
             (SELECT {list} FROM blocks WHERE blocker_id = m.id) AS blocked
         FROM (SELECT {from} WHERE {column} = ?) c JOIN members m ON m.id = c.member_id"
    );
    let statement = sql(backend, &text, [value]);
    let Some(row) = Row::find_by_statement(statement).one(db).await? else {
        return Ok(None);
    };
    refuse_banned(row.banned_at, row.banned_until, row.ban_reason.as_deref(), now)?;
    let role = row
        .role
        .parse()
        .map_err(|why| Error::internal(format!("the role of {} {why}", row.username)))?;
    let via = match is_login {
        true => Via::Login(row.id),
        false => Via::Key {
            id: row.id,
            scopes: row.scopes.split(' ').filter_map(|scope| scope.parse().ok()).collect(),
        },
    };
    // A key that was never used is noted at its first use.
    let expires_at = row.expires_at.unwrap_or(i64::MAX);
    let mut known = Known::new(
        row.member_id,
        row.username,
        role,
        via,
        expires_at,
        row.used_at.unwrap_or(0),
    );
    // One without an end is for good.
    known.muted_until = row.muted_at.map(|_| row.muted_until.unwrap_or(i64::MAX));
    let blocked = row.blocked.as_deref().unwrap_or_default();
    known.blocked = blocked.split(',').filter_map(|id| Uuid::parse_str(id).ok()).collect();
    Ok(Some(known))
}

impl Tx<'_> {
    /// Whether a member has blocked another, as it is in this transaction.
    pub async fn hides(&self, member: Uuid, other: Uuid) -> Result<bool> {
        let statement = sql(
            self.backend(),
            "SELECT 1 FROM blocks WHERE blocker_id = ? AND blocked_id = ?",
            [member.into(), other.into()],
        );
        Ok(self.query_one_raw(statement).await?.is_some())
    }
}

/// # Errors
///
/// `BANNED` with the reason and, where there is one, the end.
pub fn refuse_banned(at: Option<i64>, until: Option<i64>, reason: Option<&str>, now: i64) -> Result<()> {
    if at.is_none() || until.is_some_and(|until| until <= now) {
        return Ok(());
    }
    Err(with_end(
        Error::new(Kind::Banned, "this account is banned"),
        reason,
        until,
    ))
}

/// # Errors
///
/// `MUTED` with the reason and, where there is one, the end.
pub fn refuse_muted(at: Option<i64>, until: Option<i64>, reason: Option<&str>, now: i64) -> Result<()> {
    if at.is_none() || until.is_some_and(|until| until <= now) {
        return Ok(());
    }
    Err(with_end(
        Error::new(Kind::Muted, "this account is muted"),
        reason,
        until,
    ))
}

fn with_end(error: Error, reason: Option<&str>, until: Option<i64>) -> Error {
    let mut error = error;
    if let Some(reason) = reason {
        error = error.with("reason", reason);
    }
    if let Some(until) = until {
        error = error.with("until", time::format(until));
    }
    error
}

/// The id of what a caller calls by, as clients see it.
pub fn via_id(via: &Via) -> String {
    match via {
        Via::Login(id) => IdKind::Login.encode(*id),
        Via::Key { id, .. } => IdKind::Key.encode(*id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(role: Role, via: Via) -> Caller {
        Caller::Member(Arc::new(Known::new(
            Uuid::now_v7(),
            "alice".into(),
            role,
            via,
            i64::MAX,
            0,
        )))
    }

    fn key(scopes: &[Scope]) -> Via {
        Via::Key {
            id: Uuid::now_v7(),
            scopes: scopes.to_vec(),
        }
    }

    #[test]
    fn rules_let_pass_whom_they_name() {
        let nobody = Caller::Anonymous([127, 0, 0, 1].into());
        let login = || Via::Login(Uuid::now_v7());
        let read = Rule::scope(Scope::TriggersRead);
        let moderate = Rule {
            role: Role::Moderator,
            ..Rule::scope(Scope::Moderate)
        };

        assert!(nobody.may(&Rule::ANYONE).is_ok());
        assert_eq!(nobody.may(&Rule::MEMBER).unwrap_err().kind(), Kind::Unauthenticated);
        assert!(member(Role::Member, login()).may(&read).is_ok());
        assert!(member(Role::Member, key(&[Scope::TriggersWrite])).may(&read).is_ok());
        assert_eq!(
            member(Role::Member, key(&[Scope::TriggersRead]))
                .may(&Rule::scope(Scope::TriggersWrite))
                .unwrap_err()
                .kind(),
            Kind::Forbidden
        );
        assert!(member(Role::Member, key(&[])).may(&Rule::MEMBER).is_ok());
        assert!(member(Role::Member, key(&[])).may(&Rule::LOGIN).is_err());
        assert!(member(Role::Member, login()).may(&Rule::LOGIN).is_ok());
        assert!(member(Role::Member, login()).may(&moderate).is_err());
        assert!(member(Role::Admin, login()).may(&moderate).is_ok());
        assert!(member(Role::Moderator, key(&[Scope::ChatRead])).may(&moderate).is_err());
    }

    #[test]
    fn one_use_in_an_hour_is_noted_and_prolongs_a_login() {
        let known = Known::new(
            Uuid::now_v7(),
            "alice".into(),
            Role::Member,
            Via::Login(Uuid::now_v7()),
            50,
            0,
        );
        assert!(known.note(2 * time::HOUR));
        assert!(!known.note(2 * time::HOUR + 1));
        assert_eq!(known.expires_at.load(Ordering::Relaxed), 2 * time::HOUR + LOGIN_LASTS);
    }

    #[test]
    fn bans_end() {
        assert!(refuse_banned(None, None, None, 10).is_ok());
        assert!(refuse_banned(Some(1), Some(10), None, 10).is_ok());
        assert_eq!(
            refuse_banned(Some(1), Some(11), None, 10).unwrap_err().kind(),
            Kind::Banned
        );
        assert_eq!(refuse_banned(Some(1), None, None, 10).unwrap_err().kind(), Kind::Banned);
    }
}
