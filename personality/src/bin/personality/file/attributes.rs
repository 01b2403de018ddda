//! What stat(2) and its kin say.

use super::lists::{self, Lists};
use super::marks::{self, APPEND_ONLY, IMMUTABLE};
use super::owners::{Place, Replaced, ids_to_zone, origin_of, owner_of};
use super::{NOFOLLOW, S_IFMT, is_reserved, must_know, permits, with_node};
use crate::arch::{syscall2, syscall3, syscall4, syscall5};
use crate::dispatch::checked;
use crate::memory;
use crate::monitor::tables;
use crate::path::{self, Named, Room, Told};
use crate::thread::Thread;
use crate::{Errno, Result};
use core::mem::MaybeUninit;
use linux_raw_sys::general::*;
use picozone_fsmap::MountRow;
use picozone_personality::capabilities::FilePrivileges;
use picozone_personality::layout::DIRECTORY_MODE;
use picozone_personality::mailbox::{ONLY_NODES, Request};
use picozone_personality::plans::FileId;
use picozone_personality::tables::{FIRST_UNIQUE, NO_MOUNT, UNTIL_WRITTEN, mount_id};
use picozone_personality::written::version;

pub(super) fn stat_to_zone(fd: u64, st: &mut linux_raw_sys::general::stat) {
    // A descriptor's file is not replaced.
    let _ = place_to_zone(Place::of_descriptor(fd), st);
}

#[inline]
fn place_to_zone(
    place: Place,
    st: &mut linux_raw_sys::general::stat,
) -> core::result::Result<(), Replaced> {
    if let Some(owner) = owner_of(place, st.st_dev, st.st_ino)? {
        st.st_uid = owner.uid;
        st.st_gid = owner.gid;
        (st.st_mode, st.st_rdev) = (owner.mode, owner.rdev);
        if owner.marks & UNTIL_WRITTEN != 0 {
            let now = version(st.st_mtime, st.st_mtime_nsec, st.st_size as u64);
            (st.st_mode, st.st_rdev) = (owner.mode_at(now), 0);
        }
        Lists::of(&owner).put(st);
    } else {
        (st.st_uid, st.st_gid) = ids_to_zone(st.st_uid, st.st_gid);
    }
    if path::has_layers()
        && let Some(origin) = origin_of(place, st.st_dev, st.st_ino)
    {
        (st.st_dev, st.st_ino) = (origin.dev, origin.ino);
        st.st_nlink = origin.count(st.st_nlink);
    }
    Ok(())
}

/// fstat(2).
pub fn fstat(thread: &Thread, fd: u64, to: u64) -> Result<u64> {
    if is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    write_opened(thread, fd, to)?;
    Ok(0)
}

/// Gives a guest the attributes of a descriptor.
#[inline]
fn write_opened(thread: &Thread, fd: u64, to: u64) -> Result<()> {
    let mut st = MaybeUninit::uninit();
    lists::write(to, stat_in_zone(thread, fd, &mut st)?)
}

/// Attributes of a descriptor in the zone's terms.
pub fn stat_of(fd: u64) -> Result<linux_raw_sys::general::stat> {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    checked(unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) })?;
    stat_to_zone(fd, &mut st);
    Ok(st)
}

/// The same of the working directory, if that is none of the monitor's.
pub fn stat_of_cwd() -> Option<linux_raw_sys::general::stat> {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    let (cwd, to) = (AT_FDCWD as u64, &raw mut st as u64);
    let empty = tables().empty.as_ptr() as u64;
    let got = unsafe { syscall4(__NR_newfstatat, cwd, empty, to, u64::from(AT_EMPTY_PATH)) };
    if got < 0 || st.st_mode == DIRECTORY_MODE {
        return None;
    }
    stat_to_zone(cwd, &mut st);
    Some(st)
}

/// What kind of file a descriptor is one of (`S_IFMT`).
pub fn kind_of(fd: u64) -> Option<u32> {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    let got = unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) };
    (got >= 0).then_some(st.st_mode & S_IFMT)
}

/// What tells the content of a file.
pub fn id_of(fd: u64) -> Option<FileId> {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    checked(unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) }).ok()?;
    Some(id_in(&st))
}

fn id_in(st: &linux_raw_sys::general::stat) -> FileId {
    FileId {
        dev: st.st_dev,
        ino: st.st_ino,
        size: st.st_size,
        seconds: st.st_ctime as i64,
        nanoseconds: st.st_ctime_nsec as i64,
    }
}

/// Owner and mode of a program, if a descriptor is that file, unchanged, and the thread may execute it.
pub fn program(thread: &Thread, fd: u64, id: &FileId) -> Option<FilePrivileges> {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    if unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) } < 0 {
        return None;
    }
    let found = id_in(&st);
    stat_to_zone(fd, &mut st);
    // Whether its owner is in the zone's map, the monitor looks.
    if st.st_mode & 0o6000 != 0 && tables().uids.is_closed != 0 {
        return None;
    }
    let is_program = found == *id && st.st_mode & S_IFMT == 0o100_000 && permits(thread, &st, 1);
    is_program.then_some(FilePrivileges {
        uid: st.st_uid,
        gid: st.st_gid,
        mode: st.st_mode,
        ..FilePrivileges::default()
    })
}

/// The same in `room`, where the descriptor may be one of a directory of the monitor's. What asks most
/// often gives room, so that no attributes are copied on the way.
pub fn stat_in_zone<'r>(
    thread: &Thread,
    fd: u64,
    room: &'r mut MaybeUninit<linux_raw_sys::general::stat>,
) -> Result<&'r mut linux_raw_sys::general::stat> {
    checked(unsafe { syscall2(__NR_fstat, fd, room.as_mut_ptr() as u64) })?;
    let st = unsafe { room.assume_init_mut() };
    let mut zone = path::served_path(thread, fd, st);
    if zone.is_some()
        && let Ok(Some(x)) = monitor_stat(thread, &mut zone, NOFOLLOW)
    {
        *st = stat_from(&x);
    } else if is_of_proc(fd, st)
        && let Some(x) = opened_stat(thread, fd)
    {
        *st = stat_from(&x);
    } else {
        stat_to_zone(fd, st);
    }
    Ok(st)
}

/// Whether a descriptor has the looks of a file of `/proc`: of what the monitor makes, or of the kernel's,
/// which has no device, no size and small blocks.
fn is_of_proc(fd: u64, st: &linux_raw_sys::general::stat) -> bool {
    let is_kernels = (st.st_size, st.st_blksize, major_minor(st.st_dev).0) == (0, 1024, 0)
        && st.st_mode & S_IFMT == S_IFREG;
    is_kernels || is_content(fd, st)
}

/// What the monitor says of an open file of `/proc`, if it is one.
#[cold]
#[inline(never)]
fn opened_stat(thread: &Thread, fd: u64) -> Option<linux_raw_sys::general::statx> {
    thread.ask(Request::StatOpened, &[fd]).ok()?;
    Some(told(thread))
}

/// Whether a descriptor has the looks of what the monitor gives as a file of `/proc`: nothing in it can be
/// changed, and it has no name. A guest may make such a thing too, and is told the same of it.
pub fn is_content(fd: u64, st: &linux_raw_sys::general::stat) -> bool {
    const MODE: u32 = 0o100_444;
    (st.st_mode, st.st_nlink) == (MODE, 0) && is_sealed(fd)
}

fn is_sealed(fd: u64) -> bool {
    const SEALS: i64 = 0x1f;
    unsafe { syscall2(__NR_fcntl, fd, F_GET_SEALS) == SEALS }
}

/// lseek(2). To the beginning: a file of `/proc` that the monitor has made says from there on what is so now;
/// one of which it says nothing more stays as it is.
pub fn seek(thread: &Thread, fd: u64, offset: u64, whence: u64) -> Result<u64> {
    if offset == 0 && whence as u32 == 0 && is_sealed(fd) {
        renew(thread, fd);
    }
    checked(unsafe { syscall3(__NR_lseek, fd, offset, whence) })
}

#[cold]
#[inline(never)]
fn renew(thread: &Thread, fd: u64) {
    let _ = thread.ask(Request::Renew, &[fd]);
}

/// Not in linux_raw_sys.
const F_GET_SEALS: u64 = 1034;

/// What the monitor says of the path in the room; nothing if that leads elsewhere now.
pub(super) fn monitor_stat(
    thread: &Thread,
    zone: &mut Room,
    flags: u64,
) -> Result<Option<linux_raw_sys::general::statx>> {
    match path::ask_served(thread, Request::Stat, zone, flags, 0)? {
        Told::Elsewhere => Ok(None),
        Told::Answer(_) => Ok(Some(told(thread))),
    }
}

/// Attributes of the monitor's node in the room, which is replaced where the path leads elsewhere;
/// nothing of what is no such node.
#[cold]
#[inline(never)]
pub(super) fn node_stat(
    thread: &Thread,
    zone: &mut Room,
    flags: u64,
) -> Result<Option<linux_raw_sys::general::stat>> {
    match path::ask_served(thread, Request::Stat, zone, flags, ONLY_NODES)? {
        Told::Elsewhere | Told::Answer(0) => Ok(None),
        Told::Answer(_) => Ok(Some(stat_from(&told(thread)))),
    }
}

/// The `struct statx` in the mailbox.
fn told(thread: &Thread) -> linux_raw_sys::general::statx {
    unsafe {
        (thread.mailbox().b.as_ptr() as *const linux_raw_sys::general::statx).read_unaligned()
    }
}

fn stat_from(x: &linux_raw_sys::general::statx) -> linux_raw_sys::general::stat {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    st.st_dev = makedev(x.stx_dev_major, x.stx_dev_minor);
    st.st_ino = x.stx_ino;
    st.st_mode = u32::from(x.stx_mode);
    st.st_nlink = u64::from(x.stx_nlink);
    st.st_uid = x.stx_uid;
    st.st_gid = x.stx_gid;
    st.st_rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor);
    st.st_size = x.stx_size as i64;
    st.st_blksize = i64::from(x.stx_blksize);
    st.st_blocks = x.stx_blocks as i64;
    st.st_atime = x.stx_atime.tv_sec as u64;
    st.st_atime_nsec = u64::from(x.stx_atime.tv_nsec);
    st.st_mtime = x.stx_mtime.tv_sec as u64;
    st.st_mtime_nsec = u64::from(x.stx_mtime.tv_nsec);
    st.st_ctime = x.stx_ctime.tv_sec as u64;
    st.st_ctime_nsec = u64::from(x.stx_ctime.tv_nsec);
    st
}

fn major_minor(rdev: u64) -> (u32, u32) {
    let rdev = rdev as u32;
    (rdev >> 8 & 0xfff, rdev & 0xff | rdev >> 12 & 0xf_ff00)
}

pub(super) fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Attributes of a name in a directory, as the quick way gives them, in `room`; nothing of links that are
/// to be followed, and of what the monitor serves.
#[inline]
pub(super) fn stat_named<'r>(
    thread: &Thread,
    named: &Named,
    flags: u64,
    room: &'r mut MaybeUninit<linux_raw_sys::general::stat>,
) -> Option<Result<&'r mut linux_raw_sys::general::stat>> {
    let to = room.as_mut_ptr() as u64;
    for _ in 0..LOOKS {
        let got = unsafe { syscall4(__NR_newfstatat, named.fd(), named.name(), to, NOFOLLOW) };
        match checked(got) {
            Ok(_) => {}
            Err(Errno::ENOENT) if named.is_kernels(thread) => return Some(Err(Errno::ENOENT)),
            Err(_) => return None,
        }
        let st = unsafe { room.assume_init_mut() };
        if is_for_the_long_way(st.st_mode, flags, st.st_dev, st.st_ino) {
            return None;
        }
        if place_to_zone(Place::of(named), st).is_ok() {
            return Some(Ok(unsafe { room.assume_init_mut() }));
        }
    }
    None
}

/// How often a name is looked at: the first look may find that what is known was another file's.
const LOOKS: usize = 2;

#[inline]
fn is_for_the_long_way(mode: u32, flags: u64, dev: u64, ino: u64) -> bool {
    let is_link = mode & S_IFMT == S_IFLNK;
    // What a link of a copy-on-write layer is, its text says.
    let may_be_other = || path::has_layers() || path::is_stand_in(dev, ino);
    mode == DIRECTORY_MODE || is_link && (flags & NOFOLLOW == 0 || may_be_other())
}

/// stat(2), lstat(2), newfstatat(2).
pub fn stat(thread: &mut Thread, dirfd: u64, pathname: u64, to: u64, flags: u64) -> Result<u64> {
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
    must_know(flags, known)?;
    with_node(
        thread,
        dirfd,
        pathname,
        flags,
        |thread, named| {
            let mut st = MaybeUninit::uninit();
            let found = stat_named(thread, named, flags, &mut st)?;
            Some(found.and_then(|st| lists::write(to, st)))
        },
        |thread, fd| write_opened(thread, fd, to),
        |thread, zone| match monitor_stat(thread, zone, flags & NOFOLLOW)? {
            Some(x) => lists::write(to, &mut stat_from(&x)).map(Some),
            None => Ok(None),
        },
    )?;
    Ok(0)
}

/// statx(2).
pub fn statx(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    flags: u64,
    mask: u64,
    to: u64,
) -> Result<u64> {
    must_know(
        flags,
        AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE,
    )?;
    let sync = flags & u64::from(AT_STATX_SYNC_TYPE);
    if sync == u64::from(AT_STATX_SYNC_TYPE) || mask & (1 << 31) != 0 {
        return Err(Errno::EINVAL);
    }
    let near = core::cell::Cell::new(None);
    let ask = |place: Place| {
        let mut x = unsafe { core::mem::zeroed::<linux_raw_sys::general::statx>() };
        let (flags, to) = (place.flags | sync, &raw mut x as u64);
        let got = unsafe { syscall5(__NR_statx, place.fd, place.name, flags, mask, to) };
        checked(got).map(|_| x)
    };
    let by_fd = |thread: &mut Thread, fd: u64| {
        let place = Place::of_descriptor(fd);
        let mut x = ask(place)?;
        let st = stat_from(&x);
        let mut zone = path::served_path(thread, fd, &st);
        if zone.is_some()
            && let Ok(Some(x)) = monitor_stat(thread, &mut zone, NOFOLLOW)
        {
            return Ok(x);
        }
        if is_of_proc(fd, &st)
            && let Some(x) = opened_stat(thread, fd)
        {
            return Ok(x);
        }
        // A descriptor's file is not replaced.
        let _ = statx_to_zone(place, &mut x);
        Ok(x)
    };
    let quick = |thread: &mut Thread, named: &Named| {
        let place = Place::of(named);
        for _ in 0..LOOKS {
            let mut x = match ask(place) {
                Ok(x) => x,
                Err(Errno::ENOENT) if named.is_kernels(thread) => return Some(Err(Errno::ENOENT)),
                Err(_) => return None,
            };
            let dev = makedev(x.stx_dev_major, x.stx_dev_minor);
            if is_for_the_long_way(u32::from(x.stx_mode), flags, dev, x.stx_ino) {
                return None;
            }
            if statx_to_zone(place, &mut x).is_ok() {
                near.set(named.mount(thread));
                return Some(Ok(x));
            }
        }
        None
    };
    let mut x = if pathname == 0 && flags & u64::from(AT_EMPTY_PATH) != 0 {
        by_fd(thread, dirfd)?
    } else {
        with_node(
            thread,
            dirfd,
            pathname,
            flags,
            quick,
            by_fd,
            |thread, zone| {
                near.set(zone.as_ref().and_then(|zone| path::row_at(zone.as_bytes())));
                monitor_stat(thread, zone, flags & NOFOLLOW)
            },
        )?
    };
    show_mount(thread, &mut x, [dirfd, pathname, flags, mask], near.get())?;
    memory::write(to, &x)?;
    Ok(0)
}

/// What a write changes of a file, whatever a guest asks of it: what nobody asks for the kernel does not
/// tell.
#[cold]
#[inline(never)]
fn version_at(place: Place) -> u64 {
    let mut x = unsafe { core::mem::zeroed::<linux_raw_sys::general::statx>() };
    let (mask, to) = (u64::from(STATX_MTIME | STATX_SIZE), &raw mut x as u64);
    unsafe { syscall5(__NR_statx, place.fd, place.name, place.flags, mask, to) };
    let time = &x.stx_mtime;
    version(time.tv_sec as u64, time.tv_nsec.into(), x.stx_size)
}

fn statx_to_zone(
    place: Place,
    x: &mut linux_raw_sys::general::statx,
) -> core::result::Result<(), Replaced> {
    let dev = makedev(x.stx_dev_major, x.stx_dev_minor);
    if let Some(owner) = owner_of(place, dev, x.stx_ino)? {
        x.stx_uid = owner.uid;
        x.stx_gid = owner.gid;
        let (mut mode, mut rdev) = (owner.mode, owner.rdev);
        if owner.marks & UNTIL_WRITTEN != 0 {
            (mode, rdev) = (owner.mode_at(version_at(place)), 0);
        }
        x.stx_mode = mode as u16;
        let (major, minor) = major_minor(rdev);
        (x.stx_rdev_major, x.stx_rdev_minor) = (major, minor);
        x.stx_attributes |= marks::as_attributes(owner.marks);
    } else {
        (x.stx_uid, x.stx_gid) = ids_to_zone(x.stx_uid, x.stx_gid);
    }
    if path::has_layers()
        && let Some(origin) = origin_of(place, dev, x.stx_ino)
    {
        x.stx_ino = origin.ino;
        (x.stx_dev_major, x.stx_dev_minor) = major_minor(origin.dev);
        x.stx_nlink = origin.count(u64::from(x.stx_nlink)) as u32;
    }
    if matches!(u32::from(x.stx_mode) & S_IFMT, S_IFREG | S_IFDIR) {
        x.stx_attributes_mask |= marks::as_attributes(IMMUTABLE | APPEND_ONLY);
    }
    Ok(())
}

/// Puts in the zone's mount in place of the host's, and whether it begins here. If it was not asked for, the
/// kernel tells it all the same: here where it is at hand.
fn show_mount(
    thread: &Thread,
    x: &mut linux_raw_sys::general::statx,
    [dirfd, pathname, flags, mask]: [u64; 4],
    near: Option<&MountRow>,
) -> Result<()> {
    const IDS: u32 = STATX_MNT_ID | STATX_MNT_ID_UNIQUE;
    const IS_ROOT: u64 = STATX_ATTR_MOUNT_ROOT as u64;
    x.stx_mask &= !IDS;
    x.stx_mnt_id = 0;
    // The monitor says it of its own.
    let is_top = x.stx_attributes & IS_ROOT != 0;
    x.stx_attributes &= !IS_ROOT;
    x.stx_attributes_mask |= IS_ROOT;
    let (dev, ino) = (makedev(x.stx_dev_major, x.stx_dev_minor), x.stx_ino);
    let begins = |row: &MountRow| (row.root_dev, row.root_ino) == (dev, ino);
    let asked = mask as u32 & IDS;
    let row = if asked == 0 && !is_top && !path::mount_rows().iter().any(begins) {
        near
    } else {
        path::mount_of(thread, dirfd, pathname, flags & NOFOLLOW != 0)?
    };
    let id = match row {
        Some(row) => u64::from(mount_id(row)),
        None if asked != 0 => u64::from(NO_MOUNT),
        None => return Ok(()),
    };
    if row.is_some_and(|row| begins(row) || is_top && row.is_monitor()) {
        x.stx_attributes |= IS_ROOT;
    }
    x.stx_mnt_id = id;
    if asked & STATX_MNT_ID_UNIQUE == 0 {
        x.stx_mask |= STATX_MNT_ID;
    } else {
        x.stx_mask |= STATX_MNT_ID_UNIQUE;
        x.stx_mnt_id += FIRST_UNIQUE;
    }
    Ok(())
}
