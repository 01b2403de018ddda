//! The mount list.

use crate::{Error, PathBuf};

/// Who serves a mount.
pub mod kind {
    /// A directory of the host, reached by a descriptor.
    pub const TREE: u32 = 1;
    /// The monitor.
    pub const MONITOR: u32 = 2;
}

/// One mount, in shared memory; all zero is an unused row.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct MountRow {
    /// Where the zone sees it, without slash at the end; the root's is empty.
    pub prefix: [u8; 256],
    /// The directory on the host, absolute.
    pub host: [u8; 1024],
    /// Length of `prefix`.
    pub prefix_len: u32,
    /// Length of `host`.
    pub host_len: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// 1 if nothing in it may change.
    pub read_only: u32,
    /// The guests' descriptor of it.
    pub fd: i32,
    /// Unused.
    pub pad: u32,
    /// Device and inode of the placeholder that stands for it in the directory above; 0 if none.
    pub placeholder_dev: u64,
    /// See `placeholder_dev`.
    pub placeholder_ino: u64,
    /// Inode of the mounted directory.
    pub root_ino: u64,
}

impl MountRow {
    /// An unused row.
    pub const EMPTY: MountRow = MountRow {
        prefix: [0; 256],
        host: [0; 1024],
        prefix_len: 0,
        host_len: 0,
        kind: 0,
        read_only: 0,
        fd: -1,
        pad: 0,
        placeholder_dev: 0,
        placeholder_ino: 0,
        root_ino: 0,
    };

    /// A row for `zone` (absolute) that shows `host`.
    ///
    /// # Errors
    /// ENAMETOOLONG.
    pub fn new(zone: &[u8], host: &[u8]) -> Result<MountRow, Error> {
        let zone = zone.strip_suffix(b"/").unwrap_or(zone);
        let mut row = MountRow::EMPTY;
        row.prefix
            .get_mut(..zone.len())
            .ok_or(Error::ENAMETOOLONG)?
            .copy_from_slice(zone);
        row.host
            .get_mut(..host.len())
            .ok_or(Error::ENAMETOOLONG)?
            .copy_from_slice(host);
        row.prefix_len = u32::try_from(zone.len()).map_err(|_| Error::ENAMETOOLONG)?;
        row.host_len = u32::try_from(host.len()).map_err(|_| Error::ENAMETOOLONG)?;
        row.kind = kind::TREE;
        Ok(row)
    }

    /// Where the zone sees it; empty for the root.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        self.prefix.get(..self.prefix_len as usize).unwrap_or(&[])
    }

    /// The directory on the host.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.host.get(..self.host_len as usize).unwrap_or(&[])
    }

    /// Whether the monitor serves it.
    #[must_use]
    pub fn is_monitor(&self) -> bool {
        self.kind == kind::MONITOR
    }
}

/// A mount list: longest prefix first, the root last.
#[derive(Clone, Copy)]
pub struct Mounts<'a>(pub &'a [MountRow]);

/// What is left of `path` behind `prefix`, if it lies in it.
fn behind<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(prefix)?;
    match rest.first() {
        None => Some(rest),
        Some(b'/') => {
            let start = rest.iter().position(|&b| b != b'/').unwrap_or(rest.len());
            rest.get(start..)
        }
        Some(_) => None,
    }
}

impl Mounts<'_> {
    /// The mount of an absolute path by its text alone, and the rest of the path.
    #[must_use]
    pub fn find<'p>(&self, path: &'p [u8]) -> (usize, &'p [u8]) {
        let start = path
            .iter()
            .position(|&b| b != b'/')
            .unwrap_or(path.len())
            .saturating_sub(1);
        let path = path.get(start..).unwrap_or(path);
        for (index, row) in self.0.iter().enumerate() {
            if let Some(rest) = behind(path, row.prefix()) {
                return (index, rest);
            }
        }
        (self.0.len().saturating_sub(1), path)
    }

    /// The mount whose top is exactly this path; the root's is "/".
    #[must_use]
    pub fn top(&self, path: &[u8]) -> Option<usize> {
        let path = if path == b"/" { b"" } else { path };
        self.0.iter().position(|row| row.prefix() == path)
    }

    /// The mount whose placeholder this is.
    #[must_use]
    pub fn is_placeholder(&self, dev: u64, ino: u64) -> Option<usize> {
        self.0.iter().position(|row| {
            row.placeholder_ino != 0 && row.placeholder_ino == ino && row.placeholder_dev == dev
        })
    }

    /// Host path to zone path, by the longest host prefix. False if the zone does not see it.
    #[must_use]
    pub fn to_zone(&self, host: &[u8], to: &mut PathBuf) -> bool {
        let mut best: Option<(&MountRow, &[u8])> = None;
        for row in self.0 {
            if let Some(rest) = behind(host, row.host())
                && best.is_none_or(|(other, _)| other.host_len < row.host_len)
            {
                best = Some((row, rest));
            }
        }
        let Some((row, rest)) = best else {
            return false;
        };
        let done = to.set(row.prefix()).and_then(|()| {
            if rest.is_empty() {
                Ok(())
            } else {
                to.append(b"/").and_then(|()| to.append(rest))
            }
        });
        if to.as_bytes().is_empty() && to.append(b"/").is_err() {
            return false;
        }
        done.is_ok()
    }
}
