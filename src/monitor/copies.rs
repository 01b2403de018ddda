//! Rewritten copies of programs and libraries: [`crate::rewrite`] applied once to each file.
//!
//! A copy lies in the home's `cache/rewritten`, under a name made of what tells the file's content
//! (device, inode, size, time of change), for all zones of the user, so that its pages are in memory
//! once. A zone sees the copies of those files only that it has asked for: they are linked into a
//! directory of its own, which is a reserved descriptor of its guests and read-only to them. Copies
//! are made of files that the zone cannot write and that everybody may read; a copy so tells nobody
//! what he could not read anyway.
//!
//! Analysing a file may take long, so a copy is made by a thread of its own ([`cache`]); until it is
//! there, the file is mapped as it is. A server that started then would stay so to its end: what nearly
//! all programs run through, the dynamic linker and libc, has copies when the zone is up.
//!
//! At the end of a copy stands where its tail lies ([`Tail`]). An empty copy says that there is
//! nothing to rewrite.

pub mod cache;

use super::descriptors::{open_path, reopen};
use super::paths::open_resolved;
use super::plans::{self, Asked};
use super::zone::Zone;
use crate::error::{Doing, Result};
use crate::ids::HostPid;
use crate::rewrite::Rewritten;
use cache::Cache;
use nix::unistd::geteuid;
use picozone_personality::libraries::{self, Library};
use picozone_personality::mailbox::{Image, Segment};
use picozone_personality::plans::{COPY_MAX, CopyName, FileId};
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Changes whenever the rewriting does, or the layout of a copy.
const FORMAT: u32 = 6;
/// Largest file that is rewritten, in bytes.
const SIZE_MAX: i64 = 256 << 20;
/// The dynamic linker of nearly all programs, and beside it the library through which they call.
const LINKER: &[u8] = b"/lib64/ld-linux-x86-64.so.2";
const LIBC: &[u8] = b"libc.so.6";
/// Largest of them for whose copy a boot waits, in bytes.
const AWAITED_MAX: i64 = 8 << 20;
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

/// What is to be mapped in place of a file.
pub enum Found {
    /// Its copy.
    Copy(Copy),
    /// Nothing: it stays as it is.
    Itself,
    /// Nothing yet: a copy is being made, or the file was changed too lately to be told from others.
    Later,
}

impl Found {
    /// The copy, if there is one.
    #[must_use]
    pub fn copy(self) -> Option<Copy> {
        match self {
            Found::Copy(copy) => Some(copy),
            Found::Itself | Found::Later => None,
        }
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

/// The file that a copy stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its path in the zone.
    pub path: Vec<u8>,
    /// What it is on the host.
    pub id: FileId,
}

/// The copies of a zone.
pub struct Copies {
    cache: Cache,
    own: PathBuf,
    directory: OwnedFd,
    is_on: bool,
    /// The files that copies stand for, by name.
    names: Mutex<hashbrown::HashMap<Vec<u8>, Original>>,
}

/// Whether the host has what the entry needs.
#[must_use]
pub fn is_possible() -> bool {
    // SAFETY: takes a number only.
    let abilities = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    abilities & FSGSBASE != 0
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
        // A zone that runs as somebody else than its home's owner has copies of its own.
        let is_own = fs::metadata(home).is_ok_and(|found| found.uid() == geteuid().as_raw());
        let home = if is_own { home } else { zone_dir };
        let (cache, own) = (Cache::new(home), run_dir.join("rewritten"));
        let needed = if is_wanted {
            &[cache.dir(), own.as_path()][..]
        } else {
            &[own.as_path()]
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
        Ok(Copies {
            cache,
            own,
            directory: directory.into(),
            is_on: is_wanted && may_execute && is_possible(),
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

    /// What a host path that names a copy stands for.
    #[must_use]
    pub fn original(&self, host: &[u8]) -> Option<Original> {
        let rest = host.strip_prefix(self.own.as_os_str().as_bytes())?;
        let names = self.names();
        names.get(rest.strip_prefix(b"/")?).cloned()
    }

    fn names(&self) -> std::sync::MutexGuard<'_, hashbrown::HashMap<Vec<u8>, Original>> {
        self.names
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The copy of a file; if there is none yet, it is ordered.
    pub fn of(&self, zone: &Zone, file: &File, asked: Asked, role: Role) -> Found {
        if !self.is_on {
            return Found::Itself;
        }
        let Some(id) = plans::identify(file, asked) else {
            return Found::Later;
        };
        let Some(zone_path) = shared_path(zone, file) else {
            return Found::Itself;
        };
        let name = name_of(&id, role);
        if !self.has(&name) {
            return if self.cache.order(file, &id, role, &name) {
                Found::Later
            } else {
                Found::Itself
            };
        }
        match self.open_own(&name) {
            Some(copy) => {
                let original = Original {
                    path: zone_path,
                    id,
                };
                self.names().insert(name.into_bytes(), original);
                Found::Copy(copy)
            }
            None => Found::Itself,
        }
    }

    /// Sees to it that linker and libc have copies before the first program starts. What fails here is
    /// tried again when a program asks for it.
    pub fn make_first(&self, zone: &Zone) {
        if !self.is_on {
            return;
        }
        let Some(linker) = self.make_now(zone, LINKER, Role::Linker) else {
            return;
        };
        let directory = linker.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let libc = [&linker[..directory], b"/", LIBC].concat();
        self.make_now(zone, &libc, Role::Plain);
    }

    /// Makes the copy of a file, if it may have one and has none. The path without links to what is
    /// there.
    fn make_now(&self, zone: &Zone, path: &[u8], role: Role) -> Option<Vec<u8>> {
        const FLAGS: i32 = libc::O_RDONLY | libc::O_NONBLOCK;
        let asked = Asked::now(zone);
        let (fd, resolved) = open_resolved(zone, b"", b"/", path, FLAGS).ok()?;
        let file = File::from(fd);
        let data = nix::sys::stat::fstat(&file).ok()?;
        let is_fit = data.st_mode & libc::S_IFMT == libc::S_IFREG && data.st_size <= AWAITED_MAX;
        let id = plans::identify(&file, asked)?;
        if is_fit && shared_path(zone, &file).is_some() {
            let name = name_of(&id, role);
            if !self.has(&name) {
                self.cache.make(&file, &id, role, &name);
            }
        }
        Some(resolved)
    }

    /// A copy in the zone's directory, if it is not empty.
    fn open_own(&self, name: &str) -> Option<Copy> {
        let mut file = File::open(self.own.join(name)).ok()?;
        let tail = tail_of(&mut file)?;
        let mut text = [0; COPY_MAX];
        text.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Copy {
            name: text,
            file,
            tail,
        })
    }

    /// Tells the guests what to map in place of a library: a row of the tables.
    ///
    /// # Errors
    /// EBADF; EINVAL if it is no regular file; EAGAIN if it was changed too lately, or its copy is
    /// not there yet.
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
        let copy = match self.of(zone, &file, asked, Role::Plain) {
            Found::Later => return Err(libc::EAGAIN),
            found => found.copy(),
        };
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

    /// Sees to it that the zone's directory has a copy that is made.
    fn has(&self, name: &str) -> bool {
        let own = self.own.join(name);
        own.exists()
            || match fs::hard_link(self.cache.dir().join(name), own) {
                Err(error) => error.kind() == ErrorKind::AlreadyExists,
                Ok(()) => true,
            }
    }
}

/// The zone's path of a file, if it may have a copy: the zone cannot write it, and everybody may read
/// it.
fn shared_path(zone: &Zone, file: &File) -> Option<Vec<u8>> {
    let data = nix::sys::stat::fstat(file).ok()?;
    let may_all_read = data.st_mode & 0o004 != 0;
    if !may_all_read || data.st_size > SIZE_MAX {
        return None;
    }
    let host = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let host = host.as_os_str().as_bytes();
    let path = zone.to_zone_path(host)?;
    (!zone.is_writable(host)).then_some(path)
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
