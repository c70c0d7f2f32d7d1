use tokio::sync::broadcast::{self, error::RecvError};

use super::*;
use crate::{
    meter::server::{Server, eventually},
    presence::{Change, ChangeKind, ChangeKind::*, Presence, tests::*},
};

/// With these, nobody is dead within a test.
const PATIENT: Times = Times {
    heartbeat: Duration::from_millis(200),
    silence: Duration::from_secs(3_600),
};

/// Nodes that are one, and up.
pub(in crate::presence) async fn up(nodes: usize) -> Vec<Presence> {
    let nodes: Vec<_> = {
        let cluster = Cluster::at(&redis_url());
        (0..nodes).map(|_| cluster.node(TIMES).0).collect()
    };
    all_up(&nodes).await;
    nodes
}

struct Cluster {
    url: String,
    prefix: String,
}

impl Cluster {
    fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: format!("test:{}:", Uuid::now_v7()),
        }
    }

    fn node(&self, times: Times) -> (Presence, AbortHandle) {
        let (redis, task) = Redis::open(&self.url, &self.prefix, times).unwrap();
        (Presence::Redis(redis), task)
    }

    async fn up<const N: usize>(&self, times: Times) -> [Presence; N] {
        let nodes = std::array::from_fn(|_| self.node(times).0);
        all_up(&nodes).await;
        nodes
    }

    async fn publish(&self, payload: &[u8]) {
        let client = Client::open(self.url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let channel = format!("{}presence", self.prefix);
        connection.publish::<_, _, ()>(channel, payload).await.unwrap();
    }
}

async fn all_up(nodes: &[Presence]) {
    eventually("nodes that are up", async || nodes.iter().all(Presence::is_up)).await;
}

async fn all_down(nodes: &[Presence]) {
    eventually("nodes that are down", async || nodes.iter().all(|node| !node.is_up())).await;
}

fn redis_url() -> String {
    std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned())
}

async fn all_know(nodes: &[Presence], room: Uuid, expected: &[&str]) {
    let what = format!("{expected:?} on every node");
    eventually(&what, async || {
        nodes.iter().all(|node| usernames(node, room) == expected)
    })
    .await;
}

/// The next change, which has to come within ten seconds.
async fn told(listener: &mut broadcast::Receiver<Change>) -> (ChangeKind, String) {
    let change = timeout(Duration::from_secs(10), listener.recv()).await;
    let change = change.expect("a change").expect("presence");
    (change.kind, change.member.username.to_string())
}

fn by(kind: ChangeKind, username: &str) -> (ChangeKind, String) {
    (kind, username.to_owned())
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_repeating_it() {
    let error = Presence::redis("redis://:secret@127.0.0.1:port", "").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn three_nodes_tell_what_one_would() {
    let nodes = up(3).await;
    let strangers = up(1).await;
    let mut listeners: Vec<_> = nodes.iter().map(Presence::listen).collect();
    let mut stranger = strangers[0].listen();
    let (room, ada, bob) = (Uuid::now_v7(), member("ada"), member("bob"));

    let first = nodes[0].enter(room, ada.clone());
    all_know(&nodes, room, &["ada"]).await;
    let second = nodes[1].enter(room, ada.clone());
    let third = nodes[1].enter(room, ada.clone());
    let _bob = nodes[2].enter(room, bob.clone());
    all_know(&nodes, room, &["ada", "bob"]).await;
    nodes[1].typing(room, &ada);
    nodes[1].typing(room, &ada);
    for listener in &mut listeners {
        assert_eq!(told(listener).await, by(Joined, "ada"));
        // Two nodes said the others, in any order.
        let mut others = [told(listener).await, told(listener).await];
        others.sort_by_key(|(kind, _)| *kind == Typing);
        assert_eq!(others, [by(Joined, "bob"), by(Typing, "ada")]);
    }
    drop((first, third));
    let cy = nodes[0].enter(room, member("cy"));
    all_know(&nodes, room, &["ada", "bob", "cy"]).await;
    drop(second);
    all_know(&nodes, room, &["bob", "cy"]).await;
    drop(cy);
    all_know(&nodes, room, &["bob"]).await;
    for listener in &mut listeners {
        assert_eq!(told(listener).await, by(Joined, "cy"), "ada was there until");
        assert_eq!(told(listener).await, by(Left, "ada"));
        assert_eq!(told(listener).await, by(Left, "cy"));
        assert!(listener.try_recv().is_err());
    }
    assert!(stranger.try_recv().is_err(), "another prefix");
    assert!(strangers[0].members(room).is_empty());
}

#[tokio::test]
async fn who_comes_later_learns_all_in_messages_that_are_not_too_long() {
    let cluster = Cluster::at(&redis_url());
    let [early] = cluster.up(PATIENT).await;
    let room = Uuid::now_v7();
    let _stays: Vec<_> = (0..5_000).map(|n| early.enter(room, member(&format!("{n}")))).collect();
    let [late] = cluster.up(PATIENT).await;
    eventually("all on the later node", async || {
        late.members(room) == early.members(room)
    })
    .await;
}

#[tokio::test]
async fn more_at_once_than_can_be_queued_are_known_in_the_end() {
    let [one, other] = Cluster::at(&redis_url()).up(PATIENT).await;
    let room = Uuid::now_v7();
    // This test's one thread does not let anything be published in between.
    let mut stays: Vec<_> = (0..3 * QUEUE)
        .map(|n| one.enter(room, member(&format!("{n}"))))
        .collect();
    eventually("all on the other node", async || {
        other.members(room) == one.members(room)
    })
    .await;
    stays.truncate(10);
    eventually("ten on the other node", async || {
        other.members(room) == one.members(room)
    })
    .await;
    assert_eq!(one.members(room).len(), 10);
}

#[tokio::test]
async fn the_members_of_a_node_that_ends_leave_at_once() {
    let cluster = Cluster::at(&redis_url());
    let [one, other, last] = cluster.up(PATIENT).await;
    let (room, ada) = (Uuid::now_v7(), member("ada"));
    let stays = (
        one.enter(room, ada.clone()),
        other.enter(room, ada),
        other.enter(room, member("bob")),
    );
    let nodes = [last];
    all_know(&nodes, room, &["ada", "bob"]).await;
    drop(other);
    all_know(&nodes, room, &["ada"]).await;
    one.close().await;
    assert!(!one.is_up());
    all_know(&nodes, room, &[]).await;
    assert_eq!(usernames(&one, room), ["ada"], "it is here still");
    drop(stays);
    one.close().await;
}

#[tokio::test]
async fn the_members_of_a_node_that_vanishes_leave_after_the_silence() {
    const SHORT: Times = Times {
        heartbeat: Duration::from_millis(100),
        silence: Duration::from_secs(2),
    };
    let cluster = Cluster::at(&redis_url());
    let (doomed, task) = cluster.node(SHORT);
    let nodes: [_; 2] = cluster.up(SHORT).await;
    let (room, ada) = (Uuid::now_v7(), member("ada"));
    let _doomed = (doomed.enter(room, ada.clone()), doomed.enter(room, member("bob")));
    let _stay = nodes[0].enter(room, ada);
    all_know(&nodes, room, &["ada", "bob"]).await;
    let mut listeners = nodes.each_ref().map(Presence::listen);
    task.abort();
    for listener in &mut listeners {
        assert_eq!(told(listener).await, by(Left, "bob"), "ada is on another node too");
    }
    assert_eq!(nodes.each_ref().map(|node| usernames(node, room)), [["ada"], ["ada"]]);
}

#[tokio::test]
async fn without_redis_what_was_known_stays_and_what_changes_is_known_afterwards() {
    let mut server = Server::start();
    let nodes: [_; 2] = Cluster::at(&server.url()).up(TIMES).await;
    let room = Uuid::now_v7();
    let _ada = nodes[0].enter(room, member("ada"));
    let bob = nodes[0].enter(room, member("bob"));
    all_know(&nodes, room, &["ada", "bob"]).await;
    let mut listeners = nodes.each_ref().map(Presence::listen);

    server.kill();
    all_down(&nodes).await;
    drop(bob);
    drop(nodes[0].enter(room, member("cy")));
    let _dan = nodes[0].enter(room, member("dan"));
    nodes[0].typing(room, &member("eve"));
    assert_eq!(usernames(&nodes[0], room), ["ada", "dan"], "here as ever");
    for change in [
        by(Left, "bob"),
        by(Joined, "cy"),
        by(Left, "cy"),
        by(Joined, "dan"),
        by(Typing, "eve"),
    ] {
        assert_eq!(told(&mut listeners[0]).await, change);
    }
    assert_eq!(usernames(&nodes[1], room), ["ada", "bob"], "as it was known");

    server.restart();
    all_know(&nodes, room, &["ada", "dan"]).await;
    let differences = [told(&mut listeners[1]).await, told(&mut listeners[1]).await];
    assert_eq!(differences, [by(Left, "bob"), by(Joined, "dan")]);
    let _fay = nodes[1].enter(room, member("fay"));
    all_know(&nodes, room, &["ada", "dan", "fay"]).await;
    for listener in &mut listeners {
        assert_eq!(told(listener).await, by(Joined, "fay"), "and nothing besides");
        assert!(listener.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_redis_that_fell_silent_is_noticed_and_nobody_leaves() {
    let server = Server::start();
    let nodes: [_; 2] = Cluster::at(&server.url()).up(TIMES).await;
    let room = Uuid::now_v7();
    let _ada = nodes[0].enter(room, member("ada"));
    all_know(&nodes, room, &["ada"]).await;
    let mut listener = nodes[1].listen();
    server.pause();
    all_down(&nodes).await;
    server.resume();
    all_up(&nodes).await;
    let _bob = nodes[0].enter(room, member("bob"));
    assert_eq!(told(&mut listener).await, by(Joined, "bob"));
}

#[tokio::test]
async fn a_redis_that_comes_later_is_found() {
    let mut server = Server::start();
    server.kill();
    let cluster = Cluster::at(&server.url());
    let nodes = [cluster.node(TIMES).0, cluster.node(TIMES).0];
    let room = Uuid::now_v7();
    let _ada = nodes[0].enter(room, member("ada"));
    assert_eq!(usernames(&nodes[0], room), ["ada"]);
    server.restart();
    all_know(&nodes, room, &["ada"]).await;
}

#[tokio::test]
async fn what_is_no_message_is_ignored() {
    let cluster = Cluster::at(&redis_url());
    let nodes: [_; 2] = cluster.up(TIMES).await;
    for payload in [
        &b""[..],
        b"\xff",
        b"{}",
        br#"{"v":2}"#,
        br#"{"v":1,"node":"ada","say":"hello"}"#,
        &[b'['; 300_000],
    ] {
        cluster.publish(payload).await;
    }
    let room = Uuid::now_v7();
    let _ada = nodes[0].enter(room, member("ada"));
    all_know(&nodes, room, &["ada"]).await;
    assert!(nodes.iter().all(Presence::is_up));
}

#[tokio::test]
async fn its_task_ends_with_it() {
    let presence = up(1).await.remove(0);
    let mut listener = presence.listen();
    drop(presence);
    let ended = timeout(Duration::from_secs(10), listener.recv()).await;
    assert_eq!(ended, Ok(Err(RecvError::Closed)), "nobody is left to tell");
}
