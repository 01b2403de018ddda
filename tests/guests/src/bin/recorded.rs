//! A guest whose calls are recorded.
//!
//! `recorded calls` makes calls between two that name `begin` and `end`, and prints name and result
//! word of each; `recorded natives` makes others. `recorded pids N` asks N times for its pid; `recorded flood N` writes `ready` to the file `said`, waits for a line in the FIFO `go`,
//! asks N times for its pid, which it tells after each thousand, and writes `done`. All work in the current directory.
#![expect(
    clippy::undocumented_unsafe_blocks,
    clippy::cast_sign_loss,
    reason = "plain system calls on memory of our own"
)]

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["calls"] => calls(),
        ["natives"] => natives(),
        ["pids", count] => pids(count.parse().expect("a number")),
        ["flood", count] => flood(count.parse().expect("a number")),
        _ => panic!("usage: recorded calls | natives | pids N | flood N"),
    }
}

/// The kernel's result word.
fn call(nr: i64, args: [u64; 4]) -> i64 {
    let result = unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3]) };
    match result {
        -1 => -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        result => result,
    }
}

fn at(text: &CStr) -> u64 {
    text.as_ptr() as u64
}

fn calls() {
    const CWD: u64 = -100i64 as u64;
    // Descriptors have the same numbers wherever this runs.
    call(libc::SYS_close_range, [3, 1000, 0, 0]);
    let mut room = [0u8; 100];
    let room = room.as_mut_ptr() as u64;
    let create = (libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC) as u64;
    let steps: &[(&str, i64, [u64; 4])] = &[
        ("access", libc::SYS_access, [at(c"begin"), 0, 0, 0]),
        ("mkdir", libc::SYS_mkdir, [at(c"d"), 0o700, 0, 0]),
        ("mkdir", libc::SYS_mkdir, [at(c"d"), 0o700, 0, 0]),
        ("openat", libc::SYS_openat, [CWD, at(c"d/f"), create, 0o640]),
        ("openat", libc::SYS_openat, [CWD, at(c"d/g"), 0, 0]),
        (
            "open",
            libc::SYS_open,
            [at(c"d"), libc::O_DIRECTORY as u64, 0, 0],
        ),
        ("truncate", libc::SYS_truncate, [at(c"d/f"), 5, 0, 0]),
        ("chmod", libc::SYS_chmod, [at(c"d/f"), 0o600, 0, 0]),
        ("symlink", libc::SYS_symlink, [at(c"f"), at(c"d/l"), 0, 0]),
        ("readlink", libc::SYS_readlink, [at(c"d/l"), room, 100, 0]),
        ("readlink", libc::SYS_readlink, [at(c"d/f"), 0, 100, 0]),
        ("link", libc::SYS_link, [at(c"d/f"), at(c"d/h"), 0, 0]),
        ("rename", libc::SYS_rename, [at(c"d/h"), at(c"d/i"), 0, 0]),
        ("chdir", libc::SYS_chdir, [at(c"d"), 0, 0, 0]),
        ("unlink", libc::SYS_unlink, [at(c"i"), 0, 0, 0]),
        ("unlink", libc::SYS_unlink, [at(c"i"), 0, 0, 0]),
        ("rmdir", libc::SYS_rmdir, [at(c"."), 0, 0, 0]),
        ("access", libc::SYS_access, [at(c"/etc/passwd"), 4, 0, 0]),
        ("access", libc::SYS_access, [8, 4, 0, 0]),
        ("chdir", libc::SYS_chdir, [at(c".."), 0, 0, 0]),
        ("kill", libc::SYS_kill, [0, 0, 0, 0]),
        ("execve", libc::SYS_execve, [at(c"d/none"), 0, 0, 0]),
        ("access", libc::SYS_access, [at(c"end"), 0, 0, 0]),
    ];
    make(steps);
}

/// Calls that the kernel answers in a zone as anywhere.
fn natives() {
    call(libc::SYS_close_range, [3, 1000, 0, 0]);
    let mut room = [0u64; 16];
    let room = room.as_mut_ptr() as u64;
    let page = 4096;
    // What is mapped here is ours.
    let place = 0x1_0000_0000;
    let steps: &[(&str, i64, [u64; 4])] = &[
        ("access", libc::SYS_access, [at(c"begin"), 0, 0, 0]),
        ("pipe2", libc::SYS_pipe2, [room, 0, 0, 0]),
        ("write", libc::SYS_write, [4, at(c"text"), 5, 0]),
        ("read", libc::SYS_read, [3, room, 100, 0]),
        ("read", libc::SYS_read, [3, room, 0, 0]),
        ("write", libc::SYS_write, [4, 8, 5, 0]),
        ("lseek", libc::SYS_lseek, [3, 0, 1, 0]),
        ("dup", libc::SYS_dup, [3, 0, 0, 0]),
        ("fcntl", libc::SYS_fcntl, [5, libc::F_GETFD as u64, 0, 0]),
        ("fcntl", libc::SYS_fcntl, [5, libc::F_DUPFD as u64, 9, 0]),
        ("close", libc::SYS_close, [5, 0, 0, 0]),
        ("close", libc::SYS_close, [5, 0, 0, 0]),
        ("close", libc::SYS_close, [1024, 0, 0, 0]),
        ("munmap", libc::SYS_munmap, [place, page, 0, 0]),
        ("madvise", libc::SYS_madvise, [place, page, 4, 0]),
        ("brk", libc::SYS_brk, [0, 0, 0, 0]),
        ("umask", libc::SYS_umask, [0o22, 0, 0, 0]),
        ("sched_yield", libc::SYS_sched_yield, [0, 0, 0, 0]),
        ("poll", libc::SYS_poll, [0, 0, 1, 0]),
        ("futex", libc::SYS_futex, [room, 1, 1, 0]),
        ("getrandom", libc::SYS_getrandom, [room, 16, 0, 0]),
        ("socketpair", libc::SYS_socketpair, [1, 1, 0, room]),
        ("shutdown", libc::SYS_shutdown, [5, 2, 0, 0]),
        ("getpid", libc::SYS_getpid, [0, 0, 0, 0]),
        ("access", libc::SYS_access, [at(c"end"), 0, 0, 0]),
    ];
    make(steps);
}

fn make(steps: &[(&str, i64, [u64; 4])]) {
    let mut results = [0; 32];
    for (result, step) in results.iter_mut().zip(steps) {
        *result = call(step.1, step.2);
    }
    for ((name, ..), result) in steps.iter().zip(results) {
        println!("{name} {result}");
    }
}

fn pids(count: u32) {
    for _ in 0..count {
        call(libc::SYS_getpid, [0; 4]);
    }
}

fn flood(count: u32) {
    let made = unsafe { libc::mkfifo(c"go".as_ptr(), 0o666) };
    assert_eq!(made, 0);
    // Waits for nobody, and never reads an end.
    let go = OpenOptions::new().read(true).write(true).open("go");
    let mut go = BufReader::new(go.expect("a FIFO"));
    let mut said = File::create("said").expect("a file");
    said.write_all(b"ready\n").expect("written");
    let mut line = String::new();
    go.read_line(&mut line).expect("a line");
    for thousand in 1..=count / 1000 {
        pids(1000);
        let line = format!("{}\n", 1000 * thousand);
        said.write_all(line.as_bytes()).expect("written");
    }
    said.write_all(b"done\n").expect("written");
}
