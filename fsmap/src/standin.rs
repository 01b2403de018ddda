//! What stands in a copy-on-write layer for a file or directory of the tree below it.
//!
//! A layer is a directory of the host that the zone may change. A name in it that the zone has not
//! changed is a *stand-in*: a symbolic link whose text says in which directory below the same name is
//! found. The text is absolute, so that a confined walk into one fails with EXDEV as at a mount point.
//! All stand-ins of one kind in a directory are names of one link.

use crate::{Error, PathBuf};

/// What every text begins with: no name of a distribution, nor one that anybody types.
const FRONT: &[u8] = b"/\x01below/";

/// What a stand-in says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandIn<'t> {
    /// The mount, by [`mount_id`].
    pub mount: u32,
    /// Whether a directory is meant; else a file of another kind than a link.
    pub is_directory: bool,
    /// The directory below that holds it; empty for the top.
    pub directory: &'t [u8],
}

/// A number for a copy-on-write mount that stays with its mount point, whatever else is mounted.
#[must_use]
pub fn mount_id(prefix: &[u8]) -> u32 {
    prefix.iter().fold(0x811c_9dc5, |hash: u32, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Whether a link with this text would be taken for a stand-in.
#[must_use]
pub fn is_stand_in(text: &[u8]) -> bool {
    text.starts_with(FRONT)
}

impl<'t> StandIn<'t> {
    /// What the text of a link says, if it is one.
    #[must_use]
    pub fn parse(text: &'t [u8]) -> Option<Self> {
        let (mount, rest) = text.strip_prefix(FRONT)?.split_at_checked(8)?;
        let mut number = 0;
        for &digit in mount {
            number = number << 4 | char::from(digit).to_digit(16)?;
        }
        let (kind, directory) = rest.split_at_checked(3)?;
        let is_directory = match kind {
            b"/d/" => true,
            b"/f/" => false,
            _ => return None,
        };
        let is_sound = directory.is_empty()
            || directory
                .split(|&byte| byte == b'/')
                .all(|name| !matches!(name, b"" | b"." | b".."));
        is_sound.then_some(StandIn {
            mount: number,
            is_directory,
            directory,
        })
    }

    /// The text of the link.
    ///
    /// # Errors
    /// ENAMETOOLONG.
    pub fn text(&self, to: &mut PathBuf) -> Result<(), Error> {
        let mut number = [0; 8];
        for (at, digit) in number.iter_mut().enumerate() {
            let nibble = self.mount >> (28 - 4 * at) & 15;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        to.set(FRONT)?;
        to.append(&number)?;
        to.append(if self.is_directory { b"/d/" } else { b"/f/" })?;
        to.append(self.directory)
    }

    /// Where what it stands for lies beneath the top of the tree below, by its own name.
    ///
    /// # Errors
    /// ENAMETOOLONG; EINVAL for what is no name.
    pub fn path(&self, name: &[u8], to: &mut PathBuf) -> Result<(), Error> {
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
            return Err(Error::EINVAL);
        }
        to.set(self.directory)?;
        to.push(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (mount, is_directory, directory) in [
            (0, true, &b""[..]),
            (u32::MAX, false, b"share"),
            (mount_id(b"/usr"), true, b"share/doc a\xff"),
        ] {
            let one = StandIn {
                mount,
                is_directory,
                directory,
            };
            let mut text = PathBuf::new();
            one.text(&mut text).expect("it is short");
            assert!(is_stand_in(text.as_bytes()));
            assert_eq!(StandIn::parse(text.as_bytes()), Some(one));
        }
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        for text in [
            &b""[..],
            b"/",
            b"/usr",
            b"\x01below/00000000/d/",
            b"/\x01below/0000000/d/",
            b"/\x01below/0000000g/d/",
            b"/\x01below/00000000/x/",
            b"/\x01below/00000000/d",
            b"/\x01below/00000000/d//",
            b"/\x01below/00000000/d//a",
            b"/\x01below/00000000/d/a/",
            b"/\x01below/00000000/f/../a",
            b"/\x01below/00000000/f/a/./b",
        ] {
            assert_eq!(StandIn::parse(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_name_stays_in_its_directory() {
        let one = StandIn {
            mount: 1,
            is_directory: false,
            directory: b"a/b",
        };
        let mut path = PathBuf::new();
        one.path(b"c", &mut path).expect("a name");
        assert_eq!(path.as_bytes(), b"a/b/c");
        for name in [&b""[..], b".", b"..", b"../c", b"c/d"] {
            assert_eq!(one.path(name, &mut path), Err(Error::EINVAL));
        }
    }
}
