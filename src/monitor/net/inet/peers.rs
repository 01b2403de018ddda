//! `run/ports.json`: what each zone's monitor tells those of its sibling zones.
//!
//! Derived from what runs, and so replaced by a rename but never synced; removed when the zone ends.

use super::plan::{Covers, Row};
use crate::control::Protocol;
use crate::zone::address;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file's name in a runtime directory.
const NAME: &str = "ports.json";
/// Longest file that is read, in bytes: a table full of rows is below it.
const SIZE_MAX: u64 = 1 << 20;

/// The content of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Book {
    /// The zone's number.
    pub(super) number: u16,
    /// What it has bound.
    pub(super) rows: Vec<Row>,
}

/// Replaces the file in `run_dir`.
pub(super) fn write(run_dir: &Path, book: &Book) -> io::Result<()> {
    let fresh = run_dir.join("ports.json.new");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    serde_json::to_writer(io::BufWriter::new(file), book)?;
    fs::rename(&fresh, run_dir.join(NAME))
}

/// Removes the file.
pub(super) fn remove(run_dir: &Path) {
    // Nothing is lost if that fails: the next boot replaces it.
    let _ = fs::remove_file(run_dir.join(NAME));
}

/// What the files of the sibling zones say, as long as they are unchanged.
#[derive(Default)]
pub(super) struct Cache {
    books: HashMap<PathBuf, (Stamp, Book)>,
}

/// Identifies a version of a file: a rename always brings another inode, and an inode used again has
/// another time.
type Stamp = (u64, SystemTime, u64);

impl Cache {
    /// Where a port of zone `number` lies. `zones` is the directory of all zones.
    ///
    /// A zone of another home, or one that has not bound the port, is tried at the same port: there
    /// the host says whether something is there.
    pub(super) fn find(
        &mut self,
        zones: &Path,
        number: u16,
        protocol: Protocol,
        port: u16,
        wants: Covers,
    ) -> SocketAddrV4 {
        let public = address::host_v4(number);
        let Some(book) = self.book(zones, number) else {
            // A server is at the first address in most cases; a datagram is an answer to its sender.
            let ip = match protocol {
                Protocol::Tcp => public,
                Protocol::Udp => natural(number, wants),
            };
            return SocketAddrV4::new(ip, port);
        };
        let row = book
            .rows
            .iter()
            .filter(|row| {
                row.protocol == protocol && row.zone_port == port && row.covers.meets(wants)
            })
            .min_by_key(|row| row.covers.breadth());
        match row {
            Some(row) if row.host.ip().is_unspecified() => {
                SocketAddrV4::new(public, row.host.port())
            }
            Some(row) => row.host,
            None => unbound(book, number, protocol, port, wants),
        }
    }

    /// The newest file of that zone: one that a killed monitor left is older.
    fn book(&mut self, zones: &Path, number: u16) -> Option<&Book> {
        // Zones that were deleted have nothing to say.
        self.books.retain(|path, _| path.exists());
        for zone in fs::read_dir(zones).ok()?.flatten() {
            self.refresh(&zone.path().join("run").join(NAME));
        }
        let ours = self
            .books
            .values()
            .filter(|(_, book)| book.number == number);
        ours.max_by_key(|((_, time, _), _)| *time)
            .map(|(_, book)| book)
    }

    /// Reads a file again if it has changed.
    fn refresh(&mut self, path: &Path) {
        let found = fs::metadata(path).ok().and_then(|data| {
            let time = data.modified().ok()?;
            (data.len() <= SIZE_MAX).then_some((data.ino(), time, data.len()))
        });
        let Some(stamp) = found else {
            self.books.remove(path);
            return;
        };
        if self
            .books
            .get(path)
            .is_none_or(|(known, _)| *known != stamp)
        {
            let book = fs::read(path)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok());
            match book {
                Some(book) => self.books.insert(path.to_owned(), (stamp, book)),
                None => self.books.remove(path),
            };
        }
    }
}

/// The address that a socket of that zone has if it never bound by name.
fn natural(number: u16, wants: Covers) -> Ipv4Addr {
    if wants.is_v6() {
        address::host_v6_stand_in(number)
    } else {
        address::host_v4(number)
    }
}

/// A place of that zone where nothing answers for another port: the same number at the first of its
/// addresses that no row occupies. A datagram socket that waits for an answer is there as well.
fn unbound(book: &Book, number: u16, protocol: Protocol, port: u16, wants: Covers) -> SocketAddrV4 {
    let is_free = |ip: &Ipv4Addr| {
        !book.rows.iter().any(|row| {
            row.protocol == protocol
                && row.host.port() == port
                && (row.host.ip() == ip || row.host.ip().is_unspecified())
        })
    };
    let public = address::host_v4(number);
    let ip = [
        natural(number, wants),
        public,
        address::host_v6_stand_in(number),
    ]
    .into_iter()
    .find(is_free)
    .unwrap_or(public);
    SocketAddrV4::new(ip, port)
}
