//! `struct sockaddr_in` and `struct sockaddr_in6`, from bytes and to bytes.
//!
//! Source: ip(7), ipv6(7); the family is in the host's byte order, the port in network order.

use super::{AF_INET, AF_INET6};

/// Length that the kernel is told of every address passed in: `struct sockaddr_storage`. `AF_INET`
/// and `AF_INET6` take more than they need, unix sockets refuse it.
pub const LEN_MAX: usize = 128;
/// `sizeof(struct sockaddr_in)`.
pub(super) const LEN_V4: usize = 16;
/// `sizeof(struct sockaddr_in6)`.
pub(super) const LEN_V6: usize = 28;
/// What the kernel accepts for a `sockaddr_in6`: the one of RFC 2133 had no scope.
pub(super) const LEN_V6_MIN: usize = 24;

/// Which structure an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `struct sockaddr_in`.
    V4,
    /// `struct sockaddr_in6`; IPv4 addresses are v4-mapped.
    V6,
}

/// An internet address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: Ip,
    /// The port, in the machine's order.
    pub port: u16,
}

/// The address proper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    /// IPv4, v4-mapped included.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 16]),
}

/// An address in the zone's terms, ready to be copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct ZoneAddr {
    /// The structure.
    pub bytes: [u8; LEN_V6],
    /// How many of `bytes` it has: 16 or 28, which is what the kernel reports too.
    pub len: u32,
}

impl Address {
    /// An IPv4 address.
    #[must_use]
    pub const fn v4(ip: [u8; 4], port: u16) -> Self {
        Self {
            ip: Ip::V4(ip),
            port,
        }
    }

    /// An IPv6 address.
    #[must_use]
    pub const fn v6(ip: [u8; 16], port: u16) -> Self {
        Self {
            ip: Ip::V6(ip),
            port,
        }
    }

    /// Reads a structure; `None` if it is another family's or too short for the kernel.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<(Self, Form)> {
        match (family(bytes)?, bytes) {
            (AF_INET, &[_, _, p, q, a, b, c, d, ref rest @ ..]) if rest.len() >= LEN_V4 - 8 => {
                Some((Self::v4([a, b, c, d], u16::from_be_bytes([p, q])), Form::V4))
            }
            (AF_INET6, &[_, _, p, q, _, _, _, _, ref rest @ ..]) => {
                let ip = *rest.first_chunk::<{ LEN_V6_MIN - 8 }>()?;
                let port = u16::from_be_bytes([p, q]);
                let ip = match ip {
                    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Ip::V4([a, b, c, d]),
                    other => Ip::V6(other),
                };
                Some((Self { ip, port }, Form::V6))
            }
            _ => None,
        }
    }

    /// Writes the structure in 28 bytes. An IPv6 address has no [`Form::V4`]: it stays
    /// `sockaddr_in6`.
    #[must_use]
    pub fn compact(&self, form: Form) -> ZoneAddr {
        let [p, q] = self.port.to_be_bytes();
        let mut bytes = [0; LEN_V6];
        let [f, g] = match (self.ip, form) {
            (Ip::V4(_), Form::V4) => AF_INET.to_ne_bytes(),
            _ => AF_INET6.to_ne_bytes(),
        };
        let len = match (self.ip, form) {
            (Ip::V4([a, b, c, d]), Form::V4) => {
                put(&mut bytes, &[f, g, p, q, a, b, c, d]);
                LEN_V4
            }
            (Ip::V4([a, b, c, d]), Form::V6) => {
                put(
                    &mut bytes,
                    &[
                        f, g, p, q, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c,
                        d,
                    ],
                );
                LEN_V6
            }
            (Ip::V6(ip), _) => {
                put(&mut bytes, &[f, g, p, q]);
                if let Some(place) = bytes.get_mut(8..LEN_V6_MIN) {
                    put(place, &ip);
                }
                LEN_V6
            }
        };
        ZoneAddr {
            bytes,
            len: if len == LEN_V4 { 16 } else { 28 },
        }
    }

    /// Writes the structure for the kernel, filled up with zeros to [`LEN_MAX`].
    #[must_use]
    pub fn padded(&self, form: Form) -> [u8; LEN_MAX] {
        let mut bytes = [0; LEN_MAX];
        put(&mut bytes, &self.compact(form).bytes);
        bytes
    }
}

impl ZoneAddr {
    /// The structure alone.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        if self.len == 16 {
            self.bytes.first_chunk::<LEN_V4>().map_or(&[], |part| part)
        } else {
            &self.bytes
        }
    }
}

/// The family of an address; `None` if it is too short to have one.
pub(super) fn family(bytes: &[u8]) -> Option<u16> {
    bytes
        .first_chunk()
        .map(|family| u16::from_ne_bytes(*family))
}

/// Copies as much of `from` as there is room for.
pub(super) fn put(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
