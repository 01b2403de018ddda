//! Mount points in a zone's tree: what stands there makes way for a placeholder, and is put back.
//!
//! A mount point changes places with a placeholder ([`PLACEHOLDER`]), in one step. Until it is
//! unmounted it lies in `zones/NAME/mounts`, which belongs to the zone; where it came from is noted in
//! `zones/NAME/points`, which does not, so that it comes back even if the monitor was killed.

use crate::error::{Doing, Result};
use crate::tree::within::PLACEHOLDER;
use nix::errno::Errno;
use nix::fcntl::{
    AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, readlinkat, renameat2,
};
use nix::sys::stat::{FileStat, Mode, fchmod, fstatat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a note begins with: the place is in the zone's root, or in the store.
const IN_ROOT: u8 = b'r';
const IN_STORE: u8 = b's';
/// How the directories of temporary file systems end.
const TEMPORARY: &str = ".fs";

/// The tree in which a mount point lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum In {
    /// The zone's root.
    Root,
    /// The store.
    Store,
}

/// Where mount points and temporary file systems of a zone lie.
#[derive(Debug)]
pub struct Store {
    /// `zones/NAME/mounts`.
    directory: OwnedFd,
    path: PathBuf,
    /// `zones/NAME/points`.
    notes: PathBuf,
}

/// A mount point that made way.
#[derive(Debug)]
pub struct Cover {
    /// The directory that holds it.
    parent: OwnedFd,
    name: OsString,
    /// Its name in the store.
    pub kept: String,
    /// The placeholder.
    pub placeholder: FileStat,
}

/// Makes the directories of the store.
///
/// # Errors
/// They cannot be made.
pub fn make(zone_dir: &Path) -> Result<PathBuf> {
    let [path, notes] = ["mounts", "points"].map(|name| zone_dir.join(name));
    for directory in [&path, &notes] {
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(directory)
            .doing("make", directory.display())?;
    }
    Ok(path)
}

/// Puts back what a zone that does not run any more has left in its store, and empties that but for
/// what cannot come back.
///
/// # Errors
/// The store cannot be read.
pub fn restore(zone_dir: &Path, root: &Path) -> Result<()> {
    let [path, notes] = ["mounts", "points"].map(|name| zone_dir.join(name));
    let Ok(entries) = fs::read_dir(&notes) else {
        return Ok(());
    };
    let mut kept: Vec<u64> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    // The latest first: it may lie in what an earlier one shows again.
    kept.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    let open = |path: &Path| {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty())
    };
    let (root, store) = (
        open(root).doing("open", root.display())?,
        open(&path).doing("open", path.display())?,
    );
    for number in kept {
        let note = notes.join(number.to_string());
        let Ok(place) = fs::read(&note) else { continue };
        let (tree, place) = match place.split_first() {
            Some((&IN_ROOT, place)) => (&root, place),
            Some((&IN_STORE, place)) => (&store, place),
            _ => continue,
        };
        if put_back(tree, &store, number, place).is_ok() {
            let _ = fs::remove_file(&note);
        }
    }
    for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.split('.').next());
        let is_noted = number.is_some_and(|number| notes.join(number).exists());
        if !is_noted && fs::remove_dir_all(entry.path()).is_err() {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn put_back(tree: &OwnedFd, store: &OwnedFd, number: u64, place: &[u8]) -> nix::Result<()> {
    let kept = format!("{number}.point");
    if fstatat(store, &kept[..], AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT) {
        return Ok(());
    }
    let place = Path::new(OsStr::from_bytes(place));
    let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
        return Ok(());
    };
    let parent = open_parent(tree, parent)?;
    uncover(store, &parent, name, &kept)
}

/// Opens a directory beneath another, through no links.
fn open_parent(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(root, path, how)
}

/// Puts what is kept back to its place, if nothing else stands there.
fn uncover(store: &OwnedFd, parent: &OwnedFd, name: &OsStr, kept: &str) -> nix::Result<()> {
    let is_placeholder = readlinkat(parent, name).is_ok_and(|target| target == PLACEHOLDER);
    if is_placeholder {
        renameat2(store, kept, parent, name, RenameFlags::RENAME_EXCHANGE)?;
        unlinkat(store, kept, UnlinkatFlags::NoRemoveDir)
    } else {
        renameat2(store, kept, parent, name, RenameFlags::RENAME_NOREPLACE)
    }
}

impl Store {
    /// Opens the store of a zone.
    ///
    /// # Errors
    /// It is not there.
    pub fn open(zone_dir: &Path) -> Result<Store> {
        let path = make(zone_dir)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory =
            nix::fcntl::open(&path, flags, Mode::empty()).doing("open", path.display())?;
        // As the kernel tells it of descriptors.
        let path = path.canonicalize().doing("resolve", path.display())?;
        Ok(Store {
            directory,
            path,
            notes: zone_dir.join("points"),
        })
    }

    /// The first number from which on none is in use.
    #[must_use]
    pub fn first_number(&self) -> u64 {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let number = |entry: fs::DirEntry| {
            let name = entry.file_name();
            name.to_str()?.split('.').next()?.parse::<u64>().ok()
        };
        entries.filter_map(number).max().unwrap_or(0) + 1
    }

    /// Lets a mount point make way: `rel` beneath `tree`. Where it comes back to is noted, unless that
    /// goes with a temporary file system.
    ///
    /// # Errors
    /// Those of the calls it makes; EXDEV where it lies on another file system of the host.
    pub fn cover(&self, tree: impl AsFd, kind: In, rel: &[u8], number: u64) -> nix::Result<Cover> {
        let rel = Path::new(OsStr::from_bytes(rel));
        let first = rel.iter().next().and_then(OsStr::to_str).unwrap_or("");
        let is_lasting = kind == In::Root || !first.ends_with(TEMPORARY);
        let mark = if kind == In::Root { IN_ROOT } else { IN_STORE };
        let name = rel.file_name().ok_or(Errno::EBUSY)?.to_owned();
        let tree = tree
            .as_fd()
            .try_clone_to_owned()
            .map_err(|_| Errno::EMFILE)?;
        let parent = open_parent(&tree, rel.parent().unwrap_or(Path::new("")))?;
        let kept = format!("{number}.point");
        symlinkat(PLACEHOLDER, &self.directory, &kept[..])?;
        let note = self.notes.join(number.to_string());
        let covered = (|| {
            if is_lasting {
                let text = [&[mark], rel.as_os_str().as_bytes()].concat();
                fs::write(&note, text).map_err(|_| Errno::EIO)?;
            }
            let flags = RenameFlags::RENAME_EXCHANGE;
            renameat2(&self.directory, &kept[..], &parent, name.as_os_str(), flags)?;
            fstatat(&parent, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
        })();
        match covered {
            Ok(placeholder) => Ok(Cover {
                parent,
                name,
                kept,
                placeholder,
            }),
            Err(errno) => {
                let _ = unlinkat(&self.directory, &kept[..], UnlinkatFlags::NoRemoveDir);
                let _ = fs::remove_file(&note);
                Err(errno)
            }
        }
    }

    /// Undoes [`Store::cover`]. What cannot come back stays in the store.
    pub fn uncover(&self, cover: &Cover) {
        if uncover(&self.directory, &cover.parent, &cover.name, &cover.kept).is_ok()
            && let Some((number, _)) = cover.kept.split_once('.')
        {
            let _ = fs::remove_file(self.notes.join(number));
        }
    }

    /// Makes the directory of a temporary file system; its name.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_temporary(&self, number: u64) -> std::io::Result<String> {
        let name = format!("{number}{TEMPORARY}");
        DirBuilder::new()
            .mode(0o700)
            .create(self.path.join(&name))?;
        Ok(name)
    }

    /// Makes an empty directory or file that a descriptor can name; its name.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_stand_in(&self, number: u64, is_directory: bool) -> std::io::Result<String> {
        if is_directory {
            return self.make_temporary(number);
        }
        let name = format!("{number}{TEMPORARY}");
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(self.path.join(&name))?;
        Ok(name)
    }

    /// Opens it as a directory with this mode. The zone may put something else into its place at any
    /// time, so no link is followed.
    ///
    /// # Errors
    /// It is none, or not ours.
    pub fn open_temporary(&self, name: &str, mode: u32) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = nix::fcntl::openat(&self.directory, name, flags, Mode::empty())?;
        fchmod(&directory, Mode::from_bits_truncate(mode))?;
        Ok(directory)
    }

    /// The host path of a name in the store.
    #[must_use]
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes a temporary file system, however large, without making anybody wait.
    pub fn remove_temporary(&self, name: &str) {
        let path = self.path.join(name);
        std::thread::spawn(move || fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)));
    }
}
