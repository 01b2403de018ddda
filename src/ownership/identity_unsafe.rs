//! Which file a descriptor or a name stands for.

use super::{FileId, Owner};
use std::ffi::CStr;
use std::os::fd::AsRawFd;

/// Identity and mode of an own descriptor's file.
///
/// # Errors
/// The kernel's.
pub fn identify(fd: &impl AsRawFd) -> Result<(FileId, u32), i32> {
    identify_in_full(fd).map(|(id, host)| (id, host.mode))
}

/// The same with the owner, in the host's terms.
///
/// # Errors
/// The kernel's.
pub fn identify_in_full(fd: &impl AsRawFd) -> Result<(FileId, Owner), i32> {
    look(fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// Identity and mode of what has a name in a directory; a link is not followed.
///
/// # Errors
/// The kernel's.
pub fn identify_at(dir: &impl AsRawFd, name: &CStr) -> Result<(FileId, u32), i32> {
    let (id, host) = look(dir.as_raw_fd(), name, libc::AT_SYMLINK_NOFOLLOW)?;
    Ok((id, host.mode))
}

fn look(fd: i32, name: &CStr, flags: i32) -> Result<(FileId, Owner), i32> {
    // SAFETY: all zero is a valid `struct statx`.
    let mut buffer = unsafe { std::mem::zeroed::<libc::statx>() };
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    // SAFETY: the name ends with its NUL, and the buffer is ours.
    let result = unsafe { libc::statx(fd, name.as_ptr(), flags, mask, &raw mut buffer) };
    if result < 0 {
        return Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO));
    }
    let btime = buffer
        .stx_btime
        .tv_sec
        .unsigned_abs()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::from(buffer.stx_btime.tv_nsec));
    let dev = libc::makedev(buffer.stx_dev_major, buffer.stx_dev_minor);
    let id = FileId {
        dev,
        ino: buffer.stx_ino,
        btime,
    };
    let owner = Owner {
        uid: buffer.stx_uid,
        gid: buffer.stx_gid,
        mode: u32::from(buffer.stx_mode),
        rdev: 0,
    };
    Ok((id, owner))
}
