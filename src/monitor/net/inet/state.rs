//! The rows of a zone: what is bound, where on the host, and for how long.

use super::kernel::{self, Snapshot};
use super::owners;
use super::plan::{Covers, Plan, Row};
use super::published::Publication;
use super::relay::Relay;
use super::remote::Remote;
use super::rows::Rows;
use super::socket::{Guest, Reuse, hold};
use crate::control::{Port, Protocol};
use crate::zone::address;
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Instant;

/// Where substitutes begin.
const SUBSTITUTE: u16 = 20_000;
/// How many substitutes are tried.
const TRIES: u16 = 2000;
/// Where zone ports are chosen if the host's choice is taken in the zone.
pub(super) const EPHEMERAL: u16 = 49_152;

/// What the lock holds.
pub(super) struct State {
    pub(super) number: u16,
    /// Since when the addresses are this zone's.
    pub(super) began: Instant,
    pub(super) first_port: u16,
    pub(super) rows: Box<dyn Rows>,
    /// By slot of the shared table.
    pub(super) bound: Vec<Option<Bound>>,
    pub(super) publications: Vec<Publication>,
    /// Counts binds, to tell the oldest.
    pub(super) turn: u64,
    /// Where ports of other zones lie, in the first slots of the shared table.
    pub(super) remote: Remote,
}

/// A row and what only the monitor knows of it.
pub(super) struct Bound {
    pub(super) row: Row,
    pub(super) has_listened: bool,
    pub(super) turn: u64,
    /// What it was bound to, if it shows something else since it was connected.
    pub(super) before: Option<Covers>,
    /// Serves the zone's own address where the socket is bound elsewhere.
    pub(super) door: Option<Relay>,
}

impl State {
    pub(super) fn bind(&mut self, guest: &Guest<'_>, plan: &Plan) -> Result<(), Errno> {
        let slot = self.free_slot().ok_or(Errno::ENOBUFS)?;
        if plan.zone_port == 0 {
            let host_ip = chosen_ip(guest.protocol, plan);
            let at = SocketAddrV4::new(host_ip, 0);
            if is_of_many(plan) {
                guest.join_with_port(at)?;
            } else {
                guest.join(at)?;
            }
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
        if self.joins_alone(guest, plan) {
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

    /// Where all that stands in the way is a row of the very same bind, which has its own number on the
    /// host, the kernel alone judges: a fresh bind would try that place first, too, so it does not
    /// matter whether that row's sockets are still there.
    fn joins_alone(&mut self, guest: &Guest<'_>, plan: &Plan) -> bool {
        let is_there = |row: &Row| row.overlaps(guest.protocol, plan, plan.zone_port);
        let natural = SocketAddrV4::new(plan.host_ip, plan.zone_port);
        if !self.publications.is_empty() || self.must_be_nobodys(guest, plan).is_err() {
            return false;
        }
        let mut there = self.bound.iter_mut().flatten();
        let Some(only) = there.find(|bound| is_there(&bound.row)) else {
            return false;
        };
        let joins = only.row.is_same_bind(guest.protocol, plan)
            && only.row.host == natural
            && !there.any(|bound| is_there(&bound.row))
            && guest.join(natural).is_ok();
        if joins {
            only.has_listened = false;
        }
        joins
    }

    /// The row of a socket that listens does not outlive that.
    pub(super) fn listens(&mut self, guest: &Guest<'_>) -> Result<(), Errno> {
        let slot = self.slot_at(guest.protocol, guest.place()?)?;
        self.show_as(slot, None)?;
        if let Some(Some(bound)) = self.bound.get_mut(slot) {
            bound.has_listened = true;
        }
        Ok(())
    }

    /// The row that lies there. `EINVAL`: there is none.
    pub(super) fn slot_at(&self, protocol: Protocol, at: SocketAddrV4) -> Result<usize, Errno> {
        let is_there = |bound: &Option<Bound>| {
            bound
                .as_ref()
                .is_some_and(|bound| bound.row.protocol == protocol && bound.row.host == at)
        };
        self.bound.iter().position(is_there).ok_or(Errno::EINVAL)
    }

    /// A listener that the kernel gave another port: a row of it takes the place of the one before.
    pub(super) fn moved(&mut self, guest: &Guest<'_>, before: u16) -> Result<(), Errno> {
        let at = guest.place()?;
        let old = SocketAddrV4::new(*at.ip(), before);
        let is_old = |row: &Row| row.protocol == guest.protocol && row.host == old;
        let mut rows = self.bound.iter().flatten().map(|bound| bound.row);
        let row = rows.find(is_old).ok_or(Errno::EINVAL)?;
        let plan = Plan {
            covers: row.covers,
            zone_ip: row.zone_ip,
            zone_port: 0,
            host_ip: *at.ip(),
        };
        let slot = self.free_slot().ok_or(Errno::ENOBUFS)?;
        let zone_port = self.zone_port(guest.protocol, &plan, at.port());
        self.insert(slot, guest.protocol, &plan, zone_port, at);
        self.drop_dead(is_old);
        Ok(())
    }

    /// Binds where nothing of the zone is: where it is published, at its own number, at a substitute.
    fn bind_fresh(&mut self, guest: &Guest<'_>, plan: &Plan) -> Result<SocketAddrV4, Errno> {
        self.must_be_nobodys(guest, plan)?;
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
                // Who connects has a port, too: natively that is taken.
                Err(Errno::EADDRINUSE)
                    if at.port() == plan.zone_port
                        && !is_of_many(plan)
                        && kernel::has_client(guest.protocol, at, self.began) =>
                {
                    return Err(Errno::EADDRINUSE);
                }
                Err(Errno::EADDRINUSE | Errno::EACCES) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EADDRINUSE)
    }

    /// Who connects has a port without a row: a wildcard covers that too, wherever it lies on the host.
    /// Fails with `EADDRINUSE` if there is such a one that the kernel would not let it share with.
    fn must_be_nobodys(&self, guest: &Guest<'_>, plan: &Plan) -> Result<(), Errno> {
        if !plan.covers.is_any() || plan.zone_port < self.first_port {
            return Ok(());
        }
        let single = [
            Covers::PUBLIC_V4,
            Covers::PUBLIC_V6,
            Covers::LOOPBACK_V4,
            Covers::LOOPBACK_V6,
        ];
        for covers in single.into_iter().filter(|one| plan.covers.meets(*one)) {
            let at = SocketAddrV4::new(natural_ip(self.number, covers), plan.zone_port);
            if guest.would_join(at) == Err(Errno::EADDRINUSE)
                && kernel::has_client(guest.protocol, at, self.began)
            {
                return Err(Errno::EADDRINUSE);
            }
        }
        Ok(())
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
    pub(super) fn zone_port(&self, protocol: Protocol, plan: &Plan, host_port: u16) -> u16 {
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
                before: None,
                door: None,
            });
            self.rows.write(self.remote_slots() + slot, Some(&row));
        }
    }

    /// A slot for one more row. In a full table, what is dead goes; then the oldest row that never
    /// listened and has its own number (a client that chose its port: only how its own end shows
    /// depends on the row).
    pub(super) fn free_slot(&mut self) -> Option<usize> {
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
                && bound.before.unwrap_or(bound.row.covers).is_any()
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

    pub(super) fn remote_slots(&self) -> usize {
        Remote::slots(self.rows.as_ref())
    }

    /// Drops the rows whose sockets are gone; whether there were any. The kernel's lists are read in parts,
    /// between which sockets come and go, and then one that stays may be in none: what is not there is looked
    /// for again.
    pub(super) fn sweep(&mut self, snapshot: &Snapshot) -> bool {
        let mut has_changed = false;
        let mut again = None;
        for slot in 0..self.bound.len() {
            if let Some(Some(bound)) = self.bound.get_mut(slot)
                && !bound.is_alive(snapshot)
                && !bound.is_alive(again.get_or_insert_with(Snapshot::take))
            {
                self.remove(slot);
                has_changed = true;
            }
        }
        has_changed
    }

    /// The same for some rows; asks the kernel only if there are such.
    pub(super) fn drop_dead(&mut self, concerns: impl Fn(&Row) -> bool) {
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
    pub(super) fn doors(&mut self) {
        for slot in 0..self.bound.len() {
            let Some(Some(Bound {
                row,
                before: None,
                door: None,
                ..
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
    pub(super) fn reach(&self, row: &Row) -> SocketAddrV4 {
        let ip = if row.host.ip().is_unspecified() {
            natural_ip(self.number, row.covers)
        } else {
            *row.host.ip()
        };
        SocketAddrV4::new(ip, row.host.port())
    }

    /// A row as people read it. A wildcard shows as the address that others use.
    pub(super) fn show(&self, bound: &Bound) -> Port {
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
            Protocol::Tcp => {
                // To bind there is the quicker way to know that nobody does.
                !self.has_listened
                    && hold(protocol, host, Reuse::NO).is_err()
                    && owners::is_owned(host).unwrap_or(true)
            }
        }
    }
}

/// Whether it is an address of 127.0.0.0/8 that only a row can tell: without one, what lies there is
/// 127.0.0.1.
fn is_of_many(plan: &Plan) -> bool {
    plan.covers == Covers::LOOPBACK_V4 && plan.zone_ip != Ipv4Addr::LOCALHOST
}

/// Where a socket goes whose port the host chooses.
pub(super) fn chosen_ip(protocol: Protocol, plan: &Plan) -> Ipv4Addr {
    if protocol == Protocol::Udp && plan.covers.is_any() {
        Ipv4Addr::UNSPECIFIED
    } else {
        plan.host_ip
    }
}

/// The address on the host that serves these destinations.
pub(super) fn natural_ip(number: u16, covers: Covers) -> Ipv4Addr {
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
