//! Sockets of a zone: [`inet`] for TCP and UDP, [`unix`] for what is named by a path, [`netlink`] for
//! dumps of interfaces, routes and sockets.
//!
//! A guest hands its socket over; what it names is put into the host's terms here and bound or
//! connected on the same open file description. Nothing here waits for a guest.

pub mod inet;
mod netlink;
mod options;
mod sock_diag;
pub mod unix;

use super::descriptors::own_path;
use super::files;
use super::lists;
use super::owners::{self, Owner, identify};
use super::paths::open_in_zone;
use super::procfs::View;
use super::rights::{EXECUTE, User, WRITE};
use super::served::{self, Answer};
use super::zone::Zone;
use crate::control::{Port, Protocol, Publish};
use crate::error::Result;
use crate::ids::{HostPid, ZonePid};
use inet::Inet;
use inet::rows::Rows;
use netlink::Netlink;
use nix::errno::Errno;
use options::Options;
use picozone_personality::capabilities::Power;
use picozone_personality::commons::Process;
use picozone_personality::mailbox::NetlinkKind;
use picozone_personality::net::Proto;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Weak;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, Release};
use unix::{Credentials, Unix};

/// The network side of a zone.
pub struct Net {
    inet: Inet,
    unix: Unix,
    netlink: Netlink,
    options: Options,
}

fn number(errno: Errno) -> i32 {
    errno as i32
}

impl Net {
    /// The network of the zone with this number.
    ///
    /// # Errors
    /// `run_dir` (`zones/NAME/run`) cannot be written. A publication cannot be: the zone is not to
    /// look as if it were reachable there.
    pub fn new(
        zone_number: u16,
        rows: Box<dyn Rows>,
        run_dir: &Path,
        publications: &[Publish],
    ) -> Result<Self> {
        let net = Self {
            inet: Inet::new(zone_number, rows, run_dir),
            unix: Unix::new(zone_number, run_dir)?,
            netlink: Netlink::new(zone_number),
            options: Options::default(),
        };
        for publication in publications {
            net.inet.publish(publication.clone())?;
        }
        Ok(net)
    }

    /// Binds a handed-over socket to an address in the zone's terms.
    ///
    /// # Errors
    /// Those of bind(2), in the zone's terms.
    pub fn bind(
        &self,
        zone: &Zone,
        caller: HostPid,
        socket: &OwnedFd,
        address: &[u8],
    ) -> std::result::Result<i64, i32> {
        let bound = if unix::is_unix(socket.as_fd()).map_err(number)? {
            let bound = self.unix.bind(&Caller { zone, caller }, socket, address);
            if self.unix.has_late_names() {
                zone.shared.tables().late_names.store(1, Relaxed);
            }
            bound
        } else {
            self.inet.bind(socket.as_fd(), address)
        };
        bound.map(|()| 0).map_err(number)
    }

    /// Connects a handed-over unix socket.
    ///
    /// # Errors
    /// Those of connect(2); `EAGAIN`: the backlog is full, to be tried again.
    pub fn connect_unix(
        &self,
        zone: &Zone,
        caller: HostPid,
        socket: &OwnedFd,
        address: &[u8],
    ) -> std::result::Result<i64, i32> {
        self.unix
            .connect(&Caller { zone, caller }, socket, address)
            .map(|()| 0)
            .map_err(number)
    }

    /// Records or tells an option of a handed-over socket, see `Request::Recorded`.
    ///
    /// # Errors
    /// `EBADF`; `EINVAL`: no such operation, or too long a value.
    pub fn recorded(
        &self,
        socket: &OwnedFd,
        option: u64,
        operation: u64,
        value: &[u8],
    ) -> std::result::Result<Vec<u8>, i32> {
        self.options.serve(socket, option, operation, value)
    }

    /// A handed-over TCP socket listens, maybe at another port than before.
    ///
    /// # Errors
    /// `EINVAL`: none that was bound there; `ENOBUFS`: the table of ports is full.
    pub fn listens(&self, socket: &OwnedFd, before: u64) -> std::result::Result<i64, i32> {
        let before = u16::try_from(before).map_err(|_| libc::EINVAL)?;
        let listens = self.inet.listens(socket.as_fd(), before);
        listens.map(|()| 0).map_err(number)
    }

    /// A handed-over socket that was bound to a wildcard, at this port of the host, is about to be
    /// connected and shows another address from then on.
    ///
    /// # Errors
    /// `EINVAL`: no such socket, or no such address of it.
    pub fn settle(
        &self,
        socket: &OwnedFd,
        port: u64,
        covers: u64,
    ) -> std::result::Result<i64, i32> {
        let port = u16::try_from(port).map_err(|_| libc::EINVAL)?;
        let covers = u8::try_from(covers).map_err(|_| libc::EINVAL)?;
        let settled = self.inet.settle(socket.as_fd(), port, covers);
        settled.map(|()| 0).map_err(number)
    }

    /// Makes a socket that sends to an address for a handed-over unix datagram socket.
    ///
    /// # Errors
    /// Those of sendto(2); `EPERM`: the receiver hears one peer only.
    pub fn messenger(
        &self,
        zone: &Zone,
        caller: HostPid,
        socket: &OwnedFd,
        address: &[u8],
    ) -> std::result::Result<OwnedFd, i32> {
        self.unix
            .messenger(&Caller { zone, caller }, socket, address)
            .map_err(number)
    }

    /// Sends the datagram that `letter` holds from a handed-over unix datagram socket.
    ///
    /// # Errors
    /// Those of sendto(2); `EAGAIN`: the receiver's queue is full, to be tried again.
    pub fn send_unix(
        &self,
        zone: &Zone,
        caller: HostPid,
        [socket, letter]: [&OwnedFd; 2],
        address: &[u8],
    ) -> std::result::Result<i64, i32> {
        self.unix
            .send(&Caller { zone, caller }, socket, letter, address)
            .map(|()| 0)
            .map_err(number)
    }

    /// Sends the message that `letter` holds from a handed-over unix socket, with these credentials.
    ///
    /// # Errors
    /// Those of sendmsg(2); `EAGAIN`: the receiver's queue is full, to be tried again.
    pub fn pose(
        &self,
        zone: &Zone,
        [socket, letter]: [&OwnedFd; 2],
        claim: Credentials,
    ) -> std::result::Result<i64, i32> {
        // The number may have been a guest's.
        let forget = |host: u32| {
            if let Some(back) = zone.shared.commons().by_host.get(host as usize) {
                back.store(0, Release);
            }
        };
        self.unix
            .pose(socket, letter, claim, forget)
            .map_err(number)
    }

    /// Whose credentials came with a message of this process of the host.
    #[must_use]
    pub fn posed(&self, host: u32) -> Credentials {
        self.unix.posed(host)
    }

    /// The zone is complete: its sockets can be told.
    pub fn show(&self, zone: Weak<Zone>) {
        self.netlink.show(zone);
    }

    /// Makes a socket that stands for a netlink socket of the zone's process `wanted`.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn netlink_socket(
        &self,
        wanted: u32,
        is_nonblocking: bool,
        kind: NetlinkKind,
    ) -> std::result::Result<OwnedFd, i32> {
        self.netlink
            .socket(wanted, is_nonblocking, kind)
            .map_err(number)
    }

    /// A netlink socket of the kernel's whose one message goes on to a handed-over stand-in.
    ///
    /// # Errors
    /// EINVAL: it is none. Those of socket(2).
    pub fn notice(&self, stand_in: &OwnedFd) -> std::result::Result<OwnedFd, i32> {
        self.netlink.notice(stand_in).map_err(number)
    }

    /// No message will come to what [`Net::notice`] made.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn forget_notice(&self, kernels: &OwnedFd) -> std::result::Result<(), i32> {
        self.netlink.forget_notice(kernels).map_err(number)
    }

    /// The zone's name for a unix address that the kernel holds.
    #[must_use]
    pub fn unix_name(&self, address: &[u8]) -> Vec<u8> {
        self.unix.zone_name(address)
    }

    /// Who is at the other end of a unix socket, as `struct ucred` in the zone's numbers.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn peer_credentials(
        &self,
        zone: &Zone,
        caller: HostPid,
        socket: &OwnedFd,
    ) -> std::result::Result<[u8; 12], i32> {
        let who = self
            .unix
            .peer(&Caller { zone, caller }, socket)
            .map_err(number)?;
        Ok(who.bytes())
    }

    /// Where an address of another zone, or of the host, lies on the host.
    ///
    /// # Errors
    /// As of [`Inet::peer_port`]; `EPROTONOSUPPORT`: a protocol without ports.
    pub fn peer_port(&self, proto: u64, address: &[u8]) -> std::result::Result<[u8; 128], i32> {
        const TCP: u64 = Proto::Tcp as u64;
        const UDP: u64 = Proto::Udp as u64;
        let protocol = match proto {
            TCP => Protocol::Tcp,
            UDP => Protocol::Udp,
            _ => return Err(libc::EPROTONOSUPPORT),
        };
        self.inet.peer_port(protocol, address).map_err(number)
    }

    /// The zone has ended.
    pub fn end(&self) {
        self.inet.end();
    }

    /// See [`Inet::ports`].
    #[must_use]
    pub fn ports(&self) -> Vec<Port> {
        self.inet.ports()
    }

    /// See [`Inet::publish`].
    ///
    /// # Errors
    /// As there.
    pub fn publish(&self, what: Publish) -> Result<()> {
        self.inet.publish(what)
    }

    /// See [`Inet::unpublish`].
    ///
    /// # Errors
    /// As there.
    pub fn unpublish(&self, what: &Publish) -> Result<()> {
        self.inet.unpublish(what)
    }
}

/// The guest thread that asks, as [`unix`] sees it.
struct Caller<'a> {
    zone: &'a Zone,
    caller: HostPid,
}

impl Caller<'_> {
    fn status(&self, field: &str) -> Option<String> {
        let status = crate::proc_text::read(format!("/proc/{}/status", self.caller)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(line.trim().to_owned())
    }

    fn process_of(&self, host: u32) -> Option<(u32, &Process)> {
        let shared = &self.zone.shared;
        let zone_pid = super::guests::to_zone(shared, HostPid(host))?;
        let process = shared.commons().processes.get(zone_pid.0 as usize)?;
        Some((zone_pid.0, process))
    }

    /// Opens what a path of the monitor's trees leads to beyond them.
    fn open_beyond(&self, path: &[u8], flags: i32) -> std::result::Result<OwnedFd, i32> {
        let asking = HostPid(self.zone.strict.on_behalf_of(self.caller.0));
        let pinned = match served::beyond(self.zone, asking, path)? {
            Answer::Done(pinned) => pinned,
            Answer::Elsewhere(path) => return open_in_zone(self.zone, &path, flags),
        };
        // What was handed to the zone from outside is not the zone's to name.
        let host = std::fs::read_link(own_path(&pinned)).map_err(files::errno)?;
        if self
            .zone
            .to_zone_path(host.as_os_str().as_bytes())
            .is_none()
        {
            return Err(libc::EACCES);
        }
        let (_, mode) = identify(&pinned)?;
        if flags & libc::O_DIRECTORY != 0 && mode & libc::S_IFMT != libc::S_IFDIR {
            return Err(libc::ENOTDIR);
        }
        Ok(pinned)
    }

    fn own_process(&self) -> Option<(u32, &Process)> {
        self.process_of(self.status("Tgid:")?.parse().ok()?)
    }

    /// Whose rights of files count.
    fn user(&self) -> Option<User> {
        let (pid, _) = self.own_process()?;
        Some(User::known(&self.zone.credentials(ZonePid(pid))))
    }
}

fn credentials(found: Option<(u32, &Process)>) -> Credentials {
    found.map_or(Credentials::UNKNOWN, |(pid, process)| Credentials {
        pid,
        uid: process.uid[1].load(Relaxed),
        gid: process.gid[1].load(Relaxed),
    })
}

/// Whether a file's mode lets a process write. The users of a zone are its own affair: they hold for
/// programs that do not attack the personality, which tells them.
fn may_write(
    process: &Process,
    owner: Owner,
    is_member: impl Fn(u32) -> bool,
    by_list: impl FnOnce() -> Option<bool>,
) -> bool {
    if process.load_capabilities().has(Power::Override) {
        return true;
    }
    let bit = match process.uid[3].load(Relaxed) {
        uid if uid == owner.uid => 0o200,
        _ if is_member(owner.gid) => 0o020,
        _ => 0o002,
    };
    by_list().unwrap_or(owner.mode & bit != 0)
}

fn is_member(process: &Process, groups: &[AtomicU32], gid: u32) -> bool {
    process.gid[3].load(Relaxed) == gid || groups.iter().any(|group| group.load(Relaxed) == gid)
}

impl unix::Caller for Caller<'_> {
    fn open(&self, path: &[u8], flags: i32) -> std::result::Result<OwnedFd, Errno> {
        let root = super::roots::of_caller(self.zone, self.caller);
        let at = if path.starts_with(b"/") {
            Vec::new()
        } else {
            let cwd = i64::from(libc::AT_FDCWD).cast_unsigned();
            files::path_of(self.zone, self.caller, cwd).map_err(Errno::from_raw)?
        };
        let open = |path: &[u8], flags| {
            let opened = super::paths::open_at(self.zone, &root, &at, path, flags);
            match opened {
                // By what a process has open, as who has no room for a longer path does (unix(7)).
                Err(libc::EACCES) => match super::paths::served(self.zone, &root, &at, path) {
                    Some(path) => self.open_beyond(&path, flags),
                    None => opened,
                },
                opened => opened,
            }
            .map_err(Errno::from_raw)
        };
        let opened = open(path, flags);
        // In a directory that is asked for a name is looked up; of what is not there, the last directory
        // on the way that is.
        let (seen, rest) = match &opened {
            Ok(opened) if flags & libc::O_DIRECTORY == 0 => (opened.try_clone().ok(), &b""[..]),
            Ok(opened) => (opened.try_clone().ok(), &b"/"[..]),
            Err(_) => {
                let ends = path.iter().enumerate().rev();
                let ends = ends
                    .filter(|&(_, &byte)| byte == b'/')
                    .map(|(last, _)| last + 1);
                let fronts = ends.chain([0]).map(|end| [&path[..end], b"."].concat());
                let mut there = fronts.filter_map(|front| open(&front, libc::O_PATH).ok());
                (there.next(), &b"/"[..])
            }
        };
        if let Some(host) = seen.and_then(|seen| std::fs::read_link(own_path(&seen)).ok())
            && let Some(found) = self.zone.to_zone_path(host.as_os_str().as_bytes())
            && let Some(user) = self.user()
        {
            let found = [&found[..], rest].concat();
            let walked = user.may_walk(self.zone, &found, &at);
            walked.map_err(Errno::from_raw)?;
        }
        opened
    }

    fn may_make_in(&self, directory: &OwnedFd) -> bool {
        self.user()
            .is_some_and(|user| user.permits(self.zone, directory, WRITE | EXECUTE))
    }

    fn is_log(&self, path: &[u8]) -> bool {
        path == b"/dev/log" && super::roots::of_caller(self.zone, self.caller).is_empty()
    }

    fn may_write(&self, directory: &OwnedFd) -> bool {
        std::fs::read_link(own_path(directory))
            .is_ok_and(|path| self.zone.is_writable(path.as_os_str().as_bytes()))
    }

    fn umask(&self) -> u32 {
        let umask = self.status("Umask:");
        umask
            .and_then(|umask| u32::from_str_radix(&umask, 8).ok())
            .unwrap_or(0o077)
    }

    fn mode_of(&self, socket: &OwnedFd) -> u32 {
        let known = identify(socket)
            .ok()
            .and_then(|(id, _)| self.zone.owners.get(&self.zone.shared, id, || 0));
        known.map_or(0o777, |owner| owner.mode)
    }

    fn may_connect(&self, inode: &OwnedFd) -> bool {
        let (Ok((id, mode)), Some((pid, process))) = (identify(inode), self.own_process()) else {
            return false;
        };
        let known = self.zone.owners.get(&self.zone.shared, id, || 0);
        let by_host = Owner {
            uid: 0,
            gid: 0,
            mode,
            rdev: 0,
        };
        let groups = self.zone.shared.commons().groups_of(pid);
        let owner = known.unwrap_or(by_host);
        let is_member = |gid| is_member(process, groups, gid);
        may_write(process, owner, is_member, || {
            let uid = process.uid[3].load(Relaxed);
            lists::permits(self.zone, id, owner, 2, uid, is_member)
        })
    }

    fn made(&self, directory: &OwnedFd, inode: &OwnedFd, mode: u32) {
        let (Ok((id, host_mode)), Some((_, process))) = (identify(inode), self.own_process())
        else {
            return;
        };
        let parent = owners::found(self.zone, directory).ok();
        let giver = parent
            .as_ref()
            .filter(|parent| parent.owner.mode & libc::S_ISGID != 0);
        let owner = Owner {
            uid: process.uid[3].load(Relaxed),
            gid: giver.map_or_else(|| process.gid[3].load(Relaxed), |giver| giver.owner.gid),
            mode: host_mode & libc::S_IFMT | mode,
            rdev: 0,
        };
        if (owner.uid, owner.gid, owner.mode) != (0, 0, host_mode) {
            // As where the table has no room: the socket is there.
            let _ = self.zone.owners.set(&self.zone.shared, id, owner);
        }
        if let (Some(parent), Ok(found)) = (parent, owners::found(self.zone, inode)) {
            let _ = lists::inherit_from(self.zone, parent.id, inode, &found, owner, mode);
        }
    }

    fn credentials(&self) -> Credentials {
        credentials(self.own_process())
    }

    fn credentials_of(&self, host: u32) -> Credentials {
        credentials(self.process_of(host))
    }
}
