//! Which calls are shown: a small language of conditions.
//!
//! `call = openat and path ~ "/etc/**" and failed`, `%net or latency > 10ms`. Conditions are joined by
//! `and`, `or` and `not` (in the order of their strength `not`, `and`, `or`) and parentheses. A
//! mistake is shown with its column.

mod early;
mod glob;
mod parse;
mod token;

use super::entry::Call;
use super::show;
use picozone_syscalls::{Kind, Row, Space, row};
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
    Errno(u16, bool),
}

/// Kinds of calls, by what the table says of their arguments and results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Names files.
    File,
    /// Is about sockets.
    Net,
    /// Names or gives processes.
    Process,
    /// Names or gives users.
    User,
    /// Is about signals.
    Signal,
    /// Is about IPC and keys.
    Ipc,
    /// Takes a descriptor.
    Desc,
}

const CLASSES: [(&str, Class); 7] = [
    ("file", Class::File),
    ("net", Class::Net),
    ("process", Class::Process),
    ("user", Class::User),
    ("signal", Class::Signal),
    ("ipc", Class::Ipc),
    ("desc", Class::Desc),
];

/// The classes that a call is of, by their names without the `%`.
#[must_use]
pub fn classes(nr: u32) -> Vec<&'static str> {
    let row = row(nr);
    let of = |class: Class| row.is_some_and(|row| class.has(row));
    let all = CLASSES.iter().filter(|(_, class)| of(*class));
    all.map(|(name, _)| *name).collect()
}

/// Fields that are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Pid,
    Tid,
    Result,
    /// In nanoseconds.
    Latency,
}

/// Fields that are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Comm,
    Call,
    /// Any of a call's paths.
    Path,
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

    /// Whether it holds of a call; of one that has not ended nothing holds that is about its end.
    #[must_use]
    pub fn holds(&self, call: &Call, has_ended: bool) -> bool {
        self.0.holds(call, has_ended)
    }
}

impl Expression {
    fn holds(&self, call: &Call, has_ended: bool) -> bool {
        match self {
            Self::Or(a, b) => a.holds(call, has_ended) || b.holds(call, has_ended),
            Self::And(a, b) => a.holds(call, has_ended) && b.holds(call, has_ended),
            Self::Not(not) => !not.holds(call, has_ended),
            Self::Failed => show::errno(call, has_ended).is_some(),
            Self::Class(class) => row(call.nr).is_some_and(|row| class.has(row)),
            Self::Number(field, order, than) => {
                let value = match field {
                    Number::Pid => i64::from(call.pid.0),
                    Number::Tid => i64::from(call.tid.0),
                    Number::Result if has_ended => call.result,
                    Number::Latency if has_ended => {
                        i64::try_from(call.duration).unwrap_or(i64::MAX)
                    }
                    Number::Result | Number::Latency => return false,
                };
                match order {
                    Order::Equal => value == *than,
                    Order::Unequal => value != *than,
                    Order::Less => value < *than,
                    Order::AtMost => value <= *than,
                    Order::More => value > *than,
                    Order::AtLeast => value >= *than,
                }
            }
            Self::Text(field, glob) => match field {
                Text::Comm => glob.matches(call.comm.as_bytes()),
                Text::Call => glob.matches(show::name(call.nr).as_bytes()),
                Text::Path => show::paths(call).any(|path| glob.matches(path)),
            },
            Self::Errno(errno, is) => {
                show::errno(call, has_ended).is_some_and(|found| (found.raw() == *errno) == *is)
            }
        }
    }
}

/// Whether a call belongs to the class of that name; none if there is no such class.
#[must_use]
pub fn has_class(name: &str, row: &Row) -> Option<bool> {
    let (_, class) = CLASSES.iter().find(|(known, _)| *known == name)?;
    Some(class.has(row))
}

impl Class {
    fn has(self, row: &Row) -> bool {
        let any = |test: fn(Kind) -> bool| row.args.iter().any(|arg| test(arg.kind));
        match self {
            Self::File => any(|kind| kind.space() == Space::Paths),
            Self::Net => {
                any(|kind| kind.space() == Space::Ports || kind == Kind::SocketDomain)
                    || row.args.iter().any(|arg| arg.name == "sockfd")
            }
            Self::Process => {
                any(|kind| kind.space() == Space::Pids || kind == Kind::Strings)
                    || row.result.space() == Space::Pids
                    || row.result == picozone_syscalls::Outcome::Never
            }
            Self::User => {
                any(|kind| kind.space() == Space::Users) || row.result.space() == Space::Users
            }
            Self::Signal => any(|kind| {
                matches!(
                    kind,
                    Kind::Signal
                        | Kind::SigsetIn
                        | Kind::SigsetOut
                        | Kind::Siginfo
                        | Kind::SiginfoOut
                )
            }),
            Self::Ipc => any(|kind| kind.space() == Space::Ipc) || row.result.space() == Space::Ipc,
            Self::Desc => any(|kind| matches!(kind, Kind::Fd | Kind::DirFd)),
        }
    }
}

#[cfg(test)]
mod tests;
