//! Handles of files: the kernel's own, of what the guest has reached. They are opened by the path that
//! the monitor remembers, as long as that leads to the same file.

use super::{EMPTY_PATH, NOFOLLOW, Power, has, stat_of, with_descriptor};
use crate::arch::{syscall1, syscall5};
use crate::dispatch::checked;
use crate::memory::{self, PathRoom};
use crate::monitor::tables;
use crate::path;
use crate::thread::Thread;
use crate::{Errno, Result};
use linux_raw_sys::general::*;
use picozone_personality::mailbox::{Request, handle as of};
use picozone_personality::tables::{FIRST_UNIQUE, mount_id};

/// `MAX_HANDLE_SZ`.
const BYTES_MAX: usize = 128;
const FOLLOW: u64 = AT_SYMLINK_FOLLOW as u64;

/// `struct file_handle`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Handle {
    length: u32,
    kind: u32,
    bytes: [u8; BYTES_MAX],
}

impl Handle {
    const HEAD: u64 = 8;

    /// One with room for so many bytes.
    const fn room(length: u32) -> Handle {
        Handle {
            length,
            kind: 0,
            bytes: [0; BYTES_MAX],
        }
    }

    /// Reads the head, and `with_bytes` the rest.
    fn read(from: u64, with_bytes: bool) -> Result<Handle> {
        let [length, kind] = memory::read::<[u32; 2]>(from)?;
        let mut handle = Handle::room(length);
        handle.kind = kind;
        let used = handle.bytes.get_mut(..length as usize);
        let used = used.ok_or(Errno::EINVAL)?;
        if with_bytes {
            if used.is_empty() {
                return Err(Errno::EINVAL);
            }
            memory::read_bytes(from + Handle::HEAD, used)?;
        }
        Ok(handle)
    }

    /// The kernel's handle of a descriptor's file, if there is room, and its mount.
    fn of(&mut self, fd: u64, flags: u64) -> (Result<u64>, u64) {
        let mut mount = 0u64;
        let empty = tables().empty.as_ptr() as u64;
        let (to, at) = (core::ptr::from_mut(self) as u64, &raw mut mount as u64);
        let flags = flags | EMPTY_PATH;
        let got = unsafe { syscall5(__NR_name_to_handle_at, fd, empty, to, at, flags) };
        (checked(got), mount)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length as usize).unwrap_or(&[])
    }

    /// Puts it into the mailbox. The value is how many bytes it has there.
    fn put(&self, thread: &Thread) -> u64 {
        let b = &mut thread.mailbox().b;
        b[..4].copy_from_slice(&self.kind.to_ne_bytes());
        let bytes = self.bytes();
        b[4..4 + bytes.len()].copy_from_slice(bytes);
        4 + bytes.len() as u64
    }
}

/// name_to_handle_at(2).
pub fn name_to_handle(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    to: u64,
    mount: u64,
    flags: u64,
) -> Result<u64> {
    let flags = flags & 0xffff_ffff;
    let known = FOLLOW | EMPTY_PATH | u64::from(AT_HANDLE_FID) | 3;
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let mut way = flags & EMPTY_PATH;
    if flags & FOLLOW == 0 {
        way |= NOFOLLOW;
    }
    with_descriptor(thread, dirfd, pathname, way, |thread, fd| {
        let mut handle = Handle::read(to, false)?;
        let (found, id) = handle.of(fd, flags & !(FOLLOW | EMPTY_PATH));
        let base = if flags & 1 == 0 { 0 } else { FIRST_UNIQUE };
        let id = path::row_of(thread, fd).map_or(id, |row| base + u64::from(mount_id(row)));
        if !matches!(found, Ok(_) | Err(Errno::EOVERFLOW)) {
            return found;
        }
        // With AT_HANDLE_MNT_ID_UNIQUE it has 64 bits.
        if flags & 1 == 0 {
            memory::write(mount, &(id as u32))?;
        } else {
            memory::write(mount, &id)?;
        }
        memory::write(to, &handle.length)?;
        found?;
        // One that only tells files apart opens none.
        if flags & u64::from(AT_HANDLE_FID) == 0 {
            let length = handle.put(thread);
            thread.ask(Request::Handle, &[fd, of::REMEMBER, length])?;
        }
        memory::write(to, &[handle.length, handle.kind])?;
        memory::write_bytes(to + Handle::HEAD, handle.bytes())?;
        Ok(0)
    })
}

/// open_by_handle_at(2).
pub fn open_by_handle(thread: &mut Thread, mount_fd: u64, from: u64, flags: u64) -> Result<u64> {
    let handle = Handle::read(from, true)?;
    let device = if mount_fd as i32 == AT_FDCWD {
        None
    } else {
        Some(stat_of(mount_fd)?.st_dev)
    };
    if !has(thread, Power::Search) {
        return Err(Errno::EPERM);
    }
    let length = handle.put(thread);
    let length = thread.ask(Request::Handle, &[0, of::FIND, length])?;
    let mut room = PathRoom::new();
    let text = thread.mailbox().b.get(..length as usize);
    let path = room.set(text.ok_or(Errno::EIO)?)?;
    let look = path::PATH_FLAGS | u64::from(O_NOFOLLOW);
    let there = path::open_anywhere(thread, AT_FDCWD as u64, path, look, 0, &mut None)
        .map_err(|_| Errno::ESTALE)?;
    let is_same = device.is_none_or(|device| stat_of(there).is_ok_and(|st| st.st_dev == device));
    let mut now = Handle::room(BYTES_MAX as u32);
    let is_it = is_same
        && now.of(there, 0).0.is_ok()
        && (now.kind, now.bytes()) == (handle.kind, handle.bytes());
    unsafe { syscall1(__NR_close, there) };
    if !is_it {
        return Err(Errno::ESTALE);
    }
    let flags = flags & !u64::from(O_CREAT | O_EXCL) | u64::from(O_NOFOLLOW);
    path::open_text(thread, path, flags)
}
