//! Root directories that guests take by chroot(2): see [`picozone_personality::roots`].

use super::files;
use super::guests;
use super::procfs::zone_process_of;
use super::zone::Zone;
use crate::ids::{HostPid, ZonePid};
use std::sync::Mutex;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// One writer at a time.
static WRITER: Mutex<()> = Mutex::new(());

/// The number of the root directory that a guest's descriptor names; 0 is the zone's own.
///
/// # Errors
/// EBADF, ENOENT: the zone cannot name it. ENAMETOOLONG. ENOMEM: too many are in use.
pub fn number(zone: &Zone, caller: HostPid, fd: u64) -> Result<i64, i32> {
    let path = files::path_of(zone, caller, fd)?;
    if path == b"/" {
        return Ok(0);
    }
    let _writer = WRITER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let roots = &zone.shared.tables().roots;
    let known = roots
        .iter()
        .position(|root| root.path() == Some(&path[..]))
        .or_else(|| roots.iter().position(|root| root.path().is_none()));
    let at = match known {
        Some(at) => at,
        None => unused(zone).ok_or(libc::ENOMEM)?,
    };
    if roots[at].path() != Some(&path[..]) {
        // SAFETY: we are the only writer, and nobody uses this number.
        let tables = unsafe { zone.shared.tables_mut() };
        if !tables.roots[at].set(&path) {
            return Err(libc::ENAMETOOLONG);
        }
    }
    i64::try_from(at + 1).map_err(|_| libc::ENOMEM)
}

/// A place whose number no process has.
fn unused(zone: &Zone) -> Option<usize> {
    let mut is_used = [false; picozone_personality::roots::ROOTS_MAX];
    for (process, _) in guests::all(&zone.shared, zone.init_pid()) {
        let number = number_of(zone, process);
        if let Some(used) = number.checked_sub(1).and_then(|at| is_used.get_mut(at)) {
            *used = true;
        }
    }
    is_used.iter().position(|used| !used)
}

fn number_of(zone: &Zone, process: ZonePid) -> usize {
    let all = &zone.shared.commons().processes;
    all.get(process.0 as usize)
        .map_or(0, |process| process.root.load(Relaxed) as usize)
}

/// The root directory of a process as a zone path; empty for the zone's own.
#[must_use]
pub fn of(zone: &Zone, process: ZonePid) -> Vec<u8> {
    let number = number_of(zone, process);
    let root = number
        .checked_sub(1)
        .and_then(|at| zone.shared.tables().roots.get(at));
    root.and_then(|root| root.path()).unwrap_or(b"").to_vec()
}

/// The same of a thread's process.
#[must_use]
pub fn of_caller(zone: &Zone, caller: HostPid) -> Vec<u8> {
    // Most zones never have one.
    if zone.shared.commons().chroots.load(Acquire) == 0 {
        return Vec::new();
    }
    zone_process_of(zone, caller).map_or_else(|_| Vec::new(), |process| of(zone, process))
}
