//! Resource limits: what a process is shown, and what the kernel holds.
//!
//! A process without privilege cannot raise a hard limit again, but the zone's root believes it can.
//! So the real hard limit stays where it was at boot; what a process set is recorded beside its
//! entry in the commons and shown to it. The kernel enforces soft limits, which are real.
//!
//! The real hard `RLIMIT_AS`, which keeps the kernel from placing anything among our own mappings, is
//! shown as infinite; a soft one that a process sets has room for those mappings, of which the process
//! knows nothing, on top.

use crate::commons::Process;
use crate::layout::{ADDRESS_SPACE, COMMONS_SIZE, PERSONALITY_SIZE};
use crate::tables::TABLES_SIZE;
use core::sync::atomic::Ordering::Relaxed;
use picozone_syscalls::Errno;

/// How many resources there are.
pub const COUNT: usize = 16;
/// `RLIM_INFINITY`.
pub const INFINITY: u64 = u64::MAX;
const CPU: usize = 0;
const AS: usize = 9;
const RTTIME: usize = 15;
/// What our own mappings take of a process' address space, in bytes.
const OWN_MAPPINGS: u64 = TABLES_SIZE + COMMONS_SIZE + PERSONALITY_SIZE;

/// `struct rlimit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// Soft.
    pub cur: u64,
    /// Hard.
    pub max: u64,
}

/// What a process is shown of a limit that the kernel holds.
#[must_use]
pub fn shown(process: &Process, resource: usize, real: Limit) -> Limit {
    let recorded = process
        .limits
        .get(resource)
        .map_or(0, |max| max.load(Relaxed));
    let is_ours = resource == AS && real.max == ADDRESS_SPACE;
    let max = match recorded {
        0 if is_ours => INFINITY,
        0 => real.max,
        // Recorded is one more than the limit; infinity is not.
        more => more - 1,
    };
    let cur = match real.cur {
        ADDRESS_SPACE if is_ours => max,
        cur if is_ours => cur.saturating_sub(OWN_MAPPINGS).min(max),
        cur => cur.min(max),
    };
    Limit { cur, max }
}

/// What the kernel is to hold when a process sets a limit; to be recorded if that succeeds.
///
/// # Errors
/// EINVAL if the soft limit is above the hard one; EPERM if the hard one is raised by other than the
/// zone's root, or beyond what the host allows.
pub fn change(
    process: &Process,
    resource: usize,
    real: Limit,
    new: Limit,
    is_root: bool,
) -> Result<Limit, Errno> {
    let before = shown(process, resource, real);
    if new.cur > new.max {
        return Err(Errno::EINVAL);
    }
    let is_ours = resource == AS && real.max == ADDRESS_SPACE;
    if new.max > before.max && !is_root || new.max > real.max && !is_ours {
        return Err(Errno::EPERM);
    }
    // Of these the kernel enforces the hard limit, too.
    let max = if matches!(resource, CPU | RTTIME) {
        new.max
    } else {
        real.max
    };
    let room = if is_ours { OWN_MAPPINGS } else { 0 };
    Ok(Limit {
        cur: new.cur.saturating_add(room).min(real.max),
        max,
    })
}

/// Records what a process set.
pub fn record(process: &Process, resource: usize, new: Limit) {
    if let Some(max) = process.limits.get(resource) {
        max.store(new.max.wrapping_add(1), Relaxed);
        process.limited.fetch_or(1 << resource, Relaxed);
    }
}

/// A process that is born has the limits of its parent.
pub fn inherit(child: &Process, parent: &Process) {
    let limited = parent.limited.load(Relaxed);
    let before = child.limited.swap(limited, Relaxed);
    if limited | before != 0 {
        for (to, from) in child.limits.iter().zip(&parent.limits) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Box<Process> {
        // SAFETY: atomics are valid when zeroed.
        unsafe { Box::<Process>::new_zeroed().assume_init() }
    }

    fn limit(cur: u64, max: u64) -> Limit {
        Limit { cur, max }
    }

    fn set(
        process: &Process,
        resource: usize,
        real: &mut Limit,
        new: Limit,
        is_root: bool,
    ) -> bool {
        match change(process, resource, *real, new, is_root) {
            Ok(changed) => {
                *real = changed;
                record(process, resource, new);
                true
            }
            Err(_) => false,
        }
    }

    #[test]
    fn root_lowers_and_raises_again() {
        let (process, mut real) = (process(), limit(100, 1000));
        assert!(set(&process, 7, &mut real, limit(10, 20), true));
        assert_eq!(
            (shown(&process, 7, real), real),
            (limit(10, 20), limit(10, 1000))
        );
        assert!(!set(&process, 7, &mut real, limit(10, 21), false));
        assert!(set(&process, 7, &mut real, limit(900, 1000), true));
        assert_eq!(shown(&process, 7, real), limit(900, 1000));
        assert!(!set(&process, 7, &mut real, limit(900, 1001), true));
        assert!(!set(&process, 7, &mut real, limit(6, 5), true));
    }

    #[test]
    fn the_address_space_has_no_limit_of_ours() {
        let own = limit(ADDRESS_SPACE, ADDRESS_SPACE);
        let (process, mut real) = (process(), own);
        assert_eq!(shown(&process, AS, real), limit(INFINITY, INFINITY));
        assert!(set(&process, AS, &mut real, limit(4096, INFINITY), false));
        assert_eq!(
            (shown(&process, AS, real).cur, real.max),
            (4096, ADDRESS_SPACE)
        );
        assert!(set(
            &process,
            AS,
            &mut real,
            limit(INFINITY, INFINITY),
            false
        ));
        assert_eq!((shown(&process, AS, real).cur, real), (INFINITY, own));
    }

    #[test]
    fn a_child_inherits() {
        let (parent, child, mut real) = (process(), process(), limit(100, 1000));
        record(&child, 3, limit(1, 2));
        assert!(set(&parent, 7, &mut real, limit(10, 20), true));
        inherit(&child, &parent);
        assert_eq!(shown(&child, 7, real), limit(10, 20));
        assert_eq!(shown(&child, 3, limit(5, 6)), limit(5, 6));
    }
}
