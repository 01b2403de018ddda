//! Ending every process beneath one.
//!
//! Which processes these are is the kernel's word (`/proc/PID/task/TID/children`). Each is held by a
//! pidfd and looked at again before it is signalled, so that a number that was given to somebody
//! else meanwhile does no harm.

use crate::ids::HostPid;
use crate::monitor::guests::{descendants, is_in_zone};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a killed process may take to go.
const KILLED: Duration = Duration::from_secs(5);
/// New processes may appear while we stop the others, but not for ever.
const ROUNDS_MAX: usize = 200;

/// Asks every descendant of `root` to end, by SIGTERM, waits for `grace`, then kills what is left.
/// `root` itself stays as it is. Returns whether none is left.
pub fn descendants_of(root: u32, grace: Duration) -> bool {
    if !grace.is_zero() {
        for process in live(root) {
            process.signal(Signal::SIGTERM);
            // A stopped one would not hear it.
            process.signal(Signal::SIGCONT);
        }
        wait(root, grace);
    }
    freeze(root);
    for process in live(root) {
        process.signal(Signal::SIGKILL);
    }
    wait(root, KILLED)
}

/// Stops every descendant, so that none makes more of them while they are killed.
fn freeze(root: u32) {
    let mut stopped = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let mut is_new = false;
        for process in live(root) {
            if stopped.insert(process.pid) {
                is_new = true;
                process.signal(Signal::SIGSTOP);
            }
        }
        if !is_new {
            return;
        }
    }
}

/// Waits until no descendant is left, at most for `time`; those that appear later are waited for too.
fn wait(root: u32, time: Duration) -> bool {
    let end = Instant::now() + time;
    loop {
        let processes = live(root);
        let Some(first) = processes.first() else {
            return true;
        };
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(first.pidfd.as_fd(), PollFlags::POLLIN)];
        if left.is_zero() || poll(&mut polled, timeout) == Ok(0) {
            return false;
        }
    }
}

struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Process {
    fn signal(&self, signal: Signal) {
        // SAFETY: takes numbers and no siginfo; fails if the process is gone, which is all right.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal as i32,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
    }
}

/// The descendants that have not ended, each verified after it was taken hold of.
fn live(root: u32) -> Vec<Process> {
    descendants(root)
        .into_iter()
        .filter_map(|pid| {
            // SAFETY: takes numbers only.
            let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
            let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0)?;
            // SAFETY: the kernel has just made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
            (is_in_zone(HostPid(root), HostPid(pid)) && !is_dead(pid))
                .then_some(Process { pid, pidfd })
        })
        .collect()
}

/// Whether it has ended and only waits to be reaped.
fn is_dead(pid: u32) -> bool {
    let Ok(stat) = crate::proc_text::read(format!("/proc/{pid}/stat")) else {
        return true;
    };
    stat.rfind(')')
        .and_then(|at| stat.get(at + 2..at + 3))
        .is_none_or(|state| state == "Z" || state == "X")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// A shell with a child that ignores SIGTERM, a stopped one and one that forks on.
    fn family() -> std::process::Child {
        let script = "(trap '' TERM; echo r; while :; do sleep 100; done) & \
                      sleep 100 & kill -STOP $!; \
                      (while :; do sleep 0.001; done) & wait";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut byte = [0];
        std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut byte)
            .expect("the trap stands");
        child
    }

    #[test]
    fn all_descendants_end_and_nobody_else() {
        let mut other = Command::new("sleep").arg("100").spawn().expect("sleep");
        let mut child = family();
        let grace = Duration::from_millis(20);
        assert!(descendants_of(child.id(), grace));
        // What stays unreaped is dead: the shell is not stopped, and reaps or ends by itself.
        assert!(live(child.id()).is_empty());
        assert!(other.try_wait().expect("asked").is_none());
        for process in [&mut child, &mut other] {
            let _ = process.kill();
            process.wait().expect("reaped");
        }
    }
}
