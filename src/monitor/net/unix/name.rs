//! `struct sockaddr_un` (unix(7)), as a guest gives it and as it is told.

use nix::errno::Errno;

/// Length of `sa_family_t`.
pub(super) const FAMILY: usize = 2;

/// What an address of a guest says.
pub(super) enum Name<'a> {
    /// Only the family.
    Unnamed,
    /// Behind its leading NUL.
    Abstract(&'a [u8]),
    /// Up to its NUL.
    Path(&'a [u8]),
}

impl<'a> Name<'a> {
    /// As unix_mkname (Linux, net/unix/af_unix.c) takes it. `EINVAL`: another family's, or too long.
    pub(super) fn parse(address: &'a [u8]) -> Result<Self, Errno> {
        let (family, name) = address.split_first_chunk().ok_or(Errno::EINVAL)?;
        if i32::from(u16::from_ne_bytes(*family)) != libc::AF_UNIX || name.len() > 108 {
            return Err(Errno::EINVAL);
        }
        match name {
            [] => Ok(Name::Unnamed),
            [0, rest @ ..] => Ok(Name::Abstract(rest)),
            path => {
                let length = path.iter().position(|byte| *byte == 0);
                Ok(Name::Path(
                    path.get(..length.unwrap_or(path.len())).unwrap_or(path),
                ))
            }
        }
    }

    /// As the kernel tells it afterwards.
    pub(super) fn told(&self) -> Vec<u8> {
        let name = match self {
            Name::Unnamed => Vec::new(),
            Name::Abstract(name) => [&[0][..], name].concat(),
            Name::Path(path) => [path, &[0][..]].concat(),
        };
        [&family()[..], &name].concat()
    }
}

pub(super) fn family() -> [u8; FAMILY] {
    u16::try_from(libc::AF_UNIX)
        .expect("families are small numbers")
        .to_ne_bytes()
}

/// Directory and last component. A name that ends in a slash, or that is there in any case, cannot
/// be bound.
pub(super) fn split(path: &[u8]) -> Result<(&[u8], &[u8]), Errno> {
    let (parent, last) = match path.iter().rposition(|byte| *byte == b'/') {
        None => (&b"."[..], path),
        Some(0) => (&b"/"[..], path.get(1..).unwrap_or_default()),
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
    };
    match last {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EADDRINUSE),
        last => Ok((parent, last)),
    }
}
