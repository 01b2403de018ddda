//! What a path of `/proc` or `/dev` turns out to be.

use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A positive errno, as the guest is to see it.
pub type Errno = i32;

/// What kind of file an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory of this tree.
    Dir,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A character device.
    Device,
    /// A socket.
    Socket,
    /// A directory that another mount covers.
    Mount,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without slash or NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
}

/// A file of the host, or of a process that was verified to be the zone's.
///
/// The descriptor of the process' directory is what makes it safe: a process that takes over the
/// number meanwhile is not reached through it.
#[derive(Debug)]
pub struct HostFile {
    at: Option<OwnedFd>,
    path: PathBuf,
    is_writable: bool,
}

impl HostFile {
    pub(super) fn global(path: PathBuf) -> Self {
        Self {
            at: None,
            path,
            is_writable: false,
        }
    }
    pub(super) fn of_process(at: OwnedFd, path: &str, is_writable: bool) -> Self {
        Self {
            at: Some(at),
            path: path.into(),
            is_writable,
        }
    }
    /// Opens it; `O_CLOEXEC` is added.
    ///
    /// # Errors
    /// EACCES, or EPERM of a name space, if writing was asked for and is not provided; what the kernel says.
    pub fn open(&self, flags: OFlag) -> Result<OwnedFd, Errno> {
        if flags & OFlag::O_ACCMODE != OFlag::O_RDONLY && !self.is_writable {
            let is_namespace = self.is_namespace();
            return Err(if is_namespace {
                libc::EPERM
            } else {
                libc::EACCES
            });
        }
        let kept = OFlag::O_ACCMODE | OFlag::O_DIRECTORY | OFlag::O_NONBLOCK;
        let flags = flags & kept | OFlag::O_CLOEXEC;
        // What a file shows may go by the capabilities of who opens it: a guest has none on the host.
        let opened = without_capabilities(|| match &self.at {
            Some(at) => openat(at, &self.path, flags, Mode::empty()),
            None => open(&self.path, flags, Mode::empty()),
        });
        opened.map_err(|errno| errno as Errno)
    }
    /// Its path, from its process' directory if it is a process' file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Whether it is a process' name space.
    #[must_use]
    pub fn is_namespace(&self) -> bool {
        self.at.is_some() && self.path.starts_with("ns")
    }
    /// Whether it can be opened for writing.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.is_writable
    }
}

/// Runs something in this thread without the capability by which `pagemap` shows places in the machine's
/// memory (`CAP_SYS_ADMIN`), which the monitor has where it is the host's root.
fn without_capabilities<T>(run: impl FnOnce() -> T) -> T {
    /// Version 3 of capget(2), the calling thread.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    const ADMINISTER: u32 = 1 << 21;
    // Effective, permitted and inheritable set, the low words first.
    let mut sets = [0u32; 6];
    // SAFETY: the structures of capget(2), version 3.
    unsafe { libc::syscall(libc::SYS_capget, HEADER.as_ptr(), sets.as_mut_ptr()) };
    let mut fewer = sets;
    fewer[0] &= !ADMINISTER;
    if sets == fewer {
        return run();
    }
    // SAFETY: the structures of capset(2), version 3.
    let set = |sets: &[u32; 6]| unsafe {
        libc::syscall(libc::SYS_capset, HEADER.as_ptr(), sets.as_ptr())
    };
    set(&fewer);
    let result = run();
    set(&sets);
    result
}

/// What a magic link leads to (proc(5), `/proc/PID/fd`, `/proc/PID/cwd`), pinned by a descriptor:
/// what was looked at is what is opened, whatever the guest does with its descriptors meanwhile.
#[derive(Debug)]
pub struct Object {
    /// An `O_PATH` descriptor of the object.
    pub pinned: OwnedFd,
    /// What readlink(2) says of the link, in the zone's terms; absolute if the zone can name it.
    pub text: Vec<u8>,
    /// The flags that the guest's own descriptor was opened with.
    ///
    /// Opening the object again for more than these allow (a file of a read-only mount for writing)
    /// is an escalation: the caller decides by the mount that `text` lies on.
    pub flags: OFlag,
}

impl Object {
    /// Whether opening with `flags` gives no more than the guest's own descriptor does.
    #[must_use]
    pub fn grants(&self, flags: OFlag) -> bool {
        let (own, asked) = (self.flags & OFlag::O_ACCMODE, flags & OFlag::O_ACCMODE);
        !self.flags.contains(OFlag::O_PATH)
            && (own == asked || own == OFlag::O_RDWR)
            && !(flags.contains(OFlag::O_TRUNC) && own == OFlag::O_RDONLY)
    }
    /// Opens the object again, without ever blocking; `O_CLOEXEC` is added, `O_NOCTTY` too.
    ///
    /// # Errors
    /// ENXIO for sockets, and for the writing end of a pipe that nobody reads; what the kernel says.
    pub fn reopen(&self, flags: OFlag) -> Result<OwnedFd, Errno> {
        let path = format!("/proc/self/fd/{}", self.pinned.as_raw_fd());
        let extra = OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let without = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let file = open(path.as_str(), (flags - without) | extra, Mode::empty())
            .map_err(|errno| errno as Errno)?;
        if !flags.intersects(OFlag::O_NONBLOCK | OFlag::O_PATH) {
            let now = fcntl(&file, FcntlArg::F_GETFL).map_err(|errno| errno as Errno)?;
            let now = OFlag::from_bits_retain(now) - OFlag::O_NONBLOCK;
            fcntl(&file, FcntlArg::F_SETFL(now)).map_err(|errno| errno as Errno)?;
        }
        Ok(file)
    }
}

/// What a path leads to, ready to be opened, listed or read as a link.
#[derive(Debug)]
pub enum Node {
    /// A file whose content is a snapshot. Never writable.
    Bytes(Vec<u8>),
    /// A setting of the zone: its path relative to `/proc`, and its value. The zone's root may write it.
    Setting(&'static str, Vec<u8>),
    /// A file of the host that can be handed to the guest as it is.
    Host(HostFile),
    /// A directory.
    Dir {
        /// Its path in this tree without links, for [`super::skeleton::Skeleton::dir`].
        path: Vec<u8>,
        /// What it holds.
        entries: Vec<Entry>,
    },
    /// A link that was not followed; its text, in the zone's terms.
    Link(Vec<u8>),
    /// A magic link that was followed.
    Object(Object),
    /// A device, opened by this path of the host.
    Device(PathBuf),
    /// `/dev/ptmx`: opened on the host; the new terminal is then to be recorded as the zone's.
    Ptmx,
    /// A socket of the zone's: there to be named, not to be opened.
    Socket,
    /// The path leads out of this tree, through a link: resolve this absolute zone path instead.
    Elsewhere(Vec<u8>),
}

/// What stat(2) finds at a path.
#[derive(Debug)]
pub enum Stated {
    /// The attributes of a file of this tree, or of a link that was not followed.
    Attr(Attr),
    /// A magic link was followed: the attributes are those of the object.
    Object(Object),
    /// As [`Node::Elsewhere`].
    Elsewhere(Vec<u8>),
}

/// What stat(2) says of a node, users in the zone's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of links.
    pub nlink: u64,
    /// Size in bytes; 0 for the files of `/proc`, as on Linux.
    pub size: u64,
    /// Inode number: a hash of the path, the same each time.
    pub ino: u64,
    /// Device number of a device, else 0.
    pub rdev: u64,
}

/// A number for a path, never 0 (FNV-1a): the same path has the same inode each time.
#[must_use]
pub fn inode_of(tree: &str, path: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for &byte in tree.as_bytes().iter().chain(b"/").chain(path) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // Programs keep inodes in signed and in 53 bit numbers.
    (hash & 0x000f_ffff_ffff_ffff) | 1 << 40
}

impl Entry {
    pub(in crate::monitor) fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            kind,
        }
    }
}
