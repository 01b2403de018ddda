//! Files that are replaced as a whole: after a crash the old content is there or the new one.

use crate::error::{Doing, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces `path` by `content`: written beside it, synced, renamed over it.
///
/// # Errors
/// The file system refuses; then `path` is as it was.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    // Two processes never write at once (the zone's lock), so that one name is enough and a rest
    // of an interrupted write is overwritten by the next one.
    name.push(".new");
    let temporary = Path::new(&name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(temporary, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    })();
    if written.is_err() {
        // Best effort: the first error is the one to tell.
        let _ = fs::remove_file(temporary);
    }
    written.doing("write", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_content_survives_a_failure() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state");
        write(&path, b"one", 0o600).expect("written");
        // A directory in the way of the temporary file makes the second write fail.
        fs::create_dir(dir.path().join("state.new")).expect("made");
        assert!(write(&path, b"two", 0o600).is_err());
        assert_eq!(fs::read(&path).expect("read"), b"one");
    }
}
