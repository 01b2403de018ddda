//! The control socket: one JSON document a packet, descriptors beside it.

use crate::control::PACKET_MAX;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, bind, connect, getsockopt, listen as listen_on, recvmsg, sendmsg, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::OpenOptions;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[path = "channel_unsafe.rs"]
mod raw;

/// Most descriptors that a packet carries.
pub const DESCRIPTORS_MAX: usize = 4;

/// Name of the socket in `run/`.
const SOCKET: &str = "control.sock";

/// One connection of the control socket, at either end.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

/// A path may be longer than `sun_path` (108 bytes), the name of a descriptor never is.
fn short(run_dir: &Path) -> io::Result<(std::fs::File, PathBuf)> {
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(run_dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()));
    Ok((dir, path))
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}

/// Makes the listening socket of a zone; for the monitor.
///
/// # Errors
/// Those of `bind` and `listen`; EADDRINUSE where `run/` was not made anew.
pub fn listen(run_dir: &Path) -> io::Result<OwnedFd> {
    let socket = seqpacket()?;
    let (_dir, path) = short(run_dir)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
    listen_on(&socket, Backlog::new(64)?)?;
    Ok(socket)
}

impl Channel {
    /// Connects to the monitor of a zone; waits at most `patience` for it and for each answer.
    ///
    /// # Errors
    /// ECONNREFUSED or ENOENT where no monitor listens.
    pub fn connect(run_dir: &Path, patience: Duration) -> io::Result<Self> {
        let socket = seqpacket()?;
        let patience = TimeVal::new(
            i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            i64::from(patience.subsec_micros()),
        );
        setsockopt(&socket, sockopt::SendTimeout, &patience)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
        let (_dir, path) = short(run_dir)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
        Ok(Self { socket })
    }

    /// Wraps an accepted connection; for the monitor.
    #[must_use]
    pub fn accepted(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Ends the connection for both sides; a blocked [`Channel::receive`] returns.
    pub fn close(&self) {
        let _ =
            nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    /// The user of the other end when it connected.
    ///
    /// # Errors
    /// Those of `getsockopt`.
    pub fn peer_uid(&self) -> io::Result<u32> {
        Ok(getsockopt(&self.socket, PeerCredentials)?.uid())
    }

    /// From now on answers may take any time.
    ///
    /// # Errors
    /// Those of `setsockopt`.
    pub fn wait_for_ever(&self) -> io::Result<()> {
        Ok(setsockopt(
            &self.socket,
            sockopt::ReceiveTimeout,
            &TimeVal::new(0, 0),
        )?)
    }

    /// Sends one packet.
    ///
    /// # Errors
    /// `InvalidInput` where the message is longer than [`PACKET_MAX`]; those of `sendmsg`, EPIPE
    /// where the other end is gone.
    pub fn send<T: Serialize>(
        &self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if text.len() > PACKET_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a message of {} bytes is longer than {PACKET_MAX}",
                    text.len()
                ),
            ));
        }
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
        loop {
            let text = [IoSlice::new(&text)];
            match sendmsg::<UnixAddr>(
                self.socket.as_raw_fd(),
                &text,
                rights,
                MsgFlags::MSG_NOSIGNAL,
                None,
            ) {
                Err(nix::errno::Errno::EINTR) => {}
                other => return Ok(other.map(drop)?),
            }
        }
    }

    /// Receives one packet; `None` when the other end is gone.
    ///
    /// # Errors
    /// EAGAIN when patience has run out, `InvalidData` where it is no message of this protocol.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut text = vec![0; PACKET_MAX];
        let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
        let mut descriptors = Vec::new();
        let (length, is_cut) = loop {
            let mut parts = [IoSliceMut::new(&mut text)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<UnixAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags)
            {
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
                Err(errno) => return Err(errno.into()),
                Ok(packet) => {
                    for control in packet.cmsgs()? {
                        if let ControlMessageOwned::ScmRights(received) = control {
                            descriptors.extend(received.into_iter().map(raw::own));
                        }
                    }
                    let cut = MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC;
                    break (packet.bytes, packet.flags.intersects(cut));
                }
            }
        };
        if length == 0 {
            return Ok(None);
        }
        if is_cut {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a packet longer than the protocol allows",
            ));
        }
        Ok(Some((
            serde_json::from_slice(&text[..length])?,
            descriptors,
        )))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Reply, Request};
    use nix::sys::socket::accept;

    #[test]
    fn packets_carry_descriptors_over_a_long_path() {
        let temporary = tempfile::tempdir().expect("a directory");
        let dir = temporary.path().join("x".repeat(200));
        std::fs::create_dir(&dir).expect("made");
        let listening = listen(&dir).expect("listening");
        let here = Channel::connect(&dir, Duration::from_secs(10)).expect("connected");
        let accepted = raw::own(accept(listening.as_raw_fd()).expect("accepted"));
        let there = Channel::accepted(accepted);
        assert_eq!(
            there.peer_uid().expect("known"),
            nix::unistd::geteuid().as_raw()
        );
        let null = std::fs::File::open("/dev/null").expect("open");
        here.send(
            &Request::Status,
            &[null.as_fd(), null.as_fd(), null.as_fd()],
        )
        .expect("sent");
        let (request, descriptors) = there
            .receive::<Request>()
            .expect("received")
            .expect("a packet");
        assert!(matches!(request, Request::Status));
        assert_eq!(descriptors.len(), 3);
        there.send(&Reply::Ok, &[]).expect("sent");
        assert!(matches!(here.receive::<Reply>(), Ok(Some((Reply::Ok, _)))));
        let long = Reply::Error {
            message: "x".repeat(PACKET_MAX),
        };
        assert!(there.send(&long, &[]).is_err());
        drop(there);
        assert!(matches!(here.receive::<Reply>(), Ok(None)));
    }
}
