//! What an operation costs and who may run it, over its whole selection, before anything runs.

use std::collections::HashSet;

use async_graphql::{
    Name, Positioned, Value, Variables,
    parser::types::{BaseType, Field, Selection, SelectionSet, Type},
};
use async_graphql_value::Value as InputValue;

use super::select::conditional;
use crate::{
    gate::rules::Rule,
    graphql::types::{FieldDef, TypeDefKind, Types, base_name},
};

/// What the caller must be allowed to, and where the operation asks for it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub rule: Rule,
    /// `Type.field`, or `Type` where a fragment narrows an interface or union to it.
    pub field: String,
}

/// What the gate is asked about an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// What the operation costs: its root fields, `__typename`, `__schema` and `__type` left out.
    pub root_fields: u32,
    /// Every rule once. Empty where anyone may.
    pub requirements: Vec<Requirement>,
}

/// Whether a root field is part of every schema and free.
pub fn is_meta(name: &str) -> bool {
    matches!(name, "__typename" | "__schema" | "__type")
}

/// Analyses a collected selection on the root type.
pub fn admission(types: &Types, root: &str, set: &SelectionSet) -> Admission {
    let mut walk = Walk {
        types,
        seen: HashSet::new(),
        requirements: Vec::new(),
    };
    walk.set(root, set, Below::Anything);
    Admission {
        root_fields: fields(set)
            .filter(|field| !is_meta(&field.name.node))
            .count()
            .try_into()
            .unwrap_or(u32::MAX),
        requirements: walk.requirements,
    }
}

fn fields(set: &SelectionSet) -> impl Iterator<Item = &Field> {
    set.items.iter().filter_map(|selection| match &selection.node {
        Selection::Field(field) => Some(&field.node),
        _ => None,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    Anything,
    /// A field that anyone may use, such as `register` or `login`: by it the caller becomes a member, so what every
    /// member may is no further requirement there. Roles and scopes still are.
    Welcome,
}

struct Walk<'a> {
    types: &'a Types,
    seen: HashSet<Rule>,
    requirements: Vec<Requirement>,
}

impl Walk<'_> {
    fn set(&mut self, parent: &str, set: &SelectionSet, below: Below) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => self.field(parent, &field.node, below),
                Selection::InlineFragment(fragment) => {
                    let condition = match &fragment.node.type_condition {
                        Some(condition) => condition.node.on.node.as_str(),
                        None => parent,
                    };
                    if condition != parent {
                        self.require(self.object_rule(condition), below, || condition.to_owned());
                    }
                    self.set(condition, &fragment.node.selection_set.node, below);
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn field(&mut self, parent: &str, field: &Field, below: Below) {
        let name = field.name.node.as_str();
        let types = self.types;
        let Some(definition) = types.field(parent, name) else {
            return;
        };
        let object = base_name(&definition.ty).as_str();
        let rule = definition.rule.or_else(|| self.object_rule(object));
        self.require(rule, below, || format!("{parent}.{name}"));
        if let Some(TypeDefKind::Interface { .. }) = types.get(parent).map(|definition| &definition.kind) {
            self.implementations(parent, name, below);
        }
        let welcome = definition.rule.is_some_and(|rule| rule.anonymous);
        let below = if welcome { Below::Welcome } else { below };
        self.set(object, &field.selection_set.node, below);
    }

    /// A field asked for on an interface is as well guarded as on any object behind it.
    fn implementations(&mut self, interface: &str, name: &str, below: Below) {
        let types = self.types;
        let mut guarded: Vec<(&Name, Rule)> = types
            .iter()
            .filter(|definition| types.applies(&definition.name, interface))
            .filter_map(|definition| Some((&definition.name, types.field(&definition.name, name)?.rule?)))
            .collect();
        guarded.sort_by_key(|entry| entry.0.as_str());
        for (object, rule) in guarded {
            self.require(Some(rule), below, || format!("{object}.{name}"));
        }
    }

    fn object_rule(&self, name: &str) -> Option<Rule> {
        let definition = self.types.get(name)?;
        match definition.kind {
            TypeDefKind::Object { .. } => definition.rule,
            _ => None,
        }
    }

    fn require(&mut self, rule: Option<Rule>, below: Below, field: impl FnOnce() -> String) {
        let Some(rule) = rule.filter(|rule| !rule.anonymous) else {
            return;
        };
        if below == Below::Welcome && rule == Rule::MEMBER {
            return;
        }
        if self.seen.insert(rule) {
            self.requirements.push(Requirement { rule, field: field() });
        }
    }
}

/// How many items a page has where nothing says.
const PAGE: u64 = 50;
const LARGEST_PAGE: u64 = 100;
/// How many objects a list that is no connection's counts for.
const LIST: u64 = 5;

/// Each field counts 1 and what is below it; below `nodes` and `edges` of a connection as often as the page is long,
/// below other lists of objects five times. Introspection has bounds of its own and counts nothing. Saturates.
pub fn complexity(types: &Types, parent: &str, set: &SelectionSet, variables: &Variables) -> u64 {
    cost(types, parent, set, 1, variables)
}

fn cost(types: &Types, parent: &str, set: &SelectionSet, page: u64, variables: &Variables) -> u64 {
    set.items
        .iter()
        .map(|selection| match &selection.node {
            Selection::Field(field) => match types.field(parent, &field.node.name.node) {
                Some(definition) => field_cost(types, parent, &field.node, definition, page, variables),
                None => u64::from(!is_meta(&field.node.name.node)),
            },
            Selection::InlineFragment(fragment) => {
                let condition = match &fragment.node.type_condition {
                    Some(condition) => condition.node.on.node.as_str(),
                    None => parent,
                };
                cost(types, condition, &fragment.node.selection_set.node, page, variables)
            }
            Selection::FragmentSpread(_) => 0,
        })
        .fold(0, u64::saturating_add)
}

fn field_cost(
    types: &Types,
    parent: &str,
    field: &Field,
    definition: &FieldDef,
    page: u64,
    variables: &Variables,
) -> u64 {
    let object = base_name(&definition.ty).as_str();
    let set = &field.selection_set.node;
    if set.items.is_empty() {
        return 1;
    }
    let times = match field.name.node.as_str() {
        "nodes" | "edges" if is_connection(parent) => page,
        _ if is_list(&definition.ty) => LIST,
        _ => 1,
    };
    let page = if is_connection(object) {
        page_size(field, definition, variables)
    } else {
        1
    };
    cost(types, object, set, page, variables)
        .saturating_mul(times)
        .saturating_add(1)
}

fn is_connection(type_name: &str) -> bool {
    type_name.ends_with("Connection")
}

fn is_list(ty: &Type) -> bool {
    matches!(ty.base, BaseType::List(_))
}

/// The larger of `first` and `last` as given, else of their defaults in the schema.
fn page_size(field: &Field, definition: &FieldDef, variables: &Variables) -> u64 {
    let given = field
        .arguments
        .iter()
        .filter(|(name, _)| is_page_size(&name.node))
        .filter_map(|(_, value)| match &value.node {
            InputValue::Number(number) => number.as_i64(),
            InputValue::Variable(name) => variables.get(name).and_then(integer),
            _ => None,
        })
        .max();
    let default = || {
        definition
            .arguments
            .iter()
            .filter(|argument| is_page_size(&argument.name))
            .filter_map(|argument| integer(argument.default.as_ref()?))
            .max()
    };
    given
        .or_else(default)
        .map_or(PAGE, |size| u64::try_from(size).unwrap_or(1).clamp(1, LARGEST_PAGE))
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        _ => None,
    }
}

fn is_page_size(argument: &str) -> bool {
    matches!(argument, "first" | "last")
}

/// What a request's variables change in a selection.
#[derive(Clone, Debug, Default)]
pub struct Dependence {
    /// @skip or @include occurs.
    pub conditional: bool,
    /// The size of a page is a variable.
    pub paged: bool,
    /// Variables whose absence is not the same as null: arguments with a default and members of input objects.
    pub droppable: HashSet<Name>,
}

/// Looks at a selection whose spreads are inlined, on type `parent`.
pub fn dependence(types: &Types, parent: &str, set: &SelectionSet) -> Dependence {
    let mut found = Dependence::default();
    depend(types, parent, set, &mut found);
    found
}

fn depend(types: &Types, parent: &str, set: &SelectionSet, found: &mut Dependence) {
    for selection in &set.items {
        found.conditional |= conditional(selection.node.directives());
        match &selection.node {
            Selection::Field(field) => {
                let definition = types.field(parent, &field.node.name.node);
                for (name, value) in &field.node.arguments {
                    argument(definition, name, &value.node, found);
                }
                let below = definition.map_or("", |definition| base_name(&definition.ty).as_str());
                depend(types, below, &field.node.selection_set.node, found);
            }
            Selection::InlineFragment(fragment) => {
                let condition = match &fragment.node.type_condition {
                    Some(condition) => condition.node.on.node.as_str(),
                    None => parent,
                };
                depend(types, condition, &fragment.node.selection_set.node, found);
            }
            Selection::FragmentSpread(_) => {}
        }
    }
}

fn argument(definition: Option<&FieldDef>, name: &Positioned<Name>, value: &InputValue, found: &mut Dependence) {
    let InputValue::Variable(variable) = value else {
        members(value, found);
        return;
    };
    let Some(definition) = definition else {
        return;
    };
    found.paged |= is_page_size(&name.node) && is_connection(base_name(&definition.ty));
    if definition
        .arguments
        .iter()
        .any(|argument| argument.name == name.node && argument.default.is_some())
    {
        found.droppable.insert(variable.clone());
    }
}

fn members(value: &InputValue, found: &mut Dependence) {
    match value {
        InputValue::Object(object) => {
            for member in object.values() {
                match member {
                    InputValue::Variable(variable) => {
                        found.droppable.insert(variable.clone());
                    }
                    other => members(other, found),
                }
            }
        }
        InputValue::List(items) => items.iter().for_each(|item| members(item, found)),
        _ => {}
    }
}
