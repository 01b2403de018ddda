//! Datagram sockets that receive.
//!
//! No guest has a real one: with it, it could send to any path of the host, since no wall sees the
//! address in a `struct msghdr`. A `SOCK_SEQPACKET` socket stands for each. Where one is bound, the
//! monitor listens at that name; what senders send is carried to the guest's socket, whose other end
//! the monitor holds, and what the guest sends to whom it is connected. One thread for the zone, from
//! the first such bind on; it never waits for a guest: a full queue holds up that queue's senders, as
//! natively.
//!
//! Locks: `carrier`, then `bound`, then that of a [`Connection`]; the thread takes one at a time.

use super::letters::{self, Arrival, Letter};
use super::{packets, peers::inode};
use crate::monitor::net::inet::accept;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    Backlog, UnixAddr, connect, getpeername, getsockname, getsockopt, listen, setsockopt,
    sockopt::{PassCred, PeerCredentials},
};
use picozone_personality::card;
use std::collections::HashMap;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most bound datagram sockets of a zone.
const RECEIVERS_MAX: usize = 256;
/// Most connections to one of them.
const SENDERS_MAX: usize = 256;
/// Longest datagram, in bytes: the kernel's default limit of a unix socket.
const DATAGRAM_MAX: usize = 212_992;
/// Most datagrams of one socket that are moved before others' turn.
const TURN: usize = 32;

/// Whom a bound socket is connected to.
pub(super) struct Peer {
    /// Connected to where it receives.
    pub(super) socket: OwnedFd,
    /// Whether that is in the zone, so that cards and descriptors may ride along.
    pub(super) is_ours: bool,
    /// Its address in the zone's terms.
    pub(super) address: Vec<u8>,
}

/// Of one bound socket; empty while it is not connected.
type Connection = Arc<Mutex<Option<Arc<Peer>>>>;

/// What others than the carrier need of a bound socket.
struct Known {
    /// Where the monitor listens for it, on the host, if no other socket can have that name.
    listens_at: Option<UnixAddr>,
    /// The other end of the guest's socket.
    inner: Arc<OwnedFd>,
    connection: Connection,
}

/// Bound sockets, by inode.
type Bound = Arc<Mutex<HashMap<u64, Known>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bound sockets and their carrier, which ends when dropped.
#[derive(Default)]
pub struct Datagrams {
    carrier: Mutex<Option<Carrier>>,
    bound: Bound,
}

struct Carrier {
    new: Sender<Mailbox>,
    wake: PipeWriter,
}

/// A bound datagram socket.
struct Mailbox {
    /// The guest's socket, and its address in the zone's terms.
    inode: u64,
    address: Vec<u8>,
    listener: OwnedFd,
    /// The other end of the guest's socket.
    inner: Arc<OwnedFd>,
    senders: Vec<OwnedFd>,
    connection: Connection,
    /// A datagram that the guest's queue had no room for.
    held: Option<Letter>,
    /// One of the guest's for which its peer's queue had none.
    outgoing: Option<(Letter, Arc<Peer>)>,
    is_over: bool,
}

impl Datagrams {
    /// Serves `listener` for a guest's socket, which is bound and not connected, by its address in
    /// the zone's terms; `is_unique`: no other socket can have the listener's name.
    ///
    /// # Errors
    /// `EMFILE`, `ENOBUFS`, `EAGAIN`: there is no room for it.
    pub(super) fn add(
        &self,
        listener: OwnedFd,
        guest: &OwnedFd,
        address: Vec<u8>,
        is_unique: bool,
    ) -> Result<(), Errno> {
        let inode = inode(guest).ok_or(Errno::EBADF)?;
        let inner = joined(guest)?;
        for socket in [&inner, &listener] {
            setsockopt(socket, PassCred, &true)?;
        }
        listen(&listener, Backlog::new(128)?)?;
        let (inner, connection) = (Arc::new(inner), Connection::default());
        let known = Known {
            listens_at: getsockname(listener.as_raw_fd()).ok().filter(|_| is_unique),
            inner: Arc::clone(&inner),
            connection: Arc::clone(&connection),
        };
        let mailbox = Mailbox {
            inode,
            address,
            listener,
            inner,
            senders: Vec::new(),
            connection,
            held: None,
            outgoing: None,
            is_over: false,
        };
        let mut carrier = lock(&self.carrier);
        if carrier.is_none() {
            *carrier = Some(start(Arc::clone(&self.bound))?);
        }
        let carrier = carrier.as_mut().ok_or(Errno::ENOBUFS)?;
        lock(&self.bound).insert(inode, known);
        carrier.new.send(mailbox).map_err(|_| Errno::ENOBUFS)?;
        carrier.wake.write_all(&[0]).map_err(|_| Errno::ENOBUFS)
    }

    fn connection(&self, socket: &OwnedFd) -> Option<Connection> {
        let inode = inode(socket)?;
        let bound = lock(&self.bound);
        bound.get(&inode).map(|known| Arc::clone(&known.connection))
    }

    /// Puts a letter right into the queue of the socket that a messenger is connected to, so that it
    /// is there when the sender goes on. `None`: it is no bound datagram socket.
    ///
    /// # Errors
    /// `EAGAIN`: the queue is full; others of sendmsg(2).
    pub(super) fn deliver(
        &self,
        messenger: &OwnedFd,
        letter: &Letter,
    ) -> Option<Result<(), Errno>> {
        let to: UnixAddr = getpeername(messenger.as_raw_fd()).ok()?;
        let inner = {
            let bound = lock(&self.bound);
            let mut all = bound.values();
            let known = all.find(|known| known.listens_at.as_ref() == Some(&to))?;
            Arc::clone(&known.inner)
        };
        Some(match letters::send(&inner, letter) {
            // It is being closed.
            Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => Err(Errno::ECONNREFUSED),
            other => other,
        })
    }

    /// Whether a guest's socket is one of the bound.
    pub(super) fn has(&self, socket: &OwnedFd) -> bool {
        self.connection(socket).is_some()
    }

    /// Connects a bound socket anew, or to nobody.
    pub(super) fn connect(&self, socket: &OwnedFd, peer: Option<Peer>) {
        if let Some(connection) = self.connection(socket) {
            *lock(&connection) = peer.map(Arc::new);
        }
    }

    /// The address of whom a bound socket is connected to.
    pub(super) fn peer_address(&self, socket: &OwnedFd) -> Option<Vec<u8>> {
        let connection = self.connection(socket)?;
        let peer = lock(&connection).clone();
        peer.map(|peer| peer.address.clone())
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

fn start(bound: Bound) -> Result<Carrier, Errno> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let (woken, wake) = std::io::pipe().map_err(errno)?;
    let (new, arrivals) = channel();
    std::thread::Builder::new()
        .name("datagrams".into())
        .spawn(move || run(&arrivals, woken, &bound))
        .map_err(errno)?;
    Ok(Carrier { new, wake })
}

/// The thread.
fn run(arrivals: &Receiver<Mailbox>, mut woken: PipeReader, bound: &Bound) {
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
            for mailbox in mailboxes.iter_mut().skip(RECEIVERS_MAX) {
                mailbox.is_over = true;
            }
        }
        for mailbox in mailboxes.iter_mut().filter(|mailbox| !mailbox.is_over) {
            mailbox.carry(&mut buffer);
        }
        mailboxes.retain(|mailbox| {
            if mailbox.is_over {
                lock(bound).remove(&mailbox.inode);
            }
            !mailbox.is_over
        });
    }
}

impl Mailbox {
    /// What to wait for: with a datagram held, for room only.
    fn interests(&self) -> impl Iterator<Item = PollFd<'_>> {
        let is_open = self.held.is_none();
        let mut inner = PollFlags::empty();
        inner.set(PollFlags::POLLIN, self.outgoing.is_none());
        inner.set(PollFlags::POLLOUT, !is_open);
        let is_room = is_open && self.senders.len() < SENDERS_MAX;
        let listener = is_room.then(|| PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
        let senders = if is_open { &self.senders[..] } else { &[] };
        let peer = self.outgoing.as_ref();
        let peer = peer.map(|(_, peer)| PollFd::new(peer.socket.as_fd(), PollFlags::POLLOUT));
        std::iter::once(PollFd::new(self.inner.as_fd(), inner))
            .chain(listener)
            .chain(peer)
            .chain(
                senders
                    .iter()
                    .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
            )
    }

    /// Moves what can be moved without waiting.
    fn carry(&mut self, buffer: &mut [u8]) {
        self.carry_out(buffer);
        if let Some(letter) = self.held.take() {
            self.deliver(letter);
        }
        while self.senders.len() < SENDERS_MAX
            && let Ok(sender) = accept(&self.listener)
        {
            // Who connected is known from then on: senders of this zone, and nobody else.
            let _ = setsockopt(&sender, PassCred, &true);
            self.senders.push(sender);
        }
        let (mut at, mut moved) = (0, 0);
        while self.held.is_none()
            && moved < TURN
            && let Some(sender) = self.senders.get(at)
        {
            match letters::receive(sender, buffer) {
                Ok(Arrival::Letter(mut letter, pid)) => {
                    moved += 1;
                    // What the monitor sent for a guest has its card.
                    if pid != std::process::id() {
                        attach(&mut letter, pid, &[]);
                    }
                    self.deliver(letter);
                }
                Err(Errno::EAGAIN | Errno::EINTR) => at += 1,
                Ok(Arrival::End) | Err(_) => drop(self.senders.remove(at)),
            }
        }
    }

    /// Moves what the guest sends to its peer, or nowhere.
    fn carry_out(&mut self, buffer: &mut [u8]) {
        if let Some((letter, peer)) = self.outgoing.take() {
            let mut inner = [PollFd::new(self.inner.as_fd(), PollFlags::empty())];
            // With its sender gone there is nothing to wait for.
            self.is_over = poll(&mut inner, PollTimeout::ZERO) != Ok(0);
            self.post(letter, peer);
        }
        for _ in 0..TURN {
            if self.outgoing.is_some() {
                return;
            }
            match letters::receive(&self.inner, buffer) {
                Ok(Arrival::Letter(mut letter, pid)) => {
                    let peer = lock(&self.connection).clone();
                    if let Some(peer) = peer {
                        attach(&mut letter, pid, &self.address);
                        self.post(letter, peer);
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                Ok(Arrival::End) | Err(_) => {
                    self.is_over = true;
                    return;
                }
            }
        }
    }

    fn post(&mut self, mut letter: Letter, peer: Arc<Peer>) {
        if !peer.is_ours {
            letter.rights.clear();
        }
        if matches!(
            letters::send(&peer.socket, &letter),
            Err(Errno::EAGAIN | Errno::EINTR)
        ) {
            self.outgoing = Some((letter, peer));
        }
    }

    fn deliver(&mut self, letter: Letter) {
        match letters::send(&self.inner, &letter) {
            Ok(()) => {}
            Err(Errno::EAGAIN | Errno::EINTR) => self.held = Some(letter),
            Err(_) => self.is_over = true,
        }
    }
}

/// Says who sent a datagram, before all else that rides along. A sender that is not known at all has
/// no card, and no descriptor of its own is taken for one.
fn attach(letter: &mut Letter, pid: u32, address: &[u8]) {
    match letters::card(card::Sender::Host(pid), address) {
        Some(card) => letter.rights.insert(0, card),
        None => letter.rights.clear(),
    }
}
