//! Raising: a copy of a file, with everything that goes with it.

use super::rights::as_guest;
use super::unfold::io_errno;
use super::{Found, How, Layer, Record, Tell, open_beneath};
use crate::monitor::descriptors::own_path;
use crate::monitor::owners::identify;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Whence, linkat, lseek};
use picozone_personality::origins::Origin;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// `FICLONE`: the copy shares the original's blocks, where the file system can do that.
const CLONE: libc::c_ulong = 0x4004_9409;
/// Attributes that a zone keeps under other names than it sees.
const KEPT: &[u8] = b"user.picozone.";

impl Layer {
    /// A file below, by name only.
    fn file_below(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let node = as_guest(|| open_beneath(&self.pair.below, path, flags))?;
        match fstat(&node)?.st_mode & libc::S_IFMT {
            libc::S_IFREG => Ok(node),
            // Since the directory was unfolded the host has put something else there.
            _ => Err(Errno::ENOENT),
        }
    }

    pub(super) fn raise_file(
        &self,
        directory: &OwnedFd,
        name: &OsStr,
        found: &Found,
        how: How,
        tell: Tell<'_>,
    ) -> nix::Result<bool> {
        let node = self.file_below(&found.path)?;
        let has_names = fstat(&node)?.st_nlink > 1;
        if has_names && self.raise_name(directory, name, found, &node, tell)? {
            return Ok(true);
        }
        if how == How::IfLinked {
            return Ok(false);
        }
        let ready = self.new_name();
        let put = self.copy(&node, &ready, how).and_then(|record| {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            if has_names {
                let linked = index_name(&node)?;
                let flags = AtFlags::empty();
                linkat(
                    &self.work,
                    ready.as_os_str(),
                    &self.index,
                    &linked[..],
                    flags,
                )?;
                names.insert(record.id, record.origin.links);
                self.has_linked.store(true, Ordering::Release);
            }
            self.journal.add(&[record]).map_err(io_errno)?;
            tell(&record);
            self.put(directory, name, found, &ready, None).map(drop)
        });
        if put.is_err() {
            self.drop_ready(&ready);
        }
        match put {
            // Another name was raised meanwhile.
            Err(Errno::EEXIST) if has_names => self.raise_name(directory, name, found, &node, tell),
            other => other.map(|()| true),
        }
    }

    /// Makes a name of a raised file of it; false if none of its names was.
    fn raise_name(
        &self,
        directory: &OwnedFd,
        name: &OsStr,
        found: &Found,
        node: &OwnedFd,
        tell: Tell<'_>,
    ) -> nix::Result<bool> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = self.new_name();
        let linked = index_name(node)?;
        let flags = AtFlags::empty();
        match linkat(
            &self.index,
            &linked[..],
            &self.work,
            ready.as_os_str(),
            flags,
        ) {
            Err(Errno::ENOENT) => return Ok(false),
            other => other?,
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let raised = openat(&self.work, ready.as_os_str(), flags, Mode::empty())?;
        let (id, _) = identify(&raised).map_err(Errno::from_raw)?;
        let below = fstat(node)?;
        // One stand-in less, one name of the layer's more: the sum stays.
        let links = names.entry(id).or_insert(0);
        let record = |links| Record {
            id,
            origin: Origin {
                dev: below.st_dev,
                ino: below.st_ino,
                links,
            },
            // As it was when it was raised, or has been changed to since.
            owner: None,
        };
        if self.put(directory, name, found, &ready, None)? {
            *links -= 1;
            self.journal.add(&[record(*links)]).map_err(io_errno)?;
            tell(&record(*links));
        }
        Ok(true)
    }

    /// Copies a file to a name in `work`.
    fn copy(&self, node: &OwnedFd, ready: &OsStr, how: How) -> nix::Result<Record> {
        let status = fstat(node)?;
        let has_content = how == How::Whole && status.st_size > 0;
        let from = match as_guest(|| File::open(own_path(node))) {
            // Nobody needs to read what has no content.
            Err(_) if !has_content => None,
            other => Some(other.map_err(io_errno)?),
        };
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let to = openat(&self.work, ready, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let to = File::from(to);
        if let Some(from) = &from {
            if has_content {
                copy_content(from, &to)?;
            }
            copy_attributes(from, &to)?;
        }
        let host_mode = status.st_mode & 0o777 | 0o600;
        fchmod(&to, Mode::from_bits_truncate(host_mode))?;
        super::keep_times(&OwnedFd::from(to.try_clone().map_err(io_errno)?), &status);
        if has_content {
            // A name is not to outlive a power cut without its content.
            to.sync_data().map_err(io_errno)?;
        }
        let (id, _) = identify(&to).map_err(Errno::from_raw)?;
        let names = i64::try_from(status.st_nlink).unwrap_or(1);
        Ok(Record {
            id,
            origin: Origin {
                dev: status.st_dev,
                ino: status.st_ino,
                // With its name in the index it has two.
                links: if names > 1 { names - 2 } else { 0 },
            },
            owner: self.owner_of(&status, host_mode, false),
        })
    }
}

/// The name in the index of a file below, which no later file there has.
fn index_name(node: &OwnedFd) -> nix::Result<String> {
    let (id, _) = identify(node).map_err(Errno::from_raw)?;
    Ok(format!("{:x}-{:x}-{:x}", id.dev, id.ino, id.btime))
}

/// Copies data, and leaves holes where there are some.
fn copy_content(from: &File, to: &File) -> nix::Result<()> {
    // SAFETY: takes descriptors only.
    if unsafe { libc::ioctl(to.as_raw_fd(), CLONE, from.as_raw_fd()) } == 0 {
        return Ok(());
    }
    let length = fstat(from)?.st_size;
    let mut at = 0;
    while at < length {
        let data = match lseek(from, at, Whence::SeekData) {
            Err(Errno::ENXIO) => break,
            // Not every file system knows holes.
            Err(Errno::EINVAL) => at,
            other => other?,
        };
        let end = lseek(from, data, Whence::SeekHole).unwrap_or(length);
        copy_range(from, to, data, end.min(length))?;
        at = end.max(data + 1);
    }
    to.set_len(length.cast_unsigned()).map_err(io_errno)
}

fn copy_range(from: &File, to: &File, start: i64, end: i64) -> nix::Result<()> {
    let (mut at, mut there) = (start, start);
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
        // SAFETY: the descriptors are open, the offsets ours.
        let got = unsafe {
            libc::copy_file_range(
                from.as_raw_fd(),
                &raw mut at,
                to.as_raw_fd(),
                &raw mut there,
                wanted,
                0,
            )
        };
        match Errno::result(got) {
            // It has become shorter meanwhile.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                return copy_by_hand(from, to, at, end);
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, start: i64, end: i64) -> nix::Result<()> {
    let (mut at, end) = (start.cast_unsigned(), end.cast_unsigned());
    let mut buffer = vec![0; 1 << 17];
    while at < end {
        let wanted = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let got = from.read_at(&mut buffer[..wanted], at).map_err(io_errno)?;
        if got == 0 {
            return Ok(());
        }
        to.write_all_at(&buffer[..got], at).map_err(io_errno)?;
        at += got as u64;
    }
    Ok(())
}

/// Copies the attributes that a zone sees. A file system without any loses none.
fn copy_attributes(from: &File, to: &File) -> nix::Result<()> {
    let mut names = vec![0u8; 1 << 16];
    // SAFETY: the buffer is ours, the length its own.
    let got = unsafe { libc::flistxattr(from.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    let Ok(got) = usize::try_from(got) else {
        return Ok(());
    };
    let mut value = vec![0u8; 1 << 16];
    for name in names[..got].split(|&byte| byte == 0) {
        if !name.starts_with(b"user.") || name.starts_with(KEPT) {
            continue;
        }
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        if let Some(length) = attribute(from, &name, &mut value) {
            // SAFETY: name and value are ours, the length is the value's.
            let set = unsafe {
                libc::fsetxattr(
                    to.as_raw_fd(),
                    name.as_ptr(),
                    value.as_ptr().cast(),
                    length,
                    0,
                )
            };
            match Errno::result(set) {
                Err(errno) if errno != Errno::EOPNOTSUPP => return Err(errno),
                _ => {}
            }
        }
    }
    Ok(())
}

fn attribute(from: &File, name: &CStr, value: &mut [u8]) -> Option<usize> {
    // SAFETY: name and buffer are ours, the length is the buffer's.
    let got = unsafe {
        libc::fgetxattr(
            from.as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    usize::try_from(got).ok()
}
