//! The guest's memory, copied once per call.

use crate::{Errno, Result, arch};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use picozone_fsmap::PATH_MAX;

/// A type whose every bit pattern is a value.
///
/// # Safety
/// No bit pattern of its size may be invalid, padding included.
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
unsafe impl Plain for picozone_personality::limits::Limit {}

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

/// Room for a path, not initialised: only what is used is touched.
pub struct PathRoom(MaybeUninit<[u8; PATH_MAX]>);

impl PathRoom {
    #[inline(always)]
    pub const fn new() -> PathRoom {
        PathRoom(MaybeUninit::uninit())
    }

    /// Copies a path of the guest in. EFAULT, or ENAMETOOLONG beyond 4095 bytes.
    pub fn read(&mut self, from: u64) -> Result<&CStr> {
        let room = self.0.as_mut_ptr() as u64;
        let length = arch::string_in(room, PATH_MAX, from).ok_or(Errno::EFAULT)?;
        if length >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(self.text(length))
    }

    /// Copies a path of our own in.
    pub fn set(&mut self, path: &[u8]) -> Result<&CStr> {
        if path.len() >= PATH_MAX || path.contains(&0) {
            return Err(Errno::ENAMETOOLONG);
        }
        let room = self.0.as_mut_ptr().cast::<u8>();
        unsafe {
            core::ptr::copy_nonoverlapping(path.as_ptr(), room, path.len());
            room.add(path.len()).write(0);
        }
        Ok(self.text(path.len()))
    }

    /// Copies a path of two parts in.
    pub fn set_two(&mut self, front: &[u8], rest: &[u8]) -> Result<&CStr> {
        self.set(front)?;
        let length = front.len() + rest.len();
        if length >= PATH_MAX || rest.contains(&0) {
            return Err(Errno::ENAMETOOLONG);
        }
        let room = self.0.as_mut_ptr().cast::<u8>();
        unsafe {
            core::ptr::copy_nonoverlapping(rest.as_ptr(), room.add(front.len()), rest.len());
            room.add(length).write(0);
        }
        Ok(self.text(length))
    }

    /// The first `length` bytes, which hold no NUL and are followed by one.
    fn text(&self, length: usize) -> &CStr {
        let bytes = unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast(), length + 1) };
        unsafe { CStr::from_bytes_with_nul_unchecked(bytes) }
    }
}
