//! Which stops of a tracee its tracer sees, and as what.
//!
//! A trapped call stops its tracee for SIGSYS, and runs the personality, whose own calls are stops
//! for `PTRACE_SYSCALL`, and where a bad pointer of the guest's faults. None of that is shown: the
//! tracee is sent on as its tracer last did, and the return to the guest (the end of rt_sigreturn) is
//! shown as the end of the guest's call, or of a step over it. The end of an exec is shown when the
//! guest's program is about to start.
//!
//! What is known of a tracee lies in the commons, by its host id. A stop is judged once: what it is
//! shown as is kept until the tracee goes on.

use super::*;
use crate::arch::jump::{self, MAY_JUMP};
use crate::file::{Power, has};
use crate::thread::{self, REGION_SIZE, me};
use linux_raw_sys::general::{P_ALL, WEXITED, WNOHANG, WNOWAIT, WSTOPPED};
use picozone_personality::layout::{PERSONALITY_BASE, PERSONALITY_SIZE};
use picozone_personality::mailbox::{AWAITED, AWAITED_BY_ROOT};

/// Flag: the tracer saw the entry of the guest's call under way.
const ENTERED: u32 = 1;
/// Flag: the tracer steps; what runs is the personality.
pub const STEPPING: u32 = 2;

/// Flag: its calls come by SIGSYS, as far as it could come by a jump.
const SLOW: u32 = 4;

/// Flag: it asked its parent to trace it, which may not have heard of it yet.
pub const BY_ITSELF: u32 = 8;

/// Flag: whose id it is stands in the commons.
pub const KNOWN: u32 = 16;

/// Flag: it ends by the signal that was shown last.
pub const ENDING: u32 = 32;

/// What is still to be shown of an exec: `PTRACE_EVENT_EXEC`.
const EXEC_EVENT: u32 = 1;
/// The SIGTRAP that a tracer gets without that option.
const EXEC_SIGNAL: u32 = 2;
/// The end of the call.
const EXEC_EXIT: u32 = 3;

/// What a stop is shown as where it is really another one.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum As {
    Itself = 0,
    /// `PTRACE_EVENT_EXEC`.
    Exec = 1,
    /// The SIGTRAP after an exec.
    Signal = 2,
    /// The end of a call.
    Exit = 3,
    /// A step.
    Step = 4,
}

impl As {
    pub fn of(tracee: &Tracee) -> As {
        match tracee.shown_as.load(Relaxed) {
            1 => As::Exec,
            2 => As::Signal,
            3 => As::Exit,
            4 => As::Step,
            _ => As::Itself,
        }
    }
}

/// Offsets in `struct user` (sys/user.h).
pub const RAX: u64 = 10 * 8;
pub const RIP: u64 = 16 * 8;
pub const RSP: u64 = 19 * 8;
pub const ORIG_RAX: u64 = 15 * 8;
pub const GS_BASE: u64 = 22 * 8;

/// `struct ptrace_syscall_info`, in words.
pub type CallInfo = [u64; 11];
pub const CALL_INFO_SIZE: usize = size_of::<CallInfo>();
const OP_NONE: u8 = 0;
const OP_ENTRY: u8 = 1;
const OP_EXIT: u8 = 2;

const TRAP: i32 = SIGTRAP as i32;
pub const SYSGOOD: i32 = 0x80;
const EVENT_EXEC: i32 = PTRACE_EVENT_EXEC as i32;
const TRAP_TRACE: u32 = 2;

/// A register of a tracee, by its offset.
pub fn word(host: u32, offset: u64) -> Option<u64> {
    let mut value = 0u64;
    (raw(PTRACE_PEEKUSR, host, offset, &raw mut value as u64) == 0).then_some(value)
}

/// Whether an instruction of the personality stands there.
pub fn is_inside(ip: u64) -> bool {
    (PERSONALITY_BASE..PERSONALITY_BASE + PERSONALITY_SIZE).contains(&ip)
}

/// Judges what wait4(2) gave; the status may become another one. False if the tracee went on.
///
/// `is_taken`: whoever waited took the stop, so that it will not be told again.
pub fn is_shown(host: u32, status: &mut i32, is_taken: bool) -> bool {
    let (is_tracer, is_stop) = (me().process().is_tracer, *status & 0x7f == 0x7f);
    if !(is_tracer || is_stop) || *status == 0xffff {
        return true;
    }
    let Ok(tracee) = tracee(host) else {
        return true;
    };
    if !is_tracer {
        if tracee.flags.load(Relaxed) & BY_ITSELF == 0 {
            return true;
        }
        // The message about it waits for another thread, or for this one.
        signal::watch_children(me());
    }
    if !is_stop {
        forget(tracee);
        return true;
    }
    judge(tracee, host, status, is_taken)
}

/// The same for what waitid(2) gave.
pub fn is_info_shown(info: &mut Info, is_taken: bool) -> bool {
    if info.pid() == 0 || info.code() != CLD_TRAPPED {
        return true;
    }
    let mut status = info.i32_at(24) << 8 | 0x7f;
    let is_shown = is_shown(info.pid() as u32, &mut status, is_taken);
    info.set_u32(24, (status >> 8) as u32);
    is_shown
}

/// Sends on every tracee whose stop is not to be seen. Whether anything is left that a parent or
/// tracer could wait for.
pub fn is_any_shown() -> bool {
    loop {
        let mut info = Info([0; 128]);
        const ALL: u32 = WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL;
        let result = unsafe {
            crate::arch::syscall5(
                __NR_waitid,
                u64::from(P_ALL),
                0,
                &raw mut info as u64,
                u64::from(ALL),
                0,
            )
        };
        if result < 0 || info.pid() == 0 {
            return false;
        }
        if is_info_shown(&mut info, false) {
            return true;
        }
    }
}

fn judge(tracee: &Tracee, host: u32, status: &mut i32, is_taken: bool) -> bool {
    let before = tracee.shown.load(Relaxed);
    if before != 0 {
        *status = before as i32;
        return true;
    }
    let Some(ip) = word(host, RIP) else {
        // Traced by another thread of this process, which judges when it waits; or a signal has had what was
        // only looked at sent on meanwhile.
        return is_taken || leave::is_stopped(host);
    };
    if tracee.flags.load(Relaxed) & SLOW == 0 && change_jumps(host, MAY_JUMP, 0) {
        tracee.flags.fetch_or(SLOW, Relaxed);
    }
    let (signal, event) = ((*status >> 8) & 0xff, *status >> 16);
    let flags = tracee.flags.fetch_or(KNOWN, Relaxed);
    let is_new = flags & KNOWN == 0 && (signal == STOP || event == EVENT_STOP);
    if is_new {
        // Attached by the kernel, and seen before its parent's event.
        learn(host, host);
    }
    // The end of a call that its tracer has seen begin is still to come: it comes first natively.
    let is_free = !is_new && flags & (ENTERED | STEPPING) == 0 && tracee.exec.load(Relaxed) == 0;
    let shown = match (signal, event) {
        (TRAP, EVENT_STOP) if is_free && !leave::is_in_guest(host) => {
            leave::leave(tracee, host, *status, is_taken)
        }
        (_, EVENT_EXEC) => exec_began(tracee, host, EXEC_EVENT),
        (_, 1..) => {
            born(tracee, host, event as u32);
            Some((*status, As::Itself))
        }
        (TRAP, _) | (TRAP_GOOD, _) => trap(tracee, host, *status),
        (SYS, _) => sigsys(tracee, host, *status),
        (SEGV | BUS, _) if tracee.flags.load(Relaxed) & ENDING != 0 || is_own_fault(host, ip) => {
            on(tracee, host, signal as u32)
        }
        _ if is_free && !leave::is_in_guest(host) => leave::leave(tracee, host, *status, is_taken),
        _ => return true,
    };
    let Some((new, shown_as)) = shown else {
        return false;
    };
    if new >> 16 != event && (1..EVENT_STOP).contains(&(new >> 16)) && shown_as == As::Itself {
        // An event came between.
        *status = new;
        tracee.shown.store(0, Relaxed);
        return judge(tracee, host, status, is_taken);
    }
    *status = new;
    tracee.shown.store(new as u32, Relaxed);
    tracee.shown_as.store(shown_as as u32, Relaxed);
    true
}
const TRAP_GOOD: i32 = TRAP | SYSGOOD;
const SYS: i32 = SIGSYS as i32;
const STOP: i32 = SIGSTOP as i32;
const EVENT_STOP: i32 = PTRACE_EVENT_STOP as i32;
const SEGV: i32 = SIGSEGV as i32;
const BUS: i32 = SIGBUS as i32;

/// Whether a tracee stopped for a fault of the personality, which makes `EFAULT` of it where the
/// guest's pointer is at fault.
pub fn is_own_fault(host: u32, ip: u64) -> bool {
    let mut info = Info([0; 128]);
    jump::is_own_fault(ip)
        || is_inside(ip)
            && raw(PTRACE_GETSIGINFO, host, 0, &raw mut info as u64) >= 0
            && info.code() > 0
}

/// Changes [`Thread::jumps`] of a tracee that has a region, from one value only: what comes by a jump
/// makes no stop. Whether it is done or needs not be.
fn change_jumps(host: u32, from: i64, to: i64) -> bool {
    if !thread::has_jumps() {
        return true;
    }
    let Some(region) = word(host, GS_BASE).filter(|base| *base != 0) else {
        return false;
    };
    let at = region.wrapping_add(core::mem::offset_of!(Thread, jumps) as u64);
    let mut now = 0i64;
    raw(PTRACE_PEEKDATA, host, at, &raw mut now as u64) == 0
        && now == from
        && raw(PTRACE_POKEDATA, host, at, to as u64) == 0
}

/// Before a tracee is left alone.
pub fn let_jump(host: u32) {
    change_jumps(host, 0, MAY_JUMP);
}

/// A status, and what it stands for; `None` if the tracee went on.
pub type Shown = Option<(i32, As)>;

pub const fn stopped(signal: i32) -> i32 {
    signal << 8 | 0x7f
}

/// Sends a tracee on unseen, in its guest.
fn on_in_guest(tracee: &Tracee, host: u32) -> Shown {
    let mode = match tracee.mode.load(Relaxed) {
        0 | LISTEN => PTRACE_CONT,
        mode => mode,
    };
    raw(mode, host, 0, 0);
    None
}

/// Sends a tracee on unseen, in its personality.
fn on(tracee: &Tracee, host: u32, signal: u32) -> Shown {
    let mode = match tracee.mode.load(Relaxed) {
        0 | LISTEN => PTRACE_CONT,
        PTRACE_SINGLESTEP | SINGLEBLOCK => {
            tracee.flags.fetch_or(STEPPING, Relaxed);
            PTRACE_SYSCALL
        }
        mode => mode,
    };
    raw(mode, host, 0, u64::from(signal));
    None
}

/// An exec has ended for the kernel; for the guest it has when its program starts.
fn exec_began(tracee: &Tracee, host: u32, how: u32) -> Shown {
    let mut former = 0u64;
    raw(PTRACE_GETEVENTMSG, host, 0, &raw mut former as u64);
    let former = if how == EXEC_EVENT {
        former as u32
    } else {
        host
    };
    if former != host
        && let Ok(other) = super::tracee(former)
    {
        tracee.mode.store(other.mode.load(Relaxed), Relaxed);
        tracee.options.store(other.options.load(Relaxed), Relaxed);
    }
    tracee.message.store(former, Relaxed);
    tracee.flags.fetch_and(!SLOW, Relaxed);
    tracee.exec.store(how, Relaxed);
    tracee.call.store(__NR_execve, Relaxed);
    crate::handover::find(host).is_awaited = if has(me(), Power::Trace) {
        AWAITED_BY_ROOT
    } else {
        AWAITED
    };
    on(tracee, host, 0)
}

/// A child that the kernel attached: its number is known before it runs.
fn born(tracee: &Tracee, host: u32, event: u32) {
    if !matches!(
        event,
        PTRACE_EVENT_FORK | PTRACE_EVENT_VFORK | PTRACE_EVENT_CLONE
    ) {
        return;
    }
    let mut child = 0u64;
    raw(PTRACE_GETEVENTMSG, host, 0, &raw mut child as u64);
    learn(host, child as u32);
    if let Ok(child) = super::tracee(child as u32) {
        child.options.store(tracee.options.load(Relaxed), Relaxed);
    }
}

/// Registers the process that `host` is making, or that it is itself, before it does so. Of a thread it is
/// noted that no process has its id, as one may have had that has ended.
fn learn(host: u32, child: u32) {
    if let Some(number) = making(host) {
        pids::register(number, child);
    } else {
        commons().strike_out(child, || !leads_process(child));
    }
}

/// The number of the process that a tracee is making, or that it is to have itself.
fn making(host: u32) -> Option<u32> {
    let (ip, sp) = (word(host, RIP)?, word(host, RSP)?);
    if !is_inside(ip) {
        return None;
    }
    let at = (sp & !(REGION_SIZE as u64 - 1)) + core::mem::offset_of!(Thread, making) as u64;
    let mut making = 0u64;
    let is_read = raw(PTRACE_PEEKDATA, host, at, &raw mut making as u64) == 0;
    Some(making as u32).filter(|number| is_read && *number != 0)
}

/// Whether a process that is there has this id, not only a thread (tgkill(2)).
fn leads_process(host: u32) -> bool {
    const ESRCH: i64 = -3;
    unsafe { syscall3(__NR_tgkill, host.into(), host.into(), 0) != ESRCH }
}

/// A host id that a wait gave, or a message, in the zone's terms.
pub fn to_zone(host: u32) -> u32 {
    if let Some(zone) = pids::to_zone(host) {
        return zone;
    }
    if !me().process().is_tracer {
        return host;
    }
    learn(host, host);
    pids::to_zone(host).unwrap_or(host + THREAD_BIAS)
}

fn sigsys(tracee: &Tracee, host: u32, status: i32) -> Shown {
    let mut info = Info([0; 128]);
    if raw(PTRACE_GETSIGINFO, host, 0, &raw mut info as u64) < 0 {
        return Some((status, As::Itself));
    }
    match info.code() {
        signal::SYS_SECCOMP => {
            tracee.call.store(info.i32_at(24) as u32, Relaxed);
            on(tracee, host, SIGSYS)
        }
        WATCH => on(tracee, host, SIGSYS),
        ENTRY => entered(tracee, host),
        _ => Some((status, As::Itself)),
    }
}

/// The guest's program is about to start.
fn entered(tracee: &Tracee, host: u32) -> Shown {
    match tracee.exec.swap(0, Relaxed) {
        EXEC_EVENT => Some((stopped(TRAP | EVENT_EXEC << 8), As::Exec)),
        EXEC_SIGNAL => Some((stopped(TRAP), As::Signal)),
        EXEC_EXIT if tracee.mode.load(Relaxed) == PTRACE_SYSCALL => {
            let good = tracee.options.load(Relaxed) & PTRACE_O_TRACESYSGOOD != 0;
            Some((stopped(if good { TRAP_GOOD } else { TRAP }), As::Exit))
        }
        _ => on_in_guest(tracee, host),
    }
}

fn trap(tracee: &Tracee, host: u32, status: i32) -> Shown {
    let itself = Some((status, As::Itself));
    let mut call: CallInfo = [0; 11];
    let room = CALL_INFO_SIZE as u64;
    if raw(PTRACE_GET_SYSCALL_INFO, host, room, &raw mut call as u64) < 0 {
        return itself;
    }
    let [op, ip, _, value, ..] = call;
    match op as u8 {
        OP_ENTRY if !is_inside(ip) => {
            tracee.call.store(value as u32, Relaxed);
            tracee.flags.fetch_or(ENTERED, Relaxed);
            itself
        }
        OP_EXIT if !is_inside(ip) => exit(tracee, host, status, value),
        OP_ENTRY | OP_EXIT => on(tracee, host, 0),
        _ if ip == arch::first_instruction() => exec_began(tracee, host, EXEC_SIGNAL),
        _ if is_inside(ip) && tracee.mode.load(Relaxed) == PTRACE_SINGLESTEP => on(tracee, host, 0),
        // On the way to a call that is made the slow way.
        _ if tracee.mode.load(Relaxed) == PTRACE_SINGLESTEP && leave::is_in_tail(host, ip) => {
            on_in_guest(tracee, host)
        }
        _ => itself,
    }
}

/// A call ended in the guest: a native one, or the personality's return from a trapped one.
fn exit(tracee: &Tracee, host: u32, status: i32, value: u64) -> Shown {
    let flags = tracee.flags.load(Relaxed);
    let itself = Some((status, As::Itself));
    let exec = tracee.exec.load(Relaxed);
    if exec == EXEC_EVENT {
        tracee.exec.store(EXEC_EXIT, Relaxed);
        return Some((stopped(TRAP | EVENT_EXEC << 8), As::Exec));
    }
    let number = word(host, ORIG_RAX);
    if number != Some(u64::MAX) {
        if number == Some(value) && has_sigsys(host) {
            // The filter made no call of it; SIGSYS comes next.
            return on(tracee, host, 0);
        }
        tracee.flags.fetch_and(!ENTERED, Relaxed);
        return itself;
    }
    // The end of rt_sigreturn: the personality is left.
    tracee.flags.fetch_and(!(ENTERED | STEPPING), Relaxed);
    if flags & STEPPING != 0 && exec != EXEC_SIGNAL {
        return Some((stopped(TRAP), As::Step));
    }
    if flags & (ENTERED | STEPPING) != ENTERED {
        return on_in_guest(tracee, host);
    }
    let call = u64::from(tracee.call.load(Relaxed));
    raw(PTRACE_POKEUSR, host, ORIG_RAX, call);
    itself
}

/// Whether the filter's SIGSYS waits for a tracee.
fn has_sigsys(host: u32) -> bool {
    let mut infos = [Info([0; 128]); 4];
    // `struct ptrace_peeksiginfo_args`: offset, flags (the thread's own queue), count.
    let args = [0u64, (infos.len() as u64) << 32];
    let got = raw(
        PTRACE_PEEKSIGINFO,
        host,
        args.as_ptr() as u64,
        infos.as_mut_ptr() as u64,
    );
    infos
        .iter()
        .take(usize::try_from(got).unwrap_or(0))
        .any(|info| info.i32_at(0) as u32 == SIGSYS && info.code() == signal::SYS_SECCOMP)
}

/// `PTRACE_GETEVENTMSG`.
pub fn message(tracee: &Tracee, host: u32) -> Result<u64> {
    if As::of(tracee) == As::Exec {
        return Ok(u64::from(to_zone(tracee.message.load(Relaxed))));
    }
    let mut message = 0u64;
    checked(raw(PTRACE_GETEVENTMSG, host, 0, &raw mut message as u64))?;
    Ok(match tracee.shown.load(Relaxed) >> 16 {
        PTRACE_EVENT_FORK | PTRACE_EVENT_VFORK | PTRACE_EVENT_CLONE | PTRACE_EVENT_VFORK_DONE => {
            u64::from(to_zone(message as u32))
        }
        _ => message,
    })
}

/// `PTRACE_GETSIGINFO`.
pub fn info(tracee: &Tracee, host: u32) -> Result<Info> {
    let mut info = Info([0; 128]);
    checked(raw(PTRACE_GETSIGINFO, host, 0, &raw mut info as u64))?;
    let shown_as = As::of(tracee);
    if shown_as == As::Itself {
        info_to_zone(info.i32_at(0) as u32, &mut info);
        // Of a stop that the kernel makes, of which the tracee itself is the sender (ptrace_do_notify()).
        let is_of_stop = info.i32_at(0) == TRAP && info.code() & 0x7f == TRAP;
        if is_of_stop && info.pid() as u32 == host {
            let zone = to_zone(host);
            info.set_pid(zone);
            info.set_uid(pids::load_credentials(zone).uid[0]);
        }
        return Ok(info);
    }
    info = Info([0; 128]);
    info.set_u32(0, SIGTRAP);
    let zone = to_zone(host);
    let code = match shown_as {
        As::Exec => SIGTRAP | PTRACE_EVENT_EXEC << 8,
        As::Exit => tracee.shown.load(Relaxed) >> 8,
        As::Step => TRAP_TRACE,
        As::Signal | As::Itself => 0,
    };
    info.set_u32(8, code);
    if shown_as == As::Step {
        let ip = word(host, RIP).unwrap_or(0).to_ne_bytes();
        info.0[16..24].copy_from_slice(&ip);
    } else {
        info.set_pid(zone);
        info.set_uid(pids::load_credentials(zone).uid[0]);
    }
    Ok(info)
}

const ERESTARTSYS: u64 = (-512i64).cast_unsigned();
pub const SYSCALL: u64 = 0x050f;

/// Whether the guest is to make the call again, which a signal ended.
fn is_restart(tracee: &Tracee, host: u32, [_, ip, _, value, ..]: &CallInfo) -> bool {
    let mut code = 0u64;
    *value == u64::from(tracee.call.load(Relaxed))
        && raw(PTRACE_PEEKTEXT, host, *ip, &raw mut code as u64) == 0
        && code & 0xffff == SYSCALL
}

/// `PTRACE_GET_SYSCALL_INFO`, and how many bytes of it say something.
pub fn call_info(tracee: &Tracee, host: u32) -> Result<(CallInfo, u64)> {
    let mut info: CallInfo = [0; 11];
    let room = CALL_INFO_SIZE as u64;
    let size = checked(raw(
        PTRACE_GET_SYSCALL_INFO,
        host,
        room,
        &raw mut info as u64,
    ))?;
    let as_op = |info: &mut CallInfo, op: u8| info[0] = info[0] & !0xff | u64::from(op);
    Ok(match As::of(tracee) {
        As::Itself => {
            if info[0] as u8 == OP_EXIT && is_restart(tracee, host, &info) {
                (info[3], info[4]) = (ERESTARTSYS, 1);
            }
            (info, size)
        }
        As::Exit => {
            as_op(&mut info, OP_EXIT);
            (info[3], info[4]) = (0, 0);
            (info, 33)
        }
        As::Exec | As::Signal | As::Step => {
            as_op(&mut info, OP_NONE);
            (info, 24)
        }
    })
}
