//! The guest's memory, copied once per call.

use crate::thread::me;
use crate::{Errno, Result, arch, recording};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use picozone_fsmap::{PATH_MAX, PathBuf};

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
unsafe impl Plain for crate::pidfd::ProcessInfo {}
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

/// Room for a path, in the thread's [`rooms`](crate::thread): rooms lie close together, since each
/// takes no more than its path once it holds one. On the stack each would touch a page of its own,
/// which every fork and every exec pays for.
pub struct PathRoom {
    at: *mut u8,
    /// Where the thread's rooms ended before, and how large this one is.
    before: u32,
    size: u32,
}

impl PathRoom {
    pub fn new() -> PathRoom {
        let (at, before) = me().take_room(PATH_MAX as u32);
        let size = PATH_MAX as u32;
        PathRoom { at, before, size }
    }

    /// Makes it that large, where it is the last room.
    fn resize(&mut self, size: u32) {
        let thread = me();
        if thread.rooms == self.before + self.size {
            thread.rooms = self.before + size;
            self.size = size;
        }
    }

    /// All of it, whatever it holds.
    pub fn all(&mut self) -> &mut [u8; PATH_MAX] {
        self.open();
        unsafe { &mut *self.at.cast() }
    }

    /// Makes it large enough for any path, if one before made it smaller.
    fn open(&mut self) {
        self.resize(PATH_MAX as u32);
        if self.size < PATH_MAX as u32 {
            crate::die("picozone: a path's room is used again under another\n");
        }
    }

    /// Copies a path of the guest in. EFAULT, or ENAMETOOLONG beyond 4095 bytes.
    pub fn read(&mut self, from: u64) -> Result<&CStr> {
        self.open();
        if me().record.is_open() {
            recording::follows(from);
        }
        let length = arch::string_in(self.at as u64, PATH_MAX, from).ok_or(Errno::EFAULT)?;
        if length >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(self.text(length))
    }

    /// The same of calls that take no path at all for an empty one.
    pub fn read_if_any(&mut self, from: u64) -> Result<&CStr> {
        if from == 0 { Ok(c"") } else { self.read(from) }
    }

    /// Copies a path of our own in.
    pub fn set(&mut self, path: &[u8]) -> Result<&CStr> {
        if path.len() >= PATH_MAX || path.contains(&0) {
            return Err(Errno::ENAMETOOLONG);
        }
        self.open();
        unsafe {
            core::ptr::copy_nonoverlapping(path.as_ptr(), self.at, path.len());
            self.at.add(path.len()).write(0);
        }
        Ok(self.text(path.len()))
    }

    /// Copies a path of two parts in.
    #[cold]
    #[inline(never)]
    #[unsafe(link_section = ".text.rare")]
    pub fn set_two(&mut self, front: &[u8], rest: &[u8]) -> Result<&CStr> {
        let length = front.len() + rest.len();
        if length >= PATH_MAX || front.contains(&0) || rest.contains(&0) {
            return Err(Errno::ENAMETOOLONG);
        }
        self.open();
        let (first, second) = (front.as_ptr(), rest.as_ptr());
        unsafe {
            core::ptr::copy_nonoverlapping(first, self.at, front.len());
            core::ptr::copy_nonoverlapping(second, self.at.add(front.len()), rest.len());
            self.at.add(length).write(0);
        }
        Ok(self.text(length))
    }

    /// What a path of our own was copied in before.
    #[cold]
    #[inline(never)]
    #[unsafe(link_section = ".text.rare")]
    pub fn held(&mut self) -> Result<&CStr> {
        let bytes = unsafe { core::slice::from_raw_parts(self.at, self.size as usize) };
        CStr::from_bytes_until_nul(bytes).map_err(|_| Errno::ENAMETOOLONG)
    }

    /// The first `length` bytes, which hold no NUL and are followed by one. No more can come: the
    /// rest of the room is given back.
    fn text(&mut self, length: usize) -> &CStr {
        self.resize((length as u32 + 1).next_multiple_of(16));
        let bytes = unsafe { core::slice::from_raw_parts(self.at, length + 1) };
        unsafe { CStr::from_bytes_with_nul_unchecked(bytes) }
    }
}

impl Drop for PathRoom {
    fn drop(&mut self) {
        me().rooms = self.before;
    }
}

/// A path in the zone, in a room of the thread.
pub struct ZonePath(PathRoom);

impl ZonePath {
    /// The empty path.
    pub fn new() -> ZonePath {
        let (at, before) = me().take_room(size_of::<PathBuf>() as u32);
        let size = size_of::<PathBuf>() as u32;
        unsafe { at.cast::<PathBuf>().write(PathBuf::new()) };
        ZonePath(PathRoom { at, before, size })
    }
}

impl Deref for ZonePath {
    type Target = PathBuf;
    fn deref(&self) -> &PathBuf {
        unsafe { &*self.0.at.cast() }
    }
}

impl DerefMut for ZonePath {
    fn deref_mut(&mut self) -> &mut PathBuf {
        unsafe { &mut *self.0.at.cast() }
    }
}
