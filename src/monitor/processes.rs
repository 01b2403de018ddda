//! What guests ask of other processes and threads of their zone: groups, descriptors, priorities,
//! limits.
//!
//! Nothing of that is bounded by Landlock, so the filter lets only those forms through that name the
//! caller itself. Here a target is named by the zone's number; the kernel must agree that it descends
//! from the zone's init before it is touched, and the zone's own users decide who may. As the
//! monitor may be the host's root, it never grants what the kernel would not grant to an ordinary
//! user: no higher priority, no real-time policy, no higher hard limit.
//!
//! Numbers of the host are not used again between the look at a process and what is done to it,
//! unless millions of processes are born within microseconds; process descriptors exclude even that.

use super::notify::{Call, Listener};
use super::procfs::{Credentials, StatLine, View, number, zone_process_of};
use super::zone::Zone;
use super::{files, guests};
use crate::ids::{HostPid, ZonePid};
use nix::errno::Errno;
use nix::unistd::Pid;
use picozone_personality::capabilities::Power;
use picozone_personality::limits::{self, Limit};
use picozone_personality::mailbox::PIDFD_DIRECTORY;
use picozone_personality::scheduling::{Policy, RESET_ON_FORK, ROUND_ROBIN, Row, TIMESLICE_NS};
use picozone_syscalls::nr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The largest set of processors that is passed on, in bytes.
const SET_MAX: usize = 1024;
/// Policies that give no precedence: SCHED_OTHER, SCHED_BATCH, SCHED_IDLE.
const ORDINARY: [u32; 3] = [0, 3, 5];
/// The others: SCHED_FIFO, SCHED_RR, SCHED_DEADLINE, SCHED_EXT.
const PRECEDENT: [u32; 4] = [1, 2, 6, 7];
/// SCHED_FIFO, SCHED_RR.
const REAL_TIME: [u32; 2] = [1, 2];
const DEADLINE: u32 = 6;
/// Size of the first `struct sched_attr`.
const ATTR_MIN: usize = 48;
/// `IOPRIO_CLASS_RT`, above the class's shift.
const IO_CLASS_RT: u64 = 1;
const PRIO_PROCESS: u64 = 0;
const PRIO_PGRP: u64 = 1;
const PRIO_USER: u64 = 2;

/// Serves [`Request::Process`](picozone_personality::mailbox::Request::Process): the number of a
/// call, and its arguments as the manual has them, in the zone's terms.
///
/// # Errors
/// As the call's; ESRCH for what is not the zone's.
pub fn serve(zone: &Zone, listener: &Listener, call: Call, args: [u64; 8]) -> Result<i64, i32> {
    let [call_number, first, second, third, fourth, ..] = args;
    let number = u32::try_from(call_number).map_err(|_| libc::ENOSYS)?;
    let target = || target(zone, first);
    match number {
        nr::getpgid | nr::getsid => group_of(zone, number, target()?),
        nr::pidfd_open => {
            let fd = open(zone, first, second)?;
            listener.add(call, fd.as_fd(), true).map(i64::from)
        }
        nr::pidfd_send_signal => whose(zone, HostPid(call.tid), first),
        nr::getpriority | nr::setpriority => {
            priority(zone, HostPid(call.tid), number, first, second, third)
        }
        nr::ioprio_get | nr::ioprio_set => {
            // Counted from 1, other than those of setpriority.
            let which = first.checked_sub(1).ok_or(libc::EINVAL)?;
            priority(zone, HostPid(call.tid), number, which, second, third)
        }
        nr::prlimit64 => limit(zone, call, target()?, second, third == 1),
        nr::clock_gettime | nr::clock_getres => clock(zone, call, number, first, second),
        nr::vhangup => match has_terminal(HostPid(call.tid)) {
            false => Ok(0),
            true => Err(libc::EPERM),
        },
        nr::sched_getscheduler => {
            let pid = target()?;
            match recorded(zone, pid).and_then(Row::policy) {
                Some(policy) => {
                    let flag = if policy.resets { RESET_ON_FORK } else { 0 };
                    Ok(i64::from(policy.policy | flag))
                }
                None => kernel(number, &[u64::from(pid.0)]),
            }
        }
        nr::sched_getparam | nr::sched_rr_get_interval | nr::sched_getattr => {
            let size = usize::try_from(third).map_err(|_| libc::EINVAL)?;
            get(zone, call, number, target()?, size.min(SET_MAX), fourth)
        }
        nr::sched_getaffinity => {
            let size = usize::try_from(second).map_err(|_| libc::EINVAL)?;
            affinity(zone, call, target()?, size.min(SET_MAX))
        }
        nr::sched_setparam | nr::sched_setscheduler | nr::sched_setattr | nr::sched_setaffinity => {
            set(zone, call, number, target()?, second)
        }
        _ => Err(libc::ENOSYS),
    }
}

/// One call of the kernel that takes numbers and addresses of our own.
fn kernel(number: u32, args: &[u64]) -> Result<i64, i32> {
    let mut a = [0; 6];
    a[..args.len()].copy_from_slice(args);
    // SAFETY: the callers pass numbers, and addresses of buffers of the size that the call is told.
    let result = unsafe { libc::syscall(i64::from(number), a[0], a[1], a[2], a[3], a[4], a[5]) };
    Errno::result(result).map_err(|errno| errno as i32)
}

/// A process or thread of the zone.
fn target(zone: &Zone, number: u64) -> Result<HostPid, i32> {
    let number = u32::try_from(number).map_err(|_| libc::ESRCH)?;
    guests::thread_to_host(&zone.shared, zone.init_pid(), ZonePid(number)).ok_or(libc::ESRCH)
}

fn raw(pid: HostPid) -> Result<i32, i32> {
    i32::try_from(pid.0).map_err(|_| libc::ESRCH)
}

fn group_of(zone: &Zone, number: u32, pid: HostPid) -> Result<i64, i32> {
    let pid = Some(Pid::from_raw(raw(pid)?));
    let group = if number == nr::getpgid {
        nix::unistd::getpgid(pid)
    } else {
        nix::unistd::getsid(pid)
    };
    let group = group.map_err(|_| libc::ESRCH)?.as_raw().cast_unsigned();
    guests::to_zone(&zone.shared, HostPid(group))
        .map(|zone| i64::from(zone.0))
        .ok_or(libc::ESRCH)
}

/// A descriptor of a process of the zone: opened first and judged then, so that it is the process
/// that was judged which it names.
fn open(zone: &Zone, number: u64, flags: u64) -> Result<OwnedFd, i32> {
    let pid = target(zone, number)?;
    let fd = kernel(nr::pidfd_open, &[u64::from(pid.0), flags])?;
    let fd = RawFd::try_from(fd).map_err(|_| libc::EBADF)?;
    // SAFETY: the kernel made the descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let is_zones = guests::is_in_zone(zone.init_pid(), pid);
    let raw_fd = u64::try_from(fd.as_raw_fd()).map_err(|_| libc::EBADF)?;
    let is_there = kernel(nr::pidfd_send_signal, &[raw_fd, 0, 0, 0]).is_ok();
    if is_zones && is_there {
        Ok(fd)
    } else {
        Err(libc::ESRCH)
    }
}

/// The zone's number of the process that a descriptor of the caller names, or a directory of `/proc`.
fn whose(zone: &Zone, caller: HostPid, fd: u64) -> Result<i64, i32> {
    let text =
        std::fs::read_to_string(format!("/proc/{caller}/fdinfo/{fd}")).map_err(|_| libc::EBADF)?;
    let Some(pid) = text.lines().find_map(|line| line.strip_prefix("Pid:")) else {
        let path = files::path_of(zone, caller, fd).map_err(|_| libc::EBADF)?;
        let pid = path.strip_prefix(b"/proc/").and_then(number);
        let pid = pid.ok_or(libc::EBADF)?;
        return i64::try_from(PIDFD_DIRECTORY | u64::from(pid)).map_err(|_| libc::EBADF);
    };
    // -1 where it was reaped.
    let host = pid.trim().parse().map_err(|_| libc::ESRCH)?;
    zone_process_of(zone, HostPid(host))
        .map(|process| i64::from(process.0))
        .map_err(|_| libc::ESRCH)
}

/// The users of the process of a thread.
fn users(zone: &Zone, thread: HostPid) -> Result<Credentials, i32> {
    zone_process_of(zone, thread)
        .map(|process| zone.credentials(process))
        .map_err(|_| libc::ESRCH)
}

/// EPERM unless the caller has `CAP_SYS_NICE` in the zone, or its users and the target's suit.
fn must_suit(
    zone: &Zone,
    caller: HostPid,
    pid: HostPid,
    suit: impl Fn(&Credentials, &Credentials) -> bool,
) -> Result<(), i32> {
    let (own, theirs) = (users(zone, caller)?, users(zone, pid)?);
    if own.capabilities.has(Power::Nice) || suit(&own, &theirs) {
        Ok(())
    } else {
        Err(libc::EPERM)
    }
}

/// EPERM unless the caller has `CAP_SYS_NICE` in the zone, or its effective user is a user of the target
/// (setpriority(2), sched_setscheduler(2)).
fn must_own(zone: &Zone, caller: HostPid, pid: HostPid) -> Result<(), i32> {
    let suit = |own: &Credentials, theirs: &Credentials| theirs.uid[..2].contains(&own.uid[1]);
    must_suit(zone, caller, pid, suit)
}

/// The same of ioprio_set(2), where either user of the caller's may be the target's real one.
fn must_own_io(zone: &Zone, caller: HostPid, pid: HostPid) -> Result<(), i32> {
    let suit = |own: &Credentials, theirs: &Credentials| own.uid[..2].contains(&theirs.uid[0]);
    must_suit(zone, caller, pid, suit)
}

/// EPERM where the target may do more than the caller (`cap_safe_nice` in the kernel's
/// security/commoncap.c).
fn must_be_no_more(zone: &Zone, caller: HostPid, pid: HostPid) -> Result<(), i32> {
    must_suit(zone, caller, pid, |own, theirs| {
        theirs.capabilities.permitted & !own.capabilities.permitted == 0
    })
}

/// Whether there is such a priority of I/O (`ioprio_check_cap` in the kernel's block/ioprio.c). The class of
/// real time is the host's to give.
fn must_be_io_priority(zone: &Zone, caller: HostPid, value: u64) -> Result<(), i32> {
    match (value >> 13 & 7, value & 7) {
        (IO_CLASS_RT, _) => {
            let capabilities = users(zone, caller)?.capabilities;
            let may = capabilities.has(Power::Nice) || capabilities.has(Power::Administer);
            if may { Ok(()) } else { Err(libc::EPERM) }
        }
        (2 | 3, _) | (0, 0) => Ok(()),
        _ => Err(libc::EINVAL),
    }
}

/// What `which` and `who` of setpriority(2) name: threads.
fn selected(zone: &Zone, caller: HostPid, which: u64, who: u64) -> Result<Vec<HostPid>, i32> {
    if which == PRIO_PROCESS {
        return target(zone, who).map(|pid| vec![pid]);
    }
    let init = zone.init_pid();
    let group = |pid: HostPid| nix::unistd::getpgid(Some(Pid::from_raw(raw(pid).ok()?))).ok();
    let wanted = match which {
        PRIO_PGRP if who == 0 => group(caller),
        PRIO_PGRP => {
            let number = u32::try_from(who).map_err(|_| libc::ESRCH)?;
            guests::group_to_host(&zone.shared, ZonePid(number))
                .and_then(|leader| raw(leader).ok())
                .map(Pid::from_raw)
        }
        PRIO_USER => None,
        _ => return Err(libc::EINVAL),
    };
    let user = if who == 0 {
        users(zone, caller)?.uid[0]
    } else {
        u32::try_from(who).map_err(|_| libc::ESRCH)?
    };
    let is_meant = |process: ZonePid, pid: HostPid| {
        if which == PRIO_USER {
            zone.credentials(process).uid[0] == user
        } else {
            wanted.is_some() && group(pid) == wanted
        }
    };
    let threads = guests::all(&zone.shared, init)
        .into_iter()
        .filter(|&(process, pid)| is_meant(process, pid))
        .flat_map(|(_, pid)| guests::threads_of(pid))
        .collect();
    Ok(threads)
}

/// getpriority(2), setpriority(2), ioprio_get(2), ioprio_set(2).
fn priority(
    zone: &Zone,
    caller: HostPid,
    number: u32,
    which: u64,
    who: u64,
    value: u64,
) -> Result<i64, i32> {
    let is_io = matches!(number, nr::ioprio_get | nr::ioprio_set);
    let is_get = matches!(number, nr::getpriority | nr::ioprio_get);
    let first = u64::from(is_io);
    if number == nr::ioprio_set {
        must_be_io_priority(zone, caller, value)?;
    }
    let mut result: Result<i64, i32> = Err(libc::ESRCH);
    for pid in selected(zone, caller, which, who)? {
        let id = u64::from(pid.0);
        let one = match number {
            nr::getpriority => nice_of(zone, pid).map(|nice| 20 - nice),
            nr::setpriority => must_own(zone, caller, pid)
                .and_then(|()| set_nice(zone, caller, pid, files::low_int(value))),
            nr::ioprio_get => kernel(number, &[first, id]),
            _ => must_own_io(zone, caller, pid)
                .and_then(|()| must_be_no_more(zone, caller, pid))
                .and_then(|()| match value >> 13 & 7 {
                    IO_CLASS_RT => Err(libc::EPERM),
                    _ => kernel(number, &[first, id, value]),
                }),
        };
        result = match (result, one) {
            (Ok(before), Ok(now)) if is_io => Ok(before.min(now)),
            (Ok(before), Ok(now)) => Ok(before.max(now)),
            (Err(libc::ESRCH), now) => now,
            (before, Err(libc::ESRCH)) => before,
            (_, Err(errno)) if !is_get => Err(errno),
            (before, _) => before,
        };
    }
    result
}

/// The nice value that a thread is shown.
fn nice_of(zone: &Zone, pid: HostPid) -> Result<i64, i32> {
    match recorded(zone, pid).and_then(Row::nice) {
        Some(nice) => Ok(i64::from(nice)),
        None => Ok(20 - kernel(nr::getpriority, &[0, u64::from(pid.0)])?),
    }
}

/// Sets a nice value; a higher priority than the thread has on the host is only recorded.
fn set_nice(zone: &Zone, caller: HostPid, pid: HostPid, nice: i32) -> Result<i64, i32> {
    let (commons, nice) = (zone.shared.commons(), nice.clamp(-20, 19));
    let wanted = i64::from(nice);
    if raised(pid, wanted.cast_unsigned())? {
        let is_more = wanted < nice_of(zone, pid)?;
        if is_more && !may_precede(zone, caller)? {
            return Err(libc::EACCES);
        }
        must_be_no_more(zone, caller, pid)?;
        row(zone, pid)?.set_nice(commons, Some(nice));
        return Ok(0);
    }
    must_be_no_more(zone, caller, pid)?;
    let set = [0, u64::from(pid.0), wanted.cast_unsigned()];
    kernel(nr::setpriority, &set)?;
    if let Some(row) = recorded(zone, pid) {
        row.set_nice(commons, None);
    }
    Ok(0)
}

/// Whether the caller may give priorities that the host does not.
fn may_precede(zone: &Zone, caller: HostPid) -> Result<bool, i32> {
    Ok(users(zone, caller)?.capabilities.has(Power::Nice))
}

/// What is recorded of a thread's priorities.
fn recorded(zone: &Zone, pid: HostPid) -> Option<&Row> {
    zone.shared.commons().scheduling_of(pid.0)
}

fn row(zone: &Zone, pid: HostPid) -> Result<&Row, i32> {
    let rows = &zone.shared.commons().scheduling;
    rows.get(pid.0 as usize).ok_or(libc::ESRCH)
}

/// Whether this nice value is a higher priority than a thread has.
fn raised(pid: HostPid, nice: u64) -> Result<bool, i32> {
    let now = 20 - kernel(nr::getpriority, &[0, u64::from(pid.0)])?;
    let wanted = i64::from(files::low_int(nice)).clamp(-20, 19);
    Ok(wanted < now)
}

/// clock_gettime(2), clock_getres(2) of a clock of a process: CPUCLOCK_PROF, _VIRT or _SCHED.
fn clock(zone: &Zone, call: Call, number: u32, process: u64, kind: u64) -> Result<i64, i32> {
    let process = u32::try_from(process).map_err(|_| libc::EINVAL)?;
    let host = guests::to_host(&zone.shared, zone.init_pid(), ZonePid(process));
    let host = host.ok_or(libc::EINVAL)?;
    if kind > 2 {
        return Err(libc::EINVAL);
    }
    let mut time = [0u64; 2];
    let id = !u64::from(host.0) << 3 | kind;
    kernel(number, &[id & 0xffff_ffff, address(&mut time)])?;
    let bytes = time.map(u64::to_ne_bytes).concat();
    zone.shared.write_bytes(call.tid, &bytes);
    Ok(0)
}

/// Whether a thread's session has a terminal.
fn has_terminal(thread: HostPid) -> bool {
    /// `tty_nr` in `/proc/PID/stat`, counted from 1.
    const TERMINAL: usize = 7;
    let stat = std::fs::read(format!("/proc/{thread}/stat")).unwrap_or_default();
    let terminal = StatLine::parse(&stat).and_then(|stat| stat.get(TERMINAL).map(str::to_owned));
    terminal.as_deref() != Some("0")
}

/// prlimit64(2) of another process: the new limit and the old one in the caller's mailbox.
fn limit(zone: &Zone, call: Call, pid: HostPid, resource: u64, is_set: bool) -> Result<i64, i32> {
    let (own, theirs) = (users(zone, HostPid(call.tid))?, users(zone, pid)?);
    let is_same = theirs.uid[..3].iter().all(|id| *id == own.uid[0])
        && theirs.gid[..3].iter().all(|id| *id == own.gid[0]);
    let may_set_limits = own.capabilities.has(Power::Administer);
    if !may_set_limits && !is_same {
        return Err(libc::EPERM);
    }
    let process = zone_process_of(zone, pid).map_err(|_| libc::ESRCH)?;
    let entry = zone.shared.commons().processes.get(process.0 as usize);
    let entry = entry.ok_or(libc::ESRCH)?;
    let resource_number = usize::try_from(resource).map_err(|_| libc::EINVAL)?;
    let id = u64::from(pid.0);
    let real = |new: u64, old: u64| kernel(nr::prlimit64, &[id, resource, new, old]);
    let mut words = [0u64; 2];
    real(0, address(&mut words))?;
    let now = Limit {
        cur: words[0],
        max: words[1],
    };
    let old = limits::shown(entry, resource_number, now);
    if is_set {
        let bytes = zone.shared.read_bytes(call.tid, 16);
        let [cur, max] = bytes.as_chunks::<8>().0 else {
            return Err(libc::EINVAL);
        };
        let new = Limit {
            cur: u64::from_ne_bytes(*cur),
            max: u64::from_ne_bytes(*max),
        };
        let held = limits::change(entry, resource_number, now, new, may_set_limits)
            .map_err(|errno| i32::from(errno.raw()))?;
        // What is recorded is the guests' to change; what the kernel holds is not raised by it.
        let mut words = [held.cur, held.max.min(now.max)];
        real(address(&mut words), 0)?;
        limits::record(entry, resource_number, new);
    }
    let old = [old.cur.to_ne_bytes(), old.max.to_ne_bytes()].concat();
    zone.shared.write_bytes(call.tid, &old);
    Ok(0)
}

/// The address of a buffer that a call of [`kernel`] reads or fills.
fn address<T>(buffer: &mut [T]) -> u64 {
    buffer.as_mut_ptr() as u64
}

/// A call that fills a structure: the thread, its address, and for one its size.
fn get(
    zone: &Zone,
    call: Call,
    number: u32,
    pid: HostPid,
    size: usize,
    flags: u64,
) -> Result<i64, i32> {
    let mut room = [0u8; SET_MAX];
    let (id, to) = (u64::from(pid.0), address(&mut room));
    let size = match number {
        nr::sched_getparam => {
            kernel(number, &[id, to])?;
            4
        }
        nr::sched_rr_get_interval => {
            kernel(number, &[id, to])?;
            16
        }
        _ => {
            kernel(number, &[id, to, size as u64, flags])?;
            size
        }
    };
    let found = room.get_mut(..size).ok_or(libc::EINVAL)?;
    if let Some(row) = recorded(zone, pid) {
        match (number, row.policy()) {
            (nr::sched_getattr, _) => row.show(found),
            (nr::sched_getparam, Some(policy)) => {
                found.copy_from_slice(&policy.priority.to_ne_bytes());
            }
            (nr::sched_rr_get_interval, Some(policy)) if policy.priority > 0 => {
                let is_round = policy.policy == ROUND_ROBIN;
                let nanoseconds = if is_round { TIMESLICE_NS } else { 0 };
                found.copy_from_slice(&[0, nanoseconds].map(u64::to_ne_bytes).concat());
            }
            _ => {}
        }
    }
    zone.shared.write_bytes(call.tid, found);
    Ok(0)
}

/// sched_getaffinity(2).
fn affinity(zone: &Zone, call: Call, pid: HostPid, size: usize) -> Result<i64, i32> {
    let mut room = [0u8; SET_MAX];
    let args = [u64::from(pid.0), size as u64, address(&mut room)];
    let length = kernel(nr::sched_getaffinity, &args)?;
    let found = usize::try_from(length).ok().and_then(|n| room.get(..n));
    zone.shared
        .write_bytes(call.tid, found.ok_or(libc::EINVAL)?);
    Ok(length)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, i32> {
    let bytes = bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_ne_bytes).ok_or(libc::EINVAL)
}

/// Whether a `struct sched_attr` asks for what there can be of its policy (`__checkparam_dl` and
/// `rt_policy` in the kernel's kernel/sched).
fn is_well_formed(attr: &[u8]) -> bool {
    let long = |at: usize| {
        let words = [word(attr, at), word(attr, at + 4)].map(|word| u64::from(word.unwrap_or(0)));
        words[0] | words[1] << 32
    };
    let (policy, priority) = (word(attr, 4).unwrap_or(0), word(attr, 20).unwrap_or(0));
    let [runtime, deadline, period] = [24, 32, 40].map(long);
    match policy {
        1 | 2 => (1..100).contains(&priority),
        DEADLINE => {
            let period = if period == 0 { deadline } else { period };
            let is_small = deadline >> 63 | period >> 63 == 0;
            runtime >= 1 << 10 && deadline >= runtime && period >= deadline && is_small
        }
        _ => priority == 0,
    }
}

/// EINVAL for a policy that there is not, or that has no such priority: said before whose it is
/// (`__sched_setscheduler` in the kernel's kernel/sched/syscalls.c).
fn must_be_valid(
    zone: &Zone,
    call: Call,
    number: u32,
    pid: HostPid,
    second: u64,
) -> Result<(), i32> {
    let bytes = zone.shared.read_bytes(call.tid, ATTR_MIN);
    let (policy, priority) = match number {
        nr::sched_setattr => (word(&bytes, 4)?, word(&bytes, 20)?),
        nr::sched_setscheduler => {
            let policy = u32::try_from(second).map_err(|_| libc::EINVAL)?;
            (policy & !RESET_ON_FORK, word(&bytes, 0)?)
        }
        _ => {
            let policy = match recorded(zone, pid).and_then(Row::policy) {
                Some(known) => known.policy,
                None => {
                    let policy = kernel(nr::sched_getscheduler, &[u64::from(pid.0)])?;
                    u32::try_from(policy).map_err(|_| libc::EINVAL)? & !RESET_ON_FORK
                }
            };
            (policy, word(&bytes, 0)?)
        }
    };
    let is_known = ORDINARY.contains(&policy) || PRECEDENT.contains(&policy);
    let is_real_time = REAL_TIME.contains(&policy);
    if is_known && priority < 100 && is_real_time == (priority != 0) {
        Ok(())
    } else {
        Err(libc::EINVAL)
    }
}

/// The sched_set* calls: the structure in the caller's mailbox.
fn set(zone: &Zone, call: Call, number: u32, pid: HostPid, second: u64) -> Result<i64, i32> {
    if number != nr::sched_setaffinity {
        must_be_valid(zone, call, number, pid, second)?;
    }
    must_own(zone, HostPid(call.tid), pid)?;
    must_be_no_more(zone, HostPid(call.tid), pid)?;
    let id = u64::from(pid.0);
    let permitted = |policy: u32| match policy & !RESET_ON_FORK {
        policy if ORDINARY.contains(&policy) => Ok(()),
        policy if PRECEDENT.contains(&policy) => Err(libc::EPERM),
        _ => Err(libc::EINVAL),
    };
    let commons = zone.shared.commons();
    let may_precede = may_precede(zone, HostPid(call.tid))?;
    // What the host refuses, such as to end SCHED_IDLE, is recorded.
    let ordinary = |result: Result<i64, i32>, asked: Policy| match result {
        Err(libc::EPERM) if may_precede => {
            row(zone, pid)?.set_policy(commons, Some(asked));
            Ok(0)
        }
        Ok(value) => {
            if let Some(row) = recorded(zone, pid) {
                row.set_policy(commons, None);
            }
            Ok(value)
        }
        other => other,
    };
    match number {
        nr::sched_setparam | nr::sched_setscheduler => {
            let mut param = zone.shared.read_bytes(call.tid, 4);
            let priority = word(&param, 0)?;
            let at = address(&mut param);
            let known = recorded(zone, pid).and_then(Row::policy);
            let asked = match (number, known) {
                (nr::sched_setparam, known) => known,
                _ => u32::try_from(second).ok().map(|policy| Policy {
                    policy: policy & !RESET_ON_FORK,
                    resets: policy & RESET_ON_FORK != 0,
                    ..Policy::default()
                }),
            };
            // It needs more than a priority.
            if asked.is_some_and(|asked| asked.policy == DEADLINE) {
                return Err(libc::EINVAL);
            }
            if let Some(asked) = asked.filter(|asked| REAL_TIME.contains(&asked.policy)) {
                if !(1..100).contains(&priority) {
                    return Err(libc::EINVAL);
                }
                if !may_precede {
                    return Err(libc::EPERM);
                }
                row(zone, pid)?.set_policy(commons, Some(Policy { priority, ..asked }));
                return Ok(0);
            }
            if number == nr::sched_setparam {
                // Of an ordinary policy the only priority is 0; others are not given here.
                let policy = kernel(nr::sched_getscheduler, &[id])?;
                permitted(u32::try_from(policy).map_err(|_| libc::EINVAL)?)?;
                return kernel(number, &[id, at]);
            }
            permitted(u32::try_from(second).map_err(|_| libc::EINVAL)?)?;
            ordinary(kernel(number, &[id, second, at]), asked.unwrap_or_default())
        }
        nr::sched_setattr => {
            let size = usize::try_from(second).map_err(|_| libc::EINVAL)?;
            let mut attr = zone
                .shared
                .read_bytes(call.tid, size.clamp(ATTR_MIN, SET_MAX));
            // Its first word is the size, then policy, flags (64 bits) and nice value.
            let told = usize::try_from(word(&attr, 0)?).map_err(|_| libc::E2BIG)?;
            if told > attr.len() {
                return Err(libc::E2BIG);
            }
            let policy = word(&attr, 4)?;
            let is_known = REAL_TIME.contains(&policy) || policy == DEADLINE;
            let is_raised = ORDINARY.contains(&policy) && raised(pid, u64::from(word(&attr, 16)?))?;
            if (is_known || is_raised) && may_precede {
                if !is_well_formed(&attr) {
                    return Err(libc::EINVAL);
                }
                row(zone, pid)?.ask(commons, &attr);
                return Ok(0);
            }
            permitted(policy)?;
            if is_raised {
                return Err(libc::EPERM);
            }
            let asked = Policy {
                policy,
                ..Policy::default()
            };
            ordinary(kernel(number, &[id, address(&mut attr), 0]), asked)
        }
        _ => {
            let size = usize::try_from(second).map_err(|_| libc::EINVAL)?;
            let mut mask = zone.shared.read_bytes(call.tid, size.min(SET_MAX));
            kernel(number, &[id, mask.len() as u64, address(&mut mask)])
        }
    }
}
