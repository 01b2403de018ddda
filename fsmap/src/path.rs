//! A path in a buffer of fixed size.

use crate::{Error, PATH_MAX};
use core::ffi::CStr;
use core::fmt;

/// A path of at most 4095 bytes without NUL; a NUL always follows it.
#[derive(Clone)]
pub struct PathBuf {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl Default for PathBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl PathBuf {
    /// The empty path.
    #[must_use]
    pub const fn new() -> Self {
        PathBuf {
            bytes: [0; PATH_MAX],
            len: 0,
        }
    }

    /// A path of these bytes.
    ///
    /// # Errors
    /// As [`PathBuf::append`].
    pub fn from_bytes(path: &[u8]) -> Result<Self, Error> {
        let mut new = Self::new();
        new.append(path)?;
        Ok(new)
    }

    /// The path's bytes, without the NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The same with its NUL.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        let with_nul = self.bytes.get(..=self.len).unwrap_or(b"\0");
        CStr::from_bytes_with_nul(with_nul).unwrap_or(c"")
    }

    /// How many bytes it has, without the NUL.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Replaces the whole; empty after a failure.
    ///
    /// # Errors
    /// As [`PathBuf::append`].
    pub fn set(&mut self, path: &[u8]) -> Result<(), Error> {
        self.truncate(0);
        self.append(path)
    }

    /// Adds bytes as they are; unchanged after a failure.
    ///
    /// # Errors
    /// ENAMETOOLONG: more than 4095 bytes. EINVAL: a NUL among them, since the kernel would then see
    /// another path than the one that was looked at.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.len.saturating_add(bytes.len());
        if end >= PATH_MAX {
            return Err(Error::ENAMETOOLONG);
        }
        if bytes.contains(&0) {
            return Err(Error::EINVAL);
        }
        let room = self.bytes.get_mut(self.len..end);
        room.ok_or(Error::ENAMETOOLONG)?.copy_from_slice(bytes);
        self.len = end;
        self.terminate();
        Ok(())
    }

    /// Adds a component behind a slash (without one at the start of an empty path).
    ///
    /// # Errors
    /// As [`PathBuf::append`].
    pub fn push(&mut self, name: &[u8]) -> Result<(), Error> {
        if name.is_empty() {
            return Ok(());
        }
        let before = self.len;
        if before > 0 && self.as_bytes().last() != Some(&b'/') {
            self.append(b"/")?;
        }
        self.append(name).inspect_err(|_| self.truncate(before))
    }

    /// Takes the last component away, slashes behind and before it included; the root stays.
    pub fn pop(&mut self) {
        let path = self.as_bytes();
        let end = trimmed(path);
        let name = path.get(..end).unwrap_or(&[]);
        let start = name.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
        let cut = trimmed(path.get(..start).unwrap_or(&[]));
        let is_absolute = path.first() == Some(&b'/');
        self.truncate(cut.max(usize::from(is_absolute)));
    }

    /// Cuts to a length.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.terminate();
    }

    fn terminate(&mut self) {
        if let Some(end) = self.bytes.get_mut(self.len) {
            *end = 0;
        }
    }
}

/// Length without the slashes at the end.
pub(crate) fn trimmed(path: &[u8]) -> usize {
    path.iter().rposition(|&b| b != b'/').map_or(0, |at| at + 1)
}

impl TryFrom<&[u8]> for PathBuf {
    type Error = Error;
    fn try_from(path: &[u8]) -> Result<Self, Error> {
        Self::from_bytes(path)
    }
}

impl PartialEq for PathBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PathBuf {}

impl fmt::Debug for PathBuf {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "\"{}\"", self.as_bytes().escape_ascii())
    }
}
