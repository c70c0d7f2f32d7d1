//! Requests a second over HTTP: two loads, and the least that the first may be of the second.

use std::{error::Error, net::SocketAddr, time::Duration};

use crate::{
    Effort,
    child::{Budget, perf},
    data::{Data, Side},
    load, requests,
    table::{Pairs, Target},
};

type Load = (Side, &'static load::Write);

pub struct Comparison {
    pub name: &'static str,
    what: &'static str,
    first: Load,
    second: Load,
    least: f64,
}

pub const COMPARISONS: &[Comparison] = &[
    Comparison {
        name: "profile-rest",
        what: "`GET /v1/profile/{username}` : two prepared statements, 1/s",
        first: (Side::Program, &requests::profile_rest),
        second: (Side::Baseline, &requests::profile_bare),
        least: 1.0,
    },
    Comparison {
        name: "profile-graphql",
        what: "`POST /graphql`, the same profile : two prepared statements, 1/s",
        first: (Side::Program, &requests::profile_graphql),
        second: (Side::Baseline, &requests::profile_bare),
        least: 0.8,
    },
    Comparison {
        name: "rest-graphql",
        what: "`GET /v1/profile/{username}` : `POST /graphql`, 1/s",
        first: (Side::Program, &requests::profile_rest),
        second: (Side::Program, &requests::profile_graphql),
        least: 1.0,
    },
    Comparison {
        name: "triggers",
        what: "`GET /v1/triggers`, 50 with creators : a join, 1/s",
        first: (Side::Program, &requests::triggers_rest),
        second: (Side::Baseline, &requests::triggers_bare),
        least: 0.7,
    },
    Comparison {
        name: "create-trigger",
        what: "`POST /v1/triggers`, 32 members at once : one transaction each, 1/s",
        first: (Side::Program, &requests::create_rest),
        second: (Side::Baseline, &requests::create_bare),
        least: 5.0,
    },
    Comparison {
        name: "send-rest",
        what: "`POST /v1/chat/messages`, 32 members at once : one transaction each, 1/s",
        first: (Side::Program, &requests::send_rest),
        second: (Side::Baseline, &requests::send_bare),
        least: 5.0,
    },
    Comparison {
        name: "last-page",
        what: "a room's last 50 messages of 1,000,000 : of 1,000, 1/s",
        first: (Side::Long, &requests::last_page),
        second: (Side::Program, &requests::last_page),
        least: 1.0 / 1.2,
    },
];

impl Comparison {
    /// The row of the table.
    pub async fn measure(&self, data: &mut Data, effort: Effort) -> Result<String, Box<dyn Error>> {
        let (first, second) = (self.first, self.second);
        let one = data.start(first.0, Budget::Vast).await?;
        // Two loads on the same side share its server.
        let other = match first.0 == second.0 {
            true => None,
            false => Some(data.start(second.0, Budget::Vast).await?),
        };
        let addresses = (one.address, other.as_ref().unwrap_or(&one).address);
        check_alike(addresses.0, first.1, addresses.1, second.1).await?;

        let warm_up = effort.lasts / 4;
        load::run(addresses.0, warm_up, first.1).await?;
        load::run(addresses.1, warm_up, second.1).await?;
        let mut pairs = Pairs::default();
        for _ in 0..effort.pairs {
            pairs.push(
                load::run(addresses.0, effort.lasts, first.1).await?,
                load::run(addresses.1, effort.lasts, second.1).await?,
            );
        }
        Ok(pairs.row(self.what, Target::AtLeast(self.least)))
    }

    /// Records where the first side spends its time, with perf.
    pub async fn profile(&self, data: &mut Data, lasts: Duration) -> Result<(), Box<dyn Error>> {
        let server = data.start(self.first.0, Budget::Vast).await?;
        let record = data.record(self.name);
        let mut perf = perf(&server, &record, lasts)?;
        let rate = load::run(server.address, lasts, self.first.1).await?;
        perf.wait()?;
        println!("{}: {rate:.0}/s, {}", self.name, record.display());
        Ok(())
    }
}

/// Refuses to compare what does not give the same names: both sides must do the work.
async fn check_alike(
    first: SocketAddr,
    write_first: &load::Write,
    second: SocketAddr,
    write_second: &load::Write,
) -> Result<(), Box<dyn Error>> {
    let names = async |address, write| -> Result<Vec<String>, Box<dyn Error>> {
        let body = load::once(address, write).await?;
        let mut names = Vec::new();
        collect_names(&serde_json::from_slice(&body)?, &mut names);
        Ok(names)
    };
    let (first, second) = (names(first, write_first).await?, names(second, write_second).await?);
    if first.is_empty() || first != second {
        return Err(format!("the answers differ: {first:?} and {second:?}").into());
    }
    Ok(())
}

/// The texts of an answer that are neither ids nor times, in order of their places.
fn collect_names(json: &serde_json::Value, names: &mut Vec<String>) {
    use serde_json::Value;

    match json {
        Value::Object(members) => {
            for (key, value) in members {
                if !["id", "creator", "timestamp"].contains(&key.as_str()) {
                    collect_names(value, names);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        Value::String(text) => names.push(text.clone()),
        _ => {}
    }
}
