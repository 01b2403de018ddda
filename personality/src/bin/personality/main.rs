//! The personality: our code inside each guest.
//!
//! Every exec of a guest really executes this program; it maps the guest's image by the plan that the
//! monitor made, takes over the signals, and jumps. From then on each system call that the filter
//! traps arrives here as SIGSYS, is translated against the zone's tables, and returns in the zone's
//! terms.
//!
//! Rules of this program:
//! - It is not trusted. Nothing that a zone's boundary depends on is decided here.
//! - It runs on a stack of its own (the real `sigaltstack`), one aligned region a thread, at whose
//!   bottom the thread's block lies: [`thread::me`] finds it from the stack pointer.
//! - While it runs, signals are blocked, except in [`arch::wait`], which unblocks them around one
//!   blocking call and notes a signal that arrives; it is delivered at the guest's call boundary.
//!   Where it was entered by a jump none is blocked, and all are noted: [`arch::jump`].
//! - Guest memory is touched only by [`arch::copy_in`] and its kin, which turn a fault into EFAULT.
//! - It keeps no lock across a return to the guest, uses no vector registers, allocates nothing.
#![no_std]
#![no_main]
#![expect(
    non_upper_case_globals,
    reason = "the kernel's own names of calls stand in patterns"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "registers are words; which half of one counts is part of each call's contract"
)]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks,
    reason = "the whole program works on raw registers and the guest's memory; the rules stand above"
)]

mod arch;
mod capabilities;
mod clerk;
mod clients;
mod clocks;
mod dispatch;
mod exec;
mod file;
mod filters;
mod groups;
mod handover;
mod identity;
mod init;
mod injecting;
mod ipc;
mod itself;
mod keys;
mod landlock;
mod library;
mod load;
mod memory;
mod monitor;
mod namesake;
mod namespaces;
mod native;
mod others;
mod path;
mod pidfd;
mod pids;
mod plan;
mod process;
mod ptrace;
mod recording;
mod refusals;
mod room;
mod scheduling;
mod sigio;
mod signal;
mod signalfd;
mod socket;
mod thread;
mod user_dispatch;
mod watched;
mod withheld;

/// Kernel result: a value or a positive errno.
type Result<T> = core::result::Result<T, Errno>;
use picozone_syscalls::Errno;

/// Ends the process: the zone's own state is not what this program needs.
fn die(why: &str) -> ! {
    unsafe {
        arch::syscall3(
            linux_raw_sys::general::__NR_write,
            2,
            why.as_ptr() as u64,
            why.len() as u64,
        );
        arch::syscall1(linux_raw_sys::general::__NR_exit_group, 127);
    }
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    if let Some(place) = info.location() {
        let mut text = [0u8; 16];
        let mut line = place.line();
        let mut at = text.len() - 1;
        text[at] = b'\n';
        while line > 0 && at > 0 {
            at -= 1;
            text[at] = b'0' + (line % 10) as u8;
            line /= 10;
        }
        unsafe {
            let file = place.file();
            arch::syscall3(
                linux_raw_sys::general::__NR_write,
                2,
                file.as_ptr() as u64,
                file.len() as u64,
            );
            arch::syscall3(
                linux_raw_sys::general::__NR_write,
                2,
                text[at..].as_ptr() as u64,
                (text.len() - at) as u64,
            );
        }
    }
    die("picozone: the personality failed\n")
}
