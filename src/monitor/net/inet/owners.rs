//! Whether a TCP socket has a place of the host that does not listen there: sock_diag(7), since those
//! that are bound only are in no file of `/proc/net`.

use crate::monitor::net::netlink::message::{HEADER, Message, NLM_F_DUMP, NLM_F_REQUEST, word};
use crate::monitor::net::sock_diag::{SOCK_DIAG_BY_FAMILY, dump};
use nix::errno::Errno;
use std::net::SocketAddrV4;

/// `TCP_ESTABLISHED`, `TCP_SYN_SENT`, `TCP_CLOSE_WAIT` and `TCP_BOUND_INACTIVE` of net/tcp_states.h, as
/// bits. In the states that are left out the kernel may be all that knows of a connection still.
const OWNED: u32 = 1 << 1 | 1 << 2 | 1 << 8 | 1 << 13;
/// Where `struct inet_diag_msg` has the source address, of which v4-mapped ones end in an IPv4 address.
const SOURCE: usize = HEADER + 8;

/// Whether somebody is bound to that very place, or has connected from there.
///
/// # Errors
/// The kernel does not tell (it lacks `tcp_diag`).
pub(super) fn is_owned(at: SocketAddrV4) -> Result<bool, Errno> {
    Ok(is_among(libc::AF_INET, at)? || is_among(libc::AF_INET6, at)?)
}

fn is_among(family: i32, at: SocketAddrV4) -> Result<bool, Errno> {
    let byte = |value: i32| u8::try_from(value).map_err(|_| Errno::EINVAL);
    let mut request = Message::new(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0);
    // struct inet_diag_req_v2 (linux/inet_diag.h): of struct inet_diag_sockid the port alone.
    request.put(&[byte(family)?, byte(libc::IPPROTO_TCP)?, 0, 0]);
    request.put(&OWNED.to_ne_bytes());
    request.put(&at.port().to_be_bytes());
    request.put(&[0; 46]);
    let wanted = u32::from(*at.ip()).to_be();
    let mut is_found = false;
    dump(request, |message| {
        is_found |= source(family, message) == wanted;
    })?;
    Ok(is_found)
}

/// The source address of a socket that the kernel lists, or the last word of it.
fn source(family: i32, message: &[u8]) -> u32 {
    let skipped = if family == libc::AF_INET { 0 } else { 12 };
    word(message, SOURCE + skipped)
}

#[cfg(test)]
mod tests {
    use super::super::socket::{Reuse, hold};
    use super::*;
    use crate::control::Protocol;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    fn v4(at: SocketAddr) -> SocketAddrV4 {
        match at {
            SocketAddr::V4(at) => at,
            SocketAddr::V6(_) => panic!("IPv4"),
        }
    }

    #[test]
    fn bound_and_connected_sockets_are_told_from_what_lingers() {
        let ip = std::net::Ipv4Addr::new(127, 111, 250, 10);
        let held = hold(Protocol::Tcp, SocketAddrV4::new(ip, 0), Reuse::NO).expect("held");
        let name: nix::sys::socket::SockaddrIn =
            nix::sys::socket::getsockname(held.as_raw_fd()).expect("a name");
        let at = SocketAddrV4::from(name);
        assert_eq!(is_owned(at), Ok(true));
        let elsewhere = SocketAddrV4::new(std::net::Ipv4Addr::new(127, 111, 250, 11), at.port());
        assert_eq!(is_owned(elsewhere), Ok(false));
        drop(held);
        assert_eq!(is_owned(at), Ok(false));

        let listener = TcpListener::bind((ip, 0)).expect("bound");
        let at = v4(listener.local_addr().expect("a name"));
        assert_eq!(is_owned(at), Ok(false));
        let client = TcpStream::connect(at).expect("connected");
        let (served, _) = listener.accept().expect("a connection");
        assert_eq!(is_owned(v4(client.local_addr().expect("a name"))), Ok(true));
        drop(listener);
        assert_eq!(is_owned(at), Ok(true));
        drop(served);
        super::super::eventually(|| is_owned(at) == Ok(false));
        drop(client);
        super::super::eventually(|| hold(Protocol::Tcp, at, Reuse::NO).is_err());
        assert_eq!(is_owned(at), Ok(false));
    }
}
