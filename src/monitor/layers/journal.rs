//! What goes with the files of a layer and cannot be read off them, in the order in which it came to be.
//!
//! A record is written in one piece before its file gets its name, so that it is there after whatever
//! ends the monitor; one that says whose a file is has the disk by then, too. The ownership store has the
//! owners too, and later changes of them; here they stand for the time in which it has not written them
//! yet. What a power cut has left of a record is none.

use crate::error::{Doing, Result};
use crate::monitor::owners::{FileId, Owner};
use crate::ownership::checksum;
use picozone_personality::origins::Origin;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const WORDS: usize = 10;
/// Words and checksum.
const SIZE: usize = (WORDS + 1) * 8;

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
        let with_sum = |record: &Record| {
            let words = record.words();
            words.into_iter().chain([checksum(&words)])
        };
        let words = records.iter().flat_map(with_sum);
        let bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        // One write: those of several threads do not mix.
        (&self.file).write_all(&bytes)?;
        if records.iter().any(|record| record.owner.is_some()) {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// All records, the oldest first.
    pub(super) fn records(&self) -> Result<Vec<Record>> {
        let bytes = std::fs::read(&self.path).doing("read", self.path.display())?;
        let record = |bytes: &[u8; SIZE]| {
            let mut words = [0; WORDS + 1];
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_ne_bytes(*bytes);
            }
            let [words @ .., sum] = words;
            (sum == checksum(&words)).then_some(words)
        };
        let record = |bytes| record(bytes).and_then(Record::of);
        Ok(bytes.as_chunks().0.iter().filter_map(record).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> Record {
        Record {
            id: FileId {
                dev: 1,
                ino: number,
                btime: 3,
            },
            origin: Origin {
                dev: 4,
                ino: number + 1,
                links: -1,
            },
            owner: Some(Owner {
                uid: 5,
                gid: 6,
                mode: libc::S_IFREG | 0o4755,
                rdev: 0,
            }),
        }
    }

    #[test]
    fn a_record_of_which_a_part_is_lost_is_none() {
        let temporary = tempfile::NamedTempFile::new().expect("room");
        let journal = Journal::open(temporary.path()).expect("open");
        let all: Vec<_> = (0..20).map(record).collect();
        journal.add(&all[..7]).expect("written");
        journal.add(&all[7..]).expect("written");
        assert_eq!(journal.records().expect("read"), all);
        let bytes = std::fs::read(temporary.path()).expect("read");
        // A sector that did not reach the disk reads as zeros; records lie across its ends.
        for start in (0..bytes.len()).step_by(512) {
            let mut torn = bytes.clone();
            let end = torn.len().min(start + 512);
            torn[start..end].fill(0);
            std::fs::write(temporary.path(), &torn).expect("written");
            let whole = all.iter().enumerate().filter(|(at, _)| {
                let place = at * SIZE..(at + 1) * SIZE;
                place.end <= start || end <= place.start
            });
            let whole: Vec<_> = whole.map(|(_, record)| *record).collect();
            assert_eq!(journal.records().expect("read"), whole, "{start}");
        }
        for length in 0..bytes.len() {
            std::fs::write(temporary.path(), &bytes[..length]).expect("written");
            let journal = Journal::open(temporary.path()).expect("open");
            assert_eq!(journal.records().expect("read"), all[..length / SIZE]);
        }
    }
}
