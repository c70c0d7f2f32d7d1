//! A load generator for HTTP/1.1 on the loopback: a number of kept-alive connections, each with one request at a time.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// How many connections ask at once.
pub const CONNECTIONS: usize = 32;
/// The longest body that is taken, in bytes.
const LONGEST: usize = 1024 * 1024;

/// Writes the `nth` request of a connection.
pub type Write = dyn Fn(&mut Vec<u8>, usize, u64) + Send + Sync;

/// Asks for as long as `lasts`; the answers that came, a second.
///
/// # Errors
///
/// A connection that breaks, and an answer that is no success.
pub async fn run(address: SocketAddr, lasts: Duration, write: &'static Write) -> io::Result<f64> {
    let start = Instant::now();
    let mut connections = JoinSet::new();
    for connection in 0..CONNECTIONS {
        connections.spawn(ask(address, connection, start + lasts, write));
    }
    let mut answers = 0;
    while let Some(asked) = connections.join_next().await {
        answers += asked.map_err(io::Error::other)??;
    }
    Ok(answers as f64 / start.elapsed().as_secs_f64())
}

/// One request and the body of its answer.
///
/// # Errors
///
/// As [`run`].
pub async fn once(address: SocketAddr, write: &Write) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let mut request = Vec::new();
    write(&mut request, 0, 0);
    let mut answer = Vec::new();
    let body = exchange(&mut stream, &request, &mut answer).await?;
    Ok(answer.split_off(body))
}

async fn ask(address: SocketAddr, connection: usize, until: Instant, write: &Write) -> io::Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(1024);
    let mut answer = Vec::with_capacity(32 * 1024);
    let mut answers = 0;
    while Instant::now() < until {
        request.clear();
        write(&mut request, connection, answers);
        exchange(&mut stream, &request, &mut answer).await?;
        answers += 1;
    }
    Ok(answers)
}

/// Sends a request and reads its answer; where the body starts in `answer`.
async fn exchange(stream: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> io::Result<usize> {
    stream.write_all(request).await?;
    answer.clear();
    let (body, length) = loop {
        if stream.read_buf(answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break (end + 4, content_length(&answer[..end])?);
        }
    };
    while answer.len() < body + length {
        if stream.read_buf(answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if !answer.starts_with(b"HTTP/1.1 200") || answer[body..].starts_with(b"{\"errors\"") {
        return Err(io::Error::other(String::from_utf8_lossy(answer).into_owned()));
    }
    Ok(body)
}

/// What a head says that follows it, in bytes.
pub fn content_length(head: &[u8]) -> io::Result<usize> {
    const NAME: &[u8] = b"content-length: ";
    let start = head
        .windows(NAME.len())
        .position(|name| name.eq_ignore_ascii_case(NAME))
        .ok_or_else(|| io::Error::other("a head without its length"))?;
    let digits = head[start + NAME.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0usize, |length, digit| {
        length.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
    });
    if length > LONGEST {
        return Err(io::Error::other("a body that is too long"));
    }
    Ok(length)
}
