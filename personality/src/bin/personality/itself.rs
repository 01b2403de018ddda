//! Calls that name a process, a thread or a device, and that are answered for the caller's own only.

use crate::arch::{syscall2, syscall3, syscall6};
use crate::dispatch::checked;
use crate::file::{Power, has};
use crate::thread::Thread;
use crate::{Errno, Result, memory, sigio};
use linux_raw_sys::general::*;
use picozone_personality::layout::{FD_MOUNT0, MOUNTS_MAX};

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

/// clock_gettime(2), clock_getres(2), clock_nanosleep(2) on the clock of a process.
pub fn clock(thread: &Thread, nr: u32, mut args: [u64; 6]) -> Result<u64> {
    args[0] = clock_to_host(thread, args[0])?;
    checked(unsafe { syscall6(nr, args) })
}

/// timer_create(2), of a clock as above.
pub fn timer_create(thread: &Thread, clock: u64, event: u64, timer: u64) -> Result<u64> {
    let is_of_process = (clock as i32) < 0 && clock & 4 == 0;
    let clock = if is_of_process && clock as i32 >> 3 != -1 {
        clock_to_host(thread, clock)?
    } else {
        clock
    };
    sigio::timer_create(thread, clock, event, timer)
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
    if nr == __NR_mlockall || unsafe { syscall3(__NR_madvise, from, length, advice) } == 0 {
        Ok(0)
    } else {
        Err(errno)
    }
}
