//! Netlink sockets of a zone: dumps of interfaces and routes, of sockets, and events of devices, of which
//! there are none.
//!
//! A netlink socket proper shows the interfaces of the host. A guest gets one end of a pair of packet
//! sockets instead, whose names stand for netlink addresses ([`picozone_personality::net::netlink`]);
//! the other end is answered here, by what the zone is to see ([`answer`], [`diag`]). One thread for the zone,
//! from the first socket on. It never waits for a guest: an answer that has no room is lost, which
//! natively is `ENOBUFS`.

mod answer;
mod diag;
pub(super) mod message;
mod notice;

use crate::monitor::zone::Zone;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, recv, send, setsockopt,
    socketpair, sockopt::Priority,
};
use notice::Notice;
use picozone_personality::mailbox::{NETLINK, NetlinkKind};
use picozone_personality::net::ZoneNet;
use picozone_personality::net::netlink::{End, name};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError, Weak};

/// Most netlink sockets of a zone.
const SOCKETS_MAX: usize = 256;
/// Longest request that is looked at, in bytes.
const REQUEST_MAX: usize = 8192;
/// Where the ports of further sockets of a process begin, downwards (net/netlink/af_netlink.c).
const FIRST_CHOICE: u32 = 0xffff_f000;

/// The netlink sockets; their thread ends when dropped.
pub(super) struct Netlink {
    net: ZoneNet,
    /// Tells our ends apart.
    next: AtomicU32,
    server: Mutex<Option<Server>>,
    /// Whose sockets are shown; until it is known, nobody's.
    zone: OnceLock<Weak<Zone>>,
}

struct Server {
    new: Sender<Arrival>,
    wake: PipeWriter,
}

/// What the thread is told.
enum Arrival {
    Socket(Socket),
    Notice(Notice),
    /// By its inode.
    Forgotten(u64),
}

/// The other end of a guest's socket.
struct Socket {
    fd: OwnedFd,
    /// The guest's `nl_pid`.
    port: u32,
    kind: NetlinkKind,
}

impl Netlink {
    pub(super) fn new(number: u16) -> Self {
        Self {
            net: ZoneNet::new(number),
            next: AtomicU32::new(0),
            server: Mutex::default(),
            zone: OnceLock::new(),
        }
    }

    /// The zone is complete.
    pub(super) fn show(&self, zone: Weak<Zone>) {
        let _ = self.zone.set(zone);
    }

    /// Makes a socket for the process `wanted` of the zone.
    ///
    /// # Errors
    /// Those of socket(2).
    pub(super) fn socket(
        &self,
        wanted: u32,
        is_nonblocking: bool,
        kind: NetlinkKind,
    ) -> Result<OwnedFd, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (guest, own) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let low = self.net.low;
        let tries = [wanted].into_iter().chain((0..FIRST_CHOICE).rev());
        let mut port = None;
        for choice in tries.take(2 * SOCKETS_MAX) {
            match join(&guest, &name(low, choice, End::Guest)) {
                Err(Errno::EADDRINUSE) => {}
                other => {
                    other?;
                    port = Some(choice);
                    break;
                }
            }
        }
        let port = port.ok_or(Errno::EADDRINUSE)?;
        // Of its own: the end of a closed socket of that port may not be gone yet.
        let number = self.next.fetch_add(1, Relaxed);
        join(&own, &name(low, number, End::Kernel))?;
        setsockopt(&guest, Priority, &NETLINK.cast_signed())?;
        if is_nonblocking {
            let flags = nix::fcntl::OFlag::O_NONBLOCK;
            nix::fcntl::fcntl(&guest, nix::fcntl::FcntlArg::F_SETFL(flags))?;
        }
        self.tell(Arrival::Socket(Socket {
            fd: own,
            port,
            kind,
        }))?;
        Ok(guest)
    }

    fn tell(&self, arrival: Arrival) -> Result<(), Errno> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() {
            let zone = self.zone.get().cloned().unwrap_or_default();
            *server = Some(start(self.net, zone)?);
        }
        let server = server.as_mut().ok_or(Errno::ENOBUFS)?;
        server.new.send(arrival).map_err(|_| Errno::ENOBUFS)?;
        server.wake.write_all(&[0]).map_err(|_| Errno::ENOBUFS)
    }
}

/// Binds to an abstract name, given as a whole address.
fn join(socket: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let own = name.get(3..).unwrap_or_default();
    bind(socket.as_raw_fd(), &UnixAddr::new_abstract(own)?)
}

fn start(net: ZoneNet, zone: Weak<Zone>) -> Result<Server, Errno> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let (woken, wake) = std::io::pipe().map_err(errno)?;
    let (new, arrivals) = channel();
    std::thread::Builder::new()
        .name("netlink".into())
        .spawn(move || run(&net, &zone, &arrivals, woken))
        .map_err(errno)?;
    Ok(Server { new, wake })
}

/// The thread.
fn run(net: &ZoneNet, zone: &Weak<Zone>, arrivals: &Receiver<Arrival>, mut woken: PipeReader) {
    let mut sockets: Vec<Socket> = Vec::new();
    let mut notices: Vec<Notice> = Vec::new();
    let mut buffer = vec![0; REQUEST_MAX];
    loop {
        let is_woken = {
            let mut fds = vec![PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
            let all = sockets.iter().map(|socket| socket.fd.as_fd());
            let all = all.chain(notices.iter().map(|notice| notice.fd.as_fd()));
            fds.extend(all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::warn!("netlink sockets are not answered any more: {error}");
                    return;
                }
            }
            let events = fds.first().and_then(PollFd::revents);
            events.is_some_and(|events| !events.is_empty())
        };
        sockets.retain(|socket| socket.serve(net, zone, &mut buffer));
        notices.retain(|notice| notice.serve(&sockets));
        if is_woken {
            match woken.read(&mut [0; 64]) {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    for arrival in arrivals.try_iter() {
                        match arrival {
                            Arrival::Socket(socket) => sockets.push(socket),
                            Arrival::Notice(notice) => notices.push(notice),
                            Arrival::Forgotten(inode) => {
                                notices.retain(|notice| notice.inode != inode);
                            }
                        }
                    }
                }
            }
            let too_many = notices.len().saturating_sub(notice::NOTICES_MAX);
            notices.drain(..too_many);
            // What is refused is closed: its guest reads an end of file.
            sockets.truncate(SOCKETS_MAX);
        }
    }
}

impl Socket {
    /// Answers one datagram, if there is one; false once the guest's end is closed.
    fn serve(&self, net: &ZoneNet, zone: &Weak<Zone>, buffer: &mut [u8]) -> bool {
        match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => false,
            Ok(length) => {
                let request = buffer.get(..length).unwrap_or_default();
                let answer = match self.kind {
                    NetlinkKind::Route => answer::to(net, self.port, request),
                    NetlinkKind::Diag => zone
                        .upgrade()
                        .map_or_else(Vec::new, |zone| diag::to(zone.as_ref(), self.port, request)),
                    NetlinkKind::Silent => Vec::new(),
                };
                for datagram in answer {
                    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                    if send(self.fd.as_raw_fd(), &datagram, flags).is_err() {
                        break;
                    }
                }
                true
            }
            Err(errno) => matches!(errno, Errno::EAGAIN | Errno::EINTR),
        }
    }
}
