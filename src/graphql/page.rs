//! Connections: long lists, a part at a time. Source: the GraphQL Cursor Connections Specification.

use async_graphql::SimpleObject;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::error::{Error, Result};

/// How many entries `first` and `last` may ask for. Source: the protocol, Errors.
pub const MOST: i32 = 100;

/// Where a page lies in its list.
#[derive(Clone, Debug, SimpleObject)]
pub struct PageInfo {
    /// Whether there are entries after this page.
    pub has_next_page: bool,
    /// Whether there are entries before this page.
    pub has_previous_page: bool,
    /// The cursor of the page's first entry.
    pub start_cursor: Option<String>,
    /// The cursor of the page's last entry: `after` for the next page.
    pub end_cursor: Option<String>,
}

/// How many entries are asked for.
///
/// # Errors
///
/// `VALIDATION_FAILED` outside 1 to 100.
pub fn first(first: i32) -> Result<usize> {
    match usize::try_from(first) {
        Ok(count) if (1..=MOST).contains(&first) => Ok(count),
        _ => Err(Error::invalid("first", format!("must be 1 to {MOST}"))),
    }
}

/// As [`first`], from the end.
///
/// # Errors
///
/// `VALIDATION_FAILED` outside 1 to 100.
pub fn last(last: i32) -> Result<usize> {
    first(last).map_err(|_| Error::invalid("last", format!("must be 1 to {MOST}")))
}

/// What is told of a cursor that is none.
pub fn no_cursor(field: &str) -> Error {
    Error::invalid(field, "must be a cursor of this list")
}

/// A cursor that says nothing to clients.
pub fn opaque(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// What [`opaque`] was made of.
///
/// # Errors
///
/// `VALIDATION_FAILED` for `after` where it was not.
pub fn reveal(cursor: &str) -> Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| no_cursor("after"))?;
    String::from_utf8(bytes).map_err(|_| no_cursor("after"))
}

/// Something that can stand in a list.
pub trait Entry {
    /// `after` for what follows this entry.
    fn cursor(&self) -> String;
}

/// The page of a list read forwards: `rows` may hold one more than was asked for, which says that there is more.
pub fn forwards<T: Entry>(mut rows: Vec<T>, first: usize, after: bool) -> (Vec<T>, PageInfo) {
    let has_next_page = rows.len() > first;
    rows.truncate(first);
    let info = PageInfo {
        has_next_page,
        has_previous_page: after,
        start_cursor: rows.first().map(Entry::cursor),
        end_cursor: rows.last().map(Entry::cursor),
    };
    (rows, info)
}

/// Makes the connection and edge types of a node type.
macro_rules! connection {
    ($connection:ident, $edge:ident, $node:ty, $what:literal) => {
        #[doc = concat!("A part of a list of ", $what, ".")]
        pub struct $connection {
            nodes: Vec<$node>,
            page_info: $crate::graphql::page::PageInfo,
        }

        impl $connection {
            /// As [`forwards`](crate::graphql::page::forwards).
            pub fn forwards(rows: Vec<$node>, first: usize, after: bool) -> Self {
                let (nodes, page_info) = $crate::graphql::page::forwards(rows, first, after);
                Self { nodes, page_info }
            }
        }

        #[doc = concat!("A part of a list of ", $what, ".")]
        #[async_graphql::Object]
        impl $connection {
            /// The entries.
            async fn nodes(&self) -> $crate::graphql::resolve::Many<'_, $node> {
                $crate::graphql::resolve::Many::Borrowed(&self.nodes)
            }

            /// The entries, each with its cursor.
            async fn edges(&self) -> $crate::graphql::resolve::Many<'_, $edge> {
                let edges = self.nodes.iter().map(|node| $edge {
                    cursor: $crate::graphql::page::Entry::cursor(node),
                    node: node.clone(),
                });
                $crate::graphql::resolve::Many::Owned(edges.collect())
            }

            /// Where this part lies in the list.
            async fn page_info(&self) -> &$crate::graphql::page::PageInfo {
                &self.page_info
            }
        }

        #[doc = concat!("An entry of a list of ", $what, ".")]
        #[derive(async_graphql::SimpleObject)]
        pub struct $edge {
            /// `after` for what follows this entry.
            cursor: String,
            /// The entry.
            node: $node,
        }
    };
}
pub(crate) use connection;

#[cfg(test)]
mod tests {
    use super::*;

    impl Entry for u8 {
        fn cursor(&self) -> String {
            self.to_string()
        }
    }

    #[test]
    fn pages() {
        let (rows, info) = forwards(vec![1u8, 2, 3], 2, false);
        assert_eq!(rows, [1, 2]);
        assert!(info.has_next_page && !info.has_previous_page);
        assert_eq!(info.end_cursor.as_deref(), Some("2"));
        let (rows, info) = forwards(Vec::<u8>::new(), 2, true);
        assert!(rows.is_empty() && !info.has_next_page && info.has_previous_page && info.end_cursor.is_none());
    }

    #[test]
    fn bounds() {
        assert!(first(0).is_err() && first(-1).is_err() && first(101).is_err());
        assert_eq!(first(100).unwrap(), 100);
        assert!(reveal("not base64!").is_err());
        assert_eq!(reveal(&opaque("x")).unwrap(), "x");
    }
}
