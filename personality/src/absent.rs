//! Attributes that files are known not to have, so that nobody is asked for them again.
//!
//! Programs that list files ask each for labels and capabilities that next to none has
//! (`security.selinux`). The monitor notes what it did not find; a file's ctime changes with its
//! attributes, so that a note holds for the file as it was.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// How many notes there are.
const NOTES: usize = 1 << 14;

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

/// The notes.
#[repr(C)]
pub struct Absent([AtomicU64; NOTES]);

impl Absent {
    fn slot(&self, attribute: Attribute) -> Option<&AtomicU64> {
        self.0.get((attribute.0 >> 40) as usize % NOTES)
    }

    /// Whether the file is known not to have the attribute.
    #[must_use]
    pub fn has(&self, attribute: Attribute) -> bool {
        self.slot(attribute)
            .is_some_and(|slot| slot.load(Relaxed) == attribute.0)
    }

    /// Notes that it has not.
    pub fn note(&self, attribute: Attribute) {
        if let Some(slot) = self.slot(attribute) {
            slot.store(attribute.0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_of_one_attribute_of_one_file_at_one_time() {
        // SAFETY: zeroed memory is no note.
        let absent = unsafe { Box::<Absent>::new_zeroed().assume_init() };
        let noted = Attribute::new([1, 2, 3, 4], b"security.selinux");
        assert!(!absent.has(noted));
        absent.note(noted);
        assert!(absent.has(noted));
        assert!(!absent.has(Attribute::new([1, 2, 3, 5], b"security.selinux")));
        assert!(!absent.has(Attribute::new([2, 1, 3, 4], b"security.selinux")));
        assert!(!absent.has(Attribute::new([1, 2, 3, 4], b"security.capability")));
    }
}
