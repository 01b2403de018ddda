//! Programs of the host that are in no zone, and what they call, followed by ptrace(2).
//!
//! [`Tracer`] attaches to a process or starts a program, stops its threads at each call, reads with the
//! decoder's eyes what the call's arguments point at, and writes a trace as the monitor of a zone does:
//! in the form of [`crate::trace::file`]. Whatever shows, filters or compares traces cannot tell one
//! from the other, but that it has no zone's name.
//!
//! Such a program's own terms are those of its pid name space: they are its numbers here, and where the
//! host has others both are told.
//!
//! Deliberately absent: any change of what is traced. A tracer that leaves, or is killed, leaves the
//! program running.

mod attach;
mod blocks;
mod clock;
mod memory;
mod start;
mod status;
mod thread;
mod tracer;

pub(crate) use tracer::{Traced, Tracer};

pub(crate) use status::leader_of;
