//! openat2(2) and its ways to resolve.
//!
//! The walk is that of every other call, within bounds of the guest's own; what it leads to is then
//! opened by its zone path, which holds no link any more.

use super::calls::{OPEN_FLAGS, TEMPORARY, must_be_consistent, open_path};
use super::deep;
use super::names::must_be_directory;
use super::reach::{Told, ask_served, names_a_link, only_named, open_link};
use super::root::{InZone, root};
use super::walk::{walk_within, zone_path_of};
use super::{AT_CWD, from_error, last_of, own_exe};
use crate::memory::{self, PathRoom, ZonePath};
use crate::thread::Thread;
use crate::{Errno, Result};
use core::ffi::CStr;
use linux_raw_sys::general::*;
use picozone_fsmap::{Bounds, Error};
use picozone_personality::mailbox::Request;

const BELOW: u64 = RESOLVE_BENEATH as u64;
const IN_ROOT: u64 = RESOLVE_IN_ROOT as u64;
const NO_MAGIC: u64 = RESOLVE_NO_MAGICLINKS as u64;
const NO_LINKS: u64 = RESOLVE_NO_SYMLINKS as u64;
const NO_XDEV: u64 = RESOLVE_NO_XDEV as u64;
const CACHED: u64 = RESOLVE_CACHED as u64;
const KNOWN: u64 = BELOW | IN_ROOT | NO_MAGIC | NO_LINKS | NO_XDEV | CACHED;
/// What `O_PATH` goes with.
const WITH_PATH: u64 = (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) as u64;
/// Size of `struct open_how`, and the longest that the kernel takes.
const SIZE: u64 = 24;
const SIZE_MAX: u64 = 4096;

/// openat2(2).
///
/// That a walk needs no disk (`RESOLVE_CACHED`) nobody can promise here, and nobody notices.
pub fn openat2(thread: &mut Thread, dirfd: u64, pathname: u64, how: u64, size: u64) -> Result<u64> {
    if size < SIZE {
        return Err(Errno::EINVAL);
    }
    if size > SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let [flags, mode, resolve] = memory::read::<[u64; 3]>(how)?;
    for at in SIZE..size {
        // What a newer kernel would know.
        if memory::read::<u8>(how + at)? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    // Unlike openat(2), it refuses what it does not know.
    let makes = flags & u64::from(O_CREAT) != 0 || flags & TEMPORARY == TEMPORARY;
    let is_path = flags & u64::from(O_PATH) != 0;
    if flags & !OPEN_FLAGS != 0
        || mode & !0o7777 != 0
        || (mode != 0 && !makes)
        || resolve & !KNOWN != 0
        || resolve & (BELOW | IN_ROOT) == BELOW | IN_ROOT
        || (is_path && flags & !WITH_PATH != 0)
    {
        return Err(Errno::EINVAL);
    }
    must_be_consistent(flags)?;
    if resolve & CACHED != 0 && (makes || flags & u64::from(O_TRUNC) != 0) {
        return Err(Errno::EAGAIN);
    }
    let mut room = PathRoom::new();
    let path = room.read(pathname)?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let resolve = resolve & !CACHED;
    if resolve == 0 {
        let path = if flags & u64::from(O_NOFOLLOW) == 0 {
            own_exe(thread, path)
        } else {
            path
        };
        return open_path(thread, dirfd, path, flags, mode);
    }
    open_within(thread, dirfd, path, (flags, mode), resolve)
}

fn open_within(
    thread: &mut Thread,
    dirfd: u64,
    path: &CStr,
    (flags, mode): (u64, u64),
    resolve: u64,
) -> Result<u64> {
    let (mut at, mut directory) = (ZonePath::new(), ZonePath::new());
    let is_held = resolve & (BELOW | IN_ROOT) != 0;
    // An absolute path does not begin there, but has to lie in its mount.
    if is_held || path.to_bytes().first() != Some(&b'/') || resolve & NO_XDEV != 0 {
        must_be_directory(dirfd)?;
        match zone_path_of(thread, dirfd, &mut at) {
            Err(errno) if deep::is_for(errno, path) || is_held && errno == Errno::ENAMETOOLONG => {
                return open_within_deep(thread, dirfd, path, (flags, mode), resolve);
            }
            found => found?,
        }
    }
    let bounds = Bounds {
        root: if is_held {
            directory.set(at.as_bytes()).map_err(from_error)?;
            // The zone's root is no bound by itself.
            directory.as_bytes()
        } else {
            root(thread)
        },
        is_beneath: resolve & BELOW != 0,
        has_no_links: resolve & NO_LINKS != 0,
        is_in_one_mount: resolve & NO_XDEV != 0,
        // As nd_jump_link of the kernel's fs/namei.c has it.
        magic: Some(if resolve & (NO_MAGIC | NO_LINKS) != 0 {
            Error::ELOOP
        } else {
            Error::EXDEV
        }),
    };
    let last = last_of(flags);
    let found = walk_within(thread, &bounds, path, last, &mut at)?;
    if found.must_be_dir && at.as_bytes().last() != Some(&b'/') {
        at.append(b"/").map_err(from_error)?;
    }
    if found.is_monitor {
        // Whatever link is at the end is not to be followed.
        let asked = flags | u64::from(O_NOFOLLOW);
        let mut at = Some(at);
        return match ask_served(thread, Request::Open, &mut at, asked, mode) {
            Ok(Told::Answer(fd)) => only_named(thread, fd, flags),
            Err(Errno::ELOOP) if names_a_link(flags) => open_link(thread, flags, &mut at),
            Ok(Told::Elsewhere) => Err(Errno::ELOOP),
            Err(errno) => Err(errno),
        };
    }
    let _in_zone = InZone::enter(thread);
    open_path(thread, AT_CWD as u64, at.as_c_str(), flags, mode)
}

/// The same from a directory that has no zone path. It is all one mount there.
#[cold]
#[inline(never)]
fn open_within_deep(
    thread: &mut Thread,
    dirfd: u64,
    path: &CStr,
    (flags, mode): (u64, u64),
    resolve: u64,
) -> Result<u64> {
    let held = deep::Held {
        is_beneath: resolve & BELOW != 0,
        is_in_root: resolve & IN_ROOT != 0,
        has_no_links: resolve & NO_LINKS != 0,
    };
    let mut way = deep::descend_within(thread, held, dirfd, path, last_of(flags))?;
    let (at, must_be_dir) = (way.at.fd(), way.must_be_dir());
    let name = way.name().ok_or(Errno::ENAMETOOLONG)?;
    if !must_be_dir {
        return open_path(thread, at, name, flags, mode);
    }
    let mut room = PathRoom::new();
    let name = room.set_two(name.to_bytes(), b"/")?;
    open_path(thread, at, name, flags, mode)
}
