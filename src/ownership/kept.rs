//! Extended attributes that the host's files cannot have: those of the zone's root on links, FIFOs,
//! sockets and devices. Kept beside the owners, and bound to a file in the same way.

use super::FileId;
use hashbrown::HashMap;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Key = (u64, u64, u64, &'static [u8]);
const TABLE: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("attributes");
/// Most bytes of names and values: what a zone can fill is the monitor's memory.
const BYTES_MAX: usize = 16 << 20;

/// One change: the attribute's new value, or none.
pub struct Change {
    id: FileId,
    name: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[derive(Default)]
struct State {
    of: HashMap<FileId, BTreeMap<Vec<u8>, Vec<u8>>>,
    bytes: usize,
}

/// The attributes of a zone's files.
#[derive(Default)]
pub struct Kept(Mutex<State>);

impl Kept {
    /// Reads what a zone has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read(database: &Database) -> Result<Kept, redb::Error> {
        let mut state = State::default();
        let read = database.begin_read()?;
        match read.open_table(TABLE) {
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
            Ok(table) => {
                for entry in table.iter()? {
                    let (key, value) = entry?;
                    let (dev, ino, btime, name) = key.value();
                    let value = value.value().to_vec();
                    state.bytes += name.len() + value.len();
                    let id = FileId { dev, ino, btime };
                    state.of.entry(id).or_default().insert(name.to_vec(), value);
                }
            }
        }
        Ok(Kept(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of an attribute.
    ///
    /// # Errors
    /// ENODATA.
    pub fn get(&self, id: FileId, name: &[u8]) -> Result<Vec<u8>, i32> {
        let state = self.state();
        let value = state.of.get(&id).and_then(|all| all.get(name));
        value.cloned().ok_or(libc::ENODATA)
    }

    /// The names of a file's attributes.
    #[must_use]
    pub fn names(&self, id: FileId) -> Vec<Vec<u8>> {
        let state = self.state();
        let all = state.of.get(&id);
        all.into_iter()
            .flat_map(|all| all.keys().cloned())
            .collect()
    }

    /// Sets an attribute. The change is to be written.
    ///
    /// # Errors
    /// As setxattr(2).
    pub fn set(&self, id: FileId, name: &[u8], value: &[u8], flags: i32) -> Result<Change, i32> {
        let mut state = self.state();
        let old = state
            .of
            .get(&id)
            .and_then(|all| all.get(name))
            .map(Vec::len);
        match old {
            Some(_) if flags & libc::XATTR_CREATE != 0 => return Err(libc::EEXIST),
            None if flags & libc::XATTR_REPLACE != 0 => return Err(libc::ENODATA),
            _ => {}
        }
        let gone = old.map_or(0, |length| name.len() + length);
        let bytes = state.bytes - gone + name.len() + value.len();
        if bytes > BYTES_MAX {
            return Err(libc::ENOSPC);
        }
        state.bytes = bytes;
        let all = state.of.entry(id).or_default();
        all.insert(name.to_vec(), value.to_vec());
        Ok(Change {
            id,
            name: name.to_vec(),
            value: Some(value.to_vec()),
        })
    }

    /// Takes an attribute away. The change is to be written.
    ///
    /// # Errors
    /// ENODATA.
    pub fn remove(&self, id: FileId, name: &[u8]) -> Result<Change, i32> {
        let mut state = self.state();
        let all = state.of.get_mut(&id).ok_or(libc::ENODATA)?;
        let value = all.remove(name).ok_or(libc::ENODATA)?;
        let is_last = all.is_empty();
        if is_last {
            state.of.remove(&id);
        }
        state.bytes -= name.len() + value.len();
        Ok(Change {
            id,
            name: name.to_vec(),
            value: None,
        })
    }
}

impl Change {
    /// Writes it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut table = transaction.open_table(TABLE)?;
        let key = (self.id.dev, self.id.ino, self.id.btime, &self.name[..]);
        match &self.value {
            Some(value) => table.insert(key, &value[..])?,
            None => table.remove(key)?,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: FileId = FileId {
        dev: 1,
        ino: 2,
        btime: 3,
    };

    #[test]
    fn it_lasts_and_goes() {
        let file = tempfile::NamedTempFile::new().expect("room");
        let database = Database::create(file.path()).expect("made");
        let kept = Kept::read(&database).expect("empty");
        assert!(
            kept.set(ID, b"trusted.a", b"x", libc::XATTR_REPLACE)
                .is_err()
        );
        let set = kept.set(ID, b"trusted.a", b"one", libc::XATTR_CREATE);
        let write = |change: Change| {
            let transaction = database.begin_write().expect("begun");
            change.write(&transaction).expect("written");
            transaction.commit().expect("kept");
        };
        write(set.expect("new"));
        assert_eq!(
            kept.set(ID, b"trusted.a", b"", libc::XATTR_CREATE).err(),
            Some(libc::EEXIST)
        );
        let again = Kept::read(&database).expect("read");
        assert_eq!(again.get(ID, b"trusted.a"), Ok(b"one".to_vec()));
        assert_eq!(again.names(ID), [b"trusted.a".to_vec()]);
        write(again.remove(ID, b"trusted.a").expect("it is there"));
        assert_eq!(again.remove(ID, b"trusted.a").err(), Some(libc::ENODATA));
        let gone = Kept::read(&database).expect("read");
        assert_eq!(gone.get(ID, b"trusted.a"), Err(libc::ENODATA));
    }

    #[test]
    fn a_zone_fills_no_more_than_its_share() {
        let kept = Kept::default();
        let value = vec![0; BYTES_MAX - 10];
        assert!(kept.set(ID, b"trusted.a", &value, 0).is_ok());
        assert_eq!(
            kept.set(ID, b"trusted.b", b"123", 0).err(),
            Some(libc::ENOSPC)
        );
        assert!(kept.set(ID, b"trusted.a", b"1", 0).is_ok());
        assert!(kept.set(ID, b"trusted.b", b"123", 0).is_ok());
    }
}
