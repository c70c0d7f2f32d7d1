//! The meter of one node: sharded maps under plain mutexes, which nothing holds across an await.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Bucket, LOGIN_FAILURES, LOGIN_WINDOW, LoginKey, TICKET_LIFETIME, Tally, WINDOW};

/// A power of two, several times the cores of a large machine: threads seldom meet in one.
const SHARDS: usize = 64;
/// What a table of 4,096 slots holds before it grows.
const WINDOWS_PER_SHARD: usize = 3_584;
/// Most tickets at once: what over a thousand members can ask for within a ticket's lifetime.
const TICKETS: usize = 65_536;

/// What tells the time to a [`Memory`].
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's monotonic clock.
    #[default]
    System,
    /// One that tests move.
    Manual(ManualClock),
}

impl Clock {
    fn now(&self) -> Instant {
        match self {
            Clock::System => Instant::now(),
            Clock::Manual(clock) => clock.origin + Duration::from_nanos(clock.elapsed.load(Ordering::Relaxed)),
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Clock::Manual(clock)
    }
}

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock {
    origin: Instant,
    elapsed: Arc<AtomicU64>,
}

impl ManualClock {
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            elapsed: Arc::default(),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).expect("tests stay within five centuries");
        self.elapsed.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

/// The limits and tickets of one node.
///
/// Memory is bounded: 229,376 windows of each kind (15 MB and 17 MB) and 65,536 tickets. What has ended is swept
/// out as new ones come. Where callers from more networks than that come within one window, windows are dropped to
/// make room, whichever they are: their callers start afresh, which is worth less to whoever floods the meter than the
/// requests that the flood took. With too many tickets the oldest are dropped.
#[derive(Debug)]
pub struct Memory {
    clock: Clock,
    budgets: Windows<Bucket>,
    // Apart from the budgets: a flood of addresses must not make the node forget failed logins.
    logins: Windows<LoginKey>,
    tickets: Mutex<Tickets>,
}

impl Memory {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            budgets: Windows::new(WINDOW, WINDOWS_PER_SHARD),
            logins: Windows::new(LOGIN_WINDOW, WINDOWS_PER_SHARD),
            tickets: Mutex::new(Tickets::new(TICKETS)),
        }
    }

    pub(super) fn take(&self, bucket: &Bucket, cost: u32, limit: u32) -> Tally {
        self.budgets.take(bucket, cost, limit, self.clock.now()).0
    }

    /// Takes over what Redis says of a budget's open window.
    pub(super) fn follow(&self, bucket: &Bucket, seen: Tally) {
        self.budgets.follow(bucket, seen, self.clock.now());
    }

    pub(super) fn begin_login(&self, key: &LoginKey) -> Result<WindowId, Duration> {
        match self.logins.take(key, 1, LOGIN_FAILURES, self.clock.now()) {
            (Tally { granted: true, .. }, window) => Ok(window),
            (refused, _) => Err(refused.reset),
        }
    }

    /// Takes over what Redis says of failed logins.
    pub(super) fn follow_logins(&self, key: &LoginKey, seen: Tally) -> WindowId {
        self.logins.follow(key, seen, self.clock.now())
    }

    pub(super) fn undo_login(&self, key: &LoginKey, window: WindowId) {
        self.logins.undo(key, window);
    }

    pub(super) fn put_ticket(&self, hash: [u8; 32], value: String) {
        self.tickets().put(hash, value, self.clock.now());
    }

    pub(super) fn take_ticket(&self, hash: &[u8; 32]) -> Option<String> {
        self.tickets().take(hash, self.clock.now())
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().expect("nothing panics while it holds the tickets")
    }
}

/// Names one window of a key, and no other that the key has later: when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowId(Instant);

#[derive(Clone, Copy, Debug)]
struct Window {
    spent: u32,
    ends: Instant,
}

impl Window {
    fn is_open(&self, now: Instant) -> bool {
        now < self.ends
    }
}

/// Fixed windows of one length, each from the first charge of its key.
#[derive(Debug)]
struct Windows<K> {
    length: Duration,
    capacity: usize,
    // Random for each process: callers choose their keys, but not where these go.
    hasher: RandomState,
    shards: Box<[Mutex<Shard<K>>]>,
}

#[derive(Debug)]
struct Shard<K> {
    windows: HashMap<Hashed<K>, Window, BuildHasherDefault<HashedAlready>>,
    next_sweep: Option<Instant>,
}

/// A key with its hash, which finds its shard and then its place there: hashing twice would cost as much as asking for the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hashed<K> {
    hash: u64,
    key: K,
}

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Takes the hash that a [`Hashed`] carries for what it is.
#[derive(Clone, Copy, Debug, Default)]
struct HashedAlready(u64);

impl Hasher for HashedAlready {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a hashed key writes its hash alone");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<K: Copy + Eq + Hash> Windows<K> {
    /// Holds up to `capacity` windows in each shard.
    fn new(length: Duration, capacity: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                windows: HashMap::default(),
                next_sweep: None,
            })
        };
        Self {
            length,
            capacity,
            hasher: RandomState::new(),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }
    }

    fn take(&self, key: &K, cost: u32, limit: u32, now: Instant) -> (Tally, WindowId) {
        let (key, mut shard) = self.shard(key);
        let open = shard.windows.get_mut(&key).filter(|window| window.is_open(now));
        let (spent, ends) = open.as_ref().map_or((0, now + self.length), |w| (w.spent, w.ends));
        let charged = spent.checked_add(cost).filter(|charged| *charged <= limit);
        if let Some(spent) = charged.filter(|_| cost > 0) {
            match open {
                Some(window) => window.spent = spent,
                None => shard.open(key, Window { spent, ends }, self.length, self.capacity, now),
            }
        }
        let tally = Tally {
            granted: charged.is_some(),
            spent: charged.unwrap_or(spent),
            reset: ends - now,
        };
        (tally, WindowId(ends))
    }

    /// Makes the window one that was seen elsewhere. Answers that overtake each other leave the highest.
    fn follow(&self, key: &K, seen: Tally, now: Instant) -> WindowId {
        /// More than answers are late by, less than windows are apart.
        const SLACK: Duration = Duration::from_secs(1);
        let ends = now + seen.reset;
        let (key, mut shard) = self.shard(key);
        match shard.windows.get_mut(&key) {
            Some(window) if window.is_open(now) && ends <= window.ends + SLACK => {
                window.spent = window.spent.max(seen.spent);
                WindowId(window.ends)
            }
            _ => {
                let window = Window {
                    spent: seen.spent,
                    ends,
                };
                shard.open(key, window, self.length, self.capacity, now);
                WindowId(ends)
            }
        }
    }

    /// Takes back a charge of 1 in that window, if it is still there. One with nothing left in it closes.
    fn undo(&self, key: &K, WindowId(ends): WindowId) {
        let (key, mut shard) = self.shard(key);
        if let Entry::Occupied(mut window) = shard.windows.entry(key)
            && window.get().ends == ends
        {
            window.get_mut().spent -= 1;
            if window.get().spent == 0 {
                window.remove();
            }
        }
    }

    fn shard(&self, key: &K) -> (Hashed<K>, MutexGuard<'_, Shard<K>>) {
        let hash = self.hasher.hash_one(key);
        // Bits from the middle: the map takes those from both ends.
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        let shard = shard.lock().expect("nothing panics while it holds a shard");
        (Hashed { hash, key: *key }, shard)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap().windows.len())
            .sum()
    }
}

impl<K: Copy + Eq + Hash> Shard<K> {
    /// Puts in a window, and keeps within the capacity.
    fn open(&mut self, key: Hashed<K>, window: Window, length: Duration, capacity: usize, now: Instant) {
        let full = self.windows.len() >= capacity;
        if full || self.next_sweep.is_none_or(|due| due <= now) {
            self.windows.retain(|_, window| window.is_open(now));
            self.next_sweep = Some(now + length);
        }
        if self.windows.len() >= capacity {
            // An eighth at once, so that a flood does not pay a sweep for each window. A map's order is random: nobody
            // can choose whose windows go.
            let mut drop = capacity.div_ceil(8);
            self.windows.retain(|_, _| {
                let keep = drop == 0;
                drop = drop.saturating_sub(1);
                keep
            });
        }
        self.windows.insert(key, window);
    }
}

/// Tickets with what they are good for. All live equally long, so the oldest end first.
#[derive(Debug)]
struct Tickets {
    capacity: usize,
    values: HashMap<[u8; 32], (String, Instant)>,
    /// Every ticket of the last [`TICKET_LIFETIME`], the oldest first, taken ones included.
    ends: VecDeque<([u8; 32], Instant)>,
}

impl Tickets {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            values: HashMap::new(),
            ends: VecDeque::new(),
        }
    }

    fn put(&mut self, hash: [u8; 32], value: String, now: Instant) {
        while let Some((oldest, ends)) = self.ends.front()
            && (*ends <= now || self.ends.len() >= self.capacity)
        {
            self.values.remove(oldest);
            self.ends.pop_front();
        }
        let ends = now + TICKET_LIFETIME;
        self.values.insert(hash, (value, ends));
        self.ends.push_back((hash, ends));
    }

    fn take(&mut self, hash: &[u8; 32], now: Instant) -> Option<String> {
        let (value, ends) = self.values.remove(hash)?;
        (now < ends).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn windows_that_ended_are_swept_out() {
        let (windows, now) = (Windows::new(WINDOW, 1_000), Instant::now());
        for key in 0..100 {
            windows.take(&key, 1, 1, now);
        }
        let later = now + WINDOW;
        for key in 1_000..5_000 {
            windows.take(&key, 1, 1, later);
        }
        for key in 0..100 {
            assert!(windows.take(&key, 0, 1, later).0.granted);
        }
        assert_eq!(
            windows.len(),
            4_000,
            "every shard was swept, and no open window dropped"
        );
    }

    #[test]
    fn a_flood_does_not_grow_the_map() {
        let (windows, now) = (Windows::new(WINDOW, 8), Instant::now());
        for key in 0..10_000 {
            assert!(windows.take(&key, 1, 1, now).0.granted);
        }
        assert!(windows.len() <= 8 * SHARDS, "{}", windows.len());
        assert!(windows.len() >= 6 * SHARDS, "{}", windows.len());
        for shard in &windows.shards {
            assert!(shard.lock().unwrap().windows.capacity() <= 14);
        }
    }

    #[test]
    fn what_is_looked_at_or_refused_opens_no_window() {
        let (windows, now) = (Windows::new(WINDOW, 8), Instant::now());
        assert!(windows.take(&1, 0, 0, now).0.granted);
        assert!(!windows.take(&1, 2, 1, now).0.granted);
        assert!(!windows.take(&1, u32::MAX, 1, now).0.granted);
        assert_eq!(windows.len(), 0);
    }

    #[test]
    fn following_keeps_the_highest_of_one_window_and_starts_the_next() {
        let (windows, now) = (Windows::new(WINDOW, 8), Instant::now());
        let seen = |spent, reset| Tally {
            granted: true,
            spent,
            reset,
        };
        let first = windows.follow(&1, seen(5, 30 * SECOND), now);
        assert_eq!(windows.follow(&1, seen(4, 30 * SECOND), now), first, "overtaken");
        assert_eq!(windows.take(&1, 0, 60, now).0, seen(5, 30 * SECOND));
        assert_ne!(windows.follow(&1, seen(1, 60 * SECOND), now), first, "begun anew");
        assert_eq!(windows.take(&1, 0, 60, now).0, seen(1, 60 * SECOND));
    }

    #[test]
    fn undoing_is_for_its_own_window() {
        let (windows, now) = (Windows::new(WINDOW, 8), Instant::now());
        let (_, first) = windows.take(&1, 1, 5, now);
        let later = now + WINDOW;
        let (_, second) = windows.take(&1, 1, 5, later);
        windows.undo(&1, first);
        assert_eq!(windows.take(&1, 0, 5, later).0.spent, 1);
        windows.undo(&1, second);
        windows.undo(&1, second);
        assert_eq!(windows.len(), 0);
    }

    #[test]
    fn too_many_tickets_drop_the_oldest() {
        let (mut tickets, now) = (Tickets::new(2), Instant::now());
        for n in 1..=3 {
            tickets.put([n; 32], n.to_string(), now);
        }
        assert_eq!(tickets.take(&[1; 32], now), None);
        assert_eq!(tickets.take(&[2; 32], now), Some("2".to_owned()));
        assert_eq!(tickets.take(&[3; 32], now), Some("3".to_owned()));
        assert!(tickets.ends.len() <= 2);
    }

    #[test]
    fn tickets_that_ended_are_swept_out() {
        let (mut tickets, now) = (Tickets::new(1_000), Instant::now());
        for n in 0..100 {
            tickets.put([n; 32], String::new(), now);
        }
        tickets.put([100; 32], String::new(), now + TICKET_LIFETIME);
        assert_eq!((tickets.values.len(), tickets.ends.len()), (1, 1));
    }
}
