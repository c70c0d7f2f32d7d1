//! What callers may spend: the rate limit, the limit on failed logins, and tickets that are good once.
//!
//! A [`Meter`] keeps all three, in process or in a Redis that nodes share. It has no errors: with Redis gone each
//! node goes on alone, from what Redis last told it, until Redis is back.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use sha2::{Digest, Sha256};
use uuid::Uuid;

mod memory;
mod redis;
#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;

pub use self::{
    memory::{Clock, ManualClock, Memory},
    redis::Redis,
};

/// How long a budget lasts, from its first charge. Source: "Rate limit" in the protocol.
pub const WINDOW: Duration = Duration::from_secs(60);
/// How many failed logins an account and address have in a [`LOGIN_WINDOW`]. Source: "Rate limit" in the protocol.
pub const LOGIN_FAILURES: u32 = 5;
/// How long failed logins count, from the first of them.
pub const LOGIN_WINDOW: Duration = Duration::from_secs(15 * 60);
/// How long a ticket is good. Source: "Who is calling" in the protocol.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(60);

/// Where an anonymous caller comes from, as limits tell callers apart: an IPv4 address, or the /64 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    /// An IPv4 address that is mapped into IPv6 is the IPv4 address.
    fn from(address: IpAddr) -> Self {
        const PREFIX: u128 = u128::MAX << 64;
        match address.to_canonical() {
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & PREFIX).into()),
            address => Self(address),
        }
    }
}

/// Whose budget a charge goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// A member, with all logins and keys.
    Member(Uuid),
    /// Whoever calls anonymously from there.
    Address(Network),
}

impl Bucket {
    /// The bucket of an anonymous caller.
    pub fn address(address: IpAddr) -> Self {
        Self::Address(address.into())
    }
}

/// A budget as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What the window has in all.
    pub limit: u32,
    /// What is left of it.
    pub remaining: u32,
    /// Until the window ends; the whole [`WINDOW`] where none is open.
    pub reset: Duration,
}

/// What came of a charge, with the budget after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Charged whole.
    Granted(Budget),
    /// The rest of the budget does not cover it: nothing was charged.
    Refused(Budget),
}

impl Taken {
    /// The budget, whichever way it went.
    pub fn budget(&self) -> &Budget {
        match self {
            Taken::Granted(budget) | Taken::Refused(budget) => budget,
        }
    }
}

/// A window as a store reports it after a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tally {
    granted: bool,
    spent: u32,
    /// Until the window ends; its whole length where none is open.
    reset: Duration,
}

impl Tally {
    fn budget(self, limit: u32) -> Budget {
        Budget {
            limit,
            remaining: limit.saturating_sub(self.spent),
            reset: self.reset,
        }
    }

    fn taken(self, limit: u32) -> Taken {
        match self.granted {
            true => Taken::Granted(self.budget(limit)),
            false => Taken::Refused(self.budget(limit)),
        }
    }
}

/// An account and where its logins come from, as a SHA-256: a store never sees the name.
type LoginKey = [u8; 32];

fn login_key(account: &str, network: Network) -> LoginKey {
    let mut hash = Sha256::new();
    hash.update(account);
    hash.update([0xff]); // ends the account: no byte of UTF-8
    match network.0 {
        IpAddr::V4(address) => hash.update(address.octets()),
        IpAddr::V6(address) => hash.update(address.octets()),
    }
    hash.finalize().into()
}

/// Keeps the limits and the tickets. One for each node; share it in an [`Arc`](std::sync::Arc).
///
/// Everything here is exact under concurrency, and bounded in memory (see [`Memory`]).
#[derive(Debug)]
pub enum Meter {
    /// In process, for a node that is alone.
    Memory(Memory),
    /// In Redis, for nodes that share.
    Redis(Redis),
}

impl Meter {
    /// A meter for one node. Tests give it a [`ManualClock`].
    pub fn memory(clock: impl Into<Clock>) -> Self {
        Self::Memory(Memory::new(clock.into()))
    }

    /// A meter that is shared by all nodes on the Redis at `url`, under keys that start with `prefix`.
    ///
    /// A Redis that does not answer is no error: the meter starts without it after half a second at most.
    ///
    /// # Errors
    /// `InvalidInput` where `url` is not the address of a Redis.
    pub async fn redis(url: &str, prefix: &str) -> io::Result<Self> {
        Redis::start(url, prefix).await.map(Self::Redis)
    }

    /// Whether what is shared is shared at the moment; always so in process.
    pub fn is_healthy(&self) -> bool {
        match self {
            Meter::Memory(_) => true,
            Meter::Redis(redis) => redis.is_healthy(),
        }
    }

    /// Charges `cost` to a budget of `limit` per [`WINDOW`]: whole, or not at all. A window starts with its first
    /// charge, and what costs nothing charges nothing. A limit of 0 refuses whatever costs anything: callers whose
    /// limit is switched off do not ask.
    ///
    /// Waits a quarter of a second at most: a Redis that takes longer counts as gone.
    pub async fn take(&self, bucket: &Bucket, cost: u32, limit: u32) -> Taken {
        match self {
            Meter::Memory(memory) => memory.take(bucket, cost, limit),
            // Boxed, so that the futures of requests do not grow by what only Redis needs.
            Meter::Redis(redis) => Box::pin(redis.take(bucket, cost, limit)).await,
        }
        .taken(limit)
    }

    /// The budget as it stands; charges nothing.
    pub async fn peek(&self, bucket: &Bucket, limit: u32) -> Budget {
        self.take(bucket, 0, limit).await.budget().to_owned()
    }

    /// Counts a login against the limit on failed ones, before its password is checked: parallel guesses cannot
    /// outrun the limit. `account` is the case-folded name, whether there is such an account or not.
    ///
    /// # Errors
    /// Where [`LOGIN_FAILURES`] are counted already: how long until they no longer are. The login is then refused
    /// without a look at its password.
    pub async fn begin_login(&self, account: &str, address: IpAddr) -> Result<LoginAttempt<'_>, Duration> {
        let key = login_key(account, address.into());
        let counted = match self {
            Meter::Memory(memory) => memory.begin_login(&key).map(Counted::Memory),
            Meter::Redis(redis) => Box::pin(redis.begin_login(&key)).await,
        }?;
        Ok(LoginAttempt {
            meter: self,
            key,
            counted,
        })
    }

    /// Keeps what a ticket is good for, under the SHA-256 of the ticket, for [`TICKET_LIFETIME`].
    pub async fn put_ticket(&self, hash: [u8; 32], value: String) {
        match self {
            Meter::Memory(memory) => memory.put_ticket(hash, value),
            Meter::Redis(redis) => Box::pin(redis.put_ticket(hash, value)).await,
        }
    }

    /// What the ticket of this SHA-256 is good for: once, however many ask at the same time.
    pub async fn take_ticket(&self, hash: &[u8; 32]) -> Option<String> {
        match self {
            Meter::Memory(memory) => memory.take_ticket(hash),
            Meter::Redis(redis) => Box::pin(redis.take_ticket(hash)).await,
        }
    }
}

/// A login that counts as failed until it has [succeeded](LoginAttempt::succeeded).
#[must_use = "a login that is not said to have succeeded counts as failed"]
#[derive(Debug)]
pub struct LoginAttempt<'a> {
    meter: &'a Meter,
    key: LoginKey,
    counted: Counted,
}

/// Where an attempt was counted, and what takes it back.
#[derive(Clone, Copy, Debug)]
enum Counted {
    Memory(memory::WindowId),
    Redis { attempt: [u8; 16], seen: memory::WindowId },
}

impl LoginAttempt<'_> {
    /// The password was right: this login no longer counts. Earlier failures do.
    pub async fn succeeded(self) {
        match (self.meter, self.counted) {
            (Meter::Memory(memory), Counted::Memory(window)) => memory.undo_login(&self.key, window),
            (Meter::Redis(redis), counted) => Box::pin(redis.undo_login(&self.key, counted)).await,
            (Meter::Memory(_), Counted::Redis { .. }) => unreachable!("a meter in memory counts in memory"),
        }
    }
}
