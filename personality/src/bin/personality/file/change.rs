//! Changes of owners and modes, which the monitor makes.

use super::marks::{APPEND_ONLY, IMMUTABLE, marks_of, must_not_have};
use super::rights::{may_chown, must_own};
use super::{Power, S_IFMT, has, is_content, keeps_set_gid, must_know, stat_of, with_descriptor};
use crate::arch::{syscall1, syscall2};
use crate::dispatch::checked;
use crate::identity::is_mapped;
use crate::monitor::tables;
use crate::path::{CHANGES, must_be_changeable};
use crate::thread::Thread;
use crate::{Errno, Result, path};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_personality::layout::DIRECTORY_MODE;
use picozone_personality::mailbox::{
    CHMOD_QUIET, CHOWN_CLEARS_SET_GID, Request, UNTIL_WRITTEN, UNTIL_WRITTEN_BY_OTHERS, file_word,
    xattr as of,
};
use picozone_personality::tables::IS_CAPABLE;

const SET_GID: u64 = 0o2000;

/// Asks for a change of what a descriptor names. Where it is `known` which file that is, the next request finds
/// it again by that ([`file_word`]).
pub fn change_fd(
    thread: &Thread,
    fd: u64,
    known: Option<&stat>,
    request: Request,
    args: &[u64],
) -> Result<u64> {
    let mut all = [0u64; 7];
    all[0] = fd;
    for (to, from) in all[1..6].iter_mut().zip(args) {
        *to = *from;
    }
    all[6] = known.map_or(0, |st| file_word(st.st_dev, st.st_ino));
    match thread.ask(request, &all) {
        Err(Errno::EROFS) => {
            // A file below a copy-on-write layer.
            let raised = path::raised(thread, fd).map_err(|errno| match errno {
                Errno::EROFS => refusal(thread, fd, request),
                other => other,
            })?;
            (all[0], all[6]) = (raised, 0);
            let result = thread.ask(request, &all);
            unsafe { syscall1(__NR_close, raised) };
            result
        }
        other => other,
    }
}

/// Why something cannot be changed that is not the zone's: the kernel has the directories of processes
/// immutable, and gives nothing else of theirs another mode.
#[cold]
#[inline(never)]
fn refusal(thread: &Thread, fd: u64, request: Request) -> Errno {
    match depth_in_process(thread, fd) {
        Some(depth) if depth == 0 || request == Request::Chmod => Errno::EPERM,
        _ => Errno::EROFS,
    }
}

/// Whether a descriptor of these attributes is the directory of a process in `/proc`.
fn is_process(thread: &Thread, fd: u64, st: &linux_raw_sys::general::stat) -> bool {
    st.st_mode == DIRECTORY_MODE && depth_in_process(thread, fd) == Some(0)
}

/// How many steps below the directory of a process in `/proc` the path of a descriptor is.
#[cold]
#[inline(never)]
fn depth_in_process(thread: &Thread, fd: u64) -> Option<usize> {
    let path = path::served_path_of(thread, fd)?;
    let mut names = path
        .as_bytes()
        .strip_prefix(b"/proc/")?
        .split(|&byte| byte == b'/');
    let process = names.next()?;
    process
        .iter()
        .all(u8::is_ascii_digit)
        .then(|| names.count())
}

/// chmod(2), fchmodat(2), fchmodat2(2).
pub fn chmod(thread: &mut Thread, dirfd: u64, pathname: u64, mode: u64, flags: u64) -> Result<u64> {
    must_know(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    with_descriptor(thread, dirfd, pathname, flags | CHANGES, |thread, fd| {
        chmod_node(thread, fd, mode)
    })
}

/// fchmod(2).
pub fn fchmod(thread: &Thread, fd: u64, mode: u64) -> Result<u64> {
    must_be_open(fd)?;
    chmod_node(thread, fd, mode)
}

/// EOPNOTSUPP for what is no file: an event, a timer, a signal.
pub(super) fn must_be_file(st: &linux_raw_sys::general::stat) -> Result<()> {
    if st.st_mode & S_IFMT == 0 {
        Err(Errno::EOPNOTSUPP)
    } else {
        Ok(())
    }
}

fn chmod_node(thread: &Thread, fd: u64, mode: u64) -> Result<u64> {
    must_be_changeable(thread, fd)?;
    must_not_have(fd, IMMUTABLE | APPEND_ONLY)?;
    let st = stat_of(fd)?;
    must_be_file(&st)?;
    if st.st_mode & S_IFMT == S_IFLNK {
        return Err(Errno::EOPNOTSUPP);
    }
    if is_content(fd, &st) {
        return Err(Errno::EPERM);
    }
    must_own(thread, &st)?;
    let mut mode = mode & 0o7777;
    if mode & SET_GID != 0 && !keeps_set_gid(thread, st.st_gid) {
        mode &= !SET_GID;
    }
    let how = until_when(thread, mode);
    let result = change_fd(thread, fd, Some(&st), Request::Chmod, &[mode, how]);
    path::note_rights();
    result
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
    with_descriptor(thread, dirfd, pathname, flags | CHANGES, |thread, fd| {
        chown_node(thread, fd, uid, gid)
    })
}

/// fchown(2).
pub fn fchown(thread: &Thread, fd: u64, uid: u64, gid: u64) -> Result<u64> {
    must_be_open(fd)?;
    chown_node(thread, fd, uid, gid)
}

/// EBADF for an `O_PATH` descriptor, which gives no right to change the file.
pub fn must_be_open(fd: u64) -> Result<()> {
    let flags = checked(unsafe { syscall2(__NR_fcntl, fd, u64::from(F_GETFL)) })?;
    if flags & u64::from(O_PATH) == 0 {
        Ok(())
    } else {
        Err(Errno::EBADF)
    }
}

fn chown_node(thread: &Thread, fd: u64, uid: u64, gid: u64) -> Result<u64> {
    must_be_changeable(thread, fd)?;
    must_not_have(fd, IMMUTABLE | APPEND_ONLY)?;
    // As of an id that a user name space has not.
    if !is_mapped(&tables().uids, uid as u32) || !is_mapped(&tables().gids, gid as u32) {
        return Err(Errno::EINVAL);
    }
    let st = stat_of(fd)?;
    must_be_file(&st)?;
    may_chown(thread, &st, uid as u32, gid as u32)?;
    let is_kept = uid as u32 == u32::MAX && gid as u32 == u32::MAX;
    if !is_kept && is_process(thread, fd, &st) {
        return Err(Errno::EPERM);
    }
    if changes_nothing(&st, uid as u32, gid as u32) {
        return Ok(0);
    }
    let clears = if keeps_set_gid(thread, st.st_gid) {
        0
    } else {
        CHOWN_CLEARS_SET_GID
    };
    let ids = [uid & 0xffff_ffff, gid & 0xffff_ffff, clears];
    let result = change_fd(thread, fd, Some(&st), Request::Chown, &ids);
    path::note_rights();
    result
}

/// Whether nobody could tell that a change of owner was made: the file has that owner, nobody watches
/// files, and its ctime, which the change would make that of now, is that of now. Archivers give each file
/// that they have just made to whom it belongs already.
fn changes_nothing(st: &linux_raw_sys::general::stat, uid: u32, gid: u32) -> bool {
    const KEEP: u32 = u32::MAX;
    let is_same = [KEEP, st.st_uid].contains(&uid) && [KEEP, st.st_gid].contains(&gid);
    let takes_nothing = st.st_mode & 0o6000 == 0 && tables().capable.load(Relaxed) == 0;
    if !is_same || !takes_nothing || tables().watched.load(Relaxed) != 0 {
        return false;
    }
    // The clock by which files are stamped.
    let mut now = [0u64; 2];
    let (clock, to) = (u64::from(CLOCK_REALTIME_COARSE), now.as_mut_ptr() as u64);
    unsafe { syscall2(__NR_clock_gettime, clock, to) };
    now <= [st.st_ctime, st.st_ctime_nsec]
}

/// Records what is to be said of a file just made, `list` being where its directory's default list is
/// found.
pub fn record(thread: &Thread, fd: u64, ids: [u32; 2], mode: u32, list: Option<u64>) {
    let list = list.map_or(0, |row| row + 1);
    let mode = u64::from(mode);
    let how = until_when(thread, mode);
    let args = [fd, ids[0].into(), ids[1].into(), mode, list, how];
    // As where the zone's owner table has no room: the file is there.
    let _ = thread.ask(Request::Made, &args);
}

/// Takes the capabilities from a file that is about to be written or cut, whoever does it.
#[cold]
#[inline(never)]
pub fn drop_capabilities(thread: &Thread, fd: u64) {
    if marks_of(fd) & IS_CAPABLE != 0 {
        let _ = change_fd(thread, fd, None, Request::Xattr, &[of::DROP_CAPABILITIES]);
    }
}

/// Takes the set-id bits from a file that one of the zone's users cuts, or has them taken by the first
/// write where it is only opened to be written: the kernel would at that write, which nobody sees here.
#[cold]
#[inline(never)]
pub fn clear_set_ids(thread: &Thread, fd: u64, st: &stat, is_cut: bool) {
    // As the kernel, also of who is not in the group (`setattr_should_drop_sgid`).
    let is_member = keeps_set_gid(thread, st.st_gid);
    let is_group_gone = st.st_mode & 0o10 != 0 || !is_member;
    let gone = 0o4000 | if is_group_gone { 0o2000 } else { 0 };
    if st.st_mode & S_IFMT != S_IFREG || st.st_mode & gone == 0 || has(thread, Power::KeepSetId) {
        return;
    }
    let mode = u64::from(st.st_mode & 0o7777);
    let (mode, how) = match is_cut {
        true => (mode & !u64::from(gone), 0),
        false if is_member => (mode, UNTIL_WRITTEN),
        false => (mode, UNTIL_WRITTEN_BY_OTHERS),
    };
    let _ = change_fd(thread, fd, None, Request::Chmod, &[mode, CHMOD_QUIET | how]);
}

/// Of who keeps set-id bits over its writes no more: those of the files that it has open to write go with
/// the next write. Descriptors are given out from below, so a long gap is the end of them.
#[cold]
#[inline(never)]
pub fn let_set_ids_go(thread: &Thread) {
    const GAP: u64 = 64;
    let mut end = GAP;
    let mut fd = 0;
    while fd < end {
        let flags = unsafe { syscall2(__NR_fcntl, fd, u64::from(F_GETFL)) };
        if flags >= 0 {
            end = fd + GAP;
            let writes = flags as u32 & O_ACCMODE != 0 && flags as u32 & O_PATH == 0;
            if writes && let Ok(st) = stat_of(fd) {
                clear_set_ids(thread, fd, &st, false);
            }
        }
        fd += 1;
    }
}

/// What is to become of the set-id bits that a thread gives a file, when somebody writes it: those of who
/// may keep them stay.
pub fn until_when(thread: &Thread, mode: u64) -> u64 {
    if mode & 0o6000 != 0 && !has(thread, Power::KeepSetId) {
        UNTIL_WRITTEN
    } else {
        0
    }
}
