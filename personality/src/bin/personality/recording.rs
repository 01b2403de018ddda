//! Records of calls, where the zone is traced: see [`picozone_personality::trace`].
//!
//! [`begin`] puts what the call is given into the thread's ring, the places that translate add how the
//! host has it (only while [`Record::is_open`]), and [`end`] adds what the call has filled and makes it
//! all visible to the monitor by one store. Until then nothing of it is there for anybody: a call
//! that is made again after a signal, a child that comes back from a fork with its parent's record,
//! and a thread that dies leave nothing behind. There is no lock, and no call of the kernel but to wake
//! the monitor when a good part of a ring is full.
//!
//! Nobody who is not traced comes here: [`dispatch::result_of`](crate::dispatch::result_of) looks at one
//! word of the tables, and [`watched`](crate::watched) at what it says.

use crate::arch::{self, syscall2, syscall3, syscall4};
use crate::monitor::{commons, tables};
use crate::thread::{Thread, me};
use core::ffi::CStr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::fence;
use linux_raw_sys::general::{__NR_futex, __NR_kill, __NR_prctl, FUTEX_WAIT, FUTEX_WAKE};
use linux_raw_sys::prctl::PR_GET_NAME;
use picozone_personality::layout::{FD_MOUNT0, FD_PARENTS};
use picozone_personality::trace::{
    ADDRESS_MAX, BELL_AT, BY_TEXT, BYTES_MAX, Head, LIST_MAX, PADDING, POINTERS_MAX, PartHead,
    RECORD_MAX, REGISTERS, RING_SIZE, RINGS, Ring, STACK_MAX, TEXT_MAX, flags, kind, watch,
};
use picozone_syscalls::{
    BUFFERS_MAX, CONTROL_MAX, Direction, Kind, MESSAGES_MAX, MMSGHDR, MSGHDR, NUMBERS, ROWS,
    filled, fixed_bytes, nr, pointed, row, shown_bytes, shows_both,
};

/// The record that a thread is writing.
#[repr(C)]
pub struct Record {
    /// Where its next part comes; 0: no record is open.
    at: u64,
    /// Where it begins.
    start: u64,
    /// Its last part that says where a path lies on the host; 0: there is none.
    host_path: u64,
    /// The last texts that were recorded, the last one first.
    texts: [Text; 2],
    /// Address of the guest's path that is being followed.
    path: u64,
    begin: u64,
    args: [u64; 6],
    nr: u32,
    flags: u32,
    /// The thread's ring, if it has one.
    ring: u32,
    /// Whether the thread's name was told there.
    is_named: bool,
}

/// A text of the guest's, and its part.
#[derive(Clone, Copy)]
#[repr(C)]
struct Text {
    /// Its address; 0: there is none.
    from: u64,
    at: u64,
}

impl Text {
    const NONE: Self = Self { from: 0, at: 0 };
}

/// Which arguments of a call point at what is recorded, a bit for each.
#[derive(Clone, Copy)]
struct Told {
    /// When it begins.
    given: u8,
    /// When it has succeeded.
    filled: u8,
    /// And these then as well, if its result is not 0.
    both: u8,
    /// Of each argument so many bytes, or [`TEXT`], or [`ASKED`].
    sizes: [u8; 6],
}

/// It is a text.
const TEXT: u8 = u8::MAX;
/// How much depends on other arguments, or on the result.
const ASKED: u8 = 0;

impl Told {
    const NOTHING: Self = Self {
        given: 0,
        filled: 0,
        both: 0,
        sizes: [ASKED; 6],
    };

    const fn size_of(nr: u32, kind: Kind) -> u8 {
        match (kind, fixed_bytes(nr, kind)) {
            (Kind::Path | Kind::Text | Kind::IpcName, _) => TEXT,
            (Kind::FdPairOut, _) => 8,
            (_, Some(size @ 1..255)) => size as u8,
            _ => ASKED,
        }
    }
}

/// By the calls' numbers: most arguments are all in their words.
static TOLD: [Told; NUMBERS] = {
    let mut all = [Told::NOTHING; NUMBERS];
    let mut at = 0;
    while at < ROWS.len() {
        let row = &ROWS[at];
        let mut i = 0;
        while i < row.args.len() {
            let kind = row.args[i].kind;
            let told = &mut all[row.nr as usize];
            told.sizes[i] = Told::size_of(row.nr, kind);
            match kind.direction() {
                _ if kind.is_word() => {}
                Direction::In => told.given |= 1 << i,
                Direction::Out => told.filled |= 1 << i,
                Direction::InOut => {
                    told.given |= 1 << i;
                    if shows_both(row.nr) {
                        told.both |= 1 << i;
                    }
                }
            }
            // A command decides whether what it points at is filled.
            if matches!(kind, Kind::Argument | Kind::IpcStat) {
                told.filled |= 1 << i;
            }
            i += 1;
        }
        at += 1;
    }
    all
};

const HEAD: u64 = size_of::<Head>() as u64;
const PART: u64 = size_of::<PartHead>() as u64;
const PAGE: u64 = 4096;
/// Bytes of a line of the cache, and how many of them are had ready: a record's.
const LINE: u64 = 64;
const AHEAD: u64 = 4;
/// Room that is kept for what the zone's side of a call fills, whatever the host's side took.
const KEPT: u64 = 2 * TEXT_MAX as u64;

impl Record {
    /// Whether the call being served is recorded.
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        self.at != 0
    }

    /// Leaves it to whom it belongs: the thread is a copy of that one.
    #[inline(always)]
    pub fn leave(&mut self) {
        self.at = 0;
    }

    fn end_of_room(&self) -> u64 {
        self.start + RECORD_MAX as u64
    }

    /// Adds a part; its bytes, which begin where this says, are the caller's to write. `None`: no room.
    fn part(&mut self, head: PartHead) -> Option<u64> {
        let size = PART + u64::from(head.length).next_multiple_of(8);
        if self.at + size > self.end_of_room() {
            self.flags |= flags::CUT;
            return None;
        }
        let at = self.at;
        unsafe { (at as *mut PartHead).write(head) };
        self.at += size;
        Some(at + PART)
    }

    /// Adds a part with bytes of our own memory.
    fn own(&mut self, mut head: PartHead, pieces: &[&[u8]]) -> bool {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        head.length = length.min(TEXT_MAX) as u16;
        if length > TEXT_MAX || self.at + KEPT > self.end_of_room() {
            self.flags |= flags::CUT;
            return false;
        }
        let Some(mut to) = self.part(head) else {
            return false;
        };
        for piece in pieces {
            let from = piece.as_ptr();
            unsafe { core::ptr::copy_nonoverlapping(from, to as *mut u8, piece.len()) };
            to += piece.len() as u64;
        }
        true
    }

    /// Adds the thread's name.
    fn name(&mut self) {
        let mut name = [0u8; 16];
        let got = unsafe { syscall2(__NR_prctl, PR_GET_NAME.into(), name.as_mut_ptr() as u64) };
        if got == 0 {
            let head = PartHead {
                kind: kind::NAME,
                ..PartHead::default()
            };
            let length = name.iter().position(|&byte| byte == 0);
            self.own(head, &[&name[..length.unwrap_or(name.len())]]);
        }
    }

    /// Adds bytes of the guest's memory, if they can be read.
    fn bytes(&mut self, from: u64, length: usize) {
        let before = self.at;
        let head = PartHead {
            kind: kind::MEMORY,
            length: length as u16,
            extra: 0,
            value: from,
        };
        if from != 0
            && length != 0
            && let Some(to) = self.part(head)
            && !arch::copy(to, from, length)
        {
            self.at = before;
        }
    }

    /// Adds a text of the guest's up to its NUL, or as much of it as there is room for. Gives how
    /// much that was.
    fn text(&mut self, from: u64, most: usize) {
        let start = self.at + PART;
        let room = (most as u64).min(self.end_of_room().saturating_sub(start + 8));
        if from == 0 || room == 0 {
            return;
        }
        let Some(length) = arch::string_in(start, room as usize, from) else {
            return;
        };
        // The NUL belongs to it where it came.
        let all = (length as u64 + 1).min(room);
        if length as u64 == room && room < most as u64 {
            self.flags |= flags::CUT;
        }
        let at = self.at;
        let head = PartHead {
            kind: kind::MEMORY,
            length: all as u16,
            extra: 0,
            value: from,
        };
        if self.part(head).is_some() {
            self.texts = [Text { from, at }, self.texts[0]];
        }
    }

    /// Adds a list of pointers. Gives the words that were recorded.
    fn pointers(&mut self, from: u64, most: usize) -> &'static [u64] {
        let before = self.at;
        let head = PartHead {
            kind: kind::MEMORY,
            length: ((most + 1) * 8) as u16,
            extra: 0,
            value: from,
        };
        let Some(to) = self.part(head).filter(|_| from != 0) else {
            return &[];
        };
        let mut count = 0;
        while count <= most as u64 {
            if !arch::copy(to + 8 * count, from + 8 * count, 8) {
                break;
            }
            count += 1;
            if unsafe { ((to + 8 * (count - 1)) as *const u64).read() } == 0 {
                break;
            }
        }
        // What is not there needs no room.
        let length = (8 * count) as u16;
        unsafe { (before as *mut PartHead).write(PartHead { length, ..head }) };
        self.at = before + PART + 8 * count;
        unsafe { core::slice::from_raw_parts(to as *const u64, count as usize) }
    }

    /// Adds a list of texts: the first in full, a second one as far as it is counted.
    fn texts(&mut self, from: u64, is_first: bool) {
        let most = if is_first { LIST_MAX } else { POINTERS_MAX };
        for &pointer in self.pointers(from, most) {
            if is_first && pointer != 0 {
                self.text(pointer, BYTES_MAX + 1);
            }
        }
    }

    /// Adds what arguments point at: what the call is given, or what it has filled.
    #[inline(always)]
    fn capture(&mut self, result: Option<i64>) {
        let of = TOLD.get(self.nr as usize).unwrap_or(&Told::NOTHING);
        let mut left = match result {
            None => of.given,
            Some(result) if result > 0 => of.filled | of.both,
            Some(_) => of.filled,
        };
        let mut has_list = false;
        while left != 0 {
            let i = left.trailing_zeros() as usize;
            left &= left - 1;
            let (Some(&at), Some(&size)) = (self.args.get(i), of.sizes.get(i)) else {
                return;
            };
            match size {
                ASKED => self.capture_asked(i, result, &mut has_list),
                TEXT => self.text(at, TEXT_MAX),
                size => self.bytes(at, size.into()),
            }
        }
    }

    /// Adds what an argument points at that says not by itself how much that is. `has_list`: there was a
    /// list of texts before.
    #[inline(never)]
    fn capture_asked(&mut self, i: usize, result: Option<i64>, has_list: &mut bool) {
        let Some(arg) = row(self.nr).and_then(|row| row.args.get(i)) else {
            return;
        };
        let args = self.args;
        let word = |i: usize| args.get(i).copied().unwrap_or(0);
        let length_in = |i: usize, most: usize| {
            usize::try_from(word(i + 1)).map_or(most, |length| length.min(most))
        };
        let at = word(i);
        let got = result.map_or(0, |got| got.unsigned_abs() as usize);
        match arg.kind {
            Kind::Buf | Kind::HostName => self.bytes(at, length_in(i, BYTES_MAX)),
            Kind::SockAddr => self.bytes(at, length_in(i, ADDRESS_MAX)),
            Kind::Strings => self.texts(at, !core::mem::replace(has_list, true)),
            Kind::BufOut => self.bytes(at, got.min(BYTES_MAX)),
            Kind::PathOut => self.bytes(at, got.min(TEXT_MAX)),
            Kind::WstatusOut if got != 0 => self.bytes(at, 4),
            Kind::SockAddrOut if at != 0 => {
                let length = crate::memory::read::<u32>(word(i + 1)).unwrap_or(0);
                self.bytes(word(i + 1), 4);
                self.bytes(at, (length as usize).min(ADDRESS_MAX));
            }
            Kind::Iovec => self.buffers(at, word(i + 1), u64::MAX),
            Kind::IovecOut => self.buffers(at, word(i + 1), got as u64),
            Kind::Msghdr | Kind::MsghdrOut => self.messages(at, result),
            Kind::SigsetIn if matches!(self.nr, nr::pselect6 | nr::io_pgetevents) => {
                self.bytes(at, 16);
                self.bytes(crate::memory::read::<u64>(at).unwrap_or(0), 8);
            }
            Kind::Argument | Kind::IpcStat => match pointed(self.nr, i, &args) {
                Some(of) if of.is_out != result.is_some() => {}
                Some(of) if of.is_text => self.text(at, of.size),
                Some(of) => self.bytes(at, of.size),
                None => {}
            },
            kind => {
                let place = (self.nr, i, kind);
                let behind = |at: u64| crate::memory::read::<u32>(at).ok();
                let filled = filled(place, &args, result.unwrap_or(0), behind);
                if self.nr == nr::getsockopt {
                    self.bytes(word(i + 1), 4);
                }
                self.bytes(at, shown_bytes(place, &args, filled));
            }
        }
    }

    /// Adds a list of buffers, and what is in them, so many bytes at most.
    #[inline(never)]
    fn buffers(&mut self, at: u64, count: u64, mut left: u64) {
        let count = count.min(BUFFERS_MAX as u64);
        self.bytes(at, 16 * count as usize);
        for i in 0..count {
            let place = at.wrapping_add(16 * i);
            let (Ok(base), Ok(length)) = (
                crate::memory::read::<u64>(place),
                crate::memory::read::<u64>(place.wrapping_add(8)),
            ) else {
                return;
            };
            let length = length.min(left);
            left -= length;
            self.bytes(base, length.min(BYTES_MAX as u64) as usize);
        }
    }

    /// Adds a message, or the first ones of a list.
    #[inline(never)]
    fn messages(&mut self, at: u64, result: Option<i64>) {
        let got = result.map_or(u64::MAX, i64::unsigned_abs);
        if !matches!(self.nr, nr::sendmmsg | nr::recvmmsg) {
            return self.message(at, MSGHDR, got);
        }
        let count = self.args[2].min(got).min(MESSAGES_MAX as u64);
        for i in 0..count {
            let place = at.wrapping_add(i * MMSGHDR as u64);
            let filled = match result {
                Some(_) => crate::memory::read::<u32>(place + MSGHDR as u64)
                    .unwrap_or(0)
                    .into(),
                None => u64::MAX,
            };
            self.message(place, MMSGHDR, filled);
        }
    }

    fn message(&mut self, at: u64, size: usize, filled: u64) {
        let word = |offset: u64| crate::memory::read::<u64>(at.wrapping_add(offset)).unwrap_or(0);
        let [name, name_length, buffers, count, control, control_length] =
            [0, 8, 16, 24, 32, 40].map(word);
        self.bytes(at, size);
        // The length is an int.
        let name_length = name_length as u32;
        self.bytes(name, (name_length as usize).min(ADDRESS_MAX));
        self.buffers(buffers, count, filled);
        self.bytes(control, control_length.min(CONTROL_MAX as u64) as usize);
    }
}

/// How many rings a new thread looks at, whether their threads are gone, before it takes a fresh one.
const LOOKED_AT: usize = 4;

/// A thread's ring: the one that it has, or one that it claims.
fn ring_of(thread: &mut Thread) -> Option<(&'static Ring, u64)> {
    let all = &commons().trace;
    let own = thread.host_tid;
    let place = |number: usize| {
        let ring = all.rings.get(number)?;
        Some((ring, all.data.get(number)?.0.get() as u64))
    };
    let known = thread.record.ring as usize;
    if let Some(found) = place(known)
        && found.0.owner.load(Relaxed) == own
    {
        return Some(found);
    }
    // What executed this program may have had one; else the first that is free.
    let end = all.end.load(Relaxed) as usize;
    let is_own =
        |number: &usize| place(*number).is_some_and(|(ring, _)| ring.owner.load(Relaxed) == own);
    let claims = |number: &usize| {
        place(*number).is_some_and(|(ring, _)| {
            let owner = &ring.owner;
            owner.load(Relaxed) == 0 && owner.compare_exchange(0, own, Acquire, Relaxed).is_ok()
        })
    };
    // Where nobody reads, nobody else takes rings from threads that are gone.
    let is_left = |number: &usize| {
        let owner = place(*number).map_or(0, |(ring, _)| ring.owner.load(Relaxed));
        let gone = || unsafe { syscall2(__NR_kill, owner.into(), 0) } < 0;
        owner != 0
            && gone()
            && place(*number).is_some_and(|(ring, _)| {
                let taken = ring.owner.compare_exchange(owner, own, Acquire, Relaxed);
                taken.is_ok()
            })
    };
    let end = end.min(RINGS);
    let number = (0..end)
        .find(is_own)
        .or_else(|| (0..end).find(claims))
        .or_else(|| {
            let is_flight = tables().watched_calls.load(Relaxed) & watch::FLIGHT != 0;
            let first = own as usize % end.max(1);
            let looked_at = if is_flight { LOOKED_AT } else { 0 };
            let mut some = (first..end).chain(0..first).take(looked_at);
            some.find(is_left)
        })
        .or_else(|| (end..RINGS).find(claims));
    let Some(number) = number else {
        all.lost.fetch_add(1, Relaxed);
        return None;
    };
    all.end.fetch_max(number as u32 + 1, Release);
    thread.record.ring = number as u32;
    thread.record.is_named = false;
    place(number)
}

/// Makes room for a record, and begins it. Whether that is done.
fn open(thread: &mut Thread) -> bool {
    thread.record.at = 0;
    let Some((ring, data)) = ring_of(thread) else {
        return false;
    };
    let size = RING_SIZE as u64;
    // Others may have written anything there.
    let written = ring.written.load(Relaxed) & !7;
    let at = written % size;
    let padding = if size - at < RECORD_MAX as u64 {
        size - at
    } else {
        0
    };
    let has_room = || {
        let used = written.wrapping_sub(ring.read.load(Acquire));
        used <= size && size - used >= padding + RECORD_MAX as u64
    };
    let watch = tables().watched_calls.load(Relaxed);
    if watch & watch::RECORDED != 0 && !has_room() && !wait_for(ring, has_room) {
        ring.dropped.fetch_add(1, Relaxed);
        return false;
    }
    if watch & watch::FLIGHT != 0 {
        let length_at = |at: u64| unsafe { ((data + at % size) as *const u32).read_volatile() };
        let oldest = ring.oldest_after(written, padding + RECORD_MAX as u64, length_at);
        ring.oldest.store(oldest, Relaxed);
        // Who copies the ring sees by it what is about to be written over.
        fence(Release);
    }
    let record = &mut thread.record;
    record.start = data + at;
    if padding != 0 {
        unsafe { (record.start as *mut [u32; 2]).write([padding as u32, PADDING]) };
        ring.written.store(written.wrapping_add(padding), Release);
        record.start = data;
        // The record that told it is about to be written over.
        record.is_named = false;
    }
    record.at = record.start + HEAD;
    (record.host_path, record.path, record.flags) = (0, 0, 0);
    record.texts = [Text::NONE; 2];
    if !record.is_named {
        record.name();
    }
    true
}

/// Wakes the monitor, and waits until there is room if that is wanted. Whether there is.
///
/// A trace that ends takes the bit away that says so, and a monitor that ends takes the zone along: what
/// is looked at from time to time is the bit.
#[cold]
fn wait_for(ring: &Ring, has_room: impl Fn() -> bool) -> bool {
    /// Longest time between two looks, in nanoseconds.
    const PERIOD: u64 = 50_000_000;
    loop {
        let seen = ring.room.load(Acquire);
        ring.waits.store(1, SeqCst);
        wake();
        let is_there = has_room();
        if is_there || tables().watched_calls.load(Relaxed) & watch::LOSSLESS == 0 {
            ring.waits.store(0, Relaxed);
            return is_there;
        }
        let (at, period) = (core::ptr::from_ref(&ring.room) as u64, [0, PERIOD]);
        let (wait, most) = (u64::from(FUTEX_WAIT), period.as_ptr() as u64);
        unsafe { syscall4(__NR_futex, at, wait, seen.into(), most) };
    }
}

fn wake() {
    let bell = &commons().trace.bell;
    bell.fetch_add(1, Release);
    let at = core::ptr::from_ref(bell) as u64;
    unsafe { syscall3(__NR_futex, at, u64::from(FUTEX_WAKE), 1) };
}

/// Makes what was written visible, if the ring is the thread's own.
fn publish(thread: &mut Thread, result: i64, now: u64) {
    let (own, zone_pid, zone_tid) = (
        thread.host_tid,
        thread.process().zone_pid,
        thread.zone_tid(),
    );
    let came_by_jump = thread.came_by_jump();
    let record = &mut thread.record;
    let length = record.at - record.start;
    record.at = 0;
    let Some(ring) = commons().trace.rings.get(record.ring as usize) else {
        return;
    };
    if ring.owner.load(Relaxed) != own {
        return;
    }
    let by_signal = if came_by_jump { 0 } else { flags::BY_SIGNAL };
    // Field by field: a copy of all of it would be a call.
    let head = unsafe { &mut *(record.start as *mut Head) };
    (head.length, head.nr) = (length as u32, record.nr);
    (head.host_tid, head.zone_pid, head.zone_tid) = (own, zone_pid, zone_tid);
    head.flags = record.flags | by_signal;
    (head.begin, head.end, head.result) = (record.begin, now, result);
    head.args = record.args;
    record.is_named = true;
    let written = ring.written.load(Relaxed) & !7;
    ring.written.store(written.wrapping_add(length), Release);
    if (written ^ written.wrapping_add(length)) >= PAGE {
        look_ahead(record.start, length);
    }
    // The monitor's processor has what it read last time round: the next record is not to wait for it.
    for line in 0..AHEAD {
        arch::prepare_to_write(record.start + length + line * LINE);
    }
    let before = written.wrapping_sub(ring.read.load(Relaxed));
    let is_full = before < BELL_AT && before + length >= BELL_AT;
    // What is mapped is only known while the process lives.
    if is_full || tables().watched_calls.load(Relaxed) & watch::STACKS != 0 {
        wake();
    }
}

/// Reads a byte of the page behind a record that has come to a new one. The kernel maps the pages around
/// one that is read, all that are there, but of those that are written each by a fault of its own.
fn look_ahead(start: u64, length: u64) {
    let data = core::ptr::from_ref(&commons().trace.data) as u64;
    let at = (start + length + PAGE - data) as usize;
    let number = (start - data) as usize / RING_SIZE;
    // At a ring's end the first pages of the next one: nobody's harm.
    if let Some(byte) = commons().trace.data.get(number).map(|ring| ring.0.get())
        && at / RING_SIZE == number
    {
        unsafe { byte.cast::<u8>().add(at % RING_SIZE).read_volatile() };
    }
}

/// Whether a call may never return.
fn is_last(number: u32) -> bool {
    matches!(
        number,
        nr::execve | nr::execveat | nr::exit | nr::exit_group
    )
}

/// Whether calls are recorded.
pub fn is_on() -> bool {
    tables().watched_calls.load(Relaxed) & (watch::RECORDED | watch::FLIGHT) != 0
}

/// Whether not all calls are: those who follow want some, and nothing else is kept.
fn is_chosen() -> bool {
    let watch = tables().watched_calls.load(Relaxed);
    watch & (watch::CHOSEN | watch::FLIGHT) == watch::CHOSEN
}

/// Whether a call that begins may be one that somebody wants.
fn is_wanted(thread: &Thread, number: u32) -> bool {
    let wanted = &tables().wanted;
    // Another thread may tell how an exec ended.
    !is_chosen()
        || wanted.has_call(number)
            && wanted.has_process(thread.process().zone_pid)
            && (is_last(number) || wanted.has_thread(thread.zone_tid()))
}

/// Begins the record of a call, with these flags. Whether it has one.
#[cold]
#[inline(never)]
pub fn begin(thread: &mut Thread, number: u32, args: [u64; 6], flags: u32) -> bool {
    if !is_wanted(thread, number) || !open(thread) {
        return false;
    }
    let record = &mut thread.record;
    (record.nr, record.args, record.flags) = (number, args, record.flags | flags);
    record.capture(None);
    if tables().watched_calls.load(Relaxed) & watch::STACKS != 0 {
        stack(thread);
    }
    let record = &mut thread.record;
    record.begin = arch::clock();
    if is_last(number) {
        record.flags |= flags::BEGUN;
        publish(thread, 0, 0);
    }
    true
}

/// Adds whence the guest makes the call: its registers, and as much of its stack as can be read and there
/// is room for.
#[cold]
#[inline(never)]
fn stack(thread: &mut Thread) {
    let of_guest = if thread.came_by_jump() {
        arch::jump::registers_of(thread).cast_const()
    } else {
        unsafe { &raw const (*thread.context).regs }
    };
    let of = unsafe { &*of_guest };
    let registers: [u64; REGISTERS] = [
        of.rax, of.rdx, of.rcx, of.rbx, of.rsi, of.rdi, of.rbp, of.rsp, of.r8, of.r9, of.r10,
        of.r11, of.r12, of.r13, of.r14, of.r15, of.rip,
    ];
    let record = &mut thread.record;
    let (at, front) = (record.at, size_of_val(&registers) as u64);
    let room = record
        .end_of_room()
        .saturating_sub(at + PART + front + KEPT);
    let room = room.min(STACK_MAX as u64) & !7;
    let to = at + PART + front;
    let mut length = 0;
    while length < room {
        let from = of.rsp.wrapping_add(length);
        // A page can be read, or cannot.
        let some = (PAGE - from % PAGE).min(room - length);
        if !arch::copy(to + length, from, some as usize) {
            break;
        }
        length += some;
    }
    let head = PartHead {
        kind: kind::STACK,
        length: (front + length) as u16,
        ..PartHead::default()
    };
    if let Some(to) = record.part(head) {
        unsafe { (to as *mut [u64; REGISTERS]).write(registers) };
    }
}

/// Ends it.
#[cold]
#[inline(never)]
pub fn end(thread: &mut Thread, result: i64) {
    let now = arch::clock();
    if result == arch::RESTART {
        // It is made again.
        thread.record.at = 0;
        return;
    }
    let number = thread.record.nr;
    if is_last(number) {
        let begin = thread.record.begin;
        if !open(thread) {
            return;
        }
        thread.record.begin = begin;
        thread.record.flags = flags::ENDED;
    } else if !thread.record.is_open() {
        return;
    } else if is_chosen() && !tables().wanted.has_end(result, thread.record.begin, now) {
        thread.record.at = 0;
        return;
    } else if !(-4095..0).contains(&result) {
        thread.record.capture(Some(result));
    }
    publish(thread, result, now);
}

/// What is being recorded is refused, whatever its arguments.
#[cold]
#[inline(never)]
pub fn refused(thread: &mut Thread) {
    let record = &mut thread.record;
    if record.is_open() {
        record.flags |= flags::REFUSED;
    }
}

/// Ends the record of a call whose return was taken from it: a signal of its own making came first.
#[cold]
#[inline(never)]
pub fn end_before_signal(thread: &mut Thread) {
    if thread.record.is_open() {
        publish(thread, 0, arch::clock());
    }
}

/// Tells that a program begins.
#[cold]
#[inline(never)]
pub fn executed(thread: &mut Thread) {
    if !is_wanted(thread, nr::execve) || !open(thread) {
        return;
    }
    let now = arch::clock();
    let process = thread.process();
    let exe = process.exe.get(..process.exe_len as usize).unwrap_or(b"");
    let record = &mut thread.record;
    if record.is_named {
        record.name();
    }
    (record.nr, record.args, record.begin) = (nr::execve, [0; 6], now);
    record.flags = flags::ENDED | flags::EXECUTED;
    let head = PartHead {
        kind: kind::MEMORY,
        ..PartHead::default()
    };
    record.own(head, &[exe]);
    publish(thread, 0, now);
}

/// The guest's path that is read now is what is being followed.
#[cold]
#[inline(never)]
pub fn follows(from: u64) {
    let record = &mut me().record;
    (record.path, record.host_path) = (from, 0);
}

/// The path that is being followed is none of a mount's.
#[cold]
#[inline(never)]
pub fn no_host_path(thread: &mut Thread) {
    forget_host_path(&mut thread.record);
}

/// Nothing is known of where the path lies on the host that is being followed.
fn forget_host_path(record: &mut Record) {
    let at = core::mem::take(&mut record.host_path);
    if at == 0 {
        return;
    }
    let part = unsafe { &mut *(at as *mut PartHead) };
    if record.texts.iter().any(|text| text.at == at) {
        part.extra = 0;
        return;
    }
    part.kind = kind::NONE;
    if at + PART + u64::from(part.length).next_multiple_of(8) == record.at {
        record.at = at;
    }
}

/// The kernel is given a path beneath a descriptor: of the zone's mounts, or another one.
#[cold]
#[inline(never)]
pub fn host_path(thread: &mut Thread, fd: u64, path: u64) {
    let record = &mut thread.record;
    forget_host_path(record);
    let is_mount = (u64::from(FD_MOUNT0)..u64::from(FD_PARENTS)).contains(&fd);
    if !is_mount || record.path == 0 {
        return;
    }
    let text = unsafe { CStr::from_ptr(path as *const core::ffi::c_char) };
    put_host_path(record, fd as u32, &[text.to_bytes()]);
}

fn put_host_path(record: &mut Record, fd: u32, pieces: &[&[u8]]) {
    let at = record.at;
    let head = PartHead {
        kind: kind::HOST_PATH,
        length: 0,
        extra: fd,
        value: record.path,
    };
    if record.own(head, pieces) {
        record.host_path = at;
    }
}

/// The path that is being followed is found by its text: nothing on the way is a link. Where that is, who
/// reads the record finds out.
#[cold]
#[inline(never)]
pub fn host_path_by_text(thread: &mut Thread, path: &CStr) {
    let record = &mut thread.record;
    forget_host_path(record);
    let followed = record.path;
    if followed == 0 || path.to_bytes().first() != Some(&b'/') {
        return;
    }
    let mut texts = record.texts.iter();
    if let Some(text) = texts.find(|text| text.from == followed) {
        unsafe { (*(text.at as *mut PartHead)).extra = BY_TEXT };
        record.host_path = text.at;
    }
}

/// What is being done is done to a name in the directory that was found.
#[cold]
#[inline(never)]
pub fn host_path_of_name(thread: &mut Thread, name: &[u8]) {
    let record = &mut thread.record;
    if record.host_path == 0 {
        return;
    }
    let part = unsafe { (record.host_path as *const PartHead).read() };
    if part.kind != kind::HOST_PATH {
        forget_host_path(record);
        return;
    }
    let mut directory = [0; 512];
    let length = usize::from(part.length);
    let from = (record.host_path + PART) as *const u8;
    let Some(copy) = directory.get_mut(..length) else {
        forget_host_path(record);
        return;
    };
    unsafe { core::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), length) };
    let copy = copy.strip_suffix(b"/").unwrap_or(copy);
    let slash: &[u8] = if copy.is_empty() { b"" } else { b"/" };
    forget_host_path(record);
    put_host_path(record, part.extra, &[copy, slash, name]);
}

/// A socket address of the call, as the host has it.
#[cold]
#[inline(never)]
pub fn host_address(bytes: &[u8]) {
    let head = PartHead {
        kind: kind::HOST_ADDRESS,
        ..PartHead::default()
    };
    me().record.own(head, &[bytes]);
}

/// A process, thread or group that the call names.
#[cold]
#[inline(never)]
pub fn host_pid(zone: u32, host: u32) {
    let head = PartHead {
        kind: kind::HOST_PID,
        length: 0,
        extra: zone,
        value: host.into(),
    };
    me().record.own(head, &[]);
}
