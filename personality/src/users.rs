//! Which user of a zone an id of the host stands for.
//!
//! Pure arithmetic on a few rows. Ids that a zone gives away itself are numbers of the zone and stay
//! so, whatever the map; it says what files of the host look like, and which ids there are.

/// How many rows a map can have.
pub const ROWS_MAX: usize = 16;

/// A range of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct IdRow {
    /// First id in the zone.
    pub zone: u32,
    /// First id of the host.
    pub host: u32,
    /// How many ids of the host.
    pub count: u32,
    /// 1 if all of them are the same id in the zone.
    pub squashes: u32,
}

impl IdRow {
    const fn to_zone(self, host: u32) -> Option<u32> {
        if host < self.host || host - self.host >= self.count {
            return None;
        }
        Some(match self.squashes {
            0 => self.zone + (host - self.host),
            _ => self.zone,
        })
    }

    const fn to_host(self, zone: u32) -> Option<u32> {
        let count = if self.squashes == 0 { self.count } else { 1 };
        if zone < self.zone || zone - self.zone >= count {
            return None;
        }
        Some(self.host + (zone - self.zone))
    }
}

/// The map of one kind of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct IdMap {
    /// The rows; those that are not used have no id.
    pub rows: [IdRow; ROWS_MAX],
    /// Who every other id of the host is in the zone.
    pub other: u32,
    /// 1 if the zone has no ids but those of the map.
    pub is_closed: u32,
}

impl IdMap {
    /// That of a zone without a map of its own: `own`, who runs it, is its root, ids of the system are
    /// the same, and everybody else is nobody.
    #[must_use]
    pub fn usual(own: u32) -> Self {
        let mut map = Self {
            rows: [IdRow::default(); ROWS_MAX],
            other: 65534,
            is_closed: 0,
        };
        map.rows[0] = IdRow {
            zone: 0,
            host: own,
            count: 1,
            squashes: 0,
        };
        map.rows[1] = IdRow {
            zone: 0,
            host: 0,
            count: 1000,
            squashes: 0,
        };
        map
    }

    /// The zone's id for one of the host.
    #[must_use]
    pub fn to_zone(&self, host: u32) -> u32 {
        // Nearly all files are of one of these two kinds.
        match host {
            host if host == self.rows[0].host => 0,
            host if self.is_closed == 0 && host < self.rows[1].count => host,
            host => self.by_rows(host),
        }
    }

    #[cold]
    #[inline(never)]
    fn by_rows(&self, host: u32) -> u32 {
        let mut found = self.rows.iter().filter_map(|row| row.to_zone(host));
        found.next().unwrap_or(self.other)
    }

    /// Whether an id of the host is anybody's in the zone, and not only everybody else's.
    #[must_use]
    pub fn has_host(&self, host: u32) -> bool {
        self.is_closed == 0 || self.rows.iter().any(|row| row.to_zone(host).is_some())
    }

    /// The host's id for one of the zone, by the last row that has it: the first one is who runs it.
    #[must_use]
    pub fn to_host(&self, zone: u32) -> Option<u32> {
        let mut found = self.rows.iter().rev().filter_map(|row| row.to_host(zone));
        found.next()
    }

    /// Whether a thread or a file of the zone can have an id.
    #[must_use]
    pub fn has(&self, zone: u32) -> bool {
        self.is_closed == 0 || self.to_host(zone).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn row(zone: u32, host: u32, count: u32, squashes: u32) -> IdRow {
        IdRow {
            zone,
            host,
            count,
            squashes,
        }
    }

    #[test]
    fn without_a_map_the_system_is_the_same() {
        let map = IdMap::usual(1001);
        for (host, zone) in [(0, 0), (33, 33), (999, 999), (1000, 65534), (1001, 0)] {
            assert_eq!(map.to_zone(host), zone, "{host}");
        }
        assert_eq!(map.to_zone(u32::MAX), 65534);
        assert!(map.has(4_000_000_000));
    }

    #[test]
    fn ranges_single_ids_and_squashed_ones() {
        let mut map = IdMap::usual(1001);
        map.is_closed = 1;
        map.other = 7;
        map.rows[1] = row(0, 100_000, 1000, 0);
        map.rows[2] = row(5000, u32::MAX - 9, 9, 0);
        map.rows[3] = row(6000, 2000, 500, 1);
        for (host, zone) in [
            (1001, 0),
            (100_000, 0),
            (100_999, 999),
            (101_000, 7),
            (u32::MAX - 9, 5000),
            (u32::MAX - 1, 5008),
            (u32::MAX, 7),
            (2000, 6000),
            (2499, 6000),
            (2500, 7),
        ] {
            assert_eq!(map.to_zone(host), zone, "{host}");
        }
        for (host, has) in [(1001, true), (0, false), (2499, true), (2500, false)] {
            assert_eq!(map.has_host(host), has, "{host}");
        }
        assert_eq!(map.to_host(0), Some(100_000));
        assert_eq!(map.to_host(999), Some(100_999));
        assert_eq!(map.to_host(6000), Some(2000));
        for (zone, is_there) in [
            (0, true),
            (999, true),
            (1000, false),
            (5008, true),
            (5009, false),
            (6000, true),
            (6001, false),
            (u32::MAX, false),
        ] {
            assert_eq!(map.has(zone), is_there, "{zone}");
        }
    }
}
