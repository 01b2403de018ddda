//! What has been said of files since the store's last transaction.
//!
//! A record is one write(2) at the end of a file: from then on the kernel has it, and it outlives
//! the monitor. There are two files: while the records of one are put into the store, the other takes new
//! ones.
//!
//! Records are numbered without a gap, and the store says, in the transaction that takes them, up to
//! which number it has them. So after a power cut, which may leave any part of what was never synced,
//! lose a truncation, or lay a new record over the remains of old ones, exactly those count that follow
//! upon the store's one after the other.

use super::kept::Change;
use super::{FileId, Owner, Said};
use crate::error::{Doing, Result};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Length of a record: sequence number, identity, owner, device, checksum; little-endian. That of an
/// attribute has lengths in the owner's place, [`IS_ATTRIBUTE`] in the mode's and a checksum in the
/// device's; name and value follow, up to a multiple of this length.
const RECORD: usize = 64;
/// In a record of an attribute, whose value is [`SET`] or taken away.
const IS_ATTRIBUTE: u64 = 1 << 32;
const SET: u64 = 1 << 33;

/// The two files of a zone's journal.
#[derive(Debug)]
pub struct Journal {
    files: [File; 2],
    /// How long they are.
    lengths: [u64; 2],
    /// Which of the two takes records.
    current: usize,
    next: u64,
}

impl Journal {
    /// Opens the journal of the zone that lies in `zone_dir`, and gives what it holds beyond record `last`,
    /// the last one that the store has, in order.
    ///
    /// # Errors
    /// A file cannot be opened or read.
    pub fn open(zone_dir: &Path, last: u64) -> Result<(Self, Vec<Said>)> {
        let mut records = Vec::new();
        let mut open = |name: &str| -> Result<(File, u64)> {
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
            let mut rest = &bytes[..];
            while let Some((number, record)) = parse(&mut rest) {
                // Those before are in the store, and what follows them are remains.
                if number > last {
                    records.push((number, record));
                }
            }
            Ok((file, bytes.len() as u64))
        };
        let (first, second) = (open("owners.journal.0")?, open("owners.journal.1")?);
        records.sort_by_key(|(number, ..)| *number);
        let mut journal = Self {
            files: [first.0, second.0],
            lengths: [first.1, second.1],
            current: 0,
            next: last + 1,
        };
        let mut left = Vec::new();
        for (number, said) in records {
            if number != journal.next {
                break;
            }
            journal.next += 1;
            left.push(said);
        }
        Ok((journal, left))
    }

    /// Adds what is said of a file.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn add(&mut self, said: &Said) -> std::io::Result<()> {
        match said {
            Said::Owner(id, owner) => self.write(&format(self.next, *id, *owner)),
            Said::Attribute(change) => self.write(&format_attribute(self.next, change)),
        }
    }

    /// The number of the last record, which the store is to have once it has all of them.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.next - 1
    }

    fn write(&mut self, record: &[u8]) -> std::io::Result<()> {
        let (file, length) = (
            &mut self.files[self.current],
            &mut self.lengths[self.current],
        );
        match file.write_all(record) {
            Ok(()) => {
                *length += record.len() as u64;
                self.next += 1;
            }
            // The disk is full: a part of a record must not stand before the next one.
            Err(error) => {
                file.set_len(*length)?;
                return Err(error);
            }
        }
        Ok(())
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
        self.files[full].set_len(0)?;
        self.lengths[full] = 0;
        Ok(())
    }
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

fn format(number: u64, id: FileId, owner: Owner) -> [u8; RECORD] {
    let ids = pair(owner.uid, owner.gid);
    format_words(number, id, [ids, owner.mode.into(), owner.rdev])
}

fn format_words(number: u64, id: FileId, [ids, mode, rdev]: [u64; 3]) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let words = [number, id.dev, id.ino, id.btime, ids, mode, rdev];
    let sum = checksum(&words);
    let places = record.as_chunks_mut().0.iter_mut();
    for (place, word) in places.zip(words.into_iter().chain([sum])) {
        *place = word.to_le_bytes();
    }
    record
}

fn format_attribute(number: u64, change: &Change) -> Vec<u8> {
    let value = change.value.as_deref();
    let bytes = [&change.name[..], value.unwrap_or_default()].concat();
    let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let lengths = pair(short(change.name.len()), short(bytes.len()));
    let kind = IS_ATTRIBUTE | if value.is_some() { SET } else { 0 };
    let mut rest = bytes;
    rest.resize(rest.len().next_multiple_of(RECORD), 0);
    let sum = checksum(&words_of(&rest));
    let mut record = format_words(number, change.id, [lengths, kind, sum]).to_vec();
    record.extend(rest);
    record
}

fn words_of(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.as_chunks().0.iter();
    words.map(|word| u64::from_le_bytes(*word)).collect()
}

/// Takes a record from the front. Whatever is not what [`format`] makes is no record.
fn parse(from: &mut &[u8]) -> Option<(u64, Said)> {
    let (record, mut rest) = from.split_at_checked(RECORD)?;
    let words = words_of(record);
    let &[number, dev, ino, btime, ids, mode, rdev, sum] = &words[..] else {
        return None;
    };
    if sum != checksum(&words[..7]) {
        return None;
    }
    let id = FileId { dev, ino, btime };
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).ok();
    let (low, high) = (half(ids)?, half(ids >> 32)?);
    let record = if mode & IS_ATTRIBUTE == 0 {
        Said::Owner(
            id,
            Owner {
                uid: low,
                gid: high,
                mode: u32::try_from(mode).ok()?,
                rdev,
            },
        )
    } else {
        let (name, all) = (usize::try_from(low).ok()?, usize::try_from(high).ok()?);
        let (padded, after) = rest.split_at_checked(all.next_multiple_of(RECORD))?;
        if rdev != checksum(&words_of(padded)) {
            return None;
        }
        rest = after;
        let (name, value) = padded.get(..all)?.split_at_checked(name)?;
        Said::Attribute(Change {
            id,
            name: name.to_vec(),
            value: (mode & SET != 0).then(|| value.to_vec()),
        })
    };
    *from = rest;
    Some((number, record))
}

/// FNV-1a over words, begun so that a record of zeros is none.
#[must_use]
pub fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29)
    })
}
