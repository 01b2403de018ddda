//! Attributes that files are known not to have, so that nobody is asked for them again.
//!
//! Programs that list files ask each for labels and capabilities that next to none has
//! (`security.selinux`), or whether it has any ([`ANY`]). The monitor notes what it did not find; a file's
//! ctime changes with its attributes, so that a note holds for the file as it was.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// How many lines of notes there are.
const LINES: usize = 1 << 12;
/// How many of a line's notes one can be: all that one look at memory brings.
const WAYS: usize = 8;

/// In the place of a name, of which none is empty: any attribute but access control lists.
pub const ANY: &[u8] = b"";

/// One attribute of one file at one ctime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute(u64);

impl Attribute {
    /// For a file's device, inode and ctime in seconds and nanoseconds, and the attribute's name.
    #[must_use]
    pub fn new(file: [u64; 4], name: &[u8]) -> Attribute {
        let mut hash = 0xcbf2_9ce4_8422_2325;
        let mut add = |word: u64| {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        };
        file.into_iter().for_each(&mut add);
        name.iter().map(|&byte| u64::from(byte)).for_each(add);
        Attribute(hash | 1)
    }
}

/// Notes that are looked at together.
#[repr(C, align(64))]
struct Line([AtomicU64; WAYS]);

/// The notes.
#[repr(C)]
pub struct Absent([Line; LINES]);

impl Absent {
    fn line(&self, attribute: Attribute) -> &[AtomicU64] {
        let line = self.0.get((attribute.0 >> 40) as usize % LINES);
        line.map_or(&[], |line| &line.0)
    }

    /// Whether the file is known not to have the attribute.
    #[must_use]
    pub fn has(&self, attribute: Attribute) -> bool {
        let mut line = self.line(attribute).iter();
        line.any(|note| note.load(Relaxed) == attribute.0)
    }

    /// Notes that it has not, over another note where there is no room.
    pub fn note(&self, attribute: Attribute) {
        let line = self.line(attribute);
        let free = line.iter().find(|note| note.load(Relaxed) == 0);
        if let Some(note) = free.or_else(|| line.get((attribute.0 >> 8) as usize % WAYS)) {
            note.store(attribute.0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent() -> Box<Absent> {
        // SAFETY: zeroed memory is no note.
        unsafe { Box::<Absent>::new_zeroed().assume_init() }
    }

    #[test]
    fn a_note_is_of_one_attribute_of_one_file_at_one_time() {
        let absent = absent();
        let noted = Attribute::new([1, 2, 3, 4], b"security.selinux");
        assert!(!absent.has(noted));
        absent.note(noted);
        assert!(absent.has(noted));
        assert!(!absent.has(Attribute::new([1, 2, 3, 5], b"security.selinux")));
        assert!(!absent.has(Attribute::new([2, 1, 3, 4], b"security.selinux")));
        assert!(!absent.has(Attribute::new([1, 2, 3, 4], b"security.capability")));
    }

    #[test]
    fn notes_of_many_files_stay() {
        let absent = absent();
        let all = || (0..10_000).map(|inode| Attribute::new([1, inode, 3, 4], b"security.selinux"));
        all().for_each(|attribute| absent.note(attribute));
        let kept = all().filter(|attribute| absent.has(*attribute)).count();
        assert!(kept > 9_950, "{kept}");
        all().for_each(|attribute| {
            absent.note(attribute);
            assert!(absent.has(attribute));
        });
    }
}
