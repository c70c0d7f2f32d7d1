//! Whom webhooks are sent to: one thread with epoll that answers 200 at once and reads each event's place in its room.
//! Every webhook must get the events of its room from the first one on, in order: one that is missing or out of order
//! ends the measurement, one that comes twice is counted.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;

use crate::load::content_length;

/// How many webhooks there are, each at an address of its own.
pub const WEBHOOKS: usize = 10;

/// How long nothing may come while something is missing.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is before the number that a message has in its room.
const MARK: &[u8] = br#""number":"#;
/// More than a request has, in bytes.
const READ: usize = 64 * 1024;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

pub struct Receiver {
    poll: Poll,
    events: Events,
    /// One for each webhook.
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    connections: Slab<Connection>,
    heard: Heard,
    /// What is read into.
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    webhook: usize,
    /// The start of a request whose end has not come.
    started: Vec<u8>,
}

/// What came.
struct Heard {
    /// The number of the message that each webhook is to be told of next.
    next: [u64; WEBHOOKS],
    /// How many came, and the bytes of their bodies.
    deliveries: u64,
    bytes: u64,
    /// How many of them had come before.
    doubled: u64,
    /// Where the mark was in the last body.
    mark_at: usize,
}

impl Receiver {
    /// Listens on 127.0.0.2 and the addresses after it.
    pub fn new() -> io::Result<Receiver> {
        let poll = Poll::new()?;
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for nth in 0..WEBHOOKS {
            let address = Ipv4Addr::new(127, 0, 0, 2 + nth as u8);
            let mut listener = TcpListener::bind((address, 0).into())?;
            poll.registry()
                .register(&mut listener, Token(nth), Interest::READABLE)?;
            addresses.push(listener.local_addr()?);
            listeners.push(listener);
        }
        Ok(Receiver {
            poll,
            events: Events::with_capacity(1024),
            listeners,
            addresses,
            connections: Slab::new(),
            heard: Heard {
                next: [1; WEBHOOKS],
                deliveries: 0,
                bytes: 0,
                doubled: 0,
                mark_at: 0,
            },
            buffer: vec![0; READ],
        })
    }

    /// Where each webhook goes.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many deliveries came.
    pub fn deliveries(&self) -> u64 {
        self.heard.deliveries
    }

    /// The mean bytes of a body that came.
    pub fn body_length(&self) -> u64 {
        self.heard.bytes / self.heard.deliveries.max(1)
    }

    /// How many deliveries came again that had come before.
    pub fn doubled(&self) -> u64 {
        self.heard.doubled
    }

    /// Whether each webhook was told of so many messages.
    pub fn has(&self, messages: u64) -> bool {
        self.heard.next.iter().all(|next| *next > messages)
    }

    /// Receives until each webhook was told of so many messages.
    ///
    /// # Errors
    ///
    /// An event that is missing or out of order, and a minute in which nothing comes.
    pub fn receive(&mut self, messages: u64) -> io::Result<()> {
        let mut last = (self.heard.deliveries, Instant::now());
        while !self.has(messages) {
            self.turn()?;
            if self.heard.deliveries != last.0 {
                last = (self.heard.deliveries, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                let (came, wanted) = (self.heard.deliveries, messages * WEBHOOKS as u64);
                return Err(io::Error::other(format!(
                    "{came} deliveries of {wanted} came, and then none for {} s",
                    PATIENCE.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// Receives until it is told to stop.
    ///
    /// # Errors
    ///
    /// An event that is missing or out of order.
    pub fn receive_until(&mut self, stop: &AtomicBool) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let Token(token) = event.token();
            let Some(nth) = token.checked_sub(WEBHOOKS) else {
                accept(&self.listeners[token], token, &self.poll, &mut self.connections)?;
                continue;
            };
            if !self.connections[nth].read(&mut self.buffer, &mut self.heard)? {
                self.connections.remove(nth);
            }
        }
        Ok(())
    }
}

/// Takes all that wait.
fn accept(listener: &TcpListener, webhook: usize, poll: &Poll, connections: &mut Slab<Connection>) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let entry = connections.vacant_entry();
        poll.registry()
            .register(&mut stream, Token(WEBHOOKS + entry.key()), Interest::READABLE)?;
        entry.insert(Connection {
            stream,
            webhook,
            started: Vec::new(),
        });
    }
}

impl Connection {
    /// Reads and answers all that has come; false when the connection has ended, in whichever way: a server that is
    /// killed breaks its connections.
    fn read(&mut self, buffer: &mut [u8], heard: &mut Heard) -> io::Result<bool> {
        loop {
            let came = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(came) => came,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Ok(false),
            };
            let whole = if self.started.is_empty() {
                let taken = take(&buffer[..came])?;
                if taken.is_none() {
                    self.started.extend_from_slice(&buffer[..came]);
                }
                taken.map(|body| heard.hear(self.webhook, body)).transpose()?
            } else {
                self.started.extend_from_slice(&buffer[..came]);
                let taken = take(&self.started)?;
                let heard = taken.map(|body| heard.hear(self.webhook, body)).transpose()?;
                if heard.is_some() {
                    self.started.clear();
                }
                heard
            };
            if whole.is_some() && self.stream.write(ANSWER).ok() != Some(ANSWER.len()) {
                return Ok(false);
            }
            // Of a stream, less than there was room for is all that there is.
            if came < buffer.len() {
                return Ok(true);
            }
        }
    }
}

/// The body of a request if all of it has come. The next one comes after the answer.
fn take(request: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, body) = request.split_at(end + 4);
    let length = content_length(head)?;
    match body.len() > length {
        true => Err(io::Error::other("a request that did not wait for its answer")),
        false => Ok((body.len() == length).then_some(body)),
    }
}

impl Heard {
    fn hear(&mut self, webhook: usize, body: &[u8]) -> io::Result<()> {
        let number = number(body, &mut self.mark_at)
            .ok_or_else(|| io::Error::other(format!("not a message: {}", String::from_utf8_lossy(body))))?;
        let next = &mut self.next[webhook];
        if number > *next {
            return Err(io::Error::other(format!(
                "webhook {webhook} was told of message {number} in place of {next}"
            )));
        }
        match number == *next {
            true => *next += 1,
            false => self.doubled += 1,
        }
        self.deliveries += 1;
        self.bytes += body.len() as u64;
        Ok(())
    }
}

/// The number of a message in its room.
fn number(body: &[u8], mark_at: &mut usize) -> Option<u64> {
    if body.get(*mark_at..*mark_at + MARK.len()) != Some(MARK) {
        *mark_at = body.windows(MARK.len()).position(|part| part == MARK)?;
    }
    let digits = body[*mark_at + MARK.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
