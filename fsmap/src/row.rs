//! One mount, as it stands in shared memory.

use crate::Error;
use crate::path::trimmed;

/// Of [`MountRow::read_only`], where nothing may change.
pub mod access {
    /// By this mount, though another one may let it.
    pub const READ_ONLY: u32 = 1;
    /// By no mount that the zone has had from its boot on.
    pub const FOREIGN: u32 = 2;
}

/// Who serves a mount.
pub mod kind {
    /// A directory of the host, reached by a descriptor.
    pub const TREE: u32 = 1;
    /// The monitor, as `/proc` and `/dev`.
    pub const MONITOR: u32 = 2;
    /// The tree below a copy-on-write layer: no path leads to it but by a
    /// [`StandIn`](crate::StandIn), whose number of the mount stands in `flags`.
    pub const BELOW: u32 = 3;
}

/// One mount, in shared memory; all zero is an unused row, which matches nothing.
///
/// A row with a `sub` is an *alias*: it mirrors a link of the zone's root (`/bin` -> `usr/bin`) so
/// that the link needs no walk. It shares its descriptor with the mount that it leads into.
///
/// A row with an `order` is *added*: a zone has mounted something itself. It shows a directory (or
/// file) that the zone could reach before, so it too has the descriptor of another mount, and `sub`.
/// Behind an added row stands what was mounted before it, at the same place or beneath.
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
    /// Whether anything in it may change: 0, or one of [`access`].
    pub read_only: u32,
    /// The guests' descriptor of it.
    pub fd: i32,
    /// Length of `prefix`.
    pub prefix_len: u32,
    /// Length of `host`.
    pub host_len: u32,
    /// Length of `sub`; 0 if the descriptor itself is meant.
    pub sub_len: u32,
    /// Length of `canonical`; 0 if the row is no alias.
    pub canonical_len: u32,
    /// Of an added row: a number that those mounted later have a higher of.
    pub order: u32,
    /// 1 if what it shows has another name in the zone, by which host paths are told.
    pub is_second: u16,
    /// 1 if it shows no directory.
    pub is_file: u16,
    /// `ST_*` as statfs(2) tells them (`f_flags`), of an added row; of a tree below its number.
    pub flags: u32,
    /// `f_type` as statfs(2) tells it, of an added row; 0 for the host's own.
    pub magic: u64,
    /// Where the zone sees it, without slash at the end; the root's is empty.
    pub prefix: [u8; 256],
    /// Of an alias or an added row: the directory beneath the descriptor.
    pub sub: [u8; 256],
    /// Of an alias: the same directory as a zone path free of links.
    pub canonical: [u8; 64],
    /// The directory on the host, absolute and free of links.
    pub host: [u8; 512],
}

// Shared memory: no bytes of padding whose value nobody decides.
const _: () = assert!(size_of::<MountRow>() == 4 * 8 + 9 * 4 + 2 * 2 + 8 + 256 + 256 + 64 + 512);

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
        order: 0,
        is_second: 0,
        is_file: 0,
        flags: 0,
        magic: 0,
        prefix: [0; 256],
        sub: [0; 256],
        canonical: [0; 64],
        host: [0; 512],
    };

    /// A tree at `zone` (absolute, "/" for the root) that shows `host`; it has no descriptor yet.
    ///
    /// # Errors
    /// ENAMETOOLONG: `zone` has more than 256 bytes or `host` more than 512.
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
            prefix: [0; 256],
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

    /// A row that a zone adds at `zone`, of `sub` beneath `of`, which may be empty.
    ///
    /// # Errors
    /// ENAMETOOLONG: a path is too long. EINVAL: `of` is an alias.
    pub fn added(zone: &[u8], of: &MountRow, sub: &[u8], order: u32) -> Result<MountRow, Error> {
        if of.is_alias() {
            return Err(Error::EINVAL);
        }
        let mut row = MountRow {
            kind: of.kind,
            fd: of.fd,
            read_only: of.read_only,
            order,
            ..MountRow::EMPTY
        };
        row.prefix_len = store(&mut row.prefix, zone.get(..trimmed(zone)).unwrap_or(&[]))?;
        row.sub_len = join(&mut row.sub, of.sub(), sub)?;
        row.host_len = join(&mut row.host, of.host(), sub)?;
        Ok(row)
    }

    /// Puts an added row's directory elsewhere: to `sub` beneath `of`.
    ///
    /// # Errors
    /// ENAMETOOLONG: a path is too long. The row is as it was then.
    pub fn relocate(&mut self, of: &MountRow, sub: &[u8]) -> Result<(), Error> {
        let new = MountRow::added(self.prefix(), of, sub, self.order)?;
        (self.fd, self.sub, self.sub_len) = (new.fd, new.sub, new.sub_len);
        (self.host, self.host_len) = (new.host, new.host_len);
        Ok(())
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

    /// The directory beneath the descriptor; empty for the descriptor itself.
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
        self.canonical_len != 0
    }

    /// Whether a zone has added it.
    #[must_use]
    pub fn is_added(&self) -> bool {
        self.order != 0
    }

    /// Whether the monitor serves it.
    #[must_use]
    pub fn is_monitor(&self) -> bool {
        self.kind == kind::MONITOR
    }

    /// Whether it is the tree below a copy-on-write layer.
    #[must_use]
    pub fn is_below(&self) -> bool {
        self.kind == kind::BELOW
    }

    /// Whether nothing in it may change.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only != 0
    }

    /// Whether it is read-only where the kernel does not say so: the zone has made it so itself, or
    /// may change by another mount what this one shows.
    #[must_use]
    pub fn is_held_read_only(&self) -> bool {
        self.read_only == access::READ_ONLY || self.is_added() && self.is_read_only()
    }

    /// Whether nothing in it was ever the zone's to change.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.read_only == access::FOREIGN
    }

    /// Whether the row is in use.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.kind != 0
    }
}

/// Puts two paths behind one another, with a slash between them; the length.
fn join(to: &mut [u8], front: &[u8], rest: &[u8]) -> Result<u32, Error> {
    let front = front.get(..trimmed(front)).unwrap_or(&[]);
    let rest = rest.get(..trimmed(rest)).unwrap_or(&[]);
    let mut len = store(to, front)?;
    if !rest.is_empty() {
        let is_between = !front.is_empty();
        if is_between {
            *to.get_mut(front.len()).ok_or(Error::ENAMETOOLONG)? = b'/';
            len += 1;
        }
        let room = to.get_mut(len as usize..).ok_or(Error::ENAMETOOLONG)?;
        len += store(room, rest)?;
    }
    Ok(len)
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
