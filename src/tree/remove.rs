//! Removal of files that the zone's programs have made, whatever modes they gave them.

use crate::error::{Doing, Result};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes a file or a whole directory, which may be gone already; never follows a link.
///
/// # Errors
/// Something cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.doing("look at", path.display())?,
    };
    if !found.is_dir() {
        return fs::remove_file(path).doing("remove", path.display());
    }
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        // A process that is just being killed may have made another file.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
        Err(error) => return Err(error).doing("remove", path.display()),
    }
    // A zone may hold directories that not even their owner may search.
    open_up(path);
    fs::remove_dir_all(path).doing("remove", path.display())
}

/// Gives the owner back every right on a directory and those below it. What fails here shows up
/// in the removal.
fn open_up(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Sets a mode regardless of the umask.
///
/// # Errors
/// Those of `chmod`.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .doing("set the mode of", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_directories_go_and_links_are_not_followed() {
        let temporary = tempfile::tempdir().expect("a directory");
        let keep = temporary.path().join("keep");
        fs::create_dir_all(keep.join("x")).expect("made");
        let doomed = temporary.path().join("doomed");
        fs::create_dir_all(doomed.join("a/b")).expect("made");
        std::os::unix::fs::symlink(&keep, doomed.join("link")).expect("linked");
        set_mode(&doomed.join("a/b"), 0).expect("set");
        set_mode(&doomed.join("a"), 0).expect("set");
        remove(&doomed).expect("removed");
        remove(&doomed).expect("removed twice");
        assert!(!doomed.exists() && keep.join("x").exists());
    }
}
