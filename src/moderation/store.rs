use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Value};
use uuid::Uuid;

use super::{MOST_BLOCKED, MOST_REPORTS, MakeReport, Measure, State};
use crate::{
    error::{Error, Kind, Result},
    gate::{Permit, Tx, sql},
    profiles::{DELETED, Seen},
};

/// A report, with who made it.
#[derive(Clone, Debug)]
pub struct Report {
    pub n: i64,
    pub id: Uuid,
    pub message: Uuid,
    /// What the message said when it was reported.
    pub content: String,
    pub reporter: Seen,
    pub reason: String,
    pub created_at: i64,
    pub closed_at: Option<i64>,
}

/// An act of one who keeps order.
#[derive(Clone, Debug)]
pub struct Entry {
    pub n: i64,
    pub id: Uuid,
    pub actor: Seen,
    pub action: String,
    /// The member whom it concerns.
    pub subject: Option<Seen>,
    pub reason: Option<String>,
    pub until: Option<i64>,
    pub created_at: i64,
}

/// Reads id, username, role and time of registration from the column at `index` on.
fn seen(row: &QueryResult, index: usize) -> Result<Seen, DbErr> {
    Ok(Seen {
        id: row.try_get_by_index(index)?,
        username: row.try_get_by_index(index + 1)?,
        role: row.try_get_by_index(index + 2)?,
        created_at: row.try_get_by_index(index + 3)?,
    })
}

pub async fn blocked(permit: &Permit, member: Uuid) -> Result<Vec<Seen>> {
    let statement = sql(
        permit.gate().backend(),
        "SELECT m.id, m.username, m.role, m.created_at FROM blocks b JOIN members m ON m.id = b.blocked_id
         WHERE b.blocker_id = ? ORDER BY b.created_at, b.blocked_id",
        [member.into()],
    );
    let rows = permit.read().query_all_raw(statement).await?;
    Ok(rows.iter().map(|row| seen(row, 0)).collect::<Result<_, _>>()?)
}

/// Whether there was room for it, and the other member is there. The blocker is held and has not blocked them.
pub async fn block(tx: &Tx<'_>, blocker: Uuid, blocked: Uuid) -> Result<bool> {
    let written = tx
        .execute(
            "INSERT INTO blocks (blocker_id, blocked_id, created_at)
             SELECT ?, m.id, ? FROM members m
             WHERE m.id = ? AND (SELECT count(*) FROM blocks WHERE blocker_id = ?) < ?
             ON CONFLICT (blocker_id, blocked_id) DO UPDATE SET created_at = blocks.created_at",
            [
                blocker.into(),
                tx.now().into(),
                blocked.into(),
                blocker.into(),
                MOST_BLOCKED.into(),
            ],
        )
        .await?;
    Ok(written > 0)
}

pub async fn unblock(tx: &Tx<'_>, blocker: Uuid, blocked: Uuid) -> Result<()> {
    tx.execute(
        "DELETE FROM blocks WHERE blocker_id = ? AND blocked_id = ?",
        [blocker.into(), blocked.into()],
    )
    .await?;
    Ok(())
}

/// Writes a report of a member who is held.
pub async fn insert_report(tx: &Tx<'_>, report: &MakeReport, content: &str) -> Result<()> {
    let written = tx
        .execute(
            "INSERT INTO reports (id, message_id, reporter_id, content, reason, created_at)
             SELECT ?, ?, m.id, ?, ?, ? FROM members m
             WHERE m.id = ? AND (SELECT count(*) FROM reports WHERE reporter_id = ? AND closed_at IS NULL) < ?
             ON CONFLICT (message_id, reporter_id) DO NOTHING",
            [
                report.id.into(),
                report.message.into(),
                content.into(),
                report.reason.as_str().into(),
                tx.now().into(),
                report.caller.into(),
                report.caller.into(),
                MOST_REPORTS.into(),
            ],
        )
        .await?;
    if written > 0 {
        return Ok(());
    }
    let same = sql(
        tx.backend(),
        "SELECT 1 FROM reports WHERE message_id = ? AND reporter_id = ?",
        [report.message.into(), report.caller.into()],
    );
    let message = match tx.query_one_raw(same).await? {
        Some(_) => "you have reported this message".to_owned(),
        None => format!("a member may have {MOST_REPORTS} open reports at most"),
    };
    Err(Error::new(Kind::Conflict, message))
}

const REPORT: &str = "SELECT r.n, r.id, r.message_id, r.content, r.reason, r.created_at, r.closed_at,
         m.id, m.username, m.role, m.created_at FROM reports r JOIN members m ON m.id = r.reporter_id";

fn report_of(row: &QueryResult) -> Result<Report, DbErr> {
    Ok(Report {
        n: row.try_get_by_index(0)?,
        id: row.try_get_by_index(1)?,
        message: row.try_get_by_index(2)?,
        content: row.try_get_by_index(3)?,
        reason: row.try_get_by_index(4)?,
        created_at: row.try_get_by_index(5)?,
        closed_at: row.try_get_by_index(6)?,
        reporter: seen(row, 7)?,
    })
}

pub async fn reports(permit: &Permit, state: State, after: Option<i64>, limit: u64) -> Result<Vec<Report>> {
    let condition = match state {
        State::Open => "r.closed_at IS NULL",
        State::Closed => "r.closed_at IS NOT NULL",
    };
    let text = format!("{REPORT} WHERE {condition} AND r.n < ? ORDER BY r.n DESC LIMIT {limit}");
    let statement = sql(permit.gate().backend(), &text, [after.unwrap_or(i64::MAX).into()]);
    let rows = permit.read().query_all_raw(statement).await?;
    Ok(rows.iter().map(report_of).collect::<Result<_, _>>()?)
}

pub async fn report(permit: &Permit, id: Uuid) -> Result<Option<Report>> {
    let text = format!("{REPORT} WHERE r.id = ?");
    let statement = sql(permit.gate().backend(), &text, [id.into()]);
    let found = permit.read().query_one_raw(statement).await?;
    Ok(found.as_ref().map(report_of).transpose()?)
}

/// Who wrote what a report is about; none where there is no such report.
pub async fn author_of_reported(tx: &Tx<'_>, report: Uuid) -> Result<Option<Uuid>> {
    // Held: an account that is being deleted leaves its messages to another member.
    let text = match tx.backend() {
        DbBackend::Postgres => {
            "SELECT m.author_id FROM reports r JOIN messages m ON m.id = r.message_id WHERE r.id = ? FOR SHARE OF m"
        }
        _ => "SELECT m.author_id FROM reports r JOIN messages m ON m.id = r.message_id WHERE r.id = ?",
    };
    let found = tx.query_one_raw(sql(tx.backend(), text, [report.into()])).await?;
    Ok(found.map(|row| row.try_get_by_index(0)).transpose()?)
}

/// Whether it was open.
pub async fn close_report(tx: &Tx<'_>, id: Uuid) -> Result<bool> {
    let closed = tx
        .execute(
            "UPDATE reports SET closed_at = ? WHERE id = ? AND closed_at IS NULL",
            [tx.now().into(), id.into()],
        )
        .await?;
    Ok(closed > 0)
}

pub async fn rule(tx: &Tx<'_>, member: Uuid, measure: Measure, reason: &str, until: Option<i64>) -> Result<()> {
    let text = match measure {
        Measure::Mute => "UPDATE members SET muted_at = ?, muted_until = ?, mute_reason = ? WHERE id = ?",
        Measure::Ban => "UPDATE members SET banned_at = ?, banned_until = ?, ban_reason = ? WHERE id = ?",
    };
    let values: [Value; 4] = [tx.now().into(), until.into(), reason.into(), member.into()];
    tx.execute(text, values).await?;
    Ok(())
}

/// Whether there was a mute or ban to end.
pub async fn reinstate(tx: &Tx<'_>, member: Uuid) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE members SET muted_at = NULL, muted_until = NULL, mute_reason = NULL,
                 banned_at = NULL, banned_until = NULL, ban_reason = NULL
             WHERE id = ? AND ((muted_at IS NOT NULL AND (muted_until IS NULL OR muted_until > ?))
                 OR (banned_at IS NOT NULL AND (banned_until IS NULL OR banned_until > ?)))",
            [member.into(), tx.now().into(), tx.now().into()],
        )
        .await?;
    Ok(changed > 0)
}

const ENTRY: &str = "SELECT e.n, e.id, e.action, e.reason, e.until, e.created_at,
         a.id, a.username, a.role, a.created_at, s.id, s.username, s.role, s.created_at
     FROM audit_entries e JOIN members a ON a.id = e.actor_id LEFT JOIN members s ON s.id = e.subject_id";

fn entry(row: &QueryResult) -> Result<Entry, DbErr> {
    let subject: Option<Uuid> = row.try_get_by_index(10)?;
    Ok(Entry {
        n: row.try_get_by_index(0)?,
        id: row.try_get_by_index(1)?,
        action: row.try_get_by_index(2)?,
        reason: row.try_get_by_index(3)?,
        until: row.try_get_by_index(4)?,
        created_at: row.try_get_by_index(5)?,
        actor: seen(row, 6)?,
        subject: subject.map(|_| seen(row, 10)).transpose()?,
    })
}

pub async fn audit_log(permit: &Permit, after: Option<i64>, limit: u64) -> Result<Vec<Entry>> {
    let text = format!("{ENTRY} WHERE e.n < ? ORDER BY e.n DESC LIMIT {limit}");
    let statement = sql(permit.gate().backend(), &text, [after.unwrap_or(i64::MAX).into()]);
    let rows = permit.read().query_all_raw(statement).await?;
    Ok(rows.iter().map(entry).collect::<Result<_, _>>()?)
}

pub async fn audit_entry(permit: &Permit, id: Uuid) -> Result<Option<Entry>> {
    let text = format!("{ENTRY} WHERE e.id = ?");
    let statement = sql(permit.gate().backend(), &text, [id.into()]);
    let found = permit.read().query_one_raw(statement).await?;
    Ok(found.as_ref().map(entry).transpose()?)
}

pub async fn erase(tx: &Tx<'_>, member: Uuid) -> Result<()> {
    // The member `deleted` has one report of a message at most, as any other: one that is open stays before one that
    // is closed.
    tx.execute(
        "DELETE FROM reports WHERE reporter_id = ? AND closed_at IS NOT NULL AND message_id IN
             (SELECT message_id FROM reports WHERE reporter_id = ? AND closed_at IS NULL)",
        [DELETED.into(), member.into()],
    )
    .await?;
    tx.execute(
        "DELETE FROM reports WHERE reporter_id = ? AND message_id IN
             (SELECT message_id FROM reports WHERE reporter_id = ?)",
        [member.into(), DELETED.into()],
    )
    .await?;
    tx.execute(
        "UPDATE reports SET reason = '', reporter_id = ? WHERE reporter_id = ?",
        [DELETED.into(), member.into()],
    )
    .await?;
    tx.execute(
        "UPDATE reports SET content = '' WHERE content <> '' AND EXISTS
             (SELECT 1 FROM messages m WHERE m.id = reports.message_id AND m.author_id = ?)",
        [DELETED.into()],
    )
    .await?;
    for column in ["actor_id", "subject_id"] {
        let text = format!("UPDATE audit_entries SET {column} = ? WHERE {column} = ?");
        tx.execute(&text, [DELETED.into(), member.into()]).await?;
    }
    Ok(())
}
