//! Owners, modes and device numbers that the host's files cannot hold.
//!
//! The table in shared memory answers the guests; redb keeps it over restarts. Changes are written
//! in batches by a thread of their own. A row is bound to its file by device, inode and birth time,
//! so that an inode number used again finds nothing.

use super::kept::{self, Kept};
use super::shared::Shared;
use super::zone::Zone;
use crate::error::{Doing, Result};
use crate::tree::owners;
use crossbeam::channel::{Receiver, Sender, unbounded};
use picozone_personality::tables::{
    APPEND_ONLY, IMMUTABLE, MODE, OWNERS_MAX, owner_bit, owner_slot,
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

type Key = (u64, u64, u64);
type Value = (u32, u32, u32);
const TABLE: TableDefinition<'_, Key, Value> = TableDefinition::new("owners");
/// Device numbers, of those that have any.
const DEVICES: TableDefinition<'_, Key, u64> = TableDefinition::new("devices");

/// A file, by device, inode and birth time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
    /// Nanoseconds since 1970.
    pub btime: u64,
}

/// What the zone sees of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Zone uid.
    pub uid: u32,
    /// Zone gid.
    pub gid: u32,
    /// `st_mode` in full.
    pub mode: u32,
    /// `st_rdev` of a device node, whose place on the host a socket keeps.
    pub rdev: u64,
}

/// The store.
pub struct Owners {
    /// Serialises writers of the table.
    writer: Mutex<()>,
    changes: Sender<Change>,
    /// Attributes of what can have none on the host.
    pub kept: Kept,
}

/// Something to be written.
enum Change {
    Owner(FileId, Owner),
    Kept(kept::Change),
}

/// Owner, group and mode of an own descriptor's file, in the zone's terms.
#[must_use]
pub fn in_zone(zone: &Zone, file: &std::fs::File, data: &std::fs::Metadata) -> Owner {
    let tables = zone.shared.tables();
    let kept = if tables.may_have_owner(data.dev(), data.ino()) {
        identify(file)
            .ok()
            .and_then(|(id, _)| zone.owners.get(&zone.shared, id))
    } else {
        None
    };
    kept.unwrap_or_else(|| Owner {
        uid: id_in_zone(data.uid(), tables.host_uid),
        gid: id_in_zone(data.gid(), tables.host_gid),
        mode: data.mode(),
        rdev: data.rdev(),
    })
}

/// Identity of an own descriptor's file, its owner in the zone's terms, and whether the table has it.
///
/// # Errors
/// The kernel's.
pub fn found(zone: &Zone, fd: &impl std::os::fd::AsRawFd) -> std::result::Result<Found, i32> {
    let (id, host) = identify_in_full(fd)?;
    let tables = zone.shared.tables();
    let kept = zone.owners.get(&zone.shared, id);
    let owner = kept.unwrap_or(Owner {
        uid: id_in_zone(host.uid, tables.host_uid),
        gid: id_in_zone(host.gid, tables.host_gid),
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

/// As the personality translates a host id: the zone's own user is root, system ids are the same, the
/// rest is nobody.
#[must_use]
pub fn id_in_zone(id: u32, own: u32) -> u32 {
    match id {
        id if id == own => 0,
        id if id < 1000 => id,
        _ => 65534,
    }
}

/// Identity and mode of an own descriptor's file.
///
/// # Errors
/// The kernel's.
pub fn identify(fd: &impl std::os::fd::AsRawFd) -> std::result::Result<(FileId, u32), i32> {
    identify_in_full(fd).map(|(id, host)| (id, host.mode))
}

fn identify_in_full(fd: &impl std::os::fd::AsRawFd) -> std::result::Result<(FileId, Owner), i32> {
    // SAFETY: all zero is a valid `struct statx`.
    let mut buffer = unsafe { std::mem::zeroed::<libc::statx>() };
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    // SAFETY: the buffer is ours, the path is an empty constant.
    let result = unsafe {
        libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            mask,
            &raw mut buffer,
        )
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO));
    }
    let btime = buffer
        .stx_btime
        .tv_sec
        .unsigned_abs()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::from(buffer.stx_btime.tv_nsec));
    let dev = libc::makedev(buffer.stx_dev_major, buffer.stx_dev_minor);
    Ok((
        FileId {
            dev,
            ino: buffer.stx_ino,
            btime,
        },
        Owner {
            uid: buffer.stx_uid,
            gid: buffer.stx_gid,
            mode: u32::from(buffer.stx_mode),
            rdev: 0,
        },
    ))
}

impl Owners {
    /// Opens the store of a zone, fills the table, and starts the writer.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(zone_dir: &Path, root: &Path, shared: &Shared) -> Result<Owners> {
        let path = zone_dir.join("owners.redb");
        let database = Database::create(&path)
            .map_err(std::io::Error::other)
            .doing("open", path.display())?;
        let (changes, queue) = unbounded();
        let kept = Kept::read(&database)
            .map_err(std::io::Error::other)
            .doing("read", path.display())?;
        let store = Owners {
            writer: Mutex::new(()),
            changes,
            kept,
        };
        let loaded = read_all(&database)
            .map_err(std::io::Error::other)
            .doing("read", path.display())?;
        for (id, owner) in loaded {
            store.put(shared, id, owner);
        }
        let pending = owners::pending(zone_dir)?;
        let mut first = Vec::new();
        for owner in pending {
            let relative = owner.path.strip_prefix("/").unwrap_or(&owner.path);
            let Ok(file) = std::fs::OpenOptions::new()
                .read(true)
                .custom_flags_path()
                .open(root.join(relative))
            else {
                continue;
            };
            if let Ok((id, mode)) = identify(&file) {
                let owner = Owner {
                    uid: owner.uid,
                    gid: owner.gid,
                    mode: mode & libc::S_IFMT | owner.mode,
                    rdev: 0,
                };
                store.put(shared, id, owner);
                first.push(Change::Owner(id, owner));
            }
        }
        write(&database, &first)
            .map_err(std::io::Error::other)
            .doing("write", path.display())?;
        owners::imported(zone_dir)?;
        std::thread::Builder::new()
            .name("owners".into())
            .spawn(move || keep(&database, &queue))
            .doing("start", "the owners' thread")?;
        Ok(store)
    }

    /// Looks a file up.
    #[must_use]
    pub fn get(&self, shared: &Shared, id: FileId) -> Option<Owner> {
        self.marked(shared, id).map(|owner| Owner {
            mode: owner.mode & MODE,
            ..owner
        })
    }

    /// The marks of a file.
    #[must_use]
    pub fn marks(&self, shared: &Shared, id: FileId) -> u32 {
        self.marked(shared, id)
            .map_or(0, |owner| owner.mode & !MODE)
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

    /// Sets a file's owner and mode, in the table at once and in the store soon.
    pub fn set(&self, shared: &Shared, id: FileId, owner: Owner) {
        self.mark(shared, id, owner, self.marks(shared, id));
    }

    /// The same, and marks the file ([`IMMUTABLE`], [`APPEND_ONLY`]) or takes its marks.
    pub fn mark(&self, shared: &Shared, id: FileId, owner: Owner, marks: u32) {
        let mode = owner.mode & MODE | marks;
        let owner = Owner { mode, ..owner };
        self.put(shared, id, owner);
        // The receiver lives as long as the process.
        let _ = self.changes.send(Change::Owner(id, owner));
    }

    /// Has a change of a kept attribute written.
    pub fn keep(&self, change: kept::Change) {
        let _ = self.changes.send(Change::Kept(change));
    }

    /// The same for what ends with its last descriptor: in the table only.
    pub fn set_for_now(&self, shared: &Shared, id: FileId, owner: Owner) {
        self.put(shared, id, owner);
    }

    fn put(&self, shared: &Shared, id: FileId, owner: Owner) {
        let _writer = self
            .writer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (word, bit) = owner_bit(id.dev, id.ino);
        shared.tables().owner_bits[word].fetch_or(bit, Release);
        if owner.mode & (IMMUTABLE | APPEND_ONLY) != 0 {
            shared.tables().marked.store(1, Release);
        }
        if owner.mode & (libc::S_IFMT | libc::S_ISGID) == libc::S_IFDIR | libc::S_ISGID {
            shared.tables().group_givers.store(1, Release);
        }
        let mut at = owner_slot(id.dev, id.ino);
        for _ in 0..OWNERS_MAX {
            let row = &shared.tables().owners[at];
            let seq = row.seq.load(Relaxed);
            let is_ours = row.dev.load(Relaxed) == id.dev && row.ino.load(Relaxed) == id.ino;
            if seq == 0 || is_ours {
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
                return;
            }
            at = (at + 1) % OWNERS_MAX;
        }
    }
}

trait OpenPath {
    fn custom_flags_path(&mut self) -> &mut Self;
}
impl OpenPath for std::fs::OpenOptions {
    fn custom_flags_path(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt;
        self.custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
    }
}

fn read_all(database: &Database) -> std::result::Result<Vec<(FileId, Owner)>, redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        other => other?,
    };
    let devices = match read.open_table(DEVICES) {
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        other => Some(other?),
    };
    let mut all = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        let ((dev, ino, btime), (uid, gid, mode)) = (key.value(), value.value());
        let rdev = match &devices {
            Some(devices) if is_device(mode) => devices.get(key.value())?,
            _ => None,
        };
        let rdev = rdev.map_or(0, |rdev| rdev.value());
        let owner = Owner {
            uid,
            gid,
            mode,
            rdev,
        };
        all.push((FileId { dev, ino, btime }, owner));
    }
    Ok(all)
}

const fn is_device(mode: u32) -> bool {
    matches!(mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK)
}

fn write(database: &Database, changes: &[Change]) -> std::result::Result<(), redb::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(TABLE)?;
        let mut devices = transaction.open_table(DEVICES)?;
        for change in changes {
            let (id, owner) = match change {
                Change::Owner(id, owner) => (id, owner),
                Change::Kept(change) => {
                    change.write(&transaction)?;
                    continue;
                }
            };
            let key = (id.dev, id.ino, id.btime);
            table.insert(key, (owner.uid, owner.gid, owner.mode))?;
            if is_device(owner.mode) {
                devices.insert(key, owner.rdev)?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Writes what has gathered, as long as there are senders.
fn keep(database: &Database, queue: &Receiver<Change>) {
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        batch.extend(queue.try_iter());
        if let Err(error) = write(database, &batch) {
            tracing::error!("cannot write the ownership store: {error}");
        }
    }
}
