//! Names that the kernel may be given by their address: single components, in read-only memory.
//!
//! With such a name, not followed if it is a link, `newfstatat`, `statx`, `readlinkat` and
//! `faccessat2` do nothing that an approved open (`O_PATH | O_NOFOLLOW`) and the same call on its
//! descriptor would not, whatever directory a guest combines it with: so the filter lets them through.
//! The monitor writes names in as guests miss them, over others where there is no room. Whichever
//! words of two names a reader mixes, it finds no slash, and never `..`: the first word is all of that.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// How many names there are.
pub const NAMES_MAX: usize = NEAR_MAX + FAR_MAX;
/// How many lie close together: a process that looks up few names touches few pages for them. Those
/// that were wanted first.
const NEAR_MAX: usize = 1 << 10;
/// How many lie apart.
const FAR_MAX: usize = 1 << 15;
/// How many of either a name can be.
const WAYS: usize = 4;
/// How many names are remembered that were missing.
pub const MISSED_MAX: usize = 256;
/// How many names may be missed before the monitor is asked for all of them.
pub const MISSED_BATCH: u32 = 64;
/// How many directories' watches can be told of.
pub const WATCHED_MAX: usize = 4096;
/// How often there may be no room for one before the monitor is asked to make some.
pub const CROWDED_BATCH: u32 = 64;
const WORDS: usize = 8;
/// Longest name that has a place, without its NUL.
pub const NAME_MAX: usize = WORDS * 8 - 1;

/// A name as it lies in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed([u64; WORDS]);

impl Packed {
    /// `None` for what is no single component, or too long: it goes another way.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Packed> {
        if name.contains(&b'/') || name.contains(&0) {
            return None;
        }
        Packed::of_component(name)
    }

    /// The same of what has neither a slash nor a NUL.
    #[must_use]
    #[inline]
    pub fn of_component(name: &[u8]) -> Option<Packed> {
        if matches!(name, b"" | b"." | b"..") || name.len() > NAME_MAX {
            return None;
        }
        let mut words = [0; WORDS];
        let (whole, rest) = name.as_chunks();
        for (to, chunk) in words.iter_mut().zip(whole) {
            *to = u64::from_ne_bytes(*chunk);
        }
        words[whole.len()] = low_bytes(rest);
        Some(Packed(words))
    }

    /// The bytes, up to their NUL.
    #[must_use]
    pub fn to_bytes(self) -> [u8; WORDS * 8] {
        let mut bytes = [0; WORDS * 8];
        let (chunks, _) = bytes.as_chunks_mut();
        for (to, word) in chunks.iter_mut().zip(self.0) {
            *to = word.to_ne_bytes();
        }
        bytes
    }

    #[inline]
    fn hash(&self) -> usize {
        let mut hash = 0u64;
        for &word in &self.0 {
            if word == 0 {
                break;
            }
            hash = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        (hash >> 32) as usize
    }
}

/// Less than eight bytes as the low ones of a word: from pieces that overlap, without a loop.
#[inline]
fn low_bytes(bytes: &[u8]) -> u64 {
    let at = |index: usize| u64::from(bytes[index]) << (8 * index);
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (bytes.len() - 4));
            u64::from(u32::from_le_bytes(*first)) | last
        }
        _ if bytes.is_empty() => 0,
        _ => at(0) | at(bytes.len() / 2) | at(bytes.len() - 1),
    }
}

/// A place for a name: NUL-terminated, all zero if unused.
#[repr(C, align(64))]
pub struct Slot([AtomicU64; WORDS]);

impl Slot {
    /// What it holds; a mix of two names while it is written.
    #[must_use]
    pub fn get(&self) -> Packed {
        Packed(core::array::from_fn(|at| self.0[at].load(Relaxed)))
    }

    #[inline]
    fn holds(&self, name: &Packed) -> bool {
        self.0
            .iter()
            .zip(&name.0)
            .all(|(word, wanted)| word.load(Relaxed) == *wanted)
    }

    fn set(&self, name: &Packed) {
        for (to, word) in self.0.iter().zip(name.0) {
            to.store(word, Relaxed);
        }
    }

    fn is_empty(&self) -> bool {
        self.0[0].load(Relaxed) == 0
    }
}

/// The names, in the tables.
#[repr(C)]
pub struct Names {
    /// Changes before a name is written over another.
    replaced: AtomicU32,
    /// Directories beneath mounts, by [`place_hash`], whose change the monitor tells by
    /// [`Commons::moves`](crate::commons::Commons::moves).
    watched: [AtomicU64; WATCHED_MAX],
    /// The slots.
    pub slots: [Slot; NAMES_MAX],
}

/// A name that may be given to the kernel.
#[derive(Clone, Copy)]
pub struct Vetted<'n> {
    names: &'n Names,
    slot: &'n Slot,
    replaced: u32,
}

impl Vetted<'_> {
    /// Where it lies.
    #[must_use]
    #[inline]
    pub fn address(&self) -> u64 {
        core::ptr::from_ref(self.slot) as u64
    }

    /// Whether that was the name all the time: to be asked after the kernel was given it.
    #[must_use]
    #[inline]
    pub fn is_same(&self) -> bool {
        self.names.replaced.load(Acquire) == self.replaced
    }
}

impl Names {
    /// Finds a name.
    #[must_use]
    #[inline]
    pub fn find(&self, name: &Packed) -> Option<Vetted<'_>> {
        let replaced = self.replaced.load(Acquire);
        let near = self.near(name).iter().find(|slot| slot.holds(name));
        let slot = near.or_else(|| self.far(name).iter().find(|slot| slot.holds(name)))?;
        Some(Vetted {
            names: self,
            slot,
            replaced,
        })
    }

    #[inline]
    fn near(&self, name: &Packed) -> &[Slot] {
        let first = name.hash() & (NEAR_MAX - WAYS);
        self.slots.get(first..first + WAYS).unwrap_or(&[])
    }

    #[inline]
    fn far(&self, name: &Packed) -> &[Slot] {
        let first = NEAR_MAX + (name.hash() & (FAR_MAX - WAYS));
        self.slots.get(first..first + WAYS).unwrap_or(&[])
    }

    /// Writes a name in. There must be one writer at a time.
    pub fn add(&self, name: &Packed) {
        let (near, far) = (self.near(name), self.far(name));
        if near.iter().chain(far).any(|slot| slot.holds(name)) {
            return;
        }
        let free = near.iter().chain(far).find(|slot| slot.is_empty());
        let slot = free.or_else(|| {
            let number = self.replaced.fetch_add(1, AcqRel) as usize;
            far.get(number % WAYS)
        });
        if let Some(slot) = slot {
            slot.set(name);
            core::sync::atomic::fence(Release);
        }
    }

    /// Whether the monitor tells of changes on the way to a directory.
    #[must_use]
    pub fn is_watched(&self, place: u64) -> bool {
        self.places(place).any(|slot| slot.load(Acquire) == place)
    }

    /// Whether that could be noted of a directory.
    #[must_use]
    pub fn has_room(&self, place: u64) -> bool {
        self.places(place)
            .any(|slot| matches!(slot.load(Acquire), found if found == 0 || found == place))
    }

    /// Says that it does. False if there is no room for it.
    pub fn note_watched(&self, place: u64) -> bool {
        for slot in self.places(place) {
            let found = slot.compare_exchange(0, place, AcqRel, Acquire);
            if found.is_ok() || found == Err(place) {
                return true;
            }
        }
        false
    }

    /// Says that it tells of none any more, before it ceases to.
    pub fn forget_watched(&self) {
        for slot in &self.watched {
            slot.store(0, Release);
        }
    }

    fn places(&self, place: u64) -> impl Iterator<Item = &AtomicU64> {
        let first = (place >> 32) as usize & (WATCHED_MAX - WAYS);
        self.watched.iter().skip(first).take(WAYS)
    }
}

/// Stands for a directory beneath a mount.
#[must_use]
pub fn place_hash(mount: usize, rest: &[u8]) -> u64 {
    let mut hash = mount as u64 ^ 0xcbf2_9ce4_8422_2325;
    for &byte in rest {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash | 1
}

/// Names that were missing, in the commons: guests write them, the monitor takes them.
#[repr(C)]
pub struct Missed {
    count: AtomicU32,
    slots: [Slot; MISSED_MAX],
}

impl Missed {
    /// Remembers a name that was missing. Whether the monitor should be asked now: it was missing
    /// before, or many others were.
    pub fn note(&self, name: &Packed) -> bool {
        let Some(slot) = self.slots.get(name.hash() % MISSED_MAX) else {
            return false;
        };
        if slot.holds(name) {
            return true;
        }
        slot.set(name);
        self.count.fetch_add(1, Relaxed) % MISSED_BATCH == MISSED_BATCH - 1
    }

    /// Takes every name, whatever guests have made of it.
    pub fn take(&self) -> impl Iterator<Item = Packed> {
        self.slots.iter().filter_map(|slot| {
            if slot.is_empty() {
                return None;
            }
            let bytes = slot.get().to_bytes();
            slot.0[0].store(0, Relaxed);
            let length = bytes.iter().position(|&byte| byte == 0)?;
            Packed::new(bytes.get(..length)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Box<Names> {
        // SAFETY: zeroed memory is an empty table.
        unsafe { Box::<Names>::new_zeroed().assume_init() }
    }

    fn near_end(names: &Names) -> u64 {
        &raw const names.slots[NEAR_MAX] as u64
    }

    #[test]
    fn only_single_components_are_packed() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b", &[b'x'; 64]] {
            assert_eq!(Packed::new(name), None, "{name:?}");
        }
        for name in [&b"a"[..], b"...", b"..a", b".a", b"12345678", &[b'x'; 63]] {
            let bytes = Packed::new(name).expect("a name").to_bytes();
            assert_eq!(&bytes[..name.len()], name);
            assert!(bytes[name.len()..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn names_are_found_until_others_take_their_place() {
        let names = names();
        let name = Packed::new(b"passwd").expect("a name");
        assert!(names.find(&name).is_none());
        names.add(&name);
        let near = names.find(&name).expect("it was added").address();
        assert!(near < near_end(&names));
        let mut numbers = (0u32..).map(|number| number.to_string());
        let mut other = || {
            let number = numbers.next().expect("there are enough");
            Packed::new(number.as_bytes()).expect("a name")
        };
        // Those that were first keep their places; who comes later has one among the others.
        let name = loop {
            let name = other();
            names.add(&name);
            if names.find(&name).expect("it was added").address() >= near_end(&names) {
                break name;
            }
        };
        let vetted = names.find(&name).expect("it was added");
        assert!(vetted.is_same());
        let address = vetted.address() - &raw const names.slots as u64;
        assert_eq!(address % 64, 0);
        while names.find(&name).is_some() {
            let other = other();
            names.add(&other);
            assert!(names.find(&other).is_some());
        }
        assert!(!vetted.is_same());
    }

    /// Whatever a reader sees while one name is written over another.
    #[test]
    fn no_mix_of_two_names_leads_elsewhere() {
        let texts = [
            &b"..a"[..],
            b".",
            b"..",
            b"...",
            b"..\xff",
            b"ab",
            b"..345678..",
            b"12345678",
        ];
        let packed: Vec<Packed> = texts.iter().filter_map(|text| Packed::new(text)).collect();
        assert_eq!(packed.len(), texts.len() - 2);
        for from in &packed {
            for to in &packed {
                for mask in 0..1u32 << WORDS {
                    let mixed = core::array::from_fn(|at| {
                        let source = if mask >> at & 1 == 0 { from } else { to };
                        source.0[at]
                    });
                    let bytes = Packed(mixed).to_bytes();
                    let end = bytes.iter().position(|&byte| byte == 0).expect("a NUL");
                    assert!(!bytes[..end].contains(&b'/'));
                    assert!(!matches!(&bytes[..end], b"." | b".."));
                }
            }
        }
    }

    #[test]
    fn what_is_missed_twice_is_asked_for() {
        // SAFETY: zeroed memory holds no name.
        let missed = unsafe { Box::<Missed>::new_zeroed().assume_init() };
        let name = Packed::new(b"passwd").expect("a name");
        assert!(!missed.note(&name));
        assert!(missed.note(&name));
        assert_eq!(missed.take().collect::<Vec<_>>(), [name]);
        assert_eq!(missed.take().count(), 0);
        // What a guest may have written itself.
        missed.slots[7].set(&Packed([u64::from_ne_bytes(*b"../../et"); WORDS]));
        missed.slots[8].set(&Packed([
            u64::from_ne_bytes(*b"..\0\0\0\0\0\0"),
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ]));
        assert_eq!(missed.take().count(), 0);
    }

    #[test]
    fn watched_places_are_known() {
        let names = names();
        let place = place_hash(3, b"lib/x86_64-linux-gnu");
        assert!(!names.is_watched(place));
        assert!(names.note_watched(place));
        assert!(names.note_watched(place));
        assert!(names.is_watched(place));
        names.forget_watched();
        assert!(!names.is_watched(place) && names.has_room(place));
    }
}
