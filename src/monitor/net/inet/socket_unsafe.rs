//! What has no safe wrapper: options without a typed reader.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

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

/// Sets an option of `SOL_SOCKET` that is an `int`.
///
/// # Errors
/// Those of setsockopt(2).
pub(in crate::monitor::net) fn set_option(
    socket: BorrowedFd<'_>,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<(), Errno> {
    // SAFETY: `value` is 4 bytes long and lives over the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw const value).cast(),
            4,
        )
    };
    Errno::result(result).map(drop)
}
