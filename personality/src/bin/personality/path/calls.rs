//! The calls that open, read or measure what a path names.

use super::names::{Purpose, parent};
use super::reach::{
    Opened, Reach, Told, ask_served, open_anywhere, open_confined, open_served, reach, reach_again,
};
use super::rights::{may_change, may_open};
use super::walk::{is_monitors, zone_path_of};
use super::{AT_CWD, PATH_FLAGS, close, own_exe, text_of};
use crate::arch::{syscall1, syscall2, syscall4};
use crate::dispatch::checked;
use crate::memory::{self, PathRoom};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, file};
use core::ffi::CStr;
use linux_raw_sys::general::*;
use picozone_fsmap::{LINKS_MAX, PathBuf};
use picozone_personality::layout::DIRECTORY_MODE;
use picozone_personality::mailbox::Request;

/// The open flags that the kernel knows (include/linux/fcntl.h, `VALID_OPEN_FLAGS`).
const OPEN_FLAGS: u64 = 0o37_777_703 | O_PATH as u64 | 0o20_200_000;
/// The whole of `O_TMPFILE`.
const TEMPORARY: u64 = O_TMPFILE as u64;

/// What the kernel's openat ignores must not reach openat2, which refuses it.
fn normal_flags(flags: u64, mode: u64) -> (u64, u64) {
    let mut flags = (flags & OPEN_FLAGS) | u64::from(O_LARGEFILE);
    if flags & u64::from(O_PATH) != 0 {
        flags &= u64::from(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    let makes = flags & u64::from(O_CREAT) != 0 || flags & TEMPORARY == TEMPORARY;
    (flags, if makes { mode & 0o777 } else { 0 })
}

/// open(2), openat(2), creat(2).
pub fn open(thread: &mut Thread, dirfd: u64, pathname: u64, flags: u64, mode: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let guest = room.read(pathname)?;
    if guest.is_empty() {
        return Err(Errno::ENOENT);
    }
    let path = own_exe(thread, guest);
    let mut zone = None;
    // Bits that a host file is never given live in the ownership store.
    let special = mode & 0o7000;
    let (flags, mode) = normal_flags(flags, mode);
    // A file of a user who is not root, or with such bits: learn whether this call makes it.
    let is_root = thread.credentials.uid[3] == 0 && thread.credentials.gid[3] == 0;
    let makes = flags & u64::from(O_CREAT) != 0 && (!is_root || special != 0);
    // Nothing is cut before the zone's own rules have allowed to write.
    let asked = match (makes, is_root) {
        (true, _) => flags & !u64::from(O_CREAT | O_TRUNC | O_EXCL),
        (false, true) => flags,
        (false, false) => flags & !u64::from(O_TRUNC),
    };
    let mut made = false;
    let opened = match open_confined(
        thread,
        dirfd,
        path,
        asked,
        if makes { 0 } else { mode },
        &mut zone,
    ) {
        Ok(Opened::Descriptor(fd)) if makes && flags & u64::from(O_EXCL) != 0 => {
            close(fd);
            return Err(Errno::EEXIST);
        }
        Ok(Opened::Descriptor(fd)) if makes || !is_root => {
            if !is_root && let Err(errno) = may_open(thread, fd, flags) {
                close(fd);
                return Err(errno);
            }
            if flags & u64::from(O_TRUNC) != 0 && flags & 3 != 0 {
                unsafe { syscall2(__NR_ftruncate, fd, 0) };
            }
            Opened::Descriptor(fd)
        }
        Err(Errno::ENOENT) if makes => {
            made = true;
            let parent = parent(thread, dirfd, path, Purpose::Make)?;
            may_change(thread, parent.fd)?;
            open_confined(thread, dirfd, path, flags, mode, &mut zone)?
        }
        other => other?,
    };
    match opened {
        Opened::Descriptor(fd) => {
            if made {
                file::own_new(thread, fd);
                if special != 0 {
                    file::add_mode(thread, fd, special);
                }
            }
            Ok(fd)
        }
        Opened::Monitor => open_served(thread, flags, mode, &mut zone),
    }
}

/// openat2(2): the guest's own resolve flags are not supported yet, plain opens are.
pub fn openat2(thread: &mut Thread, dirfd: u64, pathname: u64, how: u64, size: u64) -> Result<u64> {
    if size < 24 {
        return Err(Errno::EINVAL);
    }
    let [flags, mode, resolve] = memory::read::<[u64; 3]>(how)?;
    // Unlike openat(2), it refuses what it does not know.
    let makes = flags & u64::from(O_CREAT) != 0 || flags & TEMPORARY == TEMPORARY;
    if flags & !OPEN_FLAGS != 0 || mode & !0o7777 != 0 || (mode != 0 && !makes) {
        return Err(Errno::EINVAL);
    }
    if resolve != 0 {
        return Err(Errno::ENOSYS);
    }
    open(thread, dirfd, pathname, flags, mode)
}

/// chdir(2).
pub fn chdir(thread: &mut Thread, pathname: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = room.read(pathname)?;
    chdir_to(thread, path)
}

/// chdir to a path of our own.
pub fn chdir_bytes(thread: &mut Thread, path: &[u8]) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = room.set(path)?;
    chdir_to(thread, path)
}

fn chdir_to(thread: &mut Thread, path: &CStr) -> Result<u64> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
    let mut zone = None;
    let fd = open_anywhere(thread, AT_CWD as u64, path, flags, 0, &mut zone)?;
    let result = file::stat_in_zone(thread, fd).and_then(|st| {
        if file::permits(thread, thread.credentials.uid[3], &st, 1) {
            checked(unsafe { syscall1(__NR_fchdir, fd) })
        } else {
            Err(Errno::EACCES)
        }
    });
    close(fd);
    result
}

/// getcwd(2).
pub fn getcwd(thread: &Thread, to: u64, size: u64) -> Result<u64> {
    let mut zone = PathBuf::new();
    zone_path_of(thread, AT_CWD as u64, &mut zone)?;
    let text = zone.as_bytes();
    let text = if text.is_empty() { b"/" } else { text };
    if (text.len() as u64) >= size {
        return Err(Errno::ERANGE);
    }
    memory::write_bytes(to, text)?;
    memory::write(to + text.len() as u64, &0u8)?;
    Ok(text.len() as u64 + 1)
}

/// readlink(2), readlinkat(2).
pub fn readlink(thread: &mut Thread, dirfd: u64, pathname: u64, to: u64, size: u64) -> Result<u64> {
    if size as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    let size = (size as i32 as usize).min(4096);
    let mut room = PathRoom::new();
    let path = room.read(pathname)?;
    let process = thread.process();
    if path.to_bytes() == b"/proc/self/exe" {
        let exe = &process.exe[..process.exe_len as usize];
        let n = exe.len().min(size);
        memory::write_bytes(to, &exe[..n])?;
        return Ok(n as u64);
    }
    let empty = tables().empty.as_ptr() as u64;
    let read = |fd: u64| {
        let mut buffer = [0u8; 4096];
        let got = match checked(unsafe {
            syscall4(__NR_readlinkat, fd, empty, buffer.as_mut_ptr() as u64, 4096)
        }) {
            Err(Errno::ENOENT) => Err(Errno::EINVAL),
            other => other,
        }? as usize;
        let n = got.min(size);
        memory::write_bytes(to, &buffer[..n])?;
        Ok(n as u64)
    };
    if path.is_empty() {
        return if dirfd as i32 == AT_CWD {
            Err(Errno::ENOENT)
        } else {
            read(dirfd)
        };
    }
    let mut zone = None;
    let mut found = reach(thread, dirfd, path, true, &mut zone)?;
    for _ in 0..LINKS_MAX {
        match found {
            Reach::Node(fd) => {
                let result = read(fd);
                close(fd);
                return result;
            }
            Reach::Monitor => match ask_served(thread, Request::Readlink, &mut zone, 0, 0)? {
                Told::Answer(length) => {
                    let n = (length as usize).min(size);
                    memory::write_bytes(to, thread.mailbox().b.get(..n).ok_or(Errno::EIO)?)?;
                    return Ok(n as u64);
                }
                Told::Elsewhere => found = reach_again(thread, true, &mut zone)?,
            },
        }
    }
    Err(Errno::ELOOP)
}

/// truncate(2).
pub fn truncate(thread: &mut Thread, pathname: u64, length: u64) -> Result<u64> {
    let fd = open(
        thread,
        AT_CWD as u64,
        pathname,
        u64::from(O_WRONLY | O_CLOEXEC | O_NONBLOCK),
        0,
    )?;
    let result = checked(unsafe { syscall2(__NR_ftruncate, fd, length) });
    close(fd);
    result
}

/// statfs(2).
pub fn statfs(thread: &mut Thread, pathname: u64, to: u64) -> Result<u64> {
    let mut room = PathRoom::new();
    let path = own_exe(thread, room.read(pathname)?);
    let mut zone = None;
    let fd = open_anywhere(thread, AT_CWD as u64, path, PATH_FLAGS, 0, &mut zone)?;
    let result = match served_magic(fd, text_of(&zone)) {
        None => checked(unsafe { syscall2(__NR_fstatfs, fd, to) }),
        Some(magic) => {
            // struct statfs: type, block size, then nothing but the longest name.
            let mut words = [0u64; 15];
            (words[0], words[1], words[8]) = (magic, 4096, 255);
            memory::write(to, &words).map(|()| 0)
        }
    };
    close(fd);
    result
}

/// The file system type of a node of the monitor's mounts, found by this zone path.
fn served_magic(fd: u64, zone: &[u8]) -> Option<u64> {
    let mut st = unsafe { core::mem::zeroed::<linux_raw_sys::general::stat>() };
    let got = unsafe { syscall2(__NR_fstat, fd, &raw mut st as u64) };
    // A link of the monitor's may have led to a directory of the zone.
    let is_dir = st.st_mode & 0o170_000 == 0o040_000;
    if got < 0 || !is_monitors(zone) || (is_dir && st.st_mode != DIRECTORY_MODE) {
        return None;
    }
    const PROC: u64 = 0x9fa0;
    const DEVPTS: u64 = 0x1cd1;
    const TMPFS: u64 = 0x0102_1994;
    Some(if zone.starts_with(b"/proc") {
        PROC
    } else if zone.starts_with(b"/dev/pts") {
        DEVPTS
    } else {
        TMPFS
    })
}
