//! Where a user's zones lie.
//!
//! Everything of a user lies in one directory of mode 0700, so that no other user of the host
//! reaches into a zone's tree: modes within a tree mean what the zone means by them.

use crate::error::{Doing, Error, Result};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The directory that holds all zones of one user.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// Finds the directory by the environment and makes it if it is missing.
    ///
    /// `PICOZONE_HOME` decides if set; else root's zones are in `/var/lib/picozone` and those of a
    /// user in `$XDG_DATA_HOME/picozone` or `~/.local/share/picozone`.
    ///
    /// # Errors
    /// No home directory is known, or the directory cannot be made or belongs to somebody else.
    pub fn find() -> Result<Self> {
        let is_root = nix::unistd::geteuid().is_root();
        let dir = choose(is_root, |name| {
            std::env::var_os(name).filter(|v| !v.is_empty())
        })
        .ok_or_else(|| {
            Error::refused(
                "find",
                "the directory of zones",
                "neither PICOZONE_HOME nor HOME is set",
                "set PICOZONE_HOME to an absolute path",
            )
        })?;
        Self::at(dir)
    }

    /// Uses `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// As for [`Home::find`].
    pub fn at(dir: PathBuf) -> Result<Self> {
        if !dir.is_absolute() {
            return Err(Error::refused(
                "use",
                dir.display(),
                "it is not an absolute path",
                "set PICOZONE_HOME to an absolute path",
            ));
        }
        let zones = dir.join("zones");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&zones)
            .doing("make the directory", zones.display())?;
        // One name for it everywhere, and no surprise by a link changed later.
        let dir = dir.canonicalize().doing("resolve", dir.display())?;
        let found = fs::metadata(&dir).doing("look at", dir.display())?;
        let me = nix::unistd::geteuid();
        if found.uid() != me.as_raw() {
            return Err(Error::refused(
                "use",
                dir.display(),
                format!("it belongs to user {}, and you are {me}", found.uid()),
                "set PICOZONE_HOME to a directory of your own",
            ));
        }
        // Others may pass where zones run as somebody else ([`crate::zone::runner`]), and see nothing.
        if found.mode() & 0o066 != 0 {
            let mode = found.mode() & 0o711;
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode))
                .doing("close to other users", dir.display())?;
        }
        Ok(Self { dir })
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory with one entry a zone.
    #[must_use]
    pub fn zones(&self) -> PathBuf {
        self.dir.join("zones")
    }
}

/// Chooses the directory from the environment.
fn choose(is_root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(dir) = variable("PICOZONE_HOME") {
        return Some(dir.into());
    }
    if is_root {
        return Some("/var/lib/picozone".into());
    }
    let data = variable("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    data.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".local/share")))
        .map(|data| data.join("picozone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(
        rows: &'static [(&'static str, &'static str)],
    ) -> impl Fn(&str) -> Option<OsString> {
        move |name| {
            rows.iter()
                .find(|row| row.0 == name)
                .map(|row| row.1.into())
        }
    }

    #[test]
    fn the_environment_decides() {
        let all = environment(&[
            ("PICOZONE_HOME", "/p"),
            ("XDG_DATA_HOME", "/x"),
            ("HOME", "/h"),
        ]);
        assert_eq!(choose(true, all), Some("/p".into()));
        let data = environment(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(choose(true, &data), Some("/var/lib/picozone".into()));
        assert_eq!(choose(false, &data), Some("/x/picozone".into()));
        let home = environment(&[("HOME", "/h")]);
        assert_eq!(choose(false, home), Some("/h/.local/share/picozone".into()));
        assert_eq!(choose(false, environment(&[])), None);
    }

    #[test]
    fn a_home_is_closed_to_others() {
        let temporary = tempfile::tempdir().expect("a directory");
        let home = Home::at(temporary.path().join("new")).expect("a home");
        let mode = fs::metadata(home.dir()).expect("it exists").mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(home.zones().is_dir());
        assert!(Home::at("relative".into()).is_err());
    }
}
