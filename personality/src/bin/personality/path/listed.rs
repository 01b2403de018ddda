//! statmount(2), listmount(2): what `/proc/self/mountinfo` shows, in words.

use super::{PATH_FLAGS, fstatfs, mount_rows, open_text};
use crate::arch::{syscall1, syscall4};
use crate::dispatch::checked;
use crate::file::{Power, has};
use crate::memory::{self, PathRoom};
use crate::thread::Thread;
use crate::{Errno, Result};
use core::ffi::CStr;
use linux_raw_sys::general::*;
use picozone_personality::tables::{FIRST_UNIQUE, mount_id};

/// `struct mnt_id_req` in its first size and now: size, id, what is asked, the name space.
const SIZES: core::ops::RangeInclusive<u64> = 24..=32;
const PAGE: u64 = 4096;

/// What is asked of which mount.
struct Request {
    id: u64,
    what: u64,
}

impl Request {
    fn read(from: u64) -> Result<Request> {
        let size = u64::from(memory::read::<u32>(from)?);
        if size < *SIZES.start() {
            return Err(Errno::EINVAL);
        }
        if size > PAGE {
            return Err(Errno::E2BIG);
        }
        let [head, id, what] = memory::read::<[u64; 3]>(from)?;
        let space = if size < *SIZES.end() {
            0
        } else {
            memory::read::<u64>(from + 24)?
        };
        for at in *SIZES.end()..size {
            if memory::read::<u8>(from + at)? != 0 {
                return Err(Errno::E2BIG);
            }
        }
        // The upper half of the first word is spare. Mounts of another name space there are none.
        if head >> 32 != 0 || id <= FIRST_UNIQUE {
            return Err(Errno::EINVAL);
        }
        if space != 0 {
            return Err(Errno::ENOENT);
        }
        Ok(Request { id, what })
    }
}

/// The lines of `/proc/self/mountinfo`.
struct Lines {
    fd: u64,
    at: u64,
}

impl Lines {
    fn open(thread: &mut Thread) -> Result<Lines> {
        let flags = u64::from(O_RDONLY | O_CLOEXEC);
        let fd = open_text(thread, c"/proc/self/mountinfo", flags)?;
        Ok(Lines { fd, at: 0 })
    }

    /// The same where one of these mounts is asked for. From a root without `/proc` none is seen.
    fn of(thread: &mut Thread, id: u64) -> Result<Lines> {
        Lines::open(thread).map_err(|errno| match errno {
            Errno::ENOENT => beyond(thread, id),
            other => other,
        })
    }

    /// Reads the next one, and tells how long it is.
    fn next(&mut self, room: &mut PathRoom) -> Option<usize> {
        let all = room.all();
        let (to, size) = (all.as_mut_ptr() as u64, all.len() as u64);
        let got = unsafe { syscall4(__NR_pread64, self.fd, to, size, self.at) };
        let read = all.get(..checked(got).ok()? as usize)?;
        let end = read.iter().position(|&byte| byte == b'\n')?;
        self.at += end as u64 + 1;
        Some(end)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        unsafe { syscall1(__NR_close, self.fd) };
    }
}

/// One mount.
struct Line<'r> {
    id: u64,
    parent: u64,
    device: [u32; 2],
    root: &'r [u8],
    point: &'r [u8],
    options: &'r [u8],
    kind: &'r [u8],
    source: &'r [u8],
    /// Of the file system.
    super_options: &'r [u8],
}

fn number(text: &[u8]) -> Option<u64> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

impl<'r> Line<'r> {
    fn parse(room: &'r mut PathRoom, length: usize) -> Option<Line<'r>> {
        let mut words = room.all().get(..length)?.split(|&byte| byte == b' ');
        let (id, parent) = (number(words.next()?)?, number(words.next()?)?);
        let mut device = words.next()?.split(|&byte| byte == b':');
        let device = [device.next()?, device.next()?].map(|part| number(part).unwrap_or(0) as u32);
        let (root, point, options) = (words.next()?, words.next()?, words.next()?);
        words.find(|&word| word == b"-")?;
        Some(Line {
            id,
            parent,
            device,
            root,
            point,
            options,
            kind: words.next()?,
            source: words.next()?,
            super_options: words.next()?,
        })
    }

    fn unique(&self) -> u64 {
        FIRST_UNIQUE + self.id
    }
}

/// Without the escapes of `/proc` (`\040`), into `to`. How long it is.
fn unescape(text: &[u8], to: &mut [u8]) -> usize {
    let (mut at, mut length) = (0, 0);
    while let (Some(&byte), Some(place)) = (text.get(at), to.get_mut(length)) {
        let digits = text.get(at + 1..at + 4).filter(|_| byte == b'\\');
        (*place, at) = match digits {
            Some(&[a, b, c]) => ((a & 3) << 6 | (b & 7) << 3 | c & 7, at + 4),
            _ => (byte, at + 1),
        };
        length += 1;
    }
    length
}

/// What can be asked.
mod part {
    pub(super) const SB_BASIC: u64 = 1;
    pub(super) const MNT_BASIC: u64 = 2;
    pub(super) const PROPAGATE_FROM: u64 = 4;
    pub(super) const MNT_ROOT: u64 = 8;
    pub(super) const MNT_POINT: u64 = 0x10;
    pub(super) const FS_TYPE: u64 = 0x20;
    pub(super) const MNT_OPTS: u64 = 0x80;
    pub(super) const SB_SOURCE: u64 = 0x200;
    pub(super) const SUPPORTED: u64 = 0x1000;
    /// Also the name space (0x40), the subtype (0x100), options one by one (0x400, 0x800) and maps of
    /// ids (0x2000, 0x4000), of which there are none.
    pub(super) const ALL: u64 = 0x7fff;
    /// What is told as a text.
    pub(super) const TEXTS: u64 = 0x0fb8;
}

/// Words of `struct statmount` before its texts.
const WORDS: usize = 64;
const SIZE: u64 = WORDS as u64 * 8;

/// Options of a mount, as `mountinfo` has them and as `MOUNT_ATTR_*`.
const ATTRIBUTES: [(&[u8], u64); 7] = [
    (b"ro", 1),
    (b"nosuid", 2),
    (b"nodev", 4),
    (b"noexec", 8),
    (b"noatime", 0x10),
    (b"nodiratime", 0x80),
    (b"nosymfollow", 0x20_0000),
];
const STRICT_ATIME: u64 = 0x20;

fn has_option(options: &[u8], name: &[u8]) -> bool {
    options
        .split(|&byte| byte == b',')
        .any(|option| option == name)
}

/// statmount(2).
#[inline(never)]
pub fn statmount(thread: &mut Thread, [from, to, size, flags]: [u64; 4]) -> Result<u64> {
    if flags as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let request = Request::read(from)?;
    if request.what & part::TEXTS != 0 && size == SIZE {
        return Err(Errno::EOVERFLOW);
    }
    let mut lines = Lines::of(thread, request.id)?;
    let mut room = PathRoom::new();
    let length = loop {
        let length = lines
            .next(&mut room)
            .ok_or_else(|| beyond(thread, request.id))?;
        let line = Line::parse(&mut room, length);
        if line.is_some_and(|line| line.unique() == request.id) {
            break length;
        }
    };
    let line = Line::parse(&mut room, length).ok_or(Errno::ENOENT)?;
    let mut words = [0; WORDS];
    let mut texts = Texts {
        room: PathRoom::new(),
        length: 0,
    };
    describe(thread, &line, request.what, &mut words, &mut texts)?;
    let all = SIZE + texts.length as u64;
    if texts.length != 0 && all > size {
        return Err(Errno::EOVERFLOW);
    }
    words[at::SIZE] |= all;
    let bytes = size.min(SIZE);
    for (i, word) in words.iter().enumerate() {
        let left = bytes.saturating_sub(i as u64 * 8).min(8) as usize;
        let word = word.to_ne_bytes();
        memory::write_bytes(to + i as u64 * 8, word.get(..left).unwrap_or(&word))?;
    }
    let length = texts.length;
    memory::write_bytes(to + SIZE, texts.room.all().get(..length).unwrap_or(b""))?;
    Ok(0)
}

/// Where things stand in `struct statmount`, in words.
mod at {
    /// And in the upper half the options.
    pub(super) const SIZE: usize = 0;
    pub(super) const MASK: usize = 1;
    pub(super) const DEVICE: usize = 2;
    pub(super) const MAGIC: usize = 3;
    /// And in the upper half the type of the file system.
    pub(super) const FLAGS: usize = 4;
    pub(super) const ID: usize = 5;
    pub(super) const PARENT: usize = 6;
    pub(super) const OLD_IDS: usize = 7;
    pub(super) const ATTRIBUTES: usize = 8;
    pub(super) const PROPAGATION: usize = 9;
    /// And in the upper half the mount point.
    pub(super) const ROOT: usize = 13;
    /// The source, in the upper half.
    pub(super) const SOURCE: usize = 15;
    pub(super) const SUPPORTED: usize = 18;
}

/// The texts behind the words. The first byte is the empty one, of what is not told.
struct Texts {
    room: PathRoom,
    length: usize,
}

impl Texts {
    /// Adds one, and tells where it is.
    fn add(&mut self, text: &[u8]) -> u64 {
        let all = self.room.all();
        if self.length == 0 {
            all[0] = 0;
            self.length = 1;
        }
        let start = self.length;
        let room = all.get_mut(start..).unwrap_or(&mut []);
        let used = unescape(text, room);
        if let Some(end) = room.get_mut(used) {
            *end = 0;
        }
        self.length = (start + used + 1).min(all.len());
        start as u64
    }
}

/// Fills in what is asked of a mount.
fn describe(
    thread: &mut Thread,
    line: &Line,
    what: u64,
    words: &mut [u64; WORDS],
    texts: &mut Texts,
) -> Result<()> {
    const PRIVATE: u64 = 1 << 18;
    let asks = |bit: u64| what & bit != 0;
    let mut told =
        what & (part::SB_BASIC | part::MNT_BASIC | part::PROPAGATE_FROM | part::SUPPORTED);
    if asks(part::SB_BASIC) {
        let [major, minor] = line.device;
        words[at::DEVICE] = u64::from(minor) << 32 | u64::from(major);
        words[at::MAGIC] = magic(thread, line.point)?;
        words[at::FLAGS] = u64::from(has_option(line.super_options, b"ro"));
    }
    if asks(part::MNT_BASIC) {
        words[at::ID] = line.unique();
        words[at::PARENT] = FIRST_UNIQUE + line.parent;
        words[at::OLD_IDS] = line.parent << 32 | line.id;
        words[at::ATTRIBUTES] = attributes(line.options);
        words[at::PROPAGATION] = PRIVATE;
    }
    if asks(part::SUPPORTED) {
        words[at::SUPPORTED] = part::ALL;
    }
    // What a file system has besides being writable or not.
    let options = match line.super_options.iter().position(|&byte| byte == b',') {
        Some(comma) => line.super_options.get(comma + 1..).unwrap_or(b""),
        None => b"",
    };
    let all: [(u64, &[u8], usize, u32); 5] = [
        (part::MNT_ROOT, line.root, at::ROOT, 0),
        (part::MNT_POINT, line.point, at::ROOT, 32),
        (part::FS_TYPE, line.kind, at::FLAGS, 32),
        (part::MNT_OPTS, options, at::SIZE, 32),
        (part::SB_SOURCE, line.source, at::SOURCE, 32),
    ];
    for (bit, text, word, shift) in all {
        if asks(bit) && !text.is_empty() {
            words[word] |= texts.add(text) << shift;
            told |= bit;
        }
    }
    words[at::MASK] = told;
    Ok(())
}

fn attributes(options: &[u8]) -> u64 {
    let all = ATTRIBUTES.iter();
    let set = all
        .filter(|(name, _)| has_option(options, name))
        .fold(0, |bits, (_, bit)| bits | bit);
    let keeps_times = has_option(options, b"noatime") || has_option(options, b"relatime");
    set | if keeps_times { 0 } else { STRICT_ATIME }
}

/// What statfs(2) tells of the file system at a mount point.
fn magic(thread: &mut Thread, point: &[u8]) -> Result<u64> {
    let mut room = PathRoom::new();
    let length = unescape(point, room.all());
    if let Some(end) = room.all().get_mut(length) {
        *end = 0;
    }
    let path = CStr::from_bytes_until_nul(room.all()).map_err(|_| Errno::ENAMETOOLONG)?;
    let fd = open_text(thread, path, PATH_FLAGS)?;
    // struct statfs begins with it.
    let mut words = [0u64; 15];
    let result = fstatfs(thread, fd, words.as_mut_ptr() as u64);
    unsafe { syscall1(__NR_close, fd) };
    result.map(|_| words[0])
}

/// listmount(2).
#[inline(never)]
pub fn listmount(thread: &mut Thread, [from, to, room, flags]: [u64; 4]) -> Result<u64> {
    const REVERSE: u64 = 1;
    const ROOT: u64 = u64::MAX;
    const COUNT_MAX: u64 = 1_000_000;
    if flags & 0xffff_ffff & !REVERSE != 0 {
        return Err(Errno::EINVAL);
    }
    if room > COUNT_MAX {
        return Err(Errno::EOVERFLOW);
    }
    let Request { id, what: last } = Request::read(from)?;
    if last != 0 && last <= FIRST_UNIQUE {
        return Err(Errno::EINVAL);
    }
    let is_reverse = flags & REVERSE != 0;
    let mut top = PathRoom::new();
    let mut top_length = 0;
    if id != ROOT {
        top_length = point_of(thread, id, &mut top)?;
    }
    let top = top.all().get(..top_length).unwrap_or(b"");
    let (mut count, mut last) = (
        0,
        if is_reverse && last == 0 {
            u64::MAX
        } else {
            last
        },
    );
    // One after the other by their ids, whatever order the lines have.
    while count < room {
        let mut lines = Lines::open(thread)?;
        let mut text = PathRoom::new();
        let mut next = None;
        while let Some(length) = lines.next(&mut text) {
            let Some(line) = Line::parse(&mut text, length) else {
                continue;
            };
            let other = line.unique();
            let is_below = other != id && is_at_or_below(line.point, top);
            let is_left = if is_reverse {
                other < last
            } else {
                other > last
            };
            let is_first = next.is_none_or(|next| {
                if is_reverse {
                    other > next
                } else {
                    other < next
                }
            });
            if is_below && is_left && is_first {
                next = Some(other);
            }
        }
        let Some(found) = next else { break };
        memory::write(to + count * 8, &found)?;
        (count, last) = (count + 1, found);
    }
    Ok(count)
}

/// What is told of a mount that the thread does not see from its root.
fn beyond(thread: &Thread, id: u64) -> Errno {
    let is_it = |row| FIRST_UNIQUE + u64::from(mount_id(row)) == id;
    if mount_rows().iter().any(is_it) && !has(thread, Power::Administer) {
        Errno::EPERM
    } else {
        Errno::ENOENT
    }
}

/// Where the mount of an id is.
fn point_of(thread: &mut Thread, id: u64, to: &mut PathRoom) -> Result<usize> {
    let mut lines = Lines::of(thread, id)?;
    let mut room = PathRoom::new();
    loop {
        let length = lines.next(&mut room).ok_or_else(|| beyond(thread, id))?;
        if let Some(line) = Line::parse(&mut room, length).filter(|line| line.unique() == id) {
            let point = if line.point == b"/" { b"" } else { line.point };
            let room = to.all().get_mut(..point.len()).ok_or(Errno::ENOENT)?;
            room.copy_from_slice(point);
            return Ok(point.len());
        }
    }
}

fn is_at_or_below(point: &[u8], top: &[u8]) -> bool {
    let rest = point.strip_prefix(top);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
