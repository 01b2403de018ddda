//! What the zone's users may do to a file.

use super::lists;
use super::marks::{IMMUTABLE, has_marks, must_not_have};
use super::{
    EMPTY_PATH, NOFOLLOW, S_IFMT, monitor_stat, must_know, stat_named, stat_of, stat_to_zone,
    with_node,
};
use crate::arch::syscall4;
use crate::monitor::tables;
use crate::path::Named;
use crate::thread::Thread;
use crate::{Errno, Result, path};
use core::mem::MaybeUninit;
use linux_raw_sys::general::*;
use picozone_personality::acl::Kind;
pub use picozone_personality::capabilities::Power;
use picozone_personality::layout::DIRECTORY_MODE;

/// Whether the thread has a capability. This is the one place that says so.
#[inline]
pub fn has(thread: &Thread, power: Power) -> bool {
    thread.credentials.capabilities.has(power)
}

/// Whether the thread may search any directory.
#[inline]
pub fn searches_all(thread: &Thread) -> bool {
    has(thread, Power::Override) || has(thread, Power::Search)
}

/// Whether the thread may do `want` (4 read, 2 write, 1 search or execute) to a file of these
/// attributes.
pub fn permits(thread: &Thread, st: &linux_raw_sys::general::stat, want: u32) -> bool {
    let is_owner = st.st_uid == thread.credentials.uid[3];
    let bits = if is_owner {
        st.st_mode >> 6
    } else if thread.credentials.is_member(st.st_gid) {
        st.st_mode >> 3
    } else {
        st.st_mode
    };
    let has_list = !is_owner && lists::has(st, Kind::Access);
    if !has_list && bits & want == want {
        return true;
    }
    let is_dir = st.st_mode & S_IFMT == 0o040_000;
    let is_plain = is_dir || want & 1 == 0 || st.st_mode & 0o111 != 0;
    (is_plain && has(thread, Power::Override))
        || (want & 2 == 0 && (is_dir || want & 1 == 0) && has(thread, Power::Search))
        || has_list && lists::permits(thread, st, want).unwrap_or(bits & want == want)
}

/// Whether names may be looked up in a directory of these host's attributes. Those that the monitor
/// serves, it judges itself.
pub fn may_search_directory(
    thread: &Thread,
    fd: u64,
    st: &mut linux_raw_sys::general::stat,
) -> Result<()> {
    if st.st_mode == DIRECTORY_MODE {
        return Ok(());
    }
    stat_to_zone(fd, st);
    if permits(thread, st, 1) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
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
    if flags & u64::from(AT_EACCESS) != 0 {
        return access_now(thread, dirfd, pathname, mode, flags);
    }
    // The way there is judged by the real users too.
    let real = &mut thread.credentials;
    let (uid, gid, effective) = (real.uid[3], real.gid[3], real.capabilities.effective);
    (real.uid[3], real.gid[3]) = (real.uid[0], real.gid[0]);
    real.capabilities.effective = real.capabilities.of_real_user(real.uid[0]);
    let result = access_now(thread, dirfd, pathname, mode, flags);
    let own = &mut thread.credentials;
    (own.uid[3], own.gid[3]) = (uid, gid);
    own.capabilities.effective = effective;
    result
}

fn access_now(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    mode: u64,
    flags: u64,
) -> Result<u64> {
    with_node(
        thread,
        dirfd,
        pathname,
        flags,
        |thread, named| access_named(thread, named, mode, flags),
        |thread, fd| {
            let st = stat_of(fd)?;
            if !permits(thread, &st, mode as u32) {
                return Err(Errno::EACCES);
            }
            if mode & 2 != 0 {
                must_not_have(fd, IMMUTABLE)?;
            }
            let is_plain = matches!(st.st_mode & S_IFMT, 0o100_000 | 0o040_000);
            let by_path =
                || path::leads_to_read_only(thread, dirfd, pathname, flags & NOFOLLOW != 0);
            if mode & 2 != 0 && is_plain && (path::is_read_only(thread, fd) || by_path()) {
                return Err(Errno::EROFS);
            }
            if mode & 2 != 0 && st.st_mode & S_IFMT != 0o120_000 {
                let empty = tables().empty.as_ptr() as u64;
                let result = unsafe { syscall4(__NR_faccessat2, fd, empty, 2, EMPTY_PATH) };
                if result < 0 && !path::is_in_layer(thread, fd) {
                    return Err(Errno::EROFS);
                }
            }
            Ok(0)
        },
        |thread, zone| {
            let Some(x) = monitor_stat(thread, zone, flags & NOFOLLOW)? else {
                return Ok(None);
            };
            let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
            (st.st_uid, st.st_gid, st.st_mode) = (x.stx_uid, x.stx_gid, u32::from(x.stx_mode));
            if permits(thread, &st, mode as u32) {
                Ok(Some(0))
            } else {
                Err(Errno::EACCES)
            }
        },
    )
}

/// The same by the quick way. What the zone has mounted read-only or marked takes the long one.
fn access_named(thread: &Thread, named: &Named, mode: u64, flags: u64) -> Option<Result<u64>> {
    let mut st = MaybeUninit::uninit();
    let st = match stat_named(thread, named, flags, &mut st)? {
        Ok(st) => st,
        Err(errno) => return Some(Err(errno)),
    };
    if !permits(thread, st, mode as u32) {
        return Some(Err(Errno::EACCES));
    }
    if mode & 2 != 0 && st.st_mode & S_IFMT != S_IFLNK {
        if path::has_held_read_only() || has_marks() {
            return None;
        }
        let (fd, name) = (named.fd(), named.name());
        let result = unsafe { syscall4(__NR_faccessat2, fd, name, 2, NOFOLLOW) };
        return match result {
            0 => Some(Ok(0)),
            // What lies below a layer can be changed all the same.
            _ if path::has_layers() => None,
            _ => Some(Err(Errno::EROFS)),
        };
    }
    Some(Ok(0))
}

/// The zone's own rule of who may change a file: its owner, or root.
pub(super) fn must_own(thread: &Thread, st: &linux_raw_sys::general::stat) -> Result<()> {
    if st.st_uid == thread.credentials.uid[3] || has(thread, Power::Owner) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Whether a set-group-id bit may stay on what has this group.
pub fn keeps_set_gid(thread: &Thread, gid: u32) -> bool {
    thread.credentials.is_member(gid) || has(thread, Power::KeepSetId)
}

pub(super) fn may_chown(
    thread: &Thread,
    st: &linux_raw_sys::general::stat,
    uid: u32,
    gid: u32,
) -> Result<()> {
    const KEEP: u32 = u32::MAX;
    let is_free = has(thread, Power::Chown);
    let is_own = st.st_uid == thread.credentials.uid[3];
    let user_ok = uid == KEEP || (is_own && uid == st.st_uid);
    let group_ok =
        gid == KEEP || (is_own && (gid == st.st_gid || thread.credentials.is_member(gid)));
    // Set-id bits go with any such call, which is a change of the mode (`setattr_prepare` in the kernel's
    // fs/attr.c).
    let takes_group = st.st_mode & 0o10 != 0 || !keeps_set_gid(thread, st.st_gid);
    let taken = 0o4000 | if takes_group { 0o2000 } else { 0 };
    let is_kept = st.st_mode & taken == 0 || st.st_mode & S_IFMT == 0o040_000;
    let mode_ok = is_own || is_kept || has(thread, Power::Owner);
    if (is_free || user_ok && group_ok) && mode_ok {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}
