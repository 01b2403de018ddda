//! Ways through directories whose paths are longer than any path may be.
//!
//! The resolver of fsmap walks zone paths. Where there is none, a way goes from descriptor to descriptor,
//! one name at a time, and up by a request to the monitor ([`Request::Above`]). What lies where there are
//! paths again, such as a mount point, is left to the resolver.

use super::reach::Opened;
use super::search::{goes_anywhere, search_here};
use super::walk::{is_placeholder, open_named, walk};
use super::{
    AT_CWD, NOFOLLOW, PATH_FLAGS, Room, close, from_error, how, last_of, openat2_raw, read_link,
};
use crate::memory::PathRoom;
use crate::thread::Thread;
use crate::{Errno, Result, file};
use core::ffi::CStr;
use linux_raw_sys::general::*;
use picozone_fsmap::{LINKS_MAX, Last, Left, PathBuf, Sort};
use picozone_personality::mailbox::Request;

const DIRECTORY: u64 = PATH_FLAGS | O_DIRECTORY as u64;

/// A directory on the way, or what else a name on it turned out to be.
pub(super) struct Place {
    fd: u64,
    is_ours: bool,
}

impl Place {
    fn ours(fd: u64) -> Place {
        Place { fd, is_ours: true }
    }

    pub(super) fn fd(&self) -> u64 {
        self.fd
    }

    fn guests(fd: u64) -> Place {
        Place { fd, is_ours: false }
    }

    /// The descriptor, which the caller closes, if it is not the guest's own.
    pub(super) fn into_fd(mut self) -> (u64, bool) {
        (self.fd, core::mem::replace(&mut self.is_ours, false))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_ours {
            close(self.fd);
        }
    }
}

/// What a way is held by, of what [`picozone_fsmap::Bounds`] knows.
#[derive(Clone, Copy, Default)]
pub(super) struct Held {
    /// EXDEV for what leads above where it begins (`RESOLVE_BENEATH`).
    pub(super) is_beneath: bool,
    /// Where it begins is the root (`RESOLVE_IN_ROOT`).
    pub(super) is_in_root: bool,
    /// ELOOP for any link that would be followed (`RESOLVE_NO_SYMLINKS`).
    pub(super) has_no_links: bool,
}

/// Where a way leads.
pub(super) struct Way {
    pub(super) at: Place,
    rest: PathRoom,
    /// The resolver goes on with the rest, where there are paths.
    goes_on: bool,
    must_be_dir: bool,
}

impl Way {
    /// To a name in a directory, which need not be there; `.` for the directory itself.
    fn to_name(at: Place, name: &[u8], must_be_dir: bool) -> Result<Way> {
        let mut rest = PathRoom::new();
        rest.set(name)?;
        Ok(Way {
            at,
            rest,
            goes_on: false,
            must_be_dir,
        })
    }

    fn on(at: Place, front: &[u8], rest: &[u8]) -> Result<Way> {
        let mut room = PathRoom::new();
        room.set_two(front, rest)?;
        Ok(Way {
            at,
            rest: room,
            goes_on: true,
            must_be_dir: false,
        })
    }

    /// Whether what it leads to is to be a directory.
    pub(super) fn must_be_dir(&self) -> bool {
        self.must_be_dir
    }

    /// The last name, if the way ends in one.
    pub(super) fn name(&mut self) -> Option<&CStr> {
        if self.goes_on {
            return None;
        }
        self.rest.held().ok()
    }
}

/// Whether a way that the resolver could not go for this reason may be gone from descriptor to descriptor.
pub(super) fn is_for(errno: Errno, path: &CStr) -> bool {
    errno == Errno::ENAMETOOLONG && path.to_bytes().first() != Some(&b'/')
}

/// Goes a relative way up to its last name, or over it if that is a link to be followed.
///
/// # Errors
/// As of path resolution.
#[cold]
#[inline(never)]
pub(super) fn descend(thread: &Thread, dirfd: u64, path: &CStr, last: Last) -> Result<Way> {
    descend_within(thread, Held::default(), dirfd, path, last)
}

/// The same, held by bounds.
///
/// # Errors
/// ENAMETOOLONG too, where bounds hold and the resolver would have to go on.
pub(super) fn descend_within(
    thread: &Thread,
    held: Held,
    dirfd: u64,
    path: &CStr,
    last: Last,
) -> Result<Way> {
    let mut left = Left::new(path.to_bytes()).map_err(from_error)?;
    let mut at = Place::guests(dirfd);
    let is_held = held.is_beneath || held.is_in_root;
    // How many directories the way is below where it began.
    let mut depth = 0usize;
    let mut links = 0;
    let is_absolute = path.to_bytes().first() == Some(&b'/');
    if is_absolute && held.is_beneath {
        return Err(Errno::EXDEV);
    }
    while let Some(name) = left.take() {
        if !goes_anywhere(thread) {
            search_here(thread, at.fd)?;
        }
        match name.sort {
            Sort::Dot => continue,
            Sort::DotDot if is_held && depth == 0 => {
                if held.is_beneath {
                    return Err(Errno::EXDEV);
                }
                continue;
            }
            Sort::DotDot => {
                at = above(thread, &at)?;
                depth = depth.saturating_sub(1);
                continue;
            }
            Sort::TooLong => return Err(Errno::ENAMETOOLONG),
            Sort::Plain => {}
        }
        let is_end = name.is_last && !name.has_slash;
        if is_end && last == Last::NoFollow {
            return Way::to_name(at, left.text(&name), false);
        }
        let node = match look(thread, &at, left.text(&name)) {
            Err(Errno::ENOENT) if name.is_last => {
                return Way::to_name(at, left.text(&name), !is_end);
            }
            other => other?,
        };
        match file::kind_of(node.fd) {
            Some(S_IFDIR) if !name.is_last => {
                at = node;
                depth += 1;
            }
            Some(S_IFLNK) if is_placeholder(node.fd) => {
                if is_held {
                    return Err(Errno::ENAMETOOLONG);
                }
                return Way::on(at, left.text(&name), left.rest());
            }
            Some(S_IFLNK) => {
                links += 1;
                if links > LINKS_MAX || held.has_no_links {
                    return Err(Errno::ELOOP);
                }
                let length = read_link(node.fd, left.target_room())?;
                if left.put_target(length).map_err(from_error)? {
                    if held.is_beneath {
                        return Err(Errno::EXDEV);
                    }
                    if held.is_in_root {
                        (at, depth) = (Place::guests(dirfd), 0);
                        continue;
                    }
                    return Way::on(Place::guests(AT_CWD as u64), b"", left.rest());
                }
            }
            Some(S_IFDIR) => return Way::to_name(at, left.text(&name), !is_end),
            _ if is_end => return Way::to_name(at, left.text(&name), false),
            _ => return Err(Errno::ENOTDIR),
        }
    }
    Way::to_name(at, b".", true)
}

/// What stands at a name, be it a link.
fn look(thread: &Thread, at: &Place, name: &[u8]) -> Result<Place> {
    let mut room = PathRoom::new();
    let name = room.set(name)?;
    let how = how(thread, PATH_FLAGS | NOFOLLOW, 0)?;
    openat2_raw(at.fd, name.as_ptr() as u64, how).map(Place::ours)
}

/// The directory above. Where there is a path the resolver finds it, which knows of mounts and roots.
fn above(thread: &Thread, at: &Place) -> Result<Place> {
    match open_named(thread, at.fd, c"..", (DIRECTORY, 0), &mut None) {
        Ok(Opened::Descriptor(fd)) => return Ok(Place::ours(fd)),
        Err(Errno::ENAMETOOLONG) => {}
        Ok(Opened::Monitor) => return Err(Errno::ENAMETOOLONG),
        Err(errno) => return Err(errno),
    }
    let listed = thread.ask(Request::Above, &[at.fd]).map(Place::ours);
    let listed = listed.map_err(|errno| match errno {
        // It has a path by now.
        Errno::EXDEV => Errno::ENOENT,
        errno => errno,
    })?;
    // What the monitor gives may be read, too.
    let here = c".".as_ptr() as u64;
    openat2_raw(listed.fd, here, how(thread, DIRECTORY, 0)?).map(Place::ours)
}

/// Opens what such a way leads to.
#[cold]
#[inline(never)]
pub(super) fn open_deep(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    (flags, mode): (u64, u64),
    zone: &mut Room,
) -> Result<Opened> {
    let mut way = descend(thread, dirfd, path, last_of(flags))?;
    let at = way.at.fd;
    let rest = way.rest.held()?;
    if way.goes_on {
        return open_named(thread, at, rest, (flags, mode), zone);
    }
    let directory = if way.must_be_dir && flags & u64::from(O_CREAT) == 0 {
        u64::from(O_DIRECTORY)
    } else {
        0
    };
    let how = how(thread, flags | directory, mode)?;
    match openat2_raw(at, rest.as_ptr() as u64, how) {
        Err(Errno::EXDEV) => {}
        Ok(fd) if flags & NOFOLLOW != 0 && is_placeholder(fd) => close(fd),
        other => return other.map(Opened::Descriptor),
    }
    open_named(thread, at, rest, (flags, mode), zone)
}

/// Whether the directories that a way leads through, and the one that it ends in, may be searched.
#[cold]
#[inline(never)]
pub(super) fn search_deep(thread: &Thread, dirfd: u64, path: &CStr) -> Result<()> {
    let mut way = descend(thread, dirfd, path, Last::Follow)?;
    if !way.goes_on {
        return Ok(());
    }
    let (at, mut found) = (way.at.fd, PathBuf::new());
    walk(thread, at, way.rest.held()?, Last::Follow, &mut found).map(drop)
}
