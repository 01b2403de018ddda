//! What the users of the zone may do. The zone itself does not depend on it.

use super::names::Parent;
use super::reach::{Opened, open_confined};
use super::{AT_CWD, NOFOLLOW, PATH_FLAGS, close};
use crate::file::Power;
use crate::thread::Thread;
use crate::{Errno, Result, file};
use core::ffi::CStr;
use linux_raw_sys::general::*;

/// Whether the thread may have a file open in this way, by the zone's own users.
pub(super) fn may_open(thread: &Thread, fd: u64, flags: u64) -> Result<()> {
    if flags & u64::from(O_PATH) != 0 {
        return Ok(());
    }
    let reads_or_writes = match flags & 3 {
        0 => 4,
        1 => 2,
        _ => 6,
    };
    let cuts = if flags & u64::from(O_TRUNC) != 0 {
        2
    } else {
        0
    };
    let st = file::stat_of(fd)?;
    if !file::permits(thread, &st, reads_or_writes | cuts) {
        return Err(Errno::EACCES);
    }
    if flags & u64::from(O_NOATIME) != 0
        && st.st_uid != thread.credentials.uid[3]
        && !file::has(thread, Power::Owner)
    {
        return Err(Errno::EPERM);
    }
    if (reads_or_writes | cuts) & 2 != 0 {
        file::clear_set_ids(thread, fd, &st);
    }
    Ok(())
}

/// Whether the thread may change entries of a directory, by the zone's own users.
pub(super) fn may_change(thread: &Thread, directory: u64) -> Result<()> {
    if file::has(thread, Power::Override) {
        return Ok(());
    }
    if file::permits(thread, &stat_directory(thread, directory)?, 3) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// As [`may_change`], for an entry that is to be made.
pub(super) fn may_make(thread: &Thread, parent: &Parent) -> Result<()> {
    // That something is there is said before that nothing may be changed.
    may_change(thread, parent.fd).map_err(|errno| match entry(thread, parent) {
        Ok(Some(_)) => Errno::EEXIST,
        _ => errno,
    })
}

/// As [`may_change`], for an entry that is to go: from a sticky directory only its owner and the
/// directory's take it.
pub(super) fn may_remove(thread: &Thread, parent: &Parent) -> Result<()> {
    if file::has(thread, Power::Override) && file::has(thread, Power::Owner) {
        return Ok(());
    }
    may_remove_as_user(thread, parent)
}

#[cold]
fn may_remove_as_user(thread: &Thread, parent: &Parent) -> Result<()> {
    const STICKY: u32 = 0o1000;
    let uid = thread.credentials.uid[3];
    may_change(thread, parent.fd).map_err(|errno| match entry(thread, parent) {
        Ok(None) => Errno::ENOENT,
        _ => errno,
    })?;
    let st = stat_directory(thread, parent.fd)?;
    let is_guarded = st.st_mode & STICKY != 0 && st.st_uid != uid;
    if !is_guarded || file::has(thread, Power::Owner) {
        return Ok(());
    }
    // What is not there, or is no zone's file, the call itself judges.
    match entry(thread, parent) {
        Ok(Some(st)) if st.st_uid != uid => Err(Errno::EPERM),
        _ => Ok(()),
    }
}

/// Attributes of the entry itself, if it is there and the directory may be searched.
fn entry(thread: &Thread, parent: &Parent) -> Result<Option<stat>> {
    let name = CStr::from_bytes_until_nul(&parent.name).map_err(|_| Errno::ENAMETOOLONG)?;
    let flags = PATH_FLAGS | NOFOLLOW;
    match open_confined(thread, parent.fd, name, flags, 0, &mut None) {
        Ok(Opened::Descriptor(fd)) => {
            let st = file::stat_of(fd);
            close(fd);
            st.map(Some)
        }
        Err(Errno::ENOENT) => Ok(None),
        Ok(Opened::Monitor) => Err(Errno::EACCES),
        Err(errno) => Err(errno),
    }
}

/// Attributes of a directory that may be the working directory.
pub(super) fn stat_directory(thread: &Thread, directory: u64) -> Result<stat> {
    if directory as i32 != AT_CWD {
        return file::stat_of(directory);
    }
    let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
    match open_confined(thread, directory, c".", flags, 0, &mut None)? {
        Opened::Descriptor(fd) => {
            let st = file::stat_of(fd);
            close(fd);
            st
        }
        Opened::Monitor => Err(Errno::EACCES),
    }
}
