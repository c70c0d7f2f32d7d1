use std::collections::{BTreeSet, VecDeque};

use proptest::{collection::vec, prelude::*};
use tokio::sync::{broadcast, mpsc};

use super::*;
use crate::presence::{Stay, memory::Up};

const SILENCE: Duration = Duration::from_secs(6);

fn member(n: u128) -> Member {
    Member {
        id: Uuid::from_u128(n),
        username: format!("member-{n}").into(),
    }
}

fn entry(room: u128, n: u128) -> Entry {
    Entry {
        room: Uuid::from_u128(room),
        member: member(n),
    }
}

fn joined(n: u64, entry: Entry) -> Say {
    Say::News(vec![News::Joined { n, entry }])
}

fn left(n: u64, entry: Entry) -> Say {
    Say::News(vec![News::Left { n, entry }])
}

/// A node that hears one other.
struct Ear {
    peers: Peers,
    here: Memory,
    other: Uuid,
    start: Instant,
}

impl Ear {
    fn new() -> Self {
        let (here, start) = (Memory::new(), Instant::now());
        Self {
            peers: Peers::new(Uuid::now_v7(), start, SILENCE, here.clone()),
            here,
            other: Uuid::now_v7(),
            start,
        }
    }

    fn hear(&mut self, say: Say) -> Option<Reply> {
        self.hear_at(0, say)
    }

    fn hear_at(&mut self, second: u64, say: Say) -> Option<Reply> {
        let now = self.start + Duration::from_secs(second);
        self.peers.hear(say.by(self.other), now)
    }

    /// Its own heartbeat, sent and heard then.
    fn beat(&mut self, sent: u64, heard: u64) {
        let after = |second| self.start + Duration::from_secs(second);
        let beat = Say::beat(0, self.start, after(sent)).by(self.peers.node);
        assert_eq!(self.peers.hear(beat, after(heard)), None);
    }

    fn in_room(&self, room: u128) -> Vec<u128> {
        let members = self.here.members(Uuid::from_u128(room));
        members.into_iter().map(|member| member.id.as_u128()).collect()
    }

    fn asks(&self) -> Option<Reply> {
        Some(Reply::Ask(self.other))
    }
}

#[test]
fn messages_come_back() {
    let says = [
        Say::Hello,
        Say::Bye,
        Say::Ask(Uuid::now_v7()),
        Say::Beat {
            counter: u64::MAX,
            at: 1,
        },
        joined(1, entry(1, 1)),
        left(2, entry(1, 1)),
        Say::News(vec![News::Typing(entry(1, 1))]),
    ];
    for say in says.into_iter().chain(Say::state(7, vec![entry(1, 1), entry(2, 1)])) {
        let message = say.by(Uuid::now_v7());
        assert_eq!(Message::decode(&message.encode()).unwrap(), message);
    }
}

#[test]
fn what_is_no_message_is_none() {
    let node = Uuid::now_v7();
    for payload in [
        String::new(),
        "hello".to_owned(),
        "null".to_owned(),
        "[".repeat(100_000),
        r#"{"v":1}"#.to_owned(),
        format!(r#"{{"v":1,"node":"{node}","say":"sing"}}"#),
        format!(r#"{{"v":1,"node":"{node}","say":{{"beat":{{"counter":-1,"at":0}}}}}}"#),
        r#"{"v":1,"node":"ada","say":"hello"}"#.to_owned(),
    ] {
        let ignored = Message::decode(payload.as_bytes()).unwrap_err();
        assert!(matches!(ignored, Ignored::Malformed(_)), "{ignored}");
    }
    assert!(matches!(Message::decode(b"\xff"), Err(Ignored::Malformed(_))));
    let cut = Say::Hello.by(node).encode();
    assert!(Message::decode(&cut[..cut.len() - 1]).is_err());
    let later = br#"{"v":2,"nodes":[]}"#;
    assert!(matches!(Message::decode(later), Err(Ignored::Version(2))));
    let mut long = Say::Hello.by(node).encode();
    long.resize(MESSAGE, b' ');
    assert!(Message::decode(&long).is_ok());
    long.push(b' ');
    assert!(matches!(Message::decode(&long), Err(Ignored::Long(_))));
}

#[test]
fn a_state_of_nobody_is_a_state() {
    let mut ear = Ear::new();
    let [state] = Say::state(3, Vec::new()).try_into().unwrap();
    assert_eq!(ear.hear(state), None);
    assert_eq!(ear.hear(Say::Beat { counter: 3, at: 0 }), None);
}

#[test]
fn who_is_new_or_was_missed_is_asked() {
    let mut ear = Ear::new();
    assert_eq!(ear.hear(joined(4, entry(1, 4))), ear.asks(), "new");
    assert_eq!(ear.in_room(1), [4], "known as far as it was heard");
    assert_eq!(ear.hear(joined(5, entry(1, 5))), None, "asked already");
    assert_eq!(
        ear.hear(Say::Beat { counter: 5, at: 0 }),
        ear.asks(),
        "no answer so far"
    );
    for part in Say::state(5, vec![entry(1, 1), entry(1, 5)]) {
        ear.hear(part);
    }
    assert_eq!(ear.in_room(1), [1, 5]);
    assert_eq!(ear.hear(Say::Beat { counter: 5, at: 0 }), None);
    assert_eq!(ear.hear(left(5, entry(1, 1))), None, "the state had it in");
    assert_eq!(ear.in_room(1), [1, 5]);
    assert_eq!(ear.hear(left(6, entry(1, 1))), None);
    assert_eq!(ear.hear(joined(8, entry(1, 8))), ear.asks(), "7 was missed");
    assert_eq!(ear.in_room(1), [5, 8]);
    for part in Say::state(8, vec![entry(1, 8), entry(2, 7)]) {
        ear.hear(part);
    }
    assert_eq!((ear.in_room(1), ear.in_room(2)), (vec![8], vec![7]));
    assert_eq!(ear.hear(Say::Beat { counter: 9, at: 0 }), ear.asks(), "9 was missed");
}

#[test]
fn typing_has_no_number_and_is_told() {
    let mut ear = Ear::new();
    let mut changes = ear.here.listen();
    ear.hear(Say::state(0, Vec::new()).remove(0));
    assert_eq!(ear.hear(Say::News(vec![News::Typing(entry(1, 1))])), None);
    assert_eq!(changes.try_recv().unwrap(), entry(1, 1).now(ChangeKind::Typing));
    assert!(ear.in_room(1).is_empty());
}

#[test]
fn a_question_and_a_hello_are_answered() {
    let mut ear = Ear::new();
    assert_eq!(ear.hear(Say::Hello), Some(Reply::State));
    assert_eq!(ear.hear(Say::Ask(ear.peers.node)), Some(Reply::State));
    assert_eq!(ear.hear(Say::Ask(Uuid::now_v7())), None, "not asked");
    let mut ear = Ear::new();
    assert_eq!(ear.hear(Say::Ask(Uuid::now_v7())), ear.asks(), "new, whatever it says");
}

#[test]
fn a_state_counts_once_all_its_parts_are_there() {
    let entries: Vec<_> = (0..5_000).map(|n| entry(1, n)).collect();
    let parts = || Say::state(1, entries.clone());
    let count = parts().len();
    assert!(count >= 3, "{count}");
    for missing in 0..count {
        let mut ear = Ear::new();
        ear.hear(Say::Hello);
        for (n, part) in parts().into_iter().enumerate() {
            if n != missing {
                assert_eq!(ear.hear(part), None);
            }
        }
        assert!(ear.in_room(1).is_empty());
        assert_eq!(ear.hear(Say::Beat { counter: 1, at: 0 }), ear.asks());
        // Cut off, and begun anew; and then once more for somebody else.
        ear.hear(parts().remove(0));
        for part in parts().into_iter().chain(parts()) {
            assert_eq!(ear.hear(part), None);
        }
        assert_eq!(ear.in_room(1).len(), 5_000);
        assert_eq!(ear.hear(Say::Beat { counter: 1, at: 0 }), None);
    }
}

#[test]
fn parts_of_two_states_make_none() {
    let mut ear = Ear::new();
    let state = |counter| Say::state(counter, (0..2_000).map(|n| entry(1, n)).collect());
    let last = state(2).len() - 1;
    ear.hear(state(1).remove(0));
    for part in state(2).drain(1..=last) {
        ear.hear(part);
    }
    assert!(ear.in_room(1).is_empty());
    assert_eq!(ear.hear(Say::Beat { counter: 2, at: 0 }), ear.asks());
}

#[test]
fn of_one_node_not_all_can_be_too_many() {
    let full = ENTRIES as u128;
    let mut ear = Ear::new();
    for part in Say::state(1, (0..full + 10).map(|n| entry(1, n)).collect()) {
        ear.hear(part);
    }
    assert_eq!(ear.in_room(1).len(), ENTRIES);
    assert_eq!(
        ear.hear(Say::Beat { counter: 1, at: 0 }),
        None,
        "nothing to ask for again and again"
    );
    ear.hear(joined(2, entry(2, full + 20)));
    assert!(ear.in_room(2).is_empty());
    ear.hear(left(3, entry(1, full + 20)));
    assert_eq!(ear.in_room(1).len(), ENTRIES, "who was ignored leaves unnoticed");
    ear.hear(left(4, entry(1, 0)));
    ear.hear(joined(5, entry(2, full + 20)));
    assert_eq!(ear.in_room(2), [full + 20]);
    ear.hear(Say::Bye);
    assert!(ear.in_room(1).is_empty() && ear.in_room(2).is_empty());
}

#[test]
fn who_is_silent_dies_and_who_stood_still_buries_nobody() {
    let mut ear = Ear::new();
    let _stay = ear.here.enter(Uuid::from_u128(1), member(2));
    ear.hear_at(10, Say::state(2, vec![entry(1, 1), entry(1, 2)]).remove(0));
    ear.beat(15, 15);
    assert_eq!(ear.in_room(1), [1, 2]);
    ear.beat(15, 60);
    assert_eq!(
        ear.in_room(1),
        [1, 2],
        "up to when this was sent, it was not silent for long"
    );
    ear.peers.hear_again(ear.start + Duration::from_secs(60));
    ear.beat(65, 65);
    assert_eq!(ear.in_room(1), [1, 2], "it could not be heard before");
    ear.beat(66, 66);
    assert_eq!(ear.in_room(1), [2], "who is here too stays");
    assert_eq!(
        ear.hear_at(67, Say::Beat { counter: 2, at: 0 }),
        ear.asks(),
        "back from the dead"
    );
}

#[test]
fn numbers_that_cannot_be_do_no_harm() {
    let mut ear = Ear::new();
    ear.hear(joined(u64::MAX, entry(1, 1)));
    ear.hear(joined(0, entry(1, 2)));
    assert_eq!(ear.in_room(1), [1]);
    let own = |at| Say::Beat { counter: 0, at }.by(ear.peers.node);
    let (far, near) = (own(u64::MAX), own(0));
    ear.peers.hear(near, ear.start);
    ear.peers.hear(far, ear.start);
    let huge = Part {
        counter: u64::MAX,
        part: usize::MAX,
        parts: usize::MAX,
        entries: Vec::new(),
    };
    ear.hear(Say::State(huge));
    // What the node says next is believed, whatever came before.
    assert_eq!(ear.hear(Say::Beat { counter: 2, at: 0 }), ear.asks());
    ear.hear(Say::state(2, vec![entry(1, 7)]).remove(0));
    assert_eq!(ear.in_room(1), [7]);
}

proptest! {
    // These are large.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn messages_are_never_too_long_and_lose_nothing(
        lengths in vec(prop_oneof![4 => 0..40usize, 1 => 0..40_000usize], 0..200),
        filler in prop_oneof![Just('a'), Just('\u{1}'), Just('"'), Just('é'), Just('🌙')],
    ) {
        let entries = lengths.iter().map(|length| Entry {
            room: Uuid::max(),
            member: Member {
                id: Uuid::max(),
                username: filler.to_string().repeat(length / filler.len_utf8()).into(),
            },
        });
        let entries: Vec<_> = entries.collect();
        let news = entries.iter().map(|entry| News::Joined { n: u64::MAX, entry: entry.clone() });
        let (mut came, mut told) = (Vec::new(), Vec::new());
        for say in Say::state(u64::MAX, entries.clone()).into_iter().chain(Say::news(news.collect())) {
            let payload = say.by(Uuid::max()).encode();
            match Message::decode(&payload).unwrap().say {
                Say::State(part) => came.extend(part.entries),
                Say::News(news) => told.extend(news.into_iter().map(|news| news.entry().clone())),
                say => panic!("{say:?}"),
            }
        }
        prop_assert_eq!(&came, &entries);
        prop_assert_eq!(&told, &entries);
    }
}

proptest! {
    #[test]
    fn whatever_is_lost_nodes_agree_in_the_end(moves in vec(any_move(), 0..120)) {
        let mut world = World::new();
        for one in moves {
            world.make(one);
        }
        world.settle();
        let truth = world.truth();
        for node in &world.nodes {
            prop_assert_eq!(node.known(), truth.clone());
            prop_assert_eq!(&node.told, &truth, "changes tell the same");
        }
    }
}

const NODES: usize = 3;

#[derive(Clone, Debug)]
enum Move {
    Enter {
        node: usize,
        room: u128,
        member: u128,
    },
    Leave {
        node: usize,
        stay: prop::sample::Index,
    },
    /// Says what it has to say.
    Say {
        node: usize,
    },
    Beat {
        node: usize,
    },
    Hear {
        node: usize,
        messages: usize,
    },
    /// Never hears its next messages.
    Lose {
        node: usize,
        messages: usize,
    },
    /// Is not connected until it is again, which begins with hello.
    Down {
        node: usize,
    },
    Up {
        node: usize,
    },
}

fn any_move() -> impl Strategy<Value = Move> {
    let node = || 0..NODES;
    prop_oneof![
        6 => (node(), 0..2u128, 0..3u128).prop_map(|(node, room, member)| Move::Enter { node, room, member }),
        5 => (node(), any::<prop::sample::Index>()).prop_map(|(node, stay)| Move::Leave { node, stay }),
        5 => node().prop_map(|node| Move::Say { node }),
        1 => node().prop_map(|node| Move::Beat { node }),
        8 => (node(), 1..6usize).prop_map(|(node, messages)| Move::Hear { node, messages }),
        1 => (node(), 1..4usize).prop_map(|(node, messages)| Move::Lose { node, messages }),
        1 => node().prop_map(|node| Move::Down { node }),
        2 => node().prop_map(|node| Move::Up { node }),
    ]
}

/// Nodes and the channel between them, without time.
struct World {
    nodes: Vec<Node>,
}

struct Node {
    id: Uuid,
    here: Memory,
    queue: mpsc::Receiver<News>,
    peers: Peers,
    inbox: VecDeque<Vec<u8>>,
    stays: Vec<(Uuid, Uuid, Stay)>,
    changes: broadcast::Receiver<Change>,
    /// Who is in which room by the changes alone.
    told: BTreeSet<(Uuid, Uuid)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            nodes: (1..=NODES).map(Node::new).collect(),
        };
        (0..NODES).for_each(|node| world.make(Move::Up { node }));
        world
    }

    fn make(&mut self, one: Move) {
        match one {
            Move::Enter { node, room, member: n } => {
                let (room, member) = (Uuid::from_u128(room), member(n));
                let id = member.id;
                let stay = self.nodes[node].here.enter(room, member);
                self.nodes[node].stays.push((room, id, stay));
            }
            Move::Leave { node, stay } => {
                let stays = &mut self.nodes[node].stays;
                if !stays.is_empty() {
                    drop(stays.swap_remove(stay.index(stays.len())));
                }
            }
            Move::Say { node } => {
                let news = self.nodes[node].waiting();
                self.say(node, Say::news(news));
            }
            Move::Beat { node } => {
                let counter = self.nodes[node].here.counter();
                self.make(Move::Say { node });
                self.say(node, vec![Say::Beat { counter, at: 0 }]);
            }
            Move::Hear { node, messages } => {
                for _ in 0..messages {
                    self.hear(node);
                }
            }
            Move::Lose { node, messages } => {
                let inbox = &mut self.nodes[node].inbox;
                inbox.drain(..messages.min(inbox.len()));
            }
            Move::Down { node } => {
                self.nodes[node].here.set_up(Up::No);
                self.nodes[node].inbox.clear();
            }
            Move::Up { node } => {
                if !self.nodes[node].here.is_up() {
                    self.nodes[node].waiting();
                    self.nodes[node].here.set_up(Up::Yes);
                    self.say(node, vec![Say::Hello]);
                    self.say_state(node);
                }
            }
        }
        self.nodes.iter_mut().for_each(Node::follow);
    }

    fn say(&mut self, node: usize, says: Vec<Say>) {
        if !self.nodes[node].here.is_up() {
            return;
        }
        for say in says {
            let message = say.by(self.nodes[node].id).encode();
            for other in self.nodes.iter_mut().filter(|other| other.here.is_up()) {
                other.inbox.push_back(message.clone());
            }
        }
    }

    fn say_state(&mut self, node: usize) {
        let (counter, entries) = self.nodes[node].here.here();
        self.say(node, Say::state(counter, entries));
    }

    fn hear(&mut self, node: usize) {
        let here = &mut self.nodes[node];
        let Some(payload) = here.inbox.pop_front() else {
            return;
        };
        let message = Message::decode(&payload).unwrap();
        match here.peers.hear(message, Instant::now()) {
            Some(Reply::State) => self.say_state(node),
            Some(Reply::Ask(of)) => self.say(node, vec![Say::Ask(of)]),
            None => {}
        }
        self.nodes[node].follow();
    }

    /// Nothing is lost from here on; a heartbeat of each node and the answers to it are enough.
    fn settle(&mut self) {
        (0..NODES).for_each(|node| self.make(Move::Up { node }));
        for _ in 0..2 {
            (0..NODES).for_each(|node| self.make(Move::Beat { node }));
            while let Some(node) = (0..NODES).find(|node| !self.nodes[*node].inbox.is_empty()) {
                self.hear(node);
            }
        }
    }

    fn truth(&self) -> BTreeSet<(Uuid, Uuid)> {
        let stays = self.nodes.iter().flat_map(|node| &node.stays);
        stays.map(|(room, member, _)| (*room, *member)).collect()
    }
}

impl Node {
    fn new(n: usize) -> Self {
        // A queue that is full now and then.
        let (outgoing, queue) = mpsc::channel(4);
        let here = Memory::telling(outgoing);
        let id = Uuid::from_u128(n as u128);
        Self {
            id,
            peers: Peers::new(id, Instant::now(), SILENCE, here.clone()),
            changes: here.listen(),
            here,
            queue,
            inbox: VecDeque::new(),
            stays: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    fn waiting(&mut self) -> Vec<News> {
        std::iter::from_fn(|| self.queue.try_recv().ok()).collect()
    }

    /// Each change says something new.
    fn follow(&mut self) {
        while let Ok(Change { room, kind, member }) = self.changes.try_recv() {
            let is_news = match kind {
                ChangeKind::Joined => self.told.insert((room, member.id)),
                ChangeKind::Left => self.told.remove(&(room, member.id)),
                ChangeKind::Typing => false,
            };
            assert!(is_news, "{kind:?} of {member:?}");
        }
    }

    fn known(&self) -> BTreeSet<(Uuid, Uuid)> {
        let rooms: Vec<_> = (0..2)
            .map(Uuid::from_u128)
            .map(|room| (room, self.here.members(room)))
            .collect();
        let members = |(room, members): (Uuid, Vec<Member>)| members.into_iter().map(move |member| (room, member.id));
        rooms.into_iter().flat_map(members).collect()
    }
}
