//! A path in a buffer of fixed size.

use crate::{Error, PATH_MAX};
use core::ffi::CStr;

/// A path of at most 4095 bytes; a NUL always follows it.
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

    /// The path's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The same with its NUL.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }

    /// Replaces the whole.
    ///
    /// # Errors
    /// ENAMETOOLONG.
    pub fn set(&mut self, path: &[u8]) -> Result<(), Error> {
        self.truncate(0);
        self.append(path)
    }

    /// Adds bytes as they are.
    ///
    /// # Errors
    /// ENAMETOOLONG.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.len + bytes.len();
        if end >= PATH_MAX {
            return Err(Error::ENAMETOOLONG);
        }
        self.bytes
            .get_mut(self.len..end)
            .ok_or(Error::ENAMETOOLONG)?
            .copy_from_slice(bytes);
        self.len = end;
        self.terminate();
        Ok(())
    }

    /// Adds a component behind a slash (without one at the start of an empty path).
    ///
    /// # Errors
    /// ENAMETOOLONG.
    pub fn push(&mut self, name: &[u8]) -> Result<(), Error> {
        if name.is_empty() {
            return Ok(());
        }
        if self.len > 0 && self.as_bytes().last() != Some(&b'/') {
            self.append(b"/")?;
        }
        self.append(name)
    }

    /// Takes the last component of an absolute path away; the root stays.
    pub fn pop(&mut self) {
        let cut = self
            .as_bytes()
            .iter()
            .rposition(|&b| b == b'/')
            .unwrap_or(0);
        self.truncate(cut.max(1).min(self.len));
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
