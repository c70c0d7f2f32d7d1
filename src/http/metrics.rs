//! Prometheus metrics, on a listener of their own.

use std::net::SocketAddr;

use axum::{Router, http::header, routing::get};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    ai::provider::{CALLS, FIRST_TOKEN},
    boot::Failed,
    gate::STATEMENTS,
    webhooks::worker::{ATTEMPTS, QUEUE_AGE},
};

/// How many HTTP requests were answered, by `surface` (`graphql`, `rest`, `other`) and `status`.
pub const REQUESTS: &str = "bambisleep_http_requests_total";
/// How long they took, in seconds, by `surface`.
pub const DURATION: &str = "bambisleep_http_request_seconds";

/// Starts to record and to answer `GET /metrics`, until the server ends.
///
/// # Errors
///
/// An address that cannot be listened on.
pub async fn listen(bind: SocketAddr, draining: CancellationToken) -> Result<(), Failed> {
    let handle = PrometheusBuilder::new().install_recorder()?;
    metrics::describe_counter!(REQUESTS, "HTTP requests answered");
    metrics::describe_histogram!(DURATION, metrics::Unit::Seconds, "time to answer an HTTP request");
    metrics::describe_counter!(
        STATEMENTS,
        "SQL statements run for requests and by the node itself, transactions' own left out"
    );
    metrics::describe_counter!(ATTEMPTS, "attempts to deliver to webhooks");
    metrics::describe_gauge!(
        QUEUE_AGE,
        metrics::Unit::Seconds,
        "for how long the oldest delivery to a webhook that is due has been so"
    );
    metrics::describe_counter!(CALLS, "calls of language models");
    metrics::describe_histogram!(
        FIRST_TOKEN,
        metrics::Unit::Seconds,
        "time from asking a language model to the first text of its answer"
    );
    let listener = TcpListener::bind(bind)
        .await
        .map_err(|why| format!("cannot listen on {bind}: {why}"))?;
    tracing::info!("metrics on http://{}/metrics", listener.local_addr()?);
    let router = Router::new().route(
        "/metrics",
        get(move || {
            let text = handle.render();
            async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
        }),
    );
    tokio::spawn(
        axum::serve(listener, router)
            .with_graceful_shutdown(draining.cancelled_owned())
            .into_future(),
    );
    Ok(())
}
