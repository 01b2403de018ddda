//! What is made: whose it is, and the mode that the zone sees.
//!
//! The host's file keeps at least what its owner needs to serve the zone's root, who goes anywhere; a
//! mode with less, and set-id bits, are the ownership store's.

use super::names::Parent;
use super::rights::stat_directory;
use crate::arch::{syscall1, syscall2};
use crate::file::{self, Making};
use crate::thread::Thread;
use crate::{Errno, Result, monitor::tables};
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use linux_raw_sys::general::*;
use picozone_personality::mailbox::{Request, SHARES_DIRECTORIES, make};

const SET_GID: u32 = 0o2000;
const IS_DIR: u32 = 0o040_000;

/// A new entry of a directory, by the zone's rules (inode_init_owner in the kernel's fs/inode.c).
pub(super) struct New {
    uid: u32,
    gid: u32,
    /// Type and mode, before the umask.
    mode: u32,
    /// Where the directory's default list is found, which then says in the umask's place who may do what.
    list: Option<u64>,
}

impl New {
    /// For type and mode as asked for.
    pub(super) fn within(thread: &Thread, directory: u64, mode: u32) -> Result<New> {
        let mut new = New {
            uid: thread.credentials.uid[3],
            gid: thread.credentials.gid[3],
            mode,
            list: None,
        };
        if tables().group_givers.load(Relaxed) == 0 {
            return Ok(new);
        }
        let st = stat_directory(thread, directory)?;
        if mode & S_IFMT != S_IFLNK {
            new.list = file::default_list(&st);
        }
        if st.st_mode & SET_GID != 0 {
            new.gid = st.st_gid;
            if mode & 0o170_000 == IS_DIR {
                new.mode |= SET_GID;
            } else if mode & 0o2010 == 0o2010 && !file::keeps_set_gid(thread, st.st_gid) {
                new.mode &= !SET_GID;
            }
        }
        Ok(new)
    }

    /// The permission that its owner needs on the host.
    fn needed(&self) -> u32 {
        match self.mode & 0o170_000 {
            IS_DIR => 0o700,
            0o120_000 => 0,
            _ => 0o600,
        }
    }

    /// The mode to make the host's file with.
    pub(super) fn host_mode(&self) -> u64 {
        u64::from(self.mode & 0o777 | self.needed())
    }

    /// Whether nothing is left to be said of it once it is there.
    pub(super) fn is_plain(&self) -> bool {
        let needed = self.needed();
        self.list.is_none()
            && (self.uid, self.gid) == (0, 0)
            && self.mode & 0o7000 == 0
            && self.mode & needed == needed
    }

    /// Has others wait for that rest, from before the file is there.
    pub(super) fn begin(&self, thread: &Thread) -> Option<Making> {
        (!self.is_plain()).then(|| Making::begin(thread))
    }

    /// Has the monitor make it, which says the rest in the same step: who is killed meanwhile leaves nothing
    /// half done. `None` where that is not the monitor's to do.
    ///
    /// # Errors
    /// As the kernel's calls that make something.
    pub(super) fn make(
        &self,
        thread: &Thread,
        parent: &mut Parent,
        what: What<'_>,
    ) -> Option<Result<u64>> {
        let name = parent.bare();
        if name.len() + 1 > parent.name.len() || parent.is_dots() {
            return None;
        }
        let (mut mode, mut flags, mut device) = (self.mode, make::NOT_OPENED, 0);
        match what {
            What::Opened(wanted) => flags = wanted as u32,
            What::Device(kind, number) => {
                mode = mode & 0o7777 | kind;
                device = number;
            }
            What::Link(target) => {
                let room = thread.mailbox().b.get_mut(..target.len() + 1)?;
                let (text, end) = room.split_at_mut(target.len());
                text.copy_from_slice(target);
                end.fill(0);
            }
            What::Named => {}
        }
        // The file gets the number of what was opened on the way to it, which was the lowest free.
        let place = match parent.own_fd() {
            Some(fd) if flags != make::NOT_OPENED && !file::is_reserved(fd) => fd + 1,
            _ => 0,
        };
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let args = [
            parent.fd,
            pair(mode, umask(thread)),
            pair(self.uid, self.gid),
            self.list.map_or(0, |row| row + 1),
            pair(file::until_when(thread, u64::from(self.mode)) as u32, flags),
            place,
            device,
        ];
        match thread.ask_about(Request::Make, name, &args) {
            // As the kernel says it, which is asked next.
            Err(Errno::EROFS | Errno::ENOTDIR) => None,
            Ok(fd) => {
                if place != 0 {
                    parent.give_up();
                }
                Some(Ok(fd))
            }
            Err(errno) => Some(Err(errno)),
        }
    }

    /// Says the rest of it, if there is any: `fd` is the file just made.
    #[cold]
    pub(super) fn finish(&self, thread: &Thread, fd: u64) {
        if !self.is_plain() || !is_its_own(fd) {
            file::record(thread, fd, [self.uid, self.gid], self.mode, self.list);
        }
    }
}

/// Whether the zone sees a file just made as the host does. A file without a name that is closed leaves
/// what was said of it behind, and the next one may have its inode, born in the same tick of the clock.
fn is_its_own(fd: u64) -> bool {
    let mut host = MaybeUninit::<stat>::uninit();
    let got = unsafe { syscall2(__NR_fstat, fd, host.as_mut_ptr() as u64) };
    let Ok(st) = file::stat_of(fd) else {
        return true;
    };
    // SAFETY: the kernel has filled it.
    got < 0 || (st.st_uid, st.st_gid, st.st_mode) == (0, 0, unsafe { host.assume_init() }.st_mode)
}

/// What is made beside a name.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    /// Nothing: a directory, a FIFO, a file.
    Named,
    /// A descriptor of a file, by these flags.
    Opened(u64),
    /// A device of this kind and number.
    Device(u32, u64),
    /// Where a link leads.
    Link(&'a [u8]),
}

/// The umask, where the kernel can be asked for it without another thread's noticing.
fn umask(thread: &Thread) -> u32 {
    let process = thread.process();
    if process.users.load(Acquire) != 1 || process.kept.load(Relaxed) & SHARES_DIRECTORIES != 0 {
        return make::UNKNOWN_UMASK;
    }
    let umask = unsafe { syscall1(__NR_umask, 0o077) };
    unsafe { syscall1(__NR_umask, umask as u64) };
    umask as u32
}
