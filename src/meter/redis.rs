//! The meter that nodes share: each question is one atomic step in Redis, and each answer is followed in memory, from
//! where the node goes on alone when Redis does not answer.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use redis::{AsyncConnectionConfig, Client, RedisResult, Script, aio::MultiplexedConnection};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Bucket, Clock, Counted, LOGIN_FAILURES, LOGIN_WINDOW, LoginKey, Memory, Network, TICKET_LIFETIME, Tally, WINDOW,
};

/// How long Redis may take to answer before it counts as gone.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long between two tries to reach Redis again.
const RETRY: Duration = Duration::from_millis(100);
/// How often a Redis that nobody asks is asked whether it is there.
const PROBE: Duration = Duration::from_secs(1);

/// Charges `ARGV[1]` to the key's budget of `ARGV[2]` in a window of `ARGV[3]` ms. Answers whether it was granted, what
/// is spent, and the milliseconds left, negative where no window is open.
const TAKE: &str = r"
local spent = tonumber(redis.call('GET', KEYS[1]) or '0')
local cost = tonumber(ARGV[1])
local granted = spent + cost <= tonumber(ARGV[2])
if granted and cost > 0 then
  if spent == 0 then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  else
    redis.call('INCRBY', KEYS[1], ARGV[1])
  end
  spent = spent + cost
end
return {granted and 1 or 0, spent, redis.call('PTTL', KEYS[1])}
";

/// Adds the attempt `ARGV[1]` to the key's set, which holds `ARGV[2]` at most and ends `ARGV[3]` ms after the first.
/// Answers as [`TAKE`] does. A set, so that an attempt is taken back by its name and ends with its window.
const BEGIN: &str = r"
local counted = redis.call('SCARD', KEYS[1])
local granted = counted < tonumber(ARGV[2])
if granted then
  redis.call('SADD', KEYS[1], ARGV[1])
  if counted == 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  end
  counted = counted + 1
end
return {granted and 1 or 0, counted, redis.call('PTTL', KEYS[1])}
";

/// The limits and tickets that nodes share.
///
/// A ticket in Redis dies with it: whoever held one asks for another. One that Redis took without saying so in time
/// is in memory too, so that in that one case it might be taken once on this node and once on another.
#[derive(Debug)]
pub struct Redis {
    prefix: String,
    take: Script,
    begin: Script,
    link: Link,
    alone: Memory,
}

impl Redis {
    pub(super) async fn start(url: &str, prefix: &str) -> io::Result<Self> {
        Self::with_patience(url, prefix, PATIENCE).await
    }

    async fn with_patience(url: &str, prefix: &str, patience: Duration) -> io::Result<Self> {
        // What the crate says of a bad address does not repeat it, nor the password in it.
        let client = Client::open(url).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Self {
            prefix: prefix.to_owned(),
            take: Script::new(TAKE),
            begin: Script::new(BEGIN),
            link: Link::start(client, format!("{prefix}probe"), patience).await,
            alone: Memory::new(Clock::System),
        })
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.link.is_up()
    }

    pub(super) async fn take(&self, bucket: &Bucket, cost: u32, limit: u32) -> Tally {
        let key = self.bucket_key(bucket);
        let answer = self.link.ask(async |redis| {
            let mut take = self.take.key(key);
            take.arg(cost).arg(limit).arg(millis(WINDOW));
            take.invoke_async(redis).await
        });
        match answer.await {
            Some((granted, spent, left)) => {
                let tally = tally(granted, spent, left, WINDOW);
                if left > 0 {
                    self.alone.follow(bucket, tally);
                }
                tally
            }
            None => self.alone.take(bucket, cost, limit),
        }
    }

    pub(super) async fn begin_login(&self, login: &LoginKey) -> Result<Counted, Duration> {
        let key = self.login_key(login);
        let attempt: [u8; 16] = rand::random();
        let answer = self.link.ask(async |redis| {
            let mut begin = self.begin.key(key);
            begin.arg(&attempt).arg(LOGIN_FAILURES).arg(millis(LOGIN_WINDOW));
            begin.invoke_async(redis).await
        });
        match answer.await {
            Some((granted, spent, left)) => {
                let tally = tally(granted, spent, left, LOGIN_WINDOW);
                let seen = self.alone.follow_logins(login, tally);
                match tally.granted {
                    true => Ok(Counted::Redis { attempt, seen }),
                    false => Err(tally.reset),
                }
            }
            None => self.alone.begin_login(login).map(Counted::Memory),
        }
    }

    pub(super) async fn undo_login(&self, login: &LoginKey, counted: Counted) {
        let seen = match counted {
            Counted::Memory(window) => window,
            Counted::Redis { attempt, seen } => {
                let mut remove = redis::cmd("SREM");
                remove.arg(self.login_key(login)).arg(&attempt);
                self.link.ask(async |redis| remove.query_async::<()>(redis).await).await;
                seen
            }
        };
        self.alone.undo_login(login, seen);
    }

    pub(super) async fn put_ticket(&self, hash: [u8; 32], value: String) {
        let mut set = redis::cmd("SET");
        set.arg(self.ticket_key(&hash)).arg(&value);
        set.arg("PX").arg(millis(TICKET_LIFETIME));
        if self
            .link
            .ask(async |redis| set.query_async::<()>(redis).await)
            .await
            .is_none()
        {
            self.alone.put_ticket(hash, value);
        }
    }

    pub(super) async fn take_ticket(&self, hash: &[u8; 32]) -> Option<String> {
        let mut take = redis::cmd("GETDEL");
        take.arg(self.ticket_key(hash));
        let alone = self.alone.take_ticket(hash);
        // Asked in either case: a ticket may be in both places.
        let shared = self.link.ask(async |redis| take.query_async(redis).await).await;
        alone.or(shared.flatten())
    }

    fn bucket_key(&self, bucket: &Bucket) -> String {
        match bucket {
            Bucket::Member(id) => format!("{}rate:member:{id}", self.prefix),
            Bucket::Address(Network(IpAddr::V4(address))) => format!("{}rate:address:{address}", self.prefix),
            Bucket::Address(Network(IpAddr::V6(address))) => format!("{}rate:address:{address}/64", self.prefix),
        }
    }

    fn login_key(&self, login: &LoginKey) -> String {
        format!("{}login:{}", self.prefix, BASE64_URL_SAFE_NO_PAD.encode(login))
    }

    fn ticket_key(&self, hash: &[u8; 32]) -> String {
        format!("{}ticket:{}", self.prefix, BASE64_URL_SAFE_NO_PAD.encode(hash))
    }
}

fn tally(granted: bool, spent: u32, left: i64, length: Duration) -> Tally {
    Tally {
        granted,
        spent,
        reset: u64::try_from(left).map_or(length, Duration::from_millis),
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().expect("windows are minutes")
}

/// A connection to Redis that is there or not: who asks never waits for one to be made.
///
/// The first failure takes it away from everyone. A task of its own brings it back, once Redis does what callers will
/// ask of it, writing included; it ends when the link is dropped.
#[derive(Debug)]
struct Link {
    connection: Arc<watch::Sender<Option<Arc<MultiplexedConnection>>>>,
    patience: Duration,
    _keeper: AbortOnDropHandle<()>,
}

impl Link {
    /// Comes back once the first try is over, whatever came of it.
    async fn start(client: Client, probe_key: String, patience: Duration) -> Self {
        let connection = Arc::new(watch::Sender::new(None));
        let keeper = Keeper {
            client,
            probe: Script::new(TAKE),
            probe_key,
            patience,
            connection: connection.clone(),
        };
        let first = keeper.connect().await;
        Self {
            connection,
            patience,
            _keeper: AbortOnDropHandle::new(tokio::spawn(keeper.run(first))),
        }
    }

    fn is_up(&self) -> bool {
        self.connection.borrow().is_some()
    }

    /// Redis' answer, or nothing where it is gone.
    async fn ask<T>(&self, question: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>) -> Option<T> {
        let used = self.connection.borrow().clone()?;
        match within(self.patience, question(&mut MultiplexedConnection::clone(&used))).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                // Only the connection that failed: there may be a new one by now.
                let lost = self
                    .connection
                    .send_if_modified(|current| current.take_if(|current| Arc::ptr_eq(current, &used)).is_some());
                if lost {
                    tracing::warn!(%error, "redis is gone, limits hold per node");
                }
                None
            }
        }
    }
}

struct Keeper {
    client: Client,
    probe: Script,
    probe_key: String,
    patience: Duration,
    connection: Arc<watch::Sender<Option<Arc<MultiplexedConnection>>>>,
}

impl Keeper {
    async fn run(self, first: RedisResult<MultiplexedConnection>) {
        let mut attempt = first;
        if let Err(error) = &attempt {
            tracing::warn!(%error, "redis is not there, limits hold per node");
        }
        loop {
            if let Ok(connection) = attempt {
                self.hold(connection).await;
            }
            sleep(RETRY).await;
            attempt = self.connect().await;
        }
    }

    /// Makes a connection, and lends it to all who ask once Redis has answered the probe.
    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience))
            .set_response_timeout(None) // the link has its own, over all that a question takes
            .set_pipeline_buffer_size(1_024);
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        self.ping(&mut connection).await?;
        tracing::info!("redis is there, limits are shared");
        self.connection.send_replace(Some(Arc::new(connection.clone())));
        Ok(connection)
    }

    /// Comes back when the connection has failed one of those who ask, or the probe.
    async fn hold(&self, mut connection: MultiplexedConnection) {
        let mut lent = self.connection.subscribe();
        loop {
            tokio::select! {
                _ = lent.wait_for(Option::is_none) => return,
                () = sleep(PROBE) => {}
            }
            if let Err(error) = self.ping(&mut connection).await {
                if self.connection.send_replace(None).is_some() {
                    tracing::warn!(%error, "redis is gone, limits hold per node");
                }
                return;
            }
        }
    }

    async fn ping(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let mut probe = self.probe.key(&self.probe_key);
        probe.arg(1).arg(u32::MAX).arg(millis(WINDOW));
        within(self.patience, probe.invoke_async(connection)).await
    }
}

async fn within<T>(patience: Duration, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(io::Error::from(elapsed).into()),
    }
}

#[cfg(test)]
pub(super) mod bench {
    use redis::AsyncCommands;

    use super::{super::Meter, super::tests::Bench, *};

    /// Two nodes on the Redis of `REDIS_URL`, under a prefix of their own.
    pub(in crate::meter) struct InRedis {
        nodes: [Arc<Meter>; 2],
        pub(super) keys: Keys,
    }

    impl InRedis {
        pub(in crate::meter) async fn new() -> Self {
            let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
            let prefix = format!("test:{}:", uuid::Uuid::now_v7());
            // These are about what Redis answers, however busy the machine is.
            let node = async || {
                let redis = Redis::with_patience(&url, &prefix, Duration::from_secs(30)).await;
                let meter = Meter::Redis(redis.expect("REDIS_URL is an address"));
                assert!(meter.is_healthy(), "no redis at REDIS_URL");
                Arc::new(meter)
            };
            Self {
                nodes: [node().await, node().await],
                keys: Keys::new(&url, &prefix).await,
            }
        }
    }

    impl Bench for InRedis {
        fn nodes(&self) -> &[Arc<Meter>] {
            &self.nodes
        }

        /// Every key has that much less to live.
        async fn pass(&self, time: Duration) {
            let time = i64::try_from(millis(time)).unwrap();
            let mut redis = self.keys.redis.clone();
            for key in self.keys.all().await {
                let left: i64 = redis.pttl(&key).await.unwrap();
                // In the past where it is over, which deletes the key.
                redis.pexpire::<_, ()>(&key, left - time).await.unwrap();
            }
        }
    }

    pub(super) struct Keys {
        pub(super) redis: MultiplexedConnection,
        prefix: String,
    }

    impl Keys {
        pub(super) async fn new(url: &str, prefix: &str) -> Self {
            let client = Client::open(url).unwrap();
            Self {
                redis: client.get_multiplexed_async_connection().await.unwrap(),
                prefix: prefix.to_owned(),
            }
        }

        pub(super) async fn all(&self) -> Vec<String> {
            self.redis.clone().keys(format!("{}*", self.prefix)).await.unwrap()
        }
    }
}

#[cfg(test)]
mod tests;
