//! The program against bare handlers that do the same work: the ratio of what each answers and delivers, both pinned to
//! one core and the load to the other, in interleaved pairs. `scripts/bench` runs it; docs/benchmarks.md explains it.

use std::{
    error::Error,
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use compare::COMPARISONS;
use data::Data;
use fanout::FANOUTS;

mod answers;
mod baseline;
mod child;
mod compare;
mod crowd;
mod data;
mod fanout;
mod listener;
mod load;
mod process;
mod receiver;
mod requests;
mod seed;
mod senders;
mod socket;
mod table;
mod upstream;
mod webhooks;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The core of the load.
const LOAD_CORE: &str = "1";

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    pairs: usize,
    lasts: Duration,
    /// How many messages webhooks are told of.
    told: usize,
}

const FULL: Effort = Effort {
    pairs: 9,
    lasts: Duration::from_millis(2_500),
    told: 10_000,
};
const QUICK: Effort = Effort {
    pairs: 3,
    lasts: Duration::from_millis(1_000),
    told: 1_000,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["baseline", database] => runtime().block_on(baseline::serve(Path::new(database))),
        ["post", loops, messages, length, urls @ ..] => post(loops, messages, length, urls),
        ["measure", rest @ ..] => runtime().block_on(measure(rest)),
        rest => measure_pinned(rest),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Becomes bare loops of deliveries.
fn post(loops: &str, messages: &str, length: &str, urls: &[&str]) -> Result<(), Box<dyn Error>> {
    let (loops, messages, length) = (loops.parse()?, messages.parse()?, length.parse()?);
    runtime().block_on(baseline::poster::post(loops, messages, length, urls))
}

/// As the program's: a worker for each core that it may use.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a process may start threads")
}

/// Becomes the load, on its core.
fn measure_pinned(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let status = Command::new("taskset")
        .args(["-c", LOAD_CORE])
        .arg(std::env::current_exe()?)
        .arg("measure")
        .args(arguments)
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err("the measurement did not finish".into()),
    }
}

async fn measure(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    /// How long a profile looks.
    const PROFILED: Duration = Duration::from_secs(6);

    let effort = if arguments.contains(&"--quick") { QUICK } else { FULL };
    let names: Vec<&str> = arguments
        .iter()
        .copied()
        .filter(|name| !name.starts_with("--"))
        .collect();
    let known = names_of_all();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        let known = known.join(", ");
        return Err(format!("no measurement is called {unknown}: there are {known}").into());
    }
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    let comparisons = COMPARISONS.iter().filter(|comparison| wanted(comparison.name));
    let fanouts = FANOUTS.iter().filter(|fanout| wanted(fanout.name));
    let mut data = Data::prepare().await?;

    if arguments.contains(&"--profile") {
        for comparison in comparisons {
            comparison.profile(&mut data, PROFILED).await?;
        }
        for fanout in fanouts {
            fanout.profile(&mut data, PROFILED).await?;
        }
        if wanted(answers::TOKENS) {
            answers::profile(&mut data, PROFILED).await?;
        }
        if wanted(webhooks::DELIVERIES) {
            webhooks::profile(&mut data, PROFILED).await?;
        }
        return Ok(());
    }
    let seconds = effort.lasts.as_secs_f64();
    println!(
        "{} pairs of {seconds} s each, load average {}",
        effort.pairs,
        load_average()?
    );
    println!();
    let of_the_process = |name: &&str| [process::START, process::IDLE, answers::MEMORY].contains(name);
    if !names.iter().all(of_the_process) || names.is_empty() {
        table::print_head();
    }
    for comparison in comparisons {
        println!("{}", comparison.measure(&mut data, effort).await?);
    }
    if wanted(senders::NAME) {
        println!("{}", senders::measure(&mut data, effort).await?);
    }
    for fanout in fanouts {
        for row in fanout.measure(&mut data, effort).await? {
            println!("{row}");
        }
    }
    if wanted(webhooks::DELIVERIES) {
        for row in webhooks::deliveries(&mut data, effort).await? {
            println!("{row}");
        }
    }
    if wanted(webhooks::CHAT) {
        for row in webhooks::chat(&mut data, effort).await? {
            println!("{row}");
        }
    }
    let mut added = Vec::new();
    if wanted(answers::FIRST_TOKEN) {
        let rows;
        (rows, added) = answers::first_token(&mut data, effort).await?;
        rows.iter().for_each(|row| println!("{row}"));
    }
    if wanted(answers::TOKENS) {
        for row in answers::tokens(&mut data, effort).await? {
            println!("{row}");
        }
    }
    let memory = wanted(answers::MEMORY);
    if memory || !added.is_empty() {
        println!();
        process::print_head("of streams");
    }
    added.into_iter().for_each(answers::Added::print);
    if memory {
        answers::memory(&mut data, effort).await?;
    }
    let (start, idle) = (wanted(process::START), wanted(process::IDLE));
    if start || idle {
        println!();
        process::print_head("of the process");
    }
    if start {
        process::start(&mut data, effort).await?;
    }
    if idle {
        process::idle(&mut data, effort).await?;
    }
    Ok(())
}

fn names_of_all() -> Vec<&'static str> {
    let comparisons = COMPARISONS.iter().map(|comparison| comparison.name);
    let fanouts = FANOUTS.iter().map(|fanout| fanout.name);
    comparisons
        .chain([senders::NAME])
        .chain(fanouts)
        .chain([webhooks::DELIVERIES, webhooks::CHAT])
        .chain([answers::FIRST_TOKEN, answers::TOKENS, answers::MEMORY])
        .chain([process::START, process::IDLE])
        .collect()
}

fn load_average() -> Result<String, Box<dyn Error>> {
    let line = fs::read_to_string("/proc/loadavg")?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}
