//! What the server measures, as Prometheus reads it.

use std::net::TcpListener;

use crate::harness::client;

/// Where a server tells it: give [`bind`](Self::bind) to it as `BAMBISLEEP_METRICS_BIND`.
pub struct Metrics {
    pub bind: String,
}

impl Metrics {
    /// At a port that is free now.
    pub fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { bind: free.to_string() }
    }

    /// The value of a metric with its labels, as it is written; none where it was never set.
    pub async fn value(&self, metric: &str) -> Option<f64> {
        let answer = client().get(format!("http://{}/metrics", self.bind)).send().await;
        let text = answer.unwrap().text().await.unwrap();
        let value = |line: &str| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value)
    }
}
