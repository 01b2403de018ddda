//! Maps zone paths to the host: the mount list, and the resolver over it.
//!
//! Pure: what the resolver needs of a kernel is the [`Tree`] trait. No allocation, since the
//! personality uses it too. Deliberately absent: permissions, and any idea of who asks.
//!
//! The promise: every name that a [`Tree`] is asked for is free of `..` and of links on the way that
//! were not looked at, so that a tree which confines each step confines the whole walk.
#![no_std]
#![forbid(unsafe_code)]

mod mounts;
mod path;
mod resolve;

pub use mounts::{MountRow, Mounts, kind};
pub use path::PathBuf;
pub use resolve::{Last, Resolved, Tree, resolve};

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
    /// A name crosses to another mount.
    pub const EXDEV: Error = Error(18);
    /// A component that is not the last is no directory.
    pub const ENOTDIR: Error = Error(20);
    /// Not a link.
    pub const EINVAL: Error = Error(22);
    /// A name or path is too long.
    pub const ENAMETOOLONG: Error = Error(36);
    /// Too many links.
    pub const ELOOP: Error = Error(40);
}
