//! The wall: what the kernel enforces whatever a guest does.
//!
//! Applied once, by the process that becomes zone init, and inherited by every guest: reserved
//! descriptors, limits, no capabilities, `no_new_privs`, Landlock, the seccomp filter.

pub mod descriptors;
pub mod rules;
pub mod seccomp;
