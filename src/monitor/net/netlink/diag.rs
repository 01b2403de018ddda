//! What sock_diag(7) answers in a zone: dumps of its sockets, as `ss` asks for them. Requests are hostile
//! input.
//!
//! It is what `/proc/net` shows. Deliberately absent: questions about one socket, filters (`ss` looks
//! again at what it is told), and what the kernel alone knows of a connection (`tcp_info`, memory).

use super::message::{Header, Message, NLM_F_DUMP, NLM_F_MULTI, NLMSG_DONE, each, word};
use crate::monitor::net::unix::peer_of;
use crate::monitor::procfs::{
    ListedInet, ListedUnix, Protocol, TCP_CLOSE, TCP_LISTEN, View, listed_inet, listed_unix,
};
use std::net::IpAddr;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_UNIX: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Of netlink and packet sockets none is shown.
const SILENT: [u8; 2] = [16, 17];
const TCP: u8 = 6;
const UDP: u8 = 17;
/// `INET_DIAG_SKV6ONLY`.
const SKV6ONLY: u16 = 11;
/// About how long a datagram of the answer may become, in bytes.
const ROOM: usize = 8000;

/// The datagrams that answer one, for the socket with this `nl_pid`.
pub(super) fn to(view: &dyn View, port: u32, datagram: &[u8]) -> Vec<Vec<u8>> {
    each(port, datagram, |header, body, all| {
        if header.kind != SOCK_DIAG_BY_FAMILY {
            return Err(libc::EINVAL);
        }
        let [family, protocol, ..] = *body else {
            return Err(libc::EINVAL);
        };
        // As the kernel has it of sockets that are not there.
        if header.flags & NLM_F_DUMP == 0 {
            return Err(libc::ENOENT);
        }
        let dump = Dump { port, header };
        let mut messages = match family {
            AF_INET | AF_INET6 => dump.inet(view, family, protocol, word(body, 4)),
            AF_UNIX => dump.unix(view, word(body, 4), word(body, 12)),
            _ if SILENT.contains(&family) => Vec::new(),
            _ => return Err(libc::ENOENT),
        };
        let mut done = dump.message(NLMSG_DONE);
        done.put(&[0; 4]);
        messages.push(done.finish());
        let mut datagram = Vec::new();
        for message in messages {
            if datagram.len() + message.len() > ROOM {
                all.push(std::mem::take(&mut datagram));
            }
            datagram.extend(message);
        }
        all.push(datagram);
        Ok(())
    })
}

struct Dump {
    port: u32,
    header: Header,
}

/// Whether a mask of states has one.
fn has(states: u32, state: u8) -> bool {
    states.checked_shr(state.into()).unwrap_or(0) & 1 != 0
}

impl Dump {
    fn message(&self, kind: u16) -> Message {
        Message::new(kind, NLM_F_MULTI, self.header.sequence, self.port)
    }

    /// `struct inet_diag_msg` (linux/inet_diag.h) of each.
    fn inet(&self, view: &dyn View, family: u8, protocol: u8, states: u32) -> Vec<Vec<u8>> {
        let protocol = match protocol {
            TCP => Protocol::Tcp,
            UDP => Protocol::Udp,
            // Sockets of others are in none of the zone's tables.
            _ => return Vec::new(),
        };
        let all = listed_inet(view, protocol, family == AF_INET6);
        let all = all.into_iter().filter(|one| has(states, one.state));
        all.map(|one| {
            let mut out = self.message(SOCK_DIAG_BY_FAMILY);
            let ListedInet {
                local,
                peer,
                is_v6_only,
                state,
                timer,
                retransmissions,
                queues,
                uid,
                inode,
            } = one;
            out.put(&[family, state, timer, retransmissions]);
            for end in [local, peer] {
                out.put(&end.port().to_be_bytes());
            }
            for end in [local, peer] {
                let mut room = [0; 16];
                match end.ip() {
                    IpAddr::V4(ip) => room[..4].copy_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => room = ip.octets(),
                }
                out.put(&room);
            }
            // No interface, no cookie, nothing that expires.
            out.put(&[0; 16]);
            let [waiting, unsent] = queues;
            for word in [waiting, unsent, uid, inode] {
                out.put(&word.to_ne_bytes());
            }
            // As inet_diag_msg_attrs_fill of the kernel's net/ipv4/inet_diag.c.
            if family == AF_INET6 && [TCP_CLOSE, TCP_LISTEN].contains(&state) {
                out.attribute(SKV6ONLY, &[u8::from(is_v6_only)]);
            }
            out.finish()
        })
        .collect()
    }

    /// `struct unix_diag_msg` (linux/unix_diag.h) of each, and the attributes that are asked for.
    fn unix(&self, view: &dyn View, states: u32, show: u32) -> Vec<Vec<u8>> {
        const SHOW_NAME: u32 = 1;
        const SHOW_PEER: u32 = 4;
        const NAME: u16 = 0;
        const PEER: u16 = 2;
        let all = listed_unix(view);
        let numbers: Vec<u32> = all.iter().map(|one| one.inode).collect();
        let all = all.into_iter().filter(|one| has(states, one.state));
        all.map(|one| {
            let ListedUnix {
                kind,
                state,
                inode,
                name,
            } = one;
            let mut out = self.message(SOCK_DIAG_BY_FAMILY);
            out.put(&[AF_UNIX, kind, state, 0]);
            out.put(&inode.to_ne_bytes());
            out.put(&[0; 8]);
            if let Some(name) = name.filter(|_| show & SHOW_NAME != 0) {
                out.attribute(NAME, &name);
            }
            if show & SHOW_PEER != 0
                && let Ok(Some(peer)) = peer_of(inode.into())
                && let Ok(peer) = u32::try_from(peer)
                && numbers.contains(&peer)
            {
                out.attribute(PEER, &peer.to_ne_bytes());
            }
            out.finish()
        })
        .collect()
    }
}
