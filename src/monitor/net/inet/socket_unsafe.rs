//! What has no safe wrapper: options without a typed reader, accept4(2).

use nix::errno::Errno;
use nix::sys::socket::{SockFlag, accept4};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Reads an option of `SOL_SOCKET` that is an `int` (socket(7)).
///
/// # Errors
/// `ENOTSOCK`: the descriptor is none of a socket. `ENOPROTOOPT`: there is no such option.
pub(in crate::monitor::net) fn option(
    socket: BorrowedFd<'_>,
    name: libc::c_int,
) -> Result<libc::c_int, Errno> {
    let mut value: libc::c_int = 0;
    let mut length: libc::socklen_t = 4;
    // SAFETY: `value` has room for `length` bytes, and both live over the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| value)
}

/// Accepts a connection, as a socket that never waits.
///
/// # Errors
/// Those of accept4(2); `EAGAIN`: there is none, on a listener that does not wait.
pub(in crate::monitor::net) fn accept(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
