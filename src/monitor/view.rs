//! A running zone as `/proc` and `/dev` see it.
//!
//! Neighbours: [`super::procfs`] says what it needs, [`super::guests`] knows the processes. No locks
//! of its own.

use super::copies::Original;
use super::mounts::Mount;
use super::owners::{self, Owner};
use super::procfs::{Credentials, Mount as Line, Protocol, StatLine, View};
use super::zone::Zone;
use super::{devfs, guests, ipc};
use crate::ids::{HostPid, ZonePid};
use crate::tree::Kind;
use picozone_personality::net::{Address, Covers, Form, Ip, Ports, Proto, Role, ZoneNet, to_zone};
use picozone_personality::scheduling::Row;
use picozone_personality::tables::{DOMAIN_NAME, HOST_NAME, mount_id};
use picozone_personality::users::IdMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Minor numbers of the devices of mounts that the monitor serves: far above those that the kernel
/// gives to such file systems of its own.
const MINORS: u32 = 0xf_f000;

/// The device of a mount that the monitor serves (`st_dev`).
#[must_use]
pub fn device_of(zone_path: &Path) -> u64 {
    let minor = if zone_path == Path::new("/proc") {
        MINORS
    } else {
        MINORS + 1
    };
    libc::makedev(0, minor)
}

/// A map as user_namespaces(7) has it.
fn id_map(map: &IdMap) -> Vec<u8> {
    let whole = [(0, 0, u32::MAX)];
    // The first row is who runs the zone, and many ids that are one have no line.
    let rows = map.rows[1..]
        .iter()
        .filter(|row| row.count > 0 && row.squashes == 0);
    let rows: Vec<(u32, u32, u32)> = match map.is_closed {
        0 => whole.to_vec(),
        _ => rows.map(|row| (row.zone, row.host, row.count)).collect(),
    };
    let mut text = String::new();
    for (zone, host, count) in rows {
        // A write to a String cannot fail.
        let _ = writeln!(text, "{zone:>10} {host:>10} {count:>10}");
    }
    text.into_bytes()
}

impl View for Zone {
    fn processes(&self) -> Vec<(ZonePid, HostPid)> {
        guests::all(&self.shared, self.init_pid())
    }

    fn to_zone(&self, host: HostPid) -> Option<ZonePid> {
        guests::to_zone(&self.shared, host)
    }

    fn to_host(&self, zone: ZonePid) -> Option<HostPid> {
        guests::to_host(&self.shared, self.init_pid(), zone)
    }

    fn credentials(&self, zone: ZonePid) -> Credentials {
        const NOBODY: u32 = 65534;
        let Some(process) = self.shared.commons().processes.get(zone.0 as usize) else {
            return Credentials {
                uid: [NOBODY; 4],
                gid: [NOBODY; 4],
                ..Credentials::default()
            };
        };
        let groups = self.shared.commons().groups_of(zone.0).iter();
        Credentials {
            uid: process.uid.each_ref().map(|id| id.load(Relaxed)),
            gid: process.gid.each_ref().map(|id| id.load(Relaxed)),
            groups: groups.map(|id| id.load(Relaxed)).collect(),
            capabilities: process.load_capabilities(),
        }
    }

    fn scheduling(&self, thread: HostPid) -> Option<&Row> {
        self.shared.commons().scheduling_of(thread.0)
    }

    fn is_closed(&self, process: ZonePid) -> bool {
        let commons = self.shared.commons();
        let process = commons.processes.get(process.0 as usize);
        process.is_some_and(|process| process.is_closed.load(Relaxed) != 0)
    }

    fn is_locked(&self, process: ZonePid) -> bool {
        let commons = self.shared.commons();
        let process = commons.processes.get(process.0 as usize);
        process.is_some_and(|process| process.is_locked.load(Relaxed) != 0)
    }

    fn to_zone_path(&self, host: &[u8]) -> Option<Vec<u8>> {
        Zone::to_zone_path(self, host)
    }

    fn root(&self, process: ZonePid) -> Vec<u8> {
        super::roots::of(self, process)
    }

    fn original(&self, host: &[u8]) -> Option<Original> {
        self.copies.original(host)
    }

    fn mounts(&self) -> Vec<Line> {
        let booted = self.mounts.iter().rev().filter(|mount| {
            // The store of temporary file systems is seen nowhere by itself, nor what lies below.
            mount.spec.zone_path != Path::new("") && mount.spec.kind != Kind::Below
        });
        let rows = self.rows();
        let row_of = |mount: &Mount| {
            let zone_path = mount.spec.zone_path.as_os_str().as_encoded_bytes();
            let prefix = zone_path.strip_suffix(b"/").unwrap_or(zone_path);
            rows.iter()
                .find(|row| !row.is_added() && row.prefix() == prefix)
        };
        let booted = booted.map(|mount| line(row_of(mount).map_or(0, mount_id) as usize, mount));
        booted.chain(super::mounting::lines(self)).collect()
    }

    fn id_maps(&self) -> [Vec<u8>; 2] {
        let tables = self.shared.tables();
        [&tables.uids, &tables.gids].map(id_map)
    }

    fn hostname(&self) -> Vec<u8> {
        up_to_nul(&self.shared.tables().uname[HOST_NAME])
    }

    fn domainname(&self) -> Vec<u8> {
        up_to_nul(&self.shared.tables().uname[DOMAIN_NAME])
    }

    fn unix_to_zone(&self, host: &[u8]) -> Option<Vec<u8>> {
        let family = u16::try_from(libc::AF_UNIX).ok()?.to_ne_bytes();
        // An abstract name begins with a NUL, shown as `@`.
        let name = match host.strip_prefix(b"@") {
            Some(name) => [&[0], name].concat(),
            None => host.to_vec(),
        };
        let told = self.net.unix_name(&[&family[..], &name].concat());
        match told.get(family.len()..)? {
            [] => None,
            [0, name @ ..] => Some([b"@", name].concat()),
            path => Some(up_to_nul(path)),
        }
    }

    fn exe(&self, host: HostPid) -> Option<Vec<u8>> {
        // Init runs nothing but the personality.
        if host == self.init_pid() {
            // Not a name that a distribution makes a link of: scripts ask it for systemd.
            return Some(b"/init".to_vec());
        }
        let stat = std::fs::read(format!("/proc/{host}/stat")).ok()?;
        let code: u64 = StatLine::parse(&stat)?.get(START_CODE)?.parse().ok()?;
        let maps = std::fs::read(format!("/proc/{host}/maps")).ok()?;
        let path = mapped_at(&maps, code)?;
        Zone::to_zone_path(self, path)
    }

    fn booted_at(&self) -> u64 {
        nanoseconds(self.booted)
    }

    fn sysvipc(&self, kind: ipc::Kind) -> Vec<u8> {
        ipc::table(self, kind)
    }

    fn keys(&self, asking: HostPid) -> Vec<u8> {
        super::keys::list(self, asking)
    }

    fn key_users(&self) -> Vec<u8> {
        super::keys::users(self)
    }

    fn setting(&self, path: &str) -> Vec<u8> {
        super::settings::show(self, path)
    }

    fn ptys(&self) -> Vec<u32> {
        self.terminals.numbers()
    }

    fn has_log(&self) -> bool {
        self.run_dir.join("sockets/log").exists()
    }

    fn pty(&self, number: u32) -> Owner {
        let pin = self.terminals.pin(number);
        let found = pin.and_then(|pin| owners::found(self, &pin).ok());
        found.map_or_else(|| devfs::new_terminal(0, 0), |found| found.owner)
    }

    fn net(&self) -> ZoneNet {
        self.shared.tables().net
    }

    fn socket_to_zone(
        &self,
        protocol: Protocol,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let tables = self.shared.tables();
        let (ports, proto) = (ports(self), proto_of(protocol));
        let (here, there) = (bytes_of(local), bytes_of(peer));
        let is_connected = !peer.ip().is_unspecified() || peer.port() != 0;
        let role = Role::Local {
            peer: is_connected.then_some(&there[..]),
            is_chosen: false,
        };
        let shown = to_zone(&tables.net, ports, proto, &here, role);
        let local = shown.map_or(Some(local), |shown| socket_of(shown.as_bytes()))?;
        if !is_connected {
            return Some((local, peer));
        }
        let role = Role::Peer { local: Some(&here) };
        let shown = to_zone(&tables.net, ports, proto, &there, role);
        let peer = shown.map_or(Some(peer), |shown| socket_of(shown.as_bytes()))?;
        Some((local, peer))
    }

    fn is_v6_only(&self, protocol: Protocol, local: SocketAddr) -> bool {
        let IpAddr::V4(ip) = local.ip().to_canonical() else {
            return false;
        };
        let covers = ports(self).covers_at(proto_of(protocol), ip.octets(), local.port());
        covers.is_some_and(Covers::is_v6_only)
    }
}

fn ports(zone: &Zone) -> Ports<'_> {
    let tables = zone.shared.tables();
    Ports::new(&tables.ports, tables.port_count.load(Acquire))
}

fn proto_of(protocol: Protocol) -> Proto {
    match protocol {
        Protocol::Tcp => Proto::Tcp,
        Protocol::Udp => Proto::Udp,
    }
}

/// `startcode` in `/proc/PID/stat`.
const START_CODE: usize = 26;

/// Nanoseconds since 1970.
#[must_use]
pub fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn up_to_nul(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0);
    bytes[..end.unwrap_or(bytes.len())].to_vec()
}

/// The name of the file that is mapped at an address (`proc_pid_maps(5)`).
fn mapped_at(maps: &[u8], address: u64) -> Option<&[u8]> {
    let hex = |text: &[u8]| u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok();
    maps.split(|&byte| byte == b'\n').find_map(|line| {
        let end = line.iter().position(|&byte| byte == b' ')?;
        let dash = line[..end].iter().position(|&byte| byte == b'-')?;
        let range = hex(&line[..dash])?..hex(&line[dash + 1..end])?;
        let name = line.iter().position(|&byte| byte == b'/')?;
        range.contains(&address).then(|| &line[name..])
    })
}

/// A mount as the zone's mount table shows it.
fn line(id: usize, mount: &Mount) -> Line {
    let path = &mount.spec.zone_path;
    let device = match mount.spec.kind {
        Kind::Monitor => device_of(path),
        Kind::Tree | Kind::Below => {
            nix::sys::stat::fstat(&mount.directory).map_or(0, |found| found.st_dev)
        }
    };
    let fstype = match mount.spec.kind {
        Kind::Monitor if path == Path::new("/proc") => "proc",
        Kind::Monitor => "devtmpfs",
        Kind::Tree if path == Path::new("/dev/shm") => "tmpfs",
        Kind::Tree if path == Path::new("/sys") => "sysfs",
        Kind::Tree | Kind::Below => fstype(mount),
    };
    let access = if mount.spec.read_only { "ro" } else { "rw" };
    Line {
        path: std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec(),
        fstype: fstype.to_owned(),
        source: match fstype {
            "proc" | "devtmpfs" | "sysfs" => fstype.to_owned(),
            _ => "zone".to_owned(),
        },
        options: format!("{access},relatime"),
        device,
        id,
        root: b"/".to_vec(),
    }
}

fn fstype(mount: &Mount) -> &'static str {
    fstype_of(&mount.directory)
}

/// Name of the file system that a directory of the host lies on.
#[must_use]
pub fn fstype_of(directory: &std::os::fd::OwnedFd) -> &'static str {
    // By the magic numbers of statfs(2).
    const NAMES: [(i64, &str); 8] = [
        (0xef53, "ext4"),
        (0x0102_1994, "tmpfs"),
        (0x9123_683e, "btrfs"),
        (0x5846_5342, "xfs"),
        (0x794c_7630, "overlay"),
        (0x7371_7368, "squashfs"),
        (0xe0f5_e1e2, "erofs"),
        (0x6265_6572, "sysfs"),
    ];
    let Ok(found) = nix::sys::statfs::fstatfs(directory) else {
        return "ext4";
    };
    NAMES
        .iter()
        .find(|(magic, _)| *magic == found.filesystem_type().0)
        .map_or("ext4", |(_, name)| name)
}

fn bytes_of(address: SocketAddr) -> Vec<u8> {
    let bytes = match address.ip() {
        IpAddr::V4(ip) => Address::v4(ip.octets(), address.port()).compact(Form::V4),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => Address::v4(ip.octets(), address.port()).compact(Form::V6),
            None => Address::v6(ip.octets(), address.port()).compact(Form::V6),
        },
    };
    bytes.as_bytes().to_vec()
}

fn socket_of(bytes: &[u8]) -> Option<SocketAddr> {
    let (address, form) = Address::parse(bytes)?;
    let ip: IpAddr = match (address.ip, form) {
        (Ip::V4(ip), Form::V4) => Ipv4Addr::from(ip).into(),
        (Ip::V4(ip), Form::V6) => Ipv4Addr::from(ip).to_ipv6_mapped().into(),
        (Ip::V6(ip), _) => Ipv6Addr::from(ip).into(),
    };
    Some(SocketAddr::new(ip, address.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_what_is_mapped_where_its_code_starts() {
        let maps = b"1000-2000 r-xp 0 08:01 5 /usr/bin/a b\n2000-3000 rw-p 0 00:00 0\n3000-4000 r--p 0 08:01 6 /x (deleted)\n";
        assert_eq!(mapped_at(maps, 0x1fff), Some(&b"/usr/bin/a b"[..]));
        assert_eq!(mapped_at(maps, 0x2000), None);
        assert_eq!(mapped_at(maps, 0x3000), Some(&b"/x (deleted)"[..]));
        assert_eq!(mapped_at(maps, 0x4000), None);
    }

    #[test]
    fn addresses_keep_their_form() {
        for text in ["10.0.0.1:80", "[::1]:443", "[::ffff:127.0.0.1]:22"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(socket_of(&bytes_of(address)), Some(address));
        }
    }
}
