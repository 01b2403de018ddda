//! Descriptors of guests, reached through `/proc`.

use crate::ids::HostPid;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `AT_FDCWD`.
pub const CWD: i32 = libc::AT_FDCWD;

fn link(thread: HostPid, fd: i32) -> PathBuf {
    if fd == CWD {
        PathBuf::from(format!("/proc/{thread}/cwd"))
    } else {
        PathBuf::from(format!("/proc/{thread}/fd/{fd}"))
    }
}

/// An `O_PATH` descriptor of what a guest's descriptor (or `AT_FDCWD`) names.
///
/// # Errors
/// EBADF.
pub fn open_path(thread: HostPid, fd: i32) -> Result<OwnedFd, i32> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(link(thread, fd))
        .map(OwnedFd::from)
        .map_err(|_| libc::EBADF)
}

/// Two sockets that are connected to each other, for our own use: exec closes both.
///
/// # Errors
/// Out of descriptors.
pub fn pair(kind: SockType) -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)
}

/// The host path behind a guest's descriptor.
///
/// # Errors
/// EBADF. ENAMETOOLONG: the kernel does not tell it.
pub fn host_path(thread: HostPid, fd: i32) -> Result<Vec<u8>, i32> {
    text_of(&link(thread, fd)).map_err(|errno| match errno {
        libc::ENAMETOOLONG => errno,
        _ => libc::EBADF,
    })
}

/// The host path behind an own descriptor.
///
/// # Errors
/// ENAMETOOLONG: the kernel does not tell it.
pub fn own_host_path(fd: &impl AsRawFd) -> Result<Vec<u8>, i32> {
    text_of(&own_path(fd))
}

fn text_of(link: &Path) -> Result<Vec<u8>, i32> {
    std::fs::read_link(link)
        .map(|path| path.into_os_string().into_vec())
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}

/// A path by which this process names one of its own descriptors.
#[must_use]
pub fn own_path(fd: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Sets the mode of what an own descriptor names, be it opened with `O_PATH`. By a name it could be a
/// link by now, which chmod(2) follows.
///
/// # Errors
/// Those of fchmodat2(2).
pub fn set_mode(node: &impl AsRawFd, mode: u32) -> nix::Result<()> {
    let (fd, flags) = (node.as_raw_fd(), libc::AT_EMPTY_PATH);
    // SAFETY: the path is an empty constant.
    let result = unsafe { libc::syscall(libc::SYS_fchmodat2, fd, c"".as_ptr(), mode, flags) };
    Errno::result(result).map(drop)
}

/// Sets the times of what an own descriptor names, be it opened with `O_PATH`.
///
/// # Errors
/// Those of utimensat(2).
pub fn set_times(node: &impl AsRawFd, times: &[libc::timespec; 2]) -> nix::Result<()> {
    let (fd, flags) = (node.as_raw_fd(), libc::AT_EMPTY_PATH);
    // SAFETY: the path is an empty constant, and the times are two.
    let result = unsafe { libc::utimensat(fd, c"".as_ptr(), times.as_ptr(), flags) };
    Errno::result(result).map(drop)
}

/// Opens anew what an own `O_PATH` descriptor names.
///
/// # Errors
/// The kernel's.
pub fn reopen(fd: &OwnedFd, flags: i32) -> Result<File, i32> {
    let is_write = matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR);
    let is_read = flags & libc::O_ACCMODE != libc::O_WRONLY;
    let rest = flags & !libc::O_ACCMODE & !libc::O_CREAT & !libc::O_EXCL & !libc::O_NOFOLLOW;
    OpenOptions::new()
        .read(is_read)
        .write(is_write)
        .custom_flags(rest | libc::O_NOCTTY)
        .open(own_path(fd))
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}
