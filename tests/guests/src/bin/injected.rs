//! A guest whose calls are made to fail: it prints what they gave.
//!
//! `injected opens N`, `pids N`, `reads`, `writes`, `signals`, `waits`, `slow`, `forks`: see there. All
//! work in the current directory.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "plain system calls on memory of our own"
)]

use picozone_guests::signals::{Act, handle};
use picozone_guests::{Errno, Result, call, child};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::Instant;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let number = |word: &str| word.parse().expect("a number");
    match words.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["opens", count] => (0..number(count)).for_each(|_| opens()),
        ["pids", count] => (0..number(count)).for_each(|_| told("getppid", getppid())),
        ["reads"] => reads(),
        ["writes"] => writes(),
        ["signals"] => signals(),
        ["waits"] => waits(),
        ["slow"] => slow(),
        ["forks"] => forks(),
        _ => panic!("usage: injected SECTION"),
    }
}

fn told(name: &str, result: Result<u64>) {
    match result {
        Ok(_) => println!("{name} ok"),
        Err(errno) => println!("{name} {errno:?}"),
    }
}

/// By a call site of libc's, which zones rewrite.
fn getppid() -> Result<u64> {
    let result = unsafe { libc::syscall(libc::SYS_getppid) };
    u64::try_from(result).map_err(|_| Errno::last())
}

/// Two files by turns, of which one has a name that rules ask for.
fn opens() {
    for name in [c"d/a.conf", c"d/a.text"] {
        let path = name.as_ptr() as u64;
        let got = call(libc::SYS_openat, &[at_cwd(), path, 0, 0]);
        if let Ok(fd) = got {
            call(libc::SYS_close, &[fd]).expect("it is open");
        }
        told(name.to_str().expect("text"), got);
    }
}

fn at_cwd() -> u64 {
    i64::from(libc::AT_FDCWD).cast_unsigned()
}

/// Eight bytes at once, as often as it takes.
fn reads() {
    let (path, mut room) = (c"d/a.text".as_ptr() as u64, [0u8; 8]);
    let fd = call(libc::SYS_openat, &[at_cwd(), path, 0, 0]).expect("a file");
    loop {
        match call(libc::SYS_read, &[fd, room.as_mut_ptr() as u64, 8]) {
            Ok(0) => break,
            Ok(got) => println!("read {got}"),
            Err(errno) => println!("read {errno:?}"),
        }
    }
}

fn writes() {
    let path = c"d/new".as_ptr() as u64;
    let flags = u64::from((libc::O_WRONLY | libc::O_CREAT).cast_unsigned());
    let fd = call(libc::SYS_openat, &[at_cwd(), path, flags, 0o644]).expect("a file");
    for _ in 0..4 {
        match call(libc::SYS_write, &[fd, c"abcdef".as_ptr() as u64, 6]) {
            Ok(count) => println!("write {count}"),
            Err(errno) => println!("write {errno:?}"),
        }
    }
    println!("fsync {:?}", call(libc::SYS_fsync, &[fd]));
}

static SEEN: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_signal(_signal: i32) {
    SEEN.fetch_add(1, Relaxed);
}

/// Signals that arrive have been served when the call has returned, with the call's own result.
fn signals() {
    handle(libc::SIGUSR1, Act::Plain(on_signal), 0).expect("a handler");
    let parent = std::os::unix::process::parent_id();
    for _ in 0..2 {
        for asked in [getppid(), call(libc::SYS_getppid, &[])] {
            let is_right = asked == Ok(parent.into());
            println!("{is_right} {}", SEEN.load(Relaxed));
        }
    }
}

/// Children are waited for while signals interrupt: a wait that is begun again is one call.
fn waits() {
    handle(libc::SIGUSR1, Act::Plain(on_signal), libc::SA_RESTART).expect("a handler");
    for _ in 0..3 {
        let parent = unsafe { libc::getpid() };
        let one = child(|| {
            for _ in 0..20 {
                unsafe { libc::kill(parent, libc::SIGUSR1) };
                std::thread::yield_now();
            }
            0
        });
        let got = unsafe { libc::waitpid(one.0, std::ptr::null_mut(), 0) };
        let got = u64::try_from(got).map_err(|_| Errno::last());
        told("wait4", got);
        if got.is_err() {
            let own = u64::try_from(one.0).expect("a pid");
            while call(libc::SYS_waitid, &[1, own, 0, 4, 0]) == Err(Errno::EINTR) {}
        }
    }
}

/// How long the second of three calls took.
fn slow() {
    for _ in 0..3 {
        let start = Instant::now();
        let got = getppid();
        let is_slow = start.elapsed().as_millis() >= 200;
        told(if is_slow { "slow" } else { "quick" }, got);
    }
}

/// What is sent after a fork is sent to who forks.
fn forks() {
    handle(libc::SIGUSR1, Act::Plain(on_signal), 0).expect("a handler");
    for _ in 0..3 {
        let forked = unsafe { libc::fork() };
        if forked == 0 {
            unsafe { libc::_exit(SEEN.load(Relaxed)) };
        }
        let mut status = 0;
        if forked > 0 {
            unsafe { libc::waitpid(forked, &raw mut status, 0) };
        }
        println!("{} {status} {}", forked > 0, SEEN.load(Relaxed));
    }
}
