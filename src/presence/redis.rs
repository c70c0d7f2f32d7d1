//! The presence of all nodes: one Redis channel, over which they [gossip](super::gossip). There are no keys.
//!
//! A node hears its own messages too: from its heartbeats it knows that the whole way there and back works.

use std::{
    io,
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt};
use redis::{AsyncCommands, AsyncConnectionConfig, Client, Msg, RedisError, RedisResult, aio::MultiplexedConnection};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Memory,
    gossip::{Message, News, Peers, Reply, Say},
    memory::Up,
};

/// How long each step of connecting may take, and each message.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long until the first try to connect again; doubles with each that fails.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How many news may wait to be published. What finds no place is found out by other nodes from the heartbeat.
const QUEUE: usize = 4_096;
/// How many replies may wait. Who gets none asks again.
const REPLIES: usize = 256;
/// How long between two states of a node: who asks within that time gets the same one.
const PACE: Duration = Duration::from_millis(250);

/// How long things take between nodes.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// How often a node makes itself heard.
    heartbeat: Duration,
    /// How long until a node that is not heard is dead. A node that hears nothing at all for half of that, itself
    /// included, takes its own connection for dead instead.
    silence: Duration,
}

const TIMES: Times = Times {
    heartbeat: Duration::from_secs(2),
    silence: Duration::from_secs(6),
};

/// Rooms in this process and, through Redis, in all others.
#[derive(Debug)]
pub struct Redis {
    here: Memory,
    ending: CancellationToken,
    running: TaskTracker,
}

impl Redis {
    pub(super) fn start(url: &str, prefix: &str) -> io::Result<Self> {
        let (redis, _) = Self::open(url, prefix, TIMES)?;
        Ok(redis)
    }

    fn open(url: &str, prefix: &str, times: Times) -> io::Result<(Self, AbortHandle)> {
        // What the crate says of a bad address does not repeat it, nor the password in it.
        let client = Client::open(url).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let (node, start) = (Uuid::new_v4(), Instant::now());
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let here = Memory::telling(outgoing);
        let ending = CancellationToken::new();
        let wire = Wire {
            client,
            channel: format!("{prefix}presence"),
            node,
            start,
            times,
            here: here.clone(),
            queue,
            peers: Peers::new(node, start, times.silence, here.clone()),
            ending: ending.clone(),
        };
        let running = TaskTracker::new();
        let task = running.spawn(wire.run()).abort_handle();
        running.close();
        Ok((Self { here, ending, running }, task))
    }

    pub(super) fn here(&self) -> &Memory {
        &self.here
    }

    pub(super) fn is_up(&self) -> bool {
        self.here.is_up()
    }

    pub(super) async fn close(&self) {
        self.ending.cancel();
        // The task is in the middle of a message at most, and then says goodbye.
        let _ = timeout(2 * PATIENCE, self.running.wait()).await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

/// The task that keeps this node on the channel. It ends by itself, so that it can say goodbye.
struct Wire {
    client: Client,
    channel: String,
    node: Uuid,
    /// Heartbeats say when they are sent, counting from here.
    start: Instant,
    times: Times,
    here: Memory,
    queue: mpsc::Receiver<News>,
    peers: Peers,
    ending: CancellationToken,
}

impl Wire {
    async fn run(mut self) {
        let ending = self.ending.clone();
        let mut retry = RETRY_MIN;
        let mut warned = false;
        loop {
            let connected = tokio::select! {
                () = ending.cancelled() => return,
                connected = self.connect() => connected,
            };
            let error = match connected {
                Ok((publisher, messages)) => {
                    tracing::info!("presence is shared through redis");
                    (retry, warned) = (RETRY_MIN, false);
                    // What was left waiting when the last connection went is in the state that is said on this one.
                    while self.queue.try_recv().is_ok() {}
                    self.here.set_up(Up::Yes);
                    let relayed = self.relay(publisher, messages).await;
                    self.here.set_up(Up::No);
                    match relayed {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if !warned {
                tracing::warn!(%error, "presence on other nodes is not heard of");
                warned = true;
            }
            tokio::select! {
                () = ending.cancelled() => return,
                () = sleep(retry) => {}
            }
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
        // Said once the answers can be heard. Whether this may publish shows before presence says that it is up.
        let hello = Say::Hello.by(self.node).encode();
        publisher.publish::<_, _, ()>(&self.channel, hello).await?;
        Ok((publisher, messages))
    }

    /// Passes on in both directions for as long as both work, or until this node has said goodbye.
    async fn relay(&mut self, publisher: MultiplexedConnection, messages: impl Stream<Item = Msg>) -> RedisResult<()> {
        self.peers.hear_again(Instant::now());
        let (reply, replies) = mpsc::channel(REPLIES);
        let speaker = Speaker {
            publisher,
            channel: &self.channel,
            node: self.node,
            start: self.start,
            heartbeat: self.times.heartbeat,
            here: &self.here,
            queue: &mut self.queue,
            replies,
        };
        tokio::select! {
            said = speaker.speak(&self.ending) => said,
            error = listen(messages, self.times.silence / 2, &mut self.peers, reply) => Err(error),
        }
    }
}

/// Says what there is to say on one connection.
struct Speaker<'a> {
    publisher: MultiplexedConnection,
    channel: &'a str,
    node: Uuid,
    start: Instant,
    heartbeat: Duration,
    here: &'a Memory,
    queue: &'a mut mpsc::Receiver<News>,
    replies: mpsc::Receiver<Reply>,
}

impl Speaker<'_> {
    /// Until that fails; or until the end, which is a goodbye.
    async fn speak(mut self, ending: &CancellationToken) -> RedisResult<()> {
        self.say_state().await?;
        let mut next_state = Instant::now() + PACE;
        let mut state_is_due = false;
        let mut heartbeat = interval(self.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut news = Vec::new();
        loop {
            tokio::select! {
                () = ending.cancelled() => return self.say(Say::Bye).await,
                _ = self.queue.recv_many(&mut news, QUEUE) => self.say_all(Say::news(std::mem::take(&mut news))).await?,
                _ = heartbeat.tick() => self.beat().await?,
                Some(reply) = self.replies.recv() => match reply {
                    Reply::State => state_is_due = true,
                    Reply::Ask(node) => self.say(Say::Ask(node)).await?,
                },
                () = sleep_until(next_state.into()), if state_is_due => {
                    state_is_due = false;
                    self.say_state().await?;
                    next_state = Instant::now() + PACE;
                }
            }
        }
    }

    /// A heartbeat, and before it all news that it counts: what it counts and was not heard until then is lost.
    async fn beat(&mut self) -> RedisResult<()> {
        let now = Instant::now();
        let counter = self.here.counter();
        // Whatever was counted and queued until then is in the queue now, and no more than that fits in there.
        let mut news = Vec::new();
        while news.len() < QUEUE
            && let Ok(one) = self.queue.try_recv()
        {
            news.push(one);
        }
        let last = news.iter().rev().find_map(News::number);
        self.say_all(Say::news(news)).await?;
        let counter = counter.max(last.unwrap_or(0));
        self.say(Say::beat(counter, self.start, now)).await
    }

    async fn say_state(&mut self) -> RedisResult<()> {
        let (counter, entries) = self.here.here();
        self.say_all(Say::state(counter, entries)).await
    }

    async fn say_all(&mut self, all: Vec<Say>) -> RedisResult<()> {
        for say in all {
            self.say(say).await?;
        }
        Ok(())
    }

    async fn say(&mut self, say: Say) -> RedisResult<()> {
        self.publisher.publish(self.channel, say.by(self.node).encode()).await
    }
}

/// Follows what other nodes say, until the channel ends or is quiet for that long.
async fn listen(
    messages: impl Stream<Item = Msg>,
    quiet: Duration,
    peers: &mut Peers,
    reply: mpsc::Sender<Reply>,
) -> RedisError {
    let mut messages = std::pin::pin!(messages);
    loop {
        let message = match timeout(quiet, messages.next()).await {
            Ok(Some(message)) => message,
            Ok(None) => return io::Error::from(io::ErrorKind::UnexpectedEof).into(),
            Err(elapsed) => return io::Error::from(elapsed).into(),
        };
        match Message::decode(message.get_payload_bytes()) {
            Ok(message) => {
                if let Some(wanted) = peers.hear(message, Instant::now()) {
                    // Fails where too many wait; who gets no answer asks again.
                    let _ = reply.try_send(wanted);
                }
            }
            Err(ignored) => tracing::debug!(%ignored, "a message on the presence channel is ignored"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
