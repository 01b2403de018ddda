//! The reserved descriptors of a guest.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use picozone_personality::layout::{FD_BASE, FD_COUNT, FD_MOUNT0};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// What stands where.
pub struct Reserved<'a> {
    /// The fixed ones, in the order of `layout::FD_PERSONALITY` and on.
    pub fixed: [BorrowedFd<'a>; 5],
    /// The mounts, in the order of the mount table.
    pub mounts: Vec<BorrowedFd<'a>>,
}

fn place(from: RawFd, to: u32) -> Result<(), Errno> {
    let to = RawFd::try_from(to).map_err(|_| Errno::EBADF)?;
    // SAFETY: dup2 touches no memory; the reserved range belongs to us.
    let result = unsafe { libc::dup2(from, to) };
    Errno::result(result).map(drop)
}

/// Puts them there; every reserved number is open afterwards, so that none is ever handed out.
/// The soft limit is the caller's again on return.
///
/// # Errors
/// EPERM or EINVAL if the hard limit of descriptors is below the reserved range.
pub fn reserve(reserved: &Reserved<'_>) -> Result<(), Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = u64::from(FD_BASE + FD_COUNT);
    if hard < needed {
        return Err(Errno::EMFILE);
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard)?;
    let filler = reserved.fixed[1].as_raw_fd();
    for number in FD_BASE..FD_BASE + FD_COUNT {
        let index = (number - FD_BASE) as usize;
        let from = reserved.fixed.get(index).map_or_else(
            || {
                number
                    .checked_sub(FD_MOUNT0)
                    .and_then(|i| reserved.mounts.get(i as usize))
                    .map_or(filler, AsRawFd::as_raw_fd)
            },
            AsRawFd::as_raw_fd,
        );
        place(from, number)?;
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)
}
