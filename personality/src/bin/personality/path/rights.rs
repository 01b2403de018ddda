//! What the users of the zone may do. The zone itself does not depend on it.

use super::names::Parent;
use super::reach::{Opened, open_confined};
use super::{AT_CWD, NOFOLLOW, PATH_FLAGS, close};
use crate::thread::Thread;
use crate::{Errno, Result, file};
use core::ffi::CStr;
use linux_raw_sys::general::*;

/// Whether the thread may have a file open in this way, by the zone's own users.
pub(super) fn may_open(thread: &Thread, fd: u64, flags: u64) -> Result<()> {
    let uid = thread.credentials.uid[3];
    if uid == 0 || flags & u64::from(O_PATH) != 0 {
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
    if file::permits(thread, uid, &file::stat_of(fd)?, reads_or_writes | cuts) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// Whether the thread may change entries of a directory, by the zone's own users.
pub(super) fn may_change(thread: &Thread, directory: u64) -> Result<()> {
    if thread.credentials.uid[3] == 0 {
        return Ok(());
    }
    may_change_as_user(thread, directory, None)
}

/// As [`may_change`], for an entry that is to go: from a sticky directory only its owner and the
/// directory's take it.
pub(super) fn may_remove(thread: &Thread, parent: &Parent) -> Result<()> {
    if thread.credentials.uid[3] == 0 {
        return Ok(());
    }
    may_change_as_user(thread, parent.fd, Some(parent))
}

#[cold]
fn may_change_as_user(thread: &Thread, directory: u64, goes: Option<&Parent>) -> Result<()> {
    const STICKY: u32 = 0o1000;
    let uid = thread.credentials.uid[3];
    let st = if directory as i32 == AT_CWD {
        let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
        match open_confined(thread, directory, c".", flags, 0, &mut None)? {
            Opened::Descriptor(fd) => {
                let st = file::stat_of(fd);
                close(fd);
                st?
            }
            Opened::Monitor => return Err(Errno::EACCES),
        }
    } else {
        file::stat_of(directory)?
    };
    if !file::permits(thread, uid, &st, 3) {
        return Err(Errno::EACCES);
    }
    if let Some(parent) = goes
        && st.st_mode & STICKY != 0
        && st.st_uid != uid
    {
        let name = CStr::from_bytes_until_nul(&parent.name).map_err(|_| Errno::ENAMETOOLONG)?;
        // What is not there, or is no zone's file, the call itself judges.
        if let Ok(Opened::Descriptor(fd)) =
            open_confined(thread, directory, name, PATH_FLAGS | NOFOLLOW, 0, &mut None)
        {
            let st = file::stat_of(fd);
            close(fd);
            if st?.st_uid != uid {
                return Err(Errno::EPERM);
            }
        }
    }
    Ok(())
}
