//! Changes of attributes, made by the monitor on a guest's descriptor.

use super::descriptors::{host_path, own_path, reopen, set_mode, set_times};
use super::owners::{self, Found, Owner, Until, identify};
use super::reached::{Reached, text_room};
use super::xattrs;
use super::zone::Zone;
use super::{deep, devfs, mounting, roots, running};
use crate::ids::HostPid;
use crate::ownership::mode_on_host;
use nix::errno::Errno;
use picozone_personality::mailbox::{CHMOD_QUIET, CHOWN_CLEARS_SET_GID};
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

/// A word as the `int` that a system call takes: its low half.
#[must_use]
pub fn low_int(word: u64) -> i32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// What a guest's descriptor names, to a call that changes attributes.
pub(super) enum Target<F = OwnedFd> {
    /// A file where the zone may change things.
    File(F),
    /// A pipe, a socket, a file in memory, a terminal: it ends with its descriptors, and what the zone says
    /// of it.
    Nameless(F),
    /// A device of the host's, or what all processes share: what the zone says of it is not kept.
    Other,
}

impl Target {
    pub(super) fn find(zone: &Zone, caller: HostPid, fd: u64) -> Result<Target, i32> {
        let number = i32::try_from(fd.cast_signed()).map_err(|_| libc::EBADF)?;
        let file = zone.reached.open_path(caller, number)?;
        // The path of our own descriptor: the guest cannot swap it any more.
        let mut room = text_room();
        let bytes = match zone.reached.path_of(&file, &mut room) {
            Err(libc::ENAMETOOLONG) => {
                let [.., beside] = zone.shared.read_args(caller.0);
                return match deep::is_writable(zone, caller, &file, beside) {
                    Ok(true) => Ok(Target::File(file)),
                    Ok(false) => Err(libc::EROFS),
                    // No directory of it was named.
                    Err(_) => Err(libc::ENAMETOOLONG),
                };
            }
            other => other?,
        };
        let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
        if bytes.starts_with(b"pipe:") || bytes.starts_with(b"socket:") {
            return Ok(Target::Nameless(file));
        }
        if bytes.first() != Some(&b'/') {
            return Ok(Target::Other);
        }
        if zone.is_writable(bytes) {
            return Ok(Target::File(file));
        }
        if bytes.starts_with(b"/dev/") {
            if zone.terminals.has(&file) {
                return Ok(Target::Nameless(file));
            }
            return Ok(Target::Other);
        }
        let is_gone = nix::sys::stat::fstat(&file).is_ok_and(|data| data.st_nlink == 0);
        if is_gone && bytes.starts_with(b"/memfd:") {
            return Ok(Target::Nameless(file));
        }
        Err(libc::EROFS)
    }
}

/// A guest's descriptor of a file that the zone may change; EINVAL for what is no file of a directory.
pub(super) fn changeable(zone: &Zone, caller: HostPid, fd: u64) -> Result<OwnedFd, i32> {
    match Target::find(zone, caller, fd)? {
        Target::File(file) => Ok(file),
        Target::Nameless(_) | Target::Other => Err(libc::EINVAL),
    }
}

/// Changes what a guest's descriptor names, which may be the file of its last request, by what `word` says
/// ([`file_word`](picozone_personality::mailbox::file_word)).
fn change(
    zone: &Zone,
    caller: HostPid,
    [fd, word]: [u64; 2],
    make: impl FnOnce(Target<&OwnedFd>) -> Result<i64, i32>,
) -> Result<i64, i32> {
    let key = zone.reached.key(caller, fd, word);
    let kept = match zone.reached.take(key) {
        Some(kept) => kept,
        None => match Target::find(zone, caller, fd)? {
            Target::File(file) => Reached::found(key, file),
            Target::Nameless(file) => return make(Target::Nameless(&file)),
            Target::Other => return make(Target::Other),
        },
    };
    let changed = make(Target::File(&kept.file));
    zone.reached.keep(kept);
    changed
}

/// chmod: the host's file keeps what its owner needs to serve the zone, the store the rest.
pub fn chmod(
    zone: &Zone,
    caller: HostPid,
    [fd, word]: [u64; 2],
    mode: u64,
    how: u64,
) -> Result<i64, i32> {
    change(zone, caller, [fd, word], |target| {
        set_zone_mode(zone, target, mode, how)
    })
}

fn set_zone_mode(zone: &Zone, target: Target<&OwnedFd>, mode: u64, how: u64) -> Result<i64, i32> {
    let mode = u32::try_from(mode & 0o7777).unwrap_or(0);
    let file = match target {
        Target::File(file) => file,
        Target::Nameless(file) => {
            let Found { id, owner, .. } = owners::found(zone, file)?;
            let mode = owner.mode & libc::S_IFMT | mode;
            let owner = Owner { mode, ..owner };
            zone.owners.set_for_now(&zone.shared, id, owner);
            return Ok(0);
        }
        Target::Other => return Ok(0),
    };
    let found = owners::found(zone, file)?;
    let old = found.host.mode;
    let is_dir = old & libc::S_IFMT == libc::S_IFDIR;
    if old & libc::S_IFMT == libc::S_IFLNK {
        return Err(libc::EOPNOTSUPP);
    }
    let host = mode_on_host(mode & 0o777, is_dir);
    if how & CHMOD_QUIET == 0 || old & 0o777 != host {
        set_mode(file, host).map_err(|errno| errno as i32)?;
    }
    if found.is_kept || host != mode {
        let mode = found.owner.mode & libc::S_IFMT | mode;
        let owner = Owner {
            mode,
            ..found.owner
        };
        let until = Until::asked(file, how);
        zone.owners
            .set_until(&zone.shared, found.id, owner, until)?;
    }
    Ok(0)
}

/// chown: only the store knows; the kernel's rule clears set-id bits of what is not a directory.
pub fn chown(
    zone: &Zone,
    caller: HostPid,
    [fd, word]: [u64; 2],
    ids: [u64; 2],
    how: u64,
) -> Result<i64, i32> {
    change(zone, caller, [fd, word], |target| {
        set_zone_owner(zone, target, ids, how)
    })
}

fn set_zone_owner(
    zone: &Zone,
    target: Target<&OwnedFd>,
    [uid, gid]: [u64; 2],
    how: u64,
) -> Result<i64, i32> {
    let keep = u64::from(u32::MAX);
    let (Target::File(file) | Target::Nameless(file)) = target else {
        return Ok(0);
    };
    let found = owners::found(zone, file)?;
    let mut owner = found.owner;
    if uid != keep {
        owner.uid = u32::try_from(uid).map_err(|_| libc::EINVAL)?;
    }
    if gid != keep {
        owner.gid = u32::try_from(gid).map_err(|_| libc::EINVAL)?;
    }
    if owner.mode & libc::S_IFMT != libc::S_IFDIR {
        let clears = how == CHOWN_CLEARS_SET_GID || owner.mode & libc::S_IXGRP != 0;
        owner.mode &= !(libc::S_ISUID | if clears { libc::S_ISGID } else { 0 });
    }
    if owner.mode & libc::S_IFMT == libc::S_IFREG {
        xattrs::drop_capabilities(zone, file);
    }
    if matches!(target, Target::Nameless(_)) {
        zone.owners.set_for_now(&zone.shared, found.id, owner);
        return Ok(0);
    }
    if owner != found.owner {
        zone.owners.set(&zone.shared, found.id, owner)?;
    }
    let same = |wanted: u64, id: u32| if wanted == keep { u32::MAX } else { id };
    renew(file, same(uid, found.host.uid), same(gid, found.host.gid));
    Ok(0)
}

/// Has the kernel note a change of owner, in the ctime and to who watches: the file gets the owner that
/// it has. Who does not own it on the host cannot.
pub(super) fn renew(file: &OwnedFd, uid: u32, gid: u32) {
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: the path is an empty constant.
    unsafe { libc::fchownat(file.as_raw_fd(), c"".as_ptr(), uid, gid, flags) };
}

/// mknod of a device: a socket on the host keeps its place, since opening one gives ENXIO.
///
/// # Errors
/// EINVAL: it is no such socket. ENOSPC: there are too many.
pub fn make_device(zone: &Zone, file: &OwnedFd, kind: u32, rdev: u64) -> Result<(), i32> {
    let (id, host_mode) = identify(file)?;
    if host_mode & libc::S_IFMT != libc::S_IFSOCK {
        return Err(libc::EINVAL);
    }
    let owner = zone.owners.get(&zone.shared, id, || 0).unwrap_or(Owner {
        uid: 0,
        gid: 0,
        mode: host_mode,
        rdev: 0,
    });
    let owner = Owner {
        mode: owner.mode & !libc::S_IFMT | kind,
        rdev,
        ..owner
    };
    zone.owners.set(&zone.shared, id, owner)
}

/// Makes the terminal that `slave` names, if it names one, the zone's, and a user's in it, as long as it is
/// there.
pub fn take_terminal(zone: &Zone, slave: &std::path::Path, uid: u32) {
    let data = zone.terminals.record(slave).and_then(|pin| {
        let (id, _) = identify(&pin).ok()?;
        Some((id, nix::sys::stat::fstat(&pin).ok()?.st_rdev))
    });
    if let Some((id, rdev)) = data {
        let owner = devfs::new_terminal(uid, rdev);
        zone.owners.set_for_now(&zone.shared, id, owner);
    }
}

/// utimensat.
pub fn utimens(
    zone: &Zone,
    caller: HostPid,
    [fd, word]: [u64; 2],
    times: [u64; 4],
) -> Result<i64, i32> {
    change(zone, caller, [fd, word], |target| match target {
        Target::File(file) => set_zone_times(zone, file, times),
        Target::Nameless(_) | Target::Other => Ok(0),
    })
}

fn set_zone_times(zone: &Zone, file: &OwnedFd, times: [u64; 4]) -> Result<i64, i32> {
    let [a, an, m, mn] = times.map(u64::cast_signed);
    let times = [
        libc::timespec {
            tv_sec: a,
            tv_nsec: an,
        },
        libc::timespec {
            tv_sec: m,
            tv_nsec: mn,
        },
    ];
    zone.owners.over_times(&zone.shared, file, || {
        set_times(file, &times).map_err(|errno| errno as i32)
    })?;
    Ok(0)
}

/// Set-id bits stay over what the zone's root is about to write, as far as nobody else may write it.
///
/// # Errors
/// Those of a descriptor that is not of what the zone may change.
pub fn keep_set_ids(zone: &Zone, caller: HostPid, fd: u64) -> Result<i64, i32> {
    let file = changeable(zone, caller, fd)?;
    let opened = reopen(&file, libc::O_RDONLY | libc::O_NONBLOCK)?;
    zone.owners
        .keep_set_ids(&zone.shared, &file, || running::is_not_written(&opened))?;
    Ok(0)
}

/// truncate: by name, since who watches is to see no open. Set-id bits go with it, or stay if they are to.
///
/// # Errors
/// As truncate(2). EAGAIN: it might wait.
pub fn truncate(
    zone: &Zone,
    caller: HostPid,
    fd: u64,
    length: u64,
    keeps: u64,
) -> Result<i64, i32> {
    let file = changeable(zone, caller, fd)?;
    let (_, mode) = identify(&file)?;
    match mode & libc::S_IFMT {
        libc::S_IFREG => {}
        libc::S_IFDIR => return Err(libc::EISDIR),
        _ => return Err(libc::EINVAL),
    }
    // Who holds a lease would make the monitor wait: then the guest opens the file itself.
    if zone.has_leases.load(Ordering::Acquire) {
        return Err(libc::EAGAIN);
    }
    let length = i64::try_from(length).map_err(|_| libc::EINVAL)?;
    let name = CString::new(own_path(&file).as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
    let cut = || {
        // SAFETY: the name is ours.
        let result = unsafe { libc::truncate(name.as_ptr(), length) };
        Errno::result(result)
            .map(drop)
            .map_err(|errno| errno as i32)
    };
    if keeps == 1 {
        zone.owners.over_times(&zone.shared, &file, cut)?;
    } else {
        cut()?;
    }
    xattrs::drop_capabilities(zone, &file);
    Ok(0)
}

/// Zone path of a descriptor.
pub fn path_of(zone: &Zone, caller: HostPid, fd: u64) -> Result<Vec<u8>, i32> {
    let number = low_int(fd);
    let host = host_path(caller, number)?;
    mounting::clone_of(zone, caller, number, &host)
        .or_else(|| zone.to_zone_path_from(&host, &roots::of_caller(zone, caller)))
        .ok_or(libc::ENOENT)
}

/// The errno of a failed operation.
pub fn errno(error: std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
