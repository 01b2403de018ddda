//! What the zone's users may do to a file.

use super::{EMPTY_PATH, NOFOLLOW, S_IFMT, monitor_stat, must_know, stat_of, with_node};
use crate::arch::syscall4;
use crate::dispatch::checked;
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result};
use linux_raw_sys::general::*;

/// Whether the credentials (`uid`, `gid`) give `want` (4 read, 2 write, 1 search or execute).
pub fn permits(thread: &Thread, uid: u32, st: &linux_raw_sys::general::stat, want: u32) -> bool {
    if uid == 0 {
        let is_dir = st.st_mode & S_IFMT == 0o040_000;
        return want & 1 == 0 || is_dir || st.st_mode & 0o111 != 0;
    }
    let bits = if st.st_uid == uid {
        st.st_mode >> 6
    } else if thread.credentials.is_member(st.st_gid) {
        st.st_mode >> 3
    } else {
        st.st_mode
    };
    bits & want == want
}

/// access(2), faccessat(2), faccessat2(2).
pub fn access(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    mode: u64,
    flags: u64,
) -> Result<u64> {
    if mode & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    must_know(flags, AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    let which = usize::from(flags & u64::from(AT_EACCESS) != 0);
    let uid = thread.credentials.uid[which];
    with_node(
        thread,
        dirfd,
        pathname,
        flags,
        |thread, fd| {
            let st = stat_of(fd)?;
            if !permits(thread, uid, &st, mode as u32) {
                return Err(Errno::EACCES);
            }
            if mode & 2 != 0 && st.st_mode & S_IFMT != 0o120_000 {
                let empty = tables().empty.as_ptr() as u64;
                let result = unsafe { syscall4(__NR_faccessat2, fd, empty, 2, EMPTY_PATH) };
                checked(result).map_err(|_| Errno::EROFS)?;
            }
            Ok(0)
        },
        |thread, zone| {
            let Some(x) = monitor_stat(thread, zone, flags & NOFOLLOW)? else {
                return Ok(None);
            };
            let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
            (st.st_uid, st.st_gid, st.st_mode) = (x.stx_uid, x.stx_gid, u32::from(x.stx_mode));
            if permits(thread, uid, &st, mode as u32) {
                Ok(Some(0))
            } else {
                Err(Errno::EACCES)
            }
        },
    )
}

/// The zone's own rule of who may change a file: its owner, or root.
pub(super) fn must_own(thread: &Thread, fd: u64) -> Result<()> {
    if thread.credentials.uid[3] == 0 || stat_of(fd)?.st_uid == thread.credentials.uid[3] {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

pub(super) fn may_chown(thread: &Thread, fd: u64, uid: u64, gid: u64) -> Result<()> {
    let own = thread.credentials.uid[3];
    if own == 0 {
        return Ok(());
    }
    let st = stat_of(fd)?;
    let keeps_user = uid as u32 == u32::MAX || uid as u32 == st.st_uid;
    let group_ok = gid as u32 == u32::MAX || thread.credentials.is_member(gid as u32);
    if st.st_uid == own && keeps_user && group_ok {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}
