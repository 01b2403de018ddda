//! The calls of one traced thread, made of its stops.
//!
//! A call that a signal interrupts and the kernel begins again is one call. Whether it does is seen
//! where the thread comes back from the signal's handler: at the call's instruction, or behind it with
//! EINTR as the call's result.

use super::memory::capture;
use super::status::{self, Numbers};
use crate::ids::{HostPid, ZonePid};
use crate::ptrace::{Place, What};
use crate::trace::stack::Stack;
use crate::trace::{Call, Part};
use picozone_personality::trace::flags;
use picozone_syscalls::{Memory, meaning, nr};

/// In the number of a call that a program of another kind (of 32 bits) makes: its numbers are another
/// table's.
const FOREIGN: u32 = 0x8000_0000;
/// Most calls of a thread that handlers of signals have interrupted.
const INTERRUPTED_MAX: usize = 16;

/// A traced thread.
pub(super) struct Thread {
    numbers: Numbers,
    comm: String,
    open: Option<Open>,
    interrupted: Vec<Open>,
    /// Nothing is told before it executes a program: it is still a copy of ours.
    pub(super) is_to_execute: bool,
}

/// A call that it is in.
struct Open {
    call: Call,
    ip: u64,
    sp: u64,
    /// Whom the call has made.
    child: Option<HostPid>,
}

impl Thread {
    /// One that stands still.
    pub(super) fn new(tid: HostPid) -> Self {
        // It may have been killed since; what it would tell is then not told.
        let numbers = Numbers::of(tid).unwrap_or(Numbers {
            host_tid: tid,
            host_pid: tid,
            tid: ZonePid(0),
            pid: ZonePid(0),
        });
        Self {
            numbers,
            comm: status::comm(tid),
            open: None,
            interrupted: Vec::new(),
            is_to_execute: false,
        }
    }

    pub(super) fn process(&self) -> HostPid {
        self.numbers.host_pid
    }

    /// It enters a call, from this stack if that is wanted, or leaves one. Gives a call of which there is no
    /// more to know.
    pub(super) fn stops(
        &mut self,
        place: Place,
        now: u64,
        memory: &impl Memory,
        stack: Option<Stack>,
    ) -> Option<Call> {
        match place.what {
            What::Enters { nr, args } => self.enters(place, (nr, args), now, memory, stack),
            What::Leaves { result } => self.leaves(place.ip, result, now, memory),
            What::Neither => None,
        }
    }

    fn enters(
        &mut self,
        place: Place,
        (nr, args): (u64, [u64; 6]),
        now: u64,
        memory: &impl Memory,
        stack: Option<Stack>,
    ) -> Option<Call> {
        let mut nr = u32::try_from(nr & 0xffff_ffff).unwrap_or(0);
        if place.arch != meaning::ARCH {
            nr |= FOREIGN;
        }
        if std::mem::take(&mut self.is_to_execute) && nr != nr::execve {
            self.is_to_execute = true;
            return None;
        }
        let again = |open: &mut Open| {
            let is_same = open.call.nr == nr && open.call.args == args || nr == nr::restart_syscall;
            is_same && open.ip == place.ip && open.sp == place.sp
        };
        if let Some(open) = self.interrupted.pop_if(again) {
            self.open = Some(open);
            return None;
        }
        let mut call = Call {
            nr,
            flags: flags::BEGUN | flags::BY_TRACER,
            pid: self.numbers.pid,
            tid: self.numbers.tid,
            host_tid: self.numbers.host_tid,
            comm: self.comm.clone(),
            time: now,
            duration: 0,
            args,
            result: 0,
            parts: Vec::new(),
        };
        capture(&mut call, None, memory);
        call.parts.extend(stack.map(Part::Stack));
        if matches!(nr, nr::exit | nr::exit_group) {
            return Some(call);
        }
        self.open = Some(Open {
            call,
            ip: place.ip,
            sp: place.sp,
            child: None,
        });
        None
    }

    fn leaves(&mut self, ip: u64, result: i64, now: u64, memory: &impl Memory) -> Option<Call> {
        let mut open = self.open.take()?;
        if open.call.nr == nr::rt_sigreturn {
            // It is where the signal found it.
            let is_over = |open: &mut Open| open.ip == ip;
            open = self.interrupted.pop_if(is_over)?;
        } else if is_restart(result) {
            if self.interrupted.len() == INTERRUPTED_MAX {
                // Its handlers never come back.
                self.interrupted.remove(0);
            }
            self.interrupted.push(open);
            return None;
        }
        if open.call.nr == nr::prctl {
            // Perhaps it has given itself a name.
            self.comm = status::comm(self.numbers.host_tid);
        }
        let Open {
            mut call, child, ..
        } = open;
        call.flags &= !flags::BEGUN;
        call.duration = now.saturating_sub(call.time);
        call.result = result;
        capture(&mut call, Some(result), memory);
        if let Some(host) = child
            && let Ok(zone) = u32::try_from(result)
        {
            call.parts.push(Part::HostPid {
                zone: ZonePid(zone),
                host,
            });
        }
        Some(call)
    }

    /// The call that it is in has made a thread or process.
    pub(super) fn has_made(&mut self, child: HostPid) {
        if let Some(open) = &mut self.open {
            open.child = Some(child);
        }
    }

    /// It executes another program, and leads its process now.
    pub(super) fn executes(&mut self) {
        let leader = self.numbers.host_pid;
        self.comm = status::comm(leader);
        self.numbers.host_tid = leader;
        self.numbers.tid = self.numbers.pid;
        self.interrupted.clear();
    }

    /// The calls that it was still in, where it ends or is followed no more.
    pub(super) fn left(self) -> impl Iterator<Item = Call> {
        let open = self.interrupted.into_iter().chain(self.open);
        open.map(|open| open.call)
    }
}

/// Whether a result is the kernel's word to itself that the call is to be made again: `ERESTARTSYS` and its
/// like, which no program ever sees (include/linux/errno.h).
const fn is_restart(result: i64) -> bool {
    matches!(result, -514..=-512 | -516)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Memory for Nothing {
        fn read(&self, _address: u64, _to: &mut [u8]) -> usize {
            0
        }
    }

    fn thread() -> Thread {
        Thread::new(HostPid(std::process::id()))
    }

    const SP: u64 = 0x7000;
    /// Length of a `syscall` instruction.
    const INSTRUCTION: u64 = 2;

    fn at(ip: u64, sp: u64, what: What) -> Place {
        Place {
            what,
            arch: meaning::ARCH,
            ip,
            sp,
        }
    }

    fn enters(nr: u32) -> What {
        let (nr, args) = (nr.into(), [1, 2, 3, 0, 0, 0]);
        What::Enters { nr, args }
    }

    /// Number, result, start and duration of a call that is told.
    fn stops(thread: &mut Thread, place: Place, now: u64) -> Option<(u32, i64, u64, u64)> {
        let call = thread.stops(place, now, &Nothing, None)?;
        Some((call.nr, call.result, call.time, call.duration))
    }

    fn leaves(result: i64) -> What {
        What::Leaves { result }
    }

    #[test]
    fn a_call_is_told_when_it_ends() {
        let mut thread = thread();
        assert_eq!(stops(&mut thread, at(10, SP, enters(nr::read)), 100), None);
        let read = stops(&mut thread, at(10, SP, leaves(3)), 130);
        assert_eq!(read, Some((nr::read, 3, 100, 30)));
        // The end of one whose start nobody has seen.
        assert_eq!(stops(&mut thread, at(10, SP, leaves(3)), 140), None);
        let exit = stops(&mut thread, at(10, SP, enters(nr::exit_group)), 150);
        assert_eq!(exit, Some((nr::exit_group, 0, 150, 0)));
        assert_eq!(thread.left().count(), 0);
    }

    #[test]
    fn what_is_made_again_is_one_call() {
        let mut thread = thread();
        // A signal that nobody handles.
        stops(&mut thread, at(10, SP, enters(nr::read)), 100);
        assert_eq!(stops(&mut thread, at(10, SP, leaves(-512)), 110), None);
        assert_eq!(stops(&mut thread, at(10, SP, enters(nr::read)), 120), None);
        let read = stops(&mut thread, at(10, SP, leaves(1)), 130);
        assert_eq!(read, Some((nr::read, 1, 100, 30)));
        // One that is resumed by another number.
        stops(&mut thread, at(10, SP, enters(nr::poll)), 200);
        stops(&mut thread, at(10, SP, leaves(-516)), 210);
        stops(&mut thread, at(10, SP, enters(nr::restart_syscall)), 220);
        let poll = stops(&mut thread, at(10, SP, leaves(0)), 230);
        assert_eq!(poll, Some((nr::poll, 0, 200, 30)));
        // A handler that makes the same call, and comes back to the instruction.
        stops(&mut thread, at(10, SP, enters(nr::read)), 300);
        stops(&mut thread, at(10, SP, leaves(-512)), 310);
        stops(&mut thread, at(10, SP - 900, enters(nr::read)), 320);
        let inner = stops(&mut thread, at(10, SP - 900, leaves(0)), 330);
        assert_eq!(inner, Some((nr::read, 0, 320, 10)));
        stops(&mut thread, at(50, SP - 900, enters(nr::rt_sigreturn)), 340);
        let back = stops(&mut thread, at(10 - INSTRUCTION, SP, leaves(0)), 350);
        assert_eq!(back, None);
        stops(&mut thread, at(10, SP, enters(nr::read)), 360);
        let read = stops(&mut thread, at(10, SP, leaves(2)), 370);
        assert_eq!(read, Some((nr::read, 2, 300, 70)));
    }

    #[test]
    fn what_a_handler_has_interrupted_ends_behind_it() {
        let mut thread = thread();
        stops(&mut thread, at(10, SP, enters(nr::pause)), 100);
        stops(&mut thread, at(10, SP, leaves(-514)), 110);
        stops(&mut thread, at(50, SP - 900, enters(nr::rt_sigreturn)), 120);
        let pause = stops(&mut thread, at(10, SP, leaves(-4)), 130);
        assert_eq!(pause, Some((nr::pause, -4, 100, 30)));
        // The program makes it again by itself.
        stops(&mut thread, at(10, SP, enters(nr::pause)), 140);
        let left: Vec<_> = thread.left().map(|call| (call.time, call.flags)).collect();
        assert_eq!(left, [(140, flags::BEGUN | flags::BY_TRACER)]);
    }

    #[test]
    fn of_a_program_that_we_start_nothing_is_told_before_its_exec() {
        let mut thread = thread();
        thread.is_to_execute = true;
        stops(&mut thread, at(10, SP, enters(nr::read)), 100);
        assert_eq!(stops(&mut thread, at(10, SP, leaves(0)), 110), None);
        stops(&mut thread, at(20, SP, enters(nr::execve)), 120);
        let exec = stops(&mut thread, at(20, SP, leaves(0)), 130);
        assert_eq!(exec, Some((nr::execve, 0, 120, 10)));
        stops(&mut thread, at(30, SP, enters(nr::brk)), 140);
        assert!(stops(&mut thread, at(30, SP, leaves(0)), 150).is_some());
    }

    #[test]
    fn the_numbers_of_other_programs_are_other_numbers() {
        let mut thread = thread();
        let place = Place {
            arch: 0x4000_0003,
            ..at(10, SP, enters(nr::read))
        };
        thread.stops(place, 100, &Nothing, None);
        let call = thread.stops(at(10, SP, leaves(0)), 110, &Nothing, None);
        assert_eq!(call.map(|call| call.nr), Some(FOREIGN | nr::read));
    }
}
