//! Libraries whose rewritten copies are known: a guest that maps one of them asks nobody.
//!
//! The monitor writes rows, guests read them, as those of [`crate::plans`]. A row tells what is to be
//! mapped in place of a file, or that nothing is.

use crate::plans::{CopyName, FileId};
use crate::sequenced::Sequenced;

/// How many rows there are.
pub const ROWS: usize = 1024;
/// How many of them a file can have: those from [`first_row`] on.
pub const WAYS: usize = 8;

/// First word of a tail; its length in bytes follows. By that a tail is found behind its library
/// when that is unmapped.
pub const TAIL_MARK: u64 = u64::from_le_bytes(*b"picozone");

/// What is known of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Library {
    /// The file.
    pub id: FileId,
    /// Its copy; empty if it is to be mapped as it is.
    pub copy: CopyName,
    /// Where the tail lies behind the start of the library, in bytes: right behind its last page.
    pub address: u64,
    /// Where the tail lies in the copy, in bytes.
    pub offset: u64,
    /// Length of the tail in bytes.
    pub length: u64,
}

const WORDS: usize = size_of::<Library>() / 8;
const _: () = assert!(size_of::<Library>() == WORDS * 8);

/// A place for what is known of a file.
#[repr(transparent)]
pub struct LibraryRow(Sequenced<WORDS>);

/// Where the rows of a file begin.
#[must_use]
pub const fn first_row(id: &FileId) -> usize {
    let mixed = (id.ino ^ id.dev.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as usize & (ROWS - 1)
}

/// The row of that number among those of a file.
#[must_use]
pub const fn way(id: &FileId, number: usize) -> usize {
    (first_row(id) + number) & (ROWS - 1)
}

impl LibraryRow {
    /// How often the row was written.
    #[must_use]
    pub fn writes(&self) -> u32 {
        self.0.writes()
    }

    /// What is known, if it is of that file. `None` also while it is being written.
    #[must_use]
    pub fn get(&self, id: &FileId) -> Option<Library> {
        let words = self.0.read_if(|_| true)?;
        // SAFETY: `Library` is as long, and made of integers only.
        let library = unsafe { core::mem::transmute::<[u64; WORDS], Library>(words) };
        (library.id == *id).then_some(library)
    }

    /// Replaces what is known. There must be one writer at a time.
    pub fn set(&self, library: &Library) {
        // SAFETY: as long, and made of integers only.
        let words = unsafe { core::mem::transmute::<Library, [u64; WORDS]>(*library) };
        self.0.write(&words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_answers_to_its_file_only() {
        // SAFETY: zeroed memory is an unused row.
        let row = unsafe { core::mem::zeroed::<LibraryRow>() };
        let id = FileId {
            ino: 7,
            ..FileId::default()
        };
        assert_eq!(row.get(&FileId::default()), None);
        let library = Library {
            id,
            copy: [b'a'; crate::plans::COPY_MAX],
            address: 4096,
            offset: 8192,
            length: 4096,
        };
        row.set(&library);
        assert_eq!(row.get(&id), Some(library));
        assert_eq!(row.get(&FileId::default()), None);
        assert_eq!(row.writes(), 1);
    }
}
