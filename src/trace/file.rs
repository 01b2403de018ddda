//! The form in which a trace is kept.
//!
//! Eight bytes `ZONETRC\n` and the version in 32 bits, then blocks: the length of the content, the
//! CRC-32 of it, and the content. That of the first block is a [`Start`], that of others [`Entry`]s, one
//! after the other (see [`super::entry`] for their bytes). A block is written by one call; so after a
//! crash of the writer all but the last can be read.

use super::entry::{Entry, Start};
use std::fmt;
use std::io::{self, Read};

/// What a trace begins with.
pub const MAGIC: [u8; 8] = *b"ZONETRC\n";
/// Of this form. It changes with whatever a reader of an earlier one would not understand: 2 has stacks.
pub const VERSION: u32 = 2;
/// The first one, which holds nothing that this one does not.
const OLDEST: u32 = 1;
/// Longest content of a block.
pub const BLOCK_MAX: usize = 1 << 20;

/// The bytes before the first entry.
#[must_use]
pub fn front(start: &Start) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    let mut content = Vec::new();
    start.put(&mut content);
    bytes.extend(block(&content));
    bytes
}

/// A block of this content, which must not be longer than [`BLOCK_MAX`].
#[must_use]
pub fn block(content: &[u8]) -> Vec<u8> {
    debug_assert!(content.len() <= BLOCK_MAX, "blocks are shorter");
    let mut bytes = Vec::with_capacity(content.len() + 8);
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend(crc32fast::hash(content).to_le_bytes());
    bytes.extend(content);
    bytes
}

/// Why no more can be read.
#[derive(Debug)]
pub enum Fault {
    /// It is no trace.
    NoTrace,
    /// It is one of another version.
    Version(u32),
    /// It ends within the block that begins at this byte.
    Cut(u64),
    /// The block that begins at this byte is not what was written.
    Damaged(u64),
    /// Reading failed.
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTrace => write!(f, "it is no trace of a zone"),
            Self::Version(version) => {
                write!(
                    f,
                    "it has version {version}, and this program reads {OLDEST} to {VERSION}"
                )
            }
            Self::Cut(at) => write!(f, "it ends in the midst of the block at byte {at}"),
            Self::Damaged(at) => write!(f, "the block at byte {at} is damaged"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// Reads a trace.
pub struct Reader<R> {
    from: R,
    start: Start,
    content: Vec<u8>,
    /// How much of the content was taken.
    taken: usize,
    /// Where the block begins, and where the next one does.
    block: u64,
    next: u64,
}

impl<R: Read> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// It is no trace of this version, or ends before it tells anything.
    pub fn new(mut from: R) -> Result<Self, Fault> {
        let mut front = [0; 12];
        match fill(&mut from, &mut front)? {
            12 => {}
            _ => return Err(Fault::NoTrace),
        }
        let [magic @ .., a, b, c, d] = front;
        if magic != MAGIC {
            return Err(Fault::NoTrace);
        }
        let version = u32::from_le_bytes([a, b, c, d]);
        if !(OLDEST..=VERSION).contains(&version) {
            return Err(Fault::Version(version));
        }
        let mut reader = Self {
            from,
            start: Start::default(),
            content: Vec::new(),
            taken: 0,
            block: 12,
            next: 12,
        };
        if !reader.fetch()? {
            return Err(Fault::Cut(12));
        }
        let mut content = &reader.content[..];
        reader.start = Start::take(&mut content).map_err(|_| Fault::Damaged(12))?;
        reader.taken = reader.content.len();
        Ok(reader)
    }

    /// What it is a trace of.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The next entry; none at the end.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Fault> {
        while self.taken == self.content.len() {
            if !self.fetch()? {
                return Ok(None);
            }
        }
        let mut rest = &self.content[self.taken..];
        let entry = Entry::take(&mut rest).map_err(|_| Fault::Damaged(self.block))?;
        self.taken = self.content.len() - rest.len();
        Ok(Some(entry))
    }

    /// Whether the next entry has yet to be read.
    pub fn is_at_end_of_block(&self) -> bool {
        self.taken == self.content.len()
    }

    /// Reads a block; whether there was one.
    fn fetch(&mut self) -> Result<bool, Fault> {
        self.block = self.next;
        let mut head = [0; 8];
        match fill(&mut self.from, &mut head)? {
            0 => return Ok(false),
            8 => {}
            _ => return Err(Fault::Cut(self.block)),
        }
        let [a, b, c, d, sum @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > BLOCK_MAX {
            return Err(Fault::Damaged(self.block));
        }
        self.content.resize(length, 0);
        self.taken = length;
        if fill(&mut self.from, &mut self.content)? != length {
            return Err(Fault::Cut(self.block));
        }
        if crc32fast::hash(&self.content) != u32::from_le_bytes(sum) {
            return Err(Fault::Damaged(self.block));
        }
        self.taken = 0;
        self.next += 8 + length as u64;
        Ok(true)
    }
}

/// Reads until the buffer is full or nothing more comes. How much that was.
fn fill(from: &mut impl Read, to: &mut [u8]) -> Result<usize, Fault> {
    let mut done = 0;
    while done < to.len() {
        match from.read(&mut to[done..]) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Io(error)),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::{entry, sample};
    use proptest::prelude::*;

    fn start() -> Start {
        Start {
            zone: "web1".into(),
            time: 5,
        }
    }

    fn write(blocks: &[Vec<Entry>]) -> Vec<u8> {
        let mut bytes = front(&start());
        for entries in blocks {
            let mut content = Vec::new();
            for entry in entries {
                entry.put(&mut content);
            }
            bytes.extend(block(&content));
        }
        bytes
    }

    /// All that can be read, and what then is wrong.
    fn read(bytes: &[u8]) -> (Vec<Entry>, Option<Fault>) {
        let mut entries = Vec::new();
        let mut reader = match Reader::new(bytes) {
            Ok(reader) => reader,
            Err(fault) => return (entries, Some(fault)),
        };
        loop {
            match reader.next_entry() {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => return (entries, None),
                Err(fault) => return (entries, Some(fault)),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let whole = write(&[vec![Entry::Call(sample())], vec![Entry::End { skipped: 0 }]]);
        let said = |bytes: &[u8]| read(bytes).1.map(|fault| fault.to_string());
        assert_eq!(said(&whole), None);
        let second = 12 + front(&start()).len() - 12;
        assert_eq!(
            said(&whole[..whole.len() - 1]).expect("cut"),
            format!(
                "it ends in the midst of the block at byte {}",
                whole.len() - 8 - 9
            )
        );
        let mut damaged = whole.clone();
        damaged[second + 20] ^= 1;
        let (entries, fault) = read(&damaged);
        assert!(entries.is_empty());
        assert_eq!(
            fault.expect("damaged").to_string(),
            format!("the block at byte {second} is damaged")
        );
        assert_eq!(
            said(b"#!/bin/sh\n").expect("none"),
            "it is no trace of a zone"
        );
        assert_eq!(said(b"").expect("none"), "it is no trace of a zone");
        let mut later = whole;
        later[8] = 9;
        assert_eq!(
            said(&later).expect("later"),
            "it has version 9, and this program reads 1 to 2"
        );
    }

    proptest! {
        #[test]
        fn a_cut_leaves_all_whole_blocks(
            blocks in proptest::collection::vec(proptest::collection::vec(entry(), 1..4), 1..4),
            part in 0.0..1.0f64,
        ) {
            let whole = write(&blocks);
            let (entries, fault) = read(&whole);
            prop_assert!(fault.is_none());
            prop_assert_eq!(&entries, &blocks.concat());
            let front = front(&start()).len();
            #[expect(
                clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
                reason = "any place will do"
            )]
            let at = front + ((whole.len() - front) as f64 * part) as usize;
            let left = (0..=blocks.len())
                .rev()
                .find(|&count| write(&blocks[..count]).len() <= at)
                .unwrap_or(0);
            let (entries, fault) = read(&whole[..at]);
            prop_assert_eq!(entries, blocks[..left].concat());
            prop_assert_eq!(fault.is_none(), write(&blocks[..left]).len() == at);
        }

        #[test]
        fn a_changed_bit_is_found(
            entries in proptest::collection::vec(entry(), 1..4), at in any::<proptest::sample::Index>(),
            bit in 0..8u32,
        ) {
            let mut bytes = write(&[entries]);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(read(&bytes).1.is_some());
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut all = front(&start());
            let _ = read(&bytes);
            all.extend(block(&bytes));
            all.extend(bytes);
            let _ = read(&all);
        }
    }
}
