//! A row of shared memory that one writes while others read.
//!
//! It is guarded by a sequence number and made of atomic words, so that a reader that is overtaken by
//! the writer notices it, and never waits.

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
        let seq = self.seq.load(Ordering::Acquire);
        if seq == 0 || seq & 1 == 1 || !fits(&self.words) {
            return None;
        }
        let mut words = [0u64; WORDS];
        for (to, from) in words.iter_mut().zip(&self.words) {
            *to = from.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        (self.seq.load(Ordering::Relaxed) == seq).then_some(words)
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
