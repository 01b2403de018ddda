//! Questions to the kernel that only a raw call asks.

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `MFD_EXEC` of linux/memfd.h, since Linux 6.3.
const MFD_EXEC: libc::c_uint = 0x10;
/// `mseal`, since Linux 6.10.
const SYS_MSEAL: libc::c_long = 462;

/// Turns the result of a raw call into an error.
fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The version of Landlock that the kernel has.
pub(super) fn landlock_abi() -> io::Result<i64> {
    // SAFETY: with a null pointer, size 0 and LANDLOCK_CREATE_RULESET_VERSION (1) the call reads
    // no memory and makes nothing; it returns a number (landlock_create_ruleset(2)).
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0usize,
            1u32,
        )
    };
    checked(abi)
}

/// Whether `mseal` exists: sealing nothing succeeds then.
pub(super) fn mseal() -> io::Result<()> {
    // SAFETY: a length of 0 covers no mapping, so that nothing is sealed.
    let result = unsafe { libc::syscall(SYS_MSEAL, 0usize, 0usize, 0usize) };
    checked(result).map(drop)
}

/// Whether a memory file may be executable.
pub(super) fn executable_memfd() -> io::Result<()> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | MFD_EXEC;
    // SAFETY: the name is a C string that outlives the call.
    let descriptor = unsafe { libc::memfd_create(c"doctor".as_ptr(), flags) };
    checked(descriptor.into())?;
    // SAFETY: the call above has made this descriptor for us alone.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(())
}

/// Installs a filter that allows everything, with a listener, in a child; the error is the child's.
pub(super) fn seccomp_listener() -> io::Result<()> {
    // SAFETY: the child only makes system calls, on memory that it does not change.
    match unsafe { fork() }.map_err(io::Error::from)? {
        ForkResult::Child => {
            let errno = install_listener();
            // SAFETY: ends the child at once, without running anything of the parent's.
            unsafe { libc::_exit(errno) }
        }
        ForkResult::Parent { child } => loop {
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
                Ok(WaitStatus::Exited(_, errno)) => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                Ok(_) => return Err(io::Error::other("the process that tried it was killed")),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        },
    }
}

/// The errno of the attempt, or 0.
fn install_listener() -> i32 {
    let allow = [libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: allow.as_ptr().cast_mut(),
    };
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: takes numbers only, and binds nobody but this process.
    let barred = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if barred != 0 {
        return Errno::last_raw();
    }
    // SAFETY: the program and its one instruction live until the end of this function.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if result < 0 { Errno::last_raw() } else { 0 }
}
