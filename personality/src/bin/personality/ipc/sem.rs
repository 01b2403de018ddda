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

/// semctl(2).
pub fn semctl(thread: &Thread, id: u64, number: u64, op: u64, argument: u64) -> Result<u64> {
    const GETALL: u64 = 13;
    const SETVAL: u64 = 16;
    const SETALL: u64 = 17;
    const SEM_STAT: u64 = 18;
    const SEM_INFO: u64 = 19;
    const SEM_STAT_ANY: u64 = 20;
    let op = u64::from(op as u32);
    let ask = |value: u64| thread.ask_ipc(Request::Sem, nr::semctl, &[id, number, op, value]);
    match op {
        SETVAL => ask(argument),
        SETALL => {
            let count = ask(0)? as usize;
            thread.take(argument, 2 * count)?;
            ask(1)
        }
        GETALL => {
            let count = ask(0)? as usize;
            thread.fetch_whole(argument, 2 * count)?;
            Ok(0)
        }
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
