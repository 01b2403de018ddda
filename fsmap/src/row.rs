//! One mount, as it stands in shared memory.

use crate::Error;
use crate::path::trimmed;

/// Who serves a mount.
pub mod kind {
    /// A directory of the host, reached by a descriptor.
    pub const TREE: u32 = 1;
    /// The monitor, as `/proc` and `/dev`.
    pub const MONITOR: u32 = 2;
}

/// One mount, in shared memory; all zero is an unused row, which matches nothing.
///
/// A row with a `sub` is an *alias*: it mirrors a link of the zone's root (`/bin` -> `usr/bin`) so
/// that the link needs no walk. It shares its descriptor with the mount that it leads into.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct MountRow {
    /// Device of the placeholder (a dangling absolute link) that stands at the mount point in the
    /// directory above.
    pub placeholder_dev: u64,
    /// Inode of the placeholder; 0 if there is none.
    pub placeholder_ino: u64,
    /// Device of the mounted directory.
    pub root_dev: u64,
    /// Inode of the mounted directory.
    pub root_ino: u64,
    /// One of [`kind`].
    pub kind: u32,
    /// 1 if nothing in it may change.
    pub read_only: u32,
    /// The guests' descriptor of it.
    pub fd: i32,
    /// Length of `prefix`.
    pub prefix_len: u32,
    /// Length of `host`.
    pub host_len: u32,
    /// Length of `sub`; 0 if the row is no alias.
    pub sub_len: u32,
    /// Length of `canonical`.
    pub canonical_len: u32,
    /// Unused.
    pub pad: u32,
    /// Where the zone sees it, without slash at the end; the root's is empty.
    pub prefix: [u8; 128],
    /// Of an alias: the directory beneath the descriptor.
    pub sub: [u8; 64],
    /// Of an alias: the same directory as a zone path free of links.
    pub canonical: [u8; 64],
    /// The directory on the host, absolute and free of links.
    pub host: [u8; 512],
}

// Shared memory: no bytes of padding whose value nobody decides.
const _: () = assert!(size_of::<MountRow>() == 4 * 8 + 8 * 4 + 128 + 64 + 64 + 512);

impl MountRow {
    /// An unused row, all zero.
    pub const EMPTY: MountRow = MountRow {
        placeholder_dev: 0,
        placeholder_ino: 0,
        root_dev: 0,
        root_ino: 0,
        kind: 0,
        read_only: 0,
        fd: 0,
        prefix_len: 0,
        host_len: 0,
        sub_len: 0,
        canonical_len: 0,
        pad: 0,
        prefix: [0; 128],
        sub: [0; 64],
        canonical: [0; 64],
        host: [0; 512],
    };

    /// A tree at `zone` (absolute, "/" for the root) that shows `host`; it has no descriptor yet.
    ///
    /// # Errors
    /// ENAMETOOLONG: `zone` has more than 128 bytes or `host` more than 512.
    pub fn new(zone: &[u8], host: &[u8]) -> Result<MountRow, Error> {
        let mut row = MountRow::EMPTY;
        row.prefix_len = store(&mut row.prefix, zone.get(..trimmed(zone)).unwrap_or(&[]))?;
        // The host's root keeps its slash: an empty host is none.
        let host_len = trimmed(host).max(usize::from(!host.is_empty()));
        row.host_len = store(&mut row.host, host.get(..host_len).unwrap_or(&[]))?;
        row.kind = kind::TREE;
        row.fd = -1;
        Ok(row)
    }

    /// An alias at `zone` of the directory `sub` of `of`, as /bin is one of `bin` of /usr.
    ///
    /// # Errors
    /// ENAMETOOLONG: `zone` has more than 128 bytes, or the canonical path more than 64.
    /// EINVAL: `of` is an alias itself or no tree, or `sub` is empty.
    pub fn alias(zone: &[u8], of: &MountRow, sub: &[u8]) -> Result<MountRow, Error> {
        let sub = sub.get(..trimmed(sub)).unwrap_or(&[]);
        if of.is_alias() || of.kind != kind::TREE || sub.is_empty() {
            return Err(Error::EINVAL);
        }
        let mut row = MountRow {
            placeholder_dev: 0,
            placeholder_ino: 0,
            root_dev: 0,
            root_ino: 0,
            prefix: [0; 128],
            ..*of
        };
        row.prefix_len = store(&mut row.prefix, zone.get(..trimmed(zone)).unwrap_or(&[]))?;
        row.sub_len = store(&mut row.sub, sub)?;
        let (head, tail) = row
            .canonical
            .split_at_mut_checked(of.prefix().len())
            .ok_or(Error::ENAMETOOLONG)?;
        head.copy_from_slice(of.prefix());
        let (slash, tail) = tail.split_first_mut().ok_or(Error::ENAMETOOLONG)?;
        *slash = b'/';
        row.canonical_len = of.prefix_len + 1 + store(tail, sub)?;
        Ok(row)
    }

    /// Where the zone sees it; empty for the root.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        stored(&self.prefix, self.prefix_len)
    }

    /// The directory on the host.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        stored(&self.host, self.host_len)
    }

    /// Of an alias: the directory beneath the descriptor; else empty.
    #[must_use]
    pub fn sub(&self) -> &[u8] {
        stored(&self.sub, self.sub_len)
    }

    /// Of an alias: its zone path free of links; else empty.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        stored(&self.canonical, self.canonical_len)
    }

    /// Whether it stands for a link of the zone's root.
    #[must_use]
    pub fn is_alias(&self) -> bool {
        self.sub_len != 0
    }

    /// Whether the monitor serves it.
    #[must_use]
    pub fn is_monitor(&self) -> bool {
        self.kind == kind::MONITOR
    }

    /// Whether nothing in it may change.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only != 0
    }

    /// Whether the row is in use.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.kind != 0
    }
}

/// Copies a text to the front of `to`; its length.
fn store(to: &mut [u8], text: &[u8]) -> Result<u32, Error> {
    let room = to.get_mut(..text.len()).ok_or(Error::ENAMETOOLONG)?;
    room.copy_from_slice(text);
    u32::try_from(text.len()).map_err(|_| Error::ENAMETOOLONG)
}

fn stored(from: &[u8], len: u32) -> &[u8] {
    from.get(..len as usize).unwrap_or(&[])
}
