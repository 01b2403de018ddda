//! What happens to a call.

use crate::Errno;
use crate::form::Form;
use crate::kind::{Arg, Outcome, Space};

/// How a zone treats a call.
#[derive(Clone, Copy, Debug)]
pub enum Class {
    /// Needs no translation: the kernel answers, by a constant verdict.
    Native,
    /// The forms that are harmless from anybody go to the kernel; others to the personality.
    Guarded(Form),
    /// The first forms go to the kernel from anybody; the personality may also make the second.
    Split(Form, Form),
    /// Goes to the personality, which may itself make the call in these forms.
    Emulated(Form),
    /// Refused with an errno, for a reason; counted.
    Refused(Errno, &'static str),
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Number.
    pub nr: u32,
    /// Name, as in the manual.
    pub name: &'static str,
    /// Arguments, six at most.
    pub args: &'static [Arg],
    /// What it gives when it succeeds.
    pub result: Outcome,
    /// What happens to it.
    pub class: Class,
}

impl Row {
    /// Whether an argument or the result belongs to a name space that a zone has of its own.
    #[must_use]
    pub const fn is_zoned(&self) -> bool {
        let mut i = 0;
        while i < self.args.len() {
            if !matches!(self.args[i].kind.space(), Space::None) {
                return true;
            }
            i += 1;
        }
        !matches!(self.result.space(), Space::None)
    }

    /// Whether the personality must have a function for it. Of a [`Class::Guarded`] call the forms
    /// that do not go to the kernel may also just be refused.
    #[must_use]
    pub const fn needs_handler(&self) -> bool {
        matches!(self.class, Class::Emulated(_) | Class::Split(..))
    }
}
