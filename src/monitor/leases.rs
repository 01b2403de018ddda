//! Leases (fcntl(2), `F_SETLEASE`) on a zone's own files.
//!
//! Who opens a leased file waits until its holder gives way, for as long as the host's
//! `fs.lease-break-time`. So no guest sets one by itself: on what a zone shares with others, it would
//! make those outside wait.

use super::descriptors::own_path;
use super::files::errno;
use super::zone::Zone;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Sets a lease on the open file description of a descriptor that a guest handed over.
///
/// # Errors
/// As fcntl(2); EINVAL for what is not the zone's alone.
pub fn set(zone: &Zone, file: &OwnedFd, kind: i32) -> Result<i64, i32> {
    let host = std::fs::read_link(own_path(file)).map_err(errno)?;
    let is_own = zone
        .run_dir
        .parent()
        .is_some_and(|own| host.starts_with(own));
    if !is_own || ![libc::F_RDLCK, libc::F_WRLCK].contains(&kind) {
        return Err(libc::EINVAL);
    }
    zone.has_leases.store(true, Ordering::Release);
    // SAFETY: F_SETLEASE takes a number.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    Errno::result(result)
        .map(i64::from)
        .map_err(|errno| errno as i32)
}
