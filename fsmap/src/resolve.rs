//! Path resolution over several mounts, component by component (`path_resolution(7)`).

use crate::left::{Left, Name, Sort};
use crate::{Error, LINKS_MAX, Mounts, PathBuf, kind};

/// What the resolver needs of a kernel.
pub trait Tree {
    /// An open place, as an `O_PATH` descriptor.
    type Node;
    /// Opens a name beneath a mount (`O_PATH | O_NOFOLLOW`, `RESOLVE_BENEATH`), without following a
    /// link at its end. `rel` is "." for the top, and never holds `..`.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES and what else the kernel says.
    fn open_path(&mut self, mount: usize, rel: &PathBuf) -> Result<Self::Node, Error>;
    /// The target of a link; its length, cut to the length of `to`.
    ///
    /// # Errors
    /// EINVAL if the node is no link (readlinkat(2) on an `O_PATH` descriptor says ENOENT for that).
    fn readlink(&mut self, node: &Self::Node, to: &mut [u8]) -> Result<usize, Error>;
    /// Whether the node is a directory.
    ///
    /// # Errors
    /// What the kernel says.
    fn is_dir(&mut self, node: &Self::Node) -> Result<bool, Error>;
    /// Gives the node back. Called once for each node.
    fn close(&mut self, node: Self::Node);
    /// Whether names may be looked up in a directory; asked before each component that is.
    ///
    /// # Errors
    /// EACCES if not.
    fn search(&mut self, mount: usize, rel: &PathBuf) -> Result<(), Error> {
        let _ = (mount, rel);
        Ok(())
    }
    /// Whether [`Tree::search`] is to be asked at all.
    fn searches(&self) -> bool {
        false
    }
    /// What a zone path in a mount that the monitor serves names; the text of a link goes to `to`. Asked
    /// only where [`Bounds::magic`] says so, and in front of `..`.
    ///
    /// # Errors
    /// What the monitor says.
    fn served(&mut self, at: &PathBuf, to: &mut [u8]) -> Result<Served, Error> {
        let _ = (at, to);
        Ok(Served::Other)
    }
}

/// What stands at a name that the monitor serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// A link whose text has this length.
    Link(usize),
    /// A link that leads where no text says (`/proc/PID/fd/N`); the text that is shown has this length.
    Magic(usize),
    /// No link, or nothing.
    Other,
}

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// As open(2) does.
    Follow,
    /// As lstat(2) does. A slash at the end follows all the same.
    NoFollow,
}

/// What a walk is held by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds<'r> {
    /// Whoever asks' own root directory, a link-free zone directory; empty for the zone's. Absolute
    /// paths and links begin there, and `..` stays there; who begins outside it is not held by it.
    pub root: &'r [u8],
    /// EXDEV for what would begin at the root or go above it (`RESOLVE_BENEATH`).
    pub is_beneath: bool,
    /// ELOOP for any link that would be followed (`RESOLVE_NO_SYMLINKS`).
    pub has_no_links: bool,
    /// EXDEV where another mount begins or is come back to (`RESOLVE_NO_XDEV`).
    pub is_in_one_mount: bool,
    /// What is said of a magic link that would be followed. `None`: what the monitor serves is not looked
    /// at.
    pub magic: Option<Error>,
}

impl Bounds<'_> {
    fn is_default(&self) -> bool {
        self.root.is_empty() && !self.is_beneath && !self.has_no_links && !self.is_in_one_mount
    }
}

/// Where a path leads; the zone path itself is in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The mount; never an alias.
    pub mount: usize,
    /// Where in the buffer the path within the mount begins; nothing left means the mount's top.
    pub rel: usize,
    /// False if only the last component is missing. Always true where `is_monitor` is.
    pub exists: bool,
    /// The path lies in a mount that the monitor serves; only its text was looked at.
    pub is_monitor: bool,
    /// A slash or `.` at the end asks for a directory. What exists in a tree is one then.
    pub must_be_dir: bool,
}

/// Resolves `path` from the link-free absolute zone directory in `at` (empty for the root), which
/// receives the result: an absolute zone path free of links, `.`, `..` and doubled slashes, but for a
/// last component that is a link not to be followed.
///
/// In a mount that the monitor serves, nothing is looked at: names are appended and `..` takes them
/// away again, over the mount's top too; a tree mounted in there is walked as any other. What links
/// there are (`/proc/self/cwd`) the monitor has to follow, but where [`Bounds::magic`] says otherwise.
///
/// A tree that changes meanwhile can give ENOENT, nothing worse: in particular EXDEV by the tree
/// (a component was swapped for a link, or moved out) means that the name is no longer there.
///
/// # Errors
/// - ENOENT: `path` is empty, or a component that is not the last is missing.
/// - ENOTDIR: a component that must be a directory is none.
/// - ELOOP: more than 40 links.
/// - ENAMETOOLONG: `path` has more than 4095 bytes, a name more than 255, or the zone path does not
///   fit. Unlike in the kernel, the last holds for relative paths in deep directories too, and also
///   where targets of links leave more than 8191 bytes to walk.
/// - EINVAL: a NUL in `path`.
/// - EXDEV, and ELOOP too: see [`Bounds`].
/// - What else the tree says, such as EACCES.
///
/// After an error `at` holds some prefix of the walk.
pub fn resolve<T: Tree>(
    mounts: &Mounts<'_>,
    tree: &mut T,
    bounds: &Bounds<'_>,
    at: &mut PathBuf,
    path: &[u8],
    last: Last,
) -> Result<Resolved, Error> {
    if path.is_empty() {
        return Err(Error::ENOENT);
    }
    let root = bounds.root;
    let is_absolute = path.first() == Some(&b'/');
    if is_absolute && bounds.is_beneath {
        return Err(Error::EXDEV);
    }
    let first = mounts.find_canonical(at.as_bytes()).0;
    if is_absolute || at.is_empty() {
        at.set(if root.is_empty() { b"/" } else { root })?;
    }
    let mount = bounds.is_in_one_mount.then_some(first);
    let mut walk = Walk {
        mounts,
        tree,
        root,
        bounds,
        at,
        left: Left::new(path)?,
        rel: PathBuf::new(),
        links: 0,
    };
    let mut exists = true;
    // Nothing but slashes asks for a directory too.
    let mut must_be_dir = true;
    while let Some(name) = walk.left.take() {
        must_be_dir = name.is_last && (name.has_slash || name.sort != Sort::Plain);
        let follows = !name.is_last || name.has_slash || last == Last::Follow;
        exists = walk.step(&name, follows)?;
        if mount.is_some_and(|mount| walk.mount() != mount) {
            return Err(Error::EXDEV);
        }
    }
    if mount.is_some_and(|mount| walk.mount() != mount) {
        return Err(Error::EXDEV);
    }
    let (mount, rest) = mounts.find_canonical(at.as_bytes());
    let row = mounts.0.get(mount).ok_or(Error::ENOENT)?;
    Ok(Resolved {
        mount,
        rel: at.len() - rest.len(),
        exists,
        is_monitor: row.is_monitor(),
        must_be_dir,
    })
}

struct Walk<'w, T> {
    mounts: &'w Mounts<'w>,
    tree: &'w mut T,
    root: &'w [u8],
    bounds: &'w Bounds<'w>,
    at: &'w mut PathBuf,
    left: Left,
    rel: PathBuf,
    links: usize,
}

impl<T: Tree> Walk<'_, T> {
    /// Goes on by one component. False if it is the last one and missing.
    fn step(&mut self, name: &Name, follows: bool) -> Result<bool, Error> {
        if self.tree.searches() {
            self.search()?;
        }
        match name.sort {
            Sort::Dot => return Ok(true),
            Sort::DotDot => {
                if self.at.as_bytes() != self.root {
                    self.at.pop();
                } else if self.bounds.is_beneath {
                    return Err(Error::EXDEV);
                }
                return Ok(true);
            }
            Sort::TooLong => return Err(Error::ENAMETOOLONG),
            Sort::Plain => {}
        }
        let before = self.at.len();
        self.at.push(self.left.text(name))?;
        // What stands there in the directory above is a placeholder, and not to be looked at.
        if self.mounts.top(self.at.as_bytes()).is_some() {
            return Ok(true);
        }
        // At the end of a path the link itself is read, so that what is missing is noticed. Where the
        // root is another one, an absolute link leads elsewhere than to what the alias mirrors.
        if !name.is_last
            && self.bounds.is_default()
            && let Some(alias) = self.mounts.alias_at(self.at.as_bytes())
        {
            self.count_link()?;
            self.at.set(alias.canonical())?;
            return Ok(true);
        }
        let (mount, rest) = self.mounts.find_canonical(self.at.as_bytes());
        let row = self.mounts.0.get(mount).ok_or(Error::ENOENT)?;
        if row.kind != kind::TREE {
            if !row.is_monitor() {
                return Err(Error::ENOENT);
            }
            if let Some(error) = self.bounds.magic.filter(|_| follows) {
                match self.tree.served(self.at, self.left.target_room())? {
                    Served::Magic(_) => return Err(error),
                    Served::Link(length) => self.go_by(length, before)?,
                    Served::Other => {}
                }
            } else if self
                .left
                .peek()
                .is_some_and(|next| next.sort == Sort::DotDot)
            {
                // It leads up from where the link leads.
                match self.tree.served(self.at, self.left.target_room())? {
                    Served::Magic(length) => {
                        if self.left.target_room().first() != Some(&b'/') {
                            return Err(Error::ENOTDIR);
                        }
                        self.go_by(length, before)?;
                    }
                    Served::Link(length) => self.go_by(length, before)?,
                    Served::Other => {}
                }
            }
            return Ok(true);
        }
        self.rel.set(rest)?;
        let node = match self.tree.open_path(mount, &self.rel) {
            Ok(node) => node,
            Err(Error::ENOENT) if name.is_last => return Ok(false),
            Err(Error::EXDEV) => return Err(Error::ENOENT),
            Err(error) => return Err(error),
        };
        let looked = if follows {
            self.look(&node, name)
        } else {
            Ok(None)
        };
        self.tree.close(node);
        if let Some(length) = looked? {
            self.go_by(length, before)?;
        }
        Ok(true)
    }

    /// Goes on by the text of the link that was just read; `before` is the length of its directory's path.
    fn go_by(&mut self, length: usize, before: usize) -> Result<(), Error> {
        if self.bounds.has_no_links {
            return Err(Error::ELOOP);
        }
        self.count_link()?;
        if self.left.put_target(length)? {
            if self.bounds.is_beneath {
                return Err(Error::EXDEV);
            }
            self.at.set(if self.root.is_empty() {
                b"/"
            } else {
                self.root
            })?;
        } else {
            // The directory that holds the link; the root's slash was there before.
            self.at.truncate(before);
        }
        Ok(())
    }

    /// The mount reached so far.
    fn mount(&self) -> usize {
        self.mounts.find_canonical(self.at.as_bytes()).0
    }

    /// Whether the directory reached so far may be searched.
    fn search(&mut self) -> Result<(), Error> {
        let (mount, rest) = self.mounts.find_canonical(self.at.as_bytes());
        let row = self.mounts.0.get(mount).ok_or(Error::ENOENT)?;
        if row.kind != kind::TREE {
            return Ok(());
        }
        self.rel.set(if rest.is_empty() { b"." } else { rest })?;
        self.tree.search(mount, &self.rel)
    }

    /// The length of the target if the node is a link; else checks that it is a directory, where
    /// that is needed and the kernel will not do it at the next step.
    fn look(&mut self, node: &T::Node, name: &Name) -> Result<Option<usize>, Error> {
        match self.tree.readlink(node, self.left.target_room()) {
            Ok(length) => Ok(Some(length)),
            Err(Error::EINVAL) => {
                let is_walked_into = match self.left.peek() {
                    None => name.has_slash,
                    Some(next) => next.sort != Sort::Plain,
                };
                if is_walked_into && !self.tree.is_dir(node)? {
                    return Err(Error::ENOTDIR);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn count_link(&mut self) -> Result<(), Error> {
        self.links += 1;
        if self.links > LINKS_MAX {
            Err(Error::ELOOP)
        } else {
            Ok(())
        }
    }
}
