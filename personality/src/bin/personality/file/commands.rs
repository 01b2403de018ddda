//! Calls that are many: ioctl(2), fcntl(2); and what goes around the reserved descriptors.

use super::{Power, S_IFMT, has, kind_of, marks, must_be_open};
use crate::arch::{self, syscall2, syscall3};
use crate::dispatch::{checked, checked_or_restart};
use crate::exec::decimal;
use crate::signal::HELD;
use crate::socket::interfaces;
use crate::thread::Thread;
use crate::{Errno, Result, memory, path, pidfd, pids, refusals, sigio, signalfd, socket};
use core::ffi::CStr;
use linux_raw_sys::general::*;
use picozone_personality::layout::{self, FD_BASE, FD_COUNT};
use picozone_personality::mailbox::Request;

const TIOCGPGRP: u64 = 0x540f;
const TIOCSPGRP: u64 = 0x5410;
const TIOCGSID: u64 = 0x5429;
const TIOCSETD: u64 = 0x5423;
const TIOCGPTPEER: u64 = 0x5441;
/// FIOSETOWN, SIOCSPGRP.
pub const SET_OWNER: [u64; 2] = [0x8901, 0x8902];
/// FIOGETOWN, SIOCGPGRP.
const GET_OWNER: [u64; 2] = [0x8903, 0x8904];

pub fn is_reserved(fd: u64) -> bool {
    layout::is_reserved(fd as u32)
}

/// EBADF for what is not open, or reserved.
pub(super) fn must_be_free(fd: u64) -> Result<()> {
    if is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    checked(unsafe { syscall2(__NR_fcntl, fd, u64::from(F_GETFD)) }).map(|_| ())
}

fn is_socket(fd: u64) -> bool {
    kind_of(fd) == Some(S_IFSOCK)
}

/// ioctl(2), for the commands that the filter does not let through.
pub fn ioctl(thread: &Thread, fd: u64, command: u64, argument: u64) -> Result<u64> {
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
            // What is no terminal of the caller's is told first.
            checked(unsafe { syscall3(__NR_ioctl, fd, TIOCGPGRP, &raw mut id as u64) })?;
            let group = memory::read::<u32>(argument)?;
            if (group as i32) < 0 {
                return Err(Errno::EINVAL);
            }
            id = pids::group_to_host(group)?;
            // Under the guest's mask: SIGTTOU stops who does that in the background.
            let args = [fd, TIOCSPGRP, &raw mut id as u64, 0, 0, 0];
            checked_or_restart(arch::wait(__NR_ioctl, args, thread.mask() & !HELD))
        }
        TIOCGPTPEER => other_end(thread, fd, argument),
        command if SET_OWNER.contains(&command) && is_socket(fd) => {
            let owner = u64::from(memory::read::<u32>(argument)?);
            sigio::owner(thread, fd, F_SETOWN, owner)
        }
        command if GET_OWNER.contains(&command) && is_socket(fd) => {
            let owner = sigio::owner(thread, fd, F_GETOWN, 0)?;
            memory::write(argument, &(owner as u32)).map(|()| 0)
        }
        command if pidfd::is_info(command) => pidfd::info(fd, command, argument),
        command if interfaces::is_known(command as u32) => {
            interfaces::ioctl(fd, command as u32, argument)
        }
        command => {
            if command == TIOCSETD {
                return set_discipline(fd, argument);
            }
            if let Some(result) = marks::ioctl(thread, fd, command, argument) {
                return result;
            }
            if let Some(name) = pidfd::space(command) {
                return pidfd::open_space(thread, fd, name, argument);
            }
            refusals::mark();
            must_be_open(fd)?;
            Err(Errno::ENOTTY)
        }
    }
}

/// `TIOCSETD`: the discipline that a terminal has at first is the only one. EINVAL: as of one that the
/// kernel has not.
#[cold]
#[inline(never)]
fn set_discipline(fd: u64, argument: u64) -> Result<u64> {
    const N_TTY: u32 = 0;
    must_be_terminal(fd)?;
    match memory::read::<u32>(argument)? {
        N_TTY => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// ENOTTY.
#[cold]
#[inline(never)]
fn must_be_terminal(fd: u64) -> Result<()> {
    const TCGETS: u64 = 0x5401;
    let mut room = [0u64; 16];
    checked(unsafe { syscall3(__NR_ioctl, fd, TCGETS, room.as_mut_ptr() as u64) }).map(drop)
}

/// `TIOCGPTPEER`: opens the other end of a terminal by its name. EIO: that is a terminal's other end itself;
/// ENOTTY: it is no terminal.
fn other_end(thread: &Thread, fd: u64, flags: u64) -> Result<u64> {
    const TIOCGPTN: u64 = 0x8004_5430;
    const EIO: Errno = Errno::from_raw(5);
    let ask = |command: u64, to: u64| checked(unsafe { syscall3(__NR_ioctl, fd, command, to) });
    let mut number = 0u32;
    if let Err(errno) = ask(TIOCGPTN, &raw mut number as u64) {
        return Err(match must_be_terminal(fd) {
            Ok(()) => EIO,
            Err(_) => errno,
        });
    }
    let mut name = *b"/dev/pts/\0\0\0\0\0\0\0\0\0\0\0";
    let mut digits = [0; 10];
    let digits = decimal(number, &mut digits);
    name[9..9 + digits.len()].copy_from_slice(digits);
    let name = CStr::from_bytes_until_nul(&name).map_err(|_| EIO)?;
    let kept = u64::from(O_ACCMODE | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    path::open_anywhere(thread, AT_FDCWD as u64, name, flags & kept, 0, &mut None)
}

/// fcntl(2), for the commands that the filter does not let through.
pub fn fcntl(thread: &Thread, fd: u64, command: u64, argument: u64) -> Result<u64> {
    if is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    must_be_open(fd)?;
    match command as u32 {
        F_GETLK | F_OFD_GETLK => {
            // struct flock: type, whence, start, length, pid.
            let mut lock = memory::read::<[u64; 4]>(argument)?;
            checked(unsafe { syscall3(__NR_fcntl, fd, command, lock.as_mut_ptr() as u64) })?;
            // Where nothing is in the way the kernel leaves all but the type.
            if lock[0] as u16 != F_UNLCK as u16 {
                // A lock of an open file is nobody's: -1.
                let holder = lock[3] as i32;
                let holder = if holder < 0 {
                    holder as u32
                } else {
                    pids::to_zone_or_0(holder)
                };
                lock[3] = u64::from(holder);
            }
            memory::write(argument, &lock)?;
            Ok(0)
        }
        F_DUPFD | F_DUPFD_CLOEXEC => {
            signalfd::duplicate(thread, __NR_fcntl, [fd, command, argument, 0, 0, 0])
        }
        F_SETLEASE => lease(thread, fd, argument),
        F_GETOWNER_UIDS => {
            // Of who chose the owner; root where nobody has.
            let mut owner = [0u32; 2];
            let (command, at) = (u64::from(F_GETOWN_EX), owner.as_mut_ptr() as u64);
            checked(unsafe { syscall3(__NR_fcntl, fd, command, at) })?;
            let [uid, effective, ..] = thread.credentials.uid;
            let told = if owner[1] == 0 {
                [0; 2]
            } else {
                [uid, effective]
            };
            memory::write(argument, &told).map(|()| 0)
        }
        F_SETOWN | F_GETOWN | F_SETOWN_EX | F_GETOWN_EX => {
            sigio::owner(thread, fd, command as u32, argument)
        }
        _ => {
            refusals::mark();
            Err(Errno::EINVAL)
        }
    }
}

/// fcntl(2), `F_SETLEASE`: the monitor sets it, on the zone's own files only; the kernel tells the
/// caller when somebody else opens the file.
fn lease(thread: &Thread, fd: u64, kind: u64) -> Result<u64> {
    super::change::must_be_open(fd)?;
    if kind as u32 > F_UNLCK {
        return Err(Errno::EINVAL);
    }
    let st = super::stat_of(fd)?;
    if st.st_uid != thread.credentials.uid[3] && !has(thread, Power::Lease) {
        return Err(Errno::EACCES);
    }
    if st.st_mode & S_IFMT != 0o100_000 {
        return Err(Errno::EINVAL);
    }
    if kind as u32 == F_UNLCK {
        let (command, kind) = (u64::from(F_SETLEASE), u64::from(F_UNLCK));
        return checked(unsafe { syscall3(__NR_fcntl, fd, command, kind) });
    }
    // Whose lease it is goes by who sets it, unless the descriptor has an owner already.
    let mut owner = [0u32; 2];
    let native = |command: u32, owner: &mut [u32; 2]| unsafe {
        let at = owner.as_mut_ptr() as u64;
        checked(syscall3(__NR_fcntl, fd, u64::from(command), at))
    };
    native(F_GETOWN_EX, &mut owner)?;
    if owner[1] == 0 {
        native(F_SETOWN_EX, &mut [F_OWNER_PID, thread.process().host_pid])?;
    }
    let cookie = socket::hand_over(thread, fd)?;
    thread.ask(Request::Lease, &[0, cookie, kind & 0xffff_ffff])
}

/// Not in linux_raw_sys.
const CLOSE_RANGE_UNSHARE: u32 = 2;

/// close_range(2) that touches the reserved descriptors, which goes around them, or makes the thread's
/// descriptors its own.
pub fn close_range(thread: &Thread, first: u64, last: u64, flags: u64) -> Result<u64> {
    let (first, last) = (first as u32, last as u32);
    if first > last {
        return Err(Errno::EINVAL);
    }
    if flags as u32 & CLOSE_RANGE_UNSHARE != 0 {
        thread.process().parents.turn_off();
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
