//! The schema as data, read once from the exported SDL: what the library keeps private and the analysis of documents,
//! the coercion of variables and the REST generator all need.

use std::collections::HashMap;

use async_graphql::{
    Name, Value,
    parser::{
        parse_schema,
        types::{BaseType, Type, TypeKind, TypeSystemDefinition},
    },
};

use crate::gate::rules::Rule;

/// All types of a schema by name.
#[derive(Debug)]
pub struct Types {
    types: HashMap<Name, TypeDef>,
    pub query: Name,
    pub mutation: Option<Name>,
    pub subscription: Option<Name>,
}

#[derive(Debug)]
pub struct TypeDef {
    pub name: Name,
    pub description: Option<String>,
    pub kind: TypeDefKind,
    /// The `@allow` of an object type.
    pub rule: Option<Rule>,
}

#[derive(Debug)]
pub enum TypeDefKind {
    Scalar,
    Object {
        fields: HashMap<Name, FieldDef>,
        implements: Vec<Name>,
    },
    Interface {
        fields: HashMap<Name, FieldDef>,
    },
    Union {
        members: Vec<Name>,
    },
    /// Each value with how REST spells it (`@wire`, else its name) and its description.
    Enum {
        values: Vec<EnumValue>,
    },
    Input {
        fields: Vec<InputDef>,
    },
}

#[derive(Debug)]
pub struct EnumValue {
    pub name: Name,
    pub wire: String,
    pub description: Option<String>,
}

#[derive(Debug)]
pub struct FieldDef {
    pub name: Name,
    pub description: Option<String>,
    pub arguments: Vec<InputDef>,
    pub ty: Type,
    /// The `@allow` of the field; where there is none, its type's counts.
    pub rule: Option<Rule>,
}

/// An argument or a member of an input object.
#[derive(Debug)]
pub struct InputDef {
    pub name: Name,
    pub description: Option<String>,
    pub ty: Type,
    pub default: Option<Value>,
}

impl Types {
    /// Reads SDL with `@allow(anonymous, role, scope)` on object types and fields and `@wire(name)` on enum values.
    ///
    /// # Errors
    ///
    /// SDL that does not parse, or a directive whose argument is none of its values, as a sentence.
    pub fn parse(sdl: &str) -> Result<Types, String> {
        let document = parse_schema(sdl).map_err(|error| format!("the schema does not parse: {error}"))?;
        let mut types = Types {
            types: HashMap::new(),
            query: Name::new("Query"),
            mutation: None,
            subscription: None,
        };
        for scalar in ["Int", "Float", "String", "Boolean", "ID"] {
            types.add(TypeDef {
                name: Name::new(scalar),
                description: None,
                kind: TypeDefKind::Scalar,
                rule: None,
            });
        }
        for definition in document.definitions {
            match definition {
                TypeSystemDefinition::Schema(schema) => {
                    if let Some(query) = schema.node.query {
                        types.query = query.node;
                    }
                    types.mutation = schema.node.mutation.map(|name| name.node);
                    types.subscription = schema.node.subscription.map(|name| name.node);
                }
                TypeSystemDefinition::Type(definition) => {
                    let definition = definition.node;
                    types.add(TypeDef {
                        rule: rule(&definition.directives)
                            .map_err(|why| format!("type {}: {why}", definition.name.node))?,
                        kind: kind(definition.kind).map_err(|why| format!("type {}: {why}", definition.name.node))?,
                        description: definition.description.map(|text| text.node),
                        name: definition.name.node,
                    });
                }
                TypeSystemDefinition::Directive(_) => {}
            }
        }
        Ok(types)
    }

    fn add(&mut self, definition: TypeDef) {
        self.types.insert(definition.name.clone(), definition);
    }

    pub fn get(&self, name: &str) -> Option<&TypeDef> {
        self.types.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &TypeDef> {
        self.types.values()
    }

    /// The field `name` of an object or interface type.
    pub fn field(&self, type_name: &str, name: &str) -> Option<&FieldDef> {
        self.get(type_name)?.fields()?.get(name)
    }

    /// Whether an object of type `object` matches the type condition `condition`.
    pub fn applies(&self, object: &str, condition: &str) -> bool {
        object == condition
            || match self.get(condition).map(|definition| &definition.kind) {
                Some(TypeDefKind::Union { members }) => members.iter().any(|member| member == object),
                Some(TypeDefKind::Interface { .. }) => matches!(
                    self.get(object).map(|definition| &definition.kind),
                    Some(TypeDefKind::Object { implements, .. }) if implements.iter().any(|name| name == condition)
                ),
                _ => false,
            }
    }
}

impl TypeDef {
    /// The fields of an object or interface type.
    pub fn fields(&self) -> Option<&HashMap<Name, FieldDef>> {
        match &self.kind {
            TypeDefKind::Object { fields, .. } | TypeDefKind::Interface { fields } => Some(fields),
            _ => None,
        }
    }
}

/// The name at the bottom of a type, under its lists.
pub fn base_name(ty: &Type) -> &Name {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(of) => base_name(of),
    }
}

type Directives = Vec<async_graphql::Positioned<async_graphql::parser::types::ConstDirective>>;

fn kind(kind: TypeKind) -> Result<TypeDefKind, String> {
    use async_graphql::parser::types::FieldDefinition;

    fn fields(fields: Vec<async_graphql::Positioned<FieldDefinition>>) -> Result<HashMap<Name, FieldDef>, String> {
        fields
            .into_iter()
            .map(|field| {
                let field = field.node;
                let rule = rule(&field.directives).map_err(|why| format!("field {}: {why}", field.name.node))?;
                Ok((
                    field.name.node.clone(),
                    FieldDef {
                        rule,
                        name: field.name.node,
                        description: field.description.map(|text| text.node),
                        arguments: inputs(field.arguments),
                        ty: field.ty.node,
                    },
                ))
            })
            .collect()
    }

    fn inputs(
        inputs: Vec<async_graphql::Positioned<async_graphql::parser::types::InputValueDefinition>>,
    ) -> Vec<InputDef> {
        inputs
            .into_iter()
            .map(|input| InputDef {
                name: input.node.name.node,
                description: input.node.description.map(|text| text.node),
                ty: input.node.ty.node,
                default: input.node.default_value.map(|value| value.node),
            })
            .collect()
    }

    Ok(match kind {
        TypeKind::Scalar => TypeDefKind::Scalar,
        TypeKind::Object(object) => TypeDefKind::Object {
            fields: fields(object.fields)?,
            implements: object.implements.into_iter().map(|name| name.node).collect(),
        },
        TypeKind::Interface(interface) => TypeDefKind::Interface {
            fields: fields(interface.fields)?,
        },
        TypeKind::Union(union) => TypeDefKind::Union {
            members: union.members.into_iter().map(|name| name.node).collect(),
        },
        TypeKind::Enum(values) => TypeDefKind::Enum {
            values: values
                .values
                .into_iter()
                .map(|value| EnumValue {
                    wire: argument(&value.node.directives, "wire", "name")
                        .unwrap_or_else(|| value.node.value.node.to_string()),
                    name: value.node.value.node,
                    description: value.node.description.map(|text| text.node),
                })
                .collect(),
        },
        TypeKind::InputObject(object) => TypeDefKind::Input {
            fields: inputs(object.fields),
        },
    })
}

fn rule(directives: &Directives) -> Result<Option<Rule>, String> {
    if !directives.iter().any(|directive| directive.node.name.node == "allow") {
        return Ok(None);
    }
    let mut rule = Rule::MEMBER;
    if let Some(anonymous) = argument(directives, "allow", "anonymous") {
        rule.anonymous = anonymous == "true";
    }
    if let Some(login) = argument(directives, "allow", "login") {
        rule.login = login == "true";
    }
    if let Some(role) = argument(directives, "allow", "role") {
        rule.role = role.parse().map_err(|why| format!("@allow role {role} {why}"))?;
    }
    if let Some(scope) = argument(directives, "allow", "scope") {
        rule.scope = Some(scope.parse().map_err(|why| format!("@allow scope {scope} {why}"))?);
    }
    Ok(Some(rule))
}

fn argument(directives: &Directives, directive: &str, argument: &str) -> Option<String> {
    let value = &directives
        .iter()
        .find(|applied| applied.node.name.node == directive)?
        .node
        .get_argument(argument)?
        .node;
    Some(match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}
