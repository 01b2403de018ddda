//! Path resolution over several mounts, component by component (path_resolution(7)).

use crate::{Error, LINKS_MAX, Mounts, NAME_MAX, PATH_MAX, PathBuf};

/// What the resolver needs of a kernel.
pub trait Tree {
    /// An open place, as an `O_PATH` descriptor.
    type Node;
    /// Opens a name beneath a mount without following a link at its end. `rel` is "." for the top.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES and what else the kernel says.
    fn open_path(&mut self, mount: usize, rel: &PathBuf) -> Result<Self::Node, Error>;
    /// The target of a link; its length.
    ///
    /// # Errors
    /// EINVAL if the node is no link.
    fn readlink(&mut self, node: &Self::Node, to: &mut [u8]) -> Result<usize, Error>;
    /// Whether the node is a directory.
    ///
    /// # Errors
    /// What the kernel says.
    fn is_dir(&mut self, node: &Self::Node) -> Result<bool, Error>;
    /// Gives the node back.
    fn close(&mut self, node: Self::Node);
}

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// As open(2) does.
    Follow,
    /// As lstat(2) does. A slash at the end follows all the same.
    NoFollow,
}

/// Where a path leads; the zone path itself is in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The mount.
    pub mount: usize,
    /// Where in the buffer the path within the mount begins; nothing left means the mount's top.
    pub rel: usize,
    /// False if only the last component is missing.
    pub exists: bool,
    /// The path lies in a mount that the monitor serves; only its text was looked at.
    pub is_monitor: bool,
    /// A slash at the end asks for a directory.
    pub must_be_dir: bool,
}

/// Resolves `path` from the link-free absolute zone directory in `at`, which receives the result.
///
/// # Errors
/// ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, and what the tree says.
pub fn resolve<T: Tree>(
    mounts: &Mounts<'_>,
    tree: &mut T,
    at: &mut PathBuf,
    path: &[u8],
    last: Last,
) -> Result<Resolved, Error> {
    if path.is_empty() {
        return Err(Error::ENOENT);
    }
    let mut left = Left::new(path)?;
    if path.first() == Some(&b'/') || at.as_bytes().is_empty() {
        at.set(b"/")?;
    }
    let mut links = 0;
    let mut exists = true;
    let mut must_be_dir = false;
    while let Some((name, is_last)) = left.next() {
        must_be_dir = is_last && (name.has_slash || name.is_dot());
        if name.len > NAME_MAX {
            return Err(Error::ENAMETOOLONG);
        }
        if name.is(b".") {
            continue;
        }
        if name.is(b"..") {
            at.pop();
            continue;
        }
        let before = at.as_bytes().len();
        at.push(name.bytes(&left))?;
        if mounts.top(at.as_bytes()).is_some() {
            continue;
        }
        let (mount, rest) = mounts.find(at.as_bytes());
        if mounts.0.get(mount).is_some_and(crate::MountRow::is_monitor) {
            continue;
        }
        let mut rel = PathBuf::new();
        rel.set(if rest.is_empty() { b"." } else { rest })?;
        let node = match tree.open_path(mount, &rel) {
            Err(Error::ENOENT) if is_last => {
                exists = false;
                break;
            }
            other => other?,
        };
        if is_last && last == Last::NoFollow && !name.has_slash {
            tree.close(node);
            continue;
        }
        let target = left.target_room();
        match tree.readlink(&node, target) {
            Ok(length) => {
                tree.close(node);
                links += 1;
                if links > LINKS_MAX {
                    return Err(Error::ELOOP);
                }
                if left.put_target(length)? {
                    at.set(b"/")?
                } else {
                    at.truncate(before)
                }
                if at.as_bytes().is_empty() {
                    at.set(b"/")?;
                }
            }
            Err(Error::EINVAL) => {
                let is_dir = if !is_last || must_be_dir {
                    tree.is_dir(&node)
                } else {
                    Ok(true)
                };
                tree.close(node);
                if !is_dir? {
                    return Err(Error::ENOTDIR);
                }
            }
            Err(error) => {
                tree.close(node);
                return Err(error);
            }
        }
    }
    let (mount, rest) = mounts.find(at.as_bytes());
    let rel = at.as_bytes().len() - rest.len();
    let is_monitor = mounts.0.get(mount).is_some_and(crate::MountRow::is_monitor);
    Ok(Resolved {
        mount,
        rel,
        exists,
        is_monitor,
        must_be_dir,
    })
}

/// What of the path is left, at the end of the buffer; targets of links go in front of it.
struct Left {
    bytes: [u8; 2 * PATH_MAX],
    start: usize,
}

/// A component, by its place in [`Left`].
struct Name {
    start: usize,
    len: usize,
    has_slash: bool,
    dots: u8,
}

impl Name {
    fn is(&self, text: &[u8]) -> bool {
        usize::from(self.dots) == text.len()
    }
    fn is_dot(&self) -> bool {
        self.dots > 0
    }
    fn bytes<'a>(&self, left: &'a Left) -> &'a [u8] {
        left.bytes
            .get(self.start..self.start + self.len)
            .unwrap_or(&[])
    }
}

impl Left {
    fn new(path: &[u8]) -> Result<Left, Error> {
        if path.len() >= PATH_MAX {
            return Err(Error::ENAMETOOLONG);
        }
        let mut left = Left {
            bytes: [0; 2 * PATH_MAX],
            start: 2 * PATH_MAX,
        };
        left.put(path)?;
        Ok(left)
    }

    fn put(&mut self, path: &[u8]) -> Result<(), Error> {
        let start = self
            .start
            .checked_sub(path.len())
            .ok_or(Error::ENAMETOOLONG)?;
        self.bytes
            .get_mut(start..self.start)
            .ok_or(Error::ENAMETOOLONG)?
            .copy_from_slice(path);
        self.start = start;
        Ok(())
    }

    /// The next component, and whether it is the last.
    fn next(&mut self) -> Option<(Name, bool)> {
        let rest = self.bytes.get(self.start..)?;
        let skip = rest.iter().position(|&b| b != b'/')?;
        let rest = rest.get(skip..)?;
        let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        let is_last = rest.get(len..)?.iter().all(|&b| b == b'/');
        let text = rest.get(..len)?;
        let dots = if text == b"." {
            1
        } else if text == b".." {
            2
        } else {
            0
        };
        let name = Name {
            start: self.start + skip,
            len,
            has_slash: len < rest.len(),
            dots,
        };
        self.start += skip + len;
        Some((name, is_last))
    }

    /// Room for a target, at the front of the buffer, never over what is left.
    fn target_room(&mut self) -> &mut [u8] {
        let room = self.start.min(PATH_MAX);
        self.bytes.get_mut(..room).unwrap_or(&mut [])
    }

    /// Moves the target in front of what is left; whether it is absolute.
    fn put_target(&mut self, length: usize) -> Result<bool, Error> {
        let room = self.start.min(PATH_MAX);
        if length == 0 {
            return Err(Error::ENOENT);
        }
        if length >= room {
            return Err(Error::ENAMETOOLONG);
        }
        let is_absolute = self.bytes.first() == Some(&b'/');
        let to = self.start - length;
        self.bytes.copy_within(..length, to);
        self.start = to;
        Ok(is_absolute)
    }
}
