//! A process or thread of the zone whose files are being looked at.

use super::{Errno, View};
use crate::ids::{HostPid, ZonePid};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use picozone_personality::capabilities::Power;
use picozone_personality::layout::THREAD_BIAS;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// A process or thread, verified to be the zone's, with its directory of the host's `/proc` open.
///
/// The directory stays bound to the process when its number is used again: reads then fail.
#[derive(Debug)]
pub(in crate::monitor) struct Subject {
    /// The process.
    pub(in crate::monitor) process: ZonePid,
    /// The process on the host.
    pub(in crate::monitor) host: HostPid,
    /// The thread in the zone's numbering; equals `process` for the leader.
    pub(in crate::monitor) thread: ZonePid,
    /// Whether it is looked at as one thread (`/proc/PID/task/TID`) or as the whole process.
    pub(super) is_task: bool,
    dir: OwnedFd,
}

impl Subject {
    /// The process (or hidden thread, as on Linux) with this number.
    ///
    /// # Errors
    /// ENOENT if the zone has none.
    pub(in crate::monitor) fn find(view: &dyn View, number: ZonePid) -> Result<Self, Errno> {
        if number.0 >= THREAD_BIAS {
            let thread = HostPid(number.0 - THREAD_BIAS);
            let leader = Self::find(view, zone_process_of(view, thread)?)?;
            if leader.host == thread {
                return Err(libc::ENOENT);
            }
            // With the directory of all threads, as on Linux. Whose number it is by now is asked anew.
            let dir = directory(&format!("/proc/{thread}"))?;
            if zone_process_of(view, thread) != Ok(leader.process) {
                return Err(libc::ENOENT);
            }
            return Ok(Self {
                thread: number,
                dir,
                ..leader
            });
        }
        let host = view.to_host(number).ok_or(libc::ENOENT)?;
        let dir = directory(&format!("/proc/{host}"))?;
        // The process may have died, and its number may be a stranger's, between question and open.
        if view.to_host(number) != Some(host) {
            return Err(libc::ENOENT);
        }
        Ok(Self {
            process: number,
            host,
            thread: number,
            is_task: false,
            dir,
        })
    }

    /// The thread's id on the host.
    pub(super) fn thread_on_host(&self) -> HostPid {
        match self.thread.0.checked_sub(THREAD_BIAS) {
            Some(thread) => HostPid(thread),
            None => self.host,
        }
    }

    /// One thread of this process. libc names its threads by what the kernel wrote, so their host ids,
    /// which are below the bias, count too, though they are not listed.
    ///
    /// # Errors
    /// ENOENT if there is none with this number.
    pub(super) fn task(self, thread: ZonePid) -> Result<Self, Errno> {
        let (thread, host) = match thread.0.checked_sub(THREAD_BIAS) {
            _ if thread == self.process => (thread, self.host),
            // The leader's host id plus the bias is no second name of it.
            Some(host) if HostPid(host) == self.host => return Err(libc::ENOENT),
            Some(host) => (thread, HostPid(host)),
            None => {
                let host = HostPid(thread.0);
                (zone_thread(self.process, self.host, host), host)
            }
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = openat(
            &self.dir,
            format!("task/{host}").as_str(),
            flags,
            Mode::empty(),
        )
        .map_err(|_| libc::ENOENT)?;
        Ok(Self {
            thread,
            is_task: true,
            dir,
            ..self
        })
    }

    /// The threads, by the zone's numbers.
    ///
    /// # Errors
    /// ENOENT or ESRCH if the process is gone.
    pub(super) fn threads(&self) -> Result<Vec<ZonePid>, Errno> {
        let threads = self.numbers("task")?;
        Ok(threads
            .into_iter()
            .map(|host| zone_thread(self.process, self.host, HostPid(host)))
            .collect())
    }

    /// The content of one of its files on the host.
    ///
    /// # Errors
    /// ENOENT or ESRCH if it is gone; EACCES if the host's kernel refuses.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, name, flags, Mode::empty()).map_err(|errno| errno as Errno)?;
        let mut content = Vec::new();
        match File::from(file).read_to_end(&mut content) {
            Ok(_) => Ok(content),
            Err(error) => Err(error.raw_os_error().unwrap_or(libc::ESRCH)),
        }
    }

    /// The text of one of its links on the host.
    ///
    /// # Errors
    /// ENOENT if it is gone; EACCES if the host's kernel refuses.
    pub(in crate::monitor) fn readlink(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let text = readlinkat(&self.dir, name).map_err(|errno| errno as Errno)?;
        Ok(text.into_vec())
    }

    /// The names of one of its directories that are numbers, in ascending order.
    ///
    /// # Errors
    /// As [`Subject::read`].
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<u32>, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir =
            Dir::openat(&self.dir, name, flags, Mode::empty()).map_err(|errno| errno as Errno)?;
        let mut numbers = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(|errno| errno as Errno)?;
            numbers.extend(number(entry.file_name().to_bytes()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Attributes of one of its files on the host, links not followed.
    ///
    /// # Errors
    /// ENOENT if it is gone.
    pub(super) fn attributes(&self, name: &str) -> Result<FileStat, Errno> {
        fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|errno| errno as Errno)
    }

    /// Another descriptor of the directory on the host.
    ///
    /// # Errors
    /// EMFILE if the monitor has too many.
    pub(super) fn dir(&self) -> Result<OwnedFd, Errno> {
        self.dir
            .try_clone()
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EMFILE))
    }

    /// Opens what one of its magic links leads to, as `O_PATH`.
    ///
    /// # Errors
    /// As [`Subject::read`].
    pub(super) fn pin(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        openat(self.dir.as_fd(), name, flags, Mode::empty()).map_err(|errno| errno as Errno)
    }

    /// Whether it is the caller itself: asleep only until it has its answer, and so running.
    pub(super) fn is_asking(&self, view: &dyn View, caller: HostPid) -> bool {
        let own = zone_process_of(view, caller);
        own == Ok(self.process) && self.thread == zone_thread(self.process, self.host, caller)
    }

    /// Whether the caller may look into the process: the rule of ptrace(2), "Ptrace access mode
    /// checking", with the zone's users.
    pub(super) fn may_be_inspected(&self, view: &dyn View, caller: HostPid) -> bool {
        let Ok(asking) = zone_process_of(view, caller) else {
            return false;
        };
        if asking == self.process {
            return true;
        }
        let from = view.credentials(asking);
        let of = view.credentials(self.process);
        let (uid, gid) = (from.uid[3], from.gid[3]);
        let has_more = of.capabilities.permitted & !from.capabilities.effective != 0;
        from.capabilities.has(Power::Trace)
            || (!view.is_closed(self.process)
                && !has_more
                && of.uid[..3].iter().all(|&other| other == uid)
                && of.gid[..3].iter().all(|&other| other == gid))
    }
}

/// The process that a host thread belongs to, as the kernel says.
///
/// # Errors
/// ENOENT if the thread is gone.
pub(in crate::monitor) fn leader_of(thread: HostPid) -> Result<HostPid, Errno> {
    let status = std::fs::read(format!("/proc/{thread}/status")).map_err(|_| libc::ENOENT)?;
    let leader = status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Tgid:"))
        .and_then(|value| number(value.trim_ascii()));
    leader.map(HostPid).ok_or(libc::ENOENT)
}

/// The zone's number of the process that a host thread belongs to.
///
/// # Errors
/// ENOENT if the thread is gone or not the zone's.
pub(in crate::monitor) fn zone_process_of(
    view: &dyn View,
    thread: HostPid,
) -> Result<ZonePid, Errno> {
    view.to_zone(leader_of(thread)?).ok_or(libc::ENOENT)
}

/// The zone's number of a thread.
pub(super) fn zone_thread(process: ZonePid, leader: HostPid, thread: HostPid) -> ZonePid {
    if thread == leader {
        process
    } else {
        ZonePid(thread.0.saturating_add(THREAD_BIAS))
    }
}

/// A number as the kernel takes it in names of `/proc`: digits without a leading zero.
pub(in crate::monitor) fn number(name: &[u8]) -> Option<u32> {
    if name.is_empty()
        || (name.len() > 1 && name[0] == b'0')
        || !name.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    std::str::from_utf8(name).ok()?.parse().ok()
}

fn directory(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|_| libc::ENOENT)
}
