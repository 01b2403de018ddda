//! What goes with the files of a layer and cannot be read off them, in the order in which it came to be.
//!
//! A record is written in one piece before its file gets its name, so that it is there after whatever
//! ends the monitor. The ownership store has the owners too, and later changes of them; here they
//! stand for the time in which it has not written them yet.

use crate::error::{Doing, Result};
use crate::monitor::owners::{FileId, Owner};
use picozone_personality::origins::Origin;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const WORDS: usize = 10;
const SIZE: usize = WORDS * 8;

/// What is to be known of a file of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The file.
    pub id: FileId,
    /// What it was below; inode 0 if it shows its own.
    pub origin: Origin,
    /// Whose it is, where the host's file cannot hold that.
    pub owner: Option<Owner>,
}

impl Record {
    fn words(&self) -> [u64; WORDS] {
        let owner = self.owner.unwrap_or(Owner {
            uid: 0,
            gid: 0,
            mode: 0,
            rdev: 0,
        });
        [
            self.id.dev,
            self.id.ino,
            self.id.btime,
            self.origin.dev,
            self.origin.ino,
            self.origin.links.cast_unsigned(),
            u64::from(owner.uid),
            u64::from(owner.gid),
            u64::from(owner.mode),
            owner.rdev,
        ]
    }

    fn of(words: [u64; WORDS]) -> Option<Self> {
        let [dev, ino, btime, below_dev, below_ino, links, rest @ ..] = words;
        let [uid, gid, mode, rdev] = rest;
        let (uid, gid, mode) = (
            u32::try_from(uid).ok()?,
            u32::try_from(gid).ok()?,
            u32::try_from(mode).ok()?,
        );
        Some(Self {
            id: FileId { dev, ino, btime },
            origin: Origin {
                dev: below_dev,
                ino: below_ino,
                links: links.cast_signed(),
            },
            owner: (mode != 0).then_some(Owner {
                uid,
                gid,
                mode,
                rdev,
            }),
        })
    }
}

/// The journal of a layer.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens it; what was written in part at its end goes.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .doing("open", path.display())?;
        let length = file.metadata().doing("look at", path.display())?.len();
        file.set_len(length - length % SIZE as u64)
            .doing("shorten", path.display())?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Adds records.
    pub(super) fn add(&self, records: &[Record]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let words = records.iter().flat_map(Record::words);
        let bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        // One write: those of several threads do not mix.
        (&self.file).write_all(&bytes)
    }

    /// All records, the oldest first.
    pub(super) fn records(&self) -> Result<Vec<Record>> {
        let bytes = std::fs::read(&self.path).doing("read", self.path.display())?;
        let record = |bytes: &[u8; SIZE]| {
            let mut words = [0; WORDS];
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_ne_bytes(*bytes);
            }
            Record::of(words)
        };
        Ok(bytes.as_chunks().0.iter().filter_map(record).collect())
    }
}
