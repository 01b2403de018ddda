//! Message queues.

use super::*;

/// `struct msqid64_ds`.
const STATUS_SIZE: usize = 120;
/// `msgmax`.
const SIZE_MAX: u64 = 2 * TEXT_MAX as u64;

/// msgget(2).
pub fn msgget(thread: &Thread, key: u64, flags: u64) -> Result<u64> {
    thread.ask_ipc(Request::Msg, nr::msgget, &[key, flags])
}

/// msgsnd(2).
pub fn msgsnd(thread: &mut Thread, id: u64, message: u64, size: u64, flags: u64) -> Result<u64> {
    let kind = memory::read::<u64>(message)?;
    if size > SIZE_MAX || (id as i32) < 0 || kind.cast_signed() < 1 {
        return Err(Errno::EINVAL);
    }
    thread.take(message + 8, size as usize)?;
    let asked = thread.ask_ipc(Request::Msg, nr::msgsnd, &[id, size, flags, kind])?;
    wait::finish(thread, asked, None)
}

/// msgrcv(2).
pub fn msgrcv(
    thread: &mut Thread,
    id: u64,
    message: u64,
    room: u64,
    kind: u64,
    flags: u64,
) -> Result<u64> {
    if (id as i32) < 0 || room.cast_signed() < 0 {
        return Err(Errno::EINVAL);
    }
    let asked = thread.ask_ipc(Request::Msg, nr::msgrcv, &[id, room, kind, flags])?;
    let length = wait::finish(thread, asked, None)?;
    thread.fetch_whole(message, 8 + length as usize)?;
    Ok(length)
}

/// msgctl(2).
pub fn msgctl(thread: &Thread, id: u64, op: u64, buffer: u64) -> Result<u64> {
    const MSG_STAT: u64 = 11;
    const MSG_INFO: u64 = 12;
    const MSG_STAT_ANY: u64 = 13;
    let op = u64::from(op as u32);
    if op == IPC_SET {
        thread.take(buffer, STATUS_SIZE)?;
    }
    let value = thread.ask_ipc(Request::Msg, nr::msgctl, &[id, op])?;
    let length = match op {
        IPC_STAT | MSG_STAT | MSG_STAT_ANY => STATUS_SIZE,
        // `struct msginfo`.
        IPC_INFO | MSG_INFO => 32,
        _ => return Ok(value),
    };
    thread.fetch_whole(buffer, length)?;
    Ok(value)
}
