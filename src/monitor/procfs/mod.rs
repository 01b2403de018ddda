//! A zone's `/proc`, made from the host's.
//!
//! [`lookup`] says what a path is, ready to be opened, and [`stat`] its attributes; [`View`] is what
//! they need to know of the zone. Only what the tables in `system`, `process` and `net` list
//! exists, and only processes of the zone; everything else is ENOENT. Numbers of processes, users and
//! sockets, and names, are in the zone's terms; what belongs to the personality is left out.
//!
//! Neighbours: [`crate::monitor::devfs`] serves `/dev` with the same types; [`skeleton`] gives
//! directories a real descriptor. Deliberately absent: `syscall`, `stack`,
//! `map_files`, and every way to write except `comm`, `oom_score_adj`, `coredump_filter` and the zone's own
//! settings.
//!
//! A process may die at any time: then a path is ENOENT, or its content ESRCH. No locks.

mod links;
mod locks;
mod maps;
mod mounts;
mod net;
mod node;
mod place;
mod process;
pub mod skeleton;
mod sockets;
mod stat_line;
mod status;
mod subject;
mod system;
mod view;

#[cfg(test)]
mod tests;

pub(super) use links::flags_told;
pub use links::{UNREACHABLE, content_name, content_of, is_content_name, to_zone_text};
pub use node::{Attr, Entry, Errno, HostFile, Kind, Node, Object, Stated, inode_of};
pub use place::{canonical, lookup, owner_on_host, stat, stat_opened};
pub use sockets::{ListedInet, ListedUnix, TCP_CLOSE, TCP_LISTEN, listed_inet, listed_unix};
pub use view::{Credentials, Mount, Protocol, View};

pub(super) use stat_line::StatLine;
pub(super) use subject::{Subject, leader_of, number, zone_process_of};
