//! What a process can do that has used up its descriptors, its address space, or its file size.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the kernel's interface mixes widths and signs"
)]

use picozone_guests::children::End;
use picozone_guests::{CWD, Result, call, child, from, libc_result, out, sections, see, text};
use std::ffi::CStr;

fn main() {
    // What a child executes here does nothing.
    if std::env::args().nth(1).as_deref() == Some("leaf") {
        return;
    }
    sections(&[
        ("descriptors", descriptors),
        ("descriptors_of_the_default", descriptors_of_the_default),
        ("beyond_the_limit", beyond_the_limit),
        ("address_space", address_space),
        ("file_size", file_size),
    ]);
}

fn limit(resource: u32, value: u64) {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: a structure that lives until the call returns.
    let result = unsafe { libc::setrlimit(resource, &raw const limit) };
    see("setrlimit", libc_result(result));
    see("getrlimit", limits(resource));
}

fn limits(resource: u32) -> (u64, u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a structure that lives until the call returns.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

fn open(path: &CStr, flags: i32) -> Result<u64> {
    let flags = flags.unsigned_abs().into();
    call(libc::SYS_openat, &[CWD, text(path), flags, 0o644])
}

/// Executes this program in a child.
fn executes() -> Result<End> {
    child(|| {
        let argv = [c"guest".as_ptr(), c"leaf".as_ptr(), std::ptr::null()];
        let envp = [std::ptr::null::<libc::c_char>()];
        // SAFETY: the strings and the lists end as execve(2) asks.
        unsafe { libc::execve(c"./guest".as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
    })
    .wait()
}

fn descriptors() {
    limit(libc::RLIMIT_NOFILE, 40);
    all_descriptors();
}

fn descriptors_of_the_default() {
    limit(libc::RLIMIT_NOFILE, 1024);
    all_descriptors();
}

/// Every descriptor is open, and closed by exec.
fn all_descriptors() {
    std::fs::write("file", "something").expect("a file");
    while open(c"/dev/null", libc::O_RDONLY | libc::O_CLOEXEC).is_ok() {}
    for (path, flags) in [
        (c"/", libc::O_RDONLY),
        (c"/etc/passwd", libc::O_RDONLY),
        (c"/proc/self/stat", libc::O_RDONLY),
        (c"/dev/null", libc::O_PATH),
        (c"/", libc::O_PATH),
        (c"new", libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY),
    ] {
        see("open", open(path, flags));
    }
    let at = |nr: i64, path: &CStr, last: [u64; 2]| {
        let path = text(path);
        call(nr, &[CWD, path, last[0], last[1]])
    };
    let mut data = [0u64; 18];
    for path in [
        c"/",
        c"/etc/passwd",
        c"guest",
        c"/proc/self/stat",
        c"nothing",
    ] {
        see(
            "stat",
            at(libc::SYS_newfstatat, path, [out(&mut data), 0]).map(|_| data[3] as u32),
        );
        see("access", at(libc::SYS_faccessat, path, [4, 0]));
    }
    see("mkdir", at(libc::SYS_mkdirat, c"dir", [0o755, 0]));
    see("chmod", at(libc::SYS_fchmodat, c"dir", [0o700, 0]));
    see(
        "symlink",
        call(libc::SYS_symlinkat, &[text(c"to"), CWD, text(c"link")]),
    );
    let mut to = [0u8; 8];
    see(
        "readlink",
        at(libc::SYS_readlinkat, c"link", [out(&mut to), 8]),
    );
    see("chdir", call(libc::SYS_chdir, &[text(c"dir")]));
    see("chdir", call(libc::SYS_chdir, &[text(c"..")]));
    see("unlink", at(libc::SYS_unlinkat, c"link", [0, 0]));
    see("truncate", call(libc::SYS_truncate, &[text(c"file"), 0]));
    see("pipe", call(libc::SYS_pipe2, &[out(&mut data), 0]));
    see("socket", call(libc::SYS_socket, &[1, 1, 0]));
    see("dup", call(libc::SYS_dup, &[0]));
    see("fork", child(|| 3).wait());
    see("exec", executes());
    see("limit", limits(libc::RLIMIT_NOFILE));
    see("still full", open(c"/dev/null", libc::O_RDONLY));
}

/// Descriptors that are not open, where a zone has some of its own.
fn beyond_the_limit() {
    limit(libc::RLIMIT_NOFILE, 1024);
    let mut data = [0u64; 18];
    let group = 0i32;
    for fd in [1023, 1024, 1030, 1055, 1056, 1071] {
        see("fstat", call(libc::SYS_fstat, &[fd, out(&mut data)]));
        let empty = libc::AT_EMPTY_PATH.unsigned_abs().into();
        let arguments = [fd, text(c""), out(&mut data), empty];
        see("newfstatat", call(libc::SYS_newfstatat, &arguments));
        see("dup", call(libc::SYS_dup, &[fd]));
        let command = libc::TIOCSPGRP;
        see(
            "tcsetpgrp",
            call(libc::SYS_ioctl, &[fd, command, from(&group)]),
        );
        see("close", call(libc::SYS_close, &[fd]));
    }
    let null = open(c"/dev/null", libc::O_RDONLY).expect("it is there");
    let command = libc::TIOCSPGRP;
    see(
        "tcsetpgrp",
        call(libc::SYS_ioctl, &[null, command, from(&group)]),
    );
}

/// Whether a thread can be made, and its end be awaited.
fn threads() -> bool {
    let thread = std::thread::Builder::new().spawn(|| ());
    thread.is_ok_and(|thread| thread.join().is_ok())
}

fn address_space() {
    let before = limits(libc::RLIMIT_AS);
    see("before", before);
    limit(libc::RLIMIT_AS, 400 << 20);
    let length = 1 << 20;
    let map = || {
        let (none, flags) = (0, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        call(
            libc::SYS_mmap,
            &[0, length, none, flags as u64, u64::MAX, 0],
        )
    };
    see("fork", child(|| 3).wait());
    see("exec", executes());
    see("thread", threads());
    let mapped: Vec<u64> = (0..1000).map_while(|_| map().ok()).collect();
    // The program and what its threads left take some.
    see("mapped", (300..400).contains(&mapped.len()));
    see("one more", map().map(|_| ()));
    see("fork", child(|| 3).wait());
    see("exec", executes());
    see("open", open(c"/etc/passwd", libc::O_RDONLY).is_ok());
    see("open", open(c"/proc/self/stat", libc::O_RDONLY).is_ok());
    // What is left may be less than a thread needs.
    see("unmap", call(libc::SYS_munmap, &[mapped[0], length]));
    see("thread", threads());
}

fn file_size() {
    // SAFETY: takes numbers.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    limit(libc::RLIMIT_FSIZE, 4096);
    let fd = open(c"file", libc::O_CREAT | libc::O_WRONLY).expect("a file");
    let bytes = [1u8; 6000];
    for _ in 0..2 {
        see(
            "write",
            call(libc::SYS_write, &[fd, bytes.as_ptr() as u64, 6000]),
        );
    }
    see("ftruncate", call(libc::SYS_ftruncate, &[fd, 5000]));
    see("truncate", call(libc::SYS_truncate, &[text(c"file"), 5000]));
    see("fallocate", call(libc::SYS_fallocate, &[fd, 0, 0, 5000]));
}
