//! Reads the command line, then does as told.

use std::{
    io::{IsTerminal, Read, Write},
    process::ExitCode,
};

use bambisleep_chat::{
    accounts::{NewKey, Operator, password::Password},
    boot::{self, Failed},
    cli::{Cli, Command, KeyCommand, UserCommand},
    config::{Settings, WebOrigin},
    error::Error,
    logging,
};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the process ends with when a setting is wrong, as clap has it for the command line.
const BAD_SETTING: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = logging::start() {
        eprintln!("{error}");
        return ExitCode::from(BAD_SETTING);
    }
    let settings = match Settings::load(cli.config.as_deref(), &cli.flags) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(BAD_SETTING);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.into_command(), settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // An error of the server's own says in its debugging form what it keeps from clients.
            match error.downcast_ref::<Error>() {
                Some(error) => eprintln!("{error:?}"),
                None => eprintln!("{error}"),
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, settings: Settings) -> Result<(), Failed> {
    match command {
        Command::Serve => boot::serve(settings).await,
        Command::Migrate => Ok(boot::open(&settings).await?.close().await?),
        Command::Schema => print(boot::documents(&public(&settings))?.0.as_bytes()),
        Command::Openapi => print(&boot::documents(&public(&settings))?.1),
        Command::User(command) => {
            let gate = boot::open(&settings).await?;
            user(command, &Operator::new(&gate)).await?;
            Ok(gate.close().await?)
        }
        Command::Key(KeyCommand::Create {
            name,
            user,
            scopes,
            expires,
        }) => {
            let gate = boot::open(&settings).await?;
            let expires_at = expires.map(|time| time.timestamp_millis());
            let key = Operator::new(&gate)
                .create_key(
                    &user,
                    NewKey {
                        name,
                        scopes,
                        expires_at,
                    },
                )
                .await?;
            println!("{}", key.expose());
            Ok(gate.close().await?)
        }
    }
}

fn public(settings: &Settings) -> WebOrigin {
    settings
        .public_url
        .clone()
        .unwrap_or_else(|| WebOrigin::of(settings.bind))
}

/// A closed pipe is no failure: `bambisleep-chat schema | head`.
fn print(text: &[u8]) -> Result<(), Failed> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

async fn user(command: UserCommand, operator: &Operator) -> Result<(), Failed> {
    match command {
        UserCommand::Create { name, role } => {
            operator.create(name, read_password()?, role).await?;
        }
        UserCommand::Role { name, role } => operator.set_role(&name, role).await?,
        UserCommand::Ban { name, reason, until } => {
            operator
                .ban(&name, &reason, until.map(|time| time.timestamp_millis()))
                .await?;
        }
        UserCommand::Unban { name } => operator.unban(&name).await?,
        UserCommand::Password { name } => operator.set_password(&name, read_password()?).await?,
    }
    Ok(())
}

/// The first line of stdin.
fn read_password() -> Result<Password, Failed> {
    if std::io::stdin().is_terminal() {
        eprint!("password: ");
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default();
    Ok(Password::new(line.to_owned()))
}
