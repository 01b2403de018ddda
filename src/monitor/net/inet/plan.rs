//! What a bind in the zone means: a pure decision.

use crate::control::Protocol;
use crate::zone::address;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// Which destinations in the zone's terms a socket receives for: a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covers(u8);

impl Covers {
    /// The zone's IPv4 address.
    pub const PUBLIC_V4: Self = Self(1);
    /// One address of 127.0.0.0/8.
    pub const LOOPBACK_V4: Self = Self(2);
    /// The zone's IPv6 address.
    pub const PUBLIC_V6: Self = Self(4);
    /// `::1`.
    pub const LOOPBACK_V6: Self = Self(8);
    /// `0.0.0.0`.
    pub const ANY_V4: Self = Self(1 | 2);
    /// `::` with `IPV6_V6ONLY`.
    pub const ANY_V6: Self = Self(4 | 8);
    /// `::` without.
    pub const ANY_DUAL: Self = Self(1 | 2 | 4 | 8);
    /// Not this zone's: where a port of another zone lies, so that answers show who gave them.
    pub const REMOTE: Self = Self(0x80);
    /// Both of the zone's addresses.
    pub const PUBLIC: Self = Self(1 | 4);

    /// One address, by its bit.
    #[must_use]
    pub fn single(bits: u8) -> Option<Self> {
        let one = Self(bits);
        (one.breadth() == 1 && one.meets(Self::ANY_DUAL)).then_some(one)
    }

    /// The set as bits, in the order of the constants above.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether they have a destination in common.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// How many kinds of destination it has; more than one in a wildcard.
    #[must_use]
    pub fn breadth(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether it is a wildcard.
    #[must_use]
    pub fn is_any(self) -> bool {
        self.breadth() > 1
    }

    /// Whether it receives over IPv6.
    #[must_use]
    pub fn is_v6(self) -> bool {
        self.meets(Self::ANY_V6)
    }
}

/// A port of the zone and its place on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Protocol.
    pub protocol: Protocol,
    /// What it receives for.
    pub covers: Covers,
    /// The address in 127.0.0.0/8, if it is one; the other zone's of a remote row; else `0.0.0.0`.
    pub zone_ip: Ipv4Addr,
    /// Port in the zone.
    pub zone_port: u16,
    /// Place on the host; the address is `0.0.0.0` if it was published there.
    pub host: SocketAddrV4,
}

impl Row {
    /// Whether it was bound to the very same address of the zone.
    #[must_use]
    pub fn is_same_bind(&self, protocol: Protocol, plan: &Plan) -> bool {
        self.protocol == protocol
            && self.zone_port == plan.zone_port
            && self.covers == plan.covers
            && self.zone_ip == plan.zone_ip
    }

    /// Whether, in the zone, the two have a destination in common.
    #[must_use]
    pub fn overlaps(&self, protocol: Protocol, plan: &Plan, zone_port: u16) -> bool {
        let is_apart = self.covers == plan.covers && self.zone_ip != plan.zone_ip;
        self.protocol == protocol
            && self.zone_port == zone_port
            && self.covers.meets(plan.covers)
            && !is_apart
    }
}

/// What a bind means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What the socket is to receive for.
    pub covers: Covers,
    /// See [`Row::zone_ip`].
    pub zone_ip: Ipv4Addr,
    /// Port in the zone; 0 leaves the choice to us.
    pub zone_port: u16,
    /// Its natural address on the host.
    pub host_ip: Ipv4Addr,
}

/// Family of an internet socket, with what its IPv6 side takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    Dual,
    /// `AF_INET6` with `IPV6_V6ONLY`.
    V6Only,
}

impl Plan {
    /// Decides what binding a socket of this family to `zone` means in zone `number`.
    ///
    /// # Errors
    /// `EINVAL`: too short (bind(2)), or v4-mapped on an IPv6-only socket. `EAFNOSUPPORT`: another
    /// family; `AF_UNSPEC` with the wildcard is taken for `AF_INET`. `EADDRNOTAVAIL`: not an
    /// address of the zone; multicast addresses are not.
    pub fn of(number: u16, family: Family, zone: &[u8]) -> Result<Self, Errno> {
        let is_v6 = family != Family::V4;
        if zone.len() < if is_v6 { 24 } else { 16 } {
            return Err(Errno::EINVAL);
        }
        let (ip, zone_port) = match parse(zone) {
            Some((ip, port)) if is_sockaddr_in6(zone) == is_v6 => (ip, port),
            None if !is_v6 && zone.starts_with(&[0, 0]) && zone.get(4..8) == Some(&[0; 4]) => {
                (IpAddr::V4(Ipv4Addr::UNSPECIFIED), port(zone))
            }
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        let plan = |covers, host_ip| Self {
            covers,
            zone_ip: Ipv4Addr::UNSPECIFIED,
            zone_port,
            host_ip,
        };
        let public = address::host_v4(number);
        let stand_in = address::host_v6_stand_in(number);
        match ip {
            IpAddr::V4(_) if family == Family::V6Only => Err(Errno::EINVAL),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ok(plan(Covers::ANY_V4, public)),
            IpAddr::V4(ip) if ip.is_loopback() => Ok(Self {
                zone_ip: ip,
                ..plan(Covers::LOOPBACK_V4, address::host_loopback_v4(number))
            }),
            IpAddr::V4(ip) if ip == address::zone_v4(number) => Ok(plan(Covers::PUBLIC_V4, public)),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) if family == Family::Dual => {
                Ok(plan(Covers::ANY_DUAL, public))
            }
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ok(plan(Covers::ANY_V6, stand_in)),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => {
                Ok(plan(Covers::LOOPBACK_V6, address::host_loopback_v6(number)))
            }
            IpAddr::V6(ip) if ip == address::zone_v6(number) => {
                Ok(plan(Covers::PUBLIC_V6, stand_in))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Err(Errno::EADDRNOTAVAIL),
        }
    }
}

/// Whether it is a `struct sockaddr_in6`.
#[must_use]
pub fn is_sockaddr_in6(bytes: &[u8]) -> bool {
    family(bytes) == Some(libc::AF_INET6)
}

/// Reads a `sockaddr_in` or `sockaddr_in6` (ip(7), ipv6(7)); a v4-mapped address is an IPv4 one.
/// `None` if it is another family's or too short.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<(IpAddr, u16)> {
    let ip = match family(bytes)? {
        libc::AF_INET if bytes.len() >= 16 => IpAddr::from(*bytes.get(4..)?.first_chunk::<4>()?),
        libc::AF_INET6 => IpAddr::from(*bytes.get(8..)?.first_chunk::<16>()?).to_canonical(),
        _ => return None,
    };
    Some((ip, port(bytes)))
}

fn family(bytes: &[u8]) -> Option<i32> {
    bytes
        .first_chunk()
        .map(|family| i32::from(u16::from_ne_bytes(*family)))
}

fn port(bytes: &[u8]) -> u16 {
    bytes
        .get(2..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |port| u16::from_be_bytes(*port))
}

/// Writes an address for the kernel, in the form that `like` has: `sockaddr_in`, or v4-mapped
/// `sockaddr_in6`. Filled up with zeros to the length that the kernel is always told.
#[must_use]
pub fn write(host: SocketAddrV4, like: &[u8]) -> [u8; 128] {
    let mut bytes = [0; 128];
    let (family, ip): (i32, Vec<u8>) = if is_sockaddr_in6(like) {
        let mapped = host.ip().to_ipv6_mapped().octets();
        (libc::AF_INET6, [&[0; 4][..], &mapped].concat())
    } else {
        (libc::AF_INET, host.ip().octets().to_vec())
    };
    let family = u16::try_from(family)
        .expect("families are small numbers")
        .to_ne_bytes();
    let all = [&family[..], &host.port().to_be_bytes(), &ip].concat();
    for (to, from) in bytes.iter_mut().zip(all) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        let (address, like): (std::net::SocketAddr, [u8; 2]) =
            match text.parse().expect("an address") {
                v4 @ std::net::SocketAddr::V4(_) => (v4, [2, 0]),
                v6 => (v6, [10, 0]),
            };
        match address {
            std::net::SocketAddr::V4(v4) => write(v4, &like)[..16].to_vec(),
            std::net::SocketAddr::V6(v6) => {
                let port = v6.port().to_be_bytes();
                [&like[..], &port, &[0; 4], &v6.ip().octets(), &[0; 4]].concat()
            }
        }
    }

    fn plan(family: Family, zone: &str) -> Result<(Covers, Ipv4Addr, u16), Errno> {
        Plan::of(1, family, &bytes(zone)).map(|plan| (plan.covers, plan.host_ip, plan.zone_port))
    }

    #[test]
    fn every_address_of_the_zone_has_its_place() {
        use Family::{Dual, V4, V6Only};
        for (family, zone, covers, network) in [
            (V4, "0.0.0.0:80", Covers::ANY_V4, 111),
            (V4, "10.111.0.2:80", Covers::PUBLIC_V4, 111),
            (V4, "127.0.0.1:80", Covers::LOOPBACK_V4, 113),
            (V4, "127.1.2.3:80", Covers::LOOPBACK_V4, 113),
            (Dual, "[::]:80", Covers::ANY_DUAL, 111),
            (V6Only, "[::]:80", Covers::ANY_V6, 112),
            (Dual, "[::1]:80", Covers::LOOPBACK_V6, 114),
            (Dual, "[fd6f::2]:80", Covers::PUBLIC_V6, 112),
            (Dual, "[::ffff:127.0.0.1]:80", Covers::LOOPBACK_V4, 113),
        ] {
            assert_eq!(
                plan(family, zone),
                Ok((covers, Ipv4Addr::new(127, network, 0, 2), 80)),
                "{zone}"
            );
        }
    }

    #[test]
    fn what_is_not_the_zones_is_not_available() {
        for zone in [
            "10.111.0.1:80",
            "10.111.0.3:80",
            "192.168.0.1:80",
            "224.0.0.251:5353",
        ] {
            assert_eq!(plan(Family::V4, zone), Err(Errno::EADDRNOTAVAIL), "{zone}");
        }
        for zone in ["[fd6f::1]:80", "[fe80::1]:80", "[::ffff:8.8.8.8]:80"] {
            assert_eq!(
                plan(Family::Dual, zone),
                Err(Errno::EADDRNOTAVAIL),
                "{zone}"
            );
        }
    }

    #[test]
    fn lengths_and_families() {
        assert_eq!(plan(Family::V4, "[::]:80"), Err(Errno::EAFNOSUPPORT));
        assert_eq!(
            plan(Family::Dual, "0.0.0.0:80"),
            Err(Errno::EINVAL),
            "too short for AF_INET6"
        );
        assert_eq!(
            plan(Family::V6Only, "[::ffff:127.0.0.1]:80"),
            Err(Errno::EINVAL)
        );
        assert_eq!(Plan::of(1, Family::V4, &[2, 0, 0, 80]), Err(Errno::EINVAL));
        assert_eq!(Plan::of(1, Family::V4, &[]), Err(Errno::EINVAL));
        let mut unspecified = bytes("0.0.0.0:80");
        unspecified[0] = 0;
        assert_eq!(
            Plan::of(1, Family::V4, &unspecified).map(|plan| plan.covers),
            Ok(Covers::ANY_V4)
        );
        unspecified[7] = 1;
        assert_eq!(
            Plan::of(1, Family::V4, &unspecified),
            Err(Errno::EAFNOSUPPORT)
        );
    }
}
