//! Guests whose operation cannot be done yet.

use super::super::zone::Zone;
use super::Kind;
use super::watch::birth;
use std::collections::HashMap;

/// Results that nobody fetched: those of threads that were killed are dropped beyond this many.
const RESULTS_MAX: usize = 1024;

/// A value, and bytes for the caller's mailbox.
pub(super) type Done = Result<(i64, Vec<u8>), i32>;

/// Who waits, and what became of it.
#[derive(Default)]
pub(super) struct Waits {
    /// Of which object a thread waits, by its number on the host.
    pending: HashMap<u32, (Kind, i32)>,
    results: HashMap<u32, Done>,
}

/// A thread that waits: its number on the host, and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) tid: u32,
    birth: Option<u64>,
}

impl Waiter {
    pub(super) fn new(tid: u32) -> Waiter {
        Waiter {
            tid,
            birth: birth(tid),
        }
    }

    /// Whether it can still take a result.
    pub(super) fn is_alive(self) -> bool {
        self.birth.is_some() && birth(self.tid) == self.birth
    }
}

impl Waits {
    /// Notes that a thread is about to wait.
    pub(super) fn begin(&mut self, zone: &Zone, tid: u32, kind: Kind, id: i32) {
        self.results.remove(&tid);
        self.pending.insert(tid, (kind, id));
        zone.shared.arm(tid);
    }

    /// Lets a thread go on.
    pub(super) fn finish(&mut self, zone: &Zone, tid: u32, done: Done) {
        self.pending.remove(&tid);
        if self.results.len() >= RESULTS_MAX {
            self.results.retain(|tid, _| birth(*tid).is_some());
        }
        self.results.insert(tid, done);
        zone.shared.wake(tid);
    }

    /// What a thread waited for, if it came.
    pub(super) fn take(&mut self, tid: u32) -> Option<Done> {
        self.results.remove(&tid)
    }

    /// Of which object a thread waits; it does no longer.
    pub(super) fn give_up(&mut self, tid: u32) -> Option<(Kind, i32)> {
        self.pending.remove(&tid)
    }
}
