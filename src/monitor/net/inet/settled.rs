//! Sockets that were bound to a wildcard and are then connected: they show the address that leads to
//! their peer, which the kernel chooses natively.
//!
//! A TCP socket stays where it lies, and its row says what it shows. So does a UDP socket whose port the
//! guest chose. One that lies at the host's wildcard would be given an address of the host's own: it is
//! bound anew. Only what never listened is settled, and who listens there after all shows the wildcard
//! again.
//!
//! When it is disconnected, a UDP socket shows the wildcard again, where it stayed at its place.
//! Deliberately absent: the way back of one that was bound anew.

use super::plan::Covers;
use super::socket::{Guest, Reuse, hold};
use super::state::{State, natural_ip};
use crate::control::Protocol;
use nix::errno::Errno;
use std::net::{Ipv4Addr, SocketAddrV4};

impl State {
    /// See [`super::Inet::settle`].
    pub(super) fn settle(
        &mut self,
        guest: &Guest<'_>,
        port: u16,
        wants: Option<Covers>,
    ) -> Result<(), Errno> {
        let at = guest.place()?;
        match wants {
            Some(wants) if at.port() == 0 && guest.protocol == Protocol::Udp => {
                self.move_to(guest, port, wants)
            }
            _ if at.port() == port && !at.ip().is_unspecified() => {
                let slot = self.slot_at(guest.protocol, at)?;
                if wants.is_none() && !self.is_in_place(slot) {
                    return Err(Errno::EINVAL);
                }
                self.show_as(slot, wants)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Whether a row lies where that of what was bound does.
    fn is_in_place(&self, slot: usize) -> bool {
        let bound = self.bound.get(slot).and_then(Option::as_ref);
        bound.is_some_and(|bound| {
            let was = bound.before.unwrap_or(bound.row.covers);
            *bound.row.host.ip() == natural_ip(self.number, was)
        })
    }

    /// What a row says, unless its socket has listened: an address, or what was bound.
    pub(super) fn show_as(&mut self, slot: usize, wants: Option<Covers>) -> Result<(), Errno> {
        let at = self.remote_slots() + slot;
        let bound = self.bound.get_mut(slot).and_then(Option::as_mut);
        let bound = bound.ok_or(Errno::EINVAL)?;
        let was = bound.before.unwrap_or(bound.row.covers);
        let is_possible = was.is_any() && !bound.has_listened;
        let covers = match wants {
            Some(wants) if is_possible && was.meets(wants) => wants,
            Some(_) => return Err(Errno::EINVAL),
            None if bound.before.is_none() => return Ok(()),
            None => was,
        };
        bound.before = wants.map(|_| was);
        bound.row.covers = covers;
        bound.row.zone_ip = zone_ip(covers);
        let row = bound.row;
        self.rows.write(at, Some(&row));
        Ok(())
    }

    /// Binds a UDP socket that has just left the host's wildcard, with the same port.
    fn move_to(&mut self, guest: &Guest<'_>, port: u16, wants: Covers) -> Result<(), Errno> {
        let old = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        let slot = self.slot_at(guest.protocol, old)?;
        let new = SocketAddrV4::new(natural_ip(self.number, wants), port);
        // Another socket may share the row, and the port may be somebody else's by now.
        let is_alone = hold(guest.protocol, old, Reuse::NO).map(drop);
        if let Err(errno) = is_alone.and_then(|()| guest.bind(new)) {
            guest.join(old)?;
            return Err(errno);
        }
        if let Some(Some(bound)) = self.bound.get_mut(slot) {
            bound.row.host = new;
        }
        self.show_as(slot, Some(wants))
    }
}

/// The address of a row, where there is more than one (see [`super::plan::Row::zone_ip`]).
fn zone_ip(covers: Covers) -> Ipv4Addr {
    if covers == Covers::LOOPBACK_V4 {
        Ipv4Addr::LOCALHOST
    } else {
        Ipv4Addr::UNSPECIFIED
    }
}
