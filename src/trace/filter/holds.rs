//! Whether conditions hold of a call.

use super::class::is_descriptor;
use super::network::Address;
use super::{Expression, Number, Order, Seen, Text};
use crate::trace::show;
use picozone_syscalls::{Kind, Outcome, row};

impl Expression {
    /// Of what has not ended nothing holds that is about its end.
    pub(super) fn holds(&self, seen: &Seen<'_>) -> bool {
        let Seen {
            call, has_ended, ..
        } = *seen;
        match self {
            Self::Or(a, b) => a.holds(seen) || b.holds(seen),
            Self::And(a, b) => a.holds(seen) && b.holds(seen),
            Self::Not(not) => !not.holds(seen),
            Self::Failed => show::errno(call, has_ended).is_some(),
            Self::Class(class) => row(call.nr).is_some_and(|row| class.has(row)),
            Self::Number(field, order, than) => {
                seen.numbers(*field, &mut |value| order.holds(value, *than))
            }
            Self::Text(field, glob) => seen.texts(field, &mut |text| glob.matches(text)),
            Self::Network(network) => {
                let mut all = show::addresses(call).filter_map(Address::of);
                all.any(|address| network.has(&address))
            }
            Self::Errno(errno, is) => {
                show::errno(call, has_ended).is_some_and(|found| (found.raw() == *errno) == *is)
            }
        }
    }
}

impl Order {
    pub(super) const fn holds(self, value: i64, than: i64) -> bool {
        match self {
            Self::Equal => value == than,
            Self::Unequal => value != than,
            Self::Less => value < than,
            Self::AtMost => value <= than,
            Self::More => value > than,
            Self::AtLeast => value >= than,
        }
    }
}

impl Seen<'_> {
    /// Whether any number that a field stands for is so.
    fn numbers(&self, field: Number, is: &mut dyn FnMut(i64) -> bool) -> bool {
        let call = self.call;
        match field {
            Number::Pid => is(call.pid.0.into()),
            Number::Tid => is(call.tid.0.into()),
            Number::Result => self.has_ended && is(call.result),
            Number::Latency => {
                self.has_ended && is(i64::try_from(call.duration).unwrap_or(i64::MAX))
            }
            Number::Fd => self.descriptors(&mut |fd, _| is(fd.into())),
            Number::Port => {
                let mut all = show::addresses(call).filter_map(Address::of);
                all.any(|address| address.port().is_some_and(|port| is(port.into())))
            }
        }
    }

    /// Whether any text that a field stands for is so.
    fn texts(&self, field: &Text, is: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let call = self.call;
        match field {
            Text::Zone => is(self.zone.as_bytes()),
            Text::Comm => is(call.comm.as_bytes()),
            Text::Call => is(show::name(call.nr).as_bytes()),
            Text::Path => show::paths(call).any(is),
            Text::Fd => self.descriptors(&mut |fd, is_new| {
                let name = self.names.and_then(|names| names.name_in(call, fd, is_new));
                name.is_some_and(|name| is(name.as_bytes()))
            }),
            Text::Address => {
                let mut all = show::addresses(call).filter_map(Address::of);
                all.any(|address| is(&address.text()))
            }
            Text::Argument(name) => {
                let all = show::arguments(call, self.has_ended);
                let mut meant = all
                    .iter()
                    .filter(|arg| name.as_ref().is_none_or(|name| arg.name == name));
                meant.any(|arg| self.argument(arg, is))
            }
            Text::Line => is(show::call(call, self.has_ended).as_bytes()),
        }
    }

    /// Whether an argument is so: as it is shown, one of its flags, what is in its quotes, or what it is on
    /// the host.
    fn argument(&self, arg: &show::Argument, is: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let is_flag = |is: &mut dyn FnMut(&[u8]) -> bool| {
            let mut flags = arg.text.split('|');
            arg.kind.is_flags() && flags.any(|flag| is(flag.as_bytes()))
        };
        is(arg.text.as_bytes())
            || is_flag(is)
            || show::text_at(self.call, arg.word).is_some_and(&mut *is)
            || arg.host.as_ref().is_some_and(|host| is(host.as_bytes()))
    }

    /// Whether any descriptor is so that the call was given, or that it has made.
    fn descriptors(&self, is: &mut dyn FnMut(i32, bool) -> bool) -> bool {
        let call = self.call;
        let Some(row) = row(call.nr) else {
            return false;
        };
        let given = row.args.iter().zip(call.args);
        let mut given = given.filter(|(arg, _)| is_descriptor(arg.kind));
        if given.any(|(_, word)| is(int(word), false)) {
            return true;
        }
        if !self.has_ended || call.result < 0 {
            return false;
        }
        let pairs = row.args.iter().zip(call.args);
        let mut pairs = pairs.filter(|(arg, _)| arg.kind == Kind::FdPairOut);
        row.result == Outcome::Fd && is(int(call.result.cast_unsigned()), true)
            || pairs.any(|(_, at)| {
                let pair = show::memory_at(call, at).unwrap_or(&[]);
                let (chunks, _) = pair.as_chunks();
                chunks.iter().any(|fd| is(i32::from_ne_bytes(*fd), true))
            })
    }
}

/// The low half, as a call takes an `int`.
fn int(word: u64) -> i32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}
