//! Calls of a tracer that wait: they are not to end because a tracee has stopped where it is not to be seen.
//!
//! A tracer has a filter of its own by which they come by SIGSYS, as [`crate::native`] has it of others.

use crate::arch::{self, RESTART, syscall6};
use crate::native::ANSWER;
use crate::signal::HELD;
use crate::thread::{Thread, me};
use crate::{Errno, clocks, filters, memory};
use linux_raw_sys::general::*;
use picozone_syscalls::bpf::{ALLOW, Insn, JEQ, LOAD, RETURN, data};

/// Calls that wait, and that the kernel ends with EINTR whenever a handler has run, `SA_RESTART` or not.
pub const ALL: [u32; 8] = [
    __NR_poll,
    __NR_ppoll,
    __NR_select,
    __NR_pselect6,
    __NR_epoll_wait,
    __NR_epoll_pwait,
    __NR_nanosleep,
    __NR_clock_nanosleep,
];

/// Makes one of them. What is none of the guest's business does not end it, nor does it then wait longer.
pub fn made(thread: &mut Thread, nr: u32, mut args: [u64; 6]) -> i64 {
    let mut left = [0u64; 2];
    let sleep = match nr {
        __NR_nanosleep => Some(0),
        __NR_clock_nanosleep if args[1] as u32 & TIMER_ABSTIME == 0 => Some(2),
        _ => None,
    };
    let told_to = sleep.map(|at| core::mem::replace(&mut args[at + 1], left.as_mut_ptr() as u64));
    let mut has_begun = false;
    let result = loop {
        let since = clocks::now(CLOCK_MONOTONIC);
        let result = arch::wait(nr, args, thread.mask() & !HELD);
        // As the handlers have left it.
        let now = me();
        let has_come = now.pending.is_some() || now.held_free() != 0;
        match result {
            // One of the guest's own has come, before it went on, or together with another: its tracee
            // may have done meanwhile what is waited for.
            RESTART if has_begun => break at_once(nr, args),
            EINTR if has_come => break at_once(nr, args),
            EINTR if now.is_unseen => {}
            _ => break result,
        }
        has_begun = true;
        match (nr, sleep) {
            (_, Some(at)) => args[at] = left.as_ptr() as u64,
            (__NR_poll, _) => shorten(&mut args[2], since),
            (__NR_epoll_wait | __NR_epoll_pwait, _) => shorten(&mut args[3], since),
            // The others have told how much is left.
            _ => {}
        }
    };
    if result == EINTR
        && let Some(to) = told_to
        && to != 0
        && memory::write(to, &left).is_err()
    {
        return Errno::EFAULT.to_ret();
    }
    result
}

const EINTR: i64 = -(Errno::EINTR.raw() as i64);

/// What one of them gives that does not wait; where nothing is ready, EINTR, and the sets are as they were.
fn at_once(nr: u32, mut args: [u64; 6]) -> i64 {
    let no_time = [0u64; 2];
    let no_time = no_time.as_ptr() as u64;
    let mut sets = None;
    match nr {
        __NR_poll => args[2] = 0,
        __NR_epoll_wait | __NR_epoll_pwait => args[3] = 0,
        __NR_ppoll => args[2] = no_time,
        __NR_select | __NR_pselect6 => {
            sets = Sets::of(&args);
            if sets.is_none() {
                return EINTR;
            }
            args[4] = no_time;
        }
        _ => return EINTR,
    }
    match unsafe { syscall6(nr, args) } {
        0 => {
            if let Some(sets) = sets {
                sets.put_back();
            }
            EINTR
        }
        ready => ready,
    }
}

/// The sets of a select(2), which are empty after one that found nothing ready.
struct Sets {
    places: [u64; 3],
    kept: [[u8; FD_SETSIZE / 8]; 3],
    length: usize,
}

impl Sets {
    /// None of larger ones than libc has, or where there are none.
    fn of(args: &[u64; 6]) -> Option<Sets> {
        let count = usize::try_from(args[0] as i32).ok()?;
        let mut sets = Sets {
            places: [args[1], args[2], args[3]],
            kept: [[0; FD_SETSIZE / 8]; 3],
            length: count.div_ceil(64) * 8,
        };
        for (place, kept) in sets.places.iter().zip(&mut sets.kept) {
            let kept = kept.get_mut(..sets.length)?;
            if *place != 0 {
                memory::read_bytes(*place, kept).ok()?;
            }
        }
        Some(sets)
    }

    fn put_back(&self) {
        for (place, kept) in self.places.iter().zip(&self.kept) {
            if *place != 0 {
                let _ = memory::write_bytes(*place, &kept[..self.length]);
            }
        }
    }
}

/// As libc has it.
const FD_SETSIZE: usize = 1024;

/// Takes from a time in milliseconds, if it ends at all, what has gone since.
fn shorten(time: &mut u64, since: i64) {
    let before = *time as i32;
    if before > 0 {
        let gone =
            i32::try_from((clocks::now(CLOCK_MONOTONIC) - since) / 1_000_000).unwrap_or(i32::MAX);
        *time = u64::from(before.saturating_sub(gone).max(0) as u32);
    }
}

/// Has them come here from all of the process, and those of what descends from it.
#[cold]
#[inline(never)]
pub fn trap() {
    const COUNT: usize = ALL.len();
    let mut steps = [Insn::new(RETURN, 0, 0, ALLOW); 2 + COUNT + ANSWER.len()];
    let (head, answer) = steps.split_at_mut(2 + COUNT);
    answer.copy_from_slice(&ANSWER);
    head[0] = Insn::new(LOAD, 0, 0, data::NUMBER);
    for (at, nr) in ALL.iter().enumerate() {
        head[1 + at] = Insn::new(JEQ, (COUNT - at) as u8, 0, *nr);
    }
    // Threads that have other filters come along by themselves when they trace.
    if filters::install(&steps, filters::TSYNC.into()) != 0 {
        filters::install(&steps, 0);
    }
}
