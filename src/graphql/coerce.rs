//! What a client sends becomes the variables of an operation: "Coercing Variable Values" and "All Variable Usages Are
//! Allowed" of the GraphQL specification, with errors that point at the member at fault.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
};

use async_graphql::{
    Name, Pos, Positioned, Variables,
    parser::types::{
        BaseType, Directive, ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet, Type,
        VariableDefinition,
    },
};
use async_graphql_value::{ConstValue, Value};
use bytes::Bytes;
use serde_json::{Map, Value as Json};

use super::types::{EnumValue, InputDef, TypeDefKind, Types};
use crate::error::Error;

/// Whose rules a value is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Enum values go by their GraphQL names; an unknown member of an input object is refused.
    GraphQl,
    /// Enum values go by their `@wire` spelling or their GraphQL name; unknown members are ignored.
    Wire,
}

/// Where in the request a value stands; written as a JSON Pointer (RFC 6901) only when it is at fault.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The whole body, or the whole of the variables.
    Root,
    /// As [`Root`](Place::Root), where files came along: each with the pointer of the member that it stands for.
    RootWithFiles(&'a [(String, Bytes)]),
    Member(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl Place<'_> {
    /// The JSON Pointer of this place, empty for [`Place::Root`].
    pub fn pointer(&self) -> String {
        match self {
            Place::Root | Place::RootWithFiles(_) => String::new(),
            Place::Member(parent, name) => parent.pointer() + "/" + &name.replace('~', "~0").replace('/', "~1"),
            Place::Item(parent, index) => {
                let mut pointer = parent.pointer();
                write!(pointer, "/{index}").expect("a string takes everything");
                pointer
            }
        }
    }

    /// The file that stands here, if one does.
    fn file(&self) -> Option<&Bytes> {
        let mut root = self;
        while let Place::Member(parent, _) | Place::Item(parent, _) = root {
            root = parent;
        }
        match root {
            Place::RootWithFiles(files) => {
                let pointer = self.pointer();
                files.iter().find(|(at, _)| *at == pointer).map(|(_, file)| file)
            }
            _ => None,
        }
    }

    /// `BAD_REQUEST` at this place.
    pub fn refuse(&self, why: impl Into<String>) -> Error {
        let pointer = self.pointer();
        let why = why.into();
        let message = if pointer.is_empty() {
            why
        } else {
            format!("{pointer} {why}")
        };
        Error::bad_request(pointer, message)
    }
}

/// The values of an operation's variables, defaults applied. A nullable variable that is not given stays absent;
/// what is given beside the definitions is ignored.
///
/// Custom scalars pass through: their own parsers check them when the operation runs.
///
/// # Errors
///
/// `BAD_REQUEST` whose `details.path` points at the first member at fault, the variable's name first.
pub fn variables(
    types: &Types,
    definitions: &[Positioned<VariableDefinition>],
    given: &Map<String, Json>,
    spelling: Spelling,
) -> Result<Variables, Error> {
    variables_with_files(types, definitions, given, &[], spelling)
}

/// As [`variables`], where files came along: each with the pointer of the member that it stands for, which must be one of
/// type `Upload`.
///
/// # Errors
///
/// As [`variables`], also for a file that the operation takes no variable for.
pub fn variables_with_files(
    types: &Types,
    definitions: &[Positioned<VariableDefinition>],
    given: &Map<String, Json>,
    files: &[(String, Bytes)],
    spelling: Spelling,
) -> Result<Variables, Error> {
    let root = match files {
        [] => Place::Root,
        files => Place::RootWithFiles(files),
    };
    // Within a variable there is no place that is not looked at.
    let is_taken = |pointer: &str| {
        let name = pointer.split('/').nth(1);
        definitions
            .iter()
            .any(|definition| Some(definition.node.name.node.as_str()) == name)
    };
    if let Some((pointer, _)) = files.iter().find(|(pointer, _)| !is_taken(pointer)) {
        let message = format!("{pointer} is a file, and the operation has no such variable");
        return Err(Error::bad_request(pointer.as_str(), message));
    }
    let mut variables = Variables::default();
    for definition in definitions {
        let definition = &definition.node;
        let name = &definition.name.node;
        let place = Place::Member(&root, name);
        if let Some(value) = variable(types, definition, given.get(name.as_str()), &place, spelling)? {
            variables.insert(name.clone(), value);
        }
    }
    Ok(variables)
}

/// The value of one variable, which stands at `place` in the request. `None`: it stays absent.
///
/// # Errors
///
/// As [`variables`].
pub fn variable(
    types: &Types,
    definition: &VariableDefinition,
    given: Option<&Json>,
    place: &Place<'_>,
    spelling: Spelling,
) -> Result<Option<ConstValue>, Error> {
    let default = definition.default_value.as_ref().map(|value| &value.node);
    member(types, &definition.var_type.node, default, given, place, spelling)
}

/// Reads `value` as a value of type `ty`: "Input Coercion" of the GraphQL specification.
///
/// # Errors
///
/// As [`variables`], with the pointer starting from `place`.
pub fn value(
    types: &Types,
    ty: &Type,
    value: &Json,
    place: &Place<'_>,
    spelling: Spelling,
) -> Result<ConstValue, Error> {
    if let BaseType::Named(name) = &ty.base
        && let Some(file) = place.file()
    {
        return match name == "Upload" {
            true => Ok(ConstValue::Binary(file.clone())),
            false => Err(place.refuse("is no file")),
        };
    }
    if value.is_null() {
        return if ty.nullable {
            Ok(ConstValue::Null)
        } else {
            Err(place.refuse("must not be null"))
        };
    }
    match (&ty.base, value) {
        (BaseType::List(of), Json::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(index, item)| self::value(types, of, item, &Place::Item(place, index), spelling))
            .collect::<Result<_, _>>()
            .map(ConstValue::List),
        (BaseType::List(of), single) => Ok(ConstValue::List(vec![self::value(types, of, single, place, spelling)?])),
        (BaseType::Named(name), value) => named(types, name, value, place, spelling),
    }
}

fn named(types: &Types, name: &str, value: &Json, place: &Place<'_>, spelling: Spelling) -> Result<ConstValue, Error> {
    match (types.get(name).map(|definition| &definition.kind), value) {
        (Some(TypeDefKind::Input { fields }), Json::Object(members)) => {
            input_object(types, fields, members, place, spelling)
        }
        (Some(TypeDefKind::Input { .. }), other) => Err(expected(place, "an object", other)),
        (Some(TypeDefKind::Enum { values }), Json::String(text)) => {
            enum_value(values, text, spelling).map(ConstValue::Enum).ok_or_else(|| {
                let known: Vec<&str> = values.iter().map(|value| spelled(value, spelling)).collect();
                place.refuse(format!("is not one of {}", known.join(", ")))
            })
        }
        (Some(TypeDefKind::Enum { .. }), other) => Err(expected(place, "a string", other)),
        (_, value) => scalar(name, value, place),
    }
}

fn scalar(name: &str, value: &Json, place: &Place<'_>) -> Result<ConstValue, Error> {
    match (name, value) {
        // A file has been found by its place; nothing in JSON is one.
        ("Upload", _) => Err(place.refuse("must be a file, sent as multipart/form-data")),
        ("Int", Json::Number(number)) => match integer(number) {
            Some(number) => i32::try_from(number)
                .map(ConstValue::from)
                .map_err(|_| place.refuse("must fit into 32 bits")),
            None => Err(place.refuse("must be a whole number of at most 32 bits")),
        },
        ("Int", other) => Err(expected(place, "a whole number", other)),
        ("Float", Json::Number(number)) => Ok(ConstValue::Number(number.clone())),
        ("Float", other) => Err(expected(place, "a number", other)),
        ("Boolean", Json::Bool(value)) => Ok(ConstValue::Boolean(*value)),
        ("Boolean", other) => Err(expected(place, "true or false", other)),
        // Of the schema's own scalars these are texts; what the text says is for their parsers.
        ("String" | "ID" | "URL" | "DateTime", Json::String(text)) => Ok(ConstValue::String(text.clone())),
        ("ID", Json::Number(number)) if number.is_i64() || number.is_u64() => {
            Ok(ConstValue::String(number.to_string()))
        }
        ("String" | "ID" | "URL" | "DateTime", other) => Err(expected(place, "a string", other)),
        (_, custom) => ConstValue::from_json(custom.clone()).map_err(|_| place.refuse("is not a value")),
    }
}

/// The whole number that a JSON number is, `1.0` included.
fn integer(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        // Beyond 2^53 a float no longer says which whole number it is; such a number is out of range anyway.
        (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64)
    })
}

fn input_object(
    types: &Types,
    fields: &[InputDef],
    members: &Map<String, Json>,
    place: &Place<'_>,
    spelling: Spelling,
) -> Result<ConstValue, Error> {
    if spelling == Spelling::GraphQl
        && let Some(unknown) = members
            .keys()
            .find(|key| !fields.iter().any(|field| field.name == **key))
    {
        return Err(Place::Member(place, unknown).refuse("is not known"));
    }
    let mut object = async_graphql::indexmap::IndexMap::with_capacity(fields.len());
    for field in fields {
        let place = Place::Member(place, &field.name);
        let given = members.get(field.name.as_str());
        if let Some(value) = member(types, &field.ty, field.default.as_ref(), given, &place, spelling)? {
            object.insert(field.name.clone(), value);
        }
    }
    Ok(ConstValue::Object(object))
}

/// A variable or a member of an input object: what is given, else the default, else absent where it may be.
fn member(
    types: &Types,
    ty: &Type,
    default: Option<&ConstValue>,
    given: Option<&Json>,
    place: &Place<'_>,
    spelling: Spelling,
) -> Result<Option<ConstValue>, Error> {
    match (given, default) {
        (Some(given), _) => value(types, ty, given, place, spelling).map(Some),
        (None, Some(default)) => {
            // A default is a literal: it is coerced as well, so that the members it leaves out get theirs.
            let literal = default.clone().into_json().map_err(Error::internal)?;
            value(types, ty, &literal, place, Spelling::GraphQl).map(Some)
        }
        (None, None) if ty.nullable => Ok(None),
        (None, None) => Err(place.refuse("is required")),
    }
}

fn enum_value(values: &[EnumValue], text: &str, spelling: Spelling) -> Option<Name> {
    values
        .iter()
        .find(|value| spelling == Spelling::Wire && value.wire == text)
        .or_else(|| values.iter().find(|value| value.name == *text))
        .map(|value| value.name.clone())
}

fn spelled(value: &EnumValue, spelling: Spelling) -> &str {
    match spelling {
        Spelling::GraphQl => &value.name,
        Spelling::Wire => &value.wire,
    }
}

fn expected(place: &Place<'_>, what: &str, got: &Json) -> Error {
    let got = match got {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    };
    place.refuse(format!("must be {what}, not {got}"))
}

/// The type that an operation starts from: what the schema names, else `Query`, `Mutation` or `Subscription` if it has one.
pub fn root_type(types: &Types, operation: OperationType) -> Option<&str> {
    let (named, default) = match operation {
        OperationType::Query => return Some(&types.query),
        OperationType::Mutation => (&types.mutation, "Mutation"),
        OperationType::Subscription => (&types.subscription, "Subscription"),
    };
    match named {
        Some(name) => Some(name),
        None => types.get(default).map(|definition| definition.name.as_str()),
    }
}

/// Checks that each variable is of a type that fits where it is used: "All Variable Usages Are Allowed" of the GraphQL
/// specification. What is unknown to the schema (fields, arguments, variables) is left to the other validation rules.
///
/// # Errors
///
/// One sentence and position for each usage that does not fit.
pub fn check_positions(types: &Types, document: &ExecutableDocument) -> Result<(), Vec<(String, Pos)>> {
    let mut errors = Vec::new();
    for (_, operation) in document.operations.iter() {
        Positions::check(types, document, &operation.node, &mut errors);
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// One operation on the way through its fields.
struct Positions<'a> {
    types: &'a Types,
    document: &'a ExecutableDocument,
    variables: HashMap<&'a str, &'a VariableDefinition>,
    /// Each fragment is walked once for an operation: its types do not depend on where it is spread.
    seen: HashSet<&'a str>,
    errors: &'a mut Vec<(String, Pos)>,
}

/// What a value goes into.
#[derive(Clone, Copy)]
struct Location<'a> {
    ty: &'a Type,
    has_default: bool,
}

impl<'a> Positions<'a> {
    fn check(
        types: &'a Types,
        document: &'a ExecutableDocument,
        operation: &'a OperationDefinition,
        errors: &'a mut Vec<(String, Pos)>,
    ) {
        if operation.variable_definitions.is_empty() {
            return;
        }
        let variables = operation
            .variable_definitions
            .iter()
            .map(|definition| (definition.node.name.node.as_str(), &definition.node))
            .collect();
        let mut positions = Positions {
            types,
            document,
            variables,
            seen: HashSet::new(),
            errors,
        };
        positions.directives(&operation.directives);
        positions.selection_set(root_type(types, operation.ty), &operation.selection_set.node);
    }

    fn selection_set(&mut self, parent: Option<&'a str>, set: &'a SelectionSet) {
        for selection in &set.items {
            self.directives(selection.node.directives());
            match &selection.node {
                Selection::Field(field) => {
                    let field = &field.node;
                    let definition = parent.and_then(|parent| self.types.field(parent, &field.name.node));
                    for (name, value) in &field.arguments {
                        let argument = definition.and_then(|definition| {
                            definition.arguments.iter().find(|argument| argument.name == name.node)
                        });
                        if let Some(argument) = argument {
                            self.value(argument.into(), value);
                        } else if definition.is_none()
                            && let Some(ty) = introspection_argument(&field.name.node, &name.node)
                        {
                            let has_default = ty.nullable;
                            self.value(Location { ty: &ty, has_default }, value);
                        }
                    }
                    let base = definition.map(|definition| super::types::base_name(&definition.ty).as_str());
                    self.selection_set(base, &field.selection_set.node);
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    let parent = condition.map(|condition| condition.node.on.node.as_str()).or(parent);
                    self.selection_set(parent, &fragment.node.selection_set.node);
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let Some((name, fragment)) = self.document.fragments.get_key_value(name)
                        && self.seen.insert(name.as_str())
                    {
                        self.directives(&fragment.node.directives);
                        self.selection_set(
                            Some(&fragment.node.type_condition.node.on.node),
                            &fragment.node.selection_set.node,
                        );
                    }
                }
            }
        }
    }

    /// `@skip` and `@include` are all that a request can use.
    fn directives(&mut self, directives: &'a [Positioned<Directive>]) {
        for directive in directives {
            if matches!(directive.node.name.node.as_str(), "skip" | "include") {
                for (_, value) in &directive.node.arguments {
                    let ty = Type {
                        base: BaseType::Named(Name::new("Boolean")),
                        nullable: false,
                    };
                    self.value(
                        Location {
                            ty: &ty,
                            has_default: false,
                        },
                        value,
                    );
                }
            }
        }
    }

    fn value(&mut self, location: Location<'_>, value: &Positioned<Value>) {
        self.value_at(location, &value.node, value.pos);
    }

    fn value_at(&mut self, location: Location<'_>, value: &Value, pos: Pos) {
        match (value, &location.ty.base) {
            (Value::Variable(name), _) => {
                if let Some(variable) = self.variables.get(name.as_str())
                    && !allowed(variable, location)
                {
                    self.errors.push((
                        format!(
                            "variable \"${name}\" of type \"{}\" is used where \"{}\" is expected",
                            variable.var_type.node, location.ty
                        ),
                        pos,
                    ));
                }
            }
            (Value::List(items), BaseType::List(of)) => {
                for item in items {
                    let location = Location {
                        ty: of,
                        has_default: false,
                    };
                    self.value_at(location, item, pos);
                }
            }
            // A single value stands for a list of one: a variable below it goes into the item's type.
            (Value::Object(_), BaseType::List(of)) => {
                let location = Location {
                    ty: of,
                    has_default: false,
                };
                self.value_at(location, value, pos);
            }
            (Value::Object(members), BaseType::Named(name)) => {
                if let Some(TypeDefKind::Input { fields }) = self.types.get(name).map(|definition| &definition.kind) {
                    for (key, value) in members {
                        if let Some(field) = fields.iter().find(|field| field.name == *key) {
                            self.value_at(field.into(), value, pos);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

impl<'a> From<&'a InputDef> for Location<'a> {
    fn from(definition: &'a InputDef) -> Self {
        Self {
            ty: &definition.ty,
            has_default: definition.default.is_some(),
        }
    }
}

/// The arguments of introspection, which the SDL does not spell out; a nullable one has a default.
fn introspection_argument(field: &str, argument: &str) -> Option<Type> {
    let (name, nullable) = match (field, argument) {
        ("__type", "name") => ("String", false),
        (_, "includeDeprecated") => ("Boolean", true),
        _ => return None,
    };
    Some(Type {
        base: BaseType::Named(Name::new(name)),
        nullable,
    })
}

/// "IsVariableUsageAllowed" of the GraphQL specification.
fn allowed(variable: &VariableDefinition, location: Location<'_>) -> bool {
    let ty = &variable.var_type.node;
    if location.ty.nullable || !ty.nullable {
        return compatible(ty, location.ty);
    }
    let default = variable.default_value.as_ref().map(|value| &value.node);
    let has_default = location.has_default || default.is_some_and(|default| *default != ConstValue::Null);
    has_default && compatible_base(&ty.base, &location.ty.base)
}

/// "AreTypesCompatible" of the GraphQL specification.
fn compatible(variable: &Type, location: &Type) -> bool {
    (location.nullable || !variable.nullable) && compatible_base(&variable.base, &location.base)
}

fn compatible_base(variable: &BaseType, location: &BaseType) -> bool {
    match (variable, location) {
        (BaseType::Named(variable), BaseType::Named(location)) => variable == location,
        (BaseType::List(variable), BaseType::List(location)) => compatible(variable, location),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
