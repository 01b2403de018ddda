//! seccomp(2) for guests: the kernel's own, beside the filter of the zone.
//!
//! A guest's filter goes to the kernel behind a few instructions that let the personality's own calls
//! pass, so that it sees the guest's calls and nothing else. The kernel does the least of what all
//! filters say, so that it holds by itself for calls that the zone's filter lets through, and where it
//! kills. Of what both trap the last filter's word is told (`si_errno`): what came without ours
//! is the guest's signal.
//!
//! For other calls the kernel only says that they are trapped. So the call is made once more, from a
//! place where the guest's filter judges as it does the guest's own calls, and the zone's filter
//! answers [`JUDGED`] without making it: any other answer is the guest's filter's. So there is no need
//! to keep filters here, over forks and execs, nor to understand them.
//!
//! A filter holds for programs that do not attack the personality, as all that keeps the zone's
//! users apart. Calls of a thread that has filters come by SIGSYS, never by a jump.
//!
//! What is not there: a listener (the only one that the kernel lets a process have is the zone's), and
//! a tracer's word (`SECCOMP_RET_TRACE`) on calls that the personality serves: they fail with ENOSYS
//! where nobody traces, as all do, and are made where somebody does.

use crate::arch::{Context, Info, syscall2, syscall3, syscall6};
use crate::dispatch::{checked, refuse};
use crate::file::{Power, has};
use crate::thread::Thread;
use crate::{Errno, Result, identity, memory, pids, signal};
use core::arch::global_asm;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_personality::capabilities::STRICT;
use picozone_personality::layout::{JUDGE_END, PERSONALITY_BASE, PERSONALITY_SIZE, THREAD_BIAS};
use picozone_syscalls::bpf::{
    ALLOW, ERRNO, Insn, JEQ, JGE, JUDGED, JUMP, KILL, LOAD, NOTIFY, OURS, RETURN, TRACE, TRAP, data,
};

global_asm!(
    // pz_judge(args, nr): makes a call, to be judged only.
    ".section .judge, \"ax\", @progbits",
    "syscall",
    ".globl pz_judged",
    "pz_judged:",
    "ret",
    ".text",
    ".globl pz_judge",
    "pz_judge:",
    "mov rax, rsi",
    "mov r11, rdi",
    "mov rdi, [r11]",
    "mov rsi, [r11 + 8]",
    "mov rdx, [r11 + 16]",
    "mov r10, [r11 + 24]",
    "mov r8, [r11 + 32]",
    "mov r9, [r11 + 40]",
    "jmp pz_judged - 2",
);

unsafe extern "C" {
    fn pz_judge(args: *const u64, nr: u64) -> i64;
}

// include/uapi/linux/seccomp.h
const MODE_STRICT: u32 = 1;
const MODE_FILTER: u32 = 2;
const SET_MODE_STRICT: u32 = 0;
const SET_MODE_FILTER: u32 = 1;
const GET_ACTION_AVAIL: u32 = 2;
const GET_NOTIF_SIZES: u32 = 3;
pub const TSYNC: u32 = 1;
const LOG: u32 = 1 << 1;
const SPEC_ALLOW: u32 = 1 << 2;
const NEW_LISTENER: u32 = 1 << 3;
const TSYNC_ESRCH: u32 = 1 << 4;
const WAIT_KILLABLE_RECV: u32 = 1 << 5;
/// `SECCOMP_RET_KILL_PROCESS`, `_KILL_THREAD`, `_TRAP`, `_ERRNO`, `_TRACE`, `_LOG`, `_ALLOW`.
const ACTIONS: [u32; 7] = [KILL, 0, TRAP, ERRNO, TRACE, 0x7ffc_0000, ALLOW];

/// What comes with a trapped call in strict mode (`si_errno`).
const ENDED: u32 = OURS + 1;
/// An answer that no filter gives: a tracer is to decide.
const ELSEWHERE: u32 = 4092;
/// The same: the guest's filter traps what it sees made from here.
const TRAPPED: i64 = -4093;

/// What is to become of a call.
pub enum Verdict {
    /// It is served.
    Serve,
    /// It is not, and gives this.
    Result(i64),
    /// The guest gets SIGSYS.
    Signal,
}

/// What the guest's filters say about a call that came by SIGSYS.
#[cold]
#[inline(never)]
pub fn judge(thread: &Thread, nr: u32, info: &Info, context: &Context) -> Verdict {
    let word = info.i32_at(4) as u32;
    if word == ENDED && thread.credentials.capabilities.filters == STRICT {
        signal::send_to_self(thread, SIGKILL);
    }
    if word != OURS {
        return Verdict::Signal;
    }
    let regs = &context.regs;
    let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
    signal::open_to_faults();
    match unsafe { pz_judge(args.as_ptr(), u64::from(nr)) } {
        TRAPPED => Verdict::Signal,
        // The tracer has its word at the stop of the signal by which this came.
        result if result == -i64::from(ELSEWHERE) => {
            if crate::ptrace::is_traced(thread.host_tid) {
                Verdict::Serve
            } else {
                Verdict::Result(Errno::ENOSYS.to_ret())
            }
        }
        result if result == -i64::from(JUDGED) => Verdict::Serve,
        result => Verdict::Result(result),
    }
}

/// Whether a signal tells that the guest's filter traps what [`judge`] asks about.
pub fn is_refused(context: &mut Context) -> bool {
    let is_judging = context.regs.rip == JUDGE_END;
    if is_judging {
        context.regs.rax = TRAPPED as u64;
    }
    is_judging
}

/// How many filters a thread has.
pub fn count(thread: &Thread) -> u32 {
    let of_all = thread.process().filters_of_all.load(Relaxed) & !NO_NEW_PRIVS;
    thread.credentials.capabilities.filters.max(of_all)
}

/// In [`Process::filters_of_all`](crate::thread::Process): who put them on had `no_new_privs`, and so have
/// all.
pub const NO_NEW_PRIVS: u32 = 1 << 31;

/// `PR_GET_NO_NEW_PRIVS`.
pub fn no_new_privs(thread: &Thread) -> u32 {
    let of_all = thread.process().filters_of_all.load(Relaxed) & NO_NEW_PRIVS;
    thread.credentials.capabilities.no_new_privs | u32::from(of_all != 0)
}

/// `PR_GET_SECCOMP`.
pub fn mode(thread: &Thread) -> u64 {
    if count(thread) == 0 {
        0
    } else {
        u64::from(MODE_FILTER)
    }
}

/// `PR_SET_SECCOMP`.
pub fn set_mode(thread: &mut Thread, mode: u64, program: u64) -> Result<u64> {
    match mode as u32 {
        MODE_STRICT => set_strict(thread),
        MODE_FILTER => set_filter(thread, 0, program),
        _ => Err(Errno::EINVAL),
    }
}

/// seccomp(2).
#[inline(never)]
pub fn seccomp(thread: &mut Thread, operation: u64, flags: u64, args: u64) -> Result<u64> {
    match operation as u32 {
        SET_MODE_STRICT if flags as u32 == 0 && args == 0 => set_strict(thread),
        SET_MODE_FILTER => set_filter(thread, flags as u32, args),
        GET_ACTION_AVAIL if flags as u32 == 0 => {
            let is_there = ACTIONS.contains(&memory::read::<u32>(args)?);
            is_there.then_some(0).ok_or(Errno::EOPNOTSUPP)
        }
        GET_NOTIF_SIZES if flags as u32 == 0 => {
            // Of `struct seccomp_notif`, `seccomp_notif_resp` and `seccomp_data`, 16 bits each.
            const SIZES: [u8; 6] = [80, 0, 24, 0, 64, 0];
            memory::write_bytes(args, &SIZES).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Where instructions of a filter are put together.
struct Program {
    at: *mut Insn,
    len: usize,
}

/// What stands before a guest's own instructions: the personality's calls are none of its business,
/// but for the place where it is asked.
const PREFIX: [Insn; 7] = {
    const _: () = assert!(PERSONALITY_BASE as u32 == 0 && PERSONALITY_SIZE >> 32 == 0);
    [
        Insn::new(LOAD, 0, 0, data::POINTER + 4),
        Insn::new(JEQ, 0, 4, (PERSONALITY_BASE >> 32) as u32),
        Insn::new(LOAD, 0, 0, data::POINTER),
        Insn::new(JEQ, 2, 0, JUDGE_END as u32),
        Insn::new(JGE, 1, 0, PERSONALITY_SIZE as u32),
        Insn::new(RETURN, 0, 0, ALLOW),
        // BPF_LD | BPF_IMM: it begins with 0.
        Insn::new(0, 0, 0, 0),
    ]
};

/// Before a return of what only somebody else could turn into a result.
const ANSWER: [Insn; 5] = [
    Insn::new(LOAD, 0, 0, data::POINTER + 4),
    Insn::new(JEQ, 0, 3, (PERSONALITY_BASE >> 32) as u32),
    Insn::new(LOAD, 0, 0, data::POINTER),
    Insn::new(JEQ, 0, 1, JUDGE_END as u32),
    Insn::new(RETURN, 0, 0, ERRNO | ELSEWHERE),
];
/// Classes of instructions, in the low bits of their operation.
const CLASS_JUMP: u16 = 5;
const CLASS_RETURN: u16 = 6;
/// `SECCOMP_RET_ACTION_FULL`.
const ACTION: u32 = 0xffff_0000;

/// Has the kernel put a program on the thread, with flags of seccomp(2): 0, an errno, or a thread that
/// does not go along.
pub fn install(program: &[Insn], flags: u64) -> i64 {
    // struct sock_fprog.
    let program = [program.len() as u64, program.as_ptr() as u64];
    let (operation, program) = (u64::from(SET_MODE_FILTER), &raw const program as u64);
    unsafe { syscall3(__NR_seccomp, operation, flags, program) }
}

impl Program {
    /// Room for as many instructions as the kernel takes.
    fn new() -> Result<Program> {
        let at = unsafe { syscall6(__NR_mmap, [0, Self::SIZE, 3, 0x22, u64::MAX, 0]) };
        let mut program = Program {
            at: checked(at)? as *mut Insn,
            len: 0,
        };
        for insn in PREFIX {
            program.put(insn);
        }
        Ok(program)
    }
    /// BPF_MAXINSNS.
    const MOST: usize = 4096;
    const SIZE: u64 = (Self::MOST * size_of::<Insn>()) as u64;

    fn put(&mut self, insn: Insn) {
        unsafe { self.at.add(self.len).write(insn) };
        self.len += 1;
    }

    /// A guest's own, of which the kernel must find on its own account what it finds here.
    fn take(&mut self, from: u64, count: usize) -> Result<()> {
        if self.len + count > Self::MOST {
            return Err(Errno::ENOMEM);
        }
        let to = unsafe { core::slice::from_raw_parts_mut(self.at.add(self.len), count) };
        let size = size_of_val(to);
        let bytes = unsafe { core::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), size) };
        memory::read_bytes(from, bytes)?;
        let first = self.len;
        self.len += count;
        for (at, own) in to.iter_mut().enumerate() {
            let Insn { code, jt, jf, k } = *own;
            let skipped = match (code & 7, code) {
                (CLASS_JUMP, JUMP) => k as usize,
                (CLASS_JUMP, _) => usize::from(jt.max(jf)),
                _ => 0,
            };
            // Beyond its end stands what comes now.
            if code & 7 != CLASS_RETURN && at + 1 + skipped >= count {
                return Err(Errno::EINVAL);
            }
            if code == RETURN && matches!(k & ACTION, TRACE | NOTIFY) {
                *own = Insn::new(JUMP, 0, 0, (self.len - first - at - 1) as u32);
                self.answer(k)?;
            }
        }
        Ok(())
    }

    /// Returns a value that says, where it is asked, that somebody else is to decide.
    fn answer(&mut self, k: u32) -> Result<()> {
        if self.len + ANSWER.len() >= Self::MOST {
            return Err(Errno::ENOMEM);
        }
        for insn in ANSWER {
            self.put(insn);
        }
        self.put(Insn::new(RETURN, 0, 0, k));
        Ok(())
    }

    /// Has the kernel put it on the thread, and counts it.
    fn put_on(&self, thread: &mut Thread, flags: u32, counted: u32) -> Result<u64> {
        let process = thread.process();
        // Before: from its first moment it judges what other threads call, too.
        process.filters.fetch_add(1, Relaxed);
        let program = unsafe { core::slice::from_raw_parts(self.at, self.len) };
        let result = install(program, flags.into());
        if result != 0 {
            process.filters.fetch_sub(1, Relaxed);
            let failed = checked(result)? as u32;
            // A thread that has other filters.
            return Ok(u64::from(
                pids::to_zone(failed).unwrap_or(failed + THREAD_BIAS),
            ));
        }
        let old = thread.credentials;
        thread.credentials.capabilities.filters = counted;
        if flags & TSYNC != 0 {
            let and = no_new_privs(thread) * NO_NEW_PRIVS;
            process.filters_of_all.store(counted | and, Relaxed);
        }
        identity::changed(thread, &old);
        Ok(0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        unsafe { syscall2(__NR_munmap, self.at as u64, Self::SIZE) };
    }
}

/// `SECCOMP_SET_MODE_STRICT`, by a filter: what else is called comes here and ends the process.
fn set_strict(thread: &mut Thread) -> Result<u64> {
    const CALLS: [u32; 4] = [__NR_read, __NR_write, __NR_exit, __NR_rt_sigreturn];
    if count(thread) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut program = Program::new()?;
    program.put(Insn::new(LOAD, 0, 0, data::NUMBER));
    for (at, nr) in CALLS.iter().enumerate() {
        program.put(Insn::new(JEQ, (CALLS.len() - at) as u8, 0, *nr));
    }
    program.put(Insn::new(RETURN, 0, 0, TRAP | ENDED));
    program.put(Insn::new(RETURN, 0, 0, ALLOW));
    program.put_on(thread, 0, STRICT)
}

/// `SECCOMP_SET_MODE_FILTER`.
fn set_filter(thread: &mut Thread, flags: u32, args: u64) -> Result<u64> {
    const WITHOUT_LISTENER: u32 = TSYNC | LOG | SPEC_ALLOW | TSYNC_ESRCH;
    const LISTENER: u32 = NEW_LISTENER | WAIT_KILLABLE_RECV;
    if flags & !(WITHOUT_LISTENER | LISTENER) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & (TSYNC | TSYNC_ESRCH) == TSYNC && flags & NEW_LISTENER != 0 {
        // A descriptor and a thread are both to be told by what it gives.
        return Err(Errno::EINVAL);
    }
    if flags & LISTENER == WAIT_KILLABLE_RECV {
        return Err(Errno::EINVAL);
    }
    let length = usize::from(memory::read::<u64>(args)? as u16);
    let from = memory::read::<u64>(args.wrapping_add(8))?;
    if length == 0 || length > Program::MOST {
        return Err(Errno::EINVAL);
    }
    if no_new_privs(thread) == 0 && !has(thread, Power::Administer) {
        return Err(Errno::EACCES);
    }
    let mut program = Program::new()?;
    program.take(from, length)?;
    if flags & NEW_LISTENER != 0 {
        let _ = refuse(__NR_seccomp);
        return Err(Errno::EBUSY);
    }
    let counted = count(thread).saturating_add(1);
    program.put_on(thread, flags, counted)
}
