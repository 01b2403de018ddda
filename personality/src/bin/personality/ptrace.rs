//! ptrace(2) on processes of the zone.
//!
//! The kernel does the tracing: Landlock holds it within the zone, and the filter judges a tracee's
//! calls after its tracer's last word on them. Here ids are put into the other side's terms, and what
//! a tracee does in its personality is hidden from its tracer, see [`stops`]. The zone's users are
//! told apart as the kernel tells its own (ptrace(2), "Ptrace access mode checking").
//!
//! Left out: `PTRACE_ARCH_PRCTL`, system call user dispatch, and tracing by several threads of one
//! process: the stops of a thread's tracees are judged by that thread alone.

mod leave;
mod stops;
pub mod waits;

use crate::arch::{self, Context, Frame, Info, Stack, syscall1, syscall2, syscall3, syscall4};
use crate::dispatch::{RESTART_ERRNO, checked};
use crate::monitor::commons;
use crate::process::{info_to_host, info_to_zone};
use crate::thread::Thread;
use crate::{Errno, Result, memory, others, pids, refusals, signal};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use linux_raw_sys::ptrace::*;
use picozone_personality::commons::Tracee;
use picozone_personality::layout::THREAD_BIAS;
use stops::{As, STEPPING};
pub use stops::{is_info_shown, is_shown, to_zone};

const TRACEME: u32 = 0;
const LISTEN: u32 = PTRACE_LISTEN;
const SYSEMU: u32 = 31;
const SYSEMU_SINGLESTEP: u32 = 32;
const SINGLEBLOCK: u32 = 33;
const SET_SYSCALL_INFO: u32 = 0x4212;

/// `si_code` of the signals (SIGSYS) that personalities send each other: no one else's.
const ENTRY: i32 = -0x5a01;
const WATCH: i32 = -0x5a02;
/// `si_code` of SIGCHLD for a tracee that stopped.
const CLD_TRAPPED: i32 = 4;

fn raw(request: u32, host: u32, addr: u64, data: u64) -> i64 {
    unsafe { syscall4(__NR_ptrace, u64::from(request), u64::from(host), addr, data) }
}

fn tracee(host: u32) -> Result<&'static Tracee> {
    commons().tracees.get(host as usize).ok_or(Errno::ESRCH)
}

fn forget(tracee: &Tracee) {
    for word in [
        &tracee.mode,
        &tracee.options,
        &tracee.call,
        &tracee.flags,
        &tracee.exec,
        &tracee.shown,
        &tracee.shown_as,
        &tracee.message,
    ] {
        word.store(0, Relaxed);
    }
}

/// ptrace(2).
pub fn ptrace(thread: &mut Thread, request: u64, pid: u64, addr: u64, data: u64) -> Result<u64> {
    let request = u32::try_from(request).unwrap_or(u32::MAX);
    if request == TRACEME {
        return trace_me(thread);
    }
    let host = pids::thread_to_host(pid as u32)?;
    let tracee = tracee(host)?;
    match request {
        PTRACE_ATTACH | PTRACE_SEIZE => attach(thread, request, pid as u32, host, [addr, data]),
        PTRACE_CONT | PTRACE_SYSCALL | PTRACE_SINGLESTEP | LISTEN | SYSEMU | SYSEMU_SINGLESTEP
        | SINGLEBLOCK => go_on(tracee, request, host, addr, data),
        PTRACE_DETACH => {
            stops::let_jump(host);
            let result = checked(raw(request, host, addr, signal_of(tracee, data)))?;
            forget(tracee);
            Ok(result)
        }
        PTRACE_SETOPTIONS => {
            let result = checked(raw(request, host, addr, data))?;
            tracee.options.store(data as u32, Relaxed);
            Ok(result)
        }
        PTRACE_GETEVENTMSG => {
            let message = stops::message(tracee, host)?;
            memory::write(data, &message)?;
            Ok(0)
        }
        PTRACE_GETSIGINFO => {
            let info = stops::info(tracee, host)?;
            memory::write(data, &info)?;
            Ok(0)
        }
        PTRACE_SETSIGINFO => {
            let mut info = memory::read::<Info>(data)?;
            info_to_host(&mut info);
            checked(raw(request, host, addr, &raw const info as u64))
        }
        PTRACE_PEEKSIGINFO => {
            let count = checked(raw(request, host, addr, data))?;
            for at in (0..count).map(|i| data + i * size_of::<Info>() as u64) {
                let mut info = memory::read::<Info>(at)?;
                info_to_zone(info.i32_at(0) as u32, &mut info);
                memory::write(at, &info)?;
            }
            Ok(count)
        }
        PTRACE_GET_SYSCALL_INFO => {
            let (info, size) = stops::call_info(tracee, host)?;
            let bytes: [u8; stops::CALL_INFO_SIZE] = unsafe { core::mem::transmute(info) };
            let room = addr.min(size).min(bytes.len() as u64) as usize;
            memory::write_bytes(data, &bytes[..room])?;
            Ok(size)
        }
        PTRACE_PEEKTEXT
        | PTRACE_PEEKDATA
        | PTRACE_PEEKUSR
        | PTRACE_POKETEXT
        | PTRACE_POKEDATA
        | PTRACE_POKEUSR
        | PTRACE_KILL
        | PTRACE_GETREGS
        | PTRACE_SETREGS
        | PTRACE_GETFPREGS
        | PTRACE_SETFPREGS
        | PTRACE_GETREGSET
        | PTRACE_SETREGSET
        | PTRACE_INTERRUPT
        | PTRACE_GETSIGMASK
        | PTRACE_SETSIGMASK
        | PTRACE_GET_RSEQ_CONFIGURATION
        | SET_SYSCALL_INFO => checked(raw(request, host, addr, data)),
        _ => {
            // Of what is not traced no request is known.
            let mut word = 0u64;
            checked(raw(PTRACE_PEEKUSR, host, 0, &raw mut word as u64))?;
            refusals::mark();
            Err(Errno::EIO)
        }
    }
}

/// `PTRACE_TRACEME`. The parent may be busy with something else than waiting for us: it is told to
/// look after what our first call in the zone stops at. Zone init is no tracer, and lets us go.
fn trace_me(thread: &mut Thread) -> Result<u64> {
    let parent = unsafe { syscall1(__NR_getppid, 0) } as i32;
    if pids::to_zone_or_0(parent) > 1 {
        let info = private(WATCH);
        unsafe {
            syscall3(
                __NR_rt_sigqueueinfo,
                parent as u64,
                u64::from(SIGSYS),
                &raw const info as u64,
            )
        };
    }
    let tracee = tracee(thread.host_tid)?;
    // What is known of it may be of its tracer, who lets nobody else in, or of who had its number.
    let is_known = is_traced(thread.host_tid) && !thread.is_vfork;
    if is_known {
        checked(raw(TRACEME, 0, 0, 0))?;
    }
    forget(tracee);
    tracee.flags.store(stops::BY_ITSELF | stops::KNOWN, Relaxed);
    let result = if is_known {
        0
    } else if thread.is_vfork {
        // A stop before the exec would be for good: the tracer waits for the exec itself.
        thread.is_traced_from_exec = true;
        0
    } else {
        checked(raw(TRACEME, 0, 0, 0))?
    };
    thread.jumps = 0;
    Ok(result)
}

/// Whether a thread goes on as a tracer in the zone has said.
pub fn is_traced(host: u32) -> bool {
    tracee(host).is_ok_and(|tracee| tracee.mode.load(Relaxed) != 0)
}

/// Notes of a thread that its tracer has seen the signal that it ends by, which comes once more to be taken
/// by the kernel.
#[cold]
#[inline(never)]
pub fn ends_by_last(thread: &Thread) {
    if !thread.process().is_client
        && let Ok(tracee) = tracee(thread.host_tid)
    {
        tracee.flags.fetch_or(stops::ENDING, Relaxed);
    }
}

/// Whether a thread is traced, and so what it makes is too.
pub fn has_children_traced(host: u32) -> bool {
    const FOLLOWS: u32 = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;
    tracee(host).is_ok_and(|tracee| tracee.options.load(Relaxed) & FOLLOWS != 0)
}

/// `PTRACE_TRACEME`, where that had to wait for the exec.
pub fn before_exec(thread: &mut Thread) -> Result<()> {
    if core::mem::replace(&mut thread.is_traced_from_exec, false) {
        checked(raw(TRACEME, 0, 0, 0))?;
    }
    Ok(())
}

fn private(code: i32) -> Info {
    let mut info = Info([0; 128]);
    info.set_u32(0, SIGSYS);
    info.set_u32(8, code as u32);
    info
}

fn attach(thread: &Thread, request: u32, zone: u32, host: u32, a: [u64; 2]) -> Result<u64> {
    may_trace(thread, zone)?;
    signal::watch_children(thread);
    let tracee = tracee(host)?;
    match checked(raw(request, host, a[0], a[1])) {
        Ok(value) => {
            forget(tracee);
            tracee.flags.store(stops::KNOWN, Relaxed);
            if request == PTRACE_SEIZE {
                tracee.options.store(a[1] as u32, Relaxed);
            }
            Ok(value)
        }
        // What the zone does not own does not exist.
        Err(Errno::EPERM) if unsafe { syscall2(__NR_kill, u64::from(host), 0) } == -1 => {
            Err(Errno::ESRCH)
        }
        Err(errno) => Err(errno),
    }
}

/// By the zone's own users. Of a thread that is not a leader only the host's answer counts.
fn may_trace(thread: &Thread, zone: u32) -> Result<()> {
    if zone >= THREAD_BIAS {
        return Ok(());
    }
    others::is_no_init(thread, zone)?;
    others::may_look_into(thread, zone)
}

/// What goes on with a stop that is shown as an event brings no signal.
fn signal_of(tracee: &Tracee, data: u64) -> u64 {
    if As::of(tracee) == As::Exec { 0 } else { data }
}

/// `PTRACE_CONT` and its kin.
fn go_on(tracee: &Tracee, request: u32, host: u32, addr: u64, data: u64) -> Result<u64> {
    let is_step = matches!(request, PTRACE_SINGLESTEP | SINGLEBLOCK);
    let Some(ip) = stops::word(host, stops::RIP) else {
        // What others keep of a tracee that is theirs stays as it is.
        return checked(raw(request, host, addr, data));
    };
    let is_inside = is_step && stops::is_inside(ip);
    let before = [&tracee.shown, &tracee.shown_as].map(|word| word.swap(0, Relaxed));
    let data = if before[1] == As::Exec as u32 {
        0
    } else {
        data
    };
    let flags = tracee.flags.load(Relaxed) & !STEPPING;
    // A step out of the personality is one to the guest's next instruction.
    let (real, flags) = if is_inside {
        (PTRACE_SYSCALL, flags | STEPPING)
    } else {
        (request, flags)
    };
    tracee.flags.store(flags, Relaxed);
    tracee.mode.store(request, Relaxed);
    let result = checked(raw(real, host, addr, data));
    if result.is_err() {
        tracee.shown.store(before[0], Relaxed);
        tracee.shown_as.store(before[1], Relaxed);
    }
    result
}

/// Whether a signal is none of the guest's: a message between personalities, or the news of a
/// tracee's stop that was not to be seen.
pub fn is_private(thread: &mut Thread, signal: u32, info: &Info) -> bool {
    match (signal, info.code()) {
        (SIGSYS, ENTRY) => true,
        (SIGSYS, WATCH) => {
            signal::watch_children(thread);
            true
        }
        (SIGCHLD, code) if thread.process().is_tracer => {
            let is_shown = code != CLD_TRAPPED || stops::is_any_shown();
            // Without a handler it would not even have come.
            let is_its = is_shown && signal::has_handler(thread, SIGCHLD);
            thread.is_unseen |= !is_its;
            !is_its
        }
        _ => false,
    }
}

/// After a stop that is not shown. A signal that arrived meanwhile comes first.
pub fn go_on_waiting(thread: &Thread) -> Result<()> {
    if thread.pending.is_some() {
        Err(RESTART_ERRNO)
    } else {
        Ok(())
    }
}

/// Enters the guest's program where a tracer waits for that: with a signal that becomes deliverable
/// by the last step into the guest, so that the tracee stops right at the entry.
pub fn enter(thread: &Thread, entry: u64, stack: u64, mask: u64) -> ! {
    let all = u64::MAX;
    let info = private(ENTRY);
    let mut frame = unsafe { core::mem::zeroed::<Frame>() };
    frame.context = Context {
        // UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
        flags: 6,
        stack: Stack {
            ..thread.real_stack()
        },
        mask,
        ..frame.context
    };
    let regs = &mut frame.context.regs;
    (regs.rip, regs.rsp, regs.eflags) = (entry, stack, 0x202);
    regs.selectors = 0x33 | 0x2b << 48;
    unsafe {
        signal::set_kernel_mask(all, 0);
        let tid = u64::from(thread.host_tid);
        syscall4(
            __NR_rt_tgsigqueueinfo,
            tid,
            tid,
            u64::from(SIGSYS),
            &raw const info as u64,
        );
        arch::sigreturn(&raw const frame as u64)
    }
}
