//! How an answer is written: built once for a prepared operation, it drives the JSON of every run.
//!
//! The library returns members in the order in which they were ready and drops a field that failed. A [`Shape`] writes
//! them in the order of the selection, and a failed field as null or, where it must not be null, as the null of the
//! nearest nullable field above it. For REST it unwraps on the way.

use async_graphql::{
    Name, Positioned, Value,
    indexmap::IndexMap,
    parser::types::{BaseType, Directive, Field, Selection, SelectionSet, Type},
};

use super::types::{EnumValue, TypeDefKind, Types};

/// How the data of one operation becomes JSON.
#[derive(Debug)]
pub struct Shape {
    root: Plan,
    pages: Option<Pages>,
}

/// Where in the data the `@pages` of an operation are.
#[derive(Debug)]
struct Pages {
    /// Response keys from the root to the `PageInfo`.
    path: Vec<Name>,
    /// Response keys of hasNextPage, hasPreviousPage, startCursor and endCursor, as far as they are selected.
    keys: [Option<Name>; 4],
}

/// The `PageInfo` of an answer; what was not selected is false or absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PageInfo {
    pub has_next_page: bool,
    pub has_previous_page: bool,
    pub start_cursor: Option<String>,
    pub end_cursor: Option<String>,
}

/// Why an answer has no body.
#[derive(Debug, PartialEq, Eq)]
pub enum Absent {
    /// An object to unwrap is null: the name of its type.
    Unwrapped(Name),
    /// A field that must not be null is, and so is everything above it.
    Root,
}

/// A value of the answer.
#[derive(Debug)]
pub struct Plan {
    pub nullable: bool,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    /// Written as it is.
    Scalar(Name),
    /// Values by their GraphQL names; REST spells them by `@wire`.
    Enum {
        type_name: Name,
        wire: Option<Vec<(Name, String)>>,
    },
    List(Box<Plan>),
    Object(Object),
    /// The value of the one member that took the place of its object: `creator { username @unwrap }`.
    Replaced(Box<Member>),
    /// Introspection, which the schema does not describe: members in order, those that are absent left out.
    Open(Object),
}

/// The members of an object, in the order of the selection.
#[derive(Debug)]
pub struct Object {
    pub type_name: Name,
    /// The object types that can stand here, where a member depends on which one it is; bit n of a [`Mask`] is the nth.
    possible: Vec<Name>,
    all: Mask,
    pub members: Vec<Member>,
    /// The response key of a `__typename`.
    typename: Option<Name>,
}

/// A set of the object types that can stand somewhere.
type Mask = u128;

/// One response key of an object.
#[derive(Debug)]
pub struct Member {
    /// The response key.
    pub key: Name,
    /// The field that it is.
    pub field: Name,
    /// The type that has the field.
    pub parent: Name,
    /// The key as JSON with its colon.
    json_key: Vec<u8>,
    /// For these object types the field is always there; for the other ones of `possible` it may be.
    required: Mask,
    /// Only these object types have it.
    possible: Mask,
    pub slot: Slot,
}

/// Where a member goes.
#[derive(Debug)]
pub enum Slot {
    /// Under its key.
    Value(Plan),
    /// An `@unwrap`: its own members go where it stands.
    Inline { nullable: bool, object: Object },
    /// A `@pages`: into headers.
    Pages,
}

impl Member {
    /// Whether the member is there for every object that can stand here, unless `@skip` or `@include` say otherwise.
    pub fn is_certain(&self, object: &Object) -> bool {
        self.required & object.all == object.all
    }
}

impl Shape {
    /// The GraphQL rendering of a selection in which fragments are inlined; other directives than `@skip` and
    /// `@include` are ignored.
    ///
    /// # Errors
    ///
    /// A fragment spread, or a field that the schema does not have.
    pub fn new(types: &Types, root_type: &str, selection: &SelectionSet) -> Result<Shape, String> {
        Shape::build(types, root_type, selection, Dialect::GraphQl)
    }

    /// The REST rendering: `@unwrap` and `@pages` on fields, `@wire` on enum values.
    ///
    /// # Errors
    ///
    /// As [`Shape::new`], and a directive that cannot be followed, as a sentence.
    pub fn rest(types: &Types, root_type: &str, selection: &SelectionSet) -> Result<Shape, String> {
        let shape = Shape::build(types, root_type, selection, Dialect::Rest)?;
        let mut names = Vec::new();
        shape.root.check_names(&mut names)?;
        Ok(shape)
    }

    /// The REST rendering of the events of a subscription: as [`Shape::rest`], and `@unwrap` takes a union too, whose
    /// members tell what kind of event one is.
    ///
    /// # Errors
    ///
    /// As [`Shape::rest`].
    pub fn rest_events(types: &Types, root_type: &str, selection: &SelectionSet) -> Result<Shape, String> {
        let shape = Shape::build(types, root_type, selection, Dialect::RestEvents)?;
        shape.root.check_names(&mut Vec::new())?;
        Ok(shape)
    }

    /// The REST rendering of one object of type `type_name` out of the data `{ node: … }`; an object of another type
    /// is [`Absent`].
    ///
    /// # Errors
    ///
    /// As [`Shape::rest`].
    pub fn of_node(types: &Types, type_name: &str, selection: &SelectionSet) -> Result<Shape, String> {
        let mut shape = Shape::rest(types, type_name, selection)?;
        let Kind::Object(object) = shape.root.kind else {
            return Err(format!("an @unwrap takes the place of {type_name} itself"));
        };
        let key = Name::new("node");
        let node = Member {
            json_key: json_key(&key),
            field: key.clone(),
            key,
            parent: types.query.clone(),
            required: 1,
            possible: 1,
            slot: Slot::Inline { nullable: true, object },
        };
        shape.root.kind = Kind::Object(Object {
            type_name: types.query.clone(),
            possible: Vec::new(),
            all: 1,
            members: vec![node],
            typename: None,
        });
        Ok(shape)
    }

    fn build(types: &Types, root_type: &str, selection: &SelectionSet, dialect: Dialect) -> Result<Shape, String> {
        let mut builder = Builder {
            types,
            dialect,
            path: Vec::new(),
            lists: 0,
            pages: None,
        };
        let kind = match types.get(root_type) {
            Some(_) => builder.composite(root_type, &[Part::certain(selection)])?,
            None => return Err(format!("there is no type {root_type}")),
        };
        Ok(Shape {
            root: Plan { nullable: true, kind },
            pages: builder.pages,
        })
    }

    /// Writes `data` as JSON at the end of `out`.
    ///
    /// A value under an `@unwrap` that is null is written as null for the whole: REST asks [`Shape::body`] instead.
    pub fn write(&self, data: &Value, out: &mut Vec<u8>) {
        if self.body(&[], data, out).is_err() {
            out.extend_from_slice(b"null");
        }
    }

    /// Writes the body of a REST answer at the end of `out`: `constants`, which are members as JSON
    /// (`"success":true`), before the members of the data.
    ///
    /// # Errors
    ///
    /// [`Absent`] where nothing is left to write; `out` is as it was.
    pub fn body(&self, constants: &[String], data: &Value, out: &mut Vec<u8>) -> Result<(), Absent> {
        let start = out.len();
        let written = match (&self.root.kind, data) {
            (Kind::Object(object), Value::Object(members)) => {
                out.push(b'{');
                let mut first = true;
                for constant in constants {
                    separate(&mut first, out);
                    out.extend_from_slice(constant.as_bytes());
                }
                object.write_members(members, &mut first, out).map(|()| out.push(b'}'))
            }
            (_, Value::Null) => Err(Fault::Null),
            (kind, data) => kind.write(data, out),
        };
        written.map_err(|fault| {
            out.truncate(start);
            match fault {
                Fault::Null => Absent::Root,
                Fault::Missing(type_name) => Absent::Unwrapped(type_name),
            }
        })
    }

    /// The `PageInfo` that `@pages` took out of the body, where there is one in this answer.
    pub fn pages(&self, data: &Value) -> Option<PageInfo> {
        let pages = self.pages.as_ref()?;
        let mut value = data;
        for key in &pages.path {
            let Value::Object(members) = value else { return None };
            value = members.get(key)?;
        }
        let Value::Object(members) = value else { return None };
        let member = |index: usize| pages.keys[index].as_ref().and_then(|key| members.get(key));
        let flag = |index| matches!(member(index), Some(Value::Boolean(true)));
        let cursor = |index| match member(index) {
            Some(Value::String(cursor)) => Some(cursor.clone()),
            _ => None,
        };
        Some(PageInfo {
            has_next_page: flag(0),
            has_previous_page: flag(1),
            start_cursor: cursor(2),
            end_cursor: cursor(3),
        })
    }

    /// Whether the operation has `@pages`.
    pub fn has_pages(&self) -> bool {
        self.pages.is_some()
    }

    /// Whether `@pages` selects what `rel="next"` needs (hasNextPage, endCursor) and what `rel="prev"` does.
    pub fn page_links(&self) -> (bool, bool) {
        let selected = |index: usize| self.pages.as_ref().is_some_and(|pages| pages.keys[index].is_some());
        (selected(0) && selected(3), selected(1) && selected(2))
    }

    /// The whole of the answer, for describing it.
    pub fn root(&self) -> &Plan {
        &self.root
    }
}

/// Why a value could not be written.
enum Fault {
    /// It is null where it must not be.
    Null,
    /// An object to unwrap is null.
    Missing(Name),
}

impl Plan {
    fn write(&self, value: Option<&Value>, out: &mut Vec<u8>) -> Result<(), Fault> {
        let start = out.len();
        let written = match value {
            None | Some(Value::Null) => Err(Fault::Null),
            Some(value) => self.kind.write(value, out),
        };
        match written {
            Err(Fault::Null) if self.nullable => {
                out.truncate(start);
                out.extend_from_slice(b"null");
                Ok(())
            }
            other => other,
        }
    }

    /// The names of the members that end up in one object are all different.
    fn check_names<'a>(&'a self, names: &mut Vec<&'a Name>) -> Result<(), String> {
        match &self.kind {
            Kind::Scalar(_) | Kind::Enum { .. } | Kind::Open(_) => Ok(()),
            Kind::List(of) => of.check_names(&mut Vec::new()),
            Kind::Replaced(member) => match &member.slot {
                Slot::Value(plan) => plan.check_names(&mut Vec::new()),
                Slot::Inline { .. } | Slot::Pages => Ok(()),
            },
            Kind::Object(object) => object.check_names(names),
        }
    }
}

impl Kind {
    fn write(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        match (self, value) {
            (Kind::Enum { wire: Some(wire), .. }, Value::Enum(name)) => {
                wire_value(wire, name, out);
                Ok(())
            }
            (Kind::Enum { wire: Some(wire), .. }, Value::String(name)) => {
                wire_value(wire, name, out);
                Ok(())
            }
            (Kind::List(of), Value::List(items)) => {
                out.push(b'[');
                let mut first = true;
                for item in items {
                    separate(&mut first, out);
                    of.write(Some(item), out)?;
                }
                out.push(b']');
                Ok(())
            }
            (Kind::Object(object), Value::Object(members)) => {
                out.push(b'{');
                object.write_members(members, &mut true, out)?;
                out.push(b'}');
                Ok(())
            }
            (Kind::Replaced(member), Value::Object(members)) => match &member.slot {
                Slot::Value(plan) => plan.write(members.get(&member.key), out),
                Slot::Inline { .. } | Slot::Pages => Err(Fault::Null),
            },
            (Kind::Open(_), Value::List(items)) => {
                out.push(b'[');
                let mut first = true;
                for item in items {
                    separate(&mut first, out);
                    self.write(item, out)?;
                }
                out.push(b']');
                Ok(())
            }
            (Kind::Open(object), Value::Object(members)) => {
                out.push(b'{');
                let mut first = true;
                for member in &object.members {
                    if let (Some(value), Slot::Value(plan)) = (members.get(&member.key), &member.slot) {
                        separate(&mut first, out);
                        out.extend_from_slice(&member.json_key);
                        plan.write(Some(value), out)?;
                    }
                }
                out.push(b'}');
                Ok(())
            }
            (_, value) => {
                json(value, out);
                Ok(())
            }
        }
    }
}

impl Object {
    fn write_members(&self, values: &IndexMap<Name, Value>, first: &mut bool, out: &mut Vec<u8>) -> Result<(), Fault> {
        let actual = if self.possible.is_empty() {
            self.all
        } else {
            self.actual(values)
        };
        for member in &self.members {
            let value = values.get(&member.key);
            if value.is_none() && (actual == 0 || actual & !member.required != 0) {
                continue;
            }
            match &member.slot {
                Slot::Value(plan) => {
                    separate(first, out);
                    out.extend_from_slice(&member.json_key);
                    plan.write(value, out)?;
                }
                Slot::Inline { nullable, object } => {
                    let written = match value {
                        Some(Value::Object(values)) => object.write_members(values, first, out),
                        _ => Err(Fault::Null),
                    };
                    match written {
                        Err(Fault::Null) if *nullable => return Err(Fault::Missing(object.type_name.clone())),
                        other => other?,
                    }
                }
                Slot::Pages => {}
            }
        }
        Ok(())
    }

    /// Which object types this one can be, by its `__typename` or by the members that it has.
    fn actual(&self, values: &IndexMap<Name, Value>) -> Mask {
        if let Some(Value::String(name)) = self.typename.as_ref().and_then(|key| values.get(key)) {
            return self
                .possible
                .iter()
                .position(|possible| possible == name)
                .map_or(0, |index| 1 << index);
        }
        self.members
            .iter()
            .filter(|member| values.contains_key(&member.key))
            .fold(self.all, |actual, member| actual & member.possible)
    }

    fn check_names<'a>(&'a self, names: &mut Vec<&'a Name>) -> Result<(), String> {
        for member in &self.members {
            match &member.slot {
                Slot::Value(plan) => {
                    if names.contains(&&member.key) {
                        return Err(format!("two members are named {}", member.key));
                    }
                    names.push(&member.key);
                    plan.check_names(&mut Vec::new())?;
                }
                Slot::Inline { object, .. } => object.check_names(names)?,
                Slot::Pages => {}
            }
        }
        Ok(())
    }
}

fn separate(first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
}

fn wire_value(wire: &[(Name, String)], name: &str, out: &mut Vec<u8>) {
    let spelled = wire
        .iter()
        .find(|value| value.0 == *name)
        .map_or(name, |value| &value.1);
    serde_json::to_writer(out, spelled).expect("writing a string to memory does not fail");
}

fn json(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a GraphQL value has string keys and goes to memory: it does not fail");
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    GraphQl,
    Rest,
    /// As `Rest`, where each time it is one event.
    RestEvents,
}

/// One of the selection sets that are merged under one response key.
#[derive(Clone, Copy)]
struct Part<'a> {
    selection: &'a SelectionSet,
    /// Whether it is left out although the response key is there.
    optional: bool,
}

impl<'a> Part<'a> {
    fn certain(selection: &'a SelectionSet) -> Self {
        Self {
            selection,
            optional: false,
        }
    }
}

/// One time that a response key is selected.
struct Occurrence<'a> {
    field: &'a Field,
    parent: Name,
    mask: Mask,
    optional: bool,
}

struct Builder<'a> {
    types: &'a Types,
    dialect: Dialect,
    /// Response keys from the root to here.
    path: Vec<Name>,
    /// How many lists are on the way.
    lists: usize,
    pages: Option<Pages>,
}

impl Builder<'_> {
    fn plan(&mut self, ty: &Type, parts: &[Part<'_>]) -> Result<Plan, String> {
        let kind = match &ty.base {
            BaseType::List(of) => {
                self.lists += 1;
                let of = self.plan(of, parts);
                self.lists -= 1;
                Kind::List(Box::new(of?))
            }
            BaseType::Named(name) => match self.types.get(name).map(|definition| &definition.kind) {
                None => return Err(format!("there is no type {name}")),
                Some(TypeDefKind::Enum { values }) => Kind::Enum {
                    type_name: name.clone(),
                    wire: (self.dialect != Dialect::GraphQl).then(|| wire(values)),
                },
                Some(TypeDefKind::Scalar | TypeDefKind::Input { .. }) => {
                    if parts.iter().any(|part| !part.selection.items.is_empty()) {
                        return Err(format!("{name} has no fields to select"));
                    }
                    Kind::Scalar(name.clone())
                }
                Some(_) => self.composite(name, parts)?,
            },
        };
        Ok(Plan {
            nullable: ty.nullable,
            kind,
        })
    }

    /// An object, or what took its place.
    fn composite(&mut self, type_name: &str, parts: &[Part<'_>]) -> Result<Kind, String> {
        let possible = self.possible(type_name);
        if possible.len() > Mask::BITS as usize {
            return Err(format!("{type_name} can be more than {} types", Mask::BITS));
        }
        let all = possible
            .iter()
            .enumerate()
            .fold(0, |mask: Mask, (index, _)| mask | 1 << index);
        let mut keys: IndexMap<Name, Vec<Occurrence<'_>>> = IndexMap::new();
        for part in parts {
            let at = Scope {
                parent: type_name,
                mask: all,
                optional: part.optional,
            };
            self.collect(part.selection, at, &possible, &mut keys)?;
        }
        if keys.is_empty() {
            return Err(format!("a selection of {type_name} is empty"));
        }
        let mut members = Vec::with_capacity(keys.len());
        let mut replaced = None;
        let mut depends = false;
        let mut typename = None;
        for (key, occurrences) in keys {
            if occurrences[0].field.name.node == "__typename" {
                typename = Some(key.clone());
            }
            let (member, replaces) = self.member(key, &occurrences)?;
            depends |= member.possible != all || member.required != all;
            if replaces {
                replaced = Some(members.len());
            }
            members.push(member);
        }
        if let Some(index) = replaced {
            if members
                .iter()
                .filter(|member| !matches!(member.slot, Slot::Pages))
                .count()
                > 1
            {
                return Err(format!(
                    "@unwrap on {type_name}.{} takes the place of its object, so it must be the only field there",
                    members[index].field
                ));
            }
            return Ok(Kind::Replaced(Box::new(members.swap_remove(index))));
        }
        Ok(Kind::Object(Object {
            type_name: Name::new(type_name),
            possible: if depends { possible } else { Vec::new() },
            all,
            members,
            typename,
        }))
    }

    /// A member, and whether its value takes the place of the object.
    fn member(&mut self, key: Name, occurrences: &[Occurrence<'_>]) -> Result<(Member, bool), String> {
        let first = &occurrences[0];
        let possible = occurrences.iter().fold(0, |mask, occurrence| mask | occurrence.mask);
        let required = occurrences
            .iter()
            .filter(|occurrence| !occurrence.optional)
            .fold(0, |mask, occurrence| mask | occurrence.mask);
        let parts: Vec<Part<'_>> = occurrences
            .iter()
            .map(|occurrence| Part {
                selection: &occurrence.field.selection_set.node,
                // Where the key is selected once, what is under it is there whenever the key is.
                optional: occurrences.len() > 1 && (occurrence.optional || occurrence.mask != possible),
            })
            .collect();
        self.path.push(key.clone());
        let slot = self.slot(occurrences, &parts);
        self.path.pop();
        let (slot, replaces) = slot?;
        Ok((
            Member {
                json_key: json_key(&key),
                key,
                field: first.field.name.node.clone(),
                parent: first.parent.clone(),
                required,
                possible,
                slot,
            },
            replaces,
        ))
    }

    fn slot(&mut self, occurrences: &[Occurrence<'_>], parts: &[Part<'_>]) -> Result<(Slot, bool), String> {
        let parent = &occurrences[0].parent;
        let name = &occurrences[0].field.name.node;
        if name.starts_with("__") {
            let (nullable, kind) = match name.as_str() {
                "__typename" => (false, Kind::Scalar(Name::new("String"))),
                _ => (true, open(parts)?),
            };
            return Ok((Slot::Value(Plan { nullable, kind }), false));
        }
        let definition = self
            .types
            .field(parent, name)
            .ok_or_else(|| format!("{parent} has no field {name}"))?;
        let plan = self.plan(&definition.ty, parts)?;
        let has = |directive: &str| {
            self.dialect != Dialect::GraphQl
                && occurrences
                    .iter()
                    .any(|occurrence| is_applied(&occurrence.field.directives, directive))
        };
        if has("pages") {
            self.take_pages(parent, name, &plan)?;
            return Ok((Slot::Pages, false));
        }
        if !has("unwrap") {
            return Ok((Slot::Value(plan), false));
        }
        let base = super::types::base_name(&definition.ty);
        if self.dialect == Dialect::Rest
            && let Some(TypeDefKind::Union { .. }) = self.types.get(base).map(|definition| &definition.kind)
        {
            return Err(format!("@unwrap on {parent}.{name}: {base} is a union"));
        }
        match plan.kind {
            Kind::Object(object) => Ok((
                Slot::Inline {
                    nullable: plan.nullable,
                    object,
                },
                false,
            )),
            Kind::List(ref of) if matches!(&of.kind, Kind::Object(object) if object.members.len() > 1) => Err(format!(
                "@unwrap on {parent}.{name}: a list of objects with more than one field under it"
            )),
            _ => Ok((Slot::Value(plan), true)),
        }
    }

    fn take_pages(&mut self, parent: &Name, name: &Name, plan: &Plan) -> Result<(), String> {
        let refuse = |why: &str| Err(format!("@pages on {parent}.{name}: {why}"));
        let object = match &plan.kind {
            Kind::Object(object) if object.type_name == "PageInfo" => object,
            _ => return refuse("it is no PageInfo"),
        };
        if self.lists > 0 {
            return refuse("it is in a list");
        }
        if self.pages.is_some() {
            return refuse("there is another one");
        }
        let keys = ["hasNextPage", "hasPreviousPage", "startCursor", "endCursor"].map(|field| {
            let selected = object.members.iter().find(|member| member.field == field);
            selected.map(|member| member.key.clone())
        });
        self.pages = Some(Pages {
            path: self.path.clone(),
            keys,
        });
        Ok(())
    }

    /// "CollectFields" of the GraphQL specification, for all object types that can stand here at once.
    fn collect<'s>(
        &self,
        selection: &'s SelectionSet,
        at: Scope<'_>,
        possible: &[Name],
        keys: &mut IndexMap<Name, Vec<Occurrence<'s>>>,
    ) -> Result<(), String> {
        for item in &selection.items {
            let optional = at.optional || is_conditional(item.node.directives());
            match &item.node {
                Selection::Field(field) => {
                    let occurrence = Occurrence {
                        field: &field.node,
                        parent: Name::new(at.parent),
                        mask: at.mask,
                        optional,
                    };
                    let key = field.node.response_key().node.clone();
                    keys.entry(key).or_default().push(occurrence);
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    let parent = condition.map_or(at.parent, |condition| condition.node.on.node.as_str());
                    let applies = possible
                        .iter()
                        .enumerate()
                        .filter(|(_, object)| self.types.applies(object, parent))
                        .fold(0, |mask: Mask, (index, _)| mask | 1 << index);
                    let inner = Scope {
                        parent,
                        mask: at.mask & applies,
                        optional,
                    };
                    // A fragment that applies to nothing here is for validation to refuse.
                    if inner.mask != 0 {
                        self.collect(&fragment.node.selection_set.node, inner, possible, keys)?;
                    }
                }
                Selection::FragmentSpread(spread) => {
                    return Err(format!("fragment {} is not inlined", spread.node.fragment_name.node));
                }
            }
        }
        Ok(())
    }

    /// The object types that a value of this type can be, in a fixed order.
    fn possible(&self, type_name: &str) -> Vec<Name> {
        let mut possible: Vec<Name> = self
            .types
            .iter()
            .filter(|definition| {
                matches!(definition.kind, TypeDefKind::Object { .. }) && self.types.applies(&definition.name, type_name)
            })
            .map(|definition| definition.name.clone())
            .collect();
        possible.sort_unstable();
        possible
    }
}

/// Where fields are collected.
#[derive(Clone, Copy)]
struct Scope<'a> {
    parent: &'a str,
    mask: Mask,
    optional: bool,
}

/// The plan of introspection: the members in order, whatever they are.
fn open(parts: &[Part<'_>]) -> Result<Kind, String> {
    fn collect<'s>(
        selection: &'s SelectionSet,
        keys: &mut IndexMap<Name, (Name, Vec<&'s SelectionSet>)>,
    ) -> Result<(), String> {
        for item in &selection.items {
            match &item.node {
                Selection::Field(field) => keys
                    .entry(field.node.response_key().node.clone())
                    .or_insert_with(|| (field.node.name.node.clone(), Vec::new()))
                    .1
                    .push(&field.node.selection_set.node),
                Selection::InlineFragment(fragment) => collect(&fragment.node.selection_set.node, keys)?,
                Selection::FragmentSpread(spread) => {
                    return Err(format!("fragment {} is not inlined", spread.node.fragment_name.node));
                }
            }
        }
        Ok(())
    }

    fn of(selections: &[&SelectionSet]) -> Result<Kind, String> {
        let mut keys = IndexMap::new();
        for selection in selections {
            collect(selection, &mut keys)?;
        }
        if keys.is_empty() {
            return Ok(Kind::Scalar(Name::new("String")));
        }
        let members = keys
            .into_iter()
            .map(|(key, (field, selections))| {
                Ok(Member {
                    json_key: json_key(&key),
                    key,
                    field,
                    parent: Name::new("__Type"),
                    required: 0,
                    possible: 0,
                    slot: Slot::Value(Plan {
                        nullable: true,
                        kind: of(&selections)?,
                    }),
                })
            })
            .collect::<Result<_, String>>()?;
        Ok(Kind::Open(Object {
            type_name: Name::new("__Type"),
            possible: Vec::new(),
            all: 0,
            members,
            typename: None,
        }))
    }

    of(&parts.iter().map(|part| part.selection).collect::<Vec<_>>())
}

fn json_key(key: &str) -> Vec<u8> {
    let mut json = serde_json::to_vec(key).expect("writing a string to memory does not fail");
    json.push(b':');
    json
}

fn wire(values: &[EnumValue]) -> Vec<(Name, String)> {
    values
        .iter()
        .map(|value| (value.name.clone(), value.wire.clone()))
        .collect()
}

fn is_applied(directives: &[Positioned<Directive>], name: &str) -> bool {
    directives.iter().any(|directive| directive.node.name.node == name)
}

fn is_conditional(directives: &[Positioned<Directive>]) -> bool {
    is_applied(directives, "skip") || is_applied(directives, "include")
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
