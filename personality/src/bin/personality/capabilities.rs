//! capget(2) and capset(2).

use crate::thread::Thread;
use crate::{Errno, Result, identity, memory, others, pids};
use picozone_personality::capabilities::Capabilities;

/// `_LINUX_CAPABILITY_VERSION_1`, `_2`, `_3`.
const VERSIONS: [u32; 3] = [0x1998_0330, 0x2007_1026, 0x2008_0522];

/// How many words each set has by the header's version. Otherwise the header receives the version that
/// the kernel prefers.
fn words(header: u64) -> Result<usize> {
    let version = memory::read::<u32>(header)?;
    match VERSIONS.iter().position(|&known| known == version) {
        Some(0) => Ok(1),
        Some(_) => Ok(2),
        None => {
            memory::write(header, &VERSIONS[2])?;
            Err(Errno::EINVAL)
        }
    }
}

fn is_own(thread: &Thread, id: i32) -> bool {
    id == 0 || id as u32 == thread.zone_tid() || id as u32 == thread.host_tid
}

/// The sets of a thread of the zone; what is known of any but the caller is its process' leader.
fn sets_of(thread: &Thread, id: i32) -> Result<Capabilities> {
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    if is_own(thread, id) {
        return Ok(thread.credentials.capabilities);
    }
    let named = others::named(thread, id as u32);
    let process = if others::is_own_thread(thread, named) {
        thread.process().zone_pid
    } else {
        named
    };
    pids::to_host(process)?;
    Ok(pids::load_credentials(process).capabilities)
}

/// capget(2).
pub fn get(thread: &Thread, header: u64, data: u64) -> Result<u64> {
    let words = words(header);
    if data == 0 {
        // A question for the version.
        return match words {
            Err(Errno::EINVAL) => Ok(0),
            other => other.map(|_| 0),
        };
    }
    let words = words?;
    let sets = sets_of(thread, memory::read::<i32>(header + 4)?)?;
    for word in 0..words {
        let part = |set: u64| (set >> (32 * word)) as u32;
        let row = [sets.effective, sets.permitted, sets.inheritable].map(part);
        memory::write(data + 12 * word as u64, &row)?;
    }
    Ok(0)
}

/// capset(2), on the calling thread only.
pub fn set(thread: &mut Thread, header: u64, data: u64) -> Result<u64> {
    let words = words(header)?;
    if !is_own(thread, memory::read::<i32>(header + 4)?) {
        return Err(Errno::EPERM);
    }
    let mut sets = [0u64; 3];
    for word in 0..words {
        let row = memory::read::<[u32; 3]>(data + 12 * word as u64)?;
        for (set, part) in sets.iter_mut().zip(row) {
            *set |= u64::from(part) << (32 * word);
        }
    }
    let old = thread.credentials;
    let [effective, permitted, inheritable] = sets;
    let capabilities = &mut thread.credentials.capabilities;
    capabilities.set(effective, permitted, inheritable)?;
    identity::changed(thread, &old);
    Ok(0)
}
