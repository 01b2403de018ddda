//! What is made in a zone with an owner, a mode or a list that the host's file cannot hold.
//!
//! The monitor makes it itself, in the directory that a guest names, and says in the same step whose it is:
//! so a guest that is killed in between leaves nothing behind that would be the zone root's. It makes
//! nothing that the guest could not make: with the rights of one ([`rights`]), and where the zone may change
//! things.

use super::files::{self, Target, changeable, low_int};
use super::ipc;
use super::layers::rights;
use super::lists::{file_of, inherit_from, put_mode};
use super::notify::{Call, Listener};
use super::owners::{self, Found, Owner, Until};
use super::paths;
use super::zone::Zone;
use crate::ids::HostPid;
use crate::ownership::mode_on_host;
use nix::errno::Errno;
use picozone_personality::layout::is_reserved;
use picozone_personality::mailbox::make;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// What the flags of an open may say of what is made; the rest is told by the request, or means nothing.
const OPEN_FLAGS: i32 = libc::O_ACCMODE
    | libc::O_APPEND
    | libc::O_SYNC
    | libc::O_DIRECT
    | libc::O_NOATIME
    | libc::O_NONBLOCK
    | libc::O_TRUNC
    | libc::O_LARGEFILE;

/// What is to be said of a new file.
struct Said {
    ids: [u32; 2],
    /// The bits that were asked for.
    asked: u32,
    /// What the umask has left of them.
    mode: u32,
    /// One more than the row of the directory in the ownership table, if that has a default list; else 0.
    list: u64,
    how: u64,
}

/// What [`Request::Made`](picozone_personality::mailbox::Request::Made) asks for.
///
/// # Errors
/// Those of a descriptor that is not of what the zone may change.
pub fn record(
    zone: &Zone,
    caller: HostPid,
    fd: u64,
    ids: [u64; 2],
    asked: u64,
    list: u64,
    how: u64,
) -> Result<i64, i32> {
    let file = changeable(zone, caller, fd)?;
    let [uid, gid] = ids.map(|id| u32::try_from(id).map_err(|_| libc::EINVAL));
    let asked = u32::try_from(asked & 0o7777).unwrap_or(0);
    let found = owners::found(zone, &file)?;
    let said = Said {
        ids: [uid?, gid?],
        asked,
        mode: asked & (found.host.mode & 0o777 | 0o7000),
        list,
        how,
    };
    say(zone, &file, &found, &said).map(|()| 0)
}

fn say(zone: &Zone, file: &OwnedFd, found: &Found, said: &Said) -> Result<(), i32> {
    let kind = found.host.mode & libc::S_IFMT;
    let [uid, gid] = said.ids;
    let owner = Owner {
        uid,
        gid,
        mode: kind | said.mode,
        rdev: 0,
    };
    if let Some(row) = said.list.checked_sub(1) {
        let directory = file_of(zone, row)?;
        if inherit_from(zone, directory, file, found, owner, said.asked)? {
            return Ok(());
        }
    }
    let host = mode_on_host(said.mode & 0o777, kind == libc::S_IFDIR);
    if kind != libc::S_IFLNK {
        put_mode(file, found, owner)?;
    }
    if owner != found.owner || said.mode != host {
        let until = Until::asked(file, said.how);
        zone.owners
            .set_until(&zone.shared, found.id, owner, until)?;
    }
    Ok(())
}

/// What [`Request::Make`](picozone_personality::mailbox::Request::Make) asks for: `name` is the new one,
/// `target` what it leads to if it is a link. The value is a descriptor where one is wanted, else 0.
///
/// # Errors
/// Those of mkdirat(2), mknodat(2), symlinkat(2) and openat(2). EROFS: the zone changes nothing there. Where
/// the table has no room for the owner, the file is there, and the zone root's.
pub fn make(
    zone: &Zone,
    listener: &Listener,
    call: Call,
    args: [u64; 8],
    name: &[u8],
    target: &[u8],
) -> Result<i64, i32> {
    let caller = HostPid(call.tid);
    let [directory, modes, ids, list, flags, place, rdev, _] = args;
    let place = place.checked_sub(1).map(|fd| u32::try_from(fd).ok());
    let is_guests = |fd: Option<u32>| fd.is_some_and(|fd| !is_reserved(fd));
    if !paths::is_component(name) || !place.is_none_or(is_guests) {
        return Err(libc::EINVAL);
    }
    // Of `AT_FDCWD` the high half may be anything.
    let directory = i64::from(low_int(directory)).cast_unsigned();
    let Target::File(directory) = Target::find(zone, caller, directory)? else {
        return Err(libc::ENOTDIR);
    };
    let [mode, umask] = halves(modes);
    let [how, open_flags] = halves(flags);
    let asked = mode & 0o7777;
    let umask = match umask {
        make::UNKNOWN_UMASK => ipc::umask(call.tid),
        umask => umask & 0o777,
    };
    let is_link = mode & libc::S_IFMT == libc::S_IFLNK;
    let said = Said {
        ids: halves(ids),
        asked,
        mode: if is_link { asked } else { asked & !umask },
        list,
        how: u64::from(how),
    };
    let name = CString::new(name).map_err(|_| libc::EINVAL)?;
    let new = New {
        directory: &directory,
        name: &name,
        kind: mode & libc::S_IFMT,
        is_opened: open_flags != make::NOT_OPENED,
    };
    let file = rights::as_guest(|| new.make(said.mode, open_flags.cast_signed(), target))?;
    let found = owners::found(zone, &file)?;
    // As where the zone's owner table has no room: the file is there.
    let _ = say(zone, &file, &found, &said);
    if matches!(new.kind, libc::S_IFCHR | libc::S_IFBLK) {
        files::make_device(zone, &file, new.kind, rdev)?;
    }
    if !new.is_opened {
        return Ok(0);
    }
    let is_cloexec = open_flags.cast_signed() & libc::O_CLOEXEC != 0;
    let given = match place.flatten() {
        Some(fd) => listener.exchange(call, file.as_fd(), fd, is_cloexec),
        None => listener.add(call, file.as_fd(), is_cloexec),
    };
    match given {
        Ok(fd) => Ok(i64::from(fd)),
        // It is gone, and has made the file all the same.
        Err(libc::ENOENT) => Err(libc::EINTR),
        Err(errno) => {
            new.take_back();
            Err(errno)
        }
    }
}

/// The low and the high half of a word.
#[expect(clippy::cast_possible_truncation, reason = "halves")]
const fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// A new name in a directory.
struct New<'a> {
    directory: &'a OwnedFd,
    name: &'a CString,
    /// `S_IF*` as the zone sees it.
    kind: u32,
    /// Whether a descriptor to read or write it is wanted.
    is_opened: bool,
}

impl New<'_> {
    /// Makes it, and opens it: as it is wanted, or by `O_PATH`.
    fn make(&self, mode: u32, flags: i32, target: &[u8]) -> Result<OwnedFd, i32> {
        let (at, name) = (self.directory.as_raw_fd(), self.name.as_ptr());
        let mode = mode_on_host(mode & 0o1777, self.kind == libc::S_IFDIR);
        let made = match self.kind {
            // SAFETY: a string of ours.
            libc::S_IFDIR => unsafe { libc::mkdirat(at, name, mode) },
            libc::S_IFLNK => {
                let target = CString::new(target).map_err(|_| libc::EINVAL)?;
                // SAFETY: strings of ours.
                unsafe { libc::symlinkat(target.as_ptr(), at, name) }
            }
            libc::S_IFREG if self.is_opened => {
                let flags = flags & OPEN_FLAGS | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
                return self.open(flags, mode & 0o777);
            }
            // SAFETY: a string of ours.
            libc::S_IFREG => unsafe { libc::mknodat(at, name, libc::S_IFREG | mode & 0o777, 0) },
            // SAFETY: a string of ours.
            libc::S_IFIFO => unsafe { libc::mknodat(at, name, libc::S_IFIFO | mode & 0o777, 0) },
            // A socket keeps the place of a device.
            libc::S_IFSOCK | libc::S_IFCHR | libc::S_IFBLK => {
                // SAFETY: a string of ours.
                unsafe { libc::mknodat(at, name, libc::S_IFSOCK | mode & 0o777, 0) }
            }
            _ => return Err(libc::EINVAL),
        };
        Errno::result(made).map_err(|errno| errno as i32)?;
        self.open(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC, 0)
    }

    fn open(&self, flags: i32, mode: u32) -> Result<OwnedFd, i32> {
        // SAFETY: a string of ours.
        let fd =
            unsafe { libc::openat(self.directory.as_raw_fd(), self.name.as_ptr(), flags, mode) };
        let fd = Errno::result(fd).map_err(|errno| errno as i32)?;
        // SAFETY: the kernel has just made it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// There is no room for its descriptor: then nothing was made.
    fn take_back(&self) {
        // SAFETY: a string of ours.
        unsafe { libc::unlinkat(self.directory.as_raw_fd(), self.name.as_ptr(), 0) };
    }
}
