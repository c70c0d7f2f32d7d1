//! Who is in a room now, and who types there: on this node, or on all nodes that share a Redis.
//!
//! Presence is live only. None of it is kept anywhere but in the memory of nodes, a change that is missed is not told
//! again, and what nobody says any more is over. Losing Redis delays what is known of other nodes, and does no more.

use std::{io, sync::Arc, time::Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use uuid::Uuid;

mod gossip;
mod memory;
mod redis;
#[cfg(test)]
mod tests;

pub use self::{
    memory::{Memory, Stay},
    redis::Redis,
};

/// Who is in a room: told apart by id, shown by username.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    pub id: Uuid,
    pub username: Arc<str>,
}

/// What happened in a room, just now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    pub room: Uuid,
    pub kind: ChangeKind,
    pub member: Member,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The member's first connection, on any node, came into the room.
    Joined,
    /// The member's last connection, on any node, left the room, or its node is gone.
    Left,
    /// The member types.
    Typing,
}

/// Who is in which room. One for each node.
#[derive(Debug)]
pub enum Presence {
    /// In process, for a node that is alone.
    Memory(Memory),
    /// Over Redis, for nodes that share rooms.
    Redis(Redis),
}

impl Presence {
    /// The presence of one node.
    pub fn memory() -> Self {
        Self::Memory(Memory::new())
    }

    /// The presence of all nodes on the Redis at `url`, over the channel `{prefix}presence`. Comes back at once: it
    /// [is up](Presence::is_up) once Redis is there, whenever that is. When it is dropped it says goodbye to the other
    /// nodes, if the runtime still lets it; [`close`](Presence::close) waits for that.
    ///
    /// A node that ends without a goodbye is gone for the others after six to eight seconds. Of each other node, up to
    /// 100,000 members in rooms are known. Usernames that make a message of over 256 KiB are not told.
    ///
    /// # Errors
    /// `InvalidInput` where `url` is not the address of a Redis.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn redis(url: &str, prefix: &str) -> io::Result<Self> {
        Redis::start(url, prefix).map(Self::Redis)
    }

    /// A connection of the member comes into the room, and is there until the stay is dropped. Never waits.
    ///
    /// A member's first connection in a room is told as [`Joined`](ChangeKind::Joined) and the end of the last as
    /// [`Left`](ChangeKind::Left), over all nodes that this one hears of; in between nothing is told. What happens on
    /// this node is heard here once this returns.
    pub fn enter(&self, room: Uuid, member: Member) -> Stay {
        self.here().enter(room, member)
    }

    /// Tells everyone in the room that the member types. Within a second of having told it, this node does not tell it
    /// again. Does not ask whether the member is there.
    pub fn typing(&self, room: Uuid, member: &Member) {
        self.here().typing(room, member, Instant::now());
    }

    /// Everyone who is in the room on any node, each once, by username.
    pub fn members(&self, room: Uuid) -> Vec<Member> {
        self.here().members(room)
    }

    /// How many members are in rooms on any node, each once.
    pub fn count(&self) -> usize {
        self.here().count()
    }

    /// Hears every change in any room from now on, in the order in which [`members`](Presence::members) follows them.
    /// A listener that `Lagged` has missed some for good.
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.here().listen()
    }

    /// Whether other nodes are heard; always so in process. May stay true for three seconds after a Redis fell silent
    /// without hanging up. While it is false, members on other nodes stay as they were last known.
    pub fn is_up(&self) -> bool {
        match self {
            Presence::Memory(_) => true,
            Presence::Redis(redis) => redis.is_up(),
        }
    }

    /// Says goodbye: for other nodes, whoever is in rooms on this one leaves at once. Waits for that, a second at most.
    /// What happens here afterwards is told on this node only.
    pub async fn close(&self) {
        match self {
            Presence::Memory(_) => {}
            Presence::Redis(redis) => redis.close().await,
        }
    }

    fn here(&self) -> &Memory {
        match self {
            Presence::Memory(memory) => memory,
            Presence::Redis(redis) => redis.here(),
        }
    }
}
