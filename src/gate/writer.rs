//! Writing: owned operations, each whole or not at all.
//!
//! On SQLite one task writes: what has come together runs in one transaction, and callers hear of it after its commit,
//! so that many share one wait for the disk. An operation that fails rolls back alone. On Postgres each operation is a
//! transaction of its own.

use std::{borrow::Cow, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::{
    db::{Db, counted_as, sql, work},
    log::{self, Happened},
};
use crate::{
    error::{Error, Kind, Result},
    event::EventKind,
    time,
};

/// Something to write. It may run more than once (each time in a fresh or rolled-back transaction) before it takes
/// effect once, so it brings its ids and random values along and touches nothing but the transaction.
pub trait Operation: Send + Sync + 'static {
    type Output: Send + 'static;

    /// Subjects are locked (by [`Tx::emit`]) before members are changed, each by id, so that no two operations wait for
    /// each other.
    fn run(&self, tx: &mut Tx<'_>) -> impl Future<Output = Result<Self::Output>> + Send;

    /// What its answer promises.
    fn durability(&self) -> Durability {
        Durability::Disk
    }
}

/// What an operation outlives once it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The end of the program, however it ends. On SQLite a loss of power within 100 ms undoes it; Postgres makes no
    /// difference. For what can be done again.
    Process,
    /// A loss of power.
    Disk,
}

/// How long after its answer a write for [`Durability::Process`] is on disk at the latest, of SQLite's.
const ON_DISK_WITHIN: Duration = Duration::from_millis(100);

/// SQL with `?` for parameters, and their values.
#[derive(Debug)]
pub struct Sql {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

impl Sql {
    pub fn new(text: impl Into<Cow<'static, str>>, values: impl IntoIterator<Item = Value>) -> Self {
        Self {
            text: text.into(),
            values: values.into_iter().collect(),
        }
    }

    fn followed_by(self, next: Sql) -> Self {
        let mut values = self.values;
        values.extend(next.values);
        Self {
            text: format!("{};\n{}", self.text, next.text).into(),
            values,
        }
    }
}

/// The transaction that an operation runs in.
#[derive(Debug)]
pub struct Tx<'a> {
    db: &'a DatabaseTransaction,
    now: i64,
    happened: Vec<Happened>,
}

impl Tx<'_> {
    /// Unix milliseconds at which the operation started: one time for all that it writes.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// Writes an event of `subject` into the log, in this transaction; readers are woken after the commit.
    pub async fn emit(&mut self, kind: EventKind, subject: Uuid, actor: Option<Uuid>, object: Uuid) -> Result<Uuid> {
        let (id, happened) = log::append(self.db, self.now, kind.wire(), subject, actor, object).await?;
        self.happened.push(happened);
        Ok(id)
    }

    /// Writes events of `subject` that happen together, in their order; the number of the first of them.
    pub async fn emit_all(&mut self, kind: EventKind, subject: Uuid, events: &[log::New]) -> Result<i64> {
        let (first, happened) = log::append_all(self.db, self.now, kind.wire(), subject, events).await?;
        self.happened.push(happened);
        Ok(first)
    }

    /// Makes every node forget what it knows of a member as a caller: after a change of role, password, logins, keys or
    /// standing.
    pub async fn revoke(&mut self, member: Uuid) -> Result<()> {
        let (_, happened) = log::append(self.db, self.now, log::CALLER_CHANGED, log::CALLERS, None, member).await?;
        self.happened.push(happened);
        Ok(())
    }

    /// Holds a member until the end of the transaction, so that what is counted of theirs is right at the commit. SQLite
    /// has one writer anyway.
    pub async fn hold_member(&self, member: Uuid) -> Result<()> {
        if self.backend() == DbBackend::Postgres {
            let text = "SELECT 1 FROM members WHERE id = ? FOR NO KEY UPDATE";
            self.execute(text, [member.into()]).await?;
        }
        Ok(())
    }

    /// Runs a statement that gives rows, then others whose outcome is not asked for. On SQLite they share one trip to its
    /// thread, which costs more than most statements.
    pub async fn query_then(&self, first: Sql, then: Vec<Sql>) -> Result<Vec<QueryResult>> {
        if self.backend() == DbBackend::Sqlite {
            let all = then.into_iter().fold(first, Sql::followed_by);
            return Ok(self
                .db
                .query_all_raw(sql(self.backend(), &all.text, all.values))
                .await?);
        }
        let first = sql(self.backend(), &first.text, first.values);
        let rows = self.db.query_all_raw(first).await?;
        self.execute_all(then).await?;
        Ok(rows)
    }

    /// Runs statements whose outcome is not asked for.
    pub async fn execute_all(&self, statements: Vec<Sql>) -> Result<()> {
        for statement in statements {
            self.execute(&statement.text, statement.values).await?;
        }
        Ok(())
    }

    /// Runs SQL with `?` for parameters; the number of rows that it changed.
    pub async fn execute(&self, text: &str, values: impl IntoIterator<Item = Value>) -> Result<u64> {
        Ok(self
            .db
            .execute_raw(sql(self.backend(), text, values))
            .await?
            .rows_affected())
    }

    pub fn backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Tx<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.db.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.db.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.db.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.db.query_all_raw(statement).await
    }
}

/// How many operations share a transaction at most.
const BATCH: usize = 256;
/// How many operations may wait for the writer before further ones are refused.
const QUEUE: usize = 4_096;
/// How often an operation is tried on Postgres when others were in its way.
const TRIES: u32 = 5;

#[derive(Clone, Debug)]
pub(super) enum Writer {
    Together(mpsc::Sender<Box<dyn Job>>),
    Alone(DatabaseConnection, After),
}

/// What is told of events once they are committed.
#[derive(Clone)]
pub(super) struct After(Arc<Tell>);

type Tell = dyn Fn(&[Happened]) + Send + Sync;

impl std::fmt::Debug for After {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("After")
    }
}

impl Writer {
    pub fn start(db: &Db, after: impl Fn(&[Happened]) + Send + Sync + 'static) -> Writer {
        let after = After(Arc::new(after));
        if db.write.get_database_backend() != DbBackend::Sqlite {
            return Writer::Alone(db.write.clone(), after);
        }
        let (queue, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(write_together(db.write.clone(), jobs, after));
        Writer::Together(queue)
    }

    /// Runs an operation and answers when it is as durable as it asks for. What has been accepted runs even if the caller
    /// goes away.
    ///
    /// # Errors
    ///
    /// The operation's own, and `UNAVAILABLE` when too much is waiting.
    pub async fn write<O: Operation>(&self, operation: O) -> Result<O::Output> {
        match self {
            Writer::Together(queue) => {
                let (reply, answer) = oneshot::channel();
                let job = Box::new(Queued {
                    operation,
                    work: work(),
                    outcome: None,
                    reply,
                });
                queue.try_send(job).map_err(|_| overloaded())?;
                answer.await.map_err(|_| overloaded())?
            }
            Writer::Alone(connection, after) => {
                let (connection, after) = (connection.clone(), after.clone());
                // A task of its own: the operation is whole or not at all, also when its caller goes away.
                let written = async move { write_alone(&connection, &operation, &after).await };
                let written = tokio::spawn(counted_as(work(), written));
                written.await.map_err(Error::internal)?
            }
        }
    }
}

fn overloaded() -> Error {
    Error::new(Kind::Unavailable, "too much is being written, try again").with("retryAfter", 1)
}

/// An operation in the queue, whatever its output.
pub(super) trait Job: Send {
    /// Runs the operation; what it would emit, or that it failed.
    fn run<'a>(&'a mut self, db: &'a DatabaseTransaction) -> BoxFuture<'a, Result<Vec<Happened>, ()>>;
    /// Tells the caller, who hears of a success only if `committed` is one too.
    fn answer(self: Box<Self>, committed: &Result<()>);
    fn durability(&self) -> Durability;
}

impl std::fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

struct Queued<O: Operation> {
    operation: O,
    /// What its statements are counted as.
    work: &'static str,
    outcome: Option<Result<O::Output>>,
    reply: oneshot::Sender<Result<O::Output>>,
}

impl<O: Operation> Job for Queued<O> {
    fn run<'a>(&'a mut self, db: &'a DatabaseTransaction) -> BoxFuture<'a, Result<Vec<Happened>, ()>> {
        Box::pin(async move {
            let mut tx = Tx {
                db,
                now: time::now(),
                happened: Vec::new(),
            };
            let outcome = counted_as(self.work, self.operation.run(&mut tx)).await;
            let run = if outcome.is_ok() { Ok(tx.happened) } else { Err(()) };
            self.outcome = Some(outcome);
            run
        })
    }

    fn answer(self: Box<Self>, committed: &Result<()>) {
        let answer = match (committed, self.outcome) {
            (Ok(()), outcome) => outcome.expect("what was committed was run"),
            (Err(_), Some(Err(own))) => Err(own),
            (Err(error), _) => Err(error.clone()),
        };
        // A caller who went away does not need the answer.
        let _ = self.reply.send(answer);
    }

    fn durability(&self) -> Durability {
        self.operation.durability()
    }
}

async fn write_together(connection: DatabaseConnection, mut queue: mpsc::Receiver<Box<dyn Job>>, after: After) {
    let mut jobs = Vec::with_capacity(BATCH);
    let mut disk = Disk::default();
    loop {
        if disk.due().is_some_and(|due| due <= Instant::now()) {
            disk.reach(&connection).await;
        }
        let arrived = match disk.due() {
            None => queue.recv_many(&mut jobs, BATCH).await,
            Some(due) => match timeout_at(due, queue.recv_many(&mut jobs, BATCH)).await {
                Ok(arrived) => arrived,
                Err(_) => continue,
            },
        };
        if arrived == 0 {
            return;
        }
        // What somebody was promised goes first, and does not wait for the rest.
        for durability in [Durability::Disk, Durability::Process] {
            let mut batch: Vec<_> = jobs.extract_if(.., |job| job.durability() == durability).collect();
            if batch.is_empty() {
                continue;
            }
            let (committed, happened) = match write_batch(&connection, &mut batch, durability, &mut disk).await {
                Ok(happened) => (Ok(()), happened),
                Err(error) => (Err(error), Vec::new()),
            };
            if !happened.is_empty() {
                (after.0)(&happened);
            }
            for job in batch {
                job.answer(&committed);
            }
        }
    }
}

/// Runs the jobs in one transaction. First without savepoints, which cost two statements a job; if one fails, all is
/// rolled back and run again with them, so that only what failed is undone.
async fn write_batch(
    connection: &DatabaseConnection,
    jobs: &mut [Box<dyn Job>],
    durability: Durability,
    disk: &mut Disk,
) -> Result<Vec<Happened>> {
    disk.set(connection, durability).await?;
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    };
    let transaction = connection.begin_with_options(options).await?;
    let mut happened = Vec::new();
    let mut failed = false;
    for job in jobs.iter_mut() {
        match job.run(&transaction).await {
            Ok(more) => happened.extend(more),
            Err(()) => {
                failed = true;
                break;
            }
        }
    }
    if !failed {
        transaction.commit().await?;
        disk.committed(&happened);
        return Ok(happened);
    }
    transaction.rollback().await?;
    if let [_] = jobs {
        return Ok(Vec::new());
    }

    let transaction = connection.begin_with_options(options).await?;
    let mut happened = Vec::new();
    for job in jobs.iter_mut() {
        transaction.execute_unprepared("SAVEPOINT job").await?;
        match job.run(&transaction).await {
            Ok(more) => happened.extend(more),
            Err(()) => {
                transaction.execute_unprepared("ROLLBACK TO job").await?;
            }
        }
        transaction.execute_unprepared("RELEASE job").await?;
    }
    transaction.commit().await?;
    disk.committed(&happened);
    Ok(happened)
}

/// What of SQLite's log is on disk. What did not wait for the disk gets there with the next commit that does: they are in
/// one file.
struct Disk {
    /// What commits are set to.
    durability: Durability,
    /// When the first one was that may not be on disk.
    behind_since: Option<Instant>,
}

impl Default for Disk {
    /// As connections are opened.
    fn default() -> Self {
        Self {
            durability: Durability::Disk,
            behind_since: None,
        }
    }
}

impl Disk {
    /// When what was written has to be on disk.
    fn due(&self) -> Option<Instant> {
        self.behind_since.map(|since| since + ON_DISK_WITHIN)
    }

    /// Has commits wait for the disk from now on, or not.
    async fn set(&mut self, connection: &DatabaseConnection, durability: Durability) -> Result<()> {
        if self.durability != durability {
            let text = match durability {
                Durability::Disk => "PRAGMA synchronous = FULL",
                Durability::Process => "PRAGMA synchronous = NORMAL",
            };
            connection.execute_unprepared(text).await?;
            self.durability = durability;
        }
        Ok(())
    }

    fn committed(&mut self, happened: &[Happened]) {
        match self.durability {
            // One that has written nothing has not waited either.
            Durability::Disk if happened.is_empty() => {}
            Durability::Disk => self.behind_since = None,
            Durability::Process => {
                self.behind_since.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Brings all that was written to disk.
    async fn reach(&mut self, connection: &DatabaseConnection) {
        match self.commit_nothing(connection).await {
            Ok(()) => self.behind_since = None,
            Err(error) => {
                tracing::warn!(?error, "what was written is not on disk yet");
                self.behind_since = Some(Instant::now());
            }
        }
    }

    /// Waits for the disk, and so for what is in the log already. Nobody uses the number that it sets to what it is.
    async fn commit_nothing(&mut self, connection: &DatabaseConnection) -> Result<()> {
        self.set(connection, Durability::Disk).await?;
        connection.execute_unprepared("PRAGMA user_version = 0").await?;
        Ok(())
    }
}

async fn write_alone<O: Operation>(connection: &DatabaseConnection, operation: &O, after: &After) -> Result<O::Output> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_alone(connection, operation).await {
            Ok((output, happened)) => {
                if !happened.is_empty() {
                    (after.0)(&happened);
                }
                return Ok(output);
            }
            Err(error) if tries < TRIES && is_in_the_way(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn try_alone<O: Operation>(connection: &DatabaseConnection, operation: &O) -> Result<(O::Output, Vec<Happened>)> {
    let transaction = connection.begin().await?;
    let mut tx = Tx {
        db: &transaction,
        now: time::now(),
        happened: Vec::new(),
    };
    let outcome = operation.run(&mut tx).await;
    let happened = std::mem::take(&mut tx.happened);
    match outcome {
        Ok(output) => {
            transaction.commit().await?;
            Ok((output, happened))
        }
        Err(error) => {
            transaction.rollback().await?;
            Err(error)
        }
    }
}

/// Whether Postgres ended the transaction for another's sake: a deadlock (40P01) or a serialization failure (40001).
fn is_in_the_way(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let text = error.to_string();
        if text.contains("deadlock detected") || text.contains("could not serialize access") {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;

    async fn waits_for_the_disk(connection: &DatabaseConnection) -> bool {
        let asked = sql(DbBackend::Sqlite, "PRAGMA synchronous", []);
        let row = connection.query_one_raw(asked).await.unwrap().unwrap();
        row.try_get_by_index::<i64>(0).unwrap() == 2
    }

    #[tokio::test]
    async fn what_does_not_wait_for_the_disk_is_there_soon_after() {
        let folder = std::env::temp_dir().join(format!("writer_{}", Uuid::new_v4().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        let db = Db::open(&Database::in_folder(&folder, "test.sqlite")).await.unwrap();
        let connection = &db.write;

        let mut disk = Disk::default();
        disk.set(connection, Durability::Process).await.unwrap();
        assert!(!waits_for_the_disk(connection).await);
        disk.committed(&[]);
        let since = disk.behind_since.expect("a commit did not wait");
        disk.committed(&[]);
        assert_eq!(disk.behind_since, Some(since), "the first one counts");

        disk.set(connection, Durability::Disk).await.unwrap();
        assert!(waits_for_the_disk(connection).await);
        disk.committed(&[]);
        assert_eq!(disk.behind_since, Some(since), "nothing was written");
        let (_, event) = log::append(connection, 1, "test", Uuid::nil(), None, Uuid::nil())
            .await
            .unwrap();
        disk.committed(&[event]);
        assert_eq!(disk.due(), None);

        disk.set(connection, Durability::Process).await.unwrap();
        disk.committed(&[]);
        disk.reach(connection).await;
        assert!(waits_for_the_disk(connection).await);
        assert_eq!(disk.due(), None);
        db.close().await.unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
