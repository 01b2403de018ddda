//! What the zone mounts itself: mount(2), umount2(2), and what the kernel does not know of it.
//!
//! To the kernel all of it is directories of trees that the zone may change. So what is read-only is
//! kept here, by paths and by what a descriptor's path tells.

use super::calls::{PROC, system_of, write_served};
use super::reach::{Opened, open_anywhere, open_confined};
use super::walk::{row_at, walk, zone_path_of};
use super::{AT_CWD, NOFOLLOW, PATH_FLAGS, close, is_exclusive, mount_rows};
use crate::arch::{syscall2, syscall3};
use crate::dispatch::checked;
use crate::file::{self, Power};
use crate::memory::{self, PathRoom};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_fsmap::{Last, MountRow, PathBuf};
use picozone_personality::mailbox::{Request, TEXT_MAX};

const MS_BIND: u64 = 4096;
const MS_MOVE: u64 = 8192;
const MS_REMOUNT: u64 = 32;
const MS_NOUSER: u64 = 1 << 31;
/// `MS_SHARED`, `MS_PRIVATE`, `MS_SLAVE`, `MS_UNBINDABLE`.
const CHANGES: u64 = 1 << 20 | 1 << 18 | 1 << 19 | 1 << 17;
const MAGIC: u64 = 0xc0ed_0000;
const MAGIC_MASK: u64 = 0xffff_0000;

/// mount(2).
pub fn mount(thread: &mut Thread, [source, target, fstype, flags, data]: [u64; 5]) -> Result<u64> {
    // What cannot be read is told before anything of the target (mount(2) in the kernel's fs/namespace.c).
    let mut room = PathRoom::new();
    for text in [fstype, source] {
        if text != 0 {
            let too_long = |errno| {
                if errno == Errno::ENAMETOOLONG {
                    Errno::EINVAL
                } else {
                    errno
                }
            };
            room.read(text).map_err(too_long)?;
        }
    }
    if data != 0 {
        memory::read::<u8>(data)?;
    }
    let mut at = PathBuf::new();
    let target = room.read(target)?;
    if thread.process().is_client {
        // It mounts nothing, whatever it may; but that a target is missing is said first.
        let (at, name) = (AT_FDCWD as u64, target.as_ptr() as u64);
        let args = [at, name, 0, u64::from(AT_EACCESS), 0, 0];
        crate::clients::forward(thread, __NR_faccessat2, args)?;
    } else {
        let found = walk(thread, AT_CWD as u64, target, Last::Follow, &mut at)?;
        if !found.exists {
            return Err(Errno::ENOENT);
        }
        if found.is_monitor {
            must_be_there(thread, target)?;
        }
    }
    // As old programs mark it.
    let flags = if flags & MAGIC_MASK == MAGIC {
        flags & !MAGIC_MASK
    } else {
        flags
    };
    if flags & MS_NOUSER != 0 {
        return Err(Errno::EINVAL);
    }
    if !file::has(thread, Power::Administer) || thread.process().is_client {
        return Err(Errno::EPERM);
    }
    // One kind, and nothing but that it is for what lies below too (flags_to_propagation_type()).
    const MS_REC: u64 = 1 << 14;
    const MS_SILENT: u64 = 1 << 15;
    let kind = flags & !(MS_REC | MS_SILENT);
    let changes = flags & (MS_REMOUNT | MS_BIND) == 0 && flags & CHANGES != 0;
    if changes && (kind & !CHANGES != 0 || !kind.is_power_of_two()) {
        return Err(Errno::EINVAL);
    }
    let texts = &mut thread.mailbox().b;
    let mut used = 0;
    let is_from_path = flags & MS_REMOUNT == 0
        && (flags & MS_BIND != 0 || (flags & MS_MOVE != 0 && flags & CHANGES == 0));
    let mut room = PathRoom::new();
    if is_from_path {
        let path = if source == 0 { c"" } else { room.read(source)? };
        if path.is_empty() {
            return Err(Errno::EINVAL);
        }
        let mut from = PathBuf::new();
        let found = walk(thread, AT_CWD as u64, path, Last::Follow, &mut from)?;
        if !found.exists {
            return Err(Errno::ENOENT);
        }
        add_text(texts, &mut used, from.as_bytes())?;
    } else {
        add_guest_text(texts, &mut used, source)?;
    }
    if fstype == 0 && flags & (MS_REMOUNT | MS_BIND | MS_MOVE | CHANGES) == 0 {
        return Err(Errno::EINVAL);
    }
    add_guest_text(texts, &mut used, fstype)?;
    add_guest_text(texts, &mut used, data)?;
    thread.ask_about(Request::Mount, at.as_bytes(), &[flags])
}

/// ENOENT for what the monitor does not serve.
fn must_be_there(thread: &Thread, path: &CStr) -> Result<()> {
    let opened = open_confined(thread, AT_CWD as u64, path, PATH_FLAGS, 0, &mut None);
    if let Ok(Opened::Descriptor(fd)) = opened {
        close(fd);
    }
    opened.map(drop)
}

fn add_text(to: &mut [u8; TEXT_MAX], used: &mut usize, text: &[u8]) -> Result<()> {
    let end = *used + text.len();
    let room = to.get_mut(*used..=end).ok_or(Errno::ENAMETOOLONG)?;
    let (room, nul) = room.split_at_mut(text.len());
    room.copy_from_slice(text);
    nul[0] = 0;
    *used = end + 1;
    Ok(())
}

fn add_guest_text(to: &mut [u8; TEXT_MAX], used: &mut usize, from: u64) -> Result<()> {
    let mut room = PathRoom::new();
    let text = if from == 0 { c"" } else { room.read(from)? };
    add_text(to, used, text.to_bytes())
}

/// umount2(2).
pub fn umount(thread: &mut Thread, target: u64, flags: u64) -> Result<u64> {
    const MNT_FORCE: u64 = 1;
    const MNT_DETACH: u64 = 2;
    const MNT_EXPIRE: u64 = 4;
    const UMOUNT_NOFOLLOW: u64 = 8;
    let flags = u64::from(flags as u32);
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let last = if flags & UMOUNT_NOFOLLOW == 0 {
        Last::Follow
    } else {
        Last::NoFollow
    };
    let mut room = PathRoom::new();
    let mut at = PathBuf::new();
    let found = walk(thread, AT_CWD as u64, room.read(target)?, last, &mut at)?;
    if !found.exists {
        return Err(Errno::ENOENT);
    }
    if !file::has(thread, Power::Administer) {
        return Err(Errno::EPERM);
    }
    if flags & MNT_EXPIRE != 0 && flags & (MNT_FORCE | MNT_DETACH) != 0 {
        return Err(Errno::EINVAL);
    }
    thread.ask_about(Request::Umount, at.as_bytes(), &[flags])
}

/// The mount that a descriptor lies in.
pub fn row_of(thread: &Thread, fd: u64) -> Option<&'static MountRow> {
    let mut at = PathBuf::new();
    zone_path_of(thread, fd, &mut at).ok()?;
    row_at(at.as_bytes())
}

/// The mount in which lies what a path names, or a descriptor if there is none.
#[cold]
pub fn mount_of(
    thread: &Thread,
    dirfd: u64,
    pathname: u64,
    is_nofollow: bool,
) -> Result<Option<&'static MountRow>> {
    let mut room = PathRoom::new();
    let path = room.read_if_any(pathname)?;
    if path.is_empty() {
        return Ok(row_of(thread, dirfd));
    }
    let last = if is_nofollow {
        Last::NoFollow
    } else {
        Last::Follow
    };
    let found = walk(thread, dirfd, path, last, &mut PathBuf::new())?;
    Ok(mount_rows().get(found.mount))
}

/// Whether a mount is to be read-only that the kernel would let change.
pub fn has_held_read_only() -> bool {
    tables().held_read_only.load(Relaxed) != 0
}

/// Whether a descriptor lies in such a mount.
pub fn is_read_only(thread: &Thread, fd: u64) -> bool {
    has_held_read_only() && row_of(thread, fd).is_some_and(MountRow::is_held_read_only)
}

/// EROFS if a descriptor lies in such a mount.
pub fn must_be_changeable(thread: &Thread, fd: u64) -> Result<()> {
    if is_read_only(thread, fd) {
        Err(Errno::EROFS)
    } else {
        Ok(())
    }
}

/// Whether an open with these flags may change what a path names.
///
/// # Errors
/// EROFS: it is mounted read-only.
#[inline]
pub(super) fn must_be_writable(thread: &Thread, dirfd: u64, path: &CStr, flags: u64) -> Result<()> {
    let changes = u64::from(O_WRONLY | O_RDWR | O_CREAT | O_TRUNC);
    if flags & changes == 0 || flags & u64::from(O_PATH) != 0 || !has_held_read_only() {
        return Ok(());
    }
    look_whether_writable(thread, dirfd, path, flags)
}

#[cold]
#[inline(never)]
fn look_whether_writable(thread: &Thread, dirfd: u64, path: &CStr, flags: u64) -> Result<()> {
    let mut at = PathBuf::new();
    let Ok(found) = walk(thread, dirfd, path, Last::Follow, &mut at) else {
        // The open itself says why.
        return Ok(());
    };
    let row = mount_rows().get(found.mount);
    if !row.is_some_and(MountRow::is_held_read_only) {
        return Ok(());
    }
    let writes = flags & u64::from(O_WRONLY | O_RDWR | O_TRUNC) != 0;
    let creates = flags & u64::from(O_CREAT) != 0;
    match found.exists {
        true if is_exclusive(flags) => Err(Errno::EEXIST),
        true if !writes => Ok(()),
        // What is written to is not the file system.
        true => match is_special(thread, dirfd, path) {
            Ok(true) => Ok(()),
            // Of what the monitor serves there is more to be known; the open itself says why.
            Err(errno) if is_served(row) && (errno != Errno::ENOENT || !creates) => Ok(()),
            _ => Err(Errno::EROFS),
        },
        false => Err(Errno::EROFS),
    }
}

fn is_served(row: Option<&MountRow>) -> bool {
    row.is_some_and(MountRow::is_monitor)
}

/// Whether a path names a FIFO, a socket or a device.
fn is_special(thread: &Thread, dirfd: u64, path: &CStr) -> Result<bool> {
    let fd = open_anywhere(thread, dirfd, path, PATH_FLAGS, 0, &mut None)?;
    let st = file::stat_of(fd);
    close(fd);
    st.map(|st| !matches!(st.st_mode & S_IFMT, S_IFREG | S_IFDIR | S_IFLNK))
}

/// Whether a path leads into such a mount.
pub fn leads_to_read_only(thread: &Thread, dirfd: u64, pathname: u64, is_nofollow: bool) -> bool {
    has_held_read_only()
        && mount_of(thread, dirfd, pathname, is_nofollow)
            .is_ok_and(|row| row.is_some_and(MountRow::is_held_read_only))
}

/// open_tree(2), fspick(2). Without `OPEN_TREE_CLONE`, open_tree is an open.
#[inline(never)]
pub fn open_tree(
    thread: &mut Thread,
    nr: u32,
    dirfd: u64,
    pathname: u64,
    flags: u64,
) -> Result<u64> {
    const CLONE: u64 = 1;
    const RECURSIVE: u64 = 0x8000;
    const PICK: u64 = 0xf;
    let flags = u64::from(flags as u32);
    let lookup = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
    let tree = CLONE | RECURSIVE | u64::from(O_CLOEXEC | lookup);
    let is_pick = nr == __NR_fspick;
    let known = if is_pick { PICK } else { tree };
    let copies = is_pick || flags & CLONE != 0;
    if flags & !known != 0 || (!copies && flags & RECURSIVE != 0) {
        return Err(Errno::EINVAL);
    }
    if copies && !file::has(thread, Power::Administer) {
        return Err(Errno::EPERM);
    }
    // FSPICK_SYMLINK_NOFOLLOW, FSPICK_EMPTY_PATH.
    let (nofollow, empty) = if is_pick {
        (flags & 2 != 0, flags & 8 != 0)
    } else {
        (
            flags & u64::from(AT_SYMLINK_NOFOLLOW) != 0,
            flags & u64::from(AT_EMPTY_PATH) != 0,
        )
    };
    let mut how = u64::from(O_PATH | if nofollow { O_NOFOLLOW } else { 0 });
    if copies || flags & u64::from(O_CLOEXEC) != 0 {
        how |= u64::from(O_CLOEXEC);
    }
    let mut room = PathRoom::new();
    let path = room.read(pathname)?;
    let fd = match path.is_empty() {
        false => super::open(thread, dirfd, pathname, how, 0)?,
        true if !empty => return Err(Errno::ENOENT),
        true if dirfd as i32 == AT_FDCWD => super::open_text(thread, c".", how)?,
        true => {
            const F_DUPFD: u32 = 0;
            let close_on_exec = how & u64::from(O_CLOEXEC) != 0;
            let command = if close_on_exec {
                F_DUPFD_CLOEXEC
            } else {
                F_DUPFD
            };
            if file::is_reserved(dirfd) {
                return Err(Errno::EBADF);
            }
            checked(unsafe { syscall3(__NR_fcntl, dirfd, u64::from(command), 0) })?
        }
    };
    if copies {
        let is_mount = super::detached::is_mount_at(thread, fd);
        close(fd);
        let lookup = if nofollow { NOFOLLOW } else { 0 };
        if !is_pick {
            let is_cloexec = flags & u64::from(O_CLOEXEC) != 0;
            let is_recursive = flags & RECURSIVE != 0;
            let from = (dirfd, pathname, lookup);
            return super::detached::clone_tree(thread, from, is_recursive, is_cloexec);
        }
        if !is_mount {
            return Err(Errno::EINVAL);
        }
        return super::detached::pick(thread, dirfd, pathname, lookup, flags & 1 != 0);
    }
    Ok(fd)
}

/// open_tree_attr(2): open_tree(2), and mount_setattr(2) on what that gave.
#[inline(never)]
pub fn open_tree_attr(thread: &mut Thread, nr: u32, args: [u64; 6]) -> Result<u64> {
    const RECURSIVE: u64 = 0x8000;
    let [dirfd, pathname, flags, attributes, size, _] = args;
    if attributes == 0 && size != 0 {
        return Err(Errno::EINVAL);
    }
    let fd = open_tree(thread, __NR_open_tree, dirfd, pathname, flags)?;
    if attributes == 0 {
        return Ok(fd);
    }
    let on = flags & RECURSIVE | u64::from(AT_EMPTY_PATH);
    let args = [fd, 0, on, attributes, size, 0];
    match super::detached::mount_setattr(thread, nr, args) {
        Ok(_) => Ok(fd),
        Err(errno) => {
            close(fd);
            Err(errno)
        }
    }
}

/// Where type and flags stand in `struct statfs`.
const F_TYPE: u64 = 0;
const F_FLAGS: u64 = 80;

fn write_shown(row: &MountRow, to: u64) -> Result<u64> {
    if row.magic != 0 {
        memory::write(to + F_TYPE, &row.magic)?;
    }
    if row.is_added() {
        memory::write(to + F_FLAGS, &u64::from(row.flags))?;
    }
    Ok(0)
}

/// Puts into `struct statfs` what the zone is to see of the mount that a path lies in.
pub(super) fn show(thread: &Thread, dirfd: u64, path: &CStr, to: u64) -> Result<u64> {
    let mut at = PathBuf::new();
    let found = walk(thread, dirfd, path, Last::Follow, &mut at)?;
    mount_rows()
        .get(found.mount)
        .map_or(Ok(0), |row| write_shown(row, to))
}

/// fstatfs(2).
pub fn fstatfs(thread: &mut Thread, fd: u64, to: u64) -> Result<u64> {
    let mut at = PathBuf::new();
    let has_path = zone_path_of(thread, fd, &mut at).is_ok();
    if has_path && let Some(result) = write_served(fd, at.as_bytes(), to) {
        return result;
    }
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    let got = unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) };
    if got >= 0 && file::is_content(fd, &st) {
        return memory::write(to, &system_of(PROC)).map(|()| 0);
    }
    checked(unsafe { syscall2(__NR_fstatfs, fd, to) })?;
    super::quota::show_limit(fd, to)?;
    let row = row_at(at.as_bytes()).filter(|_| has_path);
    row.map_or(Ok(0), |row| write_shown(row, to))
}
