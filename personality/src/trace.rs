//! Rings of records: what the guests of a traced zone tell of the calls that they make.
//!
//! Each thread that makes a call while [`watch::RECORDED`] is set claims
//! a ring and writes there; the monitor copies what is new and tells how far it has come. A record is
//! one call: a [`Head`], then *parts*, each a [`PartHead`] and its bytes, all of it in multiples of eight
//! bytes. To the monitor it is hostile input: [`records`] and [`parts`] take any bytes, and what a guest
//! garbles are the records of its own zone.

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many threads of a zone can be recorded at one time.
pub const RINGS: usize = 1024;
/// How many rings keep their memory when their threads are gone: those that are claimed first, so that the
/// next threads find it warm.
pub const WARM: usize = 32;
/// Bytes of a ring.
pub const RING_SIZE: usize = 256 * 1024;
/// Longest record. A record is never parted by the end of a ring: where less room than this is left
/// there, padding fills it.
pub const RECORD_MAX: usize = 20 * 1024;
/// Longest text that a record holds in full.
pub const TEXT_MAX: usize = 4096;
/// How much of other bytes a record holds: as much as the decoder prints.
pub const BYTES_MAX: usize = 32;
/// How many texts of a list.
pub const LIST_MAX: usize = 32;
/// Of a second list of texts only the pointers are recorded, so many of them.
pub const POINTERS_MAX: usize = 255;
/// Longest socket address.
pub const ADDRESS_MAX: usize = 128;
/// Most of a thread's stack that a record holds: as much as a good number of frames takes.
pub const STACK_MAX: usize = 8 * 1024;
/// Registers that stand in front of it, in their order in DWARF, the instruction pointer last.
pub const REGISTERS: usize = 17;
/// How many bytes there are to read when a guest rings the monitor's bell.
pub const BELL_AT: u64 = RING_SIZE as u64 / 4;

/// Who writes a ring, and how far.
#[repr(C, align(64))]
pub struct Ring {
    /// Host id of the thread whose it is; 0: nobody's.
    pub owner: AtomicU32,
    /// Changes when the monitor has read: a thread that waits for room waits for that (futex(2)).
    pub room: AtomicU32,
    /// Bytes ever written.
    pub written: AtomicU64,
    /// Bytes ever read. Written by the monitor, which believes its own copy only.
    pub read: AtomicU64,
    /// Calls that found no room.
    pub dropped: AtomicU64,
    /// Not 0 if the thread waits for room.
    pub waits: AtomicU32,
    /// Where the oldest record begins that is still whole, if [`watch::FLIGHT`] says that this is kept:
    /// records follow each other from there up to `written`, whoever wrote them.
    pub oldest: AtomicU64,
}

/// The bytes of a ring.
#[repr(C, align(4096))]
pub struct Data(pub UnsafeCell<[u8; RING_SIZE]>);

/// All rings.
#[repr(C)]
pub struct Rings {
    /// Changes when a ring is to be read soon: the monitor waits for that (futex(2)).
    pub bell: AtomicU32,
    /// No ring from this one on was ever claimed.
    pub end: AtomicU32,
    /// Calls of threads that found no ring.
    pub lost: AtomicU64,
    /// The rings.
    pub rings: [Ring; RINGS],
    /// Their bytes.
    pub data: [Data; RINGS],
}

/// Of [`Tables::watched_calls`](crate::tables::Tables::watched_calls).
pub mod watch {
    /// Calls are recorded for those who follow them.
    pub const RECORDED: u32 = 1;
    /// There are rules by which calls fail: [`injection`](crate::injection).
    pub const INJECTED: u32 = 2;
    /// A call that finds no room for its record waits for it.
    pub const LOSSLESS: u32 = 4;
    /// Calls are recorded whether or not anybody follows, over older ones where nobody does.
    pub const FLIGHT: u32 = 8;
    /// Of those who follow nobody wants calls outside of [`wanted`](crate::wanted).
    pub const CHOSEN: u32 = 16;
    /// Records have the guest's stack.
    pub const STACKS: u32 = 32;
}

/// Of [`Head::flags`].
pub mod flags {
    /// The call has begun and may not return: another record with [`ENDED`] says how it ended, if it did.
    pub const BEGUN: u32 = 1;
    /// The end of a call of which a record with [`BEGUN`] has told the rest.
    pub const ENDED: u32 = 2;
    /// A program has just been started: the end of an exec of this process, whichever thread made it.
    pub const EXECUTED: u32 = 4;
    /// Something did not fit and is cut or missing.
    pub const CUT: u32 = 8;
    /// The call came by SIGSYS, not by a jump.
    pub const BY_SIGNAL: u32 = 16;
    /// A rule had a say in what became of the call: see [`injection`](crate::injection).
    pub const INJECTED: u32 = 32;
    /// No personality has recorded it, but a tracer: the program is in no zone.
    pub const BY_TRACER: u32 = 64;
    /// The call failed since zones do not offer it, or not in this form.
    pub const REFUSED: u32 = 128;
}

/// The longest step from one record to the next, and so how far apart `oldest` and `written` may be.
const LONGEST: u64 = RING_SIZE as u64;

impl Ring {
    /// Where the oldest record that stays begins if so many bytes are written from `written` on.
    /// `length_at` reads the first half of a word at a position.
    pub fn oldest_after(&self, written: u64, size: u64, length_at: impl Fn(u64) -> u32) -> u64 {
        let mut oldest = self.oldest.load(Ordering::Relaxed) & !7;
        // Others may have written anything there.
        if written.wrapping_sub(oldest) > LONGEST {
            return written;
        }
        while written.wrapping_sub(oldest) + size > LONGEST {
            let length = u64::from(length_at(oldest));
            if length == 0 || length % 8 != 0 || length > written.wrapping_sub(oldest) {
                return written;
            }
            oldest = oldest.wrapping_add(length);
        }
        oldest
    }
}

/// In [`Head::nr`]: no record, only padding.
pub const PADDING: u32 = u32::MAX;

/// What every record has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Head {
    /// Bytes of the whole record.
    pub length: u32,
    /// Number of the call.
    pub nr: u32,
    /// Host id of the thread.
    pub host_tid: u32,
    /// Zone pid of its process.
    pub zone_pid: u32,
    /// Its zone id.
    pub zone_tid: u32,
    /// See [`flags`].
    pub flags: u32,
    /// The processor's clock when the call began; 0 if the thread may not read it.
    pub begin: u64,
    /// The same when it ended.
    pub end: u64,
    /// The result word.
    pub result: i64,
    /// The arguments, in the zone's terms.
    pub args: [u64; 6],
}

/// What a part holds.
pub mod kind {
    /// Nothing any more.
    pub const NONE: u16 = 0;
    /// Bytes of the guest's memory, from the address `value` on; `extra`: 0 or [`BY_TEXT`](super::BY_TEXT).
    pub const MEMORY: u16 = 1;
    /// Where the path lies on the host that the guest gave by its address `value`: what follows the
    /// mount that has descriptor `extra`.
    pub const HOST_PATH: u16 = 2;
    /// A socket address as the host has it.
    pub const HOST_ADDRESS: u16 = 3;
    /// The process, thread or group that the zone calls `extra` has the host id `value`.
    pub const HOST_PID: u16 = 4;
    /// Name of the thread. In the first record of each, and where a program begins.
    pub const NAME: u16 = 5;
    /// The registers with which the guest makes the call, [`REGISTERS`](super::REGISTERS) words, and behind
    /// them its stack from the stack pointer on.
    pub const STACK: u16 = 6;
}

/// In [`PartHead::extra`] of a path in the guest's memory: it lies on the host where the zone's mounts say by
/// its text, since no link is on the way.
pub const BY_TEXT: u32 = 1;

/// What every part begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PartHead {
    /// See [`kind`].
    pub kind: u16,
    /// How many bytes follow; then as many unused ones as make it a multiple of eight.
    pub length: u16,
    /// By kind.
    pub extra: u32,
    /// By kind.
    pub value: u64,
}

/// A record, copied from a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its head.
    pub head: Head,
    /// What follows, see [`parts`].
    pub rest: &'a [u8],
}

/// A part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its head.
    pub head: PartHead,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// The records in bytes that were copied from a ring. Ends with `Err` where what follows is no record.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Garbled>> {
    core::iter::from_fn(move || {
        while !bytes.is_empty() {
            let Some((head, all)) = first(bytes) else {
                bytes = &[];
                return Some(Err(Garbled));
            };
            bytes = bytes.get(all.len()..).unwrap_or(&[]);
            if head.nr != PADDING {
                let rest = all.get(size_of::<Head>()..).unwrap_or(&[]);
                return Some(Ok(Record { head, rest }));
            }
        }
        None
    })
}

/// What a ring holds is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

/// The record at the start of bytes: its head, and all of it.
fn first(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let length = usize::try_from(u32_at(bytes, offset_of!(Head, length))?).ok()?;
    let nr = u32_at(bytes, offset_of!(Head, nr))?;
    let is_padding = nr == PADDING;
    let shortest = if is_padding { 8 } else { size_of::<Head>() };
    let longest = if is_padding { RING_SIZE } else { RECORD_MAX };
    if length % 8 != 0 || !(shortest..=longest).contains(&length) {
        return None;
    }
    let all = bytes.get(..length)?;
    if is_padding {
        let padding = Head {
            nr,
            ..Head::default()
        };
        return Some((padding, all));
    }
    let word = |at: usize| u64_at(all, at);
    let half = |at: usize| u32_at(all, at);
    let mut args = [0; 6];
    for (i, arg) in args.iter_mut().enumerate() {
        *arg = word(offset_of!(Head, args) + 8 * i)?;
    }
    let head = Head {
        length: half(offset_of!(Head, length))?,
        nr,
        host_tid: half(offset_of!(Head, host_tid))?,
        zone_pid: half(offset_of!(Head, zone_pid))?,
        zone_tid: half(offset_of!(Head, zone_tid))?,
        flags: half(offset_of!(Head, flags))?,
        begin: word(offset_of!(Head, begin))?,
        end: word(offset_of!(Head, end))?,
        result: word(offset_of!(Head, result))?.cast_signed(),
        args,
    };
    Some((head, all))
}

/// The parts of a record, up to where it is garbled.
pub fn parts(mut rest: &[u8]) -> impl Iterator<Item = Part<'_>> {
    core::iter::from_fn(move || {
        let length = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
        let head = PartHead {
            kind: u16::from_ne_bytes(*rest.first_chunk()?),
            length,
            extra: u32_at(rest, offset_of!(PartHead, extra))?,
            value: u64_at(rest, offset_of!(PartHead, value))?,
        };
        let start = size_of::<PartHead>();
        let bytes = rest.get(start..start + usize::from(length))?;
        let all = start + usize::from(length).next_multiple_of(8);
        rest = rest.get(all..).unwrap_or(&[]);
        Some(Part { head, bytes })
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

const _: () = {
    assert!(size_of::<Head>() == 96 && size_of::<PartHead>() == 16);
    assert!(RING_SIZE >= 4 * RECORD_MAX && RING_SIZE.is_multiple_of(4096));
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(nr: u32, args: [u64; 6], parts: &[(PartHead, &[u8])]) -> Vec<u8> {
        let mut rest = Vec::new();
        for (head, bytes) in parts {
            rest.extend(head.kind.to_ne_bytes());
            rest.extend(head.length.to_ne_bytes());
            rest.extend(head.extra.to_ne_bytes());
            rest.extend(head.value.to_ne_bytes());
            rest.extend(*bytes);
            rest.resize(rest.len().next_multiple_of(8), 0);
        }
        let mut all = Vec::new();
        let length = u32::try_from(size_of::<Head>() + rest.len()).expect("short");
        for half in [length, nr, 1, 2, 3, 4] {
            all.extend(half.to_ne_bytes());
        }
        for word in [5, 6, 7].iter().chain(&args) {
            all.extend(u64::to_ne_bytes(*word));
        }
        all.extend(rest);
        all
    }

    fn padding(length: u32) -> Vec<u8> {
        let mut all = length.to_ne_bytes().to_vec();
        all.extend(PADDING.to_ne_bytes());
        all.resize(length as usize, 0xa5);
        all
    }

    #[test]
    fn records_and_parts_are_found_behind_padding() {
        let path = PartHead {
            kind: kind::MEMORY,
            length: 5,
            extra: 0,
            value: 0x7000,
        };
        let pid = PartHead {
            kind: kind::HOST_PID,
            length: 0,
            extra: 12,
            value: 48213,
        };
        let mut bytes = record(257, [1, 2, 3, 4, 5, 6], &[(path, b"/etc\0"), (pid, b"")]);
        bytes.extend(padding(24));
        bytes.extend(record(62, [0; 6], &[]));
        let found: Vec<_> = records(&bytes)
            .map(|record| record.expect("whole"))
            .collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].head.nr, found[1].head.nr), (257, 62));
        assert_eq!(found[0].head.args, [1, 2, 3, 4, 5, 6]);
        assert_eq!(found[0].head.result, 7);
        let of: Vec<_> = parts(found[0].rest).collect();
        assert_eq!(of[0].bytes, b"/etc\0");
        assert_eq!(of[1].head, pid);
        assert_eq!(of.len(), 2);
    }

    #[test]
    fn the_oldest_record_goes_first() {
        let ring = Ring {
            owner: 0.into(),
            room: 0.into(),
            written: 0.into(),
            read: 0.into(),
            dropped: 0.into(),
            waits: 0.into(),
            oldest: 1000.into(),
        };
        let size = RING_SIZE as u64;
        let of = |written, more, length| ring.oldest_after(written, more, |_| length);
        assert_eq!(of(1000, size, 8), 1000);
        assert_eq!(of(2000, size - 1000, 8), 1000);
        assert_eq!(of(2000, size - 999, 8), 1008);
        assert_eq!(of(1000 + size, 20_000, 96), 1000 + 96 * 209);
        // What is garbled is left behind.
        for length in [0, 4, 100, u32::MAX] {
            assert_eq!(of(1000 + size, 8, length), 1000 + size, "{length}");
        }
        for written in [0, 999, 1001 + size, u64::MAX] {
            assert_eq!(of(written, 8, 96), written);
        }
    }

    #[test]
    fn a_wrong_length_ends_it() {
        for length in [0, 8, 95, 97, 104, u32::MAX] {
            let mut bytes = record(1, [0; 6], &[]);
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(
                records(&bytes).collect::<Vec<_>>(),
                [Err(Garbled)],
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for record in records(&bytes).flatten() {
                prop_assert!(parts(record.rest).count() <= record.rest.len() / 16);
            }
        }

        #[test]
        fn what_is_nearly_a_record_is_taken(
            at in 0usize..120, byte in any::<u8>(), length in any::<u16>()
        ) {
            let part = PartHead { kind: 1, length, extra: 0, value: 1 };
            let mut bytes = record(1, [0; 6], &[(part, b"abcdefgh")]);
            bytes[at] = byte;
            let found = records(&bytes).take(100).count();
            prop_assert!(found <= 2);
            for record in records(&bytes).flatten() {
                let all: usize = parts(record.rest).map(|part| part.bytes.len()).sum();
                prop_assert!(all <= bytes.len());
            }
        }
    }
}
