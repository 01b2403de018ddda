//! What a directory was unfolded from: the names that were below, so that one that is missing in the
//! layer is known to have been removed, and one that is new below to be new.

use crate::monitor::owners::FileId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What a name was below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Directory,
    File,
    /// A link with this text, which the layer has a copy of.
    Link(OsString),
    /// A FIFO, a socket or a device, which the layer has one of its own for.
    Special,
}

/// The note on one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// Where it lies below.
    pub(super) path: Vec<u8>,
    /// The layer's directory.
    pub(super) id: FileId,
    /// When the one below was changed last: seconds and nanoseconds.
    pub(super) changed: (i64, i64),
    /// Its names then.
    pub(super) names: Vec<(OsString, What)>,
}

fn file_of(notes: &Path, path: &[u8]) -> PathBuf {
    let hash = path.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    notes.join(format!("{hash:016x}"))
}

impl Note {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.path.clone();
        let FileId { dev, ino, btime } = self.id;
        let (seconds, nanoseconds) = self.changed;
        bytes.extend(format!("\0{dev} {ino} {btime} {seconds} {nanoseconds}\0").as_bytes());
        for (name, what) in &self.names {
            bytes.push(match what {
                What::Directory => b'd',
                What::File => b'f',
                What::Link(_) => b'l',
                What::Special => b's',
            });
            bytes.extend(name.as_bytes());
            bytes.push(0);
            if let What::Link(text) = what {
                bytes.extend(text.as_bytes());
                bytes.push(0);
            }
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.strip_suffix(b"\0")?.split(|&byte| byte == 0);
        let path = parts.next()?.to_vec();
        let numbers = std::str::from_utf8(parts.next()?).ok()?;
        let mut numbers = numbers.split(' ');
        let mut next = || numbers.next();
        let id = FileId {
            dev: next()?.parse().ok()?,
            ino: next()?.parse().ok()?,
            btime: next()?.parse().ok()?,
        };
        let changed = (next()?.parse().ok()?, next()?.parse().ok()?);
        let mut names = Vec::new();
        while let Some(part) = parts.next() {
            let (kind, name) = part.split_first()?;
            let what = match kind {
                b'd' => What::Directory,
                b'f' => What::File,
                b'l' => What::Link(OsStr::from_bytes(parts.next()?).to_owned()),
                b's' => What::Special,
                _ => return None,
            };
            names.push((OsString::from_vec(name.to_vec()), what));
        }
        Some(Self {
            path,
            id,
            changed,
            names,
        })
    }

    /// Writes it, in place of an earlier one on the same directory; there is one of the two at any time.
    pub(super) fn store(&self, notes: &Path) -> io::Result<()> {
        let mut new = notes.as_os_str().to_owned();
        new.push(format!(".{}", nix::unistd::gettid()));
        fs::write(&new, self.encode())?;
        fs::rename(&new, file_of(notes, &self.path))
    }

    /// The note on a directory below, if there is one.
    pub(super) fn load(notes: &Path, path: &[u8]) -> Option<Self> {
        let note = Self::read(&file_of(notes, path))?;
        (note.path == path).then_some(note)
    }

    /// Forgets the note on a directory: it shows nothing of what lies below any more.
    pub(super) fn forget(notes: &Path, path: &[u8]) {
        if Self::load(notes, path).is_some() {
            let _ = fs::remove_file(file_of(notes, path));
        }
    }

    /// The note in a file; `None` for one that was not written to its end.
    pub(super) fn read(file: &Path) -> Option<Self> {
        Self::decode(&fs::read(file).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let notes = tempfile::tempdir().expect("a directory");
        let note = Note {
            path: b"share/doc".to_vec(),
            id: FileId {
                dev: 1,
                ino: 2,
                btime: 3,
            },
            changed: (-4, 5),
            names: vec![
                ("a b\n".into(), What::Directory),
                (OsString::from_vec(vec![0xff]), What::File),
                ("link".into(), What::Link("../to\nhere".into())),
                ("fifo".into(), What::Special),
            ],
        };
        note.store(notes.path()).expect("stored");
        assert_eq!(Note::load(notes.path(), b"share/doc"), Some(note));
        assert_eq!(Note::load(notes.path(), b"share"), None);
        let empty = Note {
            path: Vec::new(),
            id: FileId {
                dev: 0,
                ino: 0,
                btime: 0,
            },
            changed: (0, 0),
            names: Vec::new(),
        };
        empty.store(notes.path()).expect("stored");
        assert_eq!(Note::load(notes.path(), b""), Some(empty));
    }
}
