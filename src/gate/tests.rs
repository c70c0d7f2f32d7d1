use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::*;
use crate::{
    accounts::{Operator, password::Password},
    event::EventKind,
    gate::rules::Role,
    meter::Clock,
};

/// A gate on an empty database of its own.
pub(crate) async fn gate() -> Gate {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("gate_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let limits = Limits {
        member: 60,
        anonymous: 10,
    };
    let database = Database::in_folder(&folder, "test.sqlite");
    let (meter, doorbell) = (Meter::memory(Clock::System), Doorbell::memory());
    Gate::open(&database, meter, doorbell, limits, Arc::default())
        .await
        .unwrap()
}

fn shown(authorization: &str) -> Shown<'_> {
    Shown {
        authorization: Some(authorization),
        cookie: None,
        address: [192, 0, 2, 1].into(),
    }
}

/// Emits an event, then fails if it is told to.
struct Emit {
    subject: Uuid,
    fails: bool,
}

impl Operation for Emit {
    type Output = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.emit(EventKind::ProfileUpdate, self.subject, None, self.subject)
            .await?;
        match self.fails {
            true => Err(Error::new(Kind::Conflict, "told to fail")),
            false => Ok(()),
        }
    }
}

async fn numbers(gate: &Gate, subject: Uuid) -> Vec<i64> {
    let events = log::after(&gate.system(System::Load), subject, 0, 1_000).await.unwrap();
    events.iter().map(|event| event.seq).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_fails_rolls_back_alone() {
    let (gate, subject) = (gate().await, Uuid::now_v7());
    let written = join_all((0..200).map(|n| {
        let gate = gate.clone();
        async move {
            gate.writer()
                .write(Emit {
                    subject,
                    fails: n % 3 == 0,
                })
                .await
                .is_ok()
        }
    }))
    .await;
    let succeeded = written.iter().filter(|ok| **ok).count();
    assert_eq!(succeeded, 133);
    assert_eq!(numbers(&gate, subject).await, (1..=133).collect::<Vec<i64>>());
}

#[tokio::test]
async fn what_was_accepted_is_written_though_its_caller_goes_away() {
    let (gate, subject) = (gate().await, Uuid::now_v7());
    let write = gate.writer().write(Emit { subject, fails: false });
    assert!(write.now_or_never().is_none(), "it is on its way");
    gate.writer().write(Emit { subject, fails: false }).await.unwrap();
    assert_eq!(numbers(&gate, subject).await, [1, 2]);
}

#[tokio::test]
async fn a_ticket_opens_one_connection_while_its_key_holds() {
    let gate = gate().await;
    let operator = Operator::new(&gate);
    let member = operator
        .create("alice".into(), Password::new("correct horse".into()), Role::Member)
        .await
        .unwrap();
    let new = crate::accounts::NewKey {
        name: "test".into(),
        scopes: vec![rules::Scope::ChatRead],
        expires_at: None,
    };
    let key = operator.create_key("alice", new).await.unwrap();
    let by_key = gate
        .identify(shown(&format!("Bearer {}", key.expose())))
        .await
        .unwrap()
        .caller;
    let via = by_key.member().unwrap().via.clone();

    gate.put_ticket("bst_one", &via).await;
    assert!(
        gate.identify(shown("Bearer bst_one")).await.is_err(),
        "a ticket is for sockets"
    );
    let caller = gate.identify_at_socket(shown("Bearer bst_one")).await.unwrap().caller;
    assert!(caller.is(member.id));
    assert_eq!(caller.member().unwrap().via, via);
    assert!(gate.identify_at_socket(shown("Bearer bst_one")).await.is_err(), "taken");

    gate.put_ticket("bst_two", &via).await;
    struct End(Uuid);
    impl Operation for End {
        type Output = ();
        async fn run(&self, tx: &mut Tx<'_>) -> Result<()> {
            tx.revoke(self.0).await?;
            tx.execute("DELETE FROM api_keys WHERE member_id = ?", [self.0.into()])
                .await?;
            Ok(())
        }
    }
    gate.writer().write(End(member.id)).await.unwrap();
    assert!(
        gate.identify_at_socket(shown("Bearer bst_two")).await.is_err(),
        "its key has ended"
    );
    assert!(
        gate.identify(shown(&format!("Bearer {}", key.expose()))).await.is_err(),
        "at once"
    );
}

#[tokio::test]
async fn connections_for_reading_do_not_write() {
    let gate = gate().await;
    let written = sea_orm::ConnectionTrait::execute_unprepared(gate.reader(), "DELETE FROM members").await;
    assert!(written.is_err());
}

/// Asks whether its commit waits for the disk: SQLite's `FULL` is 2, `NORMAL` 1.
struct Synchronous(Durability);

impl Operation for Synchronous {
    type Output = i64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<i64> {
        let row = tx.query_one_raw(sql(tx.backend(), "PRAGMA synchronous", [])).await?;
        Ok(row.expect("SQLite knows it").try_get_by_index(0)?)
    }

    fn durability(&self) -> Durability {
        self.0
    }
}

#[tokio::test]
async fn who_asks_for_the_disk_waits_for_it_and_nobody_else() {
    let gate = gate().await;
    let asked = [
        Durability::Process,
        Durability::Disk,
        Durability::Process,
        Durability::Disk,
    ];
    for _ in 0..3 {
        let written = asked.map(|durability| gate.writer().write(Synchronous(durability)));
        let settings: Vec<i64> = join_all(written).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(settings, [1, 2, 1, 2]);
    }
}
