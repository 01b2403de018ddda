//! What a layer holds beyond what lies below it, for a tarball: as layers of container images have it, with
//! files whose names say that a name is gone (`.wh.NAME`) or that nothing below shows (`.wh..wh..opq`).

use super::diff::join;
use super::notes::{Note, What};
use super::rights::as_guest;
use super::{Found, Pair, find, open_beneath, split, status_at};
use crate::config::Cow;
use crate::error::{Doing, Result};
use crate::monitor::descriptors::own_path;
use crate::monitor::owners::identify;
use nix::fcntl::OFlag;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whoever packs it. Paths are beneath the mount point.
pub trait Pack {
    /// Takes what has a name in a directory; if that is one itself, what lies in it follows.
    ///
    /// # Errors
    /// Its own.
    fn entry(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8]) -> io::Result<()>;

    /// Takes that a name is not there.
    ///
    /// # Errors
    /// Its own.
    fn gone(&mut self, path: &[u8]) -> io::Result<()>;

    /// Takes that a directory, the last entry, shows nothing that lies below.
    ///
    /// # Errors
    /// Its own.
    fn opaque(&mut self, path: &[u8]) -> io::Result<()>;
}

/// Shows the layer of a mount of a zone that does not run. What a guest could not read is left out; how many
/// that were.
///
/// # Errors
/// The layer cannot be read, or those of `pack`.
pub fn pack(zone_dir: &Path, cow: &Cow, pack: &mut dyn Pack) -> Result<usize> {
    let top = super::top(zone_dir, &cow.zone);
    if !top.exists() {
        // The zone has never been booted with it.
        return Ok(0);
    }
    let pair = Pair::open(zone_dir, &cow.zone, &cow.host)?;
    let mut walk = Walk {
        pair: &pair,
        pack,
        left_out: 0,
    };
    let shown = walk.pack.entry(&pair.top, OsStr::new("."), b"");
    shown
        .and_then(|()| walk.directory(&pair.top, b"", note_of(&pair, b"", &pair.top)))
        .doing("pack", top.display())?;
    Ok(walk.left_out)
}

/// The note on a directory of the layer, if it was unfolded from the same path below.
fn note_of(pair: &Pair, path: &[u8], here: &OwnedFd) -> Option<Note> {
    let (id, _) = identify(here).ok()?;
    Note::load(&pair.notes, path).filter(|note| note.id == id)
}

struct Walk<'a> {
    pair: &'a Pair,
    pack: &'a mut dyn Pack,
    left_out: usize,
}

impl Walk<'_> {
    /// What lies in a directory of the layer; without a note nothing below shows through.
    fn directory(&mut self, here: &OwnedFd, path: &[u8], note: Option<Note>) -> io::Result<()> {
        let names = note.as_ref().map_or(&[][..], |note| &note.names);
        let there = names_in(here)?;
        for name in &there {
            let at = join(path, name.as_bytes());
            let was = names.iter().find(|(known, _)| known == name);
            let was = was.map(|(_, was)| was);
            if was.is_some_and(|was| self.pair.is_untouched(here, name, was)) {
                continue;
            }
            match find(here, name)? {
                Some(found) => as_guest(|| self.below(&found, &at))?,
                None => self.own(here, name, &at, was)?,
            }
        }
        let Some(note) = &note else { return Ok(()) };
        let below = self.pair.directory_below(&note.path);
        for (name, _) in names {
            let is_below = below.as_ref().is_ok_and(|at| status_at(at, name).is_ok());
            if is_below && !there.contains(name) {
                self.pack.gone(&join(path, name.as_bytes()))?;
            }
        }
        Ok(())
    }

    /// Something that is the layer's own.
    fn own(
        &mut self,
        here: &OwnedFd,
        name: &OsStr,
        at: &[u8],
        was: Option<&What>,
    ) -> io::Result<()> {
        self.pack.entry(here, name, at)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let Ok(inner) = open_beneath(here, name.as_bytes(), flags) else {
            return Ok(());
        };
        let is_over = was == Some(&What::Directory);
        let note = note_of(self.pair, at, &inner).filter(|_| is_over);
        if note.is_none() {
            self.pack.opaque(at)?;
        }
        self.directory(&inner, at, note)
    }

    /// What lies below at another path: the zone has renamed a directory on the way.
    fn below(&mut self, found: &Found, at: &[u8]) -> io::Result<()> {
        let (front, name) = split(&found.path);
        let shown = self
            .pair
            .directory_below(front)
            .map_err(io::Error::from)
            .and_then(|directory| self.pack.entry(&directory, name, at));
        match shown {
            Err(error) if is_left_out(&error) => {
                self.left_out += 1;
                return Ok(());
            }
            other => other?,
        }
        if !found.is_directory {
            return Ok(());
        }
        self.pack.opaque(at)?;
        let inner = self.pair.directory_below(&found.path);
        self.all_of(inner.map_err(io::Error::from), at)
    }

    /// All that lies in a directory below.
    fn all_of(&mut self, directory: io::Result<OwnedFd>, path: &[u8]) -> io::Result<()> {
        let listed = directory.and_then(|directory| Ok((names_in(&directory)?, directory)));
        let (names, directory) = match listed {
            Err(error) if is_left_out(&error) => {
                self.left_out += 1;
                return Ok(());
            }
            other => other?,
        };
        for name in names {
            let at = join(path, name.as_bytes());
            match self.pack.entry(&directory, &name, &at) {
                Err(error) if is_left_out(&error) => {
                    self.left_out += 1;
                    continue;
                }
                other => other?,
            }
            let is_directory =
                status_at(&directory, &name)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
            if is_directory {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
                let inner = open_beneath(&directory, name.as_bytes(), flags);
                self.all_of(inner.map_err(io::Error::from), &at)?;
            }
        }
        Ok(())
    }
}

fn is_left_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
    )
}

fn names_in(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let entries = std::fs::read_dir(own_path(directory))?;
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names?;
    names.sort_unstable();
    Ok(names)
}
