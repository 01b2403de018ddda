//! What a filter asks for where calls are recorded: see [`picozone_personality::wanted`].
//!
//! Bounds hold of each call of which the filter holds, and of some more.

use super::class::{has_addresses, has_descriptors};
use super::{Expression, Filter, Number, Order, Text};
use crate::trace::show;
use picozone_personality::wanted::NUMBERS;
use picozone_syscalls::{Kind, Row, nr, row};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A box around calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Their numbers, a bit for each; those above are always in it.
    pub calls: [u64; NUMBERS / 64],
    /// Their processes, in the zone.
    pub pids: RangeInclusive<u32>,
    /// Their threads, in the zone.
    pub tids: RangeInclusive<u32>,
    /// Their results.
    pub results: RangeInclusive<i64>,
    /// How long they take at least, in nanoseconds.
    pub shortest: u64,
}

impl Default for Bounds {
    /// Around all calls.
    fn default() -> Self {
        Self {
            calls: [u64::MAX; NUMBERS / 64],
            pids: 0..=u32::MAX,
            tids: 0..=u32::MAX,
            results: i64::MIN..=i64::MAX,
            shortest: 0,
        }
    }
}

impl Bounds {
    /// Around what is in one of both.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (word, other) in self.calls.iter_mut().zip(other.calls) {
            *word |= other;
        }
        self.pids = hull(&self.pids, &other.pids);
        self.tids = hull(&self.tids, &other.tids);
        self.results = hull(&self.results, &other.results);
        self.shortest = self.shortest.min(other.shortest);
        self
    }

    /// Around what is in both.
    fn and(mut self, other: &Self) -> Self {
        for (word, other) in self.calls.iter_mut().zip(other.calls) {
            *word &= other;
        }
        self.pids = common(&self.pids, &other.pids);
        self.tids = common(&self.tids, &other.tids);
        self.results = common(&self.results, &other.results);
        self.shortest = self.shortest.max(other.shortest);
        self
    }

    /// Around calls whose number is so.
    fn of_numbers(is: impl Fn(u32) -> bool) -> Self {
        let mut calls = [0; NUMBERS / 64];
        for (word, first) in calls.iter_mut().zip((0..).step_by(64)) {
            for bit in 0..64 {
                *word |= u64::from(is(first + bit)) << bit;
            }
        }
        Self {
            calls,
            ..Self::default()
        }
    }

    /// Around calls of the table that are so.
    fn of_rows(is: impl Fn(&Row) -> bool) -> Self {
        Self::of_numbers(|nr| row(nr).is_some_and(&is))
    }

    fn of_results(results: RangeInclusive<i64>) -> Self {
        Self {
            results,
            ..Self::default()
        }
    }
}

fn hull<T: Ord + Copy>(a: &RangeInclusive<T>, b: &RangeInclusive<T>) -> RangeInclusive<T> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ => *a.start().min(b.start())..=*a.end().max(b.end()),
    }
}

fn common<T: Ord + Copy>(a: &RangeInclusive<T>, b: &RangeInclusive<T>) -> RangeInclusive<T> {
    *a.start().max(b.start())..=*a.end().min(b.end())
}

const ERRORS: RangeInclusive<i64> = -4095..=-1;

impl Filter {
    /// Bounds of what it holds of; of all calls where it has to know what earlier ones did.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        if self.asks_names() {
            return Bounds::default();
        }
        let mut bounds = self.0.bounds(true);
        // What a program is, is told of all that are wanted.
        for exec in [nr::execve, nr::execveat] {
            if let Some(word) = bounds.calls.get_mut(exec as usize / 64) {
                *word |= 1 << (exec % 64);
            }
        }
        bounds
    }

    /// Whether it asks what descriptors stand for.
    #[must_use]
    pub fn asks_names(&self) -> bool {
        self.0.asks_names()
    }
}

impl Expression {
    fn asks_names(&self) -> bool {
        match self {
            Self::Or(a, b) | Self::And(a, b) => a.asks_names() || b.asks_names(),
            Self::Not(not) => not.asks_names(),
            Self::Text(field, _) => *field == Text::Fd,
            Self::Failed
            | Self::Class(_)
            | Self::Number(..)
            | Self::Network(_)
            | Self::Errno(..) => false,
        }
    }

    /// Bounds of what it holds of, or else of what it does not hold of.
    fn bounds(&self, holds: bool) -> Bounds {
        let unknown = Bounds::default();
        match self {
            Self::Not(not) => not.bounds(!holds),
            Self::Or(a, b) if holds => a.bounds(true).or(&b.bounds(true)),
            Self::Or(a, b) => a.bounds(false).and(&b.bounds(false)),
            Self::And(a, b) if holds => a.bounds(true).and(&b.bounds(true)),
            Self::And(a, b) => a.bounds(false).or(&b.bounds(false)),
            Self::Class(class) => {
                Bounds::of_numbers(|nr| row(nr).is_some_and(|row| class.has(row)) == holds)
            }
            Self::Text(Text::Call, glob) => {
                Bounds::of_numbers(|nr| glob.matches(show::name(nr).as_bytes()) == holds)
            }
            Self::Number(field, order, than) => {
                let order = if holds { *order } else { order.turned() };
                number(*field, order, *than, holds)
            }
            _ if !holds => unknown,
            Self::Failed | Self::Errno(_, false) => Bounds::of_results(ERRORS),
            Self::Errno(errno, true) => {
                let result = -i64::from(*errno);
                Bounds::of_results(result..=result)
            }
            Self::Network(_) | Self::Text(Text::Address, _) => Bounds::of_rows(has_addresses),
            Self::Text(Text::Path, _) => {
                Bounds::of_rows(|row| row.args.iter().any(|arg| arg.kind == Kind::Path))
            }
            Self::Text(Text::Argument(Some(name)), _) => {
                Bounds::of_rows(|row| row.args.iter().any(|arg| arg.name == name))
            }
            Self::Text(..) => unknown,
        }
    }
}

/// Bounds of where a number stands so to another one.
fn number(field: Number, order: Order, than: i64, holds: bool) -> Bounds {
    let range = match order {
        Order::Equal => than..=than,
        Order::Unequal => i64::MIN..=i64::MAX,
        Order::Less => i64::MIN..=than.saturating_sub(1),
        Order::AtMost => i64::MIN..=than,
        Order::More => than.saturating_add(1)..=i64::MAX,
        Order::AtLeast => than..=i64::MAX,
    };
    let all = Bounds::default();
    // Of an empty range nothing is left, whichever way it is cut off.
    let ids = || match (u32::try_from(*range.start()), u32::try_from(*range.end())) {
        _ if *range.end() < 0 || *range.start() > u32::MAX.into() => RangeInclusive::new(1, 0),
        (start, end) => start.unwrap_or(0)..=end.unwrap_or(u32::MAX),
    };
    match field {
        Number::Pid => Bounds { pids: ids(), ..all },
        Number::Tid => Bounds { tids: ids(), ..all },
        Number::Result => Bounds::of_results(range),
        Number::Latency => Bounds {
            shortest: u64::try_from(*range.start()).unwrap_or(0),
            ..all
        },
        // That none is so holds of calls that have none.
        Number::Fd if holds => Bounds::of_rows(has_descriptors),
        Number::Port if holds => Bounds::of_rows(has_addresses),
        Number::Fd | Number::Port => all,
    }
}

impl Order {
    /// What holds where this one does not.
    const fn turned(self) -> Self {
        match self {
            Self::Equal => Self::Unequal,
            Self::Unequal => Self::Equal,
            Self::Less => Self::AtLeast,
            Self::AtMost => Self::More,
            Self::More => Self::AtMost,
            Self::AtLeast => Self::Less,
        }
    }
}
