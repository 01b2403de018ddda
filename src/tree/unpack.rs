//! A tarball's entries into the tree of a zone, without root.
//!
//! The kernel keeps every step within the tree, whatever names and links the tarball has. What the
//! host's files cannot hold goes into the ownership store: owners, set-id bits, device nodes, access
//! control lists.

use super::archive::{Entry, Kind};
use crate::error::{Doing, Result};
use crate::ownership::kept::Change;
use crate::ownership::names::to_host;
use crate::ownership::{FileId, Owner, Said, Store, identify_at, mode_on_host};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, fstatat, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use picozone_personality::acl;
use picozone_personality::tables::{HAS_ACCESS_LIST, HAS_DEFAULT_LIST, IS_CAPABLE};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Deepest path of an entry, in directories; each is made and opened by itself.
const DEPTH_MAX: usize = 1000;

/// A tree that tarballs are unpacked into.
pub(super) struct Unpacker {
    root: OwnedFd,
    /// The directory of the last entry, since the next one is mostly there too.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Owners, modes and attributes that the host's files cannot have.
    said: Vec<Said>,
    /// Directories and their times, which are set when nothing more is made in them.
    times: Vec<(Vec<u8>, TimeSpec)>,
    pub(super) entries: usize,
    pub(super) bytes: u64,
}

impl Unpacker {
    pub(super) fn new(root: &Path) -> Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(root, flags, Mode::empty()).doing("open", root.display())?;
        Ok(Self {
            root,
            parent: None,
            said: Vec::new(),
            times: Vec::new(),
            entries: 0,
            bytes: 0,
        })
    }

    /// Makes one entry.
    ///
    /// # Errors
    /// Those of the calls it makes, with the entry's name; `InvalidInput` for a name that leads out.
    pub(super) fn place(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.place_one(entry, content).map_err(|error| {
            let name = String::from_utf8_lossy(&entry.name);
            io::Error::new(error.kind(), format!("{name}: {error}"))
        })
    }

    fn place_one(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.entries += 1;
        let path = plain(&entry.name)?;
        let Some((dir, name)) = split(&path) else {
            // The top directory: what it is outside is not the tarball's.
            let (id, mode) = crate::ownership::identify(&self.root).map_err(raw)?;
            self.own(id, mode, entry, 0);
            return Ok(());
        };
        let parent = self.parent(dir)?.try_clone()?;
        let name = &CString::new(name)?;
        let is_directory = entry.kind == Kind::Directory;
        let on_host = Mode::from_bits_truncate(mode_on_host(entry.mode, is_directory));
        if is_directory {
            return self.directory(entry, &path, &parent, name, on_host);
        }
        clear(&parent, name)?;
        let mut rdev = 0;
        match &entry.kind {
            Kind::Directory => {}
            Kind::File => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let file = nix::fcntl::openat(&parent, name.as_c_str(), flags, on_host)?;
                let mut file = File::from(file);
                self.bytes += match &entry.sparse {
                    Some(sparse) => sparse.fill(content, &mut file)?,
                    None => io::copy(content, &mut file)?,
                };
                fchmod(&file, on_host)?;
            }
            Kind::Symlink(to) => symlinkat(OsStr::from_bytes(to), &parent, name.as_c_str())?,
            Kind::Link(to) => {
                let to = plain(to)?;
                let (dir, old) = split(&to).ok_or(Errno::EPERM)?;
                let old = CString::new(old)?;
                let from = self.parent(dir)?;
                linkat(
                    from,
                    old.as_c_str(),
                    &parent,
                    name.as_c_str(),
                    AtFlags::empty(),
                )?;
                // Its owner is that of its first name.
                return Ok(());
            }
            Kind::Fifo => mknodat(&parent, name.as_c_str(), SFlag::S_IFIFO, on_host, 0)?,
            Kind::Device(_, number) => {
                rdev = *number;
                mknodat(&parent, name.as_c_str(), SFlag::S_IFSOCK, on_host, 0)?;
            }
        }
        self.finish(entry, &parent, name, rdev)?;
        set_time(&parent, name, time(entry))
    }

    fn directory(
        &mut self,
        entry: &Entry,
        path: &[u8],
        parent: &OwnedFd,
        name: &CStr,
        on_host: Mode,
    ) -> io::Result<()> {
        let dir = match mkdirat(parent, name, on_host) {
            // A directory that is there, perhaps by a link to it, as /bin to /usr/bin.
            Err(Errno::EEXIST) => match self.directory_at(path) {
                Ok(dir) => dir,
                Err(Errno::ENOTDIR | Errno::ENOENT | Errno::ELOOP) => {
                    clear(parent, name)?;
                    mkdirat(parent, name, on_host)?;
                    self.directory_at(path)?
                }
                Err(errno) => return Err(errno.into()),
            },
            other => {
                other?;
                self.directory_at(path)?
            }
        };
        fchmod(&dir, on_host)?;
        let (id, mode) = crate::ownership::identify(&dir).map_err(raw)?;
        self.own(id, mode, entry, 0);
        set_attributes(entry, &dir, c".")?;
        self.times.push((path.to_vec(), time(entry)));
        Ok(())
    }

    /// Owner and attributes of what has just been made.
    fn finish(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &CStr,
        rdev: u64,
    ) -> io::Result<()> {
        let (id, mode) = identify_at(parent, name).map_err(raw)?;
        self.own(id, mode, entry, rdev);
        match entry.kind {
            // The kernel has no attributes of users on anything else.
            Kind::File => set_attributes(entry, parent, name),
            _ => Ok(()),
        }
    }

    fn own(&mut self, id: FileId, mode: u32, entry: &Entry, rdev: u64) {
        let kind = match entry.kind {
            Kind::Device(kind, _) => kind,
            _ => mode & libc::S_IFMT,
        };
        let wanted = match kind {
            // A link has no mode of its own.
            libc::S_IFLNK => mode,
            _ => kind | entry.mode | self.keep_lists(id, entry),
        };
        let owner = Owner {
            uid: entry.uid,
            gid: entry.gid,
            mode: wanted,
            rdev,
        };
        // A second entry of the same directory replaces what the first one said.
        if (owner.uid, owner.gid, owner.mode) != (0, 0, mode) || entry.kind == Kind::Directory {
            self.said.push(Said::Owner(id, owner));
        }
    }

    /// Keeps a new file's access control lists, and gives the marks of these and of its capabilities.
    fn keep_lists(&mut self, id: FileId, entry: &Entry) -> u32 {
        let is_capable = |(key, _): &(Vec<u8>, Vec<u8>)| key == b"security.capability";
        let mut marks = match entry.xattrs.iter().any(is_capable) {
            true => IS_CAPABLE,
            false => 0,
        };
        for (key, value) in &entry.xattrs {
            let mark = match acl::Kind::of(key) {
                Some(acl::Kind::Access) if !acl::is_plain(value) => HAS_ACCESS_LIST,
                Some(acl::Kind::Default) if entry.kind == Kind::Directory => HAS_DEFAULT_LIST,
                _ => continue,
            };
            if acl::parse(value, |_| true, |_| true) == Ok(true) && acl::is_valid(value) {
                marks |= mark;
                self.said.push(Said::Attribute(Change {
                    id,
                    name: key.clone(),
                    value: Some(value.clone()),
                }));
            }
        }
        marks
    }

    /// A directory of the tree, by links within it.
    fn directory_at(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let path = if path.is_empty() { b"." } else { path };
        openat2(&self.root, OsStr::from_bytes(path), how)
    }

    /// The directory that holds an entry; what is missing of it is made.
    fn parent(&mut self, path: &[u8]) -> io::Result<&OwnedFd> {
        if self.parent.as_ref().is_none_or(|(held, _)| held != path) {
            let dir = match self.directory_at(path) {
                Err(Errno::ENOENT) => self.make_all(path)?,
                other => other?,
            };
            self.parent = Some((path.to_vec(), dir));
        }
        let (_, dir) = self.parent.as_ref().expect("it has just been set");
        Ok(dir)
    }

    fn make_all(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let mut dir = self.root.try_clone()?;
        let mut end = 0;
        for name in path.split(|&byte| byte == b'/') {
            end += name.len();
            let name = OsStr::from_bytes(name);
            match mkdirat(&dir, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            dir = self.directory_at(&path[..end])?;
            end += 1;
        }
        Ok(dir)
    }

    /// Sets the times of directories, and puts what the host's files do not hold into the store.
    pub(super) fn finish_all(self, zone_dir: &Path) -> Result<()> {
        for (path, time) in &self.times {
            let shown = String::from_utf8_lossy(path);
            match self.directory_at(path) {
                // A later entry has replaced it.
                Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
                Err(errno) => return Err(errno).doing("open", shown),
                Ok(dir) => set_time(&dir, c".", *time).doing("set the times of", shown)?,
            }
        }
        Store::open(zone_dir)?.set(&self.said)
    }
}

fn raw(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// A name without leading `/` and `./`, doubled and trailing slashes.
pub(super) fn plain(name: &[u8]) -> io::Result<Vec<u8>> {
    let parts = name.split(|&byte| byte == b'/');
    let parts: Vec<&[u8]> = parts.filter(|part| !matches!(*part, b"" | b".")).collect();
    let cause = match &parts[..] {
        parts if parts.contains(&&b".."[..]) => "a name with .. in it",
        parts if parts.len() > DEPTH_MAX => "a name of too many directories",
        parts => return Ok(parts.join(&b'/')),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, cause))
}

/// Directory and last component; none of the top directory.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    let slash = path.iter().rposition(|&byte| byte == b'/');
    Some(slash.map_or((b"", path), |at| (&path[..at], &path[at + 1..])))
}

/// Removes what has the name of a new entry; a directory that is not empty stays.
fn clear(parent: &OwnedFd, name: &CStr) -> nix::Result<()> {
    let found = match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    let is_directory = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let how = match is_directory {
        true => UnlinkatFlags::RemoveDir,
        false => UnlinkatFlags::NoRemoveDir,
    };
    unlinkat(parent, name, how)
}

fn time(entry: &Entry) -> TimeSpec {
    let (seconds, nanoseconds) = entry.mtime;
    TimeSpec::new(seconds, nanoseconds)
}

fn set_time(parent: &OwnedFd, name: &CStr, time: TimeSpec) -> io::Result<()> {
    Ok(utimensat(
        parent,
        name,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )?)
}

/// Attributes of a file or directory that nobody else changes meanwhile.
fn set_attributes(entry: &Entry, parent: &OwnedFd, name: &CStr) -> io::Result<()> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()));
    path.push(OsStr::from_bytes(name.to_bytes()));
    for (key, value) in &entry.xattrs {
        // Those that no zone has, as SELinux' labels of another system, are left out.
        if let Some(key) = to_host(key) {
            super::attributes::set(&path, &key, value)?;
        }
    }
    Ok(())
}
