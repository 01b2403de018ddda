//! System V IPC of a zone: shared memory, semaphores and message queues (sysvipc(7)).
//!
//! The monitor holds the state and performs every operation, so that a guest that is killed in the
//! midst of one leaves nothing half done, and none of it is in the host's name space. It never waits
//! on a guest's behalf: an operation that cannot be done yet is put into the object's queue, the guest
//! waits by futex(2) on its mailbox, and whoever makes the operation possible performs it, in the
//! order of the queue, as the kernel does (ipc/sem.c, ipc/msg.c).
//!
//! Users and process numbers are what the guest says of itself: they separate the users of one zone,
//! not zones from each other.
//!
//! Neighbours: [`super::requests`] calls [`serve`], [`super::view`] shows [`table`] in
//! `/proc/sysvipc`. One lock for all of it, under which no other is taken.

mod ids;
mod record;
mod shm;
mod watch;

use super::notify::{Call, Listener};
use super::procfs::View;
use super::zone::Zone;
use crate::ids::ZonePid;
use ids::Caller;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// All objects of a zone.
pub struct Ipc {
    state: Mutex<State>,
    bell: watch::Bell,
}

#[derive(Default)]
struct State {
    shm: shm::Segments,
    watched: watch::Watched,
}

/// A kind of object, by the name of its table in `/proc/sysvipc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shared memory.
    Shm,
}

impl Ipc {
    /// No objects yet.
    ///
    /// # Errors
    /// The kernel gives no epoll instance.
    pub fn make() -> nix::Result<Ipc> {
        Ok(Ipc {
            state: Mutex::default(),
            bell: watch::Bell::make()?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what the end of processes calls for, until the zone ends.
pub fn attend(zone: &Zone) {
    while zone.ipc.bell.wait() {
        zone.ipc.lock().attend(zone);
    }
}

impl State {
    /// Does what the end of watched processes calls for.
    fn attend(&mut self, zone: &Zone) {
        for _ended in zone.ipc.bell.ended(&mut self.watched) {
            self.shm.settle(zone, &mut self.watched);
        }
    }
}

/// Serves a request about an object: `args` = number of the call, its arguments, the caller's
/// effective user and group, its process and file system group.
pub fn serve(
    zone: &Zone,
    listener: &Listener,
    call: Call,
    kind: Kind,
    args: [u64; 8],
) -> Result<i64, i32> {
    let caller = caller(zone, call, args);
    let mut state = zone.ipc.lock();
    state.attend(zone);
    let State { shm, watched } = &mut *state;
    match kind {
        Kind::Shm => {
            shm.settle(zone, watched);
            let done = shm.serve(zone, listener, call, &caller, args);
            shm.settle(zone, watched);
            done
        }
    }
}

fn caller(zone: &Zone, call: Call, args: [u64; 8]) -> Caller {
    let halves = |word: u64| {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
    };
    let [uid, gid] = halves(args[6]);
    let [pid, fsgid] = halves(args[7]);
    Caller {
        tid: call.tid,
        pid: ZonePid(pid),
        uid,
        gid,
        fsgid,
        groups: zone.credentials(ZonePid(pid)).groups,
    }
}

/// The rows of a table of `/proc/sysvipc`, without the header.
#[must_use]
pub fn table(zone: &Zone, kind: Kind) -> Vec<u8> {
    let mut state = zone.ipc.lock();
    state.attend(zone);
    let State { shm, watched } = &mut *state;
    match kind {
        Kind::Shm => {
            shm.settle(zone, watched);
            shm.table(zone)
        }
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}
