//! Calls that are many: ioctl(2), fcntl(2); and what goes around the reserved descriptors.

use crate::arch::{syscall2, syscall3};
use crate::dispatch::checked;
use crate::monitor::commons;
use crate::socket::interfaces;
use crate::{Errno, Result, memory, pids};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_personality::layout::{FD_BASE, FD_COUNT, THREAD_BIAS};

const TIOCGPGRP: u64 = 0x540f;
const TIOCSPGRP: u64 = 0x5410;
const TIOCGSID: u64 = 0x5429;

fn is_reserved(fd: u64) -> bool {
    (FD_BASE..FD_BASE + FD_COUNT).contains(&(fd as u32))
}

/// EBADF for what is not open, or reserved.
pub(super) fn must_be_free(fd: u64) -> Result<()> {
    if is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    checked(unsafe { syscall2(__NR_fcntl, fd, u64::from(F_GETFD)) }).map(|_| ())
}

/// ioctl(2), for the commands that the filter does not let through.
pub fn ioctl(fd: u64, command: u64, argument: u64) -> Result<u64> {
    if is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    let mut id = 0u32;
    let native =
        |address: u64| checked(unsafe { syscall3(__NR_ioctl, fd, command & 0xffff_ffff, address) });
    match command & 0xffff_ffff {
        TIOCGPGRP | TIOCGSID => {
            native(&raw mut id as u64)?;
            memory::write(argument, &pids::to_zone_or_0(id as i32))?;
            Ok(0)
        }
        TIOCSPGRP => {
            id = pids::group_to_host(memory::read::<u32>(argument)?)?;
            native(&raw mut id as u64)
        }
        command if interfaces::is_known(command as u32) => {
            interfaces::ioctl(fd, command as u32, argument)
        }
        _ => {
            if let Some(counter) = commons().refused.get(__NR_ioctl as usize) {
                counter.fetch_add(1, Relaxed);
            }
            let flags = checked(unsafe { syscall2(__NR_fcntl, fd, u64::from(F_GETFL)) })?;
            Err(if flags & u64::from(O_PATH) == 0 {
                Errno::ENOTTY
            } else {
                Errno::EBADF
            })
        }
    }
}

/// fcntl(2), for the commands that the filter does not let through.
pub fn fcntl(fd: u64, command: u64, argument: u64) -> Result<u64> {
    if is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    match command as u32 {
        F_GETLK => {
            // struct flock: type, whence, start, length, pid.
            let mut lock = memory::read::<[u64; 4]>(argument)?;
            checked(unsafe { syscall3(__NR_fcntl, fd, command, lock.as_mut_ptr() as u64) })?;
            // Where nothing is in the way the kernel leaves all but the type.
            if lock[0] as u16 != F_UNLCK as u16 {
                lock[3] = u64::from(pids::to_zone_or_0(lock[3] as i32));
            }
            memory::write(argument, &lock)?;
            Ok(0)
        }
        F_SETOWN => {
            let id = argument as i32;
            // Whom the kernel may tell is what it may name: a group is negative.
            let kind = if id < 0 { F_OWNER_PGRP } else { F_OWNER_PID };
            set_owner(fd, [kind, id.unsigned_abs()])
        }
        F_GETOWN => {
            let [kind, id] = owner(fd)?;
            Ok(if kind == F_OWNER_PGRP {
                u64::from(id).wrapping_neg()
            } else {
                u64::from(id)
            })
        }
        F_SETOWN_EX => set_owner(fd, memory::read::<[u32; 2]>(argument)?),
        F_GETOWN_EX => {
            memory::write(argument, &owner(fd)?)?;
            Ok(0)
        }
        _ => {
            if let Some(counter) = commons().refused.get(__NR_fcntl as usize) {
                counter.fetch_add(1, Relaxed);
            }
            Err(Errno::EINVAL)
        }
    }
}

/// Who gets a descriptor's signals, in the host's numbers and the zone's: type and id
/// (`struct f_owner_ex`).
type Owner = [u32; 2];

fn set_owner(fd: u64, [kind, id]: Owner) -> Result<u64> {
    let host = match (kind, id) {
        (_, 0) => 0,
        (F_OWNER_TID, id) => pids::thread_to_host(id)?,
        (F_OWNER_PID, id) => pids::to_host(id)?,
        (F_OWNER_PGRP, id) => pids::group_to_host(id)?,
        _ => return Err(Errno::EINVAL),
    };
    let owner: Owner = [kind, host];
    let address = owner.as_ptr() as u64;
    checked(unsafe { syscall3(__NR_fcntl, fd, u64::from(F_SETOWN_EX), address) })
}

fn owner(fd: u64) -> Result<Owner> {
    let mut owner: Owner = [0; 2];
    let address = owner.as_mut_ptr() as u64;
    checked(unsafe { syscall3(__NR_fcntl, fd, u64::from(F_GETOWN_EX), address) })?;
    owner[1] = match owner {
        [_, 0] => 0,
        // A thread that is no leader shows its host id, moved.
        [F_OWNER_TID, id] => match pids::to_zone_or_0(id as i32) {
            0 => id + THREAD_BIAS,
            leader => leader,
        },
        [_, id] => pids::to_zone_or_0(id as i32),
    };
    Ok(owner)
}

/// close_range(2) that touches the reserved descriptors: around them.
pub fn close_range(first: u64, last: u64, flags: u64) -> Result<u64> {
    let (first, last) = (first as u32, last as u32);
    if first > last {
        return Err(Errno::EINVAL);
    }
    let close = |from: u32, to: u32| {
        checked(unsafe { syscall3(__NR_close_range, u64::from(from), u64::from(to), flags) })
    };
    if first < FD_BASE {
        close(first, last.min(FD_BASE - 1))?;
    }
    if last >= FD_BASE + FD_COUNT {
        close(first.max(FD_BASE + FD_COUNT), last)?;
    }
    Ok(0)
}
