//! Name spaces: a zone has one of each kind, which are what the zone is.

use crate::arch::{syscall1, syscall3};
use crate::dispatch::checked;
use crate::file::{Power, has};
use crate::thread::Thread;
use crate::{Errno, Result, others, pidfd, refusals};
use linux_raw_sys::general::*;

/// What the filter lets through: parts of the caller that it shares with other threads.
const SHARED: u64 =
    (CLONE_FILES | CLONE_FS | CLONE_SYSVSEM | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) as u64;
const SPACES: u64 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
    | CLONE_NEWTIME) as u64;
/// NS_GET_NSTYPE.
const GET_KIND: u64 = 0xb703;

/// unshare(2) of name spaces: EPERM, as to who lacks `CAP_SYS_ADMIN`. EINVAL for what is none. What
/// is the thread's own from now on, other threads' directories at hand are not.
#[inline(never)]
pub fn unshare(thread: &Thread, flags: u64) -> Result<u64> {
    if flags & !SHARED == 0 {
        thread.process().parents.turn_off();
        return checked(unsafe { syscall1(__NR_unshare, flags) });
    }
    if flags & !(SHARED | SPACES) != 0 {
        return Err(Errno::EINVAL);
    }
    refusals::unsupported(Errno::EPERM)
}

/// setns(2). There is nothing to enter but what the caller is in already.
#[inline(never)]
pub fn setns(thread: &Thread, fd: u64, kind: u64) -> Result<u64> {
    let kind = kind & 0xffff_ffff;
    let spaces = match checked(unsafe { syscall3(__NR_ioctl, fd, GET_KIND, 0) }) {
        Ok(own) if kind == 0 || kind == own => own,
        Ok(_) => return Err(Errno::EINVAL),
        Err(Errno::EBADF) => return Err(Errno::EBADF),
        Err(_) => of_process(thread, fd, kind)?,
    };
    let has_root_of_its_own = u64::from(CLONE_NEWNS);
    if !has(thread, Power::Administer) || spaces & has_root_of_its_own != 0 {
        return Err(Errno::EPERM);
    }
    // Nobody enters the user name space that he is in.
    if spaces & u64::from(CLONE_NEWUSER) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

/// The name spaces of the process that a descriptor names.
fn of_process(thread: &Thread, fd: u64, kind: u64) -> Result<u64> {
    let (process, is_directory) = pidfd::whose(thread, fd).map_err(|errno| match errno {
        Errno::EBADF => Errno::EINVAL,
        other => other,
    })?;
    if is_directory || kind == 0 || kind & !SPACES != 0 {
        return Err(Errno::EINVAL);
    }
    must_have_some(fd)?;
    others::may_look_into(thread, process)?;
    Ok(kind)
}

/// ESRCH for the descriptor of a process that has ended, which has no name spaces any more.
pub fn must_have_some(fd: u64) -> Result<()> {
    // struct pollfd: the descriptor, POLLIN.
    let mut poll = fd & 0xffff_ffff | 1 << 32;
    match unsafe { syscall3(__NR_poll, &raw mut poll as u64, 1, 0) } {
        0 => Ok(()),
        _ => Err(Errno::ESRCH),
    }
}
