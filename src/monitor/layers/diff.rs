//! What a zone has changed in its copy-on-write mounts.

use super::notes::{Note, What};
use super::unfold::{Entry, entries};
use super::{Pair, open_beneath, status_at};
use crate::config::Config;
use crate::error::{Doing, Result};
use crate::monitor::descriptors::own_path;
use crate::monitor::owners::identify;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a path has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// It is new.
    #[serde(rename = "A")]
    Added,
    /// Its content or its attributes may have changed.
    #[serde(rename = "C")]
    Changed,
    /// It is gone.
    #[serde(rename = "D")]
    Deleted,
}

impl Kind {
    /// Its letter in listings.
    #[must_use]
    pub fn letter(self) -> u8 {
        match self {
            Self::Added => b'A',
            Self::Changed => b'C',
            Self::Deleted => b'D',
        }
    }
}

/// One path that has changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// As the zone names it.
    pub path: PathBuf,
    /// What became of it.
    pub kind: Kind,
}

/// What has changed, by path. The zone may run meanwhile.
///
/// # Errors
/// A layer cannot be read.
pub fn changes(config: &Config, zone_dir: &Path) -> Result<Vec<Change>> {
    let mut all = Vec::new();
    for cow in config.cows() {
        let top = super::top(zone_dir, &cow.zone);
        if !top.exists() {
            // It has not been booted with that mount yet.
            continue;
        }
        let pair = Pair::open(zone_dir, &cow.zone, &cow.host)?;
        let mut walk = Walk {
            pair: &pair,
            zone: &cow.zone,
            all: &mut all,
        };
        walk.directory(&pair.top, b"", Some(b""))
            .doing("read", top.display())?;
    }
    all.sort();
    Ok(all)
}

struct Walk<'a> {
    pair: &'a Pair,
    zone: &'a Path,
    all: &'a mut Vec<Change>,
}

impl Walk<'_> {
    fn add(&mut self, path: &[u8], kind: Kind) {
        self.all.push(Change {
            path: self.zone.join(OsStr::from_bytes(path)),
            kind,
        });
    }

    /// A directory of the layer at `path`; `below` is where it was unfolded from, or what was there
    /// before it, if anything.
    fn directory(
        &mut self,
        here: &OwnedFd,
        path: &[u8],
        below: Option<&[u8]>,
    ) -> std::io::Result<()> {
        let note = below.and_then(|below| Note::load(&self.pair.notes, below));
        let (id, _) = identify(here).map_err(std::io::Error::from_raw_os_error)?;
        let note = note.filter(|note| note.id == id);
        let names = match (note, below) {
            (Some(note), _) => note.names,
            // It has been made in the place of another.
            (None, Some(below)) => self.names(below),
            (None, None) => Vec::new(),
        };
        let mut there = Vec::new();
        for entry in std::fs::read_dir(own_path(here))? {
            let name = entry?.file_name();
            let was = names.iter().find(|(known, _)| *known == name);
            let at = join(path, name.as_bytes());
            let is_untouched = was.is_some_and(|(_, was)| self.pair.is_untouched(here, &name, was));
            if !is_untouched {
                let was = was.map(|(_, was)| was);
                let from = below.map(|below| join(below, name.as_bytes()));
                self.entry(here, &name, &at, was.zip(from.as_deref()))?;
            }
            there.push(name);
        }
        if let Some(below) = below {
            let below = self.pair.directory_below(below);
            for (name, _) in &names {
                // What the host has removed too, the zone did not.
                let is_below = below.as_ref().is_ok_and(|at| status_at(at, name).is_ok());
                if is_below && !there.contains(name) {
                    self.add(&join(path, name.as_bytes()), Kind::Deleted);
                }
            }
        }
        Ok(())
    }

    /// What lies in a directory below now.
    fn names(&self, below: &[u8]) -> Vec<(OsString, What)> {
        let listed = self.pair.directory_below(below);
        let listed = listed.and_then(|below| entries(&below)).unwrap_or_default();
        let row = |Entry { name, what }| (name, what);
        listed.into_iter().map(row).collect()
    }

    /// Something in a directory of the layer; `was` is what there was of that name below, and where.
    fn entry(
        &mut self,
        here: &OwnedFd,
        name: &OsStr,
        at: &[u8],
        was: Option<(&What, &[u8])>,
    ) -> std::io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let Ok(inner) = open_beneath(here, name.as_bytes(), flags) else {
            self.add(
                at,
                if was.is_some() {
                    Kind::Changed
                } else {
                    Kind::Added
                },
            );
            return Ok(());
        };
        // Only what lies where it lay below has been unfolded from there.
        let (id, mode) = identify(&inner).map_err(std::io::Error::from_raw_os_error)?;
        let note = Note::load(&self.pair.notes, at).filter(|note| note.id == id);
        match (was, &note) {
            (Some((What::Directory, _)), Some(note)) => {
                if let Ok(below) = self.pair.directory_below(&note.path)
                    && (fstat(&below)?.st_mode & 0o777 | 0o700) != mode & 0o777
                {
                    self.add(at, Kind::Changed);
                }
            }
            (Some(_), _) => self.add(at, Kind::Changed),
            (None, _) => self.add(at, Kind::Added),
        }
        let below = match (&note, was) {
            (Some(note), _) => Some(&note.path[..]),
            (None, Some((What::Directory, was))) => Some(was),
            (None, _) => None,
        };
        self.directory(&inner, at, below)
    }
}

pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        name.to_vec()
    } else {
        [path, b"/", name].concat()
    }
}
