//! Calls as they were made, of what was recorded in one piece or in two.
//!
//! What may never return is recorded when it begins. That an exec has succeeded, the new program
//! tells.

use super::entry::{Call, Entry, Part};
use crate::ids::{HostPid, ZonePid};
use picozone_personality::trace::flags;
use picozone_syscalls::nr;
use std::collections::HashMap;

/// Most calls whose ends are waited for: who has more forges them.
const OPEN_MAX: usize = 1 << 16;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A call.
    Call {
        /// What was recorded of it.
        call: Call,
        /// Whether that tells how it ended. If not, its thread was still in it, or was killed there.
        has_ended: bool,
    },
    /// A program began in a process, whose exec was made before the trace began, or by the zone's init.
    Began {
        /// What was recorded of that: process, name and time.
        call: Call,
        /// The program's path in the zone.
        program: Vec<u8>,
    },
    /// Calls that were made and not recorded.
    Dropped {
        /// The thread; 0: threads that had no ring.
        host_tid: HostPid,
        /// How many.
        count: u64,
    },
    /// A thread has told what is no record.
    Garbled {
        /// The thread, as its ring says.
        host_tid: HostPid,
    },
}

/// Makes calls of entries.
#[derive(Default)]
pub struct Calls {
    open: HashMap<HostPid, Call>,
    skipped: Option<u64>,
}

impl Calls {
    /// What an entry says, with what was known before.
    pub fn take(&mut self, entry: Entry) -> Vec<Event> {
        match entry {
            Entry::Call(call) => self.call(call),
            Entry::Dropped { host_tid, count } => vec![Event::Dropped { host_tid, count }],
            Entry::Garbled { host_tid } => vec![Event::Garbled { host_tid }],
            Entry::End { skipped } => {
                self.skipped = Some(skipped);
                self.left()
            }
        }
    }

    /// Calls of which no end is known, where the trace ended.
    pub fn left(&mut self) -> Vec<Event> {
        let mut left: Vec<Call> = std::mem::take(&mut self.open).into_values().collect();
        left.sort_by_key(|call| call.time);
        left.into_iter().map(unfinished).collect()
    }

    /// How many calls were recorded and not written; none if the trace did not end in good order.
    #[must_use]
    pub fn skipped(&self) -> Option<u64> {
        self.skipped
    }

    fn call(&mut self, call: Call) -> Vec<Event> {
        let has = |flag: u32| call.flags & flag != 0;
        if has(flags::EXECUTED) {
            let began = self.exec_of(call.pid);
            return vec![match began {
                Some(began) => joined(began, call),
                None => {
                    let program = call.parts.iter().find_map(|part| match part {
                        Part::Memory { bytes, .. } => Some(bytes.clone()),
                        _ => None,
                    });
                    let program = program.unwrap_or_default();
                    Event::Began { call, program }
                }
            }];
        }
        // A thread makes one call at a time: the end of an open one was not recorded.
        let open = self.open.remove(&call.host_tid);
        if has(flags::ENDED) {
            return vec![match open.filter(|open| open.nr == call.nr) {
                Some(open) => joined(open, call),
                None => finished(call),
            }];
        }
        let mut events: Vec<Event> = open.map(unfinished).into_iter().collect();
        if !has(flags::BEGUN) {
            events.push(finished(call));
        } else if matches!(call.nr, nr::exit | nr::exit_group) {
            // It never ends otherwise.
            events.push(finished(call));
        } else {
            if self.open.len() >= OPEN_MAX {
                events.extend(self.left());
            }
            self.open.insert(call.host_tid, call);
        }
        events
    }

    fn exec_of(&mut self, pid: ZonePid) -> Option<Call> {
        let mut all = self.open.iter();
        let (&tid, _) = all.find(|(_, call)| call.pid == pid)?;
        self.open.remove(&tid)
    }
}

fn finished(call: Call) -> Event {
    Event::Call {
        call,
        has_ended: true,
    }
}

fn unfinished(call: Call) -> Event {
    Event::Call {
        call,
        has_ended: false,
    }
}

fn joined(began: Call, ended: Call) -> Event {
    let end = ended.time.saturating_add(ended.duration);
    finished(Call {
        result: ended.result,
        duration: end.saturating_sub(began.time),
        ..began
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::entry::tests::{entry, sample};
    use proptest::prelude::*;

    fn call(tid: u32, nr: u32, flags: u32, time: u64) -> Entry {
        Entry::Call(Call {
            nr,
            flags,
            pid: ZonePid(5),
            host_tid: HostPid(tid),
            time,
            duration: 10,
            result: -i64::from(flags & flags::ENDED),
            ..sample()
        })
    }

    /// Thread, number and duration of calls, and whether they ended.
    fn of(events: Vec<Event>) -> Vec<(u32, u32, u64, bool)> {
        let calls = events.into_iter().filter_map(|event| match event {
            Event::Call { call, has_ended } => {
                Some((call.host_tid.0, call.nr, call.duration, has_ended))
            }
            _ => None,
        });
        calls.collect()
    }

    #[test]
    fn what_was_recorded_in_two_pieces_is_one_call() {
        let mut calls = Calls::default();
        assert_eq!(calls.take(call(9, nr::execve, flags::BEGUN, 100)), []);
        let failed = of(calls.take(call(9, nr::execve, flags::ENDED, 150)));
        assert_eq!(failed, [(9, nr::execve, 60, true)]);
        // A thread other than the leader executes: the leader's id is the new program's.
        assert_eq!(calls.take(call(9, nr::execve, flags::BEGUN, 200)), []);
        let executed = call(8, nr::execve, flags::ENDED | flags::EXECUTED, 300);
        assert_eq!(
            of(calls.take(executed.clone())),
            [(9, nr::execve, 110, true)]
        );
        let first = calls.take(executed);
        assert!(matches!(&first[..], [Event::Began { .. }]), "{first:?}");
        let exit = of(calls.take(call(9, nr::exit, flags::BEGUN, 400)));
        assert_eq!(exit, [(9, nr::exit, 10, true)]);
    }

    #[test]
    fn what_did_not_end_is_told_at_the_end() {
        let mut calls = Calls::default();
        assert_eq!(calls.take(call(9, nr::execve, flags::BEGUN, 100)), []);
        // Its end was not recorded.
        let later = of(calls.take(call(9, nr::getpid, 0, 200)));
        assert_eq!(
            later,
            [(9, nr::execve, 10, false), (9, nr::getpid, 10, true)]
        );
        assert_eq!(calls.take(call(8, nr::execveat, flags::BEGUN, 300)), []);
        assert_eq!(calls.skipped(), None);
        let left = of(calls.take(Entry::End { skipped: 3 }));
        assert_eq!(left, [(8, nr::execveat, 10, false)]);
        assert_eq!(calls.skipped(), Some(3));
    }

    proptest! {
        #[test]
        fn no_call_comes_twice(entries in proptest::collection::vec(entry(), 0..40)) {
            let mut calls = Calls::default();
            let count = entries.len();
            let mut events = 0;
            for entry in entries {
                events += calls.take(entry).len();
            }
            events += calls.left().len();
            prop_assert!(events <= count);
        }
    }
}
