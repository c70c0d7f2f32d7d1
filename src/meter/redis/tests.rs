use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use redis::AsyncCommands;
use uuid::Uuid;

use super::{
    super::{
        Meter, Taken,
        server::{Server, eventually},
        tests::Bench,
    },
    bench::{InRedis, Keys},
    *,
};

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

async fn node(url: &str) -> Arc<Meter> {
    Arc::new(Meter::redis(url, "test:").await.unwrap())
}

async fn healthy(meter: &Meter) {
    eventually("a meter that is healthy", async || meter.is_healthy()).await;
}

async fn remaining(meter: &Meter, bucket: &Bucket) -> u32 {
    meter.peek(bucket, 60).await.remaining
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_repeating_it() {
    for url in ["", "http://:secret@127.0.0.1", "redis://:secret@127.0.0.1:port"] {
        let error = Meter::redis(url, "").await.expect_err(url);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn keys_end_and_name_nobody() {
    let bench = InRedis::new().await;
    let meter = bench.meter();
    meter.take(&Bucket::Member(Uuid::now_v7()), 1, 60).await;
    meter
        .take(&Bucket::address("2001:db8::1".parse().unwrap()), 1, 60)
        .await;
    drop(meter.begin_login("ada lovelace", ADDRESS).await.unwrap());
    meter.put_ticket([7; 32], "value".to_owned()).await;
    let keys = bench.keys.all().await;
    assert_eq!(keys.len(), 5, "and the probe: {keys:?}");
    for key in keys {
        let left: i64 = bench.keys.redis.clone().pttl(&key).await.unwrap();
        let longest = if key.contains("login") { LOGIN_WINDOW } else { WINDOW };
        assert!(left > 0 && left <= millis(longest) as i64, "{key} has {left} ms");
        let names_an_address = key.contains("203.0.113.7");
        assert!(!key.contains("lovelace") && !names_an_address, "{key}");
    }
}

#[tokio::test]
async fn a_redis_that_is_not_there_yet_is_found_later() {
    let mut server = Server::start();
    server.kill();
    let begun = Instant::now();
    let meter = node(&server.url()).await;
    assert!(!meter.is_healthy());
    assert!(matches!(
        meter.take(&Bucket::address(ADDRESS), 60, 60).await,
        Taken::Granted(_)
    ));
    assert!(begun.elapsed() < Duration::from_secs(1));
    server.restart();
    healthy(&meter).await;
    assert_eq!(remaining(&meter, &Bucket::address(ADDRESS)).await, 60);
}

#[tokio::test]
async fn a_node_goes_on_alone_from_what_was_shared() {
    let mut server = Server::start();
    let (one, two) = (node(&server.url()).await, node(&server.url()).await);
    let bucket = Bucket::Member(Uuid::now_v7());
    one.take(&bucket, 50, 60).await;
    two.take(&bucket, 5, 60).await;
    for _ in 0..4 {
        drop(two.begin_login("ada", ADDRESS).await.unwrap());
    }
    let last = one.begin_login("ada", ADDRESS).await.unwrap();
    server.kill();
    assert_eq!(remaining(&two, &bucket).await, 5, "all that the node has seen");
    assert!(matches!(two.take(&bucket, 6, 60).await, Taken::Refused(_)));
    assert!(!two.is_healthy());
    assert!(one.begin_login("ada", ADDRESS).await.is_err());
    last.succeeded().await;
    assert!(
        one.begin_login("ada", ADDRESS).await.is_ok(),
        "taken back where it was seen"
    );
}

#[tokio::test]
async fn tickets_are_good_on_their_node_while_redis_is_gone() {
    let mut server = Server::start();
    let (one, two) = (node(&server.url()).await, node(&server.url()).await);
    server.kill();
    one.put_ticket([1; 32], "ada".to_owned()).await;
    server.restart();
    healthy(&one).await;
    healthy(&two).await;
    assert_eq!(two.take_ticket(&[1; 32]).await, None);
    assert_eq!(one.take_ticket(&[1; 32]).await.as_deref(), Some("ada"));
    assert_eq!(one.take_ticket(&[1; 32]).await, None);
}

#[tokio::test]
async fn scripts_that_redis_has_forgotten_are_loaded_again() {
    let server = Server::start();
    let meter = node(&server.url()).await;
    let keys = Keys::new(&server.url(), "test:").await;
    let mut flush = redis::cmd("SCRIPT");
    flush.arg("FLUSH");
    flush.query_async::<()>(&mut keys.redis.clone()).await.unwrap();
    meter.take(&Bucket::address(ADDRESS), 1, 60).await;
    assert!(meter.begin_login("ada", ADDRESS).await.is_ok());
    assert!(meter.is_healthy());
    assert_eq!(keys.all().await.len(), 3, "both went to redis, as did the probe");
}

#[tokio::test]
async fn only_the_first_to_ask_wait_for_a_redis_that_fell_silent() {
    let server = Server::start();
    let meter = node(&server.url()).await;
    server.pause();
    let begun = Instant::now();
    for _ in 0..1_000 {
        meter.take(&Bucket::address(ADDRESS), 1, u32::MAX).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    server.resume();
    healthy(&meter).await;
}

#[tokio::test]
async fn a_loss_shows_even_where_nobody_asks() {
    let mut server = Server::start();
    let meter = node(&server.url()).await;
    assert!(meter.is_healthy());
    server.kill();
    eventually("a meter that is not healthy", async || !meter.is_healthy()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_die_in_the_middle_of_traffic_and_come_back() {
    let mut server = Server::start();
    let nodes = [node(&server.url()).await, node(&server.url()).await];
    let served = Arc::new(AtomicUsize::new(0));
    let traffic: Vec<_> = (0..8)
        .map(|n: u8| {
            let (meter, served) = (nodes[usize::from(n) % 2].clone(), served.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                loop {
                    let begun = Instant::now();
                    let bucket = Bucket::Member(Uuid::now_v7());
                    assert!(matches!(meter.take(&bucket, 60, 60).await, Taken::Granted(_)));
                    let login = meter.begin_login(&format!("{bucket:?}"), ADDRESS).await;
                    login.expect("a login of its own").succeeded().await;
                    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
                    served.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await; // nothing else waits where Redis is gone
                }
            }))
        })
        .collect();
    let goes_on = async || {
        let before = served.load(Ordering::Relaxed);
        eventually("traffic", async || served.load(Ordering::Relaxed) > before + 100).await;
        assert!(traffic.iter().all(|task| !task.is_finished()));
    };
    for _ in 0..2 {
        goes_on().await;
        server.kill();
        goes_on().await;
        assert!(nodes.iter().all(|node| !node.is_healthy()));
        server.restart();
        healthy(&nodes[0]).await;
        healthy(&nodes[1]).await;
        goes_on().await;
        let bucket = Bucket::Member(Uuid::now_v7());
        nodes[0].take(&bucket, 20, 60).await;
        assert_eq!(remaining(&nodes[1], &bucket).await, 40, "shared again");
    }
}
