//! IPC of a zone: System V shared memory, semaphores and message queues (sysvipc(7)), and POSIX message
//! queues.
//!
//! Of System V, the monitor holds the state and performs every operation, so that a guest that is killed in the
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
mod limits;
mod msg;
mod posix;
mod record;
mod sem;
mod shm;
mod wait;
mod watch;

use super::notify::{Call, Listener};
use super::procfs::View;
use super::zone::Zone;
use crate::ids::ZonePid;
use crate::ownership::identify;
use ids::Caller;
pub use limits::{limit, set_limit};
use picozone_personality::mailbox::WAIT;
use std::os::fd::AsFd;
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
    sem: sem::Sets,
    msg: msg::Queues,
    posix: posix::Queues,
    waits: wait::Waits,
    watched: watch::Watched,
}

/// A kind of object, by the name of its table in `/proc/sysvipc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shared memory.
    Shm,
    /// Semaphores.
    Sem,
    /// Message queues.
    Msg,
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
        for host in zone.ipc.bell.ended(&mut self.watched) {
            self.sem.ended(zone, &mut self.waits, host);
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
    let State {
        shm,
        sem,
        msg,
        waits,
        watched,
        ..
    } = &mut *state;
    let mut context = Context {
        zone,
        caller: &caller,
        args,
        waits,
        watched,
    };
    let served = match kind {
        Kind::Shm => {
            shm.settle(zone, context.watched);
            let done = shm.serve(zone, listener, call, &caller, args);
            shm.settle(zone, context.watched);
            return done;
        }
        Kind::Sem => sem.serve(&mut context)?,
        Kind::Msg => msg.serve(&mut context)?,
    };
    match served {
        Served::Done(value, bytes) => {
            zone.shared.write_both(call.tid, &bytes);
            Ok(value)
        }
        Served::Waits => i64::try_from(WAIT).map_err(|_| libc::EIO),
    }
}

/// Opens or removes a POSIX queue: `args` = number of the call, flags, mode, 1 if there are attributes;
/// users as for [`serve`].
pub fn serve_queue(
    zone: &Zone,
    listener: &Listener,
    call: Call,
    args: [u64; 8],
) -> Result<i64, i32> {
    let caller = caller(zone, call, args);
    let name = zone.shared.read_text(call.tid);
    let how = posix::Opening {
        flags: int(args[1]),
        mode: int(args[2]).cast_unsigned() & !umask(call.tid),
        attributes: (args[3] == 1).then(|| {
            let bytes = zone.shared.read_bytes(call.tid, 32);
            [0, 8, 16, 24].map(|at| record::word_at(&bytes, at).cast_signed())
        }),
    };
    if args[0].cast_signed() == libc::SYS_mq_unlink {
        zone.ipc.lock().posix.unlink(&caller, &name)?;
        return Ok(0);
    }
    let (opened, owner) = zone.ipc.lock().posix.open(&caller, &name, &how)?;
    // The kernel's queue is the monitor's.
    let (id, _) = identify(&opened)?;
    zone.owners.set_for_now(&zone.shared, id, owner);
    listener.add(call, opened.as_fd(), true).map(i64::from)
}

/// The umask of a thread of the host.
pub fn umask(tid: u32) -> u32 {
    let status = crate::proc_text::read(format!("/proc/{tid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(0o077)
}

/// Ends a wait: what came of it, or `errno` if nothing did.
pub fn end_wait(zone: &Zone, call: Call, errno: u64) -> Result<i64, i32> {
    let mut state = zone.ipc.lock();
    state.attend(zone);
    let State {
        sem, msg, waits, ..
    } = &mut *state;
    if let Some(done) = waits.take(call.tid) {
        let (value, bytes) = done?;
        zone.shared.write_both(call.tid, &bytes);
        return Ok(value);
    }
    match waits.give_up(call.tid) {
        Some((Kind::Sem, id)) => sem.give_up(zone, waits, id, call.tid),
        Some((Kind::Msg, id)) => msg.give_up(zone, waits, id, call.tid),
        Some((Kind::Shm, _)) | None => {}
    }
    Err(i32::try_from(errno)
        .ok()
        .filter(|errno| *errno > 0)
        .unwrap_or(libc::EINTR))
}

/// What an operation works with.
struct Context<'a> {
    zone: &'a Zone,
    caller: &'a Caller,
    args: [u64; 8],
    waits: &'a mut wait::Waits,
    watched: &'a mut watch::Watched,
}

impl Context<'_> {
    /// Bytes that the caller has put into its mailbox.
    fn given(&self, length: usize) -> Vec<u8> {
        self.zone.shared.read_both(self.caller.tid, length)
    }
}

/// What became of an operation.
enum Served {
    /// A value, and bytes for the caller's mailbox.
    Done(i64, Vec<u8>),
    /// The caller is to wait.
    Waits,
}

impl Served {
    const fn value(value: i64) -> Served {
        Served::Done(value, Vec::new())
    }
}

/// Low half of an argument, as the `int` that it is.
fn int(word: u64) -> i32 {
    super::files::low_int(word)
}

fn caller(zone: &Zone, call: Call, args: [u64; 8]) -> Caller {
    let halves = |word: u64| {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
    };
    let [uid, gid] = halves(args[6]);
    let [pid, fsgid] = halves(args[7]);
    let known = zone.credentials(ZonePid(pid));
    Caller {
        tid: call.tid,
        pid: ZonePid(pid),
        uid,
        gid,
        fsgid,
        groups: known.groups,
        capabilities: known.capabilities,
    }
}

/// The rows of a table of `/proc/sysvipc`, without the header.
#[must_use]
pub fn table(zone: &Zone, kind: Kind) -> Vec<u8> {
    let mut state = zone.ipc.lock();
    state.attend(zone);
    let State {
        shm,
        sem,
        msg,
        watched,
        ..
    } = &mut *state;
    match kind {
        Kind::Shm => {
            shm.settle(zone, watched);
            shm.table(zone)
        }
        Kind::Sem => sem.table(),
        Kind::Msg => msg.table(),
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}
