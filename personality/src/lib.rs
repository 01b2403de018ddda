//! What the personality and the monitor agree on.
//!
//! The personality is the code of ours that lives inside each guest; the program itself is
//! `src/bin/personality`. This library holds only what both sides need: the address-space layout,
//! the shared tables, the mailbox, the list of requests (the *host interface*), and the pure
//! translation of socket addresses.
//!
//! Deliberately absent: any decision that a zone's boundary depends on. The monitor treats all that
//! comes from a mailbox or from the commons as hostile input.
#![cfg_attr(not(test), no_std)]

pub mod absent;
pub mod acl;
pub mod capabilities;
pub mod clients;
pub mod commons;
pub mod detached;
pub mod injection;
pub mod layout;
pub mod libraries;
pub mod limits;
pub mod listing;
pub mod mailbox;
pub mod makers;
pub mod messages;
pub mod names;
pub mod namespaces;
pub mod net;
pub mod origins;
pub mod plans;
pub mod roots;
pub mod running;
pub mod scheduling;
pub mod sequenced;
pub mod spawn;
pub mod tables;
pub mod trace;
pub mod users;
pub mod wall;
pub mod wanted;
pub mod written;
