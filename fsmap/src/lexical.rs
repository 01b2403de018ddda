//! Work on the text of a path, without a look at any tree.

use crate::path::trimmed;
use crate::{Error, PathBuf};

/// A path in front of its last component, and that component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'p> {
    /// What stands in front, with its slash, so that a link there is followed and must lead to a
    /// directory; empty if there is only a name.
    pub dir: &'p [u8],
    /// The last component, without slashes. May be `.` or `..`, about which each call says something
    /// of its own. Empty for the root and for the empty path.
    pub name: &'p [u8],
    /// Whether slashes follow: mkdir(2) ignores them, unlink(2) and open(2) with `O_CREAT` do not.
    pub trailing_slash: bool,
}

/// Splits a path for mkdir, unlink, rename, link, symlink, mknod and bind.
#[must_use]
pub fn split_last(path: &[u8]) -> Split<'_> {
    let (body, slashes) = path.split_at_checked(trimmed(path)).unwrap_or((path, b""));
    if body.is_empty() {
        return Split {
            dir: path,
            name: b"",
            trailing_slash: !slashes.is_empty(),
        };
    }
    let start = body.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    let (dir, name) = body.split_at_checked(start).unwrap_or((b"", body));
    Split {
        dir,
        name,
        trailing_slash: !slashes.is_empty(),
    }
}

/// Goes from the absolute path in `at` along `path` by text alone: empty components and `.` vanish,
/// `..` takes a component away (never the root), an absolute `path` begins at the root.
/// Right only where no component is a link.
///
/// # Errors
/// ENAMETOOLONG, EINVAL: as [`PathBuf::append`].
pub fn normalise(at: &mut PathBuf, path: &[u8]) -> Result<(), Error> {
    if path.first() == Some(&b'/') || at.as_bytes().first() != Some(&b'/') {
        at.set(b"/")?;
    }
    for name in path.split(|&b| b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => at.pop(),
            name => at.push(name)?,
        }
    }
    Ok(())
}

/// Takes the `..` at the start of a relative `path` off the absolute and link-free `cwd`: the
/// directory that they lead to, and the rest of the path. None if there is none at the start.
///
/// The cheap way for what `RESOLVE_BENEATH` refuses. Directory and rest together have to go through
/// [`crate::Mounts::find`] again, since they may lie in another mount.
#[must_use]
pub fn pop_leading_dotdot<'c, 'p>(
    cwd: &'c PathBuf,
    path: &'p [u8],
) -> Option<(&'c [u8], &'p [u8])> {
    let (mut dir, mut rest) = (cwd.as_bytes(), path);
    let mut has_dotdot = false;
    if dir.first() != Some(&b'/') || rest.first() == Some(&b'/') {
        return None;
    }
    loop {
        let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        let (name, more) = rest.split_at_checked(len)?;
        match name {
            b"." => {}
            b".." => {
                has_dotdot = true;
                dir = split_last(dir).dir;
            }
            _ => break,
        }
        let skip = more.iter().position(|&b| b != b'/').unwrap_or(more.len());
        rest = more.get(skip..)?;
        if rest.is_empty() {
            break;
        }
    }
    let dir = dir.get(..trimmed(dir).max(1))?;
    has_dotdot.then_some((dir, rest))
}
