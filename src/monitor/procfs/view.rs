//! What `/proc` and `/dev` need to know of a zone.

use crate::ids::{HostPid, ZonePid};
use crate::monitor::copies::Original;
use crate::monitor::devfs;
use crate::monitor::ipc::Kind as Ipc;
use crate::monitor::owners::Owner;
use picozone_personality::capabilities::Capabilities;
use picozone_personality::layout::{FD_BASE, FD_COUNT, PERSONALITY_BASE, REGION_END};
use picozone_personality::net::ZoneNet;
use picozone_personality::scheduling::Row;
use std::net::SocketAddr;
use std::ops::Range;

/// The users of a process in the zone's terms: real, effective, saved and file system id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Real, effective, saved, file system user id.
    pub uid: [u32; 4],
    /// Real, effective, saved, file system group id.
    pub gid: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// What it may do in the zone.
    pub capabilities: Capabilities,
}

/// One line of the zone's mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where the zone sees it, absolute.
    pub path: Vec<u8>,
    /// Name of the file system, such as `ext4`.
    pub fstype: String,
    /// What is mounted, as the first column of `/proc/mounts`, such as `zone`.
    pub source: String,
    /// Options separated by commas, beginning with `ro` or `rw`.
    pub options: String,
    /// Device number as stat(2) gives it for files of the mount (`st_dev`).
    pub device: u64,
    /// Its number, which no other has.
    pub id: usize,
    /// Of a bind: what it shows of its file system, else `/`.
    pub root: Vec<u8>,
}

/// A protocol whose sockets `/proc/net` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP over either version of IP.
    Tcp,
    /// UDP over either version of IP.
    Udp,
}

/// A zone as its monitor knows it.
///
/// Every answer may be out of date by the time that it is used: processes come and go. What reads
/// the host's `/proc` takes a missing process for one that has just died.
pub trait View: Send + Sync {
    /// The zone's processes (not their threads), zombies included.
    fn processes(&self) -> Vec<(ZonePid, HostPid)>;
    /// The zone's number of a host process; `None` if it is none of the zone's. A number that only
    /// names a group or session, its leader being gone, is answered too.
    fn to_zone(&self, host: HostPid) -> Option<ZonePid>;
    /// The host process behind a number of the zone, verified to belong to the zone and to live.
    fn to_host(&self, zone: ZonePid) -> Option<HostPid>;
    /// Users of a process; those of nobody if it is gone.
    fn credentials(&self, zone: ZonePid) -> Credentials;
    /// What is recorded of a thread's priorities.
    fn scheduling(&self, thread: HostPid) -> Option<&Row> {
        let _ = thread;
        None
    }
    /// Whether a process is not dumpable (`PR_SET_DUMPABLE`).
    fn is_closed(&self, _process: ZonePid) -> bool {
        false
    }
    /// Whether all memory of a process is shown as locked.
    fn is_locked(&self, _process: ZonePid) -> bool {
        false
    }
    /// The zone's name of a path of the host; `None` if the zone does not see it.
    fn to_zone_path(&self, host: &[u8]) -> Option<Vec<u8>>;
    /// The root directory of a process, as a zone path; empty for the zone's own.
    fn root(&self, _process: ZonePid) -> Vec<u8> {
        Vec::new()
    }
    /// The file that a host path stands for, if that is a rewritten copy.
    fn original(&self, _host: &[u8]) -> Option<Original> {
        None
    }
    /// The mount table, in the order of mounting, the root first.
    fn mounts(&self) -> Vec<Mount>;
    /// `uid_map` and `gid_map` of every process.
    fn id_maps(&self) -> [Vec<u8>; 2] {
        [(); 2].map(|()| b"         0          0 4294967295\n".to_vec())
    }
    /// `uname -n`.
    fn hostname(&self) -> Vec<u8>;
    /// `uname`'s domain name.
    fn domainname(&self) -> Vec<u8> {
        b"(none)".to_vec()
    }
    /// The zone's name of a unix socket's, both as `/proc/net/unix` shows them: an abstract one
    /// begins with `@`. `None` hides the name.
    fn unix_to_zone(&self, host: &[u8]) -> Option<Vec<u8>> {
        if host.starts_with(b"/") {
            self.to_zone_path(host)
        } else {
            Some(host.to_vec())
        }
    }
    /// The zone path of the program that a process runs; `None` before its first exec.
    fn exe(&self, host: HostPid) -> Option<Vec<u8>>;
    /// When the zone booted, in nanoseconds since 1970. Only tells one boot from another.
    fn booted_at(&self) -> u64;
    /// The rows of a table of `/proc/sysvipc`.
    fn sysvipc(&self, _kind: Ipc) -> Vec<u8> {
        Vec::new()
    }
    /// The keys that a thread may see, as `/proc/keys` has them.
    fn keys(&self, _asking: HostPid) -> Vec<u8> {
        Vec::new()
    }
    /// What the keys of each user take, as `/proc/key-users` has it.
    fn key_users(&self) -> Vec<u8> {
        Vec::new()
    }
    /// What the file of a setting of the zone's own shows, by its path relative to `/proc`.
    fn setting(&self, _path: &str) -> Vec<u8> {
        b"0\n".to_vec()
    }
    /// Numbers of the pseudo terminals that belong to the zone, as under `/dev/pts` of both sides.
    fn ptys(&self) -> Vec<u32>;
    /// Whether something in the zone listens at `/dev/log`.
    fn has_log(&self) -> bool {
        false
    }
    /// Owner and mode of a terminal.
    fn pty(&self, _number: u32) -> Owner {
        devfs::new_terminal(0, 0)
    }
    /// Descriptors of every guest that the zone must not see.
    fn hidden_descriptors(&self) -> Range<u32> {
        FD_BASE..FD_BASE + FD_COUNT
    }
    /// Addresses of every guest that the zone must not see.
    fn hidden_addresses(&self) -> Range<u64> {
        PERSONALITY_BASE..REGION_END
    }
    /// The zone's interfaces and routes.
    fn net(&self) -> ZoneNet;
    /// A socket's local and peer address in the zone's terms. The version of IP in the answer says
    /// in which table (`tcp` or `tcp6`) the socket is listed. `None` hides the socket.
    fn socket_to_zone(
        &self,
        protocol: Protocol,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Option<(SocketAddr, SocketAddr)>;
    /// Whether the zone's socket at a local address of the host is for IPv6 alone.
    fn is_v6_only(&self, _protocol: Protocol, _local: SocketAddr) -> bool {
        false
    }
}
