//! netdevice(7): `SIOCGIF*` and `SIOCETHTOOL` tell the zone's interfaces, `SIOCSIF*` are not for it.

use super::family;
use crate::monitor::tables;
use crate::{Errno, Result, memory};
use picozone_personality::net::{AF_INET, Interface};

const SIOCADDRT: u32 = 0x890b;
const SIOCDELRT: u32 = 0x890c;
const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCSIFADDR: u32 = 0x8916;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCSIFDSTADDR: u32 = 0x8918;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCSIFBRDADDR: u32 = 0x891a;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCSIFNETMASK: u32 = 0x891c;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCSIFMETRIC: u32 = 0x891e;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCSIFMTU: u32 = 0x8922;
const SIOCSIFNAME: u32 = 0x8923;
const SIOCSIFHWADDR: u32 = 0x8924;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCSIFTXQLEN: u32 = 0x8943;
const SIOCETHTOOL: u32 = 0x8946;

const ENODEV: Errno = Errno::from_raw(19);
/// `IFF_UP`.
const UP: u8 = 1;
/// Where the second half of `struct ifreq` begins, and its length.
const IFNAMSIZ: usize = 16;
const IFREQ: usize = 40;

/// Whether a command is one of these.
pub fn is_known(command: u32) -> bool {
    matches!(
        command,
        SIOCADDRT | SIOCDELRT | SIOCETHTOOL | 0x8910..=0x8943
    )
}

/// ioctl(2) on a socket. ENODEV: no such interface; EADDRNOTAVAIL: it has no such address.
pub fn ioctl(fd: u64, command: u32, argument: u64) -> Result<u64> {
    family(fd).map_err(|errno| match errno {
        Errno::EBADF => errno,
        _ => Errno::ENOTTY,
    })?;
    let net = &tables().net;
    let all = net.interfaces();
    if command == SIOCGIFCONF {
        return configuration(&all, argument);
    }
    let mut request = memory::read::<[u8; IFREQ]>(argument)?;
    if matches!(command, SIOCADDRT | SIOCDELRT) {
        return Err(Errno::EPERM);
    }
    if command == SIOCGIFNAME {
        let [a, b, c, d] = [16, 17, 18, 19].map(|at| request[at]);
        let index = u32::from_ne_bytes([a, b, c, d]);
        let found = all.iter().find(|known| known.index == index);
        let name = found.ok_or(ENODEV)?.name.as_bytes();
        request[..IFNAMSIZ].fill(0);
        request[..name.len()].copy_from_slice(name);
        memory::write(argument, &request)?;
        return Ok(0);
    }
    let (name, value) = request.split_at_mut(IFNAMSIZ);
    let end = name.iter().position(|byte| *byte == 0);
    let name = &name[..end.unwrap_or(IFNAMSIZ - 1)];
    let found = all.iter().find(|known| known.name.as_bytes() == name);
    let found = found.ok_or(ENODEV)?;
    match command {
        SIOCETHTOOL => {
            let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| value[at]);
            return device(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
        }
        // What would change nothing is done; all else is not for a zone.
        SIOCSIFFLAGS if value[0] & UP != 0 => return Ok(0),
        SIOCSIFADDR if value[4..8] == found.v4 => return Ok(0),
        SIOCSIFNETMASK if value[4..8] == found.netmask() => return Ok(0),
        SIOCSIFMTU if value[..4] == found.mtu.to_ne_bytes() => return Ok(0),
        SIOCSIFFLAGS | SIOCSIFADDR | SIOCSIFDSTADDR | SIOCSIFBRDADDR | SIOCSIFNETMASK
        | SIOCSIFMETRIC | SIOCSIFMTU | SIOCSIFNAME | SIOCSIFHWADDR | SIOCSIFTXQLEN => {
            return Err(Errno::EPERM);
        }
        SIOCGIFFLAGS => value[..2].copy_from_slice(&(found.flags as u16).to_ne_bytes()),
        SIOCGIFADDR | SIOCGIFDSTADDR => put_address(value, found.v4),
        SIOCGIFBRDADDR => put_address(value, found.broadcast().unwrap_or([0; 4])),
        SIOCGIFNETMASK => put_address(value, found.netmask()),
        SIOCGIFMETRIC => value[..4].fill(0),
        SIOCGIFMTU => value[..4].copy_from_slice(&found.mtu.to_ne_bytes()),
        SIOCGIFHWADDR => {
            value[..2].copy_from_slice(&found.kind.to_ne_bytes());
            value[2..8].copy_from_slice(&found.hardware);
        }
        SIOCGIFINDEX => value[..4].copy_from_slice(&found.index.to_ne_bytes()),
        SIOCGIFTXQLEN => value[..4].copy_from_slice(&1000u32.to_ne_bytes()),
        _ => return Err(Errno::EOPNOTSUPP),
    }
    memory::write(argument, &request)?;
    Ok(0)
}

/// `SIOCETHTOOL`: no device stands behind an interface of a zone, which is linked, and leaves out what a
/// network card would do, as `lo` does.
#[cold]
fn device(to: u64) -> Result<u64> {
    /// `ETHTOOL_GLINK`, and whether checksums, scattered packets and segments are handed on as they are
    /// (`ETHTOOL_GRXCSUM`, `ETHTOOL_GTXCSUM`, `ETHTOOL_GSG`, `ETHTOOL_GTSO`, `ETHTOOL_GGSO`, `ETHTOOL_GGRO`).
    const SO: [u32; 7] = [0x0a, 0x14, 0x16, 0x18, 0x1e, 0x23, 0x2b];
    let command = memory::read::<u32>(to)?;
    if !SO.contains(&command) {
        return Err(Errno::EOPNOTSUPP);
    }
    // struct ethtool_value.
    memory::write(to, &[command, 1])?;
    Ok(0)
}

/// A `struct sockaddr_in` without a port.
fn put_address(to: &mut [u8], address: [u8; 4]) {
    to[..16].fill(0);
    to[..2].copy_from_slice(&AF_INET.to_ne_bytes());
    to[4..8].copy_from_slice(&address);
}

/// `SIOCGIFCONF`: as many as there is room for; without a buffer, how much they take.
fn configuration(all: &[Interface], argument: u64) -> Result<u64> {
    // struct ifconf: length, pointer.
    let [length, to] = memory::read::<[u64; 2]>(argument)?;
    let room = usize::try_from((length as u32).cast_signed()).map_err(|_| Errno::EINVAL)?;
    let count = if to == 0 { all.len() } else { room / IFREQ };
    let mut told = 0u32;
    for interface in all.iter().take(count) {
        if to != 0 {
            let mut request = [0; IFREQ];
            let name = interface.name.as_bytes();
            request[..name.len()].copy_from_slice(name);
            put_address(&mut request[IFNAMSIZ..], interface.v4);
            memory::write(to.wrapping_add(u64::from(told)), &request)?;
        }
        told += IFREQ as u32;
    }
    memory::write(argument, &told)?;
    Ok(0)
}
