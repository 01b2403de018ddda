//! A tracee that a signal or its tracer stops while it serves a call of the guest's.
//!
//! Natively such a stop is at the end of the call. So the tracee first goes on to there, from one call of the
//! personality's to the next, and then is shown as stopped as it was: the kernel tells whatever
//! PTRACE_SETSIGINFO has put into the place of the last stop's signal. A call that waits is given up, and
//! stands there as one that the kernel is to restart. Where that cannot be, the tracee stays in it, with its
//! guest's registers laid down for debuggers.

use super::stops::{self, As, GS_BASE, RAX, RIP, RSP, SYSGOOD, Shown};
use super::*;
use crate::arch::{Registers, jump, syscall5};
use core::mem::offset_of;
use linux_raw_sys::general::{P_PID, WEXITED, WNOHANG, WNOWAIT, WSTOPPED};
use picozone_personality::layout::JUMP_ENTRY;

/// Ends and beginnings of calls within the longest that is seen to its end.
const STOPS_MAX: u32 = 5000;
/// Instructions of a stub and the entry, or the way out.
const EDGE_STEPS_MAX: u32 = 100;
/// Looks for a stop, most of them a fifth of a millisecond apart: until something waits, as it seems.
const LOOKS_MAX: u32 = 1000;
/// The same for a stop that must come: minutes.
const PATIENTLY: u32 = 1_000_000;
/// Looks in a row, without a pause.
const QUICK_LOOKS: u32 = 50;
const PAUSE_NS: i64 = 200_000;
/// The status of a stop for SIGSTOP.
const STOPPED: i32 = stops::stopped(SIGSTOP as i32);
/// How often a tracee is stopped again that has not come on: it waits, or the monitor takes its time.
const TRIES_MAX: u32 = 8;

/// Lets a tracee out of its personality. `is_taken`: the status of the stop that it is in is no longer to be
/// waited for. The stops on the way are nobody else's: the signal that tells of them waits. What comes between
/// is shown first, and the signal again.
#[unsafe(link_section = ".text.rare")]
pub fn leave(tracee: &Tracee, host: u32, status: i32, is_taken: bool) -> Shown {
    let mut mask = 0u64;
    signal::set_kernel_mask(signal::BLOCK_ALL, &raw mut mask as u64);
    let shown = leave_unseen(host, status, is_taken);
    if let Some((status, _)) = shown {
        tracee.shown.store(status as u32, Relaxed);
    }
    signal::set_kernel_mask(mask, 0);
    shown
}

#[unsafe(link_section = ".text.rare")]
fn leave_unseen(host: u32, status: i32, is_taken: bool) -> Shown {
    let mut info = Info([0; 128]);
    let itself = Some((status, As::Itself));
    let has_info = raw(PTRACE_GETSIGINFO, host, 0, &raw mut info as u64) >= 0;
    if !has_info || stays(host) {
        return itself;
    }
    let mut new = Step::Done;
    for _ in 0..TRIES_MAX {
        new = way_out(host);
        if !matches!(new, Step::Waiting) {
            break;
        }
        new = stop(host);
        if !matches!(new, Step::Done) || stays(host) {
            break;
        }
    }
    let status = match new {
        Step::Done => status,
        Step::Other(other) => {
            if status >> 16 == 0 {
                again(host, (status >> 8) as u32);
            } else {
                raw(PTRACE_INTERRUPT, host, 0, 0);
            }
            other
        }
        // The next wait tells.
        Step::Waiting | Step::Gone => return None,
    };
    if matches!(new, Step::Done) {
        raw(PTRACE_SETSIGINFO, host, 0, &raw const info as u64);
    }
    if is_taken {
        wait(host, WSTOPPED | WNOHANG);
    }
    Some((status, As::Itself))
}

/// Whether a tracee waits in a call of the guest's that cannot be given up.
fn stays(host: u32) -> bool {
    Wait::of(host).is_some_and(|wait| !wait.can_end(host))
}

/// Goes on into the guest. A call that is given up stands there as one that a signal ended.
#[unsafe(link_section = ".text.rare")]
fn way_out(host: u32) -> Step {
    let given_up = Wait::of(host);
    if given_up.is_some() {
        // Not the kernel is to restart what the personality waits in, whatever rules it has for that.
        raw(PTRACE_POKEUSR, host, stops::ORIG_RAX, u64::MAX);
        raw(PTRACE_POKEUSR, host, RAX, arch::RESTART.cast_unsigned());
    }
    let mut new = edge(host);
    if matches!(new, Step::Done) && is_inside(host) {
        ask_for_boundary(host);
        new = inside(host);
        if matches!(new, Step::Done) {
            new = leave_stub(host);
        }
    }
    if matches!(new, Step::Done)
        && let Some(wait) = given_up
    {
        wait.show_ended(host);
    }
    new
}

/// The few instructions of a stub and of the entry before anything is done, or after all is: one by one.
#[unsafe(link_section = ".text.rare")]
fn edge(host: u32) -> Step {
    let mut pass = 0;
    for _ in 0..EDGE_STEPS_MAX {
        let Some(ip) = stops::word(host, RIP) else {
            return Step::Gone;
        };
        let is_edge = jump::is_edge(ip) || is_in_tail(host, ip) && !is_at_call(host, ip);
        if !is_edge {
            break;
        }
        pass = match go_on(PTRACE_SINGLESTEP, host, pass) {
            Step::Done => 0,
            Step::Other(other) if is_own(host, other) => (other >> 8) as u32,
            other => return other,
        };
    }
    Step::Done
}

/// What followed a rewritten call and is in its stub; then the stop is one for a signal.
#[unsafe(link_section = ".text.rare")]
fn leave_stub(host: u32) -> Step {
    again(host, SIGSTOP);
    match go_on(PTRACE_CONT, host, 0) {
        Step::Other(status) if status == STOPPED => edge(host),
        other => other,
    }
}

/// Has what came by a jump leave by a signal's frame, and begin nothing that waits.
#[unsafe(link_section = ".text.rare")]
fn ask_for_boundary(host: u32) {
    let Some(region) = stops::word(host, GS_BASE).filter(|base| *base != 0) else {
        return;
    };
    let field = |offset: usize| region.wrapping_add(offset as u64);
    let at = field(offset_of!(Thread, boundary));
    let (mut context, mut word) = (0u64, 0u64);
    let is_read = [
        (field(offset_of!(Thread, context)), &mut context),
        (at, &mut word),
    ]
    .into_iter()
    .all(|(at, word)| raw(PTRACE_PEEKDATA, host, at, &raw mut *word as u64) == 0);
    if is_read && context == 0 {
        raw(PTRACE_POKEDATA, host, at, word >> 32 << 32 | 1);
    }
}

/// From one call of the personality's to the next, up to the end of rt_sigreturn.
#[unsafe(link_section = ".text.rare")]
fn inside(host: u32) -> Step {
    let mut pass = 0;
    for _ in 0..STOPS_MAX {
        let new = go_on(PTRACE_SYSCALL, host, pass);
        pass = match new {
            Step::Done if !is_inside(host) && is_of_no_call(host) => break,
            Step::Done => 0,
            Step::Other(other) if is_own(host, other) => (other >> 8) as u32,
            _ => return new,
        };
    }
    Step::Done
}

fn is_inside(host: u32) -> bool {
    stops::word(host, RIP).is_some_and(stops::is_inside)
}

fn is_of_no_call(host: u32) -> bool {
    stops::word(host, stops::ORIG_RAX) == Some(u64::MAX)
}

/// Whether a tracee is about to make a call by itself.
fn is_at_call(host: u32, ip: u64) -> bool {
    let mut code = 0u64;
    raw(PTRACE_PEEKTEXT, host, ip, &raw mut code as u64) == 0 && code & 0xffff == stops::SYSCALL
}

/// A guest's call that waits in the personality.
struct Wait {
    /// What the kernel ended it by: `ERESTARTSYS` or its kin.
    code: u64,
    /// The guest's next instruction.
    next: u64,
}

impl Wait {
    /// Of a tracee that a signal found waiting in the guest's call: the kernel would restart it, and the
    /// guest's registers are laid down. What waits for the monitor is restarted, too.
    fn of(host: u32) -> Option<Wait> {
        const RESTARTS: core::ops::RangeInclusive<i64> = -516..=-512;
        let code = stops::word(host, RAX).filter(|rax| RESTARTS.contains(&rax.cast_signed()))?;
        let sp = stops::word(host, RSP)?;
        let (mut top, mut next) = (0u64, 0u64);
        let at_next = sp.wrapping_add((arch::SHOWN + offset_of!(Registers, rip)) as u64);
        for (at, word) in [(sp, &mut top), (at_next, &mut next)] {
            if raw(PTRACE_PEEKDATA, host, at, &raw mut *word as u64) < 0 {
                return None;
            }
        }
        (top == jump::like_restorer()).then_some(Wait { code, next })
    }

    /// Whether the guest can be shown where it makes that call: not where the kernel would have the rest of its
    /// time to wait, nor in a stub.
    fn can_end(&self, host: u32) -> bool {
        const RESTART_BLOCK: i64 = -516;
        self.code.cast_signed() != RESTART_BLOCK && !is_in_tail(host, self.next)
    }

    /// The personality has the guest make its call again; natively the kernel does, with the next step.
    fn show_ended(&self, host: u32) {
        let ip = stops::word(host, RIP);
        if ip != Some(self.next.wrapping_sub(2)) {
            return;
        }
        let call = stops::word(host, RAX).unwrap_or(u64::MAX);
        for (register, value) in [(RIP, self.next), (stops::ORIG_RAX, call), (RAX, self.code)] {
            raw(PTRACE_POKEUSR, host, register, value);
        }
    }
}

/// What going on led to.
enum Step {
    Done,
    /// It stopped for something else, with that status.
    Other(i32),
    /// It waits, as it seems.
    Waiting,
    Gone,
}

/// Whether a stop on the way is none of the guest's: a call by SIGSYS, a pointer that is no address, or
/// the end of a call that a signal waits for.
#[unsafe(link_section = ".text.rare")]
fn is_own(host: u32, status: i32) -> bool {
    let mut info = Info([0; 128]);
    match (status >> 8) as u32 {
        SIGSYS => {
            raw(PTRACE_GETSIGINFO, host, 0, &raw mut info as u64) >= 0
                && info.code() == signal::SYS_SECCOMP
        }
        SIGSEGV | SIGBUS => stops::word(host, RIP).is_some_and(|ip| stops::is_own_fault(host, ip)),
        _ => false,
    }
}

/// Whether a tracee has nothing more of ours before it in a call.
pub fn is_in_guest(host: u32) -> bool {
    stops::word(host, RIP).is_none_or(|ip| !stops::is_inside(ip) && !is_in_tail(host, ip))
}

/// Whether an address is in a tail of stubs: around it is one that goes to the entry.
#[unsafe(link_section = ".text.rare")]
pub fn is_in_tail(host: u32, ip: u64) -> bool {
    const BEFORE: u64 = 48;
    const WORDS: usize = 12;
    const WORD: usize = size_of::<u64>();
    let mut code = [[0; WORD]; WORDS];
    for (at, word) in (ip.wrapping_sub(BEFORE)..).step_by(WORD).zip(&mut code) {
        // What is not there stays empty.
        raw(PTRACE_PEEKTEXT, host, at, word.as_mut_ptr() as u64);
    }
    let entry = JUMP_ENTRY.to_ne_bytes();
    code.as_flattened().windows(WORD).any(|part| *part == entry)
}

#[unsafe(link_section = ".text.rare")]
fn go_on(mode: u32, host: u32, signal: u32) -> Step {
    if raw(mode, host, 0, u64::from(signal)) < 0 {
        return Step::Gone;
    }
    await_stop(host, LOOKS_MAX)
}

/// Waits until a tracee has stopped, by so many looks.
#[unsafe(link_section = ".text.rare")]
fn await_stop(host: u32, looks: u32) -> Step {
    for look in 0..looks {
        let (code, status) = wait(host, WSTOPPED | WEXITED | WNOHANG | WNOWAIT);
        match code {
            0 if look < QUICK_LOOKS => unsafe {
                syscall1(__NR_sched_yield, 0);
            },
            0 => {
                let pause = [0, PAUSE_NS];
                unsafe { syscall2(__NR_nanosleep, &raw const pause as u64, 0) };
            }
            CLD_TRAPPED if status & !SYSGOOD == SIGTRAP as i32 => return Step::Done,
            CLD_TRAPPED => return Step::Other(status << 8 | 0x7f),
            _ => return Step::Gone,
        }
    }
    Step::Waiting
}

/// waitid(2) for one tracee: `si_code` and `si_status`.
#[unsafe(link_section = ".text.rare")]
fn wait(host: u32, options: u32) -> (i32, i32) {
    let mut info = Info([0; 128]);
    let at = &raw mut info as u64;
    let options = u64::from(options | __WALL);
    unsafe {
        syscall5(
            __NR_waitid,
            u64::from(P_PID),
            u64::from(host),
            at,
            options,
            0,
        )
    };
    if info.pid() == 0 {
        (0, 0)
    } else {
        (info.code(), info.i32_at(24))
    }
}

/// Whether a stop can be waited for.
#[unsafe(link_section = ".text.rare")]
pub fn is_stopped(host: u32) -> bool {
    wait(host, WSTOPPED | WNOHANG | WNOWAIT).0 != 0
}

/// Stops a tracee in the call that it waits in. If that has just ended, the step's stop comes first, and then
/// that of the signal, which must not be left behind.
#[unsafe(link_section = ".text.rare")]
fn stop(host: u32) -> Step {
    again(host, SIGSTOP);
    let mut new = await_stop(host, PATIENTLY);
    if matches!(new, Step::Done) {
        new = go_on(PTRACE_SYSCALL, host, 0);
    }
    match new {
        Step::Other(status) if status == STOPPED => Step::Done,
        other => other,
    }
}

/// Sends a signal to a thread of another process.
fn again(host: u32, signal: u32) {
    unsafe { syscall2(__NR_tkill, u64::from(host), u64::from(signal)) };
}
