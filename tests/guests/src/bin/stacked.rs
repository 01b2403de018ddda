//! Calls from functions that are known by name: in turn, from a handler of a signal, and in a thread.

use std::ffi::{CStr, c_int};
use std::hint::black_box;
use std::io::{Read, stdin};

fn main() {
    stacked_outer(c"/none/plain");
    // SAFETY: the handler does nothing but one call.
    unsafe { libc::signal(libc::SIGUSR1, on_signal as *const () as libc::sighandler_t) };
    stacked_raising();
    std::thread::spawn(|| stacked_outer(c"/none/thread"))
        .join()
        .expect("it ends");
    // It stays for whoever looks at what it has mapped.
    let _ = stdin().read(&mut [0]);
}

#[unsafe(no_mangle)]
#[inline(never)]
fn stacked_outer(path: &CStr) -> c_int {
    // What follows keeps the call from being the function's last act.
    black_box(stacked_inner(path)) + 1
}

#[unsafe(no_mangle)]
#[inline(never)]
fn stacked_inner(path: &CStr) -> c_int {
    // Larger than what is recorded in one go would allow for many of them.
    let room = black_box([0u8; 1000]);
    // SAFETY: the path ends with a NUL.
    let found = unsafe { libc::access(path.as_ptr(), libc::F_OK) };
    black_box(found) + c_int::from(black_box(room)[0])
}

#[unsafe(no_mangle)]
#[inline(never)]
fn stacked_raising() -> c_int {
    // SAFETY: there is a handler.
    black_box(unsafe { libc::raise(libc::SIGUSR1) }) + 1
}

extern "C" fn on_signal(_signal: c_int) {
    stacked_inner(c"/none/signal");
}
