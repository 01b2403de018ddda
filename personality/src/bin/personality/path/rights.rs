//! What the users of the zone may do. The zone itself does not depend on it.

use super::names::{Parent, must_be_directory};
use super::reach::{Opened, open_confined};
use super::walk::zone_path_of;
use super::{AT_CWD, NOFOLLOW, PATH_FLAGS, close};
use crate::file::{APPEND_ONLY, IMMUTABLE, Power};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, file};
use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_fsmap::PathBuf;

const STICKY: u32 = 0o1000;

/// Whether the thread may have a file open in this way, by the zone's own users.
pub(super) fn may_open(thread: &Thread, fd: u64, flags: u64) -> Result<()> {
    if flags & u64::from(O_PATH) != 0 {
        return Ok(());
    }
    let reads_or_writes = match flags & 3 {
        0 => 4,
        1 => 2,
        _ => 6,
    };
    let cuts = if flags & u64::from(O_TRUNC) != 0 {
        2
    } else {
        0
    };
    let st = file::stat_of(fd)?;
    if !file::permits(thread, &st, reads_or_writes | cuts) {
        return Err(Errno::EACCES);
    }
    if flags & u64::from(O_NOATIME) != 0
        && st.st_uid != thread.credentials.uid[3]
        && !file::has(thread, Power::Owner)
    {
        return Err(Errno::EPERM);
    }
    if (reads_or_writes | cuts) & 2 != 0 {
        file::clear_set_ids(thread, fd, &st, cuts != 0);
    }
    Ok(())
}

/// Whether the thread may change entries of a directory, by the zone's own users.
pub(super) fn may_change(thread: &Thread, directory: u64) -> Result<()> {
    file::must_not_have(directory, IMMUTABLE)?;
    if file::has(thread, Power::Override) {
        return Ok(());
    }
    if file::permits(thread, &stat_directory(thread, directory)?, 3) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// As [`may_change`], for an entry that is to be made.
pub(super) fn may_make(thread: &Thread, parent: &Parent) -> Result<()> {
    // That something is there is said before that nothing may be changed.
    may_change(thread, parent.fd).map_err(|errno| match is_there(thread, parent) {
        true => Errno::EEXIST,
        false => errno,
    })
}

/// Whether there is an entry of this name, as far as who may search the directory finds one.
#[cold]
#[inline(never)]
pub(super) fn is_there(thread: &Thread, parent: &Parent) -> bool {
    match bare_entry(thread, parent) {
        Ok(found) => found.is_some(),
        Err(_) => stands_there(thread, parent),
    }
}

/// A name that ends in a slash is made by mkdir(2) only (`filename_create`).
#[inline]
pub(super) fn may_be_named(thread: &Thread, parent: &Parent) -> Result<()> {
    if !parent.ends_in_slash() || parent.is_dots() {
        return Ok(());
    }
    Err(match is_there(thread, parent) {
        true => Errno::EEXIST,
        false => must_be_directory(parent.fd).err().unwrap_or(Errno::ENOENT),
    })
}

/// And removed by rmdir(2) only (`do_unlinkat`).
#[inline]
pub(super) fn may_be_unlinked(thread: &Thread, parent: &Parent) -> Result<()> {
    if !parent.ends_in_slash() || parent.is_dots() {
        return Ok(());
    }
    match bare_entry(thread, parent) {
        Ok(None) => Err(Errno::ENOENT),
        Ok(Some(st)) if is_directory(&st) => Err(Errno::EISDIR),
        Ok(Some(_)) => Err(Errno::ENOTDIR),
        // The call itself says what it is.
        Err(_) => Ok(()),
    }
}

/// Whether who may search the directory finds something by the kernel, such as the place of a device.
#[cold]
fn stands_there(thread: &Thread, parent: &Parent) -> bool {
    let directory = stat_directory(thread, parent.fd);
    if !directory.is_ok_and(|st| file::permits(thread, &st, 1)) {
        return false;
    }
    parent.look(thread).map(close).is_ok()
}

/// As [`may_change`], for an entry that is to go: from a sticky directory only its owner and the
/// directory's take it.
pub(super) fn may_remove(thread: &Thread, parent: &Parent) -> Result<()> {
    let goes_by_all = goes_by_all(thread);
    if file::has_marks() {
        if !goes_by_all && !parent.is_dots() {
            may_change_entry(thread, parent)?;
        }
        must_not_be_held(thread, parent)?;
    }
    if goes_by_all {
        return Ok(());
    }
    may_remove_as_user(thread, parent)
}

/// As [`may_change`], but that an entry is missing is said first.
#[cold]
fn may_change_entry(thread: &Thread, parent: &Parent) -> Result<()> {
    may_change(thread, parent.fd).map_err(|errno| match bare_entry(thread, parent) {
        Ok(None) => Errno::ENOENT,
        _ => errno,
    })
}

#[cold]
fn may_remove_as_user(thread: &Thread, parent: &Parent) -> Result<()> {
    if parent.is_dots() {
        return Ok(());
    }
    let uid = thread.credentials.uid[3];
    may_change_entry(thread, parent)?;
    let st = stat_directory(thread, parent.fd)?;
    let is_guarded = st.st_mode & STICKY != 0 && st.st_uid != uid;
    if !is_guarded || file::has(thread, Power::Owner) {
        return Ok(());
    }
    // What is not there, or is no zone's file, the call itself judges.
    match bare_entry(thread, parent) {
        Ok(Some(st)) if st.st_uid != uid => Err(Errno::EPERM),
        _ => Ok(()),
    }
}

/// Whether the thread may take this entry away, or another's place (`may_delete` in the kernel's
/// fs/namei.c).
fn may_take(thread: &Thread, parent: &Parent, victim: &stat) -> Result<()> {
    may_change(thread, parent.fd)?;
    let (uid, directory) = (
        thread.credentials.uid[3],
        stat_directory(thread, parent.fd)?,
    );
    let is_guarded =
        directory.st_mode & STICKY != 0 && ![directory.st_uid, victim.st_uid].contains(&uid);
    if is_guarded && !file::has(thread, Power::Owner) {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}

/// Whether the thread may move an entry (`vfs_rename`).
pub(super) fn may_rename(thread: &Thread, from: &Parent, to: &Parent, flags: u64) -> Result<()> {
    if file::has_marks() {
        if !is_there(thread, from) {
            // What is missing, the call itself says.
            return Ok(());
        }
        must_not_be_held(thread, from)?;
        must_not_be_held(thread, to)?;
        file::must_not_have(to.fd, IMMUTABLE)?;
    }
    if goes_by_all(thread) {
        return Ok(());
    }
    may_rename_as_user(thread, from, to, flags)
}

#[cold]
fn may_rename_as_user(thread: &Thread, from: &Parent, to: &Parent, flags: u64) -> Result<()> {
    if from.is_dots() || to.is_dots() {
        return Ok(());
    }
    let source = bare_entry(thread, from)?.ok_or(Errno::ENOENT)?;
    let target = bare_entry(thread, to)?;
    let exchanges = flags & u64::from(RENAME_EXCHANGE) != 0;
    // What the kernel says before it judges rights.
    match &target {
        Some(_) if flags & u64::from(RENAME_NOREPLACE) != 0 => return Err(Errno::EEXIST),
        None if exchanges => return Err(Errno::ENOENT),
        Some(target) if exchanges && to.ends_in_slash() && !is_directory(target) => {
            return Err(Errno::ENOTDIR);
        }
        _ => {}
    }
    let has_slash = from.ends_in_slash() || !exchanges && to.ends_in_slash();
    if has_slash && !is_directory(&source) {
        return Err(Errno::ENOTDIR);
    }
    if target
        .as_ref()
        .is_some_and(|target| is_same(target, &source))
    {
        return Ok(());
    }
    may_move(thread, (from, &source), (to, target.as_ref()), exchanges).map_err(|errno| {
        if is_directory(&source) && lies_in(thread, to, from) {
            Errno::EINVAL
        } else if target.as_ref().is_some_and(is_directory) && lies_in(thread, from, to) {
            if exchanges {
                Errno::EINVAL
            } else {
                Errno::ENOTEMPTY
            }
        } else {
            errno
        }
    })
}

/// Whether the rights of two directories allow to move an entry of one to a name in the other.
fn may_move(
    thread: &Thread,
    (from, source): (&Parent, &stat),
    (to, target): (&Parent, Option<&stat>),
    exchanges: bool,
) -> Result<()> {
    may_take(thread, from, source)?;
    match target {
        Some(target) => may_take(thread, to, target)?,
        None => may_change(thread, to.fd)?,
    }
    if target.is_some_and(|target| !exchanges && is_directory(target) != is_directory(source)) {
        // The call itself says so.
        return Ok(());
    }
    // A directory that gets another parent is changed: its `..` is.
    let is_refused = |st: &stat| is_directory(st) && !file::permits(thread, st, 2);
    if is_refused(source) || exchanges && target.is_some_and(is_refused) {
        let parents = [
            stat_directory(thread, from.fd)?,
            stat_directory(thread, to.fd)?,
        ];
        if !is_same(&parents[0], &parents[1]) {
            return Err(Errno::EACCES);
        }
    }
    Ok(())
}

/// Whether the directory of one entry is another entry, or lies beneath that.
fn lies_in(thread: &Thread, inner: &Parent, outer: &Parent) -> bool {
    let (mut inside, mut top) = (PathBuf::new(), PathBuf::new());
    let is_known = zone_path_of(thread, inner.fd, &mut inside).is_ok()
        && zone_path_of(thread, outer.fd, &mut top).is_ok()
        && top.push(outer.bare()).is_ok();
    let rest = inside.as_bytes().strip_prefix(top.as_bytes());
    is_known && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

fn is_directory(st: &stat) -> bool {
    st.st_mode & S_IFMT == S_IFDIR
}

/// EPERM for an entry that stays, since it or its directory is marked.
#[cold]
fn must_not_be_held(thread: &Thread, parent: &Parent) -> Result<()> {
    let of_entry = |fd| Ok(file::marks_of(fd));
    match with_entry(thread, parent, of_entry) {
        Ok(Some(marks)) if (marks | file::marks_of(parent.fd)) & (IMMUTABLE | APPEND_ONLY) != 0 => {
            Err(Errno::EPERM)
        }
        // What is not there, the call itself says.
        _ => Ok(()),
    }
}

fn is_same(one: &stat, other: &stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Whether the thread may give a file a further name. Where links are protected, only its owner may,
/// unless it is harmless (`may_linkat`).
pub(super) fn may_link(
    thread: &Thread,
    from: impl FnOnce() -> Result<Option<stat>>,
    to: &Parent,
) -> Result<()> {
    if goes_by_all(thread) {
        return may_make(thread, to);
    }
    let from = from()?.ok_or(Errno::ENOENT)?;
    let is_free = tables().protected.hardlinks.load(Relaxed) == 0
        || from.st_uid == thread.credentials.uid[3]
        || file::has(thread, Power::Owner)
        || is_harmless(thread, &from);
    if !is_free {
        return Err(instead_of_link(thread, to));
    }
    may_make(thread, to)
}

/// What is said to who must not make a link: what is wrong with its place comes first.
#[cold]
pub(super) fn instead_of_link(thread: &Thread, to: &Parent) -> Errno {
    match entry(thread, to) {
        Ok(Some(_)) | Err(Errno::ENOTDIR) => Errno::EEXIST,
        Ok(None) if to.ends_in_slash() => Errno::ENOENT,
        Err(Errno::EACCES) => Errno::EACCES,
        _ => Errno::EPERM,
    }
}

/// The same by its name.
pub(super) fn may_link_entry(thread: &Thread, from: &Parent, to: &Parent) -> Result<()> {
    if file::has_marks()
        && let Ok(Some(marks)) = with_entry(thread, from, |fd| Ok(file::marks_of(fd)))
        && marks & (IMMUTABLE | APPEND_ONLY) != 0
    {
        return Err(Errno::EPERM);
    }
    may_link(thread, || entry(thread, from), to)
}

fn is_harmless(thread: &Thread, st: &stat) -> bool {
    st.st_mode & (S_IFMT | 0o4000) == S_IFREG
        && st.st_mode & 0o2010 != 0o2010
        && file::permits(thread, st, 6)
}

/// Whether nothing in a directory is kept from the thread.
fn goes_by_all(thread: &Thread) -> bool {
    file::has(thread, Power::Override) && file::has(thread, Power::Owner)
}

/// Attributes of the entry itself, if it is there and the directory may be searched.
fn entry(thread: &Thread, parent: &Parent) -> Result<Option<stat>> {
    with_entry(thread, parent, file::stat_of)
}

/// The same, whatever slashes are behind its name.
fn bare_entry(thread: &Thread, parent: &Parent) -> Result<Option<stat>> {
    if !parent.ends_in_slash() {
        return entry(thread, parent);
    }
    let mut name = parent.name;
    let end = parent.bare().len();
    *name.get_mut(end).ok_or(Errno::ENAMETOOLONG)? = 0;
    with_name(thread, parent.fd, &name, file::stat_of)
}

/// Runs `f` on a descriptor of it.
fn with_entry<T>(
    thread: &Thread,
    parent: &Parent,
    f: impl FnOnce(u64) -> Result<T>,
) -> Result<Option<T>> {
    with_name(thread, parent.fd, &parent.name, f)
}

fn with_name<T>(
    thread: &Thread,
    directory: u64,
    name: &[u8],
    f: impl FnOnce(u64) -> Result<T>,
) -> Result<Option<T>> {
    let name = CStr::from_bytes_until_nul(name).map_err(|_| Errno::ENAMETOOLONG)?;
    let flags = PATH_FLAGS | NOFOLLOW;
    match open_confined(thread, directory, name, flags, 0, &mut None) {
        Ok(Opened::Descriptor(fd)) => {
            let found = f(fd);
            close(fd);
            found.map(Some)
        }
        Err(Errno::ENOENT) => Ok(None),
        Ok(Opened::Monitor) => Err(Errno::EACCES),
        Err(errno) => Err(errno),
    }
}

/// Attributes of a directory that may be the working directory.
pub(super) fn stat_directory(thread: &Thread, directory: u64) -> Result<stat> {
    if directory as i32 != AT_CWD {
        return file::stat_of(directory);
    }
    if let Some(st) = file::stat_of_cwd() {
        return Ok(st);
    }
    let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
    match open_confined(thread, directory, c".", flags, 0, &mut None)? {
        Opened::Descriptor(fd) => {
            let st = file::stat_of(fd);
            close(fd);
            st
        }
        Opened::Monitor => Err(Errno::EACCES),
    }
}
