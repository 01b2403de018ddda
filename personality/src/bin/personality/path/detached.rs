//! Mounts by descriptor: there are none in a zone. What is wrong with the arguments is told as natively.

use super::{mount_of, open, open_text};
use crate::arch::{syscall1, syscall2};
use crate::dispatch::{checked, refuse};
use crate::file::{self, EMPTY_PATH, NOFOLLOW, Power};
use crate::memory::{self, PathRoom};
use crate::thread::Thread;
use crate::{Errno, Result};
use linux_raw_sys::general::*;

fn must_administer(thread: &Thread) -> Result<()> {
    if file::has(thread, Power::Administer) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Looks up what a path, or a descriptor without one, names, and tells whether a mount begins there.
fn is_mount(thread: &mut Thread, dirfd: u64, pathname: u64, flags: u64) -> Result<bool> {
    let mut room = PathRoom::new();
    let is_nofollow = flags & NOFOLLOW != 0;
    let is_empty = pathname == 0 || room.read(pathname)?.is_empty();
    let row = match is_empty {
        true if flags & EMPTY_PATH == 0 => {
            return Err(if pathname == 0 {
                Errno::EFAULT
            } else {
                Errno::ENOENT
            });
        }
        true if dirfd as i32 != AT_FDCWD => {
            file::must_be_open(dirfd)?;
            return Ok(is_mount_at(thread, dirfd));
        }
        _ => mount_of(
            thread,
            dirfd,
            if is_empty { 0 } else { pathname },
            is_nofollow,
        ),
    };
    let how = u64::from(O_PATH | O_CLOEXEC | if is_nofollow { O_NOFOLLOW } else { 0 });
    let fd = if is_empty {
        open_text(thread, c".", how)?
    } else {
        open(thread, dirfd, pathname, how, 0)?
    };
    let begins = row.ok().flatten().is_some_and(|row| begins(row, fd));
    unsafe { syscall1(__NR_close, fd) };
    Ok(begins)
}

/// Whether a mount begins at what a descriptor names.
pub(super) fn is_mount_at(thread: &Thread, fd: u64) -> bool {
    super::row_of(thread, fd).is_some_and(|row| begins(row, fd))
}

fn begins(row: &picozone_fsmap::MountRow, fd: u64) -> bool {
    let st = file::stat_of(fd);
    st.is_ok_and(|st| (row.root_dev, row.root_ino) == (st.st_dev, st.st_ino))
}

/// fsopen(2).
#[inline(never)]
pub fn fsopen(thread: &Thread, nr: u32, name: u64, flags: u64) -> Result<u64> {
    const CLOSE_ON_EXEC: u32 = 1;
    const BY_NAME: u64 = 1;
    must_administer(thread)?;
    if flags as u32 & !CLOSE_ON_EXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let mut room = PathRoom::new();
    let name = room.read(name)?.as_ptr() as u64;
    match checked(unsafe { syscall2(__NR_sysfs, BY_NAME, name) }) {
        Ok(_) => refuse(nr),
        Err(_) => Err(Errno::ENODEV),
    }
}

/// fsconfig(2): no descriptor is one of fsopen(2).
#[inline(never)]
pub fn fsconfig([fd, command, key, value, extra]: [u64; 5]) -> Result<u64> {
    const BLOB_MAX: i32 = 1 << 20;
    let (has_key, has_value, extra) = (key != 0, value != 0, extra as i32);
    let is_right = fd as i32 >= 0
        && match command as u32 {
            // A flag.
            0 => has_key && !has_value && extra == 0,
            // A text.
            1 => has_key && has_value && extra == 0,
            // Bytes.
            2 => has_key && has_value && extra > 0 && extra <= BLOB_MAX,
            // A path.
            3 | 4 => has_key && has_value && (extra == AT_FDCWD || extra >= 0),
            // A descriptor.
            5 => has_key && !has_value && extra >= 0,
            // Make it, change it, make a new one.
            6..=8 => !has_key && !has_value && extra == 0,
            _ => return Err(Errno::EOPNOTSUPP),
        };
    if !is_right {
        return Err(Errno::EINVAL);
    }
    file::must_be_open(fd).and(Err(Errno::EINVAL))
}

/// Flags of a mount: one of the ways to keep access times, what is forbidden there, and ids of its own.
const ATTRIBUTES: u64 = 0x20_00ff;
const IDS: u64 = 0x10_0000;
const TIMES: u64 = 0x70;

/// fsmount(2).
#[inline(never)]
pub fn fsmount(thread: &Thread, fd: u64, flags: u64, attributes: u64) -> Result<u64> {
    const CLOSE_ON_EXEC: u32 = 1;
    must_administer(thread)?;
    let attributes = u64::from(attributes as u32);
    let is_right = flags as u32 & !CLOSE_ON_EXEC == 0
        && attributes & !ATTRIBUTES == 0
        && matches!(attributes & TIMES, 0 | 0x10 | 0x20);
    if !is_right {
        return Err(Errno::EINVAL);
    }
    file::must_be_open(fd).and(Err(Errno::EINVAL))
}

/// move_mount(2).
#[inline(never)]
pub fn move_mount(thread: &mut Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    const FLAGS: u32 = 0x377;
    const GROUP: u32 = 0x100;
    const BENEATH: u32 = 0x200;
    const FROM_FOLLOW: u32 = 1;
    const FROM_EMPTY: u32 = 4;
    const TO_FOLLOW: u32 = 0x10;
    const TO_EMPTY: u32 = 0x40;
    let [from_dir, from, to_dir, to, flags, _] = args;
    let flags = flags as u32;
    must_administer(thread)?;
    if flags & !FLAGS != 0 || flags & (GROUP | BENEATH) == GROUP | BENEATH {
        return Err(Errno::EINVAL);
    }
    let lookup = |follow: u32, empty: u32| {
        let nofollow = if flags & follow == 0 { NOFOLLOW } else { 0 };
        nofollow | if flags & empty == 0 { 0 } else { EMPTY_PATH }
    };
    is_mount(thread, to_dir, to, lookup(TO_FOLLOW, TO_EMPTY))?;
    if is_mount(thread, from_dir, from, lookup(FROM_FOLLOW, FROM_EMPTY))? {
        refuse(nr)
    } else {
        Err(Errno::EINVAL)
    }
}

/// mount_setattr(2), open_tree_attr(2) which makes a tree of its own first.
#[inline(never)]
pub fn mount_setattr(thread: &mut Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    const RECURSIVE: u64 = 0x8000;
    const FLAGS: u64 = RECURSIVE | EMPTY_PATH | NOFOLLOW | AT_NO_AUTOMOUNT as u64;
    const SIZE: u64 = 32;
    const PAGE: u64 = 4096;
    /// Unbindable, private, slave, shared.
    const PROPAGATIONS: u64 = 0xf << 17;
    let [dirfd, pathname, flags, from, size, _] = args;
    let flags = u64::from(flags as u32);
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    match size {
        ..SIZE => return Err(Errno::EINVAL),
        SIZE..=PAGE => {}
        _ => return Err(Errno::E2BIG),
    }
    must_administer(thread)?;
    let [set, clear, propagation, _] = memory::read::<[u64; 4]>(from)?;
    for at in SIZE..size {
        if memory::read::<u8>(from + at)? != 0 {
            return Err(Errno::E2BIG);
        }
    }
    if (set, clear, propagation) == (0, 0, 0) {
        return Ok(0);
    }
    let is_one = propagation & !PROPAGATIONS == 0 && propagation.count_ones() <= 1;
    // Access times are changed as a whole.
    let times = if clear & TIMES == 0 {
        set & TIMES == 0
    } else {
        clear & TIMES == TIMES && matches!(set & TIMES, 0 | 0x10 | 0x20)
    };
    if (set | clear) & !(ATTRIBUTES | IDS) != 0 || !is_one || !times {
        return Err(Errno::EINVAL);
    }
    if is_mount(thread, dirfd, pathname, flags)? {
        refuse(nr)
    } else {
        Err(Errno::EINVAL)
    }
}
