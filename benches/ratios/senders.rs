//! Messages a second that are on disk: 32 members on sockets, each of whom waits for an answer before the next.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token};

use crate::{
    Effort,
    child::Budget,
    crowd::refuse_errors,
    data::{Data, Side},
    load::CONNECTIONS,
    seed,
    socket::{Buffer, Entrance, Socket},
    table::{Pairs, Target},
};

pub const NAME: &str = "send-socket";

const PATIENCE: Duration = Duration::from_secs(10);

/// The row of the table.
pub async fn measure(data: &mut Data, effort: Effort) -> Result<String, Box<dyn Error>> {
    let program = data.start(Side::Program, Budget::Off).await?;
    let baseline = data.start(Side::Baseline, Budget::Off).await?;
    let run = |lasts| -> io::Result<(f64, f64)> {
        Ok((
            acknowledged(program.address, lasts, program_entrance)?,
            acknowledged(baseline.address, lasts, bare_entrance)?,
        ))
    };
    run(effort.lasts / 4)?;
    let mut pairs = Pairs::default();
    for _ in 0..effort.pairs {
        let (first, second) = run(effort.lasts)?;
        pairs.push(first, second);
    }
    Ok(pairs.row(
        "`/ws/chat` with nonces, 32 members at once : one transaction each, 1/s",
        Target::AtLeast(5.0),
    ))
}

/// The members are in no room: what is measured is what is taken, not what is delivered.
fn program_entrance(nth: usize) -> Entrance {
    Entrance {
        path: "/ws/chat",
        protocol: None,
        token: Some(seed::token(nth)),
        texts: vec![r#"{"type":"leave","room":"lobby"}"#.to_owned()],
    }
}

fn bare_entrance(nth: usize) -> Entrance {
    Entrance {
        path: "/send",
        protocol: None,
        token: None,
        texts: vec![seed::member(nth).to_string()],
    }
}

/// Sends for as long as `lasts`; the acknowledgements that came, a second.
fn acknowledged(address: SocketAddr, lasts: Duration, entrance: fn(usize) -> Entrance) -> io::Result<f64> {
    let mut poll = Poll::new()?;
    let mut sockets = Vec::new();
    for nth in 0..CONNECTIONS {
        let mut socket = Socket::open(address, &entrance(nth), poll.registry(), Token(nth))?;
        send(&mut socket)?;
        sockets.push(socket);
    }
    let mut events = Events::with_capacity(CONNECTIONS);
    let mut buffer = Buffer::new();
    let mut answers = 0u64;
    let start = Instant::now();
    let mut heard = start;
    while start.elapsed() < lasts {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let socket = &mut sockets[event.token().0];
            socket.flush()?;
            if !event.is_readable() {
                continue;
            }
            let mut acknowledged = false;
            socket.read(&mut buffer, |text| {
                acknowledged |= text.starts_with(br#"{"type":"ack""#);
                refuse_errors(text)
            })?;
            if acknowledged {
                answers += 1;
                heard = Instant::now();
                send(socket)?;
            }
        }
        if heard.elapsed() > PATIENCE {
            return Err(io::Error::other("nothing is acknowledged any more"));
        }
    }
    Ok(answers as f64 / start.elapsed().as_secs_f64())
}

/// No nonce twice, in whichever run.
fn send(socket: &mut Socket) -> io::Result<()> {
    static SENT: AtomicU64 = AtomicU64::new(0);

    let nonce = SENT.fetch_add(1, Ordering::Relaxed);
    socket.put(&format!(
        r#"{{"type":"message","nonce":"nonce-{nonce}","content":"{}"}}"#,
        crate::requests::MESSAGE
    ));
    socket.flush()
}
