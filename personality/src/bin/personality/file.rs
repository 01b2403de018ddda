//! Attributes of files: owners, modes, times, access, and what multiplexed calls may do.

use crate::arch::{syscall1, syscall2, syscall3, syscall4, syscall5};
use crate::dispatch::checked;
use crate::memory::{self, PathRoom};
use crate::monitor::{commons, tables};
use crate::path::{self, Reach, Room, Told};
use crate::thread::Thread;
use crate::{Errno, Result, pids};
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use linux_raw_sys::general::*;
use picozone_fsmap::LINKS_MAX;
use picozone_personality::layout::{DIRECTORY_MODE, FD_BASE, FD_COUNT};
use picozone_personality::mailbox::Request;
use picozone_personality::plans::FileId;
use picozone_personality::tables::{OWNERS_MAX, owner_slot};

const NOFOLLOW: u64 = AT_SYMLINK_NOFOLLOW as u64;
const EMPTY_PATH: u64 = AT_EMPTY_PATH as u64;
const S_IFMT: u32 = 0o170_000;

/// Owner, group, full mode and device as the zone sees them.
struct Owner {
    uid: u32,
    gid: u32,
    mode: u32,
    rdev: u64,
}

/// A host id: the zone's own user is root, system ids are the same, the rest is nobody.
fn id_to_zone(id: u32, own: u32) -> u32 {
    if id == own {
        0
    } else if id < 1000 {
        id
    } else {
        65534
    }
}

/// What the ownership table says about a file. The birth time tells an inode number used again.
fn owner_of(fd: u64, dev: u64, ino: u64) -> Option<Owner> {
    if !tables().may_have_owner(dev, ino) {
        return None;
    }
    let mut at = owner_slot(dev, ino);
    for _ in 0..OWNERS_MAX {
        let row = tables().owners.get(at)?;
        let seq = row.seq.load(Acquire);
        if seq == 0 {
            return None;
        }
        if row.ino.load(Relaxed) == ino && row.dev.load(Relaxed) == dev {
            loop {
                let seq = row.seq.load(Acquire);
                let owner = Owner {
                    uid: row.uid.load(Relaxed),
                    gid: row.gid.load(Relaxed),
                    mode: row.mode.load(Relaxed),
                    rdev: row.rdev.load(Relaxed),
                };
                let btime = row.btime.load(Relaxed);
                core::sync::atomic::fence(Acquire);
                if seq & 1 == 1 || row.seq.load(Relaxed) != seq {
                    core::hint::spin_loop();
                    continue;
                }
                return (owner.mode != 0 && btime == birth_time(fd)).then_some(owner);
            }
        }
        at = (at + 1) & (OWNERS_MAX - 1);
    }
    None
}

fn birth_time(fd: u64) -> u64 {
    let mut buffer = unsafe { core::mem::zeroed::<statx>() };
    let empty = tables().empty.as_ptr() as u64;
    let got = unsafe {
        syscall5(
            __NR_statx,
            fd,
            empty,
            EMPTY_PATH,
            u64::from(STATX_BTIME),
            &raw mut buffer as u64,
        )
    };
    if got < 0 {
        0
    } else {
        (buffer.stx_btime.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(u64::from(buffer.stx_btime.tv_nsec))
    }
}

fn stat_to_zone(fd: u64, st: &mut linux_raw_sys::general::stat) {
    if let Some(owner) = owner_of(fd, st.st_dev, st.st_ino) {
        st.st_uid = owner.uid;
        st.st_gid = owner.gid;
        st.st_mode = owner.mode;
        st.st_rdev = owner.rdev;
    } else {
        st.st_uid = id_to_zone(st.st_uid, tables().host_uid);
        st.st_gid = id_to_zone(st.st_gid, tables().host_gid);
    }
}

/// fstat(2).
pub fn fstat(thread: &Thread, fd: u64, to: u64) -> Result<u64> {
    let st = stat_in_zone(thread, fd)?;
    memory::write(to, &st)?;
    Ok(0)
}

/// Attributes of a descriptor in the zone's terms.
pub fn stat_of(fd: u64) -> Result<linux_raw_sys::general::stat> {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    checked(unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) })?;
    stat_to_zone(fd, &mut st);
    Ok(st)
}

/// Whether a descriptor is that file, unchanged, and the thread may execute it.
pub fn is_program(thread: &Thread, fd: u64, id: &FileId) -> bool {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    if unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) } < 0 {
        return false;
    }
    let found = FileId {
        dev: st.st_dev,
        ino: st.st_ino,
        size: st.st_size,
        seconds: st.st_ctime as i64,
        nanoseconds: st.st_ctime_nsec as i64,
    };
    stat_to_zone(fd, &mut st);
    found == *id
        && st.st_mode & S_IFMT == 0o100_000
        && permits(thread, thread.credentials.uid[3], &st, 1)
}

/// The same, where the descriptor may be one of a directory of the monitor's.
pub fn stat_in_zone(thread: &Thread, fd: u64) -> Result<linux_raw_sys::general::stat> {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    checked(unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) })?;
    let mut zone = path::served_path(thread, fd, &st);
    if zone.is_some()
        && let Ok(Some(x)) = monitor_stat(thread, &mut zone, 0)
    {
        return Ok(stat_from(&x));
    }
    stat_to_zone(fd, &mut st);
    Ok(st)
}

/// Runs `f` on an `O_PATH` descriptor of what a path call names, wherever that is.
fn with_descriptor<T>(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    flags: u64,
    f: impl FnOnce(&mut Thread, u64) -> Result<T>,
) -> Result<T> {
    let mut room = PathRoom::new();
    let guest = room.read(pathname)?;
    if guest.is_empty() {
        if flags & EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        if dirfd as i32 != AT_FDCWD {
            return f(thread, dirfd);
        }
    }
    let is_nofollow = flags & NOFOLLOW != 0;
    let name = match guest {
        guest if guest.is_empty() => c".",
        guest if is_nofollow => guest,
        guest => path::own_exe(thread, guest),
    };
    let open = path::PATH_FLAGS | if is_nofollow { O_NOFOLLOW.into() } else { 0 };
    let fd = path::open_anywhere(thread, dirfd, name, open, 0, &mut None)?;
    let result = f(thread, fd);
    unsafe { syscall1(__NR_close, fd) };
    result
}

/// Runs `f` on an `O_PATH` descriptor of what a path call names, or `at_monitor` on the path in the
/// room. That one gives nothing if the path, which it has replaced, leads elsewhere.
fn with_node<T>(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    flags: u64,
    f: impl FnOnce(&mut Thread, u64) -> Result<T>,
    mut at_monitor: impl FnMut(&mut Thread, &mut Room) -> Result<Option<T>>,
) -> Result<T> {
    let mut room = PathRoom::new();
    let guest = room.read(pathname)?;
    if guest.is_empty() {
        if flags & EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        if dirfd as i32 != AT_FDCWD {
            return f(thread, dirfd);
        }
    }
    let name = if guest.is_empty() { c"." } else { guest };
    let mut zone = None;
    let is_nofollow = flags & NOFOLLOW != 0;
    let mut found = path::reach(thread, dirfd, name, is_nofollow, &mut zone)?;
    for _ in 0..LINKS_MAX {
        match found {
            Reach::Node(fd) => {
                let result = f(thread, fd);
                unsafe { syscall1(__NR_close, fd) };
                return result;
            }
            Reach::Monitor => {
                if let Some(done) = at_monitor(thread, &mut zone)? {
                    return Ok(done);
                }
                found = path::reach_again(thread, is_nofollow, &mut zone)?;
            }
        }
    }
    Err(Errno::ELOOP)
}

/// What the monitor says of the path in the room; nothing if that leads elsewhere now.
fn monitor_stat(
    thread: &Thread,
    zone: &mut Room,
    flags: u64,
) -> Result<Option<linux_raw_sys::general::statx>> {
    match path::ask_served(thread, Request::Stat, zone, flags, 0)? {
        Told::Elsewhere => Ok(None),
        Told::Answer(_) => Ok(Some(unsafe {
            (thread.mailbox().b.as_ptr() as *const linux_raw_sys::general::statx).read_unaligned()
        })),
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

fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// stat(2), lstat(2), newfstatat(2).
pub fn stat(thread: &mut Thread, dirfd: u64, pathname: u64, to: u64, flags: u64) -> Result<u64> {
    must_know(flags, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)?;
    let st = with_node(
        thread,
        dirfd,
        pathname,
        flags,
        |thread, fd| stat_in_zone(thread, fd),
        |thread, zone| {
            Ok(monitor_stat(thread, zone, flags & NOFOLLOW)?
                .as_ref()
                .map(stat_from))
        },
    )?;
    memory::write(to, &st)?;
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
    let by_fd = |thread: &mut Thread, fd: u64| {
        let mut x = unsafe { core::mem::zeroed::<linux_raw_sys::general::statx>() };
        let empty = tables().empty.as_ptr() as u64;
        checked(unsafe {
            syscall5(
                __NR_statx,
                fd,
                empty,
                EMPTY_PATH | sync,
                mask,
                &raw mut x as u64,
            )
        })?;
        if u32::from(x.stx_mode) == DIRECTORY_MODE {
            let mut zone = path::served_path_of(thread, fd);
            if zone.is_some()
                && let Ok(Some(x)) = monitor_stat(thread, &mut zone, 0)
            {
                return Ok(x);
            }
        }
        let dev = makedev(x.stx_dev_major, x.stx_dev_minor);
        if let Some(owner) = owner_of(fd, dev, x.stx_ino) {
            x.stx_uid = owner.uid;
            x.stx_gid = owner.gid;
            x.stx_mode = owner.mode as u16;
        } else {
            x.stx_uid = id_to_zone(x.stx_uid, tables().host_uid);
            x.stx_gid = id_to_zone(x.stx_gid, tables().host_gid);
        }
        Ok(x)
    };
    if pathname == 0 && flags & EMPTY_PATH != 0 {
        let x = by_fd(thread, dirfd)?;
        memory::write(to, &x)?;
        return Ok(0);
    }
    let x = with_node(thread, dirfd, pathname, flags, by_fd, |thread, zone| {
        monitor_stat(thread, zone, flags & NOFOLLOW)
    })?;
    memory::write(to, &x)?;
    Ok(0)
}

/// Whether the credentials (`uid`, `gid`) give `want` (4 read, 2 write, 1 search or execute).
pub fn permits(thread: &Thread, uid: u32, st: &linux_raw_sys::general::stat, want: u32) -> bool {
    if uid == 0 {
        let is_dir = st.st_mode & S_IFMT == 0o040_000;
        return want & 1 == 0 || is_dir || st.st_mode & 0o111 != 0;
    }
    let bits = if st.st_uid == uid {
        st.st_mode >> 6
    } else if thread.credentials.is_member(st.st_gid) {
        st.st_mode >> 3
    } else {
        st.st_mode
    };
    bits & want == want
}

/// access(2), faccessat(2), faccessat2(2).
pub fn access(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    mode: u64,
    flags: u64,
) -> Result<u64> {
    if mode & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    must_know(flags, AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    let which = usize::from(flags & u64::from(AT_EACCESS) != 0);
    let uid = thread.credentials.uid[which];
    with_node(
        thread,
        dirfd,
        pathname,
        flags,
        |thread, fd| {
            let st = stat_of(fd)?;
            if !permits(thread, uid, &st, mode as u32) {
                return Err(Errno::EACCES);
            }
            if mode & 2 != 0 && st.st_mode & S_IFMT != 0o120_000 {
                let empty = tables().empty.as_ptr() as u64;
                let result = unsafe { syscall4(__NR_faccessat2, fd, empty, 2, EMPTY_PATH) };
                checked(result).map_err(|_| Errno::EROFS)?;
            }
            Ok(0)
        },
        |thread, zone| {
            let Some(x) = monitor_stat(thread, zone, flags & NOFOLLOW)? else {
                return Ok(None);
            };
            let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
            (st.st_uid, st.st_gid, st.st_mode) = (x.stx_uid, x.stx_gid, u32::from(x.stx_mode));
            if permits(thread, uid, &st, mode as u32) {
                Ok(Some(0))
            } else {
                Err(Errno::EACCES)
            }
        },
    )
}

/// getdents64(2): placeholders are what they stand for.
pub fn getdents64(fd: u64, to: u64, size: u64) -> Result<u64> {
    const DT_LNK: u8 = 10;
    let got = checked(unsafe { syscall3(__NR_getdents64, fd, to, size) })?;
    let mut device = None;
    let mut is_served = false;
    let mut at = 0;
    while at < got {
        let record = to + at;
        let length = u64::from(memory::read::<u32>(record + 16)? & 0xffff);
        if memory::read::<u8>(record + 18)? == DT_LNK {
            let ino = memory::read::<u64>(record)?;
            if let Some((shown, own_ino)) = placeholder(fd, ino, &mut device) {
                memory::write(record + 18, &shown)?;
                memory::write(record, &own_ino)?;
                is_served |= ino == own_ino;
            }
        }
        if length == 0 {
            break;
        }
        at += length;
    }
    if is_served {
        // The kernel has just written these bytes; a guest that takes them away meanwhile ends.
        let records = unsafe { core::slice::from_raw_parts_mut(to as *mut u8, got as usize) };
        picozone_personality::listing::sort(records);
    }
    Ok(got)
}

/// How a listing shows a link that is a placeholder: type and inode. `device` remembers the
/// directory's.
fn placeholder(fd: u64, ino: u64, device: &mut Option<u64>) -> Option<(u8, u64)> {
    const DT_DIR: u8 = 4;
    let mounts = path::mount_rows().iter();
    let mount = mounts
        .filter(|row| row.placeholder_ino == ino && ino != 0)
        .map(|row| (row.placeholder_dev, (DT_DIR, row.root_ino)));
    let kinds = tables().placeholders.iter();
    let kind = kinds
        .filter(|held| held.ino == ino && ino != 0)
        .map(|held| (held.dev, (held.shown as u8, ino)));
    mount.chain(kind).find_map(|(dev, shown)| {
        let here = *device.get_or_insert_with(|| {
            let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
            unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) };
            st.st_dev
        });
        (here == dev).then_some(shown)
    })
}

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

/// The zone's own rule of who may change a file: its owner, or root.
fn must_own(thread: &Thread, fd: u64) -> Result<()> {
    if thread.credentials.uid[3] == 0 || stat_of(fd)?.st_uid == thread.credentials.uid[3] {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
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

fn may_chown(thread: &Thread, fd: u64, uid: u64, gid: u64) -> Result<()> {
    let own = thread.credentials.uid[3];
    if own == 0 {
        return Ok(());
    }
    let st = stat_of(fd)?;
    let keeps_user = uid as u32 == u32::MAX || uid as u32 == st.st_uid;
    let group_ok = gid as u32 == u32::MAX || thread.credentials.is_member(gid as u32);
    if st.st_uid == own && keeps_user && group_ok {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
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

/// EINVAL for flags that the call does not know.
fn must_know(flags: u64, known: u32) -> Result<()> {
    if flags as u32 & !known == 0 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
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

/// The extended attributes: none yet, as on a file system without them.
pub fn xattr(nr: u32) -> Result<u64> {
    if let Some(counter) = commons().refused.get(nr as usize) {
        counter.fetch_add(1, Relaxed);
    }
    match nr {
        __NR_listxattr | __NR_llistxattr | __NR_flistxattr => Ok(0),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

const TIOCGPGRP: u64 = 0x540f;
const TIOCSPGRP: u64 = 0x5410;
const TIOCGSID: u64 = 0x5429;

fn is_reserved(fd: u64) -> bool {
    (FD_BASE..FD_BASE + FD_COUNT).contains(&(fd as u32))
}

/// ioctl(2), for the commands that the filter does not let through.
pub fn ioctl(fd: u64, command: u64, argument: u64) -> Result<u64> {
    if is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    let mut id = 0u32;
    let native =
        |address: u64| checked(unsafe { syscall3(__NR_ioctl, fd, command & 0xffff_ffff, address) });
    match command & 0xffff_ffff {
        TIOCGPGRP | TIOCGSID => {
            native(&raw mut id as u64)?;
            memory::write(argument, &pids::to_zone_or_0(id as i32))?;
            Ok(0)
        }
        TIOCSPGRP => {
            id = pids::group_to_host(memory::read::<u32>(argument)?)?;
            native(&raw mut id as u64)
        }
        _ => {
            if let Some(counter) = commons().refused.get(__NR_ioctl as usize) {
                counter.fetch_add(1, Relaxed);
            }
            checked(unsafe { syscall2(__NR_fcntl, fd, u64::from(F_GETFD)) })?;
            Err(Errno::ENOTTY)
        }
    }
}

/// fcntl(2), for the commands that the filter does not let through.
pub fn fcntl(fd: u64, command: u64, argument: u64) -> Result<u64> {
    if is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    match command as u32 {
        F_GETLK => {
            // struct flock: type, whence, start, length, pid.
            let mut lock = memory::read::<[u64; 4]>(argument)?;
            checked(unsafe { syscall3(__NR_fcntl, fd, command, lock.as_mut_ptr() as u64) })?;
            lock[3] = u64::from(pids::to_zone_or_0(lock[3] as i32));
            memory::write(argument, &lock)?;
            Ok(0)
        }
        F_GETOWN => Ok(0),
        _ => {
            if let Some(counter) = commons().refused.get(__NR_fcntl as usize) {
                counter.fetch_add(1, Relaxed);
            }
            Err(Errno::EINVAL)
        }
    }
}

/// close_range(2) that touches the reserved descriptors: around them.
pub fn close_range(first: u64, last: u64, flags: u64) -> Result<u64> {
    let (first, last) = (first as u32, last as u32);
    if first > last {
        return Err(Errno::EINVAL);
    }
    let close = |from: u32, to: u32| {
        checked(unsafe { syscall3(__NR_close_range, u64::from(from), u64::from(to), flags) })
    };
    if first < FD_BASE {
        close(first, last.min(FD_BASE - 1))?;
    }
    if last >= FD_BASE + FD_COUNT {
        close(first.max(FD_BASE + FD_COUNT), last)?;
    }
    Ok(0)
}
