//! Watches of inotify(7), added to the guests' own descriptors.

use super::descriptors::{open_path, own_path};
use super::files::{errno, low_int};
use super::procfs;
use super::zone::Zone;
use crate::ids::HostPid;
use nix::sys::memfd::{MFdFlags, memfd_create};
use picozone_fsmap::Mounts;
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering::Release;
use std::sync::{Mutex, PoisonError};

/// How many things of which nothing is told can be watched in a zone.
const SILENT_MAX: usize = 64;

/// Files in memory, watched in place of what is none of the zone's own: files of `/proc` and `/dev`, pipes,
/// devices, which others outside the zone use too. By the names of those, so that each has one watch.
#[derive(Default)]
pub struct Silent(Mutex<HashMap<Vec<u8>, OwnedFd>>);

impl Silent {
    /// Watches nothing in place of what has this name.
    fn add(&self, watcher: &OwnedFd, name: Vec<u8>, mask: u32) -> Result<i64, i32> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(&name) {
            if all.len() >= SILENT_MAX {
                return Err(libc::ENOSPC);
            }
            let file = memfd_create(c"watched", MFdFlags::MFD_CLOEXEC);
            all.insert(name.clone(), file.map_err(|errno| errno as i32)?);
        }
        let file = all.get(&name).ok_or(libc::ENOSPC)?;
        // Whether it is a directory was looked at before.
        watch(watcher, file, mask & !libc::IN_ONLYDIR)
    }
}

/// Adds a watch of what a guest's descriptor names. What is not the zone's own tells nothing.
///
/// # Errors
/// As inotify_add_watch(2).
pub fn add(
    zone: &Zone,
    caller: HostPid,
    watcher: &OwnedFd,
    fd: u64,
    mask: i32,
) -> Result<i64, i32> {
    let file = open_path(caller, low_int(fd))?;
    let host = std::fs::read_link(own_path(&file)).map_err(errno)?;
    let mask = mask.cast_unsigned();
    if !is_own(zone, &host) {
        let name = procfs::to_zone_text(zone, host.as_os_str().as_bytes());
        let name = name.unwrap_or_else(|| procfs::UNREACHABLE.to_vec());
        return zone.silent.add(watcher, name, mask);
    }
    zone.shared.tables().watched.store(1, Release);
    watch(watcher, &file, mask)
}

/// Whether a path of the host is one of the zone's files, and none that the monitor serves.
fn is_own(zone: &Zone, host: &Path) -> bool {
    let Some(path) = zone.to_zone_path(host.as_os_str().as_bytes()) else {
        return false;
    };
    let (row, _) = Mounts(zone.rows()).find(&path);
    zone.rows().get(row).is_some_and(|row| !row.is_monitor())
}

fn watch(watcher: &OwnedFd, file: &OwnedFd, mask: u32) -> Result<i64, i32> {
    let name = CString::new(own_path(file).as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
    // The descriptor's own entry of /proc is followed, and nothing behind it.
    let mask = mask & !libc::IN_DONT_FOLLOW;
    // SAFETY: the path is ours.
    let watch = unsafe { libc::inotify_add_watch(watcher.as_raw_fd(), name.as_ptr(), mask) };
    if watch < 0 {
        Err(errno(std::io::Error::last_os_error()))
    } else {
        Ok(i64::from(watch))
    }
}
