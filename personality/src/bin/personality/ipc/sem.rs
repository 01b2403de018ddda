//! Semaphores.

use super::*;

/// `struct semid64_ds`.
const STATUS_SIZE: usize = 104;
/// `semopm`.
const OPS_MAX: u64 = 500;
const OP_SIZE: usize = 6;

/// semget(2).
pub fn semget(thread: &Thread, key: u64, count: u64, flags: u64) -> Result<u64> {
    thread.ask_ipc(Request::Sem, nr::semget, &[key, count, flags])
}

/// semop(2), and semtimedop(2) with the address of a timeout.
pub fn semtimedop(thread: &mut Thread, id: u64, ops: u64, count: u64, timeout: u64) -> Result<u64> {
    let timeout = match timeout {
        0 => None,
        at => Some(memory::read::<[u64; 2]>(at)?.map(u64::cast_signed)),
    };
    // The number of operations is an unsigned int.
    let count = u64::from(count as u32);
    if count > OPS_MAX {
        return Err(Errno::E2BIG);
    }
    if count == 0 {
        return Err(Errno::EINVAL);
    }
    memory::read_bytes(ops, &mut thread.mailbox().a[..count as usize * OP_SIZE])?;
    if (id as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    let is_time = |time: &[i64; 2]| time[0] >= 0 && (0..1_000_000_000).contains(&time[1]);
    if timeout.is_some_and(|time| !is_time(&time)) {
        return Err(Errno::EINVAL);
    }
    let until = timeout.map(wait::deadline);
    let asked = thread.ask_ipc(Request::Sem, nr::semop, &[id, count])?;
    wait::finish(thread, asked, until)
}

const GETALL: u64 = 13;
const SETALL: u64 = 17;
/// Values that fit the mailbox.
const VALUES_MAX: usize = TEXT_MAX;
/// `SEMVMX`.
const VALUE_MAX: u16 = 32767;

/// The numbers of the first semaphores of each request about a set, and how many values it has.
fn parts(count: usize) -> impl Iterator<Item = (u64, usize)> {
    let firsts = (0..count).step_by(VALUES_MAX);
    firsts.map(move |first| (first as u64, (count - first).min(VALUES_MAX)))
}

/// semctl(2), `SETALL`. All values are looked at before any is set.
fn set_all(thread: &Thread, id: u64, from: u64) -> Result<u64> {
    let ask = |first: u64, sets: u64| {
        thread.ask_ipc(Request::Sem, nr::semctl, &[id, first, SETALL, sets])
    };
    let count = ask(0, 0)? as usize;
    if count > VALUES_MAX {
        for at in (0..count as u64).map(|i| from + 2 * i) {
            if u16::from_ne_bytes(memory::read::<[u8; 2]>(at)?) > VALUE_MAX {
                return Err(Errno::ERANGE);
            }
        }
    }
    for (first, length) in parts(count) {
        thread.take(from + 2 * first, 2 * length)?;
        ask(first, 1)?;
    }
    Ok(0)
}

/// semctl(2), `GETALL`.
fn get_all(thread: &Thread, id: u64, to: u64) -> Result<u64> {
    let ask = |first: u64| thread.ask_ipc(Request::Sem, nr::semctl, &[id, first, GETALL, 0]);
    let count = ask(0)? as usize;
    for (first, length) in parts(count) {
        if first != 0 {
            ask(first)?;
        }
        thread.fetch_whole(to + 2 * first, 2 * length)?;
    }
    Ok(0)
}

/// semctl(2).
pub fn semctl(thread: &Thread, id: u64, number: u64, op: u64, argument: u64) -> Result<u64> {
    const SETVAL: u64 = 16;
    const SEM_STAT: u64 = 18;
    const SEM_INFO: u64 = 19;
    const SEM_STAT_ANY: u64 = 20;
    let op = u64::from(op as u32);
    let ask = |value: u64| thread.ask_ipc(Request::Sem, nr::semctl, &[id, number, op, value]);
    match op {
        SETVAL => ask(argument),
        SETALL => set_all(thread, id, argument),
        GETALL => get_all(thread, id, argument),
        IPC_SET => {
            thread.take(argument, STATUS_SIZE)?;
            ask(0)
        }
        IPC_STAT | SEM_STAT | SEM_STAT_ANY => {
            let value = ask(0)?;
            thread.fetch_whole(argument, STATUS_SIZE)?;
            Ok(value)
        }
        IPC_INFO | SEM_INFO => {
            let value = ask(0)?;
            // `struct seminfo`.
            thread.fetch_whole(argument, 40)?;
            Ok(value)
        }
        _ => ask(0),
    }
}
