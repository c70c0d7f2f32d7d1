//! What is measured of the process itself rather than of its answers.

use std::{error::Error, fs, time::Duration};

use crate::{
    Effort,
    child::Budget,
    data::{BINARY, Data, Side},
    fanout::Audience,
    table::{median, met},
};

/// How soon the program is ready, what it takes of memory, and how large its file is.
pub const START: &str = "process";
/// What an idle socket takes of memory.
pub const IDLE: &str = "idle";

const SOCKETS: usize = 5_000;
/// After this no allocator gives anything back any more.
pub const SETTLED: Duration = Duration::from_secs(3);

pub async fn start(data: &mut Data, effort: Effort) -> Result<(), Box<dyn Error>> {
    let mut ready = Vec::new();
    let mut resident = Vec::new();
    for _ in 0..effort.pairs {
        let server = data.start(Side::Program, Budget::Vast).await?;
        ready.push(server.ready_after.as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(300));
        resident.push(server.resident()? / (1024.0 * 1024.0));
    }
    let size = fs::metadata(BINARY)?.len() as f64 / (1024.0 * 1024.0);
    print_row("ready after exec, ms", &mut ready, Some(150.0));
    print_row("resident after the start, MiB", &mut resident, Some(40.0));
    print_row("size of the file, MiB", &mut [size], Some(30.0));
    Ok(())
}

/// What each of 5,000 sockets adds, all of which have heard one message.
pub async fn idle(data: &mut Data, effort: Effort) -> Result<(), Box<dyn Error>> {
    for (audience, most) in [
        (Audience::Sockets, Some(8.0)),
        (Audience::Subscriptions, Some(12.0)),
        (Audience::Bare, None),
    ] {
        let mut each = Vec::new();
        for _ in 0..effort.pairs.min(3) {
            let (server, mut crowd) = audience.start(data, None).await?;
            std::thread::sleep(SETTLED);
            let without = server.resident()?;
            crowd.gather((0..SOCKETS).map(|nth| audience.entrance(nth)))?;
            std::thread::sleep(SETTLED);
            each.push((server.resident()? - without) / SOCKETS as f64 / 1e3);
        }
        print_row(&format!("an idle socket, {}, kB", audience.name()), &mut each, most);
    }
    Ok(())
}

pub fn print_head(of: &str) {
    println!("| {of} | median | from | to | target | |");
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
}

pub fn print_row(what: &str, values: &mut [f64], most: Option<f64>) {
    let middle = median(values);
    let (from, to) = (values[0], values[values.len() - 1]);
    let target = most.map_or("| ".to_owned(), |most| format!("≤ {most} | {}", met(middle <= most)));
    println!("| {what} | {middle:.1} | {from:.1} | {to:.1} | {target} |");
}
