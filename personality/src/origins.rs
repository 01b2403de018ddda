//! What files and directories of copy-on-write layers were below, so that they keep their numbers.
//!
//! A file that was copied into a layer has an inode there, and shows the one that it had before; so a
//! program that remembers a file by device and inode finds it again. The monitor adds rows and takes
//! none away. Like the ownership table, a row is bound to its file by the time of birth too.

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// How many there can be; what comes later shows the numbers of its layer.
pub const ORIGINS_MAX: usize = 1 << 18;

/// [`Origin::links`] of a directory: what it holds cannot be told by a count, so that it says one link,
/// as other file systems do that do not count.
pub const UNCOUNTED: i64 = i64::MIN;

/// A file of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its device.
    pub dev: u64,
    /// Its inode.
    pub ino: u64,
    /// Its time of birth, in nanoseconds since 1970.
    pub btime: u64,
}

/// What it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The device below.
    pub dev: u64,
    /// The inode below.
    pub ino: u64,
    /// What is to be added to its count of links: names that are still stand-ins, less the layer's own;
    /// or [`UNCOUNTED`].
    pub links: i64,
}

impl Origin {
    /// The count of links that is shown.
    #[must_use]
    pub fn count(&self, links: u64) -> u64 {
        if self.links == UNCOUNTED {
            1
        } else {
            links.saturating_add_signed(self.links)
        }
    }
}

/// One file. Open addressing, linear probing.
#[repr(C)]
pub struct OriginRow {
    /// Inode in the layer, written last; 0 if unused.
    ino: AtomicU64,
    dev: AtomicU64,
    btime: AtomicU64,
    shown_dev: AtomicU64,
    shown_ino: AtomicU64,
    links: AtomicI64,
}

/// The table.
#[repr(C)]
pub struct Origins {
    rows: [OriginRow; ORIGINS_MAX],
}

impl Origins {
    fn slots(dev: u64, ino: u64) -> impl Iterator<Item = usize> {
        let hash = (ino ^ dev.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let first = (hash >> 40) as usize;
        (first..first + ORIGINS_MAX).map(|at| at % ORIGINS_MAX)
    }

    /// What a file of a layer shows. `btime` is asked only where device and inode fit.
    pub fn get(&self, dev: u64, ino: u64, btime: impl Fn() -> u64) -> Option<Origin> {
        let mut born = None;
        for at in Self::slots(dev, ino) {
            let row = self.rows.get(at)?;
            match row.ino.load(Ordering::Acquire) {
                0 => return None,
                found if found == ino && row.dev.load(Ordering::Relaxed) == dev => {}
                _ => continue,
            }
            if row.btime.load(Ordering::Relaxed) == *born.get_or_insert_with(&btime) {
                return Some(Origin {
                    dev: row.shown_dev.load(Ordering::Relaxed),
                    ino: row.shown_ino.load(Ordering::Relaxed),
                    links: row.links.load(Ordering::Relaxed),
                });
            }
        }
        None
    }

    /// Adds a row, or changes the count of links in it. One writer at a time; false if the table is
    /// full.
    pub fn put(&self, key: Key, origin: Origin) -> bool {
        for at in Self::slots(key.dev, key.ino) {
            let Some(row) = self.rows.get(at) else {
                return false;
            };
            let found = row.ino.load(Ordering::Acquire);
            let is_same = found == key.ino
                && row.dev.load(Ordering::Relaxed) == key.dev
                && row.btime.load(Ordering::Relaxed) == key.btime;
            if found != 0 && !is_same {
                continue;
            }
            row.dev.store(key.dev, Ordering::Relaxed);
            row.btime.store(key.btime, Ordering::Relaxed);
            row.shown_dev.store(origin.dev, Ordering::Relaxed);
            row.shown_ino.store(origin.ino, Ordering::Relaxed);
            row.links.store(origin.links, Ordering::Relaxed);
            row.ino.store(key.ino, Ordering::Release);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::{Layout, alloc_zeroed};

    fn empty() -> Box<Origins> {
        // SAFETY: the layout is that of a table, which has a size.
        let zeroed = unsafe { alloc_zeroed(Layout::new::<Origins>()) };
        // SAFETY: it was allocated so; all zero is a valid table, of atomics.
        unsafe { Box::from_raw(zeroed.cast()) }
    }

    #[test]
    fn a_file_is_found_by_its_birth_too() {
        let table = empty();
        for (btime, shown) in [(1, 100), (2, 200)] {
            let key = Key {
                dev: 5,
                ino: 7,
                btime,
            };
            let origin = Origin {
                dev: 6,
                ino: shown,
                links: 0,
            };
            assert!(table.put(key, origin));
        }
        let shown = |ino, btime| table.get(5, ino, || btime).map(|origin| origin.ino);
        assert_eq!(shown(7, 1), Some(100));
        assert_eq!(shown(7, 2), Some(200));
        assert_eq!(shown(7, 3), None);
        assert_eq!(shown(8, 1), None);
    }

    #[test]
    fn counts_change_and_directories_have_none() {
        let table = empty();
        let key = Key {
            dev: 1,
            ino: 2,
            btime: 3,
        };
        for links in [1, 0, -1, UNCOUNTED] {
            let origin = Origin {
                dev: 4,
                ino: 5,
                links,
            };
            assert!(table.put(key, origin));
            assert_eq!(table.get(1, 2, || 3), Some(origin));
        }
        let count = |links| {
            let origin = Origin {
                dev: 0,
                ino: 0,
                links,
            };
            origin.count(3)
        };
        assert_eq!([count(1), count(-1), count(UNCOUNTED)], [4, 2, 1]);
    }
}
