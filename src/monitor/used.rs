//! Which mailboxes hold memory, and giving back those of threads that are gone.
//!
//! A mailbox belongs to a thread id of the host, of which there are millions over time; each keeps
//! some pages from its first request on.

use super::guests;
use super::shared::Shared;
use crate::ids::HostPid;
use picozone_personality::layout::PID_LIMIT;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

/// New mailboxes between two sweeps: at some 12 KiB each, about 12 MiB.
const SWEEP_AFTER: u32 = 1024;

/// Thread ids of one page of bits.
const PAGE: usize = 4096 * 8;
/// How many pages all of them take.
const PAGES: usize = (PID_LIMIT as usize).div_ceil(PAGE);

/// One bit for each thread id that has asked something; a page is made when it gets its first.
pub struct Used {
    pages: [OnceLock<Box<[AtomicU64; PAGE / 64]>>; PAGES],
    new: AtomicU32,
    sweep: Mutex<()>,
}

impl Default for Used {
    fn default() -> Self {
        Used {
            pages: [const { OnceLock::new() }; PAGES],
            new: AtomicU32::new(0),
            sweep: Mutex::new(()),
        }
    }
}

impl Used {
    /// Notes a request of a thread; sweeps now and then.
    pub fn note(&self, shared: &Shared, tid: u32) {
        let bit = 1 << (tid % 64);
        let Some(page) = self.pages.get(tid as usize / PAGE) else {
            return;
        };
        let page = page.get_or_init(|| Box::new([const { AtomicU64::new(0) }; PAGE / 64]));
        let word = &page[tid as usize % PAGE / 64];
        if word.load(Relaxed) & bit == 0
            && word.fetch_or(bit, Relaxed) & bit == 0
            && self.new.fetch_add(1, Relaxed) + 1 >= SWEEP_AFTER
        {
            self.sweep(shared);
        }
    }

    /// Gives back the mailboxes of threads that are gone. An id comes back only after all others
    /// were given out, so that none is taken up between the look at it and the end of this.
    fn sweep(&self, shared: &Shared) {
        let Ok(_sweeping) = self.sweep.try_lock() else {
            return;
        };
        self.new.store(0, Relaxed);
        let pages = self.pages.iter().enumerate();
        let words = pages.filter_map(|(at, page)| Some((at * PAGE / 64, page.get()?)));
        let words = words.flat_map(|(first, page)| (first..).zip(page.iter()));
        for (index, word) in words {
            let mut left = word.load(Relaxed);
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                let tid = u32::try_from(index).unwrap_or(0) * 64 + bit;
                if guests::is_gone(HostPid(tid)) {
                    word.fetch_and(!(1 << bit), Relaxed);
                    shared.forget(tid);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn mailboxes_of_the_dead_are_given_back() {
        let shared = Shared::make().expect("shared memory");
        let used = Used::default();
        let mut child = Command::new("true").spawn().expect("true");
        let (dead, own) = (child.id(), std::process::id());
        for tid in [dead, own] {
            shared.write_bytes(tid, b"something");
            used.note(&shared, tid);
        }
        let before = shared.mailbox_blocks();
        used.sweep(&shared);
        // Not reaped yet: the id is still taken.
        assert_eq!(shared.mailbox_blocks(), before);
        child.wait().expect("reaped");
        used.sweep(&shared);
        assert!(shared.mailbox_blocks() < before);
        assert_eq!(shared.read_bytes(own, 9), b"something");
        assert_eq!(shared.read_bytes(dead, 9), [0; 9]);
    }
}
