//! A server of the OpenAI API whose answers are written by a plan that the prompt carries. Each piece carries the time
//! of its write: it is a thread of the load's, and they share a clock.

use std::{
    io,
    net::SocketAddr,
    sync::LazyLock,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::load::content_length;

/// What is before a piece's place in its answer, which has [`PLACE`] digits.
pub const MARK: &[u8] = b"seq=";
pub const PLACE: usize = 6;
/// What is between the place and the nanoseconds of the write, which have [`TIME`] digits.
pub const AT: &[u8] = b" at=";
pub const TIME: usize = 15;

/// As long as servers say it: about 150 bytes around each piece.
const BEFORE: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764115200,"model":"bench","choices":[{"index":0,"delta":{"content":""#;
const AFTER: &str = r#""},"finish_reason":null}]}"#;
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const LAST: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764115200,"model":"bench","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

/// How an answer is written.
#[derive(Clone, Copy)]
pub struct Plan {
    pub pieces: u64,
    /// From the request to the first piece.
    pub before: Duration,
    /// From one piece to the next. Zero is as fast as they are taken.
    pub every: Duration,
}

const PLAN: &str = "plan=";

impl Plan {
    /// The prompt that asks for it.
    pub fn prompt(&self) -> String {
        let (before, every) = (self.before.as_micros(), self.every.as_micros());
        format!("Breathe in, count to four. {PLAN}{},{before},{every}.", self.pieces)
    }

    fn of(request: &[u8]) -> Option<Plan> {
        let request = str::from_utf8(request).ok()?;
        let (_, plan) = request.split_once(PLAN)?;
        let (plan, _) = plan.split_once('.')?;
        let mut numbers = plan.split(',').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Plan {
            pieces: next()?,
            before: Duration::from_micros(next()?),
            every: Duration::from_micros(next()?),
        })
    }
}

/// Nanoseconds since the first look at this clock.
pub fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

/// Serves until the process ends.
pub async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One that breaks is missed by whoever reads it.
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::new();
    while read_request(&mut stream, &mut request).await? {
        let plan = Plan::of(&request).ok_or_else(|| io::Error::other("a prompt without a plan"))?;
        stream.write_all(HEAD).await?;
        wait(&mut stream, plan.before).await?;
        for place in 0..plan.pieces {
            if place > 0 {
                wait(&mut stream, plan.every).await?;
            }
            let text = format!("{}{place:0PLACE$}{}{:0TIME$} ", utf8(MARK), utf8(AT), now());
            stream.write_all(&chunk(&format!("{BEFORE}{text}{AFTER}"))).await?;
        }
        let mut last = chunk(LAST);
        last.extend_from_slice(&chunk("[DONE]"));
        last.extend_from_slice(b"0\r\n\r\n");
        stream.write_all(&last).await?;
    }
    Ok(())
}

/// Waits, unless the other end goes away or says something out of turn.
async fn wait(stream: &mut TcpStream, lasts: Duration) -> io::Result<()> {
    if lasts.is_zero() {
        return Ok(());
    }
    tokio::select! {
        () = sleep(lasts) => Ok(()),
        _ = stream.read_u8() => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Whether there is one.
async fn read_request(stream: &mut TcpStream, request: &mut Vec<u8>) -> io::Result<bool> {
    request.clear();
    let whole = loop {
        if stream.read_buf(request).await? == 0 {
            return Ok(false);
        }
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4 + content_length(&request[..end])?;
        }
    };
    while request.len() < whole {
        if stream.read_buf(request).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An event in a chunk of its own.
fn chunk(data: &str) -> Vec<u8> {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

fn utf8(mark: &[u8]) -> &str {
    str::from_utf8(mark).expect("a mark is ASCII")
}
