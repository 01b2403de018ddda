//! The system calls of the tests that std does not have.

use picozone_fsmap::Error;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

fn last_error() -> Error {
    let errno = io::Error::last_os_error()
        .raw_os_error()
        .expect("a call failed");
    Error(u16::try_from(errno).expect("errnos are small"))
}

fn openat2(top: &OwnedFd, path: &CStr, flags: i32, resolve: u64) -> Result<OwnedFd, Error> {
    let flags = (flags | libc::O_CLOEXEC).unsigned_abs();
    let mode = if flags & libc::O_CREAT.unsigned_abs() == 0 {
        0
    } else {
        0o600
    };
    let how = [u64::from(flags), mode, resolve];
    // SAFETY: the path ends with NUL, and `how` has the 24 bytes that are stated.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            top.as_raw_fd(),
            path.as_ptr(),
            how.as_ptr(),
            24,
        )
    };
    if fd < 0 {
        return Err(last_error());
    }
    let fd = i32::try_from(fd).expect("descriptors are small");
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// openat2 as the project uses it.
pub fn open_beneath(top: &OwnedFd, path: &CStr, flags: i32) -> Result<OwnedFd, Error> {
    openat2(
        top,
        path,
        flags,
        libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS,
    )
}

/// The oracle: the kernel's own walk with `top` as its root. Renames on the host meanwhile make it
/// fail with EAGAIN, which says nothing about the path.
pub fn open_in_root(top: &OwnedFd, path: &CStr, flags: i32) -> Result<OwnedFd, Error> {
    loop {
        match openat2(
            top,
            path,
            flags,
            libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
        ) {
            Err(Error(errno)) if i32::from(errno) == libc::EAGAIN => {}
            other => return other,
        }
    }
}

/// readlinkat of the descriptor itself.
pub fn read_link(node: &OwnedFd, to: &mut [u8]) -> Result<usize, Error> {
    // SAFETY: `to` is writable for its length.
    let got = unsafe {
        libc::readlinkat(
            node.as_raw_fd(),
            c"".as_ptr(),
            to.as_mut_ptr().cast(),
            to.len(),
        )
    };
    usize::try_from(got).map_err(|_| match last_error() {
        Error::ENOENT => Error::EINVAL,
        other => other,
    })
}

/// Device, inode and mode.
pub fn identity(node: &OwnedFd) -> (u64, u64, u32) {
    let mut st = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills the structure, whose address is ours.
    let result = unsafe { libc::fstat(node.as_raw_fd(), st.as_mut_ptr()) };
    assert_eq!(result, 0, "fstat works on open descriptors");
    // SAFETY: fstat succeeded.
    let st = unsafe { st.assume_init() };
    (st.st_dev, st.st_ino, st.st_mode)
}

/// Swaps two names in one step.
pub fn exchange(one: &Path, other: &Path) {
    let name =
        |path: &Path| std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("no NUL");
    let (one, other) = (name(one), name(other));
    // SAFETY: both paths end with NUL.
    let result = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    assert_eq!(result, 0, "names of one file system can be exchanged");
}
