//! From the zone's terms to the host's: connect and send. The monitor binds.

use super::ports::{Covers, Ports, Proto};
use super::sockaddr::{Address, Form, Ip, LEN_MAX, LEN_V4, LEN_V6_MIN, family, put};
use super::{
    AF_INET, AF_INET6, AF_UNSPEC, EADDRNOTAVAIL, EAFNOSUPPORT, ECONNREFUSED, EINVAL, Own, Place,
    ZoneNet,
};

/// The host, as the host knows itself.
const HOST_LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// Where a connect or send really goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Target {
    /// The address for the kernel, which is always told a length of [`LEN_MAX`].
    pub bytes: [u8; LEN_MAX],
    /// Slot of [`ZoneNet::sources`] to bind to first, if the socket is not bound yet. A datagram
    /// socket that sends without connecting may skip it; it then shows as the host.
    pub source: Option<u8>,
    /// Another zone's: ask the monitor (`Request::PeerPort`) with the address that the guest gave.
    /// `bytes` holds the guess that its port is not mapped, for when the monitor cannot be asked.
    pub needs_monitor: bool,
    /// An IPv4 address for an IPv6 socket that the guest did not mean so: `IPV6_V6ONLY` must be off.
    pub is_mapped: bool,
}

/// Translates the address of a `connect(2)`.
///
/// `socket_family` is the socket's (`SO_DOMAIN`), [`AF_INET`] or [`AF_INET6`]; `zone` as long as the
/// guest said (at most [`LEN_MAX`]).
///
/// # Errors
/// [`EINVAL`] (too short) and [`EAFNOSUPPORT`] as the kernel gives them; [`ECONNREFUSED`] if the
/// port has no listener in the zone and there is no address on the host that would say so.
pub fn connect_target(
    net: &ZoneNet,
    ports: Ports<'_>,
    proto: Proto,
    socket_family: u16,
    zone: &[u8],
) -> Result<Target, u16> {
    if family(zone).ok_or(EINVAL)? == AF_UNSPEC {
        return Ok(Target::unchanged(zone));
    }
    check(proto, socket_family, zone)?;
    let (address, form) = Address::parse(zone).ok_or(EINVAL)?;
    let (place, is_v6) = match address.ip {
        Ip::V4(ip) => (net.classify(ip), false),
        Ip::V6(ip) => (net.classify_v6(ip), true),
    };
    if place == Place::Outside {
        return Ok(Target::unchanged(zone));
    }
    if proto == Proto::Other && is_v6 {
        return echo_v6(place, zone, address.port);
    }
    let (want, own) = match (place, is_v6) {
        (Place::Loopback, false) => (Covers::LOOPBACK_V4, Own::Loop4),
        (Place::Loopback, true) => (Covers::LOOPBACK_V6, Own::Loop6),
        (_, false) => (Covers::PUBLIC_V4, Own::Public),
        (_, true) => (Covers::PUBLIC_V6, Own::StandIn),
    };
    let host = match place {
        Place::Host => Address::v4(HOST_LOOPBACK, address.port),
        Place::Other([x, y]) => {
            let [a, b] = net.public_prefix;
            Address::v4([a, b, x, y], address.port)
        }
        Place::Loopback | Place::Public | Place::Outside => {
            own_port(net, ports, proto, want, own, address).ok_or(ECONNREFUSED)?
        }
    };
    Ok(Target {
        bytes: host.padded(form),
        source: Some(own.source(socket_family)),
        needs_monitor: matches!(place, Place::Other(_)),
        is_mapped: is_v6,
    })
}

/// Translates the address of a `sendto(2)` or `sendmsg(2)`: as [`connect_target`], but that
/// `AF_UNSPEC` means `AF_INET` there (Linux, net/ipv4/udp.c) on an IPv4 socket.
///
/// # Errors
/// As of [`connect_target`].
pub fn send_target(
    net: &ZoneNet,
    ports: Ports<'_>,
    proto: Proto,
    socket_family: u16,
    zone: &[u8],
) -> Result<Target, u16> {
    if socket_family != AF_INET || family(zone) != Some(AF_UNSPEC) {
        return connect_target(net, ports, proto, socket_family, zone);
    }
    let mut bytes = [0; LEN_V4];
    put(&mut bytes, zone);
    put(&mut bytes, &AF_INET.to_ne_bytes());
    let bytes = bytes.get(..zone.len()).unwrap_or(&bytes);
    connect_target(net, ports, proto, socket_family, bytes)
}

impl Target {
    fn unchanged(zone: &[u8]) -> Self {
        let mut bytes = [0; LEN_MAX];
        put(&mut bytes, zone);
        Self {
            bytes,
            source: None,
            needs_monitor: false,
            is_mapped: false,
        }
    }
}

/// The kernel's checks of length and family, in its order.
fn check(proto: Proto, socket_family: u16, zone: &[u8]) -> Result<(), u16> {
    let given = family(zone).ok_or(EINVAL)?;
    // A datagram socket of AF_INET6 takes addresses of AF_INET (net/ipv6/datagram.c).
    let (least, is_supported) = match (socket_family, given) {
        (AF_INET6, AF_INET) if proto != Proto::Tcp => (LEN_V4, true),
        (AF_INET6, _) => (LEN_V6_MIN, given == AF_INET6),
        (_, _) => (LEN_V4, given == AF_INET),
    };
    if zone.len() < least {
        Err(EINVAL)
    } else if is_supported {
        Ok(())
    } else {
        Err(EAFNOSUPPORT)
    }
}

/// Where a port of the zone itself lies on the host.
///
/// A port without a row is tried at the natural address: a datagram socket that never bound by name
/// is there and waits for its answer; else the kernel refuses. If a row of another port occupies
/// that place, another address of the zone does the refusing; `None` if all four are occupied.
fn own_port(
    net: &ZoneNet,
    ports: Ports<'_>,
    proto: Proto,
    want: Covers,
    own: Own,
    zone: Address,
) -> Option<Address> {
    let ip = match zone.ip {
        Ip::V4([0, 0, 0, 0]) => HOST_LOOPBACK,
        Ip::V4(ip) => ip,
        Ip::V6(_) => [0; 4],
    };
    if let Some(entry) = ports.receiver(proto, want, ip, zone.port) {
        let host = if entry.host_addr == [0; 4] {
            net.host(own)
        } else {
            entry.host_addr
        };
        return Some(Address::v4(host, entry.host_port));
    }
    [own, Own::Public, Own::StandIn, Own::Loop6, Own::Loop4]
        .into_iter()
        .map(|own| net.host(own))
        .find(|host| !is_occupied(ports, proto, *host, zone.port))
        .map(|host| Address::v4(host, zone.port))
}

fn is_occupied(ports: Ports<'_>, proto: Proto, host: [u8; 4], port: u16) -> bool {
    ports
        .at(proto, host, port, super::ports::Kind::OwnOrWildcard)
        .is_some()
}

/// ICMPv6 echo sockets know no v4-mapped addresses: the host's `::1` answers for the zone's.
fn echo_v6(place: Place, zone: &[u8], port: u16) -> Result<Target, u16> {
    match place {
        Place::Loopback | Place::Public => {
            let mut loopback = [0; 16];
            if let Some(last) = loopback.last_mut() {
                *last = 1;
            }
            Ok(Target::unchanged(
                &Address::v6(loopback, port).padded(Form::V6),
            ))
        }
        Place::Host | Place::Other(_) => Err(EADDRNOTAVAIL),
        Place::Outside => Ok(Target::unchanged(zone)),
    }
}
