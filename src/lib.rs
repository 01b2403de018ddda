//! Zones for Linux, in user space.
//!
//! A zone's programs run as *guests*: a filter of the kernel hands the system calls that need
//! translation to the *personality* inside each guest, and what must be trusted to the *monitor*, one
//! process per running zone. See docs/ARCHITECTURE.md.

pub mod cli;
pub mod config;
pub mod control;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod home;
pub mod ids;
pub mod loader;
pub mod monitor;
mod outside;
pub mod ownership;
mod proc_text;
mod ptrace;
pub mod rewrite;
mod stacks;
pub mod terminal;
pub mod trace;
pub mod tree;
pub mod wall;
pub mod zone;

/// The personality's program, built beside this library.
pub const PERSONALITY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/personality"));
