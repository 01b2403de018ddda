//! Runs one operation many times and prints the nanoseconds that each took.
//!
//! The same binary runs natively and in a zone: `bench-guest OPERATION COUNT`. What no zone can be
//! below, it shows with a word behind: see [`walls`]. With `bursts` behind, it makes bursts of so
//! many with pauses between them: see [`of_bursts`].

mod files;
mod network;
mod own;
mod plain;
mod walls;

use std::ffi::CStr;
use std::time::{Duration, Instant};

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(count)) = (args.next(), args.next().and_then(|n| n.parse().ok())) else {
        eprintln!("usage: bench-guest OPERATION COUNT");
        std::process::exit(2);
    };
    let operation: fn() = match name.as_str() {
        "null" => null,
        "getpid" => getpid,
        "read" => read,
        "write" => plain::write,
        "mmap+munmap" => plain::mmap,
        "epoll_wait" => plain::epoll_wait,
        "futex" => plain::futex,
        "getuid" => own::getuid,
        "gettid" => own::gettid,
        "uname" => own::uname,
        "open+close" => files::open_close,
        "stat" => files::stat,
        "stat of a missing file" => files::stat_missing,
        "access" => files::access,
        "readlink" => files::readlink,
        "getcwd" => files::getcwd,
        "chdir" => files::chdir,
        "fstat" => files::fstat,
        "dup+close" => files::dup_close,
        "fcntl" => files::fcntl,
        "mkdir+rmdir" => files::mkdir_rmdir,
        "create+unlink" => files::create_unlink,
        "sigaction" => own::sigaction,
        "sigprocmask" => own::sigprocmask,
        "kill to self" => own::kill_self,
        "thread create+join" => own::thread,
        "connect+accept+close" => network::connect_accept_close,
        "fork+wait" => fork_wait,
        "fork+exec+wait" => fork_exec_wait,
        _ => {
            eprintln!("there is no operation {name}");
            std::process::exit(2);
        }
    };
    let mut has_bursts = false;
    let operation = match args.next().as_deref() {
        None => operation,
        Some("bursts") => {
            has_bursts = true;
            operation
        }
        Some("filtered") => {
            walls::filter(&mut [walls::ALLOW]);
            operation
        }
        Some("looked-at") => {
            walls::filter(&mut walls::LOOKS.clone());
            operation
        }
        Some("walled") => {
            walls::landlock();
            walls::filter(&mut walls::LOOKS.clone());
            files::open_beneath_close
        }
        Some(other) => {
            eprintln!("there are no walls {other}");
            std::process::exit(2);
        }
    };
    let warm: u64 = count;
    for _ in 0..warm / 10 + 1 {
        operation();
    }
    let took = if has_bursts {
        of_bursts(operation, 0, count)
    } else if count >= CHEAP {
        let count = count / BURSTS as u64;
        of_bursts(operation, count / 4, count)
    } else {
        time(operation, count)
    };
    println!("{took:.1}");
}

/// From that many in one run on, operations are so cheap that all of them may fall into one speed of the
/// processor.
const CHEAP: u64 = 20_000;
const BURSTS: usize = 20;

/// Nanoseconds that each of so many operations takes.
fn time(operation: fn(), count: u64) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        operation();
    }
    start.elapsed().as_nanos() as f64 / count.max(1) as f64
}

/// The same in the quieter quarter of bursts: a machine that others share takes half as long again in most of
/// them, or in few. Who records the calls has read those of one before the next begins; the first two, which
/// find memory that was never touched, are left out. A pause leaves caches cold: so many operations before
/// each burst do not count.
fn of_bursts(operation: fn(), warm: u64, count: u64) -> f64 {
    const LEFT_OUT: usize = 2;
    const PAUSE: Duration = Duration::from_millis(10);
    let bursts = (0..LEFT_OUT + BURSTS).map(|_| {
        std::thread::sleep(PAUSE);
        for _ in 0..warm {
            operation();
        }
        time(operation, count)
    });
    let mut bursts: Vec<_> = bursts.skip(LEFT_OUT).collect();
    bursts.sort_unstable_by(f64::total_cmp);
    bursts[BURSTS / 4]
}

const PROGRAM: &CStr = c"/bin/true";

fn check(result: i64, what: &str) -> i32 {
    if result < 0 {
        eprintln!("{what}: {}", std::io::Error::last_os_error());
        std::process::exit(1);
    }
    i32::try_from(result).unwrap_or(0)
}

/// A call that needs no translation, and the kernel does next to nothing for it.
fn null() {
    // SAFETY: takes a number.
    check(
        unsafe { libc::syscall(libc::SYS_sched_get_priority_max, libc::SCHED_FIFO) },
        "sched_get_priority_max",
    );
}

fn getpid() {
    // SAFETY: takes nothing.
    check(unsafe { libc::syscall(libc::SYS_getpid) }, "getpid");
}

fn read() {
    let mut byte = 0u8;
    // SAFETY: standard input is /dev/zero here, and one byte is ours.
    check(
        unsafe { libc::syscall(libc::SYS_read, 0, &raw mut byte, 1) },
        "read",
    );
}

fn wait(child: i32) {
    let mut status = 0;
    // SAFETY: room for the status.
    let result = unsafe { libc::waitpid(child, &raw mut status, 0) };
    check(result.into(), "waitpid");
}

fn fork_wait() {
    // SAFETY: one thread; the child only ends.
    let child = check(unsafe { libc::fork() }.into(), "fork");
    if child == 0 {
        // SAFETY: the child has nothing to finish.
        unsafe { libc::_exit(0) };
    }
    wait(child);
}

fn fork_exec_wait() {
    // SAFETY: one thread; the child only executes.
    let child = check(unsafe { libc::fork() }.into(), "fork");
    if child == 0 {
        let argv = [PROGRAM.as_ptr(), std::ptr::null()];
        // SAFETY: both lists end with null.
        unsafe { libc::execve(PROGRAM.as_ptr(), argv.as_ptr(), argv[1..].as_ptr()) };
        // SAFETY: as above.
        unsafe { libc::_exit(127) };
    }
    wait(child);
}
