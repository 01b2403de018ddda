//! Traces of the calls that guests make: what is recorded, how it is kept, and how it is shown.
//!
//! The monitor makes [`Entry`]s of what guests record ([`crate::monitor::tracing`]) and writes them in
//! blocks ([`file`]) to a descriptor that the command line hands it: a file, or a pipe from which the
//! command line shows them as they come. Reading ([`events`]) is the same for both: [`calls`] joins what was
//! recorded in two pieces, [`filter`] chooses, and each [`output`] shows: [`text`], [`json`],
//! [`perfetto`], [`html`], [`summary`], [`unsupported`], [`learn`] and [`kept`]. [`descriptors`] knows what those stand for, and
//! [`diff`] compares two traces.
//! Deliberately absent: how calls are decoded (`picozone_syscalls` does it from its table).

pub mod calls;
pub mod descriptors;
pub mod diff;
pub mod entry;
pub mod events;
pub mod file;
pub mod filter;
pub mod html;
pub mod injection;
pub mod json;
pub mod kept;
pub mod learn;
pub mod output;
pub mod perfetto;
pub mod show;
pub mod stack;
pub mod summary;
pub mod text;
pub mod unsupported;
pub mod value;

pub use entry::{Call, Entry, Part, Start};
