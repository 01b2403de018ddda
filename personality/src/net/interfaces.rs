//! The interfaces, addresses and routes that a zone sees. Pure data.
//!
//! The host has neither: all that a zone binds lies on loopback addresses of the host. What netlink
//! dumps, `SIOCGIF*` and `/proc/net` tell comes from here, so that they agree.

use super::ZoneNet;

/// `IFF_UP | IFF_RUNNING` (netdevice(7)).
const UP: u32 = 0x1 | 0x40;
const IFF_BROADCAST: u32 = 0x2;
/// `IFF_LOOPBACK`.
pub const IFF_LOOPBACK: u32 = 0x8;
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: &'static str,
    /// Its number, from 1.
    pub index: u32,
    /// `IFF_*`, as `SIOCGIFFLAGS` tells them.
    pub flags: u32,
    /// `ARPHRD_*`.
    pub kind: u16,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Hardware address.
    pub hardware: [u8; 6],
    /// Hardware address of everybody.
    pub hardware_broadcast: [u8; 6],
    /// IPv4 address.
    pub v4: [u8; 4],
    /// Length of its prefix, in bits.
    pub v4_prefix: u8,
    /// IPv6 address.
    pub v6: [u8; 16],
    /// Length of its prefix, in bits.
    pub v6_prefix: u8,
}

impl Interface {
    /// Whether it is the loopback interface.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        self.flags & IFF_LOOPBACK != 0
    }

    /// The netmask of the IPv4 address.
    #[must_use]
    pub const fn netmask(&self) -> [u8; 4] {
        mask(self.v4_prefix).to_be_bytes()
    }

    /// The broadcast address; `None` on the loopback interface.
    #[must_use]
    pub const fn broadcast(&self) -> Option<[u8; 4]> {
        if self.is_loopback() {
            return None;
        }
        let all = u32::from_be_bytes(self.v4) | !mask(self.v4_prefix);
        Some(all.to_be_bytes())
    }
}

/// The mask of a prefix of an IPv4 address.
#[must_use]
pub const fn mask(prefix: u8) -> u32 {
    if prefix == 0 {
        0
    } else {
        u32::MAX << (32 - prefix as u32)
    }
}

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<const N: usize> {
    /// The network.
    pub destination: [u8; N],
    /// Length of its prefix, in bits.
    pub prefix: u8,
    /// The next hop, if it is not reached directly.
    pub gateway: Option<[u8; N]>,
    /// The address to send from.
    pub source: Option<[u8; N]>,
    /// Number of the interface.
    pub interface: u32,
}

impl ZoneNet {
    /// The zone's interfaces, by their numbers.
    #[must_use]
    pub fn interfaces(&self) -> [Interface; 2] {
        let mut loopback_v6 = [0; 16];
        loopback_v6[15] = 1;
        let [x, y] = self.low;
        [
            Interface {
                name: "lo",
                index: 1,
                flags: UP | IFF_LOOPBACK,
                kind: ARPHRD_LOOPBACK,
                mtu: 65536,
                hardware: [0; 6],
                hardware_broadcast: [0; 6],
                v4: [127, 0, 0, 1],
                v4_prefix: 8,
                v6: loopback_v6,
                v6_prefix: 128,
            },
            Interface {
                name: "eth0",
                index: 2,
                flags: UP | IFF_BROADCAST,
                kind: ARPHRD_ETHER,
                mtu: 1500,
                // Locally administered (IEEE 802).
                hardware: [2, 0x6f, 0, 0, x, y],
                hardware_broadcast: [0xff; 6],
                v4: self.zone_v4(),
                v4_prefix: 16,
                v6: self.zone_v6(),
                v6_prefix: 112,
            },
        ]
    }

    /// The routes over IPv4: to the network by way of the host, and to the zones.
    #[must_use]
    pub fn routes_v4(&self) -> [Route<4>; 2] {
        let [a, b] = self.zone_prefix;
        [
            Route {
                destination: [0; 4],
                prefix: 0,
                gateway: Some([a, b, 0, 1]),
                source: None,
                interface: 2,
            },
            Route {
                destination: [a, b, 0, 0],
                prefix: 16,
                gateway: None,
                source: Some(self.zone_v4()),
                interface: 2,
            },
        ]
    }

    /// The routes over IPv6. Whether the host reaches the network that way is not known.
    #[must_use]
    pub fn routes_v6(&self) -> [Route<16>; 2] {
        let [lo, eth] = self.interfaces();
        let route = |of: Interface, destination| Route {
            destination,
            prefix: of.v6_prefix,
            gateway: None,
            source: None,
            interface: of.index,
        };
        [route(lo, lo.v6), route(eth, self.member_v6([0, 0]))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_in_their_networks() {
        let [lo, eth] = ZoneNet::new(1).interfaces();
        assert_eq!((lo.netmask(), lo.broadcast()), ([255, 0, 0, 0], None));
        assert_eq!(eth.v4, [10, 111, 0, 2]);
        assert_eq!(eth.netmask(), [255, 255, 0, 0]);
        assert_eq!(eth.broadcast(), Some([10, 111, 255, 255]));
        assert_eq!(mask(0), 0);
        let [zones, _] = ZoneNet::new(1).routes_v6();
        assert_eq!(zones.destination, lo.v6);
    }
}
