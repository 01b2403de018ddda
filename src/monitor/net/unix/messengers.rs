//! Datagrams to an address.
//!
//! Only the monitor can name a path. But what it sent itself would come from nobody: the kernel tells
//! the process of who sends. So a guest sends by a *messenger*, which is connected to the address and
//! bound to an abstract name that reads as that of the guest's socket.

use super::name::FAMILY;
use super::{Caller, Unix};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    bind, connect, getsockopt, recvmsg, sendmsg, setsockopt, socket,
    sockopt::{RcvBuf, SndBuf},
};
use std::collections::{BTreeMap, HashMap};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

/// How many names of senders are kept; older ones read as none.
const ALIASES_MAX: usize = 4096;
/// Most descriptors that ride along with one datagram (`SCM_MAX_FD`).
const RIGHTS_MAX: usize = 253;

/// The names that messengers show, by number.
#[derive(Default)]
pub(super) struct Aliases(Mutex<Known>);

#[derive(Default)]
struct Known {
    numbers: HashMap<Vec<u8>, u64>,
    names: BTreeMap<u64, Vec<u8>>,
}

impl Aliases {
    /// The number of a name; `new` if it has none yet.
    fn number(&self, told: &[u8], new: u64) -> u64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.numbers.get(told) {
            return *number;
        }
        if known.names.len() >= ALIASES_MAX
            && let Some((_, oldest)) = known.names.pop_first()
        {
            known.numbers.remove(&oldest);
        }
        known.numbers.insert(told.to_vec(), new);
        known.names.insert(new, told.to_vec());
        new
    }

    /// The name that stands behind `NUMBER/MESSENGER`.
    pub(super) fn told(&self, name: &[u8]) -> Option<Vec<u8>> {
        let number = std::str::from_utf8(name).ok()?.split('/').next()?;
        let number: u64 = number.parse().ok()?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.names.get(&number).cloned()
    }
}

impl Unix {
    /// A socket that sends to an address in place of a guest's datagram socket.
    ///
    /// # Errors
    /// `EPERM`: who is there hears one peer only, which may be the guest's socket; those of
    /// connect(2).
    pub fn messenger(
        &self,
        caller: &impl Caller,
        guest: &OwnedFd,
        address: &[u8],
    ) -> Result<OwnedFd, Errno> {
        let (target, _inode) = self.target(caller, address)?;
        let messenger = datagrams()?;
        let name = self.own_name(guest);
        // Without a name it tells none.
        if name.len() > FAMILY {
            let number = self.aliases.number(&name, self.unique());
            let own = format!("{number}/{}", self.unique());
            let alias = [&self.alias_prefix[..], own.as_bytes()].concat();
            bind(messenger.as_raw_fd(), &UnixAddr::new_abstract(&alias)?)?;
        }
        connect(messenger.as_raw_fd(), &target)?;
        let room = getsockopt(guest, SndBuf)?;
        if room != getsockopt(&messenger, SndBuf)? {
            // The kernel doubles what it is given.
            setsockopt(&messenger, SndBuf, &(room / 2))?;
        }
        Ok(messenger)
    }

    /// Sends the datagram that `letter` holds from a guest's own socket to an address, without
    /// waiting.
    ///
    /// # Errors
    /// Those of sendmsg(2) and of path resolution.
    pub fn send(
        &self,
        caller: &impl Caller,
        guest: &OwnedFd,
        letter: &OwnedFd,
        address: &[u8],
    ) -> Result<(), Errno> {
        let (target, _inode) = self.target(caller, address)?;
        let (bytes, rights) = receive(letter)?;
        let rights: Vec<RawFd> = rights.iter().map(AsRawFd::as_raw_fd).collect();
        let control = [ControlMessage::ScmRights(&rights)];
        let control = if rights.is_empty() { &[] } else { &control[..] };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let parts = [IoSlice::new(&bytes)];
        sendmsg(guest.as_raw_fd(), &parts, control, flags, Some(&target)).map(drop)
    }
}

/// A datagram socket without a name.
pub(super) fn datagrams() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::Datagram, flags, None)
}

/// Takes a datagram and its descriptors, without waiting.
pub(super) fn receive(from: &OwnedFd) -> Result<(Vec<u8>, Vec<OwnedFd>), Errno> {
    // None is larger than what may wait at a socket.
    let mut bytes = vec![0; getsockopt(from, RcvBuf)?.max(1 << 18)];
    let mut space = cmsg_space!([RawFd; RIGHTS_MAX]);
    let mut rights = Vec::new();
    let length = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        for control in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(fds) = control {
                // SAFETY: the kernel has just made these descriptors for us.
                rights.extend(
                    fds.into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
        message.bytes
    };
    bytes.truncate(length);
    Ok((bytes, rights))
}
