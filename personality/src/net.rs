//! Addresses of a zone, inside and on the host: pure translation.
//!
//! | inside | on the host |
//! |---|---|
//! | the zone's 10.111.x.y | 127.111.x.y |
//! | its loopback 127.0.0.0/8, ::1 | 127.113.x.y as a source; the port table says where a service is |
//! | another zone's 10.111.a.b | 127.111.a.b |
//! | the host, 10.111.0.1 | 127.0.0.1 |
//!
//! Everything travels over IPv4 on the host; an IPv6 socket uses the v4-mapped form. A peer outside
//! the zone never reads as 127.0.0.1.

use core::sync::atomic::{AtomicU64, Ordering};

/// AF_UNIX.
pub const AF_UNIX: u16 = 1;
/// AF_INET.
pub const AF_INET: u16 = 2;
/// AF_INET6.
pub const AF_INET6: u16 = 10;
/// Length of every address that goes to the kernel, in bytes (`struct sockaddr_storage`).
pub const LENGTH: usize = 128;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// A `struct sockaddr_storage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Address(pub [u8; LENGTH]);

const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
const LOOPBACK6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

impl Address {
    /// `sa_family`.
    #[must_use]
    pub fn family(&self) -> u16 {
        u16::from_ne_bytes([self.0[0], self.0[1]])
    }
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }
    /// Sets the port.
    pub fn set_port(&mut self, port: u16) {
        self.0[2..4].copy_from_slice(&port.to_be_bytes());
    }
    /// An IPv4 address, also a v4-mapped one.
    #[must_use]
    pub fn ipv4(&self) -> Option<[u8; 4]> {
        match self.family() {
            AF_INET => Some([self.0[4], self.0[5], self.0[6], self.0[7]]),
            AF_INET6 if self.0[8..20] == MAPPED => {
                Some([self.0[20], self.0[21], self.0[22], self.0[23]])
            }
            _ => None,
        }
    }
    /// An IPv6 address that is not v4-mapped.
    #[must_use]
    pub fn ipv6(&self) -> Option<[u8; 16]> {
        if self.family() != AF_INET6 || self.0[8..20] == MAPPED {
            return None;
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[8..24]);
        Some(bytes)
    }
    /// Sets the address in the form of the family.
    pub fn set_ipv4(&mut self, address: [u8; 4]) {
        if self.family() == AF_INET6 {
            self.0[8..20].copy_from_slice(&MAPPED);
            self.0[20..24].copy_from_slice(&address);
        } else {
            self.0[4..8].copy_from_slice(&address);
        }
    }
    /// An address of a family.
    #[must_use]
    pub fn new(family: u16, address: [u8; 4], port: u16) -> Address {
        let mut new = Address([0; LENGTH]);
        new.0[..2].copy_from_slice(&family.to_ne_bytes());
        new.set_ipv4(address);
        new.set_port(port);
        new
    }
}

/// Where a zone lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ZoneNet {
    /// The low two bytes of all its addresses: its number plus one.
    pub low: [u8; 2],
    /// Unused.
    pub pad: [u8; 6],
}

const INSIDE: [u8; 2] = [10, 111];
const PUBLIC: [u8; 2] = [127, 111];
const LOOP: [u8; 2] = [127, 113];
const HOST_LOW: [u8; 2] = [0, 1];

impl ZoneNet {
    /// The addresses of the zone with this number.
    #[must_use]
    pub fn new(number: u16) -> ZoneNet {
        ZoneNet {
            low: (number + 1).to_be_bytes(),
            pad: [0; 6],
        }
    }
    fn with(&self, net: [u8; 2]) -> [u8; 4] {
        [net[0], net[1], self.low[0], self.low[1]]
    }
    /// Its address inside.
    #[must_use]
    pub fn inside(&self) -> [u8; 4] {
        self.with(INSIDE)
    }
    /// Its address on the host.
    #[must_use]
    pub fn public(&self) -> [u8; 4] {
        self.with(PUBLIC)
    }
    /// Its own loopback on the host.
    #[must_use]
    pub fn loopback(&self) -> [u8; 4] {
        self.with(LOOP)
    }
    /// The addresses that a guest may bind to by itself, by slot: public and loopback, as IPv4
    /// (0, 1) and v4-mapped (4, 5).
    #[must_use]
    pub fn sources(&self) -> [Address; 8] {
        let [public, own] = [self.public(), self.loopback()];
        let (v4, v6) = (AF_INET, AF_INET6);
        [
            (v4, public),
            (v4, own),
            (v4, public),
            (v4, own),
            (v6, public),
            (v6, own),
            (v6, public),
            (v6, own),
        ]
        .map(|(family, address)| Address::new(family, address, 0))
    }
}

/// Slot of the public source address.
pub const SOURCE_PUBLIC: usize = 0;
/// Slot of the loopback source address.
pub const SOURCE_LOOPBACK: usize = 1;

/// Which addresses of the zone a bound port answers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// All: the wildcard.
    Any = 1,
    /// The zone's address.
    Public = 2,
    /// Its loopback.
    Loopback = 3,
}

/// What a row of the port table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Protocol.
    pub protocol: Protocol,
    /// Where it answers.
    pub scope: Scope,
    /// Whether it was bound as IPv6.
    pub is_v6: bool,
    /// Port in the zone.
    pub zone_port: u16,
    /// Port on the host.
    pub host_port: u16,
    /// Address on the host.
    pub host: [u8; 4],
}

/// A row of the port table: two words, the first written last and 0 if unused.
#[repr(C)]
pub struct PortRow {
    kind: AtomicU64,
    host: AtomicU64,
}

impl PortRow {
    /// What it says.
    #[must_use]
    pub fn read(&self) -> Option<Port> {
        let kind = self.kind.load(Ordering::Acquire).to_be_bytes();
        let host = self.host.load(Ordering::Acquire).to_be_bytes();
        let protocol = match kind[0] {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return None,
        };
        let scope = match kind[1] {
            1 => Scope::Any,
            2 => Scope::Public,
            3 => Scope::Loopback,
            _ => return None,
        };
        Some(Port {
            protocol,
            scope,
            is_v6: kind[2] != 0,
            zone_port: u16::from_be_bytes([kind[6], kind[7]]),
            host_port: u16::from_be_bytes([host[6], host[7]]),
            host: [host[0], host[1], host[2], host[3]],
        })
    }
    /// Writes it; `None` frees the row. The monitor only.
    pub fn write(&self, port: Option<Port>) {
        self.kind.store(0, Ordering::Release);
        let Some(p) = port else { return };
        let [h0, h1] = p.host_port.to_be_bytes();
        let [z0, z1] = p.zone_port.to_be_bytes();
        self.host.store(
            u64::from_be_bytes([p.host[0], p.host[1], p.host[2], p.host[3], 0, 0, h0, h1]),
            Ordering::Release,
        );
        self.kind.store(
            u64::from_be_bytes([
                p.protocol as u8,
                p.scope as u8,
                u8::from(p.is_v6),
                0,
                0,
                0,
                z0,
                z1,
            ]),
            Ordering::Release,
        );
    }
}

/// Where a destination lies on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address to use.
    pub address: Address,
    /// Slot of the source to bind to first.
    pub source: usize,
    /// It is another zone's: the monitor knows its ports.
    pub is_foreign: bool,
}

/// A destination that a guest names; `None` if it is outside and stays as it is.
#[must_use]
pub fn destination(
    net: &ZoneNet,
    ports: &[PortRow],
    protocol: Protocol,
    address: &Address,
) -> Option<Target> {
    let family = address.family();
    let port = address.port();
    let target = |host: [u8; 4], port: u16, source: usize, is_foreign: bool| {
        Some(Target {
            address: Address::new(family, host, port),
            source,
            is_foreign,
        })
    };
    let to_own = |is_loopback: bool| {
        let found = ports.iter().filter_map(PortRow::read).find(|row| {
            row.protocol == protocol
                && row.zone_port == port
                && (row.scope == Scope::Any || (row.scope == Scope::Loopback) == is_loopback)
        });
        let source = if is_loopback {
            SOURCE_LOOPBACK
        } else {
            SOURCE_PUBLIC
        };
        match found {
            Some(row) => target(
                if row.host == [0; 4] {
                    net.public()
                } else {
                    row.host
                },
                row.host_port,
                source,
                false,
            ),
            None => target(
                if is_loopback {
                    net.loopback()
                } else {
                    net.public()
                },
                port,
                source,
                false,
            ),
        }
    };
    if let Some(bytes) = address.ipv6() {
        return (bytes == LOOPBACK6 || bytes == [0; 16])
            .then(|| to_own(true))
            .flatten();
    }
    let v4 = address.ipv4()?;
    match v4 {
        [0, 0, 0, 0] | [127, ..] => to_own(true),
        _ if v4 == net.inside() => to_own(false),
        [10, 111, 0, 1] => target([127, 0, 0, 1], port, SOURCE_PUBLIC, false),
        [10, 111, a, b] => target([PUBLIC[0], PUBLIC[1], a, b], port, SOURCE_PUBLIC, true),
        _ => None,
    }
}

/// Puts a host-side address of a socket into the zone's terms. `other` is the socket's other end.
pub fn to_zone(
    net: &ZoneNet,
    ports: &[PortRow],
    protocol: Protocol,
    address: &mut Address,
    other: Option<&Address>,
    is_local: bool,
) {
    let Some(host) = address.ipv4() else { return };
    let is_own_loop = |a: Option<[u8; 4]>| a == Some(net.loopback());
    let port = address.port();
    let row = ports.iter().filter_map(PortRow::read).find(|row| {
        row.protocol == protocol
            && row.host_port == port
            && (row.host == host
                || row.host == [0; 4] && (host == net.public() || host == [0; 4] || is_local))
    });
    if let Some(row) = row {
        address.set_port(row.zone_port);
        let peer = other.and_then(Address::ipv4);
        let is_loopback = row.scope == Scope::Loopback || is_own_loop(peer);
        if is_local && peer.is_none() && row.scope == Scope::Any {
            if address.family() == AF_INET6 {
                address.0[8..24].fill(0);
            } else {
                address.set_ipv4([0; 4]);
            }
        } else {
            set_own(net, address, is_loopback, row.is_v6);
        }
        return;
    }
    match host {
        _ if host == net.loopback() => set_own(net, address, true, false),
        _ if host == net.public() => {
            let is_loopback = is_own_loop(other.and_then(Address::ipv4));
            set_own(net, address, is_loopback, false);
        }
        [127, 111, a, b] => address.set_ipv4([INSIDE[0], INSIDE[1], a, b]),
        [127, ..] => address.set_ipv4([INSIDE[0], INSIDE[1], HOST_LOW[0], HOST_LOW[1]]),
        _ => {}
    }
}

fn set_own(net: &ZoneNet, address: &mut Address, is_loopback: bool, _is_v6: bool) {
    address.set_ipv4(if is_loopback {
        [127, 0, 0, 1]
    } else {
        net.inside()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(address: [u8; 4], port: u16) -> Address {
        Address::new(AF_INET, address, port)
    }
    fn table(rows: &[Port]) -> [PortRow; 4] {
        let table = core::array::from_fn(|_| PortRow {
            kind: AtomicU64::new(0),
            host: AtomicU64::new(0),
        });
        for (to, row) in table.iter().zip(rows) {
            let to: &PortRow = to;
            to.write(Some(*row));
            assert_eq!(to.read(), Some(*row));
        }
        table
    }
    const WEB: Port = Port {
        protocol: Protocol::Tcp,
        scope: Scope::Any,
        is_v6: true,
        zone_port: 80,
        host_port: 20080,
        host: [127, 111, 0, 2],
    };

    #[test]
    fn own_service_from_inside() {
        let (net, ports) = (ZoneNet::new(1), table(&[WEB]));
        let target = destination(&net, &ports, Protocol::Tcp, &v4([127, 0, 0, 1], 80)).unwrap();
        assert_eq!(
            (target.address.ipv4(), target.address.port(), target.source),
            (Some([127, 111, 0, 2]), 20080, SOURCE_LOOPBACK)
        );
        let mut peer = v4([127, 113, 0, 2], 40000);
        to_zone(
            &net,
            &ports,
            Protocol::Tcp,
            &mut peer,
            Some(&target.address),
            false,
        );
        assert_eq!(peer.ipv4(), Some([127, 0, 0, 1]));
        let mut local = target.address;
        to_zone(
            &net,
            &ports,
            Protocol::Tcp,
            &mut local,
            Some(&v4([127, 113, 0, 2], 40000)),
            true,
        );
        assert_eq!((local.ipv4(), local.port()), (Some([127, 0, 0, 1]), 80));
    }

    #[test]
    fn nobody_outside_reads_as_loopback() {
        let (net, ports) = (ZoneNet::new(1), table(&[WEB]));
        for (host, seen) in [
            ([127, 0, 0, 1], [10, 111, 0, 1]),
            ([127, 111, 0, 3], [10, 111, 0, 3]),
            ([127, 113, 0, 3], [10, 111, 0, 1]),
        ] {
            let mut peer = Address::new(AF_INET6, host, 40000);
            to_zone(&net, &ports, Protocol::Tcp, &mut peer, None, false);
            assert_eq!(peer.ipv4(), Some(seen));
        }
    }

    #[test]
    fn the_host_and_other_zones() {
        let (net, ports) = (ZoneNet::new(1), table(&[]));
        let host = destination(&net, &ports, Protocol::Tcp, &v4([10, 111, 0, 1], 22)).unwrap();
        assert_eq!(
            (host.address.ipv4(), host.is_foreign),
            (Some([127, 0, 0, 1]), false)
        );
        let zone = destination(&net, &ports, Protocol::Tcp, &v4([10, 111, 0, 3], 80)).unwrap();
        assert!(zone.is_foreign);
        assert_eq!(
            destination(&net, &ports, Protocol::Tcp, &v4([192, 0, 2, 1], 80)),
            None
        );
        // The host's loopback is out of reach by its own name.
        let own = destination(&net, &ports, Protocol::Tcp, &v4([127, 0, 0, 1], 22)).unwrap();
        assert_eq!(own.address.ipv4(), Some(net.loopback()));
    }
}
