//! What nodes say to each other, and what a node makes of it. Nothing here sends or waits.
//!
//! Each node tells its own rooms and no others'. It numbers who comes and goes, 1, 2, 3, …; in heartbeats it says how
//! far it is. Whoever misses a number, or hears of a node for the first time, asks that node for everything: its
//! state, which says up to which number it is true. What one node says arrives in the order in which it was said,
//! where it arrives.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry as Slot},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Change, ChangeKind, Member, Memory, memory::Step};

/// Of messages and their meaning. A node ignores what another version says.
const VERSION: u32 = 1;
/// The longest message, in bytes. Longer ones are ignored.
const MESSAGE: usize = 256 * 1024;
/// What a message needs apart from its entries or news, at most.
const ENVELOPE: usize = 512;
/// What an entry or news need apart from the username, at most.
const ITEM: usize = 256;
/// How many entries are known of another node; the rest is ignored.
const ENTRIES: usize = 100_000;

/// A member in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub room: Uuid,
    pub member: Member,
}

impl Entry {
    pub(super) fn now(self, kind: ChangeKind) -> Change {
        Change {
            room: self.room,
            kind,
            member: self.member,
        }
    }

    fn key(&self) -> (Uuid, Uuid) {
        (self.room, self.member.id)
    }
}

/// What just happened on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum News {
    Joined {
        n: u64,
        entry: Entry,
    },
    Left {
        n: u64,
        entry: Entry,
    },
    /// Has no number: nobody asks for it again.
    Typing(Entry),
}

impl News {
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            News::Joined { n, .. } | News::Left { n, .. } => Some(*n),
            News::Typing(_) => None,
        }
    }

    fn entry(&self) -> &Entry {
        match self {
            News::Joined { entry, .. } | News::Left { entry, .. } | News::Typing(entry) => entry,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    v: u32,
    node: Uuid,
    say: Say,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Say {
    /// The node begins to hear; everyone answers with their state. Its own follows.
    Hello,
    /// The node ends.
    Bye,
    /// That node is to say its state.
    Ask(Uuid),
    /// The node is there. It has told everything up to `counter`, or lost it. `at` are milliseconds by a clock of its
    /// own, and of use to itself only.
    Beat {
        counter: u64,
        at: u64,
    },
    News(Vec<News>),
    State(Part),
}

/// One of the parts of a state, which follow each other.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// The number of the last news that the state has in it.
    counter: u64,
    part: usize,
    parts: usize,
    entries: Vec<Entry>,
}

/// Why a message is ignored.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ignored {
    #[error("{0} bytes are too long")]
    Long(usize),
    #[error(transparent)]
    Malformed(#[from] serde_json::Error),
    #[error("version {0} is not understood")]
    Version(u32),
}

impl Say {
    /// The news, in as few messages as they fit in.
    pub(super) fn news(news: Vec<News>) -> Vec<Say> {
        let messages = split(news, |news| &news.entry().member.username);
        messages.into_iter().map(Say::News).collect()
    }

    /// Everyone who is in rooms on a node, in as few messages as they fit in, which is one at least.
    pub(super) fn state(counter: u64, entries: Vec<Entry>) -> Vec<Say> {
        let mut split = split(entries, |entry| &entry.member.username);
        if split.is_empty() {
            split.push(Vec::new());
        }
        let parts = split.len();
        let part = |(part, entries)| {
            Say::State(Part {
                counter,
                part,
                parts,
                entries,
            })
        };
        split.into_iter().enumerate().map(part).collect()
    }

    /// A heartbeat, which is sent at `now` or later.
    pub(super) fn beat(counter: u64, start: Instant, now: Instant) -> Say {
        let at = now.saturating_duration_since(start).as_millis();
        Say::Beat {
            counter,
            at: at.try_into().expect("nodes end within centuries"),
        }
    }

    pub(super) fn by(self, node: Uuid) -> Message {
        Message {
            v: VERSION,
            node,
            say: self,
        }
    }
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("messages are text, numbers and lists")
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Ignored> {
        if payload.len() > MESSAGE {
            return Err(Ignored::Long(payload.len()));
        }
        // First the version: of another one, nothing else is known.
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        match serde_json::from_slice(payload)? {
            Versioned { v: VERSION } => Ok(serde_json::from_slice(payload)?),
            Versioned { v } => Err(Ignored::Version(v)),
        }
    }
}

/// The items in their order, in lists that fit into a message each; one that fits into none is alone.
fn split<T>(items: Vec<T>, username: impl Fn(&T) -> &str) -> Vec<Vec<T>> {
    let mut lists = Vec::new();
    let mut left = 0;
    for item in items {
        // JSON makes six bytes of one at most.
        let size = ITEM + 6 * username(&item).len();
        match lists.last_mut() {
            Some(list) if size <= left => {
                left -= size;
                Vec::push(list, item);
            }
            _ => {
                left = (MESSAGE - ENVELOPE).saturating_sub(size);
                lists.push(vec![item]);
            }
        }
    }
    lists
}

/// What a node has to say because of what it heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Its state.
    State,
    /// That it wants that node's state.
    Ask(Uuid),
}

/// What is known of the other nodes. Tells it to the rooms of this one.
#[derive(Debug)]
pub(super) struct Peers {
    node: Uuid,
    start: Instant,
    silence: Duration,
    here: Memory,
    peers: HashMap<Uuid, Peer>,
}

impl Peers {
    /// For the node of that id, whose heartbeats count from `start`. Another that is silent for `silence` is dead.
    pub(super) fn new(node: Uuid, start: Instant, silence: Duration, here: Memory) -> Self {
        Self {
            node,
            start,
            silence,
            here,
            peers: HashMap::new(),
        }
    }

    /// From `now` on this node hears again: who was silent before may not have been.
    pub(super) fn hear_again(&mut self, now: Instant) {
        self.peers.values_mut().for_each(|peer| peer.heard = now);
    }

    pub(super) fn hear(&mut self, Message { node, say, .. }: Message, now: Instant) -> Option<Reply> {
        if node == self.node {
            if let Say::Beat { at, .. } = say {
                self.bury(at);
            }
            return None;
        }
        if say == Say::Bye {
            self.forget(node);
            return None;
        }
        let (peer, is_new) = match self.peers.entry(node) {
            Slot::Occupied(peer) => (peer.into_mut(), false),
            Slot::Vacant(free) => (free.insert(Peer::new(now)), true),
        };
        peer.heard = now;
        match say {
            Say::Hello => Some(Reply::State),
            Say::State(part) => {
                self.here.follow(peer.state(node, part));
                None
            }
            Say::News(news) => {
                let was_whole = peer.is_whole;
                self.here.follow(peer.news(node, news));
                // Once; from then on each heartbeat asks again.
                (is_new || was_whole && !peer.is_whole).then_some(Reply::Ask(node))
            }
            Say::Beat { counter, .. } => {
                if peer.counter != counter {
                    (peer.counter, peer.is_whole) = (counter, false);
                }
                (!peer.is_whole).then_some(Reply::Ask(node))
            }
            Say::Ask(of) if of == self.node => Some(Reply::State),
            Say::Ask(_) => is_new.then_some(Reply::Ask(node)),
            Say::Bye => unreachable!("handled above"),
        }
    }

    /// This node's own heartbeat came back. Whatever was said before it was sent has been heard before it, so who has
    /// been silent until then is dead. Comparing with the time of sending, not with now, is what lets a node that
    /// stood still itself, and now hears what piled up, bury nobody.
    fn bury(&mut self, at: u64) {
        let Some(sent) = self.start.checked_add(Duration::from_millis(at)) else {
            return;
        };
        let is_dead = |peer: &Peer| sent.saturating_duration_since(peer.heard) >= self.silence;
        let dead: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| is_dead(peer))
            .map(|(node, _)| *node)
            .collect();
        for node in dead {
            tracing::warn!(%node, "a node fell silent, its members leave");
            self.forget(node);
        }
    }

    fn forget(&mut self, node: Uuid) {
        if let Some(peer) = self.peers.remove(&node) {
            let entries = peer.entries.into_iter();
            self.here
                .follow(entries.map(|(room, member)| Step::Release(room, member)).collect());
        }
    }
}

/// What is known of another node.
#[derive(Debug)]
struct Peer {
    heard: Instant,
    /// The number of the last news that were heard.
    counter: u64,
    /// Whether no news up to that were missed.
    is_whole: bool,
    /// By room and member. The rooms of this node are held for each.
    entries: HashSet<(Uuid, Uuid)>,
    /// The parts of a state that is coming in.
    coming: Option<Coming>,
    has_overflowed: bool,
}

#[derive(Debug)]
struct Coming {
    counter: u64,
    part: usize,
    parts: usize,
    entries: HashMap<(Uuid, Uuid), Entry>,
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            heard: now,
            counter: 0,
            is_whole: false,
            entries: HashSet::new(),
            coming: None,
            has_overflowed: false,
        }
    }

    /// What the news do. They do what they can even where some before them were missed.
    fn news(&mut self, node: Uuid, news: Vec<News>) -> Vec<Step> {
        news.into_iter().filter_map(|news| self.one(node, news)).collect()
    }

    fn one(&mut self, node: Uuid, news: News) -> Option<Step> {
        if let Some(n) = news.number() {
            if n <= self.counter {
                // A state had it in already.
                return None;
            }
            if n - 1 != self.counter {
                self.is_whole = false;
            }
            self.counter = n;
        }
        match news {
            News::Joined { entry, .. } => {
                let is_full = self.entries.len() >= ENTRIES;
                if is_full && !self.entries.contains(&entry.key()) {
                    self.overflow(node);
                    return None;
                }
                self.entries.insert(entry.key()).then_some(Step::Hold(entry))
            }
            News::Left { entry, .. } => {
                let (room, member) = entry.key();
                self.entries
                    .remove(&(room, member))
                    .then_some(Step::Release(room, member))
            }
            News::Typing(entry) => Some(Step::Typing(entry)),
        }
    }

    /// What a part of a state does: nothing, until it is the last one.
    fn state(&mut self, node: Uuid, part: Part) -> Vec<Step> {
        let is_old = part.counter < self.counter;
        let is_known = part.counter == self.counter && self.is_whole;
        if is_old || is_known {
            self.coming = None;
            return Vec::new();
        }
        let mut coming = match self.coming.take() {
            _ if part.part == 0 => Coming {
                counter: part.counter,
                part: 0,
                parts: part.parts,
                entries: HashMap::new(),
            },
            Some(coming) if (coming.counter, coming.part, coming.parts) == (part.counter, part.part, part.parts) => {
                coming
            }
            // A part is missing. The next heartbeat asks for all of them.
            _ => return Vec::new(),
        };
        for entry in part.entries {
            if coming.entries.len() >= ENTRIES && !coming.entries.contains_key(&entry.key()) {
                self.overflow(node);
                break;
            }
            coming.entries.insert(entry.key(), entry);
        }
        coming.part += 1;
        if coming.part < coming.parts {
            self.coming = Some(coming);
            return Vec::new();
        }
        (self.counter, self.is_whole) = (coming.counter, true);
        self.turn_into(coming.entries)
    }

    /// From what was known to what is.
    fn turn_into(&mut self, mut entries: HashMap<(Uuid, Uuid), Entry>) -> Vec<Step> {
        let mut steps = Vec::new();
        self.entries.retain(|(room, member)| {
            let stays = entries.remove(&(*room, *member)).is_some();
            if !stays {
                steps.push(Step::Release(*room, *member));
            }
            stays
        });
        self.entries.extend(entries.keys());
        steps.extend(entries.into_values().map(Step::Hold));
        steps
    }

    fn overflow(&mut self, node: Uuid) {
        if !self.has_overflowed {
            tracing::warn!(%node, "a node has over {ENTRIES} members in rooms, the rest is ignored");
            self.has_overflowed = true;
        }
    }
}

#[cfg(test)]
mod tests;
