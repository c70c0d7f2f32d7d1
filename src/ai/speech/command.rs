//! Starts a program for each text: text on stdin, WAV on stdout, no shell.

use std::{env, io, process::Stdio};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    try_join,
};

use super::{encode, failed};
use crate::error::Result;

/// How much a program may write to stdout, in bytes.
pub(super) const MAX_OUTPUT: usize = 64 << 20;

/// How much of stderr is written to the log, in bytes.
const MAX_COMPLAINT: usize = 2 << 10;

const BROKEN_OFF: &str = "the speech program could not be talked to";

/// What a program sees of this process's environment, besides all of `LC_…`. The rest may hold keys.
const ENVIRONMENT: [&str; 3] = ["PATH", "HOME", "LANG"];

/// A program that reads aloud.
pub(super) struct Program {
    name: String,
    arguments: Vec<String>,
}

impl Program {
    pub(super) fn new(name: String, arguments: Vec<String>) -> Self {
        Self { name, arguments }
    }

    /// `text` as MP3.
    pub(super) async fn speak(&self, text: &str) -> Result<Bytes> {
        let wav = self.run(&for_stdin(text)).await?;
        encode(wav.into(), "the speech program").await
    }

    /// What the program writes to stdout. Dropping the future kills it and what it started.
    async fn run(&self, text: &str) -> Result<Vec<u8>> {
        let child = self.command().spawn().map_err(|error| {
            let source = format!("{}: {error}", self.name);
            failed("the speech program cannot be started").with_source(source)
        })?;
        let mut running = Running(child);
        let child = &mut running.0;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            unreachable!("all three were asked for as pipes")
        };
        // All at once: a program that nobody reads from stops reading too.
        let (_, output, complaint) = try_join!(write(stdin, text), read_output(stdout), read_complaint(stderr))
            .map_err(|error| match error.kind() {
                io::ErrorKind::FileTooLarge => {
                    failed(format!("the speech program gave more than {} MiB", MAX_OUTPUT >> 20))
                }
                _ => failed(BROKEN_OFF).with_source(error),
            })?;
        let waited = running.0.wait().await;
        let status = waited.map_err(|error| failed(BROKEN_OFF).with_source(error))?;
        if !complaint.is_empty() {
            let stderr = String::from_utf8_lossy(&complaint);
            tracing::debug!(program = self.name, %status, %stderr, "the speech program complained");
        }
        if status.success() {
            Ok(output)
        } else {
            Err(failed(format!("the speech program failed ({status})")))
        }
    }

    fn command(&self) -> Command {
        let environment = env::vars_os().filter(|(name, _)| {
            let name = name.to_str().unwrap_or_default();
            ENVIRONMENT.contains(&name) || name.starts_with("LC_")
        });
        let mut command = Command::new(&self.name);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(environment)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// A program that is killed with its whole process group when this is dropped before it was waited for.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // None once it was waited for: only until then the number is certainly its own.
        if let Some(id) = self.0.id()
            && let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw)
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "the speech program's process group was not killed");
        }
    }
}

/// One line of plain text. Some programs (piper) make a file of each line, so lines become sentences of one; `[[` begins
/// phonemes for espeak-ng and piper, which no answer means; control characters are no speech.
fn for_stdin(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    for words in text.lines().map(str::trim).filter(|words| !words.is_empty()) {
        if line.ends_with(char::is_alphanumeric) {
            line.push('.');
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(words.chars().map(|char| if char.is_control() { ' ' } else { char }));
    }
    while line.contains("[[") {
        line = line.replace("[[", "[ [");
    }
    line.push('\n');
    line
}

async fn write(mut stdin: ChildStdin, text: &str) -> io::Result<()> {
    match stdin.write_all(text.as_bytes()).await {
        // A program need not read all of it, and may have ended already.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Fails with `FileTooLarge` beyond [`MAX_OUTPUT`].
async fn read_output(stdout: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    stdout.take(MAX_OUTPUT as u64 + 1).read_to_end(&mut output).await?;
    if output.len() > MAX_OUTPUT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(output)
}

/// The first [`MAX_COMPLAINT`] bytes; the others are read too, so that the program can go on.
async fn read_complaint(mut stderr: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut complaint = Vec::new();
    (&mut stderr)
        .take(MAX_COMPLAINT as u64)
        .read_to_end(&mut complaint)
        .await?;
    tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
    Ok(complaint)
}
