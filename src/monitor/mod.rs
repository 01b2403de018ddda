//! The monitor: one trusted process per running zone.
//!
//! It owns the tables and decides what must be trusted. Its threads block in
//! `SECCOMP_IOCTL_NOTIF_RECV`; nothing that could block on one guest's behalf is done in them.
//! Lock order: each state struct has one lock of its own, and none is held while another is taken.

pub mod attributes;
pub mod control;
pub mod copies;
pub mod deep;
pub mod descriptors;
pub mod devfs;
pub mod exec;
pub mod files;
pub mod guests;
pub mod handles;
pub mod injecting;
pub mod ipc;
pub mod keys;
pub mod layers;
pub mod leases;
pub mod lists;
pub mod made;
pub mod marks;
pub mod mounting;
pub mod mounts;
pub mod names;
pub mod net;
pub mod notify;
pub mod owners;
pub mod paths;
pub mod plans;
pub mod processes;
pub mod procfs;
pub mod programs;
mod quota;
pub mod reached;
pub mod refusals;
mod renewed;
pub mod requests;
pub mod rights;
mod roots;
pub mod running;
pub mod served;
mod settings;
pub mod shared;
pub mod start;
mod strict;

pub mod terminals;
mod threads;
pub mod tracing;
pub mod used;
pub mod view;
pub mod watches;
pub mod xattrs;
pub mod zone;
