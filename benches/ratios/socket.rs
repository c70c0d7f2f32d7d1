//! A WebSocket client that costs little: the load shares the machine with what it measures. Frames are counted by their
//! headers and never copied unless a read cut one in two. It takes what servers of this kind send, and nothing else.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::Range,
    time::Duration,
};

use mio::{Interest, Registry, Token};

/// The longest head of an answer to a handshake, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;
/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read at once, in bytes: more than a burst leaves waiting for one socket.
const READ: usize = 256 * 1024;

/// How a socket is opened.
pub struct Entrance {
    pub path: &'static str,
    pub protocol: Option<&'static str>,
    /// The session token that it shows.
    pub token: Option<String>,
    /// The texts that it sends first.
    pub texts: Vec<String>,
}

/// What is read into. One does for all sockets.
pub struct Buffer(Vec<u8>);

impl Buffer {
    pub fn new() -> Self {
        Self(vec![0; READ])
    }
}

/// An open socket that never blocks.
pub struct Socket {
    stream: mio::net::TcpStream,
    /// The start of a frame whose end has not come.
    started: Vec<u8>,
    /// What the kernel did not take yet.
    unsent: Vec<u8>,
}

impl Socket {
    /// Shakes hands, and tells `token` of the registry when there is something to read or room to write.
    ///
    /// # Errors
    ///
    /// A connection that breaks, and an answer that is not 101.
    pub fn open(address: SocketAddr, entrance: &Entrance, registry: &Registry, token: Token) -> io::Result<Socket> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = format!(
            "GET {} HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            entrance.path
        );
        if let Some(protocol) = entrance.protocol {
            request.push_str(&format!("sec-websocket-protocol: {protocol}\r\n"));
        }
        if let Some(token) = &entrance.token {
            request.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        let started = shake_hands(&mut stream)?;

        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let mut socket = Socket {
            stream,
            started,
            unsent: Vec::new(),
        };
        for text in &entrance.texts {
            socket.put(text);
        }
        socket.flush()?;
        Ok(socket)
    }

    /// Adds a text to what [`Socket::flush`] sends.
    pub fn put(&mut self, text: &str) {
        self.put_frame(0x81, text.as_bytes());
    }

    fn put_frame(&mut self, first: u8, payload: &[u8]) {
        const MASKED: u8 = 0x80;

        self.unsent.push(first);
        match payload.len() {
            length @ 0..126 => self.unsent.push(MASKED | length as u8),
            length => {
                let length = u16::try_from(length).expect("no text of ours is longer than 64 KiB");
                self.unsent.push(MASKED | 126);
                self.unsent.extend_from_slice(&length.to_be_bytes());
            }
        }
        // A mask of zeros changes nothing.
        self.unsent.extend_from_slice(&[0; 4]);
        self.unsent.extend_from_slice(payload);
    }

    /// Sends what the kernel takes; to be called again when there is room, until it has taken all.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(taken) => drop(self.unsent.drain(..taken)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads all that has come and calls `hear` with each text. Pings are answered.
    ///
    /// # Errors
    ///
    /// The end of the connection, with the reason that the server gives.
    pub fn read(&mut self, buffer: &mut Buffer, mut hear: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            let kept = self.started.len();
            if buffer.0.len() < kept + READ {
                buffer.0.resize(kept + READ, 0);
            }
            let room = buffer.0.len() - kept;
            let came = match self.stream.read(&mut buffer.0[kept..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(came) => came,
                // What came with the handshake is read without anything new.
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            buffer.0[..kept].copy_from_slice(&self.started);
            self.started.clear();
            let bytes = &buffer.0[..kept + came];
            let mut at = 0;
            while let Some(frame) = Frame::next(&bytes[at..])? {
                let payload = &bytes[at..][frame.payload];
                match frame.opcode {
                    Opcode::Text => hear(payload)?,
                    Opcode::Ping => {
                        self.put_frame(0x8a, payload);
                        self.flush()?;
                    }
                    Opcode::Pong => {}
                    Opcode::Close => return Err(closed(payload)),
                }
                at += frame.length;
            }
            self.started.extend_from_slice(&bytes[at..]);
            // Of a stream, less than there was room for is all that there is.
            if came < room {
                return Ok(());
            }
        }
    }
}

/// Reads the answer to a handshake; what came behind it.
fn shake_hands(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            if !answer.starts_with(b"HTTP/1.1 101") {
                return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
            }
            return Ok(answer.split_off(end + 4));
        }
        match stream.read(&mut part)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ if answer.len() > LONGEST_HEAD => return Err(io::Error::other("a head that is too long")),
            came => answer.extend_from_slice(&part[..came]),
        }
    }
}

fn closed(payload: &[u8]) -> io::Error {
    let (code, reason) = payload.split_at(payload.len().min(2));
    let code = code.iter().fold(0u16, |code, byte| code << 8 | u16::from(*byte));
    io::Error::other(format!("closed with {code}: {}", String::from_utf8_lossy(reason)))
}

enum Opcode {
    Text,
    Close,
    Ping,
    Pong,
}

/// A whole, unmasked frame at the start of some bytes.
struct Frame {
    opcode: Opcode,
    payload: Range<usize>,
    length: usize,
}

impl Frame {
    /// None where the end of the frame has not come.
    fn next(bytes: &[u8]) -> io::Result<Option<Frame>> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let opcode = match first {
            0x81 => Opcode::Text,
            0x88 => Opcode::Close,
            0x89 => Opcode::Ping,
            0x8a => Opcode::Pong,
            other => return Err(io::Error::other(format!("a frame of another kind: {other:#x}"))),
        };
        let (head, length) = match (second, rest) {
            (0..126, _) => (2, usize::from(*second)),
            (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            (126, _) => return Ok(None),
            _ => return Err(io::Error::other("a frame that is masked, or longer than 64 KiB")),
        };
        Ok((bytes.len() >= head + length).then_some(Frame {
            opcode,
            payload: head..head + length,
            length: head + length,
        }))
    }
}
