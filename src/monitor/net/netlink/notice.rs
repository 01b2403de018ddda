//! Notices of POSIX queues (mq_notify(2), `SIGEV_THREAD`).
//!
//! The kernel sends such a notice to a netlink socket, which no guest has. So a real one is made for each
//! request: the guest hands it to the kernel and closes it, and what comes there, one message, goes on to
//! the socket that stands for the guest's. It is one of `NETLINK_KOBJECT_UEVENT`: without capabilities
//! nothing can be sent by it, and what it could join no filter lets through.

use super::{Arrival, Netlink, Socket};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, UnixAddr, getsockname, recv, send};
use nix::sys::stat::fstat;
use picozone_personality::net::netlink::{ADDRESS_LEN, address};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Most notices of a zone that are still to come.
pub(super) const NOTICES_MAX: usize = 256;
/// `NOTIFY_COOKIE_LEN` (include/linux/mqueue.h).
const LENGTH: usize = 32;

/// A notice to come.
pub(super) struct Notice {
    /// Where the kernel sends it.
    pub(super) fd: OwnedFd,
    pub(super) inode: u64,
    /// The guest's `nl_pid`.
    port: u32,
}

impl Netlink {
    /// A socket whose one message goes on to a stand-in.
    ///
    /// # Errors
    /// EINVAL: it is none. Those of socket(2).
    pub(in super::super) fn notice(&self, stand_in: &OwnedFd) -> Result<OwnedFd, Errno> {
        let name = getsockname::<UnixAddr>(stand_in.as_raw_fd()).map_err(|_| Errno::EINVAL)?;
        let name = name.as_abstract().ok_or(Errno::EINVAL)?;
        let whole = [&libc::AF_UNIX.to_ne_bytes()[..2], &[0], name].concat();
        let told: [u8; ADDRESS_LEN] = address(self.net.low, &whole).ok_or(Errno::EINVAL)?;
        let [_, _, _, _, a, b, c, d, ..] = told;
        // SAFETY: takes numbers only.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_KOBJECT_UEVENT,
            )
        };
        // SAFETY: the kernel has just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(Errno::result(fd)?) };
        let guests = fd.try_clone().map_err(|_| Errno::EMFILE)?;
        self.tell(Arrival::Notice(Notice {
            inode: fstat(&fd)?.st_ino,
            fd,
            port: u32::from_le_bytes([a, b, c, d]),
        }))?;
        Ok(guests)
    }

    /// Nothing will come to what [`Netlink::notice`] made.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub(in super::super) fn forget_notice(&self, kernels: &OwnedFd) -> Result<(), Errno> {
        self.tell(Arrival::Forgotten(fstat(kernels.as_fd())?.st_ino))
    }
}

impl Notice {
    /// Passes the message on, if it has come; false then.
    pub(super) fn serve(&self, sockets: &[Socket]) -> bool {
        let mut message = [0; LENGTH];
        match recv(self.fd.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => {
                let message = message.get(..length).unwrap_or_default();
                if let Some(socket) = sockets.iter().find(|socket| socket.port == self.port) {
                    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                    // What has no room is lost, as of other answers.
                    let _ = send(socket.fd.as_raw_fd(), message, flags);
                }
                false
            }
            Err(errno) => matches!(errno, Errno::EAGAIN | Errno::EINTR),
        }
    }
}
