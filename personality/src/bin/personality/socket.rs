//! Sockets: addresses in the zone's terms, and in the host's.
//!
//! The kernel is always told an address length of 128: no unix socket accepts that, so that no
//! host path can be named here. What names a unix socket is in [`unix`].

mod control;
pub mod interfaces;
pub mod messages;
pub mod netlink;
pub mod options;
mod recorded;
pub mod unix;

use crate::arch::{self, syscall2, syscall3, syscall6};
use crate::dispatch::{checked, checked_or_restart};
use crate::file::{self, Power, has};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, memory, recording, signal};
use core::sync::atomic::Ordering::Acquire;
use linux_raw_sys::general::*;
use messages::{Outgoing, Slot};
use picozone_personality::layout::FD_HAND;
use picozone_personality::mailbox::Request;
use picozone_personality::net::{
    self, AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC, LEN_MAX, Ports, Proto, Role, ZoneAddr,
};

const SOL_SOCKET: u64 = 1;
const SO_PEERNAME: u64 = 28;
const SO_PROTOCOL: u64 = 38;
const SO_DOMAIN: u64 = 39;
const IPPROTO_IPV6: u64 = 41;
const IPV6_V6ONLY: u64 = 26;
/// Set where an address is chosen for a socket, see [`choose_source`].
const IP_BIND_ADDRESS_NO_PORT: u64 = 24;

fn option(fd: u64, level: u64, name: u64) -> Result<u32> {
    let mut value = 0u32;
    let mut length = 4u32;
    let (to, room) = (&raw mut value as u64, &raw mut length as u64);
    checked(unsafe { syscall6(__NR_getsockopt, [fd, level, name, to, room, 0]) })?;
    Ok(value)
}

fn set_option(fd: u64, level: u64, name: u64, value: u32) -> Result<()> {
    let from = &raw const value as u64;
    checked(unsafe { syscall6(__NR_setsockopt, [fd, level, name, from, 4, 0]) }).map(drop)
}

fn family(fd: u64) -> Result<u16> {
    Ok(option(fd, SOL_SOCKET, SO_DOMAIN)? as u16)
}

fn protocol(fd: u64) -> Result<Proto> {
    let number = option(fd, SOL_SOCKET, SO_PROTOCOL)?;
    Ok(Proto::from_number(number.cast_signed()))
}

fn ports() -> Ports<'static> {
    Ports::new(&tables().ports, tables().port_count.load(Acquire))
}

/// An address and its length.
#[derive(Clone, Copy)]
struct Address {
    bytes: [u8; LEN_MAX],
    len: usize,
}

impl Address {
    const EMPTY: Address = Address {
        bytes: [0; LEN_MAX],
        len: 0,
    };

    /// Copies one in. EINVAL as of move_addr_to_kernel (Linux, net/socket.c).
    fn read(from: u64, length: u64) -> Result<Address> {
        let len = usize::try_from((length as u32).cast_signed()).map_err(|_| Errno::EINVAL)?;
        let mut address = Address {
            len,
            ..Address::EMPTY
        };
        let bytes = address.bytes.get_mut(..len).ok_or(Errno::EINVAL)?;
        memory::read_bytes(from, bytes)?;
        Ok(address)
    }

    /// Copies as much out as there is room for, and tells the full length.
    fn write(&self, to: u64, room: u64) -> Result<()> {
        let have = memory::read::<i32>(room)?;
        let have = usize::try_from(have).map_err(|_| Errno::EINVAL)?;
        memory::write_bytes(to, &self.bytes[..self.len.min(have).min(LEN_MAX)])?;
        memory::write(room, &(self.len as u32))
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(LEN_MAX)]
    }

    fn family(&self) -> Option<u16> {
        let family = self.as_bytes().first_chunk()?;
        Some(u16::from_ne_bytes(*family))
    }
}

impl From<ZoneAddr> for Address {
    fn from(zone: ZoneAddr) -> Address {
        let mut address = Address {
            len: zone.as_bytes().len(),
            ..Address::EMPTY
        };
        address.bytes[..address.len].copy_from_slice(zone.as_bytes());
        address
    }
}

/// `struct msghdr`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Message {
    name: u64,
    name_len: u64,
    iov: u64,
    iov_len: u64,
    control: u64,
    control_len: u64,
    flags: u64,
}
unsafe impl memory::Plain for Message {}

/// Receives a packet and the descriptors that come with it: what recvmsg(2) gives, and how many they are.
pub fn receive(socket: u64, part: [u64; 2], fds: &mut [u64], flags: u64) -> (i64, usize) {
    const HEADER: usize = 16;
    // Room for the header and four.
    let mut control = [0u64; 4];
    let room = (HEADER + 4 * fds.len()).min(size_of_val(&control));
    let mut message = Message {
        name: 0,
        name_len: 0,
        iov: part.as_ptr() as u64,
        iov_len: 1,
        control: control.as_mut_ptr() as u64,
        control_len: room as u64,
        flags: 0,
    };
    let got = unsafe { syscall3(__NR_recvmsg, socket, &raw mut message as u64, flags) };
    let are_rights =
        got > 0 && message.control_len as usize > HEADER && control[1] as u32 == SOL_SOCKET as u32;
    if !are_rights {
        return (got, 0);
    }
    let count = ((control[0] as usize).saturating_sub(HEADER) / 4).min(fds.len());
    for (index, fd) in fds.iter_mut().enumerate().take(count) {
        *fd = control[2 + index / 2] >> (32 * (index % 2)) & 0xffff_ffff;
    }
    (got, count)
}

/// Hands a descriptor to the monitor; the cookie finds it again.
pub fn hand_over(thread: &Thread, fd: u64) -> Result<u64> {
    hand_over_as(thread, fd, u64::from(thread.host_tid))
}

/// The same with a cookie of the caller's choice, whose low word is the thread's host id.
fn hand_over_as(thread: &Thread, fd: u64, cookie: u64) -> Result<u64> {
    const SCM_RIGHTS: u64 = 1;
    loop {
        let mut slot = Slot::take(1);
        slot.set_part([&raw const cookie as u64, 8]);
        slot.add_control(&[20, SOL_SOCKET | SCM_RIGHTS << 32, fd & 0xffff_ffff]);
        match checked(slot.send_now(u64::from(FD_HAND))) {
            // Others have handed over and not asked yet. The monitor takes all that is there.
            Err(Errno::EAGAIN) => thread.ask(Request::Ping, &[])?,
            other => return other.map(|_| cookie),
        };
    }
}

const MSG_DONTWAIT: u32 = 0x40;

/// Asks the monitor about a socket and an address.
fn with_monitor(thread: &Thread, request: Request, fd: u64, address: &Address) -> Result<u64> {
    let cookie = hand_over(thread, fd)?;
    thread.mailbox().b[..address.len].copy_from_slice(address.as_bytes());
    thread.ask(request, &[address.len as u64, cookie])
}

/// bind(2).
pub fn bind(thread: &Thread, fd: u64, from: u64, length: u64) -> Result<u64> {
    let family = family(fd)?;
    let address = Address::read(from, length)?;
    if family == AF_UNIX && netlink::is_meant(fd, &address)? {
        return Ok(0);
    }
    if family == AF_INET || family == AF_INET6 {
        let is_low = address
            .as_bytes()
            .get(2..4)
            .is_some_and(|port| (1..1024).contains(&u16::from_be_bytes([port[0], port[1]])));
        // The kernel asks for CAP_NET_BIND_SERVICE; in the zone too.
        if is_low && !has(thread, Power::BindService) {
            return Err(Errno::EACCES);
        }
    }
    let result = with_monitor(thread, Request::Bind, fd, &address);
    if thread.record.is_open()
        && family != AF_UNIX
        && result.is_ok()
        && let Ok(host) = host_end(__NR_getsockname, fd)
    {
        recording::host_address(host.as_bytes());
    }
    result
}

/// One end of a socket, as the kernel tells it.
fn host_end(nr: u32, fd: u64) -> Result<Address> {
    let mut address = Address::EMPTY;
    let mut length = LEN_MAX as u32;
    let to = address.bytes.as_mut_ptr() as u64;
    checked(unsafe { syscall3(nr, fd, to, &raw mut length as u64) })?;
    address.len = (length as usize).min(LEN_MAX);
    Ok(address)
}

/// Gives an unbound socket an own source address before it speaks to zones or the host. One that is
/// bound to the host's wildcard has none to tell: that is to ride along with each datagram.
fn choose_source(fd: u64, own: &Address, slot: u8) -> Option<u8> {
    if own.bytes[2..4] != [0, 0] {
        let is_any = match own.family()? {
            AF_INET => own.bytes[4..8] == [0; 4],
            _ => own.bytes[8..24] == [0; 16],
        };
        return is_any.then_some(slot);
    }
    // Where the bind fails, the kernel chooses: the other end sees the host.
    let _ = set_option(fd, 0, IP_BIND_ADDRESS_NO_PORT, 1);
    let source = core::ptr::from_ref(tables().sources.get(usize::from(slot))?) as u64;
    unsafe { syscall3(__NR_bind, fd, source, LEN_MAX as u64) };
    None
}

/// A destination on the host.
struct Destination {
    bytes: [u8; LEN_MAX],
    /// `IP_PKTINFO` or `IPV6_PKTINFO` with the source to send from; 0 bytes long if there is none.
    control: [u64; 5],
    control_len: u64,
}

impl Destination {
    /// The control message's words.
    fn control(&self) -> &[u64] {
        let words = usize::try_from(self.control_len / 8).unwrap_or(0);
        self.control.get(..words).unwrap_or(&[])
    }

    /// ip(7) and ipv6(7): the control message that names the source of one datagram.
    fn with_source(bytes: [u8; LEN_MAX], slot: Option<u8>) -> Destination {
        const IP_PKTINFO: u64 = 8;
        const IPV6_PKTINFO: u64 = 50;
        let mut to = Destination {
            bytes,
            control: [0; 5],
            control_len: 0,
        };
        let Some(source) = slot.and_then(|slot| tables().sources.get(usize::from(slot))) else {
            return to;
        };
        let word = |at: usize| {
            let bytes = source.0.get(at..).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
        };
        if u16::from_ne_bytes([source.0[0], source.0[1]]) == AF_INET {
            // struct in_pktinfo: interface, ipi_spec_dst, ipi_addr.
            to.control = [28, IP_PKTINFO << 32, word(4) << 32, 0, 0];
            to.control_len = 32;
        } else {
            // struct in6_pktinfo: address, interface.
            let kind = IPPROTO_IPV6 | IPV6_PKTINFO << 32;
            to.control = [36, kind, word(8), word(16), 0];
            to.control_len = 40;
        }
        to
    }
}

/// An IPv6 socket that is bound to an address goes to addresses of that kind only, v4-mapped or not.
/// ENETUNREACH, EAFNOSUPPORT as of udpv6_sendmsg and __ip6_datagram_connect (Linux, net/ipv6).
fn must_be_of_one_kind(thread: &Thread, fd: u64, own: &Address, address: &Address) -> Result<()> {
    let is_v6 = |address: &Address| match address.family() {
        Some(AF_INET6) if address.bytes[8..24] == [0; 16] => None,
        Some(AF_INET6) => Some(!address.bytes[8..].starts_with(&V4_MAPPED)),
        Some(AF_INET) => Some(false),
        _ => None,
    };
    let Some(is_to_v6) = is_v6(address) else {
        return Ok(());
    };
    if own.bytes[2..4] == [0, 0] || own.bytes[8..24] == [0; 16] {
        return Ok(());
    }
    match is_v6(&to_zone(thread, fd, *own, End::Local)?) {
        Some(is_own_v6) if is_own_v6 != is_to_v6 => Err(if is_to_v6 {
            Errno::from_raw(net::EAFNOSUPPORT)
        } else {
            Errno::from_raw(ENETUNREACH)
        }),
        _ => Ok(()),
    }
}

const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
const ENETUNREACH: u16 = 101;

/// A destination in the host's terms; the source is chosen on the way. Of the socket: its protocol, and its
/// own address as the host has it.
fn to_host(
    thread: &Thread,
    fd: u64,
    (proto, own): (Proto, &Address),
    address: &Address,
    is_connecting: bool,
) -> Result<Destination> {
    let translate = if is_connecting {
        net::connect_target
    } else {
        net::send_target
    };
    let family = own.family().unwrap_or(AF_UNSPEC);
    if family == AF_INET6 {
        must_be_of_one_kind(thread, fd, own, address)?;
    }
    let target = translate(&tables().net, ports(), proto, family, address.as_bytes())
        .map_err(Errno::from_raw)?;
    let mut host = target.bytes;
    if target.needs_monitor && proto != Proto::Other {
        thread.mailbox().b[..LEN_MAX].copy_from_slice(&address.bytes);
        thread.ask(Request::PeerPort, &[address.len as u64, proto as u64])?;
        host.copy_from_slice(&thread.mailbox().b[..LEN_MAX]);
    }
    if thread.record.is_open() {
        let length = if host.starts_with(&AF_INET.to_ne_bytes()) {
            16
        } else {
            28
        };
        recording::host_address(&host[..length]);
    }
    if target.is_mapped {
        // Fails on a bound socket, which the monitor has prepared.
        let _ = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    }
    if is_connecting && let Some(slot) = target.source {
        settle(thread, fd, (proto, own), slot);
    }
    let source = target.source.and_then(|slot| choose_source(fd, own, slot));
    let source = source.filter(|_| proto == Proto::Udp);
    Ok(Destination::with_source(host, source))
}

/// What was bound to a wildcard gets the address that leads to its peer ([`net::settles`]). Without it the
/// connection is made all the same, and shows another.
#[inline(never)]
fn settle(thread: &Thread, fd: u64, (proto, own): (Proto, &Address), slot: u8) {
    let Some(source) = tables().sources.get(usize::from(slot)) else {
        return;
    };
    let (net, bytes) = (&tables().net, own.as_bytes());
    let Some(covers) = net::settles(net, ports(), proto, bytes, &source.0) else {
        return;
    };
    let is_at_wildcard = proto == Proto::Udp && choose_source(fd, own, slot).is_some();
    if is_at_wildcard && disconnect(fd).is_err() {
        return;
    }
    let port = u64::from(u16::from_be_bytes([own.bytes[2], own.bytes[3]]));
    let _ = hand_over(thread, fd)
        .and_then(|cookie| thread.ask(Request::Settle, &[u64::from(covers.0), port, cookie]));
}

/// What was bound to a wildcard shows that again when its connection has ended. It loses nothing else without.
#[cold]
#[inline(never)]
fn unsettle(thread: &Thread, fd: u64) {
    let port = host_end(__NR_getsockname, fd)
        .map_or(0, |own| u16::from_be_bytes([own.bytes[2], own.bytes[3]]));
    if port != 0 {
        let _ = hand_over(thread, fd)
            .and_then(|cookie| thread.ask(Request::Settle, &[0, u64::from(port), cookie]));
    }
}

/// connect(2).
pub fn connect(thread: &Thread, fd: u64, from: u64, length: u64) -> Result<u64> {
    // Tells the family too.
    let own = match host_end(__NR_getsockname, fd) {
        // A bad address is told before what is no socket.
        Err(Errno::ENOTSOCK) => Address::read(from, length).and(Err(Errno::ENOTSOCK)),
        other => other,
    }?;
    let address = Address::read(from, length)?;
    match own.family().unwrap_or(AF_UNSPEC) {
        AF_UNIX if netlink::is_kernel(fd, &address)? => return Ok(0),
        AF_UNIX if address.family() == Some(AF_UNSPEC) => return disconnect(fd),
        AF_UNIX => return unix::connect(thread, fd, &address),
        AF_INET | AF_INET6 => {}
        _ => return Err(Errno::EAFNOSUPPORT),
    }
    let proto = protocol(fd)?;
    let host = to_host(thread, fd, (proto, &own), &address, true);
    let host = host.map_err(|errno| {
        if address.len >= 2 && proto == Proto::Tcp && is_in_use(fd) {
            EISCONN
        } else {
            errno
        }
    })?;
    let result = arch::wait(
        __NR_connect,
        [fd, host.bytes.as_ptr() as u64, LEN_MAX as u64, 0, 0, 0],
        thread.mask() & !signal::HELD,
    );
    let result = checked_or_restart(result);
    let is_end = address.family() == Some(AF_UNSPEC);
    if result.is_ok() && is_end && proto == Proto::Udp && own.bytes[2..4] != [0, 0] {
        unsettle(thread, fd);
    }
    let has_no_port = address.bytes[2..4] == [0, 0] && !is_end;
    if result.is_ok() && has_no_port {
        // It has no peer to tell, and yet an address: getaddrinfo(3) asks for that.
        set_option(fd, 0, IP_BIND_ADDRESS_NO_PORT, 0)?;
    }
    result
}

const EISCONN: Errno = Errno::from_raw(106);

/// Whether a TCP socket is connected or listens: that is told before what is wrong with an address
/// (__inet_stream_connect, Linux, net/ipv4/af_inet.c).
#[cold]
fn is_in_use(fd: u64) -> bool {
    const SO_ACCEPTCONN: u64 = 30;
    host_end(__NR_getpeername, fd).is_ok() || option(fd, SOL_SOCKET, SO_ACCEPTCONN) == Ok(1)
}

/// connect(2) to nobody.
fn disconnect(fd: u64) -> Result<u64> {
    let nobody = Address::EMPTY.bytes.as_ptr() as u64;
    checked(unsafe { syscall3(__NR_connect, fd, nobody, LEN_MAX as u64) })
}

/// listen(2): an unbound socket is bound to all addresses of the zone and some port, as the kernel
/// would.
pub fn listen(thread: &Thread, fd: u64, backlog: u64) -> Result<u64> {
    let family = family(fd)?;
    if !matches!(family, AF_INET | AF_INET6) || protocol(fd)? != Proto::Tcp {
        return checked(unsafe { syscall2(__NR_listen, fd, backlog) });
    }
    let port = || host_end(__NR_getsockname, fd).map(|own| [own.bytes[2], own.bytes[3]]);
    if port()? == [0, 0] {
        let mut wildcard = Address {
            len: if family == AF_INET { 16 } else { 28 },
            ..Address::EMPTY
        };
        wildcard.bytes[..2].copy_from_slice(&family.to_ne_bytes());
        with_monitor(thread, Request::Bind, fd, &wildcard)?;
    }
    let before = port()?;
    checked(unsafe { syscall2(__NR_listen, fd, backlog) })?;
    let number = u64::from(u16::from_be_bytes(before));
    let told =
        hand_over(thread, fd).and_then(|cookie| thread.ask(Request::Listens, &[number, cookie]));
    // A port that the kernel chose is given up by shutdown(2); listening anew brings another, which
    // takes a row. Elsewhere there need be none.
    if port()? != before {
        told?;
    }
    Ok(0)
}

/// Which end of a socket an address is.
#[derive(Clone, Copy)]
enum End<'a> {
    Local,
    /// The local one of a datagram that this peer sent, in the host's terms.
    LocalTo(&'a Address),
    Peer,
}

/// An address that the kernel told, in the zone's terms.
fn to_zone(thread: &Thread, fd: u64, host: Address, end: End<'_>) -> Result<Address> {
    to_zone_of(thread, fd, None, host, end)
}

/// The same, where the protocol may be known.
fn to_zone_of(
    thread: &Thread,
    fd: u64,
    proto: Option<Proto>,
    host: Address,
    end: End<'_>,
) -> Result<Address> {
    let bytes = host.as_bytes();
    if thread.record.is_open() {
        recording::host_address(bytes);
    }
    match host.family() {
        Some(AF_INET | AF_INET6) => {
            let (net, ports) = (&tables().net, ports());
            let proto = proto.map_or_else(|| protocol(fd), Ok)?;
            let other = |nr| host_end(nr, fd).ok();
            let zone = match end {
                End::Local => {
                    let peer = other(__NR_getpeername);
                    let peer = peer.as_ref().map(Address::as_bytes);
                    let is_chosen =
                        peer.is_none() && option(fd, 0, IP_BIND_ADDRESS_NO_PORT) == Ok(1);
                    let role = Role::Local { peer, is_chosen };
                    net::to_zone(net, ports, proto, bytes, role)
                }
                End::LocalTo(peer) => {
                    let role = Role::Local {
                        peer: Some(peer.as_bytes()),
                        is_chosen: false,
                    };
                    net::to_zone(net, ports, proto, bytes, role)
                }
                End::Peer => {
                    let local = net::peer_needs_local(net, ports, proto, bytes)
                        .then(|| other(__NR_getsockname))
                        .flatten();
                    let local = local.as_ref().map(Address::as_bytes);
                    net::to_zone(net, ports, proto, bytes, Role::Peer { local })
                }
            };
            Ok(zone.map_or(host, Address::from))
        }
        Some(AF_UNIX) => unix::to_zone(thread, host),
        _ => Ok(host),
    }
}

/// Who sent what was received. Of a unix socket without a name nothing is told then, not even the
/// family, which is all that getpeername(2) tells of it.
fn sender(thread: &Thread, fd: u64, host: Address) -> Result<Address> {
    const FAMILY: usize = size_of::<u16>();
    let mut zone = to_zone(thread, fd, host, End::Peer)?;
    if zone.len == FAMILY && zone.family() == Some(AF_UNIX) {
        zone.len = 0;
    }
    Ok(zone)
}

/// getsockname(2), getpeername(2).
pub fn name(thread: &Thread, nr: u32, fd: u64, to: u64, room: u64) -> Result<u64> {
    let end = if nr == __NR_getsockname {
        End::Local
    } else {
        End::Peer
    };
    let host = host_end(nr, fd)?;
    to_zone(thread, fd, host, end)?.write(to, room)?;
    Ok(0)
}

/// Whether an IPv6 socket is for IPv6 alone (`IPV6_V6ONLY`). On the host none is that is bound: what it
/// receives for the zone's table of ports says.
#[cold]
#[inline(never)]
fn is_v6_only(fd: u64) -> Result<bool> {
    if option(fd, IPPROTO_IPV6, IPV6_V6ONLY)? != 0 {
        return Ok(true);
    }
    let host = host_end(__NR_getsockname, fd)?;
    // struct sockaddr_in6: family, port, flow, address; the last four bytes of a v4-mapped one.
    let [port, ip] = [2..4, 20..24].map(|range| host.bytes.get(range));
    let port = port.and_then(|bytes| bytes.first_chunk());
    let ip = ip.and_then(|bytes| bytes.first_chunk());
    let (Some(port), Some(ip)) = (port, ip) else {
        return Ok(false);
    };
    let port = u16::from_be_bytes(*port);
    let covers = ports().covers_at(protocol(fd)?, *ip, port);
    Ok(covers.is_some_and(net::Covers::is_v6_only))
}

/// The other end, which an Internet socket that is closed or not connected yet has, too (`SO_PEERNAME`).
#[cold]
#[inline(never)]
fn peer_name(thread: &Thread, fd: u64) -> Result<Address> {
    let mut length = match family(fd)? {
        AF_INET => 16_u32,
        AF_INET6 => 28,
        _ => return to_zone(thread, fd, host_end(__NR_getpeername, fd)?, End::Peer),
    };
    let mut host = Address::EMPTY;
    let at = host.bytes.as_mut_ptr() as u64;
    let args = [fd, SOL_SOCKET, SO_PEERNAME, at, &raw mut length as u64, 0];
    checked(unsafe { syscall6(__NR_getsockopt, args) })?;
    host.len = (length as usize).min(LEN_MAX);
    to_zone(thread, fd, host, End::Peer)
}

/// accept(2), accept4(2).
pub fn accept(thread: &Thread, fd: u64, to: u64, room: u64, flags: u64) -> Result<u64> {
    let mut address = Address::EMPTY;
    let mut length = LEN_MAX as u32;
    let at = address.bytes.as_mut_ptr() as u64;
    let args = [fd, at, &raw mut length as u64, flags, 0, 0];
    let mask = thread.mask() & !signal::HELD;
    let new = checked_or_restart(arch::wait(__NR_accept4, args, mask))?;
    address.len = (length as usize).min(LEN_MAX);
    if to == 0 {
        return Ok(new);
    }
    // What can be accepted from with such an address has TCP's ports.
    let zone = to_zone_of(thread, new, Some(Proto::Tcp), address, End::Peer);
    let told = zone.and_then(|zone| zone.write(to, room));
    if let Err(errno) = told {
        // As the kernel does: the connection is lost.
        unsafe { syscall2(__NR_close, new, 0) };
        return Err(errno);
    }
    Ok(new)
}

/// sendto(2) with an address.
pub fn sendto(thread: &Thread, a: [u64; 6]) -> Result<u64> {
    let [fd, from, length, flags, name, name_len] = a;
    let address = Address::read(name, name_len).or_else(|errno| {
        // What is no socket is told first.
        must_be_socket(fd)?;
        Err(errno)
    })?;
    let part = [from, length];
    send(thread, fd, &Outgoing::of_part(&part), flags, &address)
}

/// Sends a message to an address in the zone's terms.
fn send(
    thread: &Thread,
    fd: u64,
    message: &Outgoing,
    flags: u64,
    address: &Address,
) -> Result<u64> {
    let own = host_end(__NR_getsockname, fd)?;
    if own.family() == Some(AF_UNIX) {
        if netlink::is_kernel(fd, address)? {
            return message.send(thread, fd, flags, None, &[], |_| Ok(()));
        }
        return unix::send(thread, fd, message, flags, address);
    }
    const MSG_FASTOPEN: u64 = 0x2000_0000;
    let proto = protocol(fd)?;
    if flags & MSG_FASTOPEN == 0 && proto == Proto::Tcp {
        // Where it goes was said when it was connected.
        return message.send(thread, fd, flags, None, &[], control::sent);
    }
    let host = to_host(thread, fd, (proto, &own), address, false)?;
    let name = Some(&host.bytes);
    message.send(thread, fd, flags, name, host.control(), control::sent)
}

/// recvfrom(2) with an address.
pub fn recvfrom(thread: &Thread, a: [u64; 6]) -> Result<u64> {
    let mut address = Address::EMPTY;
    let mut length = LEN_MAX as u32;
    let at = address.bytes.as_mut_ptr() as u64;
    let args = [a[0], a[1], a[2], a[3], at, &raw mut length as u64];
    let mask = thread.mask() & !signal::HELD;
    let got = checked_or_restart(arch::wait(__NR_recvfrom, args, mask))?;
    address.len = (length as usize).min(LEN_MAX);
    sender(thread, a[0], address)?.write(a[4], a[5])?;
    Ok(got)
}

/// The length of a message's name as __copy_msghdr takes it (Linux, net/socket.c). EINVAL if it is
/// negative.
fn name_len(message: &Message) -> Result<u64> {
    let length = u64::try_from((message.name_len as u32).cast_signed());
    match length {
        _ if message.name == 0 => Ok(0),
        Ok(length) => Ok(length.min(LEN_MAX as u64)),
        Err(_) => Err(Errno::EINVAL),
    }
}

/// sendmsg(2).
pub fn sendmsg(thread: &Thread, fd: u64, message: u64, flags: u64) -> Result<u64> {
    let family = family(fd)?;
    let message = Outgoing::read(message)?;
    if let Some((name, length)) = message.name() {
        let address = Address::read(name, length)?;
        return send(thread, fd, &message, flags, &address);
    }
    if family == AF_UNIX
        && message.has_control()
        && let Some(sent) = unix::pose(thread, fd, &message, flags)?
    {
        return Ok(sent);
    }
    message.send(thread, fd, flags, None, &[], |slot| match family {
        AF_UNIX => unix::sent(thread, slot),
        _ => control::sent(slot),
    })
}

/// EBADF, ENOTSOCK.
fn must_be_socket(fd: u64) -> Result<()> {
    file::must_be_open(fd)?;
    match file::kind_of(fd) {
        Some(S_IFSOCK) => Ok(()),
        _ => Err(Errno::ENOTSOCK),
    }
}

/// recvmsg(2).
pub fn recvmsg(thread: &Thread, fd: u64, message: u64, flags: u64) -> Result<u64> {
    let guest = memory::read::<Message>(message).or_else(|errno| {
        // What is no socket is told first.
        must_be_socket(fd)?;
        Err(errno)
    })?;
    name_len(&guest)?;
    let mut copy = guest;
    let mut address = Address::EMPTY;
    copy.name = address.bytes.as_mut_ptr() as u64;
    copy.name_len = LEN_MAX as u64;
    let got = checked_or_restart(arch::wait(
        __NR_recvmsg,
        [fd, &raw mut copy as u64, flags, 0, 0, 0],
        thread.mask() & !signal::HELD,
    ))?;
    address.len = (copy.name_len as u32 as usize).min(LEN_MAX);
    copy.name_len = guest.name_len;
    if guest.name != 0 {
        let zone = sender(thread, fd, address)?;
        let room = usize::try_from((guest.name_len as u32).cast_signed()).unwrap_or(0);
        memory::write_bytes(guest.name, &zone.as_bytes()[..zone.len.min(room)])?;
        copy.name_len = (guest.name_len & !0xffff_ffff) | zone.len as u64;
    }
    copy.name = guest.name;
    if address.family().is_some_and(|family| family != AF_UNIX) {
        control::received(thread, fd, &mut copy, guest.control_len, &address)?;
    } else {
        unix::received(thread, &copy)?;
    }
    memory::write(message, &copy)?;
    Ok(got)
}

/// Bytes of `struct mmsghdr`, and where `msg_len` lies in it.
const MMSGHDR: u64 = 64;
const MSG_LEN: u64 = 56;
const MSG_WAITFORONE: u64 = 0x10000;

/// sendmmsg(2) and recvmmsg(2): one message after the other. What was done counts; an error shows
/// only where it is the first.
pub fn many(thread: &Thread, nr: u32, a: [u64; 6]) -> Result<u64> {
    const UIO_MAXIOV: u64 = 1024;
    let [fd, from, count, mut flags, timeout, _] = a;
    let is_receiving = nr == __NR_recvmmsg;
    let mut limit = match timeout {
        _ if !is_receiving => None,
        0 => None,
        at => Some(Limit::read(at)?),
    };
    let count = u64::from(count as u32).min(UIO_MAXIOV);
    if count == 0 {
        return none(fd);
    }
    let mut done = 0;
    while done < count {
        let message = from.wrapping_add(done * MMSGHDR);
        let moved = if is_receiving {
            recvmsg(thread, fd, message, flags & !MSG_WAITFORONE)
        } else {
            sendmsg(thread, fd, message, flags)
        };
        let told =
            moved.and_then(|moved| memory::write(message.wrapping_add(MSG_LEN), &(moved as u32)));
        match told {
            Ok(()) => done += 1,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
        if is_receiving && flags & MSG_WAITFORONE != 0 {
            flags |= u64::from(MSG_DONTWAIT);
        }
        if limit.as_mut().is_some_and(Limit::is_over) {
            break;
        }
    }
    if let Some(limit) = limit {
        memory::write(timeout, &limit.left)?;
    }
    Ok(done)
}

/// Not one message: what the descriptor is counts all the same.
#[cold]
#[inline(never)]
fn none(fd: u64) -> Result<u64> {
    if file::is_reserved(fd) {
        return Err(Errno::EBADF);
    }
    family(fd).map(|_| 0)
}

/// How long recvmmsg(2) goes on. It looks at the time between messages only, as the manual warns.
struct Limit {
    /// End, as of `CLOCK_MONOTONIC`: seconds and nanoseconds.
    end: [u64; 2],
    /// What is left until then.
    left: [u64; 2],
}

impl Limit {
    /// EFAULT; EINVAL: no such time.
    fn read(at: u64) -> Result<Limit> {
        let left = memory::read::<[u64; 2]>(at)?;
        if left[0].cast_signed() < 0 || left[1] >= SECOND {
            return Err(Errno::EINVAL);
        }
        let now = now()?;
        let nanoseconds = now[1] + left[1];
        let seconds = now[0]
            .saturating_add(left[0])
            .saturating_add(nanoseconds / SECOND);
        let end = [seconds, nanoseconds % SECOND];
        Ok(Limit { end, left })
    }

    /// Whether the time is over; looks at the clock.
    fn is_over(&mut self) -> bool {
        let Ok(now) = now() else { return true };
        self.left = if now >= self.end {
            [0, 0]
        } else if self.end[1] >= now[1] {
            [self.end[0] - now[0], self.end[1] - now[1]]
        } else {
            [self.end[0] - now[0] - 1, self.end[1] + SECOND - now[1]]
        };
        self.left == [0, 0]
    }
}

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

fn now() -> Result<[u64; 2]> {
    let mut time = [0u64; 2];
    let to = time.as_mut_ptr() as u64;
    checked(unsafe { syscall2(__NR_clock_gettime, u64::from(CLOCK_MONOTONIC), to) })?;
    Ok(time)
}
