//! Access control lists (acl(5)), in the form that their attributes have (`struct posix_acl_xattr_header`
//! in the kernel's include/uapi/linux/posix_acl_xattr.h), and the kernel's rules (fs/posix_acl.c).
//!
//! A list of a file is kept without what its mode says, and shown with it: so chmod(2) needs to know of
//! none. Ids are the zone's. Within a zone lists say who may do what; for its boundary they mean nothing.

use picozone_syscalls::Errno;

/// The attribute with the list that says who may do what to a file.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of a directory with the list that what is made in it gets.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
const HEADER: usize = 4;
const ENTRY: usize = 8;
/// `ACL_UNDEFINED_ID`.
const NOBODY: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Which of a file's two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`ACCESS`].
    Access,
    /// [`DEFAULT`].
    Default,
}

impl Kind {
    /// The list that an attribute of this name holds.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Kind> {
        match name {
            ACCESS => Some(Kind::Access),
            DEFAULT => Some(Kind::Default),
            _ => None,
        }
    }

    /// The attribute's name.
    #[must_use]
    pub const fn name(self) -> &'static [u8] {
        match self {
            Kind::Access => ACCESS,
            Kind::Default => DEFAULT,
        }
    }
}

/// One entry.
#[derive(Clone, Copy)]
struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

impl Entry {
    const fn from_bytes(bytes: [u8; ENTRY]) -> Entry {
        let [t0, t1, p0, p1, id @ ..] = bytes;
        Entry {
            tag: u16::from_le_bytes([t0, t1]),
            permissions: u16::from_le_bytes([p0, p1]),
            id: u32::from_le_bytes(id),
        }
    }

    const fn to_bytes(self) -> [u8; ENTRY] {
        let ([t0, t1], [p0, p1]) = (self.tag.to_le_bytes(), self.permissions.to_le_bytes());
        let [i0, i1, i2, i3] = self.id.to_le_bytes();
        [t0, t1, p0, p1, i0, i1, i2, i3]
    }
}

fn entries(value: &[u8]) -> impl Iterator<Item = Entry> {
    let rows = value.get(HEADER..).unwrap_or(&[]).as_chunks::<ENTRY>().0;
    rows.iter().map(|bytes| Entry::from_bytes(*bytes))
}

fn change(value: &mut [u8], mut to: impl FnMut(&mut Entry)) {
    let rows = value.get_mut(HEADER..).unwrap_or(&mut []);
    for bytes in rows.as_chunks_mut::<ENTRY>().0 {
        let mut entry = Entry::from_bytes(*bytes);
        to(&mut entry);
        *bytes = entry.to_bytes();
    }
}

/// Whether a value that a program gives is a list, whose users and groups `has_user` and `has_group`
/// know; false for one without entries, which takes the list away.
///
/// # Errors
/// EINVAL: it is none. EOPNOTSUPP: it has another version.
pub fn parse(
    value: &[u8],
    has_user: impl Fn(u32) -> bool,
    has_group: impl Fn(u32) -> bool,
) -> Result<bool, Errno> {
    if value.is_empty() {
        return Ok(false);
    }
    let (version, rows) = value.split_first_chunk().ok_or(Errno::EINVAL)?;
    if u32::from_le_bytes(*version) != VERSION {
        return Err(Errno::EOPNOTSUPP);
    }
    if rows.len() % ENTRY != 0 {
        return Err(Errno::EINVAL);
    }
    let is_known = |entry: Entry| match entry.tag {
        USER => entry.id != NOBODY && has_user(entry.id),
        GROUP => entry.id != NOBODY && has_group(entry.id),
        tag => matches!(tag, USER_OBJ | GROUP_OBJ | MASK | OTHER),
    };
    if entries(value).all(is_known) {
        Ok(!rows.is_empty())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Whether a list has the entries that one needs, in their order (`posix_acl_valid`).
#[must_use]
pub fn is_valid(value: &[u8]) -> bool {
    let (mut next, mut needs_mask) = (USER_OBJ, false);
    for entry in entries(value) {
        let fits = match entry.tag {
            USER_OBJ => next == USER_OBJ,
            USER => next == USER,
            GROUP_OBJ => next == USER,
            GROUP => next == GROUP,
            MASK => next == GROUP,
            OTHER => next == OTHER || next == GROUP && !needs_mask,
            _ => false,
        };
        if !fits || entry.permissions > 7 {
            return false;
        }
        needs_mask |= matches!(entry.tag, USER | GROUP);
        next = match entry.tag {
            USER_OBJ => USER,
            GROUP_OBJ => GROUP,
            MASK => OTHER,
            // Nothing follows.
            OTHER => 0,
            _ => next,
        };
    }
    next == 0
}

/// Whether a mode says all that a list does (`posix_acl_equiv_mode`).
#[must_use]
pub fn is_plain(value: &[u8]) -> bool {
    entries(value).all(|entry| matches!(entry.tag, USER_OBJ | GROUP_OBJ | OTHER))
}

/// The permissions that a list gives to the three classes of a mode.
#[must_use]
pub fn mode_of(value: &[u8]) -> u32 {
    let (mut mode, mut masked) = (0, None);
    for entry in entries(value) {
        let permissions = u32::from(entry.permissions & 7);
        match entry.tag {
            USER_OBJ => mode |= permissions << 6,
            GROUP_OBJ => mode |= permissions << 3,
            OTHER => mode |= permissions,
            MASK => masked = Some(permissions),
            _ => {}
        }
    }
    masked.map_or(mode, |group| mode & !0o070 | group << 3)
}

/// The whole list of a file that has this mode.
pub fn put_mode(value: &mut [u8], mode: u32) {
    let has_mask = entries(value).any(|entry| entry.tag == MASK);
    change(value, |entry| {
        let shift = match entry.tag {
            USER_OBJ => 6,
            GROUP_OBJ if !has_mask => 3,
            MASK => 3,
            OTHER => 0,
            _ => return,
        };
        entry.permissions = (mode >> shift & 7) as u16;
    });
}

/// Makes the ids of entries that have none what the kernel shows.
pub fn tidy(value: &mut [u8]) {
    change(value, |entry| {
        if !matches!(entry.tag, USER | GROUP) {
            entry.id = NOBODY;
        }
    });
}

/// The mode of what is made in a directory that has this default list, and makes the list that of the
/// new file (`posix_acl_create_masq`).
#[must_use]
pub fn inherit(value: &mut [u8], mode: u32) -> u32 {
    let left = mode & mode_of(value);
    put_mode(value, left);
    mode & !0o777 | left & 0o777
}

/// Whether a list permits `want` (4 read, 2 write, 1 search or execute) to somebody who is not the
/// file's owner (`posix_acl_permission`).
pub fn permits(
    value: &[u8],
    want: u32,
    is_user: impl Fn(u32) -> bool,
    owns_group: bool,
    is_member: impl Fn(u32) -> bool,
) -> bool {
    let gives = |entry: Entry| u32::from(entry.permissions) & want == want;
    let mut is_of_group = false;
    for entry in entries(value) {
        let applies = match entry.tag {
            USER => is_user(entry.id),
            GROUP_OBJ => owns_group,
            GROUP => is_member(entry.id),
            OTHER => return !is_of_group && gives(entry),
            _ => false,
        };
        is_of_group |= applies;
        if applies && (entry.tag == USER || gives(entry)) {
            let mask = entries(value).find(|entry| entry.tag == MASK);
            return gives(entry) && mask.is_none_or(gives);
        }
    }
    false
}

/// The users and groups that a list names.
pub fn names(value: &[u8]) -> impl Iterator<Item = (bool, u32)> {
    entries(value).filter_map(|entry| match entry.tag {
        USER => Some((true, entry.id)),
        GROUP => Some((false, entry.id)),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
