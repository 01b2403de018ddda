//! Signals: masks, interrupted and restarted calls, handlers that do not return, stacks, threads.

use picozone_guests::children::{End, kill, pipe, wait};
use picozone_guests::signals::{
    ADDRESS, Act, Alarms, CODE, HITS, SENDER, all, all_but, count, handle, handle_masked,
    handler_of, list, mask, none, note, only, pending,
};
use picozone_guests::{CWD, call, child, escape, from, libc_result, out, sections, see, text};
use std::arch::asm;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};

fn main() {
    sections(&[
        ("masks", masks),
        ("sigsys", sigsys),
        ("interrupted", interrupted),
        ("restarted", restarted),
        ("escapes", escapes),
        ("waits_with_masks", waits_with_masks),
        ("stacks", stacks),
        ("information", information),
        ("faults", faults),
        ("kinds", kinds),
        ("exec", exec),
        ("inherited", inherited),
        ("timed_wait", timed_wait),
        ("default_actions", default_actions),
        ("no_room", no_room),
        ("registers", registers),
    ]);
}

static TOLD: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Tells a vector register and the control word of vectors, as a handler finds them.
extern "C" fn tell_registers(_: i32) {
    let (vector, mut control): (u64, u32);
    control = 0;
    // SAFETY: reads two registers, one of them into `control`.
    unsafe {
        asm!("movq {0}, xmm15", "stmxcsr dword ptr [{1}]", out(reg) vector, in(reg) &raw mut control,
             options(nostack));
    }
    TOLD[0].store(vector, SeqCst);
    TOLD[1].store(u64::from(control), SeqCst);
}

/// A handler begins with the processor's initial vector registers; what it interrupts keeps its own.
fn registers() {
    const CONTROL: u32 = 0x3f80;
    handle(libc::SIGUSR1, Act::Plain(tell_registers), 0).expect("a handler");
    for _ in 0..2 {
        let (mut before, mut after) = (0_u32, CONTROL);
        let kept: u64;
        // SAFETY: a signal to oneself; the control word is put back.
        unsafe {
            asm!("stmxcsr dword ptr [r8]", "ldmxcsr dword ptr [r9]", "movq xmm15, r10", "syscall",
                 "movq r10, xmm15", "stmxcsr dword ptr [r9]", "ldmxcsr dword ptr [r8]",
                 inlateout("rax") libc::SYS_kill => _, in("rdi") pid(), in("rsi") libc::SIGUSR1,
                 in("r8") &raw mut before, in("r9") &raw mut after,
                 inlateout("r10") 0x1234_5678_9abc_def0_u64 => kept,
                 out("rcx") _, out("r11") _, out("xmm15") _, options(nostack));
        }
        see(
            "in the handler",
            [TOLD[0].load(SeqCst), TOLD[1].load(SeqCst)],
        );
        see("kept", (kept, after));
    }
}

fn hits() -> i32 {
    HITS.swap(0, SeqCst)
}

fn pid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

fn masks() {
    let before = mask(libc::SIG_SETMASK, &all()).expect("a mask");
    see("mask at start", list(&before));
    see(
        "a call while all are blocked",
        call(libc::SYS_getpid, &[]).is_ok_and(|p| i64::from(pid()) == p.cast_signed()),
    );
    see(
        "all that can be blocked",
        list(&mask(libc::SIG_BLOCK, &none()).expect("a mask")),
    );
    handle(libc::SIGUSR1, Act::Plain(count), 0).expect("a handler");
    handle(libc::SIGSYS, Act::Plain(count), 0).expect("a handler");
    handle(libc::SIGSEGV, Act::Plain(count), 0).expect("a handler");
    for signal in [libc::SIGUSR1, libc::SIGSYS, libc::SIGSEGV] {
        see("raised while blocked", (kill(pid(), signal), hits()));
    }
    see("pending", pending());
    mask(libc::SIG_UNBLOCK, &only(&[libc::SIGSYS])).expect("a mask");
    see("SIGSYS unblocked", (hits(), pending()));
    mask(libc::SIG_SETMASK, &none()).expect("a mask");
    see("the others unblocked", (hits(), pending()));
    see(
        "how 9",
        call(libc::SYS_rt_sigprocmask, &[9, from(&none()), 0, 8]),
    );
    see(
        "how 9 without a set",
        call(libc::SYS_rt_sigprocmask, &[9, 0, 0, 8]),
    );
    see("size 4", call(libc::SYS_rt_sigprocmask, &[0, 0, 0, 4]));
    see("bad address", call(libc::SYS_rt_sigprocmask, &[0, 8, 0, 8]));
    see(
        "bad address out",
        call(libc::SYS_rt_sigprocmask, &[0, 0, 8, 8]),
    );
    // The child inherits the mask, not what is pending.
    mask(libc::SIG_SETMASK, &only(&[libc::SIGUSR1, libc::SIGSYS])).expect("a mask");
    let _ = kill(pid(), libc::SIGUSR1);
    let end = child(|| {
        see(
            "mask of a child",
            list(&mask(libc::SIG_BLOCK, &none()).expect("a mask")),
        );
        see("pending in a child", pending());
        0
    })
    .wait();
    see("child", end);
    mask(libc::SIG_SETMASK, &none()).expect("a mask");
    see("delivered in the end", hits());
    see("handler's own mask", {
        handle_masked(
            libc::SIGUSR2,
            Act::Plain(show_mask),
            0,
            &only(&[libc::SIGHUP, libc::SIGSYS]),
        )
        .expect("a handler");
        kill(pid(), libc::SIGUSR2)
    });
    handle_masked(
        libc::SIGUSR2,
        Act::Plain(show_mask),
        libc::SA_NODEFER,
        &none(),
    )
    .expect("a handler");
    let _ = kill(pid(), libc::SIGUSR2);
    see(
        "mask afterwards",
        list(&mask(libc::SIG_BLOCK, &none()).expect("a mask")),
    );
}

/// A signal whose frame finds no room is a fault; a handler on another stack can take that.
fn no_room() {
    const SIZE: u64 = 65536;
    // No access at all: `PROT_NONE`, private, anonymous, reserving nothing.
    let stack = call(libc::SYS_mmap, &[0, SIZE, 0, 0x4022, u64::MAX, 0]).expect("an address");
    let stack = [stack, 0, SIZE];
    call(libc::SYS_sigaltstack, &[from(&stack), 0]).expect("a stack");
    handle(libc::SIGUSR1, Act::Plain(count), libc::SA_ONSTACK).expect("a handler");
    handle(libc::SIGSEGV, Act::Info(note), 0).expect("a handler");
    let raised = kill(pid(), libc::SIGUSR1);
    see("a fault", (raised, hits(), CODE.load(SeqCst)));
    let end = |flags, act| {
        child(|| {
            handle(libc::SIGSEGV, act, flags).expect("a handler");
            let _ = kill(pid(), libc::SIGUSR1);
            0
        })
        .wait()
    };
    see("on the same stack", end(libc::SA_ONSTACK, Act::Info(note)));
    see("no handler", end(0, Act::Default));
    see("ignored", end(0, Act::Ignore));
    let end = child(|| {
        mask(libc::SIG_BLOCK, &only(&[libc::SIGSEGV])).expect("a mask");
        let _ = kill(pid(), libc::SIGUSR1);
        0
    });
    see("blocked", end.wait());
    // What a one-time handler leaves.
    let once = libc::SA_RESETHAND | libc::SA_SIGINFO | libc::SA_RESTART;
    handle(libc::SIGUSR2, Act::Info(note), once).expect("a handler");
    see("once", (kill(pid(), libc::SIGUSR2), hits()));
    see("afterwards", handler_of(libc::SIGUSR2));
}

extern "C" fn show_mask(_: i32) {
    see(
        "mask in the handler",
        list(&mask(libc::SIG_BLOCK, &none()).expect("a mask")),
    );
}

fn sigsys() {
    handle(libc::SIGSYS, Act::Plain(count), 0).expect("a handler");
    see(
        "a call with a handler of SIGSYS",
        call(libc::SYS_getppid, &[]).is_ok(),
    );
    see("no hit by it", hits());
    // SAFETY: takes a number.
    see("raise", (unsafe { libc::raise(libc::SIGSYS) }, hits()));
    let (address, flags) = handler_of(libc::SIGSYS).expect("a handler");
    see("read back", (address == count as *const () as usize, flags));
    handle(libc::SIGSYS, Act::Ignore, 0).expect("ignored");
    see(
        "ignored",
        (kill(pid(), libc::SIGSYS), hits(), handler_of(libc::SIGSYS)),
    );
    see(
        "a call while it is ignored",
        call(libc::SYS_getppid, &[]).is_ok(),
    );
    handle(libc::SIGSYS, Act::Default, 0).expect("default");
    see(
        "default",
        child(|| kill(pid(), libc::SIGSYS).map_or(1, |()| 2)).wait(),
    );
    see("an unknown number", call(1000, &[]));
    for signal in [0, 65, libc::SIGKILL, libc::SIGSTOP] {
        see(
            "sigaction of it",
            (signal, handle(signal, Act::Plain(count), 0)),
        );
        see("and of the kernel", {
            let action = [count as *const () as u64, 0, 0, 0];
            call(
                libc::SYS_rt_sigaction,
                &[u64::from(signal.unsigned_abs()), from(&action), 0, 8],
            )
        });
    }
    see("bad address", call(libc::SYS_rt_sigaction, &[10, 8, 0, 8]));
    see("size 16", call(libc::SYS_rt_sigaction, &[10, 0, 0, 16]));
}

/// A child that lives until it is killed.
fn sleeper() -> picozone_guests::Child {
    child(|| {
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    })
}

fn interrupted() {
    handle_masked(libc::SIGALRM, Act::Plain(count), 0, &all()).expect("a handler");
    let long = libc::timespec {
        tv_sec: 100,
        tv_nsec: 0,
    };
    let alarms = Alarms::start();
    see("nanosleep", call(libc::SYS_nanosleep, &[from(&long), 0]));
    see("a full mask in the handler", hits() > 0);
    let held = pipe().expect("a pipe");
    let mut byte = 0_u8;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&held.read);
    see(
        "read",
        call(
            libc::SYS_read,
            &[u64::from(fd.unsigned_abs()), out(&mut byte), 1],
        ),
    );
    drop(alarms);
    let asleep = sleeper();
    let alarms = Alarms::start();
    see("wait4", asleep.wait());
    let mut status = 0;
    see(
        "wait4 by its number",
        call(
            libc::SYS_wait4,
            &[u64::from(asleep.0.unsigned_abs()), out(&mut status), 0, 0],
        ),
    );
    see(
        "waitid",
        call(
            libc::SYS_waitid,
            &[1, u64::from(asleep.0.unsigned_abs()), 0, 4, 0],
        ),
    );
    // SAFETY: takes nothing.
    see("pause", libc_result(unsafe { libc::pause() }));
    drop(alarms);
    see("end", (asleep.signal(libc::SIGKILL), asleep.wait()));
    hits();
    see("no children", call(libc::SYS_wait4, &[u64::MAX, 0, 0, 0]));
    let fifo = c"interrupted.fifo";
    // SAFETY: the name is a string.
    see(
        "mkfifo",
        libc_result(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }),
    );
    let alarms = Alarms::start();
    see(
        "open of a fifo",
        call(libc::SYS_openat, &[CWD, text(fifo), 0, 0]),
    );
    drop(alarms);
    see("hits", hits() > 0);
    see("unlink", call(libc::SYS_unlink, &[text(fifo)]));
}

static TELL: AtomicI32 = AtomicI32::new(-1);

/// Lets the child end once a few signals were seen.
extern "C" fn tell_later(signal: i32) {
    count(signal);
    if HITS.load(SeqCst) == 4 {
        let fd = u64::from(TELL.load(SeqCst).unsigned_abs());
        let _ = call(libc::SYS_write, &[fd, from(&0_u8), 1]);
    }
}

fn restarted() {
    for way in ["library", "wait4", "waitid"] {
        let told = pipe().expect("a pipe");
        TELL.store(std::os::fd::AsRawFd::as_raw_fd(&told.write), SeqCst);
        handle_masked(
            libc::SIGALRM,
            Act::Plain(tell_later),
            libc::SA_RESTART,
            &all(),
        )
        .expect("a handler");
        hits();
        let ends = child(|| {
            told.hear();
            3
        });
        let alarms = Alarms::start();
        let pid = u64::from(ends.0.unsigned_abs());
        let mut status = 0;
        match way {
            "library" => see(way, ends.wait()),
            "wait4" => {
                let found = call(libc::SYS_wait4, &[pid, out(&mut status), 0, 0]);
                see(way, (found == Ok(pid), End::from(status)));
            }
            _ => {
                see(way, call(libc::SYS_waitid, &[1, pid, 0, 4, 0]));
            }
        }
        drop(alarms);
        see("signals on the way", hits() >= 4);
    }
    see("nothing is left", wait(-1, libc::WNOHANG));
}

extern "C" fn leave(_: i32) {
    let _ = call(libc::SYS_getpid, &[]);
    escape::leave();
}

fn escapes() {
    handle(libc::SIGALRM, Act::Plain(leave), 0).expect("a handler");
    let bodies: [(&str, fn()); 5] = [
        ("out of wait4", || {
            let _ = call(libc::SYS_wait4, &[u64::MAX, 0, 0, 0]);
        }),
        ("out of the library's waitpid", || {
            let _ = wait(-1, 0);
        }),
        ("out of pause", || {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }),
        ("out of getpid in a loop", || {
            loop {
                let _ = call(libc::SYS_getpid, &[]);
            }
        }),
        ("out of stat in a loop", || {
            loop {
                let mut found = [0_u64; 18];
                let _ = call(libc::SYS_stat, &[text(c"/etc/passwd"), out(&mut found)]);
            }
        }),
    ];
    let asleep = sleeper();
    for (name, body) in bodies {
        let mut escaped = 0;
        for _ in 0..20 {
            // The timer outlives the escape, and may hit the code between.
            mask(libc::SIG_BLOCK, &only(&[libc::SIGALRM])).expect("a mask");
            let alarms = Alarms::start();
            BODY.store(body as *mut (), SeqCst);
            escaped += i32::from(escape::run(|| {
                let body = BODY.load(SeqCst);
                // SAFETY: a `fn()` was stored.
                let body = unsafe { std::mem::transmute::<*mut (), fn()>(body) };
                mask(libc::SIG_UNBLOCK, &only(&[libc::SIGALRM])).expect("a mask");
                body();
            }));
            drop(alarms);
            mask(libc::SIG_UNBLOCK, &none()).expect("a mask");
        }
        handle(libc::SIGALRM, Act::Ignore, 0).expect("ignored");
        mask(libc::SIG_SETMASK, &none()).expect("a mask");
        handle(libc::SIGALRM, Act::Plain(leave), 0).expect("a handler");
        see(
            name,
            (
                escaped,
                call(libc::SYS_getpid, &[]).is_ok_and(|p| i64::from(pid()) == p.cast_signed()),
            ),
        );
    }
    see("end", (asleep.signal(libc::SIGKILL), asleep.wait()));
}

static BODY: std::sync::atomic::AtomicPtr<()> = std::sync::atomic::AtomicPtr::new(null_mut());

fn waits_with_masks() {
    handle(libc::SIGALRM, Act::Plain(count), 0).expect("a handler");
    mask(libc::SIG_BLOCK, &only(&[libc::SIGALRM])).expect("a mask");
    let alarms = Alarms::start();
    let but_alarm = all_but(&[libc::SIGALRM]);
    let time = libc::timespec {
        tv_sec: 100,
        tv_nsec: 0,
    };
    let brief = libc::timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    see(
        "ppoll that blocks all",
        (
            call(libc::SYS_ppoll, &[0, 0, from(&{ brief }), from(&all()), 8]),
            hits(),
        ),
    );
    see(
        "ppoll",
        (
            call(
                libc::SYS_ppoll,
                &[0, 0, from(&{ time }), from(&but_alarm), 8],
            ),
            hits(),
        ),
    );
    let pair = [from(&but_alarm), 8];
    see(
        "pselect6",
        (
            call(
                libc::SYS_pselect6,
                &[0, 0, 0, 0, from(&{ time }), from(&pair)],
            ),
            hits(),
        ),
    );
    // SAFETY: takes a number.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    let mut event = [0_u8; 12];
    let epoll = u64::from(epoll.unsigned_abs());
    see(
        "epoll_pwait",
        (
            call(
                libc::SYS_epoll_pwait,
                &[epoll, out(&mut event), 1, 100_000, from(&but_alarm), 8],
            ),
            hits(),
        ),
    );
    see(
        "epoll_pwait2",
        (
            call(
                libc::SYS_epoll_pwait2,
                &[epoll, out(&mut event), 1, from(&time), from(&but_alarm), 8],
            ),
            hits(),
        ),
    );
    see(
        "rt_sigsuspend",
        (
            call(libc::SYS_rt_sigsuspend, &[from(&but_alarm), 8]),
            hits(),
        ),
    );
    drop(alarms);
    see(
        "mask afterwards",
        list(&mask(libc::SIG_BLOCK, &none()).expect("a mask")),
    );
    see(
        "bad masks",
        [
            call(libc::SYS_rt_sigsuspend, &[8, 8]),
            call(libc::SYS_rt_sigsuspend, &[from(&none()), 16]),
            call(libc::SYS_ppoll, &[0, 0, from(&{ brief }), 8, 8]),
            call(libc::SYS_ppoll, &[0, 0, from(&{ brief }), from(&none()), 3]),
            call(libc::SYS_pselect6, &[0, 0, 0, 0, from(&{ brief }), 8]),
        ],
    );
    // What waited may be delivered now, or was taken by the last call.
    mask(libc::SIG_SETMASK, &none()).expect("a mask");
    see(
        "ppoll without a mask",
        call(libc::SYS_ppoll, &[0, 0, from(&{ brief }), 0, 8]),
    );
}

fn stacks() {
    const SIZE: usize = 16 * 1024;
    let mut memory = vec![0_u8; SIZE];
    let bottom = memory.as_mut_ptr() as usize;
    let stack = |flags| libc::stack_t {
        ss_sp: bottom as *mut _,
        ss_flags: flags,
        ss_size: SIZE,
    };
    let set = |stack: &libc::stack_t| call(libc::SYS_sigaltstack, &[from(stack), 0]);
    see("sigaltstack", set(&stack(0)));
    static BOTTOM: AtomicI32 = AtomicI32::new(0);
    extern "C" fn on_it(signal: i32) {
        count(signal);
        let here = 0_u8;
        let mut shown = libc::stack_t {
            ss_sp: null_mut(),
            ss_flags: 0,
            ss_size: 0,
        };
        let got = call(libc::SYS_sigaltstack, &[0, out(&mut shown)]);
        let distance = (from(&here)).wrapping_sub(shown.ss_sp as u64);
        see(
            "within",
            (got, distance < SIZE as u64, shown.ss_flags, shown.ss_size),
        );
        see(
            "changed while on it",
            call(libc::SYS_sigaltstack, &[from(&shown), 0]),
        );
        BOTTOM.store(1, SeqCst);
    }
    handle(libc::SIGUSR1, Act::Plain(on_it), libc::SA_ONSTACK).expect("a handler");
    see("raised", (kill(pid(), libc::SIGUSR1), hits()));
    let mut shown = libc::stack_t {
        ss_sp: null_mut(),
        ss_flags: 0,
        ss_size: 0,
    };
    see("shown", call(libc::SYS_sigaltstack, &[0, out(&mut shown)]));
    see(
        "as set",
        (
            shown.ss_sp as usize == bottom,
            shown.ss_flags,
            shown.ss_size,
        ),
    );
    see(
        "in a child",
        child(|| {
            let mut shown = libc::stack_t {
                ss_sp: null_mut(),
                ss_flags: 0,
                ss_size: 0,
            };
            let _ = call(libc::SYS_sigaltstack, &[0, out(&mut shown)]);
            i32::from(shown.ss_sp as usize == bottom)
        })
        .wait(),
    );
    see(
        "too small",
        set(&libc::stack_t {
            ss_size: 100,
            ..stack(0)
        }),
    );
    see("bad flags", set(&stack(64)));
    see("bad address", call(libc::SYS_sigaltstack, &[8, 0]));
    see("disabled", set(&stack(libc::SS_DISABLE)));
    see(
        "of none",
        call(libc::SYS_sigaltstack, &[0, out(&mut shown)]),
    );
    see("is none", shown.ss_flags);
    see("a deep stack in a handler", {
        extern "C" fn deep(_: i32) {
            fn down(depth: u32) -> u32 {
                let room = std::hint::black_box([depth; 256]);
                if depth == 0 {
                    room[0]
                } else {
                    down(depth - 1) + room[3] / depth
                }
            }
            HITS.store(i32::try_from(down(1000)).unwrap_or(-1), SeqCst);
        }
        handle(libc::SIGUSR2, Act::Plain(deep), libc::SA_ONSTACK).expect("a handler");
        (kill(pid(), libc::SIGUSR2), hits())
    });
    see("off the end of the stack", child(beyond).wait());
}

/// Handlers in handlers, until their frames would leave the alternate stack: a fault then, whatever
/// lies below it.
fn beyond() -> i32 {
    const SIZE: usize = 64 * 1024;
    let mut memory = vec![0_u8; 4 * SIZE];
    let stack = libc::stack_t {
        ss_sp: memory[3 * SIZE..].as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: SIZE,
    };
    call(libc::SYS_sigaltstack, &[from(&stack), 0]).expect("a stack");
    extern "C" fn again(signal: i32) {
        if HITS.fetch_add(1, SeqCst) < 100 {
            let _ = kill(pid(), signal);
        }
    }
    let flags = libc::SA_ONSTACK | libc::SA_NODEFER;
    handle(libc::SIGUSR2, Act::Plain(again), flags).expect("a handler");
    let _ = kill(pid(), libc::SIGUSR2);
    7
}

fn information() {
    handle(libc::SIGCHLD, Act::Info(note), 0).expect("a handler");
    handle(libc::SIGUSR1, Act::Info(note), 0).expect("a handler");
    mask(libc::SIG_BLOCK, &only(&[libc::SIGCHLD])).expect("a mask");
    let ends = child(|| 0);
    // SAFETY: the set lives until the call returns.
    unsafe { libc::sigsuspend(&raw const *Box::leak(Box::new(none()))) };
    see(
        "SIGCHLD",
        (SENDER.load(SeqCst) == ends.0, CODE.load(SeqCst), hits()),
    );
    see("wait", ends.wait());
    mask(libc::SIG_SETMASK, &none()).expect("a mask");
    handle(libc::SIGCHLD, Act::Default, 0).expect("default");
    // SAFETY: takes nothing.
    let parent = pid();
    let tells = child(|| {
        // SAFETY: takes nothing.
        let mine = unsafe { libc::getppid() };
        i32::from(mine != parent) + kill(mine, libc::SIGUSR1).map_or(2, |()| 0)
    });
    let end = loop {
        match tells.wait() {
            Err(picozone_guests::Errno::EINTR) => {}
            other => break other,
        }
    };
    see(
        "kill of the parent",
        (
            end,
            SENDER.load(SeqCst) == tells.0,
            CODE.load(SeqCst),
            hits(),
        ),
    );
    see(
        "kill of ourselves",
        (
            kill(pid(), libc::SIGUSR1),
            SENDER.load(SeqCst) == pid(),
            CODE.load(SeqCst),
            hits(),
        ),
    );
    // SAFETY: takes a number.
    see(
        "raise",
        (
            unsafe { libc::raise(libc::SIGUSR1) },
            SENDER.load(SeqCst) == pid(),
            CODE.load(SeqCst),
            hits(),
        ),
    );
    let value = libc::sigval {
        sival_ptr: 77 as *mut _,
    };
    // SAFETY: the value is not looked at.
    see(
        "sigqueue",
        (
            libc_result(unsafe { libc::sigqueue(pid(), libc::SIGUSR1, value) }),
            SENDER.load(SeqCst) == pid(),
            CODE.load(SeqCst),
            hits(),
        ),
    );
    // SAFETY: zeros are a valid block.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let ends = child(|| 5);
    // SAFETY: the block lives until the call returns.
    let result = unsafe {
        libc::waitid(
            libc::P_PID,
            ends.0.unsigned_abs(),
            &raw mut info,
            libc::WEXITED,
        )
    };
    // SAFETY: a SIGCHLD block has this member.
    let sender = unsafe { info.si_pid() };
    // SAFETY: and this one.
    let status = unsafe { info.si_status() };
    see(
        "waitid",
        (
            libc_result(result),
            sender == ends.0,
            status,
            info.si_signo,
            info.si_code,
        ),
    );
}

fn faults() {
    static AT: AtomicI32 = AtomicI32::new(0);
    extern "C" fn fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        note(signal, info, context);
        AT.store(signal, SeqCst);
        escape::leave();
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
        handle(signal, Act::Info(fault), 0).expect("a handler");
    }
    let bodies: [(&str, fn()); 4] = [
        ("a bad address", || {
            // SAFETY: there is nothing; the fault is what is wanted.
            unsafe { std::ptr::read_volatile(64 as *const u8) };
        }),
        ("an illegal instruction", || {
            // SAFETY: the fault is what is wanted.
            unsafe { std::arch::asm!("ud2") };
        }),
        ("a division", || {
            // SAFETY: the fault is what is wanted.
            unsafe {
                std::arch::asm!("xor ecx, ecx", "xor edx, edx", "div ecx", out("eax") _, out("ecx") _, out("edx") _)
            };
        }),
        ("a page beyond the file", || {
            let name = c"short";
            // SAFETY: the name is a string.
            let fd = unsafe { libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600) };
            // SAFETY: a fresh mapping.
            let at =
                unsafe { libc::mmap(null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
            // SAFETY: the fault is what is wanted.
            unsafe { std::ptr::read_volatile(at.cast::<u8>()) };
        }),
    ];
    for (name, body) in bodies {
        let escaped = escape::run(body);
        let address = ADDRESS.load(SeqCst) as usize;
        let address = if address == 64 {
            address
        } else {
            address & 4095 & i32::from(name.contains("page")).unsigned_abs() as usize
        };
        see(name, (escaped, AT.load(SeqCst), CODE.load(SeqCst), address));
        see("and after", hits());
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        handle(signal, Act::Default, 0).expect("default");
    }
    // The core limit keeps the machine clean.
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit lives until the call returns.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    // SAFETY: there is nothing; the fault is what is wanted.
    see(
        "default",
        child(|| i32::from(unsafe { std::ptr::read_volatile(64 as *const u8) })).wait(),
    );
    see(
        "ignored",
        child(|| {
            let _ = handle(libc::SIGSEGV, Act::Ignore, 0);
            // SAFETY: there is nothing; the fault is what is wanted.
            i32::from(unsafe { std::ptr::read_volatile(64 as *const u8) })
        })
        .wait(),
    );
    see(
        "blocked",
        child(|| {
            let _ = handle(libc::SIGSEGV, Act::Plain(count), 0);
            let _ = mask(libc::SIG_BLOCK, &all());
            // SAFETY: there is nothing; the fault is what is wanted.
            i32::from(unsafe { std::ptr::read_volatile(64 as *const u8) })
        })
        .wait(),
    );
    see(
        "sent while ignored",
        child(|| {
            let _ = handle(libc::SIGSEGV, Act::Ignore, 0);
            kill(pid(), libc::SIGSEGV).map_or(1, |()| 4)
        })
        .wait(),
    );
}

fn kinds() {
    handle(libc::SIGUSR1, Act::Plain(count), libc::SA_RESETHAND).expect("a handler");
    see(
        "once",
        (
            kill(pid(), libc::SIGUSR1),
            hits(),
            handler_of(libc::SIGUSR1).map(|row| row.0),
        ),
    );
    handle(libc::SIGSYS, Act::Plain(count), libc::SA_RESETHAND).expect("a handler");
    see(
        "once SIGSYS",
        (
            kill(pid(), libc::SIGSYS),
            hits(),
            handler_of(libc::SIGSYS).map(|row| row.0),
        ),
    );
    handle(libc::SIGCHLD, Act::Ignore, 0).expect("ignored");
    see("children of one who ignores SIGCHLD", child(|| 3).wait());
    handle(libc::SIGCHLD, Act::Default, libc::SA_NOCLDWAIT).expect("default");
    see("SA_NOCLDWAIT", child(|| 3).wait());
    handle(libc::SIGCHLD, Act::Default, 0).expect("default");
    for signal in [libc::SIGRTMIN(), libc::SIGRTMAX()] {
        handle(signal, Act::Plain(count), 0).expect("a handler");
        mask(libc::SIG_BLOCK, &only(&[signal])).expect("a mask");
        for _ in 0..5 {
            let _ = kill(pid(), signal);
        }
        mask(libc::SIG_UNBLOCK, &only(&[signal])).expect("a mask");
        see("real-time signals queue", (signal, hits()));
    }
    handle(libc::SIGUSR1, Act::Plain(count), 0).expect("a handler");
    mask(libc::SIG_BLOCK, &only(&[libc::SIGUSR1])).expect("a mask");
    for _ in 0..5 {
        let _ = kill(pid(), libc::SIGUSR1);
    }
    mask(libc::SIG_UNBLOCK, &only(&[libc::SIGUSR1])).expect("a mask");
    see("others do not", hits());
    see("kill 0", kill(pid(), 0));
    see("kill -5", kill(pid(), -5));
    see("kill 65", kill(pid(), 65));
    see("kill of nobody", kill(3_999_999, 0));
    see(
        "tgkill of nobody",
        call(
            libc::SYS_tgkill,
            &[u64::from(pid().unsigned_abs()), 3_999_999, 0],
        ),
    );
    see("tgkill 0 0", call(libc::SYS_tgkill, &[0, 0, 0]));
    see("stop and go", {
        let asleep = sleeper();
        let stopped = (
            asleep.signal(libc::SIGSTOP),
            wait(asleep.0, libc::WUNTRACED).map(|row| row.1),
        );
        let gone_on = (
            asleep.signal(libc::SIGCONT),
            wait(asleep.0, libc::WCONTINUED).map(|row| row.1),
        );
        (
            stopped,
            gone_on,
            asleep.signal(libc::SIGKILL),
            asleep.wait(),
        )
    });
}

fn exec() {
    // What an exec keeps: ignored signals and the mask; handlers become defaults.
    see(
        "exec",
        child(|| {
            for signal in [libc::SIGUSR1, libc::SIGSYS, libc::SIGHUP] {
                let _ = handle(signal, Act::Ignore, 0);
            }
            let _ = handle(libc::SIGUSR2, Act::Plain(count), 0);
            let _ = mask(
                libc::SIG_SETMASK,
                &only(&[libc::SIGTERM, libc::SIGUSR2, libc::SIGSYS]),
            );
            let name = c"/proc/self/exe";
            let argv = [text(name), text(c"inherited"), 0];
            let _ = call(libc::SYS_execve, &[text(name), from(&argv), 0]);
            9
        })
        .wait(),
    );
}

/// What a program finds at its start.
fn inherited() {
    see(
        "mask",
        list(&mask(libc::SIG_BLOCK, &none()).expect("a mask")),
    );
    for signal in [
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGSYS,
        libc::SIGHUP,
        libc::SIGSEGV,
    ] {
        // The library of this program takes SIGSEGV for itself where nobody ignores it.
        let found = handler_of(signal).map(|row| row.0.min(2));
        see("handler", (signal, found));
    }
}

fn timed_wait() {
    let set = only(&[libc::SIGUSR1, libc::SIGSYS, libc::SIGCHLD]);
    mask(libc::SIG_BLOCK, &set).expect("a mask");
    let zero = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let take = |info: &mut libc::siginfo_t, time: u64| {
        call(libc::SYS_rt_sigtimedwait, &[from(&set), out(info), time, 8])
    };
    // SAFETY: zeros are a valid block.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    see("nothing", take(&mut info, from(&zero)));
    let _ = kill(pid(), libc::SIGUSR1);
    // SAFETY: a block of kill(2) has the member.
    see(
        "SIGUSR1",
        (
            take(&mut info, 0),
            info.si_signo,
            info.si_code,
            unsafe { info.si_pid() } == pid(),
        ),
    );
    let _ = kill(pid(), libc::SIGSYS);
    see("SIGSYS", (take(&mut info, from(&zero)), info.si_signo));
    let ends = child(|| 4);
    // SAFETY: a SIGCHLD block has these members.
    see(
        "SIGCHLD",
        (
            take(&mut info, 0),
            info.si_code,
            unsafe { info.si_pid() } == ends.0,
            unsafe { info.si_status() },
        ),
    );
    see("wait", ends.wait());
    see(
        "bad set",
        call(libc::SYS_rt_sigtimedwait, &[8, 0, from(&zero), 8]),
    );
    // SAFETY: takes numbers and a set.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) };
    if fd >= 0 {
        let _ = kill(pid(), libc::SIGUSR1);
        let mut block = [0_u32; 32];
        see(
            "signalfd",
            call(
                libc::SYS_read,
                &[u64::from(fd.unsigned_abs()), out(&mut block), 128],
            ),
        );
        // Its ssi_pid is the host's: nothing translates what read(2) brings.
        see("signalfd's signal", block[0]);
    }
    mask(libc::SIG_SETMASK, &none()).expect("a mask");
}

fn default_actions() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit lives until the call returns.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    for signal in (1..32)
        .filter(|s| ![libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(s))
    {
        see(
            "default of",
            (
                signal,
                child(|| kill(pid(), signal).map_or(1, |()| 7)).wait(),
            ),
        );
        see(
            "after a handler and back",
            child(|| {
                let _ = handle(signal, Act::Plain(count), 0);
                let _ = handle(signal, Act::Default, 0);
                kill(pid(), signal).map_or(1, |()| 7)
            })
            .wait(),
        );
    }
}
