//! Watches of inotify(7).
//!
//! The kernel's call takes a path, which no filter can see: the monitor makes it, on what the path was
//! found to be here. Events tell the names within a directory, and no paths.

use super::{NOFOLLOW, permits, stat_of, with_descriptor};
use crate::thread::Thread;
use crate::{Errno, Result, socket};
use linux_raw_sys::general::*;
use picozone_personality::mailbox::Request;

/// What the kernel knows (`ALL_INOTIFY_BITS` in include/linux/inotify.h).
const KNOWN: u32 = IN_ALL_EVENTS
    | IN_UNMOUNT
    | IN_Q_OVERFLOW
    | IN_IGNORED
    | IN_ONLYDIR
    | IN_DONT_FOLLOW
    | IN_EXCL_UNLINK
    | IN_MASK_ADD
    | IN_MASK_CREATE
    | IN_ISDIR
    | IN_ONESHOT;

/// inotify_add_watch(2).
pub fn watch(thread: &mut Thread, fd: u64, pathname: u64, mask: u64) -> Result<u64> {
    let mask = mask as u32;
    if mask & !KNOWN != 0 || mask & KNOWN == 0 {
        return Err(Errno::EINVAL);
    }
    super::must_be_free(fd)?;
    // Its descriptors are of no kind.
    let is_none = super::kind_of(fd).is_some_and(|kind| kind != 0);
    if is_none || mask & IN_MASK_ADD != 0 && mask & IN_MASK_CREATE != 0 {
        return Err(Errno::EINVAL);
    }
    let flags = if mask & IN_DONT_FOLLOW == 0 {
        0
    } else {
        NOFOLLOW
    };
    with_descriptor(thread, AT_FDCWD as u64, pathname, flags, |thread, node| {
        let st = stat_of(node)?;
        if mask & IN_ONLYDIR != 0 && st.st_mode & 0o170_000 != 0o040_000 {
            return Err(Errno::ENOTDIR);
        }
        if !permits(thread, &st, 4) {
            return Err(Errno::EACCES);
        }
        let cookie = socket::hand_over(thread, fd)?;
        // The monitor follows no more. For the kernel there must be a bit, also where no event is wanted.
        let mask = match mask & !IN_DONT_FOLLOW {
            0 => u64::from(IN_EXCL_UNLINK),
            mask => u64::from(mask),
        };
        thread.ask(Request::Watch, &[node, cookie, mask])
    })
}
