//! What the kernel tells of unix sockets (sock_diag(7)).

use crate::monitor::net::netlink::message::{
    HEADER, Message, NLM_F_DUMP, NLM_F_REQUEST, first, half, word,
};
use crate::monitor::net::sock_diag::{SOCK_DIAG_BY_FAMILY, ask, dump};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use std::os::fd::AsRawFd;

const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_VFS: u32 = 2;
const UDIAG_SHOW_PEER: u32 = 4;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_VFS: u16 = 1;
const UNIX_DIAG_PEER: u16 = 2;
/// Where attributes stand: behind headers and `struct unix_diag_msg`.
const ATTRIBUTES: usize = HEADER + 16;

/// A socket that is bound to a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// The device of its inode, as `st_dev` has it on file systems that show their own.
    pub(super) device: u64,
    /// The path that it was bound by, without the final NUL.
    pub(super) name: Vec<u8>,
}

/// The inode of a unix socket's peer.
pub(in crate::monitor::net) fn peer_of(inode: u64) -> Result<Option<u64>, Errno> {
    let inode = u32::try_from(inode).map_err(|_| Errno::ENOENT)?;
    let diag = ask(request(NLM_F_REQUEST, inode, UDIAG_SHOW_PEER)?)?;
    let mut answer = [0; 512];
    let length = recv(diag.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    let found = answer.get(..length).and_then(|bytes| first(bytes));
    let found = found.filter(|(header, ..)| header.kind == SOCK_DIAG_BY_FAMILY);
    let value = found.and_then(|(_, message, _)| attribute(message, UNIX_DIAG_PEER));
    Ok(value.map(|value| u64::from(word(value, 0))))
}

/// The sockets whose path is an inode of that number, of which the kernel tells the low word.
pub(super) fn bound_to(inode: u64) -> Result<Vec<Bound>, Errno> {
    let low = u32::try_from(inode & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS;
    let mut found = Vec::new();
    dump(request(NLM_F_REQUEST | NLM_F_DUMP, 0, show)?, |message| {
        if let Some(place) = attribute(message, UNIX_DIAG_VFS)
            && word(place, 0) == low
            && let Some(name) = attribute(message, UNIX_DIAG_NAME)
        {
            let device = word(place, 4);
            found.push(Bound {
                device: libc::makedev(device >> 20, device & 0xf_ffff),
                name: name.strip_suffix(&[0]).unwrap_or(name).to_vec(),
            });
        }
    })?;
    Ok(found)
}

/// A request about one socket, by its inode, or about all.
fn request(flags: u16, inode: u32, show: u32) -> Result<Message, Errno> {
    let family = u32::try_from(libc::AF_UNIX).map_err(|_| Errno::EINVAL)?;
    let mut request = Message::new(SOCK_DIAG_BY_FAMILY, flags, 1, 0);
    // struct unix_diag_req (linux/unix_diag.h); a cookie of ones is none.
    for word in [family, u32::MAX, inode, show, u32::MAX, u32::MAX] {
        request.put(&word.to_ne_bytes());
    }
    Ok(request)
}

/// An attribute of a socket.
fn attribute(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = message.get(ATTRIBUTES..)?;
    loop {
        let length = usize::from(half(rest, 0));
        let value = rest.get(4..length)?;
        if half(rest, 2) == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}
