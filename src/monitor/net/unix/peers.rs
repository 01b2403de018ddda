//! Who asked for a connection that the monitor made: the kernel tells the other end of the monitor.
//!
//! Kept by the inode of the connecting socket. The accepted end finds it by what the kernel says its
//! peer is (sock_diag(7), `UDIAG_SHOW_PEER`).

use super::Credentials;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd, OwnedFd};
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

/// The inode of a unix socket's peer.
fn peer_of(inode: u64) -> Result<Option<u64>, Errno> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const UDIAG_SHOW_PEER: u32 = 4;
    let diag = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let inode = u32::try_from(inode).map_err(|_| Errno::ENOENT)?;
    let family = u32::try_from(libc::AF_UNIX).map_err(|_| Errno::EINVAL)?;
    // struct nlmsghdr and struct unix_diag_req (linux/unix_diag.h); a cookie of ones is none.
    let [length, sequence, port] = [40u32, 1, 0];
    let kinds = u32::from(SOCK_DIAG_BY_FAMILY) | u32::from(NLM_F_REQUEST) << 16;
    let words = [
        length,
        kinds,
        sequence,
        port,
        family,
        u32::MAX,
        inode,
        UDIAG_SHOW_PEER,
        u32::MAX,
        u32::MAX,
    ];
    let request = words.map(u32::to_ne_bytes);
    sendto(
        diag.as_raw_fd(),
        request.as_flattened(),
        &NetlinkAddr::new(0, 0),
        MsgFlags::empty(),
    )?;
    let mut answer = [0; 512];
    let length = recv(diag.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    Ok(answer.get(..length).and_then(peer_in))
}

/// Finds `UNIX_DIAG_PEER` behind the headers of an answer.
fn peer_in(answer: &[u8]) -> Option<u64> {
    const HEADERS: usize = 16 + 16;
    const UNIX_DIAG_PEER: u16 = 2;
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    if kind != 20 {
        return None;
    }
    let mut rest = answer.get(HEADERS..)?;
    while let [a, b, c, d, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([c, d]) == UNIX_DIAG_PEER {
            return Some(u64::from(u32::from_ne_bytes(*value.first_chunk()?)));
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}
