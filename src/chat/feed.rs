//! The reader of rooms: history, then live, without a seam.
//!
//! A room that someone follows has one feed on a node, which reads each event once. Followers who see the same share a
//! group, in which an event is rendered once; each goes through the group's window at its own pace. One that is behind
//! the window, because it resumes from long ago or reads slowly, reads the log itself until it has caught up: it costs
//! the others nothing and is never dropped. Events are passed on by their number, so none is lost or comes twice.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use slab::Slab;
use tokio::{
    sync::{Notify, broadcast::error::RecvError},
    time::{MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use super::{Room, View, store};
use crate::{
    error::Result,
    gate::{Permit, counted_as, log},
    presence::{self, Presence},
};

/// How many events are read at once.
const PAGE: u64 = 256;
/// How many events a group keeps for its followers, and about how many bytes of them.
const WINDOW: usize = 1_024;
const WINDOW_BYTES: usize = 1024 * 1024;
/// How much a follower takes at once: what it holds while its connection is slow.
const TAKEN: usize = 256;
const TAKEN_BYTES: usize = 64 * 1024;
/// How many joins, leaves and typing signs of a room may wait to be told; more are left out.
const LIVE: usize = 1_024;
/// How often the numbers of followed rooms are looked up although nobody rang, and with the doorbell away. Source: the
/// protocol, One log; DESIGN.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_WITHOUT_BELL: Duration = Duration::from_millis(250);
/// How long a feed waits for a database that does not answer.
const READ_AGAIN: Duration = Duration::from_millis(250);

/// Something that followers of a room are told.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The event's number in the room; for what is live only, that of the event before it.
    pub seq: i64,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Message {
        event: Uuid,
        change: Change,
        /// As it was when it was read, which is not before the event.
        message: Arc<View>,
    },
    /// Live only.
    Member {
        room: Arc<Room>,
        change: presence::ChangeKind,
        member: presence::Member,
    },
}

/// What happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Edited,
    Deleted,
}

impl Entry {
    /// What to resume after; none for what is live only.
    pub fn event(&self) -> Option<Uuid> {
        match &self.what {
            What::Message { event, .. } => Some(*event),
            What::Member { .. } => None,
        }
    }

    /// Whose doing it is: who has blocked them is not told.
    pub fn by(&self) -> Uuid {
        match &self.what {
            What::Message { message, .. } => message.author.id,
            What::Member { member, .. } => member.id,
        }
    }

    fn message(&self) -> Option<&Arc<View>> {
        match &self.what {
            What::Message { message, .. } => Some(message),
            What::Member { .. } => None,
        }
    }

    fn size(&self) -> usize {
        self.message().map_or(0, |message| message.content.len())
    }
}

/// What became of an entry.
#[derive(Clone, Debug)]
pub enum Rendered {
    /// For everyone who sees the same.
    Frame(Bytes),
    /// This stream does not tell of it.
    Nothing,
    /// It depends on who is asking.
    PerCaller,
}

/// Renders an entry.
pub type Render = Arc<dyn Fn(Arc<Entry>) -> BoxFuture<'static, Rendered> + Send + Sync>;

/// Who sees the same of a room.
#[derive(Clone)]
pub enum Audience {
    /// Everyone who names the same rendering, which does not depend on the caller.
    Shared { rendering: String, render: Render },
    /// Everyone sees for themselves.
    Own,
}

/// What a follower is given.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What to resume after; none for what is live only.
    pub event: Option<Uuid>,
    /// Whose doing it is: who has blocked them is not told.
    pub by: Uuid,
    pub frame: Bytes,
}

/// The feeds of a node. Cheap to clone.
#[derive(Clone)]
pub struct Feeds(Arc<Shared>);

struct Shared {
    permit: Permit,
    /// How many events a group keeps.
    window: usize,
    rooms: Mutex<HashMap<Uuid, Weak<Feed>>>,
}

struct Feed {
    room: Arc<Room>,
    permit: Permit,
    window: usize,
    /// Rung when there is something to read or to tell.
    bell: Arc<Notify>,
    state: Mutex<State>,
}

struct State {
    /// The number of the last event that has been read.
    through: i64,
    groups: HashMap<String, Weak<Group>>,
    live: VecDeque<What>,
}

/// The rendering of a group in which everyone sees for themselves.
const OWN: &str = "";

struct Group {
    feed: Arc<Feed>,
    render: Option<Render>,
    window: Mutex<Window>,
    followers: Mutex<Slab<Arc<Notify>>>,
}

struct Window {
    entries: VecDeque<Shown>,
    /// The place of the first of them; places grow by one.
    first: u64,
    bytes: usize,
    /// Events up to this number are not in the window.
    base: i64,
    /// Events up to this number have been told.
    through: i64,
}

#[derive(Clone)]
struct Shown {
    entry: Arc<Entry>,
    /// None: it depends on who is asking.
    frame: Option<Bytes>,
}

impl Shown {
    fn size(&self) -> usize {
        size_of::<Entry>() + self.entry.size() + self.frame.as_ref().map_or(0, Bytes::len)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feeds {
    /// `permit` is a system permit for tailing.
    pub fn new(permit: Permit) -> Self {
        Self::with_window(permit, WINDOW)
    }

    fn with_window(permit: Permit, window: usize) -> Self {
        Self(Arc::new(Shared {
            permit,
            window,
            rooms: Mutex::default(),
        }))
    }

    /// Follows a room from after an event's number, or from now on. `wake` is rung when there is something to
    /// [take](Follower::take); several followers may share it.
    ///
    /// # Errors
    ///
    /// A database that does not answer.
    pub async fn follow(
        &self,
        room: &Arc<Room>,
        after: Option<i64>,
        audience: Audience,
        own: Render,
        wake: &Arc<Notify>,
    ) -> Result<Follower> {
        let feed = match self.running(room.id) {
            Some(feed) => feed,
            None => {
                let through = log::subject_seq(&self.0.permit, room.id).await?;
                self.start(room, through)
            }
        };
        let group = feed.group(audience);
        let (live_from, place, seq) = {
            let window = lock(&group.window);
            let end = window.first + window.entries.len() as u64;
            match after {
                Some(seq) => (end, 0, seq),
                None => (end, end, window.through),
            }
        };
        let slot = lock(&group.followers).insert(wake.clone());
        wake.notify_one();
        Ok(Follower {
            group,
            slot,
            own,
            live_from,
            place,
            seq,
        })
    }

    fn running(&self, room: Uuid) -> Option<Arc<Feed>> {
        lock(&self.0.rooms).get(&room)?.upgrade()
    }

    fn start(&self, room: &Arc<Room>, through: i64) -> Arc<Feed> {
        let mut rooms = lock(&self.0.rooms);
        if let Some(feed) = rooms.get(&room.id).and_then(Weak::upgrade) {
            return feed;
        }
        rooms.retain(|_, feed| feed.strong_count() > 0);
        let feed = Arc::new(Feed {
            room: room.clone(),
            permit: self.0.permit.clone(),
            window: self.0.window,
            bell: Arc::default(),
            state: Mutex::new(State {
                through,
                groups: HashMap::new(),
                live: VecDeque::new(),
            }),
        });
        rooms.insert(room.id, Arc::downgrade(&feed));
        tokio::spawn(counted_as("feeds", read(Arc::downgrade(&feed), feed.bell.clone())));
        feed
    }

    /// Wakes feeds when the doorbell rings for their rooms, when their numbers have grown unheard, and when members come,
    /// go and type. Runs for as long as the node does.
    pub async fn watch(self, presence: Arc<Presence>) {
        counted_as("feeds", self.keep_watch(presence)).await;
    }

    async fn keep_watch(self, presence: Arc<Presence>) {
        let gate = self.0.permit.gate().clone();
        let mut bell = gate.doorbell().listen();
        let mut changes = presence.listen();
        let mut look = interval(LOOK_WITHOUT_BELL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = tokio::time::Instant::now();
        loop {
            tokio::select! {
                rung = bell.recv() => match rung {
                    Ok(subject) => if let Some(feed) = self.running(subject) { feed.bell.notify_one() },
                    Err(RecvError::Lagged(_)) => self.all().iter().for_each(|feed| feed.bell.notify_one()),
                    Err(RecvError::Closed) => return,
                },
                change = changes.recv() => match change {
                    Ok(change) => self.tell(change),
                    // Live only: who comes later sees who is there.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                _ = look.tick() => {
                    if looked.elapsed() >= LOOK_EVERY || !gate.doorbell().is_up() {
                        looked = tokio::time::Instant::now();
                        self.look().await;
                    }
                }
            }
        }
    }

    fn all(&self) -> Vec<Arc<Feed>> {
        lock(&self.0.rooms).values().filter_map(Weak::upgrade).collect()
    }

    fn tell(&self, change: presence::Change) {
        let Some(feed) = self.running(change.room) else {
            return;
        };
        {
            let mut state = lock(&feed.state);
            if state.live.len() >= LIVE {
                return;
            }
            state.live.push_back(What::Member {
                room: feed.room.clone(),
                change: change.kind,
                member: change.member,
            });
        }
        feed.bell.notify_one();
    }

    /// Wakes the feeds whose rooms have events that were not read, with one statement for all.
    async fn look(&self) {
        let feeds = self.all();
        if feeds.is_empty() {
            return;
        }
        let rooms: Vec<Uuid> = feeds.iter().map(|feed| feed.room.id).collect();
        match log::subject_seqs(&self.0.permit, &rooms).await {
            Ok(seqs) => {
                for feed in feeds {
                    if seqs.get(&feed.room.id).is_some_and(|seq| *seq > feed.through()) {
                        feed.bell.notify_one();
                    }
                }
            }
            Err(error) => tracing::warn!(?error, "the log cannot be read"),
        }
    }
}

/// Reads a room's events for as long as someone follows it.
async fn read(feed: Weak<Feed>, bell: Arc<Notify>) {
    loop {
        let Some(feed) = feed.upgrade() else {
            return;
        };
        match feed.read_on().await {
            Ok(true) => {}
            Ok(false) => {
                drop(feed);
                bell.notified().await;
            }
            Err(error) => {
                tracing::warn!(?error, room = %feed.room.name, "a room cannot be read");
                drop(feed);
                sleep(READ_AGAIN).await;
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.bell.notify_one();
    }
}

impl Feed {
    fn through(&self) -> i64 {
        lock(&self.state).through
    }

    /// Reads a page of events and tells them, and then what is live; whether there may be more.
    async fn read_on(&self) -> Result<bool> {
        let entries = store::entries(&self.permit, &self.room, self.through(), PAGE).await?;
        let more = entries.len() as u64 == PAGE;
        let (told, through, groups) = {
            let mut state = lock(&self.state);
            let through = entries.last().map_or(state.through, |entry| entry.seq);
            state.through = through;
            let live = state.live.drain(..).map(|what| Entry { seq: through, what });
            let told: Vec<_> = entries.into_iter().chain(live).map(Arc::new).collect();
            state.groups.retain(|_, group| group.strong_count() > 0);
            let groups: Vec<_> = state.groups.values().filter_map(Weak::upgrade).collect();
            (told, through, groups)
        };
        if !told.is_empty() {
            join_all(groups.iter().map(|group| group.tell(&told, through))).await;
        }
        Ok(more)
    }

    fn group(self: &Arc<Self>, audience: Audience) -> Arc<Group> {
        let (rendering, render) = match audience {
            Audience::Shared { rendering, render } => (rendering, Some(render)),
            Audience::Own => (OWN.to_owned(), None),
        };
        let mut state = lock(&self.state);
        if let Some(group) = state.groups.get(&rendering).and_then(Weak::upgrade) {
            return group;
        }
        let group = Arc::new(Group {
            feed: self.clone(),
            render,
            window: Mutex::new(Window {
                entries: VecDeque::new(),
                first: 0,
                bytes: 0,
                base: state.through,
                through: state.through,
            }),
            followers: Mutex::default(),
        });
        state.groups.insert(rendering, Arc::downgrade(&group));
        group
    }
}

impl Group {
    /// Puts entries into the window and wakes who follows.
    async fn tell(&self, entries: &[Arc<Entry>], through: i64) {
        let mut shown = Vec::with_capacity(entries.len());
        for entry in entries {
            if let What::Message {
                change: Change::Edited | Change::Deleted,
                message,
                ..
            } = &entry.what
            {
                self.refresh(message).await;
            }
            let frame = match self.show(entry.clone()).await {
                Rendered::Frame(frame) => Some(frame),
                Rendered::PerCaller => None,
                Rendered::Nothing => continue,
            };
            shown.push(Shown {
                entry: entry.clone(),
                frame,
            });
        }
        let is_news = !shown.is_empty();
        {
            let mut window = lock(&self.window);
            window.through = through;
            for shown in shown {
                window.bytes += shown.size();
                window.entries.push_back(shown);
            }
            window.shrink(self.feed.window);
        }
        if is_news {
            for (_, follower) in &*lock(&self.followers) {
                follower.notify_one();
            }
        }
    }

    async fn show(&self, entry: Arc<Entry>) -> Rendered {
        match &self.render {
            Some(render) => render(entry).await,
            None => Rendered::PerCaller,
        }
    }

    /// Shows a message that has changed as it is now, to those too who have not read yet what happened to it before.
    async fn refresh(&self, message: &Arc<View>) {
        let outdated: Vec<(u64, Arc<Entry>)> = {
            let window = lock(&self.window);
            let places = window.entries.iter().enumerate();
            places
                .filter(|(_, shown)| shown.entry.message().is_some_and(|shown| shown.id == message.id))
                .map(|(index, shown)| (window.first + index as u64, shown.entry.clone()))
                .collect()
        };
        for (place, entry) in outdated {
            let mut entry = Entry::clone(&entry);
            if let What::Message { message: shown, .. } = &mut entry.what {
                *shown = message.clone();
            }
            let entry = Arc::new(entry);
            let frame = match self.show(entry.clone()).await {
                Rendered::Frame(frame) => Some(frame),
                Rendered::PerCaller | Rendered::Nothing => None,
            };
            // Only this task changes the window: what was there still is.
            let mut window = lock(&self.window);
            let index = (place - window.first) as usize;
            let shown = Shown { entry, frame };
            window.bytes = window.bytes + shown.size() - window.entries[index].size();
            window.entries[index] = shown;
        }
    }

    fn take(&self, live_from: u64, place: u64, seq: i64) -> Taken {
        let window = lock(&self.window);
        if seq < window.base {
            return Taken::Behind { base: window.base };
        }
        let end = window.first + window.entries.len() as u64;
        let mut taken = Taken::Window {
            shown: Vec::new(),
            place: end,
            seq: window.through.max(seq),
        };
        let Taken::Window {
            shown,
            place: reached,
            seq: through,
        } = &mut taken
        else {
            return taken;
        };
        let start = place.max(window.first);
        let mut bytes = 0;
        for (index, entry) in window.entries.range((start - window.first) as usize..).enumerate() {
            if shown.len() == TAKEN || bytes > TAKEN_BYTES {
                *reached = start + index as u64;
                *through = shown.iter().map(|shown| shown.entry.seq).fold(seq, i64::max);
                break;
            }
            let is_past = match entry.entry.message() {
                Some(_) => entry.entry.seq <= seq,
                None => start + (index as u64) < live_from,
            };
            if is_past {
                continue;
            }
            bytes += entry.size();
            shown.push(entry.clone());
        }
        taken
    }
}

impl Window {
    /// Drops the oldest entries until what is left is within bounds.
    fn shrink(&mut self, most: usize) {
        while self.entries.len() > most || (self.bytes > WINDOW_BYTES && self.entries.len() > 1) {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.first += 1;
            self.bytes -= oldest.size();
            self.base = self.base.max(oldest.entry.seq);
        }
    }
}

enum Taken {
    Window { shown: Vec<Shown>, place: u64, seq: i64 },
    Behind { base: i64 },
}

/// Someone who follows a room.
pub struct Follower {
    group: Arc<Group>,
    /// Where the group keeps whom to wake.
    slot: usize,
    own: Render,
    /// The place in the window that it began at: what is live only and stands before it was another time's.
    live_from: u64,
    /// The place in the window to go on from.
    place: u64,
    /// Events up to this number have been taken.
    seq: i64,
}

impl Follower {
    /// What comes next, in order; empty where there is nothing more for now. Does not wait for events. Cancel safe.
    ///
    /// # Errors
    ///
    /// A database that does not answer: what was to come is still to come.
    pub async fn take(&mut self) -> Result<Vec<Delivery>> {
        loop {
            let (shown, place, seq) = match self.group.take(self.live_from, self.place, self.seq) {
                Taken::Window { shown, place, seq } => (shown, place, seq),
                Taken::Behind { base } => {
                    let feed = &self.group.feed;
                    let entries = store::entries(&feed.permit, &feed.room, self.seq, TAKEN as u64).await?;
                    // Nothing where the log no longer goes back so far.
                    let seq = entries.last().map_or(base, |entry| entry.seq);
                    let mut shown = Vec::with_capacity(entries.len());
                    for entry in entries.into_iter().map(Arc::new) {
                        let frame = match self.group.show(entry.clone()).await {
                            Rendered::Frame(frame) => Some(frame),
                            Rendered::PerCaller => None,
                            Rendered::Nothing => continue,
                        };
                        shown.push(Shown { entry, frame });
                    }
                    (shown, self.place, seq)
                }
            };
            let went_on = (place, seq) != (self.place, self.seq);
            let deliveries = self.deliver(shown).await;
            (self.place, self.seq) = (place, seq);
            if !deliveries.is_empty() || !went_on {
                return Ok(deliveries);
            }
        }
    }

    async fn deliver(&self, shown: Vec<Shown>) -> Vec<Delivery> {
        let mut deliveries = Vec::with_capacity(shown.len());
        for Shown { entry, frame } in shown {
            let (event, by) = (entry.event(), entry.by());
            let frame = match frame {
                Some(frame) => frame,
                None => match (self.own)(entry).await {
                    Rendered::Frame(frame) => frame,
                    Rendered::Nothing | Rendered::PerCaller => continue,
                },
            };
            deliveries.push(Delivery { event, by, frame });
        }
        deliveries
    }

    /// The room that is followed.
    pub fn room(&self) -> &Arc<Room> {
        &self.group.feed.room
    }

    /// Renders what depends on the caller by other means from now on: the caller has changed.
    pub fn render_own(&mut self, own: Render) {
        self.own = own;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        lock(&self.group.followers).remove(self.slot);
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
