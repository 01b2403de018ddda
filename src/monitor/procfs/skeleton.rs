//! Real directories on the host's disk that stand for the directories of `/proc` and `/dev`.
//!
//! A guest needs a real descriptor of a directory: the kernel serves getdents64(2), fchdir(2) and
//! getcwd(2) on it natively. A directory is brought up to date each time that it is asked for.
//! Its subdirectories are real; every other entry is a link to a place that exists nowhere, so that
//! a confined walk into it fails with EXDEV and the guest asks the monitor. A subdirectory that was
//! never asked for is empty: names beneath a directory of the skeleton must always be looked up by
//! the monitor, never natively.

use super::{Entry, Errno, Kind};
use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

/// Where the links of a skeleton lead: an absolute target, so that RESOLVE_BENEATH gives EXDEV.
pub const PLACEHOLDER: &str = "/.zone-mount";

/// The directories of one tree.
#[derive(Debug)]
pub struct Skeleton {
    top: OwnedFd,
    /// Held while a directory is brought up to date; no other lock is taken under it.
    updating: Mutex<()>,
}

impl Skeleton {
    /// Opens the skeleton in `directory`, which is made if it is missing. What an earlier boot left
    /// in it is brought up to date when it is asked for.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(directory: &Path) -> Result<Self, Errno> {
        match nix::unistd::mkdir(directory, Mode::from_bits_retain(0o755)) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(errno) => return Err(errno as Errno),
        }
        let top = open(directory, DIRECTORY, Mode::empty()).map_err(|errno| errno as Errno)?;
        Ok(Self {
            top,
            updating: Mutex::new(()),
        })
    }

    /// The real directory for `path` (relative to the tree, without `.` and `..`), holding exactly
    /// `entries`: a descriptor for reading.
    ///
    /// # Errors
    /// ENOSPC and what else the kernel says; EINVAL for a name that no directory can hold.
    pub fn dir(&self, path: &[u8], entries: &[Entry]) -> Result<OwnedFd, Errno> {
        let _updating = self
            .updating
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut at = openat(&self.top, ".", DIRECTORY, Mode::empty()).map_err(|e| e as Errno)?;
        for name in path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
        {
            check(name)?;
            at = enter(at.as_fd(), OsStr::from_bytes(name))?;
        }
        synchronise(at.as_fd(), entries)?;
        // A descriptor of its own, so that its position is the beginning.
        openat(&at, ".", DIRECTORY, Mode::empty()).map_err(|errno| errno as Errno)
    }
}

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NOFOLLOW);

fn check(name: &[u8]) -> Result<(), Errno> {
    let is_good = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/');
    if is_good { Ok(()) } else { Err(libc::EINVAL) }
}

/// Opens a subdirectory, which is made, or put in place of something else, where necessary.
fn enter(at: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    match openat(at, name, DIRECTORY, Mode::empty()) {
        Err(nix::errno::Errno::ENOENT) => {}
        Err(nix::errno::Errno::ENOTDIR | nix::errno::Errno::ELOOP) => remove(at, name)?,
        other => return other.map_err(|errno| errno as Errno),
    }
    make(at, name, true)?;
    openat(at, name, DIRECTORY, Mode::empty()).map_err(|errno| errno as Errno)
}

fn make(at: BorrowedFd<'_>, name: &OsStr, is_dir: bool) -> Result<(), Errno> {
    if is_dir {
        mkdirat(at, name, Mode::from_bits_retain(0o755)).map_err(|errno| errno as Errno)
    } else {
        symlinkat(PLACEHOLDER, at, name).map_err(|errno| errno as Errno)
    }
}

fn synchronise(at: BorrowedFd<'_>, entries: &[Entry]) -> Result<(), Errno> {
    let mut wanted: HashMap<&[u8], bool> = HashMap::with_capacity(entries.len());
    for entry in entries {
        check(&entry.name)?;
        wanted.insert(&entry.name, entry.kind == Kind::Dir);
    }
    let mut stale = Vec::new();
    for (name, is_dir) in list(at)? {
        match wanted.get(name.as_slice()) {
            Some(&wants_dir) if wants_dir == is_dir => {
                wanted.remove(name.as_slice());
            }
            _ => stale.push(name),
        }
    }
    for name in stale {
        remove(at, OsStr::from_bytes(&name))?;
    }
    for (name, is_dir) in wanted {
        make(at, OsStr::from_bytes(name), is_dir)?;
    }
    Ok(())
}

/// The entries of a directory, and whether each is a directory.
fn list(at: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, bool)>, Errno> {
    let mut dir = Dir::openat(at, ".", DIRECTORY, Mode::empty()).map_err(|errno| errno as Errno)?;
    let mut found = Vec::new();
    for entry in dir.iter() {
        let entry = entry.map_err(|errno| errno as Errno)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let is_dir = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            // Some file systems do not say.
            None => {
                let attributes =
                    nix::sys::stat::fstatat(at, entry.file_name(), AtFlags::AT_SYMLINK_NOFOLLOW)
                        .map_err(|errno| errno as Errno)?;
                attributes.st_mode & libc::S_IFMT == libc::S_IFDIR
            }
        };
        found.push((name.to_vec(), is_dir));
    }
    Ok(found)
}

/// Removes an entry with all that is in it; a guest that is in there keeps a dead directory.
fn remove(at: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(nix::errno::Errno::ENOENT) => return Ok(()),
        Err(nix::errno::Errno::EISDIR) => {}
        Err(errno) => return Err(errno as Errno),
    }
    let inner = openat(at, name, DIRECTORY, Mode::empty()).map_err(|errno| errno as Errno)?;
    for (child, _) in list(inner.as_fd())? {
        remove(inner.as_fd(), OsStr::from_bytes(&child))?;
    }
    unlinkat(at, name, UnlinkatFlags::RemoveDir).map_err(|errno| errno as Errno)
}
