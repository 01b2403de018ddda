//! Signals: every handler of the guest is reached through [`on_signal`].
//!
//! The kernel knows only our handler, on our stack, with everything blocked. A signal that finds the
//! guest's own code gets the frame that the kernel would have made, built on the guest's stack; one
//! that finds the personality (only possible in [`arch::wait`]) is noted and delivered when the call
//! in progress ends. `SIGSYS`, `SIGSEGV` and `SIGBUS` are never really blocked, since a blocked one
//! kills: the guest's wish to block them is held in the thread's block, and one that somebody sent
//! is kept there until the guest may have it. It can come at any place, so that the last
//! instructions of our handler look for it and can begin again ([`arch::pz_restore`]). Nor may it come
//! again and again before its handler has done anything, since each time takes of our stack: while one
//! is looked at, the kernel keeps the next ([`install`]).

use crate::arch::jump::Edge;
use crate::arch::{self, Context, Frame, Info, Place, Stack, syscall2, syscall3, syscall4};
use crate::filters::{self, Verdict};
use crate::thread::{Handlers, Pending, Thread, me};
use crate::{Errno, Result, clients, dispatch};
use crate::{memory, ptrace, recording, user_dispatch};
use linux_raw_sys::general::*;
use picozone_syscalls::bpf::OURS;

/// `struct kernel_sigaction`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Action {
    pub handler: u64,
    pub flags: u64,
    pub restorer: u64,
    pub mask: u64,
}

const DEFAULT: u64 = 0;
const IGNORE: u64 = 1;

const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}
/// Signals that are never really blocked.
pub const HELD: u64 = bit(SIGSYS) | bit(SIGSEGV) | bit(SIGBUS);
/// The mask of the personality.
pub const BLOCK_ALL: u64 = !HELD;
const _: () = assert!(BLOCK_ALL == picozone_personality::layout::OWN_MASK);
/// Where [`Thread::held_info`] has a signal of [`HELD`].
pub const fn held_index(signal: u32) -> usize {
    match signal {
        SIGBUS => 0,
        SIGSEGV => 1,
        _ => 2,
    }
}
const UNBLOCKABLE: u64 = bit(SIGKILL) | bit(SIGSTOP);

pub const SYS_SECCOMP: i32 = 1;
/// Our `SA_*` flags: a handler with siginfo, on our stack, with a restorer.
const OUR_FLAGS: u64 = (SA_SIGINFO | SA_ONSTACK | SA_NODEFER | 0x0400_0000) as u64;
/// The guest's flags that the kernel acts on.
const KERNEL_FLAGS: u64 = (SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT) as u64;

/// Signals that faults in the guest's memory come by.
const FAULTS: u64 = bit(SIGSEGV) | bit(SIGBUS);

/// Gives the kernel our handler. It can fault, but not before it has begun ([`open_to_faults`]); that
/// the zone's filter traps a call in it is asked for only where [`filters::judge`] opens it to that.
fn install(signal: u32, handler: u64, flags: u64) -> i64 {
    let action = Action {
        handler,
        flags: OUR_FLAGS | (flags & KERNEL_FLAGS),
        restorer: arch::pz_restore as *const () as u64,
        mask: if bit(signal) & FAULTS == 0 {
            !FAULTS
        } else {
            u64::MAX
        },
    };
    unsafe {
        syscall4(
            __NR_rt_sigaction,
            u64::from(signal),
            &raw const action as u64,
            0,
            8,
        )
    }
}

/// In a handler of any signal: from here on the guest's memory may be touched.
pub fn open_to_faults() {
    set_kernel_mask(BLOCK_ALL, 0);
}

/// Gives the kernel an action without a handler.
fn install_plain(signal: u32, mut action: Action) {
    action.mask &= !HELD;
    let action = &raw const action as u64;
    unsafe { syscall4(__NR_rt_sigaction, u64::from(signal), action, 0, 8) };
}

/// Takes over the signals that the personality needs.
pub fn take_over() {
    let ours = on_signal as *const () as u64;
    for signal in [SIGSEGV, SIGBUS] {
        install(signal, ours, 0);
    }
    // A call is not to end because a tracee or the personality of another process called here.
    install(SIGSYS, ours, u64::from(SA_RESTART));
}

/// Has the signals of children come here, whatever the guest does with them. The guest's action must
/// be known to the handlers' block. Takes no lock, since it may be called from within the personality.
pub fn watch_children(thread: &Thread) {
    let (process, handlers) = (thread.process(), thread.handlers());
    if process.is_tracer {
        return;
    }
    process.is_tracer = true;
    know(handlers, SIGCHLD);
    watch(handlers.actions[SIGCHLD as usize]);
    ptrace::waits::trap();
}

/// Whether the guest has a handler of a signal that is known.
pub fn has_handler(thread: &Thread, signal: u32) -> bool {
    thread.handlers().actions[signal as usize].handler > IGNORE
}

/// The guest's calls go on after a stop that is none of its business.
fn watch(action: Action) {
    let flags = match action.handler {
        DEFAULT => u64::from(SA_RESTART),
        IGNORE => u64::from(SA_RESTART | SA_NOCLDWAIT),
        _ => action.flags,
    };
    install(SIGCHLD, on_signal as *const () as u64, flags);
}

/// Learns the action that an exec left.
fn know(handlers: &mut Handlers, signal: u32) {
    if handlers.known & bit(signal) != 0 {
        return;
    }
    handlers.known |= bit(signal);
    if bit(signal) & HELD == 0 {
        let mut now = Action::default();
        unsafe {
            syscall4(
                __NR_rt_sigaction,
                u64::from(signal),
                0,
                &raw mut now as u64,
                8,
            )
        };
        handlers.actions[signal as usize] = now;
    }
}

/// Our handler of every signal.
pub extern "C" fn on_signal(signal: u32, info: *mut Info, context: *mut Context) {
    let (info, context) = unsafe { (&mut *info, &mut *context) };
    let thread = me();
    let is_exempt = thread.dispatched_but.is_some()
        && signal == SIGSYS
        && user_dispatch::is_exempt(thread, info, context);
    if is_exempt {
        info.set_u32(4, OURS);
    }
    if is_exempt || signal == SIGSYS && info.code() == SYS_SECCOMP {
        if filters::is_refused(context) {
            return;
        }
        if !matches!(arch::place(&context.regs), Place::Guest) {
            crate::die("picozone: the filter refused a call of the personality\n");
        }
        thread.context = context;
        thread.rooms = 0;
        thread.pending = None;
        thread.wait_mask = None;
        thread.boundary = 0;
        thread.noted_mask = None;
        let nr = info.i32_at(24) as u32;
        let verdict = if thread.is_filtered() {
            filters::judge(thread, nr, info, context)
        } else {
            Verdict::Serve
        };
        let result = match verdict {
            Verdict::Serve => dispatch::call(thread, nr),
            Verdict::Result(result) => Some(result),
            Verdict::Signal => {
                deliver(thread, SIGSYS, info, context);
                None
            }
        };
        if let Some(result) = result {
            if result == arch::RESTART {
                context.regs.rip -= 2;
                context.regs.rax = u64::from(nr);
            } else {
                context.regs.rax = result as u64;
            }
        }
        release(thread, context);
        thread.context = core::ptr::null_mut();
        return;
    }
    if ptrace::is_private(thread, signal, info) {
        return;
    }
    let place = match arch::place(&context.regs) {
        // The guest's registers are all in place: as if it had not come, or gone already.
        Place::Edge(Edge::Entering(call)) => {
            context.regs.rip = call;
            if signal == SIGSEGV && info.code() > 0 {
                // The guest's own gs leads nowhere: the slow way.
                return;
            }
            Place::Guest
        }
        Place::Edge(Edge::Left) => {
            context.regs.rip = context.regs.rcx;
            Place::Guest
        }
        Place::Edge(Edge::Boundary) if signal == SIGSEGV && info.code() > 0 => {
            context.regs.rip = context.regs.rcx;
            thread.boundary = 0;
            if let Some(mask) = thread.noted_mask.take() {
                context.mask = mask;
            }
            open_to_faults();
            release(thread, context);
            return;
        }
        // As if it had come a moment later.
        Place::Edge(Edge::Made) if thread.is_last && context.regs.rax == 0 => {
            thread.is_last = false;
            recording::end_before_signal(thread);
            arch::jump::end_call(thread, &mut context.regs);
            Place::Guest
        }
        place => place,
    };
    match place {
        Place::Guest => {
            if bit(signal) & FAULTS != 0 {
                open_to_faults();
            }
            deliver(thread, signal, info, context);
        }
        Place::Edge(Edge::Leaving(again)) => {
            context.regs.rip = again;
            note(thread, signal, info, context);
        }
        Place::Edge(Edge::Interruptible(abort)) => {
            context.regs.rip = abort;
            note(thread, signal, info, context);
        }
        Place::Interruptible(abort) => {
            context.regs.rip = abort;
            note(thread, signal, info, context);
        }
        Place::Access(go_on) if (signal == SIGSEGV || signal == SIGBUS) && info.code() > 0 => {
            context.regs.rip = go_on
        }
        Place::Restoring(again) => {
            context.regs.rip = again;
            keep(thread, signal, info);
        }
        Place::Access(_) | Place::Inside | Place::Edge(_) => {
            if HELD & bit(signal) != 0 && info.code() > 0 {
                unsafe { reset(signal) };
                crate::die("picozone: a fault in the personality\n");
            }
            note(thread, signal, info, context);
        }
    }
}

/// Whether the kernel sends a signal for what the thread itself does.
fn is_fault(signal: u32, info: &Info) -> bool {
    const FAULTS: u64 = HELD | bit(SIGILL) | bit(SIGFPE) | bit(SIGTRAP);
    FAULTS & bit(signal) != 0 && info.code() > 0
}

/// Keeps a signal of [`HELD`] that somebody sent. One of each, as the kernel does.
fn keep(thread: &mut Thread, signal: u32, info: &Info) {
    if thread.held_pending & bit(signal) == 0 {
        thread.held_pending |= bit(signal);
        thread.held_info[held_index(signal)] = *info;
    }
}

/// The last look of a handler of ours, at the frame that it is about to return to. Whether another
/// is needed.
pub extern "C" fn last_look(context: &mut Context) -> u32 {
    let is_guest = matches!(arch::place(&context.regs), Place::Guest);
    let thread = me();
    if is_guest && thread.held_free() != 0 {
        open_to_faults();
        release_held(thread, context);
    }
    u32::from(is_guest)
}

/// Delivers what the call in progress has kept back.
fn release(thread: &mut Thread, context: &mut Context) {
    // Looked at first: taking it copies a whole siginfo.
    if thread.pending.is_some()
        && let Some(mut pending) = thread.pending.take()
    {
        deliver(thread, pending.signal, &mut pending.info, context);
    }
    release_held(thread, context);
    thread.wait_mask = None;
}

fn note(thread: &mut Thread, signal: u32, info: &Info, context: &mut Context) {
    if thread.came_by_jump() {
        // A second one can only be of those that are kept: the first tells the mask.
        let is_own = context.mask | HELD | UNBLOCKABLE == u64::MAX;
        if !is_own && thread.noted_mask.is_none() {
            thread.noted_mask = Some(context.mask);
        }
        thread.boundary = 1;
    }
    if HELD & bit(signal) != 0 {
        keep(thread, signal, info);
    } else {
        thread.pending = Some(Pending {
            signal,
            info: *info,
        });
    }
    // What is blocked there stays so: a handler that has not begun yet would else be interrupted again, by
    // another that has not, until no stack is left.
    context.mask |= BLOCK_ALL;
}

unsafe fn reset(signal: u32) {
    let action = Action::default();
    unsafe {
        syscall4(
            __NR_rt_sigaction,
            u64::from(signal),
            &raw const action as u64,
            0,
            8,
        )
    };
}

/// Lets the kernel do what it does by default: the signal again, with no handler.
fn by_default(thread: &Thread, signal: u32, info: &Info, context: &mut Context) {
    if matches!(signal, SIGCHLD | SIGURG | SIGWINCH) {
        return;
    }
    unsafe { reset(signal) };
    context.mask &= !bit(signal);
    ptrace::ends_by_last(thread);
    // What the kernel says itself may be our own finding, which does not come again.
    if info.code() <= 0
        || info.code() == SI_KERNEL as i32
        || !matches!(signal, SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGTRAP)
    {
        send_again(thread, signal, info);
    }
}

/// Sends the thread a signal as it came.
fn send_again(thread: &Thread, signal: u32, info: &Info) {
    if thread.process().is_client {
        return clients::send_to_self(thread, signal);
    }
    let (process, own) = (thread.process().host_pid.into(), thread.host_tid.into());
    let info = core::ptr::from_ref(info) as u64;
    unsafe {
        syscall4(
            __NR_rt_tgsigqueueinfo,
            process,
            own,
            u64::from(signal),
            info,
        )
    };
}

/// Sends the thread a signal, which it finds when it returns.
pub fn send_to_self(thread: &Thread, signal: u32) {
    if thread.process().is_client {
        return clients::send_to_self(thread, signal);
    }
    let (process, own) = (thread.process().host_pid.into(), thread.host_tid.into());
    unsafe { syscall3(__NR_tgkill, process, own, u64::from(signal)) };
}

/// What the kernel tells where it finds no room for a signal's frame: `SI_KERNEL`.
fn no_room() -> Info {
    let mut info = Info([0; 128]);
    info.set_u32(0, SIGSEGV);
    info.set_u32(8, SI_KERNEL);
    info
}

/// Ends the process by a fault that no handler can take.
fn kill_by_fault(thread: &Thread, context: &mut Context) {
    unsafe { reset(SIGSEGV) };
    context.mask &= !bit(SIGSEGV);
    send_to_self(thread, SIGSEGV);
}

/// Puts the guest at its handler, as the kernel's `setup_rt_frame` would.
fn deliver(thread: &mut Thread, signal: u32, info: &mut Info, context: &mut Context) {
    let is_fault = is_fault(signal, info);
    let action = {
        let handlers = thread.handlers();
        let _guard = handlers.lock();
        let action = handlers.actions[signal as usize];
        if action.handler > IGNORE && action.flags & u64::from(SA_RESETHAND) != 0 {
            // Flags and mask stay, as in the kernel's get_signal().
            handlers.actions[signal as usize].handler = DEFAULT;
            if bit(signal) & HELD == 0 {
                install_plain(signal, handlers.actions[signal as usize]);
            }
        }
        action
    };
    let is_held = thread.held_now() & bit(signal) != 0;
    if is_held && !is_fault {
        keep(thread, signal, info);
        return;
    }
    if action.handler == IGNORE && !is_fault {
        return;
    }
    if action.handler <= IGNORE || is_held {
        by_default(thread, signal, info, context);
        return;
    }
    crate::process::info_to_zone(signal, info);

    let old_mask = context.mask | thread.held;
    let mut sp = context.regs.rsp.wrapping_sub(128);
    let mut is_alternate = on_altstack(thread, context.regs.rsp);
    if action.flags & u64::from(SA_ONSTACK) != 0
        && thread.altstack.flags & SS_DISABLE as i32 == 0
        && !on_altstack(thread, sp)
    {
        sp = thread.altstack.sp + thread.altstack.size;
        is_alternate = true;
    }
    let state_size = unsafe { arch::fpstate_size(context.regs.fpstate) };
    let mut frame = Frame {
        restorer: action.restorer,
        context: *context,
        info: *info,
    };
    if state_size > 0 {
        sp = sp.wrapping_sub(state_size as u64) & !63;
        frame.context.regs.fpstate = sp;
    }
    sp = (sp.wrapping_sub(size_of::<Frame>() as u64) & !15).wrapping_sub(8);
    frame.context.stack = thread.altstack;
    frame.context.mask = old_mask;
    // What would leave the alternate stack at its end is put nowhere (get_sigframe()).
    let ok = (!is_alternate || is_within(&thread.altstack, sp))
        && arch::copy(frame.context.regs.fpstate, context.regs.fpstate, state_size)
        && arch::copy(sp, &raw const frame as u64, size_of::<Frame>());
    if !ok {
        not_delivered(thread, signal, context);
        return;
    }
    if thread.altstack.flags.cast_unsigned() & SS_AUTODISARM != 0 {
        thread.altstack = NO_STACK;
    }
    let base = thread.wait_mask.take().unwrap_or(old_mask);
    let mut mask = base | action.mask;
    if action.flags & u64::from(SA_NODEFER) == 0 {
        mask |= bit(signal);
    }
    set_mask(thread, context, mask);
    unsafe { arch::begin_fpstate(context.regs.fpstate, state_size) };
    context.regs.rip = action.handler;
    context.regs.rsp = sp;
    context.regs.rdi = u64::from(signal);
    context.regs.rsi = sp + core::mem::offset_of!(Frame, info) as u64;
    context.regs.rdx = sp + core::mem::offset_of!(Frame, context) as u64;
    context.regs.rax = 0;
    // The kernel clears the direction, resume and trap flags.
    context.regs.eflags &= !0x1_0500;
}

/// A signal's frame has no room. Another handler, perhaps on another stack, can still take that
/// (signal_setup_done()); no tracer has seen it yet.
#[cold]
#[inline(never)]
fn not_delivered(thread: &mut Thread, signal: u32, context: &mut Context) {
    let is_taken = {
        let handlers = thread.handlers();
        let _guard = handlers.lock();
        handlers.actions[SIGSEGV as usize].handler > IGNORE
    };
    if signal != SIGSEGV && is_taken && thread.held_now() & bit(SIGSEGV) == 0 {
        deliver(thread, SIGSEGV, &mut no_room(), context);
    } else {
        kill_by_fault(thread, context);
    }
}

/// Delivers what was kept and is not blocked.
fn release_held(thread: &mut Thread, context: &mut Context) {
    while thread.held_free() != 0 {
        let signal = thread.held_free().trailing_zeros() + 1;
        thread.held_pending &= !bit(signal);
        let mut info = thread.held_info[held_index(signal)];
        deliver(thread, signal, &mut info, context);
    }
}

fn set_mask(thread: &mut Thread, context: &mut Context, mask: u64) {
    context.mask = mask & !HELD & !UNBLOCKABLE;
    thread.held = mask & HELD;
}

/// `SS_AUTODISARM`: delivery disables the stack, and the return brings it back.
const SS_AUTODISARM: u32 = 1 << 31;
const NO_STACK: Stack = Stack {
    sp: 0,
    flags: SS_DISABLE as i32,
    pad: 0,
    size: 0,
};

fn on_altstack(thread: &Thread, sp: u64) -> bool {
    let stack = &thread.altstack;
    stack.flags.cast_unsigned() & (SS_DISABLE | SS_AUTODISARM) == 0 && is_within(stack, sp)
}

fn is_within(stack: &Stack, sp: u64) -> bool {
    sp > stack.sp && sp - stack.sp <= stack.size
}

fn shown_altstack(thread: &Thread, sp: u64) -> Stack {
    let mut stack = thread.altstack;
    if on_altstack(thread, sp) {
        stack.flags |= SS_ONSTACK as i32;
    }
    stack
}

/// rt_sigreturn(2): takes the guest's frame for our own.
pub fn sigreturn(thread: &mut Thread) -> Option<i64> {
    let ours = unsafe { &mut *thread.context };
    let Ok(theirs) = memory::read::<Context>(ours.regs.rsp) else {
        unsafe { reset(SIGSEGV) };
        send_to_self(thread, SIGSEGV);
        return None;
    };
    let (fpstate, selectors) = (ours.regs.fpstate, ours.regs.selectors);
    let room = unsafe { arch::fpstate_size(fpstate) };
    ours.regs = theirs.regs;
    ours.regs.fpstate = fpstate;
    ours.regs.selectors = selectors;
    if theirs.regs.fpstate == 0 {
        ours.regs.fpstate = 0;
    } else if room > 0 && !arch::copy(fpstate, theirs.regs.fpstate, room) {
        unsafe { reset(SIGSEGV) };
        send_to_self(thread, SIGSEGV);
        return None;
    }
    let context = unsafe { &mut *thread.context };
    set_mask(thread, context, theirs.mask);
    thread.altstack = Stack {
        flags: theirs.stack.flags & !(SS_ONSTACK as i32),
        ..theirs.stack
    };
    None
}

/// The same where it came by a jump: the kernel returns by the guest's frame itself, once that has the
/// mask and the signal stack that are ours. Comes back only if that cannot be.
pub fn return_by_jump(thread: &mut Thread, at: u64) -> i64 {
    let mask_at = at + core::mem::offset_of!(Context, mask) as u64;
    let stack_at = at + core::mem::offset_of!(Context, stack) as u64;
    if thread.held_pending != 0 {
        return arch::RESTART;
    }
    let (Ok(mask), Ok(stack)) = (
        memory::read::<u64>(mask_at),
        memory::read::<Stack>(stack_at),
    ) else {
        return arch::RESTART;
    };
    let is_ours = memory::write(mask_at, &(mask & !HELD)).is_ok()
        && memory::write(stack_at, &thread.real_stack()).is_ok();
    let before = (thread.held, thread.altstack);
    if is_ours {
        thread.held = mask & HELD;
        thread.altstack = Stack {
            flags: stack.flags & !(SS_ONSTACK as i32),
            ..stack
        };
        arch::jump::sigreturn(thread, at);
    }
    (thread.held, thread.altstack) = before;
    // What cannot be written back could not be read a moment ago.
    let _ = memory::write(mask_at, &mask);
    let _ = memory::write(stack_at, &stack);
    arch::RESTART
}

/// rt_sigaction(2).
pub fn sigaction(thread: &mut Thread, signal: u64, new: u64, old: u64, size: u64) -> Result<u64> {
    if signal == 0 || signal > 64 || size != 8 {
        return Err(Errno::EINVAL);
    }
    let signal = signal as u32;
    let new_action = if new == 0 {
        None
    } else {
        Some(memory::read::<Action>(new)?)
    };
    if new_action.is_some() && bit(signal) & UNBLOCKABLE != 0 {
        return Err(Errno::EINVAL);
    }
    let handlers = thread.handlers();
    let before = {
        let _guard = handlers.lock();
        know(handlers, signal);
        let before = handlers.actions[signal as usize];
        if let Some(mut action) = new_action {
            action.mask &= !UNBLOCKABLE;
            handlers.actions[signal as usize] = action;
            let ours = on_signal as *const () as u64;
            if signal == SIGCHLD && thread.process().is_tracer {
                watch(action);
            } else if action.handler > IGNORE {
                install(signal, ours, action.flags);
            } else if bit(signal) & HELD == 0 {
                install_plain(signal, action);
            } else if action.handler == IGNORE {
                thread.held_pending &= !bit(signal);
            }
        }
        before
    };
    if old != 0 {
        memory::write(old, &before)?;
    }
    Ok(0)
}

/// rt_sigprocmask(2).
pub fn sigprocmask(thread: &mut Thread, how: u64, new: u64, old: u64, size: u64) -> Result<u64> {
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    if thread.came_by_jump() {
        return sigprocmask_of_kernel(thread, how, new, old);
    }
    let now = thread.mask();
    if new != 0 {
        let set = memory::read::<u64>(new)?;
        let mask = match how as u32 {
            SIG_BLOCK => now | set,
            SIG_UNBLOCK => now & !set,
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        let context = unsafe { &mut *thread.context };
        set_mask(thread, context, mask & !UNBLOCKABLE);
    }
    if old != 0 {
        memory::write(old, &now)?;
    }
    Ok(0)
}

/// The same where no frame holds the mask. A signal that arrives before the kernel has changed it
/// comes first.
fn sigprocmask_of_kernel(thread: &mut Thread, how: u64, new: u64, old: u64) -> Result<u64> {
    let set = if new == 0 {
        None
    } else {
        Some(memory::read::<u64>(new)? & !UNBLOCKABLE)
    };
    let held = match (set, how as u32) {
        (None, _) => thread.held,
        (Some(set), SIG_BLOCK) => thread.held | set & HELD,
        (Some(set), SIG_UNBLOCK) => thread.held & !set,
        (Some(set), SIG_SETMASK) => set & HELD,
        _ => return Err(Errno::EINVAL),
    };
    let real = set.map(|set| set & !HELD);
    let pointer = real
        .as_ref()
        .map_or(0, |set| core::ptr::from_ref(set) as u64);
    let mut before = 0u64;
    let args = [how, pointer, &raw mut before as u64, 8];
    let result = arch::jump::brief(thread, __NR_rt_sigprocmask, args);
    crate::dispatch::checked_or_restart(result)?;
    let before = before | core::mem::replace(&mut thread.held, held);
    if old != 0 {
        memory::write(old, &before)?;
    }
    Ok(0)
}

/// Blocks all signals for the rest of a call, as they are where it came by SIGSYS. Gives the mask to
/// go back to. Fails where one is to be served first.
pub fn block_all(thread: &mut Thread) -> Result<u64> {
    if !thread.came_by_jump() {
        return Ok(thread.mask());
    }
    let mut mask = 0u64;
    set_kernel_mask(BLOCK_ALL, &raw mut mask as u64);
    if unsafe { (&raw const thread.boundary).read_volatile() } != 0 {
        thread.noted_mask.get_or_insert(mask);
        return Err(crate::dispatch::RESTART_ERRNO);
    }
    Ok(mask)
}

/// Ends that: what arrived meanwhile comes here, and is noted.
pub fn unblock(thread: &Thread, mask: u64) {
    if thread.came_by_jump() {
        set_kernel_mask(mask, 0);
    }
}

/// Blocks what is never blocked else, at the end of a thread.
pub fn block_held() {
    set_kernel_mask(u64::MAX, 0);
}

/// Replaces the mask that the kernel holds; the one before goes to `old`, if that is not 0.
pub fn set_kernel_mask(mask: u64, old: u64) {
    let mask = &raw const mask as u64;
    unsafe { syscall4(__NR_rt_sigprocmask, u64::from(SIG_SETMASK), mask, old, 8) };
}

/// sigaltstack(2).
pub fn sigaltstack(thread: &mut Thread, new: u64, old: u64) -> Result<u64> {
    let sp = match unsafe { thread.context.as_ref() } {
        Some(context) => context.regs.rsp,
        None => arch::jump::guest_stack(thread),
    };
    let shown = shown_altstack(thread, sp);
    if new != 0 {
        let mut stack = memory::read::<Stack>(new)?;
        if on_altstack(thread, sp) {
            return Err(Errno::EPERM);
        }
        match stack.flags.cast_unsigned() & !SS_AUTODISARM {
            SS_DISABLE => stack = NO_STACK,
            0 | SS_ONSTACK => {
                if stack.size < 2048 {
                    return Err(Errno::ENOMEM);
                }
                stack.flags &= !(SS_ONSTACK as i32);
            }
            _ => return Err(Errno::EINVAL),
        }
        thread.altstack = stack;
    }
    if old != 0 {
        memory::write(old, &shown)?;
    }
    Ok(0)
}

/// rt_sigsuspend(2).
pub fn sigsuspend(thread: &mut Thread, mask: u64, size: u64) -> Result<u64> {
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let mask = memory::read::<u64>(mask)? & !UNBLOCKABLE;
    with_mask(thread, Some(mask), |pointer| {
        (__NR_rt_sigsuspend, [pointer, 8, 0, 0, 0, 0])
    })
}

/// ppoll(2), epoll_pwait(2), pselect6(2), io_pgetevents(2). Out of the way of calls that are many.
#[inline(never)]
pub fn wait_with_mask(thread: &mut Thread, nr: u32, a: [u64; 6]) -> Result<u64> {
    let optional_mask = |pointer: u64| match pointer {
        0 => Ok(None),
        at => memory::read::<u64>(at).map(Some),
    };
    match nr {
        __NR_ppoll => {
            let mask = optional_mask(a[3])?;
            with_mask(thread, mask, |m| (nr, [a[0], a[1], a[2], m, a[4], 0]))
        }
        __NR_epoll_pwait | __NR_epoll_pwait2 => {
            let mask = optional_mask(a[4])?;
            with_mask(thread, mask, |m| (nr, [a[0], a[1], a[2], a[3], m, a[5]]))
        }
        // Mask and size lie in memory for these.
        _ => {
            let [pointer, size] = if a[5] == 0 {
                [0, 8]
            } else {
                memory::read::<[u64; 2]>(a[5])?
            };
            let mask = optional_mask(pointer)?;
            let mut pair = [0, size];
            let address = pair.as_mut_ptr() as u64;
            with_mask(thread, mask, |m| {
                unsafe { (address as *mut u64).write_volatile(m) };
                (nr, [a[0], a[1], a[2], a[3], a[4], address])
            })
        }
    }
}

/// A call that waits under a mask of its own, which `build` gets a pointer to (or 0).
fn with_mask(
    thread: &mut Thread,
    mask: Option<u64>,
    build: impl FnOnce(u64) -> (u32, [u64; 6]),
) -> Result<u64> {
    if mask.is_some_and(|mask| thread.held_pending & !mask != 0) {
        thread.wait_mask = mask;
        return Err(Errno::EINTR);
    }
    let real = mask.map(|m| m & !HELD);
    let pointer = real.as_ref().map_or(0, |m| core::ptr::from_ref(m) as u64);
    let (nr, args) = build(pointer);
    let outer = if mask.is_some() {
        BLOCK_ALL
    } else {
        thread.mask() & !HELD
    };
    let result = arch::wait(nr, args, outer);
    // Where the call has ended otherwise, the mask before it was in force again when a signal came.
    if result == -i64::from(Errno::EINTR.raw()) {
        thread.wait_mask = mask;
    }
    let result = crate::dispatch::checked_or_restart(result);
    if result == Err(crate::dispatch::RESTART_ERRNO) {
        thread.wait_mask = None;
    }
    result
}

/// rt_sigtimedwait(2).
pub fn sigtimedwait(
    thread: &mut Thread,
    set: u64,
    info: u64,
    timeout: u64,
    size: u64,
) -> Result<u64> {
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let set = memory::read::<u64>(set)?;
    let real = set & !HELD;
    let mut got = Info([0; 128]);
    let signal = if let Some(signal) = take_held(thread, set, &mut got) {
        u64::from(signal)
    } else {
        let result = arch::wait(
            __NR_rt_sigtimedwait,
            [
                &raw const real as u64,
                &raw mut got as u64,
                timeout,
                8,
                0,
                0,
            ],
            thread.mask() & !HELD,
        );
        // One that is never really blocked arrives as an interruption.
        if let Some(signal) = take_held(thread, set, &mut got) {
            u64::from(signal)
        } else {
            crate::dispatch::checked_or_restart(result)?
        }
    };
    crate::process::info_to_zone(signal as u32, &mut got);
    if info != 0 {
        memory::write(info, &got)?;
    }
    Ok(signal)
}

/// Takes a waiting signal of `set` that the kernel does not know as blocked.
fn take_held(thread: &mut Thread, set: u64, info: &mut Info) -> Option<u32> {
    let found = thread.held_pending & set;
    if found == 0 {
        return None;
    }
    let signal = found.trailing_zeros() + 1;
    thread.held_pending &= !bit(signal);
    *info = thread.held_info[held_index(signal)];
    Some(signal)
}

/// Sets every handled signal to its default, in the child of a clone3(2) that asks for it.
pub fn clear_handlers(handlers: &mut Handlers) {
    for signal in 1..=64 {
        if handlers.actions[signal as usize].handler > IGNORE {
            handlers.actions[signal as usize] = Action::default();
            if bit(signal) & HELD == 0 {
                unsafe { reset(signal) };
            }
        }
    }
}

/// The signals of [`HELD`] that the guest ignores: an exec keeps that, and the kernel cannot.
pub fn held_ignored(thread: &Thread) -> u64 {
    let handlers = thread.handlers();
    let _guard = handlers.lock();
    [SIGBUS, SIGSEGV, SIGSYS]
        .into_iter()
        .filter(|&signal| handlers.known & bit(signal) != 0)
        .filter(|&signal| handlers.actions[signal as usize].handler == IGNORE)
        .fold(0, |set, signal| set | bit(signal))
}

/// What [`held_ignored`] gave before the exec.
pub fn ignore_held(thread: &Thread, set: u64) {
    let handlers = thread.handlers();
    for signal in [SIGBUS, SIGSEGV, SIGSYS] {
        if set & bit(signal) != 0 {
            handlers.known |= bit(signal);
            handlers.actions[signal as usize].handler = IGNORE;
        }
    }
}

/// rt_sigpending(2).
pub fn sigpending(thread: &Thread, set: u64, size: u64) -> Result<u64> {
    if size > 8 {
        return Err(Errno::EINVAL);
    }
    let mut now = 0u64;
    crate::dispatch::checked(unsafe { syscall2(__NR_rt_sigpending, &raw mut now as u64, 8) })?;
    // Not what came while this call has all blocked: that is delivered at its end.
    now = now & thread.mask() | thread.held_pending & thread.held;
    memory::write_bytes(set, &now.to_ne_bytes()[..size as usize])?;
    Ok(0)
}
