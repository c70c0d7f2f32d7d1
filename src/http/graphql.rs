//! `/graphql`: GraphQL over HTTP, through the gate.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method},
    response::Response,
};

use super::{Arrived, IDEMPOTENCY_KEY, change_cookie, graphql_socket, graphql_stream, multipart, pages, tell_budget};
use crate::{
    boot::App,
    error::{Error, Kind, Result},
    gate::{Admission, Identified, callers::Caller, idempotency, rules},
    graphql::{
        coerce::Spelling,
        context::Request as Context,
        document::Bound,
        execute::RunContext,
        failure::{Failure, reported},
        http::{
            Answer, Decoded, Format, GraphqlRequest, check_method, decode, negotiate, refuse, respond, wants_explorer,
        },
    },
};
use async_graphql::parser::types::{OperationType, Selection};

pub async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    if graphql_socket::is_upgrade(&request) {
        return graphql_socket::handle(app, request).await;
    }
    if wants_explorer(request.method(), request.headers(), request.uri().query()) {
        return pages::explorer(request.headers());
    }
    let (arrived, body) = Arrived::new(&app, request);
    let format = negotiate(&arrived.parts.headers);
    match arrived.identify(&app).await {
        Ok(identified) => answer(&app, &arrived, body, format, identified).await,
        // Who shows wrong credentials is charged like anyone from that address.
        Err(error) => {
            refuse_whole(
                &app,
                format,
                &Caller::Anonymous(arrived.address),
                error,
                &arrived.request_id,
            )
            .await
        }
    }
}

async fn answer(app: &App, arrived: &Arrived, body: Body, format: Format, identified: Identified) -> Response {
    let Identified { caller, renew } = identified;
    let (batch, plans) = match plan(app, arrived, body, &caller).await {
        Ok(planned) => planned,
        Err(error) => return refuse_whole(app, format, &caller, error, &arrived.request_id).await,
    };
    if batch && format == Format::EventStream {
        let error = Error::bad_request("", "an event stream is of one operation");
        return refuse_whole(app, format, &caller, error, &arrived.request_id).await;
    }
    let cost = plans.iter().map(Plan::cost).sum();
    let key = match idempotency_key(&arrived.parts.headers, &caller, &plans) {
        Ok(key) => key,
        Err(error) => return refuse_whole(app, format, &caller, error, &arrived.request_id).await,
    };
    let charged = app.gate.charge(&caller, cost, key).await;
    let admission = match charged.admission {
        Ok(admission) => admission,
        Err(error) => {
            let mut response = refuse(format, &error).map(Body::from);
            tell_budget(&mut response, charged.budget.as_ref());
            return response;
        }
    };
    let context = Arc::new(Context::new(arrived.origin()));
    let mut answers = Vec::with_capacity(plans.len());
    for plan in plans {
        answers.push(match plan {
            Plan::Refused(failures) => Answer::Refused(failures),
            // It is alone: a batch has been refused.
            Plan::Run(bound) if format == Format::EventStream && bound.is_subscription() => {
                let mut response = graphql_stream::subscribe(app, arrived, bound, admission).await;
                tell_budget(&mut response, charged.budget.as_ref());
                change_cookie(&mut response, app, None, renew);
                return response;
            }
            Plan::Run(bound) => run(app, bound, admission.clone(), context.clone(), &arrived.request_id).await,
        });
    }
    let mut response = respond(format, batch, &answers).map(Body::from);
    tell_budget(&mut response, charged.budget.as_ref());
    change_cookie(&mut response, app, context.take_cookie(), renew);
    response
}

/// Runs an admitted operation.
pub async fn run(app: &App, bound: Bound, admission: Admission, context: Arc<Context>, request_id: &str) -> Answer {
    let mut run = RunContext {
        request_id: request_id.to_owned(),
        ..Default::default()
    };
    run.data.insert(admission);
    run.data.insert(context);
    let outcome = app.engine.run(&bound, run).await;
    Answer::ran(bound, outcome)
}

/// What becomes of one operation of a request.
pub enum Plan {
    Run(Bound),
    Refused(Vec<Failure>),
}

impl Plan {
    /// In root fields; what is refused before any field costs 1.
    pub fn cost(&self) -> u32 {
        match self {
            Plan::Run(bound) => bound.admission().root_fields,
            Plan::Refused(_) => 1,
        }
    }
}

/// Takes the request apart and finds out what may run, before anything does. With it, whether it is a batch.
///
/// # Errors
///
/// What refuses the request as a whole.
async fn plan(app: &App, arrived: &Arrived, body: Body, caller: &Caller) -> Result<(bool, Vec<Plan>)> {
    let parts = &arrived.parts;
    let batch = app.documents.limits().batch;
    let Decoded { requests, batch } = if parts.method == Method::POST && multipart::is_multipart(arrived) {
        // Files are read for those only whose operation may run.
        let may = |decoded: &Decoded| {
            let mut requests = decoded.requests.iter();
            requests.any(|request| prepare(app, &parts.method, request, caller).is_ok())
        };
        multipart::read_operations(arrived, body, caller, batch, may).await?
    } else {
        let body = arrived.read_body(body).await?;
        decode(&parts.method, &parts.headers, parts.uri.query(), &body, batch)?
    };
    let mut plans = Vec::with_capacity(requests.len());
    for request in &requests {
        plans.push(match prepare(app, &parts.method, request, caller) {
            Ok(bound) => Plan::Run(bound),
            Err(Refusal::Whole(error)) => return Err(error),
            Err(Refusal::Operation(failures)) => refused(failures, &arrived.request_id),
        });
    }
    Ok((batch, plans))
}

/// As for an operation of a request, for one that comes by itself, in whatever way may change things.
pub fn plan_one(app: &App, request: &GraphqlRequest, caller: &Caller, request_id: &str) -> Plan {
    match prepare(app, &Method::POST, request, caller) {
        Ok(bound) => Plan::Run(bound),
        Err(Refusal::Whole(error)) => refused(vec![error.into()], request_id),
        Err(Refusal::Operation(failures)) => refused(failures, request_id),
    }
}

fn refused(failures: Vec<Failure>, request_id: &str) -> Plan {
    let report = |failure: Failure| Failure {
        error: reported(failure.error, &failure.path, request_id),
        ..failure
    };
    Plan::Refused(failures.into_iter().map(report).collect())
}

enum Refusal {
    /// The request keeps the error's own status.
    Whole(Error),
    Operation(Vec<Failure>),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Operation(vec![error.into()])
    }
}

fn prepare(app: &App, method: &Method, request: &GraphqlRequest, caller: &Caller) -> Result<Bound, Refusal> {
    let document = app.documents.prepare(&request.query).map_err(Refusal::Operation)?;
    let operation = document.operation(request.operation_name.as_deref())?;
    check_method(method, operation.kind()).map_err(Refusal::Whole)?;
    let bound = match &request.variables {
        Some(variables) => operation.coerce_with_files(variables, &request.files, Spelling::GraphQl)?,
        None => operation.coerce(&serde_json::Map::new(), Spelling::GraphQl)?,
    };
    for requirement in &bound.admission().requirements {
        caller.may(&requirement.rule).map_err(|error| {
            if caller.member().is_some() {
                error.with("field", requirement.field.as_str())
            } else {
                error
            }
        })?;
    }
    Ok(bound)
}

/// The request's idempotency key, where it counts: for a member's one mutation that takes one, or the subscription that
/// does its work.
///
/// # Errors
///
/// `BAD_REQUEST` for a key that is none, or with more than one root field.
fn idempotency_key(headers: &HeaderMap, caller: &Caller, plans: &[Plan]) -> Result<Option<String>> {
    let Some(header) = headers.get(&IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let takes_one = |bound: &Bound| {
        let mut fields = bound.selection().items.iter().map(|item| match &item.node {
            Selection::Field(field) => Some(field.node.name.node.as_str()),
            _ => None,
        });
        match bound.operation().kind() {
            OperationType::Mutation => {
                fields.any(|name| name.is_none_or(|name| !rules::WITHOUT_IDEMPOTENCY.contains(&name)))
            }
            OperationType::Subscription => {
                fields.any(|name| name.is_some_and(|name| rules::SUBSCRIPTIONS_WITH_IDEMPOTENCY.contains(&name)))
            }
            OperationType::Query => false,
        }
    };
    let counts = plans
        .iter()
        .any(|plan| matches!(plan, Plan::Run(bound) if takes_one(bound)));
    if caller.member().is_none() || !counts {
        return Ok(None);
    }
    if plans.iter().map(Plan::cost).sum::<u32>() != 1 {
        return Err(Error::bad_request("", "an idempotency key goes with one root field"));
    }
    read_key(header).map(Some)
}

/// # Errors
///
/// `BAD_REQUEST` for a key that is none.
pub fn read_key(header: &axum::http::HeaderValue) -> Result<String> {
    let text = std::str::from_utf8(header.as_bytes())
        .map_err(|_| Error::bad_request("", "an idempotency key is text in UTF-8"))?;
    idempotency::read_key(text)
}

/// Refuses a request of which nothing ran; that costs 1, and what cannot be paid is `RATE_LIMITED`.
pub async fn refuse_whole(app: &App, format: Format, caller: &Caller, error: Error, request_id: &str) -> Response {
    let charged = app.gate.charge(caller, 1, None).await;
    let error = match charged.admission {
        Ok(_) => reported(error, &[], request_id),
        Err(limited) => limited,
    };
    // A ban is no fault of the request's form: its answer has the status of what did not run.
    let mut response = match error.kind() {
        Kind::Banned => respond(format, false, &[Answer::refused(error)]).map(Body::from),
        _ => refuse(format, &error).map(Body::from),
    };
    tell_budget(&mut response, charged.budget.as_ref());
    response
}
