//! The zone's sockets, picked out of the host's tables by who holds them.

use super::net::header;
use super::subject::Subject;
use super::system::read;
use super::{Errno, Protocol, View};
use crate::ids::ZonePid;
use picozone_personality::net::netlink;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The inode numbers of the sockets that processes of the zone hold, and one holder of each.
///
/// Sockets that nobody holds (not yet accepted, TIME_WAIT) are in no process and are not shown.
pub(super) fn held(view: &dyn View) -> HashMap<u64, ZonePid> {
    let mut held = HashMap::new();
    let hidden = view.hidden_descriptors();
    for (process, _) in view.processes() {
        // A process that dies meanwhile holds nothing.
        let Ok(subject) = Subject::find(view, process) else {
            continue;
        };
        for fd in subject.numbers("fd").unwrap_or_default() {
            if hidden.contains(&fd) {
                continue;
            }
            let text = subject.readlink(&format!("fd/{fd}")).unwrap_or_default();
            let inode = text
                .strip_prefix(b"socket:[")
                .and_then(|rest| rest.strip_suffix(b"]"));
            let inode = inode.and_then(|inode| std::str::from_utf8(inode).ok()?.parse().ok());
            if let Some(inode) = inode {
                held.entry(inode).or_insert(process);
            }
        }
    }
    held
}

/// One row of `tcp`, `tcp6`, `udp`, `udp6`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// Whether the zone's socket is for IPv6 alone.
    is_v6_only: bool,
    /// State, queues, timer, retransmissions: the fields between addresses and user.
    before: Vec<String>,
    timeout: String,
    pub(super) inode: u64,
    /// Number of references.
    references: String,
    /// What stands behind the kernel's address of the socket.
    after: Vec<String>,
}

impl Row {
    /// Takes a row apart; `None` for the header and what is no row.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [number, local, peer, before @ ..] = fields.as_slice() else {
            return None;
        };
        number.strip_suffix(':')?;
        let [
            state,
            queues,
            timer,
            retransmissions,
            _uid,
            timeout,
            inode,
            references,
            _address,
            after @ ..,
        ] = before
        else {
            return None;
        };
        let own = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect();
        Some(Self {
            local: parse_address(local)?,
            is_v6_only: false,
            peer: parse_address(peer)?,
            before: own(&[state, queues, timer, retransmissions]),
            timeout: (*timeout).to_owned(),
            inode: inode.parse().ok()?,
            references: (*references).to_owned(),
            after: own(after),
        })
    }

    /// The row as the kernel prints it (`get_tcp4_sock` in `net/ipv4/tcp_ipv4.c`), with the kernel's
    /// address of the socket left out.
    fn print(&self, number: usize, uid: u32, protocol: Protocol) -> String {
        let (local, peer) = (print_address(self.local), print_address(self.peer));
        let [state, queues, timer, retransmissions] = self.before.as_slice() else {
            return String::new();
        };
        let (timeout, inode, references) = (&self.timeout, self.inode, &self.references);
        let (width, padded) = match protocol {
            Protocol::Tcp => (4, 149),
            Protocol::Udp => (5, 127),
        };
        let mut line = format!(
            "{number:>width$}: {local} {peer} {state} {queues} {timer} {retransmissions} {uid:5} {timeout:>8} {inode} {references} {:016x}",
            0
        );
        for field in &self.after {
            line.push(' ');
            line += field;
        }
        match self.local {
            SocketAddr::V4(_) => format!("{line:<padded$}\n"),
            SocketAddr::V6(_) => line + "\n",
        }
    }
}

/// `0100007F:1F90`, or four such words: the words of an address are in the host's byte order.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            Ipv6Addr::from(u128::from_be_bytes(words.concat().try_into().ok()?)).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

fn print_address(address: SocketAddr) -> String {
    let words = |octets: &[u8]| {
        octets
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&word| format!("{:08X}", u32::from_ne_bytes(word)))
            .collect::<String>()
    };
    let text = match address.ip() {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    };
    format!("{text}:{:04X}", address.port())
}

/// An address as a socket of IPv6 shows it.
fn in_version(address: SocketAddr, is_v6: bool) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if is_v6 && ip.is_unspecified() => {
            (Ipv6Addr::UNSPECIFIED, address.port()).into()
        }
        IpAddr::V4(ip) if is_v6 => (ip.to_ipv6_mapped(), address.port()).into(),
        _ => address,
    }
}

/// The rows of the zone in one table, each with its holder, in the zone's terms.
fn rows(
    view: &dyn View,
    protocol: Protocol,
    is_v6: bool,
    held: &HashMap<u64, ZonePid>,
) -> Vec<(Row, ZonePid)> {
    let name = name_of(protocol);
    // What the zone sees as a socket of IPv6 may be one of IPv4 on the host.
    let host: Vec<u8> = ["", "6"]
        .iter()
        .flat_map(|version| read(&format!("/proc/net/{name}{version}")).unwrap_or_default())
        .collect();
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    for mut row in String::from_utf8_lossy(&host)
        .lines()
        .filter_map(Row::parse)
    {
        let Some(&holder) = held.get(&row.inode) else {
            continue;
        };
        let Some((local, peer)) = view.socket_to_zone(protocol, row.local, row.peer) else {
            continue;
        };
        if local.is_ipv6() == is_v6 && seen.insert(row.inode) {
            row.is_v6_only = view.is_v6_only(protocol, row.local);
            row.local = local;
            row.peer = in_version(peer, is_v6);
            rows.push((row, holder));
        }
    }
    rows
}

fn name_of(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// `tcp`, `tcp6`, `udp` or `udp6`.
///
/// # Errors
/// None; a table that the host lacks is empty.
pub(super) fn table(view: &dyn View, protocol: Protocol, is_v6: bool) -> Result<Vec<u8>, Errno> {
    let name = name_of(protocol);
    let version = if is_v6 { "6" } else { "" };
    let mut out = header(&format!("/proc/net/{name}{version}"), 1);
    for (number, (row, holder)) in rows(view, protocol, is_v6, &held(view)).iter().enumerate() {
        let uid = view.credentials(*holder).uid[1];
        out.extend(row.print(number, uid, protocol).bytes());
    }
    Ok(out)
}

/// A socket as the kernel would tell it by numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedInet {
    /// Its own address, in the zone's terms.
    pub local: SocketAddr,
    /// The other end's.
    pub peer: SocketAddr,
    /// `IPV6_V6ONLY`.
    pub is_v6_only: bool,
    /// `TCP_ESTABLISHED` and others.
    pub state: u8,
    /// Which timer runs.
    pub timer: u8,
    /// How often something was sent again.
    pub retransmissions: u8,
    /// Bytes received and not read, and sent and not acknowledged.
    pub queues: [u32; 2],
    /// The zone's user.
    pub uid: u32,
    /// Number of the socket.
    pub inode: u32,
}

/// The sockets of one of the tables.
pub fn listed_inet(view: &dyn View, protocol: Protocol, is_v6: bool) -> Vec<ListedInet> {
    let pair = |text: &str| -> Option<[u32; 2]> {
        let (one, two) = text.split_once(':')?;
        let number = |text| u32::from_str_radix(text, 16).ok();
        Some([number(one)?, number(two)?])
    };
    let listed = |(row, holder): &(Row, ZonePid)| {
        let [state, queues, timer, retransmissions] = row.before.as_slice() else {
            return None;
        };
        let [unsent, waiting] = pair(queues)?;
        Some(ListedInet {
            local: row.local,
            peer: row.peer,
            is_v6_only: row.is_v6_only,
            state: u8::from_str_radix(state, 16).ok()?,
            timer: u8::try_from(pair(timer)?[0]).ok()?,
            retransmissions: u8::from_str_radix(retransmissions, 16).unwrap_or(u8::MAX),
            queues: [waiting, unsent],
            uid: view.credentials(*holder).uid[1],
            inode: u32::try_from(row.inode).ok()?,
        })
    };
    let rows = rows(view, protocol, is_v6, &held(view));
    rows.iter().filter_map(listed).collect()
}

/// State of a socket that is neither connected nor listens (include/net/tcp_states.h).
pub const TCP_CLOSE: u8 = 7;
/// State of one that listens.
pub const TCP_LISTEN: u8 = 10;

/// A unix socket as the kernel would tell it by numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUnix {
    /// `SOCK_STREAM` and others.
    pub kind: u8,
    /// `TCP_LISTEN`, `TCP_ESTABLISHED` or `TCP_CLOSE`.
    pub state: u8,
    /// Number of the socket.
    pub inode: u32,
    /// Its name; an abstract one begins with NUL.
    pub name: Option<Vec<u8>>,
}

/// The unix sockets of the zone.
pub fn listed_unix(view: &dyn View) -> Vec<ListedUnix> {
    const ACCEPTS: &str = "00010000";
    const CONNECTED: &str = "03";
    const TCP_ESTABLISHED: u8 = 1;
    let listed = |row: UnixRow| {
        let text = String::from_utf8_lossy(&row.fields).into_owned();
        let mut fields = text.split_ascii_whitespace().skip(3);
        let (flags, kind, state) = (fields.next()?, fields.next()?, fields.next()?);
        let mut name = row.name;
        if let Some(first @ b'@') = name.as_mut().and_then(|name| name.first_mut()) {
            *first = 0;
        }
        Some(ListedUnix {
            kind: u8::from_str_radix(kind, 16).ok()?,
            state: match state {
                _ if flags == ACCEPTS => TCP_LISTEN,
                CONNECTED => TCP_ESTABLISHED,
                _ => TCP_CLOSE,
            },
            inode: u32::try_from(row.inode).ok()?,
            name,
        })
    };
    let rows = unix_rows(view).unwrap_or_default();
    rows.into_iter().filter_map(listed).collect()
}

/// A row of `unix`.
struct UnixRow {
    /// From the colon behind the kernel's address on, up to the inode number.
    fields: Vec<u8>,
    inode: u64,
    name: Option<Vec<u8>>,
}

/// The rows of the zone.
fn unix_rows(view: &dyn View) -> Result<Vec<UnixRow>, Errno> {
    let held = held(view);
    let host = read("/proc/net/unix")?;
    let row = |line: &[u8]| {
        let (inode, name_at) = unix_inode(line)?;
        held.contains_key(&inode).then_some(())?;
        let (fields, name) = line.split_at(name_at);
        // What stands for a netlink socket is none of these.
        (!netlink::is_shown(name)).then_some(())?;
        let fields = fields.trim_ascii_end();
        let colon = fields.iter().position(|&byte| byte == b':').unwrap_or(0);
        Some(UnixRow {
            fields: fields.get(colon..)?.to_vec(),
            inode,
            name: (!name.is_empty())
                .then(|| view.unix_to_zone(name))
                .flatten(),
        })
    };
    let lines = host.split(|&byte| byte == b'\n').skip(1);
    Ok(lines.filter_map(row).collect())
}

/// `unix`: `Num RefCount Protocol Flags Type St Inode Path`.
///
/// # Errors
/// What the kernel says of the host's file.
pub(super) fn unix(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let mut out = header("/proc/net/unix", 1);
    for row in unix_rows(view)? {
        out.extend_from_slice(b"0000000000000000");
        out.extend_from_slice(&row.fields);
        if let Some(name) = row.name {
            out.push(b' ');
            out.extend(name);
        }
        out.push(b'\n');
    }
    Ok(out)
}

/// The inode number of a row, and where the name begins (the end if it has none).
fn unix_inode(line: &[u8]) -> Option<(u64, usize)> {
    let mut at = 0;
    let mut field = 0..0;
    for _ in 0..7 {
        at += line[at..].iter().take_while(|&&byte| byte == b' ').count();
        let start = at;
        at += line[at..].iter().take_while(|&&byte| byte != b' ').count();
        field = start..at;
    }
    let inode = std::str::from_utf8(&line[field]).ok()?.parse().ok()?;
    Some((inode, (at + 1).min(line.len())))
}

/// `sockstat`: how many sockets the zone holds.
///
/// # Errors
/// None.
pub(super) fn sockstat(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let held = held(view);
    let [tcp, udp] =
        [Protocol::Tcp, Protocol::Udp].map(|protocol| rows(view, protocol, false, &held).len());
    let used = held.len();
    Ok(format!(
        "sockets: used {used}\nTCP: inuse {tcp} orphan 0 tw 0 alloc {tcp} mem 0\nUDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
    )
    .into_bytes())
}

/// `sockstat6`: as [`sockstat`], for IPv6.
///
/// # Errors
/// None.
pub(super) fn sockstat6(view: &dyn View) -> Result<Vec<u8>, Errno> {
    let held = held(view);
    let [tcp, udp] =
        [Protocol::Tcp, Protocol::Udp].map(|protocol| rows(view, protocol, true, &held).len());
    Ok(format!("TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n")
        .into_bytes())
}
