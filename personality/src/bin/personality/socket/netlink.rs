//! Netlink sockets. The monitor makes a packet socket that stands for each and answers it; here its
//! addresses are told in netlink's terms, and those that a guest gives are left out.

use super::options::{ENOPROTOOPT, SOL_NETLINK, write};
use super::unix::{SO_PRIORITY, SOCK_DGRAM, SOCK_RAW, SOCK_TYPE_MASK};
use super::{Address, SOL_SOCKET, family, option, recorded};
use crate::dispatch::refuse;
use crate::file::{Power, has};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, memory};
use linux_raw_sys::general::{__NR_getsockopt, __NR_setsockopt};
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

/// Options of netlink(7).
const ADD_MEMBERSHIP: u64 = 1;
const DROP_MEMBERSHIP: u64 = 2;
const LISTEN_ALL_NSID: u64 = 8;
const LIST_MEMBERSHIPS: u64 = 9;
/// Those that are on or off: `NETLINK_PKTINFO`, `_BROADCAST_ERROR`, `_NO_ENOBUFS`, `_LISTEN_ALL_NSID`,
/// `_CAP_ACK`, `_EXT_ACK`, `_GET_STRICT_CHK`.
const FLAGS: [u64; 7] = [3, 4, 5, LISTEN_ALL_NSID, 10, 11, 12];

/// setsockopt(2): groups stay silent, and what a failure is told with is the monitor's. What is set is told.
#[cold]
#[inline(never)]
pub(super) fn set(thread: &Thread, fd: u64, name: u64, word: u32) -> Result<u64> {
    match name {
        ADD_MEMBERSHIP | DROP_MEMBERSHIP => {
            let mut groups = groups(thread, fd)?.unwrap_or_default();
            let at = word.checked_sub(1).ok_or(Errno::EINVAL)?;
            let byte = groups.get_mut(at as usize / 8).ok_or(Errno::EINVAL)?;
            match name {
                ADD_MEMBERSHIP => *byte |= 1 << (at % 8),
                _ => *byte &= !(1 << (at % 8)),
            }
            recorded::keep(thread, fd, SOL_NETLINK, LIST_MEMBERSHIPS, &groups)?;
        }
        LISTEN_ALL_NSID if !has(thread, Power::Network) => return Err(Errno::EPERM),
        name if FLAGS.contains(&name) => {
            let is_on = u32::from(word != 0).to_ne_bytes();
            recorded::keep(thread, fd, SOL_NETLINK, name, &is_on)?;
        }
        _ => {
            let _ = refuse(__NR_setsockopt);
            return Err(Errno::from_raw(ENOPROTOOPT));
        }
    }
    Ok(0)
}

/// getsockopt(2).
#[cold]
#[inline(never)]
pub(super) fn get(thread: &Thread, fd: u64, name: u64, to: u64, room: u64) -> Result<u64> {
    let have = memory::read::<i32>(room)?;
    let have = usize::try_from(have).map_err(|_| Errno::EINVAL)?;
    match name {
        LIST_MEMBERSHIPS => {
            let groups = groups(thread, fd)?;
            let groups = groups.as_ref().map_or(&[][..], |groups| &groups[..]);
            // Whole words, and how much there is.
            memory::write_bytes(to, &groups[..groups.len().min(have & !3)])?;
            memory::write(room, &(groups.len() as u32))?;
            Ok(0)
        }
        name if FLAGS.contains(&name) => {
            if have < 4 {
                return Err(Errno::EINVAL);
            }
            let told = recorded::tell(thread, fd, SOL_NETLINK, name)?;
            let is_on = told.map_or(0, |told| told.as_word());
            write(&is_on.to_ne_bytes(), to, room)
        }
        _ => {
            let _ = refuse(__NR_getsockopt);
            Err(Errno::from_raw(ENOPROTOOPT))
        }
    }
}

/// The groups that a socket has joined, a bit each; none before it has ever joined one.
fn groups(thread: &Thread, fd: u64) -> Result<Option<[u8; 8]>> {
    let told = recorded::tell(thread, fd, SOL_NETLINK, LIST_MEMBERSHIPS)?;
    Ok(told.and_then(|told| told.as_bytes().first_chunk().copied()))
}
