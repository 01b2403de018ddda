//! The addresses of a zone, by its number.
//!
//! Zone `n` has `x.y = n + 1` in two bytes: `10.111.x.y` and `fd6f::x:y` (the low 16 bits) inside,
//! and on the host loopback addresses that need no set-up. The host itself is `10.111.0.1`.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Highest number of a zone: the last two addresses of the network stay free.
pub const NUMBER_MAX: u16 = 65533;
/// The host, as every zone sees it.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 111, 0, 1);
/// The host, as every zone sees it, over IPv6.
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd6f, 0, 0, 0, 0, 0, 0, 1);

/// The zone's address in its own terms.
#[must_use]
pub fn zone_v4(number: u16) -> Ipv4Addr {
    with_prefix(10, 111, number)
}

/// The zone's IPv6 address in its own terms.
#[must_use]
pub fn zone_v6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd6f, 0, 0, 0, 0, 0, 0, number.saturating_add(1))
}

/// Where the host reaches [`zone_v4`].
#[must_use]
pub fn host_v4(number: u16) -> Ipv4Addr {
    with_prefix(127, 111, number)
}

/// Where the host reaches [`zone_v6`]: the host's loopback has a single IPv6 address, so that an
/// IPv4 one stands for the zone's.
#[must_use]
pub fn host_v6_stand_in(number: u16) -> Ipv4Addr {
    with_prefix(127, 112, number)
}

/// What the zone's own `127.0.0.1` is on the host.
#[must_use]
pub fn host_loopback_v4(number: u16) -> Ipv4Addr {
    with_prefix(127, 113, number)
}

/// What the zone's own `::1` is on the host.
#[must_use]
pub fn host_loopback_v6(number: u16) -> Ipv4Addr {
    with_prefix(127, 114, number)
}

fn with_prefix(first: u8, second: u8, number: u16) -> Ipv4Addr {
    let [x, y] = number.saturating_add(1).to_be_bytes();
    Ipv4Addr::new(first, second, x, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_zone() {
        assert_eq!(zone_v4(1), Ipv4Addr::new(10, 111, 0, 2));
        assert_eq!(host_v4(255), Ipv4Addr::new(127, 111, 1, 0));
        assert_eq!(zone_v4(NUMBER_MAX), Ipv4Addr::new(10, 111, 255, 254));
        assert_eq!(zone_v6(1).to_string(), "fd6f::2");
    }
}
