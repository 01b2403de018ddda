//! Threads that have by chance the number on the host that their process has in the zone.
//!
//! libc names its threads by the one and the process by the other, and which of the two a call means could not
//! be known. Such a thread ends as soon as it is born, and its maker makes another, unless the maker's tracer
//! has seen it.

use crate::arch::{self, syscall1, syscall2, syscall3, syscall4};
use crate::ptrace;
use crate::thread::Thread;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use linux_raw_sys::general::*;

/// [`Thread::fate`]
const STAYS: u32 = 1;
/// [`Thread::fate`]
const ENDS: u32 = 2;

/// In such a thread: it ends, unless it is to stay.
#[cold]
#[inline(never)]
pub fn end_or_stay(thread: &mut Thread) {
    await_change(&thread.fate, 0);
    if thread.fate.load(Acquire) == STAYS {
        return;
    }
    let word = &raw mut thread.host_tid as u64;
    unsafe {
        // The kernel clears the word, and wakes who waits for that, when the region is used no more.
        syscall2(__NR_set_tid_address, word, 0);
        loop {
            syscall1(__NR_exit, 0);
        }
    }
}

/// In its maker, who decides, and made it with `flags` and `ptid`. Whether there is such a thread, now gone.
#[cold]
#[inline(never)]
pub fn has_ended(thread: &Thread, child: &mut Thread, flags: u64, ptid: u64) -> bool {
    let stays = ptrace::has_children_traced(thread.host_tid);
    let fate = if stays { STAYS } else { ENDS };
    child.fate.store(fate, Release);
    let word = child.fate.as_ptr() as u64;
    unsafe { syscall3(__NR_futex, word, FUTEX_WAKE.into(), 1) };
    if stays {
        return false;
    }
    let number = unsafe { AtomicU32::from_ptr(&raw mut child.host_tid) };
    loop {
        match number.load(Acquire) {
            0 => break,
            seen => await_change(number, seen),
        }
    }
    number.store(thread.host_tid, Relaxed);
    child.fate.store(0, Relaxed);
    let mut pidfd = 0u32;
    let is_named = flags & u64::from(CLONE_PIDFD) != 0;
    if is_named && arch::copy(&raw mut pidfd as u64, ptid, size_of::<u32>()) {
        unsafe { syscall1(__NR_close, pidfd.into()) };
    }
    true
}

/// Waits while the word is `old`, until somebody wakes who waits for it.
fn await_change(word: &AtomicU32, old: u32) {
    while word.load(Acquire) == old {
        let at = word.as_ptr() as u64;
        unsafe { syscall4(__NR_futex, at, FUTEX_WAIT.into(), old.into(), 0) };
    }
}
