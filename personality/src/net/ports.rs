//! The table of ports: which port of the zone lies where on the host.
//!
//! A row is written by the monitor only, under a sequence number; guests read it wait-free. Row order
//! means nothing. A removed row has protocol 0 and is used again.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering, fence};

/// How often a reader tries a row that is being written, before it takes it for removed. The monitor
/// writes a row in a few stores, so that this is reached only if it is descheduled among them.
const TRIES: u32 = 1000;

/// A transport protocol, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Proto {
    /// TCP, MPTCP included (one port space).
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// One without ports, such as ICMP echo sockets: addresses are translated, ports are not.
    Other = 255,
}

impl Proto {
    /// From `SO_PROTOCOL`.
    #[must_use]
    pub const fn from_number(protocol: i32) -> Self {
        match protocol {
            6 | 262 => Self::Tcp,
            17 | 136 => Self::Udp,
            _ => Self::Other,
        }
    }

    const fn from_row(proto: u8) -> Option<Self> {
        match proto {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }
}

/// Which destinations in the zone's terms a row receives for: a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Covers(pub u8);

impl Covers {
    /// The zone's IPv4 address.
    pub const PUBLIC_V4: Self = Self(1);
    /// An address in 127.0.0.0/8; alone, the very one of the row.
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
    /// Not this zone's at all: where a port of another zone lies, for the way back only.
    pub const REMOTE: Self = Self(0x80);

    /// Whether they have a destination in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it is a wildcard.
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.0.count_ones() > 1
    }

    /// Whether it is an address of the zone's loopback.
    #[must_use]
    pub const fn is_loopback(self) -> bool {
        self.0 == Self::LOOPBACK_V4.0 || self.0 == Self::LOOPBACK_V6.0
    }

    /// Whether it receives IPv6 only.
    #[must_use]
    pub const fn is_v6_only(self) -> bool {
        self.0 & Self::ANY_V6.0 != 0 && self.0 & Self::ANY_V4.0 == 0
    }
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortEntry {
    /// Protocol; never [`Proto::Other`].
    pub proto: Proto,
    /// What it receives for.
    pub covers: Covers,
    /// IPv4 address in the zone's terms, where `covers` is [`Covers::LOOPBACK_V4`] alone (two
    /// addresses of 127.0.0.0/8 may have the same port) or [`Covers::REMOTE`]; else zeros.
    pub zone_addr: [u8; 4],
    /// Port in the zone.
    pub zone_port: u16,
    /// Address on the host; zeros if bound to the host's wildcard.
    pub host_addr: [u8; 4],
    /// Port on the host.
    pub host_port: u16,
}

/// One row of the table.
#[derive(Debug, Default)]
#[repr(C)]
pub struct PortRow {
    /// Odd while the row is being written.
    seq: AtomicU32,
    /// Protocol number; 0 in a row that is not in use.
    proto: AtomicU8,
    /// [`Covers`].
    covers: AtomicU8,
    /// See [`PortEntry::zone_port`].
    zone_port: AtomicU16,
    /// See [`PortEntry::zone_addr`]; bytes in network order.
    zone_addr: AtomicU32,
    /// See [`PortEntry::host_addr`]; bytes in network order.
    host_addr: AtomicU32,
    /// See [`PortEntry::host_port`].
    host_port: AtomicU16,
    /// Unused.
    pad: AtomicU16,
}

impl PortRow {
    /// What the row says; `None` if it is not in use.
    #[must_use]
    pub fn read(&self) -> Option<PortEntry> {
        for _ in 0..TRIES {
            let before = self.seq.load(Ordering::Acquire);
            if before & 1 == 0 {
                let proto = self.proto.load(Ordering::Relaxed);
                let entry = PortEntry {
                    proto: Proto::from_row(proto).unwrap_or(Proto::Other),
                    covers: Covers(self.covers.load(Ordering::Relaxed)),
                    zone_addr: self.zone_addr.load(Ordering::Relaxed).to_ne_bytes(),
                    zone_port: self.zone_port.load(Ordering::Relaxed),
                    host_addr: self.host_addr.load(Ordering::Relaxed).to_ne_bytes(),
                    host_port: self.host_port.load(Ordering::Relaxed),
                };
                fence(Ordering::Acquire);
                if self.seq.load(Ordering::Relaxed) == before {
                    return if entry.proto == Proto::Other {
                        None
                    } else {
                        Some(entry)
                    };
                }
            }
            core::hint::spin_loop();
        }
        None
    }

    /// Writes the row, or takes it out of use. One writer at a time: the monitor, under its lock.
    pub fn write(&self, entry: Option<&PortEntry>) {
        let seq = self.seq.load(Ordering::Relaxed);
        self.seq.store(seq.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        if let Some(entry) = entry {
            self.covers.store(entry.covers.0, Ordering::Relaxed);
            self.zone_addr
                .store(u32::from_ne_bytes(entry.zone_addr), Ordering::Relaxed);
            self.zone_port.store(entry.zone_port, Ordering::Relaxed);
            self.host_addr
                .store(u32::from_ne_bytes(entry.host_addr), Ordering::Relaxed);
            self.host_port.store(entry.host_port, Ordering::Relaxed);
        }
        self.proto.store(
            entry.map_or(0, |entry| entry.proto as u8),
            Ordering::Relaxed,
        );
        self.seq.store(seq.wrapping_add(2), Ordering::Release);
    }
}

/// The table as readers see it.
#[derive(Clone, Copy, Debug)]
pub struct Ports<'a> {
    rows: &'a [PortRow],
}

impl<'a> Ports<'a> {
    /// The first `count` rows (as many as have ever been used).
    #[must_use]
    pub fn new(rows: &'a [PortRow], count: u32) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            rows: rows.get(..count).unwrap_or(rows),
        }
    }

    /// Every row in use.
    pub fn entries(self) -> impl Iterator<Item = PortEntry> + 'a {
        self.rows.iter().filter_map(PortRow::read)
    }

    /// The row that receives for a destination; the most special one, as the kernel's look-up does.
    pub(super) fn receiver(
        self,
        proto: Proto,
        want: Covers,
        zone: [u8; 4],
        port: u16,
    ) -> Option<PortEntry> {
        self.entries()
            .filter(|entry| {
                entry.proto == proto && entry.zone_port == port && entry.covers.meets(want)
            })
            .filter(|entry| entry.covers != Covers::LOOPBACK_V4 || entry.zone_addr == zone)
            .min_by_key(|entry| entry.covers.0.count_ones())
    }

    /// What this zone's socket receives for that is bound to an address and port of the host, or to its
    /// wildcard.
    #[must_use]
    pub fn covers_at(self, proto: Proto, host: [u8; 4], port: u16) -> Option<Covers> {
        self.at(proto, host, port, Kind::OwnOrWildcard)
            .map(|entry| entry.covers)
    }

    /// The row that lies at a host address; one at that very address rather than at the wildcard.
    pub(super) fn at(
        self,
        proto: Proto,
        host: [u8; 4],
        port: u16,
        kind: Kind,
    ) -> Option<PortEntry> {
        self.entries()
            .filter(|entry| entry.proto == proto && entry.host_port == port)
            .filter(|entry| (entry.covers == Covers::REMOTE) == (kind == Kind::Remote))
            .filter(|entry| {
                entry.host_addr == host
                    || (kind == Kind::OwnOrWildcard && entry.host_addr == [0; 4])
            })
            .min_by_key(|entry| entry.host_addr != host)
    }
}

/// Which rows [`Ports::at`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// This zone's, bound to that very address.
    Own,
    /// This zone's, bound to that address or to the host's wildcard.
    OwnOrWildcard,
    /// Another zone's.
    Remote,
}
