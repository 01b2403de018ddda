//! Owners, modes and device numbers that the host's files cannot hold.
//!
//! The table in shared memory answers the guests, the ownership store keeps it over restarts. A
//! change is in the store's journal when the call that makes it returns; a thread of its own puts
//! what has gathered into the store.

use super::shared::Shared;
use super::zone::Zone;
use super::{files, threads};
use crate::error::{Doing, Result};
use crate::ownership::kept::{self, Kept};
use crate::ownership::{Journal, Said, Store, identify_in_full};
use picozone_personality::tables::{
    APPEND_ONLY, GROUP_TOO, HAS_DEFAULT_LIST, IMMUTABLE, IS_CAPABLE, MODE, OWNERS_MAX,
    UNTIL_WRITTEN, owner_bit, owner_slot,
};
use picozone_personality::{mailbox, written};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use crate::ownership::{FileId, Owner, identify};

/// How long changes gather, which the journal has, before they are put into the store: each transaction
/// has the disk write.
const GATHERING: Duration = Duration::from_secs(1);
/// How long the store is left alone after it has failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How many rows of the table are used at most: in a fuller one a search would take long.
const USED_MAX: usize = OWNERS_MAX / 8 * 7;

/// The table and what is to be kept of it.
pub struct Owners {
    gathered: Arc<Gathered>,
    /// Attributes that are not the host's files'.
    pub kept: Kept,
    /// Whether there ever were set-id bits that go with a write.
    has_waiting: AtomicBool,
}

/// Changes on their way to the store.
struct Gathered {
    /// Serialises writers of the table, too.
    state: Mutex<State>,
    is_more: Condvar,
}

struct State {
    journal: Journal,
    /// What the store is to be told.
    said: Vec<Said>,
    /// How many rows of the table are used.
    used: usize,
}

impl Gathered {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Has it in the journal, and in the store soon.
    fn keep(&mut self, said: Said) -> std::result::Result<(), i32> {
        self.journal.add(&said).map_err(|error| {
            tracing::error!("cannot write the ownership journal: {error}");
            files::errno(error)
        })?;
        self.said.push(said);
        Ok(())
    }

    /// Where in the table a file stands, or is to stand; nowhere if as many do as are found quickly.
    fn row(&self, shared: &Shared, id: FileId) -> Option<usize> {
        let first = owner_slot(id.dev, id.ino);
        let mut rows = (first..first + OWNERS_MAX).map(|at| at % OWNERS_MAX);
        let (at, is_free) = rows.find_map(|at| {
            let row = &shared.tables().owners[at];
            let is_ours = row.dev.load(Relaxed) == id.dev && row.ino.load(Relaxed) == id.ino;
            let is_free = row.seq.load(Relaxed) == 0;
            (is_free || is_ours).then_some((at, is_free))
        })?;
        (!is_free || self.used < USED_MAX).then_some(at)
    }

    /// Writes that row.
    fn put(&mut self, shared: &Shared, at: usize, id: FileId, owner: Owner) {
        note(shared, id, owner);
        let row = &shared.tables().owners[at];
        let seq = row.seq.load(Relaxed);
        self.used += usize::from(seq == 0);
        row.seq.store(seq | 1, Release);
        std::sync::atomic::fence(Release);
        row.dev.store(id.dev, Relaxed);
        row.ino.store(id.ino, Relaxed);
        row.btime.store(id.btime, Relaxed);
        row.uid.store(owner.uid, Relaxed);
        row.gid.store(owner.gid, Relaxed);
        row.mode.store(owner.mode, Relaxed);
        row.rdev.store(owner.rdev, Relaxed);
        row.seq.store((seq | 1) + 1, Release);
    }
}

/// Identity of an own descriptor's file, its owner in the zone's terms, and whether the table has it.
///
/// # Errors
/// The kernel's.
pub fn found(zone: &Zone, fd: &impl std::os::fd::AsRawFd) -> std::result::Result<Found, i32> {
    let (id, host) = identify_in_full(fd)?;
    let tables = zone.shared.tables();
    let kept = zone.owners.get(&zone.shared, id, || version_of(fd));
    let owner = kept.unwrap_or(Owner {
        uid: tables.uids.to_zone(host.uid),
        gid: tables.gids.to_zone(host.gid),
        mode: host.mode,
        rdev: 0,
    });
    Ok(Found {
        id,
        host,
        owner,
        is_kept: kept.is_some(),
    })
}

/// What [`found`] finds.
pub struct Found {
    /// Which file it is.
    pub id: FileId,
    /// Owner and mode on the host, in the host's terms.
    pub host: Owner,
    /// The same as the zone sees it.
    pub owner: Owner,
    /// Whether the table has a row of it.
    pub is_kept: bool,
}

/// When set-id bits go.
#[derive(Clone, Copy)]
pub struct Until {
    /// When the file is no more of this version.
    version: u64,
    /// [`UNTIL_WRITTEN`], perhaps with [`GROUP_TOO`].
    marks: u32,
}

impl Until {
    /// As a guest asks for it ([`mailbox::UNTIL_WRITTEN`]): from now on.
    pub fn asked(file: &impl AsRawFd, how: u64) -> Option<Until> {
        let marks = match how & mailbox::UNTIL_WRITTEN_BY_OTHERS {
            0 => return None,
            mailbox::UNTIL_WRITTEN => UNTIL_WRITTEN,
            _ => UNTIL_WRITTEN | GROUP_TOO,
        };
        let version = version_of(file);
        Some(Until { version, marks })
    }
}

/// What a write changes of an own descriptor's file.
pub fn version_of(file: &impl AsRawFd) -> u64 {
    // SAFETY: the descriptor is open as long as it is borrowed.
    let file = unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) };
    nix::sys::stat::fstat(file).map_or(0, |data| {
        let [seconds, nanoseconds, size] =
            [data.st_mtime, data.st_mtime_nsec, data.st_size].map(i64::cast_unsigned);
        written::version(seconds, nanoseconds, size)
    })
}

impl Owners {
    /// Opens the store of a zone, fills the table, and starts the thread that keeps it.
    ///
    /// # Errors
    /// The store or its journal cannot be read.
    pub fn open(zone_dir: &Path, shared: &Shared) -> Result<Owners> {
        let store = Store::open(zone_dir)?;
        let (mut journal, left) = Journal::open(zone_dir, store.last()?)?;
        store.set_up_to(Some(journal.last()), &left)?;
        for full in [journal.turn(), journal.turn()] {
            journal
                .forget(full)
                .doing("empty the journal in", zone_dir.display())?;
        }
        let mut state = State {
            journal,
            said: Vec::new(),
            used: 0,
        };
        let (mut has_waiting, mut beyond) = (false, 0);
        store.each_row(|id, owner| {
            has_waiting |= written::is_waiting(owner.mode);
            match state.row(shared, id) {
                Some(row) => state.put(shared, row, id, owner),
                None => beyond += 1,
            }
        })?;
        if beyond > 0 {
            tracing::error!(
                "{beyond} files have an owner for whom there is no room: see `zone check --repair`"
            );
        }
        let gathered = Arc::new(Gathered {
            state: Mutex::new(state),
            is_more: Condvar::new(),
        });
        let kept = store.kept()?;
        let theirs = Arc::clone(&gathered);
        threads::begin("owners", move || keep(&store, &theirs))
            .doing("start", "the owners' thread")?;
        Ok(Owners {
            gathered,
            kept,
            has_waiting: AtomicBool::new(has_waiting),
        })
    }

    /// Looks a file up, of which `version` tells what a write changes ([`written::version`]).
    #[must_use]
    pub fn get(&self, shared: &Shared, id: FileId, version: impl FnOnce() -> u64) -> Option<Owner> {
        let owner = self.marked(shared, id)?;
        Some(if owner.mode & UNTIL_WRITTEN == 0 {
            Owner {
                mode: owner.mode & MODE,
                ..owner
            }
        } else {
            Owner {
                mode: written::mode(owner.mode, owner.rdev, version()) & MODE,
                rdev: 0,
                ..owner
            }
        })
    }

    /// The marks of a file.
    #[must_use]
    pub fn marks(&self, shared: &Shared, id: FileId) -> u32 {
        self.marked(shared, id)
            .map_or(0, |owner| owner.mode & !MODE)
    }

    /// Does what changes a file's times and nothing else of it: bits that wait for a write wait on.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn over_times(
        &self,
        shared: &Shared,
        file: &impl AsRawFd,
        change: impl FnOnce() -> std::result::Result<(), i32>,
    ) -> std::result::Result<(), i32> {
        if !self.has_waiting.load(Relaxed) {
            return change();
        }
        let (id, _) = identify(file)?;
        let marks = self.marks(shared, id);
        let owner = self.get(shared, id, || version_of(file));
        change()?;
        match owner {
            Some(owner) if marks & UNTIL_WRITTEN != 0 => {
                let version = version_of(file);
                let marks = marks & (UNTIL_WRITTEN | GROUP_TOO);
                self.set_until(shared, id, owner, Some(Until { version, marks }))
            }
            _ => Ok(()),
        }
    }

    /// Has set-id bits stay that wait for a write and have not gone with one, if `nobody_writes`: what is
    /// written next is by who may keep them.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn keep_set_ids(
        &self,
        shared: &Shared,
        file: &impl AsRawFd,
        nobody_writes: impl FnOnce() -> bool,
    ) -> std::result::Result<(), i32> {
        let (id, _) = identify(file)?;
        let marks = self.marks(shared, id);
        let owner = self.get(shared, id, || version_of(file));
        match owner {
            Some(owner) if written::is_waiting(owner.mode | marks) && nobody_writes() => {
                self.mark(shared, id, owner, marks & !(UNTIL_WRITTEN | GROUP_TOO))
            }
            _ => Ok(()),
        }
    }

    /// An owner with the file's marks beside its mode.
    fn marked(&self, shared: &Shared, id: FileId) -> Option<Owner> {
        if !shared.tables().may_have_owner(id.dev, id.ino) {
            return None;
        }
        let mut at = owner_slot(id.dev, id.ino);
        for _ in 0..OWNERS_MAX {
            let row = &shared.tables().owners[at];
            if row.seq.load(Acquire) == 0 {
                return None;
            }
            if row.dev.load(Relaxed) == id.dev && row.ino.load(Relaxed) == id.ino {
                let mode = row.mode.load(Relaxed);
                let is_same = mode != 0 && row.btime.load(Relaxed) == id.btime;
                return is_same.then(|| Owner {
                    uid: row.uid.load(Relaxed),
                    gid: row.gid.load(Relaxed),
                    mode,
                    rdev: row.rdev.load(Relaxed),
                });
            }
            at = (at + 1) % OWNERS_MAX;
        }
        None
    }

    /// Sets a file's owner and mode: in the table and the journal at once, in the store soon. Set-id bits
    /// that it has then stay.
    ///
    /// # Errors
    /// ENOSPC where the table has no room for a further file; those of write(2). Then nothing was set.
    pub fn set(&self, shared: &Shared, id: FileId, owner: Owner) -> std::result::Result<(), i32> {
        self.set_until(shared, id, owner, None)
    }

    /// The same; but where there is a version, set-id bits go when the file is another one.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_until(
        &self,
        shared: &Shared,
        id: FileId,
        owner: Owner,
        until: Option<Until>,
    ) -> std::result::Result<(), i32> {
        let marks = self.marks(shared, id) & !(UNTIL_WRITTEN | GROUP_TOO);
        match until {
            Some(until) if owner.mode & libc::S_IFMT == libc::S_IFREG => {
                let rdev = until.version;
                self.write(shared, id, Owner { rdev, ..owner }, marks | until.marks)
            }
            _ => self.write(shared, id, owner, marks),
        }
    }

    /// The same, and marks the file ([`IMMUTABLE`] and so on) or takes its marks.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn mark(
        &self,
        shared: &Shared,
        id: FileId,
        owner: Owner,
        marks: u32,
    ) -> std::result::Result<(), i32> {
        let rdev = match self.marked(shared, id) {
            Some(old) if marks & UNTIL_WRITTEN != 0 => old.rdev,
            _ => owner.rdev,
        };
        self.write(shared, id, Owner { rdev, ..owner }, marks)
    }

    fn write(
        &self,
        shared: &Shared,
        id: FileId,
        owner: Owner,
        marks: u32,
    ) -> std::result::Result<(), i32> {
        let mode = owner.mode & MODE | marks;
        let owner = Owner { mode, ..owner };
        if written::is_waiting(mode) {
            self.has_waiting.store(true, Relaxed);
        }
        let mut state = self.gathered.lock();
        let row = state.row(shared, id).ok_or(libc::ENOSPC)?;
        state.keep(Said::Owner(id, owner))?;
        state.put(shared, row, id, owner);
        self.gathered.is_more.notify_one();
        Ok(())
    }

    /// The same for what ends with its last descriptor: in the table only.
    pub fn set_for_now(&self, shared: &Shared, id: FileId, owner: Owner) {
        let mut state = self.gathered.lock();
        if let Some(row) = state.row(shared, id) {
            state.put(shared, row, id, owner);
        }
    }

    /// Has a change of an attribute in the journal at once, and in the store soon.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn keep(&self, change: kept::Change) -> std::result::Result<(), i32> {
        let mut state = self.gathered.lock();
        state.keep(Said::Attribute(change))?;
        self.gathered.is_more.notify_one();
        Ok(())
    }

    /// Which file has this row of the table.
    #[must_use]
    pub fn file_of(&self, shared: &Shared, row: usize) -> Option<FileId> {
        let row = shared.tables().owners.get(row)?;
        // A row's file changes under the lock of its writers.
        let _writer = self.gathered.lock();
        (row.mode.load(Relaxed) != 0).then(|| FileId {
            dev: row.dev.load(Relaxed),
            ino: row.ino.load(Relaxed),
            btime: row.btime.load(Relaxed),
        })
    }
}

/// Notes what a row is to be looked for at all by.
fn note(shared: &Shared, id: FileId, owner: Owner) {
    let (word, bit) = owner_bit(id.dev, id.ino);
    shared.tables().owner_bits[word].fetch_or(bit, Release);
    if owner.mode & (IMMUTABLE | APPEND_ONLY) != 0 {
        shared.tables().marked.store(1, Release);
    }
    if written::is_waiting(owner.mode) {
        shared.tables().waiting.store(1, Release);
    }
    if owner.mode & libc::S_IFMT == libc::S_IFREG
        && owner.mode & (libc::S_ISUID | libc::S_ISGID) != 0
    {
        shared.tables().set_ids.store(1, Release);
    }
    if owner.mode & IS_CAPABLE != 0 {
        shared.tables().capable.store(1, Release);
    }
    note_foreign(shared, owner);
    let gives_group = owner.mode & (libc::S_IFMT | libc::S_ISGID) == libc::S_IFDIR | libc::S_ISGID;
    if gives_group || owner.mode & HAS_DEFAULT_LIST != 0 {
        shared.tables().group_givers.store(1, Release);
    }
}

/// Notes what links, files and directories there are that protection is about.
fn note_foreign(shared: &Shared, owner: Owner) {
    if owner.uid == 0 {
        return;
    }
    let protected = &shared.tables().protected;
    let (links, files) = match owner.mode & libc::S_IFMT {
        libc::S_IFLNK => (true, false),
        libc::S_IFREG | libc::S_IFIFO => (false, true),
        libc::S_IFDIR => [owner.mode & libc::S_ISVTX != 0; 2].into(),
        _ => (false, false),
    };
    if links {
        protected.foreign_links.store(1, Release);
    }
    if files {
        protected.foreign_files.store(1, Release);
    }
}

/// Puts what has gathered into the store, as long as the zone runs.
fn keep(store: &Store, gathered: &Gathered) {
    loop {
        drop(
            gathered
                .is_more
                .wait_while(gathered.lock(), |state| state.said.is_empty()),
        );
        std::thread::sleep(GATHERING);
        let (batch, last, full) = {
            let mut state = gathered.lock();
            let batch = std::mem::take(&mut state.said);
            (batch, state.journal.last(), state.journal.turn())
        };
        // On a full disk the journal has it, and the store a moment later.
        while let Err(error) = store.set_up_to(Some(last), &batch) {
            tracing::error!("{error}");
            std::thread::sleep(AGAIN);
        }
        if let Err(error) = gathered.lock().journal.forget(full) {
            tracing::error!("cannot empty the ownership journal: {error}");
        }
    }
}
