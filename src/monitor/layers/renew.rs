//! What the host has changed below since a directory was unfolded, taken over when the zone boots: what
//! is new shows up, what is gone goes, and what the zone has changed stays as it has it.

use super::notes::{Note, What};
use super::unfold::{Entry, Maker, entries, io_errno};
use super::{Layer, Pair, find, open_beneath, status_at};
use crate::error::{Doing, Result};
use crate::monitor::owners::identify;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::fstat;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;

impl Layer {
    /// Brings the directories of a zone that does not run up to date.
    ///
    /// # Errors
    /// The notes cannot be read.
    pub fn renew(&self) -> Result<()> {
        let notes = fs::read_dir(&self.pair.notes).doing("read", self.pair.notes.display())?;
        for file in notes.flatten() {
            if let Some(note) = Note::read(&file.path())
                && let Err(errno) = self.renew_directory(note)
            {
                tracing::warn!("{}: {errno}", file.path().display());
            }
        }
        Ok(())
    }

    /// The layer's directory that a note is about, if it is still where it was.
    fn directory_of(&self, note: &Note) -> Option<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let here = open_beneath(&self.pair.top, &note.path, flags).ok()?;
        let (id, _) = identify(&here).ok()?;
        (id == note.id).then_some(here)
    }

    fn renew_directory(&self, note: Note) -> nix::Result<()> {
        let Some(here) = self.directory_of(&note) else {
            return Ok(());
        };
        let (now, changed) = match self.pair.directory_below(&note.path) {
            Ok(below) => {
                let status = fstat(&below)?;
                let changed = (status.st_mtime, status.st_mtime_nsec);
                if changed == note.changed {
                    return Ok(());
                }
                (Some(below), changed)
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => (None, note.changed),
            Err(errno) => return Err(errno),
        };
        let found = match &now {
            Some(below) => entries(below)?,
            None => Vec::new(),
        };
        let times = fstat(&here)?;
        for (name, was) in &note.names {
            let is_same = |entry: &&Entry| entry.name == *name && entry.what == *was;
            if !found.iter().any(|entry| is_same(&entry))
                && self.pair.is_untouched(&here, name, was)
            {
                let _ = unlinkat(&here, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
            }
        }
        if let Some(below) = &now {
            let mut maker = Maker::new(self, below, &note.path);
            let mut records = Vec::new();
            for entry in &found {
                let was_removed = note
                    .names
                    .iter()
                    .any(|(name, was)| *name == entry.name && *was == entry.what);
                if was_removed || status_at(&here, &entry.name).is_ok() {
                    continue;
                }
                records.extend(maker.make(&here, entry)?);
            }
            self.journal.add(&records).map_err(io_errno)?;
        }
        super::keep_times(&here, &times);
        let names = found.into_iter().map(|entry| (entry.name, entry.what));
        let new = Note {
            names: names.collect(),
            changed,
            ..note
        };
        new.store(&self.pair.notes).map_err(io_errno)
    }
}

impl Pair {
    /// Whether a name in the layer is as it was made from what is below.
    pub(super) fn is_untouched(&self, here: &OwnedFd, name: &OsStr, was: &What) -> bool {
        match was {
            What::Directory | What::File => {
                let is_directory = *was == What::Directory;
                matches!(find(here, name), Ok(Some(found))
                    if found.is_directory == is_directory && found.number == self.number)
            }
            What::Link(text) => readlinkat(here, name).is_ok_and(|found| found == *text),
            What::Special => status_at(here, name).is_ok_and(|status| {
                matches!(
                    status.st_mode & libc::S_IFMT,
                    libc::S_IFIFO | libc::S_IFSOCK
                )
            }),
        }
    }
}
