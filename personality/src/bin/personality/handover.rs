//! Where an exec leaves what the program that starts afresh needs: one area of the commons, whose
//! memory is warm. It is claimed as long as an exec is under way, so that of two threads one waits.

use crate::arch::{syscall1, syscall2};
use crate::monitor::{commons, mailbox_of};
use crate::thread::me;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use linux_raw_sys::general::{__NR_kill, __NR_sched_yield};
use picozone_personality::commons::{HANDOVERS_MAX, NEAR_HANDOVERS};
use picozone_personality::mailbox::Handover;

/// The areas in the order in which a process tries them.
fn order(host_pid: u32) -> impl Iterator<Item = usize> {
    let first = host_pid as usize % NEAR_HANDOVERS;
    (first..NEAR_HANDOVERS)
        .chain(0..first)
        .chain(NEAR_HANDOVERS..HANDOVERS_MAX)
}

fn area(number: usize) -> Option<&'static mut Handover> {
    let cell = commons().handovers.get(number)?;
    Some(unsafe { &mut *cell.get() })
}

/// A process' claim to an area.
pub struct Claim {
    host_pid: u32,
    /// Where the program that starts will look.
    pub handover: &'static mut Handover,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.handover.kind = 0;
        release(self.host_pid);
    }
}

/// Claims an area for a process. Where so many are in use, its leader's mailbox must do.
pub fn claim(host_pid: u32) -> Claim {
    let handover = loop {
        if me().process().is_client {
            break &mut mailbox_of(host_pid).handover;
        }
        match try_claim(host_pid) {
            Ok(Some(handover)) => break handover,
            Ok(None) => break &mut mailbox_of(host_pid).handover,
            // Another thread executes: this one dies with that, or comes next.
            Err(()) => unsafe {
                syscall1(__NR_sched_yield, 0);
            },
        }
    };
    Claim { host_pid, handover }
}

/// `Err` where another thread has a claim.
fn try_claim(host_pid: u32) -> Result<Option<&'static mut Handover>, ()> {
    for number in order(host_pid) {
        let Some(owner) = commons().handover_owners.get(number) else {
            break;
        };
        let held = owner.load(Acquire);
        if held == host_pid {
            return Err(());
        }
        let is_free = held == 0 || unsafe { syscall2(__NR_kill, u64::from(held), 0) } == -3;
        let taken = || owner.compare_exchange(held, host_pid, AcqRel, Relaxed);
        if is_free && taken().is_ok() {
            return Ok(area(number));
        }
    }
    Ok(None)
}

/// Ends the claim of a process. One just made calls it too: its number may have been another's.
pub fn release(host_pid: u32) {
    if me().process().is_client {
        return;
    }
    for owner in &commons().handover_owners {
        if owner.load(Relaxed) == host_pid {
            owner.store(0, Release);
        }
    }
}

/// What was handed over to the program that just started.
pub fn find(host_pid: u32) -> &'static mut Handover {
    if me().process().is_client {
        return &mut mailbox_of(host_pid).handover;
    }
    order(host_pid)
        .find(|&number| {
            let owner = commons().handover_owners.get(number);
            owner.is_some_and(|owner| owner.load(Acquire) == host_pid)
        })
        .and_then(area)
        .unwrap_or_else(|| &mut mailbox_of(host_pid).handover)
}
