//! A guest that writes what it likes where calls are recorded.
//!
//! `hostile_trace ROUNDS`: takes rings that are not its own, forges records and stacks, and has their
//! positions say anything. Prints `still runs`. What the monitor makes of that is looked at outside.
#![expect(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    clippy::cast_possible_truncation,
    reason = "everything here is meant to do harm; the monitor is to keep it from doing so"
)]

use picozone_personality::commons::Commons;
use picozone_personality::layout::{COMMONS_BASE, JUMP_ENTRY};
use picozone_personality::trace::{PADDING, REGISTERS, RING_SIZE, RINGS, Ring, Rings, kind};
use std::mem::offset_of;
use std::sync::atomic::Ordering::Relaxed;

fn main() {
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let rounds: u64 = rounds.expect("usage: hostile_trace ROUNDS");
    let place = COMMONS_BASE + offset_of!(Commons, trace) as u64;
    let rings = unsafe { &*(place as *const Rings) };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let own = unsafe { libc::gettid() }.unsigned_abs();
    let owners = [own, 0, 1, 2, u32::MAX, i32::MAX.unsigned_abs(), 1 << 22];
    for round in 0..rounds {
        let number = random.below(RINGS as u64);
        let ring = &rings.rings[number as usize];
        let data = rings.data[number as usize].0.get().cast::<u64>();
        if round % 16 == 0 {
            forge_stacks(ring, data, own, &mut random);
            continue;
        }
        let words = (RING_SIZE / 8) as u64;
        let mut at = random.below(words);
        // Something like records, from anywhere on.
        for _ in 0..random.below(20) {
            let length = match random.below(4) {
                0 => random.below(1 << 32),
                1 => 96,
                2 => 96 + 8 * random.below(300),
                _ => random.below(RING_SIZE as u64 + 64),
            };
            let nr = match random.below(4) {
                0 => u64::from(PADDING),
                1 => random.below(1 << 32),
                _ => random.below(470),
            };
            for i in 0..12 + random.below(40) {
                let word = match i {
                    0 => length & 0xffff_ffff | nr << 32,
                    // A part that claims to be as long as it can.
                    12 => random.below(8) | 0xffff << 16,
                    _ => random.next(),
                };
                unsafe { data.add(((at + i) % words) as usize).write_volatile(word) };
            }
            at = (at + length / 8) % words;
        }
        let written = match random.below(5) {
            0 => random.next(),
            1 => u64::MAX,
            2 => ring.written.load(Relaxed).wrapping_add(RING_SIZE as u64),
            3 => ring
                .written
                .load(Relaxed)
                .wrapping_add(8 * random.below(words)),
            _ => at * 8,
        };
        ring.written.store(written, Relaxed);
        ring.read.store(random.next(), Relaxed);
        ring.dropped.store(random.next(), Relaxed);
        ring.oldest.store(
            match random.below(3) {
                0 => random.next(),
                1 => written,
                _ => written.wrapping_sub(8 * random.below(words)),
            },
            Relaxed,
        );
        ring.owner.store(owners[random.below(7) as usize], Relaxed);
        if round % 64 == 0 {
            rings.lost.store(random.next(), Relaxed);
            rings.bell.fetch_add(1, Relaxed);
            // And is recorded itself.
            unsafe { libc::access(c"/etc/passwd".as_ptr(), libc::R_OK) };
        }
    }
    println!("still runs");
}

/// Records that are whole, whose stacks lead to places that there are, and to others: into code, into this very
/// stack, and beyond what can be read.
fn forge_stacks(ring: &Ring, data: *mut u64, own: u32, random: &mut Random) {
    const HEAD: u64 = 12;
    const FRONT: u64 = HEAD + 2 + REGISTERS as u64;
    let size = (RING_SIZE / 8) as u64;
    let code = [
        main as fn() as usize as u64,
        libc::access as *const () as u64,
        libc::memcpy as *const () as u64,
        JUMP_ENTRY,
        0x7fff_ffff_f000,
        u64::MAX,
    ];
    let here = &raw const code as u64;
    ring.owner.store(own, Relaxed);
    let mut at = ring.written.load(Relaxed) / 8;
    for _ in 0..8 {
        let depth = random.below(900);
        if size - at % size < FRONT + depth {
            break;
        }
        let length = 8 * (REGISTERS as u64 + depth);
        let pointer = match random.below(4) {
            0 => random.next(),
            1 => u64::MAX - random.below(64),
            _ => here,
        };
        for i in 0..FRONT + depth {
            let place = match random.below(3) {
                0 => random.next(),
                1 => pointer.wrapping_add(8 * random.below(900)),
                _ => code[random.below(6) as usize].wrapping_add(random.below(64)),
            };
            let word = match i {
                0 => (8 * (FRONT + depth)) | (39 << 32),
                1 => u64::from(own) | (u64::from(std::process::id()) << 32),
                2..HEAD => random.next(),
                HEAD => u64::from(kind::STACK) | (length << 16),
                // Seven words on is the stack pointer.
                21 => pointer,
                _ => place,
            };
            unsafe { data.add(((at + i) % size) as usize).write_volatile(word) };
        }
        at += FRONT + depth;
        ring.written.store(8 * at, Relaxed);
    }
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
