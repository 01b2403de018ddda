//! What a program is, its signals and threads.

use super::check;

pub(super) fn getuid() {
    // SAFETY: takes nothing.
    unsafe { libc::getuid() };
}

pub(super) fn gettid() {
    // SAFETY: takes nothing.
    check(unsafe { libc::syscall(libc::SYS_gettid) }, "gettid");
}

pub(super) fn uname() {
    let mut names = std::mem::MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: room for the result.
    check(unsafe { libc::uname(names.as_mut_ptr()) }.into(), "uname");
}

extern "C" fn nothing(_: i32) {}

pub(super) fn sigaction() {
    // SAFETY: a handler that does nothing.
    unsafe { libc::signal(libc::SIGUSR1, nothing as *const () as usize) };
}

pub(super) fn sigprocmask() {
    // SAFETY: an empty set is made of zeroes.
    let set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: a set, and no room for the old one.
    let result =
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    check(result.into(), "sigprocmask");
}

pub(super) fn kill_self() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(sigaction);
    // SAFETY: takes nothing.
    let own = unsafe { libc::getpid() };
    // SAFETY: to this process, which has a handler.
    let result = unsafe { libc::kill(own, libc::SIGUSR1) };
    check(result.into(), "kill");
}

pub(super) fn thread() {
    let is_done = std::thread::spawn(|| ()).join().is_ok();
    check(i64::from(is_done) - 1, "a thread");
}
