//! Which calls a rewritten call site brings to the personality.

use crate::{Class, ROWS, nr};

/// Calls that come by SIGSYS: their service works on the whole frame that the kernel lays down for a
/// signal (it is copied for a child, replaced, or returned through under another mask), or they wait
/// in several steps between which no signal may come.
const NEED_FRAME: &[u32] = &[
    nr::semop,
    nr::semtimedop,
    nr::msgsnd,
    nr::msgrcv,
    nr::vfork,
    nr::rt_sigsuspend,
    nr::rt_sigtimedwait,
    nr::rt_sigpending,
];

/// Whether a call can enter the personality by a jump: it is always translated, and needs no frame.
/// Calls that the kernel answers in most of their forms are quicker where they are; of two libc asks
/// in the other form: in each new thread by the thread's number, and for all descriptors from one on.
#[must_use]
pub const fn enters_by_jump(number: u32) -> bool {
    if number == nr::sched_getaffinity || number == nr::close_range {
        return true;
    }
    let mut i = 0;
    while i < NEED_FRAME.len() {
        if NEED_FRAME[i] == number {
            return false;
        }
        i += 1;
    }
    let mut i = 0;
    while i < ROWS.len() {
        if ROWS[i].nr == number {
            return matches!(ROWS[i].class, Class::Emulated(_));
        }
        i += 1;
    }
    false
}

/// What the personality serves of that: also how the dynamic linker maps libraries, in whose place
/// the personality maps rewritten copies. Only call sites of the linker are rewritten for those.
#[must_use]
pub const fn served_by_jump(number: u32) -> bool {
    enters_by_jump(number) || number == nr::mmap || number == nr::munmap
}

/// Whether the kernel answers a call in any of its forms, so that it does not come to the personality
/// by itself. The kernel asks for `restart_syscall` on its own account, for calls of the personality too.
#[must_use]
pub const fn may_be_native(number: u32) -> bool {
    let mut i = 0;
    while i < ROWS.len() {
        if ROWS[i].nr == number {
            let is_native = matches!(
                ROWS[i].class,
                Class::Native | Class::Guarded(_) | Class::Split(..)
            );
            return is_native && number != nr::restart_syscall;
        }
        i += 1;
    }
    false
}
