//! `owners.redb`.

use super::kept::{self, Kept};
use super::{FileId, Owner, Said};
use crate::error::{Doing, Result};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, Table, TableDefinition};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Key = (u64, u64, u64);
type Value = (u32, u32, u32);
const TABLE: TableDefinition<'_, Key, Value> = TableDefinition::new("owners");
/// Device numbers, of those that have any.
const DEVICES: TableDefinition<'_, Key, u64> = TableDefinition::new("devices");
/// One row: the last record of the journal that is in the other tables.
const LAST: TableDefinition<'_, (), u64> = TableDefinition::new("last");

/// How long another process may take to close the store.
const CLOSING_MAX: Duration = Duration::from_secs(5);
const CLOSING_STEP: Duration = Duration::from_millis(5);
/// Bytes that are kept of the file in memory: each row is read once, when a zone boots.
const CACHE: usize = 4 << 20;

/// The store of one zone, open in this process only.
#[derive(Debug)]
pub struct Store {
    database: Database,
    path: PathBuf,
}

impl Store {
    /// Opens the store of the zone that lies in `zone_dir`; makes it if it is missing.
    ///
    /// # Errors
    /// The file cannot be opened or read, or another process has it open.
    pub fn open(zone_dir: &Path) -> Result<Self> {
        let path = zone_dir.join("owners.redb");
        if !path.exists() {
            make(zone_dir, &path).doing("make", path.display())?;
        }
        let deadline = Instant::now() + CLOSING_MAX;
        loop {
            match builder().create(&path) {
                Ok(database) => return Ok(Self { database, path }),
                // A monitor that ends gives up its zone a moment before its files.
                Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => {
                    std::thread::sleep(CLOSING_STEP);
                }
                Err(error) => {
                    return Err(std::io::Error::other(error)).doing("open", path.display());
                }
            }
        }
    }

    /// One over a disk of a test.
    #[cfg(test)]
    pub(super) fn over(database: Database) -> Self {
        let path = PathBuf::new();
        Self { database, path }
    }

    /// The last record of the journal that it has, see [`set_up_to`](Self::set_up_to).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last(&self) -> Result<u64> {
        last(&self.database)
            .map_err(std::io::Error::other)
            .doing("read", self.path.display())
    }

    /// All rows.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn rows(&self) -> Result<Vec<(FileId, Owner)>> {
        let mut rows = Vec::new();
        self.each_row(|id, owner| rows.push((id, owner)))?;
        Ok(rows)
    }

    /// Shows all rows one by one: there may be millions.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn each_row(&self, show: impl FnMut(FileId, Owner)) -> Result<()> {
        read(&self.database, show)
            .map_err(std::io::Error::other)
            .doing("read", self.path.display())
    }

    /// The attributes that are not the host's files'.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn kept(&self) -> Result<Kept> {
        Kept::read(&self.database)
            .map_err(std::io::Error::other)
            .doing("read", self.path.display())
    }

    /// The same in a list, once these changes of the journal are made.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn attributes(&self, left: &[Said]) -> Result<Vec<kept::Change>> {
        let kept = self.kept()?;
        for change in left.iter().filter_map(Said::attribute) {
            // What was too much for a zone, and what is not there, is left out.
            let _ = match &change.value {
                Some(value) => kept.set(change.id, &change.name, value, 0),
                None => kept.remove(change.id, &change.name),
            };
        }
        Ok(kept.all())
    }

    /// Takes in what was said, all of it durably or nothing. What is said of another file that
    /// had the same inode before goes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, said: &[Said]) -> Result<()> {
        self.set_up_to(None, said)
    }

    /// The same with what the journal has up to its record `last`, of which this is the rest.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_up_to(&self, last: Option<u64>, said: &[Said]) -> Result<()> {
        write(&self.database, last, said)
            .map_err(std::io::Error::other)
            .doing("write", self.path.display())
    }

    /// Takes rows away, all of them or none, and gives the file's free space back.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove(&mut self, ids: &[FileId]) -> Result<()> {
        remove(&mut self.database, ids)
            .map_err(std::io::Error::other)
            .doing("write", self.path.display())
    }

    /// Checks the file itself, and mends it where the last one who had it open was killed. Whether
    /// there was nothing to mend.
    ///
    /// # Errors
    /// The file is beyond repair.
    pub fn check(&mut self) -> Result<bool> {
        self.database
            .check_integrity()
            .map_err(std::io::Error::other)
            .doing("check", self.path.display())
    }
}

/// Makes an empty store, which has its name when it is whole.
fn make(zone_dir: &Path, path: &Path) -> std::io::Result<()> {
    let new = zone_dir.join("owners.redb.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => drop(builder().create(&new).map_err(std::io::Error::other)?),
    }
    fs::rename(&new, path)?;
    File::open(zone_dir)?.sync_all()
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

const fn key(id: FileId) -> Key {
    (id.dev, id.ino, id.btime)
}

fn read(database: &Database, mut show: impl FnMut(FileId, Owner)) -> Result<(), redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        other => other?,
    };
    let devices = match read.open_table(DEVICES) {
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        other => Some(other?),
    };
    for entry in table.iter()? {
        let (key, value) = entry?;
        let ((dev, ino, btime), (uid, gid, mode)) = (key.value(), value.value());
        let mut owner = Owner {
            uid,
            gid,
            mode,
            rdev: 0,
        };
        if owner.has_word()
            && let Some(devices) = &devices
            && let Some(rdev) = devices.get(key.value())?
        {
            owner.rdev = rdev.value();
        }
        show(FileId { dev, ino, btime }, owner);
    }
    Ok(())
}

fn last(database: &Database) -> Result<u64, redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(LAST) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
        other => other?,
    };
    Ok(table.get(())?.map_or(0, |last| last.value()))
}

/// Takes the rows of other files that had a file's inode.
fn remove_earlier<V: redb::Value + 'static>(
    table: &mut Table<'_, Key, V>,
    id: FileId,
) -> Result<(), redb::Error> {
    let all = (id.dev, id.ino, 0)..=(id.dev, id.ino, u64::MAX);
    table.retain_in(all, |key, _| key.2 == id.btime)?;
    Ok(())
}

fn write(database: &Database, last: Option<u64>, said: &[Said]) -> Result<(), redb::Error> {
    if said.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(TABLE)?;
        let mut devices = transaction.open_table(DEVICES)?;
        let mut attributes = transaction.open_table(kept::TABLE)?;
        for said in said {
            let (id, owner) = match said {
                Said::Owner(id, owner) => (*id, owner),
                Said::Attribute(change) => {
                    change.write(&mut attributes)?;
                    continue;
                }
            };
            let value = (owner.uid, owner.gid, owner.mode);
            let is_new = table.insert(key(id), value)?.is_none();
            if is_new {
                remove_earlier(&mut table, id)?;
                remove_earlier(&mut devices, id)?;
                kept::remove_earlier(&mut attributes, id)?;
            }
            if owner.has_word() {
                devices.insert(key(id), owner.rdev)?;
            }
        }
        if let Some(last) = last {
            transaction.open_table(LAST)?.insert((), last)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn remove(database: &mut Database, ids: &[FileId]) -> Result<(), redb::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(TABLE)?;
        let mut devices = transaction.open_table(DEVICES)?;
        for id in ids {
            table.remove(key(*id))?;
            devices.remove(key(*id))?;
        }
    }
    transaction.commit()?;
    database.compact()?;
    Ok(())
}
