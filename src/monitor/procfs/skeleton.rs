//! Real directories on the host's disk that stand for the directories of `/proc` and `/dev`.
//!
//! A guest needs a real descriptor of a directory: the kernel serves getdents64(2), fchdir(2) and
//! getcwd(2) on it natively. A directory is brought up to date each time that it is asked for.
//!
//! The directories lie flat beside each other, `/proc/1/fd` as `,1,fd`, and every entry of one,
//! subdirectories too, is a link to a place that exists nowhere. So no name in it can be walked
//! natively: a listed one fails with EXDEV, any other with ENOENT, and the guest asks the monitor in
//! both cases. fsmap turns the flat names back into paths.
//!
//! All entries of one kind are hard links of one placeholder: by its inode the personality tells the
//! kind when it lists a directory. The directories' own mark is [`DIRECTORY_MODE`].

use super::{Entry, Errno, Kind};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstatat, mkdirat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, symlinkat, unlinkat};
use picozone_fsmap::SEPARATOR;
use picozone_personality::layout::DIRECTORY_MODE;
use picozone_personality::tables::Placeholder;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

/// Where the links of a skeleton lead.
pub use picozone_personality::layout::PLACEHOLDER;

/// The placeholders, by what a listing shows them as (`d_type` of readdir(3)).
const SHOWN: [(u8, &str); 5] = [
    (libc::DT_DIR, ".dir"),
    (libc::DT_REG, ".file"),
    (libc::DT_LNK, ".link"),
    (libc::DT_CHR, ".device"),
    (libc::DT_SOCK, ".socket"),
];

/// The directories of one tree.
#[derive(Debug)]
pub struct Skeleton {
    base: OwnedFd,
    placeholders: [Placeholder; SHOWN.len()],
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
        let base = open(directory, DIRECTORY, Mode::empty()).map_err(|errno| errno as Errno)?;
        let mut placeholders = [Placeholder::default(); SHOWN.len()];
        for (placeholder, (shown, name)) in placeholders.iter_mut().zip(SHOWN) {
            match symlinkat(PLACEHOLDER, &base, name) {
                Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
                Err(errno) => return Err(errno as Errno),
            }
            let found = fstatat(&base, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(|errno| errno as Errno)?;
            *placeholder = Placeholder {
                dev: found.st_dev,
                ino: found.st_ino,
                shown: u64::from(shown),
            };
        }
        Ok(Self {
            base,
            placeholders,
            updating: Mutex::new(()),
        })
    }

    /// What the personality must know.
    #[must_use]
    pub fn placeholders(&self) -> &[Placeholder] {
        &self.placeholders
    }

    /// The real directory for `path` (relative to the tree, without `.` and `..`), holding exactly
    /// `entries`: a descriptor for reading.
    ///
    /// Bringing the top up to date also removes the directories beneath what is no longer there.
    ///
    /// # Errors
    /// ENOSPC and what else the kernel says; EINVAL for a name that no directory can hold.
    pub fn dir(&self, path: &[u8], entries: &[Entry]) -> Result<OwnedFd, Errno> {
        let _updating = self
            .updating
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut flat = Vec::with_capacity(path.len() + 1);
        for name in path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
        {
            check(name)?;
            flat.push(SEPARATOR);
            flat.extend_from_slice(name);
        }
        let is_top = flat.is_empty();
        if is_top {
            flat.push(SEPARATOR);
        }
        let at = self.enter(OsStr::from_bytes(&flat))?;
        self.synchronise(at.as_fd(), entries)?;
        if is_top {
            self.prune(entries)?;
        }
        // A descriptor of its own, so that its position is the beginning.
        openat(&at, ".", DIRECTORY, Mode::empty()).map_err(|errno| errno as Errno)
    }

    /// Opens one of the directories, which is made where necessary.
    fn enter(&self, name: &OsStr) -> Result<OwnedFd, Errno> {
        match openat(&self.base, name, DIRECTORY, Mode::empty()) {
            Err(nix::errno::Errno::ENOENT) => {}
            other => return other.map_err(|errno| errno as Errno),
        }
        mkdirat(&self.base, name, Mode::from_bits_retain(0o755)).map_err(|errno| errno as Errno)?;
        let mode = Mode::from_bits_retain(DIRECTORY_MODE & 0o7777);
        fchmodat(&self.base, name, mode, FchmodatFlags::FollowSymlink)
            .map_err(|errno| errno as Errno)?;
        openat(&self.base, name, DIRECTORY, Mode::empty()).map_err(|errno| errno as Errno)
    }

    fn synchronise(&self, at: BorrowedFd<'_>, entries: &[Entry]) -> Result<(), Errno> {
        let mut wanted: HashMap<&[u8], usize> = HashMap::with_capacity(entries.len());
        for entry in entries {
            check(&entry.name)?;
            wanted.insert(&entry.name, placeholder_of(entry.kind));
        }
        let mut stale = Vec::new();
        for (name, ino) in list(at)? {
            match wanted.get(name.as_slice()) {
                Some(&kind) if self.placeholders[kind].ino == ino => {
                    wanted.remove(name.as_slice());
                }
                _ => stale.push(name),
            }
        }
        for name in stale {
            remove(at, OsStr::from_bytes(&name), UnlinkatFlags::NoRemoveDir)?;
        }
        for (name, kind) in wanted {
            self.place(at, OsStr::from_bytes(name), kind)?;
        }
        Ok(())
    }

    fn place(&self, at: BorrowedFd<'_>, name: &OsStr, kind: usize) -> Result<(), Errno> {
        match linkat(&self.base, SHOWN[kind].1, at, name, LinkatFlags::empty()) {
            Ok(()) => Ok(()),
            // No file system has room for any number of links: then it is listed as a link.
            Err(nix::errno::Errno::EMLINK) => {
                symlinkat(PLACEHOLDER, at, name).map_err(|errno| errno as Errno)
            }
            Err(errno) => Err(errno as Errno),
        }
    }

    /// Removes the directories beneath what the top does not hold; a guest that is in one keeps a
    /// dead directory.
    fn prune(&self, top: &[Entry]) -> Result<(), Errno> {
        for (name, _) in list(self.base.as_fd())? {
            let mut parts = name.split(|&byte| byte == SEPARATOR);
            let is_flat = parts.next() == Some(b"");
            let first = parts.next().unwrap_or_default();
            if !is_flat || first.is_empty() || top.iter().any(|entry| entry.name == first) {
                continue;
            }
            let name = OsStr::from_bytes(&name);
            let inner = openat(&self.base, name, DIRECTORY, Mode::empty())
                .map_err(|errno| errno as Errno)?;
            for (child, _) in list(inner.as_fd())? {
                let child = OsStr::from_bytes(&child);
                remove(inner.as_fd(), child, UnlinkatFlags::NoRemoveDir)?;
            }
            remove(self.base.as_fd(), name, UnlinkatFlags::RemoveDir)?;
        }
        Ok(())
    }
}

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NOFOLLOW);

fn check(name: &[u8]) -> Result<(), Errno> {
    let is_good = !name.is_empty()
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&SEPARATOR);
    if is_good { Ok(()) } else { Err(libc::EINVAL) }
}

/// Index of the placeholder of a kind.
fn placeholder_of(kind: Kind) -> usize {
    match kind {
        Kind::Dir | Kind::Mount => 0,
        Kind::File => 1,
        Kind::Link => 2,
        Kind::Device => 3,
        Kind::Socket => 4,
    }
}

/// The entries of a directory, and the inode of each.
fn list(at: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, u64)>, Errno> {
    let mut dir = Dir::openat(at, ".", DIRECTORY, Mode::empty()).map_err(|errno| errno as Errno)?;
    let mut found = Vec::new();
    for entry in dir.iter() {
        let entry = entry.map_err(|errno| errno as Errno)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push((name.to_vec(), entry.ino()));
        }
    }
    Ok(found)
}

fn remove(at: BorrowedFd<'_>, name: &OsStr, flags: UnlinkatFlags) -> Result<(), Errno> {
    match unlinkat(at, name, flags) {
        Ok(()) | Err(nix::errno::Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno as Errno),
    }
}
