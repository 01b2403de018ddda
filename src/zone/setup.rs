//! The last step of making a zone from packages: they are set up by their own scripts, in the zone.

use super::lifecycle::{halt_locked, start};
use super::{Lasting, Zone, channel::Channel};
use crate::control::{Exec, Reply, Request, Word};
use crate::error::{Doing, Error, Result};
use crate::home::Home;
use crate::terminal::Signals;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::time::Duration;

/// How much of the programs' last words is told where they fail, in lines.
const LAST_WORDS: usize = 8;

/// Runs a script of sh as root of the zone, which runs for that alone. The caller holds its lock.
///
/// # Errors
/// The zone cannot be booted, the script fails, or a signal came; what it said is told then.
pub(super) fn run(home: &Home, zone: &Zone, script: &str) -> Result<()> {
    let signals = Signals::hold()?;
    let mut config = zone.config()?;
    start(home, zone, &mut config)?;
    let done = script_in(zone, script, &signals);
    halt_locked(zone, Duration::ZERO)?;
    done
}

/// Ends what an interrupted creation left running. The caller holds the zone's lock.
pub(super) fn end_rest(zone: &Zone) -> Result<()> {
    if zone.lasting() != Lasting::Installed && zone.observe()?.monitor.is_some() {
        halt_locked(zone, Duration::ZERO)?;
    }
    Ok(())
}

fn script_in(zone: &Zone, script: &str, signals: &Signals) -> Result<()> {
    let path = zone.dir().join("setup.log");
    let null = File::open("/dev/null").doing("open", "/dev/null")?;
    let log = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .doing("open", path.display())?;
    let environment = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "LC_ALL=C",
        "DEBIAN_FRONTEND=noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN=true",
    ];
    let exec = Exec {
        argv: ["/bin/sh", "-c", script].map(Word::from).to_vec(),
        env: environment.map(Word::from).to_vec(),
        cwd: "/".into(),
        user: None,
        is_tty: false,
        trapped: Vec::new(),
    };
    let channel = zone.connect("set up")?;
    let object = format_args!("zone {}", zone.name());
    channel
        .send(
            &Request::Exec(exec),
            &[null.as_fd(), log.as_fd(), log.as_fd()],
        )
        .doing("set up", object)?;
    let cause = match outcome(&channel, signals).doing("set up", object)? {
        Ok(()) => return Ok(()),
        Err(cause) => cause,
    };
    let words = std::fs::read_to_string(&path).unwrap_or_default();
    let lines: Vec<&str> = words.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n      ");
    Err(Error::refused(
        "set up",
        object,
        format_args!("{cause}; the last of what was said:\n      {last}"),
        format_args!(
            "run `zone create {}` again, or `zone delete {}`",
            zone.name(),
            zone.name()
        ),
    ))
}

/// Waits for the script's end; what is wrong, if something is.
fn outcome(channel: &Channel, signals: &Signals) -> std::io::Result<Result<(), String>> {
    loop {
        if let Some(signal) = signals.wait(channel.as_fd())? {
            return Ok(Err(format!("interrupted by {signal}")));
        }
        match channel.receive::<Reply>()? {
            Some((Reply::Started { .. }, _)) => {}
            Some((Reply::NotStarted { message, .. }, _)) => return Ok(Err(message)),
            Some((Reply::Exited { wait_status }, _)) => {
                return Ok(match WaitStatus::from_raw(Pid::from_raw(1), wait_status) {
                    Ok(WaitStatus::Exited(_, 0)) => Ok(()),
                    Ok(WaitStatus::Exited(_, status)) => {
                        Err(format!("its packages end with status {status}"))
                    }
                    _ => Err("a signal ended its packages' scripts".to_owned()),
                });
            }
            Some(_) | None => return Ok(Err("its monitor ended".to_owned())),
        }
    }
}
