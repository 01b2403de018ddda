//! Files: what they are, who may do what, and what multiplexed calls may do.

mod attributes;
mod change;
mod commands;
mod handles;
mod listing;
mod lists;
mod makers;
mod marks;
mod owners;
mod rights;
mod times;
mod watch;
mod xattr;
mod xattr_at;

pub use attributes::*;
pub use change::*;
pub use commands::*;
pub use handles::{name_to_handle, open_by_handle};
pub use listing::*;
pub use lists::default_list;
pub use makers::Making;
pub use marks::{APPEND_ONLY, IMMUTABLE, getattr, has_marks, marks_of, must_not_have, setattr};
pub use owners::{Gone, birth_time_of};
pub use rights::*;
pub use times::*;
pub use watch::*;
pub use xattr::{File, getxattr, listxattr, removexattr, setxattr};
pub use xattr_at::{getxattrat, listxattrat, removexattrat, setxattrat};

use crate::arch::syscall1;
use crate::memory::PathRoom;
use crate::path::{self, Named, Reach, Room};
use crate::thread::Thread;
use crate::{Errno, Result};
use linux_raw_sys::general::*;
use picozone_fsmap::LINKS_MAX;

pub const NOFOLLOW: u64 = AT_SYMLINK_NOFOLLOW as u64;
pub const EMPTY_PATH: u64 = AT_EMPTY_PATH as u64;
const S_IFMT: u32 = 0o170_000;

/// Runs `f` on an `O_PATH` descriptor of what a path call names, wherever that is.
fn with_descriptor<T>(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    flags: u64,
    f: impl Fn(&mut Thread, u64) -> Result<T>,
) -> Result<T> {
    let quick = None::<fn(&mut Thread, &Named) -> Option<Result<T>>>;
    let at_monitor = |_: &mut Thread, _: &mut Room| Ok(None);
    with_quick_or_descriptor(thread, dirfd, pathname, flags, quick, f, at_monitor)
}

/// The same, where `quick` may give the answer from a directory and a name in it, and `at_monitor` that
/// of a path of the monitor's, which is in the room.
fn with_quick_or_descriptor<T>(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    flags: u64,
    quick: Option<impl FnOnce(&mut Thread, &Named) -> Option<Result<T>>>,
    f: impl Fn(&mut Thread, u64) -> Result<T>,
    at_monitor: impl FnOnce(&mut Thread, &mut Room) -> Result<Option<T>>,
) -> Result<T> {
    let mut room = PathRoom::new();
    let guest = room.read(pathname)?;
    if guest.is_empty() {
        if flags & EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        if is_reserved(dirfd) {
            return Err(Errno::EBADF);
        }
        if dirfd as i32 != AT_FDCWD {
            return f(thread, dirfd);
        }
    }
    if let Some(quick) = quick
        && let Some(named) = path::named(thread, dirfd, guest)?
        && let Some(done) = quick(thread, &named)
        && named.is_same()
    {
        return done;
    }
    let is_nofollow = flags & NOFOLLOW != 0;
    // What a descriptor names, a link itself too, which can be followed no further.
    if !is_nofollow
        && let Some(own) = path::own_descriptor(thread, guest)
        && must_be_free(own).is_ok()
    {
        return f(thread, own);
    }
    let name = match guest {
        guest if guest.is_empty() => c".",
        guest if is_nofollow => guest,
        guest => path::own_exe(thread, guest),
    };
    let open =
        path::PATH_FLAGS | if is_nofollow { O_NOFOLLOW.into() } else { 0 } | flags & path::CHANGES;
    let mut zone = None;
    let fd = match path::open_or_monitor(thread, dirfd, name, open, &mut zone)? {
        Reach::Node(fd) => fd,
        Reach::Monitor => match at_monitor(thread, &mut zone)? {
            Some(done) => return Ok(done),
            None => path::open_served(thread, open, 0, &mut zone)?,
        },
    };
    let is_held = flags & path::CHANGES != 0
        && path::leads_to_read_only(thread, dirfd, pathname, is_nofollow);
    let mut result = if is_held {
        Err(Errno::EROFS)
    } else {
        f(thread, fd)
    };
    if matches!(result, Err(Errno::ENAMETOOLONG)) {
        result = path::beside(thread, dirfd, name, |thread| f(thread, fd));
    }
    unsafe { syscall1(__NR_close, fd) };
    result
}

/// Runs `quick` on a directory and a name in it, where that is enough, to ask the kernel once: it
/// gives nothing where it is not. Else runs `f` on an `O_PATH` descriptor of what a path call names,
/// or `at_monitor` on the path in the room. That one gives nothing if the path, which it has replaced,
/// leads elsewhere.
fn with_node<T>(
    thread: &mut Thread,
    dirfd: u64,
    pathname: u64,
    flags: u64,
    quick: impl FnOnce(&mut Thread, &Named) -> Option<Result<T>>,
    f: impl FnOnce(&mut Thread, u64) -> Result<T>,
    mut at_monitor: impl FnMut(&mut Thread, &mut Room) -> Result<Option<T>>,
) -> Result<T> {
    let mut room = PathRoom::new();
    let guest = match pathname {
        // None is as good as an empty one.
        0 if flags & EMPTY_PATH != 0 => c"",
        pathname => room.read(pathname)?,
    };
    if guest.is_empty() {
        if flags & EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        if is_reserved(dirfd) {
            return Err(Errno::EBADF);
        }
        if dirfd as i32 != AT_FDCWD {
            return f(thread, dirfd);
        }
    }
    if let Some(named) = path::named(thread, dirfd, guest)?
        && let Some(done) = quick(thread, &named)
        && named.is_same()
    {
        return done;
    }
    let name = if guest.is_empty() { c"." } else { guest };
    let mut zone = None;
    let is_nofollow = flags & NOFOLLOW != 0;
    let mut found = path::reach(thread, dirfd, name, is_nofollow, &mut zone)?;
    for _ in 0..LINKS_MAX {
        match found {
            Reach::Node(fd) => {
                let result = f(thread, fd);
                unsafe { syscall1(__NR_close, fd) };
                return result;
            }
            Reach::Monitor => {
                if let Some(done) = at_monitor(thread, &mut zone)? {
                    return Ok(done);
                }
                found = path::reach_again(thread, is_nofollow, &mut zone)?;
            }
        }
    }
    Err(Errno::ELOOP)
}

/// EINVAL for flags that the call does not know.
fn must_know(flags: u64, known: u32) -> Result<()> {
    if flags as u32 & !known == 0 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}
