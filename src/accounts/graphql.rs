use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use entity::{api_key, login};
use uuid::Uuid;

use super::{LoggedIn, NewKey, OfAge, Registration, password::Password};
use crate::{
    accounts,
    error::{Error, Result},
    gate::{Permit, callers::Via, rules::Scope},
    graphql::{
        context::{CookieChange, files, passwords, permit, permit_once, request},
        scalars::DateTime,
    },
    id::IdKind,
    profiles::graphql::User,
    text::Checks,
};

/// A key for programs that act as the member, within its scopes.
#[derive(Clone)]
pub struct ApiKey(api_key::Model);

impl ApiKey {
    pub fn new(row: api_key::Model) -> Self {
        Self(row)
    }
}

/// A key for programs that act as the member, within its scopes.
#[Object]
impl ApiKey {
    /// The key's id, `key_…`. It is not the key.
    pub async fn id(&self) -> ID {
        IdKind::Key.encode(self.0.id).into()
    }

    /// What the member calls it.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// The first characters of the key, to recognise it by.
    async fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// What it may be used for.
    async fn scopes(&self) -> Result<Vec<Scope>> {
        let scopes = self.0.scopes.split(' ').map(str::parse);
        scopes.collect::<Result<_, _>>().map_err(Error::internal)
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        DateTime::new(self.0.created_at)
    }

    /// When it was last used, to the hour.
    async fn last_used_at(&self) -> Option<DateTime> {
        self.0.last_used_at.map(DateTime::new)
    }

    /// When it ends; null for never.
    async fn expires_at(&self) -> Option<DateTime> {
        self.0.expires_at.map(DateTime::new)
    }
}

/// Where the member is logged in.
#[derive(Clone)]
pub struct Login {
    row: login::Model,
    permit: Permit,
}

impl Login {
    pub fn new(row: login::Model, permit: &Permit) -> Self {
        Self {
            row,
            permit: permit.clone(),
        }
    }
}

/// Where the member is logged in.
#[Object]
impl Login {
    /// The login's id, `login_…`. It is not the session token.
    pub async fn id(&self) -> ID {
        IdKind::Login.encode(self.row.id).into()
    }

    /// When the member logged in.
    async fn created_at(&self) -> DateTime {
        DateTime::new(self.row.created_at)
    }

    /// When the login was last used, to the hour.
    async fn last_seen_at(&self) -> DateTime {
        DateTime::new(self.row.last_seen_at)
    }

    /// What the browser or program called itself.
    async fn user_agent(&self) -> Option<&str> {
        self.row.user_agent.as_deref()
    }

    /// The network address that the member logged in from.
    async fn address(&self) -> Option<&str> {
        self.row.address.as_deref()
    }

    /// Whether the caller is calling by this login.
    async fn is_current(&self) -> bool {
        let via = self.permit.caller().member().map(|known| &known.via);
        via == Some(&Via::Login(self.row.id))
    }
}

/// A new account.
#[derive(InputObject)]
pub struct RegisterInput {
    /// 3 to 32 of A-Z a-z 0-9 _ -, unique whatever the case. It cannot be changed later.
    username: String,
    /// 8 to 256 characters.
    password: Password,
    /// For the operator to reach the member; shown to nobody else.
    email: Option<String>,
    /// The member states to be 18 or older; false is refused.
    of_age: bool,
}

/// Who logs in.
#[derive(InputObject)]
pub struct LoginInput {
    /// Whatever its case.
    username: String,
    /// The member's password.
    password: Password,
}

/// A change of password.
#[derive(InputObject)]
pub struct ChangePasswordInput {
    /// The password as it is.
    current_password: Password,
    /// 8 to 256 characters.
    new_password: Password,
}

/// Confirms that the account is to be erased.
#[derive(InputObject)]
pub struct DeleteAccountInput {
    /// The member's password.
    password: Password,
}

/// A new API key.
#[derive(InputObject)]
pub struct CreateApiKeyInput {
    /// 1 to 64 characters, to tell keys apart.
    name: String,
    /// What it may be used for; at least one.
    scopes: Vec<Scope>,
    /// When it ends; absent: never.
    expires_at: Option<DateTime>,
}

/// The new member, logged in.
#[derive(SimpleObject)]
pub struct RegisterPayload {
    /// The new member.
    user: User,
    /// The session token, for clients without cookies.
    token: String,
}

/// The member, logged in.
#[derive(SimpleObject)]
pub struct LoginPayload {
    /// The member.
    user: User,
    /// The session token, for clients without cookies.
    token: String,
}

/// The login has ended.
#[derive(SimpleObject)]
pub struct LogoutPayload {
    /// Always true: what fails is an error.
    success: bool,
}

/// The login that has ended.
#[derive(SimpleObject)]
pub struct RevokeLoginPayload {
    /// The login as it was.
    login: Login,
}

/// The password is changed and other logins have ended.
#[derive(SimpleObject)]
pub struct ChangePasswordPayload {
    /// The caller.
    user: User,
}

/// The account is erased.
#[derive(SimpleObject)]
pub struct DeleteAccountPayload {
    /// Always true: what fails is an error.
    success: bool,
}

/// A ticket opens one connection as the caller.
#[derive(SimpleObject)]
pub struct CreateSocketTicketPayload {
    /// Taken once, wherever a session token is when a socket opens.
    ticket: String,
    /// A minute from now.
    expires_at: DateTime,
}

/// `key` is shown this once.
#[derive(SimpleObject)]
pub struct CreateApiKeyPayload {
    /// The new key, without its secret.
    api_key: ApiKey,
    /// The key itself, for `Authorization: Bearer`. It cannot be shown again.
    key: String,
}

/// The key that has ended.
#[derive(SimpleObject)]
pub struct RevokeApiKeyPayload {
    /// The key as it was.
    api_key: ApiKey,
}

fn logged_in(ctx: &Context<'_>, logged_in: LoggedIn) -> (User, String) {
    let token = logged_in.token.expose().to_owned();
    request(ctx).change_cookie(CookieChange::Set(logged_in.token));
    (User::new(logged_in.member, &logged_in.permit), token)
}

fn decode(kind: IdKind, id: &ID, what: &str) -> Result<Uuid> {
    kind.decode(id).ok_or_else(|| Error::not_found(what))
}

#[derive(Default)]
pub struct AccountMutation;

#[Object]
impl AccountMutation {
    /// Makes an account and logs it in.
    async fn register(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new account.")] input: RegisterInput,
    ) -> Result<Option<RegisterPayload>> {
        let registration = Registration {
            username: input.username,
            password: input.password,
            email: input.email,
            of_age: if input.of_age { OfAge::Stated } else { OfAge::Denied },
        };
        let origin = &request(ctx).origin;
        let done = accounts::register(&permit(ctx)?, passwords(ctx), registration, origin).await?;
        let (user, token) = logged_in(ctx, done);
        Ok(Some(RegisterPayload { user, token }))
    }

    /// Logs a member in. After 5 failures in 15 minutes for one account from one address, further tries are refused until
    /// the 15 minutes are over.
    async fn login(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Who logs in.")] input: LoginInput,
    ) -> Result<Option<LoginPayload>> {
        let origin = &request(ctx).origin;
        let done = accounts::log_in(&permit(ctx)?, passwords(ctx), &input.username, input.password, origin).await?;
        let (user, token) = logged_in(ctx, done);
        Ok(Some(LoginPayload { user, token }))
    }

    /// Ends the login by which the caller calls.
    async fn logout(&self, ctx: &Context<'_>) -> Result<Option<LogoutPayload>> {
        accounts::log_out(&permit(ctx)?).await?;
        request(ctx).change_cookie(CookieChange::Clear);
        Ok(Some(LogoutPayload { success: true }))
    }

    /// Ends one of the caller's logins.
    async fn revoke_login(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The login's id.")] id: ID,
    ) -> Result<Option<RevokeLoginPayload>> {
        let permit = permit_once(ctx, &*id)?;
        let row = accounts::revoke_login(&permit, decode(IdKind::Login, &id, "login")?).await?;
        Ok(Some(RevokeLoginPayload {
            login: Login::new(row, &permit),
        }))
    }

    /// Changes the caller's password and ends the caller's other logins. API keys go on.
    async fn change_password(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The old password and the new one.")] input: ChangePasswordInput,
    ) -> Result<Option<ChangePasswordPayload>> {
        let (permit, origin) = (permit(ctx)?, &request(ctx).origin);
        let (current, new) = (input.current_password, input.new_password);
        let row = accounts::change_password(&permit, passwords(ctx), current, new, origin).await?;
        Ok(Some(ChangePasswordPayload {
            user: User::new(row, &permit),
        }))
    }

    /// Erases the account and all that it wrote, at once and for good.
    async fn delete_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Confirms it.")] input: DeleteAccountInput,
    ) -> Result<Option<DeleteAccountPayload>> {
        let origin = &request(ctx).origin;
        accounts::delete(&permit(ctx)?, passwords(ctx), files(ctx), input.password, origin).await?;
        request(ctx).change_cookie(CookieChange::Clear);
        Ok(Some(DeleteAccountPayload { success: true }))
    }

    /// Makes a ticket for a browser page that cannot send its cookie along when it opens a socket.
    async fn create_socket_ticket(&self, ctx: &Context<'_>) -> Result<Option<CreateSocketTicketPayload>> {
        let (ticket, expires_at) = accounts::create_ticket(&permit(ctx)?).await?;
        let ticket = ticket.expose().to_owned();
        Ok(Some(CreateSocketTicketPayload {
            ticket,
            expires_at: DateTime::new(expires_at),
        }))
    }

    /// Makes an API key. Not with an API key; nor are the next one, logins, passwords and accounts.
    async fn create_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new key.")] input: CreateApiKeyInput,
    ) -> Result<Option<CreateApiKeyPayload>> {
        let mut checks = Checks::new();
        let expires_at = input.expires_at.map(|at| at.check(&mut checks, "expiresAt"));
        checks.done()?;
        let new = NewKey {
            name: input.name,
            scopes: input.scopes,
            expires_at,
        };
        let (row, key) = accounts::create_key(&permit(ctx)?, new).await?;
        Ok(Some(CreateApiKeyPayload {
            api_key: ApiKey(row),
            key: key.expose().to_owned(),
        }))
    }

    /// Ends one of the caller's API keys.
    async fn revoke_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The key's id, `key_…`.")] id: ID,
    ) -> Result<Option<RevokeApiKeyPayload>> {
        let permit = permit_once(ctx, &*id)?;
        let row = accounts::revoke_key(&permit, decode(IdKind::Key, &id, "API key")?).await?;
        Ok(Some(RevokeApiKeyPayload { api_key: ApiKey(row) }))
    }
}
