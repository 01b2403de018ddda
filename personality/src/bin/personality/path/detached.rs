//! Mounts by descriptor: fsopen(2), fsconfig(2), fsmount(2), fspick(2), open_tree(2), move_mount(2),
//! mount_setattr(2). What is wrong with the arguments is told here, as natively; what is done, the
//! monitor does (`picozone_personality::detached`).

use super::reach::{Opened, open_served, open_unjudged};
use super::root::InZone;
use super::walk::{walk, zone_path_of};
use super::{AT_CWD, mount_of, open, open_text};
use crate::arch::{syscall1, syscall2};
use crate::dispatch::{checked, refuse};
use crate::file::{self, EMPTY_PATH, NOFOLLOW, Power};
use crate::memory::{self, PathRoom};
use crate::thread::Thread;
use crate::{Errno, Result};
use core::ffi::CStr;
use linux_raw_sys::general::*;
use picozone_fsmap::{Last, PathBuf};
use picozone_personality::detached::{
    DIRECTORY, NO_TIMES, STRICT_TIMES, TIMES, command, operation,
};
use picozone_personality::mailbox::{Request, TEXT_MAX};

const CLOSE_ON_EXEC: u32 = 1;

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
            must_be_there(dirfd)?;
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

/// EBADF for what is no descriptor of the guest's. One that only names a file is one.
fn must_be_there(fd: u64) -> Result<()> {
    if file::is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    checked(unsafe { syscall2(__NR_fcntl, fd, u64::from(F_GETFL)) }).map(drop)
}

/// Whether a mount begins at what a descriptor names.
pub(super) fn is_mount_at(thread: &Thread, fd: u64) -> bool {
    super::row_of(thread, fd).is_some_and(|row| begins(row, fd))
}

fn begins(row: &picozone_fsmap::MountRow, fd: u64) -> bool {
    let st = file::stat_of(fd);
    st.is_ok_and(|st| (row.root_dev, row.root_ino) == (st.st_dev, st.st_ino))
}

/// The zone path, free of links, of what a path names, or a descriptor without one, which is there.
fn place(thread: &Thread, dirfd: u64, pathname: u64, flags: u64, to: &mut PathBuf) -> Result<()> {
    to.truncate(0);
    let mut room = PathRoom::new();
    let path = room.read_if_any(pathname)?;
    if path.is_empty() {
        return zone_path_of(thread, dirfd, to).map_err(|_| Errno::EINVAL);
    }
    let last = if flags & NOFOLLOW == 0 {
        Last::Follow
    } else {
        Last::NoFollow
    };
    match walk(thread, dirfd, path, last, to)?.exists {
        true => Ok(()),
        false => Err(Errno::ENOENT),
    }
}

/// The same of a mount's top.
///
/// # Errors
/// EINVAL: no mount begins there.
fn mount_place(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    flags: u64,
    to: &mut PathBuf,
) -> Result<()> {
    let begins = is_mount(thread, dirfd, pathname, flags)?;
    place(thread, dirfd, pathname, flags, to)?;
    if begins { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Asks the monitor about a zone path.
fn ask(thread: &Thread, path: &PathBuf, args: &[u64]) -> Result<u64> {
    let path = path.as_bytes();
    let end = path.len() - usize::from(path.len() > 1 && path.ends_with(b"/"));
    let path = path.get(..end).unwrap_or(path);
    thread.ask_about(Request::Detached, path, args)
}

/// Puts a text into field `b` of the mailbox, for the next request.
fn put_second(thread: &Thread, text: &[u8]) -> Result<()> {
    let to = &mut thread.mailbox().b;
    if text.len() >= TEXT_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    for (to, from) in to.iter_mut().zip(text.iter().chain(&[0])) {
        *to = *from;
    }
    Ok(())
}

/// A descriptor of a detached mount: of what it shows.
fn open_detached(thread: &mut Thread, number: u64, is_cloexec: bool) -> Result<u64> {
    let mut path = PathBuf::new();
    path.set(DIRECTORY).map_err(super::from_error)?;
    path.append(b"/").map_err(super::from_error)?;
    let mut digits = [0; 20];
    path.append(decimal(number, &mut digits))
        .map_err(super::from_error)?;
    // The monitor knows it by these.
    let how = u64::from(O_PATH | O_NOFOLLOW | if is_cloexec { O_CLOEXEC } else { 0 });
    let directory = how | u64::from(O_DIRECTORY);
    match open_whole(thread, path.as_c_str(), directory) {
        // A file: no walk leads there.
        Err(Errno::ENOTDIR | Errno::ENOENT) => open_whole(thread, path.as_c_str(), how),
        opened => opened,
    }
}

fn open_whole(thread: &Thread, path: &CStr, how: u64) -> Result<u64> {
    let _in_zone = InZone::enter(thread);
    let mut zone = None;
    match open_unjudged(thread, AT_CWD as u64, path, how, 0, &mut zone)? {
        Opened::Descriptor(fd) => Ok(fd),
        Opened::Monitor => open_served(thread, how, 0, &mut zone),
    }
}

fn decimal(number: u64, to: &mut [u8; 20]) -> &[u8] {
    let (mut left, mut start) = (number, to.len());
    loop {
        start -= 1;
        if let Some(place) = to.get_mut(start) {
            *place = b'0' + (left % 10) as u8;
        }
        left /= 10;
        if left == 0 || start == 0 {
            return to.get(start..).unwrap_or(&[]);
        }
    }
}

/// fsopen(2).
#[inline(never)]
pub fn fsopen(thread: &Thread, name: u64, flags: u64) -> Result<u64> {
    const BY_NAME: u64 = 1;
    must_administer(thread)?;
    if flags as u32 & !CLOSE_ON_EXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let mut room = PathRoom::new();
    let name = room.read(name)?;
    if checked(unsafe { syscall2(__NR_sysfs, BY_NAME, name.as_ptr() as u64) }).is_err() {
        return Err(Errno::ENODEV);
    }
    let args = [operation::OPEN, flags & u64::from(CLOSE_ON_EXEC)];
    thread.ask_about(Request::Detached, name.to_bytes(), &args)
}

/// fsconfig(2).
#[inline(never)]
pub fn fsconfig(
    thread: &Thread,
    [fd, what, key_at, value_at, extra_word]: [u64; 5],
) -> Result<u64> {
    const BLOB_MAX: i32 = 1 << 20;
    /// `strndup_user()` in the kernel: keys and values, with their ends.
    const TEXT_ROOM: usize = 256;
    let (has_key, has_value, extra) = (key_at != 0, value_at != 0, extra_word as i32);
    let what = what as u32;
    let is_right = fd as i32 >= 0
        && match what {
            command::SET_FLAG => has_key && !has_value && extra == 0,
            command::SET_STRING => has_key && has_value && extra == 0,
            command::SET_BINARY => has_key && has_value && extra > 0 && extra <= BLOB_MAX,
            command::SET_PATH | command::SET_PATH_EMPTY => {
                has_key && has_value && (extra == AT_FDCWD || extra >= 0)
            }
            command::SET_FD => has_key && !has_value && extra >= 0,
            command::CREATE | command::RECONFIGURE | command::CREATE_EXCLUSIVE => {
                !has_key && !has_value && extra == 0
            }
            _ => return Err(Errno::EOPNOTSUPP),
        };
    if !is_right {
        return Err(Errno::EINVAL);
    }
    file::must_be_open(fd)?;
    let mut key_room = PathRoom::new();
    let key = if has_key {
        key_room.read(key_at)?
    } else {
        must_administer(thread)?;
        c""
    };
    let mut room = PathRoom::new();
    let value = match what {
        command::SET_STRING => room.read(value_at)?,
        _ => c"",
    };
    if key.count_bytes() >= TEXT_ROOM || value.count_bytes() >= TEXT_ROOM {
        return Err(Errno::EINVAL);
    }
    if what == command::SET_FD {
        file::must_be_open(extra_word)?;
    }
    put_second(thread, value.to_bytes())?;
    let args = [operation::CONFIGURE, fd, u64::from(what)];
    thread.ask_about(Request::Detached, key.to_bytes(), &args)
}

/// Flags of a mount: one of the ways to keep access times, what is forbidden there, and ids of its own.
const ATTRIBUTES: u64 = 0x20_00ff;
const IDS: u64 = 0x10_0000;

/// fsmount(2).
#[inline(never)]
pub fn fsmount(thread: &mut Thread, fd: u64, flags: u64, attributes: u64) -> Result<u64> {
    must_administer(thread)?;
    let attributes = u64::from(attributes as u32);
    let is_right = flags as u32 & !CLOSE_ON_EXEC == 0
        && attributes & !ATTRIBUTES == 0
        && matches!(attributes & TIMES, 0 | NO_TIMES | STRICT_TIMES);
    if !is_right {
        return Err(Errno::EINVAL);
    }
    file::must_be_open(fd)?;
    let number = thread.ask(Request::Detached, &[operation::MOUNT, fd, attributes])?;
    open_detached(thread, number, flags as u32 & CLOSE_ON_EXEC != 0)
}

/// open_tree(2) with `OPEN_TREE_CLONE`: what `fd` names is bound to no place.
pub(super) fn clone_tree(
    thread: &mut Thread,
    (dirfd, pathname, flags): (u64, u64, u64),
    is_recursive: bool,
    is_cloexec: bool,
) -> Result<u64> {
    let mut at = PathBuf::new();
    place(thread, dirfd, pathname, flags, &mut at)?;
    let number = ask(thread, &at, &[operation::CLONE, u64::from(is_recursive)])?;
    open_detached(thread, number, is_cloexec)
}

/// fspick(2): a context to change what is mounted there.
pub(super) fn pick(
    thread: &Thread,
    dirfd: u64,
    pathname: u64,
    flags: u64,
    is_cloexec: bool,
) -> Result<u64> {
    let mut at = PathBuf::new();
    place(thread, dirfd, pathname, flags, &mut at)?;
    ask(thread, &at, &[operation::PICK, u64::from(is_cloexec)])
}

/// move_mount(2).
#[inline(never)]
pub fn move_mount(thread: &mut Thread, args: [u64; 6]) -> Result<u64> {
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
    let (to_lookup, from_lookup) = (lookup(TO_FOLLOW, TO_EMPTY), lookup(FROM_FOLLOW, FROM_EMPTY));
    is_mount(thread, to_dir, to, to_lookup)?;
    let mut source = PathBuf::new();
    mount_place(thread, from_dir, from, from_lookup, &mut source)?;
    // Groups of mounts there are none.
    if flags & GROUP != 0 {
        return Err(Errno::EINVAL);
    }
    let mut target = PathBuf::new();
    place(thread, to_dir, to, to_lookup, &mut target)?;
    put_second(thread, source.as_bytes())?;
    let is_beneath = u64::from(flags & BENEATH != 0);
    ask(thread, &target, &[operation::MOVE, is_beneath])
}

/// mount_setattr(2).
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
    let mut at = PathBuf::new();
    mount_place(thread, dirfd, pathname, flags, &mut at)?;
    if (set | clear) & IDS != 0 {
        return refuse(nr);
    }
    let is_recursive = u64::from(flags & RECURSIVE != 0);
    ask(thread, &at, &[operation::SET, set, clear, is_recursive])
}
