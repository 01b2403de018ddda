//! Maps zone paths to the host: the mount list, and the resolver over it.
//!
//! - [`MountRow`] and [`Mounts`]: which directory stands where in a zone, by text alone, in both
//!   directions.
//! - [`resolve`]: the walk by components (`path_resolution(7)`) over all mounts, for what the kernel
//!   cannot finish beneath one descriptor.
//! - [`StandIn`]: what stands in a copy-on-write layer for what lies below it.
//! - [`split_last`], [`normalise`], [`pop_leading_dotdot`]: work on the text of a path.
//! - [`PathBuf`]: a path in a buffer of fixed size.
//!
//! Pure: what the resolver needs of a kernel is the [`Tree`] trait. No allocation, no recursion and
//! at most four buffers of a path's size at once, since the personality uses it too, on a small
//! stack. Deliberately absent: permissions, any idea of who asks, and what a mount of the monitor
//! (`/proc`, `/dev`) holds.
//!
//! The promise: every name that a [`Tree`] is asked for is relative, free of `..`, and belongs to a
//! mount of kind [`kind::TREE`]; its components above the last were seen not to be links. So a tree
//! that confines each step (`RESOLVE_BENEATH`) confines the whole walk.
#![no_std]
#![forbid(unsafe_code)]

mod left;
mod lexical;
mod mounts;
mod path;
mod resolve;
mod row;
mod standin;

pub use left::{Left, Name, Sort};
pub use lexical::{Split, normalise, pop_leading_dotdot, split_last};
pub use mounts::{Fault, Mounts, SEPARATOR, is_normal};
pub use path::PathBuf;
pub use resolve::{Bounds, Last, Resolved, Served, Tree, resolve};
pub use row::{MountRow, access, kind};
pub use standin::{StandIn, is_stand_in, mount_id};

/// Longest path, its NUL included, as the kernel's `PATH_MAX`.
pub const PATH_MAX: usize = 4096;
/// Longest name.
pub const NAME_MAX: usize = 255;
/// How many links one resolution may follow (the kernel's `MAXSYMLINKS`).
pub const LINKS_MAX: usize = 40;

/// A positive errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub u16);

impl Error {
    /// A component is missing.
    pub const ENOENT: Error = Error(2);
    /// A directory may not be searched.
    pub const EACCES: Error = Error(13);
    /// A name crosses to another mount.
    pub const EXDEV: Error = Error(18);
    /// A component that is not the last is no directory.
    pub const ENOTDIR: Error = Error(20);
    /// Not a link, or a NUL inside a path.
    pub const EINVAL: Error = Error(22);
    /// A name or path is too long.
    pub const ENAMETOOLONG: Error = Error(36);
    /// Too many links.
    pub const ELOOP: Error = Error(40);
}
