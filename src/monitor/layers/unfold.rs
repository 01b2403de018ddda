//! Unfolding: a directory of stand-ins for what lies below.

use super::notes::{Note, What};
use super::rights::as_guest;
use super::{Layer, Pair, Record, Tell, open_beneath, status_at};
use crate::monitor::descriptors::{own_path, set_mode};
use crate::monitor::owners::{Owner, identify};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, symlinkat};
use picozone_fsmap::{PathBuf as FixedPath, StandIn};
use picozone_personality::origins::{Origin, UNCOUNTED};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// An entry of a directory below.
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) what: What,
}

/// What a file of the zone's own shows, with no inode from below.
pub(super) const NO_ORIGIN: Origin = Origin {
    dev: 0,
    ino: 0,
    links: 0,
};

/// Makes stand-ins for what lies in one directory below.
pub(super) struct Maker<'a> {
    layer: &'a Layer,
    /// The directory below.
    below: &'a OwnedFd,
    path: &'a [u8],
    /// A stand-in of each kind, of which all others are names too.
    first: [Option<OsString>; 2],
}

impl<'a> Maker<'a> {
    pub(super) fn new(layer: &'a Layer, below: &'a OwnedFd, path: &'a [u8]) -> Self {
        Self {
            layer,
            below,
            path,
            first: [None, None],
        }
    }

    /// Makes an entry in a directory; what is to be known of it, if anything is.
    pub(super) fn make(&mut self, to: &OwnedFd, entry: &Entry) -> nix::Result<Option<Record>> {
        match &entry.what {
            What::Directory => self.stand_in(to, &entry.name, true).map(|()| None),
            What::File => self.stand_in(to, &entry.name, false).map(|()| None),
            What::Link(text) => {
                symlinkat(text.as_os_str(), to, entry.name.as_os_str())?;
                let status = status_at(self.below, &entry.name)?;
                self.finish(to, &entry.name, &status, status.st_mode & 0o7777)
            }
            What::Special => self.special(to, &entry.name),
        }
    }

    fn stand_in(&mut self, to: &OwnedFd, name: &OsStr, is_directory: bool) -> nix::Result<()> {
        let first = &mut self.first[usize::from(is_directory)];
        if let Some(first) = first
            && linkat(to, first.as_os_str(), to, name, AtFlags::empty()).is_ok()
        {
            return Ok(());
        }
        // The first, or one more where a link has as many names as it may.
        let stand_in = StandIn {
            mount: self.layer.pair.number,
            is_directory,
            directory: self.path,
        };
        let mut text = FixedPath::new();
        stand_in
            .text(&mut text)
            .map_err(|error| Errno::from_raw(i32::from(error.0)))?;
        symlinkat(OsStr::from_bytes(text.as_bytes()), to, name)?;
        *first = Some(name.to_owned());
        Ok(())
    }

    /// A FIFO or socket of the layer's own; of a device its number, as mknod in a zone makes one.
    fn special(&self, to: &OwnedFd, name: &OsStr) -> nix::Result<Option<Record>> {
        let status = status_at(self.below, name)?;
        let kind = match status.st_mode & libc::S_IFMT {
            libc::S_IFIFO => SFlag::S_IFIFO,
            _ => SFlag::S_IFSOCK,
        };
        let mode = status.st_mode & 0o777 | 0o600;
        let wanted = Mode::from_bits_truncate(mode);
        mknodat(to, name, kind, wanted, 0)?;
        // Whatever the umask is.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        set_mode(&openat(to, name, flags, Mode::empty())?, mode)?;
        self.finish(to, name, &status, mode)
    }

    fn finish(
        &self,
        to: &OwnedFd,
        name: &OsStr,
        status: &FileStat,
        host_mode: u32,
    ) -> nix::Result<Option<Record>> {
        let (accessed, changed) = (
            TimeSpec::new(status.st_atime, status.st_atime_nsec),
            TimeSpec::new(status.st_mtime, status.st_mtime_nsec),
        );
        let flags = UtimensatFlags::NoFollowSymlink;
        utimensat(to, name, &accessed, &changed, flags)?;
        let is_device = matches!(status.st_mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK);
        let Some(owner) = self.layer.owner_of(status, host_mode, is_device) else {
            return Ok(None);
        };
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let node = openat(to, name, flags, Mode::empty())?;
        let (id, _) = identify(&node).map_err(Errno::from_raw)?;
        Ok(Some(Record {
            id,
            origin: NO_ORIGIN,
            owner: Some(owner),
        }))
    }
}

/// What lies in a directory below, but for what cannot be looked at.
pub(super) fn entries(below: &OwnedFd) -> nix::Result<Vec<Entry>> {
    let listed = as_guest(|| std::fs::read_dir(own_path(below)))
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let mut all = Vec::new();
    for entry in listed {
        let entry =
            entry.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let what = if kind.is_dir() {
            What::Directory
        } else if kind.is_file() {
            What::File
        } else if kind.is_symlink() {
            match readlinkat(below, name.as_os_str()) {
                Ok(text) => What::Link(text),
                Err(_) => continue,
            }
        } else {
            What::Special
        };
        all.push(Entry { name, what });
    }
    Ok(all)
}

impl Pair {
    /// Opens a directory below.
    pub(super) fn directory_below(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        as_guest(|| open_beneath(&self.below, path, flags))
    }
}

impl Layer {
    /// Whose a file of the host is in the zone, if a copy of it that the host's user makes would not say
    /// that by itself.
    pub(super) fn owner_of(
        &self,
        status: &FileStat,
        host_mode: u32,
        is_device: bool,
    ) -> Option<Owner> {
        let [uids, gids] = &self.ids;
        let owner = Owner {
            uid: uids.to_zone(status.st_uid),
            gid: gids.to_zone(status.st_gid),
            mode: status.st_mode,
            rdev: if is_device { status.st_rdev } else { 0 },
        };
        let says = (owner.uid, owner.gid) == (0, 0) && status.st_mode & 0o7777 == host_mode;
        (is_device || !says).then_some(owner)
    }

    /// Makes a directory ready in `work` that shows what lies at a path below; its name there, and the note
    /// that is to be stored before it is put where it belongs.
    pub(super) fn unfold(&self, path: &[u8], tell: Tell<'_>) -> nix::Result<(OsString, Note)> {
        let below = self.pair.directory_below(path)?;
        let ready = self.new_name();
        mkdirat(&self.work, ready.as_os_str(), Mode::S_IRWXU)?;
        let made = self.fill(&below, path, &ready, tell);
        if made.is_err() {
            self.drop_ready(&ready);
        }
        made.map(|note| (ready, note))
    }

    fn fill(
        &self,
        below: &OwnedFd,
        path: &[u8],
        ready: &OsStr,
        tell: Tell<'_>,
    ) -> nix::Result<Note> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let to = openat(&self.work, ready, flags, Mode::empty())?;
        // Before what it holds is read: what changes meanwhile is then found changed.
        let status = fstat(below)?;
        let (id, _) = identify(&to).map_err(Errno::from_raw)?;
        let host_mode = status.st_mode & 0o777 | 0o700;
        let mut records = vec![Record {
            id,
            origin: Origin {
                dev: status.st_dev,
                ino: status.st_ino,
                links: UNCOUNTED,
            },
            owner: self.owner_of(&status, host_mode, false),
        }];
        let mut maker = Maker::new(self, below, path);
        let mut names = Vec::new();
        for entry in entries(below)? {
            match maker.make(&to, &entry) {
                Ok(record) => records.extend(record),
                // It went meanwhile.
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno),
            }
            names.push((entry.name, entry.what));
        }
        let note = Note {
            path: path.to_vec(),
            id,
            changed: (status.st_mtime, status.st_mtime_nsec),
            names,
        };
        fchmod(&to, Mode::from_bits_truncate(host_mode))?;
        super::keep_times(&to, &status);
        self.journal.add(&records).map_err(io_errno)?;
        records.iter().for_each(tell);
        Ok(note)
    }
}

pub(super) fn io_errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
