//! Calls that no zone translates.

use super::check;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

pub(super) fn write() {
    static NULL: OnceLock<i32> = OnceLock::new();
    // SAFETY: the path ends with a NUL.
    let open = || unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY) };
    let fd = *NULL.get_or_init(open);
    // SAFETY: one byte is there.
    let result = unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) };
    check(result as i64, "write");
}

pub(super) fn mmap() {
    const SIZE: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new memory, where there is room.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), SIZE, protection, flags, -1, 0) };
    // SAFETY: just mapped, and nobody else's.
    check(unsafe { libc::munmap(at, SIZE) }.into(), "munmap");
}

pub(super) fn epoll_wait() {
    static READY: OnceLock<i32> = OnceLock::new();
    let fd = *READY.get_or_init(ready);
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event.
    let got = unsafe { libc::epoll_wait(fd, &raw mut event, 1, 0) };
    check(got.into(), "epoll_wait");
}

/// An epoll that something has always happened on.
fn ready() -> i32 {
    // SAFETY: takes numbers.
    let fd = check(unsafe { libc::epoll_create1(0) }.into(), "epoll_create1");
    // SAFETY: takes numbers.
    let counter = check(unsafe { libc::eventfd(1, 0) }.into(), "eventfd");
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN.cast_unsigned(),
        u64: 0,
    };
    // SAFETY: an event to read.
    let added = unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, counter, &raw mut event) };
    check(added.into(), "epoll_ctl");
    fd
}

pub(super) fn futex() {
    static WORD: AtomicU32 = AtomicU32::new(0);
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: a word that lives as long as the program.
    let woken = unsafe { libc::syscall(libc::SYS_futex, WORD.as_ptr(), operation, 1) };
    check(woken, "futex");
}
