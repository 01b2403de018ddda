//! Options of sockets that the filter does not let through.

use super::{SOL_SOCKET, family, netlink};
use crate::dispatch::refuse;
use crate::monitor::tables;
use crate::{Errno, Result, memory};
use picozone_personality::net::AF_UNIX;

/// setsockopt(2). What is none of these is told as an option that does not exist: EOPNOTSUPP of unix
/// sockets, which have none of another level, else ENOPROTOOPT.
pub fn set(nr: u32, a: [u64; 5]) -> Result<u64> {
    const SOL_NETLINK: u64 = 270;
    const SO_BINDTODEVICE: u64 = 25;
    let [fd, level, name, from, length] = a;
    let family = family(fd)?;
    let length = usize::try_from((length as u32).cast_signed()).map_err(|_| Errno::EINVAL)?;
    match (u64::from(level as u32), u64::from(name as u32)) {
        // Groups that stay silent, and what a failure is told with.
        (SOL_NETLINK, _) if netlink::is_netlink(fd) => Ok(0),
        (SOL_SOCKET, SO_BINDTODEVICE) => bind_to_device(from, length),
        _ => {
            let _ = refuse(nr);
            if family == AF_UNIX && level as u32 != SOL_SOCKET as u32 {
                return Err(Errno::EOPNOTSUPP);
            }
            Err(Errno::from_raw(ENOPROTOOPT))
        }
    }
}

const ENOPROTOOPT: u16 = 92;

/// ENODEV: not an interface of the zone. All of the zone's lie on one of the host, so that there is
/// nothing to choose.
fn bind_to_device(from: u64, length: usize) -> Result<u64> {
    const IFNAMSIZ: usize = 16;
    let mut name = [0; IFNAMSIZ];
    let room = &mut name[..length.min(IFNAMSIZ - 1)];
    memory::read_bytes(from, room)?;
    let end = room.iter().position(|byte| *byte == 0);
    let name = &room[..end.unwrap_or(room.len())];
    let all = tables().net.interfaces();
    if name.is_empty() || all.iter().any(|known| known.name.as_bytes() == name) {
        return Ok(0);
    }
    Err(Errno::from_raw(ENODEV))
}

const ENODEV: u16 = 19;
