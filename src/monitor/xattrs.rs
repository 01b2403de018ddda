//! Extended attributes of a zone's files, as [`names`](crate::ownership::names) says where they are.
//! What can have no attributes on the host, links and special files, has them in the ownership store
//! ([`kept`](crate::ownership::kept)), as all files have their access control lists.

use super::descriptors::{open_path, own_path};
use super::files::{self, changeable, errno, low_int};
use super::lists;
use super::owners::{self, FileId, identify};
use super::procfs;
use super::zone::Zone;
use crate::ids::HostPid;
use crate::ownership::names::{to_host, to_zone};
use picozone_personality::absent::{ANY, Attribute};
use picozone_personality::acl::Kind;
use picozone_personality::mailbox::TEXT_MAX;
use picozone_personality::mailbox::xattr::{CLEARS_SET_GID, is_kept};
use picozone_personality::tables::IS_CAPABLE;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

const CAPABILITIES: &[u8] = b"security.capability";
/// Most bytes of names that a file may have (`XATTR_LIST_MAX`).
const LIST_MAX: usize = 65536;

/// A file of the zone, with a name by which the monitor's calls reach it, a link itself included.
struct Target {
    /// The name holds as long as this is open.
    file: OwnedFd,
    name: CString,
    /// Whether it may have attributes that only the zone's root sets: what is not the zone's to change
    /// has none from it, though another zone's root may have set some.
    has_kept: bool,
}

impl Target {
    fn new(file: OwnedFd, has_kept: bool) -> Result<Target, i32> {
        let name =
            CString::new(own_path(&file).as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
        Ok(Target {
            file,
            name,
            has_kept,
        })
    }

    /// Which file it is, if the host lets it have no attributes.
    fn special(&self) -> Result<Option<FileId>, i32> {
        let (id, mode) = identify(&self.file)?;
        let is_plain = matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR);
        Ok((!is_plain).then_some(id))
    }

    /// Has the kernel note a change of what is kept elsewhere.
    fn renew(&self) -> Result<i64, i32> {
        let data = nix::sys::stat::fstat(&self.file).map_err(|errno| errno as i32)?;
        files::renew(&self.file, data.st_uid, data.st_gid);
        Ok(0)
    }

    /// One that the zone may change.
    fn to_change(zone: &Zone, caller: HostPid, fd: u64) -> Result<Target, i32> {
        match files::Target::find(zone, caller, fd)? {
            files::Target::File(file) => Target::new(file, true),
            files::Target::Nameless(file) if is_in_memory(&file)? => Target::new(file, true),
            // What is no file has no attributes.
            files::Target::Nameless(_) | files::Target::Other => Err(libc::EOPNOTSUPP),
        }
    }

    /// One that the zone may look at.
    fn to_read(zone: &Zone, caller: HostPid, fd: u64) -> Result<Target, i32> {
        let file = open_path(caller, low_int(fd))?;
        let host = std::fs::read_link(own_path(&file)).map_err(errno)?;
        let host = host.as_os_str().as_bytes();
        let host = host.strip_suffix(b" (deleted)").unwrap_or(host);
        let is_in_memory = is_in_memory(&file)?;
        if zone.to_zone_path(host).is_none() && !is_in_memory {
            return Err(libc::EOPNOTSUPP);
        }
        Target::new(file, is_in_memory || zone.is_writable(host))
    }
}

/// Whether it is a file that a guest has made in memory (memfd_create(2)).
fn is_in_memory(file: &OwnedFd) -> Result<bool, i32> {
    let host = std::fs::read_link(own_path(file)).map_err(errno)?;
    let name = host.as_os_str().as_bytes().strip_prefix(b"/memfd:");
    let is_gone = nix::sys::stat::fstat(file).is_ok_and(|data| data.st_nlink == 0);
    Ok(is_gone && name.is_some_and(|name| !procfs::is_content_name(name)))
}

/// The kernel's result, or its errno.
fn checked(result: isize) -> Result<usize, i32> {
    usize::try_from(result).map_err(|_| errno(std::io::Error::last_os_error()))
}

/// Sets an attribute.
///
/// # Errors
/// As setxattr(2).
pub fn set(
    zone: &Zone,
    caller: HostPid,
    fd: u64,
    name: &[u8],
    value: &[u8],
    flags: i32,
) -> Result<i64, i32> {
    if let Some(kind) = Kind::of(name) {
        let target = files::Target::find(zone, caller, fd)?;
        return lists::set(zone, &target, kind, value, flags & CLEARS_SET_GID != 0);
    }
    let target = Target::to_change(zone, caller, fd)?;
    if let Some(id) = target.special()? {
        must_be_kept(name)?;
        let change = zone.owners.kept.set(id, name, value, flags)?;
        zone.owners.keep(change)?;
        return target.renew();
    }
    let is_capability = name == CAPABILITIES && !is_in_memory(&target.file)?;
    let name = to_host(name).ok_or(libc::EPERM)?;
    if is_capability {
        // Before it has any, so that none is overlooked.
        mark_capable(zone, &target.file, true)?;
    }
    // SAFETY: names and value are ours, the length is the value's.
    let result = unsafe {
        libc::setxattr(
            target.name.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            flags,
        )
    };
    checked(result as isize).map(|_| 0)
}

/// EPERM for what special files have none of.
fn must_be_kept(name: &[u8]) -> Result<(), i32> {
    if is_kept(name) {
        Ok(())
    } else {
        Err(libc::EPERM)
    }
}

/// The value of an attribute.
///
/// # Errors
/// As getxattr(2); E2BIG for one that a mailbox has no room for.
pub fn get(zone: &Zone, caller: HostPid, fd: u64, name: &[u8]) -> Result<Vec<u8>, i32> {
    let target = Target::to_read(zone, caller, fd)?;
    if let Some(kind) = Kind::of(name) {
        let (id, _) = identify(&target.file)?;
        return lists::get(zone, id, kind).ok_or(libc::ENODATA);
    }
    if let Some(id) = target.special()? {
        return zone.owners.kept.get(id, name);
    }
    if is_kept(name) && !target.has_kept {
        return Err(libc::ENODATA);
    }
    let host = to_host(name).ok_or(libc::ENODATA)?;
    let mut value = vec![0; TEXT_MAX];
    // SAFETY: names and buffer are ours, the length is the buffer's.
    let got = checked(unsafe {
        libc::getxattr(
            target.name.as_ptr(),
            host.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    });
    if got == Err(libc::ENODATA) {
        note_absent(zone, &target.file, name);
    }
    value.truncate(got.map_err(too_long)?);
    Ok(value)
}

/// Spares guests the question, where the file is as it was for a while: what changes twice at one time
/// has one ctime.
fn note_absent(zone: &Zone, file: &OwnedFd, name: &[u8]) {
    const WHILE: u64 = 2;
    let Ok(data) = nix::sys::stat::fstat(file) else {
        return;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let [seconds, nanoseconds] = [data.st_ctime, data.st_ctime_nsec].map(i64::cast_unsigned);
    if seconds.saturating_add(WHILE) < now {
        let file = [data.st_dev, data.st_ino, seconds, nanoseconds];
        let absent = &zone.shared.tables().absent;
        absent.note(Attribute::new(file, name));
    }
}

/// The capabilities of a program's file, if it has any (`security.capability`).
pub fn capabilities_of(zone: &Zone, file: &File) -> Option<Vec<u8>> {
    let host = std::fs::read_link(own_path(file)).ok()?;
    // What the zone does not own, it has set nothing of.
    zone.is_writable(host.as_os_str().as_bytes())
        .then_some(())?;
    let name = to_host(CAPABILITIES)?;
    let mut value = vec![0; 64];
    // SAFETY: the name and the buffer are ours, the length is the buffer's.
    let got = checked(unsafe {
        libc::fgetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    });
    value.truncate(got.ok()?);
    Some(value)
}

/// Marks a file that has capabilities, or takes the mark away.
fn mark_capable(zone: &Zone, file: &OwnedFd, is_capable: bool) -> Result<(), i32> {
    let found = owners::found(zone, file)?;
    let old = zone.owners.marks(&zone.shared, found.id);
    let new = old & !IS_CAPABLE | if is_capable { IS_CAPABLE } else { 0 };
    if new != old {
        zone.owners.mark(&zone.shared, found.id, found.owner, new)?;
    }
    Ok(())
}

/// Takes the capabilities from a file whose owner or content changes.
pub fn drop_capabilities(zone: &Zone, file: &OwnedFd) {
    if zone.shared.tables().capable.load(Relaxed) == 0 {
        return;
    }
    let path = CString::new(own_path(file).as_os_str().as_bytes());
    if let (Ok(path), Some(name)) = (path, to_host(CAPABILITIES)) {
        // SAFETY: the names are ours. Mostly there are none to take.
        let removed = unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) };
        if removed == 0 {
            let _ = mark_capable(zone, file, false);
        }
    }
}

/// The same of a guest's descriptor.
///
/// # Errors
/// It is of nothing that the zone may change.
pub fn capabilities_lost(zone: &Zone, caller: HostPid, fd: u64) -> Result<i64, i32> {
    drop_capabilities(zone, &changeable(zone, caller, fd)?);
    Ok(0)
}

fn too_long(errno: i32) -> i32 {
    if errno == libc::ERANGE {
        libc::E2BIG
    } else {
        errno
    }
}

/// The names of a file's attributes, each with its NUL.
///
/// # Errors
/// As listxattr(2).
pub fn list(zone: &Zone, caller: HostPid, fd: u64, has_trusted: bool) -> Result<Vec<u8>, i32> {
    let target = match Target::to_read(zone, caller, fd) {
        Err(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let (id, mode) = identify(&target.file)?;
    let mut names = lists::names(zone, id);
    if !matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR) {
        let mut others = zone.owners.kept.names(id);
        others.retain(|name| Kind::of(name).is_none());
        if others.is_empty() {
            note_absent(zone, &target.file, ANY);
        }
        names.extend(others);
        return listed(&names, has_trusted);
    }
    let mut host = vec![0u8; LIST_MAX];
    // SAFETY: the name and the buffer are ours, the length is the buffer's.
    let got = checked(unsafe {
        libc::listxattr(target.name.as_ptr(), host.as_mut_ptr().cast(), host.len())
    });
    host.truncate(got.map_err(too_long)?);
    let shown = host.split(|&byte| byte == 0).filter_map(to_zone);
    if shown.clone().next().is_none() {
        note_absent(zone, &target.file, ANY);
    }
    let shown = shown.filter(|name| target.has_kept || !is_kept(name));
    names.extend(shown.map(<[u8]>::to_vec));
    listed(&names, has_trusted)
}

fn listed(all: &[Vec<u8>], has_trusted: bool) -> Result<Vec<u8>, i32> {
    let mut names = Vec::new();
    for name in all {
        if has_trusted || !name.starts_with(b"trusted.") {
            names.extend_from_slice(name);
            names.push(0);
        }
    }
    if names.len() > TEXT_MAX {
        return Err(libc::E2BIG);
    }
    Ok(names)
}

/// Takes an attribute away.
///
/// # Errors
/// As removexattr(2).
pub fn remove(zone: &Zone, caller: HostPid, fd: u64, name: &[u8]) -> Result<i64, i32> {
    if Kind::of(name).is_some() {
        return set(zone, caller, fd, name, b"", 0);
    }
    let target = Target::to_change(zone, caller, fd)?;
    if let Some(id) = target.special()? {
        must_be_kept(name)?;
        let change = zone.owners.kept.remove(id, name)?;
        zone.owners.keep(change)?;
        return target.renew();
    }
    let name = to_host(name).ok_or(libc::EPERM)?;
    // SAFETY: the names are ours.
    let result = unsafe { libc::removexattr(target.name.as_ptr(), name.as_ptr()) };
    checked(result as isize).map(|_| 0)
}
