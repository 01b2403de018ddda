//! The second entry: rewritten call sites come here by a jump, with the return address in rcx.
//!
//! The thread's region is found by the base of gs, which the personality sets for each thread, and
//! known by a word in it ([`MAY_JUMP`]). Right before the return address stands a `syscall`
//! instruction: what is not served here (see [`served_by_jump`]) goes back to it, to the kernel or to
//! come by SIGSYS, as do threads without a region, and traced ones, whose tracer is to see each call.
//! Sites that make any call (syscall(3), Go's) come here for all of them, so that is decided first, and
//! by a look at a table: a number beyond it finds whatever lies there or faults, and goes either way.
//!
//! No signal is blocked here. One that arrives is noted, and from then on all are blocked; on the
//! way out a thread with a boundary to attend to executes `hlt` in place of the last jump. That
//! brings the kernel's own frame of the guest, from which the noted signal is delivered as after a
//! call that came by SIGSYS.
//!
//! Whatever the kernel keeps over a call is kept: all registers but rcx, r11 and rax, the guest's
//! stack below rsp too, and the flags, so that nothing before the switch of stacks may change one.
//!
//! The guest's registers are laid out as the kernel does it for a signal, which unwinders know: see
//! [`wait_open`]. For those that follow rbp, the first frame's caller is the call site.

use super::Registers;
use crate::thread::{REGION_SIZE, Thread, me};
use crate::{dispatch, signal};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use picozone_personality::layout::JUMP_ENTRY;
use picozone_syscalls::served_by_jump;

/// Numbers in [`SERVED`].
const NUMBERS: usize = 512;

/// Whether a call is served here, by number; the return from a signal's handler too.
static SERVED: [bool; NUMBERS] = {
    let mut served = [false; NUMBERS];
    let mut nr = 0;
    while nr < NUMBERS {
        served[nr] = served_by_jump(nr as u32) || nr as u32 == picozone_syscalls::nr::rt_sigreturn;
        nr += 1;
    }
    served
};

/// What [`Thread::jumps`] holds where the thread may enter here. A negative number of 32 bits, which
/// `lea` can tell from others; no guest has it by accident where its own gs points.
pub const MAY_JUMP: i64 = -0x5a0f_1e57;

/// Where the registers of a call are within a region: at its top.
const TOP: usize = REGION_SIZE - size_of::<Registers>();

/// The flags and registers of the guest, but for rsp.
macro_rules! registers_of_the_guest {
    () => {
        // The overflow flag comes by an addition, the other five from ah.
        "test byte ptr [rsp + {eflags} + 1], 4
        jz 5f
        std
        5: mov al, [rsp + {eflags} + 1]
        and al, 8
        add al, 0x78
        mov ah, [rsp + {eflags}]
        sahf
        mov rax, [rsp + {rax}]
        mov rdi, [rsp + {rdi}]
        mov rsi, [rsp + {rsi}]
        mov rdx, [rsp + {rdx}]
        mov r10, [rsp + {r10}]
        mov r8, [rsp + {r8}]
        mov r9, [rsp + {r9}]
        mov r11, [rsp + {eflags}]
        mov rcx, [rsp + {rip}]"
    };
}

global_asm!(
    ".section .entry, \"ax\", @progbits",
    "pz_jump:",
    "mov r11, rcx",
    "lea rcx, [rip + {served}]",
    "movzx ecx, byte ptr [rcx + rax]",
    "jrcxz 6f",
    "mov rcx, gs:[{jumps}]",
    "lea rcx, [rcx + {not_may_jump}]",
    "jrcxz 2f",
    "6: lea rcx, [r11 - 2]",
    ".globl pz_left_slowly",
    "pz_left_slowly:",
    "jmp rcx",
    "2: rdgsbase rcx",
    "lea rcx, [rcx + {top}]",
    // The kernel puts the frame of a signal at the top of the region, unless rsp lies within it.
    ".globl pz_jump_switch",
    "pz_jump_switch:",
    "xchg rsp, rcx",
    "mov [rsp + {rsp}], rcx",
    "pushfq",
    "pop qword ptr [rsp + {eflags}]",
    "mov [rsp + {rip}], r11", "mov [rsp + {rax}], rax",
    "mov [rsp + {rdi}], rdi", "mov [rsp + {rsi}], rsi", "mov [rsp + {rdx}], rdx",
    "mov [rsp + {r10}], r10", "mov [rsp + {r8}], r8", "mov [rsp + {r9}], r9",
    // For unwinders only.
    "mov [rsp + {rbx}], rbx", "mov [rsp + {rbp}], rbp", "mov [rsp + {r12}], r12",
    "mov [rsp + {r13}], r13", "mov [rsp + {r14}], r14", "mov [rsp + {r15}], r15",
    "cld",
    "mov rdi, rsp",
    "push r11",
    "push rbp",
    "mov rbp, rsp",
    "call {serve}",
    "pop rbp",
    "pop r11",
    // Until rsp is the guest's, this can begin again.
    ".globl pz_leave",
    "pz_leave:",
    "cmp dword ptr gs:[{boundary}], 0",
    "jne 3f",
    registers_of_the_guest!(),
    ".globl pz_leave_switch",
    "pz_leave_switch:",
    "mov rsp, [rsp + {rsp}]",
    ".globl pz_left",
    "pz_left:",
    "jmp rcx",
    "3:",
    registers_of_the_guest!(),
    "mov rsp, [rsp + {rsp}]",
    ".globl pz_boundary",
    "pz_boundary:",
    "hlt",
    // pz_brief(nr, args, boundary): one call that waits for nothing, not begun at a boundary.
    ".globl pz_brief",
    "pz_brief:",
    "mov rax, rdi",
    "mov r11, rsi",
    ".globl pz_brief_begin",
    "pz_brief_begin:",
    "cmp dword ptr [rdx], 0",
    "jne pz_brief_abort",
    "mov rdi, [r11]", "mov rsi, [r11 + 8]", "mov rdx, [r11 + 16]", "mov r10, [r11 + 24]",
    "syscall",
    ".globl pz_brief_end",
    "pz_brief_end:",
    "ret",
    ".globl pz_brief_abort",
    "pz_brief_abort:",
    "mov rax, -512",
    "ret",
    // pz_sigreturn(context, boundary): leaves by a frame of the guest's, but not at a boundary. Once
    // rsp is the guest's, this is as good as the guest's own call.
    ".globl pz_sigreturn",
    "pz_sigreturn:",
    "cmp dword ptr [rsi], 0",
    "jne pz_sigreturn_abort",
    ".globl pz_sigreturn_switch",
    "pz_sigreturn_switch:",
    "mov rsp, rdi",
    "mov eax, 15",
    "syscall",
    ".globl pz_sigreturn_failed",
    "pz_sigreturn_failed:",
    "ud2",
    ".globl pz_sigreturn_abort",
    "pz_sigreturn_abort:",
    "ret",
    // pz_leave_as_child(registers): the first way out of a thread; the others find the rest in place.
    ".globl pz_leave_as_child",
    "pz_leave_as_child:",
    "mov rsp, rdi",
    "mov rbx, [rsp + {rbx}]", "mov rbp, [rsp + {rbp}]", "mov r12, [rsp + {r12}]",
    "mov r13, [rsp + {r13}]", "mov r14, [rsp + {r14}]", "mov r15, [rsp + {r15}]",
    "jmp pz_leave",
    // pz_wait_open(nr, args, boundary, registers): one blocking call, not begun at a boundary.
    ".globl pz_wait_open",
    "pz_wait_open:",
    "mov rax, rdi",
    "mov r11, rsi",
    "mov rsi, rcx",
    show_registers!(),
    ".globl pz_open_begin",
    "pz_open_begin:",
    "cmp dword ptr [rdx], 0",
    "jne pz_open_abort",
    "mov rdi, [r11]", "mov rsi, [r11 + 8]", "mov rdx, [r11 + 16]", "mov r10, [r11 + 24]", "mov r8, [r11 + 32]", "mov r9, [r11 + 40]",
    "syscall",
    ".globl pz_open_end",
    "pz_open_end:",
    "add rsp, 232",
    "ret",
    ".globl pz_open_abort",
    "pz_open_abort:",
    "mov rax, -512",
    "jmp pz_open_end",
    // These two instructions are what unwinders look for; nothing goes there.
    ".globl pz_like_restorer",
    "pz_like_restorer:",
    "mov rax, 15",
    "syscall",
    "ud2",
    ".text",
    jumps = const offset_of!(Thread, jumps),
    not_may_jump = const -MAY_JUMP,
    top = const TOP,
    rax = const offset_of!(Registers, rax),
    rdi = const offset_of!(Registers, rdi),
    rsi = const offset_of!(Registers, rsi),
    rdx = const offset_of!(Registers, rdx),
    r10 = const offset_of!(Registers, r10),
    r8 = const offset_of!(Registers, r8),
    r9 = const offset_of!(Registers, r9),
    rbx = const offset_of!(Registers, rbx),
    rbp = const offset_of!(Registers, rbp),
    r12 = const offset_of!(Registers, r12),
    r13 = const offset_of!(Registers, r13),
    r14 = const offset_of!(Registers, r14),
    r15 = const offset_of!(Registers, r15),
    rsp = const offset_of!(Registers, rsp),
    rip = const offset_of!(Registers, rip),
    eflags = const offset_of!(Registers, eflags),
    boundary = const offset_of!(Thread, boundary),
    served = sym SERVED,
    serve = sym serve,
    registers = const super::SHOWN,
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
    static pz_brief_begin: u8;
    static pz_brief_end: u8;
    static pz_brief_abort: u8;
    static pz_like_restorer: u8;
    static pz_sigreturn_switch: u8;
    static pz_sigreturn_failed: u8;
    static pz_sigreturn_abort: u8;
    fn pz_brief(nr: u64, args: *const u64, boundary: *const u32) -> i64;
    fn pz_sigreturn(context: u64, boundary: *const u32);
    fn pz_leave_as_child(registers: *mut Registers) -> !;
    fn pz_wait_open(
        nr: u64,
        args: *const u64,
        boundary: *const u32,
        registers: *const Registers,
    ) -> i64;
}

/// A place on the way in or out.
pub enum Edge {
    /// Nothing was done: the call is still to be made, by the `syscall` there.
    Entering(u64),
    /// Only the last jump, to rcx, is left.
    Left,
    /// The way out, which is to begin again there.
    Leaving(u64),
    /// The `hlt`.
    Boundary,
    /// In [`wait_open`] and [`brief`], before the call: give up there.
    Interruptible(u64),
    /// Right behind the call of [`brief`].
    Made,
    /// In [`sigreturn`], when nothing of the personality is left to be done.
    Returning,
}

/// Classifies where a thread is in the personality. `None`: at none of these places.
#[unsafe(link_section = ".text.rare")]
pub fn edge(registers: &Registers) -> Option<Edge> {
    let at = |p: *const u8| p as u64;
    let switch = at(&raw const pz_jump_switch);
    let leave = at(&raw const pz_leave);
    let ip = registers.rip;
    Some(
        if ip == at(&raw const pz_left) || ip == at(&raw const pz_left_slowly) {
            Edge::Left
        } else if (JUMP_ENTRY..=switch).contains(&ip) {
            let back = if ip == JUMP_ENTRY {
                registers.rcx
            } else {
                registers.r11
            };
            Edge::Entering(back.wrapping_sub(2))
        } else if (leave..=at(&raw const pz_leave_switch)).contains(&ip) {
            Edge::Leaving(leave)
        } else if ip == at(&raw const pz_boundary) {
            Edge::Boundary
        } else if (at(&raw const pz_open_begin)..at(&raw const pz_open_end)).contains(&ip) {
            Edge::Interruptible(at(&raw const pz_open_abort))
        } else if (at(&raw const pz_brief_begin)..at(&raw const pz_brief_end)).contains(&ip) {
            Edge::Interruptible(at(&raw const pz_brief_abort))
        } else if ip == at(&raw const pz_brief_end) {
            Edge::Made
        } else if (pz_sigreturn as *const () as u64..=at(&raw const pz_sigreturn_switch))
            .contains(&ip)
        {
            Edge::Interruptible(at(&raw const pz_sigreturn_abort))
        } else if (at(&raw const pz_sigreturn_switch)..=at(&raw const pz_sigreturn_failed))
            .contains(&ip)
        {
            Edge::Returning
        } else {
            return None;
        },
    )
}

/// Whether a fault at an address is the entry's own way to say something: no guest's.
pub fn is_own_fault(ip: u64) -> bool {
    let is_entering = (JUMP_ENTRY..=&raw const pz_jump_switch as u64).contains(&ip);
    is_entering || ip == &raw const pz_boundary as u64
}

/// Whether an address is before anything is done for a call, or after all is.
pub fn is_edge(ip: u64) -> bool {
    let (switch, leave) = (&raw const pz_jump_switch as u64, &raw const pz_leave as u64);
    (JUMP_ENTRY..=switch).contains(&ip) || (leave..=&raw const pz_left as u64).contains(&ip)
}

/// What stands on top of the stack of a thread that has laid its guest's registers down.
pub fn like_restorer() -> u64 {
    &raw const pz_like_restorer as u64
}

/// Makes one blocking call that a signal can end. Debuggers that find the thread waiting see the
/// frame of a signal with the guest's registers.
pub fn wait_open(thread: &Thread, nr: u32, args: [u64; 6]) -> i64 {
    let registers = registers_of(thread);
    let boundary = &raw const thread.boundary;
    unsafe { pz_wait_open(u64::from(nr), args.as_ptr(), boundary, registers) }
}

/// Makes one call that waits for nothing; where a signal is to be served first, it is not made.
pub fn brief(thread: &Thread, nr: u32, args: [u64; 4]) -> i64 {
    unsafe { pz_brief(u64::from(nr), args.as_ptr(), &raw const thread.boundary) }
}

/// Makes the last call of a guest's call. A signal that comes as it succeeds, as its own may, finds the
/// guest where the call has ended, with the result 0: nothing may be left to be done then.
pub fn brief_and_last(thread: &Thread, nr: u32, args: [u64; 4]) -> i64 {
    let is_last = &raw mut me().is_last;
    unsafe { is_last.write_volatile(true) };
    let result = brief(thread, nr, args);
    unsafe { is_last.write_volatile(false) };
    result
}

/// The guest's registers right behind a call that has given 0, in place of ours.
#[unsafe(link_section = ".text.rare")]
pub fn end_call(thread: &Thread, registers: &mut Registers) {
    let call = unsafe { &*registers_of(thread) };
    *registers = Registers {
        rax: 0,
        rcx: call.rip,
        r11: call.eflags,
        selectors: registers.selectors,
        err: registers.err,
        trapno: registers.trapno,
        oldmask: registers.oldmask,
        cr2: registers.cr2,
        fpstate: registers.fpstate,
        reserved: registers.reserved,
        ..*call
    };
}

/// The guest's stack pointer in a call that came by a jump.
pub fn guest_stack(thread: &Thread) -> u64 {
    unsafe { (*registers_of(thread)).rsp }
}

/// Leaves for the guest by a frame of its own, where no signal is to be served first.
pub fn sigreturn(thread: &Thread, context: u64) {
    unsafe { pz_sigreturn(context, &raw const thread.boundary) }
}

/// The registers with which a thread has made a call that came by a jump.
pub fn registers_of(thread: &Thread) -> *mut Registers {
    (thread.region() + TOP as u64) as *mut Registers
}

/// Lays a copy of the registers of a call that came by a jump where a new thread leaves by them.
pub fn copy_registers(from: &Thread, child: &Thread) -> &'static mut Registers {
    let (from, to) = (registers_of(from), registers_of(child));
    unsafe { core::ptr::copy_nonoverlapping(from, to, 1) };
    unsafe { &mut *to }
}

/// Leaves for the guest by the registers that [`copy_registers`] has laid down.
pub fn leave_as_child(thread: &Thread) -> ! {
    unsafe { pz_leave_as_child(registers_of(thread)) }
}

/// Has the running thread's calls find its region. It needs the instruction that the kernel tells of
/// by `HWCAP2_FSGSBASE`.
pub unsafe fn set_region(region: u64) {
    unsafe { asm!("wrgsbase {}", in(reg) region, options(nomem, nostack, preserves_flags)) };
}

/// Where gs of the running thread points.
pub fn gs_base() -> u64 {
    let base: u64;
    unsafe { asm!("rdgsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

extern "C" fn serve(call: &mut Registers) {
    let thread = me();
    thread.rooms = 0;
    let nr = call.rax as u32;
    let args = [call.rdi, call.rsi, call.rdx, call.r10, call.r8, call.r9];
    // Filters of the guest's own are the kernel's to judge.
    let result = if thread.is_filtered() {
        super::RESTART
    } else if nr == picozone_syscalls::nr::rt_sigreturn {
        signal::return_by_jump(thread, call.rsp)
    } else if SERVED.get(nr as usize) == Some(&true) {
        dispatch::result_of(thread, nr, &args)
    } else {
        super::RESTART
    };
    match result {
        super::RESTART => call.rip -= 2,
        result => call.rax = result as u64,
    }
    if thread.held_free() != 0 || thread.wait_mask.is_some() {
        thread.boundary = 1;
    }
}
