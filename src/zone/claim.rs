//! Addresses of zones are given out per user, but the host's loopback is one: a running zone
//! claims its address so that another user's zone, or another home, sees that it is taken.
//!
//! The claim is an abstract unix socket, whose name space is that of the addresses (the network
//! name space) and which goes with the process.

use super::address;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use std::io;
use std::os::fd::OwnedFd;

/// The claim of an address; lasts until it is dropped in every process that has it.
#[derive(Debug)]
pub struct Claim {
    _socket: OwnedFd,
}

/// Claims the address of `number`; `None` if somebody else has it. The monitor calls this.
///
/// # Errors
/// No socket can be had.
pub fn take(number: u16) -> io::Result<Option<Claim>> {
    let name = format!("picozone-{}", address::host_v4(number));
    let socket = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    match bind(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &UnixAddr::new_abstract(name.as_bytes())?,
    ) {
        Ok(()) => Ok(Some(Claim { _socket: socket })),
        Err(Errno::EADDRINUSE) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether nobody on this host has claimed the address of `number`.
///
/// # Errors
/// As for [`take`].
pub fn is_free(number: u16) -> io::Result<bool> {
    take(number).map(|claim| claim.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_excludes_and_ends() {
        // Near the end of the range, where no zone of this host is.
        let number = (address::NUMBER_MAX - 50..address::NUMBER_MAX)
            .find(|&number| is_free(number).expect("asked"))
            .expect("one is free");
        let claim = take(number).expect("asked").expect("free");
        assert!(!is_free(number).expect("asked"));
        drop(claim);
        assert!(is_free(number).expect("asked"));
    }
}
