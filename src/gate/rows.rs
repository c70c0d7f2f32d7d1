//! Many rows as one parameter, as JSON: a statement's text does not depend on how many there are, so that it is prepared
//! once.

use sea_orm::{DbBackend, Value};
use serde_json::json;
use uuid::Uuid;

/// Rows to write, or to look for.
#[derive(Debug)]
pub struct Rows {
    backend: DbBackend,
    rows: Vec<serde_json::Value>,
}

/// A value of a row.
#[derive(Debug)]
pub struct Cell(serde_json::Value);

impl From<Uuid> for Cell {
    fn from(id: Uuid) -> Self {
        Self(json!(id.simple().to_string()))
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self(json!(number))
    }
}

impl From<&str> for Cell {
    /// Text with a NUL, which Postgres refuses, is taken with U+FFFD instead.
    fn from(text: &str) -> Self {
        Self(json!(text.replace('\0', "\u{fffd}")))
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self(json!(value))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    /// None is NULL.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self(serde_json::Value::Null), Into::into)
    }
}

impl From<&[u8]> for Cell {
    fn from(bytes: &[u8]) -> Self {
        use std::fmt::Write;
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a string does not fail");
            hex
        });
        Self(json!(hex))
    }
}

impl Rows {
    pub fn new(backend: DbBackend) -> Self {
        Self {
            backend,
            rows: Vec::new(),
        }
    }

    pub fn push<const N: usize>(&mut self, row: [Cell; N]) {
        let cells = row.into_iter().map(|cell| cell.0).collect();
        self.rows.push(serde_json::Value::Array(cells));
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What to select from; [`into_value`](Self::into_value) is its parameter. On SQLite a `WHERE` has to follow if
    /// `ON CONFLICT` does.
    pub fn from(&self) -> &'static str {
        match self.backend {
            // Binary rows, whose columns are found without parsing each row again.
            DbBackend::Sqlite => "jsonb_each(?) r",
            _ => "json_array_elements(?::json) r(value)",
        }
    }

    /// The column at `index` as what it is.
    pub fn uuid(&self, index: usize) -> String {
        match self.backend {
            DbBackend::Sqlite => format!("unhex(r.value ->> {index})"),
            _ => format!("(r.value ->> {index})::uuid"),
        }
    }

    pub fn bytes(&self, index: usize) -> String {
        match self.backend {
            DbBackend::Sqlite => format!("unhex(r.value ->> {index})"),
            _ => format!("decode(r.value ->> {index}, 'hex')"),
        }
    }

    pub fn int(&self, index: usize) -> String {
        match self.backend {
            DbBackend::Sqlite => format!("(r.value ->> {index})"),
            _ => format!("(r.value ->> {index})::bigint"),
        }
    }

    pub fn bool(&self, index: usize) -> String {
        match self.backend {
            DbBackend::Sqlite => format!("(r.value ->> {index})"),
            _ => format!("(r.value ->> {index})::boolean"),
        }
    }

    pub fn text(&self, index: usize) -> String {
        format!("(r.value ->> {index})")
    }

    /// The one parameter.
    pub fn into_value(self) -> Value {
        serde_json::Value::Array(self.rows).to_string().into()
    }
}
