//! Root directories that processes of a zone have taken by chroot(2), by number.
//!
//! The monitor writes them, guests read them. A number is used anew only when no process has it any
//! more. It is a rule of the zone's own, not of its boundary: whichever root a guest claims to have,
//! its paths lead nowhere but beneath the zone's mounts.

use core::sync::atomic::{AtomicU32, Ordering};

/// How many of them there can be at a time.
pub const ROOTS_MAX: usize = 256;
/// Room for the path of one.
pub const ROOT_LEN_MAX: usize = 1020;

/// One root directory: a zone path free of links.
#[repr(C)]
pub struct Root {
    len: AtomicU32,
    text: [u8; ROOT_LEN_MAX],
}

impl Root {
    /// The path; `None` if the number is not in use.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        let len = self.len.load(Ordering::Acquire) as usize;
        self.text.get(..len).filter(|text| !text.is_empty())
    }

    /// Replaces the path. Nobody may use the number; false if the path is too long.
    pub fn set(&mut self, path: &[u8]) -> bool {
        let (Ok(len), Some(room)) = (u32::try_from(path.len()), self.text.get_mut(..path.len()))
        else {
            return false;
        };
        self.len.store(0, Ordering::Release);
        room.copy_from_slice(path);
        self.len.store(len, Ordering::Release);
        true
    }
}
