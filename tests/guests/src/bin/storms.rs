//! Storms of signals: none is lost, none shows in a result, none changes a mask.
//!
//! Calls are made by the library, whose call sites a zone may have rewritten, and by the instruction
//! itself. Timers run at intervals that are prime, so that signals arrive at all places in time.

use picozone_guests::children::{End, exit, kill, pipe};
use picozone_guests::signals::{
    Act, Alarms, all, all_but, count, handle, handle_masked, list, mask, none, only, pending,
};
use picozone_guests::{Errno, call, child, from, libc_result, out, sections, see};
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};

fn main() {
    sections(&[
        ("restarts", || restarts(INTERVALS)),
        ("restarts_slowly", || restarts(INTERVALS.map(slower))),
        ("queue", queue),
        ("children", children),
        ("masks", masks),
        ("faults", faults),
        ("flood", flood),
        ("waits", waits),
        ("programs", || programs(INTERVALS)),
        ("programs_slowly", || programs(INTERVALS.map(slower))),
        ("started", || ()),
    ]);
}

/// Intervals of timers, in microseconds.
const INTERVALS: [i64; 3] = [97, 211, 1009];

/// For zones whose calls take as long as the shortest interval.
fn slower(interval: i64) -> i64 {
    23 * interval
}

fn pid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

/// A few calls of all kinds, each with the result that it must have; how many had another.
fn calls() -> i32 {
    let name = c"/etc/passwd";
    let mut wrong = 0;
    let mut expect = |is_right: bool| wrong += i32::from(!is_right);
    // SAFETY: takes nothing.
    let parent = unsafe { libc::getppid() };
    expect(call(libc::SYS_getppid, &[]) == Ok(u64::from(parent.unsigned_abs())));
    // SAFETY: the name is a string.
    let fd = unsafe { libc::open(name.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    expect(fd > 2);
    // SAFETY: the descriptor is ours.
    expect(unsafe { libc::close(fd) } == 0);
    // SAFETY: zeros are a valid stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: name and place live until the call returns.
    expect(unsafe { libc::stat(name.as_ptr(), &raw mut stat) } == 0 && stat.st_size > 0);
    // SAFETY: the name is a string.
    expect(unsafe { libc::access(c"/no/such".as_ptr(), libc::R_OK) } == -1);
    expect(Errno::last() == Errno::ENOENT);
    expect(kill(pid(), 0) == Ok(()));
    expect(kill(3_999_999, 0) == Err(Errno::ESRCH));
    // SAFETY: takes numbers.
    expect(unsafe { libc::getpgid(0) } > 0);
    wrong
}

/// Calls that wait begin again after a handler with `SA_RESTART`.
fn restarts(intervals: [i64; 3]) {
    handle(libc::SIGALRM, Act::Plain(count), libc::SA_RESTART).expect("a handler");
    handle(libc::SIGCHLD, Act::Plain(count), libc::SA_RESTART).expect("a handler");
    for interval in intervals {
        let mut wrong = [0; 5];
        for round in 0..40 {
            let told = pipe().expect("a pipe");
            let name = c"fifo";
            // SAFETY: the name is a string.
            unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
            let ends = child(|| {
                told.hear();
                let brief = std::time::Duration::from_micros(300 + 37 * round);
                std::thread::sleep(brief);
                told.tell();
                std::thread::sleep(brief);
                // The parent opens the other end.
                let opened = std::fs::OpenOptions::new().write(true).open("fifo");
                std::thread::sleep(brief);
                drop(opened);
                i32::try_from(round).unwrap_or(0)
            });
            told.tell();
            let storm = Alarms::every(interval);
            let mut byte = 0_u8;
            let fd = told.read.as_raw_fd();
            // The child may not have taken its own byte yet: then it waits for this one.
            // SAFETY: `byte` has room for one.
            wrong[0] += i32::from(unsafe { libc::read(fd, (&raw mut byte).cast(), 1) } != 1);
            if byte != b'x' {
                wrong[1] += 1;
            }
            told.tell();
            let opened = File::open("fifo");
            wrong[2] += i32::from(opened.is_err());
            let rest = opened.map_or(9, |mut end| end.read(&mut [0]).unwrap_or(9));
            wrong[3] += i32::try_from(rest).unwrap_or(9);
            let mut status = 0;
            let found = if round % 2 == 0 {
                // SAFETY: `status` lives until the call returns.
                libc_result(unsafe { libc::waitpid(ends.0, &raw mut status, 0) })
            } else {
                let id = u64::from(ends.0.unsigned_abs());
                call(libc::SYS_wait4, &[id, out(&mut status), 0, 0]).map(u64::cast_signed)
            };
            drop(storm);
            let round = i32::try_from(round).unwrap_or(0);
            let is_right =
                found == Ok(i64::from(ends.0)) && End::from(status) == End::Exited(round);
            wrong[4] += i32::from(!is_right);
            // SAFETY: the name is a string.
            unsafe { libc::unlink(name.as_ptr()) };
        }
        see("read, byte, open, end, wait", (interval, wrong));
    }
}

static NEXT: AtomicI32 = AtomicI32::new(0);
static DISORDER: AtomicI32 = AtomicI32::new(0);

/// Takes the numbers that come with real-time signals: all, and in order.
extern "C" fn take(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives the handler an information block.
    let info = unsafe { &*info };
    // SAFETY: sigqueue(3) gave it this member.
    let value = unsafe { info.si_value() };
    let expected = NEXT.fetch_add(1, SeqCst);
    if value.sival_ptr as usize != usize::try_from(expected).unwrap_or(0) {
        DISORDER.fetch_add(1, SeqCst);
    }
}

/// Signals that queue: each arrives once, in order, whatever the receiver does meanwhile.
fn queue() {
    const COUNT: usize = 300;
    let signal = libc::SIGRTMIN() + 1;
    handle(signal, Act::Info(take), libc::SA_RESTART).expect("a handler");
    let to = pid();
    let sends = child(|| {
        for number in 0..COUNT {
            let value = libc::sigval {
                sival_ptr: number as *mut _,
            };
            // SAFETY: the value is not looked at.
            while unsafe { libc::sigqueue(to, signal, value) } == -1 {
                std::thread::yield_now();
            }
        }
        0
    });
    let (mut wrong, mut lost) = (0, 0);
    for round in 0_u64.. {
        wrong += calls();
        if round % 3 == 0 {
            let before = mask(libc::SIG_BLOCK, &only(&[signal])).expect("a mask");
            wrong += calls();
            let seen = NEXT.load(SeqCst);
            wrong += calls();
            // Nothing comes while it is blocked.
            lost += i32::from(NEXT.load(SeqCst) != seen);
            mask(libc::SIG_SETMASK, &before).expect("a mask");
        }
        if usize::try_from(NEXT.load(SeqCst)).unwrap_or(0) >= COUNT {
            break;
        }
    }
    see("sender", sends.wait());
    see("wrong results, in spite of a mask", (wrong, lost));
    see("received", (NEXT.load(SeqCst), DISORDER.load(SeqCst)));
}

static REAPED: AtomicI32 = AtomicI32::new(0);
static STATUSES: AtomicU64 = AtomicU64::new(0);

/// Takes every child that has ended.
extern "C" fn reap(_: i32) {
    let errno = Errno::last();
    loop {
        let mut status = 0;
        // SAFETY: `status` lives until the call returns.
        if unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } <= 0 {
            break;
        }
        REAPED.fetch_add(1, SeqCst);
        STATUSES.fetch_add(u64::from(libc::WEXITSTATUS(status).unsigned_abs()), SeqCst);
    }
    errno.set();
}

/// Many children that end at once are all taken by a handler, under a timer.
fn children() {
    handle(libc::SIGCHLD, Act::Plain(reap), libc::SA_RESTART).expect("a handler");
    handle(libc::SIGALRM, Act::Plain(count), libc::SA_RESTART).expect("a handler");
    let before = mask(libc::SIG_BLOCK, &only(&[libc::SIGCHLD])).expect("a mask");
    for interval in INTERVALS {
        REAPED.store(0, SeqCst);
        STATUSES.store(0, SeqCst);
        let storm = Alarms::every(interval);
        for status in 0..60 {
            child(|| status);
            if status % 7 == 0 {
                mask(libc::SIG_UNBLOCK, &only(&[libc::SIGCHLD])).expect("a mask");
                mask(libc::SIG_BLOCK, &only(&[libc::SIGCHLD])).expect("a mask");
            }
        }
        let mut wrong = 0;
        while REAPED.load(SeqCst) < 60 {
            // SAFETY: the set lives until the call returns.
            let result = unsafe { libc::sigsuspend(&raw const before) };
            wrong += i32::from(libc_result(result) != Err(Errno::EINTR));
        }
        drop(storm);
        see(
            "reaped",
            (
                interval,
                REAPED.load(SeqCst),
                STATUSES.load(SeqCst),
                wrong,
                picozone_guests::children::wait(-1, libc::WNOHANG),
            ),
        );
    }
    mask(libc::SIG_SETMASK, &before).expect("a mask");
}

static EXPECTED: AtomicU64 = AtomicU64::new(0);
static OTHER_MASKS: AtomicI32 = AtomicI32::new(0);

fn bits(set: &libc::sigset_t) -> u64 {
    list(set)
        .iter()
        .fold(0, |bits, signal| bits | 1 << (signal - 1))
}

/// Compares the mask in the handler.
extern "C" fn look(_: i32) {
    let errno = Errno::last();
    let now = mask(libc::SIG_BLOCK, &none()).expect("a mask");
    let expected = EXPECTED.load(SeqCst) | bits(&only(&[libc::SIGALRM, libc::SIGHUP]));
    if bits(&now) != expected {
        OTHER_MASKS.fetch_add(1, SeqCst);
    }
    errno.set();
}

/// The mask in handlers and after calls that wait under one of their own.
fn masks() {
    handle_masked(
        libc::SIGALRM,
        Act::Plain(look),
        libc::SA_RESTART,
        &only(&[libc::SIGHUP]),
    )
    .expect("a handler");
    let rest = [libc::SIGUSR1, libc::SIGSEGV];
    mask(libc::SIG_SETMASK, &only(&rest)).expect("a mask");
    EXPECTED.store(bits(&only(&rest)), SeqCst);
    let is_kept = || bits(&mask(libc::SIG_BLOCK, &none()).expect("a mask")) == bits(&only(&rest));
    let held = pipe().expect("a pipe");
    held.tell();
    let zero = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let brief = libc::timespec {
        tv_sec: 0,
        tv_nsec: 150_000,
    };
    for interval in INTERVALS {
        let storm = Alarms::every(interval);
        let mut wrong = [0; 4];
        for _ in 0..150 {
            wrong[0] += calls();
            // Ready at once: the mask of the wait must not stay for a handler.
            let mut ready = libc::pollfd {
                fd: held.read.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: all of it lives until the call returns.
            let count = unsafe { libc::ppoll(&raw mut ready, 1, &raw const zero, &none()) };
            wrong[1] += i32::from(count != 1 && Errno::last() != Errno::EINTR);
            wrong[2] += i32::from(!is_kept());
            // SAFETY: all of it lives until the call returns.
            let none_ready =
                unsafe { libc::ppoll(null_mut(), 0, &raw const brief, &all_but(&[libc::SIGALRM])) };
            if none_ready == -1 {
                wrong[1] += i32::from(Errno::last() != Errno::EINTR);
            }
            wrong[3] += i32::from(!is_kept());
        }
        drop(storm);
        // The wait's own mask holds in a handler that ends it.
        see("calls, polls, masks", (interval, wrong));
    }
    see(
        "mask in handlers",
        OTHER_MASKS.swap(0, SeqCst) > 0 && {
            // Without waits of their own, always the same.
            let storm = Alarms::every(97);
            for _ in 0..300 {
                calls();
            }
            drop(storm);
            OTHER_MASKS.load(SeqCst) == 0
        },
    );
}

static GOT: [AtomicI32; 65] = [const { AtomicI32::new(0) }; 65];

extern "C" fn got(signal: i32) {
    GOT[usize::try_from(signal).unwrap_or(0)].fetch_add(1, SeqCst);
    let _ = call(libc::SYS_getppid, &[]);
}

/// Numbers of faults that somebody sends, and all others: blocked, they wait, one of each.
fn faults() {
    // Without those of which one undoes the other.
    const OTHERS: [i32; 7] = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    let caught: Vec<i32> = (1..32).filter(|signal| !OTHERS.contains(signal)).collect();
    for &signal in &caught {
        handle(signal, Act::Plain(got), libc::SA_RESTART).expect("a handler");
    }
    let to = pid();
    let before = mask(libc::SIG_BLOCK, &all()).expect("a mask");
    let sends = child(|| {
        for _ in 0..20 {
            for &signal in &caught {
                let _ = kill(to, signal);
            }
        }
        0
    });
    let mut wrong = 0;
    let end = sends.wait();
    for _ in 0..50 {
        wrong += calls();
    }
    see("blocked", (end, wrong, pending()));
    let hits = || -> Vec<i32> { GOT.iter().map(|number| number.swap(0, SeqCst)).collect() };
    see("none came", hits().iter().all(|&number| number == 0));
    for &signal in &caught {
        mask(libc::SIG_UNBLOCK, &only(&[signal])).expect("a mask");
        let now = hits();
        let is_one = now.iter().sum::<i32>() == 1;
        see(
            "unblocked",
            (signal, is_one, now[signal.unsigned_abs() as usize]),
        );
    }
    mask(libc::SIG_SETMASK, &before).expect("a mask");
    // And while calls are made: how many come is up to time, but something of each does.
    let sends = child(|| {
        for _ in 0..60 {
            for &signal in &caught {
                let _ = kill(to, signal);
            }
        }
        0
    });
    let mut wrong = 0;
    for _ in 0..300 {
        wrong += calls();
    }
    see("open", (sends.wait(), wrong));
    let now = hits();
    see(
        "each came",
        caught
            .iter()
            .all(|&signal| now[signal.unsigned_abs() as usize] > 0),
    );
}

/// More numbers of faults than can be served, from two senders: one is being looked at, and the next
/// is there already. What is there waits, and takes no stack.
fn flood() {
    const NUMBERS: [i32; 3] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGSYS];
    for signal in NUMBERS {
        handle(signal, Act::Plain(got), libc::SA_RESTART).expect("a handler");
    }
    let to = pid();
    let senders = [(); 2].map(|()| {
        child(|| {
            for _ in 0..4_000 {
                for signal in NUMBERS {
                    let _ = kill(to, signal);
                }
            }
            0
        })
    });
    let mut wrong = 0;
    for _ in 0..100 {
        wrong += calls();
    }
    see("flood", (senders.map(|sender| sender.wait()), wrong));
    see(
        "each came",
        NUMBERS.map(|signal| GOT[signal.unsigned_abs() as usize].load(SeqCst) > 0),
    );
}

/// Waits that a number of a fault ends, or does not.
fn waits() {
    const NUMBERS: [i32; 6] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGSYS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
    ];
    for signal in NUMBERS {
        handle(signal, Act::Plain(got), 0).expect("a handler");
    }
    mask(libc::SIG_BLOCK, &only(&NUMBERS)).expect("a mask");
    let long = libc::timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    let wait_for = |signal: i32| all_but(&[signal]);
    for signal in NUMBERS {
        let hits = || GOT[signal.unsigned_abs() as usize].swap(0, SeqCst);
        let _ = kill(pid(), signal);
        // SAFETY: the set lives until the call returns.
        let result = unsafe { libc::sigsuspend(&raw const *Box::leak(Box::new(wait_for(signal)))) };
        see("sigsuspend", (signal, libc_result(result), hits()));
        let _ = kill(pid(), signal);
        let set = wait_for(signal);
        // SAFETY: all of it lives until the call returns.
        let result = unsafe { libc::ppoll(null_mut(), 0, &raw const long, &raw const set) };
        see("ppoll", (libc_result(result), hits()));
        let _ = kill(pid(), signal);
        // SAFETY: zeros are a valid block.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let set = only(&[signal]);
        let taken = call(
            libc::SYS_rt_sigtimedwait,
            &[from(&set), out(&mut info), from(&long), 8],
        );
        // SAFETY: a block of kill(2) has the member.
        let sender = unsafe { info.si_pid() };
        see(
            "sigtimedwait",
            (taken, info.si_code, sender == pid(), hits()),
        );
        // Blocked, it ends no wait of others.
        let to = pid();
        let sends = child(|| {
            for _ in 0..20 {
                let _ = kill(to, signal);
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
            5
        });
        see("wait", (sends.wait(), hits(), pending()));
        mask(libc::SIG_UNBLOCK, &only(&[signal])).expect("a mask");
        see("unblocked", hits());
        mask(libc::SIG_BLOCK, &only(&[signal])).expect("a mask");
        // SAFETY: the set lives until the call returns.
        let result = {
            let sends = child(|| {
                std::thread::sleep(std::time::Duration::from_millis(3));
                kill(to, signal).map_or(1, |()| 0)
            });
            let set = wait_for(signal);
            // SAFETY: the set lives until the call returns.
            let result = unsafe { libc::sigsuspend(&raw const set) };
            (libc_result(result), hits(), sends.wait())
        };
        see("sent meanwhile", result);
    }
}

/// Programs start and end while signals come to parent and child.
fn programs(intervals: [i64; 3]) {
    handle(libc::SIGALRM, Act::Plain(count), libc::SA_RESTART).expect("a handler");
    handle(libc::SIGWINCH, Act::Plain(count), libc::SA_RESTART).expect("a handler");
    let name: &CStr = c"/proc/self/exe";
    for interval in intervals {
        let (mut wrong, mut ends) = (0, 0);
        for round in 0..15 {
            let storm = Alarms::every(interval);
            let told = pipe().expect("a pipe");
            let runs = child(|| {
                told.tell();
                let argv = [name.as_ptr() as u64, c"started".as_ptr() as u64, 0];
                // SAFETY: nothing is left open by it; output would differ in time.
                unsafe { libc::close(1) };
                // SAFETY: a descriptor for the program's output.
                unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY) };
                let _ = call(
                    libc::SYS_execve,
                    &[name.as_ptr() as u64, argv.as_ptr() as u64, 0],
                );
                9
            });
            told.hear();
            for _ in 0..20 {
                let _ = kill(runs.0, libc::SIGWINCH);
                wrong += calls();
            }
            let end = runs.wait();
            drop(storm);
            if end == Ok(End::Exited(0)) {
                ends += 1;
            } else {
                see("another end", (round, end));
            }
        }
        see("programs", (interval, wrong, ends));
    }
    exit(0);
}
