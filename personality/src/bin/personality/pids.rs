//! Process numbers of the zone, in the commons.

use crate::arch::syscall2;
use crate::groups::Groups;
use crate::identity::{self, Credentials};
use crate::monitor::{commons, tables};
use crate::thread::{Thread, me};
use crate::{Errno, Result, clients, recording};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use linux_raw_sys::general::__NR_kill;
use picozone_personality::commons::{CLERK, Process, state};
use picozone_personality::layout::{PID_LIMIT, THREAD_BIAS};
use picozone_personality::mailbox::Request;

fn entry(zone: u32) -> Option<&'static Process> {
    commons().processes.get(zone as usize).filter(|_| zone != 0)
}

/// A zone pid for a child: the one that was chosen for it, or the next free one. EAGAIN if every number is in
/// use, or the zone has as many processes as it is to have; EEXIST if the chosen one is.
pub fn allocate() -> Result<u32> {
    if me().process().is_client {
        return clients::birth(me());
    }
    if !commons().has_room(tables().process_limit, is_gone) {
        return Err(Errno::EAGAIN);
    }
    let chosen = core::mem::take(&mut me().chosen_number);
    if chosen == 0 {
        return allocate_any();
    }
    take_chosen(chosen)
}

#[cold]
#[inline(never)]
fn take_chosen(number: u32) -> Result<u32> {
    let process = commons().claim(number, false, is_gone);
    Ok(begin(number, process.ok_or(Errno::EEXIST)?))
}

/// The same for what init starts, from outside: a zone that is full can be looked at.
pub fn allocate_any() -> Result<u32> {
    // Which may have been written to `/proc/sys/kernel/ns_last_pid`.
    identity::settle(me());
    let (number, process) = commons().free_number(is_gone).ok_or(Errno::EAGAIN)?;
    Ok(begin(number, process))
}

/// Whoever looks at a child before it ran sees what it inherits.
#[inline(never)]
fn begin(number: u32, process: &Process) -> u32 {
    store_credentials(number, &me().credentials);
    process.inherit(own(me()));
    number
}

/// A child that was to have the number was not made.
#[cold]
#[inline(never)]
pub fn give_back(number: u32) {
    if !me().process().is_client {
        commons().give_back(number);
    }
}

/// Whether neither a process nor a group has the number any more.
fn is_gone(number: u32) -> bool {
    let Some((process, host)) = commons().entry(number) else {
        // Its host id is another's by now.
        return true;
    };
    // What lies outside of the zone, the kernel lets nobody in it signal.
    let is_nobody = |host: u64| matches!(unsafe { syscall2(__NR_kill, host, 0) }, -3 | -1);
    (process.state.load(Acquire) == state::DEAD || is_nobody(u64::from(host)))
        // A group may outlive its leader.
        && is_nobody(u64::from(host).wrapping_neg())
}

/// The entry of a thread's process.
pub fn own(thread: &Thread) -> &'static Process {
    let number = thread.process().zone_pid as usize;
    // Number 0 is nobody's.
    let all = &commons().processes;
    let own = all.get(number).unwrap_or(&all[0]);
    if thread.process().is_client {
        return clients::own(own);
    }
    own
}

/// A number that a call names or gives, for the record of it. Gives the host's.
#[inline(always)]
fn seen(zone: u32, host: u32) -> u32 {
    if me().record.is_open() {
        recording::host_pid(zone, host);
    }
    host
}

/// Notes that `host` is `zone`.
pub fn register(zone: u32, host: u32) {
    seen(zone, host);
    if me().process().is_client {
        // Of itself it tells by another way.
        if host != me().process().host_pid {
            let _ = me().ask(Request::Born, &[u64::from(zone), u64::from(host)]);
        }
        return;
    }
    commons().register(zone, host);
}

/// Notes that a process was reaped. What a tracer has waited for may still be there, for its parent.
pub fn reaped(host: u32) {
    if me().process().is_tracer && unsafe { syscall2(__NR_kill, u64::from(host), 0) } == 0 {
        return;
    }
    if me().process().is_client {
        // That it is gone shows when its number is to be handed out again.
        return;
    }
    if let Some(zone) = to_zone(host)
        && let Some(process) = entry(zone)
    {
        process.state.store(state::DEAD, Release);
        if process.list.load(Relaxed) != 0 {
            process.list.store(0, Release);
        }
    }
}

/// Host id to zone id, for a process, group or session.
pub fn to_zone(host: u32) -> Option<u32> {
    let zone = commons().by_host.get(host as usize)?.load(Acquire);
    if zone & CLERK != 0 {
        return Some(zone & !CLERK);
    }
    commons()
        .entry(zone)
        .filter(|(_, of)| *of == host)
        .map(|_| {
            seen(zone, host);
            zone
        })
}

/// Zone id of a process that was told it, if it was told the truth.
pub fn told(zone: u32, host: u32) -> u32 {
    let is_true = entry(zone).is_some_and(|process| process.host.load(Acquire) == host);
    if is_true {
        zone
    } else {
        to_zone(host).unwrap_or(0)
    }
}

/// Host id for one that may be reported: 0 for what the zone does not own.
pub fn to_zone_or_0(host: i32) -> u32 {
    u32::try_from(host).ok().and_then(to_zone).unwrap_or(0)
}

/// A process by its zone pid. ESRCH if the zone has none.
pub fn to_host(zone: u32) -> Result<u32> {
    commons()
        .entry(zone)
        .filter(|(process, _)| process.state.load(Acquire) == state::LIVE)
        .map(|(_, host)| seen(zone, host))
        .ok_or(Errno::ESRCH)
}

/// A group or session by its zone number; its leader may be gone.
pub fn group_to_host(zone: u32) -> Result<u32> {
    commons()
        .entry(zone)
        .filter(|(process, _)| process.state.load(Acquire) != state::FREE)
        .map(|(_, host)| seen(zone, host))
        .ok_or(Errno::ESRCH)
}

/// A thread by its zone id.
#[inline(never)]
pub fn thread_to_host(zone: u32) -> Result<u32> {
    if zone >= THREAD_BIAS {
        let host = zone - THREAD_BIAS;
        // Init has no name but its own.
        if host < PID_LIMIT && to_host(1) != Ok(host) {
            Ok(seen(zone, host))
        } else {
            Err(Errno::ESRCH)
        }
    } else {
        to_host(zone)
    }
}

/// Writes credentials where an exec and `ps` find them.
pub fn store_credentials(zone: u32, credentials: &Credentials) {
    if me().process().is_client {
        return;
    }
    let Some(process) = entry(zone) else { return };
    for i in 0..4 {
        process.uid[i].store(credentials.uid[i], Relaxed);
        process.gid[i].store(credentials.gid[i], Relaxed);
    }
    process.store_capabilities(&credentials.capabilities);
    let groups = credentials.groups.as_slice().iter();
    commons().store_groups(zone, groups.copied());
}

/// The groups of a process, in memory of the caller's.
pub fn load_groups(zone: u32) -> Groups {
    Groups::load(commons().groups_of(zone))
}

/// Reads credentials back, but for the groups.
pub fn load_credentials(zone: u32) -> Credentials {
    let mut credentials = Credentials::ROOT;
    if let Some(process) = entry(zone) {
        for i in 0..4 {
            credentials.uid[i] = process.uid[i].load(Relaxed);
            credentials.gid[i] = process.gid[i].load(Relaxed);
        }
        credentials.capabilities = process.load_capabilities();
    }
    credentials
}
