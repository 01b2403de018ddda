//! What is made: whose it is, and the mode that the zone sees.
//!
//! The host's file keeps at least what its owner needs to serve the zone's root, who goes anywhere; a
//! mode with less, and set-id bits, are the ownership store's.

use super::rights::stat_directory;
use crate::file::{self, Making};
use crate::thread::Thread;
use crate::{Result, monitor::tables};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;

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

    /// Says the rest of it, if there is any: `fd` is the file just made.
    #[cold]
    pub(super) fn finish(&self, thread: &Thread, fd: u64) {
        if !self.is_plain() {
            file::record(thread, fd, [self.uid, self.gid], self.mode, self.list);
        }
    }
}
