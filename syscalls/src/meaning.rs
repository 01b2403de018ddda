//! What the table says about a call: the oracle for the filter, and for the personality where it is
//! brought calls that the filter would let pass.

use crate::{Class, FilterLayout, Test, row};
use core::ops::Range;

/// `struct seccomp_data` (include/uapi/linux/seccomp.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Number.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Address behind the instruction.
    pub ip: u64,
    /// Arguments.
    pub args: [u64; 6],
}

/// `AUDIT_ARCH_X86_64`.
pub const ARCH: u32 = 0xc000_003e;
/// Unknown numbers below this one may be calls of a kernel to come: the personality reports and refuses
/// them. Those above are nobody's, among them what a tracer puts in place of a call that is not to be.
pub const REPORTED_END: u32 = 512;
/// x32 calls carry this bit.
pub const X32: u32 = 0x4000_0000;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel serves it.
    Allow,
    /// The personality does.
    Trap,
    /// The monitor does.
    Notify,
    /// Refused with this errno.
    Errno(u16),
    /// The process ends.
    Kill,
}

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
/// [`JUDGED`](crate::filter::JUDGED).
const JUDGED: u16 = 4094;

fn high(value: u64) -> u64 {
    value >> 32
}
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low word is what is meant"
)]
fn low(value: u64) -> u32 {
    value as u32
}

fn in_slots(range: &Range<u64>, step: u64, value: u64) -> bool {
    range.contains(&value) && value.is_multiple_of(step)
}

/// Length of our region, as a high word: a terabyte.
pub(crate) const REGION: u32 = 0x100;

impl Test {
    /// Whether the arguments pass.
    #[must_use]
    pub fn holds(&self, layout: &FilterLayout, args: &[u64; 6]) -> bool {
        let arg = |index: u8| args.get(usize::from(index)).copied().unwrap_or(0);
        let region = high(layout.personality.start);
        match *self {
            Test::FdFree(i) => low(arg(i)).wrapping_sub(layout.fd_base) >= layout.fd_count,
            Test::FdPersonality(i) => low(arg(i)) == layout.fd_personality,
            Test::FdTables(i) => low(arg(i)) == layout.fd_tables,
            Test::FdParents(i) => {
                (layout.fd_parents..layout.fd_base + layout.fd_count).contains(&low(arg(i)))
            }
            Test::EqLow(i, value) => low(arg(i)) == value,
            Test::OneOf(i, values) => values.contains(&low(arg(i))),
            Test::Clear(i, mask) => low(arg(i)) & mask == 0,
            Test::Masked(i, mask, value) => low(arg(i)) & mask == value,
            Test::OneOfMasked(i, mask, values) => values.contains(&(low(arg(i)) & mask)),
            Test::HighZero(i) => high(arg(i)) == 0,
            Test::Null(i) => arg(i) == 0,
            Test::NotNull(i) => arg(i) != 0,
            Test::How(i) => in_slots(&layout.hows, 32, arg(i)),
            Test::Empty(i) => arg(i) == layout.empty,
            Test::Name(i) => in_slots(&layout.names, 64, arg(i)),
            Test::Source(i) => in_slots(&layout.sources, 128, arg(i)),
            Test::Message(i) => in_slots(&layout.messages, 64, arg(i)),
            Test::Outside(i) => {
                !(region - 0x100..region + u64::from(REGION)).contains(&high(arg(i)))
            }
            Test::Above(i) => high(arg(i)) >= region + u64::from(REGION),
            Test::Shared(i) => (region + 2..region + u64::from(REGION)).contains(&high(arg(i))),
            Test::TablesBase(i) => arg(i) == layout.tables.start,
            Test::InPersonality(i) => high(arg(i)) == region,
            Test::Short(i) => high(arg(i)) < 0x100,
            Test::HighBelow(i, bound) => high(arg(i)) < u64::from(bound),
            Test::AboveFds(i) => low(arg(i)) >= layout.fd_base + layout.fd_count,
            Test::BelowFds(i) => low(arg(i)) < layout.fd_base,
        }
    }
}

/// The verdict by the table.
#[must_use]
pub fn verdict(layout: &FilterLayout, call: &Call) -> Verdict {
    if call.arch != ARCH {
        return Verdict::Kill;
    }
    let is_ours = layout.personality.contains(&call.ip);
    let is_judged = call.ip == layout.judge;
    if call.nr == layout.doorbell {
        return if is_judged {
            Verdict::Errno(JUDGED)
        } else if is_ours {
            Verdict::Notify
        } else {
            Verdict::Errno(ENOSYS)
        };
    }
    let Some(row) = row(call.nr) else {
        return if call.nr >= REPORTED_END {
            Verdict::Errno(ENOSYS)
        } else if is_judged {
            Verdict::Errno(JUDGED)
        } else if is_ours {
            Verdict::Errno(ENOSYS)
        } else {
            Verdict::Trap
        };
    };
    let fits = |form: crate::Form| {
        form.iter()
            .any(|tests| tests.iter().all(|test| test.holds(layout, &call.args)))
    };
    match row.class {
        Class::Native => Verdict::Allow,
        Class::Guarded(form) | Class::Split(form, _) if fits(form) => Verdict::Allow,
        Class::Guarded(_) | Class::Split(..) | Class::Emulated(_) | Class::Refused(..)
            if !is_ours =>
        {
            Verdict::Trap
        }
        _ if is_judged => Verdict::Errno(JUDGED),
        Class::Emulated(_) if layout.is_refused(call.nr) => Verdict::Errno(EPERM),
        Class::Emulated(form) | Class::Split(_, form) if fits(form) => Verdict::Allow,
        Class::Guarded(_) | Class::Split(..) | Class::Emulated(_) => Verdict::Errno(EPERM),
        Class::Refused(errno, _) => Verdict::Errno(errno.raw()),
    }
}
