//! Keyrings of a zone (keyrings(7)): the monitor keeps the keys, in its memory, and they end with the
//! zone. The host's are out of reach.
//!
//! Which keyrings a process has stands in the commons, where a fork inherits them and an exec lays them
//! down ([`picozone_personality::commons::Process`]); users are what the guest says of itself. That keeps
//! the users of one zone apart, as everywhere else, not zones from each other.
//!
//! Deliberately absent: types that need the kernel's cryptography (`asymmetric`, `encrypted`,
//! `trusted`, `big_key`), keys made on request by `/sbin/request-key`, notifications. One lock, under
//! which no other is taken.

mod calls;
mod key;
mod search;
mod show;
mod store;

#[cfg(test)]
mod tests;

use super::files::low_int;
use super::guests;
use super::notify::Call;
use super::procfs::View;
use super::zone::Zone;
use crate::ids::{HostPid, ZonePid};
use key::{Caller, Kind, LINK, SEARCH, Serial, VIEW};
use nix::fcntl::{FcntlArg, fcntl};
use picozone_personality::commons::{Process, state};
use picozone_personality::mailbox::{TEXT_MAX, key as op};
use search::{CREATE, For, PARTIAL, PLAIN};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use store::Store;

/// Longest payload that is copied; what is longer is no payload.
const DATA_MAX: usize = 32767;
/// How many calls go by between looks for keyrings that nobody has any more.
const COLLECTED_EVERY: u32 = 256;

/// All keys of a zone.
#[derive(Default)]
pub struct Keys(Mutex<State>);

#[derive(Default)]
struct State {
    store: Store,
    calls: u32,
}

impl Keys {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn collect(&mut self, zone: &Zone) {
        let commons = zone.shared.commons();
        let processes = commons.numbers().filter_map(|number| {
            let process = commons.processes.get(number as usize)?;
            (process.state.load(Relaxed) == state::LIVE).then_some(process)
        });
        let rings = processes.flat_map(|process| {
            [&process.session_ring, &process.process_ring]
                .map(|ring| ring.load(Relaxed).cast_signed())
        });
        self.store.collect(rings);
        self.calls = 0;
    }
}

/// Serves [`Request::Key`](picozone_personality::mailbox::Request::Key); `payload` is where one lies that
/// has no room in the mailbox.
///
/// # Errors
/// As of the call.
pub fn serve(
    zone: &Zone,
    call: Call,
    args: [u64; 8],
    payload: Option<&OwnedFd>,
) -> Result<i64, i32> {
    let mut state = zone.keys.lock();
    state.calls += 1;
    if state.calls >= COLLECTED_EVERY {
        state.collect(zone);
    }
    match attempt(&mut state.store, zone, call, args, payload) {
        // What nobody has any more does not count.
        Err(libc::EDQUOT) => {
            state.collect(zone);
            attempt(&mut state.store, zone, call, args, payload)
        }
        other => other,
    }
}

fn attempt(
    store: &mut Store,
    zone: &Zone,
    call: Call,
    args: [u64; 8],
    payload: Option<&OwnedFd>,
) -> Result<i64, i32> {
    let halves = |word: u64| {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
    };
    let ([uid, gid], [pid, real]) = (halves(args[6]), halves(args[7]));
    let process = zone.shared.commons().processes.get(pid as usize);
    let process = process.ok_or(libc::ESRCH)?;
    let mut who = Caller {
        uid,
        gid,
        real,
        ..caller(store, zone, call.tid, ZonePid(pid), process)
    };
    let served = perform(store, zone, call, &mut who, args, payload);
    for (place, ring) in [
        (&process.session_ring, who.session),
        (&process.process_ring, who.process),
        (&process.request_ring, who.default),
    ] {
        place.store(ring.cast_unsigned(), Relaxed);
    }
    process.key_life.store(who.life, Relaxed);
    served
}

/// What is known of a thread that asks.
fn caller(store: &Store, zone: &Zone, tid: u32, number: ZonePid, process: &Process) -> Caller {
    let known = zone.credentials(number);
    let ring = |place: &std::sync::atomic::AtomicU32| place.load(Relaxed).cast_signed();
    let life = process.key_life.load(Relaxed);
    Caller {
        tid,
        uid: known.uid[3],
        gid: known.gid[3],
        real: known.uid[0],
        groups: known.groups,
        capabilities: known.capabilities,
        life,
        thread: store.of_thread(tid, life),
        process: known_ring(store, ring(&process.process_ring)),
        session: known_ring(store, ring(&process.session_ring)),
        default: ring(&process.request_ring),
    }
}

fn known_ring(store: &Store, serial: Serial) -> Serial {
    let is_ring = store.get(serial).is_ok_and(|key| key.kind == Kind::Ring);
    if is_ring { serial } else { 0 }
}

fn perform(
    store: &mut Store,
    zone: &Zone,
    call: Call,
    who: &mut Caller,
    args: [u64; 8],
    payload: Option<&OwnedFd>,
) -> Result<i64, i32> {
    let [operation, first, second, third, ..] = args;
    let id = low_int(first);
    let ids = [second, third].map(low_int);
    let low = |word: u64| u32::try_from(word & 0xffff_ffff).unwrap_or(0);
    let text = || zone.shared.read_text(call.tid);
    let put = |bytes: &[u8]| {
        zone.shared.write_both(call.tid, bytes);
        i64::try_from(bytes.len()).map_err(|_| libc::EIO)
    };
    match operation {
        op::ADD => {
            let data = data(zone, call, third, payload)?;
            let added = store.add(who, Kind::of(first), &text(), data, ids[0]);
            added.map(i64::from)
        }
        op::REQUEST => {
            let found = store.request(who, Kind::of(first), &text(), third != 0, ids[0]);
            found.map(i64::from)
        }
        op::GET_KEYRING_ID => {
            let how = if second == 0 { PLAIN } else { CREATE };
            let found = store.find(who, id, how, For::Rights(SEARCH))?;
            Ok(i64::from(found.serial))
        }
        op::JOIN_SESSION_KEYRING => {
            let name = text();
            let name = (first != 0).then_some(&name[..]);
            store.join(who, name).map(i64::from)
        }
        op::UPDATE => {
            let data = data(zone, call, third, payload)?;
            store.update(who, id, data)
        }
        op::REVOKE => store.revoke(who, id),
        op::CHOWN => store.chown(who, id, [low(second), low(third)]),
        op::SETPERM => store.permit(who, id, low(second)),
        op::DESCRIBE => put(&store.describe(who, id)?),
        op::CLEAR => store.clear_ring(who, id),
        op::LINK => store.link_key(who, id, ids[0]),
        op::UNLINK => store.unlink_key(who, id, ids[0]),
        op::SEARCH => store.search_ring(who, id, Kind::of(second), &text(), ids[1]),
        op::READ => {
            let all = store.read(who, id)?;
            let from = usize::try_from(second).map_err(|_| libc::EINVAL)?;
            let part = all.get(from..).unwrap_or_default();
            zone.shared
                .write_bytes(call.tid, &part[..part.len().min(TEXT_MAX)]);
            i64::try_from(all.len()).map_err(|_| libc::EIO)
        }
        op::SET_REQKEY_KEYRING => store.set_default(who, id),
        op::SET_TIMEOUT => store.expire(who, id, u64::from(low(second))),
        op::GET_SECURITY => {
            store.find(who, id, PARTIAL, For::Rights(VIEW))?;
            Ok(1)
        }
        op::SESSION_TO_PARENT => {
            let session = store.find(who, -3, PLAIN, For::Rights(LINK))?;
            let owner = store.get(session.serial)?.uid;
            to_parent(store, zone, call.tid, session.serial, owner)
        }
        op::INVALIDATE => store.invalidate_key(who, id),
        op::GET_PERSISTENT => store.persist(who, low(first), ids[0]),
        op::RESTRICT_KEYRING => store.restrict(who, id, second != 0),
        op::MOVE => store.move_key(who, id, ids, args[4]),
        _ => Err(libc::EOPNOTSUPP),
    }
}

/// The payload of a call: in the mailbox, or in a file in memory that was handed over.
fn data(zone: &Zone, call: Call, length: u64, payload: Option<&OwnedFd>) -> Result<Vec<u8>, i32> {
    let length = usize::try_from(length).map_err(|_| libc::EINVAL)?;
    if length > DATA_MAX {
        // Too long for any type, whatever it is.
        return Ok(vec![0; DATA_MAX + 1]);
    }
    let Some(file) = payload else {
        let data = zone.shared.read_bytes(call.tid, length);
        return if data.len() == length {
            Ok(data)
        } else {
            Err(libc::EFAULT)
        };
    };
    // Nothing else can be sealed, and to read such a file never waits for anybody.
    fcntl(file, FcntlArg::F_GET_SEALS).map_err(|errno| errno as i32)?;
    let file = File::from(file.try_clone().map_err(super::files::errno)?);
    let mut data = vec![0; length];
    file.read_exact_at(&mut data, 0).map_err(|_| libc::EFAULT)?;
    Ok(data)
}

/// `KEYCTL_SESSION_TO_PARENT`: a parent of the same users that has one thread.
fn to_parent(
    store: &Store,
    zone: &Zone,
    tid: u32,
    session: Serial,
    owner: u32,
) -> Result<i64, i32> {
    let status = crate::proc_text::read(format!("/proc/{tid}/status")).map_err(|_| libc::EPERM)?;
    let field = |key: &str| -> Option<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse().ok()
    };
    let number = |host: Option<u32>| guests::to_zone(&zone.shared, HostPid(host?));
    let own = number(field("Tgid:")).ok_or(libc::EPERM)?;
    let on_host = field("PPid:");
    let parent = number(on_host).ok_or(libc::EPERM)?;
    let threads = on_host.map(|host| guests::threads_of(HostPid(host)).len());
    let process = zone.shared.commons().processes.get(parent.0 as usize);
    let process = process.ok_or(libc::EPERM)?;
    if parent.0 <= 1 || threads != Some(1) {
        return Err(libc::EPERM);
    }
    let before = process.session_ring.load(Relaxed).cast_signed();
    if before == session {
        return Ok(0);
    }
    let (of_parent, of_own) = (zone.credentials(parent), zone.credentials(own));
    let user = of_own.uid[1];
    let is_same = of_parent.uid[..3].iter().all(|id| *id == user)
        && of_parent.gid[..3].iter().all(|id| *id == of_own.gid[1]);
    let is_theirs = store.get(before).is_ok_and(|key| key.uid != user);
    if !is_same || is_theirs || owner != user {
        return Err(libc::EPERM);
    }
    process.session_ring.store(session.cast_unsigned(), Relaxed);
    Ok(0)
}

/// What `/proc/keys` shows a thread.
#[must_use]
pub fn list(zone: &Zone, asking: HostPid) -> Vec<u8> {
    let Ok(number) = super::procfs::zone_process_of(zone, asking) else {
        return Vec::new();
    };
    let Some(process) = zone.shared.commons().processes.get(number.0 as usize) else {
        return Vec::new();
    };
    let mut state = zone.keys.lock();
    state.collect(zone);
    let who = caller(&state.store, zone, asking.0, number, process);
    show::keys(&state.store, &who)
}

/// What `/proc/key-users` shows.
#[must_use]
pub fn users(zone: &Zone) -> Vec<u8> {
    let mut state = zone.keys.lock();
    state.collect(zone);
    show::users(&state.store)
}

/// A limit of `/proc/sys/kernel/keys`.
#[must_use]
pub fn limit(zone: &Zone, name: &str) -> u64 {
    let limits = zone.keys.lock().store.limits;
    let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    match name {
        "maxkeys" => number(limits.keys),
        "maxbytes" => number(limits.bytes),
        "root_maxkeys" => number(limits.root_keys),
        "root_maxbytes" => number(limits.root_bytes),
        _ => limits.persistent,
    }
}

/// Sets such a limit; `None` if it is no value.
pub fn set_limit(zone: &Zone, name: &str, value: u64) -> Option<()> {
    const INT_MAX: u64 = i32::MAX.unsigned_abs() as u64;
    let limits = &mut zone.keys.lock().store.limits;
    if name == "persistent_keyring_expiry" {
        limits.persistent = Some(value).filter(|value| *value <= INT_MAX)?;
        return Some(());
    }
    let place = match name {
        "maxkeys" => &mut limits.keys,
        "maxbytes" => &mut limits.bytes,
        "root_maxkeys" => &mut limits.root_keys,
        "root_maxbytes" => &mut limits.root_bytes,
        _ => return None,
    };
    *place = usize::try_from(value)
        .ok()
        .filter(|_| (1..=INT_MAX).contains(&value))?;
    Some(())
}
