//! The program against bare handlers that do the same work: the ratio of what each answers in a second, both pinned to
//! one core and the load to the other, in interleaved pairs. `scripts/bench` runs it; docs/benchmarks.md explains it.

use std::{
    error::Error,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use child::Server;

mod baseline;
mod child;
mod load;
mod requests;
mod seed;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The core of the load.
const LOAD_CORE: &str = "1";
/// The program that is measured.
const BINARY: &str = env!("CARGO_BIN_EXE_bambisleep-chat");

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    pairs: usize,
    lasts: Duration,
}

const FULL: Effort = Effort {
    pairs: 9,
    lasts: Duration::from_millis(2_500),
};
const QUICK: Effort = Effort {
    pairs: 3,
    lasts: Duration::from_millis(1_000),
};

/// Which server a load goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Program,
    Baseline,
}

type Load = (Side, &'static load::Write);

/// Two loads that are compared, and the least that the first may be of the second.
struct Comparison {
    name: &'static str,
    what: &'static str,
    first: Load,
    second: Load,
    target: f64,
}

const COMPARISONS: &[Comparison] = &[
    Comparison {
        name: "profile-rest",
        what: "`GET /v1/profile/{username}` : two prepared statements",
        first: (Side::Program, &requests::profile_rest),
        second: (Side::Baseline, &requests::profile_bare),
        target: 1.0,
    },
    Comparison {
        name: "profile-graphql",
        what: "`POST /graphql`, the same profile : two prepared statements",
        first: (Side::Program, &requests::profile_graphql),
        second: (Side::Baseline, &requests::profile_bare),
        target: 0.8,
    },
    Comparison {
        name: "rest-graphql",
        what: "`GET /v1/profile/{username}` : `POST /graphql`",
        first: (Side::Program, &requests::profile_rest),
        second: (Side::Program, &requests::profile_graphql),
        target: 1.0,
    },
    Comparison {
        name: "triggers",
        what: "`GET /v1/triggers`, 50 with creators : a join",
        first: (Side::Program, &requests::triggers_rest),
        second: (Side::Baseline, &requests::triggers_bare),
        target: 0.7,
    },
    Comparison {
        name: "create-trigger",
        what: "`POST /v1/triggers`, 32 members at once : one transaction each",
        first: (Side::Program, &requests::create_rest),
        second: (Side::Baseline, &requests::create_bare),
        target: 5.0,
    },
];

/// What is measured of the process itself rather than of its answers.
const PROCESS: &str = "process";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["baseline", database] => runtime().block_on(baseline::serve(Path::new(database))),
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
    let effort = if arguments.contains(&"--quick") { QUICK } else { FULL };
    let profiles = arguments.contains(&"--profile");
    let names: Vec<&str> = arguments
        .iter()
        .copied()
        .filter(|name| !name.starts_with("--"))
        .collect();
    let known = |name: &str| name == PROCESS || COMPARISONS.iter().any(|comparison| comparison.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = COMPARISONS.iter().map(|comparison| comparison.name).collect();
        return Err(format!(
            "no measurement is called {unknown}: there are {}, {PROCESS}",
            all.join(", ")
        )
        .into());
    }
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    let data = Data::prepare().await?;

    if profiles {
        for comparison in COMPARISONS.iter().filter(|comparison| wanted(comparison.name)) {
            profile(&data, comparison).await?;
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
    println!("| measurement | first, 1/s | second, 1/s | median of ratios | from | to | target | |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
    for comparison in COMPARISONS.iter().filter(|comparison| wanted(comparison.name)) {
        println!("{}", compare(&data, comparison, effort).await?);
    }
    if wanted(PROCESS) {
        println!();
        process(&data, effort)?;
    }
    Ok(())
}

/// The two databases: one for each side, the same at the start.
struct Data {
    program: PathBuf,
    baseline: PathBuf,
}

impl Data {
    async fn prepare() -> Result<Data, Box<dyn Error>> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ratios");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let program = folder.join("program");
        fs::create_dir_all(&program)?;
        let migrated = Command::new(BINARY)
            .arg("--data-dir")
            .arg(&program)
            .arg("migrate")
            .status()?;
        if !migrated.success() {
            return Err("the database was not made".into());
        }
        let database = fs::read_dir(&program)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3")))
            .ok_or("the data folder has no database")?;
        seed::fill(&database).await?;
        let baseline = folder.join("baseline.sqlite");
        fs::copy(&database, &baseline)?;
        Ok(Data { program, baseline })
    }

    fn start(&self, side: Side) -> Result<Server, Box<dyn Error>> {
        match side {
            Side::Program => Server::real(Path::new(BINARY), &self.program),
            Side::Baseline => Server::baseline(&self.baseline),
        }
    }
}

/// Measures a comparison; the row of the table.
async fn compare(data: &Data, comparison: &Comparison, effort: Effort) -> Result<String, Box<dyn Error>> {
    let program = data.start(Side::Program)?;
    let baseline = data.start(Side::Baseline)?;
    let address = |side: Side| -> SocketAddr {
        match side {
            Side::Program => program.address,
            Side::Baseline => baseline.address,
        }
    };
    let rate = |load: Load, lasts: Duration| load::run(address(load.0), lasts, load.1);
    let (first, second) = (comparison.first, comparison.second);
    check_alike(address(first.0), first.1, address(second.0), second.1).await?;

    let warm_up = effort.lasts / 4;
    rate(first, warm_up).await?;
    rate(second, warm_up).await?;
    let mut rates = (Vec::new(), Vec::new());
    for _ in 0..effort.pairs {
        rates.0.push(rate(first, effort.lasts).await?);
        rates.1.push(rate(second, effort.lasts).await?);
    }
    let mut ratios: Vec<f64> = rates
        .0
        .iter()
        .zip(&rates.1)
        .map(|(first, second)| first / second)
        .collect();
    let ratio = median(&mut ratios);
    Ok(format!(
        "| {} | {:.0} | {:.0} | {ratio:.2} | {:.2} | {:.2} | {:.2} | {} |",
        comparison.what,
        median(&mut rates.0),
        median(&mut rates.1),
        ratios[0],
        ratios[ratios.len() - 1],
        comparison.target,
        met(ratio >= comparison.target),
    ))
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

/// The texts of an answer that are no ids, in order of their places.
fn collect_names(json: &serde_json::Value, names: &mut Vec<String>) {
    use serde_json::Value;

    match json {
        Value::Object(members) => {
            for (key, value) in members {
                if key != "id" && key != "creator" {
                    collect_names(value, names);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        Value::String(text) => names.push(text.clone()),
        _ => {}
    }
}

/// Sorts; the middle one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn met(target: bool) -> &'static str {
    if target { "met" } else { "**missed**" }
}

/// How soon it is ready, what it takes of memory, and how large its file is.
fn process(data: &Data, effort: Effort) -> Result<(), Box<dyn Error>> {
    let mut ready = Vec::new();
    let mut resident = Vec::new();
    for _ in 0..effort.pairs {
        let server = data.start(Side::Program)?;
        ready.push(server.ready_after.as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(300));
        resident.push(server.resident()?);
    }
    let size = fs::metadata(BINARY)?.len() as f64 / (1024.0 * 1024.0);
    println!("| of the process | median | from | to | target | |");
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
    for (what, values, target) in [
        ("ready after exec, ms", &mut ready, 150.0),
        ("resident after the start, MiB", &mut resident, 40.0),
        ("size of the file, MiB", &mut vec![size], 30.0),
    ] {
        let middle = median(values);
        let (from, to) = (values[0], values[values.len() - 1]);
        println!(
            "| {what} | {middle:.1} | {from:.1} | {to:.1} | {target} | {} |",
            met(middle < target)
        );
    }
    Ok(())
}

/// Records where the first side of a comparison spends its time, with perf.
async fn profile(data: &Data, comparison: &Comparison) -> Result<(), Box<dyn Error>> {
    const LASTS: Duration = Duration::from_secs(6);

    let server = data.start(comparison.first.0)?;
    let record = data.baseline.with_file_name(format!("{}.perf", comparison.name));
    let mut perf = Command::new("perf")
        .args([
            "record",
            "--quiet",
            "-F",
            "999",
            "-g",
            "-p",
            &server.id().to_string(),
            "-o",
        ])
        .arg(&record)
        .args(["--", "sleep", "5"])
        .spawn()?;
    let rate = load::run(server.address, LASTS, comparison.first.1).await?;
    perf.wait()?;
    println!("{}: {rate:.0}/s, {}", comparison.name, record.display());
    Ok(())
}

fn load_average() -> Result<String, Box<dyn Error>> {
    let line = fs::read_to_string("/proc/loadavg")?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}
