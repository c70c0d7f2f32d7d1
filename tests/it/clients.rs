//! The clients that applications use, as processes: those of `tests/npm` and `tests/python`, and one in Rust. They follow
//! a room over restarts of the server, each time after the last id that they have seen.

use std::{path::PathBuf, process::Stdio, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::harness::{Caller, PATIENCE};

/// A file of the repository.
pub fn file(path: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The Python that has what `tests/python/requirements.txt` lists.
pub fn python() -> Command {
    let python = file("tests/python/.venv/bin/python");
    assert!(python.exists(), "scripts/install installs what the Python clients need");
    Command::new(python)
}

/// A program that is talked to in lines. It is killed when dropped. What it says on stderr, the test says.
pub struct Program {
    child: Child,
    stdin: ChildStdin,
    lines: UnboundedReceiver<String>,
    patience: Duration,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            stdin,
            lines,
            patience: PATIENCE,
        }
    }

    /// One that may take this long until it says something, or ends.
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The next line that it prints.
    pub async fn line(&mut self) -> String {
        let line = timeout(self.patience, self.lines.recv()).await;
        line.expect("the program says something").expect("the program runs")
    }

    pub async fn say(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Ends its input, and waits for it to end well. Gives the lines that nobody has asked for.
    pub async fn finish(mut self) -> Vec<String> {
        drop(self.stdin);
        let status = timeout(self.patience, self.child.wait()).await;
        let status = status.expect("the program ends with its input").unwrap();
        assert!(status.success(), "{status}");
        let mut rest = Vec::new();
        while let Some(line) = self.lines.recv().await {
            rest.push(line);
        }
        rest
    }

    /// Ends it without a chance to do anything.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// What follows a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// npm's graphql-ws, with a field of `Subscription`.
    GraphqlWs(&'static str),
    /// npm's graphql-sse, with a field of `Subscription`.
    GraphqlSse(&'static str),
    /// Python's websockets, on `/ws/chat`.
    Python,
    /// tokio-tungstenite, on `/ws/chat`.
    Rust,
}

impl Reader {
    /// Whether it hears of edits and deletions.
    pub fn hears_changes(self) -> bool {
        !matches!(
            self,
            Reader::GraphqlWs("messageAdded") | Reader::GraphqlSse("messageAdded")
        )
    }
}

/// Something that a follower heard of a message: `message`, `edit` or `delete`, and the message's number and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub change: &'static str,
    pub number: u64,
    pub content: String,
}

/// A client that follows a room.
pub struct Follower {
    pub reader: Reader,
    /// How often it has been connected, as far as it was asked what it heard.
    pub connections: usize,
    /// The codes with which connections were closed, likewise. Clients that do not learn of them leave it empty.
    pub closed: Vec<u64>,
    source: Source,
}

enum Source {
    Process(Box<Program>),
    Task(UnboundedReceiver<String>, JoinHandle<()>),
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Source::Task(_, task) = self {
            task.abort();
        }
    }
}

impl Follower {
    /// `urls` are the servers' origins: it begins with the first, and goes on to the next whenever a connection is lost.
    pub fn start(reader: Reader, urls: &[String], token: &str, room: &str, after: &str) -> Self {
        let servers = urls.join(",");
        let npm = |client: &str, field: &str| {
            let mut command = Command::new("node");
            command.arg(file("tests/npm/live.mjs"));
            command.args([client, &servers, token, field, room, after]);
            Source::Process(Box::new(Program::start(&mut command)))
        };
        let source = match reader {
            Reader::GraphqlWs(field) => npm("graphql-ws", field),
            Reader::GraphqlSse(field) => npm("graphql-sse", field),
            Reader::Python => {
                let mut command = python();
                command.arg(file("tests/python/chat.py"));
                command.args([&servers, token, room, after]);
                Source::Process(Box::new(Program::start(&mut command)))
            }
            Reader::Rust => {
                let (sender, lines) = mpsc::unbounded_channel();
                let [token, room, after] = [token, room, after].map(str::to_owned);
                Source::Task(lines, tokio::spawn(talk(urls.to_vec(), token, room, after, sender)))
            }
        };
        Self {
            reader,
            connections: 0,
            closed: Vec::new(),
            source,
        }
    }

    /// Waits for its first connection.
    pub async fn connected(&mut self) {
        while self.connections == 0 {
            let line = self.line().await;
            assert_eq!(self.understand(&line), None, "{:?}", self.reader);
        }
    }

    /// What it hears next of messages.
    pub async fn next(&mut self) -> Heard {
        loop {
            let line = self.line().await;
            if let Some(heard) = self.understand(&line) {
                return heard;
            }
        }
    }

    async fn line(&mut self) -> String {
        match &mut self.source {
            Source::Process(program) => program.line().await,
            Source::Task(lines, _) => {
                let line = timeout(PATIENCE, lines.recv()).await;
                line.expect("the client hears something").expect("the client runs")
            }
        }
    }

    fn understand(&mut self, line: &str) -> Option<Heard> {
        let line: Value = serde_json::from_str(line).unwrap();
        if line.get("connected").is_some() {
            self.connections += 1;
        }
        self.closed.extend(line.get("closed").and_then(Value::as_u64));
        assert!(line.get("errors").is_none(), "{:?}: {line}", self.reader);
        let (change, message) = match self.reader {
            Reader::GraphqlWs(field) | Reader::GraphqlSse(field) => {
                let payload = line.get("data")?.get(field).unwrap();
                match payload["__typename"].as_str() {
                    None => ("message", payload),
                    Some("MessageAdded") => ("message", &payload["message"]),
                    Some("MessageEdited") => ("edit", &payload["message"]),
                    Some("MessageDeleted") => ("delete", &payload["message"]),
                    Some(_) => return None,
                }
            }
            Reader::Python | Reader::Rust => match line["type"].as_str() {
                Some("message") => ("message", &line),
                Some("edit") => ("edit", &line),
                Some("delete") => ("delete", &line),
                Some("error") => panic!("{:?}: {line}", self.reader),
                _ => return None,
            },
        };
        Some(Heard {
            change,
            number: message["number"].as_u64().unwrap(),
            content: message["content"].as_str().unwrap().to_owned(),
        })
    }
}

/// Says something in a room; the message's id.
pub async fn say(caller: &Caller<'_>, room: &str, content: &str) -> String {
    let body = json!({ "room": room, "content": content });
    let answer = caller.post("/v1/chat/messages", body).await;
    let id = answer.body["id"].as_str();
    id.unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

/// How long a client waits before it tries again.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// What `tests/python/chat.py` does, in Rust.
async fn talk(urls: Vec<String>, token: String, room: String, mut after: String, lines: UnboundedSender<String>) {
    for url in urls.iter().cycle() {
        pause().await;
        let Ok((mut socket, _)) = connect_async(socket_url(url)).await else {
            continue;
        };
        let _ = lines.send(json!({ "connected": url }).to_string());
        let hello = match room.as_str() {
            "lobby" => vec![json!({ "type": "auth", "token": token, "after": after })],
            _ => vec![
                json!({ "type": "auth", "token": token }),
                json!({ "type": "leave", "room": "lobby" }),
                json!({ "type": "join", "room": room, "after": after }),
            ],
        };
        for frame in hello {
            let _ = socket.send(Message::text(frame.to_string())).await;
        }
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                let frame: Value = serde_json::from_str(&text).unwrap();
                if let Some(event) = frame["event"].as_str() {
                    after = event.to_owned();
                }
                if lines.send(text.to_string()).is_err() {
                    return;
                }
            } else if let Message::Close(Some(close)) = message {
                let _ = lines.send(json!({ "closed": u16::from(close.code) }).to_string());
            }
        }
    }
}

/// Where a server has its chat socket.
pub fn socket_url(origin: &str) -> String {
    format!("{}/ws/chat", origin.replacen("http", "ws", 1))
}
