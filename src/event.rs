//! Everything that can happen.

use async_graphql::Enum;

use crate::gate::rules::names;

/// What an event says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum)]
pub enum EventKind {
    /// A message was sent.
    MessageNew,
    /// A message was edited.
    MessageEdit,
    /// A message was deleted.
    MessageDelete,
    /// A member changed their profile.
    ProfileUpdate,
    /// A trigger was created public, or became public.
    TriggerShared,
    /// Only by `pingWebhook`; cannot be subscribed to.
    WebhookPing,
}

names!(EventKind {
    MessageNew = "MESSAGE_NEW", "message.new";
    MessageEdit = "MESSAGE_EDIT", "message.edit";
    MessageDelete = "MESSAGE_DELETE", "message.delete";
    ProfileUpdate = "PROFILE_UPDATE", "profile.update";
    TriggerShared = "TRIGGER_SHARED", "trigger.shared";
    WebhookPing = "WEBHOOK_PING", "webhook.ping";
});
