//! The doorbell through all nodes: one Redis channel, which every node publishes to and subscribes to.
//!
//! A message is 16 bytes that name its node, then 16 bytes for each subject. A node hears its own messages too: from
//! an empty one every second it knows that the whole way there and back works.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use redis::{AsyncCommands, AsyncConnectionConfig, Client, Msg, RedisError, RedisResult, aio::MultiplexedConnection};
use tokio::{
    sync::{broadcast, mpsc},
    time::{interval, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::Memory;

/// How long each step of connecting may take, and each message.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a node makes itself heard.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a node may hear nothing, itself included, before it takes the connection for dead.
const SILENCE: Duration = Duration::from_secs(2);
/// How long until the first try to connect again; doubles with each that fails.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How many rings may wait to be published. With more waiting, others are left to the readers' own looking.
const QUEUE: usize = 4_096;
/// How many rings go out in one message: 8 KiB.
const BATCH: usize = 512;

/// Rings in this process and, through Redis, in all others.
#[derive(Debug)]
pub struct Redis {
    here: Memory,
    outgoing: mpsc::Sender<Uuid>,
    up: Arc<AtomicBool>,
    _wire: AbortOnDropHandle<()>,
}

impl Redis {
    pub(super) fn start(url: &str, prefix: &str) -> io::Result<Self> {
        // What the crate says of a bad address does not repeat it, nor the password in it.
        let client = Client::open(url).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let here = Memory::new();
        let up = Arc::new(AtomicBool::new(false));
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let wire = Wire {
            client,
            channel: format!("{prefix}doorbell"),
            node: Uuid::now_v7(),
            here: here.clone(),
            queue,
            up: up.clone(),
        };
        Ok(Self {
            here,
            outgoing,
            up,
            _wire: AbortOnDropHandle::new(tokio::spawn(wire.run())),
        })
    }

    pub(super) fn ring(&self, subject: Uuid) {
        self.here.ring(subject);
        if self.is_up() {
            // Fails where the queue is full; readers on other nodes then find out by themselves.
            let _ = self.outgoing.try_send(subject);
        }
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Uuid> {
        self.here.listen()
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }
}

/// The task that keeps this node on the channel. It is aborted with its [`Redis`].
struct Wire {
    client: Client,
    channel: String,
    node: Uuid,
    here: Memory,
    queue: mpsc::Receiver<Uuid>,
    up: Arc<AtomicBool>,
}

impl Wire {
    async fn run(mut self) {
        let mut retry = RETRY_MIN;
        let mut warned = false;
        loop {
            let error = match self.connect().await {
                Ok((publisher, messages)) => {
                    tracing::info!("the doorbell rings through redis");
                    (retry, warned) = (RETRY_MIN, false);
                    self.up.store(true, Ordering::Relaxed);
                    let error = self.relay(publisher, messages).await;
                    self.up.store(false, Ordering::Relaxed);
                    error
                }
                Err(error) => error,
            };
            if !warned {
                tracing::warn!(%error, "the doorbell rings on this node only");
                warned = true;
            }
            sleep(retry).await;
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    async fn connect(&self) -> RedisResult<(MultiplexedConnection, impl Stream<Item = Msg> + use<>)> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut publisher = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let subscribe = async {
            let mut subscriber = self.client.get_async_pubsub().await?;
            subscriber.subscribe(&self.channel).await?;
            RedisResult::Ok(subscriber.into_on_message())
        };
        let messages = timeout(PATIENCE, subscribe).await.map_err(io::Error::from)??;
        // Whether this may publish shows before the doorbell says that it is up.
        publisher
            .publish::<_, _, ()>(&self.channel, encode(self.node, &[]))
            .await?;
        Ok((publisher, messages))
    }

    /// Passes rings on in both directions for as long as both work.
    async fn relay(&mut self, publisher: MultiplexedConnection, messages: impl Stream<Item = Msg>) -> RedisError {
        tokio::select! {
            error = send(&mut self.queue, self.node, &self.channel, publisher) => error,
            error = receive(messages, self.node, &self.here) => error,
        }
    }
}

/// Publishes what waits, and that this node is there, until that fails.
async fn send(
    queue: &mut mpsc::Receiver<Uuid>,
    node: Uuid,
    channel: &str,
    mut publisher: MultiplexedConnection,
) -> RedisError {
    let mut heartbeat = interval(HEARTBEAT);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            _ = queue.recv_many(&mut batch, BATCH) => {}
            _ = heartbeat.tick() => {}
        }
        batch.sort_unstable();
        batch.dedup();
        if let Err(error) = publisher.publish::<_, _, ()>(channel, encode(node, &batch)).await {
            return error;
        }
        batch.clear();
    }
}

/// Rings here for what other nodes publish, until the channel ends or falls silent.
async fn receive(messages: impl Stream<Item = Msg>, node: Uuid, here: &Memory) -> RedisError {
    let mut messages = std::pin::pin!(messages);
    loop {
        let message = match timeout(SILENCE, messages.next()).await {
            Ok(Some(message)) => message,
            Ok(None) => return io::Error::from(io::ErrorKind::UnexpectedEof).into(),
            Err(elapsed) => return io::Error::from(elapsed).into(),
        };
        if let Some((from, subjects)) = decode(message.get_payload_bytes())
            && from != node
        {
            subjects.for_each(|subject| here.ring(subject));
        }
    }
}

fn encode(node: Uuid, subjects: &[Uuid]) -> Vec<u8> {
    let ids = std::iter::once(&node).chain(subjects);
    ids.flat_map(|id| *id.as_bytes()).collect()
}

/// The node that a message is from and its subjects; nothing where it is no message of a doorbell.
fn decode(message: &[u8]) -> Option<(Uuid, impl Iterator<Item = Uuid>)> {
    let (ids, []) = message.as_chunks::<16>() else {
        return None;
    };
    let (node, subjects) = ids.split_first()?;
    Some((Uuid::from_bytes(*node), subjects.iter().copied().map(Uuid::from_bytes)))
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::{RecvError, TryRecvError};

    use super::{
        super::{
            Doorbell,
            tests::{heard, in_redis, redis_url},
        },
        *,
    };
    use crate::meter::server::{Server, eventually};

    #[test]
    fn messages_say_who_rings_for_what() {
        let ids: [Uuid; 4] = std::array::from_fn(|_| Uuid::now_v7());
        let message = encode(ids[0], &ids[1..]);
        let (node, subjects) = decode(&message).unwrap();
        assert_eq!(node, ids[0]);
        assert_eq!(subjects.collect::<Vec<_>>(), ids[1..]);
        assert_eq!(decode(&encode(ids[0], &[])).unwrap().1.count(), 0);
        assert!(decode(&message[1..]).is_none());
        assert!(decode(b"").is_none());
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_without_repeating_it() {
        let error = Doorbell::redis("redis://:secret@127.0.0.1:port", "").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn a_ring_on_one_node_is_heard_once_on_each() {
        let nodes = in_redis(3, &redis_url()).await;
        let strangers = in_redis(1, &redis_url()).await;
        let mut listeners: Vec<_> = nodes.iter().map(Doorbell::listen).collect();
        let mut stranger = strangers[0].listen();
        let (first, last) = (Uuid::now_v7(), Uuid::now_v7());
        nodes[0].ring(first);
        nodes[0].ring(last);
        for listener in &mut listeners {
            assert_eq!(heard(listener).await, first);
            assert_eq!(heard(listener).await, last);
            assert_eq!(listener.try_recv(), Err(TryRecvError::Empty));
        }
        assert_eq!(stranger.try_recv(), Err(TryRecvError::Empty), "another prefix");
    }

    #[tokio::test]
    async fn without_redis_it_rings_here_and_it_comes_back_by_itself() {
        let mut server = Server::start();
        let nodes = in_redis(2, &server.url()).await;
        let mut listeners: Vec<_> = nodes.iter().map(Doorbell::listen).collect();
        for _ in 0..2 {
            server.kill();
            eventually("doorbells that are down", async || {
                nodes.iter().all(|node| !node.is_up())
            })
            .await;
            let subject = Uuid::now_v7();
            nodes[0].ring(subject);
            assert_eq!(listeners[0].try_recv(), Ok(subject));
            server.restart();
            eventually("doorbells that are up", async || nodes.iter().all(Doorbell::is_up)).await;
            let subject = Uuid::now_v7();
            nodes[0].ring(subject);
            assert_eq!(listeners[0].try_recv(), Ok(subject));
            assert_eq!(heard(&mut listeners[1]).await, subject);
        }
    }

    #[tokio::test]
    async fn a_redis_that_fell_silent_is_noticed() {
        let server = Server::start();
        let nodes = in_redis(1, &server.url()).await;
        server.pause();
        eventually("a doorbell that is down", async || !nodes[0].is_up()).await;
        server.resume();
        eventually("a doorbell that is up", async || nodes[0].is_up()).await;
    }

    #[tokio::test]
    async fn its_task_ends_with_it() {
        let doorbell = in_redis(1, &redis_url()).await.remove(0);
        let mut listener = doorbell.listen();
        drop(doorbell);
        let ended = timeout(Duration::from_secs(10), listener.recv()).await;
        assert_eq!(ended, Ok(Err(RecvError::Closed)), "nobody is left to ring");
    }
}
