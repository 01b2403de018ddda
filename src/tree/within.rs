//! Work within a zone's tree that the zone may have rearranged.
//!
//! The zone's programs can put a symbolic link anywhere in their tree. Nothing that we do there on
//! the zone's behalf follows one to the host: every step is confined by the kernel.

use crate::ownership::{FileId, identify, identify_at};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What the placeholder of a mount point is: a dangling absolute symbolic link to here.
pub use picozone_personality::layout::PLACEHOLDER;

/// What is appended to the name of a directory that had to make way for a placeholder.
const ASIDE: &str = ".unpacked";

/// Largest file that is read, in bytes.
const READ_MAX: u64 = 1 << 20;

/// The root directory of a zone, held open.
#[derive(Debug)]
pub struct Within {
    root: OwnedFd,
}

/// What to do with a directory that lies where a placeholder must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Nothing: it is an error.
    Refuse,
    /// Rename it, to be put back when the zone is deleted.
    SetAside,
}

impl Within {
    /// Opens the root directory of a zone.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            root: nix::fcntl::open(root, flags, Mode::empty())?,
        })
    }

    /// Reads a regular file of at most 1 MiB as the zone's programs would find it: links are
    /// followed, but within the zone's root only.
    ///
    /// # Errors
    /// Those of `openat2`; `InvalidData` where it is no regular file or a longer one.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // O_NONBLOCK: a FIFO must not hold us.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let file = File::from(openat2(&self.root, path, how)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is not a regular file",
            ));
        }
        let mut content = Vec::new();
        if file.take(READ_MAX + 1).read_to_end(&mut content)? as u64 > READ_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
        Ok(content)
    }

    /// Replaces a file as a whole; a link in its place is replaced, not followed.
    ///
    /// # Errors
    /// Those of the calls it makes; ELOOP where a directory on the way is a link.
    pub fn replace(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = self.parent(path, false)?;
        let mut temporary = name.clone();
        temporary.push(".zone-new");
        match unlinkat(&parent, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        let mut file = File::from(nix::fcntl::openat(
            &parent,
            temporary.as_os_str(),
            flags,
            mode,
        )?);
        fchmod(&file, mode)?;
        file.write_all(content)?;
        renameat(&parent, temporary.as_os_str(), &parent, name.as_os_str())?;
        Ok(())
    }

    /// Whether a path without links leads to anything.
    ///
    /// # Errors
    /// Those of `fstatat`, except ENOENT.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.parent(path, false) {
            Ok((parent, name)) => Ok(look(&parent, &name)?.is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Which file a path without links leads to, and its mode.
    ///
    /// # Errors
    /// Those of the calls it makes; ELOOP where a directory on the way is a link.
    pub(super) fn identify(&self, path: &Path) -> io::Result<(FileId, u32)> {
        let raw = io::Error::from_raw_os_error;
        if relative(path).as_os_str().is_empty() {
            return identify(&self.root).map_err(raw);
        }
        let (parent, name) = self.parent(path, false)?;
        let name = CString::new(name.into_vec())?;
        identify_at(&parent, &name).map_err(raw)
    }

    /// Makes a directory and those above it, mode 0755; one that is there is fine.
    ///
    /// # Errors
    /// Those of `mkdirat`; ELOOP or ENOTDIR where something else than a directory is in the way.
    pub fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.parent(&path.join("x"), true).map(drop)
    }

    /// Puts the placeholder of a mount point at `path`, instead of an empty directory.
    ///
    /// # Errors
    /// `AlreadyExists` where something else lies there, a sentence in it; those of the calls.
    pub(super) fn place(&self, path: &Path, full: Full) -> io::Result<()> {
        let in_the_way = |what: &str| {
            io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{what} is in the way in the zone's tree"),
            )
        };
        let (parent, name) = self.parent(path, true)?;
        let name = name.as_os_str();
        match look(&parent, name)?.map(|found| kind(&found)) {
            None => {}
            Some(SFlag::S_IFLNK) if is_placeholder(&parent, name)? => return Ok(()),
            Some(SFlag::S_IFLNK) => return Err(in_the_way("a symbolic link")),
            Some(SFlag::S_IFDIR) => match unlinkat(&parent, name, UnlinkatFlags::RemoveDir) {
                Ok(()) => {}
                Err(Errno::ENOTEMPTY | Errno::EEXIST) if full == Full::SetAside => {
                    renameat(&parent, name, &parent, aside(name).as_os_str())?;
                }
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => {
                    return Err(in_the_way("a directory that is not empty"));
                }
                Err(errno) => return Err(errno.into()),
            },
            Some(_) => return Err(in_the_way("a file")),
        }
        symlinkat(PLACEHOLDER, &parent, name)?;
        Ok(())
    }

    /// Undoes [`Within::place`]: a directory is there again.
    ///
    /// # Errors
    /// Those of the calls it makes.
    pub(super) fn unplace(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = match self.parent(path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let name = name.as_os_str();
        let is_link = look(&parent, name)?.is_some_and(|found| kind(&found) == SFlag::S_IFLNK);
        if !is_link || !is_placeholder(&parent, name)? {
            return Ok(());
        }
        unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir)?;
        match renameat(&parent, aside(name).as_os_str(), &parent, name) {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) => Ok(mkdirat(&parent, name, Mode::from_bits_truncate(0o755))?),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes files, sockets and FIFOs below `path` and keeps directories and links, as a boot
    /// finds `/run`.
    ///
    /// # Errors
    /// Those of the calls it makes.
    pub(super) fn sweep(&self, path: &Path) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        match openat2(&self.root, relative(path).as_path(), how) {
            Ok(dir) => sweep(&dir, 0),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens the directory that holds `path`; makes those that are missing if wanted.
    fn parent(&self, path: &Path, make: bool) -> io::Result<(OwnedFd, OsString)> {
        let path = relative(path);
        let name = path.file_name().ok_or(Errno::EINVAL)?.to_owned();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut dir = self.root.try_clone()?;
        for component in path.parent().into_iter().flat_map(Path::components) {
            let component = component.as_os_str();
            if component == ".." {
                return Err(Errno::EINVAL.into());
            }
            if make {
                match mkdirat(&dir, component, Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            dir = nix::fcntl::openat(&dir, component, flags, Mode::empty())?;
        }
        Ok((dir, name))
    }
}

fn sweep(dir: &OwnedFd, depth: usize) -> io::Result<()> {
    // Deeper than any program's run-time files; the zone's own root can make it deeper.
    if depth > 32 {
        return Ok(());
    }
    let entries: Vec<OsString> = Dir::from_fd(dir.try_clone()?)?
        .iter()
        .filter_map(|entry| entry.ok())
        .map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec()))
        .filter(|name| name != "." && name != "..")
        .collect();
    for name in entries {
        let name = name.as_os_str();
        match look(dir, name)?.map(|found| kind(&found)) {
            Some(SFlag::S_IFDIR) => {
                let flags =
                    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                match nix::fcntl::openat(dir, name, flags, Mode::empty()) {
                    Ok(below) => sweep(&below, depth + 1)?,
                    Err(Errno::EACCES) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Some(SFlag::S_IFLNK) | None => {}
            Some(_) => unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?,
        }
    }
    Ok(())
}

/// `path` without its leading slash.
fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/")
        .unwrap_or(path)
        .components()
        .collect()
}

fn aside(name: &OsStr) -> OsString {
    let mut aside = name.to_owned();
    aside.push(ASIDE);
    aside
}

fn look(dir: impl AsFd, name: &OsStr) -> io::Result<Option<FileStat>> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

fn is_placeholder(dir: impl AsFd, name: &OsStr) -> io::Result<bool> {
    Ok(readlinkat(dir, name)? == PLACEHOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn placeholders_come_and_go() {
        let temporary = tempfile::tempdir().expect("a directory");
        let root = temporary.path();
        let within = Within::open(root).expect("open");
        let path = Path::new("/srv/data");
        let at = root.join("srv/data");
        within.place(path, Full::Refuse).expect("placed");
        within.place(path, Full::Refuse).expect("placed twice");
        assert_eq!(fs::read_link(&at).expect("a link"), Path::new(PLACEHOLDER));
        within.unplace(path).expect("gone");
        assert!(at.is_dir());
        fs::write(at.join("file"), "").expect("written");
        assert!(within.place(path, Full::Refuse).is_err());
        within.place(path, Full::SetAside).expect("placed");
        within.unplace(path).expect("gone");
        assert!(at.join("file").exists());
    }

    #[test]
    fn no_link_of_the_zone_leads_out() {
        let temporary = tempfile::tempdir().expect("a directory");
        let outside = temporary.path().join("outside");
        let root = temporary.path().join("root");
        fs::create_dir_all(outside.join("etc")).expect("made");
        fs::create_dir_all(root.join("real")).expect("made");
        fs::write(outside.join("secret"), "secret").expect("written");
        symlink(&outside, root.join("etc")).expect("linked");
        symlink(outside.join("secret"), root.join("real/secret")).expect("linked");
        let within = Within::open(&root).expect("open");
        assert!(
            within
                .replace(Path::new("/etc/hosts"), b"x", 0o644)
                .is_err()
        );
        assert!(within.place(Path::new("/etc/x"), Full::Refuse).is_err());
        assert!(within.read(Path::new("/real/secret")).is_err());
        assert!(within.read(Path::new("../outside/secret")).is_err());
        within.sweep(Path::new("/etc")).expect("nothing to do");
        within
            .replace(Path::new("/real/secret"), b"mine", 0o644)
            .expect("replaced");
        assert_eq!(fs::read(outside.join("secret")).expect("read"), b"secret");
        assert_eq!(fs::read(root.join("real/secret")).expect("read"), b"mine");
        assert!(!outside.join("etc/hosts").exists() && !outside.join("etc/x").exists());
    }

    #[test]
    fn sweeping_keeps_directories_and_links() {
        let temporary = tempfile::tempdir().expect("a directory");
        let root = temporary.path();
        fs::create_dir_all(root.join("run/apache2")).expect("made");
        fs::write(root.join("run/apache2/apache2.pid"), "1").expect("written");
        symlink("/dev/shm", root.join("run/shm")).expect("linked");
        Within::open(root)
            .expect("open")
            .sweep(Path::new("/run"))
            .expect("swept");
        assert!(root.join("run/apache2").is_dir());
        assert!(!root.join("run/apache2/apache2.pid").exists());
        assert!(root.join("run/shm").is_symlink());
    }
}
