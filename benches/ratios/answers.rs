//! Answers that stream: how soon their pieces come through the program, how many a second, and what a running one takes
//! of memory, against reading the model's server directly.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    Effort,
    child::{Server, perf},
    data::Data,
    listener::{Listener, Way},
    process::{SETTLED, print_row},
    table::{Pairs, Target},
    upstream::{self, Plan},
};

/// How soon the first piece, and every piece, comes.
pub const FIRST_TOKEN: &str = "stream-first-token";
/// Pieces a second, as fast as they are taken.
pub const TOKENS: &str = "stream-tokens";
/// What a running stream takes of memory.
pub const MEMORY: &str = "stream-memory";

const STREAMS: usize = 50;
/// How much later the first piece may come than directly, in ms: "within a few".
const MOST_ADDED: f64 = 5.0;
/// What a running stream may take, in KiB.
const MOST_TAKEN: f64 = 100.0;

/// As a model speaks: 40 pieces a second. `before` differs, so that they do not go in step.
fn spoken(nth: usize, answers: u64) -> Plan {
    let bits = (answers << 8 | nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Plan {
        pieces: 20,
        before: Duration::from_millis(50 + (bits >> 40) % 400),
        every: Duration::from_millis(25),
    }
}

fn fast(_: usize, _: u64) -> Plan {
    Plan {
        pieces: 200,
        before: Duration::ZERO,
        every: Duration::ZERO,
    }
}

/// One piece, and then nothing for longer than anyone looks.
const HELD: Plan = Plan {
    pieces: 2,
    before: Duration::ZERO,
    every: Duration::from_secs(60),
};

/// What came to all listeners.
#[derive(Default)]
struct Heard {
    /// Of each first piece, how long after its write it came, in ms. Sorted.
    first: Vec<f64>,
    /// Of each piece. Sorted.
    each: Vec<f64>,
    /// Pieces a second.
    rate: f64,
}

/// The program and the model's server that it asks.
struct Stage {
    upstream: SocketAddr,
    program: Server,
}

impl Stage {
    async fn new(data: &mut Data) -> Result<Stage, Box<dyn Error>> {
        let upstream = upstream::start().await?;
        let program = data.start_asking(upstream)?;
        Ok(Stage { upstream, program })
    }

    /// Fifty listeners ask one answer after another, for as long as `lasts`.
    async fn hear(&self, way: Way, lasts: Duration, plan: fn(usize, u64) -> Plan) -> io::Result<Heard> {
        let address = self.address(way);
        let start = Instant::now();
        let mut listeners = JoinSet::new();
        for nth in 0..STREAMS {
            listeners.spawn(async move {
                let mut listener = Listener::open(way, address, nth).await?;
                let (mut first, mut each) = (Vec::new(), Vec::new());
                while start.elapsed() < lasts {
                    let plan = plan(nth, first.len() as u64);
                    let hear = |place, delay: Duration| {
                        let delay = delay.as_secs_f64() * 1e3;
                        if place == 0 {
                            first.push(delay);
                        }
                        each.push(delay);
                    };
                    listener.ask(plan, hear).await?;
                }
                io::Result::Ok((first, each))
            });
        }
        let mut heard = Heard::default();
        while let Some(listener) = listeners.join_next().await {
            let (first, each) = listener.map_err(io::Error::other)??;
            heard.first.extend(first);
            heard.each.extend(each);
        }
        heard.rate = heard.each.len() as f64 / start.elapsed().as_secs_f64();
        heard.first.sort_unstable_by(f64::total_cmp);
        heard.each.sort_unstable_by(f64::total_cmp);
        Ok(heard)
    }

    fn address(&self, way: Way) -> SocketAddr {
        match way {
            Way::Direct => self.upstream,
            Way::Rest | Way::Graphql => self.program.address,
        }
    }
}

/// The rows of the table, and prints those of what the program adds once it is over.
pub async fn first_token(data: &mut Data, effort: Effort) -> Result<(Vec<String>, Vec<Added>), Box<dyn Error>> {
    let stage = Stage::new(data).await?;
    let (mut rows, mut added) = (Vec::new(), Vec::new());
    for way in [Way::Rest, Way::Graphql] {
        for way in [way, Way::Direct] {
            stage.hear(way, effort.lasts / 4, spoken).await?;
        }
        let [mut middle, mut slow, mut middle_each, mut slow_each] = std::array::from_fn(|_| Pairs::default());
        let mut adds = [const { Vec::new() }; 2];
        for _ in 0..effort.pairs {
            let one = stage.hear(way, effort.lasts * 2, spoken).await?;
            let other = stage.hear(Way::Direct, effort.lasts * 2, spoken).await?;
            for (adds, share) in adds.iter_mut().zip([0.5, 0.99]) {
                adds.push(quantile(&one.first, share) - quantile(&other.first, share));
            }
            middle.push(quantile(&one.first, 0.5), quantile(&other.first, 0.5));
            slow.push(quantile(&one.first, 0.99), quantile(&other.first, 0.99));
            middle_each.push(quantile(&one.each, 0.5), quantile(&other.each, 0.5));
            slow_each.push(quantile(&one.each, 0.99), quantile(&other.each, 0.99));
        }
        let against = format!("{} : {}", way.name(), Way::Direct.name());
        rows.extend([
            middle.row(&format!("{against}, first piece, p50, ms"), Target::Open),
            slow.row(&format!("{against}, first piece, p99, ms"), Target::Open),
            middle_each.row(&format!("{against}, every piece, p50, ms"), Target::Open),
            slow_each.row(&format!("{against}, every piece, p99, ms"), Target::Open),
        ]);
        let [middle, slow] = adds;
        added.extend([
            Added {
                what: format!("what {} adds to the first piece, p50, ms", way.name()),
                values: middle,
                most: Some(MOST_ADDED),
            },
            Added {
                what: format!("what {} adds to the first piece, p99, ms", way.name()),
                values: slow,
                most: None,
            },
        ]);
    }
    Ok((rows, added))
}

/// What the program adds to a delay.
pub struct Added {
    what: String,
    values: Vec<f64>,
    most: Option<f64>,
}

impl Added {
    pub fn print(mut self) {
        print_row(&self.what, &mut self.values, self.most);
    }
}

/// The rows of the table.
pub async fn tokens(data: &mut Data, effort: Effort) -> Result<Vec<String>, Box<dyn Error>> {
    let stage = Stage::new(data).await?;
    let mut rows = Vec::new();
    for way in [Way::Rest, Way::Graphql] {
        for way in [way, Way::Direct] {
            stage.hear(way, effort.lasts / 4, fast).await?;
        }
        let mut pairs = Pairs::default();
        for _ in 0..effort.pairs {
            pairs.push(
                stage.hear(way, effort.lasts, fast).await?.rate,
                stage.hear(Way::Direct, effort.lasts, fast).await?.rate,
            );
        }
        let against = format!("{} : {}, pieces 1/s", way.name(), Way::Direct.name());
        rows.push(pairs.row(&against, Target::Open));
    }
    Ok(rows)
}

/// What each of as many streams adds, all of which have heard their first piece and wait for the next.
pub async fn memory(data: &mut Data, effort: Effort) -> Result<(), Box<dyn Error>> {
    for streams in [STREAMS, 4 * STREAMS] {
        let mut each = Vec::new();
        for _ in 0..effort.pairs.min(3) {
            let stage = Stage::new(data).await?;
            let address = stage.address(Way::Rest);
            let quick = Plan {
                every: Duration::ZERO,
                ..HELD
            };
            let mut one = Listener::open(Way::Rest, address, 0).await?;
            one.ask(quick, |_, _| {}).await?;
            tokio::time::sleep(SETTLED).await;
            let without = stage.program.resident()?;

            let (heard, mut hears) = mpsc::channel(streams);
            let mut listeners = JoinSet::new();
            for nth in 0..streams {
                let heard = heard.clone();
                listeners.spawn(async move {
                    let mut listener = Listener::open(Way::Rest, address, nth).await?;
                    let hear = |_, _| heard.try_send(()).expect("there is room for each one");
                    listener.ask(HELD, hear).await
                });
            }
            for _ in 0..streams {
                tokio::select! {
                    Some(()) = hears.recv() => {}
                    Some(ended) = listeners.join_next() => {
                        ended??;
                        return Err("an answer that is held has ended".into());
                    }
                }
            }
            tokio::time::sleep(SETTLED).await;
            each.push((stage.program.resident()? - without) / streams as f64 / 1024.0);
        }
        print_row(
            &format!("a running stream, {streams} at once, KiB"),
            &mut each,
            Some(MOST_TAKEN),
        );
    }
    Ok(())
}

/// Records where the program spends its time as pieces come as fast as it takes them, with perf.
pub async fn profile(data: &mut Data, lasts: Duration) -> Result<(), Box<dyn Error>> {
    let stage = Stage::new(data).await?;
    let record = data.record(TOKENS);
    let mut perf = perf(&stage.program, &record, lasts)?;
    let rate = stage.hear(Way::Rest, lasts, fast).await?.rate;
    perf.wait()?;
    println!("{TOKENS}: {rate:.0}/s, {}", record.display());
    Ok(())
}

/// The nearest rank.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}
