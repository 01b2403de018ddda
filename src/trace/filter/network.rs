//! Addresses of sockets as conditions ask for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address without its port; of a unix socket its name, behind an `@` where that is none of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Inet(IpAddr, u16),
    Unix(Vec<u8>),
}

impl Address {
    /// Of a `struct sockaddr`.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (family, rest) = bytes.split_first_chunk::<2>()?;
        let port = || rest.first_chunk().map(|port| u16::from_be_bytes(*port));
        match u16::from_ne_bytes(*family) {
            1 => {
                let name = match rest.split_first()? {
                    (0, name) => [b"@", name].concat(),
                    _ => rest.split(|byte| *byte == 0).next()?.to_vec(),
                };
                Some(Self::Unix(name))
            }
            2 => {
                let address: &[u8; 4] = rest.get(2..)?.first_chunk()?;
                Some(Self::Inet(Ipv4Addr::from(*address).into(), port()?))
            }
            10 => {
                let address: &[u8; 16] = rest.get(6..)?.first_chunk()?;
                Some(Self::Inet(Ipv6Addr::from(*address).into(), port()?))
            }
            _ => None,
        }
    }

    pub(super) fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(_, port) => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// As one writes it.
    pub(super) fn text(&self) -> Vec<u8> {
        match self {
            Self::Inet(address, _) => address.to_string().into_bytes(),
            Self::Unix(name) => name.clone(),
        }
    }
}

/// Addresses that begin alike: `10.111.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    first: IpAddr,
    bits: u32,
}

impl Network {
    /// Of a text as `10.111.0.0/16`, or of a single address; none if it is neither.
    pub(super) fn of(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { first, bits })
    }

    /// Whether an address belongs to it, one of IPv4 also where it is written as one of IPv6.
    pub(super) fn has(&self, address: &Address) -> bool {
        let Address::Inet(address, _) = address else {
            return false;
        };
        let differs = match (self.first, *address, address.to_canonical()) {
            (IpAddr::V4(a), _, IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
            (IpAddr::V6(a), IpAddr::V6(b), _) => a.to_bits() ^ b.to_bits(),
            _ => return false,
        };
        differs.leading_zeros() >= self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks() {
        let v4 = Address::of(&[2, 0, 0, 80, 10, 111, 0, 2, 0, 0]).expect("an address");
        assert_eq!(v4.port(), Some(80));
        assert_eq!(v4.text(), b"10.111.0.2");
        let mut bytes = vec![10, 0, 0, 80, 0, 0, 0, 0];
        bytes.extend(Ipv4Addr::new(10, 111, 0, 2).to_ipv6_mapped().octets());
        let mapped = Address::of(&bytes).expect("an address");
        let unix = Address::of(b"\x01\0/run/x\0y").expect("an address");
        assert_eq!((unix.text(), unix.port()), (b"/run/x".to_vec(), None));
        assert_eq!(
            Address::of(b"\x01\0\0bus"),
            Some(Address::Unix(b"@bus".to_vec()))
        );
        for (network, is) in [
            ("10.111.0.2", true),
            ("10.111.0.3", false),
            ("10.111.0.0/16", true),
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("11.0.0.0/8", false),
            ("::/1", false),
        ] {
            let of = Network::of(network).expect(network);
            assert_eq!((of.has(&v4), of.has(&unix)), (is, false), "{network}");
        }
        for (network, is) in [
            ("10.111.0.0/16", true),
            ("::/64", true),
            ("fe80::/10", false),
        ] {
            assert_eq!(
                Network::of(network).expect(network).has(&mapped),
                is,
                "{network}"
            );
        }
        for text in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "::1/129",
            "/run/x",
            "*",
        ] {
            assert_eq!(Network::of(text), None, "{text}");
        }
        for bytes in [
            &b""[..],
            b"\x02",
            b"\x02\0\0\x50\x0a",
            b"\x0a\0\0\0",
            b"\x10\0\0\0",
            b"\x01\0",
        ] {
            assert_eq!(Address::of(bytes), None);
        }
    }
}
