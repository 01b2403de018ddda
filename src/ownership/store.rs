//! `owners.redb`.

use super::kept::{self, Kept};
use super::{FileId, Owner};
use crate::error::{Doing, Result};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Key = (u64, u64, u64);
type Value = (u32, u32, u32);
const TABLE: TableDefinition<'_, Key, Value> = TableDefinition::new("owners");
/// Device numbers, of those that have any.
const DEVICES: TableDefinition<'_, Key, u64> = TableDefinition::new("devices");

/// How long another process may take to close the store.
const CLOSING_MAX: Duration = Duration::from_secs(5);
const CLOSING_STEP: Duration = Duration::from_millis(5);

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
        let deadline = Instant::now() + CLOSING_MAX;
        loop {
            match Database::create(&path) {
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

    /// All rows.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn rows(&self) -> Result<Vec<(FileId, Owner)>> {
        read(&self.database)
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

    /// The same in a list, once these changes are made.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn attributes(&self, changes: &[kept::Change]) -> Result<Vec<kept::Change>> {
        let kept = self.kept()?;
        for change in changes {
            // What was too much for a zone, and what is not there, is left out.
            let _ = match &change.value {
                Some(value) => kept.set(change.id, &change.name, value, 0),
                None => kept.remove(change.id, &change.name),
            };
        }
        Ok(kept.all())
    }

    /// Sets rows and changes attributes, all of them durably or none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, rows: &[(FileId, Owner)], attributes: &[kept::Change]) -> Result<()> {
        write(&self.database, rows, attributes)
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

const fn key(id: FileId) -> Key {
    (id.dev, id.ino, id.btime)
}

fn read(database: &Database) -> Result<Vec<(FileId, Owner)>, redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        other => other?,
    };
    let devices = match read.open_table(DEVICES) {
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        other => Some(other?),
    };
    let mut rows = Vec::new();
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
        rows.push((FileId { dev, ino, btime }, owner));
    }
    Ok(rows)
}

fn write(
    database: &Database,
    rows: &[(FileId, Owner)],
    attributes: &[kept::Change],
) -> Result<(), redb::Error> {
    if rows.is_empty() && attributes.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(TABLE)?;
        let mut devices = transaction.open_table(DEVICES)?;
        for (id, owner) in rows {
            table.insert(key(*id), (owner.uid, owner.gid, owner.mode))?;
            if owner.has_word() {
                devices.insert(key(*id), owner.rdev)?;
            }
        }
    }
    for change in attributes {
        change.write(&transaction)?;
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
