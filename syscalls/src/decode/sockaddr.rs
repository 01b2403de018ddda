//! Socket addresses: `127.0.0.1:80`, `[::1]:80`, `"/run/socket"`, `@"name"`.

use super::{constants, text};
use crate::kind::Kind;
use core::fmt::{Result, Write};
use core::net::{Ipv4Addr, Ipv6Addr};

/// Longest address (`struct sockaddr_storage`).
pub(super) const LEN_MAX: usize = 128;

/// Prints an address of whatever family.
///
/// # Errors
/// Those of `out`.
pub fn write(bytes: &[u8], out: &mut impl Write) -> Result {
    const AF_UNIX: u16 = 1;
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    let Some((family, rest)) = bytes.split_first_chunk() else {
        return out.write_str("{}");
    };
    let family = u16::from_ne_bytes(*family);
    let port = || {
        rest.first_chunk()
            .map_or(0, |port| u16::from_be_bytes(*port))
    };
    let v4 = rest.get(2..).and_then(|rest| rest.first_chunk::<4>());
    let v6 = rest.get(6..).and_then(|rest| rest.first_chunk::<16>());
    match (family, v4, v6) {
        (AF_INET, Some(address), _) => write!(out, "{}:{}", Ipv4Addr::from(*address), port()),
        (AF_INET6, _, Some(address)) => write!(out, "[{}]:{}", Ipv6Addr::from(*address), port()),
        (AF_UNIX, ..) if !rest.is_empty() => {
            let (mark, name) = match rest.split_first() {
                Some((0, name)) => ("@", name),
                _ => ("", rest.split(|&byte| byte == 0).next().unwrap_or(rest)),
            };
            out.write_str(mark)?;
            text::own(name, out)
        }
        _ => {
            out.write_str("{")?;
            constants::write(Kind::SocketDomain, family.into(), out)?;
            out.write_str("}")
        }
    }
}
