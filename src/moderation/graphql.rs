use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::{Entry as Act, Measure, Report as Row, Ruling, State};
use crate::{
    chat::graphql::{Message, chat},
    error::{Error, Result},
    gate::Permit,
    graphql::{
        context::{loaders, permit, permit_once},
        page::{self, Entry, connection, no_cursor},
        resolve::One,
        scalars::DateTime,
    },
    id::IdKind,
    moderation,
    profiles::graphql::User,
    text::Checks,
};

/// What a member told the moderators of a message.
#[derive(Clone)]
pub struct Report {
    row: Row,
    permit: Permit,
}

impl Report {
    pub fn new(row: Row, permit: &Permit) -> Self {
        Self {
            row,
            permit: permit.clone(),
        }
    }
}

/// What a member told the moderators of a message.
#[Object]
impl Report {
    /// The report's id, `report_…`.
    pub async fn id(&self) -> ID {
        IdKind::Report.encode(self.row.id).into()
    }

    /// The message as it is now, whomever the caller has blocked.
    async fn message(&self, ctx: &Context<'_>) -> Result<One<Message>> {
        let view = chat(ctx)
            .any_message(&self.permit, loaders(ctx), self.row.message)
            .await?;
        Ok(One(Message::new(view, &self.permit)))
    }

    /// The message as it was when it was reported.
    async fn content(&self) -> &str {
        &self.row.content
    }

    /// Who reported it.
    async fn reporter(&self) -> One<User> {
        One(User::seen(self.row.reporter.clone(), &self.permit))
    }

    /// Why.
    async fn reason(&self) -> &str {
        &self.row.reason
    }

    /// When it was reported.
    async fn created_at(&self) -> DateTime {
        DateTime::new(self.row.created_at)
    }

    /// When a moderator closed the report.
    async fn closed_at(&self) -> Option<DateTime> {
        self.row.closed_at.map(DateTime::new)
    }
}

impl Entry for Report {
    fn cursor(&self) -> String {
        page::opaque(&self.row.n.to_string())
    }
}

connection!(ReportConnection, ReportEdge, Report, "reports");

/// What one who keeps order did.
#[derive(Clone)]
pub struct AuditEntry {
    act: Act,
    permit: Permit,
}

impl AuditEntry {
    pub fn new(act: Act, permit: &Permit) -> Self {
        Self {
            act,
            permit: permit.clone(),
        }
    }
}

/// What one who keeps order did.
#[Object]
impl AuditEntry {
    /// The entry's id, `audit_…`.
    pub async fn id(&self) -> ID {
        IdKind::AuditEntry.encode(self.act.id).into()
    }

    /// Who did it; `deleted` where the account is gone.
    async fn actor(&self) -> One<User> {
        One(User::seen(self.act.actor.clone(), &self.permit))
    }

    /// What was done: `mute`, `ban`, `reinstate`, `closeReport` or `deleteMessage`.
    async fn action(&self) -> &str {
        &self.act.action
    }

    /// The member whom it concerns; `deleted` where the account is gone.
    async fn subject(&self) -> Option<One<User>> {
        let subject = self.act.subject.clone();
        subject.map(|subject| One(User::seen(subject, &self.permit)))
    }

    /// Why.
    async fn reason(&self) -> Option<&str> {
        self.act.reason.as_deref()
    }

    /// When a mute or ban ends; null for good, and where there is nothing to end.
    async fn until(&self) -> Option<DateTime> {
        self.act.until.map(DateTime::new)
    }

    /// When it was done.
    async fn created_at(&self) -> DateTime {
        DateTime::new(self.act.created_at)
    }
}

impl Entry for AuditEntry {
    fn cursor(&self) -> String {
        page::opaque(&self.act.n.to_string())
    }
}

connection!(
    AuditEntryConnection,
    AuditEntryEdge,
    AuditEntry,
    "acts of moderators and admins"
);

fn read_cursor(after: &Option<String>) -> Result<Option<i64>> {
    let read = |cursor: &String| page::reveal(cursor)?.parse().map_err(|_| no_cursor("after"));
    after.as_ref().map(read).transpose()
}

/// Whom the caller has blocked.
pub async fn blocked(permit: &Permit) -> Result<Vec<User>> {
    let members = moderation::blocked(permit).await?;
    Ok(members.into_iter().map(|seen| User::seen(seen, permit)).collect())
}

/// Why a message is reported.
#[derive(InputObject)]
pub struct ReportInput {
    /// 1 to 500 characters, for the moderators.
    reason: String,
}

/// Why, and until when.
#[derive(InputObject)]
pub struct ModerateInput {
    /// 1 to 500 characters, for the member and the audit log.
    reason: String,
    /// When a mute or ban ends; absent: for good. Where nothing is to end it must be absent.
    until: Option<DateTime>,
}

impl ModerateInput {
    fn read(self) -> Result<Ruling> {
        let mut checks = Checks::new();
        let until = self.until.map(|at| at.check(&mut checks, "until"));
        checks.done()?;
        Ok(Ruling {
            reason: self.reason,
            until,
        })
    }
}

/// The member who is blocked.
#[derive(SimpleObject)]
pub struct BlockMemberPayload {
    /// The member.
    user: User,
}

/// The member who is not blocked any more.
#[derive(SimpleObject)]
pub struct UnblockMemberPayload {
    /// The member.
    user: User,
}

/// The report was made.
#[derive(SimpleObject)]
pub struct ReportMessagePayload {
    /// The report's id, `report_…`.
    id: ID,
}

/// The member who is muted.
#[derive(SimpleObject)]
pub struct MuteMemberPayload {
    /// The member.
    user: User,
}

/// The member who is banned.
#[derive(SimpleObject)]
pub struct BanMemberPayload {
    /// The member.
    user: User,
}

/// The member whose mute or ban has ended.
#[derive(SimpleObject)]
pub struct ReinstateMemberPayload {
    /// The member.
    user: User,
}

/// The report that is closed.
#[derive(SimpleObject)]
pub struct CloseReportPayload {
    /// The report.
    report: Report,
}

#[derive(Default)]
pub struct ModerationQuery;

#[Object]
impl ModerationQuery {
    /// Reports of messages, newest first.
    async fn reports(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Whether to list what waits for a moderator, or what is closed.",
            default = true
        )]
        open: bool,
        #[graphql(desc = "How many at most, 1 to 100.", default = 50)] first: i32,
        #[graphql(desc = "The cursor of the entry to start after.")] after: Option<String>,
    ) -> Result<Option<ReportConnection>> {
        let permit = permit(ctx)?;
        let first = page::first(first)?;
        let state = if open { State::Open } else { State::Closed };
        let rows = moderation::reports(&permit, state, read_cursor(&after)?, first as u64 + 1).await?;
        let rows = rows.into_iter().map(|row| Report::new(row, &permit)).collect();
        Ok(Some(ReportConnection::forwards(rows, first, after.is_some())))
    }

    /// Every act of a moderator or admin, newest first.
    async fn audit_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most, 1 to 100.", default = 50)] first: i32,
        #[graphql(desc = "The cursor of the entry to start after.")] after: Option<String>,
    ) -> Result<Option<AuditEntryConnection>> {
        let permit = permit(ctx)?;
        let first = page::first(first)?;
        let rows = moderation::audit_log(&permit, read_cursor(&after)?, first as u64 + 1).await?;
        let rows = rows.into_iter().map(|row| AuditEntry::new(row, &permit)).collect();
        Ok(Some(AuditEntryConnection::forwards(rows, first, after.is_some())))
    }
}

#[derive(Default)]
pub struct ModerationMutation;

#[Object]
impl ModerationMutation {
    /// Hides a member from the caller, everywhere and at once, and takes the member's triggers off the caller's profile.
    /// The member is not told. A member may have blocked 1,000 others.
    async fn block_member(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The member's username, whatever its case.")] username: String,
    ) -> Result<Option<BlockMemberPayload>> {
        let permit = permit_once(ctx, &username.to_ascii_lowercase())?;
        let seen = moderation::block(&permit, &username).await?;
        Ok(Some(BlockMemberPayload {
            user: User::seen(seen, &permit),
        }))
    }

    /// Ends a block. One who is not blocked is no error.
    async fn unblock_member(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The member's username, whatever its case.")] username: String,
    ) -> Result<Option<UnblockMemberPayload>> {
        let permit = permit_once(ctx, &username.to_ascii_lowercase())?;
        let seen = moderation::unblock(&permit, &username).await?;
        Ok(Some(UnblockMemberPayload {
            user: User::seen(seen, &permit),
        }))
    }

    /// Tells the moderators of another member's message, once. Keeps what the message said when it was reported. A member
    /// may have 100 open reports.
    async fn report_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message's id.")] id: ID,
        #[graphql(desc = "Why.")] input: ReportInput,
    ) -> Result<Option<ReportMessagePayload>> {
        let permit = permit_once(ctx, &(&*id, &input.reason))?;
        let message = IdKind::Message.decode(&id).ok_or_else(|| Error::not_found("message"))?;
        let report = moderation::report(&permit, message, &input.reason).await?;
        Ok(Some(ReportMessagePayload {
            id: IdKind::Report.encode(report).into(),
        }))
    }

    /// Keeps a member from sending; they may still read. Takes the place of a mute before it. Moderators act on members,
    /// admins on all but themselves.
    async fn mute_member(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The member's username, whatever its case.")] username: String,
        #[graphql(desc = "Why, and until when.")] input: ModerateInput,
    ) -> Result<Option<MuteMemberPayload>> {
        let ruling = input.read()?;
        let permit = permit_once(ctx, &(username.to_ascii_lowercase(), &ruling))?;
        let seen = moderation::rule(&permit, Measure::Mute, &username, &ruling).await?;
        Ok(Some(MuteMemberPayload {
            user: User::seen(seen, &permit),
        }))
    }

    /// Refuses a member everywhere, login included. Takes the place of a ban before it. Moderators act on members, admins
    /// on all but themselves.
    async fn ban_member(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The member's username, whatever its case.")] username: String,
        #[graphql(desc = "Why, and until when.")] input: ModerateInput,
    ) -> Result<Option<BanMemberPayload>> {
        let ruling = input.read()?;
        let permit = permit_once(ctx, &(username.to_ascii_lowercase(), &ruling))?;
        let seen = moderation::rule(&permit, Measure::Ban, &username, &ruling).await?;
        Ok(Some(BanMemberPayload {
            user: User::seen(seen, &permit),
        }))
    }

    /// Closes a report.
    async fn close_report(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The report's id.")] id: ID,
        #[graphql(desc = "Why; without an end.")] input: ModerateInput,
    ) -> Result<Option<CloseReportPayload>> {
        let ruling = input.read()?;
        let permit = permit_once(ctx, &(&*id, &ruling))?;
        let id = IdKind::Report.decode(&id).ok_or_else(|| Error::not_found("report"))?;
        let row = moderation::close_report(&permit, id, &ruling).await?;
        Ok(Some(CloseReportPayload {
            report: Report::new(row, &permit),
        }))
    }

    /// Ends a mute or a ban.
    async fn reinstate_member(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The member's username, whatever its case.")] username: String,
        #[graphql(desc = "Why; without an end.")] input: ModerateInput,
    ) -> Result<Option<ReinstateMemberPayload>> {
        let ruling = input.read()?;
        let permit = permit_once(ctx, &(username.to_ascii_lowercase(), &ruling))?;
        let seen = moderation::reinstate(&permit, &username, &ruling).await?;
        Ok(Some(ReinstateMemberPayload {
            user: User::seen(seen, &permit),
        }))
    }
}
