//! Addresses and ports of a zone, and their translation. Pure: no call is made here.
//!
//! Inside, a zone has `10.111.x.y`, `fd6f::x:y` (the low 16 bits), and a loopback of its own; the
//! host is `10.111.0.1` and `fd6f::1`. On the host all that lies on IPv4 loopback addresses, which
//! need no set-up:
//!
//! | in the zone | on the host | |
//! |---|---|---|
//! | `10.111.x.y`, `0.0.0.0`, dual-stack `::` | `127.111.x.y` | [`Own::Public`] |
//! | `fd6f::x:y`, IPv6-only `::` | `127.112.x.y` | [`Own::StandIn`]: the host has one IPv6 loopback address only |
//! | `127.0.0.0/8` | `127.113.x.y` | [`Own::Loop4`] |
//! | `::1` | `127.114.x.y` | [`Own::Loop6`] |
//!
//! An IPv6 socket uses the v4-mapped form of the host's addresses, so that its `IPV6_V6ONLY` must be
//! off before it binds or connects ([`Target::is_mapped`]). Which of the four addresses a connection
//! comes *from* tells the other end what it came for: a connection to `127.0.0.1` comes from
//! `127.113.x.y`, one to `::1` from `127.114.x.y`, one to `fd6f::x:y` from `127.112.x.y`.
//!
//! Key types: [`ZoneNet`] (the addresses), [`PortRow`] and [`Ports`] (which zone port lies where),
//! [`Target`] (where a connect or send really goes), [`Role`].
//!
//! - [`connect_target`] and [`send_target`] translate an address that a guest passes in,
//! - [`to_zone`] one that the kernel hands out.
//!
//! Only the monitor binds, except to [`ZoneNet::sources`].
//!
//! Deliberately absent: any authority. A guest can connect natively to whatever the filter lets it;
//! what this module gives is agreement between all calls that take or return an address.
//! A host process may well bind `127.113.x.y` itself and so pass for the zone's loopback; other
//! zones cannot, since their filters approve of their own sources only. UDP is the exception: a
//! control message names any source, and nothing that is at hand forbids it.

mod interfaces;
pub mod netlink;
mod ports;
mod settled;
mod sockaddr;
mod to_host;
mod to_zone;

#[cfg(test)]
mod tests;

pub use interfaces::{Interface, Route, mask};
pub use ports::{Covers, PortEntry, PortRow, Ports, Proto};
pub use settled::settles;
pub use sockaddr::{Address, Form, Ip, LEN_MAX, ZoneAddr};
pub use to_host::{Target, connect_target, send_target};
pub use to_zone::{Role, peer_needs_local, to_zone};

/// `EINVAL`: the address is too short.
pub const EINVAL: u16 = 22;
/// `EAFNOSUPPORT`: the address is of another family than the socket.
pub const EAFNOSUPPORT: u16 = 97;
/// `EADDRNOTAVAIL`: the address is not one of the zone.
pub const EADDRNOTAVAIL: u16 = 99;
/// `ECONNREFUSED`: nothing in the zone has the port.
pub const ECONNREFUSED: u16 = 111;

/// In front of the names, behind their leading NUL, that connected unix sockets without a name have on the
/// host.
pub const CONNECTED: &[u8] = b"picozone.co/";
/// `AF_UNIX`.
pub const AF_UNIX: u16 = 1;
/// `AF_UNSPEC`.
pub const AF_UNSPEC: u16 = 0;
/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 10;

/// What follows `10.111` in the host's address, as a zone sees it.
const HOST_LOW: u16 = 1;

/// One of the zone's four addresses on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// `127.111.x.y`, reached from outside the zone.
    Public,
    /// `127.112.x.y`, which stands for the zone's IPv6 address.
    StandIn,
    /// `127.113.x.y`, the zone's `127.0.0.1`.
    Loop4,
    /// `127.114.x.y`, the zone's `::1`.
    Loop6,
}

impl Own {
    /// Index of its slot in [`ZoneNet::sources`], for a socket of this family.
    #[must_use]
    pub const fn source(self, socket_family: u16) -> u8 {
        let base = match self {
            Self::Public => 0,
            Self::StandIn => 2,
            Self::Loop4 => 4,
            Self::Loop6 => 6,
        };
        if socket_family == AF_INET6 {
            base + 1
        } else {
            base
        }
    }
}

/// The addresses of one zone, as they lie in the read-only tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ZoneNet {
    /// Number of the zone, 1 to 65533.
    pub number: u32,
    /// `x.y`: the number plus one, in network order.
    pub low: [u8; 2],
    /// First two bytes of the zones' addresses inside (10.111).
    pub zone_prefix: [u8; 2],
    /// First two bytes of [`Own::Public`].
    pub public_prefix: [u8; 2],
    /// First two bytes of [`Own::StandIn`].
    pub stand_in_prefix: [u8; 2],
    /// First two bytes of [`Own::Loop4`].
    pub loop4_prefix: [u8; 2],
    /// First two bytes of [`Own::Loop6`].
    pub loop6_prefix: [u8; 2],
    /// All but the last two bytes of the zones' IPv6 addresses inside (fd6f::).
    pub zone_prefix_v6: [u8; 14],
    /// Unused.
    pub pad: [u8; 2],
}

impl ZoneNet {
    /// The default networks for this zone.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self {
            number: number as u32,
            low: number.saturating_add(1).to_be_bytes(),
            zone_prefix: [10, 111],
            public_prefix: [127, 111],
            stand_in_prefix: [127, 112],
            loop4_prefix: [127, 113],
            loop6_prefix: [127, 114],
            zone_prefix_v6: [0xfd, 0x6f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            pad: [0; 2],
        }
    }

    /// The zone's address in its own terms.
    #[must_use]
    pub const fn zone_v4(&self) -> [u8; 4] {
        join(self.zone_prefix, self.low)
    }

    /// The zone's IPv6 address in its own terms.
    #[must_use]
    pub const fn zone_v6(&self) -> [u8; 16] {
        self.member_v6(self.low)
    }

    /// One of its addresses on the host.
    #[must_use]
    pub const fn host(&self, own: Own) -> [u8; 4] {
        match own {
            Own::Public => join(self.public_prefix, self.low),
            Own::StandIn => join(self.stand_in_prefix, self.low),
            Own::Loop4 => join(self.loop4_prefix, self.low),
            Own::Loop6 => join(self.loop6_prefix, self.low),
        }
    }

    /// Which of its addresses on the host this one is.
    #[must_use]
    pub const fn own(&self, [a, b, x, y]: [u8; 4]) -> Option<Own> {
        if !same(self.low, [x, y]) {
            None
        } else if same(self.public_prefix, [a, b]) {
            Some(Own::Public)
        } else if same(self.stand_in_prefix, [a, b]) {
            Some(Own::StandIn)
        } else if same(self.loop4_prefix, [a, b]) {
            Some(Own::Loop4)
        } else if same(self.loop6_prefix, [a, b]) {
            Some(Own::Loop6)
        } else {
            None
        }
    }

    /// The addresses to which a guest may bind by itself, port 0: `sockaddr_in` and v4-mapped
    /// `sockaddr_in6` for each of [`Own`], at the index that [`Own::source`] gives. For
    /// `Tables::sources`.
    #[must_use]
    pub fn sources(&self) -> [[u8; LEN_MAX]; 8] {
        let mut all = [[0; LEN_MAX]; 8];
        let order = [Own::Public, Own::StandIn, Own::Loop4, Own::Loop6];
        for (pair, own) in all.as_chunks_mut::<2>().0.iter_mut().zip(order) {
            for (slot, form) in pair.iter_mut().zip([Form::V4, Form::V6]) {
                *slot = Address::v4(self.host(own), 0).padded(form);
            }
        }
        all
    }

    /// Address in the zones' IPv6 network.
    const fn member_v6(&self, low: [u8; 2]) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = self.zone_prefix_v6;
        let [x, y] = low;
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, x, y]
    }

    /// Where an address that a guest names leads.
    fn classify(&self, address: [u8; 4]) -> Place {
        let [a, b, x, y] = address;
        if a == 127 || address == [0; 4] {
            Place::Loopback
        } else if [a, b] == self.zone_prefix {
            self.member([x, y])
        } else {
            Place::Outside
        }
    }

    /// The same for IPv6; v4-mapped addresses are not for this function.
    fn classify_v6(&self, address: [u8; 16]) -> Place {
        const LOOPBACK: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let [prefix @ .., x, y] = address;
        if address == LOOPBACK || address == [0; 16] {
            Place::Loopback
        } else if prefix == self.zone_prefix_v6 {
            self.member([x, y])
        } else {
            Place::Outside
        }
    }

    fn member(&self, low: [u8; 2]) -> Place {
        if low == self.low {
            Place::Public
        } else if u16::from_be_bytes(low) == HOST_LOW {
            Place::Host
        } else {
            Place::Other(low)
        }
    }
}

/// Where an address in the zone's terms leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The zone's own loopback, whatever the bytes.
    Loopback,
    /// The zone's own address.
    Public,
    /// The host.
    Host,
    /// Another zone, by its last two bytes.
    Other([u8; 2]),
    /// Beyond the host.
    Outside,
}

const fn join([a, b]: [u8; 2], [x, y]: [u8; 2]) -> [u8; 4] {
    [a, b, x, y]
}

/// `==` on arrays is not const.
const fn same([a, b]: [u8; 2], [c, d]: [u8; 2]) -> bool {
    a == c && b == d
}
