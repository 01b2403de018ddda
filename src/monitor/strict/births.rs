//! Clients that are being born: their numbers, and how each is known as its parent's child.

use super::super::guests;
use super::super::zone::Zone;
use super::lock;
use crate::ids::{HostPid, ZonePid};
use hashbrown::HashMap;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use picozone_personality::commons::{Process, state};
use std::sync::Mutex;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
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
        let commons = zone.shared.commons();
        let most = zone.shared.tables().process_limit;
        if !commons.has_room(most, |number| is_gone(zone, number)) {
            return Err(libc::EAGAIN);
        }
        let free = commons.free_number(|number| is_gone(zone, number));
        let (number, child) = free.ok_or(libc::EAGAIN)?;
        inherit(zone, (number, child), parent).ok_or(libc::EAGAIN)?;
        let mut token = [0; 8];
        // SAFETY: the buffer is as long as is said.
        let got = unsafe { libc::getrandom(token.as_mut_ptr().cast(), token.len(), 0) };
        if got != 8 {
            return Err(libc::EAGAIN);
        }
        births.retain(|_, birth| birth.begun.elapsed() < LONGEST || !guests::is_gone(birth.parent));
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
            zone.shared.commons().register(number, host.0);
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
            zone.shared.commons().register(number, child.0);
        }
    }
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

/// What a child has of its parent, whose users are those of its entry.
fn inherit(zone: &Zone, (number, child): (u32, &Process), parent: ZonePid) -> Option<()> {
    let commons = zone.shared.commons();
    let own = commons.processes.get(parent.0 as usize)?;
    for (to, from) in [(&child.uid, &own.uid), (&child.gid, &own.gid)] {
        for (to, from) in to.iter().zip(from) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }
    child.store_capabilities(&own.load_capabilities());
    let groups = commons.groups_of(parent.0).iter();
    commons.store_groups(number, groups.map(|group| group.load(Relaxed)));
    child.inherit(own);
    Some(())
}
