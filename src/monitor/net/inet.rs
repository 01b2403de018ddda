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
//! The port has the same number on the host if the host's user may bind it and it is free, else a
//! substitute from 20000 up. Whether an address is in use is the kernel's judgement in every case: a
//! bind to what a row maps goes to the row's place, and where two addresses overlap in the zone but
//! not on the host (`0.0.0.0` and `127.0.0.1`), a probe with the options of the guest's socket asks
//! for the place of the other row.
//!
//! A row lives as long as its sockets, which guests close without telling. So rows are checked when
//! they are listed and when they stand in the way. UDP: the kernel lists every bound socket. TCP: it
//! lists listeners, so that a row that has listened and does so no more is dropped, and one that has
//! not yet is kept while its port cannot be bound without `SO_REUSEADDR`.
//!
//! Key types: [`Inet`], [`plan::Plan`], [`rows::Rows`]. Neighbours: the personality's `net`, which
//! translates by the same table. Deliberately absent: unix sockets; who may bind ports below 1024 in
//! the zone ([`Inet::is_privileged`] tells, the caller knows the credentials).
//!
//! Lock order: one lock holds all state; the cache of other zones' files has one of its own, never
//! taken together with it. Calls under them do not block on a guest.

mod kernel;
mod peers;
pub mod plan;
mod published;
mod relay;
mod remote;
pub mod rows;
mod socket;
mod socket_unsafe;

#[cfg(test)]
mod tests;

use crate::control::{Port, Protocol, Publish};
use crate::error::Result;
use crate::zone::address;
use kernel::Snapshot;
use nix::errno::Errno;
use peers::{Book, Cache};
use plan::{Covers, Plan, Row};
use published::Publication;
use relay::Relay;
use remote::Remote;
use rows::Rows;
use socket::{Guest, Reuse, hold};
pub(super) use socket_unsafe::option as socket_option;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where substitutes begin.
const SUBSTITUTE: u16 = 20_000;
/// How many substitutes are tried.
const TRIES: u16 = 2000;
/// Where zone ports are chosen if the host's choice is taken in the zone.
const EPHEMERAL: u16 = 49_152;

/// The internet side of a running zone.
pub struct Inet {
    number: u16,
    run_dir: PathBuf,
    state: Mutex<State>,
    peers: Mutex<Cache>,
}

/// What the lock holds.
struct State {
    number: u16,
    first_port: u16,
    rows: Box<dyn Rows>,
    /// By slot of the shared table.
    bound: Vec<Option<Bound>>,
    publications: Vec<Publication>,
    /// Counts binds, to tell the oldest.
    turn: u64,
    /// Where ports of other zones lie, in the first slots of the shared table.
    remote: Remote,
}

/// A row and what only the monitor knows of it.
struct Bound {
    row: Row,
    has_listened: bool,
    turn: u64,
    /// Serves the zone's own address where the socket is bound elsewhere.
    door: Option<Relay>,
}

impl Inet {
    /// The network of zone `number`. `run_dir` is `zones/NAME/run`.
    #[must_use]
    pub fn new(number: u16, rows: Box<dyn Rows>, run_dir: &Path) -> Self {
        let state = State {
            number,
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

impl State {
    fn bind(&mut self, guest: &Guest<'_>, plan: &Plan) -> Result<(), Errno> {
        let slot = self.free_slot().ok_or(Errno::ENOBUFS)?;
        if plan.zone_port == 0 {
            let host_ip = chosen_ip(guest.protocol, plan);
            guest.join(SocketAddrV4::new(host_ip, 0))?;
            let host_port = guest.port()?;
            let zone_port = self.zone_port(guest.protocol, plan, host_port);
            self.insert(
                slot,
                guest.protocol,
                plan,
                zone_port,
                SocketAddrV4::new(host_ip, host_port),
            );
            return Ok(());
        }
        self.drop_dead(|row| row.overlaps(guest.protocol, plan, plan.zone_port));
        let others = self.bound.iter().flatten().map(|bound| bound.row);
        let others = others.filter(|row| row.overlaps(guest.protocol, plan, plan.zone_port));
        for row in others.filter(|row| !row.is_same_bind(guest.protocol, plan)) {
            guest.would_join(row.host)?;
        }
        if let Some(bound) = self
            .bound
            .iter_mut()
            .flatten()
            .find(|bound| bound.row.is_same_bind(guest.protocol, plan))
        {
            guest.join(bound.row.host)?;
            bound.has_listened = false;
            return Ok(());
        }
        let host = self.bind_fresh(guest, plan)?;
        self.insert(slot, guest.protocol, plan, plan.zone_port, host);
        Ok(())
    }

    /// Binds where nothing of the zone is: where it is published, at its own number, at a substitute.
    fn bind_fresh(&mut self, guest: &Guest<'_>, plan: &Plan) -> Result<SocketAddrV4, Errno> {
        if plan.covers.meets(Covers::PUBLIC) {
            for at in self.vacate(guest.protocol, plan.zone_port) {
                match guest.bind(at) {
                    Ok(()) => return Ok(at),
                    Err(errno) => tracing::warn!(
                        "port {} is published at {at}, which cannot be bound: {}; it is bound at the zone's address only",
                        plan.zone_port,
                        errno.desc()
                    ),
                }
            }
        }
        for at in self.natural_places(plan.host_ip, plan.zone_port) {
            if self.is_occupied(guest.protocol, at) {
                continue;
            }
            match guest.bind(at) {
                Ok(()) => return Ok(at),
                Err(Errno::EADDRINUSE | Errno::EACCES) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EADDRINUSE)
    }

    /// Its own number, if the host's user may bind it; then substitutes.
    fn natural_places(
        &self,
        ip: Ipv4Addr,
        zone_port: u16,
    ) -> impl Iterator<Item = SocketAddrV4> + use<> {
        let own = (zone_port >= self.first_port).then_some(zone_port);
        let first = SUBSTITUTE.saturating_add(zone_port % 40_000);
        own.into_iter()
            .chain(first..first.saturating_add(TRIES))
            .map(move |port| SocketAddrV4::new(ip, port))
    }

    /// Whether a row of another bind lies there. With `SO_REUSEPORT` on both, the kernel would not
    /// mind.
    fn is_occupied(&self, protocol: Protocol, at: SocketAddrV4) -> bool {
        self.bound.iter().flatten().any(|bound| {
            let host = bound.row.host;
            bound.row.protocol == protocol
                && host.port() == at.port()
                && (host.ip() == at.ip() || host.ip().is_unspecified() || at.ip().is_unspecified())
        })
    }

    /// The number of a port that the host chose: the same, unless the zone has it at another place.
    fn zone_port(&self, protocol: Protocol, plan: &Plan, host_port: u16) -> u16 {
        let is_taken = |port: u16| {
            self.bound
                .iter()
                .flatten()
                .any(|bound| bound.row.overlaps(protocol, plan, port))
        };
        let mut candidates = std::iter::once(host_port).chain(EPHEMERAL..=u16::MAX);
        candidates
            .find(|port| !is_taken(*port))
            .unwrap_or(host_port)
    }

    fn insert(
        &mut self,
        slot: usize,
        protocol: Protocol,
        plan: &Plan,
        zone_port: u16,
        host: SocketAddrV4,
    ) {
        let row = Row {
            protocol,
            covers: plan.covers,
            zone_ip: plan.zone_ip,
            zone_port,
            host,
        };
        self.turn += 1;
        if self.bound.len() <= slot {
            self.bound.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.bound.get_mut(slot) {
            *place = Some(Bound {
                row,
                has_listened: false,
                turn: self.turn,
                door: None,
            });
            self.rows.write(self.remote_slots() + slot, Some(&row));
        }
    }

    /// A slot for one more row. In a full table, what is dead goes; then the oldest row that never
    /// listened and has its own number (a client that chose its port: only how its own end shows
    /// depends on the row).
    fn free_slot(&mut self) -> Option<usize> {
        let free = |state: &Self| {
            let hole = state.bound.iter().position(Option::is_none);
            hole.or_else(|| {
                let room = state.rows.capacity() - state.remote_slots();
                (state.bound.len() < room).then_some(state.bound.len())
            })
        };
        if let Some(slot) = free(self) {
            return Some(slot);
        }
        self.sweep(&Snapshot::take());
        if let Some(slot) = free(self) {
            return Some(slot);
        }
        let is_client = |bound: &Bound| {
            !bound.has_listened
                && bound.row.covers.is_any()
                && bound.row.zone_port == bound.row.host.port()
        };
        let clients = self
            .bound
            .iter()
            .enumerate()
            .filter_map(|(slot, bound)| Some((slot, bound.as_ref()?)));
        let oldest = clients
            .filter(|(_, bound)| is_client(bound))
            .min_by_key(|(_, bound)| bound.turn);
        let slot = oldest.map(|(slot, _)| slot)?;
        self.remove(slot);
        Some(slot)
    }

    fn remote_slots(&self) -> usize {
        Remote::slots(self.rows.as_ref())
    }

    /// Drops the rows whose sockets are gone; whether there were any.
    fn sweep(&mut self, snapshot: &Snapshot) -> bool {
        let mut has_changed = false;
        for slot in 0..self.bound.len() {
            if let Some(Some(bound)) = self.bound.get_mut(slot)
                && !bound.is_alive(snapshot)
            {
                self.remove(slot);
                has_changed = true;
            }
        }
        has_changed
    }

    /// The same for some rows; asks the kernel only if there are such.
    fn drop_dead(&mut self, concerns: impl Fn(&Row) -> bool) {
        let is_concerned =
            |bound: &Option<Bound>| bound.as_ref().is_some_and(|bound| concerns(&bound.row));
        if self.bound.iter().any(is_concerned) && self.sweep(&Snapshot::take()) {
            self.reconcile();
        }
    }

    fn remove(&mut self, slot: usize) {
        if let Some(place) = self.bound.get_mut(slot) {
            *place = None;
            self.rows.write(self.remote_slots() + slot, None);
        }
    }

    /// Gives the zone's own address to rows that lie elsewhere.
    fn doors(&mut self) {
        for slot in 0..self.bound.len() {
            let Some(Some(Bound {
                row, door: None, ..
            })) = self.bound.get(slot)
            else {
                continue;
            };
            let row = *row;
            let natural = natural_ip(self.number, row.covers);
            // A wildcard of UDP's is a client's.
            if row.protocol == Protocol::Udp || *row.host.ip() == natural {
                continue;
            }
            let door = self
                .natural_places(natural, row.zone_port)
                .filter(|at| !self.is_occupied(row.protocol, SocketAddrV4::new(natural, at.port())))
                .find_map(|at| Relay::start(at, self.reach(&row)).ok());
            if let Some(Some(bound)) = self.bound.get_mut(slot) {
                bound.door = door;
            }
        }
    }

    /// Where a program of the host connects to a row.
    fn reach(&self, row: &Row) -> SocketAddrV4 {
        let ip = if row.host.ip().is_unspecified() {
            natural_ip(self.number, row.covers)
        } else {
            *row.host.ip()
        };
        SocketAddrV4::new(ip, row.host.port())
    }

    /// A row as people read it. A wildcard shows as the address that others use.
    fn show(&self, bound: &Bound) -> Port {
        let row = &bound.row;
        let host = bound
            .door
            .as_ref()
            .map_or_else(|| self.reach(row), Relay::at);
        let zone_address = if row.covers.meets(Covers::PUBLIC_V4) {
            IpAddr::V4(address::zone_v4(self.number))
        } else if row.covers.meets(Covers::PUBLIC_V6) {
            IpAddr::V6(address::zone_v6(self.number))
        } else if row.covers.is_v6() {
            IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
        } else {
            IpAddr::V4(row.zone_ip)
        };
        Port {
            protocol: row.protocol,
            zone_address,
            zone_port: row.zone_port,
            host_address: *host.ip(),
            host_port: host.port(),
            published: self.published(row),
        }
    }
}

impl Bound {
    fn is_alive(&mut self, snapshot: &Snapshot) -> bool {
        let Row { protocol, host, .. } = self.row;
        if snapshot.has(protocol, host) {
            self.has_listened = true;
            return true;
        }
        match protocol {
            Protocol::Udp => false,
            Protocol::Tcp => !self.has_listened && hold(protocol, host, Reuse::NO).is_err(),
        }
    }
}

/// Where a socket goes whose port the host chooses.
fn chosen_ip(protocol: Protocol, plan: &Plan) -> Ipv4Addr {
    if protocol == Protocol::Udp && plan.covers.is_any() {
        Ipv4Addr::UNSPECIFIED
    } else {
        plan.host_ip
    }
}

/// The address on the host that serves these destinations.
fn natural_ip(number: u16, covers: Covers) -> Ipv4Addr {
    if covers.meets(Covers::PUBLIC_V4) {
        address::host_v4(number)
    } else if covers.meets(Covers::PUBLIC_V6) {
        address::host_v6_stand_in(number)
    } else if covers.meets(Covers::LOOPBACK_V4) {
        address::host_loopback_v4(number)
    } else {
        address::host_loopback_v6(number)
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
