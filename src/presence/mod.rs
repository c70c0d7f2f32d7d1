//! Who is in a room now, and who types; live only.

use std::sync::Arc;

use tokio::sync::broadcast;
use uuid::Uuid;

/// A member as presence knows them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    pub id: Uuid,
    pub username: Arc<str>,
}

/// What changed in a room.
#[derive(Clone, Debug)]
pub struct Change {
    pub room: Uuid,
    pub kind: ChangeKind,
    pub member: Member,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Joined,
    Left,
    Typing,
}

pub struct Presence(broadcast::Sender<Change>);
pub struct Stay;

impl Presence {
    pub fn memory() -> Self {
        Self(broadcast::channel(1024).0)
    }

    pub fn enter(&self, _: Uuid, _: Member) -> Stay {
        Stay
    }

    pub fn typing(&self, _: Uuid, _: &Member) {}

    pub fn members(&self, _: Uuid) -> Vec<Member> {
        Vec::new()
    }

    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }
}
