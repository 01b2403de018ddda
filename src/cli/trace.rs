//! `zone trace`.

mod diff;
mod host;
mod read;

use super::inject;
use super::program::Level;
use crate::control::{Reply, Request, Trace, Traced};
use crate::error::{Doing, Error, Result};
use crate::home::Home;
use crate::ids::HostPid;
use crate::terminal::{Signals, tell};
use crate::trace::filter::Filter;
use crate::zone::channel::Channel;
use crate::zone::{Name, Zone};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use read::{Failure, Shown};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Follow the system calls of a running zone's programs, or of the host's, or show a recorded trace
///
/// Shown are the calls that zones translate (those about files, processes, users, sockets, signals and
/// the like), in the zone's terms and where they differ in the host's:
/// `openat(AT_FDCWD, "/etc/passwd" -> web1:etc/passwd, O_RDONLY) = 3`. Calls that need no translation,
/// such as read, write, mmap, futex and exit_group, are the kernel's: they are seen of programs that were
/// started with --level all. Programs need not be started anew, and run on as fast as before when it ends.
///
/// Without a zone a process of the host is followed (--pid), or a program is started and followed
/// (`zone trace -- make`), with all of its calls, its threads and what it starts. That is done by ptrace(2):
/// each call takes some tens of microseconds more. The process runs on when the trace ends.
///
/// A filter is made of conditions, joined by `and`, `or`, `not` and parentheses.
/// Texts: zone, comm, call, path, fd (what a descriptor stands for), address (also a network as 10.111.0.0/16),
/// arg (any argument; arg.flags: that one) and text (the whole line), with =, !=, ~, !~ and has. ~ takes
/// a pattern: `*` and `?`, of path and fd within a component, where `**` goes over components; and of the
/// last component where it has no slash.
/// Numbers: pid, tid, fd, port, result and latency (ns, us, ms, s), with =, !=, <, <=, >, >=.
/// Others: errno = ENOENT; failed; and the
/// classes %file, %net, %process, %user, %signal, %ipc, %desc. For example
/// `-e 'path ~ "/etc/**" and failed' -e 'port = 80 or latency > 10ms'`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    #[command(subcommand)]
    recorded: Option<Recorded>,
    /// Name of the zone
    #[arg(value_parser = super::name, required_unless_present_any = ["pid", "command"])]
    name: Option<Name>,
    /// Of a zone, only the calls of this process of it; without a zone, follow this process of the host, and
    /// what it starts
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Only the calls of this thread
    #[arg(long, value_name = "TID")]
    tid: Option<u32>,
    /// Record the calls into a file, for `zone trace read`, rather than show them
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["format", "time", "descriptors", "unsupported"])]
    output: Option<PathBuf>,
    /// Have programs wait where they call faster than is recorded, rather than miss calls
    #[arg(long, requires = "name", conflicts_with = "command")]
    lossless: bool,
    /// Show what was called last, of a zone that keeps it (`zone create --flight`)
    #[arg(long, value_name = "TIME", value_parser = last, requires = "name", conflicts_with_all = ["lossless", "rules", "command"])]
    last: Option<u64>,
    /// Tell whence each call was made: the functions on its thread's stack. Programs of a zone then wait
    /// where they call faster than that is recorded
    #[arg(short = 'k', long = "stack-trace", conflicts_with = "last")]
    has_stacks: bool,
    /// Which calls: `all` only of programs that were started so (`zone login --level all`)
    #[arg(long, value_enum, default_value_t = Level::Translated)]
    level: Level,
    #[command(flatten)]
    inject: inject::Options,
    #[command(flatten)]
    shown: Shown,
    /// Start this program on the host and follow it; its calls are shown on standard error
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["name", "pid"])]
    command: Vec<OsString>,
}

#[derive(clap::Subcommand)]
enum Recorded {
    /// Show a trace that `zone trace -o` or `zone run --trace` has recorded
    Read {
        /// The trace
        file: PathBuf,
        #[command(flatten)]
        shown: Shown,
    },
    Diff(diff::Args),
    /// Propose the least configuration that traced programs were seen to need
    ///
    /// A piece of zone.toml: directories of the host that they used, or looked for in vain and the host has;
    /// ports that they listened on; users that they became. Behind that, as remarks: how many
    /// processes, threads and descriptors they had, which directories of the zone they wrote, and what they
    /// looked for and did not find. What they reached from descriptors and the working directory is not
    /// known; a configuration that suffices may need more.
    Learn {
        /// The trace
        file: PathBuf,
    },
}

/// A time as 10s, in milliseconds.
fn last(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time is a number with ms, s, m or h, as 10s".to_owned()),
    };
    let number: Option<u64> = digits.parse().ok();
    let all = number.and_then(|number| number.checked_mul(factor));
    all.ok_or_else(|| "a time is a number with ms, s, m or h, as 10s".to_owned())
}

impl Args {
    pub(super) fn run(self) -> Result<u8> {
        match self.recorded {
            Some(Recorded::Read { file, shown }) => return read::read(&file, &shown),
            Some(Recorded::Diff(args)) => return Ok(args.run()),
            Some(Recorded::Learn { file }) => return read::learn(&file),
            None => {}
        }
        let mut shown = self.shown;
        if let Some(tid) = self.tid {
            shown.narrow(Filter::of_thread(tid));
        }
        let on_host = host::How {
            shown: &shown,
            output: self.output.as_deref(),
            inject: &self.inject,
            has_stacks: self.has_stacks,
        };
        let (zone, pid) = match (self.name, self.pid.map(HostPid)) {
            (Some(name), _) => (Zone::open(&Home::find()?, &name, "trace")?, self.pid),
            (None, Some(pid)) => match host::zone_of(pid)? {
                Some((zone, own)) => (zone, Some(own.0)),
                None => return on_host.follow(pid),
            },
            (None, None) => return on_host.start(&self.command),
        };
        let name = zone.name().clone();
        if let Some(pid) = pid {
            shown.narrow(Filter::of_process(pid));
        }
        if self.level == Level::All {
            return Err(Error::refused(
                "record all calls of",
                format_args!("zone {name}"),
                "programs that run make the calls that need no translation without us",
                format_args!(
                    "start them by `zone login {name} --level all` or `zone run --level all`: \
                     those calls of theirs are in every trace then"
                ),
            ));
        }
        self.inject.warn(&zone);
        let injecting = self.inject.begin(&zone)?;
        let how = Trace {
            is_lossless: self.lossless || self.has_stacks,
            has_stacks: self.has_stacks,
            last_ms: self.last,
            bounds: shown.bounds(),
        };
        let result = match self.output {
            Some(file) if shown.filters.is_empty() => {
                let signals = Signals::hold()?;
                let is_past = self.last.is_some();
                let recording = record(&zone, &file, how)?;
                if !is_past {
                    tell(&format!("zone {name}: its calls are recorded until Ctrl-C"));
                }
                recording.wait(&signals).map(drop)
            }
            file => follow(&zone, &shown, how, file.as_deref()),
        };
        let injected = injecting.map_or(Ok(()), |injecting| injecting.end());
        result.and(injected).map(|()| 0)
    }
}

/// A trace that goes on, of which this is the end that ends it.
pub(super) struct Recording<'a> {
    zone: &'a Zone,
    channel: Channel,
}

/// Has the monitor record all calls into a new file.
pub(super) fn record<'a>(zone: &'a Zone, file: &Path, how: Trace) -> Result<Recording<'a>> {
    begin(zone, new_file(file)?.as_fd(), how)
}

/// A file for a trace: what programs call is for nobody else to read.
fn new_file(file: &Path) -> Result<File> {
    let mut how = OpenOptions::new();
    let how = how.write(true).create(true).truncate(true).mode(0o600);
    how.open(file).doing("write", file.display())
}

fn begin<'a>(zone: &'a Zone, to: BorrowedFd<'_>, how: Trace) -> Result<Recording<'a>> {
    let channel = zone.connect("trace")?;
    match zone.ask_by(&channel, "trace", &Request::Trace(how), &[to])? {
        Reply::Ok => {}
        other => return Err(super::ports::unexpected(zone, &other)),
    }
    let object = format_args!("the monitor of zone {}", zone.name());
    channel.wait_for_ever().doing("wait for", object)?;
    Ok(Recording { zone, channel })
}

impl Recording<'_> {
    /// Ends it; what was called until now is recorded.
    pub(super) fn end(self) -> Result<()> {
        // The zone may have ended by itself, and all be there.
        let _ = self.channel.send(&Request::Untrace, &[]);
        self.ended()
    }

    /// Waits until the user or the zone ends it. Whether it has ended: a second time, the user does not
    /// wait for the rest.
    fn wait(&self, signals: &Signals) -> Result<bool> {
        for _ in 0..2 {
            let signal = signals
                .wait(self.channel.as_fd())
                .doing("wait for", "a signal")?;
            if signal.is_none() {
                return self.ended().map(|()| true);
            }
            let _ = self.channel.send(&Request::Untrace, &[]);
        }
        Ok(false)
    }

    /// What the monitor says of it, once it has ended.
    fn ended(&self) -> Result<()> {
        let reply = self.channel.receive::<Reply>();
        match reply.doing(
            "ask",
            format_args!("the monitor of zone {}", self.zone.name()),
        )? {
            Some((Reply::Traced(traced), _)) => {
                tell(&format!("zone {}: {}", self.zone.name(), said(&traced)));
                Ok(())
            }
            Some((Reply::Error { message }, _)) => Err(Error::Monitor(message)),
            Some((other, _)) => Err(super::ports::unexpected(self.zone, &other)),
            None => Err(self.zone.ended("trace")),
        }
    }
}

fn said(traced: &Traced) -> String {
    let mut text = format!("{} calls were recorded", traced.calls);
    if traced.dropped != 0 {
        text += &format!(", {} were not since they came too fast", traced.dropped);
    }
    if traced.skipped != 0 {
        text += &format!(", {} were and could not be written in time", traced.skipped);
    }
    text
}

/// Shows calls as they are made, or keeps in a file those that are chosen.
fn follow(zone: &Zone, shown: &Shown, how: Trace, file: Option<&Path>) -> Result<()> {
    let signals = Signals::hold()?;
    let file = file.map(new_file).transpose()?;
    let is_past = how.last_ms.is_some();
    let (from, to) = pipe2(OFlag::O_CLOEXEC).doing("make", "a pipe")?;
    let recording = begin(zone, to.as_fd(), how)?;
    drop(to);
    if !is_past {
        let done = if file.is_some() { "recorded" } else { "shown" };
        tell(&format!(
            "zone {}: its calls are {done} until Ctrl-C",
            zone.name()
        ));
    }
    std::thread::scope(|scope| {
        let shower = scope.spawn(|| {
            let from = File::from(from);
            let result = match file {
                Some(file) => shown.keep(from, file),
                None => shown.show(from),
            };
            if matches!(result, Err(Failure::Output(_))) {
                // Nobody reads what we show: the trace is over.
                recording.channel.close();
            }
            result
        });
        let ended = match recording.wait(&signals) {
            Ok(true) => Ok(()),
            // What is still to be shown is not waited for either.
            Ok(false) => std::process::exit(0),
            Err(error) => Err(error),
        };
        match shower.join() {
            Ok(Ok(_)) => ended,
            Ok(Err(failure)) => failure.told("show", format_args!("zone {}", zone.name())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
