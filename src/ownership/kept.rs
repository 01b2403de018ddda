//! Extended attributes that the host's files cannot have: access control lists, whose ids are the zone's,
//! and what the zone's root gives to links, FIFOs, sockets and devices. Kept beside the owners, and bound
//! to a file in the same way.

use super::FileId;
use hashbrown::HashMap;
use picozone_personality::acl;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Device, inode, birth time and the attribute's name.
pub type Key = (u64, u64, u64, &'static [u8]);
/// The table of the store.
pub const TABLE: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("attributes");
/// Most bytes of names and values: what a zone can fill is the monitor's memory.
const BYTES_MAX: usize = 16 << 20;

/// One change: the attribute's new value, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose attribute it is.
    pub id: FileId,
    /// The attribute's name.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// The attributes of the file that has an inode now.
#[derive(Default)]
struct Attributes {
    btime: u64,
    all: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Default)]
struct State {
    /// By device and inode: what is said of a file takes away what was said of the one before.
    of: HashMap<(u64, u64), Attributes>,
    bytes: usize,
}

impl State {
    fn of(&self, id: FileId) -> Option<&BTreeMap<Vec<u8>, Vec<u8>>> {
        let found = self.of.get(&(id.dev, id.ino))?;
        (found.btime == id.btime).then_some(&found.all)
    }

    fn put(&mut self, id: FileId, name: &[u8], value: &[u8]) {
        let file = self.of.entry((id.dev, id.ino)).or_default();
        if file.btime != id.btime {
            let gone: usize = file
                .all
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum();
            self.bytes -= gone;
            file.all.clear();
            file.btime = id.btime;
        }
        let old = file.all.insert(name.to_vec(), value.to_vec());
        let gone = old.map_or(0, |old| name.len() + old.len());
        self.bytes = self.bytes - gone + name.len() + value.len();
    }
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
                    state.put(FileId { dev, ino, btime }, name, value.value());
                }
            }
        }
        Ok(Kept(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every attribute of every file.
    pub fn all(&self) -> Vec<Change> {
        let state = self.state();
        let files = state.of.iter().flat_map(|(&(dev, ino), file)| {
            let btime = file.btime;
            let id = FileId { dev, ino, btime };
            file.all.iter().map(move |(name, value)| (id, name, value))
        });
        let change = |(id, name, value): (FileId, &Vec<u8>, &Vec<u8>)| Change {
            id,
            name: name.clone(),
            value: Some(value.clone()),
        };
        files.map(change).collect()
    }

    /// The value of an attribute.
    ///
    /// # Errors
    /// ENODATA.
    pub fn get(&self, id: FileId, name: &[u8]) -> Result<Vec<u8>, i32> {
        let state = self.state();
        let value = state.of(id).and_then(|all| all.get(name));
        value.cloned().ok_or(libc::ENODATA)
    }

    /// The names of a file's attributes.
    #[must_use]
    pub fn names(&self, id: FileId) -> Vec<Vec<u8>> {
        let state = self.state();
        let all = state.of(id);
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
        let old = state.of(id).and_then(|all| all.get(name)).map(Vec::len);
        match old {
            Some(_) if flags & libc::XATTR_CREATE != 0 => return Err(libc::EEXIST),
            None if flags & libc::XATTR_REPLACE != 0 => return Err(libc::ENODATA),
            _ => {}
        }
        let gone = old.map_or(0, |length| name.len() + length);
        if state.bytes - gone + name.len() + value.len() > BYTES_MAX {
            return Err(libc::ENOSPC);
        }
        state.put(id, name, value);
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
        state.of(id).ok_or(libc::ENODATA)?;
        let place = (id.dev, id.ino);
        let file = state.of.get_mut(&place).ok_or(libc::ENODATA)?;
        let value = file.all.remove(name).ok_or(libc::ENODATA)?;
        if file.all.is_empty() {
            state.of.remove(&place);
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
    /// Takes an attribute away of whose file nothing is known but that it is gone.
    #[must_use]
    pub const fn removed(id: FileId, name: Vec<u8>) -> Change {
        let value = None;
        Change { id, name, value }
    }

    /// The access control list that it sets; empty if it sets none.
    #[must_use]
    pub fn list(&self) -> &[u8] {
        let value = self.value.as_deref().unwrap_or_default();
        acl::Kind::of(&self.name).map_or(&[], |_| value)
    }

    /// Writes it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn write(&self, table: &mut Table<'_, Key, &'static [u8]>) -> Result<(), redb::Error> {
        remove_earlier(table, self.id)?;
        let key = (self.id.dev, self.id.ino, self.id.btime, &self.name[..]);
        match &self.value {
            Some(value) => table.insert(key, &value[..])?,
            None => table.remove(key)?,
        };
        Ok(())
    }
}

/// Takes what is said of other files that had a file's inode.
///
/// # Errors
/// The store cannot be written.
pub fn remove_earlier(
    table: &mut Table<'_, Key, &'static [u8]>,
    id: FileId,
) -> Result<(), redb::Error> {
    let first = |ino| (id.dev, ino, 0, &b""[..]);
    let end = id.ino.saturating_add(1);
    table.retain_in(first(id.ino)..first(end), |key, _| key.2 == id.btime)?;
    Ok(())
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
            let mut table = transaction.open_table(TABLE).expect("made");
            change.write(&mut table).expect("written");
            drop(table);
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
    fn an_inode_used_again_has_none() {
        let kept = Kept::default();
        kept.set(ID, b"trusted.a", b"x", 0).expect("room");
        let later = FileId { btime: 4, ..ID };
        assert_eq!(kept.get(later, b"trusted.a"), Err(libc::ENODATA));
        kept.set(later, b"trusted.b", b"y", 0).expect("room");
        assert!(kept.names(ID).is_empty());
        assert_eq!(kept.remove(ID, b"trusted.b").err(), Some(libc::ENODATA));
        assert_eq!(kept.state().bytes, b"trusted.b".len() + 1);
        assert_eq!(kept.all().len(), 1);
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
