//! Calls that name any process or thread: priorities, scheduling, limits, memory.
//!
//! The kernel serves those that name the caller, and those that Landlock bounds (what needs the right
//! to trace); all else goes to the monitor.

use crate::arch::{syscall3, syscall4, syscall6};
use crate::dispatch::checked;
use crate::file::{Power, has};
use crate::monitor::commons;
use crate::thread::Thread;
use crate::{Errno, Result, memory, pidfd, pids, refusals, scheduling};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_personality::layout::THREAD_BIAS;
use picozone_personality::limits::{self, Limit};
use picozone_personality::mailbox::Request;

/// The largest set of processors that is passed on, in bytes.
const SET_MAX: u64 = 1024;
/// Sizes of `struct sched_attr`: the first, and the largest that a kernel may take.
const ATTR_SIZE: core::ops::RangeInclusive<u64> = 48..=1024;

/// The zone's name of a thread that a guest names. libc names its threads by what the kernel wrote,
/// their host ids.
pub fn named(thread: &Thread, id: u32) -> u32 {
    if id >= THREAD_BIAS || pids::to_host(id).is_ok() {
        return id;
    }
    let biased = id + THREAD_BIAS;
    if is_own_thread(thread, biased) {
        biased
    } else {
        id
    }
}

/// Whether a number is that of a thread of the caller's process, other than its leader.
pub fn is_own_thread(thread: &Thread, id: u32) -> bool {
    let own = u64::from(thread.process().host_pid);
    id.checked_sub(THREAD_BIAS)
        .is_some_and(|host| unsafe { syscall3(__NR_tgkill, own, u64::from(host), 0) } == 0)
}

/// Whether a number names the calling thread.
fn is_self(thread: &Thread, id: u32) -> bool {
    [0, thread.zone_tid(), thread.host_tid].contains(&id)
}

fn ask(thread: &Thread, nr: u32, id: u32, rest: [u64; 3]) -> Result<u64> {
    let [a, b, c] = rest;
    let id = u64::from(named(thread, id));
    thread.ask(Request::Process, &[u64::from(nr), id, a, b, c])
}

/// getpriority(2), setpriority(2), ioprio_get(2), ioprio_set(2).
pub fn priority(thread: &Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    let [which, who, value, ..] = args;
    let (which, who) = (which as u32, who as u32);
    // PRIO_PROCESS is 0, IOPRIO_WHO_PROCESS is 1.
    let first = u32::from(matches!(nr, __NR_ioprio_get | __NR_ioprio_set));
    if which.wrapping_sub(first) > 2 {
        return Err(Errno::EINVAL);
    }
    let is_process = which == first;
    if is_process && is_self(thread, who) {
        match nr {
            __NR_getpriority => return scheduling::get_priority(thread),
            __NR_setpriority => return scheduling::set_priority(thread, value),
            _ => {}
        }
        return checked(unsafe { syscall3(nr, u64::from(which), 0, value) });
    }
    let who = if is_process { named(thread, who) } else { who };
    thread.ask(
        Request::Process,
        &[u64::from(nr), u64::from(which), u64::from(who), value],
    )
}

/// process_madvise(2), of the caller's own memory: what is told of others' would change how they run.
#[inline(never)]
pub fn advise(thread: &Thread, a: [u64; 6]) -> Result<u64> {
    const VECTORS_MAX: u64 = 1024;
    /// `PIDFD_SELF_THREAD`, `PIDFD_SELF_THREAD_GROUP`.
    const SELVES: [i32; 2] = [-10_000, -10_001];
    let [process, vectors, count, advice, flags, _] = a;
    if flags as u32 != 0 || count > VECTORS_MAX {
        return Err(Errno::EINVAL);
    }
    let vector = |i: u64| memory::read::<[u64; 2]>(vectors.wrapping_add(16 * i));
    for i in 0..count {
        if vector(i)?[1] > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
    }
    if !SELVES.contains(&(process as i32)) {
        let (pid, is_directory) = pidfd::whose(thread, process)?;
        if is_directory {
            return Err(Errno::EBADF);
        }
        if pid != thread.process().zone_pid {
            return refusals::unsupported(Errno::EPERM);
        }
    }
    let mut done = 0;
    for i in 0..count {
        let [start, length] = vector(i)?;
        match checked(unsafe { syscall3(__NR_madvise, start, length, advice) }) {
            Ok(_) => done += length,
            // As of what the filter does not know.
            Err(Errno::EPERM) if done == 0 => return Err(Errno::EINVAL),
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// The sched_* calls that name a thread.
#[inline(never)]
pub fn scheduled(thread: &Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    let pid = args[0] as i32;
    if pid < 0 && !matches!(nr, __NR_sched_getaffinity | __NR_sched_setaffinity) {
        return Err(Errno::EINVAL);
    }
    let id = pid as u32;
    let [_, second, third, fourth, ..] = args;
    // Whole words, as many as there are processors at least.
    let is_part = second as u32 == 0 || !(second as u32).is_multiple_of(8);
    if nr == __NR_sched_getaffinity && is_part {
        return Err(Errno::EINVAL);
    }
    if is_self(thread, id) {
        return scheduling::own(thread, nr, [second, third, fourth]);
    }
    let b = &mut thread.mailbox().b;
    match nr {
        __NR_sched_getscheduler => ask(thread, nr, id, [0; 3]),
        __NR_sched_getparam | __NR_sched_rr_get_interval => {
            if second == 0 && nr == __NR_sched_getparam {
                return Err(Errno::EINVAL);
            }
            ask(thread, nr, id, [0; 3])?;
            let size = if nr == __NR_sched_getparam { 4 } else { 16 };
            memory::write_bytes(second, &b[..size]).map(|()| 0)
        }
        __NR_sched_getattr => {
            let is_size = ATTR_SIZE.contains(&(third & 0xffff_ffff));
            if second == 0 || !is_size || fourth as u32 != 0 {
                return Err(Errno::EINVAL);
            }
            ask(thread, nr, id, [0, third & 0xffff_ffff, fourth])?;
            memory::write_bytes(second, &b[..third as u32 as usize]).map(|()| 0)
        }
        __NR_sched_getaffinity => {
            let size = (second & 0xffff_ffff).min(SET_MAX);
            let length = ask(thread, nr, id, [size, 0, 0])?;
            memory::write_bytes(third, &b[..(length as usize).min(SET_MAX as usize)])?;
            Ok(length)
        }
        __NR_sched_setaffinity => {
            let size = (second & 0xffff_ffff).min(SET_MAX);
            memory::read_bytes(third, &mut b[..size as usize])?;
            ask(thread, nr, id, [size, 0, 0])
        }
        __NR_sched_setattr => {
            if second == 0 || third as u32 != 0 {
                return Err(Errno::EINVAL);
            }
            let size = match u64::from(memory::read::<u32>(second)?) {
                0 => *ATTR_SIZE.start(),
                size if ATTR_SIZE.contains(&size) => size,
                _ => return Err(Errno::E2BIG),
            };
            memory::read_bytes(second, &mut b[..size as usize])?;
            ask(thread, nr, id, [size, 0, 0])
        }
        _ => {
            let (policy, param) = if nr == __NR_sched_setparam {
                (0, second)
            } else {
                (second & 0xffff_ffff, third)
            };
            if param == 0 || policy as i32 <= -1 {
                return Err(Errno::EINVAL);
            }
            memory::read_bytes(param, &mut b[..4])?;
            ask(thread, nr, id, [policy, 0, 0])
        }
    }
}

/// prlimit64(2), getrlimit(2), setrlimit(2).
pub fn prlimit(thread: &Thread, pid: u64, resource: u64, new: u64, old: u64) -> Result<u64> {
    let (id, resource) = (pid as u32, resource & 0xffff_ffff);
    if is_self(thread, id) || id == thread.process().zone_pid {
        if resource >= limits::COUNT as u64 {
            // What cannot be read is told first.
            if new != 0 {
                memory::read::<Limit>(new)?;
            }
            return Err(Errno::EINVAL);
        }
        return own_limit(thread, resource as usize, new, old);
    }
    let b = &mut thread.mailbox().b;
    if new != 0 {
        memory::read_bytes(new, &mut b[..16])?;
    }
    ask(
        thread,
        __NR_prlimit64,
        id,
        [resource, u64::from(new != 0), 0],
    )?;
    if old != 0 {
        memory::write_bytes(old, &b[..16])?;
    }
    Ok(0)
}

fn own_limit(thread: &Thread, resource: usize, new: u64, old: u64) -> Result<u64> {
    let native = |new: u64, old: u64| {
        checked(unsafe { syscall4(__NR_prlimit64, 0, resource as u64, new, old) })
    };
    let new = if new == 0 {
        None
    } else {
        Some(memory::read::<Limit>(new)?)
    };
    let mut real = Limit::default();
    native(0, &raw mut real as u64)?;
    let process = pids::own(thread);
    let is_core = resource == RLIMIT_CORE as usize;
    let withheld = &mut thread.process().core_limit;
    if let Some(soft) = *withheld
        && is_core
    {
        real.cur = soft;
    }
    let before = limits::shown(process, resource, real);
    if let Some(new) = new {
        let mut real =
            limits::change(process, resource, real, new, has(thread, Power::Administer))?;
        if withheld.is_some() && is_core {
            *withheld = Some(core::mem::take(&mut real.cur));
        }
        native(&raw const real as u64, 0)?;
        limits::record(process, resource, new);
    }
    if old != 0 {
        memory::write(old, &before)?;
    }
    Ok(0)
}

/// EPERM for zone init, whose memory and descriptors are ours, but to itself.
pub fn is_no_init(thread: &Thread, zone_pid: u32) -> Result<()> {
    if zone_pid == 1 && thread.process().zone_pid != 1 {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}

/// Whether a thread may look into a process, by the zone's own users (ptrace(2), "Ptrace access mode
/// checking").
pub fn may_look_into(thread: &Thread, zone_pid: u32) -> Result<()> {
    let own = &thread.credentials;
    if has(thread, Power::Trace) || zone_pid == thread.process().zone_pid {
        return Ok(());
    }
    let theirs = pids::load_credentials(zone_pid);
    let has_more = theirs.capabilities.permitted & !own.capabilities.permitted != 0;
    let entry = commons().processes.get(zone_pid as usize);
    let is_closed = entry.is_none_or(|entry| entry.is_closed.load(Relaxed) != 0);
    if theirs.are_those_of(own) && !has_more && !is_closed {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Host id of a thread that may be looked into.
fn looked_into(thread: &Thread, id: u64) -> Result<u64> {
    let id = id as u32;
    if is_self(thread, id) {
        // By which a client's filter knows it.
        let is_client = thread.process().is_client;
        return Ok(if is_client {
            0
        } else {
            u64::from(thread.host_tid)
        });
    }
    let host = pids::thread_to_host(named(thread, id))?;
    if id < THREAD_BIAS && pids::to_host(id).is_ok() {
        may_look_into(thread, id)?;
    }
    Ok(u64::from(host))
}

/// `MPOL_MF_MOVE`, `MPOL_MF_MOVE_ALL`.
const MOVE_FLAGS: u32 = 6;

/// What process_vm_readv(2) and process_vm_writev(2) say of what is nothing to be copied, or else of the
/// process.
#[cold]
#[inline(never)]
fn copied_nothing(args: &[u64; 6], errno: Errno) -> Result<u64> {
    const VECTORS_MAX: u64 = 1024;
    for (vectors, count) in [(args[1], args[2]), (args[3], args[4])] {
        if count > VECTORS_MAX {
            return Err(Errno::EINVAL);
        }
        let mut all = 0u64;
        for i in 0..count {
            all |= memory::read::<[u64; 2]>(vectors.wrapping_add(16 * i))?[1];
        }
        if all > i64::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        if all == 0 {
            return Ok(0);
        }
    }
    Err(errno)
}

/// process_vm_readv(2), process_vm_writev(2), get_robust_list(2), migrate_pages(2), move_pages(2).
#[inline(never)]
pub fn memory_of(thread: &Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    let mut native = args;
    let is_copy = matches!(nr, __NR_process_vm_readv | __NR_process_vm_writev);
    if is_copy && args[5] != 0 {
        return Err(Errno::EINVAL);
    }
    if nr == __NR_move_pages && args[5] as u32 & !MOVE_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    if nr == __NR_process_vm_writev {
        is_no_init(thread, args[0] as u32)?;
    }
    if args[0] as u32 != 0 || is_copy {
        native[0] = match args[0] as i32 {
            1.. => match looked_into(thread, args[0]) {
                Ok(host) => host,
                Err(errno) if is_copy => return copied_nothing(&args, errno),
                Err(errno) => return Err(errno),
            },
            _ if is_copy => return copied_nothing(&args, Errno::ESRCH),
            _ => return Err(Errno::ESRCH),
        };
    }
    let result = looked(&[args[0]], unsafe { syscall6(nr, native) });
    if nr == __NR_migrate_pages && result == Err(Errno::EPERM) && has(thread, Power::Nice) {
        return migrate_to_allowed(native);
    }
    result
}

/// migrate_pages(2) of who may name any node: of those that are named, the ones that there are.
#[cold]
fn migrate_to_allowed(mut args: [u64; 6]) -> Result<u64> {
    /// `MPOL_F_MEMS_ALLOWED` of get_mempolicy(2).
    const ALLOWED: u64 = 4;
    /// Words for as many nodes as a kernel can have.
    const WORDS: usize = 16;
    const BITS: u64 = WORDS as u64 * 64;
    let mut allowed = [0u64; WORDS];
    let to = allowed.as_mut_ptr() as u64;
    checked(unsafe { syscall6(__NR_get_mempolicy, [0, to, BITS, 0, ALLOWED, 0]) })?;
    // The kernel takes the last bit for none (get_nodes()).
    let bits = args[1].saturating_sub(1).min(BITS);
    for (at, word) in (0..).zip(&mut allowed) {
        let left = bits.saturating_sub(at * 64);
        *word &= match left {
            0 => 0,
            1..64 => memory::read::<u64>(args[3] + at * 8)? & ((1 << left) - 1),
            _ => memory::read::<u64>(args[3] + at * 8)?,
        };
    }
    if allowed == [0; WORDS] {
        return Err(Errno::EINVAL);
    }
    args[3] = to;
    args[1] = args[1].min(BITS);
    checked(unsafe { syscall6(__NR_migrate_pages, args) })
}

/// What came of a look into threads: whom Landlock keeps out of reach is not of the zone, and only a
/// thread's number can name such a one.
fn looked(ids: &[u64], result: i64) -> Result<u64> {
    match checked(result) {
        Err(Errno::EPERM) if ids.iter().any(|&id| id as u32 >= THREAD_BIAS) => Err(Errno::ESRCH),
        other => other,
    }
}

/// kcmp(2).
pub fn kcmp(thread: &Thread, args: [u64; 6]) -> Result<u64> {
    let mut native = args;
    for id in &mut native[..2] {
        if *id as i32 <= 0 {
            return Err(Errno::ESRCH);
        }
        *id = looked_into(thread, *id)?;
    }
    looked(&args[..2], unsafe { syscall6(__NR_kcmp, native) })
}
