//! The seccomp filter: its installation with a listener.

use crate::config::Trap;
use nix::errno::Errno;
use picozone_personality::wall;
use picozone_syscalls::filter::{FilterLayout, Insn, OURS, TRACE, TRAP, program};
use std::os::fd::{FromRawFd, OwnedFd};

/// Where the filter finds what it compares with.
#[must_use]
pub fn layout(trap: Trap) -> FilterLayout {
    wall::layout(match trap {
        Trap::Signal => TRAP | OURS,
        // By the word the tracer tells it from a guest's own filter.
        Trap::Ptrace => TRACE | OURS,
    })
}

/// Puts the filter on the calling thread; the descriptor is the listener.
///
/// # Errors
/// The kernel's own: EINVAL (kernel too old), EBUSY (a listener exists), EACCES (no `no_new_privs`).
pub fn install(trap: Trap) -> Result<OwnedFd, Errno> {
    let filter: Vec<Insn> = program(&layout(trap));
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    const NEW_LISTENER: libc::c_ulong = 1 << 3;
    const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
    // SAFETY: `program` points at `filter`, which outlives the call; `Insn` is laid out as
    // `struct sock_filter`.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            NEW_LISTENER | WAIT_KILLABLE_RECV,
            &raw const program,
        )
    };
    let fd = Errno::result(fd)?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
