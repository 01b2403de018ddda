//! Datagrams with what rides along: descriptors, and the card that tells who sent them.

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, sendmsg,
};
use picozone_personality::card::{Card, Sender};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Most descriptors that are carried with one datagram, the card included.
const RIGHTS_MAX: usize = 17;

/// A datagram.
pub(super) struct Letter {
    pub(super) bytes: Vec<u8>,
    /// The card is the first.
    pub(super) rights: Vec<OwnedFd>,
}

/// What a read of a socket gave.
pub(super) enum Arrival {
    /// A letter, and the host pid of who sent it; 0 if that is not known.
    Letter(Letter, u32),
    /// Nobody is at the other end any more.
    End,
}

/// Takes a datagram, without waiting. The socket tells credentials (`SO_PASSCRED`).
///
/// # Errors
/// Those of recvmsg(2).
pub(super) fn receive(from: &OwnedFd, buffer: &mut [u8]) -> Result<Arrival, Errno> {
    let mut space = cmsg_space!([RawFd; RIGHTS_MAX], UnixCredentials);
    let mut rights = Vec::new();
    let mut pid = None;
    let length = {
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        // Control data that was cut says nothing that can be read.
        for control in message.cmsgs().into_iter().flatten() {
            match control {
                ControlMessageOwned::ScmRights(fds) => {
                    // SAFETY: the kernel has just made these descriptors for us.
                    rights.extend(
                        fds.into_iter()
                            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                    );
                }
                ControlMessageOwned::ScmCredentials(who) => pid = u32::try_from(who.pid()).ok(),
                _ => {}
            }
        }
        message.bytes
    };
    // The end has no sender; an empty datagram has.
    if length == 0 && pid.is_none() {
        return Ok(Arrival::End);
    }
    let bytes = buffer.get(..length).unwrap_or_default().to_vec();
    Ok(Arrival::Letter(Letter { bytes, rights }, pid.unwrap_or(0)))
}

/// Sends a datagram, without waiting; without what rides along where that is too much.
///
/// # Errors
/// Those of sendmsg(2).
pub(super) fn send(to: &OwnedFd, letter: &Letter) -> Result<(), Errno> {
    let rights: Vec<RawFd> = letter.rights.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&rights)];
    let control = if rights.is_empty() { &[] } else { &control[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let parts = [IoSlice::new(&letter.bytes)];
    match sendmsg::<()>(to.as_raw_fd(), &parts, control, flags, None) {
        Err(Errno::ETOOMANYREFS) => sendmsg::<()>(to.as_raw_fd(), &parts, &[], flags, None),
        other => other,
    }
    .map(drop)
}

/// A card. `None` where there is no room for one: the receiver sees a sender without a name.
pub(super) fn card(sender: Sender, address: &[u8]) -> Option<OwnedFd> {
    let content = Card { sender, address }.encode()?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"card", flags).ok()?);
    file.write_all(&content).ok()?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all())).ok()?;
    Some(file.into())
}
