//! How big a document is once its fragments are expanded: a linear pass that comes before anything that expands them.

use std::collections::HashMap;

use async_graphql::{
    Name, Pos, Positioned,
    parser::types::{Directive, ExecutableDocument, Field, Selection, SelectionSet},
};
use async_graphql_value::Value;

use super::Limits;
use crate::error::{Error, Kind};

/// Fields of the introspection types that list types or members, which in turn lead to types: they may follow one
/// another twice, as in graphql-js.
const LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];
const NESTED_LISTS: u32 = 2;

/// About how many values a field of the introspection types has, in a schema of some hundred types.
const INTROSPECTED: [(&str, u64); 8] = [
    ("types", 100),
    ("fields", 10),
    ("possibleTypes", 10),
    ("inputFields", 5),
    ("enumValues", 5),
    ("directives", 5),
    ("args", 3),
    ("interfaces", 2),
];

/// How many values introspection may produce by [`INTROSPECTED`]. The standard query of graphql-js with all its options
/// is at about a third.
const INTROSPECTION: u64 = 600_000;

/// The size of a selection, fragments expanded. Sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub fields: u32,
    /// Fields on the longest path, introspection left out.
    depth: u32,
    /// Selection sets on the longest path, fragments' too.
    nesting: u32,
    /// Names, arguments and directives.
    pub bytes: usize,
    /// Values that introspection produces.
    introspected: u64,
    /// [`LISTS`] on the longest path.
    lists: u32,
}

impl Size {
    fn add(&mut self, other: Size) {
        self.fields = self.fields.saturating_add(other.fields);
        self.depth = self.depth.max(other.depth);
        self.nesting = self.nesting.max(other.nesting);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.introspected = self.introspected.saturating_add(other.introspected);
        self.lists = self.lists.max(other.lists);
    }

    /// Which limit is exceeded.
    fn over(&self, limits: &Limits) -> Option<String> {
        if self.fields > limits.fields {
            Some(format!("more than {} fields", limits.fields))
        } else if self.depth > limits.depth {
            Some(format!("fields nest deeper than {}", limits.depth))
        } else if self.nesting > limits.nesting {
            Some(format!("selections nest deeper than {}", limits.nesting))
        } else if self.bytes > limits.expanded_bytes {
            Some(format!(
                "arguments are longer than {} bytes once fragments are expanded",
                limits.expanded_bytes
            ))
        } else if self.lists > NESTED_LISTS {
            Some(format!("introspection follows more than {NESTED_LISTS} lists"))
        } else if self.introspected > INTROSPECTION {
            Some("introspection produces too much".to_owned())
        } else {
            None
        }
    }
}

/// What a document measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// All operations together.
    pub total: Size,
    /// Selections looked at: each once, and a fragment's once more if introspection spreads it too.
    pub visited: usize,
}

/// A document that is over a limit, and where.
#[derive(Debug)]
pub struct TooComplex {
    pub error: Error,
    pub location: Pos,
}

/// Measures every operation and every fragment of `document`, in time linear in its text.
///
/// # Errors
///
/// `QUERY_TOO_COMPLEX` where one of them is over a limit, all together have more than five times the fields of one, or
/// a fragment contains itself.
pub fn measure(document: &ExecutableDocument, limits: &Limits) -> Result<Measured, TooComplex> {
    let mut pass = Pass {
        document,
        limits,
        fragments: HashMap::new(),
        visited: 0,
    };
    let mut total = Size::default();
    for (_, operation) in document.operations.iter() {
        total.add(pass.set(&operation.node.selection_set, Part::Data, 0)?);
        if total.fields > limits.fields.saturating_mul(5) {
            return Err(too_complex("too many fields in all operations", operation.pos));
        }
    }
    for (name, fragment) in &document.fragments {
        if !pass.fragments.contains_key(&(name, Part::Introspection)) {
            pass.fragment(name, fragment.pos, Part::Data, 0)?;
        }
    }
    Ok(Measured {
        total,
        visited: pass.visited,
    })
}

/// Whether a selection is of what the schema is about, or of the schema itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Data,
    Introspection,
}

struct Pass<'a> {
    document: &'a ExecutableDocument,
    limits: &'a Limits,
    /// Sizes of the fragments so far; none while a fragment is being measured.
    fragments: HashMap<(&'a Name, Part), Option<Size>>,
    visited: usize,
}

impl<'a> Pass<'a> {
    fn set(&mut self, set: &'a Positioned<SelectionSet>, part: Part, level: u32) -> Result<Size, TooComplex> {
        // Bounds this pass's own stack; what is measured bounds everybody else's.
        if level > self.limits.nesting {
            return Err(too_complex(
                format!("selections nest deeper than {}", self.limits.nesting),
                set.pos,
            ));
        }
        let mut size = Size::default();
        for selection in &set.node.items {
            self.visited += 1;
            let inner = match &selection.node {
                Selection::Field(field) => self.field(&field.node, part, level)?,
                Selection::FragmentSpread(spread) => {
                    let mut inner = self.fragment(&spread.node.fragment_name.node, selection.pos, part, level)?;
                    inner.bytes = inner.bytes.saturating_add(directives(&spread.node.directives));
                    inner
                }
                Selection::InlineFragment(fragment) => {
                    let mut inner = self.set(&fragment.node.selection_set, part, level + 1)?;
                    inner.nesting += 1;
                    inner.bytes = inner.bytes.saturating_add(directives(&fragment.node.directives));
                    inner
                }
            };
            size.add(inner);
            if let Some(limit) = size.over(self.limits) {
                return Err(too_complex(limit, selection.pos));
            }
        }
        Ok(size)
    }

    fn field(&mut self, field: &'a Field, part: Part, level: u32) -> Result<Size, TooComplex> {
        let name = field.name.node.as_str();
        let below = if matches!(name, "__schema" | "__type") {
            Part::Introspection
        } else {
            part
        };
        let mut size = Size::default();
        if !field.selection_set.node.items.is_empty() {
            size = self.set(&field.selection_set, below, level + 1)?;
            size.nesting += 1;
        }
        size.fields = size.fields.saturating_add(1);
        size.bytes = size
            .bytes
            .saturating_add(name.len() + field.alias.as_ref().map_or(0, |alias| alias.node.len()))
            .saturating_add(arguments(&field.arguments))
            .saturating_add(directives(&field.directives));
        match below {
            Part::Data => size.depth += 1,
            Part::Introspection => {
                let values = INTROSPECTED
                    .iter()
                    .find(|entry| entry.0 == name)
                    .map_or(1, |entry| entry.1);
                size.introspected = size.introspected.saturating_mul(values).saturating_add(1);
                size.lists += u32::from(LISTS.contains(&name));
            }
        }
        Ok(size)
    }

    fn fragment(&mut self, name: &'a Name, spread: Pos, part: Part, level: u32) -> Result<Size, TooComplex> {
        // A name that is not known is for validation to refuse.
        let Some(fragment) = self.document.fragments.get(name) else {
            return Ok(Size::default());
        };
        match self.fragments.get(&(name, part)) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Err(too_complex(format!("fragment {name} contains itself"), spread)),
            None => {}
        }
        self.fragments.insert((name, part), None);
        let mut size = self.set(&fragment.node.selection_set, part, level + 1)?;
        size.nesting += 1;
        self.fragments.insert((name, part), Some(size));
        Ok(size)
    }
}

fn too_complex(message: impl Into<String>, location: Pos) -> TooComplex {
    TooComplex {
        error: Error::new(Kind::QueryTooComplex, message.into()),
        location,
    }
}

fn arguments(arguments: &[(Positioned<Name>, Positioned<Value>)]) -> usize {
    arguments
        .iter()
        .map(|(name, argument)| name.node.len() + value(&argument.node))
        .sum()
}

fn directives(directives: &[Positioned<Directive>]) -> usize {
    directives
        .iter()
        .map(|directive| directive.node.name.node.len() + arguments(&directive.node.arguments))
        .sum()
}

/// The brackets of a text are bounded, and so is the depth of its values.
fn value(given: &Value) -> usize {
    match given {
        Value::String(text) => text.len(),
        Value::List(items) => items.iter().map(|item| value(item) + 1).sum(),
        Value::Object(members) => members.iter().map(|(name, member)| name.len() + value(member)).sum(),
        _ => 8,
    }
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
