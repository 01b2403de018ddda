//! The zone's processes, as the kernel and the commons tell.

use super::shared::Shared;
use crate::ids::{HostPid, ZonePid};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use picozone_personality::commons::{CLERK, state};
use picozone_personality::layout::THREAD_BIAS;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// Parent of a host process.
#[must_use]
pub fn parent_of(pid: u32) -> Option<u32> {
    let stat = crate::proc_text::read(format!("/proc/{pid}/stat")).ok()?;
    let behind = stat.get(stat.rfind(')')? + 2..)?;
    behind.split(' ').nth(1)?.parse().ok()
}

/// Whether `pid` descends from `init`: the kernel's word, which no guest can forge.
#[must_use]
pub fn is_in_zone(init: HostPid, pid: HostPid) -> bool {
    let mut at = pid.0;
    for _ in 0..4096 {
        if at == init.0 {
            return true;
        }
        match parent_of(at) {
            Some(next) if next > 1 => at = next,
            _ => return false,
        }
    }
    false
}

/// Host pid of a live process of the zone, verified.
#[must_use]
pub fn to_host(shared: &Shared, init: HostPid, zone: ZonePid) -> Option<HostPid> {
    let (process, host) = shared.commons().entry(zone.0)?;
    let is_live = process.state.load(Acquire) == state::LIVE;
    (is_live && host != 0 && is_in_zone(init, HostPid(host))).then_some(HostPid(host))
}

/// Host id of a process or thread of the zone, by the zone's number, verified.
#[must_use]
pub fn thread_to_host(shared: &Shared, init: HostPid, zone: ZonePid) -> Option<HostPid> {
    let Some(host) = zone.0.checked_sub(THREAD_BIAS).map(HostPid) else {
        return to_host(shared, init, zone);
    };
    is_in_zone(init, host).then_some(host)
}

/// Host id of a process group or session; its leader may be gone.
#[must_use]
pub fn group_to_host(shared: &Shared, zone: ZonePid) -> Option<HostPid> {
    let (process, host) = shared.commons().entry(zone.0)?;
    (process.state.load(Acquire) != state::FREE).then_some(HostPid(host))
}

/// The threads of a host process.
#[must_use]
pub fn threads_of(pid: HostPid) -> Vec<HostPid> {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(HostPid)
        .collect()
}

/// Zone pid of a host process.
#[must_use]
pub fn to_zone(shared: &Shared, host: HostPid) -> Option<ZonePid> {
    let zone = shared.commons().by_host.get(host.0 as usize)?.load(Acquire);
    if zone & CLERK != 0 && shared.tables().strict == 1 {
        return Some(ZonePid(zone & !CLERK));
    }
    let (_, of) = shared.commons().entry(zone)?;
    (of == host.0).then_some(ZonePid(zone))
}

/// Every live process of the zone. Marks the entries of those that ended without anybody noticing.
#[must_use]
pub fn all(shared: &Shared, init: HostPid) -> Vec<(ZonePid, HostPid)> {
    let numbers = shared.commons().numbers().map(ZonePid);
    numbers
        .filter_map(|zone| {
            let host = to_host(shared, init, zone);
            if host.is_none() {
                mark_if_gone(shared, zone);
            }
            Some((zone, host?))
        })
        .collect()
}

/// Whether nobody has a host id any more.
#[must_use]
pub fn is_gone(host: HostPid) -> bool {
    kill(Pid::from_raw(host.0.cast_signed()), None) == Err(Errno::ESRCH)
}

/// A process whose parent was killed as it reaped it, or that the kernel reaped by itself, still
/// counts as alive in the table.
fn mark_if_gone(shared: &Shared, zone: ZonePid) {
    let Some((process, host)) = shared.commons().entry(zone.0) else {
        return;
    };
    if process.state.load(Acquire) == state::LIVE && is_gone(HostPid(host)) {
        let _ = process
            .state
            .compare_exchange(state::LIVE, state::DEAD, AcqRel, Relaxed);
    }
}

/// Children of a host process, its threads' included.
fn children_of(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Every descendant of a process.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut all = children_of(pid);
    let mut at = 0;
    while let Some(&next) = all.get(at) {
        all.extend(children_of(next));
        at += 1;
    }
    all
}
