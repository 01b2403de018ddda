//! What happens to a call.

use crate::Errno;
use crate::form::Form;

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
    /// What happens to it.
    pub class: Class,
}
