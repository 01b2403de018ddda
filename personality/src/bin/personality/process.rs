//! Processes and threads: clone, fork, vfork, exit, wait, kill, groups and sessions.

use crate::arch::{self, Context, Frame, Info, syscall1, syscall2, syscall3, syscall4, syscall5};
use crate::dispatch::{RESTART_ERRNO, checked, checked_or_restart};
use crate::file::{Power, has};
use crate::monitor::commons;
use crate::thread::{self, Thread, me};
use crate::{
    Errno, Result, clients, handover, memory, namesake, others, pids, ptrace, refusals, signal,
};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};
use linux_raw_sys::general::*;
use picozone_personality::commons::ZONE_PID_LIMIT;
use picozone_personality::layout::THREAD_BIAS;
use picozone_personality::mailbox::SHARES_DIRECTORIES;

/// Everything that would make another name space, or let the child be traced.
const REFUSED_FLAGS: u64 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET) as u64;
const SIGCHLD_FLAG: u64 = SIGCHLD as u64;
/// `si_code` of tkill(2) and tgkill(2).
const SI_TKILL: i32 = -6;

/// What is said of a name space: EINVAL if even the kernel makes none with what is shared.
#[cold]
fn new_space(flags: u64) -> Errno {
    let has = |flag: u32| flags & u64::from(flag) != 0;
    let clashes = has(CLONE_FS) && has(CLONE_NEWNS | CLONE_NEWUSER)
        || has(CLONE_THREAD) && has(CLONE_NEWUSER | CLONE_NEWPID)
        || has(CLONE_SYSVSEM) && has(CLONE_NEWIPC)
        || has(CLONE_SIGHAND) && !has(CLONE_VM)
        || has(CLONE_THREAD) && !has(CLONE_SIGHAND);
    if clashes {
        return Errno::EINVAL;
    }
    refusals::mark();
    Errno::EPERM
}

/// clone(2), fork(2), vfork(2): `flags` as for clone.
pub fn clone(
    thread: &mut Thread,
    flags: u64,
    stack: u64,
    ptid: u64,
    ctid: u64,
    tls: u64,
) -> Result<u64> {
    if flags & REFUSED_FLAGS != 0 {
        return Err(new_space(flags));
    }
    let is_shared = flags & u64::from(CLONE_VM) != 0;
    let is_thread = flags & u64::from(CLONE_THREAD) != 0;
    if thread.came_by_jump() && !is_thread && (is_shared || stack != 0) {
        // The child leaves by a copy of our frame.
        return Err(RESTART_ERRNO);
    }
    let clears_handlers = flags & CLONE_CLEAR_SIGHAND != 0;
    let flags = flags & 0xffff_ffff & !u64::from(CLONE_PTRACE | CLONE_UNTRACED | CLONE_DETACHED);
    // Directories at hand go with the process' block, their descriptors and the working directory not
    // where only one of them is shared.
    let shared = [CLONE_FILES, CLONE_FS].map(|flag| flags & u64::from(flag) != 0);
    if shared != [is_thread; 2] {
        thread.process().parents.turn_off();
    }
    if shared[1] && !is_thread {
        thread.process().kept.fetch_or(SHARES_DIRECTORIES, Relaxed);
    }
    if !is_shared {
        let mask = signal::block_all(thread)?;
        let result = fork(thread, flags, stack, [ptid, ctid, tls], clears_handlers);
        signal::unblock(thread, mask);
        return result;
    }
    // The child shares our memory: it gets a region of its own and leaves by a copy of our frame, or
    // of the registers that came by a jump.
    let child = thread::allocate().ok_or(Errno::EAGAIN)?;
    let mask = signal::block_all(thread).inspect_err(|_| thread::free(child))?;
    let zone_pid = if is_thread {
        0
    } else {
        pids::allocate().inspect_err(|_| thread::free(child))?
    };
    child.altstack = arch::Stack {
        sp: 0,
        flags: SS_DISABLE as i32,
        pad: 0,
        size: 0,
    };
    child.held = thread.held;
    child.jumps = thread.jumps_of_child();
    child.dispatched_but = None;
    child.takes_jumps = arch::jump::gs_base() == thread.region();
    child.credentials = thread.credentials.inherited();
    child.is_leader = !is_thread;
    let places = tid_places(flags, [ptid, ctid], tls);
    child.tid_places = places;
    child.clears_handlers = clears_handlers;
    // Until it has its own.
    child.host_tid = thread.host_tid;
    child.birth = commons().birth();
    child.token = thread.token;
    (child.making, thread.making) = (zone_pid, zone_pid);
    child.is_vfork = flags & u64::from(CLONE_VFORK) != 0;
    if is_thread {
        child.join(thread.process, thread.handlers);
    } else {
        (child.process, child.handlers) = (thread.process, thread.handlers);
        let guard = thread.handlers().lock();
        child.begin_process();
        if !shared[1] {
            child.process().kept.fetch_and(!SHARES_DIRECTORIES, Relaxed);
        }
        drop(guard);
        child.process().zone_pid = zone_pid;
        if flags & u64::from(CLONE_VFORK) != 0 {
            // Held for us, who give the region back when the child is done with it.
            child.own_process.users.fetch_add(1, Relaxed);
        }
        if flags & u64::from(CLONE_SIGHAND) != 0 {
            child.own_handlers.users = AtomicU32::new(0);
            child.handlers = thread.handlers;
            child.handlers().users.fetch_add(1, Relaxed);
        }
    }
    if flags & u64::from(CLONE_VFORK) != 0 {
        child.altstack = thread.altstack;
    }
    child.child_mask = mask;
    let registers = if thread.came_by_jump() {
        arch::jump::copy_registers(thread, child)
    } else {
        let frame = unsafe { copy_frame(child, &*thread.context) };
        child.child_frame = frame as u64;
        unsafe { &mut (*frame).context.regs }
    };
    registers.rax = 0;
    if stack != 0 {
        registers.rsp = stack;
    }
    // The frame or the registers lie at the top.
    let top = match child.child_frame {
        0 => core::ptr::from_ref(registers) as u64 & !63,
        frame => frame & !63,
    };
    let birth = child.birth;
    let region = child.region();
    let result = loop {
        let result = unsafe { arch::clone(flags, top, ptid, ctid, tls, child_start, region) };
        let is_ambiguous = is_thread && result == i64::from(thread.process().zone_pid);
        if !is_ambiguous || !namesake::has_ended(thread, child, flags, ptid) {
            break result;
        }
    };
    signal::unblock(thread, mask);
    thread.making = 0;
    if result < 0 && is_thread {
        child.leave();
    }
    if flags & u64::from(CLONE_VFORK) != 0 || result < 0 {
        thread::free(child);
    }
    let host = checked(result).inspect_err(|_| pids::give_back(zone_pid))? as u32;
    commons().inherit_scheduling(host, thread.host_tid, birth);
    let zone = if is_thread {
        host + THREAD_BIAS
    } else {
        pids::register(zone_pid, host);
        zone_pid
    };
    arch::replace_if_any(places[0], host, zone);
    Ok(u64::from(zone))
}

/// Whether a word is the id in libc's block of a thread, where the kernel must find its own: libc
/// puts it into the words of robust and PI futexes.
pub fn is_of_libc(address: u64, thread_pointer: u64) -> bool {
    const BLOCK_SIZE: u64 = 4096;
    address.wrapping_sub(thread_pointer) < BLOCK_SIZE
}

/// Where clone(2) tells an id that a program is to see: of the parent's place and the child's, those
/// that are not libc's own.
fn tid_places(flags: u64, places: [u64; 2], tls: u64) -> [u64; 2] {
    let has = |flag: u32| flags & u64::from(flag) != 0;
    let told = [
        has(CLONE_PARENT_SETTID) && !has(CLONE_PIDFD),
        has(CLONE_CHILD_SETTID),
    ];
    if told == [false; 2] {
        return [0; 2];
    }
    let block = if has(CLONE_SETTLS) {
        tls
    } else {
        arch::thread_pointer()
    };
    let shown = |at: usize| told[at] && !is_of_libc(places[at], block);
    [0, 1].map(|at| if shown(at) { places[at] } else { 0 })
}

/// `struct clone_args`, its first version: flags, pidfd, child_tid, parent_tid, exit_signal, stack,
/// stack_size, tls.
const CLONE_ARGS_SIZE: u64 = 64;
/// Its largest version so far: set_tid, set_tid_size and cgroup come behind.
const CLONE_ARGS_MAX: usize = 88;
/// Resets handlers in the child; only clone3(2) has room for it.
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;

/// clone3(2): what clone(2) can say.
///
/// EPERM for control groups, which belong to the host, and chosen ids of threads, which follow the host's;
/// EINVAL as the kernel has it.
pub fn clone3(thread: &mut Thread, args: u64, size: u64) -> Result<u64> {
    if size < CLONE_ARGS_SIZE {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut words = [0u64; CLONE_ARGS_MAX / 8];
    for (index, word) in words.iter_mut().enumerate() {
        if 8 * (index as u64 + 1) <= size {
            *word = memory::read(args + 8 * index as u64)?;
        }
    }
    for at in CLONE_ARGS_MAX as u64..size {
        if memory::read::<u8>(args + at)? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    let [
        flags,
        _,
        _,
        _,
        exit_signal,
        stack,
        stack_size,
        _,
        set_tid,
        set_tid_size,
        _,
    ] = words;
    let has = |flag: u32| flags & u64::from(flag) != 0;
    let into_cgroup = 1 << 33;
    if flags & !(0xffff_ffff | CLONE_CLEAR_SIGHAND | into_cgroup) != 0
        || flags & u64::from(CLONE_DETACHED | (CSIGNAL & !CLONE_NEWTIME)) != 0
        || (has(CLONE_SIGHAND) && flags & CLONE_CLEAR_SIGHAND != 0)
        || ((has(CLONE_THREAD) || has(CLONE_PARENT)) && exit_signal != 0)
        || exit_signal > 64
        || (stack == 0) != (stack_size == 0)
        || (set_tid == 0) != (set_tid_size == 0)
        || (has(CLONE_FS) && (has(CLONE_NEWNS) || has(CLONE_NEWUSER)))
    {
        return Err(Errno::EINVAL);
    }
    let chosen = if set_tid == 0 {
        0
    } else {
        chosen_number(thread, flags, set_tid, set_tid_size)?
    };
    let is_none_of_ours = chosen != 0 && (has(CLONE_THREAD) || thread.process().is_client);
    if is_none_of_ours || flags & into_cgroup != 0 || has(CLONE_NEWTIME) {
        return refusals::unsupported(Errno::EPERM);
    }
    thread.chosen_number = chosen;
    let result = clone_as_told(thread, flags & !into_cgroup, &words);
    thread.chosen_number = 0;
    result
}

/// The same for what is known to be possible.
fn clone_as_told(
    thread: &mut Thread,
    flags: u64,
    words: &[u64; CLONE_ARGS_MAX / 8],
) -> Result<u64> {
    let &[
        _,
        pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
        ..,
    ] = words;
    let has = |flag: u32| flags & u64::from(flag) != 0;
    let top = if stack == 0 { 0 } else { stack + stack_size };
    if has(CLONE_PIDFD) && has(CLONE_PARENT_SETTID) {
        // clone(2) has one place for both: the id is told here, where the child does not see it.
        if has(CLONE_VM) {
            return Err(Errno::ENOSYS);
        }
        let flags = flags & !u64::from(CLONE_PARENT_SETTID) | exit_signal;
        let child = clone(thread, flags, top, pidfd, child_tid, tls)?;
        if child != 0 {
            let _ = memory::write(parent_tid, &(child as u32));
        }
        return Ok(child);
    }
    let place = if has(CLONE_PIDFD) { pidfd } else { parent_tid };
    clone(thread, flags | exit_signal, top, place, child_tid, tls)
}

/// Levels of name spaces of processes (`MAX_PID_NS_LEVEL`).
const LEVELS: u64 = 32;

/// The number that a child is to have in the zone, which is one level; EINVAL for a number of a further one,
/// but that the child is to make it (alloc_pid() in the kernel's kernel/pid.c).
#[cold]
#[inline(never)]
fn chosen_number(thread: &Thread, flags: u64, list: u64, count: u64) -> Result<u32> {
    if count > LEVELS {
        return Err(Errno::EINVAL);
    }
    let mut numbers = [0u32; LEVELS as usize];
    for at in 0..count {
        numbers[at as usize] = memory::read(list + 4 * at)?;
    }
    let makes_one = flags & u64::from(CLONE_NEWPID) != 0;
    if makes_one && !has(thread, Power::Administer) {
        return Err(Errno::EPERM);
    }
    if count > 1 + u64::from(makes_one) {
        return Err(Errno::EINVAL);
    }
    for (at, number) in numbers.iter().take(count as usize).enumerate() {
        let is_first_of_new = makes_one && at == 0;
        if !(1..ZONE_PID_LIMIT).contains(number) || is_first_of_new && *number != 1 {
            return Err(Errno::EINVAL);
        }
        if !has(thread, Power::Restore) && !has(thread, Power::Administer) {
            return Err(Errno::EPERM);
        }
    }
    Ok(numbers[usize::from(makes_one)])
}

/// Lays a copy of the frame at the top of the child's region; the stack begins below it.
unsafe fn copy_frame(child: &Thread, context: &Context) -> *mut Frame {
    unsafe {
        let size = arch::fpstate_size(context.regs.fpstate);
        let state = (child.stack_top() - size as u64 - 64) & !63;
        let frame = ((state - size_of::<Frame>() as u64) & !63) as *mut Frame;
        let ours = (core::ptr::from_ref(context) as u64
            - core::mem::offset_of!(Frame, context) as u64) as *const Frame;
        core::ptr::copy_nonoverlapping(ours, frame, 1);
        if size > 0 {
            core::ptr::copy_nonoverlapping(
                context.regs.fpstate as *const u8,
                state as *mut u8,
                size,
            );
            (*frame).context.regs.fpstate = state;
        }
        (*frame).context.stack = arch::Stack {
            sp: 0,
            flags: SS_DISABLE as i32,
            pad: 0,
            size: 0,
        };
        (*frame).context.flags = context.flags;
        frame
    }
}

/// First code of a child that shares memory, on its own region.
extern "C" fn child_start(region: u64) -> ! {
    let thread = me();
    debug_assert!(thread.region() == region);
    thread.take_stack();
    if thread.takes_jumps {
        thread.take_jumps();
    }
    thread.learn_tid();
    if thread.clears_handlers {
        signal::clear_handlers(thread.handlers());
    }
    if thread.is_leader {
        let process = thread.process();
        process.host_pid = thread.host_tid;
        if process.is_client {
            clients::born_within(process.zone_pid, thread.token);
        }
        pids::register(process.zone_pid, thread.host_tid);
        handover::release(thread.host_tid);
    } else {
        if thread.host_tid == thread.process().zone_pid {
            namesake::end_or_stay(thread);
        }
        if thread.process().is_client {
            clients::thread_born();
        } else {
            commons().strike_out(thread.host_tid, || true);
        }
    }
    thread.making = 0;
    for place in thread.tid_places {
        arch::replace_if_any(place, thread.host_tid, thread.zone_tid());
    }
    if thread.child_frame == 0 {
        signal::unblock(thread, thread.child_mask);
        arch::jump::leave_as_child(thread);
    }
    unsafe {
        // The kernel sets the alternate stack from the frame.
        let frame = thread.child_frame as *mut Frame;
        (*frame).context.stack = thread.real_stack();
        arch::sigreturn(frame as u64)
    }
}

fn fork(
    thread: &mut Thread,
    flags: u64,
    stack: u64,
    [ptid, ctid, tls]: [u64; 3],
    clears_handlers: bool,
) -> Result<u64> {
    let zone_pid = pids::allocate()?;
    let [parents, childs] = tid_places(flags, [ptid, ctid], tls);
    let jumps = thread.jumps_of_child();
    thread.making = zone_pid;
    // The child inherits nothing that was sent to us, and may be sent something at once.
    // Signals come at any moment and note themselves there, also while the kernel makes the child.
    let held = &raw mut thread.held_pending;
    let kept = unsafe { AtomicU64::from_ptr(held) }.swap(0, Relaxed);
    thread.birth = commons().birth();
    crate::socket::messages::be_forked();
    let result = unsafe { syscall5(__NR_clone, flags, 0, ptid, ctid, tls) };
    if result == 0 {
        // Only this thread lives on; what it knows of itself changes.
        thread.learn_tid();
        thread.is_leader = true;
        thread.dispatched_but = None;
        thread.begin_process();
        crate::socket::messages::begin_process();
        let process = thread.process();
        process.zone_pid = zone_pid;
        process.host_pid = thread.host_tid;
        if flags & u64::from(CLONE_FS) == 0 {
            process.kept.fetch_and(!SHARES_DIRECTORIES, Relaxed);
        }
        if process.is_client {
            clients::born(zone_pid, thread.token);
        }
        pids::register(zone_pid, thread.host_tid);
        (thread.making, thread.is_vfork) = (0, false);
        if thread.jumps != jumps {
            thread.jumps = jumps;
        }
        handover::release(thread.host_tid);
        arch::replace_if_any(childs, thread.host_tid, zone_pid);
        if clears_handlers {
            signal::clear_handlers(thread.handlers());
        }
        if stack != 0 {
            unsafe { (*thread.context).regs.rsp = stack };
        }
        return Ok(0);
    }
    thread.making = 0;
    unsafe { AtomicU64::from_ptr(&raw mut thread.held_pending) }.fetch_or(kept, Relaxed);
    let host = checked(result).inspect_err(|_| pids::give_back(zone_pid))? as u32;
    commons().inherit_scheduling(host, thread.host_tid, thread.birth);
    pids::register(zone_pid, host);
    arch::replace_if_any(parents, host, zone_pid);
    Ok(u64::from(zone_pid))
}

/// fork(2).
pub fn fork_plain(thread: &mut Thread) -> Result<u64> {
    clone(thread, SIGCHLD_FLAG, 0, 0, 0, 0)
}

/// vfork(2).
pub fn vfork(thread: &mut Thread) -> Result<u64> {
    clone(
        thread,
        u64::from(CLONE_VM | CLONE_VFORK) | SIGCHLD_FLAG,
        0,
        0,
        0,
        0,
    )
}

/// exit(2): ends the thread and gives its region back.
///
/// # Errors
/// That it is to begin again, where a signal is to be served first.
pub fn exit(thread: &mut Thread, status: u64) -> Result<u64> {
    signal::block_all(thread)?;
    thread.credentials.groups.free();
    if !thread.leave() {
        unsafe { syscall1(__NR_exit, status) };
    }
    // Nobody's signal may come to a stack that is another thread's already.
    signal::block_held();
    let region = thread.region();
    unsafe { arch::exit_thread(region, status, thread::spare_place()) }
}

/// The pid argument of wait4 and kill: >0 process, 0 own group, -1 all, < -1 a group.
fn target_to_host(pid: i32) -> Result<i64> {
    Ok(match pid {
        1.. => i64::from(pids::thread_to_host(pid as u32)?),
        0 | -1 => i64::from(pid),
        _ => -i64::from(pids::group_to_host(pid.unsigned_abs())?),
    })
}

/// wait4(2).
pub fn wait4(
    thread: &mut Thread,
    pid: u64,
    wstatus: u64,
    options: u64,
    rusage: u64,
) -> Result<u64> {
    const OPTIONS: u32 = WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WALL | __WCLONE;
    let pid = pid as i32;
    if options as u32 & !OPTIONS != 0 {
        return Err(Errno::EINVAL);
    }
    if pid == i32::MIN {
        return Err(Errno::ESRCH);
    }
    let host = target_to_host(pid).map_err(|_| Errno::ECHILD)?;
    let mut status = 0i32;
    let child = loop {
        let result = arch::wait(
            __NR_wait4,
            [host as u64, &raw mut status as u64, options, rusage, 0, 0],
            thread.mask() & !signal::HELD,
        );
        let child = checked_or_restart(result)? as u32;
        if child == 0 {
            return Ok(0);
        }
        if ptrace::is_shown(child, &mut status, true) {
            break child;
        }
        ptrace::go_on_waiting(thread)?;
    };
    if wstatus != 0 {
        memory::write(wstatus, &status)?;
    }
    let zone = ptrace::to_zone(child);
    let is_dead = status & 0x7f != 0x7f && status != 0xffff;
    if is_dead && options & u64::from(WNOWAIT) == 0 {
        pids::reaped(child);
    }
    Ok(u64::from(zone))
}

/// waitid(2).
pub fn waitid(
    thread: &mut Thread,
    which: u64,
    id: u64,
    info: u64,
    options: u64,
    rusage: u64,
) -> Result<u64> {
    let host = match which as u32 {
        P_PID if id as i32 <= 0 => return Err(Errno::EINVAL),
        P_PGID if (id as i32) < 0 => return Err(Errno::EINVAL),
        P_PID => u64::from(pids::thread_to_host(id as u32).map_err(|_| Errno::ECHILD)?),
        P_PGID if id as u32 != 0 => {
            u64::from(pids::group_to_host(id as u32).map_err(|_| Errno::ECHILD)?)
        }
        _ => id,
    };
    let mut got = Info([0; 128]);
    loop {
        let result = arch::wait(
            __NR_waitid,
            [which, host, &raw mut got as u64, options, rusage, 0],
            thread.mask() & !signal::HELD,
        );
        checked_or_restart(result)?;
        if ptrace::is_info_shown(&mut got, options & u64::from(WNOWAIT) == 0) {
            break;
        }
        ptrace::go_on_waiting(thread)?;
    }
    let child = got.pid();
    if child != 0 {
        let zone = ptrace::to_zone(child as u32);
        let is_dead = (1..=3).contains(&got.code());
        if is_dead && options & u64::from(WNOWAIT) == 0 {
            pids::reaped(child as u32);
        }
        got.set_pid(zone);
        got.set_uid(pids::load_credentials(zone).uid[0]);
    }
    if info != 0 {
        memory::write(info, &got)?;
    }
    Ok(0)
}

/// kill(2). Landlock's signal scope answers EPERM for what is outside: that is ESRCH here.
pub fn kill(pid: u64, signal: u64) -> Result<u64> {
    let pid = pid as i32;
    if pid == i32::MIN {
        return Err(Errno::ESRCH);
    }
    if pid == -1 {
        return kill_all(signal);
    }
    let host = target_to_host(pid)?;
    if pid > 0 {
        if pid as u32 >= THREAD_BIAS {
            may_signal_by_thread(me(), [pid as u64, host as u64, signal])?;
        } else {
            may_signal(me(), pid as u32, signal)?;
        }
        if pid == 1 {
            return to_init(signal);
        }
    } else if !has(me(), Power::Kill)
        && let Some(result) = kill_group_of_many(me(), pid.unsigned_abs(), signal)
    {
        return result;
    }
    outside_is_esrch(send(me(), __NR_kill, [host as u64, signal, 0, 0]))
}

/// Sends a signal as the last thing that a call does.
fn send(thread: &Thread, nr: u32, args: [u64; 4]) -> i64 {
    if thread.came_by_jump() {
        arch::jump::brief_and_last(thread, nr, args)
    } else {
        unsafe { syscall3(nr, args[0], args[1], args[2]) }
    }
}

/// As [`may_signal`], for a process that is named by one of its threads, whose users are known for
/// those of one's own only.
#[cold]
#[inline(never)]
fn may_signal_by_thread(thread: &Thread, [named, host, signal]: [u64; 3]) -> Result<()> {
    // Who is not there is told first.
    outside_is_esrch(unsafe { syscall2(__NR_kill, host, 0) })?;
    let own = u64::from(thread.process().host_pid);
    if unsafe { syscall3(__NR_tgkill, own, host, 0) } == 0 {
        return Ok(());
    }
    may_signal(thread, named as u32, signal)
}

/// Signals a group (0: the caller's) of which some belong to users whom the caller may not signal: the
/// others. `None` if there are no such, so that the kernel can do it at once.
#[inline(never)]
fn kill_group_of_many(thread: &Thread, group: u32, signal: u64) -> Option<Result<u64>> {
    let group = match group {
        0 => group_of(thread, __NR_getpgid, 0).ok()? as u32,
        group => group,
    };
    let numbers = || {
        commons()
            .numbers()
            .filter(|&zone| pids::to_host(zone).is_ok())
    };
    let is_member =
        |zone: u32| group_of(thread, __NR_getpgid, u64::from(zone)) == Ok(u64::from(group));
    let may = |zone: u32| may_signal(thread, zone, signal).is_ok();
    if !numbers().any(|zone| !may(zone) && is_member(zone)) {
        return None;
    }
    let own = thread.process().zone_pid;
    let mut result = Err(Errno::EPERM);
    for zone in numbers().filter(|&zone| zone != own && may(zone) && is_member(zone)) {
        if let Ok(host) = pids::to_host(zone)
            && unsafe { syscall2(__NR_kill, u64::from(host), signal) } == 0
        {
            result = Ok(0);
        }
    }
    // Last, as it may be the end of us.
    if is_member(own) {
        let host = u64::from(thread.process().host_pid);
        return Some(outside_is_esrch(send(
            thread,
            __NR_kill,
            [host, signal, 0, 0],
        )));
    }
    Some(result)
}

const SIGNAL_MAX: u32 = 64;

/// Whether the thread may send a signal to a process, by the zone's own users (kill(2)).
#[inline(never)]
pub fn may_signal(thread: &Thread, zone_pid: u32, signal: u64) -> Result<()> {
    // Of what is no signal nobody's rights are looked at.
    if signal as u32 > SIGNAL_MAX {
        return Err(Errno::EINVAL);
    }
    let [real, effective, ..] = thread.credentials.uid;
    if has(thread, Power::Kill) || zone_pid == thread.process().zone_pid {
        return Ok(());
    }
    let [target, _, saved, _] = pids::load_credentials(zone_pid).uid;
    let is_in_session = || {
        // A clerk is in a session of its own.
        let is_clerk = thread.process().is_clerk;
        let session = |pid: u32| match is_clerk {
            true => session_of(thread, pid),
            false => group_of(thread, __NR_getsid, u64::from(pid)),
        };
        session(thread.process().zone_pid) == session(zone_pid)
    };
    if [real, effective]
        .iter()
        .any(|own| *own == target || *own == saved)
        || signal as u32 == SIGCONT && is_in_session()
    {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// As init of a pid name space, the zone's has no handlers, and what would end it is dropped.
pub fn to_init(signal: u64) -> Result<u64> {
    if signal as u32 > SIGNAL_MAX {
        Err(Errno::EINVAL)
    } else {
        Ok(0)
    }
}

#[inline(never)]
fn kill_all(signal: u64) -> Result<u64> {
    let own = me().process().zone_pid;
    let mut hit = false;
    for zone in crate::monitor::commons().numbers() {
        if zone != 1
            && zone != own
            && let Ok(host) = pids::to_host(zone)
            && may_signal(me(), zone, signal).is_ok()
        {
            hit |= unsafe { syscall2(__NR_kill, u64::from(host), signal) } == 0;
        }
    }
    if hit { Ok(0) } else { Err(Errno::ESRCH) }
}

pub fn outside_is_esrch(result: i64) -> Result<u64> {
    match checked_or_restart(result) {
        Err(Errno::EPERM) => Err(Errno::ESRCH),
        other => other,
    }
}

/// Sends to a thread of a process by `send(group, thread)`. libc names its threads by what the kernel
/// wrote, so host ids of own threads count too.
fn to_thread(
    thread: &Thread,
    [tgid, tid, signal]: [u64; 3],
    send: impl Fn(u64, u64) -> i64,
) -> Result<u64> {
    let process = thread.process();
    let (tgid, tid) = (tgid as i32, tid as i32);
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL);
    }
    let group = if tgid as u32 == process.zone_pid {
        process.host_pid
    } else {
        pids::to_host(tgid as u32)?
    };
    may_signal(thread, tgid as u32, signal)?;
    if tgid == 1 {
        return Ok(0);
    }
    let named = if tid as u32 == tgid as u32 {
        group
    } else {
        pids::thread_to_host(tid as u32).unwrap_or(tid as u32)
    };
    let mut result = send(u64::from(group), u64::from(named));
    if result == -3 && named != tid as u32 {
        result = send(u64::from(group), u64::from(tid as u32));
    }
    outside_is_esrch(result)
}

/// tgkill(2).
pub fn tgkill(thread: &Thread, tgid: u64, tid: u64, signal: u64) -> Result<u64> {
    to_thread(thread, [tgid, tid, signal], |group, host| {
        send(thread, __NR_tgkill, [group, host, signal, 0])
    })
}

/// tkill(2).
#[inline(never)]
pub fn tkill(thread: &Thread, tid: u64, signal: u64) -> Result<u64> {
    let tid = tid as i32;
    if tid <= 0 {
        return Err(Errno::EINVAL);
    }
    if tid as u32 == thread.zone_tid() {
        let process = thread.process();
        // A clerk's own number is not that of whom it works for.
        let own = if process.is_clerk {
            process.host_pid
        } else {
            thread.host_tid
        };
        return outside_is_esrch(send(thread, __NR_tkill, [own.into(), signal, 0, 0]));
    }
    if let Ok(host) = pids::thread_to_host(tid as u32) {
        if tid as u32 >= THREAD_BIAS {
            may_signal_by_thread(thread, [tid as u64, host.into(), signal])?;
        } else {
            may_signal(thread, tid as u32, signal)?;
        }
        if tid == 1 {
            return to_init(signal);
        }
        return outside_is_esrch(unsafe { syscall2(__NR_tkill, u64::from(host), signal) });
    }
    outside_is_esrch(unsafe {
        syscall3(
            __NR_tgkill,
            u64::from(thread.process().host_pid),
            tid as u64,
            signal,
        )
    })
}

/// rt_sigqueueinfo(2), and rt_tgsigqueueinfo(2) where `thread_id` is given.
///
/// EPERM for what poses as the kernel or as tgkill(2), as the kernel has it; the sender is put into
/// the host's terms, from which the receiver takes it back.
#[inline(never)]
pub fn queue(
    thread: &Thread,
    tgid: u64,
    thread_id: Option<u64>,
    signal: u64,
    info: u64,
) -> Result<u64> {
    let (pid, own) = (tgid as i32, thread.process());
    let mut info = memory::read::<Info>(info)?;
    let poses = info.code() >= 0 || info.code() == SI_TKILL;
    if pid <= 0 || thread_id.is_some_and(|tid| tid as i32 <= 0) {
        return Err(match thread_id {
            Some(_) => Errno::EINVAL,
            None if poses => Errno::EPERM,
            None => Errno::ESRCH,
        });
    }
    let named = others::named(thread, pid as u32);
    let is_own =
        named == own.zone_pid || (thread_id.is_none() && others::is_own_thread(thread, named));
    if poses && !is_own {
        return Err(Errno::EPERM);
    }
    let host = if is_own {
        own.host_pid
    } else {
        pids::to_host(pid as u32)?
    };
    may_signal(thread, pid as u32, signal)?;
    if pid == 1 {
        return to_init(signal);
    }
    sender_to_host(&mut info);
    let info = &raw const info as u64;
    outside_is_esrch(match thread_id {
        None => unsafe { syscall3(__NR_rt_sigqueueinfo, u64::from(host), signal, info) },
        Some(tid) => {
            let tid = if tid as u32 == tgid as u32 {
                host
            } else {
                pids::thread_to_host(tid as u32).unwrap_or(tid as u32)
            };
            unsafe {
                syscall4(
                    __NR_rt_tgsigqueueinfo,
                    u64::from(host),
                    u64::from(tid),
                    signal,
                    info,
                )
            }
        }
    })
}

/// Puts the sender that a guest claims into the host's terms, from which the receiver takes it back.
pub fn sender_to_host(info: &mut Info) {
    if info.code() < 0 {
        info_to_host(info);
    }
}

/// setpgid(2).
pub fn setpgid(pid: u64, pgid: u64) -> Result<u64> {
    let (pid, pgid) = (pid as i32, pgid as i32);
    if pgid < 0 || (pgid == 0 && pid < 0) {
        return Err(Errno::EINVAL);
    }
    let host = if pid == 0 {
        0
    } else {
        pids::to_host(pid as u32)?
    };
    let group = if pgid == 0 {
        0
    } else {
        pids::group_to_host(pgid as u32).map_err(|_| Errno::EPERM)?
    };
    checked(unsafe { syscall2(__NR_setpgid, u64::from(host), u64::from(group)) })
}

/// getpgid(2), getsid(2).
pub fn group_of(thread: &Thread, nr: u32, pid: u64) -> Result<u64> {
    let pid = pid as i32;
    if pid == 0 || pid as u32 == thread.process().zone_pid {
        let host = checked(unsafe { syscall1(nr, 0) })?;
        return Ok(u64::from(pids::to_zone_or_0(host as i32)));
    }
    pids::to_host(pid as u32)?;
    thread.ask(
        picozone_personality::mailbox::Request::Process,
        &[u64::from(nr), pid as u64, 0, 0, 0],
    )
}

/// The session of a process as the monitor knows it.
fn session_of(thread: &Thread, pid: u32) -> Result<u64> {
    let call = [u64::from(__NR_getsid), u64::from(pid), 0, 0, 0];
    thread.ask(picozone_personality::mailbox::Request::Process, &call)
}

/// setsid(2).
pub fn setsid() -> Result<u64> {
    let host = checked(unsafe { syscall1(__NR_setsid, 0) })?;
    Ok(u64::from(pids::to_zone_or_0(host as i32)))
}

/// getppid(2).
pub fn getppid() -> u64 {
    u64::from(pids::to_zone_or_0(
        unsafe { syscall1(__NR_getppid, 0) } as i32
    ))
}

/// Whether `si_pid` and `si_uid` name a sender. Negative codes are for programs to choose, but for
/// those of timers, of descriptors and the kernel's own.
fn is_from_process(code: i32) -> bool {
    const SI_TIMER: i32 = -2;
    const SI_SIGIO: i32 = -5;
    const SI_DETHREAD: i32 = -7;
    code <= 0 && !matches!(code, SI_TIMER | SI_SIGIO | SI_DETHREAD)
}

/// Whether a code is such that no kernel gives: what goes with it is what the sender wrote, who may name
/// anybody.
fn is_chosen(code: i32) -> bool {
    const SI_MESGQ: i32 = -3;
    code < 0 && is_from_process(code) && !matches!(code, SI_MESGQ | SI_TKILL)
}

/// Puts the sender of a signal into the host's terms. A number of no process is kept where a program may
/// choose it.
#[inline(never)]
pub fn info_to_host(info: &mut Info) {
    if is_from_process(info.code()) {
        let zone = info.pid() as u32;
        let unknown = if is_chosen(info.code()) { zone } else { 0 };
        info.set_pid(pids::to_host(zone).unwrap_or(unknown));
    }
}

/// The sender of a signal, a process of the host, in the zone's terms, and its user, where that is not to
/// be told as the sender wrote it. `None` where the information names no sender.
pub fn sender_in_zone(signal: u32, code: i32, host: i32) -> Option<(u32, Option<u32>)> {
    if is_chosen(code) {
        let zone = u32::try_from(host).ok().and_then(pids::to_zone);
        return Some((zone.unwrap_or(host as u32), None));
    }
    let is_from = is_from_process(code) || (signal == SIGCHLD && code > 0);
    is_from.then(|| {
        let zone = pids::to_zone_or_0(host);
        (zone, Some(pids::load_credentials(zone).uid[0]))
    })
}

/// Puts the sender of a signal into the zone's terms.
#[inline(never)]
pub fn info_to_zone(signal: u32, info: &mut Info) {
    let Some((zone, user)) = sender_in_zone(signal, info.code(), info.pid()) else {
        return;
    };
    info.set_pid(zone);
    if let Some(user) = user {
        info.set_uid(user);
    }
}
