//! The tests that run the command line and real zones.
//!
//! [`harness`] makes the surroundings: a home of zones of its own, the modes (root, ordinary user,
//! ordinary user without user namespaces and ptrace), bounded runs natively and in zones.
//! Each test uses a directory of its own and no fixed sleeps, so all run in parallel.

#[macro_use]
mod harness;

mod basics;
mod guests;
mod programs;
