//! From the host's terms to the zone's: getsockname, getpeername, accept, recvfrom.

use super::ports::{Covers, Kind, PortEntry, Ports, Proto};
use super::settled::is_settled;
use super::sockaddr::{Address, Form, Ip, ZoneAddr};
use super::{HOST_LOW, Own, ZoneNet, join};

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const LOOPBACK_V6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Which end of a socket an address is. The other end is given as the kernel reports it (host terms),
/// since it tells what the connection was made for.
#[derive(Clone, Copy, Debug)]
pub enum Role<'a> {
    /// The socket's own end (`getsockname(2)`).
    Local {
        /// What `getpeername(2)` says; `None` if the socket is not connected.
        peer: Option<&'a [u8]>,
        /// Whether the address was chosen for it before it spoke: one that was never bound shows none
        /// unless it is connected.
        is_chosen: bool,
    },
    /// The other end (`getpeername(2)`, `accept(2)`, `recvfrom(2)`).
    Peer {
        /// What `getsockname(2)` says; `None` where [`peer_needs_local`] denies the need.
        local: Option<&'a [u8]>,
    },
}

/// Translates an address that the kernel hands out. `None` if it stays as it is: an address beyond
/// the host, or of another family.
///
/// A peer on the host is `10.111.0.1` and never `127.0.0.1`, whatever loopback address it has.
#[must_use]
pub fn to_zone(
    net: &ZoneNet,
    ports: Ports<'_>,
    proto: Proto,
    host: &[u8],
    role: Role<'_>,
) -> Option<ZoneAddr> {
    let (address, form) = Address::parse(host)?;
    let here = Here::of(net, &address);
    let view = View {
        net,
        ports,
        proto,
        address,
        here,
        form,
    };
    match role {
        Role::Local { peer, is_chosen } => {
            view.local(peer.map(|peer| view.other_end(peer)), is_chosen)
        }
        Role::Peer { local } => {
            view.peer(local.map_or(OtherEnd::default(), |local| view.other_end(local)))
        }
    }
}

/// Whether the translation of a peer's address depends on the local one. Costs no call where it does
/// not, as for a peer beyond the host.
#[must_use]
pub fn peer_needs_local(net: &ZoneNet, ports: Ports<'_>, proto: Proto, host: &[u8]) -> bool {
    let Some((address, form)) = Address::parse(host) else {
        return false;
    };
    match (Here::of(net, &address), address.ip) {
        (Here::Own(own), _) => matches!(own, Own::Public | Own::StandIn),
        (Here::Zone { is_v6, .. }, _) => form == Form::V6 && !is_v6,
        (Here::Host, _) if form == Form::V6 => true,
        (Here::Host | Here::Wildcard | Here::Beyond, Ip::V4(ip)) => {
            ports.at(proto, ip, address.port, Kind::Own).is_some()
        }
        (_, Ip::V6(_)) => false,
    }
}

/// Where an address of the host belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Here {
    /// To this zone.
    Own(Own),
    /// To another zone; `is_v6` if it is the stand-in for an IPv6 address.
    Zone { low: [u8; 2], is_v6: bool },
    /// To the host: the rest of 127.0.0.0/8.
    Host,
    /// To nobody: `0.0.0.0` or `::`.
    Wildcard,
    /// To the network.
    Beyond,
}

impl Here {
    fn of(net: &ZoneNet, address: &Address) -> Self {
        let ip = match address.ip {
            Ip::V4(ip) => ip,
            Ip::V6(ip) if ip == [0; 16] => return Self::Wildcard,
            Ip::V6(_) => return Self::Beyond,
        };
        if let Some(own) = net.own(ip) {
            return Self::Own(own);
        }
        let [a, b, x, y] = ip;
        let is_v6 = [a, b] == net.stand_in_prefix || [a, b] == net.loop6_prefix;
        if is_v6 || [a, b] == net.public_prefix || [a, b] == net.loop4_prefix {
            Self::Zone { low: [x, y], is_v6 }
        } else if a == 127 {
            Self::Host
        } else if ip == [0; 4] {
            Self::Wildcard
        } else {
            Self::Beyond
        }
    }
}

/// What the other end tells: whether the connection is one over the zone's own loopback, and whether
/// it was made over IPv6.
#[derive(Clone, Copy, Debug, Default)]
struct OtherEnd {
    is_loopback: bool,
    is_v6: bool,
}

/// One translation.
struct View<'a> {
    net: &'a ZoneNet,
    ports: Ports<'a>,
    proto: Proto,
    address: Address,
    here: Here,
    form: Form,
}

impl View<'_> {
    fn other_end(&self, bytes: &[u8]) -> OtherEnd {
        let Some((address, _)) = Address::parse(bytes) else {
            return OtherEnd::default();
        };
        match Here::of(self.net, &address) {
            Here::Own(own) => self.settled(own, &address).unwrap_or(OtherEnd {
                is_loopback: matches!(own, Own::Loop4 | Own::Loop6),
                is_v6: matches!(own, Own::StandIn | Own::Loop6),
            }),
            Here::Zone { is_v6, .. } => OtherEnd {
                is_loopback: false,
                is_v6,
            },
            Here::Host | Here::Wildcard | Here::Beyond => OtherEnd::default(),
        }
    }

    /// What a socket shows that was connected after it had been bound to a wildcard.
    fn settled(&self, own: Own, address: &Address) -> Option<OtherEnd> {
        let ip = self.net.host(own);
        let row = self.ports.at(self.proto, ip, address.port, Kind::Own)?;
        is_settled(own, row.covers).then(|| OtherEnd {
            is_loopback: row.covers.is_loopback(),
            is_v6: row.covers.is_v6_only(),
        })
    }

    fn local(&self, peer: Option<OtherEnd>, is_chosen: bool) -> Option<ZoneAddr> {
        let entry = self.entry(Kind::OwnOrWildcard);
        let port = entry.map_or(self.address.port, |entry| entry.zone_port);
        let is_any = entry.is_some_and(|entry| entry.covers.is_any());
        match self.here {
            Here::Beyond | Here::Wildcard if entry.is_none() => None,
            Here::Own(_) if is_chosen && entry.is_none() && peer.is_none() => {
                Some(match self.form {
                    Form::V4 => Address::v4([0; 4], port).compact(Form::V4),
                    Form::V6 => Address::v6([0; 16], port).compact(Form::V6),
                })
            }
            Here::Own(Own::Loop4) => Some(self.loopback(false, entry, port)),
            Here::Own(Own::Loop6) => Some(self.loopback(true, entry, port)),
            Here::Own(_) if is_on_loopback(entry) => Some(self.loopback_of(entry, port)),
            Here::Wildcard | Here::Own(_) | Here::Zone { .. } | Here::Host | Here::Beyond => {
                Some(match peer {
                    None if is_any => self.wildcard(entry, port),
                    Some(peer) if peer.is_loopback => self.loopback(peer.is_v6, None, port),
                    _ => self.public(entry, peer.unwrap_or_default(), port),
                })
            }
        }
    }

    fn peer(&self, local: OtherEnd) -> Option<ZoneAddr> {
        if let Some(PortEntry {
            zone_addr: [_, _, x, y],
            zone_port,
            ..
        }) = self.entry(Kind::Remote)
        {
            return Some(self.member([x, y], self.is_v6(local), zone_port));
        }
        let is_own = matches!(self.here, Here::Own(_));
        let entry = self.entry(if is_own {
            Kind::OwnOrWildcard
        } else {
            Kind::Own
        });
        let port = entry.map_or(self.address.port, |entry| entry.zone_port);
        match self.here {
            Here::Own(Own::Loop4) => Some(self.loopback(false, entry, port)),
            Here::Own(Own::Loop6) => Some(self.loopback(true, entry, port)),
            Here::Own(_) if is_on_loopback(entry) => Some(self.loopback_of(entry, port)),
            // A publication may lie at any address of the host.
            Here::Own(_) | Here::Host | Here::Beyond if is_own || entry.is_some() => {
                Some(if local.is_loopback {
                    self.loopback(local.is_v6, None, port)
                } else {
                    self.public(entry, local, port)
                })
            }
            Here::Zone { low, .. } => Some(self.member(low, self.is_v6(local), port)),
            Here::Host => Some(self.member(HOST_LOW.to_be_bytes(), local.is_v6, port)),
            Here::Own(_) | Here::Wildcard | Here::Beyond => None,
        }
    }

    /// The row that lies at this address.
    fn entry(&self, kind: Kind) -> Option<PortEntry> {
        let host = match (self.address.ip, self.here) {
            (Ip::V4(ip), _) => ip,
            (Ip::V6(_), Here::Wildcard) => [0; 4],
            (Ip::V6(_), _) => return None,
        };
        self.ports.at(self.proto, host, self.address.port, kind)
    }

    /// Whether either end says that the connection is one over IPv6.
    fn is_v6(&self, other: OtherEnd) -> bool {
        let is_stand_in = matches!(
            self.here,
            Here::Own(Own::StandIn) | Here::Zone { is_v6: true, .. }
        );
        is_stand_in || other.is_v6
    }

    fn wildcard(&self, entry: Option<PortEntry>, port: u16) -> ZoneAddr {
        let is_v6 = entry.is_some_and(|entry| entry.covers.meets(Covers::ANY_V6));
        self.either(is_v6, [0; 4], [0; 16], port)
    }

    fn loopback(&self, is_v6: bool, entry: Option<PortEntry>, port: u16) -> ZoneAddr {
        let bound = entry.filter(|entry| entry.covers == Covers::LOOPBACK_V4);
        self.either(
            is_v6,
            bound.map_or(LOOPBACK, |entry| entry.zone_addr),
            LOOPBACK_V6,
            port,
        )
    }

    /// The address of the loopback that a row says.
    fn loopback_of(&self, entry: Option<PortEntry>, port: u16) -> ZoneAddr {
        let is_v6 = entry.is_some_and(|entry| entry.covers == Covers::LOOPBACK_V6);
        self.loopback(is_v6, entry, port)
    }

    fn public(&self, entry: Option<PortEntry>, other: OtherEnd, port: u16) -> ZoneAddr {
        let is_v6 = self.is_v6(other) || entry.is_some_and(|entry| entry.covers.is_v6_only());
        self.member(self.net.low, is_v6, port)
    }

    /// An address in the zones' networks.
    fn member(&self, low: [u8; 2], is_v6: bool, port: u16) -> ZoneAddr {
        self.either(
            is_v6,
            join(self.net.zone_prefix, low),
            self.net.member_v6(low),
            port,
        )
    }

    /// An IPv6 socket can show both kinds of address, an IPv4 socket one.
    fn either(&self, is_v6: bool, v4: [u8; 4], v6: [u8; 16], port: u16) -> ZoneAddr {
        if is_v6 && self.form == Form::V6 {
            Address::v6(v6, port).compact(self.form)
        } else {
            Address::v4(v4, port).compact(self.form)
        }
    }
}

/// Whether a socket shows an address of the zone's loopback, wherever it lies.
fn is_on_loopback(entry: Option<PortEntry>) -> bool {
    entry.is_some_and(|entry| entry.covers.is_loopback())
}
