//! Root directories that processes have taken by chroot(2).
//!
//! A root is a zone path free of links, kept by number in the tables; threads of a process share it,
//! children and what is executed have the same. It bounds no zone, and within a zone it holds for
//! programs that do not attack the personality. A root directory that is renamed is not followed:
//! nothing is found in it then.

use super::reach::{open_anywhere, open_in_mount};
use super::{AT_CWD, PATH_FLAGS, close, how, mount_rows, mounts, openat2_raw};
use crate::file::Power;
use crate::memory::PathRoom;
use crate::monitor::{commons, tables};
use crate::thread::{Thread, me};
use crate::{Errno, Result, file, pids};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::{Relaxed, Release};
use linux_raw_sys::general::*;
use picozone_personality::mailbox::Request;

/// The thread's root directory; empty for the zone's own.
#[inline]
pub fn root(thread: &Thread) -> &'static [u8] {
    match thread.process().root {
        0 => b"",
        _ if thread.is_unrooted => b"",
        number => tables().root(number),
    }
}

/// As long as it lives, absolute paths are the zone's: for those that the zone itself has told.
pub(super) struct InZone {
    before: bool,
}

impl InZone {
    pub(super) fn enter(thread: &Thread) -> InZone {
        let before = thread.is_unrooted;
        me().is_unrooted = true;
        InZone { before }
    }
}

impl Drop for InZone {
    fn drop(&mut self) {
        me().is_unrooted = self.before;
    }
}

/// A zone path as seen from the thread's root directory; `None` if it lies outside.
pub fn shown<'p>(thread: &Thread, zone: &'p [u8]) -> Option<&'p [u8]> {
    let rest = zone.strip_prefix(root(thread))?;
    match rest.first() {
        None => Some(b"/"),
        Some(b'/') => Some(rest),
        Some(_) => None,
    }
}

/// Whether a relative path has a `..` that a root directory on its way might hold, where it begins
/// outside of that.
pub(super) fn has_dotdot_at_root(thread: &Thread, path: &[u8]) -> bool {
    !root(thread).is_empty() && path.split(|&b| b == b'/').any(|name| name == b"..")
}

/// One confined open of an absolute path beneath the thread's root directory.
///
/// # Errors
/// EXDEV for what the kernel cannot finish there.
#[cold]
#[inline(never)]
pub(super) fn open_in_root(thread: &Thread, path: &CStr, how_to: u64) -> Result<u64> {
    let from = mounts().find(root(thread));
    let row = mount_rows().get(from.0).ok_or(Errno::ENOENT)?;
    if row.is_monitor() {
        return Err(Errno::EXDEV);
    }
    let text = path.to_bytes();
    let start = text.iter().position(|&b| b != b'/').unwrap_or(text.len());
    open_through(thread, from, &text[start..], how_to)
}

/// One open beneath a directory of a mount, which the walk does not leave. `name` ends a C string.
#[cold]
#[inline(never)]
pub(super) fn open_through(
    thread: &Thread,
    (mount, rest): (usize, &[u8]),
    name: &[u8],
    how_to: u64,
) -> Result<u64> {
    if name.is_empty() {
        return open_in_mount(mount, rest, how_to);
    }
    let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
    let directory = open_in_mount(mount, rest, how(thread, flags, 0)?)?;
    let opened = openat2_raw(directory, name.as_ptr() as u64, how_to);
    close(directory);
    opened
}

/// chroot(2).
pub fn chroot(thread: &mut Thread, pathname: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = room.read(pathname)?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
    let fd = open_anywhere(thread, AT_CWD as u64, path, flags, 0, &mut None)?;
    let mut st = MaybeUninit::uninit();
    let number = file::stat_in_zone(thread, fd, &mut st).and_then(|st| {
        if !file::permits(thread, st, 1) {
            Err(Errno::EACCES)
        } else if !file::has(thread, Power::Chroot) {
            Err(Errno::EPERM)
        } else {
            // Before the monitor is asked who has one.
            commons().chroots.store(1, Release);
            thread.ask(Request::Root, &[fd])
        }
    });
    close(fd);
    let number = number? as u32;
    thread.process().root = number;
    pids::own(thread).root.store(number, Relaxed);
    Ok(0)
}
