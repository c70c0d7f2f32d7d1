//! Webhooks: how many deliveries a second, against a bare loop that posts the same to the same receiver, and what they
//! cost those who chat meanwhile.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    Effort,
    child::{Budget, Server, perf, pinned},
    crowd::Crowd,
    data::{BINARY, Data},
    fanout::{Audience, LISTENERS, PACE, millis},
    receiver::{Receiver, WEBHOOKS},
    table::{Pairs, Target},
};

/// Deliveries a second.
pub const DELIVERIES: &str = "webhook-deliveries";
/// What chat is like meanwhile.
pub const CHAT: &str = "webhook-chat";

/// Messages that webhooks are told of while others chat: more than are delivered before the measurement ends.
const BACKLOG: usize = 30_000;
const MOST_DELAYED: Target = Target::AtMost(1.3);

/// The rows of the table.
pub async fn deliveries(data: &mut Data, effort: Effort) -> Result<Vec<String>, Box<dyn Error>> {
    let messages = effort.told;
    let [mut to_one, mut to_many] = std::array::from_fn(|_| Pairs::default());
    for _ in 0..effort.pairs {
        let mut receiver = Receiver::new()?;
        let folder = data.tell(receiver.addresses(), messages).await?;
        let start = Instant::now();
        let server = Server::real(Path::new(BINARY), &folder, Budget::Off)?;
        receiver.receive(messages as u64)?;
        let delivered = rate(messages, start);
        drop(server);
        say_doubled(&receiver);

        let length = receiver.body_length();
        to_one.push(delivered, posted(1, messages, length)?);
        to_many.push(delivered, posted(WEBHOOKS, messages, length)?);
    }
    let what = format!("{messages} events to {WEBHOOKS} webhooks");
    Ok(vec![
        to_one.row(&format!("{what} : a bare loop, deliveries 1/s"), Target::AtLeast(0.5)),
        to_many.row(
            &format!("{what} : {WEBHOOKS} bare loops at once, deliveries 1/s"),
            Target::Open,
        ),
    ])
}

/// Posts a second of so many bare loops at once.
fn posted(loops: usize, messages: usize, length: u64) -> Result<f64, Box<dyn Error>> {
    let mut receiver = Receiver::new()?;
    let start = Instant::now();
    let mut poster = post(loops, messages, length, receiver.addresses())?;
    receiver.receive(messages as u64)?;
    let posted = rate(messages, start);
    if !poster.wait()?.success() {
        return Err("the bare loop has failed".into());
    }
    Ok(posted)
}

fn rate(messages: usize, start: Instant) -> f64 {
    (messages * WEBHOOKS) as f64 / start.elapsed().as_secs_f64()
}

/// Starts bare loops, on the servers' core.
fn post(loops: usize, messages: usize, length: u64, addresses: &[SocketAddr]) -> io::Result<Child> {
    pinned(&std::env::current_exe()?)
        .args(["post", &loops.to_string(), &messages.to_string(), &length.to_string()])
        .args(addresses.iter().map(|address| format!("http://{address}/")))
        .stdin(Stdio::null())
        .spawn()
}

/// At least once is what is promised; without a crash, twice is worth a word.
fn say_doubled(receiver: &Receiver) {
    match receiver.doubled() {
        0 => {}
        doubled => eprintln!("{doubled} deliveries came twice"),
    }
}

/// The rows of the table.
pub async fn chat(data: &mut Data, effort: Effort) -> Result<Vec<String>, Box<dyn Error>> {
    let mut quiet = Room::open(data, 0, false).await?;
    let mut told = Room::open(data, 0, true).await?;
    for room in [&mut quiet, &mut told] {
        room.crowd.paced(PACE, effort.lasts / 4)?;
    }
    let [mut middle, mut slow, mut busy_middle, mut busy_slow] = std::array::from_fn(|_| Pairs::default());
    for _ in 0..effort.pairs {
        let one = told.crowd.paced(PACE, effort.lasts * 2)?;
        let other = quiet.crowd.paced(PACE, effort.lasts * 2)?;
        middle.push(millis(one.quantile(0.5)), millis(other.quantile(0.5)));
        slow.push(millis(one.quantile(0.99)), millis(other.quantile(0.99)));

        let mut busy = Room::open(data, BACKLOG, true).await?;
        let one = busy.crowd.paced(PACE, effort.lasts * 2)?;
        if busy.leave()?.is_some_and(|receiver| receiver.has(BACKLOG as u64)) {
            return Err("the deliveries ended before the measurement".into());
        }
        let other = quiet.crowd.paced(PACE, effort.lasts * 2)?;
        busy_middle.push(millis(one.quantile(0.5)), millis(other.quantile(0.5)));
        busy_slow.push(millis(one.quantile(0.99)), millis(other.quantile(0.99)));
    }
    told.end()?;
    let what = format!("`/ws/chat`, {PACE} messages a second, {WEBHOOKS} webhooks");
    Ok(vec![
        middle.row(&format!("{what} told of them : none, p50, ms"), Target::Open),
        slow.row(&format!("{what} told of them : none, p99, ms"), MOST_DELAYED),
        busy_middle.row(
            &format!("{what} told of {BACKLOG} earlier ones : none, p50, ms"),
            Target::Open,
        ),
        busy_slow.row(
            &format!("{what} told of {BACKLOG} earlier ones : none, p99, ms"),
            MOST_DELAYED,
        ),
    ])
}

/// A server with those who chat there, and with its webhooks' receiver on a thread of its own if it has any.
struct Room {
    server: Server,
    crowd: Crowd,
    receiver: Option<Receiving>,
}

impl Room {
    /// With so many messages that webhooks are not told of yet.
    async fn open(data: &mut Data, messages: usize, has_webhooks: bool) -> Result<Room, Box<dyn Error>> {
        let receiver = has_webhooks.then(Receiver::new).transpose()?;
        let addresses = receiver.as_ref().map(Receiver::addresses).unwrap_or_default();
        let folder = data.tell(addresses, messages).await?;
        let server = Server::real(Path::new(BINARY), &folder, Budget::Off)?;
        let receiver = receiver.map(Receiving::start);
        let mut crowd = Audience::Sockets.crowd(server.address, None)?;
        crowd.gather((0..LISTENERS).map(|nth| Audience::Sockets.entrance(nth)))?;
        Ok(Room {
            server,
            crowd,
            receiver,
        })
    }

    /// Ends the server in the midst of its deliveries; the receiver as it was then.
    fn leave(self) -> io::Result<Option<Receiver>> {
        let receiver = self.receiver.map(Receiving::stop).transpose()?;
        drop(self.server);
        Ok(receiver)
    }

    /// Waits until the webhooks were told of all that was said.
    fn end(self) -> io::Result<()> {
        if let Some(receiving) = self.receiver {
            let mut receiver = receiving.stop()?;
            receiver.receive(self.crowd.said())?;
            say_doubled(&receiver);
        }
        Ok(())
    }
}

/// A receiver on a thread of its own.
struct Receiving {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Receiver>>,
}

impl Receiving {
    fn start(mut receiver: Receiver) -> Receiving {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || receiver.receive_until(&stopped).map(|()| receiver));
        Receiving { stop, thread }
    }

    fn stop(self) -> io::Result<Receiver> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| io::Error::other("the receiver has ended"))?
    }
}

/// Records where the program spends its time as it delivers, with perf.
pub async fn profile(data: &mut Data, lasts: Duration) -> Result<(), Box<dyn Error>> {
    let receiver = Receiver::new()?;
    let folder = data.tell(receiver.addresses(), BACKLOG).await?;
    let start = Instant::now();
    let server = Server::real(Path::new(BINARY), &folder, Budget::Off)?;
    let receiving = Receiving::start(receiver);
    let record = data.record(DELIVERIES);
    perf(&server, &record, lasts)?.wait()?;
    let receiver = receiving.stop()?;
    let rate = receiver.deliveries() as f64 / start.elapsed().as_secs_f64();
    println!("{DELIVERIES}: {rate:.0}/s, {}", record.display());
    Ok(())
}
