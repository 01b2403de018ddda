//! Calls that the kernel answers in a zone as it does everywhere, where somebody wants them to come here
//! all the same: to be recorded, or to fail by a rule.
//!
//! A program that is started for that has a filter beside the zone's ([`trap`]), which it, and all that
//! descends from it, keeps. By it such calls come by SIGSYS, and are made here as they are: the zone's
//! own filter judges them once more.
//!
//! A tracer has another ([`trap_waits`]): its calls that wait are not to end because a tracee has stopped
//! where it is not to be seen.

use crate::arch::{self, RESTART, syscall2, syscall6};
use crate::dispatch::{RESTART_ERRNO, checked_or_restart};
use crate::signal::HELD;
use crate::thread::{Thread, me};
use crate::{Errno, filters, memory, signalfd, watched};
use linux_raw_sys::general::*;
use picozone_personality::layout::{JUDGE_END, PERSONALITY_BASE, PERSONALITY_SIZE};
use picozone_personality::wall;
use picozone_syscalls::bpf::{
    ALLOW, ERRNO, Insn, JEQ, JGE, JUDGED, JUMP, LOAD, OURS, RETURN, TRAP, data,
};
use picozone_syscalls::meaning::{ARCH, Call, Verdict, verdict};
use picozone_syscalls::{FilterLayout, may_be_native};

/// Numbers in [`NATIVE`].
const NUMBERS: usize = 512;

/// Whether the kernel answers some form of a call, by number.
static NATIVE: [bool; NUMBERS] = {
    let mut native = [false; NUMBERS];
    let mut nr = 0;
    while nr < NUMBERS {
        native[nr] = may_be_native(nr as u32);
        nr += 1;
    }
    native
};

static LAYOUT: FilterLayout = wall::layout(TRAP | OURS);

/// Whether a call that came by SIGSYS would have gone to the kernel by the zone's filter alone.
pub fn is_one(thread: &Thread, nr: u32, args: [u64; 6]) -> bool {
    NATIVE.get(nr as usize) == Some(&true) && goes_to_kernel(thread, nr, args)
}

#[cold]
#[inline(never)]
fn goes_to_kernel(thread: &Thread, nr: u32, args: [u64; 6]) -> bool {
    let call = Call {
        nr,
        arch: ARCH,
        ip: 0,
        args,
    };
    !signalfd::is_watched(thread, nr, args) && verdict(&LAYOUT, &call) == Verdict::Allow
}

/// Serves it.
#[cold]
#[inline(never)]
pub fn result_of(thread: &mut Thread, nr: u32, args: &[u64; 6]) -> i64 {
    watched::serve(thread, nr, args, made)
}

fn made(thread: &mut Thread, nr: u32, args: &[u64; 6]) -> i64 {
    let result = if WAITS.contains(&nr) && thread.process().is_tracer {
        waited(thread, nr, *args)
    } else {
        arch::wait(nr, *args, thread.mask() & !HELD)
    };
    match checked_or_restart(result) {
        Ok(value) => value as i64,
        Err(errno) if errno == RESTART_ERRNO => RESTART,
        Err(errno) => errno.to_ret(),
    }
}

/// Calls that wait, and that the kernel ends with EINTR whenever a handler has run, `SA_RESTART` or not.
const WAITS: [u32; 8] = [
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
fn waited(thread: &mut Thread, nr: u32, mut args: [u64; 6]) -> i64 {
    let mut left = [0u64; 2];
    let sleep = match nr {
        __NR_nanosleep => Some(0),
        __NR_clock_nanosleep if args[1] as u32 & TIMER_ABSTIME == 0 => Some(2),
        _ => None,
    };
    let told_to = sleep.map(|at| core::mem::replace(&mut args[at + 1], left.as_mut_ptr() as u64));
    let mut has_begun = false;
    let result = loop {
        let since = clock();
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
fn shorten(time: &mut u64, since: u64) {
    let before = *time as i32;
    if before > 0 {
        let gone = i32::try_from((clock() - since) / 1_000_000).unwrap_or(i32::MAX);
        *time = u64::from(before.saturating_sub(gone).max(0) as u32);
    }
}

/// Nanoseconds of a clock.
fn clock() -> u64 {
    let mut time = [0u64; 2];
    let to = time.as_mut_ptr() as u64;
    unsafe { syscall2(__NR_clock_gettime, u64::from(CLOCK_MONOTONIC), to) };
    time[0] * 1_000_000_000 + time[1]
}

/// Has calls of the process that wait come here, and those of what descends from it.
#[cold]
#[inline(never)]
pub fn trap_waits() {
    const COUNT: usize = WAITS.len();
    let mut steps = [Insn::new(RETURN, 0, 0, ALLOW); 2 + COUNT + ANSWER.len()];
    let (head, answer) = steps.split_at_mut(2 + COUNT);
    answer.copy_from_slice(&ANSWER);
    head[0] = Insn::new(LOAD, 0, 0, data::NUMBER);
    for (at, nr) in WAITS.iter().enumerate() {
        head[1 + at] = Insn::new(JEQ, (COUNT - at) as u8, 0, *nr);
    }
    // Threads that have other filters come along by themselves when they trace.
    if filters::install(&steps, filters::TSYNC.into()) != 0 {
        filters::install(&steps, 0);
    }
}

/// Longest filter of [`trap`]: no set of numbers has more gaps.
const LONGEST: usize = 1 + 3 * NUMBERS / 2 + 1 + ANSWER.len();

/// What a chosen call meets: the personality's own are made, and those that are made only to be judged are
/// not.
const ANSWER: [Insn; 8] = {
    const _: () = assert!(PERSONALITY_BASE as u32 == 0 && PERSONALITY_SIZE >> 32 == 0);
    [
        Insn::new(LOAD, 0, 0, data::POINTER + 4),
        Insn::new(JEQ, 0, 4, (PERSONALITY_BASE >> 32) as u32),
        Insn::new(LOAD, 0, 0, data::POINTER),
        Insn::new(JEQ, 3, 0, JUDGE_END as u32),
        Insn::new(JGE, 1, 0, PERSONALITY_SIZE as u32),
        Insn::new(RETURN, 0, 0, ALLOW),
        Insn::new(RETURN, 0, 0, TRAP | OURS),
        Insn::new(RETURN, 0, 0, ERRNO | JUDGED),
    ]
};

/// Has calls of the running thread, and of what descends from it, come here: one bit for each number.
#[inline(never)]
pub fn trap(calls: &[u64; NUMBERS / 64]) -> bool {
    let has = |nr: usize| {
        let word = calls.get(nr / 64).copied().unwrap_or(0);
        word >> (nr % 64) & 1 != 0 && NATIVE.get(nr) == Some(&true)
    };
    let mut steps = [Insn::new(RETURN, 0, 0, ALLOW); LONGEST];
    let mut count = 0;
    let mut put = |insn| {
        if let Some(place) = steps.get_mut(count) {
            *place = insn;
            count += 1;
        }
        count
    };
    put(Insn::new(LOAD, 0, 0, data::NUMBER));
    let ranges = || {
        let mut at = 0;
        core::iter::from_fn(move || {
            let start = (at..NUMBERS).find(|&nr| has(nr))?;
            at = (start..NUMBERS).find(|&nr| !has(nr)).unwrap_or(NUMBERS);
            Some((start as u32, at as u32))
        })
    };
    // Behind the last range stands one return.
    let answer = 1 + 3 * ranges().count() + 1;
    for (start, end) in ranges() {
        put(Insn::new(JGE, 0, 2, start));
        let next = put(Insn::new(JGE, 1, 0, end)) + 1;
        put(Insn::new(JUMP, 0, 0, (answer - next) as u32));
    }
    put(Insn::new(RETURN, 0, 0, ALLOW));
    let mut count = answer;
    for insn in ANSWER {
        count = put(insn);
    }
    let steps = steps.get(..count).unwrap_or(&[]);
    filters::install(steps, 0) == 0
}
