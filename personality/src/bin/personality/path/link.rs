//! Absolute links at the end of a path: the kernel does not follow them beneath a mount's descriptor,
//! but the way up to them it has walked, so that nothing before them need be looked at again.
//!
//! Distributions have many, into `/etc` and back (`/etc/alternatives`).

use super::layer::has_layers;
use super::reach::open_found;
use super::root::root;
use super::search::goes_anywhere;
use super::{NOFOLLOW, PATH_FLAGS, close, follows, how, mount_rows, mounts, read_link};
use crate::memory::PathRoom;
use crate::thread::Thread;
use crate::{Errno, Result};
use core::ffi::CStr;
use picozone_personality::layout::PLACEHOLDER;

/// How many links are followed one after the other; the walk follows more.
const LINKS: usize = 4;

/// Opens what a path's last name leads to, if that is an absolute link and its target needs no walk.
/// What is wrong with such a path is for the walk to say.
#[cold]
#[inline(never)]
pub(super) fn open_linked(
    thread: &Thread,
    path: &CStr,
    flags: u64,
    mode: u64,
) -> Option<Result<u64>> {
    let is_fit =
        follows(flags) && !has_layers() && goes_anywhere(thread) && root(thread).is_empty();
    if !is_fit {
        return None;
    }
    let to_link = how(thread, PATH_FLAGS | NOFOLLOW, 0).ok()?;
    let to_end = how(thread, flags, mode).ok()?;
    let mut room = PathRoom::new();
    let mut at = path;
    for _ in 0..LINKS {
        let link = open_fit(at, to_link)?.ok()?;
        let read = target(link, &mut room);
        close(link);
        at = read?;
        match open_fit(at, to_end)? {
            Err(Errno::EXDEV) => {}
            Err(Errno::EAGAIN) => return None,
            done => return Some(done),
        }
    }
    None
}

/// One confined open of a file's absolute path; `None` if that is none, or needs more.
fn open_fit(path: &CStr, how: u64) -> Option<Result<u64>> {
    let text = path.to_bytes();
    if text.first() != Some(&b'/') || text.last() == Some(&b'/') {
        return None;
    }
    let (mount, rest) = mounts().find(text);
    let row = mount_rows().get(mount)?;
    let is_fit = !row.is_monitor() && !row.is_added() && !rest.is_empty();
    is_fit.then(|| open_found(path, mount, rest, how))
}

/// Where a link leads, unless a mount stands at it.
fn target(link: u64, room: &mut PathRoom) -> Option<&CStr> {
    let bytes = room.all();
    let length = read_link(link, bytes).ok()?;
    *bytes.get_mut(length)? = 0;
    let text = CStr::from_bytes_until_nul(bytes).ok()?;
    (text.to_bytes() != PLACEHOLDER.as_bytes()).then_some(text)
}
