//! A guest that changes names while the monitor binds sockets to them, and wants back what keeps
//! descriptors from being passed to it.
//!
//! `hostile_sockets DIRECTORY OUTSIDE ROUNDS`: sockets are bound in the directory so many times, while
//! each of them is replaced by a link to OUTSIDE, a file of the host by its name there, as soon as it is
//! seen. Prints how often that came about. That the file is as before is looked at outside.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "everything here is meant to do harm; the kernel is to keep it from doing so"
)]

use picozone_guests::attempts::{both, ptr, raw};
use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, directory, outside, rounds] = words.as_slice() else {
        panic!("usage: hostile_sockets DIRECTORY OUTSIDE ROUNDS");
    };
    let rounds: u32 = rounds.parse().expect("a number");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let meddler = scope.spawn(|| meddle(directory, outside, &is_over));
        for _ in 0..rounds {
            bind_once(Path::new(directory));
        }
        is_over.store(true, Relaxed);
        println!("replaced {}", meddler.join().expect("it ended"));
    });
    let [own, _other] = pair();
    let fd = own.as_raw_fd().unsigned_abs().into();
    let yes = 1u32;
    const SO_PASSRIGHTS: u64 = 83;
    let args = [fd, 1, SO_PASSRIGHTS, ptr(&yes), 4, 0];
    both("passing descriptors", libc::SYS_setsockopt, args);
    filter_all();
    println!("still runs");
}

/// A filter that takes nothing, on every descriptor that the process has, ours among them: what is handed
/// to the monitor arrives at another socket.
fn filter_all() {
    const SO_ATTACH_FILTER: u64 = 26;
    let nothing = libc::sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: (&raw const nothing).cast_mut(),
    };
    for fd in 3..1100 {
        let args = [fd, 1, SO_ATTACH_FILTER, ptr(&program), 16, 0];
        raw(libc::SYS_setsockopt, args);
    }
    // Its descriptor is handed over to be asked for.
    let [own, _other] = pair();
    let mut told = [0_u32; 3];
    let mut room = 12_u32;
    let (fd, level, name) = (own.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED);
    let (to, length) = (told.as_mut_ptr().cast(), &raw mut room);
    assert_eq!(unsafe { libc::getsockopt(fd, level, name, to, length) }, 0);
    assert_eq!(told[0], std::process::id());
}

fn pair() -> [OwnedFd; 2] {
    let mut fds = [0; 2];
    let result = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, fds.as_mut_ptr()) };
    assert_eq!(result, 0);
    fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind_once(directory: &Path) {
    let place = directory.join("sock");
    // It fails where the name is taken meanwhile.
    drop(UnixListener::bind(&place));
    let _ = fs::remove_file(place);
}

/// Replaces sockets until it is over; tells how many.
fn meddle(directory: &str, outside: &str, is_over: &AtomicBool) -> u32 {
    let text = |text: &str| CString::new(text).expect("text");
    let (path, outside, aside) = (text(directory), text(outside), text("aside"));
    let list = unsafe { libc::opendir(path.as_ptr()) };
    assert!(!list.is_null(), "{directory}");
    let at = unsafe { libc::dirfd(list) };
    let mut count = 0;
    while !is_over.load(Relaxed) {
        unsafe { libc::rewinddir(list) };
        loop {
            let entry = unsafe { libc::readdir(list) };
            let Some(entry) = (unsafe { entry.as_ref() }) else {
                break;
            };
            let name = unsafe { CStr::from_ptr(entry.d_name.as_ptr()) };
            if name == aside.as_c_str() {
                continue;
            }
            if entry.d_type == libc::DT_SOCK {
                let moved = unsafe { libc::renameat(at, name.as_ptr(), at, aside.as_ptr()) };
                let linked = unsafe { libc::symlinkat(outside.as_ptr(), at, name.as_ptr()) };
                count += u32::from((moved, linked) == (0, 0));
            } else if entry.d_type == libc::DT_LNK {
                unsafe { libc::unlinkat(at, name.as_ptr(), 0) };
            }
        }
    }
    count
}
