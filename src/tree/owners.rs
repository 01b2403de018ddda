//! Owners and modes that the host's files cannot hold, on their way to the ownership store.
//!
//! Whoever makes a zone's files runs as one user of the host: everything belongs to that user, who
//! is the zone's root. What should belong to somebody else in the zone is a row of the store.

use super::within::Within;
use crate::error::{Doing, Result};
use crate::ownership::{self, Said, Store};
use std::path::{Path, PathBuf};

/// Owner and mode of one file of the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// The file, as a path of the zone; it never leads through a symbolic link.
    pub(super) path: PathBuf,
    /// Uid in the zone.
    pub(super) uid: u32,
    /// Gid in the zone.
    pub(super) gid: u32,
    /// Permission bits with set-uid, set-gid and sticky bit (07777); no file type.
    pub(super) mode: u32,
}

/// Forgets what the store of a zone says, whose tree is made anew.
pub(super) fn clear(zone_dir: &Path) -> Result<()> {
    for name in [
        "owners.redb",
        "owners.redb.new",
        "owners.journal.0",
        "owners.journal.1",
    ] {
        super::remove(&zone_dir.join(name))?;
    }
    Ok(())
}

/// Puts owners into the store of a zone that does not run.
pub(super) fn add(zone_dir: &Path, root: &Path, owners: &[Owner]) -> Result<()> {
    let within = Within::open(root).doing("open", root.display())?;
    let mut rows = Vec::with_capacity(owners.len());
    for owner in owners {
        let in_root = format_args!("{} in {}", owner.path.display(), root.display());
        let (id, mode) = within.identify(&owner.path).doing("look at", in_root)?;
        let row = ownership::Owner {
            uid: owner.uid,
            gid: owner.gid,
            mode: mode & libc::S_IFMT | owner.mode,
            rdev: 0,
        };
        rows.push(Said::Owner(id, row));
    }
    Store::open(zone_dir)?.set(&rows)
}
