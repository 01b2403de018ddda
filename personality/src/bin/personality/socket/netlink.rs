//! Netlink sockets. The monitor makes a packet socket that stands for each and answers it; here its
//! addresses are told in netlink's terms, and those that a guest gives are left out.

use super::unix::{SO_PRIORITY, SOCK_DGRAM, SOCK_RAW, SOCK_TYPE_MASK};
use super::{Address, SOL_SOCKET, family, option};
use crate::dispatch::refuse;
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result};
use picozone_personality::mailbox::{NETLINK, NetlinkKind, Request};
use picozone_personality::net::AF_UNIX;
use picozone_personality::net::netlink::{self, ADDRESS_LEN, AF_NETLINK};

/// socket(2). EPROTONOSUPPORT for all but `NETLINK_ROUTE`, `NETLINK_SOCK_DIAG` and
/// `NETLINK_KOBJECT_UEVENT`: what they tell and change is the host's. A zone has no events of devices, so
/// that the last stays silent.
pub(super) fn socket(thread: &Thread, nr: u32, kind: u64, protocol: u64) -> Result<u64> {
    const NETLINK_ROUTE: u32 = 0;
    const NETLINK_SOCK_DIAG: u32 = 4;
    const NETLINK_KOBJECT_UEVENT: u32 = 15;
    const ESOCKTNOSUPPORT: Errno = Errno::from_raw(94);
    if !matches!(kind & SOCK_TYPE_MASK, SOCK_RAW | SOCK_DGRAM) {
        return Err(ESOCKTNOSUPPORT);
    }
    let wanted = match protocol as u32 {
        NETLINK_ROUTE => NetlinkKind::Route,
        NETLINK_SOCK_DIAG => NetlinkKind::Diag,
        NETLINK_KOBJECT_UEVENT => NetlinkKind::Silent,
        _ => {
            let _ = refuse(nr);
            return Err(Errno::EPROTONOSUPPORT);
        }
    };
    let own = u64::from(thread.process().zone_pid);
    let args = [own, kind & !SOCK_TYPE_MASK, wanted as u64];
    thread.ask(Request::Netlink, &args)
}

/// Whether a socket stands for one of netlink. A guest can mark others so, which only shows.
pub fn is_netlink(fd: u64) -> bool {
    family(fd) == Ok(AF_UNIX) && option(fd, SOL_SOCKET, SO_PRIORITY) == Ok(NETLINK)
}

/// The netlink address that the name of a unix socket stands for.
pub(super) fn told(name: &Address) -> Option<Address> {
    let told = netlink::address(tables().net.low, name.as_bytes())?;
    let mut address = Address {
        len: ADDRESS_LEN,
        ..Address::EMPTY
    };
    address.bytes[..ADDRESS_LEN].copy_from_slice(&told);
    Some(address)
}

/// Whether an address is one of netlink for such a socket. It then says nothing: the port was given
/// when the socket was made, groups stay silent, and there is nobody but the kernel to speak to
/// (ECONNREFUSED).
pub(super) fn is_meant(fd: u64, address: &Address) -> Result<bool> {
    if address.family() != Some(AF_NETLINK) || !is_netlink(fd) {
        return Ok(false);
    }
    if address.len < ADDRESS_LEN {
        return Err(Errno::EINVAL);
    }
    Ok(true)
}

/// The same for a destination.
pub(super) fn is_kernel(fd: u64, address: &Address) -> Result<bool> {
    let is_meant = is_meant(fd, address)?;
    if is_meant && address.bytes[4..8] != [0; 4] {
        return Err(Errno::ECONNREFUSED);
    }
    Ok(is_meant)
}
