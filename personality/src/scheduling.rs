//! Priorities that the host refuses and a zone's own right allows: recorded, not enforced.
//!
//! Who has `CAP_SYS_NICE` in a zone may set any nice value and policy. Where the kernel refuses one, the
//! thread is told from then on that it has it; how it is scheduled stays as it was. What the kernel
//! accepts is real, and ends the record.

use crate::commons::Commons;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// `SCHED_RR`.
pub const ROUND_ROBIN: u32 = 2;
/// `SCHED_RESET_ON_FORK`.
pub const RESET_ON_FORK: u32 = 0x4000_0000;
/// `SCHED_FLAG_RESET_ON_FORK`, in `struct sched_attr`.
const FLAG_RESET: u64 = 1;
/// `SCHED_FIFO`.
const FIFO: u32 = 1;
/// `SCHED_DEADLINE`.
const DEADLINE: u32 = 6;
/// What SCHED_RR gives at once, in nanoseconds (`RR_TIMESLICE`).
pub const TIMESLICE_NS: u64 = 100_000_000;

const HAS_NICE: u64 = 1 << 63;
const HAS_POLICY: u64 = 1 << 62;
const RESETS: u64 = 1 << 24;
/// Number of the birth that the row is about: both maker and child begin it, whoever comes first.
const BIRTH: u64 = 0xff_ffff << BIRTH_SHIFT;
const BIRTH_SHIFT: u32 = 32;

/// What is recorded of a thread. All zero: nothing.
#[repr(C)]
pub struct Row {
    /// Nice value plus 20 in the lowest byte, policy and priority in the next two; [`HAS_NICE`],
    /// [`HAS_POLICY`], [`RESETS`]; the thread's birth, see [`BIRTH`].
    word: AtomicU64,
    /// Of SCHED_DEADLINE: runtime, deadline, period.
    deadline: [AtomicU64; 3],
}

/// A policy, as `struct sched_attr` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// `SCHED_*`.
    pub policy: u32,
    /// Whether children have the ordinary one.
    pub resets: bool,
    /// Priority of SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// Of SCHED_DEADLINE: runtime, deadline, period.
    pub deadline: [u64; 3],
}

/// Offsets in `struct sched_attr` (sched_setattr(2)): policy, flags, nice, priority, and the three
/// times of SCHED_DEADLINE.
mod at {
    pub(super) const POLICY: usize = 4;
    pub(super) const FLAGS: usize = 8;
    pub(super) const NICE: usize = 16;
    pub(super) const PRIORITY: usize = 20;
    pub(super) const DEADLINE: usize = 24;
}

impl Row {
    /// The nice value.
    #[must_use]
    pub fn nice(&self) -> Option<i32> {
        let word = self.word.load(Relaxed);
        let [nice, ..] = word.to_le_bytes();
        (word & HAS_NICE != 0).then_some(i32::from(nice) - 20)
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> Option<Policy> {
        let word = self.word.load(Relaxed);
        let [_, policy, priority, ..] = word.to_le_bytes();
        (word & HAS_POLICY != 0).then(|| Policy {
            policy: u32::from(policy),
            resets: word & RESETS != 0,
            priority: u32::from(priority),
            deadline: self.deadline.each_ref().map(|time| time.load(Relaxed)),
        })
    }

    fn change(&self, clears: u64, sets: u64) {
        let word = self.word.load(Relaxed);
        if word & clears | sets != 0 {
            self.word.store(word & !clears | sets, Relaxed);
        }
    }

    /// Records a nice value; `None` ends that.
    pub fn set_nice(&self, commons: &Commons, nice: Option<i32>) {
        let sets = nice.map_or(0, |nice| {
            HAS_NICE | u64::from((nice.clamp(-20, 19) + 20).unsigned_abs())
        });
        if sets != 0 {
            commons.records_scheduling.store(1, Relaxed);
        }
        self.change(HAS_NICE | 0xff, sets);
    }

    /// Records a policy; `None` ends that.
    pub fn set_policy(&self, commons: &Commons, policy: Option<Policy>) {
        let sets = policy.map_or(0, |new| {
            commons.records_scheduling.store(1, Relaxed);
            for (to, time) in self.deadline.iter().zip(new.deadline) {
                to.store(time, Relaxed);
            }
            let resets = if new.resets { RESETS } else { 0 };
            HAS_POLICY
                | resets
                | u64::from(new.policy & 0xff) << 8
                | u64::from(new.priority & 0xff) << 16
        });
        self.change(HAS_POLICY | RESETS | 0xff_ff00, sets);
    }

    /// A thread that is born has what its maker has. To be said at least once, by either.
    pub fn inherit(&self, parent: &Row, birth: u32) {
        let birth = u64::from(birth) << BIRTH_SHIFT & BIRTH;
        let inherited = parent.word.load(Relaxed) & !BIRTH;
        // Children of such are ordinary.
        let resets = inherited & RESETS != 0;
        let new = birth | if resets { 0 } else { inherited };
        let mut word = self.word.load(Relaxed);
        while word & BIRTH != birth {
            match self.word.compare_exchange(word, new, Relaxed, Relaxed) {
                Ok(_) => {
                    for (to, from) in self.deadline.iter().zip(&parent.deadline) {
                        to.store(from.load(Relaxed), Relaxed);
                    }
                    return;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Puts what is recorded into a `struct sched_attr` that the kernel filled.
    pub fn show(&self, attr: &mut [u8]) {
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(to) = attr.get_mut(at..at + bytes.len()) {
                to.copy_from_slice(bytes);
            }
        };
        if let Some(nice) = self.nice() {
            put(at::NICE, &nice.to_ne_bytes());
        }
        if let Some(policy) = self.policy() {
            let flags = if policy.resets { FLAG_RESET } else { 0 };
            put(at::POLICY, &policy.policy.to_ne_bytes());
            put(at::FLAGS, &flags.to_ne_bytes());
            put(at::PRIORITY, &policy.priority.to_ne_bytes());
            // The kernel tells it of others only (get_params of kernel/sched/syscalls.c).
            if matches!(policy.policy, FIFO | ROUND_ROBIN | DEADLINE) {
                put(at::NICE, &[0; 4]);
            }
            if policy.policy == DEADLINE {
                for (number, time) in policy.deadline.iter().enumerate() {
                    put(at::DEADLINE + 8 * number, &time.to_ne_bytes());
                }
            }
        }
    }

    /// Records what a `struct sched_attr` asks for, which the kernel found well-formed.
    pub fn ask(&self, commons: &Commons, attr: &[u8]) {
        let word = |at: usize| {
            let bytes = attr.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
        };
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let times = [0, 8, 16].map(|offset| long(at::DEADLINE + offset));
        let policy = Policy {
            policy: word(at::POLICY),
            resets: long(at::FLAGS) & FLAG_RESET != 0,
            priority: word(at::PRIORITY),
            // The kernel takes the deadline for the period where none is given.
            deadline: match times {
                [runtime, deadline, 0] => [runtime, deadline, deadline],
                times => times,
            },
        };
        self.set_policy(commons, Some(policy));
        let is_ordinary = matches!(policy.policy, 0 | 3);
        let nice = word(at::NICE).cast_signed();
        self.set_nice(commons, is_ordinary.then_some(nice));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commons() -> Box<Commons> {
        // SAFETY: atomics and cells of integers are valid when zeroed; most of it is never touched.
        unsafe { Box::<Commons>::new_zeroed().assume_init() }
    }

    fn row() -> Row {
        Row {
            word: AtomicU64::new(0),
            deadline: [const { AtomicU64::new(0) }; 3],
        }
    }

    #[test]
    fn what_is_recorded_is_shown() {
        let (commons, row, child) = (commons(), row(), row());
        assert_eq!((row.nice(), row.policy()), (None, None));
        row.set_nice(&commons, Some(-7));
        let policy = Policy {
            policy: ROUND_ROBIN,
            priority: 9,
            ..Policy::default()
        };
        row.set_policy(&commons, Some(policy));
        assert_eq!((row.nice(), row.policy()), (Some(-7), Some(policy)));
        child.inherit(&row, 1);
        assert_eq!((child.nice(), child.policy()), (Some(-7), Some(policy)));
        row.set_nice(&commons, None);
        assert_eq!((row.nice(), row.policy()), (None, Some(policy)));
        let resets = Policy {
            resets: true,
            ..policy
        };
        row.set_policy(&commons, Some(resets));
        child.set_nice(&commons, Some(4));
        child.inherit(&row, 1);
        assert_eq!(child.nice(), Some(4), "it is born once");
        child.inherit(&row, 2);
        assert_eq!((child.nice(), child.policy()), (None, None));
    }

    #[test]
    fn attributes_come_back_as_they_were_given() {
        let (commons, row) = (commons(), row());
        let mut given = [0u8; 48];
        for (at, value) in [(4, 6u64), (24, 10), (32, 30), (40, 30)] {
            given[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        }
        row.ask(&commons, &given);
        let mut shown = [0u8; 48];
        // The kernel's own, which does not count any more.
        shown[at::NICE] = 5;
        row.show(&mut shown);
        assert_eq!(shown, given);
    }
}
