//! Rewritten copies of programs and libraries: [`crate::rewrite`] applied once to each file.
//!
//! A copy lies in the home's `cache/rewritten`, under a name made of what tells the file's content
//! (device, inode, size, time of change), for all zones of the user, so that its pages are in memory
//! once. A zone sees the copies of those files only that it has asked for: they are linked into a
//! directory of its own, which is a reserved descriptor of its guests and read-only to them. Copies
//! are made of files that the zone cannot write and that everybody may read; a copy so tells nobody
//! what he could not read anyway.
//!
//! At the end of a copy stands where its tail lies ([`Tail`]). An empty copy says that there is
//! nothing to rewrite.

use super::descriptors::{open_path, reopen};
use super::plans::{self, Asked};
use super::zone::Zone;
use crate::error::{Doing, Result};
use crate::ids::HostPid;
use crate::rewrite::{self, Rewritten};
use picozone_personality::layout::JUMP_ENTRY;
use picozone_personality::libraries::{self, Library};
use picozone_personality::mailbox::{Image, Segment};
use picozone_personality::plans::{COPY_MAX, CopyName, FileId};
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Changes whenever the rewriting does, or the layout of a copy.
const FORMAT: u32 = 1;
/// Largest file that is rewritten, in bytes: its first exec waits for it.
const SIZE_MAX: i64 = 16 << 20;
/// `HWCAP2_FSGSBASE` (arch/x86/include/uapi/asm/hwcap2.h).
const FSGSBASE: u64 = 2;

/// Where the stubs of a copy are, and are to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Address before any bias: right behind the image.
    pub address: u64,
    /// Offset in the copy, in bytes.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl Tail {
    const BYTES: usize = 24;

    fn to_bytes(self) -> Vec<u8> {
        let words = [self.address, self.offset, self.length];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Tail> {
        let (words, rest) = bytes.as_chunks::<8>();
        match words {
            [a, b, c] if rest.is_empty() => Some(Tail {
                address: u64::from_le_bytes(*a),
                offset: u64::from_le_bytes(*b),
                length: u64::from_le_bytes(*c),
            }),
            _ => None,
        }
    }
}

/// A file's copy, open for reading.
pub struct Copy {
    /// Its name in the zone's directory of copies.
    pub name: CopyName,
    /// The copy.
    pub file: File,
    /// Its stubs.
    pub tail: Tail,
}

impl Copy {
    /// Makes an image one of the copy. `false` if it has no room for another segment.
    #[must_use]
    pub fn extend(&self, image: &mut Image) -> bool {
        let is_behind = image.span[1] <= self.tail.address;
        let Some(slot) = image.segments.get_mut(image.count as usize) else {
            return false;
        };
        if !is_behind {
            return false;
        }
        *slot = Segment {
            vaddr: self.tail.address,
            offset: self.tail.offset,
            file_size: self.tail.length,
            mem_size: self.tail.length,
            prot: (libc::PROT_READ | libc::PROT_EXEC).cast_unsigned(),
            pad: 0,
        };
        image.count += 1;
        image.span[1] = self.tail.address + self.tail.length;
        true
    }
}

/// What a file is to its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A program or a library.
    Plain,
    /// A program's interpreter, which maps libraries.
    Linker,
}

impl Role {
    fn wants(self, nr: u32) -> bool {
        match self {
            Role::Plain => picozone_syscalls::enters_by_jump(nr),
            Role::Linker => picozone_syscalls::served_by_jump(nr),
        }
    }

    fn letter(self) -> char {
        match self {
            Role::Plain => 'p',
            Role::Linker => 'l',
        }
    }
}

/// The copies of a zone.
pub struct Copies {
    cache: PathBuf,
    own: PathBuf,
    directory: OwnedFd,
    is_on: bool,
    /// Zone paths of the files that copies stand for, by name.
    names: Mutex<hashbrown::HashMap<Vec<u8>, Vec<u8>>>,
}

impl Copies {
    /// Makes the directories. Without `is_wanted`, or where the host lacks what the entry needs,
    /// there will be no copies.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn open(zone_dir: &Path, run_dir: &Path, is_wanted: bool) -> Result<Copies> {
        // The home holds `zones/NAME`.
        let home = zone_dir.ancestors().nth(2).unwrap_or(zone_dir);
        let (cache, own) = (home.join("cache/rewritten"), run_dir.join("rewritten"));
        let needed = if is_wanted {
            &[&cache, &own][..]
        } else {
            &[&own]
        };
        for dir in needed {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .doing("make the directory", dir.display())?;
        }
        let directory = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(&own)
            .doing("open", own.display())?;
        let flags = nix::sys::statvfs::statvfs(&own).map(|found| found.flags());
        let may_execute =
            flags.is_ok_and(|flags| !flags.contains(nix::sys::statvfs::FsFlags::ST_NOEXEC));
        // SAFETY: takes a number only.
        let abilities = unsafe { libc::getauxval(libc::AT_HWCAP2) };
        Ok(Copies {
            cache,
            own,
            directory: directory.into(),
            is_on: is_wanted && may_execute && abilities & FSGSBASE != 0,
            names: Mutex::default(),
        })
    }

    /// Whether there are copies.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// The zone's directory of copies.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// What a host path that names a copy stands for, in the zone.
    #[must_use]
    pub fn to_zone_path(&self, host: &[u8]) -> Option<Vec<u8>> {
        let rest = host.strip_prefix(self.own.as_os_str().as_bytes())?;
        let names = self.names();
        names.get(rest.strip_prefix(b"/")?).cloned()
    }

    fn names(&self) -> std::sync::MutexGuard<'_, hashbrown::HashMap<Vec<u8>, Vec<u8>>> {
        self.names
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The copy of a file, made now if there is none yet. `None`: the file stays as it is.
    pub fn of(&self, zone: &Zone, file: &File, asked: Asked, role: Role) -> Option<Copy> {
        if !self.is_on {
            return None;
        }
        let data = nix::sys::stat::fstat(file).ok()?;
        let may_all_read = data.st_mode & 0o004 != 0;
        if !may_all_read || data.st_size > SIZE_MAX {
            return None;
        }
        let id = plans::identify(file, asked)?;
        let host = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        let host = host.as_os_str().as_bytes();
        let zone_path = zone.to_zone_path(host)?;
        if zone.is_writable(host) {
            return None;
        }
        let name = name_of(&id, role);
        self.provide(file, &id, role, &name).ok()?;
        let mut copy = File::open(self.own.join(&name)).ok()?;
        let tail = tail_of(&mut copy)?;
        self.names().insert(name.clone().into_bytes(), zone_path);
        let mut text = [0; COPY_MAX];
        text.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Copy {
            name: text,
            file: copy,
            tail,
        })
    }

    /// Tells the guests what to map in place of a library: a row of the tables.
    ///
    /// # Errors
    /// EBADF; EINVAL if it is no regular file; EAGAIN if it was changed too lately.
    pub fn tell(&self, zone: &Zone, caller: HostPid, fd: i32) -> std::result::Result<i64, i32> {
        static WRITER: Mutex<()> = Mutex::new(());
        let asked = Asked::now(zone);
        let place = open_path(caller, fd)?;
        let data = nix::sys::stat::fstat(&place).map_err(|errno| errno as i32)?;
        // Opening anything else might wait.
        if data.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(libc::EINVAL);
        }
        let file = reopen(&place, libc::O_RDONLY | libc::O_NONBLOCK)?;
        let id = plans::identify(&file, asked).ok_or(libc::EAGAIN)?;
        let copy = self.of(zone, &file, asked, Role::Plain);
        let library = Library {
            id,
            copy: copy.as_ref().map_or([0; COPY_MAX], |copy| copy.name),
            address: copy.as_ref().map_or(0, |copy| copy.tail.address),
            offset: copy.as_ref().map_or(0, |copy| copy.tail.offset),
            length: copy.as_ref().map_or(0, |copy| copy.tail.length),
        };
        let _writer = WRITER
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let rows = &zone.shared.tables().libraries;
        let ways = || (0..libraries::WAYS).filter_map(|n| rows.get(libraries::way(&id, n)));
        let own = ways().find(|row| row.get(&id).is_some());
        if let Some(row) = own.or_else(|| ways().min_by_key(|row| row.writes())) {
            row.set(&library);
        }
        Ok(0)
    }

    /// Sees to it that the zone's directory has the copy.
    fn provide(&self, file: &File, id: &FileId, role: Role, name: &str) -> std::io::Result<()> {
        let (kept, own) = (self.cache.join(name), self.own.join(name));
        if own.exists() {
            return Ok(());
        }
        if !kept.exists() {
            self.make(file, id, role, &kept)?;
        }
        match fs::hard_link(kept, own) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the copy under another name first: what has its own name is whole.
    fn make(&self, file: &File, id: &FileId, role: Role, kept: &Path) -> std::io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut bytes = Vec::new();
        let mut reader = file;
        reader.seek(SeekFrom::Start(0))?;
        reader.read_to_end(&mut bytes)?;
        let data = nix::sys::stat::fstat(file)?;
        if plans::id_of(&data) != *id {
            return Err(ErrorKind::ResourceBusy.into());
        }
        let found = rewrite::analyse(&bytes, JUMP_ENTRY, |nr| role.wants(nr));
        let count = COUNT.fetch_add(1, Relaxed);
        let unfinished = self.cache.join(format!("{}.{count}", std::process::id()));
        let done = write(&unfinished, &bytes, found.as_ref());
        let done = done.and_then(|()| fs::rename(&unfinished, kept));
        done.inspect_err(|_| drop(fs::remove_file(&unfinished)))
    }
}

/// Writes a copy to the disk.
fn write(path: &Path, file: &[u8], found: Option<&Rewritten>) -> std::io::Result<()> {
    let mut to = File::create(path)?;
    if let Some(found) = found {
        let (copy, offset) = found.apply(file);
        let tail = Tail {
            address: found.tail_address,
            offset,
            length: found.tail.len() as u64,
        };
        to.write_all(&copy)?;
        to.write_all(&tail.to_bytes())?;
    }
    to.set_permissions(fs::Permissions::from_mode(0o555))?;
    // A name must not outlive a crash that its content does not.
    to.sync_all()
}

/// `None` for an empty copy.
fn tail_of(copy: &mut File) -> Option<Tail> {
    let length = i64::try_from(Tail::BYTES).ok()?;
    copy.seek(SeekFrom::End(-length)).ok()?;
    let mut bytes = Vec::new();
    copy.read_to_end(&mut bytes).ok()?;
    Tail::from_bytes(&bytes)
}

fn name_of(id: &FileId, role: Role) -> String {
    let letter = role.letter();
    format!(
        "{FORMAT}{letter}-{:x}-{:x}-{:x}-{:x}.{:x}",
        id.dev, id.ino, id.size, id.seconds, id.nanoseconds
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_fits() {
        let id = FileId {
            dev: u64::MAX,
            ino: u64::MAX,
            size: SIZE_MAX,
            seconds: i64::MAX,
            nanoseconds: 999_999_999,
        };
        assert!(name_of(&id, Role::Linker).len() < COPY_MAX);
    }

    #[test]
    fn a_tail_is_read_back() {
        let tail = Tail {
            address: 1 << 40,
            offset: 4096,
            length: 8192,
        };
        assert_eq!(tail.to_bytes().len(), Tail::BYTES);
        assert_eq!(Tail::from_bytes(&tail.to_bytes()), Some(tail));
        assert_eq!(Tail::from_bytes(&[]), None);
    }
}
