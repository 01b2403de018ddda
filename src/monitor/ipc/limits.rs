//! The limits of a zone's objects, in `/proc/sys`: the kernel's defaults, but for what must fit a mailbox.

use super::super::zone::Zone;
use super::{State, msg, sem};

/// How many objects of a kind there can be (`IPCMNI`).
const COUNT_MAX: i128 = 32768;
/// Most POSIX queues that have names.
const QUEUES_MAX: i128 = 1024;
const INT_MAX: i128 = i32::MAX as i128;

/// What a limit is, without the end of the line.
#[must_use]
pub fn limit(zone: &Zone, name: &str) -> String {
    let state = zone.ipc.lock();
    let next = |id: Option<i32>| id.unwrap_or(-1).to_string();
    match name {
        "msgmax" => state.msg.text_max.to_string(),
        "msgmnb" => state.msg.queue_max.to_string(),
        "msgmni" => state.msg.all.max.to_string(),
        "msg_next_id" => next(state.msg.all.next),
        "sem" => {
            let limits = &state.sem.limits;
            let [set, all, ops] = [limits.set, limits.all, limits.ops];
            format!("{set}\t{all}\t{ops}\t{}", state.sem.all.max)
        }
        "sem_next_id" => next(state.sem.all.next),
        "shmall" => state.shm.pages_max.to_string(),
        "shmmax" => state.shm.size_max.to_string(),
        "shmmni" => state.shm.all.max.to_string(),
        "shm_next_id" => next(state.shm.all.next),
        "queues_max" => state.posix.max.to_string(),
        _ => String::new(),
    }
}

/// Sets a limit; `None` if it is no value.
pub fn set_limit(zone: &Zone, name: &str, values: &[i128]) -> Option<()> {
    set(&mut zone.ipc.lock(), name, values)
}

fn set(state: &mut State, name: &str, values: &[i128]) -> Option<()> {
    if let ("sem", [set, all, ops, count]) = (name, values) {
        let sem = &mut state.sem;
        sem.limits = sem::Limits {
            set: number(*set, 0, sem::SET_MAX as i128)?,
            all: number(*all, 0, INT_MAX)?,
            ops: number(*ops, 0, sem::OPS_MAX as i128)?,
        };
        sem.all.max = number(*count, 0, COUNT_MAX)?;
        return Some(());
    }
    let [value] = *values else { return None };
    let next = || i32::try_from(value).ok().filter(|id| *id >= 0);
    let count = || number(value, 0, COUNT_MAX);
    let size = || u64::try_from(value).ok();
    match name {
        "msgmax" => state.msg.text_max = number(value, 0, msg::TEXT_MAX as i128)?,
        "msgmnb" => state.msg.queue_max = u64::try_from(number(value, 0, INT_MAX)?).ok()?,
        "msgmni" => state.msg.all.max = count()?,
        "msg_next_id" => state.msg.all.next = Some(next()?),
        "sem_next_id" => state.sem.all.next = Some(next()?),
        "shmall" => state.shm.pages_max = size()?,
        "shmmax" => state.shm.size_max = size()?,
        "shmmni" => state.shm.all.max = count()?,
        "shm_next_id" => state.shm.all.next = Some(next()?),
        "queues_max" => state.posix.max = number(value, 1, QUEUES_MAX)?,
        _ => return None,
    }
    Some(())
}

fn number(value: i128, least: i128, most: i128) -> Option<usize> {
    if (least..=most).contains(&value) {
        usize::try_from(value).ok()
    } else {
        None
    }
}
