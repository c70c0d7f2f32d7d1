//! SQL that both databases take.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

const POSTGRES: &[(&str, &str)] = &[
    ("$uuid", "UUID"),
    ("$bytes", "BYTEA"),
    ("$bool", "BOOLEAN"),
    ("$bigint", "BIGINT"),
    ("$int", "INTEGER"),
    ("$serial", "BIGSERIAL PRIMARY KEY"),
    ("$strict", ""),
    ("$tx", ",\n        tx XID8 NOT NULL DEFAULT pg_current_xact_id()"),
    ("$id(", "('"),
    (")$id", "'::uuid)"),
];
const SQLITE: &[(&str, &str)] = &[
    ("$uuid", "BLOB"),
    ("$bytes", "BLOB"),
    ("$bool", "INTEGER"),
    ("$bigint", "INTEGER"),
    ("$int", "INTEGER"),
    ("$serial", "INTEGER PRIMARY KEY AUTOINCREMENT"),
    ("$strict", " STRICT"),
    ("$tx", ""),
    ("$id(", "(x'"),
    (")$id", "')"),
];

/// Runs statements in which `$uuid`, `$bytes`, `$bool`, `$int`, `$bigint` and `$serial` stand for the database's types,
/// `$strict` for what SQLite needs to keep to them, `$id(…)$id` for a UUID in 32 hexadecimal digits, and `$tx` for the
/// transaction's id, a column on Postgres only.
pub async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    let dialect = match connection.get_database_backend() {
        DbBackend::Postgres => POSTGRES,
        _ => SQLITE,
    };
    for statement in statements {
        let sql = dialect
            .iter()
            .fold((*statement).to_owned(), |sql, (name, text)| sql.replace(name, text));
        connection.execute_unprepared(&sql).await?;
    }
    Ok(())
}
