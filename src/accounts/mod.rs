//! Accounts: registering, logging in and out, passwords, API keys, tickets, and the operator's hold on all of it.

use std::{fmt, net::IpAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use entity::{api_key, login, member};
use sha2::{Digest, Sha256};
use tower_sessions::{
    Expiry, Session,
    session::{self, Id},
    session_store,
};
use uuid::Uuid;

use crate::{
    ai, chat,
    error::{Error, Kind, Result},
    files::{self, Files},
    gate::{
        KEY_PREFIX, Operation, Permit, TICKET_PREFIX, Tx,
        callers::{self, LOGIN_LASTS, Via},
        rules::{Role, Scope},
        sessions::{self, Store},
    },
    meter::TICKET_LIFETIME,
    moderation,
    profiles::avatar,
    text::{Checks, NAME},
    time, triggers, webhooks,
};

pub mod graphql;
mod operator;
pub mod password;
mod store;

pub use operator::Operator;

use password::{Password, Passwords};

/// How many API keys a member may have.
pub const MOST_KEYS: u64 = 50;
/// How many characters of an API key are kept to recognise it by.
const KEY_SHOWN: usize = 12;
/// The longest user agent that is kept, in characters.
const LONGEST_USER_AGENT: usize = 256;

/// Where a request came from, as its login will be listed.
#[derive(Clone, Debug)]
pub struct Origin {
    pub address: IpAddr,
    pub user_agent: Option<String>,
}

/// Something that logs in whoever has it. It does not print itself.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A member who has just logged in.
pub struct LoggedIn {
    pub member: member::Model,
    pub token: Token,
    /// The permit as that member.
    pub permit: Permit,
}

/// What a new member tells of themselves.
#[derive(Debug)]
pub struct Registration {
    pub username: String,
    pub password: Password,
    pub email: Option<String>,
    pub of_age: OfAge,
}

/// Whether a new member states to be 18 or older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfAge {
    Stated,
    Denied,
}

/// Makes an account and logs it in.
///
/// # Errors
///
/// `VALIDATION_FAILED`; `CONFLICT` for a username that is taken, in whatever case.
pub async fn register(
    permit: &Permit,
    passwords: &Passwords,
    registration: Registration,
    origin: &Origin,
) -> Result<LoggedIn> {
    let mut checks = Checks::new();
    checks.words("username", &registration.username, permit.gate().words());
    let (member, password_hash) = create(permit, passwords, registration, Role::Member, checks).await?;
    start_session(permit, member, password_hash, origin).await
}

/// The new member, with the hash of their password, if `checks` has nothing against them.
async fn create(
    permit: &Permit,
    passwords: &Passwords,
    new: Registration,
    role: Role,
    mut checks: Checks,
) -> Result<(member::Model, String)> {
    checks.username("username", &new.username);
    checks.password("password", new.password.expose());
    let email = new.email.map(|email| checks.email("email", &email));
    if new.of_age == OfAge::Denied {
        checks.refuse("ofAge", "must be true: members are 18 or older");
    }
    checks.done()?;
    // Before the password is hashed, which costs far more; the unique key decides in the end.
    if store::by_username(permit, &new.username).await?.is_some() {
        return Err(store::username_taken());
    }
    let password_hash = passwords.hash(new.password).await?;
    let member = permit
        .write(Register {
            id: Uuid::now_v7(),
            username: new.username,
            email,
            password_hash: password_hash.clone(),
            role,
        })
        .await?;
    Ok((member, password_hash))
}

struct Register {
    id: Uuid,
    username: String,
    email: Option<String>,
    password_hash: String,
    role: Role,
}

impl Operation for Register {
    type Output = member::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<member::Model> {
        store::insert(
            tx,
            self.id,
            &self.username,
            self.email.as_deref(),
            &self.password_hash,
            self.role,
        )
        .await
    }
}

/// Logs a member in.
///
/// # Errors
///
/// `INVALID_CREDENTIALS` for an unknown user and a wrong password alike, `RATE_LIMITED` after too many of them,
/// `BANNED`.
pub async fn log_in(
    permit: &Permit,
    passwords: &Passwords,
    username: &str,
    password: Password,
    origin: &Origin,
) -> Result<LoggedIn> {
    let found = check_password(permit, passwords, username, password, origin.address).await?;
    let (member, password_hash) = found.ok_or_else(wrong_login)?;
    callers::refuse_banned(
        member.banned_at,
        member.banned_until,
        member.ban_reason.as_deref(),
        time::now(),
    )?;
    start_session(permit, member, password_hash, origin).await
}

fn wrong_login() -> Error {
    Error::new(Kind::InvalidCredentials, "wrong username or password")
}

/// The member and the hash of the password, if it is theirs. Each try counts against the limit on failed logins until it
/// has succeeded; so that right ones that come at once do not count against each other, they take turns.
async fn check_password(
    permit: &Permit,
    passwords: &Passwords,
    username: &str,
    password: Password,
    address: IpAddr,
) -> Result<Option<(member::Model, String)>> {
    let account = username.to_ascii_lowercase();
    let _turn = passwords.turn(&account, address).await?;
    let attempt = permit
        .gate()
        .meter()
        .begin_login(&account, address)
        .await
        .map_err(|wait| Error::rate_limited(crate::gate::seconds(wait)))?;
    let found = store::with_password(permit, username).await?;
    let hash = found.as_ref().map(|(_, hash)| hash.clone());
    let right = passwords.verify(password, hash).await?;
    if right {
        attempt.succeeded().await;
    }
    Ok(found.filter(|_| right))
}

async fn start_session(
    permit: &Permit,
    member: member::Model,
    password_hash: String,
    origin: &Origin,
) -> Result<LoggedIn> {
    let login = sessions::Login {
        id: Uuid::now_v7(),
        member: member.id,
        user_agent: origin
            .user_agent
            .as_ref()
            .map(|agent| agent.chars().take(LONGEST_USER_AGENT).collect()),
        address: Some(origin.address.to_string()),
    };
    let expiry = Expiry::OnInactivity(::time::Duration::milliseconds(LOGIN_LASTS));
    let session = Session::new(None, Arc::new(Store::new(permit, password_hash)), Some(expiry));
    session.insert(sessions::LOGIN, &login).await.map_err(Error::internal)?;
    session.save().await.map_err(|why| match why {
        session::Error::Store(session_store::Error::Backend(why)) if why == sessions::OUTDATED => wrong_login(),
        why => Error::internal(why),
    })?;
    let id: Id = session
        .id()
        .ok_or_else(|| Error::internal("a session that was saved has no id"))?;
    let permit = permit.logged_in(&member, login.id)?;
    Ok(LoggedIn {
        member,
        token: Token(id.to_string()),
        permit,
    })
}

/// Ends the login by which the caller calls.
pub async fn log_out(permit: &Permit) -> Result<()> {
    let caller = permit.member()?;
    if let Via::Login(id) = caller.via {
        permit
            .write(EndLogin {
                id,
                member: caller.member,
            })
            .await?;
    }
    Ok(())
}

/// Where the caller is logged in, newest first.
pub async fn logins(permit: &Permit) -> Result<Vec<login::Model>> {
    store::logins(permit, permit.member()?.member).await
}

/// A login of the caller's.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn login(permit: &Permit, id: Uuid) -> Result<login::Model> {
    let found = store::login(permit, id, permit.member()?.member).await?;
    found.ok_or_else(|| Error::not_found("login"))
}

/// Ends a login of the caller's.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn revoke_login(permit: &Permit, id: Uuid) -> Result<login::Model> {
    let member = permit.member()?.member;
    permit
        .write_once(EndLogin { id, member })
        .await?
        .ok_or_else(|| Error::not_found("login"))
}

struct EndLogin {
    id: Uuid,
    member: Uuid,
}

impl Operation for EndLogin {
    type Output = Option<login::Model>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Option<login::Model>> {
        let ended = store::end_login(tx, self.id, self.member).await?;
        if ended.is_some() {
            tx.revoke(self.member).await?;
        }
        Ok(ended)
    }
}

/// Changes the caller's password and ends their other logins.
///
/// # Errors
///
/// `VALIDATION_FAILED`, `INVALID_CREDENTIALS` for a wrong current password, `RATE_LIMITED` after too many of them.
pub async fn change_password(
    permit: &Permit,
    passwords: &Passwords,
    current: Password,
    new: Password,
    origin: &Origin,
) -> Result<member::Model> {
    let mut checks = Checks::new();
    checks.password("newPassword", new.expose());
    checks.done()?;
    let member = confirm_password(permit, passwords, current, origin).await?;
    let keep = match permit.member()?.via {
        Via::Login(id) => Some(id),
        Via::Key { .. } => None,
    };
    let password_hash = passwords.hash(new).await?;
    permit
        .write(SetPassword {
            member: member.id,
            password_hash,
            keep,
        })
        .await?;
    Ok(member)
}

async fn confirm_password(
    permit: &Permit,
    passwords: &Passwords,
    password: Password,
    origin: &Origin,
) -> Result<member::Model> {
    let username = permit.member()?.username.clone();
    let found = check_password(permit, passwords, &username, password, origin.address).await?;
    let (member, _) = found.ok_or_else(|| Error::new(Kind::InvalidCredentials, "wrong password"))?;
    Ok(member)
}

struct SetPassword {
    member: Uuid,
    password_hash: String,
    /// The login that goes on.
    keep: Option<Uuid>,
}

impl Operation for SetPassword {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.revoke(self.member).await?;
        store::set_password(tx, self.member, &self.password_hash).await?;
        store::end_logins(tx, self.member, self.keep).await
    }
}

/// Erases the caller's account and all that it wrote.
///
/// # Errors
///
/// `INVALID_CREDENTIALS` for a wrong password, `RATE_LIMITED` after too many of them.
pub async fn delete(
    permit: &Permit,
    passwords: &Passwords,
    files: &Files,
    password: Password,
    origin: &Origin,
) -> Result<()> {
    let member = confirm_password(permit, passwords, password, origin).await?;
    for (kind, name) in permit.write(Erase { member: member.id }).await? {
        files.discard(kind, &name).await;
    }
    Ok(())
}

struct Erase {
    member: Uuid,
}

impl Operation for Erase {
    /// The files that have lost their rows.
    type Output = Vec<(files::Kind, String)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<(files::Kind, String)>> {
        tx.revoke(self.member).await?;
        webhooks::forget_all_of(tx, self.member).await?;
        chat::erase(tx, self.member).await?;
        moderation::erase(tx, self.member).await?;
        triggers::withdraw_all_of(tx, self.member).await?;
        let avatar = avatar::take(tx, self.member).await?;
        let audio = ai::delete_all_of(tx, self.member).await?;
        store::erase(tx, self.member).await?;
        let avatar = avatar.map(|name| (files::Kind::Avatar, name));
        Ok(avatar
            .into_iter()
            .chain(audio.into_iter().map(|name| (files::Kind::Audio, name)))
            .collect())
    }
}

/// What a new API key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: String,
    pub scopes: Vec<Scope>,
    /// Unix milliseconds.
    pub expires_at: Option<i64>,
}

/// Makes an API key for the caller. The key itself is in the answer and nowhere else.
///
/// # Errors
///
/// `VALIDATION_FAILED`; `CONFLICT` for one key too many.
pub async fn create_key(permit: &Permit, new: NewKey) -> Result<(api_key::Model, Token)> {
    make_key(permit, permit.member()?.member, new).await
}

async fn make_key(permit: &Permit, member: Uuid, new: NewKey) -> Result<(api_key::Model, Token)> {
    let mut checks = Checks::new();
    let name = checks.name("name", &new.name, NAME);
    if new.scopes.is_empty() {
        checks.refuse("scopes", "must not be empty");
    }
    if new.expires_at.is_some_and(|at| at <= time::now()) {
        checks.refuse("expiresAt", "must be in the future");
    }
    checks.done()?;
    let mut scopes = new.scopes;
    scopes.sort_unstable();
    scopes.dedup();
    let key = secret(KEY_PREFIX);
    let row = api_key::Model {
        id: Uuid::now_v7(),
        member_id: member,
        name,
        prefix: key.0[..KEY_SHOWN].to_owned(),
        key_hash: Sha256::digest(key.0.as_bytes()).to_vec(),
        scopes: scopes.iter().map(|scope| scope.wire()).collect::<Vec<_>>().join(" "),
        created_at: time::now(),
        last_used_at: None,
        expires_at: new.expires_at,
    };
    Ok((permit.write(CreateKey(row)).await?, key))
}

/// 256 random bits behind a prefix.
fn secret(prefix: &str) -> Token {
    let bytes: [u8; 32] = rand::random();
    Token(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

struct CreateKey(api_key::Model);

impl Operation for CreateKey {
    type Output = api_key::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<api_key::Model> {
        store::insert_key(tx, &self.0).await?;
        Ok(self.0.clone())
    }
}

/// The caller's API keys, newest first.
pub async fn keys(permit: &Permit) -> Result<Vec<api_key::Model>> {
    store::keys(permit, permit.member()?.member).await
}

/// An API key of the caller's.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn key(permit: &Permit, id: Uuid) -> Result<api_key::Model> {
    let found = store::key(permit, id, permit.member()?.member).await?;
    found.ok_or_else(|| Error::not_found("API key"))
}

/// Ends an API key of the caller's.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn revoke_key(permit: &Permit, id: Uuid) -> Result<api_key::Model> {
    permit
        .write_once(RevokeKey {
            id,
            member: permit.member()?.member,
        })
        .await
}

struct RevokeKey {
    id: Uuid,
    member: Uuid,
}

impl Operation for RevokeKey {
    type Output = api_key::Model;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<api_key::Model> {
        let key = store::end_key(tx, self.id, self.member).await?;
        let key = key.ok_or_else(|| Error::not_found("API key"))?;
        tx.revoke(self.member).await?;
        Ok(key)
    }
}

/// The caller's e-mail address, if they gave one.
pub async fn email(permit: &Permit) -> Result<Option<String>> {
    store::email(permit, permit.member()?.member).await
}

/// Makes a ticket that opens one connection as the caller, within a minute; and when it ends (Unix milliseconds).
pub async fn create_ticket(permit: &Permit) -> Result<(Token, i64)> {
    let caller = permit.member()?;
    let ticket = secret(TICKET_PREFIX);
    let expires_at = time::now() + i64::try_from(TICKET_LIFETIME.as_millis()).map_err(Error::internal)?;
    permit.gate().put_ticket(ticket.expose(), &caller.via).await;
    Ok((ticket, expires_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::callers::Proof;

    #[test]
    fn secrets_are_long_recognisable_and_do_not_print() {
        let key = secret(KEY_PREFIX);
        assert_eq!(key.0.len(), 4 + 43);
        assert!(matches!(Proof::read(&key.0), Some(Proof::Key(_))));
        assert!(Proof::read(&secret(TICKET_PREFIX).0).is_none());
        assert_ne!(key.0, secret(KEY_PREFIX).0);
        assert!(!format!("{key:?}").contains(&key.0[4..]));
    }
}
