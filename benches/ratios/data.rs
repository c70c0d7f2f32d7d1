//! The databases that are measured on, and the servers on them.

use std::{
    error::Error,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    child::{Budget, Server},
    load, requests, seed,
};

/// The program that is measured.
pub const BINARY: &str = env!("CARGO_BIN_EXE_bambisleep-chat");

/// How many messages the lobby has in the long database.
const LONG: usize = 1_000_000;
/// And in all others.
const SHORT: usize = 1_000;

/// Which server a load goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Program,
    /// The program with a million messages in its lobby.
    Long,
    Baseline,
}

/// The databases: one for each server, the same at the start but for the long one.
pub struct Data {
    folder: PathBuf,
    /// What the program calls its database.
    file: PathBuf,
    copies: usize,
}

impl Data {
    pub async fn prepare() -> Result<Data, Box<dyn Error>> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ratios");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let empty = folder.join("empty");
        fs::create_dir_all(&empty)?;
        let migrated = Command::new(BINARY)
            .arg("--data-dir")
            .arg(&empty)
            .arg("migrate")
            .status()?;
        if !migrated.success() {
            return Err("the database was not made".into());
        }
        let database = fs::read_dir(&empty)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3")))
            .ok_or("the data folder has no database")?;
        seed::fill(&database).await?;
        let file = database.file_name().ok_or("a database without a name")?.into();
        let data = Data {
            folder,
            file,
            copies: 0,
        };
        fs::copy(&database, data.short())?;
        seed::talk(&data.short(), SHORT).await?;
        fs::rename(database, data.silent())?;
        Ok(data)
    }

    /// Starts a server on a database of its own.
    pub async fn start(&mut self, side: Side, budget: Budget) -> Result<Server, Box<dyn Error>> {
        let folder = self.new_folder()?;
        let database = folder.join(&self.file);
        match side {
            Side::Long => {
                fs::copy(self.silent(), &database)?;
                seed::talk(&database, LONG).await?;
            }
            Side::Program | Side::Baseline => drop(fs::copy(self.short(), &database)?),
        }
        match side {
            Side::Baseline => Server::baseline(&database),
            Side::Program | Side::Long => Server::real(Path::new(BINARY), &folder, budget),
        }
    }

    /// Starts the program on a database of its own, with one model, which is on the server at this address.
    pub fn start_asking(&mut self, upstream: SocketAddr) -> Result<Server, Box<dyn Error>> {
        let folder = self.new_folder()?;
        fs::copy(self.short(), folder.join(&self.file))?;
        let settings = format!(
            "[ai]\ncalls_at_once = 1000\n[ai.models.bench]\nprovider = \"openai\"\nbase_url = \"http://{upstream}/v1\"\nmodel = \"bench\"\n"
        );
        fs::write(folder.join("bambisleep.toml"), settings)?;
        Server::real(Path::new(BINARY), &folder, Budget::Vast)
    }

    /// A data folder with a database of its own and an empty lobby, whose webhooks, if any, go to these addresses and are
    /// yet to be told of so many messages there.
    pub async fn tell(&mut self, addresses: &[SocketAddr], messages: usize) -> Result<PathBuf, Box<dyn Error>> {
        let folder = self.new_folder()?;
        let database = folder.join(&self.file);
        fs::copy(self.silent(), &database)?;
        fs::write(folder.join("bambisleep.toml"), "webhooks_allow_insecure = true\n")?;
        if !addresses.is_empty() {
            let server = Server::real(Path::new(BINARY), &folder, Budget::Off)?;
            for (nth, address) in addresses.iter().enumerate() {
                let url = format!("http://{address}/");
                load::once(server.address, &move |out, _, _| {
                    requests::create_webhook(out, nth, &url)
                })
                .await?;
            }
        }
        if messages > 0 {
            seed::talk(&database, messages).await?;
        }
        Ok(folder)
    }

    fn new_folder(&mut self) -> io::Result<PathBuf> {
        self.copies += 1;
        let folder = self.folder.join(self.copies.to_string());
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Where the record of a profile goes.
    pub fn record(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.perf"))
    }

    fn short(&self) -> PathBuf {
        self.folder.join("short.sqlite")
    }

    /// Nothing is said in it yet: the million is written where it is asked for.
    fn silent(&self) -> PathBuf {
        self.folder.join("silent.sqlite")
    }
}
