//! Paths: confined opens in the process, and changes of the name space.
//!
//! Every open is `openat2(descriptor, rest, how)` with an approved `how` that confines the walk
//! beneath the descriptor. What the kernel cannot finish there (EXDEV: a mount point, an absolute
//! link, a `..` over the top; EAGAIN: a rename on the host during a walk with `..`) is resolved
//! component by component, each step confined in the same way.

use crate::arch::{self, syscall1, syscall2, syscall3, syscall4, syscall5};
use crate::dispatch::{checked, checked_or_restart};
use crate::memory::{self, PathRoom};
use crate::monitor::{commons, tables};
use crate::signal::HELD;
use crate::thread::{Thread, me};
use crate::{Errno, Result, file};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use linux_raw_sys::ioctl::TIOCSCTTY;
use picozone_fsmap::{Error, LINKS_MAX, Last, MountRow, Mounts, PathBuf, Resolved, Tree, resolve};
use picozone_personality::layout::{DIRECTORY_MODE, FD_BASE};
use picozone_personality::mailbox::{ELSEWHERE, Request};
use picozone_personality::tables::{HOWS_MAX, How, how_slot};

const BENEATH: u64 = (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS) as u64;
/// Flags of a descriptor that only names.
pub const PATH_FLAGS: u64 = (O_PATH | O_CLOEXEC) as u64;
const NOFOLLOW: u64 = O_NOFOLLOW as u64;
const AT_CWD: i32 = AT_FDCWD;
/// How often a resolved path is tried again when the tree changes meanwhile.
const TRIES: usize = 8;

/// The zone's mounts.
pub fn mount_rows() -> &'static [MountRow] {
    tables()
        .mounts
        .get(..tables().mount_count as usize)
        .unwrap_or(&[])
}

fn mounts() -> Mounts<'static> {
    Mounts(mount_rows())
}

/// The approved way to open, vetted by the monitor where it is new.
fn how(thread: &Thread, flags: u64, mode: u64) -> Result<u64> {
    for _ in 0..2 {
        let mut at = how_slot(flags, mode, BENEATH);
        for _ in 0..HOWS_MAX {
            let slot = &tables().hows[at];
            let resolve = slot.resolve.load(Relaxed);
            if resolve != BENEATH {
                break;
            }
            if slot.flags.load(Relaxed) == flags && slot.mode.load(Relaxed) == mode {
                return Ok(core::ptr::from_ref(slot) as u64);
            }
            at = (at + 1) % HOWS_MAX;
        }
        thread.ask(Request::How, &[flags, mode, BENEATH])?;
    }
    Err(Errno::ENFILE)
}

/// One open in an approved way. Where it may wait (a FIFO, a device) a signal can end it.
fn openat2_raw(dirfd: u64, path: u64, how: u64) -> Result<u64> {
    const AT_ONCE: u64 = (O_PATH | O_NONBLOCK | O_DIRECTORY) as u64;
    let flags = unsafe { (*(how as *const How)).flags.load(Relaxed) };
    let thread = me();
    if flags & AT_ONCE != 0 || thread.context.is_null() {
        return checked(unsafe { syscall4(__NR_openat2, dirfd, path, how, 24) });
    }
    let mask = thread.mask() & !HELD;
    checked_or_restart(arch::wait(__NR_openat2, [dirfd, path, how, 24, 0, 0], mask))
}

/// Opens `rest` beneath a mount. Apart, so that the fast way has no buffer on its stack.
#[cold]
#[inline(never)]
fn open_in_mount(mount: usize, rest: &[u8], how: u64) -> Result<u64> {
    let row = mount_rows().get(mount).ok_or(Errno::ENOENT)?;
    let mut path = PathBuf::new();
    mounts()
        .beneath(mount, rest, &mut path)
        .map_err(from_error)?;
    openat2_raw(row.fd as u64, path.as_c_str().as_ptr() as u64, how)
}

fn from_error(error: Error) -> Errno {
    Errno::from_raw(error.0)
}

/// The kernel as fsmap's tree: each step is confined beneath a mount.
struct Kernel<'a>(&'a Thread);

impl Tree for Kernel<'_> {
    type Node = u64;
    fn open_path(&mut self, mount: usize, rel: &PathBuf) -> core::result::Result<u64, Error> {
        let how = how(self.0, PATH_FLAGS | NOFOLLOW, 0).map_err(to_error)?;
        let fd = mount_rows().get(mount).ok_or(Error::ENOENT)?.fd as u64;
        for _ in 0..TRIES {
            match openat2_raw(fd, rel.as_c_str().as_ptr() as u64, how) {
                Err(Errno::EAGAIN) => {}
                other => return other.map_err(to_error),
            }
        }
        Err(Error::ENOENT)
    }
    fn readlink(&mut self, node: &u64, to: &mut [u8]) -> core::result::Result<usize, Error> {
        let empty = tables().empty.as_ptr() as u64;
        let got = unsafe {
            syscall4(
                __NR_readlinkat,
                *node,
                empty,
                to.as_mut_ptr() as u64,
                to.len() as u64,
            )
        };
        match checked(got) {
            Ok(length) => Ok(length as usize),
            // readlinkat answers ENOENT for an empty name on what is no link.
            Err(Errno::ENOENT) => Err(Error::EINVAL),
            Err(errno) => Err(to_error(errno)),
        }
    }
    fn is_dir(&mut self, node: &u64) -> core::result::Result<bool, Error> {
        let st = file::stat_of(*node).map_err(to_error)?;
        Ok(st.st_mode & 0o170_000 == 0o040_000)
    }
    fn close(&mut self, node: u64) {
        close(node);
    }
}

fn to_error(errno: Errno) -> Error {
    Error(errno.to_ret().unsigned_abs() as u16)
}

fn close(fd: u64) {
    unsafe { syscall1(__NR_close, fd) };
}

/// The zone path of a directory descriptor; relative walks over mounts begin there.
fn zone_path_of(thread: &Thread, dirfd: u64, to: &mut PathBuf) -> Result<()> {
    if dirfd as i32 == AT_CWD {
        let mut host = [0u8; 4096];
        let length =
            checked(unsafe { syscall2(__NR_getcwd, host.as_mut_ptr() as u64, 4096) })? as usize;
        let host = host.get(..length.saturating_sub(1)).unwrap_or(b"");
        return if mounts().to_zone(host, to) {
            Ok(())
        } else {
            Err(Errno::ENOENT)
        };
    }
    let length = thread.ask(Request::FdPath, &[dirfd])? as usize;
    let text = thread.mailbox().b.get(..length).ok_or(Errno::EIO)?;
    to.set(text).map_err(from_error)?;
    Ok(())
}

/// `/proc/self/exe` names the guest's program, not ours.
pub fn own_exe<'p>(thread: &Thread, path: &'p CStr) -> &'p CStr {
    if path.to_bytes() == b"/proc/self/exe"
        && let Ok(exe) = CStr::from_bytes_until_nul(&thread.process().exe)
    {
        return exe;
    }
    path
}

/// Opens what [`Mounts::find`] left of `path` beneath the mount. No copy where the kernel can be
/// given the guest's text itself: an alias mostly stands for a link by the same name.
fn open_found(path: &CStr, mount: usize, rest: &[u8], how: u64) -> Result<u64> {
    let row = mount_rows().get(mount).ok_or(Errno::ENOENT)?;
    let text = path.to_bytes();
    let before = text.len() - rest.len();
    let sub = row.sub();
    if !rest.is_empty() {
        let front = text
            .get(..before)
            .and_then(|front| front.strip_suffix(b"/"));
        if sub.is_empty() {
            return openat2_raw(row.fd as u64, rest.as_ptr() as u64, how);
        }
        if front.is_some_and(|front| front.strip_suffix(sub).is_some_and(|more| more == b"/")) {
            let start = before - 1 - sub.len();
            let name = text.get(start..).unwrap_or(rest);
            return openat2_raw(row.fd as u64, name.as_ptr() as u64, how);
        }
    }
    open_in_mount(mount, rest, how)
}

/// Where a path leads that the kernel could not finish.
fn walk(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    last: Last,
    at: &mut PathBuf,
) -> Result<Resolved> {
    if path.to_bytes().first() == Some(&b'/') {
        at.set(b"/").map_err(from_error)?;
    } else {
        match zone_path_of(thread, dirfd, at) {
            // A working directory that was removed still has a parent.
            Err(Errno::ENOENT) if path.to_bytes().starts_with(b"..") => {
                let length = thread.ask(Request::FdPath, &[dirfd])? as usize;
                let text = thread.mailbox().b.get(..length).ok_or(Errno::EIO)?;
                at.set(text).map_err(from_error)?;
            }
            other => other?,
        }
    }
    resolve(&mounts(), &mut Kernel(thread), at, path.to_bytes(), last).map_err(from_error)
}

/// Whether a directory is one of the monitor's: nothing beneath it is to be looked at natively.
fn is_served(thread: &Thread, dirfd: u64) -> bool {
    if dirfd as i32 != AT_CWD {
        let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
        let got = unsafe { syscall2(__NR_fstat, dirfd, &raw mut st as u64) };
        if got < 0 || st.st_mode != DIRECTORY_MODE {
            return false;
        }
    }
    let mut at = PathBuf::new();
    zone_path_of(thread, dirfd, &mut at).is_ok() && is_monitors(at.as_bytes())
}

/// Whether a zone path lies in a mount of the monitor's.
pub fn is_monitors(zone: &[u8]) -> bool {
    let (mount, _) = mounts().find(zone);
    mount_rows().get(mount).is_some_and(MountRow::is_monitor)
}

/// The zone path of a descriptor of a directory of the monitor's, by its attributes on the host.
pub fn served_path(thread: &Thread, fd: u64, st: &linux_raw_sys::general::stat) -> Option<PathBuf> {
    if st.st_mode == DIRECTORY_MODE {
        served_path_of(thread, fd)
    } else {
        None
    }
}

/// The same, where the attributes are known to fit.
pub fn served_path_of(thread: &Thread, fd: u64) -> Option<PathBuf> {
    let mut at = PathBuf::new();
    zone_path_of(thread, fd, &mut at).ok()?;
    is_monitors(at.as_bytes()).then_some(at)
}

/// What the monitor says of a path in its mounts: an answer, or where a link of theirs leads.
pub enum Told {
    Answer(u64),
    Elsewhere,
}

/// Asks the monitor about the path in the room, which is replaced where it leads elsewhere.
pub fn ask_served(
    thread: &Thread,
    request: Request,
    zone: &mut Room,
    flags: u64,
    mode: u64,
) -> Result<Told> {
    let value = thread.ask_about(request, text_of(zone), &[AT_CWD as u64, flags, mode])?;
    if value & ELSEWHERE == 0 {
        return Ok(Told::Answer(value));
    }
    let length = (value & !ELSEWHERE) as usize;
    let text = thread.mailbox().b.get(..length).ok_or(Errno::EIO)?;
    zone.insert(PathBuf::new()).set(text).map_err(from_error)?;
    Ok(Told::Elsewhere)
}

/// Opens a path wherever it leads, into the monitor's mounts and out of them again.
pub fn open_anywhere(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
    mode: u64,
    zone: &mut Room,
) -> Result<u64> {
    match open_confined(thread, dirfd, path, flags, mode, zone)? {
        Opened::Descriptor(fd) => Ok(fd),
        Opened::Monitor => open_served(thread, flags, mode, zone),
    }
}

/// Opens the monitor's path that is in the room.
#[cold]
#[inline(never)]
fn open_served(thread: &Thread, flags: u64, mode: u64, zone: &mut Room) -> Result<u64> {
    for _ in 0..LINKS_MAX {
        match ask_served(thread, Request::Open, zone, flags, mode)? {
            Told::Answer(fd) => {
                if flags & u64::from(O_NOCTTY | O_PATH) == 0
                    && text_of(zone).starts_with(b"/dev/pts/")
                {
                    // As the kernel does for a session leader without a terminal.
                    unsafe { syscall3(__NR_ioctl, fd, u64::from(TIOCSCTTY), 0) };
                }
                return Ok(fd);
            }
            Told::Elsewhere => {
                let mut path = PathBuf::new();
                path.set(text_of(zone)).map_err(from_error)?;
                let path = path.as_c_str();
                match open_confined(thread, AT_CWD as u64, path, flags, mode, zone)? {
                    Opened::Descriptor(fd) => return Ok(fd),
                    Opened::Monitor => {}
                }
            }
        }
    }
    Err(Errno::ELOOP)
}

/// The result of an open.
enum Opened {
    Descriptor(u64),
    /// The monitor's: the resolved zone path is where the caller has room for it.
    Monitor,
}

/// Room for a resolved path, which most calls do without.
pub type Room = Option<PathBuf>;

/// The resolved path.
pub fn text_of(room: &Room) -> &[u8] {
    room.as_ref().map_or(b"", PathBuf::as_bytes)
}

/// Opens a program's file for reading, to stay open over an exec; `None` where that is not the
/// personality's to do, or fails.
pub fn open_program(thread: &Thread, path: &CStr) -> Option<u64> {
    let flags = u64::from(O_NONBLOCK | O_LARGEFILE);
    match open_confined(thread, AT_CWD as u64, path, flags, 0, &mut None) {
        Ok(Opened::Descriptor(fd)) => Some(fd),
        _ => None,
    }
}

#[inline]
fn open_confined(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
    mode: u64,
    zone: &mut Room,
) -> Result<Opened> {
    let how = how(thread, flags, mode)?;
    let text = path.to_bytes();
    let first = if text.first() == Some(&b'/') {
        let (mount, rest) = mounts().find(text);
        let row = mount_rows().get(mount).ok_or(Errno::ENOENT)?;
        if row.is_monitor() {
            Err(Errno::EXDEV)
        } else {
            open_found(path, mount, rest, how)
        }
    } else {
        openat2_raw(dirfd, path.as_ptr() as u64, how)
    };
    match first {
        Err(Errno::EXDEV | Errno::EAGAIN) => {}
        // A name that a directory of the monitor's does not list, or not yet.
        Err(Errno::ENOENT) if text.first() != Some(&b'/') && is_served(thread, dirfd) => {}
        // The directory itself, to be brought up to date.
        Ok(fd) if matches!(text, b"." | b"./") && is_served(thread, dirfd) => close(fd),
        // Not followed: perhaps it is a mount point's placeholder.
        Err(Errno::ELOOP | Errno::ENOTDIR) if flags & NOFOLLOW != 0 => {}
        Ok(fd)
            if flags & (NOFOLLOW | u64::from(O_PATH)) == NOFOLLOW | u64::from(O_PATH)
                && is_placeholder(fd) =>
        {
            close(fd)
        }
        other => return other.map(Opened::Descriptor),
    }
    open_walked(thread, dirfd, path, (flags, mode), zone)
}

/// The long way: component by component.
#[cold]
#[inline(never)]
fn open_walked(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    (flags, mode): (u64, u64),
    zone: &mut Room,
) -> Result<Opened> {
    let exclusive = u64::from(O_CREAT | O_EXCL);
    let last = if flags & NOFOLLOW != 0 || flags & exclusive == exclusive {
        Last::NoFollow
    } else {
        Last::Follow
    };
    let at = zone.insert(PathBuf::new());
    for _ in 0..TRIES {
        at.truncate(0);
        let found = walk(thread, dirfd, path, last, at)?;
        if found.is_monitor {
            if found.must_be_dir && at.as_bytes().last() != Some(&b'/') {
                at.append(b"/").map_err(from_error)?;
            }
            return Ok(Opened::Monitor);
        }
        if !found.exists && flags & u64::from(O_CREAT) == 0 {
            return Err(Errno::ENOENT);
        }
        let rest = at.as_bytes().get(found.rel..).unwrap_or(b"");
        let directory = if found.must_be_dir && flags & u64::from(O_CREAT) == 0 {
            u64::from(O_DIRECTORY)
        } else {
            0
        };
        let how = how(thread, flags | directory, mode)?;
        match open_in_mount(found.mount, rest, how) {
            Err(Errno::EXDEV | Errno::EAGAIN) => {}
            other => return other.map(Opened::Descriptor),
        }
    }
    Err(Errno::ENOENT)
}

fn is_placeholder(fd: u64) -> bool {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    if unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) } < 0
        || st.st_mode & 0o170_000 != 0o120_000
    {
        return false;
    }
    mounts().is_placeholder(st.st_dev, st.st_ino).is_some()
        || tables()
            .placeholders
            .iter()
            .any(|held| held.ino == st.st_ino && held.dev == st.st_dev)
}

/// An `O_PATH` descriptor of what a path names, or the monitor's path.
pub enum Reach {
    Node(u64),
    /// The path is in the caller's room.
    Monitor,
}

/// Reaches a path for a call on its attributes.
pub fn reach(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    is_nofollow: bool,
    zone: &mut Room,
) -> Result<Reach> {
    let flags = PATH_FLAGS | if is_nofollow { NOFOLLOW } else { 0 };
    let path = if is_nofollow {
        path
    } else {
        own_exe(thread, path)
    };
    Ok(match open_confined(thread, dirfd, path, flags, 0, zone)? {
        Opened::Descriptor(fd) => Reach::Node(fd),
        Opened::Monitor => Reach::Monitor,
    })
}

/// The open flags that the kernel knows (include/linux/fcntl.h, `VALID_OPEN_FLAGS`).
const OPEN_FLAGS: u64 = 0o37_777_703 | O_PATH as u64 | 0o20_200_000;
/// The whole of `O_TMPFILE`.
const TEMPORARY: u64 = O_TMPFILE as u64;

/// What the kernel's openat ignores must not reach openat2, which refuses it.
fn normal_flags(flags: u64, mode: u64) -> (u64, u64) {
    let mut flags = (flags & OPEN_FLAGS) | u64::from(O_LARGEFILE);
    if flags & u64::from(O_PATH) != 0 {
        flags &= u64::from(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    let makes = flags & u64::from(O_CREAT) != 0 || flags & TEMPORARY == TEMPORARY;
    (flags, if makes { mode & 0o777 } else { 0 })
}

/// open(2), openat(2), creat(2).
pub fn open(thread: &mut Thread, dirfd: u64, pathname: u64, flags: u64, mode: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let guest = room.read(pathname)?;
    if guest.is_empty() {
        return Err(Errno::ENOENT);
    }
    let path = own_exe(thread, guest);
    let mut zone = None;
    // Bits that a host file is never given live in the ownership store.
    let special = mode & 0o7000;
    let (flags, mode) = normal_flags(flags, mode);
    // A file of a user who is not root, or with such bits: learn whether this call makes it.
    let is_root = thread.credentials.uid[3] == 0 && thread.credentials.gid[3] == 0;
    let makes = flags & u64::from(O_CREAT) != 0 && (!is_root || special != 0);
    // Nothing is cut before the zone's own rules have allowed to write.
    let asked = match (makes, is_root) {
        (true, _) => flags & !u64::from(O_CREAT | O_TRUNC | O_EXCL),
        (false, true) => flags,
        (false, false) => flags & !u64::from(O_TRUNC),
    };
    let mut made = false;
    let opened = match open_confined(
        thread,
        dirfd,
        path,
        asked,
        if makes { 0 } else { mode },
        &mut zone,
    ) {
        Ok(Opened::Descriptor(fd)) if makes && flags & u64::from(O_EXCL) != 0 => {
            close(fd);
            return Err(Errno::EEXIST);
        }
        Ok(Opened::Descriptor(fd)) if makes || !is_root => {
            if !is_root && let Err(errno) = may_open(thread, fd, flags) {
                close(fd);
                return Err(errno);
            }
            if flags & u64::from(O_TRUNC) != 0 && flags & 3 != 0 {
                unsafe { syscall2(__NR_ftruncate, fd, 0) };
            }
            Opened::Descriptor(fd)
        }
        Err(Errno::ENOENT) if makes => {
            made = true;
            let parent = parent(thread, dirfd, path, Purpose::Make)?;
            may_change(thread, parent.fd)?;
            open_confined(thread, dirfd, path, flags, mode, &mut zone)?
        }
        other => other?,
    };
    match opened {
        Opened::Descriptor(fd) => {
            if made {
                file::own_new(thread, fd);
                if special != 0 {
                    file::add_mode(thread, fd, special);
                }
            }
            Ok(fd)
        }
        Opened::Monitor => open_served(thread, flags, mode, &mut zone),
    }
}

/// openat2(2): the guest's own resolve flags are not supported yet, plain opens are.
pub fn openat2(thread: &mut Thread, dirfd: u64, pathname: u64, how: u64, size: u64) -> Result<u64> {
    if size < 24 {
        return Err(Errno::EINVAL);
    }
    let [flags, mode, resolve] = memory::read::<[u64; 3]>(how)?;
    // Unlike openat(2), it refuses what it does not know.
    let makes = flags & u64::from(O_CREAT) != 0 || flags & TEMPORARY == TEMPORARY;
    if flags & !OPEN_FLAGS != 0 || mode & !0o7777 != 0 || (mode != 0 && !makes) {
        return Err(Errno::EINVAL);
    }
    if resolve != 0 {
        return Err(Errno::ENOSYS);
    }
    open(thread, dirfd, pathname, flags, mode)
}

/// chdir(2).
pub fn chdir(thread: &mut Thread, pathname: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = room.read(pathname)?;
    chdir_to(thread, path)
}

/// chdir to a path of our own.
pub fn chdir_bytes(thread: &mut Thread, path: &[u8]) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = room.set(path)?;
    chdir_to(thread, path)
}

fn chdir_to(thread: &mut Thread, path: &CStr) -> Result<u64> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
    let mut zone = None;
    let fd = open_anywhere(thread, AT_CWD as u64, path, flags, 0, &mut zone)?;
    let result = file::stat_in_zone(thread, fd).and_then(|st| {
        if file::permits(thread, thread.credentials.uid[3], &st, 1) {
            checked(unsafe { syscall1(__NR_fchdir, fd) })
        } else {
            Err(Errno::EACCES)
        }
    });
    close(fd);
    result
}

/// getcwd(2).
pub fn getcwd(thread: &Thread, to: u64, size: u64) -> Result<u64> {
    let mut zone = PathBuf::new();
    zone_path_of(thread, AT_CWD as u64, &mut zone)?;
    let text = zone.as_bytes();
    let text = if text.is_empty() { b"/" } else { text };
    if (text.len() as u64) >= size {
        return Err(Errno::ERANGE);
    }
    memory::write_bytes(to, text)?;
    memory::write(to + text.len() as u64, &0u8)?;
    Ok(text.len() as u64 + 1)
}

/// readlink(2), readlinkat(2).
pub fn readlink(thread: &mut Thread, dirfd: u64, pathname: u64, to: u64, size: u64) -> Result<u64> {
    if size as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    let size = (size as i32 as usize).min(4096);
    let mut room = PathRoom::new();
    let path = room.read(pathname)?;
    let process = thread.process();
    if path.to_bytes() == b"/proc/self/exe" {
        let exe = &process.exe[..process.exe_len as usize];
        let n = exe.len().min(size);
        memory::write_bytes(to, &exe[..n])?;
        return Ok(n as u64);
    }
    let empty = tables().empty.as_ptr() as u64;
    let read = |fd: u64| {
        let mut buffer = [0u8; 4096];
        let got = match checked(unsafe {
            syscall4(__NR_readlinkat, fd, empty, buffer.as_mut_ptr() as u64, 4096)
        }) {
            Err(Errno::ENOENT) => Err(Errno::EINVAL),
            other => other,
        }? as usize;
        let n = got.min(size);
        memory::write_bytes(to, &buffer[..n])?;
        Ok(n as u64)
    };
    if path.is_empty() {
        return if dirfd as i32 == AT_CWD {
            Err(Errno::ENOENT)
        } else {
            read(dirfd)
        };
    }
    let mut zone = None;
    let mut found = reach(thread, dirfd, path, true, &mut zone)?;
    for _ in 0..LINKS_MAX {
        match found {
            Reach::Node(fd) => {
                let result = read(fd);
                close(fd);
                return result;
            }
            Reach::Monitor => match ask_served(thread, Request::Readlink, &mut zone, 0, 0)? {
                Told::Answer(length) => {
                    let n = (length as usize).min(size);
                    memory::write_bytes(to, thread.mailbox().b.get(..n).ok_or(Errno::EIO)?)?;
                    return Ok(n as u64);
                }
                Told::Elsewhere => found = reach_again(thread, true, &mut zone)?,
            },
        }
    }
    Err(Errno::ELOOP)
}

/// Reaches the path in the room, to which a link of the monitor's mounts leads.
pub fn reach_again(thread: &Thread, is_nofollow: bool, zone: &mut Room) -> Result<Reach> {
    let mut path = PathBuf::new();
    path.set(text_of(zone)).map_err(from_error)?;
    reach(thread, AT_CWD as u64, path.as_c_str(), is_nofollow, zone)
}

/// The parent directory of a path, and the last name.
struct Parent {
    fd: u64,
    is_ours: bool,
    /// The last component; with its slashes behind it where the kernel is to judge them.
    name: [u8; 260],
}

impl Drop for Parent {
    fn drop(&mut self) {
        if self.is_ours {
            close(self.fd);
        }
    }
}

impl Parent {
    fn name(&self) -> u64 {
        self.name.as_ptr() as u64
    }
}

/// What is to happen to the last name; it decides what a root or mount point there is told.
#[derive(Clone, Copy)]
enum Purpose {
    Make,
    Unlink,
    /// rmdir(2), rename(2).
    Move,
    LinkFrom,
}

impl Purpose {
    /// For a directory that is always there and stays.
    fn held(self) -> Errno {
        match self {
            Self::Make => Errno::EEXIST,
            Self::Unlink => Errno::EISDIR,
            Self::Move => Errno::EBUSY,
            Self::LinkFrom => Errno::EPERM,
        }
    }
}

fn parent(thread: &Thread, dirfd: u64, path: &CStr, purpose: Purpose) -> Result<Parent> {
    let bytes = path.to_bytes();
    if bytes.is_empty() {
        return Err(Errno::ENOENT);
    }
    let end = bytes.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1);
    if end == 0 {
        return Err(purpose.held());
    }
    let start = bytes[..end]
        .iter()
        .rposition(|&b| b == b'/')
        .map_or(0, |i| i + 1);
    let last = &bytes[start..end];
    if last.len() > 255 {
        return Err(Errno::ENAMETOOLONG);
    }
    if bytes[0] == b'/' && mounts().is_held(&bytes[..end]) {
        return Err(purpose.held());
    }
    let mut name = [0u8; 260];
    name[..last.len()].copy_from_slice(last);
    if end < bytes.len() {
        name[last.len()] = b'/';
    }
    if start == 0 {
        return Ok(Parent {
            fd: dirfd,
            is_ours: false,
            name,
        });
    }
    let mut room = PathRoom::new();
    let directory = room.set(&bytes[..start])?;
    let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
    // The kernel refuses to change what is the monitor's own.
    let fd = open_anywhere(thread, dirfd, directory, flags, 0, &mut None)?;
    Ok(Parent {
        fd,
        is_ours: true,
        name,
    })
}

/// Whether the thread may have a file open in this way, by the zone's own users.
fn may_open(thread: &Thread, fd: u64, flags: u64) -> Result<()> {
    let uid = thread.credentials.uid[3];
    if uid == 0 || flags & u64::from(O_PATH) != 0 {
        return Ok(());
    }
    let reads_or_writes = match flags & 3 {
        0 => 4,
        1 => 2,
        _ => 6,
    };
    let cuts = if flags & u64::from(O_TRUNC) != 0 {
        2
    } else {
        0
    };
    if file::permits(thread, uid, &file::stat_of(fd)?, reads_or_writes | cuts) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// Whether the thread may change entries of a directory, by the zone's own users.
fn may_change(thread: &Thread, directory: u64) -> Result<()> {
    if thread.credentials.uid[3] == 0 {
        return Ok(());
    }
    may_change_as_user(thread, directory, None)
}

/// As [`may_change`], for an entry that is to go: from a sticky directory only its owner and the
/// directory's take it.
fn may_remove(thread: &Thread, parent: &Parent) -> Result<()> {
    if thread.credentials.uid[3] == 0 {
        return Ok(());
    }
    may_change_as_user(thread, parent.fd, Some(parent))
}

#[cold]
fn may_change_as_user(thread: &Thread, directory: u64, goes: Option<&Parent>) -> Result<()> {
    const STICKY: u32 = 0o1000;
    let uid = thread.credentials.uid[3];
    let st = if directory as i32 == AT_CWD {
        let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
        match open_confined(thread, directory, c".", flags, 0, &mut None)? {
            Opened::Descriptor(fd) => {
                let st = file::stat_of(fd);
                close(fd);
                st?
            }
            Opened::Monitor => return Err(Errno::EACCES),
        }
    } else {
        file::stat_of(directory)?
    };
    if !file::permits(thread, uid, &st, 3) {
        return Err(Errno::EACCES);
    }
    if let Some(parent) = goes
        && st.st_mode & STICKY != 0
        && st.st_uid != uid
    {
        let name = CStr::from_bytes_until_nul(&parent.name).map_err(|_| Errno::ENAMETOOLONG)?;
        // What is not there, or is no zone's file, the call itself judges.
        if let Ok(Opened::Descriptor(fd)) =
            open_confined(thread, directory, name, PATH_FLAGS | NOFOLLOW, 0, &mut None)
        {
            let st = file::stat_of(fd);
            close(fd);
            if st?.st_uid != uid {
                return Err(Errno::EPERM);
            }
        }
    }
    Ok(())
}

/// mkdir and mknod with their `at` forms.
pub fn make(
    thread: &mut Thread,
    nr: u32,
    dirfd: u64,
    pathname: u64,
    mode: u64,
    device: u64,
) -> Result<u64> {
    let mut room = PathRoom::new();
    let parent = parent(thread, dirfd, room.read(pathname)?, Purpose::Make)?;
    may_change(thread, parent.fd)?;
    let inherits = nr == __NR_mkdirat && gives_group(thread, parent.fd);
    let result = if nr == __NR_mkdirat {
        checked(unsafe { syscall3(nr, parent.fd, parent.name(), mode & 0o1777) })
    } else {
        match mode & 0o170_000 {
            0 | 0o100_000 | 0o010_000 | 0o140_000 => {
                checked(unsafe { syscall4(nr, parent.fd, parent.name(), mode & !0o6000, 0) })
            }
            0o020_000 | 0o060_000 if thread.credentials.is_root() => {
                let _ = device;
                Err(Errno::EPERM)
            }
            0o020_000 | 0o060_000 => Err(Errno::EPERM),
            0o040_000 => Err(Errno::EPERM),
            _ => Err(Errno::EINVAL),
        }
    }?;
    if inherits || thread.credentials.uid[3] != 0 || thread.credentials.gid[3] != 0 {
        let flags = PATH_FLAGS | NOFOLLOW;
        if let Ok(fd) =
            how(thread, flags, 0).and_then(|how| openat2_raw(parent.fd, parent.name(), how))
        {
            file::own_new(thread, fd);
            if inherits {
                file::add_mode(thread, fd, SET_GID);
            }
            close(fd);
        }
    }
    Ok(result)
}

/// The set-group-id bit of a mode (inode(7)).
const SET_GID: u64 = 0o2000;

/// Whether directories made in this one have their group from it, and hand it on.
fn gives_group(thread: &Thread, directory: u64) -> bool {
    let stat = if directory as i32 == AT_CWD {
        let here = how(thread, PATH_FLAGS, 0)
            .and_then(|how| openat2_raw(directory, c".".as_ptr() as u64, how));
        here.and_then(|fd| {
            let stat = file::stat_of(fd);
            close(fd);
            stat
        })
    } else {
        file::stat_of(directory)
    };
    stat.is_ok_and(|stat| u64::from(stat.st_mode) & SET_GID != 0)
}

/// unlink(2), rmdir(2), unlinkat(2).
pub fn unlink(thread: &mut Thread, dirfd: u64, pathname: u64, flags: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let purpose = if flags & u64::from(AT_REMOVEDIR) == 0 {
        Purpose::Unlink
    } else {
        Purpose::Move
    };
    let parent = parent(thread, dirfd, room.read(pathname)?, purpose)?;
    may_remove(thread, &parent)?;
    let result = checked(unsafe { syscall3(__NR_unlinkat, parent.fd, parent.name(), flags) });
    // Landlock refuses before the kernel looks at what it is.
    if result == Err(Errno::EACCES)
        && let Ok(how) = how(thread, PATH_FLAGS | NOFOLLOW, 0)
        && let Ok(fd) = openat2_raw(parent.fd, parent.name(), how)
    {
        let found = file::stat_of(fd);
        close(fd);
        let is_dir = found?.st_mode & 0o170_000 == 0o040_000;
        return match purpose {
            Purpose::Move if !is_dir => Err(Errno::ENOTDIR),
            Purpose::Unlink if is_dir => Err(Errno::EISDIR),
            _ => result,
        };
    }
    result
}

/// Paths found before the change just made need not be right any more.
fn note_links() {
    commons()
        .links
        .fetch_add(1, core::sync::atomic::Ordering::AcqRel);
}

/// rename(2), renameat(2), renameat2(2).
pub fn rename(
    thread: &mut Thread,
    from_dir: u64,
    from: u64,
    to_dir: u64,
    to: u64,
    flags: u64,
) -> Result<u64> {
    let mut room = PathRoom::new();
    let from = parent(thread, from_dir, room.read(from)?, Purpose::Move)?;
    let to = parent(thread, to_dir, room.read(to)?, Purpose::Move)?;
    may_remove(thread, &from)?;
    may_remove(thread, &to)?;
    let result = checked(unsafe {
        syscall5(
            __NR_renameat2,
            from.fd,
            from.name(),
            to.fd,
            to.name(),
            flags,
        )
    });
    note_links();
    result
}

/// link(2), linkat(2).
pub fn link(
    thread: &mut Thread,
    from_dir: u64,
    from: u64,
    to_dir: u64,
    to: u64,
    flags: u64,
) -> Result<u64> {
    let (mut room, mut other) = (PathRoom::new(), PathRoom::new());
    if flags & !u64::from(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = room.read(from)?;
    let to = parent(thread, to_dir, other.read(to)?, Purpose::Make)?;
    may_change(thread, to.fd)?;
    let by_descriptor = if path.is_empty() && flags & u64::from(AT_EMPTY_PATH) != 0 {
        Some(from_dir)
    } else {
        own_descriptor(path)
    };
    if let Some(fd) = by_descriptor {
        let empty = tables().empty.as_ptr() as u64;
        return checked(unsafe {
            syscall5(
                __NR_linkat,
                fd,
                empty,
                to.fd,
                to.name(),
                u64::from(AT_EMPTY_PATH),
            )
        });
    }
    if flags & u64::from(AT_SYMLINK_FOLLOW) != 0 {
        let mut at = PathBuf::new();
        let found = walk(thread, from_dir, path, Last::Follow, &mut at)?;
        if found.is_monitor {
            return Err(Errno::EXDEV);
        }
        let from = parent(thread, AT_CWD as u64, at.as_c_str(), Purpose::LinkFrom)?;
        return checked(unsafe {
            syscall5(__NR_linkat, from.fd, from.name(), to.fd, to.name(), 0)
        });
    }
    let from = parent(thread, from_dir, path, Purpose::LinkFrom)?;
    checked(unsafe { syscall5(__NR_linkat, from.fd, from.name(), to.fd, to.name(), 0) })
}

/// `/proc/self/fd/N`, by which libc links an `O_TMPFILE` and changes the mode of an `O_PATH`.
pub fn own_descriptor(path: &CStr) -> Option<u64> {
    let digits = path.to_bytes().strip_prefix(b"/proc/self/fd/")?;
    if digits.is_empty() {
        return None;
    }
    let mut fd = 0u64;
    for &digit in digits {
        fd = fd
            .checked_mul(10)?
            .checked_add(u64::from(digit.wrapping_sub(b'0')))
            .filter(|_| digit.is_ascii_digit())?;
    }
    (fd < u64::from(FD_BASE)).then_some(fd)
}

/// symlink(2), symlinkat(2).
pub fn symlink(thread: &mut Thread, target: u64, dirfd: u64, pathname: u64) -> Result<u64> {
    let (mut room, mut other) = (PathRoom::new(), PathRoom::new());
    let target = room.read(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let parent = parent(thread, dirfd, other.read(pathname)?, Purpose::Make)?;
    may_change(thread, parent.fd)?;
    let result = checked(unsafe {
        syscall3(
            __NR_symlinkat,
            target.as_ptr() as u64,
            parent.fd,
            parent.name(),
        )
    });
    note_links();
    result
}

/// truncate(2).
pub fn truncate(thread: &mut Thread, pathname: u64, length: u64) -> Result<u64> {
    let fd = open(
        thread,
        AT_CWD as u64,
        pathname,
        u64::from(O_WRONLY | O_CLOEXEC | O_NONBLOCK),
        0,
    )?;
    let result = checked(unsafe { syscall2(__NR_ftruncate, fd, length) });
    close(fd);
    result
}

/// statfs(2).
pub fn statfs(thread: &mut Thread, pathname: u64, to: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = own_exe(thread, room.read(pathname)?);
    let mut zone = None;
    let fd = open_anywhere(thread, AT_CWD as u64, path, PATH_FLAGS, 0, &mut zone)?;
    let result = match served_magic(fd, text_of(&zone)) {
        None => checked(unsafe { syscall2(__NR_fstatfs, fd, to) }),
        Some(magic) => {
            // struct statfs: type, block size, then nothing but the longest name.
            let mut words = [0u64; 15];
            (words[0], words[1], words[8]) = (magic, 4096, 255);
            memory::write(to, &words).map(|()| 0)
        }
    };
    close(fd);
    result
}

/// The file system type of a node of the monitor's mounts, found by this zone path.
fn served_magic(fd: u64, zone: &[u8]) -> Option<u64> {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    let got = unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) };
    // A link of the monitor's may have led to a directory of the zone.
    let is_dir = st.st_mode & 0o170_000 == 0o040_000;
    if got < 0 || !is_monitors(zone) || (is_dir && st.st_mode != DIRECTORY_MODE) {
        return None;
    }
    const PROC: u64 = 0x9fa0;
    const DEVPTS: u64 = 0x1cd1;
    const TMPFS: u64 = 0x0102_1994;
    Some(if zone.starts_with(b"/proc") {
        PROC
    } else if zone.starts_with(b"/dev/pts") {
        DEVPTS
    } else {
        TMPFS
    })
}
