//! Reaching what a path names: by one confined open, by a walk, or by the monitor.

use super::layer::{self, LOOKS, has_layers};
use super::link::open_linked;
use super::parents::directory_to_open;
use super::protected::may_follow;
use super::root::{InZone, has_dotdot_at_root, open_in_root, open_through, root};
use super::search::{goes_anywhere, may_search};
use super::walk::{is_placeholder, is_served, open_walked, row_at};
use super::{
    AT_CWD, NOFOLLOW, OPENS_AT_ONCE, PATH_FLAGS, Room, close, follows, from_error, how,
    how_without_links, mount_rows, mounts, openat2_raw, own_exe, text_of,
};
use crate::arch::syscall3;
use crate::dispatch::checked;
use crate::file::{Power, has};
use crate::memory::ZonePath;
use crate::thread::Thread;
use crate::{Errno, Result, file};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use linux_raw_sys::ioctl::TIOCSCTTY;
use picozone_fsmap::{LINKS_MAX, MountRow, PathBuf};
use picozone_personality::mailbox::{ELSEWHERE, Request};

/// Opens `rest` beneath a mount. Apart, so that the fast way has no buffer on its stack.
#[cold]
#[inline(never)]
pub(super) fn open_in_mount(mount: usize, rest: &[u8], how: u64) -> Result<u64> {
    let row = mount_rows().get(mount).ok_or(Errno::ENOENT)?;
    let mut path = PathBuf::new();
    mounts()
        .beneath(mount, rest, &mut path)
        .map_err(from_error)?;
    openat2_raw(row.fd as u64, path.as_c_str().as_ptr() as u64, how)
}

/// Opens what [`Mounts::find`] left of `path` beneath the mount. No copy where the kernel can be
/// given the guest's text itself: an alias mostly stands for a link by the same name.
pub(super) fn open_found(path: &CStr, mount: usize, rest: &[u8], how: u64) -> Result<u64> {
    let row = mount_rows().get(mount).ok_or(Errno::ENOENT)?;
    let text = path.to_bytes();
    let before = text.len() - rest.len();
    let sub = row.sub();
    if !rest.is_empty() {
        let front = text
            .get(..before)
            .and_then(|front| front.strip_suffix(b"/"));
        if sub.is_empty() {
            return openat2_raw(row.fd as u64, rest.as_ptr() as u64, how);
        }
        if front.is_some_and(|front| front.strip_suffix(sub).is_some_and(|more| more == b"/")) {
            let start = before - 1 - sub.len();
            let name = text.get(start..).unwrap_or(rest);
            return openat2_raw(row.fd as u64, name.as_ptr() as u64, how);
        }
    }
    open_in_mount(mount, rest, how)
}

/// Opens what an absolute path of the zone names in a directory at hand, which saves the way there. Nothing
/// where that is not at hand, or might be replaced by another thread while an open waits or changes
/// something; then nothing is open and nothing changed.
#[inline(never)]
fn open_at_hand(thread: &Thread, text: &[u8], flags: u64, how: u64) -> Option<Result<u64>> {
    const CHANGES: u64 = (O_CREAT | O_TRUNC) as u64;
    let is_alone = thread.process().users.load(Relaxed) == 1;
    let is_wanted = is_alone || flags & CHANGES == 0 && flags & OPENS_AT_ONCE != 0;
    // Who records the call is told the whole path on the host.
    if !is_wanted || thread.record.is_open() {
        return None;
    }
    let start = text.iter().rposition(|&byte| byte == b'/')? + 1;
    let (front, name) = text.split_at_checked(start)?;
    if matches!(name, b"" | b"." | b"..") {
        return None;
    }
    let at = directory_to_open(thread, front)?;
    let opened = openat2_raw(at.fd, name.as_ptr() as u64, how);
    if at.is_same() {
        return Some(opened);
    }
    if let Ok(fd) = opened {
        close(fd);
    }
    None
}

/// What the monitor says of a path in its mounts: an answer, or where a link of theirs leads.
pub enum Told {
    Answer(u64),
    Elsewhere,
}

/// Asks the monitor about the path in the room, which is replaced where it leads elsewhere.
pub fn ask_served(
    thread: &Thread,
    request: Request,
    zone: &mut Room,
    flags: u64,
    mode: u64,
) -> Result<Told> {
    let overrides = u64::from(has(thread, Power::Override));
    let args = [AT_CWD as u64, flags, mode, overrides];
    let value = thread.ask_about(request, text_of(zone), &args)?;
    if value & ELSEWHERE == 0 {
        return Ok(Told::Answer(value));
    }
    let length = (value & !ELSEWHERE) as usize;
    let text = thread.mailbox().b.get(..length).ok_or(Errno::EIO)?;
    let room = zone.get_or_insert_with(ZonePath::new);
    room.set(text).map_err(from_error)?;
    Ok(Told::Elsewhere)
}

/// Opens a path wherever it leads, into the monitor's mounts and out of them again.
pub fn open_anywhere(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
    mode: u64,
    zone: &mut Room,
) -> Result<u64> {
    match open_confined(thread, dirfd, path, flags, mode, zone)? {
        Opened::Descriptor(fd) => Ok(fd),
        Opened::Monitor => open_served(thread, flags, mode, zone),
    }
}

/// The same, but for what is the monitor's.
pub fn open_or_monitor(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
    zone: &mut Room,
) -> Result<Reach> {
    Ok(match open_confined(thread, dirfd, path, flags, 0, zone)? {
        Opened::Descriptor(fd) => Reach::Node(fd),
        Opened::Monitor => Reach::Monitor,
    })
}

/// Opens the monitor's path that is in the room.
#[cold]
#[inline(never)]
pub fn open_served(thread: &Thread, flags: u64, mode: u64, zone: &mut Room) -> Result<u64> {
    for _ in 0..LINKS_MAX {
        let told = match ask_served(thread, Request::Open, zone, flags, mode) {
            Err(Errno::ELOOP) if names_a_link(flags) => return open_link(thread, flags, zone),
            told => told?,
        };
        match told {
            Told::Answer(fd) => {
                // A clerk's client sees to that itself.
                if flags & u64::from(O_NOCTTY | O_PATH) == 0
                    && !thread.process().is_clerk
                    && text_of(zone).starts_with(b"/dev/pts/")
                {
                    // As the kernel does for a session leader without a terminal.
                    unsafe { syscall3(__NR_ioctl, fd, u64::from(TIOCSCTTY), 0) };
                }
                return only_named(thread, fd, flags);
            }
            Told::Elsewhere => {
                let mut path = PathBuf::new();
                path.set(text_of(zone)).map_err(from_error)?;
                let path = path.as_c_str();
                let _in_zone = InZone::enter(thread);
                match open_confined(thread, AT_CWD as u64, path, flags, mode, zone)? {
                    Opened::Descriptor(fd) => return Ok(fd),
                    Opened::Monitor => {}
                }
            }
        }
    }
    Err(Errno::ELOOP)
}

/// Whether flags of an open give a descriptor of a link that is at the end of the path.
pub(super) const fn names_a_link(flags: u64) -> bool {
    const BOTH: u64 = NOFOLLOW | O_PATH as u64;
    flags & BOTH == BOTH
}

/// What the monitor has opened, where it is only to be named (`O_PATH`): the monitor gives descriptors to be
/// read, from which a directory is opened once more. Files stay as they are.
#[cold]
#[inline(never)]
pub(super) fn only_named(thread: &Thread, fd: u64, flags: u64) -> Result<u64> {
    if flags & u64::from(O_PATH) == 0 {
        return Ok(fd);
    }
    let kept = u64::from(O_DIRECTORY | O_NOFOLLOW);
    let how = how(thread, PATH_FLAGS | flags & kept, 0)?;
    if let Ok(named) = openat2_raw(fd, c".".as_ptr() as u64, how) {
        let on_exec = flags & u64::from(O_CLOEXEC);
        unsafe { syscall3(__NR_dup3, named, fd, on_exec) };
        close(named);
    }
    Ok(fd)
}

/// An `O_PATH` descriptor of the link in the monitor's mounts that the path in the room names: of what
/// stands for it in its directory. The monitor cannot give one.
#[cold]
#[inline(never)]
pub(super) fn open_link(thread: &Thread, flags: u64, zone: &mut Room) -> Result<u64> {
    let mut path = PathBuf::new();
    path.set(text_of(zone)).map_err(from_error)?;
    let text = path.as_bytes();
    let at = text.iter().rposition(|&byte| byte == b'/');
    let name_at = at.ok_or(Errno::ENOENT)? + 1;
    let mut directory = ZonePath::new();
    directory
        .set(text.get(..name_at).unwrap_or(b"/"))
        .map_err(from_error)?;
    let as_directory = u64::from(O_PATH | O_DIRECTORY | O_CLOEXEC);
    let mut directory = Some(directory);
    let dirfd = match ask_served(thread, Request::Open, &mut directory, as_directory, 0)? {
        Told::Answer(fd) => fd,
        Told::Elsewhere => return Err(Errno::ELOOP),
    };
    let on_exec = flags & u64::from(O_CLOEXEC);
    let opened = how(thread, PATH_FLAGS | NOFOLLOW, 0).and_then(|how| {
        let name = path.as_c_str().to_bytes_with_nul().get(name_at..);
        openat2_raw(dirfd, name.unwrap_or(b"\0").as_ptr() as u64, how)
    });
    // The directory had the lowest number that was free, which is the link's.
    let moved = opened.and_then(|fd| {
        let moved = unsafe { syscall3(__NR_dup3, fd, dirfd, on_exec) };
        close(fd);
        checked(moved)
    });
    if moved.is_err() {
        close(dirfd);
    }
    moved
}

/// The result of an open.
pub(super) enum Opened {
    Descriptor(u64),
    /// The monitor's: the resolved zone path is where the caller has room for it.
    Monitor,
}

/// Opens a program's file for reading, to stay open over an exec; `None` where it is the monitor's.
///
/// # Errors
/// As of open(2).
pub fn open_program(thread: &Thread, path: &CStr) -> Result<Option<u64>> {
    let flags = u64::from(O_NONBLOCK | O_LARGEFILE);
    Ok(
        match open_confined(thread, AT_CWD as u64, path, flags, 0, &mut None)? {
            Opened::Descriptor(fd) => Some(fd),
            Opened::Monitor => None,
        },
    )
}

#[inline]
pub(super) fn open_confined(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
    mode: u64,
    zone: &mut Room,
) -> Result<Opened> {
    if follows(flags) {
        may_follow(thread, dirfd, path)?;
    }
    if !goes_anywhere(thread)
        && let Some(opened) = open_as_user(thread, dirfd, path, (flags, mode), zone)?
    {
        return Ok(opened);
    }
    open_unjudged(thread, dirfd, path, flags, mode, zone)
}

/// For one of the zone's users: judges the directories on the way, and those that a link at the end
/// leads through. Gives nothing where the way is free and ends in no link to follow.
#[cold]
#[inline(never)]
fn open_as_user(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    (flags, mode): (u64, u64),
    zone: &mut Room,
) -> Result<Option<Opened>> {
    may_search(thread, dirfd, path)?;
    if !follows(flags) {
        return Ok(None);
    }
    let ends_in_slash = path.to_bytes().last() == Some(&b'/');
    if !ends_in_slash {
        if let Some(opened) = open_linkless(thread, path, flags, mode) {
            return opened.map(|fd| Some(Opened::Descriptor(fd)));
        }
        let link = PATH_FLAGS | NOFOLLOW;
        match open_unjudged(thread, dirfd, path, link, 0, &mut None) {
            Ok(Opened::Descriptor(fd)) => {
                let is_link = file::kind_of(fd) == Some(S_IFLNK);
                close(fd);
                if !is_link {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
    }
    open_walked(thread, dirfd, path, (flags, mode), zone).map(Some)
}

/// Opens an absolute path on which there is no link, which the kernel finds out as it goes. Nothing where
/// there is one, or where the kernel does not have the last word: nothing is open then.
fn open_linkless(thread: &Thread, path: &CStr, flags: u64, mode: u64) -> Option<Result<u64>> {
    let text = path.to_bytes();
    if text.first() != Some(&b'/') || !root(thread).is_empty() {
        return None;
    }
    let (mount, rest) = mounts().find(text);
    let row = mount_rows().get(mount)?;
    if row.is_monitor() || row.is_added() {
        return None;
    }
    let how = how_without_links(thread, flags, mode).ok()?;
    let at_hand = open_at_hand(thread, text, flags, how);
    match at_hand.unwrap_or_else(|| open_found(path, mount, rest, how)) {
        Err(Errno::ELOOP | Errno::EXDEV | Errno::EAGAIN) => None,
        opened => Some(opened),
    }
}

/// Whether an absolute path names, without following a link at its end, what was never the zone's to change.
/// False where that is not known without a question.
pub fn is_foreign(thread: &Thread, path: &CStr) -> bool {
    row_at(path.to_bytes()).is_some_and(MountRow::is_foreign)
        && match open_linkless(thread, path, PATH_FLAGS | NOFOLLOW, 0) {
            Some(Ok(fd)) => {
                close(fd);
                true
            }
            _ => false,
        }
}

/// The same, where the way was judged, or all ways are free.
#[inline]
pub(super) fn open_unjudged(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    flags: u64,
    mode: u64,
    zone: &mut Room,
) -> Result<Opened> {
    let how = how(thread, flags, mode)?;
    let text = path.to_bytes();
    let first = if text.first() != Some(&b'/') {
        if has_dotdot_at_root(thread, text) {
            return open_walked(thread, dirfd, path, (flags, mode), zone);
        }
        openat2_raw(dirfd, path.as_ptr() as u64, how)
    } else if !root(thread).is_empty() {
        open_in_root(thread, path, how)
    } else if let Some(opened) = open_at_hand(thread, text, flags, how) {
        opened
    } else {
        let (mount, rest) = mounts().find(text);
        let row = mount_rows().get(mount).ok_or(Errno::ENOENT)?;
        if row.is_monitor() {
            Err(Errno::EXDEV)
        } else if row.is_added() {
            // What leads out of it at the top must not find what lies above it on the host.
            open_through(thread, (mount, b""), rest, how)
        } else {
            open_found(path, mount, rest, how)
        }
    };
    match first {
        Err(Errno::EXDEV | Errno::EAGAIN) => {}
        // A name that a directory of the monitor's does not list, or not yet.
        Err(Errno::ENOENT) if text.first() != Some(&b'/') && is_served(thread, dirfd) => {}
        // The directory itself, to be brought up to date.
        Ok(fd) if matches!(text, b"." | b"./") && is_served(thread, dirfd) => close(fd),
        // Not followed: perhaps it is a mount point's placeholder.
        Err(Errno::ELOOP | Errno::ENOTDIR) if flags & NOFOLLOW != 0 => {}
        Ok(fd)
            if flags & (NOFOLLOW | u64::from(O_PATH)) == NOFOLLOW | u64::from(O_PATH)
                && is_placeholder(fd) =>
        {
            close(fd)
        }
        other => return other.map(Opened::Descriptor),
    }
    if has_layers()
        && let Some(fd) = layer::open_at_once(thread, dirfd, path, flags)?
    {
        return Ok(Opened::Descriptor(fd));
    }
    if let Some(opened) = open_linked(thread, path, flags, mode) {
        return opened.map(Opened::Descriptor);
    }
    open_walked(thread, dirfd, path, (flags, mode), zone)
}

/// An `O_PATH` descriptor of what a path names, or the monitor's path.
pub enum Reach {
    Node(u64),
    /// The path is in the caller's room.
    Monitor,
}

/// Reaches a path for a call on its attributes.
pub fn reach(
    thread: &Thread,
    dirfd: u64,
    path: &CStr,
    is_nofollow: bool,
    zone: &mut Room,
) -> Result<Reach> {
    let flags = LOOKS | PATH_FLAGS | if is_nofollow { NOFOLLOW } else { 0 };
    let path = if is_nofollow {
        path
    } else {
        own_exe(thread, path)
    };
    open_or_monitor(thread, dirfd, path, flags, zone)
}

/// Reaches the path in the room, to which a link of the monitor's mounts leads.
#[cold]
#[inline(never)]
pub fn reach_again(thread: &Thread, is_nofollow: bool, zone: &mut Room) -> Result<Reach> {
    let mut path = PathBuf::new();
    path.set(text_of(zone)).map_err(from_error)?;
    let _in_zone = InZone::enter(thread);
    reach(thread, AT_CWD as u64, path.as_c_str(), is_nofollow, zone)
}
