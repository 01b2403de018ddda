//! Priorities of the calling thread: the kernel's, or what is recorded where it refuses what the thread
//! may do in the zone.

use crate::arch::{syscall3, syscall4};
use crate::dispatch::checked;
use crate::file::{Power, has};
use crate::monitor::commons;
use crate::thread::Thread;
use crate::{Errno, Result, memory};
use linux_raw_sys::general::*;
use picozone_personality::scheduling::{Policy, RESET_ON_FORK, ROUND_ROBIN, Row, TIMESLICE_NS};

/// Room for a `struct sched_attr`.
const ATTR_MAX: usize = 128;

fn row(thread: &Thread) -> Option<&'static Row> {
    commons().scheduling.get(thread.host_tid as usize)
}

fn known(thread: &Thread) -> Option<&'static Row> {
    commons().scheduling_of(thread.host_tid)
}

/// getpriority(2) of the caller.
pub fn get_priority(thread: &Thread) -> Result<u64> {
    match known(thread).and_then(Row::nice) {
        Some(nice) => Ok((20 - nice) as u64),
        None => checked(unsafe { syscall3(__NR_getpriority, 0, 0, 0) }),
    }
}

/// setpriority(2) of the caller.
pub fn set_priority(thread: &Thread, nice: u64) -> Result<u64> {
    let wanted = (nice as i32).clamp(-20, 19);
    match checked(unsafe { syscall3(__NR_setpriority, 0, 0, nice) }) {
        Err(errno @ (Errno::EACCES | Errno::EPERM)) => {
            let shown = 20 - get_priority(thread)? as i32;
            if wanted < shown && !has(thread, Power::Nice) {
                return Err(errno);
            }
            let row = row(thread).ok_or(errno)?;
            row.set_nice(commons(), Some(wanted));
            Ok(0)
        }
        other => {
            if let (Ok(_), Some(row)) = (other, known(thread)) {
                row.set_nice(commons(), None);
            }
            other
        }
    }
}

/// The sched_* calls on the caller, by their arguments behind the thread.
pub fn own(thread: &Thread, nr: u32, args: [u64; 3]) -> Result<u64> {
    let [first, second, third] = args;
    let native = || checked(unsafe { syscall4(nr, 0, first, second, third) });
    let recorded = known(thread).and_then(Row::policy);
    match nr {
        __NR_sched_getscheduler => match recorded {
            Some(Policy { policy, resets, .. }) => {
                let flag = if resets { RESET_ON_FORK } else { 0 };
                Ok(u64::from(policy | flag))
            }
            None => native(),
        },
        __NR_sched_getparam => match recorded {
            Some(_) if first == 0 => Err(Errno::EINVAL),
            Some(policy) => memory::write(first, &policy.priority).map(|()| 0),
            None => native(),
        },
        __NR_sched_rr_get_interval => match recorded {
            Some(policy) if policy.priority > 0 => {
                let is_round = policy.policy == ROUND_ROBIN;
                let nanoseconds = if is_round { TIMESLICE_NS } else { 0 };
                memory::write(first, &[0, nanoseconds]).map(|()| 0)
            }
            _ => native(),
        },
        __NR_sched_getattr => get_attributes(thread, args),
        __NR_sched_setattr => allowed(thread, native(), |row| {
            // The kernel has judged it; it takes no more than the first form for that.
            let mut attr = [0u8; 48];
            memory::read_bytes(first, &mut attr)?;
            row.ask(commons(), &attr);
            Ok(())
        }),
        __NR_sched_setscheduler => allowed(thread, native(), |row| {
            let policy = Policy {
                policy: first as u32 & !RESET_ON_FORK,
                resets: first as u32 & RESET_ON_FORK != 0,
                priority: memory::read(second)?,
                ..Policy::default()
            };
            row.set_policy(commons(), Some(policy));
            Ok(())
        }),
        __NR_sched_setparam => match recorded {
            Some(policy) => {
                let priority = memory::read::<u32>(first)?;
                if (policy.priority > 0) != (1..100).contains(&priority) {
                    return Err(Errno::EINVAL);
                }
                // The limit (RLIMIT_RTPRIO) of others is 0, as of all who have it from the host.
                if priority > policy.priority && !has(thread, Power::Nice) {
                    return Err(Errno::EPERM);
                }
                if let Some(row) = row(thread) {
                    row.set_policy(commons(), Some(Policy { priority, ..policy }));
                }
                Ok(0)
            }
            None => native(),
        },
        _ => native(),
    }
}

/// What became of a change: where the kernel forbids what the zone allows, it is recorded.
fn allowed(
    thread: &Thread,
    result: Result<u64>,
    record: impl FnOnce(&Row) -> Result<()>,
) -> Result<u64> {
    match result {
        Err(Errno::EPERM) if has(thread, Power::Nice) => {
            record(row(thread).ok_or(Errno::EPERM)?)?;
            Ok(0)
        }
        Ok(value) => {
            if let Some(row) = known(thread) {
                row.set_policy(commons(), None);
            }
            Ok(value)
        }
        other => other,
    }
}

/// sched_getattr(2).
fn get_attributes(thread: &Thread, [to, size, flags]: [u64; 3]) -> Result<u64> {
    let native =
        |to: u64, size: u64| checked(unsafe { syscall4(__NR_sched_getattr, 0, to, size, flags) });
    let Some(row) = known(thread) else {
        return native(to, size);
    };
    let mut attr = [0u8; ATTR_MAX];
    let size = size.min(ATTR_MAX as u64);
    native(if to == 0 { 0 } else { attr.as_mut_ptr() as u64 }, size)?;
    row.show(&mut attr);
    memory::write_bytes(to, &attr[..size as usize])?;
    Ok(0)
}
