//! The record of what moderators and admins did, written in the transaction of what they did.

use uuid::Uuid;

use super::Tx;
use crate::error::Result;

/// What one who keeps order did.
#[derive(Clone, Debug)]
pub struct Act {
    pub actor: Uuid,
    pub action: Action,
    /// The member whom it concerns.
    pub subject: Option<Uuid>,
    pub reason: Option<String>,
    /// When it ends, in Unix milliseconds; none: for good, or there is nothing to end.
    pub until: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Mute,
    Ban,
    Reinstate,
    CloseReport,
    DeleteMessage,
}

impl Action {
    /// As the audit log shows it.
    pub fn name(self) -> &'static str {
        match self {
            Action::Mute => "mute",
            Action::Ban => "ban",
            Action::Reinstate => "reinstate",
            Action::CloseReport => "closeReport",
            Action::DeleteMessage => "deleteMessage",
        }
    }
}

impl Tx<'_> {
    /// Writes an act into the audit log.
    pub async fn audit(&self, act: Act) -> Result<()> {
        self.execute(
            "INSERT INTO audit_entries (id, actor_id, action, subject_id, reason, until, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                Uuid::now_v7().into(),
                act.actor.into(),
                act.action.name().into(),
                act.subject.into(),
                act.reason.into(),
                act.until.into(),
                self.now().into(),
            ],
        )
        .await?;
        Ok(())
    }
}
