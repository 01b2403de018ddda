//! Options of sockets that the filter does not let through.

use super::unix::{UCRED, kind};
use super::{
    IPPROTO_IPV6, IPV6_V6ONLY, SO_DOMAIN, SO_PEERNAME, SO_PROTOCOL, SOL_SOCKET, family, hand_over,
    netlink, option, protocol, recorded, set_option,
};
use crate::arch::{syscall1, syscall5, syscall6};
use crate::dispatch::{checked, refuse};
use crate::file::{Power, has};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, memory, pidfd, pids};
use linux_raw_sys::general::{__NR_close, __NR_getsockopt, __NR_setsockopt};
use picozone_personality::mailbox::Request;
use picozone_personality::net::netlink::AF_NETLINK;
use picozone_personality::net::{AF_INET6, AF_UNIX, Proto};

/// Words that only `CAP_NET_ADMIN` sets, and that are recorded.
const SO_DEBUG: u64 = 1;
const SO_MARK: u64 = 36;
const PREFER_BUSY_POLL: u64 = 69;

const SO_TYPE: u64 = 3;
const SO_SNDBUF: u64 = 7;
const SO_RCVBUF: u64 = 8;
const SO_PEERCRED: u64 = 17;
const SO_PEERGROUPS: u64 = 59;
const SO_PEERPIDFD: u64 = 77;
const SO_BINDTODEVICE: u64 = 25;
const SO_BINDTOIFINDEX: u64 = 62;
const SOL_TCP: u64 = 6;
pub(super) const SOL_NETLINK: u64 = 270;
const TCP_CONGESTION: u64 = 13;

/// setsockopt(2). What is none of these is told as an option that does not exist: EOPNOTSUPP of unix
/// sockets, which have none of another level, else ENOPROTOOPT.
pub fn set(thread: &Thread, nr: u32, a: [u64; 5]) -> Result<u64> {
    const SO_SNDBUFFORCE: u64 = 32;
    const SO_RCVBUFFORCE: u64 = 33;
    let [fd, level, name, from, length] = a;
    let family = family(fd)?;
    let length = usize::try_from((length as u32).cast_signed()).map_err(|_| Errno::EINVAL)?;
    let buffer = |name, is_forced| {
        must_be_word(length)?;
        set_buffer(thread, fd, name, memory::read(from)?, is_forced)
    };
    match (u64::from(level as u32), u64::from(name as u32)) {
        // Kept to be told.
        (SOL_NETLINK, name) if netlink::is_netlink(fd) => {
            let word = if length < 4 { 0 } else { memory::read(from)? };
            netlink::set(thread, fd, name, word)
        }
        (SOL_SOCKET, SO_BINDTODEVICE) => bind_to_device(thread, fd, from, length),
        (SOL_SOCKET, SO_BINDTOIFINDEX) => {
            must_be_word(length)?;
            bind_to_index(thread, fd, memory::read(from)?)
        }
        (SOL_SOCKET, name @ (SO_SNDBUF | SO_RCVBUF)) => buffer(name, false),
        (SOL_SOCKET, SO_SNDBUFFORCE) => buffer(SO_SNDBUF, true),
        (SOL_SOCKET, SO_RCVBUFFORCE) => buffer(SO_RCVBUF, true),
        (SOL_SOCKET, name @ (SO_DEBUG | SO_MARK | PREFER_BUSY_POLL)) => {
            must_be_word(length)?;
            let word = memory::read::<u32>(from)?;
            let is_cleared = word == 0 && matches!(name, SO_DEBUG | PREFER_BUSY_POLL);
            if !is_cleared && !has(thread, Power::Network) {
                return Err(if name == SO_DEBUG {
                    Errno::EACCES
                } else {
                    Errno::EPERM
                });
            }
            let word = if name == SO_MARK {
                word
            } else {
                u32::from(word != 0)
            };
            recorded::keep(thread, fd, SOL_SOCKET, name, &word.to_ne_bytes())?;
            Ok(0)
        }
        (IPPROTO_IPV6, name) => set_v6(family, [fd, name, from, length as u64]),
        (SOL_TCP, TCP_CONGESTION) => set_congestion(thread, [fd, from, length as u64]),
        _ => {
            let _ = refuse(nr);
            if level as u32 == SOL_SOCKET as u32 {
                must_be_word(length)?;
                memory::read::<u32>(from)?;
            }
            if family == AF_UNIX && level as u32 != SOL_SOCKET as u32 {
                return Err(Errno::EOPNOTSUPP);
            }
            Err(Errno::from_raw(ENOPROTOOPT))
        }
    }
}

fn must_be_word(length: usize) -> Result<()> {
    if length < 4 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// Sets the size of a buffer. A larger one than the host allows, to which `CAP_NET_ADMIN` entitles, is
/// recorded.
fn set_buffer(thread: &Thread, fd: u64, name: u64, value: i32, is_forced: bool) -> Result<u64> {
    /// The kernel takes twice the size, and no less than these.
    const LEAST: [u32; 2] = [4608, 2304];
    if is_forced && !has(thread, Power::Network) {
        return Err(Errno::EPERM);
    }
    set_option(fd, SOL_SOCKET, name, value.cast_unsigned())?;
    let wanted = value.clamp(0, i32::MAX / 2).cast_unsigned() * 2;
    let wanted = wanted.max(LEAST[usize::from(name == SO_RCVBUF)]);
    if is_forced && option(fd, SOL_SOCKET, name)? < wanted {
        recorded::keep(thread, fd, SOL_SOCKET, name, &wanted.to_ne_bytes())?;
    } else {
        recorded::forget(thread, fd, SOL_SOCKET, name)?;
    }
    Ok(0)
}

/// Sets the way in which a TCP socket avoids congestion. One that the host keeps to its root is recorded.
fn set_congestion(thread: &Thread, [fd, from, length]: [u64; 3]) -> Result<u64> {
    const NAME_MAX: usize = 16;
    let args = [fd, SOL_TCP, TCP_CONGESTION, from, length];
    let [a, b, c, d, e] = args;
    match checked(unsafe { syscall5(__NR_setsockopt, a, b, c, d, e) }) {
        Err(Errno::EPERM) if has(thread, Power::Network) => {
            let mut name = [0; NAME_MAX];
            let room = usize::try_from(length)
                .unwrap_or(NAME_MAX)
                .min(NAME_MAX - 1);
            memory::read_bytes(from, &mut name[..room])?;
            recorded::keep(thread, fd, SOL_TCP, TCP_CONGESTION, &name)?;
        }
        other => {
            other?;
            recorded::forget(thread, fd, SOL_TCP, TCP_CONGESTION)?;
        }
    }
    Ok(0)
}

/// Sets an option of IPv6. What the zone reaches over IPv6 is reached over IPv4 on the host, so that the
/// same is set for that, too; [`super::control`] tells of it in IPv6's terms.
fn set_v6(socket_family: u16, [fd, name, from, length]: [u64; 4]) -> Result<u64> {
    let [a, b, c, d, e] = [fd, IPPROTO_IPV6, name, from, length];
    let result = checked(unsafe { syscall5(__NR_setsockopt, a, b, c, d, e) })?;
    if socket_family == AF_INET6
        && let Some(twin) = twin(name)
        && length >= 4
        && let Ok(value) = memory::read::<u32>(from)
    {
        let _ = set_option(fd, IPPROTO_IP, twin, value);
    }
    Ok(result)
}

/// The option of ip(7) that does for IPv4 what one of ipv6(7) does.
const fn twin(name: u64) -> Option<u64> {
    Some(match name {
        // IPV6_UNICAST_HOPS, IP_TTL.
        16 => 2,
        // IPV6_RECVERR, IP_RECVERR.
        25 => 11,
        // IPV6_RECVHOPLIMIT, IP_RECVTTL.
        51 => 12,
        // IPV6_RECVTCLASS, IP_RECVTOS.
        66 => 13,
        // IPV6_TCLASS, IP_TOS.
        67 => 1,
        // IPV6_RECVORIGDSTADDR, IP_RECVORIGDSTADDR.
        74 => 20,
        _ => return None,
    })
}

const IPPROTO_IP: u64 = 0;

/// getsockopt(2) of an option that the filter does not let through.
pub fn get(thread: &Thread, nr: u32, a: [u64; 5]) -> Result<u64> {
    let [fd, level, name, to, room] = a;
    family(fd)?;
    let (level, name) = (u64::from(level as u32), u64::from(name as u32));
    if (level, name) == (SOL_TCP, TCP_CONGESTION) {
        return match recorded::tell(thread, fd, level, name)? {
            Some(told) => write(told.as_bytes(), to, room),
            None => checked(unsafe { syscall6(__NR_getsockopt, [fd, level, name, to, room, 0]) }),
        };
    }
    if (level, name) == (IPPROTO_IPV6, IPV6_V6ONLY) {
        let word = u32::from(super::is_v6_only(fd)?);
        return write(&word.to_ne_bytes(), to, room);
    }
    if level == SOL_NETLINK && netlink::is_netlink(fd) {
        return netlink::get(thread, fd, name, to, room);
    }
    if level != SOL_SOCKET {
        let _ = refuse(nr);
        // As ip_getsockopt and ipv6_getsockopt have it of levels, and tcp_getsockopt of names.
        let is_tcp = level == SOL_TCP && protocol(fd)? == Proto::Tcp;
        if is_tcp {
            must_have_room(room)?;
        }
        let is_v6 = family(fd)? == AF_INET6;
        return Err(if is_tcp || is_v6 {
            Errno::from_raw(ENOPROTOOPT)
        } else {
            Errno::EOPNOTSUPP
        });
    }
    must_have_room(room)?;
    if name == SO_PEERNAME {
        return peer_name(thread, fd, to, room);
    }
    let word = match name {
        SO_TYPE => kind(fd)?,
        SO_DOMAIN if netlink::is_netlink(fd) => u32::from(AF_NETLINK),
        SO_DOMAIN | SO_PROTOCOL => option(fd, SOL_SOCKET, name)?,
        SO_DEBUG | SO_MARK | PREFER_BUSY_POLL | SO_BINDTOIFINDEX => {
            recorded::tell(thread, fd, level, name)?.map_or(0, |told| told.as_word())
        }
        SO_BINDTODEVICE => {
            // Without a device, any room will do (sock_getbindtodevice of net/core/sock.c).
            let (device, length) = device_of(thread, fd)?;
            if length != 0 && memory::read::<i32>(room)? < IFNAMSIZ as i32 {
                return Err(Errno::EINVAL);
            }
            return write(&device[..length], to, room);
        }
        SO_SNDBUF | SO_RCVBUF => match recorded::tell(thread, fd, level, name)? {
            Some(told) => told.as_word(),
            None => option(fd, SOL_SOCKET, name)?,
        },
        SO_PEERGROUPS => return peer_groups(thread, fd, to, room),
        SO_PEERPIDFD => return peer_pidfd(thread, fd, to, room),
        SO_PEERCRED => {
            let cookie = hand_over(thread, fd)?;
            thread.ask(Request::PeerCred, &[0, cookie])?;
            let mut ucred = [0; UCRED];
            ucred.copy_from_slice(&thread.mailbox().b[..UCRED]);
            return write(&ucred, to, room);
        }
        _ => {
            let _ = refuse(nr);
            return Err(Errno::from_raw(ENOPROTOOPT));
        }
    };
    write(&word.to_ne_bytes(), to, room)
}

/// EFAULT; EINVAL: a negative length.
fn must_have_room(room: u64) -> Result<()> {
    match memory::read::<i32>(room)? {
        ..0 => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

/// The address of the other end (`SO_PEERNAME`). ENOTCONN: there is none; EINVAL: more room than an address
/// takes.
#[cold]
#[inline(never)]
fn peer_name(thread: &Thread, fd: u64, to: u64, room: u64) -> Result<u64> {
    let name = super::peer_name(thread, fd)?;
    let have = memory::read::<u32>(room)? as usize;
    let told = name.as_bytes().get(..have).ok_or(Errno::EINVAL)?;
    memory::write_bytes(to, told)?;
    Ok(0)
}

/// The groups of who is at the other end of a unix socket. ENODATA: nobody is; ERANGE: there is no room
/// for them (`SO_PEERGROUPS` of socket(7)).
fn peer_groups(thread: &Thread, fd: u64, to: u64, room: u64) -> Result<u64> {
    const ERANGE: Errno = Errno::from_raw(34);
    let groups = pids::load_groups(peer(thread, fd)?.ok_or(ENODATA)?);
    let groups = groups.as_slice();
    let length = (4 * groups.len()) as u32;
    let have = memory::read::<u32>(room)?;
    memory::write(room, &length)?;
    if have < length {
        return Err(ERANGE);
    }
    for (at, group) in groups.iter().enumerate() {
        memory::write(to.wrapping_add(4 * at as u64), group)?;
    }
    Ok(0)
}

/// A descriptor of the process at the other end of a unix socket (`SO_PEERPIDFD` of socket(7)). ENODATA:
/// there is none.
fn peer_pidfd(thread: &Thread, fd: u64, to: u64, room: u64) -> Result<u64> {
    let pid = peer(thread, fd)?.ok_or(ENODATA)?;
    let opened = pidfd::open(thread, pid.into(), 0)?;
    write(&(opened as u32).to_ne_bytes(), to, room).inspect_err(|_| {
        unsafe { syscall1(__NR_close, opened) };
    })
}

const ENODATA: Errno = Errno::from_raw(61);

/// Number of the process at the other end of a unix socket.
fn peer(thread: &Thread, fd: u64) -> Result<Option<u32>> {
    if family(fd)? != AF_UNIX || netlink::is_netlink(fd) {
        return Ok(None);
    }
    let cookie = hand_over(thread, fd)?;
    thread.ask(Request::PeerCred, &[0, cookie])?;
    let pid = thread.mailbox().b.first_chunk();
    let pid = pid.map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    Ok((pid != 0).then_some(pid))
}

/// Gives as much of a value as there is room for, and its length.
pub(super) fn write(value: &[u8], to: u64, room: u64) -> Result<u64> {
    let have = memory::read::<i32>(room)?;
    let have = usize::try_from(have).map_err(|_| Errno::EINVAL)?;
    let length = have.min(value.len());
    memory::write_bytes(to, &value[..length])?;
    memory::write(room, &(length as u32))?;
    Ok(0)
}

pub(super) const ENOPROTOOPT: u16 = 92;

/// ENODEV: not an interface of the zone. All of the zone's lie on one of the host, so that there is
/// nothing to choose.
/// `SO_BINDTODEVICE`: the name is recorded; the zone has but one interface and the loopback.
fn bind_to_device(thread: &Thread, fd: u64, from: u64, length: usize) -> Result<u64> {
    let mut name = [0; IFNAMSIZ];
    let room = &mut name[..length.min(IFNAMSIZ - 1)];
    memory::read_bytes(from, room)?;
    let end = room.iter().position(|byte| *byte == 0);
    let name = &room[..end.unwrap_or(room.len())];
    if name.is_empty() {
        return bind_to_index(thread, fd, 0);
    }
    let all = tables().net.interfaces();
    match all.iter().find(|known| known.name.as_bytes() == name) {
        Some(known) => bind_to_index(thread, fd, known.index.cast_signed()),
        None => Err(Errno::from_raw(ENODEV)),
    }
}

/// The same by number, which need not be that of any; none is 0. To change it takes `CAP_NET_RAW`.
fn bind_to_index(thread: &Thread, fd: u64, index: i32) -> Result<u64> {
    let before = recorded::tell(thread, fd, SOL_SOCKET, SO_BINDTOIFINDEX)?;
    if before.is_some() && !has(thread, Power::Network) {
        return Err(Errno::EPERM);
    }
    match index {
        ..0 => return Err(Errno::EINVAL),
        0 => recorded::forget(thread, fd, SOL_SOCKET, SO_BINDTOIFINDEX)?,
        1.. => {
            let word = index.to_ne_bytes();
            recorded::keep(thread, fd, SOL_SOCKET, SO_BINDTOIFINDEX, &word)?;
        }
    }
    Ok(0)
}

/// The interface that a socket was bound to, in 16 bytes; nothing if to none.
fn device_of(thread: &Thread, fd: u64) -> Result<([u8; IFNAMSIZ], usize)> {
    let mut name = [0; IFNAMSIZ];
    let index =
        recorded::tell(thread, fd, SOL_SOCKET, SO_BINDTOIFINDEX)?.map(|told| told.as_word());
    let all = tables().net.interfaces();
    let Some(known) = all.iter().find(|known| Some(known.index) == index) else {
        return Ok((name, 0));
    };
    let bytes = known.name.as_bytes();
    let length = bytes.len().min(IFNAMSIZ - 1);
    name[..length].copy_from_slice(&bytes[..length]);
    Ok((name, length + 1))
}

const IFNAMSIZ: usize = 16;
const ENODEV: u16 = 19;
