//! What rides along with a datagram of a unix socket where the monitor carries it: who sent it.
//!
//! A sealed memory file with this content is the first descriptor among a datagram's control data.
//! The receiver's personality takes it out; who reads without control data never sees it. Guests of
//! a zone can make such files too: among themselves it proves no more than a name does.

/// `struct sockaddr_un`, whole.
const ADDRESS_MAX: usize = 110;
/// Bytes of a card.
pub const CARD_SIZE: usize = 136;
const MARK: [u8; 8] = *b"pz-card\n";
const ADDRESS_AT: usize = 20;

/// The process that sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// By its zone pid.
    Zone(u32),
    /// By its host pid.
    Host(u32),
}

/// Who sent a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card<'a> {
    /// The process.
    pub sender: Sender,
    /// The address of its socket, in the zone's terms; empty if it has none.
    pub address: &'a [u8],
}

impl<'a> Card<'a> {
    /// The content of the file. `None`: no address is that long.
    #[must_use]
    pub fn encode(self) -> Option<[u8; CARD_SIZE]> {
        let mut bytes = [0; CARD_SIZE];
        let (kind, pid) = match self.sender {
            Sender::Zone(pid) => (0, pid),
            Sender::Host(pid) => (1, pid),
        };
        let length = u32::try_from(self.address.len()).ok()?;
        if self.address.len() > ADDRESS_MAX {
            return None;
        }
        let words = [kind, pid, length].map(u32::to_ne_bytes);
        let all = MARK.iter().chain(words.as_flattened()).chain(self.address);
        for (to, from) in bytes.iter_mut().zip(all) {
            *to = *from;
        }
        Some(bytes)
    }

    /// Reads it back. `None`: it is no card.
    #[must_use]
    pub fn decode(bytes: &'a [u8; CARD_SIZE]) -> Option<Card<'a>> {
        let word = |at: usize| {
            let bytes = bytes.get(at..)?.first_chunk()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        if !bytes.starts_with(&MARK) {
            return None;
        }
        let length = usize::try_from(word(16)?).ok()?;
        let address = bytes.get(ADDRESS_AT..)?.get(..length)?;
        let pid = word(12)?;
        let sender = match word(8)? {
            0 => Sender::Zone(pid),
            1 => Sender::Host(pid),
            _ => return None,
        };
        (length <= ADDRESS_MAX).then_some(Card { sender, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_read_back() {
        for sender in [Sender::Zone(7), Sender::Host(u32::MAX)] {
            for length in [0, 2, ADDRESS_MAX] {
                let address = [3; ADDRESS_MAX];
                let card = Card {
                    sender,
                    address: &address[..length],
                };
                let bytes = card.encode().expect("short enough");
                assert_eq!(Card::decode(&bytes), Some(card));
            }
        }
    }

    #[test]
    fn what_is_no_card_is_none() {
        let card = Card {
            sender: Sender::Zone(1),
            address: &[0; ADDRESS_MAX + 1],
        };
        assert_eq!(card.encode(), None);
        assert_eq!(Card::decode(&[0; CARD_SIZE]), None);
        let card = Card {
            sender: Sender::Zone(1),
            address: b"",
        };
        let good = card.encode().expect("short");
        for (at, value) in [(0, 0), (8, 2), (16, 111), (19, 255)] {
            let mut bytes = good;
            bytes[at] = value;
            assert_eq!(Card::decode(&bytes), None, "{at}");
        }
    }
}
