//! Publications: ports of the zone at addresses of the host.
//!
//! A publication that is there before the bind costs nothing: the guest's socket is bound at the
//! host's address in the first place ([`Way::Direct`]), and a relay serves the zone's own address. One
//! that comes later, or is the second of its port, is carried by a relay until the program binds
//! again. While nothing is bound, a TCP port is reserved, so that a clash shows when it is published.

use super::plan::{Covers, Row};
use super::relay::Relay;
use super::socket::{Reuse, hold};
use super::state::State;
use crate::control::{Protocol, Publish};
use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReuseAddr;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

/// A publication and what has become of it.
pub(super) struct Publication {
    pub(super) what: Publish,
    pub(super) way: Way,
}

/// How a publication is served.
pub(super) enum Way {
    /// Nothing of the zone has the port. Holds the reservation, if there is one.
    Waiting(#[expect(dead_code, reason = "held for the place that it keeps")] Option<OwnedFd>),
    /// The socket itself is bound there.
    Direct,
    /// A relay.
    Relay(Relay),
    /// Not at all; the log says why.
    Lost,
}

/// The place that a publication names.
pub(super) fn place(publish: &Publish) -> SocketAddrV4 {
    SocketAddrV4::new(publish.host_address, publish.host_port)
}

fn text(publish: &Publish) -> String {
    let protocol = match publish.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!(
        "port {}/{protocol} at {}",
        publish.zone_port,
        place(publish)
    )
}

impl State {
    /// See [`super::Inet::publish`].
    pub(super) fn publish(&mut self, what: Publish) -> Result<()> {
        let at = place(&what);
        if what.host_port == 0 || what.zone_port == 0 {
            return Err(Error::refused(
                "publish",
                text(&what),
                "port 0 is none",
                "name a port from 1 to 65535",
            ));
        }
        if self.publications.iter().any(|known| known.what == what) {
            return Ok(());
        }
        let is_taken =
            |known: &Publication| place(&known.what) == at && known.what.protocol == what.protocol;
        if let Some(known) = self.publications.iter().find(|known| is_taken(known)) {
            let cause = format!("the zone publishes its port {} there", known.what.zone_port);
            return Err(Error::refused(
                "publish",
                text(&what),
                cause,
                "take that back first, or choose another port of the host",
            ));
        }
        let row = self.public_row(what.protocol, what.zone_port);
        let way = match row {
            Some(row) if row.host == at => Ok(Way::Direct),
            Some(_) if what.protocol == Protocol::Udp => {
                return Err(Error::refused(
                    "publish",
                    text(&what),
                    "a program of the zone has the port already, and datagrams are not relayed",
                    "end that program, publish the port, start the program again",
                ));
            }
            Some(row) => Relay::start(at, self.reach(&row))
                .map(Way::Relay)
                .map_err(errno),
            None => reserve(what.protocol, at).map(Way::Waiting),
        };
        let way = way.map_err(|errno| {
            let (cause, remedy) = explain(errno);
            Error::refused("publish", text(&what), cause, remedy)
        })?;
        self.publications.push(Publication { what, way });
        Ok(())
    }

    /// See [`super::Inet::unpublish`].
    pub(super) fn unpublish(&mut self, what: &Publish) -> Result<()> {
        let Some(index) = self
            .publications
            .iter()
            .position(|known| known.what == *what)
        else {
            let remedy = "`zone ports` shows what is published";
            return Err(Error::refused(
                "unpublish",
                text(what),
                "it is not published",
                remedy,
            ));
        };
        match self.publications.swap_remove(index).way {
            Way::Direct => Err(Error::refused(
                "close",
                text(what),
                "a program of the zone is bound there; the publication itself is taken back",
                "restart that program: it then binds at the zone's own address only",
            )),
            Way::Waiting(_) | Way::Relay(_) | Way::Lost => Ok(()),
        }
    }

    /// Brings every publication into line with what is bound.
    pub(super) fn reconcile(&mut self) {
        let mut publications = std::mem::take(&mut self.publications);
        for publication in &mut publications {
            let (what, at) = (&publication.what, place(&publication.what));
            let row = self.public_row(what.protocol, what.zone_port);
            let is_right = match (&publication.way, &row) {
                (Way::Waiting(_), None) => true,
                (Way::Direct, Some(row)) => row.host == at,
                (Way::Relay(relay), Some(row)) => row.host != at && relay.to() == self.reach(row),
                (Way::Lost, Some(row)) => row.host != at,
                (_, _) => false,
            };
            if is_right {
                continue;
            }
            // What is there has to go before anything else can have the place.
            publication.way = Way::Lost;
            let way = match row {
                None => reserve(what.protocol, at).map(Way::Waiting),
                Some(row) if row.host == at => Ok(Way::Direct),
                Some(_) if what.protocol == Protocol::Udp => Ok(Way::Lost),
                Some(row) => Relay::start(at, self.reach(&row))
                    .map(Way::Relay)
                    .map_err(errno),
            };
            publication.way = way.unwrap_or_else(|errno| {
                tracing::warn!(
                    "{} is no longer published: {}",
                    text(what),
                    explain(errno).0
                );
                Way::Lost
            });
        }
        self.publications = publications;
        self.doors();
    }

    /// Frees the places where a fresh bind of this port could go, for the caller to try in turn. What
    /// another socket of the port has already (over the other protocol version) stays with it.
    pub(super) fn vacate(&mut self, protocol: Protocol, zone_port: u16) -> Vec<SocketAddrV4> {
        let waiting = self
            .publications
            .iter_mut()
            .filter(|known| known.what.protocol == protocol && known.what.zone_port == zone_port)
            .filter(|known| matches!(known.way, Way::Waiting(_) | Way::Lost));
        waiting
            .map(|known| {
                known.way = Way::Lost;
                place(&known.what)
            })
            .collect()
    }

    /// What is bound at a port and can be reached from outside the zone.
    fn public_row(&self, protocol: Protocol, zone_port: u16) -> Option<Row> {
        let rows = self.bound.iter().flatten().map(|bound| bound.row);
        rows.filter(|row| {
            row.protocol == protocol
                && row.zone_port == zone_port
                && row.covers.meets(Covers::PUBLIC)
        })
        .min_by_key(|row| !row.covers.meets(Covers::PUBLIC_V4))
    }

    /// Where a program of the host finds publications of a row.
    pub(super) fn published(&self, row: &Row) -> Vec<SocketAddrV4> {
        if self.public_row(row.protocol, row.zone_port) != Some(*row) {
            return Vec::new();
        }
        let of_row = |known: &&Publication| {
            known.what.protocol == row.protocol
                && known.what.zone_port == row.zone_port
                && matches!(known.way, Way::Direct | Way::Relay(_))
        };
        self.publications
            .iter()
            .filter(of_row)
            .map(|known| place(&known.what))
            .collect()
    }
}

/// Reserves a TCP port; looks whether a UDP port is free (a socket would swallow datagrams).
fn reserve(protocol: Protocol, at: SocketAddrV4) -> Result<Option<OwnedFd>, Errno> {
    match protocol {
        Protocol::Tcp => {
            let held = hold(protocol, at, Reuse::ADDRESS)?;
            // The option was for connections that linger there. Without it, the kernel refuses
            // whoever comes to listen (Linux, net/ipv4/inet_connection_sock.c).
            setsockopt(&held, ReuseAddr, &false)?;
            Ok(Some(held))
        }
        Protocol::Udp => hold(protocol, at, Reuse::NO).map(|_| None),
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Cause and remedy.
fn explain(errno: Errno) -> (String, &'static str) {
    match errno {
        Errno::EADDRINUSE => (
            "another program of the host uses that port".into(),
            "stop that program or choose another port of the host",
        ),
        Errno::EACCES => (
            "the host reserves that port for root".into(),
            "choose a port from 1024, or lower net.ipv4.ip_unprivileged_port_start",
        ),
        Errno::EADDRNOTAVAIL => (
            "the host has no such address".into(),
            "name an address of the host (`ip address` shows them), or 0.0.0.0",
        ),
        other => (
            format!("the host refuses: {}", other.desc()),
            "`zone doctor` checks what the host offers",
        ),
    }
}
