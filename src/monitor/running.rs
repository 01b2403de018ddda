//! Programs that run are not to be written, and what is being written is not to be executed
//! (`ETXTBSY`). To the kernel all guests execute the personality, so it is told here.

use super::descriptors::open_path;
use super::files::{errno, low_int};
use super::zone::Zone;
use crate::ids::HostPid;
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// Whether what a guest's descriptor names may be written: no process of the zone executes it.
///
/// # Errors
/// ETXTBSY.
pub fn must_not_run(zone: &Zone, caller: HostPid, fd: u64, hash: u64) -> Result<i64, i32> {
    let file = File::from(open_path(caller, low_int(fd))?);
    let data = file.metadata().map_err(errno)?;
    let hash = low_int(hash).cast_unsigned();
    let runs = |process: &picozone_personality::commons::Process| {
        let is_live = process.state.load(Acquire) == picozone_personality::commons::state::LIVE;
        is_live && has_memory(process.host.load(Relaxed))
    };
    if zone
        .shared
        .commons()
        .runs([data.dev(), data.ino()], hash, runs)
    {
        Err(libc::ETXTBSY)
    } else {
        Ok(0)
    }
}

/// Whether a process has not ended, though it may wait to be reaped.
fn has_memory(host: u32) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{host}/stat")) else {
        return false;
    };
    let name_end = stat.iter().rposition(|&byte| byte == b')');
    let state = name_end.and_then(|end| stat.get(end + 2));
    !matches!(state, None | Some(b'Z' | b'X'))
}

/// Whether somebody has a file open to write it. Only of the user's own files the kernel says so: it
/// gives no lease for reading then (fcntl(2)).
#[must_use]
pub fn is_written(file: &File) -> bool {
    lease_for_a_moment(file) == Err(Errno::EAGAIN)
}

/// Whether the kernel says that nobody has a file open to write it.
#[must_use]
pub fn is_not_written(file: &File) -> bool {
    lease_for_a_moment(file).is_ok()
}

fn lease_for_a_moment(file: &File) -> nix::Result<()> {
    // SAFETY: F_SETLEASE takes a number.
    let set =
        |kind: i32| Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) });
    set(libc::F_RDLCK)?;
    // Failing, it ends with the descriptor.
    let _ = set(libc::F_UNLCK);
    Ok(())
}
