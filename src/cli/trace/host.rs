//! `zone trace --pid PID` and `zone trace -- PROGRAM`: programs of the host that are in no zone.

use super::inject;
use super::new_file;
use super::read::{Failure, Shown};
use crate::control::{Reply, Request};
use crate::error::{Doing, Error, Result};
use crate::home::Home;
use crate::ids::{HostPid, ZonePid};
use crate::monitor::guests;
use crate::outside::{Traced, Tracer, leader_of};
use crate::terminal::{Ended, Signals, tell};
use crate::zone::{Zone, registry};
use nix::fcntl::OFlag;
use nix::sys::signal::SigSet;
use nix::unistd::pipe2;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

/// How a program is traced.
pub(super) struct How<'a> {
    pub(super) shown: &'a Shown,
    /// Where it is recorded, if it is.
    pub(super) output: Option<&'a Path>,
    pub(super) inject: &'a inject::Options,
    /// Whether it is told whence calls are made.
    pub(super) has_stacks: bool,
}

/// The zone of a process of the host, and its number there; none if it is in no zone of ours. Who has no
/// directory for zones has none.
pub(super) fn zone_of(pid: HostPid) -> Result<Option<(Zone, ZonePid)>> {
    let Some(leader) = leader_of(pid) else {
        return Ok(None);
    };
    let Ok(home) = Home::find() else {
        return Ok(None);
    };
    for zone in registry::all(&home)? {
        let Some(status) = zone.observe()?.status else {
            continue;
        };
        if !guests::is_in_zone(HostPid(status.init_pid.unsigned_abs()), leader) {
            continue;
        }
        let host_pid = leader.0;
        return match zone.ask("trace", &Request::Process { host_pid })? {
            Reply::Process {
                zone_pid: Some(own),
            } => {
                tell(&format!(
                    "process {pid} of the host is process {own} of zone {}",
                    zone.name()
                ));
                Ok(Some((zone, ZonePid(own))))
            }
            Reply::Process { zone_pid: None } => Err(Error::refused(
                "trace",
                format_args!("process {pid}"),
                format_args!("it has just begun or ended in zone {}", zone.name()),
                format_args!("trace all of the zone: `zone trace {}`", zone.name()),
            )),
            other => Err(super::super::ports::unexpected(&zone, &other)),
        };
    }
    Ok(None)
}

impl How<'_> {
    /// Follows a process that runs, until Ctrl-C or its end.
    pub(super) fn follow(&self, pid: HostPid) -> Result<u8> {
        self.refuse_rules()?;
        let signals = Signals::hold()?;
        let tracer = Tracer::attach(pid)?;
        let what = if self.output.is_some() {
            "recorded"
        } else {
            "shown"
        };
        tell(&format!(
            "process {pid} ({}): its calls are {what} until Ctrl-C",
            tracer.name()
        ));
        self.trace(tracer, &signals, io::stdout()).map(|_| 0)
    }

    /// Starts a program and follows it. Its exit status is ours.
    pub(super) fn start(&self, command: &[OsString]) -> Result<u8> {
        self.refuse_rules()?;
        let mask = SigSet::thread_get_mask().doing("look at", "the mask of signals")?;
        let signals = Signals::hold()?;
        let tracer = Tracer::start(command, mask)?;
        // Standard output is the program's.
        let traced = self.trace(tracer, &signals, io::stderr())?;
        if let Some(Ended::NotStarted(errno)) = traced.ended {
            let name = command.first().map(|name| name.to_string_lossy());
            let error = io::Error::from_raw_os_error(errno);
            tell(&format!(
                "zone: cannot execute {}: {error}",
                name.unwrap_or_default()
            ));
        }
        Ok(traced.ended.map_or(0, Ended::status))
    }

    /// Calls can only be made to fail where we make them.
    fn refuse_rules(&self) -> Result<()> {
        if self.inject.is_empty() {
            return Ok(());
        }
        Err(Error::refused(
            "inject faults into",
            "a program of the host",
            "only what runs in a zone fails by rules",
            "run it in a zone: `zone run --inject RULE -- PROGRAM`",
        ))
    }

    fn trace(
        &self,
        mut tracer: Tracer,
        signals: &Signals,
        to: impl io::Write + Send,
    ) -> Result<Traced> {
        let object = "the calls of a program";
        if self.has_stacks {
            tracer.look_at_stacks();
        }
        if let Some(file) = self.output.filter(|_| self.shown.filters.is_empty()) {
            let traced = tracer.follow(signals, new_file(file)?);
            let traced = traced.doing("write", file.display())?;
            tell(&format!("{} calls were recorded", traced.calls));
            return Ok(traced);
        }
        let file = self.output.map(new_file).transpose()?;
        let (from, pipe) = pipe2(OFlag::O_CLOEXEC).doing("make", "a pipe")?;
        std::thread::scope(|scope| {
            let shower = scope.spawn(|| match file {
                Some(file) => self.shown.keep(File::from(from), file),
                None => self.shown.show_to(to, File::from(from)),
            });
            // Stays with the thread that has attached.
            let traced = tracer.follow(signals, File::from(pipe));
            match shower.join() {
                Ok(Ok(_)) => traced.doing("follow", object),
                Ok(Err(failure @ Failure::Output(_))) => {
                    failure.told("show", object)?;
                    traced.or(Ok(Traced::default()))
                }
                Ok(Err(failure)) => {
                    failure.told("show", object)?;
                    traced.doing("follow", object)
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}
