//! Extended attributes: arguments and the zone's users are judged here, the monitor does the rest.
//!
//! The monitor keeps `trusted.*` and `security.*` of a zone among the host's `user.*`, where a mount
//! is the zone's to change, and access control lists for itself.

use super::change::must_be_open;
use super::lists;
use super::marks::{APPEND_ONLY, IMMUTABLE, must_not_have};
use super::rights::must_own;
use super::{
    NOFOLLOW, Power, S_IFMT, has, keeps_set_gid, node_stat, permits, stat_named, stat_of,
    with_quick_or_descriptor,
};
use crate::arch::{self, syscall1};
use crate::memory::{self, PathRoom};
use crate::monitor::tables;
use crate::path::{self, CHANGES, Named, Room};
use crate::thread::Thread;
use crate::{Errno, Result};
use core::mem::MaybeUninit;
use linux_raw_sys::general::*;
use picozone_fsmap::MountRow;
use picozone_personality::absent::{ANY, Attribute};
use picozone_personality::acl::{self, Kind};
use picozone_personality::mailbox::{Request, TEXT_MAX, xattr as of};

/// Longest name (`XATTR_NAME_MAX`).
const NAME_MAX: usize = 255;
/// Longest value (`XATTR_SIZE_MAX`).
const SIZE_MAX: u64 = 65536;
const CAPABILITIES: &[u8] = b"security.capability";
/// XATTR_CREATE | XATTR_REPLACE.
const FLAGS: u64 = 3;

/// A name of the guest's, copied once.
struct Name {
    bytes: [u8; NAME_MAX + 1],
    len: usize,
}

impl Name {
    fn read(from: u64) -> Result<Name> {
        let mut name = Name {
            bytes: [0; NAME_MAX + 1],
            len: 0,
        };
        let room = name.bytes.as_mut_ptr() as u64;
        name.len = arch::string_in(room, NAME_MAX + 1, from).ok_or(Errno::EFAULT)?;
        if name.len == 0 || name.len > NAME_MAX {
            return Err(Errno::ERANGE);
        }
        Ok(name)
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(b"")
    }

    /// EINVAL for a value that an attribute of this name never has.
    fn must_have_form(&self, value: &[u8]) -> Result<()> {
        if self.text() == CAPABILITIES && !is_capabilities(value) {
            Err(Errno::EINVAL)
        } else {
            Ok(())
        }
    }

    /// Whether the thread may do this to the attribute of a file (`xattr_permission` in the kernel's
    /// fs/xattr.c).
    fn judge(
        &self,
        thread: &Thread,
        st: impl FnOnce() -> Result<linux_raw_sys::general::stat>,
        writes: bool,
    ) -> Result<()> {
        let no = if writes { Errno::EPERM } else { Errno::ENODATA };
        let text = self.text();
        if text.starts_with(b"trusted.") {
            return if has(thread, Power::Administer) {
                Ok(())
            } else {
                Err(no)
            };
        }
        if text == CAPABILITIES && writes {
            return if has(thread, Power::SetFileCapabilities) {
                Ok(())
            } else {
                Err(no)
            };
        }
        if text.starts_with(b"security.") {
            return if !writes || has(thread, Power::Administer) {
                Ok(())
            } else {
                Err(no)
            };
        }
        if text.starts_with(b"system.") {
            return Err(Errno::EOPNOTSUPP);
        }
        let st = st()?;
        let is_permitted = || permits(thread, &st, if writes { 2 } else { 4 });
        if !text.starts_with(b"user.") {
            return Err(if is_permitted() {
                Errno::EOPNOTSUPP
            } else {
                Errno::EACCES
            });
        }
        let is_dir = st.st_mode & S_IFMT == 0o040_000;
        if !is_dir && st.st_mode & S_IFMT != 0o100_000 {
            return Err(no);
        }
        let is_own = st.st_uid == thread.credentials.uid[3] || has(thread, Power::Owner);
        if is_dir && st.st_mode & 0o1000 != 0 && writes && !is_own {
            return Err(Errno::EPERM);
        }
        if is_permitted() {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }
}

/// What the first argument of a call names.
#[derive(Clone, Copy)]
pub enum File {
    Path(u64),
    Link(u64),
    Descriptor(u64),
    /// Directory, path, flags.
    At(u64, u64, u64),
}

impl File {
    /// Runs `f` on a descriptor of the file, or `of_node` on what the monitor serves: such nodes have
    /// no attributes, and links among them no descriptors.
    fn with(
        self,
        thread: &mut Thread,
        changes: u64,
        f: impl Fn(&mut Thread, u64) -> Result<u64>,
        of_node: impl FnOnce(&mut Thread, stat) -> Result<u64>,
    ) -> Result<u64> {
        let quick = None::<fn(&mut Thread, &Named) -> Option<Result<u64>>>;
        self.with_quick(thread, changes, quick, f, of_node)
    }

    /// The same, where `quick` may give the answer from a directory and a name in it.
    #[inline]
    fn with_quick(
        self,
        thread: &mut Thread,
        changes: u64,
        quick: Option<impl FnOnce(&mut Thread, &Named) -> Option<Result<u64>>>,
        f: impl Fn(&mut Thread, u64) -> Result<u64>,
        of_node: impl FnOnce(&mut Thread, stat) -> Result<u64>,
    ) -> Result<u64> {
        let cwd = AT_FDCWD as u64;
        let (dirfd, path, flags) = match self {
            File::Path(path) => (cwd, path, changes),
            File::Link(path) => (cwd, path, NOFOLLOW | changes),
            File::At(dirfd, path, flags) => (dirfd, path, flags | changes),
            File::Descriptor(fd) => {
                must_be_open(fd)?;
                return f(thread, fd);
            }
        };
        let at_monitor = |thread: &mut Thread, zone: &mut Room| {
            let found = node_stat(thread, zone, flags & NOFOLLOW)?;
            found.map(|st| of_node(thread, st)).transpose()
        };
        with_quick_or_descriptor(thread, dirfd, path, flags, quick, f, at_monitor)
    }

    /// [`NOFOLLOW`] if a link at the end of its path is meant itself, or 0.
    fn link_flag(self) -> u64 {
        match self {
            File::Link(_) => NOFOLLOW,
            File::At(_, _, flags) => flags & NOFOLLOW,
            File::Path(_) | File::Descriptor(_) => 0,
        }
    }

    /// Whether it is named by a path that is not followed at its end, and was never the zone's to change.
    #[inline(never)]
    fn is_foreign_link(self, thread: &Thread) -> bool {
        let File::Link(path) = self else { return false };
        let mut room = PathRoom::new();
        room.read(path)
            .is_ok_and(|path| path::is_foreign(thread, path))
    }
}

/// What a call on an attribute says of a node that the monitor serves: the devices of `/dev` have
/// none, files of `/proc` know of none.
fn of_node(thread: &Thread, name: &Name, st: stat, writes: bool) -> Result<u64> {
    if Kind::of(name.text()).is_none() {
        name.judge(thread, || Ok(st), writes)?;
    }
    if st.st_mode & S_IFMT == S_IFCHR && !writes {
        return Err(Errno::ENODATA);
    }
    Err(Errno::EOPNOTSUPP)
}

/// setxattr(2), lsetxattr(2), fsetxattr(2).
pub fn setxattr(
    thread: &mut Thread,
    file: File,
    name: u64,
    value: u64,
    size: u64,
    flags: u64,
) -> Result<u64> {
    if flags as u32 & !(FLAGS as u32) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = Name::read(name)?;
    if size > SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    // Read in full before anything is looked at, for EFAULT; what is too long for the mailbox is too
    // long for most file systems too.
    let mut room = [0u8; TEXT_MAX];
    let used = room.get_mut(..size as usize);
    match used {
        Some(room) => memory::read_bytes(value, room)?,
        None => {
            memory::read::<u8>(value)?;
            memory::read::<u8>(value + size - 1)?;
        }
    }
    let judged = |thread: &mut Thread, st| {
        let value = room.get(..size as usize).ok_or(Errno::ENOSPC)?;
        if Kind::of(name.text()).is_some() {
            parse(value)?;
        }
        name.must_have_form(value)?;
        of_node(thread, &name, st, true)
    };
    let set = |thread: &mut Thread, fd: u64| {
        path::must_be_changeable(thread, fd)?;
        let value = room.get(..size as usize).ok_or(Errno::ENOSPC);
        if let Some(kind) = Kind::of(name.text()) {
            return set_list(thread, fd, kind, value?);
        }
        name.must_have_form(value.unwrap_or(b""))?;
        must_not_have(fd, IMMUTABLE | APPEND_ONLY)?;
        name.judge(thread, || stat_of(fd), true)?;
        let value = value?;
        on_raised(thread, fd, |fd| {
            thread.mailbox().b[..value.len()].copy_from_slice(value);
            let args = [fd, of::SET, size, flags & FLAGS];
            thread.ask_about(Request::Xattr, name.text(), &args)
        })
    };
    file.with(thread, CHANGES, set, judged)
}

/// Whether a value is a list of users of the zone, or none.
fn parse(value: &[u8]) -> Result<bool> {
    let (uids, gids) = (&tables().uids, &tables().gids);
    acl::parse(value, |id| uids.has(id), |id| gids.has(id))
}

/// Sets an access control list, or takes it away (`vfs_set_acl` in the kernel's fs/posix_acl.c).
#[inline(never)]
fn set_list(thread: &Thread, fd: u64, kind: Kind, value: &[u8]) -> Result<u64> {
    let is_list = parse(value)?;
    must_not_have(fd, IMMUTABLE | APPEND_ONLY)?;
    let st = stat_of(fd)?;
    if never_has_lists(fd, &st) {
        return Err(Errno::EOPNOTSUPP);
    }
    if kind == Kind::Default && st.st_mode & S_IFMT != S_IFDIR {
        return if is_list { Err(Errno::EACCES) } else { Ok(0) };
    }
    must_own(thread, &st)?;
    if is_list && !acl::is_valid(value) {
        return Err(Errno::EINVAL);
    }
    let flags = if keeps_set_gid(thread, st.st_gid) {
        0
    } else {
        of::CLEARS_SET_GID as u64
    };
    let result = on_raised(thread, fd, |fd| {
        thread.mailbox().b[..value.len()].copy_from_slice(value);
        let args = [fd, of::SET, value.len() as u64, flags];
        thread.ask_about(Request::Xattr, kind.name(), &args)
    });
    path::note_rights();
    result
}

/// Whether it is of a file system without lists, or of a kind that has none: links, pipes and sockets
/// without a name, and what is no file.
#[cold]
fn never_has_lists(fd: u64, st: &stat) -> bool {
    /// `PIPEFS_MAGIC`, `SOCKFS_MAGIC`.
    const NAMELESS: [u64; 2] = [0x5049_5045, 0x534f_434b];
    let mut system = [0u64; 15];
    match st.st_mode & S_IFMT {
        0 | S_IFLNK => true,
        S_IFIFO | S_IFSOCK => {
            let got = unsafe { arch::syscall2(__NR_fstatfs, fd, system.as_mut_ptr() as u64) };
            got == 0 && NAMELESS.contains(&system[0])
        }
        _ => false,
    }
}

/// Whether the value has a form that may be set: none, the second, or the third (`validheader` in the
/// kernel's security/commoncap.c).
fn is_capabilities(value: &[u8]) -> bool {
    let revision = value.get(3).copied().unwrap_or(0);
    let is_known = matches!((revision, value.len()), (2, 20) | (3, 24));
    value.is_empty() || is_known && value.get(1..3) == Some(&[0, 0])
}

/// getxattr(2), lgetxattr(2), fgetxattr(2).
pub fn getxattr(thread: &mut Thread, file: File, name: u64, to: u64, size: u64) -> Result<u64> {
    let name = Name::read(name)?;
    let quick = |thread: &mut Thread, named: &Named, flags| {
        let mut st = MaybeUninit::uninit();
        let st = match stat_named(thread, named, flags, &mut st)? {
            Ok(st) => st,
            Err(errno) => return Some(Err(errno)),
        };
        if let Some(kind) = Kind::of(name.text()) {
            return must_have(st, kind).err().map(Err);
        }
        if let Err(errno) = name.judge(thread, || Ok(*st), false) {
            return Some(Err(errno));
        }
        // What the zone could never change has none from its root.
        if of::is_kept(name.text()) && named.mount(thread).is_some_and(MountRow::is_foreign) {
            return Some(Err(Errno::ENODATA));
        }
        is_absent(st, name.text()).then_some(Err(Errno::ENODATA))
    };
    let slow = |thread: &mut Thread, fd: u64| {
        if let Some(kind) = Kind::of(name.text()) {
            let st = stat_of(fd)?;
            // Pipes and sockets without a name have none, those with one may.
            if !matches!(st.st_mode & S_IFMT, S_IFIFO | S_IFSOCK) {
                must_have(&st, kind)?;
            }
            let length = thread.ask_about(Request::Xattr, name.text(), &[fd, of::GET])?;
            return hand_out(thread, length, to, size);
        }
        name.judge(thread, || stat_of(fd), false)?;
        if of::is_kept(name.text()) && file.is_foreign_link(thread) {
            return Err(Errno::ENODATA);
        }
        let length = thread.ask_about(Request::Xattr, name.text(), &[fd, of::GET])?;
        hand_out(thread, length, to, size)
    };
    let flags = file.link_flag();
    let quick = |thread: &mut Thread, named: &Named| quick(thread, named, flags);
    let judged = |thread: &mut Thread, st| of_node(thread, &name, st, false);
    file.with_quick(thread, 0, Some(quick), slow, judged)
}

/// Whether the file is known not to have the attribute.
fn is_absent(st: &stat, name: &[u8]) -> bool {
    let file = [st.st_dev, st.st_ino, st.st_ctime, st.st_ctime_nsec];
    tables().absent.has(Attribute::new(file, name))
}

/// ENODATA for what has no such list, EOPNOTSUPP for what never has one.
fn must_have(st: &linux_raw_sys::general::stat, kind: Kind) -> Result<()> {
    match st.st_mode & S_IFMT {
        S_IFLNK => Err(Errno::EOPNOTSUPP),
        _ if lists::has(st, kind) => Ok(()),
        _ => Err(Errno::ENODATA),
    }
}

/// listxattr(2), llistxattr(2), flistxattr(2).
pub fn listxattr(thread: &mut Thread, file: File, to: u64, size: u64) -> Result<u64> {
    let flags = file.link_flag();
    let quick = |thread: &mut Thread, named: &Named| {
        let mut st = MaybeUninit::uninit();
        let st = match stat_named(thread, named, flags, &mut st)? {
            Ok(st) => st,
            Err(errno) => return Some(Err(errno)),
        };
        let has_list = [Kind::Access, Kind::Default].map(|kind| lists::has(st, kind));
        let has_none = has_list == [false; 2] && is_absent(st, ANY);
        has_none.then_some(Ok(0))
    };
    let list = |thread: &mut Thread, fd: u64| {
        let shows_trusted = u64::from(has(thread, Power::Administer));
        let length = thread.ask_about(Request::Xattr, b"", &[fd, of::LIST, shows_trusted])?;
        hand_out(thread, length, to, size)
    };
    file.with_quick(thread, 0, Some(quick), list, |_, _| Ok(0))
}

/// removexattr(2), lremovexattr(2), fremovexattr(2).
pub fn removexattr(thread: &mut Thread, file: File, name: u64) -> Result<u64> {
    let name = Name::read(name)?;
    let judged = |thread: &mut Thread, st| of_node(thread, &name, st, true);
    let remove = |thread: &mut Thread, fd: u64| {
        path::must_be_changeable(thread, fd)?;
        if let Some(kind) = Kind::of(name.text()) {
            return set_list(thread, fd, kind, b"");
        }
        must_not_have(fd, IMMUTABLE | APPEND_ONLY)?;
        name.judge(thread, || stat_of(fd), true)?;
        on_raised(thread, fd, |fd| {
            thread.ask_about(Request::Xattr, name.text(), &[fd, of::REMOVE])
        })
    };
    file.with(thread, CHANGES, remove, judged)
}

/// Runs `f`, and once more on what stands for a file that lies below a copy-on-write layer.
fn on_raised(thread: &Thread, fd: u64, f: impl Fn(u64) -> Result<u64>) -> Result<u64> {
    match f(fd) {
        Err(Errno::EROFS) => {
            let raised = path::raised(thread, fd)?;
            let result = f(raised);
            unsafe { syscall1(__NR_close, raised) };
            result
        }
        other => other,
    }
}

/// Gives the guest what the monitor left in the mailbox. A size of 0 asks for the length.
fn hand_out(thread: &Thread, length: u64, to: u64, size: u64) -> Result<u64> {
    if size == 0 {
        return Ok(length);
    }
    if length > size {
        return Err(Errno::ERANGE);
    }
    let bytes = thread.mailbox().b.get(..length as usize);
    memory::write_bytes(to, bytes.ok_or(Errno::E2BIG)?)?;
    Ok(length)
}
