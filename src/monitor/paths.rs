//! Zone paths, opened by the monitor itself beneath the zone's mounts.

use super::descriptors::own_path;
use super::layers;
use super::zone::Zone;
use picozone_fsmap::{
    Bounds, Error as PathError, LINKS_MAX, Last, MountRow, Mounts, PathBuf, Resolved, Tree,
    is_stand_in, resolve,
};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS`.
const BENEATH: u64 = 0x08 | 0x02;

/// The monitor's own confined view of the zone's trees.
struct Trees<'a>(&'a Zone);

fn openat2(directory: &OwnedFd, path: &CStr, flags: i32) -> Result<OwnedFd, i32> {
    let how = [u64::from(flags.unsigned_abs()), 0u64, BENEATH];
    // SAFETY: path and structure are ours.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            directory.as_raw_fd(),
            path.as_ptr(),
            how.as_ptr(),
            24,
        )
    };
    if fd < 0 {
        return Err(last_error());
    }
    let fd = i32::try_from(fd).map_err(|_| libc::EMFILE)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn last_error() -> i32 {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

fn path_error(errno: i32) -> PathError {
    PathError(u16::try_from(errno).unwrap_or(5))
}

/// The target of a link, by its `O_PATH` descriptor; `None` if it is no link.
fn target<'b>(node: &OwnedFd, to: &'b mut [u8]) -> Result<Option<&'b [u8]>, i32> {
    // SAFETY: the buffer is ours, of that length.
    let got = unsafe {
        libc::readlinkat(
            node.as_raw_fd(),
            c"".as_ptr(),
            to.as_mut_ptr().cast(),
            to.len(),
        )
    };
    match usize::try_from(got) {
        Ok(length) => Ok(to.get(..length)),
        // readlinkat(2) answers so for an empty name on what is no link.
        Err(_) if last_error() == libc::ENOENT => Ok(None),
        Err(_) => Err(last_error()),
    }
}

impl Tree for Trees<'_> {
    type Node = OwnedFd;
    fn open_path(&mut self, mount: usize, rel: &PathBuf) -> Result<OwnedFd, PathError> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        open_beneath(self.0, mount, rel.as_bytes(), flags).map_err(path_error)
    }
    fn readlink(&mut self, node: &OwnedFd, to: &mut [u8]) -> Result<usize, PathError> {
        match target(node, to) {
            Ok(Some(text)) => Ok(text.len()),
            Ok(None) => Err(PathError::EINVAL),
            Err(errno) => Err(path_error(errno)),
        }
    }
    fn is_dir(&mut self, node: &OwnedFd) -> Result<bool, PathError> {
        let data = nix::sys::stat::fstat(node).map_err(|errno| path_error(errno as i32))?;
        Ok(data.st_mode & libc::S_IFMT == libc::S_IFDIR)
    }
    fn close(&mut self, node: OwnedFd) {
        drop(node);
    }
}

/// Whether a name is a single component, and none that leads to its directory or out of it.
#[must_use]
pub fn is_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/')
}

/// Opens what lies beneath the top of a row of the mount table.
///
/// # Errors
/// Those of open(2).
pub fn open_beneath(zone: &Zone, row: usize, rel: &[u8], flags: i32) -> Result<OwnedFd, i32> {
    let mount = zone.mount(row).ok_or(libc::ENOENT)?;
    let mut name = PathBuf::new();
    Mounts(zone.rows())
        .beneath(row, rel, &mut name)
        .map_err(errno)?;
    let open = || openat2(&mount.directory, name.as_c_str(), flags | libc::O_CLOEXEC);
    layers::open_end(zone, &mount.directory, name.as_bytes(), flags, open)
}

/// Opens what an added row shows of a mount.
///
/// # Errors
/// Those of open(2).
pub fn open_sub(mount: &super::mounts::Mount, row: &MountRow) -> Result<OwnedFd, i32> {
    let mut name = PathBuf::from_bytes(row.sub()).map_err(errno)?;
    if name.is_empty() {
        name.set(b".").map_err(errno)?;
    }
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    openat2(&mount.directory, name.as_c_str(), flags)
}

/// Opens a zone path from the link-free directory `at`, and tells its form free of links too. `root`
/// is the asking process' root directory, empty for the zone's.
///
/// # Errors
/// Those of path resolution and of open(2); EACCES for what the monitor serves.
pub fn open_resolved(
    zone: &Zone,
    root: &[u8],
    at: &[u8],
    path: &[u8],
    flags: i32,
) -> Result<(OwnedFd, Vec<u8>), i32> {
    if root.is_empty()
        && path.first() == Some(&b'/')
        && let Some(found) = open_at_once(zone, path, flags)?
    {
        return Ok(found);
    }
    let (found, buffer) = follow(zone, root, at, path)?;
    if found.is_monitor {
        return Err(libc::EACCES);
    }
    if !found.exists {
        return Err(libc::ENOENT);
    }
    let rest = buffer.as_bytes().get(found.rel..).unwrap_or(b"");
    let fd = open_beneath(zone, found.mount, rest, flags | libc::O_NOFOLLOW)?;
    Ok((fd, buffer.as_bytes().to_vec()))
}

/// The path in a mount that the monitor serves to which a zone path leads, if it leads into one.
#[must_use]
pub fn served(zone: &Zone, root: &[u8], at: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let (found, buffer) = follow(zone, root, at, path).ok()?;
    found.is_monitor.then(|| buffer.as_bytes().to_vec())
}

/// Walks a zone path to its end: what is there, and its path in the zone.
fn follow(zone: &Zone, root: &[u8], at: &[u8], path: &[u8]) -> Result<(Resolved, PathBuf), i32> {
    let mut buffer = PathBuf::from_bytes(at).map_err(errno)?;
    let bounds = Bounds {
        root,
        ..Bounds::default()
    };
    let mounts = Mounts(zone.rows());
    let found = resolve(
        &mounts,
        &mut Trees(zone),
        &bounds,
        &mut buffer,
        path,
        Last::Follow,
    )
    .map_err(errno)?;
    Ok((found, buffer))
}

/// The short way for absolute paths: the kernel walks beneath the mount that the text names, and only
/// a link at the very end may lead elsewhere. `None` where this does not suffice.
fn open_at_once(zone: &Zone, path: &[u8], flags: i32) -> Result<Option<(OwnedFd, Vec<u8>)>, i32> {
    let mounts = Mounts(zone.rows());
    let (mut path, mut name) = (PathBuf::from_bytes(path).map_err(errno)?, PathBuf::new());
    for _ in 0..LINKS_MAX {
        let (row, rest) = mounts.find(path.as_bytes());
        let Some(mount) = zone.mount(row) else {
            return Ok(None);
        };
        let is_long_way = |row: &MountRow| row.is_monitor() || row.is_added();
        if zone.rows().get(row).is_none_or(is_long_way) {
            return Ok(None);
        }
        mounts.beneath(row, rest, &mut name).map_err(errno)?;
        match openat2(&mount.directory, name.as_c_str(), flags | libc::O_CLOEXEC) {
            Ok(fd) => {
                let host = std::fs::read_link(own_path(&fd)).map_err(|_| libc::EIO)?;
                let resolved = zone.to_zone_path(host.as_os_str().as_bytes());
                return Ok(resolved.map(|resolved| (fd, resolved)));
            }
            Err(libc::EXDEV) => {}
            Err(libc::EAGAIN | libc::ELOOP) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let last = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let Ok(node) = openat2(&mount.directory, name.as_c_str(), last) else {
            return Ok(None);
        };
        let data = nix::sys::stat::fstat(&node).map_err(|errno| errno as i32)?;
        if mounts.is_placeholder(data.st_dev, data.st_ino).is_some() {
            return Ok(None);
        }
        let mut text = [0; picozone_fsmap::PATH_MAX];
        match target(&node, &mut text)? {
            Some(text) if is_stand_in(text) => return Ok(None),
            Some(text) if text.first() == Some(&b'/') => path.set(text).map_err(errno)?,
            _ => return Ok(None),
        }
    }
    Err(libc::ELOOP)
}

fn errno(error: PathError) -> i32 {
    i32::from(error.0)
}

/// Opens an absolute zone path in the zone's trees.
///
/// # Errors
/// Those of path resolution and of open(2).
pub fn open_in_zone(zone: &Zone, path: &[u8], flags: i32) -> Result<OwnedFd, i32> {
    open_resolved(zone, b"", b"/", path, flags).map(|(fd, _)| fd)
}

/// The same from a directory of the zone, for a process with that root directory.
///
/// # Errors
/// As of [`open_in_zone`].
pub fn open_at(
    zone: &Zone,
    root: &[u8],
    at: &[u8],
    path: &[u8],
    flags: i32,
) -> Result<OwnedFd, i32> {
    open_resolved(zone, root, at, path, flags).map(|(fd, _)| fd)
}
