//! Names in copy-on-write layers that stand for what lies below ([`StandIn`]).
//!
//! What is only read is opened here, beneath the tree below, which Landlock lets nobody change. The
//! monitor makes of a stand-in what it stands for ([`Request::Raise`]): of a directory when somebody
//! goes into it, of a file when it is about to be changed. As the zone's own, what lies in a layer is
//! then the kernel's affair.
//!
//! A stand-in that a guest made itself would show it nothing but what its zone may read anyway.

use super::names::Parent;
use super::reach::open_in_mount;
use super::root::root;
use super::walk::zone_path_of;
use super::{NOFOLLOW, PATH_FLAGS, close, how, mount_rows, mounts, openat2_raw, read_link};
use crate::arch::syscall2;
use crate::file::{self, Power};
use crate::memory::PathRoom;
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_fsmap::{MountRow, PATH_MAX, PathBuf, StandIn};
use picozone_personality::mailbox::{Request, raise};

/// With the flags of an open: a file will be changed by the descriptor, though it only names.
pub const CHANGES: u64 = 1 << 62;
/// The same: no more than a look at attributes is wanted, so that a directory need not be unfolded.
pub const LOOKS: u64 = 1 << 61;

/// Whether the zone has copy-on-write mounts.
#[inline]
pub fn has_layers() -> bool {
    tables().layers != 0
}

/// What a stand-in stands for.
struct Below {
    /// Descriptor of the tree below.
    tree: u64,
    is_directory: bool,
    path: PathBuf,
}

impl Below {
    /// What the link that a descriptor names stands for, by its name.
    #[inline(never)]
    fn of(node: u64, name: &[u8]) -> Option<Below> {
        let mut text = [0u8; PATH_MAX];
        let length = read_link(node, &mut text).ok()?;
        let said = StandIn::parse(text.get(..length)?)?;
        let tree = mounts().below(said.mount)?.fd as u64;
        let mut path = PathBuf::new();
        said.path(name, &mut path).ok()?;
        Some(Below {
            tree,
            is_directory: said.is_directory,
            path,
        })
    }

    fn open(&self, how: u64) -> Result<u64> {
        match openat2_raw(self.tree, self.path.as_c_str().as_ptr() as u64, how) {
            // The host has put something else there, which is not what was seen here.
            Err(Errno::EXDEV | Errno::ELOOP) => Err(Errno::ENOENT),
            other => other,
        }
    }

    /// Whether it is a file of several names.
    fn has_names(&self, thread: &Thread) -> bool {
        let to_node = how(thread, PATH_FLAGS | NOFOLLOW, 0);
        let Ok(fd) = to_node.and_then(|how| self.open(how)) else {
            return false;
        };
        let has = has_names(fd);
        close(fd);
        has
    }

    /// Opens it for reading. `None` if it has another name that was changed, and is to be looked for
    /// again.
    fn read(&self, thread: &Thread, at: Place, flags: u64) -> Result<Option<u64>> {
        let kept = flags & !u64::from(O_CREAT | O_EXCL);
        let fd = self.open(how(thread, kept, 0)?)?;
        if tables().linked_layers.load(Relaxed) == 0 {
            return Ok(Some(fd));
        }
        if !has_names(fd) {
            return Ok(Some(fd));
        }
        match at.raise(thread, raise::IF_LINKED) {
            Ok(0) | Err(_) => Ok(Some(fd)),
            Ok(_) => {
                close(fd);
                Ok(None)
            }
        }
    }
}

fn has_names(fd: u64) -> bool {
    let mut st = unsafe { core::mem::zeroed::<stat>() };
    let got = unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) };
    got >= 0 && st.st_nlink > 1 && st.st_mode & 0o170_000 == S_IFREG
}

/// A name in a directory.
#[derive(Clone, Copy)]
enum Place<'p> {
    /// Beneath the descriptor of a mount.
    InMount(usize, &'p [u8]),
    In(u64, &'p [u8]),
    /// The directory is found by this path, the name is behind it.
    ByPath(u64, &'p [u8], &'p [u8]),
}

impl Place<'_> {
    /// Has the monitor make of a stand-in what it stands for.
    fn raise(self, thread: &Thread, operation: u64) -> Result<u64> {
        let to_directory = how(thread, PATH_FLAGS | u64::from(O_DIRECTORY), 0)?;
        let (directory, name) = match self {
            Place::In(directory, name) => {
                return thread.ask_about(Request::Raise, name, &[directory, operation]);
            }
            Place::InMount(mount, rel) => {
                let (front, name) = split(rel);
                (open_in_mount(mount, front, to_directory)?, name)
            }
            Place::ByPath(fd, front, name) => {
                let mut room = PathRoom::new();
                let front = room.set(if front.is_empty() { b"." } else { front })?;
                let opened = openat2_raw(fd, front.as_ptr() as u64, to_directory)?;
                (opened, name)
            }
        };
        let raised = thread.ask_about(Request::Raise, name, &[directory, operation]);
        close(directory);
        raised
    }
}

/// A directory, without its slash, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Opens what a stand-in stands for; `None` if it is none any more, and to be opened again.
fn open_stand_in(thread: &Thread, below: &Below, at: Place, flags: u64) -> Result<Option<u64>> {
    let has = |flag: u32| flags & u64::from(flag) != 0;
    let is_path = has(O_PATH);
    if below.is_directory && !(is_path && flags & LOOKS != 0) {
        at.raise(thread, raise::WHOLE)?;
        return Ok(None);
    }
    let is_made = !is_path && has(O_CREAT) && has(O_EXCL);
    if is_made {
        return Err(Errno::EEXIST);
    }
    if has(O_DIRECTORY) && !below.is_directory {
        return Err(Errno::ENOTDIR);
    }
    let writes = !is_path && (flags & u64::from(O_ACCMODE) != 0 || has(O_TRUNC));
    let is_root = || file::has(thread, Power::Override) && file::has(thread, Power::Owner);
    if writes || (flags & CHANGES != 0 && is_root()) {
        if !is_root() {
            may_write(thread, below, flags)?;
        }
        let is_cut = has(O_TRUNC) && flags & u64::from(O_ACCMODE) != 0;
        let operation = if is_cut { raise::EMPTY } else { raise::WHOLE };
        at.raise(thread, operation)?;
        return Ok(None);
    }
    below.read(thread, at, flags)
}

/// Whether one of the zone's users may write a file, asked before it is copied.
fn may_write(thread: &Thread, below: &Below, flags: u64) -> Result<()> {
    let fd = below.open(how(thread, PATH_FLAGS | NOFOLLOW, 0)?)?;
    let st = file::stat_of(fd);
    close(fd);
    let reads = if flags & u64::from(O_ACCMODE) == u64::from(O_RDWR) {
        4
    } else {
        0
    };
    if file::permits(thread, &st?, 2 | reads) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// What an open gave at the path beneath a mount at which a walk has ended, where that may be a
/// stand-in. `None` if it is to be opened again.
#[cold]
#[inline(never)]
pub(super) fn at_end(
    thread: &Thread,
    (mount, rel): (usize, &[u8]),
    flags: u64,
    opened: Result<u64>,
) -> Result<Option<Result<u64>>> {
    let only_names = NOFOLLOW | u64::from(O_PATH);
    let may_be_one = match opened {
        Ok(_) => flags & only_names == only_names,
        Err(errno) => matches!(errno, Errno::EXDEV | Errno::ELOOP | Errno::ENOTDIR),
    };
    if !may_be_one || rel.is_empty() {
        return Ok(Some(opened));
    }
    let Ok(node) = open_in_mount(mount, rel, how(thread, PATH_FLAGS | NOFOLLOW, 0)?) else {
        return Ok(Some(opened));
    };
    let below = Below::of(node, split(rel).1);
    close(node);
    let Some(below) = below else {
        return Ok(Some(opened));
    };
    if let Ok(fd) = opened {
        close(fd);
    }
    let found = open_stand_in(thread, &below, Place::InMount(mount, rel), flags)?;
    Ok(found.map(Ok))
}

/// The short way to a stand-in at the end of a path that the kernel can walk by itself; `None` for
/// anything else.
#[cold]
#[inline(never)]
pub(super) fn open_at_once(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
) -> Result<Option<u64>> {
    if !root(thread).is_empty() {
        return Ok(None);
    }
    let text = path.to_bytes();
    let (dirfd, rest) = if text.first() == Some(&b'/') {
        let (mount, rest) = mounts().find(text);
        match mount_rows().get(mount) {
            Some(row) if !row.is_monitor() && !row.is_added() && row.sub().is_empty() => {
                (row.fd as u64, rest)
            }
            _ => return Ok(None),
        }
    } else {
        (dirfd, text)
    };
    let (front, name) = split(rest);
    if matches!(name, b"" | b"." | b"..") {
        return Ok(None);
    }
    let to_node = how(thread, PATH_FLAGS | NOFOLLOW, 0)?;
    let Ok(node) = openat2_raw(dirfd, rest.as_ptr() as u64, to_node) else {
        return Ok(None);
    };
    let below = Below::of(node, name);
    close(node);
    match below {
        Some(below) => open_stand_in(thread, &below, Place::ByPath(dirfd, front, name), flags),
        None => Ok(None),
    }
}

/// What a walk finds where a stand-in may be: a directory is unfolded, of a file the one below is
/// taken.
pub(super) fn step(thread: &Thread, mount: usize, rel: &PathBuf, node: u64) -> Result<u64> {
    if file::kind_of(node) != Some(S_IFLNK) {
        return Ok(node);
    }
    step_on(thread, mount, rel, node)
}

#[cold]
#[inline(never)]
fn step_on(thread: &Thread, mount: usize, rel: &PathBuf, node: u64) -> Result<u64> {
    let rel = rel.as_bytes();
    let Some(below) = Below::of(node, split(rel).1) else {
        return Ok(node);
    };
    close(node);
    let to_node = how(thread, PATH_FLAGS | NOFOLLOW, 0)?;
    if below.is_directory {
        Place::InMount(mount, rel).raise(thread, raise::WHOLE)?;
        return open_in_mount(mount, rel, to_node);
    }
    below.open(to_node)
}

/// What it means that a walk could not go on to the end of a path: a stand-in for a file is no
/// directory.
#[cold]
#[inline(never)]
pub(super) fn missed(thread: &Thread, mount: usize, rel: &PathBuf) -> Errno {
    let (front, _) = split(rel.as_bytes());
    let to_node = how(thread, PATH_FLAGS | NOFOLLOW, 0);
    match to_node.and_then(|how| open_in_mount(mount, front, how)) {
        Ok(node) => {
            let is_one = is_of_layer(node);
            close(node);
            if is_one { Errno::ENOTDIR } else { Errno::EXDEV }
        }
        Err(_) => Errno::EXDEV,
    }
}

/// Whether a link is a stand-in.
pub(super) fn is_of_layer(node: u64) -> bool {
    has_layers() && says_so(node)
}

/// By any name. Apart, so that who asks has no buffer on its stack.
#[cold]
#[inline(never)]
fn says_so(node: u64) -> bool {
    Below::of(node, b"name").is_some()
}

/// What is about to happen to a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// unlink(2), which a directory refuses.
    Unlinked,
    /// rmdir(2), or to be replaced by what is renamed: a directory must be known to be empty.
    Replaced,
    /// To get another name, or one more.
    Moved,
}

/// Makes a name ready for a call that changes names: the kernel takes a stand-in for a link.
#[inline]
pub(super) fn settle(thread: &Thread, parent: &Parent, fate: Fate) -> Result<()> {
    if has_layers() {
        settle_in_layer(thread, parent, fate)
    } else {
        Ok(())
    }
}

#[cold]
#[inline(never)]
fn settle_in_layer(thread: &Thread, parent: &Parent, fate: Fate) -> Result<()> {
    let name = parent.name.split(|&byte| byte == 0 || byte == b'/').next();
    let name = name.unwrap_or(b"");
    let mut room = PathRoom::new();
    let path = room.set(name)?;
    let to_node = how(thread, PATH_FLAGS | NOFOLLOW, 0)?;
    let Ok(node) = openat2_raw(parent.fd, path.as_ptr() as u64, to_node) else {
        return Ok(());
    };
    let below = Below::of(node, name);
    close(node);
    match below {
        None => Ok(()),
        Some(below) if below.is_directory && fate == Fate::Unlinked => Err(Errno::EISDIR),
        Some(below) => {
            let raised = || Place::In(parent.fd, name).raise(thread, raise::WHOLE);
            if below.is_directory || fate == Fate::Moved {
                raised()?;
            } else if below.has_names(thread) {
                // So that the others count one less. What cannot be copied goes all the same.
                let _ = raised();
            }
            Ok(())
        }
    }
}

/// A descriptor of what stands in a layer for the file below that a descriptor names, raised by this;
/// EROFS for anything else.
pub fn raised(thread: &Thread, fd: u64) -> Result<u64> {
    if !has_layers() {
        return Err(Errno::EROFS);
    }
    thread.ask_about(Request::Raise, b"", &[fd, raise::DESCRIPTOR])
}

/// Whether what a descriptor names is the zone's to change since it lies in a copy-on-write mount.
#[cold]
#[inline(never)]
pub fn is_in_layer(thread: &Thread, fd: u64) -> bool {
    let mut at = PathBuf::new();
    if !has_layers() || zone_path_of(thread, fd, &mut at).is_err() {
        return false;
    }
    let (mount, _) = mounts().find(at.as_bytes());
    let point = mount_rows().get(mount).map(MountRow::prefix);
    let mut below = mount_rows().iter().filter(|row| row.is_below());
    below.any(|row| Some(row.prefix()) == point)
}

/// How a listing shows the entries of a layer.
pub struct Listed {
    /// The directory, its device once that was asked for, and the last stand-in seen in it.
    directory: u64,
    device: Option<u64>,
    last: Option<(u64, u64, PathBuf)>,
}

impl Listed {
    pub fn new(directory: u64) -> Listed {
        Listed {
            directory,
            device: None,
            last: None,
        }
    }

    /// Inode and type of a link, if it is a stand-in.
    pub fn stand_in(&mut self, ino: u64, name: u64) -> Option<(u64, u8)> {
        let mut room = PathRoom::new();
        let name = room.read(name).ok()?;
        let thread = crate::thread::me();
        let to_node = how(thread, PATH_FLAGS | NOFOLLOW, 0).ok()?;
        // All stand-ins of a kind are names of one link.
        let is_known = self.last.as_ref().is_some_and(|last| last.0 == ino);
        if !is_known {
            self.last = None;
            let node = openat2_raw(self.directory, name.as_ptr() as u64, to_node).ok()?;
            let below = Below::of(node, name.to_bytes());
            close(node);
            let below = below?;
            self.last = Some((ino, below.tree, below.path));
        }
        let (_, tree, path) = self.last.as_mut()?;
        path.pop();
        path.push(name.to_bytes()).ok()?;
        let node = openat2_raw(*tree, path.as_c_str().as_ptr() as u64, to_node).ok()?;
        let mut st = unsafe { core::mem::zeroed::<stat>() };
        let got = unsafe { syscall2(__NR_fstat, node, &raw mut st as u64) };
        close(node);
        (got >= 0).then_some((st.st_ino, (st.st_mode >> 12) as u8))
    }

    /// The inode that an entry of the layer's own shows, if it is another one.
    pub fn origin(&mut self, ino: u64, name: u64) -> Option<u64> {
        let directory = self.directory;
        let device = *self.device.get_or_insert_with(|| {
            let mut st = unsafe { core::mem::zeroed::<stat>() };
            unsafe { syscall2(__NR_fstat, directory, &raw mut st as u64) };
            st.st_dev
        });
        let born = || {
            let mut room = PathRoom::new();
            let name = room.read(name).ok()?;
            let thread = crate::thread::me();
            let to_node = how(thread, PATH_FLAGS | NOFOLLOW, 0).ok()?;
            let node = openat2_raw(directory, name.as_ptr() as u64, to_node).ok()?;
            let born = file::birth_time_of(node, ino);
            close(node);
            Some(born)
        };
        let origin = tables().origins.get(device, ino, || born().unwrap_or(0))?;
        Some(origin.ino)
    }
}
