//! Changes of names: made on a parent descriptor and one name.

use super::reach::open_anywhere;
use super::rights::{may_change, may_remove};
use super::walk::walk;
use super::{AT_CWD, NOFOLLOW, PATH_FLAGS, close, how, mounts, openat2_raw, own_descriptor};
use crate::arch::{syscall3, syscall4, syscall5};
use crate::dispatch::checked;
use crate::memory::PathRoom;
use crate::monitor::{commons, tables};
use crate::thread::Thread;
use crate::{Errno, Result, file};
use core::ffi::CStr;
use linux_raw_sys::general::*;
use picozone_fsmap::{Last, PathBuf};

/// The parent directory of a path, and the last name.
pub(super) struct Parent {
    pub(super) fd: u64,
    is_ours: bool,
    /// The last component; with its slashes behind it where the kernel is to judge them.
    pub(super) name: [u8; 260],
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
