//! Internet sockets of a zone: binding, the table of ports, publications, and the way to other zones.
//!
//! A guest that binds hands its socket to the monitor, which calls bind(2) on the same open file
//! description. What the guest asked for in the zone's terms becomes a place on the host:
//!
//! | in the zone | on the host |
//! |---|---|
//! | `0.0.0.0`, `10.111.x.y`, dual-stack `::` | `127.111.x.y` |
//! | IPv6-only `::`, `fd6f::x:y` | `127.112.x.y` |
//! | 127.0.0.0/8 | `127.113.x.y` |
//! | `::1` | `127.114.x.y` |
//! | a published port | the address and port of the publication |
//! | UDP, wildcard, port 0 | the host's wildcard |
//!
//! The last line is for clients such as resolvers: a socket at a loopback address could not send to
//! the network. It is reachable as any such socket of the host's user is. For the same reason a UDP
//! server that talks to the network must be published; and a TCP socket that is bound before it
//! connects reaches zones and the host only.
//!
//! What is bound to a wildcard and then connected shows the address that leads to its peer ([`settled`]).
//!
//! The port has the same number on the host if the host's user may bind it and it is free, else a
//! substitute from 20000 up. Whether an address is in use is the kernel's judgement in every case: a
//! bind to what a row maps goes to the row's place, and where two addresses overlap in the zone but
//! not on the host (`0.0.0.0` and `127.0.0.1`), a probe with the options of the guest's socket asks
//! for the place of the other row.
//!
//! A row lives as long as its sockets, which guests close without telling. So rows are checked when
//! they are listed and when they stand in the way. UDP: the kernel lists every bound socket. TCP: it
//! lists listeners, so that a row that has listened (guests tell) and does so no more is dropped, and
//! one that has not yet is kept while somebody is bound there or connected from there: connections that a
//! closed socket has left in `TIME_WAIT` keep nothing.
//!
//! Key types: [`Inet`], [`plan::Plan`], [`rows::Rows`]. Neighbours: the personality's `net`, which
//! translates by the same table. Deliberately absent: unix sockets; who may bind ports below 1024 in
//! the zone ([`Inet::is_privileged`] tells, the caller knows the credentials).
//!
//! Lock order: one lock holds all state; the cache of other zones' files has one of its own, never
//! taken together with it. Calls under them do not block on a guest.

mod kernel;
mod owners;
mod peers;
pub mod plan;
mod published;
mod relay;
mod remote;
pub mod rows;
mod settled;
mod socket;
mod socket_unsafe;
mod state;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use tests::eventually;

use crate::control::{Port, Protocol, Publish};
use crate::error::Result;
use crate::zone::address;
use kernel::Snapshot;
use nix::errno::Errno;
use peers::{Book, Cache};
use plan::{Covers, Plan, Row};
use remote::Remote;
use rows::Rows;
use socket::Guest;
pub(super) use socket_unsafe::{option as socket_option, set_option as set_socket_option};
use state::State;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The internet side of a running zone.
pub struct Inet {
    number: u16,
    run_dir: PathBuf,
    state: Mutex<State>,
    peers: Mutex<Cache>,
}

impl Inet {
    /// The network of zone `number`. `run_dir` is `zones/NAME/run`.
    #[must_use]
    pub fn new(number: u16, rows: Box<dyn Rows>, run_dir: &Path) -> Self {
        let state = State {
            number,
            began: Instant::now(),
            first_port: first_port(),
            rows,
            bound: Vec::new(),
            publications: Vec::new(),
            turn: 0,
            remote: Remote::default(),
        };
        Self {
            number,
            run_dir: run_dir.to_owned(),
            state: Mutex::new(state),
            peers: Mutex::default(),
        }
    }

    /// Binds a guest's socket to an address in the zone's terms, as long as the guest said.
    ///
    /// # Errors
    /// As of bind(2): `EADDRINUSE`, in the zone's terms; `EADDRNOTAVAIL`: not an address of the zone;
    /// `EAFNOSUPPORT`, `EINVAL`: not an address for the socket, or it is bound already. `EOPNOTSUPP`:
    /// neither TCP nor UDP. `ENOBUFS`: the table of ports is full.
    pub fn bind(&self, socket: BorrowedFd<'_>, zone_addr: &[u8]) -> Result<(), Errno> {
        let guest = Guest::of(socket)?;
        let plan = Plan::of(self.number, guest.family, zone_addr)?;
        guest.must_be_free(plan.host_ip)?;
        let mut state = self.lock();
        let is_v6_only = guest.family == plan::Family::V6Only;
        if is_v6_only {
            guest.set_v6_only(false)?;
        }
        let result = state.bind(&guest, &plan);
        if is_v6_only && result.is_err() {
            // So that the next try means the same; the bind's own error is the one to tell.
            let _ = guest.set_v6_only(true);
        }
        state.reconcile();
        self.save(&state);
        result
    }

    /// A guest's TCP socket listens. If that brought another port than `before`, the row of that goes.
    ///
    /// # Errors
    /// `EINVAL`: there is no row; `ENOBUFS`: the table of ports is full.
    pub fn listens(&self, socket: BorrowedFd<'_>, before: u16) -> Result<(), Errno> {
        let guest = Guest::of(socket)?;
        let mut state = self.lock();
        if guest.place()?.port() == before {
            return state.listens(&guest);
        }
        let result = state.moved(&guest, before);
        state.reconcile();
        self.save(&state);
        result
    }

    /// A guest's socket that was bound to a wildcard, at `port` of the host, is about to be connected: it
    /// shows one address from then on, or, if `covers` is 0, the wildcard again.
    ///
    /// # Errors
    /// `EINVAL`: no such socket, or no such address of it.
    pub fn settle(&self, socket: BorrowedFd<'_>, port: u16, covers: u8) -> Result<(), Errno> {
        let wants = match covers {
            0 => None,
            bits => Some(Covers::single(bits).ok_or(Errno::EINVAL)?),
        };
        let guest = Guest::of(socket)?;
        let mut state = self.lock();
        let result = state.settle(&guest, port, wants);
        self.save(&state);
        result
    }

    /// Whether binding there takes the right to low ports in the zone (`CAP_NET_BIND_SERVICE`).
    #[must_use]
    pub fn is_privileged(zone_addr: &[u8]) -> bool {
        plan::parse(zone_addr).is_some_and(|(_, port)| (1..1024).contains(&port))
    }

    /// The ports that the zone has bound; of TCP, those that listen.
    #[must_use]
    pub fn ports(&self) -> Vec<Port> {
        let mut state = self.lock();
        let snapshot = Snapshot::take();
        if state.sweep(&snapshot) {
            state.reconcile();
            self.save(&state);
        }
        let bound = state.bound.iter().flatten();
        let listed =
            bound.filter(|bound| bound.row.protocol == Protocol::Udp || bound.has_listened);
        let mut ports: Vec<Port> = listed.map(|bound| state.show(bound)).collect();
        ports.sort_by_key(|port| {
            (
                port.zone_port,
                port.zone_address,
                port.protocol == Protocol::Udp,
            )
        });
        ports
    }

    /// Makes a port of the zone reachable at an address of the host, now or as soon as it is bound.
    ///
    /// # Errors
    /// The place is taken, not the host's, or not for this user; the port of the zone is a UDP port
    /// that is bound already.
    pub fn publish(&self, what: Publish) -> Result<()> {
        let mut state = self.lock();
        state.sweep(&Snapshot::take());
        state.reconcile();
        let result = state.publish(what);
        self.save(&state);
        result
    }

    /// Takes a publication back. Connections that exist are not cut.
    ///
    /// # Errors
    /// There is no such publication; or the program is bound there directly, so that the place stays
    /// open until it is restarted (the publication is taken back all the same).
    pub fn unpublish(&self, what: &Publish) -> Result<()> {
        let mut state = self.lock();
        state.sweep(&Snapshot::take());
        state.reconcile();
        let result = state.unpublish(what);
        self.save(&state);
        result
    }

    /// Where an address and port of another zone, or of the host, lie on the host; in the form that
    /// `zone_addr` has, v4-mapped for IPv6.
    ///
    /// # Errors
    /// `EINVAL`: not an address in the zones' network. `ECONNREFUSED`: the zone's own, with nothing
    /// bound there.
    pub fn peer_port(&self, protocol: Protocol, zone_addr: &[u8]) -> Result<[u8; 128], Errno> {
        let (ip, port) = plan::parse(zone_addr).ok_or(Errno::EINVAL)?;
        let (number, wants) = member(ip).ok_or(Errno::EINVAL)?;
        let host = match number {
            0 => SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            own if own == self.number => {
                let state = self.lock();
                let rows = state.bound.iter().flatten().map(|bound| bound.row);
                let found = rows
                    .filter(|row| {
                        row.protocol == protocol && row.zone_port == port && row.covers.meets(wants)
                    })
                    .min_by_key(|row| row.covers.breadth());
                state.reach(&found.ok_or(Errno::ECONNREFUSED)?)
            }
            other => {
                let zones = self
                    .run_dir
                    .parent()
                    .and_then(Path::parent)
                    .unwrap_or(&self.run_dir);
                let found = {
                    let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
                    peers.find(zones, other, protocol, port, wants)
                };
                let addresses = [address::host_v4(other), address::host_v6_stand_in(other)];
                let is_natural = found.port() == port && addresses.contains(found.ip());
                if !is_natural {
                    let mut state = self.lock();
                    let State { remote, rows, .. } = &mut *state;
                    remote.tell(
                        rows.as_ref(),
                        Row {
                            protocol,
                            covers: Covers::REMOTE,
                            zone_ip: address::zone_v4(other),
                            zone_port: port,
                            host: found,
                        },
                    );
                }
                found
            }
        };
        Ok(plan::write(host, zone_addr))
    }

    /// Tells the other zones that this one has ended.
    pub fn end(&self) {
        peers::remove(&self.run_dir);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked leaves rows that the next sweep judges anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the other zones.
    fn save(&self, state: &State) {
        let rows = state
            .bound
            .iter()
            .flatten()
            .map(|bound| bound.row)
            .collect();
        if let Err(error) = peers::write(
            &self.run_dir,
            &Book {
                number: self.number,
                rows,
            },
        ) {
            tracing::warn!(
                "cannot write ports.json in {}: {error}",
                self.run_dir.display()
            );
        }
    }
}

impl Drop for Inet {
    fn drop(&mut self) {
        self.end();
    }
}

/// The zone that has an address inside, 0 for the host; and what kind of address it is.
fn member(ip: IpAddr) -> Option<(u16, Covers)> {
    let (low, covers) = match ip {
        IpAddr::V4(v4) => {
            let [a, b, x, y] = v4.octets();
            let [c, d, ..] = address::HOST.octets();
            ([a, b] == [c, d]).then_some((u16::from_be_bytes([x, y]), Covers::PUBLIC_V4))?
        }
        IpAddr::V6(v6) => {
            let ([network @ .., low], [ours @ .., _]) =
                (v6.segments(), address::HOST_V6.segments());
            (network == ours).then_some((low, Covers::PUBLIC_V6))?
        }
    };
    Some((low.checked_sub(1)?, covers))
}

/// Lowest port that the host's user may bind (ip(7), `ip_unprivileged_port_start`).
fn first_port() -> u16 {
    if nix::unistd::geteuid().is_root() {
        return 0;
    }
    // A bind that the host refuses for another reason goes to a substitute all the same.
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}
