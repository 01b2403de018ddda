//! The calls for extended attributes that take a directory and flags (Linux 6.13).

use super::xattr::{File, getxattr, listxattr, removexattr, setxattr};
use super::{EMPTY_PATH, NOFOLLOW, must_know};
use crate::memory::{self, PathRoom};
use crate::thread::Thread;
use crate::{Errno, Result};
use linux_raw_sys::general::*;

/// What such a call names.
fn file(dirfd: u64, path: u64, flags: u64) -> Result<File> {
    must_know(flags, (EMPTY_PATH | NOFOLLOW) as u32)?;
    let is_empty = flags & EMPTY_PATH != 0
        && (path == 0 || PathRoom::new().read(path)?.is_empty())
        && dirfd as i32 != AT_FDCWD;
    Ok(if is_empty {
        File::Descriptor(dirfd)
    } else {
        File::At(dirfd, path, flags & (EMPTY_PATH | NOFOLLOW))
    })
}

/// `struct xattr_args`: where the value is, and its size and the flags in one word.
fn arguments(from: u64, size: u64) -> Result<(u64, u64, u64)> {
    const SIZE: u64 = 16;
    const PAGE: u64 = 4096;
    match size {
        ..SIZE => return Err(Errno::EINVAL),
        SIZE..=PAGE => {}
        _ => return Err(Errno::E2BIG),
    }
    let [value, rest] = memory::read::<[u64; 2]>(from)?;
    for at in SIZE..size {
        if memory::read::<u8>(from + at)? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    Ok((value, u64::from(rest as u32), rest >> 32))
}

/// setxattrat(2).
#[inline(never)]
pub fn setxattrat(thread: &mut Thread, a: [u64; 6]) -> Result<u64> {
    let (value, size, flags) = arguments(a[4], a[5])?;
    setxattr(thread, file(a[0], a[1], a[2])?, a[3], value, size, flags)
}

/// getxattrat(2).
#[inline(never)]
pub fn getxattrat(thread: &mut Thread, a: [u64; 6]) -> Result<u64> {
    let (to, size, flags) = arguments(a[4], a[5])?;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    getxattr(thread, file(a[0], a[1], a[2])?, a[3], to, size)
}

/// listxattrat(2).
#[inline(never)]
pub fn listxattrat(thread: &mut Thread, a: [u64; 6]) -> Result<u64> {
    listxattr(thread, file(a[0], a[1], a[2])?, a[3], a[4])
}

/// removexattrat(2).
#[inline(never)]
pub fn removexattrat(thread: &mut Thread, a: [u64; 6]) -> Result<u64> {
    removexattr(thread, file(a[0], a[1], a[2])?, a[3])
}
