//! What every presence does, in memory and in Redis alike.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{collection::vec, prelude::*};
use tokio::{sync::broadcast::error::TryRecvError, task::JoinSet};

use super::{ChangeKind::*, *};

pub(super) fn member(username: &str) -> Member {
    Member {
        id: Uuid::now_v7(),
        username: username.into(),
    }
}

pub(super) fn usernames(presence: &Presence, room: Uuid) -> Vec<String> {
    let members = presence.members(room).into_iter();
    members.map(|member| member.username.to_string()).collect()
}

macro_rules! conformance {
    ($($name:ident)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Presence::memory()).await;
            })*
        }

        mod in_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::presence::redis::tests::up(1).await.remove(0)).await;
            })*
        }
    };
}

conformance! {
    the_first_connection_joins_and_the_last_leaves
    rooms_are_apart
    members_are_listed_once_by_username
    members_are_counted_once_in_all_rooms
    typing_is_told_to_all_who_listen
    of_many_who_come_and_go_at_once_the_right_ones_are_left
    a_stay_may_outlive_its_presence
}

async fn the_first_connection_joins_and_the_last_leaves(presence: Presence) {
    assert!(presence.is_up());
    let (room, ada) = (Uuid::now_v7(), member("ada"));
    let mut changes = presence.listen();
    let change = |kind| Change {
        room,
        kind,
        member: ada.clone(),
    };
    for _ in 0..3 {
        let first = presence.enter(room, ada.clone());
        assert_eq!(changes.try_recv(), Ok(change(Joined)), "who joins hears it");
        let others: Vec<_> = (0..100).map(|_| presence.enter(room, ada.clone())).collect();
        drop(first);
        assert_eq!(usernames(&presence, room), ["ada"]);
        assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
        drop(others);
        assert_eq!(changes.try_recv(), Ok(change(Left)));
        assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(presence.members(room), []);
    }
}

async fn rooms_are_apart(presence: Presence) {
    let (one, other, ada) = (Uuid::now_v7(), Uuid::now_v7(), member("ada"));
    let stay = presence.enter(one, ada.clone());
    assert_eq!(presence.members(other), []);
    let _other = presence.enter(other, ada.clone());
    drop(stay);
    assert_eq!(presence.members(one), []);
    assert_eq!(presence.members(other), [ada]);
}

async fn members_are_listed_once_by_username(presence: Presence) {
    let room = Uuid::now_v7();
    let members = ["cy", "ada", "eve", "bob", "dan"].map(member);
    let _stays: Vec<_> = members
        .iter()
        .chain(&members)
        .map(|member| presence.enter(room, member.clone()))
        .collect();
    assert_eq!(usernames(&presence, room), ["ada", "bob", "cy", "dan", "eve"]);
}

async fn members_are_counted_once_in_all_rooms(presence: Presence) {
    let rooms: [Uuid; 2] = std::array::from_fn(|_| Uuid::now_v7());
    let (ada, bob) = (member("ada"), member("bob"));
    assert_eq!(presence.count(), 0);
    let stays = [
        presence.enter(rooms[0], ada.clone()),
        presence.enter(rooms[0], ada.clone()),
        presence.enter(rooms[1], ada),
        presence.enter(rooms[1], bob),
    ];
    assert_eq!(presence.count(), 2);
    drop(stays);
    assert_eq!(presence.count(), 0);
}

async fn typing_is_told_to_all_who_listen(presence: Presence) {
    let (room, ada) = (Uuid::now_v7(), member("ada"));
    let mut listeners = [presence.listen(), presence.listen()];
    presence.typing(room, &ada);
    for listener in &mut listeners {
        let change = listener.try_recv().unwrap();
        assert_eq!((change.room, change.kind, &change.member), (room, Typing, &ada));
    }
    assert_eq!(presence.members(room), []);
}

async fn of_many_who_come_and_go_at_once_the_right_ones_are_left(presence: Presence) {
    let presence = Arc::new(presence);
    let rooms: [Uuid; 3] = std::array::from_fn(|_| Uuid::now_v7());
    let members: [Member; 8] = std::array::from_fn(|n| member(&format!("member-{n}")));
    let mut changes = presence.listen();
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let (presence, members) = (presence.clone(), members.clone());
        tasks.spawn(async move {
            let member = &members[n % 8];
            let mut last = None;
            for turn in 0..20 {
                // The new one before the old one goes, or the other way round.
                let stay = presence.enter(rooms[turn % 3], member.clone());
                if turn % 2 == 0 {
                    last = Some(stay);
                } else {
                    last = None;
                    drop(stay);
                }
                tokio::task::yield_now().await;
            }
            // Those of four members stay, in the second room.
            (n % 8 < 4).then(|| presence.enter(rooms[1], member.clone())).or(last)
        });
    }
    let stays = tasks.join_all().await;
    assert_eq!(usernames(&presence, rooms[0]), <[&str; 0]>::default());
    let left = ["member-0", "member-1", "member-2", "member-3"];
    assert_eq!(usernames(&presence, rooms[1]), left);
    drop(stays);
    assert!(rooms.iter().all(|room| presence.members(*room).is_empty()));
    // What was told alternates, and ends with everyone gone.
    let mut told = BTreeMap::new();
    while let Ok(change) = changes.try_recv() {
        let before = told.insert((change.room, change.member.id), change.kind);
        assert_eq!(before.unwrap_or(Left) == Left, change.kind == Joined, "{change:?}");
    }
    assert!(!told.is_empty() && told.values().all(|kind| *kind == Left));
}

async fn a_stay_may_outlive_its_presence(presence: Presence) {
    let (room, ada) = (Uuid::now_v7(), member("ada"));
    let mut changes = presence.listen();
    let stay = presence.enter(room, ada);
    presence.close().await;
    drop(presence);
    drop(stay);
    assert_eq!(changes.recv().await.unwrap().kind, Joined);
    assert_eq!(changes.recv().await.unwrap().kind, Left);
}

#[derive(Clone, Debug)]
enum Move {
    Enter(usize, usize),
    Leave(prop::sample::Index),
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        (0..3usize, 0..4usize).prop_map(|(room, member)| Move::Enter(room, member)),
        any::<prop::sample::Index>().prop_map(Move::Leave),
    ]
}

proptest! {
    #[test]
    fn who_is_there_is_who_has_a_connection_there(moves in vec(any_move(), 0..200)) {
        let presence = Presence::memory();
        let mut changes = presence.listen();
        let rooms: [Uuid; 3] = std::array::from_fn(|_| Uuid::now_v7());
        let members: [Member; 4] = std::array::from_fn(|n| member(&format!("member-{n}")));
        let mut stays: Vec<(usize, usize, Stay)> = Vec::new();
        for one in moves {
            let is_there = |stays: &[(usize, usize, Stay)], room, member| {
                stays.iter().any(|stay| (stay.0, stay.1) == (room, member))
            };
            let (room, member, before) = match one {
                Move::Enter(room, member) => {
                    let before = is_there(&stays, room, member);
                    stays.push((room, member, presence.enter(rooms[room], members[member].clone())));
                    (room, member, before)
                }
                Move::Leave(_) if stays.is_empty() => continue,
                Move::Leave(index) => {
                    let (room, member, stay) = stays.swap_remove(index.index(stays.len()));
                    drop(stay);
                    (room, member, true)
                }
            };
            let expected = match (before, is_there(&stays, room, member)) {
                (false, true) => Some(Joined),
                (true, false) => Some(Left),
                _ => None,
            };
            let told = changes.try_recv().ok();
            prop_assert_eq!(told.as_ref().map(|change| change.kind), expected);
            if let Some(change) = told {
                prop_assert_eq!((change.room, &change.member), (rooms[room], &members[member]));
            }
            for (n, room) in rooms.iter().enumerate() {
                let there = (0..4).filter(|member| is_there(&stays, n, *member));
                let expected: Vec<_> = there.map(|member| members[member].clone()).collect();
                prop_assert_eq!(presence.members(*room), expected);
            }
        }
    }
}
