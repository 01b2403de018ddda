//! Open files of `/proc` that are read from their beginning again.
//!
//! What the monitor makes as such a file is a file in memory with what was so when it was opened. Natively it
//! is made whenever it is read from the beginning on: programs that watch something keep it open and seek
//! there. Then the personality asks, and the descriptor gets a file that is made as if it were opened now.
//!
//! That it is such a file its mode on the host says, which no guest can give to one of its own; its name says
//! only which path is to be opened, by the caller's rights. Duplicates of the descriptor keep what they are
//! open to.
//!
//! Neighbours: [`super::served`] makes the content, [`super::procfs`] the name.

use super::descriptors::{open_path, own_path};
use super::files::errno;
use super::notify::{Call, Listener};
use super::owners::identify;
use super::procfs::{Errno, content_of, flags_told};
use super::served::{self, CONTENT_MODE};
use super::zone::Zone;
use crate::ids::HostPid;
use nix::fcntl::OFlag;
use picozone_personality::layout::is_reserved;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

/// What [`Request::Renew`](picozone_personality::mailbox::Request::Renew) asks for.
///
/// # Errors
/// EBADF: there is no such descriptor, or it is ours. EINVAL: it is no such file, or is open to be written.
/// As open(2).
pub fn renew(zone: &Zone, listener: &Listener, call: Call, fd: u64) -> Result<i64, Errno> {
    let number = u32::try_from(fd).map_err(|_| libc::EBADF)?;
    if is_reserved(number) {
        return Err(libc::EBADF);
    }
    let caller = HostPid(call.tid);
    let (file, flags) = opened(caller, number)?;
    if flags & OFlag::O_ACCMODE != OFlag::O_RDONLY || flags.contains(OFlag::O_PATH) {
        return Err(libc::EINVAL);
    }
    if identify(&file)?.1 != CONTENT_MODE {
        return Err(libc::EINVAL);
    }
    let link = std::fs::read_link(own_path(&file)).map_err(errno)?;
    let (path, of) = content_of(link.as_os_str().as_bytes()).ok_or(libc::EINVAL)?;
    let kept = flags & OFlag::O_NONBLOCK;
    let renewed = match served::content_now(zone, caller, path, of, kept) {
        Err(libc::ESRCH) => of_the_gone(kept)?,
        other => other?,
    };
    let is_cloexec = flags.contains(OFlag::O_CLOEXEC);
    let put = listener.exchange(call, renewed.as_fd(), number, is_cloexec);
    put.map(|_| 0)
}

/// What a guest's descriptor leads to, and its flags.
///
/// # Errors
/// EBADF: there is none, or it leads elsewhere meanwhile.
fn opened(thread: HostPid, fd: u32) -> Result<(OwnedFd, OFlag), Errno> {
    let number = i32::try_from(fd).map_err(|_| libc::EBADF)?;
    let file = open_path(thread, number)?;
    let info = std::fs::read(format!("/proc/{thread}/fdinfo/{fd}")).map_err(|_| libc::EBADF)?;
    let own = std::fs::read(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).map_err(errno)?;
    let flags = flags_told(&info, &own).ok_or(libc::EBADF)?;
    Ok((file, flags))
}

/// A file whose reading fails with ESRCH: the kernel's own of a thread of ours that has ended.
///
/// # Errors
/// Out of threads or descriptors.
fn of_the_gone(flags: OFlag) -> Result<OwnedFd, Errno> {
    static GONE: OnceLock<Option<File>> = OnceLock::new();
    let gone = GONE.get_or_init(|| {
        let thread = std::thread::Builder::new().spawn(|| File::open("/proc/thread-self/stat"));
        let file = thread.ok()?.join().ok()?.ok()?;
        // A thread can be joined a moment before it is gone.
        while anew(&file, OFlag::empty()).ok()?.read(&mut [0]).is_ok() {
            std::thread::yield_now();
        }
        Some(file)
    });
    let gone = gone.as_ref().ok_or(libc::ESRCH)?;
    anew(gone, flags).map(OwnedFd::from).map_err(errno)
}

fn anew(file: &File, flags: OFlag) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits());
    options.open(own_path(file))
}
