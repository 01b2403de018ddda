//! A guest that tries to end its zone by ending the zone's init.
//!
//! `hostile_init asks`: by every call that reaches another process, as any program makes it: none ends init
//! or keeps it from working. `hostile_init kills`: by machine code within the personality, which the kernel
//! lets do it: the zone is over then.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "everything here is meant to do harm"
)]
#![expect(clippy::cast_sign_loss, reason = "registers are words")]

use picozone_guests::attempts::{attempt, inside, ptr, raw};
use picozone_personality::commons::Commons;
use picozone_personality::layout::{COMMONS_BASE, PERSONALITY_BASE, THREAD_BIAS};
use std::sync::atomic::Ordering::Relaxed;

const KILL: u64 = libc::SIGKILL as u64;
const STOP: u64 = libc::SIGSTOP as u64;

/// Init, by its host's number.
fn init() -> u64 {
    let commons = unsafe { &*(COMMONS_BASE as *const Commons) };
    u64::from(commons.processes[1].host.load(Relaxed))
}

/// Everything that sends a signal, and pretends to succeed as for init of a name space.
fn signals() {
    // As if it were a thread of some process.
    let thread = init() + u64::from(THREAD_BIAS);
    for signal in [KILL, STOP] {
        for number in [thread, init()] {
            raw(libc::SYS_kill, [number, signal, 0, 0, 0, 0]);
            raw(libc::SYS_tkill, [number, signal, 0, 0, 0, 0]);
            raw(libc::SYS_tgkill, [1, number, signal, 0, 0, 0]);
            raw(libc::SYS_tgkill, [number, number, signal, 0, 0, 0]);
        }
        let mut info = [0_u64; 16];
        (info[0], info[1]) = (signal, u64::from(u32::MAX));
        raw(libc::SYS_kill, [1, signal, 0, 0, 0, 0]);
        raw(libc::SYS_tkill, [1, signal, 0, 0, 0, 0]);
        raw(libc::SYS_tgkill, [1, 1, signal, 0, 0, 0]);
        raw(libc::SYS_rt_sigqueueinfo, [1, signal, ptr(&info), 0, 0, 0]);
        raw(
            libc::SYS_rt_tgsigqueueinfo,
            [1, 1, signal, ptr(&info), 0, 0],
        );
        let fd = raw(libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0]) as u64;
        raw(libc::SYS_pidfd_send_signal, [fd, signal, 0, 0, 0, 0]);
        raw(
            libc::SYS_pidfd_send_signal,
            [fd, signal, ptr(&info), 0, 0, 0],
        );
        let fd = raw(libc::SYS_open, [c"/proc/1".as_ptr() as u64, 0, 0, 0, 0, 0]) as u64;
        raw(libc::SYS_pidfd_send_signal, [fd, signal, 0, 0, 0, 0]);
    }
}

/// Events of a descriptor, whose owner is told by SIGKILL.
fn events() {
    for kind in [0_u32, 1, 2] {
        for ends in [false, true] {
            let mut fds = [0_i32; 2];
            unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, fds.as_mut_ptr()) };
            let [one, other] = fds.map(|fd| fd as u64);
            raw(libc::SYS_fcntl, [one, 15, ptr(&[kind, 1]), 0, 0, 0]);
            raw(libc::SYS_fcntl, [one, 10, KILL, 0, 0, 0]);
            raw(libc::SYS_fcntl, [one, 4, libc::O_ASYNC as u64, 0, 0, 0]);
            let mut owner = [9_u32; 2];
            raw(
                libc::SYS_fcntl,
                [one, 16, std::ptr::from_mut(&mut owner) as u64, 0, 0, 0],
            );
            // Init leads a group, but the one that stands for it need not.
            if kind < 2 && owner != [kind, 1] {
                println!("BROKEN owner {owner:?}");
            }
            if ends {
                raw(libc::SYS_close, [other, 0, 0, 0, 0, 0]);
            } else {
                raw(libc::SYS_write, [other, ptr(b"x"), 1, 0, 0, 0]);
            }
        }
    }
    let listener = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) } as u64;
    for command in [0x8901, 0x8902] {
        raw(libc::SYS_ioctl, [listener, command, ptr(&1_u32), 0, 0, 0]);
        raw(libc::SYS_fcntl, [listener, 10, KILL, 0, 0, 0]);
        raw(
            libc::SYS_fcntl,
            [listener, 4, libc::O_ASYNC as u64, 0, 0, 0],
        );
    }
    raw(libc::SYS_listen, [listener, 1, 0, 0, 0, 0]);
    raw(libc::SYS_shutdown, [listener, 2, 0, 0, 0, 0]);
}

/// Its memory, its descriptors, its steps.
fn looks() {
    let word = [0_u64; 2];
    let part = [ptr(&word), 8];
    let image = [PERSONALITY_BASE, 8];
    for (name, request) in [("PTRACE_ATTACH", 16), ("PTRACE_SEIZE", 0x4206)] {
        for number in [1, init() + u64::from(THREAD_BIAS)] {
            attempt(name, || {
                raw(libc::SYS_ptrace, [request, number, 0, 0, 0, 0])
            });
        }
    }
    for number in [1, init() + u64::from(THREAD_BIAS)] {
        attempt("process_vm_writev", || {
            raw(
                libc::SYS_process_vm_writev,
                [number, ptr(&part), 1, ptr(&image), 1, 0],
            )
        });
    }
    for fd in [0, 3, 1030] {
        attempt("pidfd_getfd", || {
            let init = raw(libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0]) as u64;
            raw(libc::SYS_pidfd_getfd, [init, fd, 0, 0, 0, 0])
        });
    }
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("asks") => {
            signals();
            events();
            looks();
            // All but init and us.
            raw(libc::SYS_kill, [u64::MAX, KILL, 0, 0, 0, 0]);
            println!("still runs");
        }
        Some("kills") => {
            inside(libc::SYS_kill, [init(), KILL, 0, 0, 0, 0]);
            loop {
                unsafe { libc::pause() };
            }
        }
        other => panic!("what is {other:?}?"),
    }
}
