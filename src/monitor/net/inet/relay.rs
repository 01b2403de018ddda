//! A relay: carries TCP connections from one place of the host to another.
//!
//! Needed only where a port is published after it was bound, or lies where it is published and is to
//! be reached at the zone's address as well. One thread a relay, which ends when the relay is dropped
//! and its last connection is closed, and with the monitor in any case. At most [`CONNECTIONS_MAX`]
//! connections at a time; more wait in the listener's backlog. Half-closed connections stay so.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Most connections at a time.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// Bytes on their way in one direction of a connection.
const BUFFER: usize = 64 * 1024;
/// How long accepting pauses when the process is out of descriptors, in milliseconds.
const PAUSE_MS: u16 = 100;

/// A running relay; dropping it frees its place before the drop returns.
pub(super) struct Relay {
    at: SocketAddrV4,
    to: SocketAddrV4,
    /// Closed to stop the thread.
    stop: Option<PipeWriter>,
    /// Disconnected once the listener is closed.
    closed: Receiver<()>,
}

impl Relay {
    /// Listens at `at` and carries to `to`.
    ///
    /// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`: the place cannot be had.
    pub(super) fn start(at: SocketAddrV4, to: SocketAddrV4) -> io::Result<Self> {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let (stopped, stop) = io::pipe()?;
        let (open, closed) = channel();
        thread::Builder::new()
            .name(format!("relay {}", at.port()))
            .spawn(move || run(listener, open, &stopped, to))?;
        Ok(Self {
            at,
            to,
            stop: Some(stop),
            closed,
        })
    }

    /// Where it listens.
    pub(super) fn at(&self) -> SocketAddrV4 {
        self.at
    }

    /// Where it carries connections to.
    pub(super) fn to(&self) -> SocketAddrV4 {
        self.to
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop = None;
        // An error is what is waited for: the thread has dropped its end, and the listener before it.
        let _ = self.closed.recv();
    }
}

/// The thread.
fn run(listener: TcpListener, open: Sender<()>, stopped: &PipeReader, to: SocketAddrV4) {
    let mut door = Some((listener, open));
    let mut pairs: Vec<Pair> = Vec::new();
    let mut is_paused = false;
    while door.is_some() || !pairs.is_empty() {
        let ready = {
            let mut watched: Vec<(Who, PollFd<'_>)> = Vec::new();
            if let Some((listener, _)) = &door {
                watched.push((Who::Stop, PollFd::new(stopped.as_fd(), PollFlags::POLLIN)));
                if pairs.len() < CONNECTIONS_MAX && !is_paused {
                    watched.push((
                        Who::Listener,
                        PollFd::new(listener.as_fd(), PollFlags::POLLIN),
                    ));
                }
            }
            for (index, pair) in pairs.iter().enumerate() {
                watched.extend(
                    pair.interests()
                        .map(|(fd, flags)| (Who::Pair(index), PollFd::new(fd, flags))),
                );
            }
            let (who, mut fds): (Vec<Who>, Vec<PollFd<'_>>) = watched.into_iter().unzip();
            let timeout = if is_paused {
                PollTimeout::from(PAUSE_MS)
            } else {
                PollTimeout::NONE
            };
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::warn!("a relay to {to} ends: cannot poll: {error}");
                    return;
                }
            }
            let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
            who.into_iter()
                .zip(fds.iter().map(is_ready))
                .filter(|(_, is_ready)| *is_ready)
                .map(|(who, _)| who)
                .collect::<Vec<_>>()
        };
        is_paused = false;
        for who in &ready {
            if let Who::Pair(index) = who
                && let Some(pair) = pairs.get_mut(*index)
            {
                pair.carry();
            }
        }
        pairs.retain(|pair| !pair.is_over);
        if ready.contains(&Who::Stop) {
            // The listener goes first, then the sender that tells so.
            door = door.and_then(|(listener, open)| {
                drop(listener);
                drop(open);
                None
            });
        } else if let Some((listener, _)) = &door
            && ready.contains(&Who::Listener)
        {
            match listener.accept() {
                Ok((from, _)) => pairs.extend(Pair::new(from, to)),
                Err(error) if is_transient(&error) => {}
                Err(_) => is_paused = true,
            }
        }
    }
}

/// What became ready.
#[derive(PartialEq, Eq)]
enum Who {
    Stop,
    Listener,
    Pair(usize),
}

/// One connection and its continuation.
struct Pair {
    from: TcpStream,
    to: TcpStream,
    there: Direction,
    back: Direction,
    is_over: bool,
}

/// Bytes on their way from one end to the other.
struct Direction {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    has_ended: bool,
    is_shut: bool,
}

impl Pair {
    /// Continues a connection; `None` if that is impossible, so that it is closed.
    fn new(from: TcpStream, to: SocketAddrV4) -> Option<Self> {
        let onward = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )
        .ok()?;
        match connect(onward.as_raw_fd(), &SockaddrIn::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(_) => return None,
        }
        let to = TcpStream::from(onward);
        from.set_nonblocking(true).ok()?;
        // Small messages were sent as such by the ends; delaying them would be ours.
        from.set_nodelay(true).ok()?;
        to.set_nodelay(true).ok()?;
        Some(Self {
            from,
            to,
            there: Direction::new(),
            back: Direction::new(),
            is_over: false,
        })
    }

    /// What to wait for. An end that nothing is wanted of is left out, since the kernel would report
    /// its hang-up again and again.
    fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let flags = |read: &Direction, written: &Direction| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, read.has_room());
            flags.set(PollFlags::POLLOUT, written.has_bytes());
            flags
        };
        [
            (self.from.as_fd(), flags(&self.there, &self.back)),
            (self.to.as_fd(), flags(&self.back, &self.there)),
        ]
        .into_iter()
        .filter(|(_, flags)| !flags.is_empty())
    }

    /// Moves what can be moved without waiting.
    fn carry(&mut self) {
        let moved = self
            .there
            .carry(&self.from, &self.to)
            .and_then(|()| self.back.carry(&self.to, &self.from));
        self.is_over = moved.is_err() || (self.there.is_shut && self.back.is_shut);
    }
}

impl Direction {
    fn new() -> Self {
        Self {
            bytes: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            has_ended: false,
            is_shut: false,
        }
    }

    fn has_room(&self) -> bool {
        !self.has_ended && self.end < self.bytes.len()
    }

    fn has_bytes(&self) -> bool {
        self.start < self.end
    }

    fn carry(&mut self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        if self.has_room() {
            match from.read(self.bytes.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => self.has_ended = true,
                Ok(count) => self.end += count,
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if self.has_bytes() {
            match to.write(self.bytes.get(self.start..self.end).unwrap_or_default()) {
                Ok(count) => self.start += count,
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if !self.has_bytes() {
            (self.start, self.end) = (0, 0);
            if self.has_ended && !self.is_shut {
                to.shutdown(Shutdown::Write)?;
                self.is_shut = true;
            }
        }
        Ok(())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn listen(at: &str) -> (TcpListener, SocketAddrV4) {
        let listener = TcpListener::bind(at).expect("bound");
        let SocketAddr::V4(at) = listener.local_addr().expect("a name") else {
            panic!("IPv4")
        };
        (listener, at)
    }

    /// A place that is free for now.
    fn free(at: &str) -> SocketAddrV4 {
        listen(at).1
    }

    #[test]
    fn both_directions_and_a_half_close() {
        let (server, to) = listen("127.111.250.10:0");
        let relay = Relay::start(free("127.111.250.11:0"), to).expect("a relay");
        let echo = thread::spawn(move || {
            let (mut stream, peer) = server.accept().expect("a connection");
            let mut all = Vec::new();
            stream
                .read_to_end(&mut all)
                .expect("read to the half close");
            stream.write_all(&all).expect("written");
            peer
        });
        let mut client = TcpStream::connect(relay.at()).expect("connected");
        let sent: Vec<u8> = (0..3_000_000u32)
            .map(|number| number.to_le_bytes()[0])
            .collect();
        let mut copy = client.try_clone().expect("a copy");
        let bytes = sent.clone();
        let writer = thread::spawn(move || {
            copy.write_all(&bytes).expect("written");
            copy.shutdown(Shutdown::Write).expect("half closed");
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("read");
        writer.join().expect("the writer ended");
        assert!(got == sent);
        // The zone must not take it for its own loopback.
        assert!(
            echo.join()
                .expect("the server ended")
                .ip()
                .to_string()
                .starts_with("127.0.0.")
        );
    }

    #[test]
    fn a_dropped_relay_frees_its_place_at_once_and_finishes_what_it_began() {
        let (server, to) = listen("127.111.250.12:0");
        let at = free("127.111.250.13:0");
        let relay = Relay::start(at, to).expect("a relay");
        let mut client = TcpStream::connect(at).expect("connected");
        let (mut stream, _) = server.accept().expect("a connection");
        drop(relay);
        super::super::eventually(|| TcpListener::bind(at).is_ok());
        client.write_all(b"late").expect("written");
        let mut got = [0; 4];
        stream.read_exact(&mut got).expect("carried");
        assert_eq!(&got, b"late");
    }

    #[test]
    fn a_refused_continuation_closes_the_connection() {
        let relay =
            Relay::start(free("127.111.250.14:0"), free("127.111.250.15:0")).expect("a relay");
        let mut client = TcpStream::connect(relay.at()).expect("connected");
        let mut got = Vec::new();
        // End of file or a reset, whichever the kernel makes of it; never a wait.
        let _ = client.read_to_end(&mut got);
        assert!(got.is_empty());
    }
}
