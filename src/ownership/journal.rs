//! What has been said of files since the store's last transaction.
//!
//! A record is one write(2) at the end of a file: from then on the kernel has it, and it outlives
//! the monitor. A record that is not whole, as after a power cut, ends what is read.
//! There are two files: while the records of one are put into the store, the other takes new ones.

use super::{FileId, Owner};
use crate::error::{Doing, Result};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Length of a record: sequence number, identity, owner, device, checksum; little-endian.
const RECORD: usize = 64;

/// The two files of a zone's journal.
#[derive(Debug)]
pub struct Journal {
    files: [File; 2],
    /// Which of the two takes records.
    current: usize,
    next: u64,
}

impl Journal {
    /// Opens the journal of the zone that lies in `zone_dir`, and gives what it holds, in order.
    ///
    /// # Errors
    /// A file cannot be opened or read.
    pub fn open(zone_dir: &Path) -> Result<(Self, Vec<(FileId, Owner)>)> {
        let mut records = Vec::new();
        let mut open = |name: &str| -> Result<File> {
            let path = zone_dir.join(name);
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)
                .doing("open", path.display())?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).doing("read", path.display())?;
            records.extend(bytes.as_chunks().0.iter().map_while(parse));
            Ok(file)
        };
        let files = [open("owners.journal.0")?, open("owners.journal.1")?];
        records.sort_unstable_by_key(|(number, ..)| *number);
        let next = records.last().map_or(1, |(number, ..)| number + 1);
        let journal = Self {
            files,
            current: 0,
            next,
        };
        let rows = records.into_iter().map(|(_, id, owner)| (id, owner));
        Ok((journal, rows.collect()))
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn add(&mut self, id: FileId, owner: Owner) -> std::io::Result<()> {
        let record = format(self.next, id, owner);
        self.next += 1;
        let file = &mut self.files[self.current];
        let written = file.write_all(&record);
        if written.is_err() {
            // The disk is full: a part of a record must not stand before the next one.
            let whole = file.metadata()?.len() / RECORD as u64 * RECORD as u64;
            file.set_len(whole)?;
        }
        written
    }

    /// Takes new records in the other file from now on; the name is for [`Journal::forget`].
    pub fn turn(&mut self) -> usize {
        let full = self.current;
        self.current = 1 - full;
        full
    }

    /// Empties a file, whose records are in the store.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    pub fn forget(&mut self, full: usize) -> std::io::Result<()> {
        self.files[full].set_len(0)
    }
}

fn format(number: u64, id: FileId, owner: Owner) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let words = [
        number,
        id.dev,
        id.ino,
        id.btime,
        pair(owner.uid, owner.gid),
        u64::from(owner.mode),
        owner.rdev,
    ];
    let sum = checksum(&words);
    let places = record.as_chunks_mut().0.iter_mut();
    for (place, word) in places.zip(words.into_iter().chain([sum])) {
        *place = word.to_le_bytes();
    }
    record
}

/// Whatever is not what [`format`] makes is no record.
fn parse(record: &[u8; RECORD]) -> Option<(u64, FileId, Owner)> {
    let mut words = [0; RECORD / 8];
    for (word, bytes) in words.iter_mut().zip(record.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let [number, dev, ino, btime, ids, mode, rdev, sum] = words;
    if sum != checksum(&words[..7]) {
        return None;
    }
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).ok();
    let owner = Owner {
        uid: half(ids)?,
        gid: half(ids >> 32)?,
        mode: u32::try_from(mode).ok()?,
        rdev,
    };
    Some((number, FileId { dev, ino, btime }, owner))
}

/// FNV-1a over words, begun so that a record of zeros is none.
fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29)
    })
}
