use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{FutureExt, future::join_all};

use super::*;
use crate::{
    accounts::{Operator, password::Password},
    chat::Chat,
    gate::{Gate, System, rules::Role, tests::gate},
    loaders::Loaders,
};

/// A node where someone can talk.
struct Place {
    gate: Gate,
    chat: Arc<Chat>,
    feeds: Feeds,
    room: Arc<Room>,
    alice: Permit,
    loaders: Loaders,
    /// How often something was rendered for everyone.
    rendered: Arc<AtomicUsize>,
}

impl Place {
    async fn new(window: usize) -> Place {
        let gate = gate().await;
        let operator = Operator::new(&gate);
        let password = Password::new("correct horse".to_owned());
        let alice = operator
            .create("alice".to_owned(), password, Role::Member)
            .await
            .unwrap();
        let alice = gate.system(System::Load).logged_in(&alice, Uuid::now_v7()).unwrap();
        let presence = Arc::new(Presence::memory());
        let chat = Arc::new(Chat::new(&gate, presence.clone()));
        let feeds = Feeds::with_window(gate.system(System::Tail), window);
        tokio::spawn(feeds.clone().watch(presence));
        let room = chat.room(&alice, "lobby").await.unwrap();
        Place {
            chat,
            feeds,
            room,
            loaders: Loaders::new(&gate),
            gate,
            alice,
            rendered: Arc::default(),
        }
    }

    async fn say(&self, content: &str) -> View {
        self.chat.send(&self.alice, &self.room, content).await.unwrap()
    }

    /// Renders an entry as `seq content`.
    fn render(&self) -> Render {
        let rendered = self.rendered.clone();
        Arc::new(move |entry| {
            rendered.fetch_add(1, Ordering::Relaxed);
            let content = entry.message().map_or("", |message| message.content.as_str());
            let frame = Bytes::from(format!("{} {content}", entry.seq));
            std::future::ready(Rendered::Frame(frame)).boxed()
        })
    }

    async fn follow(&self, after: Option<i64>, wake: &Arc<Notify>) -> Follower {
        let audience = Audience::Shared {
            rendering: "test".to_owned(),
            render: self.render(),
        };
        self.feeds
            .follow(&self.room, after, audience, self.render(), wake)
            .await
            .unwrap()
    }
}

async fn all(follower: &mut Follower) -> Vec<String> {
    let mut frames = Vec::new();
    loop {
        let deliveries = follower.take().await.unwrap();
        if deliveries.is_empty() {
            return frames;
        }
        frames.extend(
            deliveries
                .iter()
                .map(|delivery| String::from_utf8(delivery.frame.to_vec()).unwrap()),
        );
    }
}

/// Follows until the event of that number has come, resting between takes as often as `rests` says.
async fn follow_until(mut follower: Follower, wake: Arc<Notify>, last: i64, rests: usize) -> Vec<String> {
    let mut frames = Vec::new();
    loop {
        wake.notified().await;
        for _ in 0..rests {
            tokio::task::yield_now().await;
        }
        frames.extend(all(&mut follower).await);
        if frames
            .last()
            .is_some_and(|frame| frame.starts_with(&format!("{last} ")))
        {
            return frames;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_gets_everything_once_and_in_order_from_wherever_they_begin() {
    // A window that the busy outrun.
    let place = Arc::new(Place::new(4).await);
    for count in 1..=30 {
        place.say(&format!("m{count}")).await;
    }
    let mut followers = Vec::new();
    for (after, rests) in [
        (None, 0),
        (Some(0), 0),
        (Some(29), 3),
        (Some(7), 50),
        (None, 200),
        (Some(30), 1_000),
    ] {
        let wake = Arc::new(Notify::new());
        let follower = place.follow(after, &wake).await;
        followers.push((
            after.unwrap_or(30),
            tokio::spawn(follow_until(follower, wake, 180, rests)),
        ));
    }
    join_all((0..3).map(|_| async {
        for _ in 0..50 {
            place.say("x").await;
        }
    }))
    .await;
    for (after, follower) in followers {
        let frames = follower.await.unwrap();
        let seqs: Vec<i64> = frames
            .iter()
            .map(|frame| frame.split(' ').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(seqs, (after + 1..=180).collect::<Vec<_>>(), "after {after}");
    }
}

#[tokio::test]
async fn what_all_see_alike_is_rendered_once() {
    let place = Place::new(WINDOW).await;
    let wake = Arc::new(Notify::new());
    let mut followers = Vec::new();
    for _ in 0..20 {
        followers.push(place.follow(None, &wake).await);
    }
    for _ in 0..10 {
        place.say("x").await;
    }
    for follower in &mut followers {
        let mut frames = Vec::new();
        while frames.len() < 10 {
            frames.extend(all(follower).await);
            tokio::task::yield_now().await;
        }
        assert_eq!(frames.len(), 10);
    }
    assert_eq!(place.rendered.load(Ordering::Relaxed), 10);
}

#[tokio::test]
async fn who_reads_late_is_shown_what_is_still_there() {
    let place = Place::new(WINDOW).await;
    let wake = Arc::new(Notify::new());
    let mut prompt = place.follow(None, &wake).await;
    let mut late = place.follow(None, &wake).await;
    let first = place.say("secret").await;
    let second = place.say("hello").await;
    let mut frames = Vec::new();
    while frames.len() < 2 {
        frames.extend(all(&mut prompt).await);
        tokio::task::yield_now().await;
    }
    assert_eq!(frames, ["1 secret", "2 hello"]);
    place
        .chat
        .edit(&place.alice, &place.loaders, second.id, "hello!")
        .await
        .unwrap();
    place.chat.delete(&place.alice, &place.loaders, first.id).await.unwrap();
    while frames.len() < 4 {
        frames.extend(all(&mut prompt).await);
        tokio::task::yield_now().await;
    }
    assert_eq!(frames[2..], ["3 hello!", "4 "]);
    assert_eq!(all(&mut late).await, ["1 ", "2 hello!", "3 hello!", "4 "]);
}

#[tokio::test]
async fn who_comes_later_is_not_told_who_typed_before() {
    let place = Place::new(WINDOW).await;
    let wake = Arc::new(Notify::new());
    let mut first = place.follow(None, &wake).await;
    let types = || {
        place.feeds.tell(presence::Change {
            room: place.room.id,
            kind: presence::ChangeKind::Typing,
            member: presence::Member {
                id: Uuid::now_v7(),
                username: "bob".into(),
            },
        });
    };
    let mut frames = Vec::new();
    place.say("hello").await;
    types();
    while frames.len() < 2 {
        frames.extend(all(&mut first).await);
        tokio::task::yield_now().await;
    }
    assert_eq!(frames, ["1 hello", "1 "]);
    // From now on, and from the beginning.
    let mut later = [place.follow(None, &wake).await, place.follow(Some(0), &wake).await];
    assert_eq!(all(&mut later[0]).await, [""; 0]);
    assert_eq!(all(&mut later[1]).await, ["1 hello"]);
    types();
    for follower in &mut later {
        let mut frames = Vec::new();
        while frames.is_empty() {
            frames.extend(all(follower).await);
            tokio::task::yield_now().await;
        }
        assert_eq!(frames, ["1 "]);
    }
}

#[tokio::test]
async fn a_feed_ends_with_its_last_follower() {
    let place = Place::new(WINDOW).await;
    let wake = Arc::new(Notify::new());
    let follower = place.follow(None, &wake).await;
    let feed = Arc::downgrade(&follower.group.feed);
    drop(follower);
    while feed.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
    // And another begins where the log is.
    place.say("unheard").await;
    let mut follower = place.follow(None, &wake).await;
    place.say("heard").await;
    let mut frames = Vec::new();
    while frames.is_empty() {
        frames = all(&mut follower).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(frames, ["2 heard"]);
    place.gate.close().await.unwrap();
}
