//! Locks on files that say who holds them.
//!
//! POSIX record locks (`fcntl` F_SETLK) rather than flock: a forked child does not inherit them,
//! so that the guardian and the monitor, which the command line forks, never keep the command
//! line's lock; they end with their process, however it ends; and F_GETLK names the holder.
//! The price is that a process loses the lock when it closes *any* descriptor of that file:
//! lock files are opened by this module's callers only, once a process.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A write lock on the whole file, as `fcntl` wants it.
fn whole_file() -> libc::flock {
    libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).expect("F_WRLCK is 1"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("SEEK_SET is 0"),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Opens (and makes) a lock file.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Takes the lock if it is free, and says whether it did.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_SETLK(&whole_file())) {
        Ok(_) => Ok(true),
        Err(Errno::EACCES | Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes the lock, and sleeps until it is free.
pub(super) fn lock(file: &File) -> io::Result<()> {
    loop {
        match fcntl(file, FcntlArg::F_SETLKW(&whole_file())) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The other process that holds the lock, if one does.
pub(super) fn holder(file: &File) -> io::Result<Option<Pid>> {
    let mut found = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut found))?;
    let is_free = i32::from(found.l_type) == libc::F_UNLCK;
    Ok((!is_free).then(|| Pid::from_raw(found.l_pid)))
}
