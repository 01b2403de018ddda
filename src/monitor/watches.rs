//! Watches of inotify(7), added to the guests' own descriptors.

use super::descriptors::{open_path, own_path};
use super::files::{errno, low_int};
use super::zone::Zone;
use crate::ids::HostPid;
use picozone_fsmap::Mounts;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering::Release;

/// Adds a watch of what a guest's descriptor names, which must be the zone's.
///
/// # Errors
/// As inotify_add_watch(2); EACCES for what the monitor serves.
pub fn add(
    zone: &Zone,
    caller: HostPid,
    watcher: &OwnedFd,
    fd: u64,
    mask: i32,
) -> Result<i64, i32> {
    let file = open_path(caller, low_int(fd))?;
    let host = std::fs::read_link(own_path(&file)).map_err(errno)?;
    let path = zone
        .to_zone_path(host.as_os_str().as_bytes())
        .ok_or(libc::EACCES)?;
    let (row, _) = Mounts(zone.rows()).find(&path);
    if zone.rows().get(row).is_none_or(|row| row.is_monitor()) {
        return Err(libc::EACCES);
    }
    let name = CString::new(own_path(&file).as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
    zone.shared.tables().watched.store(1, Release);
    // The descriptor's own entry of /proc is followed, and nothing behind it.
    let mask = mask.cast_unsigned() & !libc::IN_DONT_FOLLOW;
    // SAFETY: the path is ours.
    let watch = unsafe { libc::inotify_add_watch(watcher.as_raw_fd(), name.as_ptr(), mask) };
    if watch < 0 {
        Err(errno(std::io::Error::last_os_error()))
    } else {
        Ok(i64::from(watch))
    }
}
