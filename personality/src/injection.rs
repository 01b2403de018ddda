//! Rules by which calls are made to fail, to wait, or to do less: fault injection.
//!
//! The monitor writes them into the tables, the personality asks them before it serves a call. All that a
//! rule can do is what the guest could do to itself: not make the call, make it later or with a shorter
//! length, send itself a signal. So nothing of a zone's boundary depends on who obeys them.

use crate::sequenced::Sequenced;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::Relaxed;

/// How many rules can be in force at one time.
pub const RULES_MAX: usize = 16;
/// How many steps a rule's condition has at most.
pub const STEPS_MAX: usize = 32;
/// Length of the patterns of a rule, all together, and of each, in [`piece`]s.
pub const PIECES_MAX: usize = 255;
/// Numbers of calls.
const NUMBERS: usize = 512;
const WORDS_OF_PIECES: usize = PIECES_MAX.div_ceil(4);

/// What a pattern is made of; below 256, the byte itself.
pub mod piece {
    /// `?`: one byte, and no slash.
    pub const ONE: u16 = 256;
    /// `*`: any number of these.
    pub const SOME: u16 = 257;
    /// `**`: any number of bytes.
    pub const ALL: u16 = 258;
}

/// Of [`Rule::acts`].
pub mod acts {
    /// The call is not made and gives [`Rule::result`](super::Rule::result).
    pub const RESULT: u64 = 1;
    /// A signal is sent.
    pub const SIGNAL: u64 = 2;
    /// What is read or written is shorter.
    pub const SHORT: u64 = 4;
}

/// A step of a condition, which is worked off from left to right with the answers of earlier steps kept
/// on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Whether any path of the call is as a pattern says: from a piece on, so many.
    Path(u8, u8),
    /// The same of the thread's name.
    Comm(u8, u8),
    /// Whether the process has this number in the zone.
    Pid(Order, u32),
    /// The same of the thread.
    Tid(Order, u32),
    /// The same of any descriptor that the call is given.
    Fd(Order, u32),
    /// The same of the port of any address that it is given.
    Port(Order, u32),
    /// Whether both of the last two hold.
    And,
    /// Whether one of them does.
    Or,
    /// Whether the last one does not.
    Not,
}

/// How numbers are compared: which of less, equal and more is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order(pub u8);

impl Order {
    /// The number is less than the rule's.
    pub const LESS: u8 = 1;
    /// It is the same.
    pub const EQUAL: u8 = 2;
    /// It is more.
    pub const MORE: u8 = 4;

    fn holds(self, value: u32, than: u32) -> bool {
        let found = match value.cmp(&than) {
            core::cmp::Ordering::Less => Self::LESS,
            core::cmp::Ordering::Equal => Self::EQUAL,
            core::cmp::Ordering::Greater => Self::MORE,
        };
        self.0 & found != 0
    }
}

impl Step {
    /// As a word. 0 is none.
    #[must_use]
    pub const fn word(self) -> u64 {
        const fn put(what: u64, of: u8, value: u32) -> u64 {
            what | (of as u64) << 8 | (value as u64) << 32
        }
        match self {
            Self::Path(start, length) => put(1, start, length as u32),
            Self::Comm(start, length) => put(2, start, length as u32),
            Self::Pid(order, than) => put(3, order.0, than),
            Self::Tid(order, than) => put(4, order.0, than),
            Self::And => 5,
            Self::Or => 6,
            Self::Not => 7,
            Self::Fd(order, than) => put(8, order.0, than),
            Self::Port(order, than) => put(9, order.0, than),
        }
    }

    /// From a word.
    #[must_use]
    pub fn from_word(word: u64) -> Option<Self> {
        let [what, of, ..] = word.to_le_bytes();
        let value = u32::try_from(word >> 32).ok()?;
        let length = || u8::try_from(value).ok();
        Some(match what {
            1 => Self::Path(of, length()?),
            2 => Self::Comm(of, length()?),
            3 => Self::Pid(Order(of), value),
            4 => Self::Tid(Order(of), value),
            5 => Self::And,
            6 => Self::Or,
            7 => Self::Not,
            8 => Self::Fd(Order(of), value),
            9 => Self::Port(Order(of), value),
            _ => return None,
        })
    }
}

/// A rule. All zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rule {
    /// Of which calls: one bit each.
    pub calls: [u64; NUMBERS / 64],
    /// The first of them that it is for, counted from 1 over the whole zone.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Each so many it is for; 0: the first one only.
    pub step: u64,
    /// How often of 2^32 of these it really is.
    pub chance: u64,
    /// What chooses them.
    pub seed: u64,
    /// See [`acts`].
    pub acts: u64,
    /// The result word, in place of the call.
    pub result: i64,
    /// For how long the call waits before it is made, in nanoseconds.
    pub before_ns: u64,
    /// And afterwards.
    pub after_ns: u64,
    /// The signal that the thread then gets.
    pub signal: u64,
    /// The most that is read or written.
    pub short: u64,
    /// The condition: [`Step`]s as words, up to the first 0. None: it holds.
    pub steps: [u64; STEPS_MAX],
    /// The patterns: [`piece`]s, four in a word.
    pub pieces: [u64; WORDS_OF_PIECES],
}

const WORDS: usize = size_of::<Rule>() / 8;
const _: () = assert!(size_of::<Rule>() == WORDS * 8 && align_of::<Rule>() == 8);

/// What a rule's condition is about.
pub trait Caller {
    /// Whether any path that the call is given is so.
    fn any_path(&mut self, is: &mut dyn FnMut(&[u8]) -> bool) -> bool;
    /// Whether the thread's name is.
    fn comm(&mut self, is: &mut dyn FnMut(&[u8]) -> bool) -> bool;
    /// Whether any descriptor that the call is given is.
    fn any_fd(&mut self, is: &mut dyn FnMut(u32) -> bool) -> bool;
    /// Whether the port of any address that it is given is.
    fn any_port(&mut self, is: &mut dyn FnMut(u32) -> bool) -> bool;
    /// Number of the process in the zone.
    fn pid(&self) -> u32;
    /// Number of the thread in the zone.
    fn tid(&self) -> u32;
}

impl Rule {
    /// The rule that is none.
    pub const NONE: Rule = Rule {
        calls: [0; NUMBERS / 64],
        first: 0,
        last: 0,
        step: 0,
        chance: 0,
        seed: 0,
        acts: 0,
        result: 0,
        before_ns: 0,
        after_ns: 0,
        signal: 0,
        short: 0,
        steps: [0; STEPS_MAX],
        pieces: [0; WORDS_OF_PIECES],
    };

    /// Makes it be of that call too.
    pub fn add_call(&mut self, nr: u32) {
        if let Some(word) = self.calls.get_mut(nr as usize / 64) {
            *word |= 1 << (nr % 64);
        }
    }

    /// Whether it is of that call.
    #[must_use]
    pub fn has_call(&self, nr: u32) -> bool {
        let word = self.calls.get(nr as usize / 64);
        word.is_some_and(|word| word >> (nr % 64) & 1 != 0)
    }

    /// Puts a piece of a pattern. Whether there was room.
    pub fn put_piece(&mut self, at: usize, piece: u16) -> bool {
        match self.pieces.get_mut(at / 4) {
            Some(word) if at < PIECES_MAX => {
                *word |= u64::from(piece) << (16 * (at % 4));
                true
            }
            _ => false,
        }
    }

    fn piece(&self, at: usize) -> u16 {
        let word = self.pieces.get(at / 4).copied().unwrap_or(0);
        #[expect(clippy::cast_possible_truncation, reason = "one of four pieces")]
        let piece = (word >> (16 * (at % 4))) as u16;
        piece
    }

    /// Whether its condition holds.
    pub fn holds(&self, caller: &mut dyn Caller) -> bool {
        // The answers, the last one lowest.
        let mut answers = 1_u64;
        for step in self.steps.iter().map_while(|word| Step::from_word(*word)) {
            answers = match step {
                Step::And => answers >> 1 & (answers | !1),
                Step::Or => answers >> 1 | answers & 1,
                Step::Not => answers ^ 1,
                Step::Path(start, length) => {
                    let mut is = |text: &[u8]| self.matches((start, length), text);
                    answers << 1 | u64::from(caller.any_path(&mut is))
                }
                Step::Comm(start, length) => {
                    let mut is = |text: &[u8]| self.matches((start, length), text);
                    answers << 1 | u64::from(caller.comm(&mut is))
                }
                Step::Pid(order, than) => answers << 1 | u64::from(order.holds(caller.pid(), than)),
                Step::Tid(order, than) => answers << 1 | u64::from(order.holds(caller.tid(), than)),
                Step::Fd(order, than) => {
                    let mut is = |fd| order.holds(fd, than);
                    answers << 1 | u64::from(caller.any_fd(&mut is))
                }
                Step::Port(order, than) => {
                    let mut is = |port| order.holds(port, than);
                    answers << 1 | u64::from(caller.any_port(&mut is))
                }
            };
        }
        answers & 1 != 0
    }

    /// Whether it is for the call of that number, counted from 1, of those for which it holds.
    #[must_use]
    pub fn is_for(&self, number: u64) -> bool {
        let Some(since) = number.checked_sub(self.first) else {
            return false;
        };
        let is_chosen = since == 0 || since.checked_rem(self.step) == Some(0);
        is_chosen && number <= self.last && mixed(self.seed, number) >> 32 < self.chance
    }

    /// Whether all of a text is as a pattern says: by which beginnings of the pattern match what was seen,
    /// so that it takes no longer than both lengths multiplied.
    #[must_use]
    pub fn matches(&self, (start, length): (u8, u8), text: &[u8]) -> bool {
        let pieces = |at: u8| self.piece(usize::from(start) + usize::from(at));
        let mut now = Places::default();
        now.add(0);
        self.skip((start, length), &mut now);
        for &byte in text {
            let mut next = Places::default();
            for at in (0..length).filter(|at| now.has(*at)) {
                match pieces(at) {
                    piece::ONE if byte != b'/' => next.add(at + 1),
                    piece::SOME if byte != b'/' => next.add(at),
                    piece::ALL => next.add(at),
                    wanted if wanted == u16::from(byte) => next.add(at + 1),
                    _ => {}
                }
            }
            self.skip((start, length), &mut next);
            now = next;
        }
        now.has(length)
    }

    /// `*` may stand for nothing.
    fn skip(&self, (start, length): (u8, u8), now: &mut Places) {
        for at in 0..length {
            let piece = self.piece(usize::from(start) + usize::from(at));
            if now.has(at) && matches!(piece, piece::SOME | piece::ALL) {
                now.add(at + 1);
            }
        }
    }
}

/// A set of places in a pattern.
#[derive(Clone, Copy, Default)]
struct Places([u64; 4]);

impl Places {
    fn add(&mut self, at: u8) {
        if let Some(word) = self.0.get_mut(usize::from(at / 64)) {
            *word |= 1 << (at % 64);
        }
    }
    fn has(&self, at: u8) -> bool {
        let word = self.0.get(usize::from(at / 64));
        word.is_some_and(|word| word >> (at % 64) & 1 != 0)
    }
}

/// A number that looks like chance and is the same every time (SplitMix64).
fn mixed(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A place for a rule.
#[repr(transparent)]
pub struct RuleRow(Sequenced<WORDS>);

impl RuleRow {
    /// Copies the rule to the caller's place, if it is one of that call. `None` also while it is being
    /// written.
    pub fn of_call<'r>(&self, nr: u32, rule: &'r mut MaybeUninit<Rule>) -> Option<&'r Rule> {
        // SAFETY: `Rule` is as long and as aligned, and made of integers only.
        let words = unsafe { &mut *rule.as_mut_ptr().cast::<MaybeUninit<[u64; WORDS]>>() };
        let is_of = |words: &[core::sync::atomic::AtomicU64; WORDS]| {
            let word = words.get(nr as usize / 64);
            (nr as usize) < NUMBERS
                && word.is_some_and(|word| word.load(Relaxed) >> (nr % 64) & 1 != 0)
        };
        let words = self.0.read_into(is_of, words)?;
        // SAFETY: as above.
        Some(unsafe { &*core::ptr::from_ref(words).cast::<Rule>() })
    }

    /// Replaces the rule. There must be one writer at a time.
    pub fn set(&self, rule: &Rule) {
        // SAFETY: as long, and made of integers only.
        let words = unsafe { core::mem::transmute::<Rule, [u64; WORDS]>(*rule) };
        self.0.write(&words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Of(&'static [&'static [u8]]);

    impl Caller for Of {
        fn any_path(&mut self, is: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.0.iter().any(|path| is(path))
        }
        fn comm(&mut self, is: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            is(b"sh")
        }
        fn any_fd(&mut self, is: &mut dyn FnMut(u32) -> bool) -> bool {
            is(3) || is(4)
        }
        fn any_port(&mut self, is: &mut dyn FnMut(u32) -> bool) -> bool {
            is(80)
        }
        fn pid(&self) -> u32 {
            7
        }
        fn tid(&self) -> u32 {
            8
        }
    }

    fn rule(steps: &[Step], pieces: &[u16]) -> Rule {
        let mut rule = Rule::NONE;
        for (to, step) in rule.steps.iter_mut().zip(steps) {
            *to = step.word();
        }
        for (at, piece) in pieces.iter().enumerate() {
            assert!(rule.put_piece(at, *piece));
        }
        rule
    }

    #[test]
    fn steps_are_worked_off() {
        let is = |value| Step::Pid(Order(Order::EQUAL), value);
        for (steps, holds) in [
            (&[][..], true),
            (&[is(7)], true),
            (&[is(8)], false),
            (&[is(8), Step::Not], true),
            (&[is(7), is(8), Step::And], false),
            (&[is(8), is(7), Step::And], false),
            (&[is(7), is(7), Step::And], true),
            (&[is(8), is(8), Step::Or], false),
            (&[is(8), is(7), Step::Or], true),
            (&[is(7), is(8), Step::Or], true),
            (&[is(7), is(8), Step::Or, is(7), Step::And], true),
            (&[is(8), is(7), is(7), Step::And, Step::And], false),
            (&[Step::Tid(Order(Order::LESS | Order::EQUAL), 8)], true),
            (&[Step::Fd(Order(Order::EQUAL), 4)], true),
            (&[Step::Fd(Order(Order::MORE), 4)], false),
            (&[Step::Port(Order(Order::LESS), 1024)], true),
            (&[Step::Port(Order(Order::EQUAL), 81)], false),
            (&[Step::Tid(Order(Order::LESS), 8)], false),
            (&[Step::Tid(Order(Order::MORE), 7)], true),
        ] {
            assert_eq!(rule(steps, &[]).holds(&mut Of(&[])), holds, "{steps:?}");
            for step in steps {
                assert_eq!(Step::from_word(step.word()), Some(*step));
            }
        }
        let conf: Vec<u16> = [piece::SOME]
            .into_iter()
            .chain(b".conf".map(u16::from))
            .collect();
        let of_conf = rule(&[Step::Path(0, 6)], &conf);
        assert!(of_conf.holds(&mut Of(&[b"a", b"b.conf"])));
        assert!(!of_conf.holds(&mut Of(&[b"a", b"a/b.conf"])));
        assert!(!of_conf.holds(&mut Of(&[])));
        assert!(rule(&[Step::Comm(0, 1)], &[piece::ALL]).holds(&mut Of(&[])));
        // Garbage ends somewhere, one way or the other.
        let mut garbage = Rule::NONE;
        garbage.steps = [0x4141_4141_4100_0501; STEPS_MAX];
        garbage.holds(&mut Of(&[b"x"]));
    }

    #[test]
    fn some_calls_are_chosen() {
        let chosen = |first, last, step| {
            let rule = Rule {
                first,
                last,
                step,
                chance: 1 << 32,
                ..Rule::NONE
            };
            (1..10)
                .filter(|&number| rule.is_for(number))
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen(3, u64::MAX, 0), [3]);
        assert_eq!(chosen(3, u64::MAX, 2), [3, 5, 7, 9]);
        assert_eq!(chosen(2, 4, 1), [2, 3, 4]);
        let by_chance = |seed| {
            let rule = Rule {
                first: 1,
                last: u64::MAX,
                step: 1,
                chance: 1 << 30,
                seed,
                ..Rule::NONE
            };
            (1..=10_000).filter(|&n| rule.is_for(n)).collect::<Vec<_>>()
        };
        let found = by_chance(7);
        assert!((2300..2700).contains(&found.len()), "{}", found.len());
        assert_eq!(found, by_chance(7));
        assert_ne!(found, by_chance(8));
    }

    #[test]
    fn rules_are_found_by_their_calls() {
        // SAFETY: all zero is a row that was never written.
        let row: RuleRow = unsafe { core::mem::zeroed() };
        let mut place = MaybeUninit::uninit();
        assert!(row.of_call(257, &mut place).is_none());
        let mut rule = rule(&[Step::Not], &[3]);
        rule.add_call(257);
        row.set(&rule);
        assert_eq!(row.of_call(257, &mut place), Some(&rule));
        for other in [0, 256, 258, 511, 512, 769, u32::MAX] {
            assert!(row.of_call(other, &mut place).is_none(), "{other}");
        }
        assert!(rule.has_call(257) && !rule.has_call(258));
        row.set(&Rule::NONE);
        assert!(row.of_call(257, &mut place).is_none());
    }
}
