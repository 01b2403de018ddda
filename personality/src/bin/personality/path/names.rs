//! Changes of names: made on a parent descriptor and one name.

use super::deep;
use super::layer::{Fate, has_layers, raised, settle};
use super::made::{New, What};
use super::mounting::has_held_read_only;
use super::parents::{self, note_moves};
use super::reach::open_anywhere;
use super::rights::{
    instead_of_link, is_there, may_be_named, may_be_unlinked, may_link, may_link_entry, may_make,
    may_remove, may_rename, stat_directory,
};
use super::root::{InZone, root};
use super::search::{may_search, note_rights};
use super::walk::{walk, zone_path_of};
use super::{
    AT_CWD, NOFOLLOW, PATH_FLAGS, close, from_error, how, mount_rows, mounts, openat2_raw,
    own_descriptor, quota,
};
use crate::arch::{syscall3, syscall4, syscall5};
use crate::dispatch::checked;
use crate::file::{APPEND_ONLY, IMMUTABLE, Making, Power};
use crate::memory::PathRoom;
use crate::monitor::{commons, tables};
use crate::thread::{Thread, me};
use crate::{Errno, Result, file, recording};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_fsmap::{Last, MountRow, PathBuf, is_stand_in};

/// Longest name (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// The parent directory of a path, and the last name.
pub(super) struct Parent {
    pub(super) fd: u64,
    held: Held,
    /// The mount in which it lies, where that may matter.
    mount: Option<usize>,
    /// The last component; with its slashes behind it where the kernel is to judge them.
    pub(super) name: [u8; 260],
}

/// Where the descriptor of a parent comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// The caller's own.
    Given,
    /// Opened for this.
    Opened,
    /// A directory at hand, which stays there meanwhile.
    Lent,
}

impl Drop for Parent {
    fn drop(&mut self) {
        match self.held {
            Held::Given => {}
            Held::Opened => close(self.fd),
            Held::Lent => parents::give_back(me()),
        }
    }
}

impl Parent {
    /// Whether it names the directory itself or its parent.
    pub(super) fn is_dots(&self) -> bool {
        matches!(self.bare(), b"." | b"..")
    }

    /// The descriptor, if it was opened for this.
    pub(super) fn own_fd(&self) -> Option<u64> {
        (self.held == Held::Opened).then_some(self.fd)
    }

    /// The descriptor's number is something else by now.
    pub(super) fn give_up(&mut self) {
        self.held = Held::Given;
    }

    /// The last component without its slashes.
    pub(super) fn bare(&self) -> &[u8] {
        let is_end = |&byte: &u8| byte == 0 || byte == b'/';
        self.name.split(is_end).next().unwrap_or(b"")
    }

    /// Whether the name must be a directory's.
    pub(super) fn ends_in_slash(&self) -> bool {
        let end = self.name.iter().position(|&byte| byte == 0);
        end.is_some_and(|end| end > 0 && self.name.get(end - 1) == Some(&b'/'))
    }

    /// A descriptor of the entry itself, be it a link, as the kernel finds it.
    pub(super) fn look(&self, thread: &Thread) -> Result<u64> {
        openat2_raw(self.fd, self.name(), how(thread, PATH_FLAGS | NOFOLLOW, 0)?)
    }

    pub(super) fn name(&self) -> u64 {
        self.name.as_ptr() as u64
    }
}

/// What is to happen to the last name; it decides what a root or mount point there is told.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
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

    /// The same of a mount point, which may be a file.
    #[cold]
    #[inline(never)]
    fn held_at(self, path: &[u8]) -> Errno {
        let row = mounts().top(path).and_then(|at| mount_rows().get(at));
        match self {
            Self::Unlink if row.is_some_and(|row| row.is_file != 0) => Errno::EBUSY,
            Self::LinkFrom if row.is_some_and(|row| row.is_file != 0) => Errno::EXDEV,
            other => other.held(),
        }
    }
}

pub(super) fn parent(thread: &Thread, dirfd: u64, path: &CStr, purpose: Purpose) -> Result<Parent> {
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
    // What is wrong on the way is said before what is wrong with the name.
    may_search(thread, dirfd, path)?;
    if bytes[0] == b'/' {
        must_not_be_held(thread, &bytes[..end], purpose)?;
    }
    let mount = may_change_there(thread, dirfd, path, (start, last), purpose)?;
    let name = |last: &[u8]| {
        let mut name = [0u8; 260];
        let room = name
            .get_mut(..last.len())
            .filter(|room| room.len() <= NAME_MAX);
        room.ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(last);
        if end < bytes.len() {
            name[last.len()] = b'/';
        }
        Ok(name)
    };
    if start == 0 {
        let name = name(last).map_err(|errno| must_be_directory(dirfd).err().unwrap_or(errno))?;
        if thread.record.is_open() {
            recording::no_host_path(me());
        }
        return Ok(Parent {
            fd: dirfd,
            held: Held::Given,
            mount,
            name,
        });
    }
    let (fd, held) = directory_of(thread, dirfd, &bytes[..start])?;
    if thread.record.is_open() {
        recording::host_path_of_name(me(), last);
    }
    let mut found = Parent {
        fd,
        held,
        mount,
        name: [0; 260],
    };
    found.name = name(last)?;
    Ok(found)
}

/// The directory that a path's front leads to: at hand, or opened.
fn directory_of(thread: &Thread, dirfd: u64, front: &[u8]) -> Result<(u64, Held)> {
    let is_own_way = front.first() == Some(&b'/') || dirfd as i32 == AT_CWD;
    if is_own_way && let Some(fd) = parents::lend(thread, front) {
        return Ok((fd, Held::Lent));
    }
    let mut room = PathRoom::new();
    let directory = room.set(front)?;
    let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
    // The kernel refuses to change what is the monitor's own.
    let fd = open_anywhere(thread, dirfd, directory, flags, 0, &mut None)?;
    Ok((fd, Held::Opened))
}

/// What is wrong with a descriptor that a path is to be relative to, if anything is.
#[cold]
pub(super) fn must_be_directory(fd: u64) -> Result<()> {
    if fd as i32 == AT_CWD {
        return Ok(());
    }
    match file::kind_of(fd) {
        None => Err(Errno::EBADF),
        Some(S_IFDIR) => Ok(()),
        Some(_) => Err(Errno::ENOTDIR),
    }
}

/// Whether the last name of a path is none that a directory can have.
#[cold]
fn ends_too_long(path: &CStr) -> bool {
    let mut names = path.to_bytes().split(|&byte| byte == b'/').rev();
    names
        .find(|name| !name.is_empty())
        .is_some_and(|name| name.len() > NAME_MAX)
}

/// EXDEV where both are known to lie in different mounts.
fn must_be_one_mount(from: &Parent, to: &Parent) -> Result<()> {
    match (from.mount, to.mount) {
        (Some(from), Some(to)) if from != to => Err(Errno::EXDEV),
        _ => Ok(()),
    }
}

/// Where the zone has mounted something itself: the mount of a path's directory, after a look at what
/// the kernel does not know of it.
///
/// # Errors
/// EROFS, EEXIST: it is read-only. What [`Purpose::held`] says: something is mounted at the name.
fn may_change_there(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    (start, last): (usize, &[u8]),
    purpose: Purpose,
) -> Result<Option<usize>> {
    if tables().added_count.load(Relaxed) == 0 && !has_held_read_only() {
        return Ok(None);
    }
    let mut room = PathRoom::new();
    let front = path.to_bytes().get(..start).unwrap_or(b"");
    let directory = room.set_two(front, b".")?;
    let mut at = PathBuf::new();
    let Ok(found) = walk(thread, dirfd, directory, Last::Follow, &mut at) else {
        // The call itself says why.
        return Ok(None);
    };
    let row = mount_rows().get(found.mount);
    let is_read_only = row.is_some_and(MountRow::is_held_read_only);
    if matches!(last, b"." | b"..") || at.push(last).is_err() {
        return Ok(Some(found.mount));
    }
    if mounts().is_held(at.as_bytes()) {
        return Err(purpose.held_at(at.as_bytes()));
    }
    if is_read_only && !matches!(purpose, Purpose::LinkFrom) {
        let is_made = matches!(purpose, Purpose::Make);
        let there = walk(thread, dirfd, path, Last::NoFollow, &mut PathBuf::new());
        let is_there = is_made && there.is_ok_and(|found| found.exists);
        return Err(if is_there {
            Errno::EEXIST
        } else {
            Errno::EROFS
        });
    }
    Ok(Some(found.mount))
}

/// What [`Purpose::held`] says if a mount stands at an absolute path by its text.
fn must_not_be_held(thread: &Thread, path: &[u8], purpose: Purpose) -> Result<()> {
    let check = |path: &[u8]| match mounts().is_held(path) {
        true => Err(purpose.held_at(path)),
        false => Ok(()),
    };
    let root = root(thread);
    if root.is_empty() {
        return check(path);
    }
    let mut at = PathBuf::from_bytes(root).map_err(from_error)?;
    at.append(path).map_err(from_error)?;
    check(at.as_bytes())
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
    // What cannot be made is told before anything of the path.
    let kind = mode as u32 & 0o170_000;
    let asked = match kind {
        _ if nr == __NR_mkdirat => 0o040_000 | mode as u32 & 0o1777,
        0 => 0o100_000 | mode as u32 & 0o7777,
        0o100_000 | 0o010_000 | 0o140_000 => mode as u32 & 0o177_777,
        // A socket keeps the place of a device.
        S_IFCHR | S_IFBLK => 0o140_000 | mode as u32 & 0o7777,
        0o040_000 => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    let mut room = PathRoom::new();
    let mut parent = parent(thread, dirfd, room.read(pathname)?, Purpose::Make)?;
    if nr != __NR_mkdirat {
        may_be_named(thread, &parent)?;
    }
    let is_device = nr != __NR_mkdirat && matches!(kind, S_IFCHR | S_IFBLK);
    // Anybody may make what overlays take for a gap: 0, 0.
    let is_gap = kind == S_IFCHR && device as u32 == 0;
    may_make(thread, &parent)?;
    if quota::is_full() && !is_there(thread, &parent) {
        quota::must_have_room_in(parent.fd)?;
    }
    if is_device && !is_gap && !file::has(thread, Power::MakeDevice) {
        return Err(if is_there(thread, &parent) {
            Errno::EEXIST
        } else {
            Errno::EPERM
        });
    }
    let new = New::within(thread, parent.fd, asked)?;
    let _making = if is_device {
        Some(Making::begin(thread))
    } else {
        new.begin(thread)
    };
    if is_device || !new.is_plain() {
        let what = if is_device {
            What::Device(kind, device & 0xffff_ffff)
        } else {
            What::Named
        };
        if let Some(made) = new.make(thread, &mut parent, what) {
            return made.map(|_| 0);
        }
    }
    let result = if nr == __NR_mkdirat {
        let mode = new.host_mode() | u64::from(asked) & 0o1000;
        checked(unsafe { syscall3(nr, parent.fd, parent.name(), mode) })
    } else {
        let mode = u64::from(asked) & 0o170_000 | new.host_mode();
        checked(unsafe { syscall4(nr, parent.fd, parent.name(), mode, 0) })
    };
    // Where the monitor makes nothing, the kernel has not either.
    result.map_err(|errno| if_read_only(thread, parent.fd, errno))
}

/// Runs `f`, whose requests to the monitor are about what a path names, with the directory of that at
/// hand: the monitor is not told paths beyond a length.
#[cold]
#[inline(never)]
pub fn beside<T>(
    thread: &mut Thread,
    dirfd: u64,
    path: &CStr,
    f: impl FnOnce(&mut Thread) -> Result<T>,
) -> Result<T> {
    let parent = parent(thread, dirfd, path, Purpose::LinkFrom)?;
    thread.beside.set(parent.fd.wrapping_add(1));
    let result = f(thread);
    thread.beside.set(0);
    result
}

/// Where Landlock refuses a change, a read-only file system would have.
#[cold]
fn if_read_only(thread: &Thread, directory: u64, errno: Errno) -> Errno {
    let mut at = PathBuf::new();
    if errno == Errno::EACCES && zone_path_of(thread, directory, &mut at).is_ok() {
        let (mount, _) = mounts().find(at.as_bytes());
        if mount_rows()
            .get(mount)
            .is_some_and(|row| row.read_only != 0)
        {
            return Errno::EROFS;
        }
    }
    errno
}

/// unlink(2), rmdir(2), unlinkat(2).
pub fn unlink(thread: &mut Thread, dirfd: u64, pathname: u64, flags: u64) -> Result<u64> {
    if flags as u32 & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let mut room = PathRoom::new();
    let purpose = if flags & u64::from(AT_REMOVEDIR) == 0 {
        Purpose::Unlink
    } else {
        Purpose::Move
    };
    let parent = parent(thread, dirfd, room.read(pathname)?, purpose)?;
    if matches!(purpose, Purpose::Unlink) {
        may_be_unlinked(thread, &parent)?;
    }
    may_remove(thread, &parent)?;
    let fate = match purpose {
        Purpose::Unlink => Fate::Unlinked,
        _ => Fate::Replaced,
    };
    settle(thread, &parent, fate)?;
    let is_directory = matches!(purpose, Purpose::Move);
    if is_directory {
        note_moves();
    }
    let result = checked(unsafe { syscall3(__NR_unlinkat, parent.fd, parent.name(), flags) });
    if is_directory {
        note_moves();
        note_rights();
    }
    // Landlock refuses before the kernel looks at what it is.
    if result == Err(Errno::EACCES)
        && let Ok(fd) = parent.look(thread)
    {
        let found = file::stat_of(fd);
        close(fd);
        let is_dir = found?.st_mode & 0o170_000 == 0o040_000;
        return match purpose {
            Purpose::Move if !is_dir => Err(Errno::ENOTDIR),
            Purpose::Unlink if is_dir => Err(Errno::EISDIR),
            _ => Err(if_read_only(thread, parent.fd, Errno::EACCES)),
        };
    }
    result
}

/// Paths found before the change just made need not be right any more.
fn note_links() {
    note_rights();
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
    let flags = u64::from(flags as u32);
    let known = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
    let is_exchange = flags & u64::from(RENAME_EXCHANGE) != 0;
    if flags & !u64::from(known) != 0 || is_exchange && flags != u64::from(RENAME_EXCHANGE) {
        return Err(Errno::EINVAL);
    }
    let mut room = PathRoom::new();
    let path = room.read(from)?;
    let from = match parent(thread, from_dir, path, Purpose::Move) {
        // A name is looked up after the way to the other one.
        Err(Errno::ENAMETOOLONG) if ends_too_long(path) => {
            let to = parent(thread, to_dir, room.read(to)?, Purpose::Move)?;
            return Err(if to.is_dots() {
                Errno::EBUSY
            } else {
                Errno::ENAMETOOLONG
            });
        }
        from => from?,
    };
    let path = room.read(to);
    let path = path.map_err(|errno| must_be_directory(from.fd).err().unwrap_or(errno))?;
    let to = match parent(thread, to_dir, path, Purpose::Move) {
        // The last name is looked up after the other one.
        Err(Errno::ENAMETOOLONG) if ends_too_long(path) && !is_there(thread, &from) => {
            return Err(Errno::ENOENT);
        }
        // What is wrong with the first path is said first.
        Err(errno) => return Err(must_be_directory(from.fd).err().unwrap_or(errno)),
        Ok(to) => to,
    };
    must_be_one_mount(&from, &to)?;
    may_rename(thread, &from, &to, flags)?;
    settle(thread, &from, Fate::Moved)?;
    let fate = if is_exchange {
        Fate::Moved
    } else {
        Fate::Replaced
    };
    settle(thread, &to, fate)?;
    note_moves();
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
    note_moves();
    note_links();
    if flags & u64::from(RENAME_WHITEOUT) != 0 && result.is_ok() {
        give_whiteout(thread, &from);
    }
    result.map_err(|errno| if_read_only(thread, to.fd, errno))
}

/// Records whose the device is that the kernel has made where an entry was.
#[cold]
fn give_whiteout(thread: &Thread, from: &Parent) {
    let Ok(fd) = from.look(thread) else {
        return;
    };
    let (uid, mut gid) = (thread.credentials.uid[3], thread.credentials.gid[3]);
    if let Ok(directory) = stat_directory(thread, from.fd)
        && directory.st_mode & 0o2000 != 0
    {
        gid = directory.st_gid;
    }
    if (uid, gid) != (0, 0) {
        file::record(thread, fd, [uid, gid], S_IFCHR, None);
    }
    close(fd);
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
    may_search(thread, from_dir, path)?;
    let to = match parent(thread, to_dir, other.read(to)?, Purpose::Make) {
        // What is wrong with the first path is said first.
        Err(errno) => return Err(missing(thread, from_dir, path, flags).unwrap_or(errno)),
        Ok(to) => to,
    };
    let by_descriptor = if path.is_empty() && flags & u64::from(AT_EMPTY_PATH) != 0 {
        Some(from_dir)
    } else {
        own_descriptor(thread, path)
    };
    if let Some(fd) = by_descriptor {
        file::must_not_have(fd, IMMUTABLE | APPEND_ONLY)?;
        may_link(thread, || file::stat_of(fd).map(Some), &to)?;
        let empty = tables().empty.as_ptr() as u64;
        let flags = u64::from(AT_EMPTY_PATH);
        let linked = checked(unsafe { syscall5(__NR_linkat, fd, empty, to.fd, to.name(), flags) });
        return match linked {
            Err(Errno::EXDEV) if has_layers() => link_raised(thread, fd, &to),
            other => other,
        };
    }
    if flags & u64::from(AT_SYMLINK_FOLLOW) != 0 {
        let mut at = PathBuf::new();
        let found = match walk(thread, from_dir, path, Last::Follow, &mut at) {
            Err(errno) if deep::is_for(errno, path) => {
                let from = followed(thread, from_dir, path)?.ok_or(errno)?;
                return link_entry(thread, &from, &to);
            }
            found => found?,
        };
        if found.is_monitor {
            return Err(Errno::EXDEV);
        }
        let _in_zone = InZone::enter(thread);
        let from = parent_of_source(thread, AT_CWD as u64, at.as_c_str(), &to)?;
        return link_entry(thread, &from, &to);
    }
    let from = parent_of_source(thread, from_dir, path, &to)?;
    must_be_one_mount(&from, &to)?;
    link_entry(thread, &from, &to)
}

/// The directory and the name to which the links at the end of a path lead that has no zone path.
#[cold]
#[inline(never)]
pub(super) fn followed(thread: &Thread, dirfd: u64, path: &CStr) -> Result<Option<Parent>> {
    let mut way = deep::descend(thread, dirfd, path, Last::Follow)?;
    let mut name = [0; 260];
    let Some(text) = way.name() else {
        return Ok(None);
    };
    for (to, byte) in name.iter_mut().zip(text.to_bytes()) {
        *to = *byte;
    }
    let (fd, is_ours) = way.at.into_fd();
    let held = if is_ours { Held::Opened } else { Held::Given };
    Ok(Some(Parent {
        fd,
        held,
        mount: None,
        name,
    }))
}

/// The parent of what is to be linked; of a root, which never is, what is wrong with the other path is told.
fn parent_of_source(thread: &Thread, dirfd: u64, path: &CStr, to: &Parent) -> Result<Parent> {
    parent(thread, dirfd, path, Purpose::LinkFrom).map_err(|errno| match errno {
        Errno::EPERM => instead_of_link(thread, to),
        errno => errno,
    })
}

fn link_entry(thread: &Thread, from: &Parent, to: &Parent) -> Result<u64> {
    may_link_entry(thread, from, to)?;
    settle(thread, from, Fate::Moved)?;
    let linked =
        checked(unsafe { syscall5(__NR_linkat, from.fd, from.name(), to.fd, to.name(), 0) });
    match linked {
        Err(Errno::EXDEV | Errno::EACCES) if is_directory(thread, from) => Err(Errno::EPERM),
        other => other,
    }
}

/// Whether an entry is a directory. Landlock refuses to link one before the kernel says why it would.
#[cold]
fn is_directory(thread: &Thread, entry: &Parent) -> bool {
    entry.look(thread).is_ok_and(|fd| {
        let kind = file::kind_of(fd);
        close(fd);
        kind == Some(S_IFDIR)
    })
}

/// What is wrong with the path to what is to be linked, if anything is.
#[cold]
#[inline(never)]
fn missing(thread: &Thread, dirfd: u64, path: &CStr, flags: u64) -> Option<Errno> {
    if path.is_empty() && flags & u64::from(AT_EMPTY_PATH) != 0 {
        return None;
    }
    let nofollow = if flags & u64::from(AT_SYMLINK_FOLLOW) == 0 {
        NOFOLLOW
    } else {
        0
    };
    match open_anywhere(thread, dirfd, path, PATH_FLAGS | nofollow, 0, &mut None) {
        Ok(fd) => {
            close(fd);
            None
        }
        Err(errno) => Some(errno),
    }
}

/// Links a file that lies below a copy-on-write layer, by the name of what stands for it there.
#[cold]
#[inline(never)]
fn link_raised(thread: &Thread, fd: u64, to: &Parent) -> Result<u64> {
    let raised = raised(thread, fd)?;
    let mut at = PathBuf::new();
    let found = zone_path_of(thread, raised, &mut at);
    close(raised);
    found?;
    let _in_zone = InZone::enter(thread);
    let from = parent(thread, AT_CWD as u64, at.as_c_str(), Purpose::LinkFrom)?;
    link_entry(thread, &from, to)
}

/// symlink(2), symlinkat(2).
pub fn symlink(thread: &mut Thread, target: u64, dirfd: u64, pathname: u64) -> Result<u64> {
    let (mut room, mut other) = (PathRoom::new(), PathRoom::new());
    let target = room.read(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    if is_stand_in(target.to_bytes()) {
        // It would be taken for what it is not.
        return Err(Errno::EPERM);
    }
    let mut parent = parent(thread, dirfd, other.read(pathname)?, Purpose::Make)?;
    may_be_named(thread, &parent)?;
    may_make(thread, &parent)?;
    if quota::is_full() && !is_there(thread, &parent) {
        quota::must_have_room_in(parent.fd)?;
    }
    let new = New::within(thread, parent.fd, 0o120_777)?;
    let _making = new.begin(thread);
    if !new.is_plain()
        && let Some(made) = new.make(thread, &mut parent, What::Link(target.to_bytes()))
    {
        note_links();
        return made.map(|_| 0);
    }
    let result = checked(unsafe {
        syscall3(
            __NR_symlinkat,
            target.as_ptr() as u64,
            parent.fd,
            parent.name(),
        )
    });
    note_links();
    result.map_err(|errno| if_read_only(thread, parent.fd, errno))
}
