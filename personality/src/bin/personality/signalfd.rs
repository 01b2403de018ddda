//! signalfd(2): what is read tells who sent a signal, in the zone's terms.
//!
//! read(2) goes to the kernel untouched, so a process that makes such a descriptor puts a filter of its
//! own beside the wall's: by that number reads come here, and what duplicates it. The filter stays for
//! what the process forks and executes, the descriptor as well. Which numbers have one stands in the
//! commons; a descriptor that arrives in a message tells the host's numbers.

use crate::arch::{self, syscall2, syscall3, syscall4, syscall6};
use crate::dispatch::{checked, checked_or_restart};
use crate::file::{is_reserved, kind_of};
use crate::filters::{self, TSYNC};
use crate::process::sender_in_zone;
use crate::signal::HELD;
use crate::thread::Thread;
use crate::{Errno, Result, memory, pids};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_personality::layout::{JUDGE_END, PERSONALITY_BASE, PERSONALITY_SIZE};
use picozone_syscalls::bpf::{
    ALLOW, ERRNO, Insn, JEQ, JGE, JUDGED, LOAD, OURS, RETURN, TRAP, data,
};

/// The signal that a signalfd would send if it ever did (`F_SETSIG`): the mark by which each is known,
/// whatever number it has and whichever process has got it.
const MARK: u64 = 64;
/// Numbers from this one on share one filter.
const MANY: u32 = 63;
/// `struct signalfd_siginfo`: its size, and where signal, code, process and user stand.
const SIZE: u64 = 128;
const SIGNAL: u64 = 0;
const CODE: u64 = 8;
const PID: u64 = 12;
const UID: u64 = 16;

/// signalfd(2), signalfd4(2).
#[inline(never)]
pub fn create(thread: &Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    let [fd, mask, size, flags, ..] = args;
    let flags = if nr == __NR_signalfd { 0 } else { flags };
    let made = checked(unsafe { syscall4(__NR_signalfd4, fd, mask, size, flags) })?;
    if fd as i32 == -1 {
        unsafe { syscall3(__NR_fcntl, made, F_SETSIG.into(), MARK) };
        watch(thread, made as u32);
    }
    Ok(made)
}

/// dup(2) and its kin, and fcntl(2) that duplicates: of signalfds, and of what is reserved.
#[inline(never)]
pub fn duplicate(thread: &Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    let has_target = matches!(nr, __NR_dup2 | __NR_dup3);
    if is_reserved(args[0]) || has_target && is_reserved(args[1]) {
        return Err(Errno::EBADF);
    }
    let made = checked(unsafe { syscall6(nr, args) })?;
    if is_one(made) {
        watch(thread, made as u32);
    }
    Ok(made)
}

/// read(2), readv(2) by a number that is, or was, that of a signalfd.
#[inline(never)]
pub fn read(thread: &Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    let [fd, buffer, count, ..] = args;
    let got = checked_or_restart(arch::wait(nr, args, thread.mask() & !HELD))?;
    if got == 0 || got % SIZE != 0 || !is_one(fd) {
        return Ok(got);
    }
    for at in (0..got).step_by(SIZE as usize) {
        let to = |field: u64| match nr {
            __NR_read => Ok(buffer + at + field),
            _ => place(buffer, count, at + field),
        };
        let [signal, code, pid] = [SIGNAL, CODE, PID].map(|field| memory::read::<u32>(to(field)?));
        let (signal, code, pid) = (signal?, code?, pid?);
        if let Some((sender, user)) = sender_in_zone(signal, code as i32, pid as i32) {
            memory::write(to(PID)?, &sender)?;
            if let Some(user) = user {
                memory::write(to(UID)?, &user)?;
            }
        }
    }
    Ok(got)
}

/// Where byte `at` of what readv(2) gave lies. Fields do not lie in two places: programs give whole
/// blocks.
fn place(parts: u64, count: u64, mut at: u64) -> Result<u64> {
    for index in 0..count {
        let [start, length] = memory::read::<[u64; 2]>(parts + 16 * index)?;
        if at < length {
            return Ok(start + at);
        }
        at -= length;
    }
    Err(Errno::EFAULT)
}

/// Whether a descriptor is a signalfd: it has our mark, and is a file without a type as all anonymous
/// ones (fs/anon_inodes.c). A program that sets the same mark on another such file deceives itself.
fn is_one(fd: u64) -> bool {
    let mark = unsafe { syscall2(__NR_fcntl, fd, F_GETSIG.into()) };
    mark == MARK as i64 && kind_of(fd) == Some(0)
}

/// Whether a call is one of those that come here where a process has such descriptors: what reads,
/// and what duplicates.
pub fn is_watched(thread: &Thread, nr: u32, args: [u64; 6]) -> bool {
    let is_meant = match nr {
        __NR_read | __NR_readv | __NR_dup | __NR_dup2 | __NR_dup3 => true,
        __NR_fcntl => matches!(args[1] as u32, F_DUPFD | F_DUPFD_CLOEXEC),
        _ => false,
    };
    is_meant && pids::own(thread).signal_fds.load(Relaxed) != 0
}

/// Has reads by a number come here from now on.
fn watch(thread: &Thread, fd: u32) {
    let number = fd.min(MANY);
    let watched = &pids::own(thread).signal_fds;
    if watched.load(Relaxed) & 1 << number == 0 && install(number) {
        watched.fetch_or(1 << number, Relaxed);
    }
}

fn install(number: u32) -> bool {
    use data::{ARGS, NUMBER, POINTER};
    let step = Insn::new;
    let (start, end) = (PERSONALITY_BASE, PERSONALITY_BASE + PERSONALITY_SIZE);
    let is_meant = if number == MANY { JGE } else { JEQ };
    let steps = [
        step(LOAD, 0, 0, NUMBER),
        step(JEQ, 8, 0, __NR_read),
        step(JEQ, 7, 0, __NR_readv),
        step(JEQ, 6, 0, __NR_dup),
        step(JEQ, 5, 0, __NR_dup2),
        step(JEQ, 4, 0, __NR_dup3),
        step(JEQ, 0, 12, __NR_fcntl),
        step(LOAD, 0, 0, ARGS + 8),
        step(JEQ, 1, 0, F_DUPFD),
        step(JEQ, 0, 9, F_DUPFD_CLOEXEC),
        step(LOAD, 0, 0, ARGS),
        step(is_meant, 0, 7, number),
        // The personality's own reads are not to come back to it, and what it only asks about is not
        // to be made.
        step(LOAD, 0, 0, POINTER + 4),
        step(JEQ, 0, 4, (start >> 32) as u32),
        step(LOAD, 0, 0, POINTER),
        step(JEQ, 4, 0, JUDGE_END as u32),
        step(JGE, 0, 1, start as u32),
        step(JGE, 0, 1, end as u32),
        step(RETURN, 0, 0, TRAP | OURS),
        step(RETURN, 0, 0, ALLOW),
        step(RETURN, 0, 0, ERRNO | JUDGED),
    ];
    // Threads whose filters differ cannot be joined: then for this one.
    filters::install(&steps, TSYNC.into()) == 0 || filters::install(&steps, 0) == 0
}
