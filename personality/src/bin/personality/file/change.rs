//! Changes of owners, modes and times, which the monitor makes.

use super::rights::{may_chown, must_own};
use super::{must_know, stat_of, with_descriptor};
use crate::arch::syscall2;
use crate::dispatch::checked;
use crate::memory;
use crate::thread::Thread;
use crate::{Errno, Result};
use linux_raw_sys::general::*;
use picozone_personality::mailbox::Request;

fn change(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    flags: u64,
    request: Request,
    args: &[u64],
) -> Result<u64> {
    with_descriptor(thread, dirfd, pathname, flags, |thread, fd| {
        change_fd(thread, fd, request, args)
    })
}

fn change_fd(thread: &Thread, fd: u64, request: Request, args: &[u64]) -> Result<u64> {
    let mut all = [0u64; 8];
    all[0] = fd;
    for (to, from) in all[1..].iter_mut().zip(args) {
        *to = *from;
    }
    thread.ask(request, &all)
}

/// chmod(2), fchmodat(2), fchmodat2(2).
pub fn chmod(thread: &mut Thread, dirfd: u64, pathname: u64, mode: u64, flags: u64) -> Result<u64> {
    must_know(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    with_descriptor(thread, dirfd, pathname, flags, |thread, fd| {
        must_own(thread, fd)?;
        change_fd(thread, fd, Request::Chmod, &[mode & 0o7777])
    })
}

/// fchmod(2).
pub fn fchmod(thread: &Thread, fd: u64, mode: u64) -> Result<u64> {
    must_be_open(fd)?;
    must_own(thread, fd)?;
    change_fd(thread, fd, Request::Chmod, &[mode & 0o7777])
}

/// chown(2), lchown(2), fchownat(2).
pub fn chown(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    uid: u64,
    gid: u64,
    flags: u64,
) -> Result<u64> {
    must_know(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    with_descriptor(thread, dirfd, pathname, flags, |thread, fd| {
        chown_node(thread, fd, uid, gid)
    })
}

/// fchown(2).
pub fn fchown(thread: &Thread, fd: u64, uid: u64, gid: u64) -> Result<u64> {
    must_be_open(fd)?;
    chown_node(thread, fd, uid, gid)
}

/// EBADF for an `O_PATH` descriptor, which gives no right to change the file.
fn must_be_open(fd: u64) -> Result<()> {
    let flags = checked(unsafe { syscall2(__NR_fcntl, fd, u64::from(F_GETFL)) })?;
    if flags & u64::from(O_PATH) == 0 {
        Ok(())
    } else {
        Err(Errno::EBADF)
    }
}

fn chown_node(thread: &Thread, fd: u64, uid: u64, gid: u64) -> Result<u64> {
    may_chown(thread, fd, uid, gid)?;
    change_fd(
        thread,
        fd,
        Request::Chown,
        &[uid & 0xffff_ffff, gid & 0xffff_ffff, 0],
    )
}

/// Gives a file just made to the user who made it.
pub fn own_new(thread: &Thread, fd: u64) {
    let (uid, gid) = (thread.credentials.uid[3], thread.credentials.gid[3]);
    if (uid, gid) != (0, 0) {
        let _ = change_fd(
            thread,
            fd,
            Request::Chown,
            &[u64::from(uid), u64::from(gid), 1],
        );
    }
}

/// Gives a file just made the mode bits that the host's file cannot have.
#[cold]
pub fn add_mode(thread: &Thread, fd: u64, bits: u64) {
    if let Ok(st) = stat_of(fd) {
        let mode = u64::from(st.st_mode & 0o777) | bits;
        // As with an open that the zone's owner table has no room for: the file is there.
        let _ = change_fd(thread, fd, Request::Chmod, &[mode]);
    }
}

/// utimensat(2).
pub fn utimensat(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    times: u64,
    flags: u64,
) -> Result<u64> {
    const UTIME_NOW: u64 = (1 << 30) - 1;
    let words = if times == 0 {
        [0, UTIME_NOW, 0, UTIME_NOW]
    } else {
        memory::read::<[u64; 4]>(times)?
    };
    if pathname == 0 {
        return change_fd(thread, dirfd, Request::Utimens, &words);
    }
    change(thread, dirfd, pathname, flags, Request::Utimens, &words)
}

/// utimes(2), futimesat(2): microseconds.
pub fn utimes(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    times: u64,
    unit: u64,
) -> Result<u64> {
    if times == 0 {
        return utimensat(thread, dirfd, pathname, 0, 0);
    }
    let [a, au, m, mu] = memory::read::<[u64; 4]>(times)?;
    if au >= 1_000_000 || mu >= 1_000_000 {
        return Err(Errno::EINVAL);
    }
    change(
        thread,
        dirfd,
        pathname,
        0,
        Request::Utimens,
        &[a, au * unit, m, mu * unit],
    )
}

/// utime(2): seconds.
pub fn utime(thread: &mut Thread, pathname: u64, times: u64) -> Result<u64> {
    if times == 0 {
        return utimensat(thread, AT_FDCWD as u64, pathname, 0, 0);
    }
    let [a, m] = memory::read::<[u64; 2]>(times)?;
    change(
        thread,
        AT_FDCWD as u64,
        pathname,
        0,
        Request::Utimens,
        &[a, 0, m, 0],
    )
}
