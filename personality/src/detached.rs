//! Mounts by descriptor: what a guest asks for, and where a mount lies that is in no tree.
//!
//! A detached mount is a row of the table like any other, at a place in [`DIRECTORY`] to which no path
//! of the zone leads: the directory does not exist. A descriptor of it is a descriptor of what it shows.

use picozone_fsmap::MountRow;

/// Where detached mounts lie, each under its number.
pub const DIRECTORY: &[u8] = b"/\x7fdetached";

/// Operations of [`Request::Detached`](crate::mailbox::Request::Detached).
pub mod operation {
    /// A context of a new file system: args = .., 1 if it is closed on exec; a = its type. The value is
    /// its descriptor.
    pub const OPEN: u64 = 0;
    /// A context of what is mounted: args = .., 1 if it is closed on exec; a = mount point, free of
    /// links. The value is its descriptor.
    pub const PICK: u64 = 1;
    /// Changes a context: args = .., its descriptor, `FSCONFIG_*`; a = key; b = value.
    pub const CONFIGURE: u64 = 2;
    /// Mounts what a context has made: args = .., its descriptor, `MOUNT_ATTR_*`. The value is the
    /// number of the mount.
    pub const MOUNT: u64 = 3;
    /// A detached bind: args = .., 1 if with what is mounted beneath; a = of what, free of links. The
    /// value is the number of the mount.
    pub const CLONE: u64 = 4;
    /// Puts a mount elsewhere: args = .., 1 if beneath what is mounted there; a = where to, b = mount
    /// point, both free of links.
    pub const MOVE: u64 = 5;
    /// Changes the flags of a mount: args = .., `MOUNT_ATTR_*` to set, to take away first, 1 if also of
    /// what is mounted beneath; a = mount point, free of links.
    pub const SET: u64 = 6;
}

/// `FSCONFIG_*` of fsconfig(2).
pub mod command {
    /// A word without a value.
    pub const SET_FLAG: u32 = 0;
    /// A text.
    pub const SET_STRING: u32 = 1;
    /// Bytes.
    pub const SET_BINARY: u32 = 2;
    /// What a path names.
    pub const SET_PATH: u32 = 3;
    /// The same, where the path may be empty.
    pub const SET_PATH_EMPTY: u32 = 4;
    /// What a descriptor names.
    pub const SET_FD: u32 = 5;
    /// Makes the file system.
    pub const CREATE: u32 = 6;
    /// Changes it.
    pub const RECONFIGURE: u32 = 7;
    /// Makes it, and fails where there is one already.
    pub const CREATE_EXCLUSIVE: u32 = 8;
}

/// `MOUNT_ATTR_*` of access times: they are changed together.
pub const TIMES: u64 = 0x70;
/// `MOUNT_ATTR_NOATIME`, `MOUNT_ATTR_STRICTATIME`.
pub const NO_TIMES: u64 = 0x10;
/// As above.
pub const STRICT_TIMES: u64 = 0x20;

/// `MOUNT_ATTR_*` but times, and the flag of statfs(2) that tells each.
const SAME: [(u64, u32); 6] = [
    (0x1, 1),
    (0x2, 2),
    (0x4, 4),
    (0x8, 8),
    (0x80, 2048),
    (0x20_0000, 8192),
];
const ST_NOATIME: u32 = 1024;
const ST_RELATIME: u32 = 4096;

/// The flags of a mount as statfs(2) tells them, after these `MOUNT_ATTR_*` were taken away and those
/// set.
#[must_use]
pub fn changed(flags: u32, set: u64, clear: u64) -> u32 {
    let mut flags = flags;
    for (attribute, flag) in SAME {
        if clear & attribute != 0 {
            flags &= !flag;
        }
        if set & attribute != 0 {
            flags |= flag;
        }
    }
    if clear & TIMES != 0 {
        flags = flags & !(ST_NOATIME | ST_RELATIME)
            | match set & TIMES {
                NO_TIMES => ST_NOATIME,
                STRICT_TIMES => 0,
                _ => ST_RELATIME,
            };
    }
    flags
}

/// Whether a zone path is that of a detached mount's top.
#[must_use]
pub fn is_top(path: &[u8]) -> bool {
    beneath(path).is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'/'))
}

/// Whether a mount is detached, or lies in one that is.
#[must_use]
pub fn is_detached(row: &MountRow) -> bool {
    is_within(row.prefix())
}

/// Whether a zone path leads to a detached mount.
#[must_use]
pub fn is_within(path: &[u8]) -> bool {
    beneath(path).is_some()
}

fn beneath(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(DIRECTORY)?.strip_prefix(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tops_are_told_from_what_lies_in_them() {
        let path = |rest: &str| [DIRECTORY, rest.as_bytes()].concat();
        assert!(is_top(&path("/7")));
        for other in [
            path("/7/sub"),
            path(""),
            path("/"),
            path("s/7"),
            b"/7".to_vec(),
        ] {
            assert!(!is_top(&other), "{}", other.escape_ascii());
        }
        assert!(is_within(&path("/7/sub")));
        assert!(!is_within(b"/"));
    }

    #[test]
    fn attributes_are_flags() {
        const RELATIVE: u32 = ST_RELATIME;
        assert_eq!(changed(RELATIVE, 0x1 | 0x8, 0), RELATIVE | 1 | 8);
        assert_eq!(changed(RELATIVE | 1, 0, 1), RELATIVE);
        assert_eq!(changed(RELATIVE, NO_TIMES, TIMES), ST_NOATIME);
        assert_eq!(changed(ST_NOATIME, STRICT_TIMES, TIMES), 0);
        assert_eq!(changed(ST_NOATIME, 0, TIMES), RELATIVE);
        // Set wins over taken away, as in the kernel.
        assert_eq!(changed(0, 2, 2), 2);
    }
}
