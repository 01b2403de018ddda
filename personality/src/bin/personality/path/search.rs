//! Search permission on the way of a path, by the zone's own users.
//!
//! The kernel walks as the one user of the host that all guests are. So before it walks for one of the
//! zone's users, the directories on the way are judged here; the zone's root goes anywhere. What was
//! found is remembered by thread until something changes that it depends on (`Commons::rights`).

use super::deep;
use super::walk::walk;
use crate::arch::syscall4;
use crate::file;
use crate::identity::Credentials;
use crate::memory::PathRoom;
use crate::monitor::{commons, tables};
use crate::thread::{Thread, me};
use crate::{Errno, Result};
use core::ffi::CStr;
use core::sync::atomic::Ordering::{AcqRel, Acquire};
use linux_raw_sys::general::*;
use picozone_fsmap::{Last, PathBuf};

/// How many directories a thread remembers.
const REMEMBERED: usize = 64;

/// Directories found to be searchable, as hashes of where they are and for whom.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Searched {
    rights: u32,
    keys: [u64; REMEMBERED],
}

/// Something that a verdict is about.
#[derive(Clone, Copy)]
pub(super) struct Key(u64);

impl Key {
    /// For the thread's users: `place` is what `text` is relative to.
    pub(super) fn new(credentials: &Credentials, place: [u64; 2], text: &[u8]) -> Key {
        let mut key = Key(0xcbf2_9ce4_8422_2325);
        key.add(place[0]);
        key.add(place[1]);
        key.add(u64::from(credentials.uid[3]) << 32 | u64::from(credentials.gid[3]));
        key.add(credentials.groups.hash());
        let (words, rest) = text.as_chunks();
        for word in words {
            key.add(u64::from_ne_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, byte) in last.iter_mut().zip(rest) {
            *to = *byte;
        }
        key.add(u64::from_ne_bytes(last));
        key.add(text.len() as u64);
        key.0 |= 1;
        key
    }

    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    fn slot(self) -> usize {
        (self.0 >> 40) as usize % REMEMBERED
    }

    pub(super) fn is_known(self) -> bool {
        let searched = &me().searched;
        searched.rights == commons().rights.load(Acquire) && searched.keys[self.slot()] == self.0
    }

    /// Remembers a verdict that was begun to be found when the rights were those.
    pub(super) fn remember(self, rights: u32) {
        let searched = &mut me().searched;
        if searched.rights != rights {
            searched.rights = rights;
            searched.keys = [0; REMEMBERED];
        }
        searched.keys[self.slot()] = self.0;
    }
}

/// The rights now, to be taken before they are looked at.
pub(super) fn rights() -> u32 {
    commons().rights.load(Acquire)
}

/// Verdicts found before the change just made need not be right any more.
pub fn note_rights() {
    commons().rights.fetch_add(1, AcqRel);
}

/// Whether the thread may go anywhere.
#[inline]
pub(super) fn goes_anywhere(thread: &Thread) -> bool {
    file::searches_all(thread)
}

/// Whether the thread may search every directory that a path leads through, links at its end included.
#[inline]
pub fn may_walk(thread: &Thread, dirfd: u64, path: &CStr) -> Result<()> {
    if goes_anywhere(thread) {
        Ok(())
    } else {
        walk_as_user(thread, dirfd, path)
    }
}

#[cold]
#[inline(never)]
fn walk_as_user(thread: &Thread, dirfd: u64, path: &CStr) -> Result<()> {
    search_as_user(thread, dirfd, path)?;
    let found = match walk(thread, dirfd, path, Last::Follow, &mut PathBuf::new()) {
        Err(errno) if deep::is_for(errno, path) => deep::search_deep(thread, dirfd, path),
        found => found.map(drop),
    };
    match found {
        Err(Errno::EACCES) => Err(Errno::EACCES),
        // The rest the call itself will find.
        _ => Ok(()),
    }
}

/// Whether the thread may search every directory on the way to the last name of a path.
#[inline]
pub fn may_search(thread: &Thread, dirfd: u64, path: &CStr) -> Result<()> {
    if goes_anywhere(thread) {
        Ok(())
    } else {
        search_as_user(thread, dirfd, path)
    }
}

#[cold]
#[inline(never)]
fn search_as_user(thread: &Thread, dirfd: u64, path: &CStr) -> Result<()> {
    let text = path.to_bytes();
    let end = text.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1);
    let named = text.get(..end).unwrap_or(b"");
    let front = named.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
    let front = text.get(..front).unwrap_or(b"");
    let mut place = [0; 2];
    if text.first() != Some(&b'/') {
        if named.is_empty() {
            return Ok(());
        }
        let Some(found) = search_here(thread, dirfd)? else {
            return Ok(());
        };
        place = found;
    }
    if front.is_empty() {
        return Ok(());
    }
    let key = Key::new(&thread.credentials, place, front);
    if key.is_known() {
        return Ok(());
    }
    let before = rights();
    let mut room = PathRoom::new();
    // The last directory is judged when something is looked up in it.
    let way = room.set_two(front, b".")?;
    match walk(thread, dirfd, way, Last::Follow, &mut PathBuf::new()) {
        Err(errno) if deep::is_for(errno, way) => deep::search_deep(thread, dirfd, way)?,
        found => drop(found?),
    }
    key.remember(before);
    Ok(())
}

/// Whether the thread may look up a name in a directory; which one it is. Nothing of a descriptor that is not
/// open, which the call itself refuses.
pub(super) fn search_here(thread: &Thread, dirfd: u64) -> Result<Option<[u64; 2]>> {
    let mut st = unsafe { core::mem::zeroed::<stat>() };
    let empty = tables().empty.as_ptr() as u64;
    let flags = u64::from(AT_EMPTY_PATH);
    let got = unsafe { syscall4(__NR_newfstatat, dirfd, empty, &raw mut st as u64, flags) };
    if got < 0 {
        return Ok(None);
    }
    if st.st_mode & 0o170_000 != 0o040_000 {
        return Err(Errno::ENOTDIR);
    }
    file::may_search_directory(thread, dirfd, &mut st)?;
    Ok(Some([st.st_dev, st.st_ino]))
}
