//! The guest's memory, copied once per call.

use crate::{Errno, Result, arch};
use core::mem::MaybeUninit;

/// A type whose every bit pattern is a value.
pub unsafe trait Plain: Copy {}
unsafe impl Plain for u8 {}
unsafe impl Plain for u32 {}
unsafe impl Plain for i32 {}
unsafe impl Plain for u64 {}
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}
unsafe impl Plain for arch::Context {}
unsafe impl Plain for arch::Stack {}
unsafe impl Plain for arch::Info {}
unsafe impl Plain for crate::signal::Action {}
unsafe impl Plain for linux_raw_sys::general::stat {}
unsafe impl Plain for linux_raw_sys::general::statx {}
unsafe impl Plain for linux_raw_sys::general::open_how {}
unsafe impl Plain for linux_raw_sys::general::rlimit64 {}

/// Reads a value. EFAULT if any byte cannot be read.
pub fn read<T: Plain>(from: u64) -> Result<T> {
    let mut value = MaybeUninit::<T>::uninit();
    if arch::copy(value.as_mut_ptr() as u64, from, size_of::<T>()) {
        Ok(unsafe { value.assume_init() })
    } else {
        Err(Errno::EFAULT)
    }
}

/// Writes a value. EFAULT if any byte cannot be written.
pub fn write<T: Plain>(to: u64, value: &T) -> Result<()> {
    if arch::copy(to, core::ptr::from_ref(value) as u64, size_of::<T>()) {
        Ok(())
    } else {
        Err(Errno::EFAULT)
    }
}

/// Reads bytes.
pub fn read_bytes(from: u64, to: &mut [u8]) -> Result<()> {
    if arch::copy(to.as_mut_ptr() as u64, from, to.len()) {
        Ok(())
    } else {
        Err(Errno::EFAULT)
    }
}

/// Writes bytes.
pub fn write_bytes(to: u64, bytes: &[u8]) -> Result<()> {
    if arch::copy(to, bytes.as_ptr() as u64, bytes.len()) {
        Ok(())
    } else {
        Err(Errno::EFAULT)
    }
}

/// A path of the guest, with its NUL.
pub struct GuestPath {
    bytes: [u8; 4096],
    len: usize,
}

impl GuestPath {
    /// Copies a path in. EFAULT, or ENAMETOOLONG beyond 4095 bytes.
    pub fn read(from: u64) -> Result<GuestPath> {
        let mut path = MaybeUninit::<GuestPath>::uninit();
        unsafe {
            let bytes = &mut (*path.as_mut_ptr()).bytes;
            let len = arch::string_in(bytes, from).ok_or(Errno::EFAULT)?;
            if len >= 4096 {
                return Err(Errno::ENAMETOOLONG);
            }
            (*path.as_mut_ptr()).len = len;
            Ok(path.assume_init())
        }
    }
    pub fn of(text: &[u8]) -> Result<GuestPath> {
        let mut path = GuestPath {
            bytes: [0; 4096],
            len: text.len(),
        };
        path.bytes
            .get_mut(..text.len())
            .filter(|_| text.len() < 4096)
            .ok_or(Errno::ENAMETOOLONG)?
            .copy_from_slice(text);
        Ok(path)
    }
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
    /// Address of the NUL-terminated text.
    pub fn address(&self) -> u64 {
        self.bytes.as_ptr() as u64
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
