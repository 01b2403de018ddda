//! What a zone has mounted, for the tables of `/proc`.

use super::rows::row_of;
use super::{ST_RDONLY, open_row, stat_of};
use crate::monitor::procfs::Mount as Line;
use crate::monitor::view;
use crate::monitor::zone::Zone;
use picozone_personality::detached::is_detached;
use picozone_personality::tables::mount_id;
use std::path::Path;

/// `ST_*` and how fstab(5) calls them, in the kernel's order.
const NAMES: [(u32, &str); 8] = [
    (2, "nosuid"),
    (4, "nodev"),
    (8, "noexec"),
    (16, "sync"),
    (1024, "noatime"),
    (2048, "nodiratime"),
    (4096, "relatime"),
    (8192, "nosymfollow"),
];

/// One line for each mount, in the order of mounting.
#[must_use]
pub fn lines(zone: &Zone) -> Vec<Line> {
    let state = zone.mounting.state();
    let mut all: Vec<_> = state
        .added
        .iter()
        .map(|added| (row_of(zone, added), added))
        .filter(|(row, _)| !is_detached(row))
        .collect();
    all.sort_by_key(|(row, _)| row.order);
    let line = |(row, added): (picozone_fsmap::MountRow, &super::Added)| {
        let access = if row.flags & ST_RDONLY != 0 {
            "ro"
        } else {
            "rw"
        };
        let names = NAMES.iter().filter(|(flag, _)| row.flags & flag != 0);
        let options = names.fold(access.to_owned(), |text, (_, name)| text + "," + name);
        let node = open_row(zone, &row);
        let found = node.as_ref().ok().and_then(|node| stat_of(node).ok());
        let device = match added.fstype {
            "proc" => view::device_of(Path::new("/proc")),
            "devtmpfs" => view::device_of(Path::new("/dev")),
            _ => found.map_or(0, |found| found.st_dev),
        };
        let fstype = match added.fstype {
            "" => node.map_or("ext4", |node| view::fstype_of(&node)),
            name => name,
        };
        let source = match &added.source[..] {
            b"" => b"none",
            source => source,
        };
        Line {
            path: row.prefix().to_vec(),
            fstype: fstype.to_owned(),
            source: String::from_utf8_lossy(source).into_owned(),
            options,
            device,
            id: mount_id(&row) as usize,
            root: added.root.clone(),
        }
    };
    all.into_iter().map(line).collect()
}
