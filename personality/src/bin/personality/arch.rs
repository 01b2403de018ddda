//! All that is x86_64: entry, raw calls, the interruptible call, faults, signal frames.

/// Lays down what gdb takes for the frame of a signal, from rsi, and changes rcx, rdi and rsi; to be
/// undone by `add rsp, 232`. Where a thread waits in the personality gdb knows no function, takes the
/// top word of the stack for the return address, and finds what a signal's restorer is known by.
macro_rules! show_registers {
    () => {
        "sub rsp, 232
        lea rcx, [rip + pz_like_restorer]
        mov [rsp], rcx
        lea rdi, [rsp + {registers}]
        mov ecx, 18
        rep movsq"
    };
}
/// Where that frame has its registers, of which those up to the flags are filled in.
pub const SHOWN: usize =
    core::mem::offset_of!(Frame, context) + core::mem::offset_of!(Context, regs);
const _: () = assert!(core::mem::offset_of!(Registers, eflags) == 17 * 8 && SHOWN + 18 * 8 <= 232);

mod bytes;
pub mod jump;

use core::arch::{asm, global_asm};
use core::sync::atomic::AtomicU64;
use linux_raw_sys::general::__NR_arch_prctl;

const ARCH_GET_FS: u64 = 0x1003;

/// A raw system call; the kernel's result word.
#[inline(always)]
pub unsafe fn syscall6(nr: u32, a: [u64; 6]) -> i64 {
    let ret: i64;
    unsafe {
        asm!("syscall", inlateout("rax") u64::from(nr) => ret, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _);
    }
    ret
}

macro_rules! syscalls {
    ($($name:ident($($arg:ident),*);)*) => { $(
        /// A raw system call with that many arguments.
        #[inline(always)]
        pub unsafe fn $name(nr: u32, $($arg: u64),*) -> i64 {
            let mut all = [0u64; 6];
            let given = [$($arg),*];
            let mut i = 0;
            while i < given.len() { all[i] = given[i]; i += 1; }
            unsafe { syscall6(nr, all) }
        }
    )* };
}
syscalls! {
    syscall1(a);
    syscall2(a, b);
    syscall3(a, b, c);
    syscall4(a, b, c, d);
    syscall5(a, b, c, d, e);
}

global_asm!(
    ".globl _start",
    "_start:",
    "mov rdi, rsp",
    "lea rsp, [rip + {main_region} + {region_size}]",
    "xor ebp, ebp",
    "call {start}",
    "ud2",
    // pz_enter(entry, sp): leaves for the guest with every register clear, and the flags as the kernel has them.
    ".globl pz_enter",
    "pz_enter:",
    "mov rsp, rsi",
    "push rdi",
    "push 0x202",
    "xor eax, eax", "xor ebx, ebx", "xor ecx, ecx", "xor edx, edx", "xor esi, esi", "xor edi, edi", "xor ebp, ebp",
    "xor r8d, r8d", "xor r9d, r9d", "xor r10d, r10d", "xor r11d, r11d",
    "xor r12d, r12d", "xor r13d, r13d", "xor r14d, r14d", "xor r15d, r15d",
    "popfq",
    "ret",
    // The restorer of our own handlers: rsp points to the context. A signal that is kept may come
    // up to the last instruction, which begins the look for such ones again.
    ".globl pz_restore",
    "pz_restore:",
    "mov rax, rsp",
    "and rax, -{region_size}",
    "mov rcx, [rax + {held}]",
    "not rcx",
    "test rcx, [rax + {held_pending}]",
    "jnz 5f",
    "mov eax, 15",
    "syscall",
    ".globl pz_restore_end",
    "pz_restore_end:",
    "5: mov rbx, rsp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {last_look}",
    "mov rsp, rbx",
    "test eax, eax",
    "jnz pz_restore",
    "mov eax, 15",
    "syscall",
    "ud2",
    // pz_return(frame): takes a signal frame as the kernel laid it out and returns through it.
    ".globl pz_return",
    "pz_return:",
    "lea rsp, [rdi + 8]",
    "jmp pz_restore",
    // pz_wait(nr, args, mask, all, registers): one blocking call under the guest's mask.
    ".globl pz_wait",
    "pz_wait:",
    "push rbx", "push r12", "push r13", "push r14",
    "mov r12, rdi", "mov r13, rsi", "mov r14, rcx", "mov rsi, r8",
    show_registers!(),
    "mov rsi, rdx",
    "mov eax, 14", "mov edi, 2", "xor edx, edx", "mov r10d, 8",
    "syscall",
    ".globl pz_wait_begin",
    "pz_wait_begin:",
    "mov rdi, [r13]", "mov rsi, [r13 + 8]", "mov rdx, [r13 + 16]", "mov r10, [r13 + 24]", "mov r8, [r13 + 32]", "mov r9, [r13 + 40]",
    "mov rax, r12",
    "syscall",
    ".globl pz_wait_end",
    "pz_wait_end:",
    "mov rbx, rax",
    "mov eax, 14", "mov edi, 2", "mov rsi, r14", "xor edx, edx", "mov r10d, 8",
    "syscall",
    "mov rax, rbx",
    "add rsp, 232",
    "pop r14", "pop r13", "pop r12", "pop rbx",
    "ret",
    ".globl pz_wait_abort",
    "pz_wait_abort:",
    "mov rax, -512",
    "jmp pz_wait_end",
    // pz_clone(flags, stack, ptid, ctid, tls, entry, arg): the child calls entry(arg) on its stack.
    ".globl pz_clone",
    "pz_clone:",
    "mov r11, [rsp + 8]",
    "sub rsi, 16",
    "mov [rsi], r9",
    "mov [rsi + 8], r11",
    "mov r10, rcx",
    "mov eax, 56",
    "syscall",
    "test rax, rax",
    "jz 2f",
    "ret",
    "2: pop rax",
    "pop rdi",
    "xor ebp, ebp",
    "call rax",
    "ud2",
    // pz_exit(region, status, place): leaves the thread's own stack at the place for others if that is
    // free, or gives it back, then ends the thread.
    ".globl pz_exit",
    "pz_exit:",
    "mov r12, rsi",
    "test rdx, rdx",
    "jz 2f",
    "xor eax, eax",
    "lock cmpxchg [rdx], rdi",
    "je 3f",
    "2: mov esi, {region_size}",
    "mov eax, 11",
    "syscall",
    "3: mov rdi, r12",
    "mov eax, 60",
    "syscall",
    "ud2",
    // pz_copy(to, from, length) -> bytes not copied; a fault inside ends the copy.
    ".globl pz_copy",
    "pz_copy:",
    "mov rcx, rdx",
    ".globl pz_copy_begin",
    "pz_copy_begin:",
    "cmp rcx, {short}",
    "ja 4f",
    "jmp 6f",
    "2: mov rax, [rsi]",
    "mov rdx, [rsi + 8]",
    "mov [rdi], rax",
    "mov [rdi + 8], rdx",
    "add rsi, 16",
    "add rdi, 16",
    "sub rcx, 16",
    "6: cmp rcx, 16",
    "jae 2b",
    "cmp rcx, 8",
    "jb 3f",
    "mov rax, [rsi]",
    "mov [rdi], rax",
    "add rsi, 8",
    "add rdi, 8",
    "sub rcx, 8",
    // Here and above rcx is not 0 at a fault.
    "3: jrcxz 5f",
    "movzx eax, byte ptr [rsi]",
    "mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rcx",
    "jmp 3b",
    "4: rep movsb",
    "5:",
    ".globl pz_copy_end",
    "pz_copy_end:",
    "mov rax, rcx",
    "ret",
    // pz_string(to, from, room) -> length without NUL, or -1 for a fault, or room if it is too long. A word
    // at a time where that is within a page and within the room; up to seven bytes behind the NUL are
    // written too.
    ".globl pz_string",
    "pz_string:",
    "xor eax, eax",
    "movabs r10, {ones}",
    "movabs r11, {highs}",
    "lea r9, [rdx - 8]",
    "2: cmp rax, r9",
    "jg 3f",
    "lea ecx, [rsi + rax]",
    "and ecx, 4095",
    "cmp ecx, 4088",
    "ja 3f",
    ".globl pz_string_begin",
    "pz_string_begin:",
    "mov rcx, [rsi + rax]",
    "mov [rdi + rax], rcx",
    // The lowest of the high bits that stay is that of the first byte that is 0.
    "mov r8, rcx",
    "not r8",
    "sub rcx, r10",
    "and rcx, r11",
    "and rcx, r8",
    "jnz 5f",
    "add rax, 8",
    "jmp 2b",
    // A byte.
    "3: cmp rax, rdx",
    "jae 4f",
    "movzx ecx, byte ptr [rsi + rax]",
    ".globl pz_string_end",
    "pz_string_end:",
    "mov [rdi + rax], cl",
    "test cl, cl",
    "jz 4f",
    "inc rax",
    "jmp 2b",
    "5: bsf rcx, rcx",
    "shr ecx, 3",
    "add rax, rcx",
    "4: ret",
    ".globl pz_string_fault",
    "pz_string_fault:",
    "mov rax, -1",
    "ret",
    // pz_clock() -> the processor's clock, or 0 where the thread may not read it (PR_SET_TSC).
    ".globl pz_clock",
    "pz_clock:",
    "xor eax, eax",
    "xor edx, edx",
    ".globl pz_clock_begin",
    "pz_clock_begin:",
    "rdtsc",
    ".globl pz_clock_end",
    "pz_clock_end:",
    "shl rdx, 32",
    "or rax, rdx",
    "ret",
    // pz_replace(at, old, new): a word that is still `old` becomes `new`.
    ".globl pz_replace",
    "pz_replace:",
    "mov eax, esi",
    ".globl pz_replace_begin",
    "pz_replace_begin:",
    "lock cmpxchg [rdi], edx",
    ".globl pz_replace_end",
    "pz_replace_end:",
    "ret",
    main_region = sym crate::thread::MAIN_REGION,
    region_size = const crate::thread::REGION_SIZE,
    held = const core::mem::offset_of!(crate::thread::Thread, held),
    held_pending = const core::mem::offset_of!(crate::thread::Thread, held_pending),
    last_look = sym crate::signal::last_look,
    start = sym crate::load::start,
    registers = const SHOWN,
    short = const bytes::SHORT,
    ones = const bytes::ONES,
    highs = const bytes::ONES << 7,
);

unsafe extern "C" {
    pub fn pz_enter(entry: u64, sp: u64) -> !;
    pub fn pz_restore();
    fn pz_return(frame: u64) -> !;
    fn pz_wait(
        nr: u64,
        args: *const u64,
        mask: *const u64,
        all: *const u64,
        registers: *const Registers,
    ) -> i64;
    fn pz_clone(
        flags: u64,
        stack: u64,
        ptid: u64,
        ctid: u64,
        tls: u64,
        entry: u64,
        arg: u64,
    ) -> i64;
    fn pz_exit(region: u64, status: u64, place: Option<&AtomicU64>) -> !;
    fn pz_copy(to: u64, from: u64, length: u64) -> u64;
    fn pz_string(to: u64, from: u64, room: u64) -> i64;
    fn pz_replace(at: u64, old: u32, new: u32);
    fn pz_clock() -> u64;
    static pz_restore_end: u8;
    static pz_wait_begin: u8;
    static pz_wait_end: u8;
    static pz_wait_abort: u8;
    static pz_copy_begin: u8;
    static pz_copy_end: u8;
    static pz_string_begin: u8;
    static pz_string_end: u8;
    static pz_string_fault: u8;
    static pz_clock_begin: u8;
    static pz_clock_end: u8;
    static pz_replace_begin: u8;
    static pz_replace_end: u8;
}

/// Where an exec begins.
pub fn first_instruction() -> u64 {
    unsafe extern "C" {
        fn _start();
    }
    _start as *const () as u64
}

/// What [`wait`] gives when a signal arrived before the call began or asks for it to be made again.
pub const RESTART: i64 = -512;

/// Makes one blocking call under `mask`, so that a signal can end it. Where the guest came by a
/// jump, its mask is in force anyway.
pub fn wait(nr: u32, args: [u64; 6], mask: u64) -> i64 {
    let thread = crate::thread::me();
    thread.is_unseen = false;
    if thread.came_by_jump() {
        return jump::wait_open(thread, nr, args);
    }
    let all = crate::signal::BLOCK_ALL;
    unsafe {
        pz_wait(
            u64::from(nr),
            args.as_ptr(),
            &raw const mask,
            &raw const all,
            &raw const (*thread.context).regs,
        )
    }
}

/// Clones; the child runs `entry(arg)` on `stack` and never returns.
pub unsafe fn clone(
    flags: u64,
    stack: u64,
    ptid: u64,
    ctid: u64,
    tls: u64,
    entry: extern "C" fn(u64) -> !,
    arg: u64,
) -> i64 {
    unsafe { pz_clone(flags, stack, ptid, ctid, tls, entry as usize as u64, arg) }
}

/// Returns through a signal frame.
pub unsafe fn sigreturn(frame: u64) -> ! {
    unsafe { pz_return(frame) }
}

/// Leaves the thread's own region to others, or unmaps it, and ends the thread. All signals must be
/// blocked.
pub unsafe fn exit_thread(region: u64, status: u64, place: Option<&AtomicU64>) -> ! {
    unsafe { pz_exit(region, status, place) }
}

/// Copies `length` bytes from or to guest memory; false if any byte faulted.
pub fn copy(to: u64, from: u64, length: usize) -> bool {
    unsafe { pz_copy(to, from, length as u64) == 0 }
}

/// Copies a NUL-terminated string in. `None`: fault; `Some(room)`: too long.
pub fn string_in(to: u64, room: usize, from: u64) -> Option<usize> {
    let n = unsafe { pz_string(to, from, room as u64) };
    usize::try_from(n).ok()
}

/// Makes a word of the guest's memory `new` if it is `old`; none at address 0.
pub fn replace_if_any(at: u64, old: u32, new: u32) {
    if at != 0 {
        unsafe { pz_replace(at, old, new) }
    }
}

/// The processor's clock; 0 where the thread may not read it.
pub fn clock() -> u64 {
    unsafe { pz_clock() }
}

/// Has a line of the cache made this processor's own, which is soon to be written. Nothing happens where
/// nothing is mapped.
pub fn prepare_to_write(at: u64) {
    unsafe { asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags)) }
}

/// The base of fs: where libc has the block of the running thread.
pub fn thread_pointer() -> u64 {
    let mut base = 0u64;
    unsafe { syscall2(__NR_arch_prctl, ARCH_GET_FS, &raw mut base as u64) };
    base
}

/// What an interrupted place in the personality means.
pub enum Place {
    /// Guest code.
    Guest,
    /// Between the unblocking and the blocking call: give up and restart.
    Interruptible(u64),
    /// An access to guest memory: go on there.
    Access(u64),
    /// At the end of a handler of ours, which is to begin again there.
    Restoring(u64),
    /// On the way from or to a rewritten call site.
    Edge(jump::Edge),
    /// Elsewhere in the personality.
    Inside,
}

/// Classifies where a thread is.
pub fn place(registers: &Registers) -> Place {
    use picozone_personality::layout::{PERSONALITY_BASE, PERSONALITY_SIZE};
    let ip = registers.rip;
    if !(PERSONALITY_BASE..PERSONALITY_BASE + PERSONALITY_SIZE).contains(&ip) {
        return Place::Guest;
    }
    let at = |p: *const u8| p as u64;
    {
        if (at(&raw const pz_wait_begin)..at(&raw const pz_wait_end)).contains(&ip) {
            Place::Interruptible(at(&raw const pz_wait_abort))
        } else if (at(&raw const pz_copy_begin)..at(&raw const pz_copy_end)).contains(&ip) {
            Place::Access(at(&raw const pz_copy_end))
        } else if (at(&raw const pz_string_begin)..at(&raw const pz_string_end)).contains(&ip) {
            Place::Access(at(&raw const pz_string_fault))
        } else if (at(&raw const pz_replace_begin)..at(&raw const pz_replace_end)).contains(&ip) {
            Place::Access(at(&raw const pz_replace_end))
        } else if (at(&raw const pz_clock_begin)..at(&raw const pz_clock_end)).contains(&ip) {
            Place::Access(at(&raw const pz_clock_end))
        } else if (pz_restore as *const () as u64..at(&raw const pz_restore_end)).contains(&ip) {
            Place::Restoring(pz_restore as *const () as u64)
        } else {
            match jump::edge(registers) {
                Some(jump::Edge::Returning) => Place::Guest,
                edge => edge.map_or(Place::Inside, Place::Edge),
            }
        }
    }
}

/// `struct sigcontext` (arch/x86/include/uapi/asm/sigcontext.h).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Registers {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub eflags: u64,
    pub selectors: u64,
    pub err: u64,
    pub trapno: u64,
    pub oldmask: u64,
    pub cr2: u64,
    pub fpstate: u64,
    pub reserved: [u64; 8],
}

/// `stack_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Stack {
    pub sp: u64,
    pub flags: i32,
    pub pad: u32,
    pub size: u64,
}

/// `struct ucontext`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Context {
    pub flags: u64,
    pub link: u64,
    pub stack: Stack,
    pub regs: Registers,
    pub mask: u64,
}

/// `siginfo_t`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Info(pub [u8; 128]);

impl Info {
    pub fn i32_at(&self, at: usize) -> i32 {
        i32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
    /// `si_pid`, of signals from a process and of `SIGCHLD`.
    pub fn pid(&self) -> i32 {
        self.i32_at(16)
    }
    pub fn set_pid(&mut self, pid: u32) {
        self.set_u32(16, pid);
    }
    /// `si_uid`, of the same.
    pub fn set_uid(&mut self, uid: u32) {
        self.set_u32(20, uid);
    }
    pub fn set_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    /// `si_code`.
    pub fn code(&self) -> i32 {
        self.i32_at(8)
    }
}

/// `struct rt_sigframe` (arch/x86/include/asm/sigframe.h).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Frame {
    pub restorer: u64,
    pub context: Context,
    pub info: Info,
}

/// Makes floating point state of that many bytes what a handler begins with: the processor's initial
/// one (Linux, `fpu__clear_user_states`), but for the rights of protection keys.
pub unsafe fn begin_fpstate(fpstate: u64, size: usize) {
    const LEGACY: usize = 512;
    const HEADER: usize = 64;
    const FCW: u16 = 0x37f;
    const MXCSR: u32 = 0x1f80;
    /// Of `XSTATE_BV`: a component whose bit is clear is loaded as at first.
    const PKRU: u64 = 1 << 9;
    if size < LEGACY {
        return;
    }
    unsafe {
        if size >= LEGACY + HEADER {
            let present = (fpstate + LEGACY as u64) as *mut u64;
            present.write(present.read() & PKRU);
        } else {
            // What lies behind the registers, from 416 on, is not the processor's.
            (fpstate as *mut u8).write_bytes(0, 416);
            (fpstate as *mut u16).write(FCW);
        }
        ((fpstate + 24) as *mut u32).write(MXCSR);
    }
}

/// Bytes of floating point state at `fpstate`, 0 if there is none (Documentation/arch/x86/xstate).
pub unsafe fn fpstate_size(fpstate: u64) -> usize {
    if fpstate == 0 {
        return 0;
    }
    const MAGIC1: u32 = 0x4650_5853;
    unsafe {
        let software = (fpstate + 464) as *const u32;
        if software.read() == MAGIC1 {
            software.add(1).read() as usize
        } else {
            512
        }
    }
}
