//! The ownership store: owners, modes and device numbers of a zone's files that the host's files
//! cannot hold.
//!
//! [`Store`] is `zones/NAME/owners.redb`, [`Journal`] what has been said since its last
//! transaction: a change is in one of them before the call that made it returns, so that nothing
//! that a program was told is lost with the monitor. A row is bound to its file by device, inode
//! and birth time ([`FileId`]), so that an inode number used again finds nothing.
//! Deliberately absent: paths. A file keeps its row wherever it is moved or linked to.

pub mod check;
#[path = "identity_unsafe.rs"]
mod identity;
mod journal;
pub mod kept;
pub mod names;
mod store;

pub use identity::{identify, identify_at, identify_in_full};
pub use journal::{Journal, checksum};
pub use store::Store;

use picozone_personality::tables::UNTIL_WRITTEN;

/// A file, by device, inode and birth time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
    /// Nanoseconds since 1970.
    pub btime: u64,
}

/// What the zone sees of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Zone uid.
    pub uid: u32,
    /// Zone gid.
    pub gid: u32,
    /// `st_mode` in full.
    pub mode: u32,
    /// `st_rdev` of a device node, whose place on the host a socket keeps; or what a file with set-id bits
    /// was when it got them ([`written`](picozone_personality::written)).
    pub rdev: u64,
}

impl Owner {
    /// Whether it is a device node.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(self.mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK)
    }

    /// Whether there is anything in [`rdev`](Self::rdev).
    const fn has_word(self) -> bool {
        self.is_device() || self.mode & UNTIL_WRITTEN != 0
    }
}

/// Something that was said of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its owner and mode.
    Owner(FileId, Owner),
    /// An attribute.
    Attribute(kept::Change),
}

impl Said {
    /// What of it is about owners.
    #[must_use]
    pub const fn owner(&self) -> Option<(FileId, Owner)> {
        match self {
            Self::Owner(id, owner) => Some((*id, *owner)),
            Self::Attribute(_) => None,
        }
    }

    /// What of it is about attributes.
    #[must_use]
    pub const fn attribute(&self) -> Option<&kept::Change> {
        match self {
            Self::Owner(..) => None,
            Self::Attribute(change) => Some(change),
        }
    }
}

/// The mode that the host's file gets where the zone sees `mode`: no set-id bits ever, and its
/// owner, the zone's root, whom modes do not bind, can use it.
#[must_use]
pub const fn mode_on_host(mode: u32, is_directory: bool) -> u32 {
    mode & 0o1777 | if is_directory { 0o700 } else { 0o600 }
}

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod tests;
