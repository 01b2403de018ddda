//! umount2(2), and whether something is in use.

use super::rows::{give_back, put, row_of, settle};
use super::{State, lies_in, spot, top};
use crate::ids::HostPid;
use crate::monitor::guests;
use crate::monitor::zone::Zone;
use picozone_fsmap::MountRow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Serves [`Request::Umount`](picozone_personality::mailbox::Request::Umount): takes away what is
/// mounted at a zone path.
///
/// # Errors
/// As umount2(2).
pub fn umount(zone: &Zone, caller: HostPid, target: &[u8], flags: u64) -> Result<i64, i32> {
    const MNT_DETACH: u64 = 2;
    const MNT_EXPIRE: u64 = 4;
    let target = &spot(zone, caller, target)?.path[..];
    let mut state = zone.mounting.state();
    let at = top(zone, target)?;
    let row = *zone.rows().get(at).ok_or(libc::EINVAL)?;
    if !row.is_added() {
        // It belongs to the zone's configuration.
        return Err(libc::EBUSY);
    }
    let is_lazy = flags & MNT_DETACH != 0;
    let mut inner: Vec<u32> = state
        .added
        .iter()
        .map(|added| row_of(zone, added))
        .filter(|other| {
            other.order > row.order && other.prefix() != target && lies_in(other.prefix(), target)
        })
        .map(|other| other.order)
        .collect();
    // By which of its names something is open nobody can tell.
    let is_idle = row.is_monitor() || row.is_second != 0 || !is_used(zone, row.host());
    if !is_lazy && (!inner.is_empty() || !is_idle) {
        return Err(libc::EBUSY);
    }
    if flags & MNT_EXPIRE != 0 {
        let mut all = state.added.iter_mut();
        let added = all.find(|added| row_of(zone, added).order == row.order);
        let added = added.ok_or(libc::EINVAL)?;
        if !std::mem::replace(&mut added.is_expired, true) {
            return Err(libc::EAGAIN);
        }
    }
    inner.sort_unstable();
    for order in inner.into_iter().rev().chain([row.order]) {
        take_away(zone, &mut state, order);
    }
    settle(zone, &state);
    Ok(0)
}

pub(super) fn take_away(zone: &Zone, state: &mut State, order: u32) {
    let mut all = state.added.iter();
    let Some(index) = all.position(|added| row_of(zone, added).order == order) else {
        return;
    };
    let added = state.added.remove(index);
    let row = row_of(zone, &added);
    put(zone, added.slot, &MountRow::EMPTY);
    if let Some(cover) = &added.cover {
        give_back(zone, state, row.prefix(), cover);
    }
    let Some(name) = added.temporary else { return };
    // Binds of it keep it.
    let path = zone.mounting.store.path_of(&name);
    let path = path.as_os_str().as_bytes();
    match state
        .added
        .iter_mut()
        .find(|other| lies_in(row_of(zone, other).host(), path))
    {
        Some(other) if other.temporary.is_none() => other.temporary = Some(name),
        Some(_) => {}
        None => zone.mounting.store.remove_temporary(&name),
    }
}

/// Whether a process of the zone has something open at or beneath a host path, or works there.
fn is_used(zone: &Zone, host: &[u8]) -> bool {
    any_link(zone, |text, _| lies_in(text, host))
}

/// Whether a process has a file open for writing there.
pub(super) fn is_written(zone: &Zone, host: &[u8]) -> bool {
    any_link(zone, |text, info| {
        lies_in(text, host)
            && info.is_some_and(|info| {
                let text = std::fs::read_to_string(info).unwrap_or_default();
                let mut lines = text.lines();
                let flags = lines.find_map(|line| line.strip_prefix("flags:"));
                let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
                flags.is_some_and(|flags| {
                    flags & libc::O_ACCMODE != libc::O_RDONLY && flags & libc::O_PATH == 0
                })
            })
    })
}

/// Whether a link of a process of the zone is such: its working directory, its descriptors.
pub(super) fn any_link(zone: &Zone, is_such: impl Fn(&[u8], Option<&Path>) -> bool) -> bool {
    guests::all(&zone.shared, zone.init_pid())
        .into_iter()
        .any(|(_, pid)| {
            let base = Path::new("/proc").join(pid.to_string());
            let is_link = |path: &Path, info: Option<&Path>| {
                std::fs::read_link(path)
                    .is_ok_and(|text| is_such(text.as_os_str().as_bytes(), info))
            };
            let descriptors = std::fs::read_dir(base.join("fd")).into_iter().flatten();
            is_link(&base.join("cwd"), None)
                || descriptors.flatten().any(|entry| {
                    is_link(
                        &entry.path(),
                        Some(&base.join("fdinfo").join(entry.file_name())),
                    )
                })
        })
}
