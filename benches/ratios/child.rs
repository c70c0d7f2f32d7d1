//! The servers that are measured: processes of their own, pinned to the first core.

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The core of the servers.
const SERVER_CORE: &str = "0";

/// A running server. It ends when this is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From exec to the line that says it listens.
    pub ready_after: Duration,
}

impl Server {
    /// The program itself, on a data folder, with a budget that is on and never runs out.
    pub fn real(binary: &Path, data: &Path) -> Result<Server, Box<dyn Error>> {
        let mut command = pinned(binary);
        command
            .args(["--bind", "127.0.0.1:0", "--rate-limit-authenticated", "1000000000"])
            .arg("--data-dir")
            .arg(data);
        Self::start(command)
    }

    /// This program's own bare handlers.
    pub fn baseline(database: &Path) -> Result<Server, Box<dyn Error>> {
        let mut command = pinned(&std::env::current_exe()?);
        command.arg("baseline").arg(database);
        Self::start(command)
    }

    fn start(mut command: Command) -> Result<Server, Box<dyn Error>> {
        let start = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let ready_after = start.elapsed();
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            let _ = child.wait();
            return Err(format!("a server did not start: {line:?}").into());
        };
        let address = address.parse()?;
        // Whatever else it prints must not fill the pipe.
        std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        Ok(Server {
            child,
            address,
            ready_after,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in MiB.
    pub fn resident(&self) -> Result<f64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .ok_or("no VmRSS")?;
        Ok(kib.trim().parse::<f64>()? / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program on the servers' core. `taskset` becomes the program: the process is its own.
pub fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE]).arg(program);
    command
}
