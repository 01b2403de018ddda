//! Who asked for a connection that the monitor made: the kernel tells the other end of the monitor.
//!
//! Kept by the inode of the connecting socket. The accepted end finds it by what the kernel says its
//! peer is ([`peer_of`]).

use super::Credentials;
use super::diag::peer_of;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many are kept before those of closed sockets go.
const PEERS_MAX: usize = 4096;

/// Who connected which socket.
#[derive(Default)]
pub(super) struct Peers(Mutex<HashMap<u64, Credentials>>);

/// The number of a socket, which no other has as long as it lives.
pub(super) fn inode(socket: &OwnedFd) -> Option<u64> {
    nix::sys::stat::fstat(socket).ok().map(|data| data.st_ino)
}

impl Peers {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Credentials>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps who connects a socket.
    pub(super) fn note(&self, socket: &OwnedFd, who: Credentials) {
        let Some(inode) = inode(socket) else { return };
        let mut peers = self.lock();
        if peers.len() >= PEERS_MAX {
            let list = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
            let inode = |line: &str| line.split_ascii_whitespace().nth(6)?.parse().ok();
            let alive: HashSet<u64> = list.lines().filter_map(inode).collect();
            peers.retain(|inode, _| alive.contains(inode));
        }
        peers.insert(inode, who);
    }

    /// Who connected the other end of an accepted socket; unknown once that is closed.
    pub(super) fn of(&self, socket: &OwnedFd) -> Credentials {
        let other = inode(socket).and_then(|inode| peer_of(inode).ok()?);
        other
            .and_then(|inode| self.lock().get(&inode).copied())
            .unwrap_or(Credentials::UNKNOWN)
    }
}
