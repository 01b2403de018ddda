//! Attempts to leave a zone, by machine code of a guest's own choice.
//!
//! Each attempt is made in a child and prints `refused NAME` or `ESCAPED NAME`. An attempt is
//! refused by an errno or by the end of the process. Calls are made from here ([`raw`]) and from within
//! the personality ([`inside`]), by jumping to a `syscall` instruction of its image: whatever the
//! filter lets through there, it lets through for a hostile guest, too.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "everything here is meant to do harm; the kernel is to keep it from doing so"
)]
#![expect(clippy::cast_sign_loss, reason = "registers are words")]

use picozone_personality::layout;
use picozone_personality::mailbox::{MAILBOX_STRIDE, Mailbox, Request};
use std::arch::asm;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

const IMAGE: u64 = layout::PERSONALITY_BASE;
/// Where the mailboxes are.
pub const MAILBOXES: u64 = layout::MAILBOXES_BASE;
/// The number by which the monitor is asked.
pub const DOORBELL: i64 = 0x5a0f;

/// A number in the host's terms, which no attempt is to have in the zone's: it would be its own victim.
pub static VICTIM: AtomicU32 = AtomicU32::new(0);

/// Makes a call from here.
pub fn raw(nr: i64, a: [u64; 6]) -> i64 {
    let result: i64;
    unsafe {
        asm!("syscall", inlateout("rax") nr => result, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _);
    }
    result
}

/// Where rsp is kept over a jump into the personality, which may take every register.
static mut KEPT: u64 = 0;

/// A `syscall` of the personality from which a straight way leads to `ret`: its address, and the
/// bytes that the way takes off the stack.
fn gadget() -> (u64, u64) {
    // From before there calls are only judged.
    for at in layout::JUDGE_END..IMAGE + 0x20000 {
        let code = unsafe { &*((at + 2) as *const [u8; 48]) };
        let syscall = unsafe { (at as *const [u8; 2]).read_unaligned() };
        if syscall == [0x0f, 0x05]
            && let Some(taken) = way_out(code)
        {
            return (at, taken);
        }
    }
    panic!("the personality holds no fitting syscall instruction any more: widen the search");
}

/// Bytes taken off the stack up to `ret`, if nothing else than moves, additions and pops stands there.
fn way_out(mut code: &[u8]) -> Option<u64> {
    let mut taken = 0;
    loop {
        code = match code {
            [0xc3, ..] => return Some(taken),
            [0x48, 0x83, 0xc4, more, rest @ ..] if *more < 0x80 => {
                taken += u64::from(*more);
                rest
            }
            [0x48, 0x81, 0xc4, a, b, 0, 0, rest @ ..] => {
                taken += u64::from(u16::from_le_bytes([*a, *b]));
                rest
            }
            [0x59..=0x5f, rest @ ..] | [0x41, 0x58..=0x5f, rest @ ..] => {
                taken += 8;
                rest
            }
            // Moves between registers, but none to rax, and comparisons.
            [0x48 | 0x4c, 0x89, to @ 0xc0..=0xff, rest @ ..] if to & 7 != 0 => rest,
            [0x49 | 0x4d, 0x89, 0xc0..=0xff, rest @ ..] => rest,
            [0x89, to @ 0xc0..=0xff, rest @ ..] if to & 7 != 0 => rest,
            [0x48..=0x4f, 0x85, 0xc0..=0xff, rest @ ..] => rest,
            _ => return None,
        };
    }
}

/// Makes a call from within the personality.
pub fn inside(nr: i64, a: [u64; 6]) -> i64 {
    let (at, taken) = gadget();
    let result: i64;
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "mov [rip + {kept}], rsp",
            "lea rbx, [rip + 2f]",
            "push rbx",
            "sub rsp, r12",
            "jmp r13",
            "2:",
            "mov rsp, [rip + {kept}]",
            "pop rbp",
            "pop rbx",
            kept = sym KEPT,
            inlateout("rax") nr => result, inlateout("rdi") a[0] => _, inlateout("rsi") a[1] => _,
            inlateout("rdx") a[2] => _, inlateout("r10") a[3] => _, inlateout("r8") a[4] => _,
            inlateout("r9") a[5] => _, inlateout("r12") taken => _, inlateout("r13") at => _,
            lateout("rcx") _, lateout("r11") _, lateout("r14") _, lateout("r15") _,
        );
    }
    result
}

/// Runs an attempt in a child of its own; what it gives tells by the exit status.
pub fn attempt(name: &str, what: impl FnOnce() -> i64) {
    let mut status = 0;
    loop {
        let child = unsafe { libc::fork() };
        let is_namesake = |pid: u32| pid == VICTIM.load(Relaxed);
        if child == 0 && is_namesake(std::process::id()) {
            unsafe { libc::_exit(0) };
        }
        if child == 0 {
            let status = if what() < 0 { 3 } else { 4 };
            unsafe { libc::_exit(status) };
        }
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        if !is_namesake(child as u32) {
            break;
        }
    }
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 4 {
        println!("ESCAPED {name}");
    } else {
        println!("refused {name}");
    }
}

/// From here and from inside the personality.
pub fn both(name: &str, nr: i64, args: [u64; 6]) {
    attempt(&format!("{name}, raw"), || raw(nr, args));
    attempt(&format!("{name}, inside"), || inside(nr, args));
}

/// The address of a value.
pub fn ptr<T>(value: &T) -> u64 {
    std::ptr::from_ref(value) as u64
}

/// The mailbox of this thread.
pub fn mailbox() -> u64 {
    let tid = inside(libc::SYS_gettid, [0; 6]) as u64;
    MAILBOXES + tid * MAILBOX_STRIDE
}

/// What the monitor says to a request with this mailbox.
pub fn asked(request: Request, args: &[u64], text: &[u8]) -> i64 {
    asked_as(0, request, args, text)
}

/// The same to who says with the doorbell whose it is.
pub fn asked_as(whose: u64, request: Request, args: &[u64], text: &[u8]) -> i64 {
    let mailbox = mailbox();
    for (at, word) in args.iter().enumerate() {
        unsafe { ((mailbox + 8 * at as u64) as *mut u64).write_volatile(*word) };
    }
    for (at, byte) in text.iter().enumerate() {
        let to = mailbox + (std::mem::offset_of!(Mailbox, a) + at) as u64;
        unsafe { (to as *mut u8).write_volatile(*byte) };
    }
    inside(DOORBELL, [request as u64, whose, 0, 0, 0, 0])
}
