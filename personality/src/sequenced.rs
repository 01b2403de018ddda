//! A row of shared memory that one writes while others read.
//!
//! It is guarded by a sequence number and made of atomic words, so that a reader that is overtaken by
//! the writer notices it, and never waits.

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The words of a row. All zero is a row that was never written.
#[repr(C)]
pub struct Sequenced<const WORDS: usize> {
    /// Odd while the row is being written; 0 if it was never used.
    seq: AtomicU32,
    /// Unused.
    pad: u32,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Sequenced<WORDS> {
    /// How often the row was written.
    #[must_use]
    pub fn writes(&self) -> u32 {
        self.seq.load(Ordering::Relaxed) / 2
    }

    /// The words, if `fits` says of a first look, which may be at a row half written, that they are
    /// worth it. `None` also for a row that was never written, or is being written.
    #[must_use]
    pub fn read_if(&self, fits: impl FnOnce(&[AtomicU64; WORDS]) -> bool) -> Option<[u64; WORDS]> {
        let mut words = MaybeUninit::uninit();
        self.read_into(fits, &mut words).copied()
    }

    /// The same into the caller's place: for rows that are too large to be handed about.
    pub fn read_into<'w>(
        &self,
        fits: impl FnOnce(&[AtomicU64; WORDS]) -> bool,
        words: &'w mut MaybeUninit<[u64; WORDS]>,
    ) -> Option<&'w [u64; WORDS]> {
        let seq = self.seq.load(Ordering::Acquire);
        if seq == 0 || seq & 1 == 1 || !fits(&self.words) {
            return None;
        }
        let start = words.as_mut_ptr().cast::<u64>();
        for (at, from) in self.words.iter().enumerate() {
            let word = from.load(Ordering::Relaxed);
            // SAFETY: `at` is below `WORDS`.
            let to = unsafe { start.add(at) };
            // SAFETY: it lies in `words`.
            unsafe { to.write(word) };
        }
        fence(Ordering::Acquire);
        if self.seq.load(Ordering::Relaxed) != seq {
            return None;
        }
        // SAFETY: every word was written above.
        Some(unsafe { words.assume_init_ref() })
    }

    /// Replaces the words. There must be one writer at a time.
    pub fn write(&self, words: &[u64; WORDS]) {
        let seq = self.seq.load(Ordering::Relaxed);
        self.seq.store(seq.wrapping_add(1) | 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (to, from) in self.words.iter().zip(words) {
            to.store(*from, Ordering::Relaxed);
        }
        // Never 0 again, even after 2^31 changes.
        let next = (seq.wrapping_add(2) & !1).max(2);
        self.seq.store(next, Ordering::Release);
    }
}
