//! One command at a time works on a zone, and one at a time gives out addresses.

use super::record_lock;
use crate::error::{Doing, Result};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The right to change a zone (or the home); given back when it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `dir`, the directory of a zone or the home. Waits while another command
    /// holds it, and says so.
    ///
    /// # Errors
    /// The lock file cannot be opened, as ENOENT where `dir` is gone.
    pub fn take(dir: &Path) -> Result<Self> {
        let path = dir.join("lock");
        loop {
            let file = record_lock::open(&path).doing("open", path.display())?;
            if !record_lock::try_lock(&file).doing("lock", path.display())? {
                let holder = record_lock::holder(&file).doing("lock", path.display())?;
                let holder = holder.map_or_else(String::new, |pid| format!(" (process {pid})"));
                tracing::warn!("waiting for another command on {}{holder}", dir.display());
                record_lock::lock(&file).doing("lock", path.display())?;
            }
            let lock = Self { file };
            // The command that held it may have deleted the zone, and another made it anew.
            if lock.is_still_at(&path) {
                return Ok(lock);
            }
        }
    }

    fn is_still_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), std::fs::metadata(path)) {
            (Ok(mine), Ok(there)) => (mine.dev(), mine.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }
}
