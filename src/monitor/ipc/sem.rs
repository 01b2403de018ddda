//! Semaphores (semget(2), semop(2), semctl(2), ipc/sem.c).

use super::super::guests;
use super::super::zone::Zone;
use super::ids::{Caller, Object, Perm, Registry};
use super::record::Record;
use super::wait::{Waiter, Waits};
use super::watch::Watched;
use super::{Context, Kind, Served, int, now};
use crate::ids::{HostPid, ZonePid};
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

/// Semaphores in a set, and operations in a call: as many as there can be.
pub(super) const SET_MAX: usize = 32000;
/// Values that fit a mailbox: of more than these the caller asks from where on.
const VALUES_MAX: usize = 4096;
pub(super) const OPS_MAX: usize = 500;
const ALL_MAX: usize = SET_MAX * COUNT_MAX;
const COUNT_MAX: usize = 32000;
/// Semaphores that the monitor has memory for.
const ROOM: usize = 1 << 20;
const VALUE_MAX: i32 = 32767;

/// Limits as in `/proc/sys/kernel/sem`: semaphores in a set and in all, operations in a call.
pub(super) struct Limits {
    pub(super) set: usize,
    pub(super) all: usize,
    pub(super) ops: usize,
}

/// The sets of a zone.
pub(super) struct Sets {
    pub(super) all: Registry<Set>,
    pub(super) limits: Limits,
}

impl Default for Sets {
    fn default() -> Self {
        Sets {
            all: Registry::new(COUNT_MAX),
            limits: Limits {
                set: SET_MAX,
                all: ALL_MAX,
                ops: OPS_MAX,
            },
        }
    }
}

#[derive(Clone, Copy)]
struct Semaphore {
    value: i32,
    last: ZonePid,
}

/// `struct sembuf`.
#[derive(Clone, Copy, Debug)]
struct Op {
    number: usize,
    change: i32,
    flags: i32,
}

impl Op {
    const fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }
}

struct Sleeper {
    waiter: Waiter,
    pid: ZonePid,
    /// Its process, where it asks for `SEM_UNDO`.
    undoer: Option<HostPid>,
    ops: Vec<Op>,
    /// The operation that cannot be done.
    blocked: usize,
}

pub(super) struct Set {
    semaphores: Vec<Semaphore>,
    otime: i64,
    ctime: i64,
    sleepers: Vec<Sleeper>,
    /// What the end of a process changes (`semadj`).
    undo: HashMap<u32, (ZonePid, Vec<i32>)>,
}

enum Attempt {
    /// It can be done: the new values, and the new adjustments.
    Can(Vec<(usize, i32)>, Vec<(usize, i32)>),
    Blocked(usize),
}

impl Set {
    /// Whether the operations can all be done (perform_atomic_semop).
    fn attempt(&self, ops: &[Op], undoer: Option<HostPid>) -> Result<Attempt, i32> {
        let mut values: Vec<(usize, i32)> = Vec::new();
        let mut adjusted: Vec<(usize, i32)> = Vec::new();
        let adjustments = undoer.and_then(|host| self.undo.get(&host.0));
        let newest = |list: &[(usize, i32)], number: usize| {
            let found = list.iter().rev().find(|(other, _)| *other == number);
            found.map(|(_, value)| *value)
        };
        for (index, op) in ops.iter().enumerate() {
            let now = self.semaphores.get(op.number).ok_or(libc::EFBIG)?.value;
            let value = newest(&values, op.number).unwrap_or(now);
            let result = value + op.change;
            if (op.change == 0 && value != 0) || result < 0 {
                return if op.has(libc::IPC_NOWAIT) {
                    Err(libc::EAGAIN)
                } else {
                    Ok(Attempt::Blocked(index))
                };
            }
            if result > VALUE_MAX {
                return Err(libc::ERANGE);
            }
            if op.has(libc::SEM_UNDO) {
                let kept = adjustments.and_then(|(_, all)| all.get(op.number).copied());
                let old = newest(&adjusted, op.number).or(kept).unwrap_or(0);
                let new = old - op.change;
                if !(-VALUE_MAX - 1..=VALUE_MAX).contains(&new) {
                    return Err(libc::ERANGE);
                }
                adjusted.push((op.number, new));
            }
            values.push((op.number, result));
        }
        Ok(Attempt::Can(values, adjusted))
    }

    fn commit(
        &mut self,
        pid: ZonePid,
        undoer: Option<HostPid>,
        values: &[(usize, i32)],
        adjusted: &[(usize, i32)],
    ) {
        for (number, value) in values {
            if let Some(semaphore) = self.semaphores.get_mut(*number) {
                semaphore.value = *value;
                semaphore.last = pid;
            }
        }
        if let Some(host) = undoer {
            let count = self.semaphores.len();
            let (_, all) = self.undo.entry(host.0).or_insert((pid, vec![0; count]));
            for (number, value) in adjusted {
                if let Some(place) = all.get_mut(*number) {
                    *place = *value;
                }
            }
        }
        self.otime = now();
    }

    /// Performs what has become possible, in the order in which it was asked for.
    fn update(&mut self, zone: &Zone, waits: &mut Waits) {
        let mut at = 0;
        while let Some(sleeper) = self.sleepers.get(at) {
            let done = match self.attempt(&sleeper.ops, sleeper.undoer) {
                Ok(Attempt::Blocked(index)) => {
                    self.sleepers[at].blocked = index;
                    at += 1;
                    continue;
                }
                Ok(Attempt::Can(values, adjusted)) => Ok((values, adjusted)),
                Err(errno) => Err(errno),
            };
            let sleeper = self.sleepers.remove(at);
            if !sleeper.waiter.is_alive() {
                continue;
            }
            let done = done.map(|(values, adjusted)| {
                self.commit(sleeper.pid, sleeper.undoer, &values, &adjusted);
                // Those before may go on now, too.
                at = 0;
                (0, Vec::new())
            });
            waits.finish(zone, sleeper.waiter.tid, done);
        }
    }

    fn record(&self, perm: &Perm) -> Vec<u8> {
        perm.record()
            .i64s([self.otime, 0, self.ctime, 0])
            .u64s([self.semaphores.len() as u64, 0, 0])
            .bytes()
    }

    /// How many wait for a semaphore to be increased, or to become zero.
    fn count(&mut self, number: usize, is_for_zero: bool) -> i64 {
        self.sleepers.retain(|sleeper| sleeper.waiter.is_alive());
        let waits = |sleeper: &&Sleeper| {
            let op = sleeper.ops.get(sleeper.blocked);
            op.is_some_and(|op| op.number == number && (op.change == 0) == is_for_zero)
        };
        let count = self.sleepers.iter().filter(waits).count();
        i64::try_from(count).unwrap_or(0)
    }
}

impl Sets {
    pub(super) fn serve(&mut self, context: &mut Context<'_>) -> Result<Served, i32> {
        let args = context.args;
        match i64::try_from(args[0]).unwrap_or(0) {
            libc::SYS_semget => self.get(context.caller, args),
            libc::SYS_semop => self.operate(context),
            libc::SYS_semctl => self.control(context),
            _ => Err(libc::ENOSYS),
        }
    }

    fn used(&self) -> usize {
        self.all.all().map(|(_, it)| it.of.semaphores.len()).sum()
    }

    fn get(&mut self, caller: &Caller, args: [u64; 8]) -> Result<Served, i32> {
        let count = usize::try_from(int(args[2])).map_err(|_| libc::EINVAL)?;
        if count > self.limits.set {
            return Err(libc::EINVAL);
        }
        let (used, most) = (self.used(), self.limits.all.min(ROOM));
        let id = self.all.get(
            caller,
            int(args[1]).cast_unsigned(),
            int(args[3]).cast_unsigned(),
            |set| {
                if count <= set.semaphores.len() {
                    Ok(())
                } else {
                    Err(libc::EINVAL)
                }
            },
            |_| {
                if count == 0 {
                    return Err(libc::EINVAL);
                }
                if used + count > most {
                    return Err(libc::ENOSPC);
                }
                let fresh = Semaphore {
                    value: 0,
                    last: ZonePid(0),
                };
                Ok(Set {
                    semaphores: vec![fresh; count],
                    otime: 0,
                    ctime: now(),
                    sleepers: Vec::new(),
                    undo: HashMap::new(),
                })
            },
        )?;
        Ok(Served::value(id))
    }

    /// semop(2): args 1 = id, 2 = number of operations.
    fn operate(&mut self, context: &mut Context<'_>) -> Result<Served, i32> {
        let id = int(context.args[1]);
        let count = usize::try_from(context.args[2]).map_err(|_| libc::E2BIG)?;
        if count > self.limits.ops {
            return Err(libc::E2BIG);
        }
        let given = context.given(6 * count);
        let (ops, _) = given.as_chunks::<6>();
        let ops: Vec<Op> = ops.iter().map(parse).collect();
        let object = self.all.find(id)?;
        let Object { perm, of: set } = object;
        if ops.iter().any(|op| op.number >= set.semaphores.len()) {
            return Err(libc::EFBIG);
        }
        let alters = ops.iter().any(|op| op.change != 0);
        perm.permit(context.caller, if alters { 0o222 } else { 0o444 })?;
        let undoer = if ops.iter().any(|op| op.has(libc::SEM_UNDO)) {
            // One that was killed meanwhile has nobody to undo what it does.
            let found = undoer(context.zone, context.watched, context.caller.pid);
            Some(found.ok_or(libc::ENOMEM)?)
        } else {
            None
        };
        let pid = context.caller.pid;
        match set.attempt(&ops, undoer)? {
            Attempt::Can(values, adjusted) => {
                set.commit(pid, undoer, &values, &adjusted);
                if alters {
                    set.update(context.zone, context.waits);
                }
                Ok(Served::value(0))
            }
            Attempt::Blocked(blocked) => {
                set.sleepers.push(Sleeper {
                    waiter: Waiter::new(context.caller.tid),
                    pid,
                    undoer,
                    ops,
                    blocked,
                });
                let tid = context.caller.tid;
                context.waits.begin(context.zone, tid, Kind::Sem, id);
                Ok(Served::Waits)
            }
        }
    }

    fn control(&mut self, context: &mut Context<'_>) -> Result<Served, i32> {
        const SEM_STAT_ANY: i32 = 20;
        let [_, id, number, op, value, ..] = context.args.map(int);
        if id < 0 {
            return Err(libc::EINVAL);
        }
        match op {
            libc::IPC_INFO | libc::SEM_INFO => {
                let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
                let (mut size, mut exit) = (20, 32767);
                if op == libc::SEM_INFO {
                    (size, exit) = (small(self.all.count()), small(self.used()));
                }
                let limits = &self.limits;
                let [set, all, ops] = [limits.set, limits.all, limits.ops].map(small);
                let words = Record::default()
                    .u32s([all, small(self.all.max), all, all, set])
                    .u32s([ops, ops, size, 32767, exit]);
                Ok(Served::Done(self.all.highest(), words.bytes()))
            }
            libc::IPC_STAT | libc::SEM_STAT | SEM_STAT_ANY => {
                let (id, object) = if op == libc::IPC_STAT {
                    (0, self.all.find(id)?)
                } else {
                    self.all.at(id)?
                };
                if op != SEM_STAT_ANY {
                    object.perm.permit(context.caller, 0o444)?;
                }
                Ok(Served::Done(i64::from(id), object.of.record(&object.perm)))
            }
            libc::IPC_SET => {
                let object = self.all.find(id)?;
                object.perm.own(context.caller)?;
                object.perm.set(&context.given(104))?;
                object.of.ctime = now();
                Ok(Served::value(0))
            }
            libc::IPC_RMID => {
                self.all.find(id)?.perm.own(context.caller)?;
                let removed = self.all.remove(id);
                for sleeper in removed.into_iter().flat_map(|object| object.of.sleepers) {
                    let tid = sleeper.waiter.tid;
                    context.waits.finish(context.zone, tid, Err(libc::EIDRM));
                }
                Ok(Served::value(0))
            }
            libc::SETVAL if !(0..=VALUE_MAX).contains(&value) => Err(libc::ERANGE),
            libc::SETVAL | libc::SETALL => {
                let Object { perm, of: set } = self.all.find(id)?;
                let numbers = if op == libc::SETALL && value == 0 {
                    0..set.semaphores.len()
                } else if op == libc::SETALL {
                    let first = usize::try_from(number).map_err(|_| libc::EINVAL)?;
                    let end = set.semaphores.len().min(first.saturating_add(VALUES_MAX));
                    first..end
                } else {
                    let number = usize::try_from(number).map_err(|_| libc::EINVAL)?;
                    set.semaphores.get(number).ok_or(libc::EINVAL)?;
                    number..number + 1
                };
                perm.permit(context.caller, 0o222)?;
                let values = if op == libc::SETVAL {
                    vec![value]
                } else if value == 0 {
                    // Asks how many there are.
                    return Ok(Served::value(i64::try_from(numbers.len()).unwrap_or(0)));
                } else {
                    let given = context.given(2 * numbers.len());
                    let (words, _) = given.as_chunks::<2>();
                    let words = words.iter().map(|word| u16::from_ne_bytes(*word));
                    words.map(i32::from).collect()
                };
                if values.iter().any(|value| *value > VALUE_MAX) {
                    return Err(libc::ERANGE);
                }
                for (number, value) in numbers.zip(values) {
                    set.semaphores[number] = Semaphore {
                        value,
                        last: context.caller.pid,
                    };
                    for (_, all) in set.undo.values_mut() {
                        all[number] = 0;
                    }
                }
                set.ctime = now();
                set.update(context.zone, context.waits);
                Ok(Served::value(0))
            }
            libc::GETALL => {
                let Object { perm, of: set } = self.all.find(id)?;
                perm.permit(context.caller, 0o444)?;
                let value = |it: &Semaphore| u16::try_from(it.value).unwrap_or(0).to_ne_bytes();
                let first = usize::try_from(number).map_err(|_| libc::EINVAL)?;
                let rest = set.semaphores.iter().skip(first).take(VALUES_MAX);
                let bytes = rest.flat_map(value).collect();
                let count = i64::try_from(set.semaphores.len()).unwrap_or(0);
                Ok(Served::Done(count, bytes))
            }
            libc::GETVAL | libc::GETPID | libc::GETNCNT | libc::GETZCNT => {
                let Object { perm, of: set } = self.all.find(id)?;
                perm.permit(context.caller, 0o444)?;
                let number = usize::try_from(number).map_err(|_| libc::EINVAL)?;
                let semaphore = *set.semaphores.get(number).ok_or(libc::EINVAL)?;
                Ok(Served::value(match op {
                    libc::GETVAL => i64::from(semaphore.value),
                    libc::GETPID => i64::from(semaphore.last.0),
                    _ => set.count(number, op == libc::GETZCNT),
                }))
            }
            _ => Err(libc::EINVAL),
        }
    }

    /// Takes a thread that waits no longer out of a set's queue.
    pub(super) fn give_up(&mut self, zone: &Zone, waits: &mut Waits, id: i32, tid: u32) {
        if let Ok(object) = self.all.find(id) {
            object.of.sleepers.retain(|it| it.waiter.tid != tid);
            object.of.update(zone, waits);
        }
    }

    /// Undoes what a process that has ended asked to be undone (exit_sem).
    pub(super) fn ended(&mut self, zone: &Zone, waits: &mut Waits, host: HostPid) {
        for (_, object) in self.all.all_mut() {
            let set = &mut object.of;
            let Some((pid, adjustments)) = set.undo.remove(&host.0) else {
                continue;
            };
            for (semaphore, change) in set.semaphores.iter_mut().zip(adjustments) {
                if change != 0 {
                    semaphore.value = (semaphore.value + change).clamp(0, VALUE_MAX);
                    semaphore.last = pid;
                }
            }
            set.otime = now();
            set.update(zone, waits);
        }
    }

    /// Rows of `/proc/sysvipc/sem`.
    pub(super) fn table(&self) -> Vec<u8> {
        let row = |(id, object): (i32, &Object<Set>)| {
            let (perm, it) = (&object.perm, &object.of);
            format!(
                "{:10} {id:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}\n",
                perm.key.cast_signed(),
                perm.mode,
                it.semaphores.len(),
                perm.uid,
                perm.gid,
                perm.cuid,
                perm.cgid,
                it.otime,
                it.ctime,
            )
        };
        self.all.all().map(row).collect::<String>().into_bytes()
    }
}

fn parse(bytes: &[u8; 6]) -> Op {
    let [a, b, c, d, e, f] = *bytes;
    Op {
        number: usize::from(u16::from_ne_bytes([a, b])),
        change: i32::from(i16::from_ne_bytes([c, d])),
        flags: i32::from(i16::from_ne_bytes([e, f])),
    }
}

/// The caller's process on the host, whose end is noticed from now on.
fn undoer(zone: &Zone, watched: &mut Watched, pid: ZonePid) -> Option<HostPid> {
    let process = zone.shared.commons().processes.get(pid.0 as usize)?;
    let host = HostPid(process.host.load(Relaxed));
    if watched.contains_key(&host.0) {
        return Some(host);
    }
    let host = guests::to_host(&zone.shared, zone.init_pid(), pid)?;
    zone.ipc.bell.watch(watched, host).then_some(host)
}
