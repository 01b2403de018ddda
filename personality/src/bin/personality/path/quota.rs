//! What a zone that is at its limit of disk space does not do: make files, and open them to write.
//!
//! The monitor counts what its files take up, and says in the tables whether that is too much.

use super::calls::TEMPORARY;
use super::names::{Purpose, parent};
use super::reach::open_anywhere;
use super::{PATH_FLAGS, close};
use crate::arch::syscall4;
use crate::file;
use crate::memory;
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;

/// Whether the zone is at its limit.
#[inline]
pub(super) fn is_full() -> bool {
    tables().disk.is_full.load(Relaxed) != 0
}

/// Whether a descriptor is of the file system on which the zone's files lie.
fn is_there(fd: u64) -> bool {
    let mut st = unsafe { core::mem::zeroed::<stat>() };
    // Also of the working directory.
    let (empty, to) = (tables().empty.as_ptr() as u64, &raw mut st as u64);
    let got = unsafe { syscall4(__NR_newfstatat, fd, empty, to, u64::from(AT_EMPTY_PATH)) };
    got == 0 && st.st_dev == tables().disk.dev.load(Relaxed)
}

/// EDQUOT where the zone may make nothing in a directory.
#[cold]
#[inline(never)]
pub(super) fn must_have_room_in(directory: u64) -> Result<()> {
    if is_there(directory) {
        Err(Errno::EDQUOT)
    } else {
        Ok(())
    }
}

/// EDQUOT where a file may not be opened to be written. One that is cut may.
#[cold]
#[inline(never)]
pub(super) fn must_have_room(thread: &Thread, dirfd: u64, path: &CStr, flags: u64) -> Result<()> {
    let has = |flag: u32| flags & u64::from(flag) != 0;
    let look = PATH_FLAGS | flags & u64::from(O_NOFOLLOW | O_DIRECTORY);
    match open_anywhere(thread, dirfd, path, look, 0, &mut None) {
        Ok(fd) => {
            let grows = !has(O_TRUNC) && file::kind_of(fd) == Some(S_IFREG);
            let is_nameless = flags & TEMPORARY == TEMPORARY;
            let is_refused = (grows || is_nameless) && is_there(fd);
            close(fd);
            if is_refused {
                return Err(Errno::EDQUOT);
            }
            Ok(())
        }
        Err(Errno::ENOENT) if has(O_CREAT) => {
            // What else is wrong the open itself says.
            parent(thread, dirfd, path, Purpose::Make)
                .map_or(Ok(()), |parent| must_have_room_in(parent.fd))
        }
        Err(_) => Ok(()),
    }
}

/// Shows the limit in a `struct statfs` of a descriptor's file system.
pub(super) fn show_limit(fd: u64, to: u64) -> Result<()> {
    let disk = &tables().disk;
    let limit = disk.limit.load(Relaxed);
    if limit == 0 || !is_there(fd) {
        return Ok(());
    }
    // A `struct statfs` begins with type, block size, blocks, free and available ones.
    let [kind, size, all, free, available] = memory::read::<[u64; 5]>(to)?;
    let blocks = |bytes: u64| bytes / size.max(1);
    let left = blocks(limit.saturating_sub(disk.used.load(Relaxed)));
    let shown = [
        kind,
        size,
        all.min(blocks(limit)),
        free.min(left),
        available.min(left),
    ];
    memory::write(to, &shown)
}
