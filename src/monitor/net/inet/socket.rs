//! What the monitor does with sockets: a guest's, and probes of its own.

use super::plan::Family;
use super::socket_unsafe::option;
use crate::control::Protocol;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{IpBindAddressNoPort, Ipv6V6Only, ReuseAddr, ReusePort};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind, getsockname,
    getsockopt, setsockopt, socket,
};
use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `IPPROTO_MPTCP` of linux/in.h: has TCP's ports, and is what Go listens with.
const IPPROTO_MPTCP: i32 = 262;

/// A guest's socket, as found. The guest can change its options at any time: nothing that the host
/// relies on follows from them.
#[derive(Clone, Copy)]
pub(super) struct Guest<'a> {
    fd: BorrowedFd<'a>,
    pub(super) protocol: Protocol,
    pub(super) family: Family,
    reuse: Reuse,
}

/// `SO_REUSEADDR` and `SO_REUSEPORT` of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reuse {
    pub(super) is_address: bool,
    pub(super) is_port: bool,
}

impl Reuse {
    /// None.
    pub(super) const NO: Self = Self {
        is_address: false,
        is_port: false,
    };
    /// What servers use: connections that linger are no obstacle.
    pub(super) const ADDRESS: Self = Self {
        is_address: true,
        is_port: false,
    };
}

impl<'a> Guest<'a> {
    /// Looks at a socket.
    ///
    /// `EOPNOTSUPP`: not a TCP or UDP socket over IP.
    pub(super) fn of(fd: BorrowedFd<'a>) -> Result<Self, Errno> {
        let protocol = match (option(fd, libc::SO_TYPE)?, option(fd, libc::SO_PROTOCOL)?) {
            (libc::SOCK_STREAM, libc::IPPROTO_TCP | IPPROTO_MPTCP) => Protocol::Tcp,
            (libc::SOCK_DGRAM, libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE) => Protocol::Udp,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let family = match option(fd, libc::SO_DOMAIN)? {
            libc::AF_INET => Family::V4,
            libc::AF_INET6 if getsockopt(&fd, Ipv6V6Only)? => Family::V6Only,
            libc::AF_INET6 => Family::Dual,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        let reuse = Reuse {
            is_address: getsockopt(&fd, ReuseAddr)?,
            is_port: getsockopt(&fd, ReusePort)?,
        };
        Ok(Self {
            fd,
            protocol,
            family,
            reuse,
        })
    }

    /// Fails with `EINVAL` if it is bound already (bind(2)). A socket that was disconnected still shows
    /// the port that it had: whether it has it, an own address without a port tells, which may be bound
    /// to once more.
    pub(super) fn must_be_free(&self, own: Ipv4Addr) -> Result<(), Errno> {
        if self.port()? == 0 {
            return Ok(());
        }
        let had = getsockopt(&self.fd, IpBindAddressNoPort)?;
        setsockopt(&self.fd, IpBindAddressNoPort, &true)?;
        let result = self.join(SocketAddrV4::new(own, 0));
        let _ = setsockopt(&self.fd, IpBindAddressNoPort, &had);
        result
    }

    /// The port that it is bound to on the host; 0 if none.
    pub(super) fn port(&self) -> Result<u16, Errno> {
        self.place().map(|place| place.port())
    }

    /// Where it is bound on the host; the wildcard of IPv6 reads as that of IPv4.
    pub(super) fn place(&self) -> Result<SocketAddrV4, Errno> {
        let name: SockaddrStorage = getsockname(self.fd.as_raw_fd())?;
        let v4 = name.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4));
        let v6 = || {
            let v6 = name.as_sockaddr_in6()?;
            let ip = v6.ip().to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
            Some(SocketAddrV4::new(ip, v6.port()))
        };
        v4.or_else(v6).ok_or(Errno::EOPNOTSUPP)
    }

    /// Sets `IPV6_V6ONLY`: on the host all is v4-mapped.
    pub(super) fn set_v6_only(&self, is_on: bool) -> Result<(), Errno> {
        setsockopt(&self.fd, Ipv6V6Only, &is_on)
    }

    /// Binds it to a place of the host. `0.0.0.0` binds an IPv6 socket to `::`.
    pub(super) fn bind(&self, to: SocketAddrV4) -> Result<(), Errno> {
        if self.may_share() {
            // The options let it in beside a stranger's socket (of another zone, say) that set them
            // too, and the kernel would share out what arrives. Alone or not at all.
            drop(hold(self.protocol, to, self.exclusive())?);
        }
        self.join(to)
    }

    /// Binds it to a place that a socket of the zone may have, as the kernel sees fit.
    pub(super) fn join(&self, to: SocketAddrV4) -> Result<(), Errno> {
        let fd = self.fd.as_raw_fd();
        match self.family {
            Family::V4 => bind(fd, &SockaddrIn::from(to)),
            Family::Dual | Family::V6Only => {
                let ip = if to.ip().is_unspecified() {
                    std::net::Ipv6Addr::UNSPECIFIED
                } else {
                    to.ip().to_ipv6_mapped()
                };
                bind(
                    fd,
                    &SockaddrIn6::from(SocketAddrV6::new(ip, to.port(), 0, 0)),
                )
            }
        }
    }

    /// The same with a port that the kernel chooses, now, even if the guest would have that at its
    /// connect(2) (`IP_BIND_ADDRESS_NO_PORT`).
    pub(super) fn join_with_port(&self, to: SocketAddrV4) -> Result<(), Errno> {
        let was_late = getsockopt(&self.fd, IpBindAddressNoPort)?;
        setsockopt(&self.fd, IpBindAddressNoPort, &false)?;
        let result = self.join(to);
        setsockopt(&self.fd, IpBindAddressNoPort, &was_late)?;
        result
    }

    /// Whether the kernel would let it have a place, which then stays as it is.
    pub(super) fn would_join(&self, to: SocketAddrV4) -> Result<(), Errno> {
        hold(self.protocol, to, self.reuse).map(drop)
    }

    fn may_share(&self) -> bool {
        self.reuse.is_port || (self.reuse.is_address && self.protocol == Protocol::Udp)
    }

    fn exclusive(&self) -> Reuse {
        match self.protocol {
            Protocol::Tcp => Reuse::ADDRESS,
            Protocol::Udp => Reuse::NO,
        }
    }
}

/// Takes a place on the host, without listening: a probe, or a reservation.
pub(super) fn hold(protocol: Protocol, at: SocketAddrV4, reuse: Reuse) -> Result<OwnedFd, Errno> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let held = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&held, ReuseAddr, &reuse.is_address)?;
    setsockopt(&held, ReusePort, &reuse.is_port)?;
    bind(held.as_raw_fd(), &SockaddrIn::from(at))?;
    Ok(held)
}
