//! Wakes the readers of the log: somebody rings for a subject, and whoever listens looks there.
//!
//! A doorbell carries no news and may be missed. What it rings for is in the log, where readers look anyway every
//! second, and every 250 ms while the doorbell [is down](Doorbell::is_up): losing Redis delays, and does no more.

use std::io;

use tokio::sync::broadcast;
use uuid::Uuid;

mod memory;
mod redis;

pub use self::{memory::Memory, redis::Redis};

/// Rings through all nodes, or through this one. One for each node.
#[derive(Debug)]
pub enum Doorbell {
    /// In process, for a node that is alone.
    Memory(Memory),
    /// Over Redis, for nodes that share a log.
    Redis(Redis),
}

impl Doorbell {
    /// A doorbell for one node.
    pub fn memory() -> Self {
        Self::Memory(Memory::new())
    }

    /// A doorbell through all nodes on the Redis at `url`, over the channel `{prefix}doorbell`. Comes back at once: it
    /// [is up](Doorbell::is_up) once Redis is there, whenever that is. What it runs ends when it is dropped.
    ///
    /// # Errors
    /// `InvalidInput` where `url` is not the address of a Redis.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn redis(url: &str, prefix: &str) -> io::Result<Self> {
        Redis::start(url, prefix).map(Self::Redis)
    }

    /// Wakes whoever listens: on this node at once, on others when it gets there, if it does. Never waits.
    pub fn ring(&self, subject: Uuid) {
        match self {
            Doorbell::Memory(memory) => memory.ring(subject),
            Doorbell::Redis(redis) => redis.ring(subject),
        }
    }

    /// Hears every ring from now on; the same ring may come twice. A listener that `Lagged` has missed some, and looks
    /// at all its subjects.
    pub fn listen(&self) -> broadcast::Receiver<Uuid> {
        match self {
            Doorbell::Memory(memory) => memory.listen(),
            Doorbell::Redis(redis) => redis.listen(),
        }
    }

    /// Whether rings of other nodes are heard; always so in process. May stay true for two seconds after a Redis fell
    /// silent without hanging up.
    pub fn is_up(&self) -> bool {
        match self {
            Doorbell::Memory(_) => true,
            Doorbell::Redis(redis) => redis.is_up(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::broadcast::error::RecvError, time::timeout};

    use super::*;
    use crate::meter::server::eventually;

    /// Doorbells that are one, and up.
    pub(super) async fn in_redis(nodes: usize, url: &str) -> Vec<Doorbell> {
        let prefix = format!("test:{}:", Uuid::now_v7());
        let doorbells: Vec<_> = (0..nodes).map(|_| Doorbell::redis(url, &prefix).unwrap()).collect();
        for doorbell in &doorbells {
            eventually("a doorbell that is up", async || doorbell.is_up()).await;
        }
        doorbells
    }

    pub(super) fn redis_url() -> String {
        std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned())
    }

    /// The next ring, which has to come within ten seconds.
    pub(super) async fn heard(listener: &mut broadcast::Receiver<Uuid>) -> Uuid {
        let ring = timeout(Duration::from_secs(10), listener.recv()).await;
        ring.expect("a ring").expect("a doorbell")
    }

    async fn all_who_listen_hear_every_ring(doorbell: Doorbell) {
        assert!(doorbell.is_up());
        doorbell.ring(Uuid::now_v7()); // before anyone listens
        let mut listeners = [doorbell.listen(), doorbell.listen()];
        let subjects = [Uuid::now_v7(), Uuid::now_v7()];
        subjects.iter().for_each(|subject| doorbell.ring(*subject));
        for listener in &mut listeners {
            // There already: the listeners of a node do not wait for Redis.
            assert_eq!([listener.try_recv().unwrap(), listener.try_recv().unwrap()], subjects);
        }
    }

    async fn who_does_not_listen_holds_nobody_up(doorbell: Doorbell) {
        let mut listener = doorbell.listen();
        let last = Uuid::now_v7();
        for _ in 0..100_000 {
            doorbell.ring(Uuid::now_v7());
        }
        doorbell.ring(last);
        assert!(matches!(listener.recv().await, Err(RecvError::Lagged(_))));
        while heard(&mut listener).await != last {}
    }

    #[tokio::test]
    async fn in_memory_all_who_listen_hear_every_ring() {
        all_who_listen_hear_every_ring(Doorbell::memory()).await;
    }

    #[tokio::test]
    async fn in_redis_all_who_listen_hear_every_ring() {
        all_who_listen_hear_every_ring(in_redis(1, &redis_url()).await.remove(0)).await;
    }

    #[tokio::test]
    async fn in_memory_who_does_not_listen_holds_nobody_up() {
        who_does_not_listen_holds_nobody_up(Doorbell::memory()).await;
    }

    #[tokio::test]
    async fn in_redis_who_does_not_listen_holds_nobody_up() {
        who_does_not_listen_holds_nobody_up(in_redis(1, &redis_url()).await.remove(0)).await;
    }
}
