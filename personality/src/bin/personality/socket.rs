//! Sockets: addresses in the zone's terms, and in the host's.
//!
//! The kernel is always told an address length of 128: no unix socket accepts that, so that no
//! host path can be named here. Unix sockets are bound and connected by the monitor, on the socket
//! that the guest hands over.

use crate::arch::{self, syscall2, syscall3, syscall6};
use crate::dispatch::{checked, checked_or_restart};
use crate::monitor::tables;
use crate::thread::Thread;
use crate::{Errno, Result, memory, signal};
use linux_raw_sys::general::*;
use picozone_personality::layout::FD_HAND;
use picozone_personality::mailbox::Request;
use picozone_personality::net::{self, AF_INET, AF_INET6, AF_UNIX, Address, LENGTH, Protocol};

/// socket(2), socketpair(2) of a kind that the filter does not let through.
pub fn refuse_family(nr: u32, family: u64) -> Result<u64> {
    if let Some(counter) = crate::monitor::commons().refused.get(nr as usize) {
        counter.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    }
    Err(
        if u16::try_from(family).is_ok_and(|f| matches!(f, AF_UNIX | AF_INET | AF_INET6)) {
            Errno::EPROTONOSUPPORT
        } else {
            Errno::EAFNOSUPPORT
        },
    )
}

fn option(fd: u64, level: u64, name: u64) -> Result<u32> {
    let mut value = 0u32;
    let mut length = 4u32;
    checked(unsafe {
        syscall6(
            __NR_getsockopt,
            [
                fd,
                level,
                name,
                &raw mut value as u64,
                &raw mut length as u64,
                0,
            ],
        )
    })?;
    Ok(value)
}

const SOL_SOCKET: u64 = 1;
const SO_TYPE: u64 = 3;
const SO_DOMAIN: u64 = 39;

fn family(fd: u64) -> Result<u16> {
    Ok(option(fd, SOL_SOCKET, SO_DOMAIN)? as u16)
}

fn protocol(fd: u64) -> Result<Protocol> {
    Ok(if option(fd, SOL_SOCKET, SO_TYPE)? == 2 {
        Protocol::Udp
    } else {
        Protocol::Tcp
    })
}

fn read_address(from: u64, length: u64) -> Result<(Address, usize)> {
    let length = length as u32 as usize;
    if length > LENGTH {
        return Err(Errno::EINVAL);
    }
    let mut address = Address([0; LENGTH]);
    memory::read_bytes(from, &mut address.0[..length])?;
    Ok((address, length))
}

fn write_address(address: &Address, length: usize, to: u64, room: u64) -> Result<()> {
    if to == 0 {
        return Ok(());
    }
    let have = memory::read::<i32>(room)?;
    let have = usize::try_from(have).map_err(|_| Errno::EINVAL)?;
    memory::write_bytes(to, &address.0[..length.min(have).min(LENGTH)])?;
    memory::write(room, &(length as u32))
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

/// Hands a descriptor to the monitor; the cookie finds it again.
fn hand_over(thread: &Thread, fd: u64) -> Result<u64> {
    let cookie = u64::from(thread.host_tid);
    let control = [20u64, 1 | (1 << 32), fd & 0xffff_ffff];
    let iov = [&raw const cookie as u64, 8];
    let message = Message {
        iov: iov.as_ptr() as u64,
        iov_len: 1,
        control: control.as_ptr() as u64,
        control_len: 24,
        ..Message::default()
    };
    checked(unsafe {
        syscall3(
            __NR_sendmsg,
            u64::from(FD_HAND),
            &raw const message as u64,
            0,
        )
    })?;
    Ok(cookie)
}

fn with_monitor(
    thread: &Thread,
    request: Request,
    fd: u64,
    address: &Address,
    length: usize,
) -> Result<u64> {
    let cookie = hand_over(thread, fd)?;
    thread.mailbox().b[..length].copy_from_slice(&address.0[..length]);
    thread.ask(request, &[length as u64, cookie])
}

/// bind(2).
pub fn bind(thread: &Thread, fd: u64, from: u64, length: u64) -> Result<u64> {
    let family = family(fd)?;
    let (address, length) = read_address(from, length)?;
    if family != AF_UNIX && length < 16 {
        return Err(Errno::EINVAL);
    }
    with_monitor(thread, Request::Bind, fd, &address, length)
}

/// The socket's own host-side address.
fn raw_name(nr: u32, fd: u64) -> Result<(Address, usize)> {
    let mut address = Address([0; LENGTH]);
    let mut length = LENGTH as u32;
    checked(unsafe {
        syscall3(
            nr,
            fd,
            address.0.as_mut_ptr() as u64,
            &raw mut length as u64,
        )
    })?;
    Ok((address, length as usize))
}

/// Gives an unbound socket an own source address before it speaks to zones or the host.
fn choose_source(fd: u64, slot: usize) {
    if let Ok((own, _)) = raw_name(__NR_getsockname, fd)
        && own.port() == 0
        && let Some(source) = tables().sources.get(slot)
    {
        const IP_BIND_ADDRESS_NO_PORT: u64 = 24;
        let one = 1u32;
        unsafe {
            syscall6(
                __NR_setsockopt,
                [fd, 0, IP_BIND_ADDRESS_NO_PORT, &raw const one as u64, 4, 0],
            );
            syscall3(
                __NR_bind,
                fd,
                core::ptr::from_ref(source) as u64,
                LENGTH as u64,
            );
        }
    }
}

/// A destination in the host's terms; the source is chosen on the way.
fn to_host(thread: &Thread, fd: u64, address: &Address) -> Result<Address> {
    let family = family(fd)?;
    if address.family() == 0 {
        return Ok(*address);
    }
    if address.family() != family {
        return Err(Errno::EAFNOSUPPORT);
    }
    let protocol = protocol(fd)?;
    let Some(target) = net::destination(&tables().net, &tables().ports, protocol, address) else {
        return Ok(*address);
    };
    let mut host = target.address;
    if target.is_foreign {
        thread.mailbox().b[..LENGTH].copy_from_slice(&address.0);
        thread.ask(Request::PeerPort, &[LENGTH as u64, protocol as u64])?;
        host.0.copy_from_slice(&thread.mailbox().b[..LENGTH]);
    }
    choose_source(fd, target.source + if family == AF_INET6 { 4 } else { 0 });
    Ok(host)
}

/// connect(2).
pub fn connect(thread: &Thread, fd: u64, from: u64, length: u64) -> Result<u64> {
    let (address, length) = read_address(from, length)?;
    if length < 2 {
        return Err(Errno::EINVAL);
    }
    if family(fd)? == AF_UNIX {
        return with_monitor(thread, Request::ConnectUnix, fd, &address, length);
    }
    if address.family() == AF_INET && length < 16 || address.family() == AF_INET6 && length < 24 {
        return Err(Errno::EINVAL);
    }
    let host = to_host(thread, fd, &address)?;
    let result = arch::wait(
        __NR_connect,
        [fd, host.0.as_ptr() as u64, LENGTH as u64, 0, 0, 0],
        thread.mask() & !signal::HELD,
    );
    checked_or_restart(result)
}

/// listen(2): an unbound socket gets an own address, never the host's wildcard.
pub fn listen(_thread: &Thread, fd: u64, backlog: u64) -> Result<u64> {
    let family = family(fd)?;
    if family == AF_INET || family == AF_INET6 {
        choose_source(fd, if family == AF_INET6 { 4 } else { 0 });
    }
    checked(unsafe { syscall2(__NR_listen, fd, backlog) })
}

/// A host-side address for the guest.
fn to_zone(
    thread: &Thread,
    fd: u64,
    address: &mut Address,
    length: usize,
    is_local: bool,
) -> Result<usize> {
    match address.family() {
        AF_INET | AF_INET6 if length >= 16 => {
            let other = raw_name(
                if is_local {
                    __NR_getpeername
                } else {
                    __NR_getsockname
                },
                fd,
            )
            .ok()
            .map(|(other, _)| other);
            net::to_zone(
                &tables().net,
                &tables().ports,
                protocol(fd)?,
                address,
                other.as_ref(),
                is_local,
            );
            Ok(length)
        }
        AF_UNIX if length > 2 => {
            thread.mailbox().b[..length].copy_from_slice(&address.0[..length]);
            let new = (thread.ask(Request::UnixName, &[length as u64])? as usize).min(LENGTH);
            address.0[..new].copy_from_slice(&thread.mailbox().b[..new]);
            Ok(new)
        }
        _ => Ok(length),
    }
}

/// getsockname(2), getpeername(2).
pub fn name(thread: &Thread, nr: u32, fd: u64, to: u64, room: u64) -> Result<u64> {
    let (mut address, length) = raw_name(nr, fd)?;
    let length = to_zone(thread, fd, &mut address, length, nr == __NR_getsockname)?;
    write_address(&address, length, to, room)?;
    Ok(0)
}

/// accept(2), accept4(2).
pub fn accept(thread: &Thread, fd: u64, to: u64, room: u64, flags: u64) -> Result<u64> {
    let mut address = Address([0; LENGTH]);
    let mut length = LENGTH as u32;
    let args = [
        fd,
        address.0.as_mut_ptr() as u64,
        &raw mut length as u64,
        flags,
        0,
        0,
    ];
    let new = checked_or_restart(arch::wait(
        __NR_accept4,
        args,
        thread.mask() & !signal::HELD,
    ))?;
    if to != 0 {
        let length = to_zone(thread, new, &mut address, length as usize, false)?;
        write_address(&address, length, to, room)?;
    }
    Ok(new)
}

/// sendto(2) with an address.
pub fn sendto(thread: &Thread, a: [u64; 6]) -> Result<u64> {
    let (address, _) = read_address(a[4], a[5])?;
    if family(a[0])? == AF_UNIX {
        return Err(Errno::EISCONN);
    }
    let host = to_host(thread, a[0], &address)?;
    let args = [
        a[0],
        a[1],
        a[2],
        a[3],
        host.0.as_ptr() as u64,
        LENGTH as u64,
    ];
    checked_or_restart(arch::wait(__NR_sendto, args, thread.mask() & !signal::HELD))
}

/// recvfrom(2) with an address.
pub fn recvfrom(thread: &Thread, a: [u64; 6]) -> Result<u64> {
    let mut address = Address([0; LENGTH]);
    let mut length = LENGTH as u32;
    let args = [
        a[0],
        a[1],
        a[2],
        a[3],
        address.0.as_mut_ptr() as u64,
        &raw mut length as u64,
    ];
    let got = checked_or_restart(arch::wait(
        __NR_recvfrom,
        args,
        thread.mask() & !signal::HELD,
    ))?;
    let length = to_zone(thread, a[0], &mut address, length as usize, false)?;
    write_address(&address, length, a[4], a[5])?;
    Ok(got)
}

/// sendmsg(2).
pub fn sendmsg(thread: &Thread, fd: u64, message: u64, flags: u64) -> Result<u64> {
    let mut copy = memory::read::<Message>(message)?;
    let host;
    if copy.name != 0 && copy.name_len as u32 != 0 {
        if family(fd)? == AF_UNIX {
            return Err(Errno::EISCONN);
        }
        let (address, _) = read_address(copy.name, copy.name_len)?;
        host = to_host(thread, fd, &address)?;
        copy.name = host.0.as_ptr() as u64;
        copy.name_len = LENGTH as u64;
    }
    checked_or_restart(arch::wait(
        __NR_sendmsg,
        [fd, &raw const copy as u64, flags, 0, 0, 0],
        thread.mask() & !signal::HELD,
    ))
}

/// recvmsg(2).
pub fn recvmsg(thread: &Thread, fd: u64, message: u64, flags: u64) -> Result<u64> {
    let guest = memory::read::<Message>(message)?;
    let mut copy = guest;
    let mut address = Address([0; LENGTH]);
    if guest.name != 0 {
        copy.name = address.0.as_mut_ptr() as u64;
        copy.name_len = LENGTH as u64;
    }
    let got = checked_or_restart(arch::wait(
        __NR_recvmsg,
        [fd, &raw mut copy as u64, flags, 0, 0, 0],
        thread.mask() & !signal::HELD,
    ))?;
    if guest.name != 0 {
        let length = to_zone(
            thread,
            fd,
            &mut address,
            copy.name_len as u32 as usize,
            false,
        )?;
        memory::write_bytes(
            guest.name,
            &address.0[..length.min(guest.name_len as u32 as usize).min(LENGTH)],
        )?;
        copy.name_len = length as u64;
    }
    copy.name = guest.name;
    memory::write(message, &copy)?;
    Ok(got)
}
