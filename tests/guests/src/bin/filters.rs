//! seccomp(2): filters that a program puts on itself.

use picozone_guests::{Errno, NOWHERE, Result, call, child, from, out, sections, see};
use std::fs;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::channel;

fn main() {
    // For the section that executes this program.
    if std::env::args().nth(1).as_deref() == Some("executed") {
        see(
            "after an exec",
            (ask(libc::SYS_getppid), ask(libc::SYS_times)),
        );
        return see("told", (shown(), mode()));
    }
    sections(&[
        ("answers", answers),
        ("signals", signals),
        ("ends", ends),
        ("strict", strict),
        ("several", several),
        ("arguments", arguments),
        ("inherited", inherited),
        ("threads", threads),
        ("refused", refused),
        ("powers", powers),
    ]);
}

const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const TRACE: u32 = 0x7ff0_0000;
const ERRNO: u32 = 0x5_0000;
const TRAP: u32 = 0x3_0000;
const KILL_THREAD: u32 = 0;
const KILL: u32 = 0x8000_0000;
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

type Insn = libc::sock_filter;

const fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
    Insn { code, jt, jf, k }
}

/// What is to become of some calls; all others are allowed.
fn rules(rows: &[(i64, u32)]) -> Vec<Insn> {
    let mut program = vec![insn(LOAD, 0, 0, 0)];
    for (nr, action) in rows {
        program.push(insn(EQUAL, 0, 1, u32::try_from(*nr).expect("a number")));
        program.push(insn(RETURN, 0, 0, *action));
    }
    program.push(insn(RETURN, 0, 0, ALLOW));
    program
}

fn seccomp(operation: u64, flags: u64, program: &mut [Insn]) -> Result<u64> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("short"),
        filter: program.as_mut_ptr(),
    };
    call(libc::SYS_seccomp, &[operation, flags, from(&program)])
}

fn put_on(rows: &[(i64, u32)]) -> Result<u64> {
    call(libc::SYS_prctl, &[38, 1, 0, 0, 0]).expect("PR_SET_NO_NEW_PRIVS");
    seccomp(1, 0, &mut rules(rows))
}

/// A call without arguments that matter, by the library and by the instruction itself.
fn ask(nr: i64) -> [Result<bool>; 2] {
    // SAFETY: none of these calls takes an address.
    let library = unsafe { libc::syscall(nr, 0, 0, 0) };
    let library = if library == -1 {
        Err(Errno::last())
    } else {
        Ok(library > 0)
    };
    [library, call(nr, &[0; 3]).map(|value| value > 0)]
}

fn mode() -> Result<u64> {
    call(libc::SYS_prctl, &[21, 0, 0, 0, 0])
}

/// What /proc says.
fn shown() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").expect("it is there");
    let lines = status.lines().filter(|line| line.starts_with("Seccomp"));
    lines.map(str::to_owned).collect()
}

/// Runs something in a child, since a filter stays.
fn apart(name: &str, body: impl FnOnce()) {
    let done = child(|| {
        body();
        0
    });
    see(name, done.wait());
}

fn answers() {
    see("before", (mode(), shown()));
    let errno = |number: i32| ERRNO | number.cast_unsigned();
    apart("calls of all kinds", || {
        let rows = [
            (libc::SYS_getpid, errno(libc::EPERM)),
            (libc::SYS_getppid, errno(0)),
            (libc::SYS_getuid, errno(5000)),
            (libc::SYS_times, errno(libc::EDOM)),
            (libc::SYS_vserver, errno(libc::EXDEV)),
            (libc::SYS_uname, LOG),
            (libc::SYS_getgid, TRACE),
        ];
        see("put on", put_on(&rows));
        for (nr, _) in rows {
            see("asked", (nr, ask(nr)));
        }
        see("not asked", (ask(libc::SYS_gettid), ask(libc::SYS_getpgrp)));
        see("told", (mode(), shown()));
    });
    apart("an open", || {
        let rows = [
            (libc::SYS_openat, errno(libc::ENOTTY)),
            (libc::SYS_open, errno(libc::ENOSPC)),
        ];
        see("put on", put_on(&rows));
        see(
            "openat",
            fs::File::open("/etc/passwd")
                .map(drop)
                .map_err(|e| e.raw_os_error()),
        );
        let path = c"/etc/passwd".as_ptr() as u64;
        see("open", call(libc::SYS_open, &[path, 0, 0]));
        see("stat", fs::metadata("/etc/passwd").is_ok());
    });
}

static SEEN: [AtomicI64; 5] = [const { AtomicI64::new(0) }; 5];
static PLACE: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_sys(signal: i32, info: *const [i32; 32], _: *mut libc::c_void) {
    // SAFETY: the kernel gives a siginfo_t, which is as large.
    let info = unsafe { &*info };
    let words = [signal, info[1], info[2], info[6], info[7]];
    for (seen, word) in SEEN.iter().zip(words) {
        seen.store(word.into(), Relaxed);
    }
    PLACE.store(
        (u64::from(info[5].cast_unsigned()) << 32) | u64::from(info[4].cast_unsigned()),
        Relaxed,
    );
}

fn handle(flags: i32) {
    // SAFETY: all zeroes are a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sys as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | flags;
    // SAFETY: the handler does nothing but store numbers.
    unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
}

fn seen() -> (Vec<i64>, bool) {
    let words = SEEN.iter().map(|word| word.swap(0, Relaxed)).collect();
    let near = PLACE.load(Relaxed).abs_diff(call as *const () as u64);
    (words, near < 1 << 20)
}

fn signals() {
    apart("handled", || {
        handle(0);
        let rows = [
            (libc::SYS_getpid, TRAP | 7),
            (libc::SYS_times, TRAP | 0xffff),
            (libc::SYS_vserver, TRAP),
        ];
        see("put on", put_on(&rows));
        for (nr, _) in rows {
            see("result", call(nr, &[0; 3]));
            see("seen", seen());
        }
        see("others go on", call(libc::SYS_getppid, &[]).is_ok());
    });
    for nr in [libc::SYS_getpid, libc::SYS_times] {
        apart("not handled", || {
            see("put on", put_on(&[(nr, TRAP)]));
            see("not ended", call(nr, &[0]));
        });
        apart("blocked", || {
            handle(0);
            let mask = 1_u64 << 30;
            call(libc::SYS_rt_sigprocmask, &[0, from(&mask), 0, 8]).expect("it can be");
            see("put on", put_on(&[(nr, TRAP)]));
            see("not ended", call(nr, &[0]));
        });
        apart("ignored", || {
            // SAFETY: takes numbers.
            unsafe { libc::signal(libc::SIGSYS, libc::SIG_IGN) };
            see("put on", put_on(&[(nr, TRAP)]));
            see("not ended", call(nr, &[0]));
        });
    }
    apart("sent by somebody", || {
        handle(0);
        see("put on", put_on(&[(libc::SYS_getpid, TRAP | 1)]));
        // SAFETY: takes a number.
        unsafe { libc::raise(libc::SIGSYS) };
        see("seen", seen().0[..3].to_vec());
    });
}

fn ends() {
    for action in [KILL, KILL_THREAD] {
        for nr in [libc::SYS_getpid, libc::SYS_times, libc::SYS_vserver] {
            apart("ended", || {
                see("put on", put_on(&[(nr, action)]));
                see("not ended", call(nr, &[0]));
            });
        }
    }
}

fn strict() {
    for nr in [libc::SYS_getpid, libc::SYS_times, libc::SYS_exit_group] {
        apart("ended", || {
            call(libc::SYS_prctl, &[22, 1, 0, 0, 0]).expect("PR_SET_SECCOMP");
            see("it writes", ());
            let _ = call(nr, &[0]);
            see("not ended", ());
        });
    }
    let fine = child(|| {
        let set = call(libc::SYS_seccomp, &[0, 0, 0]);
        see("by seccomp(2)", set);
        let _ = call(libc::SYS_exit, &[5]);
        0
    });
    see("its exit", fine.wait());
    apart("after a filter", || {
        see("put on", put_on(&[]));
        see("too late", call(libc::SYS_prctl, &[22, 1, 0, 0, 0]));
    });
}

fn several() {
    apart("the least counts", || {
        let (a, b) = (libc::SYS_getppid, libc::SYS_times);
        see("first", put_on(&[(a, ERRNO | 1), (b, ERRNO | 1)]));
        see("second", put_on(&[(a, ERRNO | 2), (b, LOG)]));
        see("answers", (ask(a), ask(b), shown()));
        handle(0);
        see("third", put_on(&[(a, TRAP | 3)]));
        see("trapped", (call(a, &[]).is_ok(), seen().0));
        see("fourth", put_on(&[(a, ALLOW), (b, KILL)]));
        see("trapped still", (call(a, &[]).is_ok(), seen().0));
        see("not ended", call(b, &[0]));
    });
}

fn arguments() {
    apart("judged", || {
        const FIRST: u32 = 16;
        let prctl = u32::try_from(libc::SYS_prctl).expect("a number");
        let mut program = [
            insn(LOAD, 0, 0, 4),
            insn(EQUAL, 1, 0, 0xc000_003e),
            insn(RETURN, 0, 0, KILL),
            insn(LOAD, 0, 0, 0),
            insn(EQUAL, 0, 5, u32::try_from(libc::SYS_dup).expect("a number")),
            insn(LOAD, 0, 0, FIRST + 4),
            insn(EQUAL, 0, 2, 7),
            insn(LOAD, 0, 0, FIRST),
            insn(EQUAL, 4, 0, 77),
            insn(RETURN, 0, 0, ALLOW),
            insn(EQUAL, 0, 3, prctl),
            insn(LOAD, 0, 0, FIRST),
            insn(EQUAL, 0, 1, 3),
            insn(RETURN, 0, 0, ERRNO | 9),
            insn(RETURN, 0, 0, ALLOW),
        ];
        call(libc::SYS_prctl, &[38, 1, 0, 0, 0]).expect("PR_SET_NO_NEW_PRIVS");
        see("put on", seccomp(1, 0, &mut program));
        see(
            "high word",
            (
                call(libc::SYS_dup, &[77]),
                call(libc::SYS_dup, &[7 << 32 | 77]),
            ),
        );
        let asked = [3, 1, 39].map(|option| call(libc::SYS_prctl, &[option, 0, 0, 0, 0]).is_ok());
        see("served", asked);
    });
    apart("a program that counts on beginning with 0", || {
        call(libc::SYS_prctl, &[38, 1, 0, 0, 0]).expect("PR_SET_NO_NEW_PRIVS");
        // BPF_ALU | BPF_ADD, BPF_RET | BPF_A.
        let mut program = [insn(0x04, 0, 0, ALLOW), insn(0x16, 0, 0, 0)];
        see("put on", seccomp(1, 0, &mut program));
        see(
            "allowed",
            (
                call(libc::SYS_getppid, &[]).is_ok(),
                call(libc::SYS_times, &[0]).is_ok(),
            ),
        );
    });
}

fn inherited() {
    apart("over a fork and an exec", || {
        see(
            "put on",
            put_on(&[(libc::SYS_getppid, ERRNO | 3), (libc::SYS_times, ERRNO | 4)]),
        );
        let forked = child(|| {
            see(
                "forked",
                (ask(libc::SYS_getppid), ask(libc::SYS_times), shown()),
            );
            0
        });
        see("done", forked.wait());
        let other = child(|| {
            let path = picozone_guests::work().join("guest");
            let path = picozone_guests::name(path.to_str().expect("text"));
            let arguments = [path.as_ptr(), c"executed".as_ptr(), std::ptr::null()];
            // SAFETY: the strings live.
            unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) }
        });
        see("executed", other.wait());
    });
}

fn threads() {
    const TSYNC: u64 = 1;
    apart("its own only, then of all", || {
        call(libc::SYS_prctl, &[38, 1, 0, 0, 0]).expect("PR_SET_NO_NEW_PRIVS");
        let (tell, told) = channel::<()>();
        let (answer, answers) = channel();
        let other = std::thread::spawn(move || {
            while told.recv().is_ok() {
                let seen = (ask(libc::SYS_getppid), ask(libc::SYS_times), mode());
                answer.send(seen).expect("somebody hears");
            }
        });
        see("put on", put_on(&[(libc::SYS_getppid, ERRNO | 3)]));
        see("here", ask(libc::SYS_getppid));
        tell.send(()).expect("it hears");
        see("there", answers.recv());
        let later = std::thread::spawn(|| (ask(libc::SYS_getppid), mode()));
        see("in a later one", later.join().ok());
        see(
            "of all",
            seccomp(1, TSYNC, &mut rules(&[(libc::SYS_times, ERRNO | 6)])),
        );
        tell.send(()).expect("it hears");
        see("there", answers.recv());
        drop(tell);
        see("ended", other.join().is_ok());
    });
}

fn refused() {
    apart("all", || {
        call(libc::SYS_prctl, &[38, 1, 0, 0, 0]).expect("PR_SET_NO_NEW_PRIVS");
        let fine = insn(RETURN, 0, 0, ALLOW);
        see("empty", seccomp(1, 0, &mut []));
        see("too long", seccomp(1, 0, &mut vec![fine; 4097]));
        see("no end", seccomp(1, 0, &mut [insn(LOAD, 0, 0, 0)]));
        see(
            "out of it",
            seccomp(1, 0, &mut [insn(EQUAL, 9, 9, 0), fine]),
        );
        see(
            "beyond the call",
            seccomp(1, 0, &mut [insn(LOAD, 0, 0, 64), fine]),
        );
        see("unaligned", seccomp(1, 0, &mut [insn(LOAD, 0, 0, 2), fine]));
        see(
            "no such instruction",
            seccomp(1, 0, &mut [insn(0x28, 0, 0, 0), fine]),
        );
        see("no program", call(libc::SYS_seccomp, &[1, 0, NOWHERE]));
        let far = [1_u64, NOWHERE];
        see(
            "no instructions",
            call(libc::SYS_seccomp, &[1, 0, from(&far)]),
        );
        for flags in [1 << 6, 1 << 31, 1 << 5, 1 | 1 << 3] {
            see("flags", (flags, seccomp(1, flags, &mut [fine])));
        }
        for flags in [1 << 3, 1 << 5, 0x1e] {
            let nowhere = call(libc::SYS_seccomp, &[1, flags, NOWHERE]);
            see(
                "nothing for a listener",
                (flags, nowhere, seccomp(1, flags, &mut [])),
            );
        }
        for operation in [4, 99] {
            see("operation", call(libc::SYS_seccomp, &[operation, 0, 0]));
        }
        see("strict with flags", call(libc::SYS_seccomp, &[0, 1, 0]));
        see(
            "strict with a program",
            call(libc::SYS_seccomp, &[0, 0, from(&far)]),
        );
        see("mode", call(libc::SYS_prctl, &[22, 3, 0, 0, 0]));
        for mut action in [KILL, KILL_THREAD, TRAP, ERRNO, TRACE, LOG, ALLOW, 0x1234, 1] {
            see(
                "available",
                (action, call(libc::SYS_seccomp, &[2, 0, out(&mut action)])),
            );
        }
        see(
            "available nowhere",
            call(libc::SYS_seccomp, &[2, 0, NOWHERE]),
        );
        see("nothing is on", (mode(), shown()));
    });
}

/// Without `no_new_privs` it takes a capability.
fn powers() {
    apart("as root", || see("root", seccomp(1, 0, &mut rules(&[]))));
    apart("as another", || {
        call(libc::SYS_setresuid, &[1, 1, 1]).expect("as root");
        see("other", seccomp(1, 0, &mut rules(&[])));
        see("with it", put_on(&[(libc::SYS_getppid, ERRNO | 3)]));
        see("asked", ask(libc::SYS_getppid));
    });
}
