//! The tree of a zone as a tarball, as its own root would pack it: with the owners, modes, devices
//! and attributes that the zone sees. [`super::unpack`] makes the same tree of it again.

use super::attributes;
use super::within::PLACEHOLDER;
use crate::config::{Config, IdKind};
use crate::error::{Doing, Result};
use crate::monitor::layers;
use crate::ownership::kept::Change;
use crate::ownership::names::to_zone;
use crate::ownership::{FileId, Journal, Owner, Said, Store, identify_at};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use picozone_personality::users::IdMap;
use picozone_personality::{acl, written};
use serde::Serialize;
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

/// How pax names extended attributes.
const XATTR: &str = "SCHILY.xattr.";
/// The first entry: the zone's configuration, for [`super::import`].
pub(super) const CONFIG: &[u8] = b".picozone.toml";
/// In a copy-on-write mount, as in the layers of container images: the rest of the name is gone.
pub(super) const GONE: &[u8] = b".wh.";
/// There: of what lies below, the directory shows nothing.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// What was packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Packed {
    /// Files, directories, links and nodes.
    pub entries: usize,
    /// Sockets, which no tarball holds.
    pub sockets: usize,
    /// Files of the host, in directories that the zone has renamed, which it could not read.
    pub left_out: usize,
}

/// Packs the configuration, the tree and the layers of a zone that does not run.
///
/// # Errors
/// The store or a file cannot be read, or the tarball not be written.
pub fn pack(config: &Config, zone_dir: &Path, to: impl Write) -> Result<Packed> {
    let root = config.root_dir(zone_dir);
    let store = Store::open(zone_dir)?;
    let (_, left) = Journal::open(zone_dir, store.last()?)?;
    let own = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    let mut packer = Packer {
        tar: tar::Builder::new(to),
        kept: by_file(store.attributes(&left)?),
        rows: (store.rows()?.into_iter())
            .chain(left.iter().filter_map(Said::owner))
            .collect(),
        uids: config.users.map(IdKind::User, own.0),
        gids: config.users.map(IdKind::Group, own.1),
        first_names: HashMap::new(),
        packed: Packed::default(),
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = nix::fcntl::open(&root, flags, Mode::empty()).doing("open", root.display())?;
    packer
        .add_text(CONFIG, config.to_toml().as_bytes(), 0o600)
        .and_then(|()| packer.add(&top, c".", b"."))
        .and_then(|_| packer.add_below(top, b"."))
        .doing("pack", root.display())?;
    for cow in config.cows() {
        let mut layer = OverHost {
            at: [b".", cow.zone.as_os_str().as_bytes()].concat(),
            packer: &mut packer,
        };
        let left_out = layers::pack::pack(zone_dir, cow, &mut layer)?;
        packer.packed.left_out += left_out;
    }
    let written = packer.tar.into_inner().and_then(|mut to| to.flush());
    written.doing("pack", root.display())?;
    Ok(packer.packed)
}

/// Packs a layer.
struct OverHost<'a, W: Write> {
    /// Where it is mounted, as a tarball has it.
    at: Vec<u8>,
    packer: &'a mut Packer<W>,
}

impl<W: Write> OverHost<'_, W> {
    /// The tarball's name of something that stands beside the last component of a path.
    fn beside(&self, path: &[u8], prefix: &[u8]) -> Vec<u8> {
        let start = path
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(0, |at| at + 1);
        let (front, name) = path.split_at(start);
        [&self.at, &b"/"[..], front, prefix, name].concat()
    }
}

impl<W: Write> layers::pack::Pack for OverHost<'_, W> {
    fn entry(&mut self, directory: &OwnedFd, name: &OsStr, path: &[u8]) -> io::Result<()> {
        if name.as_bytes().starts_with(GONE) {
            let cause = "a file that is called so says of another one that it is gone";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, cause));
        }
        let at = match path {
            b"" => self.at.clone(),
            path => self.beside(path, b""),
        };
        let name = CString::new(name.as_bytes())?;
        self.packer.add(directory, &name, &at).map(drop)
    }

    fn gone(&mut self, path: &[u8]) -> io::Result<()> {
        self.packer.add_text(&self.beside(path, GONE), b"", 0o600)
    }

    fn opaque(&mut self, path: &[u8]) -> io::Result<()> {
        let at = [&self.at, &b"/"[..], path, b"/", OPAQUE].concat();
        self.packer.add_text(&at, b"", 0o600)
    }
}

fn by_file(all: Vec<Change>) -> HashMap<FileId, Vec<Change>> {
    let mut files = HashMap::<_, Vec<_>>::new();
    for change in all {
        files.entry(change.id).or_default().push(change);
    }
    files
}

struct Packer<W: Write> {
    tar: tar::Builder<W>,
    rows: HashMap<FileId, Owner>,
    /// Attributes that the host's files do not have.
    kept: HashMap<FileId, Vec<Change>>,
    uids: IdMap,
    gids: IdMap,
    /// The first names of files that have several.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    packed: Packed,
}

impl<W: Write> Packer<W> {
    /// Adds a file of the zone's root that is none of the zone's.
    fn add_text(&mut self, path: &[u8], content: &[u8], mode: u32) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_mtime(0);
        let mut extensions = Extensions::new();
        set_text(&mut header.as_old_mut().name, &mut extensions, "path", path);
        header.set_cksum();
        let pairs = extensions
            .iter()
            .map(|(key, value)| (key.as_str(), &value[..]));
        self.tar.append_pax_extensions(pairs)?;
        self.tar.append(&header, content)
    }

    fn add_below(&mut self, dir: OwnedFd, path: &[u8]) -> io::Result<()> {
        let mut dir = Dir::from_fd(dir)?;
        let mut names: Vec<CString> = dir
            .iter()
            .filter_map(|entry| Some(entry.ok()?.file_name().to_owned()))
            .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
            .collect();
        names.sort_unstable();
        for name in names {
            let below = [path, b"/", name.to_bytes()].concat();
            let is_directory = self.add(&dir, &name, &below).map_err(|error| {
                let shown = String::from_utf8_lossy(&below);
                io::Error::new(error.kind(), format!("{shown}: {error}"))
            })?;
            if is_directory {
                let flags =
                    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let dir = nix::fcntl::openat(&dir, name.as_c_str(), flags, Mode::empty())?;
                self.add_below(dir, &below)?;
            }
        }
        Ok(())
    }

    /// Adds one entry; whether it is a directory, whose own are to follow.
    fn add(
        &mut self,
        dir: &(impl AsRawFd + std::os::fd::AsFd),
        name: &CStr,
        path: &[u8],
    ) -> io::Result<bool> {
        let found = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let (id, _) = identify_at(dir, name).map_err(io::Error::from_raw_os_error)?;
        let row = self.rows.get(&id).map(|row| as_written(*row, &found));
        let owner = row.unwrap_or_else(|| Owner {
            uid: self.uids.to_zone(found.st_uid),
            gid: self.gids.to_zone(found.st_gid),
            mode: found.st_mode,
            rdev: 0,
        });
        let mut header = header_of(owner, &found);
        let mut extensions = times(&found);
        match found.st_mode & libc::S_IFMT {
            libc::S_IFDIR => header.set_entry_type(EntryType::Directory),
            libc::S_IFREG if self.is_named(&found, path) => {
                let first = &self.first_names[&(found.st_dev, found.st_ino)];
                set_link(&mut header, &mut extensions, first);
                header.set_entry_type(EntryType::Link);
            }
            libc::S_IFREG => {
                header.set_size(u64::try_from(found.st_size).unwrap_or(0));
                header.set_entry_type(EntryType::Regular);
            }
            libc::S_IFLNK => {
                let target = readlinkat(dir, name)?.into_vec();
                if target == PLACEHOLDER.as_bytes() {
                    // Where something is mounted there was, or could be, an empty directory.
                    header.set_mode(0o755);
                    header.set_entry_type(EntryType::Directory);
                } else {
                    set_link(&mut header, &mut extensions, &target);
                    header.set_entry_type(EntryType::Symlink);
                }
            }
            libc::S_IFIFO => header.set_entry_type(EntryType::Fifo),
            libc::S_IFSOCK if owner.is_device() => {
                header.set_entry_type(match owner.mode & libc::S_IFMT {
                    libc::S_IFBLK => EntryType::Block,
                    _ => EntryType::Char,
                });
                header.set_device_major(libc::major(owner.rdev))?;
                header.set_device_minor(libc::minor(owner.rdev))?;
            }
            _ => {
                self.packed.sockets += 1;
                return Ok(false);
            }
        }
        let kind = header.entry_type();
        // What cannot be read leaves nothing in the tarball.
        let file = match kind {
            EntryType::Regular => {
                let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                Some(File::from(openat(dir, name, flags, Mode::empty())?))
            }
            _ => None,
        };
        if matches!(kind, EntryType::Regular | EntryType::Directory) && !is_link(&found) {
            extensions.extend(xattrs(dir, name)?);
        }
        extensions.extend(self.kept_of(id, owner.mode));
        set_text(&mut header.as_old_mut().name, &mut extensions, "path", path);
        header.set_cksum();
        let pairs = extensions
            .iter()
            .map(|(key, value)| (key.as_str(), &value[..]));
        self.tar.append_pax_extensions(pairs)?;
        if let Some(file) = file {
            let mut content = file.take(header.size()?);
            self.tar.append(&header, &mut content)?;
            if content.limit() != 0 {
                return Err(io::Error::other("it became shorter meanwhile"));
            }
        } else {
            self.tar.append(&header, io::empty())?;
        }
        self.packed.entries += 1;
        Ok(kind == EntryType::Directory && !is_link(&found))
    }

    fn kept_of(&self, id: FileId, mode: u32) -> Extensions {
        let all = self.kept.get(&id).into_iter().flatten();
        let shown = all.filter_map(|change| {
            let name = std::str::from_utf8(&change.name).ok()?;
            let mut value = change.value.clone()?;
            if acl::Kind::of(&change.name) == Some(acl::Kind::Access) {
                acl::put_mode(&mut value, mode);
            }
            Some((format!("{XATTR}{name}"), value))
        });
        shown.collect()
    }

    /// Whether a file has been packed under another name; if not, this is its first one.
    fn is_named(&mut self, found: &FileStat, path: &[u8]) -> bool {
        if found.st_nlink < 2 {
            return false;
        }
        let key = (found.st_dev, found.st_ino);
        let is_named = self.first_names.contains_key(&key);
        self.first_names.entry(key).or_insert_with(|| path.to_vec());
        is_named
    }
}

/// A row without the set-id bits that a write to its file has taken.
fn as_written(row: Owner, found: &FileStat) -> Owner {
    let [seconds, nanoseconds, size] =
        [found.st_mtime, found.st_mtime_nsec, found.st_size].map(i64::cast_unsigned);
    let now = written::version(seconds, nanoseconds, size);
    Owner {
        mode: written::mode(row.mode, row.rdev, now),
        ..row
    }
}

fn is_link(found: &FileStat) -> bool {
    found.st_mode & libc::S_IFMT == libc::S_IFLNK
}

fn header_of(owner: Owner, found: &FileStat) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(owner.mode & 0o7777);
    header.set_uid(owner.uid.into());
    header.set_gid(owner.gid.into());
    header.set_mtime(u64::try_from(found.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

/// What a header cannot hold: keys of pax and their values.
type Extensions = Vec<(String, Vec<u8>)>;

fn times(found: &FileStat) -> Extensions {
    match (found.st_mtime, found.st_mtime_nsec) {
        (_, 0) => Vec::new(),
        (seconds, nanoseconds) => {
            let time = format!("{seconds}.{nanoseconds:09}");
            vec![("mtime".to_owned(), time.into_bytes())]
        }
    }
}

fn set_link(header: &mut Header, extensions: &mut Extensions, target: &[u8]) {
    set_text(
        &mut header.as_old_mut().linkname,
        extensions,
        "linkpath",
        target,
    );
}

/// Puts a text into a field of a header, or beside it where it is too long.
fn set_text(field: &mut [u8; 100], extensions: &mut Extensions, key: &str, text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    if text.len() > field.len() {
        extensions.push((key.to_owned(), text.to_vec()));
    }
}

/// The attributes of a file as the zone has them.
fn xattrs(dir: &impl AsRawFd, name: &CStr) -> io::Result<Extensions> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    path.push(OsStr::from_bytes(name.to_bytes()));
    let mut found = Vec::new();
    for host in attributes::list(&path)? {
        let shown = to_zone(host.to_bytes()).and_then(|name| std::str::from_utf8(name).ok());
        if let Some(shown) = shown {
            found.push((format!("{XATTR}{shown}"), attributes::get(&path, &host)?));
        }
    }
    Ok(found)
}
