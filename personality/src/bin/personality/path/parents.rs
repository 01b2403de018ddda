//! Directories at hand: descriptors of those in which a process often looks something up.
//!
//! They are known by the text of the path that led there, without a link on the way, and stay right
//! until a directory of the zone gets another name or none: `Commons::moves` counts that, before and
//! after each such change, and the monitor counts the host's (`src/monitor/names.rs`). Relative ones
//! are right until the working directory is another one.
//!
//! The descriptors are reserved ones that the process may replace: who does so at will confuses
//! itself only, since a guest may have these very directories anyway. Threads share them; a reader
//! looks at [`Parent::seq`] before and after the kernel has looked something up.

use super::reach::open_in_mount;
use super::root::root;
use super::walk::zone_path_of;
use super::{
    AT_CWD, PATH_FLAGS, close, from_error, how, how_without_links, mount_rows, mounts, openat2_raw,
};
use crate::arch::syscall3;
use crate::dispatch::checked;
use crate::memory::PathRoom;
use crate::monitor::{commons, tables};
use crate::thread::Thread;
use crate::{Errno, Result, room};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use linux_raw_sys::general::*;
use picozone_fsmap::{MountRow, PathBuf};
use picozone_personality::layout::{FD_PARENTS, PARENTS_MAX};
use picozone_personality::mailbox::Request;
use picozone_personality::names::{CROWDED_BATCH, place_hash};

const COUNT: usize = PARENTS_MAX as usize;
/// Of how many places a directory has one.
const WAYS: usize = 2;
/// Longest path of a directory at hand.
const TEXT_MAX: usize = 104;

/// What is known of a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum State {
    Unused,
    /// Something was looked up in it once.
    Noted,
    /// It is at hand.
    Open,
    /// It cannot be.
    Closed,
}

/// A directory.
#[repr(C)]
struct Parent {
    /// Odd while it is written.
    seq: AtomicU32,
    state: State,
    /// `Commons::moves` before it was looked up.
    moves: u32,
    /// The same of [`Parents::chdirs`].
    chdirs: u32,
    len: u32,
    text: [u8; TEXT_MAX],
}

/// Those of a process.
#[repr(C)]
pub struct Parents {
    /// Counts changes of the working directory.
    chdirs: AtomicU32,
    /// Whether processes share descriptors or working directories without sharing this.
    is_off: AtomicBool,
    /// How many of them a call of the only thread relies on: none is replaced meanwhile.
    lent: AtomicU32,
    /// Counts opens in directories that are not at hand.
    opens: AtomicU32,
    /// The mount that the working directory lies in, see [`mount_of_cwd`].
    cwd_mount: AtomicU64,
    known: [Parent; COUNT],
}

/// A directory that a path's last name is to be looked up in.
pub(super) struct At {
    pub(super) fd: u64,
    /// The place of a directory at hand, and its number then.
    seen: Option<(&'static AtomicU32, u32)>,
}

impl At {
    /// A descriptor that stays.
    pub(super) fn fixed(fd: u64) -> At {
        At { fd, seen: None }
    }

    /// Whether it was the same directory all the time.
    #[inline]
    pub(super) fn is_same(&self) -> bool {
        self.seen
            .is_none_or(|(seq, number)| seq.load(Acquire) == number)
    }
}

impl Parents {
    /// Nothing is known any more: descriptors may be others than they were.
    pub fn forget(&mut self) {
        for parent in &mut self.known {
            parent.seq = AtomicU32::new(0);
            parent.state = State::Unused;
            parent.len = 0;
        }
        self.cwd_mount = AtomicU64::new(0);
    }

    /// None is kept any more: descriptors or working directories are about to be shared by others than
    /// the process' threads, or not by all of them.
    pub fn turn_off(&mut self) {
        self.is_off.store(true, SeqCst);
        for parent in &mut self.known {
            // Whoever has begun to keep one ends that first.
            let seq = loop {
                let seq = parent.seq.load(Relaxed) & !1;
                let locked = parent.seq.compare_exchange(seq, seq + 1, SeqCst, Relaxed);
                if locked.is_ok() {
                    break seq;
                }
                core::hint::spin_loop();
            };
            (parent.state, parent.len) = (State::Unused, 0);
            parent.seq.store(seq + 2, Release);
        }
    }

    /// Which of the places from one on another directory gets: one whose own is not at hand, or the
    /// one that has had fewer.
    fn least(&self, first: usize, moves: u32) -> usize {
        let is_free = |parent: &Parent| parent.state != State::Open || parent.moves != moves;
        let ways = self.known.get(first..first + WAYS).unwrap_or(&[]);
        let found = ways.iter().position(is_free).or_else(|| {
            let places = ways.iter().enumerate();
            let least = places.min_by_key(|(_, parent)| parent.seq.load(Relaxed));
            least.map(|(way, _)| way)
        });
        first + found.unwrap_or(0)
    }

    /// What a directory is kept with: how many have moved, and changes of the working directory.
    #[inline]
    fn now(&self) -> [u32; 2] {
        [commons().moves.load(Acquire), self.chdirs.load(Acquire)]
    }

    /// Where a directory is known, and the number of that place.
    #[inline]
    fn place_of(
        &self,
        front: &[u8],
        first: usize,
        [moves, chdirs]: [u32; 2],
    ) -> Option<(usize, u32)> {
        (first..first + WAYS).find_map(|number| {
            let parent = &self.known[number];
            let seq = parent.seq.load(Acquire);
            let is_it = seq & 1 == 0
                && parent.len as usize == front.len()
                && parent.moves == moves
                && (front[0] == b'/' || parent.chdirs == chdirs)
                && is_same_text(&parent.text, front);
            is_it.then_some((number, seq))
        })
    }

    /// The directory at that place, whose number this was.
    fn at(&'static self, number: usize, seq: u32) -> At {
        At {
            fd: u64::from(FD_PARENTS) + number as u64,
            seen: self.known.get(number).map(|parent| (&parent.seq, seq)),
        }
    }

    /// The working directory is another one.
    pub fn note_chdir(&self) {
        self.chdirs.fetch_add(1, AcqRel);
    }
}

/// Counts a change by which a directory may lose a name: to be called before it and after.
pub fn note_moves() {
    commons().moves.fetch_add(1, AcqRel);
}

/// The mount that the working directory lies in, unless the zone has mounts of its own, which a directory
/// does not tell.
#[inline(never)]
pub(super) fn mount_of_cwd(thread: &Thread) -> Option<&'static MountRow> {
    let parents = &thread.process().parents;
    if tables().added_count.load(Relaxed) != 0 || parents.is_off.load(Relaxed) {
        return None;
    }
    // What it was found by and the row, in one word that threads share.
    let moves = u64::from(commons().moves.load(Acquire));
    let when = moves << 32 | u64::from(parents.chdirs.load(Acquire) & 0xffff) << 16;
    let kept = parents.cwd_mount.load(Relaxed);
    let row = if kept & !0xffff == when && kept & 0xffff != 0 {
        (kept & 0xffff) as usize - 1
    } else {
        let mut at = PathBuf::new();
        zone_path_of(thread, AT_CWD as u64, &mut at).ok()?;
        let (row, _) = mounts().find(at.as_bytes());
        parents.cwd_mount.store(when | (row as u64 + 1), Relaxed);
        row
    };
    mount_rows().get(row)
}

/// The first place of a path.
fn hash(text: &[u8]) -> usize {
    let mut hash = text.len() as u64;
    let (chunks, rest) = text.as_chunks();
    for chunk in chunks {
        let word = u64::from_ne_bytes(*chunk);
        hash = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    for &byte in rest {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    (hash >> 40) as usize % COUNT / WAYS * WAYS
}

/// The directory that the front of a path leads to, which ends in a slash, from the zone's root or
/// the working directory; `None` if it is not at hand.
#[inline]
pub(super) fn directory(thread: &Thread, front: &[u8]) -> Option<At> {
    if front.len() > TEXT_MAX {
        return None;
    }
    let parents = &thread.process().parents;
    let now = parents.now();
    let first = hash(front);
    let Some((number, seq)) = parents.place_of(front, first, now) else {
        let number = parents.least(first, now[0]);
        return keep(thread, front, number, false, now);
    };
    let parent = &parents.known[number];
    match parent.state {
        State::Open => Some(parents.at(number, seq)),
        State::Closed => None,
        State::Unused | State::Noted => keep(thread, front, number, true, now),
    }
}

/// Of how many opens in directories that are not at hand one is taken as a look-up: to take a directory to
/// hand costs as much as some twenty opens save.
const SAMPLE: u32 = 8;

/// The same for an open, which saves less: it is taken to hand where much is opened.
#[inline]
pub(super) fn directory_to_open(thread: &Thread, front: &[u8]) -> Option<At> {
    if front.len() > TEXT_MAX {
        return None;
    }
    let parents = &thread.process().parents;
    if let Some((number, seq)) = parents.place_of(front, hash(front), parents.now())
        && parents.known[number].state == State::Open
    {
        return Some(parents.at(number, seq));
    }
    let opens = parents.opens.load(Relaxed).wrapping_add(1);
    parents.opens.store(opens, Relaxed);
    if opens.is_multiple_of(SAMPLE) {
        return begin_to_open(thread, front);
    }
    None
}

/// The descriptor of the same for a change of names in it, to which it stays what it is until
/// [`give_back`]. Not where other threads may put another in its place, or where who records the call is told
/// the path on the host.
#[inline]
pub(super) fn lend(thread: &Thread, front: &[u8]) -> Option<u64> {
    let process = thread.process();
    let is_alone = process.users.load(Relaxed) == 1;
    if !is_alone || !root(thread).is_empty() || thread.record.is_open() {
        return None;
    }
    let at = directory_to_open(thread, front)?;
    process.parents.lent.fetch_add(1, Relaxed);
    Some(at.fd)
}

/// What [`lend`] gave is needed no more.
pub(super) fn give_back(thread: &Thread) {
    thread.process().parents.lent.fetch_sub(1, Relaxed);
}

/// No question is worth it: what programs open at their start lies in many directories.
#[cold]
#[inline(never)]
fn begin_to_open(thread: &Thread, front: &[u8]) -> Option<At> {
    let is_no_question = if front.first() == Some(&b'/') {
        let (mount, rest) = mounts().find(front);
        is_told(mount, rest) == Ok(true)
    } else {
        // All of what lies in the zone's own tree is told.
        mount_of_cwd(thread).is_some_and(|row| row.prefix().is_empty())
    };
    is_no_question.then(|| directory(thread, front)).flatten()
}

/// Notes a directory that was opened by its path to be listed: most who do so look its entries up next, and
/// the first of them finds it at hand.
#[cold]
#[inline(never)]
pub(super) fn note(thread: &Thread, path: &[u8]) {
    let mut room = [0; TEXT_MAX];
    let is_whole = path.last() == Some(&b'/');
    let Some(front) = room.get_mut(..path.len() + usize::from(!is_whole)) else {
        return;
    };
    front.fill(b'/');
    front[..path.len()].copy_from_slice(path);
    let parents = &thread.process().parents;
    let now = parents.now();
    let first = hash(front);
    if parents.place_of(front, first, now).is_none() {
        let number = parents.least(first, now[0]);
        keep(thread, front, number, false, now);
    }
}

/// Whether a text begins with another, which is not empty: eight bytes at a time.
#[inline]
fn is_same_text(text: &[u8; TEXT_MAX], front: &[u8]) -> bool {
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes
            .get(at..at + 8)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_ne_bytes)
    };
    let Some(last) = front.len().checked_sub(8) else {
        return text.iter().zip(front).all(|(a, b)| a == b);
    };
    let mut at = 0;
    while at < last {
        if word(text, at) != word(front, at) {
            return false;
        }
        at += 8;
    }
    word(text, last) == word(front, last)
}

/// Takes a directory to hand where it was looked for before.
#[cold]
#[inline(never)]
fn keep(
    thread: &Thread,
    front: &[u8],
    number: usize,
    was_known: bool,
    [moves, chdirs]: [u32; 2],
) -> Option<At> {
    let parents = &mut thread.process().parents;
    if !root(thread).is_empty() || parents.lent.load(Relaxed) != 0 {
        return None;
    }
    if let Some(fd) = top(front) {
        return Some(At::fixed(fd));
    }
    let parent = &mut parents.known[number];
    let seq = parent.seq.load(Acquire) & !1;
    let locked = parent.seq.compare_exchange(seq, seq + 1, SeqCst, Relaxed);
    if locked.is_err() {
        return None;
    }
    if parents.is_off.load(SeqCst) {
        parent.seq.store(seq, Release);
        return None;
    }
    (parent.moves, parent.chdirs, parent.len) = (moves, chdirs, front.len() as u32);
    parent.text[..front.len()].copy_from_slice(front);
    parent.state = if was_known {
        open(thread, front, number).map_or(State::Closed, |()| State::Open)
    } else {
        State::Noted
    };
    let is_open = parent.state == State::Open;
    parent.seq.store(seq + 2, Release);
    is_open.then(|| parents.at(number, seq + 2))
}

/// The descriptor of a mount, if a path is that of its top.
fn top(front: &[u8]) -> Option<u64> {
    let (mount, rest) = mounts().find(front);
    let row = mount_rows().get(mount)?;
    let is_top = rest.is_empty() && row.sub().is_empty() && !row.is_monitor();
    is_top.then_some(row.fd as u64)
}

/// Opens a directory as one that is at hand.
fn open(thread: &Thread, front: &[u8], number: usize) -> Result<()> {
    let flags = PATH_FLAGS | u64::from(O_DIRECTORY);
    let how = how_without_links(thread, flags, 0)?;
    let fd = if front[0] == b'/' {
        let (mount, rest) = mounts().find(front);
        must_be_told(thread, mount, rest)?;
        open_in_mount(mount, rest, how)?
    } else {
        open_relative(thread, front, how)?
    };
    let to = u64::from(FD_PARENTS) + number as u64;
    let placed = room::with_number(to, || {
        checked(unsafe { syscall3(__NR_dup3, fd, to, 0) }).map(drop)
    });
    close(fd);
    placed
}

/// Apart, so that the other way has no buffer on its stack.
#[inline(never)]
fn open_relative(thread: &Thread, front: &[u8], how: u64) -> Result<u64> {
    let mut at = PathBuf::new();
    zone_path_of(thread, AT_CWD as u64, &mut at)?;
    at.push(front).map_err(from_error)?;
    let (mount, rest) = mounts().find_canonical(at.as_bytes());
    must_be_told(thread, mount, rest)?;
    let mut room = PathRoom::new();
    openat2_raw(AT_CWD as u64, room.set(front)?.as_ptr() as u64, how)
}

/// Whether whatever changes on the way to a directory is told by `Commons::moves`, or the monitor is to be
/// asked for it. A mount that the zone may change others on the host may change too: no directory of it is
/// at hand.
fn is_told(mount: usize, rest: &[u8]) -> Result<bool> {
    let row = mount_rows().get(mount).ok_or(Errno::ENOENT)?;
    if row.is_monitor() || row.is_added() {
        return Err(Errno::EXDEV);
    }
    if row.prefix().is_empty() {
        return Ok(true);
    }
    if !row.is_read_only() {
        return Err(Errno::EROFS);
    }
    Ok(tables().names.is_watched(place_hash(mount, rest)))
}

/// The same once the monitor was asked.
fn must_be_told(thread: &Thread, mount: usize, rest: &[u8]) -> Result<()> {
    if is_told(mount, rest)? {
        return Ok(());
    }
    let (names, place) = (&tables().names, place_hash(mount, rest));
    let is_crowded = !names.has_room(place);
    if is_crowded && commons().crowded.fetch_add(1, Relaxed) % CROWDED_BATCH != CROWDED_BATCH - 1 {
        return Err(Errno::ENOSPC);
    }
    // The monitor is not asked about what is not there, which programs look for at each start.
    let how = how(thread, PATH_FLAGS | u64::from(O_DIRECTORY), 0)?;
    close(open_in_mount(mount, rest, how)?);
    thread
        .ask_about(Request::Watched, rest, &[mount as u64])
        .map(drop)
}
