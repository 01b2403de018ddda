//! Whether a zone's limits are kept: not by picozone, which is no user of the host with a right to set any,
//! but by the file systems on which the zone's files lie.

use super::Zone;
use crate::config::{Config, Size};
use crate::error::{Doing, Error, Result};
use nix::sys::statvfs::statvfs;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

/// Refuses a zone whose files could take more than its configuration says.
///
/// # Errors
/// They could.
pub(super) fn check(zone: &Zone, config: &Config) -> Result<()> {
    let Some(limit) = config.limits.disk else {
        return Ok(());
    };
    let mut sizes = BTreeMap::new();
    for directory in [Some(zone.dir()), config.root.as_deref()] {
        let Some(directory) = directory else { continue };
        // Where a project of quotas begins at a directory, this is what that may hold.
        let found = statvfs(directory).doing("look at", directory.display())?;
        let size = found.blocks().saturating_mul(found.fragment_size());
        let data = directory.metadata().doing("look at", directory.display())?;
        sizes.insert(data.dev(), size);
    }
    let size = sizes.into_values().fold(0, u64::saturating_add);
    if size <= limit.0 {
        return Ok(());
    }
    Err(Error::refused(
        "boot",
        format_args!("zone {}", zone.name()),
        format_args!(
            "its files may take no more than {limit}, and the file system of {} holds {}",
            zone.dir().display(),
            Size(size >> 20 << 20),
        ),
        "give that directory a file system or a project quota of that size, or take limits.disk away",
    ))
}
