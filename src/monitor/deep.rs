//! Files whose path on the host is longer than any path may be: the kernel does not tell it. There a
//! guest names the directory, too, and the way up from that is gone. Guests go no such way themselves: a
//! `..` could lead them out of a mount.

use super::descriptors::{open_path, own_host_path, own_path};
use super::files::{errno, low_int};
use super::layers::rights::as_guest;
use super::zone::Zone;
use crate::ids::HostPid;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat};
use picozone_fsmap::Mounts;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirEntryExt, MetadataExt};

/// Most directories above a file.
const DEPTH_MAX: usize = 4096;
/// Most entries of a directory that are looked through.
const ENTRIES_MAX: usize = 100_000;

/// How a directory above is opened.
const UP: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

const fn id(data: &FileStat) -> (u64, u64) {
    (data.st_dev, data.st_ino)
}

/// Whether a file lies where the zone may change things, `beside` being the guest's descriptor of its
/// directory; of a directory it has no meaning.
///
/// # Errors
/// ENAMETOOLONG: it is not there. What the kernel says.
pub fn is_writable(zone: &Zone, caller: HostPid, file: &OwnedFd, beside: u64) -> Result<bool, i32> {
    let data = fstat(file).map_err(|errno| errno as i32)?;
    let is_directory = data.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let directory = if is_directory {
        file.try_clone().map_err(errno)?
    } else {
        let directory = open_path(caller, low_int(beside))?;
        if !holds(&directory, &data)? {
            return Err(libc::ENAMETOOLONG);
        }
        directory
    };
    climb(zone, directory)
}

/// Whether an entry of a directory is that file.
fn holds(directory: &OwnedFd, file: &FileStat) -> Result<bool, i32> {
    let entries = std::fs::read_dir(own_path(directory)).map_err(errno)?;
    let mut entries = entries.take(ENTRIES_MAX).flatten();
    Ok(entries.any(|entry| {
        let is_it = |data: std::fs::Metadata| (data.dev(), data.ino()) == id(file);
        entry.ino() == file.st_ino && entry.metadata().is_ok_and(is_it)
    }))
}

/// The directory above a guest's own, whose path on the host is not told, if it lies in a mount of the
/// zone's.
///
/// Whoever moves a directory meanwhile finds what was above it before; the zone itself moves nothing out of
/// its mounts.
///
/// # Errors
/// EXDEV: the path is told. ENOENT: it does not lie in the zone. EBADF; what openat(2) says.
pub fn above(zone: &Zone, caller: HostPid, fd: u64) -> Result<OwnedFd, i32> {
    let here = open_path(caller, low_int(fd))?;
    match own_host_path(&here) {
        Err(libc::ENAMETOOLONG) => {}
        Ok(_) => return Err(libc::EXDEV),
        Err(errno) => return Err(errno),
    }
    // The kernel installs no descriptor that only names.
    let listed = UP.difference(OFlag::O_PATH);
    let above = as_guest(|| openat(&here, "..", listed, Mode::empty()));
    let above = above.map_err(|errno| errno as i32)?;
    let mut top = above.try_clone().map_err(errno)?;
    for _ in 0..DEPTH_MAX {
        match own_host_path(&top) {
            Ok(path) => {
                let mounts = Mounts(zone.rows());
                let row = mounts.find_host(&path).map(|(row, _)| row);
                let is_seen = row.is_some_and(|row| !row.is_monitor() && !row.is_below());
                return if is_seen {
                    Ok(above)
                } else {
                    Err(libc::ENOENT)
                };
            }
            Err(libc::ENAMETOOLONG) => {}
            Err(errno) => return Err(errno),
        }
        top = openat(&top, "..", UP, Mode::empty()).map_err(|errno| errno as i32)?;
    }
    Err(libc::ENOENT)
}

/// Goes up to the first directory that a mount shows.
fn climb(zone: &Zone, mut directory: OwnedFd) -> Result<bool, i32> {
    for _ in 0..DEPTH_MAX {
        let here = fstat(&directory).map_err(|errno| errno as i32)?;
        let is_top = |row: &&picozone_fsmap::MountRow| (row.root_dev, row.root_ino) == id(&here);
        // As `Zone::is_writable`.
        let mut rows = zone.rows().iter().filter(|row| row.is_second == 0);
        if let Some(row) = rows.find(is_top) {
            return Ok(row.read_only == 0 && !row.is_monitor());
        }
        let above = openat(&directory, "..", UP, Mode::empty()).map_err(|errno| errno as i32)?;
        let is_root = fstat(&above).is_ok_and(|above| id(&above) == id(&here));
        if is_root {
            break;
        }
        directory = above;
    }
    Ok(false)
}
