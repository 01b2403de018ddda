//! Processes whose end must be noticed: by descriptors of them (pidfd_open(2)), which a process that
//! takes over the number later does not answer to.

use crate::ids::HostPid;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::os::fd::{FromRawFd, OwnedFd};

/// Tells of the end of processes.
pub(super) struct Bell(Epoll);

/// The processes that are watched.
pub(super) type Watched = HashMap<u32, OwnedFd>;

impl Bell {
    pub(super) fn make() -> nix::Result<Bell> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Bell)
    }

    /// Watches a process until it ends. False if it has ended, or cannot be watched.
    pub(super) fn watch(&self, watched: &mut Watched, host: HostPid) -> bool {
        if watched.contains_key(&host.0) {
            return true;
        }
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, host.0, 0) };
        let Some(fd) = i32::try_from(fd).ok().filter(|fd| *fd >= 0) else {
            return false;
        };
        // SAFETY: the kernel has just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(host.0));
        let is_watched = self.0.add(&fd, event).is_ok();
        if is_watched {
            watched.insert(host.0, fd);
        }
        is_watched
    }

    /// Waits until a process has ended. False if it cannot be waited any more.
    pub(super) fn wait(&self) -> bool {
        let mut events = [EpollEvent::empty()];
        loop {
            match self.0.wait(&mut events, EpollTimeout::NONE) {
                Ok(_) => return true,
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Those that have ended since it was asked last. A process is among them before its parent can
    /// learn of its end.
    pub(super) fn ended(&self, watched: &mut Watched) -> Vec<HostPid> {
        let mut ended = Vec::new();
        if watched.is_empty() {
            return ended;
        }
        let mut events = [EpollEvent::empty(); 32];
        while let Ok(count @ 1..) = self.0.wait(&mut events, EpollTimeout::ZERO) {
            for event in events.iter().take(count) {
                let host = u32::try_from(event.data()).unwrap_or(0);
                if let Some(fd) = watched.remove(&host) {
                    let _ = self.0.delete(&fd);
                    ended.push(HostPid(host));
                }
            }
        }
        ended
    }
}

/// When a thread of the host began, in clock ticks since the host's start; `None` if it has ended.
pub(super) fn birth(tid: u32) -> Option<u64> {
    let stat = crate::proc_text::read(format!("/proc/{tid}/stat")).ok()?;
    let behind = stat.get(stat.rfind(')')? + 2..)?;
    let mut fields = behind.split(' ');
    let is_alive = !matches!(fields.next()?, "Z" | "X");
    // Field 22 of proc_pid_stat(5); the first one here was the third.
    let began = fields.nth(18)?.parse().ok()?;
    is_alive.then_some(began)
}
