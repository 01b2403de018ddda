//! The command line: one file a subcommand.
//!
//! Each subcommand is a clap structure with a `run`, which calls the library and shows the result.
//! What a user reads as help is the doc comment of the same field that the parser fills.

mod boot;
mod check;
mod config;
mod create;
mod delete;
mod diff;
mod doctor;
mod export;
mod halt;
mod inject;
mod list;
mod login;
mod man;
mod ports;
mod print;
mod program;
mod publish;
mod run;
mod stat;
mod trace;
mod users;

use crate::control::Publish;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::terminal;
use crate::zone::Name;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use tracing::Level;

/// Our own failures, told apart from those of the programs in zones.
const FAILED: u8 = 125;

/// Runs unmodified Linux programs in zones: each with its own processes, users, ports, files and
/// host name, without root, user namespaces or a daemon.
#[derive(Parser)]
#[command(name = "zone", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The same for commands that scripts begin by the hundred: to describe all others takes longer than
/// to parse the line.
#[derive(Parser)]
#[command(name = "zone", version, max_term_width = 100)]
struct Frequent {
    #[command(subcommand)]
    command: FrequentCommand,
}

#[derive(Subcommand)]
enum FrequentCommand {
    Login(login::Args),
}

impl Cli {
    fn parse_words(words: &[OsString]) -> Result<Self, clap::Error> {
        if words.get(1).is_none_or(|word| word != "login") {
            return Self::try_parse_from(words);
        }
        let FrequentCommand::Login(args) = Frequent::try_parse_from(words)?.command;
        Ok(Self {
            command: Command::Login(args),
        })
    }
}

const AFTER_HELP: &str = "\
Zones lie in $PICOZONE_HOME, else in /var/lib/picozone (root) or ~/.local/share/picozone.
Exit status: 0; that of the program (128 + N if signal N ended it; 126 and 127 if it could not be \
run, as in a shell); 125 for every failure of zone itself \
(`zone trace diff`: 0, 1 and 2, as diff).
ZONE_LOG=debug shows what zone itself does.";

#[derive(Subcommand)]
enum Command {
    Create(create::Args),
    Boot(boot::Args),
    Run(run::Args),
    Login(login::Args),
    List(list::Args),
    Ports(ports::Args),
    Publish(publish::Args),
    Users(users::Args),
    Config(config::Args),
    Check(check::Args),
    Export(export::Args),
    Stat(stat::Args),
    Trace(trace::Args),
    Diff(diff::Args),
    Halt(halt::Args),
    Delete(delete::Args),
    Doctor(doctor::Args),
    Man(man::Args),
}

/// Runs the command of our own arguments and returns the exit status.
pub fn main() -> u8 {
    log();
    std::panic::set_hook({
        let usual = std::panic::take_hook();
        Box::new(move |panic| {
            terminal::restore();
            usual(panic);
        })
    });
    let words: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::parse_words(&words) {
        Ok(cli) => cli,
        Err(error) => {
            // The reader of the help may be gone.
            let _ = error.print();
            return if error.use_stderr() { FAILED } else { 0 };
        }
    };
    match cli.command.run() {
        Ok(status) => status,
        Err(error) => {
            complain(&error);
            FAILED
        }
    }
}

/// Shows an error of ours, with its remedy.
fn complain(error: &Error) {
    terminal::tell(&format!("zone: {error}"));
    let remedy = error.remedy();
    if !remedy.is_empty() {
        terminal::tell(&format!("      remedy: {remedy}"));
    }
}

impl Command {
    fn run(self) -> Result<u8> {
        let home = Home::find;
        match self {
            Self::Create(args) => args.run(&home()?),
            Self::Boot(args) => args.run(&home()?),
            Self::Run(args) => args.run(&home()?),
            Self::Login(args) => args.run(&home()?),
            Self::List(args) => args.run(&home()?),
            Self::Ports(args) => args.run(&home()?),
            Self::Publish(args) => args.run(&home()?),
            Self::Users(args) => args.run(&home()?),
            Self::Config(args) => args.run(&home()?),
            Self::Check(args) => args.run(&home()?),
            Self::Export(args) => args.run(&home()?),
            Self::Stat(args) => args.run(&home()?),
            Self::Trace(args) => args.run(),
            Self::Diff(args) => args.run(&home()?),
            Self::Halt(args) => args.run(&home()?),
            Self::Delete(args) => args.run(&home()?),
            Self::Doctor(args) => args.run(&home()?),
            Self::Man(args) => args.run(),
        }
    }
}

/// Our own log goes to standard error.
fn log() {
    use tracing_subscriber::EnvFilter;
    let all = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false);
    // Filters in words are rare, and to parse ours as one would cost each start page faults.
    match EnvFilter::try_from_env("ZONE_LOG") {
        Ok(filter) => all.with_env_filter(filter).init(),
        Err(_) => all.with_max_level(Level::WARN).init(),
    }
}

/// Parses a zone's name for clap, whose message then has the remedy too.
fn name(text: &str) -> Result<Name, String> {
    text.parse().map_err(|error: Error| error.remedy())
}

/// Parses a publication for clap.
fn publication(text: &str) -> Result<Publish, String> {
    crate::config::parse_publish(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_form_of_the_manual_parses() {
        for line in [
            "create web1",
            "create web1 --hostname www --publish 8080:80 --publish 0.0.0.0:53:53/udp",
            "create web1 --bind /usr:/data:ro",
            "create web1 --root /usr",
            "create web1 --debian",
            "create web1 --cow /usr --cow /tmp:/data",
            "diff web1 --json",
            "boot web1",
            "login web1",
            "login web1 -u www-data -- id -u",
            "run scratch -- sh -c id",
            "run -- true",
            "run x --rm -it -u root -w /tmp -e A=B -- cmd -x",
            "list",
            "list --json",
            "ports",
            "ports web1 --json",
            "publish web1 80:80/tcp",
            "publish web1 80:80 --remove",
            "halt web1",
            "halt web1 --timeout 0",
            "delete web1",
            "delete --force web1",
            "doctor",
            "doctor web1 --json",
            "stat web1 --json",
            "trace web1",
            "trace web1 --pid 12 -e failed -e latency>10ms --time --format json",
            "trace web1 -o out.zt",
            "trace web1 -o out.zt -e failed",
            "trace --pid 4711 -e failed --format json",
            "trace --pid 4711 -o out.zt",
            "trace -e failed -- make -k all",
            // A zone of that name.
            "trace --time read",
            "trace read out.zt --format summary",
            "trace read out.zt --format perfetto",
            "trace read out.zt --format html",
            "trace read out.zt -y",
            "trace read out.zt --unsupported",
            "trace learn out.zt",
            "trace diff good.zt bad.zt --context 5 --all -e failed",
            "run --trace=out.zt -- true",
            "users web1",
            "config web1",
            "config web1 show",
            "config web1 get users.map",
            "config web1 set users.map=0:100000:65536 hostname=www",
            "check web1 --repair",
            "export web1 web1.tar",
        ] {
            let words = std::iter::once("zone").chain(line.split_whitespace());
            let words: Vec<OsString> = words.map(OsString::from).collect();
            assert!(Cli::parse_words(&words).is_ok(), "{line}");
        }
        for line in [
            "",
            "boot",
            "boot Web1",
            "boot ../x",
            "run scratch",
            "run",
            "publish web1",
            "publish web1 80",
            "create web1 --debian --root /usr",
            "config web1 set",
            "config web1 set hostname",
            "login",
            "trace",
            "trace web1 -e colour=red",
            "trace web1 -- make",
            "trace --lossless -- make",
            "trace read",
            "trace diff good.zt",
            "trace learn",
            "trace read out.zt --unsupported --format json",
        ] {
            let words = std::iter::once("zone").chain(line.split_whitespace());
            let words: Vec<OsString> = words.map(OsString::from).collect();
            assert!(Cli::parse_words(&words).is_err(), "{line}");
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
