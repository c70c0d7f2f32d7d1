//! One who speaks and many who listen, on one thread. Each message carries its place in the order, and every listener
//! must get each one once, in order: anything else ends the measurement.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token};

use crate::socket::{Buffer, Entrance, Socket};

/// How long everybody may take to get what was said.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is before a message's place in the order, which has eight digits.
const MARK: &[u8] = b"seq=";
const DIGITS: usize = 8;

/// The content of a message.
pub fn content(place: u64) -> String {
    format!(
        "seq={place:0width$} Breathe in, count to four, and let go of all.",
        width = DIGITS
    )
}

/// The text that its speaker sends for the message at a place in the order.
pub type Speak = Box<dyn Fn(u64) -> String>;

pub struct Crowd {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    buffer: Buffer,
    speak: Speak,
    /// The first one is the speaker, who hears everything too and is not counted.
    all: Vec<Listener>,
    said: u64,
}

struct Listener {
    socket: Socket,
    /// Where the mark was in the last message.
    mark_at: usize,
    /// What comes next; none before the first.
    next: Option<u64>,
    /// The bytes of the last message.
    length: usize,
}

/// How long after its sending a message came to each of its listeners.
pub struct Delays {
    /// Sorted.
    all: Vec<Duration>,
    /// Of each message the last one. Sorted.
    last: Vec<Duration>,
}

impl Delays {
    /// What `share` of the deliveries do not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        quantile(&self.all, share)
    }

    /// What `share` of the messages do not exceed until the last listener has them.
    pub fn last_quantile(&self, share: f64) -> Duration {
        quantile(&self.last, share)
    }
}

/// The nearest rank.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

impl Crowd {
    /// The speaker alone, in the room.
    pub fn new(address: SocketAddr, speaker: &Entrance, speak: Speak) -> io::Result<Crowd> {
        let mut crowd = Crowd {
            address,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: Buffer::new(),
            speak,
            all: Vec::new(),
            said: 0,
        };
        crowd.enter(speaker)?;
        crowd.settle()?;
        Ok(crowd)
    }

    /// Lets listeners in, and waits until all of them hear what is said.
    pub fn gather(&mut self, listeners: impl IntoIterator<Item = Entrance>) -> io::Result<()> {
        for entrance in listeners {
            self.enter(&entrance)?;
            // What it is told meanwhile must not fill its socket.
            self.turn(Duration::ZERO, |_, _, _| {})?;
        }
        self.settle()
    }

    /// The bytes of the last message as it was delivered.
    pub fn length(&self) -> usize {
        self.all[0].length
    }

    /// How many messages were said, the first ones to an audience that was not there yet included.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// Says `rate` messages a second for as long as `lasts`.
    pub fn paced(&mut self, rate: u32, lasts: Duration) -> io::Result<Delays> {
        let messages = (lasts.as_secs_f64() * f64::from(rate)) as usize;
        let interval = Duration::from_secs(1) / rate;
        let first = self.said;
        let everybody = self.all.len();
        let mut sent: Vec<Instant> = Vec::with_capacity(messages);
        let mut all = Vec::with_capacity(messages * everybody);
        let mut last = vec![Duration::ZERO; messages];
        let mut heard = 0;
        let start = Instant::now();
        while heard < messages * everybody {
            let now = Instant::now();
            let due = start + interval * sent.len() as u32;
            if sent.len() < messages && due <= now {
                sent.push(Instant::now());
                self.say()?;
                continue;
            }
            if now > start + lasts + PATIENCE {
                return Err(self.missing(heard, messages * everybody));
            }
            let wait = match sent.len() < messages {
                true => due - now,
                false => Duration::from_millis(100),
            };
            self.turn(wait, |listener, place, at| {
                heard += 1;
                if listener > 0 {
                    let nth = (place - first) as usize;
                    let delay = at - sent[nth];
                    all.push(delay);
                    last[nth] = last[nth].max(delay);
                }
            })?;
        }
        all.sort_unstable();
        last.sort_unstable();
        Ok(Delays { all, last })
    }

    /// Says `messages` back to back; the deliveries a second until everybody has them all.
    pub fn burst(&mut self, messages: usize) -> io::Result<f64> {
        let everybody = self.all.len();
        let mut heard = 0;
        let start = Instant::now();
        for _ in 0..messages {
            self.say()?;
        }
        while heard < messages * everybody {
            if start.elapsed() > PATIENCE {
                return Err(self.missing(heard, messages * everybody));
            }
            self.turn(Duration::from_millis(100), |_, _, _| heard += 1)?;
        }
        Ok((messages * (everybody - 1)) as f64 / start.elapsed().as_secs_f64())
    }

    fn enter(&mut self, entrance: &Entrance) -> io::Result<()> {
        let token = Token(self.all.len());
        let socket = Socket::open(self.address, entrance, self.poll.registry(), token)?;
        self.all.push(Listener {
            socket,
            mark_at: 0,
            next: None,
            length: 0,
        });
        Ok(())
    }

    /// Speaks until everybody hears it. Who has just come may miss a message, and none after the first that they heard:
    /// it is said again when nobody has heard anything for a while.
    fn settle(&mut self) -> io::Result<()> {
        const QUIET: Duration = Duration::from_secs(1);

        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            self.say()?;
            let mut heard = Instant::now();
            while heard.elapsed() < QUIET {
                self.turn(Duration::from_millis(20), |_, _, at| heard = at)?;
                if self.all.iter().all(|listener| listener.next == Some(self.said)) {
                    return Ok(());
                }
            }
        }
        let deaf = self.all.iter().filter(|listener| listener.next.is_none()).count();
        Err(io::Error::other(format!("{deaf} of {} hear nothing", self.all.len())))
    }

    fn say(&mut self) -> io::Result<()> {
        let text = (self.speak)(self.said);
        self.said += 1;
        let speaker = &mut self.all[0].socket;
        speaker.put(&text);
        speaker.flush()
    }

    /// Waits for what comes, and calls `hear` with who heard which message and when.
    fn turn(&mut self, wait: Duration, mut hear: impl FnMut(usize, u64, Instant)) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let nth = event.token().0;
            let listener = &mut self.all[nth];
            if event.is_writable() {
                listener.socket.flush()?;
            }
            if event.is_readable() {
                listener.read(&mut self.buffer, |place, at| hear(nth, place, at))?;
            }
        }
        Ok(())
    }

    fn missing(&self, heard: usize, wanted: usize) -> io::Error {
        io::Error::other(format!(
            "{heard} deliveries of {wanted} came within {} s",
            PATIENCE.as_secs()
        ))
    }
}

impl Listener {
    fn read(&mut self, buffer: &mut Buffer, mut hear: impl FnMut(u64, Instant)) -> io::Result<()> {
        let Listener {
            socket,
            mark_at,
            next,
            length,
        } = self;
        let mut at = None;
        let mut pinged = false;
        socket.read(buffer, |text| {
            let Some(place) = place(text, mark_at) else {
                pinged |= text.starts_with(br#"{"type":"ping""#);
                return refuse_errors(text);
            };
            if next.is_some_and(|next| next != place) {
                return Err(io::Error::other(format!("message {place} came in place of {next:?}")));
            }
            *next = Some(place + 1);
            *length = text.len();
            // One look at the clock for all that came at once.
            hear(place, *at.get_or_insert_with(Instant::now));
            Ok(())
        })?;
        if pinged {
            socket.put(r#"{"type":"pong"}"#);
            socket.flush()?;
        }
        Ok(())
    }
}

/// The place of a message in the order; none of a text that is no message.
fn place(text: &[u8], mark_at: &mut usize) -> Option<u64> {
    let marked = |at: usize| text.get(at..at + MARK.len()) == Some(MARK);
    if !marked(*mark_at) {
        *mark_at = text.windows(MARK.len()).position(|four| four == MARK)?;
    }
    let digits = text.get(*mark_at + MARK.len()..)?.get(..DIGITS)?;
    Some(
        digits
            .iter()
            .fold(0, |place, digit| place * 10 + u64::from(digit - b'0')),
    )
}

/// An error that the server tells of must not look like a message that is late.
pub fn refuse_errors(text: &[u8]) -> io::Result<()> {
    let error = [&br#""type":"error""#[..], br#""errors":["#]
        .iter()
        .any(|mark| text.windows(mark.len()).any(|part| part == *mark));
    match error {
        true => Err(io::Error::other(String::from_utf8_lossy(text).into_owned())),
        false => Ok(()),
    }
}
