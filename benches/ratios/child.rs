//! The servers that are measured: processes of their own, pinned to the first core.

use std::{
    error::Error,
    fs,
    io::{self, BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The core of the servers.
const SERVER_CORE: &str = "0";

/// The limit of what a member may ask for in a minute.
#[derive(Clone, Copy)]
pub enum Budget {
    /// Counted, and never reached.
    Vast,
    Off,
}

/// A running server. It ends when this is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// From exec to the line that says it listens.
    pub ready_after: Duration,
}

impl Server {
    /// The program itself, on a data folder. It reads the settings that are there, and no others.
    pub fn real(binary: &Path, data: &Path, budget: Budget) -> Result<Server, Box<dyn Error>> {
        let limit = match budget {
            Budget::Vast => "1000000000",
            Budget::Off => "0",
        };
        let mut command = pinned(binary);
        command
            .args(["--bind", "127.0.0.1:0", "--rate-limit-authenticated", limit])
            .arg("--data-dir")
            .arg(data)
            .current_dir(data);
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

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<f64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .ok_or("no VmRSS")?;
        Ok(kib.trim().parse::<f64>()? * 1024.0)
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

/// Starts to record where a server spends its time, for most of as long as a load lasts.
pub fn perf(server: &Server, record: &Path, lasts: Duration) -> io::Result<Child> {
    Command::new("perf")
        .args(["record", "--quiet", "-F", "999", "-g", "-p"])
        .arg(server.id().to_string())
        .arg("-o")
        .arg(record)
        .args(["--", "sleep"])
        .arg((lasts * 5 / 6).as_secs_f64().to_string())
        .spawn()
}
