//! Paths: confined opens in the process, and changes of the name space.
//!
//! Every open is `openat2(descriptor, rest, how)` with an approved `how` that confines the walk
//! beneath the descriptor. What the kernel cannot finish there (EXDEV: a mount point, an absolute
//! link, a `..` over the top; EAGAIN: a rename on the host during a walk with `..`) is resolved
//! component by component, each step confined in the same way.

mod calls;
mod deep;
mod detached;
mod layer;
mod link;
mod listed;
mod made;
mod mounting;
mod names;
mod openat2;
mod parents;
mod protected;
mod quick;
mod quota;
mod reach;
mod rights;
mod root;
mod search;
mod walk;

pub use calls::*;
pub use detached::*;
pub use layer::{CHANGES, LOOKS, Listed, has_layers, is_in_layer, raised};
pub use listed::{listmount, statmount};
pub use mounting::*;
pub use names::*;
pub use openat2::*;
pub use parents::*;
pub use quick::*;
pub use reach::*;
pub use root::*;
pub use search::*;
pub use walk::*;

use crate::arch::{self, syscall1, syscall4};
use crate::dispatch::{checked, checked_or_restart};
use crate::memory::ZonePath;
use crate::monitor::tables;
use crate::signal::HELD;
use crate::thread::{Thread, me};
use crate::{Errno, Result, recording, room};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_fsmap::{Error, Last, MountRow, Mounts};
use picozone_personality::layout::{FD_BASE, FD_COPIES};
use picozone_personality::mailbox::Request;
use picozone_personality::tables::{HOW_INVALID, HOWS_MAX, How, how_slot};

const BENEATH: u64 = (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS) as u64;
/// Flags of a descriptor that only names.
pub const PATH_FLAGS: u64 = (O_PATH | O_CLOEXEC) as u64;
const NOFOLLOW: u64 = O_NOFOLLOW as u64;
const AT_CWD: i32 = AT_FDCWD;
/// How often a resolved path is tried again when the tree changes meanwhile.
const TRIES: usize = 8;

/// The zone's mounts.
pub fn mount_rows() -> &'static [MountRow] {
    tables().mount_rows()
}

fn mounts() -> Mounts<'static> {
    Mounts(mount_rows())
}

/// The approved way to open, vetted by the monitor where it is new.
fn how(thread: &Thread, flags: u64, mode: u64) -> Result<u64> {
    let flags = flags & !(CHANGES | LOOKS);
    how_to_resolve(thread, flags, mode, BENEATH)
}

/// The same for what is not to lead over any link: ELOOP then.
fn how_without_links(thread: &Thread, flags: u64, mode: u64) -> Result<u64> {
    let flags = flags & !(CHANGES | LOOKS);
    let resolve = BENEATH | u64::from(RESOLVE_NO_SYMLINKS);
    how_to_resolve(thread, flags, mode, resolve)
}

#[inline]
fn how_to_resolve(thread: &Thread, flags: u64, mode: u64, resolve: u64) -> Result<u64> {
    for _ in 0..2 {
        let mut at = how_slot(flags, mode, resolve);
        for _ in 0..HOWS_MAX {
            let slot = &tables().hows[at];
            let found = slot.resolve.load(Relaxed);
            if found == HOW_INVALID {
                break;
            }
            let is_same = slot.flags.load(Relaxed) == flags && slot.mode.load(Relaxed) == mode;
            if is_same && found == resolve {
                return Ok(core::ptr::from_ref(slot) as u64);
            }
            at = (at + 1) % HOWS_MAX;
        }
        thread.ask(Request::How, &[flags, mode, resolve])?;
    }
    Err(Errno::ENFILE)
}

/// Flags of opens that wait for nobody.
const OPENS_AT_ONCE: u64 = (O_PATH | O_NONBLOCK | O_DIRECTORY) as u64;

/// One open in an approved way. Where it may wait (a FIFO, a device) a signal can end it.
fn openat2_raw(dirfd: u64, path: u64, how: u64) -> Result<u64> {
    let flags = unsafe { (*(how as *const How)).flags.load(Relaxed) };
    let thread = me();
    if thread.record.is_open() {
        recording::host_path(thread, dirfd, path);
    }
    if flags & OPENS_AT_ONCE != 0 {
        let open = || checked(unsafe { syscall4(__NR_openat2, dirfd, path, how, 24) });
        return match open() {
            Err(Errno::EMFILE) if flags & u64::from(O_PATH) != 0 && room::make(thread) => open(),
            other => other,
        };
    }
    let mask = thread.mask() & !HELD;
    checked_or_restart(arch::wait(__NR_openat2, [dirfd, path, how, 24, 0, 0], mask))
}

/// Opens a rewritten copy of a file.
pub fn open_copy(thread: &Thread, name: &CStr, flags: u64) -> Result<u64> {
    let how = how(thread, u64::from(O_LARGEFILE) | flags, 0)?;
    let (directory, name) = (u64::from(FD_COPIES), name.as_ptr() as u64);
    checked(unsafe { syscall4(__NR_openat2, directory, name, how, 24) })
}

/// A descriptor of the working directory.
pub fn open_cwd(thread: &Thread) -> Result<u64> {
    let how = how(thread, PATH_FLAGS | u64::from(O_DIRECTORY), 0)?;
    let here = c".".as_ptr() as u64;
    checked(unsafe { syscall4(__NR_openat2, AT_CWD as u64, here, how, 24) })
}

/// Whether an open makes a file, and opens none that is there.
const fn is_exclusive(flags: u64) -> bool {
    const BOTH: u64 = (O_CREAT | O_EXCL) as u64;
    flags & BOTH == BOTH
}

/// Whether an open follows a link at the end of its path.
const fn follows(flags: u64) -> bool {
    flags & NOFOLLOW == 0 && !is_exclusive(flags)
}

/// The same as the resolver takes it.
const fn last_of(flags: u64) -> Last {
    if follows(flags) {
        Last::Follow
    } else {
        Last::NoFollow
    }
}

/// Where the link leads that an `O_PATH` descriptor names, cut to the length of `to`. ENOENT: it is none.
fn read_link(fd: u64, to: &mut [u8]) -> Result<usize> {
    let empty = tables().empty.as_ptr() as u64;
    let (at, size) = (to.as_mut_ptr() as u64, to.len() as u64);
    checked(unsafe { syscall4(__NR_readlinkat, fd, empty, at, size) }).map(|length| length as usize)
}

fn from_error(error: Error) -> Errno {
    Errno::from_raw(error.0)
}

fn to_error(errno: Errno) -> Error {
    Error(errno.to_ret().unsigned_abs() as u16)
}

fn close(fd: u64) {
    unsafe { syscall1(__NR_close, fd) };
}

/// `/proc/self/exe` names the guest's program, not ours.
pub fn own_exe<'p>(thread: &Thread, path: &'p CStr) -> &'p CStr {
    if path.to_bytes() == b"/proc/self/exe"
        && !thread.process().is_clerk
        && root(thread).is_empty()
        && let Ok(exe) = CStr::from_bytes_until_nul(&thread.process().exe)
    {
        return exe;
    }
    path
}

/// Room for a resolved path, which most calls do without.
pub type Room = Option<ZonePath>;

/// The resolved path.
pub fn text_of(room: &Room) -> &[u8] {
    room.as_ref().map_or(b"", |path| path.as_bytes())
}

/// `/proc/self/fd/N`, by which libc links an `O_TMPFILE` and changes the mode of an `O_PATH`.
pub fn own_descriptor(thread: &Thread, path: &CStr) -> Option<u64> {
    // A clerk's are not whose call it is.
    if thread.process().is_clerk || !root(thread).is_empty() {
        return None;
    }
    let digits = path.to_bytes().strip_prefix(b"/proc/self/fd/")?;
    if digits.is_empty() {
        return None;
    }
    let mut fd = 0u64;
    for &digit in digits {
        fd = fd
            .checked_mul(10)?
            .checked_add(u64::from(digit.wrapping_sub(b'0')))
            .filter(|_| digit.is_ascii_digit())?;
    }
    (fd < u64::from(FD_BASE)).then_some(fd)
}
