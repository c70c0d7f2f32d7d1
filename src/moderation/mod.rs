//! Keeping order: members block and report each other, moderators mute, ban and reinstate, admins read who did what.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    chat,
    error::{Error, Kind, Result},
    gate::{
        Operation, Permit, Tx,
        audit::{Act, Action},
        rules::Role,
    },
    profiles::{self, Seen},
    text::{Checks, REASON},
    triggers,
};

pub mod graphql;
mod store;

pub use store::{Entry, Report};

/// How many members a member may have blocked.
pub const MOST_BLOCKED: i64 = 1_000;
/// How many reports of a member's may be open at once.
pub const MOST_REPORTS: i64 = 100;

/// Whom the caller has blocked, first blocked first.
pub async fn blocked(permit: &Permit) -> Result<Vec<Seen>> {
    store::blocked(permit, permit.member()?.member).await
}

/// From now on the caller sees nothing of a member, anywhere, and has nothing active that the member wrote. The member
/// is not told. One who is blocked stays so.
///
/// # Errors
///
/// `NOT_FOUND`; `VALIDATION_FAILED` for the caller themselves; `CONFLICT` for one member too many.
pub async fn block(permit: &Permit, username: &str) -> Result<Seen> {
    let caller = permit.member()?;
    if caller.username.eq_ignore_ascii_case(username) {
        return Err(Error::invalid("username", "must be another member's"));
    }
    permit
        .write_once(Block {
            caller: caller.member,
            username: username.to_owned(),
        })
        .await
}

struct Block {
    caller: Uuid,
    username: String,
}

impl Operation for Block {
    type Output = Seen;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Seen> {
        let other = profiles::seen(tx, &self.username).await?;
        if tx.hides(self.caller, other.id).await? {
            return Ok(other);
        }
        tx.revoke(self.caller).await?;
        tx.hold_member(self.caller).await?;
        if !store::block(tx, self.caller, other.id).await? {
            // The account may have been deleted before this had its turn.
            profiles::seen(tx, &self.username).await?;
            let message = format!("a member may have blocked {MOST_BLOCKED} members at most");
            return Err(Error::new(Kind::Conflict, message));
        }
        triggers::deactivate_all_by(tx, self.caller, other.id).await?;
        Ok(other)
    }
}

/// Ends a block. There need not be one.
///
/// # Errors
///
/// `NOT_FOUND`.
pub async fn unblock(permit: &Permit, username: &str) -> Result<Seen> {
    permit
        .write_once(Unblock {
            caller: permit.member()?.member,
            username: username.to_owned(),
        })
        .await
}

struct Unblock {
    caller: Uuid,
    username: String,
}

impl Operation for Unblock {
    type Output = Seen;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Seen> {
        let other = profiles::seen(tx, &self.username).await?;
        if tx.hides(self.caller, other.id).await? {
            tx.revoke(self.caller).await?;
            store::unblock(tx, self.caller, other.id).await?;
        }
        Ok(other)
    }
}

/// Tells the moderators of a message, and keeps what it says now; the report's id.
///
/// # Errors
///
/// `NOT_FOUND`, a deleted one and one by a member whom the caller has blocked included; `VALIDATION_FAILED`, the caller's
/// own included; `CONFLICT` for the same message again, or one open report too many.
pub async fn report(permit: &Permit, message: Uuid, reason: &str) -> Result<Uuid> {
    let mut checks = Checks::new();
    let reason = checks.name("reason", reason, REASON);
    checks.done()?;
    permit
        .write_once(MakeReport {
            id: Uuid::now_v7(),
            message,
            caller: permit.member()?.member,
            reason,
        })
        .await
}

struct MakeReport {
    id: Uuid,
    message: Uuid,
    caller: Uuid,
    reason: String,
}

impl Operation for MakeReport {
    type Output = Uuid;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Uuid> {
        let said = chat::said(tx, self.message).await?;
        if said.author == self.caller {
            return Err(Error::invalid("id", "must be another member's message"));
        }
        if tx.hides(self.caller, said.author).await? {
            return Err(Error::not_found("message"));
        }
        tx.hold_member(self.caller).await?;
        store::insert_report(tx, self, &said.content).await?;
        Ok(self.id)
    }
}

/// Reports, newest first: those that are open, or those that are closed.
pub async fn reports(permit: &Permit, state: State, after: Option<i64>, limit: u64) -> Result<Vec<Report>> {
    store::reports(permit, state, after, limit).await
}

/// Whether a report waits for a moderator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    Closed,
}

/// # Errors
///
/// `NOT_FOUND`.
pub async fn report_by_id(permit: &Permit, id: Uuid) -> Result<Report> {
    let found = store::report(permit, id).await?;
    found.ok_or_else(|| Error::not_found("report"))
}

/// Closes a report.
///
/// # Errors
///
/// `NOT_FOUND`; `CONFLICT` for one that is closed; `VALIDATION_FAILED`.
pub async fn close_report(permit: &Permit, id: Uuid, ruling: &Ruling) -> Result<Report> {
    let id = permit
        .write_once(CloseReport {
            id,
            actor: permit.member()?.member,
            reason: ruling.without_end()?,
        })
        .await?;
    report_by_id(permit, id).await
}

struct CloseReport {
    id: Uuid,
    actor: Uuid,
    reason: String,
}

impl Operation for CloseReport {
    type Output = Uuid;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Uuid> {
        let author = store::author_of_reported(tx, self.id).await?;
        let author = author.ok_or_else(|| Error::not_found("report"))?;
        if !store::close_report(tx, self.id).await? {
            return Err(Error::new(Kind::Conflict, "this report is closed already"));
        }
        tx.audit(Act {
            actor: self.actor,
            action: Action::CloseReport,
            subject: Some(author),
            reason: Some(self.reason.clone()),
            until: None,
        })
        .await?;
        Ok(self.id)
    }
}

/// Why one who keeps order acts, and until when (Unix milliseconds); no end: for good.
#[derive(Clone, Debug, Serialize)]
pub struct Ruling {
    pub reason: String,
    pub until: Option<i64>,
}

impl Ruling {
    /// The reason of an act that has no end.
    fn without_end(&self) -> Result<String> {
        let mut checks = Checks::new();
        let reason = checks.name("reason", &self.reason, REASON);
        if self.until.is_some() {
            checks.refuse("until", "must be absent: this does not end");
        }
        checks.done()?;
        Ok(reason)
    }
}

/// What a member is kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Sending.
    Mute,
    /// Everything.
    Ban,
}

/// Mutes or bans a member, in place of what was ruled before.
///
/// # Errors
///
/// `NOT_FOUND`, `FORBIDDEN` for whom the caller may not act on, `VALIDATION_FAILED`.
pub async fn rule(permit: &Permit, measure: Measure, username: &str, ruling: &Ruling) -> Result<Seen> {
    let mut checks = Checks::new();
    let reason = checks.name("reason", &ruling.reason, REASON);
    checks.done()?;
    let caller = permit.member()?;
    permit
        .write_once(Rule {
            actor: caller.member,
            role: caller.role,
            measure,
            username: username.to_owned(),
            reason,
            until: ruling.until,
        })
        .await
}

struct Rule {
    actor: Uuid,
    role: Role,
    measure: Measure,
    username: String,
    reason: String,
    until: Option<i64>,
}

impl Operation for Rule {
    type Output = Seen;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Seen> {
        if self.until.is_some_and(|until| until <= tx.now()) {
            return Err(Error::invalid("until", "must be in the future"));
        }
        let subject = subject(tx, self.actor, self.role, &self.username).await?;
        let action = match self.measure {
            Measure::Mute => Action::Mute,
            Measure::Ban => Action::Ban,
        };
        store::rule(tx, subject.id, self.measure, &self.reason, self.until).await?;
        tx.audit(Act {
            actor: self.actor,
            action,
            subject: Some(subject.id),
            reason: Some(self.reason.clone()),
            until: self.until,
        })
        .await?;
        Ok(subject)
    }
}

/// Ends a member's mute and ban.
///
/// # Errors
///
/// `NOT_FOUND`, `FORBIDDEN` for whom the caller may not act on, `CONFLICT` where there is nothing to end,
/// `VALIDATION_FAILED`.
pub async fn reinstate(permit: &Permit, username: &str, ruling: &Ruling) -> Result<Seen> {
    let reason = ruling.without_end()?;
    let caller = permit.member()?;
    permit
        .write_once(Reinstate {
            actor: caller.member,
            role: caller.role,
            username: username.to_owned(),
            reason,
        })
        .await
}

struct Reinstate {
    actor: Uuid,
    role: Role,
    username: String,
    reason: String,
}

impl Operation for Reinstate {
    type Output = Seen;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Seen> {
        let subject = subject(tx, self.actor, self.role, &self.username).await?;
        if !store::reinstate(tx, subject.id).await? {
            return Err(Error::new(Kind::Conflict, "this member is neither muted nor banned"));
        }
        tx.audit(Act {
            actor: self.actor,
            action: Action::Reinstate,
            subject: Some(subject.id),
            reason: Some(self.reason.clone()),
            until: None,
        })
        .await?;
        Ok(subject)
    }
}

/// The member whom an act is about, of whom every node is to hear; with the role that they have in this transaction.
async fn subject(tx: &mut Tx<'_>, actor: Uuid, role: Role, username: &str) -> Result<Seen> {
    let id = profiles::seen(tx, username).await?.id;
    tx.revoke(id).await?;
    // What changes a role or deletes an account has had its turn, or waits for this.
    let subject = profiles::seen(tx, username).await?;
    let subject_role = subject.role.parse().map_err(Error::internal)?;
    may_act((actor, role), (subject.id, subject_role))?;
    Ok(subject)
}

/// Moderators act on members, admins on all; nobody on themselves.
fn may_act(actor: (Uuid, Role), subject: (Uuid, Role)) -> Result<()> {
    if actor.0 == subject.0 {
        return Err(Error::new(Kind::Forbidden, "nobody acts on themselves"));
    }
    match (actor.1, subject.1) {
        (Role::Moderator, Role::Member) | (Role::Admin, _) => Ok(()),
        _ => Err(Error::new(
            Kind::Forbidden,
            "this needs a higher role than the member's",
        )),
    }
}

/// What those who keep order did, newest first.
pub async fn audit_log(permit: &Permit, after: Option<i64>, limit: u64) -> Result<Vec<Entry>> {
    store::audit_log(permit, after, limit).await
}

/// # Errors
///
/// `NOT_FOUND`.
pub async fn audit_entry(permit: &Permit, id: Uuid) -> Result<Entry> {
    let found = store::audit_entry(permit, id).await?;
    found.ok_or_else(|| Error::not_found("audit entry"))
}

/// Takes back what a member told the moderators, and what they were told of the member's messages, which
/// [`chat::erase`] has left to the member `deleted`: the account is being deleted.
pub async fn erase(tx: &Tx<'_>, member: Uuid) -> Result<()> {
    // Whoever writes what points to the member has had their turn, or waits for this.
    tx.hold_member(member).await?;
    store::erase(tx, member).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_acts_on_whom() {
        use Role::{Admin, Member, Moderator};
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for (actor, subject, may) in [
            (Member, Member, false),
            (Member, Moderator, false),
            (Member, Admin, false),
            (Moderator, Member, true),
            (Moderator, Moderator, false),
            (Moderator, Admin, false),
            (Admin, Member, true),
            (Admin, Moderator, true),
            (Admin, Admin, true),
        ] {
            let acts = may_act((one, actor), (other, subject));
            assert_eq!(acts.is_ok(), may, "{actor:?} on {subject:?}");
        }
        for role in Role::ALL {
            assert!(may_act((one, *role), (one, *role)).is_err(), "{role:?} on themselves");
        }
    }

    #[test]
    fn an_act_without_an_end_refuses_one() {
        let ruling = |until| Ruling {
            reason: "enough".into(),
            until,
        };
        assert_eq!(ruling(None).without_end().unwrap(), "enough");
        let error = ruling(Some(i64::MAX)).without_end().unwrap_err();
        assert!(error.details()["fields"]["until"].is_string());
    }
}
