//! What an operation selects, as CollectFields of the specification has it: fragments expanded, what @skip and @include
//! leave out gone, and fields of one response key merged, so that each is resolved and charged once.

use std::collections::HashMap;

use async_graphql::{
    Name, Pos, Positioned, Variables,
    parser::types::{Directive, Field, FragmentDefinition, InlineFragment, Selection, SelectionSet},
};
use async_graphql_value::Value;
use indexmap::{IndexMap, map::Entry};

use crate::graphql::types::{TypeDefKind, Types, base_name};

/// Two fields of one response key that differ.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict {
    pub key: Name,
    pub locations: Vec<Pos>,
}

/// A copy of `set` with inline fragments in place of spreads. The document has been measured and validated.
pub fn inline(
    set: &Positioned<SelectionSet>,
    fragments: &HashMap<Name, Positioned<FragmentDefinition>>,
) -> Positioned<SelectionSet> {
    let items = set
        .node
        .items
        .iter()
        .map(|selection| {
            let node = match &selection.node {
                Selection::Field(field) => Selection::Field(field.position_node(Field {
                    selection_set: inline(&field.node.selection_set, fragments),
                    alias: field.node.alias.clone(),
                    name: field.node.name.clone(),
                    arguments: field.node.arguments.clone(),
                    directives: field.node.directives.clone(),
                })),
                Selection::InlineFragment(fragment) => {
                    Selection::InlineFragment(fragment.position_node(InlineFragment {
                        type_condition: fragment.node.type_condition.clone(),
                        directives: fragment.node.directives.clone(),
                        selection_set: inline(&fragment.node.selection_set, fragments),
                    }))
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = fragments
                        .get(&spread.node.fragment_name.node)
                        .expect("validation knows every fragment that is spread");
                    Selection::InlineFragment(spread.position_node(InlineFragment {
                        type_condition: Some(fragment.node.type_condition.clone()),
                        directives: spread.node.directives.clone(),
                        selection_set: inline(&fragment.node.selection_set, fragments),
                    }))
                }
            };
            selection.position_node(node)
        })
        .collect();
    set.position_node(SelectionSet { items })
}

/// Collects the fields of `set`, whose spreads are inlined, on type `parent`. Where a fragment's condition always holds
/// its fields join those around it; inline fragments stay where a type narrows an interface or union.
///
/// With `variables`, what they skip is left out, and so are arguments and members of input objects whose variable has no
/// value: by the specification these count as not given. Without, everything is taken. An object of which everything
/// is skipped keeps its `__typename`: the library would take one without a selection for null.
///
/// # Errors
///
/// Fields of one response key that differ in name or arguments, which the library does not find across fragments.
pub fn collect(
    types: &Types,
    parent: &str,
    set: &Positioned<SelectionSet>,
    variables: Option<&Variables>,
) -> Result<Positioned<SelectionSet>, Conflict> {
    let collector = Collector { types, variables };
    Ok(set.position_node(collector.collect(parent, &[&set.node])?))
}

struct Collector<'a> {
    types: &'a Types,
    variables: Option<&'a Variables>,
}

#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Field(&'a str),
    Fragment(usize),
}

enum Collected<'a> {
    Field(&'a Positioned<Field>, Vec<&'a SelectionSet>),
    Fragment(&'a Positioned<InlineFragment>),
}

impl<'a> Collector<'a> {
    /// `parent` is empty below introspection, whose types are all objects.
    fn collect(&self, parent: &str, sets: &[&'a SelectionSet]) -> Result<SelectionSet, Conflict> {
        let mut collected = IndexMap::new();
        for set in sets {
            self.gather(parent, set, &mut collected)?;
        }
        let mut items = Vec::with_capacity(collected.len());
        for entry in collected.into_values() {
            items.push(match entry {
                Collected::Field(field, sets) => {
                    let below = self
                        .types
                        .field(parent, &field.node.name.node)
                        .map_or("", |definition| base_name(&definition.ty).as_str());
                    let mut items = self.collect(below, &sets)?;
                    if items.items.is_empty() && sets.iter().any(|set| !set.items.is_empty()) {
                        items.items.push(typename(field.pos));
                    }
                    Positioned::new(Selection::Field(self.field(field, items)), field.pos)
                }
                Collected::Fragment(fragment) => {
                    let condition = fragment
                        .node
                        .type_condition
                        .as_ref()
                        .map_or(parent, |condition| condition.node.on.node.as_str());
                    let items = self.collect(condition, &[&fragment.node.selection_set.node])?;
                    let node = InlineFragment {
                        type_condition: fragment.node.type_condition.clone(),
                        directives: rest(&fragment.node.directives),
                        selection_set: fragment.node.selection_set.position_node(items),
                    };
                    Positioned::new(Selection::InlineFragment(fragment.position_node(node)), fragment.pos)
                }
            });
        }
        Ok(SelectionSet { items })
    }

    fn gather(
        &self,
        parent: &str,
        set: &'a SelectionSet,
        into: &mut IndexMap<Key<'a>, Collected<'a>>,
    ) -> Result<(), Conflict> {
        for selection in &set.items {
            if self
                .variables
                .is_some_and(|variables| skipped(selection.node.directives(), variables))
            {
                continue;
            }
            match &selection.node {
                Selection::Field(field) => match into.entry(Key::Field(field.node.response_key().node.as_str())) {
                    Entry::Vacant(entry) => {
                        entry.insert(Collected::Field(field, vec![&field.node.selection_set.node]));
                    }
                    Entry::Occupied(mut entry) => {
                        if let Collected::Field(first, sets) = entry.get_mut() {
                            if !same(&first.node, &field.node) {
                                return Err(Conflict {
                                    key: field.node.response_key().node.clone(),
                                    locations: vec![first.pos, field.pos],
                                });
                            }
                            sets.push(&field.node.selection_set.node);
                        }
                    }
                },
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref().map(|on| on.node.on.node.as_str());
                    match self.condition(parent, condition) {
                        Condition::Always => self.gather(parent, &fragment.node.selection_set.node, into)?,
                        Condition::Never => {}
                        Condition::Sometimes => {
                            let key = Key::Fragment(into.len());
                            into.insert(key, Collected::Fragment(fragment));
                        }
                    }
                }
                Selection::FragmentSpread(_) => {}
            }
        }
        Ok(())
    }

    fn condition(&self, parent: &str, condition: Option<&str>) -> Condition {
        let Some(condition) = condition else {
            return Condition::Always;
        };
        match self.types.get(parent).map(|definition| &definition.kind) {
            None => Condition::Always,
            _ if parent == condition => Condition::Always,
            Some(TypeDefKind::Object { .. }) if self.types.applies(parent, condition) => Condition::Always,
            Some(TypeDefKind::Object { .. }) => Condition::Never,
            _ => Condition::Sometimes,
        }
    }

    fn field(&self, field: &Positioned<Field>, items: SelectionSet) -> Positioned<Field> {
        let arguments = match self.variables {
            None => field.node.arguments.clone(),
            Some(variables) => field
                .node
                .arguments
                .iter()
                .filter(|(_, value)| given(&value.node, variables))
                .map(|(name, value)| (name.clone(), value.position_node(present(&value.node, variables))))
                .collect(),
        };
        field.position_node(Field {
            alias: field.node.alias.clone(),
            name: field.node.name.clone(),
            arguments,
            directives: rest(&field.node.directives),
            selection_set: field.node.selection_set.position_node(items),
        })
    }
}

fn typename(pos: Pos) -> Positioned<Selection> {
    let field = Field {
        alias: None,
        name: Positioned::new(Name::new("__typename"), pos),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::new(SelectionSet::default(), pos),
    };
    Positioned::new(Selection::Field(Positioned::new(field, pos)), pos)
}

enum Condition {
    Always,
    Sometimes,
    Never,
}

/// Whether @skip or @include is among `directives`.
pub fn conditional(directives: &[Positioned<Directive>]) -> bool {
    directives
        .iter()
        .any(|directive| matches!(directive.node.name.node.as_str(), "skip" | "include"))
}

fn skipped(directives: &[Positioned<Directive>], variables: &Variables) -> bool {
    directives.iter().any(|directive| {
        let unwanted = match directive.node.name.node.as_str() {
            "skip" => true,
            "include" => false,
            _ => return false,
        };
        let condition = match directive.node.get_argument("if").map(|value| &value.node) {
            Some(Value::Boolean(condition)) => *condition,
            Some(Value::Variable(name)) => matches!(variables.get(name), Some(async_graphql::Value::Boolean(true))),
            _ => false,
        };
        condition == unwanted
    })
}

fn rest(directives: &[Positioned<Directive>]) -> Vec<Positioned<Directive>> {
    directives
        .iter()
        .filter(|directive| !conditional(std::slice::from_ref(directive)))
        .cloned()
        .collect()
}

fn same(first: &Field, second: &Field) -> bool {
    first.name.node == second.name.node
        && first.arguments.len() == second.arguments.len()
        && first.arguments.iter().all(|(name, value)| {
            second
                .get_argument(&name.node)
                .is_some_and(|other| other.node == value.node)
        })
}

fn given(value: &Value, variables: &Variables) -> bool {
    !matches!(value, Value::Variable(name) if !variables.contains_key(name))
}

fn present(value: &Value, variables: &Variables) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter(|(_, member)| given(member, variables))
                .map(|(name, member)| (name.clone(), present(member, variables)))
                .collect(),
        ),
        Value::List(items) => Value::List(items.iter().map(|item| present(item, variables)).collect()),
        other => other.clone(),
    }
}
