//! Starting a zone's processes: guardian, monitor, init.
//!
//! The guardian is the parent of the monitor and the reaper of whatever the zone leaves behind: when
//! the monitor is gone, however that came, every process of the zone is ended. When the guardian is
//! gone, the kernel sends the monitor SIGTERM, which halts the zone at once.

pub mod end;
pub mod tracer;

use crate::config::Config;
use crate::error::{Doing, Error, Result};
use crate::monitor::start;
use crate::zone::runner;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, pipe, setsid};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// What to boot.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Name of the zone.
    pub name: String,
    /// `zones/NAME`.
    pub zone_dir: PathBuf,
    /// Its configuration.
    pub config: Config,
    /// Number of its address.
    pub number: u16,
    /// As whom it runs on the host, if not as who boots it.
    pub runner: Option<runner::Ids>,
}

const CLAIMED: &str = "address claimed";

/// Boots a zone in the background; it is up on return.
///
/// # Errors
/// What the monitor says; `AddressClaimed` if another home runs under the zone's address.
pub fn boot(boot: Boot) -> Result<()> {
    let (reader, writer) = pipe().doing("make", "a pipe")?;
    // SAFETY: the command line has one thread when it boots a zone; the child execs nothing and
    // takes no lock that another thread could hold.
    match unsafe { fork() }.doing("fork", "the guardian")? {
        ForkResult::Parent { child } => {
            drop(writer);
            let mut answer = String::new();
            let _ = File::from(reader).read_to_string(&mut answer);
            let _ = waitpid(child, None);
            match answer.as_str() {
                "ok" => Ok(()),
                CLAIMED => Err(Error::AddressClaimed {
                    number: boot.number,
                }),
                "" => Err(Error::refused(
                    "boot",
                    &boot.name,
                    "its monitor ended",
                    format!("look into {}", boot.zone_dir.join("run/log").display()),
                )),
                message => Err(Error::Monitor(message.to_owned())),
            }
        }
        ForkResult::Child => {
            drop(reader);
            // SAFETY: the child of a single-threaded child.
            if let Ok(ForkResult::Child) = unsafe { fork() } {
                guardian(&boot, writer);
            }
            exit(0)
        }
    }
}

fn exit(status: i32) -> ! {
    // SAFETY: ends the process without running what the command line registered.
    unsafe { libc::_exit(status) }
}

/// A clean process: own session, default signals, no terminal, the log as output.
fn settle(boot: &Boot, keep: &OwnedFd) -> std::io::Result<()> {
    setsid()?;
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            // SAFETY: the default action runs no code of ours.
            unsafe { sigaction(signal, &default) }?;
        }
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(boot.zone_dir.join("run/log"))?;
    for (from, to) in [
        (null.as_raw_fd(), 0),
        (log.as_raw_fd(), 1),
        (log.as_raw_fd(), 2),
    ] {
        // SAFETY: the standard descriptors are replaced, nothing else.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    drop((null, log));
    let own: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for fd in own {
        if fd > 2 && fd != keep.as_raw_fd() {
            // SAFETY: inherited from the command line, used by nobody here.
            unsafe { libc::close(fd) };
        }
    }
    std::env::set_current_dir("/")
}

fn guardian(boot: &Boot, writer: OwnedFd) -> ! {
    let taken = boot.runner.map_or(Ok(()), runner::take_on);
    if let Err(error) = taken
        .map_err(Into::into)
        .and_then(|()| settle(boot, &writer))
    {
        let _ = write!(
            File::from(writer),
            "cannot boot zone {}: {error}",
            boot.name
        );
        exit(1);
    }
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let own = getpid();
    // SAFETY: single-threaded.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => monitor(boot, own, writer),
        Ok(ForkResult::Parent { child }) => {
            drop(writer);
            watch(child)
        }
        Err(_) => exit(1),
    }
}

/// Waits for the monitor's end, then ends what is left.
fn watch(monitor: Pid) -> ! {
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if pid != monitor => {}
            Err(nix::errno::Errno::EINTR) => {}
            _ => break,
        }
    }
    end::descendants_of(std::process::id(), Duration::ZERO);
    while matches!(waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
    {
    }
    exit(0)
}

fn monitor(boot: &Boot, guardian: Pid, writer: OwnedFd) -> ! {
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
    if getppid() != guardian {
        exit(1);
    }
    let mut answer = Some(File::from(writer));
    let result = start::run(boot, || {
        if let Some(mut answer) = answer.take() {
            let _ = answer.write_all(b"ok");
        }
    });
    match result {
        Ok(()) => exit(0),
        Err(error) => {
            eprintln!("{error}");
            if let Some(mut answer) = answer {
                let text = if matches!(error, Error::AddressClaimed { .. }) {
                    CLAIMED.to_owned()
                } else {
                    format!("{error}; {}", error.remedy())
                };
                let _ = answer.write_all(text.as_bytes());
            }
            exit(1)
        }
    }
}
