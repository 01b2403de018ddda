//! Seccomp filters of a guest's own, which must take nothing from the zone's; and the place where calls
//! are only judged.

use super::{
    DOORBELL, HOWS, attempt, both, exchanged, inside, may_trace, ptr, raw, stop, trace, traced,
};
use picozone_personality::layout::{FD_MOUNT0, JUDGE_END};
use std::arch::asm;

/// SECCOMP_RET_ALLOW, SECCOMP_RET_TRACE, SECCOMP_RET_USER_NOTIF.
const ACTIONS: [u64; 3] = [0x7fff_0000, 0x7ff0_0000, 0x7fc0_0000];

/// Puts a filter on that says this of one call, and allows all others.
fn put_on(action: u64, nr: i64, flags: u64) -> i64 {
    let program = [
        0x20,
        0x15 | 1 << 24 | (nr as u64) << 32,
        6 | action << 32,
        6 | ACTIONS[0] << 32,
    ];
    let fprog = [4, ptr(&program)];
    inside(libc::SYS_seccomp, [1, flags, ptr(&fprog), 0, 0, 0])
}

/// Makes a call where none is made.
fn judged(nr: i64, a: [u64; 6]) -> i64 {
    let result: i64;
    unsafe {
        asm!("call {at}", at = in(reg) JUDGE_END - 2, inlateout("rax") nr => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4],
            in("r9") a[5], lateout("rcx") _, lateout("r11") _);
    }
    result
}

/// Under whatever filter for all calls what is forbidden stays so.
fn for_all_calls() {
    // SECCOMP_RET_LOG and SECCOMP_RET_TRAP, too.
    let verdicts = [ACTIONS[0], ACTIONS[1], ACTIONS[2], 0x7ffc_0000, 0x0003_0000];
    let calls = [
        (
            "a user name space",
            libc::SYS_unshare,
            libc::CLONE_NEWUSER as u64,
        ),
        ("setuid", libc::SYS_setuid, 0),
        ("close of a reserved descriptor", libc::SYS_close, 1024),
    ];
    for verdict in verdicts {
        for (name, nr, first) in calls {
            attempt(&format!("{name} under {verdict:#x} for all calls"), || {
                // Where no call is made, none ends the process either: then it faults for ever.
                let second = libc::rlimit {
                    rlim_cur: 1,
                    rlim_max: 1,
                };
                unsafe { libc::setrlimit(libc::RLIMIT_CPU, &raw const second) };
                let program = [0x20, 6 | verdict << 32];
                let fprog = [2, ptr(&program)];
                let put = inside(libc::SYS_seccomp, [1, 0, ptr(&fprog), 0, 0, 0]);
                if put < 0 && verdict == ACTIONS[0] {
                    println!("BROKEN control filter");
                }
                inside(nr, [first, 0, 0, 0, 0, 0])
            });
        }
    }
    for flags in [8, 32, 1 << 32 | 8] {
        attempt(&format!("a filter with flags {flags:#x}"), || {
            put_on(ACTIONS[0], 0, flags)
        });
    }
    attempt("the strict mode", || {
        inside(libc::SYS_seccomp, [0, 0, 0, 0, 0, 0])
    });
}

pub fn filters() {
    for_all_calls();
    for (name, flags) in [("a listener", 8), ("all threads and a listener", 0x19)] {
        attempt(&format!("a filter with {name}"), || {
            put_on(ACTIONS[0], 0, flags)
        });
    }
    both(
        "no filter for who is privileged",
        libc::SYS_seccomp,
        [1, 1 << 40, 0, 0, 0, 0],
    );
    let zeroes = [0u64; 64];
    let how = HOWS.start;
    for action in ACTIONS {
        let name = format!("{action:#x} by a filter of its own");
        let rows: [(&str, i64, [u64; 6]); 3] = [
            (
                "io_uring_setup",
                libc::SYS_io_uring_setup,
                [1, ptr(&zeroes), 0, 0, 0, 0],
            ),
            ("bpf", libc::SYS_bpf, [0, ptr(&zeroes), 64, 0, 0, 0]),
            (
                "a user name space",
                libc::SYS_unshare,
                [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0],
            ),
        ];
        for (what, nr, args) in rows {
            attempt(&format!("{what} under {name}"), || {
                put_on(action, nr, 0);
                raw(nr, args)
            });
        }
    }
    let root = u64::from(FD_MOUNT0);
    for (what, nr, args) in [
        (
            "an approved open",
            libc::SYS_openat2,
            [root, ptr(b".\0"), how, 24, 0, 0],
        ),
        ("the doorbell", DOORBELL, [0; 6]),
        ("a child", libc::SYS_fork, [0; 6]),
        ("a filter", libc::SYS_seccomp, [1, 0, 0, 0, 0, 0]),
    ] {
        attempt(&format!("{what} where calls are only judged"), || {
            judged(nr, args)
        });
    }
    if !may_trace() {
        return;
    }
    attempt(
        "another call where a filter of its own stops for a tracer",
        || {
            const EVENTS: u64 = 1 << 7;
            let pid = traced(EVENTS, || {
                put_on(ACTIONS[1], libc::SYS_sched_yield, 0);
                raw(libc::SYS_sched_yield, [0; 6])
            });
            trace(7, pid, 0, 0);
            stop(pid);
            exchanged(pid)
        },
    );
}
