//! Who asked for a connection that the monitor made: the kernel tells the other end of the monitor.
//!
//! Kept by the inode of the connecting socket. The accepted end finds it by what the kernel says its
//! peer is ([`peer_of`]), as long as that is open.
//! A peer that is gone has left its name: a socket without one is given a name that says who connects it
//! ([`name_of`]) once it is connected, which reads as none in the zone; for one that its owner has named,
//! that name is kept, too.

use super::Credentials;
use super::diag::peer_of;
use picozone_personality::net::CONNECTED;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many are kept of each kind before those of closed sockets go.
const PEERS_MAX: usize = 4096;

/// Who connected which socket.
#[derive(Default)]
pub(super) struct Peers(Mutex<Known>);

#[derive(Default)]
struct Known {
    inodes: HashMap<u64, Credentials>,
    /// By what the kernel holds as their names.
    names: HashMap<Vec<u8>, Credentials>,
}

/// The number of a socket, which no other has as long as it lives.
pub(super) fn inode(socket: &OwnedFd) -> Option<u64> {
    nix::sys::stat::fstat(socket).ok().map(|data| data.st_ino)
}

/// The name of a socket that somebody without a name has connected, behind the leading NUL; `unique` is
/// of the zone's address and a number that no other has.
pub(super) fn name_of(who: Credentials, unique: &str) -> Vec<u8> {
    let Credentials { pid, uid, gid } = who;
    let own = format!("{pid}.{uid}.{gid}/{unique}");
    [CONNECTED, own.as_bytes()].concat()
}

/// Who connected a socket of such a name, which begins with a NUL.
fn named(host: &[u8]) -> Option<Credentials> {
    let own = host.strip_prefix(&[0])?.strip_prefix(CONNECTED)?;
    let who = std::str::from_utf8(own).ok()?.split('/').next()?;
    let mut words = who.split('.').map(|word| word.parse().ok());
    let mut next = || words.next().flatten();
    Some(Credentials {
        pid: next()?,
        uid: next()?,
        gid: next()?,
    })
}

/// Whether a name, which begins with a NUL, is one of [`name_of`].
pub(super) fn is_ours(host: &[u8]) -> bool {
    named(host).is_some()
}

impl Peers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps who connects a socket.
    pub(super) fn note(&self, socket: &OwnedFd, who: Credentials) {
        let Some(inode) = inode(socket) else { return };
        let inode_of = |line: &str| line.split_ascii_whitespace().nth(6)?.parse().ok();
        keep(&mut self.lock().inodes, inode, who, inode_of);
    }

    /// Keeps who connects a socket of that name.
    pub(super) fn note_name(&self, host: Vec<u8>, who: Credentials) {
        let name_of = |line: &str| {
            let name = line.split_ascii_whitespace().nth(7)?.as_bytes();
            Some(match name {
                [b'@', rest @ ..] => [&[0], rest].concat(),
                path => path.to_vec(),
            })
        };
        keep(&mut self.lock().names, host, who, name_of);
    }

    /// Who connected the other end of an accepted socket; `name` is the one that this end tells of it.
    pub(super) fn of(&self, socket: &OwnedFd, name: Option<&[u8]>) -> Credentials {
        let other = inode(socket).and_then(|inode| peer_of(inode).ok()?);
        let known = self.lock();
        other
            .and_then(|inode| known.inodes.get(&inode).copied())
            .or_else(|| named(name?))
            .or_else(|| known.names.get(name?).copied())
            .unwrap_or(Credentials::UNKNOWN)
    }
}

/// Keeps one more; `key_of` finds in a line of `/proc/net/unix` what is there still.
fn keep<K: Eq + Hash>(
    all: &mut HashMap<K, Credentials>,
    key: K,
    who: Credentials,
    key_of: impl Fn(&str) -> Option<K>,
) {
    if all.len() >= PEERS_MAX {
        let list = std::fs::read("/proc/net/unix").unwrap_or_default();
        let list = String::from_utf8_lossy(&list);
        let alive: HashSet<K> = list.lines().filter_map(key_of).collect();
        all.retain(|key, _| alive.contains(key));
    }
    all.insert(key, who);
}
