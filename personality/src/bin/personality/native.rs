//! Calls that the kernel answers in a zone as it does everywhere, where somebody wants them to come here
//! all the same: to be recorded, or to fail by a rule.
//!
//! A program that is started for that has a filter beside the zone's ([`trap`]), which it, and all that
//! descends from it, keeps. By it such calls come by SIGSYS, and are made here as they are: the zone's
//! own filter judges them once more.
//!
//! A tracer has another, for its calls that wait: [`waits`].

use crate::arch::{self, RESTART};
use crate::dispatch::{RESTART_ERRNO, checked_or_restart};
use crate::ptrace::waits;
use crate::signal::HELD;
use crate::thread::Thread;
use crate::{filters, signalfd, watched};
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
    let result = if thread.process().is_tracer && waits::ALL.contains(&nr) {
        waits::made(thread, nr, *args)
    } else {
        arch::wait(nr, *args, thread.mask() & !HELD)
    };
    match checked_or_restart(result) {
        Ok(value) => value as i64,
        Err(errno) if errno == RESTART_ERRNO => RESTART,
        Err(errno) => errno.to_ret(),
    }
}

/// Longest filter of [`trap`]: no set of numbers has more gaps.
const LONGEST: usize = 1 + 3 * NUMBERS / 2 + 1 + ANSWER.len();

/// What a chosen call meets: the personality's own are made, and those that are made only to be judged are
/// not.
pub const ANSWER: [Insn; 8] = {
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
