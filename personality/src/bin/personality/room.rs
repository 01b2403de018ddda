//! Room for descriptors of our own, where the guest has as many as it may.
//!
//! Calls that name a file by its path do without a descriptor natively, but need some here: for the
//! rest of such a call the process may have more. Over an exec that holds until the images are
//! mapped.

use crate::arch::syscall4;
use crate::thread::Thread;
use crate::{Errno, Result};
use linux_raw_sys::general::{__NR_prlimit64, RLIMIT_NOFILE};
use picozone_personality::limits::Limit;
use picozone_syscalls::{Kind, Outcome, row};

/// Whether a call never says EMFILE natively: it names a file and gives no descriptor.
fn needs_none(nr: u32) -> bool {
    row(nr).is_some_and(|row| {
        let names_file = row.args.iter().any(|arg| matches!(arg.kind, Kind::Path));
        names_file && !matches!(row.result, Outcome::Fd)
    })
}

/// Lets the process have as many descriptors as the host allows until the call ends. False where the
/// call is to fail.
#[cold]
#[inline(never)]
pub fn make(thread: &mut Thread) -> bool {
    let limit = get();
    let is_more = thread.soft_limit.is_none() && limit.cur < limit.max && needs_none(thread.call);
    if is_more {
        thread.soft_limit = Some(limit.cur);
        set(Limit {
            cur: limit.max,
            ..limit
        });
    }
    is_more
}

/// Sets the soft limit to what it was.
#[cold]
#[inline(never)]
pub fn lower(soft: u64) {
    let limit = get();
    set(Limit {
        cur: soft.min(limit.max),
        ..limit
    });
}

/// Runs `f`, and where it is told that there is no such number (EBADF), once more with the process
/// being allowed a descriptor of that number.
pub fn with_number<T>(number: u64, f: impl Fn() -> Result<T>) -> Result<T> {
    match f() {
        Err(Errno::EBADF) => {}
        other => return other,
    }
    let limit = get();
    let more = (number + 1).min(limit.max);
    set(Limit { cur: more, ..limit });
    let result = f();
    set(limit);
    result
}

/// Runs `f` with the process being allowed descriptors below that number.
pub fn with_room_for<T>(number: u64, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let limit = get();
    if limit.cur >= number {
        return f();
    }
    let cur = number.min(limit.max);
    set(Limit { cur, ..limit });
    let result = f();
    set(limit);
    result
}

fn get() -> Limit {
    let mut limit = Limit::default();
    let to = &raw mut limit as u64;
    unsafe { syscall4(__NR_prlimit64, 0, u64::from(RLIMIT_NOFILE), 0, to) };
    limit
}

fn set(limit: Limit) {
    let from = &raw const limit as u64;
    unsafe { syscall4(__NR_prlimit64, 0, u64::from(RLIMIT_NOFILE), from, 0) };
}
