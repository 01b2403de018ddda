//! Owners and modes that the host's files cannot hold, on their way to the ownership store.
//!
//! Whoever makes a zone's files runs as one user of the host: everything belongs to that user, who
//! is the zone's root. What should belong to somebody else in the zone is written into
//! `owners.list`, a JSON document a line; the engine imports it at the next boot and removes it.

use crate::error::{Doing, Error, Result};
use crate::zone::atomic;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Owner and mode of one file of the zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The file, as a path of the zone; it never leads through a symbolic link.
    pub path: PathBuf,
    /// Uid in the zone.
    pub uid: u32,
    /// Gid in the zone.
    pub gid: u32,
    /// Permission bits with set-uid, set-gid and sticky bit (07777); no file type.
    pub mode: u32,
}

fn list(zone_dir: &Path) -> PathBuf {
    zone_dir.join("owners.list")
}

/// What waits for import; empty if nothing does.
///
/// # Errors
/// The file is there and cannot be read.
pub fn pending(zone_dir: &Path) -> Result<Vec<Owner>> {
    let path = list(zone_dir);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.doing("read", path.display())?,
    };
    text.lines()
        .map(|line| {
            serde_json::from_str(line).map_err(|error| {
                Error::refused(
                    "read",
                    path.display(),
                    error,
                    "delete the zone and create it again",
                )
            })
        })
        .collect()
}

/// Says that everything pending is in the ownership store, durably.
///
/// # Errors
/// The file cannot be removed.
pub fn imported(zone_dir: &Path) -> Result<()> {
    let path = list(zone_dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.doing("remove", path.display()),
    }
}

/// Adds rows for the next import.
pub(super) fn add(zone_dir: &Path, owners: &[Owner]) -> Result<()> {
    let mut all = pending(zone_dir)?;
    all.extend_from_slice(owners);
    let mut text = String::new();
    for owner in all {
        let line = serde_json::to_string(&owner).map_err(|error| {
            Error::refused(
                "record the owner of",
                owner.path.display(),
                error,
                "rename that file",
            )
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    atomic::write(&list(zone_dir), text.as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_wait_until_they_are_imported() {
        let temporary = tempfile::tempdir().expect("a directory");
        let zone_dir = temporary.path();
        assert_eq!(pending(zone_dir).expect("read"), []);
        let row = Owner {
            path: "/var/mail".into(),
            uid: 0,
            gid: 8,
            mode: 0o2775,
        };
        add(zone_dir, std::slice::from_ref(&row)).expect("added");
        add(zone_dir, std::slice::from_ref(&row)).expect("added");
        assert_eq!(pending(zone_dir).expect("read"), [row.clone(), row]);
        imported(zone_dir).expect("removed");
        imported(zone_dir).expect("removed twice");
        assert_eq!(pending(zone_dir).expect("read"), []);
    }
}
