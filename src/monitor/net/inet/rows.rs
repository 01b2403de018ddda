//! The writer of the shared port table: the only place that knows its layout.

use super::plan::{Covers, Row};
use crate::control::Protocol;
use picozone_personality::net::{self, PortRow};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where rows are told to the guests. One writer at a time: [`super::Inet`] calls it under its lock.
pub trait Rows: Send + Sync {
    /// How many rows there are.
    fn capacity(&self) -> usize;
    /// Writes a row, or takes it out of use.
    fn write(&self, slot: usize, row: Option<&Row>);
}

/// The table that the zone's guests map read-only.
#[derive(Clone, Copy)]
pub struct SharedRows {
    /// `Tables::ports`; the memory is mapped as long as the monitor lives.
    pub rows: &'static [PortRow],
    /// `Tables::port_count`.
    pub count: &'static AtomicU32,
}

impl Rows for SharedRows {
    fn capacity(&self) -> usize {
        self.rows.len()
    }

    fn write(&self, slot: usize, row: Option<&Row>) {
        let Some(place) = self.rows.get(slot) else {
            return;
        };
        place.write(row.map(to_shared));
        // Readers look at the rows below the count only: the row first, then the count.
        let used = u32::try_from(slot).map_or(u32::MAX, |slot| slot.saturating_add(1));
        self.count.fetch_max(used, Ordering::Release);
    }
}

fn to_shared(row: &Row) -> net::Port {
    let scope = if row.covers.is_any() {
        net::Scope::Any
    } else if row.covers.meets(Covers::PUBLIC) {
        net::Scope::Public
    } else {
        net::Scope::Loopback
    };
    net::Port {
        protocol: match row.protocol {
            Protocol::Tcp => net::Protocol::Tcp,
            Protocol::Udp => net::Protocol::Udp,
        },
        scope,
        is_v6: row.covers.is_v6(),
        zone_port: row.zone_port,
        host_port: row.host.port(),
        host: row.host.ip().octets(),
    }
}
