//! The names of sockets that stand for netlink sockets.
//!
//! Such a socket is one end of a pair of unix sockets whose other end the monitor holds. Both are
//! bound to abstract names of this form, which no guest can take: the monitor puts a zone's name in
//! front of theirs. What the kernel tells as a unix address then says which address of netlink(7) is
//! meant.

/// `AF_NETLINK`.
pub const AF_NETLINK: u16 = 16;
/// `sizeof(struct sockaddr_nl)`.
pub const ADDRESS_LEN: usize = 12;
const FAMILY: [u8; 2] = super::AF_UNIX.to_ne_bytes();
const FRONT: &[u8] = b"\0picozone.netlink/";
/// Length of the names, family included.
pub const NAME_LEN: usize = 2 + FRONT.len() + 4 + 1 + 8 + 1 + 1;

/// Which end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest's.
    Guest,
    /// The monitor's, which stands for the kernel.
    Kernel,
}

/// The name of an end, as a `struct sockaddr_un` of this length. `low` tells the zone, `port` is the
/// guest's `nl_pid`; of the monitor's end it is any number.
#[must_use]
pub fn name(low: [u8; 2], port: u32, end: End) -> [u8; NAME_LEN] {
    let hex = |nibble: u32| b"0123456789abcdef"[(nibble & 15) as usize];
    let zone = u32::from(u16::from_be_bytes(low));
    let mut name = [b'/'; NAME_LEN];
    let zone = (0..4).rev().map(|at| hex(zone >> (4 * at)));
    let port = (0..8).rev().map(|at| hex(port >> (4 * at)));
    let end = match end {
        End::Guest => b'g',
        End::Kernel => b'k',
    };
    let front = FAMILY.into_iter().chain(FRONT.iter().copied());
    let all = front
        .chain(zone)
        .chain(*b"/")
        .chain(port)
        .chain([b'/', end]);
    for (to, from) in name.iter_mut().zip(all) {
        *to = from;
    }
    name
}

/// Whether what `/proc/net/unix` shows is the name of such a socket.
#[must_use]
pub fn is_shown(text: &[u8]) -> bool {
    let [_, front @ ..] = FRONT else { return false };
    text.strip_prefix(b"@")
        .is_some_and(|rest| rest.starts_with(front))
}

/// The netlink address that a name of this zone stands for.
#[must_use]
pub fn address(low: [u8; 2], name: &[u8]) -> Option<[u8; ADDRESS_LEN]> {
    let name: &[u8; NAME_LEN] = name.try_into().ok()?;
    let digits = name.get(NAME_LEN - 10..NAME_LEN - 2)?;
    let port = digits.iter().try_fold(0u32, |port, digit| {
        Some(port << 4 | char::from(*digit).to_digit(16)?)
    })?;
    let [guest, kernel] = [End::Guest, End::Kernel].map(|end| self::name(low, port, end) == *name);
    (guest || kernel).then(|| {
        let mut address = [0; ADDRESS_LEN];
        let port = if guest { port } else { 0 };
        let words = [u32::from(AF_NETLINK), port].map(u32::to_le_bytes);
        for (to, from) in address.iter_mut().zip(words.as_flattened()) {
            *to = *from;
        }
        address
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_address() {
        let low = [0xab, 2];
        let guest = name(low, 0xffff_f001, End::Guest);
        assert_eq!(&guest[2..], b"\0picozone.netlink/ab02/fffff001/g");
        let told = address(low, &guest).expect("a name of netlink");
        assert_eq!(told, [16, 0, 0, 0, 1, 0xf0, 0xff, 0xff, 0, 0, 0, 0]);
        let kernel = name(low, 7, End::Kernel);
        assert_eq!(
            address(low, &kernel),
            Some([16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        );
        assert_eq!(address([0, 2], &kernel), None);
        assert_eq!(address(low, &kernel[..30]), None);
    }
}
