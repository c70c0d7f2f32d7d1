//! The command line: what can be asked of the program. What is done about it is `main`'s.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{
    Arg, ArgMatches, Args, Command as ClapCommand, FromArgMatches, Parser, Subcommand, builder::ArgAction, error::Error,
};

use crate::{
    config::{DEFAULT_FILE, Flags, SETTINGS, Setting},
    gate::rules::{Role, Scope},
};

/// The command line, parsed. Faults of it end the process with status 2, as clap does.
#[derive(Debug, Parser)]
#[command(name = "bambisleep-chat", version, about, max_term_width = 120)]
pub struct Cli {
    /// The settings file, which must exist
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = format!("The settings file [default: {DEFAULT_FILE} if it exists]"),
        help_heading = "Settings"
    )]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// What to do: `serve` unless something else was asked for.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve)
    }
}

/// What the program can do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the server (the default)
    Serve,
    /// Bring the database up to date and exit
    Migrate,
    /// Print the GraphQL schema
    Schema,
    /// Print the OpenAPI document of the REST API
    Openapi,
    /// Create and change members
    #[command(subcommand)]
    User(UserCommand),
    /// Create API keys
    #[command(subcommand)]
    Key(KeyCommand),
}

/// What can be done with members.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum UserCommand {
    /// Create a member; the password is read from stdin
    Create {
        name: String,
        /// member, moderator or admin
        #[arg(long, default_value = "member")]
        role: Role,
    },
    /// Change a member's role
    Role {
        name: String,
        /// member, moderator or admin
        role: Role,
    },
    /// Ban a member
    Ban {
        name: String,
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
        /// When the ban ends, such as 2030-01-01T00:00:00Z; without it, never
        #[arg(long, value_name = "RFC3339", value_parser = time)]
        until: Option<DateTime<Utc>>,
    },
    /// End a member's ban
    Unban { name: String },
    /// Change a member's password; the new one is read from stdin
    Password { name: String },
}

/// What can be done with API keys.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum KeyCommand {
    /// Create an API key and print it, once
    Create {
        /// What the key is for
        name: String,
        /// The member that the key acts for
        #[arg(long = "for", value_name = "USER")]
        user: String,
        /// What the key may do, such as chat:read; repeat it or separate with commas
        #[arg(long = "scope", value_name = "SCOPE", required = true, num_args = 1.., value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// When the key stops working, such as 2030-01-01T00:00:00Z; without it, never
        #[arg(long, value_name = "RFC3339", value_parser = time)]
        expires: Option<DateTime<Utc>>,
    },
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| "is not an RFC 3339 time such as 2030-01-01T00:00:00Z".to_owned())
}

/// One flag for each of [`SETTINGS`]. Their values are checked with those of the other sources, not here.
impl Args for Flags {
    fn augment_args(command: ClapCommand) -> ClapCommand {
        SETTINGS
            .iter()
            .fold(command, |command, setting| command.arg(flag(setting)))
    }

    fn augment_args_for_update(command: ClapCommand) -> ClapCommand {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for setting in SETTINGS {
            if let Some(text) = matches.get_one::<String>(setting.name) {
                self.set(setting, text.clone());
            }
        }
        Ok(())
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let default = setting
        .default
        .map_or_else(String::new, |text| format!(" [default: {text}]"));
    let arg = Arg::new(setting.name)
        .long(setting.flag)
        .value_name(setting.value_name)
        .help(format!("{} [env: {}]{default}", setting.description, setting.env))
        .help_heading("Settings")
        .action(ArgAction::Set)
        .global(true);
    if setting.value_name == "BOOL" {
        arg.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        arg
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, Error> {
        Cli::try_parse_from(std::iter::once("bambisleep-chat").chain(line.split_whitespace()))
    }

    fn command(line: &str) -> Command {
        parse(line).unwrap().into_command()
    }

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default() {
        assert_eq!(command(""), Command::Serve);
        assert_eq!(command("serve"), Command::Serve);
        assert_eq!(command("--bind 127.0.0.1:0"), Command::Serve);
    }

    #[test]
    fn members_are_created_and_changed() {
        assert_eq!(
            command("user create Ada --role admin"),
            Command::User(UserCommand::Create {
                name: "Ada".to_owned(),
                role: Role::Admin
            })
        );
        assert_eq!(
            command("user role Ada MODERATOR"),
            Command::User(UserCommand::Role {
                name: "Ada".to_owned(),
                role: Role::Moderator
            })
        );
        assert_eq!(
            command("user ban Ada --reason spam --until 2030-01-01T02:00:00+02:00"),
            Command::User(UserCommand::Ban {
                name: "Ada".to_owned(),
                reason: "spam".to_owned(),
                until: Some("2030-01-01T00:00:00Z".parse().unwrap()),
            })
        );
    }

    #[test]
    fn scopes_are_repeated_or_listed() {
        let Command::Key(KeyCommand::Create { scopes, user, .. }) =
            command("key create bot --for ada --scope chat:read,CHAT_WRITE ai:generate --scope moderate")
        else {
            panic!("not a key")
        };
        assert_eq!(user, "ada");
        assert_eq!(
            scopes,
            [Scope::ChatRead, Scope::ChatWrite, Scope::AiGenerate, Scope::Moderate]
        );
    }

    #[test]
    fn faults_end_with_status_2() {
        for line in [
            "user create --role member",
            "user create Ada --role queen",
            "user ban Ada --reason spam --until tomorrow",
            "key create bot --for ada",
            "key create bot --for ada --scope everything",
            "serve --bnid 127.0.0.1:0",
            "dance",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let error = parse("user role Ada queen").unwrap_err().to_string();
        assert!(error.contains("is not one of member, moderator, admin"), "{error}");
    }

    #[test]
    fn every_setting_has_a_flag_before_and_after_the_command() {
        for setting in SETTINGS {
            for line in [
                format!("--{}=true serve", setting.flag),
                format!("user unban ada --{}=true", setting.flag),
            ] {
                let flags = parse(&line).unwrap().flags;
                assert_eq!(format!("{flags:?}"), format!("{{{:?}}}", setting.name), "{line}");
            }
        }
        let config = parse("migrate --config a.toml").unwrap().config;
        assert_eq!(config, Some(PathBuf::from("a.toml")));
    }

    #[test]
    fn a_switch_needs_no_value() {
        let flags = parse("--webhooks-allow-insecure serve").unwrap();
        assert_eq!(format!("{:?}", flags.flags), "{\"webhooks_allow_insecure\"}");
        assert_eq!(flags.into_command(), Command::Serve);
    }

    #[test]
    fn help_names_variables_and_defaults() {
        let error = parse("--help").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DisplayHelp);
        let help = error.to_string();
        for setting in SETTINGS {
            assert!(help.contains(&format!("--{}", setting.flag)), "{help}");
            assert!(help.contains(setting.env), "{help}");
        }
    }

    #[test]
    fn debug_shows_no_secrets() {
        let cli = parse("--database-url postgres://u:hunter2@db/x").unwrap();
        assert!(!format!("{cli:?}").contains("hunter2"));
    }
}
