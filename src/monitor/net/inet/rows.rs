//! The writer of the shared port table: the only place that knows its layout.

use super::plan::Row;
use crate::control::Protocol;
use picozone_personality::net::{Covers, PortEntry, PortRow, Proto};
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
        place.write(row.map(to_shared).as_ref());
        // Readers look at the rows below the count only: the row first, then the count.
        let used = u32::try_from(slot).map_or(u32::MAX, |slot| slot.saturating_add(1));
        self.count.fetch_max(used, Ordering::Release);
    }
}

fn to_shared(row: &Row) -> PortEntry {
    PortEntry {
        proto: match row.protocol {
            Protocol::Tcp => Proto::Tcp,
            Protocol::Udp => Proto::Udp,
        },
        covers: Covers(row.covers.bits()),
        zone_addr: row.zone_ip.octets(),
        zone_port: row.zone_port,
        host_addr: row.host.ip().octets(),
        host_port: row.host.port(),
    }
}
