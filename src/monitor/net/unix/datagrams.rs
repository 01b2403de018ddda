//! Datagram sockets that receive.
//!
//! No guest has a real one: with it, it could send to any path of the host, since no wall sees the
//! address in a `struct msghdr`. A `SOCK_SEQPACKET` socket stands for each. Where one is bound, the
//! monitor listens at that name; what senders send is carried to the guest's socket, whose other end
//! the monitor holds. One thread for the zone, from the first such bind on; it never waits for a
//! guest: a full queue holds up that queue's senders, as natively.

use super::packets;
use crate::monitor::net::inet::accept;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    Backlog, MsgFlags, UnixAddr, connect, getsockname, getsockopt, listen, recv, send,
    sockopt::PeerCredentials,
};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// Most bound datagram sockets of a zone.
const RECEIVERS_MAX: usize = 256;
/// Most connections to one of them.
const SENDERS_MAX: usize = 256;
/// Longest datagram, in bytes: the kernel's default limit of a unix socket.
const DATAGRAM_MAX: usize = 212_992;

/// The carrier; ends when dropped.
#[derive(Default)]
pub struct Datagrams(Mutex<Option<Carrier>>);

struct Carrier {
    new: Sender<Mailbox>,
    wake: PipeWriter,
}

/// A bound datagram socket.
struct Mailbox {
    listener: OwnedFd,
    /// The other end of the guest's socket.
    inner: OwnedFd,
    senders: Vec<OwnedFd>,
    /// A datagram that the guest's queue had no room for.
    held: Option<Vec<u8>>,
    is_over: bool,
}

impl Datagrams {
    /// Serves `listener` for a guest's socket, which is bound and not connected.
    ///
    /// # Errors
    /// `EMFILE`, `ENOBUFS`, `EAGAIN`: there is no room for it.
    pub(super) fn add(&self, listener: OwnedFd, guest: &OwnedFd) -> Result<(), Errno> {
        let inner = joined(guest)?;
        listen(&listener, Backlog::new(128)?)?;
        let mailbox = Mailbox {
            listener,
            inner,
            senders: Vec::new(),
            held: None,
            is_over: false,
        };
        let mut carrier = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if carrier.is_none() {
            *carrier = Some(start()?);
        }
        let carrier = carrier.as_mut().ok_or(Errno::ENOBUFS)?;
        carrier.new.send(mailbox).map_err(|_| Errno::ENOBUFS)?;
        carrier.wake.write_all(&[0]).map_err(|_| Errno::ENOBUFS)
    }
}

/// Connects a guest's socket to one of ours; that one.
fn joined(guest: &OwnedFd) -> Result<OwnedFd, Errno> {
    let door = packets()?;
    nix::sys::socket::bind(door.as_raw_fd(), &UnixAddr::new_unnamed())?;
    listen(&door, Backlog::new(1)?)?;
    let at: UnixAddr = getsockname(door.as_raw_fd())?;
    super::without_waiting(guest, || connect(guest.as_raw_fd(), &at))?;
    let inner = accept(&door)?;
    // Another program of the host may have been faster.
    let peer = getsockopt(&inner, PeerCredentials)?;
    if u32::try_from(peer.pid()) == Ok(std::process::id()) {
        Ok(inner)
    } else {
        Err(Errno::EAGAIN)
    }
}

fn start() -> Result<Carrier, Errno> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let (woken, wake) = std::io::pipe().map_err(errno)?;
    let (new, arrivals) = channel();
    std::thread::Builder::new()
        .name("datagrams".into())
        .spawn(move || run(&arrivals, woken))
        .map_err(errno)?;
    Ok(Carrier { new, wake })
}

/// The thread.
fn run(arrivals: &Receiver<Mailbox>, mut woken: PipeReader) {
    let mut mailboxes: Vec<Mailbox> = Vec::new();
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let is_woken = {
            let mut fds = vec![PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
            fds.extend(mailboxes.iter().flat_map(Mailbox::interests));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::warn!("datagrams of unix sockets are not carried any more: {error}");
                    return;
                }
            }
            let events = fds.first().and_then(PollFd::revents);
            events.is_some_and(|events| !events.is_empty())
        };
        if is_woken {
            match woken.read(&mut [0; 64]) {
                Ok(0) | Err(_) => return,
                Ok(_) => mailboxes.extend(arrivals.try_iter()),
            }
            // What is refused is closed: senders see that nobody is there.
            mailboxes.truncate(RECEIVERS_MAX);
        }
        for mailbox in &mut mailboxes {
            mailbox.carry(&mut buffer);
        }
        mailboxes.retain(|mailbox| !mailbox.is_over);
    }
}

impl Mailbox {
    /// What to wait for: with a datagram held, for room only.
    fn interests(&self) -> impl Iterator<Item = PollFd<'_>> {
        let is_open = self.held.is_none();
        let inner = if is_open {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        };
        let is_room = is_open && self.senders.len() < SENDERS_MAX;
        let listener = is_room.then(|| PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
        let senders = if is_open { &self.senders[..] } else { &[] };
        std::iter::once(PollFd::new(self.inner.as_fd(), inner))
            .chain(listener)
            .chain(
                senders
                    .iter()
                    .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
            )
    }

    /// Moves what can be moved without waiting.
    fn carry(&mut self, buffer: &mut [u8]) {
        // What the guest sends goes nowhere; an end of file is the guest's.
        match recv(self.inner.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => self.is_over = true,
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.is_over = true,
        }
        if let Some(datagram) = self.held.take() {
            self.deliver(&datagram);
        }
        while self.senders.len() < SENDERS_MAX
            && let Ok(sender) = accept(&self.listener)
        {
            self.senders.push(sender);
        }
        let mut at = 0;
        while self.held.is_none()
            && let Some(sender) = self.senders.get(at)
        {
            match recv(sender.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => drop(self.senders.remove(at)),
                Ok(length) => {
                    let datagram = buffer.get(..length).unwrap_or_default().to_vec();
                    self.deliver(&datagram);
                }
                Err(Errno::EAGAIN | Errno::EINTR) => at += 1,
                Err(_) => drop(self.senders.remove(at)),
            }
        }
    }

    fn deliver(&mut self, datagram: &[u8]) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.inner.as_raw_fd(), datagram, flags) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EINTR) => self.held = Some(datagram.to_vec()),
            Err(_) => self.is_over = true,
        }
    }
}
