//! Who is in which room, as one node knows it: maps under a plain mutex, which nothing holds across an await.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry as Slot},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{broadcast, mpsc};
use uuid::Uuid;

use super::{
    Change, ChangeKind, Member,
    gossip::{Entry, News},
};

/// How many changes a listener may be behind before it misses some: seconds of a busy node.
const CAPACITY: usize = 4_096;
/// How long after a member's typing was told it is not told again.
const TYPING: Duration = Duration::from_secs(1);
/// How many members may type within a second; the typing of more is not told.
const TYPISTS: usize = 65_536;
/// How many steps of other nodes are taken at once, while who enters and leaves here waits.
const STEPS: usize = 256;

/// The rooms of one node; for a node that is alone, that is all. Clones are the same rooms.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Shared>);

/// A connection in a room: it leaves when this is dropped.
#[derive(Debug)]
#[must_use = "the connection leaves the room when its stay is dropped"]
pub struct Stay {
    memory: Memory,
    room: Uuid,
    member: Uuid,
    was_told: bool,
}

impl Stay {
    /// Whether it was told that the member joined: no other connection of theirs was known to be there.
    pub fn was_told(&self) -> bool {
        self.was_told
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.memory.leave(self.room, self.member);
    }
}

/// What another node does to the rooms.
#[derive(Debug)]
pub(super) enum Step {
    /// The node has the member in the room from now on.
    Hold(Entry),
    /// The node does no longer have that member in that room.
    Release(Uuid, Uuid),
    Typing(Entry),
}

impl Memory {
    pub(super) fn new() -> Self {
        Self::with(None)
    }

    /// Puts what happens on this node into the queue too, while that [is up](Memory::set_up).
    pub(super) fn telling(queue: mpsc::Sender<News>) -> Self {
        Self::with(Some(Outgoing {
            queue,
            up: AtomicBool::new(false),
        }))
    }

    fn with(outgoing: Option<Outgoing>) -> Self {
        Self(Arc::new(Shared {
            rooms: Mutex::default(),
            typists: Mutex::default(),
            changes: broadcast::Sender::new(CAPACITY),
            outgoing,
        }))
    }

    pub(super) fn enter(&self, room: Uuid, member: Member) -> Stay {
        let mut stay = Stay {
            memory: self.clone(),
            room,
            member: member.id,
            was_told: false,
        };
        let mut rooms = self.rooms();
        match rooms.here.entry((room, member.id)) {
            Slot::Occupied(mut here) => here.get_mut().connections += 1,
            Slot::Vacant(free) => {
                free.insert(Here {
                    member: member.clone(),
                    connections: 1,
                });
                let entry = Entry { room, member };
                let n = rooms.count();
                self.tell(|| News::Joined {
                    n,
                    entry: entry.clone(),
                });
                let joined = rooms.hold(entry);
                stay.was_told = joined.is_some();
                self.change(joined);
            }
        }
        stay
    }

    fn leave(&self, room: Uuid, member: Uuid) {
        let mut rooms = self.rooms();
        let Slot::Occupied(mut here) = rooms.here.entry((room, member)) else {
            unreachable!("who leaves has entered");
        };
        here.get_mut().connections -= 1;
        if here.get().connections == 0 {
            let member = here.remove().member;
            let n = rooms.count();
            let released = rooms.release(room, member.id);
            self.tell(|| News::Left {
                n,
                entry: Entry { room, member },
            });
            self.change(released);
        }
    }

    pub(super) fn typing(&self, room: Uuid, member: &Member, now: Instant) {
        let mut typists = self.0.typists.lock().expect("nothing panics while it holds typists");
        if typists.may(room, member.id, now) {
            drop(typists);
            let entry = Entry {
                room,
                member: member.clone(),
            };
            self.tell(|| News::Typing(entry.clone()));
            self.change(Some(entry.now(ChangeKind::Typing)));
        }
    }

    pub(super) fn members(&self, room: Uuid) -> Vec<Member> {
        let rooms = self.rooms();
        let seats = rooms.present.get(&room).into_iter().flat_map(HashMap::values);
        let mut members: Vec<_> = seats.map(|seat| seat.member.clone()).collect();
        drop(rooms);
        members.sort_unstable_by(|a, b| (&a.username, a.id).cmp(&(&b.username, b.id)));
        members
    }

    pub(super) fn count(&self) -> usize {
        let rooms = self.rooms();
        let present: Vec<Uuid> = rooms.present.values().flat_map(HashMap::keys).copied().collect();
        drop(rooms);
        present.into_iter().collect::<HashSet<_>>().len()
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// Takes another node's steps, in their order.
    pub(super) fn follow(&self, steps: Vec<Step>) {
        let mut steps = steps.into_iter();
        while steps.len() > 0 {
            let mut rooms = self.rooms();
            for step in steps.by_ref().take(STEPS) {
                self.change(match step {
                    Step::Hold(entry) => rooms.hold(entry),
                    Step::Release(room, member) => rooms.release(room, member),
                    Step::Typing(entry) => Some(entry.now(ChangeKind::Typing)),
                });
            }
        }
    }

    /// Who is in rooms on this node, and the number of the last coming and going that led there.
    pub(super) fn here(&self) -> (u64, Vec<Entry>) {
        let rooms = self.rooms();
        let here = rooms.here.iter().map(|((room, _), here)| Entry {
            room: *room,
            member: here.member.clone(),
        });
        (rooms.counter, here.collect())
    }

    /// How many times a member has come into a room of this node, and left one.
    pub(super) fn counter(&self) -> u64 {
        self.rooms().counter
    }

    pub(super) fn is_up(&self) -> bool {
        let outgoing = self.0.outgoing.as_ref();
        outgoing.is_some_and(|outgoing| outgoing.up.load(Ordering::Relaxed))
    }

    pub(super) fn set_up(&self, up: Up) {
        if let Some(outgoing) = &self.0.outgoing {
            outgoing.up.store(up == Up::Yes, Ordering::Relaxed);
        }
    }

    /// Called with the rooms locked wherever the news are numbered, so that they are queued in order. And so that what
    /// is not queued, because nobody was up to hear it, is in every [`here`](Memory::here) that is asked for after
    /// that changed.
    fn tell(&self, news: impl FnOnce() -> News) {
        if let Some(outgoing) = &self.0.outgoing
            && self.is_up()
        {
            // Fails where the queue is full. Other nodes miss the number, and ask for everything.
            let _ = outgoing.queue.try_send(news());
        }
    }

    fn change(&self, change: Option<Change>) {
        if let Some(change) = change {
            // Fails where nobody listens, which is nobody's loss.
            let _ = self.0.changes.send(change);
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.0.rooms.lock().expect("nothing panics while it holds the rooms")
    }
}

/// Whether what happens here is told to other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Up {
    Yes,
    No,
}

#[derive(Debug)]
struct Shared {
    rooms: Mutex<Rooms>,
    typists: Mutex<Typists>,
    changes: broadcast::Sender<Change>,
    outgoing: Option<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    queue: mpsc::Sender<News>,
    up: AtomicBool,
}

#[derive(Debug, Default)]
struct Rooms {
    /// By room, then by member. No room is empty.
    present: HashMap<Uuid, HashMap<Uuid, Seat>>,
    /// By room and member.
    here: HashMap<(Uuid, Uuid), Here>,
    counter: u64,
}

/// A member in a room.
#[derive(Debug)]
struct Seat {
    member: Member,
    /// How many nodes have the member there.
    nodes: usize,
}

/// A member in a room on this node.
#[derive(Debug)]
struct Here {
    member: Member,
    connections: usize,
}

impl Rooms {
    /// The number of the next coming or going on this node.
    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// One more node has the member in the room.
    fn hold(&mut self, entry: Entry) -> Option<Change> {
        match self.present.entry(entry.room).or_default().entry(entry.member.id) {
            Slot::Occupied(mut seat) => {
                seat.get_mut().nodes += 1;
                None
            }
            Slot::Vacant(free) => {
                free.insert(Seat {
                    member: entry.member.clone(),
                    nodes: 1,
                });
                Some(entry.now(ChangeKind::Joined))
            }
        }
    }

    /// One node less has the member in the room.
    fn release(&mut self, room: Uuid, member: Uuid) -> Option<Change> {
        let Slot::Occupied(mut seats) = self.present.entry(room) else {
            unreachable!("a room that is left was entered");
        };
        let Slot::Occupied(mut seat) = seats.get_mut().entry(member) else {
            unreachable!("a member that leaves has entered");
        };
        seat.get_mut().nodes -= 1;
        if seat.get().nodes > 0 {
            return None;
        }
        let member = seat.remove().member;
        if seats.get().is_empty() {
            seats.remove();
        }
        Some(Entry { room, member }.now(ChangeKind::Left))
    }
}

/// Who typed within the last second, and for a while longer who did before that.
#[derive(Debug, Default)]
struct Typists {
    told: HashMap<(Uuid, Uuid), Instant>,
    next_sweep: Option<Instant>,
}

impl Typists {
    /// Whether the member's typing is to be told now.
    fn may(&mut self, room: Uuid, member: Uuid, now: Instant) -> bool {
        let is_over = |told: Instant| now.saturating_duration_since(told) >= TYPING;
        if self.next_sweep.is_none_or(|due| due <= now) {
            self.told.retain(|_, told| !is_over(*told));
            self.next_sweep = Some(now + TYPING);
        }
        let has_room = self.told.len() < TYPISTS;
        match self.told.entry((room, member)) {
            Slot::Occupied(mut told) if is_over(*told.get()) => {
                told.insert(now);
                true
            }
            Slot::Vacant(free) if has_room => {
                free.insert(now);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(username: &str) -> Member {
        Member {
            id: Uuid::now_v7(),
            username: username.into(),
        }
    }

    #[test]
    fn typing_is_told_once_a_second_for_each_member_and_room() {
        let memory = Memory::new();
        let mut changes = memory.listen();
        let (ada, bob) = (member("ada"), member("bob"));
        let (room, other, start) = (Uuid::now_v7(), Uuid::now_v7(), Instant::now());
        let mut told = |room, member, after| {
            memory.typing(room, member, start + Duration::from_millis(after));
            match changes.try_recv() {
                Ok(change) => {
                    assert_eq!((change.room, change.kind), (room, ChangeKind::Typing));
                    assert_eq!(change.member, *member);
                    true
                }
                Err(error) => {
                    assert_eq!(error, broadcast::error::TryRecvError::Empty);
                    false
                }
            }
        };
        assert!(told(room, &ada, 0));
        assert!(told(room, &bob, 500));
        assert!(told(other, &ada, 500));
        assert!(!told(room, &ada, 999));
        assert!(
            told(room, &ada, 1_000),
            "a second after it was told, not after it was asked for"
        );
        assert!(!told(room, &bob, 1_499));
        assert!(told(room, &bob, 1_500));
        assert!(!told(room, &ada, 500), "a clock that another thread read before");
    }

    #[test]
    fn typists_are_forgotten_and_never_too_many() {
        let (mut typists, now) = (Typists::default(), Instant::now());
        let room = Uuid::now_v7();
        for n in 0..TYPISTS {
            assert!(typists.may(room, Uuid::from_u128(n as u128), now));
        }
        assert!(!typists.may(room, Uuid::max(), now));
        assert_eq!(typists.told.len(), TYPISTS);
        assert!(typists.may(room, Uuid::max(), now + TYPING));
        assert_eq!(typists.told.len(), 1);
    }

    #[test]
    fn nothing_is_left_of_who_left() {
        let memory = Memory::new();
        let ada = member("ada");
        let stays: Vec<_> = (0..100)
            .map(|n| memory.enter(Uuid::from_u128(n % 50), ada.clone()))
            .collect();
        assert_eq!(memory.rooms().present.len(), 50);
        drop(stays);
        assert!(memory.rooms().present.is_empty());
        assert!(memory.rooms().here.is_empty());
    }

    #[test]
    fn what_is_not_queued_is_counted() {
        let (queue, mut news) = mpsc::channel(2);
        let memory = Memory::telling(queue);
        let (room, ada) = (Uuid::now_v7(), member("ada"));
        drop(memory.enter(room, ada.clone()));
        assert!(news.try_recv().is_err(), "nobody was up to hear it");
        memory.set_up(Up::Yes);
        let _first = memory.enter(room, ada.clone());
        drop(memory.enter(room, ada.clone())); // nothing to tell
        let stay = memory.enter(room, member("bob"));
        drop(stay); // no place left
        let numbers = std::iter::from_fn(|| news.try_recv().ok()).map(|news| news.number());
        assert_eq!(numbers.collect::<Vec<_>>(), [Some(3), Some(4)]);
        let (counter, here) = memory.here();
        assert_eq!(counter, 5);
        assert_eq!(here, [Entry { room, member: ada }]);
    }
}
