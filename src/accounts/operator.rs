//! The operator's commands.

use entity::member;
use uuid::Uuid;

use super::{
    NewKey, OfAge, Registration, SetPassword, Token, create, make_key,
    password::{Password, Passwords},
    store,
};
use crate::{
    error::{Error, Kind, Result},
    gate::{Gate, Operation, Permit, System, Tx, rules::Role},
    text::{Checks, REASON},
    time,
};

/// The operator's commands, for which there is no caller.
#[derive(Clone, Debug)]
pub struct Operator(Permit);

impl Operator {
    pub fn new(gate: &Gate) -> Self {
        Self(gate.system(System::Operate))
    }

    /// # Errors
    ///
    /// `VALIDATION_FAILED`, `CONFLICT`.
    pub async fn create(&self, username: String, password: Password, role: Role) -> Result<member::Model> {
        let new = Registration {
            username,
            password,
            email: None,
            of_age: OfAge::Stated,
        };
        Ok(create(&self.0, &Passwords::new(1), new, role, Checks::new()).await?.0)
    }

    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn set_role(&self, username: &str, role: Role) -> Result<()> {
        let member = self.member(username).await?;
        self.0
            .write(SetRole {
                member: member.id,
                role,
            })
            .await
    }

    /// Sets a new password and ends all logins of the member.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`, `VALIDATION_FAILED`.
    pub async fn set_password(&self, username: &str, password: Password) -> Result<()> {
        let member = self.member(username).await?;
        let mut checks = Checks::new();
        checks.password("password", password.expose());
        checks.done()?;
        let password_hash = Passwords::new(1).hash(password).await?;
        self.0
            .write(SetPassword {
                member: member.id,
                password_hash,
                keep: None,
            })
            .await
    }

    /// Refuses a member everywhere, until a time (Unix milliseconds) or for good.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`, `VALIDATION_FAILED`.
    pub async fn ban(&self, username: &str, reason: &str, until: Option<i64>) -> Result<()> {
        let member = self.member(username).await?;
        let mut checks = Checks::new();
        let reason = checks.name("reason", reason, REASON);
        if until.is_some_and(|until| until <= time::now()) {
            checks.refuse("until", "must be in the future");
        }
        checks.done()?;
        self.0
            .write(SetBan {
                member: member.id,
                ban: Some((reason, until)),
            })
            .await
    }

    /// Ends a ban.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn unban(&self, username: &str) -> Result<()> {
        let member = self.member(username).await?;
        self.0
            .write(SetBan {
                member: member.id,
                ban: None,
            })
            .await
    }

    /// # Errors
    ///
    /// `NOT_FOUND`, `VALIDATION_FAILED`, `CONFLICT`.
    pub async fn create_key(&self, username: &str, new: NewKey) -> Result<Token> {
        let member = self.member(username).await?;
        Ok(make_key(&self.0, member.id, new).await?.1)
    }

    async fn member(&self, username: &str) -> Result<member::Model> {
        let found = store::by_username(&self.0, username).await?;
        found.ok_or_else(|| Error::new(Kind::NotFound, format!("no member is called {username}")))
    }
}

struct SetRole {
    member: Uuid,
    role: Role,
}

impl Operation for SetRole {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.revoke(self.member).await?;
        store::set_role(tx, self.member, self.role).await
    }
}

struct SetBan {
    member: Uuid,
    /// Why, and until when.
    ban: Option<(String, Option<i64>)>,
}

impl Operation for SetBan {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.revoke(self.member).await?;
        store::set_ban(tx, self.member, self.ban.as_ref()).await
    }
}
