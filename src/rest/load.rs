//! Reads `rest/v1.graphql` and checks everything that can be checked before a request comes.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use async_graphql::{
    Name, Pos, Positioned,
    indexmap::IndexMap,
    parser::{
        parse_query,
        types::{
            BaseType, Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition, InlineFragment,
            OperationDefinition, OperationType, Selection, SelectionSet, Type, VariableDefinition,
        },
    },
};
use async_graphql_value::{ConstValue, Value};
use http::Method;
use serde_json::{Map, Value as Json};

use super::{
    Fragment, NodeDocument, Operation, Segment, Source, Variable,
    route::{Router, Taken},
};
use crate::graphql::{
    coerce::{self, Place, Spelling},
    shape::{Kind, Shape, Slot},
    types::{FieldDef, InputDef, TypeDefKind, Types, base_name},
};

/// The routes and the fragments of `rest/v1.graphql`.
#[derive(Debug)]
pub struct Rest {
    operations: Vec<Operation>,
    fragments: IndexMap<Name, Fragment>,
    pub(super) router: Router,
    /// For each operation the index of the one that streams at its route.
    streams: Vec<Option<usize>>,
}

/// Why the file cannot be served: one line for each operation or fragment at fault.
#[derive(Debug, PartialEq, Eq)]
pub struct LoadError(pub Vec<String>);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for LoadError {}

impl Rest {
    /// Reads the operations and fragments of `source`, in their order, against the schema.
    ///
    /// # Errors
    ///
    /// All operations and fragments that do not parse, do not fit the schema or do not make a route.
    pub fn load(source: &str, types: &Types) -> Result<Rest, LoadError> {
        let document = parse_query(source).map_err(|error| LoadError(vec![format!("it does not parse: {error}")]))?;
        let mut definitions = match document.operations {
            DocumentOperations::Single(_) => {
                return Err(LoadError(vec!["an operation has no name".to_owned()]));
            }
            DocumentOperations::Multiple(operations) => operations.into_iter().collect::<Vec<_>>(),
        };
        definitions.sort_unstable_by_key(|(_, operation)| operation.pos);
        let lines: Vec<&str> = source.lines().collect();
        let file = File {
            types,
            fragments: &document.fragments,
        };
        let mut errors = Vec::new();
        let mut operations: Vec<Operation> = Vec::new();
        let mut router = Router::default();
        for (name, definition) in definitions {
            let comment = comment_above(&lines, definition.pos);
            let loaded = file
                .operation(operations.len(), &name, definition, comment)
                .and_then(|operation| {
                    if operation.kind == OperationType::Subscription {
                        return Ok(operation);
                    }
                    router
                        .add(&operation)
                        .map_err(|taken| match taken {
                            Taken::Route(other) => format!("{} has its route", operations[other].name),
                            Taken::Names(other) => {
                                format!("{} names the parameters of its path otherwise", operations[other].name)
                            }
                        })
                        .map(|()| operation)
                });
            match loaded {
                Ok(operation) => operations.push(operation),
                Err(why) => errors.push(format!("operation {name}: {why}")),
            }
        }
        let mut fragments = IndexMap::new();
        let mut definitions: Vec<_> = document.fragments.iter().collect();
        definitions.sort_unstable_by_key(|(_, fragment)| fragment.pos);
        for (name, definition) in definitions {
            match file.fragment(name, definition) {
                Ok(fragment) => {
                    fragments.insert(name.clone(), fragment);
                }
                Err(why) => errors.push(format!("fragment {name}: {why}")),
            }
        }
        let streams = streams(&operations, &mut errors);
        if !errors.is_empty() {
            return Err(LoadError(errors));
        }
        Ok(Rest {
            operations,
            fragments,
            router,
            streams,
        })
    }

    /// The subscription that answers at an operation's route where the client takes events.
    pub fn stream_of(&self, operation: &Operation) -> Option<&Operation> {
        self.streams[operation.index].map(|index| &self.operations[index])
    }

    /// In the order of the file.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.name == *name)
    }

    /// In the order of the file.
    pub fn fragments(&self) -> impl Iterator<Item = &Fragment> {
        self.fragments.values()
    }

    pub fn fragment(&self, name: &str) -> Option<&Fragment> {
        self.fragments.get(name)
    }

    /// How to fetch one object by its id in the shape of a fragment. `None`: no such fragment, or its type is no node.
    pub fn node_document(&self, fragment: &str) -> Option<&NodeDocument> {
        self.fragment(fragment)?.node.as_ref()
    }
}

/// Finds the operation whose route each subscription shares.
fn streams(operations: &[Operation], errors: &mut Vec<String>) -> Vec<Option<usize>> {
    let mut streams = vec![None; operations.len()];
    for stream in operations {
        if stream.kind != OperationType::Subscription {
            continue;
        }
        let shares = |other: &&Operation| {
            other.kind != OperationType::Subscription && (&other.method, &other.path) == (&stream.method, &stream.path)
        };
        let why = match operations.iter().find(shares) {
            None => "no operation answers at its route where the client takes JSON".to_owned(),
            Some(operation) => match streams[operation.index].replace(stream.index) {
                None => continue,
                Some(other) => format!("{} streams at its route", operations[other].name),
            },
        };
        errors.push(format!("operation {}: {why}", stream.name));
    }
    streams
}

struct File<'a> {
    types: &'a Types,
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
}

/// What `@rest` says.
struct RestDirective {
    method: Method,
    path: Vec<Segment>,
    add: Map<String, Json>,
}

impl File<'_> {
    fn operation(
        &self,
        index: usize,
        name: &Name,
        definition: Positioned<OperationDefinition>,
        description: Option<String>,
    ) -> Result<Operation, String> {
        let pos = definition.pos;
        let definition = definition.node;
        let rest = rest_directive(&definition.directives)?;
        check_method(&rest.method, definition.ty)?;
        let root = coerce::root_type(self.types, definition.ty)
            .ok_or_else(|| format!("the schema has no {}", definition.ty))?;

        let mut selection = definition.selection_set.node;
        self.inline(&mut selection, &mut Vec::new())?;
        let (field, key) = match selection.items.as_slice() {
            [
                Positioned {
                    node: Selection::Field(field),
                    ..
                },
            ] => (field.node.name.node.clone(), field.node.response_key().node.clone()),
            _ => return Err("it must have one root field".to_owned()),
        };
        let mut check = Check::new(self.types, &definition.variable_definitions)?;
        check.selection_set(root, &selection)?;
        check.all_used()?;
        let shape = match definition.ty {
            OperationType::Subscription => Shape::rest_events(self.types, root, &selection)?,
            _ => Shape::rest(self.types, root, &selection)?,
        };
        if !rest.add.is_empty() && !matches!(shape.root().kind, Kind::Object(_)) {
            return Err("`add` needs a body that is an object".to_owned());
        }
        check_added(&rest.add, &shape)?;

        let mut variable_definitions = definition.variable_definitions;
        let variables = variable_definitions
            .iter()
            .map(|variable| self.variable(variable, &rest))
            .collect::<Result<Vec<_>, _>>()?;
        check_path(&rest.path, &variables)?;
        check_body(&variables)?;
        check_pages(&shape, &variables)?;

        for variable in &mut variable_definitions {
            variable.node.directives.clear();
        }
        strip(&mut selection);
        let document = single(Positioned::new(
            OperationDefinition {
                ty: definition.ty,
                variable_definitions,
                directives: Vec::new(),
                selection_set: Positioned::new(selection, definition.selection_set.pos),
            },
            pos,
        ));
        coerce::check_positions(self.types, &document)
            .map_err(|errors| errors.into_iter().map(|(why, _)| why).collect::<Vec<_>>().join("; "))?;
        Ok(Operation {
            index,
            name: name.clone(),
            method: rest.method,
            path: rest.path,
            kind: definition.ty,
            field,
            key,
            variables,
            document,
            shape,
            constants: rest
                .add
                .iter()
                .map(|(name, value)| format!("{}:{value}", Json::from(name.as_str())))
                .collect(),
            add: rest.add,
            description,
        })
    }

    fn fragment(&self, name: &Name, definition: &Positioned<FragmentDefinition>) -> Result<Fragment, String> {
        let on = &definition.node.type_condition.node.on.node;
        let mut selection = definition.node.selection_set.node.clone();
        self.inline(&mut selection, &mut vec![name.clone()])?;
        Check::new(self.types, &[])?.selection_set(on, &selection)?;
        let shape = Shape::rest(self.types, on, &selection)?;
        let node_shape = match (self.types.applies(on, "Node"), &shape.root().kind) {
            (true, Kind::Object(_)) => Some(Shape::of_node(self.types, on, &selection)?),
            _ => None,
        };
        strip(&mut selection);
        Ok(Fragment {
            name: name.clone(),
            type_condition: on.clone(),
            node: node_shape.map(|shape| NodeDocument {
                document: node_document(definition, selection.clone()),
                shape,
            }),
            selection,
            shape,
        })
    }

    fn variable(&self, definition: &Positioned<VariableDefinition>, rest: &RestDirective) -> Result<Variable, String> {
        let VariableDefinition {
            name,
            var_type,
            directives,
            default_value,
        } = &definition.node;
        let (name, ty) = (&name.node, &var_type.node);
        let is_body = match directives.as_slice() {
            [] => false,
            [directive] if directive.node.name.node == "body" => true,
            [directive, ..] => return Err(format!("${name}: @{} is not known here", directive.node.name.node)),
        };
        if let Some(default) = default_value {
            let literal = default
                .node
                .clone()
                .into_json()
                .map_err(|why| format!("${name}: {why}"))?;
            coerce::value(self.types, ty, &literal, &Place::Root, Spelling::GraphQl)
                .map_err(|why| format!("the default of ${name} {}", why.message()))?;
        }
        let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(&rest.method);
        let parameter = rest
            .path
            .iter()
            .filter(|segment| matches!(segment, Segment::Parameter(_)))
            .position(|segment| *segment == Segment::Parameter(name.clone()));
        let source = match (parameter, is_body) {
            (Some(_), true) => return Err(format!("${name} is @body and in the path")),
            (Some(nth), false) => Source::Path(nth),
            (None, true) if !has_body => return Err(format!("@body on ${name}: {} has no body", rest.method)),
            (None, true) if base_name(ty) == "Upload" => Source::File,
            (None, true) => Source::Body,
            (None, false) if has_body => Source::Member,
            (None, false) => Source::Query,
        };
        let of = self
            .types
            .get(base_name(ty))
            .ok_or_else(|| format!("${name}: there is no type {}", base_name(ty)))?;
        let is_object = matches!(of.kind, TypeDefKind::Input { .. });
        if !is_object && !matches!(of.kind, TypeDefKind::Scalar | TypeDefKind::Enum { .. }) {
            return Err(format!("${name}: {} is no input type", of.name));
        }
        match source {
            Source::File if ty.nullable || is_list(ty) => {
                return Err(format!("@body on ${name}: {ty} is not one file"));
            }
            Source::File => {}
            _ if of.name == "Upload" => return Err(format!("${name} is a file and not @body")),
            Source::Path(_) if ty.nullable => return Err(format!("${name} is in the path and nullable")),
            Source::Path(_) if is_object || is_list(ty) => {
                return Err(format!("${name} is in the path and no scalar or enum"));
            }
            Source::Query if is_object || matches!(&ty.base, BaseType::List(of) if is_list(of)) => {
                return Err(format!(
                    "${name} is in the query string and no scalar, enum or list of them"
                ));
            }
            Source::Body if !is_object || is_list(ty) => {
                return Err(format!("@body on ${name}: {ty} is no input object"));
            }
            _ => {}
        }
        let mut definition = definition.clone();
        definition.node.directives.clear();
        Ok(Variable { definition, source })
    }

    /// Puts inline fragments where fragments are spread. `open` are the fragments that are being inlined.
    fn inline(&self, selection: &mut SelectionSet, open: &mut Vec<Name>) -> Result<(), String> {
        for item in &mut selection.items {
            match &mut item.node {
                Selection::Field(field) => self.inline(&mut field.node.selection_set.node, open)?,
                Selection::InlineFragment(fragment) => self.inline(&mut fragment.node.selection_set.node, open)?,
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.clone();
                    let definition = self
                        .fragments
                        .get(&name)
                        .ok_or_else(|| format!("there is no fragment {name}"))?;
                    if open.contains(&name) {
                        return Err(format!("fragment {name} spreads itself"));
                    }
                    let FragmentDefinition {
                        type_condition,
                        directives,
                        selection_set,
                    } = definition.node.clone();
                    let mut fragment = InlineFragment {
                        type_condition: Some(type_condition),
                        directives: [std::mem::take(&mut spread.node.directives), directives].concat(),
                        selection_set,
                    };
                    open.push(name);
                    self.inline(&mut fragment.selection_set.node, open)?;
                    open.pop();
                    item.node = Selection::InlineFragment(Positioned::new(fragment, item.pos));
                }
            }
        }
        Ok(())
    }
}

fn rest_directive(directives: &[Positioned<Directive>]) -> Result<RestDirective, String> {
    let directive = match directives {
        [directive] if directive.node.name.node == "rest" => &directive.node,
        _ => return Err("it must have @rest and no other directive".to_owned()),
    };
    let (mut method, mut path, mut add) = (None, None, Map::new());
    for (name, value) in &directive.arguments {
        match (name.node.as_str(), &value.node) {
            ("method", Value::Enum(name)) => method = Some(self::method(name)?),
            ("path", Value::String(text)) => path = Some(segments(text)?),
            ("add", value @ Value::Object(_)) => {
                let constant = value.clone().into_const().ok_or("`add` of @rest has a variable")?;
                match constant.into_json() {
                    Ok(Json::Object(members)) => add = members,
                    _ => return Err("`add` of @rest is not JSON".to_owned()),
                }
            }
            (name, _) => return Err(format!("`{name}` of @rest is not known or of the wrong type")),
        }
    }
    Ok(RestDirective {
        method: method.ok_or("@rest has no method")?,
        path: path.ok_or("@rest has no path")?,
        add,
    })
}

fn method(name: &str) -> Result<Method, String> {
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]
        .into_iter()
        .find(|method| method.as_str() == name)
        .ok_or_else(|| format!("there is no method {name}"))
}

fn segments(path: &str) -> Result<Vec<Segment>, String> {
    let refuse = |why: &str| format!("path \"{path}\" {why}");
    let rest = path
        .strip_prefix('/')
        .ok_or_else(|| refuse("does not start with a slash"))?;
    let mut segments = Vec::new();
    for segment in rest.split('/') {
        let parameter = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let text = parameter.unwrap_or(segment);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        if text.is_empty() || !text.chars().all(is_plain) {
            return Err(refuse(
                "has a segment that is empty or has other characters than a-z 0-9 - _ . ~",
            ));
        }
        let segment = match parameter {
            Some(name) => Segment::Parameter(Name::new(name)),
            None => Segment::Literal(text.to_owned()),
        };
        if matches!(segment, Segment::Parameter(_)) && segments.contains(&segment) {
            return Err(refuse("has a parameter twice"));
        }
        segments.push(segment);
    }
    Ok(segments)
}

fn check_method(method: &Method, ty: OperationType) -> Result<(), String> {
    match ty {
        OperationType::Subscription if ![Method::GET, Method::POST].contains(method) => {
            Err(format!("a subscription is GET or POST, not {method}"))
        }
        OperationType::Query if *method != Method::GET => Err(format!("a query is GET, not {method}")),
        OperationType::Mutation if *method == Method::GET => Err("a mutation is not GET".to_owned()),
        _ => Ok(()),
    }
}

fn check_added(add: &Map<String, Json>, shape: &Shape) -> Result<(), String> {
    let Kind::Object(object) = &shape.root().kind else {
        return Ok(());
    };
    let mut members: Vec<_> = object.members.iter().collect();
    while let Some(member) = members.pop() {
        match &member.slot {
            Slot::Value(_) if add.contains_key(member.key.as_str()) => {
                return Err(format!("two members are named {}", member.key));
            }
            Slot::Inline { object, .. } => members.extend(&object.members),
            Slot::Value(_) | Slot::Pages => {}
        }
    }
    Ok(())
}

fn check_path(path: &[Segment], variables: &[Variable]) -> Result<(), String> {
    for segment in path {
        if let Segment::Parameter(name) = segment
            && !variables.iter().any(|variable| variable.name() == name)
        {
            return Err(format!("the path has {{{name}}} and there is no ${name}"));
        }
    }
    Ok(())
}

fn check_body(variables: &[Variable]) -> Result<(), String> {
    let whole = variables
        .iter()
        .filter(|variable| matches!(variable.source, Source::Body | Source::File))
        .count();
    let members = variables.iter().any(|variable| variable.source == Source::Member);
    match whole {
        0 => Ok(()),
        1 if !members => Ok(()),
        1 => Err("a variable beside @body must be in the path".to_owned()),
        _ => Err("two variables are @body".to_owned()),
    }
}

/// The links are made of the query string, so what they need must be there.
fn check_pages(shape: &Shape, variables: &[Variable]) -> Result<(), String> {
    if !shape.has_pages() {
        return Ok(());
    }
    let takes = |name: &str| {
        variables
            .iter()
            .any(|variable| variable.name() == name && variable.source == Source::Query)
    };
    let (next, previous) = shape.page_links();
    if !takes("first") || !takes("after") {
        return Err("@pages needs $first and $after in the query string".to_owned());
    }
    if takes("before") && !takes("last") {
        return Err("$before needs $last in the query string".to_owned());
    }
    if !next || (takes("before") && !previous) {
        return Err("@pages does not select what its links need".to_owned());
    }
    Ok(())
}

fn is_list(ty: &Type) -> bool {
    matches!(ty.base, BaseType::List(_))
}

/// Takes `@unwrap` and `@pages` away, which only the shape needs.
fn strip(selection: &mut SelectionSet) {
    for item in &mut selection.items {
        item.node
            .directives_mut()
            .retain(|directive| !matches!(directive.node.name.node.as_str(), "unwrap" | "pages"));
        match &mut item.node {
            Selection::Field(field) => strip(&mut field.node.selection_set.node),
            Selection::InlineFragment(fragment) => strip(&mut fragment.node.selection_set.node),
            Selection::FragmentSpread(_) => {}
        }
    }
}

fn single(operation: Positioned<OperationDefinition>) -> ExecutableDocument {
    ExecutableDocument {
        operations: DocumentOperations::Single(operation),
        fragments: HashMap::new(),
    }
}

fn node_document(definition: &Positioned<FragmentDefinition>, selection: SelectionSet) -> ExecutableDocument {
    let pos = definition.pos;
    let at = |selection: Selection| SelectionSet {
        items: vec![Positioned::new(selection, pos)],
    };
    let name = |name: &str| Positioned::new(Name::new(name), pos);
    let fragment = InlineFragment {
        type_condition: Some(definition.node.type_condition.clone()),
        directives: Vec::new(),
        selection_set: Positioned::new(selection, pos),
    };
    let node = Field {
        alias: None,
        name: name("node"),
        arguments: vec![(name("id"), Positioned::new(Value::Variable(Name::new("id")), pos))],
        directives: Vec::new(),
        selection_set: Positioned::new(at(Selection::InlineFragment(Positioned::new(fragment, pos))), pos),
    };
    let id = VariableDefinition {
        name: name("id"),
        var_type: Positioned::new(
            Type {
                base: BaseType::Named(Name::new("ID")),
                nullable: false,
            },
            pos,
        ),
        directives: Vec::new(),
        default_value: None,
    };
    single(Positioned::new(
        OperationDefinition {
            ty: OperationType::Query,
            variable_definitions: vec![Positioned::new(id, pos)],
            directives: Vec::new(),
            selection_set: Positioned::new(at(Selection::Field(Positioned::new(node, pos))), pos),
        },
        pos,
    ))
}

/// The lines of comment right above an operation, as one text.
fn comment_above(lines: &[&str], pos: Pos) -> Option<String> {
    let above = lines.get(..pos.line.saturating_sub(1))?;
    let mut comment: Vec<&str> = above
        .iter()
        .rev()
        .map_while(|line| line.trim().strip_prefix('#'))
        .map(str::trim)
        .collect();
    comment.reverse();
    (!comment.is_empty()).then(|| comment.join(" "))
}

/// The arguments and directives of one operation.
struct Check<'a> {
    types: &'a Types,
    variables: HashMap<&'a str, &'a VariableDefinition>,
    used: HashSet<Name>,
}

impl<'a> Check<'a> {
    fn new(types: &'a Types, definitions: &'a [Positioned<VariableDefinition>]) -> Result<Self, String> {
        let mut variables = HashMap::new();
        for definition in definitions {
            let name = definition.node.name.node.as_str();
            if variables.insert(name, &definition.node).is_some() {
                return Err(format!("${name} is defined twice"));
            }
        }
        Ok(Self {
            types,
            variables,
            used: HashSet::new(),
        })
    }

    fn all_used(&self) -> Result<(), String> {
        match self.variables.keys().find(|name| !self.used.contains(**name)) {
            Some(name) => Err(format!("${name} is not used")),
            None => Ok(()),
        }
    }

    fn selection_set(&mut self, parent: &str, selection: &SelectionSet) -> Result<(), String> {
        for item in &selection.items {
            let is_field = matches!(item.node, Selection::Field(_));
            for directive in item.node.directives() {
                self.directive(&directive.node, is_field)?;
            }
            match &item.node {
                Selection::Field(field) if field.node.name.node == "__typename" => {}
                Selection::Field(field) => {
                    let name = &field.node.name.node;
                    let definition = self
                        .types
                        .field(parent, name)
                        .ok_or_else(|| format!("{parent} has no field {name}"))?;
                    self.arguments(parent, definition, &field.node)?;
                    self.selection_set(base_name(&definition.ty), &field.node.selection_set.node)?;
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    let on = condition.map_or(parent, |condition| condition.node.on.node.as_str());
                    if self.types.get(on).is_none() {
                        return Err(format!("there is no type {on}"));
                    }
                    self.selection_set(on, &fragment.node.selection_set.node)?;
                }
                Selection::FragmentSpread(spread) => {
                    return Err(format!("fragment {} is not inlined", spread.node.fragment_name.node));
                }
            }
        }
        Ok(())
    }

    fn directive(&mut self, directive: &Directive, is_field: bool) -> Result<(), String> {
        match directive.name.node.as_str() {
            "skip" | "include" => directive
                .arguments
                .iter()
                .try_for_each(|(_, value)| self.value(&value.node)),
            "unwrap" | "pages" if is_field && directive.arguments.is_empty() => Ok(()),
            name => Err(format!("@{name} is not known here")),
        }
    }

    fn arguments(&mut self, parent: &str, definition: &FieldDef, field: &Field) -> Result<(), String> {
        let of = format!("{parent}.{}", definition.name);
        for (name, value) in &field.arguments {
            let argument = definition
                .arguments
                .iter()
                .find(|argument| argument.name == name.node)
                .ok_or_else(|| format!("{of} has no argument {}", name.node))?;
            self.value(&value.node)?;
            self.defaults(&of, argument, &value.node)?;
            if let Some(literal) = value.node.clone().into_const().map(ConstValue::into_json) {
                let literal = literal.map_err(|why| format!("{of}: {why}"))?;
                coerce::value(self.types, &argument.ty, &literal, &Place::Root, Spelling::GraphQl)
                    .map_err(|why| format!("argument {} of {of} {}", argument.name, why.message()))?;
            }
        }
        match definition.arguments.iter().find(|argument| {
            !argument.ty.nullable && argument.default.is_none() && field.get_argument(&argument.name).is_none()
        }) {
            Some(missing) => Err(format!("{of} needs the argument {}", missing.name)),
            None => Ok(()),
        }
    }

    /// An absent variable hides the default of its argument from the library, so the variable must have its own.
    fn defaults(&self, of: &str, argument: &InputDef, value: &Value) -> Result<(), String> {
        match value {
            Value::Variable(name)
                if argument.default.is_some()
                    && self.variables.get(name.as_str()).is_some_and(|variable| {
                        variable.var_type.node.nullable && variable.default_value.is_none()
                    }) =>
            {
                Err(format!(
                    "argument {} of {of} has a default, so ${name} needs one too",
                    argument.name
                ))
            }
            _ => Ok(()),
        }
    }

    fn value(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Variable(name) if !self.variables.contains_key(name.as_str()) => {
                Err(format!("${name} is not defined"))
            }
            Value::Variable(name) => {
                self.used.insert(name.clone());
                Ok(())
            }
            Value::List(items) => items.iter().try_for_each(|item| self.value(item)),
            Value::Object(members) => members.values().try_for_each(|value| self.value(value)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
