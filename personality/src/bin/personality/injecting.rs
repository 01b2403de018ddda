//! Faults that are injected: what the rules of the tables make of a call.
//!
//! See [`picozone_personality::injection`]. Of several rules the first one that is for a call has it.
//! A call that is made again after a signal, or by the slower way, is not counted twice.

use crate::arch::{syscall2, syscall4};
use crate::memory::{self, PathRoom};
use crate::monitor::{commons, tables};
use crate::signal;
use crate::thread::Thread;
use crate::watched::Serve;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::{
    __NR_clock_gettime, __NR_clock_nanosleep, __NR_prctl, CLOCK_MONOTONIC, TIMER_ABSTIME,
};
use linux_raw_sys::prctl::PR_GET_NAME;
use picozone_personality::injection::{Caller, Rule, acts};
use picozone_syscalls::{Kind, row};

/// What becomes of a call.
#[derive(Clone, Copy)]
pub struct Fault {
    acts: u64,
    result: i64,
    before_ns: u64,
    after_ns: u64,
    signal: u64,
    short: u64,
}

/// What the rules say of a call.
#[derive(Clone, Copy)]
pub struct Judged {
    pub fault: Option<Fault>,
    /// Whether one of them was about such calls.
    is_counted: bool,
}

/// The call that is to be made again, and what was found of it.
#[derive(Clone, Copy)]
pub struct Remade {
    call: Option<(u32, [u64; 6])>,
    fault: Option<Fault>,
}

struct Calling<'t> {
    thread: &'t Thread,
    nr: u32,
    args: [u64; 6],
}

impl Calling<'_> {
    /// The words of its arguments of some kinds.
    fn of(&self, is: fn(Kind) -> bool) -> impl Iterator<Item = u64> {
        let args = row(self.nr).map_or(&[][..], |row| row.args);
        let words = args.iter().zip(self.args);
        words
            .filter(move |(arg, _)| is(arg.kind))
            .map(|(_, word)| word)
    }
}

impl Caller for Calling<'_> {
    fn any_path(&mut self, is: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let args = row(self.nr).map_or(&[][..], |row| row.args);
        let paths = args.iter().zip(self.args);
        paths
            .filter(|(arg, _)| arg.kind == Kind::Path)
            .any(|(_, at)| {
                PathRoom::new()
                    .read(at)
                    .is_ok_and(|path| is(path.to_bytes()))
            })
    }

    fn comm(&mut self, is: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut name = [0u8; 16];
        unsafe { syscall2(__NR_prctl, PR_GET_NAME.into(), name.as_mut_ptr() as u64) };
        let length = name.iter().position(|&byte| byte == 0);
        is(name.get(..length.unwrap_or(name.len())).unwrap_or(b""))
    }

    fn any_fd(&mut self, is: &mut dyn FnMut(u32) -> bool) -> bool {
        let mut fds = self.of(|kind| matches!(kind, Kind::Fd | Kind::DirFd));
        fds.any(|fd| is(fd as u32))
    }

    fn any_port(&mut self, is: &mut dyn FnMut(u32) -> bool) -> bool {
        const AF_INET: u16 = 2;
        const AF_INET6: u16 = 10;
        let mut addresses = self.of(|kind| kind == Kind::SockAddr);
        addresses.any(|at| {
            let [low, high, first, second] = memory::read::<u32>(at).unwrap_or(0).to_ne_bytes();
            let family = u16::from_ne_bytes([low, high]);
            matches!(family, AF_INET | AF_INET6) && is(u16::from_be_bytes([first, second]).into())
        })
    }

    fn pid(&self) -> u32 {
        self.thread.process().zone_pid
    }

    fn tid(&self) -> u32 {
        self.thread.zone_tid()
    }
}

/// What the rules say of a call.
#[inline(never)]
pub fn judge(thread: &mut Thread, nr: u32, args: [u64; 6]) -> Judged {
    let remade = &mut thread.remade;
    if remade.call == Some((nr, args)) {
        remade.call = None;
        // It has waited.
        let fault = remade.fault.map(|fault| Fault {
            before_ns: 0,
            ..fault
        });
        return Judged {
            fault,
            is_counted: true,
        };
    }
    let mut is_counted = false;
    for (row, counts) in tables().injections.iter().zip(&commons().injected) {
        let mut place = MaybeUninit::uninit();
        let Some(rule) = row.of_call(nr, &mut place) else {
            continue;
        };
        is_counted = true;
        if !rule.holds(&mut Calling { thread, nr, args }) {
            continue;
        }
        let number = counts.met.fetch_add(1, Relaxed).wrapping_add(1);
        if rule.is_for(number) {
            counts.done.fetch_add(1, Relaxed);
            return Judged {
                fault: Some(Fault::of(rule)),
                is_counted,
            };
        }
    }
    Judged {
        fault: None,
        is_counted,
    }
}

/// Remembers what was found of a call that is to be made again.
pub fn remember(thread: &mut Thread, nr: u32, args: [u64; 6], judged: Judged) {
    if judged.is_counted {
        thread.remade = Remade {
            call: Some((nr, args)),
            fault: judged.fault,
        };
    }
}

impl Fault {
    fn of(rule: &Rule) -> Fault {
        Fault {
            acts: rule.acts,
            result: rule.result,
            before_ns: rule.before_ns,
            after_ns: rule.after_ns,
            signal: rule.signal,
            short: rule.short,
        }
    }

    /// Makes the call as far as it is made.
    pub fn instead_of(
        &self,
        thread: &mut Thread,
        nr: u32,
        mut args: [u64; 6],
        serve: Serve,
    ) -> i64 {
        wait(self.before_ns);
        if self.acts & acts::RESULT != 0 {
            return self.result;
        }
        if self.acts & acts::SHORT != 0 {
            let kinds = row(nr).map_or(&[][..], |row| row.args);
            let buffer = kinds
                .iter()
                .position(|arg| matches!(arg.kind, Kind::Buf | Kind::BufOut));
            if let Some(length) = buffer.and_then(|at| args.get_mut(at + 1)) {
                *length = (*length).min(self.short);
            }
        }
        serve(thread, nr, &args)
    }

    /// The wait after the call.
    pub fn wait_after(&self) {
        wait(self.after_ns);
    }

    /// Sends the thread its signal, which it finds when it returns.
    pub fn signal(&self, thread: &Thread) {
        if self.acts & acts::SIGNAL != 0 {
            signal::send_to_self(thread, self.signal as u32);
        }
    }
}

/// Waits so long. Signals that come meanwhile are noted, and served when the call has ended.
fn wait(nanoseconds: u64) {
    const SECOND: u64 = 1_000_000_000;
    if nanoseconds == 0 {
        return;
    }
    let clock = CLOCK_MONOTONIC.into();
    let mut until = [0u64; 2];
    unsafe { syscall2(__NR_clock_gettime, clock, until.as_mut_ptr() as u64) };
    let all = until[1] + nanoseconds % SECOND;
    until = [until[0] + nanoseconds / SECOND + all / SECOND, all % SECOND];
    const INTERRUPTED: i64 = -4;
    let until = until.as_ptr() as u64;
    while unsafe { syscall4(__NR_clock_nanosleep, clock, TIMER_ABSTIME.into(), until, 0) }
        == INTERRUPTED
    {}
}
