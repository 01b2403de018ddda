//! Setting the clock. The host has one, and no zone sets it: what is wrong is told as to the kernel's
//! root, and what changes nothing succeeds. And what a clock shows, for ourselves.

use crate::arch::{syscall1, syscall2};
use crate::dispatch::checked;
use crate::file::{Power, has};
use crate::thread::Thread;
use crate::{Errno, Result, itself, memory, refusals};
use linux_raw_sys::general::*;

/// settimeofday(2).
#[inline(never)]
pub fn settimeofday(thread: &Thread, time: u64, zone: u64) -> Result<u64> {
    const MINUTES_MAX: i32 = 15 * 60;
    let errno = match checked(unsafe { syscall2(__NR_settimeofday, time, zone) }) {
        Err(errno @ Errno::EPERM) if has(thread, Power::SetTime) => errno,
        other => return other,
    };
    if zone != 0 && !(-MINUTES_MAX..=MINUTES_MAX).contains(&memory::read::<i32>(zone)?) {
        return Err(Errno::EINVAL);
    }
    if time == 0 && zone == 0 {
        return Ok(0);
    }
    refusals::unsupported(errno)
}

/// clock_settime(2) of the clock of the day. To within a second of what it shows, nothing is changed.
#[inline(never)]
pub fn settime(thread: &Thread, nr: u32, clock: u64, at: u64) -> Result<u64> {
    const NEAR: u64 = 1_000_000_000;
    if (clock as i32) < 0 {
        return itself::clock(thread, nr, [clock, at, 0, 0, 0, 0]);
    }
    let errno = match checked(unsafe { syscall2(nr, clock, at) }) {
        Err(errno @ Errno::EPERM) if has(thread, Power::SetTime) => errno,
        other => return other,
    };
    let asked = memory::read::<[u64; 2]>(at)?;
    let mut now = [0u64; 2];
    checked(unsafe { syscall2(__NR_clock_gettime, clock, now.as_mut_ptr() as u64) })?;
    let nanoseconds =
        |[seconds, rest]: [u64; 2]| seconds.checked_mul(1_000_000_000)?.checked_add(rest);
    match (nanoseconds(asked), nanoseconds(now)) {
        (Some(asked), Some(now)) if asked.abs_diff(now) < NEAR => Ok(0),
        _ => refusals::unsupported(errno),
    }
}

/// `struct timex`, in words.
const WORDS: usize = 26;
type Timex = [u64; WORDS];
/// Where its parts stand: modes and status have half a word.
const MODES: usize = 0;
const OFFSET: usize = 1;
const FREQUENCY: usize = 2;
const MAX_ERROR: usize = 3;
const ESTIMATED_ERROR: usize = 4;
const STATUS: usize = 5;
const CONSTANT: usize = 6;
const MICROSECONDS: usize = 10;
const TICK: usize = 11;
const TAI: usize = 20;

/// `ADJ_OFFSET_SINGLESHOT`, `ADJ_OFFSET_SS_READ`.
const SINGLE_SHOT: u32 = 0x8001;
const SINGLE_SHOT_READ: u64 = 0xa001;

/// adjtimex(2), and clock_adjtime(2) on the clock of the machine.
#[inline(never)]
pub fn adjust(thread: &Thread, nr: u32, clock: u64, at: u64) -> Result<u64> {
    if (clock as i32) < 0 {
        return itself::clock(thread, nr, [clock, at, 0, 0, 0, 0]);
    }
    let call = |at: u64| {
        checked(unsafe {
            match nr {
                __NR_adjtimex => syscall1(nr, at),
                _ => syscall2(nr, clock, at),
            }
        })
    };
    let errno = match call(at) {
        Err(errno @ Errno::EPERM) if has(thread, Power::SetTime) => errno,
        other => return other,
    };
    let asked = memory::read::<Timex>(at)?;
    must_be_valid(&asked)?;
    let mut now: Timex = [0; WORDS];
    // What is left of an adjustment is read without changing it.
    if asked[MODES] as u32 == SINGLE_SHOT {
        now[MODES] = SINGLE_SHOT_READ;
    }
    let state = call(now.as_mut_ptr() as u64)?;
    if changes(&asked, &now) {
        return refusals::unsupported(errno);
    }
    let modes = asked[MODES] & 0xffff_ffff;
    now[MODES] = now[MODES] & !0xffff_ffff | modes;
    memory::write(at, &now)?;
    Ok(state)
}

/// What the kernel says to its root (`timekeeping_validate_timex`).
fn must_be_valid(asked: &Timex) -> Result<()> {
    const ADJ_FREQUENCY: u32 = 2;
    const ADJ_SETOFFSET: u32 = 0x100;
    const ADJ_NANO: u32 = 0x2000;
    const ADJ_TICK: u32 = 0x4000;
    const ADJ_ADJTIME: u32 = 0x8000;
    const TICKS: core::ops::RangeInclusive<i64> = 9_000..=11_000;
    /// By as much the kernel multiplies what it is given (`PPM_SCALE`).
    const FREQUENCY_MAX: u64 = i64::MAX as u64 / (1000 << 16);
    let modes = asked[MODES] as u32;
    if modes & ADJ_ADJTIME != 0 {
        return if modes & SINGLE_SHOT != SINGLE_SHOT {
            Err(Errno::EINVAL)
        } else {
            Ok(())
        };
    }
    let is_bad_tick = modes & ADJ_TICK != 0 && !TICKS.contains(&asked[TICK].cast_signed());
    let second = if modes & ADJ_NANO == 0 {
        1_000_000
    } else {
        1_000_000_000
    };
    let is_bad_step = modes & ADJ_SETOFFSET != 0 && asked[MICROSECONDS] >= second;
    let is_bad_frequency =
        modes & ADJ_FREQUENCY != 0 && asked[FREQUENCY].cast_signed().unsigned_abs() > FREQUENCY_MAX;
    if is_bad_tick || is_bad_step || is_bad_frequency {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

/// Whether it asks for anything but what is so already.
fn changes(asked: &Timex, now: &Timex) -> bool {
    /// `STA_PLL`: only so an offset is taken; `STA_NANO`, and the bits that are only told.
    const LOCKED: u64 = 1;
    const NANO: u64 = 0x2000;
    const TOLD: u64 = 0xff00;
    if asked[MODES] as u32 == SINGLE_SHOT {
        return asked[OFFSET] != now[OFFSET];
    }
    let status = now[STATUS] & 0xffff_ffff;
    let is_same = |at: usize| asked[at] == now[at];
    let half = |at: usize| (asked[at] ^ now[at]) & 0xffff_ffff & !TOLD == 0;
    let parts: [(u64, bool); 10] = [
        (0x0001, is_same(OFFSET) && status & LOCKED == 0),
        (0x0002, is_same(FREQUENCY)),
        (0x0004, is_same(MAX_ERROR)),
        (0x0008, is_same(ESTIMATED_ERROR)),
        (0x0010, half(STATUS)),
        (0x0020, is_same(CONSTANT)),
        (0x0080, (asked[CONSTANT] ^ now[TAI]) & 0xffff_ffff == 0),
        (0x1000, status & NANO == 0),
        (0x2000, status & NANO != 0),
        (0x4000, is_same(TICK)),
    ];
    let same = parts
        .iter()
        .filter(|(_, same)| *same)
        .fold(0, |bits, (bit, _)| bits | bit);
    asked[MODES] & 0xffff_ffff & !same != 0
}

/// What a clock shows, in nanoseconds.
pub fn now(clock: u32) -> i64 {
    let mut now = [0i64; 2];
    unsafe {
        syscall2(
            __NR_clock_gettime,
            u64::from(clock),
            now.as_mut_ptr() as u64,
        )
    };
    nanoseconds(now)
}

/// A `struct timespec` in nanoseconds.
pub fn nanoseconds([seconds, nanoseconds]: [i64; 2]) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}
