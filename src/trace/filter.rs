//! Which calls are shown: a small language of conditions.
//!
//! `call = openat and path ~ "/etc/**" and failed`, `%net or latency > 10ms`. Conditions are joined by
//! `and`, `or` and `not` (in the order of their strength `not`, `and`, `or`) and parentheses. A
//! mistake is shown with its column.
//!
//! Guests that record ask for the [`Bounds`] of a filter, whoever reads a trace for all of it ([`Chosen`]).

mod bounds;
mod class;
mod early;
mod glob;
mod holds;
mod network;
mod parse;
mod token;

pub use bounds::Bounds;
pub use class::{classes, has_class};

use super::calls::Event;
use super::descriptors::Descriptors;
use super::entry::Call;
use class::Class;
use network::Network;
use std::fmt;
use std::str::FromStr;

/// A condition on calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Expression);

#[derive(Debug, Clone, PartialEq)]
enum Expression {
    Or(Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Failed,
    Class(Class),
    Number(Number, Order, i64),
    Text(Text, glob::Glob),
    Network(Network),
    Errno(u16, bool),
}

/// Fields that are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Pid,
    Tid,
    Result,
    /// In nanoseconds.
    Latency,
    /// Any descriptor that the call is given or makes.
    Fd,
    /// The port of any of its addresses.
    Port,
}

/// Fields that are texts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Zone,
    Comm,
    Call,
    /// Any of a call's paths.
    Path,
    /// What any of its descriptors stands for.
    Fd,
    /// Any of its addresses, without ports.
    Address,
    /// Any of its arguments, or that of this name.
    Argument(Option<String>),
    /// All of it as it is shown.
    Line,
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What is wrong with a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The filter.
    text: String,
    /// Where in it, in characters from 0.
    column: usize,
    /// What.
    what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, at column {}", self.what, self.column + 1)?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  {:>width$}", "^", width = self.column + 1)
    }
}

impl FromStr for Filter {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        parse::parse(text)
            .map(Self)
            .map_err(|(column, what)| Mistake {
                text: text.to_owned(),
                column,
                what,
            })
    }
}

impl Filter {
    /// Calls of a process of the zone.
    #[must_use]
    pub fn of_process(pid: u32) -> Self {
        Self(Expression::Number(Number::Pid, Order::Equal, pid.into()))
    }

    /// Calls of which both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(Expression::And(self.0.into(), other.0.into()))
    }

    /// Calls of which one holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(Expression::Or(self.0.into(), other.0.into()))
    }

    /// Calls of a thread of the zone.
    #[must_use]
    pub fn of_thread(tid: u32) -> Self {
        Self(Expression::Number(Number::Tid, Order::Equal, tid.into()))
    }
}

/// A call, and what is known around it.
#[derive(Clone, Copy)]
struct Seen<'a> {
    call: &'a Call,
    has_ended: bool,
    zone: &'a str,
    names: Option<&'a Descriptors>,
}

/// A filter at work on a trace, from its first event to its last.
pub struct Chosen<'f> {
    filter: Option<&'f Filter>,
    zone: String,
    /// Where the filter asks for it.
    names: Option<Descriptors>,
}

impl<'f> Chosen<'f> {
    /// What a filter chooses in a trace of that zone; without one, all.
    #[must_use]
    pub fn new(filter: Option<&'f Filter>, zone: &str) -> Self {
        let asks_names = filter.is_some_and(Filter::asks_names);
        Self {
            filter,
            zone: zone.to_owned(),
            names: asks_names.then(Descriptors::default),
        }
    }

    /// Whether an event is one of a call that is not chosen. To be told of each event in turn.
    pub fn leaves_out(&mut self, event: &Event) -> bool {
        if let Some(names) = &mut self.names {
            names.take(event);
        }
        let (Some(filter), Event::Call { call, has_ended }) = (self.filter, event) else {
            return false;
        };
        let seen = Seen {
            call,
            has_ended: *has_ended,
            zone: &self.zone,
            names: self.names.as_ref(),
        };
        !filter.0.holds(&seen)
    }
}

#[cfg(test)]
mod tests;
