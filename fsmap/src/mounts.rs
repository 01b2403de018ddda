//! The mount list: from zone paths to mounts and back, by text alone.

use crate::path::trimmed;
use crate::{Error, MountRow, PathBuf, kind};
use core::fmt;

/// A mount list: a mount stands before those that hold it, so the root is last. Behind it there may
/// be places for rows that the zone adds, used ones in any order.
#[derive(Clone, Copy)]
pub struct Mounts<'a>(pub &'a [MountRow]);

impl Mounts<'_> {
    /// The mount of an absolute path by its text alone, and the rest of the path behind the mount's
    /// top (empty at the top itself). Doubled slashes do not matter; `.` and `..` are taken as names,
    /// which is sound since the kernel looks at them again beneath the mount.
    ///
    /// An alias is found only where the path goes on behind it, since at its very name it is a link.
    /// The index is out of range if the path is not absolute or nothing is mounted.
    #[must_use]
    pub fn find<'p>(&self, path: &'p [u8]) -> (usize, &'p [u8]) {
        self.search(path, |row, goes_on| goes_on || !row.is_alias())
    }

    /// As [`Mounts::find`] without aliases: for paths that are free of links.
    #[must_use]
    pub fn find_canonical<'p>(&self, path: &'p [u8]) -> (usize, &'p [u8]) {
        self.search(path, |row, _| !row.is_alias())
    }

    #[inline]
    fn search<'p>(
        &self,
        path: &'p [u8],
        fits: impl Fn(&MountRow, bool) -> bool,
    ) -> (usize, &'p [u8]) {
        let mut found = (self.0.len(), path);
        if path.first() != Some(&b'/') {
            return found;
        }
        // The last one is the root where nothing was added.
        let has_added = self
            .0
            .last()
            .is_some_and(|last| last.prefix_len != 0 || !last.is_used());
        let front = Front::of(path);
        let mut best = None;
        for (index, row) in self.0.iter().enumerate() {
            if front.may_be_behind(row)
                && row.is_used()
                && !row.is_below()
                && best.is_none_or(|order| order < row.order)
                && let Some(rest) = behind(path, row.prefix())
                && fits(row, !rest.is_empty())
            {
                found = (index, without_leading_slashes(rest));
                best = Some(row.order);
                if !has_added {
                    break;
                }
            }
        }
        found
    }

    /// The name to open beneath a mount's descriptor for a `rest` that [`Mounts::find`] gave: "." at
    /// the top, and an alias' own directory put in front.
    ///
    /// # Errors
    /// ENOENT: no such mount. ENAMETOOLONG, EINVAL: as [`PathBuf::append`].
    pub fn beneath(&self, mount: usize, rest: &[u8], to: &mut PathBuf) -> Result<(), Error> {
        let row = self.0.get(mount).ok_or(Error::ENOENT)?;
        to.set(row.sub())?;
        to.push(rest)?;
        if to.is_empty() { to.set(b".") } else { Ok(()) }
    }

    /// The mount whose top is exactly this absolute path; the root's is "/". Never an alias, which
    /// is a link there.
    #[must_use]
    pub fn top(&self, path: &[u8]) -> Option<usize> {
        let (index, rest) = self.find_canonical(path);
        (index < self.0.len() && rest.is_empty()).then_some(index)
    }

    /// Whether a mount or an alias stands at exactly this absolute path, so that the name there is
    /// not to be changed.
    #[must_use]
    pub fn is_held(&self, path: &[u8]) -> bool {
        let (index, rest) = self.search(path, |_, _| true);
        index < self.0.len() && rest.is_empty()
    }

    /// The alias whose name is exactly this absolute path.
    pub(crate) fn alias_at(&self, path: &[u8]) -> Option<&MountRow> {
        let (index, rest) = self.search(path, |_, _| true);
        let row = self.0.get(index)?;
        (rest.is_empty() && row.is_alias()).then_some(row)
    }

    /// The tree below the copy-on-write layer of this number.
    #[must_use]
    pub fn below(&self, number: u32) -> Option<&MountRow> {
        let is_wanted = |row: &&MountRow| row.is_below() && row.flags == number;
        self.0.iter().find(is_wanted)
    }

    /// The mount whose placeholder this is.
    #[must_use]
    pub fn is_placeholder(&self, dev: u64, ino: u64) -> Option<usize> {
        self.0.iter().position(|row| {
            row.is_used()
                && row.placeholder_ino != 0
                && row.placeholder_ino == ino
                && row.placeholder_dev == dev
        })
    }

    /// Host path to zone path, by the longest host prefix (the first row where two mounts show the
    /// same directory), of rows that are a second name only if there is no other. False if the zone does not see it, or the zone path is too long; `to` is
    /// empty then.
    #[must_use]
    pub fn to_zone(&self, host: &[u8], to: &mut PathBuf) -> bool {
        to.truncate(0);
        let Some((row, rest)) = self.find_host(host) else {
            return false;
        };
        let is_done = to.append(row.prefix()).is_ok()
            && if row.is_monitor() {
                unflatten(rest, to)
            } else {
                to.append(b"/").and_then(|()| to.append(rest)).is_ok()
            };
        let len = if is_done {
            trimmed(to.as_bytes()).max(1)
        } else {
            0
        };
        to.truncate(len);
        is_done
    }

    /// The same for who has another root directory: of several names one that lies in it, if any does; of
    /// several that do, by the mount that shows most.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn to_zone_from(&self, host: &[u8], root: &[u8], to: &mut PathBuf) -> bool {
        if self.to_zone(host, to) && (root.is_empty() || behind(to.as_bytes(), root).is_some()) {
            return true;
        }
        let rows = self.0.iter().enumerate().filter(|(_, row)| {
            row.is_used()
                && !row.is_alias()
                && !row.is_below()
                && behind(row.prefix(), root).is_some()
        });
        let mut best: Option<(u32, u32)> = None;
        let mut name = PathBuf::new();
        for (index, row) in rows {
            let rank = (row.host_len, row.order);
            if best.is_none_or(|best| rank < best)
                && row.name_of(host, &mut name)
                // Nothing is mounted over it.
                && self.find_canonical(name.as_bytes()).0 == index
                && to.set(name.as_bytes()).is_ok()
            {
                best = Some(rank);
            }
        }
        best.is_some() || self.to_zone(host, to)
    }

    /// The mount that shows a host path, and the rest of the path behind its top; the choice is that
    /// of [`Mounts::to_zone`].
    #[must_use]
    pub fn find_host<'p>(&self, host: &'p [u8]) -> Option<(&MountRow, &'p [u8])> {
        if host.first() != Some(&b'/') {
            return None;
        }
        let mut best: Option<(&MountRow, &[u8])> = None;
        for row in self.0 {
            if row.is_used()
                && !row.is_alias()
                && !row.host().is_empty()
                && let Some(rest) =
                    behind(host, row.host().get(..trimmed(row.host())).unwrap_or(&[]))
                && best.is_none_or(|(other, _)| {
                    (row.is_second, other.host_len) < (other.is_second, row.host_len)
                })
            {
                best = Some((row, without_leading_slashes(rest)));
            }
        }
        best
    }

    /// Puts rows into the order that [`Mounts`] needs, longest prefix first, and checks them.
    ///
    /// # Errors
    /// As [`Mounts::validate`].
    pub fn arrange(rows: &mut [MountRow]) -> Result<(), Fault> {
        // The text decides between equal lengths, so that the order is always the same.
        rows.sort_unstable_by(|a, b| {
            let key = |row: &MountRow| (row.is_alias(), row.is_below());
            (b.prefix_len, a.prefix(), key(a)).cmp(&(a.prefix_len, b.prefix(), key(b)))
        });
        Mounts(rows).validate()
    }

    /// Whether every row can be relied on.
    ///
    /// # Errors
    /// The first thing that is wrong, with the index of its row.
    pub fn validate(&self) -> Result<(), Fault> {
        for (index, row) in self.0.iter().enumerate() {
            if !matches!(row.kind, kind::TREE | kind::MONITOR | kind::BELOW) {
                return Err(Fault::Kind(index));
            }
            if !(row.prefix().is_empty() || is_normal(row.prefix()))
                || row.prefix_len as usize > row.prefix.len()
            {
                return Err(Fault::Prefix(index));
            }
            if !(row.host() == b"/" || is_normal(row.host()))
                || row.host_len as usize > row.host.len()
            {
                return Err(Fault::Host(index));
            }
            let later = self.0.get(index + 1..).unwrap_or(&[]).iter();
            // A tree below has no place of its own.
            for later in later.filter(|later| !later.is_below() && !row.is_below()) {
                if later.prefix() == row.prefix() {
                    return Err(Fault::Duplicate(index));
                }
                if behind(later.prefix(), row.prefix()).is_some() {
                    return Err(Fault::Order(index));
                }
                if row.placeholder_ino != 0
                    && (row.placeholder_dev, row.placeholder_ino)
                        == (later.placeholder_dev, later.placeholder_ino)
                {
                    return Err(Fault::Placeholder(index));
                }
            }
            if row.is_alias() && !self.is_sound_alias(row) {
                return Err(Fault::Alias(index));
            }
        }
        let is_root = |row: &MountRow| {
            row.prefix_len == 0 && row.kind == kind::TREE && row.placeholder_ino == 0
        };
        if !self.0.last().is_some_and(is_root) {
            return Err(Fault::Root);
        }
        Ok(())
    }

    /// Whether an alias leads where its canonical path does.
    fn is_sound_alias(&self, alias: &MountRow) -> bool {
        if !is_normal(alias.canonical()) || alias.prefix().is_empty() {
            return false;
        }
        let (mount, rest) = self.find_canonical(alias.canonical());
        let is_free_of_links = self.find(alias.canonical()).0 == mount;
        is_free_of_links
            && rest == alias.sub()
            && self.0.get(mount).is_some_and(|of| {
                of.kind == kind::TREE
                    && alias.kind == kind::TREE
                    && of.fd == alias.fd
                    && of.read_only == alias.read_only
                    && of.host() == alias.host()
            })
    }
}

impl MountRow {
    /// The zone path of a host path by this row; false if it does not show it.
    fn name_of(&self, host: &[u8], to: &mut PathBuf) -> bool {
        to.truncate(0);
        let shown = self.host();
        if !self.is_monitor() {
            let Some(rest) = behind(host, shown) else {
                return false;
            };
            return to.append(self.prefix()).is_ok()
                && to.push(without_leading_slashes(rest)).is_ok();
        }
        // The flat directories lie in that of the whole tree.
        let tree = match self.sub() {
            b"" => shown,
            sub => shown.get(..shown.len() - sub.len() - 1).unwrap_or(&[]),
        };
        let mut inner = PathBuf::new();
        let is_inner = behind(host, tree)
            .is_some_and(|flat| unflatten(without_leading_slashes(flat), &mut inner));
        let part = [&b"/"[..], self.sub()];
        let part = if self.sub().is_empty() {
            &part[..0]
        } else {
            &part[..]
        };
        let mut rest = inner.as_bytes();
        for text in part {
            match rest.strip_prefix(*text) {
                Some(left) => rest = left,
                None => return false,
            }
        }
        is_inner
            && matches!(rest.first(), None | Some(b'/'))
            && to.append(self.prefix()).is_ok()
            && to.append(rest).is_ok()
    }
}

/// Why a mount list cannot be used; the number is the row's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The last row is not the zone's root, or the root is not a tree.
    Root,
    /// Two rows stand at the same place.
    Duplicate(usize),
    /// A row stands before one that lies in it.
    Order(usize),
    /// The prefix is not an absolute path in normal form.
    Prefix(usize),
    /// The host path is not an absolute path in normal form.
    Host(usize),
    /// Neither a tree, nor one below, nor the monitor's.
    Kind(usize),
    /// Two rows claim the same placeholder.
    Placeholder(usize),
    /// An alias that does not agree with the mount that it leads into.
    Alias(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (row, what) = match *self {
            Fault::Root => {
                return to.write_str("the last row of the mount list is not the zone's root");
            }
            Fault::Duplicate(row) => (row, "stands where another one does"),
            Fault::Order(row) => (row, "stands before one that lies in it"),
            Fault::Prefix(row) => (row, "has a zone path that is not absolute and normal"),
            Fault::Host(row) => (row, "has a host path that is not absolute and normal"),
            Fault::Kind(row) => (row, "is of no known kind"),
            Fault::Placeholder(row) => (row, "has the placeholder of another one"),
            Fault::Alias(row) => (row, "does not agree with the mount that it leads into"),
        };
        write!(to, "mount {row} {what}")
    }
}

impl core::error::Error for Fault {}

/// The first bytes of a path, by which most mounts are told to be others'.
#[derive(Clone, Copy)]
struct Front {
    word: u64,
    /// Slashes do not stand for themselves.
    is_doubled: bool,
}

impl Front {
    fn of(path: &[u8]) -> Self {
        let mut bytes = [0; size_of::<u64>()];
        for (to, byte) in bytes.iter_mut().zip(path) {
            *to = *byte;
        }
        Self {
            word: u64::from_le_bytes(bytes),
            is_doubled: bytes.windows(2).any(|pair| pair == b"//"),
        }
    }

    /// False where the path is not behind a row's prefix, as [`behind`] would find.
    fn may_be_behind(self, row: &MountRow) -> bool {
        let [first, ..] = row.prefix.as_chunks().0 else {
            return true;
        };
        // Of eight bytes and more, all.
        let wanted = !u64::MAX
            .checked_shl(row.prefix_len.saturating_mul(8))
            .unwrap_or(0);
        self.is_doubled || (u64::from_le_bytes(*first) ^ self.word) & wanted == 0
    }
}

/// What is left of `path` behind `prefix` (with its slashes), if it lies in it. A slash of the
/// prefix stands for any number of them.
fn behind<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    let (mut path, mut prefix) = (path, prefix);
    while let Some((&wanted, more)) = prefix.split_first() {
        let (&found, rest) = path.split_first()?;
        if found != wanted {
            return None;
        }
        path = if wanted == b'/' {
            without_leading_slashes(rest)
        } else {
            rest
        };
        prefix = more;
    }
    matches!(path.first(), None | Some(b'/')).then_some(path)
}

fn without_leading_slashes(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|&b| b != b'/').unwrap_or(path.len());
    path.get(start..).unwrap_or(&[])
}

/// What separates the names of a path in the flat directories of a monitor's mount.
pub const SEPARATOR: u8 = b',';

/// Appends the path that a flat directory, or an entry of one, stands for: `,1,fd` is `/1/fd`, `,1,fd/3` is
/// `/1/fd/3`, and `,` is the top. False for anything else.
fn unflatten(flat: &[u8], to: &mut PathBuf) -> bool {
    if flat.is_empty() {
        return true;
    }
    let at = flat.iter().position(|&b| b == b'/');
    let (directory, entry) = flat.split_at(at.unwrap_or(flat.len()));
    let entry = entry.get(1..).unwrap_or(&[]);
    let mut append =
        |name: &[u8]| name.is_empty() || to.append(b"/").and_then(|()| to.append(name)).is_ok();
    directory.first() == Some(&SEPARATOR)
        && !entry.contains(&b'/')
        && directory
            .split(|&b| b == SEPARATOR)
            .skip(1)
            .all(&mut append)
        && append(entry)
}

/// Whether a path is absolute, without slash at its end, and has neither empty components, `.`, `..`
/// nor a NUL.
#[must_use]
pub fn is_normal(path: &[u8]) -> bool {
    let Some((b'/', names)) = path.split_first() else {
        return false;
    };
    !path.contains(&0)
        && names
            .split(|&b| b == b'/')
            .all(|name| !matches!(name, b"" | b"." | b".."))
}
