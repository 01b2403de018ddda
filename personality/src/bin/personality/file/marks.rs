//! Files that are immutable or may only be appended to (FS_IOC_SETFLAGS(2const)).
//!
//! On the host that takes a capability. So the ownership table keeps it, and what changes a file or a
//! directory looks here first. Where a zone has never marked one, that is a look at one word.

use super::owners::{Place, owner_of};
use super::{S_IFMT, has, must_be_open, stat_of, with_descriptor};
use crate::arch::{syscall3, syscall5};
use crate::dispatch::checked;
use crate::file::Power;
use crate::memory;
use crate::monitor::tables;
use crate::path::must_be_changeable;
use crate::thread::Thread;
use crate::{Errno, Result};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_personality::mailbox::Request;
pub use picozone_personality::tables::{APPEND_ONLY, IMMUTABLE};

const GET_FLAGS: u64 = 0x8008_6601;
const SET_FLAGS: u64 = 0x4008_6602;
const GET_ATTRIBUTES: u64 = 0x801c_581f;
const SET_ATTRIBUTES: u64 = 0x401c_5820;
/// `FS_IMMUTABLE_FL`, `FS_APPEND_FL`, and the same of `fsx_xflags`.
const FLAGS: [(u32, u64); 2] = [(IMMUTABLE, 0x10), (APPEND_ONLY, 0x20)];
const XFLAGS: [(u32, u64); 2] = [(IMMUTABLE, 0x8), (APPEND_ONLY, 0x10)];
/// Both of the flags.
const MARKS: u64 = 0x30;
/// What `fsx_xflags` and the flags both have: immutable, append-only, sync, noatime, nodump.
const SAME: [(u64, u64); 5] = [
    (0x8, 0x10),
    (0x10, 0x20),
    (0x20, 0x8),
    (0x40, 0x80),
    (0x80, 0x40),
];

/// Whether the zone has ever marked a file.
#[inline]
pub fn has_marks() -> bool {
    tables().marked.load(Relaxed) != 0
}

/// The marks of what a descriptor names, or of the working directory.
#[cold]
#[inline(never)]
pub fn marks_of(fd: u64) -> u32 {
    let mut x = unsafe { core::mem::zeroed::<statx>() };
    let (empty, to) = (tables().empty.as_ptr() as u64, &raw mut x as u64);
    let (flags, mask) = (u64::from(AT_EMPTY_PATH), u64::from(STATX_INO));
    if unsafe { syscall5(__NR_statx, fd, empty, flags, mask, to) } < 0 {
        return 0;
    }
    let dev = super::attributes::makedev(x.stx_dev_major, x.stx_dev_minor);
    match owner_of(Place::of_descriptor(fd), dev, x.stx_ino) {
        Ok(Some(owner)) => owner.marks,
        _ => 0,
    }
}

/// EPERM for what has one of these marks.
#[inline]
pub fn must_not_have(fd: u64, marks: u32) -> Result<()> {
    if has_marks() && marks_of(fd) & marks != 0 {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}

/// The bits of a file's marks among flags of one kind.
fn shown(marks: u32, as_bits: [(u32, u64); 2]) -> u64 {
    let set = as_bits.into_iter().filter(|(mark, _)| marks & mark != 0);
    set.fold(0, |bits, (_, bit)| bits | bit)
}

/// The same as `STATX_ATTR_*`, which are as flags.
pub(super) fn as_attributes(marks: u32) -> u64 {
    shown(marks, FLAGS)
}

/// ioctl(2): flags of files. `None` for other commands.
pub fn ioctl(thread: &Thread, fd: u64, command: u64, argument: u64) -> Option<Result<u64>> {
    Some(match command {
        GET_FLAGS => flags_of(fd).and_then(|flags| memory::write(argument, &flags).map(|()| 0)),
        SET_FLAGS | SET_ATTRIBUTES if let Err(errno) = must_be_open(fd) => Err(errno),
        SET_FLAGS => memory::read::<u32>(argument)
            .and_then(|flags| set_flags(thread, fd, u64::from(flags), u64::from(u32::MAX))),
        GET_ATTRIBUTES => attributes_of(fd)
            .and_then(|attributes| memory::write(argument, &attributes).map(|()| 0)),
        SET_ATTRIBUTES => memory::read::<[u32; 7]>(argument).and_then(|wanted| {
            let [flags, extent, _, project, copied, ..] = wanted;
            set_attributes(thread, fd, u64::from(flags), [extent, project, copied])
        }),
        _ => return None,
    })
}

/// `FS_IOC_GETFLAGS`.
fn flags_of(fd: u64) -> Result<u32> {
    let mut flags = 0u32;
    checked(unsafe { syscall3(__NR_ioctl, fd, GET_FLAGS, &raw mut flags as u64) })?;
    if has_marks() {
        flags |= shown(marks_of(fd), FLAGS) as u32;
    }
    Ok(flags)
}

/// `FS_IOC_FSGETXATTR`: a `struct fsxattr`.
fn attributes_of(fd: u64) -> Result<[u32; 7]> {
    let mut attributes = [0u32; 7];
    checked(unsafe {
        syscall3(
            __NR_ioctl,
            fd,
            GET_ATTRIBUTES,
            attributes.as_mut_ptr() as u64,
        )
    })?;
    if has_marks() {
        attributes[0] |= shown(marks_of(fd), XFLAGS) as u32;
    }
    Ok(attributes)
}

/// Sets those flags that `which` has. By the owner; marks by who may (`vfs_fileattr_set` in the kernel's
/// fs/file_attr.c).
fn set_flags(thread: &Thread, fd: u64, flags: u64, which: u64) -> Result<u64> {
    let st = stat_of(fd)?;
    if ![S_IFREG, S_IFDIR].contains(&(st.st_mode & S_IFMT)) {
        return Err(Errno::ENOTTY);
    }
    must_be_changeable(thread, fd)?;
    if st.st_uid != thread.credentials.uid[3] && !has(thread, Power::Owner) {
        return Err(Errno::EPERM);
    }
    let before = if has_marks() { marks_of(fd) } else { 0 };
    let changed = (shown(before, FLAGS) ^ flags) & which & MARKS;
    if changed != 0 && !has(thread, Power::Immutable) {
        return Err(Errno::EPERM);
    }
    thread.ask(Request::Mark, &[fd, flags, which]).map(|_| 0)
}

/// `FS_IOC_FSSETXATTR`: what there is beside flags, no zone has.
fn set_attributes(thread: &Thread, fd: u64, xflags: u64, others: [u32; 3]) -> Result<u64> {
    // Of extents without a size nothing is meant.
    let [extent, _, copied] = others;
    let sizes = if extent == 0 { 0x1800 } else { 0 } | if copied == 0 { 0x1_0000 } else { 0 };
    let (mut flags, mut which, mut rest) = (0, 0, xflags & !sizes);
    for (x, flag) in SAME {
        which |= flag;
        flags |= if xflags & x == 0 { 0 } else { flag };
        rest &= !x;
    }
    if rest != 0 || others != [0; 3] {
        return Err(Errno::EOPNOTSUPP);
    }
    set_flags(thread, fd, flags, which)
}

/// Bytes of the first `struct file_attr`: 64 bits of flags, then four numbers.
const FIRST: u64 = 24;
const PAGE: u64 = 4096;

/// The flags of file_getattr(2) and file_setattr(2) as those of stat(2), after a look at the size.
fn way(size: u64, flags: u64) -> Result<u64> {
    super::must_know(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    match size {
        _ if size > PAGE => Err(Errno::E2BIG),
        _ if size < FIRST => Err(Errno::EINVAL),
        _ => Ok(flags),
    }
}

/// What no ioctl(2) is for, has no flags to these calls.
fn unsupported(errno: Errno) -> Errno {
    if errno == Errno::ENOTTY {
        Errno::EOPNOTSUPP
    } else {
        errno
    }
}

/// file_getattr(2). The monitor tells the flags: the kernel does not of a descriptor that only names.
pub fn getattr(
    thread: &mut Thread,
    dirfd: u64,
    path: u64,
    [to, size, flags]: [u64; 3],
) -> Result<u64> {
    let flags = way(size, flags)?;
    with_descriptor(thread, dirfd, path, flags, |thread, fd| {
        if fd == dirfd {
            must_be_open(fd)?;
        }
        let flags = thread
            .ask(Request::Mark, &[fd, 0, 0])
            .map_err(unsupported)?;
        let all = flags | shown(if has_marks() { marks_of(fd) } else { 0 }, FLAGS);
        let set = SAME.into_iter().filter(|(_, flag)| all & flag != 0);
        let found = [set.fold(0, |bits, (x, _)| bits | x), 0, 0];
        memory::write(to, &found)?;
        for at in to + FIRST..to + size {
            memory::write(at, &0u8)?;
        }
        Ok(0)
    })
}

/// file_setattr(2).
pub fn setattr(
    thread: &mut Thread,
    dirfd: u64,
    path: u64,
    [from, size, flags]: [u64; 3],
) -> Result<u64> {
    let flags = way(size, flags)?;
    let [low, high, extent, _, project, copied] = memory::read::<[u32; 6]>(from)?;
    for at in from + FIRST..from + size {
        if memory::read::<u8>(at)? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    let xflags = u64::from(high) << 32 | u64::from(low);
    with_descriptor(thread, dirfd, path, flags, |thread, fd| {
        if fd == dirfd {
            must_be_open(fd)?;
        }
        set_attributes(thread, fd, xflags, [extent, project, copied]).map_err(unsupported)
    })
}
