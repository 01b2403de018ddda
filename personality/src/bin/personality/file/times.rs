//! Times of files.

use super::change::{change_fd, must_be_file, must_be_open};
use super::marks::{APPEND_ONLY, IMMUTABLE, must_not_have};
use super::rights::must_own;
use super::{must_know, permits, stat_of, with_descriptor};
use crate::path::{CHANGES, must_be_changeable};
use crate::thread::Thread;
use crate::{Errno, Result, memory};
use linux_raw_sys::general::*;
use picozone_personality::mailbox::Request;

const NOW: u64 = (1 << 30) - 1;
const OMIT: u64 = (1 << 30) - 2;
/// Both times, as two `struct timespec`.
type Times = [u64; 4];
const BOTH_NOW: Times = [0, NOW, 0, NOW];

/// utimensat(2).
pub fn utimensat(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    times: u64,
    flags: u64,
) -> Result<u64> {
    let times = if times == 0 {
        BOTH_NOW
    } else {
        memory::read::<Times>(times)?
    };
    if times[1] == OMIT && times[3] == OMIT {
        return Ok(0);
    }
    if pathname == 0 && dirfd as i32 != AT_FDCWD {
        if flags as u32 != 0 {
            return Err(Errno::EINVAL);
        }
        must_be_open(dirfd)?;
        return set(thread, dirfd, &times);
    }
    must_know(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    with_descriptor(thread, dirfd, pathname, flags | CHANGES, |thread, fd| {
        set(thread, fd, &times)
    })
}

/// By the owner; the time of now also by who may write.
fn set(thread: &Thread, fd: u64, times: &Times) -> Result<u64> {
    let is_time = |ns: u64| ns < 1_000_000_000 || ns == NOW || ns == OMIT;
    if !is_time(times[1]) || !is_time(times[3]) {
        return Err(Errno::EINVAL);
    }
    must_be_changeable(thread, fd)?;
    let is_touch = times[1] == NOW && times[3] == NOW;
    let marks = if is_touch {
        IMMUTABLE
    } else {
        IMMUTABLE | APPEND_ONLY
    };
    must_not_have(fd, marks)?;
    let st = stat_of(fd)?;
    must_be_file(&st)?;
    if is_touch {
        if must_own(thread, &st).is_err() && !permits(thread, &st, 2) {
            return Err(Errno::EACCES);
        }
    } else {
        must_own(thread, &st)?;
    }
    change_fd(thread, fd, Some(&st), Request::Utimens, times)
}

/// utimes(2), futimesat(2): microseconds.
pub fn utimes(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    times: u64,
    unit: u64,
) -> Result<u64> {
    let times = if times == 0 {
        BOTH_NOW
    } else {
        let [a, au, m, mu] = memory::read::<Times>(times)?;
        if au >= 1_000_000 || mu >= 1_000_000 {
            return Err(Errno::EINVAL);
        }
        [a, au * unit, m, mu * unit]
    };
    if pathname == 0 && dirfd as i32 != AT_FDCWD {
        must_be_open(dirfd)?;
        return set(thread, dirfd, &times);
    }
    with_descriptor(thread, dirfd, pathname, CHANGES, |thread, fd| {
        set(thread, fd, &times)
    })
}

/// utime(2): seconds.
pub fn utime(thread: &mut Thread, pathname: u64, times: u64) -> Result<u64> {
    let times = if times == 0 {
        BOTH_NOW
    } else {
        let [a, m] = memory::read::<[u64; 2]>(times)?;
        [a, 0, m, 0]
    };
    with_descriptor(thread, AT_FDCWD as u64, pathname, CHANGES, |thread, fd| {
        set(thread, fd, &times)
    })
}
