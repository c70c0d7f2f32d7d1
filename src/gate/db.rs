//! The connections, which nothing outside `gate` can reach: a pool for reading and the way to the writer.

use std::time::Duration;

use migration::Migrator;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, Statement, Value};
use sea_orm_migration::MigratorTrait;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::{
    config::Database,
    error::{Error, Result},
};

/// How many SQL statements were run, transactions' own left out, by `work`: `requests`, or what a task of the node's own
/// is called. What is sent together counts once.
pub const STATEMENTS: &str = "bambisleep_sql_statements_total";
tokio::task_local! {
    /// What the statements of the current task are for, where it is no request.
    static WORK: &'static str;
}
/// Connections for reading, on either database.
const READERS: u32 = 4;
/// Connections for writing on Postgres. SQLite has one, by its nature.
const WRITERS: u32 = 8;
/// How many rows of an answer SQLite's thread may be ahead of who reads them. Past it every few rows cost a switch
/// between threads; the longest page, of 101, and a loader's batch fit in.
const ROWS_AHEAD: usize = 1_024;
/// Held while migrating on Postgres, so that of several nodes one migrates. Any number that nothing else uses.
const MIGRATION_LOCK: i64 = 0x0062_616d_6269_6368;

#[derive(Clone, Debug)]
pub(super) struct Db {
    pub read: DatabaseConnection,
    pub write: DatabaseConnection,
}

impl Db {
    /// Connects and brings the database up to this program.
    ///
    /// # Errors
    ///
    /// A database that cannot be opened, or that a newer program has changed.
    pub async fn open(location: &Database) -> Result<Db> {
        let db = match location {
            Database::Sqlite(url) => {
                let write = sqlite(url, 1, Access::Write).await?;
                migrate(&write).await?;
                forget_statistics(&write).await?;
                Db {
                    read: sqlite(url, READERS, Access::Read).await?,
                    write,
                }
            }
            Database::Postgres(url) => {
                let lock = postgres(url, 1, Access::Write).await?;
                execute(&lock, "SELECT pg_advisory_lock($1)", [MIGRATION_LOCK.into()]).await?;
                let migrated = migrate(&lock).await;
                execute(&lock, "SELECT pg_advisory_unlock($1)", [MIGRATION_LOCK.into()]).await?;
                lock.close().await?;
                migrated?;
                Db {
                    read: postgres(url, READERS, Access::Read).await?,
                    write: postgres(url, WRITERS, Access::Write).await?,
                }
            }
        };
        Ok(db)
    }

    /// Writes what SQLite has in its log back into its file and closes the connections.
    pub async fn close(self) -> Result<()> {
        let sqlite = self.write.get_database_backend() == DbBackend::Sqlite;
        self.read.close().await?;
        if sqlite {
            self.write.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        }
        Ok(self.write.close().await?)
    }
}

/// What a connection is for. The database itself refuses writes on one that is for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

async fn sqlite(url: &str, connections: u32, access: Access) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .sqlx_logging(false)
        .test_before_acquire(false)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .map_sqlx_sqlite_opts(move |options| {
            let options = options
                .busy_timeout(Duration::from_secs(10))
                .row_buffer_size(ROWS_AHEAD)
                .foreign_keys(true)
                .pragma("cache_size", "-2048");
            match access {
                Access::Read => options.pragma("query_only", "ON"),
                Access::Write => options
                    .pragma("journal_mode", "WAL")
                    .pragma("synchronous", "FULL")
                    // What a statement of many rows would undo, if it failed half way, needs no file.
                    .pragma("temp_store", "MEMORY")
                    // What is erased is overwritten where that costs no more writes.
                    .pragma("secure_delete", "FAST"),
            }
        });
    connect(options).await
}

async fn postgres(url: &SecretString, connections: u32, access: Access) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url.expose_secret());
    options
        .max_connections(connections)
        .sqlx_logging(false)
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(Duration::from_secs(30))
        .acquire_timeout(Duration::from_secs(5))
        .connect_timeout(Duration::from_secs(5));
    if access == Access::Read {
        options.map_sqlx_postgres_opts(|options| options.options([("default_transaction_read_only", "on")]));
    }
    connect(options).await
}

async fn connect(options: ConnectOptions) -> Result<DatabaseConnection> {
    let mut connection = sea_orm::Database::connect(options).await?;
    connection.set_metric_callback(|_| {
        metrics::counter!(STATEMENTS, "work" => work()).increment(1);
    });
    Ok(connection)
}

/// Runs a task of the node's own, whose statements are counted apart from those of requests.
pub async fn counted_as<F: Future>(work: &'static str, task: F) -> F::Output {
    WORK.scope(work, task).await
}

/// What the statements of the task that runs now are counted as.
pub(super) fn work() -> &'static str {
    WORK.try_with(|work| *work).unwrap_or("requests")
}

async fn migrate(connection: &DatabaseConnection) -> Result<()> {
    let known: Vec<String> = Migrator::migrations().iter().map(|one| one.name().to_owned()).collect();
    Migrator::install(connection).await?;
    let applied = Migrator::get_migration_models(connection).await?;
    if let Some(newer) = applied.iter().find(|one| !known.contains(&one.version)) {
        return Err(Error::internal(format!(
            "the database was changed by a newer version of this program (it has {}): run that version or a newer one",
            newer.version
        )));
    }
    if applied.len() < known.len() {
        Migrator::up(connection, None).await?;
    }
    Ok(())
}

/// Has SQLite plan by the indexes alone, as it does in a new database. Statistics are of the moment when they were taken: of
/// one in which a queue happened to be empty they say that all of it is quickly read.
async fn forget_statistics(connection: &DatabaseConnection) -> Result<()> {
    let text = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'";
    let found = connection
        .query_one_raw(Statement::from_string(DbBackend::Sqlite, text))
        .await?;
    if found.is_some() {
        connection.execute_unprepared("DELETE FROM sqlite_stat1").await?;
        // Takes up what is there now.
        connection.execute_unprepared("ANALYZE sqlite_schema").await?;
    }
    Ok(())
}

async fn execute(connection: &DatabaseConnection, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<()> {
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    connection.execute_raw(statement).await?;
    Ok(())
}

/// SQL text for both databases: `?` is a parameter, numbered for Postgres. No `?` may stand in a literal.
///
/// Text with a NUL, which Postgres refuses, is asked for with U+FFFD instead: it finds nothing, as on SQLite, since what
/// is stored was checked and has no NUL.
pub fn sql(backend: DbBackend, text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    if backend == DbBackend::Sqlite {
        return Statement::from_sql_and_values(backend, text, values);
    }
    let values = values.into_iter().map(|value| match value {
        Value::String(Some(text)) if text.contains('\0') => text.replace('\0', "\u{fffd}").into(),
        value => value,
    });
    let mut numbered = String::with_capacity(text.len() + 16);
    for (index, part) in text.split('?').enumerate() {
        if index > 0 {
            numbered.push('$');
            numbered.push_str(&index.to_string());
        }
        numbered.push_str(part);
    }
    Statement::from_sql_and_values(backend, numbered, values)
}

/// A condition that `column` is one of a list of any length, given as one parameter: the statement's text does not
/// change with the list, so that it is prepared once.
pub fn any_uuid(backend: DbBackend, column: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("{column} IN (SELECT unhex(value) FROM json_each(?))"),
        _ => format!("{column} = ANY(string_to_array(?, ',')::uuid[])"),
    }
}

/// The parameter of [`any_uuid`].
pub fn uuids(backend: DbBackend, ids: &[Uuid]) -> Value {
    let sqlite = backend == DbBackend::Sqlite;
    let mut text = String::with_capacity(ids.len() * 35 + 2);
    for id in ids {
        text.push_str(match (text.is_empty(), sqlite) {
            (true, true) => "[\"",
            (false, true) => "\",\"",
            (true, false) => "",
            (false, false) => ",",
        });
        let mut buffer = [0; 32];
        text.push_str(id.simple().encode_lower(&mut buffer));
    }
    if sqlite {
        text.push_str(if text.is_empty() { "[]" } else { "\"]" });
    }
    text.into()
}

/// As [`any_uuid`], for texts.
pub fn any_text(backend: DbBackend, column: &str) -> String {
    match backend {
        DbBackend::Sqlite => format!("{column} IN (SELECT value FROM json_each(?))"),
        _ => format!("{column} = ANY(ARRAY(SELECT json_array_elements_text(?::json)))"),
    }
}

/// The parameter of [`any_text`]. A NUL is asked for as [`sql`] does.
pub fn texts(backend: DbBackend, texts: &[String]) -> Value {
    let asked = |text: &String| match backend {
        DbBackend::Sqlite => text.clone(),
        _ => text.replace('\0', "\u{fffd}"),
    };
    let texts: serde_json::Value = texts.iter().map(asked).collect();
    texts.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn statistics_of_another_time_are_forgotten() {
        let folder = std::env::temp_dir().join(format!("db_{}", Uuid::new_v4().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        let location = Database::Sqlite(format!("sqlite:{}?mode=rwc", folder.join("test.sqlite").display()));
        let db = Db::open(&location).await.unwrap();
        db.write.execute_unprepared("ANALYZE").await.unwrap();
        let kept = async |db: &Db| {
            let text = "SELECT count(*) FROM sqlite_stat1";
            let row = db
                .read
                .query_one_raw(Statement::from_string(DbBackend::Sqlite, text))
                .await;
            row.unwrap().unwrap().try_get_by_index::<i64>(0).unwrap()
        };
        assert!(kept(&db).await > 0);
        db.close().await.unwrap();
        let db = Db::open(&location).await.unwrap();
        assert_eq!(kept(&db).await, 0);
        db.close().await.unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
