//! Takes hold of all threads of a process, or says why that cannot be.

use super::status::{self, Status, leader_of};
use crate::error::{Error, Result};
use crate::ids::HostPid;
use crate::monitor::guests::threads_of;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::unistd::{Pid, Uid, geteuid, getpid};
use std::collections::BTreeSet;
use std::fs;

/// What a tracer of ours is told of beside calls: what its threads make is traced too.
pub(super) fn options() -> Options {
    Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
}

/// Seizes all threads of a process, given by the number of any of them, and has each stop. Gives them.
pub(super) fn all_threads(pid: HostPid) -> Result<BTreeSet<HostPid>> {
    let leader = leader_of(pid).ok_or_else(|| no_such(pid))?;
    let mut seized = BTreeSet::new();
    // Threads may make others until all are seized; those of seized ones come by themselves.
    loop {
        let before = seized.len();
        for tid in threads_of(leader) {
            if seized.contains(&tid) {
                continue;
            }
            match seize(tid) {
                Ok(()) => drop(seized.insert(tid)),
                Err(Errno::ESRCH) => {}
                Err(_) if is_ours(tid) => drop(seized.insert(tid)),
                // A thread that is about to end can be seized as little as a process that has.
                Err(_) if tid != leader && Status::of(tid).is_none_or(|of| of.is_zombie()) => {}
                Err(errno) => return Err(Facts::of(tid).error(leader, errno)),
            }
        }
        if seized.len() == before {
            break;
        }
    }
    if seized.is_empty() {
        return Err(no_such(pid));
    }
    Ok(seized)
}

fn seize(tid: HostPid) -> nix::Result<()> {
    let tid = Pid::from_raw(tid.0.cast_signed());
    ptrace::seize(tid, options())?;
    // It may end before; its last stop tells that.
    let _ = ptrace::interrupt(tid);
    Ok(())
}

/// Whether we trace a thread already.
fn is_ours(tid: HostPid) -> bool {
    let tracer = Status::of(tid).and_then(|of| of.number("TracerPid"));
    tracer == Some(getpid().as_raw().unsigned_abs())
}

fn no_such(pid: HostPid) -> Error {
    Error::refused(
        "trace",
        format_args!("process {pid}"),
        "there is no such process",
        "`ps -e` shows those of the host; of a zone's process give the zone too: `zone trace NAME --pid PID`",
    )
}

/// What decides whether a thread can be traced.
#[derive(Debug, Default)]
struct Facts {
    /// Who traces it already, and what that is called.
    tracer: Option<(u32, String)>,
    is_zombie: bool,
    is_kernels: bool,
    is_own: bool,
    /// It belongs to another user, and we are not root.
    is_others: bool,
    is_root: bool,
    /// What `kernel.yama.ptrace_scope` says; 0 where there is no such thing.
    scope: u32,
}

impl Facts {
    fn of(tid: HostPid) -> Self {
        /// Of the kernel's own threads (include/linux/sched.h).
        const PF_KTHREAD: u32 = 0x20_0000;
        let status = Status::of(tid);
        let number = |key| status.as_ref().and_then(|of| of.number(key)).unwrap_or(0);
        let tracer = number("TracerPid");
        let stat = crate::proc_text::read(format!("/proc/{tid}/stat")).unwrap_or_default();
        let behind_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let flags = behind_name
            .split(' ')
            .nth(6)
            .and_then(|word| word.parse().ok());
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
        let me = geteuid();
        Self {
            tracer: (tracer != 0).then(|| (tracer, status::comm(HostPid(tracer)))),
            is_zombie: status.as_ref().is_some_and(Status::is_zombie),
            is_kernels: flags.unwrap_or(0u32) & PF_KTHREAD != 0,
            is_own: leader_of(tid) == Some(HostPid(getpid().as_raw().unsigned_abs())),
            is_others: !me.is_root() && Uid::from_raw(number("Uid")) != me,
            is_root: me.is_root(),
            scope: scope.trim().parse().unwrap_or(0),
        }
    }

    fn error(&self, pid: HostPid, errno: Errno) -> Error {
        let (cause, remedy) = self.cause(errno);
        Error::refused("trace", format_args!("process {pid}"), cause, remedy)
    }

    /// Why it cannot be traced, and what to do about it.
    fn cause(&self, errno: Errno) -> (String, String) {
        const START: &str = "start the program by `zone trace -- PROGRAM`";
        let (cause, remedy) = match self {
            Self { is_own: true, .. } => ("it is this command itself", "trace another one"),
            Self {
                tracer: Some((pid, comm)),
                ..
            } => {
                return (
                    format!("it is traced already, by process {pid} ({comm})"),
                    format!("end that, and try again: `kill {pid}`"),
                );
            }
            Self {
                is_zombie: true, ..
            } => (
                "it has ended, and only waits for its parent to notice",
                "trace one that runs",
            ),
            Self {
                is_kernels: true, ..
            } => (
                "it is the kernel's own, which makes no calls",
                "trace a program",
            ),
            Self { scope: 3, .. } => (
                "this host lets nobody trace (kernel.yama.ptrace_scope is 3, until it is booted anew)",
                "run the program in a zone and trace that: zones need no ptrace(2)",
            ),
            Self {
                is_others: true, ..
            } => ("it belongs to another user", "trace it as root"),
            Self {
                scope: 1,
                is_root: false,
                ..
            } => {
                let remedy = format!(
                    "{START}, trace it as root, or have root allow it: `sysctl kernel.yama.ptrace_scope=0`"
                );
                return (
                    "this host lets only ancestors trace (kernel.yama.ptrace_scope is 1)".into(),
                    remedy,
                );
            }
            Self {
                scope: 2,
                is_root: false,
                ..
            } => (
                "this host lets only root trace (kernel.yama.ptrace_scope is 2)",
                "trace it as root, or have root allow it: `sysctl kernel.yama.ptrace_scope=0`",
            ),
            Self { is_root: false, .. } if errno == Errno::EPERM => (
                "it has rights that you have not, lets nobody look at it (prctl(PR_SET_DUMPABLE)), \
                 or you may trace nobody",
                "trace it as root",
            ),
            _ => {
                return (
                    errno.desc().to_owned(),
                    "a container, or a filter, may forbid ptrace(2): trace from outside it".into(),
                );
            }
        };
        (cause.to_owned(), remedy.to_owned())
    }
}

/// Why a program that we start cannot be traced.
pub(super) fn cannot_trace(child: HostPid, errno: Errno) -> Error {
    Facts::of(child).error(child, errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_remedy() {
        let cause = |facts: &Facts| facts.cause(Errno::EPERM);
        let traced = Facts {
            tracer: Some((12, "strace".into())),
            is_root: true,
            ..Facts::default()
        };
        assert_eq!(
            cause(&traced),
            (
                "it is traced already, by process 12 (strace)".into(),
                "end that, and try again: `kill 12`".into()
            )
        );
        let scope = |scope| Facts {
            scope,
            ..Facts::default()
        };
        for (facts, said) in [
            (scope(0), "has rights that you have not"),
            (scope(1), "ptrace_scope is 1"),
            (scope(2), "ptrace_scope is 2"),
            (scope(3), "ptrace_scope is 3"),
            (
                Facts {
                    is_others: true,
                    ..scope(1)
                },
                "another user",
            ),
            (
                Facts {
                    is_kernels: true,
                    ..scope(0)
                },
                "the kernel's own",
            ),
            (
                Facts {
                    is_root: true,
                    ..scope(2)
                },
                "Operation not permitted",
            ),
        ] {
            let (cause, remedy) = cause(&facts);
            assert!(cause.contains(said), "{facts:?}: {cause}");
            assert!(!remedy.is_empty());
        }
    }

    #[test]
    fn who_is_not_there_is_not_traced() {
        let error = all_threads(HostPid(u32::MAX >> 1)).expect_err("there is no such");
        assert!(error.to_string().contains("no such process"), "{error}");
        let own = HostPid(std::process::id());
        let error = all_threads(own).expect_err("nobody traces itself");
        assert!(error.to_string().contains("this command itself"), "{error}");
    }
}
