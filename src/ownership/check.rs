//! Whether the ownership store and the files of a zone agree, and what can be mended.

use super::kept::Change;
use super::{FileId, Journal, Owner, Said, Store, identify, identify_at};
use crate::error::{Doing, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files of all trees.
    pub files: usize,
    /// Rows of the store.
    pub rows: usize,
    /// Rows that were in the journal only, as after a crash; a boot takes them over, too.
    pub journaled: usize,
    /// Rows and attributes of files that are gone. They do no harm.
    pub stale: usize,
    /// Rows that say of a file what it cannot be.
    pub wrong: usize,
    /// Rows of files that are there by inode and birth time, on a file system that has another number now: a
    /// repair binds them anew.
    pub renumbered: usize,
    /// Whether hardly any row has its file, though there are as many files: the trees are copies, which have
    /// no owners. The rows are those of the original, and are left alone.
    pub is_copied: bool,
    /// Whether the store's own file was left in the midst of a change, which has been taken back.
    pub was_torn: bool,
    /// Whether what was found is mended.
    pub is_repaired: bool,
}

/// From how many rows on it is no chance that hardly any has a file.
const COPIED_ROWS: usize = 16;

/// Compares the store of a zone that does not run with its trees; mends it if wanted.
///
/// # Errors
/// The store is beyond repair, or a tree cannot be read.
pub fn check(zone_dir: &Path, trees: &[PathBuf], is_repair: bool) -> Result<Report> {
    let mut store = Store::open(zone_dir)?;
    let was_torn = !store.check()?;
    let (mut journal, left) = Journal::open(zone_dir, store.last()?)?;
    let mut rows: HashMap<FileId, Owner> = store.rows()?.into_iter().collect();
    rows.extend(left.iter().filter_map(Said::owner));
    let mut attributes = store.attributes(&left)?;
    let mut report = Report {
        rows: rows.len(),
        journaled: left.len(),
        was_torn,
        ..Report::default()
    };
    let mut wrong = Vec::new();
    let of: HashSet<FileId> = attributes.iter().map(|change| change.id).collect();
    let mut found = HashSet::new();
    // Those of which the device's number alone may be another one.
    let mut by_inode: HashMap<(u64, u64), FileId> = HashMap::new();
    let known = rows.keys().copied().chain(of.iter().copied());
    by_inode.extend(known.map(|id| ((id.ino, id.btime), id)));
    let mut renumbered: HashMap<FileId, FileId> = HashMap::new();
    for tree in trees {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = nix::fcntl::open(tree, flags, Mode::empty()).doing("open", tree.display())?;
        let mut see = |id: FileId, mode: u32| {
            report.files += 1;
            if of.contains(&id) {
                found.insert(id);
            }
            if let Some(&old) = by_inode.get(&(id.ino, id.btime))
                && old.dev != id.dev
                && rows.get(&old).is_none_or(|&owner| can_be(owner, mode))
            {
                renumbered.insert(old, id);
            }
            if let Some(owner) = rows.remove(&id)
                && !can_be(owner, mode)
            {
                wrong.push(id);
            }
        };
        if let Ok((id, mode)) = identify(&dir) {
            see(id, mode);
        }
        walk(dir, &mut see).doing("read", tree.display())?;
    }
    // What is left has no file.
    attributes.retain(|change| !found.contains(&change.id));
    let mut moved = Vec::new();
    for (old, new) in &renumbered {
        moved.extend(rows.remove(old).map(|owner| (*old, *new, owner)));
    }
    let (moved_attributes, gone): (Vec<_>, Vec<_>) = attributes
        .into_iter()
        .partition(|change| renumbered.contains_key(&change.id));
    report.renumbered = moved.len() + moved_attributes.len();
    (report.stale, report.wrong) = (rows.len() + gone.len(), wrong.len());
    report.is_copied = report.rows >= COPIED_ROWS
        && rows.len() >= report.rows / 10 * 9
        && report.files >= report.rows;
    if is_repair && !report.is_copied {
        let bound = moved.iter().map(|&(_, new, owner)| Said::Owner(new, owner));
        let again = moved_attributes.iter().map(|change| {
            let id = renumbered.get(&change.id).copied().unwrap_or(change.id);
            Said::Attribute(Change {
                id,
                ..change.clone()
            })
        });
        let gone = gone.iter().chain(&moved_attributes);
        let gone =
            gone.map(|change| Said::Attribute(Change::removed(change.id, change.name.clone())));
        let said: Vec<Said> = left
            .into_iter()
            .chain(gone)
            .chain(bound)
            .chain(again)
            .collect();
        store.set_up_to(Some(journal.last()), &said)?;
        for full in [journal.turn(), journal.turn()] {
            journal
                .forget(full)
                .doing("empty the journal in", zone_dir.display())?;
        }
        wrong.extend(rows.into_keys());
        wrong.extend(moved.iter().map(|&(old, ..)| old));
        store.remove(&wrong)?;
        report.is_repaired = true;
    }
    Ok(report)
}

/// Whether a file of the host that has this mode can be what a row says.
fn can_be(owner: Owner, on_host: u32) -> bool {
    let kind = on_host & libc::S_IFMT;
    match owner.is_device() {
        true => kind == libc::S_IFSOCK,
        false => owner.mode & libc::S_IFMT == kind,
    }
}

/// Shows everything below a directory; links are not followed, and what has gone meanwhile is skipped.
fn walk(dir: OwnedFd, see: &mut dyn FnMut(FileId, u32)) -> nix::Result<()> {
    let mut dir = Dir::from_fd(dir)?;
    let names: Vec<CString> = dir
        .iter()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_owned()))
        .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
        .collect();
    for name in names {
        let Ok((id, mode)) = identify_at(&dir, &name) else {
            continue;
        };
        see(id, mode);
        if mode & libc::S_IFMT == libc::S_IFDIR {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            match nix::fcntl::openat(&dir, name.as_c_str(), flags, Mode::empty()) {
                Ok(below) => walk(below, see)?,
                // Somebody else's, in a directory that the zone shares with the host.
                Err(Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}
