//! Copy-on-write mounts: a directory of the host below, a layer of the zone's own above.
//!
//! A layer is a directory of the zone's own files, and whatever programs do with names happens in it,
//! by the kernel alone: what is missing there is removed, what is new is the zone's. What the zone has
//! not changed is a *stand-in* ([`picozone_fsmap::StandIn`]). The guest itself opens what that stands
//! for, read-only. Only two things are done here:
//!
//! - a directory is *unfolded* ([`unfold`]) when somebody goes into it: it becomes a directory of
//!   stand-ins for what lies below;
//! - a file is *raised* ([`raise`]) when somebody is about to change it: it becomes a copy.
//!
//! Both are made ready in `work`, where no guest reaches, and change places with the stand-in in one
//! step: whenever the monitor ends, a name is either as before or as after. What goes with a file and
//! cannot be read off it (inode below, owner) is in the [`journal`] before that step.
//!
//! Below nothing is ever opened but for reading, and with the rights of a guest ([`rights`]): a zone
//! whose monitor runs as root does not learn what its programs could not read.
//!
//! [`notes`] tell what a directory was unfolded from, for [`renew`] and [`diff`].

pub mod diff;
mod journal;
mod notes;
pub mod pack;
mod raise;
mod renew;
mod requests;
pub(super) mod rights;
#[cfg(test)]
mod tests;
mod unfold;

pub use journal::Record;
pub use requests::{Layers, attend, open_end};

use super::owners::FileId;
use super::paths;
use crate::config::Cow;
use crate::error::{Doing, Result};
use hashbrown::HashMap;
use journal::Journal;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use picozone_fsmap::{PathBuf as FixedPath, StandIn, mount_id};
use picozone_personality::origins::UNCOUNTED;
use picozone_personality::users::IdMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is told of each file and directory of a layer that shows something else than it is.
pub type Tell<'a> = &'a dyn Fn(&Record);

/// What to do with a stand-in for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Copy it.
    Whole,
    /// Copy everything but its content.
    Empty,
    /// Copy nothing: only if another name of the same file was raised, become a name of that.
    IfLinked,
}

/// The two directories of a mount.
struct Pair {
    number: u32,
    /// The host's directory.
    below: OwnedFd,
    /// The top of what the zone sees.
    top: OwnedFd,
    /// The notes.
    notes: PathBuf,
}

/// The layer of one mount.
pub struct Layer {
    pair: Pair,
    /// Where things are made ready.
    work: OwnedFd,
    /// Raised files of several names, by what they were below.
    index: OwnedFd,
    journal: Journal,
    /// Who the host's users are in the zone.
    ids: [IdMap; 2],
    /// Names in `work`.
    next: AtomicU64,
    /// Held while a stand-in is exchanged.
    exchange: Mutex<()>,
    /// [`links`](picozone_personality::origins::Origin::links) of the files in the index. Taken before the former.
    names: Mutex<HashMap<FileId, i64>>,
    /// Whether a file of several names was ever raised: others of them may still be stand-ins.
    has_linked: AtomicBool,
}

/// A stand-in that was found.
struct Found {
    /// Its link.
    id: (u64, u64),
    number: u32,
    is_directory: bool,
    /// What it stands for, beneath the top below.
    path: Vec<u8>,
}

/// Where the layer of a mount point lies.
#[must_use]
pub fn directory(zone_dir: &Path, mount_point: &Path) -> PathBuf {
    let number = mount_id(mount_point.as_os_str().as_bytes());
    zone_dir.join("cow").join(format!("{number:08x}"))
}

/// What the zone sees of it.
#[must_use]
pub fn top(zone_dir: &Path, mount_point: &Path) -> PathBuf {
    directory(zone_dir, mount_point).join("tree")
}

fn holds_any(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).doing("open", path.display())
}

/// What stands at a name, if it is a stand-in.
fn find(directory: impl AsFd, name: &OsStr) -> nix::Result<Option<Found>> {
    if name.as_bytes().contains(&b'/') {
        return Err(Errno::EINVAL);
    }
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let node = openat(directory, name, flags, Mode::empty())?;
    let status = fstat(&node)?;
    if status.st_mode & libc::S_IFMT != libc::S_IFLNK {
        return Ok(None);
    }
    let text = readlinkat(&node, "")?;
    let Some(said) = StandIn::parse(text.as_bytes()) else {
        return Ok(None);
    };
    let mut path = FixedPath::new();
    said.path(name.as_bytes(), &mut path)
        .map_err(|error| Errno::from_raw(i32::from(error.0)))?;
    Ok(Some(Found {
        id: id_of(&status),
        number: said.mount,
        is_directory: said.is_directory,
        path: path.as_bytes().to_vec(),
    }))
}

fn id_of(status: &FileStat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

fn status_at(directory: impl AsFd, name: &OsStr) -> nix::Result<FileStat> {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// Opens a path beneath a directory, through no links.
fn open_beneath(directory: impl AsFd, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(directory, OsStr::from_bytes(path), how)
}

/// A directory and the name in it.
fn split(path: &[u8]) -> (&[u8], &OsStr) {
    let start = path.iter().rposition(|&byte| byte == b'/');
    let (front, name) = match start {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    (front, OsStr::from_bytes(name))
}

impl Pair {
    /// Opens those of a mount that has a layer.
    fn open(zone_dir: &Path, mount_point: &Path, host: &Path) -> Result<Self> {
        let directory = directory(zone_dir, mount_point);
        Ok(Self {
            number: mount_id(mount_point.as_os_str().as_bytes()),
            below: open_directory(host)?,
            top: open_directory(&directory.join("tree"))?,
            notes: directory.join("notes"),
        })
    }
}

impl Layer {
    /// Opens the layer of a mount, which is made if it is not there.
    ///
    /// # Errors
    /// The host's directory cannot be read, or the layer not be made.
    pub fn open(zone_dir: &Path, cow: &Cow, ids: [IdMap; 2]) -> Result<Self> {
        let (mount_point, host) = (&cow.zone, &cow.host);
        let directory = directory(zone_dir, mount_point);
        let [work, index, notes] = ["work", "index", "notes"].map(|name| directory.join(name));
        if work.exists() {
            // What was not finished.
            crate::tree::remove(&work)?;
        }
        for made in [&work, &index, &notes] {
            DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(made)
                .doing("make the directory", made.display())?;
        }
        let tree = directory.join("tree");
        let journal = Journal::open(&directory.join("journal"))?;
        let records = journal.records()?.into_iter();
        let counted = records.filter(|record| !matches!(record.origin.links, 0 | UNCOUNTED));
        let names = counted
            .map(|record| (record.id, record.origin.links))
            .collect();
        let pair = Pair {
            number: mount_id(mount_point.as_os_str().as_bytes()),
            below: open_directory(host)?,
            top: open_directory(&directory)?,
            notes,
        };
        let mut layer = Self {
            pair,
            work: open_directory(&work)?,
            index: open_directory(&index)?,
            journal,
            ids,
            next: AtomicU64::new(0),
            exchange: Mutex::default(),
            names: Mutex::new(names),
            has_linked: AtomicBool::new(holds_any(&index)),
        };
        if !tree.exists() {
            let (name, note) = layer
                .unfold(b"", &|_| {})
                .doing("lay a layer over", host.display())?;
            note.store(&layer.pair.notes)
                .doing("lay a layer over", host.display())?;
            fs::rename(work.join(name), &tree).doing("make the directory", tree.display())?;
        }
        layer.pair.top = open_directory(&tree)?;
        Ok(layer)
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.pair.number
    }

    /// Whether a file of several names was ever raised.
    #[must_use]
    pub fn has_linked(&self) -> bool {
        self.has_linked.load(Ordering::Acquire)
    }

    /// What the journal holds.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn records(&self) -> Result<Vec<Record>> {
        self.journal.records()
    }

    /// A directory of the layer by its path there, unfolded on the way; `None` if there is none.
    #[must_use]
    pub fn directory_at(&self, path: &[u8], tell: Tell<'_>) -> Option<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let mut at = open_beneath(&self.pair.top, b"", flags).ok()?;
        for name in path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
        {
            let name = OsStr::from_bytes(name);
            if let Some(found) = find(&at, name).ok()?
                && found.number == self.pair.number
                && found.is_directory
            {
                self.raise(&at, name, &found, How::Whole, tell).ok()?;
            }
            at = open_beneath(&at, name.as_bytes(), flags).ok()?;
        }
        Some(at)
    }

    /// Removes a name, whatever it is, of a directory of a layer that no zone uses.
    ///
    /// # Errors
    /// Those of unlinkat(2).
    pub fn remove(&self, directory: &[u8], name: &[u8]) -> nix::Result<()> {
        if !paths::is_component(name) {
            return Err(Errno::EINVAL);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let directory = open_beneath(&self.pair.top, directory, flags)?;
        let name = OsStr::from_bytes(name);
        match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => {
                let path = super::descriptors::own_path(&directory).join(name);
                crate::tree::remove(&path).map_err(|_| Errno::EIO)
            }
            other => other,
        }
    }

    /// Removes all names of such a directory, which shows nothing of what lies below from then on.
    ///
    /// # Errors
    /// The same.
    pub fn clear(&self, directory: &[u8]) -> nix::Result<()> {
        let opened = open_beneath(
            &self.pair.top,
            directory,
            OFlag::O_RDONLY | OFlag::O_DIRECTORY,
        )?;
        for entry in unfold::entries(&opened)? {
            self.remove(directory, entry.name.as_bytes())?;
        }
        notes::Note::forget(&self.pair.notes, directory);
        Ok(())
    }

    /// Makes of a stand-in what it stands for. False if [`How::IfLinked`] found nothing.
    fn raise(
        &self,
        directory: &OwnedFd,
        name: &OsStr,
        found: &Found,
        how: How,
        tell: Tell<'_>,
    ) -> nix::Result<bool> {
        if !found.is_directory {
            return self.raise_file(directory, name, found, how, tell);
        }
        let (ready, note) = self.unfold(&found.path, tell)?;
        self.put(directory, name, found, &ready, Some(&note))?;
        Ok(true)
    }

    /// A name in `work` that nothing has.
    fn new_name(&self) -> OsString {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        number.to_string().into()
    }

    /// Lets what is ready in `work` change places with a stand-in. False if that is not there any more:
    /// somebody was faster, and what was made ready is dropped. A note goes with what is put only: the one
    /// on what somebody else has put stays.
    fn put(
        &self,
        directory: &OwnedFd,
        name: &OsStr,
        found: &Found,
        ready: &OsStr,
        note: Option<&notes::Note>,
    ) -> nix::Result<bool> {
        let _exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = |place: &OwnedFd, name: &OsStr| {
            status_at(place, name).is_ok_and(|status| id_of(&status) == found.id)
        };
        let times = fstat(directory)?;
        let swap = || {
            let flags = RenameFlags::RENAME_EXCHANGE;
            nix::fcntl::renameat2(&self.work, ready, directory, name, flags)
        };
        let put = if !is_there(directory, name) {
            Err(Errno::ENOENT)
        } else if let Some(Err(error)) = note.map(|note| note.store(&self.pair.notes)) {
            Err(unfold::io_errno(error))
        } else {
            swap()
        };
        let is_other = put.is_ok() && !is_there(&self.work, ready);
        if is_other {
            // The zone has put something else there just now, which stays.
            swap()?;
        }
        self.drop_ready(ready);
        match put {
            Ok(()) => {
                // Nothing has changed in the directory, as far as the zone is concerned.
                keep_times(directory, &times);
                Ok(!is_other)
            }
            // Whoever asked looks again.
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Removes something from `work`.
    fn drop_ready(&self, name: &OsStr) {
        if unlinkat(&self.work, name, UnlinkatFlags::NoRemoveDir).is_err() {
            let path = super::descriptors::own_path(&self.work).join(name);
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Gives a directory, of which we may have no more than a name, times of access and change.
fn keep_times(directory: &OwnedFd, status: &FileStat) {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    use nix::sys::time::TimeSpec;
    let path = super::descriptors::own_path(directory);
    let (accessed, changed) = (
        TimeSpec::new(status.st_atime, status.st_atime_nsec),
        TimeSpec::new(status.st_mtime, status.st_mtime_nsec),
    );
    let flags = UtimensatFlags::FollowSymlink;
    let _ = utimensat(nix::fcntl::AT_FDCWD, &path, &accessed, &changed, flags);
}
