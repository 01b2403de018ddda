//! Unix sockets of a zone.
//!
//! | in the zone | on the host |
//! |---|---|
//! | a path | an inode in the zone's tree, bound as `run/sockets/.picozone.X.Y.N` and moved to its place |
//! | `/dev/log` | `run/sockets/log` |
//! | an abstract name | the same behind `picozone.X.Y/`, X.Y of the zone's address |
//! | one too long for that | a hash of it behind `picozone.X.Y.long/` |
//! | no name (autobind) | such a name, five hexadecimal digits in the zone |
//! | | `picozone.X.Y.as/N/M`: a messenger of who has another name |
//! | | `picozone.co/PID.UID.GID/X.Y/N`: who has connected without a name ([`peers`]) |
//!
//! Each socket is bound under a name that no other has, and then moved: that name is what the kernel
//! tells of it afterwards, [`Unix::zone_name`] finds the guest's words by it, and it says whose the
//! socket is ([`origins`]). It is bound in a directory of our own; where that is of another file
//! system, beside its place, where guests may meddle with it.
//!
//! A connect goes to the very inode that was found beneath the zone's roots, so that no link that is
//! put there meanwhile leads out. It is tried without waiting: a full backlog is `EAGAIN`, and the
//! guest tries again. A guest that turns `O_NONBLOCK` off at that moment gains a millisecond
//! ([`briefly`]).
//!
//! Since the monitor connects, the kernel tells the other end the monitor's identity: who asked is
//! kept by the socket's inode and its name ([`peers`]). Datagrams to an address: [`messengers`].
//! Credentials that are not the sender's: [`poses`].

mod briefly;
mod diag;
mod messengers;
mod name;
mod origins;
mod peers;
mod poses;

#[cfg(test)]
mod tests;

use super::inet::socket_option as option;
use crate::error::Doing;
use crate::monitor::descriptors::set_mode;
use crate::ownership::{identify, mode_on_host};
use crate::zone::address;
use briefly::briefly;
pub(super) use diag::peer_of;
use messengers::{Aliases, datagrams};
use name::{FAMILY, Name, split};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, RenameFlags, fcntl, renameat2};
use nix::sys::socket::{UnixAddr, bind, connect};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
pub use origins::take_no_rights;
use peers::Peers;
use poses::Poses;
use std::collections::{HashMap, HashSet};
use std::fs::{DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many names are kept before those of closed sockets go.
const NAMES_MAX: usize = 1024;

/// Who a process of the zone is, in the zone's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process; 0 for one that the zone does not have.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

impl Credentials {
    /// Somebody outside.
    pub const UNKNOWN: Self = Self {
        pid: 0,
        uid: 65534,
        gid: 65534,
    };

    /// As `struct ucred`.
    #[must_use]
    pub fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let words = [self.pid, self.uid, self.gid].map(u32::to_ne_bytes);
        for (to, from) in bytes.iter_mut().zip(words.as_flattened()) {
            *to = *from;
        }
        bytes
    }
}

/// The guest thread that asks.
pub trait Caller {
    /// Opens a path of the zone, links followed; a relative one from the thread's directory.
    ///
    /// # Errors
    /// Those of path resolution; EACCES, where a directory on the way may not be searched.
    fn open(&self, path: &[u8], flags: i32) -> Result<OwnedFd, Errno>;
    /// Whether the path is that of the system's log, which has its place here.
    fn is_log(&self, path: &[u8]) -> bool {
        path == b"/dev/log"
    }
    /// Whether the zone may change that directory.
    fn may_write(&self, directory: &OwnedFd) -> bool;
    /// Whether it may make something in that directory, by the zone's users.
    fn may_make_in(&self, _directory: &OwnedFd) -> bool {
        true
    }
    /// The process' umask.
    fn umask(&self) -> u32;
    /// The mode of a socket itself (fchmod(2)), which a name that it is bound to takes over.
    fn mode_of(&self, _socket: &OwnedFd) -> u32 {
        0o777
    }
    /// Whether the mode of a socket's inode lets it connect.
    fn may_connect(&self, inode: &OwnedFd) -> bool;
    /// Records owner and mode of a socket's inode that it has just made for a directory.
    fn made(&self, directory: &OwnedFd, inode: &OwnedFd, mode: u32);
    /// Who asks.
    fn credentials(&self) -> Credentials;
    /// Who a process of the host is in the zone.
    fn credentials_of(&self, host: u32) -> Credentials;
}

/// The unix sockets of a running zone.
pub struct Unix {
    prefix: Vec<u8>,
    /// What stands in front of the names that sockets are bound by.
    mark: Vec<u8>,
    directory: OwnedFd,
    next: AtomicU64,
    /// What the guest said, by what the kernel holds.
    names: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    peers: Peers,
    /// Whether a socket has been given a name after it was connected.
    has_late_names: AtomicBool,
    known: origins::Known,
    /// What stands in front of messengers' names.
    alias_prefix: Vec<u8>,
    aliases: Aliases,
    poses: Poses,
}

/// Whether it is a unix socket.
///
/// # Errors
/// `ENOTSOCK`.
pub fn is_unix(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(option(fd, libc::SO_DOMAIN)? == libc::AF_UNIX)
}

/// Names the very inode of a descriptor: only this process can follow it.
fn by_descriptor(fd: &OwnedFd) -> Result<UnixAddr, Errno> {
    UnixAddr::new(&super::own_path(fd))
}

impl Unix {
    /// The unix sockets of zone `number`; makes `run/sockets`.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(number: u16, run_dir: &Path) -> crate::error::Result<Self> {
        let path = run_dir.join("sockets");
        // What a killed monitor left would be in the way.
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).doing("clear", path.display());
            }
            _ => {}
        }
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&path)
            .doing("make", path.display())?;
        let directory = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(&path)
            .doing("open", path.display())?;
        let [_, _, x, y] = address::zone_v4(number).octets();
        Ok(Self {
            prefix: format!("picozone.{x}.{y}/").into_bytes(),
            mark: [origins::MARK, format!("{x}.{y}.").as_bytes()].concat(),
            directory: directory.into(),
            next: AtomicU64::new(1),
            names: Mutex::default(),
            peers: Peers::default(),
            has_late_names: AtomicBool::new(false),
            known: origins::Known::default(),
            alias_prefix: format!("picozone.{x}.{y}.as/").into_bytes(),
            aliases: Aliases::default(),
            poses: Poses::default(),
        })
    }

    fn names(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Vec<u8>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unique(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Binds a guest's socket.
    ///
    /// # Errors
    /// Those of bind(2): `EADDRINUSE`, `EINVAL`, `EROFS`, those of the path.
    pub fn bind(
        &self,
        caller: &impl Caller,
        socket: &OwnedFd,
        address: &[u8],
    ) -> Result<(), Errno> {
        match host_name(socket) {
            Some(host) if peers::is_ours(&host) => self.bind_late(caller, socket, host, address),
            _ => self.bind_new(caller, socket, address),
        }
    }

    /// Binds one that was connected without a name, and has ours: what listens to nobody by its name
    /// needs no more than what others find there, and that its owner is told it.
    fn bind_late(
        &self,
        caller: &impl Caller,
        socket: &OwnedFd,
        host: Vec<u8>,
        address: &[u8],
    ) -> Result<(), Errno> {
        if self.names().contains_key(&host) {
            return Err(Errno::EINVAL);
        }
        let stand_in = datagrams()?;
        self.bind_new(caller, &stand_in, address)?;
        let told = self.own_name(&stand_in);
        self.has_late_names.store(true, Ordering::Relaxed);
        self.note(socket, &told);
        Ok(())
    }

    /// Whether what is connected may have a name besides the one that we gave it.
    #[must_use]
    pub fn has_late_names(&self) -> bool {
        self.has_late_names.load(Ordering::Relaxed)
    }

    fn bind_new(
        &self,
        caller: &impl Caller,
        socket: &OwnedFd,
        address: &[u8],
    ) -> Result<(), Errno> {
        let name = Name::parse(address)?;
        match &name {
            Name::Unnamed => loop {
                let digits = format!("{:05x}", self.unique() & 0xf_ffff);
                match bind(socket.as_raw_fd(), &self.abstract_name(digits.as_bytes())?) {
                    Err(Errno::EADDRINUSE) => {}
                    other => return other,
                }
            },
            Name::Abstract(own) => {
                bind(socket.as_raw_fd(), &self.abstract_name(own)?)?;
                if self.is_long(own) {
                    self.note(socket, &name.told());
                }
                Ok(())
            }
            Name::Path(path) => self.bind_path(caller, socket, path, &name.told()),
        }
    }

    /// The kernel takes 107 bytes behind the leading NUL.
    fn is_long(&self, own: &[u8]) -> bool {
        self.prefix.len() + own.len() > 107
    }

    fn abstract_name(&self, own: &[u8]) -> Result<UnixAddr, Errno> {
        let name = if self.is_long(own) {
            let mut hash = DefaultHasher::new();
            own.hash(&mut hash);
            let front = self.prefix.strip_suffix(b"/").unwrap_or(&self.prefix);
            let hash = format!("{:016x}", hash.finish());
            [front, b".long/", hash.as_bytes()].concat()
        } else {
            [&self.prefix[..], own].concat()
        };
        UnixAddr::new_abstract(&name).map_err(|_| Errno::EINVAL)
    }

    fn bind_path(
        &self,
        caller: &impl Caller,
        socket: &OwnedFd,
        path: &[u8],
        told: &[u8],
    ) -> Result<(), Errno> {
        let (parent, last) = if caller.is_log(path) {
            // Left by a program that has ended: /dev is not the zone's to clean.
            let _ = unlinkat(&self.directory, "log", UnlinkatFlags::NoRemoveDir);
            (
                self.directory.try_clone().map_err(|_| Errno::EMFILE)?,
                &b"log"[..],
            )
        } else {
            let (parent, last) = split(path)?;
            let parent = caller.open(parent, libc::O_PATH | libc::O_DIRECTORY)?;
            if !caller.may_write(&parent) {
                return Err(Errno::EROFS);
            }
            (parent, last)
        };
        match fstatat(&parent, last, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {}
            Ok(_) => return Err(Errno::EADDRINUSE),
            Err(errno) => return Err(errno),
        }
        if !caller.is_log(path) && !caller.may_make_in(&parent) {
            return Err(Errno::EACCES);
        }
        let is_near =
            mount_of(&parent).is_some_and(|mount| mount_of(&self.directory) == Some(mount));
        let directory = if is_near { &self.directory } else { &parent };
        let own = [&self.mark[..], self.unique().to_string().as_bytes()].concat();
        bind_in(socket, directory, &own)?;
        self.note(socket, told);
        let mode = caller.mode_of(socket) & 0o777 & !caller.umask();
        // The guest may have put something else in its place by now, a link to where it likes too.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        if let Ok(inode) = nix::fcntl::openat(directory, &own[..], flags, Mode::empty())
            && let Ok((id, found)) = identify(&inode)
            && found & libc::S_IFMT == libc::S_IFSOCK
        {
            // The host's user keeps what it needs to serve the zone.
            set_mode(&inode, mode_on_host(mode, false))?;
            caller.made(&parent, &inode, mode);
            if is_near {
                self.known.keep(id);
            }
        }
        let moved = move_to(directory, &own, &parent, last);
        if moved.is_err() {
            let _ = unlinkat(directory, &own[..], UnlinkatFlags::NoRemoveDir);
        }
        moved.map_err(|errno| match errno {
            Errno::EEXIST => Errno::EADDRINUSE,
            other => other,
        })
    }

    /// Keeps the zone's name of a socket that was just bound.
    fn note(&self, socket: &OwnedFd, told: &[u8]) {
        let Some(host) = host_name(socket) else {
            return;
        };
        let mut names = self.names();
        if names.len() >= NAMES_MAX {
            let list = std::fs::read("/proc/net/unix").unwrap_or_default();
            // Abstract ones are shown with an `@`.
            let alive: HashSet<Vec<u8>> = list
                .split(|byte| *byte == b'\n')
                .filter_map(|line| line.rsplit(|byte| *byte == b' ').next())
                .map(|name| match name {
                    [b'@', rest @ ..] => [&[0], rest].concat(),
                    path => path.to_vec(),
                })
                .collect();
            names.retain(|name, _| alive.contains(name));
        }
        names.insert(host, told.to_vec());
    }

    /// The zone's name of a guest's socket; unnamed if it has none.
    fn own_name(&self, socket: &OwnedFd) -> Vec<u8> {
        let host = host_name(socket).unwrap_or_default();
        self.zone_name(&[&name::family()[..], &host].concat())
    }

    /// The address on the host, and what keeps it valid.
    fn target(
        &self,
        caller: &impl Caller,
        address: &[u8],
    ) -> Result<(UnixAddr, Option<OwnedFd>), Errno> {
        match Name::parse(address)? {
            Name::Unnamed => Err(Errno::EINVAL),
            Name::Abstract(own) => Ok((self.abstract_name(own)?, None)),
            Name::Path(path) => {
                let inode = if caller.is_log(path) {
                    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    nix::fcntl::openat(&self.directory, "log", flags, Mode::empty())?
                } else {
                    caller.open(path, libc::O_PATH)?
                };
                if !caller.may_connect(&inode) {
                    return Err(Errno::EACCES);
                }
                self.must_be_no_other_zones(&inode)?;
                Ok((by_descriptor(&inode)?, Some(inode)))
            }
        }
    }

    /// Connects a guest's socket, without waiting.
    ///
    /// # Errors
    /// Those of connect(2): `ECONNREFUSED`, `ENOENT`, `EPROTOTYPE`; `EAGAIN`: the backlog is full.
    pub fn connect(
        &self,
        caller: &impl Caller,
        socket: &OwnedFd,
        address: &[u8],
    ) -> Result<(), Errno> {
        let (target, _inode) = self.target(caller, address)?;
        // As the kernel does (unix_stream_connect), with a name of the zone's.
        let is_unnamed = host_name(socket).is_none();
        if is_unnamed && option(socket.as_fd(), libc::SO_PASSCRED)? != 0 {
            self.bind_new(caller, socket, &name::family())?;
        }
        let who = caller.credentials();
        self.peers.note(socket, who);
        without_waiting(socket, || connect(socket.as_raw_fd(), &target))?;
        if option(socket.as_fd(), libc::SO_TYPE)? != libc::SOCK_DGRAM {
            self.name_connected(socket, who);
        }
        Ok(())
    }

    /// Has the name of a socket tell who has connected it, also when it is closed. Where that fails,
    /// nobody is told then.
    fn name_connected(&self, socket: &OwnedFd, who: Credentials) {
        if let Some(host) = host_name(socket) {
            self.peers.note_name(host, who);
            return;
        }
        let front = String::from_utf8_lossy(&self.prefix);
        let name = peers::name_of(who, &format!("{front}{}", self.unique()));
        if let Ok(name) = UnixAddr::new_abstract(&name) {
            let _ = bind(socket.as_raw_fd(), &name);
        }
    }

    /// The zone's form of an address that the kernel told; unnamed if it is none of the zone's.
    #[must_use]
    pub fn zone_name(&self, address: &[u8]) -> Vec<u8> {
        let host = address.get(FAMILY..).unwrap_or_default();
        if let Some(alias) = host
            .strip_prefix(&[0])
            .and_then(|host| host.strip_prefix(&self.alias_prefix[..]))
        {
            return self
                .aliases
                .told(alias)
                .unwrap_or_else(|| Name::Unnamed.told());
        }
        if let Some(own) = host
            .strip_prefix(&[0])
            .and_then(|host| host.strip_prefix(&self.prefix[..]))
        {
            return Name::Abstract(own).told();
        }
        let host = host.strip_suffix(&[0]).unwrap_or(host);
        let known = self.names().get(host).cloned();
        known.unwrap_or_else(|| Name::Unnamed.told())
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn peer(&self, caller: &impl Caller, socket: &OwnedFd) -> Result<Credentials, Errno> {
        let kernel =
            nix::sys::socket::getsockopt(socket, nix::sys::socket::sockopt::PeerCredentials)?;
        match u32::try_from(kernel.pid()) {
            // Not connected.
            Ok(0) | Err(_) => Ok(Credentials {
                pid: 0,
                uid: u32::MAX,
                gid: u32::MAX,
            }),
            Ok(pid) if pid == std::process::id() => {
                let other = nix::sys::socket::getpeername(socket.as_raw_fd());
                let other = other.ok().and_then(|name| name_in(&name));
                Ok(self.peers.of(socket, other.as_deref()))
            }
            Ok(pid) => Ok(caller.credentials_of(pid)),
        }
    }
}

/// Binds beneath a directory, by a path that is short enough.
fn bind_in(socket: &OwnedFd, directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    use std::os::unix::ffi::OsStrExt;
    let path = super::own_path(directory).join(std::ffi::OsStr::from_bytes(name));
    bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)
}

/// Gives a socket its place, where there must be nothing.
fn move_to(from: &OwnedFd, name: &[u8], to: &OwnedFd, last: &[u8]) -> Result<(), Errno> {
    match renameat2(from, name, to, last, RenameFlags::RENAME_NOREPLACE) {
        // Some file systems know of no flags.
        Err(Errno::EINVAL) => {
            nix::unistd::linkat(from, name, to, last, AtFlags::empty())?;
            unlinkat(from, name, UnlinkatFlags::NoRemoveDir)
        }
        other => other,
    }
}

/// What the kernel holds as the name of a bound socket, without family and final NUL; an abstract one
/// begins with NUL.
fn host_name(socket: &OwnedFd) -> Option<Vec<u8>> {
    name_in(&nix::sys::socket::getsockname(socket.as_raw_fd()).ok()?)
}

fn name_in(name: &UnixAddr) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    match name.as_abstract() {
        Some(name) => Some([&[0], name].concat()),
        None => Some(name.path()?.as_os_str().as_bytes().to_vec()),
    }
}

/// The mount that a descriptor is on (proc(5), fdinfo): a rename does not leave it.
fn mount_of(fd: &OwnedFd) -> Option<String> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    Some(line.trim().to_owned())
}

/// Does something to a guest's socket while `O_NONBLOCK` is set, as far as the guest lets it be.
fn without_waiting<T>(
    socket: &OwnedFd,
    act: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    if flags.contains(OFlag::O_NONBLOCK) {
        return briefly(act);
    }
    fcntl(socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    let result = briefly(act);
    fcntl(socket, FcntlArg::F_SETFL(flags))?;
    result
}
