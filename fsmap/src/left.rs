//! What of a path is left to walk.

use crate::{Error, NAME_MAX, PATH_MAX};

/// What is left, at the end of the buffer; targets of links are read at its front and put before it.
pub struct Left {
    bytes: [u8; 2 * PATH_MAX],
    start: usize,
}

/// What a component is, by its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// Longer than any name can be.
    TooLong,
    /// A name to be looked up.
    Plain,
}

/// A component, by its place in [`Left`]; valid until the next target is read.
pub struct Name {
    /// What it is by its text.
    pub sort: Sort,
    /// Nothing but slashes follows.
    pub is_last: bool,
    /// A slash follows.
    pub has_slash: bool,
    start: usize,
    end: usize,
}

impl Left {
    /// The whole of a path.
    ///
    /// # Errors
    /// ENAMETOOLONG: it has more than 4095 bytes.
    pub fn new(path: &[u8]) -> Result<Left, Error> {
        if path.len() >= PATH_MAX {
            return Err(Error::ENAMETOOLONG);
        }
        let mut left = Left {
            bytes: [0; 2 * PATH_MAX],
            start: 2 * PATH_MAX - path.len(),
        };
        let room = left.bytes.get_mut(left.start..);
        room.ok_or(Error::ENAMETOOLONG)?.copy_from_slice(path);
        Ok(left)
    }

    /// The next component, which stays.
    #[must_use]
    pub fn peek(&self) -> Option<Name> {
        let rest = self.bytes.get(self.start..)?;
        let skip = rest.iter().position(|&b| b != b'/')?;
        let rest = rest.get(skip..)?;
        let len = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        let (text, more) = rest.split_at_checked(len)?;
        let sort = match text {
            b"." => Sort::Dot,
            b".." => Sort::DotDot,
            text if text.len() > NAME_MAX => Sort::TooLong,
            _ => Sort::Plain,
        };
        let start = self.start + skip;
        Some(Name {
            sort,
            is_last: more.iter().all(|&b| b == b'/'),
            has_slash: !more.is_empty(),
            start,
            end: start + len,
        })
    }

    /// Takes the next component away.
    pub fn take(&mut self) -> Option<Name> {
        let name = self.peek()?;
        self.start = name.end;
        Some(name)
    }

    /// The text of a component.
    #[must_use]
    pub fn text(&self, name: &Name) -> &[u8] {
        self.bytes.get(name.start..name.end).unwrap_or(&[])
    }

    /// All that is left, with the slashes in front of it.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or(&[])
    }

    /// Room for a target, at the front of the buffer, never over what is left.
    pub fn target_room(&mut self) -> &mut [u8] {
        let room = self.start.min(PATH_MAX);
        self.bytes.get_mut(..room).unwrap_or(&mut [])
    }

    /// Puts the target that was read into [`Left::target_room`] before what is left; whether it is
    /// absolute.
    ///
    /// # Errors
    /// ENOENT: it is empty. ENAMETOOLONG: it has no room.
    pub fn put_target(&mut self, length: usize) -> Result<bool, Error> {
        if length == 0 {
            return Err(Error::ENOENT);
        }
        // A target that fills the room may have been cut.
        if length >= self.start.min(PATH_MAX) {
            return Err(Error::ENAMETOOLONG);
        }
        let is_absolute = self.bytes.first() == Some(&b'/');
        let to = self.start - length;
        self.bytes.copy_within(..length, to);
        self.start = to;
        Ok(is_absolute)
    }
}
