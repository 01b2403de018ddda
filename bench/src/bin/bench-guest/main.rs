//! Runs one operation many times and prints the nanoseconds that each took.
//!
//! The same binary runs natively and in a zone: `bench-guest OPERATION COUNT`. With `filtered` behind
//! it puts the smallest seccomp filter on itself first, which allows everything; with `looked-at` one
//! that looks at an argument of fcntl(2) before.

mod files;
mod network;
mod own;
mod plain;

use std::ffi::CStr;
use std::time::Instant;

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
    match args.next().as_deref() {
        Some("filtered") => filter(&mut [ALLOW]),
        Some("looked-at") => filter(&mut LOOKS.clone()),
        _ => {}
    }
    let warm: u64 = count;
    for _ in 0..warm / 10 + 1 {
        operation();
    }
    let start = Instant::now();
    for _ in 0..count {
        operation();
    }
    println!("{}", start.elapsed().as_nanos() / u128::from(count.max(1)));
}

const PROGRAM: &CStr = c"/bin/true";

fn check(result: i64, what: &str) -> i32 {
    if result < 0 {
        eprintln!("{what}: {}", std::io::Error::last_os_error());
        std::process::exit(1);
    }
    i32::try_from(result).unwrap_or(0)
}

/// One instruction: allow. Any filter costs at least that.
const ALLOW: libc::sock_filter = libc::sock_filter {
    code: 0x06,
    jt: 0,
    jf: 0,
    k: libc::SECCOMP_RET_ALLOW,
};

/// Number of fcntl(2), as it stands in `struct seccomp_data`.
const FCNTL: u32 = 72;
const _: () = assert!(libc::SYS_fcntl == 72);

/// Whether it is fcntl(2), then whether a word of its second argument is zero; allowed whatever it is.
/// No verdict of such a number can be kept by the kernel.
const LOOKS: [libc::sock_filter; 5] = [
    load(0),
    libc::sock_filter {
        code: 0x15,
        jt: 0,
        jf: 2,
        k: FCNTL,
    },
    load(24),
    libc::sock_filter {
        code: 0x15,
        jt: 0,
        jf: 0,
        k: 0,
    },
    ALLOW,
];

/// Loads a word of `struct seccomp_data`.
const fn load(offset: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

fn filter(program: &mut [libc::sock_filter]) {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("it is short"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    check(result.into(), "PR_SET_NO_NEW_PRIVS");
    // SAFETY: the program and its one instruction outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    check(result, "seccomp");
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
