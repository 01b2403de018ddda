//! A tree in memory that counts what is asked of it.

use super::assert_confined;
use picozone_fsmap::{
    Bounds, Error, Last, MountRow, Mounts, PathBuf, Resolved, Served, Tree, resolve,
};
use std::collections::BTreeMap;

/// What stands at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Dir,
    File,
    Link(Vec<u8>),
    /// The tree answers with this errno.
    Fails(u16),
}

/// Entries by mount and relative path; tops are directories.
pub struct Memory<'a> {
    pub rows: &'a [MountRow],
    pub entries: BTreeMap<(usize, Vec<u8>), Entry>,
    /// Every `open_path`, in order.
    pub asked: Vec<(usize, Vec<u8>)>,
    pub is_dir_calls: usize,
    pub alive: usize,
    pub most_alive: usize,
}

impl<'a> Memory<'a> {
    pub fn new(rows: &'a [MountRow], entries: &[(usize, &str, Entry)]) -> Self {
        let entry = |(mount, path, entry): &(usize, &str, Entry)| {
            ((*mount, path.as_bytes().to_vec()), entry.clone())
        };
        Memory {
            rows,
            entries: entries.iter().map(entry).collect(),
            asked: Vec::new(),
            is_dir_calls: 0,
            alive: 0,
            most_alive: 0,
        }
    }

    /// Resolves from `cwd`; the result's path with it.
    pub fn walk(
        &mut self,
        cwd: &str,
        path: &[u8],
        last: Last,
    ) -> Result<(String, Resolved), Error> {
        self.walk_within(&Bounds::default(), cwd, path, last)
    }

    /// The same, held by bounds.
    pub fn walk_within(
        &mut self,
        bounds: &Bounds<'_>,
        cwd: &str,
        path: &[u8],
        last: Last,
    ) -> Result<(String, Resolved), Error> {
        let mut at = PathBuf::from_bytes(cwd.as_bytes())?;
        let found = resolve(&Mounts(self.rows), self, bounds, &mut at, path, last);
        assert_eq!(self.alive, 0, "every node is closed");
        assert!(self.most_alive <= 1, "one node at a time");
        Ok((String::from_utf8_lossy(at.as_bytes()).into_owned(), found?))
    }

    /// The path alone, of something that exists.
    pub fn path(&mut self, path: &str) -> Result<String, Error> {
        let (at, found) = self.walk("/", path.as_bytes(), Last::Follow)?;
        if found.exists {
            Ok(at)
        } else {
            Err(Error::ENOENT)
        }
    }
}

impl Tree for Memory<'_> {
    type Node = (usize, Vec<u8>);
    fn open_path(&mut self, mount: usize, rel: &PathBuf) -> Result<Self::Node, Error> {
        let rel = rel.as_bytes();
        assert_confined(self.rows, mount, rel);
        self.asked.push((mount, rel.to_vec()));
        // The kernel's part: everything above the name has to be a directory.
        for (at, _) in rel.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            match self.entries.get(&(mount, rel[..at].to_vec())) {
                Some(Entry::Dir) => {}
                Some(Entry::File) => return Err(Error::ENOTDIR),
                Some(Entry::Link(_)) => return Err(Error::EXDEV),
                Some(Entry::Fails(errno)) => return Err(Error(*errno)),
                None => return Err(Error::ENOENT),
            }
        }
        let node = (mount, rel.to_vec());
        match self.entries.get(&node) {
            Some(Entry::Fails(errno)) => Err(Error(*errno)),
            Some(_) => {
                self.alive += 1;
                self.most_alive = self.most_alive.max(self.alive);
                Ok(node)
            }
            None => Err(Error::ENOENT),
        }
    }
    fn readlink(&mut self, node: &Self::Node, to: &mut [u8]) -> Result<usize, Error> {
        let Some(Entry::Link(target)) = self.entries.get(node) else {
            return Err(Error::EINVAL);
        };
        let length = target.len().min(to.len());
        to[..length].copy_from_slice(&target[..length]);
        Ok(length)
    }
    fn is_dir(&mut self, node: &Self::Node) -> Result<bool, Error> {
        self.is_dir_calls += 1;
        Ok(self.entries.get(node) == Some(&Entry::Dir))
    }
    fn close(&mut self, _: Self::Node) {
        self.alive -= 1;
    }
    fn served(&mut self, at: &PathBuf, to: &mut [u8]) -> Result<Served, Error> {
        let (mount, rel) = Mounts(self.rows).find_canonical(at.as_bytes());
        let node = (mount, rel.to_vec());
        self.asked.push(node.clone());
        match self.entries.get(&node) {
            // Magic ones have no text here, and lead there.
            Some(Entry::Link(text)) if text.is_empty() => {
                to[..4].copy_from_slice(b"/usr");
                Ok(Served::Magic(4))
            }
            Some(Entry::Link(_)) => self.readlink(&node, to).map(Served::Link),
            _ => Ok(Served::Other),
        }
    }
}
