//! Process descriptors.
//!
//! The monitor opens them, so that there is none of a process of the host; what one names, it is
//! asked too. What they are used for, the kernel bounds by Landlock (signals, descriptors).

use crate::arch::{Info, syscall3, syscall4};
use crate::dispatch::checked;
use crate::exec::decimal;
use crate::thread::Thread;
use crate::{Errno, Result, file, memory, namespaces, others, path, pids, process};
use core::ffi::CStr;
use linux_raw_sys::general::*;
use picozone_personality::layout::THREAD_BIAS;
use picozone_personality::mailbox::{PIDFD_DIRECTORY, Request};
use picozone_personality::namespaces::NAMESPACES;

/// PIDFD_NONBLOCK, PIDFD_THREAD.
const OPEN_FLAGS: u64 = (O_NONBLOCK | O_EXCL) as u64;

/// pidfd_open(2).
pub fn open(thread: &Thread, pid: u64, flags: u64) -> Result<u64> {
    let flags = flags & 0xffff_ffff;
    if flags & !OPEN_FLAGS != 0 || pid as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    let named = others::named(thread, pid as u32);
    let call = u64::from(__NR_pidfd_open);
    thread.ask(Request::Process, &[call, u64::from(named), flags])
}

/// The process that a descriptor names, by its zone pid; whether the descriptor is a directory of
/// `/proc`, which the kernel does not take for one here.
pub fn whose(thread: &Thread, fd: u64) -> Result<(u32, bool)> {
    let call = u64::from(__NR_pidfd_send_signal);
    let pid = thread.ask(Request::Process, &[call, fd & 0xffff_ffff])?;
    Ok((pid as u32, pid & PIDFD_DIRECTORY != 0))
}

const SI_TKILL: i32 = -6;

/// pidfd_send_signal(2).
pub fn send_signal(thread: &Thread, fd: u64, signal: u64, info: u64, flags: u64) -> Result<u64> {
    let send = |info: u64| {
        // EPERM can only be meant for the signal: no descriptor is of a stranger.
        checked(unsafe { syscall4(__NR_pidfd_send_signal, fd, signal, info, flags) })
    };
    if !matches!(flags as u32, 0 | 1 | 2 | 4) {
        return Err(Errno::EINVAL);
    }
    let (target, is_directory) = whose(thread, fd)?;
    if is_directory {
        return if info == 0 {
            process::kill(u64::from(target), signal)
        } else if memory::read::<u32>(info)? != signal as u32 {
            // The kernel checks that here only, not in rt_sigqueueinfo(2).
            Err(Errno::EINVAL)
        } else {
            process::queue(thread, u64::from(target), None, signal, info)
        };
    }
    if target == 1 {
        process::may_signal(thread, target, signal)?;
        return process::to_init(signal);
    }
    if info == 0 {
        process::may_signal(thread, target, signal)?;
        return send(0);
    }
    let mut info = memory::read::<Info>(info)?;
    if info.i32_at(0) != signal as i32 {
        return Err(Errno::EINVAL);
    }
    // What only the kernel and tkill(2) say is not said to others.
    let is_forged = info.i32_at(8) >= 0 || info.i32_at(8) == SI_TKILL;
    if is_forged && target != thread.process().zone_pid {
        return Err(Errno::EPERM);
    }
    process::may_signal(thread, target, signal)?;
    process::sender_to_host(&mut info);
    send(&raw const info as u64)
}

/// pidfd_getfd(2): from one's own processes.
pub fn getfd(thread: &Thread, fd: u64, target: u64, flags: u64) -> Result<u64> {
    if flags as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let (process, _) = whose(thread, fd)?;
    others::is_no_init(thread, process)?;
    others::may_look_into(thread, process)?;
    checked(unsafe { syscall3(__NR_pidfd_getfd, fd, target, 0) })
}

/// PIDFD_GET_INFO in its first size, of which the later ones are extensions.
const GET_INFO: u64 = 0xc040_ff0b;
const INFO_SIZE: usize = 64;
/// PIDFD_INFO_PID, PIDFD_INFO_CREDS and PIDFD_INFO_EXIT: what is told in a zone. Control groups are the
/// host's.
const INFO_PID: u64 = 1;
const INFO_CREDS: u64 = 2;
const INFO_EXIT: u64 = 8;

/// Whether an ioctl is PIDFD_GET_INFO, in whatever size.
pub fn is_info(command: u64) -> bool {
    let size = (command >> 16 & 0x3fff) as usize;
    command & 0xc000_ffff == GET_INFO & 0xc000_ffff && size >= INFO_SIZE
}

/// `PIDFD_GET_CGROUP_NAMESPACE`, the first of its kin.
const GET_FIRST_SPACE: u64 = 0xff01;

/// The name space of a process that an ioctl opens, if it is such a one, by its name.
pub fn space(command: u64) -> Option<&'static [u8]> {
    let number = command.checked_sub(GET_FIRST_SPACE)?;
    let name = NAMESPACES.get(usize::try_from(number).ok()?)?;
    Some(name.as_bytes())
}

/// ioctl(2), `PIDFD_GET_CGROUP_NAMESPACE` and its kin. ENOTTY for what is no process descriptor.
#[inline(never)]
pub fn open_space(thread: &Thread, fd: u64, name: &[u8], argument: u64) -> Result<u64> {
    let (process, is_directory) = whose(thread, fd).map_err(|errno| match errno {
        Errno::EBADF if file::must_be_open(fd).is_ok() => Errno::ENOTTY,
        other => other,
    })?;
    if is_directory {
        return Err(Errno::ENOTTY);
    }
    if argument != 0 {
        return Err(Errno::EINVAL);
    }
    namespaces::must_have_some(fd)?;
    others::may_look_into(thread, process).map_err(|_| Errno::EACCES)?;
    let mut digits = [0; 10];
    let parts = [b"/proc/", decimal(process, &mut digits), b"/ns/", name];
    let mut path = [0u8; 48];
    let mut end = 0;
    for part in parts {
        path[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::EINVAL)?;
    let flags = u64::from(O_RDONLY | O_CLOEXEC);
    path::open_anywhere(thread, AT_FDCWD as u64, path, flags, 0, &mut None)
}

/// `struct pidfd_info`, its first version.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ProcessInfo {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    /// Real user and group, effective ones, saved ones, those of the file system.
    users: [[u32; 2]; 4],
    exit_code: u32,
}

/// ioctl(2), `PIDFD_GET_INFO`.
pub fn info(fd: u64, command: u64, to: u64) -> Result<u64> {
    if to == 0 {
        return Err(Errno::EINVAL);
    }
    let mask = memory::read::<u64>(to)?;
    let mut info: ProcessInfo = unsafe { core::mem::zeroed() };
    info.mask = mask & (INFO_PID | INFO_CREDS | INFO_EXIT);
    checked(unsafe { syscall3(__NR_ioctl, fd, GET_INFO, &raw mut info as u64) })?;
    info.mask &= INFO_PID | INFO_CREDS | INFO_EXIT;
    info.cgroup = 0;
    let process = pids::to_zone_or_0(info.tgid as i32);
    if info.mask & INFO_PID != 0 {
        info.pid = if info.pid == info.tgid {
            process
        } else {
            info.pid + THREAD_BIAS
        };
        (info.tgid, info.ppid) = (process, pids::to_zone_or_0(info.ppid as i32));
    }
    if info.mask & INFO_CREDS != 0 {
        let of = pids::load_credentials(process);
        for (at, users) in info.users.iter_mut().enumerate() {
            *users = [of.uid[at], of.gid[at]];
        }
    }
    memory::write(to, &info)?;
    for at in INFO_SIZE as u64..command >> 16 & 0x3fff {
        memory::write(to + at, &0u8)?;
    }
    Ok(0)
}
