//! What the kernel cannot finish: the resolver of fsmap over confined opens, and where a descriptor is.

use super::deep;
use super::layer::{at_end, has_layers, is_of_layer, missed, step};
use super::reach::{Opened, open_anywhere, open_in_mount, open_served};
use super::root::root;
use super::search::{Key, goes_anywhere, rights};
use super::{
    AT_CWD, NOFOLLOW, PATH_FLAGS, Room, TRIES, close, from_error, how, last_of, mount_rows, mounts,
    openat2_raw, read_link, to_error,
};
use crate::arch::syscall2;
use crate::dispatch::checked;
use crate::file::Power;
use crate::memory::ZonePath;
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, file};
use core::ffi::CStr;
use linux_raw_sys::general::*;
use picozone_fsmap::{Bounds, Error, Last, MountRow, PathBuf, Resolved, Served, Tree, resolve};
use picozone_personality::layout::{DIRECTORY_MODE, FD_BASE};
use picozone_personality::mailbox::{ELSEWHERE, Request};

/// The kernel as fsmap's tree: each step is confined beneath a mount.
struct Kernel<'a>(&'a Thread);

impl Tree for Kernel<'_> {
    type Node = u64;
    fn open_path(&mut self, mount: usize, rel: &PathBuf) -> core::result::Result<u64, Error> {
        let how = how(self.0, PATH_FLAGS | NOFOLLOW, 0).map_err(to_error)?;
        let row = mount_rows().get(mount).ok_or(Error::ENOENT)?;
        let fd = row.fd as u64;
        for _ in 0..TRIES {
            let opened = if row.is_added() {
                open_in_mount(mount, rel.as_bytes(), how)
            } else {
                openat2_raw(fd, rel.as_c_str().as_ptr() as u64, how)
            };
            match opened {
                Err(Errno::EAGAIN) => {}
                Ok(node) if has_layers() => {
                    return step(self.0, mount, rel, node).map_err(to_error);
                }
                Err(Errno::EXDEV) if has_layers() => {
                    return Err(to_error(missed(self.0, mount, rel)));
                }
                other => return other.map_err(to_error),
            }
        }
        Err(Error::ENOENT)
    }
    fn readlink(&mut self, node: &u64, to: &mut [u8]) -> core::result::Result<usize, Error> {
        read_link(*node, to).map_err(|errno| match errno {
            Errno::ENOENT => Error::EINVAL,
            errno => to_error(errno),
        })
    }
    fn is_dir(&mut self, node: &u64) -> core::result::Result<bool, Error> {
        let st = file::stat_of(*node).map_err(to_error)?;
        Ok(st.st_mode & 0o170_000 == 0o040_000)
    }
    fn close(&mut self, node: u64) {
        close(node);
    }
    fn searches(&self) -> bool {
        !goes_anywhere(self.0)
    }
    fn served(&mut self, at: &PathBuf, to: &mut [u8]) -> core::result::Result<Served, Error> {
        let overrides = u64::from(file::has(self.0, Power::Override));
        let args = [AT_CWD as u64, 0, 0, overrides];
        match self.0.ask_about(Request::Readlink, at.as_bytes(), &args) {
            Ok(value) => {
                let length = (value & !ELSEWHERE) as usize;
                let length = length.min(to.len());
                let text = self
                    .0
                    .mailbox()
                    .b
                    .get(..length)
                    .ok_or(to_error(Errno::EIO))?;
                to[..length].copy_from_slice(text);
                // Links of processes are magic, those above them are not.
                let below = at.as_bytes().strip_prefix(b"/proc/");
                let is_magic = below.is_some_and(|below| below.contains(&b'/'));
                Ok(if is_magic || value & ELSEWHERE != 0 {
                    Served::Magic(length)
                } else {
                    Served::Link(length)
                })
            }
            // What is missing is told when it is opened.
            _ => Ok(Served::Other),
        }
    }
    fn search(&mut self, mount: usize, rel: &PathBuf) -> core::result::Result<(), Error> {
        let place = [u64::MAX, mount as u64];
        let key = Key::new(&self.0.credentials, place, rel.as_bytes());
        if key.is_known() {
            return Ok(());
        }
        let before = rights();
        let node = self.open_path(mount, rel)?;
        let st = file::stat_of(node);
        close(node);
        let st = st.map_err(to_error)?;
        // What is no directory, the next step refuses.
        let is_dir = st.st_mode & 0o170_000 == 0o040_000;
        if is_dir && !file::permits(self.0, &st, 1) {
            return Err(Error::EACCES);
        }
        key.remember(before);
        Ok(())
    }
}

/// The zone path of a directory descriptor; relative walks over mounts begin there.
pub(super) fn zone_path_of(thread: &Thread, dirfd: u64, to: &mut PathBuf) -> Result<()> {
    if dirfd as i32 == AT_CWD {
        let mut host = [0u8; 4096];
        let length =
            checked(unsafe { syscall2(__NR_getcwd, host.as_mut_ptr() as u64, 4096) })? as usize;
        let host = host.get(..length.saturating_sub(1)).unwrap_or(b"");
        let root = root(thread);
        let is_told = match root.is_empty() {
            true => mounts().to_zone(host, to),
            false => mounts().to_zone_from(host, root, to),
        };
        return if is_told { Ok(()) } else { Err(Errno::ENOENT) };
    }
    let length = thread.ask(Request::FdPath, &[dirfd])? as usize;
    let text = thread.mailbox().b.get(..length).ok_or(Errno::EIO)?;
    to.set(text).map_err(from_error)?;
    Ok(())
}

/// Where a path leads that the kernel could not finish.
pub(super) fn walk(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    last: Last,
    at: &mut PathBuf,
) -> Result<Resolved> {
    let mut path = path;
    if path.to_bytes().first() != Some(&b'/') {
        let is_named = dirfd as i32 != AT_CWD;
        if is_named && file::kind_of(dirfd).is_some_and(|kind| kind != S_IFDIR) {
            return Err(Errno::ENOTDIR);
        }
        match zone_path_of(thread, dirfd, at) {
            // A working directory that was removed still has a parent.
            Err(Errno::ENOENT) => {
                path = after_dots(path).ok_or(Errno::ENOENT)?;
                let length = thread.ask(Request::FdPath, &[dirfd])? as usize;
                let text = thread.mailbox().b.get(..length).ok_or(Errno::EIO)?;
                at.set(text).map_err(from_error)?;
                at.pop();
            }
            other => other?,
        }
    }
    let root = root(thread);
    let bounds = Bounds {
        root,
        ..Bounds::default()
    };
    walk_within(thread, &bounds, path, last, at)
}

/// What of a path is left to walk from the directory above, if it begins with `..`.
#[cold]
fn after_dots(path: &CStr) -> Option<&CStr> {
    let rest = path.to_bytes_with_nul().strip_prefix(b"..")?;
    let name = rest.iter().position(|&byte| byte != b'/')?;
    match (name, rest.get(name..)?) {
        (_, b"\0") => Some(c"."),
        (0, _) => None,
        (_, left) => CStr::from_bytes_until_nul(left).ok(),
    }
}

/// The long way: component by component.
#[cold]
#[inline(never)]
pub(super) fn open_walked(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    how: (u64, u64),
    zone: &mut Room,
) -> Result<Opened> {
    match open_named(thread, dirfd, path, how, zone) {
        Err(errno) if deep::is_for(errno, path) => deep::open_deep(thread, dirfd, path, how, zone),
        other => other,
    }
}

/// The same where there are paths.
#[cold]
#[inline(never)]
pub(super) fn open_named(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    (flags, mode): (u64, u64),
    zone: &mut Room,
) -> Result<Opened> {
    let last = last_of(flags);
    let at = zone.get_or_insert_with(ZonePath::new);
    for _ in 0..TRIES {
        at.truncate(0);
        let found = walk(thread, dirfd, path, last, at)?;
        if found.is_monitor {
            if found.must_be_dir && at.as_bytes().last() != Some(&b'/') {
                at.append(b"/").map_err(from_error)?;
            }
            if let Some((directory, rest)) = own_way(thread, at.as_c_str()) {
                let opened = open_anywhere(thread, directory, rest, flags, mode, &mut None);
                return opened.map(Opened::Descriptor);
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
        let opened = open_in_mount(found.mount, rest, how);
        let opened = if has_layers() {
            match at_end(thread, (found.mount, rest), flags | directory, opened)? {
                None => continue,
                Some(opened) => opened,
            }
        } else {
            opened
        };
        match opened {
            Err(Errno::EXDEV | Errno::EAGAIN) => {}
            other => return other.map(Opened::Descriptor),
        }
    }
    Err(Errno::ENOENT)
}

/// What a path of `/proc` names beneath the working directory or a descriptor of the process itself: these
/// are open already, wherever they lie and whoever may go there by their paths.
#[cold]
#[inline(never)]
fn own_way<'p>(thread: &Thread, zone: &'p CStr) -> Option<(u64, &'p CStr)> {
    // A clerk's are not whose call it is.
    if thread.process().is_clerk {
        return None;
    }
    let text = zone.to_bytes_with_nul();
    let of_self = text.strip_prefix(b"/proc/self/")?;
    if let Some(rest) = of_self.strip_prefix(b"cwd/") {
        return Some((AT_CWD as u64, or_here(rest)?));
    }
    let below = of_self.strip_prefix(b"fd/")?;
    let mut number = 0u64;
    for (at, &byte) in below.iter().enumerate() {
        if byte == b'/' {
            let is_open = at > 0 && file::kind_of(number).is_some();
            let rest = below.get(at + 1..)?;
            return is_open.then_some((number, or_here(rest)?));
        }
        let digit = u64::from(byte.wrapping_sub(b'0'));
        number = 10 * number + digit;
        if digit > 9 || number >= u64::from(FD_BASE) {
            return None;
        }
    }
    None
}

/// What is left of a path, which nothing at its end leaves a `.` of.
fn or_here(rest: &[u8]) -> Option<&CStr> {
    if rest.first() == Some(&0) {
        return Some(c".");
    }
    CStr::from_bytes_until_nul(rest).ok()
}

/// The same from the directory in `at`, within bounds.
pub(super) fn walk_within(
    thread: &Thread,
    bounds: &Bounds<'_>,
    path: &CStr,
    last: Last,
    at: &mut PathBuf,
) -> Result<Resolved> {
    let (mounts, mut kernel) = (mounts(), Kernel(thread));
    resolve(&mounts, &mut kernel, bounds, at, path.to_bytes(), last).map_err(from_error)
}

/// Whether a directory is one of the monitor's: nothing beneath it is to be looked at natively.
pub(super) fn is_served(thread: &Thread, dirfd: u64) -> bool {
    if dirfd as i32 != AT_CWD {
        let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
        let got = unsafe { syscall2(__NR_fstat, dirfd, &raw mut st as u64) };
        if got < 0 || st.st_mode != DIRECTORY_MODE {
            return false;
        }
    }
    is_served_by_path(thread, dirfd)
}

/// Apart, so that who asks has no buffer on its stack.
#[cold]
#[inline(never)]
fn is_served_by_path(thread: &Thread, dirfd: u64) -> bool {
    let mut at = PathBuf::new();
    zone_path_of(thread, dirfd, &mut at).is_ok() && is_monitors(at.as_bytes())
}

/// Whether a zone path lies in a mount of the monitor's.
pub fn is_monitors(zone: &[u8]) -> bool {
    row_at(zone).is_some_and(MountRow::is_monitor)
}

/// The mount that a zone path lies in.
pub fn row_at(zone: &[u8]) -> Option<&'static MountRow> {
    let (mount, _) = mounts().find(zone);
    mount_rows().get(mount)
}

/// The zone path of a descriptor of a directory or a link of the monitor's, by its attributes on the host.
pub fn served_path(
    thread: &Thread,
    fd: u64,
    st: &linux_raw_sys::general::stat,
) -> Option<ZonePath> {
    if st.st_mode == DIRECTORY_MODE || is_served_link(st.st_mode, st.st_dev, st.st_ino) {
        served_path_of(thread, fd)
    } else {
        None
    }
}

/// The same, where the attributes are known to fit.
#[cold]
#[inline(never)]
pub fn served_path_of(thread: &Thread, fd: u64) -> Option<ZonePath> {
    let mut at = ZonePath::new();
    zone_path_of(thread, fd, &mut at).ok()?;
    is_monitors(at.as_bytes()).then_some(at)
}

/// Brings the directory of a process' threads up to date, which a program that waits for their end reads
/// from its beginning again. Opened anew, the monitor does that to the directory that is open already.
/// Not so that of descriptors: it is given the one that is opened, too.
#[cold]
#[inline(never)]
pub fn bring_up_to_date(thread: &Thread, fd: u64) -> bool {
    let Some(path) = served_path_of(thread, fd) else {
        return false;
    };
    if !path.as_bytes().starts_with(b"/proc/") || !path.as_bytes().ends_with(b"/task") {
        return false;
    }
    let flags = u64::from(O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    match open_served(thread, flags, 0, &mut Some(path)) {
        Ok(opened) => {
            close(opened);
            true
        }
        Err(_) => false,
    }
}

pub(super) fn is_placeholder(fd: u64) -> bool {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    if unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) } < 0
        || st.st_mode & 0o170_000 != 0o120_000
    {
        return false;
    }
    is_stand_in(st.st_dev, st.st_ino) || is_of_layer(fd)
}

/// Whether a link stands for a mount point, or for what the monitor serves.
pub fn is_stand_in(dev: u64, ino: u64) -> bool {
    mounts().is_placeholder(dev, ino).is_some() || is_served_name(dev, ino)
}

/// Whether it is what stands for an entry of a directory of the monitor's.
fn is_served_name(dev: u64, ino: u64) -> bool {
    let mut served = tables().placeholders.iter();
    served.any(|held| held.ino == ino && held.dev == dev)
}

/// Whether attributes are those of a link of the monitor's that is open as such: of what else stands for
/// an entry there is no descriptor.
pub fn is_served_link(mode: u32, dev: u64, ino: u64) -> bool {
    mode & 0o170_000 == S_IFLNK && is_served_name(dev, ino)
}
