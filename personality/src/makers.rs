//! Who is about to make a file of which the zone has something to say.
//!
//! What is made is on the host at once; its owner and its mode in the zone stand in the ownership table
//! only when the monitor has been told. In between it looks as if it were the zone root's. So whoever
//! makes such a file takes a place here first, and leaves it once the table has the file: who finds a
//! young file without a row waits for those that had a place when it looked.
//!
//! Guests write all of this, so nobody trusts it for long. A file is waited for until it is [`GRACE_NS`]
//! old, and the place of who does not leave it (it was killed, or lies) is taken over by who has waited.
//! Where nobody makes anything, all of it costs one look at one word.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

/// How many can make files at one time; more wait for their turn.
pub const MAKERS_MAX: usize = 64;
/// How old a file without a row can be and still be waited for, in nanoseconds.
pub const GRACE_NS: i64 = 2_000_000_000;

/// In the low half of a place, a futex: somebody waits for who has it.
const AWAITED: u64 = 1 << 31;
/// The same: the host thread id of who has it; 0: nobody.
const TID: u64 = AWAITED - 1;
/// The high half counts how often the place was taken.
const ONCE: u64 = 1 << 32;

/// All places.
#[repr(C, align(64))]
pub struct Makers {
    /// One bit for each place that is taken. It is set before a file is made.
    taken: AtomicU64,
    places: [AtomicU64; MAKERS_MAX],
}

/// Somebody who has a place, or had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maker {
    place: usize,
    word: u64,
}

impl Maker {
    /// Which thread it is; a lie names any.
    #[must_use]
    pub fn host_tid(self) -> u32 {
        u32::try_from(self.word & TID).unwrap_or(0)
    }
}

impl Makers {
    /// Whether anybody makes anything. To be asked after a file was seen and before the ownership table
    /// is: if nobody does, the table has the last word.
    #[inline]
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.taken.load(Acquire) != 0
    }

    /// Those that make something now.
    pub fn all(&self) -> impl Iterator<Item = Maker> {
        let taken = self.taken.load(Acquire);
        let places = (0..MAKERS_MAX).filter(move |place| taken & 1 << place != 0);
        places.filter_map(|place| self.at(place))
    }

    /// Who has a place.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<Maker> {
        let place = place % MAKERS_MAX;
        let word = self.places[place].load(Acquire) & !AWAITED;
        (word & TID != 0).then_some(Maker { place, word })
    }

    /// Takes a place, if there is one.
    #[must_use]
    pub fn enter(&self, host_tid: u32) -> Option<Maker> {
        let first = host_tid as usize % MAKERS_MAX;
        let mut places = (first..MAKERS_MAX).chain(0..first);
        places.find_map(|place| {
            let word = self.places[place].load(Relaxed);
            let is_free = word & TID == 0;
            is_free.then(|| self.take(place, word, host_tid)).flatten()
        })
    }

    /// Takes the place of somebody who does not leave it.
    #[must_use]
    pub fn take_over(&self, from: Maker, host_tid: u32) -> Option<Maker> {
        let word = self.places[from.place].load(Relaxed);
        if word & !AWAITED != from.word {
            return None;
        }
        let maker = self.take(from.place, word, host_tid)?;
        // Others may still wait for it.
        self.places[from.place].fetch_or(word & AWAITED, AcqRel);
        Some(maker)
    }

    fn take(&self, place: usize, from: u64, host_tid: u32) -> Option<Maker> {
        let word = (from & !(TID | AWAITED)).wrapping_add(ONCE) | u64::from(host_tid) & TID;
        let taken = self.places[place].compare_exchange(from, word, AcqRel, Relaxed);
        taken.ok()?;
        self.taken.fetch_or(1 << place, SeqCst);
        Some(Maker { place, word })
    }

    /// Leaves a place, if it was not taken over. Whether somebody waits to be woken.
    #[must_use]
    pub fn leave(&self, maker: Maker) -> bool {
        let place = &self.places[maker.place];
        if place.load(Acquire) & !AWAITED != maker.word {
            return false;
        }
        // First the bit: nobody takes the place while it still has a word.
        self.taken.fetch_and(!(1 << maker.place), SeqCst);
        let left = place.swap(maker.word & !TID, AcqRel);
        left & AWAITED != 0
    }

    /// Says that somebody waits: the futex and what it holds, if the maker is still there.
    #[must_use]
    pub fn await_leaving(&self, maker: Maker) -> Option<(&AtomicU64, u32)> {
        let place = &self.places[maker.place];
        let awaited = maker.word | AWAITED;
        let word = match place.compare_exchange(maker.word, awaited, AcqRel, Acquire) {
            Ok(_) => awaited,
            Err(word) => word,
        };
        let low = u32::try_from(word & u64::from(u32::MAX)).ok()?;
        (word == awaited).then_some((place, low))
    }

    /// The futex on which those wait that [`Makers::leave`] told of: its low half.
    #[must_use]
    pub fn futex(&self, maker: Maker) -> &AtomicU64 {
        &self.places[maker.place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Makers {
        Makers {
            taken: AtomicU64::new(0),
            places: [const { AtomicU64::new(0) }; MAKERS_MAX],
        }
    }

    #[test]
    fn who_enters_is_seen_until_it_leaves() {
        let makers = none();
        assert!(!makers.are_there());
        let maker = makers.enter(70).expect("all places are free");
        assert!(makers.are_there() && maker.host_tid() == 70);
        assert_eq!(makers.all().collect::<Vec<_>>(), [maker]);
        assert!(!makers.leave(maker));
        assert!(!makers.are_there());
        assert!(makers.await_leaving(maker).is_none());
        // The same thread again is another maker.
        let again = makers.enter(70).expect("all places are free");
        assert_ne!(again, maker);
        assert!(makers.await_leaving(maker).is_none());
        assert!(!makers.leave(maker));
        assert!(makers.are_there());
    }

    #[test]
    fn who_is_awaited_is_told_so_once() {
        let makers = none();
        let maker = makers.enter(5).expect("free");
        let (_, low) = makers.await_leaving(maker).expect("it is there");
        let (_, again) = makers.await_leaving(maker).expect("it is there");
        assert_eq!((low, again), (5 | 1 << 31, 5 | 1 << 31));
        assert_eq!(makers.all().collect::<Vec<_>>(), [maker]);
        assert!(makers.leave(maker));
        assert!(!makers.leave(makers.enter(5).expect("free")));
    }

    #[test]
    fn places_are_limited_and_can_be_taken_over() {
        let makers = none();
        let all: Vec<_> = (1..=64).filter_map(|tid| makers.enter(tid)).collect();
        assert_eq!((all.len(), makers.all().count()), (64, 64));
        assert_eq!(makers.enter(65), None);
        let dead = all[7];
        assert!(makers.await_leaving(dead).is_some());
        let heir = makers.take_over(dead, 65).expect("it is still there");
        assert_eq!(heir.host_tid(), 65);
        assert_eq!(makers.take_over(dead, 66), None);
        // Who comes back has lost it.
        assert!(!makers.leave(dead));
        assert_eq!(makers.all().count(), 64);
        // Who waited for the dead one is woken.
        assert!(makers.leave(heir));
        assert_eq!(makers.all().count(), 63);
    }
}
