//! From the text of a document to operations that are ready to run: bounded, parsed, validated and analysed once, then
//! kept for whoever sends the same text again.

mod admission;
mod lex;
mod measure;
mod operation;
mod select;

use std::sync::Arc;

use async_graphql::{
    Pos, ServerError,
    parser::{
        self, parse_query,
        types::{DocumentOperations, ExecutableDocument},
    },
};
use quick_cache::{Weighter, sync::Cache};

pub use self::{
    admission::{Admission, Requirement},
    operation::{Bound, Operation},
};
use super::{coerce, execute::Engine, failure::Failure, types::Types};
use crate::error::{Error, Kind};

/// How big a document may be. Source: the error table of the protocol, `QUERY_TOO_COMPLEX`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Fields below one another, introspection left out.
    pub depth: u32,
    /// By the rules of [`Bound`]'s admission: fields times how often they come.
    pub complexity: u64,
    pub root_fields: u32,
    /// Operations in one request.
    pub batch: usize,
    /// Bytes of text.
    pub bytes: usize,
    /// Fields of an operation once fragments are expanded.
    pub fields: u32,
    /// Selection sets below one another, fragments' too; what the library's own recursion allows.
    pub nesting: u32,
    /// Bytes of names, arguments and directives once fragments are expanded.
    pub expanded_bytes: usize,
}

pub const LIMITS: Limits = Limits {
    depth: 12,
    complexity: 2_000,
    root_fields: 20,
    batch: 10,
    bytes: 16 * 1024,
    fields: 1_000,
    nesting: 32,
    expanded_bytes: 256 * 1024,
};

impl Default for Limits {
    fn default() -> Self {
        LIMITS
    }
}

/// How many errors of one document are listed.
const ERRORS: usize = 50;

/// A document that has passed everything that does not depend on a request.
#[derive(Debug)]
pub struct Document {
    operations: Vec<Arc<Operation>>,
    weight: u64,
}

impl Document {
    /// The operation to run: the one of that name, or the only one.
    ///
    /// # Errors
    ///
    /// `GRAPHQL_VALIDATION_FAILED` where there is none of that name, or no name and several operations.
    pub fn operation(&self, name: Option<&str>) -> Result<&Arc<Operation>, Error> {
        let refused = |message: String| Error::new(Kind::GraphqlValidationFailed, message);
        match (name, self.operations.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(refused(
                "the document has several operations: operationName must say which".to_owned(),
            )),
            (Some(name), operations) => operations
                .iter()
                .find(|operation| operation.name() == Some(name))
                .ok_or_else(|| refused(format!("the document has no operation named {name:?}"))),
        }
    }

    /// All operations, in no particular order.
    pub fn operations(&self) -> &[Arc<Operation>] {
        &self.operations
    }
}

/// About how many fields' worth of documents are kept.
const KEPT: u64 = 20_000;

#[derive(Clone)]
struct ByWeight;

impl Weighter<Arc<str>, Arc<Document>> for ByWeight {
    fn weight(&self, text: &Arc<str>, document: &Arc<Document>) -> u64 {
        document.weight + in_fields(text.len())
    }
}

/// A field takes some hundred bytes; texts and arguments count alike.
fn in_fields(bytes: usize) -> u64 {
    (bytes / 128).try_into().unwrap_or(u64::MAX)
}

/// Prepares documents and keeps those that are valid.
pub struct Documents {
    engine: Engine,
    types: Arc<Types>,
    limits: Limits,
    kept: Cache<Arc<str>, Arc<Document>, ByWeight>,
}

impl Documents {
    /// `types` are those of the engine's schema.
    pub fn new(engine: Engine, types: Arc<Types>, limits: Limits) -> Self {
        Self {
            engine,
            types,
            limits,
            kept: Cache::with_weighter(256, KEPT, ByWeight),
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The document with this text, from the cache where it has been prepared before. Does not block: everything here is
    /// computation, bounded by the limits.
    ///
    /// # Errors
    ///
    /// `QUERY_TOO_COMPLEX`, `GRAPHQL_PARSE_FAILED` or `GRAPHQL_VALIDATION_FAILED`; the latter may be several.
    pub fn prepare(&self, text: &str) -> Result<Arc<Document>, Vec<Failure>> {
        if let Some(document) = self.kept.get(text) {
            return Ok(document);
        }
        if text.len() > self.limits.bytes {
            let message = format!("the document is longer than {} bytes", self.limits.bytes);
            return Err(vec![Error::new(Kind::QueryTooComplex, message).into()]);
        }
        let document = Arc::new(self.prepare_parsed(parse(text).map_err(|failure| vec![failure])?)?);
        self.kept.insert(Arc::from(text), document.clone());
        Ok(document)
    }

    /// As [`prepare`](Self::prepare), for a document from elsewhere; it is not kept.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare), but for the parser's.
    pub fn prepare_parsed(&self, document: ExecutableDocument) -> Result<Document, Vec<Failure>> {
        let measured = measure::measure(&document, &self.limits)
            .map_err(|refused| vec![Failure::at(refused.error, vec![refused.location])])?;
        self.engine.validate(&document).map_err(|errors| match errors {
            Invalid::Document(mut errors) => {
                // Two rules of the library may say the same.
                errors.dedup();
                errors.into_iter().take(ERRORS).map(invalid).collect()
            }
            Invalid::Defect(error) => vec![Failure::from(error)],
        })?;
        coerce::check_positions(&self.types, &document).map_err(|errors| {
            errors
                .into_iter()
                .take(ERRORS)
                .map(|(message, location)| {
                    Failure::at(Error::new(Kind::GraphqlValidationFailed, message), vec![location])
                })
                .collect::<Vec<_>>()
        })?;
        let ExecutableDocument { operations, fragments } = document;
        let operations = match operations {
            DocumentOperations::Single(operation) => vec![(None, operation)],
            DocumentOperations::Multiple(operations) => operations
                .into_iter()
                .map(|(name, operation)| (Some(name), operation))
                .collect(),
        };
        let operations = operations
            .into_iter()
            .map(|(name, definition)| {
                Operation::prepare(&self.types, &self.limits, name, definition, &fragments).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|failure| vec![failure])?;
        Ok(Document {
            operations,
            weight: u64::from(measured.total.fields) + in_fields(measured.total.bytes),
        })
    }
}

/// Why the library does not take a document.
#[derive(Debug)]
pub(crate) enum Invalid {
    Document(Vec<ServerError>),
    Defect(Error),
}

fn invalid(error: ServerError) -> Failure {
    Failure::at(
        Error::new(Kind::GraphqlValidationFailed, error.message),
        error.locations,
    )
}

fn parse(text: &str) -> Result<ExecutableDocument, Failure> {
    lex::check(text).map_err(|unreadable| match unreadable {
        lex::Unreadable::TooDeep(location) => Failure::at(
            Error::new(
                Kind::QueryTooComplex,
                format!("brackets nest deeper than {}", lex::BRACKETS),
            ),
            vec![location],
        ),
        lex::Unreadable::OpenString(location) => parse_failed("the string does not end", vec![location]),
    })?;
    parse_query(text).map_err(|error| match error {
        parser::Error::Syntax { message, start, .. } => parse_failed(expectation(&message), vec![start]),
        other => parse_failed(other.to_string(), other.positions().collect()),
    })
}

fn parse_failed(message: impl Into<String>, locations: Vec<Pos>) -> Failure {
    Failure::at(Error::new(Kind::GraphqlParseFailed, message.into()), locations)
}

/// What the parser expected. Its message draws the line too, which is the client's and may hold a password.
fn expectation(message: &str) -> String {
    message.rsplit_once("= ").map_or_else(
        || "the document does not parse".to_owned(),
        |(_, expected)| expected.to_owned(),
    )
}

#[cfg(test)]
#[path = "document/tests.rs"]
mod tests;
