//! Traces of the calls that guests make: what is recorded, how it is kept, and how it is shown.
//!
//! The monitor makes [`Entry`]s of what guests record ([`crate::monitor::tracing`]) and writes them in
//! blocks ([`file`]) to a descriptor that the command line hands it: a file, or a pipe from which the
//! command line shows them as they come. Reading is the same for both: [`calls`] joins what was
//! recorded in two pieces, [`filter`] chooses, and [`text`], [`json`] and [`summary`] show.
//! Deliberately absent: how calls are decoded (`picozone_syscalls` does it from its table).

pub mod calls;
pub mod entry;
pub mod file;
pub mod filter;
pub mod json;
pub mod show;
pub mod summary;
pub mod text;

pub use entry::{Call, Entry, Part, Start};
