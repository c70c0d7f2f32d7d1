//! Someone who asks a model, directly or through the program, and reads the answer as it comes. Every piece must come
//! once, in order, and all of them: anything else ends the measurement.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    seed,
    upstream::{AT, MARK, PLACE, Plan, TIME, now},
};

/// How an answer comes to who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the model's server.
    Direct,
    /// `POST /v1/ai/generate`.
    Rest,
    /// `subscription generation` by graphql-sse.
    Graphql,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Direct => "the model's server",
            Way::Rest => "`POST /v1/ai/generate`",
            Way::Graphql => "`subscription generation`",
        }
    }

    /// The request of the `nth` member.
    fn request(self, nth: usize, plan: Plan) -> String {
        let prompt = plan.prompt();
        let (path, body) = match self {
            Way::Direct => (
                "/v1/chat/completions",
                format!(r#"{{"model":"bench","messages":[{{"role":"user","content":"{prompt}"}}],"stream":true}}"#),
            ),
            Way::Rest => (
                "/v1/ai/generate",
                format!(r#"{{"prompt":"{prompt}","newSession":true}}"#),
            ),
            Way::Graphql => (
                "/graphql",
                format!(
                    r#"{{"query":"subscription ($input: GenerateInput!) {{ generation(input: $input) {{ ... on GenerationDelta {{ text }} ... on GeneratePayload {{ response sessionId }} }} }}","variables":{{"input":{{"prompt":"{prompt}","newSession":true}}}}}}"#
                ),
            ),
        };
        format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            seed::token(nth),
            body.len()
        )
    }
}

/// A kept-alive connection.
pub struct Listener {
    way: Way,
    nth: usize,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Listener {
    /// Connects, as the `nth` member.
    pub async fn open(way: Way, address: SocketAddr, nth: usize) -> io::Result<Listener> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Listener {
            way,
            nth,
            stream,
            buffer: Vec::with_capacity(64 * 1024),
        })
    }

    /// Asks for one answer and reads all of it. `hear` gets the place of each piece, and how long ago it was written.
    ///
    /// # Errors
    ///
    /// A connection that breaks, an answer that is no success, and pieces that are not those of the plan.
    pub async fn ask(&mut self, plan: Plan, mut hear: impl FnMut(u64, Duration)) -> io::Result<()> {
        let request = self.way.request(self.nth, plan);
        self.stream.write_all(request.as_bytes()).await?;
        let mut answer = Answer::default();
        self.buffer.clear();
        while !answer.is_whole {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // One look at the clock for all that came at once.
            let now = now();
            let mut read = 0;
            while let Some(end) = self.buffer[read..].iter().position(|byte| *byte == b'\n') {
                answer.line(self.buffer[read..read + end].trim_ascii(), |place, at| {
                    hear(place, Duration::from_nanos(now.saturating_sub(at)));
                })?;
                read += end + 1;
            }
            self.buffer.drain(..read);
        }
        // The program says at the end that the answer was kept.
        match answer.next == plan.pieces && answer.was_kept == (self.way != Way::Direct) {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "{} of {} pieces came, and that it was kept: {}",
                answer.next, plan.pieces, answer.was_kept
            ))),
        }
    }
}

/// An answer as it comes, line by line. No event is in two chunks, so that their sizes are lines of their own.
#[derive(Default)]
struct Answer {
    has_begun: bool,
    next: u64,
    was_kept: bool,
    has_last_chunk: bool,
    is_whole: bool,
}

impl Answer {
    fn line(&mut self, line: &[u8], mut hear: impl FnMut(u64, u64)) -> io::Result<()> {
        let has = |mark: &[u8]| line.windows(mark.len()).any(|part| part == mark);
        if !std::mem::replace(&mut self.has_begun, true) && !line.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
        }
        match line {
            b"" => self.is_whole = self.has_last_chunk,
            b"0" => self.has_last_chunk = true,
            _ if line.starts_with(b"event: error") || has(br#""errors":["#) => {
                return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
            }
            _ if has(br#""response":"#) => self.was_kept = true,
            _ if line.starts_with(b"data:") => {
                let mut rest = line;
                while let Some((place, at, length)) = piece(rest) {
                    if place != self.next {
                        return Err(io::Error::other(format!(
                            "piece {place} came in place of {}",
                            self.next
                        )));
                    }
                    self.next += 1;
                    hear(place, at);
                    rest = &rest[length..];
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The first piece in some bytes: its place, the time of its write, and where it ends.
fn piece(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let place = bytes.windows(MARK.len()).position(|part| part == MARK)? + MARK.len();
    let time = place + PLACE + AT.len();
    let number = |range: &[u8]| {
        range
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    };
    Some((
        number(bytes.get(place..place + PLACE)?),
        number(bytes.get(time..time + TIME)?),
        time + TIME,
    ))
}
