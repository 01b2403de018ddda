//! Files with holes in a tarball: where the pieces that it holds of one lie.
//!
//! GNU tar's older form (an entry of the kind `S`) has them in its header and blocks behind it; the
//! three forms in pax headers (`GNU.sparse.*`, versions 0.0, 0.1 and 1.0) in records, or in front of the
//! content. See "Storing Sparse Files" in the manual of GNU tar.

use super::archive::{invalid, number};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

/// Most pieces of one file.
const PIECES_MAX: usize = 1 << 20;
/// Length of a block of a tarball, in bytes.
const BLOCK: usize = 512;

/// A file of pieces and holes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sparse {
    /// Length with the holes, in bytes.
    pub(super) size: u64,
    /// Offset and length of each piece; their content follows one upon the other.
    pub(super) pieces: Vec<(u64, u64)>,
}

impl Sparse {
    /// What the older form says, of which the header may have more blocks behind it.
    pub(super) fn of_header(header: &Header, from: &mut dyn Read) -> io::Result<Self> {
        let gnu = header.as_gnu().ok_or_else(malformed)?;
        let mut found = Self {
            size: gnu.real_size()?,
            pieces: Vec::new(),
        };
        found.add(&gnu.sparse)?;
        let mut is_extended = gnu.is_extended();
        while is_extended {
            let mut more = GnuExtSparseHeader::new();
            from.read_exact(more.as_mut_bytes())?;
            found.add(more.sparse())?;
            is_extended = more.is_extended();
        }
        Ok(found)
    }

    fn add(&mut self, pieces: &[GnuSparseHeader]) -> io::Result<()> {
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            self.push((piece.offset()?, piece.length()?))?;
        }
        Ok(())
    }

    fn push(&mut self, piece: (u64, u64)) -> io::Result<()> {
        if self.pieces.len() >= PIECES_MAX {
            return Err(invalid("a file of too many pieces is in it"));
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// Takes the pieces of version 1.0 from in front of the content: their count, then offset and length
    /// of each, every number on a line, up to the end of a block.
    fn take_map(&mut self, content: &mut dyn Read) -> io::Result<()> {
        let mut lines = Lines::default();
        for _ in 0..lines.next(content)? {
            self.push((lines.next(content)?, lines.next(content)?))?;
        }
        Ok(())
    }

    /// # Errors
    /// `InvalidData` where pieces overlap, are not in order, are beyond the end, or not `stored` bytes
    /// together.
    pub(super) fn check(&self, stored: u64) -> io::Result<()> {
        let (mut end, mut sum) = (0, 0);
        for &(offset, length) in &self.pieces {
            if offset < end {
                return Err(malformed());
            }
            end = offset.checked_add(length).ok_or_else(malformed)?;
            sum += length;
        }
        if end > self.size || sum != stored {
            return Err(malformed());
        }
        Ok(())
    }

    /// Fills a new file. How many bytes that took.
    ///
    /// # Errors
    /// Those of writing; `UnexpectedEof` where the content ends before the last piece does.
    pub(super) fn fill(&self, content: &mut dyn Read, file: &mut File) -> io::Result<u64> {
        let mut filled = 0;
        for &(offset, length) in &self.pieces {
            file.seek(SeekFrom::Start(offset))?;
            let count = io::copy(&mut content.take(length), file)?;
            if count < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
        }
        file.set_len(self.size)?;
        Ok(filled)
    }
}

fn malformed() -> io::Error {
    invalid("a sparse file in it is malformed")
}

/// Numbers on lines, read a block at a time.
#[derive(Default)]
struct Lines {
    block: Vec<u8>,
    at: usize,
}

impl Lines {
    fn next(&mut self, from: &mut dyn Read) -> io::Result<u64> {
        let mut text = Vec::new();
        loop {
            if self.at == self.block.len() {
                self.block.resize(BLOCK, 0);
                from.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return number(&text).ok_or_else(malformed),
                // No number of 64 bits is longer.
                byte if text.len() < 20 => text.push(byte),
                _ => return Err(malformed()),
            }
        }
    }
}

/// What the records of pax headers say of a file with holes.
#[derive(Default)]
pub(super) struct Records {
    /// Whether there was any.
    pub(super) is_any: bool,
    /// Its name: that of the entry is made up in versions 0.1 and 1.0.
    pub(super) name: Option<Vec<u8>>,
    major: u64,
    offset: Option<u64>,
    found: Sparse,
}

impl Records {
    /// Takes a record `GNU.sparse.KEY`.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let number = || number(value).ok_or_else(malformed);
        self.is_any = true;
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.major = number()?,
            b"size" | b"realsize" => self.found.size = number()?,
            b"offset" => self.offset = Some(number()?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or_else(malformed)?;
                self.found.push((offset, number()?))?;
            }
            b"map" if !value.is_empty() => {
                let mut numbers = value
                    .split(|&byte| byte == b',')
                    .map(super::archive::number);
                while let Some(offset) = numbers.next() {
                    let (offset, length) =
                        offset.zip(numbers.next().flatten()).ok_or_else(malformed)?;
                    self.found.push((offset, length))?;
                }
            }
            // How many pieces there are, and the minor version.
            _ => {}
        }
        Ok(())
    }

    /// The file's pieces, which stand in front of the content in version 1.0.
    pub(super) fn pieces(mut self, content: &mut dyn Read) -> io::Result<Sparse> {
        match self.major {
            0 => {}
            1 => self.found.take_map(content)?,
            _ => return Err(invalid("a sparse file of an unknown version is in it")),
        }
        Ok(self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(size: u64, pieces: &[(u64, u64)]) -> Sparse {
        let pieces = pieces.to_vec();
        Sparse { size, pieces }
    }

    #[test]
    fn maps_stand_before_the_content_in_whole_blocks() {
        let mut map = b"2\n0\n3\n1000\n2\n".to_vec();
        map.resize(BLOCK, 0);
        map.extend(b"abcde");
        let mut content = &map[..];
        let mut found = sparse(2000, &[]);
        found.take_map(&mut content).expect("well formed");
        assert_eq!(found, sparse(2000, &[(0, 3), (1000, 2)]));
        assert_eq!(content, b"abcde");
        for wrong in [&b"x\n"[..], b"1\n5\n", b"\n", b"184467440737095516160\n"] {
            let mut block = wrong.to_vec();
            block.resize(BLOCK, 0);
            assert!(
                Sparse::default().take_map(&mut &block[..]).is_err(),
                "{wrong:?}"
            );
        }
        assert!(
            Sparse::default().take_map(&mut &b"0\n"[..]).is_err(),
            "no whole block"
        );
    }

    #[test]
    fn pieces_are_in_order_within_the_file_and_all_there_is() {
        assert!(sparse(10, &[(0, 3), (5, 5)]).check(8).is_ok());
        assert!(sparse(10, &[(10, 0)]).check(0).is_ok());
        assert!(sparse(10, &[(5, 5), (0, 3)]).check(8).is_err());
        assert!(sparse(10, &[(0, 6), (5, 5)]).check(11).is_err());
        assert!(sparse(10, &[(5, 6)]).check(6).is_err());
        assert!(sparse(10, &[(5, 5)]).check(6).is_err());
        assert!(sparse(u64::MAX, &[(1, u64::MAX)]).check(u64::MAX).is_err());
    }

    #[test]
    fn records_of_each_version_are_understood() {
        let of = |records: &[(&str, &str)], mut content: &[u8]| {
            let mut found = Records::default();
            for (key, value) in records {
                found.take(key.as_bytes(), value.as_bytes())?;
            }
            found.pieces(&mut content)
        };
        let old = [
            ("size", "9"),
            ("numblocks", "1"),
            ("offset", "4"),
            ("numbytes", "5"),
        ];
        assert_eq!(of(&old, b"").expect("0.0"), sparse(9, &[(4, 5)]));
        let next = [("size", "9"), ("map", "0,1,4,5")];
        assert_eq!(of(&next, b"").expect("0.1"), sparse(9, &[(0, 1), (4, 5)]));
        let mut map = b"1\n4\n5\n".to_vec();
        map.resize(BLOCK, 0);
        let new = [("major", "1"), ("minor", "0"), ("realsize", "9")];
        assert_eq!(of(&new, &map).expect("1.0"), sparse(9, &[(4, 5)]));
        for wrong in [
            ("major", "2"),
            ("map", "0,1,4"),
            ("map", "x"),
            ("numbytes", "5"),
        ] {
            assert!(of(&[wrong], b"").is_err(), "{wrong:?}");
        }
    }
}
