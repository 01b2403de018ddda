//! The second entry: rewritten call sites come here by a jump, with the return address in rcx.
//!
//! The thread's region is found by the base of gs, which the personality sets for each thread. Right
//! before the return address stands a `syscall` instruction: what is not served here (see
//! [`served_by_jump`]) goes back to it and comes by SIGSYS, as do threads without a region.
//!
//! No signal is blocked here. One that arrives is noted, and from then on all are blocked; on the
//! way out a thread with a boundary to attend to executes `hlt` in place of the last jump. That
//! brings the kernel's own frame of the guest, from which the noted signal is delivered as after a
//! call that came by SIGSYS. Arithmetic flags are not kept: the kernel keeps them, but no compiler
//! relies on it (a system call in C says that it changes them).

use crate::dispatch;
use crate::thread::{REGION_SIZE, Thread, me};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use picozone_personality::layout::JUMP_ENTRY;
use picozone_syscalls::served_by_jump;

/// Numbers in [`SERVED`].
const NUMBERS: usize = 512;

/// One byte for each call: 1 if it is served here.
static SERVED: [u8; NUMBERS] = {
    let mut served = [0; NUMBERS];
    let mut nr = 0;
    while nr < NUMBERS {
        served[nr] = served_by_jump(nr as u32) as u8;
        nr += 1;
    }
    served
};

/// The registers of a call, at the top of the region.
#[repr(C, align(16))]
struct Jump {
    /// Number, then result.
    rax: u64,
    args: [u64; 6],
    /// Where the guest goes on: behind its `syscall`.
    back: u64,
    sp: u64,
}

global_asm!(
    ".section .entry, \"ax\", @progbits",
    "pz_jump:",
    "mov eax, eax",
    "cmp eax, {numbers}",
    "jae 2f",
    "lea r11, [rip + {served}]",
    "cmp byte ptr [r11 + rax], 0",
    "je 2f",
    "rdgsbase r11",
    // None, or some other thing of the guest's own.
    "test r11, r11",
    "jz 2f",
    "test r11d, {region_size} - 1",
    "jnz 2f",
    "lea r11, [r11 + {top}]",
    // The kernel puts the frame of a signal at the top of the region, unless rsp lies within it.
    ".globl pz_jump_switch",
    "pz_jump_switch:",
    "xchg rsp, r11",
    "mov [rsp + {sp}], r11",
    "mov [rsp + {rax}], rax",
    "mov [rsp + {args}], rdi", "mov [rsp + {args} + 8], rsi", "mov [rsp + {args} + 16], rdx",
    "mov [rsp + {args} + 24], r10", "mov [rsp + {args} + 32], r8", "mov [rsp + {args} + 40], r9",
    "mov [rsp + {back}], rcx",
    "mov rdi, rsp",
    "cld",
    "call {serve}",
    // Until rsp is the guest's, this can begin again.
    ".globl pz_leave",
    "pz_leave:",
    "cmp dword ptr gs:[{boundary}], 0",
    "jne 3f",
    "mov rax, [rsp + {rax}]",
    "mov rdi, [rsp + {args}]", "mov rsi, [rsp + {args} + 8]", "mov rdx, [rsp + {args} + 16]",
    "mov r10, [rsp + {args} + 24]", "mov r8, [rsp + {args} + 32]", "mov r9, [rsp + {args} + 40]",
    "mov rcx, [rsp + {back}]",
    ".globl pz_leave_switch",
    "pz_leave_switch:",
    "mov rsp, [rsp + {sp}]",
    ".globl pz_left",
    "pz_left:",
    "jmp rcx",
    // The slow way.
    "2: sub rcx, 2",
    ".globl pz_left_slowly",
    "pz_left_slowly:",
    "jmp rcx",
    "3: mov rax, [rsp + {rax}]",
    "mov rdi, [rsp + {args}]", "mov rsi, [rsp + {args} + 8]", "mov rdx, [rsp + {args} + 16]",
    "mov r10, [rsp + {args} + 24]", "mov r8, [rsp + {args} + 32]", "mov r9, [rsp + {args} + 40]",
    "mov rcx, [rsp + {back}]",
    "mov rsp, [rsp + {sp}]",
    ".globl pz_boundary",
    "pz_boundary:",
    "hlt",
    // pz_wait_open(nr, args, boundary): one blocking call, not begun at a boundary.
    ".globl pz_wait_open",
    "pz_wait_open:",
    "mov rcx, rdi",
    "mov r11, rsi",
    ".globl pz_open_begin",
    "pz_open_begin:",
    "cmp dword ptr [rdx], 0",
    "jne pz_open_abort",
    "mov rdi, [r11]", "mov rsi, [r11 + 8]", "mov rdx, [r11 + 16]", "mov r10, [r11 + 24]", "mov r8, [r11 + 32]", "mov r9, [r11 + 40]",
    "mov rax, rcx",
    "syscall",
    ".globl pz_open_end",
    "pz_open_end:",
    "ret",
    ".globl pz_open_abort",
    "pz_open_abort:",
    "mov rax, -512",
    "ret",
    ".text",
    numbers = const NUMBERS,
    served = sym SERVED,
    region_size = const REGION_SIZE,
    top = const REGION_SIZE - size_of::<Jump>(),
    rax = const offset_of!(Jump, rax),
    args = const offset_of!(Jump, args),
    back = const offset_of!(Jump, back),
    sp = const offset_of!(Jump, sp),
    boundary = const offset_of!(Thread, boundary),
    serve = sym serve,
);

unsafe extern "C" {
    static pz_jump_switch: u8;
    static pz_leave: u8;
    static pz_leave_switch: u8;
    static pz_left: u8;
    static pz_left_slowly: u8;
    static pz_boundary: u8;
    static pz_open_begin: u8;
    static pz_open_end: u8;
    static pz_open_abort: u8;
    fn pz_wait_open(nr: u64, args: *const u64, boundary: *const u32) -> i64;
}

/// A place on the way in or out.
pub enum Edge {
    /// Nothing was done: the call is still to be made, by the `syscall` before the return address.
    Entering,
    /// Only the last jump, to rcx, is left.
    Left,
    /// The way out, which is to begin again there.
    Leaving(u64),
    /// The `hlt`.
    Boundary,
    /// In [`wait_open`], before the call: give up there.
    Interruptible(u64),
}

/// Classifies an address of the personality. `None`: none of these places.
pub fn edge(ip: u64) -> Option<Edge> {
    let at = |p: *const u8| p as u64;
    let switch = at(&raw const pz_jump_switch);
    let leave = at(&raw const pz_leave);
    Some(if (JUMP_ENTRY..=switch).contains(&ip) {
        Edge::Entering
    } else if (leave..=at(&raw const pz_leave_switch)).contains(&ip) {
        Edge::Leaving(leave)
    } else if ip == at(&raw const pz_left) || ip == at(&raw const pz_left_slowly) {
        Edge::Left
    } else if ip == at(&raw const pz_boundary) {
        Edge::Boundary
    } else if (at(&raw const pz_open_begin)..at(&raw const pz_open_end)).contains(&ip) {
        Edge::Interruptible(at(&raw const pz_open_abort))
    } else {
        return None;
    })
}

/// Makes one blocking call that a signal can end.
pub fn wait_open(thread: &Thread, nr: u32, args: [u64; 6]) -> i64 {
    unsafe { pz_wait_open(u64::from(nr), args.as_ptr(), &raw const thread.boundary) }
}

/// Lets the running thread enter here. It needs the instruction that the kernel tells of by
/// `HWCAP2_FSGSBASE`.
pub unsafe fn set_region(region: u64) {
    unsafe { asm!("wrgsbase {}", in(reg) region, options(nomem, nostack, preserves_flags)) };
}

extern "C" fn serve(jump: &mut Jump) {
    let thread = me();
    thread.rooms = 0;
    let nr = jump.rax as u32;
    match dispatch::result_of(thread, nr, jump.args) {
        super::RESTART => jump.back -= 2,
        result => jump.rax = result as u64,
    }
    if thread.held_free() != 0 || thread.wait_mask.is_some() {
        thread.boundary = 1;
    }
}
