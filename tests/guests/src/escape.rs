//! Leaving a signal handler without returning from it, as siglongjmp(3) does.
//!
//! setjmp(3) itself returns twice, which Rust has no word for; [`run`] is a function that returns
//! once, either when its body does or when [`leave`] is called below it.

use crate::signals::{self, all};
use std::ffi::c_void;

/// Callee-saved registers and stack of a running [`run`].
#[repr(C)]
struct Place([u64; 8]);

static mut PLACE: Place = Place([0; 8]);

std::arch::global_asm!(
    ".text",
    "pz_escape_run:",
    "mov [rdx], rbx",
    "mov [rdx + 8], rbp",
    "mov [rdx + 16], r12",
    "mov [rdx + 24], r13",
    "mov [rdx + 32], r14",
    "mov [rdx + 40], r15",
    "mov [rdx + 48], rsp",
    "sub rsp, 8",
    "mov rax, rdi",
    "mov rdi, rsi",
    "call rax",
    "add rsp, 8",
    "xor eax, eax",
    "ret",
    "pz_escape_leave:",
    "mov rbx, [rdi]",
    "mov rbp, [rdi + 8]",
    "mov r12, [rdi + 16]",
    "mov r13, [rdi + 24]",
    "mov r14, [rdi + 32]",
    "mov r15, [rdi + 40]",
    "mov rsp, [rdi + 48]",
    "mov eax, 1",
    "ret",
);

unsafe extern "C" {
    fn pz_escape_run(
        body: extern "C" fn(*mut c_void),
        argument: *mut c_void,
        to: *mut Place,
    ) -> i32;
    fn pz_escape_leave(to: *const Place) -> !;
}

/// Runs `body`; true if it was left by [`leave`]. The signal mask is then as it was before.
///
/// Nothing in `body` may need dropping at the moment when a handler leaves it.
pub fn run(body: fn()) -> bool {
    extern "C" fn shim(body: *mut c_void) {
        // SAFETY: `run` passes the address of a `fn()`.
        let body = unsafe { *body.cast::<fn()>() };
        body();
    }
    let mut body = body;
    let before = signals::mask(libc::SIG_BLOCK, &signals::none()).expect("the mask");
    let argument = (&raw mut body).cast();
    // SAFETY: one thread uses the place, and `leave` is only called while the frame of this call
    // stands.
    let result = unsafe { pz_escape_run(shim, argument, &raw mut PLACE) };
    if result == 1 {
        signals::mask(libc::SIG_SETMASK, &before).expect("the mask");
    }
    result == 1
}

/// Leaves the running [`run`]; for signal handlers.
pub fn leave() -> ! {
    // What arrives on the way would run on the frames that are being left.
    let _ = signals::mask(libc::SIG_BLOCK, &all());
    // SAFETY: a `run` is below us on this thread's stack.
    unsafe { pz_escape_leave(&raw const PLACE) }
}
