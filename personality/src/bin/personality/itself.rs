//! Calls that name a process, a thread or a device, and that are answered for the caller's own only.

use crate::arch::{self, syscall1, syscall2, syscall3, syscall6};
use crate::dispatch::{RESTART_ERRNO, checked, checked_or_restart};
use crate::file::{Power, has};
use crate::signal::HELD;
use crate::thread::Thread;
use crate::{Errno, Result, memory, pids, refusals, sigio};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_personality::layout::{FD_MOUNT0, MOUNTS_MAX, THREAD_BIAS};
use picozone_personality::mailbox::Request;

/// Flags in the low bits of the clock of a process or thread (`CPUCLOCK_CLOCK_MASK` and
/// `CPUCLOCK_PERTHREAD_MASK`, kernel/time/posix-timers.h); the inverted id stands above them.
const CLOCK_FLAGS: i32 = 7;

/// The clock of a process in the host's terms: of the caller's own only. EINVAL for others, as of
/// processes that are not there.
fn clock_to_host(thread: &Thread, clock: u64) -> Result<u64> {
    let clock = clock as i32;
    let pid = !(clock >> 3);
    if clock >= 0 || pid as u32 != thread.process().zone_pid {
        return Err(Errno::EINVAL);
    }
    Ok((clock & CLOCK_FLAGS | !CLOCK_FLAGS) as u32 as u64)
}

/// The clock of a thread in the host's terms: libc names its threads by what the kernel wrote, their host
/// ids. The kernel keeps such clocks to the caller's process.
fn thread_clock_to_host(thread: &Thread, clock: u64) -> u64 {
    let clock = clock as i32;
    let id = !(clock >> 3) as u32;
    let host = if id == thread.process().zone_pid {
        thread.process().host_pid
    } else {
        id.checked_sub(THREAD_BIAS).unwrap_or(id)
    };
    u64::from((!(host as i32) << 3 | clock & CLOCK_FLAGS) as u32)
}

/// Whether a clock is that of a thread.
fn is_of_thread(clock: u64) -> bool {
    (clock as i32) < 0 && clock & 4 != 0
}

/// clock_gettime(2) and its kin on the clock of a process. Those of others are read by the monitor;
/// nobody can wait for them here.
#[inline(never)]
pub fn clock(thread: &Thread, nr: u32, mut args: [u64; 6]) -> Result<u64> {
    let native = if is_of_thread(args[0]) {
        Ok(thread_clock_to_host(thread, args[0]))
    } else {
        clock_to_host(thread, args[0])
    };
    if let Ok(clock) = native {
        args[0] = clock;
        if nr == __NR_clock_nanosleep {
            return checked_or_restart(arch::wait(nr, args, thread.mask() & !HELD));
        }
        return checked(unsafe { syscall6(nr, args) });
    }
    let clock = args[0] as i32;
    let pid = !(clock >> 3) as u32;
    if clock >= 0 || clock & CLOCK_FLAGS == 3 {
        return Err(Errno::EINVAL);
    }
    pids::to_host(pid).map_err(|_| Errno::EINVAL)?;
    match nr {
        __NR_clock_gettime | __NR_clock_getres => {
            let kind = u64::from((clock & CLOCK_FLAGS) as u32);
            thread.ask(Request::Process, &[u64::from(nr), u64::from(pid), kind])?;
            if args[1] != 0 || nr == __NR_clock_gettime {
                memory::write_bytes(args[1], &thread.mailbox().b[..16])?;
            }
            Ok(0)
        }
        // As the kernel says of such clocks to anybody.
        __NR_clock_settime => Err(Errno::EPERM),
        __NR_clock_adjtime => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

/// arch_prctl(2), `ARCH_SET_GS` and `ARCH_GET_GS`. Ours stands in gs of a thread that has not set it, by which
/// rewritten call sites find its region; whose is another comes by SIGSYS.
pub fn gs_base(thread: &Thread, what: u64, value: u64) -> Result<u64> {
    const SET: u32 = 0x1001;
    const GET: u32 = 0x1004;
    /// `TASK_SIZE_MAX`.
    const END: u64 = (1 << 47) - 4096;
    match what as u32 {
        SET if thread.came_by_jump() => Err(RESTART_ERRNO),
        SET if value >= END => Err(Errno::EPERM),
        SET => {
            unsafe { arch::jump::set_region(value) };
            Ok(0)
        }
        GET => {
            let now = arch::jump::gs_base();
            let shown = if now == thread.region() { 0 } else { now };
            memory::write(value, &shown).map(|()| 0)
        }
        _ => refusals::unsupported(Errno::EINVAL),
    }
}

/// timer_create(2), of a clock as above.
pub fn timer_create(thread: &Thread, clock: u64, event: u64, timer: u64) -> Result<u64> {
    let clock = match clock as i32 {
        0.. => clock,
        id if id >> 3 == -1 => clock,
        _ if is_of_thread(clock) => thread_clock_to_host(thread, clock),
        _ => clock_to_host(thread, clock)?,
    };
    sigio::timer_create(thread, clock, event, timer)
}

/// timerfd_create(2) of a clock that wakes the machine from its sleep, which the host grants to few: it
/// goes as its like that does not.
#[inline(never)]
pub fn timerfd_create(thread: &Thread, clock: u64, flags: u64) -> Result<u64> {
    let flags = flags & 0xffff_ffff;
    if flags & !u64::from(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let clock = match clock as u32 {
        CLOCK_REALTIME_ALARM => CLOCK_REALTIME,
        CLOCK_BOOTTIME_ALARM => CLOCK_BOOTTIME,
        _ => return Err(Errno::EINVAL),
    };
    if !has(thread, Power::WakeMachine) {
        return Err(Errno::EPERM);
    }
    checked(unsafe { syscall2(__NR_timerfd_create, u64::from(clock), flags) })
}

/// ustat(2), of the devices that the zone's mounts lie on. EINVAL for others.
pub fn ustat(device: u64, to: u64) -> Result<u64> {
    for mount in FD_MOUNT0..FD_MOUNT0 + MOUNTS_MAX as u32 {
        let mount = u64::from(mount);
        let (mut file, mut system) = (stat_zero(), [0u64; 15]);
        let got = unsafe { syscall2(__NR_fstat, mount, &raw mut file as u64) };
        // The kernel's own argument has 32 bits.
        if got < 0 || file.st_dev as u32 != device as u32 {
            continue;
        }
        checked(unsafe { syscall2(__NR_fstatfs, mount, system.as_mut_ptr() as u64) })?;
        // struct statfs: type, block size, blocks, free, available, files, free files. struct
        // ustat: free blocks (32 bits), free inodes, two names of six bytes that stay empty.
        memory::write(to, &[u64::from(system[3] as u32), system[6], 0, 0])?;
        return Ok(0);
    }
    Err(Errno::EINVAL)
}

fn stat_zero() -> stat {
    unsafe { core::mem::zeroed() }
}

/// mlock(2), mlock2(2), mlockall(2). Where the host's limit forbids it, the pages of who
/// has `CAP_IPC_LOCK` in the zone are made present, and no more: it does not count on the host.
pub fn lock(thread: &Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    const PAGE: u64 = 4096;
    let errno = match checked(unsafe { syscall6(nr, args) }) {
        Err(errno @ (Errno::ENOMEM | Errno::EPERM)) if has(thread, Power::Lock) => errno,
        other => return other,
    };
    let [start, length, ..] = args;
    let from = start & !(PAGE - 1);
    let end = start.wrapping_add(length).wrapping_add(PAGE - 1) & !(PAGE - 1);
    let length = end.wrapping_sub(from);
    let advice = u64::from(MADV_POPULATE_READ);
    if nr == __NR_mlockall {
        let is_now = args[0] & u64::from(MCL_CURRENT) != 0;
        pids::own(thread)
            .is_locked
            .fetch_or(u32::from(is_now), Relaxed);
        return Ok(0);
    }
    if unsafe { syscall3(__NR_madvise, from, length, advice) } == 0 {
        Ok(0)
    } else {
        Err(errno)
    }
}

/// munlockall(2), of what was told to be locked too.
#[inline(never)]
pub fn unlock_all(thread: &Thread) -> Result<u64> {
    pids::own(thread).is_locked.store(0, Relaxed);
    checked(unsafe { syscall1(__NR_munlockall, 0) })
}

/// vhangup(2) of who has no terminal. Others' terminals serve the zone's logins: EPERM.
#[inline(never)]
pub fn vhangup(thread: &Thread) -> Result<u64> {
    if !has(thread, Power::ConfigureTerminals) {
        return Err(Errno::EPERM);
    }
    thread.ask(Request::Process, &[u64::from(__NR_vhangup)])
}

/// syslog(2): the zone's kernel has logged nothing. Who waits for it to do so would wait for ever: EPERM.
#[inline(never)]
pub fn syslog(thread: &Thread, action: u64, buffer: u64, length: u64) -> Result<u64> {
    const READ: i32 = 2;
    const READ_ALL: i32 = 3;
    const READ_CLEAR: i32 = 4;
    const CONSOLE_LEVEL: i32 = 8;
    const SIZE_BUFFER: i32 = 10;
    /// As large as the kernel's usual buffer.
    const SIZE: u64 = 1 << 17;
    let (action, length) = (action as i32, length as i32);
    if !matches!(action, READ_ALL | SIZE_BUFFER) && !has(thread, Power::Log) {
        return Err(Errno::EPERM);
    }
    match action {
        READ | READ_ALL | READ_CLEAR if buffer == 0 || length < 0 => Err(Errno::EINVAL),
        READ if length > 0 => Err(Errno::EPERM),
        CONSOLE_LEVEL if !(1..=8).contains(&length) => Err(Errno::EINVAL),
        SIZE_BUFFER => Ok(SIZE),
        0..SIZE_BUFFER => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// userfaultfd(2): who may trace may also wait for the kernel's own accesses, natively. Here those of
/// the kernel fail, as for everybody else.
pub fn userfaultfd(thread: &Thread, flags: u64) -> Result<u64> {
    const USER_MODE_ONLY: u64 = 1;
    if !has(thread, Power::Trace) {
        return Err(Errno::EPERM);
    }
    checked(unsafe { syscall1(__NR_userfaultfd, flags | USER_MODE_ONLY) })
}
