//! Questions to the kernel about sockets (sock_diag(7)).

use super::netlink::message::{Message, NLMSG_DONE, NLMSG_ERROR, first};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::os::fd::{AsRawFd, OwnedFd};

/// Type of requests and answers.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// Sends a request; gives who answers.
pub(super) fn ask(request: Message) -> Result<OwnedFd, Errno> {
    let diag = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(
        diag.as_raw_fd(),
        &request.finish(),
        &kernel,
        MsgFlags::empty(),
    )?;
    Ok(diag)
}

/// Asks about all sockets of a family, and shows each answer, its header in front.
///
/// # Errors
/// EOPNOTSUPP: the kernel does not tell (it lacks the module of that family).
pub(super) fn dump(request: Message, mut each: impl FnMut(&[u8])) -> Result<(), Errno> {
    const ROOM: usize = 1 << 16;
    let diag = ask(request)?;
    let mut buffer = vec![0; ROOM];
    loop {
        let length = recv(diag.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        if rest.is_empty() {
            return Err(Errno::EIO);
        }
        while let Some((header, message, more)) = first(rest) {
            match header.kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return Err(Errno::EOPNOTSUPP),
                _ => each(message),
            }
            rest = more;
        }
    }
}
