//! What every meter does, in memory and in Redis alike.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Meters that share what they count, and the time that passes for them.
pub(super) trait Bench {
    fn nodes(&self) -> &[Arc<Meter>];

    async fn pass(&self, time: Duration);

    fn meter(&self) -> &Meter {
        &self.nodes()[0]
    }

    /// What came of so many calls at once, spread over the nodes.
    async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        calls: usize,
        call: impl Fn(Arc<Meter>) -> F,
    ) -> Vec<T> {
        let nodes = self.nodes().iter().cycle().take(calls);
        nodes
            .map(|node| call(node.clone()))
            .collect::<JoinSet<T>>()
            .join_all()
            .await
    }
}

struct InMemory {
    clock: ManualClock,
    nodes: [Arc<Meter>; 1],
}

impl InMemory {
    async fn new() -> Self {
        let clock = ManualClock::new();
        Self {
            nodes: [Arc::new(Meter::memory(clock.clone()))],
            clock,
        }
    }
}

impl Bench for InMemory {
    fn nodes(&self) -> &[Arc<Meter>] {
        &self.nodes
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

macro_rules! conformance {
    ($($name:ident)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::InMemory::new().await).await;
            })*
        }

        mod in_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::meter::redis::bench::InRedis::new().await).await;
            })*
        }
    };
}

conformance! {
    of_200_takes_at_once_exactly_the_limit_is_granted
    a_charge_is_whole_or_not_at_all
    a_window_starts_with_its_first_charge
    a_refusal_says_how_long_to_wait
    looking_charges_nothing
    budgets_are_apart
    extremes_do_not_overflow
    after_five_failed_logins_further_ones_are_refused
    of_200_logins_at_once_five_are_tried
    failed_logins_are_counted_by_account_and_network
    a_login_that_succeeds_takes_back_itself_only
    a_late_success_takes_nothing_from_the_next_window
    a_ticket_is_taken_once
    a_ticket_ends
}

fn member() -> Bucket {
    Bucket::Member(Uuid::now_v7())
}

fn granted(taken: &Taken) -> bool {
    matches!(taken, Taken::Granted(_))
}

/// Whether it is that long, give or take what a test takes.
fn about(duration: Duration, expected: Duration) -> bool {
    duration <= expected && duration > expected.saturating_sub(10 * SECOND)
}

async fn of_200_takes_at_once_exactly_the_limit_is_granted(bench: impl Bench) {
    let bucket = member();
    let taken = bench
        .at_once(200, |meter| async move { meter.take(&bucket, 1, 60).await })
        .await;
    assert_eq!(taken.iter().filter(|taken| granted(taken)).count(), 60);
    let mut left: Vec<_> = taken
        .iter()
        .filter(|t| granted(t))
        .map(|t| t.budget().remaining)
        .collect();
    left.sort_unstable();
    assert_eq!(left, (0..60).collect::<Vec<_>>(), "each grant saw its own budget");
}

async fn a_charge_is_whole_or_not_at_all(bench: impl Bench) {
    let (meter, bucket) = (bench.meter(), member());
    assert_eq!(meter.take(&bucket, 7, 10).await.budget().remaining, 3);
    let refused = meter.take(&bucket, 4, 10).await;
    assert!(!granted(&refused));
    assert_eq!((refused.budget().limit, refused.budget().remaining), (10, 3));
    assert!(granted(&meter.take(&bucket, 3, 10).await));
    assert!(!granted(&meter.take(&bucket, 1, 10).await));
    assert!(granted(&meter.take(&bucket, 0, 10).await));
}

async fn a_window_starts_with_its_first_charge(bench: impl Bench) {
    let (meter, bucket) = (bench.meter(), member());
    meter.take(&bucket, 20, 10).await; // charges nothing, so it starts nothing
    bench.pass(30 * SECOND).await;
    assert!(about(meter.take(&bucket, 1, 10).await.budget().reset, WINDOW));
    bench.pass(40 * SECOND).await;
    let later = meter.take(&bucket, 9, 10).await;
    assert!(granted(&later) && about(later.budget().reset, 20 * SECOND), "{later:?}");
    bench.pass(20 * SECOND).await;
    let next = meter.take(&bucket, 1, 10).await;
    assert_eq!(next.budget().remaining, 9);
    assert!(about(next.budget().reset, WINDOW), "{next:?}");
}

async fn a_refusal_says_how_long_to_wait(bench: impl Bench) {
    let (meter, bucket) = (bench.meter(), member());
    let hopeless = meter.take(&bucket, 11, 10).await;
    assert!(!granted(&hopeless));
    assert_eq!((hopeless.budget().remaining, hopeless.budget().reset), (10, WINDOW));
    meter.take(&bucket, 10, 10).await;
    bench.pass(15 * SECOND).await;
    let refused = meter.take(&bucket, 1, 10).await;
    assert!(!granted(&refused));
    assert!(about(refused.budget().reset, 45 * SECOND), "{refused:?}");
    bench.pass(refused.budget().reset).await;
    assert!(granted(&meter.take(&bucket, 1, 10).await));
}

async fn looking_charges_nothing(bench: impl Bench) {
    let (meter, bucket) = (bench.meter(), member());
    let untouched = Budget {
        limit: 10,
        remaining: 10,
        reset: WINDOW,
    };
    assert_eq!(meter.peek(&bucket, 10).await, untouched);
    assert_eq!(meter.peek(&bucket, 10).await, untouched);
    meter.take(&bucket, 4, 10).await;
    bench.pass(20 * SECOND).await;
    let seen = meter.peek(&bucket, 10).await;
    assert_eq!(seen.remaining, 6);
    assert!(about(seen.reset, 40 * SECOND), "{seen:?}");
    assert_eq!(meter.peek(&bucket, 3).await.remaining, 0, "a limit that was lowered");
}

async fn budgets_are_apart(bench: impl Bench) {
    let meter = bench.meter();
    let addresses = ["203.0.113.1", "203.0.113.2", "2001:db8::1", "2001:db8:0:1::1"];
    let addresses = addresses.map(|address| Bucket::address(address.parse().unwrap()));
    for bucket in addresses.into_iter().chain([member(), member()]) {
        assert!(granted(&meter.take(&bucket, 10, 10).await), "{bucket:?}");
        assert!(!granted(&meter.take(&bucket, 1, 10).await), "{bucket:?}");
    }
}

async fn extremes_do_not_overflow(bench: impl Bench) {
    let (meter, bucket) = (bench.meter(), member());
    assert!(!granted(&meter.take(&bucket, 1, 0).await));
    assert!(granted(&meter.take(&bucket, u32::MAX, u32::MAX).await));
    let refused = meter.take(&bucket, u32::MAX, u32::MAX).await;
    assert!(!granted(&refused));
    assert_eq!(refused.budget().remaining, 0);
}

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

async fn fail(meter: &Meter, account: &str, times: u32) {
    for _ in 0..times {
        drop(meter.begin_login(account, ADDRESS).await.expect("within the limit"));
    }
}

async fn after_five_failed_logins_further_ones_are_refused(bench: impl Bench) {
    let meter = bench.meter();
    fail(meter, "ada", 1).await;
    bench.pass(600 * SECOND).await;
    fail(meter, "ada", 4).await;
    for _ in 0..3 {
        let wait = meter.begin_login("ada", ADDRESS).await.expect_err("five have failed");
        assert!(about(wait, 300 * SECOND), "{wait:?}");
    }
    bench.pass(300 * SECOND).await;
    fail(meter, "ada", 5).await;
    assert!(meter.begin_login("ada", ADDRESS).await.is_err());
}

async fn of_200_logins_at_once_five_are_tried(bench: impl Bench) {
    let begun = bench
        .at_once(
            200,
            |meter| async move { meter.begin_login("ada", ADDRESS).await.is_ok() },
        )
        .await;
    assert_eq!(begun.into_iter().filter(|begun| *begun).count(), 5);
}

async fn failed_logins_are_counted_by_account_and_network(bench: impl Bench) {
    let meter = bench.meter();
    fail(meter, "ada", 5).await;
    assert!(
        meter
            .begin_login("ada", "::ffff:203.0.113.7".parse().unwrap())
            .await
            .is_err()
    );
    assert!(meter.begin_login("bob", ADDRESS).await.is_ok());
    assert!(meter.begin_login("ada", "203.0.113.8".parse().unwrap()).await.is_ok());
}

async fn a_login_that_succeeds_takes_back_itself_only(bench: impl Bench) {
    let meter = bench.meter();
    for _ in 0..20 {
        let attempt = meter.begin_login("ada", ADDRESS).await.expect("none has failed");
        attempt.succeeded().await;
    }
    fail(meter, "ada", 4).await;
    for _ in 0..20 {
        let attempt = meter.begin_login("ada", ADDRESS).await.expect("four have failed");
        attempt.succeeded().await;
    }
    fail(meter, "ada", 1).await;
    assert!(meter.begin_login("ada", ADDRESS).await.is_err());
}

async fn a_late_success_takes_nothing_from_the_next_window(bench: impl Bench) {
    let meter = bench.meter();
    let late = meter.begin_login("ada", ADDRESS).await.unwrap();
    bench.pass(LOGIN_WINDOW).await;
    fail(meter, "ada", 5).await;
    late.succeeded().await;
    assert!(meter.begin_login("ada", ADDRESS).await.is_err());
}

async fn a_ticket_is_taken_once(bench: impl Bench) {
    for (hash, value) in [([1; 32], "ada"), ([2; 32], "bob")] {
        bench
            .at_once(1, |meter| async move { meter.put_ticket(hash, value.to_owned()).await })
            .await;
    }
    assert_eq!(bench.meter().take_ticket(&[3; 32]).await, None);
    let taken = bench
        .at_once(200, |meter| async move { meter.take_ticket(&[1; 32]).await })
        .await;
    assert_eq!(taken.into_iter().flatten().collect::<Vec<_>>(), ["ada"]);
    assert_eq!(bench.meter().take_ticket(&[2; 32]).await.as_deref(), Some("bob"));
}

async fn a_ticket_ends(bench: impl Bench) {
    for n in 0..2 {
        bench.meter().put_ticket([n; 32], "ada".to_owned()).await;
    }
    bench.pass(TICKET_LIFETIME - 10 * SECOND).await;
    assert!(bench.meter().take_ticket(&[0; 32]).await.is_some());
    bench.pass(10 * SECOND).await;
    assert_eq!(bench.meter().take_ticket(&[1; 32]).await, None);
}

#[test]
fn networks_are_what_limits_tell_apart() {
    let network = |address: &str| Network::from(address.parse::<IpAddr>().unwrap());
    assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_ne!(network("2001:db8:1:2::3"), network("2001:db8:1:3::3"));
    assert_eq!(network("::ffff:203.0.113.7"), network("203.0.113.7"));
    assert_ne!(network("203.0.113.7"), network("203.0.113.8"));
}

#[test]
fn login_keys_do_not_run_together() {
    let key = |account, address: &str| login_key(account, address.parse::<IpAddr>().unwrap().into());
    assert_eq!(key("ada", "203.0.113.7"), key("ada", "203.0.113.7"));
    assert_ne!(key("ada", "203.0.113.7"), key("ad", "97.203.0.113"));
    assert_ne!(key("ada", "203.0.113.7"), key("ada", "203.0.113.8"));
}
