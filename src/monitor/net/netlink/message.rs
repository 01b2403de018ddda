//! Messages of netlink(7): taken apart and made. Requests are hostile input.

pub(in crate::monitor::net) const NLMSG_ERROR: u16 = 2;
pub(in crate::monitor::net) const NLMSG_DONE: u16 = 3;
/// Below are the messages of netlink itself.
const NLMSG_MIN_TYPE: u16 = 16;
pub(in crate::monitor::net) const NLM_F_REQUEST: u16 = 1;
pub(in crate::monitor::net) const NLM_F_MULTI: u16 = 2;
pub(in crate::monitor::net) const NLM_F_ACK: u16 = 4;
pub(in crate::monitor::net) const NLM_F_DUMP: u16 = 0x300;
pub(in crate::monitor::net) const HEADER: usize = 16;
/// Most messages of one datagram that are looked at.
pub(in crate::monitor::net) const MESSAGES_MAX: usize = 64;

/// `struct nlmsghdr`.
#[derive(Clone, Copy)]
pub(in crate::monitor::net) struct Header {
    pub(in crate::monitor::net) kind: u16,
    pub(in crate::monitor::net) flags: u16,
    pub(in crate::monitor::net) sequence: u32,
}

pub(in crate::monitor::net) fn half(bytes: &[u8], at: usize) -> u16 {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

pub(in crate::monitor::net) fn word(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// The header of the first of some messages, that message, and those behind it.
pub(in crate::monitor::net) fn first(messages: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let header = Header {
        kind: half(messages, 4),
        flags: half(messages, 6),
        sequence: word(messages, 8),
    };
    let length = usize::try_from(word(messages, 0)).unwrap_or(usize::MAX);
    let message = messages
        .get(..length)
        .filter(|message| message.len() >= HEADER)?;
    let more = messages.get(length.next_multiple_of(4)..);
    Some((header, message, more.unwrap_or_default()))
}

/// The datagrams that answer those of one, for the socket with this `nl_pid`. `make` adds those for one
/// request, given its header and what follows that, or fails with an errno.
pub(in crate::monitor::net) fn each(
    port: u32,
    datagram: &[u8],
    mut make: impl FnMut(Header, &[u8], &mut Vec<Vec<u8>>) -> Result<(), i32>,
) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut rest = datagram;
    for _ in 0..MESSAGES_MAX {
        let Some((header, message, more)) = first(rest) else {
            break;
        };
        let result = if header.flags & NLM_F_REQUEST != 0 && header.kind >= NLMSG_MIN_TYPE {
            make(header, message.get(HEADER..).unwrap_or_default(), &mut all)
        } else {
            Ok(())
        };
        if result.is_err() || header.flags & NLM_F_ACK != 0 {
            all.push(acknowledge(
                port,
                message,
                header,
                result.err().unwrap_or(0),
            ));
        }
        rest = more;
    }
    all
}

/// `struct nlmsgerr`, with the whole request where it failed.
fn acknowledge(port: u32, message: &[u8], header: Header, errno: i32) -> Vec<u8> {
    let mut out = Message::new(NLMSG_ERROR, 0, header.sequence, port);
    out.put(&(-errno).to_ne_bytes());
    let kept = if errno == 0 { HEADER } else { message.len() };
    out.put(message.get(..kept).unwrap_or_default());
    out.finish()
}

/// A message being made.
pub(in crate::monitor::net) struct Message(Vec<u8>);

impl Message {
    pub(in crate::monitor::net) fn new(kind: u16, flags: u16, sequence: u32, port: u32) -> Self {
        let mut message = Self(vec![0; 4]);
        message.put(&kind.to_ne_bytes());
        message.put(&flags.to_ne_bytes());
        message.put(&sequence.to_ne_bytes());
        message.put(&port.to_ne_bytes());
        message
    }

    pub(in crate::monitor::net) fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// `struct rtattr` and its value.
    pub(in crate::monitor::net) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.put(&length.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub(in crate::monitor::net) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        for (to, from) in self.0.iter_mut().zip(length.to_ne_bytes()) {
            *to = from;
        }
        self.0
    }
}
