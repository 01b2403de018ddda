//! Control messages of internet sockets (ip(7), ipv6(7)): which addresses a datagram came and goes by.
//!
//! What the kernel tells is put into the zone's terms. What a guest asks for is left out where it is
//! one of the zone's own addresses: a socket of a zone answers from where it is bound, which is where
//! the other end expects it.

use super::messages::{HEADER, Slot};
use super::{Address, End, Message, V4_MAPPED, host_end, to_zone};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, memory};
use linux_raw_sys::general::__NR_getsockname;
use picozone_personality::net::{AF_INET, AF_INET6};

/// Longest control data that is looked at, in bytes.
pub(super) const CONTROL_MAX: usize = 512;
const IPPROTO_IP: u32 = 0;
const IP_TOS: u32 = 1;
const IP_TTL: u32 = 2;
const IPPROTO_IPV6: u32 = 41;
const IP_PKTINFO: u32 = 8;
const IP_RECVERR: u32 = 11;
const IP_ORIGDSTADDR: u32 = 20;
const IPV6_RECVERR: u32 = 25;
const IPV6_PKTINFO: u32 = 50;
const IPV6_HOPLIMIT: u32 = 52;
const IPV6_TCLASS: u32 = 67;
const IPV6_ORIGDSTADDR: u32 = 74;
const ENETUNREACH: Errno = Errno::from_raw(101);
/// `struct sock_extended_err`; the address of who reported follows.
const EXTENDED_ERR: usize = 16;

/// One control message: where it begins, its length, level and type.
type Header = (usize, usize, u32, u32);

/// The message that begins at `at`; `None` at the end, and where the kernel would see none.
fn header(control: &[u8], at: usize) -> Option<Header> {
    let bytes = control.get(at..)?.first_chunk::<HEADER>()?;
    let [length, kind] = [0, 8].map(|at| {
        let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        word.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    });
    let length = usize::try_from(length).ok()?;
    let is_whole = length >= HEADER && length <= control.len() - at;
    is_whole.then_some((at, length, kind as u32, (kind >> 32) as u32))
}

/// Takes the source addresses out of the control data of a message to be sent. ENETUNREACH, EINVAL: a
/// source that is not the zone's.
pub(super) fn sent(slot: &mut Slot) -> Result<()> {
    let control = slot.control();
    let (mut at, mut kept) = (0, 0);
    // For what is IPv6 in the zone and IPv4 on the host: each kind looks at its own.
    let mut twins = [None; 2];
    while let Some((begin, size, level, kind)) = header(control, at) {
        at = (begin + size).next_multiple_of(8).min(control.len());
        let data = &control[begin + HEADER..begin + size];
        match (level, kind) {
            (IPPROTO_IP, IP_PKTINFO) if data.len() >= 12 => must_be_own(AF_INET, &data[4..8])?,
            (IPPROTO_IPV6, IPV6_PKTINFO) if data.len() >= 20 => {
                must_be_own(AF_INET6, &data[..16])?;
            }
            _ => {
                let value = data.first_chunk().copied().map_or(0, u32::from_ne_bytes);
                match (level, kind) {
                    (IPPROTO_IPV6, IPV6_TCLASS) if value < 256 => twins[0] = Some((IP_TOS, value)),
                    (IPPROTO_IPV6, IPV6_HOPLIMIT) if (1..256).contains(&value) => {
                        twins[1] = Some((IP_TTL, value));
                    }
                    _ => {}
                }
                control.copy_within(begin..at, kept);
                kept += at - begin;
            }
        }
    }
    slot.cut_control(kept);
    for (kind, value) in twins.into_iter().flatten() {
        let header = u64::from(IPPROTO_IP) | u64::from(kind) << 32;
        slot.add_control(&[(HEADER + 4) as u64, header, u64::from(value)]);
    }
    Ok(())
}

/// Whether an address is none, a loopback one or that of an interface of the zone.
fn must_be_own(family: u16, address: &[u8]) -> Result<()> {
    let all = tables().net.interfaces();
    let v4 = match address {
        _ if family == AF_INET => Some(address),
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4 @ ..] => Some(v4),
        _ => None,
    };
    let is_own = match v4 {
        Some(v4) => {
            v4 == [0; 4] || v4[0] == 127 || all.iter().any(|known| known.v4.as_slice() == v4)
        }
        None => address == [0; 16] || all.iter().any(|known| known.v6.as_slice() == address),
    };
    // As ip_route_output_key_hash_rcu and ip6_datagram_send_ctl have it.
    match family {
        _ if is_own => Ok(()),
        AF_INET => Err(ENETUNREACH),
        _ => Err(Errno::EINVAL),
    }
}

/// Puts the addresses in what was received into the zone's terms, in the guest's memory, where there was
/// `guest_room` for them. `peer` is who sent it, in the host's terms.
pub(super) fn received(
    thread: &Thread,
    fd: u64,
    message: &mut Message,
    guest_room: u64,
    peer: &Address,
) -> Result<()> {
    let length = usize::try_from(message.control_len).unwrap_or(usize::MAX);
    let is_inet = matches!(peer.family(), Some(AF_INET | AF_INET6));
    if message.control == 0 || length < HEADER || !is_inet {
        return Ok(());
    }
    let mut room = [0; CONTROL_MAX];
    let mut used = length.min(CONTROL_MAX);
    memory::read_bytes(message.control, &mut room[..used])?;
    let mut at = 0;
    let mut is_changed = false;
    while let Some((begin, size, level, kind)) = header(&room[..used], at) {
        at = (begin + size).next_multiple_of(8);
        if (level, kind) == (IPPROTO_IP, IP_ORIGDSTADDR) && is_v6(thread, fd, peer)? {
            // The longest of all, and the last: what does not fit is cut, as the kernel does.
            let whole = to_v6(thread, fd, &room[begin + HEADER..begin + size], peer)?;
            let limit =
                usize::try_from(guest_room).map_or(CONTROL_MAX, |room| room.min(CONTROL_MAX));
            let fits = whole.len().min(limit - begin);
            room[begin..begin + fits].copy_from_slice(&whole[..fits]);
            room[begin..begin + 8].copy_from_slice(&(fits as u64).to_ne_bytes());
            used = (begin + fits).next_multiple_of(8).min(limit);
            message.control_len = used as u64;
            if fits < whole.len() {
                message.flags |= MSG_CTRUNC;
            }
            is_changed = true;
            break;
        }
        let control = &mut room[..used];
        if level == IPPROTO_IP
            && let Some(kind) = v6_kind(kind)
            && let Some(place) = control.get_mut(begin..begin + HEADER + 4)
            && is_v6(thread, fd, peer)?
        {
            let value = u32::from(place[HEADER]);
            let length = (HEADER + 4) as u64;
            let header = u64::from(IPPROTO_IPV6) | u64::from(kind) << 32;
            place[..8].copy_from_slice(&length.to_ne_bytes());
            place[8..HEADER].copy_from_slice(&header.to_ne_bytes());
            place[HEADER..].copy_from_slice(&value.to_ne_bytes());
            is_changed = true;
            continue;
        }
        let data = &mut control[begin + HEADER..begin + size];
        let is_error = matches!(
            (level, kind),
            (IPPROTO_IP, IP_RECVERR) | (IPPROTO_IPV6, IPV6_RECVERR)
        );
        match (level, kind) {
            (IPPROTO_IP, IP_PKTINFO) if data.len() >= 12 => {
                for at in [4, 8] {
                    own(thread, fd, AF_INET, &mut data[at..at + 4], peer)?;
                }
                let index = interface(&data[8..12]);
                data[..4].copy_from_slice(&index);
            }
            (IPPROTO_IPV6, IPV6_PKTINFO) if data.len() >= 20 => {
                own(thread, fd, AF_INET6, &mut data[..16], peer)?;
                let index = interface(&data[..16]);
                data[16..20].copy_from_slice(&index);
            }
            (IPPROTO_IP, IP_ORIGDSTADDR) | (IPPROTO_IPV6, IPV6_ORIGDSTADDR) => {
                named(thread, fd, data, End::LocalTo(peer))?;
            }
            _ if is_error && data.len() > EXTENDED_ERR => {
                if level == IPPROTO_IPV6 && is_v6(thread, fd, peer)? {
                    to_icmp_v6(data);
                }
                named(thread, fd, &mut data[EXTENDED_ERR..], End::Peer)?;
            }
            _ => continue,
        }
        is_changed = true;
    }
    if is_changed {
        memory::write_bytes(message.control, &room[..used])?;
    }
    Ok(())
}

/// Length of `struct sockaddr_in6`.
const LEN_V6: usize = 28;
const MSG_CTRUNC: u64 = 8;

/// The message of ipv6(7) for the one of ip(7) that tells where a datagram was sent to.
fn to_v6(thread: &Thread, fd: u64, v4: &[u8], peer: &Address) -> Result<[u8; HEADER + LEN_V6]> {
    let mut whole = [0; HEADER + LEN_V6];
    let header = u64::from(IPPROTO_IPV6) | u64::from(IPV6_ORIGDSTADDR) << 32;
    whole[8..HEADER].copy_from_slice(&header.to_ne_bytes());
    let name = &mut whole[HEADER..];
    name[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
    // The port, and the address in the form that sockets of IPv6 have.
    if let (Some(port), Some(address)) = (v4.get(2..4), v4.get(4..8)) {
        name[2..4].copy_from_slice(port);
        name[8..20].copy_from_slice(&V4_MAPPED);
        name[20..24].copy_from_slice(address);
    }
    named(thread, fd, name, End::LocalTo(peer))?;
    Ok(whole)
}

/// Tells an error of ICMP as the one of ICMPv6 that it would be (RFC 792, RFC 4443).
fn to_icmp_v6(data: &mut [u8]) {
    const SO_EE_ORIGIN_ICMP: u8 = 2;
    const SO_EE_ORIGIN_ICMP6: u8 = 3;
    // struct sock_extended_err: errno, origin, type, code.
    let [origin, kind, code] = &mut data[4..7] else {
        return;
    };
    if *origin != SO_EE_ORIGIN_ICMP {
        return;
    }
    *origin = SO_EE_ORIGIN_ICMP6;
    (*kind, *code) = match (*kind, *code) {
        // The port, the protocol, administratively, too big, anything else; time.
        (3, 3) => (1, 4),
        (3, 2) => (4, 1),
        (3, 9 | 10 | 13) => (1, 1),
        (3, 4) => (2, 0),
        (3, _) => (1, 3),
        (11, code) => (3, code),
        other => other,
    };
}

/// What ipv6(7) tells in place of a message of ip(7).
const fn v6_kind(kind: u32) -> Option<u32> {
    match kind {
        IP_TOS => Some(IPV6_TCLASS),
        IP_TTL => Some(IPV6_HOPLIMIT),
        _ => None,
    }
}

/// Whether who sent has an IPv6 address in the zone.
fn is_v6(thread: &Thread, fd: u64, peer: &Address) -> Result<bool> {
    if peer.family() != Some(AF_INET6) {
        return Ok(false);
    }
    let zone = to_zone(thread, fd, *peer, End::Peer)?;
    Ok(zone.family() == Some(AF_INET6) && !zone.bytes[8..].starts_with(&V4_MAPPED))
}

/// Number of the interface that an address in the zone's terms lies on.
fn interface(address: &[u8]) -> [u8; 4] {
    let is_loopback = match address {
        [127, _, _, _] | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, ..] => true,
        [rest @ .., 1] => address.len() == 16 && rest == [0; 15],
        _ => false,
    };
    u32::to_ne_bytes(if is_loopback { 1 } else { 2 })
}

/// Translates an address of the socket's own side, without a port.
fn own(thread: &Thread, fd: u64, family: u16, bytes: &mut [u8], peer: &Address) -> Result<()> {
    let mut address = Address {
        len: if family == AF_INET { 16 } else { 28 },
        ..Address::EMPTY
    };
    let at = if family == AF_INET { 4 } else { 8 };
    address.bytes[..2].copy_from_slice(&family.to_ne_bytes());
    // Rows are found by the port.
    let name = host_end(__NR_getsockname, fd)?;
    address.bytes[2..4].copy_from_slice(&name.bytes[2..4]);
    address.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    let zone = to_zone(thread, fd, address, End::LocalTo(peer))?;
    if zone.len == address.len {
        bytes.copy_from_slice(&zone.bytes[at..at + bytes.len()]);
    }
    Ok(())
}

/// Translates a whole address, if it stays as long.
fn named(thread: &Thread, fd: u64, bytes: &mut [u8], end: End<'_>) -> Result<()> {
    let length = match bytes.first_chunk() {
        Some(family) if u16::from_ne_bytes(*family) == AF_INET => 16,
        Some(family) if u16::from_ne_bytes(*family) == AF_INET6 => 28,
        _ => return Ok(()),
    };
    let Some(bytes) = bytes.get_mut(..length) else {
        return Ok(());
    };
    let mut address = Address {
        len: length,
        ..Address::EMPTY
    };
    address.bytes[..length].copy_from_slice(bytes);
    let zone = to_zone(thread, fd, address, end)?;
    if zone.len == length {
        bytes.copy_from_slice(&zone.bytes[..length]);
    }
    Ok(())
}
