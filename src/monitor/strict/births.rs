//! Clients that are being born: their numbers, and how each is known as its parent's child.

use super::super::guests;
use super::super::zone::Zone;
use super::lock;
use crate::ids::{HostPid, ZonePid};
use hashbrown::HashMap;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use picozone_personality::commons::{FEW_GROUPS, Process, ZONE_PID_LIMIT, ZONE_PID_RESTART, state};
use picozone_personality::limits;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

struct Birth {
    /// What only the parent and its child can know, as it lies in the parent's own memory.
    token: u64,
    parent: HostPid,
    begun: Instant,
}

/// How long a child may take to its first step after its parent has gone.
const LONGEST: Duration = Duration::from_secs(60);

/// The births under way, by the number that the child is to have.
#[derive(Default)]
pub struct Births(Mutex<HashMap<u32, Birth>>);

impl Births {
    /// Gives a number to a child of `parent`; its token goes to the mailbox of `tid`.
    pub fn begin(
        &self,
        zone: &Zone,
        tid: u32,
        parent: ZonePid,
        leader: HostPid,
    ) -> Result<i64, i32> {
        let mut births = lock(&self.0);
        let number = allocate(zone).ok_or(libc::EAGAIN)?;
        let all = &zone.shared.commons().processes;
        let (Some(child), Some(own)) = (all.get(number as usize), all.get(parent.0 as usize))
        else {
            return Err(libc::EAGAIN);
        };
        inherit(zone, (number, child), (parent, own));
        let mut token = [0; 8];
        // SAFETY: the buffer is as long as is said.
        let got = unsafe { libc::getrandom(token.as_mut_ptr().cast(), token.len(), 0) };
        if got != 8 {
            return Err(libc::EAGAIN);
        }
        births.retain(|_, birth| {
            birth.begun.elapsed() < LONGEST || kill(raw(birth.parent), None) != Err(Errno::ESRCH)
        });
        births.insert(
            number,
            Birth {
                token: u64::from_ne_bytes(token),
                parent: leader,
                begun: Instant::now(),
            },
        );
        zone.shared.write_both(tid, &token);
        Ok(i64::from(number))
    }

    /// The parent says which process has a number; the kernel must agree that it is its child.
    pub fn told(&self, zone: &Zone, leader: HostPid, number: u64, host: u64) -> Result<i64, i32> {
        let number = u32::try_from(number).map_err(|_| libc::EINVAL)?;
        let host = u32::try_from(host).map(HostPid).map_err(|_| libc::EINVAL)?;
        let births = lock(&self.0);
        let is_own = births
            .get(&number)
            .is_some_and(|birth| birth.parent == leader);
        if is_own && guests::parent_of(host.0) == Some(leader.0) {
            register(zone, number, host);
        }
        Ok(0)
    }

    /// The parent of who has this number and token.
    pub fn parent(&self, number: u64, token: u64) -> Result<HostPid, i32> {
        let number = u32::try_from(number).map_err(|_| libc::EPERM)?;
        let births = lock(&self.0);
        let birth = births.get(&number).filter(|birth| birth.token == token);
        birth.map(|birth| birth.parent).ok_or(libc::EPERM)
    }

    /// The child takes its number.
    pub fn end(&self, zone: &Zone, child: HostPid, number: u64) {
        let Ok(number) = u32::try_from(number) else {
            return;
        };
        if lock(&self.0).remove(&number).is_some() {
            register(zone, number, child);
        }
    }
}

fn raw(pid: HostPid) -> Pid {
    Pid::from_raw(pid.0.cast_signed())
}

fn register(zone: &Zone, number: u32, host: HostPid) {
    let commons = zone.shared.commons();
    let process = commons.processes.get(number as usize);
    if let (Some(process), Some(back)) = (process, commons.by_host.get(host.0 as usize)) {
        process.host.store(host.0, Relaxed);
        back.store(number, Release);
        process.state.store(state::LIVE, Release);
    }
}

/// The next free number, as guests of the standard profile take it.
fn allocate(zone: &Zone) -> Option<u32> {
    let commons = zone.shared.commons();
    for _ in 0..2 * ZONE_PID_LIMIT {
        let mut number = commons.next_pid.fetch_add(1, AcqRel);
        if number >= ZONE_PID_LIMIT {
            let next = &commons.next_pid;
            let _ = next.compare_exchange(number + 1, ZONE_PID_RESTART, AcqRel, Relaxed);
            number = ZONE_PID_RESTART;
        }
        let process = commons.processes.get(number as usize)?;
        if number != 0 && (process.state.load(Acquire) == state::FREE || is_gone(zone, number)) {
            commons.pid_end.fetch_max(number + 1, Release);
            return Some(number);
        }
    }
    None
}

/// Whether neither a process nor a group has the number any more.
fn is_gone(zone: &Zone, number: u32) -> bool {
    let Some((process, host)) = zone.shared.commons().entry(number) else {
        return true;
    };
    let is_dead = process.state.load(Acquire) == state::DEAD;
    let group = Pid::from_raw(host.cast_signed().wrapping_neg());
    (is_dead || !guests::is_in_zone(zone.init_pid(), HostPid(host))) && kill(group, None).is_err()
}

/// What a child has of its parent.
fn inherit(zone: &Zone, (number, child): (u32, &Process), (parent, own): (ZonePid, &Process)) {
    for (to, from) in [(&child.uid, &own.uid), (&child.gid, &own.gid)] {
        for (to, from) in to.iter().zip(from) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }
    child.store_capabilities(&own.load_capabilities());
    child.root.store(own.root.load(Relaxed), Relaxed);
    child.program.inherit(&own.program);
    limits::inherit(child, own);
    child.is_locked.store(0, Relaxed);
    child
        .signal_fds
        .store(own.signal_fds.load(Relaxed), Relaxed);
    for (to, from) in [
        (&child.session_ring, &own.session_ring),
        (&child.request_ring, &own.request_ring),
    ] {
        to.store(from.load(Relaxed), Relaxed);
    }
    child.process_ring.store(0, Relaxed);
    child.key_life.store(0, Relaxed);
    let commons = zone.shared.commons();
    let groups = commons.groups_of(parent.0);
    let room = if groups.len() > FEW_GROUPS {
        commons.claim_list(number).map(|many| &many[..])
    } else {
        None
    };
    for (to, from) in room.unwrap_or(&child.groups).iter().zip(groups) {
        to.store(from.load(Relaxed), Relaxed);
    }
    let count = u32::try_from(groups.len()).unwrap_or(0);
    child.group_count.store(count, Release);
}
