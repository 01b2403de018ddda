//! Unix sockets. The monitor binds, connects and sends on the socket that the guest hands over: only
//! it can name a path.
//!
//! Datagram sockets: a message to an address goes by a *messenger*, a socket that the monitor has
//! connected there, and whose name reads as that of the guest's own. Who hears one peer only is not
//! reached that way: then the monitor itself sends what it is handed, and credentials are nobody's.

use super::control::CONTROL_MAX;
use super::messages::{HEADER, Outgoing, Slot, is_nonblocking};
use super::{
    Address, MSG_DONTWAIT, Message, SOL_SOCKET, hand_over, hand_over_as, netlink, option,
    with_monitor,
};
use crate::arch::{self, syscall1, syscall4};
use crate::dispatch::{RESTART_ERRNO, checked, refuse};
use crate::file::{Power, has};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, memory, pids, signal};
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use picozone_personality::mailbox::{NETLINK, Request};
use picozone_personality::net::netlink::AF_NETLINK;
use picozone_personality::net::{AF_INET, AF_INET6, AF_UNIX, CONNECTED};

const SO_TYPE: u64 = 3;
pub(super) const SO_PRIORITY: u64 = 12;
pub(super) const SOCK_DGRAM: u64 = 2;
pub(super) const SOCK_RAW: u64 = 3;
const SOCK_SEQPACKET: u64 = 5;
pub(super) const SOCK_TYPE_MASK: u64 = 0xf;

/// socket(2) of a kind that the filter does not let through.
pub fn socket(thread: &Thread, nr: u32, family: u64, kind: u64, protocol: u64) -> Result<u64> {
    check_kind(kind)?;
    if family as u32 == u32::from(AF_NETLINK) {
        return netlink::socket(thread, nr, kind, protocol);
    }
    refuse_family(nr, family, kind, protocol)
}

/// socketpair(2), likewise.
pub fn socketpair(nr: u32, family: u64, kind: u64, protocol: u64) -> Result<u64> {
    check_kind(kind)?;
    refuse_family(nr, family, kind, protocol)
}

/// EINVAL: flags or a type that do not exist (__sys_socket, Linux, net/socket.c).
fn check_kind(kind: u64) -> Result<()> {
    const SOCK_MAX: u64 = 11;
    let flags = u64::from(O_NONBLOCK | O_CLOEXEC);
    if kind & 0xffff_ffff & !(SOCK_TYPE_MASK | flags) != 0 || kind & SOCK_TYPE_MASK >= SOCK_MAX {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// Raw and packet sockets take a capability that no guest has; the zone's root is told so.
fn refuse_family(nr: u32, family: u64, kind: u64, protocol: u64) -> Result<u64> {
    const AF_PACKET: u16 = 17;
    const ESOCKTNOSUPPORT: Errno = Errno::from_raw(94);
    // For the count.
    let _ = refuse(nr);
    let kind = kind & SOCK_TYPE_MASK;
    Err(match u16::try_from(family as u32) {
        Ok(AF_INET | AF_INET6) if kind == SOCK_RAW && protocol as u32 == 0 => {
            Errno::EPROTONOSUPPORT
        }
        Ok(AF_INET | AF_INET6) if kind == SOCK_RAW => Errno::EPERM,
        Ok(AF_UNIX | AF_INET | AF_INET6) => ESOCKTNOSUPPORT,
        Ok(AF_PACKET) => Errno::EPERM,
        _ => Errno::EAFNOSUPPORT,
    })
}

/// Repeats what the monitor answers with EAGAIN, since it does not wait: a full backlog or queue. The
/// pauses grow from 1 to 32 ms. There is nothing to poll for.
fn patiently(thread: &Thread, is_patient: bool, ask: impl Fn() -> Result<u64>) -> Result<u64> {
    let mut pause_ms = 1;
    loop {
        match ask() {
            Err(Errno::EAGAIN) if is_patient => {}
            other => return other,
        }
        let time = [0u64, pause_ms * 1_000_000];
        let args = [time.as_ptr() as u64, 0, 0, 0, 0, 0];
        let mask = thread.mask() & !signal::HELD;
        if arch::wait(__NR_nanosleep, args, mask) != 0 {
            return Err(RESTART_ERRNO);
        }
        pause_ms = (pause_ms * 2).min(32);
    }
}

/// connect(2).
pub(super) fn connect(thread: &Thread, fd: u64, address: &Address) -> Result<u64> {
    let is_patient = !is_nonblocking(fd)?;
    patiently(thread, is_patient, || {
        with_monitor(thread, Request::ConnectUnix, fd, address)
    })
}

/// Sends a message to an address. Sockets that are connected for good take none, as the kernel says.
pub(super) fn send(
    thread: &Thread,
    fd: u64,
    message: &Outgoing,
    flags: u64,
    address: &Address,
) -> Result<u64> {
    let judge = |slot: &mut Slot| sent(thread, slot);
    if u64::from(option(fd, SOL_SOCKET, SO_TYPE)?) != SOCK_DGRAM {
        return message.send(thread, fd, flags, Some(&address.bytes), &[], judge);
    }
    match with_monitor(thread, Request::Messenger, fd, address) {
        Ok(messenger) => {
            // Whether the guest's socket waits is said by flags: it is another one's.
            let flags = match is_nonblocking(fd) {
                Ok(true) => flags | u64::from(MSG_DONTWAIT),
                _ => flags,
            };
            let posed = match message.has_control() {
                true => pose(thread, messenger, message, flags),
                false => Ok(None),
            };
            let result = match posed {
                Ok(Some(sent)) => Ok(sent),
                Ok(None) => message.send(thread, messenger, flags, None, &[], judge),
                Err(errno) => Err(errno),
            };
            unsafe { syscall1(__NR_close, messenger) };
            result
        }
        Err(Errno::EPERM) => {
            claim(thread, message)?;
            send_by_monitor(thread, fd, message, flags, address)
        }
        Err(errno) => Err(errno),
    }
}

/// Lets the monitor send what it is handed, from the guest's own socket.
fn send_by_monitor(
    thread: &Thread,
    fd: u64,
    message: &Outgoing,
    flags: u64,
    address: &Address,
) -> Result<u64> {
    let is_patient = flags & u64::from(MSG_DONTWAIT) == 0 && !is_nonblocking(fd)?;
    patiently(thread, is_patient, || {
        let [length, letter] = letter(thread, message)?;
        let cookie = hand_over(thread, fd)?;
        thread.mailbox().b[..address.len].copy_from_slice(address.as_bytes());
        thread.ask(Request::SendUnix, &[address.len as u64, cookie, letter])?;
        Ok(length)
    })
}

/// Puts a message into a socket, and hands that over; gives the message's length and the cookie.
fn letter(thread: &Thread, message: &Outgoing) -> Result<[u64; 2]> {
    let mut pair = [0u32; 2];
    let kind = SOCK_DGRAM | u64::from(O_CLOEXEC);
    let to = pair.as_mut_ptr() as u64;
    checked(unsafe { syscall4(__NR_socketpair, u64::from(AF_UNIX), kind, 0, to) })?;
    let [ours, theirs] = pair.map(u64::from);
    let letter = || {
        let slot = message.put_together(None, &[], |slot| sent(thread, slot))?;
        let length = checked(slot.send_now(ours))?;
        let cookie = hand_over_as(thread, theirs, u64::from(thread.host_tid) | 1 << 32)?;
        Ok([length, cookie])
    };
    let handed = letter();
    for end in [ours, theirs] {
        unsafe { syscall1(__NR_close, end) };
    }
    handed
}

/// Sends a message with credentials that are not what the kernel would tell of the thread, if it may:
/// the monitor does so. `None`: the message is to be sent as it is.
#[cold]
#[inline(never)]
pub(super) fn pose(
    thread: &Thread,
    fd: u64,
    message: &Outgoing,
    flags: u64,
) -> Result<Option<u64>> {
    let Some([pid, uid, gid]) = claim(thread, message)? else {
        return Ok(None);
    };
    let is_patient = flags & u64::from(MSG_DONTWAIT) == 0 && !is_nonblocking(fd)?;
    let result = patiently(thread, is_patient, || {
        let [_, letter] = letter(thread, message)?;
        let cookie = hand_over(thread, fd)?;
        let [pid, uid, gid] = [pid, uid, gid].map(u64::from);
        thread.ask(Request::Pose, &[pid, cookie, letter, uid, gid])
    });
    let is_stream = || option(fd, SOL_SOCKET, SO_TYPE) == Ok(SOCK_STREAM as u32);
    if result == Err(EPIPE) && flags & MSG_NOSIGNAL == 0 && is_stream() {
        signal::send_to_self(thread, SIGPIPE);
    }
    result.map(Some)
}

const SOCK_STREAM: u64 = 1;
const MSG_NOSIGNAL: u64 = 0x4000;
const EPIPE: Errno = Errno::from_raw(32);

/// The credentials that a message names, if they are not those that its sender has by itself. EPERM: it
/// may not name them; ESRCH: there is no such process.
fn claim(thread: &Thread, message: &Outgoing) -> Result<Option<[u32; 3]>> {
    let mut slot = message.control()?;
    let control = slot.control();
    let Some(at) = credentials_in(control, UCRED) else {
        return Ok(None);
    };
    let word = |index: usize| {
        let bytes = control[at + 4 * index..].first_chunk();
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    };
    let [pid, uid, gid] = [word(0), word(1), word(2)];
    let own = &thread.credentials;
    let own_pid = thread.process().zone_pid;
    let may_pose = (pid == own_pid || has(thread, Power::Administer))
        && (own.uid[..3].contains(&uid) || has(thread, Power::SetUid))
        && (own.gid[..3].contains(&gid) || has(thread, Power::SetGid));
    if !may_pose {
        return Err(Errno::EPERM);
    }
    pids::thread_to_host(pid)?;
    let is_own = [pid, uid, gid] == [own_pid, own.uid[0], own.gid[0]];
    Ok((!is_own).then_some([pid, uid, gid]))
}

/// The zone's name of a unix socket.
pub(super) fn to_zone(thread: &Thread, mut address: Address) -> Result<Address> {
    if let Some(told) = netlink::told(&address) {
        return Ok(told);
    }
    let name = address.as_bytes().get(3..);
    if name.is_some_and(|name| name.starts_with(CONNECTED))
        && tables().late_names.load(Relaxed) == 0
    {
        address.len = 2;
    }
    if address.len > 2 {
        thread.mailbox().b[..address.len].copy_from_slice(address.as_bytes());
        let length = thread.ask(Request::UnixName, &[address.len as u64])?;
        address.len = (length as usize).min(address.bytes.len());
        let name = &thread.mailbox().b[..address.len];
        address.bytes[..address.len].copy_from_slice(name);
    }
    Ok(address)
}

/// `SO_TYPE` in the zone.
pub(super) fn kind(fd: u64) -> Result<u32> {
    let kind = option(fd, SOL_SOCKET, SO_TYPE)?;
    if u64::from(kind) != SOCK_SEQPACKET || super::family(fd)? != AF_UNIX {
        return Ok(kind);
    }
    Ok(match option(fd, SOL_SOCKET, SO_PRIORITY)? {
        NETLINK => SOCK_RAW as u32,
        _ => kind,
    })
}

/// `struct ucred` (unix(7)).
pub(super) const UCRED: usize = 12;
const SCM_CREDENTIALS: u64 = 2;

/// Where credentials lie in control messages; `least` bytes of them must be there.
fn credentials_in(control: &[u8], least: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(header) = control
        .get(at..)
        .and_then(|rest| rest.first_chunk::<HEADER>())
    {
        let word = |at: usize| {
            let bytes = header.get(at..).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
        };
        let length = usize::try_from(word(0))
            .ok()
            .filter(|length| *length >= HEADER)?;
        if word(8) == SOL_SOCKET | SCM_CREDENTIALS << 32 && length >= HEADER + least {
            return (control.len() >= at + HEADER + least).then_some(at + HEADER);
        }
        at = at.checked_add(length)?.next_multiple_of(8);
    }
    None
}

fn put(control: &mut [u8], at: usize, ucred: [u32; 3]) {
    let bytes = ucred.map(u32::to_ne_bytes);
    for (to, from) in control[at..].iter_mut().zip(bytes.as_flattened()) {
        *to = *from;
    }
}

/// Puts the sender's own credentials, in the host's numbers, in the place of those that a message names
/// (see [`claim`]).
pub(super) fn sent(thread: &Thread, slot: &mut Slot) -> Result<()> {
    let control = slot.control();
    let Some(at) = credentials_in(control, UCRED) else {
        return Ok(());
    };
    let host = [
        pids::to_host(thread.process().zone_pid)?,
        tables().host_uid,
        tables().host_gid,
    ];
    put(control, at, host);
    Ok(())
}

/// `struct ucred` of who sent a message.
fn credentials_of(thread: &Thread, host: u32) -> Result<[u32; 3]> {
    if let Some(zone) = pids::to_zone(host) {
        let who = pids::load_credentials(zone);
        return Ok([zone, who.uid[0], who.gid[0]]);
    }
    thread.ask(Request::Posed, &[u64::from(host)])?;
    let mut words = [0; UCRED / 4];
    for (word, bytes) in words.iter_mut().zip(thread.mailbox().b.as_chunks().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    Ok(words)
}

/// Puts what `SO_PASSCRED` tells of a message's sender into the zone's numbers, as far as there was room
/// for it. A process that the zone does not have is pid 0 and nobody.
pub(super) fn received(thread: &Thread, message: &Message) -> Result<()> {
    const PID: usize = 4;
    let length = usize::try_from(message.control_len).unwrap_or(usize::MAX);
    if message.control == 0 || length < HEADER + PID {
        return Ok(());
    }
    // The kernel puts them before descriptors.
    let mut control = [0; CONTROL_MAX];
    let control = &mut control[..length.min(CONTROL_MAX)];
    memory::read_bytes(message.control, control)?;
    let Some(at) = credentials_in(control, PID) else {
        return Ok(());
    };
    let host = control[at..].first_chunk();
    let host = host.map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let end = control.len().min(at + UCRED);
    put(&mut control[..end], at, credentials_of(thread, host)?);
    let place = message.control.wrapping_add(at as u64);
    memory::write_bytes(place, &control[at..end])
}
