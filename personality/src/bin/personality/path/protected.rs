//! What is protected in directories that everybody writes: links that others made are not followed, and
//! who would make a file does not get another's (proc_sys_fs(5), `fs.protected_symlinks`,
//! `fs.protected_regular`, `fs.protected_fifos`).
//!
//! Neither is asked of the kernel, to which all files are of one user. Where a setting is off, or the zone
//! has never had such links or files, this is a look at two words.

use super::names::{Purpose, parent};
use super::reach::{Opened, open_unjudged};
use super::rights::stat_directory;
use super::{NOFOLLOW, PATH_FLAGS, close, read_link};
use crate::file;
use crate::memory::PathRoom;
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result};
use core::ffi::CStr;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_fsmap::LINKS_MAX;
use picozone_personality::mailbox::Request;

const STICKY: u32 = 0o1000;

#[inline]
fn is_on(word: &AtomicU32) -> bool {
    word.load(Relaxed) != 0
}

/// Has settings that were just written taken over.
fn settle(thread: &Thread) {
    if is_on(&tables().settings_open) {
        let _ = thread.ask(Request::Ping, &[]);
    }
}

/// EACCES for a link at the end of a path that the thread must not follow (`may_follow_link` in the
/// kernel's fs/namei.c).
#[inline]
pub(super) fn may_follow(thread: &Thread, dirfd: u64, path: &CStr) -> Result<()> {
    if is_on(&tables().protected.foreign_links) {
        look_at_links(thread, dirfd, path)
    } else {
        Ok(())
    }
}

#[cold]
#[inline(never)]
fn look_at_links(thread: &Thread, dirfd: u64, path: &CStr) -> Result<()> {
    settle(thread);
    if is_on(&tables().protected.symlinks) {
        follow(thread, dirfd, path, |_, _, _| Ok(()))
    } else {
        Ok(())
    }
}

/// Follows the links at the end of a path, and shows `at_end` what they lead to and by which path. What
/// else is wrong the call itself finds.
fn follow(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    at_end: impl FnOnce(&stat, u64, &CStr) -> Result<()>,
) -> Result<()> {
    let mut room = PathRoom::new();
    let mut target = [0u8; 4096];
    let (mut at, mut text) = (dirfd, path);
    // Keeps the directory open that `text` begins in.
    let mut _held = None;
    for _ in 0..LINKS_MAX {
        let flags = PATH_FLAGS | NOFOLLOW;
        let Ok(Opened::Descriptor(fd)) = open_unjudged(thread, at, text, flags, 0, &mut None)
        else {
            return Ok(());
        };
        let st = file::stat_of(fd);
        let length = read_link(fd, &mut target);
        close(fd);
        let st = st?;
        if st.st_mode & S_IFMT != S_IFLNK {
            return at_end(&st, at, text);
        }
        let Ok(parent) = parent(thread, at, text, Purpose::LinkFrom) else {
            return Ok(());
        };
        if is_on(&tables().protected.symlinks) {
            let directory = stat_directory(thread, parent.fd)?;
            let is_open = directory.st_mode & (STICKY | 0o2) == STICKY | 0o2;
            let is_trusted = [thread.credentials.uid[3], directory.st_uid].contains(&st.st_uid);
            if is_open && !is_trusted {
                return Err(Errno::EACCES);
            }
        }
        let length = length?;
        text = room.set(target.get(..length).unwrap_or(b""))?;
        at = parent.fd;
        _held = Some(parent);
    }
    Ok(())
}

/// EACCES for what an open that would make a file must not open (`may_create_in_sticky`).
#[inline]
pub(super) fn may_reopen(thread: &Thread, dirfd: u64, path: &CStr, flags: u64) -> Result<()> {
    let creates = flags & u64::from(O_CREAT | O_EXCL) == u64::from(O_CREAT);
    if creates && is_on(&tables().protected.foreign_files) {
        look_at_file(thread, dirfd, path)
    } else {
        Ok(())
    }
}

#[cold]
#[inline(never)]
fn look_at_file(thread: &Thread, dirfd: u64, path: &CStr) -> Result<()> {
    settle(thread);
    let protected = &tables().protected;
    let (regular, fifos) = (
        protected.regular.load(Relaxed),
        protected.fifos.load(Relaxed),
    );
    if regular | fifos == 0 {
        return Ok(());
    }
    follow(thread, dirfd, path, |st, at, text| {
        let level = match st.st_mode & S_IFMT {
            S_IFREG => regular,
            S_IFIFO => fifos,
            _ => 0,
        };
        if level == 0 || st.st_uid == thread.credentials.uid[3] {
            return Ok(());
        }
        let parent = parent(thread, at, text, Purpose::LinkFrom)?;
        let directory = stat_directory(thread, parent.fd)?;
        let is_open = directory.st_mode & 0o2 != 0 || level > 1 && directory.st_mode & 0o20 != 0;
        if directory.st_mode & STICKY != 0 && is_open && directory.st_uid != st.st_uid {
            Err(Errno::EACCES)
        } else {
            Ok(())
        }
    })
}
