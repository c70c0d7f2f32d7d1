//! `/v1`: the routes of `rest/v1.graphql`, through the same gate as GraphQL.

use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    response::{IntoResponse, Response},
};

use super::{
    Arrived, IDEMPOTENCY_KEY, change_cookie, discard, graphql::read_key, graphql_stream::subscribe_rest, multipart,
    refuse, tell_budget,
};
use crate::{
    boot::{App, Prepared},
    error::{Error, Kind, Result},
    gate::{Admission, Identified, callers::Caller, rules},
    graphql::{
        context::Request as Context,
        document::{Bound, Requirement},
        execute::{Outcome, RunContext},
        failure::reported,
        http::{Format, negotiate},
        live::Dialect,
    },
    rest::{answer::Asked, route::Route},
};

/// The description of it all. Free, for everyone.
pub async fn openapi(State(app): State<Arc<App>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, app.openapi.clone()).into_response()
}

pub async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let (arrived, body) = Arrived::new(&app, request);
    match arrived.identify(&app).await {
        Ok(identified) => answer(&app, &arrived, body, identified).await,
        // Who shows wrong credentials is charged like anyone from that address.
        Err(error) => refuse_whole(&app, &Caller::Anonymous(arrived.address), error, &arrived.request_id).await,
    }
}

/// An operation that a request is about, with what the path says.
struct Asks<'a> {
    prepared: &'a Prepared,
    path: Vec<String>,
}

async fn answer(app: &App, arrived: &Arrived, body: Body, identified: Identified) -> Response {
    let Identified { caller, renew } = identified;
    let (asks, bound, key) = match plan(app, arrived, body, &caller).await {
        Ok(planned) => planned,
        Err(error) => return refuse_whole(app, &caller, error, &arrived.request_id).await,
    };
    let charged = app.gate.charge(&caller, bound.admission().root_fields, key).await;
    let context = Arc::new(Context::new(arrived.origin()));
    let answered = match charged.admission {
        Ok(admission) if bound.is_subscription() => {
            let dialect = events_of(app, asks.prepared.index);
            subscribe_rest(app, arrived, bound, admission, dialect)
                .await
                .map_err(|error| reported(error, &[], &arrived.request_id))
        }
        Ok(admission) => run(app, arrived, &asks, &bound, admission, &context).await,
        Err(error) => Err(error),
    };
    let mut response = answered.unwrap_or_else(|error| refuse(&error));
    tell_budget(&mut response, charged.budget.as_ref());
    change_cookie(&mut response, app, context.take_cookie(), renew);
    response
}

async fn run(
    app: &App,
    arrived: &Arrived,
    asks: &Asks<'_>,
    bound: &Bound,
    admission: Admission,
    context: &Arc<Context>,
) -> Result<Response> {
    let mut run = RunContext {
        request_id: arrived.request_id.clone(),
        ..Default::default()
    };
    run.data.insert(admission);
    run.data.insert(context.clone());
    let outcome = app.engine.run(bound, run).await;
    let asked = Asked {
        public_url: app.sites.public(),
        path: &asks.path,
        query: arrived.parts.uri.query(),
    };
    let operation = &app.rest.operations()[asks.prepared.index];
    let answer = operation.answer(&outcome.data, &outcome.errors, &asked)?;
    let mut response = Body::from(answer.body).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for link in answer.links {
        if let Ok(link) = HeaderValue::try_from(link) {
            headers.append(header::LINK, link);
        }
    }
    Ok(response)
}

/// How the events of a stream are written: each as its operation answers.
fn events_of(app: &App, index: usize) -> Dialect {
    let rest = app.rest.clone();
    let name = rest.operations()[index].name.to_string();
    let write = move |_: &Bound, outcome: Outcome| {
        let asked = Asked {
            public_url: "",
            path: &[],
            query: None,
        };
        let answer = rest.operations()[index].answer(&outcome.data, &outcome.errors, &asked);
        answer.map_or_else(|error| error.rest_body().to_string().into_bytes(), |answer| answer.body)
    };
    Dialect {
        name,
        write: Arc::new(write),
    }
}

/// Finds the operation, whether the caller may, and its variables, in this order: who may not learns nothing else.
async fn plan<'a>(
    app: &'a App,
    arrived: &Arrived,
    body: Body,
    caller: &Caller,
) -> Result<(Asks<'a>, Bound, Option<String>)> {
    let path = arrived.parts.uri.path();
    let below = path.strip_prefix("/v1").unwrap_or(path);
    // Whether what answers, or streams, makes a change that an idempotency key is good for.
    let changes;
    let asks = match app.rest.route(&arrived.parts.method, below) {
        Route::Found(operation, path) => {
            changes = operation.kind == OperationType::Mutation
                && !rules::WITHOUT_IDEMPOTENCY.contains(&operation.field.as_str());
            let stream = app
                .rest
                .stream_of(operation)
                .filter(|_| negotiate(&arrived.parts.headers) == Format::EventStream);
            Asks {
                prepared: &app.routes[stream.unwrap_or(operation).index],
                path,
            }
        }
        Route::MethodNotAllowed(methods) => {
            let allow: Vec<&str> = methods.iter().map(Method::as_str).collect();
            let error = Error::new(Kind::MethodNotAllowed, "this address does not take the method");
            return Err(error.with("allow", allow.join(", ")));
        }
        Route::NotFound => return Err(Error::new(Kind::NotFound, "no such address")),
    };
    if let Err(error) = check(caller, &asks.prepared.requirements) {
        discard(body).await;
        return Err(error);
    }
    let operation = &app.rest.operations()[asks.prepared.index];
    let body = match operation.file() {
        Some(file) => multipart::read_file(arrived, body, file.name()).await?,
        None => arrived.read_body(body).await?,
    };
    let content_type = arrived.header(&header::CONTENT_TYPE);
    let variables = operation.variables(
        &app.types,
        &asks.path,
        arrived.parts.uri.query(),
        Some(&body),
        content_type,
    )?;
    let bound = asks.prepared.operation.bind(variables)?;
    // Variables may have brought in what the operation has under @include.
    check(caller, &bound.admission().requirements)?;
    let key = match arrived.parts.headers.get(&IDEMPOTENCY_KEY) {
        Some(header) if changes && caller.member().is_some() => Some(read_key(header)?),
        _ => None,
    };
    Ok((asks, bound, key))
}

/// # Errors
///
/// What [`Caller::may`] refuses.
fn check(caller: &Caller, requirements: &[Requirement]) -> Result<()> {
    requirements
        .iter()
        .try_for_each(|requirement| caller.may(&requirement.rule))
}

/// Refuses a request of which nothing ran; that costs 1, and what cannot be paid is `RATE_LIMITED`.
async fn refuse_whole(app: &App, caller: &Caller, error: Error, request_id: &str) -> Response {
    let charged = app.gate.charge(caller, 1, None).await;
    let error = match charged.admission {
        Ok(_) => reported(error, &[], request_id),
        Err(limited) => limited,
    };
    let mut response = refuse(&error);
    tell_budget(&mut response, charged.budget.as_ref());
    response
}
