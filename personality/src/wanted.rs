//! Which calls somebody follows: what the command line's filters come to where a call is recorded.
//!
//! A box around all that is wanted: which calls, and between which bounds processes, threads, results and
//! durations lie. What is outside is not recorded; what is inside the command line judges once more. The
//! monitor writes it, and sets [`watch::CHOSEN`](crate::trace::watch::CHOSEN) where it is not all there is.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

/// Numbers of calls that can be chosen; those above are always wanted.
pub const NUMBERS: usize = 512;

/// The box. Each of its fields can be wider than wanted while the monitor writes it, and none narrower.
#[repr(C)]
pub struct Wanted {
    /// One bit for each number.
    pub calls: [AtomicU64; NUMBERS / 64],
    /// Least and most pid of the zone.
    pub pids: [AtomicU32; 2],
    /// The same of threads.
    pub tids: [AtomicU32; 2],
    /// The same of results.
    pub results: [AtomicI64; 2],
    /// Shortest duration, in ticks of the processor's clock.
    pub shortest: AtomicU64,
}

impl Wanted {
    /// Whether a call of that number is.
    #[inline]
    pub fn has_call(&self, nr: u32) -> bool {
        let word = self.calls.get(nr as usize / 64);
        word.is_none_or(|word| word.load(Relaxed) >> (nr % 64) & 1 != 0)
    }

    /// Whether one of that process is.
    #[inline]
    pub fn has_process(&self, pid: u32) -> bool {
        let [least, most] = &self.pids;
        (least.load(Relaxed)..=most.load(Relaxed)).contains(&pid)
    }

    /// Whether one of that thread is.
    #[inline]
    pub fn has_thread(&self, tid: u32) -> bool {
        let [least, most] = &self.tids;
        (least.load(Relaxed)..=most.load(Relaxed)).contains(&tid)
    }

    /// Whether one that ends so is; a clock that cannot be read says 0.
    #[inline]
    pub fn has_end(&self, result: i64, begin: u64, end: u64) -> bool {
        let [least, most] = &self.results;
        (least.load(Relaxed)..=most.load(Relaxed)).contains(&result)
            && (begin == 0 || end.saturating_sub(begin) >= self.shortest.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_is_wanted() {
        let wanted = Wanted {
            calls: [1 << 39, 0, 0, 0, 1 << 1, 0, 0, 0].map(AtomicU64::new),
            pids: [7, 9].map(AtomicU32::new),
            tids: [0, u32::MAX].map(AtomicU32::new),
            results: [-4095, -1].map(AtomicI64::new),
            shortest: 100.into(),
        };
        for (nr, is) in [
            (39, true),
            (257, true),
            (38, false),
            (0, false),
            (512, true),
        ] {
            assert_eq!(wanted.has_call(nr), is, "{nr}");
        }
        assert!(wanted.has_process(7) && wanted.has_process(9));
        assert!(!wanted.has_process(6) && !wanted.has_process(10));
        assert!(wanted.has_thread(0) && wanted.has_thread(u32::MAX));
        assert!(wanted.has_end(-2, 1000, 1100) && !wanted.has_end(-2, 1000, 1099));
        assert!(wanted.has_end(-2, 0, 0) && !wanted.has_end(0, 1000, 2000));
    }
}
