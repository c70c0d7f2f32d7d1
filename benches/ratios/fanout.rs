//! What one says reaches a thousand: how soon where there is time, and how many deliveries a second in a burst.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    Effort,
    child::{Budget, Server, perf},
    crowd::{self, Crowd},
    data::{Data, Side},
    seed,
    socket::Entrance,
    table::{Pairs, Target},
};

pub const LISTENERS: usize = 1_000;
/// Messages a second where there is time.
pub const PACE: u32 = 20;
/// Messages in a burst.
const BURST: usize = 200;
/// The members whom the sockets belong to.
const MEMBERS: usize = 10;
/// Different documents for the same thing.
const DOCUMENTS: usize = 10;

/// Who listens, and to which server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Sockets of the bare handler.
    Bare,
    /// Sockets on `/ws/chat`.
    Sockets,
    /// Subscribers of one document.
    Subscriptions,
    /// Subscribers of ten documents, as many of each.
    Documents,
}

impl Audience {
    pub fn name(self) -> &'static str {
        match self {
            Audience::Bare => "a bare loop",
            Audience::Sockets => "`/ws/chat`",
            Audience::Subscriptions => "`messageAdded`",
            Audience::Documents => "`messageAdded` in ten documents",
        }
    }

    /// A server and the speaker on it; a bare one's messages have `length` bytes.
    pub async fn start(self, data: &mut Data, length: Option<usize>) -> Result<(Server, Crowd), Box<dyn Error>> {
        let side = match self {
            Audience::Bare => Side::Baseline,
            _ => Side::Program,
        };
        // Without a limit, because it brings one of frames a second along.
        let server = data.start(side, Budget::Off).await?;
        let crowd = self.crowd(server.address, length)?;
        Ok((server, crowd))
    }

    /// The speaker on a server that runs; a bare one's messages have `length` bytes.
    pub fn crowd(self, address: SocketAddr, length: Option<usize>) -> io::Result<Crowd> {
        let speaker = match self {
            Audience::Bare => self.entrance(0),
            _ => Audience::Sockets.entrance(0),
        };
        let speak: crowd::Speak = match self {
            Audience::Bare => Box::new(move |place| bare_message(place, length.unwrap_or_default())),
            _ => Box::new(|place| format!(r#"{{"type":"message","content":"{}"}}"#, crowd::content(place))),
        };
        Crowd::new(address, &speaker, speak)
    }

    /// How the `nth` listener comes in.
    pub fn entrance(self, nth: usize) -> Entrance {
        let token = seed::token(nth % MEMBERS);
        let document = match self {
            Audience::Bare => {
                return Entrance {
                    path: "/fanout",
                    protocol: None,
                    token: None,
                    texts: Vec::new(),
                };
            }
            Audience::Sockets => {
                return Entrance {
                    path: "/ws/chat",
                    protocol: None,
                    token: Some(token),
                    texts: Vec::new(),
                };
            }
            Audience::Subscriptions => 0,
            Audience::Documents => nth % DOCUMENTS,
        };
        Entrance {
            path: "/graphql",
            protocol: Some("graphql-transport-ws"),
            token: None,
            texts: vec![
                format!(r#"{{"type":"connection_init","payload":{{"token":"{token}"}}}}"#),
                format!(
                    r#"{{"id":"{nth}","type":"subscribe","payload":{{"query":"subscription {{ m{document}: messageAdded(room: \"lobby\") {{ id number content timestamp author {{ username }} }} }}"}}}}"#
                ),
            ],
        }
    }
}

/// What the bare handler sends on as it is: as long as what the program makes of a message.
fn bare_message(place: u64, length: usize) -> String {
    let content = crowd::content(place);
    let frame = r#"{"type":"message","content":""#;
    let pad = length.saturating_sub(frame.len() + content.len() + 2);
    format!("{frame}{content}{}\"}}", " ".repeat(pad))
}

pub struct Fanout {
    pub name: &'static str,
    first: Audience,
    second: Audience,
    /// How much longer the first may take.
    delay: Target,
    /// How many more it must deliver.
    rate: Target,
}

pub const FANOUTS: &[Fanout] = &[
    Fanout {
        name: "fanout",
        first: Audience::Sockets,
        second: Audience::Bare,
        delay: Target::AtMost(1.2),
        rate: Target::AtLeast(3.0),
    },
    Fanout {
        name: "fanout-graphql",
        first: Audience::Subscriptions,
        second: Audience::Sockets,
        delay: Target::AtMost(1.0 / 0.85),
        rate: Target::AtLeast(0.85),
    },
    Fanout {
        name: "fanout-documents",
        first: Audience::Documents,
        second: Audience::Subscriptions,
        delay: Target::AtMost(1.0 / 0.9),
        rate: Target::AtLeast(0.9),
    },
];

impl Fanout {
    /// The rows of the table.
    pub async fn measure(&self, data: &mut Data, effort: Effort) -> Result<Vec<String>, Box<dyn Error>> {
        let (_one, mut first) = self.first.start(data, None).await?;
        let (_other, mut second) = self.second.start(data, Some(first.length())).await?;
        first.gather((0..LISTENERS).map(|nth| self.first.entrance(nth)))?;
        second.gather((0..LISTENERS).map(|nth| self.second.entrance(nth)))?;

        for crowd in [&mut first, &mut second] {
            crowd.paced(PACE, effort.lasts / 4)?;
            crowd.burst(BURST)?;
        }
        let [mut middle, mut slow, mut last, mut rate] = std::array::from_fn(|_| Pairs::default());
        for _ in 0..effort.pairs {
            let (one, other) = (
                first.paced(PACE, effort.lasts * 2)?,
                second.paced(PACE, effort.lasts * 2)?,
            );
            middle.push(millis(one.quantile(0.5)), millis(other.quantile(0.5)));
            slow.push(millis(one.quantile(0.99)), millis(other.quantile(0.99)));
            let (one, other) = (
                first.paced(PACE / 2, effort.lasts * 4)?,
                second.paced(PACE / 2, effort.lasts * 4)?,
            );
            last.push(millis(one.last_quantile(0.99)), millis(other.last_quantile(0.99)));
            rate.push(first.burst(BURST)?, second.burst(BURST)?);
        }
        let against = format!("{} : {}", self.first.name(), self.second.name());
        Ok(vec![
            middle.row(&format!("{against}, {PACE} messages a second, p50, ms"), self.delay),
            slow.row(&format!("{against}, {PACE} messages a second, p99, ms"), self.delay),
            last.row(
                &format!("{against}, {} a second, p99 to the last one, ms", PACE / 2),
                Target::Open,
            ),
            rate.row(&format!("{against}, {BURST} at once, deliveries 1/s"), self.rate),
        ])
    }

    /// Records where the first side spends its time in bursts, with perf.
    pub async fn profile(&self, data: &mut Data, lasts: Duration) -> Result<(), Box<dyn Error>> {
        let (server, mut crowd) = self.first.start(data, None).await?;
        crowd.gather((0..LISTENERS).map(|nth| self.first.entrance(nth)))?;
        let record = data.record(self.name);
        let mut perf = perf(&server, &record, lasts)?;
        let start = Instant::now();
        let mut rates = Vec::new();
        while start.elapsed() < lasts {
            rates.push(crowd.burst(BURST)?);
        }
        perf.wait()?;
        let rate = crate::table::median(&mut rates);
        println!("{}: {rate:.0}/s, {}", self.name, record.display());
        Ok(())
    }
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
