//! Whose socket a path leads to.
//!
//! Zones may share a directory of the host, and so see each other's sockets. Over a connection
//! descriptors can be passed (`SCM_RIGHTS`), in messages that no filter sees: so a socket of another
//! zone is as one that nobody listens at. Those of the host that a zone is shown by its mounts are there
//! to be spoken to.
//!
//! The kernel keeps the path that a socket was bound by, and that is always the monitor's choice: its
//! last component tells the zone. A socket's inode belongs to it for good, so that what was found
//! once is so as long as there is that inode.
//!
//! What a zone is handed from outside may be one end of a pair whose other end another zone is handed:
//! such an end is kept from receiving descriptors ([`take_no_rights`]).

use super::diag::{Bound, bound_to};
use super::{NAMES_MAX, Unix, is_unix};
use crate::monitor::net::inet::set_socket_option;
use crate::ownership::{FileId, identify};
use nix::errno::Errno;
use std::collections::HashSet;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// In front of the zone's numbers in the names of all zones' sockets.
pub(super) const MARK: &[u8] = b".picozone.";

/// The inodes that are known to be no other zone's.
#[derive(Default)]
pub(super) struct Known(Mutex<HashSet<FileId>>);

impl Known {
    fn has(&self, id: FileId) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&id)
    }

    /// Keeps one. A file system that does not tell when a file was made may use its number again.
    pub(super) fn keep(&self, id: FileId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        if id.btime != 0 {
            known.insert(id);
        }
    }
}

/// Lets nobody pass descriptors to a unix socket (`SO_PASSRIGHTS`), for good: the filter lets no guest set
/// that. Of what is no unix socket nothing is changed, and Linux before 6.16 cannot.
///
/// # Errors
/// `ENOPROTOOPT`: the kernel cannot.
pub fn take_no_rights(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    const SO_PASSRIGHTS: i32 = 83;
    match is_unix(fd) {
        Ok(true) => set_socket_option(fd, SO_PASSRIGHTS, 0),
        _ => Ok(()),
    }
}

impl Unix {
    /// `ECONNREFUSED`: there is no socket, or one of another zone.
    pub(super) fn must_be_no_other_zones(&self, inode: &OwnedFd) -> Result<(), Errno> {
        let (id, _) = identify(inode).map_err(Errno::from_raw)?;
        if self.known.has(id) {
            return Ok(());
        }
        let mut found = bound_to(id.ino).map_err(|_| Errno::ECONNREFUSED)?;
        // Some file systems tell devices that are not the kernel's; then none may be another zone's.
        if found.iter().any(|bound| bound.device == id.dev) {
            found.retain(|bound| bound.device == id.dev);
        }
        if found.is_empty() || found.iter().any(|bound| self.is_other_zones(bound)) {
            return Err(Errno::ECONNREFUSED);
        }
        self.known.keep(id);
        Ok(())
    }

    fn is_other_zones(&self, bound: &Bound) -> bool {
        let last = bound.name.rsplit(|byte| *byte == b'/').next();
        last.is_some_and(|last| last.starts_with(MARK) && !last.starts_with(&self.mark))
    }
}
